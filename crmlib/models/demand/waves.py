"""A long season as one smooth wave: for weeks of the year, where a few years are too short for a factor each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crmlib.models.demand.aligned import Array

LEAST_SEASON = 26
SEASONS_NEEDED = 2
TEST = 4.605
"""Quantile of chi-square with two degrees of freedom: 90%, as in the test of short seasons."""
_MOST_MEMORY = 0.99


def fit(values: Array, *, season: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the wave of each series at each place in the season (place 0 the first period ahead), and whether it has one.

    In: series × time, right-aligned, NaN before the first value, two seasons of values at least. Level, trend and a wave are
    estimated by least squares with errors that remember the last one (Cochrane-Orcutt, one step, the memory corrected for
    the regressors taken out), so that a walk at random is seldom taken for a season. A wave that passes the Wald test W at 90% is
    drawn to 0 by 2 / W (James and Stein).

    D. Cochrane, G. Orcutt, "Application of least squares regression to relationships containing auto-correlated error
    terms", Journal of the American Statistical Association 44 (1949), 32-61.

    >>> found, some = fit(3 * np.sin(2 * np.pi * (np.arange(156)[None, :] - 156) / 52), season=52)
    >>> bool(some[0]), found[0, [0, 13, 39]].round(3).tolist()
    (True, [0.0, 3.0, -3.0])
    """
    width = values.shape[1]
    table = _regressors(np.arange(width) - width, season)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    both = known[:, 1:] & known[:, :-1]
    memory = _memory(table, filled, known)
    own = np.where(both, filled[:, 1:] - memory[:, None] * filled[:, :-1], 0.0)
    left, right = _whitened(table, own, both.astype(float), memory)
    size = (own**2).sum(axis=1)
    whole, plain = _solve(left, right), _solve(left[:, :2, :2], right[:, :2])
    rest = np.maximum(size - (whole * right).sum(axis=1), 1e-12 * size + 1e-300)
    gain = np.maximum(size - (plain * right[:, :2]).sum(axis=1) - rest, 0.0)
    wald = gain / rest * np.maximum(both.sum(axis=1) - table.shape[1], 1)
    found = wald > TEST
    share = np.where(found, 1 - 2 / np.maximum(wald, TEST), 0.0)
    return share[:, None] * (whole[:, 2:] @ _regressors(np.arange(season), season)[:, 2:].T), found


def _regressors(time: NDArray[np.signedinteger], season: int) -> Array:
    """Return level, trend, sine and cosine, time × regressors."""
    turn = 2 * np.pi * time / season
    return np.column_stack([np.ones(len(time)), time / season, np.sin(turn), np.cos(turn)])


def _memory(table: Array, values: Array, known: NDArray[np.bool_]) -> Array:
    """Return the correlation of each series' errors with those a period before, raised by what the regressors took from it."""
    each = (table[:, :, None] * table[:, None, :]).reshape(len(table), -1)
    left = (known.astype(float) @ each).reshape(len(values), table.shape[1], -1)
    error = np.where(known, values - _solve(left, values @ table) @ table.T, 0.0)
    power = (error[:, :-1] ** 2).sum(axis=1)
    found = (error[:, 1:] * error[:, :-1]).sum(axis=1) / np.where(power > 0, power, 1.0)
    size, taken = known.sum(axis=1), table.shape[1]
    return np.clip((size * found + taken) / (size - taken - 2), 0.0, _MOST_MEMORY)


def _whitened(table: Array, own: Array, weight: Array, memory: Array) -> tuple[Array, Array]:
    """Return the normal equations of the differences from ``memory`` times the period before."""
    now, before = table[1:], table[:-1]
    mixed = now[:, :, None] * before[:, None, :]
    squares = (part[:, :, None] * part[:, None, :] for part in (now, before))
    first, last, cross = (
        (weight @ part.reshape(len(now), -1)).reshape(len(own), table.shape[1], -1)
        for part in (*squares, mixed + mixed.transpose(0, 2, 1))
    )
    share = memory[:, None, None]
    return first - share * cross + share**2 * last, own @ now - memory[:, None] * (own @ before)


def _solve(left: Array, right: Array) -> Array:
    """Return the solutions, steadied against regressors that are alike over a short series."""
    steady = left + 1e-9 * np.trace(left, axis1=1, axis2=2)[:, None, None] * np.eye(left.shape[1])
    return np.asarray(np.linalg.solve(steady, right[:, :, None])[:, :, 0])
