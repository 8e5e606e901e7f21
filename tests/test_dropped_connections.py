"""A store on PostgreSQL whose connection drops or whose server restarts in the midst of a job; and two jobs at once.

One clear error, nothing lost, nothing doubled, and the next try works.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_safety
import postgres
import pytest
import sqlalchemy as sa
from forked import Host, host
from made_safety import MADE_BY, made_once
from test_faults import refused

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

LONG = bool(os.environ.get("CRM_LONG"))
JOBS = ("load", "publish", "train", "score", "export_list", "record")
DROPS = 12 if LONG else 2
"""How often the connection is dropped in each job."""


class Server:
    """Drops the connections of a job while they are in the midst of a transaction."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")

    def dropping(self, ended: threading.Event, at: int) -> int:
        """Drop the connections in the midst of a transaction as soon as ``at`` moments with such were seen; return how many.

        Between transactions a dropped connection is replaced before it is used, and the job would notice nothing.
        """
        busy = (
            "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() "
            "AND backend_type = 'client backend' AND state <> 'idle'"
        )
        seen = 0
        with self.engine.connect() as connection:
            while not ended.is_set():
                if seen + 1 >= at:
                    dropped = len(connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) {busy}")).all())
                    if dropped:
                        return dropped
                else:
                    seen += bool(connection.scalar(sa.text(f"SELECT count(*) {busy}")))
                time.sleep(0.001)
        return 0


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path, Path, Server]]:
    """A host that forks jobs, a data folder whose store is on PostgreSQL, the bank's files, and its server."""
    folder = tmp_path_factory.mktemp("dropped")
    inputs, data = folder / "in", folder / "work" / "data"
    made_safety.write_files(inputs)
    data.parent.mkdir()
    with postgres.server() as url, host(folder / "children", None, {"CRM_STORE": url}) as forking:
        forking.told("make", data, inputs)
        assert not (data / "store.sqlite").exists()
        yield forking, data, inputs, Server(url)


def look(forking: Host, data: Path, inputs: Path) -> dict[str, Any]:
    found = forking.told("look_soon", data, inputs)
    assert found["problems"] == []
    return found


@pytest.mark.postgres
def test_a_dropped_connection_is_one_clear_error_and_the_next_try_works(bank: tuple[Host, Path, Path, Server]) -> None:
    forking, data, inputs, server = bank
    dropped, refusals = Counter[str](), Counter[str]()
    for job, attempt in itertools.product(JOBS, range(DROPS)):
        before = look(forking, data, inputs)
        number = max(before["batches"]) + 1
        made_safety.write_batch(inputs, number)
        ended, over = [], threading.Event()

        def run() -> None:
            ended.append(forking.run(job, data, inputs, number))  # noqa: B023
            over.set()  # noqa: B023

        running = threading.Thread(target=run)
        running.start()
        dropped[job] += server.dropping(over, at=1 + 4 * attempt) > 0
        running.join()
        after = look(forking, data, inputs)
        if ended[0].code:
            refused(ended[0])
            refusals[job] += 1
        else:
            assert ended[0].told is not None, ended[0].said
        made_once(job, ended[0].told, before, after)
        if job != "publish" or number not in after["batches"]:
            made_once(job, forking.told(job, data, inputs, number), after, look(forking, data, inputs))
        if attempt == DROPS - 1:
            assert forking.told("tidied", data, inputs)["left"] == []
    print(f"connections dropped {dict(dropped)}; jobs that were refused {dict(refusals)}")
    assert set(dropped) == set(JOBS) and min(dropped.values()) >= 1
    assert len(refusals) >= len(JOBS) // 2  # else no drop came in the midst of anything


@pytest.mark.postgres
def test_a_restarted_server_is_found_again_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crmlib.store import audit, session

    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        say = {"actor": "ann", "role": "analyst", "action": "look", "now": made_safety.clock.now()}
        assert audit.record(tmp_path, **say) == 1
        restart(url)
        assert audit.record(tmp_path, **say) == 2
        session.engine(tmp_path).dispose()


def restart(url: str) -> None:
    folder = Path(str(sa.make_url(url).query["host"]))
    programs = postgres.programs()
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    call = [str(programs / "pg_ctl"), "-D", str(folder / "cluster"), "-l", str(folder / "log")]  # type: ignore[operator]
    command = [*prefix, *call, "-m", "fast", "-w", "restart"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


# ---------------------------------------------------------------- two at once


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path, Path]]:
    """A host that forks jobs, a data folder whose store is SQLite, and the bank's files."""
    folder = tmp_path_factory.mktemp("two")
    inputs, data = folder / "in", folder / "work" / "data"
    made_safety.write_files(inputs)
    data.parent.mkdir()
    with host(folder / "children", None) as forking:
        forking.told("make", data, inputs)
        yield forking, data, inputs


@pytest.mark.parametrize("job", ["load", "train", "score", "export_list", "record"])
def test_two_at_once_are_acknowledged_once_each(two: tuple[Host, Path, Path], job: str) -> None:
    forking, data, inputs = two
    before = look(forking, data, inputs)
    numbers = [max(before["batches"]) + 1, max(before["batches"]) + 2]
    for number in numbers:
        made_safety.write_batch(inputs, number)
    told = both(forking, job, data, inputs, numbers)
    assert told[0] != told[1]
    found = look(forking, data, inputs)
    new = [one for one in found[MADE_BY[job]] if one not in before[MADE_BY[job]]]
    assert sorted(map(str, new)) == sorted(str(value) for one in told for value in one.values())
    if job in ("train", "score"):
        assert sorted(new) == list(range(min(new), min(new) + 2))  # numbered in order, without a gap


def test_the_same_file_loaded_twice_at_once_comes_in_once(two: tuple[Host, Path, Path]) -> None:
    forking, data, inputs = two
    before = look(forking, data, inputs)
    number = max(before["batches"]) + 1
    made_safety.write_batch(inputs, number)
    assert both(forking, "load", data, inputs, [number, number]) == [{"batch": number}] * 2
    found = look(forking, data, inputs)
    assert found["batches"] == [*before["batches"], number] == found["accepted"]


def both(forking: Host, job: str, data: Path, inputs: Path, numbers: list[int]) -> list[dict[str, Any]]:
    children = [forking.start(job, data, inputs, number) for number in numbers]
    ends = [child.wait() for child in children]
    assert [ended.code for ended in ends] == [0, 0], [ended.said for ended in ends]
    return [ended.told or {} for ended in ends]
