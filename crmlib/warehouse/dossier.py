"""Everything a snapshot knows about one customer, read in milliseconds while the customer is on the line.

A version's tables are sorted by customer_key, so a customer's rows lie side by side and each table gives them up with one
plain query. What ``snapshot.known`` says in SQL for all customers at once is said here in Python for one.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import NotFoundError
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, cutoff, moment

Row = dict[str, Any]
_SPARSE = 3
"""Of a table with fewer rows than so many per customer it is kept who has any, to spare the others a query."""


@dataclass(frozen=True)
class Query:
    """How one table gives up the rows of a customer.

    ``text`` is its SQL, ``names`` what it returns, ``happened`` what orders the rows; ``hidden`` lists for each
    revealing column its cutoff and the columns it hides; of each ``entity`` of a dated table the last row counts;
    ``some`` says by customer_key who has rows (None: everybody may).
    """

    text: str
    names: tuple[str, ...]
    happened: str
    hidden: tuple[tuple[str, dt.date, tuple[str, ...]], ...]
    entity: tuple[str, ...]
    some: np.ndarray | None = field(repr=False)


@dataclass(frozen=True)
class Dossiers:
    """A snapshot opened for reading customer by customer; ``ids`` in order, with their ``keys``."""

    snapshot: Snapshot
    connection: duckdb.DuckDBPyConnection
    queries: dict[str, Query]
    ids: pa.Array = field(repr=False)
    keys: np.ndarray = field(repr=False)

    def key(self, customer_id: str) -> int:
        """Return the dense number of a customer; raises NotFoundError for an unknown one."""
        place = bisect_left(range(len(self.ids)), customer_id, key=lambda place: self.ids[place].as_py())
        if place == len(self.ids) or self.ids[place].as_py() != customer_id:
            raise NotFoundError(f"customer {customer_id} is not in the warehouse; check the number")
        return int(self.keys[place])

    def read(self, key: int) -> dict[str, list[Row]]:
        """Return the customer's rows of each table as known at the snapshot, in the order of time."""
        return {name: self._rows(query, key) for name, query in self.queries.items()}

    def _rows(self, query: Query, key: int) -> list[Row]:
        if query.some is not None and not query.some[key]:
            return []
        found = self.connection.execute(query.text, [key]).fetchall()
        rows = [dict(zip(query.names, values, strict=True)) for values in found]
        for reveal, at, columns in query.hidden:
            for row in rows:
                if row[reveal] is None or row[reveal] >= at:
                    row.update(dict.fromkeys(columns))
        if query.happened:
            rows.sort(key=lambda row: row[query.happened])
        if query.entity:
            rows = list({tuple(row[name] for name in query.entity): row for row in rows}.values())
        return rows


def open(snapshot: Snapshot, columns: Mapping[str, Iterable[str]], *, every: Container[str] = ()) -> Dossiers:
    """Prepare the reading of these columns of these tables of customers; of the dated tables ``every`` all dated rows.

    >>> import pandas as pd, tempfile, pathlib
    >>> from crmlib.warehouse import build
    >>> from crmlib.warehouse.snapshot import open_file
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "v.duckdb"
    >>> build.from_frames(file, {"contacts": pd.DataFrame(
    ...     {"contact_id": ["1"], "customer_id": ["a"], "occurred_at": ["2025-03-01"], "channel": ["call"]})})
    >>> reader = open(open_file(file).snapshot("2025-03-01"), {"contacts": ["channel"]})
    >>> reader.read(reader.key("a"))["contacts"][0]["channel"]
    'call'
    """
    connection = snapshot.warehouse.connect()
    listed = connection.execute("SELECT customer_id, customer_key FROM customer_keys ORDER BY 1").to_arrow_table()
    keys = listed["customer_key"].to_numpy()
    customers = int(keys.max(initial=-1)) + 1
    queries = {name: _query(snapshot, connection, name, set(given), customers) for name, given in columns.items()}
    queries |= {name: replace(query, entity=()) for name, query in queries.items() if name in every}
    return Dossiers(snapshot, connection, queries, listed["customer_id"].combine_chunks(), keys)


def _query(
    snapshot: Snapshot, connection: duckdb.DuckDBPyConnection, name: str, wanted: set[str], customers: int
) -> Query:
    table, at = schema.tables()[name], cutoff(snapshot.as_of)
    happened, dated = table.info["happened"], table.info["kind"] == "dated"
    entity = tuple(schema.entity_key(table)) if dated else ()
    reveals: dict[str, list[str]] = {}
    for column in sorted(wanted | {happened, *entity} - {""}):
        reveal = table.c[column].info.get("known_from")
        if reveal:
            reveals.setdefault(reveal, []).append(column)
    names = tuple(sorted({*wanted, happened, *entity, *reveals} - {""}))
    conditions = [f"recorded_at < {_literal(at)}", f"(superseded_at IS NULL OR superseded_at >= {_literal(at)})"]
    if happened:
        conditions.append(f'"{happened}" < {_literal(moment(table.c[happened], at))}')
    listed = ", ".join(f'"{column}"' for column in names)
    text = f'SELECT {listed} FROM "{name}" WHERE customer_key = ? AND {" AND ".join(conditions)}'
    hidden = tuple((reveal, moment(table.c[reveal], at), tuple(own)) for reveal, own in reveals.items())
    rows = connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]
    some = _owners(connection, table, customers) if rows < _SPARSE * customers else None
    return Query(text, names, happened, hidden, entity, some)


def _owners(connection: duckdb.DuckDBPyConnection, table: sa.Table, customers: int) -> np.ndarray:
    text = f'SELECT DISTINCT customer_key FROM "{table.name}" WHERE customer_key IS NOT NULL'
    some = np.zeros(customers, dtype=bool)
    some[connection.execute(text).to_arrow_table()["customer_key"].to_numpy()] = True
    return some


def _literal(at: dt.date) -> str:
    return f"{'TIMESTAMP' if isinstance(at, dt.datetime) else 'DATE'} '{at}'"
