"""Who is in an audience: counted or listed by the engine that holds the canonical tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.decisions.audiences import compile as compiler
from crmlib.decisions.audiences import contradictions, levels, sources
from crmlib.decisions.audiences.conditions import Data, leaves, normal
from crmlib.decisions.audiences.form import Condition, python
from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, parse_date

Given = Condition | Mapping[str, Any]


def count(snapshot: Snapshot, conditions: Given, *, data: Path | None = None) -> int:
    """Return how many customers known and not closed at the snapshot's date fulfil the conditions.

    ``data`` is the data folder of saved scores and segments, needed where conditions ask for them. Raises UsageError for
    conditions that are not allowed or contradict each other, NotFoundError for levels, products, scores or segments that
    do not exist.
    """
    return int(_run(snapshot, conditions, data, compiler.count).column(0)[0].as_py())


def customers(snapshot: Snapshot, conditions: Given, *, data: Path | None = None) -> pd.DataFrame:
    """Return the customers counted by ``count``: customer_id, sorted."""
    found = _run(snapshot, conditions, data, compiler.customers)
    return _sorted(found.column(0).to_pylist())


def freeze(snapshot: Snapshot, conditions: Given, *, data: Path | None = None) -> pd.DataFrame:
    """Return the customers as ``customers`` does, for a campaign to keep; raises DataError for an empty audience."""
    found = customers(snapshot, conditions, data=data)
    if found.empty:
        raise DataError(
            f"the audience is empty: nobody known on {snapshot.as_of} fulfils {python(plain(conditions))}; loosen a condition"
        )
    return found


def steps(snapshot: Snapshot, conditions: Given, *, data: Path | None = None) -> list[int]:
    """Return how many customers there are, and how many are left after each condition of the outermost "all of" group."""
    found = _run(snapshot, conditions, data, compiler.steps)
    return [int(column[0].as_py()) for column in found.columns]


def count_sql(
    connection: sa.Connection, as_of: str | dt.date, conditions: Given, *, company: Company | None = None, **tables: Any
) -> int:
    """Return what ``count`` returns, from a database that holds the canonical tables (PostgreSQL, DuckDB).

    ``company`` has the currency and rates of amounts. ``scores`` and ``segments`` name the tables of each model and
    segmentation asked for: customer_id, product_id, score; customer_id, segment.
    """
    checked, target = _prepared(connection, as_of, conditions, company, tables)
    return int(connection.execute(compiler.count(checked, target)).scalar_one())


def customers_sql(
    connection: sa.Connection, as_of: str | dt.date, conditions: Given, *, company: Company | None = None, **tables: Any
) -> pd.DataFrame:
    """Return what ``customers`` returns, from a database as in ``count_sql``."""
    checked, target = _prepared(connection, as_of, conditions, company, tables)
    return _sorted([row[0] for row in connection.execute(compiler.customers(checked, target))])


def plain(conditions: Given) -> Data:
    """Return conditions given in either form as normal JSON; raises UsageError for bad or contradictory ones."""
    found = normal(conditions.data if isinstance(conditions, Condition) else conditions)
    contradictions.check(found)
    return found


def _sorted(ids: list[str]) -> pd.DataFrame:
    # Engines order texts each in their own way, so the rows are sorted here.
    return pd.DataFrame({"customer_id": pd.Series(sorted(ids), dtype="str")})


def _run(snapshot: Snapshot, conditions: Given, data: Path | None, make: Any) -> pa.Table:
    """Run a statement on a version of its own, with the scores and segments it asks for registered beside it."""
    found = plain(conditions)
    warehouse = snapshot.warehouse
    names, tables = sources.tables(found, data, snapshot.as_of)
    company = warehouse.company
    target = compiler.Target(
        snapshot.as_of, keyed=True, currency=company.currency, rates=company.exchange_rates, **names
    )
    with warehouse.scan() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        levels.check(found, target, lambda select: _execute(connection, warehouse.engine, select).fetchall())
        return _execute(connection, warehouse.engine, make(found, target)).to_arrow_table()


def _execute(connection: duckdb.DuckDBPyConnection, engine: sa.Engine, select: sa.Select[Any]) -> Any:
    compiled = select.compile(engine, compile_kwargs={"render_postcompile": True})
    given = compiled.params
    return connection.execute(str(compiled), [given[name] for name in compiled.positiontup or []])


def _prepared(
    connection: sa.Connection,
    as_of: str | dt.date,
    conditions: Given,
    company: Company | None,
    tables: Mapping[str, Any],
) -> tuple[Data, compiler.Target]:
    found, known = plain(conditions), company or Company()
    for kind, asked in (("score", "model"), ("segment", "segmentation")):
        lacking = [
            one["where"][asked]
            for one in leaves(found)
            if one["field"] == kind and one["where"][asked] not in tables.get(f"{kind}s", {})
        ]
        if lacking:
            raise NotFoundError(f"no table of {kind}s is named for {lacking[0]!r}; name it in {kind}s={{…}}")
    target = compiler.Target(parse_date(as_of), currency=known.currency, rates=known.exchange_rates, **tables)
    levels.check(found, target, lambda select: connection.execute(select).fetchall())
    return found, target
