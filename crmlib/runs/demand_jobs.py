"""The job behind `crm demand`: series, forecasts of all levels, their test on past days, plans, overrides; saved together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest, series, treatment, value_added
from crmlib.runs import clock, demand_grids
from crmlib.runs.demand_grids import Made
from crmlib.runs.demand_nodes import Grid, with_keys
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import overrides, score_sets
from crmlib.warehouse.snapshot import Snapshot, parse_date

NAME = "demand"
VERSION = 1
"""Version of how it is computed, kept beside the forecasts as their model version."""
_PLAN_LEVELS = {
    ("product_id", "region"): "product_region_month",
    ("product_id",): "product_month",
    ("region",): "region_month",
    (): "total_month",
}
_SCORED = ("wape", "mase", "bias", "coverage_80", "coverage_95", "pinball")


def demand(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Forecast demand as of a day (default: the last record) at every level, test it on past days, save it; return the forecasts.

    Counted are sales of outlets, else orders with a product and quantity, else contracts opened. Returns the forecast table
    with level and key columns ("" in a sum over them) and reconciled (the method that made levels add up, or ""). Beside it
    the tables history, future, errors, accuracy, weights, coherence, judgement, plans, value_added, overrides, treatment, levels,
    missing (what could not be said, and why) and notes (of the forecasters: step, code, parameters as JSON). Raises DataError where nothing can be forecast.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(parse_date(as_of) if as_of else last_day(wh))
    source = source_of(snapshot)
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version, "source": source}
    with recorded(data, NAME, parameters, warehouse_version=wh.version) as run_id:
        grids = demand_grids.grids(source)
        with stages.stage("series", f"demand from {source} as of {snapshot.as_of}") as stage:
            levels = {level: (keys, grid.step) for grid in grids for level, keys in grid.levels.items()}
            built = series.build_levels(snapshot, levels, source=source)
            stage.say(
                f"{sum(table['series_id'].nunique() for table in built.values()):,} series of {len(built)} levels"
            )
        plans = snapshot.table("plans")
        made: list[Made] = []
        missing: list[tuple[str, str]] = []
        for grid in grids:
            with stages.stage(grid.step, f"forecasts of {grid.horizon} {grid.step}s") as stage:
                try:
                    weeks = next((one for one in made if one.grid.step == "week"), None)
                    made.append(
                        demand_grids.make(snapshot, grid, built, source=source, plans=plans, seed=seed, weeks=weeks)
                    )
                    stage.say(_told(made[-1]))
                except DataError as error:
                    missing.append((grid.step, str(error)))
                    stage.say(str(error))
        if not made:
            raise DataError(missing[0][1])
        with stages.stage("save", "forecasts and what was learned of them") as stage:
            forecasts = pd.concat([one.forecasts for one in made], ignore_index=True)
            beside = _beside(data, made, built, plans=plans, source=source, missing=missing)
            score_sets.save(
                forecasts,
                data=data,
                model=NAME,
                model_version=VERSION,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=beside,
                run_id=run_id,
            )
            stage.say(f"{len(forecasts):,} forecasts, {len(beside)} tables beside them")
    return forecasts


def source_of(snapshot: Snapshot) -> str:
    """Return what demand is counted from: "outlet_sales", "orders" or "contracts", the first of which there are records.

    Raises DataError where there is none.
    """
    for name, table, wanted in (
        ("outlet_sales", "outlet_sales", ("product_id", "quantity")),
        ("orders", "transactions", ("product_id", "quantity")),
        ("contracts", "holdings", ("product_id", "opened_on")),
    ):
        rows = snapshot.select(table).subquery("rows")
        there = [rows.c[column].is_not(None) for column in wanted]
        if len(snapshot.warehouse.read(sa.select(rows.c.product_id).where(*there).limit(1))):
            return name
    raise DataError(
        "outlet_sales, transactions and holdings hold nothing to forecast (found 0 rows with a product, need 1); load sales of "
        "outlets, orders with product_id and quantity, or contracts"
    )


def _told(made: Made) -> str:
    words = f"{made.forecasts.groupby('level')['series_id'].nunique().sum():,} series"
    if made.tested.empty:
        return f"{words}, not tested: {made.missing[-1][1]}"
    found = backtest.report(_bottom(made)).iloc[0]
    return f"{words}; error (WAPE) of {made.grid.bottom} {found['wape']:.1%}, as a year ago {found['wape_naive']:.1%}"


def _bottom(made: Made) -> pd.DataFrame:
    return made.tested[made.tested["level"] == made.grid.bottom]


# ---------------------------------------------------------------- what is saved beside the forecasts


def _beside(
    data: Path,
    made: Sequence[Made],
    built: Mapping[str, pd.DataFrame],
    *,
    plans: pd.DataFrame,
    source: str,
    missing: list[tuple[str, str]],
) -> dict[str, pd.DataFrame]:
    """Return the tables beside the forecasts by name."""
    put = overrides.table(data)
    tested = pd.concat([one.tested for one in made], ignore_index=True)
    judged = next((one.judged for one in made if one.judged is not None), None)
    months = next((one for one in made if one.grid.step == "month"), None)
    if judged is None and not len(plans):
        missing.append(
            ("plans", "plans: found 0 plans or outside forecasts, need 1; load a table of plans to use them")
        )
    every = [*missing, *(part for one in made for part in one.missing)]
    return {
        "history": _kept(made),
        "future": pd.concat([one.future for one in made], ignore_index=True),
        "errors": with_keys(tested) if len(tested) else tested,
        "accuracy": _accuracy(made),
        "weights": pd.concat([one.weights for one in made], ignore_index=True),
        "coherence": pd.concat([one.coherence for one in made], ignore_index=True),
        "judgement": pd.DataFrame() if judged is None else _judgement(judged.sources),
        "plans": pd.DataFrame() if months is None or plans.empty else _plan_points(plans, months),
        "value_added": _value_added(made, put),
        "overrides": _override_worth(put, made),
        "treatment": pd.concat(
            [treatment.report(built[level]).assign(level=level) for level in built], ignore_index=True
        ),
        "levels": _levels(made, source),
        "missing": pd.DataFrame(every, columns=["part", "why"], dtype="str"),
        "notes": _notes(made),
    }


def _notes(made: Sequence[Made]) -> pd.DataFrame:
    rows = [(one.grid.step, str(note["code"]), json.dumps(note)) for one in made for note in one.notes]
    return pd.DataFrame(rows, columns=["step", "code", "parameters"], dtype="str")


def _kept(made: Sequence[Made]) -> pd.DataFrame:
    """Return the histories, of days the last ones only."""
    parts = []
    for one in made:
        rows = one.series
        if one.grid.kept:
            rows = rows[rows["period"].isin(np.sort(rows["period"].unique())[-one.grid.kept :])]
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _accuracy(made: Sequence[Made]) -> pd.DataFrame:
    """Return the error of each level by periods ahead (0: all together), each measure beside that of seasonal naive."""
    # Step by step: only days have quantiles, which count in the pinball loss where they are.
    tables = [one.tested for one in made if len(one.tested)]
    if not tables:
        return pd.DataFrame()
    found = [backtest.report(table, by=["level"]).assign(ahead=0) for table in tables]
    found += [backtest.report(table, by=["level", "ahead"]) for table in tables]
    names = [name for measure in _SCORED for name in (measure, f"{measure}_naive")]
    shown = ["level", "ahead", "series", "values", *names, "poor_80", "poor_95"]
    return pd.concat(found, ignore_index=True)[shown].astype({"ahead": "int64"})


def _judgement(sources: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of each source of plans: source, n (past periods), lines, bias, bias_low, bias_high, weight, wape …"""
    names = {"periods": "n", "low": "bias_low", "high": "bias_high"}
    return sources.rename(columns=names).assign(level="product_region_month")


