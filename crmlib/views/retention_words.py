"""Codes of retention in words: decisions, reasons of leaving, and the tasks of consultants."""

from __future__ import annotations

from typing import Any

import pandas as pd

from crmlib.views import wording
from crmlib.views.texts import Language, later

KINDS = {
    "act": later("Worth keeping: make contact"),
    "let_go": later("Let go, decently"),
    "blocked": later("Would pay, but something stands in the way"),
    "alone": later("Left alone"),
    "unknown": later("Not enough is known"),
}
_SHORT = {
    "act": later("make contact"),
    "let_go": later("let go"),
    "blocked": later("something in the way"),
    "alone": later("left alone"),
    "unknown": later("too little known"),
}
CODES = {
    "pays": later("Make contact"),
    "brings_nothing": later("Let go: the relationship does not pay"),
    "cannot_be_prevented": later("Let go: the reason cannot be prevented"),
    "annoyed_by_calls": later("Let go: calls would annoy"),
    "costs_more": later("Let go: costs more than it saves"),
    "no_consent": later("Would pay, but there is no consent"),
    "open_complaint": later("First settle the open complaint"),
    "recent_complaint": later("Resting after a complaint"),
    "ignored": later("Resting: our last contacts were ignored"),
    "limit_customer": later("Contacted often enough already"),
    "limit_household": later("Household contacted often enough"),
    "capacity": later("Would pay, but others save more"),
    "not_scored": later("Risk unknown"),
    "value_unknown": later("Value unknown"),
    "effect_unknown": later("Effect of a contact unknown"),
    "profiling_objected": later("Objected to profiling"),
    "holdout": later("Hold-out: left alone to measure against"),
    "ordinary_risk": later("Hardly about to leave"),
    "little_at_stake": later("Little at stake"),
}
_EXPLAINED = {
    "brings_nothing": later("Keeping this customer would bring nothing: service as agreed, no effort to keep."),
    "cannot_be_prevented": later("Most of the risk comes from what no contact prevents, such as a move or a death."),
    "annoyed_by_calls": later(
        "This customer refused our calls; past campaigns show that calls do not keep such customers."
    ),
    "costs_more": later("What a contact is expected to save is less than what it costs."),
    "no_consent": later("The contact that would pay best needs a consent that the customer has not given."),
    "open_complaint": later("A complaint is still open: answer it first, then nobody needs to be persuaded."),
    "recent_complaint": later(
        "A complaint was settled only lately; the contact policy leaves the customer in peace for now."
    ),
    "ignored": later(
        "The customer ignored our last contacts; the contact policy leaves the customer in peace for now."
    ),
    "limit_customer": later("The contact policy allows no further contact for now."),
    "limit_household": later("The contact policy allows this household no further contact for now."),
    "capacity": later("A contact would pay, but the capacity of the channel is used for customers with more to save."),
    "not_scored": later("There is no risk of leaving for this customer, for example since the relationship is new."),
    "value_unknown": later("There is no value for this customer; work the values out anew."),
    "effect_unknown": later("No past campaign with a control group says what a contact saves. Run one first."),
    "profiling_objected": later("The customer objected to profiling, so nothing is worked out and nothing is done."),
    "holdout": later(
        "The customer belongs to the hold-out that no campaign contacts, to measure what campaigns change."
    ),
    "ordinary_risk": later(
        "The risk is less than twice the average, and no contact would pay: service as usual, nothing to do."
    ),
    "little_at_stake": later("Risk times value is less than the cheapest contact costs: there is nothing to do."),
}
DECENTLY = later(
    "Letting go decently: no calls to persuade, service as agreed to the last day, an easy exit, thanks, "
    "and the question what we could have done better. The door stays open."
)
REASONS = {
    "competitor": later("a competitor"),
    "price": later("the price"),
    "service": later("the service"),
    "death_or_moving": later("death or a move"),
    "death": later("death"),
    "moving": later("a move"),
    "matured": later("the end of the contract"),
    "customer": later("the customer's own wish"),
    "faded": later("fading activity"),
    "closed": later("the end of the relationship"),
    "other": later("another reason"),
    "preventable": later("all that can be prevented"),
    "": later("all reasons"),
}


def decision(say: Language, row: pd.Series) -> str:
    """Return a decision in a few words: the action and its channel, or why there is none."""
    if row["action"]:
        return say.text("Contact by {channel}", channel=wording.value(say, str(row["action"])))
    return code(say, str(row["code"]))


