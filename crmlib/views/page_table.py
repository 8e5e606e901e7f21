"""A table as it stands on the page, as a data frame: what a person takes away as CSV or XLSX is what was shown."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
from babel.numbers import NumberFormatError, parse_decimal

from crmlib.errors import NotFoundError


def read(html: str, table: str, *, language: str) -> pd.DataFrame:
    """Return the table with the id ``table`` in a piece of HTML made by ``layout.table``.

    Columns marked as numbers become numbers where every cell is a plain one in the language's writing; empty signs ("–")
    are missing; all else is text. Raises NotFoundError where there is no such table.
    """
    parser = _Table(table)
    parser.feed(html)
    if not parser.heads:
        raise NotFoundError("this table is no longer on the page; try again")
    found = pd.DataFrame(parser.rows, columns=_unique(parser.heads), dtype=object)
    for place, numeric in enumerate(parser.numeric):
        if numeric:
            found.isetitem(place, _numbers(found.iloc[:, place], language).to_numpy())
    return found


def _unique(heads: list[str]) -> list[str]:
    """Return the headings, empty and repeated ones told apart."""
    seen: dict[str, int] = {}
    named = []
    for place, head in enumerate(heads, start=1):
        name = head or str(place)
        seen[name] = seen.get(name, 0) + 1
        named.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return named


def _numbers(column: pd.Series, language: str) -> pd.Series:
    try:
        values = [None if cell in ("", "–", "—") else _number(str(cell), language) for cell in column]
    except NumberFormatError:
        return column
    return pd.Series(values, index=column.index, dtype=object)


def _number(words: str, language: str) -> float | int:
    plain = words.replace("\u202f", "\u00a0").replace("−", "-")
    value = parse_decimal(plain, locale=language, strict=False)
    return int(value) if value == value.to_integral_value() else float(value)


class _Table(HTMLParser):
    """Reads the cells of one table; ``rows`` are texts."""

    def __init__(self, table: str) -> None:
        super().__init__(convert_charrefs=True)
        self.table, self.inside, self.cell = table, False, ""
        self.heads: list[str] = []
        self.numeric: list[bool] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self.inside = found.get("id") == self.table
        elif self.inside and tag == "th":
            self.numeric.append("n" in (found.get("class") or "").split())
            self.cell = ""
        elif self.inside and tag == "tr":
            self.row: list[str] = []
        elif self.inside and tag == "td":
            self.cell = ""
        elif self.inside and tag == "br":
            self.cell += " "

    def handle_data(self, data: str) -> None:
        self.cell += data

    def handle_endtag(self, tag: str) -> None:
        words = " ".join(self.cell.split(" "))
        if not self.inside:
            return
        if tag == "table":
            self.inside = False
        elif tag == "th":
            self.heads.append(words.strip())
        elif tag == "td":
            self.row.append(words.strip())
        elif tag == "tr" and self.row:
            self.rows.append(self.row)
