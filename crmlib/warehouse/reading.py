"""SQL that turns a source's texts into canonical values: numbers, money, dates, times, truth values."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from crmlib.warehouse import build
from crmlib.warehouse.mapping import Field

WITHOUT_CENTS = [
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
]
WITH_MILLS = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]
"""Currencies whose unit does not have 100 minor ones (ISO 4217)."""

_WHOLE = r"[+-]?\d{1,18}(\.0*)?"
_SHORT = r"[+-]?\d{1,11}(\.\d{1,4})?"
_SMALL = r"[+-]?(\d{1,11}(\.\d*)?|\.\d+)"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)"
_POWER = r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,2}"
_OFFSET = r":.*(Z|[+-]\d\d(:?\d\d)?)$"
_SECONDS = "____-__-_____:__:__"
"""Times to the second as they are mostly written, which have no offset unless they end with Z."""

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")


def literal(text: str) -> str:
    """Return a text as an SQL literal.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def family(kind: str) -> str:
    """Return what a source column of a DuckDB type holds: text, whole, float, decimal, date, time, zoned, truth, other.

    >>> family("DECIMAL(12,2)"), family("TIMESTAMP_NS"), family("VARCHAR")
    ('decimal', 'time', 'text')
    """
    if kind in _INTEGERS:
        return "whole"
    named = {"VARCHAR": "text", "DOUBLE": "float", "FLOAT": "float", "DATE": "date", "BOOLEAN": "truth"}
    if kind in named:
        return named[kind]
    if kind.startswith("DECIMAL"):
        return "decimal"
    if kind.startswith("TIMESTAMP"):
        return "zoned" if kind.endswith("TIME ZONE") else "time"
    return "other"


def cell(how: Field, column: sa.Column[Any], raw: tuple[str, str] | None, *, trimmed: bool = False) -> tuple[str, str]:
    """Return the SQL of a source cell, emptied and translated as the mapping says, and the family of what it yields.

    ``raw`` is the staged column and its DuckDB type, None for a constant. A cell of a typed source stays typed where
    the canonical column is of the same nature; everything else is text. ``trimmed`` says that no cell begins or ends
    with a space.
    """
    if raw is None:
        return literal(how.value or ""), "plain"
    expression, kind = raw[0], family(raw[1])
    stays = {
        sa.Date: ("date", "time", "zoned"),
        sa.DateTime: ("date", "time", "zoned"),
        sa.BigInteger: ("whole",) if how.unit == "major" else ("whole", "float", "decimal"),
        sa.Integer: ("whole", "float", "decimal"),
        sa.Double: ("whole", "float", "decimal"),
        sa.Boolean: ("truth",),
    }.get(type(column.type), ())
    if kind == "float":
        expression = f"CASE WHEN isnan({expression}) THEN NULL ELSE {expression} END"
    if kind in stays and not how.values:
        empty = [literal(text) for text in how.null if text]
        if empty:
            expression = f"CASE WHEN {_shown(expression, kind)} IN ({', '.join(empty)}) THEN NULL ELSE {expression} END"
        return expression, kind
    text = expression if trimmed and kind == "text" else f"trim({_shown(expression, kind)})"
    if how.null == ("",):
        text = f"nullif({text}, '')"
    else:
        listed = ", ".join(literal(text) for text in dict.fromkeys(("", *how.null)))
        text = f"CASE WHEN {text} IN ({listed}) THEN NULL ELSE {text} END"
    if how.values:
        cases = " ".join(f"WHEN {literal(key)} THEN {literal(value)}" for key, value in how.values.items())
        text = f"CASE {text} {cases} ELSE {text} END"
    return text, "text" if kind == "text" else "plain"


def _shown(expression: str, kind: str) -> str:
    if kind == "text":
        return expression
    if kind == "float":  # 17.0 is how pandas writes the key 17 in a column with gaps
        whole = f"{expression} = trunc({expression}) AND abs({expression}) < 9e15"
        return f"CASE WHEN {whole} THEN CAST(CAST({expression} AS BIGINT) AS VARCHAR) ELSE CAST({expression} AS VARCHAR) END"
    if kind == "zoned":
        return f"CAST(timezone('UTC', {expression}) AS VARCHAR)"
    return f"CAST({expression} AS VARCHAR)"


