"""What several machines cost and bring: features by a database and by Spark, boosters by Dask, against this machine alone.

    python benchmarks/bench_several_machines.py features --customers 10000 100000
    python benchmarks/bench_several_machines.py training --customers 10000 100000

All run on this one machine (a PostgreSQL server, a Spark master with two workers of one core, a Dask scheduler with two
workers of one thread), so what is measured is the work there is in all, CPU seconds of every process together, and that
the results agree; not what ten machines would take. Needs the extras ``postgres``, ``spark`` and ``dask``, Java and the
PostgreSQL server's programs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import features_data
import numpy as np
import pandas as pd
import picture
import psutil
import pyarrow.parquet as pq
import sqlalchemy as sa
from sklearn.metrics import roc_auc_score

from crmlib import features
from crmlib.features import pushdown
from crmlib.models import boost, distributed, encode, learner, pairs
from crmlib.models.boost import Target
from crmlib.warehouse import schema, snapshot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import made_clusters
import postgres

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "several_machines.json"
PICTURE = HERE.parent / "docs" / "pictures" / "bench_several_machines.svg"
TABLES = ("customers", "transactions")
WIDE = features.Specification(
    (
        features.windowed("transactions", "amount_minor", by="category", levels=sorted(features_data.CATEGORIES)),
        features.windowed("transactions", "amount_minor", by="channel", levels=sorted(features_data.CHANNELS)),
    )
)
"""136 counts and sums."""
SPARK = {"spark.executor.memory": "2g", "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "8"}
COLUMNS, PRODUCTS = 60, 10


def used(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds of processes with all their descendants, those that have ended included."""
    total = 0.0
    for root in processes:
        for process in [root, *root.children(recursive=True)]:
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
    return total


