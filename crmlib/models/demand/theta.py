"""The dynamic optimised Theta method for many series at once: an exponentially smoothed level and a share of a trend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crmlib.models.demand.aligned import Array, Block, blocks, checked
from crmlib.models.demand.seasonal import deseasonalise

ALPHAS = np.linspace(0.1, 0.99, 19)
FINER = 5
ROUNDS = 2
SKIPPED = 3
"""Errors of the first periods, in which the trend is still all noise, do not count (as in the authors' programs)."""
_RIDGE = 1e-6
"""Weight of a pull to a share of a half (theta 2) and a flat start at the first value: decides only where data do not."""


@dataclass(frozen=True)
class _Run:
    """The method run over a block: alpha, level and ``sums`` (six moments that settle level and share) by candidate and series."""

    alpha: Array
    first: Array
    level: Array
    mean: Array
    intercept: Array
    slope: Array
    sums: tuple[Array, ...]


def dynamic_optimised(values: Any, *, season: int, horizon: int) -> Array:
    """Return the forecasts of the dynamic optimised Theta model, season taken out before and put back after: series × horizon.

    In: series × time, right-aligned, NaN before the first value. Smoothing (0.1 to 0.99), initial level and theta (1 or
    more) minimise the squared one-step errors of each series; given the smoothing the other two are a linear problem
    with an exact answer, so the whole search is over one number. A series of one value is forecast as that value. Raises
    DataError and UsageError as ``aligned.checked``.

    J. Fiorucci, T. Pellegrini, F. Louzada, F. Petropoulos, A. Koehler, "Models for optimising the theta method and their
    relationship to state space models", International Journal of Forecasting 32 (2016), 1151-1161, section 3.2.

    >>> dynamic_optimised([[float(t) for t in range(30)]], season=1, horizon=2).round(1).tolist()
    [[30.0, 31.0]]
    """
    found = deseasonalise(checked(values, season=season, horizon=horizon), season=season)
    out = np.empty((len(found.adjusted), horizon))
    for block in blocks(found.adjusted, candidates=len(ALPHAS)):
        out[block.rows] = _forecast(block, horizon)
    return found.restore(out)


def _forecast(block: Block, horizon: int) -> Array:
    """Return the forecasts of one block: series × horizon, in the units given."""
    alphas = np.repeat(ALPHAS[:, None], len(block.rows), axis=1)
    step = ALPHAS[1] - ALPHAS[0]
    for _ in range(ROUNDS):
        best = _best(_run(block, alphas))[0]
        step = 2 * step / (FINER + 1)
        near = (np.arange(FINER) - FINER // 2)[:, None] * step
        alphas = np.clip(best + near, ALPHAS[0], ALPHAS[-1])
    run = _run(block, alphas)
    alpha, at, start, share = _best(run)
    pick = (at, np.arange(len(at)))
    rest, before = 1 - alpha, block.lengths.astype(float)
    level = run.level[pick] + rest**before * start
    mean, intercept, slope = run.mean, run.intercept, run.slope
    out = np.empty((len(at), horizon))
    for ahead in range(horizon):
        i = before + ahead
        value = level + share * (intercept * rest**i + slope * (1 - rest ** (i + 1)) / alpha)
        out[:, ahead] = value
        level = alpha * value + rest * level
        mean, intercept, slope = _trend(i, value, mean, slope)
    return out * block.scale[:, None]


def _trend(i: Any, value: Any, mean: Any, slope: Any) -> tuple[Any, Any, Any]:
    """Return mean, intercept and slope of the line through the values up to the i-th (from 0), updated by that value."""
    steeper = ((i - 1) * slope + 6 * (value - mean) / (i + 1)) / (i + 2)
    higher = (i * mean + value) / (i + 1)
    return higher, higher - steeper * (i + 2) / 2, steeper


def _run(block: Block, alpha: Array) -> _Run:
    """Run the recursion with the level started at 0 change, gathering the moments of the errors.

    The error at time i is r - g x - d w: x the initial level's departure from the first value, w = 1 - 1/theta.
    """
    rest = 1 - alpha
    first = np.broadcast_to(block.values[0], alpha.shape)
    level, power = first.copy(), rest.copy()
    mean, intercept, slope = block.values[0].copy(), block.values[0].copy(), np.zeros(alpha.shape[1])
    sums = tuple(np.zeros(alpha.shape) for _ in range(6))
    for i, k in block.active():
        if i == 0:
            continue
        y, g = block.values[i, :k], power[:, :k]
        after = g * rest[:, :k]
        r = y - level[:, :k]
        if i >= SKIPPED:
            d = intercept[:k] * g + slope[:k] * (1 - after) / alpha[:, :k]
            for total, add in zip(sums, (r * r, r * g, r * d, g * g, g * d, d * d), strict=True):
                total[:, :k] += add
        level[:, :k] += alpha[:, :k] * r
        mean[:k], intercept[:k], slope[:k] = _trend(i, y, mean[:k], slope[:k])
        power[:, :k] = after
    return _Run(alpha, block.values[0], level, mean, intercept, slope, sums)


def _best(run: _Run) -> tuple[Array, Any, Array, Array]:
    """Return of each series the best smoothing, its place, the departure of the initial level and the share of the trend."""
    rr, rg, rd, gg, gd, dd = run.sums
    first = run.first  # a start is flat where the level's departure is minus the share of the first value
    gg, gd, dd, rd = gg + _RIDGE, gd + _RIDGE * first, dd + _RIDGE * (1 + first**2), rd + _RIDGE / 2
    free = (rd * gg - rg * gd) / np.maximum(gg * dd - gd * gd, 1e-300)
    share = np.clip(free, 0.0, 1.0)
    start = (rg - gd * share) / gg
    loss = rr - 2 * (rg * start + rd * share) + gg * start**2 + 2 * gd * start * share + dd * share**2
    at = np.argmin(loss, axis=0)
    pick = (at, np.arange(loss.shape[1]))
    return run.alpha[pick], at, start[pick], share[pick]
