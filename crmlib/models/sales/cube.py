"""Pieces and revenue summed by the engine, by period and any of product, group, maker, region, outlet, format and customer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.snapshot import Snapshot, parse_date

KEYS = ("product_id", "product_group", "maker", "region", "outlet_id", "format", "customer_id")
STEPS = ("week", "month", "quarter", "year")
OWN = "own"
"""Name of the company itself among the makers."""
_OF_OUTLET = ("region", "format", "customer_id")


def sales(
    snapshot: Snapshot,
    *,
    by: Sequence[str] = ("product_id",),
    step: str = "month",
    since: str | dt.date | None = None,
    until: str | dt.date | None = None,
) -> pd.DataFrame:
    """Return what outlets sold, own products and competitors', a row per period and combination of ``by`` with sales.

    Returns count against sales. Revenue is what was recorded, or pieces times the shelf price, in the company's currency. Out: the
    columns ``by`` (empty text where the source does not say; maker "own" is the company), period (first day), pieces,
    revenue_minor. Raises UsageError for an unknown key or step, DataError for no sales, or a currency without a rate.
    """
    _check(by, step)
    found = snapshot.warehouse.read(_query(snapshot, list(by), step, since, until))
    if found.empty:
        raise DataError(
            f"outlet_sales holds no sales as of {snapshot.as_of}{_between(since, until)} (found 0 rows, need 1); load them, or "
            "ask for other days"
        )
    rates = {snapshot.warehouse.company.currency: 1.0, **snapshot.warehouse.company.exchange_rates}
    currency = found["currency"].fillna(snapshot.warehouse.company.currency)
    unknown = sorted(set(currency) - set(rates))
    if unknown:
        raise DataError(
            f"table outlet_sales, column currency: no exchange rate for {', '.join(unknown)}; add it to exchange_rates in company.toml"
        )
    found["revenue_minor"] = found["revenue_minor"].astype(float) * currency.map(rates).astype(float)
    found["period"] = pd.to_datetime(found["period"]).dt.as_unit("us")
    for name in by:
        found[name] = found[name].astype("str").fillna("")
    if "maker" in by:
        found["maker"] = found["maker"].where(found["maker"] != "", OWN)
    summed = found.groupby(["period", *by], sort=True)[["pieces", "revenue_minor"]].sum().reset_index()
    return summed[[*by, "period", "pieces", "revenue_minor"]]


def _check(by: Sequence[str], step: str) -> None:
    unknown = [name for name in by if name not in KEYS]
    if unknown:
        raise UsageError(f"by names {', '.join(unknown)}; sales can be told apart by {', '.join(KEYS)}")
    if len(set(by)) < len(by):
        raise UsageError(f"by names a column twice: {', '.join(by)}")
    if step not in STEPS:
        raise UsageError(f"step is {step!r}; choose one of {', '.join(STEPS)}")


def _query(
    snapshot: Snapshot, by: list[str], step: str, since: str | dt.date | None, until: str | dt.date | None
) -> sa.Select[tuple[object, ...]]:
    sold = snapshot.select("outlet_sales").subquery("sold")
    products = snapshot.select("products").subquery("of_product")
    outlets = snapshot.select("outlets").subquery("of_outlet")
    period = sa.func.date_trunc(step, sa.cast(sold.c.sold_on, sa.DateTime)).label("period")
    places = {name: outlets.c[name] for name in _OF_OUTLET} | {
        name: sold.c[name] for name in ("product_id", "outlet_id")
    }
    places |= {name: products.c[name] for name in ("product_group", "maker")}
    keys = [sa.func.coalesce(places[name], sa.literal_column("''")).label(name) for name in by]
    revenue = sa.func.coalesce(sa.cast(sold.c.revenue_minor, sa.Double), sold.c.price_minor * sold.c.quantity)
    sums = [sa.func.sum(sold.c.quantity).label("pieces"), sa.func.sum(revenue).label("revenue_minor")]
    joined = sold.join(products, products.c.product_id == sold.c.product_id, isouter=True)
    joined = joined.join(outlets, outlets.c.outlet_id == sold.c.outlet_id, isouter=True)
    query = sa.select(*keys, period, sold.c.currency, *sums).select_from(joined)
    if since is not None:
        query = query.where(sold.c.sold_on >= parse_date(since))
    if until is not None:
        query = query.where(sold.c.sold_on <= parse_date(until))
    return query.group_by(*keys, period, sold.c.currency)


def _between(since: str | dt.date | None, until: str | dt.date | None) -> str:
    return (f" from {since}" if since else "") + (f" until {until}" if until else "")
