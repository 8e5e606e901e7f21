"""Kinds of series: regular, intermittent, short, and those that leave nothing to choose."""

from __future__ import annotations

import numpy as np

from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

KINDS = ("regular", "intermittent", "short", "fixed")
DEMANDS_APART = 1.32
"""Mean periods between demands from which a series is intermittent (Syntetos, Boylan & Croston 2005, p. 500)."""


def sort(panel: SeriesPanel) -> tuple[np.ndarray, np.ndarray]:
    """Return of each series its kind and the reason for a simpler method ("" where there is none).

    Reasons: ``all_zero``, ``one_observation`` (of weight above 0), ``constant``, ``short_series`` (under two seasons, at
    least 4 periods), ``intermittent``.
    """
    told = panel.weight > 0
    values = np.where(told, panel.values, np.nan)
    count = told.sum(axis=1)
    low, high = (_over(values, told, function) for function in (np.fmin, np.fmax))
    short = panel.lengths < max(2 * panel.season, 4)
    wanted = (np.where(told, panel.values, 0.0) > 0).sum(axis=1)
    rare = (low >= 0) & (count > DEMANDS_APART * wanted)
    reason = np.select(
        [(count > 0) & (low == 0) & (high == 0), count == 0, count == 1, low == high, short, rare],
        ["all_zero", "nothing_told", "one_observation", "constant", "short_series", "intermittent"],
        "",
    )
    kind = np.select([np.isin(reason, ("", "intermittent", "short_series"))], [reason], "fixed")
    kind = np.where(kind == "", "regular", np.where(kind == "short_series", "short", kind))
    return kind, reason


def scales(panel: SeriesPanel) -> Array:
    """Return the unit of each series' errors: its mean absolute change over a season; NaN where it never changes.

    A change counts where both its ends do. A series shorter than a season has the mean absolute change from period to
    period.
    """
    found = np.full(len(panel.ids), np.nan)
    for lag in dict.fromkeys((1, panel.season)):
        change = np.abs(panel.values[:, lag:] - panel.values[:, :-lag])
        counts = panel.weight[:, lag:] * panel.weight[:, :-lag] * ~np.isnan(change)
        total = (np.where(counts > 0, change, 0.0) * counts).sum(axis=1)
        found = np.where(total > 0, total / np.maximum(counts.sum(axis=1), 1e-12), found)
    return found


def lent(scale: Array, panel: SeriesPanel) -> Array:
    """Return the scales, those of series without one from their level: as rough as the middle one of the others.

    Zero where the level is; NaN where no series has a scale.
    """
    level = np.array([np.abs(row[~np.isnan(row)]).mean() for row in panel.values])
    has = np.isfinite(scale) & (level > 0)
    ratio = np.median(scale[has] / level[has]) if has.any() else np.nan
    return np.where(np.isfinite(scale), scale, np.where(level > 0, ratio * level, 0.0))


def _over(values: Array, told: np.ndarray, function: np.ufunc) -> Array:
    out = function.reduce(values, axis=1)
    return np.where(told.any(axis=1), out, np.nan)
