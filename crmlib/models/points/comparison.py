"""Two groups compared: rows of effects, means per day of two groups, and intervals of what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError

NEED = 100
"""Customers in each group, and joined, below which there is no interval."""
MEASURES = ("purchases", "spent_minor")
PERIOD_DAYS = 30.0
"""Outcomes are per customer and so many days."""
Estimate = tuple[float, np.ndarray]
"""A value and each unit's influence on it, whose squares sum to its variance."""


@dataclass(frozen=True)
class Effect:
    """A row of the table of effects.

    ``method``: "invited" (intention to treat), "joined" (effect on those who join when invited), "members" (members less
    the others, no effect of anything), "matched", "placebo". ``effect`` is per customer and 30 days, ``ratio`` the same as
    a factor; ``customers`` and ``others`` the sizes of the two groups. ``code``: "randomised", "self_selected" (never an
    effect), "matched_only" (true if the groups differ in nothing else), "placebo_differs" (they do: cannot be known),
    "not_enough_data" (with ``found`` and ``need``), "nothing_before" (no records before joining: cannot be known).
    """

    measure: str
    method: str
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    ratio: float = np.nan
    ratio_low: float = np.nan
    ratio_high: float = np.nan
    customers: int = 0
    others: int = 0
    code: str = ""
    found: int = 0
    need: int = 0


class Means:
    """Means per day of two groups (1 and 0), as ratios of sums, with each unit's influence on them."""

    def __init__(self, outcome: np.ndarray, days: np.ndarray, first: np.ndarray) -> None:
        self.mean: dict[int, float] = {}
        self.influence: dict[int, np.ndarray] = {}
        for key, mask in ((1, first), (0, ~first)):
            total = days[mask].sum()
            self.mean[key] = float(outcome[mask].sum() / total)
            self.influence[key] = np.where(mask, (outcome - self.mean[key] * days) / total, 0.0)

    def difference(self) -> Estimate:
        """Return the first mean less the second, and each unit's influence on it."""
        return self.mean[1] - self.mean[0], self.influence[1] - self.influence[0]


def minus(one: Estimate, other: Estimate) -> Estimate:
    """Return one estimate less another."""
    return one[0] - other[0], one[1] - other[1]


def ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return one estimate over another."""
    value = one[0] / other[0]
    return value, (one[1] - value * other[1]) / other[0]


def log_ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return the logarithm of one estimate over another; nan where either is not above zero."""
    if one[0] <= 0 or other[0] <= 0:
        return np.nan, np.zeros(1)
    return float(np.log(one[0] / other[0])), one[1] / one[0] - other[1] / other[0]


def compared(row: Effect, means: Means, *, code: str, level: float) -> Effect:
    """Return the row with the difference and the ratio of two means."""
    first, second = (means.mean[1], means.influence[1]), (means.mean[0], means.influence[0])
    return filled(replace(row, code=code), minus(first, second), log_ratio(first, second), level)


def filled(row: Effect, per: Estimate, factor: Estimate, level: float) -> Effect:
    """Return the row with a difference and a logarithm of a ratio, with intervals."""
    quantile = float(stats.norm.ppf((1 + level) / 2))
    reach, log_reach = (quantile * float(np.sqrt((one[1] ** 2).sum())) for one in (per, factor))
    return replace(
        row,
        effect=per[0],
        low=per[0] - reach,
        high=per[0] + reach,
        ratio=float(np.exp(factor[0])),
        ratio_low=float(np.exp(factor[0] - log_reach)),
        ratio_high=float(np.exp(factor[0] + log_reach)),
    )


def enough(measure: str, method: str, sizes: tuple[int, int]) -> Effect:
    """Return a row with the sizes of both groups, or with the code that there are not enough."""
    if min(sizes) < NEED:
        known = {"customers": sizes[0], "others": sizes[1], "found": min(sizes), "need": NEED}
        return Effect(measure, method, code="not_enough_data", **known)
    return Effect(measure, method, customers=sizes[0], others=sizes[1])


def needed(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DataError where a table lacks columns."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(f"the table of outcomes lacks the columns {', '.join(missing)}; it needs {', '.join(columns)}")
