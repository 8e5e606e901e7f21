"""The reference for reading delimited text: letter by letter, slow, and without any code of the loader.

It takes docs/mapping.md at its word:

1. A byte order mark says the encoding, else the mapping does, else it is UTF-8. Bytes that are not of it stay marked.
2. A physical line ends with CR LF, LF, CR or the file. Lines are counted from 1. A line of nothing is blank: no row.
3. The first record that is not blank is the header.
4. A record begins with a line. A cell that begins with a quotation mark goes on to the next one that is not doubled, over
   line ends and delimiters; after it comes a delimiter or a line end. Elsewhere a quotation mark is a letter.
5. Where rule 4 is broken, where a cell has more than 131,072 characters, and where a record of several lines has another
   number of cells than the header, the line is one refused row, and the next line begins anew.
6. Any other record is one row. It is refused if it has another number of cells than the header, holds NUL or
   bytes that are not of the encoding.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from dataclasses import dataclass

LONGEST = 131_072

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_UNDECODED = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """A row: the number of its first line, and its cells, None where it is refused for what is not in its cells."""

    line: int
    cells: tuple[str, ...] | None


def text(raw: bytes, encoding: str = "") -> str:
    """Return the text of a file; every byte that is not of its encoding becomes a lone surrogate (rule 1)."""
    for mark, named in _MARKS.items():
        if raw.startswith(mark):
            raw, encoding = raw[len(mark) :], named
            break
    return raw.decode(encoding or "utf-8", "mark_every_byte")


def _mark_undecoded(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff" * (error.end - error.start), error.end


codecs.register_error("mark_every_byte", _mark_undecoded)


def read(found: str, delimiter: str) -> tuple[list[str], list[Row]] | None:
    """Return the header and the rows of a text; None where it has no header, or one that breaks the rules."""
    lines = _LINE.findall(found)
    at = next((number for number, line in enumerate(lines) if line.strip("\r\n")), len(lines))
    first = _record(lines, at, delimiter) if at < len(lines) else None
    if first is None:
        return None
    header, taken = first
    rows, at = [], at + taken
    while at < len(lines):
        if not lines[at].strip("\r\n"):
            at += 1
            continue
        record = _record(lines, at, delimiter)
        if record is None or (record[1] > 1 and len(record[0]) != len(header)):
            rows.append(Row(at + 1, None))
            at += 1
            continue
        cells, taken = record
        whole = "".join(lines[at : at + taken])
        sound = len(cells) == len(header) and "\0" not in whole and not _UNDECODED.search(whole)
        rows.append(Row(at + 1, tuple(cells) if sound else None))
        at += taken
    return [name.strip() for name in header], rows


def usable(header: list[str], wanted: Collection[str]) -> bool:
    """Return whether a header has every column wanted, each once, and nothing unreadable in any name."""
    return all(header.count(name) == 1 for name in wanted) and "\0" not in "".join(header)


def _record(lines: list[str], at: int, delimiter: str) -> tuple[list[str], int] | None:
    """Return the cells of the record that begins at a line, and how many lines it takes; None where it is broken."""
    if '"' not in lines[at]:
        plain = lines[at].rstrip("\r\n").split(delimiter)
        return None if max(map(len, plain)) > LONGEST else (plain, 1)
    cells: list[str] = []
    cell: list[str] = []
    state = "start"
    for taken, line in enumerate(lines[at:], start=1):
        body = line.rstrip("\r\n")
        for letter in body:
            if state == "quoted":
                state = "after" if letter == '"' else "quoted"
                cell += [] if letter == '"' else letter
            elif letter == delimiter:
                cells.append("".join(cell))
                cell, state = [], "start"
            elif state == "after":
                if letter != '"':
                    return None
                cell.append(letter)
                state = "quoted"
            elif state == "start" and letter == '"':
                state = "quoted"
            else:
                cell.append(letter)
                state = "plain"
            if len(cell) > LONGEST:
                return None
        if state != "quoted":
            return [*cells, "".join(cell)], taken
        cell += line[len(body) :]
        if len(cell) > LONGEST:
            return None
    return None
