"""Plans of the sales force and outside forecasts as forecasters: their bias taken off, weighted by their record.

A source's line is compared with what came in all the cells it speaks of. What it has been too high or too low by (``bias``) is taken
off; then sources and the statistical forecast are combined by least squares of the errors of past forecasts, each
weight between 0 and 1 and all together at most 1 (C. Granger, R. Ramanathan, "Improved methods of combining forecasts",
Journal of Forecasting 3 (1984), 197-204, method B, with weights kept from being negative). A source heard in fewer than
``NEED`` periods has no weight, one heard in n of them n / (n + NEED) of what least squares gives.

Plans are made by month or quarter: combine them with monthly forecasts. A weekly forecast is not changed by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from crmlib.errors import DataError
from crmlib.models.demand import backtest, plan_cells, steps

NEED = 4
"""Periods in which a source must have been heard before it counts."""


@dataclass(frozen=True)
class Judged:
    """What plans do to forecasts.

    Attributes: ``forecasts``, the forecast table with mean (combined), statistical (the mean before), plans (the share of
    what was said in it, 0 to 1), and a column "plan SOURCE" for each source (its word, bias taken off); ``sources``, as of
    ``sources``, with weight; ``notes``, codes of what was left out.
    """

    forecasts: pd.DataFrame
    sources: pd.DataFrame
    notes: list[dict[str, Any]]


def record(plans: pd.DataFrame, series: pd.DataFrame, *, step: str = "month") -> pd.DataFrame:
    """Return each line of the plans beside what came: source, made_on, start, end, planned, actual, weight, series, code.

    In: plans (source, made_on, product_id, region, period_start, period_end, quantity), a series table. Only lines whose
    periods are all there. ``weight`` is the share of the actual quantity that tells demand; ``code`` is "" for a line that
    counts, "late" for one made when its period had begun, "replaced" for one said anew in time.
    """
    lines, _ = plan_cells.usable(plans, series, step=step)
    weight = series["weight"].to_numpy(float) if "weight" in series else np.ones(len(series))
    known = series.assign(estimate=series["quantity"], number=steps.numbers(series["period"], step), weight=weight)
    said = plan_cells.cells(lines, known)
    told = said.merge(
        known[["series_id", "number", "quantity", "weight"]], on=["series_id", "number"], validate="many_to_one"
    )
    told["seen"] = told["quantity"].abs() * told["weight"]
    sums = told.groupby("line").agg(
        actual=("quantity", "sum"),
        size=("quantity", lambda values: values.abs().sum()),
        seen=("seen", "sum"),
        series=("series_id", "nunique"),
    )
    out = lines.merge(sums, on="line", how="inner", validate="one_to_one")
    begin, end = (pd.to_datetime(steps.moments(out[name].to_numpy(int), step)) for name in ("start", "stop"))
    out = out.assign(weight=(out["seen"] / out["size"].where(out["size"] > 0)).fillna(0.0), begin=begin, end=end)
    late = out["made_on"] >= out["begin"]
    last = (
        out[~late]
        .sort_values(["made_on", "line"])
        .drop_duplicates(["source", *plan_cells.KEYS, "start", "stop"], keep="last")
    )
    code = np.where(late, "late", np.where(out["line"].isin(last["line"]), "", "replaced"))
    out = out.drop(columns="start").assign(code=code).rename(columns={"quantity": "planned", "begin": "start"})
    return out[["source", "made_on", *plan_cells.KEYS, "start", "end", "planned", "actual", "weight", "series", "code"]]


def sources(record: pd.DataFrame, *, known_at: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return each source's bias: source, lines, periods, bias, low, high, taken_off, wape, wape_debiased, code, found, need.

    In: what ``record`` returned; of spans whose last period began no later than ``known_at``, where given. ``bias`` is planned
    over actual less 1, with a 95% interval (the lines of one span err together); ``taken_off`` is the bias shrunk towards none
    by how unsure it is. ``code`` is "short_record" below ``NEED`` spans (found, need): then nothing is taken off.
    """
    rows = record[(record["code"] == "") & (record["weight"] > 0)]
    if known_at is not None:
        rows = rows[rows["end"] <= known_at]
    found = [_bias(str(source), rows[rows["source"] == source]) for source in sorted(record["source"].unique())]
    columns = ["source", "lines", "periods", "bias", "low", "high", "taken_off", "wape", "wape_debiased"]
    return pd.DataFrame(found, columns=[*columns, "code", "found", "need"])


