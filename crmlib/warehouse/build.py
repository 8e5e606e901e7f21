"""The physical layout of a version's file: how tables are created, extended and sorted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.warehouse import company as companies
from crmlib.warehouse import engine, schema

_TYPES = {
    sa.String: "VARCHAR",
    sa.Text: "VARCHAR",
    sa.Date: "DATE",
    sa.DateTime: "TIMESTAMP",
    sa.BigInteger: "BIGINT",
    sa.Integer: "INTEGER",
    sa.Double: "DOUBLE",
    sa.Boolean: "BOOLEAN",
}


def duckdb_type(column: sa.Column) -> str:
    """Return the DuckDB type of a canonical column.

    >>> duckdb_type(schema.tables()["holdings"].c.opened_on)
    'DATE'
    """
    return _TYPES[type(column.type)]


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the empty canonical tables, ``meta`` and ``customer_keys`` in a new file."""
    for table in schema.tables().values():
        columns = ", ".join(f'"{column.name}" {duckdb_type(column)}' for column in table.columns)
        connection.execute(f'CREATE TABLE "{table.name}" ({columns})')
    connection.execute("CREATE TABLE meta (key VARCHAR, value VARCHAR)")
    connection.execute("CREATE TABLE customer_keys (customer_id VARCHAR, customer_key INTEGER)")


def describe(
    connection: duckdb.DuckDBPyConnection, *, version: int, company: companies.Company, created_at: str
) -> None:
    """Write what the file says of itself into ``meta``."""
    connection.execute("DELETE FROM meta")
    values = {
        "format_version": str(schema.FORMAT_VERSION),
        "version": str(version),
        "company": company.to_json(),
        "created_at": created_at,
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", list(values.items()))


def extend_keys(connection: duckdb.DuckDBPyConnection, customer_ids: str) -> None:
    """Give a key to each new customer; ``customer_ids`` is a query with a column customer_id. Keys never change."""
    connection.execute(
        f"""
        INSERT INTO customer_keys
        SELECT customer_id, (SELECT coalesce(max(customer_key), -1) FROM customer_keys) + row_number() OVER (ORDER BY customer_id)
        FROM (SELECT DISTINCT customer_id FROM ({customer_ids}) WHERE customer_id IS NOT NULL)
        WHERE customer_id NOT IN (SELECT customer_id FROM customer_keys)
        """
    )


def replace_table(
    connection: duckdb.DuckDBPyConnection, table: sa.Table, rows: str, constants: Mapping[str, str] | None = None
) -> None:
    """Rebuild a table from the query ``rows`` (its columns but customer_key), sorted by customer and time.

    ``constants`` are columns that ``rows`` need not have, each with the SQL of its value: they need no sorting.
    """
    constant = constants or {}
    names = [column.name for column in table.columns if column.name not in ("customer_key", *constant)]
    listed = ", ".join(f'r."{name}"' for name in names)
    order = [f'r."{name}"' for name in (table.info["happened"], *schema.natural_key(table)) if name]
    if "customer_key" in table.c:
        select = f"SELECT {listed}, k.customer_key FROM ({rows}) r LEFT JOIN customer_keys k USING (customer_id)"
        order.insert(0, "k.customer_key")
    else:
        select = f"SELECT {listed} FROM ({rows}) r"
    values = {column.name: f'"{column.name}"' for column in table.columns} | dict(constant)
    columns = ", ".join(f'{values[column.name]} AS "{column.name}"' for column in table.columns)
    connection.execute(f"CREATE TABLE rebuilt AS SELECT {columns} FROM ({select} ORDER BY {', '.join(order)})")
    connection.execute(f'DROP TABLE "{table.name}"')
    connection.execute(f'ALTER TABLE rebuilt RENAME TO "{table.name}"')


def from_frames(
    path: Path, frames: Mapping[str, pd.DataFrame], *, company: companies.Company | None = None, version: int = 1
) -> None:
    """Write a version's file straight from canonical data frames: for tests and experiments, without any check of rows.

    Columns that a frame lacks stay empty; ``recorded_at`` defaults to the time the row happened, or to 1900-01-01.
    """
    with engine.connect(path) as connection:
        create(connection)
        tables = schema.tables()
        unknown = sorted(set(frames) - set(tables))
        if unknown:
            raise DataError(f"there is no table {', '.join(unknown)}; there are {', '.join(tables)}")
        for name in frames:
            if "customer_id" in frames[name].columns:
                connection.register("given", frames[name][["customer_id"]])
                extend_keys(connection, "SELECT customer_id::VARCHAR AS customer_id FROM given")
                connection.unregister("given")
        for name, given in frames.items():
            table = tables[name]
            connection.register("given", given)
            columns = []
            for column in table.columns:
                if column.name == "customer_key":
                    continue
                if column.name in given.columns:
                    value = f'"{column.name}"'
                elif column.name == "recorded_at":
                    value = f'"{table.info["happened"]}"' if table.info["happened"] else "TIMESTAMP '1900-01-01'"
                else:
                    value = "1" if column.name == "load_id" else "NULL"
                columns.append(f'CAST({value} AS {duckdb_type(column)}) AS "{column.name}"')
            replace_table(connection, table, f"SELECT {', '.join(columns)} FROM given")
            connection.unregister("given")
        describe(connection, version=version, company=company or companies.Company(), created_at="")
        connection.execute("CHECKPOINT")
