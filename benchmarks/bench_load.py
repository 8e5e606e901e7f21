"""How fast a CSV file is loaded, against DuckDB reading the same file as text into a table (the floor).

Run: python benchmarks/bench_load.py [--rows 1000000]. CPU seconds of this process and its threads; wall time is noisy.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from crmlib import warehouse

MAPPING = {
    "tables": {
        "customers": {
            "files": ["customers.csv"],
            "columns": {"customer_id": "client", "valid_from": {"value": "2020-01-01"}},
        },
        "transactions": {
            "files": ["operations.csv"],
            "columns": {
                "transaction_id": "id",
                "customer_id": "client",
                "occurred_at": "time",
                "amount_minor": {"column": "amount", "unit": "major"},
                "category": "kind",
            },
        },
    }
}


def write(folder: Path, rows: int) -> list[Path]:
    """Write made-up customers and operations (5 columns) and return the files."""
    rng = np.random.default_rng(7)
    customers = np.arange(max(rows // 30, 1)) + 1_000_000
    moments = np.datetime64("2024-01-01") + rng.integers(0, 720 * 86_400, rows).astype("timedelta64[s]")
    operations = pd.DataFrame(
        {
            "id": np.arange(rows),
            "client": rng.choice(customers, rows),
            "time": moments,
            "amount": np.round(rng.normal(-40, 60, rows), 2),
            "kind": rng.choice(["groceries", "salary", "cash", "transfer", "fuel"], rows),
        }
    )
    files = [folder / "customers.csv", folder / "operations.csv"]
    pd.DataFrame({"client": customers}).to_csv(files[0], index=False)
    operations.to_csv(files[1], index=False)
    return files


def main() -> None:
    """Write the file, read it both ways and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write(folder, rows)
        started, wall = time.process_time(), time.perf_counter()
        with duckdb.connect(str(folder / "floor.duckdb")) as connection:
            connection.execute(f"CREATE TABLE t AS FROM read_csv('{files[1]}', all_varchar=true)")
        floor, floor_wall = time.process_time() - started, time.perf_counter() - wall
        started, wall = time.process_time(), time.perf_counter()
        report = warehouse.load(files, MAPPING, data=folder / "data", recorded_at=dt.datetime(2026, 1, 1))
        loaded, loaded_wall = time.process_time() - started, time.perf_counter() - wall
    counts = report.counts.set_index("table").loc["transactions"]
    assert counts["accepted"] == rows, counts
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:,} rows x 5 columns, duckdb {duckdb.__version__}")
    print(f"floor: DuckDB as text    {floor:6.2f} CPU-s  {floor_wall:6.2f} s wall")
    print(f"crm load, rules and all  {loaded:6.2f} CPU-s  {loaded_wall:6.2f} s wall   {loaded / floor:.1f} x floor")
    print(f"peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
