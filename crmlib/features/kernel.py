"""Features by the local kernel: blocks of customers, codes and days into small cubes of counts and sums.

A warehouse version is sorted by customer, so a block of customers is a contiguous part of each table. DuckDB hands over
only the columns needed, already filtered to what was known; numpy counts and adds in 64-bit integers, so sums are exact.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.features import source
from crmlib.features.plan import Feature, Measure, bound, bounds
from crmlib.features.spec import find_table
from crmlib.features.sql import earliest
from crmlib.warehouse.snapshot import Snapshot

BLOCK = 62_500
"""Customers computed at a time: what their cubes need stays within the processor's caches."""
LARGEST_SUM = float(2**58)
NEVER = dt.date(1, 1, 1)
FOREVER = dt.date(9999, 12, 31)
NO_DAY = source.day_number(NEVER)

Array = np.ndarray[Any, np.dtype[Any]]


def compute(snapshot: Snapshot, features: list[Feature], *, only: Iterable[str] | None = None) -> dict[str, Any]:
    """Return customer_id (Arrow) and each feature (array; categories as Arrow texts), one element per customer.

    Raises DataError where amounts are too large to be added exactly.
    """
    base = snapshot.warehouse.arrow(
        source.customers(snapshot.as_of, [f for f in features if not f.inputs], only=only, keyed=True)
    )
    base = base.sort_by("customer_id")
    keys = base["customer_key"].to_numpy()
    out: dict[str, Any] = {"customer_id": base["customer_id"]}
    of_rows: dict[str, list[Feature]] = {}
    for feature in features:
        if feature.inputs and feature.table:
            of_rows.setdefault(feature.table, []).append(feature)
            out[feature.name] = np.empty(len(keys), dtype=feature.dtype)
    with snapshot.warehouse.connect() as connection:
        readers = [Reader.of(snapshot, connection, group) for group in of_rows.values()]
        for low, members, local in _blocks(keys):
            for reader in readers:
                for name, values in reader.block(low, int(local.max()) + 1).items():
                    out[name][members] = values[local]
    for feature in features:
        if not feature.inputs:
            column = base[feature.name]
            out[feature.name] = column if feature.dtype == "category" else column.to_numpy().astype(feature.dtype)
        elif not feature.table:
            inputs = [out[str(name)] for name in feature.inputs]
            out[feature.name] = _FORMULAS[feature.formula](inputs, feature, 0)
    return out


