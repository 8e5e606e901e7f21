"""Customer lifetime models: CDNOW against published figures and the hold-out, a million customers, and the lifetimes package.

    CRM_REAL_DATA=FOLDER python benchmarks/bench_lifetime.py cdnow
    python benchmarks/bench_lifetime.py large --customers 1000000
    python benchmarks/bench_lifetime.py lifecycle --data FOLDER      # a data folder of the demo
    PEER/bin/python benchmarks/bench_lifetime.py peer --folder FOLDER   # lifetimes 0.11.3 (pandas below 2), an environment of its own

cdnow: fits on weeks 1-39 of the 2,357 customers, their CPU seconds, and the purchases of weeks 40-78 in total and by past
frequency. large: customers drawn from a Pareto/NBD population, to the day; floor is one pass of the likelihood over all rows.
lifecycle: rules against hidden states, by number of states, on the last two quarters. peer: the same fits by lifetimes, on
the tables that cdnow and large left in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# ruff: noqa: PLC0415 - the peer's environment has no crmlib

RESULTS = Path(__file__).parent / "results"
FOLDER = Path(tempfile.gettempdir()) / "bench_lifetime"
UNTIL, HOLDOUT, WEEKS = "1997-09-30", "1998-06-30", 39


def timed(action: Any) -> tuple[Any, float]:
    """Return the result of an action and its CPU seconds."""
    started = time.process_time()
    return action(), time.process_time() - started


def holdout(name: str, cpu: float, expected: np.ndarray, table: pd.DataFrame, **more: Any) -> dict[str, Any]:
    """Return a row of results: total and mean purchases of the hold-out by past frequency, expected and actual."""
    group = np.minimum(table["frequency"], 7)
    actual = table["later"].to_numpy(float)
    means = pd.DataFrame({"k": group, "e": expected, "a": actual}).groupby("k").mean()
    error = np.abs(expected - actual)
    return {
        "model": name,
        "cpu_seconds": round(cpu, 3),
        **more,
        "expected": round(float(expected.sum()), 1),
        "actual": float(actual.sum()),
        "mean_absolute_error": round(float(error.mean()), 4),
        "expected_by_frequency": means["e"].round(3).tolist(),
        "actual_by_frequency": means["a"].round(3).tolist(),
    }


def cdnow(folder: Path) -> list[dict[str, Any]]:
    """Return the results of the models on CDNOW, and leave its table for the peer."""
    from crmlib.models.lifetime import bgnbd, gammagamma, intervals, paretonbd, transactions
    from crmlib.samples import public

    sample = public.cdnow("sample")
    rows = pd.DataFrame(
        {
            "customer_id": sample["users_id"].astype(str),
            "occurred_at": sample["date"],
            "amount_minor": 100 * sample["amt"],
        }
    )
    table = transactions.counts(rows, until=UNTIL)
    later = transactions.repeats(rows, after=UNTIL, until=HOLDOUT)
    table["later"] = later.reindex(table["customer_id"]).fillna(0).to_numpy()
    given = [table[name].to_numpy(float) for name in ("frequency", "recency", "age")]
    folder.mkdir(parents=True, exist_ok=True)
    table[["frequency", "recency", "age", "mean_value_minor", "later"]].to_csv(folder / "cdnow.csv", index=False)
    found = []
    for model in (bgnbd, paretonbd):
        fitted, cpu = timed(lambda model=model: model.fit(*given))
        total = intervals.simulated(fitted, WEEKS, *given, draws=400).iloc[0]
        found.append(
            holdout(
                model.NAME,
                cpu,
                fitted.expected(WEEKS, *given),
                table,
                parameters=fitted.parameters.round(4).tolist(),
                log_likelihood=round(fitted.optimum.log_likelihood, 2),
                gradient=fitted.optimum.gradient,
                low=float(total["low"]),
                high=float(total["high"]),
            )
        )
    some = table[table["frequency"] > 0]
    worth, cpu = timed(lambda: gammagamma.fit(some["frequency"], some["mean_value_minor"] / 100))
    parameters, value = worth.parameters.round(4).tolist(), round(worth.optimum.log_likelihood, 2)
    found.append(
        {"model": gammagamma.NAME, "cpu_seconds": round(cpu, 3), "parameters": parameters, "log_likelihood": value}
    )
    return found


def drawn(customers: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return frequency, recency and age, weeks to the day, of so many customers of a Pareto/NBD population."""
    random = np.random.default_rng(seed)
    age = random.integers(7 * 26, 7 * 78, customers) / 7
    rate, stop = random.gamma(0.55, 1 / 10.6, customers), random.gamma(0.61, 1 / 11.7, customers)
    life = np.minimum(random.exponential(1 / stop), age)
    x = random.poisson(rate * life).astype(float)
    last = np.floor(7 * life * random.random(customers) ** (1 / np.maximum(x, 1))) / 7
    return x, np.where(x > 0, np.maximum(last, 1 / 7), 0.0), age


