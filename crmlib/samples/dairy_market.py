"""The sample dairy's market: prices, promotions in season, and the demand that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.dairy_calendar import Days
from crmlib.samples.dairy_outlets import PRICE_LEVEL, REGIONS, WEEKDAYS, Shops

PER_YEAR = 4
"""Promotions of a product in a region and year."""

CLEAR = 35
"""Days from the end of a promotion to the next one of the same product and region, at least."""

TIMING = 6.0
"""How much promotions are put into the season: the odds of a week are exp(TIMING x season)."""

DEPTHS = (0.0, 0.10, 0.15, 0.20, 0.25, 0.30)
DEPTH_ODDS = (0.20, 0.20, 0.20, 0.15, 0.15, 0.10)
"""How deep promotions cut the price, and how often."""

DISPERSION = 20.0
"""A shop's demand of a day has variance mean + mean^2 / DISPERSION."""

SHOCK, MEMORY = 0.06, 0.6
"""Spread of a region's weekly deviation from the mean, by product, in logs, and its correlation from week to week."""

RAMP = 56
"""Days in which a new product comes to its demand."""

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Promotions:
    """Promotions, own and competitors'; arrays of one length.

    Attributes: ``product`` and ``region`` positions; ``first`` and ``last`` day of the calendar, ``announced`` the day from
    which it is known; ``depth`` of the price cut; ``price`` in the region while it runs, minor units; ``cost`` fixed.
    """

    product: Whole
    region: Whole
    first: Whole
    last: Whole
    announced: Whole
    depth: Floats
    price: Whole
    cost: Whole


@dataclass(frozen=True)
class Market:
    """What happens in the shops.

    Attributes: ``price`` region by product by day without promotions, minor units; ``promotions``; ``shelf`` shop by product
    by day, minor units; ``promoted`` whether a promotion runs there; ``mean`` the true mean of demand; ``demand`` what was
    wanted, pieces, before any shelf was empty.
    """

    price: Whole
    promotions: Promotions
    shelf: Whole
    promoted: NDArray[np.bool_]
    mean: Floats
    demand: Whole


def market(rng: np.random.Generator, days: Days, shops: Shops) -> Market:
    """Return prices, promotions and demand."""
    price = _prices(rng, days)
    promotions = _promotions(rng, days, price, scale=len(shops.ids) / 48)
    shelf, promoted = _shelf(days, shops, price, promotions)
    mean = _mean(days, shops, price, shelf, promotions)
    return Market(price, promotions, shelf, promoted, mean, _drawn(rng, days, shops, mean))


def on_sale(days: Days) -> NDArray[np.bool_]:
    """Return product by day, whether it is made: some are introduced or withdrawn on a Monday."""
    day = np.arange(days.total)
    first, last = sale_days(days)
    return (day >= first[:, None]) & (day <= last[:, None])


def sale_days(days: Days) -> tuple[Whole, Whole]:
    """Return the first and the last day of sale of each product; before 0 and beyond the calendar where there is none."""
    monday = int(-days.weekday[0] % 7)
    share = np.stack([catalogue.column("from_share"), catalogue.column("to_share")])
    number = (share * days.recorded).astype(np.int64) // 7 * 7 + monday
    return np.where(share[0] > 0, number[0], -1), np.where(share[1] <= 1, number[1] - 1, days.total)