def code(say: Language, name: str) -> str:
    """Return the code of a decision in a few words.

    >>> from crmlib.views.texts import speak
    >>> code(speak("en"), "capacity")
    'Would pay, but others save more'
    """
    return say.text(CODES[name]) if name in CODES else wording.value(say, name)


def kind(say: Language, name: str) -> str:
    """Return what codes have in common, in words."""
    return say.text(KINDS[name])


def short(say: Language, name: str) -> str:
    """Return what codes have in common, in the fewest words, for a legend."""
    return say.text(_SHORT[name])


def reason(say: Language, name: str) -> str:
    """Return a reason of leaving in words; one of a company's own stays as it is.

    >>> from crmlib.views.texts import speak
    >>> reason(speak("ru"), "competitor")
    'конкурент'
    """
    return say.text(REASONS[name]) if name in REASONS else wording.value(say, name)


def explained(say: Language, row: pd.Series, currency: str) -> str:
    """Return why a decision was made, in a sentence."""
    if row["action"]:
        return say.text(
            "A contact is expected to save {saving} at a cost of {cost}: it takes away {points} percentage points of the risk.",
            saving=say.money(row["saving_minor"], currency, 2),
            cost=say.money(row["cost_minor"], currency, 2),
            points=say.number(100 * row["saved"], 1),
        )
    return say.text(_EXPLAINED[str(row["code"])])


def group(say: Language, name: str) -> str:
    """Return a group of customers of past campaigns in words."""
    names = {
        "all": say.text("all customers"),
        "": say.text("others"),
        "refuses_calls": say.text("who refused a call before"),
    }
    return names.get(name, name)


def why(say: Language, one: dict[str, Any], *, currency: str) -> str:
    """Return why a customer is on the work list, one code of ``work_list``, in words."""
    name = one["code"]
    if name.startswith("complaint"):
        return _complaint(say, one)
    if name == "risk":
        share, times = say.percent(one["risk"]), say.number(one["times"], 1)
        return say.text("Risk of leaving within 90 days {share}, {times} times the average", share=share, times=times)
    told = {
        "leaving_reason": say.text("Likeliest reason: {reason}", reason=reason(say, str(one.get("reason", "")))),
        "value": say.text("Worth {value} to us", value=say.money(one.get("minor", 0), currency)),
        "detractor": say.text("Would not recommend us: answered {score} of 10", score=one.get("score", 0)),
        "loyalty_low": say.text("Loyalty index only {index} of 100", index=one.get("index", 0)),
    }
    return told.get(name, wording.value(say, str(name)))


def _complaint(say: Language, one: dict[str, Any]) -> str:
    about = f" ({one['topic']})" if one.get("topic") else ""
    if one["code"] == "complaint_open":
        return say.plural(
            "A complaint is open for {n} day{about}",
            "A complaint is open for {n} days{about}",
            one["days"],
            about=about,
        )
    return say.plural("Complained {n} day ago{about}", "Complained {n} days ago{about}", one["days"], about=about)


def what(say: Language, one: dict[str, Any]) -> str:
    """Return what a consultant is to do, one code of ``work_list``, in words."""
    names = {
        "settle_complaint": say.text("Settle the complaint, and tell the customer what was done"),
        "review_fees": say.text("Go through the fees together and offer the cheapest fitting tariff"),
        "compare_offers": say.text("Ask what the other offer is, and compare honestly"),
        "put_right": say.text("Apologise for what went wrong, and put it right"),
        "renew": say.text("Talk about renewing the contract before it ends"),
        "ask": say.text("Ask how satisfied the customer is and what is missing"),
    }
    if one["code"] == "remind_points":
        return say.plural(
            "Mention the {n} loyalty point that is about to expire",
            "Mention the {n} loyalty points that are about to expire",
            one["points"],
        )
    return names.get(one["code"], wording.value(say, str(one["code"])))


def task_by(say: Language, row: pd.Series) -> str:
    """Return the kind of a consultant's task with its channel, in words."""
    channel = wording.value(say, str(row["channel"]))
    if row["task"] == "complaint":
        return say.text("Answer a complaint ({channel})", channel=channel)
    return say.text("Contact by {channel}", channel=channel)
