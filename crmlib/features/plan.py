"""From declarations to features: names, meanings, and the aggregates over rows that they are made of."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.features.spec import Declaration, Where, closest, find_table
from crmlib.warehouse import schema, snapshot

MAIN_VALUES = {"transactions": "amount_minor", "loyalty_entries": "points", "balances": "balance_minor"}
"""The column whose sum needs no name of its own."""
SHORT = {"category": "", "product_id": "product", "product_group": "group"}
UNKNOWN_LEVEL = "*"

Months = int | None
Window = tuple[Months, Months]


@dataclass(frozen=True)
class Measure:
    """One aggregate of a customer's rows of a table.

    ``kind``: count, values (rows whose value is given), sum, last (day), first (day), value (of the last row), squares (of
    deviations from the mean of the window) or state (sum of the balances in force at the end of ``window``). ``window`` is
    in months before the end of as_of: (6, 3) from six months back to three months back, (None, 0) always, (0, -3) the
    coming three.
    """

    table: str
    kind: str
    value: str = ""
    where: Where = ()
    by: str = ""
    level: str = ""
    date: str = ""
    window: Window = (None, 0)
    stale: int = 0

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # asked for at every block; texts hash anew in every process, so it stays behind below
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Measure, tuple(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Feature:
    """One column of the result: ``formula`` over ``inputs``, which are aggregates or names of earlier features.

    ``code`` says what it means, for reasons: with ``table``, ``column``, ``where``, ``by``, ``level`` and ``months``.
    """

    name: str
    formula: str
    inputs: tuple[Measure | str, ...]
    code: str
    unit: str
    dtype: str = "float64"
    table: str = ""
    column: str = ""
    where: Where = ()
    by: str = ""
    level: str = ""
    months: Months = None
    weights: tuple[int, ...] = ()
    levels: tuple[str, ...] = field(default=(), compare=False)


def bound(as_of: dt.date, months: int) -> dt.date:
    """Return the first day of a window: so many calendar months before the day after ``as_of`` (its end is half-open).

    >>> bound(dt.date(2025, 3, 31), 1), bound(dt.date(2024, 3, 30), 1), bound(dt.date(2025, 3, 31), -3)
    (datetime.date(2025, 3, 1), datetime.date(2024, 2, 29), datetime.date(2025, 7, 1))
    """
    end = snapshot.cutoff(as_of).date()
    year, month = divmod(end.year * 12 + end.month - 1 - months, 12)
    return dt.date(year, month + 1, min(end.day, calendar.monthrange(year, month + 1)[1]))


def bounds(measure: Measure, as_of: dt.date) -> tuple[dt.date | None, dt.date]:
    """Return the half-open span of days of a measure's window; the start is None for always."""
    start, end = measure.window
    return None if start is None else bound(as_of, start), bound(as_of, end or 0)


def slug(text: str) -> str:
    """Return a level as part of a name.

    >>> slug("Cash (ATM)"), slug("Кредит наличными")
    ('cash_atm', 'кредит_наличными')
    """
    return re.sub(r"\W+", "_", text.lower()).strip("_") or "blank"


def expand(spec: Iterable[Declaration]) -> list[Feature]:
    """Return the features of a specification in order, each once; unresolved levels stand as ``*``.

    Raises UsageError where two different features bear one name, NotFoundError for a ratio of an unknown feature.
    """
    found: dict[str, Feature] = {}
    for declaration in spec:
        for feature in _EXPANSIONS[declaration.kind](declaration):
            if found.setdefault(feature.name, feature) != feature:
                raise UsageError(
                    f"two different features would be named {feature.name}; give one of the declarations a name="
                )
            for name in feature.inputs:
                if isinstance(name, str) and (name not in found or found[name].dtype == "category"):
                    raise NotFoundError(
                        f"{feature.name}: there is no number {name!r} declared before it{closest(name, found)}"
                    )
    return list(found.values())


def _stem(one: Declaration) -> str:
    if one.name:
        return one.name
    parts = [one.table]
    for column, given in one.where:
        for value in given if isinstance(given, tuple) else (given,):
            if value is None:
                parts.append(f"no_{column}")
            elif isinstance(value, bool):
                parts.append(column if value else f"not_{column}")
            else:
                parts.append(slug(str(value)))
    return "_".join(parts)


