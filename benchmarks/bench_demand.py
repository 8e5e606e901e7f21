"""Demand forecasts: M1 and M3 beside the published figures, Australian retail and tourism, hours, and statsforecast.

    CRM_REAL_DATA=FOLDER python benchmarks/bench_demand.py competitions
    CRM_REAL_DATA=FOLDER python benchmarks/bench_demand.py others       # other steps, each with its last horizon held out
    PEER/bin/python benchmarks/bench_demand.py peer --folder FOLDER     # statsforecast 2.1 (pandas below 3), an environment of its own

competitions: everything is chosen, weighted and calibrated within the training parts; the test parts only measure.
CPU seconds include training, validation and both the reading of the table and the writing of the forecasts. Its tables are
left in FOLDER for the peer. Published: Makridakis & Hibon (2000), International Journal of Forecasting 16, 451-476 (by
frequency as quoted; they add up to the published figures over all series, 13.01, 13.19 and 15.47).
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
FOLDER = Path(tempfile.gettempdir()) / "bench_demand"
SEASON = {"year": 1, "quarter": 4, "month": 12, "other": 1}
STARTS = {"year": "YS", "quarter": "QS", "month": "MS", "other": "D"}
HORIZON_STEP = {6: "year", 8: "quarter", 18: "month"}
PUBLISHED = {  # sMAPE: Theta, ForecastPro, Naive2
    "year": (16.90, 17.14, 17.88),
    "quarter": (8.96, 9.77, 9.95),
    "month": (13.85, 13.86, 16.91),
    "other": (4.41, 4.60, 6.30),
}


def competition(name: str) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return training and test series tables by step; the dates are made up, the competition has few."""
    from crmlib.samples import public

    table = public.forecasting_competition(name)
    horizon = table["unique_id"].map(table[table["is_test"]].groupby("unique_id").size())
    step = horizon.map(HORIZON_STEP)
    step = step.mask((name == "M3") & (table["unique_id"] >= "N2830"), "other")
    found = {}
    for key in (key for key in SEASON if (step == key).any()):
        part = table[step == key].sort_values(["unique_id", "t"], ignore_index=True)
        place = part.groupby("unique_id").cumcount()
        dates = pd.date_range("1960-01-01", periods=int(place.max()) + 1, freq=STARTS[key])
        long = pd.DataFrame({"series_id": part["unique_id"], "period": dates[place], "quantity": part["y"]})
        found[key] = (long[~part["is_test"]], long[part["is_test"]])
    return found


