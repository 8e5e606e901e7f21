"""The job behind `crm effects`: what prices and promotions do to demand, whether promotions paid, shares and what moved revenue."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import stats

from crmlib import paths, warehouse
from crmlib.decisions import promotion_past
from crmlib.errors import DataError
from crmlib.models.demand import calendar
from crmlib.models.demand import series as demand_series
from crmlib.models.effects import NAME, elasticity, promotions, reach
from crmlib.models.sales import cube, mix, position
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets
from crmlib.warehouse.snapshot import Snapshot, parse_date

BY = ("product_id", "product_group", "region")
USUAL = 8
"""Weeks that tell what is usual."""
_SLICES = ["product_id", "product_group", "maker", "region"]


def effects(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Measure what moves demand as of a day (default: the last record), reckon past promotions, analyse sales, save.

    Returns the table saved as score set "price_effects" (see ``promotions.bring_together``); beside it the tables series (estimates series
    by series), cross, promotions (``promotion_past.past``) and left_out, usual_weeks (a stand-in for a forecast), share, price_position, matched_prices and mix. ``seed``
    draws the intervals of profits. Raises DataError where outlets sold nothing.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(parse_date(as_of) if as_of else last_day(wh))
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, "effects", parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("series", f"demand by week as of {snapshot.as_of}") as stage:
            series = _series(snapshot)
            stage.say(f"{series['series_id'].nunique():,} series, {len(series):,} weeks")
        with stages.stage("effects", "prices and promotions") as stage:
            found = _estimates(snapshot, series)
            table, cross = promotions.bring_together(found)
            stage.say(_told(table))
        with stages.stage("promotions", "what past promotions brought") as stage:
            beside = _promotions(snapshot, series, table, cross=cross, seed=seed)
            stage.say(_paid(beside["promotions"], beside["left_out"]))
        with stages.stage("sales", "shares, price position, what moved revenue") as stage:
            beside |= _sales(snapshot, stage)
        with stages.stage("save", "effects by product and region"):
            score_sets.save(
                table,
                data=data,
                model=NAME,
                model_version=1,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside={"series": found, "cross": cross, **beside},
                run_id=run_id,
            )
    return table


def _series(snapshot: Snapshot) -> pd.DataFrame:
    """Return the weekly series of all products, own and competitors', by region."""
    if _sold_days(snapshot) is None:
        raise DataError(
            f"outlet_sales holds no sales as of {snapshot.as_of} (found 0 rows, need 1): what prices and promotions do shows only "
            "in sales by outlet; load them"
        )
    makers = snapshot.table("products", ["maker"])["maker"].fillna("").unique()
    series = demand_series.build(snapshot, by=BY, step="week", makers=tuple(str(maker) for maker in makers))
    return reach.widened(series, snapshot.table("promotions"))


def _sold_days(snapshot: Snapshot) -> tuple[dt.date, dt.date] | None:
    sold = snapshot.select("outlet_sales").subquery("sold")
    ends = sa.select(sa.func.min(sold.c.sold_on).label("first"), sa.func.max(sold.c.sold_on).label("last"))
    found = snapshot.warehouse.arrow(ends).to_pylist()[0]
    return None if found["first"] is None else (found["first"], found["last"])


def _estimates(snapshot: Snapshot, series: pd.DataFrame) -> pd.DataFrame:
    pairs = snapshot.table("product_substitutes", ["product_id", "substitute_id"])
    others = pairs.rename(columns={"substitute_id": "other_id"}) if len(pairs) else None
    return elasticity.estimate(series, others=others, holidays=list(calendar.holidays(snapshot.warehouse.company).date))


def _promotions(
    snapshot: Snapshot, series: pd.DataFrame, table: pd.DataFrame, *, cross: pd.DataFrame, seed: int
) -> dict[str, pd.DataFrame]:
    known = snapshot.table("promotions")
    products = snapshot.table("products", ["product_id", "cost_minor", "maker"])
    done = promotion_past.past(series, table, promotions=known, products=products, cross=cross, seed=seed)
    return {
        "usual_weeks": _usual_weeks(series),
        "promotions": done,
        "left_out": promotion_past.left_out(done, known, last=series["period"].max()),
    }


