"""One call for thousands of series: means and intervals in a long table, everything chosen within the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import UsageError
from crmlib.models.demand import exposure, fitting, groups, intervals, steps, trials
from crmlib.models.demand import methods as known_methods
from crmlib.models.demand import panel as series_panel
from crmlib.models.demand.aligned import Array


@dataclass(frozen=True)
class Forecaster:
    """Fitted forecasts of a series table, for horizons up to ``setting.horizon``.

    ``weights`` has a row per kind of series and method (kind, method, weight, loss, cases), ``validation`` a row per
    forecast at the origins tried (series_id, origin, period, ahead, actual, weight, forecast, scale), ``notes`` what the
    reader should know, as codes with parameters.
    """

    panel: series_panel.SeriesPanel
    setting: fitting.Setting
    groups: tuple[fitting.Group, ...]
    trees: fitting.Trees
    reasons: np.ndarray
    weights: pd.DataFrame
    validation: pd.DataFrame
    notes: tuple[dict[str, Any], ...]

    def forecast(
        self, horizon: int | None = None, *, quantiles: Sequence[float] = (), future: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """Return the forecast table.

        ``future`` tells what is known ahead: series_id, period and any of promotion, price_minor, open_days, holiday.

        Out, a row per series and period ahead: series_id, period, ahead (from 1), mean, low_80, high_80, low_95, high_95,
        a column q_LEVEL for each of ``quantiles``, method, reason (why a simpler method, or what the forecast could not know:
        ``no_plans``, ``first_promotion``; else ""). Intervals are NaN where there were too few errors to tell. Nothing is
        below 0 where the history never was.
        """
        horizon = self.setting.horizon if horizon is None else series_panel.check_horizon(horizon)
        if horizon > self.setting.horizon:
            raise UsageError(
                f"horizon is {horizon}; this forecaster was fitted for up to {self.setting.horizon} periods"
            )
        levels = intervals.LEVELS | {f"q_{level:g}": level for level in intervals.check_levels(tuple(quantiles))}
        told = series_panel.known_ahead(future, self.panel, horizon)
        known, unplanned = series_panel.without_plans(told, self.panel, horizon)
        paths = self._paths(levels, known, horizon)
        closed = np.zeros(unplanned.shape, dtype=bool)
        if "open_days" in told or "open_days" in self.panel.drivers:
            closed = self._opening(told, horizon) == 0
        lowest = np.where(np.isnan(self.panel.values), np.inf, self.panel.values).min(axis=1)
        for name, path in paths.items():
            paths[name] = np.where(closed, 0.0, np.where(lowest[:, None] >= 0, np.maximum(path, 0.0), path))
        anew = series_panel.promoted_anew(told, self.panel, horizon)
        return self._long(paths, {"closed": closed, "first_promotion": anew, "no_plans": unplanned})

    def _opening(self, told: dict[str, Array], horizon: int) -> Array:
        """Return the opening of the periods ahead; of a history without opening days only what is told of them."""
        if "open_days" in self.panel.drivers:
            return exposure.opening(self.panel, told, horizon)
        return np.where(np.isnan(told["open_days"]), 1.0, told["open_days"])

    def _paths(self, levels: dict[str, float], known: dict[str, Array], horizon: int) -> dict[str, Array]:
        """Return mean and quantiles as series × horizon."""
        paths = {name: np.full((len(self.panel.ids), horizon), np.nan) for name in ("mean", *levels)}
        scales = {group.season: self._scale(group.season) for group in self.groups}
        for group in self.groups:
            told = {name: table[group.rows] for name, table in known.items()}
            mean, factor = group.mean(self.setting, self.trees, horizon=horizon, known=told)
            paths["mean"][group.rows] = mean
            if group.calibration is not None:
                unit = intervals.units(scales[group.season][group.rows], factor)
                for name, level in levels.items():
                    paths[name][group.rows] = group.calibration.quantiles(mean, unit, level)
        return paths

    def _scale(self, season: int) -> Array:
        """Return the unit of each series' errors, by changes over the season that errors were measured in."""
        return groups.lent(groups.scales(replace(self.panel, season=season)), self.panel)

    def _long(self, paths: dict[str, Array], said: dict[str, np.ndarray]) -> pd.DataFrame:
        count, horizon = paths["mean"].shape
        ahead = np.tile(np.arange(1, horizon + 1), count)
        method = np.full(count, "", object)
        for group in self.groups:
            method[group.rows] = group.called
        reason = np.repeat(self.reasons.astype(object), horizon)
        plain = reason == ""
        where = [flags.ravel() & (plain | (code == "closed")) for code, flags in said.items()]
        reason = np.select(where, list(said), reason)
        return pd.DataFrame(
            {
                "series_id": np.repeat(self.panel.ids, horizon).astype(str),
                "period": steps.moments(np.repeat(self.panel.last, horizon) + ahead, self.panel.step),
                "ahead": ahead,
                **{name: path.ravel() for name, path in paths.items()},
                "method": np.repeat(method, horizon).astype(str),
                "reason": reason.astype(str),
            }
        )


