"""Effects of price and promotion: coverage of planted values, statsmodels on some of the same series, the cheese data, the dairy.

    python benchmarks/bench_effects.py coverage --series 600 --peer 30
    CRM_REAL_DATA=FOLDER python benchmarks/bench_effects.py cheese
    python benchmarks/bench_effects.py dairy --data FOLDER      # a data folder of `crm demo --company dairy`

coverage: series of 156 weeks (crmlib.samples.price_series: promotions in season and with a price cut, 1 in 20 weeks a new list price),
several plants; the floor is ordinary regression on the same columns (numpy), the peer SARIMAX(1,0,1) of statsmodels on the first series. dairy:
`crm effects` against the sample's planted truth.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.models.effects import design, elasticity, explain, pooling, regression, scanner
from crmlib.samples.price_series import Planted, weekly

RESULTS = Path(__file__).parent / "results"
PLANTS = {
    "as in the plan": Planted(),
    "inelastic, strong season": Planted(elasticity=-0.8, season=0.5),
    "price cuts alike, list price seldom moved": Planted(depths=(0.14, 0.16), drift=0.04),
    "wandering level": Planted(memory=1.0, shock=0.03),
    "long memory, weak season": Planted(memory=0.9, shock=0.05, season=0.1),
    "no memory": Planted(memory=0.0),
}
BLIND = np.array([(0.0, 1.0)])


def inside(rows: pd.DataFrame, truth: float) -> float:
    return round(float(((rows["low"] <= truth) & (truth <= rows["high"])).mean()), 4)


def coverage(series: int, peer: int, seed: int) -> list[dict[str, Any]]:
    """Return coverage, error and CPU seconds by plant."""
    out = []
    for name, planted in PLANTS.items():
        table = weekly(planted, series=series, seed=seed)
        started = time.process_time()
        found = elasticity.estimate(table)
        row: dict[str, Any] = {
            "plant": name,
            "series": series,
            "cpu_per_1000": round((time.process_time() - started) / series * 1000, 2),
        }
        truths = {
            "price_elasticity": planted.elasticity,
            "promotion_uplift": planted.uplift,
            "post_promotion_dip": 2 * planted.dip,
            "before_promotion": 0.0,
        }
        for measure, truth in truths.items():
            rows = found[found["measure"] == measure]
            error = rows["estimate"] - truth
            row[measure] = {
                "cover": inside(rows, truth),
                "bias": round(float(error.mean()), 4),
                "rmse": round(float((error**2).mean() ** 0.5), 4),
            }
        made, _ = design.build(table)
        whole = max(one.regressors.shape[1] for one in made)
        made = [one for one in made if one.regressors.shape[1] == whole]  # what could not be told apart was left out
        values, columns = np.stack([m.values for m in made]), np.stack([m.regressors for m in made])
        started = time.process_time()
        plain = regression.fit(values, columns, grid=BLIND)
        row["floor_cpu_per_1000"] = round((time.process_time() - started) / series * 1000, 2)
        low, high = plain.interval()
        for measure, column in (("price_elasticity", "price"), ("promotion_uplift", "promotion")):
            at = made[0].names.index(column)
            row[measure]["cover_ordinary"] = round(
                float(((low[:, at] <= truths[measure]) & (truths[measure] <= high[:, at])).mean()), 4
            )
        if name == next(iter(PLANTS)) and peer:
            explain.fit(made[0], model="sarimax")  # imports
            started = time.process_time()
            rows = pd.concat([explain.fit(one, model="sarimax")[0] for one in made[:peer]])
            row["statsmodels_cpu_per_1000"] = round((time.process_time() - started) / peer * 1000, 1)
            row["statsmodels_cover"] = {
                c: inside(rows[rows["name"] == c], t)
                for c, t in (("price", planted.elasticity), ("promotion", planted.uplift))
            }
        out.append(row)
    return out


def cheese() -> list[dict[str, Any]]:
    """Return the distribution of the elasticities of 88 retailers, and their pooled mean."""
    from crmlib.samples import public  # noqa: PLC0415 - needs the folder of real data

    found = elasticity.estimate(scanner.series(public.bayesm("cheese")))
    out = []
    for measure in ("price_elasticity", "promotion_uplift", "before_promotion"):
        rows = found[(found["measure"] == measure) & np.isfinite(found["estimate"])]
        pooled = pooling.pool(rows["estimate"].to_numpy(), rows["error"].to_numpy())
        quantiles = rows["estimate"].quantile([0.05, 0.25, 0.5, 0.75, 0.95]).round(2).tolist()
        mean = {
            "mean": round(pooled.mean, 3),
            "low": round(pooled.low, 3),
            "high": round(pooled.high, 3),
            "between": round(pooled.between, 3),
        }
        share = round(float(rows["estimate"].between(-5, -1).mean()), 3)
        out.append(
            {"measure": measure, "retailers": len(rows), **mean, "quantiles": quantiles, "between_-5_and_-1": share}
        )
    return out


def dairy(data: Path) -> list[dict[str, Any]]:
    """Return how the saved effects and profits agree with what the sample planted."""
    from crmlib.store import score_sets  # noqa: PLC0415

    truth = {
        name: pd.read_parquet(data / "samples" / "dairy" / "truth" / name)
        for name in ("effects", "cross", "promotions")
    }
    newest = score_sets.newest(data, "price_effects")
    table = score_sets.read(data, newest)
    planted = truth["effects"].assign(dip=lambda rows: -1.5 * rows["dip"]).set_index("product_id")
    out = []
    for measure, column in (
        ("price_elasticity", "elasticity"),
        ("promotion_uplift", "uplift"),
        ("post_promotion_dip", "dip"),
    ):
        of_measure = table[(table["measure"] == measure) & (table["product_id"] != "") & np.isfinite(table["estimate"])]
        for level, chosen in (
            ("product", of_measure["region"] == ""),
            ("product and region", of_measure["region"] != ""),
        ):
            rows = of_measure[chosen]
            true = rows["product_id"].map(planted[column])
            hit = round(float(((rows["low"] <= true) & (true <= rows["high"])).mean()), 3)
            out.append(
                {
                    "measure": measure,
                    "level": level,
                    "rows": len(rows),
                    "cover": hit,
                    "rmse": round(float(((rows["estimate"] - true) ** 2).mean() ** 0.5), 3),
                }
            )
    cross = score_sets.beside(data, newest, "cross").merge(
        truth["cross"], on=["product_id", "other_id"], how="left", suffixes=("", "_true")
    )
    true = cross["elasticity_true"].fillna(0.0)
    out.append(
        {
            "measure": "cross_elasticity",
            "level": "pair",
            "rows": len(cross),
            "cover": round(float(((cross["low"] <= true) & (true <= cross["high"])).mean()), 3),
            "rmse": round(float(((cross["elasticity"] - true) ** 2).mean() ** 0.5), 3),
        }
    )
    done = score_sets.beside(data, newest, "promotions").merge(
        truth["promotions"], on=["promotion_id", "product_id", "region"], validate="one_to_one"
    )
    for name in ("uplift", "cannibalised", "dip"):
        found, true = done[f"{name}_pieces"], done[name]
        hit = float(((done[f"{name}_pieces_low"] <= true) & (true <= done[f"{name}_pieces_high"])).mean())
        out.append(
            {
                "measure": f"{name} pieces of past promotions",
                "level": "promotion",
                "rows": len(done),
                "cover": round(hit, 3),
                "sum": round(float(found.sum())),
                "true_sum": round(float(true.sum())),
                "correlation": round(float(np.corrcoef(found, true)[0, 1]), 4),
            }
        )
    return out


def main() -> None:
    """Run one part and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="coverage", choices=["coverage", "cheese", "dairy"])
    parser.add_argument("--series", type=int, default=600)
    parser.add_argument("--peer", type=int, default=30)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--data", type=Path, default=Path("data"))
    given = parser.parse_args()
    if given.part == "coverage":
        found = coverage(given.series, given.peer, given.seed)
    else:
        found = cheese() if given.part == "cheese" else dairy(given.data)
    for row in found:
        print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"effects_{given.part}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
