"""What the customer card shows of one customer, without a widget: rows of the snapshot, saved scores, decisions."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib import paths
from crmlib.decisions import decision_log, desk_events, desk_history
from crmlib.decisions.desk_history import Code, Row
from crmlib.errors import NotFoundError
from crmlib.store import score_sets, session
from crmlib.store.tables import DecisionSet, DeskEvent, Pointer, ScoreSet
from crmlib.views import customer_card_credit as credit
from crmlib.warehouse import dossier
from crmlib.warehouse import open as open_warehouse
from crmlib.warehouse.company import Company
from crmlib.warehouse.company import read as read_company
from crmlib.warehouse.snapshot import Snapshot

BESIDE = {
    "customer_value": ("lines", "gap_products"),
    "lifecycle": ("history",),
    "churn": ("by_reason", "reasons"),
    "retention": (),
    "loyalty": ("contributions",),
    "points": (),
}
"""The sets of scores that the card reads, with the tables beside them."""
PREDICTED = ("customer_value", "lifecycle", "churn", "retention", "loyalty")
"""Those that profile the customer: not shown for one who objects to that."""

_MORE: dict[str, tuple[str, ...]] = {
    "customers": ("branch_id", "employee_id", "closed_reason", "city"),
    "holdings": ("closed_reason", "rate_percent"),
    "applications": ("channel", "holding_id"),
    "contacts": ("duration_seconds", "cost_minor", "employee_id"),
    "complaints": ("resolution", "channel"),
    "surveys": ("survey",),
    "campaign_members": ("assigned_at",),
    "mentions": ("occurred_at", "author", "text", "sentiment"),
    "loyalty_entries": ("occurred_at", "points", "reason", "expires_on"),
}
_TOLD = {"customer_value": ("actual_minor", "predicted_minor", "potential_minor"), "loyalty": ("index", "retained")}
"""Columns without which there is nothing to show of a model."""
_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True, eq=False)
class Loaded:
    """What all customers share.

    Attributes: ``products`` (name, product_group, term_months) by product_id, ``credit`` the products that are credit,
    ``employees`` (name, role), ``branches`` and ``campaigns`` (names) by their ids, ``sets`` the newest score set of each
    model, as far as there is one, ``decisions`` the newest decision set of best offers or None.
    """

    data: Path
    snapshot: Snapshot
    company: Company
    dossiers: dossier.Dossiers = field(repr=False)
    products: dict[str, Row] = field(repr=False)
    credit: frozenset[str]
    employees: dict[str, Row] = field(repr=False)
    branches: dict[str, str] = field(repr=False)
    campaigns: dict[str, str] = field(repr=False)
    sets: dict[str, ScoreSet] = field(repr=False)
    decisions: DecisionSet | None = field(repr=False)

    @property
    def names(self) -> dict[str, str]:
        """Names of the products by product_id."""
        return {product_id: str(row["name"]) for product_id, row in self.products.items()}


@dataclass(frozen=True, eq=False)
class Card:
    """One customer as of the snapshot.

    Attributes: ``rows`` of the tables; ``who`` as of ``desk_history.who``; ``left_on`` and ``left_reason`` of one who has left;
    ``objected`` to profiling, so that nothing predicted is here; ``credit`` the credit history; ``people`` the rest of the
    relationship (manager, branch, household, children, channels); ``effort`` time spent in the last year; ``scores`` the
    row of each model, None where there is none; ``tables`` rows beside them by "model.table"; ``desk`` what was decided at
    the desk, ``decided`` rows of the log of best offers.
    """

    customer_id: str
    as_of: dt.date
    rows: Mapping[str, list[Row]] = field(repr=False)
    who: Code
    left_on: dt.date | None
    left_reason: str
    objected: bool
    credit: credit.Credit
    people: Code
    effort: Code
    scores: dict[str, Code | None]
    tables: dict[str, pd.DataFrame] = field(repr=False)
    desk: list[desk_history.Past]
    decided: list[Code]


def load(data: Path) -> Loaded:
    """Open the served warehouse version as of its last record, with the newest scores and decisions.

    Raises NotFoundError where there is no warehouse or it holds no events.
    """
    warehouse = open_warehouse(paths.warehouse(data))
    if warehouse.period is None:
        raise NotFoundError("the warehouse holds no events yet, so there is no history to show; load some data first")
    snapshot = warehouse.snapshot(warehouse.period[1])
    company = read_company(data / "company.toml") if (data / "company.toml").exists() else warehouse.company
    columns = {
        name: {*desk_history.COLUMNS.get(name, ()), *_MORE.get(name, ())} for name in (*desk_history.COLUMNS, *_MORE)
    }
    products = snapshot.table("products", ["product_id", "name", "product_group", "term_months"])
    employees = snapshot.table("employees", ["employee_id", "name", "role"])
    branches = snapshot.table("branches", ["branch_id", "name"]).dropna()
    campaigns = snapshot.table("campaigns", ["campaign_id", "name"])
    return Loaded(
        data=data,
        snapshot=snapshot,
        company=company,
        dossiers=dossier.open(snapshot, columns, every=("customers",)),
        products={str(row["product_id"]): row for row in _plain(products)},
        credit=credit.products(snapshot, products),
        employees={str(row["employee_id"]): row for row in _plain(employees)},
        branches=dict(zip(branches["branch_id"], branches["name"], strict=True)),
        campaigns=dict(zip(campaigns["campaign_id"], campaigns["name"], strict=True)),
        sets=_sets(data),
        decisions=_decisions(data),
    )


def most_at_stake(loaded: Loaded, *, count: int = 5) -> list[str]:
    """Return the customers whose leaving would cost most (risk × value), to begin with; none without decisions."""
    found = loaded.sets.get("retention")
    if found is None:
        return []
    table = score_sets.read(loaded.data, found, columns=["customer_id", "risk_90", "value_at_stake_minor"])
    at_stake = (table["risk_90"] * table["value_at_stake_minor"]).fillna(0)
    return table.loc[at_stake.nlargest(count).index, "customer_id"].astype(str).tolist()


def newest(data: Path) -> tuple[Any, ...]:
    """Return what changes when there is more to show: the served version, the last scores, decisions and desk events."""
    with session.session(data) as store:
        last = (ScoreSet.score_set_id, DecisionSet.decision_set_id, DeskEvent.event_id)
        return store.scalar(sa.select(Pointer.version)), *[store.scalar(sa.select(sa.func.max(one))) for one in last]


def find(loaded: Loaded, customer_id: str, *, now: dt.datetime) -> Card:
    """Return the card of a customer, with what the desk did up to the UTC time ``now``; also of one who has left.

    Raises NotFoundError for a customer who is unknown or was not known yet at the snapshot.
    """
    rows = _rows(loaded, customer_id)
    customer, as_of = rows["customers"][-1], loaded.snapshot.as_of
    objected = desk_history.objects(rows["consents"], "profiling")
    scores: dict[str, Code | None] = {}
    tables: dict[str, pd.DataFrame] = {}
    for model, beside in BESIDE.items():
        found = loaded.sets.get(model)
        hidden = objected and model in PREDICTED
        scores[model] = None if found is None or hidden else _row(loaded.data, found, customer_id)
        for name in beside:
            some = found is not None and not hidden
            tables[f"{model}.{name}"] = (
                score_sets.of_customer(loaded.data, found, customer_id, name=name) if some and found else pd.DataFrame()
            )
    return Card(
        customer_id=customer_id,
        as_of=as_of,
        rows=rows,
        who=desk_history.who(customer, rows["consents"], as_of=as_of),
        left_on=customer["closed_on"],
        left_reason=customer["closed_reason"] or "",
        objected=objected,
        credit=credit.history(rows, loaded.credit, company=loaded.company, as_of=as_of),
        people=_people(loaded, rows),
        effort=_effort(rows, company=loaded.company, as_of=as_of),
        scores=scores,
        tables=tables,
        desk=desk_events.of_customer(loaded.data, customer_id, before=now),
        decided=[] if objected else _decided(loaded, customer_id),
    )


def masked(card: Card) -> Card:
    """Return the card without the words written in social networks, which may name people; when and how remain."""
    hidden: list[Row] = [{**one, "text": None} for one in card.rows["mentions"]]
    return replace(card, rows={**card.rows, "mentions": hidden})


def reasons(card: Card) -> list[Code]:
    """Return the reasons for the risk of leaving, the weightiest first: codes with parameters."""
    table = card.tables["churn.reasons"]
    if table.empty:
        return []
    if "reasons" in table:
        return [one for text in table["reasons"] for one in json.loads(text)]
    return [_code(row) for row in _plain(table.drop(columns=["customer_id", "as_of"], errors="ignore"))]


def _code(row: Row) -> Code:
    given = row.get("parameters")
    more = json.loads(given) if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    return {**{name: value for name, value in row.items() if name != "parameters" and value is not None}, **more}


def _rows(loaded: Loaded, customer_id: str) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {**loaded.dossiers.read(loaded.dossiers.key(customer_id))}  # type: ignore[dict-item]
    if not rows["customers"]:
        raise NotFoundError(f"customer {customer_id} is not in the warehouse as of {loaded.snapshot.as_of}")
    return rows


def _row(data: Path, found: ScoreSet, customer_id: str) -> Code | None:
    """Return a customer's row of a set; None where there is none, or where what matters in it was left empty.

    A row is empty of one who objected when it was computed, and who may have withdrawn the objection since.
    """
    rows = _plain(score_sets.of_customer(data, found, customer_id))
    told = rows and all(rows[0].get(name, 0) is not None for name in _TOLD.get(found.model, ()))
    return dict(rows[0]) if told else None


def _sets(data: Path) -> dict[str, ScoreSet]:
    out = {}
    for model in BESIDE:
        try:
            out[model] = score_sets.newest(data, model)
        except NotFoundError:
            continue
    return out


def _decisions(data: Path) -> DecisionSet | None:
    try:
        return decision_log.newest(data)
    except NotFoundError:
        return None


def _decided(loaded: Loaded, customer_id: str) -> list[Code]:
    """Return the offers decided for the customer: product_id, channel, on (as of), value_minor."""
    found = loaded.decisions
    if found is None or not (loaded.data / found.file).exists():
        return []
    wanted = [("customer_id", "==", customer_id), ("decision", "==", "offered")]
    rows = pd.read_parquet(loaded.data / found.file, filters=wanted)
    return [
        {
            "product_id": row["product_id"],
            "channel": row["channel"],
            "on": found.as_of,
            "value_minor": row["value_minor"],
        }
        for row in _plain(rows)
    ]


def _people(loaded: Loaded, rows: Mapping[str, list[Row]]) -> Code:
    """Return who stands around the customer, and by which channels: manager, branch, household, children, channels."""
    customer = rows["customers"][-1]
    manager = loaded.employees.get(customer["employee_id"] or "")
    children = [row["birth_date"] for row in rows["relatives"] if row["relation"] == "child" and row["birth_date"]]
    return {
        "manager": None if manager is None else {"name": manager["name"], "role": manager["role"]},
        "branch": loaded.branches.get(customer["branch_id"] or "", customer["branch_id"] or ""),
        "household": _household(loaded, customer),
        "children": sorted(desk_history.years(born, loaded.snapshot.as_of) or 0 for born in children),
        "preferred": customer["preferred_channel"] or "",
        "allowed": desk_history.channels(rows["consents"], company=loaded.company),
        "channels": _channels(rows["contacts"], since=loaded.snapshot.as_of - 2 * _YEAR),
    }


def _household(loaded: Loaded, customer: Row) -> list[Code]:
    """Return the other customers of the household: customer_id, age_years, open; the oldest customer number first."""
    household = customer["household_id"]
    if not household:
        return []
    query = "SELECT DISTINCT customer_id FROM customers WHERE household_id = ? AND customer_id <> ? ORDER BY 1 LIMIT 20"
    with loaded.snapshot.warehouse.connect() as connection:
        found = connection.execute(query, [household, customer["customer_id"]]).fetchall()
    out = []
    for (other,) in found:
        rows = loaded.dossiers.read(loaded.dossiers.key(other))["customers"]
        if rows and rows[-1]["household_id"] == household:  # as it is now, not as it once was
            born = desk_history.years(rows[-1]["birth_date"], loaded.snapshot.as_of)
            out.append({"customer_id": other, "age_years": born, "open": rows[-1]["closed_on"] is None})
    return out


def _channels(contacts: list[Row], *, since: dt.date) -> list[Code]:
    """Return by channel: contacts the customer began, contacts we made, and how many of our offers were taken."""
    out: dict[str, Code] = {}
    for row in contacts:
        if row["occurred_at"].date() < since:
            continue
        own = out.setdefault(row["channel"], {"channel": row["channel"], "came": 0, "went": 0, "offers": 0, "taken": 0})
        own["came" if row["direction"] == "in" else "went"] += 1
        if row["direction"] == "out" and row["purpose"] == "sales":
            own["offers"] += 1
            own["taken"] += desk_history.outcome(row["outcome"]) == "accepted"
    return sorted(out.values(), key=lambda one: -(one["came"] + one["went"]))


def _effort(rows: Mapping[str, list[Row]], *, company: Company, as_of: dt.date) -> Code:
    """Return the time people spent on the customer in the last year: contacts, minutes, timed (contacts of known length).

    A contact whose length is not on record counts with the company's usual minutes of its channel.
    """
    since = as_of - _YEAR
    recent = [row for row in rows["contacts"] if row["occurred_at"].date() > since]
    timed = [row for row in recent if row["duration_seconds"] is not None]
    usual = sum(company.contact_minutes.get(row["channel"], 0.0) for row in recent if row["duration_seconds"] is None)
    minutes = sum(row["duration_seconds"] for row in timed) / 60 + usual
    complaints = sum(row["opened_at"].date() > since for row in rows["complaints"])
    return {"contacts": len(recent), "minutes": minutes, "timed": len(timed), "complaints": complaints}


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values: gaps as None, whole numbers and dates as Python's own."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): _value(value) for name, value in row.items()} for row in rows]


def _value(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value
