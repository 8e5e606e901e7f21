"""Immutable versions: building and publishing one, opening, listing and removing them.

Files first, then the pointer. A version is written under another name, checkpointed, closed, synced, renamed and its
folder synced; only then one transaction of the store declares it published and moves the pointer, if the pointer still
stands where the building began. A process killed at any point leaves the served version as it was.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crmlib import paths
from crmlib.errors import CrmError, DataError, EnvironmentFault, NotFoundError
from crmlib.store import files
from crmlib.store import session as stores
from crmlib.store.tables import Load, Pointer, Version
from crmlib.warehouse import build, engine, schema, snapshot
from crmlib.warehouse import company as companies

SERVED = "served"
_LISTED = {
    "version": "int64",
    "state": "str",
    "parent": "Int64",
    "created_at": "datetime64[us]",
    "published_at": "datetime64[us]",
    "rows": "Int64",
    "bytes": "Int64",
    "served": "bool",
    "loads": "str",
}
_NO_SPACE = (errno.ENOSPC, errno.EFBIG)
_BROKEN = (duckdb.IOException, duckdb.FatalException)
"""What DuckDB raises where a file cannot be written or read, and ever after with that connection."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Conflict(DataError):
    """Another version was published while this one was being built; nothing was changed."""


@dataclass(frozen=True)
class Building:
    """A version being built.

    Attributes: ``version`` its number; ``parent`` the version it began from (None for the first); ``file`` the work
    file; ``connection`` the only connection to it, read-write, a private copy of the parent's content.
    """

    data: Path
    version: int
    parent: int | None
    file: Path
    connection: duckdb.DuckDBPyConnection
    now: dt.datetime

    def publish(self, load: dict[str, Any] | None = None) -> int:
        """Complete the file, then serve it; return the version's number.

        ``load`` holds columns of the store's ``loads`` to write in the same transaction; its ``load_id`` says which.
        Raises Conflict where another version was published since the building began, or this one was given up.
        """
        _step("begun")
        counts = [f'SELECT count(*) AS n FROM "{name}"' for name in schema.tables()]
        rows = self.connection.execute(f"SELECT sum(n)::BIGINT FROM ({' UNION ALL '.join(counts)})").fetchall()[0][0]
        self.connection.execute("CHECKPOINT")
        _step("checkpointed")
        self.connection.close()
        _step("closed")
        _sync(self.file)
        _step("synced")
        final = file_of(self.data, self.version)
        self.file.rename(final)
        _step("renamed")
        _sync(final.parent)
        _step("folder synced")
        with stores.session(self.data) as store:
            self._serve(store, {"rows": rows, "bytes": final.stat().st_size})
            if load is not None:
                _finish_load(store, load, self.version)
            _step("pointer moved")
            store.commit()
        _step("committed")
        return self.version

    def _serve(self, store: Session, size: dict[str, int]) -> None:
        served = (
            sa.update(Pointer)
            .where(Pointer.name == SERVED, Pointer.version.is_not_distinct_from(self.parent))
            .values(version=self.version)
        )
        published = (
            sa.update(Version)
            .where(Version.version == self.version, Version.state == "building")
            .values(state="published", published_at=self.now, **size)
        )
        if not _one(store, served) or not _one(store, published):
            raise Conflict(
                f"version {self.version} was built from version {self.parent}, but meanwhile another load was published; "
                "nothing was changed: load again"
            )


def _step(name: str) -> None:
    """Mark a step of a publish; the tests kill the process here."""


@contextmanager
def building(data: Path, *, now: dt.datetime, company: companies.Company | None = None) -> Iterator[Building]:
    """Begin a new version as a private copy of the served one, or empty where there is none.

    ``now`` is the UTC time written into the version, ``company`` what it says of the company (default: the data
    folder's ``company.toml``). Leaving without ``publish`` discards it. Raises EnvironmentFault where the folder cannot
    be written, the disk is full or the served version is damaged.
    """
    with machine_faults(data):
        described = company or companies.read(data / "company.toml")
        version, parent = _allocate(data, now)
        work = paths.warehouse(data) / f"v{version:06d}.duckdb.building-{os.getpid()}"
        try:
            _step("allocated")
            connection = _work_copy(data, parent, work)
            try:
                build.describe(connection, version=version, company=described, created_at=now.isoformat())
                yield Building(data, version, parent, work, connection, now)
            finally:
                connection.close()
        finally:
            # What cannot be given up now is given up by the next `prune`; it must not hide why the building ended.
            with suppress(CrmError, OSError, sa.exc.SQLAlchemyError):
                _discard(data, version)


