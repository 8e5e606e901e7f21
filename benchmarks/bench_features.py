"""How fast features are: the local kernel against a bare DuckDB scan (floor F1) and against pandas.

    python benchmarks/bench_features.py --customers 100000 [--pandas] [--keep FILE]

Makes up customers with 30 transactions each over 24 months, 2 holdings with month-end balances and 2 contacts, writes
them as a warehouse version, and measures CPU seconds (wall time is noisy) and the process's peak memory.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features
from crmlib.warehouse import build, snapshot

AS_OF = "2025-12-31"
CATEGORIES = np.array(["salary", "groceries", "transfer", "cash", "fee", "rent", "travel", "fuel", "health"])
CHANNELS = np.array(["branch", "atm", "card", "internet", "mobile", "call", "mail", "agent"])
WINDOWS = (1, 3, 6, 12)
WIDE = features.Specification(
    (
        features.windowed("transactions", "amount_minor", by="category", months=WINDOWS, levels=sorted(CATEGORIES)),
        features.windowed("transactions", "amount_minor", by="channel", months=WINDOWS, levels=sorted(CHANNELS)),
    )
)
"""The 136 counts and sums that the floor is compared with."""


def made_up(customers: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return random canonical tables of so many customers."""
    random = np.random.default_rng(seed)
    ids = np.char.add("C", np.char.zfill(np.arange(customers).astype(str), 8))
    start, seconds = np.datetime64("2024-01-01T00:00:00", "us"), 731 * 86_400

    def events(number: int, **columns: Any) -> pd.DataFrame:
        moments = start + random.integers(0, seconds, number).astype("timedelta64[s]")
        owners = pd.Categorical.from_codes(random.integers(0, customers, number), ids)
        return pd.DataFrame({"customer_id": owners.astype(str), "occurred_at": moments, **columns})

    moves, talks, contracts = customers * 30, customers * 2, customers * 2
    products = np.array([f"product {number:02}" for number in range(20)])
    opened = np.datetime64("2020-01-01") + random.integers(0, 2000, contracts).astype("timedelta64[D]")
    holdings = pd.DataFrame(
        {
            "holding_id": np.char.add("H", np.arange(contracts).astype(str)),
            "customer_id": ids[random.integers(0, customers, contracts)],
            "product_id": products[random.integers(0, 20, contracts)],
            "opened_on": opened,
            "amount_minor": random.integers(0, 10**7, contracts),
        }
    )
    month_ends = pd.date_range("2024-01-31", periods=24, freq="ME").to_numpy()
    balances = holdings[["holding_id", "customer_id"]].iloc[np.repeat(np.arange(contracts), 24)]
    return {
        "customers": pd.DataFrame(
            {
                "customer_id": ids,
                "valid_from": np.datetime64("2020-01-01"),
                "gender": np.array(["female", "male"])[random.integers(0, 2, customers)],
                "region": np.array(["north", "south", "east", "west"])[random.integers(0, 4, customers)],
                "birth_date": np.datetime64("1940-01-01")
                + random.integers(0, 24_000, customers).astype("timedelta64[D]"),
                "customer_since": np.datetime64("2015-01-01"),
            }
        ),
        "products": pd.DataFrame(
            {
                "product_id": products,
                "valid_from": np.datetime64("2015-01-01"),
                "name": products,
                "product_group": [f"group {number % 6}" for number in range(20)],
            }
        ),
        "holdings": holdings,
        "balances": balances.assign(
            balance_date=np.tile(month_ends, contracts), balance_minor=random.integers(-(10**6), 10**7, len(balances))
        ),
        "transactions": events(
            moves,
            transaction_id=np.arange(moves).astype(str),
            amount_minor=random.integers(-50_000, 50_000, moves),
            category=pd.Categorical.from_codes(random.integers(0, 9, moves), CATEGORIES).astype(str),
            channel=pd.Categorical.from_codes(random.integers(0, 8, moves), CHANNELS).astype(str),
        ),
        "contacts": events(
            talks,
            contact_id=np.arange(talks).astype(str),
            channel=CHANNELS[random.integers(0, 8, talks)],
            direction=np.array(["in", "out"])[random.integers(0, 2, talks)],
        ),
    }


def floor(taken: snapshot.Snapshot) -> None:
    """Scan the window's transactions and aggregate three values by customer: what no method can undercut."""
    end = snapshot.cutoff(taken.as_of)
    with taken.warehouse.connect() as connection:
        connection.execute(
            """
            SELECT customer_key, count(*), sum(amount_minor), max(occurred_at) FROM transactions
            WHERE recorded_at < $end AND (superseded_at IS NULL OR superseded_at >= $end)
              AND occurred_at < $end AND occurred_at >= $end - INTERVAL 12 MONTHS
            GROUP BY customer_key
            """,
            {"end": end},
        ).to_arrow_table()


def with_pandas(taken: snapshot.Snapshot) -> None:
    """Compute the 136 features from one data frame, as one would in a notebook."""
    columns = ["customer_id", "occurred_at", "amount_minor", "category", "channel"]
    rows = taken.table("transactions", columns).astype({name: "category" for name in ("category", "channel")})
    parts = []
    for months in WINDOWS:
        recent = rows[rows["occurred_at"] >= pd.Timestamp(AS_OF) + pd.Timedelta(days=1) - pd.DateOffset(months=months)]
        for by in ("category", "channel"):
            grouped = recent.groupby(["customer_id", by], observed=False)["amount_minor"].agg(["count", "sum"])
            parts.append(grouped.unstack().add_suffix(f"_{months}m"))
    pd.concat(parts, axis=1).fillna(0)


def cpu_seconds(action: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Return the smallest CPU time and the wall time of the same run."""
    runs = []
    for _ in range(repeat):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pandas", action="store_true", help="measure pandas too: slow, and large in memory")
    parser.add_argument("--keep", type=Path, help="write the version here and use it again next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder) / "v000001.duckdb"
        if not path.exists():
            build.from_frames(path, made_up(given.customers, given.seed))
        taken = snapshot.open_file(path).snapshot(AS_OF)
        measured = {
            "floor F1: scan + group by, 3 aggregates": lambda: floor(taken),
            "kernel, 136 counts and sums": lambda: features.build(taken, WIDE),
            "kernel, default specification": lambda: features.build(taken),
        }
        if given.pandas:
            measured["pandas, 136 counts and sums"] = lambda: with_pandas(taken)
        print(f"{given.customers:,} customers, {given.customers * 30:,} transactions over 24 months")
        first = None
        for name, action in measured.items():
            cpu, wall = cpu_seconds(action, given.repeat)
            first = first or cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:42} {cpu:7.2f} CPU-s {cpu / first:6.1f} x F1 {wall:7.2f} s wall  peak so far {peak:,.0f} MB")


if __name__ == "__main__":
    main()
