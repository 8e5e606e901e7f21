"""What a row must be like to go in: rules in SQL, and the remedy for each in plain words."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import sqlalchemy as sa

from crmlib.warehouse import build, reading, schema
from crmlib.warehouse.mapping import RECORDED, Section
from crmlib.warehouse.reading import literal
from crmlib.warehouse.snapshot import EARLIEST, LATEST
from crmlib.warehouse.sources import Part, Staged, lines_of

SHOWN = 200
"""Characters of a bad value that are reported."""

PROBLEMS = 'section INTEGER, file INTEGER, line BIGINT, "column" VARCHAR, rule VARCHAR, value VARCHAR'

_REMEDIES = {
    "ragged": "give the line as many fields as the header has; a delimiter inside a text needs quotation marks around the text",
    "quotation": "close every quotation mark on its line's value and double those inside a quoted text",
    "encoding": 'save the file as UTF-8, or set its encoding in the mapping, such as encoding = "cp1251"',
    "unreadable": "remove the NUL characters; the export or the disk has damaged this line",
    "too_long": "shorten the text to at most 131,072 characters, or close its quotation mark",
    "missing": "fill it in; without it the row means nothing",
    "impossible_date": "write a date that exists, in the format the mapping gives (default: 2025-03-31)",
    "in_future": "correct the date, or load the row when it has happened",
    "conflicting_duplicate": "several rows have this key and differ: keep the right one of them",
    "not_allowed": "use one of the values of the schema, or translate yours with values = { … } in the mapping",
    "out_of_range": "correct the value; see docs/schema.md for the range",
    "unknown_reference": "load the row it refers to first (or together with this one), or correct it",
}


@dataclass(frozen=True)
class Check:
    """A rule for one column: ``condition`` is SQL, true for bad rows, over the cell t_… and the value v_…."""

    column: str
    rule: str
    condition: str


def remedy(rule: str, table: sa.Table, column: str) -> str:
    """Return what to do about a broken rule, in plain words.

    >>> remedy("wrong_type", schema.tables()["customers"], "children")
    'write a whole number'
    """
    if rule != "wrong_type":
        text = _REMEDIES[rule]
        info = table.c[column].info if column in table.c else {}
        if rule == "not_allowed":
            text += f" (allowed: {', '.join(info['values'])})"
        if rule == "out_of_range":
            low, high = (info.get(end) for end in ("low", "high"))
            bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
            text = f"correct the value: {' and '.join(bounds)} is possible" if bounds else _placeholder()
        return text
    kind = table.c[column].type
    if isinstance(kind, sa.Boolean):
        return (
            'write true or false, or translate your words with values = { ja = "true", nein = "false" } in the mapping'
        )
    if isinstance(kind, sa.Double):
        return 'write a number; decimal commas need decimal = "," in the mapping'
    if table.c[column].info.get("unit") == "minor units":
        return (
            'write an amount as a number; units with decimals need unit = "major", commas decimal = "," in the mapping'
        )
    return "write a whole number"


def _placeholder() -> str:
    return (
        f"dates before {EARLIEST} or after {LATEST} are taken for placeholders; leave the cell empty, or add the "
        'placeholder to null = ["", "9999-12-31"] in the mapping'
    )


def filled(section: Section) -> list[str]:
    """Return the names of the canonical columns a section fills, in the order of the schema."""
    table = schema.tables()[section.table]
    return [column.name for column in schema.source_columns(table) if column.name in section.fields]


def key(section: Section) -> list[str]:
    """Return the columns that tell a section's rows apart within one load."""
    table = schema.tables()[section.table]
    return schema.entity_key(table) if section.dump else schema.natural_key(table)


def checks(section: Section, recorded_at: dt.datetime) -> list[Check]:
    """Return the rules that a row of ``section`` can break by itself."""
    table = schema.tables()[section.table]
    found: list[Check] = []
    for name in filled(section):
        found.extend(_column_checks(table, table.c[name], recorded_at, dump=section.dump))
    if section.recorded_at:
        found.extend(_date_checks(RECORDED, recorded_at, past=True, is_time=True))
    return found


def _column_checks(table: sa.Table, column: sa.Column[Any], recorded_at: dt.datetime, *, dump: bool) -> Iterator[Check]:
    name, info = column.name, column.info
    happened = name == table.info["happened"]
    if info["required"] and not (dump and happened):
        yield Check(name, "missing", f'"t_{name}" IS NULL')
    if isinstance(column.type, sa.Date | sa.DateTime):
        past = name == "birth_date" or (happened and table.name not in schema.ANNOUNCED)
        yield from _date_checks(name, recorded_at, past=past, is_time=isinstance(column.type, sa.DateTime))
    elif not isinstance(column.type, sa.String):
        yield Check(name, "wrong_type", f'"t_{name}" IS NOT NULL AND "v_{name}" IS NULL')
    if info["values"]:
        yield Check(name, "not_allowed", f'"v_{name}" NOT IN ({", ".join(map(literal, info["values"]))})')
    bounds = [f'"v_{name}" < {info["low"]}'] * (info["low"] is not None)
    bounds += [f'"v_{name}" > {info["high"]}'] * (info["high"] is not None)
    if bounds:
        yield Check(name, "out_of_range", " OR ".join(bounds))


