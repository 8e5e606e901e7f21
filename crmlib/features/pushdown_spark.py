"""Spark as an engine of features: the statement for DuckDB, transpiled by sqlglot, over Parquet files or a catalog."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import CrmError, DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.features import pushdown_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from sqlglot import exp

# ruff: noqa: PLC0415 - the packages of the extra "spark" are imported by those who use it

ROWS = 5_000
"""Customers made into a batch at a time."""

PATIENCE_SECONDS = 300.0
"""How long a cluster may take to begin its first task."""

_OPTIONS: dict[str, Any] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # an overflow is an error, as in every other engine
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "OFF",
}


@dataclass(frozen=True)
class Spark:
    """A session on a cluster; ``folder`` of Parquet files with the tables, else they are in the session's schema."""

    session: SparkSession
    name: str
    folder: Path | None = None
    _seen: dict[str, set[str] | None] = field(default_factory=dict, repr=False)

    def columns(self, table: str) -> set[str] | None:
        """Return the names of a table's columns; None where it is not there. Files become a view of that name."""
        if table not in self._seen:
            with _sentences(self.name):
                self._seen[table] = self._columns(table)
        return self._seen[table]

    def _columns(self, table: str) -> set[str] | None:
        if self.folder is not None:
            places = [place for place in (self.folder / f"{table}.parquet", self.folder / table) if place.exists()]
            if not places:
                return None
            # Absolute, for the workers have working folders of their own.
            self.session.read.parquet(places[0].absolute().as_uri()).createOrReplaceTempView(table)
        elif not self.session.catalog.tableExists(table):
            return None
        return set(self.session.table(table).columns)

    def probe(self, table: str, columns: Iterable[str]) -> None:
        """Raise EnvironmentFault where the columns may not be read."""
        with _sentences(self.name, table):
            self.session.table(table).select(*columns).limit(0).collect()  # planned, and with that allowed, but not run

    def rows(self, select: Any) -> list[Any]:
        """Return the rows of a small answer."""
        with _sentences(self.name):
            return [tuple(row) for row in self.session.sql(text(select)).collect()]

    def batches(self, select: sa.Select[Any], shape: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows by customer_id; a partition of the answer at a time is held here."""
        key: sa.ColumnElement[Any] = next(iter(select.selected_columns))
        with _sentences(self.name):
            rows = self.session.sql(text(select.order_by(key))).toLocalIterator(prefetchPartitions=True)
            while part := [tuple(row) for row in islice(rows, ROWS)]:
                yield pushdown_rows.batch(part, shape)


def text(select: Any) -> str:
    """Return a select in the words of Spark.

    >>> print(text(sa.select(sa.literal("it's").label("a"))))
    SELECT 'it\\'s' AS a
    """
    import sqlglot
    from duckdb_sqlalchemy import Dialect

    compiled = select.compile(dialect=Dialect(paramstyle="named"), compile_kwargs={"literal_binds": True})
    tree = sqlglot.parse_one(str(compiled), read="duckdb")
    return tree.transform(_days).sql(dialect="spark")


def _days(node: exp.Expression) -> exp.Expression:
    """Write the days between two dates as a number, for Spark's difference of dates is an interval."""
    from sqlglot import exp

    if isinstance(node, exp.Sub) and _is_date(node.this) and _is_date(node.expression):
        return exp.cast(exp.DateDiff(this=node.this, expression=node.expression, unit=exp.var("DAY")), "bigint")
    return node


def _is_date(node: exp.Expression) -> bool:
    from sqlglot import exp

    return isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.DATE


@contextmanager
def opened(address: str, *, tables: str = "") -> Iterator[Spark]:
    """Start a session on a standalone cluster and stop it at the end; errors as of ``pushdown.opened``."""
    host, port = _place(address)
    folder = Path(tables) if tables and ("/" in tables or Path(tables).exists()) else None
    if folder is not None and not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no such folder of Parquet files; check the name")
    try:
        import sqlglot  # noqa: F401 - said now, not after the session has started
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EnvironmentFault(
            f"{address}: {error.name} is not installed; write `pip install 'crmlib[spark]'`"
        ) from error
    _reach(host, port, address)
    with _sentences(address), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")  # data frames are not used
        session = SparkSession.builder.master(address).appName("crm features").config(map=_OPTIONS).getOrCreate()
        try:
            _begin(session, address)
            _enter(session, tables if folder is None else "", address)
        except BaseException:
            session.stop()
            raise
    try:
        yield Spark(session, address, folder)
    finally:
        session.stop()


def _enter(session: SparkSession, name: str, address: str) -> None:
    """Go to a schema of the catalog, if one is named."""
    if name and not session.catalog.databaseExists(name):
        raise NotFoundError(f"{address}: the catalog has no schema {name}, and there is no such folder")
    if name:
        session.catalog.setCurrentDatabase(name)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("spark://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(
            f"{address} is no address of a Spark master; write spark://HOST:PORT, for example spark://a:7077"
        )
    return host, int(port)


def _reach(host: str, port: int, address: str) -> None:
    # Spark itself would try for a minute and then print a page.
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise EnvironmentFault(
            f"{address}: no connection ({error.strerror or error}); check host and port, and that the master runs"
        ) from error


def _begin(session: SparkSession, address: str) -> None:
    """Run a first small task; raises EnvironmentFault where no worker takes it in time."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        session.sparkContext.cancelAllJobs()

    timer = threading.Timer(PATIENCE_SECONDS, give_up)
    timer.start()
    try:
        session.range(1).count()
    except Exception as error:
        if not late.is_set():
            raise
        raise EnvironmentFault(
            f"{address}: no worker took a task within {PATIENCE_SECONDS:.0f} seconds; start workers, or free some cores"
        ) from error
    finally:
        timer.cancel()


@contextmanager
def _sentences(name: str, table: str = "") -> Iterator[None]:
    """Say in one sentence what Spark refused."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except CrmError:
        raise
    except (PySparkException, Py4JError) as error:
        raise _fault(error, name, table) from error


def _fault(error: Exception, name: str, table: str) -> CrmError:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
    if "JAVA_GATEWAY_EXITED" in said:
        return EnvironmentFault(
            f"{name}: Spark needs Java 17 or newer on this machine, and none was started; install it"
        )
    rights = ("Permission denied", "AccessControl", "INSUFFICIENT_PRIVILEGES", "PERMISSION")
    if any(word.lower() in str(error).lower() for word in rights):
        return EnvironmentFault(f"{name}: no right to read {f'table {table}' if table else 'the tables'} ({said})")
    return DataError(f"{name}: Spark could not compute the features ({said}); nothing was written")
