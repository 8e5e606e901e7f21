"""What to compute: declarations, each a line a person can read, and the specification they make up.

A declaration names a table of the schema and what to make of its rows. Those that take rows share these keywords:

- ``by``: one feature for each level of this code column (``category``, ``channel``, ``outcome`` …). ``product_group``
  is reached through the product, ``product_id`` of a balance through its holding.
- ``levels``: the levels, in order; left out, they are those known at the snapshot, fixed for good by ``resolve``.
- ``where``: rows to take, by column: a value, a tuple of values, or None for empty: ``{"direction": "out"}``.
- ``date``: the column that windows and ages go by, in place of the time the row happened.
- ``name``: the first part of the features' names, in place of the table and the values of ``where``.

Windows are calendar months back from the end of ``as_of``, half-open, in UTC: three months as of 2025-03-31 are
2025-01-01 to 2025-03-31; ``None`` stands for always.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.warehouse import schema

FORMAT = 1
REFUSED = ("contact", "special")
"""Sensitivities that no feature may use: names, addresses and the like say nothing a model should know."""

Value = str | int | bool | None
Where = tuple[tuple[str, Value | tuple[Value, ...]], ...]
KINDS = (
    "windowed",
    "share",
    "trend",
    "variance",
    "recency",
    "upcoming",
    "last_value",
    "balance",
    "attribute",
    "since",
    "household",
    "ratio",
)


class Selection(TypedDict, total=False):
    """The keywords that declarations over rows share; see the top of this module."""

    by: str
    levels: Iterable[str] | None
    where: Mapping[str, Any] | None
    date: str
    name: str


@dataclass(frozen=True)
class Declaration:
    """One line of a specification; made by the functions of this module, which explain the fields.

    ``strict`` declarations fail where a level or a value of ``where`` exists nowhere in the data.
    """

    kind: str
    table: str = ""
    value: str = ""
    measures: tuple[str, ...] = ()
    months: tuple[int | None, ...] = ()
    before: int = 0
    by: str = ""
    levels: tuple[str, ...] | None = None
    where: Where = ()
    date: str = ""
    name: str = ""
    strict: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise NotFoundError(f"there is no kind of feature {self.kind!r}{closest(self.kind, KINDS)}")
        if self.kind == "ratio":
            return
        table = find_table(self.table)
        for column in [self.value, self.date, *[name for name, _ in self.where]]:
            if column:
                find_column(table, column)
        if self.by:
            find_by(table, self.by)
        for months in self.months:
            if months is not None and not 0 < months <= 1200:
                raise UsageError(
                    f"{self.kind} of {self.table}: months holds {months}; give 1 to 1200, or None for always"
                )
        _check_where(table, self.where)


@dataclass(frozen=True)
class Specification:
    """Declarations in order; extended with ``+``, fixed with ``resolve``, kept as JSON.

    >>> spec = Specification((windowed("transactions", months=(3,)),)) + [recency("contacts")]
    >>> [declaration.kind for declaration in spec]
    ['windowed', 'recency']
    """

    declarations: tuple[Declaration, ...] = ()

    def __add__(self, more: Iterable[Declaration]) -> Specification:
        return Specification((*self.declarations, *more))

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self.declarations)

    def __len__(self) -> int:
        return len(self.declarations)


def windowed(
    table: str,
    value: str = "",
    *,
    counts: bool = True,
    sums: bool = True,
    months: Iterable[int | None] = (1, 3, 6, 12),
    **selection: Unpack[Selection],
) -> Declaration:
    """Declare the number of rows and, where ``value`` is given, its sum, in windows of so many months.

    >>> windowed("transactions", "amount_minor", by="category", months=(3,)).by
    'category'
    """
    measures = (["count"] if counts else []) + (["sum"] if sums and value else [])
    if not measures:
        raise UsageError(f"windowed {table!r} declares nothing: name a value to sum, or leave counts=True")
    return _declare("windowed", table, value, measures=tuple(measures), months=tuple(months), **_plain(selection))


def share(
    table: str, value: str = "", *, months: Iterable[int | None] = (3,), **selection: Unpack[Selection]
) -> Declaration:
    """Declare each level's share in the count of rows, or in the sum of ``value``; empty where the whole is zero."""
    if not selection.get("by"):
        raise UsageError(f"share of {table!r}: by is missing; name the column whose levels share the whole")
    measures = ("sum",) if value else ("count",)
    return _declare("share", table, value, measures=measures, months=tuple(months), **_plain(selection))


