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
from crmlib.features.block import FOREVER, Block, Cut, Layout, consecutive
from crmlib.features.build import frame, resolve
from crmlib.features.cubes import Array, Grid, Room
from crmlib.features.default import DEFAULT
from crmlib.features.plan import Measure
from crmlib.features.reading import Columns, Members, Query
from crmlib.features.results import ADDED, Results, Run
from crmlib.features.spec import Declaration, find_table, reaches
from crmlib.features.sql import earliest
from crmlib.warehouse import snapshot
from crmlib.warehouse.snapshot import Snapshot, Warehouse

EVERYBODY = 2**31 - 1
BLOCK = 8_192
"""Customers counted at a time: fewer than for one date, as the cubes hold the spans of all dates."""


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
    if customers_each < 1:
        raise UsageError(f"customers_each is {customers_each}; give a number above zero")
    taken = [warehouse.snapshot(date) for date in dates]
    taken = [one for _, one in sorted({one.as_of: one for one in taken}.items())]
    if not taken:
        raise UsageError("panel: dates is empty; give at least one date")
    features = plan.expand(resolve(spec, taken[-1]))
    read = [customers.read(one, features) for one in taken]
    together = [run for run in Results.of(features, 0).runs if _adds_up(run)]
    scans = [Scan.of(taken, batch, runs) for batch, runs in kernel.batches(together)]
    last = max((int(keys.max(initial=-1)) for _, keys, _ in read), default=-1)
    for low in range(0, max(last, 0) + 1, customers_each):
        within = [(keys >= low) & (keys < low + customers_each) for _, keys, _ in read]
        keys = [keys[kept] for (_, keys, _), kept in zip(read, within, strict=True)]
        ends = np.cumsum([len(own) for own in keys])
        room = Results.of(features, int(ends[-1]))
        views = [room.part(int(end) - len(own), int(end)) for own, end in zip(keys, ends, strict=True)]
        with warehouse.scan() as connection:
            for scan in scans:
                scan.fill(connection, keys, views)
        for one, own, view in zip(taken, keys, views, strict=True):
            kernel.fill(one, Results(run for run in view.runs if not _adds_up(run)), own)
        out = dict(room.columns()) | _stacked(
            [(ids, values, kept) for (ids, _, values), kept in zip(read, within, strict=True)]
        )
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


def _adds_up(run: Run) -> bool:
    """Say whether features are made of counts and whole sums of rows that look the same at any date that knows them."""
    return all(isinstance(measure, Measure) and _whole(measure) for measure in run.features[0].inputs)


def _whole(measure: Measure) -> bool:
    table = find_table(measure.table)
    named = [measure.by, measure.value, *[name for name, _ in measure.where]]
    plain = all(
        name in table.c and not table.c[name].info["known_from"] and not reaches(table, name) for name in named if name
    )
    whole = measure.kind != "sum" or isinstance(table.c[measure.value].type, sa.Integer)
    past = (measure.window[1] or 0) >= 0 and measure.date == table.info["happened"]
    return measure.kind in ADDED and table.info["kind"] == "event" and plain and whole and past


@dataclass(frozen=True)
class Scan:
    """One table's counts and sums as of several dates: the query, the grid of each code column, each date's layout.

    ``planes`` says for each date and measure the first span of its window and the one after the last, and its level;
    ``cuts`` the same of each run of features, by the name of its first.
    """

    query: Query
    dates: list[dt.date]
    grids: dict[tuple[str, str], Grid]
    layouts: list[Layout]
    planes: list[dict[Measure, tuple[int, int, int]]]
    cuts: list[dict[str, Cut]]

    @classmethod
    def of(cls, taken: list[Snapshot], batch: list[Measure], runs: list[Run]) -> Scan:
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
        cuts = [
            {
                run.features[0].name: (*own[run.measures[0]][:2], consecutive([own[m][2] for m in run.measures]))
                for run in runs
            }
            for own in planes
        ]
        query = Query.of(taken[0].warehouse, _columns(batch, dates), ordered=True)
        return cls(query, dates, grids, layouts, planes, cuts)

    def fill(self, connection: duckdb.DuckDBPyConnection, keys: list[Array], out: list[Results]) -> None:
        """Write the features of each date into its ``out``, for the customers with that date's keys."""
        everyone = reading.blocks(np.unique(np.concatenate(keys)), BLOCK)
        wanted = [{block.low: block for block in reading.blocks(own, BLOCK)} for own in keys]
        room = Room()
        for block, columns in reading.by_block(connection, self.query, everyone, some=False):
            counted = Counted(self, columns, block.size, room)
            for number, members in enumerate(wanted):
                if block.low in members:
                    self.put(counted, number, members[block.low], out[number])

    def put(self, counted: Counted, number: int, members: Members, out: Results) -> None:
        """Write the features of one date and block."""
        found = counted.as_of(number)
        for run in out.runs:
            cut = self.cuts[number].get(run.features[0].name)
            if cut and run.added:
                members.put_difference(*found.planes(run.measures[0], cut), run.values)
            elif cut:
                members.put(kernel.computed(run.features[0], found, self.dates[number]), run.values)


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
        ("day", "recorded"): rows.c.recorded_at,
        ("day", "superseded"): reading.day_of(rows.c.superseded_at, FOREVER),
    }


class Counted(Block):
    """The rows of one block of customers that some date knew, counted for all dates at once."""

    def __init__(self, scan: Scan, columns: Columns, size: int, room: Room) -> None:
        super().__init__(columns, size, scan.layouts[0], room)
        self.scan = scan
        self.cutoffs = np.array([source.day_number(snapshot.cutoff(date).date()) for date in scan.dates])
        day = columns["day", str(find_table(scan.layouts[0].batch[0].table).info["happened"])]
        # Known from the day it happened and for good: what the cube takes every row for.
        self.odd = np.flatnonzero(
            (columns["day", "recorded"] > day) | (columns["day", "superseded"] < self.cutoffs[-1])
        )
        odd = {name: columns["day", name][self.odd] for name in ("recorded", "superseded")}
        self.began, self.known, self.left = (
            np.searchsorted(self.cutoffs, days, side="right")
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
        values, less = self.planes(measure, (first, last, slice(level, level + 1)))
        return (values if less is None else values - less)[0]

    def planes(self, measure: Measure, cut: Cut) -> tuple[Array, Array | None]:
        """Return what ``Block.planes`` does, of what was known."""
        if not len(self.unknown):
            return self.counted.planes(measure, cut)
        first, last, levels = cut
        name = (measure.kind, measure.value, measure.where, measure.date, measure.by, first, last)
        if name not in self.windows:
            everything = cubes.between(self.counted.cube(measure), first, last)
            self.windows[name] = self.counted.without(self.unknown, everything, measure, self.number)
        return self.windows[name][levels], None
