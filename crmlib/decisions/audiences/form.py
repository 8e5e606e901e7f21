"""The Python form of conditions: one line that reads like the question, equal to the JSON.

audience.where(region="South") & audience.no_contact(channel="branch", within_months=3)
& audience.turnover(within_whole_months=1, above_minor=10_000_000) & ~audience.holds(group="loans")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crmlib.decisions.audiences.conditions import Data, closest, find, normal
from crmlib.decisions.audiences.fields import FIELDS, MEETINGS
from crmlib.errors import UsageError

BOUNDS = {
    "equal": "eq",
    "not_equal": "ne",
    "below": "lt",
    "at_most": "le",
    "above": "gt",
    "at_least": "ge",
    "between": "between",
    "one_of": "in",
    "none_of": "not_in",
    "known": "known",
}
"""Words of the Python form for the operators; those of amounts end in ``_minor``: above_minor, at_least_minor …"""
_WINDOWS = {"within_days": "days", "within_months": "months", "within_whole_months": "whole_months"}
_FILTERS = {"product": "product_id", "group": "product_group", "campaign": "campaign_id", "branch": "branch_id"}
_SHORT = {name: word for word, name in _FILTERS.items()}


_COUNTS = {
    "holds": "holdings.count",
    "opened": "holdings.opened",
    "closed": "holdings.closed",
    "maturing": "holdings.maturing",
    "applied": "applications.count",
    "contacted": "contacts.count",
    "complained": "complaints.count",
    "in_campaign": "campaigns.count",
}
_AMOUNTS = {
    "holds_amount": "holdings.amount_minor",
    "transactions": "transactions.count",
    "turnover": "transactions.turnover_minor",
    "net": "transactions.net_minor",
    "largest": "transactions.largest_minor",
}
_NAMES = {field: name for name, field in {**_COUNTS, **_AMOUNTS}.items()}

last_month: Data = {"whole_months": 1}
"""The window of the last calendar month that is complete at the end of ``as_of``."""


@dataclass(frozen=True)
class Condition:
    """Conditions in normal form; ``&``, ``|`` and ``~`` join them. Attributes: ``data``, plain JSON."""

    data: Data

    def __and__(self, other: Condition) -> Condition:
        return Condition(normal({"all": [self.data, other.data]}))

    def __or__(self, other: Condition) -> Condition:
        return Condition(normal({"any": [self.data, other.data]}))

    def __invert__(self) -> Condition:
        return Condition(normal({"not": self.data}))

    def __str__(self) -> str:
        return python(self.data)


def everybody() -> Condition:
    """Return the condition that every customer fulfils."""
    return Condition(normal({}))


def condition(data: Mapping[str, Any]) -> Condition:
    """Return conditions given as JSON; raises UsageError for what is not allowed."""
    return Condition(normal(data))


def where(**attributes: Any) -> Condition:
    """Return the condition on attributes: a value, a list of values (one of them), or None (not known).

    >>> where(region="South", children=2).data["all"][1]
    {'field': 'children', 'operator': 'eq', 'value': 2}
    """
    if not attributes:
        raise UsageError("where() names no attribute; name one, like where(region='South'), or use everybody()")
    parts = []
    for name, value in attributes.items():
        bound = {"known": False} if value is None else {"one_of" if isinstance(value, list) else "equal": value}
        parts.append(attribute(name, **bound).data)
    return Condition(normal({"all": parts}))


def attribute(name: str, **bounds: Any) -> Condition:
    """Return the condition that an attribute keeps to all bounds: equal, below, at_most, above, at_least, known …

    >>> attribute("age_years", at_least=30, below=60).data["all"][0]
    {'field': 'age_years', 'operator': 'ge', 'value': 30}
    """
    if find(name).kind not in ("attribute", "span"):
        raise UsageError(f"{name} is no attribute of customers; use {_NAMES.get(name, name)}(…)")
    return _bounded({"field": name}, bounds, name)


def _of_rows(function: str, field: str, default: Mapping[str, Any]) -> Any:
    def build(window: Data | None = None, **given: Any) -> Condition:
        leaf: Data = {"field": field}
        filters = {
            _FILTERS.get(name, name): given.pop(name)
            for name in list(given)
            if _FILTERS.get(name, name) in find(field).filters
        }
        if filters:
            leaf["where"] = filters
        spans = [{unit: given.pop(name)} for name, unit in _WINDOWS.items() if name in given]
        if window is not None:
            spans.append(window)
        if len(spans) > 1:
            raise UsageError(f"{function}: two windows are given; give one")
        if spans:
            leaf["window"] = spans[0]
        return _bounded(leaf, given or dict(default), function)

    build.__name__ = function
    build.__doc__ = (
        f"Return the condition on {field}: filters by name, a window (within_days, within_months, within_whole_months or "
        f"``last_month``) and bounds"
        + (f"; without bounds: {', '.join(f'{name} {value}' for name, value in default.items())}." if default else ".")
    )
    return build


holds = _of_rows("holds", "holdings.count", {"at_least": 1})
opened = _of_rows("opened", "holdings.opened", {"at_least": 1})
closed = _of_rows("closed", "holdings.closed", {"at_least": 1})
maturing = _of_rows("maturing", "holdings.maturing", {"at_least": 1})
applied = _of_rows("applied", "applications.count", {"at_least": 1})
contacted = _of_rows("contacted", "contacts.count", {"at_least": 1})
no_contact = _of_rows("no_contact", "contacts.count", {"equal": 0})
complained = _of_rows("complained", "complaints.count", {"at_least": 1})
in_campaign = _of_rows("in_campaign", "campaigns.count", {"at_least": 1})
transactions = _of_rows("transactions", "transactions.count", {"at_least": 1})
holds_amount = _of_rows("holds_amount", "holdings.amount_minor", {})
turnover = _of_rows("turnover", "transactions.turnover_minor", {})
net = _of_rows("net", "transactions.net_minor", {})
largest = _of_rows("largest", "transactions.largest_minor", {})


def met_consultant(window: Data | None = None, **given: Any) -> Condition:
    """Return the condition of a contact in person: by one of the channels in ``fields.MEETINGS``."""
    found: Condition = contacted(window, channel=list(MEETINGS), **given)
    return found


def not_met_consultant(window: Data | None = None, **given: Any) -> Condition:
    """Return the condition of no contact in person."""
    found: Condition = no_contact(window, channel=list(MEETINGS), **given)
    return found


def score(product: str, *, model: str = "propensity", **bounds: Any) -> Condition:
    """Return the condition on what a model expects of a product: bounds from 0 to 1, or top_share of those scored."""
    return _bounded({"field": "score", "where": {"model": model, "product_id": product}}, bounds, "score")


def segment(segmentation: str, *segments: str, **bounds: Any) -> Condition:
    """Return the condition of being in one of the segments; or none_of=[…], known=True.

    >>> print(segment("rfm", "champions"))
    audience.segment('rfm', 'champions')
    """
    if segments:
        bounds = {"one_of": list(segments), **bounds}
    return _bounded({"field": "segment", "where": {"segmentation": segmentation}}, bounds, "segment")


def _bounded(leaf: Data, bounds: Mapping[str, Any], function: str) -> Condition:
    field = FIELDS[leaf["field"]]
    words = {_worded(field.name, word): operator for word, operator in BOUNDS.items() if operator in field.operators}
    if field.kind == "score":
        words["top_share"] = "top_share"
    parts = []
    for word, value in bounds.items():
        if word not in words:
            filters = [_SHORT.get(name, name) for name in field.filters]
            known = ", ".join([*filters, *(list(_WINDOWS) if field.time else []), *words])
            raise UsageError(f"{function}: unknown word {word!r}{closest(word, [*filters, *words])}; it takes {known}")
        parts.append({**leaf, "operator": words[word], "value": value})
    if not parts:
        raise UsageError(f"{function}: no bound is given; give one of {', '.join(words)}")
    return Condition(normal({"all": parts}))


def _worded(field: str, word: str) -> str:
    """Return a bound's word with the unit of an amount."""
    return f"{word}_minor" if FIELDS[field].kind == "measure" and FIELDS[field].money else word


