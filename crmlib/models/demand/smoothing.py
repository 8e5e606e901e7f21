"""Exponential smoothing for many series at once: level, trend and damped trend, their mean or the best by AICc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.models.demand.aligned import Array, Block, blocks, checked
from crmlib.models.demand.seasonal import Seasonal, deseasonalise

KINDS = ("level", "trend", "damped_trend")
ROUNDS = 3
_RIDGE = 1e-6
"""Pull of the initial level towards the first value and of the initial trend towards 0: decides only where data do not."""
_FLOOR = 1e-14
"""Mean squared error, of values about 1, below which a series counts as followed exactly."""
_ALPHAS = (0.02, 0.06, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
_BETAS = (0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 0.99)
_PHIS = (0.8, 0.88, 0.94, 0.98)
_WIDTHS = np.array([0.05, 0.12, 0.03])
_BOUNDS = ((0.001, 0.999), (0.001, 0.999), (0.8, 0.98))
_FREE = (1, 2, 3)
"""Smoothing parameters of each kind; its initial states are one and two and two."""


@dataclass(frozen=True)
class Smoothing:
    """Exponential smoothing of each kind fitted to each series: arrays of kinds (as KINDS) × series.

    Attributes: ``alpha``, ``beta`` (share of alpha by which the trend learns, 0 where there is none) and ``phi`` (damping,
    1 where there is none); ``level`` and ``trend`` after the last value, without season; ``aicc`` (infinite where a
    series has too few values for a kind); ``season`` what was taken out before.
    """

    alpha: Array
    beta: Array
    phi: Array
    level: Array
    trend: Array
    aicc: Array
    season: Seasonal

    @property
    def chosen(self) -> NDArray[np.intp]:
        """The place in KINDS of the kind with the smallest AICc, by series; a level where there are too few values for any."""
        return np.argmin(self.aicc, axis=0)

    def paths(self, horizon: int) -> Array:
        """Return the forecasts by each kind: kinds × series × horizon."""
        damped = np.cumsum(self.phi[:, :, None] ** np.arange(1, horizon + 1), axis=2)
        plain = self.level[:, :, None] + self.trend[:, :, None] * damped
        return np.stack([self.season.restore(path) for path in plain])


def exponential(values: Any, *, season: int, horizon: int) -> Array:
    """Return the mean forecast of the three kinds of smoothing: series × horizon.

    The mean, and not the kind with the smallest AICc (``automatic``): it was off by less on held-out ends of the training
    parts of M1 and M3, mostly where an undamped trend would have been chosen. Kinds for which a series is too short are
    left out. In: series × time, right-aligned, NaN before the first value. Raises DataError and UsageError as
    ``aligned.checked``.

    S. Makridakis, M. Hibon, "The M3-Competition", International Journal of Forecasting 16 (2000), 451-476, p. 457 ("Comb S-H-D").

    >>> exponential([[4.0] * 3, [np.nan, np.nan, 5.0]], season=1, horizon=2).round(6).tolist()
    [[4.0, 4.0], [5.0, 5.0]]
    """
    found = fit(checked(values, season=season, horizon=horizon), season=season)
    usable = np.isfinite(found.aicc)
    usable[0] = True
    weight = usable / usable.sum(axis=0)
    return np.einsum("ks,ksh->sh", weight, found.paths(horizon))


def automatic(values: Any, *, season: int, horizon: int) -> Array:
    """Return the forecast of the kind of smoothing with the smallest AICc of each series: series × horizon.

    In: series × time, right-aligned, NaN before the first value. Raises DataError and UsageError as ``aligned.checked``.

    >>> automatic([[float(t) for t in range(30)], [4.0] * 30], season=1, horizon=2).round(1).tolist()
    [[30.0, 31.0], [4.0, 4.0]]
    """
    found = fit(checked(values, season=season, horizon=horizon), season=season)
    return found.paths(horizon)[found.chosen, np.arange(found.level.shape[1])]


def fit(values: Any, *, season: int) -> Smoothing:
    """Return level, trend and damped trend fitted to each series without its season.

    Additive errors. Given the smoothing parameters the errors are linear in the initial states, which are solved for
    exactly; the parameters are searched on a grid, then around the best of each series. Raises DataError and UsageError
    as ``aligned.checked``.

    R. Hyndman, A. Koehler, R. Snyder, S. Grose, "A state space framework for automatic forecasting using exponential
    smoothing methods", International Journal of Forecasting 18 (2002), 439-454, sections 3 and 4.

    >>> found = fit([[float(t) for t in range(30)], [4.0] * 30], season=1)
    >>> [KINDS[k] for k in found.chosen]
    ['trend', 'level']
    """
    found = deseasonalise(checked(values, season=season), season=season)
    shape = (len(KINDS), len(found.adjusted))
    parts, aicc = np.empty((5, *shape)), np.empty(shape)
    for k in range(len(KINDS)):
        grid = _grid(k)
        for block in blocks(found.adjusted, candidates=grid.shape[1]):
            loss, parts[:, k, block.rows] = _search(block, grid, k)
            free = _FREE[k] + (1 if k == 0 else 2) + 1  # smoothing parameters, initial states, variance
            aicc[k, block.rows] = _aicc(loss, block.lengths, free)
    alpha, beta, phi, level, trend = parts
    return Smoothing(alpha, beta, phi, level, trend, aicc, found)


def _grid(k: int) -> Array:
    """Return alpha, beta and phi of all candidates of a kind: 3 × candidates."""
    betas = _BETAS if k > 0 else (0.0,)
    phis = _PHIS if k > 1 else (1.0,)
    return np.array([part.ravel() for part in np.meshgrid(_ALPHAS, betas, phis, indexing="ij")])


def _search(block: Block, grid: Array, k: int) -> tuple[Array, Array]:
    """Return the mean squared error of each series and its alpha, beta, phi, level and trend (5 × series)."""
    loss, best, start = _best(block, grid[:, :, None], trend=k > 0)
    corners = np.array([part.ravel() for part in np.meshgrid(*[(-1.0, 0.0, 1.0)] * _FREE[k], indexing="ij")])
    moves = np.zeros((3, corners.shape[1]))
    moves[: _FREE[k]] = corners
    for turn in range(ROUNDS):
        near = best[:, None, :] + moves[:, :, None] * _WIDTHS[:, None, None] / 2**turn
        for row in range(_FREE[k]):
            near[row] = np.clip(near[row], *_BOUNDS[row])
        loss, best, start = _best(block, near, trend=k > 0)
    return loss, np.concatenate([best, _ends(block, best, start) * block.scale])


def _best(block: Block, parameters: Array, *, trend: bool) -> tuple[Array, Array, Array]:
    """Return of each series the least mean squared error, its parameters (3 × series) and initial level and trend (2 × series).

    ``parameters`` are 3 × candidates × series, or × 1 where all series try the same.
    """
    ee, el, eb, ll, lb, bb = _moments(block, parameters, trend=trend)
    ll, bb = ll + _RIDGE, bb + _RIDGE
    if trend:
        rise = (eb * ll - el * lb) / np.maximum(ll * bb - lb * lb, 1e-300)
    else:
        rise = np.zeros_like(el)
    start = (el - lb * rise) / ll
    loss = ee - 2 * (el * start + eb * rise) + ll * start**2 + 2 * lb * start * rise + bb * rise**2
    at = np.argmin(loss, axis=0)
    pick = (at, np.arange(len(at)))
    spread = np.broadcast_to(parameters, (3, *loss.shape))
    mean = np.maximum(loss[pick] / block.lengths, _FLOOR)
    return mean, spread[:, at, pick[1]], np.stack([block.values[0] + start[pick], rise[pick]])


def _moments(block: Block, parameters: Array, *, trend: bool) -> list[Array]:
    """Return the sums of products of e, l and b over each series: candidates × series.

    The error at a time is e - l x - b z: e the error of the recursion started at the first value without a trend, x and z
    the departures of the true initial level and trend from these, l and b what one unit of each adds to the prediction.
    """
    alpha, beta, phi = parameters
    shape = (alpha.shape[0], len(block.rows))
    sums = [np.zeros(shape) for _ in range(6)]
    level, slope = np.repeat(block.values[:1], shape[0], axis=0), np.zeros(shape)
    by_level = [np.ones_like(alpha), np.zeros_like(alpha)]
    by_trend = [np.zeros_like(alpha), np.ones_like(alpha)]
    own = alpha.shape[1] > 1
    for i, k in block.active():
        a, b, p = (part[:, :k] if own else part for part in (alpha, beta, phi))
        told = level[:, :k] + p * slope[:, :k] if trend else level[:, :k]
        e = block.values[i, :k] - told
        level[:, :k] = told + a * e
        x = _answer(by_level, a, b, p)
        pairs = [(e, e), (e, x), None, (x, x), None, None]
        if trend:
            slope[:, :k] = p * slope[:, :k] + a * b * e
            z = _answer(by_trend, a, b, p)
            pairs[2], pairs[4], pairs[5] = (e, z), (x, z), (z, z)
        for total, pair in zip(sums, pairs, strict=True):
            if pair is not None:
                total[:, :k] += pair[0] * pair[1]
    return sums


def _answer(state: list[Array], alpha: Array, beta: Array, phi: Array) -> Array:
    """Return the prediction that a unit of an initial state makes, and move that state on (of the series that go on)."""
    level, slope = (part[:, : alpha.shape[1]] for part in state)
    told = level + phi * slope
    state[0], state[1] = told - alpha * told, phi * slope - alpha * beta * told
    return told


def _ends(block: Block, best: Array, start: Array) -> Array:
    """Return level and trend after the last value of each series: 2 × series."""
    alpha, beta, phi = best
    level, slope = start.copy()
    for i, k in block.active():
        told = level[:k] + phi[:k] * slope[:k]
        error = block.values[i, :k] - told
        level[:k] = told + alpha[:k] * error
        slope[:k] = phi[:k] * slope[:k] + alpha[:k] * beta[:k] * error
    return np.stack([level, slope])


def _aicc(loss: Array, size: NDArray[np.intp], free: int) -> Array:
    """Return the corrected criterion of Akaike of each series; infinite where it has too few values for it."""
    spare = size - free - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        score = size * np.log(loss) + 2 * free + 2 * free * (free + 1) / spare
    return np.where(spare > 0, score, np.inf)
