"""Actual value: what a customer earned and cost in a period, line by line, in whole minor units.

Lines of income: ``interest`` on balances, ``fees`` of contracts, ``products`` (the stated margin of products for which no
share is set) and ``commissions`` on transactions. Lines of cost, below zero: ``contacts`` (made by the company),
``service`` (begun by the customer), ``operations`` (handling of transactions), ``contracts`` (keeping them) and
``complaints``. Amounts are rounded once a customer, calendar month and line; everything larger is a sum of those.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.models.customer_value import accounts, terms
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, cutoff, known

INCOME = ("interest", "fees", "products", "commissions")
CONTACT = ("contacts",)
SERVICE = ("service", "operations", "contracts", "complaints")
LINES = (*INCOME, *CONTACT, *SERVICE)
PERIODS = {"month": "M", "quarter": "Q", "year": "Y"}
_MONTHS = 10_000


def customers(snapshot: Snapshot) -> pd.DataFrame:
    """Return customer_id and customer_key of the customers with an open relationship at the snapshot, by key."""
    rows = known(terms.table("customers"), snapshot.as_of, system=("customer_key",)).subquery("rows")
    at = cutoff(snapshot.as_of).date()
    still = sa.or_(rows.c.closed_on.is_(None), rows.c.closed_on >= at)
    found = snapshot.warehouse.read(sa.select(rows.c.customer_id, rows.c.customer_key).where(still))
    return found.sort_values("customer_key", ignore_index=True)


def lines(
    snapshot: Snapshot,
    *,
    company: Company | None = None,
    first: dt.date | None = None,
    by: str = "",
    account: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return what every customer earned and cost from ``first`` (default: 365 days) to the day of the snapshot.

    ``by`` is "month", "quarter" or "year" of the calendar (cut at both ends), or "" for one period; ``account`` the table
    of ``monthly`` from the same day, where it is at hand. Out: customer_id, period (first day), line (category of
    ``LINES``), amount_minor (int64, company currency, costs below zero); lines of zero are left out. Customers who left
    are there for what they did.

    Raises UsageError for another ``by``; DataError for a first day after the snapshot, an amount in a currency without
    an exchange rate, and a setting of margins that names neither a product group nor a product.
    """
    if by not in ("", *PERIODS):
        raise UsageError(f"by is {by!r}; use {', '.join(PERIODS)} or nothing for the whole period")
    begins = first or first_day(snapshot)
    wide = monthly(snapshot, company=company, first=begins) if account is None else account
    start = wide["month"].dt.to_period(PERIODS[by]).dt.start_time if by else wide["month"]
    # A period that the first day cuts begins there.
    period = start.where(start >= pd.Timestamp(begins), pd.Timestamp(begins)) if by else pd.Timestamp(begins)
    sums = wide.assign(period=period).groupby(["customer_key", "period"], sort=True)[list(LINES)].sum()
    return _long(sums, ids(snapshot))


def first_day(snapshot: Snapshot, days: int = 365) -> dt.date:
    """Return the first of the ``days`` that end with the day of the snapshot."""
    return snapshot.as_of - dt.timedelta(days=days - 1)


def ids(snapshot: Snapshot) -> pd.Series:
    """Return the customer_id of every customer_key of the warehouse."""
    keys = sa.table("customer_keys", sa.column("customer_id"), sa.column("customer_key"))
    found = snapshot.warehouse.read(sa.select(keys.c.customer_id, keys.c.customer_key))
    return found.set_index("customer_key")["customer_id"].sort_index()


