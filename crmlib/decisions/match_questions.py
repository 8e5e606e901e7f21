"""The questions of the product match: what can be asked, how an answer is typed, and which features it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crmlib.errors import UsageError

Answer = str | int | float


@dataclass(frozen=True)
class Question:
    """One question: ``name`` is the column of the table customers it fills ("age_years" and "plan" apart).

    ``kind`` is number (``low`` to ``high``), money (minor units of the company's currency a month) or choice (one of
    ``options``); ``feature`` is the name of the model's feature, "" for the plan, which is no feature.
    """

    name: str
    kind: str
    feature: str = ""
    low: float = 0.0
    high: float = math.inf
    options: tuple[str, ...] = ()


PLAN, NO_PLAN = "plan", "none"
_NUMBERS = {
    "age_years": ("customer_age_years", "number", 0.0, 120.0),
    "income_minor": ("customer_income_minor", "money", 0.0, 1e12),
    "children": ("customer_children", "number", 0.0, 30.0),
}
_CHOICES = ("marital_status", "employment_status", "education", "occupation", "gender", "region")


def questions(levels: Mapping[str, Sequence[str]], plans: Sequence[str] = ()) -> list[Question]:
    """Return the questions whose answers the model can use, and the one about plans.

    In: ``levels`` of the model's features by name, empty for numbers; ``plans`` product groups that can be had in mind.

    >>> [one.name for one in questions({"customer_age_years": (), "customer_region": ("north", "south")}, ["loans"])]
    ['age_years', 'region', 'plan']
    """
    found = []
    for name, (feature, kind, low, high) in _NUMBERS.items():
        if feature in levels:
            found.append(Question(name, kind, feature, low, high))
    for name in _CHOICES:
        options = tuple(levels.get(f"customer_{name}", ()))
        if len(options) > 1:
            found.append(Question(name, "choice", f"customer_{name}", options=options))
    if plans:
        found.append(Question(PLAN, "choice", options=(*sorted(plans), NO_PLAN)))
    return found


def checked(answers: Mapping[str, Any], asked: Iterable[Question]) -> dict[str, Answer]:
    """Return the answers as they count; raises UsageError for an unknown question or an answer that cannot be.

    >>> checked({"age_years": "34"}, [Question("age_years", "number", "customer_age_years", 0, 120)])
    {'age_years': 34.0}
    """
    known = {one.name: one for one in asked}
    out: dict[str, Answer] = {}
    for name, given in answers.items():
        if name not in known:
            raise UsageError(f"there is no question {name!r}; there are {', '.join(known)}")
        question = known[name]
        if question.kind == "choice":
            if given not in question.options:
                raise UsageError(f"{name} is {given!r}; answer with one of {', '.join(question.options)}")
            out[name] = str(given)
            continue
        try:
            number = float(given)
        except (TypeError, ValueError):
            number = math.nan
        if not question.low <= number <= question.high:
            raise UsageError(f"{name} is {given!r}; answer with a number from {question.low:g} to {question.high:g}")
        out[name] = number
    return out


def recorded(values: Mapping[str, Any], asked: Iterable[Question]) -> dict[str, Answer]:
    """Return what a customer's features already answer.

    >>> recorded({"customer_age_years": 34.0}, [Question("age_years", "number", "customer_age_years", 0, 120)])
    {'age_years': 34.0}
    """
    found = {}
    for one in asked:
        value = values.get(one.feature) if one.feature else None
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            found[one.name] = value
    return found


def bins(values: pd.Series, question: Question, *, number: int = 5) -> pd.Series:
    """Return into which of a few answers each value falls: quantiles of numbers, options as they are.

    >>> bins(pd.Series([1.0, 2.0, 3.0, 4.0]), Question("children", "number"), number=2).tolist()
    [0, 0, 1, 1]
    """
    if question.kind == "choice":
        return pd.Series(pd.factorize(values)[0], index=values.index)
    return pd.qcut(values, number, labels=False, duplicates="drop").fillna(0).astype(int)
