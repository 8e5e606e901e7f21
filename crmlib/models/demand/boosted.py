"""One XGBoost for all series of a panel and all periods ahead: what Theta leaves, learned across series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crmlib.models.demand import boosted_rows
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

if TYPE_CHECKING:
    import xgboost

MOST_ROWS, LEAST_ROWS = 250_000, 500
ROUNDS = 300
_MANY_ROWS = 50_000
_PARAMETERS: dict[str, object] = {
    "tree_method": "hist",
    "objective": "reg:pseudohubererror",  # absolute error with a curvature: half the CPU of refitting leaves to medians
    "base_score": 0.0,
    "learning_rate": 0.05,
    "max_depth": 6,
    "max_bin": 64,
    "min_child_weight": 20.0,
    "subsample": 0.5,
    "colsample_bytree": 0.5,
}
_ORIGINS = (24, 160)
_BOUND = 50.0  # units of the scale; a target beyond is a change of the series' meaning, not something to learn


@dataclass(frozen=True)
class Boosted:
    """The fitted trees and the number of rows they learned from."""

    booster: xgboost.Booster
    rows: int

    def forecast(self, panel: SeriesPanel, *, horizon: int, known: dict[str, Array]) -> Array:
        """Return forecasts from the panel's end: series × horizon, NaN for series that are too short."""
        import xgboost as xgb  # noqa: PLC0415

        out = np.full((len(panel.ids), horizon), np.nan)
        rows = boosted_rows.build(panel, horizon=horizon, known=known)
        if rows is not None:
            out[rows.series] = rows.restore(self.booster.predict(xgb.DMatrix(rows.inputs)))
        return out


def fit(panel: SeriesPanel, *, horizon: int, seed: int = 7) -> Boosted | None:
    """Return a booster fitted to a panel, or None where it has fewer than 500 rows to learn from.

    A row is a series at an origin within its history and a period ahead; only what lies before the origin is an input,
    what demand was told by promotions, prices and holidays apart, which a company plans ahead. Periods of weight 0 are no
    targets. Of many rows 250,000 are drawn.
    """
    import xgboost as xgb  # noqa: PLC0415

    inputs, target, weight = _training(panel, horizon, np.random.default_rng(seed))
    if len(target) < LEAST_ROWS:
        return None
    threads = 0 if len(target) > _MANY_ROWS else 1  # few rows are done before a second thread has woken up
    data = xgb.QuantileDMatrix(inputs, label=target, weight=weight, max_bin=64, nthread=threads)
    parameters = {**_PARAMETERS, "seed": seed, "nthread": threads}
    return Boosted(xgb.train(parameters, data, ROUNDS), len(target))


def _training(
    panel: SeriesPanel, horizon: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    offsets = _offsets(panel, horizon)
    share = min(1.0, MOST_ROWS / max(sum(min(k, horizon) * _begun(panel, k) for k in offsets), 1))
    parts = [part for k in offsets if (part := _at_origin(panel, int(k), horizon, share, random)) is not None]
    if not parts:
        return np.empty((0, 1)), np.empty(0), np.empty(0)
    inputs, target, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return inputs, target, weight


def _begun(panel: SeriesPanel, periods_before_end: int) -> int:
    return int((panel.lengths - periods_before_end >= boosted_rows.least_length(panel.season)).sum())


def _offsets(panel: SeriesPanel, horizon: int) -> np.ndarray:
    """Return how many periods before the end the origins lie: many of few series, few of many."""
    need = boosted_rows.least_length(panel.season)
    farthest = int(np.quantile(panel.lengths, 0.75)) - need
    if farthest < 1:
        return np.empty(0, int)
    count = int(np.clip(MOST_ROWS / (len(panel.ids) * horizon), *_ORIGINS))
    return np.unique(np.linspace(min(max(horizon // 3, 1), farthest), farthest, count).astype(int))


def _at_origin(
    panel: SeriesPanel, periods_before_end: int, horizon: int, share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return inputs, target and weight of the rows of one origin, a share of them drawn at random."""
    told = min(periods_before_end, horizon)
    end = panel.values.shape[1] - periods_before_end
    known = {name: table[:, end : end + told] for name, table in panel.drivers.items()}
    rows = boosted_rows.build(panel.until(periods_before_end), horizon=told, known=known)
    if rows is None:
        return None
    target = rows.target(panel.values[rows.series, end : end + told])
    weight = panel.weight[rows.series, end : end + told].ravel()
    kept = np.flatnonzero((weight > 0) & np.isfinite(target) & (random.random(len(target)) < share))
    return rows.inputs[kept], np.clip(target[kept], -_BOUND, _BOUND), weight[kept]
