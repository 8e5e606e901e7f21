"""Rules of eligibility and suitability as data: read from the product table, completed by the company's own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot

COLUMNS = ["product_id", "kind", "code", "parameters", "unknown"]

# In the order in which they are tried: the first that refuses names the reason.
KINDS = {
    "customer_left": "eligibility",
    "withdrawn": "eligibility",
    "sold_out": "eligibility",
    "already_held": "eligibility",
    "application_open": "eligibility",
    "age_below": "eligibility",
    "age_above": "eligibility",
    "income_below": "eligibility",
    "tenure_below": "eligibility",
    "required_missing": "eligibility",
    "attribute_not_accepted": "eligibility",
    "refused_recently": "eligibility",
    "document_missing": "eligibility",
    "substitute_held": "suitability",
    "risk_above_appetite": "suitability",
}
"""Kind of each rule by its code."""

NEEDS = {
    "age_below": ("years",),
    "age_above": ("years",),
    "income_below": ("minor",),
    "tenure_below": ("months",),
    "required_missing": ("product_id",),
    "attribute_not_accepted": ("column", "accepted"),
    "refused_recently": ("months",),
    "application_open": ("within_days",),
    "document_missing": ("document",),
    "substitute_held": ("product_id",),
    "risk_above_appetite": ("risk",),
}
"""Parameters without which a rule says nothing."""

MAY_BE_UNKNOWN = {
    "age_below": "age_unknown",
    "age_above": "age_unknown",
    "income_below": "income_unknown",
    "tenure_below": "tenure_unknown",
    "attribute_not_accepted": "attribute_unknown",
    "risk_above_appetite": "appetite_unknown",
}
"""Rules that need something which may be missing, and the reason code where that refuses."""

ALLOWED_UNKNOWN = ("attribute_not_accepted", "risk_above_appetite")
"""Rules that do not refuse where it is missing, unless they say so; the others do."""

DOCUMENTS = {
    "identity": "person_id",
    "income": "income_minor",
    "address": "postcode",
    "employment": "employment_status",
}
"""What shows that a document was seen: the column of the table customers that is filled from it."""

RISKS = ("low", "medium", "high")
REFUSED_MONTHS = 6
OPEN_DAYS = 90


def from_products(products: pd.DataFrame, substitutes: pd.DataFrame, *, supply: pd.DataFrame) -> pd.DataFrame:
    """Return the rules that the product table states.

    In: ``products`` and ``substitutes`` (product_substitutes) as canonical tables, ``supply`` of ``eligibility.supply``.
    Out: ``COLUMNS``: product_id, kind, code, parameters (dict), unknown ("refuse", "allow", or "" where a rule needs
    nothing that may be missing); by product in the order in which the rules are tried. An unknown age, income or tenure
    refuses where a rule needs it; an unknown attribute or appetite for risk (``ALLOWED_UNKNOWN``) does not.

    Raises DataError for attributes that are not JSON or of the wrong type, and for rules that contradict each other.
    """
    limited = supply.dropna(subset=["remaining"])
    limited = limited[limited["remaining"] == 0]
    gone = {str(row["product_id"]): (int(row["supply_limit"]), int(row["sold"])) for row in limited.to_dict("records")}
    out: list[dict[str, Any]] = []
    for term in products.sort_values("product_id").to_dict("records"):
        product = str(term["product_id"])
        stated = _stated(term) + _attributes(product, term.get("attributes"))
        if product in gone:
            stated.append(("sold_out", {"limit": gone[product][0], "sold": gone[product][1]}))
        serves = substitutes[(substitutes["product_id"] == product) & (substitutes["relation"] == "substitute")]
        stated += [("substitute_held", {"product_id": str(other)}) for other in sorted(serves["substitute_id"])]
        out += [rule(product, code, parameters) for code, parameters in stated]
    table = _ordered(out)
    refuse_contradictions(table)
    return table


def rule(product_id: str, code: str, parameters: Mapping[str, Any], *, unknown: str | None = None) -> dict[str, Any]:
    """Return one rule as a row; ``unknown`` None takes the default of its kind.

    Raises UsageError for an unknown code, a missing parameter or another word for ``unknown``.

    >>> rule("mortgage", "tenure_below", {"months": 6})["unknown"]
    'refuse'
    """
    if code not in KINDS:
        raise UsageError(f"rule of product {product_id!r}: code is {code!r}; known are {', '.join(KINDS)}")
    for name in NEEDS.get(code, ()):
        if name not in parameters:
            raise UsageError(
                f"rule {code} of product {product_id!r} has no {name}; give it (a rule {code} needs {', '.join(NEEDS[code])})"
            )
    _check(product_id, code, parameters)
    default = "" if code not in MAY_BE_UNKNOWN else "allow" if code in ALLOWED_UNKNOWN else "refuse"
    chosen = default if unknown is None else unknown
    if chosen not in (("refuse", "allow") if code in MAY_BE_UNKNOWN else ("",)):
        raise UsageError(
            f"rule {code} of product {product_id!r}: unknown is {unknown!r}; "
            + (
                'use "refuse" or "allow"'
                if code in MAY_BE_UNKNOWN
                else "it needs nothing that may be missing, leave it out"
            )
        )
    return {
        "product_id": product_id,
        "kind": KINDS[code],
        "code": code,
        "parameters": dict(parameters),
        "unknown": chosen,
    }


def added(
    rules: pd.DataFrame, extra: Iterable[Mapping[str, Any]], *, unknown: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the rules with the company's own, given as plain data: {"product": …, "code": …, parameters …}.

    ``product`` may be "*" for every product of ``rules``. A rule replaces the one of the same product, code and
    subject (column, document, other product) in ``rules``: a company raises an age. ``unknown`` says by code what becomes
    of missing information.

    Raises UsageError as ``rule`` does, NotFoundError for a product without rules, DataError for contradictions.
    """
    products = list(dict.fromkeys(rules["product_id"]))
    new: list[dict[str, Any]] = []
    for entry in extra:
        given = dict(entry)
        product, code = str(given.pop("product", "*")), str(given.pop("code", ""))
        if product != "*" and product not in products:
            raise NotFoundError(f"a rule names product {product!r}, which is unknown; known are {', '.join(products)}")
        treated = given.pop("unknown", None)
        new += [rule(one, code, given, unknown=treated) for one in (products if product == "*" else [product])]
    replaced = {_subject(row) for row in new}
    kept = [row for row in rules.to_dict("records") if _subject(row) not in replaced]
    for code in unknown or {}:
        if code not in MAY_BE_UNKNOWN:
            raise UsageError(f"unknown names rule {code!r}; use one of {', '.join(MAY_BE_UNKNOWN)}")
    rows = [
        rule(
            row["product_id"], row["code"], row["parameters"], unknown=(unknown or {}).get(row["code"], row["unknown"])
        )
        for row in kept + new
    ]
    table = _ordered(rows)
    refuse_contradictions(table)
    return table


