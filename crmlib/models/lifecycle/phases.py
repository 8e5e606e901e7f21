"""Life-cycle phases from explicit rules: rules are data, the first that holds decides, each has a reason code."""

from __future__ import annotations

import operator
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.lifecycle.observations import MEASURES
from crmlib.models.lifetime.inputs import Array

PHASES = ("prospect", "new", "growing", "mature", "fading", "lapsed", "won_back")
"""All phases, in the order in which a life would run through them."""
_SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Condition:
    """One comparison of a measure of ``observations.observe`` with a number: ("ratio", "<=", 0.5). A missing measure meets none."""

    measure: str
    sign: str
    value: float

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UsageError(f"life-cycle rule: there is no measure {self.measure!r}; there are {', '.join(MEASURES)}")
        if self.sign not in _SIGNS:
            raise UsageError(f"life-cycle rule: the sign is {self.sign!r}; use one of {', '.join(_SIGNS)}")
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or not np.isfinite(self.value):
            raise UsageError(f"life-cycle rule: {self.measure} is compared with {self.value!r}; give a number")

    def __str__(self) -> str:
        return f"{self.measure} {self.sign} {self.value:g}"


@dataclass(frozen=True)
class Rule:
    """A phase, the ``code`` of the reason, and the conditions that must all hold; without conditions it holds for everybody."""

    phase: str
    code: str
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise UsageError(f"life-cycle rule: there is no phase {self.phase!r}; there are {', '.join(PHASES)}")
        if not self.code:
            raise UsageError(f"life-cycle rule for {self.phase}: the reason has no code; name it")


def _rule(phase: str, code: str, *conditions: tuple[str, str, float]) -> Rule:
    return Rule(phase, code, tuple(Condition(*one) for one in conditions))


RULES = (
    _rule("lapsed", "closed", ("ended", ">=", 1)),
    _rule("prospect", "never_active", ("ever", "<=", 0)),
    _rule("won_back", "returned", ("gap_days", ">=", 180), ("silent_days", "<", 90), ("tenure_days", ">", 180)),
    _rule("lapsed", "long_silent", ("silent_days", ">=", 365)),
    _rule("lapsed", "silent_without_products", ("silent_days", ">=", 180), ("holdings", "<=", 0)),
    _rule("new", "joined", ("tenure_days", "<=", 180)),
    _rule("fading", "silent", ("silent_days", ">=", 90)),
    _rule("fading", "fewer_transactions", ("ratio", "<=", 0.5), ("surprise", "<=", -1.5)),
    _rule("growing", "more_transactions", ("ratio", ">=", 1.5), ("surprise", ">=", 1.5)),
    _rule("growing", "more_products", ("holdings_change", ">=", 1)),
    _rule("mature", "steady"),
)
"""The rules unless a company has its own; the first that holds decides."""

_ABOUT = {
    "closed": (),
    "returned": ("gap_days",),
    "long_silent": ("silent_days",),
    "silent_without_products": ("silent_days",),
    "joined": ("tenure_days",),
    "silent": ("silent_days",),
    "fewer_transactions": ("transactions", "usual"),
    "more_transactions": ("transactions", "usual"),
    "more_products": ("holdings", "holdings_before"),
}


def assign(observed: pd.DataFrame, rules: Sequence[Rule] = RULES) -> pd.DataFrame:
    """Return the phase of each customer and why: customer_id, as_of, phase, code.

    In: a table of ``observations.observe`` (one date or several). Raises DataError for a missing measure, UsageError for
    rules that leave somebody without a phase.
    """
    _whole(rules)
    used = {condition.measure for rule in rules for condition in rule.conditions}
    missing = sorted({"customer_id", "as_of", *used} - set(observed))
    if missing:
        raise DataError(f"the life-cycle table has no column {', '.join(missing)}; make it with observations.observe")
    undecided = np.ones(len(observed), dtype=bool)
    number = np.full(len(observed), -1)
    for place, rule in enumerate(rules):
        holds = undecided & _holds(observed, rule)
        number[holds] = place
        undecided &= ~holds
    phase = np.array([rule.phase for rule in rules], dtype=object)[number]
    code = np.array([rule.code for rule in rules], dtype=object)[number]
    return observed[["customer_id", "as_of"]].assign(phase=phase.astype(str), code=code.astype(str))


def reason(row: pd.Series | dict[str, Any], code: str) -> dict[str, Any]:
    """Return the reason of one customer's phase as a code with the numbers that it is about.

    >>> reason({"transactions": 3.0, "usual": 9.25}, "fewer_transactions")
    {'code': 'fewer_transactions', 'transactions': 3.0, 'usual': 9.25}
    """
    return {"code": code, **{name: float(row[name]) for name in _ABOUT.get(code, ())}}


def categorical(numbers: Array) -> pd.Categorical[str]:
    """Return numbers of ``PHASES`` as their names, stored once."""
    return pd.Categorical.from_codes(pd.Series(numbers, dtype="int64"), categories=pd.Index(PHASES))


def text(rules: Sequence[Rule] = RULES) -> str:
    """Return rules as the text of a rules file, to start one's own from.

    >>> print(text(RULES[-2:]))
    [[rules]]
    phase = "growing"
    code = "more_products"
    conditions = ["holdings_change >= 1"]
    <BLANKLINE>
    [[rules]]
    phase = "mature"
    code = "steady"
    conditions = []
    """
    blocks = []
    for rule in rules:
        listed = ", ".join(f'"{condition}"' for condition in rule.conditions)
        blocks.append(f'[[rules]]\nphase = "{rule.phase}"\ncode = "{rule.code}"\nconditions = [{listed}]')
    return "\n\n".join(blocks)


def read(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a TOML file (see ``text``), or the usual ones where there is no file.

    Raises UsageError for a file that cannot be read, names an unknown phase or measure, or leaves somebody without a phase.
    """
    if not path.exists():
        return RULES
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        rules = tuple(
            Rule(str(one["phase"]), str(one["code"]), tuple(_condition(each) for each in one.get("conditions", ())))
            for one in found["rules"]
        )
        _whole(rules)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: the life-cycle rules cannot be read ({error}); write a block [[rules]] with phase, code and conditions "
            "for each"
        ) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return rules


def _condition(words: str) -> Condition:
    parts = words.split()
    try:
        measure, sign, value = parts[0], parts[1], float(parts[2])
    except (IndexError, ValueError):
        parts = []
    if len(parts) != 3:
        raise UsageError(f'life-cycle rule: the condition {words!r} is not of the form "ratio <= 0.5"')
    return Condition(measure, sign, value)


def _holds(observed: pd.DataFrame, rule: Rule) -> Array:
    holds = np.ones(len(observed), dtype=bool)
    for condition in rule.conditions:
        # A comparison with a missing value is false whatever the sign.
        holds &= _SIGNS[condition.sign](observed[condition.measure].to_numpy(float), condition.value)
    return holds


def _whole(rules: Sequence[Rule]) -> None:
    if not rules or rules[-1].conditions:
        raise UsageError(
            "the last life-cycle rule has conditions, so a customer may get no phase; end with one without"
        )
    codes = [rule.code for rule in rules]
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        raise UsageError(f"several life-cycle rules have the code {', '.join(twice)}; give each its own")
