"""Sales by outlet, product and day as arrays: what was recorded, and what is known about the day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crmlib.errors import DataError
from crmlib.models.demand import calendar, records
from crmlib.warehouse.snapshot import Snapshot

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
MOST_CELLS = 3_000_000
"""Products are worked on together up to this many outlet-days."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows (a product in an outlet, by product, region and outlet) × days.

    Attributes: ``rows`` outlet_id, product_id, product_group, region, format, customer_id of each row; ``days``; arrays of
    rows × days: ``recorded`` net pieces (NaN without a record), ``price`` minor units (NaN where unknown), ``promotion``,
    ``empty`` (shelf empty for part of the day), ``is_open``, ``listed`` (from the first record to the last, or until
    now), ``told`` (the outlet has records that day and leaves out what was not sold: a missing row means 0).
    """

    rows: pd.DataFrame
    days: pd.DatetimeIndex
    recorded: Array
    price: Array
    promotion: Flags
    empty: Flags
    is_open: Flags
    listed: Flags
    told: Flags


@dataclass(frozen=True, eq=False)
class Frame:
    """What holds for all products: outlets, their open days (``days`` may go beyond the first and last ``recorded`` day
    while every outlet is closed), promotions, and what has to be said of them (``notes``)."""

    outlets: pd.DataFrame
    days: pd.DatetimeIndex
    recorded: tuple[dt.date, dt.date]
    is_open: Flags
    present: Flags
    promotions: pd.DataFrame
    pairs: pd.DataFrame
    products: pd.DataFrame
    notes: list[dict[str, object]]


def frame(
    snapshot: Snapshot, *, makers: tuple[str, ...], since: dt.date | None = None, until: dt.date | None = None
) -> Frame:
    """Return outlets, days, open days and promotions for the sales of some makers between two days.

    Raises DataError where nothing was sold.
    """
    products = records.products(snapshot, makers)
    sales = snapshot.select("outlet_sales").subquery("sales")
    of = snapshot.select("products").subquery("of")
    first, last = snapshot.warehouse.read(records.span(sales, makers, of)).iloc[0]
    if pd.isna(first):
        raise DataError(
            f"table outlet_sales holds nothing of the makers {', '.join(map(repr, makers))} as of {snapshot.as_of}; "
            "load sales first, or take another source (orders, contracts)"
        )
    begin = max(first.date(), since) if since else first.date()
    end = min(last.date(), until) if until else last.date()
    if begin > end:
        raise DataError(
            f"since {begin}, until {end}: the sales known as of {snapshot.as_of} run from {first.date()} to {last.date()}"
        )
    outlets = records.outlets(snapshot)
    seen = records.presence(snapshot)
    limits = since or dt.date.min, min(until or snapshot.as_of, snapshot.as_of)
    opened = _with_closed_ends(snapshot, seen, begin, end, limits)
    days = pd.DatetimeIndex(opened["day"].iloc[: len(opened) // len(outlets)])
    present = _present(seen, outlets, days)
    pairs = snapshot.warehouse.read(records.pairs(sales, of, makers))
    selling = outlets["outlet_id"].isin(pairs["outlet_id"]).to_numpy()
    return Frame(
        outlets,
        days,
        (begin, end),
        opened["is_open"].to_numpy().reshape(present.shape),
        present,
        records.promoted(snapshot),
        pairs,
        products,
        _notes(snapshot, outlets, opened, selling),
    )


def _present(seen: pd.DataFrame, outlets: pd.DataFrame, days: pd.DatetimeIndex) -> Flags:
    """Return on which days each outlet has records of anything, outlets × days."""
    known = pd.Index(outlets["outlet_id"])
    where = records.as_numbers(seen["outlet_id"], known, table="outlet_sales", column="outlet_id")
    when = days.get_indexer(pd.DatetimeIndex(seen["day"]))
    out = np.zeros((len(outlets), len(days)), dtype=bool)
    out[where[when >= 0], when[when >= 0]] = True
    return out


def _with_closed_ends(
    snapshot: Snapshot, seen: pd.DataFrame, begin: dt.date, end: dt.date, limits: tuple[dt.date, dt.date]
) -> pd.DataFrame:
    """Return the open days from begin to end, and beyond them as far as every outlet is closed.

    A month whose first day is a holiday is whole although its records begin on the second.
    """
    margin = dt.timedelta(days=7)
    first, last = max(begin - margin, limits[0]), min(end + margin, limits[1])
    table = calendar.open_days(snapshot, since=first, until=last, records=seen)
    open_on = table.groupby("day")["is_open"].any()
    busy = open_on.index[open_on | ((open_on.index >= pd.Timestamp(begin)) & (open_on.index <= pd.Timestamp(end)))]
    before, after = busy[busy < pd.Timestamp(begin)], busy[busy > pd.Timestamp(end)]
    one = pd.Timedelta(days=1)
    start = before.max() + one if len(before) else pd.Timestamp(first)
    stop = after.min() - one if len(after) else pd.Timestamp(last)
    return table[(table["day"] >= start) & (table["day"] <= stop)]


def _notes(snapshot: Snapshot, outlets: pd.DataFrame, opened: pd.DataFrame, selling: Flags) -> list[dict[str, object]]:
    declared = snapshot.table("outlets", ["outlet_id", "open_weekdays"]).sort_values("outlet_id")["open_weekdays"]
    untold = (declared.fillna("") == "").to_numpy() & selling
    inferred = opened["inferred"].to_numpy().reshape(len(outlets), -1)[:, 0] & selling
    notes: list[dict[str, object]] = []
    if (untold & inferred).any():
        notes.append({"code": "opening_days_from_records", "outlets": int((untold & inferred).sum())})
    if (untold & ~inferred).any():
        notes.append({"code": "all_days_taken_for_open", "outlets": int((untold & ~inferred).sum())})
    if not snapshot.warehouse.company.holidays:
        notes.append({"code": "no_holidays_known"})
    return notes


def batches(snapshot: Snapshot, frame_: Frame) -> Iterator[Cells]:
    """Yield the cells of all products, as many products at once as fit."""
    counts = frame_.pairs.groupby("product_id")["outlet_id"].size()
    batch: list[str] = []
    size = 0
    for product, outlets in counts.items():
        cells = int(outlets) * len(frame_.days)
        if batch and size + cells > MOST_CELLS:
            yield read(snapshot, frame_, batch)
            batch, size = [], 0
        batch.append(str(product))
        size += cells
    yield read(snapshot, frame_, batch)


def read(snapshot: Snapshot, frame_: Frame, product_ids: list[str]) -> Cells:
    """Return the cells of some products.

    Raises DataError for two rows of one outlet, product and day, and for a negative stock.
    """
    days, outlets = frame_.days, frame_.outlets
    first, last = days[0].date(), days[-1].date()
    sales, of = (snapshot.select(name).subquery(name) for name in ("outlet_sales", "products"))
    table = snapshot.warehouse.read(records.outlet_rows(sales, of, product_ids, first=first, last=last))
    rows = _rows(frame_, product_ids)
    outlet_at, row_at = _places(rows, outlets)
    outlet = pd.Index(outlets["outlet_id"]).get_indexer(pd.Index(table["outlet_id"]))
    product = pd.Index(product_ids).get_indexer(pd.Index(table["product_id"]))
    cell = row_at[product, outlet], days.get_indexer(pd.DatetimeIndex(table["sold_on"]))
    _refuse_twice(table, cell, len(days))
    shape = (len(rows), len(days))
    recorded = _spread(shape, cell, table["quantity"].to_numpy(dtype=float), np.nan)
    price = _spread(shape, cell, table["price"].to_numpy(dtype=float, na_value=np.nan), np.nan)
    said_promotion = _spread(shape, cell, table["promotion"].to_numpy(dtype=float), -1.0)
    said_empty = _spread(shape, cell, table["empty"].to_numpy(dtype=float), -1.0)
    gone = _none_left(snapshot, frame_, product_ids, row_at, shape)
    planned = promotion_days(rows, days, frame_.promotions)
    plain = _spread(shape, cell, table["plain"].to_numpy(dtype=float), 0.0) > 0
    listed = _listed(recorded, rows, frame_)
    is_open = frame_.is_open[outlet_at] | (recorded > 0)
    present = frame_.present[outlet_at]
    return Cells(
        rows=rows,
        days=days,
        recorded=recorded,
        price=price,
        promotion=np.where(said_promotion >= 0, said_promotion > 0, planned),
        empty=np.where(said_empty >= 0, said_empty > 0, gone),
        is_open=is_open,
        listed=listed,
        told=present & _leaves_zeros_out(recorded, plain, listed & is_open & present)[:, None],
    )


def _rows(frame_: Frame, product_ids: list[str]) -> pd.DataFrame:
    """Return the outlets of each product with what they can be grouped by, in order."""
    pairs = frame_.pairs.loc[frame_.pairs["product_id"].isin(product_ids), ["outlet_id", "product_id"]]
    rows = pairs.merge(frame_.outlets, on="outlet_id", how="left", validate="many_to_one").merge(
        frame_.products[["product_id", "product_group"]], on="product_id", how="left", validate="many_to_one"
    )
    names = list(records.OUTLET_KEYS)
    return rows[names].fillna("").sort_values(["product_id", "region", "outlet_id"], ignore_index=True)


def _places(rows: pd.DataFrame, outlets: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the outlet of each row, and the row of each product and outlet (-1: none)."""
    outlet = pd.Index(outlets["outlet_id"]).get_indexer(pd.Index(rows["outlet_id"]))
    product, names = pd.factorize(rows["product_id"])
    row_at = np.full((len(names), len(outlets)), -1, dtype=np.intp)
    row_at[product, outlet] = np.arange(len(rows))
    return outlet, row_at


