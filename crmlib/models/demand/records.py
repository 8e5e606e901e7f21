"""What the warehouse knows of demand, asked of the engine: sales by outlet, product and day; orders; contracts opened."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.models.demand import calendar
from crmlib.warehouse.snapshot import Snapshot

OUTLET_KEYS = ("product_id", "product_group", "region", "outlet_id", "format", "customer_id")
CUSTOMER_KEYS = ("product_id", "product_group", "region", "customer_id")
KEYS = {"outlet_sales": OUTLET_KEYS, "orders": CUSTOMER_KEYS, "contracts": CUSTOMER_KEYS}
"""Columns by which demand of each source can be told apart."""
RETURNED = "return"
"""Category of a transaction that takes goods back."""


def products(snapshot: Snapshot, makers: tuple[str, ...]) -> pd.DataFrame:
    """Return the products of these makers ("" is the company itself), by product_id: product_group, withdrawn_on.

    Raises DataError where there are none.
    """
    table = snapshot.table("products", ["product_id", "product_group", "maker", "withdrawn_on"])
    own = table[table["maker"].fillna("").isin(makers)].drop(columns="maker")
    if own.empty:
        named = ", ".join(repr(maker) for maker in makers)
        known = ", ".join(repr(maker) for maker in sorted(table["maker"].fillna("").unique())) or "none"
        raise DataError(f"table products has no product of the makers {named} as of {snapshot.as_of}; it has {known}")
    return own.sort_values("product_id", ignore_index=True)


# ---------------------------------------------------------------- outlets


def span(sales: sa.Subquery, makers: tuple[str, ...], of: sa.Subquery) -> sa.Select[Any]:
    """Return the select of the first and last day with sales of the makers' products."""
    joined = sales.join(of, sales.c.product_id == of.c.product_id)
    days = sa.func.min(sales.c.sold_on).label("first"), sa.func.max(sales.c.sold_on).label("last")
    return sa.select(*days).select_from(joined).where(_made_by(of, makers))


def outlet_rows(
    sales: sa.Subquery, of: sa.Subquery, product_ids: list[str], *, first: dt.date, last: dt.date
) -> sa.Select[Any]:
    """Return the select of the sales of some products between two days, as numbers where a number will do.

    ``plain`` rows say nothing but that nothing was sold.
    """
    columns = [
        sales.c.outlet_id,
        sales.c.product_id,
        sales.c.sold_on,
        sales.c.quantity,
        _price(sales).label("price"),
        _number(sales.c.on_promotion).label("promotion"),
        _number(sales.c.stocked_out).label("empty"),
        sa.case((sa.and_(sales.c.quantity == 0, sa.func.coalesce(sales.c.ordered, 0) == 0), 1), else_=0).label("plain"),
    ]
    return sa.select(*columns).where(
        sales.c.product_id.in_(product_ids), sales.c.sold_on >= first, sales.c.sold_on <= last
    )


def empty_shelves(stocks: sa.Subquery, product_ids: list[str], *, first: dt.date, last: dt.date) -> sa.Select[Any]:
    """Return the select of the days at whose end there was none left (and of any with less than none)."""
    return sa.select(stocks.c.outlet_id, stocks.c.product_id, stocks.c.counted_on, stocks.c.quantity).where(
        stocks.c.product_id.in_(product_ids),
        stocks.c.counted_on >= first,
        stocks.c.counted_on <= last,
        stocks.c.quantity <= 0,
    )


def pairs(sales: sa.Subquery, of: sa.Subquery, makers: tuple[str, ...]) -> sa.Select[Any]:
    """Return the select of the products sold in each outlet: outlet_id, product_id."""
    joined = sales.join(of, sales.c.product_id == of.c.product_id)
    return sa.select(sales.c.outlet_id, sales.c.product_id).select_from(joined).where(_made_by(of, makers)).distinct()


def _made_by(of: sa.Subquery, makers: tuple[str, ...]) -> sa.ColumnElement[bool]:
    return sa.func.coalesce(of.c.maker, "").in_(list(makers))


def _price(sales: sa.Subquery) -> sa.ColumnElement[Any]:
    """The shelf price, or what was paid for a piece."""
    paid = sa.cast(sales.c.revenue_minor, sa.Double) / sa.func.nullif(sales.c.quantity, 0)
    return sa.func.coalesce(sa.cast(sales.c.price_minor, sa.Double), sa.case((sales.c.quantity > 0, paid)))


