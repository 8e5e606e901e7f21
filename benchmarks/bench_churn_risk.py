"""Risk of leaving on the sample bank against the planted truth, and what the job costs.

    python benchmarks/bench_churn_risk.py --data FOLDER        # a data folder of the demo; a copy of it is worked on

Everything is judged on the date that nothing was fitted on. Floor: the features of the dates alone (CPU), chance (AUC 0.5);
peer: a plain logistic regression (statsmodels) on the readable covariates of ``drivers``, learnt from the same rows. The true
risks order only so well themselves, for chance decides who leaves; ``reached`` is the part of that which the model reaches,
(AUC - 0.5) / (best - 0.5), with AUCs expected under the true probabilities, so that no draw is in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm

from crmlib import features, metrics, paths, samples, warehouse
from crmlib.models import pairs
from crmlib.models.churn import drivers, inputs, risk, saved, spells
from crmlib.runs import churn_jobs
from crmlib.runs.stages import Stages

RESULTS = Path(__file__).parent / "results"
REASONS = {
    "competitor": ["p_competitor"],
    "price": ["p_price"],
    "service": ["p_service"],
    "death_or_moving": ["p_death", "p_moving"],
}


def expected_auc(chance: np.ndarray, score: np.ndarray) -> float:
    """Return the AUC expected of a score where each customer leaves with his true probability."""
    chance = chance[np.argsort(score)]
    stays = 1 - chance
    return float(np.sum(chance * (np.cumsum(stays) - stays / 2)) / chance.sum() / stays.sum())


def judged(name: str, chance: np.ndarray, score: np.ndarray, left: np.ndarray) -> dict[str, object]:
    """Return one line of the table: observed and expected AUC, the part reached, calibration."""
    best, own = expected_auc(chance, chance), expected_auc(chance, score)
    slope, intercept = metrics.calibration_line(left, np.clip(score, 1e-9, 1 - 1e-9))
    return {
        "what": name,
        "left": int(left.sum()),
        "auc": [round(value, 4) for value in metrics.auc(left, score)],
        "auc_of_truth": round(metrics.auc(left, chance).value, 4),
        "reached": round((own - 0.5) / (best - 0.5), 3),
        "slope": [round(value, 3) for value in slope],
        "intercept": [round(value, 3) for value in intercept],
        "predicted": round(float(score.sum()), 1),
        "true": round(float(chance.sum()), 1),
    }


def plain(wh: warehouse.Warehouse, model: saved.Saved, tested: pd.DataFrame) -> np.ndarray:
    """Return the risks of the peer for the customers of the test."""
    definition, spec = model.model.definition, features.from_json(model.specification)
    days = [pd.Timestamp(day).date() for day in model.kept.metrics["dates"]["train"]]
    rows, outcome, weights = [], [], []
    for day in days:
        given = features.build(wh.snapshot(day), spec)
        followed = spells.follow(wh.snapshot(day), definition)
        drawn, weight = risk.sample(followed, dates=len(days), seed=7)
        followed = followed.iloc[drawn]
        place = pairs.rows_of(followed, given)
        rows.append(given.iloc[place])
        outcome.append(spells.left_within(followed, inputs.LEARNT))
        weights.append(weight)
    design = drivers.covariates(pd.concat(rows, ignore_index=True))
    fitted = sm.GLM(
        np.concatenate(outcome),
        sm.add_constant(design),
        family=sm.families.Binomial(),
        freq_weights=np.concatenate(weights),
    ).fit()
    given = features.build(wh.snapshot(tested["as_of"].iloc[0].date()), spec)
    later = drivers.covariates(given.iloc[pairs.rows_of(tested, given)].reset_index(drop=True))
    return fitted.predict(sm.add_constant(later[design.columns], has_constant="add")).to_numpy()


def main() -> None:
    """Run the job on a copy, compare with the truth, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crm-churn-") as scratch:
        data = Path(scratch) / "data"
        shutil.copytree(
            given.data, data, ignore=shutil.ignore_patterns("samples", "runs", "lists", "offers", "staging")
        )
        wh = warehouse.open(paths.warehouse(data))
        begun = time.process_time()
        churn_jobs.churn(data, stages=Stages())
        job = time.process_time() - begun
        model = saved.load(data)
        dates = model.kept.metrics["dates"]
        spec = features.from_json(model.specification)
        begun = time.process_time()
        for day in (*dates["train"], dates["calibrate"], dates["test"], wh.period[1]):
            features.build(wh.snapshot(day), spec)
        floor = time.process_time() - begun
        tested = model.table("tested")
        truth = samples.truth(given.data / "samples" / "bank", "churn")
        truth = truth.assign(as_of=pd.to_datetime(truth["as_of"]))
        both = tested.merge(truth, on=["customer_id", "as_of"], how="left", validate="one_to_one")
        known = both["p_price"].notna().to_numpy()
        peer = plain(wh, model, tested)[known]
        both = both[known].reset_index(drop=True)
        chance = both[sorted({name for names in REASONS.values() for name in names})].sum(axis=1).to_numpy()
        left = {days: ((both["reason"] != "") & (both["days"] <= days)).to_numpy(int) for days in inputs.HORIZONS}
        lines = [
            judged(f"{days} days", chance, both[f"risk_{days}"].to_numpy(), left[days]) for days in inputs.HORIZONS
        ]
        lines.append(judged("90 days, plain logistic (peer)", chance, peer, left[90]))
        for reason, names in REASONS.items():
            if f"by_{reason}" in both:
                own = ((both["reason"] == reason) & (both["days"] <= 90)).to_numpy(int)
                truly = both[names].sum(axis=1).to_numpy()
                lines.append(judged(f"90 days, {reason}", truly, both[f"by_{reason}"].to_numpy(), own))
    found = {
        "customers": len(tested),
        "dates": dates,
        "cpu_seconds": {"job": round(job, 2), "floor_features": round(floor, 2)},
        "lines": lines,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"churn_risk-{len(tested)}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(lines).to_string(index=False))
    print(found["cpu_seconds"])


if __name__ == "__main__":
    main()