def open(path: str | os.PathLike[str], *, version: int | None = None) -> snapshot.Warehouse:
    """Open a version of the warehouse in the folder ``path`` for reading: the served one, or the one numbered.

    Raises NotFoundError where there is no warehouse or no such version, EnvironmentFault where its file is damaged.
    """
    folder = existing(path)
    if version is not None:
        with stores.session(folder.parent) as store:
            row = store.get(Version, version)
            if row is None or row.state != "published":
                raise NotFoundError(
                    f"{folder} has no version {version}{'' if row is None else f' ({row.state})'}; {_listed(store)}"
                )
        return _open(folder, version)
    while True:
        found = _served(folder)
        try:
            return _open(folder, found)
        except EnvironmentFault:
            # A version may be superseded and pruned between the look at the pointer and the opening of its file.
            if _served(folder) == found:
                raise


def versions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the versions of the warehouse in the folder ``path``, oldest first.

    Columns: version, state (building, published, pruned, failed), parent, created_at and published_at (UTC), rows,
    bytes, served (whether it is the one opened by default), loads (numbers of its loads, separated by spaces).
    """
    folder = existing(path)
    with stores.session(folder.parent) as store:
        pointer = store.get(Pointer, SERVED)
        served = pointer.version if pointer else None
        loads: dict[int, list[str]] = {}
        for version, load in store.execute(sa.select(Load.version, Load.load_id).order_by(Load.load_id)):
            if version is not None:
                loads.setdefault(version, []).append(str(load))
        stored = [name for name in _LISTED if name not in ("served", "loads")]
        rows = store.execute(sa.select(*[getattr(Version, name) for name in stored]).order_by(Version.version)).all()
    found = pd.DataFrame(rows, columns=stored)
    numbers = found["version"]
    found = found.assign(served=numbers == served, loads=[" ".join(loads.get(number, [])) for number in numbers])
    return found.astype(_LISTED)


def serve(path: str | os.PathLike[str], version: int) -> None:
    """Make an older version the served one again, for example where the newest is damaged.

    The next load then begins from it. Raises NotFoundError for a version that is not there.
    """
    folder = existing(path)
    open(folder, version=version)
    with stores.session(folder.parent) as store:
        store.get(Pointer, SERVED, with_for_update=True)
        there = sa.exists().where(Version.version == version, Version.state == "published")
        if not _one(store, sa.update(Pointer).where(Pointer.name == SERVED, there).values(version=version)):
            raise NotFoundError(f"{folder} has no version {version}; {_listed(store)}")
        store.commit()


def lineage(data: Path) -> list[int]:
    """Return the served version and those it grew from, newest first: the loads of any other are not in it."""
    with stores.session(data) as store:
        parents = {row.version: row.parent for row in store.execute(sa.select(Version.version, Version.parent))}
        pointer = store.get(Pointer, SERVED)
    found: list[int] = []
    version = pointer.version if pointer else None
    while version is not None:
        found.append(version)
        version = parents.get(version)
    return found


# ---------------------------------------------------------------- parts of the above


def file_of(data: Path, version: int) -> Path:
    """Return the file of a published version."""
    return paths.warehouse(data) / f"v{version:06d}.duckdb"


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the folder of a warehouse; raises NotFoundError where there is none."""
    folder = Path(path).absolute()
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no warehouse here; make one with `crm load` or `crm demo`")
    return folder


