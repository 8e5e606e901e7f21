"""The whole demo at a size of your choice: what each stage takes, and the peak memory of all its processes together.

python benchmarks/bench_million.py --customers 20000
python benchmarks/bench_million.py --customers 1000000      (an hour, about 21 GB of disk)

Stages are wall seconds of the main process; jobs and notebooks that run beside it are in the run ledger and listed too.
Memory is the sum of the resident memory of the demo and everything it started, sampled every second: pages that
processes share (libraries, kernels forked from one parent) count more than once, so the figure is an upper bound.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from picture import Bar, bars

from crmlib.runs import demo
from crmlib.store import session
from crmlib.store.tables import Run

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
EVERY_SECONDS = 1.0
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watched:
    """What was seen of the demo's processes: when and how much (bytes) in all, and the most of each command."""

    memory: list[tuple[float, int]] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    disk: int = 0

    def look(self, root: int, folder: Path) -> None:
        """Add what the process ``root`` and its descendants hold now, and what lies in the folder."""
        held = {pid: _resident(pid) for pid in descendants(root)}
        self.memory.append((time.time(), sum(held.values())))
        for pid, size in held.items():
            name = "demo" if pid == root else _command(pid)
            self.most[name] = max(self.most.get(name, 0), size)
        self.disk = max(self.disk, _on_disk(folder))

    def peak(self, begin: float = 0.0, end: float = float("inf")) -> int:
        """Return the most memory in a span of time, bytes."""
        return max((size for at, size in self.memory if begin <= at <= end), default=0)


def descendants(root: int) -> list[int]:
    """Return a process and all that came of it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has just ended
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _command(pid: int) -> str:
    """Return what a process is for: the crm command with its first argument, else the module or program."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return "ended"
    if "crmlib.cli" in words:
        after = words[words.index("crmlib.cli") + 1 :]
        names = [word for word in after if word and not word.startswith("-") and "/" not in word]
        return " ".join(["crm", *names])
    return next((word for word in words[1:] if word and not word.startswith("-")), words[0])


