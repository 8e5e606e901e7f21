"""Removing old versions, and what killed builds and loads left behind."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from crmlib import paths
from crmlib.errors import UsageError
from crmlib.store import processes
from crmlib.store import session as stores
from crmlib.store.tables import Load, Pointer, Version
from crmlib.warehouse.versions import SERVED, existing, file_of, machine_faults, unlink

_WORK_FILE = re.compile(r"v(\d+)\.duckdb\.building-(\d+)(\.wal|\.tmp)?")
_LOAD = re.compile(r"load-(\d+)-")
_STAGING_FILE = re.compile(r".*-(\d+)(\.[a-z.]+)?")


def prune(path: str | os.PathLike[str], *, keep: int = 5, now: dt.datetime) -> pd.DataFrame:
    """Remove all but the newest ``keep`` published versions, and what killed builds and loads left behind.

    The served version stays in any case, and so does the work of processes that still run (``now``, UTC, decides for
    those of other machines). Returns one row per file removed: file (below the data folder), reason (old version,
    orphan; still in use where the system would not remove it), bytes freed.
    """
    folder = existing(path)
    if keep < 1:
        raise UsageError(f"keep is {keep}; keep at least 1 version")
    return _pruned(folder.parent, keep, now)


def clear(data: Path, *, now: dt.datetime) -> pd.DataFrame:
    """Remove what killed builds and loads left behind, and no version; in and out as of ``prune``."""
    return _pruned(data, None, now)


def _pruned(data: Path, keep: int | None, now: dt.datetime) -> pd.DataFrame:
    with machine_faults(data):
        with stores.session(data) as store:
            store.get(Pointer, SERVED, with_for_update=True)
            if keep is not None:
                served = sa.select(Pointer.version).where(Pointer.version.is_not(None))
                newest = sa.select(Version.version).where(Version.state == "published").order_by(Version.version.desc())
                old = Version.version.not_in(list(store.scalars(newest.limit(keep)))) & Version.version.not_in(served)
                store.execute(sa.update(Version).where(Version.state == "published", old).values(state="pruned"))
            for row in store.scalars(sa.select(Version).where(Version.state == "building")):
                if processes.gone(row.process, since=row.created_at, now=now):
                    row.state = "failed"
            # The store forgets first: a kill from here on leaves orphans for the next time, never a missing version.
            store.commit()
            loads = list(store.scalars(sa.select(Load).where(Load.state == "running")))
            running = {
                load.load_id for load in loads if not processes.gone(load.process, since=load.started_at, now=now)
            }
            states = {row.version: row.state for row in store.execute(sa.select(Version.version, Version.state))}
        removable = [
            (file, reason)
            for file, reason in _removable(data, states, running)
            if keep is not None or reason == "orphan"
        ]
        removed = [_remove(data, file, reason) for file, reason in removable]
    return pd.DataFrame(removed, columns=["file", "reason", "bytes"]).astype(
        {"file": "str", "reason": "str", "bytes": "int64"}
    )


def _removable(data: Path, states: dict[int, str], running: set[int]) -> Iterator[tuple[Path, str]]:
    folder = paths.warehouse(data)
    for version, state in states.items():
        file = file_of(data, version)
        if state in ("pruned", "failed") and file.exists():
            yield file, "old version" if state == "pruned" else "orphan"
    for file in sorted(folder.glob("v*.duckdb.building-*")):
        match = _WORK_FILE.fullmatch(file.name)
        if match and states.get(int(match[1]), "failed") != "building" and not _owned(file, int(match[2])):
            yield file, "orphan"
    staging = data / "staging"
    for file in sorted(staging.iterdir()) if staging.is_dir() else []:
        match, load = _STAGING_FILE.fullmatch(file.name), _LOAD.match(file.name)
        if load and int(load[1]) in running:  # perhaps on another machine, whose processes cannot be seen here
            continue
        if match and not _owned(file, int(match[1])):
            yield file, "orphan"


def _owned(file: Path, process: int) -> bool:
    return processes.running(process, started_by=file.stat().st_mtime + 1)


def _remove(data: Path, file: Path, reason: str) -> tuple[str, str, int]:
    inside = [file, *file.rglob("*")] if file.is_dir() else [file]
    freed = sum(part.stat().st_size for part in inside if part.is_file())
    try:
        unlink(file)
    except PermissionError:  # Windows keeps files that somebody reads; the next time takes them
        reason, freed = "still in use", 0
    return file.relative_to(data).as_posix(), reason, freed
