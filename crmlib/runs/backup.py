"""Backups: a consistent copy of the store, then of the files it names and the rest of the data folder, with checksums.

The store is copied first, as of one moment. What it names is complete on the disk and never changed afterwards, so files
copied later fit it while loads and trainings go on; versions are linked at once where pruning does not find them. A backup gets its name only when it is complete: what a kill leaves behind has another one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmlib import __version__
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.runs import backup_store
from crmlib.store import files, processes

FORMAT = 1
MANIFEST = "manifest.json"
KEYS = ("keys", "secrets")
"""Folders with keys and secrets: copied only when asked for."""

LEFT_OUT = ("logs", "samples", "staging")
"""Folders that are not copied: they are made anew, or are work of the moment."""

_NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
_PART = re.compile(r"\..*\.part-(\d+)")
_PINS = re.compile(r"\.pins-(\d+)")
_ROUNDS = 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """A backup that was made: its folder, how many files and bytes, how many of them links to the one before.

    ``missing`` are files that the store names but that are not there: they were lost before.
    """

    folder: Path
    files: int
    bytes: int
    linked: int
    missing: tuple[str, ...]


def make(data: Path, target: Path, *, now: dt.datetime, with_keys: bool = False) -> Backup:
    """Make a backup of a data folder in a new folder below ``target``, named after the time ``now`` (UTC).

    Files equal to those of the backup before are linked to it, where the file system can. Raises NotFoundError where
    there is nothing to copy, UsageError for a target inside the data folder, EnvironmentFault where it cannot be written.
    """
    _check_places(data, target)
    with files.reporting(target):
        target.mkdir(parents=True, exist_ok=True)
        _clear_up(target, _PART)
        before = _newest(target)
        name = _free_name(target, now)
        working = target / f".{name}.part-{os.getpid()}"
        try:
            working.mkdir(mode=0o700)
            made = _fill(working, data, before, now=now, with_keys=with_keys)
            files.sync(working)
            working.rename(target / name)
            files.sync(target)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    return Backup(target / name, *made)


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of a backup after comparing every file with it; ``folder`` may hold several: then the newest.

    Raises NotFoundError where there is no backup, DataError naming what is damaged, missing or does not belong there.
    """
    found = locate(folder)
    manifest = read_manifest(found)
    listed = {entry["path"]: entry for entry in manifest["files"]}
    there = {path.relative_to(found).as_posix() for path in _walk(found)} - {MANIFEST}
    wrong = [f"{path} is missing" for path in sorted(set(listed) - there)]
    wrong += [f"{path} does not belong to it" for path in sorted(there - set(listed))]
    for path in sorted(set(listed) & there):
        if files.digest(found / path) != listed[path]["sha256"]:
            wrong.append(f"{path} is damaged")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"{found}: {', '.join(wrong[:3])}{more}; use another backup")
    return manifest


def prune(target: Path, *, keep: int) -> list[str]:
    """Remove all but the newest ``keep`` backups of a folder; return the names of those removed."""
    if keep < 1:
        raise UsageError(f"keep is {keep}; keep at least 1 backup")
    names = sorted((path.name for path in _backups(target)), reverse=True)
    for name in names[keep:]:
        leaving = target / f".{name}.part-{os.getpid()}"  # from here on it is no backup any more, even after a kill
        (target / name).rename(leaving)
        shutil.rmtree(leaving)
    return sorted(names[keep:])


def locate(folder: Path) -> Path:
    """Return the backup a folder is, or the newest of those it holds; raises NotFoundError where there is none."""
    if (folder / MANIFEST).is_file():
        return folder
    found = _newest(folder) if folder.is_dir() else None
    if found is None:
        raise NotFoundError(f"{folder}: there is no complete backup here; make one with `crm backup {folder}`")
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a backup; raises DataError for one that is damaged or of a later format."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sound = manifest.pop("checksum") == _checksum(manifest)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{folder / MANIFEST}: cannot be read ({error}); use another backup") from error
    if not sound:
        raise DataError(f"{folder / MANIFEST} is damaged; use another backup")
    if manifest["format"] > FORMAT:
        raise DataError(f"{folder}: the backup was written by a newer release; update crmlib")
    return manifest


# ---------------------------------------------------------------- parts of the above


def _check_places(data: Path, target: Path) -> None:
    if not (data / "warehouse").is_dir() and not (data / backup_store.SQLITE).exists():
        raise NotFoundError(f"{data}: there is nothing to back up; load some data with `crm load` or `crm demo`")
    here, there = data.resolve(), target.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise UsageError(f"{target} and the data folder {data} lie within each other; choose another place for backups")