def _spread(shape: tuple[int, int], cell: tuple[np.ndarray, np.ndarray], values: np.ndarray, empty: float) -> Array:
    out = np.full(shape, empty)
    out[cell] = values
    return out


def _refuse_twice(table: pd.DataFrame, cell: tuple[np.ndarray, np.ndarray], days: int) -> None:
    number = cell[0].astype(np.int64) * days + cell[1]
    counts = np.bincount(number) if len(number) else np.zeros(0, dtype=np.int64)
    if (counts > 1).any():
        row = table[number == int(counts.argmax())].iloc[0]
        raise DataError(
            f"table outlet_sales: outlet {row['outlet_id']}, product {row['product_id']} has {int(counts.max())} rows on "
            f"{row['sold_on']:%Y-%m-%d} ({int((counts > 1).sum())} such days); leave one row a day"
        )


def _none_left(
    snapshot: Snapshot, frame_: Frame, product_ids: list[str], row_at: NDArray[np.intp], shape: tuple[int, int]
) -> Flags:
    """Return where the stock counted at the end of the day was none."""
    stocks = snapshot.select("stocks").subquery("stocks")
    days = frame_.days
    found = snapshot.warehouse.read(
        records.empty_shelves(stocks, product_ids, first=days[0].date(), last=days[-1].date())
    )
    below = found[found["quantity"] < 0]
    if len(below):
        row = below.iloc[0]
        raise DataError(
            f"table stocks: outlet {row['outlet_id']}, product {row['product_id']} has {row['quantity']:g} pieces on "
            f"{row['counted_on']:%Y-%m-%d} ({len(below)} such rows); a stock cannot be negative, correct or leave out the rows"
        )
    out = np.zeros(shape, dtype=bool)
    outlet = pd.Index(frame_.outlets["outlet_id"]).get_indexer(pd.Index(found["outlet_id"]))
    row = row_at[pd.Index(product_ids).get_indexer(pd.Index(found["product_id"])), outlet]
    here = (outlet >= 0) & (row >= 0)  # a depot's stock is no shelf
    out[row[here], days.get_indexer(pd.DatetimeIndex(found["counted_on"]))[here]] = True
    return out


