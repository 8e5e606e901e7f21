"""Features computed where the tables are, and brought home into one Parquet file: the engines behind ``crm features``.

A database (PostgreSQL, DuckDB, SQLite) or a Spark cluster that holds the canonical tables computes the same statement
(``features.sql``); nothing is written there. What comes back is written as it comes, so that memory does not grow with
the number of customers.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from tqdm import tqdm

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.features import levels, plan, pushdown_database, pushdown_spark, spec, sql
from crmlib.features.build import build, resolve
from crmlib.features.default import DEFAULT
from crmlib.features.pushdown_rows import shape
from crmlib.features.spec import Declaration, Specification, closest
from crmlib.store import files
from crmlib.warehouse.snapshot import Snapshot, parse_date

ROW_GROUP = 50_000
"""Customers in a row group of the file: what is held in memory, and what one part of a cluster takes later."""

KEY = b"crm_specification"
"""Where the file keeps the resolved specification, so that later features can be made alike."""


class Engine(Protocol):
    """Something that holds the canonical tables and runs a select; ``name`` is its address without a password."""

    @property
    def name(self) -> str:
        """The address, as it may be shown."""

    def columns(self, table: str) -> set[str] | None:
        """Return the names of a table's columns; None where it is not there."""

    def probe(self, table: str, columns: Iterable[str]) -> None:
        """Raise EnvironmentFault where the columns may not be read."""

    def rows(self, select: Any) -> list[Any]:
        """Return the rows of a small answer."""

    def batches(self, select: sa.Select[Any], shape: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a large answer by customer_id in parts of the given shape, without holding them all."""


@dataclass(frozen=True)
class Written:
    """What was written: the ``file``, how many ``customers`` and ``features``, and the resolved ``specification``."""

    file: Path
    customers: int
    features: int
    specification: Specification


def opened(address: str, *, tables: str = "") -> AbstractContextManager[Engine]:
    """Open the engine at an address: postgresql://…, duckdb:///FILE, sqlite:///FILE or spark://HOST:PORT.

    ``tables`` is for Spark: the folder of Parquet files or the schema of the catalog that holds the tables. Raises
    UsageError for another address, NotFoundError for a missing file, EnvironmentFault where there is no connection.
    """
    if address.partition("://")[0] == "spark":
        return pushdown_spark.opened(address, tables=tables)
    if tables:
        raise UsageError("tables are named for Spark only; a database is asked for its own, in the URL's schema")
    return pushdown_database.opened(address)


def write(
    engine: Engine,
    as_of: str | dt.date,
    declared: Iterable[Declaration] = DEFAULT,
    *,
    to: Path,
    progress: bool = False,
) -> Written:
    """Have an engine compute the features of every customer as of a day and write them to a Parquet file.

    Out: a row per customer as of ``features.build``, by customer_id; gaps are nulls, categories texts. The file appears
    when it is complete. Raises NotFoundError for a missing table, column or level, EnvironmentFault for a table that may
    not be read or an engine that failed.
    """
    day = parse_date(as_of)
    declared = tuple(declared)
    check(engine, declared, day)
    fixed = levels.resolve(declared, day, engine.rows)
    features = plan.expand(fixed)
    everyone = sql.statement([], day).subquery("everyone")
    total = engine.rows(sa.select(sa.func.count()).select_from(everyone))[0][0]
    parts = engine.batches(sql.statement(features, day), shape(features))
    return _write(parts, day, fixed, to=to, total=total, progress=progress)


def write_local(
    snapshot: Snapshot, declared: Iterable[Declaration] = DEFAULT, *, to: Path, progress: bool = False
) -> Written:
    """Write the features of the local kernel as ``write`` writes those of an engine."""
    fixed = resolve(declared, snapshot)
    features = plan.expand(fixed)
    frame = build(snapshot, fixed).drop(columns="as_of")
    frame = frame.astype({feature.name: "str" for feature in features if feature.dtype == "category"})
    table = pa.Table.from_pandas(frame, schema=shape(features), preserve_index=False)
    return _write(table.to_batches(), snapshot.as_of, fixed, to=to, total=len(frame), progress=progress)


def specification(file: Path) -> Specification:
    """Return the specification kept in a JSON file of ``features.to_json`` or in a Parquet file of ``write``.

    Raises NotFoundError for a missing file, UsageError for one that holds no specification.
    """
    if not file.is_file():
        raise NotFoundError(f"{file}: there is no such file; write a specification with features.to_json")
    if file.suffix != ".parquet":
        try:
            return spec.from_json(file.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise UsageError(f"{file}: no text in UTF-8; write a specification with features.to_json") from error
    try:
        kept = (pq.read_schema(file).metadata or {}).get(KEY)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{file}: not a readable Parquet file; make it again with `crm features`") from error
    if kept is None:
        raise UsageError(f"{file}: holds no specification; only files of `crm features` do")
    return spec.from_json(kept.decode())


def check(engine: Engine, declared: Iterable[Declaration], as_of: dt.date) -> None:
    """Raise NotFoundError naming a table or column that the features need and the engine lacks, or may not read."""
    selects: list[Any] = []

    def note(select: Any) -> list[Any]:
        selects.append(select)
        return []

    levels.resolve(declared, as_of, note)
    selects.append(sql.statement(plan.expand(declared), as_of))
    for table, columns in sorted(_used(selects).items()):
        there = engine.columns(table)
        if there is None:
            raise NotFoundError(
                f"{engine.name}: there is no table {table}; the features need it: create it, or a view of that name, or "
                "leave its features out of the specification"
            )
        missing = sorted(columns - there)
        if missing:
            raise NotFoundError(
                f"{engine.name}: table {table} has no column {missing[0]}{closest(missing[0], sorted(there))}; the canonical "
                "tables have every column of docs/schema.md, empty where there is nothing to fill them with"
            )
        engine.probe(table, sorted(columns))


def _used(selects: Iterable[Any]) -> dict[str, set[str]]:
    """Return the canonical tables that selects read, each with its columns."""
    found: dict[str, set[str]] = {}
    for element in chain.from_iterable(sa.sql.visitors.iterate(select, {}) for select in selects):
        if isinstance(element, sa.Column) and isinstance(element.table, sa.Table):
            found.setdefault(element.table.name, set()).add(element.name)
    return found


def _write(
    parts: Iterable[pa.RecordBatch],
    as_of: dt.date,
    fixed: Specification,
    *,
    to: Path,
    total: int,
    progress: bool,
) -> Written:
    """Write the parts in row groups of the same size under another name, then rename."""
    count, groups = 0, 0
    with files.reporting(to, option="--to"), _staged(to) as staged:
        writer: pq.ParquetWriter | None = None
        with tqdm(total=total, unit=" customers", desc="features", disable=not progress) as bar:
            try:
                for table in _groups(parts):
                    dated = _dated(table, as_of, fixed)
                    writer = writer or pq.ParquetWriter(staged, dated.schema)
                    writer.write_table(dated, row_group_size=ROW_GROUP)
                    count, groups = count + len(table), groups + 1
                    bar.update(len(table))
            finally:
                if writer is not None:
                    writer.close()
        if not groups:
            raise DataError(f"no customer is known and not closed as of {as_of}; take another day")
    return Written(to, count, len(plan.expand(fixed)), fixed)


@contextmanager
def _staged(to: Path) -> Iterator[Path]:
    """Yield a file to write that takes the place of ``to`` if all goes well, and disappears if not."""
    to.parent.mkdir(parents=True, exist_ok=True)
    staged = files.temporary(to.parent, to.name)
    try:
        yield staged
        files.sync(staged)
        staged.replace(to)
        files.sync(to.parent)
    finally:
        staged.unlink(missing_ok=True)


def _groups(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of ``ROW_GROUP`` rows, the last with fewer."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += part.num_rows
        while rows >= ROW_GROUP:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, ROW_GROUP)
            waiting, rows = table.slice(ROW_GROUP).to_batches(), rows - ROW_GROUP
    if rows:
        yield pa.Table.from_batches(waiting)


def _dated(table: pa.Table, as_of: dt.date, fixed: Specification) -> pa.Table:
    days = pa.array(pd.Series(pd.Timestamp(as_of)).repeat(len(table)), pa.timestamp("us"))
    kept = {KEY: spec.to_json(fixed).encode(), b"crm_as_of": json.dumps(str(as_of)).encode()}
    return table.add_column(1, "as_of", days).replace_schema_metadata(kept)
