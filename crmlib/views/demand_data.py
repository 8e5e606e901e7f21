"""What the dashboard of demand shows: read once from what the jobs saved, free of widgets."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import NotFoundError
from crmlib.store import score_sets, session
from crmlib.store.tables import ScoreSet
from crmlib.warehouse import company as companies
from crmlib.warehouse.snapshot import Snapshot

MODEL, EFFECTS = "demand", "price_effects"
WHAT = ("product_id", "product_group")
WHERE = ("outlet_id", "customer_id", "region")
STEPS = ("half_hour", "hour", "day", "week", "month", "quarter", "year")
ALL = ""
"""The choice of everything together: all products, all regions."""
TABLES = (
    *("history", "future", "errors", "accuracy", "weights", "coherence", "judgement", "plans"),
    *("value_added", "overrides", "treatment", "levels", "missing", "notes"),
)
PAST_PERIODS = {"week": 52, "month": 12, "day": 91, "quarter": 4}
"""Periods of what the list of histories calls a year; of days, a quarter."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """One series, as a person chose it. Attributes: ``level`` and ``series_id``; ``keys`` its key columns and values.

    ``history``, ``forecast`` and ``future`` are its rows by period, ``plans`` those of the sales force for it.
    """

    level: str
    series_id: str
    keys: dict[str, str]
    history: pd.DataFrame
    forecast: pd.DataFrame
    future: pd.DataFrame
    plans: pd.DataFrame

    @property
    def step(self) -> str:
        """Return the step of time: "week", "month", "day" …"""
        return step_of(self.level)

    @property
    def product_id(self) -> str:
        """Return the product, "" for several."""
        return self.keys.get("product_id", "")

    @property
    def unsure(self) -> bool:
        """Whether the forecast has no interval."""
        return bool(self.forecast[["low_80", "high_95"]].isna().any(axis=None))

    @property
    def main(self) -> pd.Series | None:
        """The first row of the forecast that is not simply a closed day; None without a forecast."""
        if self.forecast.empty:
            return None
        row: pd.Series = self.forecast.iloc[int((self.forecast["reason"] != "closed").to_numpy().argmax())]
        return row


@dataclass(frozen=True, eq=False)
class Loaded:
    """What was saved about demand as of one day; made by ``load``.

    Attributes: ``score_set`` and ``forecast`` of the model "demand"; ``tables`` beside them by name, empty where a part could
    not be made, and ``missing`` why, by part; ``effects`` of price and promotion, None where `crm effects` has not run;
    ``cross`` what they do to other products; ``names`` of products and outlets by column and code; ``economics`` price and
    cost of a piece by product.
    """

    data: Path
    company: companies.Company
    score_set: ScoreSet
    forecast: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    missing: dict[str, str]
    effects: pd.DataFrame | None
    cross: pd.DataFrame | None
    effects_set: ScoreSet | None
    names: dict[str, dict[str, str]]
    economics: pd.DataFrame

    @property
    def as_of(self) -> dt.date:
        """The day that everything reaches to."""
        return self.score_set.as_of

    @property
    def source(self) -> str:
        """What was counted: "outlet_sales", "orders" or "contracts"."""
        found = self.tables["levels"]
        return str(found["source"].iloc[0]) if len(found) else "outlet_sales"

    @cached_property
    def levels(self) -> list[str]:
        """The levels that were forecast."""
        return sorted(self.forecast["level"].unique())

    @cached_property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The key columns that tell the series of each level apart: at most one of ``WHAT`` and one of ``WHERE``."""
        found = {}
        for level, rows in self.forecast.groupby("level"):
            filled = [
                [name for name in names if name in rows and (rows[name] != "").any()][:1] for names in (WHAT, WHERE)
            ]
            found[str(level)] = tuple(name for one in filled for name in one)
        return found

    @cached_property
    def steps(self) -> list[str]:
        """The steps of time that were forecast, weeks first: they are what is planned by."""
        found = {step_of(level) for level in self.levels}
        return sorted(found, key=lambda step: (step != "week", -STEPS.index(step) if step in STEPS else 0))

    def what(self, step: str) -> list[str]:
        """Return the products and groups that a step has: "column=value", or "" for all; all first, groups before products."""
        options = self._options[step]
        found = {option for option, _ in options}
        return sorted(
            found, key=lambda one: (one != ALL, not one.startswith("product_group"), self.name(one).casefold())
        )

    def where(self, step: str, what: str) -> list[str]:
        """Return the places that a product has at a step: "column=value", or "" for everywhere, which comes first."""
        found = {option for other, option in self._options[step] if other == what}
        return sorted(found, key=lambda one: (one != ALL, self.name(one).casefold()))

    def name(self, option: str) -> str:
        """Return the name of what an option stands for, as the company calls it."""
        column, _, value = option.partition("=")
        return self.names.get(column, {}).get(value, value)

    def choose(self, step: str, what: str, where: str) -> Chosen:
        """Return the series of a product and a place; raises NotFoundError where it was not forecast."""
        level, series_id = self._options.get(step, {}).get((what, where), ("", ""))
        if not level:
            raise NotFoundError(
                f"demand: no forecast of {what or 'all'} at {where or 'all'} by {step}; choose another one"
            )
        keys = dict(part.split("=", 1) for part in (what, where) if part)
        tables = {name: self._rows(name, level, series_id) for name in ("history", "future", "plans")}
        return Chosen(level, series_id, keys, forecast=self._rows("forecast", level, series_id), **tables)

    def option_of(self, level: str, series_id: str) -> tuple[str, str, str] | None:
        """Return step, what and where of a series; None for one that is not there."""
        step = step_of(level)
        for (what, where), found in self._options.get(step, {}).items():
            if found == (level, series_id):
                return step, what, where
        return None

    def accuracy(self, level: str) -> pd.DataFrame:
        """Return the error of a level by periods ahead: ahead, wape, mase, bias, coverage …; ahead 0 is all together."""
        found = self.tables["accuracy"]
        return found if found.empty else found[found["level"] == level].sort_values("ahead")

    def own_errors(self, chosen: Chosen) -> pd.DataFrame:
        """Return the rows of the back test of one series that count: known demand, not filled in."""
        rows = self._rows("errors", chosen.level, chosen.series_id)
        return rows if rows.empty else rows[(rows["weight"] > 0) & rows["actual"].notna() & rows["forecast"].notna()]

    def of_level(self, name: str, level: str) -> pd.DataFrame:
        """Return the rows of a table beside the forecast that speak of a level."""
        found = self.tables[name]
        return found if found.empty or "level" not in found else found[found["level"] == level]

    @property
    def priced(self) -> set[str]:
        """The products with a price and a cost."""
        known = self.economics[["price_minor", "cost_minor"]].notna().all(axis=1)
        return set(self.economics.loc[known, "product_id"])

    def beside(self, chosen: Chosen) -> pd.DataFrame:
        """Return the forecasts of a product's level in the same place: its own and those of the other products."""
        rows = self._level(chosen.level)
        for column, value in chosen.keys.items():
            if column in WHERE:
                rows = rows[rows[column] == value]
        return rows

    def effect(self, chosen: Chosen) -> pd.DataFrame:
        """Return the effects that hold for a series: those of its region, else those pooled over regions; empty for none."""
        if self.effects is None or not chosen.product_id:
            return pd.DataFrame()
        own = self.effects[self.effects["product_id"] == chosen.product_id]
        region = chosen.keys.get("region", "")
        here = own[own["region"] == region] if region else own.iloc[:0]
        found = here if len(here) else own[own["region"] == ""]
        return found[found["estimate"].notna()]

    @cached_property
    def _options(self) -> dict[str, dict[tuple[str, str], tuple[str, str]]]:
        """Level and series by step, product and place."""
        out: dict[str, dict[tuple[str, str], tuple[str, str]]] = {step: {} for step in self.steps}
        for level in self.levels:
            columns = self.keys[level]
            rows = self._level(level).drop_duplicates("series_id")
            what, where = ([name for name in columns if name in names][:1] for names in (WHAT, WHERE))
            values = zip(_coded(rows, what), _coded(rows, where), rows["series_id"], strict=True)
            for product, place, series_id in values:
                out[step_of(level)].setdefault((product, place), (level, str(series_id)))
        return out

    @cached_property
    def _by_level(self) -> dict[str, pd.DataFrame]:
        return {str(level): rows for level, rows in self.forecast.groupby("level")}

    def _level(self, level: str) -> pd.DataFrame:
        return self._by_level[level]

    def _rows(self, name: str, level: str, series_id: str) -> pd.DataFrame:
        table = self.forecast if name == "forecast" else self.tables[name]
        if table.empty:
            return table
        return table[(table["level"] == level) & (table["series_id"] == series_id)].sort_values("period")


