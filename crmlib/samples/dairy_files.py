"""The sample dairy's other files: who and what there is, prices, promotions, plans and calls."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crmlib.samples import dairy_calls, dairy_customers, dairy_market, dairy_plans
from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.columns import days as dates
from crmlib.samples.columns import major, moments, pick
from crmlib.samples.dairy_outlets import (
    CENTRES,
    FORMATS,
    OPERATORS,
    REGIONS,
    REPRESENTATIVES,
    depot_ids,
    is_chain,
    representative_id,
)
from crmlib.samples.dairy_world import World

DAY = "%d.%m.%Y"
CLOSURE_TOLD = 14
"""Days before its beginning on which a closure was announced."""

GIVEN = ("Anna", "Jonas", "Mila", "Paul", "Lea", "Tom", "Ida", "Emil", "Nora", "Max", "Ella", "Jan", "Rosa", "Ben")
FAMILY = ("Berg", "Vogel", "Stein", "Winter", "Brandt", "Sommer", "Keller", "Linde", "Roth", "Hahn", "Busch")
PLACES = (
    "by the mill",
    "at the harbour",
    "on the square",
    "at the gate",
    "in the park",
    "by the bridge",
    "at the lake",
)
"""Where small customers are: the second part of their names."""


def tables(world: World) -> dict[str, pa.Table]:
    """Return the tables by the name of their file."""
    return {
        "articles": articles(world),
        "analogues": analogues(),
        "staff": staff(world),
        "clients": clients(world),
        "permissions": permissions(world),
        "outlets": outlets(world),
        "closures": closures(world),
        "price_list": price_list(world, own=True),
        "rival_prices": price_list(world, own=False),
        "promotions": promotions(world),
        "plans": plans(world),
        "calls": calls(world),
    }


def articles(world: World) -> pa.Table:
    """Return the product list, competitors' products included."""
    listed = catalogue.PRODUCTS
    first, last = dairy_market.sale_days(world.days)
    begin = world.days.day_numbers(np.where(first >= 0, first, -1))
    gone = np.where(last < world.days.recorded, world.days.day_numbers(last), 0)
    own = np.array([not product.maker for product in listed])
    price, cost = (catalogue.column(name).astype(np.int64) for name in ("price", "cost"))
    return pa.table(
        {
            "article": list(catalogue.IDS),
            "from": dates(begin, pattern=DAY),
            "title": [product.name for product in listed],
            "family": [product.group for product in listed],
            "maker": pa.array([product.maker or None for product in listed], pa.string()),
            "price": major(price, decimal=","),
            "cost": major(cost, decimal=",", empty=~own),
            "margin": major(np.maximum(price - cost, 0), decimal=",", empty=~own),
            "keeps_days": [product.shelf_life for product in listed],
            "per_pack": [product.pack for product in listed],
            "until": dates(gone, pattern=DAY),
        }
    )


def analogues() -> pa.Table:
    """Return which product takes the place of which: those whose prices move each other's demand."""
    pairs = [(product.product_id, other) for product in catalogue.PRODUCTS for other in product.cross]
    first, other = (list(side) for side in zip(*pairs, strict=True))
    return pa.table({"article": first, "other": other, "kind": ["substitute"] * len(pairs)})


def staff(world: World) -> pa.Table:
    """Return the representatives of the regions and the operators of the order desk."""
    regions = len(REGIONS)
    ids = [representative_id(place, k) for place in range(regions) for k in range(REPRESENTATIVES)]
    ids += [f"A{k + 1:02d}" for k in range(OPERATORS)]
    sellers = regions * REPRESENTATIVES
    return pa.table(
        {
            "employee": ids,
            "actual_from": dates(world.days.day_numbers(np.full(len(ids), -400))),
            "full_name": [f"{GIVEN[k % len(GIVEN)]} {FAMILY[7 * k % len(FAMILY)]}" for k in range(len(ids))],
            "role": ["representative" if k < sellers else "operator" for k in range(len(ids))],
        }
    )


