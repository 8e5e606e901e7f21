"""Features as of many dates from one scan of the rows: counts and sums in spans between all the windows' edges.

Summed up from the last span back, any window of any date is the difference of two planes of the cube. The cube holds
every row some date knew; what one date did not know yet, or no longer, is taken off that date again, row by row. What
cannot be had so (last values, states, columns that change with the date) is computed date by date, as ``build`` does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import UsageError
from crmlib.features import cubes, customers, kernel, plan, reading, source
from crmlib.features.block import FOREVER, Block, Layout
from crmlib.features.build import frame, resolve
from crmlib.features.cubes import Array, Grid
from crmlib.features.default import DEFAULT
from crmlib.features.plan import Feature, Measure
from crmlib.features.reading import Columns, Members, Query
from crmlib.features.spec import Declaration, find_table, reaches
from crmlib.features.sql import earliest
from crmlib.warehouse import snapshot
from crmlib.warehouse.snapshot import Snapshot, Warehouse

EVERYBODY = 2**31 - 1
BLOCK = 8_192
"""Customers counted at a time: fewer than for one date, as the cubes hold the spans of all dates."""
_ADDED = ("count", "values", "sum")


def panel(warehouse: Warehouse, dates: Iterable[str | dt.date], spec: Iterable[Declaration] = DEFAULT) -> pd.DataFrame:
    """Return what ``build`` returns as of each of the dates, one below the other, from one scan of the rows.

    Out: as of ``build``, sorted by as_of and customer_id. Levels that ``spec`` leaves open are those known at the last
    date. Raises UsageError where no dates are given, and what ``build`` raises.
    """
    return next(panel_parts(warehouse, dates, spec, customers_each=EVERYBODY))


def panel_parts(
    warehouse: Warehouse,
    dates: Iterable[str | dt.date],
    spec: Iterable[Declaration] = DEFAULT,
    *,
    customers_each: int = 16_384,
) -> Iterator[pd.DataFrame]:
    """Yield ``panel`` in parts of so many customers each: what does not fit in memory can be written part by part."""
    taken = [warehouse.snapshot(date) for date in dates]
    taken = [one for _, one in sorted({one.as_of: one for one in taken}.items())]
    if not taken:
        raise UsageError("panel: dates is empty; give at least one date")
    features = plan.expand(resolve(spec, taken[-1]))
    fast = [feature for feature in features if feature.inputs and feature.table and _adds_up(feature)]
    slow = [feature for feature in features if feature.inputs and feature.table and not _adds_up(feature)]
    read = [customers.read(one, features) for one in taken]
    scans = [Scan.of(taken, batch, fast) for batch in kernel.batches(fast)]
    last = max((int(keys.max(initial=-1)) for _, keys, _ in read), default=-1)
    for low in range(0, max(last, 0) + 1, customers_each):
        within = [(keys >= low) & (keys < low + customers_each) for _, keys, _ in read]
        keys = [keys[kept] for (_, keys, _), kept in zip(read, within, strict=True)]
        ends = np.cumsum([len(own) for own in keys])
        out = kernel.allocated(features, int(ends[-1]))
        views = [{n: v[e - len(k) : e] for n, v in out.items()} for k, e in zip(keys, ends, strict=True)]
        with warehouse.connect() as connection:
            for scan in scans:
                scan.fill(connection, keys, views)
        for one, own, view in zip(taken, keys, views, strict=True):
            kernel.fill(one, slow, own, view)
        out |= _stacked([(ids, values, kept) for (ids, _, values), kept in zip(read, within, strict=True)])
        kernel.ratios(features, out)
        days = np.array([one.as_of for one in taken], dtype="datetime64[us]")
        yield frame(out, features, np.repeat(days, [len(own) for own in keys]))


def _stacked(read: list[tuple[pa.ChunkedArray, dict[str, Any], Array]]) -> dict[str, Any]:
    """Return customer_id and the features of customers' own rows, those of each date below the other."""
    found: dict[str, Any] = {}
    for name in ("customer_id", *read[0][1]):
        parts = [(ids if name == "customer_id" else values[name], kept) for ids, values, kept in read]
        if isinstance(parts[0][0], pa.ChunkedArray):
            chunks = [chunk for column, kept in parts for chunk in column.filter(pa.array(kept)).chunks]
            found[name] = pa.chunked_array(chunks, type=parts[0][0].type)
        else:
            found[name] = np.concatenate([column[kept] for column, kept in parts])
    return found


