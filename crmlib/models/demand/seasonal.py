"""Seasonal factors of many series at once: found by an autocorrelation test, taken out, put back on a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.models.demand import waves
from crmlib.models.demand.aligned import Array, checked, lengths, phase

TEST = 1.645
"""Normal quantile of the test for a season: 90%, two-sided."""
SEASONS_NEEDED = 3


@dataclass(frozen=True)
class Seasonal:
    """Series without their seasons.

    Attributes: ``adjusted`` series × time; ``factors`` series × season, place 0 the first period ahead: multiplied where
    ``multiplicative`` (mean 1), added elsewhere (mean 0), neutral where none was ``found``.
    """

    adjusted: Array
    factors: Array
    found: NDArray[np.bool_]
    multiplicative: NDArray[np.bool_]

    def ahead(self, horizon: int) -> Array:
        """Return the factors of the periods ahead: series × horizon."""
        return self.factors[:, np.arange(horizon) % self.factors.shape[1]]

    def restore(self, forecast: Any) -> Array:
        """Return a forecast of the adjusted series with the season put back: series × horizon.

        >>> found = deseasonalise(np.tile([2.0, 4.0, 6.0, 8.0], (1, 6)), season=4)
        >>> found.restore(np.full((1, 4), 5.0)).round(6).tolist()
        [[2.0, 4.0, 6.0, 8.0]]
        """
        levels = np.asarray(forecast, dtype=float)
        factors = self.ahead(levels.shape[1])
        return np.where(self.multiplicative[:, None], levels * factors, levels + factors)


def deseasonalise(values: Any, *, season: int) -> Seasonal:
    """Return series × time without the season that classical decomposition finds in them.

    A series has a season where its autocorrelation passes the test of ``seasonal`` and it has three seasons of values.
    Factors are means of ratios to a centred moving average, normalised to 1; of differences, normalised to 0, where a
    value is not above 0 or a factor would be near 0. Where that finds none in a season of 26 periods or more (weeks of a
    year: three years cannot pass the test), the smooth season of ``waves``, if any, is taken, from two seasons on. Raises DataError and UsageError as ``aligned.checked``.

    V. Assimakopoulos, K. Nikolopoulos, "The theta model", International Journal of Forecasting 16 (2000), 521-530, p. 525.

    >>> found = deseasonalise(np.tile([2.0, 4.0, 6.0, 8.0], (1, 6)), season=4)
    >>> found.factors.round(6).tolist(), found.adjusted[0, :3].round(6).tolist()
    ([[0.4, 0.8, 1.2, 1.6]], [5.0, 5.0, 5.0])
    """
    array = checked(values, season=season)
    found = seasonal(array, season=season)
    factors = np.ones((len(array), season))
    adjusted = array.copy()
    multiplicative = np.ones(len(array), dtype=bool)
    places = phase(array.shape[1], season=season)
    rows = np.flatnonzero(found)
    if len(rows):
        block = array[rows]
        trend = _centred_mean(block, season)
        ratios = _means(block, trend, season, ratio=True)
        steady = np.nanmin(np.where(np.isnan(block), np.inf, block), axis=1) > 0
        steady &= (ratios > 0.01).all(axis=1) & np.isfinite(ratios).all(axis=1)
        factors[rows] = np.where(steady[:, None], ratios, _means(block, trend, season, ratio=False))
        multiplicative[rows] = steady
        each = factors[rows][:, places]
        with np.errstate(divide="ignore", invalid="ignore"):
            adjusted[rows] = np.where(steady[:, None], block / each, block - each)
    if season >= waves.LEAST_SEASON:
        _smooth(array, season, Seasonal(adjusted, factors, found, multiplicative))
    return Seasonal(adjusted, factors, found, multiplicative)


def _smooth(array: Array, season: int, into: Seasonal) -> None:
    """Take out the smooth season of the series in which none was found: of the logarithms where all values are above 0."""
    rows = np.flatnonzero(~into.found & (lengths(array) >= waves.SEASONS_NEEDED * season))
    positive = np.nanmin(np.where(np.isnan(array), np.inf, array), axis=1) > 0
    places = phase(array.shape[1], season=season)
    for some, ratio in ((rows[positive[rows]], True), (rows[~positive[rows]], False)):
        if not len(some):
            continue
        wave, passed = waves.fit(np.log(array[some]) if ratio else array[some], season=season)
        chosen, wave = some[passed], wave[passed]
        factors = np.exp(wave) / np.exp(wave).mean(axis=1, keepdims=True) if ratio else wave
        each = factors[:, places]
        into.factors[chosen], into.found[chosen], into.multiplicative[chosen] = factors, True, ratio
        into.adjusted[chosen] = array[chosen] / each if ratio else array[chosen] - each


def seasonal(values: Any, *, season: int) -> NDArray[np.bool_]:
    """Return which series have a season: |r_m| > 1.645 sqrt((1 + 2 (r_1² + … + r_(m-1)²)) / n), over three seasons of values.

    J. Fiorucci et al., "Models for optimising the theta method", International Journal of Forecasting 32 (2016), 1151-1161,
    section 2. A series that is constant has none. Raises DataError and UsageError as ``aligned.checked``.

    >>> seasonal([[1.0, 5.0] * 12, [3.0] * 24], season=2).tolist()
    [True, False]
    """
    array = checked(values, season=season)
    size = lengths(array)
    out = np.zeros(len(array), dtype=bool)
    rows = np.flatnonzero(size >= SEASONS_NEEDED * season)
    if season == 1 or not len(rows):
        return out
    block, n = array[rows], size[rows]
    missing = np.isnan(block)
    filled = np.where(missing, 0.0, block)
    largest = np.abs(filled).max(axis=1)
    largest[largest == 0] = 1.0
    filled = filled / largest[:, None]
    centred = np.where(missing, 0.0, filled - (filled.sum(axis=1) / n)[:, None])
    power = (centred**2).sum(axis=1)
    flat = power <= 1e-18 * n
    power[flat] = 1.0
    lags = [np.einsum("ij,ij->i", centred[:, k:], centred[:, :-k]) / power for k in range(1, season + 1)]
    spread = 1 + 2 * sum((lag**2 for lag in lags[:-1]), np.zeros(len(rows)))
    out[rows] = (np.abs(lags[-1]) > TEST * np.sqrt(spread / n)) & ~flat
    return out


def _centred_mean(values: Array, season: int) -> Array:
    """Return the centred moving average over a season (2 × m where m is even); NaN where it would look past an end."""
    window = np.ones(season) / season
    if season % 2 == 0:
        window = np.convolve(window, [0.5, 0.5])
    half = len(window) // 2
    trend = np.full(values.shape, np.nan)
    views = np.lib.stride_tricks.sliding_window_view(values, len(window), axis=1)
    trend[:, half : values.shape[1] - half] = views @ window
    return trend


def _means(values: Array, trend: Array, season: int, *, ratio: bool) -> Array:
    """Return the mean ratio to, or difference from, the trend at each place in the season, normalised."""
    with np.errstate(divide="ignore", invalid="ignore"):
        detail = values / trend if ratio else values - trend
    pad = -values.shape[1] % season
    detail = np.pad(detail, ((0, 0), (pad, 0)), constant_values=np.nan)
    by_place = detail.reshape(len(values), -1, season)
    known = ~np.isnan(by_place)
    sums = np.where(known, by_place, 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / known.sum(axis=1)
        middle = means.mean(axis=1, keepdims=True)
        return means / middle if ratio else means - middle
