"""What `crm demand` forecasts of one step of time: all levels together, tested on past days, made to add up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models import demand
from crmlib.models.demand import backtest, calendar, future, hierarchy, judgement, recalibrate, reconcile
from crmlib.models.demand.hierarchy import Structure
from crmlib.models.demand.judgement import Judged
from crmlib.warehouse.snapshot import Snapshot

KEYS = ("product_id", "product_group", "region", "outlet_id", "customer_id")
"""Key columns of every table saved; "" where a series is a sum over them."""
_JOIN = "\x1f"  # between level and series where both are one name: no name has it
_STATISTICAL = ("seasonal_naive", "theta", "smoothing")
_RECENT = 8  # periods that say how the parts of a sum weigh in its price
_OUTLET_QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Grid:
    """One step of time to be forecast.

    Attributes: ``step``; ``levels`` by name with their keys, the bottom last; ``horizon``; the back test has at most so many
    ``origins``, ``every`` so many periods; ``learned`` periods of history at most (0: all) and ``kept`` of them saved;
    ``methods`` tried (None: all that suit); ``quantiles``.
    """

    step: str
    levels: Mapping[str, tuple[str, ...]]
    horizon: int
    origins: int
    every: int
    learned: int = 0
    kept: int = 0
    methods: tuple[str, ...] | None = None
    quantiles: tuple[float, ...] = ()

    @property
    def bottom(self) -> str:
        """The level that all others are sums of."""
        return list(self.levels)[-1]


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a grid.

    Attributes: ``forecasts`` (with reconciled, the method that made levels add up, "" for none); ``series`` all treated
    series and ``future`` what is known ahead, with level; ``tested`` the back test (a column for each step: naive, statistical,
    with_plans, reconciled, and forecast, what is used); ``weights`` (level, method, weight); ``coherence`` (step, level, method,
    wape, chosen); ``judged`` what plans do, None without; ``missing`` (part, why).
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
        return (Grid("month", of_month, horizon=6, origins=3, every=2, methods=_STATISTICAL),)
    months = Grid("month", of_month, horizon=6, origins=3, every=2)
    weeks = Grid("week", of_week, horizon=8, origins=3, every=4)
    if source == "orders":
        return weeks, months
    # Hundreds of series of days: trees would cost five times as much and took off a fiftieth of the error.
    days = Grid(
        "day",
        {"outlet_product_day": ("outlet_id", "product_id")},
        horizon=14,
        origins=2,
        every=14,
        learned=400,
        kept=182,
        methods=_STATISTICAL,
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
) -> Made:
    """Return the forecasts of all levels of a grid, tested, combined with plans where these are by month, made to add up.

    In: the tables of ``series.build_levels`` by level; ``plans`` as in the snapshot. Series that ended before the newest period
    are not forecast. Raises DataError where the history is too short for any forecast.
    """
    living, structure = _living(grid, built)
    nodes = _nodes(grid, built, living, structure)
    known = _known_ahead(snapshot, nodes, grid, source)
    fitted = demand.fit(_joined(nodes), horizon=grid.horizon, step=grid.step, methods=grid.methods, seed=seed)
    base = _split(fitted.forecast(quantiles=grid.quantiles, future=_joined(known)))
    missing: list[tuple[str, str]] = []
    tested = _tested(snapshot, grid, nodes, source=source, seed=seed, missing=missing)
    forecasts, judged = base.assign(reconciled=""), None
    if len(tested):
        tested = tested.assign(statistical=tested["forecast"])
        if grid.step == "month" and len(plans):
            forecasts, tested, judged = _with_plans(
                grid, forecasts, tested, plans=plans, series=built[grid.bottom], missing=missing
            )
        if structure is not None:
            forecasts, tested, coherence = _adding_up(grid, forecasts, tested, structure, missing)
            return Made(
                grid,
                _ordered(forecasts, nodes, grid),
                nodes,
                known,
                tested,
                _weights(fitted, grid),
                coherence,
                judged,
                missing,
            )
    return Made(
        grid,
        _ordered(forecasts, nodes, grid),
        nodes,
        known,
        tested,
        _weights(fitted, grid),
        pd.DataFrame(),
        judged,
        missing,
    )


# ---------------------------------------------------------------- series of all levels


def _living(grid: Grid, built: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, Structure | None]:
    """Return the bottom series that reach the newest period, and how they add up."""
    bottom = built[grid.bottom]
    last = bottom["period"].max()
    living = bottom[bottom["series_id"].isin(bottom.loc[bottom["period"] == last, "series_id"])]
    return living, hierarchy.structure(living, grid.levels) if len(grid.levels) > 1 else None


def _nodes(
    grid: Grid, built: Mapping[str, pd.DataFrame], living: pd.DataFrame, structure: Structure | None
) -> pd.DataFrame:
    """Return the series of all levels that are forecast, the total first, their ids as the structure has them."""
    tables = []
    for level, columns in grid.levels.items():
        rows = living if level == grid.bottom else built[level]
        rows = rows if columns else rows.assign(series_id=hierarchy.TOTAL)
        if structure is not None:
            there = structure.nodes.loc[structure.nodes["level"] == level, "series_id"]
            rows = rows[rows["series_id"].isin(there)]
        if grid.learned:
            rows = rows[rows["period"].isin(np.sort(rows["period"].unique())[-grid.learned :])]
        tables.append(rows.assign(level=level))
    out = pd.concat(tables, ignore_index=True)
    return with_keys(out.astype({"series_id": "str"}))


def with_keys(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with all of ``KEYS``, "" where it has none."""
    keys = {name: table[name].fillna("").astype("str") if name in table else "" for name in KEYS}
    out = table.assign(**keys)
    first = ["level", "series_id", *KEYS]
    return out[[*first, *[name for name in out if name not in first]]].astype(dict.fromkeys(KEYS, "str"))


