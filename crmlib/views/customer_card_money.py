"""The customer's money on the card: credit history, and what the customer brings and costs."""

from __future__ import annotations

import pandas as pd

from crmlib.decisions.desk_history import Code
from crmlib.views import certainty, layout, origins, plots_customer_card, wording
from crmlib.views import customer_card_data as data
from crmlib.views import customer_card_words as words
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.customer_card_layout import Part, bullets, paragraph, records, why
from crmlib.views.texts import Language

_APPLICATIONS = 8


def credit(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the credit history."""
    currency, names, found = loaded.company.currency, loaded.names, card.credit
    lines = [words.credit(say, one, names, currency=currency) for one in found.summary]
    head = layout.title(say.text("Credit history")) + bullets(lines)
    paths = [
        (f"{names.get(one.product_id, one.product_id)} {words.month(say, one.opened_on)}", day, owed)
        for one in found.contracts
        for day, owed in one.path
    ]
    drawn = None
    if paths:
        table = pd.DataFrame(paths, columns=["contract", "day", "owed_minor"]).assign(
            day=lambda rows: pd.to_datetime(rows["day"])
        )
        drawn = plots_customer_card.debts(table, currency=currency, language=say.code)
        drawn = certainty.told(drawn, certainty.counted(say), origin=origins.records(say, loaded.snapshot))
    body = ""
    if found.contracts:
        heads = [
            ("", say.text("Contract")),
            ("", say.text("From")),
            ("", say.text("Until")),
            ("n", say.text("Borrowed or limit")),
            ("n", say.text("Owed now")),
        ]
        body += layout.table(heads, [_contract(say, one, names, currency) for one in found.contracts])
    if found.applications:
        heads = [
            ("", say.text("Applied on")),
            ("", say.text("Credit")),
            ("n", say.text("Asked for")),
            ("", say.text("Outcome")),
        ]
        rows = [_application(say, one, names, currency) for one in found.applications[:_APPLICATIONS]]
        body += layout.table(heads, rows, caption=say.text("Applications for credit"))
    return Part(head, (drawn,), body)


def _contract(say: Language, one: data.credit.Contract, names: dict[str, str], currency: str) -> list[str]:
    until = one.matures_on if one.closed_on is None else one.closed_on
    ended = say.text("closed {date}", date=say.date(one.closed_on)) if one.closed_on else ""
    borrowed = "" if one.borrowed_minor is None else say.money(one.borrowed_minor, currency)
    shown = ended or (say.date(until) if until else "")
    name = names.get(one.product_id, one.product_id)
    return [name, say.date(one.opened_on), shown, borrowed, say.money(one.owed_minor, currency)]


def _application(say: Language, one: Code, names: dict[str, str], currency: str) -> list[str]:
    asked = "" if one["amount_minor"] is None else say.money(one["amount_minor"], currency)
    outcome = wording.value(say, one["outcome"]) if one["outcome"] else say.text("being decided")
    product = str(one["product_id"])
    return [say.date(one["on"]), names.get(product, product), asked, outcome]


def value(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return what the customer brought, costs and could bring, and the time spent."""
    currency, row = loaded.company.currency, card.scores["customer_value"]
    spent = card.effort
    hours = say.plural("{n} contact", "{n} contacts", spent["contacts"])
    time = say.text(
        "Time spent in the last year: {minutes} minutes in {contacts}; {timed} of them timed, the others as usual for the channel.",
        minutes=say.number(spent["minutes"]),
        contacts=hours,
        timed=say.number(spent["timed"]),
    )
    head = layout.title(
        say.text("Customer value"), say.text("What the customer brought in the last year, less what it cost us.")
    )
    if row is None:
        return Part(head, (None, None), paragraph(why(say, "customer_value", card, loaded)) + paragraph(time))
    lines = card.tables["customer_value.lines"]
    steps = [
        (words.line(say, str(one["line"])), float(one["amount_minor"]), False)
        for one in records(lines)
        if one["amount_minor"]
    ]
    if not steps:
        known = (
            ("income_minor", 1, say.text("Income")),
            ("contact_cost_minor", -1, say.text("Contacts")),
            ("service_cost_minor", -1, say.text("Service")),
        )
        steps = [(name, sign * abs(float(row[column])), False) for column, sign, name in known]
    table = pd.DataFrame(
        [*steps, (say.text("Left over"), float(row["actual_minor"]), True)], columns=["name", "amount_minor", "total"]
    )
    rows = [
        (name, row[f"{column}_minor"], row[f"{column}_low_minor"], row[f"{column}_high_minor"])
        for name, column in ((say.text("Expected"), "predicted"), (say.text("Possible"), "potential"))
    ]
    ahead = pd.DataFrame(rows, columns=["name", "minor", "low_minor", "high_minor"])
    origin = origins.line(say, loaded.sets["customer_value"])
    booked = say.text("this is what was booked; contacts and service count with the company's usual costs.")
    account = plots_customer_card.account(table, currency=currency, language=say.code)
    outlook = plots_customer_card.outlook(ahead, currency=currency, language=say.code)
    figures = (
        certainty.told(account, certainty.none(say, booked), origin=origin),
        certainty.told(outlook, f"{certainty.interval(say, 90)} {words.possible_range(say)}", origin=origin),
    )
    return Part(head, figures, paragraph(_gap(say, card, loaded)) + paragraph(time))


def _gap(say: Language, card: Card, loaded: Loaded) -> str:
    row = card.scores["customer_value"]
    assert row is not None
    rows = sorted(records(card.tables["customer_value.gap_products"]), key=lambda one: -one["gap_minor"])
    currency = loaded.company.currency
    parts = [
        f"{loaded.names.get(str(one['product_id']), str(one['product_id']))} ({say.money(one['gap_minor'], currency)})"
        for one in rows[:4]
        if one["gap_minor"] > 0
    ]
    money = say.money(row["gap_minor"], currency)
    if not parts:
        return say.text("Gap to what comparable customers are worth: {money}.", money=money)
    return say.text(
        "Gap to what comparable customers are worth: {money}, most of it {products}.",
        money=money,
        products=", ".join(parts),
    )
