"""How good are the risks: order and calibration on a date that nothing was fitted on, for each horizon and reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.models import metrics, pairs
from crmlib.models.churn import spells
from crmlib.models.churn.inputs import HORIZONS, LEARNT
from crmlib.models.churn.risk import ChurnModel, Risks


def evaluation(model: ChurnModel, features: pd.DataFrame, followed: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what became of the customers against what was predicted of them.

    In: features and ``spells.follow`` of one date. Out, three tables, with 95% intervals as in ``metrics``:
    ``evaluation``: days, reason ("" for all together; each reason at 90 days: who left for it, among all), metric, value,
    low, high, customers, left. Metrics: those of ``metrics.evaluate``, and observed (share that left) and predicted (mean
    risk), without an interval;
    ``calibration``: horizon (days), bin (tenth of the customers, by risk), customers, predicted, observed, low, high;
    ``tested``: customer_id, as_of, risk_30, risk_90, risk_180, by_REASON (risk_90 by reason), and what
    became of them: days, reason.
    """
    place = pairs.rows_of(followed, features)
    kept = place >= 0
    followed, features = followed[kept].reset_index(drop=True), features.iloc[place[kept]].reset_index(drop=True)
    found = model.predict(features)
    names, judged = _judged(model, found, followed)
    figures = metrics.evaluate(judged, judged)
    figures = figures[figures["product_id"] != "(all)"].rename(columns={"pairs": "customers", "buyers": "left"})
    means = judged.rename(columns={"bought": "observed", "score": "predicted"})
    means = means.groupby("product_id", observed=True)[["observed", "predicted"]].mean().reset_index()
    means = means.melt(id_vars="product_id", var_name="metric")
    sizes = figures.loc[figures["metric"] == "auc", ["product_id", "customers", "left"]]
    figures = pd.concat([figures, means.merge(sizes, on="product_id", validate="many_to_one")], ignore_index=True)
    bins = metrics.reliability(judged, judged).rename(columns={"pairs": "customers"})
    bins = bins[bins["product_id"].isin([name for name, (_, reason) in names.items() if not reason])]
    risks = found.table[["customer_id", "as_of", *[f"risk_{days}" for days in HORIZONS]]]
    risks = risks.assign(**{f"by_{reason}": found.parts[:, at] for at, reason in enumerate(found.reasons)})
    return {
        "tested": risks.assign(days=followed["days"], reason=followed["reason"]),
        "evaluation": _named(figures, names)[["days", "reason", "metric", "value", "low", "high", "customers", "left"]],
        "calibration": _named(bins, names).rename(columns={"days": "horizon"})[
            ["horizon", "bin", "customers", "predicted", "observed", "low", "high"]
        ],
    }


def _judged(model: ChurnModel, found: Risks, followed: pd.DataFrame) -> tuple[dict[str, tuple[int, str]], pd.DataFrame]:
    """Return the days and reason of each figure's name, and a row per customer and name: the score, and what came of it.

    The table has the columns of a propensity model's scores and labels, with the name in place of the product.
    """
    names = {f"{days:03d}": (days, "") for days in HORIZONS}
    scores = [found.table[f"risk_{days}"].to_numpy() for days in HORIZONS]
    left = [spells.left_within(followed, days) for days in HORIZONS]
    own = model.counted(followed["reason"])
    within = spells.left_within(followed, LEARNT)
    for number, reason in enumerate(found.reasons):
        names[f"{LEARNT:03d} {reason}"] = (LEARNT, reason)
        scores.append(found.parts[:, number])
        left.append(np.where((within == 1) & (own != reason).to_numpy(), 0, within))
    flags = np.column_stack(left)
    table = pairs.table(
        followed["customer_id"],
        list(names),
        followed["as_of"],
        chosen=flags >= 0,
        score=np.column_stack(scores),
        bought=flags == 1,
    )
    return names, table


def _named(table: pd.DataFrame, names: dict[str, tuple[int, str]]) -> pd.DataFrame:
    found = [names[str(name)] for name in table["product_id"]]
    days, reasons = [days for days, _ in found], pd.Series([reason for _, reason in found], dtype="str")
    return table.assign(days=days, reason=reasons.to_numpy()).reset_index(drop=True)