def _one(store: Session, statement: sa.Update) -> bool:
    return bool(store.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def _served(folder: Path) -> int:
    with stores.session(folder.parent) as store:
        pointer = store.get(Pointer, SERVED)
    if pointer is None or pointer.version is None:
        raise NotFoundError(f"{folder}: nothing was loaded yet; load something with `crm load` or `crm demo`")
    return pointer.version


def _listed(store: Session) -> str:
    found = store.scalars(sa.select(Version.version).where(Version.state == "published").order_by(Version.version))
    listed = ", ".join(map(str, found))
    return f"there are {listed} (see `crm versions`)" if listed else "there is none yet; load something with `crm load`"


def _open(folder: Path, version: int) -> snapshot.Warehouse:
    file = folder / f"v{version:06d}.duckdb"
    if not file.exists():
        raise EnvironmentFault(
            f"{file}: the file of version {version} is missing; put it back from a backup, or serve another version "
            "(`crm versions`)"
        )
    return snapshot.open_file(file)


def _allocate(data: Path, now: dt.datetime) -> tuple[int, int | None]:
    """Enter a new version into the store; return its number and that of the served one."""
    folder = paths.warehouse(data)
    files.make_folder(folder)
    with stores.session(data) as store:
        _ensure_pointer(store)
        row = Version(state="building", file="", format_version=schema.FORMAT_VERSION, created_at=now)
        store.add(row)
        store.flush()
        row.file = file_of(data, row.version).name
        row.parent = store.scalars(sa.select(Pointer.version).where(Pointer.name == SERVED)).one()
        if file_of(data, row.version).exists():
            raise EnvironmentFault(
                f"{folder} holds {row.file}, which the store does not know; put the store back from a backup, or move "
                "the files away"
            )
        found = row.version, row.parent
        store.commit()
    return found


def _ensure_pointer(store: Session) -> None:
    if store.get(Pointer, SERVED) is None:
        store.add(Pointer(name=SERVED, version=None))
        try:
            store.commit()
        except IntegrityError:  # another process was quicker
            store.rollback()


def _work_copy(data: Path, parent: int | None, work: Path) -> duckdb.DuckDBPyConnection:
    if parent is None:
        connection = engine.connect(work)
        build.create(connection)
    else:
        _open(paths.warehouse(data), parent)
        shutil.copyfile(file_of(data, parent), work)
        connection = engine.connect(work)
    _step("copied")
    return connection


def _finish_load(store: Session, load: dict[str, Any], version: int) -> None:
    fields = {"version": version, **load}
    if not _one(store, sa.update(Load).where(Load.load_id == fields.pop("load_id")).values(fields)):
        raise DataError(f"load {load['load_id']} is not in the store; begin it before publishing")


def _discard(data: Path, version: int) -> None:
    """Give up a version unless it was published; the store decides, so that an unsure commit deletes nothing."""
    final = file_of(data, version)
    for file in final.parent.glob(f"{final.name}.building-*"):  # first, since the store may need the space
        unlink(file)
    with stores.session(data) as store:
        given_up = sa.update(Version).where(Version.version == version, Version.state == "building")
        mine = _one(store, given_up.values(state="failed"))
        store.commit()
    if mine:
        unlink(final)


def unlink(file: Path) -> None:
    """Remove a file or folder that may be gone already."""
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot sync folders; its renames are journalled
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _related(path: Path, data: Path) -> bool:
    return path.is_relative_to(data) or data.is_relative_to(path)


@contextmanager
def machine_faults(data: Path) -> Iterator[None]:
    """Turn what the machine refuses (space, permission) into an EnvironmentFault with a remedy."""
    try:
        yield
    except CrmError:
        raise
    except (OSError, duckdb.Error, sa.exc.OperationalError) as error:
        number, text = getattr(error, "errno", None), str(error)
        named = getattr(error, "filename", None)
        if named is not None and not _related(Path(named).absolute(), data.absolute()):
            raise  # a source of the load, say: nothing the data folder is to blame for
        if number in _NO_SPACE or "No space left" in text or "File too large" in text or "disk is full" in text:
            raise EnvironmentFault(
                f"{data}: no space left on the disk; free some (`crm versions prune` removes old versions) or move the "
                "data folder, then try again; the served version is unchanged"
            ) from error
        refused = ("readonly database", "unable to open database file", "Permission denied")
        if number in _REFUSED or any(part in text for part in refused):
            raise EnvironmentFault(
                f"{data}: not allowed to write here ({text.splitlines()[0]}); give yourself the right to write or "
                "choose another folder with --data"
            ) from error
        if number == errno.EIO or "Input/output error" in text or isinstance(error, _BROKEN):
            raise EnvironmentFault(
                f"{data}: the disk reported an error ({(text.splitlines() or [''])[0]}); check it before anything else, "
                "then try again; the served version is unchanged"
            ) from error
        raise
