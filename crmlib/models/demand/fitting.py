"""What a forecaster is made of: trees over all series, and per kind of series the weights and errors of its methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crmlib.models.demand import boosted, combine, intervals, methods, steps, trials
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

LEAST_CASES = 20
"""Scored cases from which weights are learned; with fewer all methods count the same."""


@dataclass(frozen=True)
class Setting:
    """What holds for all kinds of series: horizon, methods asked for, treatment of what moves demand, origins tried."""

    horizon: int
    asked: tuple[str, ...] | None
    treatment: str
    offsets: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Trees:
    """The booster of the whole history, the one that knew nothing of the origins tried, and why there is none."""

    final: boosted.Boosted | None
    tried: boosted.Boosted | None
    notes: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Group:
    """The series of one kind (``rows`` of the whole panel): methods, weights, the errors their intervals come from, the
    ``season`` of the changes these are in units of, and whether they were ``lent`` by another kind.
    """

    kind: str
    rows: np.ndarray
    panel: SeriesPanel
    methods: tuple[str, ...]
    weights: Array
    calibration: intervals.Conformal | None
    season: int
    lent: bool = False

    def mean(self, setting: Setting, trees: Trees, *, horizon: int, known: dict[str, Array]) -> tuple[Array, Array]:
        """Return the combined forecast and the factor of opening and promotions in it: both series × horizon.

        A method that gave no forecast leaves its weight to the others.
        """
        used = np.flatnonzero(self.weights > 0)
        names = tuple(self.methods[place] for place in used)
        paths, factor = trials.forecasts(
            self.panel, names=names, horizon=horizon, treated=setting.treatment, trees=trees.final, known=known
        )
        return mixed(paths, self.weights[used]), factor

    @property
    def called(self) -> str:
        """The name of the only method that counts, else "combination"."""
        used = [name for name, weight in zip(self.methods, self.weights, strict=True) if weight > 0]
        return used[0] if len(used) == 1 else "combination"


@dataclass(frozen=True)
class Fitted:
    """A group, a row a method about its weights, and a row a forecast at the origins tried."""

    group: Group
    weights: pd.DataFrame
    validation: pd.DataFrame


def mixed(paths: Array, weights: Array) -> Array:
    """Return the weighted mean of methods (first axis), over those that gave a forecast."""
    share = np.isfinite(paths) * weights[:, None, None]
    total = share.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.where(share > 0, paths, 0.0) * share).sum(axis=0) / total


def grow(panel: SeriesPanel, setting: Setting) -> Trees:
    """Return the trees over a panel's series: of the whole history, and of what lies before the first origin tried."""
    if not len(panel.ids) or (setting.asked is not None and "boosted" not in setting.asked):
        return Trees(None, None)
    taken = trials.treatment(panel, setting.treatment)
    final = boosted.fit(taken.panel, horizon=setting.horizon, seed=setting.seed)
    tried = None
    if final is not None and setting.offsets:
        before = trials.treatment(panel.until(max(setting.offsets)), setting.treatment)
        tried = boosted.fit(before.panel, horizon=setting.horizon, seed=setting.seed)
    if final is not None and tried is not None:
        return Trees(final, tried)
    return Trees(None, None, ({"code": "boosted_left_out", "need": boosted.LEAST_ROWS},))


