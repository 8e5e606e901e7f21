"""The sample dairy, simulated: all its parts, each drawn from a stream of random numbers of its own."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from crmlib.samples import dairy_calendar as calendar
from crmlib.samples import dairy_calls, dairy_customers, dairy_market, dairy_outlets, dairy_plans, dairy_stock


@dataclass(frozen=True)
class World:
    """A simulated dairy; see the modules of its parts."""

    seed: int
    days: calendar.Days
    shops: dairy_outlets.Shops
    market: dairy_market.Market
    stocks: dairy_stock.Stocks
    small: dairy_customers.Small
    habits: dairy_customers.Habits
    orders: dairy_customers.Orders
    plans: dairy_plans.Plans
    calls: dairy_calls.Calls

    def stream(self, number: int) -> np.random.Generator:
        """Return a stream of random numbers of its own, for what is drawn on the way to the files."""
        return _stream(self.seed, 100 + number)


def simulate(*, outlets: int, years: int, seed: int, end: dt.date) -> World:
    """Simulate a dairy of so many shops whose records end on ``end``."""
    days = calendar.days(years, end=end)
    shops = dairy_outlets.shops(_stream(seed, 0), days, outlets)
    market = dairy_market.market(_stream(seed, 1), days, shops)
    stocks = dairy_stock.stocks(_stream(seed, 2), days, shops, market)
    small = dairy_customers.small(_stream(seed, 3), days, outlets)
    habits = dairy_customers.habits(_stream(seed, 4), small)
    return World(
        seed=seed,
        days=days,
        shops=shops,
        market=market,
        stocks=stocks,
        small=small,
        habits=habits,
        orders=dairy_customers.orders(_stream(seed, 5), days, small, habits, out=stocks.out),
        plans=dairy_plans.plans(_stream(seed, 6), days, shops, market),
        calls=dairy_calls.calls(_stream(seed, 7), days, shops=outlets),
    )


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
