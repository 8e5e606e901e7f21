"""What price and promotion do to demand, series by series: elasticities and uplifts with intervals.

    log quantity = season + trend + holidays + e log price + u promoted + d after + errors that remember (see ``regression``)

``price_elasticity`` e: a price 1% higher changes demand by e%. ``promotion_uplift`` u: a period promoted throughout
multiplies demand by exp(u), beyond what its price does. ``post_promotion_dip`` d: what the periods after a promotion miss
(or gain) together, in usual periods. ``cross_elasticity``: the price of another product, by other_id. ``before_promotion``
is a placebo: demand just before a promotion begins cannot owe anything to it; where it differs from nothing, promotions
follow what demand does anyway, and their uplift is not to be trusted (note_code moves_before_it_begins).
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import UsageError
from crmlib.models.effects import design, regression
from crmlib.models.effects.design import AFTER, BEFORE, KEYS, OTHERS_PROMOTED, PRICE, PROMOTION, Design

MEASURES = ("price_elasticity", "promotion_uplift", "post_promotion_dip", "cross_elasticity", "before_promotion")
METHOD = "regression"
COLUMNS = [
    "measure",
    "other_id",
    "estimate",
    "error",
    "low",
    "high",
    "freedom",
    "separable",
    "price_correlation",
    "seen_low",
    "seen_high",
    "deviation",
    "periods",
    "method",
    "note_code",
]
_NAMES = {PRICE: "price_elasticity", PROMOTION: "promotion_uplift", OTHERS_PROMOTED: "others_promoted"}


def estimate(
    series: pd.DataFrame,
    *,
    step: str = "week",
    others: pd.DataFrame | None = None,
    holidays: Sequence[dt.date] = (),
    controls: Sequence[str] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Return what moves each series, a row per series and measure.

    In: a series table and what ``design.build`` takes. Out: series_id, the keys of the series, measure (see MEASURES), other_id,
    estimate, error, low and high (not a number where the past cannot tell), freedom, separable (share of the variation of
    the price or promotion that nothing else explains), price_correlation (of the error with that of the elasticity), seen_low and seen_high (prices seen, over the median), deviation (spread of one period's luck), periods, method, note_code (why there is no estimate, or what to
    mind: includes_price, moves_before_it_begins, season_not_known for less than a year, short_series for less than two).
    Raises UsageError for a level outside 0 to 1.

    >>> weeks, random = pd.date_range("2022-01-03", periods=156, freq="W-MON"), np.random.default_rng(7)
    >>> price = 100 * np.exp(np.cumsum(random.normal(0, 0.05, 156)))
    >>> sold = 5000 * (price / 100) ** -2 * np.exp(random.normal(0, 0.1, 156))
    >>> table = pd.DataFrame({"series_id": "milk", "period": weeks, "quantity": sold, "price_minor": price})
    >>> estimate(table).set_index("measure").loc["price_elasticity", ["estimate", "low", "high"]].round(1).tolist()
    [-2.1, -2.3, -2.0]
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level!r}; give the share of intervals that are to cover, for example 0.95")
    designs, refused = design.build(series, step=step, others=others, holidays=holidays, controls=controls)
    rows = [row for batch in _batches(designs) for row in _estimated(batch, step, level)]
    rows += [more for row in refused.to_dict("records") for more in _refused(row)]
    keys = ["series_id", *[name for name in KEYS if name in series]]
    out = pd.DataFrame(rows, columns=["series_id", *COLUMNS])
    numbers = [name for name in COLUMNS if name not in ("measure", "other_id", "method", "note_code")]
    out[numbers] = out[numbers].astype(float)
    named = series[keys].drop_duplicates("series_id")
    out = named.merge(out, on="series_id", how="inner", validate="one_to_many")
    return out.sort_values("series_id", kind="stable", ignore_index=True)


def _batches(designs: list[Design]) -> list[list[Design]]:
    """Return the designs in groups of as many columns and periods."""
    groups: dict[tuple[int, int], list[Design]] = defaultdict(list)
    for made in designs:
        groups[made.regressors.shape].append(made)
    return list(groups.values())


def _fit(batch: list[Design]) -> regression.Fit:
    return regression.fit(np.stack([made.values for made in batch]), np.stack([made.regressors for made in batch]))


def _estimated(batch: list[Design], step: str, level: float) -> list[dict[str, object]]:
    fitted, placebo = _fit(batch), _placebo(batch, level)
    rows: list[dict[str, object]] = []
    for at, made in enumerate(batch):
        reach = float(stats.t.ppf((1 + level) / 2, fitted.freedom[at]))
        luck = {"deviation": fitted.deviation[at]}
        common = {"freedom": fitted.freedom[at], **luck, "periods": int(fitted.periods[at]), "method": METHOD}
        minded = "" if made.seasons >= 2 else "short_series" if made.seasons >= 1 else "season_not_known"
        ahead = placebo.get(made.series_id)
        moved = ahead is not None and not ahead["low"] <= 0 <= ahead["high"]  # type: ignore[operator]
        for measure, other, weights in _asked(made, step):
            mean = float(weights @ fitted.estimate[at])
            error = float(np.sqrt(weights @ fitted.covariance[at] @ weights))
            note = minded
            if measure == "promotion_uplift":
                includes = made.notes.get(PRICE) == "not_separable"
                note = "moves_before_it_begins" if moved else "includes_price" if includes else minded
            first = made.names[int(np.argmax(weights != 0))]
            found = {"measure": measure, "other_id": other, "estimate": mean, "error": error, "note_code": note}
            ends = {
                "low": mean - reach * error,
                "high": mean + reach * error,
                "separable": made.separable.get(first, np.nan),
            }
            if measure == "price_elasticity":
                seen = made.regressors[np.isfinite(made.values), made.names.index(PRICE)]
                ends["seen_low"], ends["seen_high"] = np.exp(np.quantile(seen, (0, 1)) - np.median(seen))
            if PRICE in made.names:
                price = made.names.index(PRICE)
                both = float(weights @ fitted.covariance[at][:, price])
                ends["price_correlation"] = both / (error * float(fitted.error[at, price]))
            rows.append({"series_id": made.series_id, **found, **ends, **common})
        for name, code in made.notes.items():
            rows.append(
                {"series_id": made.series_id, "measure": _NAMES[name], "other_id": "", "note_code": code, **common}
            )
        if ahead is not None:
            rows.append({"series_id": made.series_id, **ahead, **common})
    return rows


def _asked(made: Design, step: str) -> list[tuple[str, str, np.ndarray]]:
    """Return measure, other_id and the weights of the columns that make it up."""
    out = []
    for place, name in enumerate(made.names):
        kind, _, other = name.partition(":")
        if kind in (PRICE, PROMOTION, OTHERS_PROMOTED):
            weights = np.eye(len(made.names))[place]
            out.append(("cross_elasticity" if other else _NAMES[kind], other, weights))
    dips = [f"after_{lag}" for lag in range(1, AFTER[step] + 1)]
    if all(name in made.names for name in dips):
        out.append(("post_promotion_dip", "", np.array([float(name in dips) for name in made.names])))
    return out


def _placebo(batch: list[Design], level: float) -> dict[str, dict[str, object]]:
    """Return the row of the placebo by series, for those that were promoted and where it can be told apart."""
    with_it: dict[tuple[int, int], list[Design]] = defaultdict(list)
    for made in batch:
        if PROMOTION not in made.names:
            continue
        ahead = design.before(made.regressors[:, made.names.index(PROMOTION)])
        seen = np.isfinite(made.values)
        enough = seen.sum() >= made.regressors.shape[1] + 1 + regression.NEED_FREE
        if enough and design.own_share(ahead[seen], list(made.regressors[seen].T)) >= design.NEED_OWN:
            more = made.with_column(BEFORE, ahead)
            with_it[more.regressors.shape].append(more)
    out: dict[str, dict[str, object]] = {}
    for group in with_it.values():
        fitted = _fit(group)
        low, high = fitted.interval(level)
        for at, made in enumerate(group):
            values = {"estimate": fitted.estimate[at, -1], "error": fitted.error[at, -1]}
            ends = {"low": low[at, -1], "high": high[at, -1], "separable": np.nan, "note_code": "placebo"}
            out[made.series_id] = {"measure": "before_promotion", "other_id": "", **values, **ends}
    return out


def _refused(row: dict[Hashable, Any]) -> list[dict[str, object]]:
    common = {"other_id": "", "method": METHOD, "note_code": row["note_code"], "periods": row["found"]}
    return [{"series_id": row["series_id"], "measure": measure, **common} for measure in MEASURES[:3]]