def forecast(
    series: pd.DataFrame,
    *,
    horizon: int,
    step: str | None = None,
    season: int | None = None,
    methods: Sequence[str] | None = None,
    quantiles: Sequence[float] = (),
    future: pd.DataFrame | None = None,
    seed: int = 7,
) -> pd.DataFrame:
    """Return the forecasts of a series table: ``fit(series, …).forecast(…)``.

    >>> months = pd.date_range("2023-01-01", periods=36, freq="MS")
    >>> sold = pd.DataFrame({"series_id": "milk", "period": months, "quantity": [80.0, 90.0, 100.0, 110.0] * 9})
    >>> found = forecast(sold, horizon=2, methods=["seasonal_naive"])
    >>> found[["period", "mean", "method"]].astype(str).values.tolist()
    [['2026-01-01', '80.0', 'seasonal_naive'], ['2026-02-01', '90.0', 'seasonal_naive']]
    """
    fitted = fit(series, horizon=horizon, step=step, season=season, methods=methods, seed=seed)
    return fitted.forecast(quantiles=quantiles, future=future)


def fit(
    series: pd.DataFrame,
    *,
    horizon: int,
    step: str | None = None,
    season: int | None = None,
    methods: Sequence[str] | None = None,
    seed: int = 7,
) -> Forecaster:
    """Return a forecaster fitted to a series table: methods tried, weighted and calibrated at origins within it.

    In: a row per series and period, without gaps (``panel.build`` says what is refused). ``step`` and ``season`` are told
    from the periods where they are not given; ``methods`` None tries those that suit each kind of series.
    """
    asked = known_methods.check(methods)
    horizon = series_panel.check_horizon(horizon)
    whole = series_panel.build(series, step=step, season=season)
    kind, reason = groups.sort(whole)
    main = whole.take(np.flatnonzero(np.isin(kind, ("regular", "intermittent"))))
    tried = trials.offsets(main, horizon, need=trials.least_history(whole.season)) if len(main.ids) else ()
    treatment, errors = trials.choose_treatment(main, horizon, tried) if len(main.ids) else ("none", {})
    setting = fitting.Setting(horizon, asked, treatment, tried, seed)
    trees = fitting.grow(main, setting)
    parts = [
        fitting.fit(name, rows, whole, setting, trees)
        for name in groups.KINDS
        if len(rows := np.flatnonzero(kind == name))
    ]
    lent = fitting.lend(parts)
    tables = [part.validation for part in parts if len(part.validation)]
    return Forecaster(
        panel=whole,
        setting=setting,
        groups=tuple(lent),
        trees=trees,
        reasons=_reasons(reason),
        weights=pd.concat([part.weights for part in parts], ignore_index=True),
        validation=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
        notes=(*_told(reason), *_on_treatment(treatment, errors), *trees.notes, *_on_intervals(lent)),
    )


def _reasons(reason: np.ndarray) -> np.ndarray:
    """Return the reason of each series for a simpler method; an intermittent one is no simpler, it has its own methods."""
    return np.where(reason == "intermittent", "", reason)


def _told(reason: np.ndarray) -> list[dict[str, Any]]:
    names, counts = np.unique(reason[reason != ""], return_counts=True)
    return [{"code": str(name), "series": int(count)} for name, count in zip(names, counts, strict=True)]


def _on_treatment(chosen: str, errors: dict[str, float]) -> list[dict[str, Any]]:
    if not errors:
        return []
    return [{"code": "treatment", "chosen": chosen, "errors": {name: round(e, 4) for name, e in errors.items()}}]


def _on_intervals(lent: list[fitting.Group]) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = []
    for group in lent:
        if group.calibration is None:
            notes.append(
                {"code": "no_intervals", "kind": group.kind, "series": len(group.rows), "need": intervals.LEAST_ERRORS}
            )
        elif group.lent:
            notes.append({"code": "intervals_lent", "kind": group.kind, "series": len(group.rows)})
    return notes
