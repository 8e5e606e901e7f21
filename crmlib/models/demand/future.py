"""What is known of the periods to come: planned promotions and their prices, opening days, holidays, by series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import calendar, cells, records, rolling, series, steps
from crmlib.models.demand.cells import Array, Flags
from crmlib.warehouse.snapshot import Snapshot

RECENT_DAYS = 28
"""A product without a record in an outlet for so long before the last record is no longer on sale there, as far as the
future goes."""
_PRICE_DAYS = 182


def known(
    snapshot: Snapshot,
    table: pd.DataFrame,
    *,
    horizon: int,
    step: str | None = None,
    source: str = "outlet_sales",
    makers: Sequence[str] = series.OWN,
) -> pd.DataFrame:
    """Return what the snapshot knows of the ``horizon`` periods after a series table of ``series.build``.

    Prices stay as they were last, but for promotions announced by ``as_of``: these have their own price, shifted by what
    the outlet asks above or below the list. Outlets and products count that had records in the last 28 days with any.

    Out, a row per series that reaches the newest period, and period: series_id, keys, period, ahead (1 to horizon),
    price_minor, promotion (share of the open outlet-days), open_days (as in the series table), holiday (company holidays in
    it); of orders and contracts open_days and holiday alone. ``treatment.notes`` of the table names series
    with a promotion planned that never had one (first_promotion: series) and the day up to which holidays are known, if
    none is in the year of the last period (holidays_known_until: until).

    Raises UsageError for a horizon below 1, DataError for a table without series_id, period or keys.
    """
    keys = _keys(table, source)
    step = steps.infer(table["period"]) if step is None else step
    times = calendar.following(table["period"].max(), step, horizon)
    last = table.loc[table["period"] == table["period"].max(), ["series_id", *keys]].reset_index(drop=True)
    if source == "outlet_sales":
        found = _of_outlets(snapshot, last, keys, times, step=step, makers=tuple(makers))
    else:
        found = _of_business(snapshot, last, times, step=step, source=source)
    free = calendar.holidays(snapshot.warehouse.company)
    ends = calendar.ends(times, step)
    number = times.get_indexer(pd.DatetimeIndex(found["period"]))
    out = found.assign(ahead=number + 1, holiday=calendar.within(free, times, ends)[number])
    out.attrs["notes"] = _notes(out, table, free, ends[-1])
    return out


def _keys(table: pd.DataFrame, source: str) -> list[str]:
    if source not in records.KEYS:
        raise UsageError(f"source is {source!r}; use {', '.join(records.KEYS)}")
    missing = [name for name in ("series_id", "period") if name not in table]
    if missing or table.empty:
        what = f"lacks the columns {', '.join(missing)}" if missing else "is empty"
        raise DataError(f"series table {what}; make it by series.build")
    keys = [name for name in table.columns if name in records.KEYS[source]]
    wanted = rolling.series_ids(table[keys].iloc[:1])
    if not keys and table["series_id"].iloc[0] != wanted.iloc[0]:
        raise DataError(
            f"series table has none of the columns {', '.join(records.KEYS[source])}; keep the keys of series.build"
        )
    return keys


def _of_outlets(
    snapshot: Snapshot,
    last: pd.DataFrame,
    keys: list[str],
    times: pd.DatetimeIndex,
    *,
    step: str,
    makers: tuple[str, ...],
) -> pd.DataFrame:
    rows = _on_sale(snapshot, makers)
    days = pd.date_range(times[0], calendar.ends(times, step)[-1], freq="D", unit="us")
    opened = _open(snapshot, rows, days)
    promotions = records.promoted(snapshot)
    promoted = cells.promotion_days(rows, days, promotions)
    price = _prices(rows, days, promotions, _list_prices(snapshot))
    pieces = np.maximum(rows["pieces"].to_numpy(dtype=float), 0.5)[:, None]
    begin = days.searchsorted(times)
    measures: dict[str, Array] = {
        "open_days": opened.astype(float),
        "promoted": (opened & promoted).astype(float),
        "priced": opened * pieces * ~np.isnan(price),
        "worth": opened * pieces * np.nan_to_num(price),
    }
    by_period = {name: np.add.reduceat(values, begin, axis=1) for name, values in measures.items()}
    row, period = (part.ravel() for part in np.indices((len(rows), len(times))))
    wide = pd.DataFrame({"series_id": rolling.series_ids(rows[keys]).to_numpy()[row], "period": times[period]})
    sums = wide.assign(**{name: values.ravel() for name, values in by_period.items()})
    added = sums.groupby(["series_id", "period"], as_index=False)[list(measures)].sum()
    grid = last.merge(pd.DataFrame({"period": times}), how="cross")
    out = grid.merge(added, on=["series_id", "period"], how="left", validate="one_to_one")
    opening = out["open_days"].fillna(0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (out["worth"] / out["priced"].where(out["priced"] > 0)).groupby(out["series_id"])
    carried = mean.ffill().groupby(out["series_id"]).bfill()
    return out[["series_id", *keys, "period"]].assign(
        price_minor=carried, promotion=(out["promoted"] / opening.clip(lower=1)).fillna(0.0), open_days=opening
    )


def _on_sale(snapshot: Snapshot, makers: tuple[str, ...]) -> pd.DataFrame:
    """Return the products on sale in each outlet of late: the keys, pieces (of the last 28 days), price (the last without promotion)."""
    sales, of = (snapshot.select(name).subquery(name) for name in ("outlet_sales", "products"))
    # Counted from the last sale on record, for sales may come in later than the rest.
    newest = pd.DatetimeIndex(snapshot.warehouse.read(records.span(sales, makers, of))["last"]).max()
    last = snapshot.as_of if pd.isna(newest) else newest.date()
    recent = snapshot.warehouse.read(_recent(sales, of, makers, last))
    usual = snapshot.warehouse.read(_usual_prices(sales, last))
    products = records.products(snapshot, makers)
    outlets = records.outlets(snapshot)
    rows = (
        recent.merge(outlets, on="outlet_id", how="inner", validate="many_to_one")
        .merge(products, on="product_id", how="inner", validate="many_to_one")
        .merge(usual, on=["outlet_id", "product_id"], how="left", validate="one_to_one")
    )
    here = rows["withdrawn_on"].isna() & rows["closed_on"].isna()
    return (
        rows[here].fillna({"product_group": ""}).sort_values(["product_id", "region", "outlet_id"], ignore_index=True)
    )


def _recent(sales: sa.Subquery, of: sa.Subquery, makers: tuple[str, ...], last: dt.date) -> sa.Select[Any]:
    pieces = sa.func.sum(sa.case((sales.c.quantity > 0, sales.c.quantity), else_=0.0)).label("pieces")
    return (
        sa.select(sales.c.outlet_id, sales.c.product_id, pieces)
        .select_from(sales.join(of, sales.c.product_id == of.c.product_id))
        .where(sa.func.coalesce(of.c.maker, "").in_(list(makers)))
        .where(sales.c.sold_on > last - dt.timedelta(days=RECENT_DAYS))
        .group_by(sales.c.outlet_id, sales.c.product_id)
    )


def _usual_prices(sales: sa.Subquery, last: dt.date) -> sa.Select[Any]:
    """Return the select of the last price of each outlet and product, of a day without promotion if there is one."""
    plain = sa.case((sales.c.on_promotion.is_(True), 1), else_=0)
    order = [plain, sales.c.sold_on.desc()]
    rank = sa.func.row_number().over(partition_by=[sales.c.outlet_id, sales.c.product_id], order_by=order)
    price = sa.cast(sales.c.price_minor, sa.Double).label("price")
    ranked = (
        sa.select(sales.c.outlet_id, sales.c.product_id, price, rank.label("rank_"))
        .where(sales.c.price_minor.is_not(None), sales.c.sold_on > last - dt.timedelta(days=_PRICE_DAYS))
        .subquery("ranked")
    )
    return sa.select(ranked.c.outlet_id, ranked.c.product_id, ranked.c.price).where(ranked.c.rank_ == 1)


def _open(snapshot: Snapshot, rows: pd.DataFrame, days: pd.DatetimeIndex) -> Flags:
    seen = records.presence(snapshot)
    first = min(pd.Timestamp(seen["day"].min()), days[0]).date() if len(seen) else days[0].date()
    opened = calendar.open_days(snapshot, since=first, until=days[-1].date(), records=seen)
    outlets = pd.Index(opened["outlet_id"].unique())
    wide = opened["is_open"].to_numpy().reshape(len(outlets), -1)[:, -len(days) :]
    return np.asarray(wide[outlets.get_indexer(pd.Index(rows["outlet_id"]))])


def _list_prices(snapshot: Snapshot) -> pd.DataFrame:
    """Return the company's own list prices of today: product_id, region ("" for all), listed."""
    prices = snapshot.table("prices", ["product_id", "seller", "region", "price_minor"])
    own = prices[prices["seller"].str.lower() == "own"]
    region = own["region"].where(~own["region"].str.lower().isin(["all", "*"]), "")
    return own.assign(region=region, listed=own["price_minor"].astype(float))[["product_id", "region", "listed"]]


