"""What the dashboard of runs shows: what ran, what is late, how long runs usually take, alerts. No widgets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.errors import NotFoundError
from crmlib.store import alerts, lateness, session
from crmlib.store.tables import Alert, Run, ScheduledJob, Slot, SlotAttempt

ENDED = ("succeeded", "failed", "timed out", "lost", "interrupted")
BAD = ("failed", "timed out", "lost", "interrupted")
BACK = ("failed", "skipped")
"""States of a slot that can be put back to run again."""

EARLIER = 20
"""Successful runs before the newest that say what is usual, at most."""

SLOW = 1.5
"""From how many times the usual time on a run counts as slow, if it also took longer than nearly all before."""

_TAIL_BYTES = 20_000
_LARGEST_REPORT = 40_000_000
_RUNS = {
    "job": "str",
    "scheduled": "bool",
    "slot_id": "Int64",
    "attempt": "Int64",
    "run_id": "Int64",
    "logical_date": "datetime64[us]",
    "state": "str",
    "slot_state": "str",
    "started_at": "datetime64[us]",
    "finished_at": "datetime64[us]",
    "message": "str",
    "output": "str",
    "report": "str",
    "log": "str",
    "reason": "object",
}


@dataclass(frozen=True, eq=False)
class Board:
    """What is known at ``now`` (UTC). ``runs``: a row an attempt or a run by hand, newest first: job, scheduled, slot_id,
    attempt, run_id, logical_date, state, slot_state, started_at, finished_at, seconds (so far), message, output, report
    and log (files below the data folder), reason (why a slot was skipped, a code with parameters). ``jobs``: job, next_due, late_since, waiting (slots), last_success. ``usual``:
    see ``usual``. ``alerts``: those that stand. ``looked_at``: when a scheduler last planned, None for never.
    """

    now: dt.datetime
    runs: pd.DataFrame
    jobs: pd.DataFrame
    usual: pd.DataFrame
    alerts: pd.DataFrame
    looked_at: dt.datetime | None

    @property
    def late(self) -> pd.DataFrame:
        """The jobs that are late."""
        return self.jobs[self.jobs["late_since"].notna()]


def newest(data: Path) -> object:
    """Return what changes when something began, ended or was raised."""
    if not data.is_dir():
        return None
    counted = [
        sa.select(sa.func.count(Run.run_id), sa.func.count(Run.finished_at)),
        sa.select(sa.func.count(SlotAttempt.attempt_id), sa.func.count(SlotAttempt.finished_at)),
        sa.select(sa.func.count(Slot.slot_id), sa.func.count(Slot.finished_at)),
        sa.select(sa.func.max(Alert.raised_at), sa.func.count(Alert.cleared_at)),
        sa.select(sa.func.max(ScheduledJob.next_due), sa.func.min(ScheduledJob.next_due)),
    ]
    with session.session(data) as store:
        return tuple(tuple(store.execute(one).one()) for one in counted)


def load(data: Path, *, now: dt.datetime, days: int) -> Board:
    """Return what ran within the last ``days`` days and what is known of every job.

    Raises NotFoundError where there is no such data folder.
    """
    if not data.is_dir():
        raise NotFoundError(f"{data}: there is no such data folder; run `crm demo`, or name the right one with --data")
    with session.session(data) as store:
        runs = _runs(store)
        jobs = _jobs(store, now)
        looked_at = store.scalar(sa.select(sa.func.max(ScheduledJob.planned_until)))
    runs["seconds"] = (
        (runs["finished_at"].fillna(pd.Timestamp(now)) - runs["started_at"]).dt.total_seconds().clip(lower=0)
    )
    since = now - dt.timedelta(days=days)
    shown = runs[(runs["finished_at"].isna()) | (runs["finished_at"] >= since)].reset_index(drop=True)
    return Board(now, shown, jobs, usual(runs), alerts.alerts(data), looked_at)


def only(board: Board, job: str) -> Board:
    """Return what concerns one job; "" for all."""
    if not job:
        return board
    about = [one.get("job") in (job, None) for one in board.alerts["content"]]
    return replace(
        board,
        runs=board.runs[board.runs["job"] == job],
        jobs=board.jobs[board.jobs["job"] == job],
        usual=board.usual[board.usual["job"] == job],
        alerts=board.alerts[about],
    )


def usual(runs: pd.DataFrame) -> pd.DataFrame:
    """Return how long the newest run of each job took beside the ones before.

    In: runs as of ``Board``, newest first. Out, a row a job whose newest run has ended or runs: job, state, seconds (of
    the newest run, so far); earlier (successful runs before it, at most ``EARLIER``), median, low and high seconds of those
    (10% and 90%), empty without any; slow (whether it took, or takes, clearly longer than they did; needs three).
    """
    rows = []
    for job, part in runs[runs["state"].isin((*ENDED, "running"))].groupby("job", sort=True):
        last = part.iloc[0]
        before = part.iloc[1:]
        times = before.loc[before["state"] == "succeeded", "seconds"].head(EARLIER)
        low, median, high = times.quantile([0.1, 0.5, 0.9]) if len(times) else (float("nan"),) * 3
        slow = len(times) >= 3 and last["seconds"] > max(high, SLOW * median)
        rows.append((job, last["state"], last["seconds"], len(times), median, low, high, bool(slow)))
    columns = {"job": "str", "state": "str", "seconds": "float64", "earlier": "int64"}
    columns |= {"median": "float64", "low": "float64", "high": "float64", "slow": "bool"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def against_usual(board: Board, row: Mapping[Any, Any]) -> float | None:
    """Return how many times the job's usual time a run took; None where nothing is known."""
    found = board.usual[board.usual["job"] == row["job"]]
    if row["state"] != "succeeded" or found.empty or not found["median"].iloc[0] > 0:
        return None
    return float(row["seconds"] / found["median"].iloc[0])


