"""The command ``crm schedule``: what runs when, by itself."""

from __future__ import annotations

import argparse
import datetime as dt
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crmlib.errors import UsageError
from crmlib.runs import clock
from crmlib.runs.command import Command
from crmlib.runs.stages import shown

if TYPE_CHECKING:
    from crmlib.runs.attempts import Result

# ruff: noqa: PLC0415  (modules are imported inside the functions, so that `crm --help` answers at once)

ACTIONS = ("run", "tick", "status", "init", "retry")


def _workers(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 64")
    return value


def _arguments(parser: argparse.ArgumentParser) -> None:
    what = (
        "status (default) says what ran, what is late and what comes; run does what is due until it is stopped; tick "
        "does it once, for cron and the like; init writes a schedules.toml to begin from; retry SLOT puts back a run "
        "that failed or was skipped"
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="status", help=what)
    parser.add_argument("slot", nargs="?", type=int, metavar="SLOT", help="with retry: the number of the run")
    parser.add_argument(
        "--workers", type=_workers, default=2, metavar="N", help="with run and tick: jobs at a time (default 2)"
    )


def _schedule(given: argparse.Namespace, data: Path) -> int:
    if (given.slot is not None) != (given.action == "retry"):
        raise UsageError("`crm schedule retry SLOT` takes the number of a run, the other actions take none")
    actions = {"run": _run, "tick": _tick, "status": _status, "init": _init, "retry": _retry}
    return actions[given.action](given, data)


def _init(_given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import schedule_file

    file = data / schedule_file.NAME
    if file.exists():
        raise UsageError(f"{file} is there already; edit it, or take it away first")
    data.mkdir(parents=True, exist_ok=True)
    file.write_text(schedule_file.EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{shown(file)} is written; edit it, then see `crm schedule status`")
    return 0


def _run(given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import schedule_file, scheduler

    file = schedule_file.find(data)
    print(f"running the jobs of {shown(file)}; Ctrl+C ends it", flush=True)
    before = signal.signal(signal.SIGTERM, _interrupt)  # systemd and `kill` end it as cleanly as Ctrl+C
    try:
        scheduler.run(data, _clock(data), workers=given.workers, tell=_tell)
    except KeyboardInterrupt:
        print("\nstopped; what was running will be begun again")
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _tick(given: argparse.Namespace, data: Path) -> int:
    from crmlib.errors import RunError
    from crmlib.runs import scheduler

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        done = scheduler.tick(data, _clock(data), workers=given.workers, tell=_tell)
    finally:
        signal.signal(signal.SIGTERM, before)
    if not done:
        print("nothing was due")
    bad = [result for result in done if result.state not in ("succeeded", "superseded")]
    return RunError.exit_code if bad else 0


def _clock(data: Path) -> Any:
    return lambda: clock.shared(data)


def _tell(result: Result) -> None:
    said = f": {result.message}" if result.message else ""
    when = f"{result.logical_date:%Y-%m-%d %H:%M} UTC"
    print(f"{result.job} for {when}, slot {result.slot_id}, attempt {result.attempt}: {result.state}{said}", flush=True)


def _retry(given: argparse.Namespace, data: Path) -> int:
    from crmlib.store import slots

    back = slots.retry(data, given.slot, now=clock.shared(data))
    others = f", and {len(back) - 1} that waited for it" if len(back) > 1 else ""
    print(f"slot {given.slot} is put back{others}; the next `crm schedule tick` or a running scheduler begins it")
    return 0


def _status(_given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import schedule_file, scheduler

    schedule = schedule_file.read(schedule_file.find(data), data)
    found = scheduler.overview(data, schedule, clock.shared(data))
    print(f"jobs of {shown(schedule.file)}; times in the zone of each job")
    rows: Iterator[Any] = found.itertuples(index=False)
    for row in rows:
        zone = schedule.jobs[row.job].zone
        print(f"{row.job:<20} {_state(row):<24} {_last(row, zone)}; next {_local(row.next_due, zone)}")
        if row.state == "failed" and isinstance(row.message, str):
            print(f"{'':<20} slot {row.slot_id}: {row.message}")
    return 0


def _state(row: Any) -> str:
    state = row.state if isinstance(row.state, str) else "not yet run"
    return f"{state}, LATE" if row.late else state


def _last(row: Any, zone: str) -> str:
    if not isinstance(row.state, str):
        return "never run"
    took = "" if row.seconds != row.seconds else f", {row.seconds:.0f} s"
    usual = "" if row.usual_seconds != row.usual_seconds else f" (usually {row.usual_seconds:.0f} s)"
    return f"for {_local(row.logical_date, zone)}{took}{usual}"


def _local(moment: dt.datetime, zone: str) -> str:
    from crmlib.runs import due

    return f"{moment.replace(tzinfo=dt.UTC).astimezone(due.zone(zone)):%Y-%m-%d %H:%M}"


COMMANDS = [
    Command(
        "schedule", "run jobs and notebooks by themselves: what is due, what ran, what is late", _arguments, _schedule
    )
]