def _long(sums: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Return the amounts that are not zero, a row each."""
    row, column = np.nonzero(sums.to_numpy())
    keys = sums.index.get_level_values("customer_key").to_numpy()[row]
    return pd.DataFrame(
        {
            "customer_id": names.loc[keys].array,
            "period": sums.index.get_level_values("period").to_numpy("datetime64[us]")[row],
            "line": pd.Categorical.from_codes(column, categories=pd.Index(LINES, dtype="str"), ordered=True),
            "amount_minor": sums.to_numpy()[row, column],
        }
    )


def monthly(
    snapshot: Snapshot, *, company: Company | None = None, first: dt.date | None = None, every: int = 1
) -> pd.DataFrame:
    """Return the account by customer and calendar month, a column a line: customer_key, month (first day), ``LINES``.

    Arguments and errors as ``lines``; ``every`` takes every n-th customer only.
    """
    company = company or snapshot.warehouse.company
    first, last = first or first_day(snapshot), snapshot.as_of
    if first > last:
        raise DataError(f"the first day {first} is after the snapshot of {last}; take an earlier day")
    terms.check_currencies(snapshot, company)
    goods = terms.products(snapshot, company=company)
    given: dict[str, Any] = {"company": company, "every": every}
    selects = {
        ("interest",): accounts.balances(goods, first, last, **given),
        ("fees", "products", "contracts"): accounts.holdings(goods, first, last, **given),
        ("commissions", "operations"): accounts.transactions(first, last, **given),
        ("contacts", "service"): accounts.contacts(first, last, **given),
        ("complaints",): accounts.complaints(first, last, **given),
    }
    parts: list[tuple[tuple[str, ...], pa.Table]] = []
    for names, select in selects.items():
        parts.append((names, snapshot.warehouse.arrow(select)))
    return _side_by_side(parts, first)


def _side_by_side(parts: list[tuple[tuple[str, ...], pa.Table]], first: dt.date) -> pd.DataFrame:
    """Return one row a customer and month of several tables of both, a column a line."""
    keys = [np.asarray(table["customer_key"], np.int64) * _MONTHS + np.asarray(table["month"]) for _, table in parts]
    found = np.unique(np.concatenate(keys))
    wide: dict[str, np.ndarray] = {"customer_key": found // _MONTHS, "month": found % _MONTHS}
    amounts = {name: np.zeros(len(found), np.int64) for name in LINES}
    for key, (names, table) in zip(keys, parts, strict=True):
        place = np.searchsorted(found, key)
        for name in names:
            amounts[name][place] = np.asarray(table[name]) * (1 if name in INCOME else -1)
    begins = np.datetime64(first, "M") + wide["month"]
    wide["month"] = np.maximum(begins.astype("datetime64[D]"), np.datetime64(first)).astype("datetime64[us]")
    return pd.DataFrame({**wide, **amounts})


def summary(table: pd.DataFrame, *, customers: pd.Series | None = None) -> pd.DataFrame:
    """Return the totals of ``lines`` by customer (and period, where there are several).

    ``customers`` are the ids to give a row to, those without any line with zeros. Out: customer_id, period where there
    are several, income_minor, contact_cost_minor and service_cost_minor (both positive), actual_minor (income − costs).
    """
    keys = ["customer_id"] if len(table["period"].unique()) <= 1 else ["customer_id", "period"]
    sums = table.pivot_table(index=keys, columns="line", values="amount_minor", aggfunc="sum", observed=False)
    sums = sums.reindex(columns=list(LINES)).fillna(0).astype("int64")
    if customers is not None and len(keys) == 1:
        sums = sums.reindex(pd.Index(customers, name="customer_id"), fill_value=0)
    out = pd.DataFrame(
        {
            "income_minor": sums[list(INCOME)].sum(axis=1),
            "contact_cost_minor": -sums[list(CONTACT)].sum(axis=1),
            "service_cost_minor": -sums[list(SERVICE)].sum(axis=1),
            "actual_minor": sums.sum(axis=1),
        }
    )
    return out.reset_index()


def effort(snapshot: Snapshot, *, company: Company | None = None, first: dt.date | None = None) -> pd.DataFrame:
    """Return the contacts and the time spent on each customer from ``first`` (default: 365 days) to the snapshot.

    Out: customer_id, direction ("in" begun by the customer, "out" by the company), channel, contacts, minutes (on
    record, else the usual time of the channel), cost_minor.
    """
    company = company or snapshot.warehouse.company
    terms.check_currencies(snapshot, company)
    found = snapshot.warehouse.read(accounts.effort(first or first_day(snapshot), snapshot.as_of, company=company))
    found.insert(0, "customer_id", ids(snapshot).loc[found["customer_key"]].array)
    order = ["customer_key", "direction", "channel"]
    return found.sort_values(order, ignore_index=True).drop(columns="customer_key")