def _known_ahead(snapshot: Snapshot, nodes: pd.DataFrame, grid: Grid, source: str) -> pd.DataFrame:
    """Return what the snapshot knows of the periods ahead: read for the bottom series, brought together for their sums."""
    bottom = nodes[nodes["level"] == grid.bottom]
    columns = list(grid.levels[grid.bottom])
    told = future.known(
        snapshot, bottom[["series_id", *columns, "period"]], horizon=grid.horizon, step=grid.step, source=source
    )
    recent = bottom.groupby("series_id")["quantity"].apply(lambda sold: max(float(sold.tail(_RECENT).mean()), 1e-9))
    parts = [told.assign(level=grid.bottom)]
    for level, keys in list(grid.levels.items())[:-1]:
        parts.append(_sum_known(told, told["series_id"].map(recent), keys).assign(level=level))
    return with_keys(pd.concat(parts, ignore_index=True))


def _sum_known(told: pd.DataFrame, pieces: pd.Series, keys: tuple[str, ...]) -> pd.DataFrame:
    """Return what is known of sums: promotion by open days, prices by the ``pieces`` sold of late, as in their history."""
    by = [told[name] for name in (*keys, "period")]
    out = told.groupby(by, sort=True).agg(ahead=("ahead", "first"), holiday=("holiday", "max")).reset_index()
    days = told["open_days"]
    outlets = "promotion" in told
    grouped = days.groupby(by, sort=True)
    out["open_days"] = (grouped.sum() if outlets else grouped.max()).to_numpy()
    if outlets:
        promoted = (told["promotion"] * days).groupby(by, sort=True).sum().to_numpy()
        out["promotion"] = promoted / np.maximum(out["open_days"], 1e-9)
        priced = pieces.where(told["price_minor"].notna(), 0.0)
        worth = (told["price_minor"].fillna(0.0) * priced).groupby(by, sort=True).sum().to_numpy()
        total = priced.groupby(by, sort=True).sum().to_numpy()
        out["price_minor"] = np.where(total > 0, worth / np.maximum(total, 1e-12), np.nan)
    ids = out[list(keys)].astype("str").agg("/".join, axis=1) if keys else hierarchy.TOTAL
    return out.assign(series_id=ids)


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose series_id holds the level too: one panel, from which all levels are learned together."""
    return table.drop(columns="level").assign(series_id=table["level"] + _JOIN + table["series_id"])


def _split(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of such ids with level and series_id apart."""
    parts = table["series_id"].astype("str").str.split(_JOIN, n=1, expand=True)
    return table.assign(level=parts[0].astype("str"), series_id=parts[1].astype("str"))


