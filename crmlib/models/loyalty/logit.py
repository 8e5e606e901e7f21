"""Logistic regression with a small ridge penalty, by Newton's method, with the covariance of its coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
_STEPS, _HALVINGS, _CLOSE = 60, 30, 1e-6
_CHUNK = 65_536  # rows at a time: the products of so many stay in the processor's cache


@dataclass(frozen=True)
class Fit:
    """Attributes: ``coefficients`` (the constant first), their ``covariance``, the ``penalty`` used."""

    coefficients: Floats
    covariance: Floats
    penalty: float

    def log_odds(self, design: Floats) -> Floats:
        """Return the log-odds of rows of a design without the constant."""
        out: Floats = design @ self.coefficients[1:] + self.coefficients[0]
        return out


def fit(design: Floats, outcome: Floats, *, penalty: float = 1.0, start: Floats | None = None) -> Fit:
    """Return the coefficients that minimise the loss plus half the ``penalty`` times their squares (not the constant's).

    ``start``: coefficients to begin with. The covariance is the inverse of the curvature at the solution, the posterior's
    under the normal prior that the penalty is (Le Cessie & van Houwelingen 1992, Applied Statistics 41, 191-201).
    """
    rows = np.column_stack([np.ones(len(outcome)), design])
    prior = np.full(rows.shape[1], float(penalty))
    prior[0] = 1e-9
    beta = np.zeros(rows.shape[1]) if start is None else start
    if start is None:
        mean = float(np.clip(outcome.mean(), 1e-6, 1 - 1e-6))
        beta[0] = np.log(mean / (1 - mean))
    loss, gradient, curvature = _derivatives(rows, outcome, beta, prior)
    for _ in range(_STEPS):
        step = np.linalg.solve(curvature, gradient)
        new, found = beta - step, _derivatives(rows, outcome, beta - step, prior)
        # Newton's step can overshoot where chances are near 0 or 1: it is halved until the loss falls.
        for _ in range(_HALVINGS):
            if found[0] <= loss + 1e-9 * abs(loss):
                break
            step = step / 2
            new, found = beta - step, _derivatives(rows, outcome, beta - step, prior)
        beta, (loss, gradient, curvature) = new, found
        if np.abs(step).max() < _CLOSE:
            break
    covariance: Floats = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
    return Fit(np.asarray(beta, dtype=np.float64), covariance, penalty)


def _derivatives(rows: Floats, outcome: Floats, beta: Floats, prior: Floats) -> tuple[float, Floats, Floats]:
    """Return the penalised loss, its gradient and its curvature."""
    loss = float(prior @ beta**2) / 2
    gradient, curvature = prior * beta, np.diag(prior)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        x, yes = rows[part], outcome[part]
        odds = x @ beta
        chance = expit(odds)
        loss += float((np.logaddexp(0, odds) - yes * odds).sum())
        gradient += x.T @ (chance - yes)
        curvature += (x * (chance * (1 - chance))[:, None]).T @ x
    return loss, gradient, curvature
