"""A customer's history at a glance, from the rows a snapshot knows: codes and numbers, words only in the views."""

from __future__ import annotations

import calendar
import datetime as dt
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crmlib.warehouse.company import Company

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
Code = dict[str, Any]

COLUMNS: dict[str, tuple[str, ...]] = {
    "customers": (
        *("customer_id", "person_id", "given_name", "family_name", "gender", "birth_date", "region", "customer_since"),
        *("marital_status", "children", "education", "occupation", "employment_status", "income_minor", "currency"),
        *("risk_class", "segment", "preferred_channel", "postcode", "closed_on", "household_id"),
    ),
    "relatives": ("relation", "birth_date", "given_name"),
    "holdings": ("holding_id", "product_id", "opened_on", "matures_on", "closed_on", "amount_minor", "currency"),
    "balances": ("holding_id", "balance_date", "balance_minor", "currency"),
    "transactions": ("occurred_at", "amount_minor", "currency"),
    "applications": ("product_id", "applied_at", "amount_minor", "currency", "decided_at", "outcome", "lost_stage"),
    "contacts": (
        *("occurred_at", "channel", "direction", "purpose", "product_id", "campaign_id", "answered_at", "outcome"),
    ),
    "consents": ("channel", "purpose", "changed_at", "granted"),
    "campaign_members": ("campaign_id", "arm", "control", "contacted_at", "responded_at", "response"),
    "complaints": ("opened_at", "topic", "product_id", "severity", "resolved_at"),
    "surveys": ("question", "answered_at", "score", "answer"),
}
"""What the desk reads of each table of customers."""

CHILD_AGES = (7, 14, 17, 18)
"""Birthdays of a child that change what a family needs: school, a first account, studies, coming of age."""
BIRTHDAY_DAYS, AFTER_DAYS, AHEAD_DAYS, ENDING_DAYS, CHANGE_DAYS = 7, 180, 90, 90, 180
CHANGES = ("marital_status", "employment_status", "children", "region")
_MONTHS_SHOWN, _DAYS_SHOWN = 12, 730


@dataclass(frozen=True)
class Held:
    """An open contract: ``balance_minor`` the last one known (None for none), in ``currency``."""

    product_id: str
    opened_on: dt.date
    matures_on: dt.date | None
    balance_minor: int | None
    balance_date: dt.date | None
    amount_minor: int | None
    currency: str


@dataclass(frozen=True)
class Past:
    """Something offered before and what came of it.

    ``outcome``: accepted, refused, later, offered (no answer at the desk), unanswered; ``source``: contact, campaign or
    desk; ``due`` the day from which it may be offered again, where it was put off.
    """

    product_id: str
    at: dt.datetime
    channel: str
    outcome: str
    source: str
    campaign_id: str = ""
    actor: str = ""
    due: dt.date | None = None


def who(customer: Row, consents: Sequence[Row], *, as_of: dt.date) -> Code:
    """Return who this is: names where the customer may be greeted by name, age, tenure and what was stated.

    ``greet`` is false, and the names empty, for a customer without a name on record or who objected to the use of the
    data for service.
    """
    named = bool(customer["given_name"] or customer["family_name"])
    greet = named and not objects(consents, "service")
    told = ("gender", "region", "marital_status", "children", "education", "occupation", "employment_status")
    more = ("income_minor", "currency", "segment", "preferred_channel", "customer_since")
    return {
        "greet": greet,
        "given_name": customer["given_name"] or "" if greet else "",
        "family_name": customer["family_name"] or "" if greet else "",
        "age_years": years(customer["birth_date"], as_of),
        "since_years": years(customer["customer_since"], as_of),
        **{name: customer[name] for name in (*told, *more)},
    }


