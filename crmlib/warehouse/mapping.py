"""The mapping file: which columns of a source fill which canonical columns, and how their texts are read.

Described for users in ``docs/mapping.md``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse import schema

READING = ("encoding", "delimiter", "decimal", "thousands", "date_format", "null", "currency", "time_zone")
"""Options of ``[defaults]``, which a table's section may override."""

SECTION = (*READING, "files", "recorded_at", "dump", "columns")
FIELD = ("column", "value", "format", "unit", "values", "null", "decimal", "thousands", "time_zone")
UNITS = ("minor", "major")
RECORDED = "recorded_at"

_QUARANTINED = re.compile(r"load-\d+(?:\.\d+)?-(.+)")
_EXPORTED = re.compile(r"(.+?)(\.parquet|\.table)\.csv", re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """How one canonical column is filled.

    Attributes: ``column`` the source's column, or "" for a constant ``value``; ``formats`` the strptime formats of
    dates (none: ISO); ``unit`` "major" where money comes in units, not in hundredths; ``values`` source text ->
    canonical text; ``null`` texts that mean empty; ``decimal`` and ``thousands`` the marks in numbers; ``time_zone``
    of times without an offset.
    """

    column: str = ""
    value: str | None = None
    formats: tuple[str, ...] = ()
    unit: str = "minor"
    values: dict[str, str] = field(default_factory=dict)
    null: tuple[str, ...] = ("",)
    decimal: str = "."
    thousands: str = ""
    time_zone: str = "UTC"


@dataclass(frozen=True)
class Section:
    """How some files (or database tables) feed one canonical table.

    Attributes: ``label`` names the section in messages; ``files`` are globs; ``encoding`` and ``delimiter`` are empty
    where they are to be detected; ``fields`` canonical column -> how it is filled; ``recorded_at`` likewise, None where
    a row is known ``lag_days`` after it happened; ``dump``: the rows are the state at the time of the load.
    """

    label: str
    table: str
    files: tuple[str, ...]
    encoding: str
    delimiter: str
    fields: dict[str, Field]
    recorded_at: Field | None
    lag_days: float
    dump: bool

    def wanted(self) -> dict[str, str]:
        """Return the source columns this section reads, and what each fills first, for messages."""
        filled = {**self.fields, **({RECORDED: self.recorded_at} if self.recorded_at else {})}
        found: dict[str, str] = {}
        for name, how in filled.items():
            if how.column:
                found.setdefault(how.column, f"{self.table}.{name}")
        return found


@dataclass(frozen=True)
class FileMapping:
    """A mapping file as read: its ``name`` and its ``sections`` in the order of the file."""

    name: str
    sections: tuple[Section, ...]

    def to_json(self) -> str:
        """Return the mapping's meaning as text, the same for files that differ in layout only."""
        return json.dumps([{**asdict(section), "label": ""} for section in self.sections], sort_keys=True)

    def matching(self, name: str) -> list[Section]:
        """Return the sections that a file or database table of this name feeds."""
        shown = original(name)
        return [s for s in self.sections if any(fnmatch.fnmatchcase(shown, pattern) for pattern in s.files)]


def original(name: str) -> str:
    """Return the name of the source that a file of corrected rows came from, or the name itself.

    >>> original("load-000012-clients_2024.csv"), original("load-000012-moves.parquet.csv"), original("clients.csv")
    ('clients_2024.csv', 'moves.parquet', 'clients.csv')
    >>> original("load-000012-clients.table.csv")
    'clients'
    """
    found = _QUARANTINED.fullmatch(name)
    if not found:
        return name
    exported = _EXPORTED.fullmatch(found[1])
    return found[1] if not exported else exported[1] + exported[2].replace(".table", "")


def read(source: str | Path | Mapping[str, Any]) -> FileMapping:
    """Return the mapping in a TOML file, or given as the dictionary such a file holds.

    Raises NotFoundError for a missing file and DataError, naming the section and what to do, for anything wrong in it.
    """
    if isinstance(source, Mapping):
        return parse(source, name="mapping")
    path = Path(source)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such mapping file; docs/mapping.md shows how to write one")
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8-sig")), name=path.name)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable TOML file ({error}); mend that place") from error


