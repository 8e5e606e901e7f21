"""What the global booster sees: one row a series, origin and period ahead, in units that make all series alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.models.demand import seasonal, steps, theta
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

MOST_LAGS, LEAST_LAGS = 26, 6
LONG_SEASONS = {"day": 364, "hour": 168, "half_hour": 336}
_DAYS_A_YEAR = 365.2425


@dataclass(frozen=True)
class Rows:
    """Rows of series ``series`` (places in the panel) at one origin, those of a series together, nearest period first.

    ``target`` is the wanted value over the Theta forecast ``start``, in units of ``scale``; 0 where it is not known.
    """

    series: NDArray[np.intp]
    inputs: NDArray[np.float32]
    start: Array
    scale: Array
    season: seasonal.Seasonal
    horizon: int

    def restore(self, predicted: Array) -> Array:
        """Return predictions of the target as quantities: series × horizon."""
        return self.season.restore((self.start + self.scale * predicted).reshape(-1, self.horizon))

    def target(self, actual: Array) -> Array:
        """Return what was wanted (series × horizon) in the units of the target, one number a row."""
        factors = self.season.ahead(self.horizon)
        with np.errstate(divide="ignore", invalid="ignore"):
            plain = np.where(self.season.multiplicative[:, None], actual / factors, actual - factors)
        return (plain.ravel() - self.start) / self.scale


def least_length(season: int) -> int:
    """Return the periods a series needs before it teaches the booster or is forecast by it."""
    return max(4, season + 2)


def history_used(season: int) -> int:
    """Return how many of the newest periods the rows of one origin look at."""
    return max(5 * season, 130)


def build(panel: SeriesPanel, *, horizon: int, known: dict[str, Array]) -> Rows | None:
    """Return the rows of a panel at its end, or None where no series is long enough.

    ``known`` holds what moves demand in the periods ahead (series × horizon).
    """
    chosen = np.flatnonzero(panel.lengths >= least_length(panel.season))
    if not len(chosen):
        return None
    cut = panel.take(chosen).recent(history_used(panel.season))
    season = seasonal.deseasonalise(cut.values, season=cut.season)
    adjusted, last = season.adjusted, season.adjusted[:, -1]
    scale = _scale(adjusted, cut.season)
    ahead = theta.dynamic_optimised(adjusted, season=1, horizon=horizon)

    def unit(values: Array) -> Array:
        return (values - last[:, None]) / scale[:, None]

    fixed = np.concatenate([unit(_lags(adjusted, cut.season)), _traits(cut, season, last, scale)], axis=1)
    moving = [np.tile(np.arange(1.0, horizon + 1), (len(chosen), 1)), unit(ahead)]
    moving += [unit(part) for part in _seasons_ago(adjusted, cut.season, horizon)]
    moving.append(season.ahead(horizon))
    longer = LONG_SEASONS.get(panel.step)
    if longer and longer > panel.season:
        moving.append(_year_ago(panel.values[chosen], longer, horizon, scale))
    moving += _drivers(cut, {name: table[chosen] for name, table in known.items()}, horizon)
    moving += _calendar(cut, horizon)
    inputs = np.concatenate(
        [np.repeat(fixed, horizon, axis=0), np.stack(moving, axis=2).reshape(len(chosen) * horizon, -1)], axis=1
    )
    return Rows(chosen, inputs.astype(np.float32), ahead.ravel(), np.repeat(scale, horizon), season, horizon)


def _scale(adjusted: Array, season: int) -> Array:
    """Return the mean absolute change of the newest two seasons; else of all; else the level; else 1."""
    with np.errstate(invalid="ignore"):
        change = np.abs(np.diff(adjusted, axis=1))
        parts = [_mean(change[:, -max(2 * season, 6) :]), _mean(change), _mean(np.abs(adjusted))]
    scale = np.ones(len(adjusted))
    for part in reversed(parts):
        scale = np.where(part > 0, part, scale)
    return scale


def _mean(values: Array) -> Array:
    known = ~np.isnan(values)
    return np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _lags(adjusted: Array, season: int) -> Array:
    """Return the newest values, newest first, NaN where a series had not begun."""
    count = int(np.clip(2 * season, LEAST_LAGS, MOST_LAGS))
    lags = np.full((len(adjusted), count), np.nan)
    width = min(count, adjusted.shape[1])
    lags[:, :width] = adjusted[:, ::-1][:, :width]
    return lags


def _traits(cut: SeriesPanel, season: seasonal.Seasonal, last: Array, scale: Array) -> Array:
    """Return what tells series apart: level and roughness in units of the scale, length, season found, past means."""
    adjusted = season.adjusted
    level, rough = _mean(np.abs(adjusted)), _mean(np.abs(np.diff(adjusted, axis=1)))
    windows = (3, cut.season, 2 * cut.season, 4 * cut.season) if cut.season > 1 else (3, 5, 8, 16)
    means = [(_mean(adjusted[:, -window:]) - last) / scale for window in windows]
    with np.errstate(divide="ignore"):
        sizes = [np.log(level / scale + 1e-6), np.log(rough / scale + 1e-6), np.log(cut.lengths)]
    return np.stack([*sizes, season.found.astype(float), *means], axis=1)


def _seasons_ago(adjusted: Array, season: int, horizon: int) -> list[Array]:
    """Return the values of the same period one and two seasons before, which say how steady the season is."""
    if season == 1:
        return []
    found = []
    for seasons in (1, 2):
        back = (np.ceil(np.arange(1, horizon + 1) / season).astype(int) + seasons - 1) * season
        place = adjusted.shape[1] - 1 + np.arange(1, horizon + 1) - back
        found.append(np.where(place >= 0, adjusted[:, np.maximum(place, 0)], np.nan))
    return found


def _year_ago(values: Array, longer: int, horizon: int, scale: Array) -> Array:
    """Return the same period of the longer season before, over that season's mean around it, in units of the scale."""
    ahead = np.arange(1, horizon + 1)
    place = values.shape[1] - 1 + ahead - np.ceil(ahead / longer).astype(int) * longer
    same = np.where(place >= 0, values[:, np.maximum(place, 0)], np.nan)
    end = values.shape[1] - longer
    around = values[:, max(end - 28, 0) : end] if end > 0 else values[:, :0]
    level = np.where((~np.isnan(around)).any(axis=1), _mean(around), np.nan)
    return (same - level[:, None]) / scale[:, None]


