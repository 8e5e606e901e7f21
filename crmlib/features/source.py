"""The rows that features are made of, as selects for any engine: customers known then, and each table's known rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from crmlib.features.plan import Feature
from crmlib.features.spec import Where, find_table, reaches
from crmlib.warehouse import schema, snapshot

EPOCH = dt.date(1970, 1, 1)
DAYS_PER_YEAR = 365.25

Expression = sa.ColumnElement[Any]


class epoch_day(FunctionElement[int]):
    """SQL: the number of whole days from 1970-01-01 to a date or a UTC time."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "epoch_day"


@compiles(epoch_day)
def _epoch_day(element: epoch_day, compiler: Any, **options: Any) -> str:
    return f"(CAST({compiler.process(element.clauses, **options)} AS DATE) - DATE '1970-01-01')"


@compiles(epoch_day, "sqlite")
def _epoch_day_sqlite(element: epoch_day, compiler: Any, **options: Any) -> str:
    # SQLite keeps dates as text; julianday() of a midnight ends in .5, so the difference is whole.
    return f"CAST(julianday(date({compiler.process(element.clauses, **options)})) - 2440587.5 AS INTEGER)"


def day_number(day: dt.date) -> int:
    """Return what ``epoch_day`` computes.

    >>> day_number(dt.date(1970, 1, 11))
    10
    """
    return (day - EPOCH).days


def rows(
    name: str, as_of: dt.date, *, through: Iterable[str] = (), first_day: dt.date | None = None, keyed: bool = False
) -> sa.Subquery:
    """Return the rows of a customers' table as known at ``as_of``.

    Columns: those of the table; product_id and product_group where ``through`` names them and they come by a join; of
    balances also holding_closed_on and next_date (of the holding's next known balance). ``keyed`` adds customer_key and
    takes the keys from :low to below :high; balances then have the number ``series`` of the holding instead of next_date.
    ``first_day`` leaves out what happened before it.
    """
    table = find_table(name)
    happened = table.c[table.info["happened"]]
    known = snapshot.known(table, as_of, system=("customer_key",) if keyed else (), contact=False)
    inner = known.subquery(f"{name}_rows")
    # Whoever has a key has a name, and the names are long to read.
    statement = sa.select(*inner.c).where(_in_block(inner) if keyed else inner.c.customer_id.is_not(None))
    if first_day is not None:
        start = snapshot.moment(happened, dt.datetime.combine(first_day, dt.time()))
        statement = statement.where(inner.c[happened.name] >= start)
    grouped = "product_group" in set(through) and reaches(table, "product_group")
    if name == "balances":
        statement = _with_holdings(statement.add_columns(_series(inner, keyed=keyed)), as_of, grouped, keyed=keyed)
    elif grouped:
        statement = _with_groups(statement, as_of)
    return statement.subquery(name)


def _series(inner: sa.Subquery, *, keyed: bool) -> Expression:
    """Return what puts the balances of a holding in a row: the date of the next one, or a number of the holding.

    The kernel takes the number and looks for the next date itself, which is several times faster than the window
    function; 64 bits let two of a block's holdings meet once in some billion blocks.
    """
    if keyed:
        return sa.func.hash(inner.c.customer_key, inner.c.holding_id, type_=sa.BigInteger).label("series")
    later = sa.func.lead(inner.c.balance_date, type_=sa.Date)
    holding = [inner.c.customer_id, inner.c.holding_id]
    return later.over(partition_by=holding, order_by=inner.c.balance_date).label("next_date")


def _in_block(inner: sa.FromClause) -> sa.ColumnElement[bool]:
    low, high = sa.bindparam("low", type_=sa.Integer), sa.bindparam("high", type_=sa.Integer)
    return sa.and_(inner.c.customer_key >= low, inner.c.customer_key < high)


