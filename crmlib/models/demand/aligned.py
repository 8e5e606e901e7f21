"""Panels of series as arrays: right-aligned as given, left-aligned and longest first for recursions over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.errors import DataError, UsageError

Array = NDArray[np.float64]

CELLS = 24_000
"""Series times candidates worked on at once: about as much as stays in the cache of one core."""


@dataclass(frozen=True)
class Block:
    """Some series side by side, each from its first value on, longest first.

    Attributes: ``rows`` their places in the array given; ``values`` time × series, scaled by ``scale``, 0 behind the end
    of a series; ``lengths`` their numbers of values, falling; ``scale`` the mean absolute value of each (1 where that is 0).
    """

    rows: NDArray[np.intp]
    values: Array
    lengths: NDArray[np.intp]
    scale: Array

    def active(self) -> Iterator[tuple[int, int]]:
        """Yield each time and how many series still have a value then: always the first ones."""
        ends = np.searchsorted(-self.lengths, -np.arange(len(self.values)), side="left")
        return zip(range(len(self.values)), ends.tolist(), strict=True)


def checked(values: Any, *, season: int = 1, horizon: int = 1) -> Array:
    """Return ``values`` as an array of series × time.

    Raises DataError for another shape, a value that is not finite, a gap behind a first value or a series without
    values, naming the row; UsageError for a season or horizon below 1.

    >>> checked([[np.nan, 1, 2]]).tolist()
    [[nan, 1.0, 2.0]]
    """
    for name, number in (("season", season), ("horizon", horizon)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise UsageError(f"{name} is {number!r}; give a whole number of periods, 1 or more")
    array = np.asarray(values, dtype=float)
    if array.ndim != 2:
        raise DataError(f"values has {array.ndim} dimensions; give series × time, one row a series")
    if not array.size:
        raise DataError(f"values has the shape {array.shape}; give at least one series with one value")
    missing = np.isnan(array)
    late = missing[:, 1:] & ~missing[:, :-1]
    for found, what in (
        (np.isinf(array).any(axis=1), "a value that is not finite"),
        (late.any(axis=1), "a gap behind its first value"),
        (missing.all(axis=1), "no value at all"),
    ):
        if found.any():
            row = int(np.flatnonzero(found)[0])
            raise DataError(
                f"values: series in row {row} has {what} ({int(found.sum())} such series); fill it or leave it out"
            )
    return array


def lengths(values: Array) -> NDArray[np.intp]:
    """Return how many values each series has.

    >>> lengths(np.array([[np.nan, 1.0, 2.0], [1.0, 2.0, 3.0]])).tolist()
    [2, 3]
    """
    return (~np.isnan(values)).sum(axis=1)


def blocks(values: Array, *, candidates: int = 1) -> Iterator[Block]:
    """Yield the series as blocks small enough to work on ``candidates`` settings of each at once."""
    sizes = lengths(values)
    order = np.argsort(-sizes, kind="stable")
    step = max(CELLS // candidates, 1)
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        size = sizes[rows]
        width = values.shape[1]
        at = np.arange(size[0])[:, None] + (width - size)[None, :]  # the first value of each series to the top
        part = np.where(at < width, values[rows[None, :], np.minimum(at, width - 1)], 0.0)
        scale = np.abs(part).sum(axis=0) / size
        scale[scale == 0] = 1.0
        yield Block(rows, part / scale, size, scale)


def phase(width: int, *, season: int) -> NDArray[np.intp]:
    """Return the place in the season of each column, counted so that the first period ahead has place 0.

    >>> phase(5, season=4).tolist()
    [3, 0, 1, 2, 3]
    """
    return (np.arange(width) - width) % season