def _date_checks(name: str, recorded_at: dt.datetime, *, past: bool, is_time: bool) -> Iterator[Check]:
    yield Check(name, "impossible_date", f'"t_{name}" IS NOT NULL AND "v_{name}" IS NULL')
    outside = f"\"v_{name}\" < DATE '{EARLIEST}' OR \"v_{name}\" > DATE '{LATEST}'"
    yield Check(name, "out_of_range", outside)
    if past:
        # A day of grace: local times run ahead of UTC.
        limit = recorded_at + dt.timedelta(days=1)
        shown = f"TIMESTAMP '{limit}'" if is_time else f"DATE '{limit.date()}'"
        yield Check(name, "in_future", f'"v_{name}" > {shown} AND "v_{name}" <= DATE \'{LATEST}\'')


def create_tables(connection: duckdb.DuckDBPyConnection, sections: Sequence[Section]) -> None:
    """Create the tables of typed rows, typed_0 …, and that of problems."""
    connection.execute(f"CREATE TABLE problems ({PROBLEMS})")
    for number, section in enumerate(sections):
        table = schema.tables()[section.table]
        columns = [f'"{name}" {build.duckdb_type(table.c[name])}' for name in filled(section)]
        connection.execute(
            f"CREATE TABLE typed_{number} (file INTEGER, line BIGINT, {', '.join(columns)}, recorded TIMESTAMP, bad BOOLEAN)"
        )


def cast(
    connection: duckdb.DuckDBPyConnection, part: Part, number: int, section: Section, *, recorded_at: dt.datetime
) -> None:
    """Add rows of a source to typed_<number>, where ``bad`` says whether a row by itself breaks a rule."""
    bad = " OR ".join(f"({check.condition})" for check in _checks_of(part, section, recorded_at))
    long = {check.column: check.condition for check in _too_long(part, section)}
    names = ", ".join(
        f'CASE WHEN {long[name]} THEN NULL ELSE "v_{name}" END' if name in long else f'"v_{name}"'
        for name in filled(section)
    )
    recorded = f'"v_{RECORDED}"' if section.recorded_at else "NULL"
    connection.execute(
        f"INSERT INTO typed_{number} SELECT {part.number}, line, {names}, {recorded}, coalesce({bad}, false) "
        f"FROM ({_values(part, section, recorded_at)})"
    )


def name_problems(
    connection: duckdb.DuckDBPyConnection, staged: Staged, number: int, section: Section, *, recorded_at: dt.datetime
) -> None:
    """Enter into ``problems`` what is wrong with the rows of a source that are bad by themselves, and its broken lines."""
    connection.execute(
        f"INSERT INTO problems SELECT {number}, {staged.number}, line, '', rule, found FROM {staged.broken}"
    )
    bad = f"SELECT line FROM typed_{number} WHERE bad AND file = {staged.number} ORDER BY line"
    for part in lines_of(connection, staged, np.asarray(connection.execute(bad).fetchnumpy()["line"])):
        found = _checks_of(part, section, recorded_at)
        shown = [
            f'CAST("t_{name}" AS VARCHAR)[:{SHOWN}] AS "s_{name}"' for name in dict.fromkeys(c.column for c in found)
        ]
        broken = [f"{check.condition} AS broken_{place}" for place, check in enumerate(found)]
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT line, {', '.join([*shown, *broken])} "
            f"FROM ({_values(part, section, recorded_at)})"
        )
        for place, check in enumerate(found):
            connection.execute(
                f"INSERT INTO problems SELECT {number}, {staged.number}, line, {literal(check.column)}, "
                f'{literal(check.rule)}, "s_{check.column}" FROM suspects WHERE broken_{place}'
            )
        connection.execute("DROP TABLE suspects")


def _checks_of(part: Part, section: Section, recorded_at: dt.datetime) -> list[Check]:
    return [*checks(section, recorded_at), *_too_long(part, section)]


def _too_long(part: Part, section: Section) -> list[Check]:
    """Return the rules against texts longer than a cell of a delimited file may be, for sources that know no limit.

    A small Parquet file can hold texts that would fill the disk.
    """
    if part.source.kind == "csv":
        return []
    table, longest = schema.tables()[section.table], csv.field_size_limit()
    texts = [name for name in filled(section) if isinstance(table.c[name].type, sa.String)]
    # The bytes are known at once, the characters must be counted.
    condition = f'coalesce(strlen("v_{{0}}") > {longest} AND length("v_{{0}}") > {longest}, false)'
    return [Check(name, "too_long", condition.format(name)) for name in texts]


