"""What a load changes: its good rows against the current ones, and the tables that result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import sqlalchemy as sa

from crmlib.warehouse import build, rules, schema
from crmlib.warehouse.mapping import Section

ALWAYS_KNOWN = "TIMESTAMP '1900-01-01'"
"""From when rows of tables without a date are known when they first appear."""


@dataclass(frozen=True)
class Changes:
    """What one section changed: rows that are ``new`` and rows that ``changed``."""

    new: int
    changed: int


def apply(
    connection: duckdb.DuckDBPyConnection, sections: Sequence[Section], *, load_id: int, recorded_at: dt.datetime
) -> dict[int, Changes]:
    """Bring the good rows of all sections into the version being built; return what each section changed.

    The views good_<number> hold the rows (``rules.keep_good``). A row whose key is there with other
    content is superseded; columns the section does not fill keep what they had. Of a dump (the state at the time of
    the load) a changed row becomes a further dated row. Sections of one table act one after the other; what a later
    one adds to a row of the same load counts as known with it. Only tables that change are rebuilt.
    """
    found: dict[int, Changes] = {}
    for name, table in schema.tables().items():
        numbers = [number for number, section in enumerate(sections) if section.table == name]
        current, rows = f'main."{name}"', ""
        for number in numbers:
            if rows:
                connection.execute(f"CREATE TEMP TABLE state_{number} AS {rows}")
                current, rows = f"state_{number}", ""
            _compare(connection, table, sections[number], number, current=current, load_id=load_id, at=recorded_at)
            found[number] = _counted(connection, number)
            if found[number].new or found[number].changed:
                rows = _result(table, number, current=current, load_id=load_id)
            # Other tables hold only customers that are there, so that each of theirs has a key.
            if name == "customers":
                build.extend_keys(connection, f"SELECT customer_id FROM delta_{number}")
        if rows and len(numbers) == 1 and _empty(connection, current):
            rows, constants = _first_rows(table, sections[numbers[0]], numbers[0], load_id)
            build.replace_table(connection, table, rows, constants)
        elif rows or current.startswith("state_"):
            build.replace_table(connection, table, rows or f"SELECT * FROM {current}")
    return found


def _empty(connection: duckdb.DuckDBPyConnection, relation: str) -> bool:
    return not connection.execute(f"SELECT 1 FROM {relation} LIMIT 1").fetchall()


def _first_rows(table: sa.Table, section: Section, number: int, load_id: int) -> tuple[str, dict[str, str]]:
    """Return the query of a table's rows where it had none, and the columns that are the same for all of them."""
    given = {*rules.filled(section), table.info["happened"], "recorded_at"}
    other = [column for column in table.columns if column.name not in {*given, "customer_key"}]
    constants = {column.name: f"CAST(NULL AS {build.duckdb_type(column)})" for column in other}
    names = ", ".join(f'"{column.name}"' for column in table.columns if column.name in given)
    return f"SELECT {names} FROM delta_{number}", {**constants, "load_id": f"{load_id}::INTEGER"}


