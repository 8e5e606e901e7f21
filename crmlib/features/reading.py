"""The rows of a table, block of customers by block: streamed in the order of customers in which a version's file has them.

One scan serves all blocks, and its few batches in flight stay in the processor's caches. Where only some customers are
wanted, a join may mix the rows, or an odd file has them in another order, portions of customers are read apart.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from crmlib.features import source
from crmlib.features.block import FOREVER, NEVER, levels_of
from crmlib.features.cubes import Array
from crmlib.features.plan import Measure
from crmlib.features.spec import find_table
from crmlib.warehouse.snapshot import Warehouse

BATCH = 122_880
"""Rows that are handed over at a time: those of a row group."""
DAY_US = 86_400_000_000
PORTION = 131_072
"""Customers whose rows are read at once where they are read apart."""

Columns = dict[Any, Array]


@dataclass(frozen=True)
class Members:
    """A block of customers: its first key and size, the places of its customers in the result, their numbers in it.

    ``local`` is None where they are all of the block, in order.
    """

    low: int
    size: int
    places: slice | Array
    local: Array | None

    def put(self, values: Array, into: Array) -> None:
        """Write the values of a block into the last axis of the result."""
        into[..., self.places] = values[..., : self.size] if self.local is None else values[..., self.local]

    def put_difference(self, values: Array, less: Array | None, into: Array) -> None:
        """Write ``values - less`` as ``put`` does, without a copy in between where that can be."""
        if less is None:
            self.put(values, into)
        elif self.local is None and isinstance(self.places, slice):
            np.subtract(values[..., : self.size], less[..., : self.size], out=into[..., self.places])
        else:
            self.put(values - less, into)


def blocks(keys: Array, size: int) -> list[Members]:
    """Return the blocks of ``size`` keys; ``keys`` are those of the result's rows, in any order."""
    order = np.arange(len(keys)) if (keys[1:] >= keys[:-1]).all() else np.argsort(keys, kind="stable")
    own = keys[order].astype(np.int64)
    found = []
    for low in range(0, int(own[-1]) + 1 if len(own) else 0, size):
        start, end = np.searchsorted(own, [low, low + size])
        if start == end:
            continue
        places, local = order[start:end], own[start:end] - low
        wide = int(local[-1]) + 1
        together = places[-1] - places[0] + 1 == len(places) and (places[1:] > places[:-1]).all()
        where = slice(int(places[0]), int(places[-1]) + 1) if together else places
        found.append(Members(low, wide, where, None if wide == len(local) else local))
    return found


@dataclass(frozen=True)
class Query:
    """What is read of a table's rows: the statement, its parameters, what its columns are, whether order is kept."""

    text: str
    names: tuple[str, ...]
    given: dict[str, Any]
    labels: dict[Any, str]
    ordered: bool

    @classmethod
    def of(cls, warehouse: Warehouse, columns: dict[Any, Any], *, ordered: bool) -> Query:
        """Prepare the select of named columns: key, (day, date), (code, by), (where, …), (value, …) and the like."""
        labels = {what: f"c{index}" for index, what in enumerate(columns)}
        select = sa.select(*[column.label(labels[what]) for what, column in columns.items()])
        compiled = select.compile(warehouse.engine, compile_kwargs={"render_postcompile": True})
        return cls(str(compiled), tuple(compiled.positiontup or []), dict(compiled.params), labels, ordered)

    def run(self, connection: duckdb.DuckDBPyConnection, low: int, high: int) -> duckdb.DuckDBPyConnection:
        """Run the query for the customers with keys from ``low`` to below ``high``."""
        given = {**self.given, "low": low, "high": high}
        return connection.execute(self.text, [given[name] for name in self.names])

    def columns(self, table: pa.Table | pa.RecordBatch) -> Columns:
        """Return the columns of an answer as arrays: dates as days, times as microseconds."""
        return {what: _plain(table.column(label), days=what[0] == "day") for what, label in self.labels.items()}


def _plain(column: Any, *, days: bool) -> Array:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
        if days:  # a third of what the database takes for it
            return (column.to_numpy() // DAY_US).astype(np.int32)
    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)


