"""What a policy would have earned: off-policy value by known chances of assignment, with intervals.

A trial is a randomised experiment with several arms: arm 0 is nothing, the chances of all arms are known. The value of
a policy that gives customer i arm a with probability p(a|i) is the mean of ``sum over a of p(a|i) (G(i, a) - cost(a))``
less that of giving nothing to anybody, with the doubly robust scores
``G(i, a) = m(i, a) + 1[arm of i is a] (y(i) - m(i, a)) / chance(i, a)``, where m is an expected outcome fitted on other
customers (Dudik, Erhan, Langford & Li 2014, Statistical Science 29, 485-511). With m = 0 it is inverse propensity
weighting. Both are unbiased whatever m is; the interval is normal, from the spread of the customers' own values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.metrics import Estimate

_Z = 1.959963984540054  # normal quantile of 0.975


@dataclass(frozen=True)
class Trial:
    """What came of a randomised experiment.

    Attributes: ``names`` of the arms, the first being nothing; ``arm`` of each customer (its place in ``names``);
    ``outcome`` of each, before costs of contact; ``chances`` customers × arms, rows summing to 1.
    """

    names: tuple[str, ...]
    arm: np.ndarray
    outcome: np.ndarray
    chances: np.ndarray

    def take(self, rows: np.ndarray) -> Trial:
        """Return the trial of some customers."""
        return Trial(self.names, self.arm[rows], self.outcome[rows], self.chances[rows])


def trial(
    arms: pd.Series | np.ndarray,
    outcome: pd.Series | np.ndarray,
    *,
    control: str,
    chances: Mapping[str, float] | np.ndarray | None = None,
) -> Trial:
    """Return a trial of customers' ``arms`` (names) and outcomes; ``control`` names the arm that is nothing.

    ``chances`` are those of assignment: by name, or customers × arms (the control group first, the others in the order of
    the alphabet), or by default the shares found. Raises DataError for an arm nobody is in, gaps, or chances that are
    none.

    >>> trial(np.array(["a", "none", "a"]), np.array([1.0, 0.0, 0.0]), control="none").names
    ('none', 'a')
    """
    text = np.asarray(arms).astype(str)
    values = np.asarray(outcome, dtype=float)
    if len(text) != len(values) or np.isnan(values).any():
        raise DataError(
            f"the trial has {len(text)} arms and {int((~np.isnan(values)).sum())} outcomes; give one of each"
        )
    found = sorted(set(text.tolist()) - {control})
    if control not in text:
        raise DataError(f"nobody of the trial is in the control group {control!r}, so no effect can be measured")
    if not found:
        raise DataError("everybody of the trial is in the control group, so no effect can be measured")
    names = (control, *found)
    place = np.array([names.index(name) for name in np.unique(text)])[np.unique(text, return_inverse=True)[1]]
    table = _chances(names, place, chances)
    if not np.allclose(table.sum(axis=1), 1.0, atol=1e-6) or (table[np.arange(len(place)), place] <= 0).any():
        raise DataError("the chances of the arms must sum to 1, and nobody can be in an arm he had no chance to get")
    return Trial(names, place, values, table)


def _chances(names: Sequence[str], place: np.ndarray, given: Mapping[str, float] | np.ndarray | None) -> np.ndarray:
    if given is None:
        shares = np.bincount(place, minlength=len(names)) / len(place)
        return np.tile(shares, (len(place), 1))
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise UsageError(f"chances are given for {', '.join(sorted(given))}, but the arms are {', '.join(names)}")
        return np.tile([float(given[name]) for name in names], (len(place), 1))
    if given.shape != (len(place), len(names)):
        raise UsageError(
            f"chances have the shape {given.shape}, but there are {len(place)} customers × {len(names)} arms"
        )
    return np.asarray(given, dtype=float)


def scores(given: Trial, expected: np.ndarray | None = None) -> np.ndarray:
    """Return the doubly robust score of each customer and arm; ``expected`` (customers × arms) must not have seen him."""
    m = np.zeros(given.chances.shape) if expected is None else expected
    own = np.zeros(given.chances.shape)
    rows = np.arange(len(given.arm))
    own[rows, given.arm] = (given.outcome - m[rows, given.arm]) / given.chances[rows, given.arm]
    return m + own


def gain(
    given: Trial, policy: np.ndarray, *, costs: Sequence[float] | np.ndarray, expected: np.ndarray | None = None
) -> np.ndarray:
    """Return each customer's contribution to the value of a policy against giving nothing to anybody.

    ``policy``: the arm of each customer (its place), or probabilities (customers × arms); ``costs`` by arm, the first 0.
    Raises UsageError for costs below zero or of another number than the arms.
    """
    price = np.asarray(costs, dtype=float)
    if price.shape != (len(given.names),) or (price < 0).any() or price[0] != 0:
        raise UsageError(
            f"costs are {price.tolist()}; give one of zero or more for each of {', '.join(given.names)}, 0 first"
        )
    chosen = np.eye(len(given.names))[policy] if policy.ndim == 1 else policy
    g = scores(given, expected)
    return ((g - price) * chosen).sum(axis=1) - g[:, 0]


def estimate(contributions: np.ndarray) -> Estimate:
    """Return the mean of customers' contributions with its 95% interval; compare policies by their difference.

    >>> estimate(np.array([1.0, 3.0])).value
    2.0
    """
    if len(contributions) < 2:
        return Estimate(float(contributions.mean()) if len(contributions) else np.nan, np.nan, np.nan)
    value = float(contributions.mean())
    reach = _Z * float(contributions.std(ddof=1)) / np.sqrt(len(contributions))
    return Estimate(value, value - reach, value + reach)
