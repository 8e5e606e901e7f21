"""The contact policy over the real history: whom the company may contact now, by which channel, and if not, why."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import call_list
from crmlib.decisions.policy_times import allowed_days, next_allowed
from crmlib.errors import UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import ContactPolicy, Limit
from crmlib.warehouse.snapshot import Snapshot, cutoff

__all__ = [
    "CODES",
    "COLUMNS",
    "HOLDOUT_CAMPAIGN",
    "IGNORED",
    "PLANNED",
    "History",
    "allowed_days",
    "contacts_left",
    "history",
    "holdout",
    "judged",
    "next_allowed",
    "permitted",
    "reachable",
]

HOLDOUT_CAMPAIGN = "universal-holdout"
HOLDOUT_GOAL = "holdout"
IGNORED = ("refused", "no answer", "unanswered")
"""Outcomes of a contact that count as ignored, beside none at all."""
PLANNED = "planned"
"""Outcome of a contact still to come: it counts for the limits, and is neither an answer nor an ignored offer."""
CODES = (
    *("unknown_customer", "left", "holdout", "no_consent", "open_complaint", "recent_complaint"),
    *("ignored", "limit_customer", "limit_household"),
)
"""Why a contact is refused; of several reasons the first of these is given."""
COLUMNS = ["customer_id", "channel", "allowed", "code", "until", "detail"]


@dataclass(frozen=True)
class History:
    """What the policy looks at, as of a moment.

    Attributes: ``at`` the UTC time of the intended contact; ``customers`` (customer_id, household: a number, the
    customer's own where none is known, left, holdout), sorted by customer_id; ``contacts`` those the company made:
    customer (row of ``customers``), channel, occurred_at, ignored, planned; ``consents`` and ``complaints`` as in the warehouse.
    """

    at: dt.datetime
    customers: pd.DataFrame
    contacts: pd.DataFrame
    consents: pd.DataFrame
    complaints: pd.DataFrame


def permitted(
    snapshot: Snapshot,
    pairs: pd.DataFrame | None = None,
    *,
    company: Company,
    at: dt.datetime | None = None,
    since: pd.DataFrame | None = None,
    inbound: bool = False,
) -> pd.DataFrame:
    """Say for each pair of customer and channel whether the company may contact, and if not, why and until when.

    In: ``pairs`` with customer_id and, or for every channel with a cost, channel; None for all customers; ``at`` the UTC
    time of the contact (midnight after the snapshot's day); ``since`` contacts the warehouse does not hold yet
    (customer_id, channel, occurred_at, outcome; ``PLANNED`` for one still to come); ``inbound`` where the customer makes the contact: then consent, ignored
    offers and limits do not matter. Out: one row a pair, in order, with the columns of ``COLUMNS``: ``code`` one of
    ``CODES`` ("" where allowed), ``until`` the UTC time at which this reason ends by itself (NaT: it does not),
    ``detail`` the rule's numbers as JSON.

    Raises UsageError for a channel without a cost of contact.
    """
    return judged(history(snapshot, company=company, at=at, since=since), pairs, company=company, inbound=inbound)


def reachable(snapshot: Snapshot, customers: pd.Series, *, company: Company) -> pd.DataFrame:
    """Return the pairs of customer_id and channel that the company may contact now, of the customers in question."""
    asked = permitted(snapshot, customers.to_frame("customer_id"), company=company)
    return asked.loc[asked["allowed"], ["customer_id", "channel"]].reset_index(drop=True)


def judged(
    past: History, pairs: pd.DataFrame | None = None, *, company: Company, inbound: bool = False
) -> pd.DataFrame:
    """Return the answer of ``permitted`` on a history already read."""
    asked = _asked(pairs, past, company)
    place = pd.Index(past.customers["customer_id"]).get_indexer(asked["customer_id"])
    refusals = _refusals(past, company, inbound=inbound)
    code = np.where(place < 0, "unknown_customer", "").astype(object)
    until = np.full(len(asked), np.datetime64("NaT"), "datetime64[us]")
    detail = np.full(len(asked), "", object)
    for channel in asked["channel"].unique():
        rows = np.flatnonzero((asked["channel"] == channel).to_numpy() & (place >= 0))
        for refusal in refusals:
            if refusal.channel not in ("", channel):
                continue
            hit = rows[refusal.refused[place[rows]] & (code[rows] == "")]
            code[hit], detail[hit] = refusal.code, refusal.detail
            until[hit] = refusal.until[place[hit]]
    out = {"allowed": code == "", "code": pd.array(code, dtype="str"), "until": until, "detail": detail.astype(str)}
    return asked.assign(**out).astype({"detail": "str"})[COLUMNS]


def history(
    snapshot: Snapshot, *, company: Company, at: dt.datetime | None = None, since: pd.DataFrame | None = None
) -> History:
    """Read what the policy looks at; arguments as in ``permitted``."""
    rules = company.contact_policy
    moment = at or cutoff(snapshot.as_of)
    people = snapshot.table("customers", ["customer_id", "person_id", "household_id", "closed_on"])
    people = people.sort_values("customer_id", ignore_index=True)
    alone = pd.Series("\0" + people["customer_id"].astype(str), index=people.index)
    customers = pd.DataFrame(
        {
            "customer_id": people["customer_id"],
            "household": pd.factorize(
                people["household_id"].astype(object).where(people["household_id"].notna(), alone)
            )[0],
            "left": people["closed_on"].notna(),
            "holdout": _held_out(snapshot, people, rules),
        }
    )
    complaints = snapshot.table("complaints", ["customer_id", "opened_at", "resolved_at"])
    made = _contacts(snapshot, rules, since=moment - dt.timedelta(days=_reach(rules)))
    if since is not None and len(since):
        made = pd.concat([made, since.reindex(columns=made.columns)], ignore_index=True)
    place = pd.Index(customers["customer_id"]).get_indexer(made["customer_id"])
    outcome = made["outcome"]
    contacts = pd.DataFrame(
        {
            "customer": place,
            "channel": made["channel"].astype(str),
            "occurred_at": made["occurred_at"].astype("datetime64[us]"),
            "ignored": (outcome.isna() | outcome.isin(IGNORED)).to_numpy(bool),
            "planned": outcome.eq(PLANNED).fillna(False).to_numpy(bool),
        }
    )
    known = contacts[(place >= 0) & (contacts["occurred_at"] < moment)].reset_index(drop=True)
    return History(moment, customers, known, snapshot.table("consents"), complaints)


def _reach(rules: ContactPolicy) -> int:
    """Return how many days back a contact can still matter."""
    silence = rules.ignored_within_days + rules.silent_days if rules.ignored_contacts else 0
    return max([limit.days for limit in rules.limits] + [silence, 0])


def _contacts(snapshot: Snapshot, rules: ContactPolicy, *, since: dt.datetime) -> pd.DataFrame:
    rows = snapshot.select("contacts").subquery("known")
    names = ["customer_id", "channel", "occurred_at", "outcome"]
    made = sa.select(*[rows.c[name] for name in names]).where(
        rows.c.direction == "out", rows.c.purpose.in_(rules.purposes), rows.c.occurred_at >= since
    )
    return snapshot.warehouse.read(made)


def _held_out(snapshot: Snapshot, people: pd.DataFrame, rules: ContactPolicy) -> np.ndarray:
    members = snapshot.select("campaign_members").subquery("known")
    campaigns = snapshot.select("campaigns").subquery("announced")
    others = sa.select(campaigns.c.campaign_id).where(campaigns.c.goal == HOLDOUT_GOAL)
    named = sa.or_(members.c.campaign_id == HOLDOUT_CAMPAIGN, members.c.campaign_id.in_(others))
    chosen = sa.select(members.c.customer_id).where(named, members.c.control)
    listed = people["customer_id"].astype(object).isin(snapshot.warehouse.read(chosen)["customer_id"].astype(object))
    if not rules.holdout_share:
        return listed.to_numpy()
    person = people["person_id"].astype(object).where(people["person_id"].notna(), people["customer_id"])
    return listed.to_numpy() | holdout(person, share=rules.holdout_share, key=rules.holdout_key)


def holdout(persons: pd.Series, *, share: float, key: str) -> np.ndarray:
    """Return whether each person belongs to the hold-out: the same persons for the same key, whoever else is there.

    >>> holdout(pd.Series(["a", "b", "c"]), share=0.5, key="k").tolist()
    [False, False, True]
    """
    secret = hashlib.sha256(key.encode()).digest()
    draws = [hashlib.blake2b(str(name).encode(), key=secret, digest_size=8).digest() for name in persons]
    number = np.frombuffer(b"".join(draws), dtype=">u8").astype(float) / 2.0**64
    return number < share


def _asked(pairs: pd.DataFrame | None, past: History, company: Company) -> pd.DataFrame:
    channels = sorted(company.contact_costs_minor)
    if pairs is None:
        pairs = past.customers[["customer_id"]]
    if "channel" in pairs:
        unknown = sorted(set(pairs["channel"].astype(str)) - set(channels))
        if unknown:
            raise UsageError(
                f"channel {unknown[0]!r} has no cost of contact; known are {', '.join(channels)} "
                "(contact_costs_minor in company.toml)"
            )
        return pairs[["customer_id", "channel"]].astype("str").reset_index(drop=True)
    everyone = pairs["customer_id"].drop_duplicates().to_numpy()
    columns = {"customer_id": np.tile(everyone, len(channels)), "channel": np.repeat(channels, len(everyone))}
    return pd.DataFrame(columns).astype("str")


@dataclass(frozen=True)
class _Refusal:
    """One rule over all customers: whom it refuses by a channel ("": any), and until when."""

    code: str
    refused: np.ndarray
    until: np.ndarray
    channel: str = ""
    detail: str = ""


def _refusals(past: History, company: Company, *, inbound: bool) -> list[_Refusal]:
    """Return the rules in the order of ``CODES``."""
    rules = company.contact_policy
    never = np.full(len(past.customers), np.datetime64("NaT"), "datetime64[us]")
    found = [_Refusal(name, past.customers[name].to_numpy(bool), never) for name in ("left", "holdout")]
    if not inbound:
        found += _without_consent(past, company, never)
    found += _complaints(past, rules, never)
    if not inbound:
        found += _silenced(past, rules)
        for per in ("customer", "household"):
            found += [_reached(past, limit) for limit in rules.limits if limit.per == per]
    return found


def _without_consent(past: History, company: Company, never: np.ndarray) -> list[_Refusal]:
    # As objects: pandas looks texts of its own up one by one.
    everyone = past.customers["customer_id"].astype(object)
    consents = past.consents.astype({"customer_id": object})
    out = []
    for purpose in company.contact_policy.consent_purposes:
        allowed = call_list.permitted(consents, everyone, company=company, purpose=purpose)
        for channel, rows in allowed.groupby("channel", sort=False):
            refused = ~everyone.isin(rows["customer_id"]).to_numpy()
            out.append(_Refusal("no_consent", refused, never, str(channel), json.dumps({"purpose": purpose})))
        for channel in sorted(set(company.contact_costs_minor) - set(allowed["channel"])):
            nobody = np.ones(len(everyone), bool)
            out.append(_Refusal("no_consent", nobody, never, channel, json.dumps({"purpose": purpose})))
    return out


def _complaints(past: History, rules: ContactPolicy, never: np.ndarray) -> list[_Refusal]:
    everyone, said = past.customers["customer_id"].astype(object), past.complaints.astype({"customer_id": object})
    out = []
    if rules.open_complaint_silences:
        still_open = said.loc[said["resolved_at"].isna(), "customer_id"]
        out.append(_Refusal("open_complaint", everyone.isin(still_open).to_numpy(), never))
    if rules.complaint_days:
        last = said.groupby("customer_id")["resolved_at"].max().reindex(everyone).to_numpy("datetime64[us]")
        until = last + np.timedelta64(rules.complaint_days, "D")
        detail = json.dumps({"days": rules.complaint_days})
        out.append(_Refusal("recent_complaint", _after(until, past.at), until, detail=detail))
    return out


def _silenced(past: History, rules: ContactPolicy) -> list[_Refusal]:
    """Refuse who ignored so many contacts since the last answer, each within the days of the newest of them."""
    if not rules.ignored_contacts:
        return []
    made = past.contacts[~past.contacts["planned"]]
    made = made.sort_values(["customer", "occurred_at"], ascending=[True, False], kind="stable")
    answered = (~made["ignored"]).groupby(made["customer"]).cumsum()
    ignored = made[answered == 0]
    newest = _nth_newest(ignored["customer"], ignored["occurred_at"], 1, len(past.customers))
    counted = _nth_newest(ignored["customer"], ignored["occurred_at"], rules.ignored_contacts, len(past.customers))
    close = newest - counted <= np.timedelta64(rules.ignored_within_days, "D")
    until = np.where(close, newest + np.timedelta64(rules.silent_days, "D"), np.datetime64("NaT"))
    detail = {"contacts": rules.ignored_contacts, "within_days": rules.ignored_within_days, "days": rules.silent_days}
    return [_Refusal("ignored", _after(until, past.at), until, detail=json.dumps(detail))]


def _reached(past: History, limit: Limit) -> _Refusal:
    """Refuse whose limit is used up: the n-th newest contact still lies within the days."""
    owner, made, number = _counted(past, limit)
    until = _nth_newest(owner, made["occurred_at"], limit.contacts, number) + np.timedelta64(limit.days, "D")
    if limit.per == "household":
        until = until[past.customers["household"].to_numpy()]
    detail = json.dumps({"contacts": limit.contacts, "days": limit.days})
    return _Refusal(f"limit_{limit.per}", _after(until, past.at), until, limit.channel, detail)


def _counted(past: History, limit: Limit) -> tuple[pd.Series, pd.DataFrame, int]:
    """Return whose contacts a limit counts, newest first by owner, and the number of owners."""
    made = past.contacts if not limit.channel else past.contacts[past.contacts["channel"] == limit.channel]
    made = made.sort_values("occurred_at", ascending=False, kind="stable")
    if limit.per == "customer":
        return made["customer"], made, len(past.customers)
    household = past.customers["household"].to_numpy()
    owner = pd.Series(household[made["customer"].to_numpy()], index=made.index)
    return owner, made, int(household.max(initial=-1)) + 1


def _after(moments: np.ndarray, at: dt.datetime) -> np.ndarray:
    return np.asarray(moments > np.datetime64(at))


def _nth_newest(owner: pd.Series, moment: pd.Series, n: int, number: int) -> np.ndarray:
    """Return the n-th of each owner's moments, which come newest first; NaT where there are fewer."""
    out = np.full(number, np.datetime64("NaT"), "datetime64[us]")
    chosen = (owner.groupby(owner).cumcount() == n - 1).to_numpy()
    out[owner.to_numpy()[chosen]] = moment.to_numpy("datetime64[us]")[chosen]
    return out


def contacts_left(past: History, *, company: Company, per: str, channel: str = "") -> np.ndarray:
    """Return how many contacts the limits still allow at ``past.at``: one number a customer, or a household by its number.

    In: ``per`` "customer" or "household", ``channel`` the limits of one channel ("": those over all). Where no limit
    applies the number is 2**15 - 1.
    """
    number = len(past.customers) if per == "customer" else int(past.customers["household"].max()) + 1
    left = np.full(number, np.iinfo(np.int16).max, np.int16)
    for limit in company.contact_policy.limits:
        if (limit.per, limit.channel) == (per, channel):
            owner, made, owners = _counted(past, limit)
            recent = (made["occurred_at"] + pd.Timedelta(days=limit.days) > past.at).to_numpy()
            used = np.bincount(owner.to_numpy()[recent], minlength=owners)
            left = np.minimum(left, np.maximum(limit.contacts - used, 0)).astype(np.int16)
    return left
