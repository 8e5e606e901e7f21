"""Where rows come from: files and database tables, read part by part and kept as they are beside the staging file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import sqlalchemy as sa

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.warehouse import databases, delimited
from crmlib.warehouse.mapping import FileMapping, Section, closest, original
from crmlib.warehouse.reading import literal

TOGETHER = 100_000
"""Rows of some lines that are looked at together."""

_WIDE_SPACES = ["\xa0".encode(), "\u1680".encode(), "\u2000".encode()[:2], "\u205f".encode(), "\u3000".encode()]
"""The spaces beside " " in UTF-8, the many of U+2000 to U+202F by their first two bytes."""

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
class Part:
    """Some rows of the source of this ``number``: a ``relation`` with ``line`` and the columns, which lives for a moment.

    ``columns`` says source column -> (column of the relation, DuckDB type); ``trimmed`` are columns of the relation
    without a space at the beginning or end of any cell, as far as is known.
    """

    source: Source
    number: int
    columns: dict[str, tuple[str, str]]
    relation: str
    trimmed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Staged:
    """A source that was read.

    Attributes: ``number`` of the source, from which its relations have their names; ``columns`` source column ->
    (column of a part, DuckDB type); ``form`` how the file was written (None but for delimited files); ``cells`` the
    file that keeps its rows as they were (a Parquet file is that itself); ``sha256`` of the content; ``refused`` how
    many lines are in the relation of refused lines.
    """

    source: Source
    number: int
    columns: dict[str, tuple[str, str]]
    form: delimited.Layout | None
    cells: Path
    sha256: str
    rows: int
    refused: int

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
            url, names = databases.matching(str(one), mapping)
            found += [Source(name, "table", tuple(mapping.matching(name)), url=url, plain=True) for name in names]
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


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; raises EnvironmentFault where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be read ({error.strerror or error}); see that this user may read it and that it is still there"
        ) from error


def stage(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    number: int,
    *,
    sha256: str,
    folder: Path,
    take: Callable[[Part], None],
    advance: Callable[[int], object],
) -> Staged:
    """Read a source part by part; ``take`` is given each, ``advance`` how many bytes (rows of a database) were read.

    Its rows are kept as they are in ``folder``, the lines that are no rows in a table of the connection. Raises
    DataError where the source cannot be read or lacks a column of the mapping.
    """
    connection.execute(f"CREATE TABLE refused_{number} (line BIGINT, rule VARCHAR, found VARCHAR, text BLOB)")
    if source.kind == "parquet":
        return _stage_parquet(connection, source, number, sha256=sha256, take=take, advance=advance)
    content = hashlib.sha256()
    form = None if source.kind == "table" else _layout(source)
    if form:
        headers, pieces = form.header, _delimited_pieces(source, form)
    else:
        assert source.url is not None
        headers = databases.columns(source.url, source.name)
        _check_columns(source, list(headers))
        pieces = databases.pieces(source.url, source.name, headers, content)
    names = [f"c{position}" for position in range(len(headers))]
    columns = {header: (name, "VARCHAR") for header, name in zip(headers, names, strict=True)}
    cells = folder / f"cells-{number}.arrow"
    rows, refused = 0, 0
    kept = pa.schema([("line", pa.int64()), *[(name, pa.string()) for name in names]])
    with (
        pa.OSFile(str(cells), "wb") as file,
        pa.ipc.new_stream(file, kept) as writer,
        _served(connection, "part", kept.empty_table()) as served,
    ):
        for arrays, broken, progress in pieces:
            table = pa.Table.from_arrays(arrays, schema=kept)
            if table.num_rows:
                writer.write_table(table)
                served.table = table
                take(Part(source, number, columns, "part", _trimmed(table)))
            if broken:
                _keep_refused(connection, number, broken)
            rows, refused = rows + table.num_rows, refused + len(broken)
            advance(progress)
    return Staged(source, number, columns, form, cells, sha256 or content.hexdigest(), rows, refused)


def _trimmed(table: pa.Table) -> frozenset[str]:
    """Return the text columns of which no cell begins or ends with a space, as the engine's trim understands it."""
    return frozenset(
        name for name in table.column_names if name != "line" and all(map(_no_spaces_around, table[name].chunks))
    )


