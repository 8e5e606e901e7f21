"""How fast features are: the local kernel against a bare DuckDB scan (floor F1), pandas, polars and featuretools.

    python benchmarks/bench_features.py --customers 100000 [--peers] [--file VERSION.duckdb]
    python benchmarks/bench_features.py --long            # 1 million and 5 million customers

Each thing is measured in a process of its own: CPU seconds (user and system, the smallest of some runs; wall time is
noisy) and the peak memory. The peers read a Parquet file with the window's rows, polars and featuretools in
environments of their own, made by uv below benchmarks/results; featuretools only up to 100,000 customers.
"""

# ruff: noqa: PLC0415  (a process imports only what it measures, and the peers have no crmlib)

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "bench_features.svg"
AS_OF = "2025-12-31"
CATEGORIES = ["salary", "groceries", "transfer", "cash", "fee", "rent", "travel", "fuel", "health"]
CHANNELS = ["branch", "atm", "card", "internet", "mobile", "call", "mail", "agent"]
WINDOWS = (1, 3, 6, 12)
STARTS = {1: "2025-12-01", 3: "2025-10-01", 6: "2025-07-01", 12: "2025-01-01"}
MONTH_ENDS = [str(dt.date(2025 + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)) for month in range(1, 13)]
PEERS = {
    "polars": ["polars"],
    "featuretools": ["featuretools==1.31", "pandas==2.3.*", "setuptools<81", "pyarrow"],
}
FLOOR = """
SELECT customer_key, count(*), sum(amount_minor), max(occurred_at) FROM transactions
WHERE recorded_at < $end AND (superseded_at IS NULL OR superseded_at >= $end)
  AND occurred_at < $end AND occurred_at >= $end - INTERVAL 12 MONTHS
GROUP BY customer_key
"""


def opened(file: Path) -> Any:
    from crmlib.warehouse import snapshot

    return snapshot.open_file(file)


def wide() -> Any:
    """Return the specification of the 136 counts and sums that the floor is compared with."""
    from crmlib import features

    kinds = (("category", CATEGORIES), ("channel", CHANNELS))
    declared = [
        features.windowed("transactions", "amount_minor", by=by, months=WINDOWS, levels=sorted(levels))
        for by, levels in kinds
    ]
    return features.Specification(tuple(declared))


def floor(file: Path, dates: list[str]) -> Callable[[], Any]:
    """Scan the window's transactions and aggregate three values by customer: what no method can undercut."""
    from crmlib.warehouse import snapshot

    warehouse = opened(file)
    ends = [snapshot.cutoff(snapshot.parse_date(date)) for date in dates]

    def scan() -> None:
        with warehouse.connect() as connection:
            for end in ends:
                connection.execute(FLOOR, {"end": end}).to_arrow_table()

    return scan


def build(file: Path, *, standard: bool) -> Callable[[], Any]:
    """Build features as of one date; levels are fixed beforehand, as between training and scoring."""
    from crmlib import features

    taken = opened(file).snapshot(AS_OF)
    spec = features.resolve(features.DEFAULT if standard else wide(), taken)
    return lambda: features.build(taken, spec)


def twelve(file: Path, *, together: bool) -> Callable[[], Any]:
    """Build the 136 features as of twelve month-ends, each part dropped when it is made."""
    from crmlib import features

    warehouse = opened(file)
    spec = features.resolve(wide(), warehouse.snapshot(AS_OF))

    def run() -> None:
        if together:
            for _ in features.panel_parts(warehouse, MONTH_ENDS, spec):
                pass
        else:
            for date in MONTH_ENDS:
                features.build(warehouse.snapshot(date), spec)

    return run


