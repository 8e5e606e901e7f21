"""What the campaigns dashboard says: states, reasons of refusal, clashes and arms in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crmlib.store.tables import Campaign
from crmlib.views import effect_words, wording
from crmlib.views.texts import Language, later

_STATES = {
    "draft": later("draft"),
    "approved": later("approved"),
    "assigned": later("assigned"),
    "finished": later("finished"),
    "cancelled": later("cancelled"),
    "planned": later("planned"),
    "running": later("running"),
    "past": later("past"),
}
_CODES = {
    "": later("can be contacted"),
    "unknown_customer": later("not a customer"),
    "left": later("no longer a customer"),
    "customer_left": later("no longer a customer"),
    "holdout": later("in the universal hold-out"),
    "no_consent": later("no consent for this channel"),
    "no_address": later("no telephone, e-mail or address"),
    "open_complaint": later("complaint not yet resolved"),
    "recent_complaint": later("complaint not long ago"),
    "ignored": later("ignored the last offers"),
    "limit_customer": later("contacted often enough"),
    "limit_household": later("household contacted often enough"),
    "already_held": later("already has the product"),
    "application_open": later("application in progress"),
    "required_missing": later("lacks the product it needs"),
    "substitute_held": later("has a product that serves as well"),
    "age_below": later("too young for the product"),
    "age_above": later("too old for the product"),
    "age_unknown": later("age not on record"),
    "income_below": later("income too low for the product"),
    "income_unknown": later("income not on record"),
    "offer_refused": later("declined it at the desk"),
    "offer_accepted": later("agreed to it at the desk"),
    "offer_later": later("put it off at the desk"),
    "offer_ignored": later("did not answer it at the desk"),
    "no_day_left": later("no day of the contact plan left"),
}


def state(say: Language, code: str) -> str:
    """Return the state of a campaign in words."""
    return say.text(_STATES[code]) if code in _STATES else code


def refusal(say: Language, code: str) -> str:
    """Return in words why somebody is not contacted; other rules of the product in general words.

    >>> from crmlib.views.texts import speak
    >>> refusal(speak("en"), "left")
    'no longer a customer'
    """
    return say.text(_CODES[code]) if code in _CODES else say.text("another rule of the product")


def arm(say: Language, name: str) -> str:
    """Return the name of an arm as it is shown."""
    if name == "control":
        return say.text("control group")
    known = effect_words.arm_name(name, say.code)
    return wording.value(say, name) if known == name else known


def arm_of(say: Language, name: str, products: pd.DataFrame) -> str:
    """Return an arm's name with the product's own name (``products``: product_id, name) and the channel in words."""
    product, _, channel = name.partition(" by ")
    if not channel:
        return arm(say, name)
    names = dict(zip(products["product_id"], products["name"], strict=True))
    return f"{names.get(product, product)}, {wording.value(say, channel)}"


def standing(say: Language, row: Campaign | None) -> str:
    """Return how far a campaign has come and what can be done next; None is a new one."""
    if row is None:
        return say.text("A new campaign: nothing is recorded yet.")
    if row.state == "draft":
        return say.text("Draft: somebody other than {owner} approves it.", owner=row.owner)
    if row.state == "approved":
        return say.text("Approved by {who}: people can be assigned.", who=str(row.approved_by))
    if row.state == "assigned":
        return say.text(
            "{n} customers are assigned since {day}; the list can be downloaded.",
            n=say.number(row.members or 0),
            day=say.date(row.assigned_at.date()) if row.assigned_at else "",
        )
    return state(say, row.state).capitalize() + "."


def clash(say: Language, row: Mapping[str, Any], *, products: Mapping[str, str]) -> tuple[str, str]:
    """Return what two campaigns share, and how much of it, in words."""
    if row["kind"] == "customers":
        return say.text("Same customers"), say.plural("{n} customer", "{n} customers", row["number"])
    if row["kind"] == "product":
        return say.text("Same product"), products.get(row["what"], row["what"])
    over = say.plural("{n} contact a day too many", "{n} contacts a day too many", row["number"])
    return say.text("Same channel is full"), f"{wording.value(say, row['what'])}: {over}"
