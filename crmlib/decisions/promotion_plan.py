"""What the next promotion or price would do: demand by period and profit, with intervals, from saved tables.

Demand is multiplied by price_ratio ** elasticity × exp(uplift × promoted); the dip afterwards, measured in usual weeks of demand,
lies in the two weeks (or within the longer period) that follow. Others in the same region move by price_ratio ** cross elasticity. It is
assumed that the forecast is one for usual prices without a promotion (where its column ``promotion`` has one planned in a changed
period, the code promotion_planned says that it would count twice), that competitors keep theirs, that there is stock enough,
and that errors of the forecast's periods move together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.decisions import promotion_draws
from crmlib.decisions.promotion_draws import DRAWS, Z95, Drawn
from crmlib.errors import DataError, UsageError

ASSUMED = ("usual_price_without_promotion", "competitors_keep_prices", "stock_suffices")
"""What every what-if takes for granted."""
_ENDS = {"low_80": 0.1, "high_80": 0.9, "low_95": 0.025, "high_95": 0.975}
_DIP_DAYS = 14


def what_if(
    forecast: pd.DataFrame,
    effects: pd.DataFrame,
    *,
    price_ratio: float = 1.0,
    promoted: float = 0.0,
    periods: Sequence[pd.Timestamp] | None = None,
    seed: int = 7,
) -> pd.DataFrame:
    """Return the forecast with another price or a promotion, a row per series and period.

    In: a forecast table with product_id (and region; promotion, the share planned already); the effects that `crm effects` saved; ``price_ratio`` new
    price over the usual one and ``promoted`` share (0 to 1) of each of the ``periods`` (default: all). Out: series_id, product_id,
    region, period, usual (mean of the forecast), mean, low_80, high_80, low_95, high_95, ratio (mean over usual) with
    ratio_low and ratio_high (95%, of the effect alone), method (how the effect is known) and codes (to mind, a tuple: never_promoted,
    moves_before_it_begins, beyond_prices_seen, promotion_planned …). Raises UsageError for a ratio not above 0, a share outside 0 to 1 or a
    period that is not in the forecast, DataError where an effect is known neither of the product nor of its group.
    """
    _check(forecast, effects, price_ratio, promoted)
    parts = [
        _one(rows, effects, price_ratio=price_ratio, promoted=promoted, periods=periods, seed=seed)[0]
        for _, rows in _by_series(forecast)
    ]
    return pd.concat(parts, ignore_index=True)


def profit_if(
    forecast: pd.DataFrame,
    effects: pd.DataFrame,
    *,
    product_id: str,
    economics: pd.DataFrame,
    cross: pd.DataFrame | None = None,
    price_ratio: float = 1.0,
    promoted: float = 0.0,
    periods: Sequence[pd.Timestamp] | None = None,
    fixed_cost_minor: float = 0.0,
    seed: int = 7,
) -> pd.DataFrame:
    """Return what a promotion of one product would bring, one row.

    In: as ``what_if``; the dip beyond the forecast's end is reckoned at the demand of its last period. ``economics`` with product_id, price_minor (usual) and cost_minor of a piece; ``cross`` (product_id,
    other_id, elasticity, error) for the products of the forecast that it would take sales from. Out: product_id,
    pieces (sold while it runs), uplift_pieces, dip_pieces and cannibalised_pieces (lost), margin_minor (change), cost_minor, profit_minor,
    each with _low and _high (95%), chance (that it pays), codes. Raises as ``what_if``, and DataError without the price and cost.
    """
    _check(forecast, effects, price_ratio, promoted)
    mine = forecast[forecast["product_id"] == product_id]
    if mine.empty:
        raise DataError(f"the forecast has no product {product_id}; it has {_some(forecast['product_id'])}")
    price, cost = _price_and_cost(economics, product_id)
    effects = effects[effects["product_id"] == product_id]
    sold, extra, dip, lost, lost_margin = (np.zeros(DRAWS) for _ in range(5))
    codes: set[str] = set()
    for _, rows in _by_series(mine):
        table, drawn = _one(rows, effects, price_ratio=price_ratio, promoted=promoted, periods=periods, seed=seed)
        codes |= set(table["codes"].iloc[0])
        now = drawn["changed"][:, None]
        sold += (drawn["new"] * now).sum(axis=0)
        extra += ((drawn["new"] - drawn["usual"]) * now).sum(axis=0)
        dip += ((drawn["usual"] - drawn["new"]) * ~now).sum(axis=0) + drawn["beyond"]
    if cross is not None and price_ratio != 1:
        moved = float(np.log(price_ratio))
        lost, lost_margin = _taken(
            forecast, cross, product_id, economics=economics, log_ratio=moved, periods=periods, seed=seed
        )
    margin = price_ratio * price - cost
    change = sold * margin - (sold - extra) * (price - cost) - dip * (price - cost) - lost_margin
    profit = change - fixed_cost_minor
    out: dict[str, object] = {"product_id": product_id}
    names = ("pieces", "uplift_pieces", "dip_pieces", "cannibalised_pieces", "margin_minor", "profit_minor")
    for name, values in zip(names, (sold, extra, dip, lost, change, profit), strict=True):
        low, high = np.quantile(values, (0.025, 0.975))
        out |= {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    out |= {"cost_minor": float(fixed_cost_minor), "chance": float((profit > 0).mean()), "codes": tuple(sorted(codes))}
    return pd.DataFrame([out])


def _check(forecast: pd.DataFrame, effects: pd.DataFrame, price_ratio: float, promoted: float) -> None:
    missing = {"series_id", "product_id", "period", "mean", "low_95", "high_95"} - set(forecast)
    if missing:
        raise DataError(f"forecast has no column {', '.join(sorted(missing))}; it has {', '.join(map(str, forecast))}")
    if forecast.empty:
        raise DataError("the forecast has no rows; choose a series and periods that were forecast")
    promotion_draws.check(effects)
    if not np.isfinite(price_ratio) or price_ratio <= 0:
        raise UsageError(f"price_ratio is {price_ratio!r}; give the new price over the usual one, for example 0.85")
    if not 0 <= promoted <= 1:
        raise UsageError(f"promoted is {promoted!r}; give the share of the period that is promoted, 0 to 1")


def _by_series(forecast: pd.DataFrame) -> list[tuple[object, pd.DataFrame]]:
    return list(forecast.sort_values("period").groupby("series_id", sort=True))


def _one(
    rows: pd.DataFrame,
    effects: pd.DataFrame,
    *,
    price_ratio: float,
    promoted: float,
    periods: Sequence[pd.Timestamp] | None,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return the table of one series, and its draws (periods × draws) of demand as usual and anew."""
    product = str(rows["product_id"].iloc[0])
    region = str(rows["region"].iloc[0]) if "region" in rows else ""
    needed = ("price_elasticity",) * (price_ratio != 1) + ("promotion_uplift",) * (promoted > 0)
    drawn = promotion_draws.draw(effects, product, region=region, needed=needed, seed=seed)
    changed = _changed(rows["period"], periods)
    during = np.log(price_ratio) * drawn.price + promoted * drawn.promotion
    factor = np.where(changed[:, None], np.exp(during), 1.0)
    dipped = _dipped(rows["period"], changed)
    inside = len(rows)
    factor = factor * np.exp(dipped[:inside, None] * promoted * drawn.dip)
    usual = _demand(rows, seed)
    beyond = -np.expm1(dipped[inside:, None] * promoted * drawn.dip).sum(axis=0) * usual[-1]
    new = usual * factor
    # The usual plan keeps its own interval; only what is changed is drawn.
    same = (factor == 1).all(axis=1)
    mean = rows["mean"].to_numpy(float) * factor.mean(axis=1)
    ends = {name: np.quantile(new, level, axis=1) for name, level in _ENDS.items()}
    low, high = np.quantile(factor, (0.025, 0.975), axis=1)
    codes = _codes(drawn, needed, effects, product, price_ratio)
    if needed and "promotion" in rows and (rows["promotion"].to_numpy(float)[changed] > 0).any():
        codes = (*codes, "promotion_planned")
    table = pd.DataFrame(
        {
            "series_id": rows["series_id"].to_numpy(),
            "product_id": product,
            "region": region,
            "period": rows["period"].to_numpy(),
            "usual": rows["mean"].to_numpy(float),
            "mean": mean,
            **{
                name: np.where(same & (name in rows), rows.get(name, pd.Series(0.0, rows.index)), end)
                for name, end in ends.items()
            },
            "ratio": factor.mean(axis=1),
            "ratio_low": low,
            "ratio_high": high,
            "method": next((drawn.methods[measure] for measure in reversed(needed)), ""),
        }
    )
    table["codes"] = [codes] * len(table)
    return table, {"usual": usual, "new": new, "changed": changed, "beyond": beyond}


