"""The fence of scheduled attempts: a process of an attempt that was given up can no longer change the store.

The scheduler starts every attempt with ``CRM_ATTEMPT``. In such a process each commit to the store first looks, within
its transaction, whether the attempt is still the newest of its slot; if not, nothing is committed. So a worker that
slept through its lease, or a kernel that outlived its parent, publishes nothing over its successor's work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.errors import RunError, UsageError
from crmlib.store.tables import Slot, SlotAttempt

VARIABLE = "CRM_ATTEMPT"


@dataclass(frozen=True)
class Attempt:
    """Which attempt at which slot; as text "17/2"."""

    slot_id: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.slot_id}/{self.attempt}"


class Superseded(RunError):
    """The attempt was given up meanwhile; nothing was written."""


def current() -> Attempt | None:
    """Return the attempt this process belongs to, None outside the scheduler; raises UsageError for nonsense."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    slot_id, _, attempt = text.partition("/")
    if not (slot_id.isdecimal() and attempt.isdecimal()):
        raise UsageError(f"{VARIABLE} is {text!r}; the scheduler sets it, leave it empty otherwise")
    return Attempt(int(slot_id), int(attempt))


def guard(engine: sa.Engine) -> None:
    """Have every commit of this process checked, if it belongs to a scheduled attempt."""
    mine = current()
    if mine is not None:
        sa.event.listen(engine, "commit", lambda connection: _check(connection, mine))


def link_run(store: Session, run_id: int) -> None:
    """Note which run of the ledger an attempt is, if this process belongs to one: its first."""
    mine = current()
    if mine is None:
        return
    _check(store.connection(), mine)  # also takes the slot's row before the attempt's, as the scheduler does
    noted = sa.update(SlotAttempt).where(
        SlotAttempt.slot_id == mine.slot_id, SlotAttempt.attempt == mine.attempt, SlotAttempt.run_id.is_(None)
    )
    store.execute(noted.values(run_id=run_id))


def _check(connection: sa.Connection, mine: Attempt) -> None:
    asked = sa.select(Slot.attempt, Slot.state).where(Slot.slot_id == mine.slot_id)
    # The row is locked where the database can (PostgreSQL), so that nobody gives the attempt up before the commit;
    # SQLite has one writer at a time anyway.
    found = connection.execute(asked.with_for_update(read=True)).one_or_none()
    if found is None or tuple(found) != (mine.attempt, "running"):
        newest = "is gone" if found is None else f"is {found.state} with attempt {found.attempt}"
        raise Superseded(
            f"attempt {mine.attempt} of slot {mine.slot_id} was given up: the slot {newest}; nothing was written"
        )