def read(path: Path) -> dict[str, Any]:
    """Return the company's own rules of a TOML file: ``extra`` from its [[rule]] entries, ``unknown`` from [unknown].

    No file means no rules. Raises DataError for a file that cannot be read or has other sections.
    """
    if not path.exists():
        return {"extra": [], "unknown": {}}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable TOML file ({error}); mend it or remove it") from error
    other = sorted(set(found) - {"rule", "unknown"})
    if other:
        raise DataError(f"{path}: unknown section {', '.join(other)}; known are [[rule]] and [unknown]")
    return {"extra": found.get("rule", []), "unknown": found.get("unknown", {})}


def refuse_contradictions(rules: pd.DataFrame) -> None:
    """Raise DataError where rules of a product exclude everybody: by age, or by what has to be held."""
    needs: dict[str, list[str]] = {}
    for product, own in rules.groupby("product_id", sort=True):
        by_code: dict[str, list[dict[str, Any]]] = {}
        for code, parameters in zip(own["code"], own["parameters"], strict=True):
            by_code.setdefault(str(code), []).append(parameters)
        youngest = max((int(one["years"]) for one in by_code.get("age_below", [])), default=0)
        oldest = min((int(one["years"]) for one in by_code.get("age_above", [])), default=1_000)
        if youngest > oldest:
            raise DataError(
                f"product {product!r}: the minimum age {youngest} is above the maximum age {oldest}, so nobody may buy it;"
                " correct minimum_age or maximum_age in the table products"
            )
        needs[str(product)] = [str(one["product_id"]) for one in by_code.get("required_missing", [])]
        replaced = {str(one["product_id"]) for one in by_code.get("substitute_held", [])}
        for other in sorted(replaced & set(needs[str(product)])):
            raise DataError(
                f"product {product!r} requires {other!r} and is not sold to who holds {other!r}, its substitute, so nobody"
                " may buy it; make the pair an alternative in product_substitutes or drop requires_product_id"
            )
    for product in needs:
        _refuse_circle(product, needs)


def _refuse_circle(product: str, needs: Mapping[str, Sequence[str]]) -> None:
    path, step = [product], list(needs[product])
    while step:
        path.append(step[0])
        if step[0] == product:
            what = "requires itself" if len(path) == 2 else f"requires itself in a circle ({' → '.join(path)})"
            raise DataError(
                f"product {product!r} {what}, so nobody may buy it; correct requires_product_id in the table products"
            )
        if step[0] in path[:-1]:
            return  # a circle further on is reported for a product on it
        step = list(needs.get(step[0], ()))