def parse(content: Mapping[str, Any], *, name: str) -> FileMapping:
    """Return the mapping in the dictionary of a TOML file called ``name``; raises DataError as ``read``."""
    _known(content, ("defaults", "tables"), f"{name}: section")
    defaults = content.get("defaults", {})
    _known(defaults, READING, f"{name}: [defaults] option")
    tables = content.get("tables", {})
    if not tables:
        raise DataError(f"{name}: the mapping has no [tables.…] section; write one for each table to be loaded")
    _known(tables, schema.tables(), f"{name}: table")
    sections = []
    for table, given in tables.items():
        listed = given if isinstance(given, list) else [given]
        for number, options in enumerate(listed, start=1):
            label = f"{name}: [tables.{table}]" + (f" number {number}" if len(listed) > 1 else "")
            sections.append(_section(label, schema.tables()[table], {**defaults, **options}, options))
    return FileMapping(name, tuple(sections))


def _section(label: str, table: sa.Table, options: Mapping[str, Any], own: Mapping[str, Any]) -> Section:
    _known(own, SECTION, f"{label} option")
    columns = own.get("columns", {})
    names = [column.name for column in schema.source_columns(table)]
    _known(columns, names, f"{label} column")
    _check_reading(label, options)
    fields = {column: _field(f"{label} {column}", table.c[column], columns[column], options) for column in columns}
    if "currency" in names and "currency" not in fields and options.get("currency"):
        fields["currency"] = Field(value=str(options["currency"]))
    recorded, lag_days = _recorded(label, own.get("recorded_at", {}), options)
    section = Section(
        label=label,
        table=table.name,
        files=tuple(_texts(label, "files", own.get("files", []))),
        encoding=str(options.get("encoding", "")),
        delimiter=str(options.get("delimiter", "")),
        fields=fields,
        recorded_at=recorded,
        lag_days=lag_days,
        dump=own.get("dump", _dated_without_date(table, fields)),
    )
    _check_section(section, table)
    return section


def _dated_without_date(table: sa.Table, fields: Mapping[str, Field]) -> bool:
    return table.info["kind"] == "dated" and table.info["happened"] not in fields


def _check_section(section: Section, table: sa.Table) -> None:
    if not section.files:
        raise DataError(f'{section.label} has no files; write for example files = ["{table.name}*.csv"]')
    if not isinstance(section.dump, bool) or (section.dump and table.info["kind"] != "dated"):
        raise DataError(
            f"{section.label} dump = {section.dump!r}: it is true or false, and only for tables with dated attributes "
            f"({', '.join(t.name for t in schema.tables().values() if t.info['kind'] == 'dated')}); leave it out"
        )
    dated = table.info["happened"] if section.dump else ""
    for column in schema.source_columns(table):
        if column.info["required"] and column.name not in section.fields and column.name != dated:
            raise DataError(
                f"{section.label} does not say where {column.name} ({column.doc}) comes from; add {column.name} to its "
                "columns"
            )


def _field(label: str, column: sa.Column[Any], given: Any, options: Mapping[str, Any]) -> Field:
    """Return how a canonical column is filled; ``given`` is a source column's name or a table of options."""
    if isinstance(given, str):
        given = {"column": given}
    if not isinstance(given, Mapping):
        raise DataError(f'{label} is {given!r}; give the source column as text, or {{ value = "…" }} for a constant')
    _known(given, FIELD, f"{label} option")
    if ("column" in given) == ("value" in given):
        raise DataError(f"{label} needs either a column or a value, and not both; leave one out")
    unit = given.get("unit", "minor")
    money = column.info.get("unit") == "minor units"
    if unit not in UNITS or ("unit" in given and not money):
        raise DataError(f'{label}: unit = {unit!r}; it is "minor" or "major", and only for money columns (…_minor)')
    values = {str(key): _text(value) for key, value in dict(given.get("values", {})).items()}
    allowed = column.info.get("values", ())
    wrong = [value for value in values.values() if allowed and value not in allowed]
    if wrong:
        raise DataError(f"{label}: values maps to {wrong[0]!r}, which is none of {', '.join(allowed)}; use one of them")
    if "value" in given:
        return Field(value=_text(given["value"]), unit=unit)
    reading = {**options, **given}
    _check_reading(label, reading)
    return Field(
        column=str(given["column"]),
        formats=_formats(label, reading, column),
        unit=unit,
        values=values,
        null=tuple(_texts(label, "null", reading.get("null", [""]))),
        decimal=reading.get("decimal", "."),
        thousands=reading.get("thousands", ""),
        time_zone=reading.get("time_zone", "UTC"),
    )


