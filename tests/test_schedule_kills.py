"""Two schedulers and their workers killed with SIGKILL at random: every slot once, every effect once, nothing half done.

``CRM_KILLS`` sets the number of kills (50 by default, `make kills` does 1,000); on PostgreSQL it is a tenth, at least 10.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import postgres
import psutil
import pytest
import sqlalchemy as sa

from crmlib.runs import due
from crmlib.store import session
from crmlib.store.tables import ScheduledJob, Slot, SlotAttempt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

KILLS = int(os.environ.get("CRM_KILLS", "50"))
FIRST = dt.datetime.combine(dt.date.today() - dt.timedelta(days=40), dt.time())
"""A day in the past, on which alone everything is due: so the slots are known, whenever this runs."""

# Two commands more for every `crm` of this test: they come through the interpreter's own hook, since nobody but a
# test should have them. `note` writes a file in three steps; `effect` also enters a run and a row, in fenced commits.
COMMANDS = """
import os, random, time
from crmlib.runs import clock, commands
from crmlib.runs.command import Command

def write(data):
    name = os.environ["CRM_ATTEMPT"].replace("/", "-")
    folder = data / "notes"
    folder.mkdir(exist_ok=True)
    part = folder / f".{name}.part"
    with part.open("w") as file:
        for number in range(3):
            file.write(f"{number}\\n")
            file.flush()
            time.sleep(random.uniform(0, 0.05))
    part.rename(folder / name)
    return f"notes/{name}"

def note(given, data):
    write(data)

def effect(given, data):
    import sqlalchemy as sa
    from crmlib.store import fence, ledger, session
    mine = fence.current()
    run = ledger.start_run(data, kind="effect", name="effect", parameters={}, now=clock.now())
    file = write(data)
    with session.session(data) as store:
        row = {"slot": mine.slot_id, "attempt": mine.attempt}
        store.execute(sa.text("INSERT INTO effects (slot_id, attempt) VALUES (:slot, :attempt)"), row)
        store.commit()
    ledger.finish_run(data, run, state="succeeded", exit_code=0, now=clock.now(), output=file)

def nothing(parser):
    pass