def _no_spaces_around(cells: pa.Array) -> bool:
    _, offsets, content = cells.buffers()
    if content is None or not content.size:
        return True
    places = np.frombuffer(offsets, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    filled = places[1:] > places[:-1]
    data = np.frombuffer(content, np.uint8)
    edges = np.concatenate([data[places[:-1][filled]], data[places[1:][filled] - 1]])
    if (edges == ord(" ")).any():
        return False
    # Other spaces are of several bytes, and it is enough to know that there is none anywhere.
    raw = content.to_pybytes() if (edges >= 0x80).any() else b""
    return not any(space in raw for space in _WIDE_SPACES)


def lines_of(connection: duckdb.DuckDBPyConnection, staged: Staged, lines: np.ndarray) -> Iterator[Part]:
    """Yield the rows of a source on some lines (ascending), as they were, in parts that fit into memory."""
    if not len(lines):
        return
    if staged.source.kind == "parquet":
        with _served(connection, "wanted", pa.table({"line": lines})):
            rows = _parquet_rows(staged.cells, staged.columns)
            chosen = f"(SELECT * FROM ({rows}) WHERE line IN (SELECT line FROM wanted))"
            yield Part(staged.source, staged.number, staged.columns, chosen)
        return
    with (
        pa.OSFile(str(staged.cells)) as file,
        pa.ipc.open_stream(file) as reader,
        _served(connection, "part", reader.schema.empty_table()) as served,
    ):
        for table in _together(_on_lines(reader, lines)):
            served.table = table
            yield Part(staged.source, staged.number, staged.columns, "part")


def _on_lines(batches: Iterable[pa.RecordBatch], lines: np.ndarray) -> Iterator[pa.Table]:
    for batch in batches:
        there = batch.column("line").to_numpy()
        first, end = np.searchsorted(lines, [there[0], there[-1] + 1])
        if end > first:
            yield pa.Table.from_batches([batch]).take(pa.array(np.flatnonzero(np.isin(there, lines[first:end]))))


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield small tables as fewer large ones."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= TOGETHER:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


class _Served:
    """What a name stands for in SQL: one table after the other.

    A connection keeps every object that was given a name in a transaction until that ends, so that memory would grow with the
    file if each part were given one.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the table's rows, as Arrow's interface between libraries wants them."""
        return self.table.__arrow_c_stream__(requested_schema)


@contextmanager
def _served(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[_Served]:
    """Yield what stands behind a name: at first a table, and any of its kind that takes its place."""
    served = _Served(table)
    connection.register(name, served)
    try:
        yield served
    finally:
        connection.unregister(name)
        served.table = table.schema.empty_table()


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Say in a DataError which source it is that the engine cannot read."""
    try:
        yield
    except duckdb.Error as error:
        # What the reader of Parquet's own layout stumbles over comes as the bare class.
        reading = isinstance(error, duckdb.InvalidInputException | duckdb.IOException) or type(error) is duckdb.Error
        if source.kind != "parquet" or not reading or "No space left" in str(error):
            raise
        raise DataError(
            f"{source.path}: not a readable Parquet file ({databases.first_line(error)}); export it again"
        ) from error


_Piece = tuple[list[Any], list[delimited.Refused], int]
"""Arrays of the lines and the columns, refused lines, and how far the reading went on."""


def _layout(source: Source) -> delimited.Layout:
    assert source.path is not None
    settings = {"encoding": "", "delimiter": ""} if source.plain else _one_form(source, source.sections[0])
    return delimited.layout(source.path, wanted=source.wanted(), **settings)


def _delimited_pieces(source: Source, form: delimited.Layout) -> Iterator[_Piece]:
    assert source.path is not None
    position = 0
    for chunk in delimited.chunks(source.path, form):
        yield [pa.array(chunk.lines), *chunk.columns], chunk.refused, chunk.position - position
        position = chunk.position


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
    arrays = {
        "line": pa.array([row.line for row in refused], pa.int64()),
        "rule": pa.array([row.rule for row in refused], pa.string()),
        "found": pa.array([row.found for row in refused], pa.string()),
        # Bytes, since what could not be decoded is there as lone surrogates, which the engine's texts cannot hold.
        "text": pa.array([row.text.encode("utf-8", "surrogatepass") for row in refused], pa.binary()),
    }
    with _served(connection, "broken", pa.table(arrays)):
        connection.execute(f"INSERT INTO refused_{number} SELECT * FROM broken")


def as_written(text: bytes) -> str:
    """Return the text of a refused line as ``delimited.open_text`` reads and writes it."""
    return text.decode("utf-8", "surrogatepass")


def _stage_parquet(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    number: int,
    *,
    sha256: str,
    take: Callable[[Part], None],
    advance: Callable[[int], object],
) -> Staged:
    assert source.path is not None
    quoted = literal(str(source.path.absolute()))
    described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({quoted})").fetchall()
    columns = {name: (f"c{position}", kind) for position, (name, kind, *_) in enumerate(described)}
    _check_columns(source, list(columns))
    taken = [name for name in columns if name.lower() == "file_row_number"]
    if taken:
        raise DataError(
            f"{source.path}: a column is called {taken[0]}, a name kept for the numbers of lines; rename it"
        )
    rows = connection.execute(f"SELECT count(*) FROM read_parquet({quoted})").fetchall()[0][0]
    take(Part(source, number, columns, f"({_parquet_rows(source.path, columns)})"))
    advance(source.path.stat().st_size)
    return Staged(source, number, columns, None, source.path, sha256, rows, 0)


def _parquet_rows(path: Path, columns: dict[str, tuple[str, str]]) -> str:
    """Return the query of a Parquet file's rows, numbered from 1."""
    listed = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" AS {column}' for name, (column, _) in columns.items())
    file = f"read_parquet({literal(str(path.absolute()))}, file_row_number = true)"
    return f"SELECT file_row_number + 1 AS line, {listed} FROM {file}"


def _check_columns(source: Source, there: list[str]) -> None:
    for name, fills in source.wanted().items():
        if name not in there:
            raise DataError(
                f"{source.path or source.name}: there is no column {name!r} (for {fills}); it has {len(there)}: "
                f"{', '.join(map(delimited.short, there[:20]))}; correct the mapping or the file{closest(name, map(delimited.short, there))}"
            )


def with_digests(found: Sequence[Source]) -> list[tuple[Source, str]]:
    """Return each source with the SHA-256 of its file, "" for a database table, which is known once it was read."""
    return [(source, digest(source.path) if source.path else "") for source in found]
