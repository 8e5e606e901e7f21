"""Which process owns an entry of the store, and whether it still runs."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path

import psutil

FOREIGN_PATIENCE = dt.timedelta(days=1)
"""How long a process on another machine, which cannot be asked, is believed to be alive."""

_HIDDEN = "hidden"


def me() -> str:
    """Return this process as text, "host/pid/start": the start tells it from a later process with the same number."""
    start = _since_boot(os.getpid()) or f"{psutil.Process().create_time():.2f}"
    return f"{platform.node()}/{os.getpid()}/{start}"


def gone(process: str | None, *, since: dt.datetime, now: dt.datetime) -> bool:
    """Return whether the process that wrote an entry at ``since`` has ended; unknown ones count as running.

    >>> gone(me(), since=dt.datetime(2025, 1, 1), now=dt.datetime(2026, 1, 1))
    False
    >>> gone("elsewhere/17/0.0", since=dt.datetime(2025, 1, 1), now=dt.datetime(2025, 1, 3))
    True
    """
    if not process:
        return False
    host, number, start = process.rsplit("/", 2)
    if host != platform.node():
        return now - since > FOREIGN_PATIENCE
    if ":" in start:
        return _since_boot(int(number)) not in (start, _HIDDEN)
    return not running(int(number), started_by=float(start) + 1)


def _since_boot(number: int) -> str:
    """Return when a process began as "boot:ticks", "" for none and where the system does not tell, _HIDDEN if not to us.

    On Linux the time psutil gives moves when somebody sets the clock; this does not.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        state, *fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except PermissionError:
        return _HIDDEN
    except OSError:
        return ""
    return f"{boot}:{fields[18]}" if state not in "ZX" else ""


def running(number: int, *, started_by: float) -> bool:
    """Return whether process ``number`` runs and began no later than ``started_by`` (seconds since 1970)."""
    try:
        found = psutil.Process(number)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() <= started_by
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
