"""The scheduler: makes the slots that are due, ends what was lost, and runs what can run, here and on other machines.

Any number of them may run at the same time; all that counts is in the ledger (``store.slots``).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from crmlib.errors import CrmError
from crmlib.runs import attempts, due, schedule_file
from crmlib.runs.attempts import Result
from crmlib.runs.schedule_file import Job, Schedule
from crmlib.store import lateness, ledger, processes, session, slot_history, slots
from crmlib.store.tables import Alert, Slot

if TYPE_CHECKING:
    import pandas as pd

Clock = Callable[[], dt.datetime]

LONGEST_SLEEP = 60.0
OTHERS_SLEEP = 5.0
"""Seconds between looks at whether the schedulers that run something are still alive."""

log = logging.getLogger(__name__)


@dataclass
class Crew:
    """The attempts that run in this process at the moment, at most ``workers``."""

    data: Path
    clock: Clock
    workers: int
    pool: ThreadPoolExecutor
    stop: threading.Event = field(default_factory=threading.Event)
    running: dict[Future[Result], slots.Claim] = field(default_factory=dict)

    def fill(self) -> None:
        """Claim and begin what can run, as far as there are free workers."""
        me = processes.me()
        while len(self.running) < self.workers and not self.stop.is_set():
            held = slots.claim(self.data, worker=me, now=self.clock(), lease=attempts.LEASE, log=attempts.LOG)
            if held is None:
                return
            future = self.pool.submit(attempts.supervise, self.data, held, now=self.clock, stop=self.stop)
            self.running[future] = held

    def ended(self, *, within: float) -> list[Result]:
        """Return what has ended, after waiting a while for the next."""
        done, _ = wait(self.running, within, return_when=FIRST_COMPLETED)
        results = []
        for future in done:
            del self.running[future]
            try:
                results.append(future.result())
            except Exception:  # its lease runs out, and somebody begins it again
                log.exception("an attempt could not be brought to its end")
        return results


def tick(data: Path, clock: Clock, *, workers: int = 2, tell: Callable[[Result], None] | None = None) -> list[Result]:
    """Do once what is due, and wait for it; return what was done, in the order in which it ended.

    What fails and is tried again after a pause is left to the next tick. Raises as of ``schedule_file.read``.
    """
    schedule = schedule_file.read(schedule_file.find(data), data)
    done: list[Result] = []
    with _crew(data, clock, workers) as crew:
        plan(data, schedule, clock())
        while True:
            new = _look_after(crew)
            crew.fill()
            new += crew.ended(within=OTHERS_SLEEP) if crew.running else []
            for result in new:
                _told(result, tell)
            if new:
                _alert(data, clock())  # now: a later run of the job may succeed, and each tick may take long
            done += new
            if not crew.running and not new:
                break
    if done:
        _tidy(data, schedule, clock())
    _alert(data, clock())
    return done


def run(data: Path, clock: Clock, *, workers: int = 2, tell: Callable[[Result], None] | None = None) -> None:
    """Do what is due, until interrupted; then end what runs, so that the next scheduler begins it again.

    A file that is spoilt while this runs is reported and the one before goes on. Raises as of ``schedule_file.read``
    where it is spoilt at the start.
    """
    schedule = schedule_file.read(schedule_file.find(data), data)
    with _crew(data, clock, workers) as crew:
        while True:
            pause = OTHERS_SLEEP
            try:
                schedule = _read_again(data, schedule)
                plan(data, schedule, clock())
                for result in _look_after(crew):
                    _told(result, tell)
                crew.fill()
                _alert(data, clock())
                pause = _pause(data, schedule, clock())
            except (CrmError, SQLAlchemyError, OSError) as error:  # the store or the disk may be away for a while
                log.warning("the scheduler could not look at what is due: %s", error)
            if crew.running:
                ended = crew.ended(within=pause)
                for result in ended:
                    _told(result, tell)
                if ended:
                    _tidy(data, schedule, clock())
            else:
                crew.stop.wait(pause)


def plan(data: Path, schedule: Schedule, now: dt.datetime) -> dict[str, int]:
    """Make the slots of all jobs that are due by ``now`` and were not made yet; return how many will run, by job."""
    marks = slots.marks(data, list(schedule.jobs), now=now)
    plans = {name: _plan(job, schedule, marks[name], now) for name, job in schedule.jobs.items()}
    return {job: count for job, count in slots.make(data, plans, until=now).items() if count}


def _plan(job: Job, schedule: Schedule, seen: dt.datetime, now: dt.datetime) -> slots.Plan:
    """Decide by the rule of a job which of the moments due since ``seen`` will run."""
    moments = due.between(job.at, job.zone, after=seen, until=now)
    late = dt.timedelta(seconds=job.late_after)
    wanted = moments if job.catch_up == "all" else moments[-1:]
    if job.catch_up == "skip":
        wanted = [moment for moment in wanted if now - moment <= late]
    chosen, missed = set(wanted), {"code": "missed", "catch_up": job.catch_up}
    new = [
        slots.New(moment, schedule_file.settings(job, moment, schedule), None if moment in chosen else missed)
        for moment in moments
    ]
    before = None
    if job.catch_up != "all" and moments:
        before = moments[-1]  # nobody began the ones before; the newest stands for them
    elif job.catch_up == "skip" and now - seen > late:
        before = now - late  # nothing was looked at for so long that what waited is late
    return slots.Plan(seen, new, before, missed, due.next_after(job.at, job.zone, now))


def next_due(schedule: Schedule, now: dt.datetime) -> dict[str, dt.datetime]:
    """Return when each job is due next, naive UTC."""
    return {name: due.next_after(job.at, job.zone, now) for name, job in schedule.jobs.items()}


def overview(data: Path, schedule: Schedule, now: dt.datetime) -> pd.DataFrame:
    """Return a row a job of the file, ``OVERVIEW``: how its newest slot went, whether it is late, when it is due next.

    ``state`` is waiting, running, succeeded or failed, None before the first; ``seconds`` of the last attempt, so far
    where it runs; ``usual_seconds`` the median of those that succeeded; late as of ``lateness``. Times are naive UTC.
    """
    import pandas as pd  # noqa: PLC0415  (slow to import, and a tick never needs it)

    found = slot_history.standings(data)
    with session.session(data) as store:
        late = lateness.late(store, now)
    comes = next_due(schedule, now)
    rows = []
    for name, job in schedule.jobs.items():
        one = found.get(name)
        newest = one.newest if one else None
        seconds = one.seconds if one else None
        if newest is not None and newest.state == "running" and newest.started_at is not None:
            seconds = (now - newest.started_at).total_seconds()
        rows.append(
            {
                "job": name,
                "kind": job.kind,
                "slot_id": newest.slot_id if newest else None,
                "state": newest.state if newest else None,
                "logical_date": newest.logical_date if newest else None,
                "finished_at": newest.finished_at if newest else None,
                "seconds": seconds,
                "usual_seconds": one.usual_seconds if one else None,
                "late": name in late,
                "next_due": comes[name],
                "message": newest.message if newest else None,
            }
        )
    return pd.DataFrame(rows, columns=list(OVERVIEW)).astype(OVERVIEW)


OVERVIEW = {
    "job": "str",
    "kind": "str",
    "slot_id": "Int64",
    "state": "str",
    "logical_date": "datetime64[us]",
    "finished_at": "datetime64[us]",
    "seconds": "float64",
    "usual_seconds": "float64",
    "late": "bool",
    "next_due": "datetime64[us]",
    "message": "str",
}


# ---------------------------------------------------------------- parts of the above


@contextmanager
def _crew(data: Path, clock: Clock, workers: int) -> Iterator[Crew]:
    """Yield a crew; on the way out, by whatever, end what it runs and wait until that is entered."""
    with ThreadPoolExecutor(workers, thread_name_prefix="attempt") as pool:
        crew = Crew(data, clock, workers, pool)
        try:
            yield crew
        finally:
            crew.stop.set()
            wait(crew.running)


def _look_after(crew: Crew) -> list[Result]:
    """End what was lost, here or on another machine."""
    now = crew.clock()
    # What runs here keeps its lease itself: a clock that jumps ahead must not make it look lost before the next beat.
    own = {held.mark for held in crew.running.values()}
    lost = [held for held in slots.lost(crew.data, now=now) if held.mark not in own]
    ended = [attempts.end_lost(crew.data, held, now=now) for held in lost]
    if ended:
        ledger.mark_interrupted(crew.data, now=now)
    return [result for result in ended if result is not None]


def _read_again(data: Path, before: Schedule) -> Schedule:
    try:
        return schedule_file.read(schedule_file.find(data), data)
    except CrmError as error:
        log.error("the schedule as it was goes on: %s", error)
        return before


def _pause(data: Path, schedule: Schedule, now: dt.datetime) -> float:
    """Return how many seconds to sleep: until something is due or rested, at most a minute, less while others run."""
    ready, running = slot_history.outlook(data, now=now)
    moments = [*next_due(schedule, now).values(), *([ready] if ready else [])]
    until = min((max((moment - now).total_seconds(), 0.2) for moment in moments), default=LONGEST_SLEEP)
    return min(until, OTHERS_SLEEP if running else LONGEST_SLEEP)


def _told(result: Result, tell: Callable[[Result], None] | None) -> None:
    if tell is not None:
        tell(result)


def _tidy(data: Path, schedule: Schedule, now: dt.datetime) -> None:
    """Remove the notebooks, reports and logs that the jobs' rules do not keep; what goes wrong waits for the next time."""
    from crmlib.runs import retention  # noqa: PLC0415  (slow to import, and most ticks have nothing to do)

    rules = {name: retention.Keep(newest=job.keep) for name, job in schedule.jobs.items()}
    by_hand = retention.Keep(newest=schedule.keep) if schedule.keep else None
    try:
        retention.prune(data, jobs=rules, others=by_hand, now=now)
    except (CrmError, SQLAlchemyError, OSError) as error:
        log.warning("old runs could not be removed: %s", error)