# ---------------------------------------------------------------- conditions as text


def python(conditions: Any) -> str:
    """Return the Python form of conditions: one line that gives equal conditions again.

    >>> python({"not": {"field": "holdings.count", "where": {"product_group": "loans"}, "operator": "ge", "value": 1}})
    "~audience.holds(group='loans')"
    """
    return _text(normal(conditions), outer=True)


def _text(one: Data, *, outer: bool = False) -> str:
    if "field" in one:
        return f"audience.{_call(one)}"
    if "not" in one:
        return f"~{_text(one['not'])}"
    kind, sign = ("all", " & ") if "all" in one else ("any", " | ")
    if not one[kind]:
        return "audience.everybody()"
    words = sign.join(_text(part) for part in one[kind])
    return words if outer else f"({words})"


def _call(leaf: Data) -> str:
    field, operator, value = FIELDS[leaf["field"]], leaf["operator"], leaf["value"]
    word = next((one for one, code in BOUNDS.items() if code == operator), operator)
    bound = f"{_worded(field.name, word)}={_literal(value)}"
    if field.kind in ("attribute", "span"):
        return (
            f"where({field.name}={_literal(value)})"
            if operator in ("eq", "in")
            else f"attribute({field.name!r}, {bound})"
        )
    given = leaf.get("where", {})
    if field.kind == "score":
        model = "" if given["model"] == "propensity" else f", model={given['model']!r}"
        return f"score({given['product_id']!r}{model}, {bound})"
    if field.kind == "segment":
        names = value if operator == "in" else [value]
        inside = ", ".join(map(repr, names)) if operator in ("eq", "in") else bound
        return f"segment({given['segmentation']!r}, {inside})"
    return _rows_call(field.name, leaf, bound)


def _rows_call(name: str, leaf: Data, bound: str) -> str:
    where, asked = dict(leaf.get("where", {})), (leaf["operator"], leaf["value"])
    function, parts = _NAMES[name], []
    if name == "contacts.count" and asked in (("eq", 0), ("ge", 1)):
        met = where.get("channel") == list(MEETINGS)
        if met:
            where.pop("channel")
        function = {
            "eq": "not_met_consultant" if met else "no_contact",
            "ge": "met_consultant" if met else "contacted",
        }[asked[0]]
        bound = ""
    elif asked == ("ge", 1) and not name.endswith("_minor"):
        bound = ""
    ((unit, length),) = leaf["window"].items() if "window" in leaf else ((None, None),)
    if leaf.get("window") == last_month:
        parts.append("audience.last_month")
    parts += [f"{_SHORT.get(one, one)}={_literal(value)}" for one, value in where.items()]
    if unit and leaf["window"] != last_month:
        parts.append(f"{next(word for word, code in _WINDOWS.items() if code == unit)}={length}")
    return f"{function}({', '.join([*parts, *([bound] if bound else [])])})"


def _literal(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)
