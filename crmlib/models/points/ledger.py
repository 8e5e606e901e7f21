"""The ledger of points: first in, first out, with expiry; a balance is always the sum of the entries, and never negative.

Points earned by one entry are a lot. What is spent comes from the lots that can still be spent on that day, the earliest
earned first; an entry of expiry takes lots past their last day first. Which entry took how much from which lot (the
takings) follows from the entries alone, so that a ledger can be checked, and looked at as of any moment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlib.errors import DataError, NotFoundError, UsageError

COLUMNS = ["entry_id", "customer_id", "occurred_at", "points", "reason", "expires_on"]
TAKINGS = ["lot", "entry", "points"]
EXPIRY, REDEMPTION = "expiry", "redemption"
_NEVER = np.iinfo(np.int64).max
_DAY = 86_400_000_000


@dataclass(frozen=True, eq=False)
class Ledger:
    """A ledger that has been checked.

    Attributes: ``entries`` (entry_id, customer_id, occurred_at, points, reason, expires_on: last day the points can be
    spent, empty for ever), by customer and time; ``takings`` which entry took how many points from which lot: lot and
    entry (rows of ``entries``), points (above zero).
    """

    entries: pd.DataFrame = field(repr=False)
    takings: pd.DataFrame = field(repr=False)


def settle(entries: pd.DataFrame) -> Ledger:
    """Return the ledger of these entries; at one moment points are earned before any are spent.

    Takes entry_id, customer_id, occurred_at, points (earned above zero, spent or expired below), reason, expires_on.
    Raises DataError for missing columns, points that are no whole number, an entry that is there twice, and where a
    customer's points would go below zero.

    >>> book = settle(pd.DataFrame({"entry_id": ["a", "b"], "customer_id": ["1", "1"], "points": [100, -30],
    ...     "occurred_at": pd.to_datetime(["2025-01-01", "2025-02-01"]), "reason": ["purchase", "redemption"],
    ...     "expires_on": pd.to_datetime(["2025-12-31", None])}))
    >>> balances(book, as_of=dt.date(2025, 3, 1))["balance"].tolist()
    [70]
    """
    table = _checked(entries)
    below = _below(table)
    if len(below):
        row = below.iloc[0]
        raise DataError(
            f"loyalty_entries: customer {row['customer_id']} would have {row['balance']} points after entry "
            f"{row['entry_id']} ({row['points']} points, {row['reason'] or 'no reason'}, {row['occurred_at']}); points "
            "cannot go below zero, mend the source"
        )
    return Ledger(table, _takings(table))


def below_zero(entries: pd.DataFrame) -> pd.DataFrame:
    """Return the first entry of each customer that would take the points below zero, with the balance it would leave.

    Such a customer has no ledger that could be true, and ``settle`` refuses it. Takes what ``settle`` takes; returns its
    columns and balance (below zero).
    """
    return _below(_checked(entries))


def balances(ledger: Ledger, *, as_of: dt.date, within_days: int = 90) -> pd.DataFrame:
    """Return the points of each customer at the end of a day.

    Out, a row per customer with entries: customer_id, balance (sum of the entries), lapsed (of it, past their last day
    but not yet booked as expired; see ``expire``), expiring (of it, to be spent within ``within_days`` or lost).
    """
    at = pd.Timestamp(as_of) + pd.Timedelta(days=1)
    known = ledger.entries[ledger.entries["occurred_at"] < at]
    out = known.groupby("customer_id", sort=True)["points"].sum().rename("balance")
    lots = open_lots(ledger, at=at)
    lapsed = lots["expires_on"] < pd.Timestamp(as_of)
    soon = ~lapsed & (lots["expires_on"] <= pd.Timestamp(as_of) + pd.Timedelta(days=within_days))
    parts = {
        name: lots[mask].groupby("customer_id")["left"].sum() for name, mask in (("lapsed", lapsed), ("expiring", soon))
    }
    found = pd.DataFrame({"balance": out, **parts}).fillna(0).astype("int64")
    return found.rename_axis("customer_id").reset_index()


def open_lots(ledger: Ledger, *, at: dt.datetime) -> pd.DataFrame:
    """Return the lots with points left at a moment: customer_id, entry_id, earned_at, expires_on, reason, left."""
    table = ledger.entries
    moments = table["occurred_at"].to_numpy()
    before = moments < np.datetime64(at)
    left = np.where(before, np.maximum(table["points"].to_numpy(), 0), 0)
    used = ledger.takings[before[ledger.takings["entry"].to_numpy()]]
    left = left - np.bincount(used["lot"], weights=used["points"], minlength=len(table)).astype(np.int64)
    rows = np.flatnonzero(left > 0)
    found = table.iloc[rows].rename(columns={"occurred_at": "earned_at"})
    return found.drop(columns="points").assign(left=left[rows]).reset_index(drop=True)


def expire(ledger: Ledger, *, as_of: dt.date) -> Ledger:
    """Return the ledger with an entry of expiry for each lot past its last day that was not booked as expired.

    The entry's moment is the midnight after the last day, or the ledger's last entry of the customer where that is later
    (points that the source let live cannot expire in hindsight).
    """
    at = pd.Timestamp(as_of) + pd.Timedelta(days=1)
    lots = open_lots(ledger, at=at)
    due = lots[lots["expires_on"] < pd.Timestamp(as_of)]
    if due.empty:
        return ledger
    known = ledger.entries[ledger.entries["occurred_at"] < at]
    last = due["customer_id"].map(known.groupby("customer_id")["occurred_at"].max())
    moment = np.maximum(due["expires_on"] + pd.Timedelta(days=1), last)
    booked = pd.DataFrame(
        {
            "entry_id": EXPIRY + ":" + due["entry_id"],
            "customer_id": due["customer_id"],
            "occurred_at": moment,
            "points": -due["left"],
            "reason": EXPIRY,
            "expires_on": pd.NaT,
        }
    )
    return settle(pd.concat([ledger.entries, booked.astype({"expires_on": "datetime64[us]"})], ignore_index=True))


def spend(
    ledger: Ledger, *, customer_id: str, points: int, at: dt.datetime, entry_id: str, reason: str = REDEMPTION
) -> Ledger:
    """Return the ledger with points spent by a customer; what lapsed before is booked as expired first.

    Raises NotFoundError for a customer without entries, UsageError for points that are no whole number above zero,
    DataError where the customer has fewer points or where later entries are on record already.
    """
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points <= 0:
        raise UsageError(f"points is {points!r}; give a whole number above zero")
    own = ledger.entries[ledger.entries["customer_id"] == customer_id]
    if own.empty:
        raise NotFoundError(f"customer {customer_id} has no entries in the ledger of points; check the number")
    last = own["occurred_at"].max()
    if pd.Timestamp(at) < last:
        raise DataError(
            f"customer {customer_id}: the ledger has entries up to {last}; points cannot be spent at {at} any more"
        )
    settled = expire(ledger, as_of=pd.Timestamp(at).date())
    have = int(settled.entries.loc[settled.entries["customer_id"] == customer_id, "points"].sum())
    if points > have:
        raise DataError(
            f"customer {customer_id} has {have} points on {pd.Timestamp(at).date()} and cannot spend {points}; "
            "a balance never goes below zero"
        )
    row = [entry_id, customer_id, pd.Timestamp(at), -int(points), reason, pd.NaT]
    new = pd.DataFrame([row], columns=COLUMNS).astype({"expires_on": "datetime64[us]"})
    return settle(pd.concat([settled.entries, new], ignore_index=True))


def _checked(entries: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in entries]
    if missing:
        raise DataError(f"loyalty_entries lacks the columns {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    points = pd.to_numeric(entries["points"], errors="coerce").astype("float64")
    bad = points.isna() | (points != np.floor(points)) | ~np.isfinite(points)
    for name in ("entry_id", "customer_id", "occurred_at"):
        bad |= entries[name].isna()
    if bad.any():
        row = entries[bad].iloc[0]
        raise DataError(
            f"loyalty_entries: entry {row['entry_id']} of customer {row['customer_id']} at {row['occurred_at']} has "
            f"{row['points']} points; each entry needs a customer, a time and a whole number of points"
        )
    twice = entries["entry_id"].duplicated()
    if twice.any():
        raise DataError(f"loyalty_entries: entry {entries.loc[twice, 'entry_id'].iloc[0]} is there twice; leave one")
    table = pd.DataFrame(
        {
            "entry_id": entries["entry_id"].astype("str"),
            "customer_id": entries["customer_id"].astype("str"),
            "occurred_at": pd.to_datetime(entries["occurred_at"]).astype("datetime64[us]"),
            "points": points.astype("int64"),
            "reason": entries["reason"].astype("str").fillna(""),
            "expires_on": pd.to_datetime(entries["expires_on"]).astype("datetime64[us]").dt.normalize(),
        }
    )
    # Earned before spent at one moment, and expired last: the order in which nobody loses more than has to be.
    rank = np.select([table["points"] > 0, table["reason"] != EXPIRY], [0, 1], 2)
    order = table.assign(rank=rank).sort_values(["customer_id", "occurred_at", "rank", "entry_id"])
    return order[COLUMNS].reset_index(drop=True)


def _below(table: pd.DataFrame) -> pd.DataFrame:
    running = table.groupby("customer_id", sort=False)["points"].cumsum()
    bad = table.assign(balance=running)[running < 0]
    return bad.drop_duplicates("customer_id").reset_index(drop=True)


def _takings(table: pd.DataFrame) -> pd.DataFrame:
    """Return lot, entry, points: customer by customer, entry by entry."""
    points = table["points"].to_numpy()
    code, _ = pd.factorize(table["customer_id"])
    spent = np.bincount(code, weights=points < 0)
    rows = np.flatnonzero(spent[code] > 0) if len(table) else np.zeros(0, np.int64)  # the others have nothing to follow
    who = code[rows].tolist()
    moments = table["occurred_at"].to_numpy().astype(np.int64)[rows]
    last_day = table["expires_on"].to_numpy().astype("datetime64[us]").astype(np.int64)[rows]
    until = np.where(last_day == np.iinfo(np.int64).min, _NEVER, last_day + _DAY).tolist()
    expires = (table["reason"].to_numpy()[rows] == EXPIRY).tolist()
    lots: list[list[int]] = []  # row, points left, moment from which they cannot be spent
    taken: list[tuple[int, int, int]] = []
    present = -1
    for own, row, amount, at, end, expiry in zip(
        who, rows.tolist(), points[rows].tolist(), moments.tolist(), until, expires, strict=True
    ):
        if own != present:
            present, lots = own, []
        if amount > 0:
            lots.append([row, amount, end])
        elif amount < 0:
            _take(lots, -amount, row, at=at, lapsed_first=expiry, taken=taken)
            lots = [lot for lot in lots if lot[1]]
    return pd.DataFrame(np.array(taken, dtype=np.int64).reshape(-1, 3), columns=TAKINGS)


def _take(
    lots: list[list[int]], wanted: int, row: int, *, at: int, lapsed_first: bool, taken: list[tuple[int, int, int]]
) -> None:
    for lapsed in (lapsed_first, not lapsed_first):
        for lot in _of(lots, at, lapsed):
            part = min(lot[1], wanted)
            if part:
                lot[1] -= part
                taken.append((lot[0], row, part))
                wanted -= part
                if not wanted:
                    return


def _of(lots: list[list[int]], at: int, lapsed: bool) -> Iterable[list[int]]:
    return (lot for lot in lots if (lot[2] <= at) is lapsed)