def rolling(table: pd.DataFrame, plans: pd.DataFrame, series: pd.DataFrame, *, step: str = "month") -> pd.DataFrame:
    """Return a back test with what plans would have made of it: with_plans, plans (their share) and "plan SOURCE" (bias taken off).

    In: a back test of one level and the series it was made of. At each origin only plans made by its end count, biases
    and weights come from periods up to the origin. The first origins, which know too little, keep the statistical forecast.
    """
    told = _told(table, plans, series, step=step)
    names = _plans(told)
    parts = []
    for origin, rows in told.groupby("origin", sort=True):
        weights, _ = _weights(told[told["period"] <= origin], names)
        parts.append(_combined(rows, weights, "forecast"))
    found = pd.concat(parts).reindex(table.index)
    combined = {name: found[name] for name in ("with_plans", "plans")}
    return table.assign(**combined, **{name: told[name] for name in names})


def combine(
    forecasts: pd.DataFrame, plans: pd.DataFrame, series: pd.DataFrame, table: pd.DataFrame, *, step: str = "month"
) -> Judged:
    """Return forecasts combined with plans, by the record of both.

    In: a forecast table of one level, all plans, the series table, and a back test of the same method (``table``) from
    which the weights come. Intervals and quantiles move with their mean and keep their width. Without a source of
    enough record the forecasts stay as they are, and ``sources`` says what was missing.
    """
    backtest.check(forecasts, ["series_id", "period", "mean"], what="forecast")
    last = series["period"].max()
    past = _told(table, plans, series, step=step)
    names = _plans(past)
    weights, heard = _weights(past, names)
    now = _told(forecasts.assign(origin=last, forecast=forecasts["mean"]), plans, series, step=step)
    now = _combined(now.reindex(columns=[*now.columns, *(n for n in names if n not in now)]), weights, "forecast")
    moved = now["with_plans"] - forecasts["mean"]
    ends = {name: forecasts[name] + moved for name in backtest.quantile_columns(forecasts)}
    if (series["quantity"] >= 0).all():
        ends = {name: values.clip(lower=0) for name, values in ends.items()}
    columns = {"statistical": forecasts["mean"], "mean": now["with_plans"], "plans": now["plans"], **ends}
    out = forecasts.assign(**columns, **{name: now[name] for name in names})
    kept = sources(record(plans, series, step=step), known_at=last)
    at = kept["source"].radd("plan ")
    kept["weight"] = at.map(weights).fillna(0.0)
    kept["found"] = np.minimum(kept["found"], at.map(heard).fillna(0)).astype(int)
    kept["code"] = np.where(kept["found"] < NEED, "short_record", "")
    kept["wape_statistical"], kept["wape_of_plan"] = (
        at.map(_errors(past, names, which)) for which in ("forecast", "plan")
    )
    return Judged(out, kept, plan_cells.usable(plans, series, step=step)[1])


def _told(table: pd.DataFrame, plans: pd.DataFrame, series: pd.DataFrame, *, step: str) -> pd.DataFrame:
    """Return rows of origins with a column "plan SOURCE" each: what it had said by the origin, its known bias taken off."""
    backtest.check(table, ["series_id", "origin", "period", "forecast"])
    if table.duplicated(["series_id", "origin", "period"]).any():
        twice = table.loc[table.duplicated(["series_id", "origin", "period"]), "series_id"].iloc[0]
        raise DataError(
            f"forecasts: series {twice!r} has two rows of one origin and period; give one level and one method"
        )
    lines, _ = plan_cells.usable(plans, series, step=step)
    compared = record(plans, series, step=step)
    named = [name for name in plan_cells.KEYS if name in series]
    known = series[["series_id", *named]].assign(
        number=steps.numbers(series["period"], step), estimate=series["quantity"]
    )
    keys = known[["series_id", *named]].drop_duplicates()
    numbered = table.assign(number=steps.numbers(table["period"], step))
    parts = [numbered]
    for origin, rows in numbered.groupby("origin", sort=True):
        when = pd.Timestamp(str(origin))
        at = int(steps.numbers(pd.Series([when]), step)[0])
        future = rows[["series_id", "number", "forecast"]].rename(columns={"forecast": "estimate"})
        future = future.merge(keys, on="series_id", validate="many_to_one")
        past = known[(known["number"] <= at) & known["series_id"].isin(rows["series_id"])]
        heard = lines[lines["made_on"] < pd.Timestamp(steps.moments(np.array([at + 1]), step)[0])]
        said = plan_cells.newest(plan_cells.cells(heard, pd.concat([past, future])))
        off = sources(compared, known_at=when).set_index("source")["taken_off"]
        said["planned"] /= 1 + said["source"].map(off).fillna(0.0)
        wide = said.pivot(index=["series_id", "number"], columns="source", values="planned").add_prefix("plan ")
        place = pd.MultiIndex.from_frame(rows[["series_id", "number"]])
        parts.append(wide.reindex(place).set_axis(rows.index))
    found = pd.concat(parts[1:]).reindex(table.index)
    return numbered.drop(columns="number").assign(**{name: found[name] for name in _plans(found)})