def _subject(row: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return what a rule is about: of two about the same the company's own counts."""
    about = (str(row["parameters"].get(name, "")) for name in ("column", "document", "product_id"))
    return (row["product_id"], row["code"], *about)


def _ordered(rows: list[dict[str, Any]]) -> pd.DataFrame:
    place = {code: number for number, code in enumerate(KINDS)}
    rows = sorted(rows, key=lambda row: (row["product_id"], place[row["code"]]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _stated(term: Mapping[Any, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the columns of one product state."""
    out: list[tuple[str, dict[str, Any]]] = [("customer_left", {}), ("application_open", {"within_days": OPEN_DAYS})]
    if pd.notna(term["withdrawn_on"]):
        out.append(("withdrawn", {"on": str(term["withdrawn_on"])[:10]}))
    if pd.isna(term["repeatable"]) or not term["repeatable"]:
        out.append(("already_held", {}))
    for column, code, name in (
        ("minimum_age", "age_below", "years"),
        ("maximum_age", "age_above", "years"),
        ("minimum_income_minor", "income_below", "minor"),
    ):
        if pd.notna(term[column]):
            out.append((code, {name: int(term[column])}))
    if pd.notna(term["minimum_income_minor"]) and pd.notna(term["currency"]):
        out[-1][1]["currency"] = str(term["currency"])
    if pd.notna(term["requires_product_id"]):
        out.append(("required_missing", {"product_id": str(term["requires_product_id"])}))
    return out


def _attributes(product: str, text: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return what the attributes of a product (JSON) state; names that are no rules are left to others."""
    found: Any = {}
    if isinstance(text, str) and text.strip():
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"table products, column attributes of {product!r}: not JSON ({error}); write an object such as"
                ' {"minimum_tenure_months": 6}'
            ) from error
    if not isinstance(found, dict):
        raise DataError(f"table products, column attributes of {product!r}: {text} is no JSON object; write {{…}}")
    refused = found.get("refused_within_months", REFUSED_MONTHS)
    out: list[tuple[str, dict[str, Any]]] = [("refused_recently", {"months": refused})]
    if "minimum_tenure_months" in found:
        out.append(("tenure_below", {"months": found["minimum_tenure_months"]}))
    out += [("document_missing", {"document": name}) for name in _listed(product, "documents", found)]
    if "risk" in found:
        out.append(("risk_above_appetite", {"risk": found["risk"]}))
    accepts = found.get("accepts", {})
    if not isinstance(accepts, dict):
        raise DataError(
            f"table products, column attributes of {product!r}: accepts is {accepts!r}; write column and values, such as"
            ' {"risk_class": ["low", "medium"]}'
        )
    return out + [
        ("attribute_not_accepted", {"column": column, "accepted": values}) for column, values in accepts.items()
    ]


def _listed(product: str, name: str, found: Mapping[str, Any]) -> list[Any]:
    values = found.get(name, [])
    if not isinstance(values, list):
        raise DataError(f"table products, column attributes of {product!r}: {name} is {values!r}; write a list")
    return values


def _check(product: str, code: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of the wrong type or outside what is known."""
    where = f"rule {code} of product {product!r}"
    for name in ("years", "months", "minor", "within_days"):
        value = parameters.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{where}: {name} is {value!r}; give a whole number, zero or more")
    if code == "document_missing" and parameters["document"] not in DOCUMENTS:
        raise UsageError(f"{where}: document is {parameters['document']!r}; known are {', '.join(DOCUMENTS)}")
    if code == "risk_above_appetite" and parameters["risk"] not in RISKS:
        raise UsageError(f"{where}: risk is {parameters['risk']!r}; use one of {', '.join(RISKS)}")
    if code == "attribute_not_accepted":
        column = parameters["column"]
        if column not in schema.tables()["customers"].c:
            raise UsageError(f"{where}: the table customers has no column {column!r}")
        accepted = parameters["accepted"]
        if not isinstance(accepted, list) or not accepted or not all(isinstance(one, str) for one in accepted):
            raise UsageError(f"{where}: accepted is {accepted!r}; give a list of one or more texts")


def of_snapshot(snapshot: Snapshot, supply: pd.DataFrame) -> pd.DataFrame:
    """Return the rules that the product table of a snapshot states; see ``from_products``."""
    products = snapshot.table("products")
    if products.empty:
        raise DataError(f"as of {snapshot.as_of} there is no product; load the table products")
    return from_products(products, snapshot.table("product_substitutes"), supply=supply)
