"""The contracts of the customers: what each earns a day, how long contracts last, how often they are renewed or opened anew."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.models.customer_value import accounts, terms
from crmlib.models.survival import curves
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, known

RECENT_DAYS = 92
"""What a contract earns a day is its mean over so many days."""

RENEWED_DAYS = 92
"""Who takes the same product again within so many days of the end of a contract renewed it."""

GRID_DAYS = 30
FEWEST_ENDINGS = 5
NEVER = 10**6


@dataclass(frozen=True)
class Lasting:
    """How long the contracts of each product last.

    Attributes: ``products``; ``grid`` durations in days; ``hazard`` cumulative hazard of an early end (products × grid);
    ``daily`` mean hazard a day, beyond the grid; ``renewed`` share of matured contracts that are renewed; ``term`` usual
    length of a contract that ends by itself, in days.
    """

    products: pd.Index
    grid: np.ndarray
    hazard: np.ndarray
    daily: np.ndarray
    renewed: np.ndarray
    term: np.ndarray

    def cumulative(self, product: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard at ages (days; contracts × times) of contracts of the products (places)."""
        last = self.grid[-1]
        inside = np.minimum(age, last) / GRID_DAYS
        place = np.minimum(inside.astype(np.int64), len(self.grid) - 2)
        rows = product.reshape(-1, *([1] * (age.ndim - 1)))
        low, high = self.hazard[rows, place], self.hazard[rows, place + 1]
        return low + (high - low) * (inside - place) + self.daily[rows] * np.maximum(age - last, 0)


def read(snapshot: Snapshot, products: pd.DataFrame, *, company: Company, every: int = 1) -> pd.DataFrame:
    """Return every contract known at the snapshot with what it earns a day at present.

    Out: customer_key, product (place in ``products``), opened, closed, matures (days since 1970; ``NEVER`` where empty),
    owed (whether the balance is a debt), interest_minor and fixed_minor (a day: fees and stated margin minus the cost of
    keeping it); the two are 0 for a contract that has ended.
    """
    last = snapshot.as_of
    first = last - dt.timedelta(days=RECENT_DAYS - 1)
    table = terms.table("holdings")
    rows = known(table, last, system=("customer_key",)).where(*accounts.some(table, every)).subquery("rows")
    recent = _recent(products, first, last, company, every)
    fields = ("customer_key", "product_id", "opened_on", "closed_on", "matures_on", "premium_minor", "currency")
    found = snapshot.warehouse.arrow(
        sa.select(*[rows.c[name] for name in fields], recent.c.interest, recent.c.owed)
        .join_from(rows, recent, recent.c.holding_id == rows.c.holding_id, isouter=True)
        .order_by(rows.c.customer_key, rows.c.product_id, rows.c.opened_on)
    ).to_pandas()
    listed = pd.Index(products["product_id"])
    place = listed.get_indexer(pd.Index(found["product_id"]))
    today = (last - dt.date(1970, 1, 1)).days
    out = pd.DataFrame({"customer_key": found["customer_key"].to_numpy(), "product": place})
    for name in ("opened", "closed", "matures"):
        days = pd.to_datetime(found[f"{name}_on"]).to_numpy("datetime64[D]")
        out[name] = np.where(np.isnat(days), NEVER, days.astype(np.int64))
    rate = found["currency"].fillna(company.currency).map(terms.rates(company)).to_numpy(float)
    premium = found["premium_minor"].fillna(0).to_numpy(float) * rate
    yearly = products[["fee_margin", "stated_minor", "holding_cost_minor"]].to_numpy(float)[place]
    lived = np.clip(_last_balance(snapshot) - np.maximum(out["opened"], today - RECENT_DAYS + 1) + 1, 1, RECENT_DAYS)
    running = out["closed"] >= today + 1
    out["owed"] = found["owed"].fillna(False).to_numpy(bool)
    out["interest_minor"] = (found["interest"].fillna(0).to_numpy(float) / lived).where(running, 0.0)
    fixed = (premium * yearly[:, 0] + yearly[:, 1] - yearly[:, 2]) / terms.DAYS
    out["fixed_minor"] = np.where(running, fixed, 0.0)
    return out[place >= 0].reset_index(drop=True)


def _last_balance(snapshot: Snapshot) -> int:
    """Return the last day (since 1970) for which balances are known: a balance stands for the days before it."""
    rows = known(terms.table("balances"), snapshot.as_of).subquery("rows")
    found = snapshot.warehouse.arrow(sa.select(sa.func.max(rows.c.balance_date)))[0].to_pylist()[0]
    return ((found or snapshot.as_of) - dt.date(1970, 1, 1)).days


def _recent(products: pd.DataFrame, first: dt.date, last: dt.date, company: Company, every: int) -> sa.Subquery:
    """Return holding_id, interest (minor units from ``first``) and owed (whether the last balances were debts)."""
    rows = accounts.dated_balances(first, last, every=every)
    prices = accounts.shares_of_balances(products, company)
    total = sa.func.sum(rows.c.balance_minor * rows.c.days * prices.c.price).label("interest")
    return (
        sa.select(rows.c.holding_id, total, sa.func.bool_or(rows.c.owed).label("owed"))
        .join_from(rows, prices, accounts.same(prices, rows.c.product_id, rows.c.currency, company))
        .group_by(rows.c.holding_id)
        .subquery("recent")
    )


