"""What the transactions of a customer will earn: how often by BG/NBD, how much by Gamma-Gamma, for activity that may fade."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.models.customer_value import accounts
from crmlib.models.lifetime import bgnbd, gammagamma
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, cutoff

LOOKBACK_DAYS = 731
UNIT_DAYS = 7


@dataclass(frozen=True)
class Activity:
    """What is expected of the transactions of each customer.

    Attributes: ``customer_key``; ``value`` minor units until the horizon, discounted; ``spread`` its standard deviation;
    ``alive`` probability of still being active; ``notes`` codes of what could not be done.
    """

    customer_key: np.ndarray
    value: np.ndarray
    spread: np.ndarray
    alive: np.ndarray
    notes: tuple[dict[str, Any], ...] = ()

    def of(self, keys: np.ndarray) -> Activity:
        """Return the same for other customers (ascending keys): 0 and unknown for those without transactions."""
        place = np.searchsorted(self.customer_key, keys)
        at = np.minimum(place, max(len(self.customer_key) - 1, 0))
        found = (self.customer_key[at] == keys) if len(self.customer_key) else np.zeros(len(keys), dtype=bool)
        value, spread, alive = np.zeros(len(keys)), np.zeros(len(keys)), np.full(len(keys), np.nan)
        for out, given in ((value, self.value), (spread, self.spread), (alive, self.alive)):
            out[found] = given[at[found]]
        return Activity(keys, value, spread, alive, self.notes)


def days(snapshot: Snapshot, *, company: Company, every: int = 1) -> pd.DataFrame:
    """Return by customer with transactions in the last two years: on how many days, from when to when, and what they earned.

    Out: customer_key, active_days, first, last (days before the snapshot), earned_minor (at today's margins).
    """
    first = snapshot.as_of - dt.timedelta(days=LOOKBACK_DAYS - 1)
    rows = accounts.since(first, snapshot.as_of, "transactions", every=every)
    shares = accounts.commission(company)
    joined = rows.outerjoin(shares, accounts.same(shares, rows.c.category, rows.c.currency, company))
    ago = sa.func.datediff("day", rows.c.occurred_at, cutoff(snapshot.as_of), type_=sa.Integer).label("ago")
    earned = sa.func.sum(sa.func.coalesce(accounts.earned(rows, shares), 0)).label("earned")
    daily = sa.select(rows.c.customer_key, ago, earned).select_from(joined).group_by(rows.c.customer_key, ago)
    each = daily.subquery("daily")
    found = snapshot.warehouse.arrow(
        sa.select(
            each.c.customer_key,
            sa.func.count().label("active_days"),
            (sa.func.max(each.c.ago) - 1).label("first"),
            (sa.func.min(each.c.ago) - 1).label("last"),
            sa.cast(sa.func.sum(each.c.earned), sa.Double).label("earned_minor"),
        )
        .group_by(each.c.customer_key)
        .order_by(each.c.customer_key)
    )
    return found.to_pandas()


def expect(table: pd.DataFrame, *, horizon_days: int, annual_discount: float) -> Activity:
    """Return what the transactions of each customer are expected to earn within the horizon; in: the table of ``days``.

    Where BG/NBD cannot be fitted (too few customers, say), the value is 0, the probability unknown, and a note says why:
    {"code": "activity_unknown", "why": …}; where Gamma-Gamma cannot, each customer's own mean counts ("own_mean").
    """
    key = table["customer_key"].to_numpy()
    frequency = table["active_days"].to_numpy(float) - 1
    recency = (table["first"] - table["last"]).to_numpy(float) / UNIT_DAYS
    age = table["first"].to_numpy(float) / UNIT_DAYS
    mean = np.maximum(table["earned_minor"].to_numpy(float), 0) / np.maximum(frequency + 1, 1)
    try:
        often = bgnbd.fit(frequency, recency, age)
    except DataError as error:
        unknown = np.full(len(key), np.nan)
        nothing = np.zeros(len(key))
        return Activity(key, nothing, nothing, unknown, ({"code": "activity_unknown", "why": str(error)},))
    count = often.discounted(
        horizon_days, frequency, recency, age, annual_discount=annual_discount, unit_days=UNIT_DAYS
    )
    alive = often.alive(frequency, recency, age)
    each, notes = _a_day(frequency + 1, mean)
    # Poisson about the expected number, and all or nothing with the probability of being active.
    certain = np.divide(count, alive, out=np.zeros(len(key)), where=alive > 0)
    variance = each**2 * (2 * count + certain**2 * alive * (1 - alive))
    return Activity(key, count * each, np.sqrt(variance), alive, notes)


def _a_day(number: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, tuple[dict[str, Any], ...]]:
    """Return what a day with transactions is expected to earn: by Gamma-Gamma, or the customer's own mean where it fails.

    Who never earned anything with transactions is expected to earn nothing.
    """
    pays = mean > 0
    out = mean.copy()
    try:
        out[pays] = gammagamma.fit(number[pays], mean[pays]).expected_value(number[pays], mean[pays])
    except DataError as error:
        return mean, ({"code": "own_mean", "why": str(error)},)
    return out, ()
