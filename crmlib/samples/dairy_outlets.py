"""The sample dairy's shops, depots, customers and people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.dairy_calendar import Days

REGIONS = ("North", "East", "South", "West")
CENTRES = ((54.1, 9.9), (51.9, 13.6), (48.3, 11.4), (51.2, 7.0))
"""Latitude and longitude around which a region's outlets lie."""

FORMATS = ("hypermarket", "supermarket", "convenience", "kiosk")
_PATTERN = (1, 2, 0, 3, 2, 1, 3, 2, 0, 1, 3, 2)
"""Formats of a region's shops in turn."""

SCALE = np.array([1.0, 0.45, 0.16, 0.045])
"""Demand by format against a hypermarket."""

PRICE_LEVEL = np.array([0.97, 1.0, 1.04, 1.08])
"""Shelf price by format against the region's."""

LISTED = np.array([1.0, 0.9, 0.62, 0.4])
"""Share of the products that a shop of a format sells."""

WEEKDAYS = np.array(
    [
        [0.85, 0.80, 0.90, 1.00, 1.30, 1.45, 0.90],
        [0.90, 0.85, 0.95, 1.00, 1.25, 1.30, 0.80],
        [1.00, 0.95, 1.00, 1.00, 1.15, 1.00, 0.85],
        [1.05, 1.00, 1.00, 1.00, 1.05, 0.95, 0.80],
    ]
)
"""Demand by format and weekday."""

DELIVERIES = (("12456",), ("135", "246", "1356"), ("135", "246", "25"), ("25", "14"))
LEADS = ((1,), (1, 2), (1, 2), (2, 3))
"""Delivery weekdays and days from order to delivery by format, drawn for each shop."""

REPRESENTATIVES = 2
"""Representatives in a region."""

OPERATORS = 8
"""People at the order desk."""

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shops:
    """The shops whose tills are read; arrays in the order of ``ids``.

    Attributes: ``region``, ``format`` positions; ``owner`` the customer's id; ``names``; ``representative`` the number in
    the region; ``places`` latitude and longitude; ``open_weekdays`` and ``delivery_weekdays`` texts of 1 to 7; ``lead``
    days; ``opened`` and ``closed`` days of the records, -1 where before or never; ``closures`` rows of shop, first and
    last day; ``gaps`` the same for days whose tills sent nothing; ``sells`` shop by product; ``base`` pieces on a usual day;
    ``open`` shop by day.
    """

    ids: list[str]
    region: Whole
    format: Whole
    owner: list[str]
    names: list[str]
    representative: Whole
    places: Floats
    open_weekdays: list[str]
    delivery_weekdays: list[str]
    lead: Whole
    opened: Whole
    closed: Whole
    closures: Whole
    gaps: Whole
    sells: Flags
    base: Floats
    open: Flags