def _levels(one: Declaration) -> Iterator[tuple[str, str]]:
    """Yield each level with its part of the name; ("", "") for a declaration without ``by``."""
    if not one.by:
        yield "", ""
        return
    if one.levels is None:
        yield UNKNOWN_LEVEL, "_".join(filter(None, [SHORT.get(one.by, one.by), UNKNOWN_LEVEL]))
        return
    taken: dict[str, int] = {}
    for level in dict.fromkeys(one.levels):
        label = slug(level)
        taken[label] = taken.get(label, 0) + 1
        if taken[label] > 1:
            label = f"{label}_{taken[label]}"
        yield level, "_".join(filter(None, [SHORT.get(one.by, one.by), label]))


def _name(*parts: str, months: Months = None) -> str:
    return "_".join([part for part in parts if part] + ([f"{months}m"] if months is not None else []))


def _value_part(one: Declaration) -> str:
    return "" if not one.value or MAIN_VALUES.get(one.table) == one.value else one.value.removesuffix("_minor")


def _unit(one: Declaration) -> str:
    return str(find_table(one.table).c[one.value].info["unit"]) if one.value else "rows"


def _measure(one: Declaration, kind: str, level: str, window: Window) -> Measure:
    value = "" if kind in ("count", "last", "first") else one.value
    by = one.by if level else ""
    return Measure(one.table, kind, value, one.where, by, level, one.date or _happened(one), window)


def _happened(one: Declaration) -> str:
    return str(find_table(one.table).info["happened"])


def _about(one: Declaration, level: str = "", months: Months = None) -> dict[str, Any]:
    column = one.value or one.date
    return {"table": one.table, "column": column, "where": one.where, "by": one.by, "level": level, "months": months}


def _is_whole(one: Declaration) -> bool:
    return isinstance(find_table(one.table).c[one.value].type, sa.Integer)


def _windowed(one: Declaration) -> Iterator[Feature]:
    for level, label in _levels(one):
        for kind in one.measures:
            for months in one.months:
                part = _value_part(one) if kind == "sum" else ""
                name = _name(_stem(one), kind, part, label, months=months)
                dtype = "int32" if kind == "count" else "int64" if _is_whole(one) else "float64"
                unit = "rows" if kind == "count" else _unit(one)
                about = _about(one if kind == "sum" else replace(one, value=""), level, months)
                yield Feature(name, "value", (_measure(one, kind, level, (months, 0)),), kind, unit, dtype, **about)


def _share(one: Declaration) -> Iterator[Feature]:
    kind = one.measures[0]
    for level, label in _levels(one):
        for months in one.months:
            parts = (_measure(one, kind, level, (months, 0)), _measure(one, kind, "", (months, 0)))
            name = _name(_stem(one), kind, "share", _value_part(one), label, months=months)
            yield Feature(name, "ratio", parts, f"{kind}_share", "share", **_about(one, level, months))


def _trend(one: Declaration) -> Iterator[Feature]:
    kind = one.measures[0]
    for level, label in _levels(one):
        for recent in one.months:
            if recent is None:
                raise UsageError(f"trend of {one.table}: the recent window needs a number of months")
            windows: tuple[Window, Window] = ((recent, 0), (recent + one.before, recent))
            inputs = tuple(_measure(one, kind, level, window) for window in windows)
            name = _name(_stem(one), kind, "trend", _value_part(one), label, months=recent)
            about = _about(one, level, recent)
            yield Feature(name, "trend", inputs, f"{kind}_trend", "-1..1", weights=(recent, one.before), **about)


def _variance(one: Declaration) -> Iterator[Feature]:
    if not _is_whole(one):
        raise UsageError(f"variance of {one.table}.{one.value}: only whole numbers have one; choose another value")
    for level, label in _levels(one):
        for months in one.months:
            inputs = tuple(_measure(one, kind, level, (months, 0)) for kind in ("values", "squares"))
            name = _name(_stem(one), "variance", _value_part(one), label, months=months)
            yield Feature(name, "variance", inputs, "variance", f"{_unit(one)}²", **_about(one, level, months))


