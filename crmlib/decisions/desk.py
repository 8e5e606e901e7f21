"""The desk prompt: who is on the line, what to offer and why, what not, and what was said before; in milliseconds.

``open`` reads what all customers share (products, rules, campaigns, values); ``prompt`` then reads one customer's rows,
computes the features, asks the ``score`` function it was handed, and sorts offers by value. Everything is as of the
snapshot, but for what operators did since, which is read from the store. docs/desk.md has the definitions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.decisions import desk_events, desk_history, desk_offers, desk_rules, eligibility, policy, value
from crmlib.decisions.desk_events import record
from crmlib.decisions.desk_history import Code, Held, Past, Rows
from crmlib.decisions.desk_offers import Avoid, Offer, Pauses
from crmlib.errors import NotFoundError, UsageError
from crmlib.features import single, source
from crmlib.features.plan import Feature
from crmlib.features.spec import Specification
from crmlib.warehouse import dossier
from crmlib.warehouse import open as open_warehouse
from crmlib.warehouse.company import Company
from crmlib.warehouse.company import read as read_company
from crmlib.warehouse.snapshot import Snapshot

__all__ = ["Avoid", "Desk", "Offer", "Past", "Pauses", "Prompt", "Scorer", "answer", "open", "prompt", "record"]

Score = Callable[[Sequence[Mapping[str, Any]]], pd.DataFrame]
Reasons = Callable[[Mapping[str, Any], Sequence[str]], dict[str, list[Code]]]
OFFERS = 3


@dataclass(frozen=True)
class Scorer:
    """A model as the desk is handed it.

    ``score`` takes rows of features and returns row, product_id, score, low, high; ``reasons`` takes a row and
    product_ids and returns reasons by product (codes with parameters); ``specification`` says what features it takes.
    """

    score: Score
    reasons: Reasons
    specification: Specification
    name: str = "propensity"
    version: int = 0


@dataclass(frozen=True, eq=False)
class Desk:
    """A desk opened on one snapshot; made by ``open``.

    Attributes: ``rules`` of eligibility, ``terms`` of value by product, ``products`` (canonical rows by product_id, with
    ``attributes`` as a dictionary), ``campaigns`` by campaign_id, ``household`` sizes by customer_key.
    """

    data: Path
    snapshot: Snapshot
    company: Company
    scorer: Scorer | None
    pauses: Pauses
    features: single.Single | None = field(repr=False)
    dossiers: dossier.Dossiers = field(repr=False)
    rules: desk_rules.Stated = field(repr=False)
    terms: dict[str, dict[str, Any]] = field(repr=False)
    products: dict[str, dict[str, Any]] = field(repr=False)
    campaigns: dict[str, dict[str, Any]] = field(repr=False)

    @cached_property
    def household(self) -> np.ndarray:
        """Open customers in the household, by customer_key; 1 for a customer without one."""
        size = Feature("size", "household", (), "household_size", "persons")
        found = self.snapshot.warehouse.arrow(source.customers(self.snapshot.as_of, [size], keyed=True))
        keys = found["customer_key"].to_numpy()
        out = np.ones(int(keys.max(initial=0)) + 1, dtype=np.int32)
        out[keys] = found["size"].to_numpy()
        return out


@dataclass(frozen=True)
class Prompt:
    """What the operator sees of one customer; codes with parameters everywhere, words are the views'.

    ``who`` as of ``desk_history.who``; ``notes`` say what limits the offers (profiling_objected, holdout, complaint_first,
    no_model); ``offers`` at most three, the most valuable first; ``hints`` products that answer an occasion though they
    are not among the three; ``avoid`` products not to offer; ``before`` what was offered and what came of it, the newest
    first; ``timeline`` what happened in two years, the newest first; ``follow_up`` the best channel to come back on.
    """

    customer_id: str
    as_of: dt.date
    now: dt.datetime
    who: Code
    notes: tuple[Code, ...]
    holdings: tuple[Held, ...]
    activity: tuple[Code, ...]
    pending: tuple[Code, ...]
    complaints: tuple[Code, ...]
    credit: Code
    occasions: tuple[Code, ...]
    endings: tuple[Code, ...]
    timeline: tuple[Code, ...]
    offers: tuple[Offer, ...]
    hints: tuple[Offer, ...]
    avoid: tuple[Avoid, ...]
    before: tuple[Past, ...]
    follow_up: Code
    versions: dict[str, Any]

    def shown(self, product_id: str) -> dict[str, Any]:
        """Return the prompt's part in a decision about a product, for the log: JSON can hold it."""
        listed = [
            {name: told for name, told in asdict(one).items() if name not in ("reasons", "occasions")}
            for one in self.offers
        ]
        reasons = [
            one["code"]
            for offer in (*self.offers, *self.hints)
            if offer.product_id == product_id
            for one in offer.reasons
        ]
        rank = next((one.rank for one in self.offers if one.product_id == product_id), None)
        dropped = {one.product_id: one.reason["code"] for one in self.avoid}
        told = {"rank": rank, "reasons": reasons, "offers": listed, "not_offered": dropped}
        return {**told, "as_of": str(self.as_of), **self.versions}


