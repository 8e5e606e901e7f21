"""Reading delimited text of any encoding as text columns with true line numbers; broken lines are set aside."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from crmlib.errors import DataError
from crmlib.warehouse import records
from crmlib.warehouse.mapping import closest
from crmlib.warehouse.records import Refused

DELIMITERS = (",", ";", "\t", "|")
BLOCK = 8_000_000
"""Characters read at a time."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
COLUMNS = 10_000
"""A file of more columns than this is taken for none."""

HEAD = 1_000_000
"""Characters from which the layout of a file is found out."""


@dataclass(frozen=True)
class Layout:
    """How a delimited file is written: ``header`` its column names, ``lines`` how many lines they take."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    lines: int


@dataclass(frozen=True)
class Chunk:
    """Some rows: the number of the line each begins on, their texts by column, the lines refused, bytes read so far."""

    lines: np.ndarray
    columns: list[pa.Array]
    refused: list[Refused]
    position: int


def open_text(path: Path, encoding: str) -> TextIO:
    """Open a file so that no byte makes reading fail: each that cannot be decoded is there as a surrogate."""
    # Python's own way is quick where all is wrong, but knows no bytes below 128, which other encodings stumble on.
    quick = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    return path.open(encoding=encoding, errors="surrogateescape" if quick else records.MARKED, newline="")


def layout(path: Path, *, encoding: str, delimiter: str, wanted: dict[str, str]) -> Layout:
    """Return how a file is written; empty ``encoding`` and ``delimiter`` are found out from its beginning.

    ``wanted`` names the columns that must be there and what each fills. Raises DataError, saying what was found and
    what to do, for an empty file, another delimiter or encoding, an absent column or one that is there twice.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    found = next((name for mark, name in _MARKS if start.startswith(mark)), encoding or "utf-8")
    with open_text(path, found) as text:
        head = text.read(HEAD)
    if not head.strip():
        raise DataError(f"{path}: the file is empty; export it again, with a header line")
    headers = {mark: _header(head, mark) for mark in dict.fromkeys((delimiter, *DELIMITERS)) if mark}
    best = max(headers, key=lambda mark: (len(set(headers[mark][0]) & set(wanted)), len(headers[mark][0])))
    chosen = delimiter or best
    header, lines = headers[chosen]
    if not header or len(header) > COLUMNS or (len(head) == HEAD and lines >= len(head.splitlines())):
        raise DataError(
            f"{path}: the first line is no header of column names: {short(head.lstrip())} … has {_why_none(header)}; "
            "export it again, with a header line"
        )
    if any("\0" in name for name in header):
        raise DataError(f'{path}: the header holds NUL characters; set encoding = "utf-16-le" in the mapping')
    _check_header(path, header, wanted, chosen=chosen, better=best if set(headers[best][0]) >= set(wanted) else "")
    return Layout(found, chosen, tuple(header), lines)


def _header(head: str, delimiter: str) -> tuple[list[str], int]:
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(row for row in reader if row)
    except (csv.Error, StopIteration):
        return [], 1
    return [name.strip() for name in header], reader.line_num


def short(name: str) -> str:
    """Return the beginning of a name as it can be shown in a sentence."""
    return name[:40] if name[:40].isprintable() else repr(name[:40])


def _why_none(header: list[str]) -> str:
    if not header:
        return "a quotation mark that is not closed on it or not doubled"
    return f"{len(header)} columns" if len(header) > COLUMNS else f"over {HEAD} characters"


def _check_header(path: Path, header: list[str], wanted: dict[str, str], *, chosen: str, better: str) -> None:
    absent = [name for name in wanted if name not in header]
    if absent:
        if any(records.UNDECODED.search(name) or "\ufffd" in name for name in header):
            raise DataError(
                f'{path}: the header cannot be read in this encoding; set encoding in the mapping, such as "cp1251"'
            )
        listed = ", ".join(map(short, header[:20])) + (" …" if len(header) > 20 else "")
        if better and better != chosen:
            remedy = f"the columns are there if the delimiter is {better!r}: set delimiter = {toml(better)}"
        else:
            remedy = f"correct the mapping or the file{closest(absent[0], map(short, header))}"
        raise DataError(
            f"{path}: there is no column {absent[0]!r} (for {wanted[absent[0]]}); read with the delimiter {chosen!r} it "
            f"has {len(header)}: {listed}; {remedy}"
        )
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} is there {header.count(twice[0])} times; rename one of them")


def toml(mark: str) -> str:
    """Return a delimiter as it is written in a mapping file."""
    return '"\\t"' if mark == "\t" else f'"{mark}"'


