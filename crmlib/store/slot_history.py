"""What the ledger of scheduled runs tells: every slot, its attempts, and how each job stands."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.store import session
from crmlib.store.tables import ScheduledJob, Slot, SlotAttempt

if TYPE_CHECKING:
    import pandas as pd

SLOTS = {
    "slot_id": "int64",
    "job": "str",
    "logical_date": "datetime64[us]",
    "state": "str",
    "attempt": "int64",
    "tries": "int64",
    "not_before": "datetime64[us]",
    "started_at": "datetime64[us]",
    "finished_at": "datetime64[us]",
    "worker": "str",
    "message": "str",
    "reason": "object",
    "settings": "object",
    "run_id": "Int64",
    "output": "str",
    "report": "str",
}
ATTEMPTS = {
    "slot_id": "int64",
    "attempt": "int64",
    "state": "str",
    "worker": "str",
    "started_at": "datetime64[us]",
    "finished_at": "datetime64[us]",
    "exit_code": "Int64",
    "message": "str",
    "run_id": "Int64",
    "log": "str",
}
USUAL = 20
"""How many of the newest attempts that succeeded say how long a job usually takes."""


@dataclass(frozen=True)
class Standing:
    """How a job stands: its newest slot that was not skipped, its newest that ended, and when it is due next.

    ``next_due`` is None for a job that is no longer in the file; ``seconds`` of the newest slot's last attempt, None while it runs; ``usual_seconds``: median of those that succeeded.
    """

    job: str
    next_due: dt.datetime | None
    newest: Slot | None
    ended: Slot | None
    seconds: float | None
    usual_seconds: float | None


def slots(data: Path, *, job: str | None = None, newest: int = 100) -> pd.DataFrame:
    """Return the slots of the latest logical dates, newest first; columns and types: ``SLOTS``; times are UTC.

    ``output`` (executed notebook) and ``report`` (HTML page) are files below the data folder, ``reason`` says why a slot
    was skipped or failed (a code with parameters), ``message`` what its command said.
    """
    wanted = sa.select(*[getattr(Slot, name) for name in SLOTS])
    if job is not None:
        wanted = wanted.where(Slot.job == job)
    return _table(data, wanted.order_by(Slot.logical_date.desc(), Slot.slot_id.desc()).limit(newest), SLOTS)


def attempts(data: Path, *, slot_id: int | None = None, newest: int = 500) -> pd.DataFrame:
    """Return the latest attempts, of one slot where given, newest first; columns and types: ``ATTEMPTS``.

    ``state`` is running, succeeded, failed, timed out, lost or interrupted; ``log`` is a file below the data folder.
    """
    wanted = sa.select(*[getattr(SlotAttempt, name) for name in ATTEMPTS])
    if slot_id is not None:
        wanted = wanted.where(SlotAttempt.slot_id == slot_id)
    return _table(data, wanted.order_by(SlotAttempt.attempt_id.desc()).limit(newest), ATTEMPTS)


def published(data: Path) -> dict[str, int]:
    """Return the newest slot that succeeded of each job."""
    with session.session(data) as store:
        return {row.job: row.published for row in store.scalars(sa.select(ScheduledJob)) if row.published is not None}


def standings(data: Path) -> dict[str, Standing]:
    """Return how each job stands that a scheduler ever knew."""
    with session.session(data) as store:
        newest = _newest(store, Slot.state != "skipped")
        ended = _newest(store, Slot.state.in_(("succeeded", "failed")))
        took, usual = _last_seconds(store, list(newest.values())), _usual_seconds(store)
        found = {
            row.job: Standing(
                job=row.job,
                next_due=row.next_due,
                newest=newest.get(row.job),
                ended=ended.get(row.job),
                seconds=took.get(row.job),
                usual_seconds=usual.get(row.job),
            )
            for row in store.scalars(sa.select(ScheduledJob))
        }
        store.expunge_all()
    return found


def outlook(data: Path, *, now: dt.datetime) -> tuple[dt.datetime | None, bool]:
    """Return when the next slot that rests between two tries may go on, and whether anything runs anywhere."""
    with session.session(data) as store:
        resting = sa.select(sa.func.min(Slot.not_before)).where(Slot.state == "waiting", Slot.not_before > now)
        running = sa.select(sa.func.count()).select_from(Slot).where(Slot.state == "running")
        return store.scalar(resting), bool(store.scalar(running))


# ---------------------------------------------------------------- parts of the above


def _table(data: Path, wanted: sa.Select[Any], columns: dict[str, str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  (slow to import, and a scheduler's ticks never need it)

    with session.session(data) as store:
        return pd.DataFrame(store.execute(wanted).all(), columns=list(columns)).astype(columns)


def _newest(store: Session, which: sa.ColumnElement[bool]) -> dict[str, Slot]:
    last = sa.select(Slot.job, sa.func.max(Slot.logical_date).label("date")).where(which).group_by(Slot.job).subquery()
    joined = sa.select(Slot).join(last, (Slot.job == last.c.job) & (Slot.logical_date == last.c.date))
    return {slot.job: slot for slot in store.scalars(joined)}


def _last_seconds(store: Session, newest: list[Slot]) -> dict[str, float]:
    jobs = {slot.slot_id: (slot.job, slot.attempt) for slot in newest}
    rows = store.scalars(sa.select(SlotAttempt).where(SlotAttempt.slot_id.in_(list(jobs))))
    return {
        jobs[row.slot_id][0]: (row.finished_at - row.started_at).total_seconds()
        for row in rows
        if row.finished_at is not None and row.attempt == jobs[row.slot_id][1]
    }


def _usual_seconds(store: Session) -> dict[str, float]:
    """Return the median duration of the newest attempts that succeeded, by job."""
    number = sa.func.row_number().over(partition_by=Slot.job, order_by=SlotAttempt.attempt_id.desc()).label("number")
    ranked = (
        sa.select(Slot.job, SlotAttempt.started_at, SlotAttempt.finished_at, number)
        .join(Slot, Slot.slot_id == SlotAttempt.slot_id)
        .where(SlotAttempt.state == "succeeded")
        .subquery()
    )
    seconds: dict[str, list[float]] = defaultdict(list)
    for job, started, finished in store.execute(
        sa.select(ranked.c.job, ranked.c.started_at, ranked.c.finished_at).where(ranked.c.number <= USUAL)
    ):
        seconds[job].append((finished - started).total_seconds())
    return {job: statistics.median(found) for job, found in seconds.items()}
