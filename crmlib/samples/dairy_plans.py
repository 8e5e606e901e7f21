"""The sample dairy's plans of the sales force and an outside forecast, each with its own optimism."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.dairy_calendar import Days
from crmlib.samples.dairy_market import Market, on_sale
from crmlib.samples.dairy_outlets import REGIONS, Shops

OPTIMISM = (0.05, 0.25, 0.12, 0.18)
"""By how much the sales force of each region plans more than the true mean, as a share of it."""

NOISE = 0.10
"""Spread of a plan around that, in logs."""

INSTITUTE, INSTITUTE_OPTIMISM, INSTITUTE_NOISE = "Market institute", 0.02, 0.06
"""The outside forecast: a quarter of the whole market's shops, in round hundreds."""


@dataclass(frozen=True)
class Plans:
    """Plans; arrays of one length. ``source`` a position in ``sources()``; ``product``; ``region``, -1 for all; ``made``,
    ``first`` and ``last`` days of the calendar; ``quantity`` pieces."""

    source: NDArray[np.int64]
    product: NDArray[np.int64]
    region: NDArray[np.int64]
    made: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    quantity: NDArray[np.float64]


def sources() -> list[str]:
    """Return who makes plans."""
    return [*(f"Sales force {region}" for region in REGIONS), INSTITUTE]


def plans(rng: np.random.Generator, days: Days, shops: Shops, market: Market) -> Plans:
    """Return the plans, made about ten days before each quarter for its three months, the coming quarter included."""
    own = len(catalogue.OWN)
    regional = np.stack([market.mean[shops.region == place, :own].sum(axis=0) for place in range(len(REGIONS))])
    sold = on_sale(days)
    rows = []
    for first in _quarters(days):
        months = _months(days, first)
        for product in range(own):
            if not sold[product, first]:
                continue
            for region, optimism in enumerate(OPTIMISM):
                for begin, end in months:
                    mean = regional[region, product, begin : end + 1].sum()
                    quantity = np.round(mean * (1 + optimism) * np.exp(rng.normal(0, NOISE)))
                    rows.append((region, product, region, first - 11, begin, end, quantity))
            mean = regional[:, product, first : months[-1][1] + 1].sum()
            quantity = np.round(mean * (1 + INSTITUTE_OPTIMISM) * np.exp(rng.normal(0, INSTITUTE_NOISE)), -2)
            rows.append((len(REGIONS), product, -1, first - 11, first, months[-1][1], quantity))
    table = np.array(rows)
    source, product, region, made, first, last = table[:, :6].astype(np.int64).T
    return Plans(source, product, region, made, first, last, quantity=table[:, 6])


def _quarters(days: Days) -> list[int]:
    return [number for number in range(days.total - 80) if (day := days.date(number)).day == 1 and day.month % 3 == 1]


def _months(days: Days, first: int) -> list[tuple[int, int]]:
    """Return the first and the last day of the three months from a day on, as far as the calendar goes."""
    begin = days.date(first)
    starts = [dt.date(begin.year + (begin.month + k - 1) // 12, (begin.month + k - 1) % 12 + 1, 1) for k in range(4)]
    numbers = [(start - days.start).days for start in starts]
    return [(a, min(b - 1, days.total - 1)) for a, b in pairwise(numbers)]
