"""Putting a backup back into an empty data folder: verified first, all or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

from crmlib.errors import DataError, UsageError
from crmlib.runs import backup, backup_store
from crmlib.store import files, processes

_PART = re.compile(r"\.(.*)\.restoring-(\d+)")


def restore(folder: Path, data: Path) -> dict[str, Any]:
    """Put a backup, or the newest of a folder of them, back as the data folder ``data``; return its manifest.

    ``data`` may not exist yet or be empty; it appears whole or not at all. A PostgreSQL store goes into the empty
    database that ``CRM_STORE`` names. Raises what ``backup.verify`` raises, UsageError where the target is not empty.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise UsageError(f"{data} is not empty; name a new or empty folder with --data")
    source = backup.locate(folder)
    manifest = backup.verify(source)
    database = backup_store.target_of(manifest["store"])
    with files.reporting(data.parent):
        data.parent.mkdir(parents=True, exist_ok=True)
        _clear_up(data)
        working = data.with_name(f".{data.name}.restoring-{os.getpid()}")
        working.mkdir(mode=0o700)
        try:
            _copy(source, working, manifest)
            if manifest["store"] == backup_store.SQLITE:
                backup_store.check(working / backup_store.SQLITE)
            if database is not None:
                backup_store.put_back(source / backup_store.POSTGRESQL, database)
            working.chmod(_rights(data, working))
            if data.exists():
                data.rmdir()  # Windows renames onto nothing that is there
            working.rename(data)
            files.sync(data.parent)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    return manifest


def _copy(source: Path, working: Path, manifest: dict[str, Any]) -> None:
    """Copy the files of a backup and look at each copy: a disk may fail between reading and writing."""
    for entry in manifest["files"]:
        if entry["path"] == backup_store.POSTGRESQL:
            continue
        target = working / entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / entry["path"], target)
        shutil.copymode(source / entry["path"], target)
        files.sync(target)
        if files.digest(target) != entry["sha256"]:
            raise DataError(f"{target}: was not written as it stands in the backup; see whether the disk is sound")
    for name in backup.KEYS:
        with contextlib.suppress(FileNotFoundError):
            (working / name).chmod(0o700)


def _rights(data: Path, working: Path) -> int:
    """Return who may enter the folder: as it was made before, else as new folders are here."""
    if data.exists():
        return stat.S_IMODE(data.stat().st_mode)
    usual = working / ".usual"
    usual.mkdir()
    mode = stat.S_IMODE(usual.stat().st_mode)
    usual.rmdir()
    return mode


def _clear_up(data: Path) -> None:
    """Remove what killed restores into this folder left behind."""
    for path in data.parent.glob(f".{data.name}.restoring-*"):
        match = _PART.fullmatch(path.name)
        if match and not processes.running(int(match[2]), started_by=path.stat().st_mtime + 1):
            shutil.rmtree(path, ignore_errors=True)
