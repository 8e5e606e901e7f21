"""Pictures of one customer: the timeline, debts running down, the account of value, phases, risk, answers."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts
from crmlib.views.plots import AMBER, BLUE, GREEN, GREY, INK, ORANGE, PALE, PALETTE, PAPER, PURPLE, RULE, SKY

PHASES = {
    "prospect": RULE,
    "new": SKY,
    "growing": GREEN,
    "mature": BLUE,
    "fading": AMBER,
    "lapsed": ORANGE,
    "won_back": PURPLE,
}
_MARKS = {"good": (GREEN, "circle"), "bad": (ORANGE, "x"), "open": (BLUE, "diamond"), "": (GREY, "circle")}
_MS = pd.Timedelta(milliseconds=1)


def timeline(
    events: pd.DataFrame,
    *,
    lanes: Sequence[tuple[str, str]],
    span: tuple[pd.Timestamp, pd.Timestamp],
    language: str = "en",
) -> go.Figure:
    """Return a customer's history in lanes, a mark for each event; marks of one lane and day are drawn as one.

    In: ``events`` with lane, on (date), mark ("good", "bad", "open", "") and words; ``lanes`` code and name, from the bottom
    up; ``span`` first and last day shown.
    """
    drawn = plots.figure(language, "", "")
    names = dict(lanes)
    place = {code: number for number, code in enumerate(names)}
    drawn.update_yaxes(
        tickvals=list(place.values()),
        ticktext=[html.escape(one) for one in names.values()],
        showgrid=True,
        zeroline=False,
    )
    for mark, (color, symbol) in _MARKS.items():
        own = events[events["mark"] == mark]
        drawn.add_scatter(
            x=own["on"],
            y=own["lane"].map(place),
            mode="markers",
            marker={
                "size": 11,
                "color": color,
                "symbol": symbol,
                "opacity": 0.8,
                "line": {"width": 1, "color": PAPER},
            },
            text=own["words"],
            hovertemplate="%{x|%d.%m.%Y}<br>%{text}<extra></extra>",
            showlegend=False,
        )
    drawn.update_yaxes(range=[-0.6, len(place) - 0.4], automargin=True)
    drawn.update_xaxes(type="date", tickformat="%m.%Y", range=list(span), nticks=9)
    drawn.update_layout(hovermode="closest", height=64 + 30 * len(place), margin={"t": 8})
    return drawn


def debts(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return what was owed on each contract over time: contract (name), day, owed_minor."""
    say = texts.speak(language)
    drawn = plots.figure(language, "", say.text("Owed, {unit}", unit=say.symbol(currency)))
    unit = texts.major(1, currency)
    for color, (name, rows) in zip(PALETTE * 3, table.groupby("contract", sort=False), strict=False):
        drawn.add_scatter(
            x=rows["day"],
            y=rows["owed_minor"] * unit,
            mode="lines+markers" if len(rows) < 3 else "lines",
            name=html.escape(str(name)),
            line={"color": color, "width": 2.5},
            hovertemplate="%{y:,.0f} " + say.symbol(currency),
        )
    drawn.update_xaxes(type="date", tickformat="%m.%Y", nticks=6)
    drawn.update_yaxes(rangemode="tozero", tickformat=",~r")
    drawn.update_layout(showlegend=True, height=240)
    return drawn


