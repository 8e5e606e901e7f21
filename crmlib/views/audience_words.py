"""What the audience builder calls the fields, operators and windows, and a condition as a line of words."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from crmlib.decisions.audiences.conditions import Data
from crmlib.decisions.audiences.fields import DATE, FIELDS, MEETINGS, REAL, TEXT
from crmlib.views import wording
from crmlib.views.texts import Language, later


@dataclasses.dataclass(frozen=True)
class Subject:
    """A line of the list of fields: its words, the field behind it, filters that are fixed and filters to choose."""

    key: str
    name: str
    field: str
    filters: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_LISTED = (
    Subject("region", later("Region"), "region"),
    Subject("city", later("Town"), "city"),
    Subject("age", later("Age, years"), "age_years"),
    Subject("gender", later("Gender"), "gender"),
    Subject("marital_status", later("Marital status"), "marital_status"),
    Subject("children", later("Children"), "children"),
    Subject("education", later("Education"), "education"),
    Subject("occupation", later("Occupation"), "occupation"),
    Subject("employment_status", later("Employment"), "employment_status"),
    Subject("income", later("Income per month"), "income_minor"),
    Subject("risk_class", later("Risk class"), "risk_class"),
    Subject("service_segment", later("Tier of service"), "service_segment"),
    Subject("preferred_channel", later("Preferred channel"), "preferred_channel"),
    Subject("branch", later("Home branch"), "branch_id"),
    Subject("tenure", later("Customer for, months"), "tenure_months"),
    Subject("birth_date", later("Date of birth"), "birth_date"),
    Subject("holds", later("Holds a product"), "holdings.count", ("product_group", "product_id")),
    Subject("opened", later("Opened a contract"), "holdings.opened", ("product_group", "product_id")),
    Subject("closed", later("Closed a contract"), "holdings.closed", ("product_group", "product_id")),
    Subject("maturing", later("A contract matures"), "holdings.maturing", ("product_group", "product_id")),
    Subject("amount", later("Amount of open contracts"), "holdings.amount_minor", ("product_group", "product_id")),
    Subject("applied", later("Applied for a product"), "applications.count", ("product_id", "outcome", "channel")),
    Subject("turnover", later("Turnover"), "transactions.turnover_minor", ("direction", "category", "channel")),
    Subject("net", later("Money in less money out"), "transactions.net_minor", ("category", "channel")),
    Subject(
        "largest", later("Largest transaction"), "transactions.largest_minor", ("direction", "category", "channel")
    ),
    Subject(
        "transactions", later("Number of transactions"), "transactions.count", ("direction", "category", "channel")
    ),
    Subject("met", later("Met a consultant"), "contacts.count", (), {"channel": list(MEETINGS)}),
    Subject("contacts", later("Was in contact with us"), "contacts.count", ("channel", "direction", "purpose")),
    Subject("complained", later("Complained"), "complaints.count", ("topic", "state")),
    Subject("campaign", later("Was in a campaign"), "campaigns.count", ("campaign_id", "arm")),
    Subject("score", later("Expected to buy within 90 days"), "score", ("product_id",), {"model": "propensity"}),
)
_FILTERS = {
    "product_group": later("Product group"),
    "product_id": later("Product"),
    "outcome": later("Outcome"),
    "channel": later("Channel"),
    "direction": later("Direction"),
    "category": later("Kind"),
    "purpose": later("Purpose"),
    "topic": later("Topic"),
    "state": later("State"),
    "campaign_id": later("Campaign"),
    "arm": later("Arm"),
    "lost_stage": later("Stage at which it was lost"),
    "branch_id": later("Branch"),
    "closed_reason": later("Reason"),
    "response": later("Response"),
    "model": later("Model"),
    "segmentation": later("Segmentation"),
}
_NUMBERS = {
    "ge": later("at least"),
    "gt": later("more than"),
    "le": later("at most"),
    "lt": later("less than"),
    "eq": later("exactly"),
    "ne": later("other than"),
    "between": later("from … to"),
}
_KNOWN = {"known": later("is known"), "unknown": later("is not known")}
_TEXTS = {
    "eq": later("is"),
    "ne": later("is not"),
    "in": later("is one of"),
    "not_in": later("is none of"),
    **_KNOWN,
}
_DATES = {
    "ge": later("on or after"),
    "le": later("on or before"),
    "between": later("from … to"),
    **_KNOWN,
}
_COUNTS = {"yes": later("yes"), "no": later("no"), **_NUMBERS}
_SCORES = {"top_share": later("among the best"), "ge": later("probability at least"), "lt": later("probability below")}


def subjects(segmentations: list[str]) -> dict[str, Subject]:
    """Return the fields of the builder by key; one for each segmentation that was saved."""
    made = [Subject(f"segment {one}", one, "segment", (), {"segmentation": one}) for one in segmentations]
    return {one.key: one for one in (*_LISTED, *made)}


def subject_of(leaf: Data, known: Mapping[str, Subject]) -> Subject | None:
    """Return the subject a condition belongs to: of those with its field, the one whose fixed filters fit best."""
    where = leaf.get("where", {})
    fits = [
        one
        for one in known.values()
        if one.field == leaf["field"] and all(where.get(name) == value for name, value in one.fixed.items())
    ]
    return max(fits, key=lambda one: len(one.fixed), default=None)


def subject_name(say: Language, subject: Subject) -> str:
    """Return the words for a subject."""
    if subject.field == "segment":
        return say.text("Segment: {name}", name=wording.value(say, subject.name))
    return say.text(subject.name)


def filter_name(say: Language, name: str) -> str:
    """Return the words for a filter."""
    return say.text(_FILTERS[name])


def operators(say: Language, subject: Subject) -> dict[str, str]:
    """Return the words for each operator of a subject, by its code; "yes", "no" and "unknown" are short for two."""
    one = FIELDS[subject.field]
    if one.kind == "score":
        words = _SCORES
    elif one.type == TEXT:
        words = _TEXTS
    elif one.type == DATE:
        words = _DATES
    elif one.kind == "measure" and not one.money:
        words = _COUNTS
    else:
        words = {**_NUMBERS, **({} if one.kind == "measure" else _KNOWN)}
    return {code: say.text(word) for code, word in words.items()}


def shown_operator(leaf: Data, subject: Subject) -> str:
    """Return the code under which the builder shows a condition's operator."""
    one, asked = FIELDS[subject.field], (leaf["operator"], leaf["value"])
    if asked[0] == "known":
        return "known" if asked[1] else "unknown"
    if one.kind == "measure" and not one.money and asked in (("ge", 1), ("eq", 0)):
        return "yes" if asked[0] == "ge" else "no"
    return str(asked[0])


