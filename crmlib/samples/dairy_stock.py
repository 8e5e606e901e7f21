"""The sample dairy's stocks: shops that order by what they sold, shelves that run empty, depots that cannot deliver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.dairy_calendar import Days
from crmlib.samples.dairy_market import Market, on_sale
from crmlib.samples.dairy_outlets import REGIONS, Shops

CAUTION = 0.3
"""Standard deviations of demand that a shop orders beyond what it expects to sell."""

EXPECTED_UPLIFT = 1.2
"""By how much shops raise their orders for a promotion: too little, so shelves run empty more often."""

SMOOTHING = 0.05
"""Weight of the last day in what a shop takes its sales to be."""

OUTAGES = 0.8
"""Times a year that a depot runs out of a product for some days."""

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Stocks:
    """What shops and depots had; own products only.

    Attributes, all by shop, product and day: ``sold``; ``empty`` whether more was wanted than there was; ``ordered``;
    ``stock`` and ``on_order`` at the end of the day; ``wasted`` past its shelf life. By region, product and day:
    ``out`` whether the depot has none; ``depot`` what it has; ``coming`` what it has ordered from the dairy.
    """

    sold: Whole
    empty: Flags
    ordered: Whole
    stock: Whole
    on_order: Whole
    wasted: Whole
    out: Flags
    depot: Whole
    coming: Whole


@dataclass(frozen=True)
class _Rounds:
    """By shop and day: whether it orders, when that comes, and for how many days it must last from the order on."""

    orders: Flags
    arrives: Whole
    covers: Whole


@dataclass(frozen=True)
class _Range:
    """What shops order: ``sells`` shop by product; of each product its ``pack``, its shelf ``life`` and, by day, whether it is
    ``made``; ``promoted`` day by shop by product."""

    sells: Flags
    pack: Whole
    life: Whole
    made: Flags
    promoted: Flags


def stocks(rng: np.random.Generator, days: Days, shops: Shops, market: Market) -> Stocks:
    """Return sales and stocks of the own products day by day."""
    own = slice(0, len(catalogue.OWN))
    out = _outages(rng, days)
    back = _next_free(out)[shops.region]
    rounds = _rounds(days, shops)
    pack, life = (catalogue.column(name)[own].astype(np.int64) for name in ("pack", "shelf_life"))
    range_ = _Range(shops.sells[:, own], pack, life, on_sale(days)[own], _day_first(market.promoted[:, own]))
    demand = _day_first(market.demand[:, own])
    names = ("sold", "ordered", "stock", "on_order", "wasted")
    kept = {name: np.zeros_like(demand) for name in names}
    arrivals = np.zeros((days.total + 30, *demand.shape[1:]), dtype=np.int64)
    received = np.zeros((days.total + 1, *demand.shape[1:]), dtype=np.int64)  # since the beginning, before each day
    usual = shops.base[:, own] * 0.9
    there = market.mean[:, own, :14].any(axis=2)
    stock = np.ceil(usual * np.minimum(4, life)).astype(np.int64) * there
    gone = -stock  # sold and wasted, less the first stock: what is left of deliveries is received - gone
    waiting = np.zeros_like(stock)
    for day in range(days.total):
        stock, waiting = stock + arrivals[day], waiting - arrivals[day]
        received[day + 1] = received[day] + arrivals[day]
        old = received[np.maximum(day + 1 - life, 0), :, np.arange(life.size)].T
        past = np.clip(old - gone, 0, stock) * (day >= life)
        sold = np.minimum(stock - past, demand[day])
        stock, gone = stock - past - sold, gone + past + sold
        usual = np.where(shops.open[:, day, None], usual + SMOOTHING * (sold - usual), usual)
        ordered = _order(rounds, range_, day, usual=usual, position=stock + waiting)
        _deliver(arrivals, ordered, rounds.arrives[:, day], back)
        waiting = waiting + ordered
        for name, value in zip(names, (sold, ordered, stock, waiting, past), strict=True):
            kept[name][day] = value
    by_shop = {name: np.ascontiguousarray(values.transpose(1, 2, 0)) for name, values in kept.items()}
    depot, coming = _depots(days, arrivals[: days.total].transpose(1, 2, 0), out, region=shops.region)
    return Stocks(empty=market.demand[:, own] > by_shop["sold"], out=out, depot=depot, coming=coming, **by_shop)


def _day_first(values: NDArray[Any]) -> NDArray[Any]:
    """Return shop by product by day as day by shop by product, which a walk through the days reads much faster."""
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _order(rounds: _Rounds, range_: _Range, day: int, *, usual: NDArray[np.float64], position: Whole) -> Whole:
    """Return what each shop orders: up to its expectation until the delivery after next, in whole packs."""
    days = np.minimum(rounds.covers[:, day, None], range_.life * 0.8)
    last = range_.promoted.shape[0] - 1
    soon = range_.promoted[np.minimum(rounds.arrives[:, day], last), np.arange(position.shape[0])]
    wanted = usual * days * 6 / 7 * np.where(soon, EXPECTED_UPLIFT, 1.0)
    wanted = wanted + CAUTION * np.sqrt(wanted + wanted**2 / 20)
    packs = np.ceil(np.maximum(wanted - position, 0) / range_.pack).astype(np.int64)
    needed = rounds.orders[:, day, None] & range_.sells & range_.made[:, min(day + 7, last)]
    return np.where(needed, packs * range_.pack, 0)


def _deliver(arrivals: Whole, ordered: Whole, arrives: Whole, back: Whole) -> None:
    """Put orders among the arrivals of their day, or of the first day on which the depot has the product again."""
    shop, product = np.nonzero(ordered)
    day = np.minimum(arrives[shop], back.shape[2] - 1)
    np.add.at(arrivals, (back[shop, product, day], shop, product), ordered[shop, product])


def _rounds(days: Days, shops: Shops) -> _Rounds:
    """Return when shops order: on their last open day from which a delivery can still be reached."""
    count, total = shops.open.shape
    delivery = np.array([[str(day + 1) in text for day in range(7)] for text in shops.delivery_weekdays])
    open_after = np.concatenate([shops.open, np.zeros((count, 30), dtype=bool)], axis=1)
    weekday = (days.weekday[0] + np.arange(total + 30)) % 7
    possible = open_after & delivery[:, weekday]
    possible[:, total:] = delivery[:, weekday[total:]]
    next_possible = _following(possible)
    next_open = _following(open_after)
    day = np.arange(total)
    arrives = np.minimum(np.take_along_axis(next_possible, day + shops.lead[:, None], 1), total + 29)
    later = np.minimum(np.take_along_axis(next_open, np.broadcast_to(day + 1, (count, total)), 1), total - 1)
    arrives_later = np.take_along_axis(arrives, later, 1)
    orders = shops.open & (arrives_later > arrives)
    return _Rounds(orders, arrives, np.clip(arrives_later - day, 1, 21))


def _following(flags: Flags) -> Whole:
    """Return for each day the first one from it on with the flag set, one beyond the end where there is none."""
    place = np.where(flags, np.arange(flags.shape[-1]), flags.shape[-1])
    return np.minimum.accumulate(place[..., ::-1], axis=-1)[..., ::-1]


def _outages(rng: np.random.Generator, days: Days) -> Flags:
    """Return region by product by day, whether the depot has none; never on the last week, so that all begin alike."""
    own = len(catalogue.OWN)
    out = np.zeros((len(REGIONS), own, days.total), dtype=bool)
    count = rng.poisson(OUTAGES * days.recorded / 365.25, out.shape[:2])
    for region, product in np.argwhere(count):
        for first in rng.integers(20, days.recorded - 16, count[region, product]):
            out[region, product, first : first + int(rng.integers(3, 10))] = True
    return out


def _next_free(out: Flags) -> Whole:
    return np.minimum(_following(~out), out.shape[-1] - 1)


def _depots(days: Days, arrivals: Whole, out: Flags, *, region: Whole) -> tuple[Whole, Whole]:
    """Return the depots' stock at the end of the day and what is on its way to them: filled on Tuesdays and Fridays."""
    leaving = np.stack([arrivals[region == place].sum(axis=0) for place in range(out.shape[0])])
    usual = np.maximum(leaving[:, :, :28].mean(axis=2), 1.0)
    stock = np.ceil(usual * 5).astype(np.int64)
    kept, coming = np.zeros(out.shape, dtype=np.int64), np.zeros(out.shape, dtype=np.int64)
    for day in range(days.total):
        target = np.ceil(usual * 5).astype(np.int64)
        filled = np.isin(days.weekday[day], (1, 4)) | (stock < leaving[:, :, day]) | (stock == 0)
        stock = np.where(filled, np.maximum(stock, target + leaving[:, :, day]), stock) - leaving[:, :, day]
        stock = np.where(out[:, :, day], 0, stock)
        usual = usual + 0.05 * (leaving[:, :, day] - usual)
        kept[:, :, day] = stock
        coming[:, :, day] = np.where(days.weekday[day] in (0, 3), np.maximum(target - stock, 0), 0)
    return kept, coming
