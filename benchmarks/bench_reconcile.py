"""Reconciliation by level: Australian tourism (425 nodes), Australian retail, and what it costs.

    CRM_REAL_DATA=FOLDER python benchmarks/bench_reconcile.py tourism
    CRM_REAL_DATA=FOLDER python benchmarks/bench_reconcile.py retail
    python benchmarks/bench_reconcile.py speed

tourism: base forecasts by automatic exponential smoothing of every node, origin 2015 Q4, eight quarters ahead; the covariance
of wls and mint comes from a rolling back test inside the training part, the method that ``choose`` takes as well. MASE (scale:
in-sample seasonal naive) as the mean over nodes, by level, before and after. retail: the same on state × industry, 24 months.
speed: CPU seconds of one solve of each method beside a dense inversion of S'W^-1 S written out (the floor of correctness).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.models.demand import backtest, hierarchy, panel, reconcile, smoothing, steps
from crmlib.samples import public

RESULTS = Path(__file__).parent / "results"

TOURISM = {
    "total": (),
    "state": ("state",),
    "purpose": ("purpose",),
    "region": ("state", "region"),
    "state_purpose": ("state", "purpose"),
    "region_purpose": ("state", "region", "purpose"),
}
RETAIL = {"total": (), "state": ("state",), "industry": ("industry",), "state_industry": ("state", "industry")}


def timed(action: Any) -> tuple[Any, float]:
    """Return the result of an action and its CPU seconds."""
    started = time.process_time()
    return action(), time.process_time() - started


def smoothed(step: str) -> backtest.Method:
    """Return automatic exponential smoothing as a method of back tests."""

    def method(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
        known = panel.build(train, step=step)
        found = smoothing.automatic(known.values, season=known.season, horizon=horizon)
        numbers = (known.last[:, None] + np.arange(1, horizon + 1)).ravel()
        periods = pd.to_datetime(steps.moments(numbers, step))
        return pd.DataFrame({"series_id": np.repeat(known.ids, horizon), "period": periods, "mean": found.ravel()})

    return method


def tourism() -> pd.DataFrame:
    """Return tourism as a series table."""
    table = public.australia("tourism")
    keys = {name.lower(): table[name] for name in ("State", "Region", "Purpose")}
    name = table["State"] + "/" + table["Region"] + "/" + table["Purpose"]
    return pd.DataFrame({"series_id": name, **keys, "period": table["Quarter"], "quantity": table["Trips"]})


def retail() -> pd.DataFrame:
    """Return retail turnover as a series table, the series that run through."""
    table = public.australia("aus_retail")
    name = table["State"] + "/" + table["Industry"]
    made = pd.DataFrame(
        {
            "series_id": name,
            "state": table["State"],
            "industry": table["Industry"],
            "period": pd.to_datetime(table["Month"]),
            "quantity": table["Turnover"],
        }
    )
    return made[made.groupby("series_id")["period"].transform("size") == made["period"].nunique()]


def levels(
    series: pd.DataFrame, named: dict[str, tuple[str, ...]], *, step: str, horizon: int, every: int
) -> dict[str, Any]:
    """Return MASE by level and method on the last ``horizon`` periods, learnt before them."""
    structure = hierarchy.structure(series, named)
    whole = hierarchy.aggregate(series, structure, step=step)
    method = smoothed(step)
    table, base_cpu = timed(lambda: backtest.rolling(whole, method, horizon=horizon, origins=1, step=step))
    origin = table["origin"].max()
    past, past_cpu = timed(
        lambda: backtest.rolling(
            whole[whole["period"] <= origin], method, horizon=horizon, origins=12, every=every, step=step
        )
    )
    learnt = reconcile.errors(past, structure)
    choice, choose_cpu = timed(lambda: reconcile.choose(past, structure))
    rows: dict[str, Any] = {
        "nodes": len(structure.nodes),
        "base_cpu_seconds": round(base_cpu, 2),
        "back_test_cpu_seconds": round(past_cpu, 2),
        "choose_cpu_seconds": round(choose_cpu, 2),
        "chosen_before_the_test": choice.method,
        "named_as_worse_before_the_test": choice.worse["level"].tolist(),
    }
    forecasts = table.rename(columns={"forecast": "mean"})
    for name in ("base", *reconcile.METHODS):
        cpu = 0.0
        judged = table
        if name != "base":
            made, cpu = timed(lambda name=name: reconcile.reconcile(forecasts, structure, method=name, errors=learnt))
            judged = made.rename(columns={"mean": "forecast"})
        each = backtest.report(judged, by=["level", "series_id"])
        by_level = each.groupby("level")["mase"].mean().reindex(list(named))
        shrinkage = reconcile.projection(structure, method="mint", errors=learnt).shrinkage if name == "mint" else None
        rows[name] = {
            "mase_all_nodes": round(float(each["mase"].mean()), 3),
            "mase_by_level": by_level.round(3).to_dict(),
            "cpu_seconds": round(cpu, 3),
            "shrinkage": None if shrinkage is None else round(shrinkage, 3),
        }
    return rows


def speed(seed: int) -> dict[str, Any]:
    """Return CPU seconds of one solve for 2,000 bottom series beside the textbook formula."""
    random = np.random.default_rng(seed)
    keys = [(f"P{i:03d}", f"R{j:02d}") for i in range(100) for j in range(20)]
    series = pd.DataFrame(keys, columns=["product_id", "region"])
    series["series_id"] = series["product_id"] + "/" + series["region"]
    series = series.assign(period=pd.Timestamp("2025-01-01"), quantity=1.0)
    named = {"total": (), "product": ("product_id",), "region": ("region",), "bottom": ("product_id", "region")}
    structure = hierarchy.structure(series, named)
    wrong = pd.DataFrame(random.normal(0, 1, (60, len(structure.nodes))), columns=structure.index)
    values = random.gamma(5, 3, (len(structure.nodes), 13))
    found: dict[str, Any] = {"nodes": len(structure.nodes)}
    for method in reconcile.METHODS:
        made, cpu = timed(lambda method=method: reconcile.projection(structure, method=method, errors=wrong))
        _, applying = timed(lambda made=made: made.apply(values))
        found[method] = {"solve": round(cpu, 3), "apply_13_periods": round(applying, 4)}
    dense = structure.sums.toarray()
    variance = (wrong.to_numpy() ** 2).mean(axis=0)
    spread = np.sqrt(variance)
    covariance = reconcile.shrunk_correlation(wrong.to_numpy())[0] * np.outer(spread, spread)

    def textbook() -> np.ndarray:
        inverse = np.linalg.inv(covariance)
        return dense @ np.linalg.solve(dense.T @ inverse @ dense, dense.T @ inverse)

    _, cpu = timed(textbook)
    found["textbook_formula_mint"] = {"solve": round(cpu, 3)}
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tourism", "retail", "speed"])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    actions = {
        "tourism": lambda: levels(tourism(), TOURISM, step="quarter", horizon=8, every=1),
        "retail": lambda: levels(retail(), RETAIL, step="month", horizon=24, every=6),
        "speed": lambda: speed(given.seed),
    }
    found = actions[given.what]()
    print(json.dumps(found, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"reconcile_{given.what}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
