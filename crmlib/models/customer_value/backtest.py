"""Is the prediction any good? Predicted value against what customers earned since, beside "the same as last year"."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.customer_value import accounts, actual, predicted, terms
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, known

LONGEST_DAYS = 365
SHORTEST_DAYS = 60
FEWEST = 100
GROUPS = 5
MEASURES = ("total", "rank", "error")


def window(snapshot: Snapshot) -> int:
    """Return over how many days a prediction can be tested: half of the records of balances and transactions, a year at most.

    Raises DataError where that is less than ``SHORTEST_DAYS``.
    """
    firsts = []
    for name in ("balances", "transactions"):
        table = known(terms.table(name), snapshot.as_of).subquery("rows")
        happened = table.c[terms.table(name).info["happened"]]
        firsts.append(snapshot.warehouse.arrow(sa.select(sa.cast(sa.func.min(happened), sa.Date)))[0].to_pylist()[0])
    # The first balance stands for the month before it.
    slack = dt.timedelta(days=accounts.LONGEST_DAYS - 1)
    dates = [day - back for day, back in zip(firsts, (slack, dt.timedelta()), strict=True) if day is not None]
    days = ((snapshot.as_of - max(dates)).days + 1) // 2 if dates else 0
    if days < SHORTEST_DAYS:
        raise DataError(
            f"as of {snapshot.as_of} the records of balances and transactions reach back {2 * days} days; testing a "
            f"prediction needs {2 * SHORTEST_DAYS}: half to predict from, half to compare with"
        )
    return min(days, LONGEST_DAYS)


def run(
    snapshot: Snapshot,
    *,
    company: Company | None = None,
    days: int | None = None,
    account: pd.DataFrame | None = None,
    every: int = 1,
) -> pd.DataFrame:
    """Return what was predicted ``days`` ago (default: ``window``), undiscounted, and what came, a row a customer of then.

    ``account`` is the table of ``actual.monthly`` of the year before the snapshot, where at hand; used for a test over a
    year; ``every`` takes every n-th customer only. Out: customer_id, predicted_minor, spread_minor, last_minor (the same number of days before), actual_minor.
    Raises DataError for too short records and fewer than ``FEWEST`` customers.
    """
    length = window(snapshot) if days is None else days
    company = company or snapshot.warehouse.company
    origin = snapshot.warehouse.snapshot(snapshot.as_of - dt.timedelta(days=length))
    before = actual.monthly(origin, company=company, every=every)
    made = predicted.predict(
        origin, company=company, horizon_days=length, annual_discount=0.0, account=before, every=every
    )
    if len(made.table) < FEWEST:
        raise DataError(f"not enough data (found {len(made.table)} customers as of {origin.as_of}, need {FEWEST})")
    if account is None or length != LONGEST_DAYS:
        account = actual.monthly(snapshot, company=company, first=actual.first_day(snapshot, length), every=every)
    if length != LONGEST_DAYS:
        before = actual.monthly(origin, company=company, first=actual.first_day(origin, length), every=every)
    names = actual.ids(snapshot)
    out = made.table[["customer_id", "predicted_minor", "spread_minor"]].copy()
    for column, table in (("last_minor", before), ("actual_minor", account)):
        total = table[list(actual.LINES)].sum(axis=1).groupby(table["customer_key"]).sum()
        total.index = names.loc[total.index]
        out[column] = total.reindex(out["customer_id"], fill_value=0).to_numpy(np.int64)
    return out


def compare(table: pd.DataFrame, *, level: float = 0.95, draws: int = 200, seed: int = 7) -> pd.DataFrame:
    """Return how well predictions and "the same as last year" did, and whether the difference is more than chance.

    In: the table of ``run``. Measures: "total" (error of the sum, a share of it), "rank" (Spearman's correlation), "error"
    (mean absolute error, minor units). Out: measure, predicted, last, gain (how much better the prediction is: for errors
    how much smaller) with low and high of a bootstrap over customers, who keep the ranks they have among all.
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    if len(table) < FEWEST:
        raise DataError(f"not enough data (found {len(table)} customers, need {FEWEST})")
    random = np.random.default_rng(seed)
    sums = _summands(table[["predicted_minor", "last_minor", "actual_minor"]].to_numpy(float))
    size = len(table)
    point = _measures(sums.mean(axis=0))
    drawn = [np.bincount(random.integers(0, size, size), minlength=size) @ sums / size for _ in range(draws)]
    found = np.stack([_gain(_measures(means)) for means in drawn])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    gain = _gain(point)
    return pd.DataFrame(
        {"measure": list(MEASURES), "predicted": point[0], "last": point[1], "gain": gain, "low": low, "high": high}
    ).astype({"measure": "str"})


def tenths(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean predicted_minor, last_minor and actual_minor by tenth (1 to 10) of the customers by prediction.

    In: the table of ``run``.
    """
    place = np.ceil(stats.rankdata(table["predicted_minor"], method="ordinal") * 10 / len(table)).astype(int)
    names = ["predicted_minor", "last_minor", "actual_minor"]
    return table[names].groupby(place).mean().rename_axis("tenth").reset_index()


def _summands(values: np.ndarray) -> np.ndarray:
    """Return what the measures are made of, by customer: values, ranks, their squares and products, absolute errors."""
    ranks = stats.rankdata(values, axis=0) / len(values)
    errors = np.abs(values[:, :2] - values[:, 2:])
    return np.hstack([values, ranks, ranks**2, ranks[:, :2] * ranks[:, 2:], errors])


def _measures(means: np.ndarray) -> np.ndarray:
    """Return the measures (two methods × three) from the means of ``_summands``."""
    value, rank, square, product, error = np.split(means, [3, 6, 9, 11])
    spread = np.sqrt(square - rank**2)
    related = (product - rank[:2] * rank[2]) / (spread[:2] * spread[2])
    total = value[:2] / value[2] - 1 if value[2] else np.full(2, np.nan)
    return np.stack([total, related, error], axis=1)


def _gain(point: np.ndarray) -> np.ndarray:
    return np.array([abs(point[1, 0]) - abs(point[0, 0]), point[0, 1] - point[1, 1], point[1, 2] - point[0, 2]])


@dataclass(frozen=True)
class Band:
    """By how many of its ``spread_minor`` the value of a customer falls short of or exceeds its prediction.

    Attributes: ``edges`` between groups of customers by predicted value a day; ``low`` and ``high`` by group; ``floor_minor``
    a day, added to the spread; ``level``; ``days`` over which it was measured.
    """

    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray
    floor_minor: float
    level: float
    days: int

    def interval(self, table: pd.DataFrame, *, horizon_days: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the interval of predictions (predicted_minor, spread_minor) over a horizon."""
        value = table["predicted_minor"].to_numpy(float)
        group = np.digitize(value / horizon_days, self.edges)
        scale = table["spread_minor"].to_numpy(float) + self.floor_minor * horizon_days
        return value + self.low[group] * scale, value + self.high[group] * scale


def band(table: pd.DataFrame, *, days: int, level: float = 0.9) -> Band:
    """Return the band that held a share ``level`` of the values of ``run``, in each of ``GROUPS`` groups by prediction.

    The quantiles are those of split conformal prediction (Vovk, Gammerman & Shafer 2005), each side by itself. Raises
    UsageError for a level outside 0 to 1, DataError for fewer than ``FEWEST`` customers.
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.9")
    if len(table) < FEWEST:
        raise DataError(f"not enough data (found {len(table)} customers, need {FEWEST})")
    value = table["predicted_minor"].to_numpy(float) / days
    edges = np.unique(np.quantile(value, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    group = np.digitize(value, edges)
    floor = max(float(np.median(table["spread_minor"])) / days / 10, 1e-9)
    z = (table["actual_minor"] - table["predicted_minor"]) / (table["spread_minor"] + floor * days)
    tail = (1 - level) / 2
    lows, highs = [], []
    for place in range(len(edges) + 1):
        own = np.sort(z[group == place])
        rank = int(np.floor((len(own) + 1) * tail)) - 1
        lows.append(min(own[max(rank, 0)], 0.0))
        highs.append(max(own[len(own) - 1 - max(rank, 0)], 0.0))
    return Band(edges, np.array(lows), np.array(highs), floor, level, days)