def tail(data: Path, log: str | None) -> str | None:
    """Return the end of a run's log, None where there is none any more."""
    file = _below(data, log, "logs")
    if file is None:
        return None
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        text = opened.read().decode("utf-8", "replace")
    return text if file.stat().st_size <= _TAIL_BYTES else f"…{text.partition(chr(10))[2]}"


def report_file(data: Path, row: Mapping[str, Any]) -> Path | None:
    """Return the page of a run, if there is one: named by the store, or under the name of its executed notebook."""
    named = row["report"] if isinstance(row["report"], str) else None
    if named is None and isinstance(row["output"], str):
        named = f"reports/{Path(row['output']).stem}.html"
    file = _below(data, named, "reports")
    return file if file and file.suffix == ".html" and file.stat().st_size <= _LARGEST_REPORT else None


def _below(data: Path, name: Any, folder: str) -> Path | None:
    """Return a file that the store names if it lies in the folder where such files belong."""
    if not isinstance(name, str):
        return None
    file = (data / name).resolve()
    return file if file.is_relative_to((data / folder).resolve()) and file.is_file() else None


# ---------------------------------------------------------------- from the store


def _runs(store: Session) -> pd.DataFrame:
    own_output = sa.case((SlotAttempt.attempt == Slot.attempt, Slot.output), else_=Run.output)
    attempts = store.execute(
        sa.select(
            Slot.job,
            sa.literal(True),
            Slot.slot_id,
            SlotAttempt.attempt,
            SlotAttempt.run_id,
            Slot.logical_date,
            SlotAttempt.state,
            Slot.state.label("slot_state"),
            SlotAttempt.started_at,
            SlotAttempt.finished_at,
            SlotAttempt.message,
            sa.func.coalesce(own_output, Run.output),
            sa.case((SlotAttempt.attempt == Slot.attempt, Slot.report)),
            SlotAttempt.log,
        )
        .join(Slot, Slot.slot_id == SlotAttempt.slot_id)
        .outerjoin(Run, Run.run_id == SlotAttempt.run_id)
    ).all()
    scheduled = sa.select(SlotAttempt.run_id).where(SlotAttempt.run_id.is_not(None))
    by_hand = store.execute(
        sa.select(Run.run_id, Run.name, Run.state, Run.started_at, Run.finished_at, Run.message, Run.output).where(
            Run.run_id.not_in(scheduled)
        )
    ).all()
    skipped = store.scalars(sa.select(Slot).where(Slot.state == "skipped", Slot.attempt == 0)).all()
    rows: list[tuple[Any, ...]] = [(*row, None) for row in attempts]
    for run in by_hand:
        began = (run.started_at, run.finished_at, run.message, run.output)
        rows.append(
            (Path(run.name).stem, False, None, None, run.run_id, None, run.state, None, *began, None, None, None)
        )
    for slot in skipped:  # it never began; it stands where it was decided
        when = slot.finished_at or slot.logical_date
        what = (slot.job, True, slot.slot_id, 0, None, slot.logical_date, "skipped", "skipped", when, when)
        rows.append((*what, slot.message, None, None, None, slot.reason))
    found = pd.DataFrame(rows, columns=list(_RUNS)).astype(_RUNS)
    return found.sort_values(["started_at", "run_id"], ascending=False, kind="stable").reset_index(drop=True)


def _jobs(store: Session, now: dt.datetime) -> pd.DataFrame:
    late = lateness.late(store, now)
    waiting = sa.select(Slot.job, sa.func.count()).where(Slot.state == "waiting").group_by(Slot.job)
    counts = {job: number for job, number in store.execute(waiting)}
    planned = store.execute(sa.select(ScheduledJob.job, ScheduledJob.next_due, ScheduledJob.published_at)).all()
    rows = [
        (job, next_due, late[job].since if job in late else None, counts.get(job, 0), published_at)
        for job, next_due, published_at in planned
    ]
    times = dict.fromkeys(("next_due", "late_since", "last_success"), "datetime64[us]")
    columns = ["job", "next_due", "late_since", "waiting", "last_success"]
    return pd.DataFrame(rows, columns=columns).astype({"job": "str", "waiting": "int64", **times})
