"""How far forecasts were off: errors of points, of intervals and of quantiles, over the last axis of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from crmlib.errors import DataError, UsageError
from crmlib.models.demand.aligned import Array, checked


def smape(actual: Any, forecast: Any) -> Array:
    """Return the symmetric absolute percentage error of each series: the mean of 200 |a - f| / (|a| + |f|), 0 to 200.

    0 where both are 0. In: arrays of one shape, periods last. Raises DataError for other shapes.

    S. Makridakis, M. Hibon, "The M3-Competition", International Journal of Forecasting 16 (2000), 451-476, p. 461.

    >>> smape([[100.0, 0.0]], [[50.0, 0.0]]).round(3).tolist()
    [33.333]
    """
    a, f = _pair(actual, forecast)
    total = np.abs(a) + np.abs(f)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(total > 0, 200 * np.abs(a - f) / total, 0.0)
    return np.asarray(np.where(np.isnan(total), np.nan, each).mean(axis=-1))


def scale(history: Any, *, season: int = 1) -> Array:
    """Return the mean absolute change over a season within each history, the unit of ``mase``: NaN where there is none.

    In: series × time, right-aligned, NaN before the first value. A constant history has the scale NaN: no error can be
    measured in it.

    >>> scale([[1.0, 3.0, 2.0, 6.0]], season=2).tolist(), scale([[4.0, 4.0]]).tolist()
    ([2.0], [nan])
    """
    array = checked(history, season=season)
    change = np.abs(array[:, season:] - array[:, :-season])
    known = ~np.isnan(change)
    number = known.sum(axis=1)
    total = np.where(known, change, 0.0).sum(axis=1)
    return np.where(total > 0, total / np.maximum(number, 1), np.nan)


def mase(actual: Any, forecast: Any, history: Any, *, season: int = 1) -> Array:
    """Return the mean absolute scaled error of each series: below 1 is better than the seasonal naive was in the history.

    In: ``actual`` and ``forecast`` series × horizon, ``history`` series × time. NaN where the history never changes over
    a season. Raises DataError for shapes that do not fit.

    R. Hyndman, A. Koehler, "Another look at measures of forecast accuracy", International Journal of Forecasting 22 (2006), 679-688, p. 685.

    >>> mase([[7.0, 9.0]], [[6.0, 6.0]], [[1.0, 3.0, 2.0, 6.0]], season=2).tolist()
    [1.0]
    """
    a, f = _pair(actual, forecast)
    unit = scale(history, season=season)
    if len(unit) != len(a):
        raise DataError(f"history has {len(unit)} series and actual {len(a)}; give the history of the same series")
    return np.asarray(np.abs(a - f).mean(axis=-1) / unit)


def owa(smape_mean: float, mase_mean: float, *, naive_smape: float, naive_mase: float) -> float:
    """Return the overall weighted average: the mean of sMAPE and MASE, each over that of Naive2; below 1 beats it.

    S. Makridakis, E. Spiliotis, V. Assimakopoulos, "The M4 Competition", International Journal of Forecasting 36 (2020), 54-74, p. 64.

    >>> round(owa(12.0, 0.9, naive_smape=16.0, naive_mase=1.0), 3)
    0.825
    """
    for name, value in (("naive_smape", naive_smape), ("naive_mase", naive_mase)):
        if not value > 0:
            raise UsageError(f"{name} is {value!r}; it has to be above 0, else nothing can be compared with it")
    return (smape_mean / naive_smape + mase_mean / naive_mase) / 2


def wape(actual: Any, forecast: Any, weight: Any = 1.0) -> float:
    """Return the weighted absolute percentage error: all absolute errors over all that was wanted, as a share.

    ``weight`` (0 to 1) is the part of a period that tells demand: a period of weight 0 does not count, whatever stands
    there. NaN where nothing was wanted.

    >>> wape([10.0, 30.0, 99.0], [20.0, 30.0, 0.0], [1, 1, 0])
    0.25
    """
    a, f, w = _weighted(actual, forecast, weight)
    wanted = float((np.abs(a) * w).sum())
    return float((np.abs(a - f) * w).sum()) / wanted if wanted > 0 else float("nan")


def bias(actual: Any, forecast: Any, weight: Any = 1.0) -> float:
    """Return by what share of what was wanted the forecasts were too high (above 0) or too low; NaN where nothing was wanted.

    >>> bias([10.0, 30.0], [20.0, 30.0])
    0.25
    """
    a, f, w = _weighted(actual, forecast, weight)
    wanted = float((np.abs(a) * w).sum())
    return float(((f - a) * w).sum()) / wanted if wanted > 0 else float("nan")


def pinball(actual: Any, quantile: Any, *, level: float, weight: Any = 1.0) -> float:
    """Return the mean pinball loss of a forecast quantile, in the unit of the series; the smallest is that of the true quantile.

    R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46 (1978), 33-50, p. 38.

    >>> round(pinball([10.0, 12.0], [11.0, 11.0], level=0.9), 3)
    0.5
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level!r}; give the level of the quantile, above 0 and below 1")
    a, q, w = _weighted(actual, quantile, weight)
    error = a - q
    total = float(w.sum())
    return float((np.maximum(level * error, (level - 1) * error) * w).sum()) / total if total > 0 else float("nan")


def coverage(actual: Any, low: Any, high: Any, *, weight: Any = 1.0) -> float:
    """Return the share of values within their intervals, ends included; NaN where none has an interval.

    >>> coverage([1.0, 5.0, 9.0, 4.0], [0.0, 6.0, 8.0, np.nan], [2.0, 7.0, 9.0, np.nan]) == 2 / 3
    True
    """
    a, least, w = _weighted(actual, low, weight)
    _, most, _ = _weighted(actual, high, weight)
    known = w * ~(np.isnan(least) | np.isnan(most) | np.isnan(a))
    total = float(known.sum())
    return float(((a >= least) & (a <= most)) @ known) / total if total > 0 else float("nan")


def _pair(actual: Any, forecast: Any) -> tuple[Array, Array]:
    a, f = np.asarray(actual, dtype=float), np.asarray(forecast, dtype=float)
    if a.shape != f.shape or not a.ndim:
        raise DataError(f"actual has the shape {a.shape} and forecast {f.shape}; give one forecast for each value")
    return a, f


def _weighted(actual: Any, forecast: Any, weight: Any) -> tuple[Array, Array, Array]:
    """Return values, forecasts and weights side by side; what has no weight becomes 0 so that NaN there does no harm."""
    a, f = _pair(actual, forecast)
    w = np.broadcast_to(np.asarray(weight, dtype=float), a.shape).ravel()
    if not ((w >= 0) & np.isfinite(w)).all():
        raise DataError("weight holds values below 0 or none; give the share of each period that tells demand, 0 to 1")
    counts = w > 0
    return np.where(counts, a.ravel(), 0.0), np.where(counts, f.ravel(), 0.0), w
