"""The customer card in words: what happened, the credit history, phases, reasons, what was decided."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from crmlib.decisions.desk_history import Code
from crmlib.views import desk_words, wording
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.texts import Language, later

LANES = {
    "product": later("Products"),
    "application": later("Applied for"),
    "contact_in": later("Contacts by the customer"),
    "contact_out": later("Contacts by us"),
    "campaign": later("In campaigns"),
    "complaint": later("Complained"),
    "answer": later("Said about us"),
    "decision": later("Our decisions"),
}
_PHASES = {
    "prospect": later("prospect"),
    "new": later("new"),
    "growing": later("growing"),
    "mature": later("mature"),
    "fading": later("fading"),
    "lapsed": later("lapsed"),
    "won_back": later("won back"),
}
_LINES = {
    "interest": later("Interest"),
    "fees": later("Fees and premiums"),
    "products": later("Margin of products"),
    "commissions": later("Commissions on payments"),
    "contacts": later("Cost of our contacts"),
    "service": later("Cost of service"),
    "operations": later("Cost of operations"),
    "contracts": later("Upkeep of contracts"),
    "complaints": later("Cost of complaints"),
}
_CREDIT = {
    "no_credit": later("Never applied for credit with us."),
    "owes_nothing": later("Owes nothing now."),
    "overdue": later("{product}: {money} still owed after its term ended on {date}."),
    "behind": later("{product}: behind, {repaid} paid back after {elapsed} of the term."),
    "on_track": later("{product}: on track, {repaid} paid back after {elapsed} of the term."),
    "limit_used": later("{product}: {used} of the limit in use."),
    "nothing_wrong": later("No overdrafts, delays or collection contacts on record."),
    "pending": later("{product}: an application of {date} is being decided."),
}
_REASONS = {
    "purchase": later("purchases"),
    "gift": later("gift"),
    "redemption": later("spent"),
    "expiry": later("expired"),
}


def event(say: Language, one: Code, loaded: Loaded) -> str:
    """Return what happened, as the timeline shows it."""
    about = str(one.get("product_id") or "")
    product = loaded.names.get(about, about)
    parts: list[str]
    match one["code"]:
        case "opened":
            parts = [say.text("{product} opened", product=product)]
        case "closed":
            why = wording.value(say, one["reason"]) if one["reason"] else ""
            parts = [say.text("{product} closed", product=product), why]
        case "applied":
            came = wording.value(say, one["outcome"]) if one["outcome"] else say.text("being decided")
            parts = [say.text("Applied for {product}", product=product), came]
        case "contact":
            said = desk_words.outcome(say, one["outcome"]) if one["outcome"] else ""
            parts = [wording.value(say, one["channel"]), wording.value(say, one["purpose"]), product, said]
        case "chosen" | "left_alone":
            campaign = str(one["campaign_id"])
            name = loaded.campaigns.get(campaign, campaign)
            alone = say.text("left alone to compare with") if one["code"] == "left_alone" else ""
            said = desk_words.outcome(say, one["outcome"]) if one["outcome"] else ""
            parts = [name, alone, said]
        case "complained":
            parts = [wording.value(say, one["topic"]), _resolved(say, one)]
        case "answered":
            parts = [say.text("Would recommend us: {n} of 10", n=say.number(one["score"]))]
        case "mentioned":
            parts = [say.text("Wrote about us in a social network"), feeling(say, one["sentiment"])]
        case _:
            parts = _decision(say, one, product, currency=loaded.company.currency)
    return ", ".join(part for part in parts if part)


def _resolved(say: Language, one: Code) -> str:
    if "days" not in one:
        return say.text("not resolved yet")
    how = {"explained": say.text("explained"), "compensated": say.text("compensated")}.get(one["resolution"])
    days = say.plural("resolved in {n} day", "resolved in {n} days", one["days"])
    return f"{days} ({how or wording.value(say, one['resolution'])})" if one["resolution"] else days


def _decision(say: Language, one: Code, product: str, *, currency: str) -> list[str]:
    channel = wording.value(say, one.get("channel") or "")
    if one["code"] == "desk":
        return [say.text("At the desk: {product}", product=product), desk_words.outcome(say, one["outcome"])]
    if one["code"] == "best_offer":
        money = say.money(one["value_minor"], currency)
        return [say.text("Decided to offer {product} by {channel}", product=product, channel=channel), money]
    return [say.text("Decided to act against leaving: {channel}", channel=channel)]


def feeling(say: Language, sentiment: float) -> str:
    """Return a sentiment in words."""
    if sentiment > 0.2:
        return say.text("pleased")
    return say.text("cross") if sentiment < -0.2 else say.text("neutral")


def phase(say: Language, name: str | None) -> str:
    """Return a phase of the life cycle; another name as it is."""
    known = _PHASES.get(name or "")
    return say.text(known) if known else wording.value(say, name or "")


def line(say: Language, name: str) -> str:
    """Return a line of the customer's account."""
    known = _LINES.get(name)
    return say.text(known) if known else wording.value(say, name).capitalize()