def _adds_up(feature: Feature) -> bool:
    """Say whether a feature is made of counts and whole sums of rows that look the same at any date that knows them."""
    return all(isinstance(measure, Measure) and _whole(measure) for measure in feature.inputs)


def _whole(measure: Measure) -> bool:
    table = find_table(measure.table)
    named = [measure.by, measure.value, *[name for name, _ in measure.where]]
    plain = all(
        name in table.c and not table.c[name].info["known_from"] and not reaches(table, name) for name in named if name
    )
    whole = measure.kind != "sum" or isinstance(table.c[measure.value].type, sa.Integer)
    past = (measure.window[1] or 0) >= 0 and measure.date == table.info["happened"]
    return measure.kind in _ADDED and table.info["kind"] == "event" and plain and whole and past


@dataclass(frozen=True)
class Scan:
    """One table's counts and sums as of several dates: the query, the grid of each code column, each date's layout.

    ``planes`` says for each date and measure the first span of its window and the one after the last, and its level.
    """

    query: Query
    features: list[Feature]
    dates: list[dt.date]
    grids: dict[tuple[str, str], Grid]
    layouts: list[Layout]
    planes: list[dict[Measure, tuple[int, int, int]]]

    @classmethod
    def of(cls, taken: list[Snapshot], batch: list[Measure], features: list[Feature]) -> Scan:
        """Prepare the scan of a batch's table."""
        dates = [one.as_of for one in taken]
        layouts = [Layout.of(batch, date) for date in dates]
        grids = {}
        for name, grid in layouts[0].grids.items():
            own = [layout.grids[name] for layout in layouts]
            edges = sorted({edge for one in own for edge in one.edges})
            grids[name] = Grid(tuple(edges), grid.levels, any(one.always for one in own))
        planes = [
            {m: (*grids[m.date, m.by].window(*layout.windows[m]), layout.planes[m][2]) for m in batch}
            for layout in layouts
        ]
        mine = [feature for feature in features if set(feature.inputs) <= set(batch)]
        query = Query.of(taken[0].warehouse, _columns(batch, dates), ordered=True)
        return cls(query, mine, dates, grids, layouts, planes)

    def fill(self, connection: duckdb.DuckDBPyConnection, keys: list[Array], out: list[dict[str, Array]]) -> None:
        """Write the features of each date into its ``out``, for the customers with that date's keys."""
        everyone = reading.blocks(np.unique(np.concatenate(keys)), BLOCK)
        wanted = [{block.low: block for block in reading.blocks(own, BLOCK)} for own in keys]
        for block, columns in reading.by_block(connection, self.query, everyone, some=False):
            counted = Counted(self, columns, block.size)
            for number, members in enumerate(wanted):
                if block.low in members:
                    self.put(counted, number, members[block.low], out[number])

    def put(self, counted: Counted, number: int, members: Members, out: dict[str, Array]) -> None:
        """Write the features of one date and block."""
        found = counted.as_of(number)
        for feature in self.features:
            if feature.formula == "value":
                found.put(feature.inputs[0], members, out[feature.name])  # type: ignore[arg-type]
            else:
                inputs = {measure: found[measure] for measure in feature.inputs}  # type: ignore[index]
                values = kernel.computed(feature, inputs, self.dates[number])  # type: ignore[arg-type]
                members.put(values[: members.size], out[feature.name])


