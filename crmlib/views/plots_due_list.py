"""Pictures of the due list: margin by day, where the visits are, and whether the chances hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from babel import dates

from crmlib.views import plots, texts
from crmlib.views.plots import BLUE, GREY, ORANGE, PALETTE

SYMBOLS = ("circle", "diamond")
"""Markers of the days of which the colours have been used before."""
_WORDED = 6  # bars above which words have room


def by_day(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return bars of the margin due at the customers visited each day, with the number of visits above.

    In: visit_on, expected_margin_minor, visits.
    """
    say = texts.speak(language)
    unit, sign = texts.major(1, currency), say.symbol(currency)
    drawn = plots.figure(language, "", say.text("Margin due, {unit}", unit=sign))
    told = [say.plural("{n} visit", "{n} visits", number) for number in table["visits"]]
    # Beside many others there is no room for a word above a bar; below the pointer there always is.
    short = [say.number(number) for number in table["visits"]]
    days = [short_day(day, language).replace(" ", "<br>", 1) for day in table["visit_on"]]
    drawn.add_bar(
        x=list(range(len(table))),
        y=table["expected_margin_minor"] * unit,
        marker={"color": BLUE},
        text=told if len(table) <= _WORDED else short,
        textposition="outside",
        textfont={"size": 13},
        textangle=0,
        constraintext="none",
        cliponaxis=False,
        customdata=told,
        hovertemplate="%{y:,.0f} " + sign + "<br>%{customdata}<extra></extra>",
        showlegend=False,
    )
    top = float(table["expected_margin_minor"].max()) * unit if len(table) else 1.0
    drawn.update_layout(hovermode="closest", bargap=0.35, margin={"t": 20})
    drawn.update_xaxes(tickvals=list(range(len(table))), ticktext=days, tickangle=0)
    drawn.update_yaxes(range=[0, max(top, 1) * 1.18], tickformat=",~r")
    return drawn


def short_day(day: pd.Timestamp, language: str) -> str:
    """Return a day as it stands below an axis: weekday and date.

    >>> short_day(pd.Timestamp("2026-01-05"), "en")
    'Mon 5 Jan'
    """
    return str(dates.format_date(day.date(), "EEE d MMM", locale=language))


def where(table: pd.DataFrame, *, currency: str, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return the outlets visited by longitude and latitude, larger where more is due, one colour (and marker) and line a day.

    In: visit_on, employee_id, stop, outlet_id, latitude, longitude, expected_margin_minor; ``names`` of outlets. The lines join the stops of
    a representative's day in their order.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Longitude"), say.text("Latitude"))
    largest = max(float(table["expected_margin_minor"].max()), 1.0) if len(table) else 1.0
    for number, (day, rows) in enumerate(table.sort_values("stop").groupby("visit_on", sort=True)):
        color = PALETTE[number % len(PALETTE)]
        symbol = SYMBOLS[number // len(PALETTE) % len(SYMBOLS)]
        for place, (_employee, own) in enumerate(rows.groupby("employee_id", sort=True)):
            drawn.add_scatter(
                x=own["longitude"],
                y=own["latitude"],
                mode="lines+markers",
                name=short_day(pd.Timestamp(str(day)), language),
                legendgroup=str(day),
                showlegend=place == 0,
                line={"color": color, "width": 1.2},
                marker={
                    "symbol": symbol,
                    "color": color,
                    "size": 8 + 18 * np.sqrt(own["expected_margin_minor"] / largest),
                },
                customdata=[
                    (_plain(names.get(outlet, outlet)), say.money(minor, currency))
                    for outlet, minor in zip(own["outlet_id"], own["expected_margin_minor"], strict=True)
                ],
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            )
    # Up to ten days in the legend take two lines; said beforehand, they never lie over the outlets.
    drawn.update_layout(height=360, hovermode="closest", margin={"t": 64})
    middle = float(table["latitude"].mean()) if len(table) else 50.0
    drawn.update_xaxes(ticksuffix="°", nticks=5, constrain="domain")
    drawn.update_yaxes(ticksuffix="°", nticks=6, scaleanchor="x", scaleratio=1 / np.cos(np.radians(middle)))
    return drawn


def calibration(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return how often an order came against the chance that was given, by tenths, with 95% intervals.

    In: within_days, predicted, observed, low, high (shares).
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Chance of an order that was given"), say.text("Share that ordered"))
    line = {"color": GREY, "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name=say.text("as it should be"), line=line, hoverinfo="skip")
    for (within, rows), color in zip(table.groupby("within_days", sort=True), (BLUE, ORANGE), strict=False):
        error = {
            "array": rows["high"] - rows["observed"],
            "arrayminus": rows["observed"] - rows["low"],
            "symmetric": False,
            "color": color,
            "thickness": 1.2,
        }
        drawn.add_scatter(
            x=rows["predicted"],
            y=rows["observed"],
            error_y=error,
            mode="markers",
            marker={"color": color, "size": 8},
            name=say.plural("within {n} day", "within {n} days", int(str(within))),
        )
    drawn.update_layout(hovermode="closest")
    drawn.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    drawn.update_yaxes(tickformat=".0%", range=[-0.02, 1.04])
    return drawn


def _plain(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")
