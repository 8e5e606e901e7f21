"""Ridge-penalised logistic regression for many outcomes at once, the linear partner of the booster."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from crmlib.models.boost import Target

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0)
_DESIGN_BITS, _DESIGN_POINT = 22, 20  # standardised columns lie within 4 = 2 ** (22 - 20)


def fit(
    design: np.ndarray,
    target: Target,
    *,
    penalty: float | None = None,
    start: np.ndarray | None = None,
    held_out: tuple[np.ndarray, Target] | None = None,
) -> tuple[np.ndarray, float]:
    """Return the coefficients (columns and then the constant, x outcomes) and the penalty.

    The penalty (half of it times the squared coefficients is added to the summed loss) is the one given, else that of
    ``PENALTIES`` with the lowest loss on ``held_out``, taken over all outcomes. ``start``: coefficients to begin with.
    """
    problem = _Problem(design, target)
    if penalty is not None:
        return problem.solve(penalty, start), penalty
    assert held_out is not None
    best, lowest, coefficients = PENALTIES[0], np.inf, None
    for value in PENALTIES:
        coefficients = problem.solve(value, coefficients)
        loss = float(held_out[1].losses(margins(coefficients, held_out[0])).sum())
        if loss >= lowest:
            break
        best, lowest, kept = value, loss, coefficients
    return kept, best


def margins(coefficients: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return the log-odds beyond the offsets (rows x outcomes)."""
    slopes = coefficients[:-1].astype(np.float32)
    return design @ slopes + coefficients[-1].astype(np.float32)


def exact_margins(coefficients: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the log-odds beyond the offsets (rows x outcomes) of a design given by its columns (columns x rows).

    Design and coefficients are rounded to whole multiples of powers of two so coarse that every sum is an exact number
    in double precision: the result of a row depends neither on the rows beside it nor on threads or processor, as that
    of a plain matrix product does. The rounding moves log-odds by at most columns x 2**-20 times the outcome's largest coefficient
    for up to 256 columns (half of that comes from the design, in multiples of 2**-20), and in practice by far less.
    """
    spare = 53 - _DESIGN_BITS - int(np.ceil(np.log2(max(len(columns), 2))))
    largest = np.abs(coefficients[:-1]).max(axis=0)
    power = spare - np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    whole = np.rint(coefficients[:-1] * 2.0**power)
    scaled = np.multiply(columns, 2.0**_DESIGN_POINT, dtype=np.float64)
    sums = whole.T @ np.rint(scaled, out=scaled)
    return (sums * 2.0 ** (-power - _DESIGN_POINT)[:, None] + coefficients[-1][:, None]).T


class _Problem:
    """The data in coordinates in which the curvature at the start is the identity, so that few steps suffice."""

    def __init__(self, design: np.ndarray, target: Target) -> None:
        weights = target.weights.astype(np.float32)
        gram = (design * weights[:, None]).T @ design / weights.sum()
        self.values, self.vectors = np.linalg.eigh(gram.astype(np.float64))
        self.rotated = design @ self.vectors.astype(np.float32)
        self.yes = (target.bought == 1).astype(np.float32)
        self.weight = weights[:, None] * (target.bought >= 0)
        self.start = target.start.astype(np.float32)
        _, curvature = target.slope_and_curvature(np.zeros(target.bought.shape))
        self.curvature = curvature.sum(axis=0, dtype=np.float64)

    def solve(self, penalty: float, start: np.ndarray | None) -> np.ndarray:
        """Return the coefficients for one penalty, beginning at ``start``."""
        scale = np.sqrt(np.maximum(self.values, 0)[:, None] * self.curvature + penalty)
        constant = np.sqrt(self.curvature + 1e-9)
        shape = (len(self.values) + 1, len(self.curvature))

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            point = flat.reshape(shape)
            slopes = point[:-1] / scale
            margin = self.rotated @ slopes.astype(np.float32) + (point[-1] / constant).astype(np.float32)
            value, slope = self._loss_and_slope(margin)
            by_slope = (self.rotated.T @ slope + penalty * slopes) / scale
            by_constant = slope.sum(axis=0, dtype=np.float64) / constant
            return value + penalty / 2 * float(np.sum(slopes**2)), np.vstack([by_slope, by_constant]).ravel()

        first = np.zeros(shape)
        if start is not None:
            first[:-1] = (self.vectors.T @ start[:-1]) * scale
            first[-1] = start[-1] * constant
        options = {"maxiter": 60, "ftol": 1e-8, "gtol": 1e-3}
        found = optimize.minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options)
        point = found.x.reshape(shape)
        return np.vstack([self.vectors @ (point[:-1] / scale), point[-1] / constant])

    def _loss_and_slope(self, margin: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its derivative by the margins, with one exponential for both: they take most of the time."""
        logit = margin + self.start
        small = np.exp(-np.abs(logit))
        loss = np.maximum(logit, 0) + np.log1p(small) - self.yes * logit
        chance = np.where(logit >= 0, np.float32(1), small) / (1 + small)
        value = np.einsum("ij,ij->", loss, self.weight, dtype=np.float64)
        return float(value), self.weight * (chance - self.yes)