def _leaves_zeros_out(recorded: Array, plain: Flags, expected: Flags) -> Flags:
    """Return the rows whose source seems to write nothing where nothing was sold.

    Where more days have a row that says just 0 (``plain``: nothing ordered either) than have no row at all, a missing row
    is a gap.
    """
    missing = (np.isnan(recorded) & expected).sum(axis=1)
    return np.asarray(missing >= (plain & expected).sum(axis=1))


def promotion_days(rows: pd.DataFrame, days: pd.DatetimeIndex, promotions: pd.DataFrame) -> Flags:
    """Return on which days a promotion of the row's product runs in its region, rows × days."""
    steps = np.zeros((len(rows), len(days) + 1), dtype=np.int32)
    if not {"product_id", "region"} <= set(rows.columns) or promotions.empty:
        return steps[:, :-1] > 0
    first = days.searchsorted(pd.DatetimeIndex(promotions["starts_on"]))
    last = days.searchsorted(pd.DatetimeIndex(promotions["ends_on"]), side="right")
    of_product = rows.groupby("product_id").indices
    region = rows["region"].to_numpy()
    for product, where, start, end in zip(
        promotions["product_id"], promotions["region"], first.tolist(), last.tolist(), strict=True
    ):
        own = of_product.get(product)
        if own is None or start >= end:
            continue
        touched = own if where == "" else own[region[own] == where]
        steps[touched, start] += 1
        steps[touched, end] -= 1
    return steps.cumsum(axis=1)[:, :-1] > 0


def _listed(recorded: Array, rows: pd.DataFrame, frame_: Frame) -> Flags:
    """Return from when to when a product is on sale in an outlet.

    From its first record on; until its withdrawal or the end of the outlet, or, where the silence after the last record is
    too long for chance (28 days with other records, in which 20 pieces would have been sold at the last pace), until that
    record.
    """
    has = ~np.isnan(recorded)
    width = recorded.shape[1]
    first = has.argmax(axis=1)
    last = width - 1 - has[:, ::-1].argmax(axis=1)
    at = np.arange(width)
    lately = has & (at[None, :] > (last - 91)[:, None])
    pace = np.where(lately, np.maximum(np.nan_to_num(recorded), 0), 0).sum(axis=1) / np.minimum(91, last - first + 1)
    present = frame_.present[pd.Index(frame_.outlets["outlet_id"]).get_indexer(pd.Index(rows["outlet_id"]))]
    silent = (present & (at[None, :] > last[:, None])).sum(axis=1)
    end = np.where((silent >= 28) & (pace * silent >= 20), last, width - 1)
    withdrawn = rows["product_id"].map(frame_.products.set_index("product_id")["withdrawn_on"])
    ended = rows["outlet_id"].map(frame_.outlets.set_index("outlet_id")["closed_on"])
    until = withdrawn.combine(
        ended, lambda one, other: min(day for day in (one, other, frame_.days[-1]) if pd.notna(day))
    )
    gone = frame_.days.searchsorted(pd.DatetimeIndex(until), side="right") - 1
    end = np.minimum(end, np.maximum(gone, last))
    return (at[None, :] >= first[:, None]) & (at[None, :] <= end[:, None]) & has.any(axis=1, keepdims=True)
