"""Pictures of demand: history and forecast, error by horizon, what each step adds, plans, hierarchy, what if."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts, tick_names
from crmlib.views.plots import AMBER, BLUE, GREEN, GREY, INK, ORANGE, PURPLE

_BANDS = {95: "rgba(0, 114, 178, 0.12)", 80: "rgba(0, 114, 178, 0.22)"}
_PROMOTION = "rgba(230, 159, 0, 0.20)"
_ROW = 34  # pixels of a row with dots
_LONG = 30  # characters of a row's name
_PROMOTED = 0.25
"""From this share of open days on promotion a period is marked."""


def path(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    *,
    future: pd.DataFrame,
    plans: pd.DataFrame,
    overrides: pd.DataFrame,
    unit: str,
    language: str = "en",
) -> go.Figure:
    """Return what was wanted and what will be, with 80 and 95% intervals; promotions, empty shelves, plans and overrides marked.

    In: ``history`` and ``future`` of the saved series (period, quantity, recorded, status, weight, promotion), ``forecast`` a
    forecast table, ``plans`` source, period, quantity, ``overrides`` period, quantity, reason, made_by; each of one series,
    by period. ``unit`` says what is counted, in words.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, "", unit)
    _promotions(drawn, history, future, say.text("promotion"))
    _past(drawn, history, say)
    _ahead(drawn, history, forecast, say)
    for number, (source, rows) in enumerate(plans.groupby("source", sort=True) if len(plans) else ()):
        marker = {"color": PURPLE, "size": 9, "symbol": ("triangle-up", "triangle-down", "cross")[number % 3]}
        name = say.text("plan: {source}", source=tick_names.plain(str(source)))
        drawn.add_scatter(
            x=rows["period"], y=rows["quantity"], mode="markers", name=name, marker=marker, hovertemplate="%{y:,.0f}"
        )
    if len(overrides):
        marker = {"color": GREEN, "size": 12, "symbol": "star"}
        told = [
            f"{tick_names.plain(who)}: {tick_names.plain(why)}"
            for who, why in zip(overrides["made_by"], overrides["reason"], strict=True)
        ]
        drawn.add_scatter(
            x=overrides["period"],
            y=overrides["quantity"],
            mode="markers",
            name=say.text("override"),
            marker=marker,
            customdata=told,
            hovertemplate="%{y:,.0f}, %{customdata}",
        )
    drawn.update_layout(height=380, margin={"t": 40})
    drawn.update_xaxes(
        type="date", tickformat=_day_format(language, history, forecast), hoverformat=_HOVER[language], nticks=9
    )
    drawn.update_yaxes(tickformat=",~r", rangemode="tozero" if _never_negative(history) else "normal")
    return drawn