def _on_disk(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue  # it has just been renamed or removed
    return total


class _Kept(logging.Handler):
    """Writes each stage that ends as a line of JSON, so that what was done is known even if the demo is ended."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        line = {
            "name": str(record.args[0] if isinstance(record.args, tuple) else record.getMessage()),
            "seconds": getattr(record, "seconds", 0.0),
            "ended_at": record.created,
            "notes": getattr(record, "notes", []),
        }
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _demo(data: Path, customers: int, seed: int, file: Path) -> None:
    """Run the demo in this process; every stage that ends is written to the file."""
    stages = logging.getLogger("crmlib.runs.stages")
    stages.setLevel(logging.INFO)
    stages.addHandler(_Kept(file))
    demo.run(data, customers=customers, seed=seed)


def watch(data: Path, *, customers: int, seed: int, timeout: float) -> dict[str, Any]:
    """Run the demo in a process of its own and return what was seen of it."""
    file = data.with_name(f"{data.name}-stages.jsonl")
    file.unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=_demo, args=(data, customers, seed, file))
    started, seen = time.time(), Watched()
    process.start()
    assert process.pid is not None
    try:
        while process.is_alive() and time.time() - started < timeout:
            seen.look(process.pid, data)
            process.join(EVERY_SECONDS)
    finally:
        if process.is_alive():
            for pid in reversed(descendants(process.pid)):
                os.kill(pid, 15)
            process.join(30)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    stages = [json.loads(line) for line in lines]
    file.unlink(missing_ok=True)
    return {
        "customers": customers,
        "seed": seed,
        "completed": process.exitcode == 0,
        "wall_s": round(time.time() - started),
        "cpu_s": round(used.ru_utime + used.ru_stime),
        "peak_mb": round(seen.peak() / 1e6),
        "disk_peak_mb": round(seen.disk / 1e6),
        "disk_end_mb": round(_on_disk(data) / 1e6),
        "stages": [
            {
                "name": one["name"],
                "seconds": one["seconds"],
                "peak_mb": round(seen.peak(one["ended_at"] - one["seconds"] - EVERY_SECONDS, one["ended_at"]) / 1e6),
                "notes": one["notes"],
            }
            for one in stages
        ],
        "jobs": jobs(data, seen),
        "processes_mb": {name: round(size / 1e6) for name, size in sorted(seen.most.items(), key=lambda one: -one[1])},
    }


def jobs(data: Path, seen: Watched) -> list[dict[str, Any]]:
    """Return the runs in the ledger: kind, name, state, seconds, and the peak of all processes meanwhile."""
    try:
        with session.session(data) as opened:
            runs = list(opened.scalars(sa.select(Run).order_by(Run.run_id)))
    except Exception as error:  # a demo that ended before there was a store has none
        print(f"no ledger: {error}")
        return []
    out = []
    for run in runs:
        begin = run.started_at.replace(tzinfo=dt.UTC).timestamp()
        end = run.finished_at.replace(tzinfo=dt.UTC).timestamp() if run.finished_at else float("inf")
        row = {"kind": run.kind, "name": run.name, "state": run.state, "peak_mb": round(seen.peak(begin, end) / 1e6)}
        out.append({**row, "seconds": None if run.finished_at is None else round(end - begin, 1)})
    return out


def pictures(found: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the seconds of the stages, and the memory at the time of each, one picture each."""
    many = f"{found['customers']:,} customers, crm demo"
    rows = [Bar(one["name"], one["seconds"], note=f"{one['peak_mb'] / 1000:.1f} GB") for one in found["stages"]]
    beside = [
        Bar(f"{one['kind']} {one['name']}" if one["kind"] == "notebook" else one["kind"], one["seconds"])
        for one in found["jobs"]
        if one["seconds"] and one["kind"] != "demo"
    ]
    title = f"{many}: {found['wall_s']:,} s, {found['cpu_s']:,} CPU-s, peak {found['peak_mb'] / 1000:.1f} GB"
    return [
        bars(rows, title=title, unit="seconds of each stage, and the memory of all processes then", to=folder / "bench_million.svg"),
        bars(beside, title=f"{many}: every job and notebook", unit="seconds, side by side", to=folder / "bench_million_jobs.svg"),
    ]  # fmt: skip


def main() -> None:
    """Run the demo, print what it took, write results/million_N.json and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, default=RESULTS / "million", help="made anew, removed at the end")
    parser.add_argument("--keep", action="store_true", help="leave the data folder")
    parser.add_argument("--again", action="store_true", help="use the folder as it is: its sample is not made anew")
    parser.add_argument("--timeout", type=float, default=4 * 3600, help="seconds after which the demo is ended")
    parser.add_argument("--no-picture", action="store_true")
    given = parser.parse_args()
    if not given.again:
        shutil.rmtree(given.data, ignore_errors=True)
    given.data.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    try:
        found = watch(given.data, customers=given.customers, seed=given.seed, timeout=given.timeout)
    finally:
        if not given.keep:
            shutil.rmtree(given.data, ignore_errors=True)
    found |= {
        "command": " ".join(["bench_million.py", *sys.argv[1:]]),
        "date": str(dt.date.today()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("duckdb", "pandas", "numpy", "pyarrow", "xgboost-cpu")},
        "cores": os.cpu_count(),
    }
    file = RESULTS / f"million_{given.customers}.json"
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for one in found["stages"]:
        print(f"{one['name']:<12} {one['seconds']:8.1f} s  {one['peak_mb']:>7,} MB")
    print(
        f"{'all' if found['completed'] else 'NOT COMPLETED'}: {found['wall_s']:,} s, {found['cpu_s']:,} CPU-s, "
        f"peak {found['peak_mb']:,} MB, disk {found['disk_end_mb']:,} MB (most {found['disk_peak_mb']:,}); {file}"
    )
    if not given.no_picture and found["completed"]:
        pictures(found, PICTURES)
    if not found["completed"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
