"""Reading delimited text of any encoding as text columns with true line numbers; broken lines are set aside."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from crmlib.errors import DataError
from crmlib.warehouse.mapping import closest

DELIMITERS = (",", ";", "\t", "|")
BLOCK = 4_000_000
"""Characters read at a time."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODED = re.compile("[\udc80-\udcff]")
_BLANK = re.compile(r"(?:\A|\n)\r?\n")


@dataclass(frozen=True)
class Layout:
    """How a delimited file is written: ``header`` its column names, ``lines`` how many lines they take."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    lines: int


@dataclass(frozen=True)
class Refused:
    """A line that is no row: its number (from 1), the rule it breaks, what was found, and its text as it is."""

    line: int
    rule: str
    found: str
    text: str


@dataclass(frozen=True)
class Chunk:
    """Some rows: the number of the line each begins on, their texts by column, the lines refused, bytes read so far."""

    lines: np.ndarray
    columns: list[pa.Array]
    refused: list[Refused]
    position: int


def open_text(path: Path, encoding: str) -> TextIO:
    """Open a file so that no byte makes reading fail: what cannot be decoded is marked."""
    wide = encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    return path.open(encoding=encoding, errors="replace" if wide else "surrogateescape", newline="")


def layout(path: Path, *, encoding: str, delimiter: str, wanted: dict[str, str]) -> Layout:
    """Return how a file is written; empty ``encoding`` and ``delimiter`` are found out from its beginning.

    ``wanted`` names the columns that must be there and what each fills. Raises DataError, saying what was found and
    what to do, for an empty file, another delimiter or encoding, an absent column or one that is there twice.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    found = next((name for mark, name in _MARKS if start.startswith(mark)), encoding or "utf-8")
    with open_text(path, found) as text:
        head = text.read(1_000_000)
    if not head.strip():
        raise DataError(f"{path}: the file is empty; export it again, with a header line")
    headers = {mark: _header(head, mark) for mark in dict.fromkeys((delimiter, *DELIMITERS)) if mark}
    best = max(headers, key=lambda mark: (len(set(headers[mark][0]) & set(wanted)), len(headers[mark][0])))
    chosen = delimiter or best
    header, lines = headers[chosen]
    if any("\0" in name for name in header):
        raise DataError(f'{path}: the header holds NUL characters; set encoding = "utf-16-le" in the mapping')
    _check_header(path, header, wanted, chosen=chosen, better=best if set(headers[best][0]) >= set(wanted) else "")
    return Layout(found, chosen, tuple(header), lines)


def _header(head: str, delimiter: str) -> tuple[list[str], int]:
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        header = next(row for row in reader if row)
    except (csv.Error, StopIteration):
        return [], 1
    return [name.strip() for name in header], reader.line_num


def _check_header(path: Path, header: list[str], wanted: dict[str, str], *, chosen: str, better: str) -> None:
    absent = [name for name in wanted if name not in header]
    if absent:
        if any(_UNDECODED.search(name) or "\ufffd" in name for name in header):
            raise DataError(
                f'{path}: the header cannot be read in this encoding; set encoding in the mapping, such as "cp1251"'
            )
        listed = ", ".join(header[:20]) + (" …" if len(header) > 20 else "")
        if better and better != chosen:
            remedy = f"the columns are there if the delimiter is {better!r}: set delimiter = {toml(better)}"
        else:
            remedy = f"correct the mapping or the file{closest(absent[0], header)}"
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
        while text := stream.read(block):
            text += stream.readline()
            quick = _quick(text, form, line)
            chunk, taken = quick if quick else _careful(text, stream, form, line)
            line += taken
            yield Chunk(chunk[0], chunk[1], chunk[2], stream.buffer.tell())


_Rows = tuple[np.ndarray, list[pa.Array], list[Refused]]