def trend(
    table: str, value: str = "", *, recent: int = 3, before: int = 3, **selection: Unpack[Selection]
) -> Declaration:
    """Declare how the monthly rate of the last ``recent`` months compares with that of the ``before`` preceding ones.

    (r - p) / (\\|r| + \\|p|) of the two rates of rows, or of the sums of ``value``: from -1 (stopped) over 0 (as before)
    to 1 (started); empty where both are zero.
    """
    if before <= 0:
        raise UsageError(f"trend of {table!r}: before is {before}; give at least one month")
    measures = ("sum",) if value else ("count",)
    return _declare("trend", table, value, measures=measures, months=(recent,), before=before, **_plain(selection))


def variance(
    table: str, value: str, *, months: Iterable[int | None] = (12,), **selection: Unpack[Selection]
) -> Declaration:
    """Declare the sample variance of ``value``, by two passes; empty where there are fewer than two values."""
    return _declare("variance", table, value, months=tuple(months), **_plain(selection))


def recency(
    table: str, *, months: int | None = None, first: bool = False, **selection: Unpack[Selection]
) -> Declaration:
    """Declare the days since the last (or ``first``) row, not looking further back than ``months``; empty without one."""
    return _declare("recency", table, measures=("first" if first else "last",), months=(months,), **_plain(selection))


def upcoming(table: str, due: str, *, months: Iterable[int] = (3,), **selection: Unpack[Selection]) -> Declaration:
    """Declare the number of rows whose date ``due`` falls within the next months: contracts soon to mature."""
    return _declare("upcoming", table, months=tuple(months), **_plain({**selection, "date": due}))


def held(value: str = "", *, by: str = "", levels: Iterable[str] | None = None) -> Declaration:
    """Declare the number of open holdings, or the sum of their ``value``; by product or product group."""
    given = _plain({"by": by, "levels": levels, "where": {"closed_on": None}, "name": "holdings_open"})
    return _declare("windowed", "holdings", value, measures=("sum" if value else "count",), months=(None,), **given)


def balance(
    measure: str = "latest",
    *,
    months: Iterable[int] = (3, 6),
    stale_months: int = 3,
    by: str = "",
    levels: Iterable[str] | None = None,
) -> Declaration:
    """Declare balances of open holdings: ``latest``, the ``average`` of month-ends, or the ``change`` over some months.

    The balance of a holding at a moment is its last one before it, if not older than ``stale_months``.
    """
    if measure not in ("latest", "average", "change"):
        raise NotFoundError(f"there is no balance {measure!r}{closest(measure, ('latest', 'average', 'change'))}")
    window = () if measure == "latest" else tuple(months)
    given = _plain({"by": by, "levels": levels})
    return _declare(
        "balance", "balances", "balance_minor", measures=(measure,), months=window, before=stale_months, **given
    )


def last_value(table: str, value: str, **selection: Unpack[Selection]) -> Declaration:
    """Declare a number of the customer's last row that has it (the largest where several happened at that moment)."""
    return _declare("last_value", table, value, **_plain(selection))


def attribute(column: str, *, levels: Iterable[str] | None = None) -> Declaration:
    """Declare a column of the customer as known then: a number, or a category."""
    return _declare("attribute", "customers", column, levels=None if levels is None else tuple(levels))


def since(column: str, *, years: bool = False, name: str = "") -> Declaration:
    """Declare the days (or ``years`` of 365.25 days) since a date of the customer: age, tenure."""
    return _declare("since", "customers", column, measures=("years" if years else "days",), name=name)