def windows(say: Language, *, ahead: bool) -> list[tuple[str, Data | None]]:
    """Return the windows a list offers, in words."""
    if ahead:
        return [
            (window(say, one, ahead=True), one)
            for one in ({"days": 30}, {"months": 2}, {"months": 3}, {"months": 6}, None)
        ]
    usual = (
        {"days": 7},
        {"days": 30},
        {"months": 3},
        {"months": 6},
        {"months": 12},
        {"whole_months": 1},
        {"whole_months": 3},
        None,
    )
    return [(window(say, one), one) for one in usual]


def window(say: Language, given: Data | None, *, ahead: bool = False) -> str:
    """Return a window in words.

    >>> from crmlib.views import texts
    >>> window(texts.speak("en"), {"whole_months": 1})
    'last calendar month'
    """
    if given is None:
        return say.text("at any time from now") if ahead else say.text("at any time")
    ((unit, length),) = given.items()
    if ahead:
        if unit == "days":
            return say.plural("within {n} day", "within {n} days", length)
        return say.plural("within {n} month", "within {n} months", length)
    if unit == "days":
        return say.plural("last {n} day", "last {n} days", length)
    if unit == "months":
        return say.plural("last {n} month", "last {n} months", length)
    return (
        say.text("last calendar month")
        if length == 1
        else say.plural("last {n} calendar month", "last {n} calendar months", length)
    )


