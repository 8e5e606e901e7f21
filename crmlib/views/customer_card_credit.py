"""A customer's credit history: what was borrowed, how it was paid back, what is owed now, and what went wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions.desk_history import Code, Row, worth
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

LOANS = "loans"
"""The product group whose products are credit whatever their balances."""
SLACK = 0.05
"""A loan counts as behind where the share repaid is so much below the share of its term that has passed."""


@dataclass(frozen=True)
class Contract:
    """A loan, a card or another line of credit.

    Attributes: ``borrowed_minor`` amount or limit (None: not on record), ``owed_minor`` at the end, ``elapsed`` share of the
    term that has passed and ``repaid`` share of the amount paid back (None without a term: a card), ``used`` share of the
    limit in use (None with a term), ``path`` what was owed at the ends of days, company currency.
    """

    product_id: str
    opened_on: dt.date
    matures_on: dt.date | None
    closed_on: dt.date | None
    borrowed_minor: float | None
    owed_minor: float
    elapsed: float | None
    repaid: float | None
    used: float | None
    path: tuple[tuple[dt.date, float], ...]


@dataclass(frozen=True)
class Credit:
    """The credit history; amounts in the company's currency.

    Attributes: ``contracts`` the open ones first, then the newest; ``applications`` for credit, the newest first: product_id,
    on, amount_minor, outcome ("" while pending); ``overdrawn`` months in which an account was below zero (first days);
    ``collection`` days of collection contacts; ``summary`` codes with parameters.
    """

    contracts: tuple[Contract, ...]
    applications: tuple[Code, ...]
    overdrawn: tuple[dt.date, ...]
    collection: tuple[dt.date, ...]
    summary: tuple[Code, ...]


def products(snapshot: Snapshot, listed: pd.DataFrame) -> frozenset[str]:
    """Return the products that are credit: those of the group "loans", and those whose balances are mostly owed."""
    held, seen = snapshot.select("holdings").subquery("held"), snapshot.select("balances").subquery("seen")
    below = sa.func.sum(sa.case((seen.c.balance_minor < 0, 1), else_=0)).label("below")
    query = (
        sa.select(held.c.product_id, sa.func.count().label("rows"), below)
        .join(seen, seen.c.holding_id == held.c.holding_id)
        .where(seen.c.balance_minor != 0)
        .group_by(held.c.product_id)
    )
    found = snapshot.warehouse.read(query)
    mostly = found[found["below"].astype("float64") > 0.5 * found["rows"]]
    return frozenset({*mostly["product_id"], *listed.loc[listed["product_group"] == LOANS, "product_id"]})


def history(rows: Mapping[str, Sequence[Row]], credit: frozenset[str], *, company: Company, as_of: dt.date) -> Credit:
    """Return the credit history of a customer; ``credit`` are the products that are credit."""
    balances: dict[str, list[tuple[dt.date, float]]] = {}
    for row in rows["balances"]:
        amount = worth(row["balance_minor"], row["currency"], company)
        balances.setdefault(row["holding_id"], []).append((row["balance_date"], amount))
    chosen = [row for row in rows["holdings"] if row["product_id"] in credit]
    contracts = [_contract(row, balances.get(row["holding_id"], []), company, as_of) for row in chosen]
    contracts.sort(key=lambda one: (one.closed_on is not None, -one.opened_on.toordinal()))
    accounts = {row["holding_id"] for row in rows["holdings"] if row["product_id"] not in credit}
    below = {day.replace(day=1) for key in accounts for day, amount in balances.get(key, []) if amount < 0}
    asked = [_application(row, company) for row in reversed(rows["applications"]) if row["product_id"] in credit]
    collected = sorted({row["occurred_at"].date() for row in rows["contacts"] if row["purpose"] == "collection"})
    overdrawn = tuple(sorted(below))
    summary = _summary(contracts, asked, overdrawn, collected, as_of=as_of)
    return Credit(tuple(contracts), tuple(asked), overdrawn, tuple(collected), tuple(summary))


def _contract(row: Row, balances: list[tuple[dt.date, float]], company: Company, as_of: dt.date) -> Contract:
    path = tuple((day, max(0.0, -amount)) for day, amount in balances)
    given = None if row["amount_minor"] is None else worth(row["amount_minor"], row["currency"], company)
    borrowed = given if given else max((below for _, below in path), default=0.0) or None
    owed = 0.0 if row["closed_on"] is not None or not path else path[-1][1]
    elapsed = repaid = used = None
    if row["matures_on"] is not None:
        days = max((row["matures_on"] - row["opened_on"]).days, 1)
        elapsed = float(np.clip((as_of - row["opened_on"]).days / days, 0, 1))
        repaid = None if borrowed is None or not path else float(np.clip(1 - owed / borrowed, 0, 1))
    elif borrowed is not None and row["closed_on"] is None and path:
        used = owed / borrowed
    return Contract(
        row["product_id"],
        row["opened_on"],
        row["matures_on"],
        row["closed_on"],
        borrowed,
        owed,
        elapsed,
        repaid,
        used,
        path,
    )


def _application(row: Row, company: Company) -> Code:
    amount = None if row["amount_minor"] is None else worth(row["amount_minor"], row["currency"], company)
    told = {"product_id": row["product_id"], "on": row["applied_at"].date(), "amount_minor": amount}
    return {**told, "outcome": row["outcome"] or "", "decided_on": row["decided_at"] and row["decided_at"].date()}


def _summary(
    contracts: Sequence[Contract],
    asked: Sequence[Code],
    overdrawn: Sequence[dt.date],
    collected: Sequence[dt.date],
    *,
    as_of: dt.date,
) -> list[Code]:
    """Return the history in a few codes, what matters most first."""
    if not contracts and not asked:
        out: list[Code] = [{"code": "no_credit"}]
    else:
        out = _standing(contracts, as_of)
    late = any(one["code"] in ("overdue", "behind") for one in out)
    repaid = sum(one.closed_on is not None for one in contracts)
    if repaid:
        out.append({"code": "repaid", "contracts": repaid})
    if overdrawn:
        out.append({"code": "overdrawn", "months": len(overdrawn), "last": overdrawn[-1]})
    if collected:
        out.append({"code": "collected", "times": len(collected), "last": collected[-1]})
    if contracts and not (overdrawn or collected or late):
        out.append({"code": "nothing_wrong"})
    refused = [one for one in asked if one["outcome"] == "refused"]
    if refused:
        out.append({"code": "refused", "times": len(refused), "last": refused[0]["decided_on"] or refused[0]["on"]})
    waiting = [one for one in asked if not one["outcome"]]
    if waiting:
        out.append({"code": "pending", "product_id": waiting[0]["product_id"], "on": waiting[0]["on"]})
    return out


def _standing(contracts: Sequence[Contract], as_of: dt.date) -> list[Code]:
    """Return what is owed, and of each contract with a debt how it stands against its term or limit."""
    owing = [one for one in contracts if one.owed_minor > 0]
    total = sum(one.owed_minor for one in owing)
    out: list[Code] = [{"code": "owes", "contracts": len(owing), "minor": total} if owing else {"code": "owes_nothing"}]
    for one in owing:
        if one.matures_on is not None and one.matures_on < as_of:
            out.append({"code": "overdue", "product_id": one.product_id, "on": one.matures_on, "minor": one.owed_minor})
        elif one.elapsed is not None and one.repaid is not None:
            code = "behind" if one.repaid < one.elapsed - SLACK else "on_track"
            out.append({"code": code, "product_id": one.product_id, "elapsed": one.elapsed, "repaid": one.repaid})
        elif one.used is not None:
            out.append({"code": "limit_used", "product_id": one.product_id, "used": one.used})
    return out
