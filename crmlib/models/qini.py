"""How well uplift orders customers: the Qini curve and its coefficient, with intervals.

Customers come in order of estimated uplift. ``Q(f)`` is the incremental outcome per customer of the whole list when its
first share f is treated: the mean of ``1[place <= f] × (G(arm) - G(nothing))`` with the scores of ``policy_value`` (by
known chances; with equal shares everywhere it is Radcliffe's ``R_t - R_c N_t / N_c`` over the number of customers; N. J.
Radcliffe 2007, "Using control groups to target on predicted lift", Direct Marketing Analytics Journal, 14-21). The
coefficient is the area between Q and the straight line to Q(1), the value of a random order:
``mean of (1/2 - place) × (G(arm) - G(nothing))`` with place from 0 to 1. It is in units of the outcome; 0 is chance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models import policy_value
from crmlib.models.metrics import Estimate
from crmlib.models.policy_value import Trial

_Z = 1.959963984540054  # normal quantile of 0.975


def contrast(given: Trial, arm: str, *, expected: np.ndarray | None = None) -> np.ndarray:
    """Return each customer's score of an arm less that of nothing; its mean is the average effect."""
    if arm not in given.names[1:]:
        raise DataError(f"the trial has no arm {arm!r}; it has {', '.join(given.names[1:])}")
    g = policy_value.scores(given, expected)
    return g[:, given.names.index(arm)] - g[:, 0]


def coefficient(uplift: np.ndarray, effect: np.ndarray) -> Estimate:
    """Return the Qini coefficient of an order by ``uplift``, given each customer's ``contrast``; ties count half.

    Interval: normal, from the spread of the customers' contributions.

    >>> coefficient(np.array([0.9, 0.1]), np.array([1.0, 0.0])).value
    0.125
    """
    _check(uplift, effect)
    place = (stats.rankdata(-uplift) - 0.5) / len(uplift)
    parts = (0.5 - place) * (effect - effect.mean())
    value = float(parts.mean())
    if len(parts) < 3:
        return Estimate(value, np.nan, np.nan)
    reach = _Z * float(parts.std(ddof=1)) / np.sqrt(len(parts))
    return Estimate(value, value - reach, value + reach)


def curve(uplift: np.ndarray, effect: np.ndarray, *, steps: int = 50) -> pd.DataFrame:
    """Return the Qini curve: share (of customers treated), value (Q), low, high, random (the straight line).

    Ties share a place, so equal uplifts make a straight line.
    """
    _check(uplift, effect)
    count = len(uplift)
    order = np.argsort(-uplift, kind="stable")
    values, sizes = np.unique(-uplift[order], return_counts=True)
    group = np.repeat(np.arange(len(values)), sizes)
    sums = np.cumsum(np.bincount(group, effect[order]))
    squares = np.cumsum(np.bincount(group, effect[order] ** 2))
    ends = np.concatenate([[0], np.cumsum(sizes)]) / count
    share = np.linspace(0, 1, steps + 1)
    value = np.interp(share, ends, np.concatenate([[0.0], sums])) / count
    second = np.interp(share, ends, np.concatenate([[0.0], squares])) / count
    reach = _Z * np.sqrt(np.maximum(second - value**2, 0) / count)
    line = share * float(effect.mean())
    return pd.DataFrame({"share": share, "value": value, "low": value - reach, "high": value + reach, "random": line})


def _check(uplift: np.ndarray, effect: np.ndarray) -> None:
    if len(uplift) != len(effect) or not len(uplift) or np.isnan(uplift).any():
        raise DataError(
            f"there are {int((~np.isnan(uplift)).sum())} uplifts and {len(effect)} customers of the trial; give one for each"
        )
