"""Opening the operational store: SQLite in WAL mode below the data folder, or any database in ``CRM_STORE``.

A store is migrated to ``HEAD`` when it is first opened. Whether it needs to be is one small query; Alembic, slow to
import, is only loaded when it does.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from crmlib import paths
from crmlib.errors import EnvironmentFault
from crmlib.store import fence

HEAD = "0004"
"""The newest revision in ``migrations/versions``."""

MIGRATIONS = Path(__file__).parent / "migrations"

_BUSY_SECONDS = 30
_ADVISORY_LOCK = 0x63726D  # PostgreSQL: migrations of one database take turns


def engine(data: Path) -> sa.Engine:
    """Return the engine on the store of a data folder, created and migrated where needed; one per process and store.

    Raises EnvironmentFault for a store that cannot be opened, is damaged or was written by a newer release.
    """
    url = sa.make_url(paths.store_url(data))
    made, inode = _engine(url, os.getpid())
    if _inode(url) == inode:
        return made
    _engine.cache_clear()  # the store this process knew was taken away, perhaps replaced, and with it its migrations
    return _engine(url, os.getpid())[0]


def session(data: Path) -> Session:
    """Return a session on the store of a data folder; use it with ``with`` and commit explicitly."""
    return Session(engine(data))


@functools.lru_cache(maxsize=8)
def _engine(url: sa.URL, _process: int) -> tuple[sa.Engine, int | None]:
    # The process is part of the key because a connection must not be shared with a forked child.
    made = sa.create_engine(url)
    with _faults(url):
        file = _file(url)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            sa.event.listen(made, "connect", _prepare_sqlite)
        if _revision(made) != HEAD:
            _migrate(url)
    fence.guard(made)
    return made, _inode(url)


def _file(url: sa.URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _inode(url: sa.URL) -> int | None:
    """Return what tells a store's file from another one that takes its place; None where there is no file."""
    file = _file(url)
    try:
        return None if file is None else file.stat().st_ino
    except OSError:
        return None


def _revision(made: sa.Engine) -> str | None:
    """Return the revision a store is at; None for one that was never migrated."""
    with made.connect() as connection:
        try:
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        except (OperationalError, ProgrammingError) as error:
            text = str(error.orig).lower()
            if "no such table" in text or "does not exist" in text:
                return None
            raise


def _migrate(url: sa.URL) -> None:
    """Bring a store to ``HEAD`` in one transaction; processes that come at the same time wait and find it done."""
    from alembic import command  # noqa: PLC0415  (slow to import, and rarely needed)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    made = sa.create_engine(url, poolclass=sa.NullPool)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(made, "connect", _prepare_sqlite)
        sa.event.listen(made, "connect", _leave_transactions_to_us)
        sa.event.listen(made, "begin", _begin_immediate)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with made.begin() as connection:
            if url.get_backend_name() == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise EnvironmentFault(
            f"{url.render_as_string()}: the store was written by a newer release ({error}); update crmlib"
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: Any) -> None:
    # SQLite does not wait for others while it changes the journal mode, so the first openers of a store must.
    for last in [False] * (100 * _BUSY_SECONDS) + [True]:
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except connection.OperationalError as error:
            if "locked" not in str(error) or last:
                raise
            time.sleep(0.01)


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else the driver commits before and after each CREATE TABLE


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _faults(url: sa.URL) -> Iterator[None]:
    shown = url.render_as_string()
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{shown}: cannot be opened ({error.strerror}); make the folder writable or choose another with --data"
        ) from error
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise EnvironmentFault(
            f"{shown}: the operational store cannot be opened ({reason}); see that it is there, writable and not "
            "damaged, or put it back from a backup"
        ) from error