def _recorded(label: str, given: Any, options: Mapping[str, Any]) -> tuple[Field | None, float]:
    if isinstance(given, str):
        given = {"column": given}
    if not isinstance(given, Mapping):
        raise DataError(f'{label} recorded_at is {given!r}; write {{ column = "…" }} or {{ lag_days = 1 }}')
    _known(given, (*FIELD, "lag_days"), f"{label} recorded_at option")
    if "lag_days" not in given:
        column = schema.tables()["customers"].c.recorded_at
        return (_field(f"{label} recorded_at", column, given, options) if given else None), 0.0
    lag = given["lag_days"]
    if len(given) > 1 or isinstance(lag, bool) or not isinstance(lag, int | float) or lag < 0:
        raise DataError(f"{label} recorded_at: lag_days is {lag!r}; it stands alone and is a number of days, 0 or more")
    return None, float(lag)


def _formats(label: str, reading: Mapping[str, Any], column: sa.Column[Any]) -> tuple[str, ...]:
    """Return the formats of a date column; to one without hours, times of day are added where they may follow."""
    if not isinstance(column.type, sa.Date | sa.DateTime):
        if "format" in reading:
            raise DataError(f"{label}: format is for dates and times, and this column holds none; leave it out")
        return ()
    formats = _texts(label, "date_format", reading.get("format", reading.get("date_format", [])))
    for text in formats:
        try:
            dt.datetime(2024, 12, 31).strftime(text)
        except ValueError as error:
            raise DataError(f"{label}: {text!r} is no date format ({error}); write it like %d.%m.%Y") from error
        if "%" not in text:
            raise DataError(f"{label}: {text!r} is no date format; write it like %d.%m.%Y")
    timed = [f"{text} {time}" for text in formats if "%H" not in text for time in ("%H:%M:%S", "%H:%M")]
    return (*formats, *timed)


def _check_reading(label: str, options: Mapping[str, Any]) -> None:
    marks = {"decimal": (".", ","), "thousands": ("", ".", ",", "'", " ")}
    for option, allowed in marks.items():
        if options.get(option, allowed[0]) not in allowed:
            raise DataError(f"{label}: {option} = {options[option]!r}; it is one of {' '.join(map(repr, allowed))}")
    if options.get("thousands") and options["thousands"] == options.get("decimal", "."):
        raise DataError(f"{label}: thousands and decimal are both {options['thousands']!r}; give two different marks")
    if "delimiter" in options and (len(str(options["delimiter"])) != 1 or options["delimiter"] in '"\r\n'):
        raise DataError(f'{label}: delimiter = {options["delimiter"]!r}; it is one character, such as ";" or "\\t"')
    try:
        _check_encoding(str(options.get("encoding") or "utf-8"))
    except (LookupError, UnicodeError, ValueError) as error:
        raise DataError(
            f'{label}: there is no encoding {options["encoding"]!r}; usual ones are "utf-8", "cp1251", "utf-16"'
        ) from error
    try:
        ZoneInfo(str(options.get("time_zone", "UTC")))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(
            f'{label}: there is no time zone {options["time_zone"]!r}; write it like "Europe/Prague"'
        ) from error


def _check_encoding(name: str) -> None:
    """Raise an error for what is no encoding of texts, or none that can go on behind bytes that are not of it."""
    "a".encode(name)
    b"\xff\xff\xff\xff".decode(name, "surrogateescape")


def _text(value: Any) -> str:
    """Return a TOML value as the text a source would hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _texts(label: str, option: str, given: Any) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise DataError(f"{label}: {option} is {given!r}; give a text or a list of texts")
    return listed


def closest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for a mistyped name, with a leading space, or "" where nothing is near.

    >>> closest("custmers", ["customers", "products"])
    ' (did you mean customers?)'
    """
    lowered = {text.lower(): text for text in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f" (did you mean {lowered[found[0]]}?)" if found else ""


def _known(given: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    if not isinstance(given, Mapping):
        raise DataError(f"{what}s: a table of options is expected here, not {given!r}")
    listed = list(known)
    for name in given:
        if name not in listed:
            raise DataError(f"{what} {name} is unknown{closest(name, listed)}; known are {', '.join(listed)}")
