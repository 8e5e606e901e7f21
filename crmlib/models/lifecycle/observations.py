"""What was known of each customer at each quarter's end: how much he does, how long he has been silent, what he holds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.features import plan
from crmlib.models.lifetime.inputs import Array
from crmlib.warehouse import schema, snapshot
from crmlib.warehouse.snapshot import Snapshot, Warehouse

MONTHS = 3
USUAL_QUARTERS = 4
"""What is usual for a customer is taken from so many quarters before the present one."""
BEFORE = 3
"""So many quarters of records lie before the first one that rules judge: only a year of records shows a silence of a year."""
QUARTER_DAYS = 91.3125
MEASURES = (
    "tenure_days",
    "ended",
    "ever",
    "transactions",
    "usual",
    "ratio",
    "surprise",
    "silent_days",
    "gap_days",
    "holdings",
    "holdings_before",
    "holdings_change",
)
"""The columns of ``observe`` that rules may use."""


def quarter_ends(wh: Warehouse, as_of: dt.date, *, before: int = BEFORE, most: int = 12) -> list[dt.date]:
    """Return ``as_of`` and the ends of the quarters before it that have ``before`` quarters of records before their own.

    At most ``most``, in order. Raises DataError where ``as_of`` itself has fewer.
    """
    first = _first(wh)
    days: list[dt.date] = []
    for back in range(most):
        day = plan.bound(as_of, back * MONTHS) - dt.timedelta(days=1)
        # A first record some days into the first quarter is how records begin.
        if first is None or plan.bound(day, (before + 1) * MONTHS) < first - dt.timedelta(days=10):
            break
        days.append(day)
    if not days:
        found = "no transactions" if first is None else f"transactions from {first}"
        raise DataError(
            f"the life cycle at {as_of}: not enough data (found {found}, need {(before + 1) * MONTHS} months before that day)"
        )
    return days[::-1]


def observe(snapshot_: Snapshot) -> pd.DataFrame:
    """Return the measures of every customer known at a snapshot, customers whose relationship ended included.

    Out, a row a customer: customer_id, as_of; tenure_days (since customer_since, or the first holding or transaction); ended
    (1 where the relationship is closed), ended_on; ever (1 with any transaction or holding on record); transactions
    (in the last three months), usual (a quarter, in the year before; NaN where less than a quarter was seen), ratio (of
    transactions to usual), surprise (their difference in standard deviations of a Poisson count); silent_days (since the
    last transaction, or since he could be seen); gap_days (the longest silence that ended in the last six months; 0
    without one); holdings (open), holdings_before (open a year ago), holdings_change.
    """
    wh, as_of = snapshot_.warehouse, snapshot_.as_of
    first = _first(wh) or as_of
    people = wh.read(_people(as_of)).set_index("customer_key")
    done = wh.read(_done(as_of)).set_index("customer_key").reindex(people.index)
    held = wh.read(_held(as_of)).set_index("customer_key").reindex(people.index)
    end = pd.Timestamp(as_of) + pd.Timedelta(days=1)
    starts = pd.concat([pd.to_datetime(held["first"]), done["first"].dt.normalize()], axis=1).min(axis=1)
    since = pd.to_datetime(people["customer_since"]).fillna(starts)
    seen = since.where(since > pd.Timestamp(first), pd.Timestamp(first)).where(since.notna(), end)
    usual = _usual(done["before"].fillna(0).to_numpy(float), seen, as_of)
    number = done["now"].fillna(0).to_numpy(float)
    held_now, held_then = (held[name].fillna(0).to_numpy(float) for name in ("open", "open_before"))
    # Both counts are uncertain: the usual one is a mean of up to four.
    spread = np.sqrt(np.maximum(usual, 1.0) * (1 + 1 / USUAL_QUARTERS))
    out = {
        "customer_id": people["customer_id"].to_numpy(),
        "as_of": np.datetime64(as_of, "s"),
        "tenure_days": (pd.Timestamp(as_of) - since).dt.days.to_numpy(float),
        "ended": people["closed_on"].notna().to_numpy(float),
        "ended_on": pd.to_datetime(people["closed_on"]).to_numpy(),
        "ever": (done["first"].notna() | held["first"].notna()).to_numpy(float),
        "transactions": number,
        "usual": usual,
        "ratio": np.divide(number, usual, out=np.full(len(usual), np.nan), where=usual > 0),
        "surprise": (number - usual) / spread,
        "silent_days": (end - done["last"].fillna(seen)).dt.days.clip(lower=0).to_numpy(float),
        "gap_days": _gaps(done, since, pd.Timestamp(first)),
        "holdings": held_now,
        "holdings_before": held_then,
        "holdings_change": held_now - held_then,
    }
    return pd.DataFrame(out).sort_values("customer_id").reset_index(drop=True)


def _usual(before: Array, seen: pd.Series, as_of: dt.date) -> Array:
    """Return the transactions of an earlier quarter, by the part of the year before in which the customer could be seen."""
    this = pd.Timestamp(plan.bound(as_of, MONTHS))
    longest = (this - pd.Timestamp(plan.bound(as_of, MONTHS * (1 + USUAL_QUARTERS)))).days
    quarters = (this - seen).dt.days.clip(upper=longest).to_numpy(float) / QUARTER_DAYS
    return np.where(quarters >= 0.95, before / np.maximum(quarters, 0.95), np.nan)


def _gaps(done: pd.DataFrame, since: pd.Series, first: pd.Timestamp) -> Array:
    """Return the longest silence, days, that ended with a transaction in the last two quarters."""
    # Who was a customer before the records began was silent at least since then.
    earlier = (since < first) & since.notna()
    start = pd.Series(pd.NaT, index=since.index, dtype="datetime64[us]").mask(earlier, first)
    old = (done["first_before"] - done["last_long_before"].fillna(start)).dt.days
    new = (done["first_now"] - done["last_before"].fillna(start)).dt.days
    return np.fmax(np.fmax(old.to_numpy(float), new.to_numpy(float)), 0.0) + 0.0


def _people(as_of: dt.date) -> sa.Select[Any]:
    rows = snapshot.known(schema.tables()["customers"], as_of, system=("customer_key",)).subquery("people")
    return sa.select(rows.c.customer_key, rows.c.customer_id, rows.c.customer_since, rows.c.closed_on)


def _done(as_of: dt.date) -> sa.Select[Any]:
    rows = snapshot.known(schema.tables()["transactions"], as_of, system=("customer_key",)).subquery("done")
    at = rows.c.occurred_at
    now, before, year = (_midnight(plan.bound(as_of, months)) for months in (MONTHS, 2 * MONTHS, 5 * MONTHS))
    return (
        sa.select(
            rows.c.customer_key,
            sa.func.count(sa.case((at >= now, 1))).label("now"),
            sa.func.count(sa.case((sa.and_(at >= year, at < now), 1))).label("before"),
            sa.func.min(at).label("first"),
            sa.func.max(at).label("last"),
            sa.func.min(sa.case((at >= now, at))).label("first_now"),
            sa.func.max(sa.case((at < now, at))).label("last_before"),
            sa.func.min(sa.case((sa.and_(at >= before, at < now), at))).label("first_before"),
            sa.func.max(sa.case((at < before, at))).label("last_long_before"),
        )
        .where(rows.c.customer_key.is_not(None))
        .group_by(rows.c.customer_key)
    )


def _held(as_of: dt.date) -> sa.Select[Any]:
    rows = snapshot.known(schema.tables()["holdings"], as_of, system=("customer_key",)).subquery("held")
    year = plan.bound(as_of, 12)
    closed = sa.or_(rows.c.closed_on.is_(None), rows.c.closed_on >= year)
    return (
        sa.select(
            rows.c.customer_key,
            sa.func.count(sa.case((rows.c.closed_on.is_(None), 1))).label("open"),
            sa.func.count(sa.case((sa.and_(rows.c.opened_on < year, closed), 1))).label("open_before"),
            sa.func.min(rows.c.opened_on).label("first"),
        )
        .where(rows.c.customer_key.is_not(None))
        .group_by(rows.c.customer_key)
    )


def _first(wh: Warehouse) -> dt.date | None:
    """Return the day of the first transaction on record."""
    table = schema.tables()["transactions"]
    found: dt.datetime | None = wh.arrow(sa.select(sa.func.min(table.c.occurred_at).label("first"))).to_pylist()[0][
        "first"
    ]
    return found.date() if found else None


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())