def step_of(level: str) -> str:
    """Return the step of time of a level.

    >>> step_of("product_region_week"), step_of("product_half_hour")
    ('week', 'half_hour')
    """
    return next((step for step in STEPS if level.endswith(f"_{step}")), level.rpartition("_")[2])


def measures(rows: pd.DataFrame) -> dict[str, float]:
    """Return the error of some rows of a back test: wape, wape_naive, bias, coverage_80 and coverage_95 (shares), n.

    In: actual, weight (a period of weight 0.5 counts half), forecast, naive, low_80, high_80, low_95, high_95. All nan, and n
    0, for no rows or no demand in them; a coverage nan where there were no intervals.

    >>> rows = pd.DataFrame({"actual": [10.0, 10.0], "weight": 1.0, "forecast": [11.0, 8.0], "naive": [5.0, 15.0]})
    >>> found = measures(rows.assign(low_80=9.0, high_80=10.5, low_95=0.0, high_95=9.0))
    >>> {name: round(value, 2) for name, value in found.items()}
    {'n': 2, 'wape': 0.15, 'wape_naive': 0.5, 'bias': -0.05, 'coverage_80': 1.0, 'coverage_95': 0.0}
    """
    rows = rows[rows["actual"].notna() & rows["forecast"].notna()] if len(rows) else rows
    total = float((rows["actual"].abs() * rows["weight"]).sum()) if len(rows) else 0.0
    if total <= 0:
        nothing = dict.fromkeys(("wape", "wape_naive", "bias", "coverage_80", "coverage_95"), np.nan)
        return {"n": len(rows), **nothing}
    actual, weight = rows["actual"].to_numpy(float), rows["weight"].to_numpy(float)
    off = (rows["forecast"].to_numpy(float) - actual) * weight
    naive = rows["naive"].to_numpy(float)
    inside = {f"coverage_{width}": _covered(rows, width) for width in (80, 95)}
    return {
        "n": len(rows),
        "wape": float(np.abs(off).sum()) / total,
        "wape_naive": float((np.abs(naive - actual) * weight).sum()) / total if np.isfinite(naive).all() else np.nan,
        "bias": float(off.sum()) / total,
        **inside,
    }


