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
_PUBLISHING_LOCK = 0x63726D70  # PostgreSQL: so do those that give files their names

# SQLite's codes of what a machine refuses, without the bits that say where; and PostgreSQL's classes of them.
_SQLITE_FAULTS = {
    13: "no space is left on the disk; free some (`crm versions prune` removes old versions), then try again",
    10: "the disk reported an error; check it before anything else",
    8: "it may not be written; give yourself the right to write or choose another folder with --data",
    14: "it cannot be opened; see that it is there and that you may write it",
    11: "it is damaged; put it back from a backup",
    26: "it is damaged; put it back from a backup",
    5: "others kept it busy for too long; try again",
    6: "others kept it busy for too long; try again",
}
_POSTGRESQL_FAULTS = {
    "08": "the connection was lost; see that the database server runs, then try again",
    "53": "the database server has no room or memory left; free some, then try again",
    "57": "the database server ended the connection; see that it runs, then try again",
    "58": "the database server met an error of its machine; see its log, then try again",
}


class StoreFault(EnvironmentFault):
    """The machine refused the store, or the connection to it was lost; ``reason`` is what the database said."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


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


@contextmanager
def publishing(data: Path) -> Iterator[Session]:
    """Hold the lock under which files get their names and the rows that point at them are written; commits at the end.

    Whoever holds it sees either both, the file and its row, or a file that will never have one.
    """
    with engine(data).connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PUBLISHING_LOCK)))
        with Session(bind=connection) as store:
            yield store
            store.flush()
        connection.commit()


@functools.lru_cache(maxsize=8)
def _engine(url: sa.URL, _process: int) -> tuple[sa.Engine, int | None]:
    # The process is part of the key because a connection must not be shared with a forked child.
    # A server may have been restarted since a connection was used last.
    made = sa.create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    with _faults(url):
        file = _file(url)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            sa.event.listen(made, "connect", _prepare_sqlite)
        if _revision(made) != HEAD:
            _migrate(url)
    fence.guard(made)
    sa.event.listen(made, "handle_error", functools.partial(_told, url))
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


def _told(url: sa.URL, context: sa.engine.ExceptionContext) -> StoreFault | None:
    """Return what is raised where the machine refuses or the connection is lost; other errors stay what they are."""
    if context.is_pre_ping:  # the pool connects anew
        return None
    original = context.original_exception
    code, state = getattr(original, "sqlite_errorcode", None), getattr(original, "sqlstate", None)
    remedy = _SQLITE_FAULTS.get(code & 0xFF) if code else _POSTGRESQL_FAULTS.get(state[:2]) if state else None
    if remedy is None and (context.is_disconnect or (context.connection is None and not code)):
        remedy = _POSTGRESQL_FAULTS["08"]
    if remedy is None:
        return None
    reason = (str(original).strip().splitlines() or [type(original).__name__])[0]
    return StoreFault(f"{url.render_as_string()}: the operational store failed ({reason}): {remedy}", reason=reason)


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
