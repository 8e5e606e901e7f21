"""The rules of eligibility tried on one customer whose rows are at hand, or on prospects who only answered questions.

The rules and their meaning are those of ``eligibility``; only the facts come from elsewhere than a query per table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.decisions import customer_facts, eligibility, rules
from crmlib.decisions.customer_facts import Facts
from crmlib.decisions.desk_history import Rows
from crmlib.warehouse.company import Company

_NEVER = np.datetime64("1900-01-01", "D")


def facts(rows: Rows, known: Stated, *, as_of: dt.date, company: Company) -> Facts:
    """Return what the rules ask about one customer, the same as ``customer_facts.read`` finds."""
    customer = rows["customers"][-1]
    products = known.products
    rates = {**company.exchange_rates, company.currency: 1.0}
    income = customer["income_minor"]
    currency = customer["currency"]
    worth = rates.get(currency, np.nan) if currency is not None else 1.0
    owned = {row["product_id"] for row in rows["holdings"] if row["closed_on"] is None}
    applied: dict[str, float] = {}
    refused: dict[str, np.datetime64] = {}
    for row in rows["applications"]:
        name = row["product_id"]
        if row["decided_at"] is None:
            applied[name] = min(applied.get(name, np.inf), (as_of - row["applied_at"].date()).days)
        elif row["outcome"] == "refused":
            refused[name] = max(refused.get(name, _NEVER), np.datetime64(row["decided_at"].date(), "D"))
    return Facts(
        as_of=as_of,
        customer_id=pd.Series([customer["customer_id"]], dtype="str"),
        left=np.array([customer["closed_on"] is not None]),
        age=np.array([_whole(months(customer["birth_date"], as_of), 12)]),
        income=np.array([np.nan if income is None else income * worth]),
        tenure=np.array([months(customer["customer_since"], as_of)]),
        held={name: np.array([name in owned]) for name in products},
        applied={name: np.array([applied.get(name, np.inf)], dtype=np.float32) for name in products},
        refused={name: np.array([refused.get(name, _NEVER)]) for name in products},
        documents={name: np.array([customer[column] is not None]) for name, column in rules.DOCUMENTS.items()},
        attributes={name: pd.Series([customer[name]], dtype="str") for name in known.columns},
        appetite=np.array([_appetite(rows["surveys"])]),
        rates=rates,
    )


def answered(base: Facts, people: pd.DataFrame) -> Facts:
    """Return the facts of as many people who are like the one of ``base`` but for what they answered.

    In: ``people`` with any of age_years, income_minor (company's currency), and columns that the rules look at.
    """
    count = len(people)

    def like(value: np.ndarray) -> np.ndarray:
        return np.repeat(value, count)

    def number(name: str, value: np.ndarray) -> np.ndarray:
        return people[name].to_numpy(float) if name in people else like(value)

    shown = dict(base.documents)
    if "income_minor" in people:
        shown["income"] = np.array([True])  # stated; whether it is shown on paper comes with the application
    return Facts(
        as_of=base.as_of,
        customer_id=pd.Series(np.arange(count).astype(str), dtype="str"),
        left=like(base.left),
        age=np.floor(number("age_years", base.age)),
        income=number("income_minor", base.income),
        tenure=like(base.tenure),
        held={name: like(value) for name, value in base.held.items()},
        applied={name: like(value) for name, value in base.applied.items()},
        refused={name: like(value) for name, value in base.refused.items()},
        documents={name: like(value) for name, value in shown.items()},
        attributes={
            name: people[name].astype("str").reset_index(drop=True) if name in people else value.repeat(count)
            for name, value in base.attributes.items()
        },
        appetite=like(base.appetite),
        rates=base.rates,
    )


def prospect(known: Stated, *, as_of: dt.date, company: Company) -> Facts:
    """Return the facts of somebody of whom nothing is known, and who has no contract with the company."""
    nobody: dict[str, Any] = dict.fromkeys(["customer_id", "birth_date", "customer_since", "income_minor", "currency"])
    nobody |= dict.fromkeys(["closed_on", *rules.DOCUMENTS.values(), *known.columns])
    nothing: dict[str, Sequence[Mapping[str, Any]]] = {"holdings": [], "applications": [], "surveys": []}
    return facts({"customers": [{**nobody, "customer_id": ""}], **nothing}, known, as_of=as_of, company=company)


@dataclass(frozen=True, eq=False)
class Stated:
    """Rules made ready: ``rows`` of ``eligibility.rules``, the same by product and reason code, and what they look at:
    ``products`` and ``columns`` of the table customers."""

    rows: list[dict[Any, Any]]
    by_code: dict[tuple[str, str], list[dict[Any, Any]]]
    products: list[str]
    columns: list[str]


def stated(table: pd.DataFrame) -> Stated:
    """Return the rules of ``eligibility.rules`` made ready for one customer at a time."""
    rows = table.to_dict("records")
    by_code: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in rows:
        for name in (row["code"], rules.MAY_BE_UNKNOWN.get(row["code"])):
            if name is not None:
                by_code.setdefault((row["product_id"], name), []).append(row)
    named = {row["parameters"]["product_id"] for row in rows if "product_id" in row["parameters"]}
    columns = {row["parameters"]["column"] for row in rows if row["code"] == "attribute_not_accepted"}
    return Stated(rows, by_code, sorted({*[row["product_id"] for row in rows], *named}), sorted(columns))


def refusals(found: Facts, known: Stated, *, products: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return for one customer the first reason against each product that is refused, with the rule's parameters."""
    out = {}
    for product, number in zip(products, eligibility.judge(found, known.rows, products=products)[0], strict=True):
        if number:
            code = eligibility.MEANINGS[number]
            rows = known.by_code[product, code]
            if len(rows) > 1:  # of several such rules the first that refuses is the one to name
                rows = [row for row in rows if eligibility.judge(found, [row], products=[product])[0, 0]]
            value = customer_facts.value(found, code) if code in rules.KINDS else {}
            out[product] = {"code": code, **rows[0]["parameters"], **value}
    return out


def months(since: dt.date | None, day: dt.date) -> float:
    """Return the completed calendar months between two days; nan where the first is missing.

    >>> months(dt.date(2024, 12, 31), dt.date(2025, 2, 28))
    1.0
    """
    if since is None:
        return float("nan")
    return float((day.year - since.year) * 12 + day.month - since.month - (since.day > day.day))


def _whole(number: float, by: int) -> float:
    return float(np.floor(number / by))


def _appetite(answers: Sequence[Mapping[str, Any]]) -> float:
    """Return the place in ``RISKS`` of the appetite for risk stated last; nan where none was."""
    found = float("nan")
    for row in answers:
        if row["question"] != customer_facts.APPETITE:
            continue
        if row["answer"] in rules.RISKS:
            found = float(rules.RISKS.index(row["answer"]))
        elif row["score"] is not None and row["score"] - 1 in range(len(rules.RISKS)):
            found = float(row["score"]) - 1
    return found