def _plan_points(plans: pd.DataFrame, months: Made) -> pd.DataFrame:
    """Return the plans of single months, as they were said last: level, series_id, source, period, quantity."""
    begin, end = pd.to_datetime(plans["period_start"]), pd.to_datetime(plans["period_end"])
    whole = (begin.dt.day == 1) & (end == begin + pd.offsets.MonthEnd(0))
    keys = {name: plans[name].fillna("").astype("str") for name in ("product_id", "region")}
    rows = plans[["source", "made_on", "quantity"]].assign(**keys, period=begin)[whole]
    parts = []
    for columns, level in _PLAN_LEVELS.items():
        named = {name: rows[name] != "" for name in keys}
        own = rows[(named["product_id"] == ("product_id" in columns)) & (named["region"] == ("region" in columns))]
        if columns:
            ids = own[list(columns)].agg("/".join, axis=1) if len(own) else pd.Series(dtype="str")
        else:
            ids = pd.Series(_total(months), index=own.index)
        parts.append(own.assign(level=level, series_id=ids))
    found = pd.concat(parts).sort_values(["made_on", "period"])
    found = found.drop_duplicates(["level", "series_id", "source", "period"], keep="last")
    there = pd.MultiIndex.from_frame(months.forecasts[["level", "series_id"]].drop_duplicates())
    found = found[pd.MultiIndex.from_frame(found[["level", "series_id"]]).isin(there)]
    return found[["level", "series_id", "source", "period", "quantity"]].reset_index(drop=True)


def _total(made: Made) -> str:
    level = next(iter(made.grid.levels))
    return str(made.forecasts.loc[made.forecasts["level"] == level, "series_id"].iloc[0])


def _value_added(made: Sequence[Made], put: pd.DataFrame) -> pd.DataFrame:
    """Return what each step took off the error, level by level: level, step, wape, change, low, high, code."""
    parts = []
    for one in made:
        for level, rows in one.tested.groupby("level", sort=False) if len(one.tested) else ():
            steps = [
                name
                for name in ("statistical", "with_plans", "reconciled", "as_weeks")
                if name in rows and rows[name].notna().all()
            ]
            own = put[put["level"] == level]
            told = value_added.with_overrides(rows, own, step=steps[-1]) if len(own) else rows
            named = ["naive", *steps, *(["override"] if _changed(told, steps[-1]) else [])]
            try:
                parts.append(value_added.of_steps(told, steps=named).assign(level=level))
            except (DataError, UsageError) as error:
                one.missing.append((f"value_added:{level}", str(error)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _changed(rows: pd.DataFrame, step: str) -> bool:
    return "override" in rows and bool((rows["override"] != rows[step]).any())


def _override_worth(put: pd.DataFrame, made: Sequence[Made]) -> pd.DataFrame:
    """Return what the overrides of the past were worth, by level; no rows where none has met its period."""
    came = pd.concat([one.series for one in made], ignore_index=True)
    return value_added.of_overrides(put, came, by=["level"]) if len(put) else pd.DataFrame()


def _levels(made: Sequence[Made], source: str) -> pd.DataFrame:
    """Return the levels that were forecast: level, step, keys (joined by /), source, series, horizon."""
    rows = [_level(one.grid, level, source, one.forecasts) for one in made for level in one.grid.levels]
    return pd.DataFrame(rows, columns=["level", "step", "keys", "source", "series", "horizon"])


def _level(grid: Grid, level: str, source: str, forecasts: pd.DataFrame) -> tuple[object, ...]:
    number = forecasts.loc[forecasts["level"] == level, "series_id"].nunique()
    return level, grid.step, "/".join(grid.levels[level]), source, number, grid.horizon
