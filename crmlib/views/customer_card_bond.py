"""How firmly the customer stays, on the card: risk of leaving, life cycle, loyalty."""

from __future__ import annotations

import html

import pandas as pd

from crmlib.decisions.desk_history import Code
from crmlib.views import certainty, layout, loyalty_words, origins, plots_customer_card, retention_words, wording
from crmlib.views import customer_card_data as data
from crmlib.views import customer_card_words as words
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.customer_card_layout import Part, bullets, paragraph, records, why
from crmlib.views.texts import Language

_REASONS, _ENTRIES, _MENTIONS = 5, 6, 3


def risk(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the risk of leaving, why, and what was decided."""
    row, kept = card.scores["churn"], card.scores["retention"]
    head = layout.title(say.text("Risk of leaving"))
    if row is None:
        return Part(head, (None,), paragraph(why(say, "churn", card, loaded)))
    shares = [say.percent(row[f"risk_{days}"]) for days in (30, 90, 180)]
    within = say.text(
        "Within 30, 90 and 180 days: {first}, {second}, {third}.",
        first=shares[0],
        second=shares[1],
        third=shares[2],
    )
    if words.risk_range(say, row):
        ends = {"low": say.percent(row["low_90"]), "high": say.percent(row["high_90"])}
        within += " " + say.text("90% interval of the risk within 90 days: {low} to {high}.", **ends)
    head += paragraph(within)
    table = card.tables["churn.by_reason"]
    drawn = None
    if len(table):
        told = [retention_words.reason(say, str(one)) for one in table["reason"]]
        drawn = plots_customer_card.risks(table.assign(reason=told), language=say.code)
        why_none = say.text("the risk as a whole has the range told above; how it splits between reasons has none.")
        origin = origins.line(say, loaded.sets["churn"])
        drawn = certainty.told(drawn, certainty.none(say, why_none), origin=origin)
    signs = [
        wording.reason(say, one, currency=loaded.company.currency, products=loaded.names)
        for one in data.reasons(card)
        if one.get("direction", "for") == "for"
    ]
    reasons = (
        bullets(signs[:_REASONS])
        if signs
        else paragraph(say.text("Reasons are kept for the customers of highest risk only."))
    )
    if kept is None:
        acted = paragraph(
            say.text("Decision about keeping the customer: {why}", why=why(say, "retention", card, loaded))
        )
    else:
        acted = _acted(say, kept, loaded.company.currency)
    return Part(head, (drawn,), reasons + acted)


def _acted(say: Language, kept: Code, currency: str) -> str:
    row = pd.Series(kept)
    decided, cause = retention_words.decision(say, row), retention_words.explained(say, row, currency)
    return f'<p class="card-act">{html.escape(decided)}</p>{paragraph(cause)}'


def life(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return the phase of the life cycle and its history."""
    row = card.scores["lifecycle"]
    head = layout.title(say.text("Life cycle"))
    if row is None:
        return Part(head, (None,), paragraph(why(say, "lifecycle", card, loaded)))
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
        if row.get("days_from") is not None and row.get("days_to") is not None:
            ends = {"first": say.number(row["days_from"]), "last": say.number(row["days_to"])}
            told.append(say.text("Of such customers 80% move on after {first} to {last} days.", **ends))
    table = card.tables["lifecycle.history"]
    drawn = None
    if len(table):
        table = table.assign(day=pd.to_datetime(table["as_of"])).sort_values("day").reset_index(drop=True)
        rows = [("phase", say.text("By rules"))]
        if "hidden_phase" in table and table["hidden_phase"].notna().any():
            rows.append(("hidden_phase", say.text("By model")))
        known = {
            str(name): words.phase(say, str(name)) for column, _ in rows for name in table[column].dropna().unique()
        }
        table = table.fillna({column: "" for column, _ in rows})
        drawn = plots_customer_card.phases(table, rows=rows, words=known, language=say.code)
        sure = say.text("the phase by rules follows from the records; that of the model is the likeliest one.")
        drawn = certainty.told(drawn, certainty.none(say, sure), origin=origins.line(say, loaded.sets["lifecycle"]))
    return Part(head + bullets(told), (drawn,))


def loyalty(say: Language, card: Card, loaded: Loaded) -> Part:
    """Return answers, index, points and mentions."""
    row = card.scores["loyalty"]
    head = layout.title(say.text("Loyalty"))
    if row is None:
        head += paragraph(why(say, "loyalty", card, loaded))
    else:
        kept = say.percent(row["retained"], 0)
        head += paragraph(
            say.text(
                "Index {n} of 100; {share} likely to be with us in 180 days.", n=say.number(row["index"]), share=kept
            )
            + " "
            + certainty.none(say, words.no_range(say))
        )
    given = [one for one in card.rows["surveys"] if one["question"] == "nps" and one["score"] is not None]
    # Asked about the bank or about a visit, people answer differently: one line shows one survey.
    shown = min((one["survey"] for one in given), key=lambda name: name != "loyalty", default="")
    asked = [(one["answered_at"], one["score"]) for one in given if one["survey"] == shown]
    drawn = None
    if asked:
        drawn = plots_customer_card.answers(pd.DataFrame(asked, columns=["day", "score"]), language=say.code)
        drawn = certainty.told(drawn, certainty.counted(say), origin=origins.records(say, loaded.snapshot))
        head += f"<h3>{html.escape(say.text('Would recommend us, 0 to 10'))}</h3>"
    else:
        head += paragraph(say.text("Never answered whether to recommend us."))
    return Part(head, (drawn,), _drivers(say, card) + _points(say, card, loaded) + _mentions(say, card))


def _drivers(say: Language, card: Card) -> str:
    rows = records(card.tables["loyalty.contributions"])
    if not rows:
        return ""
    rows = sorted(rows, key=lambda one: one["contribution"])
    down = [_driver(say, one) for one in rows if one["contribution"] < 0][:3]
    up = [_driver(say, one) for one in rows[::-1] if one["contribution"] > 0][:3]
    told = []
    if down:
        told.append(say.text("Speaks against loyalty: {drivers}.", drivers=", ".join(down)))
    if up:
        told.append(say.text("Speaks for loyalty: {drivers}.", drivers=", ".join(up)))
    return bullets(told)


def _driver(say: Language, one: Code) -> str:
    """Return a driver as it is written within a sentence."""
    told = loyalty_words.sign(say, str(one["driver"]))
    return told[:1].lower() + told[1:]


def _points(say: Language, card: Card, loaded: Loaded) -> str:
    rows, row = card.rows["loyalty_entries"], card.scores["points"]
    if not rows:
        return paragraph(say.text("Not a member of the programme of points."))
    balance = sum(one["points"] for one in rows) if row is None else row["balance"]
    if balance < 0:
        return paragraph(say.text("The entries on record would take the points below zero; mend the source."))
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
    return layout.table(heads, shown, caption=caption)


def _mentions(say: Language, card: Card) -> str:
    rows = card.rows["mentions"][-_MENTIONS:]
    if not rows:
        return ""
    lines = [
        [say.date(one["occurred_at"].date()), words.feeling(say, one["sentiment"] or 0.0), one["text"] or ""]
        for one in reversed(rows)
    ]
    told = bullets([" · ".join(filter(None, line)) for line in lines])
    hidden = "" if any(one["text"] for one in rows) else paragraph(say.text("What was written shows with the name."))
    return f"<h3>{html.escape(say.text('In social networks'))}</h3>{told}{hidden}"
