"""How fast a CSV file with planted errors is loaded, against one hand-written DuckDB script (the floor).

The floor reads the same file as text with line numbers, casts, evaluates the same rules, duplicates and references
included, and writes the good rows and the problems as tables: no warehouse version, no sorting by customer, no rows to
be corrected, no report. Whatever the load reports is compared with what was planted, line by line and column by column.

Run: python benchmarks/bench_load.py [--rows 1000000] [--errors 500] [--memory]. CPU seconds of a process of its own for
each measured thing and of its threads; wall time is noisy. ``--memory`` measures peak memory at a tenth of ``--rows``
and at ``--rows`` instead (a file of 2 GB has 40 million).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import duckdb
import numpy as np
import pandas as pd
from picture import Bar, bars

from crmlib import warehouse
from crmlib.warehouse import changes
from crmlib.warehouse.versions import Building

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
AT = dt.datetime(2026, 1, 1)
PART = 1_000_000
"""Rows made at a time."""

MAPPING = {
    "tables": {
        "customers": {
            "files": ["customers.csv"],
            "columns": {"customer_id": "client", "valid_from": {"value": "2020-01-01"}},
        },
        "contacts": {
            "files": ["contacts.csv"],
            "columns": {
                "contact_id": "id",
                "customer_id": "client",
                "occurred_at": "time",
                "channel": {"value": "call"},
                "direction": "direction",
                "cost_minor": {"column": "cost", "unit": "major"},
            },
        },
    }
}
# What each kind of error makes of a row (of id, client, time, direction, cost), and the column it is reported for.
PLANTED: dict[str, tuple[str, str]] = {
    "ragged": ("{0},{1},{2},{3}", ""),
    "quotation": ('{0},"{1},{2},{3},{4}', ""),
    "encoding": ("{0},{1},{2},\udccf,{4}", ""),
    "unreadable": ("{0},{1},{2},i\0n,{4}", ""),
    "too_long": ("{0},{1},{2}," + "x" * 131_073 + ",{4}", ""),
    "missing": ("{0},,{2},{3},{4}", "client"),
    "impossible_date": ("{0},{1},2025-02-30 10:00:00,{3},{4}", "time"),
    "in_future": ("{0},{1},2027-01-01 10:00:00,{3},{4}", "time"),
    "conflicting_duplicate": ("{0},{1},{2},{3},{4}", "id"),
    "not_allowed": ("{0},{1},{2},up,{4}", "direction"),
    "out_of_range": ("{0},{1},{2},{3},-1.00", "cost"),
    "unknown_reference": ("{0},nobody,{2},{3},{4}", "client"),
    "wrong_type": ("{0},{1},{2},{3},dear", "cost"),
}
READ = """read_csv('{folder}/floor.csv', auto_detect = false, header = true, delim = ',', quote = '"', escape = '"',
         columns = {{'id': 'VARCHAR', 'client': 'VARCHAR', 'time': 'VARCHAR', 'direction': 'VARCHAR', 'cost': 'VARCHAR'}},
         store_rejects = true, rejects_limit = 0)"""
FLOOR = """
CREATE TABLE customers AS SELECT * FROM read_csv('{folder}/customers.csv', all_varchar = true, header = true);
CREATE TEMP TABLE cells AS
SELECT row_number() OVER () + 1 AS line, *, TRY_CAST(time AS TIMESTAMP) AS happened, TRY_CAST(cost AS DECIMAL(18, 2)) AS paid
FROM {read};
CREATE TABLE problems AS
SELECT line, 'id' AS "column", 'missing' AS rule, id AS value FROM cells WHERE id IS NULL
UNION ALL SELECT line, 'client', 'missing', client FROM cells WHERE client IS NULL
UNION ALL SELECT line, 'time', 'missing', time FROM cells WHERE time IS NULL
UNION ALL SELECT line, 'time', 'impossible_date', time FROM cells WHERE time IS NOT NULL AND happened IS NULL
UNION ALL SELECT line, 'time', 'in_future', time FROM cells WHERE happened > TIMESTAMP '2026-01-02'
UNION ALL SELECT line, 'time', 'out_of_range', time FROM cells
          WHERE happened < TIMESTAMP '1800-01-01' OR happened > TIMESTAMP '2200-01-01'
UNION ALL SELECT line, 'direction', 'not_allowed', direction FROM cells WHERE direction NOT IN ('in', 'out')
UNION ALL SELECT line, 'cost', 'wrong_type', cost FROM cells WHERE cost IS NOT NULL AND paid IS NULL
UNION ALL SELECT line, 'cost', 'out_of_range', cost FROM cells WHERE paid < 0
UNION ALL SELECT line, '', 'unreadable', direction FROM cells WHERE contains(concat(id, client, time, direction, cost), chr(0))
UNION ALL SELECT line, '', 'too_long', id FROM cells
          WHERE greatest(strlen(id), strlen(client), strlen(time), strlen(direction), strlen(cost)) > 131072