def shops(rng: np.random.Generator, days: Days, count: int) -> Shops:
    """Return the shops, with the days on which they are open."""
    number = np.arange(count)
    region = number % len(REGIONS)
    kind = np.array(_PATTERN)[(number // len(REGIONS) + 3 * region) % len(_PATTERN)]
    sunday = np.where(kind == 3, rng.random(count) < 0.8, (kind == 2) & (rng.random(count) < 0.4))
    weekdays = ["1234567" if whole else "123456" for whole in sunday]
    opened, closed = _changes(days, count)
    alive = (opened, np.where(closed >= 0, closed, days.recorded))
    closures, gaps = (_interruptions(rng, days, alive, length=length) for length in ((4, 15), (2, 8)))
    independent = (kind >= 2) & (rng.random(count) < 0.75)
    return Shops(
        ids=[f"S{place + 1:03d}" for place in number],
        region=region,
        format=kind,
        owner=[_owner(place, int(kind[place]), bool(independent[place])) for place in range(count)],
        names=[
            f"{FORMATS[kind[place]].title()} {REGIONS[region[place]]} {place // len(REGIONS) + 1}" for place in number
        ],
        representative=number // len(REGIONS) % REPRESENTATIVES,
        places=_places(rng, region),
        open_weekdays=weekdays,
        delivery_weekdays=[str(rng.choice(DELIVERIES[k])) for k in kind],
        lead=np.array([int(rng.choice(LEADS[k])) for k in kind]),
        opened=opened,
        closed=closed,
        closures=closures,
        gaps=gaps,
        sells=_sells(rng, kind),
        base=_base(rng, region, kind),
        open=_open(days, kind, weekdays, alive=alive, closures=closures),
    )


def depot_ids() -> list[str]:
    """Return the ids of the depots, one in each region."""
    return [f"D{place + 1}" for place in range(len(REGIONS))]


def representative_id(region: int, number: int) -> str:
    """Return the employee id of a region's representative."""
    return f"R{region * REPRESENTATIVES + number + 1:02d}"


def is_chain(owner: str) -> bool:
    """Return whether a customer that has shops is a chain."""
    return owner.startswith("C9")


def _owner(place: int, kind: int, independent: bool) -> str:
    if independent:
        return f"C{1000 + place}"
    return f"C{900 + (place // len(REGIONS) + kind) % 3 + 1}"


def _places(rng: np.random.Generator, region: Whole) -> Floats:
    spread = rng.normal(0, (0.35, 0.5), (region.size, 2))
    return np.round(np.array(CENTRES)[region] + spread, 4)


def _changes(days: Days, count: int) -> tuple[Whole, Whole]:
    """Return the days on which shops open and close: of 16 shops one opens late and one closes early."""
    opened, closed = np.full(count, -1), np.full(count, -1)
    opened[13::16] = int(days.recorded * 0.35) // 7 * 7
    closed[6::16] = int(days.recorded * 0.82) // 7 * 7
    return opened, closed


def _interruptions(
    rng: np.random.Generator, days: Days, alive: tuple[Whole, Whole], *, length: tuple[int, int]
) -> Whole:
    """Return shop, first and last day of an interruption in every other shop, while it is in business."""
    count = alive[0].size
    shop = np.sort(rng.choice(count, max(1, count // 2), replace=False))
    first = rng.integers(30, days.recorded - 30, shop.size)
    last = first + rng.integers(*length, shop.size) - 1
    return np.column_stack([shop, first, last])[(first > alive[0][shop]) & (last < alive[1][shop])]


def _sells(rng: np.random.Generator, kind: Whole) -> Flags:
    """Return what a shop sells: what is popular rather than what is not."""
    taste = np.log(catalogue.column("popular")) + rng.gumbel(0, 0.6, (kind.size, len(catalogue.PRODUCTS)))
    rank = np.argsort(np.argsort(-taste, axis=1), axis=1)
    return rank < np.round(LISTED[kind] * taste.shape[1])[:, None]


def _base(rng: np.random.Generator, region: Whole, kind: Whole) -> Floats:
    products = len(catalogue.PRODUCTS)
    size = rng.normal(0, 0.25, (kind.size, 1))
    local = rng.normal(0, 0.15, (len(REGIONS), products))[region]
    return (
        catalogue.column("popular")
        * SCALE[kind][:, None]
        * np.exp(size + local + rng.normal(0, 0.25, (kind.size, products)))
    )


def _open(days: Days, kind: Whole, weekdays: list[str], *, alive: tuple[Whole, Whole], closures: Whole) -> Flags:
    usual = np.array([[str(day + 1) in text for day in range(7)] for text in weekdays])
    out = usual[:, days.weekday] & (~days.holiday | (kind == 3)[:, None])
    day = np.arange(days.total)
    out &= day >= alive[0][:, None]
    out &= (alive[1] == days.recorded)[:, None] | (day <= alive[1][:, None])
    for shop, first, last in closures:
        out[shop, first : last + 1] = False
    return out