def _usual_weeks(series: pd.DataFrame) -> pd.DataFrame:
    """Return eight weeks of what each series sells as usual: mean and spread of its last weeks without a promotion.

    It stands in for a forecast (same columns) where none has been made.
    """
    calm = series[(series["promotion"].fillna(0) == 0) & (series["weight"] >= 0.5)].sort_values("period")
    keys = ["series_id", *BY]
    last = calm.groupby(keys, sort=True).tail(USUAL).groupby(keys, sort=True)["quantity"].agg(["mean", "std", "size"])
    last = last[last["size"] >= USUAL // 2].reset_index()
    # Of one more week beside those few: Student's t, and the mean itself is not certain.
    spread = last["std"] * np.sqrt(1 + 1 / last["size"])
    ends = {
        name: (last["mean"] + stats.t.ppf(at, last["size"] - 1) * spread).clip(lower=0)
        for name, at in {"low_95": 0.025, "high_95": 0.975, "low_80": 0.1, "high_80": 0.9}.items()
    }
    weeks = pd.DataFrame({"period": series["period"].max() + pd.to_timedelta(7 * np.arange(1, USUAL + 1), unit="D")})
    return last.assign(**ends).drop(columns=["std", "size"]).merge(weeks, how="cross")


def _sales(snapshot: Snapshot, stage: Stage) -> dict[str, pd.DataFrame]:
    """Return shares and price position by month, and what moved revenue from each quarter to that a year later."""
    days = _sold_days(snapshot)
    assert days is not None  # _series has looked
    months, quarters = (_whole(snapshot, days, step) for step in ("month", "quarter"))
    beside: dict[str, pd.DataFrame] = {}
    if months is not None:
        place = ["period", "product_group", "region"]
        beside["share"] = position.share(months, within=place)
        beside["price_position"] = position.price_index(months, within=place)
        pairs = snapshot.table("product_substitutes", ["product_id", "substitute_id"])
        beside["matched_prices"] = position.matched(months, pairs, within=["period", "region"])
        last = beside["share"][beside["share"]["period"] == months["period"].max()]
        own = last[last["maker"] == cube.OWN]["revenue_minor"].sum() / last["revenue_minor"].sum()
        stage.say(f"own share of the revenue recorded in {months['period'].max():%B %Y}: {own:.1%}")
    moved = [] if quarters is None else _moved(quarters)
    if moved:
        beside["mix"] = pd.concat(moved, ignore_index=True)
    return beside


def _whole(snapshot: Snapshot, days: tuple[dt.date, dt.date], step: str) -> pd.DataFrame | None:
    """Return sales by whole months or quarters, or None where there is no whole one."""
    every = {"month": "MS", "quarter": "QS"}[step]
    first, after = pd.Timestamp(days[0]), pd.Timestamp(days[1]) + pd.Timedelta(days=1)
    starts = pd.date_range(first, after, freq=every)
    if len(starts) < 2:
        return None
    until = (starts[-1] - pd.Timedelta(days=1)).date()
    return cube.sales(snapshot, by=_SLICES, step=step, since=starts[0].date(), until=until)


def _moved(quarters: pd.DataFrame) -> list[pd.DataFrame]:
    periods = sorted(quarters["period"].unique())
    out = []
    for after in periods:
        before = pd.Timestamp(after) - pd.DateOffset(years=1)
        if before in periods:
            found = mix.decompose(
                quarters, parts=["product_id", "region"], within=["maker", "product_group"], before=before, after=after
            )
            out.append(found.assign(before=before, after=after))
    return out


def _told(table: pd.DataFrame) -> str:
    own = table[(table["region"] == "") & (table["product_id"] != "") & np.isfinite(table["estimate"])]
    prices = own[own["measure"] == "price_elasticity"]
    if prices.empty:
        return "no elasticity can be known: " + ", ".join(sorted(set(table["note_code"]) - {""})).replace("_", " ")
    lifts = own[own["measure"] == "promotion_uplift"]
    told = f"{len(prices)} products, elasticity {prices['estimate'].min():.2f} to {prices['estimate'].max():.2f}"
    minded = int((table["note_code"] == "moves_before_it_begins").sum())
    if len(lifts):
        told += f", promotions × {np.exp(lifts['estimate'].min()):.2f} to {np.exp(lifts['estimate'].max()):.2f} beyond the price"
    return told + (f"; {minded} uplifts not to be trusted: demand moves before the promotion" if minded else "")


def _paid(done: pd.DataFrame, left: pd.DataFrame) -> str:
    if done.empty:
        return f"no past promotion can be reckoned, {len(left)} left out"
    sure = (done["profit_low_minor"] > 0).sum(), (done["profit_high_minor"] < 0).sum()
    return (
        f"{len(done)} promotions: {sure[0]} paid, {sure[1]} lost, the others may have done either; {len(left)} left out"
    )