def _number(flag: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A flag as 1 or 0, or -1 where nobody said."""
    return sa.case((flag.is_(None), -1), (flag, 1), else_=0)


def outlets(snapshot: Snapshot) -> pd.DataFrame:
    """Return the outlets as last known: outlet_id, region, format, customer_id ("" where unknown), closed_on."""
    names = ["region", "format", "customer_id"]
    table = snapshot.table("outlets", ["outlet_id", *names, "closed_on"])
    return table.fillna(dict.fromkeys(names, "")).sort_values("outlet_id", ignore_index=True)


def promoted(snapshot: Snapshot) -> pd.DataFrame:
    """Return the promotions known: promotion_id, product_id, region ("" for all), starts_on, ends_on, price_minor.

    Raises DataError for one that ends before it starts.
    """
    names = ["promotion_id", "product_id", "region", "starts_on", "ends_on", "price_minor"]
    table = snapshot.table("promotions", names)
    wrong = table[table["ends_on"] < table["starts_on"]]
    if len(wrong):
        row = wrong.iloc[0]
        raise DataError(
            f"table promotions: {row['promotion_id']} ends on {row['ends_on']:%Y-%m-%d}, before it starts on "
            f"{row['starts_on']:%Y-%m-%d} ({len(wrong)} such rows); correct the dates"
        )
    region = table["region"].fillna("").astype("str")
    return table.assign(region=region.where(~region.str.lower().isin(["all", "*"]), ""))


# ---------------------------------------------------------------- orders and contracts


def periods_of(
    snapshot: Snapshot, source: str, by: tuple[str, ...], step: str, makers: tuple[str, ...]
) -> sa.Select[Any]:
    """Return the select of by, period, pieces, returns, paid (minor units), rows: orders or contracts summed by the engine.

    Days are those of UTC.
    """
    events, when, measures = _events(snapshot, source)
    of = snapshot.select("products").subquery("of")
    who = snapshot.select("customers").subquery("who")
    columns = {
        "product_id": events.c.product_id,
        "product_group": sa.func.coalesce(of.c.product_group, ""),
        "customer_id": events.c.customer_id,
        "region": sa.func.coalesce(who.c.region, ""),
    }
    keys = [columns[name].label(name) for name in by]
    joined: Any = events.join(of, events.c.product_id == of.c.product_id)
    if "region" in by:
        joined = joined.outerjoin(who, events.c.customer_id == who.c.customer_id)
    period = sa.cast(sa.func.date_trunc(sa.literal_column(f"'{step}'"), when), sa.Date).label("period")
    groups = [columns[name] for name in by] + [period]
    sums = [sa.func.sum(measure).label(name) for name, measure in measures.items()]
    return sa.select(*keys, period, *sums).select_from(joined).where(_made_by(of, makers)).group_by(*groups)


def days_of(snapshot: Snapshot, source: str) -> sa.Select[Any]:
    """Return the select of day, rows: how many orders or contracts of any product each day has."""
    _, when, measures = _events(snapshot, source)
    day = sa.cast(when, sa.Date)
    return sa.select(day.label("day"), sa.func.sum(measures["rows"]).label("rows")).group_by(day)


def _events(snapshot: Snapshot, source: str) -> tuple[sa.Subquery, Any, dict[str, Any]]:
    if source == "contracts":
        events = snapshot.select("holdings").subquery("events")
        none = sa.literal(0.0)
        return (
            events,
            events.c.opened_on,
            {"pieces": sa.literal(1.0), "returns": none, "paid": none, "rows": sa.literal(1)},
        )
    rows = snapshot.select("transactions").subquery("rows_")
    events = sa.select(rows).where(rows.c.product_id.is_not(None), rows.c.quantity.is_not(None)).subquery("events")
    back = sa.or_(events.c.quantity < 0, sa.func.coalesce(events.c.category, "") == RETURNED)
    size, nothing = sa.func.abs(events.c.quantity), sa.literal(0.0)
    measures = {
        "pieces": sa.case((back, nothing), else_=size),
        "returns": sa.case((back, size), else_=nothing),
        "paid": sa.case((back, nothing), else_=sa.cast(sa.func.abs(events.c.amount_minor), sa.Double)),
        "rows": sa.literal(1),
    }
    return events, events.c.occurred_at, measures


def as_numbers(values: pd.Series, known: pd.Index, *, table: str, column: str) -> np.ndarray:
    """Return the place of each value in ``known``; raises DataError for one that is not there."""
    found = known.get_indexer(pd.Index(values))
    if (found < 0).any():
        first = values.to_numpy()[found < 0][0]
        raise DataError(
            f"{table}: {column} {first!r} is in no row of its own table ({int((found < 0).sum())} rows); load it first"
        )
    return found


def presence(snapshot: Snapshot) -> pd.DataFrame:
    """Return outlet_id, day, rows, sold: on which days each outlet has records of any product."""
    return snapshot.warehouse.read(calendar.recorded_days(snapshot.select("outlet_sales").subquery("sales")))
