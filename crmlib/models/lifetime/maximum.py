"""Maximum likelihood with analytic gradients, judged by the gradient, over distinct rows with weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from crmlib.errors import DataError
from crmlib.models.lifetime.inputs import Array

Likelihood = Callable[[Array, tuple[Array, ...]], tuple[Array, Array]]
"""From parameters and rows to the log-likelihood of each row and its slopes by parameter (parameters × rows)."""

BLOCK = 16_384  # rows at once: what stays in the cache
SAMPLE = 10_000  # rows of the first approach, where there are more than twice as many
STEP = 1e-4  # of the logarithm of a parameter, for second derivatives
STEEPEST = 1e-6
"""A mean slope of the log-likelihood per customer, by the logarithm of a parameter, up to which an optimum counts as found."""
EDGE = 6.0
"""A logarithm of a parameter so far from 0, in units of the mean age, means: the data show no bound to it."""
_FAR = 30.0


@dataclass(frozen=True)
class Maximum:
    """An optimum. Attributes: ``parameters``; ``log_likelihood`` over all customers; ``gradient`` the largest mean slope
    per customer by the logarithm of a parameter; ``covariance`` of those logarithms (sandwich: it holds, for large
    numbers of customers, where the model is only an approximation); ``customers``; ``edge`` the parameters that ran
    away because the data set no bound to them.
    """

    parameters: Array
    log_likelihood: float
    gradient: float
    covariance: Array
    customers: int
    edge: tuple[str, ...]


def maximise(
    likelihood: Likelihood, rows: tuple[Array, ...], weight: Array, *, start: Sequence[float], names: Sequence[str]
) -> Maximum:
    """Return the maximum of a likelihood of positive parameters; raises DataError where none is reached.

    The search runs over logarithms: on a sample of the rows first, then on all from there.
    """
    total = float(weight.sum())

    def objective(theta: Array, own: tuple[Array, ...], share: Array) -> tuple[float, Array]:
        value, slope = _sums(likelihood, theta, own, share)
        return -value / share.sum(), -slope / share.sum()

    theta, inverse = np.log(np.asarray(start, dtype=float)), np.eye(len(start))
    if len(weight) > 2 * SAMPLE:
        step = len(weight) // SAMPLE
        some = (tuple(column[::step] for column in rows), weight[::step])
        found = optimize.minimize(objective, theta, some, jac=True, method="BFGS", options={"gtol": 1e-6})
        theta, inverse = found.x, (found.hess_inv + found.hess_inv.T) / 2
    options = {"gtol": STEEPEST / 10, "hess_inv0": inverse}
    theta = optimize.minimize(objective, theta, (rows, weight), jac=True, method="BFGS", options=options).x
    theta, slope, curvature = _polished(lambda at: objective(at, rows, weight)[1], theta)
    steepest = float(np.abs(slope).max())
    # Whether the search calls itself successful says little: it may end at the optimum for want of precision.
    if not steepest <= STEEPEST:
        raise DataError(
            f"the likelihood of {', '.join(names)} has no maximum that could be reached from {total:,.0f} customers (slope "
            f"{steepest:.1e} a customer, wanted {STEEPEST:.0e}); take more customers or a longer period"
        )
    edge = tuple(name for name, value in zip(names, theta, strict=True) if abs(value) > EDGE)
    value, outer = _outer(likelihood, theta, rows, weight)
    bread = _pseudo_inverse(curvature * total)
    return Maximum(np.exp(theta), value, steepest, bread @ outer @ bread, round(total), edge)


def _sums(likelihood: Likelihood, theta: Array, rows: tuple[Array, ...], weight: Array) -> tuple[float, Array]:
    """Return the weighted log-likelihood and its slopes by the logarithms of the parameters."""
    parameters = np.exp(np.clip(theta, -_FAR, _FAR))
    value, slope = 0.0, np.zeros(len(theta))
    for begin in range(0, len(weight), BLOCK):
        part = slice(begin, begin + BLOCK)
        one, by = likelihood(parameters, tuple(column[part] for column in rows))
        value += float(weight[part] @ one)
        slope += by @ weight[part]
    return value, slope * parameters


def _outer(likelihood: Likelihood, theta: Array, rows: tuple[Array, ...], weight: Array) -> tuple[float, Array]:
    """Return the log-likelihood and the sum of the outer products of the customers' slopes."""
    parameters = np.exp(theta)
    value, outer = 0.0, np.zeros((len(theta), len(theta)))
    for begin in range(0, len(weight), BLOCK):
        part = slice(begin, begin + BLOCK)
        one, by = likelihood(parameters, tuple(column[part] for column in rows))
        by = by * parameters[:, None]
        value += float(weight[part] @ one)
        outer += (by * weight[part]) @ by.T
    return value, outer


def _polished(slope_at: Callable[[Array], Array], theta: Array) -> tuple[Array, Array, Array]:
    """Return the optimum after Newton steps, as far as they flatten the slope, its slope and the curvature there."""
    slope, curvature = slope_at(theta), _curvature(slope_at, theta)
    for _ in range(3):
        step = _pseudo_inverse(curvature) @ slope
        if np.abs(slope).max() < STEEPEST / 1000 or np.abs(step).max() > 0.5:
            break
        trial = slope_at(theta - step)
        if not np.abs(trial).max() < np.abs(slope).max():
            break
        theta, slope = theta - step, trial
    return theta, slope, curvature


def _curvature(slope_at: Callable[[Array], Array], theta: Array) -> Array:
    moved = np.eye(len(theta)) * STEP
    found = np.array([(slope_at(theta + one) - slope_at(theta - one)) / (2 * STEP) for one in moved])
    return (found + found.T) / 2


def _pseudo_inverse(matrix: Array) -> Array:
    """Return the inverse on the directions in which the likelihood bends; along the others the data tell nothing."""
    values, vectors = np.linalg.eigh(matrix)
    bends = values > max(values.max(), 0) * 1e-9
    return (vectors[:, bends] / values[bends]) @ vectors[:, bends].T
