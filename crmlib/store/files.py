"""Files that a row of the store points at: complete and on the disk before the row is written, with a checksum.

A file is written under a name that says which process it belongs to, forced to the disk, and gets its own name while the
store's lock of publishers is held, in the transaction that writes the row. What a killed process leaves behind says
what it was about to take, so that ``leftovers`` removes exactly that.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from crmlib.errors import CrmError, EnvironmentFault
from crmlib.store import processes, session
from crmlib.store.tables import DecisionSet, Model, ScoreSet, SegmentSet

if TYPE_CHECKING:
    import pandas as pd


TAKES = "takes"
"""In a folder of ``staging``: the names below the data folder that its files are about to get, a line each."""

_TEMPORARY = re.compile(r"\.new-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}.*")


def temporary(folder: Path, suffix: str = "") -> Path:
    """Return a hidden name in a folder for work of this process; ``abandoned`` tells whether its process has ended."""
    return folder / f".new-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def abandoned(path: Path, *, now: float) -> bool:
    """Return whether a name was made by ``temporary`` in a process that has ended; ``now`` in seconds since 1970.

    What a process of another machine made, which cannot be asked, is believed to be in work for a day.
    """
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    changed = path.lstat().st_mtime
    if match[1] != _machine():
        return now - changed > processes.FOREIGN_PATIENCE.total_seconds()
    return not processes.running(int(match[2]), started_by=changed + 1)


def _machine() -> str:
    return hashlib.blake2s(platform.node().encode(), digest_size=4).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and force their entries to the disk: a new file is lost with its folder's entry."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync(one.parent)


@contextmanager
def staging(folder: Path, data: Path) -> Iterator[Path]:
    """Yield a new hidden folder inside ``folder`` for files that are being written; it is gone at the end.

    Where what happened inside failed, files that got their names without being recorded are removed too.
    """
    make_folder(folder)
    work = temporary(folder)
    work.mkdir()
    try:
        yield work
    except BaseException:
        # Whether a commit that failed was one after all is for the store to say; while it cannot, leave it to later.
        with contextlib.suppress(CrmError, SQLAlchemyError, OSError):
            settle(work, data)
        raise
    shutil.rmtree(work, ignore_errors=True)


def take(work: Path, data: Path, moves: Mapping[Path, Path]) -> None:
    """Give complete files or folders of a ``staging`` folder their names, and force those to the disk.

    To be called while ``session.publishing`` holds the lock. The names stand in the folder before: a kill in between
    leaves files that nothing points at, and ``settle`` knows which. The first of all names is the one that a row of the
    store will hold.
    """
    with (work / TAKES).open("a", encoding="utf-8") as names:
        for source, target in moves.items():
            names.write(f"{_mark(source)} {target.relative_to(data).as_posix()}\n")
    # A crash must not keep a new name and lose the line that says whose it was: nobody would ever remove the file.
    for written in (work / TAKES, work, work.parent):
        sync(written)
    for source, target in moves.items():
        source.rename(target)
    for folder in {target.parent for target in moves.values()}:
        sync(folder)


def settle(work: Path, data: Path) -> None:
    """Remove a folder of ``staging`` whose work ended early, and what got its name from there but was never recorded."""
    listed = (work / TAKES).read_text(encoding="utf-8").splitlines() if (work / TAKES).exists() else []
    taken = [(mark, name) for mark, _, name in (line.partition(" ") for line in listed)]
    if taken:
        with session.publishing(data) as store:  # nobody is between a name and its row now
            named = _named(store, taken[0][1])
            for mark, name in [] if named else taken:
                path = data / name
                # Another file may have got the name since.
                if path.exists() and _mark(path) == mark:
                    _remove(path)
    shutil.rmtree(work)


def _mark(path: Path) -> str:
    """Return what tells a file from another of the same name; a rename keeps it."""
    found = path.stat()
    return f"{found.st_ino}/{found.st_mtime_ns}"


def _named(store: Session, name: str) -> bool:
    columns = (ScoreSet.file, SegmentSet.file, DecisionSet.file, Model.folder)
    return any(store.scalar(sa.select(sa.exists().where(column == name))) for column in columns)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reserved(folder: Path, stem: str, suffix: str = ".parquet") -> Path:
    """Return a file named after the stem and the first number that is free, made empty so that no other run takes it."""
    make_folder(folder)
    for number in itertools.count(1):
        path = folder / f"{stem}-{number}{suffix}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("itertools.count never ends")


def write_parquet(table: pd.DataFrame, path: Path) -> str:
    """Write a table under another name, force it to the disk, rename it; return its checksum."""
    staged = temporary(path.parent, ".parquet")
    try:
        checksum = _written(table, staged)
        staged.replace(path)
        sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)
    return checksum


def _written(table: pd.DataFrame, path: Path) -> str:
    table.to_parquet(path, index=False)
    sync(path)
    return digest(path)


def add_parquet(table: pd.DataFrame, folder: Path, stem: str) -> tuple[Path, str]:
    """Write a table that no row of the store will hold to the next free file of a name; return the file and its checksum.

    Raises EnvironmentFault where it cannot be written; then the name is free again.
    """
    with reporting(folder):
        path = reserved(folder, stem)
        try:
            return path, write_parquet(table, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def adding(
    table: pd.DataFrame,
    folder: Path,
    stem: str,
    *,
    data: Path,
    beside: Mapping[str, pd.DataFrame] | None = None,
    held: Mapping[str, pd.DataFrame] | None = None,
) -> Iterator[tuple[Session, Path, str, Path]]:
    """Write a table to the next free file of a name, with those ``beside`` it (STEM-NAME.parquet), and have it recorded.

    The tables ``held`` are written too, as NAME.parquet in the work folder, for the caller to ``take``: nothing is written
    while the lock of publishers is held. Yields a session of the store to add the row to, the file, its checksum and the
    work folder; the row is committed at the end. Raises EnvironmentFault where it cannot be written; then nothing is recorded, and the name is free again.
    """
    with reporting(folder), staging(folder, data) as work:
        checksum = _written(table, work / "table.parquet")
        for name, other in {**(beside or {}), **(held or {})}.items():
            _written(other, work / f"{name}.parquet")
        with session.publishing(data) as store:
            path = next(
                one for number in itertools.count(1) if not (one := folder / f"{stem}-{number}.parquet").exists()
            )
            moves = {work / "table.parquet": path}
            moves |= {work / f"{name}.parquet": path.with_name(f"{path.stem}-{name}.parquet") for name in beside or {}}
            take(work, data, moves)
            yield store, path, checksum, work


def read_parquet(path: Path, checksum: str, *, remedy: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a table after checking its checksum; raises EnvironmentFault, with the ``remedy``, where it is not as written."""
    if not path.exists() or digest(path) != checksum:
        raise EnvironmentFault(f"{path}: missing or changed since it was written; {remedy}")
    import pandas as pd  # noqa: PLC0415  (slow to import; many only want the names and checksums)

    return pd.read_parquet(path, columns=columns)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file, or the entries of a folder where the system allows it, to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def reporting(path: Path, *, option: str = "--data") -> Iterator[None]:
    """Turn what the system says about a write into a sentence; ``option`` is what names the place to write to."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be written ({error.strerror or error}); {remedy(error, option=option)}"
        ) from error


def remedy(error: OSError, *, option: str = "--data") -> str:
    """Return what to do about a write that the system refused."""
    if error.errno == errno.EIO:
        return "the disk reported an error: check it before anything else"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room"
    return f"make it writable or choose another place with {option}"
