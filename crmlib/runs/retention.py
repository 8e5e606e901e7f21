"""How long what runs leave behind is kept: executed notebooks, reports and logs, by a rule for each job.

What a job has published stays, and so does whatever is running. The store forgets first: a kill from then on leaves
files that nothing names, which the next time removes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.errors import UsageError
from crmlib.store import session as stores
from crmlib.store.tables import Run, ScheduledJob, Slot, SlotAttempt

FOLDERS = ("runs", "reports", "logs/schedule")
_OURS = tuple(
    f"{folder}/" for folder in FOLDERS
)  # whatever else a run may name (scores, a model) is not ours to remove
_NUMBER = re.compile(r"\.?(\d+)-")
ORPHAN = dt.timedelta(days=1)
"""Age from which a file that nothing names is taken for left behind."""


@dataclass(frozen=True)
class Keep:
    """What is kept of a job: its ``newest`` runs that have ended, and all of the last ``days`` days; None for no rule."""

    newest: int | None = 30
    days: int | None = None

    def __post_init__(self) -> None:
        for name in ("newest", "days"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; keep at least 1")
        if self.newest is None and self.days is None:
            raise UsageError("a rule for keeping needs newest or days; leave the job out to keep everything")

    def drops(self, rank: int, ended: dt.datetime, now: dt.datetime) -> bool:
        """Return whether the run of a rank (0 the newest) that ended at a time goes.

        >>> Keep(newest=2).drops(2, dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2))
        True
        >>> Keep(newest=2, days=7).drops(2, dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2))
        False
        """
        among_newest = self.newest is not None and rank < self.newest
        recent = self.days is not None and now - ended <= dt.timedelta(days=self.days)
        return not (among_newest or recent)


def prune(data: Path, *, jobs: Mapping[str, Keep], others: Keep | None = None, now: dt.datetime) -> pd.DataFrame:
    """Remove what the rules do not keep: of ``jobs`` by name, and of runs outside the schedule (``others``, by their name).

    Jobs without a rule keep everything. Files that killed runs left behind go after a day. Returns one row per file
    removed: file (below the data folder), reason (old, orphan), bytes.
    """
    with stores.session(data) as store:
        before = _named(store)
        for job, keep in jobs.items():
            _forget_slots(store, job, keep, now)
        if others is not None:
            _forget_runs(store, others, now)
        store.commit()
        named = _named(store)
        running = set(store.scalars(sa.select(Run.run_id).where(Run.state == "running")))
    gone = [name for name in sorted(before - named) if name.startswith(_OURS) and (data / name).is_file()]
    removed = [_remove(data, data / name, "old") for name in gone]
    removed += [_remove(data, file, "orphan") for file in _orphans(data, named, running, now)]
    return pd.DataFrame(removed, columns=["file", "reason", "bytes"]).astype(
        {"file": "str", "reason": "str", "bytes": "int64"}
    )


def _forget_slots(store: Session, job: str, keep: Keep, now: dt.datetime) -> None:
    """Take the files out of a job's old slots that ran, but not of the one that is published or of one that may go on."""
    published = sa.select(ScheduledJob.published).where(ScheduledJob.published.is_not(None))
    ended = store.scalars(
        sa.select(Slot)
        .where(Slot.job == job, Slot.state.in_(("succeeded", "failed", "skipped")), Slot.attempt > 0)
        .order_by(Slot.logical_date.desc())
    ).all()
    stays = set(store.scalars(published))
    for rank, slot in enumerate(ended):
        if slot.slot_id in stays or not keep.drops(rank, slot.finished_at or slot.logical_date, now):
            continue
        attempts = store.scalars(sa.select(SlotAttempt).where(SlotAttempt.slot_id == slot.slot_id)).all()
        for attempt in attempts:
            run = store.get(Run, attempt.run_id) if attempt.run_id is not None else None
            if run is not None:
                run.output = None
            attempt.log = None
        slot.output = slot.report = None


def _forget_runs(store: Session, keep: Keep, now: dt.datetime) -> None:
    """Take the executed copies out of old runs that no slot holds."""
    scheduled = sa.select(SlotAttempt.run_id).where(SlotAttempt.run_id.is_not(None))
    runs = store.scalars(
        sa.select(Run)
        .where(Run.output.is_not(None), Run.state != "running", Run.run_id.not_in(scheduled))
        .order_by(Run.run_id.desc())
    ).all()
    ranks: dict[str, int] = {}
    for run in runs:
        rank = ranks[run.name] = ranks.get(run.name, -1) + 1
        if keep.drops(rank, run.finished_at or run.started_at, now):
            run.output = None


def _named(store: Session) -> set[str]:
    columns: list[Any] = [Run.output, Slot.output, Slot.report, SlotAttempt.log]
    named = {one for column in columns for one in store.scalars(sa.select(column).where(column.is_not(None)))}
    # The page of a run lies under the name of its notebook.
    pages = {f"reports/{Path(one).stem}.html" for one in named if one.startswith("runs/")}
    return named | pages


def _orphans(data: Path, named: set[str], running: set[int], now: dt.datetime) -> Iterator[Path]:
    for folder in FOLDERS:
        for file in sorted((data / folder).iterdir()) if (data / folder).is_dir() else []:
            number = _NUMBER.match(file.name)
            begun = folder in ("runs", "reports") and number is not None and int(number[1]) in running
            if not file.is_file() or begun or file.relative_to(data).as_posix() in named:
                continue
            age = now - dt.datetime.fromtimestamp(file.stat().st_mtime, dt.UTC).replace(tzinfo=None)
            if age > ORPHAN:  # a younger one may be of a run that has just begun
                yield file


def _remove(data: Path, file: Path, reason: str) -> tuple[str, str, int]:
    size = file.stat().st_size
    file.unlink(missing_ok=True)
    return file.relative_to(data).as_posix(), reason, size
