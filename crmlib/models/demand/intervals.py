"""Intervals and quantiles from errors that forecasts made within the training part, pooled over series, by horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crmlib.errors import UsageError
from crmlib.models.demand.aligned import Array

LEVELS = {"low_80": 0.10, "high_80": 0.90, "low_95": 0.025, "high_95": 0.975}
LEAST_ERRORS = 40
"""Scored errors below which no quantile of the tails can be told from the others."""
_NEAR = 400
"""Errors wanted for the quantiles of one period ahead: neighbouring ones lend theirs until there are so many."""


@dataclass(frozen=True)
class Conformal:
    """Sorted errors over their spread at each period ahead: ``errors`` and their ``weights``, one array a period."""

    spread: Array
    errors: tuple[Array, ...]
    weights: tuple[Array, ...]

    def offsets(self, level: float, horizon: int) -> Array:
        """Return what to add to a forecast, in units of the series' scale, for the quantile at each period ahead."""
        return np.array([self.spread[h] * _quantile(self.errors[h], self.weights[h], level) for h in range(horizon)])

    def quantiles(self, centre: Array, unit: Array, level: float) -> Array:
        """Return the quantile of what will come: series × horizon; NaN where a series has no unit."""
        return centre + unit * self.offsets(level, centre.shape[1])


def units(scale: Array, factor: Array) -> Array:
    """Return the unit of errors by series and period ahead: errors grow with the root of what promotions multiply demand by."""
    return scale[:, None] * np.sqrt(np.maximum(factor, 0.01))


def calibrate(errors: Array, counts: Array) -> Conformal | None:
    """Return quantiles of errors pooled over series, or None where fewer than 40 errors count.

    In: ``errors`` (cases × horizon) actual less forecast in units of each series' scale, NaN where there is none;
    ``counts`` their weights. The spread by period ahead is smoothed and never falls; over it, errors of neighbouring
    periods are alike and are pooled until there are 400.

    V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (2005), section 4.1 (split conformal).

    >>> found = calibrate(np.random.default_rng(1).normal(size=(2000, 1)), np.ones((2000, 1)))
    >>> bool(1.5 < found.offsets(0.975, 1)[0] < 2.4)
    True
    """
    known = np.isfinite(errors) & (counts > 0)
    if known.sum() < LEAST_ERRORS:
        return None
    horizon = errors.shape[1]
    spread = _spread(np.where(known, np.abs(errors), 0.0), np.where(known, counts, 0.0))
    over = errors / spread
    pooled, weights = [], []
    for ahead in range(horizon):
        for near in range(horizon):
            columns = slice(max(ahead - near, 0), ahead + near + 1)
            if known[:, columns].sum() >= min(_NEAR, known.sum()):
                break
        inside = known[:, columns]
        values, weight = over[:, columns][inside], counts[:, columns][inside]
        order = np.argsort(values, kind="stable")
        pooled.append(values[order])
        weights.append(weight[order])
    return Conformal(spread, tuple(pooled), tuple(weights))


def check_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Return the levels of quantiles, or refuse what does not lie between 0 and 1."""
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
            raise UsageError(f"quantiles holds {level!r}; give levels above 0 and below 1")
    return tuple(float(level) for level in levels)


def _spread(sizes: Array, counts: Array) -> Array:
    """Return the mean absolute error by period ahead: smoothed over neighbours by their counts, never falling.

    Beyond the last period that was tried it grows with the root of the periods, as the error of a random walk does.
    """
    total, number = (sizes * counts).sum(axis=0), counts.sum(axis=0)
    tried = np.flatnonzero(number > 0)
    periods = np.arange(1, len(number) + 1)
    values = np.interp(periods, tried + 1, total[tried] / number[tried])
    weights = np.maximum(number, 1e-9)
    blocks: list[list[float]] = []  # pool adjacent violators: [mean, weight, length]
    for value, weight in zip(values, weights, strict=True):
        blocks.append([float(value), float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            last = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + last[0] * last[1]) / (before[1] + last[1])
            before[1] += last[1]
            before[2] += last[2]
    steps = np.concatenate([np.full(int(block[2]), block[0]) for block in blocks])
    beyond = np.sqrt(np.maximum(periods / (tried[-1] + 1), 1.0))
    return np.maximum(steps * beyond, 1e-12)


def _quantile(values: Array, weights: Array, level: float) -> float:
    """Return the weighted quantile with the place of one more case kept free at either end, as split conformal asks."""
    total = weights.sum() * (1 + 1 / len(values))
    below = np.cumsum(weights) / total
    if level >= 0.5:
        place = np.searchsorted(below, level)
    else:
        above = np.cumsum(weights[::-1]) / total
        place = len(values) - 1 - np.searchsorted(above, 1 - level)
    return float(values[int(np.clip(place, 0, len(values) - 1))])