def objects(consents: Sequence[Row], purpose: str) -> bool:
    """Say whether the customer objects to a use of the data; a later statement for "all" channels replaces one for one.

    Nothing stated is no objection here; of two statements of one moment the objection counts (GDPR Art. 21).

    >>> said = {"channel": "all", "purpose": "profiling", "changed_at": dt.datetime(2025, 1, 1), "granted": False}
    >>> objects([said], "profiling"), objects([said], "service")
    (True, False)
    """
    last: dict[str, tuple[dt.datetime, bool]] = {}
    for row in consents:
        if row["purpose"] == purpose:
            said = (row["changed_at"], not row["granted"])
            last[row["channel"]] = max(last.get(row["channel"], said), said)
    overall = last.get("all", (dt.datetime.min, False))[0]
    return any(against and at >= overall for at, against in last.values())


def channels(consents: Sequence[Row], *, company: Company) -> list[str]:
    """Return the channels by which the customer may be contacted for marketing, as ``call_list.permitted`` has it."""
    found = []
    for channel in company.contact_costs_minor:
        said = [
            (row["changed_at"], not row["granted"])
            for row in consents
            if row["purpose"] == "marketing" and row["channel"] in (channel, "all")
        ]
        refused = max(said)[1] if said else company.consent_when_missing == "refused"
        if not refused:
            found.append(channel)
    return found


def held(rows: Rows, *, company: Company) -> list[Held]:
    """Return the open contracts with their last balances, the oldest first."""
    last = {row["holding_id"]: row for row in rows["balances"]}
    found = []
    for row in rows["holdings"]:
        if row["closed_on"] is None:
            balance = last.get(row["holding_id"], {})
            found.append(
                Held(
                    row["product_id"],
                    row["opened_on"],
                    row["matures_on"],
                    balance.get("balance_minor"),
                    balance.get("balance_date"),
                    row["amount_minor"],
                    row["currency"] or company.currency,
                )
            )
    return found


def activity(rows: Rows, *, as_of: dt.date, company: Company) -> list[Code]:
    """Return money in and out by calendar month, the last twelve: month, in_minor, out_minor, transactions."""
    months: dict[tuple[int, int], Code] = {}
    for back in range(_MONTHS_SHOWN - 1, -1, -1):
        year, month = divmod(as_of.year * 12 + as_of.month - 1 - back, 12)
        start = dt.date(year, month + 1, 1)
        months[year, month + 1] = {"month": start, "in_minor": 0.0, "out_minor": 0.0, "transactions": 0}
    for row in rows["transactions"]:
        found = months.get((row["occurred_at"].year, row["occurred_at"].month))
        if found is not None:
            amount = worth(row["amount_minor"], row["currency"], company)
            found["in_minor" if amount > 0 else "out_minor"] += abs(amount)
            found["transactions"] += 1
    return list(months.values())


def pending(rows: Rows) -> list[Code]:
    """Return the applications without an outcome, the newest first."""
    waiting = [row for row in rows["applications"] if row["decided_at"] is None]
    told = ("product_id", "applied_at", "amount_minor", "currency")
    return [{"code": "application_pending", **{name: row[name] for name in told}} for row in reversed(waiting)]


def complaints(rows: Rows) -> list[Code]:
    """Return the complaints not resolved, the gravest first."""
    told = ("opened_at", "topic", "product_id", "severity")
    found = [
        {"code": "complaint_open", **{n: row[n] for n in told}} for row in rows["complaints"] if not row["resolved_at"]
    ]
    return sorted(found, key=lambda one: -(one["severity"] or 0))


def credit(rows: Rows, contracts: Sequence[Held], *, company: Company) -> Code:
    """Return the credit history: debts and credits repaid, months overdrawn, applications refused.

    Whatever contract has a negative last balance is a debt; a contract with a balance that was negative and now is
    closed is a credit repaid. A contract counts as overdrawn where it had balances above and below zero.
    """
    debts = [one for one in contracts if (one.balance_minor or 0) < 0]
    owed = {row["holding_id"] for row in rows["balances"] if row["balance_minor"] < 0}
    had = {row["holding_id"] for row in rows["balances"] if row["balance_minor"] > 0}
    closed = {row["holding_id"] for row in rows["holdings"] if row["closed_on"] is not None}
    below = {
        (row["balance_date"].year, row["balance_date"].month)
        for row in rows["balances"]
        if row["balance_minor"] < 0 and row["holding_id"] in had
    }
    refused = [row for row in rows["applications"] if row["outcome"] == "refused"]
    return {
        "owed_minor": sum(-worth(one.balance_minor or 0, one.currency, company) for one in debts),
        "debts": [one.product_id for one in debts],
        "repaid": len(owed & closed - had),
        "overdrawn_months": len(below),
        "refusals": [{"product_id": row["product_id"], "on": row["decided_at"].date()} for row in refused],
    }


