"""What `crm demand` forecasts of one step of time: all levels together, tested on past days, made to add up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from crmlib.errors import DataError
from crmlib.models import demand
from crmlib.models.demand import backtest, calendar, judgement, recalibrate, reconcile
from crmlib.models.demand.hierarchy import Structure
from crmlib.models.demand.judgement import Judged
from crmlib.runs import demand_days, demand_nodes
from crmlib.runs.demand_nodes import Grid
from crmlib.warehouse.snapshot import Snapshot

MOST_SERIES = 5000
"""Series of products by region above which these are left to their sums."""
_STATISTICAL = ("seasonal_naive", "theta", "smoothing")
_DAILY = ("seasonal_naive", "theta")
_OUTLET_QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a grid.

    Attributes: ``forecasts`` (with reconciled, the method that made levels add up, "" for none); ``series`` all treated
    series and ``future`` what is known ahead, with level; ``tested`` the back test (a column for each step: naive, statistical,
    with_plans, reconciled, as_weeks, and forecast, what is used); ``weights`` (level, method, weight); ``coherence`` (step, level, method,
    wape, chosen); ``judged`` what plans do, None without; ``missing`` (part, why); ``notes`` of the forecaster, codes.
    """

    grid: Grid
    forecasts: pd.DataFrame
    series: pd.DataFrame
    future: pd.DataFrame
    tested: pd.DataFrame
    weights: pd.DataFrame
    coherence: pd.DataFrame
    judged: Judged | None
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[dict[str, Any], ...] = ()


def grids(source: str) -> tuple[Grid, ...]:
    """Return what is forecast of a source: weeks, months and outlet-days of a supplier, months of contracts."""
    of_week: dict[str, tuple[str, ...]] = {
        "total_week": (),
        "region_week": ("region",),
        "product_week": ("product_id",),
        "product_region_week": ("product_id", "region"),
    }
    of_month = {name.replace("week", "month"): keys for name, keys in of_week.items()}
    if source == "contracts":  # no price or promotion to learn from: trees would find nothing that is worth their time
        return (Grid("month", of_month, horizon=6, origins=6, every=1, methods=_STATISTICAL),)
    months = Grid("month", of_month, horizon=6, origins=6, every=1)
    weeks = Grid("week", of_week, horizon=8, origins=3, every=4)
    if source == "orders":
        return weeks, months
    # Hundreds of series of days, which follow the weeks: trees would cost five times as much, smoothing twice, and both
    # took next to nothing off the loss of validation.
    days = Grid(
        "day",
        {"outlet_product_day": ("outlet_id", "product_id")},
        horizon=14,
        origins=2,
        every=14,
        learned=400,
        kept=182,
        methods=_DAILY,
        quantiles=_OUTLET_QUANTILES,
    )
    return weeks, months, days


def make(
    snapshot: Snapshot,
    grid: Grid,
    built: Mapping[str, pd.DataFrame],
    *,
    source: str,
    plans: pd.DataFrame,
    seed: int,
    weeks: Made | None = None,
) -> Made:
    """Return the forecasts of all levels of a grid, tested, combined with plans where these are by month, made to add up.

    In: the tables of ``series.build_levels`` by level; ``plans`` as in the snapshot; for days, what was made of ``weeks``, which
    they then follow. Series that ended before the newest period are not forecast. Raises DataError where the history is too
    short for any forecast.
    """
    missing: list[tuple[str, str]] = []
    grid = _bearable(grid, built, missing)
    living, structure = demand_nodes.living(grid, built)
    nodes = demand_nodes.nodes_of(grid, built, living, structure)
    known = demand_nodes.known_ahead(snapshot, nodes, grid, source)
    panel = demand_nodes.joined(nodes)
    fitted = demand.fit(panel, horizon=grid.horizon, step=grid.step, methods=grid.methods, seed=seed)
    base = demand_nodes.split(fitted.forecast(quantiles=grid.quantiles, future=demand_nodes.joined(known)))
    tested = _tested(snapshot, grid, nodes, source=source, seed=seed, missing=missing)
    forecasts, coherence, judged = base.assign(reconciled=""), pd.DataFrame(), None
    if len(tested):
        tested = tested.assign(statistical=tested["forecast"])
        if grid.step == "month" and len(plans):
            forecasts, tested, judged = _with_plans(
                grid, forecasts, tested, plans=plans, series=built[grid.bottom], missing=missing
            )
        if structure is not None:
            forecasts, tested, coherence = _adding_up(grid, forecasts, tested, structure, missing)
    forecasts = demand_nodes.ordered(forecasts, nodes, grid)
    if weeks is not None and grid.step == "day":
        forecasts, tested = _following(snapshot, forecasts, tested, weeks, source=source, seed=seed, missing=missing)
    weights = _weights(fitted, grid)
    return Made(grid, forecasts, nodes, known, tested, weights, coherence, judged, missing, fitted.notes)


