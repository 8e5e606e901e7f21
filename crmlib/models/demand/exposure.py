"""What demand could be told on: opening days and promotions taken out of a history and put back on a forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crmlib.models.demand import seasonal
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

_CLOSED = 0.25
"""Share of the usual opening below which a period says too little: it is filled in from its neighbours."""
_PULL = 6.0
"""Promoted periods that the pooled effect of a promotion is worth beside a series' own."""
_MOST = 3.0


@dataclass(frozen=True)
class Exposure:
    """A panel at its usual opening and without promotions, and the ``factor`` (series × time) that leads back.

    ``usual`` is the usual opening of each series (NaN where opening days are unknown), ``uplift`` the logarithm of what a
    full promotion multiplies demand by.
    """

    panel: SeriesPanel
    factor: Array
    usual: Array
    uplift: Array

    def ahead(self, known: dict[str, Array], horizon: int) -> Array:
        """Return the factors of the periods ahead: opening as known, else as it was of late; promotions as known."""
        factor = np.ones((len(self.usual), horizon))
        if "open_days" in self.panel.drivers:
            factor *= opening(self.panel, known, horizon) / self.usual[:, None]
        if "promotion" in self.panel.drivers and "promotion" in known:
            factor *= np.exp(self.uplift[:, None] * np.nan_to_num(known["promotion"]))
        return factor


def take_out(panel: SeriesPanel, *, promotions: bool = True) -> Exposure:
    """Return the panel with every period brought to its series' usual opening days and to no promotion.

    A period of less than a quarter of the usual opening, and one of weight 0 without opening, takes the mean of the same
    places in the season around it, with weight 0. The effect of a promotion is the mean departure of the logarithm from
    the level around it, each series' own pulled to that of all.
    """
    factor, usual = np.ones(panel.values.shape), np.full(len(panel.ids), np.nan)
    values, weight = panel.values, panel.weight
    if "open_days" in panel.drivers:
        opened = panel.drivers["open_days"]
        usual = _usual(opened)
        with np.errstate(invalid="ignore"):
            factor = np.where(np.isfinite(opened), opened / usual[:, None], 1.0)
            little = factor < _CLOSED
            values = np.where(little, np.nan, values / np.where(little, 1.0, factor))
        weight = np.where(little, 0.0, weight)
        values = _filled(values, panel)
    level = replace(panel, values=values, weight=weight)
    uplift = np.zeros(len(panel.ids))
    if promotions and "promotion" in panel.drivers:
        uplift = _uplift(level)
        lift = np.exp(uplift[:, None] * np.nan_to_num(panel.drivers["promotion"]))
        level = replace(level, values=values / lift)
        factor = factor * lift
    return Exposure(level, factor, usual, uplift)


def opening(panel: SeriesPanel, known: dict[str, Array], horizon: int) -> Array:
    """Return the opening of the periods ahead (series × horizon): as known, else as it was of late."""
    told = known.get("open_days", np.full((len(panel.ids), horizon), np.nan))
    return np.maximum(np.where(np.isfinite(told), told, _of_late(panel, horizon)), 0.0)


def _usual(opened: Array) -> Array:
    """Return the median opening of the periods with any; 1 where there is none."""
    some = np.where(opened > 0, opened, np.nan)
    out = np.ones(len(opened))
    has = np.isfinite(some).any(axis=1)
    out[has] = np.nanmedian(some[has], axis=1)
    return out


def _of_late(panel: SeriesPanel, horizon: int) -> Array:
    """Return the median opening at the same place of the last four seasons (the last 13 periods, if a season is longer).

    Of a series younger than that what is on record counts, the usual opening where nothing is.
    """
    opened, season = panel.drivers["open_days"], panel.season
    if not 1 < season <= 7 or opened.shape[1] < 4 * season:
        return np.repeat(np.nan_to_num(_usual(opened[:, -13:]))[:, None], horizon, axis=1)
    seasons = np.stack([opened[:, opened.shape[1] - (k + 1) * season :][:, :season] for k in range(4)])
    there = np.isfinite(seasons).any(axis=0)
    median = np.nanmedian(np.where(there, seasons, 1.0), axis=0)
    return np.where(there, median, _usual(opened)[:, None])[:, np.arange(horizon) % season]


def _filled(values: Array, panel: SeriesPanel) -> Array:
    """Return the values, NaN after a series' begin replaced by the mean of the nearest same places of the season."""
    begun = ~np.isnan(panel.values)
    season = panel.season if panel.season <= 7 else 1
    out = values
    for reach in (season, 2 * season, 1, 3 * season, 5 * season):
        missing = begun & np.isnan(out)
        if not missing.any():
            return out
        sides = np.stack([_shifted(out, reach), _shifted(out, -reach)])
        known = ~np.isnan(sides)
        mean = np.where(known, sides, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        out = np.where(missing & known.any(axis=0), mean, out)
    middle = np.array([np.mean(row[~np.isnan(row)]) if (~np.isnan(row)).any() else 0.0 for row in out])
    return np.where(begun & np.isnan(out), middle[:, None], out)


def _shifted(values: Array, by: int) -> Array:
    out = np.full(values.shape, np.nan)
    if abs(by) >= values.shape[1]:
        return out
    if by > 0:
        out[:, by:] = values[:, :-by]
    else:
        out[:, :by] = values[:, -by:]
    return out


def _uplift(panel: SeriesPanel) -> Array:
    """Return the effect of a full promotion on the logarithm of demand, by series."""
    share = np.nan_to_num(panel.drivers["promotion"])
    begun = panel.lengths > 0  # at an origin some series may not be there yet
    adjusted = np.full(panel.values.shape, np.nan)
    if begun.any():
        adjusted[begun] = seasonal.deseasonalise(panel.values[begun], season=panel.season).adjusted
    calm = np.where((share < 0.02) & (panel.weight > 0), adjusted, np.nan)
    level = _around(calm, 4 if panel.season > 7 or panel.season == 1 else panel.season)
    with np.errstate(divide="ignore", invalid="ignore"):
        departure = np.log(adjusted / level)
    counts = (share > 0.02) & (panel.weight > 0) & np.isfinite(departure)
    over = np.where(counts, share * np.clip(np.nan_to_num(departure), -_MOST, _MOST), 0.0).sum(axis=1)
    power = np.where(counts, share**2, 0.0).sum(axis=1)
    if not power.sum():
        return np.zeros(len(power))
    pooled = over.sum() / power.sum()
    return (over + _PULL * pooled) / (power + _PULL)


def _around(values: Array, reach: int) -> Array:
    """Return the mean of the known values within so many periods on either side; NaN where there are none."""
    known = ~np.isnan(values)
    width = 2 * reach + 1

    def moving(table: Array) -> Array:
        total = np.cumsum(np.pad(table, ((0, 0), (reach + 1, reach))), axis=1)
        return total[:, width:] - total[:, :-width]

    number = moving(known.astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(number > 0, moving(np.where(known, values, 0.0)) / number, np.nan)