def _compare(
    connection: duckdb.DuckDBPyConnection,
    table: sa.Table,
    section: Section,
    number: int,
    *,
    current: str,
    load_id: int,
    at: dt.datetime,
) -> None:
    """Make delta_<number>: the rows to add, with old_row, the row they were compared with, and what becomes of it."""
    mapped = rules.filled(section)
    dated = table.info["happened"] if table.info["kind"] == "dated" else ""
    keys = schema.entity_key(table)
    compared = [name for name in mapped if name not in schema.natural_key(table)]
    differs = " OR ".join(f'i."{name}" IS DISTINCT FROM c."{name}"' for name in compared) or "false"
    happened = _happened(table, section, at, load_id)
    # A date says when a row of a history holds; in a dump the rows of an entity are told apart by the load.
    fresh = f"c.row_ IS NULL OR c.{dated} <> i.{dated}" if dated and not section.dump else "c.row_ IS NULL"
    replaces = f"NOT fresh AND old_{dated} = {dated}" if dated else "NOT fresh"
    carried = [column.name for column in schema.source_columns(table) if column.name not in mapped]
    columns = [f'i."{name}"' for name in mapped if name != dated]
    columns += [f'c."{name}"' for name in carried if name != dated]
    columns += [f"{happened} AS {dated}", f"c.{dated} AS old_{dated}"] if dated else []
    join = " AND ".join(f'i."{name}" = c."{name}"' for name in keys)
    if dated:
        join += f" AND i.probe_ >= c.{dated}"
    known = f"CAST({happened} AS TIMESTAMP) + to_seconds({section.lag_days * 86400})" if happened else ALWAYS_KNOWN
    known_since = (
        f"CASE WHEN {fresh} THEN coalesce(i.recorded, {known}) WHEN c.load_id = {load_id} THEN c.recorded_at "
        f"ELSE {_learned(at)} END"
    )
    # Into an empty table all rows go as they are: writing them twice would cost most of the time of a first load.
    kind, compared_with = (
        "TABLE",
        f"""{"ASOF" if dated else ""} LEFT JOIN (
                SELECT rowid AS row_, * FROM {current} WHERE superseded_at IS NULL
            ) c ON {join}""",
    )
    if _empty(connection, current):
        nothing = ", ".join(f'CAST(NULL AS {build.duckdb_type(column)}) AS "{column.name}"' for column in table.columns)
        kind, compared_with = "VIEW", f"CROSS JOIN (SELECT CAST(NULL AS BIGINT) AS row_, {nothing}) c"
    connection.execute(
        f"""
        CREATE TEMP {kind} delta_{number} AS
        SELECT *, {replaces} AS replaces, NOT fresh AND coalesce(old_load = {load_id}, false) AS merges FROM (
            SELECT {", ".join(columns)}, c.row_ AS old_row, c.load_id AS old_load, {fresh} AS fresh,
                   {known_since} AS recorded_at
            FROM (SELECT *, {_probe(table, section, at)} AS probe_ FROM good_{number}) i
            {compared_with}
            WHERE {fresh} OR {differs}
        )
        """
    )


def _learned(at: dt.datetime) -> str:
    """Return when a change was learned: the source's own time where it is later than the row's, else the load's."""
    return f"CASE WHEN i.recorded > c.recorded_at THEN i.recorded ELSE greatest(TIMESTAMP '{at}', c.recorded_at) END"


def _probe(table: sa.Table, section: Section, at: dt.datetime) -> str:
    """Return the date for which the row in force is looked up."""
    dated = table.info["happened"]
    if table.info["kind"] != "dated":
        return "NULL"
    if not section.dump:
        return f"{dated}"
    return f"greatest(DATE '{at.date()}', {dated})" if dated in section.fields else f"DATE '{at.date()}'"


def _happened(table: sa.Table, section: Section, at: dt.datetime, load_id: int) -> str:
    """Return the SQL of the time a row to be added came about, "" for tables without one."""
    name = table.info["happened"]
    if not name or not section.dump:
        return f"i.{name}" if name else ""
    given = [f"i.{name}"] if name in section.fields else []
    first = ", ".join([*given, "CAST(i.recorded AS DATE)", f"DATE '{at.date()}'"])
    changed = ", ".join([f"CAST({_learned(at)} AS DATE)", *given, f"c.{name}"])
    return (
        f"CASE WHEN c.row_ IS NULL THEN coalesce({first}) WHEN c.load_id = {load_id} THEN c.{name} "
        f"ELSE greatest({changed}) END"
    )


def _counted(connection: duckdb.DuckDBPyConnection, number: int) -> Changes:
    new, rows = connection.execute(f"SELECT count(*) FILTER (WHERE fresh), count(*) FROM delta_{number}").fetchall()[0]
    return Changes(new, rows - new)


def _result(table: sa.Table, number: int, *, current: str, load_id: int) -> str:
    """Return the query of a table's rows once delta_<number> is applied to ``current``."""
    names = ", ".join(f'"{column.name}"' for column in schema.source_columns(table))
    kept = ", ".join(f'c."{column.name}"' for column in schema.source_columns(table))
    return f"""
        SELECT {kept}, c.recorded_at, coalesce(c.superseded_at, d.recorded_at) AS superseded_at, c.load_id
        FROM (SELECT rowid AS row_, * FROM {current}) c
        LEFT JOIN (SELECT old_row, recorded_at, merges FROM delta_{number} WHERE replaces) d ON c.row_ = d.old_row
        WHERE NOT coalesce(d.merges, false)
        UNION ALL BY NAME
        SELECT {names}, recorded_at, CAST(NULL AS TIMESTAMP) AS superseded_at, {load_id} AS load_id
        FROM delta_{number}
        """