def value(
    how: Field, column: sa.Column[Any], text: str, *, kind: str, currency: str | None, recorded_at: dt.datetime
) -> str:
    """Return the SQL of the canonical value of the cell ``text`` of family ``kind``, NULL where it is none.

    ``currency`` is the SQL of the row's currency, for money that comes in major units.
    """
    match column.type:
        case sa.Date():
            found = _day(how, text, kind)
            return _born(found, recorded_at) if column.name == "birth_date" and "%y" in "".join(how.formats) else found
        case sa.DateTime():
            found = _time(how, text, kind)
        case sa.Boolean():
            found = f"TRY_CAST({text} AS BOOLEAN)"
        case sa.Double():
            found = _double(how, text, kind)
        case sa.Integer() if how.unit == "major":
            found = _minor(how, text, kind, currency)
        case sa.Integer():
            found = f"TRY_CAST({_whole(how, text, kind)} AS {build.duckdb_type(column)})"
        case _:
            found = text
    return found


def _born(day: str, recorded_at: dt.datetime) -> str:
    """Return a date of birth in the past, where the source writes two digits of the year."""
    return f"CASE WHEN {day} > DATE '{recorded_at.date()}' THEN CAST({day} - INTERVAL 100 YEAR AS DATE) ELSE {day} END"


def _numbers(how: Field, text: str, kind: str) -> list[str]:
    """Return the ways to read a text as a number with a decimal point: as it is, and as the mapping says."""
    spaces = f"translate({text}, '\u2212\u00a0\u202f\u2009 ', '-')"
    marked = spaces
    if how.thousands.strip():
        thousands, decimal = literal(how.thousands), "\\" + how.decimal
        grouped = rf"[+-]?\d{{1,3}}(\{how.thousands}\d{{3}})+({decimal}\d*)?"
        marked = f"CASE WHEN regexp_full_match({marked}, {literal(grouped)}) THEN replace({marked}, {thousands}, '') ELSE {marked} END"
    if how.decimal == ",":
        marked = f"CASE WHEN contains({marked}, '.') THEN NULL ELSE replace({marked}, ',', '.') END"
    if marked == spaces:
        return [spaces]
    return [spaces, marked] if kind == "plain" else [marked]


def _plainly(how: Field, text: str) -> tuple[str, str]:
    """Return the condition that a text is digits and at most a decimal mark, and the SQL of it with a decimal point.

    Nearly all are, and need none of the costlier rewriting of ``_numbers``.
    """
    pattern = _SHORT.replace("\\.", f"\\{how.decimal}")
    return f"regexp_full_match({text}, '{pattern}')", text if how.decimal == "." else f"replace({text}, ',', '.')"


def _first(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"coalesce({', '.join(ways)})"


def _whole(how: Field, text: str, kind: str) -> str:
    if kind == "whole":
        return text
    if kind in ("float", "decimal"):
        return f"CASE WHEN {text} = trunc({text}) THEN TRY_CAST({text} AS BIGINT) END"
    ways = _first(
        [
            f"CASE WHEN regexp_full_match({number}, '{_WHOLE}') "
            rf"THEN TRY_CAST(regexp_extract({number}, '^[+-]?\d+') AS BIGINT) END"
            for number in _numbers(how, text, kind)
        ]
    )
    return rf"CASE WHEN regexp_full_match({text}, '[+-]?\d{{1,18}}') THEN TRY_CAST({text} AS BIGINT) ELSE {ways} END"


def _double(how: Field, text: str, kind: str) -> str:
    if kind in ("whole", "float", "decimal"):
        return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) THEN TRY_CAST({text} AS DOUBLE) END"
    ways = _first(
        [
            f"CASE WHEN regexp_full_match({number}, '{_NUMBER}|{_POWER}') THEN TRY_CAST({number} AS DOUBLE) END"
            for number in _numbers(how, text, kind)
        ]
    )
    matches, number = _plainly(how, text)
    return f"CASE WHEN {matches} THEN TRY_CAST({number} AS DOUBLE) ELSE {ways} END"


