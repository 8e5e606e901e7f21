"""What the rules of eligibility have to know about customers, read as arrays for a part of them at a time."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.decisions.rules import DOCUMENTS, RISKS
from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, cutoff, frame, history

APPETITE = "risk_appetite"
"""Question of a survey by which customers state how much risk they want: low, medium, high (or 1, 2, 3)."""

_FEW = 1_000  # customers asked for by a list of their keys; more by the range between first and last
_NEVER = np.datetime64("1900-01-01", "D")


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of n customers at the end of a day, by what the rules ask.

    Attributes: ``customer_id``; ``left`` whose relationship is closed; ``age`` (completed years), ``income`` (minor units
    of the company's currency a month), ``tenure`` (completed months): nan where unknown; ``held``, by product (bool);
    ``applied`` days since the last undecided application by product (inf: none), ``refused`` day of the last refusal by
    product; ``documents`` by name (bool); ``attributes`` by column; ``appetite`` place in ``RISKS``, nan where not
    stated; ``rates`` worth of a unit of a currency in the company's.
    """

    as_of: dt.date
    customer_id: pd.Series
    left: np.ndarray
    age: np.ndarray
    income: np.ndarray
    tenure: np.ndarray
    held: dict[str, np.ndarray]
    applied: dict[str, np.ndarray]
    refused: dict[str, np.ndarray]
    documents: dict[str, np.ndarray]
    attributes: dict[str, pd.Series]
    appetite: np.ndarray
    rates: dict[str, float] = field(default_factory=dict)


def keys(snapshot: Snapshot, customers: Sequence[str] | None) -> np.ndarray:
    """Return the customer_key, ascending, of the customers named, or of all whose relationship is open at the snapshot.

    Raises NotFoundError for a customer who is not known then.
    """
    table = schema.tables()["customers"]
    rows = history(table, snapshot.as_of, system=("customer_key",)).subquery("rows")
    if customers is None:
        closed = sa.func.arg_max(rows.c.closed_on.is_not(None), rows.c.valid_from)  # of the last row
        query = sa.select(rows.c.customer_key).group_by(rows.c.customer_key).having(sa.not_(closed))
        found = snapshot.warehouse.arrow(query.order_by(rows.c.customer_key))
        return found["customer_key"].to_numpy().astype(np.int64)
    query = sa.select(rows.c.customer_id, rows.c.customer_key).distinct()
    if len(customers) <= _FEW:
        query = query.where(rows.c.customer_id.in_([str(name) for name in customers]))
    found = snapshot.warehouse.arrow(query).to_pandas()
    wanted = pd.Index(pd.unique(pd.Series(list(customers), dtype="str")))
    place = pd.Index(found["customer_id"].astype("str")).get_indexer(wanted)
    if (place < 0).any():
        raise NotFoundError(
            f"customer {wanted[place < 0][0]!r} is not known as of {snapshot.as_of}; check the id in the table customers"
        )
    return np.sort(found["customer_key"].to_numpy(np.int64)[place])


def read(snapshot: Snapshot, chosen: np.ndarray, *, rules: pd.DataFrame) -> Facts:
    """Return what ``rules`` ask about the customers with the keys ``chosen`` (ascending)."""
    of = {code: list(own) for code, own in rules.groupby("code")["parameters"]}
    columns = sorted({str(one["column"]) for one in of.get("attribute_not_accepted", [])})
    documents = sorted({str(one["document"]) for one in of.get("document_missing", [])})
    rows = _customers(snapshot, chosen, columns + [DOCUMENTS[name] for name in documents])
    day = np.datetime64(snapshot.as_of, "D")
    company = snapshot.warehouse.company
    rates = {**company.exchange_rates, company.currency: 1.0}
    products = _products(rules)
    worth = rows["currency"].map(lambda name: rates.get(name, np.nan) if isinstance(name, str) else 1.0)
    income = pd.to_numeric(rows["income_minor"], errors="coerce").astype("Float64").to_numpy(float, na_value=np.nan)
    applied, refused = (
        _applications(snapshot, chosen, products) if _asks(of, "application_open", "refused_recently") else ({}, {})
    )
    return Facts(
        as_of=snapshot.as_of,
        customer_id=rows["customer_id"],
        left=rows["closed_on"].notna().to_numpy(),
        age=np.floor(months(rows["birth_date"], day) / 12),
        income=income * worth.to_numpy(float),
        tenure=months(rows["customer_since"], day),
        held=_held(snapshot, chosen, products),
        applied=applied,
        refused=refused,
        documents={name: rows[DOCUMENTS[name]].notna().to_numpy() for name in documents},
        attributes={name: rows[name].astype("str") for name in columns},
        appetite=_appetite(snapshot, chosen) if _asks(of, "risk_above_appetite") else np.full(len(chosen), np.nan),
        rates=rates,
    )