def lasting(contracts: pd.DataFrame, products: pd.DataFrame, today: int) -> Lasting:
    """Return how long contracts last, from those known at the day ``today`` (days since 1970).

    A contract that reaches its contractual end counts as still running then (the end is known, not left to chance).
    Contracts that ended before the first end on record are not known, so each is observed from that day only (late
    entry). A product of which fewer than ``FEWEST_ENDINGS`` contracts ended early takes the hazard of all together.
    """
    opened, closed, matures = (contracts[name].to_numpy(np.int64) for name in ("opened", "closed", "matures"))
    begins = int(closed.min(initial=NEVER))
    until = np.minimum(np.minimum(closed, matures), today)
    early = (closed < matures) & (closed <= today)
    entered = np.maximum(begins - opened, 0)
    seen = (until >= opened + entered) & (begins < NEVER)
    duration = (until - opened).astype(float) + 0.5  # a contract lives through its last day
    product = contracts["product"].to_numpy()
    endings = np.bincount(product[seen & early], minlength=len(products))
    exposure = np.bincount(product[seen], weights=(duration - entered)[seen], minlength=len(products))
    mean = endings.sum() / max(exposure.sum(), 1.0)
    daily = np.where(endings >= FEWEST_ENDINGS, endings / np.maximum(exposure, 1.0), mean)
    grid = np.arange(0, max(float(duration[seen].max(initial=0)), 2 * GRID_DAYS) + GRID_DAYS, GRID_DAYS)
    hazard = daily[:, None] * grid[None, :]
    for place in np.flatnonzero(endings >= FEWEST_ENDINGS):
        own = seen & (product == place)
        found = _curve(duration[own], early[own], entered[own], grid)
        observed = np.isfinite(found)
        beyond = np.maximum(grid - grid[observed][-1], 0.0) * daily[place]
        hazard[place] = np.where(observed, found, found[observed][-1] + beyond)
    term = np.array(
        [_median((matures - opened)[(product == place) & (matures < NEVER)]) for place in range(len(products))]
    )
    return Lasting(
        pd.Index(products["product_id"]), grid, hazard, daily, _renewed(contracts, len(products), today), term
    )


def _curve(duration: np.ndarray, early: np.ndarray, entered: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the cumulative hazard at the grid, nan beyond what was observed.

    Where the few contracts known at some age all ended there, only those observed from their beginning are taken.
    """
    try:
        curve = curves.nelson_aalen(duration, early, entered=entered)
    except DataError:
        whole = entered == 0
        if not early[whole].any():
            return np.append(0.0, np.full(len(grid) - 1, np.nan))
        curve = curves.nelson_aalen(duration[whole], early[whole])
    return curves.at(curve, grid)["hazard"].to_numpy()


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float(NEVER)


def follows(contracts: pd.DataFrame) -> np.ndarray:
    """Return for each contract by how many days it began after the customer's earlier ones of the product had ended.

    ``NEVER`` where there is none, 0 or less where one was still running. In: contracts sorted by customer, product, opened.
    """
    group = contracts["customer_key"].to_numpy(np.int64) * 1_000 + contracts["product"].to_numpy()
    ends = contracts["closed"].groupby(group, sort=False).cummax().groupby(group, sort=False).shift()
    return np.where(ends.isna(), NEVER, contracts["opened"] - ends.fillna(0)).astype(np.int64)


def _renewed(contracts: pd.DataFrame, products: int, today: int) -> np.ndarray:
    """Return the share of contracts matured in the year before the last ``RENEWED_DAYS`` that were renewed."""
    opened, closed, matures = (contracts[name].to_numpy(np.int64) for name in ("opened", "closed", "matures"))
    group = contracts["customer_key"].to_numpy(np.int64) * 1_000 + contracts["product"].to_numpy()
    nxt = np.append(np.where(group[1:] == group[:-1], opened[1:], NEVER), NEVER)[: len(group)]
    inside = (closed >= matures) & (closed > today - terms.DAYS - RENEWED_DAYS) & (closed <= today - RENEWED_DAYS)
    again = inside & (nxt <= closed + RENEWED_DAYS)
    product = contracts["product"].to_numpy()
    ended = np.bincount(product[inside], minlength=products)
    return np.bincount(product[again], minlength=products) / np.maximum(ended, 1)


def check(company: Company, horizon_days: int | None, annual_discount: float | None) -> tuple[int, float]:
    """Return the horizon in days and the discount a year, the company's where none is given.

    Raises UsageError for a horizon below one day and a discount outside 0 to 1.
    """
    horizon = round(company.horizon_months * terms.DAYS / 12) if horizon_days is None else horizon_days
    discount = company.annual_discount if annual_discount is None else annual_discount
    if horizon < 1:
        raise UsageError(f"horizon_days is {horizon}; give one day or more")
    if not 0 <= discount <= 1:
        raise UsageError(f"annual_discount is {discount}; give a share from 0 to 1, for example 0.10")
    return horizon, discount


def need(contracts: pd.DataFrame, snapshot: Snapshot) -> None:
    """Raise DataError where the snapshot knows no contracts at all."""
    if contracts.empty:
        raise DataError(
            f"as of {snapshot.as_of} no contract is known; load the table holdings to predict value from it"
        )
