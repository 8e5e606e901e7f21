"""Conditions as plain JSON data: what is allowed, said in one sentence where it is not, and one form for equal ones.

{"all": [c, …]}   {"any": [c, …]}   {"not": c}   {} (everybody)
{"field": "contacts.count", "where": {"channel": ["branch", "visit"]}, "window": {"months": 3},
 "operator": "eq", "value": 0}
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crmlib.decisions.audiences.fields import DATE, DERIVED, FIELDS, REAL, TEXT, WHOLE, Field
from crmlib.errors import UsageError

Data = dict[str, Any]

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_VALUES = 1000
MAX_TEXT = 200
LARGEST = 2**62
WINDOWS = {"days": 36_600, "months": 1200, "whole_months": 1200}
"""Units of a window, with the most of each."""

EVERYBODY: Data = {"all": []}
_GROUPS = ("all", "any", "not")
_PARTS = ("field", "where", "window", "operator", "value")


def normal(conditions: Any) -> Data:
    """Return the one form of conditions that mean the same at sight; raises UsageError for what is not allowed.

    Groups in groups of the same kind are joined, groups of one are unwrapped, ``not`` stands before single conditions
    only, lists of levels are sorted without repetition, and a list of one level becomes ``eq``.

    >>> normal({"all": [{"all": [{"field": "region", "operator": "in", "value": ["South"]}]}]})
    {'field': 'region', 'operator': 'eq', 'value': 'South'}
    """
    if isinstance(conditions, Mapping) and not conditions:
        return dict(EVERYBODY)
    found = _normal(conditions, depth=0)
    number = sum(1 for _ in leaves(found))
    if number > MAX_CONDITIONS:
        raise UsageError(f"the audience has {number} conditions; use at most {MAX_CONDITIONS}")
    return found


def leaves(conditions: Data) -> Iterator[Data]:
    """Yield the single conditions of normal conditions, in order.

    >>> [one["field"] for one in leaves({"not": {"field": "children", "operator": "eq", "value": 0}})]
    ['children']
    """
    if "field" in conditions:
        yield conditions
    for kind in ("all", "any"):
        for one in conditions.get(kind, ()):
            yield from leaves(one)
    if "not" in conditions:
        yield from leaves(conditions["not"])


def same(one: Data, other: Data) -> bool:
    """Return whether normal conditions are equal but for the order within groups."""
    return _key(one) == _key(other)


def _key(one: Data) -> str:
    for kind in ("all", "any"):
        if kind in one:
            return json.dumps([kind, sorted(_key(part) for part in one[kind])])
    return json.dumps(one, sort_keys=True)


def closest(word: str, known: Iterable[str]) -> str:
    """Return words that offer the known name most like ``word``, or "" where none is like it.

    >>> closest("regoin", ["region", "city"]), closest("x", ["region"])
    ('; did you mean region?', '')
    """
    by_small = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), list(by_small), 1, 0.6)
    return f"; did you mean {by_small[found[0]]}?" if found else ""


def _normal(given: Any, depth: int) -> Data:
    if not isinstance(given, Mapping):
        raise UsageError(
            f"a condition is {_shown(given)}; give a group (all, any, not) or a field with an operator and a value"
        )
    if depth > MAX_DEPTH:
        raise UsageError(f"the groups of the audience are nested more than {MAX_DEPTH} deep; put them side by side")
    groups = [name for name in _GROUPS if name in given]
    if not groups:
        return _leaf(given)
    if len(given) != 1:
        raise UsageError(f"a group has the keys {', '.join(map(str, given))}; give just one of {', '.join(_GROUPS)}")
    kind, inside = groups[0], given[groups[0]]
    if kind == "not":
        return _negated(_normal(inside, depth + 1))
    if not isinstance(inside, list | tuple):
        raise UsageError(f"the group {kind!r} holds {_shown(inside)}; give a list of conditions")
    if not inside and kind == "any":
        raise UsageError("the group 'any' is empty, so nobody is in it; put a condition into it or remove it")
    parts = [_normal(one, depth + 1) for one in inside]
    if kind == "any" and EVERYBODY in parts:
        raise UsageError("the group 'any' holds a group without conditions, which is everybody; remove one of them")
    return _joined(kind, parts)


def _negated(condition: Data) -> Data:
    """Return the opposite, with "not" only before single conditions: not (a or b) is not a and not b."""
    if "not" in condition:
        return dict(condition["not"])
    if "field" in condition:
        return {"not": condition}
    kind = "all" if "all" in condition else "any"
    if not condition[kind]:
        raise UsageError("the group 'not' holds no condition, so nobody is in it; put a condition into it or remove it")
    return _joined("any" if kind == "all" else "all", [_negated(one) for one in condition[kind]])


def _joined(kind: str, inside: list[Data]) -> Data:
    """Return a group without groups of its own kind in it, and without repetition."""
    parts: list[Data] = []
    for one in inside:
        parts += [part for part in one.get(kind, [one]) if part not in parts]
    return parts[0] if len(parts) == 1 else {kind: parts}


def _leaf(given: Mapping[Any, Any]) -> Data:
    unknown = [str(name) for name in given if name not in _PARTS]
    if unknown:
        raise UsageError(
            f"a condition has the unknown part {unknown[0]!r}{closest(unknown[0], (*_PARTS, *_GROUPS))}; "
            f"it may have {', '.join(_PARTS)}"
        )
    missing = [name for name in ("field", "operator", "value") if name not in given]
    if missing:
        raise UsageError(f"a condition lacks its {missing[0]}; give field, operator and value")
    field = find(given["field"])
    operator = given["operator"]
    if operator not in field.operators:
        raise UsageError(
            f"field {field.name}: unknown operator {_shown(operator)}; it takes {', '.join(field.operators)}"
        )
    leaf: Data = {"field": field.name}
    where = _where(field, given.get("where") or {})
    if where:
        leaf["where"] = where
    if given.get("window") is not None:
        leaf["window"] = _window(field, given["window"])
    leaf["operator"], leaf["value"] = _value(field, str(operator), given["value"])
    return leaf


def find(name: Any) -> Field:
    """Return a field by name; raises UsageError, with the closest name, for an unknown one.

    >>> find("region").kind
    'attribute'
    """
    if not isinstance(name, str) or name not in FIELDS:
        raise UsageError(
            f"unknown field {_shown(name)}{closest(str(name), FIELDS)}; the fields are {', '.join(FIELDS)}"
        )
    return FIELDS[name]


def _where(field: Field, given: Any) -> Data:
    if not isinstance(given, Mapping):
        raise UsageError(
            f"field {field.name}: where is {_shown(given)}; give filters by name, like {{'channel': 'branch'}}"
        )
    unknown = [str(name) for name in given if name not in field.filters]
    if unknown:
        allowed = f"it takes {', '.join(field.filters)}" if field.filters else "it takes none"
        raise UsageError(
            f"field {field.name}: unknown filter {unknown[0]!r}{closest(unknown[0], field.filters)}; {allowed}"
        )
    lacking = [name for name in field.filters if name not in given] if field.kind in ("score", "segment") else []
    if lacking:
        raise UsageError(f"field {field.name}: which {lacking[0]}? name it in where")
    single = field.kind in ("score", "segment")
    found = {
        name: _levels(f"{field.name}, filter {name}", given[name], single=single)
        for name in field.filters
        if name in given
    }
    for name, levels in found.items():
        named: tuple[str, ...] = DERIVED.get((field.table, name), ())
        wrong = [one for one in (levels if isinstance(levels, list) else [levels]) if named and one not in named]
        if wrong:
            raise UsageError(f"field {field.name}, filter {name}: unknown level {wrong[0]!r}; use {' or '.join(named)}")
    return found


def _levels(name: str, given: Any, *, single: bool = False) -> Any:
    """Return a level, None for a missing one, or a sorted list of several."""
    if isinstance(given, list | tuple) and not single:
        found = {None if one is None else text(name, one) for one in given}
        if not found:
            raise UsageError(f"field {name}: the list of values is empty; name at least one")
        if len(found) > MAX_VALUES:
            raise UsageError(f"field {name}: {len(found)} values in a list; use at most {MAX_VALUES}")
        ordered = sorted(found, key=lambda one: (one is None, one or ""))
        return ordered[0] if len(ordered) == 1 else ordered
    return None if given is None and not single else text(name, given)


def _window(field: Field, given: Any) -> Data:
    if not field.time:
        raise UsageError(f"field {field.name}: has no window; remove it")
    units = [one for one in WINDOWS if not (field.ahead and one == "whole_months")]
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in units:
        raise UsageError(
            f"field {field.name}: the window is {_shown(given)}; give one of {', '.join(units)}, like {{'months': 3}}"
        )
    ((unit, length),) = given.items()
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= WINDOWS[unit]:
        raise UsageError(
            f"field {field.name}: the window is {_shown(length)} {unit}; give a whole number from 1 to {WINDOWS[unit]}"
        )
    return {unit: length}


def _value(field: Field, operator: str, given: Any) -> tuple[str, Any]:
    """Return operator and value in their one form."""
    if operator == "known":
        if not isinstance(given, bool):
            raise UsageError(f"field {field.name}: known is {_shown(given)}; give true or false")
        return operator, given
    if operator in ("in", "not_in"):
        if not isinstance(given, list | tuple):
            raise UsageError(f"field {field.name}: {operator} needs a list of values, not {_shown(given)}")
        found = _levels(field.name, given)
        if not isinstance(found, list):
            found = [found]
        if None in found:
            raise UsageError(f"field {field.name}: a list of values holds null; ask whether it is known instead")
        return (operator, found) if len(found) > 1 else ("eq" if operator == "in" else "ne", found[0])
    if operator == "between":
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise UsageError(f"field {field.name}: between needs two values, the lower first, not {_shown(given)}")
        low, high = (_literal(field, one) for one in given)
        if low > high:
            raise UsageError(f"field {field.name}: between {low} and {high} holds nothing; give the lower value first")
        return operator, [low, high]
    value = _literal(field, given)
    if operator == "top_share" and not 0 < value <= 1:
        raise UsageError(f"field {field.name}: top_share is {value}; give a share above 0 and up to 1, like 0.1")
    return operator, value


def _literal(field: Field, given: Any) -> Any:
    """Return a single value in the type of the field."""
    if field.type == TEXT:
        return text(field.name, given)
    if field.type == DATE:
        return _date(field, given)
    number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if number and field.low is not None and field.high is not None and not field.low <= given <= field.high:
        raise UsageError(
            f"field {field.name}: the value is {_shown(given)}; it lies between {field.low} and {field.high}"
        )
    if field.type == WHOLE and number and float(given).is_integer() and abs(given) < LARGEST:
        return int(given)
    if field.type == REAL and number:
        return float(given)
    wanted = "a whole number" if field.type == WHOLE else "a number"
    unit = " of minor units" if field.money else ""
    raise UsageError(f"field {field.name}: the value is {_shown(given)}; give {wanted}{unit}")


def _date(field: Field, given: Any) -> str:
    try:
        if isinstance(given, str):
            return dt.date.fromisoformat(given).isoformat()
        if isinstance(given, dt.date) and not isinstance(given, dt.datetime):
            return given.isoformat()
    except ValueError:
        pass
    raise UsageError(f"field {field.name}: the value is {_shown(given)}; give a date as YYYY-MM-DD")


def text(name: str, given: Any) -> str:
    """Return a text that every engine can hold; raises UsageError for anything else."""
    if not isinstance(given, str):
        raise UsageError(f"field {name}: the value is {_shown(given)}; give a text")
    if len(given) > MAX_TEXT or "\x00" in given or any("\ud800" <= letter <= "\udfff" for letter in given):
        raise UsageError(
            f"field {name}: the text is longer than {MAX_TEXT} characters or holds one no table can; correct it"
        )
    return given


def _shown(given: Any) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
