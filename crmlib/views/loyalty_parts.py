"""What each card of the loyalty dashboard shows: its title, its chart, and what is said below or in place of one."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import layout, loyalty_data, origins, plots_loyalty, retention_words, texts, wording
from crmlib.views import loyalty_words as words
from crmlib.views.loyalty_data import Loaded
from crmlib.views.texts import Language

_MOST_WHY = 3
QUOTED = 4
"""Mentions shown word for word where somebody asks for them."""


@dataclass(frozen=True, eq=False)
class Part:
    """A card. Attributes: ``title`` and ``note`` as HTML; ``figure`` None where there is nothing to draw."""

    title: str
    figure: go.Figure | None
    note: str = ""


def parts(
    say: Language,
    loaded: Loaded,
    *,
    survey: str | None,
    kind: str | None,
    measure: str,
    weighted: bool,
    quoted: bool = False,
) -> dict[str, Part]:
    """Return every card by its name, for what a person chose; ``survey`` and ``kind`` None where there are none.

    ``quoted``: with what people wrote word for word, which is personal.
    """
    return {
        "time": _time(say, loaded, survey, weighted),
        "groups": _groups(say, loaded, survey, kind),
        "drivers": _drivers(say, loaded),
        "balance": _balance(say, loaded),
        "cohorts": _cohorts(say, loaded, measure),
        "weights": _weights(say, loaded),
        "calibration": _calibration(say, loaded),
        "points": _points(say, loaded),
        "mentions": _mentions(say, loaded, quoted=quoted),
        "tasks": _tasks(say, loaded),
    }


def _nothing(title: str, why: str, more: str = "") -> Part:
    """Return a card that says why there is no chart."""
    return Part(title, None, f'<p class="crm-note">{html.escape(why)}</p>{more}')


def _said(note: str) -> str:
    return f"<p>{html.escape(note)}</p>" if note else ""


def _time(say: Language, loaded: Loaded, survey: str | None, weighted: bool) -> Part:
    title = layout.title(
        say.text("Would customers recommend us?"),
        say.text("NPS: share of promoters (9–10) less detractors (0–6), by quarter, with 95% intervals."),
    )
    if not survey:
        return _nothing(title, loaded.missing.get("nps", say.text("There are no answers to a survey yet.")))
    found = loaded.over_time(survey)
    note = _few(say, found, lambda row: plots_loyalty.quarter(say.code, row["period"]))
    if not found["score"].notna().any():
        why = say.text("There are fewer than 10 answers in every quarter: too few for a score.")
        return _nothing(title, why, note)
    return Part(title, plots_loyalty.over_time(found, weighted=weighted, language=say.code), note)


def _groups(say: Language, loaded: Loaded, survey: str | None, kind: str | None) -> Part:
    title = layout.title(
        say.text("Where is it better, where worse?"),
        say.text("Last 12 months. Green or orange: clearly better or worse than all others, also after many looks."),
    )
    if not survey:
        return _nothing(title, loaded.missing.get("nps", say.text("There are no answers to a survey yet.")))
    if not kind:
        return _nothing(title, say.text("The answers say nothing of channel, branch or segment."))
    rows = loaded.by_group(survey, kind)
    names = {name: wording.value(say, name) for name in rows["group"]} | loaded.group_names(say, kind)
    note = _few(say, rows, lambda row: names.get(row["group"], row["group"]))
    if not rows["score"].notna().any():
        why = say.text("There are fewer than 10 answers in every group: too few for a score.")
        return _nothing(title, why, note)
    return Part(title, plots_loyalty.groups(rows, names=names, language=say.code), note)


def _few(say: Language, rows: pd.DataFrame, name: Callable[[Any], str]) -> str:
    """Return which groups have fewer than 10 answers, as HTML: their counts would tell of persons."""
    small = rows[rows["score"].isna()]
    if small.empty:
        return ""
    heading = say.text("Fewer than 10 answers, so nothing is shown of:")
    lines = "; ".join(name(row) for _, row in small.iterrows())
    return f"<p>{html.escape(heading)} {html.escape(lines)}.</p>"


def _drivers(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("What moves the recommendation?"),
        say.text(
            "What one point more in an answer about service adds to the recommendation; the most important on top."
        ),
    )
    found = loaded.drivers()
    if found.empty:
        return _nothing(
            title, say.text("No survey asks about service beside the recommendation, or too few answered it.")
        )
    names = {name: words.question(say, name) for name in found["driver"]}
    note = say.plural(
        "{n} answer; together they explain {share} of the differences. What goes together need not be a cause.",
        "{n} answers; together they explain {share} of the differences. What goes together need not be a cause.",
        int(found["answers"].iloc[0]),
        share=say.percent(found["explained"].iloc[0], 0),
    )
    return Part(title, plots_loyalty.drivers(found, names=names, language=say.code), _said(note))


def _balance(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("Who answers, and what if everybody did?"),
        say.text(
            "How those who answered differ from all customers, in standard deviations; in the grey band they count as alike."
        ),
    )
    table = loaded.tables["response"]
    if table.empty:
        return _nothing(title, loaded.missing.get("weights", say.text("There are no answers to a survey yet.")))
    names = {name: words.sign(say, name) for name in table["feature"]}
    note = say.text(
        "Weighting corrects what is observed here. Where the discontented answer less for other reasons, the score stays too high."
    )
    return Part(title, plots_loyalty.balance(table, names=names, language=say.code), _said(note))


def _cohorts(say: Language, loaded: Loaded, measure: str) -> Part:
    title = layout.title(
        say.text("Who stays, by joining month"),
        say.text(
            "{what}. In brackets: customers who joined. The interval is under the mouse.",
            what=words.measure(say, measure),
        ),
    )
    table = loaded.tables["cohorts"]
    if table.empty:
        return _nothing(title, loaded.missing.get("cohorts", say.text("There are no cohorts yet.")))
    currency = loaded.company.currency
    grid = loyalty_data.cohort_grid(table, measure)
    sizes = table.groupby("cohort")["customers"].first().tolist()

    def write(value: float) -> str:
        return say.percent(value, 0) if measure == "retained" else say.money(value, currency, 2)

    unit = 1.0 if measure == "retained" else texts.major(1, currency)
    return Part(title, plots_loyalty.cohorts(grid, sizes=sizes, write=write, unit=unit, language=say.code))


def _weights(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("Signs of loyalty"),
        say.text(
            "What told, half a year ahead, who would stay (log-odds per standard deviation). Grey: may be chance."
        ),
    )
    table = loaded.tables["weights"]
    if table.empty:
        return _nothing(title, loaded.missing.get("index", say.text("There is no loyalty index yet.")))
    names = {name: words.sign(say, name) for name in table["driver"]}
    return Part(title, plots_loyalty.weights(table, names=names, language=say.code))


def _calibration(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("Can the index be trusted?"),
        say.text("On customers and a half-year that it had not seen: on the line, it holds what it promises."),
    )
    bins = loaded.tables["index_bins"]
    if bins.empty:
        return _nothing(title, loaded.missing.get("index", say.text("There is no loyalty index yet.")))
    compared = loaded.tables["comparison"]
    note = loaded.missing.get("comparison", "") if compared.empty else words.compared(say, compared)
    return Part(title, plots_loyalty.calibration(bins, language=say.code), _said(note))


def _points(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("What the points will cost"),
        say.text("Points earned so far; what will never be spent is left out."),
    )
    table = loaded.points
    if table is None or table.empty:
        return _nothing(title, say.text("Nothing is known of loyalty points yet; run `crm points`."))
    now = table[table["ahead"] == 0].iloc[0]
    note = say.text(
        "Of the {points} points open now, {share} ({low} to {high}) will never be spent.",
        points=say.number(now["points_open"]),
        share=say.percent(now["breakage"], 0),
        low=say.percent(now["breakage_low"], 0),
        high=say.percent(now["breakage_high"], 0),
    )
    origin = origins.line(say, loaded.made[loyalty_data.POINTS])
    figure = plots_loyalty.points(table, currency=loaded.company.currency, language=say.code, origin=origin)
    return Part(title, figure, _said(note))


def _mentions(say: Language, loaded: Loaded, *, quoted: bool) -> Part:
    title = layout.title(
        say.text("What is said about us"),
        say.text("Mentions in social networks, as imported."),
    )
    table = loaded.tables["mentions"]
    if table.empty or not table["mentions"].sum():
        return _nothing(title, loaded.missing.get("mentions", say.text("No mentions have been imported yet.")))
    drawn = plots_loyalty.mentions(table, language=say.code)
    if not quoted:
        return Part(title, drawn)
    heads = [("", say.text("Day")), ("", say.text("Words")), ("n", say.text("Tone"))]
    rows = [
        [
            say.date(row["occurred_at"].date()),
            row["text"] if isinstance(row["text"], str) else "",
            "" if pd.isna(row["sentiment"]) else words.signed(say, row["sentiment"], 1),
        ]
        for _, row in loaded.quotes.head(QUOTED).iterrows()
    ]
    return Part(title, drawn, layout.table(heads, rows))


def _tasks(say: Language, loaded: Loaded) -> Part:
    title = layout.title(
        say.text("Whose loyalty is worth an effort now"),
        say.text("The tasks of consultants that save most, with the reasons."),
    )
    tasks = loaded.tasks
    if tasks is None:
        return _nothing(title, say.text("There is no work list yet; run `crm retention`."))
    if tasks.empty:
        return _nothing(title, say.text("Nobody is worth an effort now: no contact would save more than it costs."))
    heads = [
        ("", say.text("Customer")),
        ("", say.text("Branch")),
        ("", say.text("Why")),
        ("", say.text("What to do")),
        ("n", say.text("Cost")),
        ("n", say.text("Expected net saving")),
    ]
    best = tasks.sort_values("net_minor", ascending=False, na_position="last").head(loyalty_data.LATEST)
    rows = [_task(say, loaded, row) for _, row in best.iterrows()]
    link = layout.link("retention_watchlist", say.text("Open the whole list"))
    total = say.plural("{n} task in all.", "{n} tasks in all.", len(tasks))
    sure = say.text("Savings have no interval: each is a risk times a value times an effect, uncertain together.")
    origin = origins.line(say, loaded.made[loyalty_data.RETENTION])
    below = f'<p>{html.escape(total)} {link}</p><p class="crm-from">{html.escape(f"{sure} {origin}.")}</p>'
    return Part(title, None, layout.table(heads, rows) + below)


def _task(say: Language, loaded: Loaded, row: pd.Series) -> list[str]:
    currency, customer = loaded.company.currency, str(row["customer_id"])
    branch = row["branch_id"] if isinstance(row["branch_id"], str) else ""
    reasons = json.loads(row["why"])[:_MOST_WHY]
    return [
        layout.link("customer_card", customer, customer=customer),
        loaded.branches.get(branch, branch),
        "; ".join(retention_words.why(say, one, currency=currency) for one in reasons),
        "; ".join(retention_words.what(say, one) for one in json.loads(row["what"])),
        say.money(row["cost_minor"], currency, 2),
        "" if pd.isna(row["net_minor"]) else say.money(row["net_minor"], currency),
    ]


def tiles(say: Language, loaded: Loaded, *, survey: str | None) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, note."""
    shown = [] if not survey else _survey_tiles(say, loaded, survey)
    retained = loaded.scores["retained"]
    if retained.notna().any():
        note = say.text(
            "expected within 180 days by the index, deaths and moves apart; no interval: it gives each customer one probability"
        )
        shown.append((say.text("Customers who will leave"), say.number(float((1 - retained).sum())), note))
    if loaded.points is not None and len(loaded.points):
        now = loaded.points[loaded.points["ahead"] == 0].iloc[0]
        currency = loaded.company.currency
        low, high = (say.money(now[name], currency) for name in ("low", "high"))
        note = say.text("95% interval {low} to {high}", low=low, high=high)
        shown.append((say.text("Open points will cost"), say.money(now["liability_minor"], currency), note))
    return shown


def _survey_tiles(say: Language, loaded: Loaded, survey: str) -> list[tuple[str, str, str]]:
    shown = []
    found = loaded.over_time(survey)
    known = found[found["score"].notna()]
    if len(known):
        last = known.iloc[-1]
        name = say.text("NPS, {quarter}", quarter=plots_loyalty.quarter(say.code, last["period"]))
        shown.append((name, words.signed(say, last["score"]), words.interval(say, last["low"], last["high"])))
        told = words.change(say, last)
        if told:
            span = words.interval(say, last["difference_low"], last["difference_high"])
            shown.append((say.text("Change"), words.signed(say, last["difference"]), f"{span}; {told}"))
    before, after = loaded.whole(survey)
    if before is not None and after is not None and pd.notna(after["score"]):
        note = say.plural(
            "last quarter; as answered {score}",
            "last {n} quarters; as answered {score}",
            int(found["weighted_effective"].notna().sum()),
            score=words.signed(say, before["score"]),
        )
        note = f"{words.interval(say, after['low'], after['high'])}; {note}"
        shown.append((say.text("NPS if everybody had answered"), words.signed(say, after["score"]), note))
    return shown
