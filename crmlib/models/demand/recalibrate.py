"""Intervals of forecasts that were moved (reconciled, combined with plans): widened or narrowed by what a back test saw.

A moved forecast keeps the width of its base. How much that is off is seen in a back test that was moved the same way:
the errors over the half-widths, pooled, have as quantile the factor that would have covered (split conformal with errors
normalised by a first guess of their size: J. Lei et al., "Distribution-free predictive inference for regression", JASA
113 (2018), 1094-1111, section 5.2).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.demand import backtest

NEED = 100
"""Scored values of a level below which the factor comes from all levels together."""


def factors(table: pd.DataFrame) -> pd.DataFrame:
    """Return level, nominal (80, 95), factor, values, pooled: what half-widths have to be multiplied by to cover as said.

    In: a moved back test: forecast, actual, weight, low_80 … high_95, and level where there are several. ``pooled`` where
    the level has fewer than ``NEED`` values and took the factor of all. Raises DataError for fewer than that in all.
    """
    ends = [f"{end}_{nominal}" for nominal in backtest.NOMINAL for end in ("low", "high")]
    backtest.check(table, ["actual", "weight", "forecast", *ends])
    rows = table[(table["weight"] > 0) & table[["actual", *ends]].notna().all(axis=1)]
    if len(rows) < NEED:
        raise DataError(f"back test: not enough data to set intervals (found {len(rows)} scored values, need {NEED})")
    level = rows["level"] if "level" in rows else pd.Series("", rows.index)
    found = []
    for nominal in backtest.NOMINAL:
        size = _sizes(rows, nominal)
        for name in level.unique():
            own = size[(level == name).to_numpy()]
            pooled = len(own) < NEED
            factor = _quantile(size if pooled else own, nominal / 100)
            found.append({"level": name, "nominal": nominal, "factor": factor, "values": len(own), "pooled": pooled})
    return pd.DataFrame(found)


def widen(forecasts: pd.DataFrame, found: pd.DataFrame, *, mean: str = "mean") -> pd.DataFrame:
    """Return forecasts whose intervals and quantiles lie ``factors`` times as far from the mean, never below 0 where they were not.

    A quantile takes the factor of the interval that it is an end of; between 80 and 95 percent by interpolation. Rows
    without intervals stay so. Raises DataError for a level with intervals and no factor.
    """
    level = forecasts["level"] if "level" in forecasts else pd.Series("", forecasts.index)
    wide = found.pivot(index="level", columns="nominal", values="factor")
    told = forecasts[list(backtest.quantile_columns(forecasts))].notna().any(axis=1)
    lost = sorted(set(level[told]) - set(wide.index))
    if lost:
        raise DataError(f"forecast: no factor for the level {lost[0]!r}; there are {', '.join(map(repr, wide.index))}")
    narrow, broad = (wide[nominal].reindex(level).to_numpy(float) for nominal in backtest.NOMINAL)
    out = forecasts.copy()
    for name, share in backtest.quantile_columns(forecasts).items():
        place = np.clip(
            (200 * abs(share - 0.5) - backtest.NOMINAL[0]) / (backtest.NOMINAL[1] - backtest.NOMINAL[0]), 0, 1
        )
        factor = narrow + place * (broad - narrow)
        moved = forecasts[mean] + factor * (forecasts[name] - forecasts[mean])
        out[name] = moved.where(forecasts[name] < 0, moved.clip(lower=0))
    names = sorted(backtest.quantile_columns(forecasts).items(), key=lambda pair: pair[1])
    columns = [name for name, _ in names]
    out[columns] = np.sort(
        out[columns].to_numpy(float), axis=1
    )  # two factors may let an inner quantile pass an outer one
    return out


def crossed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a moved back test whose intervals have, at each origin, the ``factors`` that its other origins say.

    So the coverage of what is shipped is seen on errors that did not set it. Origins less than a horizon apart share
    periods: then it flatters. Raises DataError for a single origin, and where the others have too few values.
    """
    origins = table["origin"].unique()
    if len(origins) < 2:
        raise DataError(f"back test: not enough data to set and test intervals (found {len(origins)} origin, need 2)")
    parts = [
        widen(table[table["origin"] == origin], factors(table[table["origin"] != origin]), mean="forecast")
        for origin in origins
    ]
    return pd.concat(parts).loc[table.index]


def _sizes(rows: pd.DataFrame, nominal: int) -> np.ndarray:
    """Return each error over the half-width on its side; infinite for an error beside an interval of no width."""
    error = (rows["actual"] - rows["forecast"]).to_numpy(float)
    above = (rows[f"high_{nominal}"] - rows["forecast"]).to_numpy(float)
    below = (rows["forecast"] - rows[f"low_{nominal}"]).to_numpy(float)
    half = np.where(error > 0, above, below)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, np.where(half > 0, np.abs(error) / half, np.inf))


def _quantile(sizes: np.ndarray, share: float) -> float:
    """Return the quantile with room for one more, as split conformal asks; the largest finite one where it is beyond."""
    finite = np.sort(sizes[np.isfinite(sizes)])
    if not len(finite):
        return 1.0
    place = int(np.ceil((len(sizes) + 1) * share)) - 1
    return float(finite[min(place, len(finite) - 1)])