def needed(batch: Iterable[Measure], rows: sa.Subquery) -> dict[Any, Any]:
    """Return what the measures of a batch need of each row."""
    batch = list(batch)
    table = find_table(batch[0].table)
    columns: dict[Any, Any] = {"key": rows.c.customer_key}
    for measure in batch:
        if measure.kind == "state":
            columns["series", measure.date] = rows.c.series
            columns["day", "holding_closed_on"] = day_of(rows.c.holding_closed_on, FOREVER)
        certain = _always_given(table, measure.date)
        columns["day", measure.date] = rows.c[measure.date] if certain else day_of(rows.c[measure.date], NEVER)
        if measure.by:
            levels = sa.func.list_value(*levels_of(batch, measure.by))
            code = sa.func.list_position(levels, rows.c[measure.by])
            # Unlike coalesce, greatest is evaluated once for each entry of a stored dictionary, not for each row.
            columns["code", measure.by] = sa.func.greatest(code, 0)
        if measure.where:
            columns["where", measure.where] = sa.func.coalesce(source.condition(rows.c, measure.where), False)
        if measure.value:
            value, certain = rows.c[measure.value], _always_given(table, measure.value)
            columns["value", measure.value] = value if certain else sa.func.coalesce(value, 0)
        if measure.kind in ("values", "squares", "value"):
            columns["given", measure.value] = rows.c[measure.value].is_not(None)
        if measure.kind == "value":
            columns["time", measure.date] = rows.c[measure.date]
    return columns


def _always_given(table: sa.Table, name: str) -> bool:
    return name in table.c and bool(table.c[name].info["required"])


def day_of(column: Any, missing: dt.date) -> Any:
    """Return the SQL for the day of a date or moment."""
    return sa.func.coalesce(sa.cast(column, sa.Date), sa.literal(missing, sa.Date))


class _Mixed(Exception):
    """The rows do not come in the order of customers."""


def by_block(
    connection: duckdb.DuckDBPyConnection, query: Query, members: list[Members], *, some: bool
) -> Iterator[tuple[Members, Columns]]:
    """Yield the rows of each block, numbered from its first customer; ``some`` says that not all customers are wanted.

    A block may come a second time, with other rows; then the second is right.
    """
    if query.ordered and not some:
        try:
            yield from _streamed(connection, query, members)
            return
        except _Mixed:
            pass
    yield from _apart(connection, query, members)


def _streamed(
    connection: duckdb.DuckDBPyConnection, query: Query, members: list[Members]
) -> Iterator[tuple[Members, Columns]]:
    if not members:
        return
    first, last = members[0].low, members[-1].low + members[-1].size
    waiting = iter(members)
    block = next(waiting, None)
    parts: list[Columns] = []
    before = -1
    for batch in query.run(connection, first, last).to_arrow_reader(BATCH):
        columns = query.columns(batch)
        key = columns["key"]
        if len(key) and (key[0] < before or (key[1:] < key[:-1]).any()):
            raise _Mixed
        before = int(key[-1]) if len(key) else before
        while block is not None and before >= block.low + block.size:
            parts.append(_cut(columns, block))
            yield block, _joined(parts, block)
            parts, block = [], next(waiting, None)
        if block is not None:
            parts.append(_cut(columns, block))
    empty = query.columns(query.run(connection, 0, 0).to_arrow_table())
    while block is not None:
        yield block, _joined([*parts, empty], block)
        parts, block = [], next(waiting, None)


def _apart(
    connection: duckdb.DuckDBPyConnection, query: Query, members: list[Members]
) -> Iterator[tuple[Members, Columns]]:
    portions: dict[int, list[Members]] = {}
    for block in members:
        portions.setdefault(block.low // PORTION, []).append(block)
    for portion in portions.values():
        first, last = portion[0], portion[-1]
        low = first.low + (0 if first.local is None else int(first.local[0]))
        columns = query.columns(query.run(connection, low, last.low + last.size).to_arrow_table())
        key = columns["key"]
        if (key[1:] < key[:-1]).any():
            order = np.argsort(key, kind="stable")
            columns = {what: column[order] for what, column in columns.items()}
        for block in portion:
            yield block, _joined([_cut(columns, block)], block)


def _cut(columns: Columns, block: Members) -> Columns:
    """Return the rows of a block's customers out of ordered columns."""
    key = columns["key"]
    start, end = np.searchsorted(key, np.array([block.low, block.low + block.size], dtype=key.dtype))
    return {what: column[start:end] for what, column in columns.items()}


def _joined(parts: list[Columns], block: Members) -> Columns:
    parts = [part for part in parts if len(part["key"])] or parts[:1]
    first = parts[0]
    found = first if len(parts) == 1 else {what: np.concatenate([part[what] for part in parts]) for what in first}
    return {**found, "key": np.subtract(found["key"], block.low, dtype=np.int64)}