def _covered(rows: pd.DataFrame, width: int) -> float:
    """Return the share of what came that an interval held; nan where forecasts had none."""
    low, high = rows[f"low_{width}"], rows[f"high_{width}"]
    if low.isna().any() or high.isna().any():
        return np.nan
    return float(np.average(rows["actual"].between(low, high), weights=rows["weight"]))


def outlook(chosen: Chosen, periods: int) -> dict[str, float]:
    """Return what is expected over the next periods together, and what was a year before.

    Returns expected, periods, before (nan where not every one of those periods is on record) and change (a share).

    >>> weeks = pd.date_range("2025-01-06", periods=54, freq="W-MON")
    >>> past = pd.DataFrame({"period": weeks[:53], "quantity": 100.0})
    >>> ahead = pd.DataFrame({"period": weeks[53:], "mean": 110.0})
    >>> empty = pd.DataFrame()
    >>> outlook(Chosen("product_week", "milk", {}, past, ahead, empty, empty), 1)
    {'periods': 1, 'expected': 110.0, 'before': 100.0, 'change': 0.1}
    """
    ahead = chosen.forecast.head(periods)
    expected = float(ahead["mean"].sum())
    season = {"week": 52, "month": 12, "quarter": 4, "day": 364}.get(chosen.step, 0)
    if chosen.step in ("month", "quarter"):
        wanted = ahead["period"] - pd.DateOffset(years=1)
    else:
        wanted = ahead["period"] - pd.Timedelta(days=season * (7 if chosen.step == "week" else 1))
    past = chosen.history[chosen.history["period"].isin(wanted)] if season else chosen.history.iloc[:0]
    before = float(past["quantity"].sum()) if len(past) == len(ahead) and len(ahead) else np.nan
    change = expected / before - 1 if before > 0 else np.nan
    return {"periods": len(ahead), "expected": expected, "before": before, "change": round(change, 12)}


