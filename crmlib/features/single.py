"""The features of one customer from rows at hand, for a person at the desk: the same numbers as ``build``, in a millisecond.

The kernel works on blocks of tens of thousands of customers; for one, its arrays are mostly overhead. Here the same
measures are counted row by row in plain Python: each row goes into the span of days and the level it belongs to, and a
measure is the sum of some spans. The tests hold it to ``build`` on every customer of random tables.
"""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crmlib.errors import UsageError
from crmlib.features import source
from crmlib.features.plan import UNKNOWN_LEVEL, Feature, Measure, bound, bounds, expand
from crmlib.features.spec import Declaration, Where, find_table, reaches
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot

Row = Mapping[str, Any]
Value = float | int | str | None
_NEVER, _FOREVER = -(10**9), 10**9
_ORDINAL = dt.date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Single:
    """Features prepared for one customer at a time.

    Attributes: ``columns`` what ``values`` needs of each table; ``groups`` the product group of each product known.
    """

    as_of: dt.date
    features: tuple[Feature, ...]
    columns: dict[str, frozenset[str]]
    groups: dict[str, str | None]
    counters: dict[str, tuple[Counter, ...]]

    def values(self, rows: Mapping[str, Sequence[Row]], *, household: int = 1) -> dict[str, Value]:
        """Return each feature of the customer whose rows these are.

        ``rows`` holds by table what is known, in the order of time (``warehouse.dossier``); ``household`` is the number
        of open customers in the household. Categories that are no level of the feature are None, as are those missing.
        """
        customer = rows["customers"][-1]
        counted: dict[Measure, float] = {}
        for table, counters in self.counters.items():
            own = self._joined(table, rows)
            for counter in counters:
                counter.count(own, counted)
        today = source.day_number(self.as_of)
        out: dict[str, Value] = {}
        for feature in self.features:
            if feature.inputs:
                inputs = [out[i] if isinstance(i, str) else counted[i] for i in feature.inputs]
                out[feature.name] = _FORMULAS[feature.formula](inputs, feature, today)
            else:
                out[feature.name] = _of_customer(customer, feature, today, household)
        return out

    def _joined(self, table: str, rows: Mapping[str, Sequence[Row]]) -> list[Row]:
        """Return the rows of a table with what comes by a join: a balance's contract, a product's group."""
        own: list[Row] = list(rows[table])
        if table == "balances":
            contracts = {row["holding_id"]: row for row in rows["holdings"]}
            nothing: Row = {}
            for place, row in enumerate(own):
                contract = contracts.get(row["holding_id"], nothing)
                found = {"product_id": contract.get("product_id"), "holding_closed_on": contract.get("closed_on")}
                own[place] = {**row, **found}
        if "product_group" in self.columns[table]:
            own = [{**row, "product_group": self.groups.get(row["product_id"])} for row in own]
        return own


def prepare(snapshot: Snapshot, spec: Iterable[Declaration]) -> Single:
    """Return a resolved specification prepared for the snapshot (``features.resolve`` fixes its levels).

    Raises UsageError where levels are still open: they must be those the model was fitted on.
    """
    spec = tuple(spec)
    features = tuple(expand(spec))
    not_fixed = {f"customer_{one.value}" for one in spec if one.kind == "attribute" and one.levels is None}
    products = snapshot.table("products", ["product_id", "product_group"])
    groups = {str(row["product_id"]): _text(row["product_group"]) for row in products.to_dict("records")}
    measures: dict[str, dict[Measure, None]] = {}
    columns: dict[str, set[str]] = {"customers": set()}
    for feature in features:
        if feature.level == UNKNOWN_LEVEL or (feature.dtype == "category" and feature.name in not_fixed):
            raise UsageError(f"the levels of {feature.name} are open; resolve the specification first")
        if not feature.inputs:
            columns["customers"].add(feature.column or "household_id")
        for measure in feature.inputs:
            if isinstance(measure, Measure):
                measures.setdefault(measure.table, {})[measure] = None
    for table, own in measures.items():
        columns.setdefault(table, set()).update(*[_needs(measure) for measure in own])
        if "product_group" in columns[table]:
            columns[table].add("product_id")
    if "balances" in columns:
        columns.setdefault("holdings", set()).update({"holding_id", "product_id", "closed_on"})
        columns["balances"].add("holding_id")
    counters = {table: _counters(list(own), snapshot.as_of) for table, own in measures.items()}
    return Single(snapshot.as_of, features, {n: frozenset(c) for n, c in columns.items()}, groups, counters)


