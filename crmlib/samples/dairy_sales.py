"""The sample dairy's daily records of the shops: sales as the tills sent them, stocks, and orders of both kinds."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.columns import days as dates
from crmlib.samples.columns import moments, pick
from crmlib.samples.dairy_market import on_sale
from crmlib.samples.dairy_outlets import depot_ids, is_chain
from crmlib.samples.dairy_world import World

DAILY_STOCKS = 70
"""Days before the end of which the shops' stocks are known daily; before that on Sundays."""

RETURNS, SLIPS = 0.0012, 0.00015
"""Shares of rows that are returns, and that were keyed in with a zero too many."""

_FULL_EXPORT = 2
"""Formats before this one export a row for what was listed and not sold; the others leave it out."""

Rows = dict[str, NDArray[np.int64]]


def scanned(world: World) -> Rows:
    """Return what the tills sent, in the order of shop, product and day: shop, product, day, quantity, price, promoted, empty, ordered, slip."""
    shops, market, stocks, days = world.shops, world.market, world.stocks, world.days
    own = len(catalogue.OWN)
    span = slice(0, days.recorded)
    sold = market.demand[:, :, span].copy()
    sold[:, :own] = stocks.sold[:, :, span]
    empty, ordered = np.zeros(sold.shape, dtype=bool), np.zeros(sold.shape, dtype=np.int64)
    empty[:, :own], ordered[:, :own] = stocks.empty[:, :, span], stocks.ordered[:, :, span]
    listed = (market.mean[:, :, span] > 0) & ~gap_days(world)[:, None, :]
    shown = listed & ((shops.format < _FULL_EXPORT)[:, None, None] | (sold > 0) | empty | (ordered > 0))
    shop, product, day = np.nonzero(shown)
    quantity = sold[shop, product, day]
    rng = world.stream(0)
    slip = (rng.random(shop.size) < SLIPS) & (quantity > 0)
    back = (rng.random(shop.size) < RETURNS) & ~slip & ~empty[shop, product, day]
    quantity = np.where(slip, quantity * 10, np.where(back, -rng.integers(1, 9, shop.size), quantity))
    return {
        "shop": shop,
        "product": product,
        "day": day,
        "quantity": quantity,
        "price": market.shelf[shop, product, day],
        "promoted": market.promoted[shop, product, day].astype(np.int64),
        "empty": empty[shop, product, day].astype(np.int64),
        "ordered": ordered[shop, product, day],
        "slip": slip.astype(np.int64),
    }


def gap_days(world: World) -> NDArray[np.bool_]:
    """Return shop by recorded day, whether its tills sent nothing."""
    out = np.zeros((len(world.shops.ids), world.days.recorded), dtype=bool)
    for shop, first, last in world.shops.gaps:
        out[shop, first : last + 1] = True
    return out


def scanner_files(world: World, rows: Rows) -> dict[str, pa.Table]:
    """Return the chains' scanner data, a file a year, and the tills of the shops that belong to nobody else."""
    chain: NDArray[np.bool_] = np.array([is_chain(owner) for owner in world.shops.owner])[rows["shop"]]
    first = world.days.start.year
    last = world.days.date(world.days.recorded - 1).year
    begins = [(dt.date(year, 1, 1) - world.days.start).days for year in range(first, last + 2)]
    files = {
        f"scanner_{first + k}": _scanner(world, rows, chain & (rows["day"] >= begin) & (rows["day"] < end))
        for k, (begin, end) in enumerate(pairwise(begins))
    }
    return {**files, "tills": _tills(world, rows, ~chain)}


def _scanner(world: World, rows: Rows, kept: NDArray[np.bool_]) -> pa.Table:
    own = {name: values[kept] for name, values in rows.items()}
    return pa.table(
        {
            "store": pick(world.shops.ids, own["shop"]),
            "article": pick(catalogue.IDS, own["product"]),
            "day": dates(world.days.day_numbers(own["day"])),
            "pieces": pa.array(own["quantity"].astype(float)),
            "takings_cents": pa.array(own["quantity"] * own["price"]),
            "shelf_price_cents": pa.array(own["price"]),
            "promo": pa.array(own["promoted"] == 1),
            "shelf_empty": pa.array(own["empty"] == 1),
            "ordered": pa.array(own["ordered"].astype(float)),
        }
    )


def _tills(world: World, rows: Rows, kept: NDArray[np.bool_]) -> pa.Table:
    own = {name: values[kept] for name, values in rows.items()}
    amount = np.char.mod("%.2f", own["quantity"] * own["price"] / 100)
    return pa.table(
        {
            "shop": pick(world.shops.ids, own["shop"]),
            "item": pick(catalogue.IDS, own["product"]),
            "date": dates(world.days.day_numbers(own["day"]), pattern="%d.%m.%Y"),
            "qty": pa.array(own["quantity"]),
            "amount": pa.array(np.char.replace(amount, ".", ",").tolist(), pa.string()),
            "price": pa.array(np.char.replace(np.char.mod("%.2f", own["price"] / 100), ".", ",").tolist(), pa.string()),
            "action": pick(("", "A"), own["promoted"]),
            "sold_out": pick(("N", "Y"), own["empty"]),
            "ordered": pa.array(own["ordered"]),
        }
    )


