"""Features in SQL, written once in SQLAlchemy Core for DuckDB, SQLite and PostgreSQL: the push-down.

``sum(case …)`` rather than FILTER (far slower on DuckDB), window dates computed in Python, integers cast to BIGINT
(PostgreSQL sums to numeric), and a variance by two passes in double precision, as the local kernel does it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from crmlib.features import source
from crmlib.features.plan import Feature, Measure, bound, bounds
from crmlib.features.spec import find_table
from crmlib.warehouse import snapshot

Expression = sa.ColumnElement[Any]


def statement(features: Iterable[Feature], as_of: dt.date, *, only: Iterable[str] | None = None) -> sa.Select[Any]:
    """Return the select of customer_id and each feature, labelled f0, f1 … (engines cut long names), by customer."""
    features = list(features)
    base = source.customers(as_of, [f for f in features if not f.inputs], only=only).cte("base")
    measures = list(dict.fromkeys(m for f in features for m in f.inputs if isinstance(m, Measure)))
    joined: sa.FromClause = base
    found: dict[Measure, Expression] = {}
    for number, batch in enumerate(_batches(measures)):
        cte = _aggregate(batch, as_of).cte(f"aggregate_{number}")
        joined = joined.outerjoin(cte, cte.c.customer_id == base.c.customer_id)
        for index, measure in enumerate(batch):
            column = cte.c[f"m{index}"]
            found[measure] = sa.func.coalesce(column, 0, type_=column.type) if _counts(measure) else column
    expressions: dict[str, Expression] = {}
    for feature in features:
        if feature.inputs:
            inputs = [expressions[i] if isinstance(i, str) else found[i] for i in feature.inputs]
            expressions[feature.name] = _FORMULAS[feature.formula](inputs, feature, as_of)
        else:
            expressions[feature.name] = base.c[feature.name]
    listed = [expression.label(f"f{index}") for index, expression in enumerate(expressions.values())]
    return sa.select(base.c.customer_id, *listed).select_from(joined)


def _counts(measure: Measure) -> bool:
    return measure.kind in ("count", "values", "sum", "state")


def _batches(measures: list[Measure]) -> list[list[Measure]]:
    """Group the measures that one pass over a table's rows can compute."""
    groups: dict[Any, list[Measure]] = {}
    for measure in measures:
        alone = measure.kind in ("squares", "value")
        groups.setdefault(measure if alone else (measure.table, measure.kind == "state"), []).append(measure)
    return list(groups.values())


def _aggregate(batch: list[Measure], as_of: dt.date) -> sa.Select[Any]:
    """Return the select of customer_id, m0, m1 …, one row per customer who has rows."""
    first = batch[0]
    rows = source.rows(first.table, as_of, through={m.by for m in batch}, first_day=earliest(batch, as_of))
    if first.kind in ("squares", "value"):
        return _AROUND[first.kind](rows, first, as_of)
    columns = [_AGGREGATES[m.kind](rows, m, as_of).label(f"m{i}") for i, m in enumerate(batch)]
    return sa.select(rows.c.customer_id, *columns).group_by(rows.c.customer_id)


def earliest(batch: Iterable[Measure], as_of: dt.date) -> dt.date | None:
    """Return the first day of which any of the measures takes rows; None for always."""
    days = []
    for measure in batch:
        start = measure.window[0]
        if measure.kind == "state":
            days.append(bound(as_of, (measure.window[1] or 0) + measure.stale))
        elif start is None or measure.date != find_table(measure.table).info["happened"]:
            return None
        else:
            days.append(bound(as_of, start))
    return min(days)


