"""What the models are given: checked, as arrays, identical customers counted once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST = 50
"""Fewer customers than this determine no model of four parameters."""
FEWEST_REPEATING = 10
"""Fewer customers with a repeat purchase than this say nothing about when customers stop."""


def checked(frequency: Any, recency: Any, age: Any, *, model: str) -> tuple[Array, Array, Array]:
    """Return frequency, recency and age as arrays of floats.

    Frequency: repeat purchases, whole numbers. Recency: time from the first to the last purchase, 0 without a repeat. Age:
    time from the first purchase to the day of the count. Raises DataError, with the number of customers concerned, for
    lengths that differ, missing values, negative or fractional frequencies, recency above age or at odds with frequency.
    """
    arrays = [np.atleast_1d(np.asarray(given, dtype=float)) for given in (frequency, recency, age)]
    sizes = {array.shape for array in arrays}
    if len(sizes) > 1 or arrays[0].ndim != 1:
        found = ", ".join(str(array.shape) for array in arrays)
        raise DataError(
            f"{model}: frequency, recency and age have the shapes {found}; give one value a customer in each"
        )
    x, last, age_ = arrays
    _refuse(
        ~np.isfinite(age_), f"{model}: age", "no value: without a first purchase they are prospects; leave them out"
    )
    _refuse(~np.isfinite(x) | ~np.isfinite(last), f"{model}: frequency or recency", "no value; leave them out")
    _refuse((x < 0) | (x != np.floor(x)), f"{model}: frequency", "a value that is not a whole number, 0 or more")
    _refuse((last < 0) | (age_ < 0), f"{model}: recency or age", "a negative value; count both from the first purchase")
    _refuse(
        last > age_, f"{model}: recency", "a value above the age: the last purchase lies after the day of the count"
    )
    _refuse((x == 0) & (last > 0), f"{model}: recency", "a value above 0 without a repeat purchase; use 0")
    _refuse((x > 0) & (last == 0), f"{model}: recency", "0 with repeat purchases; count one purchase a day at most")
    return x, last, age_


def checked_horizon(horizon: float, *, model: str) -> float:
    """Return the time to look ahead; raises UsageError for one that is not a number of 0 or more."""
    if not 0 <= horizon < np.inf:
        raise UsageError(f"{model}: the horizon is {horizon!r}; give a time of 0 or more, in the unit of the data")
    return horizon


def enough(frequency: Array, *, model: str) -> None:
    """Raise DataError where there are too few customers, or too few of them with a repeat purchase, for a fit."""
    repeating = int((frequency > 0).sum())
    if len(frequency) < FEWEST:
        raise DataError(f"{model}: not enough data (found {len(frequency)} customers, need {FEWEST})")
    if repeating < FEWEST_REPEATING:
        raise DataError(
            f"{model}: not enough data (found {repeating} customers with a repeat purchase among {len(frequency):,}, "
            f"need {FEWEST_REPEATING}); take a longer period"
        )


def collapsed(*columns: Array) -> tuple[tuple[Array, ...], Array, Array]:
    """Return the distinct rows, the number of customers of each, and the place of each customer's row among them.

    >>> rows, weight, place = collapsed(np.array([1.0, 0.0, 1.0]), np.array([2.0, 0.0, 2.0]))
    >>> [row.tolist() for row in rows], weight.tolist(), place.tolist()
    ([[0.0, 1.0], [0.0, 2.0]], [1.0, 2.0], [1, 0, 1])
    """
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        # Renumbering after each column keeps the codes below rows × levels, far from the end of 64 bits.
        own, levels = pd.factorize(column, sort=True)
        code = pd.factorize(code * max(len(levels), 1) + own, sort=True)[0]
    _, first, place, count = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return tuple(column[first] for column in columns), count.astype(float), place


def _refuse(bad: Array, what: str, why: str) -> None:
    number = int(bad.sum())
    if number:
        raise DataError(f"{what}: {number:,} of {len(bad):,} customers have {why}")