def _weights(fitted: demand.Forecaster, grid: Grid) -> pd.DataFrame:
    """Return the weights of the methods for the commonest kind of series, the same for all levels of a grid."""
    found = fitted.weights
    kind = found.groupby("kind", sort=False)["cases"].max().idxmax()
    own = found[found["kind"] == kind][["method", "weight", "loss", "cases"]]
    return pd.concat([own.assign(level=level) for level in grid.levels], ignore_index=True)


def _ordered(table: pd.DataFrame, nodes: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return a forecast table with the keys of its series, by level (the total first), series and period."""
    keys = nodes[["level", "series_id", *KEYS]].drop_duplicates(["level", "series_id"])
    place = {level: number for number, level in enumerate(grid.levels)}
    out = table.drop(columns=[name for name in KEYS if name in table])
    out = out.merge(keys, on=["level", "series_id"], how="left", validate="many_to_one")
    out = out.assign(place=out["level"].map(place)).sort_values(["place", "series_id", "period"], ignore_index=True)
    return with_keys(out.drop(columns="place"))


# ---------------------------------------------------------------- tested on past days


def _tested(
    snapshot: Snapshot, grid: Grid, nodes: pd.DataFrame, *, source: str, seed: int, missing: list[tuple[str, str]]
) -> pd.DataFrame:
    """Return the back test of all levels: at each origin all is learned anew, from what was known then."""

    def method(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
        own = _split(train)
        last = calendar.ends(pd.DatetimeIndex([own["period"].max()]), grid.step)[0].date()
        then = _as_of(snapshot, last)
        known = _joined(_known_ahead(then, own, grid, source))
        fitted = demand.fit(train, horizon=horizon, step=grid.step, methods=grid.methods, seed=seed)
        return fitted.forecast(quantiles=grid.quantiles, future=known)

    asked = {"horizon": grid.horizon, "step": grid.step, "every": grid.every}
    for origins in range(grid.origins, 0, -1):
        try:
            found = backtest.rolling(_joined(nodes), method, origins=origins, **asked)  # type: ignore[arg-type]
        except DataError as error:
            why = str(error)
            continue
        return _split(found)
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
    try:
        choice = reconcile.choose(tested, structure)
    except DataError as error:
        # Too few origins to learn from: what needs no errors still makes all add up.
        missing.append((f"coherence:{grid.step}", str(error)))
        moved = reconcile.rolling(tested, structure, methods=("ols",))
        choice = reconcile.Choice("ols", reconcile.compare(moved), pd.DataFrame(), tested["origin"].nunique())
    moved = reconcile.rolling(tested, structure, methods=(choice.method,))
    moved = moved[moved["reconciled"] == choice.method]
    errors = reconcile.errors(tested, structure)
    out = reconcile.reconcile(forecasts, structure, method=choice.method, errors=errors)
    try:
        out = recalibrate.widen(out, recalibrate.factors(moved))
    except DataError as error:
        missing.append((f"intervals:{grid.step}", str(error)))
    table = choice.table.rename(columns={"reconciled": "method"})[["level", "method", "wape", "bias", "change"]]
    table = table.assign(step=grid.step, chosen=table["method"] == choice.method)
    used = moved.assign(reconciled=moved["forecast"])
    return out.drop(columns="base"), used, table
