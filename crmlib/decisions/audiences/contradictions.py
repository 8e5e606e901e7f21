"""Rules that no customer can fulfil together: age above 60 and below 30.

Within each "all of" group the conditions about one and the same thing (field, filters, window) are tried on every value
that could make a difference: each value named, the ones beside and between them, some other text, and "not known".
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any

from crmlib.decisions.audiences.conditions import Data
from crmlib.decisions.audiences.fields import DATE, FIELDS, REAL, TEXT, Field
from crmlib.errors import UsageError

_OTHER = "\x00another"  # no text of an audience may hold this character
_WORDS = {
    "eq": "be {value}",
    "ne": "differ from {value}",
    "lt": "be below {value}",
    "le": "be at most {value}",
    "gt": "be above {value}",
    "ge": "be at least {value}",
    "between": "be from {value}",
    "in": "be one of {value}",
    "not_in": "be none of {value}",
    "known": "be known",
}


def check(conditions: Data) -> None:
    """Raise UsageError, in words, for the first contradiction of normal conditions."""
    found = first(conditions)
    if found is None:
        return
    about = FIELDS[found[0].get("not", found[0])["field"]]
    words = " and ".join(_words(one) for one in found)
    if len(found) == 1:
        raise UsageError(f"nobody can fulfil this: {about.name} can never {words}; change or remove it")
    raise UsageError(
        f"nobody can fulfil both: {about.name} cannot {words} at the same time; change one of them, or put them into a "
        'group "any"'
    )


def first(conditions: Data) -> list[Data] | None:
    """Return the smallest set of conditions found to exclude each other, None where there is no such set.

    >>> old = {"field": "age_years", "operator": "gt", "value": 60}
    >>> first({"all": [old, {"field": "age_years", "operator": "lt", "value": 30}]}) is None
    False
    """
    for group in _together(conditions):
        by_thing: dict[str, list[Data]] = {}
        for one in group:
            by_thing.setdefault(_thing(one.get("not", one)), []).append(one)
        for same in by_thing.values():
            for size in (1, 2, len(same)):
                for few in itertools.combinations(same, min(size, len(same))):
                    if not _possible(list(few)):
                        return list(few)
    return None


def _together(conditions: Data) -> Iterator[list[Data]]:
    """Yield the single conditions, plain or negated, that must hold together."""
    if "field" in conditions or "field" in conditions.get("not", {}):
        yield [conditions]
    elif "not" in conditions:
        yield from _together(conditions["not"])
    elif "any" in conditions:
        for one in conditions["any"]:
            yield from _together(one)
    else:
        single = [one for one in conditions["all"] if "field" in one or "field" in one.get("not", {})]
        yield single
        for one in conditions["all"]:
            if one not in single:
                yield from _together(one)


def _thing(leaf: Data) -> str:
    field = FIELDS[leaf["field"]]
    # Ages and dates of birth say the same in two ways; they are compared within their own way only.
    return repr((field.name, leaf.get("where"), leaf.get("window")))


def _possible(conditions: list[Data]) -> bool:
    plain = [one.get("not", one) for one in conditions]
    if any(one["operator"] == "top_share" for one in plain):
        return True
    field = FIELDS[plain[0]["field"]]
    values = _candidates(field, plain)
    return any(all(_holds(one.get("not", one), value) != ("not" in one) for one in conditions) for value in values)


def _candidates(field: Field, leaves: list[Data]) -> list[Any]:
    named: list[Any] = []
    for leaf in leaves:
        if leaf["operator"] != "known":
            named += leaf["value"] if isinstance(leaf["value"], list) else [leaf["value"]]
    unknown = [] if field.kind == "measure" else [None]
    if field.type == TEXT:
        return [*named, _OTHER, *unknown]
    if field.type == DATE:
        days = sorted({dt.date.fromisoformat(one).toordinal() for one in named})
        beside = sorted({day + step for day in days for step in (-1, 0, 1)}) or [dt.date(2000, 1, 1).toordinal()]
        return [
            *[dt.date.fromordinal(max(1, min(day, dt.date.max.toordinal()))).isoformat() for day in beside],
            *unknown,
        ]
    ordered = sorted(set(named))
    if field.type == REAL:
        ends = [one for one in (field.low, field.high) if one is not None]
        between = [(a + b) / 2 for a, b in itertools.pairwise(sorted({*ordered, *ends}))]
        numbers = [*ordered, *ends, *between]
    else:
        numbers = [one + step for one in ordered for step in (-1, 0, 1)] or [field.low or 0]
    low = -float("inf") if field.low is None else field.low
    high = float("inf") if field.high is None else field.high
    return [*[one for one in numbers if low <= one <= high], *unknown]


def _holds(leaf: Data, value: Any) -> bool:
    """Return whether a value fulfils a plain condition; a missing one fulfils only "differs" and "not known"."""
    operator, given = leaf["operator"], leaf["value"]
    if operator == "known":
        return (value is not None) == given
    if value is None:
        return operator in ("ne", "not_in")
    if operator in ("in", "not_in"):
        return (value in given) == (operator == "in")
    if operator == "between":
        return bool(given[0] <= value <= given[1])
    compared = {"eq": value == given, "ne": value != given}
    return compared[operator] if operator in compared else _ordered(operator, value, given)


def _ordered(operator: str, value: Any, given: Any) -> bool:
    return bool({"lt": value < given, "le": value <= given, "gt": value > given, "ge": value >= given}[operator])


def _words(condition: Data) -> str:
    leaf = condition.get("not", condition)
    value = leaf["value"]
    if leaf["operator"] == "known" and not value:
        words = "be missing"
    else:
        shown = (
            f" {'to' if leaf['operator'] == 'between' else 'or'} ".join(map(str, value))
            if isinstance(value, list)
            else value
        )
        words = _WORDS[leaf["operator"]].format(value=shown)
    return f"not {words}" if "not" in condition else words
