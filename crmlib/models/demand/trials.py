"""Methods tried at origins within the training part: what each would have forecast there, and what came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crmlib.models.demand import boosted, exposure, groups, methods
from crmlib.models.demand.aligned import Array
from crmlib.models.demand.panel import SeriesPanel

WANTED = 400
"""Series-origins that validation looks for: one origin of many series, several of few."""
MOST_ORIGINS = 8
ENOUGH_ERRORS = 80
"""Errors for which one or a few series are tried at more origins: below 40 there are no intervals."""
TREATMENTS = ("none", "opening", "opening_and_promotions")


def least_history(season: int) -> int:
    """Return the periods a series keeps before an origin that methods are tried at: one and a half seasons."""
    return max(season + season // 2, 4)


@dataclass(frozen=True)
class Trial:
    """One origin: ``rows`` places in the panel, ``forecasts`` methods × series × horizon, ``actual`` and ``weight``
    series × horizon (NaN and 0 beyond the end of the history), ``scale`` the unit of each series' errors then, ``factor``
    (series × horizon) what opening and promotions multiplied the forecasts by.
    """

    offset: int
    rows: np.ndarray
    forecasts: Array
    actual: Array
    weight: Array
    scale: Array
    factor: Array

    def errors(self) -> Array:
        """Return actual less forecast in units of each series' scale: methods × series × horizon."""
        with np.errstate(divide="ignore", invalid="ignore"):  # of a series that never sold there is no unit
            return (self.actual - self.forecasts) / self.scale[:, None]


def offsets(panel: SeriesPanel, horizon: int, *, need: int) -> tuple[int, ...]:
    """Return how many periods before the end the origins lie, nearest first; none where too little would remain.

    Half of the series must keep ``need`` periods. A history too short for a whole horizon is tried over what it has; a
    long one from several origins, however many series there are, since what befalls one date befalls them all.
    """
    spare = int(np.median(panel.lengths)) - need
    if spare < 1:
        return ()
    if spare < horizon:
        return (spare,)
    wanted = max(-(-WANTED // len(panel.ids)), min(4, spare // (4 * horizon)))
    most = max(MOST_ORIGINS, -(-ENOUGH_ERRORS // (len(panel.ids) * horizon)))
    count = min(wanted, most, max(spare // (2 * horizon), 1))
    return tuple(horizon * k for k in range(1, count + 1))


def treatment(panel: SeriesPanel, name: str) -> exposure.Exposure:
    """Return the panel as a treatment leaves it: as it is, at the usual opening, or without promotions too."""
    if name == "none":
        size = len(panel.ids)
        return exposure.Exposure(panel, np.ones(panel.values.shape), np.full(size, np.nan), np.zeros(size))
    return exposure.take_out(panel, promotions=name == "opening_and_promotions")


def later(panel: SeriesPanel, offset: int, horizon: int) -> tuple[Array, Array, dict[str, Array]]:
    """Return what followed an origin: values and weights (series × horizon), and what moved demand (as far as known)."""
    end = panel.values.shape[1] - offset
    told = slice(end, min(end + horizon, panel.values.shape[1]))
    pad = ((0, 0), (0, horizon - (told.stop - told.start)))
    values = np.pad(panel.values[:, told], pad, constant_values=np.nan)
    weight = np.pad(panel.weight[:, told], pad)
    known = {
        name: np.pad(table[:, told], pad, constant_values=np.nan)
        for name, table in panel.drivers.items()
        if name != "stocked_out"
    }
    return values, weight, known


def choose_treatment(panel: SeriesPanel, horizon: int, tried: tuple[int, ...]) -> tuple[str, dict[str, float]]:
    """Return the treatment under which Theta came nearest at the origins tried, and the error of each."""
    offered = [name for name in TREATMENTS if _applies(name, panel)]
    if len(offered) == 1 or not tried:
        return offered[-1], {}
    found = dict.fromkeys(offered, 0.0)
    for offset in tried[:2]:
        rows = np.flatnonzero(panel.lengths - offset >= 4)
        part = panel.take(rows)
        actual, weight, known = later(part, offset, horizon)
        scale = groups.scales(part.until(offset))
        for name in offered:
            taken = treatment(part.until(offset), name)
            path = methods.run("theta", taken.panel, horizon=horizon) * _ahead(taken, name, known, horizon)
            error = np.abs(actual - path) / scale[:, None]
            counts = np.where(np.isfinite(error), weight, 0.0)
            found[name] += float((np.nan_to_num(error, posinf=0.0) * counts).sum() / max(counts.sum(), 1e-9))
    return min(found, key=lambda name: found[name]), {name: total / len(tried[:2]) for name, total in found.items()}


def run(
    panel: SeriesPanel,
    *,
    names: tuple[str, ...],
    offset: int,
    horizon: int,
    treated: str,
    trees: boosted.Boosted | None,
    need: int,
) -> Trial | None:
    """Return the trial of some methods at one origin, or None where no series is long enough."""
    rows = np.flatnonzero(panel.lengths - offset >= need)
    if not len(rows):
        return None
    part = panel.take(rows)
    actual, weight, known = later(part, offset, horizon)
    before = part.until(offset)
    paths, factor = forecasts(before, names=names, horizon=horizon, treated=treated, trees=trees, known=known)
    return Trial(offset, rows, paths, actual, weight, groups.lent(groups.scales(before), before), factor)


def forecasts(
    panel: SeriesPanel,
    *,
    names: tuple[str, ...],
    horizon: int,
    treated: str,
    trees: boosted.Boosted | None,
    known: dict[str, Array],
) -> tuple[Array, Array]:
    """Return the forecasts of some methods from the panel's end (methods × series × horizon), and the factors in them."""
    taken = treatment(panel, treated)
    factor = _ahead(taken, treated, known, horizon)
    paths = np.empty((len(names), len(panel.ids), horizon))
    for place, name in enumerate(names):
        if name == "boosted":
            assert trees is not None
            paths[place] = trees.forecast(taken.panel, horizon=horizon, known=known)
        else:
            paths[place] = methods.run(name, taken.panel, horizon=horizon)
    return paths * factor, factor


def _applies(name: str, panel: SeriesPanel) -> bool:
    return name == "none" or ("open_days" in panel.drivers if name == "opening" else "promotion" in panel.drivers)


def _ahead(taken: exposure.Exposure, name: str, known: dict[str, Array], horizon: int) -> Array:
    if name == "none":
        return np.ones((len(taken.usual), horizon))
    return taken.ahead(known, horizon)
