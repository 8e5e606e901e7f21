"""Who leaves, on real data: rankers against plain models, and what a premium change does to lapse.

    CRM_REAL_DATA=FOLDER python benchmarks/bench_churn.py telco     # leaving: AUC; when: concordance; leaks
    CRM_REAL_DATA=FOLDER python benchmarks/bench_churn.py bank
    CRM_REAL_DATA=FOLDER python benchmarks/bench_churn.py renewal
    python benchmarks/bench_churn.py curves                         # speed, 1 million customers
    PEER/bin/python benchmarks/bench_churn.py peer --customers 1000000   # lifelines, in an environment of its own

telco: 7,043 subscribers, 5 x 5 folds. Leaving: ChurnRanker (logistic regression and XGBoost combined) against a plain logistic
regression. When: tenure is the duration, TotalCharges (tenure x charges) is left out; SurvivalRanker against Cox. The
difference is paired by fold, its interval corrected for folds that share rows (Nadeau & Bengio 2003).
bank: Churn_Modelling, 10,000 customers, the same.
renewal: eudirectlapse, 23,060 motor policies offered for renewal.
curves: Kaplan-Meier and cumulative incidence by 4 reasons in 10 groups; the floor is one sort of the durations. For the peer:
python -m venv PEER && PEER/bin/pip install lifelines (it needs pandas below 3).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

try:
    from crmlib.models import leaks, metrics
    from crmlib.models.churn import paired, plain, renewal
    from crmlib.models.churn.ranker import ChurnRanker
    from crmlib.models.churn.survival_ranker import SurvivalRanker
    from crmlib.models.survival import curves
    from crmlib.models.survival.concordance import concordance
    from crmlib.samples import public
except ModuleNotFoundError:  # the peer's environment has no crmlib
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
DAYS = 730
REASONS = ("competitor", "price", "service", "moving")

Fit = Callable[[pd.DataFrame, np.ndarray], object]


def compare(
    inputs: pd.DataFrame, figure: Callable[[np.ndarray, np.ndarray], float], fits: dict[str, Fit], *, repeats: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the figure of each model by fold, and in the mean with CPU seconds and the difference to the last one.

    A fit takes inputs and the rows to train on, ``figure`` the rows tested and the scores of them.
    """
    rows = []
    for number, (train, test) in enumerate(paired.folds(len(inputs), repeats=repeats)):
        for name, fit in fits.items():
            started = time.process_time()
            score = fit(inputs, np.flatnonzero(train)).predict(inputs[test])  # type: ignore[attr-defined]
            seconds = time.process_time() - started
            rows.append({"fold": number, "model": name, "value": figure(np.flatnonzero(test), score), "cpu_s": seconds})
    table = pd.DataFrame(rows)
    by = table.pivot(index="fold", columns="model", values="value")
    baseline = by[list(fits)[-1]].to_numpy()
    summary = []
    for name in fits:
        found = paired.difference(by[name].to_numpy(), baseline)
        seconds = float(table.loc[table["model"] == name, "cpu_s"].mean())
        summary.append(
            {"model": name, "mean": float(by[name].mean()), "sd_of_folds": float(by[name].std()), "cpu_s": seconds}
        )
        summary[-1] |= {"minus_baseline": found.value, "low": found.low, "high": found.high}
    return table, pd.DataFrame(summary)


def leaving(inputs: pd.DataFrame, left: np.ndarray, *, repeats: int) -> dict[str, pd.DataFrame]:
    """Return AUC and calibration slope by fold, and the comparison with the plain logistic regression."""
    fits: dict[str, Fit] = {
        "churn ranker": lambda table, rows: ChurnRanker(seed=7, nthread=1).fit(table.iloc[rows], left[rows]),
        "plain logistic": lambda table, rows: plain.logistic(table.iloc[rows], left[rows]),
    }
    slopes = []

    def auc(rows: np.ndarray, score: np.ndarray) -> float:
        slopes.append(metrics.calibration_line(left[rows], score)[0].value)
        return metrics.auc(left[rows], score).value

    folds, summary = compare(inputs, auc, fits, repeats=repeats)
    folds["slope"] = slopes
    summary["slope"] = summary["model"].map(folds.groupby("model")["slope"].mean())
    return {"auc_by_fold": folds, "auc": summary}


def when(inputs: pd.DataFrame, tenure: np.ndarray, left: np.ndarray, *, repeats: int) -> dict[str, pd.DataFrame]:
    """Return the concordance of the survival ranker against Cox."""
    fits: dict[str, Fit] = {
        "survival ranker": lambda table, rows: SurvivalRanker(seed=7, nthread=1).fit(
            table.iloc[rows], tenure[rows], left[rows]
        ),
        "Cox": lambda table, rows: plain.cox(table.iloc[rows], tenure[rows], left[rows]),
    }
    folds, summary = compare(
        inputs, lambda rows, score: concordance(tenure[rows], left[rows], score).value, fits, repeats=repeats
    )
    return {"concordance_by_fold": folds, "concordance": summary}


