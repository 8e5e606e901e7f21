"""What was refused: a report with a remedy for each problem, and the rows themselves to be corrected."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crmlib.store.files import make_folder, sync
from crmlib.warehouse import rules, schema
from crmlib.warehouse.delimited import Layout
from crmlib.warehouse.mapping import RECORDED, Section, original
from crmlib.warehouse.records import MARKED
from crmlib.warehouse.sources import Staged, as_written, lines_of, readable

LONGEST_NAME = 255
"""Bytes a file's name may have."""

_FOUND = "SELECT * FROM staging.problems UNION ALL SELECT * FROM orphans"


def counts(connection: duckdb.DuckDBPyConnection) -> dict[tuple[int, int], int]:
    """Return how many rows are refused by section and source number."""
    rows = connection.execute(
        f"SELECT section, file, count(DISTINCT line) FROM ({_FOUND}) GROUP BY section, file"
    ).fetchall()
    return {(section, file): number for section, file, number in rows}


def commonest(connection: duckdb.DuckDBPyConnection, section: int, file: int) -> str:
    """Return the three rules most often broken by the rows of a source, in words."""
    rows = connection.execute(
        f"""SELECT rule, "column", count(*) AS n, min(line) FROM ({_FOUND}) WHERE section = {section} AND file = {file}
        GROUP BY rule, "column" ORDER BY n DESC, rule, "column" LIMIT 3"""
    ).fetchall()
    return ", ".join(
        f"{rule}{f' in {column}' if column else ''} ({number}, first on line {line})"
        for rule, column, number, line in rows
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    load_id: int,
    sections: Sequence[Section],
    staged: Sequence[Staged],
) -> Path | None:
    """Write the report of all problems and, for each source, its refused rows; return the report's path, if any.

    The report is a Parquet table: load_id, table, file, sha256, line, column (of the source), fills (canonical column),
    rule, value, remedy. Refused rows go to ``load-000001-<file>`` with the header, delimiter and encoding of the
    source, so that they can be corrected and loaded alone with the same mapping.
    """
    if not counts(connection):
        return None
    make_folder(folder)
    notes = _notes(connection, sections)
    files = pa.table(
        {
            "file": pa.array([one.number for one in staged], pa.int32()),
            "name": pa.array([one.source.name for one in staged], pa.string()),
            "sha256": pa.array([one.sha256 for one in staged], pa.string()),
        }
    )
    report = folder / f"load-{load_id:06d}.parquet"
    connection.register("notes", notes)
    connection.register("files", files)
    table = connection.execute(
        f"""
        SELECT {load_id} AS load_id, n."table", f.name AS file, f.sha256, p.line, n.source AS "column", p."column" AS fills,
               p.rule, p.value, n.remedy
        FROM ({_FOUND}) p JOIN files f USING (file) JOIN notes n USING (section, "column", rule)
        ORDER BY p.file, p.line, p.section, p."column", p.rule
        """
    ).to_arrow_table()
    connection.unregister("notes")
    connection.unregister("files")
    pa.parquet.write_table(table, _beside(report))
    _keep(report)
    names = [_cut(f"load-{load_id:06d}-{_file_name(one)}") for one in staged]
    often = Counter(names)
    for name, one in zip(names, staged, strict=True):
        apart = _cut(f"load-{load_id:06d}.{one.number + 1}-{_file_name(one)}")
        _write_rows(connection, folder / (apart if often[name] > 1 else name), one)
    return report


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.writing")


def _keep(path: Path) -> None:
    """Give a complete file its name, on the disk too: the store is about to point at it."""
    sync(_beside(path))
    _beside(path).replace(path)
    sync(path.parent)


def _cut(name: str) -> str:
    """Return a file's name with the end of its stem cut off where it is longer than systems allow."""
    stem, dot, end = name.rpartition(".")
    if not stem or len(end.encode()) > LONGEST_NAME // 4:
        stem, dot, end = name, "", ""
    room = LONGEST_NAME - len((dot + end).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + end


def _file_name(staged: Staged) -> str:
    """Return the name under which a source's refused rows are kept; it says where they came from."""
    source = staged.source
    name = original(source.name)
    if source.kind == "table":
        return f"{name}.table.csv"
    if source.kind == "parquet":
        return f"{name}.csv" if name.endswith(".parquet") else f"{name}.parquet.csv"
    if source.plain:  # corrected rows of a database or a Parquet file
        return f"{name}.csv" if name.endswith(".parquet") else f"{name}.table.csv"
    return name


def _notes(connection: duckdb.DuckDBPyConnection, sections: Sequence[Section]) -> pa.Table:
    """Return what there is to say about each kind of problem found."""
    kinds = connection.execute(f'SELECT DISTINCT section, "column", rule FROM ({_FOUND})').fetchall()
    rows = []
    for number, column, rule in kinds:
        section = sections[number]
        fields = {**section.fields, **({RECORDED: section.recorded_at} if section.recorded_at else {})}
        names = [fields[name].column or f"value of {name}" for name in column.split()]
        remedy = rules.remedy(rule, schema.tables()[section.table], column)
        rows.append((number, column, rule, section.table, " ".join(names), remedy))
    names = ["section", "column", "rule", "table", "source", "remedy"]
    types = [pa.int32(), *[pa.string()] * 5]
    return pa.table([pa.array(c, t) for c, t in zip(zip(*rows, strict=True), types, strict=True)], names=names)


def _write_rows(connection: duckdb.DuckDBPyConnection, path: Path, staged: Staged) -> None:
    bad = f"SELECT DISTINCT line FROM ({_FOUND}) WHERE file = {staged.number} ORDER BY line"
    lines = np.asarray(connection.execute(bad).fetchnumpy()["line"])
    if not len(lines):
        return
    form = staged.form or Layout("utf-8", ",", tuple(staged.columns), 1)
    # The cells of Parquet files and databases have no greatest length, and a row that is refused needs none.
    cells = ", ".join(f"CAST({name} AS VARCHAR)[:{csv.field_size_limit() + 1}]" for name in _columns(staged, form))
    with (
        connection.cursor() as broken,
        readable(staged.source),  # damage in a Parquet file may lie where only these rows are
        _beside(path).open("w", encoding=form.encoding, errors=MARKED, newline="") as stream,
    ):
        # With both characters in the line end, the writer puts cells that hold either of them in quotation marks.
        writer = csv.writer(stream, delimiter=form.delimiter, lineterminator="\r\n")
        writer.writerow(form.header)
        waiting = broken.execute(f"SELECT line, text FROM staging.{staged.broken} ORDER BY line").fetchone()
        for part in lines_of(connection, staged, lines):
            connection.execute(f"SELECT line, [{cells}] FROM {part.relation} ORDER BY line")
            while rows := connection.fetchmany(10_000):
                for line, row in rows:
                    while waiting and waiting[0] < line:
                        stream.write(as_written(waiting[1]) + "\r\n")
                        waiting = broken.fetchone()
                    writer.writerow(row)
        while waiting:
            stream.write(as_written(waiting[1]) + "\r\n")
            waiting = broken.fetchone()
    _keep(path)


def _columns(staged: Staged, form: Layout) -> list[str]:
    """Return the staged columns in the order of the header, those of one name included."""
    if staged.form:
        return [f"c{number}" for number in range(len(form.header))]
    return [name for name, _ in staged.columns.values()]
