"""Pictures of what campaigns changed: effects with their intervals, looks while they run, and the Qini curve."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from crmlib.errors import DataError
from crmlib.views import certainty, effect_words, plots, texts


def effects(table: pd.DataFrame, *, currency: str, language: str = "en", measure: str = "profit_minor") -> go.Figure:
    """Return the total effect of each arm with its interval, all arms together first; zero is marked.

    In: a table of ``experiments.final`` or ``interim``; arms without an interval are left out.
    """
    say = texts.speak(language)
    _need(table, {"arm", "measure", "total", "total_low", "total_high"})
    rows = table[(table["measure"] == measure) & table["total"].notna()].iloc[::-1]
    unit = 1.0 if measure == "conversions" else texts.major(1, currency)
    title = effect_words.measure_name(measure, language)
    heading = title if measure == "conversions" else f"{title}, {say.symbol(currency)}"
    drawn = plots.figure(language, heading[:1].upper() + heading[1:], "")
    value = rows["total"] * unit
    error = {
        "array": rows["total_high"] * unit - value,
        "arrayminus": value - rows["total_low"] * unit,
        "symmetric": False,
        "thickness": 3,
        "width": 8,
        "color": plots.BLUE,
    }
    names = [effect_words.arm_name(arm, language) for arm in rows["arm"]]
    marker = {"color": plots.BLUE, "size": 12}
    drawn.add_scatter(x=value, y=names, error_x=error, mode="markers", marker=marker, showlegend=False)
    drawn.add_vline(x=0, line={"color": plots.GREY, "dash": "dot"})
    drawn.update_layout(height=120 + 46 * max(len(rows), 1), hovermode="closest", margin={"t": 12})
    drawn.update_xaxes(tickformat=",~r")
    drawn.update_yaxes(type="category")
    return certainty.told(drawn, certainty.interval(say, 95))


def looks(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return the effect as it was seen at each look, with the interval that holds at all looks together.

    In: rows of ``experiments.interim`` of one arm and one measure, with the day of each look in ``day``.
    """
    say = texts.speak(language)
    _need(table, {"day", "measure", "total", "total_low", "total_high"})
    rows = table[table["total"].notna()]
    measure = str(table["measure"].iloc[0]) if len(table) else "conversions"
    unit = 1.0 if measure == "conversions" else texts.major(1, currency)
    title = effect_words.measure_name(measure, language)
    heading = title if measure == "conversions" else f"{title}, {say.symbol(currency)}"
    drawn = plots.figure(language, say.text("Day of the look"), heading[:1].upper() + heading[1:])
    band = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    drawn.add_scatter(x=rows["day"], y=rows["total_high"] * unit, **band)
    fill = {"fill": "tonexty", "fillcolor": "rgba(0, 114, 178, 0.15)"}
    drawn.add_scatter(x=rows["day"], y=rows["total_low"] * unit, **band, **fill)
    line = {"color": plots.BLUE, "width": 3}
    drawn.add_scatter(x=rows["day"], y=rows["total"] * unit, mode="lines+markers", line=line, showlegend=False)
    drawn.add_hline(y=0, line={"color": plots.GREY, "dash": "dot"})
    drawn.update_layout(margin={"t": 12})
    return drawn


def qini(curve: pd.DataFrame, *, unit: str = "", language: str = "en") -> go.Figure:
    """Return the Qini curve: what treating the first share of customers, by estimated uplift, brings per customer.

    In: a table of ``qini.curve``: share, value, low, high, random; ``unit`` of the value for the axis.
    """
    say = texts.speak(language)
    _need(curve, {"share", "value", "low", "high", "random"})
    name = say.text("Additional result per customer")
    drawn = plots.figure(language, say.text("Share of customers treated"), f"{name}, {unit}" if unit else name)
    band = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    drawn.add_scatter(x=curve["share"], y=curve["high"], **band)
    drawn.add_scatter(x=curve["share"], y=curve["low"], **band, fill="tonexty", fillcolor="rgba(0, 114, 178, 0.15)")
    line = {"color": plots.GREY, "dash": "dot"}
    drawn.add_scatter(x=curve["share"], y=curve["random"], mode="lines", line=line, name=say.text("in random order"))
    own = {"color": plots.BLUE, "width": 3}
    words = say.text("by estimated uplift")
    drawn.add_scatter(x=curve["share"], y=curve["value"], mode="lines", line=own, name=words)
    drawn.update_xaxes(tickformat=".0%", range=[0, 1])
    return drawn


def _need(table: pd.DataFrame, columns: set[str]) -> None:
    missing = sorted(columns - set(table))
    if missing:
        raise DataError(f"the table lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table))}")