def occasions(rows: Rows, *, as_of: dt.date) -> list[Code]:
    """Return what changes in the household now: birthdays, children of an age that matters, changes of status.

    Each is {"code", …}: birthday (on), child_turned and child_turns (years, on, relation), changed (column, before, after,
    on). "Now" is up to 180 days back and 90 days ahead of the snapshot.
    """
    customer = rows["customers"][-1]
    found: list[Code] = []
    own = _anniversary(customer["birth_date"], as_of)
    if own is not None and abs((own - as_of).days) <= BIRTHDAY_DAYS:
        found.append({"code": "birthday", "on": own})
    for row in rows["relatives"]:
        if row["relation"] != "child" or row["birth_date"] is None:
            continue
        for age in CHILD_AGES:
            on = birthday(row["birth_date"], age)
            away = (on - as_of).days
            if -AFTER_DAYS <= away <= AHEAD_DAYS:
                code = "child_turned" if away <= 0 else "child_turns"
                found.append({"code": code, "years": age, "on": on, "relation": row["relation"]})
    dated = rows["customers"]
    for before, after in itertools.pairwise(dated):
        if (as_of - after["valid_from"]).days <= CHANGE_DAYS:
            for column in CHANGES:
                if before[column] is not None and before[column] != after[column] and after[column] is not None:
                    changed = {"column": column, "before": before[column], "after": after[column]}
                    found.append({"code": "changed", **changed, "on": after["valid_from"]})
    return sorted(found, key=lambda one: abs((one["on"] - as_of).days))


def endings(contracts: Iterable[Held], *, as_of: dt.date) -> list[Code]:
    """Return the open contracts that end within 90 days, or ended without having been closed, the nearest first."""
    found = []
    for one in contracts:
        if one.matures_on is not None and -AFTER_DAYS <= (one.matures_on - as_of).days <= ENDING_DAYS:
            minor = one.amount_minor if one.balance_minor is None else one.balance_minor
            told = {"product_id": one.product_id, "on": one.matures_on, "amount_minor": minor, "currency": one.currency}
            found.append({"code": "contract_ends", **told})
    return sorted(found, key=lambda one: one["on"])


def offered(rows: Rows, campaigns: Mapping[str, Row]) -> list[Past]:
    """Return what was offered before the snapshot, the newest first; a contact of a campaign and its member are one.

    ``campaigns``: product_id and channel by campaign_id.
    """
    responses = {row["campaign_id"]: row for row in rows["campaign_members"] if not row["control"]}
    found, seen = [], set()
    for row in rows["contacts"]:
        campaign = campaigns.get(row["campaign_id"] or "", {})
        product = row["product_id"] or campaign.get("product_id")
        if row["purpose"] != "sales" or product is None:
            continue
        member = responses.get(row["campaign_id"] or "")
        said = row["outcome"] or (member["response"] if member else None)
        seen.add(row["campaign_id"])
        source = "campaign" if row["campaign_id"] else "contact"
        found.append(Past(product, row["occurred_at"], row["channel"], outcome(said), source, row["campaign_id"] or ""))
    for campaign_id, row in responses.items():
        campaign = campaigns.get(campaign_id, {})
        if campaign_id not in seen and row["contacted_at"] is not None and campaign.get("product_id"):
            channel = campaign.get("channel") or ""
            said = outcome(row["response"])
            found.append(Past(campaign["product_id"], row["contacted_at"], channel, said, "campaign", campaign_id))
    return sorted(found, key=lambda one: one.at, reverse=True)


