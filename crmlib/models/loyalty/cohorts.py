"""Cohorts: of those who joined in a month, how many are still here, and what do they bring, month by month."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import stats

from crmlib.errors import DataError
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, known

FEWEST = 10
"""A cohort of fewer customers is left out: its shares would say nothing, and its revenue too much about one person."""
_Z = float(stats.norm.ppf(0.975))


def joined(snapshot: Snapshot) -> pd.DataFrame:
    """Return customer_id, customer_since and closed_on (empty while open) of every customer known at the snapshot."""
    table = snapshot.table("customers", ["customer_id", "customer_since", "closed_on"])
    return table[table["customer_since"].notna()].reset_index(drop=True)


def first_complete(snapshot: Snapshot) -> dt.date:
    """Return the first day of the records of transactions: who left before it may be missing from the customers.

    Raises DataError where there are no transactions.
    """
    rows = known(schema.tables()["transactions"], snapshot.as_of).subquery("rows")
    first = snapshot.warehouse.arrow(sa.select(sa.func.min(rows.c.occurred_at).label("first"))).to_pylist()[0]["first"]
    if first is None:
        raise DataError(f"transactions: none known as of {snapshot.as_of}, so no cohort is complete; load transactions")
    found: dt.date = first.date()
    return found


def charges(snapshot: Snapshot) -> pd.DataFrame:
    """Return what customers paid to the company by month: customer_id, month (datetime64, its first day), amount_minor.

    Purchases (rows with a product or an order) where there are any, else the transactions of the category fee; returns
    count against it. Amounts in other currencies are converted at the company's rates; raises DataError for one without.
    """
    rows = known(schema.tables()["transactions"], snapshot.as_of).subquery("rows")
    bought = sa.or_(rows.c.product_id.is_not(None), rows.c.order_id.is_not(None))
    month = sa.func.date_trunc("month", rows.c.occurred_at)
    amount = -sa.func.sum(rows.c.amount_minor)
    found = pd.DataFrame()
    for chosen in (bought, rows.c.category == "fee"):
        select = sa.select(
            rows.c.customer_id,
            month.label("month"),
            rows.c.currency,
            sa.cast(amount, sa.BigInteger).label("amount_minor"),
        )
        found = snapshot.warehouse.read(select.where(chosen).group_by(rows.c.customer_id, month, rows.c.currency))
        if len(found):
            break
    company = snapshot.warehouse.company
    rates = {company.currency: 1.0, **company.exchange_rates}
    rate = found["currency"].fillna(company.currency).astype(object).map(rates)
    if rate.isna().any():
        unknown = ", ".join(sorted(set(found.loc[rate.isna(), "currency"])))
        raise DataError(
            f"table transactions, column currency: no exchange rate for {unknown}; add it to exchange_rates in company.toml"
        )
    amounts = found["amount_minor"].astype(float) * rate.astype(float)
    out = found.assign(amount_minor=amounts, month=found["month"].astype("datetime64[us]"))
    return out.groupby(["customer_id", "month"])["amount_minor"].sum().reset_index()


def table(
    customers: pd.DataFrame, revenue: pd.DataFrame, *, as_of: dt.date, first: dt.date, level: float = 0.95
) -> pd.DataFrame:
    """Return retention and revenue by joining month and age in months.

    In: a table of ``joined``; ``revenue`` with customer_id, month, amount_minor; the records are complete from ``first``.
    Out: cohort (datetime64, first day of the joining month), age_months (0 is the joining month), customers (who joined),
    retained (share still here at the end of the month), low, high (Wilson 1927), revenue_minor (mean a month for each
    customer who joined, whether still here or not), revenue_low_minor, revenue_high_minor (of a mean, by its standard
    error). Only months that have ended by ``as_of``; cohorts of fewer than 10 customers are left out.
    Raises DataError where no cohort is left.
    """
    month = customers["customer_since"].to_numpy("datetime64[M]")
    begin = np.datetime64(first, "M")
    if np.datetime64(first, "D") > begin.astype("datetime64[D]"):
        begin += 1
    end = (np.datetime64(as_of, "D") + 1).astype("datetime64[M]")  # the first month that has not ended
    kept = (month >= begin) & (month < end)
    who, month = customers[kept].reset_index(drop=True), month[kept]
    sizes = pd.Series(month).value_counts()
    large = sizes.index[sizes >= FEWEST]
    if not len(large):
        raise DataError(
            f"customers: not enough data for cohorts from {begin} to {end - 1} (found at most {int(sizes.max()) if len(sizes) else 0}"
            f" who joined in one month, need {FEWEST})"
        )
    keep = np.isin(month, large.to_numpy("datetime64[M]"))
    who, month = who[keep].reset_index(drop=True), month[keep]
    return _filled(who, month, revenue, end=end, level=level)


def _filled(
    who: pd.DataFrame, month: np.ndarray, revenue: pd.DataFrame, *, end: np.datetime64, level: float
) -> pd.DataFrame:
    cohorts = np.unique(month)
    ages = int((end - cohorts[0]).astype(int))
    place = np.searchsorted(cohorts, month)
    left = who["closed_on"].to_numpy("datetime64[M]")
    gone = np.where(np.isnat(left), ages, np.maximum((left - month).astype(int), 0))  # age of the month of leaving
    # Of each cohort: how many left at each age, and sums of revenue and of its square.
    lost = np.zeros((len(cohorts), ages + 1))
    np.add.at(lost, (place, np.minimum(gone, ages)), 1)
    size = np.bincount(place, minlength=len(cohorts)).astype(float)
    staying = size[:, None] - np.cumsum(lost, axis=1)[:, :ages]
    index = pd.Index(who["customer_id"])
    row = index.get_indexer(revenue["customer_id"])
    inside = row >= 0
    at, amount = row[inside], revenue["amount_minor"].to_numpy(float)[inside]
    age = (revenue["month"].to_numpy("datetime64[M]")[inside] - month[at]).astype(int)
    known = (age >= 0) & (age < ages)
    sums, squares = np.zeros((len(cohorts), ages)), np.zeros((len(cohorts), ages))
    np.add.at(sums, (place[at[known]], age[known]), amount[known])
    np.add.at(squares, (place[at[known]], age[known]), amount[known] ** 2)
    mean = sums / size[:, None]
    error = np.sqrt(np.maximum(squares / size[:, None] - mean**2, 0) / (size[:, None] - 1))
    reach = stats.t.ppf((1 + level) / 2, size - 1)[:, None] * error
    low, high = wilson(staying, size[:, None], level=level)
    complete = np.arange(ages)[None, :] < (end - cohorts).astype(int)[:, None]
    line, column = np.nonzero(complete)
    values = {
        "customers": np.broadcast_to(size[:, None], complete.shape).astype(int),
        "retained": staying / size[:, None],
        "low": low,
        "high": high,
        "revenue_minor": mean,
        "revenue_low_minor": mean - reach,
        "revenue_high_minor": mean + reach,
    }
    out = {"cohort": cohorts[line].astype("datetime64[us]"), "age_months": column}
    return pd.DataFrame(out | {name: matrix[line, column] for name, matrix in values.items()})


def wilson(yes: np.ndarray, n: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of a share's interval (Wilson 1927, JASA 22, 209-212).

    >>> low, high = wilson(np.array([8.0]), np.array([10.0]))
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (0.49, 0.943)
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    share = yes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Of nobody and of everybody the limit is exact; rounding must not put it on the wrong side.
    return np.where(yes == 0, 0.0, centre - reach), np.where(yes == n, 1.0, centre + reach)
