"""From a cell of a matrix to its audience: the segment, the rules of the product and the score as conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from crmlib.decisions import memberships
from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse.company import Company

Condition = dict[str, Any]

_DOCUMENT_FIELDS = {"income": "income_minor", "employment": "employment_status"}
_FIELD_OF = {column: name for name, column in memberships.ATTRIBUTES.items()}
_NOTHING_TO_ASK = ("customer_left",)  # an audience holds nobody who left


@dataclass(frozen=True)
class Cell:
    """The audience of a cell.

    Attributes: ``conditions`` as plain data for ``audiences``; ``unchecked`` codes of the product's rules that no condition
    can say (an undecided application, a document): who fails them is in the audience and refused when offers are made.
    """

    conditions: Condition
    unchecked: list[str] = field(default_factory=list)


def audience(
    by: str,
    segment: str,
    product_id: str,
    *,
    rules: pd.DataFrame,
    company: Company,
    score_at_least: float | None = None,
    data: Path | None = None,
) -> Cell:
    """Return who is in a segment of ``memberships.members(by)`` and may be offered a product.

    ``rules`` as of ``eligibility.rules``; ``score_at_least`` adds the probability of buying from which a contact pays.
    Raises NotFoundError for a product without rules, DataError for one that is withdrawn or sold out.
    """
    own = rules[rules["product_id"] == product_id]
    if own.empty:
        raise NotFoundError(
            f"there is no product {product_id!r}; known are {', '.join(sorted(set(rules['product_id'])))}"
        )
    parts: list[Condition] = [memberships.conditions(by, segment, data=data)]
    unchecked: list[str] = []
    for row in own.to_dict("records"):
        if row["code"] in ("withdrawn", "sold_out"):
            why = "is withdrawn from sale" if row["code"] == "withdrawn" else "is sold out for this quarter"
            raise DataError(f"product {product_id!r} {why}, so there is nobody to offer it to; choose another product")
        found = _condition(row, company)
        if found is not None:
            parts.append(found)
        elif row["code"] not in _NOTHING_TO_ASK:
            unchecked.append(str(row["code"]))
    if score_at_least is not None:
        where = {"model": "propensity", "product_id": product_id}
        parts.append({"field": "score", "where": where, "operator": "ge", "value": score_at_least})
    return Cell({"all": parts}, list(dict.fromkeys(unchecked)))


def _condition(row: Mapping[Any, Any], company: Company) -> Condition | None:
    """Return one rule as a condition; None where the fields of audiences cannot say it."""
    code, told = row["code"], row["parameters"]
    if code in ("already_held", "required_missing", "substitute_held"):
        number = {"operator": "ge", "value": 1} if code == "required_missing" else {"operator": "eq", "value": 0}
        where = {"product_id": told.get("product_id", row["product_id"])}
        return {"field": "holdings.count", "where": where, **number}
    if code == "document_missing":
        name = _DOCUMENT_FIELDS.get(told["document"])
        return None if name is None else {"field": name, "operator": "known", "value": True}
    asked = _bound(code, told, company)
    if asked is None or row["unknown"] != "allow":
        return asked
    return {"any": [asked, {"field": asked["field"], "operator": "known", "value": False}]}


def _bound(code: str, told: Mapping[str, Any], company: Company) -> Condition | None:
    """Return what a known value has to be."""
    match code:
        case "age_below":
            return {"field": "age_years", "operator": "ge", "value": told["years"]}
        case "age_above":
            return {"field": "age_years", "operator": "le", "value": told["years"]}
        case "tenure_below":
            return {"field": "tenure_months", "operator": "ge", "value": told["months"]}
        case "income_below":
            rates = {**company.exchange_rates, company.currency: 1.0}
            minor = math.ceil(told["minor"] * rates.get(told.get("currency", company.currency), 1.0))
            return {"field": "income_minor", "operator": "ge", "value": minor}
        case "attribute_not_accepted" if told["column"] in _FIELD_OF:
            return {"field": _FIELD_OF[told["column"]], "operator": "in", "value": list(told["accepted"])}
    return None