def errors(table: pd.DataFrame, *, naive: str, language: str = "en") -> go.Figure:
    """Return the error of the forecast by how far it looks ahead, beside that of seasonal naive: ahead, wape, wape_naive.

    ``naive`` names seasonal naive in words.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Periods ahead"), say.text("Error (WAPE)"))
    rows = table[table["ahead"] > 0]
    for column, name, color, dash in (
        ("wape_naive", naive, GREY, "dot"),
        ("wape", say.text("this forecast"), BLUE, "solid"),
    ):
        line = {"color": color, "width": 3, "dash": dash}
        drawn.add_scatter(
            x=rows["ahead"],
            y=rows[column],
            mode="lines+markers",
            name=name,
            line=line,
            marker={"color": color, "size": 7},
            hovertemplate="%{y:.1%}",
        )
    drawn.update_xaxes(tickformat="d", dtick=max(1, int(np.ceil(len(rows) / 8))))
    drawn.update_yaxes(tickformat=".0%", rangemode="tozero")
    return drawn


def value_added(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return the error after each step from the simplest forecast to what is used: step, wape, change; first step on top."""
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Error (WAPE)"), "")
    rows = table.iloc[::-1]
    labels = [names.get(step, step) for step in rows["step"]]
    notes = [_change(say, wape, change) for wape, change in zip(rows["wape"], rows["change"], strict=True)]
    colors = [GREY if pd.isna(change) else BLUE if change <= 0 else ORANGE for change in rows["change"]]
    drawn.add_bar(
        x=rows["wape"],
        y=[tick_names.plain(label) for label in labels],
        orientation="h",
        marker={"color": colors},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    top = float(rows["wape"].max()) if len(rows) else 1.0
    drawn.update_layout(height=max(190, 80 + _ROW * len(rows)), hovermode=False, bargap=0.35, margin={"t": 8})
    drawn.update_xaxes(tickformat=".0%", range=[0, 1.55 * max(top, 0.01)], nticks=4)
    drawn.update_yaxes(showgrid=False, labelalias=tick_names.alias(labels, longest=_LONG))
    return drawn


def plans(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return how far each source's plans were too high or too low, with the interval: source, bias, bias_low, bias_high, weight, n."""
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("too low · too high"), "")
    rows = table.sort_values("bias").reset_index(drop=True)
    colors = [
        GREY if low <= 0 <= high else ORANGE for low, high in zip(rows["bias_low"], rows["bias_high"], strict=True)
    ]
    for place, (low, high, color) in enumerate(zip(rows["bias_low"], rows["bias_high"], colors, strict=True)):
        line = {"color": color, "width": 3}
        drawn.add_scatter(x=[low, high], y=[place, place], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    drawn.add_scatter(
        x=rows["bias"],
        y=list(range(len(rows))),
        mode="markers",
        marker={"color": colors, "size": 12, "line": {"color": "white", "width": 1}},
        customdata=[say.plural("{n} past plan", "{n} past plans", n) for n in rows["n"]],
        hovertemplate="%{x:+.0%}<br>%{customdata}<extra></extra>",
        showlegend=False,
    )
    weights = [say.text("weight {share}", share=say.percent(weight, 0)) for weight in rows["weight"]]
    tick_names.put(drawn, "y", list(rows["source"].astype(str)), longest=_LONG, under=weights)
    drawn.add_vline(x=0, line={"color": GREY, "width": 1})
    drawn.update_layout(height=90 + 46 * max(len(rows), 2), hovermode="closest", margin={"t": 8})
    least, most = min(-0.02, float(rows["bias_low"].min())), max(0.02, float(rows["bias_high"].max()))
    drawn.update_xaxes(tickformat="+.0%", range=[least - 0.1 * (most - least), most + 0.1 * (most - least)], nticks=5)
    drawn.update_yaxes(range=[-0.6, max(len(rows), 1) - 0.4], showgrid=False, zeroline=False)
    return drawn


def hierarchy(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return the error of each level before and after all were made to add up: level, before, after; the first on top."""
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Error (WAPE)"), "")
    rows = table.iloc[::-1].reset_index(drop=True)
    places = list(range(len(rows)))
    for place, (before, after) in enumerate(zip(rows["before"], rows["after"], strict=True)):
        line = {"color": GREEN if after <= before else ORANGE, "width": 3}
        drawn.add_scatter(
            x=[before, after], y=[place, place], mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    marker = {"color": "white", "size": 11, "line": {"color": GREY, "width": 2}}
    name = say.text("each level by itself")
    drawn.add_scatter(x=rows["before"], y=places, mode="markers", name=name, marker=marker, hovertemplate="%{x:.1%}")
    # The legend has one colour for the marks after, the chart two: green where it helped, orange where it harmed.
    colors = [GREEN if after <= before else ORANGE for before, after in zip(rows["before"], rows["after"], strict=True)]
    name = say.text("made to add up")
    drawn.add_scatter(
        x=rows["after"],
        y=places,
        mode="markers",
        name=name,
        marker={"color": colors, "size": 11},
        hovertemplate="%{x:.1%}",
    )
    tick_names.put(drawn, "y", [names.get(level, level) for level in rows["level"]], longest=_LONG)
    top = float(rows[["before", "after"]].max().max()) if len(rows) else 1.0
    drawn.update_layout(height=100 + _ROW * max(len(rows), 2), hovermode="closest")
    drawn.update_xaxes(tickformat=".0%", range=[0, 1.1 * max(top, 0.01)], nticks=5)
    drawn.update_yaxes(range=[-0.6, max(len(rows), 1) - 0.4], showgrid=False, zeroline=False)
    return drawn


def what_if(table: pd.DataFrame, *, unit: str, language: str = "en") -> go.Figure:
    """Return the forecast as it stands and as it would be: period, usual, mean, low_80, high_80."""
    say = texts.speak(language)
    drawn = plots.figure(language, "", unit)
    name = say.text("{share} interval", share=say.percent(0.8, 0))
    _band(drawn, table["period"], table["low_80"], table["high_80"], "rgba(213, 94, 0, 0.15)", name=name)
    for column, name, color, dash in (
        ("usual", say.text("as forecast"), BLUE, "solid"),
        ("mean", say.text("what if"), ORANGE, "dash"),
    ):
        line = {"color": color, "width": 3, "dash": dash}
        drawn.add_scatter(
            x=table["period"], y=table[column], mode="lines+markers", name=name, line=line, hovertemplate="%{y:,.0f}"
        )
    drawn.update_layout(height=240)
    drawn.update_xaxes(
        type="date", tickformat=_day_format(language, table, table), hoverformat=_HOVER[language], nticks=5
    )
    drawn.update_yaxes(tickformat=",~r", rangemode="tozero", nticks=5)
    return drawn


# ---------------------------------------------------------------- inside

_HOVER = {"en": "%d %b %Y", "ru": "%d.%m.%Y"}


def _past(drawn: go.Figure, history: pd.DataFrame, say: texts.Language) -> None:
    """Draw the demand, what was sold where that was less, and the periods in which the shelf was empty."""
    line = {"color": INK, "width": 2}
    drawn.add_scatter(
        x=history["period"],
        y=history["quantity"],
        mode="lines",
        name=say.text("demand"),
        line=line,
        hovertemplate="%{y:,.0f}",
    )
    if history.empty or "status" not in history:
        return
    out = history[history["status"] == "stocked_out"]
    if len(out):
        marker = {"color": ORANGE, "size": 8, "symbol": "diamond"}
        name = say.text("shelf empty: demand estimated")
        drawn.add_scatter(
            x=out["period"], y=out["quantity"], mode="markers", name=name, marker=marker, hovertemplate="%{y:,.0f}"
        )
        marker = {"color": ORANGE, "size": 7, "symbol": "diamond-open"}
        sold = out["recorded"] if "recorded" in out else out["quantity"]
        drawn.add_scatter(
            x=out["period"],
            y=sold,
            mode="markers",
            name=say.text("sold then"),
            marker=marker,
            hovertemplate="%{y:,.0f}",
        )
    odd = history[history["status"] == "outlier"]
    if len(odd):
        marker = {"color": GREY, "size": 9, "symbol": "x"}
        seen = odd["recorded"] if "recorded" in odd else odd["quantity"]
        drawn.add_scatter(
            x=odd["period"],
            y=seen,
            mode="markers",
            name=say.text("outlier, left out"),
            marker=marker,
            hovertemplate="%{y:,.0f}",
        )


def _ahead(drawn: go.Figure, history: pd.DataFrame, forecast: pd.DataFrame, say: texts.Language) -> None:
    if forecast.empty:
        return
    last = history.tail(1)
    joined = pd.concat([last["period"], forecast["period"]]) if len(last) else forecast["period"]
    for width, color in _BANDS.items() if forecast["low_80"].notna().any() else ():
        low, high = (
            pd.concat([last["quantity"], forecast[f"{side}_{width}"]]) if len(last) else forecast[f"{side}_{width}"]
            for side in ("low", "high")
        )
        _band(drawn, joined, low, high, color, name=say.text("{share} interval", share=say.percent(width / 100, 0)))
    line = {"color": BLUE, "width": 3}
    told = [
        say.text("{value} (80%: {low} to {high})", value=say.number(mean), low=say.number(low), high=say.number(high))
        if np.isfinite(low)
        else say.number(mean)
        for mean, low, high in zip(forecast["mean"], forecast["low_80"], forecast["high_80"], strict=True)
    ]
    drawn.add_scatter(
        x=forecast["period"],
        y=forecast["mean"],
        mode="lines+markers" if len(forecast) < 20 else "lines",
        name=say.text("forecast"),
        line=line,
        marker={"size": 6},
        customdata=told,
        hovertemplate="%{customdata}",
    )


def _promotions(drawn: go.Figure, history: pd.DataFrame, future: pd.DataFrame, name: str) -> None:
    """Shade the periods with promotions, past and planned, neighbours as one."""
    parts = [table[["period", "promotion"]] for table in (history, future) if len(table) and "promotion" in table]
    if not parts:
        return
    rows = pd.concat(parts).sort_values("period").drop_duplicates("period")
    half = rows["period"].diff().median() / 2
    on = (rows["promotion"].fillna(0) >= _PROMOTED).to_numpy()
    if not on.any() or pd.isna(half):
        return
    group = np.cumsum(np.diff(on, prepend=False) != 0)
    for _, run in rows[on].groupby(group[on]):
        edges = (run["period"].iloc[0] - half, run["period"].iloc[-1] + half)
        drawn.add_vrect(x0=edges[0], x1=edges[1], fillcolor=_PROMOTION, line_width=0, layer="below")
    marker = {"color": AMBER, "size": 11, "symbol": "square", "opacity": 0.5}
    drawn.add_scatter(x=[rows["period"].iloc[0]], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip")


def _band(drawn: go.Figure, x: Any, low: Any, high: Any, color: str, *, name: str = "") -> None:
    edges = [*x, *list(x)[::-1]]
    bounds = [*low, *list(high)[::-1]]
    about: dict[str, Any] = {"fill": "toself", "fillcolor": color, "line": {"width": 0}, "mode": "lines"}
    drawn.add_scatter(x=edges, y=bounds, name=name, showlegend=bool(name), hoverinfo="skip", **about)


def _change(say: texts.Language, wape: float, change: float) -> str:
    written = say.percent(wape)
    if pd.isna(change):
        return written
    sign = "+" if change > 0 else "−" if change < 0 else "±"
    return say.text("{error} ({change} points)", error=written, change=f"{sign}{say.number(abs(change) * 100, 1)}")


def _day_format(language: str, *tables: pd.DataFrame) -> str:
    """Return how days are written at the axis: with the day of the month where few months are shown."""
    ends = [table["period"].agg(["min", "max"]) for table in tables if len(table)]
    span = max(one["max"] for one in ends) - min(one["min"] for one in ends) if ends else pd.Timedelta(days=400)
    if span <= pd.Timedelta(days=200):
        return "%d.%m" if language == "ru" else "%d %b"
    return "%m.%Y" if language == "ru" else "%b %Y"


def _never_negative(history: pd.DataFrame) -> bool:
    return history.empty or bool((history["quantity"].dropna() >= 0).all())
