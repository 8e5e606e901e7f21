"""The entry points: build a table of features, fix its levels, say what each column means."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.features import kernel, levels, plan, sql
from crmlib.features.default import DEFAULT
from crmlib.features.plan import Feature
from crmlib.features.spec import Declaration, Specification, closest
from crmlib.warehouse.snapshot import Snapshot, parse_date

MANY = 10_000
"""More customers than this are chosen after the computation: a list that long is slow or refused in a query."""


def build(
    snapshot: Snapshot,
    spec: Iterable[Declaration] = DEFAULT,
    *,
    engine: str = "local",
    customers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the features of each customer known and not closed at the snapshot, or of those named.

    Out: customer_id, as_of, then one column per feature in the order of ``spec`` (``describe`` says name, meaning and
    unit): counts and sums as integers, zero where there are no rows; ages, ratios, trends and variances as doubles, NaN
    where they are not defined; attributes as categories or doubles. Rows are sorted by customer_id.

    ``engine`` is "local" for the kernel or "sql" for the same query that ``build_sql`` pushes down. Levels that ``spec``
    leaves open are those known at the snapshot: between training and scoring keep what ``resolve`` returns.

    Raises NotFoundError for an unknown level, engine or customer, UsageError for two features of one name.
    """
    if engine not in ("local", "sql"):
        raise NotFoundError(f"there is no engine {engine!r}{closest(engine, ('local', 'sql'))}")
    features = plan.expand(resolve(spec, snapshot))
    only = _few(customers)
    if engine == "local":
        values = kernel.compute(snapshot, features, only=only)
    else:
        answer = snapshot.warehouse.arrow(sql.statement(features, snapshot.as_of, only=only)).sort_by("customer_id")
        values = _typed([column.to_pylist() for column in answer.columns], features)
    return _chosen(frame(values, features, snapshot.as_of), customers, snapshot.as_of)


def build_sql(
    bind: sa.Engine | sa.Connection,
    as_of: str | dt.date,
    spec: Iterable[Declaration] = DEFAULT,
    *,
    customers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return what ``build`` returns, computed by the database that holds the canonical tables.

    DuckDB, SQLite and PostgreSQL are tested to agree with the kernel: counts and whole sums exactly, ratios, trends and
    variances within a relative 1e-9. Raises what ``build`` raises, and DataError where ``as_of`` is no date.
    """
    day = parse_date(as_of)
    if isinstance(bind, sa.Engine):
        with bind.connect() as connection:
            return build_sql(connection, day, spec, customers=customers)
    fixed = levels.resolve(spec, day, lambda select: list(bind.execute(select)))
    features = plan.expand(fixed)
    # Engines order texts each in their own way, so the rows are sorted here.
    rows = sorted(bind.execute(sql.statement(features, day, only=_few(customers))), key=lambda row: row[0])
    values = _typed([[row[i] for row in rows] for i in range(len(features) + 1)], features)
    return _chosen(frame(values, features, day), customers, day)


def _typed(columns: list[list[Any]], features: list[Feature]) -> dict[str, Any]:
    """Return the columns of an answer (customer_id, then the features in order) as the kernel returns them."""
    values: dict[str, Any] = {"customer_id": pa.chunked_array([pa.array(columns[0], pa.string())])}
    for feature, column in zip(features, columns[1:], strict=True):
        if feature.dtype == "category":
            values[feature.name] = pa.chunked_array([pa.array(column, pa.string())])
        else:
            values[feature.name] = np.array(column, dtype=feature.dtype)
    return values


def resolve(spec: Iterable[Declaration], snapshot: Snapshot) -> Specification:
    """Return the specification with every level fixed as known at the snapshot, for use on other snapshots.

    Raises NotFoundError where a level or a value of ``where`` is nowhere in the data, naming the closest.
    """
    warehouse = snapshot.warehouse
    return levels.resolve(
        spec, snapshot.as_of, lambda select: [tuple(row.values()) for row in warehouse.arrow(select).to_pylist()]
    )


def describe(spec: Iterable[Declaration] = DEFAULT) -> pd.DataFrame:
    """Return what each feature means: one row per feature.

    Out: name, code (meaning, as in reasons), unit, table, column, where (JSON, or empty), by, level ("*" for levels not
    yet resolved), months (window, empty for always), sensitivity (none or personal).
    """
    rows = []
    for feature in plan.expand(spec):
        where = json.dumps(dict(feature.where), ensure_ascii=False) if feature.where else ""
        rows.append(
            {
                "name": feature.name,
                "code": feature.code,
                "unit": feature.unit,
                "table": feature.table,
                "column": feature.column,
                "where": where,
                "by": feature.by,
                "level": feature.level,
                "months": feature.months,
                "sensitivity": plan.sensitivity(feature),
            }
        )
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["name"])
    return frame.astype({"months": "Int64"}) if rows else frame


def _few(customers: Sequence[str] | None) -> Sequence[str] | None:
    if isinstance(customers, str):
        raise UsageError(f"customers is the text {customers!r}; give a list of customer_id")
    for one in customers if customers is not None else ():
        if not isinstance(one, str):
            raise UsageError(f"customers holds {one!r}, which is no text; a customer_id is a text")
    return customers if customers is not None and len(customers) <= MANY else None


def frame(values: dict[str, Any], features: list[Feature], as_of: dt.date | np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return computed values as the table that ``build`` describes; ``as_of`` is one date or one of each row."""
    ids = pd.Series(values["customer_id"].to_pandas(), dtype="str")
    columns: dict[str, Any] = {"customer_id": ids}
    columns["as_of"] = np.full(len(ids), np.datetime64(as_of, "us")) if isinstance(as_of, dt.date) else as_of
    for feature in features:
        given = values[feature.name]
        if feature.dtype == "category":
            codes = pc.index_in(given, value_set=pa.array(feature.levels, pa.string())).fill_null(-1).to_numpy()
            given = pd.Categorical.from_codes(codes, categories=pd.Index(feature.levels, dtype="str"))
        columns[feature.name] = given
    return pd.DataFrame(columns, copy=False)


def _chosen(frame: pd.DataFrame, customers: Sequence[str] | None, as_of: dt.date) -> pd.DataFrame:
    if customers is None:
        return frame
    missing = sorted(set(customers) - set(frame["customer_id"]))
    if missing:
        raise NotFoundError(f"customers {', '.join(missing[:3])}: not known or closed at {as_of}; leave them out")
    return frame[frame["customer_id"].isin(list(customers))].reset_index(drop=True)