def household_size() -> Declaration:
    """Declare the number of customers in the same household, this one included."""
    return _declare("household", "customers", "household_id")


def ratio(numerator: str, denominator: str, *, name: str = "") -> Declaration:
    """Declare the ratio of two features named before; empty where the lower one is zero or either is empty."""
    return Declaration(
        "ratio", measures=(numerator, denominator), name=name or f"{numerator}_per_{denominator}", strict=False
    )


def to_json(spec: Iterable[Declaration]) -> str:
    """Return a specification as JSON, to be kept beside a model."""
    return json.dumps({"format": FORMAT, "declarations": [asdict(one) for one in spec]}, ensure_ascii=False)


def from_json(text: str) -> Specification:
    """Return the specification that ``to_json`` wrote.

    >>> spec = Specification((recency("contacts", where={"direction": "out"}),))
    >>> from_json(to_json(spec)) == spec
    True

    Raises UsageError for text that ``to_json`` did not write.
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this release reads {FORMAT}")
        return Specification(tuple(Declaration(**_frozen(one)) for one in values["declarations"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not a feature specification: {error}; write it with features.to_json") from error


def lenient(spec: Iterable[Declaration]) -> Specification:
    """Return the specification with levels and values taken as given, whether or not the data have them."""
    return Specification(tuple(replace(one, strict=False) for one in spec))


def find_table(name: str) -> sa.Table:
    """Return the canonical table ``name`` if its rows belong to customers; raises NotFoundError naming the closest."""
    tables = {key: table for key, table in schema.tables().items() if "customer_id" in table.c}
    if name not in tables:
        raise NotFoundError(f"there is no table {name!r} of customers' rows{closest(name, tables)}")
    return tables[name]


def find_column(table: sa.Table, name: str) -> sa.Column[Any]:
    """Return a column that features may use; raises NotFoundError naming the closest, UsageError for a refused one."""
    columns = {column.name: column for column in schema.source_columns(table)}
    if name not in columns:
        raise NotFoundError(f"table {table.name} has no column {name!r}{closest(name, columns)}")
    sensitivity = columns[name].info["sensitivity"]
    if sensitivity in REFUSED:
        raise UsageError(f"{table.name}.{name} is of sensitivity {sensitivity!r}; leave it out, features never use it")
    return columns[name]


def find_by(table: sa.Table, name: str) -> None:
    """Raise NotFoundError unless ``name`` is a text column of the table or is reached through its product or holding."""
    through = [other for other in ("product_id", "product_group") if reaches(table, other)]
    if name in through:
        return
    column = find_column(table, name)
    if not isinstance(column.type, sa.String):
        raise UsageError(f"{table.name}.{name} has no levels, it is no text; use it as a value or a date")


def reaches(table: sa.Table, name: str) -> bool:
    """Say whether ``product_id`` or ``product_group`` comes to a row of ``table`` by a join."""
    if name == "product_group":
        return "product_id" in table.c or table.name == "balances"
    return name == "product_id" and table.name == "balances"


def closest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the known name most like ``name``, or the first dozen.

    >>> closest("transaction", ["transactions", "contacts"])
    "; did you mean 'transactions'?"
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known[:12]) or 'none'}"


def _check_where(table: sa.Table, where: Where) -> None:
    for name, given in where:
        allowed = table.c[name].info["values"]
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and allowed and value not in allowed:
                raise NotFoundError(f"{table.name}.{name} is never {value!r}{closest(str(value), allowed)}")


def _plain(selection: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(selection)
    if given.get("levels") is not None:
        given["levels"] = tuple(given["levels"])
    where = {} if given.get("where") is None else given["where"]
    given["where"] = tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in where.items()))
    return given


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    where = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in values["where"])
    return {**values, **lists, "where": where}


def _declare(kind: str, table: str, value: str = "", **fields: Any) -> Declaration:
    return Declaration(kind, table, value, **fields)