def _quick(text: str, form: Layout, first: int) -> tuple[_Rows, int] | None:
    """Read whole lines at once, where each is surely one row; None where that is not sure."""
    width = len(form.header)
    quotes = text.count('"')
    if width == 1 or "\0" in text or text.count("\r") != text.count("\r\n") or _BLANK.search(text):
        return None
    if quotes and quotes != 2 * sum(1 for _ in _simple_quotes(form.delimiter).finditer(text)):
        return None
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return None
    refused: list[Refused] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        refused.append(_ragged(first + row.number - 1, row.actual_columns, width, row.text))
        return "skip"

    names = [f"c{number}" for number in range(width)]
    table = pyarrow.csv.read_csv(
        io.BytesIO(raw),
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(raw) + 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=form.delimiter, quote_char='"' if quotes else False, invalid_row_handler=refuse
        ),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False),
    ).combine_chunks()
    taken = text.count("\n") + (not text.endswith("\n"))
    columns = [column.chunk(0) if column.num_chunks else pa.array([], pa.string()) for column in table.columns]
    longest = max(pc.max(pc.utf8_length(column)).as_py() or 0 for column in columns)
    if table.num_rows + len(refused) != taken or longest > csv.field_size_limit():
        return None
    lines = np.setdiff1d(np.arange(first, first + taken), [row.line for row in refused], assume_unique=True)
    return (lines, columns, refused), taken


def _simple_quotes(delimiter: str) -> re.Pattern[str]:
    """Return the pattern of a quoted cell that holds neither quotation marks nor line ends."""
    mark = re.escape(delimiter)
    return re.compile(f'(?:(?<={mark})|(?<=\\n)|\\A)"[^"\\r\\n]*"(?={mark}|\\r|\\n|\\Z)')


def _careful(text: str, stream: TextIO, form: Layout, first: int) -> tuple[_Rows, int]:
    """Read ``text``, and on from ``stream`` to the end of the row it stops in, one row after the other."""
    whole = list(io.StringIO(text, newline=""))
    numbers: list[int] = []
    rows: list[list[str]] = []
    refused: list[Refused] = []
    at = first
    for taken, row in _records(whole, iter(stream.readline, ""), form):
        if isinstance(row, list):
            numbers.append(at)
            rows.append(row)
        elif row is not None:
            refused.append(Refused(at, *row))
        at += taken
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    empty = [pa.array([], pa.string()) for _ in form.header]
    return (np.array(numbers, dtype=np.int64), columns or empty, refused), at - first


_Problem = tuple[str, str, str]


def _records(whole: list[str], more: Iterator[str], form: Layout) -> Iterator[tuple[int, list[str] | _Problem | None]]:
    """Yield for each record how many lines it takes and its fields, or what is wrong with it, or None if it is blank.

    A record that breaks the rules of quoting gives up its first line only; reading goes on with the next, so that one
    open quotation mark costs one row.
    """
    again: deque[str] = deque()
    taken: list[str] = []
    left = len(whole)
    lines = itertools.chain(whole, more)

    def feed() -> Iterator[str]:
        nonlocal left
        while again or left > 0 or taken:
            if again:
                line = again.popleft()
            else:
                line = next(lines, "")
                left -= 1
                if not line:
                    return
            taken.append(line)
            yield line

    def reader() -> Iterator[list[str]]:
        return iter(csv.reader(feed(), delimiter=form.delimiter, strict=True))

    rows = reader()
    while True:
        taken.clear()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            found = "too_long" if "field limit" in str(error) and len(taken) == 1 else "quotation"
            yield 1, (found, taken[0].rstrip("\r\n")[:200], taken[0].rstrip("\r\n"))
            again.extendleft(reversed(taken[1:]))
            rows = reader()
            continue
        problem = _problem(row, taken, len(form.header))
        if problem and problem[0] == "quotation":
            yield 1, problem
            again.extendleft(reversed(taken[1:]))
        else:
            yield len(taken), problem or row or None


def _problem(row: list[str], taken: Iterable[str], width: int) -> _Problem | None:
    lines = list(taken)
    text = "".join(lines).rstrip("\r\n")
    if row and len(row) != width:
        if len(lines) > 1:
            first = lines[0].rstrip("\r\n")
            return "quotation", first[:200], first
        return "ragged", f"{len(row)} fields instead of {width}", text
    if "\0" in text:
        return "unreadable", text[:200], text
    if _UNDECODED.search(text):
        return "encoding", text[:200].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), text
    return None


def _ragged(line: int, fields: int, width: int, text: str) -> Refused:
    return Refused(line, "ragged", f"{fields} fields instead of {width}", text.rstrip("\r\n"))
