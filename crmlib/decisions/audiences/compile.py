"""Normal conditions as SQLAlchemy Core for DuckDB and PostgreSQL; every literal is a bound parameter.

A condition over other tables asks whether the customer is in a set: the customers whose rows add up to something. Those
over one table are computed in a single pass over it. A customer without rows counts as 0, so a set that would have to
hold them is asked the other way round. Truth has two values: a comparison with a missing value is false, and ``not`` is
everybody else.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from crmlib.decisions.audiences.conditions import Data, leaves
from crmlib.decisions.audiences.fields import DATE, FIELDS, REAL, TEXT, Field
from crmlib.features.plan import bound
from crmlib.warehouse import schema, snapshot

Expression = sa.ColumnElement[Any]
Measure = tuple[str, str]
"""A measure field's name, and its filters and window as text: what is computed once."""

_COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_INVERSE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_LEAST = dt.date(1, 1, 1)


@dataclass(frozen=True)
class Target:
    """What a statement is made for.

    Attributes: ``as_of``; ``keyed`` where the tables have the dense customer_key of a local version; ``currency`` and
    ``rates`` (worth of one unit of another currency in it) of amounts; ``scores`` and ``segments`` the names of the
    tables with customer_id, product_id, score of a model and customer_id, segment of a segmentation.
    """

    as_of: dt.date
    keyed: bool = False
    currency: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The column that customers are matched by."""
        return "customer_key" if self.keyed else "customer_id"

    def known(self, table: str) -> sa.Subquery:
        """Return the rows of a table as known at ``as_of``."""
        return _known(table, self.as_of, self.keyed)


@lru_cache(maxsize=64)  # building the select of a wide table takes longer than compiling a whole audience
def _known(table: str, as_of: dt.date, keyed: bool) -> sa.Subquery:
    source = schema.tables()[table]
    system = ("customer_key",) if keyed and "customer_key" in source.c else ()
    return snapshot.history(source, as_of, system=system).subquery(f"{table}_known")


def count(conditions: Data, target: Target) -> sa.Select[Any]:
    """Return the select of the number of customers."""
    tree = _Tree(target, conditions)
    return sa.select(sa.func.count().label("customers")).select_from(tree.source).where(tree.condition(conditions))


def customers(conditions: Data, target: Target) -> sa.Select[Any]:
    """Return the select of customer_id, in no order."""
    tree = _Tree(target, conditions)
    return sa.select(tree.base.c.customer_id).select_from(tree.source).where(tree.condition(conditions))


def steps(conditions: Data, target: Target) -> sa.Select[Any]:
    """Return the select of how many customers are left: before any condition of the outermost "all", and after each."""
    parts = conditions.get("all", [conditions])
    tree = _Tree(target, conditions)
    flags = [sa.func.coalesce(tree.condition(one), sa.false()).label(f"c{place}") for place, one in enumerate(parts)]
    flagged = sa.select(tree.base.c.customer_id, *flags).select_from(tree.source).subquery("flagged")
    left = [
        sa.func.count(sa.case((sa.and_(*[flagged.c[f"c{one}"] for one in range(place + 1)]), 1))).label(f"n{place}")
        for place in range(len(parts))
    ]
    everyone: list[Expression] = [sa.func.count().label("all_")]
    return sa.select(*everyone, *left).select_from(flagged)


def _columns(conditions: Data, target: Target) -> set[str]:
    own = [FIELDS[leaf["field"]] for leaf in leaves(conditions)]
    return {field.column for field in own if field.table == "customers"} | ({"currency"} if target.rates else set())


def everybody(target: Target, columns: Iterable[str] = ()) -> sa.Subquery:
    """Return customer_id, the target's key and some attributes of the customers known and not closed at its date."""
    rows = target.known("customers")
    named = list(dict.fromkeys(["customer_id", target.key, "closed_on", *sorted(columns)]))
    order = rows.c.valid_from.desc()
    rank = sa.func.row_number().over(partition_by=rows.c[target.key], order_by=order).label("rank_")
    ranked = sa.select(*[rows.c[name] for name in named], rank).subquery("customers_ranked")
    listed = [ranked.c[name] for name in named]
    return sa.select(*listed).where(ranked.c.rank_ == 1, ranked.c.closed_on.is_(None)).subquery("everybody")


