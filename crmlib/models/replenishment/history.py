"""What customers ordered, day by day, and on which days the supplier had nothing to sell them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.warehouse.snapshot import Snapshot

KEYS = ["customer_id", "outlet_id", "product_id"]
"""What orders again: a customer's outlet ("" where the customer is not known by outlets) and a product."""
LINES = [*KEYS, "ordered_on", "quantity"]
OUT = ["region", "product_id", "day"]
DEPOT = "depot"
"""Format of the outlets from which a region is supplied."""
_LONGEST_SILENCE = 7
"""Days for which a count of nothing in stock stands, where no later count says otherwise."""


@dataclass(frozen=True, eq=False)
class Market:
    """What is known around the orders.

    Attributes: ``customers`` (customer_id, region, kind), one row a customer; ``out`` (region, product_id, day) days on
    which the region could not be supplied with the product; ``holidays`` days on which hardly anybody orders.
    """

    customers: pd.DataFrame
    out: pd.DataFrame
    holidays: tuple[dt.date, ...] = ()


def lines(snapshot: Snapshot, *, since: dt.date | None = None) -> pd.DataFrame:
    """Return what each customer ordered of each product, one row a day in the company's local time.

    Orders are the movements with a product and pieces that the customer pays for; returns are left out. Out: the columns
    of ``LINES``: outlet_id is the merchant of the movement where that is an outlet, else ""; ordered_on a day; quantity in
    pieces, above 0. Raises DataError where there are none.
    """
    rows = snapshot.select("transactions").subquery("rows")
    names = ("customer_id", "merchant", "product_id", "occurred_at", "quantity")
    wanted = sa.select(*[rows.c[name] for name in names]).where(
        rows.c.product_id.is_not(None), rows.c.quantity > 0, rows.c.amount_minor <= 0
    )
    if since is not None:
        wanted = wanted.where(rows.c.occurred_at >= dt.datetime.combine(since, dt.time()))
    found = snapshot.warehouse.read(wanted)
    if found.empty:
        raise DataError(
            "table transactions: no orders (rows with product_id, a quantity above 0 and an amount that the customer pays); "
            "load the orders of your customers"
        )
    local = found["occurred_at"].dt.tz_localize("UTC").dt.tz_convert(ZoneInfo(snapshot.warehouse.company.time_zone))
    outlets = snapshot.table("outlets", ["outlet_id"])["outlet_id"]
    outlet = found["merchant"].where(found["merchant"].isin(outlets), "").astype("str")
    return by_day(found.assign(outlet_id=outlet, ordered_on=local.dt.tz_localize(None).dt.normalize())[LINES])


def by_day(orders: pd.DataFrame) -> pd.DataFrame:
    """Return orders with those of one customer, outlet, product and day put together.

    In: customer_id, product_id, ordered_on, quantity (pieces) and, where customers have outlets, outlet_id. Out: the
    columns of ``LINES``. Raises DataError for a missing column, a day or a quantity that is missing, and a quantity of
    zero or below.

    >>> one = pd.DataFrame({"customer_id": "a", "product_id": "x", "ordered_on": pd.Timestamp("2025-03-03"), "quantity": [2.0, 3.0]})
    >>> by_day(one)["quantity"].tolist()
    [5.0]
    """
    orders = orders if "outlet_id" in orders else orders.assign(outlet_id="")
    missing = [name for name in LINES if name not in orders]
    if missing:
        raise DataError(f"the table of orders has no column {', '.join(missing)}; give {', '.join(LINES)}")
    if orders["ordered_on"].isna().any():
        raise DataError(
            f"the table of orders, column ordered_on: {int(orders['ordered_on'].isna().sum()):,} rows without a day; leave them out"
        )
    if not bool((orders["quantity"] > 0).all()):
        worst = orders.loc[~(orders["quantity"] > 0), "quantity"].iloc[0]
        raise DataError(
            f"the table of orders, column quantity: found {worst}; give pieces above 0 (returns are no orders, leave them out)"
        )
    days = orders.assign(ordered_on=orders["ordered_on"].dt.normalize())
    return days.groupby([*KEYS, "ordered_on"], as_index=False, sort=True).agg(quantity=("quantity", "sum"))


def market(snapshot: Snapshot) -> Market:
    """Return the customers with region and kind, the days out of supply, and the company's holidays."""
    people = snapshot.table("customers", ["customer_id", "region", "segment", "closed_on"])
    people = people[people["closed_on"].isna()]
    customers = pd.DataFrame(
        {
            "customer_id": people["customer_id"],
            "region": people["region"].fillna(""),
            "kind": people["segment"].fillna(""),
        }
    )
    depots = snapshot.table("outlets", ["outlet_id", "region", "format"])
    depots = depots.loc[depots["format"] == DEPOT, ["outlet_id", "region"]]
    rows = snapshot.select("stocks").subquery("rows")
    names = [rows.c.outlet_id, rows.c.product_id, rows.c.counted_on, rows.c.quantity]
    counts = snapshot.warehouse.read(sa.select(*names).where(rows.c.outlet_id.in_(depots["outlet_id"].tolist())))
    counts = counts.merge(depots, on="outlet_id", how="inner", validate="many_to_one")
    holidays = tuple(dt.date.fromisoformat(day) for day in snapshot.warehouse.company.holidays)
    return Market(customers.reset_index(drop=True), out_of_supply(counts, until=snapshot.as_of), holidays)


def out_of_supply(counts: pd.DataFrame, *, until: dt.date) -> pd.DataFrame:
    """Return the days on which a region could not be supplied with a product.

    In: ``counts`` of depots at the end of a day: region, product_id, counted_on, quantity (pieces; of several depots of
    a region the sum). A count of nothing stands for its day and those after it until the next count, for at most seven
    days. Out: region, product_id, day, none after ``until``. Raises DataError for a negative stock.

    >>> days = pd.to_datetime(["2025-03-03", "2025-03-05"])
    >>> counts = pd.DataFrame({"region": "North", "product_id": "milk", "counted_on": days, "quantity": [0.0, 9.0]})
    >>> out_of_supply(counts, until=dt.date(2025, 3, 6))["day"].dt.day.tolist()
    [3, 4]
    """
    if (counts["quantity"] < 0).any():
        worst = counts.loc[counts["quantity"] < 0].iloc[0]
        raise DataError(
            f"table stocks, column quantity: {worst['quantity']:g} pieces of product {worst['product_id']} in region "
            f"{worst['region']}; a stock is never negative, mend the source"
        )
    keys = ["region", "product_id"]
    known = counts[counts["counted_on"] <= pd.Timestamp(until)]
    days = known.groupby([*keys, "counted_on"], as_index=False, sort=True)["quantity"].sum()
    after = days.groupby(keys)["counted_on"].shift(-1).fillna(pd.Timestamp(until) + pd.Timedelta(days=1))
    length = (after - days["counted_on"]).dt.days.clip(0, _LONGEST_SILENCE)
    empty = days[(days["quantity"] <= 0) & (length > 0)]
    times = length[empty.index].to_numpy()
    rows = empty.loc[empty.index.repeat(times)].reset_index(drop=True)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    return rows.assign(day=rows["counted_on"] + pd.to_timedelta(step, unit="D"))[OUT]
