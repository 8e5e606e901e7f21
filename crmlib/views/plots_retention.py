"""Pictures of retention: risk and value with the break-even, decisions, past campaigns, calibration of the risk."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts
from crmlib.views.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY

COLORS = {"act": GREEN, "let_go": GREY, "blocked": ORANGE, "alone": SKY, "unknown": PURPLE}
_SYMBOLS = {
    "act": "circle",
    "let_go": "x-thin",
    "blocked": "diamond-open",
    "alone": "circle-open",
    "unknown": "square-open",
}
_DASHES = ("dash", "dot", "dashdot")
_LABEL = 30  # characters of a line beside a bar


def map_of_risk(
    table: pd.DataFrame,
    *,
    kinds: Mapping[str, str],
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    currency: str,
    language: str = "en",
    chosen: str = "",
) -> go.Figure:
    """Return the chart of customers by risk and value, both on logarithmic scales, with the break-even of each channel.

    In: customer_id, kind, risk_90, value_at_stake_minor, words (of the decision); ``kinds`` in words, in the order of the legend; ``lines`` by
    channel in words: risks and the values (minor units) from which it pays; ``chosen`` customer gets a ring.
    """
    say = texts.speak(language)
    unit, sign = texts.major(1, currency), say.symbol(currency)
    figure = plots.figure(
        language, say.text("Risk of leaving within 90 days"), say.text("Value at stake, {unit}", unit=sign)
    )
    for kind, words in kinds.items():
        own = table[table["kind"] == kind]
        figure.add_scatter(
            x=own["risk_90"],
            y=own["value_at_stake_minor"] * unit,
            mode="markers",
            name=words,
            customdata=list(zip(own["customer_id"], map(_plain, own["words"]), strict=True)),
            marker={
                "color": COLORS[kind],
                "symbol": _SYMBOLS[kind],
                "size": 7,
                "line": {"width": 1.2, "color": COLORS[kind]},
            },
            hovertemplate="<b>%{customdata[0]}</b><br>%{x:.1%} · %{y:,.0f} "
            + sign
            + "<br>%{customdata[1]}<extra></extra>",
        )
    for (name, (risk, value)), dash in zip(lines.items(), _DASHES * 9, strict=False):
        line = {"color": INK, "width": 1.5, "dash": dash}
        figure.add_scatter(x=risk, y=value * unit, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        _label(figure, risk, value * unit, _plain(name), table["value_at_stake_minor"] * unit)
    ring = table[table["customer_id"] == chosen]
    if len(ring):
        marker = {"color": "rgba(0,0,0,0)", "size": 19, "line": {"color": INK, "width": 2.5}}
        at = {"x": ring["risk_90"], "y": ring["value_at_stake_minor"] * unit}
        figure.add_scatter(**at, mode="markers", marker=marker, showlegend=False, hoverinfo="skip")
    figure.update_layout(height=430, hovermode="closest")
    figure.update_xaxes(
        type="log", **_log_axis(table["risk_90"], lambda share: say.percent(share, 1 if share < 0.01 else 0))
    )
    figure.update_yaxes(type="log", **_log_axis(table["value_at_stake_minor"] * unit, say.number))
    return figure


def decisions(
    table: pd.DataFrame, *, words: Sequence[str], currency: str, notes: Sequence[str], language: str = "en"
) -> go.Figure:
    """Return the decisions as bars, by what is expected to be lost if nothing is done.

    In: kind, code, stake_minor, one row a bar, the longest first; ``words`` of the rows and ``notes`` after the bars.
    """
    say = texts.speak(language)
    unit, sign = texts.major(1, currency), say.symbol(currency)
    figure = plots.figure(language, say.text("Expected loss, {unit}", unit=sign), "")
    place = list(range(len(table)))[::-1]
    figure.add_bar(
        x=table["stake_minor"] * unit,
        y=place,
        orientation="h",
        text=[_plain(note) for note in notes],
        textposition="outside",
        cliponaxis=False,
        customdata=table["code"],
        marker={"color": [COLORS[kind] for kind in table["kind"]]},
        hovertemplate="%{x:,.0f} " + sign + "<extra></extra>",
    )
    largest = float(table["stake_minor"].max() * unit) if len(table) else 0.0
    figure.update_yaxes(tickvals=place, ticktext=[_wrapped(name) for name in words], showgrid=False, zeroline=False)
    # Nothing is known to be lost of those who objected to profiling: bars without a length need no numbers below.
    at = {"range": [0, 1.5 * max(largest, 1.0)], "showticklabels": largest > 0}
    figure.update_xaxes(tickformat=",d", nticks=4, tickangle=0, **at)
    figure.update_layout(
        height=max(220, 80 + 34 * len(table)), hovermode="closest", showlegend=False, bargap=0.4, margin={"t": 8}
    )
    return figure


def effects(table: pd.DataFrame, *, words: Sequence[str], language: str = "en") -> go.Figure:
    """Return what past campaigns changed: the relative risk of leaving with its 95% interval, one line a row.

    In: relative_risk, low, high, one row a line, from the top; ``words`` of the rows, of one or two lines. Left of 1
    fewer left.
    """
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Relative risk of leaving"), "")
    place = np.arange(len(table))[::-1]
    ratio = table["relative_risk"].to_numpy(float)
    colors = [
        GREEN if high < 1 else ORANGE if low > 1 else BLUE
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    figure.add_scatter(
        x=ratio,
        y=place,
        mode="markers",
        marker={"color": colors, "size": 10},
        error_x={
            "array": table["high"].to_numpy(float) - ratio,
            "arrayminus": ratio - table["low"].to_numpy(float),
            "symmetric": False,
            "color": GREY,
            "thickness": 2,
        },
        customdata=[
            [say.number(low, 2), say.number(high, 2)] for low, high in zip(table["low"], table["high"], strict=True)
        ],
        hovertemplate="%{x:.2f} (%{customdata[0]} – %{customdata[1]})<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": INK, "width": 1, "dash": "dot"})
    low, high = float(max(min(table["low"].min(), 0.5), 0.1)), float(min(max(table["high"].max(), 2.0), 10.0))
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low / 1.1 <= tick <= high * 1.1]
    shown = {"tickvals": ticks, "ticktext": [f"×{say.number(tick, 1 if tick < 1 else 0)}" for tick in ticks]}
    figure.update_xaxes(type="log", range=[np.log10(low / 1.15), np.log10(high * 1.15)], **shown)
    figure.update_yaxes(
        tickvals=place,
        ticktext=[_plain(name).replace("\n", "<br>") for name in words],
        showgrid=False,
        zeroline=False,
        range=[-0.7, len(table) - 0.3],
    )
    figure.update_layout(height=max(220, 80 + 38 * len(table)), hovermode="closest", showlegend=False, margin={"t": 8})
    return figure


def calibration(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return how many left against the risk they were given: predicted, observed, low, high, customers."""
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Risk that was predicted"), say.text("Share that left"))
    top = float(max(table["predicted"].max(), table["high"].max())) * 1.05
    line = {"color": GREY, "dash": "dot"}
    figure.add_scatter(
        x=[0, top], y=[0, top], mode="lines", name=say.text("perfectly calibrated"), line=line, hoverinfo="skip"
    )
    above, below = table["high"] - table["observed"], table["observed"] - table["low"]
    figure.add_scatter(
        x=table["predicted"],
        y=table["observed"],
        mode="markers",
        name=say.text("groups of customers"),
        marker={"color": BLUE, "size": 9},
        error_y={"array": above, "arrayminus": below, "symmetric": False, "color": BLUE, "thickness": 1.5},
        hovertemplate="%{x:.2%} → %{y:.2%}<extra></extra>",
    )
    digits = ".0%" if top > 0.06 else ".1%"
    figure.update_xaxes(tickformat=digits, range=[0, float(table["predicted"].max()) * 1.08], nticks=6)
    figure.update_yaxes(tickformat=digits, rangemode="tozero", range=[0, top])
    figure.update_layout(hovermode="closest")
    return figure