def readable(columns: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the columns that the tables themselves hold, without those that come by a join.

    >>> readable({"applications": ["product_id", "product_group"]})
    {'applications': {'product_id'}}
    """
    return {name: {column for column in own if column in schema.tables()[name].c} for name, own in columns.items()}


def _needs(measure: Measure) -> set[str]:
    table = find_table(measure.table)
    found = {measure.date, measure.value, measure.by, *[name for name, _ in measure.where]} - {""}
    if measure.by == "product_group" and not reaches(table, "product_group"):
        found.discard("product_group")
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Counter:
    """What counts the measures of one kind, value, condition, date and code column in one pass over the rows.

    ``edges`` are the days at which windows begin or end; ``spans`` holds for each measure its level, and the first and
    last span of its window.
    """

    kind: str
    value: str
    where: Where
    date: str
    by: str
    happens: bool
    edges: tuple[int, ...]
    spans: tuple[tuple[Measure, str, int, int], ...]
    as_of: dt.date

    def count(self, rows: Sequence[Row], out: dict[Measure, float]) -> None:
        """Put the value of each measure into ``out``."""
        if self.where and self.kind != "state":  # of a holding the last balance is in force, whatever it is
            rows = [row for row in rows if _fulfils(row, self.where)]
        if not self.happens:
            rows = [row for row in rows if row[self.date] is not None]
        _COUNTS[self.kind](self, rows, out)

    def cells(self, rows: Sequence[Row]) -> list[tuple[int, str, Row]]:
        """Return for each row its span and level ("" without a code column)."""
        edges, date, by = self.edges, self.date, self.by
        return [(bisect_right(edges, day_of(row[date])), row[by] if by else "", row) for row in rows]


def _counters(measures: list[Measure], as_of: dt.date) -> tuple[Counter, ...]:
    alike: dict[Any, list[Measure]] = {}
    for one in measures:
        alike.setdefault((one.kind, one.value, one.where, one.date, one.by), []).append(one)
    found = []
    for (kind, value, where, date, by), own in alike.items():
        happens = date == find_table(own[0].table).info["happened"]
        windows = [(None, dt.date.max) if kind == "state" else bounds(one, as_of) for one in own]
        edges = sorted({source.day_number(day) for window in windows for day in window if day is not None})
        spans = []
        for one, (start, end) in zip(own, windows, strict=True):
            first = 0 if start is None else edges.index(source.day_number(start)) + 1
            spans.append((one, one.level if by else "", first, edges.index(source.day_number(end)) + 1))
        found.append(Counter(kind, value, where, date, by, happens, tuple(edges), tuple(spans), as_of))
    return tuple(found)


def day_of(moment: dt.date) -> int:
    """Return the number of a day or of the day of a moment, counted from 1970-01-01.

    >>> day_of(dt.datetime(1970, 1, 11, 23, 59))
    10
    """
    return moment.toordinal() - _ORDINAL


def _fulfils(row: Row, where: Where) -> bool:
    return all((row[name] in given) if isinstance(given, tuple) else row[name] == given for name, given in where)


def _added(counter: Counter, rows: Sequence[Row], out: dict[Measure, float], *, amount: Callable[[Row], float]) -> None:
    cube: dict[str, list[float]] = {}
    width = len(counter.edges) + 1
    for span, level, row in counter.cells(rows):
        if level not in cube:
            cube[level] = [0] * width
        cube[level][span] += amount(row)
    nothing = [0] * width
    for measure, level, first, last in counter.spans:
        out[measure] = sum(cube.get(level, nothing)[first:last])


def _counted(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    _added(counter, rows, out, amount=lambda row: 1)


def _summed(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    value = counter.value
    _added(counter, rows, out, amount=lambda row: row[value] or 0)


def _given(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    _counted(counter, [row for row in rows if row[counter.value] is not None], out)


def _extreme(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    choose = max if counter.kind == "last" else min
    cells = counter.cells(rows)
    for measure, level, first, last in counter.spans:
        days = [day_of(row[counter.date]) for span, own, row in cells if own == level and first <= span < last]
        out[measure] = choose(days) if days else math.nan


def _squares(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    cells = counter.cells([row for row in rows if row[counter.value] is not None])
    for measure, level, first, last in counter.spans:
        values = [row[counter.value] for span, own, row in cells if own == level and first <= span < last]
        mean = float(sum(values)) / len(values) if values else 0.0
        total = 0.0
        for value in values:
            total += (float(value) - mean) ** 2
        out[measure] = total


def _last_value(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    cells = counter.cells([row for row in rows if row[counter.value] is not None])
    for measure, level, first, last in counter.spans:
        own = [
            (row[counter.date], row[counter.value]) for span, at, row in cells if at == level and first <= span < last
        ]
        out[measure] = float(max(own)[1]) if own else math.nan


def _in_force(counter: Counter, rows: Sequence[Row], out: dict[Measure, float]) -> None:
    """Sum the balances in force at the end of each window: a holding's last one, unless it was closed or is stale."""
    by_holding: dict[str, list[tuple[int, Row]]] = {}
    for row in rows:
        by_holding.setdefault(row["holding_id"], []).append((day_of(row[counter.date]), row))
    for measure, level, _, _ in counter.spans:
        back = measure.window[1] or 0
        at = source.day_number(bound(counter.as_of, back))
        oldest = source.day_number(bound(counter.as_of, back + measure.stale))
        total = 0
        for own in by_holding.values():
            place = bisect_right(own, at - 1, key=lambda one: one[0])
            if not place or own[place - 1][0] < oldest:
                continue
            row = own[place - 1][1]
            closed = row["holding_closed_on"]
            if closed is not None and day_of(closed) < at:
                continue
            if (not counter.by or row[counter.by] == level) and _fulfils(row, counter.where):
                total += row[counter.value] or 0
        out[measure] = total


_COUNTS: dict[str, Callable[[Counter, Sequence[Row], dict[Measure, float]], None]] = {
    "count": _counted,
    "sum": _summed,
    "values": _given,
    "last": _extreme,
    "first": _extreme,
    "squares": _squares,
    "value": _last_value,
    "state": _in_force,
}


def _of_customer(customer: Row, feature: Feature, today: int, household: int) -> Value:
    if feature.formula == "household":
        return household
    given = customer[feature.column]
    if feature.formula == "attribute":
        if feature.dtype == "category":
            return given if given in feature.levels else None
        return math.nan if given is None else float(given)
    if given is None:
        return math.nan
    days = float(today - day_of(given))
    return days if feature.formula == "days" else days / source.DAYS_PER_YEAR


def _divided(top: float, bottom: float) -> float:
    return float(top) / float(bottom) if bottom and not math.isnan(bottom) else math.nan


def _trend(inputs: list[Any], feature: Feature, today: int) -> float:
    (recent, before), (recent_months, before_months) = inputs, feature.weights
    a, b = recent * before_months, before * recent_months
    return _divided(a - b, abs(a) + abs(b))


_FORMULAS: dict[str, Callable[[list[Any], Feature, int], Any]] = {
    "value": lambda inputs, feature, today: float(inputs[0]) if feature.dtype == "float64" else inputs[0],
    "days": lambda inputs, feature, today: float(today - inputs[0]),
    "ratio": lambda inputs, feature, today: _divided(inputs[0], inputs[1]),
    "difference": lambda inputs, feature, today: inputs[0] - inputs[1],
    "mean": lambda inputs, feature, today: float(sum(inputs)) / len(inputs),
    "trend": _trend,
    "variance": lambda inputs, feature, today: inputs[1] / (inputs[0] - 1) if inputs[0] >= 2 else math.nan,
}
