"""The truth of the sample dairy: what no model may read (see docs/sample_dairy.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples import dairy_customers, dairy_files, dairy_market, dairy_plans
from crmlib.samples.columns import days as dates
from crmlib.samples.columns import moments
from crmlib.samples.dairy_outlets import PRICE_LEVEL, REGIONS
from crmlib.samples.dairy_sales import Rows
from crmlib.samples.dairy_world import World


def write(folder: Path, world: World, rows: Rows, bad_rows: pa.Table) -> None:
    """Write the tables of truth into the folder; ``rows`` are those of ``dairy_sales.scanned``."""
    found = {
        "demand": demand(world, future=False),
        "future": demand(world, future=True),
        "effects": effects(),
        "cross": cross(),
        "promotions": promotions(world),
        "plans": pa.table({"source": dairy_plans.sources(), "optimism": _optimism()}),
        "orders": orders(world),
        "waits": waits(world),
        "contacts": contacts(world),
        "outliers": outliers(world, rows),
        "gaps": gaps(world),
        "outages": outages(world),
        "bad_rows": bad_rows,
    }
    for name, table in found.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "00000.parquet", compression="zstd", write_statistics=False)


def _optimism() -> list[float]:
    return [*dairy_plans.OPTIMISM, dairy_plans.INSTITUTE_OPTIMISM]


def _names(values: list[str] | tuple[str, ...], positions: np.ndarray) -> pa.Array:
    """Return names as an Arrow dictionary, which reads back several times faster than texts."""
    return pa.DictionaryArray.from_arrays(pa.array(positions.astype(np.int32)), pa.array(values, pa.string()))


def demand(world: World, *, future: bool) -> pa.Table:
    """Return a row per shop, product and open day: the mean of demand, and what was wanted before shelves were empty."""
    first, last = (world.days.recorded, world.days.total) if future else (0, world.days.recorded)
    mean = world.market.mean[:, :, first:last]
    shop, product, day = np.nonzero(mean)
    return pa.table(
        {
            "outlet_id": _names(world.shops.ids, shop),
            "product_id": _names(catalogue.IDS, product),
            "sold_on": dates(world.days.day_numbers(day + first)),
            "mean": pa.array(mean[shop, product, day]),
            "demand": pa.array(world.market.demand[:, :, first:last][shop, product, day]),
        }
    )


def effects() -> pa.Table:
    """Return what moves each product's demand."""
    return pa.table(
        {
            "product_id": list(catalogue.IDS),
            **{name: pa.array(catalogue.column(name)) for name in ("elasticity", "uplift", "dip", "trend")},
        }
    )


def cross() -> pa.Table:
    """Return the elasticity of a product's demand to another's price."""
    pairs = [(p.product_id, other, value) for p in catalogue.PRODUCTS for other, value in p.cross.items()]
    first, other, value = (list(side) for side in zip(*pairs, strict=True))
    return pa.table({"product_id": first, "other_id": other, "elasticity": value})


def promotions(world: World) -> pa.Table:
    """Return the pieces that each of the own promotions brings and costs in the mean of demand, future ones included."""
    found = world.market.promotions
    own = np.flatnonzero(found.product < len(catalogue.OWN))
    pieces = np.array([_pieces(world, int(k)) for k in own])
    return pa.table(
        {
            "promotion_id": dairy_files.promotion_ids(own),
            "product_id": _names(catalogue.IDS, found.product[own]),
            "region": _names(REGIONS, found.region[own]),
            **{name: pa.array(pieces[:, k]) for k, name in enumerate(("uplift", "cannibalised", "from_rivals", "dip"))},
        }
    )


