"""The power fails at every sync and rename of every job: what was acknowledged is there, whole; nothing else half way.

Each job is run once while everything it does below the data folder is recorded; then the states that a crash may leave are
made on disk (power_loss.py says by which rules) and opened in a fresh process. ``CRM_LONG=1`` looks at every boundary.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import made_safety
import pytest
from forked import RECORD, Host, host, needed_shim
from power_loss import SYNC, SYNC_FOLDER, Disk, Step, boundaries, crashes, read_log
from test_faults import same, state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="writes are recorded through LD_PRELOAD on Linux")

LONG = bool(os.environ.get("CRM_LONG"))
JOBS = ("load", "publish", "train", "score", "export_list", "record")
AT_MOST = 5
KEPT = {"nothing": (0, 0), "names": (1, 0), "bytes": (0, 1), "some": (0.5, 0.5)}
"""How much of the names and of the bytes that were not synced survives."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path, Path]]:
    folder = tmp_path_factory.mktemp("power")
    library = needed_shim(folder)
    inputs, made = folder / "in", folder / "made"
    made_safety.write_files(inputs)
    for number in (2, 3):
        made_safety.write_batch(inputs, number)
    made.mkdir()
    with host(folder / "children", library) as forking:
        forking.told("make", made / "data", inputs)
        yield forking, made, inputs


@pytest.mark.parametrize("job", JOBS)
def test_what_was_acknowledged_survives_a_power_loss(bank: tuple[Host, Path, Path], tmp_path: Path, job: str) -> None:
    forking, made, inputs = bank
    work, log = tmp_path / "work", tmp_path / "log"
    shutil.copytree(made, work)
    before = state(forking, work / "data", inputs)
    shutil.rmtree(work)
    shutil.copytree(made, work)  # looking leaves traces in the store's log
    ended = forking.run(job, work / "data", inputs, 2, [RECORD, 0, 0, str(log)])
    assert ended.code == 0, ended.said
    steps = read_log(log)
    assert len(steps) >= 10 and {SYNC} <= {step.kind for step in steps}
    at = boundaries(steps)
    if not LONG:
        at = sorted({at[(len(at) - 1) * place // (AT_MOST - 1)] for place in range(AT_MOST)})
    after = state(forking, work / "data", inputs)
    assert not same(before, after)
    chance = random.Random(20260131)
    for number, disk in crashes(steps, made, work, at):
        for what, (names, bytes_) in KEPT.items():
            left = tmp_path / "left"
            disk.after_crash(left, names=names, bytes_=bytes_, chance=chance)
            found = state(forking, left / "data", inputs)
            told = (number, what, steps[number] if number < len(steps) else "end")
            assert same(found, after) or (number < len(steps) and same(found, before)), told
            assert forking.told("tidied", left / "data", inputs)["left"] == [], told
        # The last of these folders goes on working.
        forking.told(job, left / "data", inputs, 3)
        assert forking.told("tidied", left / "data", inputs)["left"] == []


def test_the_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """The oracle's own oracle: a rename without a sync of the file leaves an empty file under the new name."""
    origin, root = tmp_path / "origin", tmp_path / "root"
    (origin / "data").mkdir(parents=True)
    (origin / "data" / "kept").write_bytes(b"old")
    file = f"{root}/data/new.part"
    steps = [
        Step(2, file, "", 0, b""),
        Step(1, file, "", 0, b"content"),
        Step(5, file, f"{root}/data/new", 0, b""),
        Step(SYNC_FOLDER, f"{root}/data", "", 0, b""),
    ]
    chance = random.Random(1)
    [(_, disk)] = crashes(steps, origin, root, [4])
    disk.after_crash(tmp_path / "left", names=0, bytes_=0, chance=chance)
    assert {path.name: path.read_bytes() for path in (tmp_path / "left" / "data").iterdir()} == {
        "kept": b"old",
        "new": b"",
    }
    [(_, disk)] = crashes(steps, origin, root, [3])
    disk.after_crash(tmp_path / "left", names=0, bytes_=1, chance=chance)
    assert [path.name for path in (tmp_path / "left" / "data").iterdir()] == ["kept"]
    synced = [*steps[:2], Step(SYNC, file, "", 0, b""), *steps[2:]]
    [(_, disk)] = crashes(synced, origin, root, [5])
    disk.after_crash(tmp_path / "left", names=0, bytes_=0, chance=chance)
    assert (tmp_path / "left" / "data" / "new").read_bytes() == b"content"
    assert isinstance(disk, Disk)
