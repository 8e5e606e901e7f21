"""Load, publish, train, score and export killed with SIGKILL at every step and at random, under eight readers.

``CRM_KILLS`` sets the number of kills (40 by default, `make kills` does 1,000). The steps are everything a job does to
files below the data folder, counted from outside by a library that stands between it and the system (faults/shim.c).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import made_safety
import pytest
from forked import COUNT, KILL, Child, Ended, Host, host, shim
from made_safety import MADE_BY, made_once

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, killed and counted on Linux")

KILLS = int(os.environ.get("CRM_KILLS", "40"))
READERS = 8
JOBS = ("load", "publish", "train", "score", "export_list")
SHARE = {"load": 0.26, "publish": 0.2, "train": 0.14, "score": 0.2, "export_list": 0.2}
"""What part of the kills hits which job; where a job has fewer steps than that, the rest comes at random moments."""

EVERY, RANDOM = 1000, 10
"""From so many kills on each step of each job is killed, and each job at least so often at random."""


@dataclass
class Book:
    """What was acknowledged, by each job's process after the call had returned; and what was seen last."""

    last: dict[str, Any]
    batches: set[int] = field(default_factory=lambda: {1})
    models: set[int] = field(default_factory=lambda: {1})
    score_sets: set[int] = field(default_factory=lambda: {1})
    exports: set[str] = field(default_factory=set)
    tried: set[int] = field(default_factory=lambda: {1})

    def compare(self, job: str, told: dict[str, Any] | None, found: dict[str, Any]) -> None:
        """Nothing lost, nothing doubled, nothing half visible, nothing that nobody tried.

        Killed between its commit and the acknowledgement, a job may have made one that nobody was told of.
        """
        assert found["problems"] == []
        made_once(job, told, self.last, found)
        getattr(self, MADE_BY[job]).update((told or {}).values())
        for name in set(MADE_BY.values()) - {"audit"}:
            lost = getattr(self, name) - set(found[name])
            assert not lost, f"{name} were acknowledged and are gone: {lost}"
        assert set(found["batches"]) <= self.tried
        self.last = found


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[tuple[Host, Path, Path]]:
    """A host that forks jobs, the data folder of a small bank, and its files."""
    inputs, data = tmp_path / "in", tmp_path / "work" / "data"
    made_safety.write_files(inputs)
    data.parent.mkdir()
    with host(tmp_path / "children", shim(tmp_path)) as forking:
        forking.told("make", data, inputs)
        yield forking, data, inputs


def steps_of(forking: Host, data: Path, inputs: Path) -> dict[str, int]:
    """Return how many steps each job has, counted in a copy."""
    found = {}
    for job in JOBS:
        copy = data.parent.parent / "counted" / "data"
        shutil.copytree(data, copy)
        made_safety.write_batch(inputs, 2)
        ended = forking.run(job, copy, inputs, 2, [COUNT, 0, 0, ""])
        assert ended.code == 0, ended.said
        found[job] = ended.steps
        shutil.rmtree(copy.parent)
    return found


def planned(steps: dict[str, int], kills: int, chance: random.Random) -> list[tuple[str, int]]:
    """Return the kills: job and step, 0 for a random moment."""
    plan = []
    if steps and kills >= EVERY:
        plan = [(job, step) for job in JOBS for step in range(1, steps[job] + 1)]
        more = max(RANDOM * len(JOBS), kills - len(plan))
        plan += [(JOBS[number % len(JOBS)], 0) for number in range(more)]
    for job in JOBS if not plan else ():
        share = max(2, round(SHARE[job] * kills))
        at = round(0.8 * share) if steps else 0
        every = list(range(1, steps[job] + 1)) if steps else []
        chosen = every if at >= len(every) else [every[len(every) * place // at] for place in range(at)]
        plan += [(job, step) for step in chosen] + [(job, 0)] * (share - len(chosen))
    chance.shuffle(plan)
    return plan


def killed(child: Child, *, after: float) -> Ended:
    time.sleep(after)
    child.kill()
    return child.wait()


def test_killed_jobs_lose_double_and_half_show_nothing(bank: tuple[Host, Path, Path]) -> None:
    forking, data, inputs = bank
    chance, book = random.Random(20260131), Book(last=forking.told("look", data, inputs))
    steps = steps_of(forking, data, inputs) if shim(data.parent) else {}
    plan = planned(steps, KILLS, chance)
    readers = [forking.start("read_on", data, inputs, number) for number in range(READERS)]
    done, batch, takes = Counter[str](), 1, dict.fromkeys(JOBS, 0.5)
    while plan:
        job, step = plan.pop()
        if job == "publish" or batch in book.batches or chance.random() < 0.5:
            batch = max(book.tried) + 1  # else the load that was killed is tried again: it must come in once
            made_safety.write_batch(inputs, batch)
        book.tried |= {batch} if job in ("load", "publish") else set()
        began = time.monotonic()
        if step:
            ended = forking.run(job, data, inputs, batch, [KILL, step, 0, ""])
        else:
            ended = killed(forking.start(job, data, inputs, batch), after=chance.uniform(0, 1.2 * takes[job]))
        if ended.told:
            assert ended.code == 0
        if ended.signal:
            assert ended.signal == signal.SIGKILL
            done[f"{job} at a step" if step else f"{job} at random"] += 1
        else:
            assert ended.code == 0, ended.said
            takes[job] = min(time.monotonic() - began, 5)
            if sum(done.values()) + len(plan) < KILLS:
                plan.insert(0, (job, 0))  # it was over before the kill came
        book.compare(job, ended.told, forking.told("look_soon", data, inputs))
        if len(plan) % 20 == 0:
            cleaned(forking, data, inputs)
            print(f"{sum(done.values())} kills, {len(plan)} to come", flush=True)
    # After all that a fresh run of everything works, and leaves nothing of the dead behind.
    for job in JOBS:
        batch = max(book.tried) + 1
        made_safety.write_batch(inputs, batch)
        book.tried |= {batch}
        told = forking.told(job, data, inputs, batch)
        book.compare(job, told, forking.told("look", data, inputs))
    cleaned(forking, data, inputs)
    (data.parent / "stop").touch()
    reads = [reader.wait() for reader in readers]
    assert [ended.told and ended.told["problems"] for ended in reads] == [[]] * READERS
    assert min(ended.told["reads"] for ended in reads if ended.told) >= 3
    print(
        f"{sum(done.values())} kills: {dict(sorted(done.items()))}; steps {steps}; reads {[e.told['reads'] for e in reads if e.told]}"
    )
    assert sum(done.values()) >= KILLS


def cleaned(forking: Host, data: Path, inputs: Path) -> None:
    """Nothing is left of the dead once a fresh run has begun, and old versions can be pruned meanwhile."""
    forking.told("tidy", data, inputs)
    assert forking.told("left", data, inputs)["left"] == []


def test_a_thousand_kills_are_planned_at_every_step() -> None:
    steps = {"load": 205, "publish": 136, "train": 236, "score": 376, "export_list": 27}
    for kills in (1000, 2000):
        plan = planned(steps, kills, random.Random(1))
        assert {one for one in plan if one[1]} == {(job, step) for job in JOBS for step in range(1, steps[job] + 1)}
        assert {job for job, step in plan if not step} == set(JOBS) and len(plan) >= kills
    assert {job for job, step in planned(steps, 40, random.Random(1)) if step} == set(JOBS)
