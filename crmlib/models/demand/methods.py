"""The methods by name, and which of them are tried on what kind of series."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from crmlib.errors import UsageError
from crmlib.models.demand import intermittent, naive, smoothing, theta
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.boosted_rows import LONG_SEASONS, history_used
from crmlib.models.demand.panel import SeriesPanel

REGULAR = ("seasonal_naive", "theta", "smoothing", "boosted")
LONG = ("seasonal_naive_long", "theta_long")
INTERMITTENT = ("croston", "sba", "tsb", "smoothing", "boosted")
SHORT = ("naive", "theta", "smoothing")
NAMES = (*REGULAR, *LONG, "croston", "sba", "tsb", "naive")
_NO_DAYS = ("hour", "half_hour")  # only there is the longer season (a week) short enough for one factor a period


def check(methods: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the methods asked for, or refuse an unknown one or none at all."""
    if methods is None:
        return None
    if isinstance(methods, str) or not methods or (unknown := [name for name in methods if name not in NAMES]):
        found = methods if isinstance(methods, str) or not methods else unknown[0]
        raise UsageError(f"methods holds {found!r}; give one or more of {', '.join(NAMES)}")
    return tuple(dict.fromkeys(methods))


def long_season(panel: SeriesPanel) -> int | None:
    """Return the season beside the panel's own that hours and half hours have: the week."""
    longer = LONG_SEASONS.get(panel.step, 0) if panel.step in _NO_DAYS else 0
    return longer if longer > panel.season else None


def candidates(kind: str, panel: SeriesPanel, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the methods tried on a kind of series (regular, intermittent, short)."""
    tried = {"regular": REGULAR, "intermittent": INTERMITTENT, "short": SHORT}[kind]
    if kind == "regular" and long_season(panel):
        tried += LONG
    if panel.season == 1 and "seasonal_naive" in tried:
        tried = ("naive", *(name for name in tried if name != "seasonal_naive"))
    if asked is None:
        return tried
    if kind == "regular":
        return asked
    return tuple(name for name in asked if name in tried) or tried[:1]


def run(name: str, panel: SeriesPanel, *, horizon: int) -> Array:
    """Return the forecasts of one method that needs no training across series: series × horizon.

    What is older than ten of the longest seasons (260 periods at least) changes them little and is not looked at.
    """
    short, longer = panel.season, long_season(panel) or panel.season
    values = panel.recent(2 * history_used(longer)).values
    action: dict[str, Callable[[], Array]] = {
        "naive": lambda: naive.last(values, horizon=horizon),
        "seasonal_naive": lambda: naive.seasonal(values, season=short, horizon=horizon),
        "seasonal_naive_long": lambda: naive.seasonal(values, season=longer, horizon=horizon),
        "theta": lambda: theta.dynamic_optimised(values, season=short, horizon=horizon),
        "theta_long": lambda: theta.dynamic_optimised(values, season=longer, horizon=horizon),
        "smoothing": lambda: smoothing.exponential(values, season=short, horizon=horizon),
        "croston": lambda: intermittent.croston(np.maximum(values, 0), horizon=horizon),
        "sba": lambda: intermittent.sba(np.maximum(values, 0), horizon=horizon),
        "tsb": lambda: intermittent.tsb(np.maximum(values, 0), horizon=horizon),
    }
    return action[name]()