def recent(history: pd.DataFrame, step: str, *, years: int) -> pd.DataFrame:
    """Return the last years of a history; all of it for 0."""
    return history.tail(PAST_PERIODS.get(step, 48) * years) if years else history


def newest(data: Path) -> tuple[int, ...]:
    """Return what changes when there is something newer to show."""
    if not data.is_dir():
        return ()
    query = sa.select(sa.func.max(ScoreSet.score_set_id)).where(ScoreSet.model.in_((MODEL, EFFECTS)))
    with session.session(data) as opened:
        return (int(opened.scalar(query) or 0),)


def load(data: Path) -> Loaded:
    """Return what was saved last; raises NotFoundError where `crm demand` has not run."""
    if not data.is_dir():
        raise NotFoundError(f"{data}: there is no such data folder; run `crm demo`, or name another one")
    try:
        chosen = score_sets.newest(data, MODEL)
    except NotFoundError as error:
        raise NotFoundError(f"no demand was forecast below {data} yet; run `crm demand`") from error
    tables = {name: _beside(data, chosen, name) for name in TABLES}
    missing = tables.pop("missing")
    wh = warehouse.open(paths.warehouse(data), version=chosen.warehouse_version)
    snapshot = wh.snapshot(chosen.as_of)
    effects, cross, effects_set = _effects(data, chosen.as_of)
    products = snapshot.table("products", ["product_id", "name", "price_minor", "cost_minor"])
    return Loaded(
        data=data,
        company=wh.company,
        score_set=chosen,
        forecast=_read(score_sets.read(data, chosen)),
        tables=tables,
        missing=dict(zip(missing["part"], missing["why"], strict=True)) if len(missing) else {},
        effects=effects,
        cross=cross,
        effects_set=effects_set,
        names=_names(snapshot, products),
        economics=products[["product_id", "price_minor", "cost_minor"]],
    )


def _names(snapshot: Snapshot, products: pd.DataFrame) -> dict[str, dict[str, str]]:
    outlets = snapshot.table("outlets", ["outlet_id", "name", "region"])
    region = outlets["region"].fillna("").astype(str)
    shown = outlets["name"].fillna(outlets["outlet_id"]).astype(str)
    shown = shown.where(region == "", shown + ", " + region)
    return {
        "product_id": dict(zip(products["product_id"], products["name"].astype(str), strict=True)),
        "outlet_id": dict(zip(outlets["outlet_id"], shown, strict=True)),
    }


def _effects(data: Path, as_of: dt.date) -> tuple[pd.DataFrame | None, pd.DataFrame | None, ScoreSet | None]:
    """Return the effects of price and promotion estimated last, those on other products, and their set; None for none.

    Effects of a later day than the forecast's do not count.
    """
    try:
        found = score_sets.newest(data, EFFECTS)
    except NotFoundError:
        return None, None, None
    if found.as_of > as_of:
        return None, None, None
    cross = _beside(data, found, "cross")
    return _read(score_sets.read(data, found)), cross if len(cross) else None, found


def _read(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with "" in place of missing keys."""
    names = [name for name in (*WHAT, *WHERE, "reason", "method") if name in table]
    return table.assign(**{name: table[name].fillna("").astype("str") for name in names})


def _coded(rows: pd.DataFrame, columns: list[str]) -> list[str]:
    if not columns:
        return [ALL] * len(rows)
    return [f"{columns[0]}={value}" for value in rows[columns[0]]]


def _beside(data: Path, chosen: ScoreSet, name: str) -> pd.DataFrame:
    try:
        return _read(score_sets.beside(data, chosen, name))
    except NotFoundError:
        return pd.DataFrame()
