"""The customer card around the scores: numbers at a glance, the history in lanes, who stands around the customer."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Sequence

import pandas as pd

from crmlib.decisions.desk_history import Code
from crmlib.views import certainty, layout, origins, plots_customer_card, retention_words, wording
from crmlib.views import customer_card_words as words
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.customer_card_events import LANES, events
from crmlib.views.customer_card_layout import Part, paragraph
from crmlib.views.texts import Language

_EVENTS = 50


def tiles(say: Language, card: Card, loaded: Loaded) -> str:
    """Return the numbers that matter at a glance."""
    currency = loaded.company.currency
    value, churn, life = (card.scores[name] for name in ("customer_value", "churn", "lifecycle"))
    loyalty, points = card.scores["loyalty"], card.scores["points"]
    none = "–"
    owed = sum(one.owed_minor for one in card.credit.contracts)
    since = say.text("since {date}", date=words.month(say, life["since"])) if life and life.get("since") else ""
    nps = None if loyalty is None else loyalty.get("nps")
    answer = "" if nps is None else say.text("last answer {n} of 10", n=say.number(nps))
    told = [] if loyalty is None else [answer, say.text("a rank, without an interval")]
    reason = retention_words.reason(say, churn["reason"]) if churn and churn.get("reason") else ""
    risk = [reason, words.risk_range(say, churn)] if churn else []
    return layout.tiles(
        [
            (
                say.text("Brought in last year, net"),
                say.money(value["actual_minor"], currency) if value else none,
                words.expected(say, value, currency) if value else "",
            ),
            (say.text("Risk of leaving in 90 days"), say.percent(churn["risk_90"]) if churn else none, _joined(risk)),
            (say.text("Phase"), words.phase(say, life["phase"]) if life else none, since),
            (say.text("Loyalty index, 0 to 100"), say.number(loyalty["index"]) if loyalty else none, _joined(told)),
            (say.text("Owed to us"), say.money(owed, currency), ""),
            (
                say.text("Points"),
                say.number(points["balance"]) if points else none,
                say.text("{n} expire within 90 days", n=say.number(points["expiring_90"])) if points else "",
            ),
        ]
    )


def _joined(notes: Sequence[str]) -> str:
    return " · ".join(filter(None, notes))


def timeline(say: Language, card: Card, loaded: Loaded, *, since: dt.date | None) -> Part:
    """Return the history in lanes."""
    found = events(card, since=since)
    note = say.text("Green: good. Orange cross: bad. Blue diamond: open. Point at a mark to see what it is.")
    head = layout.title(say.text("History"), note)
    if not found:
        return Part(head, (None,), paragraph(say.text("Nothing is on record in this time.")))
    rows = pd.DataFrame(
        [(one["lane"], one["on"], one["mark"], html.escape(words.event(say, one, loaded))) for one in found],
        columns=["lane", "on", "mark", "words"],
    )
    # What happened on one day in one lane is one mark that names it all; the weightiest mark shows.
    rows["weight"] = rows["mark"].map({"bad": 0, "good": 1, "open": 2, "": 3})
    rows = rows.sort_values("weight")
    merged = (
        rows.groupby(["lane", "on"], sort=True).agg(mark=("mark", "first"), words=("words", "<br>".join)).reset_index()
    )
    merged["on"] = pd.to_datetime(merged["on"])
    lanes = [(code, say.text(words.LANES[code])) for code in LANES]
    first = merged["on"].min() if since is None else pd.Timestamp(since)
    room = pd.Timedelta(days=max(7, round((pd.Timestamp(card.as_of) - first).days * 0.02)))
    span = (first - room, max(merged["on"].max(), pd.Timestamp(card.as_of)) + room)
    drawn = plots_customer_card.timeline(merged, lanes=lanes, span=span, language=say.code)
    drawn = certainty.told(drawn, certainty.counted(say), origin=origins.records(say, loaded.snapshot))
    return Part(head, (drawn,), _listed(say, found, loaded))


def _listed(say: Language, found: Sequence[Code], loaded: Loaded) -> str:
    """Return the newest events as a table that opens at a click, for those who do not see the picture."""
    heads = [("", say.text("When")), ("", say.text("Kind")), ("", say.text("What happened"))]
    rows = [
        [say.date(one["on"]), say.text(words.LANES[one["lane"]]), words.event(say, one, loaded)]
        for one in found[:_EVENTS]
    ]
    told = say.plural("As a list: the last event", "As a list: the last {n} events", len(rows))
    return f"<details><summary>{html.escape(told)}</summary>{layout.table(heads, rows)}</details>"


def people(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return who stands around the customer, and the channels."""
    found = card.people
    none = say.text("none")
    manager = found["manager"]
    facts = [
        (
            say.text("Manager"),
            f"{manager['name'] or ''}, {wording.value(say, manager['role'] or '')}" if manager else none,
        ),
        (say.text("Home branch"), found["branch"] or none),
        (say.text("Channel asked for"), wording.value(say, found["preferred"]) if found["preferred"] else none),
        (say.text("Marketing allowed by"), ", ".join(wording.value(say, one) for one in found["allowed"]) or none),
    ]
    if found["children"]:
        ages = ", ".join(say.plural("{n} year", "{n} years", one) for one in found["children"])
        facts.append((say.text("Ages of the children"), ages))
    others = "<br>".join(_member(say, one) for one in found["household"]) or html.escape(none)
    lines = [(name, html.escape(told)) for name, told in facts] + [(say.text("Others of the household"), others)]
    cells = "".join(f'<tr><th scope="row">{html.escape(name)}</th><td>{told}</td></tr>' for name, told in lines)
    body = f'<table class="crm-table card-facts"><tbody>{cells}</tbody></table>'
    if found["channels"]:
        heads = [
            ("", say.text("Channel")),
            ("n", say.text("Came to us")),
            ("n", say.text("We came")),
            ("n", say.text("Offers")),
            ("n", say.text("Taken")),
        ]
        rows = [
            [
                wording.value(say, one["channel"]),
                *[say.number(one[name]) for name in ("came", "went", "offers", "taken")],
            ]
            for one in found["channels"]
        ]
        body += layout.table(heads, rows, caption=say.text("Contacts in the last two years"))
    return Part(layout.title(say.text("Relationship")), (), body)


def _member(say: Language, one: Code) -> str:
    told = [one["customer_id"]]
    if one["age_years"] is not None:
        told.append(say.plural("{n} year old", "{n} years old", one["age_years"]))
    if not one["open"]:
        told.append(say.text("has left"))
    return layout.link("customer_card", ", ".join(told), customer=one["customer_id"])