def _plans(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table if str(name).startswith("plan ")]


def _weights(past: pd.DataFrame, names: list[str]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the weight of each source, and in how many periods it was heard, from rows of a back test that are known."""
    rows = past[(past["weight"] > 0) & past["actual"].notna()] if len(names) else past.iloc[:0]
    heard = {name: int(rows.loc[rows[name].notna(), "period"].nunique()) for name in names}
    enough = [name for name in names if heard[name] >= NEED]
    if not enough:
        return {}, heard
    size = rows["scale"] if "scale" in rows else pd.Series(np.nan, rows.index)
    size = (
        size.where(size > 0).fillna(rows["actual"].abs().groupby(rows["series_id"]).transform("mean")).clip(lower=1e-9)
    )
    root = np.sqrt(rows["weight"]) / size
    away = rows[enough].sub(rows["forecast"], axis=0).mul(root, axis=0).fillna(0.0).to_numpy()
    wrong = ((rows["actual"] - rows["forecast"]) * root).to_numpy()
    found = optimize.lsq_linear(away, wrong, bounds=(0, 1)).x
    return {n: float(w) * heard[n] / (heard[n] + NEED) for n, w in zip(enough, found, strict=True)}, heard


def _combined(rows: pd.DataFrame, weights: dict[str, float], name: str) -> pd.DataFrame:
    """Return rows with with_plans and plans; where the weights of those who spoke exceed 1, they are scaled to 1."""
    if not weights:
        return rows.assign(with_plans=rows[name], plans=0.0)
    spoke = rows[list(weights)].notna()
    each = spoke * pd.Series(weights)
    total = each.sum(axis=1)
    each = each.div(np.maximum(total, 1.0), axis=0)
    added = rows[list(weights)].sub(rows[name], axis=0).fillna(0.0) * each
    return rows.assign(with_plans=rows[name] + added.sum(axis=1), plans=each.sum(axis=1))


def _errors(past: pd.DataFrame, names: list[str], which: str) -> dict[str, float]:
    """Return the WAPE of the statistical forecast or of each source over the cells of which the source had spoken."""
    out = {}
    for name in names:
        rows = past[past[name].notna() & (past["weight"] > 0) & past["actual"].notna()]
        wrong = (rows[name if which == "plan" else "forecast"] - rows["actual"]).abs() * rows["weight"]
        wanted = float((rows["actual"].abs() * rows["weight"]).sum())
        out[name] = float(wrong.sum()) / wanted if wanted > 0 else np.nan
    return out


def _bias(source: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the row of one source: a ratio of sums, its variance by spans (W. Cochran, Sampling Techniques, 3rd edition, section 6.3)."""
    actual, planned = rows["actual"] * rows["weight"], rows["planned"] * rows["weight"]
    spans = rows.groupby(["start", "end"]).ngroups if len(rows) else 0
    out: dict[str, Any] = {"source": source, "lines": len(rows), "periods": spans, "taken_off": 0.0}
    out |= {"code": "short_record" if spans < NEED else "", "found": spans, "need": NEED}
    wanted = float(actual.sum())
    if wanted <= 0:
        return out | dict.fromkeys(("bias", "low", "high", "wape", "wape_debiased"), np.nan)
    bias = float(planned.sum()) / wanted - 1
    left = (planned - (1 + bias) * actual).groupby([rows["start"], rows["end"]]).sum()
    error = float(np.sqrt((left**2).sum() * spans / (spans - 1))) / wanted if spans > 1 else np.nan
    half = float(stats.t.ppf(0.975, spans - 1)) * error if spans > 1 else np.nan
    if spans >= NEED and bias:
        out["taken_off"] = bias * max(0.0, 1 - (error / bias) ** 2)
    debiased = planned / (1 + out["taken_off"])
    out |= {"bias": bias, "low": bias - half, "high": bias + half}
    return out | {
        "wape": float((planned - actual).abs().sum()) / wanted,
        "wape_debiased": float((debiased - actual).abs().sum()) / wanted,
    }