def _prices(rng: np.random.Generator, days: Days) -> Whole:
    """Return list prices by region, product and day: twice a year a change, some weeks apart in the regions."""
    products, regions = len(catalogue.PRODUCTS), len(REGIONS)
    level = np.array([1.0, 0.97, 1.03, 1.0])[:, None] * np.exp(rng.normal(0, 0.015, (regions, products)))
    log_price = np.repeat(np.log(catalogue.column("price") * level)[:, :, None], days.total, axis=2)
    monday = int(-days.weekday[0] % 7)
    for product in range(products):
        for half in range(2 * days.recorded // 365):
            change = rng.uniform(-0.05, 0.08)
            begin = half * 182 + int(rng.integers(0, 20)) * 7 + monday
            for region in range(regions):
                first = begin + 7 * int(rng.integers(0, 6))
                if first < days.recorded - 28:
                    log_price[region, product, first:] += change + rng.normal(0, 0.01)
    return np.round(np.exp(log_price)).astype(np.int64)


def _promotions(rng: np.random.Generator, days: Days, price: Whole, *, scale: float) -> Promotions:
    rows = []
    sold = on_sale(days)
    group = catalogue.groups()
    monday = int(-days.weekday[0] % 7)
    starts = np.arange(monday + 28, days.total - 13, 7)
    wanted = round(PER_YEAR * days.total / 365.25)
    for product in range(len(catalogue.PRODUCTS)):
        odds = TIMING * days.season[group[product], starts]
        for region in range(len(REGIONS)):
            order = starts[np.argsort(-(odds + rng.gumbel(0, 1, starts.size)))]
            length = rng.choice((7, 14), starts.size, p=(0.6, 0.4))
            for first, last in _apart(order, order + length - 1, wanted):
                if sold[product, max(0, first - RAMP)] and sold[product, min(last + 28, days.total - 1)]:
                    rows.append((product, region, first, last))
    product, region, first, last = np.array(rows).T
    depth = rng.choice(DEPTHS, first.size, p=DEPTH_ODDS)
    # What runs in the quarter after the records was all agreed on before they end.
    announced = np.minimum(
        first - rng.integers(21, 57, first.size), days.recorded - 1 - rng.integers(3, 25, first.size)
    )
    cut = np.round(price[region, product, first] * (1 - depth)).astype(np.int64)
    cost = np.round(rng.uniform(1_000, 8_000, first.size) * scale).astype(np.int64)
    return Promotions(product, region, first, last, announced, depth, cut, cost)


def _apart(first: Whole, last: Whole, wanted: int) -> list[tuple[int, int]]:
    """Return so many periods, taken in the order given, that lie ``CLEAR`` days apart, in the order of time."""
    taken: list[tuple[int, int]] = []
    for begin, end in zip(first.tolist(), last.tolist(), strict=True):
        if len(taken) < wanted and all(begin > other[1] + CLEAR or end < other[0] - CLEAR for other in taken):
            taken.append((begin, end))
    return sorted(taken)


def _shelf(days: Days, shops: Shops, price: Whole, promotions: Promotions) -> tuple[Whole, NDArray[np.bool_]]:
    """Return prices on the shelf and where promotions run: in every shop of the region but the kiosks."""
    level = PRICE_LEVEL[shops.format]
    shelf = np.round(price[shops.region] * level[:, None, None]).astype(np.int64)
    promoted = np.zeros(shelf.shape, dtype=bool)
    for k in range(promotions.first.size):
        there = np.flatnonzero((shops.region == promotions.region[k]) & (shops.format != 3))
        time, product = slice(promotions.first[k], promotions.last[k] + 1), promotions.product[k]
        shelf[there, product, time] = np.round(promotions.price[k] * level[there])[:, None]
        promoted[there, product, time] = True
    return shelf, promoted


def dips(days: Days, promotions: Promotions) -> Floats:
    """Return region by product by day what earlier promotions take from the log of demand."""
    out = np.zeros((len(REGIONS), len(catalogue.PRODUCTS), days.total))
    size = catalogue.column("dip")
    for k in range(promotions.first.size):
        product, region, after = promotions.product[k], promotions.region[k], promotions.last[k] + 1
        out[region, product, after : after + 7] = -size[product]
        out[region, product, after + 7 : after + 14] = -size[product] / 2
    return out


def _mean(days: Days, shops: Shops, price: Whole, shelf: Whole, promotions: Promotions) -> Floats:
    """Return the true mean of demand by shop, product and day (docs/sample_dairy.md has the formula)."""
    first = np.round(price[shops.region, :, 0] * PRICE_LEVEL[shops.format][:, None])
    log_price = np.log(shelf / first[:, :, None])
    log = np.einsum("ij,ojt->oit", catalogue.crosses(), log_price)
    taking = shops.format != 3
    effect = dips(days, promotions)
    uplift = catalogue.column("uplift")
    for k in range(promotions.first.size):
        time = slice(promotions.first[k], promotions.last[k] + 1)
        effect[promotions.region[k], promotions.product[k], time] += uplift[promotions.product[k]]
    log += effect[shops.region] * taking[:, None, None]
    years = np.arange(days.total) / 365.25
    log += days.season[catalogue.groups()] + days.around + catalogue.column("trend")[:, None] * years
    log += np.log(shops.base)[:, :, None] + np.log(WEEKDAYS[shops.format][:, days.weekday])[:, None, :]
    return np.exp(log) * _ramp(days) * (shops.open[:, None, :] & shops.sells[:, :, None])


def _ramp(days: Days) -> Floats:
    """Return product by day the share of its demand that a product has come to; 0 where it is not sold."""
    first, _ = sale_days(days)
    since = np.arange(days.total) - first[:, None] + 1
    new = (first >= 0)[:, None] & (since <= RAMP)
    return np.where(new, 0.3 + 0.7 * np.clip(since, 0, RAMP) / RAMP, 1.0) * on_sale(days)


def _drawn(rng: np.random.Generator, days: Days, shops: Shops, mean: Floats) -> Whole:
    """Return demand drawn around its mean: a region's week, then a gamma and a Poisson draw for each day."""
    weeks = (np.arange(days.total) + days.weekday[0]) // 7
    shock = np.empty((weeks[-1] + 1, len(REGIONS), len(catalogue.PRODUCTS)))
    state = rng.normal(0, SHOCK, shock.shape[1:])
    for week in range(shock.shape[0]):
        shock[week] = state
        state = MEMORY * state + rng.normal(0, SHOCK * np.sqrt(1 - MEMORY**2), state.shape)
    factor = np.exp(shock - SHOCK**2 / 2)[weeks][:, shops.region].transpose(1, 2, 0)
    return rng.poisson(mean * factor * rng.gamma(DISPERSION, 1 / DISPERSION, mean.shape))