def open(
    data: Path, scorer: Scorer | None = None, *, as_of: dt.date | str | None = None, pauses: Pauses | None = None
) -> Desk:
    """Open the desk of a data folder on its served warehouse version, as of a date (default: the last recorded).

    Without a ``scorer`` the prompt has no offers and says so. Raises NotFoundError where there is no warehouse,
    DataError where ``as_of`` lies outside its records or rules contradict each other.
    """
    warehouse = open_warehouse(paths.warehouse(data))
    last = warehouse.period[1] if warehouse.period else dt.date.min
    snapshot = warehouse.snapshot(last if as_of is None else as_of)
    company = read_company(data / "company.toml") if (data / "company.toml").exists() else warehouse.company
    columns: dict[str, set[str]] = {name: set(own) for name, own in desk_history.COLUMNS.items()}
    rules = desk_rules.stated(eligibility.rules(snapshot, file=data / eligibility.RULES_FILE))
    columns["customers"].update(rules.columns)
    features = single.prepare(snapshot, scorer.specification) if scorer else None
    for name, own in single.readable(features.columns if features else {}).items():
        columns.setdefault(name, set()).update(own)
    products = snapshot.table("products")
    return Desk(
        data=data,
        snapshot=snapshot,
        company=company,
        scorer=scorer,
        pauses=pauses or Pauses(),
        features=features,
        dossiers=dossier.open(snapshot, columns, every=("customers",)),
        rules=rules,
        terms=_by(value.terms(products, company=company), "product_id"),
        products=_described(products),
        campaigns=_by(
            snapshot.table("campaigns", ["campaign_id", "name", "goal", "product_id", "channel"]), "campaign_id"
        ),
    )


def prompt(desk: Desk, customer_id: str, *, now: dt.datetime) -> Prompt:
    """Return the prompt for a customer on the line or at the counter at the UTC time ``now``.

    Raises NotFoundError for a customer who is unknown, was not known yet at the snapshot, or has left.
    """
    rows, key = _rows(desk, customer_id)
    customer, as_of = rows["customers"][-1], desk.snapshot.as_of
    past = _past(desk, rows, customer_id, now)
    contracts = desk_history.held(rows, company=desk.company)
    occasions = desk_history.occasions(rows, as_of=as_of)
    open_complaints = desk_history.complaints(rows)
    notes = _notes(desk, rows, open_complaints)
    offers, hints, avoid = _offers(desk, rows, key, past=past, occasions=occasions, now=now, notes=notes)
    permitted = desk_history.channels(rows["consents"], company=desk.company)
    costs = desk.company.contact_costs_minor
    return Prompt(
        customer_id=customer_id,
        as_of=as_of,
        now=now,
        who=desk_history.who(customer, rows["consents"], as_of=as_of),
        notes=tuple(notes),
        holdings=tuple(contracts),
        activity=tuple(desk_history.activity(rows, as_of=as_of, company=desk.company)),
        pending=tuple(desk_history.pending(rows)),
        complaints=tuple(open_complaints),
        credit=desk_history.credit(rows, contracts, company=desk.company),
        occasions=tuple(occasions),
        endings=tuple(desk_history.endings(contracts, as_of=as_of)),
        timeline=tuple(desk_history.timeline(rows, as_of=as_of)),
        offers=tuple(offers),
        hints=tuple(hints),
        avoid=tuple(avoid),
        before=tuple(past),
        follow_up=desk_offers.follow_up(past, permitted, preferred=customer["preferred_channel"], costs=costs),
        versions=versions(desk),
    )


def answer(
    desk: Desk, shown: Prompt, product_id: str, *, outcome: str, channel: str, actor: str, now: dt.datetime
) -> int:
    """Store what the operator did with an offer of a prompt, with the prompt as it stood; return the event's number.

    Raises UsageError for a product that does not exist, and what ``record`` raises.
    """
    if product_id not in desk.products:
        raise UsageError(f"there is no product {product_id!r}; known are {', '.join(sorted(desk.products))}")
    told = shown.shown(product_id)
    return record(
        desk.data, shown.customer_id, product_id, outcome=outcome, channel=channel, actor=actor, now=now, shown=told
    )


def versions(desk: Desk) -> dict[str, Any]:
    """Return what the answers rest on: warehouse and model versions."""
    model = {"model": desk.scorer.name, "model_version": desk.scorer.version} if desk.scorer else {}
    return {"warehouse_version": desk.snapshot.warehouse.version, **model}


def values(desk: Desk, customer_id: str) -> dict[str, Any]:
    """Return the features of one customer, equal to ``features.build`` on the whole snapshot; {} without a scorer."""
    rows, key = _rows(desk, customer_id)
    return _features(desk, rows, key)


