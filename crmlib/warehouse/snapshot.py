"""Reading a warehouse version: as it stands, and as it was known at a date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.warehouse import company as companies
from crmlib.warehouse import engine, schema

READ_ONLY = {"enable_external_access": "false", "lock_configuration": "true", "memory_limit": "3GB"}
"""How versions are opened. Unless it is told otherwise the engine keeps all it has read until four fifths of the machine's
memory are full; several processes side by side, each with a version of a million customers, would not leave any."""


EARLIEST, LATEST = dt.date(1800, 1, 1), dt.date(2200, 1, 1)
"""The first and last day that is taken for a date of the company's, not for a placeholder."""


def cutoff(as_of: dt.date) -> dt.datetime:
    """Return the UTC moment before which things count as known at ``as_of``: midnight after that day.

    >>> cutoff(dt.date(2025, 3, 31))
    datetime.datetime(2025, 4, 1, 0, 0)
    """
    return dt.datetime.combine(as_of + dt.timedelta(days=1), dt.time())


def parse_date(value: str | dt.date) -> dt.date:
    """Return the date given as text (YYYY-MM-DD), date or datetime.

    Raises DataError for anything else, and for years before 1800 or after 2200, in which nothing is known.

    >>> parse_date("2025-03-31")
    datetime.date(2025, 3, 31)
    """
    day = value.date() if isinstance(value, dt.datetime) else value
    if not isinstance(day, dt.date):
        try:
            day = dt.date.fromisoformat(str(value))
        except ValueError as error:
            raise DataError(
                f"as_of is {value!r}, which is not a date; write it as YYYY-MM-DD, for example 2025-03-31"
            ) from error
    if not EARLIEST <= day <= LATEST:
        raise DataError(f"as_of is {day}; give a day between {EARLIEST} and {LATEST}")
    return day


def moment(column: sa.ColumnElement[Any], at: dt.datetime) -> Any:
    """Return ``at`` as the type of ``column``: a date column counts as midnight of its day."""
    return at.date() if isinstance(column.type, sa.Date) else at


def known(table: sa.Table, as_of: dt.date, *, system: tuple[str, ...] = (), contact: bool = True) -> sa.Select[Any]:
    """Return the select of a canonical table's rows as they were known at ``as_of``.

    Rows: those recorded and happened before ``cutoff(as_of)`` and not yet superseded then; of a dated table the last of
    each entity. Columns: those a source fills, with those marked ``known_from`` masked, and the ``system`` columns
    named; without names, addresses and the like unless ``contact``, so that who may not read them can still ask for the
    rest. Works on any engine that holds the canonical tables.
    """
    source = history(table, as_of, system=system, contact=contact)
    if table.info["kind"] != "dated":
        return source
    rows = source.subquery(f"{table.name}_known")
    order = [rows.c[table.info["happened"]].desc()]
    rank = sa.func.row_number().over(partition_by=[rows.c[name] for name in schema.entity_key(table)], order_by=order)
    ranked = sa.select(*rows.c, rank.label("rank_")).subquery(f"{table.name}_ranked")
    return sa.select(*[column for column in ranked.c if column.name != "rank_"]).where(ranked.c.rank_ == 1)


def history(table: sa.Table, as_of: dt.date, *, system: tuple[str, ...] = (), contact: bool = True) -> sa.Select[Any]:
    """Return the select of all rows known at ``as_of``; of a dated table every dated row, not only the last."""
    at = cutoff(as_of)
    columns: list[sa.ColumnElement[Any]] = []
    for column in schema.source_columns(table):
        if not contact and column.info["sensitivity"] in ("contact", "special"):
            continue
        reveal = column.info["known_from"]
        if reveal:
            shown = table.c[reveal] < moment(table.c[reveal], at)
            columns.append(sa.case((shown, column), else_=sa.null()).label(column.name))
        else:
            columns.append(column)
    columns.extend(table.c[name] for name in system)
    conditions = [
        table.c.recorded_at < at,
        sa.or_(table.c.superseded_at.is_(None), table.c.superseded_at >= at),
    ]
    if table.info["happened"]:
        happened = table.c[table.info["happened"]]
        conditions.append(happened < moment(happened, at))
    return sa.select(*columns).where(*conditions)


def frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a data frame: dates as datetime64, integers and booleans with gaps as nullable types."""
    types = [pa.timestamp("us") if pa.types.is_date(type_) else type_ for type_ in table.schema.types]
    result = table.cast(pa.schema(list(zip(table.schema.names, types, strict=True))))
    text = {pa.string(): pd.StringDtype(na_value=np.nan)}
    with_gaps = {**text, pa.bool_(): pd.BooleanDtype(), pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
    out = {}
    for name, column in zip(result.column_names, result.columns, strict=True):
        out[name] = column.to_pandas(types_mapper=(with_gaps if column.null_count else text).get)
    return pd.DataFrame(out)


@dataclass(frozen=True)
class Warehouse:
    """One version of a warehouse, opened for reading.

    Attributes: ``path`` the version's file, ``version`` its number, ``company`` the company file it was built with;
    ``database`` keeps the file open, so that it stays readable when its version is pruned.
    """

    path: Path
    version: int
    company: companies.Company
    database: duckdb.DuckDBPyConnection = field(repr=False, compare=False)

    @cached_property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine over the version's file, read-only and without reach to other files."""
        arguments = {"read_only": True, "config": dict(READ_ONLY)}
        return sa.create_engine(sa.URL.create("duckdb", database=str(self.path)), connect_args=arguments)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new read-only DuckDB connection, for code that works below SQLAlchemy; closing it is the caller's."""
        return self.database.cursor()

    @contextmanager
    def scan(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection as ``connect`` does, and close it; raises EnvironmentFault where the file is damaged."""
        try:
            with self.connect() as connection:
                yield connection
        # An OSError is what damage in the midst of an Arrow stream comes out as.
        except (duckdb.IOException, duckdb.FatalException, OSError) as error:
            if "No space left" in str(error):
                raise EnvironmentFault(
                    f"{self.path}: reading it needs more room on the disk than there is; free some"
                ) from error
            raise EnvironmentFault(
                f"{self.path}: damaged ({str(error).splitlines()[0]}); put it back from a backup, or serve another "
                "version (`crm versions`)"
            ) from error

    def arrow(self, statement: sa.sql.expression.Executable) -> pa.Table:
        """Run a select and return its rows as an Arrow table; raises EnvironmentFault where the file is damaged."""
        compiled = statement.compile(self.engine, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
        given = compiled.params  # computed anew at each access
        values = [given[name] for name in compiled.positiontup or []]
        with self.scan() as connection:
            return connection.execute(str(compiled), values).to_arrow_table()

    def read(self, statement: sa.sql.expression.Executable) -> pd.DataFrame:
        """Run a select and return its rows as a data frame."""
        return frame(self.arrow(statement))

    def table(self, name: str) -> pd.DataFrame:
        """Return the current rows of a canonical table, without the system columns."""
        table = _table(name)
        return self.read(sa.select(*schema.source_columns(table)).where(table.c.superseded_at.is_(None)))

    @cached_property
    def period(self) -> tuple[dt.date, dt.date] | None:
        """First and last day on which an event happened that is recorded here; None for a warehouse without events.

        What is announced ahead (campaigns, policies) does not count.
        """
        parts = []
        for table in schema.tables().values():
            if table.info["kind"] == "event" and table.name not in schema.ANNOUNCED:
                happened = sa.cast(table.c[table.info["happened"]], sa.Date)
                parts.append(sa.select(sa.func.min(happened).label("first"), sa.func.max(happened).label("last")))
        union = sa.union_all(*parts).subquery("periods")
        found = self.arrow(sa.select(sa.func.min(union.c.first), sa.func.max(union.c.last))).to_pylist()[0]
        first, last = found.values()
        return None if first is None else (first, last)

    def snapshot(self, as_of: str | dt.date) -> Snapshot:
        """Return what this version knew at the end of the day ``as_of`` (UTC).

        Raises DataError where ``as_of`` is not a date, or lies before the first or after the last record.
        """
        day = parse_date(as_of)
        if self.period is None:
            raise DataError(
                f"as_of {day}: version {self.version} of the warehouse holds no events; load some data first"
            )
        first, last = self.period
        if not first <= day <= last:
            raise DataError(
                f"as_of {day} is outside the records of version {self.version}, which run from {first} to {last}"
            )
        return Snapshot(self, day)


@dataclass(frozen=True)
class Snapshot:
    """What one warehouse version knew at the end of a day.

    Attributes: ``warehouse`` the version; ``as_of`` the day.
    """

    warehouse: Warehouse
    as_of: dt.date

    def select(self, name: str) -> sa.Select[Any]:
        """Return the select of a table's rows as known at ``as_of`` (see ``known``)."""
        return known(_table(name), self.as_of)

    def table(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """Return a table's rows as known at ``as_of``, all columns but the system columns or those named.

        Raises NotFoundError for an unknown table or column.
        """
        rows = self.select(name).subquery("known")
        missing = [column for column in columns or [] if column not in rows.c]
        if missing:
            raise NotFoundError(f"table {name} has no column {', '.join(missing)}; it has {', '.join(rows.c.keys())}")
        return self.warehouse.read(sa.select(*[rows.c[column] for column in columns or rows.c.keys()]))

    def history(self, name: str) -> pd.DataFrame:
        """Return every dated row of a table known at ``as_of``, not only the last of each entity."""
        return self.warehouse.read(history(_table(name), self.as_of))


def _table(name: str) -> sa.Table:
    try:
        return schema.tables()[name]
    except KeyError:
        raise NotFoundError(f"there is no table {name}; there are {', '.join(schema.tables())}") from None


def open_file(path: Path) -> Warehouse:
    """Open one version's file.

    Raises NotFoundError for a missing file, EnvironmentFault for one that is damaged, half written or of a newer format.
    """
    if not path.exists():
        raise NotFoundError(f"{path}: no such warehouse version; see `crm versions`")
    try:
        database = engine.connect(path, read_only=True, **READ_ONLY)
        meta = dict(database.execute("SELECT key, value FROM meta").fetchall())
        found = int(meta["format_version"])
    except (duckdb.Error, KeyError, ValueError) as error:
        raise EnvironmentFault(
            f"{path}: not a complete warehouse version ({str(error).splitlines()[0]}); open another one (`crm versions`) or load again"
        ) from error
    if found != schema.FORMAT_VERSION:
        raise EnvironmentFault(
            f"{path}: format {found}, this release reads format {schema.FORMAT_VERSION}; load the sources again or use the release that wrote it"
        )
    return Warehouse(path, int(meta["version"]), companies.from_json(meta["company"]), database)
