"""What demand series make of stock-outs, gaps and slips of the keyboard, against the sample dairy's planted demand; and how fast.

    python benchmarks/bench_demand_series.py [--outlets 48] [--years 3] [--seed 7] [--data FOLDER]

Builds daily series by outlet and product from a freshly loaded sample (or a data folder that holds one), and compares three
ways of reading them with what was truly wanted: sales as they are, leaving out days with an empty shelf, and the
corrected demand. Beside it CPU seconds, and of that the time a bare scan of the same rows takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, samples, warehouse
from crmlib.models.demand import series
from crmlib.runs import jobs
from crmlib.runs.stages import Stages
from crmlib.warehouse.snapshot import Snapshot

KEYS = ["outlet_id", "product_id", "sold_on"]
RESULTS = Path(__file__).parent / "results"


def against_truth(table: pd.DataFrame, truth: Path) -> dict[str, Any]:
    """Return biases and errors of the three readings, and what became of planted gaps and slips."""
    wanted = pd.read_parquet(truth / "demand").assign(sold_on=lambda rows: pd.to_datetime(rows["sold_on"]))
    days = table.rename(columns={"period": "sold_on"}).merge(wanted, on=KEYS, how="left", validate="one_to_one")
    opened = days[days["status"] != "closed"]
    empty, gaps = (opened[opened["status"] == status] for status in ("stocked_out", "gap"))
    told = opened[opened["weight"] == 1].groupby("series_id")["quantity"].mean()
    left_out = float((told * opened.groupby("series_id").size()).sum())
    slips = pd.read_parquet(truth / "outliers").assign(sold_on=lambda rows: pd.to_datetime(rows["sold_on"]))
    slips = slips.merge(days[[*KEYS, "status"]], on=KEYS, how="inner", validate="one_to_one")
    found = days[days["status"] == "outlier"].merge(slips[KEYS], on=KEYS, how="inner", validate="one_to_one")
    total, behind = opened["demand"].sum(), empty["demand"].sum()
    return {
        "outlet_days": len(days),
        "empty_share": len(empty) / len(opened),
        "bias_raw": opened["recorded"].sum() / total - 1,
        "bias_left_out": left_out / total - 1,
        "bias_corrected": opened["quantity"].sum() / total - 1,
        "empty_bias_raw": empty["recorded"].sum() / behind - 1,
        "empty_bias_corrected": empty["quantity"].sum() / behind - 1,
        "empty_wape_raw": (empty["recorded"] - empty["demand"]).abs().sum() / behind,
        "empty_wape_corrected": (empty["quantity"] - empty["demand"]).abs().sum() / behind,
        "gap_days": len(gaps),
        "gap_bias": gaps["quantity"].sum() / gaps["mean"].sum() - 1,
        "slips": len(slips),
        "slips_of_30_or_more": int((slips["quantity"] >= 3).sum()),
        "slips_found": len(found),
        "outliers_that_are_none": int((days["status"] == "outlier").sum()) - len(found),
    }


def timed(known: Snapshot) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the daily series, and the CPU seconds of a bare scan, of one level and of three."""
    seconds = {}
    started = time.process_time()
    known.warehouse.arrow(sa.select(known.select("outlet_sales").subquery("sales")))
    seconds["scan"] = time.process_time() - started
    levels: dict[str, series.Level] = {
        "days": (("outlet_id", "product_id"), "day"),
        "weeks": (("product_id", "region"), "week"),
        "months": (("product_id",), "month"),
    }
    started = time.process_time()
    table = series.build(known, by=("outlet_id", "product_id"), step="day")
    seconds["days"] = time.process_time() - started
    started = time.process_time()
    series.build_levels(known, levels)
    seconds["three_levels"] = time.process_time() - started
    return table, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlets", type=int, default=48)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="a data folder that holds the sample dairy")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = chosen.data or Path(folder)
        truth = data / "samples" / "dairy" / "truth"
        if chosen.data is None:
            sizes = {"outlets": chosen.outlets, "years": chosen.years, "seed": chosen.seed}
            sample = samples.dairy(folder=data / "samples" / "dairy", **sizes)
            jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=Stages())
        table, seconds = timed(warehouse.open(paths.warehouse(data)).snapshot("2025-12-31"))
        found = against_truth(table, truth) | {f"cpu_{name}": value for name, value in seconds.items()}
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"demand_series-{chosen.seed}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
