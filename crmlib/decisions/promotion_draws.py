"""Draws of what price and promotion do to a product, from the saved table of effects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError

MEASURES = ("price_elasticity", "promotion_uplift", "post_promotion_dip")
NEEDED = ("product_id", "region", "measure", "estimate", "error", "method", "note_code")
DRAWS = 1000
Z95 = 1.959964
_CERTAIN = ("own", "few", "pooled", "shrunk")


@dataclass(frozen=True, eq=False)
class Drawn:
    """The effects of one product, drawn.

    Attributes: ``price``, ``promotion``, ``dip`` (draws; zeros where the past shows none of it and it is not asked for); ``luck`` of the
    weeks together, in logs, with which demand differs from what was to be expected; ``codes`` reasons
    to mind, by measure, and ``methods`` how each is known.
    """

    price: np.ndarray = field(repr=False)
    promotion: np.ndarray = field(repr=False)
    dip: np.ndarray = field(repr=False)
    luck: np.ndarray = field(repr=False)
    codes: dict[str, str]
    methods: dict[str, str]


def check(effects: pd.DataFrame) -> None:
    """Raise DataError where the table of effects lacks a column."""
    missing = set(NEEDED) - set(effects)
    if missing:
        raise DataError(
            f"price_effects has no column {', '.join(sorted(missing))}; give the table that `crm effects` saved"
        )


def rows_of(effects: pd.DataFrame, product_id: str, region: str = "") -> dict[str, pd.Series]:
    """Return the row of each measure of a product: of the region where there is one, else of all regions."""
    found: dict[str, pd.Series] = {}
    mine = effects[effects["product_id"] == product_id]
    for measure in MEASURES:
        rows = mine[mine["measure"] == measure]
        for place in (region, ""):
            here = rows[rows["region"] == place]
            if len(here) and np.isfinite(here["estimate"].iloc[0]):
                found[measure] = here.iloc[0]
                break
    return found


def draw(
    effects: pd.DataFrame,
    product_id: str,
    *,
    region: str = "",
    needed: tuple[str, ...] = (),
    seed: int = 7,
    draws: int = DRAWS,
) -> Drawn:
    """Return draws of the effects of a product in a region.

    The same seed moves the errors of a product's regions together: they share most of what they know. Raises DataError where a measure that is ``needed`` is known neither of the product nor of its group.
    """
    rows = rows_of(effects, product_id, region)
    for measure in needed:
        if measure not in rows:
            why = _why(effects, product_id, measure)
            raise DataError(
                f"product {product_id}: its {measure.replace('_', ' ')} is not known, nor that of any like it ({why}); "
                "wait until its price has moved or it was promoted, and run `crm effects` again"
            )
    normal = np.random.default_rng([seed, *product_id.encode()]).standard_normal((len(MEASURES) + 1, draws))
    out = {}
    for place, measure in enumerate(MEASURES):
        row = rows.get(measure)
        if row is None:
            out[measure] = np.zeros(draws)
            continue
        share = 0.0
        if place and "price_elasticity" in rows and pd.notna(row.get("price_correlation")):
            share = float(np.clip(row["price_correlation"], -0.99, 0.99))
        own = normal[place] if not share else share * normal[0] + np.sqrt(1 - share**2) * normal[place]
        out[measure] = float(row["estimate"]) + spread(row) * own
    return Drawn(
        out["price_elasticity"],
        out["promotion_uplift"],
        out["post_promotion_dip"],
        _luck(rows) * normal[-1],
        {measure: _code(row) for measure, row in rows.items() if _code(row)},
        {measure: str(row["method"]) for measure, row in rows.items()},
    )


def spread(row: Mapping[Hashable, Any] | pd.Series) -> float:
    """Return the standard deviation of draws whose 95% interval is that of the row: low to high, else its error's.

    Where few regions were brought together, the interval is wider than its error times two: they tell the error only roughly.
    """
    low, high = (float(row.get(name, np.nan)) for name in ("low", "high"))
    return (high - low) / (2 * Z95) if np.isfinite(high - low) else float(row["error"])


def _luck(rows: dict[str, pd.Series]) -> float:
    known = [float(row["deviation"]) for row in rows.values() if pd.notna(row.get("deviation"))]
    return known[0] if known else 0.0


def _code(row: pd.Series) -> str:
    code = str(row["note_code"])
    if row["method"] in _CERTAIN:
        return code
    return code or "known_from_group"


def _why(effects: pd.DataFrame, product_id: str, measure: str) -> str:
    rows = effects[(effects["product_id"] == product_id) & (effects["measure"] == measure)]
    if rows.empty:
        return "no such product in the table"
    return str(rows["note_code"].iloc[0]).replace("_", " ") or "not estimated"
