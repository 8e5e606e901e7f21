"""Counting into cubes: each row's place from its day and level by one table look-up, windows by sums from the end.

A cube has the axes span of days, level, customer. Spans lie between the days at which windows begin or end. Summed up
from the last span back, the cube holds at each span what happened from there on, so a window is one of its planes, or
the difference of two. Whole numbers are added as such: sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from crmlib.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_SUM = float(2**58)
UNSET = 2**31 - 1


@dataclass(frozen=True)
class Grid:
    """The spans between ``edges`` (day numbers, rising) and the levels (0 for none) that rows are counted by.

    Span s is what lies after s of the edges: 0 before the first, the last one after them all, which no window takes.
    ``always`` says whether a window reaches back for good, so that span 0 is needed.
    """

    edges: tuple[int, ...]
    levels: int = 0
    always: bool = True

    @property
    def planes(self) -> int:
        """The number of pairs of span and level that are counted; one more takes what no window or level wants."""
        return self.spans * max(self.levels, 1)

    @property
    def spans(self) -> int:
        """The number of spans that are counted."""
        return len(self.edges) - (0 if self.always else 1)

    @cached_property
    def _plane(self) -> Array:
        """The plane of each day from the one before the first edge to the last edge, by level."""
        first = self.edges[0] - 1
        days = np.arange(first, self.edges[-1] + 1)
        span = np.searchsorted(np.array(self.edges), days, side="right") - (0 if self.always else 1)
        codes = np.arange(self.levels + 1) if self.levels else np.ones(1, dtype=np.int64)
        plane = span[:, None] * max(self.levels, 1) + codes[None, :] - 1
        out = (span[:, None] < 0) | (span[:, None] >= self.spans) | (codes[None, :] == 0)
        return np.where(out, self.planes, plane).ravel()

    def cells(self, day: Array, code: Array | None, key: Array, size: int) -> Array:
        """Return the place of each row in a flat cube of ``planes + 1`` planes of ``size`` customers."""
        first = self.edges[0] - 1
        place = np.clip(day, first, self.edges[-1])
        place -= first
        if code is not None:
            place *= self.levels + 1
            place += code
        cell = (self._plane * size).take(place, mode="clip")
        cell += key
        return cell

    def cube(self, flat: Array, size: int) -> Array:
        """Return the counted planes of a flat cube by span, level and customer."""
        return flat[: self.planes * size].reshape(self.spans, -1, size)

    def window(self, start: int | None, end: int) -> tuple[int, int]:
        """Return the first span of a window of days and the one after its last."""
        first = 0 if start is None else self.edges.index(start) + int(self.always)
        return first, self.edges.index(end) + int(self.always)


class Room:
    """Memory for cubes, used again block after block: to be given it cleared each time takes as long as the counting."""

    def __init__(self) -> None:
        self._kept: dict[Any, Array] = {}

    def filled(self, name: Any, size: int, value: int, dtype: type[np.integer[Any]]) -> Array:
        """Return ``size`` numbers, all of them ``value``; what was returned for this name before is written over."""
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = np.empty(size, dtype=dtype)
        part = kept[:size]
        part.fill(value)
        return part


def counted(cell: Array, total: Array) -> Array:
    """Return the number of rows by cell, added to ``total``."""
    np.add.at(total, cell, np.int32(1))
    return total


def added(cell: Array, value: Array, total: Array) -> Array:
    """Return the sums of ``value`` by cell: whole numbers exactly, added to ``total``, others in an array of their own.

    Raises DataError where the amounts of a block come near the end of 64 bits.
    """
    if not np.issubdtype(value.dtype, np.integer):
        return np.bincount(cell, weights=value, minlength=len(total))
    if len(value):
        largest = max(-int(value.min()), int(value.max()))
        if largest * float(len(value)) >= LARGEST_SUM and float(np.abs(value, dtype=np.float64).sum()) >= LARGEST_SUM:
            raise DataError(
                f"amounts up to {largest} are too large to be added exactly; check the unit of the money columns"
            )
    np.add.at(total, cell, value)
    return total


def extreme(cell: Array, day: Array, found: Array, *, last: bool) -> Array:
    """Return the last or first day by cell, or what is in ``found`` where that is later or earlier."""
    (np.maximum if last else np.minimum).at(found, cell, day)
    return found


def summed_back(cube: Array) -> Array:
    """Return a cube of whole numbers whose spans hold what happened from there on; in place."""
    for span in range(len(cube) - 2, -1, -1):
        cube[span] += cube[span + 1]
    return cube


def between(cube: Array, first: int, last: int) -> Array:
    """Return the planes of a window (all levels) from a cube that was summed back."""
    if first >= last:
        return np.zeros_like(cube[0])
    return cube[first] if last >= len(cube) else cube[first] - cube[last]
