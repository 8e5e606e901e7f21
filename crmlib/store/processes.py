"""Which process owns an entry of the store, and whether it still runs."""

from __future__ import annotations

import datetime as dt
import os
import platform

import psutil

FOREIGN_PATIENCE = dt.timedelta(days=1)
"""How long a process on another machine, which cannot be asked, is believed to be alive."""


def me() -> str:
    """Return this process as text, "host/pid/start": the start tells it from a later process with the same number."""
    return f"{platform.node()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


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
    return not running(int(number), started_by=float(start) + 1)


def running(number: int, *, started_by: float) -> bool:
    """Return whether process ``number`` runs and began no later than ``started_by`` (seconds since 1970)."""
    try:
        found = psutil.Process(number)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() <= started_by
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