def _minor(how: Field, text: str, kind: str, currency: str | None) -> str:
    """Return minor units of an amount in major ones, rounded half away from zero, exactly."""
    if kind == "whole":
        return f"TRY_CAST(CAST({text} AS HUGEINT) * {_minor_per_unit(currency)} AS BIGINT)"
    matches, plain = _plainly(how, text)
    times = f"* {_minor_per_unit(currency)} AS BIGINT)"
    ways = []
    for number in _numbers(how, text, kind):
        # Cutting digits off behind the fourth changes no rounding to two or three. Wide decimals are exact, but slow.
        cut = rf"regexp_extract({number}, '^[+-]?\d*\.?\d{{0,4}}')"
        wide = f"CAST(TRY_CAST({number} AS DECIMAL(38, 18)) AS DECIMAL(30, 4))"
        ways.append(
            f"CASE WHEN regexp_full_match({number}, '{_SMALL}') THEN CAST(TRY_CAST({cut} AS DECIMAL(18, 4)) {times} "
            f"WHEN regexp_full_match({number}, '{_NUMBER}') THEN TRY_CAST(TRY_CAST({cut} AS DECIMAL(30, 4)) {times} "
            f"WHEN regexp_full_match({number}, '{_POWER}') THEN TRY_CAST({wide} {times} END"
        )
    return f"CASE WHEN {matches} THEN CAST(TRY_CAST({plain} AS DECIMAL(18, 4)) {times} ELSE {_first(ways)} END"


def _minor_per_unit(currency: str | None) -> str:
    if currency is None:
        return "100"
    none, mills = (", ".join(map(literal, codes)) for codes in (WITHOUT_CENTS, WITH_MILLS))
    return f"(CASE WHEN {currency} IN ({none}) THEN 1 WHEN {currency} IN ({mills}) THEN 1000 ELSE 100 END)"


def _moment(how: Field, text: str, kind: str) -> str:
    plain = [text_format for text_format in how.formats if "%z" not in text_format.lower()]
    ways = []
    if plain:
        ways.append(f"try_strptime({text}, [{', '.join(map(literal, plain))}])")
    ways.extend(f"timezone('UTC', try_strptime({text}, {literal(one)}))" for one in how.formats if one not in plain)
    # TIMESTAMP first, also for days: the cast to DATE overlooks what follows the day.
    if not ways or kind == "plain":
        ways.append(f"TRY_CAST({text} AS TIMESTAMP)")
    return _first(ways)


def _day(how: Field, text: str, kind: str) -> str:
    if kind in ("date", "time"):
        return f"TRY_CAST({text} AS DATE)"
    if kind == "zoned":
        return f"CAST(timezone('UTC', {text}) AS DATE)"
    return f"TRY_CAST({_moment(how, text, kind)} AS DATE)"


def _time(how: Field, text: str, kind: str) -> str:
    if kind == "zoned":
        return f"timezone('UTC', {text})"
    found = f"TRY_CAST({text} AS TIMESTAMP)" if kind in ("date", "time") else _moment(how, text, kind)
    if how.time_zone != "UTC":
        found = f"timezone('UTC', timezone({literal(how.time_zone)}, {found}))"
    if kind in ("date", "time") or (how.formats and kind != "plain"):
        return found
    # The engine wants seconds, and a colon in the offset.
    seconds = rf"regexp_replace({text}, '([T ]\d\d?:\d\d)([Z+-])', '\1:00\2')"
    colon = rf"regexp_replace({seconds}, '([+-]\d\d)(\d\d)$', '\1:\2')"
    offset = f"timezone('UTC', TRY_CAST({colon} AS TIMESTAMPTZ))"
    perhaps = f"({text} NOT LIKE '{_SECONDS}' OR suffix({text}, 'Z'))"
    return f"CASE WHEN {perhaps} AND regexp_matches({text}, '{_OFFSET}') THEN {offset} ELSE {found} END"
