"""What the effect of a campaign comes to, as codes with parameters; ``views.effect_words`` makes sentences of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from crmlib.decisions.experiments import contract
from crmlib.decisions.experiments.effects import NOT_ENOUGH
from crmlib.errors import UsageError

Code = dict[str, Any]


def verdict(effects: pd.DataFrame, *, measure: str = "profit_minor", arm: str = "", confidence: float = 0.95) -> Code:
    """Return what is known of one measure: "gained", "lost" or "unclear" with low, high and value, or "not_enough_data".

    In: a table of ``final`` or ``interim`` made with the same ``confidence``; ``arm`` default: all together. The figures are
    totals: buyers, or minor units. "unclear" says that the interval includes zero.
    """
    rows = effects[effects["measure"] == measure]
    wanted = arm or (contract.ALL_ARMS if (rows["arm"] == contract.ALL_ARMS).any() else "")
    rows = rows[rows["arm"] == wanted] if wanted else rows
    if len(rows) != 1:
        known = ", ".join(sorted(effects["arm"].unique()))
        raise UsageError(f"there is no effect of arm {arm!r} on {measure}; the arms are {known}")
    row = rows.iloc[0]
    about = {"measure": measure, "arm": str(row["arm"]), "confidence": confidence}
    if row["code"] == NOT_ENOUGH:
        return {"code": NOT_ENOUGH, **about, "found": int(row["found"]), "need": int(row["need"])}
    low, high = float(row["total_low"]), float(row["total_high"])
    code = "gained" if low > 0 else "lost" if high < 0 else "unclear"
    return {"code": code, **about, "value": float(row["total"]), "low": low, "high": high}


def verdicts(effects: pd.DataFrame, *, confidence: float = 0.95) -> list[Code]:
    """Return the verdict of each row of a table of effects: all arms together first, profit before the rest."""
    arms = sorted(effects["arm"].unique(), key=lambda name: (name != contract.ALL_ARMS, name))
    order = ("profit_minor", "conversions", "revenue_minor")
    return [verdict(effects, measure=m, arm=arm, confidence=confidence) for arm in arms for m in order]
