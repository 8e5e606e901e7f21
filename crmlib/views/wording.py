"""Codes in words: reasons of a model, channels, and the codes in a company's own data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from crmlib.views.texts import Language, later

_SUBJECTS = {
    "transactions": later("Transactions"),
    "holdings": later("Contracts"),
    "balances": later("Balance"),
    "applications": later("Applications"),
    "opportunities": later("Deals in progress"),
    "contacts": later("Contacts"),
    "campaign_members": later("Campaigns"),
    "surveys": later("Survey answers"),
    "complaints": later("Complaints"),
    "loyalty_entries": later("Loyalty points"),
    "mentions": later("Mentions"),
    "usage": later("Use of services"),
    "policies": later("Policies"),
    "claims": later("Claims"),
    "positions": later("Securities"),
    "relatives": later("Relatives"),
    "customers": later("Customer"),
}
_COLUMNS = {
    "gender": later("Gender"),
    "region": later("Region"),
    "city": later("Town"),
    "branch_id": later("Branch"),
    "marital_status": later("Marital status"),
    "children": later("Children"),
    "education": later("Education"),
    "occupation": later("Occupation"),
    "employment_status": later("Employment"),
    "income_minor": later("Income per month"),
    "risk_class": later("Risk class"),
    "segment": later("Segment"),
    "preferred_channel": later("Preferred channel"),
    "birth_date": later("Age"),
    "customer_since": later("Length of the relationship"),
    "valid_from": later("Time since the customer's data changed"),
}
# Values that the schema names or that are usual; any other word of a company's data stays as it is.
_VALUES = {
    "call": later("call"),
    "mail": later("letter"),
    "email": later("e-mail"),
    "sms": later("text message"),
    "branch": later("branch"),
    "internet": later("internet"),
    "mobile": later("mobile"),
    "atm": later("cash machine"),
    "card": later("card"),
    "in": later("incoming"),
    "out": later("outgoing"),
    "female": later("female"),
    "male": later("male"),
    "other": later("other"),
    "single": later("single"),
    "married": later("married"),
    "divorced": later("divorced"),
    "widowed": later("widowed"),
    "employed": later("employed"),
    "self-employed": later("self-employed"),
    "student": later("student"),
    "retired": later("retired"),
    "salary": later("salary"),
    "groceries": later("groceries"),
    "transfer": later("transfers"),
    "cash": later("cash"),
    "fee": later("fees"),
    "travel": later("travel"),
    "accounts": later("accounts"),
    "cards": later("cards"),
    "deposits": later("deposits"),
    "loans": later("loans"),
    "insurance": later("insurance"),
    "investment": later("investments"),
    "child": later("children"),
    "sales": later("sales"),
    "service": later("service"),
    "accepted": later("accepted"),
    "refused": later("refused"),
    "signed": later("signed"),
    "withdrawn": later("withdrawn"),
    "abandoned": later("abandoned"),
}


def value(say: Language, word: object) -> str:
    """Return a code from the data in words, or as it is where nobody translated it.

    >>> from crmlib.views.texts import speak
    >>> value(speak("ru"), "mail"), value(speak("ru"), "pigeon_post")
    ('письмо', 'pigeon post')
    """
    found = _VALUES.get(str(word))
    return say.text(found) if found else str(word).replace("_", " ")


def reason(say: Language, code: Mapping[str, Any], *, currency: str = "") -> str:
    """Return a reason in words, with the customer's own value.

    In: the code with its parameters (table, column, where, by, level, months, unit, value), all of which may be missing;
    ``currency`` of values in minor units. A code that is not known reads as its own name and parameters.
    """
    what = kind(say, code)
    shown = _shown(say, code, currency)
    return say.text("{what}: {value}", what=what, value=shown) if shown else what


def kind(say: Language, code: Mapping[str, Any]) -> str:
    """Return what a reason is about, without the customer's own value."""
    name, subject = str(code.get("code", "")), _subject(say, code)
    months = code.get("months")
    span = "" if _missing(months) else say.plural("{n} month", "{n} months", int(months))
    if name in ("attribute", "since"):
        column = str(code.get("column", ""))
        return say.text(_COLUMNS[column]) if column in _COLUMNS else _plain(column or str(code.get("feature", name)))
    patterns = {
        "count": say.text("{what}, number in {span}") if span else say.text("{what}, number"),
        "sum": say.text("{what}, sum in {span}") if span else say.text("{what}, sum"),
        "count_share": say.text("{what}, share of all in {span}"),
        "sum_share": say.text("{what}, share of the sum in {span}"),
        "count_trend": say.text("{what}, number against earlier"),
        "sum_trend": say.text("{what}, sum against earlier"),
        "variance": say.text("{what}, unevenness in {span}"),
        "days_since_last": say.text("{what}, the last"),
        "days_since_first": say.text("{what}, the first"),
        "upcoming": say.text("{what}, due within {span}"),
        "last_value": say.text("{what}, the latest value"),
        "balance": say.text("{what} now"),
        "balance_average": say.text("{what}, average of {span}"),
        "balance_change": say.text("{what}, change in {span}"),
        "household_size": say.text("Members of the household"),
    }
    pattern = patterns.get(name)
    # Parameters go in after translation: a level from the data may itself hold braces.
    if pattern is None:
        return _plain(str(code.get("feature") or name))
    return pattern.replace("{what}", subject).replace("{span}", span)


def _subject(say: Language, code: Mapping[str, Any]) -> str:
    """Return whose number it is: the table, with the rows taken and the level in brackets."""
    table = str(code.get("table", ""))
    name = say.text(_SUBJECTS[table]) if table in _SUBJECTS else _plain(table or str(code.get("feature", "")))
    where = code.get("where") or {}
    where = json.loads(where) if isinstance(where, str) else dict(where)
    taken = [one for given in where.values() for one in (given if isinstance(given, list | tuple) else [given])]
    words = [value(say, one) for one in taken if isinstance(one, str)]
    if not _missing(code.get("level")) and code.get("level"):
        words.append(value(say, code["level"]))
    return f"{name} ({', '.join(words)})" if words else name


def _shown(say: Language, code: Mapping[str, Any], currency: str) -> str:
    """Return the customer's value as a person would write it."""
    given, unit, name = code.get("value"), str(code.get("unit", "")), str(code.get("code", ""))
    if "value" not in code:
        return ""
    if _missing(given):
        return say.text("none")
    if isinstance(given, str):
        return value(say, given)
    number = float(given)  # type: ignore[arg-type]
    if name == "variance":
        number, unit = math.sqrt(max(number, 0.0)), unit.removesuffix("²")
    if name.endswith("_trend"):
        return _trend(say, number)
    if unit == "minor units" and currency:
        amount = say.money(number, currency)
        return f"+{amount}" if name == "balance_change" and number > 0 else amount
    if unit == "share" or name.endswith("_share"):
        return say.percent(number, 0)
    if unit == "days":
        days = say.plural("{n} day", "{n} days", round(number))
        return say.text("{days} ago", days=days) if name.startswith("days_since") else days
    if unit == "years":
        return say.plural("{n} year", "{n} years", int(number))
    return say.number(number, 0 if number == round(number) else 1)


def _trend(say: Language, number: float) -> str:
    if number > 0.1:
        return say.text("more than before")
    return say.text("less than before") if number < -0.1 else say.text("as before")


def _plain(name: str) -> str:
    """Return a name of the program as words.

    >>> _plain("customer_own_score")
    'Customer own score'
    """
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _missing(given: object) -> bool:
    return given is None or (isinstance(given, float) and math.isnan(given))
