"""Order proposals against two simple rules, on what was truly wanted in the shops of the sample dairy.

    python benchmarks/bench_orders.py --data FOLDER       (a data folder that holds the sample dairy, loaded)
    python benchmarks/bench_orders.py                     (makes and loads one)

The same demand (truth, before shelves were empty) of the last weeks on record is met under each way of ordering, day by day. The
forecast is made anew every Sunday evening from what the warehouse knew then: sales, stock-outs and promotions announced.
The rules see true sales until the start, afterwards their own. Differences carry a 95% interval over outlets (drawn again).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import paths, samples, warehouse
from crmlib.decisions import orders, orders_inputs, orders_trial
from crmlib.models import demand
from crmlib.models.demand import future, series
from crmlib.runs import jobs
from crmlib.runs.demand_grids import grids
from crmlib.runs.stages import Stages
from crmlib.warehouse.snapshot import Snapshot

RESULTS = Path(__file__).parent / "results"
LAST = dt.date(2025, 12, 28)  # a Sunday
HORIZON = 21
"""A week until the next forecast, and the longest time between deliveries."""
DRAWS = 2_000


def forecast_of(snapshot: Snapshot, *, seed: int) -> tuple[pd.DataFrame, float]:
    """Return the forecast by outlet, product and day as `crm demand` makes it, and the correlation of its own past errors."""
    days = next(grid for grid in grids("outlet_sales") if grid.step == "day")
    since = snapshot.as_of - dt.timedelta(days=days.learned - 1)
    table = series.build(snapshot, by=("outlet_id", "product_id"), step="day", since=since)
    living = table[table["series_id"].isin(table.loc[table["period"] == table["period"].max(), "series_id"])]
    known = future.known(snapshot, living, horizon=HORIZON, step="day")
    fitted = demand.fit(living, horizon=HORIZON, step="day", methods=days.methods, seed=seed)
    keys = living[["series_id", *orders_inputs.KEYS]].drop_duplicates("series_id")
    found = fitted.forecast(future=known).merge(keys, on="series_id", validate="many_to_one")
    return found, orders.error_correlation(fitted.validation)


def wanted(truth: Path, pairs: pd.DataFrame, *, since: dt.date, until: dt.date) -> pd.DataFrame:
    """Return the true demand of every day; on days an outlet is closed nothing is wanted."""
    rows = samples.truth(truth.parent, "demand").rename(columns={"sold_on": "day"})
    rows = rows.astype({"outlet_id": "str", "product_id": "str"})
    rows = rows[rows["day"].between(pd.Timestamp(since), pd.Timestamp(until))]
    every = pairs.merge(pd.DataFrame({"day": pd.date_range(since, until)}), how="cross")
    out = every.merge(rows, on=[*orders_inputs.KEYS, "day"], how="left", validate="one_to_one")
    return out.assign(demand=out["demand"].fillna(0.0))[[*orders_inputs.KEYS, "day", "demand"]]


def compared(found: pd.DataFrame, *, than: str, seed: int) -> dict[str, Any]:
    """Return what the proposals have more than a rule, with a 95% interval over outlets."""
    wide = {name: found.pivot(index="outlet_id", columns="policy", values=name) for name in orders_trial.SUMS}
    rng = np.random.default_rng(seed)
    count = len(wide["demand"])
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)

    def of(times: np.ndarray, policy: str) -> dict[str, np.ndarray]:
        sums = {name: times @ table[policy].to_numpy() for name, table in wide.items()}
        rates = {"fill_rate": sums["sold"] / sums["demand"], "waste_rate": sums["wasted"] / sums["ordered"]}
        return rates | {"profit_minor": sums["profit_minor"]}

    out: dict[str, Any] = {}
    for name in ("profit_minor", "fill_rate", "waste_rate"):
        own, other = (of(np.ones((1, count)), policy)[name][0] for policy in ("proposals", than))
        low, high = np.quantile(of(drawn, "proposals")[name] - of(drawn, than)[name], [0.025, 0.975])
        out[name] = {"difference": own - other, "low": low, "high": high}
    better = wide["profit_minor"]["proposals"] > wide["profit_minor"][than]
    return out | {"outlets": count, "outlets_better": int(better.sum())}


def run(data: Path, *, weeks: int, service_level: float, seed: int) -> dict[str, Any]:
    """Return the trial: sums of each way of ordering, differences, CPU seconds."""
    origins = [LAST - dt.timedelta(weeks=number) for number in range(weeks, 0, -1)]
    known = warehouse.open(paths.warehouse(data))
    started = time.process_time()
    made = {day: forecast_of(known.snapshot(day), seed=seed) for day in origins}
    spent = time.process_time() - started
    terms = orders_inputs.terms(known.snapshot(origins[0]))
    pairs = terms[orders_inputs.KEYS]
    for table, _ in made.values():
        pairs = pairs.merge(table[orders_inputs.KEYS].drop_duplicates(), on=orders_inputs.KEYS, validate="one_to_one")
    first = origins[0] + dt.timedelta(days=1)
    truth = data / "samples" / "dairy" / "truth"
    asked = wanted(truth, pairs, since=first - dt.timedelta(weeks=orders_trial.WEEKS), until=LAST)

    def newest(day: dt.date) -> pd.DataFrame:
        return made[max(origin for origin in origins if origin <= day)][0]

    policies = {
        "proposals": orders_trial.proposals(
            newest, service_level=service_level, correlation=made[origins[0]][1], seed=seed
        ),
        "same as last week": orders_trial.same_as_last_week,
        "four weeks + safety": orders_trial.four_weeks_and_safety(service_level),
    }
    started = time.process_time()
    found = orders_trial.trial(asked, policies, terms=terms, starts_on=first, by=("outlet_id",))
    total = found.groupby("policy", sort=False)[orders_trial.SUMS].sum()
    total = total.assign(fill_rate=total["sold"] / total["demand"], waste_rate=total["wasted"] / total["ordered"])
    return {
        "weeks": weeks,
        "pairs": len(pairs),
        "outlets": int(pairs["outlet_id"].nunique()),
        "service_level": service_level,
        "correlation": made[origins[0]][1],
        "policies": total.reset_index().to_dict("records"),
        "against": {name: compared(found, than=name, seed=seed) for name in policies if name != "proposals"},
        "cpu_forecasts": spent,
        "cpu_trial": time.process_time() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--service-level", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="a data folder that holds the sample dairy")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = chosen.data or Path(folder)
        if chosen.data is None:
            sample = samples.dairy(folder=data / "samples" / "dairy", seed=chosen.seed)
            jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=Stages())
        found = run(data, weeks=chosen.weeks, service_level=chosen.service_level, seed=chosen.seed)
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"orders-{chosen.seed}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