def wide(train: pd.DataFrame, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return histories (right-aligned, NaN before the first value) and actual values, series by name."""
    ids = sorted(train["series_id"].unique())
    lengths = train.groupby("series_id").size().loc[ids].to_numpy()
    history = np.full((len(ids), lengths.max()), np.nan)
    for row, (_, values) in enumerate(train.groupby("series_id")["quantity"]):
        history[row, -len(values) :] = values
    return history, test.sort_values(["series_id", "period"])["quantity"].to_numpy().reshape(len(ids), -1)


def judged(path: np.ndarray, actual: np.ndarray, history: np.ndarray, season: int) -> dict[str, float]:
    """Return sMAPE, MASE and OWA of point forecasts."""
    from crmlib.models.demand import metrics, naive

    bar = naive.naive2(history, season=season, horizon=actual.shape[1])

    def both(forecast: np.ndarray) -> tuple[float, float]:
        scaled = metrics.mase(actual, forecast, history, season=season)
        return float(metrics.smape(actual, forecast).mean()), float(np.nanmean(scaled))

    smape, mase = both(path)
    smape_of_bar, mase_of_bar = both(bar)
    owa = metrics.owa(smape, mase, naive_smape=smape_of_bar, naive_mase=mase_of_bar)
    return {"smape": round(smape, 3), "mase": round(mase, 4), "owa": round(owa, 4)}


def measured(train: pd.DataFrame, test: pd.DataFrame, *, step: str, season: int, seed: int) -> dict[str, Any]:
    """Return how the combination and each of its parts did, how intervals covered, and what it cost."""
    from crmlib.models import demand
    from crmlib.models.demand import trials

    history, actual = wide(train, test)
    horizon = actual.shape[1]
    started = time.process_time()
    fitted = demand.fit(train, horizon=horizon, step=step, season=season, seed=seed)
    table = fitted.forecast()
    cpu = time.process_time() - started
    told = {name: table[name].to_numpy().reshape(actual.shape) for name in table if name not in ("series_id", "period")}
    covered = {level: (actual >= told[f"low_{level}"]) & (actual <= told[f"high_{level}"]) for level in (80, 95)}
    parts = {}
    for group in (group for group in fitted.groups if group.kind == "regular"):
        paths, _ = trials.forecasts(
            group.panel,
            names=group.methods,
            horizon=horizon,
            treated=fitted.setting.treatment,
            trees=fitted.trees.final,
            known={},
        )
        for name, path in zip(group.methods, paths, strict=True):
            whole = told["mean"].copy()  # a series that is not of this kind, or too short for a method, counts alike
            whole[group.rows] = np.where(np.isnan(path), whole[group.rows], path)
            parts[name] = judged(whole, actual, history, season)
    weights = fitted.weights[fitted.weights["kind"] == "regular"]
    return {
        "series": len(actual),
        **judged(told["mean"], actual, history, season),
        "parts": parts,
        "weights": dict(zip(weights["method"], weights["weight"].round(3), strict=True)),
        "cpu_seconds_per_1000": round(1000 * cpu / len(actual), 2),
        "coverage_80": round(float(covered[80].mean()), 4),
        "coverage_95": round(float(covered[95].mean()), 4),
        "series_below_70_percent_at_95": round(float((covered[95].mean(axis=1) < 0.7).mean()), 4),
        "within_80": int(covered[80].sum()),
        "within_95": int(covered[95].sum()),
        "values": int(actual.size),
    }


def competitions(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Return the results of M1 and M3 by step, of all M3 series, and the coverage of both monthly sets pooled."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in ("M1", "M3"):
        for key, (train, test) in competition(name).items():
            train.to_parquet(folder / f"{name}_{key}_train.parquet")
            test.to_parquet(folder / f"{name}_{key}_test.parquet")
            step = "day" if key == "other" else key
            row = {"set": f"{name} {key}", **measured(train, test, step=step, season=SEASON[key], seed=seed)}
            if name == "M3":
                row["published"] = dict(zip(("Theta", "ForecastPro", "Naive2"), PUBLISHED[key], strict=True))
            found.append(row)
            print(json.dumps(row), flush=True)
    third = [row for row in found if row["set"].startswith("M3")]
    total = sum(row["values"] for row in third)
    over_all = round(sum(row["smape"] * row["values"] for row in third) / total, 3)
    monthly = [row for row in found if row["set"].endswith("month")]
    values = sum(row["values"] for row in monthly)
    pooled = {
        f"coverage_{level}": round(sum(row[f"within_{level}"] for row in monthly) / values, 4) for level in (80, 95)
    }
    found.append(
        {"set": "M3 all", "smape": over_all, "published": {"Theta": 13.01, "ForecastPro": 13.19, "Naive2": 15.47}}
    )
    return [*found, {"set": "M1 and M3 month", **pooled}]


def hourly(seed: int) -> pd.DataFrame:
    """Return 30 made-up series of 70 days by the hour, with a day, a week and noise."""
    random = np.random.default_rng(seed)
    hours = np.arange(70 * 24)
    day = np.exp(np.cos(2 * np.pi * (hours % 24 - 14) / 24))
    week = np.where(hours // 24 % 7 >= 5, 0.6, 1.0)
    level = random.gamma(4, 10, 30)
    wanted = random.poisson(level[:, None] * day * week)
    periods = pd.date_range("2025-01-06", periods=len(hours), freq="h")
    ids = [f"line {number:02d}" for number in range(30)]
    return pd.DataFrame(
        {"series_id": np.repeat(ids, len(hours)), "period": np.tile(periods, 30), "quantity": wanted.ravel() * 1.0}
    )


def others(seed: int) -> list[dict[str, Any]]:
    """Return the same for tables with other steps, the last horizon of each held out."""
    from crmlib.samples import public

    retail, tourism = public.australia("aus_retail"), public.australia("tourism")
    shops = pd.DataFrame(
        {
            "series_id": retail["State"] + "/" + retail["Industry"],
            "period": pd.to_datetime(retail["Month"]),
            "quantity": retail["Turnover"],
        }
    )
    trips = pd.DataFrame(
        {
            "series_id": tourism["Region"] + "/" + tourism["State"] + "/" + tourism["Purpose"],
            "period": pd.to_datetime(tourism["Quarter"]),
            "quantity": tourism["Trips"],
        }
    )
    found = []
    for name, table, step, season, horizon in (
        ("aus_retail", shops, "month", 12, 12),
        ("tourism", trips, "quarter", 4, 8),
        ("hours, made up", hourly(seed), "hour", 24, 48),
    ):
        ordered = table.sort_values(["series_id", "period"], ignore_index=True)
        left = ordered.groupby("series_id").cumcount(ascending=False)
        parts = ordered[left >= horizon], ordered[left < horizon]
        found.append({"set": name, **measured(*parts, step=step, season=season, seed=seed)})
    return found


def peer(folder: Path) -> list[dict[str, Any]]:
    """Return statsforecast's sMAPE and CPU seconds on the tables that ``competitions`` left, one process."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS, DynamicOptimizedTheta

    found = []
    for name, key in (("M1", "month"), ("M3", "quarter"), ("M3", "month")):
        train, test = (pd.read_parquet(folder / f"{name}_{key}_{part}.parquet") for part in ("train", "test"))
        long = train.rename(columns={"series_id": "unique_id", "period": "ds", "quantity": "y"})
        actual = test.sort_values(["series_id", "period"])["quantity"].to_numpy()
        count = long["unique_id"].nunique()
        first = long[long["unique_id"].isin(long["unique_id"].unique()[:2])]
        for model in (DynamicOptimizedTheta, AutoETS):
            made = StatsForecast(models=[model(season_length=SEASON[key])], freq=STARTS[key])
            made.forecast(df=first, h=2)  # compiles
            started = time.process_time()
            table = made.forecast(df=long, h=len(actual) // count)
            cpu = time.process_time() - started
            path = table.sort_values(["unique_id", "ds"]).iloc[:, -1].to_numpy()
            smape = float(np.mean(200 * np.abs(actual - path) / (np.abs(actual) + np.abs(path))))
            row = {"set": f"{name} {key}", "method": f"statsforecast {model.__name__}", "smape": round(smape, 3)}
            found.append({**row, "cpu_seconds_per_1000": round(1000 * cpu / count, 2)})
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["competitions", "others", "peer"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where tables are left for the peer")
    given = parser.parse_args()
    actions = {
        "competitions": lambda: competitions(given.folder, given.seed),
        "others": lambda: others(given.seed),
        "peer": lambda: peer(given.folder),
    }
    found = actions[given.what]()
    for row in found:
        print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"demand_{given.what}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