def taken(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> Expression:
    """Return the condition that a row counts for a measure: its ``where``, level and window."""
    parts = [source.condition(rows.c, measure.where)]
    if measure.by:
        parts.append(rows.c[measure.by] == measure.level)
    column = rows.c[measure.date]
    start, end = bounds(measure, as_of)
    for day, low in ((start, True), (end, False)):
        if day is not None:
            at = snapshot.moment(column, dt.datetime.combine(day, dt.time()))
            parts.append(column >= at if low else column < at)
    return sa.and_(*parts)


def _whole(expression: Expression) -> Expression:
    return sa.cast(expression, sa.BigInteger)


def _count(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> Expression:
    condition = taken(rows, measure, as_of)
    if measure.kind == "values":
        condition = sa.and_(condition, rows.c[measure.value].is_not(None))
    return _whole(sa.func.sum(sa.case((condition, 1), else_=0)))


def _sum(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> Expression:
    value = rows.c[measure.value]
    total = sa.func.sum(sa.case((taken(rows, measure, as_of), sa.func.coalesce(value, 0)), else_=0))
    return _whole(total) if isinstance(value.type, sa.Integer) else sa.cast(total, sa.Double)


def _extreme(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> Expression:
    day = sa.case((taken(rows, measure, as_of), source.epoch_day(rows.c[measure.date])))
    return _whole(sa.func.max(day) if measure.kind == "last" else sa.func.min(day))


def _state(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> Expression:
    back = measure.window[1] or 0
    at, oldest = bound(as_of, back), bound(as_of, back + measure.stale)
    parts = [source.condition(rows.c, measure.where), rows.c.balance_date < at, rows.c.balance_date >= oldest]
    parts += [sa.or_(rows.c[n].is_(None), rows.c[n] >= at) for n in ("next_date", "holding_closed_on")]
    if measure.by:
        parts.append(rows.c[measure.by] == measure.level)
    return _whole(sa.func.sum(sa.case((sa.and_(*parts), rows.c[measure.value]), else_=0)))


def _squares(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> sa.Select[Any]:
    value = rows.c[measure.value]
    kept = sa.select(rows.c.customer_id, value.label("value"))
    kept = kept.where(taken(rows, measure, as_of), value.is_not(None))
    inner = kept.subquery("kept")
    whole = [_whole(f(inner.c.value).over(partition_by=inner.c.customer_id)) for f in (sa.func.sum, sa.func.count)]
    mean = sa.cast(whole[0], sa.Double) / sa.cast(whole[1], sa.Double)
    away = (sa.cast(inner.c.value, sa.Double) - mean).label("away")
    outer = sa.select(inner.c.customer_id, away).subquery("deviations")
    total = sa.func.sum(outer.c.away * outer.c.away, type_=sa.Double)
    return sa.select(outer.c.customer_id, total.label("m0")).group_by(outer.c.customer_id)


def _last_value(rows: sa.Subquery, measure: Measure, as_of: dt.date) -> sa.Select[Any]:
    value, happened = rows.c[measure.value], rows.c[measure.date]
    latest = sa.func.max(happened).over(partition_by=rows.c.customer_id)
    kept = sa.select(rows.c.customer_id, value.label("value"), happened.label("happened"), latest.label("latest"))
    inner = kept.where(taken(rows, measure, as_of), value.is_not(None)).subquery("kept")
    largest = sa.cast(sa.func.max(inner.c.value), sa.Double)
    return (
        sa.select(inner.c.customer_id, largest.label("m0"))
        .where(inner.c.happened == inner.c.latest)
        .group_by(inner.c.customer_id)
    )


_AGGREGATES: dict[str, Callable[[sa.Subquery, Measure, dt.date], Expression]] = {
    "count": _count,
    "values": _count,
    "sum": _sum,
    "last": _extreme,
    "first": _extreme,
    "state": _state,
}
_AROUND = {"squares": _squares, "value": _last_value}


def _double(expression: Expression) -> Expression:
    return sa.cast(expression, sa.Double)


def _divided(top: Expression, bottom: Expression) -> Expression:
    return sa.case((bottom != 0, _double(top) / _double(bottom)))


def _trend(inputs: list[Expression], feature: Feature, as_of: dt.date) -> Expression:
    (recent, before), (recent_months, before_months) = inputs, feature.weights
    a, b = recent * before_months, before * recent_months
    size = sa.func.abs(a, type_=a.type) + sa.func.abs(b, type_=b.type)
    return _divided(a - b, size)


def _variance(inputs: list[Expression], feature: Feature, as_of: dt.date) -> Expression:
    count, squares = inputs
    return sa.case((count >= 2, squares / _double(count - 1)))


_FORMULAS: dict[str, Callable[[list[Expression], Feature, dt.date], Expression]] = {
    "value": lambda inputs, feature, as_of: inputs[0],
    "days": lambda inputs, feature, as_of: sa.literal(source.day_number(as_of), sa.BigInteger) - inputs[0],
    "ratio": lambda inputs, feature, as_of: _divided(inputs[0], inputs[1]),
    "difference": lambda inputs, feature, as_of: inputs[0] - inputs[1],
    "mean": lambda inputs, feature, as_of: _double(sum(inputs[1:], inputs[0])) / _double(sa.literal(len(inputs))),
    "trend": _trend,
    "variance": _variance,
}
