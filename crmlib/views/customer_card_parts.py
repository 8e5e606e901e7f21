"""The parts of the customer card: each a heading, pictures and words about one customer."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from crmlib.decisions.desk_history import Code
from crmlib.views import customer_card_data as data
from crmlib.views import customer_card_words as words
from crmlib.views import frame, loyalty_words, plots_customer_card, retention_words, wording
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.customer_card_events import LANES, events
from crmlib.views.texts import Language

_REASONS, _ENTRIES, _APPLICATIONS, _MENTIONS, _EVENTS = 5, 6, 8, 3, 50


@dataclass(frozen=True, eq=False)
class Part:
    """What one card of the page shows: HTML above the pictures, the pictures (None: nothing to draw), HTML below."""

    head: str
    figures: tuple[go.Figure | None, ...] = ()
    body: str = ""


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
    worth = say.money(value["predicted_minor"], currency) if value else ""
    reason = retention_words.reason(say, churn["reason"]) if churn and churn.get("reason") else ""
    return frame.tiles(
        [
            (
                say.text("Brought in last year, net"),
                say.money(value["actual_minor"], currency) if value else none,
                say.text("expected from now on: {money}", money=worth) if value else "",
            ),
            (say.text("Risk of leaving in 90 days"), say.percent(churn["risk_90"]) if churn else none, reason),
            (say.text("Phase"), words.phase(say, life["phase"]) if life else none, since),
            (say.text("Loyalty index, 0 to 100"), say.number(loyalty["index"]) if loyalty else none, answer),
            (say.text("Owed to us"), say.money(owed, currency), ""),
            (
                say.text("Points"),
                say.number(points["balance"]) if points else none,
                say.text("{n} expire within 90 days", n=say.number(points["expiring_90"])) if points else "",
            ),
        ]
    )


def timeline(say: Language, card: Card, loaded: Loaded, *, since: dt.date | None) -> Part:
    """Return the history in lanes."""
    found = events(card, since=since)
    note = say.text("Green: good. Orange cross: bad. Blue diamond: open. Point at a mark to see what it is.")
    head = frame.title(say.text("History"), note)
    if not found:
        return Part(head, (None,), _p(say.text("Nothing is on record in this time.")))
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
    return Part(head, (drawn,), _listed(say, found, loaded))


def _listed(say: Language, found: Sequence[Code], loaded: Loaded) -> str:
    """Return the newest events as a table that opens at a click, for those who do not see the picture."""
    heads = [("", say.text("When")), ("", say.text("Kind")), ("", say.text("What happened"))]
    rows = [
        [say.date(one["on"]), say.text(words.LANES[one["lane"]]), words.event(say, one, loaded)]
        for one in found[:_EVENTS]
    ]
    told = say.plural("As a list: the last event", "As a list: the last {n} events", len(rows))
    return f"<details><summary>{html.escape(told)}</summary>{frame.table(heads, rows)}</details>"


def credit(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the credit history."""
    currency, names, found = loaded.company.currency, loaded.names, card.credit
    lines = [words.credit(say, one, names, currency=currency) for one in found.summary]
    head = frame.title(say.text("Credit history")) + _list(lines)
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
    body = ""
    if found.contracts:
        heads = [
            ("", say.text("Contract")),
            ("", say.text("From")),
            ("", say.text("Until")),
            ("n", say.text("Borrowed or limit")),
            ("n", say.text("Owed now")),
        ]
        body += frame.table(heads, [_contract(say, one, names, currency) for one in found.contracts])
    if found.applications:
        heads = [
            ("", say.text("Applied on")),
            ("", say.text("Credit")),
            ("n", say.text("Asked for")),
            ("", say.text("Outcome")),
        ]
        rows = [_application(say, one, names, currency) for one in found.applications[:_APPLICATIONS]]
        body += frame.table(heads, rows, caption=say.text("Applications for credit"))
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
    head = frame.title(
        say.text("Customer value"), say.text("What the customer brought in the last year, less what it cost us.")
    )
    if row is None:
        return Part(head, (None, None), _p(_why(say, "customer_value", card, loaded)) + _p(time))
    lines = card.tables["customer_value.lines"]
    steps = [
        (words.line(say, str(one["line"])), float(one["amount_minor"]), False)
        for one in _records(lines)
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
    figures = (
        plots_customer_card.account(table, currency=currency, language=say.code),
        plots_customer_card.outlook(ahead, currency=currency, language=say.code),
    )
    return Part(head, figures, _p(_gap(say, card, loaded)) + _p(time))


def _gap(say: Language, card: Card, loaded: Loaded) -> str:
    row = card.scores["customer_value"]
    assert row is not None
    rows = sorted(_records(card.tables["customer_value.gap_products"]), key=lambda one: -one["gap_minor"])
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


def risk(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the risk of leaving, why, and what was decided."""
    row, kept = card.scores["churn"], card.scores["retention"]
    head = frame.title(say.text("Risk of leaving"))
    if row is None:
        return Part(head, (None,), _p(_why(say, "churn", card, loaded)))
    shares = [say.percent(row[f"risk_{days}"]) for days in (30, 90, 180)]
    head += _p(
        say.text(
            "Within 30, 90 and 180 days: {first}, {second}, {third}.",
            first=shares[0],
            second=shares[1],
            third=shares[2],
        )
    )
    table = card.tables["churn.by_reason"]
    drawn = None
    if len(table):
        told = [retention_words.reason(say, str(one)) for one in table["reason"]]
        drawn = plots_customer_card.risks(table.assign(reason=told), language=say.code)
    why = [
        wording.reason(say, one, currency=loaded.company.currency, products=loaded.names)
        for one in data.reasons(card)
        if one.get("direction", "for") == "for"
    ]
    reasons = _list(why[:_REASONS]) if why else _p(say.text("Reasons are kept for the customers of highest risk only."))
    if kept is None:
        acted = _p(say.text("Decision about keeping the customer: {why}", why=_why(say, "retention", card, loaded)))
    else:
        acted = _acted(say, kept, loaded.company.currency)
    return Part(head, (drawn,), reasons + acted)


def _acted(say: Language, kept: Code, currency: str) -> str:
    row = pd.Series(kept)
    decided, why = retention_words.decision(say, row), retention_words.explained(say, row, currency)
    return f'<p class="card-act">{html.escape(decided)}</p>{_p(why)}'


def life(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the phase of the life cycle and its history."""
    row = card.scores["lifecycle"]
    head = frame.title(say.text("Life cycle"))
    if row is None:
        return Part(head, (None,), _p(_why(say, "lifecycle", card, loaded)))
    now = words.phase(say, row["phase"])
    told = (
        [say.text("By the rules: {phase}, since {date}.", phase=now, date=say.date(row["since"]))]
        if row.get("since")
        else [now]
    )
    if row.get("hidden_phase"):
        told.append(say.text("By the model of behaviour: {phase}.", phase=words.phase(say, row["hidden_phase"])))
    if row.get("next_phase") and row.get("days_to_next") is not None:
        following = words.phase(say, row["next_phase"])
        days = say.plural("{n} day", "{n} days", round(row["days_to_next"]))
        told.append(say.text("Expected next: {phase}, in about {days}.", phase=following, days=days))
    table = card.tables["lifecycle.history"]
    drawn = None
    if len(table):
        table = table.assign(start=pd.to_datetime(table["as_of"])).sort_values("start").reset_index(drop=True)
        table["end"] = table["start"].shift(-1).fillna(pd.Timestamp(card.as_of) + pd.Timedelta(days=1))
        rows = [("phase", say.text("By rules"))]
        if "hidden_phase" in table and table["hidden_phase"].notna().any():
            rows.append(("hidden_phase", say.text("By model")))
        known = {
            str(name): words.phase(say, str(name)) for column, _ in rows for name in table[column].dropna().unique()
        }
        table = table.fillna({column: "" for column, _ in rows})
        drawn = plots_customer_card.phases(table, rows=rows, words=known, language=say.code)
    return Part(head + _list(told), (drawn,))


def loyalty(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return answers, index, points and mentions."""
    row = card.scores["loyalty"]
    head = frame.title(say.text("Loyalty"))
    if row is None:
        head += _p(_why(say, "loyalty", card, loaded))
    else:
        kept = say.percent(row["retained"], 0)
        head += _p(
            say.text(
                "Index {n} of 100; {share} likely to be with us in 180 days.", n=say.number(row["index"]), share=kept
            )
        )
    asked = [
        (one["answered_at"], one["score"])
        for one in card.rows["surveys"]
        if one["question"] == "nps" and one["score"] is not None
    ]
    drawn = None
    if asked:
        drawn = plots_customer_card.answers(pd.DataFrame(asked, columns=["day", "score"]), language=say.code)
        head += f"<h3>{html.escape(say.text('Would recommend us, 0 to 10'))}</h3>"
    else:
        head += _p(say.text("Never answered whether to recommend us."))
    return Part(head, (drawn,), _drivers(say, card) + _points(say, card, loaded) + _mentions(say, card))


def _drivers(say: Language, card: Card) -> str:
    rows = _records(card.tables["loyalty.contributions"])
    if not rows:
        return ""
    rows = sorted(rows, key=lambda one: one["contribution"])
    down = [loyalty_words.sign(say, str(one["driver"])) for one in rows if one["contribution"] < 0][:3]
    up = [loyalty_words.sign(say, str(one["driver"])) for one in rows[::-1] if one["contribution"] > 0][:3]
    told = []
    if down:
        told.append(say.text("Speaks against loyalty: {drivers}.", drivers=", ".join(down)))
    if up:
        told.append(say.text("Speaks for loyalty: {drivers}.", drivers=", ".join(up)))
    return _list(told)


def _points(say: Language, card: Card, loaded: Loaded) -> str:
    rows, row = card.rows["loyalty_entries"], card.scores["points"]
    if not rows:
        return _p(say.text("Not a member of the programme of points."))
    balance = sum(one["points"] for one in rows) if row is None else row["balance"]
    caption = say.text("Points: {n}", n=say.number(balance))
    if row is not None and row["expiring_90"]:
        caption += " · " + say.text("{n} expire within 90 days", n=say.number(row["expiring_90"]))
    heads = [("", say.text("On")), ("", say.text("What for")), ("n", say.text("Points")), ("", say.text("Valid until"))]
    shown = [
        [
            say.date(one["occurred_at"].date()),
            words.points_reason(say, one["reason"] or ""),
            say.number(one["points"]),
            say.date(one["expires_on"]) if one["expires_on"] else "",
        ]
        for one in reversed(rows[-_ENTRIES:])
    ]
    return frame.table(heads, shown, caption=caption)


def _mentions(say: Language, card: Card) -> str:
    rows = card.rows["mentions"]
    lines = [
        f"{say.date(one['occurred_at'].date())} · {words.feeling(say, one['sentiment'] or 0.0)} · {one['text'] or ''}"
        for one in reversed(rows[-_MENTIONS:])
    ]
    return f"<h3>{html.escape(say.text('In social networks'))}</h3>" + _list(lines) if lines else ""


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
    others = ", ".join(_member(say, one) for one in found["household"]) or html.escape(none)
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
        body += frame.table(heads, rows, caption=say.text("Contacts in the last two years"))
    return Part(frame.title(say.text("Relationship")), (), body)


def _member(say: Language, one: Code) -> str:
    told = [one["customer_id"]]
    if one["age_years"] is not None:
        told.append(say.plural("{n} year old", "{n} years old", one["age_years"]))
    if not one["open"]:
        told.append(say.text("has left"))
    return frame.Frame.link("customer_card", ", ".join(told), customer=one["customer_id"])


def _why(say: Language, model: str, card: Card, loaded: Loaded) -> str:
    return words.not_in(say, card) if model in loaded.sets and not card.objected else words.missing(say, model, card)


def _records(table: pd.DataFrame) -> list[Code]:
    rows: list[Code] = table.to_dict("records")  # type: ignore[assignment]
    return rows


def _p(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(one)}</li>" for one in lines)
    return f'<ul class="card-list">{items}</ul>' if items else ""
