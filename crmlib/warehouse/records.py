"""Lines of delimited text that are no plain rows: finding them, and reading each by the rules of quotation marks."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass

import numpy as np

UNDECODED = re.compile("[\ud800-\udfff]")
"""What stands for bytes that are not of the encoding: U+DC00 and the byte."""

MARKED = "crmlib.marked"
"""How files are decoded and encoded: bytes that are not of the encoding become surrogates, and bytes again."""

_QUOTE, _TAB, _LF, _CR = b'"\t\n\r'
WINDOW = 8_192
"""Bytes in which the end of a record of several lines is looked for first."""


def _mark(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end
    if isinstance(error, UnicodeEncodeError):
        text = error.object[error.start : error.end]
        # An encoding of several bytes a character takes no single ones.
        wide = error.encoding.replace("_", "-").lower().startswith(("utf-16", "utf-32", "utf16", "utf32"))
        if wide or any(not 0xDC00 <= ord(letter) <= 0xDCFF for letter in text):
            return "?" * len(text), error.end
        return bytes(ord(letter) - 0xDC00 for letter in text), error.end
    raise error


codecs.register_error(MARKED, _mark)


def shown(text: str) -> str:
    """Return the beginning of a text as it is reported, with bytes that were not decoded as in \\xcf.

    >>> print(shown("Pr" + chr(0xDCCF) + "ha"))
    Pr\xcfha
    """
    return UNDECODED.sub(
        lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}" if ord(found[0]) >> 8 == 0xDC else "?", text[:200]
    )[:200]


@dataclass(frozen=True)
class Refused:
    """A line that is no row: its number (from 1), the rule it breaks, what was found, and its text as it is."""

    line: int
    rule: str
    found: str
    text: str


@dataclass(frozen=True)
class Record:
    """A record: where it ends, how many lines it takes, and its fields, or what is wrong with it; neither if blank."""

    end: int
    lines: int
    fields: list[str] | None = None
    problem: tuple[str, str, str] | None = None


def odd(raw: bytes, ends: np.ndarray, delimiter: str) -> np.ndarray:
    """Return which lines of UTF-8 text are not surely one row of sound cells; ``ends`` is where each line ends.

    Odd are blank lines, those with NUL, with a carriage return inside, with text that could not be decoded (surrogates),
    with more characters than a cell may have, and with quotation marks other than around whole cells.
    """
    data = np.frombuffer(raw, np.uint8)
    starts = np.concatenate([[0], ends[:-1]])
    if not delimiter.isascii():
        return np.arange(len(ends))
    first = data[starts]
    found = [np.flatnonzero((first == _LF) | (first == _CR) | (ends - starts > csv.field_size_limit()))]
    if b"\0" in raw:
        found.append(_lines(np.flatnonzero(data == 0), ends))
    if b"\r" in raw and raw.count(b"\r") != raw.count(b"\r\n"):
        places = np.flatnonzero(data == _CR)
        followed = data[np.minimum(places + 1, len(data) - 1)]
        found.append(_lines(places[followed != _LF], ends))
    if b"\xed" in raw:
        places = np.flatnonzero(data[:-1] == 0xED)
        found.append(_lines(places[data[places + 1] >= 0xA0], ends))
    if b'"' in raw:
        found.append(_oddly_quoted(data, starts, ends, ord(delimiter)))
    return np.unique(np.concatenate(found))


def _lines(places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.searchsorted(ends, places, side="right")


def _oddly_quoted(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, mark: int) -> np.ndarray:
    """Return the lines whose quotation marks do not all open at the start of a cell and close at its end."""
    places = np.flatnonzero(data == _QUOTE)
    upto = np.searchsorted(places, ends)
    counts = np.diff(upto, prepend=0)
    lines = np.repeat(np.arange(len(ends)), counts)
    opens = (np.arange(len(places)) - np.repeat(upto - counts, counts)) % 2 == 0
    before = np.where(places == starts[lines], mark, data[np.maximum(places - 1, 0)])
    after = np.where(places + 1 == len(data), _LF, data[np.minimum(places + 1, len(data) - 1)])
    closed = (after == mark) | (after == _LF) | (after == _CR)
    wrong = np.where(opens, before != mark, ~closed)
    return np.concatenate([lines[wrong], np.flatnonzero(counts % 2)])


def read(raw: bytes, at: int, *, delimiter: str, width: int, last: bool) -> Record | None:
    """Read the record that begins at ``at``; None where it may go on behind the text, which ``last`` says it does not.

    A record that breaks the rules of quoting gives up its first line only, so that one open quotation mark costs one
    row. Text that was not decoded is there as surrogates.
    """
    end = _line_end(raw, at)
    line = raw[at:end].decode("utf-8", "surrogatepass")
    fields, taken, fault = _parsed(line, delimiter)
    if fault == "open":
        spread = _spread(raw, at, end, delimiter=delimiter, last=last)
        if spread is None:
            return None
        text, fields, taken, fault = spread
    else:
        text = line
    if not fault and taken > 1 and len(fields) != width:
        fault = "quotation"
    if fault:
        given_up = line.rstrip("\r\n")
        return Record(end, 1, problem=(fault, shown(given_up), given_up))
    end = at + len(text.encode("utf-8", "surrogatepass")) if taken > 1 else end
    problem = _problem(fields, text.rstrip("\r\n"), width)
    return Record(end, taken, None if problem else fields or None, problem)


def _line_end(raw: bytes, at: int) -> int:
    """Return where the line ends that goes on at ``at``: behind a line feed, a carriage return, or both."""
    feed = raw.find(b"\n", at)
    end = feed + 1 if feed >= 0 else len(raw)
    lone = raw.find(b"\r", at, end)
    return end if lone < 0 or lone == feed - 1 else lone + 1


def _spread(raw: bytes, at: int, end: int, *, delimiter: str, last: bool) -> tuple[str, list[str], int, str] | None:
    """Return the text, fields, number of lines and fault of a record whose first line, up to ``end``, leaves a quote open."""
    mark = raw.find(b'"', end)
    separator = delimiter.encode()
    after = raw[mark + 1 : mark + 1 + len(separator)]
    if mark >= 0 and not (after.startswith((b'"', b"\r", b"\n")) or separator.startswith(after)):
        return "", [], 1, "quotation"
    size = max(WINDOW, mark - at)
    while True:
        stop = _line_end(raw, at + size)
        text = raw[at:stop].decode("utf-8", "surrogatepass")
        fields, taken, fault = _parsed(text, delimiter)
        if fault == "open" and stop == len(raw):
            return ("", [], 1, "quotation") if last else None
        if fault != "open":
            whole = "".join(io.StringIO(text, newline="").readlines()[:taken]) if not fault else ""
            return whole, fields, taken, "quotation" if fault else ""
        size *= 16


def _parsed(text: str, delimiter: str) -> tuple[list[str], int, str]:
    """Return the fields of the first record of a text, how many lines it takes, and what is wrong: open, too_long …"""
    if '"' not in text and len(text) > csv.field_size_limit():
        # A line without quotation marks is quickly looked through for the cell that makes it so long.
        fields = text.rstrip("\r\n").split(delimiter)
        if max(map(len, fields)) > csv.field_size_limit():
            return [], 1, "too_long"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return next(reader, []), reader.line_num, ""
    except csv.Error as error:
        if "unexpected end" in str(error):
            return [], 1, "open"
        return [], 1, "too_long" if "field limit" in str(error) else "quotation"


def _problem(fields: list[str], text: str, width: int) -> tuple[str, str, str] | None:
    if fields and len(fields) != width:
        return "ragged", f"{len(fields)} fields instead of {width}", text
    if "\0" in text:
        return "unreadable", shown(text), text
    if UNDECODED.search(text):
        return "encoding", shown(text), text
    return None
