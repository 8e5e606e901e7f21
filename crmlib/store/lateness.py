"""Which scheduled jobs are late: what should have begun by now, or began too late and runs, also where no scheduler does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.store.tables import ScheduledJob, Slot

USUAL_PATIENCE = dt.timedelta(hours=1)
"""How late a job may be whose settings do not say so."""


@dataclass(frozen=True)
class Late:
    """A late job: the earliest logical date that was not begun in time, and what its last attempt said."""

    job: str
    since: dt.datetime
    message: str | None


def late(store: Session, now: dt.datetime) -> dict[str, Late]:
    """Return the late jobs by name: a slot, or the next one no scheduler has made, was not begun in ``late_after_seconds``.

    One that runs is late where it began late: how long it may take is up to its limit.
    """
    found: dict[str, Late] = {}
    waiting = sa.select(Slot).where(Slot.state.in_(("waiting", "running"))).order_by(Slot.logical_date)
    for slot in store.scalars(waiting):
        begun = slot.started_at if slot.state == "running" else None
        if (begun or now) - slot.logical_date > _patience(slot.settings):
            found.setdefault(slot.job, Late(slot.job, slot.logical_date, slot.message))
    for job, next_due in store.execute(sa.select(ScheduledJob.job, ScheduledJob.next_due)):
        if next_due is None or job in found:
            continue
        newest = sa.select(Slot.settings).where(Slot.job == job).order_by(Slot.slot_id.desc()).limit(1)
        if now - next_due > _patience(store.scalar(newest) or {}):
            found[job] = Late(job, next_due, None)
    return found


def _patience(settings: Mapping[str, Any]) -> dt.timedelta:
    seconds = settings.get("late_after_seconds")
    return USUAL_PATIENCE if seconds is None else dt.timedelta(seconds=float(seconds))