def timeline(rows: Rows, *, as_of: dt.date) -> list[Code]:
    """Return what happened in the two years to ``as_of``, the newest first.

    Each has "lane" (contract, application, contact_in, contact_out, complaint), "on" (day), "code" (opened, closed,
    applied, the purpose of a contact, complained) and, where known, product_id, channel, outcome and topic.
    """
    found: list[Code] = []
    for row in rows["holdings"]:
        for code, day in (("opened", row["opened_on"]), ("closed", row["closed_on"])):
            if day is not None:
                found.append({"lane": "contract", "on": day, "code": code, "product_id": row["product_id"]})
    for row in rows["applications"]:
        told = {"product_id": row["product_id"], "outcome": row["outcome"]}
        found.append({"lane": "application", "on": row["applied_at"].date(), "code": "applied", **told})
    for row in rows["contacts"]:
        lane = "contact_out" if row["direction"] == "out" else "contact_in"
        told = {"channel": row["channel"], "outcome": row["outcome"], "product_id": row["product_id"]}
        found.append({"lane": lane, "on": row["occurred_at"].date(), "code": row["purpose"] or "contact", **told})
    for row in rows["complaints"]:
        told = {"topic": row["topic"], "outcome": "resolved" if row["resolved_at"] else None}
        found.append({"lane": "complaint", "on": row["opened_at"].date(), "code": "complained", **told})
    first = as_of - dt.timedelta(days=_DAYS_SHOWN)
    return sorted((one for one in found if one["on"] >= first), key=lambda one: one["on"], reverse=True)


def outcome(said: str | None) -> str:
    """Return an answer of the sources as one of ours; what is neither yes, no nor later counts as unanswered.

    >>> outcome("bought"), outcome("refused"), outcome(None)
    ('accepted', 'refused', 'unanswered')
    """
    return {"accepted": "accepted", "bought": "accepted", "refused": "refused", "later": "later"}.get(
        said or "", "unanswered"
    )


def fitting(attributes: Mapping[str, Any], occasion: Code) -> bool:
    """Say whether a product answers an occasion: its attributes list the code, with a child's age where there is one.

    >>> fitting({"occasions": ["child_17"]}, {"code": "child_turned", "years": 17})
    True
    """
    code = occasion["code"]
    name = f"child_{occasion['years']}" if code in ("child_turned", "child_turns") else code
    name = f"changed_{occasion['column']}" if code == "changed" else name
    return name in attributes.get("occasions", ())


def attributes(text: str | None) -> dict[str, Any]:
    """Return the attributes of a product, written as JSON; nothing where there are none."""
    found = json.loads(text) if isinstance(text, str) else {}
    return found if isinstance(found, dict) else {}


def worth(minor: float, currency: str | None, company: Company) -> float:
    """Return an amount in the company's currency; one without a known rate counts as it stands."""
    return float(minor) * company.exchange_rates.get(currency or company.currency, 1.0)


def years(since: dt.date | None, day: dt.date) -> int | None:
    """Return the completed years between two days.

    >>> years(dt.date(2008, 2, 29), dt.date(2025, 2, 28))
    16
    """
    if since is None:
        return None
    return day.year - since.year - ((day.month, day.day) < (since.month, since.day))


def birthday(born: dt.date, age: int) -> dt.date:
    """Return the day on which somebody reaches an age; who was born on 29 February, on 1 March of other years.

    >>> birthday(dt.date(2008, 2, 29), 17)
    datetime.date(2025, 3, 1)
    """
    year = born.year + age
    if (born.month, born.day) == (2, 29) and not calendar.isleap(year):
        return dt.date(year, 3, 1)
    return dt.date(year, born.month, born.day)


def _anniversary(born: dt.date | None, day: dt.date) -> dt.date | None:
    if born is None:
        return None
    near = [birthday(born, day.year + shift - born.year) for shift in (-1, 0, 1)]
    return min(near, key=lambda one: abs((one - day).days))
