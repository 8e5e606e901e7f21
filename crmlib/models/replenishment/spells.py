"""Waiting days: every day between one order and the next, on which the customer could have ordered."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.replenishment.history import KEYS, Market

LONGEST = 365
"""Days after an order for which its wait is followed; whoever has been silent for longer is another customer."""
HOLIDAY = 7
"""Code of a holiday among the weekdays 0 (Monday) to 6."""
_EPOCH = np.datetime64("1970-01-01", "D")


@dataclass(frozen=True, eq=False)
class Spells:
    """The waits after each order, and their days.

    Attributes: ``pairs`` customer_id, outlet_id, product_id, place (number of customer and outlet), group, kind, orders, last_order; a wait has
    ``pair`` (row of ``pairs``) and ``quantity`` (pieces of the order before it); a day has ``wait`` (number of the wait),
    ``since`` (days since the order, from 1), ``weekday`` (0 to 6, or HOLIDAY), ``ordered`` (whether the wait ended) and ``open``
    (whether the supplier could deliver).
    """

    pairs: pd.DataFrame
    pair: np.ndarray
    quantity: np.ndarray
    wait: np.ndarray
    since: np.ndarray
    weekday: np.ndarray
    ordered: np.ndarray
    open: np.ndarray


def day_number(days: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """Return days as numbers of days since 1970.

    >>> day_number(pd.DatetimeIndex(["1970-01-03"])).tolist()
    [2]
    """
    return (np.asarray(days, "datetime64[D]") - _EPOCH).astype(np.int64)


def weekdays(days: np.ndarray, holidays: tuple[dt.date, ...]) -> np.ndarray:
    """Return the weekday of numbered days, 0 for Monday to 6, or HOLIDAY.

    >>> weekdays(np.array([0, 4]), (dt.date(1970, 1, 5),)).tolist()
    [3, 7]
    """
    out = (np.asarray(days) + 3) % 7  # 1970-01-01 was a Thursday
    free = day_number(pd.DatetimeIndex(list(holidays))) if holidays else np.array([], np.int64)
    return np.where(np.isin(days, free), HOLIDAY, out).astype(np.int8)


def group(pairs: pd.DataFrame) -> np.ndarray:
    """Return which of the two shapes of waiting a pair has: 1 for shops known by outlets, which order on a schedule, else 0."""
    return pairs["outlet_id"].ne("").to_numpy().astype(np.int64)


def pairs_of(orders: pd.DataFrame, market: Market) -> pd.DataFrame:
    """Return the pairs of customer and product that ordered: customer_id, outlet_id, product_id, region, kind, orders, last_order, last_quantity."""
    last = orders.sort_values("ordered_on", kind="stable").drop_duplicates(KEYS, keep="last")
    counts = orders.groupby(KEYS, as_index=False, sort=True).agg(orders=("quantity", "size"))
    last = last.rename(columns={"ordered_on": "last_order", "quantity": "last_quantity"})
    out = counts.merge(last, on=KEYS, how="left", validate="one_to_one")
    return out.merge(market.customers, on="customer_id", how="inner", validate="many_to_one")


def spells(orders: pd.DataFrame, market: Market, *, until: dt.date) -> Spells:
    """Return every wait after an order, up to the day ``until``.

    In: ``orders`` of ``history.by_day``; those after ``until`` are not looked at, nor those of customers not in
    ``market.customers``. A day on which the supplier had nothing is no chance to order: it does not count, unless an
    order came in all the same. Raises DataError where no customer has two orders of a product.
    """
    known = orders[orders["ordered_on"] <= pd.Timestamp(until)]
    pairs = pairs_of(known, market)
    repeated = int((pairs["orders"] > 1).sum())
    if repeated < 1:
        raise DataError(
            f"not enough data for replenishment (found {repeated} customers with two orders of a product, need 1)"
        )
    place = pd.Series(np.arange(len(pairs)), index=pd.MultiIndex.from_frame(pairs[KEYS]))
    pair = place.reindex(pd.MultiIndex.from_frame(known[KEYS])).to_numpy()
    kept = ~np.isnan(pair)
    pair, known = pair[kept].astype(np.int64), known[kept]
    began = day_number(known["ordered_on"])
    order = np.lexsort((began, pair))
    pair, began, quantity = pair[order], began[order], known["quantity"].to_numpy(float)[order]
    again = np.append(pair[1:] == pair[:-1], False)
    last_day = int(day_number(pd.DatetimeIndex([pd.Timestamp(until)]))[0])
    ended = np.where(again, np.append(began[1:], 0), last_day)
    length = np.minimum(ended - began, LONGEST)
    wait = np.repeat(np.arange(len(pair)), length)
    since = np.arange(len(wait)) - np.repeat(np.cumsum(length) - length, length) + 1
    ordered = again[wait] & (since == (ended - began)[wait])
    day = began[wait] + since
    numbered = pairs.assign(place=pairs.groupby(KEYS[:2], sort=False).ngroup(), group=group(pairs))
    out = _closed(numbered, pair[wait], day, market)
    return Spells(
        numbered,
        pair=pair,
        quantity=quantity,
        wait=wait.astype(np.int32),
        since=since.astype(np.int32),
        weekday=weekdays(day, market.holidays),
        ordered=ordered,
        open=~out | ordered,
    )


def _closed(pairs: pd.DataFrame, pair: np.ndarray, day: np.ndarray, market: Market) -> np.ndarray:
    """Return whether the customer's region was out of the product on each day."""
    if market.out.empty:
        return np.zeros(len(pair), bool)
    keys = ["region", "product_id"]
    supply = pd.MultiIndex.from_frame(market.out[keys]).unique()
    code = supply.get_indexer(pd.MultiIndex.from_frame(pairs[keys]))
    empty = supply.get_indexer(pd.MultiIndex.from_frame(market.out[keys]))
    first = int(day.min(initial=0))
    span = int(max(day.max(initial=0), day_number(market.out["day"]).max())) - first + 1
    seen = np.zeros((len(supply), span), bool)
    when = day_number(market.out["day"]) - first
    inside = (when >= 0) & (when < span)
    seen[empty[inside], when[inside]] = True
    return (code[pair] >= 0) & seen[code[pair], day - first]