def _with_holdings(statement: sa.Select[Any], as_of: dt.date, grouped: bool, *, keyed: bool) -> sa.Select[Any]:
    table, owner = schema.tables()["holdings"], "customer_key" if keyed else "customer_id"
    known = snapshot.known(table, as_of, system=("customer_key",) if keyed else (), contact=False).subquery(
        "their_holdings"
    )
    closed = known.c.closed_on.label("holding_closed_on")
    owned = sa.select(known.c.holding_id, known.c[owner], known.c.product_id, closed)
    if keyed:
        owned = owned.where(_in_block(known))
    if grouped:
        owned = _with_groups(owned, as_of)
    left, right = statement.subquery("balances_alone"), owned.subquery("holdings_alone")
    same = sa.and_(left.c.holding_id == right.c.holding_id, left.c[owner] == right.c[owner])
    more = [column for column in right.c if column.name not in ("holding_id", owner)]
    return sa.select(*left.c, *more).select_from(left.outerjoin(right, same))


def _with_groups(statement: sa.Select[Any], as_of: dt.date) -> sa.Select[Any]:
    left = statement.subquery("rows_alone")
    products = snapshot.known(schema.tables()["products"], as_of).subquery("their_products")
    right = sa.select(products.c.product_id, products.c.product_group).subquery("groups")
    return sa.select(*left.c, right.c.product_group).select_from(
        left.outerjoin(right, left.c.product_id == right.c.product_id)
    )


def condition(columns: Any, where: Where) -> sa.ColumnElement[bool]:
    """Return the condition that a row fulfils every entry of ``where``."""
    return sa.and_(sa.true(), *[_one(columns[name], given) for name, given in where])


def _one(column: Any, given: Any) -> sa.ColumnElement[bool]:
    values = given if isinstance(given, tuple) else (given,)
    parts = [column.is_(None) if value is None else column == value for value in values]
    return sa.or_(sa.false(), *parts)


def customers(
    as_of: dt.date, features: Iterable[Feature], *, only: Iterable[str] | None = None, keyed: bool = False
) -> sa.Select[Any]:
    """Return the select of the customers known and not closed at ``as_of``.

    Columns: customer_id, customer_key where ``keyed``, and each feature that is made of the customer's row alone, under
    its name: attributes, days and years since a date, size of the household.
    """
    system = ("customer_key",) if keyed else ()
    known = snapshot.known(schema.tables()["customers"], as_of, system=system, contact=False).subquery(
        "known_customers"
    )
    listed = [known.c.customer_id, *[known.c[name] for name in system]]
    for feature in features:
        if feature.formula in _OF_CUSTOMER:
            listed.append(_OF_CUSTOMER[feature.formula](known, feature, as_of).label(feature.name))
    statement = sa.select(*listed).where(known.c.closed_on.is_(None))
    if only is None:
        return statement
    # The household counts all its customers, so the choice comes after.
    everyone = statement.subquery("everyone")
    return sa.select(*everyone.c).where(everyone.c.customer_id.in_(list(only)))


def _attribute(known: Any, feature: Feature, as_of: dt.date) -> sa.ColumnElement[Any]:
    column = known.c[feature.column]
    return column if feature.dtype == "category" else sa.cast(column, sa.Double)


def _days(known: Any, feature: Feature, as_of: dt.date) -> sa.ColumnElement[Any]:
    return sa.cast(sa.literal(day_number(as_of), sa.BigInteger) - epoch_day(known.c[feature.column]), sa.Double)


def _years(known: Any, feature: Feature, as_of: dt.date) -> sa.ColumnElement[Any]:
    return _days(known, feature, as_of) / sa.literal(DAYS_PER_YEAR, sa.Double)


def _household(known: Any, feature: Feature, as_of: dt.date) -> sa.ColumnElement[Any]:
    together = sa.func.count().over(partition_by=known.c.household_id)
    return sa.case((known.c.household_id.is_(None), 1), else_=together)


_OF_CUSTOMER = {"attribute": _attribute, "days": _days, "years": _years, "household": _household}
