"""The codes of the desk in words: who, occasions, why not, what came of it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

from crmlib.decisions.desk_history import Code
from crmlib.decisions.desk_offers import Avoid
from crmlib.views import wording
from crmlib.views.texts import Language, later

Names = Mapping[str, str]

_OUTCOMES = {
    "offered": later("offered, no answer yet"),
    "accepted": later("the customer agreed"),
    "refused": later("the customer declined"),
    "later": later("put off"),
    "unanswered": later("no answer"),
}
_NOTES = {
    "no_model": later("No model is trained yet, so there are no offers; run `crm train`."),
    "profiling_objected": later("The customer objected to profiling: serve, do not sell. No scores were computed."),
    "holdout": later(
        "The customer belongs to the hold-out group: make no offers, so that their effect can be measured."
    ),
    "complaint_first": later("A complaint is open: settle it first, make no offers."),
}
_FOLLOW_UP = {
    "no_channel": later("No consent to any channel: do not call back for sales."),
    "channel_preferred": later("Come back by {channel}: the customer asked for it."),
    "channel_worked": later("Come back by {channel}: offers were accepted there before."),
    "channel_untried": later("Come back by {channel}."),
    "channel_cheapest": later("Come back by {channel}, the cheapest allowed."),
}
_QUESTIONS = {
    "age_years": later("How old are you?"),
    "income_minor": later("What do you earn a month?"),
    "children": later("How many children?"),
    "marital_status": later("Are you married?"),
    "employment_status": later("What do you do for a living?"),
    "education": later("What is your education?"),
    "occupation": later("What is your occupation?"),
    "gender": later("Gender"),
    "region": later("Where do you live?"),
    "plan": later("What do you have in mind?"),
}
_LANES = {
    "contract": later("Contracts"),
    "application": later("Applications"),
    "contact_in": later("Customer to us"),
    "contact_out": later("We to customer"),
    "complaint": later("Complaints"),
}
_EVENTS = {
    "opened": later("opened"),
    "closed": later("closed"),
    "applied": later("applied for"),
    "complained": later("complained"),
    "sales": later("offer"),
    "service": later("service"),
    "information": later("information"),
    "contact": later("contact"),
}
_UNDATED = {
    "birthday": later("Birthday about now: congratulate"),
    "child_turned": later("A child turned {n} lately"),
    "child_turns": later("A child turns {n} soon"),
}
# Why not, by code; {product}, {date}, {n}, {money} and {word} stand for the parameters.
_WHY_NOT = {
    "already_held": later("has it already"),
    "withdrawn": later("not on sale any more"),
    "sold_out": later("sold out for this quarter"),
    "application_open": later("an application is being decided"),
    "substitute_held": later("has {product}, which serves as well"),
    "required_missing": later("needs {product} first"),
    "age_below": later("too young: from {n} years on"),
    "age_above": later("too old: up to {n} years"),
    "age_unknown": later("age unknown: ask for it"),
    "income_below": later("income below {money}"),
    "income_unknown": later("income unknown: ask for it"),
    "tenure_below": later("with us for less than {n} months"),
    "tenure_unknown": later("length of the relationship unknown"),
    "refused_recently": later("an application was refused within {n} months"),
    "document_missing": later("a document is missing: {word}"),
    "attribute_not_accepted": later("not for this kind of customer: {word}"),
    "attribute_unknown": later("not on record: {word}"),
    "risk_above_appetite": later("riskier than the customer wants"),
    "appetite_unknown": later("appetite for risk unknown: ask for it"),
    "offer_refused": later("declined on {date}"),
    "offer_accepted": later("agreed on {date}"),
    "offer_later": later("put off on {date}"),
}


def outcome(say: Language, code: str) -> str:
    """Return what came of an offer, in words."""
    return say.text(_OUTCOMES[code])


def note(say: Language, code: Code) -> str:
    """Return in words what limits the offers."""
    return say.text(_NOTES[code["code"]])


def question(say: Language, name: str) -> str:
    """Return a question of the product match."""
    return say.text(_QUESTIONS[name])


def lane(say: Language, code: str) -> str:
    """Return the name of a lane of the timeline."""
    return say.text(_LANES[code])


def event(say: Language, code: Code, names: Names) -> str:
    """Return what happened, as the timeline shows it."""
    known = _EVENTS.get(code["code"])
    parts = [say.text(known) if known else wording.value(say, code["code"])]
    if code.get("product_id"):
        parts.append(names.get(code["product_id"], code["product_id"]))
    for told in (code.get("channel"), code.get("topic"), code.get("outcome")):
        if told:
            parts.append(wording.value(say, told))
    return ", ".join(parts)


def why_not(say: Language, one: Avoid, names: Names, *, currency: str) -> str:
    """Return why a product is not to be offered, and until when, where that ends by itself.

    >>> from crmlib.views.texts import speak
    >>> why_not(speak("en"), Avoid("gold", {"code": "required_missing", "product_id": "card"}), {"card": "Card"}, currency="EUR")
    'needs Card first'
    """
    told = one.reason
    number = next((told[name] for name in ("years", "months", "times") if name in told), 0)
    known = _WHY_NOT.get(told["code"], "")
    if told["code"] == "offer_ignored":
        text = say.plural("{n} offer without an answer", "{n} offers without an answer", number)
    elif not known:
        text = wording.value(say, told["code"].replace("_", " "))
    else:
        text = say.text(known, **_parameters(say, told, names, number=number, currency=currency))
    return say.text("{reason}; again from {date}", reason=text, date=say.date(one.until)) if one.until else text


def _parameters(say: Language, told: Code, names: Names, *, number: float, currency: str) -> dict[str, str]:
    product = str(told.get("product_id", ""))
    words = told.get("document") or told.get("value") or told.get("column") or ""
    return dict(
        product=names.get(product, product),
        date=say.date(told["on"]) if "on" in told else "",
        n=say.number(number),
        money=say.money(told.get("minor", 0), told.get("currency") or currency),
        word=wording.value(say, words),
    )


def occasion(say: Language, code: Code, *, dated: bool = True) -> str:
    """Return an occasion in the household, in words; the days of birthdays, which tell dates of birth, where ``dated``.

    >>> import datetime as dt
    >>> from crmlib.views.texts import speak
    >>> occasion(speak("en"), {"code": "child_turned", "years": 17, "on": dt.date(2025, 5, 20)})
    'A child turned 17 on 20 May 2025'
    """
    if not dated and code["code"] in _UNDATED:
        return say.text(_UNDATED[code["code"]], n=code.get("years", ""))
    day = say.date(code["on"])
    match code["code"]:
        case "birthday":
            return say.text("Birthday on {date}: congratulate", date=day)
        case "child_turned":
            return say.text("A child turned {n} on {date}", n=code["years"], date=day)
        case "child_turns":
            return say.text("A child turns {n} on {date}", n=code["years"], date=day)
    column = say.text(wording.COLUMNS[code["column"]])
    before, after = wording.value(say, code["before"]), wording.value(say, code["after"])
    return say.text("{what} changed: {before} → {after}", what=column, before=before, after=after)


def follow_up(say: Language, code: Code) -> str:
    """Return the best channel to come back on, in words."""
    return say.text(_FOLLOW_UP[code["code"]], channel=wording.value(say, code.get("channel", "")))


def headline(say: Language, who: Code, customer_id: str, *, shown: bool) -> str:
    """Return who this is in one line: the name (initials unless ``shown``), age, years with the company."""
    parts = [part for part in (who["given_name"], who["family_name"]) if part]
    name = " ".join(parts if shown else [f"{part[0]}." for part in parts])
    told = [name or say.text("Customer {number}", number=customer_id)]
    if who["age_years"] is not None:
        told.append(say.plural("{n} year old", "{n} years old", who["age_years"]))
    if who["since_years"] is not None:
        told.append(say.plural("{n} year with us", "{n} years with us", who["since_years"]))
    for name in ("segment", "region", "marital_status", "employment_status"):
        if who[name]:
            told.append(wording.value(say, who[name]))
    return " · ".join(told)


def chips(say: Language, prompt: Any, names: Names, *, dated: bool = True) -> str:
    """Return the HTML of what matters now: complaints, applications, occasions (see there), contracts that end, debts."""
    named: Callable[[str], str] = lambda product: names.get(product, product)  # noqa: E731
    found = [("alert", note(say, one)) for one in prompt.notes]
    for one in prompt.complaints:
        topic = wording.value(say, one["topic"] or "")
        found.append(
            ("alert", say.text("Open complaint since {date}: {topic}", date=say.date(one["opened_at"]), topic=topic))
        )
    for one in prompt.pending:
        day, product = say.date(one["applied_at"]), named(one["product_id"])
        found.append(("news", say.text("Application pending: {product}, since {date}", product=product, date=day)))
    found += [("news", occasion(say, one, dated=dated)) for one in prompt.occasions]
    for one in prompt.endings:
        found.append(
            ("news", say.text("{product} ends on {date}", product=named(one["product_id"]), date=say.date(one["on"])))
        )
    if prompt.credit["overdrawn_months"]:
        found.append(
            ("warn", say.plural("Overdrawn in {n} month", "Overdrawn in {n} months", prompt.credit["overdrawn_months"]))
        )
    for one in prompt.credit["refusals"][-1:]:
        day, product = say.date(one["on"]), named(one["product_id"])
        found.append(("warn", say.text("Application refused: {product}, {date}", product=product, date=day)))
    cells = "".join(f'<li class="desk-{kind}">{html.escape(words)}</li>' for kind, words in found)
    return f'<ul class="desk-chips">{cells}</ul>' if cells else ""