@contextmanager
def measured(row: dict[str, Any], servers: Sequence[psutil.Process] = ()) -> Iterator[None]:
    """Enter CPU seconds of this process, its descendants and the servers, and wall seconds, into a row of results."""
    before, wall = used([psutil.Process(), *servers]), time.perf_counter()
    yield
    row["cpu_seconds"] = round(used([psutil.Process(), *servers]) - before, 2)
    row["wall_seconds"] = round(time.perf_counter() - wall, 1)
    row["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def apart(name: str, *arguments: object) -> dict[str, Any]:
    """Run a part of this benchmark in a process of its own and return what it measured."""
    done = subprocess.run(
        [sys.executable, __file__, name, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


# ---------------------------------------------------------------- features


def one_engine(engine: str, source: str, to: Path, server: int) -> dict[str, Any]:
    """Return what it costs one engine to write the features; ``server`` is the process that computes, where there is one."""
    row: dict[str, Any] = {"engine": engine}
    servers = [psutil.Process(server)] if server else []
    with measured(row, servers):
        if engine == "local kernel":
            taken = snapshot.open_file(Path(source)).snapshot(features_data.AS_OF)
            pushdown.write_local(taken, WIDE, to=to)
        else:
            address, _, tables = source.partition(" ")
            with pushdown.opened(address, tables=tables) as opened:
                pushdown.write(opened, features_data.AS_OF, WIDE, to=to)
    return row


def fill(url: str, parquet: Path) -> None:
    """Copy the tables from Parquet files into the empty server."""
    made = sa.create_engine(url, poolclass=sa.NullPool)
    with made.begin() as connection, duckdb.connect() as files:
        schema.metadata.create_all(connection)
        raw = connection.connection.driver_connection
        for name in TABLES:
            lines = parquet / f"{name}.csv"
            files.execute(f"COPY (FROM '{parquet / name}.parquet') TO '{lines}' (HEADER)")
            with lines.open("rb") as rows, raw.cursor() as cursor:
                columns = rows.readline().decode().strip()
                with cursor.copy(f"COPY {name} ({columns}) FROM STDIN (FORMAT csv)") as copy:
                    while block := rows.read(1 << 20):
                        copy.write(block)
            lines.unlink()
        connection.execute(sa.text("CREATE ROLE analyst LOGIN"))
        connection.execute(sa.text("ALTER ROLE analyst SET default_transaction_read_only = on"))
        connection.execute(sa.text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO analyst"))
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def postmaster(url: str) -> int:
    """Return the number of the server's first process."""
    folder = Path(url.rpartition("host=")[2])
    return int((folder / "cluster" / "postmaster.pid").read_text().splitlines()[0])


def same(left: Path, right: Path) -> bool:
    """Whether two files of features are equal; these are counts and sums, so to the last digit."""
    return pq.read_table(left).equals(pq.read_table(right))


def of_features(customers: int, folder: Path, engines: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row of results for each engine."""
    file = folder / "v000001.duckdb"
    features_data.write(file, customers, 7)
    with duckdb.connect(str(file)) as connection:
        for name in TABLES:
            connection.execute(f"COPY {name} TO '{folder / name}.parquet' (FORMAT parquet)")
    base = folder / "local.parquet"
    rows = [apart("one_engine", "local kernel", file, base, 0)]
    if "postgresql" in engines:
        with postgres.server() as url:
            fill(url, folder)
            read = url.replace("crm@", "analyst@")
            to = folder / "postgresql.parquet"
            rows.append(apart("one_engine", "postgresql", read, to, postmaster(url)))
            rows[-1]["equal"] = same(base, to)
    if "spark" in engines:
        with made_clusters.spark_cluster(settings=SPARK) as address:
            before = used(psutil.Process().children())
            to = folder / "spark.parquet"
            row = apart("one_engine", "spark, 2 workers", f"{address} {folder}", to, 0)
            row["cpu_seconds"] = round(row["cpu_seconds"] + used(psutil.Process().children()) - before, 2)
            rows.append({**row, "equal": same(base, to)})
    return [{"customers": customers, **row} for row in rows]


# ---------------------------------------------------------------- training


def purchases(customers: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return made-up features and labels of ``PRODUCTS`` products."""
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(customers, COLUMNS)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(COLUMNS, PRODUCTS)) * (np.arange(COLUMNS) % 6 == 0)[:, None]
    curved = np.where(drawn > 0.5, drawn, -0.3) @ weights
    bought = random.random((customers, PRODUCTS)) < 1 / (1 + np.exp(3.5 - 0.8 * curved))
    ids = np.char.add("c", np.char.zfill(np.arange(customers).astype(str), 8))
    table = pd.DataFrame(drawn, columns=[f"x{place:02}" for place in range(COLUMNS)])
    table.insert(0, "customer_id", ids)
    table.insert(1, "as_of", pd.Timestamp("2025-03-31"))
    names = [f"product {place:02}" for place in range(PRODUCTS)]
    labels = pd.DataFrame(
        {
            "customer_id": np.repeat(ids, PRODUCTS),
            "as_of": pd.Timestamp("2025-03-31"),
            "product_id": pd.Categorical.from_codes(np.tile(np.arange(PRODUCTS), customers), names),
            "bought": bought.ravel(),
        }
    )
    return table, labels


def auc(booster: Any, encoding: encode.Encoding) -> float:
    """Return the mean AUC of the products on 50,000 fresh customers."""
    table, labels = purchases(50_000, 99)
    bought = pairs.matrix(labels, table, sorted(labels["product_id"].cat.categories))
    margins = boost.margins_of(booster, encoding.tree_matrix(table), PRODUCTS + 1)
    return float(np.mean([roc_auc_score(bought[:, place], margins[:, place]) for place in range(PRODUCTS)]))


def one_machine(folder: Path) -> dict[str, Any]:
    """Return what training on every row costs in one process with two threads."""
    row: dict[str, Any] = {"engine": "one machine"}
    with measured(row):
        products = tuple(distributed.sold([folder / "labels.parquet"]))
        parts = distributed._parts([folder / "features.parquet"], [folder / "labels.parquet"], products, 3)
        read = [part.read() for part in parts]
        table = pd.concat([one for one, _ in read], ignore_index=True)
        bought = np.concatenate([one for _, one in read])
        held_out = np.concatenate([part.held_out() for part in parts])
        encoding = encode.fit(table)
        target = Target(bought, np.ones(len(bought)), learner.base_log_odds(bought)[None])
        tree = encoding.tree_matrix(table)
        inner, outer = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        judge = (tree[outer], target.take(outer))
        booster, _ = boost.fit(tree[inner], target.take(inner), encoding, held_out=judge, seed=3, nthread=2)
    return {**row, "auc": round(auc(booster, encoding), 5)}


def two_workers(folder: Path, address: str) -> dict[str, Any]:
    """Return what the same costs a Dask cluster; the regression beside the booster is part of it."""
    row: dict[str, Any] = {"engine": "dask, 2 workers"}
    with measured(row):
        learnt = distributed.train(address, [folder / "features.parquet"], [folder / "labels.parquet"], seed=3)
    return {**row, "auc": round(auc(learnt.booster, learnt.encoding), 5)}


def of_training(customers: int, folder: Path) -> list[dict[str, Any]]:
    """Return a row of results for one machine and one for the cluster."""
    table, labels = purchases(customers, 5)
    table.to_parquet(folder / "features.parquet", index=False, row_group_size=min(50_000, customers // 4))
    labels.to_parquet(folder / "labels.parquet", index=False, row_group_size=100_000)
    del table, labels
    rows = [apart("one_machine", folder)]
    with made_clusters.dask_cluster() as address:
        before = used(psutil.Process().children())
        row = apart("two_workers", folder, address)
        row["cpu_seconds"] = round(row["cpu_seconds"] + used(psutil.Process().children()) - before, 2)
        row["worker_peak_mb"] = max(peak(process) for process in psutil.Process().children())
        rows.append(row)
    return [{"customers": customers, **row} for row in rows]


def peak(process: psutil.Process) -> int:
    """Return the most memory a process has held, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def report(part: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows, keep them beside those of other runs, sizes and engines, and draw them all."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    new = {(row["customers"], row["engine"]): row for row in [*kept.get(part, []), *rows]}
    kept[part] = [new[key] for key in sorted(new)]
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(pd.DataFrame(rows).to_string(index=False, na_rep=""))
    bars = [
        picture.Bar(
            f"{name}, {row['customers']:,}: {row['engine']}",
            row["cpu_seconds"],
            "own" if row["engine"] in ("local kernel", "one machine") else "peer",
        )
        for name in sorted(kept)
        for row in kept[name]
    ]
    title = "Several machines, all of them on one: the work there is in all"
    picture.bars(bars, title=title, unit="CPU seconds of every process together, by customers", to=PICTURE)


def main() -> None:
    """Measure and print."""
    steps = {"one_engine": (str, str, Path, int), "one_machine": (Path,), "two_workers": (Path, str)}
    if len(sys.argv) > 1 and sys.argv[1] in steps:
        given = [kind(text) for kind, text in zip(steps[sys.argv[1]], sys.argv[2:], strict=True)]
        print(json.dumps(globals()[sys.argv[1]](*given)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["features", "training"])
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--engines", nargs="+", default=["postgresql", "spark"], choices=["postgresql", "spark"])
    chosen = parser.parse_args()
    for customers in chosen.customers:
        with tempfile.TemporaryDirectory(prefix="bench_several_machines_") as name:
            features_wanted = chosen.part == "features"
            rows = (
                of_features(customers, Path(name), chosen.engines)
                if features_wanted
                else of_training(customers, Path(name))
            )
        report(chosen.part, rows)


if __name__ == "__main__":
    main()