def resting(desk: Desk, customer_id: str, *, now: dt.datetime) -> dict[str, Avoid]:
    """Return the products at rest after what the customer said to earlier offers; raises what ``prompt`` raises."""
    past = _past(desk, _rows(desk, customer_id)[0], customer_id, now)
    return desk_offers.resting(past, desk.pauses, as_of=desk.snapshot.as_of, now=now)


def rows_of(desk: Desk, customer_id: str) -> Rows:
    """Return the customer's rows by table as known at the snapshot; raises what ``prompt`` raises."""
    return _rows(desk, customer_id)[0]


def _rows(desk: Desk, customer_id: str) -> tuple[Rows, int]:
    key = desk.dossiers.key(customer_id)
    rows = desk.dossiers.read(key)
    if not rows["customers"]:
        raise NotFoundError(
            f"customer {customer_id} was not known yet as of {desk.snapshot.as_of}; choose a later date"
        )
    closed = rows["customers"][-1]["closed_on"]
    if closed is not None:
        raise NotFoundError(f"customer {customer_id} ended the relationship on {closed}; there is nobody to serve")
    return rows, key


def _past(desk: Desk, rows: Rows, customer_id: str, now: dt.datetime) -> list[Past]:
    """Return what was offered at the desk since, and what the warehouse knows of before."""
    events = desk_events.of_customer(desk.data, customer_id, before=now)
    return [*events, *desk_history.offered(rows, desk.campaigns)]


def _features(desk: Desk, rows: Rows, key: int) -> dict[str, Any]:
    if desk.features is None:
        return {}
    return dict(desk.features.values(rows, household=int(desk.household[key])))


def _notes(desk: Desk, rows: Rows, complaints: Sequence[Code]) -> list[Code]:
    """Return why there may be no offers: without a model, after an objection, in the hold-out, during a complaint."""
    rules, customer = desk.company.contact_policy, rows["customers"][-1]
    found: list[Code] = []
    if desk.scorer is None:
        found.append({"code": "no_model"})
    if desk_history.objects(rows["consents"], "profiling"):
        found.append({"code": "profiling_objected"})
    listed = any(row["control"] and _is_holdout(desk, row["campaign_id"]) for row in rows["campaign_members"])
    person = pd.Series([customer["person_id"] or customer["customer_id"]])
    drawn = rules.holdout_share and policy.holdout(person, share=rules.holdout_share, key=rules.holdout_key)[0]
    if listed or drawn:
        found.append({"code": "holdout"})
    if complaints and rules.open_complaint_silences:
        found.append({"code": "complaint_first", "topic": complaints[0]["topic"]})
    return found


def _is_holdout(desk: Desk, campaign_id: str) -> bool:
    """Return whether a campaign is a hold-out, as ``policy`` says it: by its name or by its goal."""
    return (
        campaign_id == policy.HOLDOUT_CAMPAIGN or desk.campaigns.get(campaign_id, {}).get("goal") == policy.HOLDOUT_GOAL
    )


def _offers(
    desk: Desk,
    rows: Rows,
    key: int,
    *,
    past: Sequence[Past],
    occasions: Sequence[Code],
    now: dt.datetime,
    notes: Sequence[Code],
) -> tuple[list[Offer], list[Offer], list[Avoid]]:
    """Return the offers, the hints beside them and what not to offer."""
    as_of = desk.snapshot.as_of
    facts = desk_rules.facts(rows, desk.rules, as_of=as_of, company=desk.company)
    avoid = {
        product: Avoid(product, reason)
        for product, reason in desk_rules.refusals(facts, desk.rules, products=desk.rules.products).items()
    }
    avoid = {**desk_offers.resting(past, desk.pauses, as_of=as_of, now=now), **avoid}
    listed = sorted(avoid.values(), key=lambda one: (one.reason["code"] == "already_held", one.product_id))
    if notes or desk.scorer is None:
        return [], [], listed
    told = _features(desk, rows, key)
    ranked = desk_offers.ranked(desk.scorer.score([told]), desk.terms, avoid)
    attributes = {product: row["attributes"] for product, row in desk.products.items()}
    fitting = desk_offers.hints(occasions, attributes, avoid)
    best = [replace(one, rank=rank) for rank, one in enumerate(ranked[:OFFERS], start=1)]
    hinted = [one for one in ranked[OFFERS:] if one.product_id in fitting]
    reasons = desk.scorer.reasons(told, [one.product_id for one in (*best, *hinted)])
    worded = [
        replace(one, reasons=tuple(reasons[one.product_id]), occasions=fitting.get(one.product_id, ()))
        for one in (*best, *hinted)
    ]
    return worded[: len(best)], worded[len(best) :], listed


def _described(products: pd.DataFrame) -> dict[str, dict[str, Any]]:
    out = _by(products, "product_id")
    return {name: {**row, "attributes": desk_history.attributes(row["attributes"])} for name, row in out.items()}


def _by(table: pd.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    """Return a table's rows as dictionaries by a column, with None where a value is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return {str(row[column]): {str(name): told for name, told in row.items()} for row in plain.to_dict("records")}