def _label(figure: go.Figure, x: np.ndarray, y: np.ndarray, words: str, shown: pd.Series) -> None:
    """Write words at a falling line where it enters the picture from above, or begins."""
    usable = shown[shown > 0]
    inside = np.flatnonzero((y <= usable.max()) & (y >= usable.min()))
    if not len(inside):
        return
    place = inside[min(len(inside) // 8, len(inside) - 1)]
    at = {"x": np.log10(x[place]), "y": np.log10(y[place])}  # annotations on logarithmic axes are placed by powers
    box = {"bgcolor": "rgba(255,255,255,0.85)", "font": {"size": 12, "color": INK}, "showarrow": False}
    figure.add_annotation(**at, text=words, xanchor="left", yanchor="top", **box)


def _log_axis(values: pd.Series, write: Any) -> dict[str, Any]:
    """Return range and ticks of a logarithmic axis over the values, with its numbers in words."""
    usable = values[values > 0]
    if usable.empty:
        return {}
    low, high = float(usable.min()), float(usable.max())
    first, last = np.log10(low) - 0.1, np.log10(high) + 0.1
    steps = [
        factor * 10.0**power
        for power in range(int(np.floor(first)) - 1, int(np.ceil(last)) + 1)
        for factor in (1, 2, 5)
    ]
    inside = [step for step in steps if first <= np.log10(step) <= last]
    kept = inside if len(inside) <= 8 else [step for step in inside if f"{step:e}"[0] == "1"]
    return {"range": [first, last], "tickvals": kept, "ticktext": [write(step) for step in kept]}


def _wrapped(words: str) -> str:
    """Return words in lines short enough to leave room for the bars."""
    return "<br>".join(_plain(line) for line in textwrap.wrap(words, _LABEL))


def _plain(words: object) -> str:
    """Return words from the data so that plotly shows them as they are."""
    return str(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
