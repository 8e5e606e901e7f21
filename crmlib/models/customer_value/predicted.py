"""Predicted value: what a customer will earn within a horizon, discounted to today, with an interval.

value = contracts + new contracts + activity − upkeep, each discounted by v(t) = (1 + annual_discount)^(−t / 365):

contracts   Σ over open contracts and steps of time of v × days × exp(−(H(age + t) − H(age))) × margin a day, where H is the
            product's cumulative hazard (Nelson-Aalen); a debt runs down evenly to its end, and past the end of a contract
            counts the share of renewals × the mean margin of the product;
new         Σ over products not held of the rate at which comparable customers take them × what one then earns;
activity    expected days with transactions (BG/NBD) × what such a day earns (Gamma-Gamma);
upkeep      what a customer costs a day, last year's drawn towards the mean as far as one half-year tells of the next.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.models.customer_value import accounts, activity, actual, contracts, terms
from crmlib.models.customer_value.contracts import NEVER, RENEWED_DAYS, Lasting
from crmlib.models.lifetime import discount
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, known

STEP_DAYS = 30
AGE_BANDS = (30, 45, 60)
HELD_BANDS = (2, 4, 6)
PRIOR = 5.0
"""The rate of a cell counts as if the mean rate had brought so many contracts more."""
NOISE = 0.25
"""Standard deviation of a year's interest on a contract that goes on, as a share of it; intervals are calibrated anyway."""
UPKEEP = ("contacts", "service", "operations", "complaints")
PARTS = ("contracts_minor", "new_minor", "activity_minor", "upkeep_minor")
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Prediction:
    """What every customer with an open relationship is expected to earn within the horizon.

    Attributes: ``table`` customer_id, as_of, predicted_minor, its parts ``PARTS`` (upkeep below zero), spread_minor (how
    uncertain it is, for the interval), alive (NaN without transactions), by customer_key; ``products``, and by customer
    and product what is ``held`` (bool), what open contracts are worth (``by_product``) and new ones (``new_by_product``);
    ``horizon_days`` and ``annual_discount``; ``notes`` codes of what could not be done.
    """

    table: pd.DataFrame
    products: pd.Index
    held: np.ndarray
    by_product: np.ndarray
    new_by_product: np.ndarray
    horizon_days: int
    annual_discount: float
    notes: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class _Steps:
    middle: np.ndarray
    weight: np.ndarray  # days × discount