def with_pandas(parquet: Path) -> Callable[[], Any]:
    """Compute the 136 features from one data frame of the window's rows, as one would in a notebook."""
    import pandas as pd

    def run() -> None:
        rows = pd.read_parquet(parquet).astype({"category": "category", "channel": "category"})
        parts = []
        for months in WINDOWS:
            recent = rows[rows["occurred_at"] >= pd.Timestamp(STARTS[months])]
            for by in ("category", "channel"):
                grouped = recent.groupby(["customer_key", by], observed=False)["amount_minor"].agg(["count", "sum"])
                parts.append(grouped.unstack().add_suffix(f"_{months}m"))
        pd.concat(parts, axis=1).fillna(0)

    return run


def with_polars(parquet: Path) -> Callable[[], Any]:
    """The same by polars, from Parquet: group by customer, one expression for each feature."""
    import polars as pl

    def run() -> None:
        rows = pl.scan_parquet(parquet)
        aggregates = []
        for months in WINDOWS:
            recent = pl.col("occurred_at") >= pl.lit(STARTS[months]).str.to_datetime()
            for by, levels in (("category", CATEGORIES), ("channel", CHANNELS)):
                for level in levels:
                    kept = recent & (pl.col(by) == level)
                    aggregates.append(kept.sum().alias(f"count_{by}_{level}_{months}"))
                    amount = pl.when(kept).then(pl.col("amount_minor")).otherwise(0)
                    aggregates.append(amount.sum().alias(f"sum_{by}_{level}_{months}"))
        rows.group_by("customer_key").agg(aggregates).collect()

    return run


def with_featuretools(parquet: Path) -> Callable[[], Any]:
    """The same by featuretools: counts and sums where category or channel is each level, in four training windows."""
    import warnings

    import featuretools as ft
    import pandas as pd

    warnings.filterwarnings("ignore")
    rows = pd.read_parquet(parquet).reset_index(names="transaction")
    rows = rows.astype({"category": "category", "channel": "category"})

    def run() -> None:
        entities = ft.EntitySet("bank")
        entities.add_dataframe(rows, "moves", index="transaction", time_index="occurred_at")
        entities.add_dataframe(rows[["customer_key"]].drop_duplicates(), "customers", index="customer_key")
        entities.add_relationship("customers", "customer_key", "moves", "customer_key")
        entities.add_interesting_values(dataframe_name="moves", values={"category": CATEGORIES, "channel": CHANNELS})
        for months in WINDOWS:
            ft.dfs(
                entityset=entities,
                target_dataframe_name="customers",
                agg_primitives=["count", "sum"],
                where_primitives=["count", "sum"],
                trans_primitives=[],
                max_depth=1,
                cutoff_time=pd.Timestamp("2025-12-31 23:59:59"),
                training_window=f"{months} months",
                n_jobs=1,
            )

    return run


THINGS: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "floor": lambda file: floor(file, [AS_OF]),
    "wide": lambda file: build(file, standard=False),
    "standard": lambda file: build(file, standard=True),
    "floor12": lambda file: floor(file, MONTH_ENDS),
    "panel12": lambda file: twelve(file, together=True),
    "single12": lambda file: twelve(file, together=False),
    "pandas": with_pandas,
    "polars": with_polars,
    "featuretools": with_featuretools,
}
LABELS = {
    "floor": "floor F1: scan + group by, 3 aggregates",
    "wide": "kernel, 136 counts and sums",
    "standard": "kernel, standard specification",
    "floor12": "twelve floor scans, month-ends",
    "panel12": "twelve month-ends together",
    "single12": "twelve month-ends one by one",
    "pandas": "pandas, the 136, from Parquet",
    "polars": "polars, the 136, from Parquet",
    "featuretools": "featuretools, the 136",
}


def measure(thing: str, file: Path, repeat: int) -> None:
    """Print the smallest CPU time of some runs and the process's peak memory, as JSON."""
    action, runs = THINGS[thing](file), []
    for _ in range(repeat):
        gc.collect()
        before = time.process_time()
        action()
        runs.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_seconds": min(runs), "runs": runs, "peak_mb": peak}))