def _bearable(grid: Grid, built: Mapping[str, pd.DataFrame], missing: list[tuple[str, str]]) -> Grid:
    """Return a grid without regions where products × regions would be more series than one machine should bear."""
    number = built[grid.bottom]["series_id"].nunique()
    if number <= MOST_SERIES or len(grid.levels) == 1:
        return grid
    why = f"{grid.bottom} has {number:,} series (most: {MOST_SERIES:,}); forecast are products and their total"
    missing.append((f"levels:{grid.step}", why))
    return replace(grid, levels={name: keys for name, keys in grid.levels.items() if "region" not in keys})


def _weights(fitted: demand.Forecaster, grid: Grid) -> pd.DataFrame:
    """Return the weights of the methods for the commonest kind of series, the same for all levels of a grid."""
    found = fitted.weights
    kind = found.groupby("kind", sort=False)["cases"].max().idxmax()
    own = found[found["kind"] == kind][["method", "weight", "loss", "cases"]]
    return pd.concat([own.assign(level=level) for level in grid.levels], ignore_index=True)


# ---------------------------------------------------------------- tested on past days


def _tested(
    snapshot: Snapshot, grid: Grid, nodes: pd.DataFrame, *, source: str, seed: int, missing: list[tuple[str, str]]
) -> pd.DataFrame:
    """Return the back test of all levels: at each origin all is learned anew, from what was known then."""

    def method(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
        own = demand_nodes.split(train)
        last = calendar.ends(pd.DatetimeIndex([own["period"].max()]), grid.step)[0].date()
        then = _as_of(snapshot, last)
        known = demand_nodes.joined(demand_nodes.known_ahead(then, own, grid, source))
        fitted = demand.fit(train, horizon=horizon, step=grid.step, methods=grid.methods, seed=seed)
        return fitted.forecast(quantiles=grid.quantiles, future=known)

    asked = {"horizon": grid.horizon, "step": grid.step, "every": grid.every}
    for origins in range(grid.origins, 0, -1):
        try:
            found = backtest.rolling(demand_nodes.joined(nodes), method, origins=origins, **asked)  # type: ignore[arg-type]
        except DataError as error:
            why = str(error)
            continue
        return demand_nodes.split(found)
    missing.append((f"errors:{grid.bottom}", f"{grid.step}s: {why}"))
    return pd.DataFrame()


def _as_of(snapshot: Snapshot, day: dt.date) -> Snapshot:
    return snapshot.warehouse.snapshot(day)


# ---------------------------------------------------------------- plans, and adding up


def _with_plans(
    grid: Grid,
    forecasts: pd.DataFrame,
    tested: pd.DataFrame,
    *,
    plans: pd.DataFrame,
    series: pd.DataFrame,
    missing: list[tuple[str, str]],
) -> tuple[pd.DataFrame, pd.DataFrame, Judged | None]:
    """Return forecasts and back test with the plans in the bottom series, by their record, and what is known of them."""
    own, past = forecasts["level"] == grid.bottom, tested["level"] == grid.bottom
    try:
        judged = judgement.combine(forecasts[own], plans, series, tested[past], step=grid.step)
        with_plans = judgement.rolling(tested[past], plans, series, step=grid.step)["with_plans"]
    except DataError as error:
        missing.append(("plans", str(error)))
        return forecasts, tested, None
    names = [name for name in forecasts if name in judged.forecasts]
    forecasts = pd.concat([forecasts[~own], judged.forecasts[names]], ignore_index=True)
    used = tested["forecast"].where(~past, with_plans.reindex(tested.index))
    ends = {name: tested[name] + used - tested["forecast"] for name in backtest.quantile_columns(tested)}
    return forecasts, tested.assign(with_plans=used, forecast=used, **ends), judged


def _adding_up(
    grid: Grid, forecasts: pd.DataFrame, tested: pd.DataFrame, structure: Structure, missing: list[tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return forecasts and back test that add up over all levels, by the method that did best, and how each method did."""
    methods: tuple[str, ...] = reconcile.METHODS
    if len(structure.nodes) > reconcile.MOST_NODES:
        methods = tuple(name for name in methods if name != "mint")
        why = f"mint is not tried on {len(structure.nodes):,} series of all levels (most: {reconcile.MOST_NODES:,})"
        missing.append((f"coherence:{grid.step}", f"{grid.step}s: {why}"))
    try:
        choice = reconcile.choose(tested, structure, methods=methods)
    except DataError as error:
        # Too few origins to learn from: what needs no errors still makes all add up.
        missing.append((f"coherence:{grid.step}", str(error)))
        moved = reconcile.rolling(tested, structure, methods=("ols",))
        choice = reconcile.Choice("ols", reconcile.compare(moved), pd.DataFrame(), tested["origin"].nunique())
    moved = reconcile.rolling(tested, structure, methods=(choice.method,))
    moved = moved[moved["reconciled"] == choice.method]
    errors = reconcile.errors(tested, structure)
    out = reconcile.reconcile(forecasts, structure, method=choice.method, errors=errors)
    out, moved = _with_tested_width(out, moved, grid.step, missing)
    table = choice.table.rename(columns={"reconciled": "method"})[["level", "method", "wape", "bias", "change"]]
    table = table.assign(step=grid.step, chosen=table["method"] == choice.method)
    used = moved.assign(reconciled=moved["forecast"])
    return out.drop(columns="base"), used, table


def _following(
    snapshot: Snapshot,
    forecasts: pd.DataFrame,
    tested: pd.DataFrame,
    weeks: Made,
    *,
    source: str,
    seed: int,
    missing: list[tuple[str, str]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return forecasts and back test of days moved to the level of the weeks; at each origin, of the weeks forecast then."""
    outlets = snapshot.table("outlets", ["outlet_id", "region"])
    ahead = weeks.forecasts[weeks.forecasts["level"] == demand_days.LEVEL]
    forecasts = demand_days.follow(forecasts, ahead, outlets).assign(reconciled="weeks")
    parts = []
    for origin in tested["origin"].unique() if len(tested) else ():
        rows = tested[tested["origin"] == origin]
        horizon = int(rows["ahead"].max())
        try:
            then = demand_days.weeks_then(
                _as_of(snapshot, origin.date()), weeks.grid, weeks.series, horizon=horizon, source=source, seed=seed
            )
        except DataError as error:
            missing.append(("weeks", str(error)))
            return forecasts, pd.DataFrame()
        moved = demand_days.follow(rows.rename(columns={"forecast": "mean"}), then, outlets)
        parts.append(moved.rename(columns={"mean": "forecast"}))
    if not parts:
        return forecasts, tested
    forecasts, moved = _with_tested_width(forecasts, pd.concat(parts).loc[tested.index], "day", missing)
    return forecasts, moved.assign(as_weeks=moved["forecast"])


def _with_tested_width(
    forecasts: pd.DataFrame, moved: pd.DataFrame, step: str, missing: list[tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return forecasts with intervals as wide as the back test says, and the back test with those its other origins say."""
    try:
        forecasts = recalibrate.widen(forecasts, recalibrate.factors(moved))
        return forecasts, recalibrate.crossed(moved)
    except DataError as error:
        missing.append((f"intervals:{step}", str(error)))
        return forecasts, moved
