"""Databases as engines of features: PostgreSQL in a read-only transaction with a server-side cursor, DuckDB and SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import CrmError, DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.features import pushdown_rows
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import READ_ONLY

ROWS = 5_000
"""Customers fetched at a time."""

_KINDS = ("postgresql", "duckdb", "sqlite")
_LOGIN = ("28000", "28P01")
_RIGHTS = "42501"


@dataclass(frozen=True)
class Database:
    """A connection to a database with the canonical tables, in one transaction that only reads."""

    connection: sa.Connection
    name: str

    def columns(self, table: str) -> set[str] | None:
        """Return the names of a table's or view's columns; None where it is not there."""
        with _sentences(self.name):
            try:
                return {column["name"] for column in sa.inspect(self.connection).get_columns(table)}
            except sa.exc.NoSuchTableError:
                return None

    def probe(self, table: str, columns: Iterable[str]) -> None:
        """Raise EnvironmentFault where the columns may not be read."""
        known = schema.tables()[table]
        with _sentences(self.name, table):
            self.connection.execute(sa.select(*[known.c[name] for name in columns]).where(sa.false())).fetchall()

    def rows(self, select: Any) -> list[Any]:
        """Return the rows of a small answer."""
        with _sentences(self.name):
            return list(self.connection.execute(select))

    def batches(self, select: sa.Select[Any], shape: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows by customer_id, ``ROWS`` at a time."""
        key: sa.ColumnElement[Any] = next(iter(select.selected_columns))
        if self.connection.dialect.name == "postgresql":
            key = sa.collate(key, "C")  # byte by byte, as every other engine orders texts
        with _sentences(self.name):
            streamed = {"stream_results": True, "max_row_buffer": ROWS}
            answer = self.connection.execute(select.order_by(key), execution_options=streamed)
            for part in answer.partitions(ROWS):
                yield pushdown_rows.batch([tuple(row) for row in part], shape)


@contextmanager
def opened(address: str) -> Iterator[Database]:
    """Connect to the database at a URL, to read only; errors as of ``pushdown.opened``."""
    url = _url(address)
    name = _shown(url)
    engine = _file(url) if url.get_backend_name() != "postgresql" else sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with _sentences(name), engine.connect() as plain:
            connection = plain
            if url.get_backend_name() == "postgresql":
                # Levels and values of one state of the database, and its days those of UTC whatever the role's zone is.
                options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                connection = plain.execution_options(**options)
                connection.execute(sa.text("SET TIME ZONE 'UTC'"))
                # The server takes the customers who are left for a handful and compares each with every aggregate, row by
                # row; all joins here are of equal keys.
                connection.execute(sa.text("SET enable_nestloop = off"))
            yield Database(connection, name)
    finally:
        engine.dispose()


def _url(address: str) -> sa.URL:
    kind, written, _ = address.partition("://")
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        # What was given stays unsaid, for it may hold a password.
        raise UsageError(
            f"the address of the engine{f' ({kind[:12]}…)' if written else ''} is no URL; write postgresql://user@host/name, duckdb:///FILE, "
            "sqlite:///FILE or spark://HOST:PORT"
        ) from None
    if url.get_backend_name() not in _KINDS:
        raise UsageError(
            f"there is no engine {url.get_backend_name()!r}; there are {', '.join(_KINDS)} and spark, for example "
            "postgresql://user@host/name"
        )
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _shown(url: sa.URL) -> str:
    """Return an address with stars for the password and without options, which may hold one too."""
    return url.set(query={}, drivername=url.get_backend_name()).render_as_string()


def _file(url: sa.URL) -> sa.Engine:
    """Return the engine on a database file, read-only."""
    if not url.database or url.database == ":memory:":
        raise UsageError(f"{_shown(url)} names no file; write {url.get_backend_name()}:///FILE")
    path = Path(url.database)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such database file; check the name and the folder")
    if url.get_backend_name() == "duckdb":
        # What is too large for memory is put aside in a folder of ours, not beside a file that is somebody else's.
        arguments = {
            "read_only": True,
            "config": {**READ_ONLY, "temp_directory": str(Path(gettempdir()) / "crmlib_spill")},
        }
        return sa.create_engine(
            sa.URL.create("duckdb", database=str(path)), connect_args=arguments, poolclass=sa.NullPool
        )
    source = f"file:{quote(str(path.absolute()))}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(source, uri=True), poolclass=sa.NullPool)


@contextmanager
def _sentences(name: str, table: str = "") -> Iterator[None]:
    """Say in one sentence what a database refused."""
    try:
        yield
    except CrmError:
        raise
    except ImportError as error:
        raise EnvironmentFault(
            f"{name}: the driver {error.name} is not installed; write `pip install 'crmlib[postgres]'`"
        ) from error
    except sa.exc.DBAPIError as error:
        raise _fault(error, name, table) from error


def _fault(error: sa.exc.DBAPIError, name: str, table: str) -> CrmError:
    state = getattr(error.orig, "sqlstate", None)
    said = next((line.strip() for line in str(error.orig).splitlines() if line.strip()), type(error.orig).__name__)
    if state == _RIGHTS:
        return EnvironmentFault(
            f"{name}: no right to read {f'table {table}' if table else 'what the features need'} ({said}); have SELECT "
            "granted on it to this role"
        )
    if state in _LOGIN or "password" in said:
        return EnvironmentFault(
            f"{name}: the database refused the login; check user and password (PGPASSWORD or ~/.pgpass)"
        )
    if isinstance(error, sa.exc.OperationalError) and state is None:
        return EnvironmentFault(f"{name}: no connection ({said}); check host and port, and that the database runs")
    return DataError(f"{name}: the database could not compute the features ({said}); nothing was written")
