"""The ledger of scheduled runs: one slot a job and logical date, attempts with a lease, and the fence between them.

Any number of schedulers share it. They take turns (SQLite's one writer; an advisory lock on PostgreSQL), a slot is
claimed once, and only the newest attempt may say how it ended: whatever a dead, paused or late worker still reports is
refused by compare-and-set on the attempt. All times are naive UTC and come from the caller.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.errors import NotFoundError, UsageError
from crmlib.store import processes, session
from crmlib.store.fence import Attempt
from crmlib.store.tables import ScheduledJob, Slot, SlotAttempt

OPEN = ("waiting", "running")
DONE = ("succeeded", "failed", "skipped")
FAILED = ("failed", "timed out", "lost")
"""How an attempt may end so that it counts as a try; an interrupted one is begun again without counting."""

LONGEST_PAUSE = dt.timedelta(days=1)

_CLOCKS_DIFFER = dt.timedelta(minutes=1)
_LOCK = 0x63726D5C  # PostgreSQL: schedulers of one store take turns


@dataclass(frozen=True)
class New:
    """A slot to be made: what for, how it shall run, and where it is not to run at all, why."""

    logical_date: dt.datetime
    settings: Mapping[str, Any]  # plain JSON: what to run, ``after``, ``retries``, ``back_off_seconds`` …
    skipped: Mapping[str, Any] | None = None  # a reason: code with parameters


@dataclass(frozen=True)
class Plan:
    """What a scheduler found due for a job since ``seen``; older slots nobody began are given up ``before`` a moment."""

    seen: dt.datetime
    new: Sequence[New] = ()
    before: dt.datetime | None = None
    why: Mapping[str, Any] = field(default_factory=dict)
    next_due: dt.datetime | None = None


@dataclass(frozen=True)
class Claim:
    """An attempt that this process holds."""

    slot_id: int
    job: str
    logical_date: dt.datetime
    attempt: int
    settings: Mapping[str, Any]

    @property
    def mark(self) -> Attempt:
        """The attempt, as the processes that belong to it are marked."""
        return Attempt(self.slot_id, self.attempt)


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: ``state`` succeeded, failed, timed out, lost or interrupted; files are below the data folder."""

    state: str
    exit_code: int | None = None
    message: str | None = None
    reason: Mapping[str, Any] | None = None
    output: str | None = None
    report: str | None = None


# ---------------------------------------------------------------- planning


def marks(data: Path, jobs: Sequence[str], *, now: dt.datetime) -> dict[str, dt.datetime]:
    """Return until when each job is planned; a job seen for the first time is known from ``now`` on."""
    with _turn(data) as store:
        known = {row.job: row.planned_until for row in store.scalars(sa.select(ScheduledJob))}
        for job in jobs:
            if job not in known:
                store.add(ScheduledJob(job=job, known_since=now, planned_until=now))
                known[job] = now
        store.commit()
    return {job: known[job] for job in jobs}


def make(data: Path, plans: Mapping[str, Plan], *, until: dt.datetime) -> dict[str, int]:
    """Make the slots of the plans; return how many were made to wait for each job.

    A plan that another scheduler was quicker with, or one from before ``planned_until`` (the clock went back), makes
    nothing. Waiting slots of jobs that are not among the plans are skipped: their jobs were taken out of the file.
    """
    made: dict[str, int] = {}
    with _turn(data) as store:
        for job, plan in plans.items():
            row = store.get_one(ScheduledJob, job)
            if row.planned_until != plan.seen or until < plan.seen:
                continue
            row.planned_until, row.next_due = until, plan.next_due
            if plan.before is not None:
                # One put back by hand is left alone: it is wanted, however late.
                own = [Slot.job == job, Slot.attempt == 0, Slot.not_before == Slot.logical_date]
                _skip(store, [*own, Slot.logical_date < plan.before], plan.why, until)
            for new in plan.new:
                store.add(_slot(job, new, until))
            made[job] = sum(new.skipped is None for new in plan.new)
        _skip(store, [Slot.job.not_in(list(plans))], {"code": "removed"}, until)
        store.execute(sa.update(ScheduledJob).where(ScheduledJob.job.not_in(list(plans))).values(next_due=None))
        store.commit()
    return made


def _slot(job: str, new: New, now: dt.datetime) -> Slot:
    skipped = new.skipped is not None
    return Slot(
        job=job,
        logical_date=new.logical_date,
        state="skipped" if skipped else "waiting",
        attempt=0,
        tries=0,
        not_before=new.logical_date,
        settings=dict(new.settings),
        reason=dict(new.skipped) if new.skipped is not None else None,
        finished_at=now if skipped else None,
    )


def _skip(store: Session, which: Sequence[Any], why: Mapping[str, Any], now: dt.datetime) -> int:
    skipped = sa.update(Slot).where(Slot.state == "waiting", *which)
    return _changed(store, skipped.values(state="skipped", reason=dict(why), finished_at=now))


