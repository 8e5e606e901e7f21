"""Propensity measured: python benchmarks/bench_propensity.py --bank-marketing | --sample DATA [--threads N]

--bank-marketing runs the protocol of Moro, Cortez & Rita 2014 on the public file (CRM_REAL_DATA), `duration` left out:
five folds, and a rolling window of 20,000 contacts retrained every 100 (some ten minutes), with the model's own
defaults. --sample takes a data folder made by `crm demo` and compares scores with the planted truth.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import features, warehouse
from crmlib.models import baseline, metrics, propensity
from crmlib.samples import open_sample, truth

DATES = ("2025-03-31", "2025-06-30", "2025-09-30")


def bank_marketing(every: int, threads: int | None) -> None:
    folder = Path(os.environ["CRM_REAL_DATA"]) / "bank_marketing"
    table = pd.read_csv(folder / "bank-additional-full.csv.gz", sep=";")
    bought, inputs = (table["y"] == "yes").to_numpy().astype(np.int8), table.drop(columns=["y", "duration"])
    for seed in range(3):
        fold = np.random.default_rng(seed).permutation(np.arange(len(bought)) % 5)
        found = []
        for number in range(5):
            model = propensity.PropensityModel(seed=seed, nthread=threads)
            model.fit(inputs[fold != number], bought[fold != number])
            score = model.predict(inputs[fold == number])
            found.append(metrics.auc(bought[fold == number], score).value)
        print(f"5-fold, seed {seed}: AUC {np.mean(found):.4f} ({', '.join(f'{one:.4f}' for one in found)})", flush=True)
    scores, began = [], time.perf_counter()
    for first in range(20_000, len(bought), every):
        window = slice(first - 20_000, first)
        model = propensity.PropensityModel(seed=1, nthread=threads).fit(inputs[window], bought[window])
        scores.append(model.predict(inputs[first : first + every]))
        if len(scores) % 20 == 0:
            so_far = np.concatenate(scores)
            value = metrics.auc(bought[20_000 : 20_000 + len(so_far)], so_far).value
            print(f"  {first + every:,} calls, AUC so far {value:.4f}, {time.perf_counter() - began:.0f} s", flush=True)
    score, outcome = np.concatenate(scores), bought[20_000:]
    found = metrics.auc(outcome, score)
    half = metrics.captured(outcome, score, 0.5)
    alift = found.value * (1 - outcome.mean()) + outcome.mean() / 2
    print(
        f"rolling 20,000 retrained every {every}: AUC {found.value:.4f} ({found.low:.4f}-{found.high:.4f}), ALIFT {alift:.4f},"
        f" {half.value:.1%} of buyers in the best half; {outcome.mean():.3f} bought"
    )


def expected_auc(chance: np.ndarray, score: np.ndarray) -> float:
    """Return the AUC expected over the outcomes when customers buy with the true probabilities."""
    order = np.argsort(score, kind="stable")
    no = 1 - chance[order]
    return float(np.sum(chance[order] * (np.cumsum(no) - no / 2)) / chance.sum() / no.sum())


def against_truth(scores: pd.DataFrame, true: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Return per product how much of the reachable AUC is reached and the slope of the truth, and the pooled slope."""
    keys = ["customer_id", "as_of", "product_id"]
    columns = [*keys, "score"]
    true = true.assign(as_of=true["as_of"].astype("datetime64[us]"), product_id=true["product_id"].astype(str))
    both = (
        scores[columns].assign(product_id=scores["product_id"].astype(str)).merge(true, on=keys, validate="one_to_one")
    )
    rows = []
    for product, part in both.groupby("product_id"):
        p, score = part["p"].to_numpy(float), part["score"].to_numpy()
        best, reached = expected_auc(p, p), expected_auc(p, score)
        slope = metrics.calibration_line(p, score)[0].value
        rows.append((product, len(part), p.sum(), best, reached, (reached - 0.5) / (best - 0.5), slope))
    names = ["product_id", "pairs", "expected_buyers", "auc_of_truth", "auc", "share_reached", "slope"]
    return pd.DataFrame(rows, columns=names), metrics.calibration_line(
        both["p"].to_numpy(float), both["score"].to_numpy()
    )[0].value


def sample(data: Path, threads: int | None) -> None:
    wh = warehouse.open(data / "warehouse")
    snapshots = [wh.snapshot(day) for day in DATES]
    spec = features.resolve(features.DEFAULT, snapshots[0])
    inputs = [features.build(snapshot, spec) for snapshot in snapshots]
    labels = [propensity.purchases(wh, after=snapshot) for snapshot in snapshots]
    began, cpu = time.perf_counter(), time.process_time()
    model = propensity.PropensityModel(seed=1, nthread=threads).fit(
        inputs[0], labels[0], calibrate=(inputs[1], labels[1])
    )
    shape = f"{inputs[0].shape[0]:,} customers x {inputs[0].shape[1] - 2} features x {len(model.products_)} products"
    print(f"fit {shape}: {time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} CPU-s")
    began = time.perf_counter()
    scores = model.score(inputs[2], labels[2])
    print(f"score {len(scores):,} pairs: {time.perf_counter() - began:.1f} s")
    true = truth(open_sample(data / "samples" / "bank"), "purchases")
    table, slope = against_truth(scores, true)
    print(table.round(3).to_string(index=False))
    print(f"mean share of the reachable AUC {table['share_reached'].mean():.4f}, pooled slope {slope:.4f}")
    plain, line = against_truth(baseline.fit(inputs[0], labels[0]).score(inputs[2], labels[2]), true)
    print(f"logistic baseline: {plain['share_reached'].mean():.4f}, slope {line:.4f}")
    began = time.perf_counter()
    metrics.evaluate(scores, labels[2])
    print(f"evaluate: {time.perf_counter() - began:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank-marketing", action="store_true")
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.bank_marketing:
        bank_marketing(given.every, given.threads)
    if given.sample:
        sample(given.sample, given.threads)


if __name__ == "__main__":
    main()