def _drivers(cut: SeriesPanel, known: dict[str, Array], horizon: int) -> list[Array]:
    """Return promotion, price and holidays of the period ahead beside what was usual of late."""
    found = []
    for name in ("promotion", "holiday", "price_minor"):
        if name not in cut.drivers:
            continue
        ahead = known.get(name, np.full((len(cut.ids), horizon), np.nan))
        past = cut.drivers[name][:, -8:]
        usual = np.where((~np.isnan(past)).any(axis=1), _mean(past), np.nan)[:, None]
        if name == "price_minor":
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(np.log(np.where(ahead > 0, ahead, np.nan) / np.where(usual > 0, usual, np.nan)))
        else:
            found += [ahead, np.broadcast_to(usual, ahead.shape), np.broadcast_to(past[:, -1:], ahead.shape)]
    return found


def _calendar(cut: SeriesPanel, horizon: int) -> list[Array]:
    """Return place in the year, weekday and hour of the periods ahead, for steps below a month."""
    if cut.step in ("year", "quarter", "month"):
        return []
    number = cut.last[:, None] + np.arange(1, horizon + 1)
    stamps = steps.moments(number.ravel(), cut.step).reshape(number.shape)
    days = stamps.astype("datetime64[D]").astype(np.int64)
    turn = 2 * np.pi * days / _DAYS_A_YEAR
    found = [np.sin(turn), np.cos(turn)]
    if cut.step != "week":
        month = stamps.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        found += [(days + 3) % 7 * 1.0, days - month * 1.0]
    if cut.step in ("hour", "half_hour"):
        found.append((stamps.astype(np.int64) / 3600) % 24)
    return found