def _changed(periods: pd.Series, chosen: Sequence[pd.Timestamp] | None) -> np.ndarray:
    if chosen is None:
        return np.ones(len(periods), dtype=bool)
    wanted = pd.DatetimeIndex(pd.to_datetime(list(chosen)))
    unknown = wanted[~wanted.isin(pd.DatetimeIndex(periods))]
    if len(unknown):
        raise UsageError(
            f"period {unknown[0]:%Y-%m-%d} is not in the forecast, which runs from {periods.min():%Y-%m-%d} to {periods.max():%Y-%m-%d}"
        )
    return periods.isin(wanted).to_numpy()


def _dipped(periods: pd.Series, changed: np.ndarray) -> np.ndarray:
    """Return how much of the dip, which is in usual weeks, falls in each period, and in those after the last that it reaches.

    Half of it in each of two weeks: on each of 14 days half (of a day's demand), of a month with 30 days 7 / 30.
    """
    days = float(periods.diff().dt.days.median()) if len(periods) > 1 else 7.0
    spread, share = (round(_DIP_DAYS / days), 0.5) if days <= _DIP_DAYS / 2 else (1, 7 / days)
    longer = np.concatenate([changed, np.zeros(spread, dtype=bool)])
    out = np.zeros(len(longer))
    for lag in range(1, spread + 1):
        since = np.logical_or.reduce([longer[lag - back : len(longer) - back] for back in range(lag)])
        out[lag:] += longer[:-lag] & ~since
    return out * share


