"""Measure the sample bank at one or several sizes: CPU and wall seconds, peak memory, rows and bytes written.

python benchmarks/bench_sample.py
python benchmarks/bench_sample.py --customers 20000 100000 1000000

Every size is made in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from picture import Bar, bars

from crmlib import samples

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "bench_sample.svg"


def measured(customers: int, months: int, seed: int) -> dict[str, Any]:
    """Write a sample into a temporary folder and return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        before, cpu = time.perf_counter(), time.process_time()
        sample = samples.bank(customers=customers, months=months, seed=seed, folder=Path(folder) / "bank")
        parts = [path for path in sample.files if path.name.startswith("operations")]
        return {
            "customers": customers,
            "months": months,
            "seed": seed,
            "wall_s": round(time.perf_counter() - before, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
            "transactions": sum(pq.read_metadata(path).num_rows for path in parts),
            "files_mb": round(sum(path.stat().st_size for path in sample.files) / 1e6),
            "truth_mb": round(sum(path.stat().st_size for path in sample.truth.rglob("*.parquet")) / 1e6),
        }


def main() -> None:
    """Measure each size, print a line of JSON each, write results/sample.json and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[20_000, 50_000])
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    found = []
    for customers in given.customers:
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            found.append(alone.apply(measured, (customers, given.months, given.seed)))
        print(json.dumps(found[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sample.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    rows = [
        Bar(
            f"{one['customers']:,} customers",
            one["cpu_s"],
            note=f"{one['transactions'] / 1e6:.1f} M transactions, peak {one['peak_mb']:,} MB",
        )
        for one in found
    ]
    bars(rows, title=f"The sample bank, {given.months} months", unit="CPU seconds, one core", to=PICTURE)


if __name__ == "__main__":
    main()
