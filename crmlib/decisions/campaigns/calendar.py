"""Dates of campaigns: how many contacts on which day, and which campaigns get into each other's way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

CLASHES = ("customers", "product", "capacity")
SCHEDULE = ["channel", "day", "contacts", "cost_minor"]


@dataclass(frozen=True, eq=False)
class Entry:
    """A campaign in the calendar.

    Attributes: ``source`` "plan" (of this workbench) or "warehouse"; ``state`` draft, approved, assigned, finished,
    cancelled, or of the warehouse's planned, running, past; ``customers`` who are in it (its audience, while it is a
    draft), None where nobody counted; ``schedule`` contacts by channel and day (``schedule``'s table).
    """

    campaign_id: str
    name: str
    source: str
    state: str
    starts_on: dt.date
    ends_on: dt.date
    products: frozenset[str]
    channels: frozenset[str]
    customers: pd.Index | None
    schedule: pd.DataFrame
    capacities: Mapping[str, int]


def schedule(
    counts: Mapping[str, int],
    *,
    days: list[dt.date],
    capacities: Mapping[str, int],
    costs: Mapping[str, float],
) -> pd.DataFrame:
    """Return the contact plan: on each day as many contacts by a channel as it can make, the earliest days first.

    In: ``counts`` and mean ``costs`` (minor units) of contacts by channel; ``capacities`` a day, none where missing.
    Out: channel, day, contacts, cost_minor; days without contacts are left out.

    >>> days = [dt.date(2026, 1, 5), dt.date(2026, 1, 6)]
    >>> schedule({"call": 5}, days=days, capacities={"call": 3}, costs={"call": 500.0})["contacts"].tolist()
    [3, 2]
    """
    rows = []
    for channel, wanted in counts.items():
        left = int(wanted)
        for day in days:
            done = min(left, capacities.get(channel, left))
            if done:
                rows.append((channel, day, done, done * costs[channel]))
            left -= done
    return pd.DataFrame(rows, columns=SCHEDULE)


def day_of_contact(channels: pd.Series, *, days: list[dt.date], capacities: Mapping[str, int]) -> pd.Series:
    """Return the day on which each row of a list is contacted, in the order of the list; empty where no day is left.

    >>> days = [dt.date(2026, 1, 5), dt.date(2026, 1, 6)]
    >>> day_of_contact(pd.Series(["call"] * 3), days=days, capacities={"call": 2}).dt.day.tolist()
    [5, 5, 6]
    """
    place = channels.groupby(channels).cumcount()
    most = channels.map(lambda name: capacities.get(name, len(channels) + 1)).astype(float)
    number = np.minimum(np.floor((place / most).to_numpy(float)).astype(int), len(days))
    known = np.array([*days, None], dtype="datetime64[us]")
    return pd.Series(known[number], index=channels.index)


def clashes(campaign: Entry, others: list[Entry]) -> pd.DataFrame:
    """Return what a campaign shares with others on the days on which they overlap.

    Out: one row per other campaign and kind of clash: campaign_id, name, kind, first_day, last_day (of the overlap),
    what (the product or channel; empty for customers) and number: customers in both; for "capacity" the contacts planned
    above what the channel can do on its worst day; 0 for "product".
    """
    rows = []
    for other in others:
        first, last = max(campaign.starts_on, other.starts_on), min(campaign.ends_on, other.ends_on)
        if other.campaign_id == campaign.campaign_id or other.state == "cancelled" or first > last:
            continue
        head = (other.campaign_id, other.name)
        if campaign.customers is not None and other.customers is not None:
            shared = int(campaign.customers.isin(other.customers).sum())
            if shared:
                rows.append((*head, "customers", first, last, "", shared))
        rows.extend((*head, "product", first, last, name, 0) for name in sorted(campaign.products & other.products))
        rows.extend((*head, "capacity", first, last, name, over) for name, over in _overloads(campaign, other))
    return pd.DataFrame(rows, columns=["campaign_id", "name", "kind", "first_day", "last_day", "what", "number"])


def _overloads(one: Entry, other: Entry) -> list[tuple[str, int]]:
    found = []
    for channel in sorted(one.channels & other.channels):
        limits = [entry.capacities[channel] for entry in (one, other) if channel in entry.capacities]
        if not limits:
            continue
        both = pd.concat([entry.schedule[entry.schedule["channel"] == channel] for entry in (one, other)])
        shared = both[both.duplicated("day", keep=False)]
        over = int(shared.groupby("day")["contacts"].sum().max() - max(limits)) if len(shared) else 0
        if over > 0:
            found.append((channel, over))
    return found
