"""From transactions to what the models need: frequency, recency and age of each customer, and the mean value."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.snapshot import Snapshot, parse_date

KINDS = ("all", "out", "in")
WEEK = 7.0
COLUMNS = ("customer_id", "first", "last", "frequency", "recency", "age", "mean_value_minor")


@dataclass(frozen=True)
class Purchases:
    """Which transactions count as a purchase: ``kind`` "out" (money spent), "in" or "all"; where ``categories`` are
    given, only those. Several on one day are one purchase.
    """

    kind: str = "out"
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"purchases: kind is {self.kind!r}; use one of {', '.join(KINDS)}")


def counts(transactions: pd.DataFrame, *, until: str | dt.date, unit_days: float = WEEK) -> pd.DataFrame:
    """Return frequency, recency and age of every customer who bought until a day, that day included.

    In: customer_id, occurred_at, and amount_minor where values are wanted (the sign is ignored). Out, a row a customer:
    customer_id, first, last (days), frequency (days with a purchase after the first), recency (from first to last) and
    age (from first to ``until``) in units of ``unit_days`` days, mean_value_minor (of the purchases after the first, NaN
    without one). Who bought nothing is no row: the models know nothing of prospects. Raises DataError for no purchases.

    >>> rows = pd.DataFrame({"customer_id": ["A", "A", "A", "B"], "amount_minor": [500, 300, 200, 900],
    ...     "occurred_at": pd.to_datetime(["2025-01-01", "2025-01-15", "2025-01-15", "2025-03-01"])})
    >>> counts(rows, until="2025-01-29")[["customer_id", "frequency", "recency", "age", "mean_value_minor"]].values.tolist()
    [['A', 1, 2.0, 4.0, 500.0]]
    """
    day = _day(transactions, until)
    known = transactions.assign(day=transactions["occurred_at"].dt.normalize())
    known = known[known["day"] <= day]
    amount = known["amount_minor"].abs() if "amount_minor" in known else pd.Series(np.nan, index=known.index)
    days = (
        known.assign(amount=amount).groupby(["customer_id", "day"], sort=True)["amount"].sum(min_count=1).reset_index()
    )
    found = days.groupby("customer_id", sort=True).agg(
        first=("day", "min"),
        last=("day", "max"),
        days=("day", "size"),
        total=("amount", "sum"),
        start=("amount", "first"),
    )
    return _counted(found.reset_index(), day, unit_days)


def _one_currency(snapshot: Snapshot, chosen: sa.Select[Any]) -> None:
    """Raise DataError where the rows ``chosen`` are in several currencies; none stated is the company's."""
    said = sa.func.coalesce(chosen.get_final_froms()[0].c.currency, snapshot.warehouse.company.currency)
    found = sorted(snapshot.warehouse.read(chosen.with_only_columns(said.label("currency")).distinct())["currency"])
    if len(found) > 1:
        raise DataError(
            f"table transactions, column currency: {', '.join(found)} together; choose transactions of one currency"
        )


def from_snapshot(snapshot: Snapshot, purchases: Purchases | None = None, *, unit_days: float = WEEK) -> pd.DataFrame:
    """Return the same (see ``counts``) of the customers and transactions known at a snapshot.

    A customer from before the records began counts from the first purchase on record. Amounts are taken as they are:
    raises DataError for more than one currency.
    """
    chosen = purchases or Purchases()
    rows = snapshot.select("transactions").subquery("known")
    query = sa.select(
        rows.c.customer_id,
        sa.cast(rows.c.occurred_at, sa.Date).label("day"),
        sa.cast(sa.func.sum(sa.func.abs(rows.c.amount_minor)), sa.Float).label("amount"),
    )
    if chosen.kind != "all":
        query = query.where(rows.c.amount_minor < 0 if chosen.kind == "out" else rows.c.amount_minor > 0)
    if chosen.categories:
        query = query.where(rows.c.category.in_(chosen.categories))
    _one_currency(snapshot, query)
    days = query.group_by(rows.c.customer_id, sa.cast(rows.c.occurred_at, sa.Date)).subquery("days")
    first = sa.func.min(days.c.day).over(partition_by=days.c.customer_id)
    marked = sa.select(days.c.customer_id, days.c.day, days.c.amount, first.label("opening")).subquery("marked")
    own = sa.case((marked.c.day == marked.c.opening, marked.c.amount), else_=0.0)
    totals = sa.select(
        marked.c.customer_id,
        sa.func.min(marked.c.day).label("first"),
        sa.func.max(marked.c.day).label("last"),
        sa.func.count().label("days"),
        sa.func.sum(marked.c.amount).label("total"),
        sa.func.sum(own).label("start"),
    )
    found = snapshot.warehouse.read(totals.group_by(marked.c.customer_id).order_by(marked.c.customer_id))
    if found.empty:
        raise DataError(
            f"there are no purchases ({chosen.kind}) on record at {snapshot.as_of}; take other transactions"
        )
    return _counted(found, pd.Timestamp(snapshot.as_of), unit_days)