def account(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return the account of a year as steps: each line of income and cost, and what is left; name, amount_minor, total."""
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("{unit} in the last year", unit=say.symbol(currency)), "")
    unit = texts.major(1, currency)
    steps = (table["amount_minor"].where(~table["total"], 0).cumsum() * unit).tolist()
    low, high = min(0.0, *steps), max(0.0, *steps)
    # On a narrow page there is no room beside long bars, and within short ones there never is.
    long = table["amount_minor"].abs() * unit > 0.5 * (high - low)
    drawn.add_waterfall(
        orientation="h",
        y=[html.escape(one) for one in table["name"]],
        x=table["amount_minor"] * unit,
        measure=["total" if one else "relative" for one in table["total"]],
        text=[say.money(one, currency) for one in table["amount_minor"]],
        textposition=["inside" if one else "outside" for one in long],
        textangle=0,
        insidetextfont={"color": PAPER},
        cliponaxis=False,
        increasing={"marker": {"color": GREEN}},
        decreasing={"marker": {"color": ORANGE}},
        totals={"marker": {"color": BLUE}},
        connector={"line": {"color": PALE, "width": 1}},
        hoverinfo="skip",
    )
    room = 0.3 * max(high - low, 1.0)
    drawn.update_xaxes(
        range=[low - (room if low < 0 else 0), high + room], tickformat=",~r", nticks=4, tickangle=0, zeroline=True
    )
    drawn.update_yaxes(autorange="reversed", showgrid=False)
    drawn.update_layout(height=90 + 28 * len(table), hovermode=False, showlegend=False, bargap=0.35, margin={"t": 8})
    return drawn


def outlook(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return what the customer will be worth and could be, with intervals: name, minor, low_minor, high_minor."""
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Present value, {unit}", unit=say.symbol(currency)), "")
    unit = texts.major(1, currency)
    value = table["minor"] * unit
    drawn.add_bar(
        x=value,
        y=[html.escape(one) for one in table["name"]],
        orientation="h",
        marker={"color": [BLUE, GREEN][: len(table)]},
        error_x={
            "array": table["high_minor"] * unit - value,
            "arrayminus": value - table["low_minor"] * unit,
            "symmetric": False,
            "color": INK,
            "thickness": 1.5,
        },
        customdata=list(zip(table["low_minor"] * unit, table["high_minor"] * unit, strict=True)),
        hovertemplate="%{x:,.0f} (%{customdata[0]:,.0f} – %{customdata[1]:,.0f})<extra></extra>",
    )
    drawn.update_yaxes(autorange="reversed", showgrid=False)
    drawn.update_xaxes(tickformat=",~r", nticks=4, tickangle=0, zeroline=True)
    drawn.update_layout(height=80 + 34 * len(table), hovermode="closest", showlegend=False, bargap=0.4, margin={"t": 8})
    return drawn


def phases(
    table: pd.DataFrame, *, rows: Sequence[tuple[str, str]], words: Mapping[str, str], language: str = "en"
) -> go.Figure:
    """Return the phases on a few days as coloured strips: day, and a column of phases for each of ``rows`` (column, name).

    A strip reaches halfway to the days beside it, so that the last day, which counts most, is as wide as the others.
    """
    drawn = plots.figure(language, "", "")
    shown: set[str] = set()
    days = table["day"].tolist()
    gaps = [later - earlier for earlier, later in itertools.pairwise(days)] or [pd.Timedelta(days=90)]
    halves = [gaps[0] / 2, *[one / 2 for one in gaps], gaps[-1] / 2] if len(days) > 1 else [gaps[0] / 2] * 2
    for column, name in rows:
        for number, (day, phase) in enumerate(zip(days, table[column].astype("str"), strict=True)):
            before, after = halves[number], halves[number + 1]
            drawn.add_bar(
                base=[day - before],
                x=[(before + after) / _MS],
                y=[html.escape(name)],
                orientation="h",
                name=html.escape(words.get(phase, phase)),
                legendgroup=phase,
                showlegend=phase not in shown,
                marker={"color": PHASES.get(phase, GREY), "line": {"width": 0}},
                hovertemplate=html.escape(words.get(phase, phase)) + f"<br>{day:%d.%m.%Y}<extra></extra>",
            )
            shown.add(phase)
    drawn.update_xaxes(type="date", tickformat="%m.%Y", tickvals=days[::-2], tickangle=0)
    drawn.update_yaxes(autorange="reversed", showgrid=False)
    drawn.update_layout(
        barmode="overlay", height=110 + 40 * len(rows), bargap=0.35, hovermode="closest", showlegend=True
    )
    return drawn


def risks(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the probability of leaving within 90 days by reason: reason (words), risk_90."""
    say = texts.speak(language)
    rows = table.sort_values("risk_90")
    drawn = plots.figure(language, say.text("Probability of leaving within 90 days"), "")
    drawn.add_bar(
        x=rows["risk_90"],
        y=[html.escape(one) for one in rows["reason"]],
        orientation="h",
        marker={"color": ORANGE},
        text=[say.percent(one, 1 if one >= 0.001 else 2) for one in rows["risk_90"]],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    top = max(float(rows["risk_90"].max()), 0.001) if len(rows) else 1.0
    drawn.update_xaxes(range=[0, top * 1.3], tickformat=".1~%", nticks=3)
    drawn.update_yaxes(showgrid=False)
    drawn.update_layout(
        height=80 + 28 * max(len(rows), 1), hovermode=False, showlegend=False, bargap=0.35, margin={"t": 8}
    )
    return drawn


def answers(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the answers on recommending us over time (day, score), over the zones of detractors, passives and promoters."""
    drawn = plots.figure(language, "", "")
    for low, high, color in ((-0.5, 6.5, "rgba(213,94,0,0.08)"), (8.5, 10.5, "rgba(0,158,115,0.10)")):
        drawn.add_hrect(y0=low, y1=high, fillcolor=color, line_width=0)
    colors = [GREEN if score >= 9 else ORANGE if score <= 6 else GREY for score in table["score"]]
    drawn.add_scatter(
        x=table["day"],
        y=table["score"],
        mode="lines+markers",
        line={"color": PALE, "width": 1.5},
        marker={"color": colors, "size": 11},
        hovertemplate="%{x|%d.%m.%Y}: %{y}<extra></extra>",
    )
    days = pd.to_datetime(table["day"])
    room = pd.Timedelta(days=60)
    drawn.update_xaxes(type="date", tickformat="%m.%Y", nticks=5, range=[days.min() - room, days.max() + room])
    drawn.update_yaxes(range=[-0.5, 10.5], tickvals=[0, 6, 9, 10], zeroline=False)
    drawn.update_layout(height=190, hovermode="closest", showlegend=False, margin={"t": 8})
    return drawn
