"""Running one attempt of a slot: a process group of its own, a heartbeat, a wall-clock limit that nothing outlives."""

from __future__ import annotations

import datetime as dt
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
from sqlalchemy.exc import SQLAlchemyError

from crmlib.errors import CrmError
from crmlib.runs import notebooks, secrets
from crmlib.store import fence, ledger, slots
from crmlib.store.fence import Attempt

HEARTBEAT_SECONDS = 10.0
LEASE = dt.timedelta(seconds=90)
LOG = "logs/schedule/{slot:06d}-{attempt}.log"
"""Where the output of an attempt goes, below the data folder."""

_LOOK_SECONDS = 0.25  # how often a running attempt is looked at
_TAIL_BYTES = 20_000
_ROUNDS = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of an attempt: ``state`` as of ``slots.Ended``, or superseded: it was given up, others go on."""

    slot_id: int
    job: str
    logical_date: dt.datetime
    attempt: int
    state: str
    message: str | None = None


@dataclass(frozen=True)
class Running:
    """The process of an attempt and the thread that copies its output to the log."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread


def supervise(data: Path, held: slots.Claim, *, now: Callable[[], dt.datetime], stop: threading.Event) -> Result:
    """Run an attempt to its end and enter how it ended; ``stop`` ends it early, so that it is begun again later.

    Whatever it started is dead when this returns, however it ended.
    """
    began = time.monotonic()
    try:
        ended = _run(data, held, now, stop)
    except OSError as error:  # no space for the log, no process to be had: as good a failure as any
        ended = slots.Ended("failed", message=f"could not be started: {error}", reason={"code": "failed"})
    if ended is not None and slots.finish(data, held, ended, now=now()):
        state, message = ended.state, ended.message
    else:
        state, message = "superseded", "given up by another scheduler; what it did was not published"
        notebooks.give_up(data, slots.run_of(data, held), message, now=now())
    took = round(time.monotonic() - began, 2)
    log.info("attempt", extra={"job": held.job, "slot": str(held.mark), "state": state, "seconds": took})
    return Result(held.slot_id, held.job, held.logical_date, held.attempt, state, message)


def end_lost(data: Path, held: slots.Claim, *, now: dt.datetime) -> Result | None:
    """End what is left of an attempt whose scheduler died, and enter it as lost; None where somebody else did."""
    end_all(data, held.mark)
    message = "the scheduler that ran it ended, or did not renew its lease"
    output = notebooks.give_up(data, slots.run_of(data, held), message, now=now)
    ended = slots.Ended("lost", message=message, reason={"code": "lost"}, output=output)
    if not slots.finish(data, held, ended, now=now):
        return None
    return Result(held.slot_id, held.job, held.logical_date, held.attempt, "lost", message)


def end_all(data: Path, mark: Attempt, process: subprocess.Popen[bytes] | None = None) -> None:
    """Kill every process of an attempt, also those in groups and sessions of their own, as kernels are."""
    for _ in range(_ROUNDS):
        found = {one.pid: one for one in _marked(data, mark)}
        if process is not None and process.poll() is None:
            found |= {one.pid: one for one in _family(process.pid)}
        if not found:
            return
        for one in found.values():
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        if process is not None and process.pid in found:
            process.wait(10)
        psutil.wait_procs(list(found.values()), timeout=2)
    raise OSError(f"processes of attempt {mark} do not end")


# ---------------------------------------------------------------- parts of the above


def _run(data: Path, held: slots.Claim, now: Callable[[], dt.datetime], stop: threading.Event) -> slots.Ended | None:
    """Run an attempt and return how it ended, None where it was given up meanwhile."""
    file = data / LOG.format(slot=held.slot_id, attempt=held.attempt)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as target:
        running = _start(data, held, target)
        try:
            why = _watch(running.process, data, held, now, stop)
        finally:
            end_all(data, held.mark, running.process)
            running.reader.join(5)
    if why == "superseded":
        return None
    return _ended(data, held, why, running.process.returncode, now())