def fit(kind: str, rows: np.ndarray, panel: SeriesPanel, setting: Setting, trees: Trees) -> Fitted:
    """Return the group of one kind of series: its methods tried at the origins, weighted and calibrated."""
    part = panel.take(rows)
    if kind == "fixed":
        group = Group(kind, rows, _as_told(part), ("naive",), np.ones(1), None, part.season)
        return Fitted(group, _weights(kind, ("naive",), np.ones(1), np.full(1, np.nan), 0), pd.DataFrame())
    offsets, need = setting.offsets, trials.least_history(part.season)
    if kind == "short":
        part = replace(part, season=1)
        need = 2
        offsets = trials.offsets(part, min(setting.horizon, max(int(np.median(part.lengths)) // 3, 1)), need=need)
    names = methods.candidates(kind, part, setting.asked)
    if trees.final is None:
        names = tuple(name for name in names if name != "boosted") or ("theta",)
    tried = [
        trials.run(
            part,
            names=names,
            offset=offset,
            horizon=setting.horizon,
            treated=setting.treatment,
            trees=trees.tried,
            need=need,
        )
        for offset in offsets
    ]
    found = [trial for trial in tried if trial is not None]
    weights, table = _weighed(kind, names, found)
    calibration = None
    if found:
        over = [trial.actual - mixed(trial.forecasts, weights) for trial in found]
        units = [intervals.units(trial.scale, trial.factor) for trial in found]
        with np.errstate(divide="ignore", invalid="ignore"):  # of a series that never sold there is no unit
            errors = np.concatenate([o / unit for o, unit in zip(over, units, strict=True)])
        calibration = intervals.calibrate(errors, np.concatenate([trial.weight for trial in found]))
    group = Group(kind, rows, part, names, weights, calibration, part.season)
    return Fitted(group, table, _validation(part, found, weights))


def lend(fitted: list[Fitted]) -> list[Group]:
    """Return the groups; one without errors of its own takes the intervals of the largest group that has them."""
    able = [part.group for part in fitted if part.group.calibration is not None]
    lender = max(able, key=lambda group: len(group.rows), default=None)
    out = []
    for part in fitted:
        group = part.group
        if group.calibration is None and lender is not None:
            # A short series keeps its changes from period to period: of those over a season it has next to none.
            season = lender.season if group.kind == "fixed" else group.season
            group = replace(group, calibration=lender.calibration, season=season, lent=True)
        out.append(group)
    return out


def _as_told(panel: SeriesPanel) -> SeriesPanel:
    """Return the panel with the last value that was told in place of those filled in behind it."""
    width = panel.values.shape[1]
    told = panel.weight > 0
    last = width - 1 - np.argmax(told[:, ::-1], axis=1)
    behind = np.atleast_1d(told.any(axis=1))[:, None] & (np.arange(width) > last[:, None])
    return replace(panel, values=np.where(behind, panel.values[np.arange(len(last)), last][:, None], panel.values))


def _weighed(kind: str, names: tuple[str, ...], found: list[trials.Trial]) -> tuple[Array, pd.DataFrame]:
    """Return the weights of methods and a row about each."""
    equal = np.full(len(names), 1 / len(names))
    if not found:
        return equal, _weights(kind, names, equal, np.full(len(names), np.nan), 0)
    errors = np.concatenate([trial.errors().reshape(len(names), -1) for trial in found], axis=1)
    counts = np.concatenate([trial.weight.ravel() for trial in found])
    counts = np.where(np.isfinite(errors).all(axis=0), counts, 0.0)
    squared = kind == "intermittent"  # the absolute error would call for zero where demand comes now and then
    loss = combine.losses(errors, counts, squared=squared)
    cases = int((counts > 0).sum())
    weights = combine.weights(errors, counts, squared=squared) if cases >= LEAST_CASES else equal
    return weights, _weights(kind, names, weights, loss, cases)


def _weights(kind: str, names: tuple[str, ...], weights: Array, loss: Array, cases: int) -> pd.DataFrame:
    return pd.DataFrame({"kind": kind, "method": list(names), "weight": weights, "loss": loss, "cases": cases})


def _validation(panel: SeriesPanel, found: list[trials.Trial], weights: Array) -> pd.DataFrame:
    """Return what the combination would have forecast at the origins tried, a row a series and period."""
    tables = []
    for trial in found:
        series, ahead = np.nonzero(np.isfinite(trial.actual))
        origin = panel.last[trial.rows][series] - trial.offset
        tables.append(
            pd.DataFrame(
                {
                    "series_id": panel.ids[trial.rows][series].astype(str),
                    "origin": steps.moments(origin, panel.step),
                    "period": steps.moments(origin + ahead + 1, panel.step),
                    "ahead": ahead + 1,
                    "actual": trial.actual[series, ahead],
                    "weight": trial.weight[series, ahead],
                    "forecast": mixed(trial.forecasts, weights)[series, ahead],
                    "scale": trial.scale[series],
                }
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
