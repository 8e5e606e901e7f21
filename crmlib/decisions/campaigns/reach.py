"""Who may be contacted for a campaign, and why others may not: asked when people are assigned, and again at export.

The contact policy (``decisions.policy``) is asked as of the newest day with records. On top of it stands all that the
version holds by now: a withdrawal that reached the warehouse late counts from the moment it is known here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from crmlib.decisions import call_list, policy
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

ADDRESS = {"call": "phone", "sms": "phone", "email": "email", "mail": "postcode"}
"""What a channel needs to know of a customer. Where a warehouse has it of nobody, it is looked up elsewhere."""

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Reach:
    """What decides whom one may contact, as sets of customer_id.

    Attributes: ``known`` all customers; ``left`` those whose relationship ended; ``holdout`` those left alone by all
    campaigns; ``complaint`` those with an open complaint; ``permitted`` by channel those who consent;
    ``no_address`` by channel those whom it cannot reach; ``refused`` by channel the customers whom the contact policy
    refuses, with its code.
    """

    known: frozenset[str]
    left: frozenset[str]
    holdout: frozenset[str]
    complaint: frozenset[str]
    permitted: Mapping[str, frozenset[str]]
    no_address: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read(
    snapshot: Snapshot,
    *,
    channels: list[str],
    company: Company,
    at: dt.datetime,
    promised: pd.DataFrame | None = None,
) -> Reach:
    """Return who may be contacted by these channels at ``at`` (UTC), by all that the snapshot's version knows.

    ``promised`` are contacts that other campaigns have planned (customer_id, channel, occurred_at, outcome): they count
    for the limits of the contact policy.
    """
    names = ("customers", "consents", "complaints", "campaigns", "campaign_members")
    tables = {name: snapshot.warehouse.table(name) for name in names}
    own = found(tables, channels=channels, company=company, today=at.date())
    asked = policy.permitted(snapshot, company=using(company, channels), at=at, since=promised)
    refused: dict[str, dict[str, str]] = {}
    for channel, rows in asked[~asked["allowed"]].groupby("channel"):
        refused[str(channel)] = dict(zip(rows["customer_id"], rows["code"], strict=True))
    return replace(own, refused=refused)


def found(tables: Mapping[str, pd.DataFrame], *, channels: list[str], company: Company, today: dt.date) -> Reach:
    """Return who may be contacted by these channels, from canonical tables alone, without the contact policy's limits.

    In: ``tables`` customers, consents, complaints, campaigns, campaign_members; ``today`` the day on which somebody
    counts as having left. A channel without a cost in the company file needs consent all the same.
    """
    customers = tables["customers"].sort_values("valid_from", kind="stable").drop_duplicates("customer_id", keep="last")
    ended = customers["closed_on"].notna() & (pd.to_datetime(customers["closed_on"]) <= pd.Timestamp(today))
    complaints = tables["complaints"]
    silenced = complaints.loc[complaints["resolved_at"].isna(), "customer_id"]
    return Reach(
        known=frozenset(customers["customer_id"]),
        left=frozenset(customers.loc[ended, "customer_id"]),
        holdout=_held_out(tables["campaigns"], tables["campaign_members"]),
        complaint=frozenset(silenced) if company.contact_policy.open_complaint_silences else _NOBODY,
        permitted=_permitted(tables["consents"], customers["customer_id"], using(company, channels)),
        no_address={name: _without(customers, ADDRESS[name]) for name in channels if name in ADDRESS},
    )


def using(company: Company, channels: list[str]) -> Company:
    """Return the company as one that uses these channels: some of a plan may cost nothing it knows of."""
    return replace(company, contact_costs_minor=dict.fromkeys(channels, 0))


def _permitted(consents: pd.DataFrame, customers: pd.Series, company: Company) -> dict[str, frozenset[str]]:
    """Return by channel who consents to every purpose that the contact policy asks for."""
    # As Python's own texts, which are looked up many times faster than Arrow's.
    consents = consents.astype({"customer_id": object, "channel": object, "purpose": object})
    customers = customers.astype(object)
    out: dict[str, frozenset[str]] = {}
    for number, purpose in enumerate(company.contact_policy.consent_purposes or (call_list.PURPOSE,)):
        allowed = call_list.permitted(consents, customers, company=company, purpose=purpose)
        by_channel = {str(name): frozenset(rows) for name, rows in allowed.groupby("channel")["customer_id"]}
        for channel in company.contact_costs_minor:
            new = by_channel.get(channel, _NOBODY)
            out[channel] = out[channel] & new if number else new
    return out


def _without(customers: pd.DataFrame, column: str) -> frozenset[str]:
    empty = customers[column].isna()
    return _NOBODY if empty.all() else frozenset(customers.loc[empty, "customer_id"])


def _held_out(campaigns: pd.DataFrame, members: pd.DataFrame) -> frozenset[str]:
    universal = {policy.HOLDOUT_CAMPAIGN, *campaigns.loc[campaigns["goal"] == policy.HOLDOUT_GOAL, "campaign_id"]}
    rows = members[members["campaign_id"].isin(universal)]
    return frozenset(rows.loc[rows["control"].astype(bool), "customer_id"])


def codes(reach: Reach, customers: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return why each pair of customer and channel may not be contacted, by the codes of the contact policy; else "".

    >>> nobody = frozenset()
    >>> reach = Reach(frozenset("ab"), nobody, nobody, frozenset("b"), {"call": frozenset("ab")})
    >>> codes(reach, np.array(["a", "b", "x"]), np.array(["call"] * 3)).tolist()
    ['', 'open_complaint', 'unknown_customer']
    """
    out = []
    for customer, channel in zip(customers.tolist(), channels.tolist(), strict=True):
        if customer not in reach.known:
            out.append("unknown_customer")
        elif customer in reach.left:
            out.append("left")
        elif customer in reach.holdout:
            out.append("holdout")
        elif customer not in reach.permitted.get(channel, _NOBODY):
            out.append("no_consent")
        elif customer in reach.complaint:
            out.append("open_complaint")
        elif customer in reach.no_address.get(channel, _NOBODY):
            out.append("no_address")
        else:
            out.append(reach.refused.get(channel, {}).get(customer, ""))
    return np.array(out, dtype=object)


def matrix(reach: Reach, customers: np.ndarray, channels: list[str]) -> np.ndarray:
    """Return the codes of refusal of each customer (rows) by each channel (columns)."""
    columns = [codes(reach, customers, np.full(len(customers), channel, dtype=object)) for channel in channels]
    return np.stack(columns, axis=1) if columns else np.empty((len(customers), 0), dtype=object)
