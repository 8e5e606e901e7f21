"""Writing a made-up company's files: formats as different as real exports, and a few rows that are wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv


@dataclass(frozen=True)
class Format:
    """How a text file is written."""

    delimiter: str = ","
    encoding: str = "utf-8"
    quoted: bool = False


def as_text(table: pa.Table) -> pa.Table:
    """Return the table with all its columns as texts."""
    return pa.table({name: pc.cast(table[name], pa.string()) for name in table.column_names})


def spoiled(rows: pa.Table, values: dict[str, str | None], *, mark: str) -> pa.Table:
    """Return the rows with ``values`` put into columns of text; "*" stands for a new key that begins with ``mark``."""
    for name, value in values.items():
        texts = [f"{mark}{k}" for k in range(rows.num_rows)] if value == "*" else [value] * rows.num_rows
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(texts, pa.string()))
    return rows


def write_text(path: Path, table: pa.Table, *, form: Format, first: bool = True, more: str = "") -> None:
    """Write the table into a text file, or at its end unless it is the ``first`` part, and the line ``more`` after it."""
    options = csv.WriteOptions(
        include_header=first,
        delimiter=form.delimiter,
        quoting_style="needed" if form.quoted else "none",
        quoting_header="needed" if form.quoted else "none",
        batch_size=65_536,
    )
    buffer = io.BytesIO()
    csv.write_csv(table, buffer, options)
    content = buffer.getvalue()
    if form.encoding == "cp1251":
        content = content.decode("utf-8").encode("cp1251")
    elif form.encoding == "utf-8-sig" and first:
        content = b"\xef\xbb\xbf" + content
    if more:
        content += f"{more}\n".encode(form.encoding.removesuffix("-sig"))
    with path.open("wb" if first else "ab") as file:
        file.write(content)
