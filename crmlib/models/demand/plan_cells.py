"""Plans and outside forecasts brought to the series and periods that they speak of.

A line of a plan gives one quantity for a span of days and, where it names them, a product and a region: it may hold
several series (no region: all of them) and several periods (a quarter of months). It is shared among those cells in
proportion to what is known or forecast of each: known quantities up to the origin, forecasts after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.demand import steps

KEYS = ["product_id", "region"]
"""What a plan may name; the series need the columns that it does name."""

NEEDED = ("source", "made_on", "period_start", "period_end", "quantity")


def usable(plans: pd.DataFrame, series: pd.DataFrame, *, step: str) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the lines that speak of whole periods and of series that are there, and codes for those left out.

    In: plans as in a snapshot (source, made_on, product_id, region, period_start, period_end, quantity). Out: line (a
    number), source, made_on, the keys, start and stop (numbers of the first and last period), quantity.
    """
    missing = [name for name in NEEDED if name not in plans]
    if missing:
        raise DataError(f"plans: no column {', '.join(missing)}; it has {', '.join(map(str, plans.columns))}")
    days = {name: pd.to_datetime(plans[name]) for name in ("made_on", "period_start", "period_end")}
    keys = {name: plans[name].where(plans[name] != "") if name in plans else np.nan for name in KEYS}
    lines = plans[["source", "quantity"]].assign(**days, **keys, line=np.arange(len(plans))).reset_index(drop=True)
    whole = _begins(lines["period_start"], step) & _begins(lines["period_end"] + pd.Timedelta(days=1), step)
    known = whole & (lines["period_end"] >= lines["period_start"])
    found = pd.Series(np.isfinite(lines["quantity"].to_numpy(float)) & (lines["quantity"] >= 0), index=lines.index)
    there = pd.Series(True, index=lines.index)
    for name in KEYS:
        there &= lines[name].isna() | lines[name].isin(series[name].unique().tolist() if name in series else [])
    notes = [
        {"code": "plans_left_out", "reason": reason, "lines": int(lost.sum())}
        for reason, lost in (
            ("no_whole_periods", ~known),
            ("no_quantity", known & ~found),
            ("no_such_series", known & found & ~there),
        )
        if lost.any()
    ]
    kept = lines[known & found & there]
    start = steps.numbers(kept["period_start"], step)
    stop = steps.numbers(kept["period_end"] + pd.Timedelta(days=1), step) - 1
    kept = kept.assign(start=start, stop=stop)[["line", "source", "made_on", *KEYS, "start", "stop", "quantity"]]
    return kept.reset_index(drop=True), notes


def cells(lines: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what each line says of each cell: line, source, made_on, series_id, number, planned, share.

    In: lines as of ``usable``; estimates, one row a cell: series_id, the keys, number (of the period), estimate. ``planned``
    is the line's quantity in proportion to the estimates (in equal parts where those are all zero), ``share`` the part of
    the line it is. Lines with a period that no estimate covers are left out.
    """
    parts = []
    for named, some in lines.groupby([lines[name].notna() for name in KEYS]):
        by = [name for name, is_named in zip(KEYS, named, strict=True) if is_named]
        length = (some["stop"] - some["start"] + 1).to_numpy()
        spread = some.loc[some.index.repeat(length)].drop(columns=[name for name in KEYS if name not in by])
        spread["number"] = (
            spread["start"].to_numpy() + np.arange(len(spread)) - np.repeat(np.cumsum(length) - length, length)
        )
        wanted = estimates[["series_id", *by, "number", "estimate"]]
        parts.append(spread.merge(wanted, on=[*by, "number"], how="inner", validate="many_to_many"))
    columns = ["line", "source", "made_on", "series_id", "number", "planned", "share"]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
    out = pd.concat(parts, ignore_index=True)
    covered = out.groupby("line")["number"].transform("nunique") == out["stop"] - out["start"] + 1
    out = out[covered]
    size = out["estimate"].clip(lower=0.0)
    whole = size.groupby(out["line"]).transform("sum")
    equal = 1 / out.groupby("line")["number"].transform("size")
    out["share"] = (size / whole.where(whole > 0)).fillna(equal)
    out["planned"] = out["quantity"] * out["share"]
    return out[columns].reset_index(drop=True)


def newest(said: pd.DataFrame) -> pd.DataFrame:
    """Return one row a source and cell: what was said last, of the shortest span where two were said on one day."""
    order = said.sort_values(["made_on", "share", "line"])
    return order.drop_duplicates(["source", "series_id", "number"], keep="last")


def _begins(days: pd.Series, step: str) -> pd.Series:
    """Return which days are the first of a period; no day is none."""
    given = days.fillna(pd.Timestamp(0))
    if step in ("year", "quarter", "month"):
        month = given.dt.month - 1
        exact = (given.dt.day == 1) & (month % {"year": 12, "quarter": 3, "month": 1}[step] == 0)
    else:
        exact = (given.dt.dayofweek == 0) if step == "week" else pd.Series(True, index=days.index)
    return exact & days.notna()
