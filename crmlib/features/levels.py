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

_OF_PRODUCTS = ("product_id", "product_group")

Run = Callable[[Any], list[Any]]


def resolve(spec: Iterable[Declaration], as_of: dt.date, run: Run) -> Specification:
    """Return the specification with the levels known at ``as_of`` written into it, in alphabetical order.

    Products and their groups come from the product table where there is one, so that a product without buyers keeps its
    place. Raises NotFoundError where a strict declaration names a level or value that is nowhere in the data.
    """
    spec = tuple(spec)
    for one in spec:
        if one.strict:
            _check(one, run)
    wanted: dict[str, dict[str, None]] = {}
    for one in spec:
        if _is_open(one):
            wanted.setdefault(one.table, {})[_column(one)] = None
    through_products = {column: None for columns in wanted.values() for column in columns if column in _OF_PRODUCTS}
    offered = _levels("products", through_products, as_of, run)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for table, columns in wanted.items():
        own = {column: None for column in columns if not offered.get(column) and column != "product_group"}
        listed = {**offered, **_levels(table, own, as_of, run)}
        found.update({(table, column): listed.get(column, ()) for column in columns})
    fixed = []
    for one in spec:
        levels = found[one.table, _column(one)] if _is_open(one) else one.levels
        fixed.append(replace(one, levels=levels, strict=False))
    return Specification(tuple(fixed))


def _column(one: Declaration) -> str:
    """Return the column whose levels a declaration needs, or nothing."""
    if one.kind == "attribute":
        return one.value if isinstance(find_table(one.table).c[one.value].type, sa.String) else ""
    return one.by


def _is_open(one: Declaration) -> bool:
    return one.levels is None and bool(_column(one))


def _levels(table: str, columns: Iterable[str], as_of: dt.date, run: Run) -> dict[str, tuple[str, ...]]:
    """Return the levels of some columns among a table's known rows, in one query."""
    columns = list(columns)
    if not columns:
        return {}
    if table == "products":
        known = snapshot.known(schema.tables()[table], as_of).subquery("known")
    else:
        known = source.rows(table, as_of, through=columns)
    rows = sa.select(*[known.c[column] for column in columns]).cte("known_levels")
    parts = [
        sa.select(sa.literal(number).label("number"), rows.c[column].label("level"), sa.func.count().label("rows"))
        .where(rows.c[column].is_not(None))
        .group_by(rows.c[column])
        for number, column in enumerate(columns)
    ]
    found: dict[str, list[tuple[int, str]]] = {column: [] for column in columns}
    for number, level, count in run(sa.union_all(*parts)):
        found[columns[number]].append((-count, level))
    return {
        column: tuple(sorted(level for _, level in sorted(counted)[:MAX_LEVELS])) for column, counted in found.items()
    }


def _check(one: Declaration, run: Run) -> None:
    table = find_table(one.table) if one.table else None
    given = dict(one.where)
    if one.levels is not None and _column(one):
        given = {**given, _column(one): one.levels}
    for name, values in given.items():
        listed = values if isinstance(values, tuple) else (values,)
        texts = [value for value in listed if isinstance(value, str)]
        if table is not None and texts:
            home = schema.tables()["products"] if name == "product_group" or name not in table.c else table
            _check_values(home, name, texts, run)


def _check_values(table: sa.Table, name: str, texts: list[str], run: Run) -> None:
    """Look the texts up in every row, known at the date or not: a level may be rare, but it has to exist."""
    column = table.c[name]
    # One question for each text ends at its first row; asked together they would be looked for in every row.
    missing = [text for text in texts if not run(sa.select(column).where(column == text).limit(1))]
    if not missing:
        return
    levels = [row[0] for row in run(sa.select(column).where(column.is_not(None)).distinct().limit(1000))]
    if levels:  # a table without rows has no levels to compare with
        raise NotFoundError(f"{table.name}.{name} is never {missing[0]!r}{closest(missing[0], sorted(levels))}")
