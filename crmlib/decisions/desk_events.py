"""What an operator did with an offer: stored at once, and seen at the next contact before any load brings it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import desk_offers
from crmlib.decisions.desk_history import Past
from crmlib.errors import UsageError
from crmlib.store import session
from crmlib.store.tables import DeskEvent
from crmlib.warehouse.snapshot import cutoff

OUTCOMES = ("offered", "accepted", "refused", "later")
LATER_DAYS = 30
"""Days after which an offer put off falls due, unless another day was agreed."""
_LONGEST = 128


def record(
    data: Path,
    customer_id: str,
    product_id: str,
    *,
    outcome: str,
    channel: str,
    actor: str,
    now: dt.datetime,
    shown: Mapping[str, Any] | None = None,
) -> int:
    """Store what came of an offer and return the number of the event.

    In: ``outcome`` one of ``OUTCOMES``; ``now`` the UTC time; ``shown`` what the prompt said, as JSON can hold it; its
    "due" (YYYY-MM-DD) says until when an offer was put off. Raises UsageError, and stores nothing, for an unknown
    outcome, an empty or overlong name, a due day that is none or not in the future.
    """
    if outcome not in OUTCOMES:
        raise UsageError(f"outcome is {outcome!r}; use one of {', '.join(OUTCOMES)}")
    for name, value in (
        ("customer_id", customer_id),
        ("product_id", product_id),
        ("channel", channel),
        ("actor", actor),
    ):
        longest = 32 if name == "channel" else _LONGEST
        if not value or len(value) > longest:
            raise UsageError(f"{name} is {value[:40]!r}; give a text of 1 to {longest} characters")
    told = dict(shown or {})
    if outcome == "later":
        told["due"] = str(_due(told.get("due"), now))
    with session.session(data) as store:
        event = DeskEvent(
            customer_id=customer_id,
            product_id=product_id,
            happened_at=now,
            channel=channel,
            outcome=outcome,
            actor=actor,
            shown=told,
        )
        store.add(event)
        store.commit()
        return event.event_id


def resting(data: Path, *, as_of: dt.date, pauses: desk_offers.Pauses | None = None) -> pd.DataFrame:
    """Return what is not to be offered the day after ``as_of``, for what was answered at the desk up to now.

    Out: customer_id, product_id and code (offer_refused, offer_accepted, offer_later, offer_ignored; see
    ``desk_offers.resting``). What was answered after ``as_of`` counts too: no decision forgets what a customer just said.
    """
    query = (
        sa.select(DeskEvent.customer_id, DeskEvent.product_id, DeskEvent.happened_at, DeskEvent.channel)
        .add_columns(DeskEvent.outcome, DeskEvent.shown["due"].as_string())  # not the whole prompt, of everybody
        .order_by(DeskEvent.customer_id, DeskEvent.happened_at.desc(), DeskEvent.event_id.desc())
    )
    said: dict[str, list[Past]] = {}
    with session.engine(data).connect() as store:
        for customer, product, at, channel, outcome, due in store.execute(query):
            past = Past(product, at, channel, outcome, "desk", due=_read_due({"due": due}))
            said.setdefault(customer, []).append(past)
    given, now = pauses or desk_offers.Pauses(), cutoff(as_of)
    rows = [
        (customer, product, found.reason["code"])
        for customer, own in said.items()
        for product, found in desk_offers.resting(own, given, as_of=as_of, now=now).items()
    ]
    return pd.DataFrame(rows, columns=["customer_id", "product_id", "code"], dtype="str")


def of_customer(data: Path, customer_id: str, *, before: dt.datetime) -> list[Past]:
    """Return what happened at the desk with a customer up to a UTC time, the newest first."""
    query = (
        sa.select(DeskEvent.product_id, DeskEvent.happened_at, DeskEvent.channel, DeskEvent.outcome)
        .add_columns(DeskEvent.actor, DeskEvent.shown)
        .where(DeskEvent.customer_id == customer_id, DeskEvent.happened_at <= before)
        .order_by(DeskEvent.happened_at.desc(), DeskEvent.event_id.desc())
    )
    with session.engine(data).connect() as store:
        found = store.execute(query).all()
    return [
        Past(product, at, channel, outcome, "desk", actor=actor, due=_read_due(shown))
        for product, at, channel, outcome, actor, shown in found
    ]


def _due(given: object, now: dt.datetime) -> dt.date:
    if given is None:
        return now.date() + dt.timedelta(days=LATER_DAYS)
    try:
        due = dt.date.fromisoformat(str(given))
    except ValueError:
        raise UsageError(f"due is {given!r}, which is not a date; write it as YYYY-MM-DD") from None
    if due <= now.date():
        raise UsageError(f"due is {due}, which is not in the future; choose a day after {now.date()}")
    return due


def _read_due(shown: Mapping[str, Any]) -> dt.date | None:
    return dt.date.fromisoformat(shown["due"]) if shown.get("due") else None