def telco(repeats: int) -> dict[str, pd.DataFrame]:
    """Return what is measured on Telco."""
    table = public.telco()
    left = (table["Churn"] == "Yes").to_numpy().astype(np.int8)
    charges = pd.to_numeric(table["TotalCharges"].str.strip(), errors="coerce").fillna(0.0)
    inputs = table.drop(columns=["customerID", "Churn"]).assign(TotalCharges=charges)
    found = leaving(inputs, left, repeats=repeats)
    found |= when(inputs.drop(columns=["TotalCharges", "tenure"]), table["tenure"].to_numpy(), left, repeats=repeats)
    status = public.telco("status")
    known = status.drop(columns=["Churn Label", "Churn Value", "Status ID", "Customer ID"])
    found["leaks"] = leaks.check(known, (status["Churn Label"] == "Yes").to_numpy().astype(np.int8))
    found["leaks_of_the_inputs"] = leaks.check(inputs, left)
    return found


def bank(repeats: int) -> dict[str, pd.DataFrame]:
    """Return what is measured on Churn_Modelling."""
    table = public.bank_churn()
    inputs = table.drop(columns=["RowNumber", "CustomerId", "Surname", "Exited"])
    left = table["Exited"].to_numpy().astype(np.int8)
    return {**leaving(inputs, left, repeats=repeats), "leaks_of_the_inputs": leaks.check(inputs, left)}


def motor_renewal() -> dict[str, pd.DataFrame]:
    """Return the effect of a premium higher by a tenth on lapse, with and without what explains the change."""
    table = public.casdatasets_insurance("eudirectlapse")
    names = {"lapse": "lapsed", "prem_last": "premium_before", "prem_final": "premium_after"}
    policies = table.rename(columns=names).drop(columns=["prem_pure", "prem_market"])
    # Lapse by age of the policy is no straight line.
    policies["policy_age"] = pd.cut(policies["policy_age"], [-1, 0, 1, 2, 3, 5, 99]).astype("str")
    to_market = np.log(table["prem_final"] / table["prem_market"])
    rows = []
    for name, given in {
        "all covariates": policies,
        "and premium / market premium": policies.assign(to_market=to_market),
        "without the bonus class's change": policies.drop(columns="polholder_BMCevol"),
    }.items():
        found = renewal.premium_effect(given)
        for measure in ("odds_ratio", "marginal"):
            rows.append({"covariates": name, "measure": measure, **getattr(found, measure)._asdict()})
    found = renewal.premium_effect(policies)
    rows.append({"covariates": "none", "measure": "odds_ratio", **found.crude_odds_ratio._asdict()})
    return {"premium_up_a_tenth": pd.DataFrame(rows), "curve": found.curve, "effects": found.effects}


def made(customers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return durations in days, reasons ("" still here) and groups."""
    rng = np.random.default_rng(1)
    days = np.minimum(np.ceil(rng.exponential(1500, customers)), DAYS)
    reason = np.where(days < DAYS, rng.choice(REASONS, customers), "")
    return days, reason, rng.choice([f"segment {place}" for place in range(10)], customers)


def timed(name: str, call: Callable[[], object], *, repeat: int = 3) -> dict[str, object]:
    """Return the best of some runs, in CPU seconds."""
    seconds = []
    for _ in range(repeat):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return {"what": name, "cpu_s": min(seconds)}


def speed(customers: int) -> dict[str, pd.DataFrame]:
    """Return the CPU seconds of the curves and of the floor."""
    days, reason, group = made(customers)
    left = (reason != "").astype(float)
    rows = [
        timed("sort of the durations (floor)", lambda: np.sort(days)),
        timed("Kaplan-Meier", lambda: curves.kaplan_meier(days, left)),
        timed("cumulative incidence of 4 reasons", lambda: curves.cumulative_incidence(days, reason)),
        timed("the same in 10 groups", lambda: curves.cumulative_incidence(days, reason, groups=group)),
    ]
    return {"speed": pd.DataFrame(rows).assign(customers=customers)}


def peer(customers: int) -> dict[str, pd.DataFrame]:
    """Return the CPU seconds of lifelines for the same."""
    from lifelines import AalenJohansenFitter, KaplanMeierFitter  # noqa: PLC0415

    days, reason, _ = made(customers)
    left = (reason != "").astype(float)
    code = np.select([reason == name for name in REASONS], range(1, 5), 0)

    def incidence() -> None:
        for place in range(1, 5):
            AalenJohansenFitter(calculate_variance=True, jitter_level=0).fit(days, code, event_of_interest=place)

    rows = [
        timed("lifelines Kaplan-Meier", lambda: KaplanMeierFitter().fit(days, left)),
        timed("lifelines cumulative incidence of 4 reasons", incidence, repeat=1),
    ]
    return {"peer": pd.DataFrame(rows).assign(customers=customers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["telco", "bank", "renewal", "curves", "peer"])
    parser.add_argument("--repeats", type=int, default=5, help="times that the rows are cut into 5 folds")
    parser.add_argument("--customers", type=int, default=1_000_000)
    given = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, pd.DataFrame]]] = {
        "telco": lambda: telco(given.repeats),
        "bank": lambda: bank(given.repeats),
        "renewal": motor_renewal,
        "curves": lambda: speed(given.customers),
        "peer": lambda: peer(given.customers),
    }
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.max_rows", 60)
    found = parts[given.part]()
    for name, table in found.items():
        print(name, table.round(4).to_string(index=False), sep="\n", end="\n\n")
    RESULTS.mkdir(exist_ok=True)
    content = {name: table.to_dict("records") for name, table in found.items()}
    (RESULTS / f"churn_{given.part}.json").write_text(json.dumps(content, indent=1, default=float))


if __name__ == "__main__":
    main()