def _fill(
    working: Path, data: Path, before: Path | None, *, now: dt.datetime, with_keys: bool
) -> tuple[int, int, int, tuple[str, ...]]:
    """Write a whole backup into a folder, the manifest last; return files, bytes, links and what was missing."""
    pins = data / f".pins-{os.getpid()}"
    linked = 0
    try:
        store, facts, named = _pinned_store(working, data, pins)
        store_file = working / store
        store_file.chmod(0o600)
        files.sync(store_file)
        entries: list[dict[str, Any]] = [
            {"path": store, "bytes": store_file.stat().st_size, "sha256": files.digest(store_file)}
        ]
        known = {entry["path"]: entry for entry in read_manifest(before)["files"]} if before else {}
        for path in _wanted(data, named, with_keys=with_keys):
            pinned = pins / path
            source = pinned if pinned.exists() else data / path
            try:
                entry, is_link = _copy(source, working / path, before, known.get(path))
            except FileNotFoundError:
                continue  # removed since it was listed; whether the store names it is seen below
            entries.append({"path": path, **entry})
            linked += is_link
    finally:
        shutil.rmtree(pins, ignore_errors=True)
    missing = tuple(one for one in named if not (working / one).exists())
    for folder in {
        one for entry in entries for one in (working / entry["path"]).parents if one.is_relative_to(working)
    }:
        files.sync(folder)
    manifest = {
        "format": FORMAT,
        "crmlib": __version__,
        "made_at": f"{now.isoformat()}Z",
        "store": store,
        "keys": with_keys,
        "versions": facts,
        "missing": list(missing),
        "files": entries,
    }
    part = working / f".{MANIFEST}"
    part.write_text(json.dumps({**manifest, "checksum": _checksum(manifest)}, indent=1), encoding="utf-8")
    files.sync(part)
    part.rename(working / MANIFEST)
    return len(entries), sum(entry["bytes"] for entry in entries), linked, missing


def _pinned_store(working: Path, data: Path, pins: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Copy the store, and keep the versions it names from being removed until they are copied.

    A version pruned between the two makes both begin anew; one that was lost before stays missing.
    """
    _clear_up(data, _PINS)
    for left in reversed(range(_ROUNDS)):
        found = backup_store.copy(data, working)
        if _pin(data, pins, found[2]) or not left:
            break
        shutil.rmtree(pins, ignore_errors=True)
        (working / found[0]).unlink()
    return found


def _pin(data: Path, pins: Path, named: list[str]) -> bool:
    """Link the named versions into a folder where nobody removes them; False where one is gone already."""
    (pins / "warehouse").mkdir(parents=True)
    for name in named:
        if not name.startswith("warehouse/"):
            continue  # only versions are ever pruned
        try:
            os.link(data / name, pins / name)
        except FileNotFoundError:
            return False
        except OSError:  # a file system without links: what is pruned now will be missing, and said to be
            continue
    return True


def _wanted(data: Path, named: list[str], *, with_keys: bool) -> Iterator[str]:
    """Return the files to copy, below the data folder: all but the store, work of the moment and, unless wanted, keys."""
    out = {*LEFT_OUT, "warehouse", *(() if with_keys else KEYS)}
    yield from (name for name in named if name.startswith("warehouse/"))  # not those being built, or pruned
    for path in _walk(data):
        first, *rest = parts = path.relative_to(data).parts
        if (rest and first in out) or any(part.startswith(".") for part in parts):
            continue
        if not rest and re.fullmatch(r"store\.sqlite(-wal|-shm|-journal)?", first):
            continue
        yield path.relative_to(data).as_posix()


def _walk(folder: Path) -> Iterator[Path]:
    """Return the plain files below a folder in order; links are not followed, they lead elsewhere."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _copy(
    source: Path, target: Path, before: Path | None, known: Mapping[str, Any] | None
) -> tuple[dict[str, Any], bool]:
    """Copy a file, or link the equal one of the backup before; return its size and checksum, and whether it is a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if before and known and known["bytes"] == source.stat().st_size:
        same = files.digest(source) == known["sha256"] and _sound(before / known["path"], known["sha256"])
        if same and _linked(before / known["path"], target):
            return {"bytes": known["bytes"], "sha256": known["sha256"]}, True
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as origin, target.open("xb") as copied:
        while block := origin.read(_BLOCK):
            digest.update(block)
            copied.write(block)
            size += len(block)
        copied.flush()
        os.fsync(copied.fileno())
    shutil.copymode(source, target)
    return {"bytes": size, "sha256": digest.hexdigest()}, False


def _sound(file: Path, checksum: str) -> bool:
    """Return whether a file of an earlier backup is still as written: a link to a damaged one would spoil this one too."""
    return file.is_file() and files.digest(file) == checksum


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _checksum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _backups(target: Path) -> list[Path]:
    return [path for path in sorted(target.iterdir()) if _NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]


def _newest(target: Path) -> Path | None:
    found = _backups(target)
    return found[-1] if found else None


def _free_name(target: Path, now: dt.datetime) -> str:
    name = f"{now:%Y%m%dT%H%M%SZ}"
    tried = [name, *(f"{name}-{number}" for number in range(2, 100))]
    free = next((one for one in tried if not (target / one).exists()), None)
    if free is None:
        raise EnvironmentFault(f"{target}: a hundred backups of {name} are there already; remove some")
    return free


def _clear_up(folder: Path, names: re.Pattern[str]) -> None:
    """Remove what killed backups left behind in a folder, under names that say which process it was."""
    for path in folder.iterdir():
        match = names.fullmatch(path.name)
        if match and not processes.running(int(match[1]), started_by=path.stat().st_mtime + 1):
            shutil.rmtree(path, ignore_errors=True)
