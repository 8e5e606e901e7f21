"""Who may be offered what: the rules of a product tried on customers, each refusal with its reason code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import customer_facts
from crmlib.decisions import rules as stated
from crmlib.decisions.customer_facts import Facts
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, history

CHUNK = 100_000
"""Customers judged at once."""

RULES_FILE = "eligibility.toml"
"""The company's own rules, in the data folder."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Who may be offered what, compactly.

    Attributes: ``customer_ids`` (n), ``product_ids`` (m), ``codes`` (n × m, uint8): 0 where the offer is allowed, else the
    place in ``meanings`` of the code of the first rule that refuses; ``meanings[0]`` is "".
    """

    customer_ids: pd.Series
    product_ids: list[str]
    codes: np.ndarray
    meanings: list[str]

    @property
    def allowed(self) -> np.ndarray:
        """The matrix (n × m) that is true where the offer is allowed."""
        return self.codes == 0


MEANINGS = ["", *dict.fromkeys([*stated.KINDS, *stated.MAY_BE_UNKNOWN.values()])]
_NUMBER = {code: number for number, code in enumerate(MEANINGS)}


def rules(snapshot: Snapshot, *, file: Path | None = None) -> pd.DataFrame:
    """Return the rules of every product known at the snapshot as a readable table; see ``rules.from_products``.

    ``file`` is the company's own rules (``RULES_FILE`` of the data folder, by habit; no file means none).
    Out: product_id, kind (eligibility, suitability), code, parameters (dict), unknown (refuse, allow or "").
    """
    table = stated.of_snapshot(snapshot, supply(snapshot))
    if file is None:
        return table
    own = stated.read(file)
    return stated.added(table, own["extra"], unknown=own["unknown"]) if own["extra"] or own["unknown"] else table


def supply(snapshot: Snapshot) -> pd.DataFrame:
    """Return how many pieces of each product can still be delivered in the quarter in which offers of the snapshot fall.

    That is the calendar quarter of the day after ``as_of``: after a quarter's last day the next one's limit counts.
    Out: product_id, period_start, period_end (datetime64), supply_limit, sold, remaining (Int64; limit and remaining are
    missing where the product has no limit); sold are the holdings opened in the quarter as known at the snapshot.
    """
    products = snapshot.table("products", ["product_id", "supply_limit"]).sort_values("product_id", ignore_index=True)
    first = pd.Period(snapshot.as_of + dt.timedelta(days=1), freq="Q")
    holdings = history(schema.tables()["holdings"], snapshot.as_of).subquery("rows")
    since = first.start_time.date()
    query = sa.select(holdings.c.product_id, sa.func.count().label("sold")).where(holdings.c.opened_on >= since)
    sold = snapshot.warehouse.read(query.group_by(holdings.c.product_id)).set_index("product_id")["sold"]
    pieces = products["product_id"].map(sold).fillna(0).astype("Int64")
    limit = products["supply_limit"].astype("Int64")
    return pd.DataFrame(
        {
            "product_id": products["product_id"],
            "period_start": first.start_time.normalize(),
            "period_end": first.end_time.normalize(),
            "supply_limit": limit,
            "sold": pieces,
            "remaining": (limit - pieces).clip(lower=0),
        }
    )


def eligible(
    snapshot: Snapshot,
    pairs: pd.DataFrame | None = None,
    *,
    customers: Sequence[str] | None = None,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return for pairs of customer and product whether an offer is allowed, and the code of the first refusal.

    Asked about ``pairs`` (customer_id, product_id; the answer keeps their order), or about ``customers`` (default: whose
    relationship is open) × ``products`` (default: all). ``rules`` default to those of ``rules(snapshot)``.
    Out: customer_id, product_id, allowed (bool), code ("" where allowed).

    Raises NotFoundError for an unknown customer or product, DataError for rules that contradict each other.
    """
    if pairs is not None:
        if pairs.empty:  # nothing asked, nothing answered
            told = pairs[["customer_id", "product_id"]].astype("str").reset_index(drop=True)
            return told.assign(allowed=pd.Series(dtype=bool), code=pd.Series(dtype="str"))
        customers = list(dict.fromkeys(pairs["customer_id"]))
        products = list(dict.fromkeys(pairs["product_id"].astype(str)))
    found = matrix(snapshot, customers=customers, products=products, rules=rules)
    meanings = np.array(found.meanings, dtype=object)
    if pairs is None:
        row, column = np.indices(found.codes.shape).reshape(2, -1)
    else:
        row = pd.Index(found.customer_ids).get_indexer(pd.Index(pairs["customer_id"]))
        column = pd.Index(found.product_ids).get_indexer(pd.Index(pairs["product_id"].astype(str)))
    code = found.codes[row, column]
    return pd.DataFrame(
        {
            "customer_id": found.customer_ids.array.take(row),
            "product_id": pd.Series(np.array(found.product_ids, dtype=object)[column], dtype="str"),
            "allowed": code == 0,
            "code": pd.Series(meanings[code], dtype="str"),
        }
    )


def matrix(
    snapshot: Snapshot,
    *,
    customers: Sequence[str] | None = None,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
) -> Matrix:
    """Return the answers of ``eligible`` as a matrix of a byte a pair; customers are in the order of the warehouse."""
    parts = list(chunks(snapshot, customers=customers, products=products, rules=rules))
    if len(parts) == 1:
        return parts[0]
    names = pd.concat([part.customer_ids for part in parts], ignore_index=True)
    return Matrix(names, parts[0].product_ids, np.concatenate([part.codes for part in parts]), MEANINGS)