def _pieces(world: World, k: int) -> tuple[float, float, float, float]:
    found, shops = world.market.promotions, world.shops
    product, region, first, last = (int(column[k]) for column in (found.product, found.region, found.first, found.last))
    there = np.flatnonzero((shops.region == region) & (shops.format != 3))
    during, after = slice(first, last + 1), slice(last + 1, last + 15)
    mean = world.market.mean[there]
    level = PRICE_LEVEL[shops.format[there]][:, None]
    usual = np.round(world.market.price[region, product, during] * level)
    cut = np.log(world.market.shelf[there, product, during] / usual)
    factors = catalogue.crosses()[:, product]
    uplift = mean[:, product, during] * -np.expm1(-factors[product] * cut - catalogue.column("uplift")[product])
    lost = [0.0, 0.0]
    for other in np.flatnonzero(factors):
        if other != product:
            pieces = mean[:, other, during] * np.expm1(-factors[other] * cut)
            lost[int(other >= len(catalogue.OWN))] += float(pieces.sum())
    fallen = dairy_market.dips(world.days, _only(found, k))[region, product, after]
    return float(uplift.sum()), lost[0], lost[1], float((mean[:, product, after] * np.expm1(-fallen)).sum())


def _only(found: dairy_market.Promotions, k: int) -> dairy_market.Promotions:
    return dairy_market.Promotions(**{name: values[k : k + 1] for name, values in vars(found).items()})


def orders(world: World) -> pa.Table:
    """Return the habits of the small customers: the parameters of the hazard of their next order."""
    known = world.habits
    return pa.table(
        {
            "customer_id": _names(world.small.ids, known.customer),
            "product_id": _names(catalogue.IDS, known.product),
            "median_days": pa.array(known.median),
            "shape": pa.array(known.shape),
            "usual_quantity": pa.array(known.usual),
            "exponent": pa.array(np.full(known.median.size, dairy_customers.EXPONENT)),
        }
    )


def waits(world: World) -> pa.Table:
    """Return the orders that waited because the depot was out of the product."""
    rows, known = world.orders, world.habits
    late = np.flatnonzero(rows.waited)
    return pa.table(
        {
            "customer_id": _names(world.small.ids, known.customer[rows.habit[late]]),
            "product_id": _names(catalogue.IDS, known.product[rows.habit[late]]),
            "due_on": dates(world.days.day_numbers(rows.due[late])),
            "ordered_on": dates(world.days.day_numbers(rows.day[late])),
        }
    )


def contacts(world: World) -> pa.Table:
    """Return the true mean number of calls by half hour of local time, the days after the records included."""
    mean = world.calls.mean
    day, half_hour = np.nonzero(mean)
    return pa.table(
        {
            "starts_at": moments(world.days.day_numbers(day) * 86_400 + half_hour * 1_800),
            "mean": pa.array(mean[day, half_hour]),
        }
    )


def outliers(world: World, rows: Rows) -> pa.Table:
    """Return the rows of the tills that were keyed in with a zero too many, and what was sold."""
    own = {name: values[rows["slip"] == 1] for name, values in rows.items()}
    return pa.table(
        {
            "outlet_id": _names(world.shops.ids, own["shop"]),
            "product_id": _names(catalogue.IDS, own["product"]),
            "sold_on": dates(world.days.day_numbers(own["day"])),
            "quantity": pa.array(own["quantity"] // 10),
        }
    )


def gaps(world: World) -> pa.Table:
    """Return the days of which a shop's tills sent nothing."""
    shop, first, last = world.shops.gaps.T
    return pa.table(
        {
            "outlet_id": _names(world.shops.ids, shop),
            "first": dates(world.days.day_numbers(first)),
            "last": dates(world.days.day_numbers(last)),
        }
    )


def outages(world: World) -> pa.Table:
    """Return the days on which a depot had none of a product."""
    region, product, day = np.nonzero(world.stocks.out[:, :, : world.days.recorded])
    return pa.table(
        {
            "region": _names(REGIONS, region),
            "product_id": _names(catalogue.IDS, product),
            "day": dates(world.days.day_numbers(day)),
        }
    )