def level(say: Language, name: str, value: Any, products: Mapping[str, str]) -> str:
    """Return a level in words: products by their names."""
    if isinstance(value, list):
        return " / ".join(level(say, name, one, products) for one in value)
    if value is None:
        return say.text("none yet") if name == "outcome" else say.text("not known")
    if name == "product_id":
        return products.get(value, value)
    found = {"open": say.text("open"), "resolved": say.text("resolved"), "visit": say.text("visit")}
    if name == "direction":
        found = {"in": say.text("in"), "out": say.text("out")}
    return found.get(value) or wording.value(say, value)


def sentence(
    say: Language, condition: Data, *, known: Mapping[str, Subject], products: Mapping[str, str], currency: str
) -> str:
    """Return conditions as a line of words: "Turnover (last calendar month): more than €100,000"."""
    inside: Callable[[Data], str] = lambda one: sentence(say, one, known=known, products=products, currency=currency)  # noqa: E731
    if "not" in condition:
        opposite = _opposite(condition["not"])
        if opposite:
            return inside(opposite)
        return say.text("not: {condition}", condition=inside(condition["not"]))
    if "any" in condition or "all" in condition:
        kind = "any" if "any" in condition else "all"
        joint = say.text(" or ") if kind == "any" else say.text(" and ")
        return joint.join(inside(one) for one in condition[kind])
    subject = subject_of(condition, known)
    name = subject_name(say, subject) if subject else condition["field"]
    about = [
        level(say, one, value, products)
        for one, value in condition.get("where", {}).items()
        if subject is None or one not in subject.fixed
    ]
    if "window" in condition:
        about.append(window(say, condition["window"], ahead=FIELDS[condition["field"]].ahead))
    inner = f" ({', '.join(about)})" if about else ""
    return f"{name}{inner}: {_asked(say, condition, subject, products, currency)}"


def _opposite(leaf: Data) -> Data | None:
    """Return a condition that says the same as ``leaf`` negated, where that reads better."""
    if leaf["operator"] == "known":
        return {**leaf, "value": not leaf["value"]}
    if FIELDS[leaf["field"]].kind == "measure" and (leaf["operator"], leaf["value"]) in (("ge", 1), ("eq", 0)):
        some = leaf["operator"] == "ge"
        return {**leaf, "operator": "eq" if some else "ge", "value": 0 if some else 1}
    return None


def _asked(say: Language, leaf: Data, subject: Subject | None, products: Mapping[str, str], currency: str) -> str:
    one = FIELDS[leaf["field"]]
    subject = subject or Subject("", "", one.name)
    code = shown_operator(leaf, subject)
    word = operators(say, subject).get(code) or say.text({**_NUMBERS, **_DATES, **_TEXTS}.get(code, code))
    if code in ("yes", "no", "known", "unknown"):
        return word

    def shown(value: Any) -> str:
        if one.type == TEXT:
            return level(say, one.name, value, products)
        if one.type == DATE:
            return say.date(dt.date.fromisoformat(value))
        if one.type == REAL:
            return say.percent(value, 0 if round(value * 100, 6) == round(value * 100) else 1)
        return say.money(value, currency) if one.money else say.number(value)

    values = leaf["value"]
    if code == "between":
        return say.text("from {low} to {high}", low=shown(values[0]), high=shown(values[1]))
    if one.type == TEXT:
        listed = ", ".join(map(shown, values)) if isinstance(values, list) else shown(values)
        return listed if code in ("eq", "in") else f"{word} {listed}"
    return f"{word} {shown(values)}"