def chunks(
    snapshot: Snapshot,
    *,
    customers: Sequence[str] | None = None,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
    size: int = CHUNK,
) -> Iterator[Matrix]:
    """Yield the matrix in parts of at most ``size`` customers, so that memory does not grow with their number."""
    if size < 1:
        raise UsageError(f"size is {size}; judge at least one customer at a time")
    table = checked(snapshot, rules)
    goods = chosen(table, products)
    keys = customer_facts.keys(snapshot, customers)
    if keys.size == 0:
        raise DataError(f"as of {snapshot.as_of} no customer has an open relationship; check the table customers")
    judged = table[table["product_id"].isin(goods)]
    for start in range(0, len(keys), size):
        facts = customer_facts.read(snapshot, keys[start : start + size], rules=judged)
        yield Matrix(facts.customer_id, goods, judge(facts, judged, products=goods), MEANINGS)


def judge(facts: Facts, rules: pd.DataFrame | list[dict[Any, Any]], *, products: Sequence[str]) -> np.ndarray:
    """Return the codes (customers × ``products``, uint8) of the first rule that refuses; 0 where none does.

    ``rules`` as a table or, for one customer at a time, as the list of its rows, which is quicker to go through.
    """
    codes = np.zeros((len(facts.customer_id), len(products)), dtype=np.uint8)
    place = {name: number for number, name in enumerate(products)}
    for row in rules.to_dict("records") if isinstance(rules, pd.DataFrame) else rules:
        column = codes[:, place[row["product_id"]]]
        for code, refused in _refusals(facts, row):
            column[refused & (column == 0)] = _NUMBER[code]
    return codes


def explain(
    snapshot: Snapshot,
    customer_id: str,
    *,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return for one customer every reason against each product; an empty list where the offer is allowed.

    Each reason is {"code": …, "kind": …} with the rule's parameters and, where it is known, the customer's own "value".
    Raises NotFoundError for an unknown customer or product.
    """
    table = checked(snapshot, rules)
    goods = chosen(table, products)
    judged = table[table["product_id"].isin(goods)]
    facts = customer_facts.read(snapshot, customer_facts.keys(snapshot, [customer_id]), rules=judged)
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in goods}
    for row in judged.to_dict("records"):
        for code, refused in _refusals(facts, row):
            if refused[0]:
                reason = {"code": code, "kind": row["kind"], **row["parameters"]}
                out[row["product_id"]].append({**reason, **customer_facts.value(facts, code)})
    return out


def _refusals(facts: Facts, row: dict[Any, Any]) -> list[tuple[str, np.ndarray]]:
    """Return by reason code whom a rule refuses: who fails it, and, where it says so, of whom it is not known."""
    code, told = row["code"], row["parameters"]
    out = [(code, _FAILS[code](facts, row["product_id"], told))]
    if row["unknown"] == "refuse":
        out.append((stated.MAY_BE_UNKNOWN[code], customer_facts.unknown(facts, code, told)))
    return out


_Test = Callable[[Facts, str, dict[str, Any]], np.ndarray]

# fmt: off
_FAILS: dict[str, _Test] = {  # who is known to fail a rule: facts, product and parameters in
    "customer_left": lambda facts, product, told: facts.left,
    "withdrawn": lambda facts, product, told: np.ones(len(facts.left), dtype=bool),
    "sold_out": lambda facts, product, told: np.ones(len(facts.left), dtype=bool),
    "already_held": lambda facts, product, told: facts.held[product],
    "application_open": lambda facts, product, told: facts.applied[product] <= told["within_days"],
    "refused_recently": lambda facts, product, told:
        facts.refused[product] > customer_facts.month_day(facts.as_of, told["months"]),
    "age_below": lambda facts, product, told: facts.age < told["years"],
    "age_above": lambda facts, product, told: facts.age > told["years"],
    "income_below": lambda facts, product, told: facts.income < told["minor"] * customer_facts.worth(facts, told),
    "tenure_below": lambda facts, product, told: facts.tenure < told["months"],
    "required_missing": lambda facts, product, told: ~facts.held[told["product_id"]],
    "substitute_held": lambda facts, product, told: facts.held[told["product_id"]],
    "document_missing": lambda facts, product, told: ~facts.documents[told["document"]],
    "attribute_not_accepted": lambda facts, product, told: (
        facts.attributes[told["column"]].notna() & ~facts.attributes[told["column"]].isin(told["accepted"])
    ).to_numpy(bool),
    "risk_above_appetite": lambda facts, product, told: facts.appetite < stated.RISKS.index(told["risk"]),
}
# fmt: on


def checked(snapshot: Snapshot, given: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rules given, or those of the snapshot, after a look for contradictions and impossible ones."""
    if given is None:
        return rules(snapshot)
    missing = [name for name in stated.COLUMNS if name not in given]
    if missing:
        raise UsageError(f"rules has no column {', '.join(missing)}; take the table of eligibility.rules and change it")
    for row in given.to_dict("records"):
        stated.rule(row["product_id"], row["code"], row["parameters"], unknown=row["unknown"])
    stated.refuse_contradictions(given)
    return given


def chosen(table: pd.DataFrame, products: Sequence[str] | None) -> list[str]:
    """Return the products named, or all that have rules; raises NotFoundError for an unknown one."""
    known = list(dict.fromkeys(table["product_id"]))
    if products is None:
        return known
    absent = sorted(set(products) - set(known))
    if absent:
        raise NotFoundError(f"no product {', '.join(absent)} is known; known are {', '.join(known)}")
    return list(dict.fromkeys(products))