def _values(part: Part, section: Section, recorded_at: dt.datetime) -> str:
    """Return the query of some rows with, for each column filled, the cell t_… and the value v_…."""
    table = schema.tables()[section.table]
    fields = {name: (section.fields[name], table.c[name]) for name in filled(section)}
    if section.recorded_at:
        fields[RECORDED] = (section.recorded_at, table.c.recorded_at)
    cells, values = ["line"], ["*"]
    currency = '"t_currency"' if "currency" in fields else None
    for name, (how, column) in fields.items():
        raw = part.columns[how.column] if how.column else None
        expression, kind = reading.cell(how, column, raw, trimmed=raw is not None and raw[0] in part.trimmed)
        plain = kind == "text" and part.source.plain
        cells.append(f'{expression} AS "t_{name}"')
        found = reading.value(
            how,
            column,
            f'"t_{name}"',
            kind="plain" if plain else kind,
            currency=currency,
            recorded_at=recorded_at,
        )
        values.append(f'{found} AS "v_{name}"')
    return f"SELECT {', '.join(values)} FROM (SELECT {', '.join(cells)} FROM {part.relation})"


def find_duplicates(connection: duckdb.DuckDBPyConnection, number: int, section: Section) -> None:
    """Enter rows of one key that differ into ``problems``; list further copies of equal rows in spare_<number>."""
    keys = [f'"{name}"' for name in key(section)]
    listed, rows = ", ".join(keys), ", ".join(f'"{name}"' for name in filled(section))
    filled_in = " AND ".join(f"{name} IS NOT NULL" for name in keys)
    connection.execute(
        f"CREATE TEMP TABLE twice AS SELECT {listed} FROM typed_{number} WHERE {filled_in} GROUP BY ALL HAVING count(*) > 1"
    )
    connection.execute(
        f"""
        CREATE TABLE spare_{number} AS
        SELECT t.file, t.line, t.bad, k.differ, concat_ws(' / ', {listed}) AS shown,
               row_number() OVER (PARTITION BY {listed} ORDER BY t.bad, t.file, t.line) AS nth
        FROM typed_{number} t JOIN (
            SELECT {listed}, count(DISTINCT row({rows})) > 1 AS differ
            FROM typed_{number} SEMI JOIN twice USING ({listed}) GROUP BY {listed}
        ) k USING ({listed})
        """
    )
    connection.execute("DROP TABLE twice")
    connection.execute(
        f"INSERT INTO problems SELECT {number}, file, line, {literal(' '.join(key(section)))}, 'conflicting_duplicate', "
        f"shown[:{SHOWN}] FROM spare_{number} WHERE differ"
    )
    connection.execute(f"DELETE FROM spare_{number} WHERE differ OR bad OR nth = 1")


def references(section: Section) -> dict[str, str]:
    """Return the columns a section fills that refer to another row, and the table each refers to."""
    table = schema.tables()[section.table]
    return {name: table.c[name].info["refers"] for name in filled(section) if table.c[name].info["refers"]}


def in_order(sections: Sequence[Section]) -> list[int]:
    """Return the numbers of the sections so that a table comes after those its rows refer to."""
    order: list[str] = []

    def visit(name: str) -> None:
        for column in schema.source_columns(schema.tables()[name]):
            target = column.info["refers"]
            if target and target != name and target not in order:
                visit(target)
        if name not in order:
            order.append(name)

    for name in schema.tables():
        visit(name)
    return sorted(range(len(sections)), key=lambda number: (order.index(sections[number].table), number))


def find_orphans(connection: duckdb.DuckDBPyConnection, number: int, sections: Sequence[Section]) -> None:
    """Enter rows of section ``number`` that refer to nothing into the temporary table ``orphans``.

    The connection is to the version being built, with the staging file attached as ``staging``. Known are the rows of
    that version and the good rows of this load. Customers must be known always; other tables where they have any rows.
    """
    for column, target in references(sections[number]).items():
        known = f'"{schema.entity_key(schema.tables()[target])[0]}"'
        queries = [f'SELECT {known} AS k FROM main."{target}"']
        for other, section in enumerate(sections):
            if section.table == target:
                source = f"staging.typed_{other} WHERE NOT bad" if other == number else f"good_{other}"
                queries.append(f"SELECT {known} AS k FROM {source}")
        union = " UNION ALL ".join(queries)
        if target != "customers" and not connection.execute(f"SELECT 1 FROM ({union}) LIMIT 1").fetchall():
            continue
        connection.execute(
            f"""
            INSERT INTO orphans
            SELECT {number}, file, line, {literal(column)}, 'unknown_reference', "{column}"[:{SHOWN}]
            FROM staging.typed_{number} WHERE NOT bad AND "{column}" NOT IN (SELECT k FROM ({union}) WHERE k IS NOT NULL)
            """
        )


def keep_good(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """Make the temporary view good_<number> of the rows of a section that break no rule, each once."""
    out = (
        f"SELECT file, line FROM staging.problems WHERE section = {number} "
        f"UNION ALL SELECT file, line FROM orphans WHERE section = {number} "
        f"UNION ALL SELECT file, line FROM staging.spare_{number}"
    )
    connection.execute(f"CREATE TEMP TABLE out_{number} AS SELECT DISTINCT file, line FROM ({out})")
    connection.execute(
        f"CREATE TEMP VIEW good_{number} AS SELECT t.* FROM staging.typed_{number} t "
        f"ANTI JOIN out_{number} o USING (file, line) WHERE NOT t.bad"
    )
