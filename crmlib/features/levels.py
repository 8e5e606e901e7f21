"""Levels of code columns: found among what was known, fixed in a specification, checked for slips of the pen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from crmlib.errors import NotFoundError
from crmlib.features import source
from crmlib.features.spec import Declaration, Specification, closest, find_table
from crmlib.warehouse import schema, snapshot

MAX_LEVELS = 40
"""Of a column with more levels the most frequent are taken."""

Run = Callable[[sa.Select[Any]], list[Any]]


def resolve(spec: Iterable[Declaration], as_of: dt.date, run: Run) -> Specification:
    """Return the specification with the levels known at ``as_of`` written into it, in alphabetical order.

    Products and their groups come from the product table where there is one, so that a product without buyers keeps its
    place. Raises NotFoundError where a strict declaration names a level or value that is nowhere in the data.
    """
    seen: dict[tuple[str, str], tuple[str, ...]] = {}
    fixed = []
    for one in spec:
        if one.strict:
            _check(one, run)
        column = one.by or (one.value if _is_category(one) else "")
        if column and one.levels is None:
            for key in (("products", column), (one.table, column)):
                if key not in seen:
                    seen[key] = _levels_in(*key, as_of, run)
                if seen[key]:
                    break
            one = replace(one, levels=seen[key])  # noqa: PLW2901
        fixed.append(replace(one, strict=False))
    return Specification(tuple(fixed))


def _is_category(one: Declaration) -> bool:
    return one.kind == "attribute" and isinstance(find_table(one.table).c[one.value].type, sa.String)


def _levels_in(table: str, column: str, as_of: dt.date, run: Run) -> tuple[str, ...]:
    if table == "products":
        if column not in ("product_id", "product_group"):
            return ()
        rows: sa.FromClause = snapshot.known(schema.tables()[table], as_of).subquery("known_products")
    else:
        rows = source.rows(table, as_of, through=(column,))
    statement = sa.select(rows.c[column], sa.func.count()).where(rows.c[column].is_not(None)).group_by(rows.c[column])
    counted = sorted(run(statement), key=lambda row: (-row[1], row[0]))
    return tuple(sorted(level for level, _ in counted[:MAX_LEVELS]))


def _check(one: Declaration, run: Run) -> None:
    table = find_table(one.table) if one.table else None
    given = dict(one.where)
    column = one.by or one.value
    if one.levels is not None and column:
        given = {**given, column: one.levels}
    for name, values in given.items():
        listed = values if isinstance(values, tuple) else (values,)
        texts = [value for value in listed if isinstance(value, str)]
        if table is not None and texts:
            home = schema.tables()["products"] if name == "product_group" or name not in table.c else table
            _check_values(home, name, texts, run)


def _check_values(table: sa.Table, name: str, texts: list[str], run: Run) -> None:
    """Look the texts up in every row, known at the date or not: a level may be rare, but it has to exist."""
    column = table.c[name]
    present = {row[0] for row in run(sa.select(column).where(column.in_(texts)).distinct())}
    missing = [text for text in texts if text not in present]
    if not missing:
        return
    levels = [row[0] for row in run(sa.select(column).where(column.is_not(None)).distinct().limit(1000))]
    if levels:  # a table without rows has no levels to compare with
        raise NotFoundError(f"{table.name}.{name} is never {missing[0]!r}{closest(missing[0], sorted(levels))}")