def _prices(rows: pd.DataFrame, days: pd.DatetimeIndex, promotions: pd.DataFrame, listed: pd.DataFrame) -> Array:
    """Return the price of each row and day to come: the last one, or a promotion's in proportion to the list."""
    usual = rows["price"].to_numpy(dtype=float, na_value=np.nan)
    level = listed.drop_duplicates(["product_id", "region"]).set_index(["product_id", "region"])["listed"]
    own = _looked_up(level, rows["product_id"], rows["region"])
    everywhere = _looked_up(level, rows["product_id"], pd.Series("", index=rows.index))
    above = usual / np.where(np.isnan(own), everywhere, own)
    out = np.repeat(usual[:, None], len(days), axis=1)
    ahead = promotions[(promotions["ends_on"] >= days[0]) & promotions["price_minor"].notna()]
    for found in ahead.to_dict("records"):
        inside = np.asarray((days >= found["starts_on"]) & (days <= found["ends_on"]))
        here = (rows["product_id"] == found["product_id"]).to_numpy()
        if found["region"]:
            here = here & (rows["region"] == found["region"]).to_numpy()
        asked = float(found["price_minor"]) * np.where(np.isnan(above), 1.0, above)
        out[np.ix_(here, inside)] = np.where(np.isnan(usual), np.nan, np.minimum(asked, usual))[here, None]
    return out


