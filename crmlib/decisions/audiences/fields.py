"""The fields an audience may ask for: the whitelist of columns and measures, with their types, bounds and filters.

An **attribute** is a column of the customer's own row, a **span** the whole months or years since one of its dates, a
**measure** a number counted over rows of another table (0 where there are none), a **score** what a model expects, a
**segment** what a segmentation says. Nothing outside this list reaches SQL.
"""

from __future__ import annotations

from dataclasses import dataclass

from crmlib.warehouse import schema

TEXT, WHOLE, REAL, DATE = "text", "whole", "real", "date"

EQUALITY = ("eq", "ne")
ORDER = ("lt", "le", "gt", "ge", "between")
OPERATORS = {
    TEXT: (*EQUALITY, "in", "not_in", "known"),
    WHOLE: (*EQUALITY, *ORDER, "known"),
    REAL: (*ORDER, "top_share"),
    DATE: (*EQUALITY, *ORDER, "known"),
}
"""What may be asked of each type; ``known`` only where a value can be missing. Both ends of ``between`` count."""

MEETINGS = ("branch", "visit")
"""Channels of contact by which a customer met a consultant in person."""

DERIVED = {
    ("transactions", "direction"): ("in", "out"),
    ("complaints", "state"): ("open", "resolved"),
}
"""Filters that are no columns: the sign of the amount; whether a resolution is known."""

ALWAYS = {("contacts", "channel"): MEETINGS, **DERIVED}
"""Levels that may be asked for even where no row has them yet."""


@dataclass(frozen=True)
class Field:
    """One thing an audience may ask for.

    Attributes: ``kind`` is attribute, span, measure, score or segment; ``type`` of its values; ``table`` and ``column``
    it comes from (for a span the date, for a measure what is added up, "" for a number of rows); ``months`` of one unit
    of a span; ``aggregate`` of a measure: count, sum, size (sum of absolute amounts) or largest; ``filters`` the rows
    can be chosen by; ``time`` the column a window bounds ("" for none) and ``ahead`` whether windows look forward;
    ``low`` and ``high`` what no value lies beyond.
    """

    name: str
    kind: str
    type: str
    table: str = "customers"
    column: str = ""
    months: int = 0
    aggregate: str = ""
    filters: tuple[str, ...] = ()
    time: str = ""
    ahead: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators allowed."""
        return tuple(one for one in OPERATORS[self.type] if one != "known" or self.kind != "measure")

    @property
    def money(self) -> bool:
        """Whether the values are amounts in minor units."""
        return self.name.endswith("_minor")


_TEXTS = (
    *("gender", "region", "city", "branch_id", "employee_id", "marital_status", "education", "occupation"),
    *("employment_status", "risk_class", "preferred_channel"),
)
_OF_PRODUCT = ("product_id", "product_group")
_OF_MOVES = ("category", "channel", "direction", *_OF_PRODUCT)


def _measure(name: str, aggregate: str, filters: tuple[str, ...], *, time: str = "", **more: str | bool) -> Field:
    table = name.split(".", 1)[0]
    low = None if aggregate == "sum" else 0
    given = {"table": table, "aggregate": aggregate, "filters": filters, "time": time, "low": low}
    return Field(name, "measure", WHOLE, **{**given, **more})  # type: ignore[arg-type]


_ALL = (
    *[Field(name, "attribute", TEXT, column=name) for name in _TEXTS],
    Field("service_segment", "attribute", TEXT, column="segment"),
    Field("children", "attribute", WHOLE, column="children", low=0, high=30),
    Field("income_minor", "attribute", WHOLE, column="income_minor", low=0),
    Field("birth_date", "attribute", DATE, column="birth_date"),
    Field("customer_since", "attribute", DATE, column="customer_since"),
    Field("age_years", "span", WHOLE, column="birth_date", months=12, low=0, high=150),
    Field("tenure_months", "span", WHOLE, column="customer_since", months=1, low=0, high=2400),
    _measure("holdings.count", "count", (*_OF_PRODUCT, "channel")),
    _measure("holdings.amount_minor", "sum", (*_OF_PRODUCT, "channel"), column="amount_minor"),
    _measure("holdings.opened", "count", (*_OF_PRODUCT, "channel"), time="opened_on"),
    _measure("holdings.closed", "count", (*_OF_PRODUCT, "channel", "closed_reason"), time="closed_on"),
    _measure("holdings.maturing", "count", (*_OF_PRODUCT, "channel"), time="matures_on", ahead=True),
    _measure(
        "applications.count",
        "count",
        (*_OF_PRODUCT, "outcome", "channel", "lost_stage", "branch_id"),
        time="applied_at",
    ),
    _measure("transactions.count", "count", _OF_MOVES, time="occurred_at"),
    _measure("transactions.turnover_minor", "size", _OF_MOVES, time="occurred_at", column="amount_minor"),
    _measure("transactions.net_minor", "sum", _OF_MOVES, time="occurred_at", column="amount_minor"),
    _measure("transactions.largest_minor", "largest", _OF_MOVES, time="occurred_at", column="amount_minor"),
    _measure(
        "contacts.count",
        "count",
        ("channel", "direction", "purpose", "outcome", "campaign_id", "branch_id", *_OF_PRODUCT),
        time="occurred_at",
    ),
    _measure("complaints.count", "count", ("topic", "channel", "state", *_OF_PRODUCT), time="opened_at"),
    _measure(
        "campaigns.count", "count", ("campaign_id", "arm", "response"), time="assigned_at", table="campaign_members"
    ),
    Field("score", "score", REAL, table="scores", column="score", filters=("model", "product_id"), low=0, high=1),
    Field("segment", "segment", TEXT, table="segments", column="segment", filters=("segmentation",)),
)

FIELDS = {field.name: field for field in _ALL}
"""Every field by its name.

>>> FIELDS["transactions.turnover_minor"].filters
('category', 'channel', 'direction', 'product_id', 'product_group')
"""


def column_of(field: Field, name: str) -> tuple[str, str]:
    """Return table and column in which the levels of a filter (or, for the field's own name, of its values) are found.

    >>> column_of(FIELDS["transactions.count"], "product_group"), column_of(FIELDS["region"], "region")
    (('products', 'product_group'), ('customers', 'region'))
    """
    if name == field.name:
        return field.table, field.column
    if name in _OF_PRODUCT:
        return "products", name
    return field.table, name


def declared(table: str, column: str) -> tuple[str, ...]:
    """Return the levels that may be asked for whether or not a row has them."""
    found = schema.tables().get(table)
    named = found.c[column].info["values"] if found is not None and column in found.c else ()
    return (*named, *ALWAYS.get((table, column), ()))