def large(customers: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Return CPU seconds of fits and predictions of many customers, and leave a tenth of them for the peer."""
    from crmlib.models.lifetime import bgbb, bgnbd, gammagamma, inputs, paretonbd

    given = drawn(customers, seed)
    folder.mkdir(parents=True, exist_ok=True)
    part = pd.DataFrame(dict(zip(("frequency", "recency", "age"), given, strict=True))).iloc[
        :: max(customers // 100_000, 1)
    ]
    part.to_csv(folder / "large.csv", index=False)
    found = []
    for model in (bgnbd, paretonbd):
        fitted, cpu = timed(lambda model=model: model.fit(*given))
        rows, floor = timed(lambda model=model, fitted=fitted: model.likelihood(fitted.parameters, given)[0].size)
        _, predicting = timed(lambda fitted=fitted: (fitted.alive(*given), fitted.expected(WEEKS, *given)))
        _, discounting = timed(lambda fitted=fitted: fitted.discounted(730, *given, annual_discount=0.1, unit_days=7))
        row = {"model": model.NAME, "customers": rows, "distinct": len(inputs.collapsed(*given)[1])}
        _, tenth = timed(lambda model=model: model.fit(*(part[name].to_numpy() for name in part)))
        row |= {
            "fit": round(cpu, 2),
            "fit_of_the_peer's_tenth": round(tenth, 2),
            "one_pass_over_all_rows": round(floor, 2),
            "predict": round(predicting, 2),
        }
        found.append(
            row | {"discounted_over_2_years": round(discounting, 2), "parameters": fitted.parameters.round(3).tolist()}
        )
    random = np.random.default_rng(seed)
    buys, stops = random.beta(1.2, 0.75, customers), random.beta(0.66, 2.78, customers)
    life = np.minimum(random.geometric(stops) - 1, 12)
    bought = (random.random((customers, 12)) < buys[:, None]) & (np.arange(12) < life[:, None])
    trials = (bought.sum(axis=1), (bought * np.arange(1, 13)).max(axis=1), np.full(customers, 12))
    fitted, cpu = timed(lambda: bgbb.fit(*trials))
    found.append(
        {
            "model": bgbb.NAME,
            "customers": customers,
            "fit": round(cpu, 2),
            "parameters": fitted.parameters.round(3).tolist(),
        }
    )
    x = random.integers(1, 9, customers)
    mean = np.round(random.gamma(6.0 * x) / random.gamma(4.0, 1 / 1500, customers) / x)
    worth, cpu = timed(lambda: gammagamma.fit(x, np.maximum(mean, 1)))
    found.append(
        {
            "model": gammagamma.NAME,
            "customers": customers,
            "fit": round(cpu, 2),
            "parameters": worth.parameters.round(3).tolist(),
        }
    )
    return found


def lifecycle(data: Path) -> list[dict[str, Any]]:
    """Return how rules and hidden states tell the last two quarters, by number of states."""
    from crmlib import warehouse
    from crmlib.models.lifecycle import compare, hidden, history, observations, phases
    from crmlib.runs import lifecycle_jobs

    wh = warehouse.open(data / "warehouse")
    taken = wh.snapshot(wh.period[1])
    observed, cpu = timed(lambda: lifecycle_jobs.observe(wh, taken))
    judged = len(observations.quarter_ends(wh, taken.as_of))
    past = history.collect([phases.assign(table) for table in observed[-judged:]], observed[-judged:])
    encoded = hidden.encode(observed)
    earlier = encoded.take(np.arange(len(encoded.customer_id)), until=len(observed) - lifecycle_jobs.TEST_QUARTERS)
    found: list[dict[str, Any]] = [
        {"observe": round(cpu, 2), "quarters": len(observed), "customers": len(observed[-1])}
    ]
    for states in range(3, 10):
        model, cpu = timed(lambda states=states: hidden.fit(earlier, states=states))
        told = compare.compare(encoded, past, learn_until=judged - 1 - lifecycle_jobs.TEST_QUARTERS, model=model)
        rows = told.table.set_index(["target", "method"])
        row: dict[str, Any] = {"states": states, "fit": round(cpu, 2)}
        for target in ("left", "active"):
            for method in compare.METHODS[1:]:
                row[f"{target}: {method}, auc"] = round(float(rows.loc[(target, method), "auc"]), 4)
        gains = told.differences.set_index("target").round(5)
        found.append(row | {f"{name}: gain": gains.loc[name, ["gain", "low", "high"]].tolist() for name in gains.index})
    return found


def peer(folder: Path) -> list[dict[str, Any]]:
    """Return the same of the lifetimes package, on the tables that the others left."""
    import lifetimes

    def fits(table: pd.DataFrame) -> list[tuple[str, Any, float]]:
        out = []
        for name, model in (("BG/NBD", lifetimes.BetaGeoFitter()), ("Pareto/NBD", lifetimes.ParetoNBDFitter())):
            _, cpu = timed(lambda model=model: model.fit(table["frequency"], table["recency"], table["age"]))
            out.append((name, model, cpu))
        return out

    found = []
    table = pd.read_csv(folder / "cdnow.csv")
    for name, model, cpu in fits(table):
        expected = model.conditional_expected_number_of_purchases_up_to_time(
            WEEKS, table["frequency"], table["recency"], table["age"]
        )
        about = {"parameters": np.round(list(model.params_), 4).tolist()}
        found.append(holdout(f"lifetimes {name}", cpu, np.asarray(expected), table, **about))
    if (folder / "large.csv").exists():
        table = pd.read_csv(folder / "large.csv")
        for name, model, cpu in fits(table):
            found.append(
                {
                    "model": f"lifetimes {name}",
                    "customers": len(table),
                    "fit": round(cpu, 2),
                    "parameters": np.round(list(model.params_), 3).tolist(),
                }
            )
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cdnow", "large", "lifecycle", "peer"])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where tables are left for the peer")
    given = parser.parse_args()
    actions = {
        "cdnow": lambda: cdnow(given.folder),
        "large": lambda: large(given.customers, given.seed, given.folder),
        "lifecycle": lambda: lifecycle(given.data),
        "peer": lambda: peer(given.folder),
    }
    found = actions[given.what]()
    for row in found:
        print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"lifetime_{given.what}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