class _Tree:
    """The compilation of one audience: its target, its customers, and the passes over other tables joined to them."""

    def __init__(self, target: Target, conditions: Data) -> None:
        self.target = target
        self.base = everybody(target, _columns(conditions, target))
        self.measures: dict[str, dict[Measure, Data]] = {}
        for leaf in leaves(conditions):
            if FIELDS[leaf["field"]].kind == "measure":
                self.measures.setdefault(FIELDS[leaf["field"]].table, {})[_measure(leaf)] = leaf
        self.source: sa.FromClause = self.base
        self.passes: dict[str, sa.Subquery] = {}
        for table, asked in self.measures.items():
            if len(asked) > 1:
                made = self.passes[table] = self._pass(table)
                same = made.c[target.key] == self.base.c[target.key]
                self.source = self.source.outerjoin(made, same)

    def condition(self, one: Data) -> Expression:
        """Return the condition on the customers, true or false for each."""
        if "field" in one:
            return _KINDS[FIELDS[one["field"]].kind](self, FIELDS[one["field"]], one)
        if "not" in one:
            return sa.not_(sa.func.coalesce(self.condition(one["not"]), sa.false()))
        if "any" in one:
            return sa.or_(sa.false(), *[self.condition(part) for part in one["any"]])
        return sa.and_(sa.true(), *[self.condition(part) for part in one["all"]])

    # ---------------------------------------------------------------- the customer's own row

    def attribute(self, asked: Field, leaf: Data) -> Expression:
        column = self.base.c[asked.column]
        if leaf["operator"] == "known":
            return column.is_not(None) if leaf["value"] else column.is_(None)
        value: Expression = column
        if asked.money and self.target.rates:
            value = _converted(column, self.base.c.currency, self.target)
        return _compared(value, leaf, date=asked.type == DATE)

    def span(self, asked: Field, leaf: Data) -> Expression:
        """Compare a number of whole months by comparing the date with days that are computed here."""
        column, given = self.base.c[asked.column], leaf["value"]
        if leaf["operator"] == "known":
            return column.is_not(None) if given else column.is_(None)

        def at_least(units: int) -> Expression:
            return column <= sa.literal(_months_before(self.target.as_of, units * asked.months), sa.Date)

        if leaf["operator"] == "between":
            return sa.and_(at_least(given[0]), sa.not_(at_least(given[1] + 1)))
        exactly = sa.and_(at_least(given), sa.not_(at_least(given + 1)))
        return {
            "ge": at_least(given),
            "gt": at_least(given + 1),
            "lt": sa.not_(at_least(given)),
            "le": sa.not_(at_least(given + 1)),
            "eq": exactly,
            "ne": sa.not_(sa.func.coalesce(exactly, sa.false())),
        }[leaf["operator"]]

    # ---------------------------------------------------------------- rows of other tables

    def measure(self, asked: Field, leaf: Data) -> Expression:
        """Compare a value joined to the customer, or ask for a set without those who count as 0.

        A set that those belong to is asked for as everybody but the others.
        """
        if asked.table in self.passes:
            place = list(self.measures[asked.table]).index(_measure(leaf))
            value: Expression = self.passes[asked.table].c[f"m{place}"]
            # Where 0 does not fulfil it, a customer without rows may stay missing: then the engine can join inside.
            if _fits(leaf, 0) or leaf["operator"] == "ne":
                value = sa.func.coalesce(value, 0, type_=sa.BigInteger)
            return _compared(value, leaf)
        zero_fits = _fits(leaf, 0)
        test = _inverse(leaf) if zero_fits else leaf
        rows = self.target.known(asked.table)
        key = rows.c[self.target.key]
        keys = sa.select(key).where(key.is_not(None), self._rows(asked, leaf, rows))
        if not (asked.aggregate == "count" and _only_above_zero(test)):
            keys = keys.group_by(key).having(_compared(_aggregate(asked, rows, None, self.target), test))
        inside = self.base.c[self.target.key].in_(keys)
        return sa.not_(inside) if zero_fits else inside

    def _pass(self, table: str) -> sa.Subquery:
        """Return all measures of a table by customer, made of the rows that count for any of them."""
        rows = self.target.known(table)
        key = rows.c[self.target.key]
        conditions, columns = [], []
        for number, leaf in enumerate(self.measures[table].values()):
            asked = FIELDS[leaf["field"]]
            conditions.append(self._rows(asked, leaf, rows))
            columns.append(_aggregate(asked, rows, conditions[-1], self.target).label(f"m{number}"))
        made = sa.select(key, *columns).where(key.is_not(None), *self._any_row(table, rows)).group_by(key)
        return made.subquery(f"{table}_pass")

    def _any_row(self, table: str, rows: sa.Subquery) -> list[Expression]:
        """Return what all rows have in common that count for any measure: they lie in the longest window."""
        asked = [(FIELDS[leaf["field"]], leaf) for leaf in self.measures[table].values()]
        if len({one.time for one, _ in asked}) > 1 or not asked[0][0].time or asked[0][0].ahead:
            return []
        column = rows.c[asked[0][0].time]
        lows = [span(leaf.get("window"), self.target.as_of)[0] for _, leaf in asked]
        starts = [low for low in lows if low is not None]
        return [column >= _moment(column, min(starts))] if len(starts) == len(lows) else []

    def _rows(self, asked: Field, leaf: Data, rows: sa.Subquery) -> Expression:
        """Return the condition that a row counts: state, window, filters."""
        parts: list[Expression] = [sa.true()]
        if asked.name in ("holdings.count", "holdings.amount_minor", "holdings.maturing"):
            parts.append(rows.c.closed_on.is_(None))
        if asked.time:
            low, high = span(leaf.get("window"), self.target.as_of, ahead=asked.ahead)
            column = rows.c[asked.time]
            if asked.time == "closed_on" and low is None:
                parts.append(column.is_not(None))
            parts += [column >= _moment(column, low)] if low else []
            parts += [column < _moment(column, high)] if high else []
        for name, value in leaf.get("where", {}).items():
            parts.append(self._filter(asked, name, value, rows))
        return sa.and_(*parts)

    def _filter(self, asked: Field, name: str, value: Any, rows: sa.Subquery) -> Expression:
        if (asked.table, name) == ("transactions", "direction"):
            signs = {"in": rows.c.amount_minor > 0, "out": rows.c.amount_minor < 0}
            return sa.or_(*[signs[one] for one in _list(value)])
        if (asked.table, name) == ("complaints", "state"):
            states = {"open": rows.c.resolved_at.is_(None), "resolved": rows.c.resolved_at.is_not(None)}
            return sa.or_(*[states[one] for one in _list(value)])
        if name == "product_group":
            products = snapshot.known(schema.tables()["products"], self.target.as_of).subquery("products_known")
            chosen = sa.select(products.c.product_id).where(_among(products.c.product_group, value))
            return rows.c.product_id.in_(chosen)
        return _among(rows.c[name], value)

    # ---------------------------------------------------------------- scores and segments

    def score(self, asked: Field, leaf: Data) -> Expression:
        where = leaf["where"]
        table = sa.table(
            self.target.scores[where["model"]],
            sa.column("customer_id", sa.String),
            sa.column("product_id", sa.String),
            sa.column("score", sa.Double),
        )
        own = sa.and_(table.c.product_id == sa.literal(where["product_id"], sa.String), table.c.score.is_not(None))
        if leaf["operator"] != "top_share":
            chosen = sa.select(table.c.customer_id).where(own, _compared(table.c.score, leaf))
            return self.base.c.customer_id.in_(chosen)
        rank = sa.func.rank().over(order_by=table.c.score.desc()).label("rank_")
        ranked = (
            sa.select(table.c.customer_id, rank, sa.func.count().over().label("all_")).where(own).subquery("ranked")
        )
        best = sa.cast(ranked.c.rank_, sa.Double) <= sa.literal(leaf["value"], sa.Double) * sa.cast(
            ranked.c.all_, sa.Double
        )
        return self.base.c.customer_id.in_(sa.select(ranked.c.customer_id).where(best))

    def segment(self, asked: Field, leaf: Data) -> Expression:
        name = self.target.segments[leaf["where"]["segmentation"]]
        table = sa.table(name, sa.column("customer_id", sa.String), sa.column("segment", sa.String))
        everyone = leaf["operator"] == "known"
        outside = leaf["operator"] in ("ne", "not_in") or (everyone and not leaf["value"])
        chosen = table.c.segment.is_not(None) if everyone else _among(table.c.segment, leaf["value"])
        inside = self.base.c.customer_id.in_(sa.select(table.c.customer_id).where(chosen))
        return sa.not_(inside) if outside else inside