def _demand(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Return draws of the forecast (periods × draws): two half normals that meet at the mean, never below nothing unless it is."""
    z = np.random.default_rng([seed, 1]).standard_normal(DRAWS)[None, :]
    mean, low, high = (rows[name].to_numpy(float)[:, None] for name in ("mean", "low_95", "high_95"))
    drawn = mean + np.where(z > 0, high - mean, mean - low) * z / Z95
    return drawn if (low < 0).any() else np.maximum(drawn, 0.0)


def _codes(
    drawn: Drawn, needed: tuple[str, ...], effects: pd.DataFrame, product: str, price_ratio: float
) -> tuple[str, ...]:
    found = [drawn.codes[measure] for measure in needed if measure in drawn.codes]
    if {"seen_low", "seen_high"} <= set(effects) and price_ratio != 1:
        mine = effects[effects["product_id"] == product]
        lowest, highest = mine["seen_low"].min(), mine["seen_high"].max()
        if price_ratio < lowest or price_ratio > highest:
            found.append("beyond_prices_seen")
    return tuple(dict.fromkeys(found))


def _taken(
    forecast: pd.DataFrame,
    cross: pd.DataFrame,
    product_id: str,
    *,
    economics: pd.DataFrame,
    log_ratio: float,
    periods: Sequence[pd.Timestamp] | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces, and their margin, that other products of the forecast lose while the price is another one."""
    lost, margin = np.zeros(DRAWS), np.zeros(DRAWS)
    regions = set(forecast.loc[forecast["product_id"] == product_id, "region"]) if "region" in forecast else None
    for row in cross[cross["other_id"] == product_id].to_dict("records"):
        theirs = forecast[forecast["product_id"] == row["product_id"]]
        if regions is not None:
            theirs = theirs[theirs["region"].isin(regions)]
        if theirs.empty:
            continue
        z = np.random.default_rng([seed, *str(row["product_id"]).encode()]).standard_normal(DRAWS)
        factor = np.exp(log_ratio * (float(row["elasticity"]) + promotion_draws.spread(row) * z))
        price, cost = _price_and_cost(economics, str(row["product_id"]))
        for _, rows in _by_series(theirs):
            here = _changed(rows["period"], periods)
            gone = float(rows["mean"].to_numpy(float)[here].sum()) * (1 - factor)
            lost += gone
            margin += gone * (price - cost)
    return lost, margin


def _price_and_cost(economics: pd.DataFrame, product_id: str) -> tuple[float, float]:
    rows = economics[economics["product_id"] == product_id]
    if rows.empty or rows[["price_minor", "cost_minor"]].isna().any(axis=None):
        raise DataError(
            f"product {product_id} has no price_minor or cost_minor; fill both in the table products to know what it earns"
        )
    return float(rows["price_minor"].iloc[0]), float(rows["cost_minor"].iloc[0])


def _some(names: pd.Series) -> str:
    known = sorted(names.astype(str).unique())
    return ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
