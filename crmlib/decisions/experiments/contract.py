"""The table every effect is measured on: one row per customer of a campaign, control group included.

| column | meaning |
| --- | --- |
| customer_id | the customer, once |
| arm | offer and channel; what the control group has there does not matter |
| control | true: left alone on purpose, chosen at random |
| stratum | group within which the arms were drawn; one value for all where there was one draw |
| assigned_at | UTC time of the draw |
| contacted | true: a contact was made |
| converted | true: bought what the campaign is about, within the days counted |
| revenue_minor | what the customer paid for it, minor units |
| profit_minor | margin of what was bought less the cost of the customer's contacts, minor units |
| cost_minor | cost of those contacts; 0 where the column is missing |
| pre_* | numbers known before the draw, for the reduction of variance |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError

COLUMNS = (
    *("customer_id", "arm", "control", "stratum", "assigned_at"),
    *("contacted", "converted", "revenue_minor", "profit_minor"),
)
ALL_ARMS = "(all)"
"""Name of all arms together in the tables of effects."""

MEASURES = ("conversions", "revenue_minor", "profit_minor")
NEED_BUYERS = 5
"""Buyers to be expected in the smaller of two compared groups, were they alike; below it no interval is shown."""

POOLED = "(pooled)"


@dataclass(frozen=True)
class Groups:
    """An arm and its control group, as arrays over their customers.

    Attributes: ``arm`` its name; ``rows`` positions in the table; ``treated`` (bool); ``stratum`` (codes from 0);
    ``left_out`` customers of the arm who have no one of the control group to be compared with.
    """

    arm: str
    rows: np.ndarray
    treated: np.ndarray
    stratum: np.ndarray
    left_out: int

    @property
    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Customers of the arm and of the control group by stratum."""
        count = int(self.stratum.max()) + 1 if len(self.stratum) else 0
        treated = np.bincount(self.stratum, self.treated, count)
        return treated, np.bincount(self.stratum, minlength=count) - treated


def check(results: pd.DataFrame) -> pd.DataFrame:
    """Return the table of results with clean types; raises DataError for one that allows no comparison.

    Refused: a missing column, a customer who is there twice, gaps, a control group of nobody or of everybody, a campaign
    without contacts.
    """
    missing = [name for name in COLUMNS if name not in results]
    if missing:
        raise DataError(f"the results have no column {', '.join(missing)}; they need {', '.join(COLUMNS)}")
    out = results.reset_index(drop=True)
    twice = out["customer_id"].duplicated()
    if twice.any():
        raise DataError(
            f"the results name customer {out.loc[twice, 'customer_id'].iloc[0]} more than once ({int(twice.sum())} rows "
            "too many); a row is one customer"
        )
    numbers = [*MEASURES[1:], *[str(name) for name in out if str(name).startswith("pre_")]]
    for name in ["control", "contacted", "converted", *numbers, *[n for n in ("cost_minor",) if n in out]]:
        if out[name].isna().any():
            raise DataError(f"the results have {int(out[name].isna().sum())} gaps in column {name}; fill them first")
    unnamed = int((out["arm"].isna() & ~out["control"].astype(bool)).sum())
    if unnamed:
        raise DataError(f"the results have {unnamed} customers outside the control group without an arm; name it")
    types = {"control": bool, "contacted": bool, **dict.fromkeys(["converted", *numbers], float)}
    costs = out["cost_minor"].astype(float) if "cost_minor" in out else pd.Series(0.0, index=out.index)
    out = out.astype(types).assign(cost_minor=costs)
    if (costs < 0).any():
        raise DataError(f"the results have {int((costs < 0).sum())} negative costs in column cost_minor; costs add up")
    out = out.assign(arm=out["arm"].astype("str"), stratum=out["stratum"].fillna("").astype("str"))
    _compare(out)
    return out


def _compare(results: pd.DataFrame) -> None:
    control, contacted = results["control"], results["contacted"]
    if not len(results):
        raise DataError("the campaign has no members, so there is nothing to measure; assign its audience first")
    if not control.any():
        raise DataError("nobody is in the control group, so the effect cannot be measured; plan one before contacting")
    if control.all():
        raise DataError("everybody is in the control group, so there is nothing to measure; assign some to an arm")
    if not contacted[~control].any():
        raise DataError("nobody of the campaign was contacted, so it has no effect yet; import its contacts first")


def arms(results: pd.DataFrame) -> list[str]:
    """Return the arms of the results, in the order of the alphabet, then all together where there are several."""
    found = sorted(results.loc[~results["control"], "arm"].unique())
    return [*found, ALL_ARMS] if len(found) > 1 else found


def groups(results: pd.DataFrame, arm: str) -> Groups:
    """Return an arm (or all) with its control group, by strata that hold at least two of each.

    Smaller strata are pooled into one; where that one is too small as well its customers are left out and counted.
    """
    treated = ~results["control"] if arm == ALL_ARMS else ~results["control"] & (results["arm"] == arm)
    rows = results.loc[treated | results["control"], ["stratum"]].assign(treated=treated)
    both = rows.groupby("stratum")["treated"].agg(arm="sum", size="size")
    usable = both.index[(both["arm"] >= 2) & (both["size"] - both["arm"] >= 2)]
    pooled = rows["stratum"].where(rows["stratum"].isin(usable), POOLED)
    # A stratum where the arm was never drawn says nothing about it: its control group must not join the pool.
    absent = rows["stratum"].isin(both.index[both["arm"] == 0])
    rest = (pooled == POOLED) & ~absent
    small = (rest & rows["treated"]).sum() < 2 or (rest & ~rows["treated"]).sum() < 2
    kept = ~absent & ~(rest & small)
    codes = pd.factorize(pooled[kept], sort=True)[0]
    flags = rows.loc[kept, "treated"].to_numpy(dtype=bool)
    return Groups(arm, rows.index[kept].to_numpy(), flags, codes, int((rows["treated"] & ~kept).sum()))


def needed(found: Groups) -> int:
    """Return how many buyers both groups must have together for an interval at the end of a campaign."""
    smaller = min(int(found.treated.sum()), int((~found.treated).sum()))
    return math.ceil(NEED_BUYERS * len(found.rows) / smaller) if smaller else NEED_BUYERS


def outcome(results: pd.DataFrame, measure: str) -> np.ndarray:
    """Return the outcome of each customer by the name of its measure."""
    return results["converted" if measure == "conversions" else measure].to_numpy(dtype=float)
