"""What price and promotions do to each product: the estimates of its regions brought together, and those of its group.

A product that was never promoted, or whose price never moved, gets what the other products of its group show (of all groups,
where its own has fewer than three to show), with the interval of another one of them, which is wider, and the reason. The placebo is judged for each product, all regions together, with the
level shared among the products (Bonferroni), so that among many products none is blamed by chance alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.effects import pooling

PLANNED = ("price_elasticity", "promotion_uplift", "post_promotion_dip")
"""The measures that plans are made with."""
COLUMNS = [
    "product_id",
    "product_group",
    "region",
    "measure",
    "estimate",
    "low",
    "high",
    "error",
    "new_low",
    "new_high",
    "price_correlation",
    "seen_low",
    "seen_high",
    "deviation",
    "series",
    "method",
    "note_code",
]
_MIND = "moves_before_it_begins"


def bring_together(estimates: pd.DataFrame, *, level: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the effects to plan with, and the cross elasticities.

    In: the table of ``elasticity.estimate`` for series by product, or product and region (product_group where it is known).
    Out: first product_id, product_group, region, measure, estimate, low, high, error, new_low and new_high (of another product of the
    group), price_correlation (of the error with that of the elasticity), seen_low and seen_high (prices seen, over the usual
    one), deviation (spread of one period's luck, in logs), series (estimates behind it), method, note_code.
    A row with region "" is the product in all regions ("pooled"; "few" or "own" below three series), one with product_id "" its
    group ("pooled"), one with neither product nor group everything. Rows by region are drawn to their product ("shrunk"). Where a
    product shows nothing, method is "group" or "all", note_code says why. Second: product_id, other_id, elasticity, low,
    high, error, series. Raises DataError where product_id is missing.
    """
    if "product_id" not in estimates:
        raise DataError("estimates have no column product_id; make the series by product_id, or product_id and region")
    given = estimates.copy()
    for name in ("product_group", "region"):
        given[name] = given[name].astype("str").fillna("") if name in given else ""
    own = given[given["measure"].isin(PLANNED)]
    minded = _moved_before(given, level)
    parts = []
    for measure in PLANNED:
        rows = own[own["measure"] == measure]
        products = _products(rows, level)
        groups = _pooled(products, ["product_group"], level).assign(product_id="", region="")
        everything = _pooled(products.assign(all_=""), ["all_"], level).drop(columns="all_")
        everything = everything.assign(product_id="", product_group="", region="")
        products = _borrowed(products, groups, everything, level)
        regions = _regions(rows, products, level)
        parts.append(pd.concat([everything, groups, products, regions], ignore_index=True).assign(measure=measure))
    out = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    numbers = ["estimate", "low", "high", "error", "new_low", "new_high", "price_correlation", "deviation"]
    out[numbers] = out[numbers].astype(float)
    moved = out["product_id"].isin(minded) & (out["measure"] == "promotion_uplift") & np.isfinite(out["estimate"])
    out.loc[moved & out["method"].isin(["own", "few", "pooled", "shrunk"]), "note_code"] = _MIND
    out["note_code"] = out["note_code"].fillna("")
    seen = given.groupby("product_id").agg(seen_low=("seen_low", "min"), seen_high=("seen_high", "max")).reset_index()
    out = out.drop(columns=["seen_low", "seen_high"]).merge(seen, on="product_id", how="left", validate="many_to_one")
    out["series"] = out["series"].fillna(0).astype("int64")
    out = out.sort_values(["measure", "product_group", "product_id", "region"], ignore_index=True)
    return out[COLUMNS], _cross(given, level)


def _products(rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return one row for each product: its series pooled, or without an estimate and why."""
    names = rows[["product_id", "product_group"]].drop_duplicates("product_id")
    pooled = _pooled(rows, ["product_id"], level)
    out = names.merge(pooled, on="product_id", how="left", validate="one_to_one").assign(region="")
    notes = rows.groupby("product_id")["note_code"].agg(_commonest).rename("note_code").reset_index()
    return out.merge(notes, on="product_id", how="left", validate="one_to_one").astype({"estimate": float})


def _pooled(rows: pd.DataFrame, by: list[str], level: float) -> pd.DataFrame:
    found = pooling.table(rows, by, level=level)
    known = rows[np.isfinite(rows["estimate"].astype(float))]
    mean = known.groupby(by)[["price_correlation", "deviation"]].mean().reset_index()
    return found.merge(mean, on=by, how="left", validate="one_to_one")


def _commonest(notes: pd.Series) -> str:
    """Return the commonest note; one that only a minority of the series have does not speak for the product."""
    return str(notes[notes != _MIND].mode().iloc[0]) if (notes != _MIND).any() else ""


def _borrowed(products: pd.DataFrame, groups: pd.DataFrame, everything: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the products with those that show nothing given what their group, or all products, show of another one."""
    out = products
    for method, source in (
        ("group", groups.set_index("product_group")),
        ("all", everything.set_index("product_group")),
    ):
        key = out["product_group"] if method == "group" else pd.Series("", index=out.index)
        empty = ~np.isfinite(out["estimate"].astype(float)) & key.isin(source.index)
        if not empty.any():
            continue
        out = out.copy()
        found = source.reindex(key[empty])
        reach = found["new_high"].to_numpy(float) - found["new_low"].to_numpy(float)
        out.loc[empty, "estimate"] = found["estimate"].to_numpy(float)
        out.loc[empty, "low"], out.loc[empty, "high"] = found["new_low"].to_numpy(), found["new_high"].to_numpy()
        out.loc[empty, "error"] = reach / (2 * stats.norm.ppf((1 + level) / 2))
        for name in ("price_correlation", "deviation"):
            out.loc[empty, name] = found[name].to_numpy(float)
        out.loc[empty, "series"] = found["series"].to_numpy(float)
        out.loc[empty, "method"] = method
    return out.assign(method=out["method"].astype("object").fillna("none"))


def _regions(rows: pd.DataFrame, products: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the rows by region drawn to their product; none where series are not by region."""
    rows = rows[rows["region"] != ""]
    pooled = products[products["method"].isin(["pooled", "few", "own"])]
    if rows.empty or pooled.empty:
        return rows.iloc[:0]
    names = [
        "product_id",
        "product_group",
        "region",
        "estimate",
        "error",
        "price_correlation",
        "deviation",
        "note_code",
    ]
    drawn = pooling.shrink(rows[names], pooled, ["product_id"], level=level)
    drawn = drawn[drawn["method"] != "none"]
    return drawn.assign(note_code=drawn["note_code"].where(drawn["note_code"] != _MIND, ""))


def _moved_before(given: pd.DataFrame, level: float) -> list[str]:
    """Return the products whose demand moves before their promotions begin, all regions together."""
    placebo = given[(given["measure"] == "before_promotion") & np.isfinite(given["estimate"])]
    products = placebo["product_id"].nunique()
    if not products:
        return []
    found = pooling.table(placebo, ["product_id"], level=1 - (1 - level) / products)
    return found.loc[(found["low"] > 0) | (found["high"] < 0), "product_id"].tolist()


def _cross(given: pd.DataFrame, level: float) -> pd.DataFrame:
    rows = given[given["measure"] == "cross_elasticity"]
    found = pooling.table(rows, ["product_id", "other_id"], level=level)
    return found.rename(columns={"estimate": "elasticity"})[
        ["product_id", "other_id", "elasticity", "low", "high", "error", "series"]
    ]
