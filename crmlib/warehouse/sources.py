"""Where rows come from: files and database tables, brought as they are into a staging file."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse import delimited
from crmlib.warehouse.mapping import FileMapping, Section, closest, original
from crmlib.warehouse.reading import literal

ROWS = 50_000
"""Database rows fetched at a time."""

PARQUET_END = (".parquet", ".pq")


@dataclass(frozen=True)
class Source:
    """A file or a database table that feeds some sections of the mapping.

    Attributes: ``name`` what people call it, without folder and password; ``kind`` csv, parquet or table; ``path`` or
    ``url`` where it is; ``plain`` whether its texts are ISO dates and decimal points whatever the mapping says.
    """

    name: str
    kind: str
    sections: tuple[Section, ...]
    path: Path | None = None
    url: sa.URL | None = None
    plain: bool = False

    def wanted(self) -> dict[str, str]:
        """Return the columns it must have and what each fills."""
        found: dict[str, str] = {}
        for section in self.sections:
            found = {**section.wanted(), **found}
        return found


@dataclass(frozen=True)
class Staged:
    """A source in the staging file.

    Attributes: ``number`` of the source, from which its relations have their names; ``columns`` source column ->
    (column of the relation, DuckDB type); ``form`` how the file was written (None but for delimited files);
    ``sha256`` of the content; ``refused`` how many lines are in the relation of refused lines.
    """

    source: Source
    number: int
    columns: dict[str, tuple[str, str]]
    form: delimited.Layout | None
    sha256: str
    rows: int
    refused: int

    @property
    def raw(self) -> str:
        """The relation of rows: ``line`` and the columns."""
        return f"raw_{self.number}"

    @property
    def broken(self) -> str:
        """The relation of refused lines: line, rule, found, text."""
        return f"refused_{self.number}"


def find(given: Sequence[str | Path], mapping: FileMapping) -> list[Source]:
    """Return the sources among files, folders and database URLs that the mapping has sections for, in their order.

    Raises NotFoundError for what is not there, DataError for a file that no section matches.
    """
    found: list[Source] = []
    for one in given:
        if "://" in str(one):
            found.extend(_tables(str(one), mapping))
        else:
            found.extend(_files(Path(one), mapping))
    if not found:
        raise DataError("nothing to load: no file, folder or database URL was given")
    return found


def _files(path: Path, mapping: FileMapping) -> Iterator[Source]:
    patterns = sorted({pattern for section in mapping.sections for pattern in section.files})
    if path.is_dir():
        matching = [file for file in sorted(path.iterdir()) if file.is_file() and mapping.matching(file.name)]
        if not matching:
            raise DataError(f"{path}: no file in this folder matches {mapping.name} ({', '.join(patterns)})")
    elif path.is_file():
        matching = [path]
    else:
        raise NotFoundError(f"{path}: there is no such file; check the name and the folder")
    for file in matching:
        sections = mapping.matching(file.name)
        if not sections:
            raise DataError(
                f"{file}: no section of {mapping.name} takes a file of this name; its files are "
                f"{', '.join(patterns)}{closest(file.name, patterns)}; add it to one of them or rename it"
            )
        if file.stat().st_size == 0:
            raise DataError(f"{file}: the file is empty; export it again, with a header line")
        parquet = file.suffix.lower() in PARQUET_END
        corrected = original(file.name)
        plain = corrected != file.name and not file.name.endswith(corrected)
        yield Source(file.name, "parquet" if parquet else "csv", tuple(sections), path=file, plain=plain)


def _tables(text: str, mapping: FileMapping) -> Iterator[Source]:
    try:
        url = sa.make_url(text)
        engine = sa.create_engine(url)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
            raise NotFoundError(f"{url.database}: there is no such database file; check the name and the folder")
        inspector = sa.inspect(engine)
        names = sorted({*inspector.get_table_names(), *inspector.get_view_names()})
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        shown = text.split("://", maxsplit=1)[0]
        raise DataError(
            f"cannot open the {shown} database ({_first_line(error)}); check the address, which looks like "
            "postgresql+psycopg://user@host/name or sqlite:///path/file.db, and that its driver is installed"
        ) from error
    shown = url.render_as_string(hide_password=True)
    fed = [name for name in names if mapping.matching(name)]
    if not fed:
        raise DataError(f"{shown}: no table there matches {mapping.name}; it has {', '.join(names[:20]) or 'none'}")
    for name in fed:
        yield Source(name, "table", tuple(mapping.matching(name)), url=url, plain=True)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stage(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    number: int,
    *,
    sha256: str,
    advance: Callable[[int], object],
) -> Staged:
    """Bring a source into the staging file; ``advance`` is told how many bytes (or rows of a database) were read.

    Raises DataError where the file cannot be read or lacks a column of the mapping.
    """
    connection.execute(f"CREATE TABLE refused_{number} (line BIGINT, rule VARCHAR, found VARCHAR, text VARCHAR)")
    if source.kind == "parquet":
        return _stage_parquet(connection, source, number, sha256=sha256, advance=advance)
    if source.kind == "table":
        return _stage_table(connection, source, number, advance=advance)
    return _stage_delimited(connection, source, number, sha256=sha256, advance=advance)


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Say in a DataError which source it is that the engine cannot read."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.IOException) as error:
        if source.kind != "parquet" or "No space left" in str(error):
            raise
        raise DataError(
            f"{source.path}: not a readable Parquet file ({_first_line(error)}); export it again"
        ) from error


def _stage_delimited(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    number: int,
    *,
    sha256: str,
    advance: Callable[[int], object],
) -> Staged:
    assert source.path is not None
    first = source.sections[0]
    settings = {"encoding": "", "delimiter": ""} if source.plain else _one_form(source, first)
    form = delimited.layout(source.path, wanted=source.wanted(), **settings)
    names = [f"c{position}" for position in range(len(form.header))]
    connection.execute(f"CREATE TABLE raw_{number} (line BIGINT, {', '.join(f'{name} VARCHAR' for name in names)})")
    position, refused = 0, 0
    for chunk in delimited.chunks(source.path, form):
        if len(chunk.lines):
            table = pa.Table.from_arrays([pa.array(chunk.lines), *chunk.columns], names=["line", *names])
            connection.register("chunk", table)
            connection.execute(f"INSERT INTO raw_{number} SELECT * FROM chunk")
            connection.unregister("chunk")
        if chunk.refused:
            _keep_refused(connection, number, chunk.refused)
        refused += len(chunk.refused)
        advance(chunk.position - position)
        position = chunk.position
    columns = {header: (name, "VARCHAR") for header, name in zip(form.header, names, strict=True)}
    return Staged(source, number, columns, form, sha256, _count(connection, number), refused)


def _one_form(source: Source, first: Section) -> dict[str, str]:
    """Return how a file is written, which all sections that read it must say alike."""
    for other in source.sections[1:]:
        for option in ("encoding", "delimiter"):
            if getattr(other, option) != getattr(first, option):
                raise DataError(
                    f"{source.name}: {first.label} and {other.label} both read this file but differ in {option}; "
                    "say the same in both"
                )
    return {"encoding": first.encoding, "delimiter": first.delimiter}


def _keep_refused(connection: duckdb.DuckDBPyConnection, number: int, refused: list[delimited.Refused]) -> None:
    # What could not be decoded travels as the characters U+F780 to U+F7FF, since Arrow holds no lone surrogates.
    private = {code: code - 0xDC00 + 0xF700 for code in range(0xDC80, 0xDD00)}
    arrays = {
        "line": pa.array([row.line for row in refused], pa.int64()),
        "rule": pa.array([row.rule for row in refused], pa.string()),
        "found": pa.array([row.found.translate(private) for row in refused], pa.string()),
        "text": pa.array([row.text.translate(private) for row in refused], pa.string()),
    }
    connection.register("chunk", pa.table(arrays))
    connection.execute(f"INSERT INTO refused_{number} SELECT * FROM chunk")
    connection.unregister("chunk")


def as_written(text: str) -> str:
    """Return the text of a refused line as ``delimited.open_text`` reads and writes it."""
    return text.translate({code - 0xDC00 + 0xF700: code for code in range(0xDC80, 0xDD00)})


def _stage_parquet(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    number: int,
    *,
    sha256: str,
    advance: Callable[[int], object],
) -> Staged:
    assert source.path is not None
    quoted = literal(str(source.path.absolute()))
    described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({quoted})").fetchall()
    columns = {name: (f"c{position}", kind) for position, (name, kind, *_) in enumerate(described)}
    _check_columns(source, list(columns))
    listed = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" AS {column}' for name, (column, _) in columns.items())
    connection.execute(
        f"CREATE VIEW raw_{number} AS SELECT file_row_number + 1 AS line, {listed} "
        f"FROM read_parquet({quoted}, file_row_number = true)"
    )
    advance(source.path.stat().st_size)
    return Staged(source, number, columns, None, sha256, _count(connection, number), 0)


def _stage_table(
    connection: duckdb.DuckDBPyConnection, source: Source, number: int, *, advance: Callable[[int], object]
) -> Staged:
    assert source.url is not None
    engine = sa.create_engine(source.url)
    headers = [column["name"] for column in sa.inspect(engine).get_columns(source.name)]
    _check_columns(source, headers)
    names = [f"c{position}" for position in range(len(headers))]
    connection.execute(f"CREATE TABLE raw_{number} (line BIGINT, {', '.join(f'{name} VARCHAR' for name in names)})")
    # Plain columns without types: SQLAlchemy would stop at the first date that is none.
    select: Any = sa.select(*[sa.column(header) for header in headers]).select_from(sa.table(source.name))
    content = hashlib.sha256(repr(headers).encode())
    line = 1
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=ROWS) as database:
            for part in database.execute(select).partitions():
                texts = [[_plain_text(value) for value in row] for row in part]
                arrays = [pa.array(column, pa.string()) for column in zip(*texts, strict=True)]
                lines = pa.array(range(line, line + len(part)), pa.int64())
                connection.register("chunk", pa.Table.from_arrays([lines, *arrays], names=["line", *names]))
                connection.execute(f"INSERT INTO raw_{number} SELECT * FROM chunk")
                connection.unregister("chunk")
                content.update(repr(texts).encode("utf-8", "surrogatepass"))
                line += len(part)
                advance(len(part))
    except sa.exc.SQLAlchemyError as error:
        raise DataError(f"table {source.name} of the database cannot be read ({_first_line(error)})") from error
    finally:
        engine.dispose()
    columns = {header: (name, "VARCHAR") for header, name in zip(headers, names, strict=True)}
    return Staged(source, number, columns, None, content.hexdigest(), line - 1, 0)


def _plain_text(value: Any) -> str | None:
    """Return a database's value as text: ISO dates and times (UTC where they know their zone), decimal points."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _check_columns(source: Source, there: list[str]) -> None:
    for name, fills in source.wanted().items():
        if name not in there:
            raise DataError(
                f"{source.path or source.name}: there is no column {name!r} (for {fills}); it has {len(there)}: "
                f"{', '.join(there[:20])}; correct the mapping or the file{closest(name, there)}"
            )


def _count(connection: duckdb.DuckDBPyConnection, number: int) -> int:
    found = connection.execute(f"SELECT count(*) FROM raw_{number}").fetchone()
    assert found is not None
    return int(found[0])


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def with_digests(found: Sequence[Source]) -> list[tuple[Source, str]]:
    """Return each source with the SHA-256 of its file, "" for a database table, which is known once it was read."""
    return [(source, digest(source.path) if source.path else "") for source in found]
