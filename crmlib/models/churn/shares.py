"""Which reason, given that a customer leaves: a multinomial regression among those who left.

The probability of leaving for a reason is that of leaving times the reason's share, so that the reasons always add up. Among
those who left the log of a share is linear in the covariates where the log of each reason's hazard is; the coefficients
have a ridge penalty, chosen on those who left at a later date, and the constants have none. A ridge pulls rare reasons more
than common ones towards the average, so constant and slope of each reason are then calibrated on that later date, with a
prior that expects no change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.special import log_softmax, softmax

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0)
_SPREAD = 0.5
"""Standard deviation of what is expected of the calibration: constants of 0 and slopes of 1."""


@dataclass(frozen=True)
class Shares:
    """Attributes: ``reasons``; ``coefficients`` (columns of the design, then the constant, x reasons); ``penalty``,
    infinite where no covariate told the reasons apart."""

    reasons: tuple[str, ...]
    coefficients: np.ndarray
    penalty: float

    def predict(self, design: np.ndarray) -> np.ndarray:
        """Return the share of each reason (rows x reasons); rows sum to 1."""
        return softmax(_margins(self.coefficients, design), axis=1)


def fit(
    design: np.ndarray, code: np.ndarray, reasons: tuple[str, ...], *, held_out: tuple[np.ndarray, np.ndarray]
) -> Shares:
    """Return the shares, with the penalty that makes the reasons ``held_out`` (design, codes) likeliest.

    In: a row per customer who left; ``code`` is the place of the reason in ``reasons``, each of which somebody has.
    """
    count = np.bincount(code, minlength=len(reasons)).astype(float)
    at = np.zeros((design.shape[1] + 1, len(reasons)))
    at[-1] = np.log(count / count.sum())
    best = Shares(reasons, at, float("inf"))
    lowest = _loss(at, *held_out)
    for penalty in PENALTIES if len(reasons) > 1 else ():
        at = _solve(design.astype(np.float64), code, penalty, at)
        loss = _loss(at, *held_out)
        if loss >= lowest:
            break
        lowest, best = loss, Shares(reasons, at, penalty)
    return best if np.isinf(best.penalty) else _calibrated(best, *held_out)


def _calibrated(found: Shares, design: np.ndarray, code: np.ndarray) -> Shares:
    """Return the shares with constant and slope of each reason calibrated on other customers who left."""
    slopes = design.astype(np.float64) @ found.coefficients[:-1]
    constants, own = found.coefficients[-1], np.eye(len(found.reasons))[code]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        shift, stretch = flat.reshape(2, -1)
        margins = slopes * stretch + constants + shift
        away = softmax(margins, axis=1) - own
        value = -float((log_softmax(margins, axis=1) * own).sum())
        value += float(np.sum(shift**2) + np.sum((stretch - 1) ** 2)) / (2 * _SPREAD**2)
        by_shift = away.sum(axis=0) + shift / _SPREAD**2
        by_stretch = (away * slopes).sum(axis=0) + (stretch - 1) / _SPREAD**2
        return value, np.concatenate([by_shift, by_stretch])

    start = np.concatenate([np.zeros(len(constants)), np.ones(len(constants))])
    shift, stretch = optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return Shares(found.reasons, np.vstack([found.coefficients[:-1] * stretch, constants + shift]), found.penalty)


def _margins(coefficients: np.ndarray, design: np.ndarray) -> np.ndarray:
    return design.astype(np.float64) @ coefficients[:-1] + coefficients[-1]


def _loss(coefficients: np.ndarray, design: np.ndarray, code: np.ndarray) -> float:
    return -float(log_softmax(_margins(coefficients, design), axis=1)[np.arange(len(code)), code].sum())


def _solve(design: np.ndarray, code: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
    own = np.zeros((len(code), start.shape[1]))
    own[np.arange(len(code)), code] = 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = flat.reshape(start.shape)
        margins = design @ at[:-1] + at[-1]
        chance = softmax(margins, axis=1)
        value = -float((log_softmax(margins, axis=1) * own).sum()) + penalty / 2 * float(np.sum(at[:-1] ** 2))
        by_slope = design.T @ (chance - own) + penalty * at[:-1]
        return value, np.vstack([by_slope, (chance - own).sum(axis=0)]).ravel()

    found = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-3})
    return found.x.reshape(start.shape)