def _recency(one: Declaration) -> Iterator[Feature]:
    kind, months = one.measures[0], one.months[0]
    part = "recency" if kind == "last" else "age"
    date = "" if one.date in ("", _happened(one)) else one.date
    for level, label in _levels(one):
        name = _name(_stem(one), part, date if not one.name else "", "days", label)
        inputs = (_measure(one, kind, level, (months, 0)),)
        yield Feature(name, "days", inputs, f"days_since_{kind}", "days", **_about(one, level, months))


def _upcoming(one: Declaration) -> Iterator[Feature]:
    for level, label in _levels(one):
        for months in one.months:
            assert months is not None
            name = _name(_stem(one), "upcoming" if one.name == "" else "", one.date if not one.name else "", label)
            inputs = (_measure(one, "count", level, (0, -months)),)
            about = _about(one, level, months)
            yield Feature(_name(name, months=months), "value", inputs, "upcoming", "rows", "int32", **about)


def _last_value(one: Declaration) -> Iterator[Feature]:
    for level, label in _levels(one):
        name = _name(_stem(one), "last", one.value.removesuffix("_minor"), label)
        inputs = (_measure(one, "value", level, (None, 0)),)
        yield Feature(name, "value", inputs, "last_value", _unit(one), **_about(one, level))


def _balance(one: Declaration) -> Iterator[Feature]:
    def state(back: int, level: str) -> Measure:
        return replace(_measure(one, "state", level, (None, back)), stale=one.before)

    measure = one.measures[0]
    for level, label in _levels(one):
        if measure == "latest":
            name, inputs = _name(_stem(one), measure, label), (state(0, level),)
            yield Feature(name, "value", inputs, "balance", "minor units", "int64", **_about(one, level))
        for months in one.months:
            assert months is not None
            name, about = _name(_stem(one), measure, label, months=months), _about(one, level, months)
            if measure == "average":
                points = tuple(state(back, level) for back in range(months))
                yield Feature(name, "mean", points, "balance_average", "minor units", **about)
            else:
                ends = (state(0, level), state(months, level))
                yield Feature(name, "difference", ends, "balance_change", "minor units", "int64", **about)


def _attribute(one: Declaration) -> Iterator[Feature]:
    column = find_table("customers").c[one.value]
    kind = "category" if isinstance(column.type, sa.String) else "float64"
    if not isinstance(column.type, sa.String | sa.Integer | sa.Double):
        raise UsageError(f"customers.{one.value} is a date; declare features.since({one.value!r})")
    name = f"customer_{one.value}"
    about = _about(one)
    yield Feature(name, "attribute", (), "attribute", column.info["unit"], kind, levels=one.levels or (), **about)


def _since(one: Declaration) -> Iterator[Feature]:
    if not isinstance(find_table("customers").c[one.value].type, sa.Date):
        raise UsageError(f"customers.{one.value} is no date; declare features.attribute({one.value!r})")
    unit = one.measures[0]
    yield Feature(one.name or f"customer_{one.value}_{unit}", unit, (), "since", unit, **_about(one))


def _household(one: Declaration) -> Iterator[Feature]:
    yield Feature("customer_household_size", "household", (), "household_size", "persons", "int32", **_about(one))


def _ratio(one: Declaration) -> Iterator[Feature]:
    yield Feature(one.name, "ratio", one.measures, "ratio", "ratio", column=" / ".join(one.measures))


_EXPANSIONS: dict[str, Callable[[Declaration], Iterator[Feature]]] = {
    "windowed": _windowed,
    "share": _share,
    "trend": _trend,
    "variance": _variance,
    "recency": _recency,
    "upcoming": _upcoming,
    "last_value": _last_value,
    "balance": _balance,
    "attribute": _attribute,
    "since": _since,
    "household": _household,
    "ratio": _ratio,
}


def sensitivity(feature: Feature) -> str:
    """Return ``personal`` where a column behind the feature says so, else ``none``."""
    if not feature.table:
        return "none"
    table = schema.tables()[feature.table]
    names = [feature.column, feature.by, *[name for name, _ in feature.where]]
    return "personal" if any(n in table.c and table.c[n].info["sensitivity"] == "personal" for n in names) else "none"
