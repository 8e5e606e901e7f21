"""The rows of one table and block of customers, and the measures counted from them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crmlib.features import cubes, source
from crmlib.features.cubes import Array, Grid, Room
from crmlib.features.plan import Measure, bound, bounds
from crmlib.features.spec import find_table

NEVER = dt.date(1, 1, 1)
FOREVER = dt.date(9999, 12, 31)
NO_DAY = source.day_number(NEVER)


def levels_of(batch: Iterable[Measure], by: str) -> list[str]:
    """Return the levels of a code column that any of the measures takes, in order: level n has the code n + 1."""
    return sorted({measure.level for measure in batch if measure.by == by})


Cut = tuple[int, int, "slice | list[int]"]
"""A window's first span, the one after its last, and levels."""


@dataclass(frozen=True)
class Layout:
    """What a batch of measures of one table needs to know beforehand, the same for every block of customers.

    ``grids`` by date and code column, ``levels`` by code column, ``windows`` the days between which a measure takes rows,
    ``planes`` its first span, the one after its last, and its level, in the cube.
    """

    as_of: dt.date
    batch: tuple[Measure, ...]
    levels: dict[str, list[str]]
    grids: dict[tuple[str, str], Grid]
    windows: dict[Measure, tuple[int | None, int]]
    planes: dict[Measure, tuple[int, int, int]]

    @classmethod
    def of(cls, batch: Iterable[Measure], as_of: dt.date) -> Layout:
        """Lay out the measures of a batch as of a date."""
        batch = tuple(batch)
        levels = {by: levels_of(batch, by) for by in dict.fromkeys(m.by for m in batch if m.by)}
        counted = [measure for measure in batch if measure.kind != "state"]
        windows: dict[Measure, tuple[int | None, int]] = {}
        for measure in counted:
            start, end = bounds(measure, as_of)
            windows[measure] = None if start is None else source.day_number(start), source.day_number(end)
        grids: dict[tuple[str, str], Grid] = {}
        for date, by in dict.fromkeys((m.date, m.by) for m in counted):
            own = [windows[m] for m in counted if (m.date, m.by) == (date, by)]
            edges = sorted({day for window in own for day in window if day is not None})
            grids[date, by] = Grid(tuple(edges), len(levels[by]) if by else 0, any(start is None for start, _ in own))
        planes = {}
        for measure in counted:
            level = levels[measure.by].index(measure.level) if measure.by else 0
            planes[measure] = *grids[measure.date, measure.by].window(*windows[measure]), level
        return cls(as_of, batch, levels, grids, windows, planes)

    def cut(self, measures: Sequence[Measure]) -> Cut:
        """Return where measures that differ in their levels alone lie in their cube."""
        first, last, _ = self.planes[measures[0]]
        return first, last, consecutive([self.planes[measure][2] for measure in measures])


def consecutive(numbers: list[int]) -> slice | list[int]:
    """Return numbers as a slice where they follow each other: that takes no copy."""
    start = numbers[0]
    return slice(start, start + len(numbers)) if numbers == list(range(start, start + len(numbers))) else numbers


