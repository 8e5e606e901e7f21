"""A consistent copy of the operational store, and putting it back: SQLite by its own backup, PostgreSQL by pg_dump."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib import paths
from crmlib.errors import EnvironmentFault, UsageError
from crmlib.store.session import HEAD
from crmlib.store.session import engine as store_engine
from crmlib.store.tables import Campaign, DecisionSet, Model, Pointer, ScoreSet, SegmentSet, Version

SQLITE, POSTGRESQL = "store.sqlite", "store.dump"
"""The names of the copy in a backup."""


def copy(data: Path, folder: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Copy the store of a data folder into ``folder``, as it stands at one moment, while others go on writing.

    Returns the name of the copy, facts (served and published versions, revision), and the files the copied store names,
    below the data folder. Raises EnvironmentFault where it cannot be copied.
    """
    url = sa.make_url(paths.store_url(data))
    store_engine(data)  # migrated, so that the copy can be read as it is here
    if url.get_backend_name() == "sqlite":
        return SQLITE, *_copy_sqlite(Path(str(url.database)), folder / SQLITE)
    if url.get_backend_name() == "postgresql":
        return POSTGRESQL, *_dump(url, folder / POSTGRESQL)
    raise EnvironmentFault(
        f"the store is kept in {url.get_backend_name()}, which `crm backup` cannot copy; use its own tools"
    )


def check(file: Path) -> None:
    """Raise EnvironmentFault unless a copied SQLite store is sound."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        try:
            [[found]] = connection.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            raise EnvironmentFault(f"{file}: the copied store is damaged ({error}); use another backup") from error
    if found != "ok":
        raise EnvironmentFault(f"{file}: the copied store is damaged ({found}); use another backup")


def target_of(name: str) -> sa.URL | None:
    """Return the database into which a backup's store goes; None for a file in the data folder.

    Raises UsageError where ``CRM_STORE`` does not fit the backup, or its database holds tables already.
    """
    named = os.environ.get("CRM_STORE")
    url = sa.make_url(named) if named else None
    if name == SQLITE:
        if url is not None:
            raise UsageError("the backup holds an SQLite store; take CRM_STORE out of the environment to restore it")
        return None
    if url is None or url.get_backend_name() != "postgresql":
        raise UsageError("the backup holds a PostgreSQL store; name an empty database for it in CRM_STORE")
    with _connected(url) as connection:
        tables = sa.inspect(connection).get_table_names()
    if tables:
        raise UsageError(
            f"the database {url.render_as_string()} holds tables already ({tables[0]} …); name an empty one in CRM_STORE"
        )
    return url


def put_back(dump: Path, url: sa.URL) -> None:
    """Restore a dump into an empty database, in one transaction."""
    command = [_program("pg_restore"), "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    _call([*command, "--dbname", url.database or "", str(dump)], url)


# ---------------------------------------------------------------- parts of the above


def _copy_sqlite(source: Path, target: Path) -> tuple[dict[str, Any], list[str]]:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=60)) as origin,
        contextlib.closing(sqlite3.connect(target)) as copied,
    ):
        try:
            origin.backup(copied)
            copied.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        except sqlite3.Error as error:
            raise EnvironmentFault(f"{source}: the store cannot be copied ({error}); see `crm doctor`") from error
    check(target)
    made = sa.create_engine(f"sqlite:///{target}", poolclass=sa.NullPool)
    with Session(made) as store:
        return _facts(store)


def _dump(url: sa.URL, target: Path) -> tuple[dict[str, Any], list[str]]:
    program = _program("pg_dump")
    with _connected(url) as connection:
        # What is read here and what pg_dump writes are the same moment.
        snapshot = connection.scalar(sa.text("SELECT pg_export_snapshot()"))
        facts = _facts(Session(connection))
        _call([program, "--format=custom", f"--snapshot={snapshot}", f"--file={target}", url.database or ""], url)
    return facts


@contextlib.contextmanager
def _connected(url: sa.URL) -> Iterator[sa.Connection]:
    made = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="REPEATABLE READ")
    try:
        with made.connect() as connection:
            yield connection
    except sa.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise EnvironmentFault(f"{url.render_as_string()}: cannot be reached ({reason})") from error


def _facts(store: Session) -> tuple[dict[str, Any], list[str]]:
    """Return what a store says of the data folder's files at one moment."""
    published = list(store.scalars(sa.select(Version.version).where(Version.state == "published")))
    pointer = store.get(Pointer, "served")
    versions = store.scalars(sa.select(Version.file).where(Version.state == "published"))
    named = [f"warehouse/{file}" for file in versions]
    for column in (ScoreSet.file, SegmentSet.file, DecisionSet.file, Campaign.members_file, Model.folder):
        named += [one for one in store.scalars(sa.select(column)) if one]
    facts = {"served": pointer.version if pointer else None, "published": sorted(published), "revision": HEAD}
    return facts, sorted(set(named))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EnvironmentFault(
            f"the program {name} is not installed; install PostgreSQL's client programs to copy or restore its store"
        )
    return found


def _call(command: list[str], url: sa.URL) -> None:
    # Through the environment: a command line can be read by everyone on the machine.
    query = {name: value for name, value in url.query.items() if isinstance(value, str)}
    values = {
        "PGHOST": url.host or query.get("host"),
        "PGPORT": str(url.port) if url.port else query.get("port"),
        "PGUSER": url.username or query.get("user"),
        "PGPASSWORD": url.password,
        "PGSSLMODE": query.get("sslmode"),
        "PGSSLROOTCERT": query.get("sslrootcert"),
    }
    environment = {**os.environ, **{name: str(value) for name, value in values.items() if value}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise EnvironmentFault(f"{Path(command[0]).name} ended with code {done.returncode}: {said[0]}")