def stock_files(world: World) -> dict[str, pa.Table]:
    """Return stocks at the end of the day: of shops daily of late and on Sundays before, of depots daily."""
    days, stocks = world.days, world.stocks
    counted = (days.weekday == 6) | (np.arange(days.total) >= days.recorded - DAILY_STOCKS)
    counted[days.recorded :] = False
    last = np.where(world.shops.closed >= 0, world.shops.closed, days.total)[:, None, None]
    alive = (np.arange(days.total) >= world.shops.opened[:, None, None]) & (np.arange(days.total) <= last)
    own = len(catalogue.OWN)
    kept = (world.market.mean[:, :own].max(axis=2) > 0)[:, :, None] & on_sale(days)[:own]
    shop, product, day = np.nonzero(counted & alive & kept)
    on, depot, item = np.indices((days.recorded, *stocks.depot.shape[:2])).reshape(3, -1)
    return {
        "stock": pa.table(
            {
                "place": pick(world.shops.ids, shop),
                "article": pick(catalogue.IDS, product),
                "evening_of": dates(days.day_numbers(day)),
                "pieces": pa.array(stocks.stock[shop, product, day]),
                "coming": pa.array(stocks.on_order[shop, product, day]),
            }
        ),
        "depot_stock": pa.table(
            {
                "depot": pick(depot_ids(), depot),
                "article": pick(catalogue.IDS, item),
                "evening_of": dates(days.day_numbers(on)),
                "pieces": pa.array(stocks.depot[depot, item, on]),
                "coming": pa.array(stocks.coming[depot, item, on]),
            }
        ),
    }


def order_files(world: World) -> dict[str, pa.Table]:
    """Return the orders of shops and small customers, a line an article, and what came back."""
    lines = [_shop_orders(world), _small_orders(world)]
    rows = {name: np.concatenate([part[name] for part in lines]) for name in lines[0]}
    rows = _with_returns(world, rows)
    order = np.lexsort((rows["product"], rows["customer"], rows["second"], rows["day"]))
    rows = {name: values[order] for name, values in rows.items()}
    customers = [*world.small.ids, *world.shops.owner]
    midnight = world.days.day_numbers(rows["day"]) * 86_400
    place = np.where(rows["shop"] >= 0, rows["shop"], -1)
    number = 10_000 * rows["day"] + np.where(place >= 0, 5_000 + place, rows["customer"])
    return {
        "orders": pa.table(
            {
                "line": pa.array(np.char.add("L", np.arange(rows["day"].size).astype(str)).tolist(), pa.string()),
                "order_no": pa.array(np.char.add("O", number.astype(str)).tolist(), pa.string()),
                "client": pick(customers, rows["customer"]),
                "placed": moments(midnight + rows["second"]),
                "article": pick(catalogue.IDS, rows["product"]),
                "pieces": pa.array(rows["quantity"].astype(float)),
                "booked_cents": pa.array(-rows["quantity"] * rows["price"]),
                "kind": pick(("order", "return"), (rows["quantity"] < 0).astype(np.int64)),
                "through": pick(("call", "internet"), rows["way"]),
                "deliver_to": pick(world.shops.ids, place),
            }
        )
    }


def _shop_orders(world: World) -> Rows:
    shop, product, day = np.nonzero(world.stocks.ordered[:, :, : world.days.recorded])
    return {
        "customer": shop + len(world.small.ids),
        "shop": shop,
        "product": product,
        "day": day,
        "quantity": world.stocks.ordered[shop, product, day],
        "price": _price(world, world.shops.region[shop], product, day),
        "second": 3_600 * 15 + 60 * (shop % 55),
        "way": np.ones(shop.size, dtype=np.int64),
    }


def _small_orders(world: World) -> Rows:
    rows, known = world.orders, world.habits
    customer, product = known.customer[rows.habit], known.product[rows.habit]
    return {
        "customer": customer,
        "shop": np.full(customer.size, -1),
        "product": product,
        "day": rows.day,
        "quantity": rows.quantity,
        "price": _price(world, world.small.region[customer], product, rows.day),
        "second": 3_600 * 7 + 97 * (customer % 150),
        "way": (customer % 3 == 0).astype(np.int64),
    }


def _price(
    world: World, region: NDArray[np.int64], product: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    return world.market.price[region, product, day]


def _with_returns(world: World, rows: Rows) -> Rows:
    """Add what came back of some of the small customers' orders, some days later."""
    rng = world.stream(1)
    some = np.flatnonzero((rows["shop"] < 0) & (rng.random(rows["day"].size) < 0.006) & (rows["quantity"] > 1))
    later = rows["day"][some] + rng.integers(2, 6, some.size)
    some, later = some[later < world.days.recorded], later[later < world.days.recorded]
    share = rng.uniform(0.1, 0.6, some.size)
    back = {name: values[some] for name, values in rows.items()}
    back |= {"day": later, "quantity": -np.maximum(np.round(back["quantity"] * share), 1).astype(np.int64)}
    return {name: np.concatenate([values, back[name]]) for name, values in rows.items()}