UNION ALL SELECT line, 'client', 'unknown_reference', client FROM cells WHERE client NOT IN (SELECT client FROM customers)
UNION ALL SELECT line, 'id', 'conflicting_duplicate', id FROM cells
          WHERE id IN (SELECT id FROM cells GROUP BY id HAVING count(*) > 1)
UNION ALL SELECT line, '', error_type::VARCHAR, csv_line FROM reject_errors;
CREATE TABLE contacts AS
SELECT id, client, happened, direction, CAST(paid * 100 AS BIGINT) AS cost_minor FROM cells
WHERE line NOT IN (SELECT line FROM problems);
CHECKPOINT;
"""


def write(folder: Path, rows: int, errors: int = 0) -> pd.DataFrame:
    """Write made-up customers and contacts (5 columns) with ``errors`` rows of every kind; return what was planted.

    Columns: line, column, rule, one row for each problem that a load has to report. The file for the floor is without
    open quotation marks, behind which DuckDB's reader loses all rows up to the next mark: it is to read them all.
    """
    rng = np.random.default_rng(7)
    customers = (np.arange(max(rows // 30, 10)) + 1_000_000).astype(str)
    (folder / "customers.csv").write_text("client\n" + "\n".join(customers) + "\n", encoding="utf-8")
    # Every other row, so that a row's neighbour can become its duplicate.
    places = 2 * rng.choice(rows // 2 - 1, len(PLANTED) * errors, replace=False)
    kinds = dict(zip(places.tolist(), np.repeat(list(PLANTED), errors).tolist(), strict=True))
    found: list[tuple[int, str, str]] = []
    with open_(folder / "contacts.csv") as stream, open_(folder / "floor.csv") as other:
        for file in (stream, other):
            file.write("id,client,time,direction,cost\n")
        for first in range(0, rows, PART):
            made = _part(rng, first, min(PART, rows - first), customers)
            sound = {}
            for place in sorted(place for place in kinds if first <= place < first + len(made)):
                line, (text, column) = made[place - first], PLANTED[kinds[place]]
                made[place - first] = text.format(*line.split(","))
                found.append((place + 2, column, kinds[place]))
                if kinds[place] == "quotation":
                    sound[place - first] = line
                if kinds[place] == "conflicting_duplicate":
                    made[place - first + 1] = ",".join([line.split(",")[0], *made[place - first + 1].split(",")[1:]])
                    found.append((place + 3, column, kinds[place]))
            stream.write("\n".join(made) + "\n")
            if errors:
                for place, line in sound.items():
                    made[place] = line
                other.write("\n".join(made) + "\n")
    return pd.DataFrame(found, columns=["line", "column", "rule"])


def open_(path: Path) -> TextIO:
    """Open a file for texts that need not be of any encoding."""
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _part(rng: np.random.Generator, first: int, rows: int, customers: np.ndarray) -> list[str]:
    days = np.datetime64("2024-01-01") + np.arange(720)
    moments = pd.Series(days[rng.integers(0, 720, rows)]).astype(str).str[:10]
    table = {
        "id": pd.Series(np.arange(first, first + rows)).astype(str),
        "client": pd.Series(rng.choice(customers, rows)),
        "time": moments
        + " "
        + pd.Series(rng.integers(10, 24, rows)).astype(str)
        + ":30:"
        + pd.Series(rng.integers(10, 60, rows)).astype(str),
        "direction": pd.Series(rng.choice(["in", "out"], rows)),
        "cost": pd.Series(np.round(rng.gamma(2.0, 3.0, rows), 2)).astype(str),
    }
    return list(map(",".join, zip(*table.values(), strict=True)))


def floor(folder: Path) -> dict[str, Any]:
    """Read, check and write with DuckDB alone; return what it counted."""
    with duckdb.connect(str(folder / "floor.duckdb")) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(FLOOR.format(folder=folder, read=READ.format(folder=folder)))
        rows = connection.execute("SELECT count(*) FROM contacts").fetchall()[0][0]
        problems = connection.execute("SELECT count(*) FROM problems").fetchall()[0][0]
    return {"accepted": rows, "problems": problems}


def text(folder: Path) -> dict[str, Any]:
    """Read the file as text into a table, and nothing else."""
    with duckdb.connect(str(folder / "text.duckdb")) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"CREATE TABLE t AS FROM {READ.format(folder=folder)}")
    return {}


def load(folder: Path) -> dict[str, Any]:
    """Load the files into a new warehouse; return its counts and the seconds spent on building and publishing the version."""
    spent: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                spent["version"] += time.process_time() - started

        setattr(owner, name, run)

    counted(changes, "apply")
    counted(Building, "publish")
    files = [folder / "customers.csv", folder / "contacts.csv"]
    report = warehouse.load(files, MAPPING, data=folder / "data", recorded_at=AT)
    counts = report.counts.set_index("table").loc["contacts"].to_dict()
    return {"counts": {name: int(n) for name, n in counts.items()}, "report": str(report.quarantine), **spent}


def _child(name: str, folder: Path, answer: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter()
    found = {"floor": floor, "text": text, "load": load}[name](folder)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer.send({"cpu": cpu, "wall": time.perf_counter() - wall, "peak_mb": after.ru_maxrss / 1024, **found})


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Return what one of the ways costs in a process of its own: cpu and wall (seconds), peak_mb, and what it found."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(name, folder, there))
    child.start()
    there.close()
    try:
        return dict(here.recv())
    finally:
        child.join()


def check(report: str, planted: pd.DataFrame) -> None:
    """Compare a load's report with what was planted: every problem with its line and column, and no other."""
    found = pd.read_parquet(report)[["line", "column", "rule"]]
    expected, reported = set(planted.itertuples(index=False, name=None)), set(found.itertuples(index=False, name=None))
    assert reported == expected, (sorted(reported - expected)[:5], sorted(expected - reported)[:5])
    assert len(found) == len(planted)


