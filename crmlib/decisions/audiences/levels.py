"""Whether the levels, products, models and segments that an audience names exist, with the closest name where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from crmlib.decisions.audiences.compile import Target
from crmlib.decisions.audiences.conditions import Data, closest, leaves
from crmlib.decisions.audiences.fields import FIELDS, TEXT, column_of, declared
from crmlib.errors import NotFoundError
from crmlib.warehouse import schema

Run = Callable[[sa.Select[Any]], Sequence[Any]]
"""Runs a select and returns its rows as tuples."""

_NAMED = 12  # levels listed in a message


def check(conditions: Data, target: Target, run: Run) -> None:
    """Raise NotFoundError for the first level that is neither declared in the schema nor in any row."""
    asked: dict[tuple[str, str, str], set[str]] = {}
    for label, column, levels in _asked(conditions, target):
        table = str(column.table.name)
        wanted = {one for one in levels if one is not None and one not in declared(table, column.name)}
        found = asked.setdefault((label, table, column.name), set())
        for level in sorted(wanted - found):
            found.add(level)
            one = (
                sa.select(sa.literal(1, sa.Integer))
                .select_from(column.table)
                .where(column == sa.literal(level, sa.String))
            )
            if not run(one.limit(1)):
                raise _unknown(label, column, level, run)


def _asked(conditions: Data, target: Target) -> Iterator[tuple[str, Any, list[str | None]]]:
    """Yield the words for a column, the column, and the levels asked of it."""
    for leaf in leaves(conditions):
        field = FIELDS[leaf["field"]]
        if field.kind in ("score", "segment"):
            name = (
                target.scores[leaf["where"]["model"]]
                if field.kind == "score"
                else target.segments[leaf["where"]["segmentation"]]
            )
            asked = "product_id" if field.kind == "score" else "segment"
            source = sa.table(name, sa.column(asked, sa.String))
            levels = leaf["where"]["product_id"] if field.kind == "score" else leaf["value"]
            label = (
                f"scores of {leaf['where']['model']}, product"
                if field.kind == "score"
                else f"segmentation {leaf['where']['segmentation']}, segment"
            )
            if leaf["operator"] != "known":
                yield label, source.c[asked], _list(levels)
            continue
        given = dict(leaf.get("where", {}))
        if field.type == TEXT and leaf["operator"] != "known":
            given[field.name] = leaf["value"]
        for name, value in given.items():
            table, column = column_of(field, name)
            if column in schema.tables()[table].c:
                label = f"field {field.name}" + ("" if name == field.name else f", filter {name}")
                yield label, schema.tables()[table].c[column], _list(value)


def _unknown(label: str, column: Any, level: str, run: Run) -> NotFoundError:
    known = sorted(row[0] for row in run(sa.select(column).distinct().where(column.is_not(None)).limit(10_000)))
    if not known:
        return NotFoundError(f"{label}: unknown level {level!r}; the column holds no values at all")
    shown = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
    return NotFoundError(f"{label}: unknown level {level!r}{closest(level, known)}; there are {shown}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
