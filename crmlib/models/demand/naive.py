"""The bars that every forecast has to clear: the last value, the last season, the last value with seasonal factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from crmlib.models.demand.aligned import Array, checked, lengths
from crmlib.models.demand.seasonal import deseasonalise


def last(values: Any, *, horizon: int) -> Array:
    """Return the last value of each series for every period ahead: series × horizon.

    In: series × time, right-aligned, NaN before the first value. Raises DataError and UsageError as ``aligned.checked``.

    >>> last([[1.0, 2.0, 4.0]], horizon=2).tolist()
    [[4.0, 4.0]]
    """
    array = checked(values, horizon=horizon)
    return np.repeat(array[:, -1:], horizon, axis=1)


def seasonal(values: Any, *, season: int, horizon: int) -> Array:
    """Return the value of the same period a season ago (the last one of a series shorter than a season): series × horizon.

    In: series × time, right-aligned, NaN before the first value. Raises DataError and UsageError as ``aligned.checked``.

    >>> seasonal([[1.0, 2.0, 3.0, 4.0], [np.nan, np.nan, np.nan, 9.0]], season=2, horizon=3).tolist()
    [[3.0, 4.0, 3.0], [9.0, 9.0, 9.0]]
    """
    array = checked(values, season=season, horizon=horizon)
    out = last(array, horizon=horizon)
    if season <= array.shape[1]:
        long = lengths(array) >= season
        out[long] = array[long][:, -season:][:, np.arange(horizon) % season]
    return out


def naive2(values: Any, *, season: int, horizon: int) -> Array:
    """Return the last value of each series without its season, with the season put back: series × horizon.

    The bar of the M competitions (their "Naive2"): where no season is found it equals ``last``. Raises DataError and
    UsageError as ``aligned.checked``.

    S. Makridakis, M. Hibon, "The M3-Competition", International Journal of Forecasting 16 (2000), 451-476, p. 457.

    >>> naive2([[2.0, 4.0, 6.0, 8.0] * 6], season=4, horizon=4).round(6).tolist()
    [[2.0, 4.0, 6.0, 8.0]]
    """
    found = deseasonalise(checked(values, season=season, horizon=horizon), season=season)
    return found.restore(last(found.adjusted, horizon=horizon))