def _columns(batch: list[Measure], dates: list[dt.date]) -> dict[Any, Any]:
    """Return what is read of the rows that some date knew, the days from and to which they were known among it."""
    table = find_table(batch[0].table)
    happened = table.c[table.info["happened"]]
    low, high = sa.bindparam("low", type_=sa.Integer), sa.bindparam("high", type_=sa.Integer)
    first, last = snapshot.cutoff(dates[0]), snapshot.cutoff(dates[-1])
    conditions = [
        table.c.recorded_at < last,
        sa.or_(table.c.superseded_at.is_(None), table.c.superseded_at >= first),
        happened < snapshot.moment(happened, last),
        table.c.customer_key >= low,
        table.c.customer_key < high,
    ]
    starts = [earliest(batch, date) for date in dates]
    if None not in starts:
        start = min(day for day in starts if day is not None)
        conditions.append(happened >= snapshot.moment(happened, dt.datetime.combine(start, dt.time())))
    rows = sa.select(table).where(*conditions).subquery(table.name)
    return {
        **reading.needed(batch, rows),
        "recorded": sa.cast(rows.c.recorded_at, sa.Date),
        "superseded": reading.day_of(rows.c.superseded_at, FOREVER),
    }


class Counted(Block):
    """The rows of one block of customers that some date knew, counted for all dates at once."""

    def __init__(self, scan: Scan, columns: Columns, size: int) -> None:
        super().__init__(columns, size, scan.layouts[0])
        self.scan = scan
        self.cuts = np.array([source.day_number(snapshot.cutoff(date).date()) for date in scan.dates])
        day = columns["day", str(find_table(scan.layouts[0].batch[0].table).info["happened"])]
        # Known from the day it happened and for good: what the cube takes every row for.
        self.odd = np.flatnonzero((columns["recorded"] > day) | (columns["superseded"] < self.cuts[-1]))
        odd = {name: columns[name][self.odd] for name in ("recorded", "superseded")}
        self.began, self.known, self.left = (
            np.searchsorted(self.cuts, days, side="right")
            for days in (day[self.odd], np.maximum(odd["recorded"], day[self.odd]), odd["superseded"])
        )

    def grid(self, date: str, by: str) -> Grid:
        """Return the grid that holds the windows of all dates."""
        return self.scan.grids[date, by]

    def as_of(self, number: int) -> Known:
        """Return what one of the dates knew."""
        unknown = (number >= self.began) & ((number < self.known) | (number >= self.left))
        return Known(self, number, self.odd[unknown], {})

    def without(self, unknown: Array, planes: Array, measure: Measure, number: int) -> Array:
        """Return a window's planes without the rows that the date did not know."""
        start, end = self.scan.layouts[number].windows[measure]
        day = self.columns["day", measure.date][unknown]
        kept = (day < end) if start is None else (day < end) & (day >= start)
        if measure.where:
            kept &= self.columns["where", measure.where][unknown]
        if measure.kind == "values":
            kept &= self.columns["given", measure.value][unknown]
        if measure.by:
            kept &= self.columns["code", measure.by][unknown] > 0
        rows = unknown[kept]
        if not len(rows):
            return planes
        level = self.columns["code", measure.by][rows] - 1 if measure.by else 0
        cell = (level * self.size + self.key[rows]).astype(np.int64)
        value = self.columns["value", measure.value][rows] if measure.kind == "sum" else np.ones(len(rows), np.int64)
        left = planes.copy()
        np.subtract.at(left.reshape(-1), cell, value.astype(left.dtype))
        return left


@dataclass(frozen=True)
class Known:
    """What one date knew of a block: the counted rows without those ``unknown`` then."""

    counted: Counted
    number: int
    unknown: Array
    windows: dict[Any, Array]

    def __getitem__(self, measure: Measure) -> Array:
        first, last, level = self.counted.scan.planes[self.number][measure]
        cube = self.counted.cube(measure)
        if not len(self.unknown):
            return cubes.between(cube[:, level], first, last)
        name = (measure.kind, measure.value, measure.where, measure.date, measure.by, first, last)
        if name not in self.windows:
            planes = cubes.between(cube, first, last)
            self.windows[name] = self.counted.without(self.unknown, planes, measure, self.number)
        return self.windows[name][level]

    def put(self, measure: Measure, members: Members, into: Array) -> None:
        """Write a measure into the result; the difference of two planes goes there straight."""
        first, last, level = self.counted.scan.planes[self.number][measure]
        cube = self.counted.cube(measure)
        if members.local is None and isinstance(members.places, slice) and not len(self.unknown) and last < len(cube):
            places = slice(0, members.size)
            np.subtract(cube[first, level, places], cube[last, level, places], out=into[members.places])
        else:
            members.put(self[measure][: members.size], into)
