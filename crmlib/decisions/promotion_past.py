"""What each past promotion brought: pieces gained, taken from other products and missing afterwards, and the profit.

What would have been sold without it is what was sold, divided by the effect of promotion and price. Whether a good week owes
its sales to the promotion or to luck is not known: the intervals hold both. The usual price is that of the last four weeks without a promotion. Others of the company's products in the same
region lose what the lower price takes from them by their cross elasticity. A piece earns its price less cost_minor, as the
table of products has it now.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crmlib.decisions import promotion_draws
from crmlib.decisions.promotion_draws import DRAWS
from crmlib.errors import DataError

BEFORE_WEEKS = 4
AFTER_WEEKS = 2
COLUMNS = [
    "promotion_id",
    "product_id",
    "region",
    "starts_on",
    "ends_on",
    "price_ratio",
    *[f"{name}_pieces{end}" for name in ("uplift", "cannibalised", "dip") for end in ("", "_low", "_high")],
    "margin_minor",
    "cost_minor",
    "profit_minor",
    "profit_low_minor",
    "profit_high_minor",
    "chance",
    "method",
    "note_code",
]
_WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True, eq=False)
class _Place:
    """The weeks of one product in one region."""

    weeks: np.ndarray = field(repr=False)
    quantity: np.ndarray = field(repr=False)
    price: np.ndarray = field(repr=False)
    promoted: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Known:
    """What all promotions are reckoned with: weeks and effects by product and region, cost, and who loses to whom."""

    places: dict[tuple[str, str], _Place]
    effects: dict[tuple[str, str], promotion_draws.Drawn]
    cost: dict[str, float]
    rivals: dict[str, list[tuple[str, np.ndarray]]]


def past(
    series: pd.DataFrame,
    effects: pd.DataFrame,
    *,
    promotions: pd.DataFrame,
    products: pd.DataFrame,
    cross: pd.DataFrame | None = None,
    seed: int = 7,
) -> pd.DataFrame:
    """Return what each promotion that ended within the series brought, a row per promotion.

    In: a series table by product, region and week (quantity, price_minor, promotion); the effects and ``cross`` that `crm effects`
    saved; ``promotions`` (promotion_id, product_id, region or "all", starts_on, ends_on, cost_minor); ``products`` (product_id,
    cost_minor, maker). Out: promotion_id, product_id, region, starts_on, ends_on, price_ratio (to the usual), uplift_pieces, cannibalised_pieces and
    dip_pieces (lost), each with _low and _high, margin_minor (change), cost_minor (fixed; 0 where none is on record), profit_minor, profit_low_minor, profit_high_minor,
    chance (that it paid), method, note_code. All intervals are 95%. Profit is not a number with note_code no_cost where a product
    has no cost_minor; promotions whose product has no series or no known effect are left out, see ``left_out``.
    Raises DataError for a missing column or promotion dates in the wrong order.
    """
    _check(series, effects, promotions, products)
    known = _known(series, effects, promotions, products=products, cross=cross, seed=seed)
    ordered = promotions.sort_values(["starts_on", "promotion_id"]).to_dict("records")
    rows = [found for given in ordered if (found := _one(given, known)) is not None]
    return pd.DataFrame(rows, columns=COLUMNS)


def left_out(done: pd.DataFrame, promotions: pd.DataFrame, *, last: pd.Timestamp) -> pd.DataFrame:
    """Return the promotions not reckoned: promotion_id, product_id, code (not_ended by the ``last`` period's end, no_series_or_effect)."""
    rest = promotions[~promotions["promotion_id"].isin(done["promotion_id"])]
    running = pd.to_datetime(rest["ends_on"]) >= last + pd.Timedelta(days=7)
    return pd.DataFrame(
        {
            "promotion_id": rest["promotion_id"],
            "product_id": rest["product_id"],
            "code": np.where(running, "not_ended", "no_series_or_effect"),
        }
    ).reset_index(drop=True)


def _check(series: pd.DataFrame, effects: pd.DataFrame, promotions: pd.DataFrame, products: pd.DataFrame) -> None:
    promotion_draws.check(effects)
    wanted = {
        "series": (series, {"product_id", "region", "period", "quantity", "price_minor", "promotion"}),
        "promotions": (promotions, {"promotion_id", "product_id", "region", "starts_on", "ends_on", "cost_minor"}),
        "products": (products, {"product_id", "cost_minor", "maker"}),
    }
    for name, (table, columns) in wanted.items():
        missing = columns - set(table)
        if missing:
            raise DataError(f"{name} has no column {', '.join(sorted(missing))}; it has {', '.join(map(str, table))}")
    backwards = promotions[pd.to_datetime(promotions["ends_on"]) < pd.to_datetime(promotions["starts_on"])]
    if len(backwards):
        raise DataError(f"promotion {backwards['promotion_id'].iloc[0]} ends before it starts; mend its dates")


def _places(series: pd.DataFrame) -> dict[tuple[str, str], _Place]:
    out = {}
    for (product, region), rows in series.sort_values("period").groupby(["product_id", "region"], sort=False):
        price = rows["price_minor"].to_numpy(float)
        out[str(product), str(region)] = _Place(
            rows["period"].to_numpy("datetime64[D]"),
            np.maximum(rows["quantity"].to_numpy(float), 0.0),
            pd.Series(price).ffill().bfill().to_numpy(),
            np.nan_to_num(rows["promotion"].to_numpy(float)),
        )
    return out


def _known(
    series: pd.DataFrame,
    effects: pd.DataFrame,
    promotions: pd.DataFrame,
    *,
    products: pd.DataFrame,
    cross: pd.DataFrame | None,
    seed: int,
) -> _Known:
    places, promoted = _places(series), set(promotions["product_id"])
    drawn = {
        place: promotion_draws.draw(effects, place[0], region=place[1], seed=seed)
        for place in places
        if place[0] in promoted
    }
    rivals: dict[str, list[tuple[str, np.ndarray]]] = {}
    own = set(products.loc[products["maker"].fillna("") == "", "product_id"])
    for row in [] if cross is None else cross[cross["product_id"].isin(own)].to_dict("records"):
        z = np.random.default_rng([seed, *str(row["product_id"]).encode()]).standard_normal(DRAWS)
        effect = float(row["elasticity"]) + promotion_draws.spread(row) * z
        rivals.setdefault(str(row["other_id"]), []).append((str(row["product_id"]), effect))
    cost = dict(zip(products["product_id"].astype(str), products["cost_minor"].astype(float), strict=True))
    return _Known(places, drawn, cost, rivals)


def _one(given: dict[Hashable, Any], known: _Known) -> dict[str, object] | None:
    """Return the row of one promotion, all its regions together."""
    product, region = str(given["product_id"]), given["region"]
    everywhere = pd.isna(region) or str(region) in ("", "all")
    regions = [place for name, place in known.places if name == product and (everywhere or place == str(region))]
    starts, ends = (
        pd.Timestamp(given[name]).to_datetime64().astype("datetime64[D]") for name in ("starts_on", "ends_on")
    )
    sums = {name: np.zeros(DRAWS) for name in ("uplift", "cannibalised", "dip", "margin")}
    ratios, notes, method = [], [], ""
    for place in regions:
        here, drawn = known.places[product, place], known.effects[product, place]
        share = _share(here.weeks, starts, ends)
        usual = _usual(here, starts)
        if not share.any() or ends >= here.weeks[-1] + _WEEK or not np.isfinite(usual) or not drawn.methods:
            continue
        cut = np.where(share > 0, np.log(here.price / usual), 0.0)
        cost = known.cost.get(product, float("nan"))
        took = _took(here, drawn, share=share, cut=cut, usual=usual, cost=cost)
        lost, worth = _lost(known, product, place, cut=cut)
        took |= {"cannibalised": lost, "margin": took["margin"] - worth}
        for name, values in took.items():
            sums[name] += values
        ratios.append(float(np.exp(np.average(cut, weights=share))))
        notes += list(drawn.codes.values())
        method = drawn.methods.get("promotion_uplift", method)
    if not ratios:
        return None
    return _row(given, sums, ratio=float(np.mean(ratios)), method=method, notes=notes)


def _share(weeks: np.ndarray, starts: np.datetime64, ends: np.datetime64) -> np.ndarray:
    """Return the share of each week that the promotion ran."""
    first, last = np.maximum(weeks, starts), np.minimum(weeks + _WEEK, ends + np.timedelta64(1, "D"))
    return np.maximum((last - first).astype(float), 0.0) / 7


def _usual(here: _Place, starts: np.datetime64) -> float:
    """Return the median price of the last weeks without a promotion before it, or else of the first ones after it."""
    calm = (here.promoted == 0) & np.isfinite(here.price)
    before, after = here.price[calm & (here.weeks + _WEEK <= starts)], here.price[calm & (here.weeks > starts)]
    chosen = before[-BEFORE_WEEKS:] if len(before) else after[:BEFORE_WEEKS]
    return float(np.median(chosen)) if len(chosen) else float("nan")


def _took(
    here: _Place, drawn: promotion_draws.Drawn, *, share: np.ndarray, cut: np.ndarray, usual: float, cost: float
) -> dict[str, np.ndarray]:
    """Return draws of the pieces gained, those missing afterwards, and the change of margin."""
    during = share > 0
    sold = here.quantity[during][:, None]
    effect = cut[during][:, None] * drawn.price + share[during][:, None] * drawn.promotion
    luck = np.exp(drawn.luck - drawn.luck.var() / 2)
    sold, without = sold * luck, sold * luck * np.exp(-effect)
    uplift = (sold - without).sum(axis=0)
    whole_week = without.sum(axis=0) / during.sum()
    dip = whole_week * float(share.max()) * AFTER_WEEKS * -np.expm1(drawn.dip / AFTER_WEEKS)
    margin = (sold * (here.price[during][:, None] - cost) - without * (usual - cost)).sum(axis=0) - dip * (usual - cost)
    return {"uplift": uplift, "dip": dip, "margin": margin}


def _lost(known: _Known, product: str, region: str, *, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of the pieces that the company's other products lost, and their margin."""
    pieces, worth = np.zeros(DRAWS), np.zeros(DRAWS)
    weeks = known.places[product, region].weeks[cut != 0]
    for name, effect in known.rivals.get(product, []):
        other = known.places.get((name, region))
        if other is None:
            continue
        at = np.searchsorted(other.weeks, weeks)
        found = at < len(other.weeks)
        found[found] = other.weeks[at[found]] == weeks[found]
        rows = at[found]
        gone = other.quantity[rows][:, None] * np.expm1(-cut[cut != 0][found][:, None] * effect)
        pieces += gone.sum(axis=0)
        worth += (gone * (other.price[rows][:, None] - known.cost.get(name, float("nan")))).sum(axis=0)
    return pieces, worth


def _row(
    given: dict[Hashable, Any], sums: dict[str, np.ndarray], *, ratio: float, method: str, notes: list[str]
) -> dict[str, object]:
    paid = given["cost_minor"]
    cost = 0.0 if pd.isna(paid) else float(paid)
    profit = sums["margin"] - cost
    known = bool(np.isfinite(profit).all())
    out: dict[str, object] = {
        name: given[name] for name in ("promotion_id", "product_id", "region", "starts_on", "ends_on")
    }
    out["price_ratio"] = ratio
    for name in ("uplift", "cannibalised", "dip"):
        low, high = np.quantile(sums[name], (0.025, 0.975))
        out |= {f"{name}_pieces": float(sums[name].mean()), f"{name}_pieces_low": low, f"{name}_pieces_high": high}
    low, high = np.quantile(profit, (0.025, 0.975))
    out |= {"margin_minor": float(sums["margin"].mean()), "cost_minor": cost, "profit_minor": float(profit.mean())}
    out |= {"profit_low_minor": low, "profit_high_minor": high}
    out["chance"] = float((profit > 0).mean()) if known else float("nan")
    out |= {"method": method, "note_code": "no_cost" if not known else notes[0] if notes else ""}
    return out