def apart(thing: str, file: Path, repeat: int, python: Path | str = sys.executable) -> dict[str, Any]:
    """Measure one thing in a process of its own."""
    command = [str(python), __file__, "--measure", thing, "--file", str(file), "--repeat", str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{thing}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peer(name: str) -> Path:
    """Return the Python of a peer's environment, made by uv where it is missing."""
    folder = RESULTS / f"env-{name}"
    python = folder / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *PEERS[name]], check=True)
    return python


def window_as_parquet(file: Path) -> Path:
    """Write the rows of the longest window, as the peers read them."""
    import duckdb

    to = RESULTS / f"features-{file.parent.name}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{file}' AS version (READ_ONLY)")
        connection.execute(
            f"""
            COPY (SELECT customer_key, occurred_at, amount_minor, category, channel FROM version.transactions
                  WHERE occurred_at >= '{STARTS[12]}' AND occurred_at < '2026-01-01') TO '{to}' (FORMAT parquet)
            """
        )
    return to


def compare(customers: int, file: Path | None, repeat: int, *, peers: bool, things: list[str]) -> dict[str, Any]:
    """Measure everything on one version, print it with its ratio to the floor, and return it."""
    import features_data

    made = file or RESULTS / f"features-{customers}" / "v000001.duckdb"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        features_data.write(made, customers, 7)
    found: dict[str, Any] = {"customers": customers, "date": time.strftime("%Y-%m-%d"), "things": {}}
    for thing in things:
        base = "floor12" if thing.endswith("12") else "floor"
        row = apart(thing, made, 1 if thing == "single12" else repeat)
        found["things"][thing] = row
        show(thing, row, found["things"].get(base))
    if peers:
        parquet = window_as_parquet(made)
        rows = apart("pandas", parquet, repeat), apart("polars", parquet, repeat, peer("polars"))
        found["things"] |= dict(zip(("pandas", "polars"), rows, strict=True))
        if customers <= 100_000:
            found["things"]["featuretools"] = apart("featuretools", parquet, 1, peer("featuretools"))
        for thing in ("pandas", "polars", "featuretools"):
            if thing in found["things"]:
                show(thing, found["things"][thing], found["things"].get("floor"))
        parquet.unlink()
    (RESULTS / f"features-{customers}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def show(thing: str, row: dict[str, Any], base: dict[str, Any] | None) -> None:
    """Print one line."""
    ratio = f"{row['cpu_seconds'] / base['cpu_seconds']:7.2f} x floor" if base else ""
    print(f"{LABELS[thing]:42} {row['cpu_seconds']:8.2f} CPU-s {ratio} {row['peak_mb']:8,.0f} MB", flush=True)


def picture(found: dict[str, Any]) -> None:
    """Draw what was measured as of one date."""
    from picture import Bar, bars

    things = found["things"]
    whose = {"floor": "floor", "pandas": "peer", "polars": "peer", "featuretools": "peer"}
    rows = [
        Bar(LABELS[thing], things[thing]["cpu_seconds"], whose.get(thing, "own"), f"{things[thing]['peak_mb']:,.0f} MB")
        for thing in ("floor", "wide", "standard", "polars", "pandas", "featuretools")
        if thing in things
    ]
    title = f"Features as of one date, {found['customers']:,} customers"
    bars(rows, title=title, unit="CPU seconds; peak memory of the process behind", to=PICTURE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure pandas, polars and featuretools too")
    parser.add_argument("--file", type=Path, help="a version that benchmarks/features_data.py wrote")
    parser.add_argument(
        "--things", nargs="+", default=["floor", "wide", "standard", "floor12", "panel12"], choices=THINGS
    )
    parser.add_argument("--long", action="store_true", help="1 million and 5 million customers")
    parser.add_argument("--measure", choices=THINGS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.file, given.repeat)
        return
    RESULTS.mkdir(exist_ok=True)
    for customers in (1_000_000, 5_000_000) if given.long else (given.customers,):
        print(f"{customers:,} customers, about {customers * 30:,} transactions over 24 months", flush=True)
        found = compare(customers, given.file, given.repeat, peers=given.peers, things=given.things)
        if given.peers:
            picture(found)


if __name__ == "__main__":
    main()