_KINDS = {name: getattr(_Tree, name) for name in ("attribute", "span", "measure", "score", "segment")}


def span(window: Data | None, as_of: dt.date, *, ahead: bool = False) -> tuple[dt.date | None, dt.date | None]:
    """Return the half-open span of days of a window, None for no bound.

    ``days`` and ``months`` end with ``as_of`` (looking ahead they begin after it); ``whole_months`` are the last calendar
    months that are complete at the end of ``as_of``.

    >>> span({"whole_months": 1}, dt.date(2025, 12, 31)), span({"whole_months": 1}, dt.date(2025, 12, 30))
    ((datetime.date(2025, 12, 1), datetime.date(2026, 1, 1)), (datetime.date(2025, 11, 1), datetime.date(2025, 12, 1)))
    """
    end = snapshot.cutoff(as_of).date()
    if not window:
        return (end, None) if ahead else (None, None)
    ((unit, length),) = window.items()
    if unit == "whole_months":
        last = end.replace(day=1)
        return _months_before(last, length), last
    if ahead:
        return end, end + dt.timedelta(days=length) if unit == "days" else bound(as_of, -length)
    start = max(end.toordinal() - length, 1)
    return (dt.date.fromordinal(start) if unit == "days" else _months_before(end, length)), None


def _months_before(day: dt.date, months: int) -> dt.date:
    return bound(day - dt.timedelta(days=1), months) if day.year * 12 + day.month - 13 >= months else _LEAST