def unknown(facts: Facts, code: str, told: dict[str, Any]) -> np.ndarray:
    """Return of whom is not known what a rule needs."""
    match code:
        case "age_below" | "age_above":
            return np.isnan(facts.age)
        case "income_below":
            return np.isnan(facts.income)
        case "tenure_below":
            return np.isnan(facts.tenure)
        case "attribute_not_accepted":
            return facts.attributes[told["column"]].isna().to_numpy()
        case "risk_above_appetite":
            return np.isnan(facts.appetite)
    raise AssertionError(code)  # rules.rule lets no other pass


def value(facts: Facts, code: str) -> dict[str, Any]:
    """Return the value of the one customer of ``facts`` that made a rule refuse, as {"value": …}, or nothing."""
    numbers = {
        "age_below": facts.age,
        "age_above": facts.age,
        "income_below": facts.income,
        "tenure_below": facts.tenure,
    }
    if code in numbers:
        return {"value": int(numbers[code][0])}
    if code == "risk_above_appetite":
        return {"value": RISKS[int(facts.appetite[0])]}
    return {}


def worth(facts: Facts, told: dict[str, Any]) -> float:
    """Return the worth of a unit of a rule's currency in the company's; raises DataError where it has no rate."""
    currency = told.get("currency")
    if currency is not None and currency not in facts.rates:
        raise DataError(
            f"a rule gives an income in {currency}, which has no exchange rate; add it to exchange_rates in company.toml"
        )
    return facts.rates[currency] if currency is not None else 1.0


@functools.cache
def month_day(as_of: dt.date, months: int) -> np.datetime64:
    """Return the day ``months`` calendar months before ``as_of`` (the last of its month where it has no such day).

    >>> month_day(dt.date(2025, 8, 31), 6)
    np.datetime64('2025-02-28')
    """
    return np.datetime64((pd.Timestamp(as_of) - pd.DateOffset(months=months)).date(), "D")


def _asks(of: dict[Any, Any], *codes: str) -> bool:
    return any(code in of for code in codes)


def _products(rules: pd.DataFrame) -> list[str]:
    """Return the products that rules are about, and those that have to be held or not."""
    named = {str(one["product_id"]) for one in rules["parameters"] if "product_id" in one}
    return sorted({*rules["product_id"].astype(str), *named})


def _within(column: sa.ColumnElement[Any], chosen: np.ndarray) -> sa.ColumnElement[bool]:
    if len(chosen) <= _FEW and chosen[-1] - chosen[0] >= len(chosen):
        return column.in_(chosen.tolist())
    return column.between(int(chosen[0]), int(chosen[-1]))


def _rows(
    snapshot: Snapshot, name: str, columns: Sequence[str], chosen: np.ndarray, *where: Any
) -> tuple[pa.Table, np.ndarray]:
    """Return the rows of an event table of the chosen customers, and the place in ``chosen`` of each."""
    rows = history(schema.tables()[name], snapshot.as_of, system=("customer_key",)).subquery("rows")
    query = sa.select(*[rows.c[column] for column in ("customer_key", *columns)])
    query = query.where(_within(rows.c.customer_key, chosen), *[one(rows.c) for one in where])
    found = snapshot.warehouse.arrow(query)
    key = found["customer_key"].to_numpy()
    place = np.minimum(np.searchsorted(chosen, key), len(chosen) - 1)
    hit = chosen[place] == key
    return (found, place) if hit.all() else (found.filter(pa.array(hit)), place[hit])