# ---------------------------------------------------------------- claiming and ending


def claim(data: Path, *, worker: str, now: dt.datetime, lease: dt.timedelta, log: str) -> Claim | None:
    """Take the oldest slot that can run now, as its next attempt; None where there is nothing to do.

    Of a job one slot runs at a time, in the order of their logical dates. A slot waits for those it comes ``after``; it
    is skipped where one of them failed for good or was skipped. ``log`` is a pattern with {slot} and {attempt}.
    """
    with _turn(data) as store:
        skipped, taken = 1, None
        while skipped and taken is None:  # behind one that is skipped the next of its job may be ready
            skipped = 0
            for slot in _next_of_jobs(store):
                ready, why = _ready(store, slot)
                if why is not None:
                    skipped += _skip(store, [Slot.slot_id == slot.slot_id], why, now)
                elif ready and _rested(slot, now):
                    taken = _take(store, slot, worker=worker, now=now, lease=lease, log=log)
                    break
        store.commit()
    return taken


def _rested(slot: Slot, now: dt.datetime) -> bool:
    """Return whether a slot's pause is over; one that ended in the future, before the clock went back, has no pause."""
    went_back = slot.heartbeat_at is not None and slot.heartbeat_at > now + _CLOCKS_DIFFER
    return slot.not_before <= now or went_back


def _next_of_jobs(store: Session) -> list[Slot]:
    """Return the oldest waiting slot of each job of which none runs, oldest first."""
    running = sa.select(Slot.job).where(Slot.state == "running")
    first = (
        sa.select(Slot.job, sa.func.min(Slot.logical_date).label("logical_date"))
        .where(Slot.state == "waiting", Slot.job.not_in(running))
        .group_by(Slot.job)
        .subquery()
    )
    at_first = (Slot.job == first.c.job) & (Slot.logical_date == first.c.logical_date)
    return list(store.scalars(sa.select(Slot).join(first, at_first).order_by(Slot.logical_date, Slot.slot_id)))


def _ready(store: Session, slot: Slot) -> tuple[bool, dict[str, Any] | None]:
    """Return whether all that a slot waits for has succeeded, or why it never will."""
    ready = True
    for job, text in slot.settings.get("after", {}).items():
        date = dt.datetime.fromisoformat(text)
        before = store.scalar(sa.select(Slot).where(Slot.job == job, Slot.logical_date == date))
        if before is None:
            # Due before the scheduler knew the job: there never will be such a slot, and nothing to wait for.
            row = store.get(ScheduledJob, job)
            ready = ready and row is not None and date <= row.planned_until
        elif before.state in ("failed", "skipped"):
            return False, {"code": "after", "job": job, "logical_date": text, "state": before.state}
        else:
            ready = ready and before.state == "succeeded"
    return ready, None


def _take(store: Session, slot: Slot, *, worker: str, now: dt.datetime, lease: dt.timedelta, log: str) -> Claim | None:
    number = slot.attempt + 1
    mine = sa.update(Slot).where(Slot.slot_id == slot.slot_id, Slot.state == "waiting", Slot.attempt == slot.attempt)
    taken = mine.values(
        state="running",
        attempt=number,
        worker=worker,
        heartbeat_at=now,
        lease_until=now + lease,
        started_at=now,
        finished_at=None,
        message=None,
        reason=None,
        run_id=None,
    )
    held = Claim(slot.slot_id, slot.job, slot.logical_date, number, dict(slot.settings))
    if not _changed(store, taken):
        return None
    name = log.format(slot=slot.slot_id, attempt=number)
    store.add(
        SlotAttempt(slot_id=held.slot_id, attempt=number, state="running", worker=worker, started_at=now, log=name)
    )
    return held


def beat(data: Path, held: Claim, *, now: dt.datetime, lease: dt.timedelta) -> bool:
    """Renew the lease of an attempt; False where it is no longer this process's to run."""
    with _turn(data) as store:
        renewed = _mine(held).values(heartbeat_at=now, lease_until=now + lease)
        kept = _changed(store, renewed) == 1
        store.commit()
    return kept


def finish(data: Path, held: Claim, ended: Ended, *, now: dt.datetime) -> bool:
    """Enter how an attempt ended and, where it succeeded, move the pointer of its job; False where it was given up.

    The files must be complete under their names before. A failed one waits for its next try with a pause that doubles,
    or has failed for good.
    """
    with _turn(data) as store:
        done = _end(store, held, ended, now)
        store.commit()
    return done


def _mine(held: Claim) -> sa.Update:
    return sa.update(Slot).where(Slot.slot_id == held.slot_id, Slot.attempt == held.attempt, Slot.state == "running")