def predict(
    snapshot: Snapshot,
    *,
    company: Company | None = None,
    horizon_days: int | None = None,
    annual_discount: float | None = None,
    account: pd.DataFrame | None = None,
    every: int = 1,
) -> Prediction:
    """Return the predicted value of every customer with an open relationship, by what was known at the snapshot.

    ``horizon_days`` and ``annual_discount`` instead of the company's; ``account`` the table of ``actual.monthly`` for the
    last 365 days, where it is at hand; ``every`` takes every n-th customer only. Raises UsageError for a horizon below
    one day and a discount outside 0 to 1, DataError where no contract is known and as ``actual.lines``.
    """
    company = company or snapshot.warehouse.company
    horizon, rate = contracts.check(company, horizon_days, annual_discount)
    goods = terms.products(snapshot, company=company)
    people = _people(snapshot, every)
    keys = people["customer_key"].to_numpy()
    held = _of(contracts.read(snapshot, goods, company=company, every=every), keys)
    contracts.need(held, snapshot)
    today = (snapshot.as_of - _EPOCH).days
    edges = np.linspace(0, horizon, -(-horizon // STEP_DAYS) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    steps = _Steps(middle, np.diff(edges) * discount.factor(rate, middle))
    there = people["closed"].to_numpy() > today
    lasts = contracts.lasting(held, goods, today)
    running = held[(held["closed"] > today) & (held["opened"] <= today)].reset_index(drop=True)
    each, each_spread = _contracts(running, lasts, steps, today)
    row = np.searchsorted(keys, running["customer_key"].to_numpy())
    by_product = np.zeros((len(people), len(goods)))
    np.add.at(by_product, (row, running["product"].to_numpy()), each)
    fresh, variance = _new(held, people, lasts, steps, today)
    np.add.at(variance, row, each_spread**2)
    days = activity.days(snapshot, company=company, every=every)
    moves = activity.expect(days, horizon_days=horizon, annual_discount=rate).of(keys)
    account = actual.monthly(snapshot, company=company, every=every) if account is None else account
    cost, cost_spread = _upkeep(_of(account, keys), people, steps, today)
    parts = np.stack([by_product.sum(axis=1), fresh.sum(axis=1), moves.value, -cost], axis=1)
    table = pd.DataFrame(parts, columns=list(PARTS))
    table["spread_minor"] = np.sqrt(variance + cost_spread**2 + moves.spread**2)
    table["alive"] = moves.alive
    table.insert(0, "customer_id", people["customer_id"].array)
    table.insert(1, "as_of", np.datetime64(snapshot.as_of, "us"))
    table.insert(2, "predicted_minor", parts.sum(axis=1))
    now = holds(held, keys, len(goods), today)
    return Prediction(
        table[there].reset_index(drop=True),
        lasts.products,
        now[there],
        by_product[there],
        fresh[there],
        horizon,
        rate,
        moves.notes,
    )


def _people(snapshot: Snapshot, every: int) -> pd.DataFrame:
    """Return customer_id, customer_key, born, since and closed (days since 1970) of all customers known, by key."""
    rows = known(terms.table("customers"), snapshot.as_of, system=("customer_key",)).subquery("rows")
    names = ("customer_id", "customer_key", "birth_date", "customer_since", "closed_on")
    listed = sa.select(*[rows.c[name] for name in names]).where(*accounts.some(rows, every))
    found = snapshot.warehouse.read(listed.order_by(rows.c.customer_key))
    out = found[["customer_id", "customer_key"]].copy()
    for column, name, empty in (
        ("born", "birth_date", -NEVER),
        ("since", "customer_since", -NEVER),
        ("closed", "closed_on", NEVER),
    ):
        day = pd.to_datetime(found[name]).to_numpy("datetime64[D]")
        out[column] = np.where(np.isnat(day), empty, day.astype(np.int64))
    return out


def _of(table: pd.DataFrame, keys: np.ndarray) -> pd.DataFrame:
    """Return the rows of customers who are known; what the sources say of others belongs to nobody here."""
    return table[table["customer_key"].isin(keys)].reset_index(drop=True)


def _contracts(running: pd.DataFrame, lasts: Lasting, steps: _Steps, today: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the value of each open contract and its standard deviation."""
    usual = _usual(running, lasts)
    value, spread = np.zeros(len(running)), np.zeros(len(running))
    for begin in range(0, len(running), 50_000):
        part = running.iloc[begin : begin + 50_000]
        product = part["product"].to_numpy()
        age = (today - part["opened"].to_numpy()).astype(float)[:, None]
        matures = part["matures"].to_numpy()[:, None]
        # Past its end and still open: nothing says when it will end.
        left = np.where((matures > today) & (matures < NEVER), matures - today, NEVER).astype(float)
        t = steps.middle[None, :]
        start = lasts.cumulative(product, age)
        stays = np.exp(start - lasts.cumulative(product, age + np.minimum(t, left)))
        run = np.where(part["owed"].to_numpy()[:, None] & (left < NEVER), np.clip(1 - t / left, 0, 1), 1.0)
        interest, fixed = (part[name].to_numpy()[:, None] for name in ("interest_minor", "fixed_minor"))
        past = np.maximum(t - left, 0)
        again = lasts.renewed[product][:, None] ** (1 + past // lasts.term[product][:, None])
        after = again * np.exp(-lasts.daily[product][:, None] * past) * usual[product][:, None]
        full = np.where(t < left, interest * run + fixed, after)
        worth = (stays * full) @ steps.weight
        value[begin : begin + len(part)] = worth
        certain = np.where(t < left, np.abs(interest * run + fixed), np.abs(usual[product][:, None])) @ steps.weight
        ends = np.abs(worth) * np.maximum(certain - np.abs(worth), 0)
        spread[begin : begin + len(part)] = np.sqrt(
            ends + (NOISE * (stays * np.abs(interest) * run @ steps.weight)) ** 2
        )
    return value, spread


def _usual(running: pd.DataFrame, lasts: Lasting, *, youngest: np.ndarray | None = None) -> np.ndarray:
    """Return the mean margin a day of the open contracts of each product; 0 where there is none."""
    chosen = running if youngest is None else running[youngest]
    margin = (chosen["interest_minor"] + chosen["fixed_minor"]).to_numpy()
    count = np.bincount(chosen["product"], minlength=len(lasts.products))
    return np.bincount(chosen["product"], weights=margin, minlength=len(lasts.products)) / np.maximum(count, 1)


def _cells(people: pd.DataFrame, held: np.ndarray, day: int) -> np.ndarray:
    """Return the cell of comparable customers of each: by age and by the number of products held."""
    age = (day - people["born"].to_numpy()) / 365.25
    return np.digitize(age, AGE_BANDS) * (len(HELD_BANDS) + 1) + np.digitize(held.sum(axis=1), HELD_BANDS)


def holds(held: pd.DataFrame, keys: np.ndarray, products: int, day: int) -> np.ndarray:
    """Return who (customers by key) holds which product at the end of a day (days since 1970)."""
    open_then = ((held["opened"] <= day) & (held["closed"] > day)).to_numpy()
    row = np.searchsorted(keys, held["customer_key"].to_numpy()[open_then])
    out = np.zeros((len(keys) + 1, products), dtype=bool)
    out[row, held["product"].to_numpy()[open_then]] = True
    return out[: len(keys)]


def _new(
    held: pd.DataFrame, people: pd.DataFrame, lasts: Lasting, steps: _Steps, today: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the contracts that each will take anew are expected to earn, by product, and the variance of their sum."""
    keys, number = people["customer_key"].to_numpy(), len(lasts.products)
    before = today - terms.DAYS
    then, now = holds(held, keys, number, before), holds(held, keys, number, today)
    there = (people["since"].to_numpy() <= before) & (people["closed"].to_numpy() > before)
    cell = _cells(people, then, before)
    cells = (len(AGE_BANDS) + 1) * (len(HELD_BANDS) + 1)
    exposed = np.stack([np.bincount(cell[there & ~then[:, k]], minlength=cells) for k in range(number)], axis=1)
    opened = held["opened"].to_numpy()
    taken = held[(opened > before) & (opened <= today) & (contracts.follows(held) > RENEWED_DAYS)]
    row = np.searchsorted(keys, taken["customer_key"].to_numpy())
    row = np.minimum(row, len(keys) - 1)
    counted = there[row] & ~then[row, taken["product"].to_numpy()]
    events = np.zeros((cells, number))
    np.add.at(events, (cell[row[counted]], taken["product"].to_numpy()[counted]), 1)
    mean = events.sum(axis=0) / np.maximum(exposed.sum(axis=0), 1)
    prior = PRIOR / np.maximum(mean, 1e-6)
    rate = (events + PRIOR * (mean > 0)) / (exposed + prior) / terms.DAYS
    running = held[(held["closed"] > today) & (opened <= today)]
    young = (today - running["opened"].to_numpy()) < terms.DAYS
    margin = _usual(running, lasts, youngest=young)
    ages = steps.middle[None, :].repeat(number, axis=0)
    stays = np.exp(-lasts.cumulative(np.arange(number), ages)) * (ages < lasts.term[:, None])
    length = np.diff(np.append(0.0, steps.middle))
    days = np.cumsum(stays * length, axis=1)  # days of contract by time, of one contract taken a day
    worth = margin * (days @ steps.weight)
    chance = rate[_cells(people, now, today)] * ~now
    once = np.abs(margin) * steps.weight.sum() / 2
    return chance * worth, chance * steps.middle[-1] @ once**2


def _upkeep(account: pd.DataFrame, people: pd.DataFrame, steps: _Steps, today: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what keeping and contacting each customer is expected to cost, and its standard deviation."""
    keys = people["customer_key"].to_numpy()
    row = np.searchsorted(keys, account["customer_key"].to_numpy())
    paid = -account[list(UPKEEP)].sum(axis=1).to_numpy(float)
    month = pd.to_datetime(account["month"]).to_numpy("datetime64[D]").astype(np.int64)
    halves = np.zeros((len(keys) + 1, 2))
    np.add.at(halves, (np.minimum(row, len(keys)), (month > today - terms.DAYS // 2).astype(int)), paid)
    halves = halves[:-1]
    since, closed = people["since"].to_numpy(), people["closed"].to_numpy()
    lived = np.clip(today - np.maximum(since, today - terms.DAYS), 30, terms.DAYS)
    whole = (since <= today - terms.DAYS) & (closed > today)
    telling = _credibility(halves[whole])
    usual = halves[whole].sum(axis=1).mean() / terms.DAYS if whole.any() else 0.0
    a_day = usual + telling * lived / terms.DAYS * (halves.sum(axis=1) / lived - usual)
    # Who leaves costs nothing more.
    left = ((closed > today - terms.DAYS) & (closed <= today)).sum()
    hazard = left / max((closed > today - terms.DAYS).sum(), 1) / terms.DAYS
    weight = (steps.weight * np.exp(-hazard * steps.middle)).sum()
    within = np.sqrt(np.maximum((halves[whole, 0] - halves[whole, 1]).var() / 2, 0)) if whole.any() else 0.0
    return a_day * weight, np.full(len(keys), within * np.sqrt(2 * weight / terms.DAYS))


def _credibility(halves: np.ndarray) -> float:
    """Return how far a customer's year tells of the next: Spearman and Brown's 2r / (1 + r) of its two halves."""
    if len(halves) < 3 or halves.std(axis=0).min() == 0:
        return 0.0
    related = float(np.corrcoef(halves.T)[0, 1])
    return max(2 * related / (1 + related), 0.0)
