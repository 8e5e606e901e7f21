"""Writers killed with SIGKILL at every step and at random, under four readers: nothing torn, nothing accepted lost."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import crmlib.warehouse.versions  # noqa: F401
from crmlib import paths
from crmlib.store import ledger, session
from crmlib.store.tables import Load, Version
from crmlib.warehouse import pruning
from crmlib.warehouse.snapshot import Warehouse

# The package's `versions` is the function; the module is what the children patch.
versions = sys.modules["crmlib.warehouse.versions"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

NOW = dt.datetime(2026, 1, 5, 6, 0)
BATCH = 40
# Children come from a server that has imported everything and opened nothing.
processes = multiprocessing.get_context("forkserver")


def load_once(data: Path) -> int:
    """Add one branch, named after the load, and ``BATCH`` transactions worth 1, 2, 3 … times the load's number."""
    with session.session(data) as store:
        load = Load(state="running", started_at=NOW, recorded_at=NOW, fingerprint="", sources={})
        store.add(load)
        store.commit()
        number = load.load_id
    with versions.building(data, now=NOW) as build:
        build.connection.execute("INSERT INTO branches (branch_id, recorded_at) VALUES (?, ?)", [str(number), NOW])
        build.connection.execute(
            "INSERT INTO transactions (transaction_id, customer_id, occurred_at, amount_minor, recorded_at, load_id) "
            f"SELECT $number || '-' || i, 'c', $now, i * $number, $now, $number FROM range(1, {BATCH} + 1) r(i)",
            {"number": number, "now": NOW},
        )
        build.publish({"load_id": number, "state": "accepted", "finished_at": NOW})
    return number


def write(data: Path, told: Connection, step: str | None) -> None:
    """Publish load after load and tell each; with ``step``, die at that step of the first."""

    def at(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    versions._step = at
    told.send(0)
    while True:
        told.send(load_once(data))


def list_steps(data: Path, told: Connection) -> None:
    steps: list[str] = []
    versions._step = steps.append
    load_once(data)
    told.send(steps)


def batches(wh: Warehouse) -> set[int]:
    """The loads a version holds; fails where one of them is not whole."""
    with wh.connect() as connection:
        loads = {int(name) for (name,) in connection.execute("SELECT branch_id FROM branches").fetchall()}
        [(count, total)] = connection.execute("SELECT count(*), sum(amount_minor) FROM transactions").fetchall()
    assert count == BATCH * len(loads), (wh.version, loads, count)
    assert total == sum(loads) * BATCH * (BATCH + 1) // 2, (wh.version, loads, total)
    return loads


def check_served(data: Path) -> tuple[int, set[int]]:
    """Check that the served version holds exactly the loads the store says were accepted; return them."""
    wh = versions.open(paths.warehouse(data))
    with session.session(data) as store:
        accepted = set(store.scalars(sa.select(Load.load_id).where(Load.state == "accepted")))
        row = store.get_one(Version, wh.version)
    found = batches(wh)
    assert found == accepted
    assert (row.state, row.rows) == ("published", len(found) * (BATCH + 1))
    assert row.bytes == wh.path.stat().st_size
    return wh.version, found


def read(data: Path, stop: Any, told: Connection) -> None:
    """Open the served version again and again; tell how often, and what was wrong."""
    reads, last = 0, (0, set())
    try:
        while not stop.is_set():
            wh = versions.open(paths.warehouse(data))
            found = batches(wh)
            assert wh.version >= last[0] and found >= last[1], f"went back from {last} to {wh.version}, {found}"
            last = wh.version, found
            reads += 1
            time.sleep(0.15)
        told.send((reads, ""))
    except Exception as error:
        told.send((reads, f"{type(error).__name__}: {error}"))


@contextmanager
def readers(data: Path) -> Iterator[None]:
    stop = processes.Event()
    running = []
    for _ in range(4):
        here, there = processes.Pipe(duplex=False)
        process = processes.Process(target=read, args=(data, stop, there), daemon=True)
        process.start()
        running.append((process, here))
    try:
        yield
    finally:
        stop.set()
        told = [here.recv() for _, here in running]
        for process, _ in running:
            process.join()
    assert [problem for _, problem in told] == ["", "", "", ""]
    assert min(reads for reads, _ in told) >= 10


@contextmanager
def writer(data: Path, step: str | None = None) -> Iterator[tuple[Any, list[int]]]:
    """Start a writer and wait until it begins; at the end it is dead, and the list holds what it acknowledged."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=write, args=(data, there, step), daemon=True)
    process.start()
    there.close()
    assert here.recv() == 0
    acknowledged: list[int] = []
    yield process, acknowledged
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    try:
        while True:
            acknowledged.append(here.recv())
    except EOFError:
        pass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    processes.set_forkserver_preload(["crmlib.warehouse.versions", "sqlalchemy.dialects.sqlite", __name__])
    data = tmp_path / "data"
    load_once(data)
    return data


def nothing_left(data: Path) -> None:
    """Prune; then every file below the warehouse is a published version, and nothing runs any more."""
    pruning.prune(paths.warehouse(data), keep=3, now=NOW)
    ledger.mark_interrupted(data, now=NOW)
    listed = versions.versions(paths.warehouse(data)).set_index("version")
    published = listed[listed["state"] == "published"]
    assert {file.name for file in paths.warehouse(data).iterdir()} == {f"v{n:06d}.duckdb" for n in published.index}
    assert len(published) <= 3
    assert set(listed["state"]) <= {"published", "pruned", "failed"}
    with session.session(data) as store:
        assert set(store.scalars(sa.select(Load.state))) <= {"accepted", "interrupted"}


def test_a_kill_at_each_step_leaves_the_old_version_or_the_whole_new_one(data: Path) -> None:
    here, there = processes.Pipe(duplex=False)
    processes.Process(target=list_steps, args=(data, there), daemon=True).start()
    steps = here.recv()
    assert len(steps) >= 8 and len(set(steps)) == len(steps)
    with readers(data):
        for step in steps:
            before, loads = check_served(data)
            with writer(data, step) as (_, acknowledged):
                pass
            assert acknowledged == []
            after, found = check_served(data)
            if step == "committed":
                assert after > before and len(found) == len(loads) + 1
            else:
                assert (after, found) == (before, loads)
            nothing_left(data)
        newest = load_once(data)
        assert newest in check_served(data)[1]


def test_fifty_kills_at_random_lose_no_accepted_load(data: Path) -> None:
    chance = random.Random(20260105)
    accepted: set[int] = set()
    with readers(data):
        here, there = processes.Pipe(duplex=False)
        undisturbed = processes.Process(target=write, args=(data, there, None), daemon=True)
        undisturbed.start()
        assert here.recv() == 0
        began = time.monotonic()
        accepted.add(here.recv())
        took = min(time.monotonic() - began, 2)
        undisturbed.kill()
        undisturbed.join()
        for kill in range(50):
            with writer(data) as (process, acknowledged):
                # Spread over the first publish and the one after it, however slow this machine is.
                time.sleep(chance.uniform(0, 1.3 * took))
                os.kill(process.pid, signal.SIGKILL)
            accepted |= set(acknowledged)
            assert accepted <= check_served(data)[1]
            if kill % 10 == 9:
                nothing_left(data)
    assert len(accepted) >= 2  # else every kill came before there was anything to lose
