"""Rolling-origin back tests: forecasts made again as of past moments, always beside seasonal naive.

A row of a back test is one period of one series seen from one origin: series_id, origin (the last period known), period,
ahead, actual, weight, forecast, the columns of the forecast's intervals and quantiles, naive, naive_spread (standard
deviation of its error), scale (the unit of MASE), and level and key columns where the series have them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import metrics, naive, panel, steps

Method = Callable[[pd.DataFrame, int], pd.DataFrame]
"""Takes a series table as it stood at an origin and a horizon; returns a forecast table."""

KEYS = ("level", "product_id", "product_group", "region", "outlet_id", "format", "customer_id", "channel")
"""Columns that name a series; a back test carries those that the series have."""

ROW = ["series_id", "origin", "period", "ahead", "actual", "weight", "forecast", "naive", "naive_spread", "scale"]
NOMINAL = (80, 95)
POOR = {80: 0.6, 95: 0.7}
"""A series' intervals are poor where they hold less than this share of its scored values."""

_FEWEST_OF_A_SERIES = 4  # scored values before the coverage of one series is judged


def rolling(
    series: pd.DataFrame,
    method: Method,
    *,
    horizon: int,
    origins: int,
    step: str,
    season: int | None = None,
    every: int | None = None,
) -> pd.DataFrame:
    """Return the back test of a method: its forecasts from each of the last origins, beside what came.

    In: a series table; where it has a column level, the method is given one level at a time. The last origin lies
    ``horizon`` periods before the newest period, the others ``every`` periods apart (default: the horizon). The method
    is given the rows up to the origin only; series that had not begun by then, or ended, are left out of that origin.
    Raises DataError for too short a history and for a method that leaves out a series or period.
    """
    between = horizon if every is None else every
    for name, value in (("horizon", horizon), ("origins", origins), ("every", between)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise UsageError(f"{name} is {value!r}; it is a whole number, at least 1")
    lacking = [name for name in panel.NEEDED if name not in series]
    if lacking or series.empty:
        raise DataError(
            f"series has {len(series)} rows and no column {', '.join(lacking) or 'missing'}; give a series table"
        )
    found = []
    for _, part in series.groupby("level", sort=False) if "level" in series else [("", series)]:
        number = steps.numbers(part["period"], step)
        latest = number.max() - horizon
        starts = [latest - between * back for back in reversed(range(origins))]
        if starts[0] < number.min():
            need = horizon + between * (origins - 1) + 1
            raise DataError(
                f"series: not enough data for {origins} origins {between} periods apart and a horizon of {horizon} (found "
                f"{number.max() - number.min() + 1} periods, need {need}); take fewer origins or a shorter horizon"
            )
        for origin in starts:
            found.append(_one(part, method, number=number, origin=origin, horizon=horizon, step=step, season=season))
    return pd.concat(found, ignore_index=True)


def report(table: pd.DataFrame, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return how good a back test was, one row a group of ``by`` (level, ahead, series_id, origin, a key; none: one row).

    Out: series, values (scored), quantity (wanted), then wape, mase, bias, coverage_80, coverage_95, pinball (each also
    with _naive behind it), poor_80 and poor_95 (share of series whose own coverage is below ``POOR``) and value_added,
    the WAPE that the method takes off that of seasonal naive. A row of weight 0 is not scored, one of weight 0.5 by half.
    WAPE and bias are shares of what was wanted; MASE is the mean of errors over the series' scale (series that never
    changed have none); pinball is twice the mean pinball loss over the quantiles at hand, as a share of what was wanted,
    so that a certain forecast has pinball = WAPE. Naive's intervals are normal ones of its spread (none known: certain).
    Nan where nothing can be said.
    """
    check(table, ["series_id", "actual", "weight", "forecast", "naive", *by])
    scored = table[(table["weight"] > 0) & table["actual"].notna()]
    if scored.empty:
        raise DataError(f"back test: not enough data (found 0 scored values in {len(table)} rows, need 1)")
    keys = [scored[name] for name in by] or [pd.Series(0, scored.index)]
    parts = _parts(scored)
    sums = parts.groupby(keys, sort=True).sum()
    out = pd.DataFrame(
        {
            "series": scored["series_id"].groupby(keys, sort=True).nunique(),
            "values": scored["actual"].groupby(keys, sort=True).size(),
            "quantity": sums["wanted"],
        }
    )
    for end in ("", "_naive"):
        out[f"wape{end}"] = sums[f"off{end}"] / _positive(sums["wanted"])
        out[f"mase{end}"] = sums[f"scaled{end}"] / _positive(sums["scalable"])
        out[f"bias{end}"] = sums[f"over{end}"] / _positive(sums["wanted"])
        for nominal in NOMINAL:
            out[f"coverage_{nominal}{end}"] = sums[f"inside_{nominal}{end}"] / _positive(sums[f"judged_{nominal}"])
        out[f"pinball{end}"] = sums[f"pinball{end}"] / _positive(sums["wanted_in_quantiles"])
    for nominal in NOMINAL:
        out[f"poor_{nominal}"] = _poor(parts, scored["series_id"].rename("_series"), keys, nominal).reindex(out.index)
    out["value_added"] = out["wape_naive"] - out["wape"]
    return out.reset_index(drop=not by)


def quantile_columns(table: pd.DataFrame) -> dict[str, float]:
    """Return the columns of a table that are quantiles of a forecast, with their levels.

    >>> quantile_columns(pd.DataFrame(columns=["low_80", "high_80", "q_0.5", "mean"]))
    {'low_80': 0.1, 'high_80': 0.9, 'q_0.5': 0.5}
    """
    ends = {f"{end}_{n}": round(0.5 + side * n / 200, 4) for n in NOMINAL for end, side in (("low", -1), ("high", 1))}
    of_name = {name: float(name[2:]) for name in table.columns if str(name).startswith("q_")}
    return {name: level for name, level in {**ends, **of_name}.items() if name in table}


def check(table: pd.DataFrame, needed: Sequence[str], what: str = "back test") -> None:
    """Raise DataError where a table lacks a column.

    >>> check(pd.DataFrame(columns=["mean"]), ["mean"])
    """
    missing = [name for name in needed if name not in table]
    if missing:
        raise DataError(f"{what}: no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")


def _one(
    part: pd.DataFrame,
    method: Method,
    *,
    number: np.ndarray,
    origin: int,
    horizon: int,
    step: str,
    season: int | None,
) -> pd.DataFrame:
    """Return the rows of one origin."""
    test = part[(number > origin) & (number <= origin + horizon)]
    began = pd.Index(part.loc[number == origin, "series_id"].unique())
    test = test[test["series_id"].isin(began)]
    train = part[(number <= origin) & part["series_id"].isin(test["series_id"].unique())]
    when = pd.Timestamp(steps.moments(np.array([origin]), step)[0])
    if test.empty:
        raise DataError(f"series: none has both a period at {when:%Y-%m-%d} and one after it; take fewer origins")
    names = [name for name in KEYS if name in part]
    rows = test[["series_id", *names, "period"]].assign(
        origin=when,
        ahead=steps.numbers(test["period"], step) - origin,
        actual=test["quantity"].astype(float),
        weight=test["weight"].astype(float) if "weight" in test else 1.0,
    )
    rows = rows.merge(
        _naive(train, horizon, step, season), on=["series_id", "ahead"], how="left", validate="one_to_one"
    )
    given = method(train.reset_index(drop=True), horizon)
    check(given, ["series_id", "period", "mean"], what="forecast")
    kept = [*quantile_columns(given), *(name for name in ("method", "reason") if name in given)]
    given = given[["series_id", "period", "mean", *kept]].rename(columns={"mean": "forecast"})
    rows = rows.merge(given, on=["series_id", "period"], how="left", validate="one_to_one")
    if rows["forecast"].isna().any():
        lost = rows[rows["forecast"].isna()].iloc[0]
        raise DataError(
            f"forecast: series {lost['series_id']!r} has no mean for {lost['period']:%Y-%m-%d %H:%M} from the origin {when:%Y-%m-%d}; "
            "the method has to forecast every series and period"
        )
    return rows[[*ROW, *names, *kept]]


def _naive(train: pd.DataFrame, horizon: int, step: str, season: int | None) -> pd.DataFrame:
    """Return series_id, ahead, naive, naive_spread, scale of the series of a training table.

    The spread grows with the square root of the seasons ahead: R. Hyndman, G. Athanasopoulos, "Forecasting: Principles
    and Practice", 3rd edition (2021), section 5.5.
    """
    known = panel.build(train, step=step, season=season)
    m = known.season
    point = naive.seasonal(known.values, season=m, horizon=horizon)
    change = (known.values[:, m:] - known.values[:, :-m]) if m < known.values.shape[1] else np.empty((len(point), 0))
    number = (~np.isnan(change)).sum(axis=1)
    spread = np.sqrt(np.where(number > 0, np.nansum(change**2, axis=1) / np.maximum(number, 1), np.nan))
    seasons = np.sqrt(np.arange(horizon) // m + 1)
    return pd.DataFrame(
        {
            "series_id": np.repeat(known.ids, horizon),
            "ahead": np.tile(np.arange(1, horizon + 1), len(point)),
            "naive": point.ravel(),
            "naive_spread": (spread[:, None] * seasons).ravel(),
            "scale": np.repeat(metrics.scale(known.values, season=m), horizon),
        }
    ).astype({"series_id": "str"})


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each scored row adds to the sums of a report."""
    weight, actual = rows["weight"].to_numpy(float), rows["actual"].to_numpy(float)
    scale = rows["scale"].to_numpy(float) if "scale" in rows else np.full(len(rows), np.nan)
    out: dict[str, np.ndarray] = {"wanted": weight * np.abs(actual), "scalable": weight * ~np.isnan(scale)}
    for end, name in (("", "forecast"), ("_naive", "naive")):
        error = rows[name].to_numpy(float) - actual
        out |= {f"off{end}": weight * np.abs(error), f"over{end}": weight * error}
        out[f"scaled{end}"] = np.nan_to_num(weight * np.abs(error) / scale)
    levels = quantile_columns(rows)
    told = rows[list(levels)].notna().all(axis=1).to_numpy() if levels else np.zeros(len(rows), bool)
    out["wanted_in_quantiles"] = out["wanted"] * told
    spread = rows["naive_spread"].fillna(0).to_numpy(float) if "naive_spread" in rows else np.zeros(len(rows))
    plain = {name: rows["naive"].to_numpy(float) + stats.norm.ppf(level) * spread for name, level in levels.items()}
    own = {name: rows[name].to_numpy(float) for name in levels}
    for end, quantiles in (("", own), ("_naive", plain)):
        loss = [_loss(actual, quantiles[name], level) for name, level in levels.items()] or [np.zeros(len(rows))]
        out[f"pinball{end}"] = np.nan_to_num(2 * weight * told * np.mean(loss, axis=0))
        for nominal in NOMINAL:
            low, high = (quantiles.get(f"{side}_{nominal}", np.full(len(rows), np.nan)) for side in ("low", "high"))
            if not end:
                out[f"judged_{nominal}"] = weight * ~(np.isnan(low) | np.isnan(high))
            inside = (actual >= low) & (actual <= high)
            out[f"inside_{nominal}{end}"] = out[f"judged_{nominal}"] * inside  # both on the same rows
    return pd.DataFrame(out, index=rows.index)


def _poor(parts: pd.DataFrame, series_id: pd.Series, keys: list[pd.Series], nominal: int) -> pd.Series:
    """Return the share of series of each group of which less than ``POOR`` lies inside; nan for too few values each."""
    judged = parts[f"judged_{nominal}"] > 0
    each = parts[judged].groupby([*(key[judged] for key in keys), series_id[judged]])[f"inside_{nominal}"]
    weight = parts[judged].groupby([*(key[judged] for key in keys), series_id[judged]])[f"judged_{nominal}"]
    share = (each.sum() / weight.sum())[each.size() >= _FEWEST_OF_A_SERIES]
    return (share < POOR[nominal]).groupby(level=list(range(len(keys)))).mean()


def _loss(actual: np.ndarray, quantile: np.ndarray, level: float) -> np.ndarray:
    error = actual - quantile
    return np.maximum(level * error, (level - 1) * error)


def _positive(values: pd.Series) -> pd.Series:
    return values.where(values > 0)