def clients(world: World) -> pa.Table:
    """Return the customers: chains, independent shops and small customers."""
    shops, small, days = world.shops, world.small, world.days
    owners = _owners(world)
    seats = [shops.owner.index(owner) for owner in owners]
    chain = [is_chain(owner) for owner in owners]
    count, number = len(owners), np.arange(len(small.ids))
    joined = np.where(small.joined >= 0, small.joined, -300 - 5 * (number % 150))
    since = dates(days.day_numbers(np.concatenate([np.full(count, -900), joined])), pattern=DAY)
    left = np.where(small.left >= 0, days.day_numbers(small.left), 0)
    regions = [None if one else REGIONS[shops.region[k]] for one, k in zip(chain, seats, strict=True)]
    titles = [f"Dairy chain {o[-1]}" if one else shops.names[k] for o, one, k in zip(owners, chain, seats, strict=True)]
    sellers = [representative_id(int(shops.region[k]), int(shops.representative[k])) for k in seats]
    sellers += [representative_id(int(r), int(k)) for r, k in zip(small.region, small.representative, strict=True)]
    kinds = ["chain" if one else "independent shop" for one in chain]
    return pa.table(
        {
            "client": [*owners, *small.ids],
            "actual_from": since,
            "title": [*titles, *_titles(small)],
            "region": pa.array([*regions, *[REGIONS[k] for k in small.region]], pa.string()),
            "mail": [f"orders{k}@client.example" for k in range(count + number.size)],
            "telephone": [f"+999{10_000 + k}" for k in range(count + number.size)],
            "seller": sellers,
            "kind": [*kinds, *[dairy_customers.KINDS[k] for k in small.kind]],
            "since": since,
            "ended": dates(np.concatenate([np.zeros(count, dtype=np.int64), left]), pattern=DAY),
        }
    )


def _owners(world: World) -> list[str]:
    """Return the customers that have shops."""
    return sorted(set(world.shops.owner))


def _titles(small: dairy_customers.Small) -> list[str]:
    names = (dairy_customers.TITLES[kind] for kind in small.kind)
    return [f"{name} {PLACES[k % len(PLACES)]} {k + 1}" for k, name in enumerate(names)]


def permissions(world: World) -> pa.Table:
    """Return consents to be called about offers: four in five of the customers."""
    ids = [*_owners(world), *world.small.ids]
    some = [client for client in ids if int(client[1:]) % 5]
    stated = (world.days.day_numbers(np.full(len(some), -1)) * 86_400) + 36_000
    return pa.table({"client": some, "stated_at": moments(stated), "yes_no": ["Y"] * len(some)})


def outlets(world: World) -> pa.Table:
    """Return the shops and the depots."""
    shops, days = world.shops, world.days
    depots = depot_ids()
    count = len(depots)
    opened = np.where(shops.opened >= 0, shops.opened, -600)
    places = np.concatenate([shops.places, np.array(CENTRES)])
    sellers = [representative_id(int(r), int(k)) for r, k in zip(shops.region, shops.representative, strict=True)]
    return pa.table(
        {
            "place": [*shops.ids, *depots],
            "from": dates(days.day_numbers(np.concatenate([opened, np.full(count, -900)]))),
            "client": pa.array([*shops.owner, *[None] * count], pa.string()),
            "title": [*shops.names, *[f"Depot {region}" for region in REGIONS]],
            "format": [*[FORMATS[k] for k in shops.format], *["depot"] * count],
            "region": [*[REGIONS[k] for k in shops.region], *REGIONS],
            "lat": pa.array(places[:, 0]),
            "lon": pa.array(places[:, 1]),
            "seller": pa.array([*sellers, *[None] * count], pa.string()),
            "open_on": [*shops.open_weekdays, *["123456"] * count],
            "supplied_on": [*shops.delivery_weekdays, *["25"] * count],
            "lead": [*shops.lead.tolist(), *[1] * count],
            "last_day": dates(
                np.concatenate(
                    [np.where(shops.closed >= 0, days.day_numbers(shops.closed), 0), np.zeros(count, dtype=int)]
                )
            ),
        }
    )