commands.COMMANDS += [Command("note", "", nothing, note), Command("effect", "", nothing, effect)]
"""

JOB = """
[job.{name}]
run = ["{run}"]
at = "{at}"
after = {after}
catch_up = "all"
retries = 1000
back_off = "0s"
limit = "60s"
keep = 100000
"""
# job -> command and what it waits for
JOBS = {
    **{"first": ("note", []), "second": ("note", ["first"]), "third": ("note", ["first", "second"])},
    **{"alone": ("note", []), "other": ("note", []), "late": ("effect", ["other"])},
}

TABLES = {
    "sqlite": [
        "CREATE TABLE effects (n INTEGER PRIMARY KEY AUTOINCREMENT, slot_id INTEGER, attempt INTEGER)",
        "CREATE TABLE published (slot_id INTEGER, attempt INTEGER)",
        "CREATE TRIGGER publish AFTER UPDATE ON schedule_slots WHEN NEW.state = 'succeeded' AND OLD.state <> 'succeeded' "
        "BEGIN INSERT INTO published VALUES (NEW.slot_id, NEW.attempt); END",
    ],
    "postgresql": [
        "CREATE TABLE effects (n SERIAL PRIMARY KEY, slot_id INTEGER, attempt INTEGER)",
        "CREATE TABLE published (slot_id INTEGER, attempt INTEGER)",
        "CREATE FUNCTION publish() RETURNS trigger AS $$ BEGIN "
        "INSERT INTO published VALUES (NEW.slot_id, NEW.attempt); RETURN NULL; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER publish AFTER UPDATE ON schedule_slots FOR EACH ROW "
        "WHEN (NEW.state = 'succeeded' AND OLD.state <> 'succeeded') EXECUTE FUNCTION publish()",
    ],
}


def prepare(
    folder: Path, per_job: int
) -> tuple[Path, Callable[[], subprocess.Popen[bytes]], dict[str, set[dt.datetime]]]:
    """Make a data folder whose jobs know the past; return it, how to start a scheduler, and the slots expected."""
    data, hook = folder / "data", folder / "hook"
    data.mkdir()
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(COMMANDS)
    hours = -(-per_job // 60)
    at = f"{'*' if per_job >= 60 else f'0-{per_job - 1}'} 0-{hours - 1} {FIRST.day} {FIRST.month} *"
    text = "".join(JOB.format(name=name, run=run, after=after, at=at) for name, (run, after) in JOBS.items())
    (data / "schedules.toml").write_text(text.replace("'", '"'))
    before = FIRST - dt.timedelta(hours=1)
    with session.session(data) as store:
        for statement in TABLES[store.get_bind().dialect.name]:
            store.execute(sa.text(statement))
        store.add_all([ScheduledJob(job=name, known_since=before, planned_until=before) for name in JOBS])
        store.commit()
    moments = due.between(due.parse(at), "UTC", after=before, until=FIRST + dt.timedelta(days=1))
    environment = {**os.environ, "PYTHONPATH": str(hook)}
    log = (folder / "said").open("ab")

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "crmlib.cli", "schedule", "run", "--data", str(data), "--workers", "3"]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    return data, start, {name: set(moments) for name in JOBS}


def workers(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if environment.get("CRM_DATA") == str(data) and environment.get("CRM_ATTEMPT"):
            found.append(process)
    return found


def kill_at_random(data: Path, start: Callable[[], subprocess.Popen[bytes]], kills: int) -> Counter[str]:
    """Keep two schedulers running; kill one of them, or a worker, at random; at the end let them finish and stop them."""
    chance, killed = random.Random(20260131), Counter[str]()
    schedulers = [start(), start()]
    try:
        pace = undisturbed(data)
        while killed.total() < kills:
            time.sleep(chance.uniform(0, pace))
            running = workers(data)
            if not running and chance.random() < 0.95:
                continue  # they are only just starting: leave them the time, mostly
            if running and chance.random() < 0.75:
                try:
                    chance.choice(running).kill()
                    killed["worker"] += 1
                except psutil.NoSuchProcess:
                    continue
            else:
                place = chance.randrange(2)
                schedulers[place].kill()
                assert schedulers[place].wait() == -signal.SIGKILL
                killed["scheduler"] += 1
                schedulers[place] = start()
        give_up = time.monotonic() + 600
        while still_open(data):
            assert time.monotonic() < give_up, "the slots that were left did not end"
            assert [process.poll() for process in schedulers] == [None, None]
            time.sleep(0.5)
        for process in schedulers:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in schedulers] == [0, 0]
    finally:
        for process in schedulers:
            process.kill()
            process.wait()
        for worker in workers(data):
            worker.kill()
    return killed


def undisturbed(data: Path) -> float:
    """Wait until the first slot has succeeded; return about how many seconds such a run takes, however slow the machine."""
    began = None
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        if began is None and workers(data):
            began = time.monotonic()
        with session.session(data) as store:
            if store.scalar(sa.select(Slot.slot_id).where(Slot.state == "succeeded").limit(1)) is not None:
                return min(max(time.monotonic() - (began or time.monotonic()), 0.2), 3)
        time.sleep(0.1)
    raise AssertionError("no slot succeeded")


def still_open(data: Path) -> int:
    with session.session(data) as store:
        made = store.scalar(sa.select(sa.func.count()).select_from(Slot)) or 0
        ended = store.scalar(sa.select(sa.func.count()).where(Slot.state.in_(("succeeded", "failed", "skipped")))) or 0
        return made - ended if made else 1


def check(data: Path, expected: dict[str, set[dt.datetime]]) -> None:
    with session.session(data) as store:
        slots = store.scalars(sa.select(Slot)).all()
        attempts = store.scalars(sa.select(SlotAttempt)).all()
        published = Counter(tuple(row) for row in store.execute(sa.text("SELECT slot_id, attempt FROM published")))
        effects = [tuple(row) for row in store.execute(sa.text("SELECT slot_id, attempt FROM effects ORDER BY n"))]
        jobs = {row.job: row for row in store.scalars(sa.select(ScheduledJob))}
    # Exactly the slots that were due, each succeeded, each published once: nothing lost, nothing doubled.
    assert Counter((slot.job, slot.logical_date) for slot in slots) == Counter(
        (job, moment) for job, moments in expected.items() for moment in moments
    )
    assert {slot.state for slot in slots} == {"succeeded"}
    assert published == Counter((slot.slot_id, slot.attempt) for slot in slots)
    # Of each slot the last attempt succeeded, and the ones before were lost or failed; none is left running.
    ends: dict[int, list[tuple[int, str]]] = {}
    for attempt in attempts:
        ends.setdefault(attempt.slot_id, []).append((attempt.attempt, attempt.state))
    for slot in slots:
        numbers, states = zip(*sorted(ends[slot.slot_id]), strict=True)
        assert numbers == tuple(range(1, slot.attempt + 1))
        assert states[-1] == "succeeded" and set(states[:-1]) <= {"lost", "failed", "interrupted"}
    # What is pointed at is whole, and there is no other whole-looking file that is not.
    notes = {file.name: file.read_text() for file in (data / "notes").iterdir() if not file.name.startswith(".")}
    assert set(notes.values()) == {"0\n1\n2\n"}
    by_job = {name: run for name, (run, _) in JOBS.items()}
    for slot in slots:
        name = f"{slot.slot_id}-{slot.attempt}"
        assert name in notes
        if by_job[slot.job] == "effect":
            assert slot.output == f"notes/{name}"
    # An attempt that was given up commits nothing after its successor: the rows of a slot are in the order of attempts.
    for slot in slots:
        if by_job[slot.job] == "effect":
            rows = [attempt for slot_id, attempt in effects if slot_id == slot.slot_id]
            assert rows == sorted(set(rows)) and rows[-1] == slot.attempt
    for job, moments in expected.items():
        [newest] = [slot for slot in slots if slot.job == job and slot.logical_date == max(moments)]
        assert (jobs[job].published, jobs[job].published_attempt) == (newest.slot_id, newest.attempt)
    order_was_kept(slots, {(attempt.slot_id, attempt.attempt): attempt for attempt in attempts})


def order_was_kept(slots: list[Slot], attempts: dict[tuple[int, int], SlotAttempt]) -> None:
    """Of a job one slot after the other, by logical date; and none before those it waits for."""
    by = {(slot.job, slot.logical_date): slot for slot in slots}
    for job, (_, after) in JOBS.items():
        own = sorted((slot for slot in slots if slot.job == job), key=lambda slot: slot.logical_date)
        ended = [attempts[slot.slot_id, slot.attempt].finished_at for slot in own]
        began = [attempts[slot.slot_id, 1].started_at for slot in own]
        assert all(one <= other for one, other in zip(ended, began[1:], strict=False))
        for slot, start in zip(own, began, strict=True):
            assert all(by[other, slot.logical_date].finished_at <= start for other in after)


def test_killed_schedulers_and_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    data, start, expected = prepare(tmp_path, per_job=max(8, min(KILLS // 6, 60)))
    killed = kill_at_random(data, start, KILLS)
    check(data, expected)
    assert killed["scheduler"] >= KILLS / 20 and killed["worker"] >= KILLS / 4


@pytest.mark.postgres
def test_killed_schedulers_lose_and_double_nothing_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        data, start, expected = prepare(tmp_path, per_job=4)
        kill_at_random(data, start, max(10, KILLS // 10))
        check(data, expected)
        session.engine(data).dispose()
    assert not (data / "store.sqlite").exists()
