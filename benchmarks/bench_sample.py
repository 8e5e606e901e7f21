"""Measure the sample bank: CPU and wall seconds, peak memory, rows and bytes written.

python benchmarks/bench_sample.py --customers 50000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from crmlib import samples


def main() -> None:
    """Write a sample into a temporary folder and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, cpu = time.perf_counter(), time.process_time()
        sample = samples.bank(**vars(given), folder=Path(folder) / "bank", progress=True)
        parts = [path for path in sample.files if path.name.startswith("operations")]
        measured = {
            **vars(given),
            "wall_s": round(time.perf_counter() - before, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
            "transactions": sum(pq.read_metadata(path).num_rows for path in parts),
            "files_mb": round(sum(path.stat().st_size for path in sample.files) / 1e6),
            "truth_mb": round(sum(path.stat().st_size for path in sample.truth.rglob("*.parquet")) / 1e6),
        }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