def closures(world: World) -> pa.Table:
    """Return the days on which shops were closed although usually open, told two weeks before."""
    shop, first, last = world.shops.closures.T
    reasons = ("refurbishment", "stocktaking", "holidays of the owner")
    return pa.table(
        {
            "place": pick(world.shops.ids, shop),
            "told": dates(world.days.day_numbers(first) - CLOSURE_TOLD),
            "from": dates(world.days.day_numbers(first)),
            "to": dates(world.days.day_numbers(last)),
            "why": pick(reasons, shop % len(reasons)),
        }
    )


def price_list(world: World, *, own: bool) -> pa.Table:
    """Return prices by region from the day they held; competitors' with their promotions, own without."""
    price = world.market.price[:, :, : world.days.recorded].copy()
    rival = world.market.promotions
    for k in np.flatnonzero(rival.product >= len(catalogue.OWN)):
        price[rival.region[k], rival.product[k], rival.first[k] : rival.last[k] + 1] = rival.price[k]
    made = dairy_market.on_sale(world.days)[:, : world.days.recorded]
    changed = np.diff(price, axis=2, prepend=-1) != 0
    first, _ = dairy_market.sale_days(world.days)
    begin = np.maximum(first, 0)
    changed[:, np.arange(begin.size), begin] = True
    maker = np.array([not product.maker for product in catalogue.PRODUCTS])
    region, product, day = np.nonzero(changed & made & (maker == own)[:, None])
    columns = {
        "article": pick(catalogue.IDS, product),
        "region": pick(REGIONS, region),
        "valid_from": dates(world.days.day_numbers(np.where(day == 0, -1, day))),
        "price": major(price[region, product, day]),
    }
    if not own:
        columns["seller"] = pick([p.maker or "own" for p in catalogue.PRODUCTS], product)
    return pa.table(columns)


def promotions(world: World) -> pa.Table:
    """Return the own promotions, past and planned."""
    found, days = world.market.promotions, world.days
    own = np.flatnonzero(found.product < len(catalogue.OWN))
    return pa.table(
        {
            "action": promotion_ids(own),
            "article": pick(catalogue.IDS, found.product[own]),
            "region": pick(REGIONS, found.region[own]),
            "agreed": dates(days.day_numbers(found.announced[own])),
            "starts": dates(days.day_numbers(found.first[own])),
            "ends": dates(days.day_numbers(found.last[own])),
            "how": pick(("display", "price cut and display"), (found.depth[own] > 0).astype(np.int64)),
            "price": major(found.price[own]),
            "fixed_cost": major(found.cost[own]),
        }
    )


def promotion_ids(positions: NDArray[np.int64]) -> pa.Array:
    """Return the ids of promotions by their positions."""
    return pa.array([f"P{position + 1:04d}" for position in positions], pa.string())


def plans(world: World) -> pa.Table:
    """Return the plans of the sales force and the outside forecast."""
    found, days = world.plans, world.days
    return pa.table(
        {
            "line": [f"N{k + 1:05d}" for k in range(found.source.size)],
            "made": dates(days.day_numbers(found.made)),
            "by": pick(dairy_plans.sources(), found.source),
            "article": pick(catalogue.IDS, found.product),
            "region": pick(REGIONS, found.region),
            "from": dates(days.day_numbers(found.first)),
            "to": dates(days.day_numbers(found.last)),
            "pieces": pa.array(found.quantity.astype(np.int64)),
        }
    )


def calls(world: World) -> pa.Table:
    """Return the calls at the order desk, in local time as the telephone system keeps it."""
    found: dairy_calls.Calls = world.calls
    rng = world.stream(2)
    known = [*_owners(world), *world.small.ids]
    who = rng.integers(0, len(known), found.day.size)
    purpose = (rng.random(found.day.size) < 0.2).astype(np.int64)
    return pa.table(
        {
            "call": pa.array(np.char.add("T", np.arange(found.day.size).astype(str)).tolist(), pa.string()),
            "client": pick(known, who),
            "began": moments(world.days.day_numbers(found.day) * 86_400 + found.second),
            "hour": pa.array((found.second // 3_600).astype(np.int32)),
            "about": pick(("order", "service"), purpose),
            "operator": pick([f"A{k + 1:02d}" for k in range(OPERATORS)], rng.integers(0, OPERATORS, found.day.size)),
            "seconds": pa.array(found.length),
        }
    )
