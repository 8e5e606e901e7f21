"""The sample dairy's small customers: cafés, schools, bakeries and kiosks that order again when they run out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.dairy_calendar import Days
from crmlib.samples.dairy_market import on_sale
from crmlib.samples.dairy_outlets import REGIONS, REPRESENTATIVES

KINDS = ("cafe", "school", "bakery", "small kiosk")
TITLES = ("Café", "School", "Bakery", "Kiosk")
PER_SHOP = 5.2
"""Small customers for each shop."""

EXPONENT = 0.7
"""The median time to the next order grows with (quantity ordered / usual quantity) to this power."""

SPREAD = 0.35
"""Spread of the quantities of a customer and product in logs."""

CATCH_UP = 1.3
"""How much more is ordered after waiting for the depot."""

RETURNED = 0.006
"""Share of the orders that come back in part."""

Whole = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Small:
    """Small customers. Attributes: ``ids``; ``kind``, ``region``, ``representative`` positions; ``size`` of their orders;
    ``joined`` and ``left`` days, -1 where before the records or never."""

    ids: list[str]
    kind: Whole
    region: Whole
    representative: Whole
    size: Floats
    joined: Whole
    left: Whole


@dataclass(frozen=True)
class Habits:
    """How a customer orders a product; arrays of one length.

    Attributes: ``customer``, ``product`` positions; ``median`` days to the next order after the usual quantity; ``shape`` of
    the Weibull hazard; ``usual`` quantity, pieces.
    """

    customer: Whole
    product: Whole
    median: Floats
    shape: Floats
    usual: Floats


@dataclass(frozen=True)
class Orders:
    """Orders; arrays of one length. ``habit`` position; ``day``; ``quantity`` pieces; ``due`` the day on which it would have
    been ordered had the depot had it; ``waited`` whether it was another day for that reason."""

    habit: Whole
    day: Whole
    quantity: Whole
    due: Whole
    waited: NDArray[np.bool_]


def small(rng: np.random.Generator, days: Days, shops: int) -> Small:
    """Return the small customers; one in eight joins while the records run, one in eight leaves."""
    count = max(8, round(PER_SHOP * shops))
    number = np.arange(count)
    joined = np.where(rng.random(count) < 0.125, rng.integers(30, max(31, days.recorded - 120), count), -1)
    left = np.where((rng.random(count) < 0.125) & (joined < 0), rng.integers(120, days.recorded - 10, count), -1)
    return Small(
        ids=[f"C{2001 + place}" for place in number],
        kind=rng.integers(0, len(KINDS), count),
        region=number % len(REGIONS),
        representative=number // len(REGIONS) % REPRESENTATIVES,
        size=np.exp(rng.normal(0, 0.5, count)),
        joined=joined,
        left=left,
    )


def habits(rng: np.random.Generator, customers: Small) -> Habits:
    """Return what each customer orders: two to seven products, each in its own rhythm."""
    own = len(catalogue.OWN)
    taste = np.log(catalogue.column("popular")[:own]) * 0.5 + rng.gumbel(0, 0.7, (len(customers.ids), own))
    rank = np.argsort(np.argsort(-taste, axis=1), axis=1)
    customer, product = np.nonzero(rank < rng.integers(2, 8, (len(customers.ids), 1)))
    life = catalogue.column("shelf_life")[product]
    median = np.clip(np.exp(rng.normal(np.log(9), 0.4, product.size)), 4, 0.8 * life + 3)
    rate = catalogue.column("popular")[product] * 0.06 * customers.size[customer]
    return Habits(
        customer=customer,
        product=product,
        median=median,
        shape=rng.uniform(2.0, 5.0, product.size),
        usual=np.maximum(rate * median, 2.0),
    )


def orders(rng: np.random.Generator, days: Days, customers: Small, known: Habits, *, out: NDArray[np.bool_]) -> Orders:
    """Return the orders of the recorded days, in the order of habits and time.

    The time to the next one is median x (quantity / usual)^EXPONENT x (-log2 U)^(1 / shape), then the next working day;
    while the depot is out of the product nobody orders, and some days later they order more.
    """
    working = (days.weekday < 5) & ~days.holiday
    next_working = _next(working)
    region = customers.region[known.customer]
    free = np.stack([[_next(~out[place, item]) for item in range(out.shape[1])] for place in range(out.shape[0])])
    made = on_sale(days)[known.product]
    begin = np.maximum(customers.joined[known.customer], 0)
    end = np.where(customers.left[known.customer] >= 0, customers.left[known.customer], days.recorded)
    time = begin + rng.random(begin.size) * known.median
    quantity, waited = known.usual.copy(), np.zeros(begin.size, dtype=bool)
    parts = []
    alive = np.arange(begin.size)
    while alive.size:
        due = next_working[np.minimum(np.floor(time[alive]).astype(np.int64), days.total - 1)]
        there = free[region[alive], known.product[alive], np.minimum(due, days.total - 1)]
        waited = there > due
        late = there + waited * rng.integers(0, 3, alive.size)
        day = next_working[np.minimum(late, days.total - 1)]
        keep = (day < end[alive]) & (day < days.recorded)
        alive, due, day, waited = alive[keep], due[keep], day[keep], waited[keep]
        factor = np.exp(rng.normal(0, SPREAD, alive.size)) * np.where(waited, CATCH_UP, 1.0)
        quantity = np.maximum(np.round(known.usual[alive] * factor), 1.0)
        sold = made[alive, day]
        parts.append(np.column_stack([alive, day, quantity.astype(np.int64), due, waited])[sold])
        wait = known.median[alive] * (quantity / known.usual[alive]) ** EXPONENT
        time[alive] = day + np.maximum(wait * (-np.log2(1 - rng.random(alive.size))) ** (1 / known.shape[alive]), 1.0)
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return Orders(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4].astype(bool))


def _next(flags: NDArray[np.bool_]) -> Whole:
    place = np.where(flags, np.arange(flags.size), flags.size)
    return np.minimum.accumulate(place[::-1])[::-1]