def _alert(data: Path, now: dt.datetime) -> None:
    """Raise an alert for each job whose newest run failed for good, clear those of jobs that run again or no more, send."""
    standings = slot_history.standings(data)
    failed = any(one.ended is not None and one.ended.state == "failed" for one in standings.values())
    if not failed and not _alerts_stand(data):
        return
    # Slow to import, and most ticks have nothing to say.
    from crmlib.runs import alert_settings, alerts  # noqa: PLC0415
    from crmlib.store import alerts as kept  # noqa: PLC0415

    known = kept.alerts(data, standing=False)
    standing = known.loc[known["cleared_at"].isna(), "topic"]
    for job, one in standings.items():
        if one.ended is None:
            continue
        topic = f"failed/{job}/{one.ended.logical_date.isoformat()}"
        if one.ended.state == "succeeded" or one.next_due is None:  # it runs again, or is no longer in the file
            for old in standing[standing.str.startswith(f"failed/{job}/")]:
                alerts.clear(data, old, now=now)
        elif not ((known["topic"] == topic) & (known["raised_at"] >= one.ended.finished_at)).any():
            code, content = _content(one.ended)
            alerts.raise_alert(data, topic=topic, code=code, content=content, now=now)
    try:
        alerts.send_due(data, alert_settings.read(data), now)
    except CrmError as error:  # the schedule must go on without its messenger
        log.error("alerts cannot be sent: %s", error)


def _alerts_stand(data: Path) -> bool:
    with session.session(data) as store:
        return store.scalar(sa.select(Alert.alert_id).where(Alert.cleared_at.is_(None)).limit(1)) is not None


def _content(slot: Slot) -> tuple[str, dict[str, Any]]:
    """Return the code of an alert and what its words need."""
    reason = slot.reason or {}
    return str(reason.get("code", "failed")), {
        "job": slot.job,
        "logical_date": slot.logical_date.isoformat(),
        "message": slot.message,
        "attempt": slot.tries,
        "attempts": int(slot.settings.get("retries", 0)) + 1,
        "limit_minutes": float(slot.settings.get("limit_seconds", 0)) / 60,
        "slot_id": slot.slot_id,
        "notebook": slot.output,
        "report": slot.report,
        "log": attempts.LOG.format(slot=slot.slot_id, attempt=slot.attempt),
    }