def speed(rows: int, errors: int, repeat: int) -> dict[str, Any]:
    """Measure the three ways in turn, ``repeat`` times, on one file."""
    runs: dict[str, list[dict[str, Any]]] = {"text": [], "floor": [], "load": []}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as name:
            planted = write(Path(name), rows, errors)
            for way, found in runs.items():
                found.append(measured(way, Path(name)))
            last = runs["load"][-1]
            check(last["report"], planted)
            refused = planted["line"].nunique()
            assert last["counts"]["accepted"] == rows - refused and last["counts"]["quarantined"] == refused
    ratios = {
        way: statistics.median(load["cpu"] / other["cpu"] for load, other in zip(runs["load"], runs[way], strict=True))
        for way in ("floor", "text")
    }
    return {"rows": rows, "errors_of_each_kind": errors, "duckdb": duckdb.__version__, "ratios": ratios, "runs": runs}


def memory(rows: int) -> dict[str, Any]:
    """Measure the peak memory of a load at a tenth of ``rows`` and at ``rows``."""
    found = {}
    for size in (rows // 10, rows):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), size)
            bytes_ = (Path(name) / "contacts.csv").stat().st_size
            found[str(size)] = {"bytes": bytes_, **measured("load", Path(name))}
    return found


def main() -> None:
    """Measure, print, write the figures to results/ and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--errors", type=int, default=500, help="rows of every kind of error")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if given.memory:
        found = memory(given.rows)
        (RESULTS / "load_memory.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        for size, one in found.items():
            print(
                f"{int(size):>12,} rows {one['bytes'] / 1e6:8,.0f} MB  peak {one['peak_mb']:6,.0f} MB  {one['cpu']:7.1f} CPU-s"
            )
        return
    found = speed(given.rows, given.errors, given.repeat)
    (RESULTS / "load.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    middle = {way: statistics.median(run["cpu"] for run in runs) for way, runs in found["runs"].items()}
    version = statistics.median(run["version"] for run in found["runs"]["load"])
    print(
        f"{given.rows:,} rows x 5 columns, {given.errors} errors of each of {len(PLANTED)} kinds, duckdb {duckdb.__version__}"
    )
    print(f"DuckDB, text only          {middle['text']:6.2f} CPU-s")
    print(f"DuckDB, text and rules     {middle['floor']:6.2f} CPU-s")
    print(
        f"crm load, to the end       {middle['load']:6.2f} CPU-s   {found['ratios']['floor']:.2f} x text and rules, {found['ratios']['text']:.2f} x text"
    )
    print(f"  of it: sorted, compressed version, published {version:.2f} CPU-s")
    print(
        f"  peak memory {max(run['peak_mb'] for run in found['runs']['load']):,.0f} MB; every planted error reported on its line and column"
    )
    rows = [
        Bar("DuckDB: read as text", middle["text"], "floor"),
        Bar("DuckDB: read, rules, write", middle["floor"], "floor"),
        Bar("crm load: to the served version", middle["load"], note=f"{found['ratios']['floor']:.2f} x the rules"),
        Bar("… of it sorting and publishing", version),
    ]
    title = f"Loading {given.rows:,} rows with {given.errors} errors of every kind"
    bars(rows, title=title, unit="CPU seconds", to=PICTURES / "bench_load.svg", target=1.2 * middle["floor"])


if __name__ == "__main__":
    main()