class Block:
    """Columns of rows of the customers numbered in ``key``, below ``size``, and what is counted from them.

    What it returns may lie in ``room``, where the next block's will be.
    """

    def __init__(self, columns: dict[Any, Array], size: int, layout: Layout, room: Room) -> None:
        self.columns = columns
        self.room = room
        self.key = columns["key"]
        self.size = size
        self.layout = layout
        self.places: dict[Any, Any] = {}
        self.cubes: dict[Any, Array] = {}
        self.found: dict[Measure, Array] = {}

    def __getitem__(self, measure: Measure) -> Array:
        if measure not in self.found:
            around = {"squares": self.squares, "value": self.last_value, "state": self.state}
            self.found[measure] = around.get(measure.kind, self.from_cube)(measure)
        return self.found[measure]

    def planes(self, measure: Measure, cut: Cut) -> tuple[Array, Array | None]:
        """Return two planes, by level and customer, whose difference is the measure over the cut; None for nothing."""
        first, last, levels = cut
        cube = self.cube(measure)
        if first >= last:
            return cube[0, levels], cube[0, levels]
        return cube[first, levels], cube[last, levels] if last < len(cube) else None

    def grid(self, date: str, by: str) -> Grid:
        """Return the grid over ``date`` and ``by``."""
        return self.layout.grids[date, by]

    def cell(self, date: str, by: str) -> tuple[Grid, Array]:
        """Return the grid over ``date`` and ``by``, and each row's place in it."""
        grid = self.grid(date, by)
        if (date, by) not in self.places:
            code = self.columns["code", by] if by else None
            self.places[date, by] = grid.cells(self.columns["day", date], code, self.key, self.size)
        return grid, self.places[date, by]

    def rows(self, measure: Measure) -> Array | slice:
        """Return which rows count, the window and the level apart."""
        name = (measure.where, measure.date, measure.kind in ("values", "squares", "value") and measure.value)
        if name in self.places:
            return self.places[name]
        kept = []
        if measure.where:
            kept.append(self.columns["where", measure.where])
        if measure.date != find_table(measure.table).info["happened"]:
            kept.append(self.columns["day", measure.date] != NO_DAY)
        if name[2] and not self.columns["given", measure.value].all():
            kept.append(self.columns["given", measure.value])
        self.places[name] = np.flatnonzero(np.logical_and.reduce(kept)) if kept else slice(None)
        return self.places[name]

    def cube(self, measure: Measure) -> Array:
        """Return the cube of a measure's kind, value, rows, date and levels; whole numbers summed up from the end."""
        kind, date, by = measure.kind, measure.date, measure.by
        name = (kind, measure.value, measure.where, date, by)
        if name not in self.cubes:
            rows = self.rows(measure)
            grid, cell = self.cell(date, by)
            cell, size = cell[rows], (grid.planes + 1) * self.size
            if kind in ("count", "values"):
                flat = cubes.counted(cell, self.room.filled(name, size, 0, np.int32))
            elif kind == "sum":
                total = self.room.filled(name, size, 0, np.int64)
                flat = cubes.added(cell, self.columns["value", measure.value][rows], total)
            else:
                found = self.room.filled(name, size, -cubes.UNSET if kind == "last" else cubes.UNSET, np.int32)
                flat = cubes.extreme(cell, self.columns["day", date][rows], found, last=kind == "last")
            cube = grid.cube(flat, self.size)
            whole = kind in ("count", "values", "sum") and flat.dtype.kind == "i"
            self.cubes[name] = cubes.summed_back(cube) if whole else cube
        return self.cubes[name]

    def from_cube(self, measure: Measure) -> Array:
        """Return a count, sum, first or last day over the spans that make up the window."""
        first, last, level = self.layout.planes[measure]
        cube = self.cube(measure)[:, level]
        if measure.kind not in ("last", "first"):
            whole = cube.dtype.kind == "i"
            return cubes.between(cube, first, last) if whole else np.add.reduce(cube[first:last], axis=0)
        days = (np.maximum if measure.kind == "last" else np.minimum).reduce(cube[first:last], axis=0)
        return np.where(np.abs(days) == cubes.UNSET, np.nan, days)

    def in_window(self, measure: Measure) -> Array:
        """Return the numbers of the rows that a measure takes, its level and window included."""
        start, end = self.layout.windows[measure]
        day = self.columns["day", measure.date]
        kept = day < end
        if start is not None:
            kept &= day >= start
        if measure.by:
            kept &= self.columns["code", measure.by] == self.layout.planes[measure][2] + 1
        rows = self.rows(measure)
        if isinstance(rows, slice):
            return np.flatnonzero(kept)
        return rows[kept[rows]]

    def squares(self, measure: Measure) -> Array:
        """Return the sum of squared deviations from the customer's mean; two passes, as in SQL."""
        rows = self.in_window(measure)
        key, value = self.key[rows], self.columns["value", measure.value][rows]
        count = np.bincount(key, minlength=self.size)
        total = cubes.added(key, value, np.zeros(self.size, dtype=np.int64))
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
        if ("next", date) not in self.places:
            series, day = self.columns["series", date], self.columns["day", date]
            order = np.argsort(series, kind="stable")
            same = series[order[1:]] == series[order[:-1]]
            if (same & (day[order[1:]] < day[order[:-1]])).any():  # the file is not in the order of time
                order = np.lexsort((day, series))
            found = np.full(len(day), source.day_number(FOREVER), dtype=np.int32)
            found[order[:-1]] = np.where(same, day[order[1:]], source.day_number(FOREVER))
            self.places["next", date] = found
        return self.places["next", date]

    def state(self, measure: Measure) -> Array:
        """Return the sum of the balances in force at the end of the window."""
        back, levels = measure.window[1] or 0, self.layout.levels.get(measure.by, [])
        name = ("state", measure.value, measure.where, measure.by, back, measure.stale)
        if name not in self.cubes:
            at = source.day_number(bound(self.layout.as_of, back))
            oldest = source.day_number(bound(self.layout.as_of, back + measure.stale))
            day = self.columns["day", measure.date]
            kept = (day < at) & (day >= oldest) & (self.next_day(measure.date) >= at)
            kept &= self.columns["day", "holding_closed_on"] >= at
            if measure.where:
                kept &= self.columns["where", measure.where]
            rows = np.flatnonzero(kept)
            code = self.columns["code", measure.by][rows].astype(np.int64) if measure.by else 0
            value = self.columns["value", measure.value][rows]
            total = self.room.filled(name, (len(levels) + 1) * self.size, 0, np.int64)
            flat = cubes.added(code * self.size + self.key[rows], value, total)
            self.cubes[name] = flat.reshape(-1, self.size)
        return self.cubes[name][levels.index(measure.level) + 1 if measure.by else 0]
