"""Whom to keep, and how: the action whose expected saving exceeds its cost, otherwise let go, decently.

What an action saves of a customer is the sum over the reasons of leaving of ``risk × (1 - relative risk)``, times what
the relationship is worth. The relative risks come from past campaigns with control groups (``models.retention``), at a
cautious setting; the caller hands them in as a table. Of all permitted actions those are taken that together leave
most after their costs, within capacities and the limits of the contact policy (``allocation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crmlib.decisions import allocation, policy
from crmlib.decisions.allocation import Chunk, Problem
from crmlib.decisions.retention_worth import Known, Worth, worth
from crmlib.errors import UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.objections import objectors
from crmlib.warehouse.snapshot import Snapshot

COLUMNS = [
    *("customer_id", "as_of", "action", "code", "risk_90", "reason", "saved", "value_at_stake_minor"),
    *("saving_minor", "cost_minor", "net_minor", "wanted", "wanted_net_minor"),
]
PAYS = "pays"
LET_GO = ("brings_nothing", "cannot_be_prevented", "annoyed_by_calls", "costs_more")
"""Why a customer who may leave is let go, decently: no action saves more than it costs."""
BLOCKED = (
    "no_consent",
    "open_complaint",
    "recent_complaint",
    "ignored",
    "limit_customer",
    "limit_household",
    "capacity",
)
"""Why an action that would pay is not taken."""
UNKNOWN = ("not_scored", "value_unknown", "effect_unknown")
"""What is missing for a decision."""
LEFT_ALONE = ("profiling_objected", "holdout", "ordinary_risk", "little_at_stake")
"""Who is left alone: by their own wish, to measure against, or since they are hardly about to leave or little is at stake."""
ELEVATED = 2.0
"""Times the average risk from which a customer counts as about to leave, so that doing nothing is letting go."""
CODES = (PAYS, *LET_GO, *BLOCKED, *UNKNOWN, *LEFT_ALONE)


@dataclass(frozen=True, eq=False)
class Decided:
    """What is done about each customer.

    Attributes: ``table`` one row per customer with an open relationship, the columns of ``COLUMNS``: ``action`` a channel
    or "", ``code`` one of ``CODES``, ``saved`` the probability of leaving that the action takes away, ``wanted`` the
    channel that would leave most if nothing stood in its way ("": none would pay) with what it would leave; ``limits``
    one row per channel: channel, limit, used, price_minor (what one more contact would save).
    """

    table: pd.DataFrame
    limits: pd.DataFrame


def decide(
    snapshot: Snapshot,
    known: Known,
    *,
    company: Company,
    capacities: Mapping[str, int] | None = None,
    since: pd.DataFrame | None = None,
) -> Decided:
    """Return for every customer the retention action that leaves most, or why there is none.

    In: ``capacities`` contacts by channel (None: the company's; a channel not named has no limit); ``since`` contacts
    that the warehouse does not hold yet, see ``policy.permitted``. Who objected to profiling is not judged at all.

    Raises DataError for risks outside 0 to 1, a customer twice in a table or an effect that is no relative risk,
    UsageError for a channel without a cost or a negative capacity.
    """
    limits = _capacities(company.capacities if capacities is None else capacities, company)
    past = policy.history(snapshot, company=company, since=since)
    people = past.customers[~past.customers["left"]].sort_values(["household", "customer_id"], kind="stable")
    ids = pd.Index(people["customer_id"])
    found = worth(ids, known, company)
    judged = policy.judged(past, people[["customer_id"]], company=company)
    refused = _policy_codes(judged, ids, found.channels)
    objected = ids.isin(objectors(snapshot))
    usable = ~objected & np.isfinite(found.risk) & np.isfinite(found.value)
    possible = np.where((refused == "") & usable[:, None], found.net, -np.inf)
    room = _room(past, people, company, found.channels)
    chosen, used, prices = _allocated(possible, room, found.channels, limits)
    table = _table(ids, known, found, chosen, snapshot)
    family = _family_first(people["household"].to_numpy(), chosen, room)
    held_out = people["holdout"].to_numpy(bool)
    table["code"] = _codes(table, found, refused, objected=objected, held_out=held_out, family=family)
    table.loc[objected, ["risk_90", "value_at_stake_minor"]] = np.nan
    table.loc[objected, "wanted_net_minor"] = 0.0
    table.loc[objected, ["reason", "wanted"]] = ""
    stated = [float(limits.get(channel, np.inf)) for channel in found.channels]
    scarce = pd.DataFrame({"channel": found.channels, "limit": stated, "used": used, "price_minor": prices})
    return Decided(table.sort_values("customer_id", ignore_index=True)[COLUMNS], scarce)


def _capacities(given: Mapping[str, int], company: Company) -> dict[str, int]:
    for name, contacts in given.items():
        if name not in company.contact_costs_minor:
            known = ", ".join(sorted(company.contact_costs_minor))
            raise UsageError(f"capacities: channel {name!r} has no cost of contact; known are {known}")
        if contacts < 0:
            raise UsageError(f"capacities: {name} is {contacts}; give the contacts it can make, 0 or more")
    return dict(given)


def _policy_codes(judged: pd.DataFrame, ids: pd.Index, channels: list[str]) -> np.ndarray:
    """Return why each customer (rows) may not be contacted by each channel (columns), "" where allowed."""
    out = np.full((len(ids), len(channels)), "", dtype=object)
    for column, channel in enumerate(channels):
        rows = judged[judged["channel"] == channel]
        out[ids.get_indexer(pd.Index(rows["customer_id"])), column] = rows["code"].to_numpy(object)
    return out


def _room(past: policy.History, people: pd.DataFrame, company: Company, channels: list[str]) -> Chunk:
    """Return how many contacts the policy leaves to customers and households, as a chunk still without values."""
    household = people["household"].to_numpy()
    by_channel = [policy.contacts_left(past, company=company, per="household", channel=name) for name in channels]
    return Chunk(
        np.zeros((len(channels), len(people)), np.float32),
        slots=policy.contacts_left(past, company=company, per="customer")[people.index.to_numpy()],
        household=household,
        household_slots=policy.contacts_left(past, company=company, per="household")[household]
        if len(people)
        else None,
        household_channel_slots=np.stack([left[household] for left in by_channel]) if channels else None,
    )


def _allocated(
    possible: np.ndarray, room: Chunk, channels: list[str], limits: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the channel (place) chosen for each customer, -1 for none; contacts used and their price by channel."""
    number = len(channels)
    if not possible.size:
        return np.full(len(possible), -1), np.zeros(number), np.zeros(number)
    chunk = replace(room, values=possible.T.astype(np.float32))
    found = allocation.solve(
        Problem(
            chunks=lambda: iter([chunk]),
            product=np.zeros(number, dtype=int),
            uses=np.eye(number),
            weighted=np.zeros((number, number)),
            limits=np.array([float(limits.get(name, np.inf)) for name in channels]),
            channel=np.arange(number),
        )
    )
    return found.picked[0].astype(int), found.used, found.prices


def _family_first(household: np.ndarray, chosen: np.ndarray, room: Chunk) -> np.ndarray:
    """Say whose household's limit was used up by others of the household."""
    if room.household_slots is None or not len(chosen):
        return np.zeros(len(chosen), bool)
    taken = np.bincount(household, weights=chosen >= 0)[household]
    full = taken >= room.household_slots
    for channel, left in enumerate(() if room.household_channel_slots is None else room.household_channel_slots):
        full |= np.bincount(household, weights=chosen == channel)[household] >= left
    return full & (taken > 0) & (chosen < 0)


def _table(ids: pd.Index, known: Known, found: Worth, chosen: np.ndarray, snapshot: Snapshot) -> pd.DataFrame:
    names = np.array([*found.channels, ""], dtype=object)
    rows, acts = np.arange(len(ids)), chosen >= 0
    place = np.maximum(chosen, 0)

    def own(values: np.ndarray) -> np.ndarray:
        return np.where(acts, values[rows, place] if found.channels else 0.0, 0.0)

    saved = own(found.saved)
    cost = np.where(acts, found.cost[place] if found.channels else 0.0, 0.0)
    wanted, best = _wanted(found)
    saving = np.where(acts, saved * np.nan_to_num(found.value), 0.0)
    reason = known.risk.set_index("customer_id")["reason"].reindex(ids).fillna("").to_numpy(object)
    out = {
        "customer_id": ids,
        "as_of": pd.Timestamp(snapshot.as_of).as_unit("us"),
        "action": pd.array(names[chosen], dtype="str"),
        "risk_90": found.risk,
        "reason": pd.array(reason, dtype="str"),
        "saved": saved,
        "value_at_stake_minor": found.value,
        "saving_minor": saving,
        "cost_minor": cost,
        "net_minor": saving - cost,
        "wanted": pd.array(names[wanted], dtype="str"),
        "wanted_net_minor": best,
    }
    return pd.DataFrame(out)


def _wanted(found: Worth) -> tuple[np.ndarray, np.ndarray]:
    """Return the channel (place) that would leave most if nothing stood in its way, -1 for none, and what it would leave."""
    if not found.channels:
        return np.full(len(found.risk), -1), np.zeros(len(found.risk))
    net = np.where(np.isfinite(found.net), found.net, -np.inf)
    best = net.max(axis=1)
    return np.where(best > 0, net.argmax(axis=1), -1), np.where(best > 0, best, 0.0)


def _codes(
    table: pd.DataFrame,
    found: Worth,
    refused: np.ndarray,
    *,
    objected: np.ndarray,
    held_out: np.ndarray,
    family: np.ndarray,
) -> np.ndarray:
    """Return the code of each customer's action, or of why there is none; of several the first that holds."""
    place = pd.Index(found.channels, dtype=object).get_indexer(pd.Index(table["wanted"], dtype=object))
    pays = place >= 0
    nothing = not found.channels
    blocking = (
        np.full(len(table), "", dtype=object) if nothing else refused[np.arange(len(table)), np.maximum(place, 0)]
    )
    stake = np.nan_to_num(found.risk) * np.nan_to_num(found.value)
    average = float(np.nanmean(found.risk)) if np.isfinite(found.risk).any() else 0.0
    cases: list[tuple[str | np.ndarray, np.ndarray]] = [
        (PAYS, (table["action"] != "").to_numpy(bool)),
        ("profiling_objected", objected),
        ("not_scored", ~np.isfinite(found.risk)),
        ("value_unknown", ~np.isfinite(found.value)),
        ("holdout", held_out),
        (blocking, pays & (blocking != "")),
        ("limit_household", pays & family),
        ("capacity", pays),
        ("ordinary_risk", found.risk < ELEVATED * average),
        ("effect_unknown", np.full(len(table), nothing)),
        ("brings_nothing", found.value <= 0),
        ("little_at_stake", stake <= (0.0 if nothing else found.cost.min())),
        ("annoyed_by_calls", np.asarray((found.net_as_others > 0).any(axis=1))),
        ("cannot_be_prevented", np.asarray((found.net_any_reason > 0).any(axis=1))),
    ]
    code = np.full(len(table), "costs_more", dtype=object)
    for value, holds in reversed(cases):
        code = np.where(holds, value, code)
    return np.asarray(code, object)