def _measure(leaf: Data) -> Measure:
    return leaf["field"], repr((leaf.get("where"), leaf.get("window")))


def _aggregate(asked: Field, rows: sa.Subquery, taken: Expression | None, target: Target) -> Expression:
    """Return the value of a measure over the rows ``taken`` of a group, 0 for none."""
    one: Expression
    if asked.aggregate == "count":
        one = sa.literal(1, sa.BigInteger)
    else:
        amount: Expression = rows.c[asked.column]
        if target.rates:
            amount = _converted(amount, rows.c.currency, target)
        one = amount if asked.aggregate == "sum" else sa.func.abs(amount, type_=sa.BigInteger)
    if taken is None and asked.aggregate == "count":
        return sa.func.count()
    value = one if taken is None else sa.case((taken, one), else_=sa.literal(0, sa.BigInteger))
    whole = sa.func.max(value) if asked.aggregate == "largest" else sa.func.sum(value)
    return sa.func.coalesce(whole, 0, type_=sa.BigInteger)


def _converted(amount: Expression, currency: Expression, target: Target) -> Expression:
    """Return an amount in minor units of the company's currency, rounded to whole ones; none where no rate is known."""
    whens = [
        (
            currency == sa.literal(name, sa.String),
            sa.cast(sa.func.floor(sa.cast(amount, sa.Double) * sa.literal(rate, sa.Double) + 0.5), sa.BigInteger),
        )
        for name, rate in target.rates.items()
    ]
    own = sa.or_(currency.is_(None), currency == sa.literal(target.currency, sa.String))
    return sa.case((own, amount), *whens, else_=sa.null())


def _compared(value: Expression, leaf: Data, *, date: bool = False) -> Expression:
    given, type_ = leaf["value"], FIELDS[leaf["field"]].type
    types: dict[str, Any] = {TEXT: sa.String(), REAL: sa.Double(), DATE: sa.Date()}
    bind = types.get(type_, sa.BigInteger())

    def literal(one: Any) -> Expression:
        return sa.literal(dt.date.fromisoformat(one) if date else one, bind)

    kind = leaf["operator"]
    if kind == "in":
        return value.in_([literal(one) for one in given])
    if kind == "not_in":
        return sa.not_(sa.func.coalesce(value.in_([literal(one) for one in given]), sa.false()))
    if kind == "between":
        return sa.and_(value >= literal(given[0]), value <= literal(given[1]))
    if kind == "outside":
        return sa.or_(value < literal(given[0]), value > literal(given[1]))
    found: Expression = _COMPARE[kind](value, literal(given))
    return sa.func.coalesce(found, sa.true()) if kind == "ne" else found


def _fits(leaf: Data, value: int) -> bool:
    """Return whether a number fulfils a condition on a measure."""
    given = leaf["value"]
    if leaf["operator"] == "between":
        return bool(given[0] <= value <= given[1])
    return bool(_COMPARE[leaf["operator"]](value, given))


def _inverse(leaf: Data) -> Data:
    return {**leaf, "operator": "outside" if leaf["operator"] == "between" else _INVERSE[leaf["operator"]]}


def _only_above_zero(leaf: Data) -> bool:
    """Return whether a condition on a number of rows says no more than that there are some."""
    return (leaf["operator"], leaf["value"]) in (("gt", 0), ("ge", 1), ("ne", 0))


def _among(column: Expression, value: Any) -> Expression:
    given = _list(value)
    named = [sa.literal(one, sa.String) for one in given if one is not None]
    parts: list[Expression] = [column.in_(named)] if len(named) > 1 else [column == one for one in named]
    return sa.or_(*parts, *([column.is_(None)] if None in given else []))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _moment(column: Expression, day: dt.date) -> Expression:
    type_ = sa.Date() if isinstance(column.type, sa.Date) else sa.DateTime()
    return sa.literal(snapshot.moment(column, dt.datetime.combine(day, dt.time())), type_)