def chunks(path: Path, form: Layout, *, block: int = BLOCK) -> Iterator[Chunk]:
    """Yield the rows of a file of the layout ``form``, ``block`` characters at a time, in a flat amount of memory.

    Line numbers count the physical lines of the file from 1, whatever ends them; a row's is that of its first line.
    Blank lines are no rows. Refused are lines with another number of fields than the header (``ragged``), with a
    quotation mark that is not closed or not doubled (``quotation``), with text that is not of the encoding
    (``encoding``), with NUL characters (``unreadable``), and with cells of over 131,072 characters (``too_long``).
    """
    with open_text(path, form.encoding) as stream:
        line = 1 + sum(1 for _ in itertools.islice(iter(stream.readline, ""), form.lines))
        held = b""
        while True:
            text = stream.read(block)
            text += stream.readline()
            raw = held + _encoded(text)
            if not raw:
                return
            split = _split(raw, line, form, last=not text)
            chunk = _joined(split, line, form, position=stream.buffer.tell())
            line, held = split.line, split.held
            yield chunk


def _encoded(text: str) -> bytes:
    """Return a text as UTF-8, each byte that could not be decoded as a surrogate's three, which UTF-8 never has."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class _Split:
    """A text in parts: plain lines and their numbers, rows read one by one, refused lines; the line that is next, and
    the beginning of a record whose end was not there yet."""

    plain: list[bytes]
    numbers: list[np.ndarray]
    rows: list[tuple[int, list[str]]]
    refused: list[Refused]
    line: int
    held: bytes


def _split(raw: bytes, first: int, form: Layout, *, last: bool) -> _Split:
    """Part a text into lines that are surely one row each, to be read at once, and others, which are read here."""
    ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] != len(raw):
        ends = np.append(ends, len(raw))
    odd = records.odd(raw, ends, form.delimiter)
    plain: list[bytes] = []
    numbers: list[np.ndarray] = []
    rows: list[tuple[int, list[str]]] = []
    refused: list[Refused] = []
    # Lines are counted by \n; ``shift`` is how many more there are on behalf of lone carriage returns.
    done, position, shift = 0, 0, first
    for line in odd.tolist():
        if line < done:
            continue
        start = int(ends[line - 1]) if line else 0
        if line > done:
            plain.append(raw[position:start])
            numbers.append(np.arange(done + shift, line + shift))
        position, number = start, line + shift
        while True:
            record = records.read(raw, position, delimiter=form.delimiter, width=len(form.header), last=last)
            if record is None:
                return _Split(plain, numbers, rows, refused, number, raw[position:])
            if record.fields:
                rows.append((number, record.fields))
            elif record.problem:
                refused.append(Refused(number, *record.problem))
            position, number = record.end, number + record.lines
            done = int(np.searchsorted(ends, position)) + 1
            if ends[done - 1] == position:
                break
        shift = number - done
    if position < len(raw):
        plain.append(raw[position:])
        numbers.append(np.arange(done + shift, len(ends) + shift))
    return _Split(plain, numbers, rows, refused, len(ends) + shift, b"")


def _joined(split: _Split, first: int, form: Layout, *, position: int) -> Chunk:
    """Return the rows of a text in parts, in the order of their lines."""
    refused = list(split.refused)
    raw = b"".join(split.plain)
    lines = np.concatenate([np.empty(0, np.int64), *split.numbers])
    columns = _read_plain(raw, lines, form, refused)
    ragged = [row.line for row in refused[len(split.refused) :]]
    if ragged:
        lines = lines[~np.isin(lines, ragged)]
    if split.rows:
        lines = np.concatenate([lines, [line for line, _ in split.rows]])
        cells = zip(*[fields for _, fields in split.rows], strict=True)
        columns = [pa.concat_arrays([a, pa.array(b, pa.string())]) for a, b in zip(columns, cells, strict=True)]
        order = np.argsort(lines, kind="stable")
        lines, columns = lines[order], [column.take(pa.array(order)) for column in columns]
    refused.sort(key=lambda row: row.line)
    return Chunk(lines, columns, refused, position)


def _read_plain(raw: bytes, lines: np.ndarray, form: Layout, refused: list[Refused]) -> list[pa.Array]:
    """Read lines that are one row each by columns, and add those of another number of fields to ``refused``."""
    width = len(form.header)
    names = [f"c{number}" for number in range(width)]
    if not raw:
        return [pa.array([], pa.string()) for _ in names]

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        found = f"{row.actual_columns} fields instead of {width}"
        refused.append(Refused(int(lines[row.number - 1]), "ragged", found, row.text.rstrip("\r\n")))
        return "skip"

    # Arrow takes a byte order mark at the start of what it is given for none of the first cell; this one is the cell's.
    if raw.startswith(codecs.BOM_UTF8):
        raw = codecs.BOM_UTF8 + raw
    table = pyarrow.csv.read_csv(
        pa.py_buffer(raw),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(raw) + 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=form.delimiter, quote_char='"' if b'"' in raw else False, invalid_row_handler=refuse
        ),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False),
    ).combine_chunks()
    return [column.chunk(0) if column.num_chunks else pa.array([], pa.string()) for column in table.columns]
