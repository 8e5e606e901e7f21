"""Codes in words: reasons of a model, channels, and the codes in a company's own data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crmlib.views.texts import Language, later

# Beginnings of features' names, of which the longest that fits counts, and names of tables.
_SUBJECTS = {
    "transactions": later("Transactions"),
    "holdings": later("Contracts"),
    "holdings_open": later("Open contracts"),
    "holdings_opened": later("Contracts opened"),
    "holdings_closed": later("Contracts closed"),
    "holdings_maturing": later("Contracts about to mature"),
    "balances": later("Balance"),
    "applications": later("Applications"),
    "opportunities": later("Deals in progress"),
    "contacts": later("Contacts"),
    "contacts_out": later("Contacts made by us"),
    "contacts_in": later("Contacts made by the customer"),
    "campaign_members": later("Campaigns"),
    "surveys": later("Survey answers"),
    "surveys_nps": later("Answer on recommending us (NPS)"),
    "complaints": later("Complaints"),
    "complaints_unresolved": later("Unresolved complaints"),
    "loyalty_entries": later("Loyalty points"),
    "mentions": later("Mentions"),
    "usage": later("Use of services"),
    "policies": later("Policies"),
    "claims": later("Claims"),
    "positions": later("Securities"),
    "relatives": later("Relatives"),
    "relatives_child": later("Children in the family"),
    "youngest_child": later("Birth of a child"),
    "customer_age_years": later("Age"),
    "customer_tenure_days": later("Length of the relationship"),
    "customer_attributes_age_days": later("Time since the customer's data changed"),
}
COLUMNS = {
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
    "car": later("car"),
    "exchange": later("exchange"),
    "health": later("health"),
    "home": later("home"),
    "leisure": later("leisure"),
    "mortgage": later("mortgage"),
    "rent": later("rent"),
    "restaurants": later("restaurants"),
    "securities": later("securities"),
    "shopping": later("shopping"),
    "utilities": later("utilities"),
    "basic": later("basic"),
    "secondary": later("secondary"),
    "higher": later("higher"),
    "doctorate": later("doctorate"),
    "unemployed": later("unemployed"),
    "contact centre": later("contact centre"),
    "low": later("low"),
    "medium": later("medium"),
    "high": later("high"),
    "mass": later("mass"),
    "affluent": later("affluent"),
    "premium": later("premium"),
    "accountant": later("accountant"),
    "artist": later("artist"),
    "builder": later("builder"),
    "clerk": later("clerk"),
    "cook": later("cook"),
    "driver": later("driver"),
    "engineer": later("engineer"),
    "farmer": later("farmer"),
    "manager": later("manager"),
    "mechanic": later("mechanic"),
    "nurse": later("nurse"),
    "programmer": later("programmer"),
    "researcher": later("researcher"),
    "shop assistant": later("shop assistant"),
    "teacher": later("teacher"),
}


def value(say: Language, word: object) -> str:
    """Return a code from the data in words, or as it is where nobody translated it.

    >>> from crmlib.views.texts import speak
    >>> value(speak("ru"), "mail"), value(speak("ru"), "pigeon_post")
    ('письмо', 'pigeon post')
    """
    found = _VALUES.get(str(word))
    return say.text(found) if found else str(word).replace("_", " ")


def reason(
    say: Language, code: Mapping[str, Any], *, currency: str = "", products: Mapping[str, str] | None = None
) -> str:
    """Return a reason in words, with the customer's own value and the usual one.

    In: the code with its parameters (feature, value, typical, months, level, unit, table), all of which may be missing;
    ``currency`` of values in minor units; ``products`` their names. A code that is not known reads as its feature's name
    and value.
    """
    what = kind(say, code, products=products)
    if "value" not in code:
        return what
    own = _shown(say, code, code["value"], currency)
    typical = code.get("typical")
    usual = "" if _missing(typical) else _shown(say, code, typical, currency)
    if usual and usual != own:
        return say.text("{what}: {value} (usually {typical})", what=what, value=own, typical=usual)
    return say.text("{what}: {value}", what=what, value=own)


def kind(say: Language, code: Mapping[str, Any], *, products: Mapping[str, str] | None = None) -> str:
    """Return what a reason is about, without the customer's own value."""
    name, subject = str(code.get("code", "")), _subject(say, code, products or {})
    months = code.get("months")
    span = "" if months is None or _missing(months) else say.plural("{n} month", "{n} months", int(months))
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
        "last_value": say.text("{what}, the latest"),
        "balance": say.text("{what} now"),
        "balance_average": say.text("{what}, average of {span}"),
        "balance_change": say.text("{what}, change in {span}"),
        "household_size": say.text("Members of the household"),
    }
    # Parameters go in after translation: a level from the data may itself hold braces.
    return patterns.get(name, "{what}").replace("{what}", subject).replace("{span}", span)


def _subject(say: Language, code: Mapping[str, Any], products: Mapping[str, str]) -> str:
    """Return what is counted or measured, with the level in brackets."""
    feature, table = str(code.get("feature") or ""), str(code.get("table") or "")
    column = feature.removeprefix("customer_")
    beginnings = [known for known in _SUBJECTS if f"{feature}_".startswith(f"{known}_")]
    if column in COLUMNS:
        name = say.text(COLUMNS[column])
    elif beginnings:
        name = say.text(_SUBJECTS[max(beginnings, key=len)])
    elif table in _SUBJECTS:
        name = say.text(_SUBJECTS[table])
    else:
        return _plain(feature or table or str(code.get("code", "")))
    level = code.get("level")
    if not level or _missing(level):
        return name
    known = products.get(str(level)) if code.get("by") == "product_id" else None
    return f"{name} ({known or value(say, level)})"


def _shown(say: Language, code: Mapping[str, Any], given: Any, currency: str) -> str:
    """Return a value as a person would write it."""
    name, unit = str(code.get("code", "")), str(code.get("unit", ""))
    if _missing(given):
        return say.text("none")
    if isinstance(given, str):
        return value(say, given)
    number = float(given)
    if name == "variance":  # in the unit of the value itself
        number, unit = math.sqrt(max(number, 0.0)), unit.removesuffix("²")
    if name.endswith("_trend"):
        return _trend(say, number)
    if unit == "minor units" and currency:
        amount = say.money(number, currency)
        gained = name == "balance_change" and number > 0 and amount != say.money(0, currency)
        return f"+{amount}" if gained else amount
    return _with_unit(say, number, name=name, unit=unit)


def _with_unit(say: Language, number: float, *, name: str, unit: str) -> str:
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