def _end(store: Session, held: Claim, ended: Ended, now: dt.datetime) -> bool:
    slot = store.get_one(Slot, held.slot_id)
    attempt = store.scalars(sa.select(SlotAttempt).filter_by(slot_id=held.slot_id, attempt=held.attempt)).one()
    tries = slot.tries + (ended.state in FAILED)
    state = _next_state(ended.state, tries, held.settings)
    values: dict[str, Any] = {"state": state, "tries": tries, "message": ended.message, "run_id": attempt.run_id}
    values |= {"lease_until": None, "worker": None, "heartbeat_at": now, "finished_at": now if state in DONE else None}
    if state == "waiting":
        values["not_before"] = now + (_pause(tries, held.settings) if ended.state in FAILED else dt.timedelta())
    if ended.state != "interrupted":
        values |= {"output": ended.output, "report": ended.report}
        values["reason"] = None if state == "succeeded" else {**(ended.reason or {"code": ended.state}), "tries": tries}
    if not _changed(store, _mine(held).values(**values)):
        return False
    attempt.state, attempt.finished_at = ended.state, now
    attempt.exit_code, attempt.message = ended.exit_code, ended.message
    if state == "succeeded":
        _publish(store, held, now)
    return True


def _next_state(ended: str, tries: int, settings: Mapping[str, Any]) -> str:
    if ended == "succeeded":
        return "succeeded"
    return "failed" if tries > int(settings.get("retries", 0)) else "waiting"


def _pause(tries: int, settings: Mapping[str, Any]) -> dt.timedelta:
    seconds = float(settings.get("back_off_seconds", 0)) * 2.0 ** min(tries - 1, 30)
    return min(dt.timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds())), LONGEST_PAUSE)


def _publish(store: Session, held: Claim, now: dt.datetime) -> None:
    """Point the job at the slot, unless it points at one of a later date (this one was put back by hand)."""
    older = sa.select(Slot.slot_id).where(Slot.job == held.job, Slot.logical_date <= held.logical_date)
    pointer = sa.update(ScheduledJob).where(
        ScheduledJob.job == held.job,
        ScheduledJob.published.is_(None) | ScheduledJob.published.in_(older),
    )
    store.execute(pointer.values(published=held.slot_id, published_attempt=held.attempt, published_at=now))


def run_of(data: Path, held: Claim) -> int | None:
    """Return which run of the ledger an attempt is, None where it began none."""
    with session.session(data) as store:
        asked = sa.select(SlotAttempt.run_id).filter_by(slot_id=held.slot_id, attempt=held.attempt)
        return store.scalar(asked)


# ---------------------------------------------------------------- what was lost, what is put back


def lost(data: Path, *, now: dt.datetime) -> list[Claim]:
    """Return the attempts whose worker has died, or has not renewed its lease; ``finish`` them as lost."""
    with session.session(data) as store:
        running = store.scalars(sa.select(Slot).where(Slot.state == "running")).all()
        return [
            Claim(slot.slot_id, slot.job, slot.logical_date, slot.attempt, dict(slot.settings))
            for slot in running
            if (slot.lease_until is not None and slot.lease_until < now)
            or processes.gone(slot.worker, since=slot.heartbeat_at or now, now=now)
        ]


def retry(data: Path, slot_id: int, *, now: dt.datetime) -> list[int]:
    """Put a slot that failed or was skipped back, with all its tries, and those skipped because of it; return them.

    Raises NotFoundError for a slot that there is not, UsageError for one that waits, runs or has succeeded.
    """
    with _turn(data) as store:
        slot = store.get(Slot, slot_id)
        if slot is None:
            raise NotFoundError(f"there is no slot {slot_id}; `crm schedule status` lists them")
        if slot.state not in ("failed", "skipped"):
            raise UsageError(
                f"slot {slot_id} of {slot.job} is {slot.state}; only one that failed or was skipped can be put back"
            )
        back, waiting = [], [slot]
        while waiting:
            one = waiting.pop(0)
            one.state, one.tries, one.not_before = "waiting", 0, now
            one.finished_at, one.reason, one.heartbeat_at = None, None, None
            back.append(one.slot_id)
            waiting += [other for other in _skipped_after(store, one) if other.slot_id not in back]
        store.commit()
    return back


def _skipped_after(store: Session, slot: Slot) -> list[Slot]:
    skipped = store.scalars(sa.select(Slot).where(Slot.state == "skipped", Slot.logical_date >= slot.logical_date))
    why = ("after", slot.job, slot.logical_date.isoformat())
    return [
        other
        for other in skipped
        if other.reason and tuple(other.reason.get(key) for key in ("code", "job", "logical_date")) == why
    ]


# ---------------------------------------------------------------- one writer at a time


@contextmanager
def _turn(data: Path) -> Iterator[Session]:
    """Open a session whose transaction begins with the turn of this scheduler among all of the store."""
    with session.session(data) as store:
        connection = store.connection()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        yield store


def _changed(store: Session, statement: sa.Update) -> int:
    return int(store.execute(statement).rowcount)  # type: ignore[attr-defined]