def _looked_up(level: pd.Series, product: pd.Series, region: pd.Series) -> Array:
    return level.reindex(pd.MultiIndex.from_arrays([product, region])).to_numpy(dtype=float, na_value=np.nan)


def _of_business(
    snapshot: Snapshot, last: pd.DataFrame, times: pd.DatetimeIndex, *, step: str, source: str
) -> pd.DataFrame:
    recorded = snapshot.warehouse.read(records.days_of(snapshot, source))
    weekdays = pd.DatetimeIndex(recorded["day"]).day_of_week.unique()
    days = pd.date_range(times[0], calendar.ends(times, step)[-1], freq="D", unit="us")
    free = days.isin(calendar.holidays(snapshot.warehouse.company))
    opened = np.add.reduceat((days.day_of_week.isin(weekdays) & ~free).astype(float), days.searchsorted(times))
    return last.merge(pd.DataFrame({"period": times, "open_days": opened}), how="cross")


def _notes(
    out: pd.DataFrame, table: pd.DataFrame, free: pd.DatetimeIndex, end: pd.Timestamp
) -> list[dict[str, object]]:
    notes: list[dict[str, object]] = []
    if "promotion" in out and "promotion" in table:
        before = set(table.loc[table["promotion"] > 0, "series_id"])
        new = sorted(set(out.loc[out["promotion"] > 0, "series_id"]) - before)
        if new:
            notes.append({"code": "first_promotion", "series": new})
    if len(free) and free.max().year < end.year:
        notes.append({"code": "holidays_known_until", "until": free.max().date().isoformat()})
    return notes