def trials(transactions: pd.DataFrame, *, until: str | dt.date, months: int = 1) -> pd.DataFrame:
    """Return frequency, recency and number of trials of every customer, in whole periods of ``months``, for BG/BB.

    A customer's periods begin after that of the first purchase; one that has not ended at ``until`` does not count. Out, a
    row a customer with at least one period: customer_id, frequency (periods with a purchase), recency (the last of
    them), trials.

    >>> rows = pd.DataFrame({"customer_id": ["A", "A", "B"],
    ...     "occurred_at": pd.to_datetime(["2025-01-10", "2025-03-02", "2025-04-01"])})
    >>> trials(rows, until="2025-04-30").values.tolist()
    [['A', 1, 2, 3]]
    """
    day = _day(transactions, until)
    if months < 1:
        raise UsageError(f"months is {months}; a period takes 1 or more")
    end = day + pd.Timedelta(days=1)
    complete = (end.year * 12 + end.month - 1) // months  # the first period that has not ended
    known = transactions[transactions["occurred_at"] < end]
    moment = known["occurred_at"].dt
    number = (moment.year * 12 + moment.month - 1) // months
    periods = pd.DataFrame({"customer_id": known["customer_id"], "number": number}).drop_duplicates()
    opening = periods.groupby("customer_id", sort=True)["number"].min().rename("opening")
    later = periods[periods["number"] < complete].groupby("customer_id")["number"].agg(["size", "max"])
    out = pd.concat([opening, later], axis=1).reset_index()
    out = out.assign(trials=complete - 1 - out["opening"])
    out = out[out["trials"] > 0]
    out = out.assign(frequency=out["size"].astype(np.int64) - 1, recency=(out["max"] - out["opening"]).astype(np.int64))
    return out[["customer_id", "frequency", "recency", "trials"]].reset_index(drop=True)


def repeats(transactions: pd.DataFrame, *, after: str | dt.date, until: str | dt.date) -> pd.Series:
    """Return the number of days with a purchase after a day and until another, by customer_id, to compare forecasts with."""
    start, day = pd.Timestamp(parse_date(after)), _day(transactions, until)
    dates = transactions["occurred_at"].dt.normalize()
    rows = pd.DataFrame({"customer_id": transactions["customer_id"], "day": dates})[(dates > start) & (dates <= day)]
    return rows.drop_duplicates().groupby("customer_id", sort=True).size().rename("purchases")


def _counted(found: pd.DataFrame, day: pd.Timestamp, unit_days: float) -> pd.DataFrame:
    if not unit_days > 0:
        raise UsageError(f"unit_days is {unit_days!r}; give a number of days above 0, for example 7")
    repeated = (found["days"] - 1).to_numpy(np.int64)
    value = (found["total"].to_numpy(float) - found["start"].to_numpy(float)) / np.where(repeated > 0, repeated, np.nan)
    first, last = pd.to_datetime(found["first"]), pd.to_datetime(found["last"])
    out = found[["customer_id"]].assign(
        first=first,
        last=last,
        frequency=repeated,
        recency=(last - first).dt.days / unit_days,
        age=(day - first).dt.days / unit_days,
        mean_value_minor=value,
    )
    return out[list(COLUMNS)].reset_index(drop=True)


def _day(transactions: pd.DataFrame, until: Any) -> pd.Timestamp:
    missing = [name for name in ("customer_id", "occurred_at") if name not in transactions]
    if missing:
        raise DataError(f"the transactions have no column {', '.join(missing)}; they need customer_id and occurred_at")
    if not pd.api.types.is_datetime64_any_dtype(transactions["occurred_at"].dtype):
        raise DataError("the transactions' occurred_at holds no times; convert it with pandas.to_datetime")
    day = pd.Timestamp(parse_date(until))
    if not (transactions["occurred_at"] < day + pd.Timedelta(days=1)).any():
        raise DataError(f"there are no purchases until {day.date()}; take a later day")
    return day
