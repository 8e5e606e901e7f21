"""ENOSPC and EIO at every write of every job: one clear error, the old state served, nothing half written, and then it works.

The library in faults/shim.c makes the N-th step fail: with EIO once, with ENOSPC from then on wherever space is needed,
as on a disk that is full. N runs from 1 until the job succeeds; thinned out here, every N with ``CRM_LONG=1``.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_safety
import pytest
from forked import COUNT, FULL, ONCE, Ended, Host, host, needed_shim
from made_safety import made_once

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults are injected through LD_PRELOAD on Linux")

LONG = bool(os.environ.get("CRM_LONG"))
JOBS = ("load", "train", "score", "export_list", "publish", "back_up", "record")
AT_MOST = 4
"""Steps tried of each job and error, spread over all of it, unless ``LONG``."""

STATE = ("version", "batches", "models", "score_sets", "exports", "audit")
FAULT = 6
"""Exit code of a command that the machine refused."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path, Path]]:
    """A host that forks jobs, the folder of a small bank with its data folder, and the bank's files."""
    folder = tmp_path_factory.mktemp("faults")
    library = needed_shim(folder)
    inputs, made = folder / "in", folder / "made"
    made_safety.write_files(inputs)
    made_safety.write_batch(inputs, 2)
    made.mkdir()
    with host(folder / "children", library) as forking:
        forking.told("make", made / "data", inputs)
        yield forking, made, inputs


def fresh(made: Path, to: Path) -> Path:
    """Copy the bank's folder; return its data folder."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(made, to)
    return to / "data"


def tried(steps: int) -> list[int]:
    """Return the steps at which to fail: all of them, or some."""
    every = list(range(1, steps + 1))
    return every if LONG else sorted({every[(steps - 1) * place // (AT_MOST - 1)] for place in range(AT_MOST)})


def state(forking: Host, data: Path, inputs: Path) -> dict[str, Any]:
    found = forking.told("look", data, inputs)
    assert found["problems"] == []
    return {name: found[name] for name in STATE}


def refused(ended: Ended) -> None:
    """One sentence, the documented exit code and no traceback."""
    assert ended.code == FAULT, (ended.code, ended.said)
    assert "Traceback" not in ended.said and "Logging error" not in ended.said, ended.said
    [told] = [line for line in ended.said.splitlines() if line.startswith("crm: ")]
    assert ": " in told and len(told) > 40, told


@pytest.mark.parametrize(("number", "mode"), [(errno.ENOSPC, FULL), (errno.EIO, ONCE)], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("job", JOBS)
def test_a_fault_at_any_write_is_one_clear_error_and_changes_nothing(
    bank: tuple[Host, Path, Path], tmp_path: Path, job: str, number: int, mode: int
) -> None:
    forking, made, inputs = bank
    data = fresh(made, tmp_path / "work")
    before = state(forking, data, inputs)
    steps = forking.run(job, data, inputs, 2, [COUNT, 0, 0, ""]).steps
    after = state(forking, data, inputs)
    assert steps >= 10
    late = fired = 0
    for step in tried(steps):
        data = fresh(made, tmp_path / "work")
        ended = forking.run(job, data, inputs, 2, [mode, step, number, ""])
        assert not ended.signal and (ended.fired or ended.code == 0), (step, ended.said)  # removals never fail
        fired += ended.fired
        found = state(forking, data, inputs)
        if ended.code == 0:
            # It did without what was refused: a log, a page counted in advance, a clean-up.
            assert same(found, after), (step, ended.said)
        else:
            refused(ended)
            # Refused after its commit, a job has happened as a whole: the ledger of runs could not be written.
            late += not same(found, before)
            assert same(found, before) or same(found, after), (step, ended.said)
        unfinished = [path for path in data.parent.rglob("*") if path.suffix in (".parquet", ".csv", ".xlsx")]
        assert all(path.stat().st_size for path in unfinished if not path.name.startswith(".")), (step, unfinished)
        made_once(job, ended.told, before, found)
        # Where a batch that is published without the loader has come in, it is the next one's turn.
        batch = 2 + (job == "publish" and 2 in found["batches"])
        again = forking.run(job, data, inputs, batch)
        assert again.code == 0 and again.told is not None, (step, again.said)
        last = state(forking, data, inputs)
        made_once(job, again.told, found, last)
        assert same(last, after) or not (job == "load" or same(found, before)), step
        assert forking.told("tidied", data, inputs)["left"] == [], step
        backups = [path.name for path in data.parent.glob("safe/*")]
        assert 1 + (ended.code == 0) <= len(backups) <= 2 if job == "back_up" else not backups, (step, backups)
        assert not [name for name in backups if name.startswith(".")], (step, backups)
    assert fired >= len(tried(steps)) // 2
    assert late <= max(2, len(tried(steps)) // 4), f"{late} of {len(tried(steps))} refused after their commit"


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare what is visible; names of exports hold the moment, numbers of versions those that were given up."""
    return (
        len(one["exports"]) == len(other["exports"])
        and all(one[name] == other[name] for name in STATE if name not in ("exports", "version", "score_sets", "audit"))
        and all(len(one[name]) == len(other[name]) for name in ("score_sets", "audit"))
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this account may not mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_system_that_is_really_full(bank: tuple[Host, Path, Path], small_disk: Path) -> None:
    forking, made, inputs = bank
    data = fresh(made, small_disk / "work")
    before = state(forking, data, inputs)
    filler = small_disk / "filler"
    refusals = 0
    for left in (0, 100_000, 1_000_000, 3_000_000):
        free = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"x" * max(free - left, 0))
        for job in ("load", "score", "export_list", "record"):
            before = state(forking, data, inputs)
            ended = forking.run(job, data, inputs, 2)
            if ended.code:
                refused(ended)
                refusals += 1
                assert same(state(forking, data, inputs), before), (job, left)
        filler.unlink()
    assert refusals >= 3
    for job in ("load", "score", "export_list", "record"):
        forking.told(job, data, inputs, 2)
