"""Malformed customer files of every kind, drawn from a random source, so that hypothesis can shrink them."""

from __future__ import annotations

import codecs
import random
from dataclasses import dataclass
from typing import Any

WANTED = ("id", "since", "region", "children", "income")
COLUMNS: dict[str, Any] = {
    "customer_id": "id",
    "valid_from": "since",
    "region": "region",
    "children": "children",
    "income_minor": {"column": "income", "unit": "major"},
}
DELIMITERS = (",", ";", "\t", "|")
# Name in the mapping, how it is written, byte order mark.
ENCODINGS = (
    ("", "utf-8", b""),
    ("", "utf-8", codecs.BOM_UTF8),
    ("cp1251", "utf-8", codecs.BOM_UTF8),
    ("cp1251", "cp1251", b""),
    ("", "utf-16-le", codecs.BOM_UTF16_LE),
    ("", "utf-16-be", codecs.BOM_UTF16_BE),
    ("utf-16-le", "utf-16-le", b""),
    ("", "utf-32-le", codecs.BOM_UTF32_LE),
    ("latin-1", "latin-1", b""),
)
ENDS = ("\n", "\r\n", "\r")

NUMBERS = (
    "9" * 40,
    "1e400",
    "-1e400",
    "inf",
    "NaN",
    "0x10",
    "1_000",
    "-0",
    "1e17",
    ".",
    "+",
    "99999999999999999999.99",
)
DATES = (
    "0000-00-00",
    "2015-02-30",
    "9999-12-31",
    "infinity",
    "epoch",
    "20150101",
    "2015-1-1",
    "5000000-01-01",
    "2015-01-01 25:00",
    "-4000-01-01",
    "294248-01-01",
    "2015-01-01 (BC)",
    "1.1.2015",
    "2015-W01",
    "2015-01-01T00:00:00+99:99",
)
TEXTS = (
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "'; DROP TABLE customers; --",
    "\x01\x02\x1f\x7f",
    "\x0b\x0c\x1c\x85",
    "\u2028\u2029",
    "\ufeff",
    "\uf7a0\uf7ff",
    "\U0001f600",
    "\u202e\u0301\u200b",
    "Сибирь",
    "{{7*7}}%s{0}\\",
    " padded ",
    "NULL",
)
# What becomes of one cell (…) of a line, by kind of line; ¦ is the delimiter.
_CHANGED = {
    7: '"…',
    8: '"…"x',
    9: '"…\n¦""\r\n"',
    10: '…"',
    11: '"…"',
    12: "…\0",
    18: "",
    19: "\r…",
}
RAW = (b"\xff", b"\x98", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xfe\xff", b'"', b"\r", b"\n\n", b"\x1a")


@dataclass(frozen=True)
class Made:
    """A made file: its bytes, the encoding and the delimiter the mapping says ("" where it says none)."""

    raw: bytes
    encoding: str
    delimiter: str


def customers(rng: random.Random, *, rows: int, long_cells: bool = False, header: bool = True) -> Made:
    """Return a file of about ``rows`` rows, most of them wrong in some way.

    ``long_cells`` lets cells around and above the limit of 131,072 characters occur; ``header`` lets the header be wrong.
    """
    named, written, mark = rng.choice(ENCODINGS)
    delimiter = rng.choice(DELIMITERS)
    ends = rng.choice((*[(end,) for end in ENDS], ENDS))
    names = [*WANTED, *[f"more {number}" for number in range(rng.choice((0, 0, 0, 1, 3)))]]
    rng.shuffle(names)
    head = _wrong_header(rng, names, delimiter) if header and rng.random() < 0.1 else delimiter.join(names)
    lines = [head, *[_line(rng, names, number, delimiter, long_cells=long_cells) for number in range(rows)]]
    text = "".join(line + rng.choice(ends) for line in lines)
    if rng.random() < 0.2:
        text = text.rstrip("\r\n")
    raw = mark + text.encode(written, "replace")
    if rng.random() < 0.3:
        raw = _damaged(rng, raw, below=len(mark) + len(lines[0].encode(written, "replace")))
    return Made(raw, named, delimiter if rng.random() < 0.5 else "")


def _wrong_header(rng: random.Random, names: list[str], delimiter: str) -> str:
    """Return a header that is wrong in one way, or looks so."""
    names = list(names)
    place = rng.randrange(len(names))
    kind = rng.choice(("absent", "twice", "open", "stray", "nul", "blank", "none"))
    if kind == "absent":
        names.remove("region")
    elif kind == "twice":
        names[place] = "id"
    elif kind == "open":
        names[place] = f'"{names[place]}'
    elif kind == "stray":
        names[place] = f'"{names[place]}"x'
    elif kind == "nul":
        names[place] += "\0"
    elif kind == "none":
        return ""
    return ("\n\r\n" if kind == "blank" else "") + delimiter.join(names)


def _line(rng: random.Random, names: list[str], number: int, delimiter: str, *, long_cells: bool) -> str:
    """Return a line for columns in the order of ``names``; about one in five is good."""
    good = dict(zip(WANTED, (f"c{number}", "2015-01-01", "North", "2", "1000.50"), strict=True))
    kind = rng.randrange(24)
    place = rng.randrange(len(names))
    if kind == 13:
        good["id"] = f"c{rng.randrange(number + 1)}"
    elif kind == 14:
        good |= {"id": f"c{rng.randrange(number + 1)}", "region": "South"}
    cells = [good.get(name, "more") for name in names]
    if kind == 4:
        return ""
    if kind == 5:
        cells = cells[:place]
    elif kind == 6:
        cells += ["x"] * rng.randrange(1, 4)
    elif kind == 17 and long_cells and rng.random() < 0.01:
        cells[place] = "x" * (131_071 + rng.randrange(4))
    elif kind in _CHANGED:
        cells[place] = _CHANGED[kind].replace("…", cells[place]).replace("¦", delimiter)
    elif kind == 15:
        cells[place] = rng.choice(NUMBERS)
    elif kind == 16:
        cells[place] = rng.choice(DATES)
    elif kind >= 20:
        cells[place] = rng.choice(TEXTS)
    return delimiter.join(cells)


def _damaged(rng: random.Random, raw: bytes, *, below: int) -> bytes:
    """Return the bytes with some put in, taken out or cut off behind the header, which ends at ``below``."""
    for _ in range(rng.randrange(1, 6)):
        if len(raw) <= below:
            break
        place = rng.randrange(below, len(raw))
        how = rng.randrange(4)
        if how == 0:
            raw = raw[:place] + rng.choice(RAW) + raw[place:]
        elif how == 1:
            raw = raw[:place] + raw[place + 1 :]
        elif how == 2:
            raw = raw[:place] + rng.randbytes(1) + raw[place + 1 :]
        else:
            raw = raw[: max(below, len(raw) - rng.randrange(1, 5))]
    return raw
