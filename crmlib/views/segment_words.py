"""Segments in words: their names, what sets them apart, why a customer moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crmlib.views import wording
from crmlib.views.texts import Language, later

CELLS = {
    "champions": later("Champions"),
    "loyal": later("Loyal"),
    "potential": later("Potentially loyal"),
    "recent": later("Recent but rare"),
    "attention": later("Need attention"),
    "at_risk": later("At risk of leaving"),
    "hibernating": later("Hibernating"),
    "inactive": later("Inactive"),
}
# What a customer with much, and with little, of something is like.
_ALONE = {
    "activity": (later("many transactions"), later("hardly any transactions")),
    "age": (later("older"), later("young")),
    "tenure": (later("long with us"), later("new with us")),
    "income": (later("higher income"), later("lower income")),
    "children": (later("with children"), later("seldom with children")),
    "salary_elsewhere": (later("salary elsewhere"), later("seldom salary elsewhere")),
    "recency": (later("last active long ago"), later("active lately")),
    "frequency": (later("many transactions"), later("few transactions")),
    "monetary": (later("large turnover"), later("small turnover")),
    "category salary": (later("salary paid in here"), later("no salary paid in here")),
    "category securities": (later("deals in securities"), later("seldom deals in securities")),
    "category cash": (later("takes out cash"), later("seldom takes out cash")),
    "category transfer": (later("makes transfers"), later("few transfers")),
    "category fee": (later("pays fees"), later("pays few fees")),
    "category exchange": (later("changes currency"), later("seldom changes currency")),
    "category rent": (later("pays rent from here"), later("seldom pays rent from here")),
    "category utilities": (later("pays utilities from here"), later("seldom pays utilities from here")),
    "channel card": (later("pays by card"), later("seldom pays by card")),
    "channel mobile": (later("uses the mobile app"), later("seldom uses the mobile app")),
    "channel internet": (later("uses the internet bank"), later("seldom uses the internet bank")),
    "channel atm": (later("uses cash machines"), later("seldom uses cash machines")),
    "channel branch": (later("comes to the branch"), later("seldom comes to the branch")),
}
_WITH_LEVEL = {
    "category": (later("spends on {level}"), later("spends little on {level}")),
    "channel": (later("much through {level}"), later("little through {level}")),
    "balance": (later("large balance ({level})"), later("small balance ({level})")),
    "debt": (later("large debt ({level})"), later("small debt ({level})")),
    "held": (later("has {level}"), later("seldom has {level}")),
}
_MEASURES = {
    "activity": later("Transactions in a year"),
    "age": later("Age"),
    "tenure": later("Years with us"),
    "income": later("Income per month"),
    "children": later("Children"),
    "salary_elsewhere": later("Salary elsewhere"),
    "recency": later("Days since the last transaction"),
    "frequency": later("Number of transactions"),
    "monetary": later("Turnover"),
    "category": later("Share of transactions: {level}"),
    "channel": later("Share through: {level}"),
    "balance": later("Balance: {level}"),
    "held": later("Contracts: {level}"),
}


def names(say: Language, description: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each segment in words, no two alike.

    In: the description saved with memberships. The cells of RFM have names of their own; a behavioural segment is named
    after what sets it apart most, with as many traits as keep the names apart (a number where none do).
    """
    segments: Mapping[str, Any] = description["segments"]
    if description.get("kind") == "rfm":
        return {name: say.text(CELLS[name]) if name in CELLS else name for name in segments}
    most = max((len(told["traits"]) for told in segments.values()), default=0)
    found: dict[str, str] = {}
    for many in range(1, most + 1):
        found = {name: _capital(sentence(say, told["traits"][:many])) or name for name, told in segments.items()}
        if len(set(found.values())) == len(found):
            return found
    return {name: f"{words} {number}" for number, (name, words) in enumerate(found.items(), start=1)} or {
        name: name for name in segments
    }


def sentence(say: Language, traits: Sequence[Mapping[str, Any]]) -> str:
    """Return what sets a segment apart as one phrase: "young, pays by card, salary elsewhere"."""
    phrases = [trait(say, one) for one in traits]
    return ", ".join(dict.fromkeys(phrases))


def trait(say: Language, code: Mapping[str, Any]) -> str:
    """Return one trait of a segment in words, by whether it lies above or below all other customers.

    >>> from crmlib.views.texts import speak
    >>> code = {"code": "category", "level": "groceries", "difference": 0.9}
    >>> trait(speak("en"), code), trait(speak("ru"), {"code": "age", "difference": -0.8})
    ('spends on groceries', 'молодые')
    """
    kind, level = str(code["code"]), str(code.get("level") or "")
    above = float(code["difference"]) > 0
    if kind == "balance" and min(float(code.get("value", 0)), float(code.get("others", 0))) < 0:
        kind, above = "debt", not above
    pair = _ALONE.get(f"{kind} {level}") or _ALONE.get(kind) or _WITH_LEVEL.get(kind)
    if pair is None:
        return f"{measure(say, code)} {'+' if above else '-'}"
    return say.text(pair[0] if above else pair[1], level=wording.value(say, level))


def measure(say: Language, code: Mapping[str, Any]) -> str:
    """Return what a trait or reason is about, without its value."""
    known = _MEASURES.get(str(code["code"]))
    if known is None:
        return str(code.get("measure") or code["code"]).replace("_", " ")
    return say.text(known, level=wording.value(say, str(code.get("level") or "")))


def compared(say: Language, code: Mapping[str, Any], *, currency: str = "") -> str:
    """Return a trait with its figures: the segment's value, its interval, and that of the others."""
    value, others, low, high = (shown(say, code, code[name], currency) for name in ("value", "others", "low", "high"))
    return say.text(
        "{what}: {value} ({low} to {high}), others {others}",
        what=measure(say, code),
        value=value,
        low=low,
        high=high,
        others=others,
    )


def reason(say: Language, code: Mapping[str, Any], *, currency: str = "") -> str:
    """Return a reason of a move in words: what changed from what to what.

    >>> from crmlib.views.texts import speak
    >>> code = {"code": "category", "level": "salary", "kind": "share", "before": 0.5, "after": 0.0}
    >>> reason(speak("en"), code)
    'Share of transactions: salary: 50% → 0%'
    """
    before, after = (shown(say, code, code[name], currency) for name in ("before", "after"))
    return say.text("{what}: {before} → {after}", what=measure(say, code), before=before, after=after)


def direction(say: Language, code: Mapping[str, Any]) -> str:
    """Return a reason of many moves in words: what went up or down."""
    what = measure(say, code)
    return say.text("{what} up", what=what) if code["direction"] == "up" else say.text("{what} down", what=what)


def shown(say: Language, code: Mapping[str, Any], given: Any, currency: str = "") -> str:
    """Return a value of a measure as a person would write it."""
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return say.text("none")
    number, kind = float(given), str(code.get("kind", ""))
    if kind in ("share", "flag"):
        return say.percent(number, 0 if number >= 0.1 or number == 0 else 1)
    if kind == "minor units":
        return say.money(number, currency) if currency else say.number(number / 100)
    if kind == "years":
        return say.plural("{n} year", "{n} years", int(number))
    if kind == "days":
        return say.plural("{n} day", "{n} days", round(number))
    return say.number(number, 0 if number == round(number) else 1)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