def _start(data: Path, held: slots.Claim, target: IO[bytes]) -> Running:
    name, *rest = held.settings["command"]
    target.write(secrets.scrub(f"$ crm {name} {' '.join(rest)}\n", data).encode())
    target.flush()
    group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    process = subprocess.Popen(
        [sys.executable, "-m", "crmlib.cli", name, "--data", str(data), *rest],
        cwd=held.settings["folder"],
        env={**os.environ, "CRM_DATA": str(data), fence.VARIABLE: str(held.mark)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **group,
    )
    reader = threading.Thread(target=_copy, args=(process.stdout, target, data), daemon=True)
    reader.start()
    return Running(process, reader)


def _copy(source: IO[bytes], target: IO[bytes], data: Path) -> None:
    """Copy what a process says to its log, without the secrets."""
    scrubbed = secrets.Scrubbed(target, data)
    with source:
        while part := os.read(source.fileno(), 65_536):
            scrubbed.write(part)
    scrubbed.close()


def _watch(
    process: subprocess.Popen[bytes],
    data: Path,
    held: slots.Claim,
    now: Callable[[], dt.datetime],
    stop: threading.Event,
) -> str:
    """Wait for a process and keep its lease; return why it is over: ended, timed out, interrupted or superseded."""
    give_up = time.monotonic() + float(held.settings["limit_seconds"])
    kept = time.monotonic()
    beat = kept + HEARTBEAT_SECONDS
    while True:
        try:
            process.wait(_LOOK_SECONDS)
            return "ended"
        except subprocess.TimeoutExpired:
            pass
        if stop.is_set():
            return "interrupted"
        if time.monotonic() >= give_up:
            return "timed out"
        if time.monotonic() >= beat:
            try:
                if not slots.beat(data, held, now=now(), lease=LEASE):
                    return "superseded"
                kept = time.monotonic()
            except (CrmError, SQLAlchemyError) as error:  # a store that is away may come back before the lease is over
                log.warning("heartbeat of attempt %s failed: %s", held.mark, error)
                if time.monotonic() - kept > LEASE.total_seconds():
                    return "superseded"
            beat = time.monotonic() + HEARTBEAT_SECONDS


def _ended(data: Path, held: slots.Claim, why: str, code: int, now: dt.datetime) -> slots.Ended:
    run_id = slots.run_of(data, held)
    if why == "ended" and code == 0:
        return _succeeded(data, run_id)
    if why == "interrupted":
        message = "the scheduler was stopped"
        notebooks.give_up(data, run_id, message, now=now)
        return slots.Ended("interrupted", code, message)
    if why == "timed out":
        limit = float(held.settings["limit_seconds"])
        message = f"ended after its limit of {limit:g} s"
        stood = notebooks.stood_at(data, run_id)
        message = f"{message}; {stood}" if stood else message
        output = notebooks.give_up(data, run_id, message, now=now)
        return slots.Ended("timed out", code, message, {"code": "timed_out", "limit_seconds": limit}, output)
    message = _said(data / LOG.format(slot=held.slot_id, attempt=held.attempt), code)
    output = notebooks.give_up(data, run_id, message, now=now)
    why_failed = {"code": "failed", "exit_code": code}
    return slots.Ended("failed", code, message, why_failed, output, _page(data, output))


def _succeeded(data: Path, run_id: int | None) -> slots.Ended:
    output = ledger.run(data, run_id)["output"] if run_id is not None else None
    return slots.Ended("succeeded", 0, output=output, report=_page(data, output))


def _page(data: Path, output: str | None) -> str | None:
    """Return the page of an executed notebook below the data folder, None where there is none."""
    page = notebooks.report_file(data, output) if output else None
    return str(page.relative_to(data)) if page is not None and page.exists() else None


def _said(file: Path, code: int) -> str:
    """Return why a command failed: its own last sentence, else how its process ended."""
    with file.open("rb") as log_file:
        log_file.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = log_file.read().decode("utf-8", "replace").splitlines()
    own = [line.removeprefix("crm: ") for line in lines if line.startswith("crm: ")]
    if own:
        return own[-1]
    if code == -9:
        return "its process was killed (often for want of memory)"
    return f"it ended with code {code}; its log says more"


def _marked(data: Path, mark: Attempt) -> list[psutil.Process]:
    """Return the processes of an attempt, known by their environment, wherever they are in the tree."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            ours = environment.get(fence.VARIABLE) == str(mark) and environment.get("CRM_DATA") == str(data)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return [process for process in found if process.pid != os.getpid()]


def _family(number: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(number)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
