"""What to offer at the desk, what not and why: eligibility, what was said before, and expected value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crmlib.decisions.desk_history import Code, Past, fitting


@dataclass(frozen=True)
class Pauses:
    """How long an offer rests after what came of it, in days.

    ``refused_days`` after a no, ``accepted_days`` after a yes (until the contract is in the warehouse), ``ignored_days``
    after the last of ``ignored_offers`` offers in a row, within ``ignored_within_days``, that got no answer.
    """

    refused_days: int = 90
    accepted_days: int = 90
    ignored_days: int = 30
    ignored_offers: int = 2
    ignored_within_days: int = 90


@dataclass(frozen=True)
class Offer:
    """An offer, ranked by value.

    ``probability`` (``low`` to ``high``: its interval) of a purchase within the days the model was fitted for;
    ``value_minor`` is lever × probability × margin × retention in minor units of the company's currency: the contact is
    made anyway, so it costs nothing. ``reasons`` and ``occasions`` are codes with parameters.
    """

    product_id: str
    rank: int
    probability: float
    low: float
    high: float
    margin_minor: float
    retention: float
    lever: float
    value_minor: float
    reasons: tuple[Code, ...] = ()
    occasions: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Avoid:
    """A product that is not to be offered: ``reason`` is a code with parameters; ``until`` when it may be again."""

    product_id: str
    reason: Code
    until: dt.date | None = None


def resting(past: Iterable[Past], pauses: Pauses, *, as_of: dt.date, now: dt.datetime) -> dict[str, Avoid]:
    """Return the products that rest after what came of earlier offers.

    What the warehouse knows counts as of the end of ``as_of``, what happened at the desk since as of ``now``. The last
    answer decides; offers without an answer count from there on.
    """
    out = {}
    by_product: dict[str, list[Past]] = {}
    for one in past:
        by_product.setdefault(one.product_id, []).append(one)
    for product, own in by_product.items():
        newest_first = sorted(own, key=lambda one: (one.source == "desk", one.at), reverse=True)
        found = _rests(product, newest_first, pauses, as_of=as_of, now=now)
        if found is not None:
            out[product] = found
    return out


def _rests(product: str, past: Sequence[Past], pauses: Pauses, *, as_of: dt.date, now: dt.datetime) -> Avoid | None:
    ignored = []
    for one in past:
        if one.outcome not in ("offered", "unanswered"):
            found = _answered(product, one, pauses)
            today = now.date() if one.source == "desk" else as_of
            if found is not None and found.until is not None and today < found.until:
                return found
            break
        ignored.append(one)
    counted = ignored[: pauses.ignored_offers]
    if len(counted) < pauses.ignored_offers:
        return None
    if counted[0].at - counted[-1].at > dt.timedelta(days=pauses.ignored_within_days):
        return None
    until = counted[0].at.date() + dt.timedelta(days=pauses.ignored_days)
    today = now.date() if counted[0].source == "desk" else as_of
    reason = {"code": "offer_ignored", "times": len(ignored), "on": counted[0].at.date()}
    return Avoid(product, reason, until) if today < until else None


def _answered(product: str, one: Past, pauses: Pauses) -> Avoid | None:
    on = one.at.date()
    told = {"on": on, "channel": one.channel, "source": one.source}
    if one.outcome == "later":
        return Avoid(product, {"code": "offer_later", **told}, one.due) if one.due else None
    if one.outcome == "accepted" and one.source != "desk":
        return None  # whether it led to a contract is in the warehouse, and eligibility knows it
    days = pauses.refused_days if one.outcome == "refused" else pauses.accepted_days
    return Avoid(product, {"code": f"offer_{one.outcome}", **told}, on + dt.timedelta(days=days))


def ranked(scores: pd.DataFrame, terms: Mapping[str, Mapping[str, Any]], blocked: Iterable[str]) -> list[Offer]:
    """Return the offers that may be made and are worth something, the most valuable first.

    In: ``scores`` with product_id, score, low, high; ``terms`` by product as of ``value.terms``; ``blocked`` products.
    """
    out = []
    refused = set(blocked)
    columns = [scores[name].tolist() for name in ("product_id", "score", "low", "high")]
    for product, score, low, high in zip(*columns, strict=True):
        if product in refused or product not in terms:
            continue
        term = terms[product]
        margin, retention, lever = (float(term[name]) for name in ("margin_minor", "retention", "lever"))
        value = lever * score * margin * retention
        if value > 0:
            out.append(Offer(product, 0, score, low, high, margin, retention, lever, value))
    return sorted(out, key=lambda one: (-one.value_minor, one.product_id))


def hints(
    occasions: Sequence[Code], attributes: Mapping[str, Mapping[str, Any]], blocked: Iterable[str]
) -> dict[str, tuple[Code, ...]]:
    """Return the products that answer an occasion in the household and may be offered, with those occasions."""
    refused = set(blocked)
    found = {
        product: tuple(one for one in occasions if fitting(told, one))
        for product, told in attributes.items()
        if product not in refused
    }
    return {product: own for product, own in found.items() if own}


def follow_up(past: Sequence[Past], allowed: Sequence[str], *, preferred: str | None, costs: Mapping[str, int]) -> Code:
    """Return the best channel to come back on: the one asked for, else where offers were most often accepted.

    Shares are smoothed by one acceptance in ten offers, so that a single success does not decide; the cheaper channel
    wins a tie. {"code": "no_channel"} where the customer consents to none.
    """
    if not allowed:
        return {"code": "no_channel"}
    wished = {"contact centre": "call"}.get(preferred or "", preferred)
    if wished in allowed:
        return {"code": "channel_preferred", "channel": wished}
    tried: dict[str, list[bool]] = {channel: [] for channel in allowed}
    for one in past:
        if one.channel in tried:
            tried[one.channel].append(one.outcome == "accepted")
    best = min(allowed, key=lambda name: (-(sum(tried[name]) + 1) / (len(tried[name]) + 10), costs[name]))
    won = sum(tried[best])
    if won:
        return {"code": "channel_worked", "channel": best, "accepted": won, "offers": len(tried[best])}
    return {"code": "channel_cheapest" if not any(tried.values()) else "channel_untried", "channel": best}
