"""How much each method counts: weights that would have served best at origins within the training part."""

from __future__ import annotations

import numpy as np

from crmlib.models.demand.aligned import Array

SHRINKAGE = 40.0
"""Series-origins that equal weights are worth: a small panel stays near them, a large one follows its record."""
WORSE = 1.25
"""A method whose loss is more than this times the best one's has no share in the equal weights."""
_STEPS = 400


def weights(errors: Array, counts: Array, *, squared: bool = False) -> Array:
    """Return the weights of methods, from 0 to 1, that make the combined error small: one a method, with the sum 1.

    In: ``errors`` methods × cases (a case is a series, origin and period ahead), in units that make series alike, NaN
    where a method gave no forecast (a case counts only where all have one); ``counts`` the weight of each case. The
    loss is the absolute error, or the squared one. The best weights are pulled to equal ones, by ``SHRINKAGE`` over the
    number of cases.

    >>> weights(np.array([[0.1, -0.1] * 4000, [2.0, -2.0] * 4000]), np.ones(8000)).round(2).tolist()
    [1.0, 0.0]
    """
    complete = np.isfinite(errors).all(axis=0) & (counts > 0)
    e, w = errors[:, complete], counts[complete]
    if not complete.any():
        return np.full(len(errors), 1 / len(errors))
    loss = losses(e, w, squared=squared)
    prior = (loss <= WORSE * loss.min()).astype(float)
    prior /= prior.sum()
    best = _descend(e, w / w.sum(), prior, squared=squared)
    sure = w.sum() / (w.sum() + SHRINKAGE)
    return sure * best + (1 - sure) * prior


def losses(errors: Array, counts: Array, *, squared: bool = False) -> Array:
    """Return the mean loss of each method (methods × cases), leaving out where it gave no forecast; NaN if nowhere.

    >>> losses(np.array([[1.0, -3.0], [np.nan, 2.0]]), np.ones(2)).tolist()
    [2.0, 2.0]
    """
    known = np.isfinite(errors) * counts
    each = np.where(known > 0, errors**2 if squared else np.abs(errors), 0.0)
    total = known.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, (each * known).sum(axis=1) / total, np.nan)


def _descend(errors: Array, counts: Array, start: Array, *, squared: bool) -> Array:
    """Return the weights of the lowest loss by exponentiated gradients (convex: no local optima)."""
    spread = np.average(np.abs(errors), axis=1, weights=counts).min() or 1.0
    e = errors / spread
    at = 0.9 * start + 0.1 / len(start)
    best, lowest = at, np.inf
    for turn in range(_STEPS):
        mixed = at @ e
        loss = float(counts @ (mixed**2 if squared else np.abs(mixed)))
        if loss < lowest:
            best, lowest = at, loss
        slope = e @ (counts * (2 * mixed if squared else np.sign(mixed)))
        slope = (slope - slope @ at) / max(float(np.abs(slope).max()), 1.0)  # one wild method must not end the search
        at = at * np.exp(-0.5 / np.sqrt(1 + turn) * slope)
        at = at / at.sum()
    return best