def _blocks(keys: Array) -> list[tuple[int, Array, Array]]:
    """Return for each block its first key, the positions of its customers in ``keys`` and their numbers in the block."""
    blocks = []
    for number in np.unique(keys // BLOCK):
        members = np.flatnonzero(keys // BLOCK == number)
        low = int(number) * BLOCK
        blocks.append((low, members, keys[members] - low))
    return blocks


@dataclass(frozen=True)
class Reader:
    """What computes the features of one table for any block of customers."""

    connection: duckdb.DuckDBPyConnection
    features: list[Feature]
    measures: list[Measure]
    as_of: dt.date
    queries: list[tuple[str, list[str], dict[str, Any], dict[Any, str], list[Measure]]]

    @classmethod
    def of(cls, snapshot: Snapshot, connection: duckdb.DuckDBPyConnection, features: list[Feature]) -> Reader:
        """Prepare the queries; balances in force need another than movements."""
        measures = list(dict.fromkeys(m for f in features for m in f.inputs if isinstance(m, Measure)))
        queries = []
        for is_state in (False, True):
            batch = [m for m in measures if (m.kind == "state") == is_state]
            if batch:
                select, labels = _query(batch, snapshot.as_of)
                compiled = select.compile(snapshot.warehouse.engine, compile_kwargs={"render_postcompile": True})
                queries.append((str(compiled), compiled.positiontup or [], dict(compiled.params), labels, batch))
        return cls(connection, features, measures, snapshot.as_of, queries)

    def block(self, low: int, size: int) -> dict[str, Array]:
        """Return each feature of the customers with keys from ``low`` to below ``low + size``."""
        found: dict[Measure, Array] = {}
        for text, names, defaults, labels, batch in self.queries:
            given = {**defaults, "low": low, "high": low + size}
            table = self.connection.execute(text, [given[name] for name in names]).to_arrow_table()
            found.update(Block(_columns(table, labels), range(low, low + size), self.as_of, batch).measure())
        today = source.day_number(self.as_of)
        return {f.name: _FORMULAS[f.formula]([found[m] for m in f.inputs], f, today) for f in self.features}  # type: ignore[index]


def _query(batch: list[Measure], as_of: dt.date) -> tuple[sa.Select[Any], dict[Any, str]]:
    """Return the select of what the measures need of each row, and what its columns c0, c1 … are."""
    rows = source.rows(
        batch[0].table, as_of, through={m.by for m in batch}, first_day=earliest(batch, as_of), keyed=True
    )
    columns: dict[Any, Any] = {"key": rows.c.customer_key}
    for measure in batch:
        if measure.kind == "state":
            columns["series", measure.date] = rows.c.series
            columns["day", "holding_closed_on"] = _day(rows.c.holding_closed_on, FOREVER)
        columns["day", measure.date] = _day(rows.c[measure.date], NEVER)
        if measure.by:
            levels = sa.func.list_value(*_levels(batch, measure.by))
            code = sa.func.list_position(levels, rows.c[measure.by])
            columns["code", measure.by] = sa.cast(sa.func.coalesce(code, 0), sa.SmallInteger)
        if measure.where:
            columns["where", measure.where] = sa.func.coalesce(source.condition(rows.c, measure.where), False)
        if measure.value:
            columns["value", measure.value] = sa.func.coalesce(rows.c[measure.value], 0)
        if measure.kind in ("values", "squares", "value"):
            columns["given", measure.value] = rows.c[measure.value].is_not(None)
        if measure.kind == "value":
            columns["time", measure.date] = rows.c[measure.date]
    labels = {what: f"c{index}" for index, what in enumerate(columns)}
    return sa.select(*[column.label(labels[what]) for what, column in columns.items()]), labels


def _day(column: Any, missing: dt.date) -> Any:
    return sa.func.coalesce(sa.cast(column, sa.Date), sa.literal(missing, sa.Date))


def _levels(batch: Iterable[Measure], by: str) -> list[str]:
    return sorted({measure.level for measure in batch if measure.by == by})


def _columns(table: pa.Table, labels: dict[Any, str]) -> dict[Any, Array]:
    columns = {}
    for what, label in labels.items():
        column = table[label]
        if pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[what] = column.to_numpy()
    return columns


class Block:
    """The rows of one table and block of customers, and the cubes counted from them.

    A cube has the axes span of days, level (0 for the others), customer.
    """

    def __init__(self, columns: dict[Any, Array], keys: range, as_of: dt.date, batch: list[Measure]) -> None:
        self.columns = columns
        self.key = columns["key"].astype(np.int64) - keys.start
        self.size = len(keys)
        self.as_of = as_of
        self.batch = batch
        self.spans: dict[str, list[int]] = {}
        self.cells: dict[Any, Array] = {}
        self.cubes: dict[Any, Array] = {}

    def measure(self) -> dict[Measure, Array]:
        """Return each measure of the batch, one element for each of the block's customers."""
        around = {"squares": self.squares, "value": self.last_value, "state": self.state}
        return {m: around.get(m.kind, self.from_cube)(m) for m in self.batch}

    def edges(self, date: str) -> list[int]:
        """Return the days at which a window over ``date`` begins or ends."""
        if date not in self.spans:
            found = [bounds(m, self.as_of) for m in self.batch if m.date == date and m.kind != "state"]
            self.spans[date] = sorted({source.day_number(day) for span in found for day in span if day is not None})
        return self.spans[date]

    def cell(self, date: str, by: str) -> Array:
        """Return each row's place in the cube over ``date`` and ``by``."""
        if (date, by) not in self.cells:
            span = np.searchsorted(np.array(self.edges(date)), self.columns["day", date], side="right")
            if by:
                span = span * (len(_levels(self.batch, by)) + 1) + self.columns["code", by]
            self.cells[date, by] = span * self.size + self.key
        return self.cells[date, by]

    def rows(self, measure: Measure) -> Array | slice:
        """Return which rows count, the window and the level apart."""
        kept = []
        if measure.where:
            kept.append(self.columns["where", measure.where])
        if measure.date != find_table(measure.table).info["happened"]:
            kept.append(self.columns["day", measure.date] != NO_DAY)
        if measure.kind in ("values", "squares", "value"):
            kept.append(self.columns["given", measure.value])
        return np.flatnonzero(np.logical_and.reduce(kept)) if kept else slice(None)

    def cube(self, measure: Measure) -> Array:
        """Return the cube of a measure's kind, value, rows, date and levels."""
        kind, date, by = measure.kind, measure.date, measure.by
        name = (kind, measure.value, measure.where, date, by)
        if name not in self.cubes:
            levels = len(_levels(self.batch, by)) + 1 if by else 1
            shape = (len(self.edges(date)) + 1, levels, self.size)
            rows = self.rows(measure)
            cell = self.cell(date, by)[rows]
            if kind in ("count", "values"):
                flat = np.bincount(cell, minlength=int(np.prod(shape)))
            elif kind == "sum":
                flat = added(cell, self.columns["value", measure.value][rows], int(np.prod(shape)))
            else:
                flat = extreme(cell, self.columns["day", date][rows], int(np.prod(shape)), last=kind == "last")
            self.cubes[name] = flat.reshape(shape)
        return self.cubes[name]

    def from_cube(self, measure: Measure) -> Array:
        """Return a count, sum, first or last day over the spans that make up the window."""
        edges, window = self.edges(measure.date), bounds(measure, self.as_of)
        first = 0 if window[0] is None else edges.index(source.day_number(window[0])) + 1
        last = edges.index(source.day_number(window[1])) + 1
        level = _levels(self.batch, measure.by).index(measure.level) + 1 if measure.by else 0
        spans = self.cube(measure)[first:last, level]
        if measure.kind in ("count", "values", "sum"):
            return np.add.reduce(spans, axis=0)
        days = (np.maximum if measure.kind == "last" else np.minimum).reduce(spans, axis=0)
        return np.where(np.abs(days) == _UNSET, np.nan, days)

    def in_window(self, measure: Measure) -> Array:
        """Return the numbers of the rows that a measure takes, its level and window included."""
        start, end = bounds(measure, self.as_of)
        day = self.columns["day", measure.date]
        kept = day < source.day_number(end)
        if start is not None:
            kept &= day >= source.day_number(start)
        if measure.by:
            kept &= self.columns["code", measure.by] == _levels(self.batch, measure.by).index(measure.level) + 1
        mine = np.zeros(len(day), dtype=bool)
        mine[self.rows(measure)] = True
        return np.flatnonzero(kept & mine)

    def squares(self, measure: Measure) -> Array:
        """Return the sum of squared deviations from the customer's mean; two passes, as in SQL."""
        rows = self.in_window(measure)
        key, value = self.key[rows], self.columns["value", measure.value][rows]
        count, total = np.bincount(key, minlength=self.size), added(key, value, self.size)
        mean = np.divide(total, count, out=np.zeros(self.size), where=count > 0)
        away = value.astype(np.float64) - mean[key]
        return np.bincount(key, weights=away * away, minlength=self.size)

    def last_value(self, measure: Measure) -> Array:
        """Return the largest value among the rows of the customer's last moment."""
        rows = self.in_window(measure)
        key, time = self.key[rows], self.columns["time", measure.date][rows].astype(np.int64)
        latest = np.full(self.size, np.iinfo(np.int64).min)
        np.maximum.at(latest, key, time)
        rows, key = rows[time == latest[key]], key[time == latest[key]]
        found = np.full(self.size, -np.inf)
        np.maximum.at(found, key, self.columns["value", measure.value][rows].astype(np.float64))
        return np.where(np.isneginf(found), np.nan, found)

    def next_day(self, date: str) -> Array:
        """Return for each balance the day of the holding's next one."""
        if ("next", date) not in self.cells:
            series, day = self.columns["series", date], self.columns["day", date]
            order = np.argsort(series, kind="stable")
            same = series[order[1:]] == series[order[:-1]]
            if (same & (day[order[1:]] < day[order[:-1]])).any():  # the file is not in the order of time
                order = np.lexsort((day, series))
            found = np.full(len(day), source.day_number(FOREVER), dtype=np.int32)
            found[order[:-1]] = np.where(same, day[order[1:]], source.day_number(FOREVER))
            self.cells["next", date] = found
        return self.cells["next", date]

    def state(self, measure: Measure) -> Array:
        """Return the sum of the balances in force at the end of the window."""
        back, levels = measure.window[1] or 0, _levels(self.batch, measure.by) if measure.by else []
        name = ("state", measure.value, measure.where, measure.by, back, measure.stale)
        if name not in self.cubes:
            at = source.day_number(bound(self.as_of, back))
            oldest = source.day_number(bound(self.as_of, back + measure.stale))
            day = self.columns["day", measure.date]
            kept = (day < at) & (day >= oldest) & (self.next_day(measure.date) >= at)
            kept &= self.columns["day", "holding_closed_on"] >= at
            if measure.where:
                kept &= self.columns["where", measure.where]
            rows = np.flatnonzero(kept)
            code = self.columns["code", measure.by][rows].astype(np.int64) if measure.by else 0
            value = self.columns["value", measure.value][rows]
            flat = added(code * self.size + self.key[rows], value, (len(levels) + 1) * self.size)
            self.cubes[name] = flat.reshape(-1, self.size)
        return self.cubes[name][levels.index(measure.level) + 1 if measure.by else 0]


_UNSET = 2**31 - 1


def added(cell: Array, value: Array, size: int) -> Array:
    """Return the sums of ``value`` by cell: whole numbers exactly.

    Raises DataError where the amounts of a block come near the end of 64 bits.
    """
    if not np.issubdtype(value.dtype, np.integer):
        return np.bincount(cell, weights=value, minlength=size)
    if len(value) and float(np.abs(value, dtype=np.float64).sum()) >= LARGEST_SUM:
        raise DataError(
            f"amounts up to {int(np.abs(value).max())} are too large to be added exactly; check the unit of the money columns"
        )
    total = np.zeros(size, dtype=np.int64)
    np.add.at(total, cell, value)
    return total


def extreme(cell: Array, day: Array, size: int, *, last: bool) -> Array:
    """Return the last or first day by cell."""
    found = np.full(size, -_UNSET if last else _UNSET, dtype=np.int32)
    (np.maximum if last else np.minimum).at(found, cell, day)
    return found


def _divided(top: Array, bottom: Array) -> Array:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=(bottom != 0) & ~np.isnan(bottom))


def _trend(inputs: list[Array], feature: Feature, today: int) -> Array:
    (recent, before), (recent_months, before_months) = inputs, feature.weights
    a, b = recent * before_months, before * recent_months
    return _divided(a - b, np.abs(a) + np.abs(b))


def _variance(inputs: list[Array], feature: Feature, today: int) -> Array:
    count, squares = inputs
    return np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=count >= 2)


_FORMULAS: dict[str, Callable[[list[Array], Feature, int], Array]] = {
    "value": lambda inputs, feature, today: inputs[0],
    "days": lambda inputs, feature, today: today - inputs[0],
    "ratio": lambda inputs, feature, today: _divided(inputs[0], inputs[1]),
    "difference": lambda inputs, feature, today: inputs[0] - inputs[1],
    "mean": lambda inputs, feature, today: np.add.reduce(inputs, axis=0) / np.float64(len(inputs)),
    "trend": _trend,
    "variance": _variance,
}
