"""Demand that comes now and then: Croston's method, its unbiased variant and one that lets dying demand die."""

from __future__ import annotations

from typing import Any

import numpy as np

from crmlib.errors import DataError, UsageError
from crmlib.models.demand.aligned import Array, Block, blocks, checked

ALPHAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def croston(values: Any, *, horizon: int, alpha: float | None = None) -> Array:
    """Return demand per period as the smoothed size of a demand over the smoothed interval between two: series × horizon.

    In: series × time, right-aligned, NaN before the first value, none below 0. ``alpha`` smooths both; None takes of each
    series the one of ALPHAS with the smallest squared one-step error. A series that is all zero is forecast as 0. Raises
    DataError and UsageError as ``aligned.checked``.

    J. Croston, "Forecasting and stock control for intermittent demands", Operational Research Quarterly 23 (1972), 289-303, p. 294.

    >>> croston([[0.0, 3.0] * 10], horizon=2, alpha=0.1).round(3).tolist()
    [[1.5, 1.5]]
    """
    return _smoothed(values, horizon, alpha, correct=False)


def sba(values: Any, *, horizon: int, alpha: float | None = None) -> Array:
    """Return Croston's forecast times 1 - alpha / 2, which takes most of its upward bias away: series × horizon.

    In and raises as ``croston``.

    A. Syntetos, J. Boylan, "The accuracy of intermittent demand estimates", International Journal of Forecasting 21 (2005), 303-314, p. 304.

    >>> sba([[0.0, 3.0] * 10], horizon=1, alpha=0.1).round(3).tolist()
    [[1.425]]
    """
    return _smoothed(values, horizon, alpha, correct=True)


def tsb(values: Any, *, horizon: int, alpha: float | None = None, beta: float | None = None) -> Array:
    """Return the smoothed probability of a demand times its smoothed size: it falls while nothing is wanted: series × horizon.

    ``alpha`` smooths the size, at each demand; ``beta`` the probability, in each period; None takes of each series those
    of ALPHAS with the smallest squared one-step error. In and raises as ``croston``.

    R. Teunter, A. Syntetos, M. Babai, "Intermittent demand: linking forecasting to inventory obsolescence", European
    Journal of Operational Research 214 (2011), 606-615, p. 608.

    >>> tsb([[3.0] * 5 + [0.0] * 5], horizon=1, alpha=0.1, beta=0.2).round(3).tolist()
    [[0.822]]
    """
    array = _never_negative(values, horizon)
    grid = np.array([[a, b] for a in _tried(alpha, "alpha") for b in _tried(beta, "beta")]).T
    out = np.empty(len(array))
    for block in blocks(array, candidates=grid.shape[1]):
        rate, loss = _run_tsb(block, *grid[:, :, None])
        out[block.rows] = rate[np.argmin(loss, axis=0), np.arange(len(block.rows))] * block.scale
    return np.repeat(out[:, None], horizon, axis=1)


def _smoothed(values: Any, horizon: int, alpha: float | None, *, correct: bool) -> Array:
    array = _never_negative(values, horizon)
    tried = np.array(_tried(alpha, "alpha"))[:, None]
    out = np.empty(len(array))
    for block in blocks(array, candidates=len(tried)):
        rate, loss = _run_croston(block, tried, 1 - tried / 2 if correct else np.ones_like(tried))
        out[block.rows] = rate[np.argmin(loss, axis=0), np.arange(len(block.rows))] * block.scale
    return np.repeat(out[:, None], horizon, axis=1)


def _run_croston(block: Block, alpha: Array, factor: Array) -> tuple[Array, Array]:
    """Return demand per period after the last value and the sum of squared one-step errors: candidates × series.

    Nothing is forecast, and no error counted, before the first demand: its size starts the size, the time until then the
    interval.
    """
    shape = (len(alpha), len(block.rows))
    size, interval, loss = np.zeros(shape), np.ones(shape), np.zeros(shape)
    since, begun = np.zeros(shape[1]), np.zeros(shape[1], dtype=bool)
    for i, k in block.active():
        y = block.values[i, :k]
        since[:k] += 1
        wanted = y > 0
        error = y - factor * size[:, :k] / interval[:, :k]
        loss[:, :k] += np.where(begun[:k], error**2, 0.0)
        step = np.where(begun[:k], alpha, 1.0) * wanted
        size[:, :k] += step * (y - size[:, :k])
        interval[:, :k] += step * (since[:k] - interval[:, :k])
        since[:k][wanted] = 0
        begun[:k] |= wanted
    return factor * size / interval, loss


def _run_tsb(block: Block, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Return demand per period after the last value and the sum of squared one-step errors: candidates × series.

    The probability starts at the share of periods with a demand, the size at the first one.
    """
    shape = (len(alpha), len(block.rows))
    wanted = block.values > 0
    first = block.values[np.argmax(wanted, axis=0), np.arange(shape[1])]
    size, loss = np.tile(first, (shape[0], 1)), np.zeros(shape)
    chance = np.tile(wanted.sum(axis=0) / block.lengths, (shape[0], 1))
    for i, k in block.active():
        y, now = block.values[i, :k], wanted[i, :k]
        loss[:, :k] += (y - chance[:, :k] * size[:, :k]) ** 2
        chance[:, :k] += beta * (now - chance[:, :k])
        size[:, :k] += alpha * now * (y - size[:, :k])
    return chance * size, loss


def _never_negative(values: Any, horizon: int) -> Array:
    array = checked(values, horizon=horizon)
    below = (array < 0).any(axis=1)
    if below.any():
        row = int(np.flatnonzero(below)[0])
        raise DataError(
            f"values: series in row {row} goes below 0 ({np.nanmin(array[row]):g}); intermittent demand is 0 or more, so "
            "book returns apart"
        )
    return array


def _tried(given: float | None, name: str) -> tuple[float, ...]:
    if given is None:
        return ALPHAS
    if not 0 < given <= 1:
        raise UsageError(f"{name} is {given!r}; give a share above 0 and at most 1")
    return (given,)
