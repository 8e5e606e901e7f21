"""A ledger's past at month ends: which lots were open, and what became of their points in each month."""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.models.points.ledger import EXPIRY, Ledger

AGES = 24
"""Months of age told apart; older lots count as of the last."""
FOR_EVER = 60
"""Months ahead to which points without a last day are followed; what is left then counts as never spent."""
BANDS = 4
"""Sizes of balance told apart: quarters of the open points, by the balance of the customer who holds them."""
GROUPS = 40
"""Groups of customers for the jackknife."""
_MONTH = 30.4375


@dataclass(frozen=True, eq=False)
class Open:
    """Lots open at one moment: points ``left``, ``customer`` number, ``age`` and ``ends`` (months to the last day),
    ``band``; ``balance`` by customer number."""

    lot: np.ndarray
    left: np.ndarray
    customer: np.ndarray
    age: np.ndarray
    ends: np.ndarray
    band: np.ndarray
    balance: np.ndarray


class Past:
    """A ledger's arrays, seen at month ends before a day: month 0 is the day itself, month m so many months earlier."""

    def __init__(self, ledger: Ledger, as_of: dt.date) -> None:
        table, takings = ledger.entries, ledger.takings
        self.as_of = as_of
        self.moment = table["occurred_at"].to_numpy()
        points = table["points"].to_numpy()
        self.lots = np.flatnonzero(points > 0)
        self.earned, self.points = self.moment[self.lots], points[self.lots]
        self.until = table["expires_on"].to_numpy()[self.lots]
        self.customer = pd.factorize(table["customer_id"])[0][self.lots]
        place = np.full(len(table), -1)
        place[self.lots] = np.arange(len(self.lots))
        self.lot = place[takings["lot"].to_numpy()]
        self.taken = takings["points"].to_numpy()
        entry = takings["entry"].to_numpy()
        self.at = self.moment[entry]
        self.expiry = (table["reason"].to_numpy() == EXPIRY)[entry]
        known = self.moment[self.moment < self.end(0)]
        first = pd.Timestamp(known.min()).date() if len(known) else as_of
        self._opened: dict[tuple[int, bytes], Open] = {}
        self.months = max(0, (as_of.year - first.year) * 12 + as_of.month - first.month)

    def end(self, month: int) -> np.datetime64:
        """Return the midnight that ends month ``month`` before the day."""
        return np.datetime64(later(self.as_of, -month) + dt.timedelta(days=1))

    def left(self, month: int) -> np.ndarray:
        """Return the points left of each lot at the end of a month."""
        end = self.end(month)
        gone = np.bincount(self.lot, weights=self.taken * (self.at < end), minlength=len(self.lots))
        return np.where(self.earned < end, self.points - gone, 0.0)

    def spenders(self, months: int) -> int:
        """Return how many customers spent points in the last months."""
        inside = (self.at >= self.end(months)) & (self.at < self.end(0)) & ~self.expiry
        return len(np.unique(self.customer[self.lot[inside]]))

    def edges(self) -> np.ndarray:
        """Return the balances that part the points open at the ends of the last months into bands of equal size."""
        balances = np.concatenate([self._balance(self.left(month)) for month in range(0, min(self.months, 12) + 1, 3)])
        balances = np.sort(balances[balances > 0])
        share = np.cumsum(balances) / max(balances.sum(), 1)
        return balances[np.searchsorted(share, np.arange(1, BANDS) / BANDS)] if len(balances) else np.zeros(BANDS - 1)

    def _balance(self, left: np.ndarray) -> np.ndarray:
        return np.bincount(self.customer, weights=left) if len(left) else np.zeros(0)

    def open(self, month: int, edges: np.ndarray) -> Open:
        """Return the lots open at the end of a month that can still be spent; kept, since every measure asks for them."""
        key = (month, edges.tobytes())
        if key not in self._opened:
            self._opened[key] = self._open(month, edges)
        return self._opened[key]

    def _open(self, month: int, edges: np.ndarray) -> Open:
        left, end = self.left(month), self.end(month)
        balance = self._balance(left)
        day = (end - np.timedelta64(1, "D")).astype("datetime64[D]")
        alive = np.flatnonzero((left > 0) & (np.isnat(self.until) | (self.until >= day)))
        old = (day - self.earned[alive].astype("datetime64[D]")).astype(int)
        age = np.minimum(old / _MONTH, AGES - 1).astype(int)
        until = self.until[alive]
        days = np.where(np.isnat(until), 0, (until.astype("datetime64[D]") - day).astype(int))
        ends = np.minimum(np.ceil(days / _MONTH - 0.1), FOR_EVER).astype(int)
        ends = np.where(np.isnat(until), FOR_EVER, np.where(days > 0, np.maximum(ends, 1), 0))
        customer = self.customer[alive]
        band = np.searchsorted(edges, balance[customer], side="left")
        return Open(alive, left[alive], customer, age, ends, band, balance)

    def spent_of(self, lots: Open, month: int, ahead: int) -> np.ndarray:
        """Return what was spent of each of these lots, open at the end of ``month``, by ``ahead`` months after it."""
        inside = (self.at >= self.end(month)) & (self.at < self.end(month - ahead)) & ~self.expiry
        return np.bincount(self.lot[inside], weights=self.taken[inside], minlength=len(self.lots))[lots.lot]

    def flows(self, month: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points spent, forfeited before their last day, and open at its beginning, of the month that ends ``month - 1``
        months before the day, by group of customers, band and age."""
        lots = self.open(month, edges)
        inside = (self.at >= self.end(month)) & (self.at < self.end(month - 1))
        early = self.expiry & ~(self.until[self.lot] + np.timedelta64(1, "D") <= self.at)
        cell = ((lots.customer % GROUPS) * BANDS + lots.band) * AGES + lots.age
        out = []
        for mask in (inside & ~self.expiry, inside & early):
            taken = np.bincount(self.lot[mask], weights=self.taken[mask], minlength=len(self.lots))[lots.lot]
            out.append(np.bincount(cell, weights=taken, minlength=GROUPS * BANDS * AGES))
        return out[0], out[1], np.bincount(cell, weights=lots.left, minlength=GROUPS * BANDS * AGES)


def later(day: dt.date, months: int) -> dt.date:
    """Return the day so many months later; the last day of a month leads to the last day of another.

    >>> later(dt.date(2025, 2, 28), 1), later(dt.date(2025, 3, 31), -1), later(dt.date(2025, 3, 15), 1)
    (datetime.date(2025, 3, 31), datetime.date(2025, 2, 28), datetime.date(2025, 4, 15))
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    length = calendar.monthrange(year, month + 1)[1]
    whole = day.day == calendar.monthrange(day.year, day.month)[1]
    return dt.date(year, month + 1, length if whole else min(day.day, length))