def points_reason(say: Language, name: str) -> str:
    """Return why points came or went."""
    known = _REASONS.get(name)
    return say.text(known) if known else wording.value(say, name)


def credit(say: Language, one: Code, names: Mapping[str, str], *, currency: str) -> str:
    """Return a line of the credit history's summary."""
    code = one["code"]
    last = say.date(one["last"]) if "last" in one else ""
    match code:
        case "owes":
            money = say.money(one["minor"], currency)
            return say.plural(
                "Owes {money} on {n} contract.", "Owes {money} on {n} contracts.", one["contracts"], money=money
            )
        case "repaid":
            return say.plural("{n} credit paid back and closed.", "{n} credits paid back and closed.", one["contracts"])
        case "overdrawn":
            told = {"month": month(say, one["last"])}
            return say.plural(
                "Account overdrawn in {n} month, last in {month}.",
                "Account overdrawn in {n} months, last in {month}.",
                one["months"],
                **told,
            )
        case "refused":
            return say.plural(
                "{n} application refused, on {date}.",
                "{n} applications refused, the last on {date}.",
                one["times"],
                date=last,
            )
        case "collected":
            return say.plural(
                "{n} collection contact, on {date}.",
                "{n} collection contacts, the last on {date}.",
                one["times"],
                date=last,
            )
    about = {
        "product": names.get(one.get("product_id", ""), one.get("product_id", "")),
        "date": say.date(one["on"]) if "on" in one else "",
        "money": say.money(one.get("minor", 0), currency),
        **{name: say.percent(one.get(name, 0), 0) for name in ("elapsed", "repaid", "used")},
    }
    return say.text(_CREDIT[code], **about)


def risk_range(say: Language, row: Code) -> str:
    """Return between which ends the risk of leaving within 90 days lies, "" where that is not known."""
    if row.get("low_90") is None or row.get("high_90") is None:
        return ""
    return say.text("90%: {low} to {high}", low=say.percent(row["low_90"]), high=say.percent(row["high_90"]))


def expected(say: Language, row: Code, currency: str) -> str:
    """Return what a customer is expected to bring from now on, with the ends of the 90% interval."""
    told = say.text("expected from now on: {money}", money=say.money(row["predicted_minor"], currency))
    low, high = (row.get(f"predicted_{end}_minor") for end in ("low", "high"))
    if low is None or high is None:
        return told
    ends = say.text("90%: {low} to {high}", low=say.money(low, currency), high=say.money(high, currency))
    return f"{told} ({ends})"


def possible_range(say: Language) -> str:
    """Return what the interval around a possible value means."""
    return say.text("Around what is possible it says how different comparable customers are.")


def no_range(say: Language) -> str:
    """Return why an index of loyalty has no interval."""
    return say.text(
        "the index is a rank among all customers; how well it foretells who stays was tested for all together."
    )


def month(say: Language, day: dt.date) -> str:
    """Return the month of a day in figures."""
    return f"{day.month:02d}.{day.year}" if say.code == "ru" else f"{day.year}-{day.month:02d}"


def missing(say: Language, model: str, card: Card) -> str:
    """Return why there is nothing of a model: it never ran, the customer objected, or was not there when it ran."""
    if card.objected and model != "points":
        return say.text("The customer objected to profiling: nothing is predicted here.")
    commands = {
        "customer_value": "crm value",
        "lifecycle": "crm lifecycle",
        "churn": "crm churn",
        "retention": "crm retention",
        "loyalty": "crm loyalty",
        "points": "crm points",
    }
    return say.text("Not computed yet: run `{command}`.", command=commands[model])


def not_in(say: Language, card: Card) -> str:
    """Return why a customer is not among those computed."""
    if card.left_on is not None:
        return say.text("The customer has left, so nothing is predicted any more.")
    return say.text("This customer was not among those computed.")