def _customers(snapshot: Snapshot, chosen: np.ndarray, more: Sequence[str]) -> pd.DataFrame:
    """Return the last known row of each chosen customer, in the order of ``chosen``."""
    always = ["customer_id", "valid_from", "birth_date", "income_minor", "currency", "customer_since", "closed_on"]
    found, place = _rows(snapshot, "customers", list(dict.fromkeys([*always, *more])), chosen)
    moment = found["valid_from"].to_numpy(zero_copy_only=False)
    order = np.lexsort((moment, place))
    last = np.append(place[order][1:] != place[order][:-1], True)
    if last.sum() != len(chosen):
        raise DataError(f"the table customers lacks rows for {len(chosen) - last.sum()} customers; load it again")
    return frame(found.take(pa.array(order[last])))


def _held(snapshot: Snapshot, chosen: np.ndarray, products: Sequence[str]) -> dict[str, np.ndarray]:
    """Return by product who has an open holding at the end of the day."""
    after = cutoff(snapshot.as_of).date()
    still = lambda c: sa.or_(c.closed_on.is_(None), c.closed_on >= after)  # noqa: E731
    found, place = _rows(snapshot, "holdings", ["product_id"], chosen, still)
    flags = np.zeros((len(products), len(chosen)), dtype=bool)
    code = pd.Index(products).get_indexer(found["product_id"].to_pandas())
    flags[code[code >= 0], place[code >= 0]] = True
    return dict(zip(products, flags, strict=True))


def _applications(
    snapshot: Snapshot, chosen: np.ndarray, products: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return by product the days since the last undecided application (inf: none) and the day of the last refusal."""
    kept = lambda c: sa.or_(c.decided_at.is_(None), c.outcome == "refused")  # noqa: E731
    found, place = _rows(snapshot, "applications", ["product_id", "applied_at", "decided_at"], chosen, kept)
    code = pd.Index(products).get_indexer(found["product_id"].to_pandas())
    filed = found["applied_at"].to_numpy(zero_copy_only=False).astype("datetime64[D]")
    decided = found["decided_at"].to_numpy(zero_copy_only=False).astype("datetime64[D]")
    waiting = np.isnat(decided) & (code >= 0)
    days = np.full((len(products), len(chosen)), np.inf, dtype=np.float32)
    since = (np.datetime64(snapshot.as_of, "D") - filed[waiting]).astype(np.float32)
    np.minimum.at(days, (code[waiting], place[waiting]), since)
    refused = np.full((len(products), len(chosen)), _NEVER)
    against = ~np.isnat(decided) & (code >= 0)
    np.maximum.at(refused, (code[against], place[against]), decided[against])
    return dict(zip(products, days, strict=True)), dict(zip(products, refused, strict=True))


def _appetite(snapshot: Snapshot, chosen: np.ndarray) -> np.ndarray:
    """Return the place in ``RISKS`` of the appetite stated last; nan where none was stated in words or numbers known."""
    asked = lambda c: c.question == APPETITE  # noqa: E731
    found, place = _rows(snapshot, "surveys", ["answered_at", "score", "answer"], chosen, asked)
    said = found["answer"].to_pandas().map({name: number for number, name in enumerate(RISKS)}).to_numpy(float)
    number = found["score"].to_pandas().to_numpy(float) - 1
    number = np.where(np.isin(number, range(len(RISKS))), number, np.nan)
    stated = np.where(np.isnan(said), number, said)
    order = np.lexsort((found["answered_at"].to_numpy(zero_copy_only=False), place))
    order = order[~np.isnan(stated[order])]
    out = np.full(len(chosen), np.nan)
    out[place[order]] = stated[order]  # of several the last written counts
    return out


def months(dates: pd.Series, day: np.datetime64) -> np.ndarray:
    """Return the completed calendar months from each date to ``day``; nan where the date is missing.

    >>> months(pd.Series(pd.to_datetime(["2024-12-31", "2025-01-30", None])), np.datetime64("2025-02-28"))
    array([ 1.,  0., nan])
    """
    given = dates.to_numpy("datetime64[D]")
    month = given.astype("datetime64[M]")
    whole = (day.astype("datetime64[M]") - month).astype(float)
    late = (given - month) > (day - day.astype("datetime64[M]"))
    return np.where(np.isnat(given), np.nan, whole - late)
