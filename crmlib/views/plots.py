"""Tables in, figures out: the pictures of notebooks and dashboards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.errors import DataError
from crmlib.views import texts

# Okabe and Ito's palette, told apart with any kind of colour vision and in print.
BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8F98", "#23272F"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9")
_BAND = "rgba(0, 114, 178, 0.15)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def gains(
    table: pd.DataFrame, *, language: str = "en", product: str = "", mark: tuple[float, float] | None = None
) -> go.Figure:
    """Return the gains chart: the share of all buyers among the best-scored customers.

    In: share_contacted, share_of_buyers (0 to 1) and, where known, low and high; several curves by ``model``; of several
    products ``product`` chooses one. ``mark`` shows a list as a point: its shares of customers and of expected buyers.
    """
    say = texts.speak(language)
    table = _of_product(table, product, {"share_contacted", "share_of_buyers"})
    figure = _figure(language, say.text("Share of customers contacted"), say.text("Share of all buyers reached"))
    at_random = say.text("at random")
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name=at_random, line={"color": GREY, "dash": "dot"})
    for (model, rows), color in zip(_by_model(table), PALETTE, strict=False):
        name = _model_name(say, model)
        _band(figure, rows["share_contacted"], rows.get("low"), rows.get("high"), shown=color == BLUE)
        figure.add_scatter(
            x=rows["share_contacted"],
            y=rows["share_of_buyers"],
            mode="lines",
            name=name,
            line={"color": color, "width": 3, "dash": "solid" if color == BLUE else "dash"},
            hovertemplate="%{y:.1%}",
        )
    if mark is not None:
        _mark(figure, *mark, name=say.text("your list"), label=say.percent(mark[1], 0))
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    return figure


def lift(table: pd.DataFrame, *, language: str = "en", product: str = "") -> go.Figure:
    """Return the lift chart: how many times more buyers than at random among the best-scored customers.

    In: share_contacted and lift, or share_of_buyers from which it follows; ``model`` and ``product`` as in ``gains``.
    """
    say = texts.speak(language)
    needed = {"share_contacted"} | ({"lift"} if "lift" in table else {"share_of_buyers"})
    table = _of_product(table, product, needed)
    table = table[table["share_contacted"] > 0]
    if "lift" not in table:
        table = table.assign(lift=table["share_of_buyers"] / table["share_contacted"])
    figure = _figure(language, say.text("Share of customers contacted"), say.text("Buyers compared with random choice"))
    figure.add_scatter(
        x=[0, 1], y=[1, 1], mode="lines", name=say.text("at random"), line={"color": GREY, "dash": "dot"}
    )
    for (model, rows), color in zip(_by_model(table), PALETTE, strict=False):
        line = {"color": color, "width": 3, "dash": "solid" if color == BLUE else "dash"}
        name = _model_name(say, model)
        figure.add_scatter(x=rows["share_contacted"], y=rows["lift"], mode="lines", name=name, line=line)
    figure.update_traces(hovertemplate="%{y:.2f} ×")
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(rangemode="tozero", ticksuffix=" ×")
    return figure


def profit(
    curve: pd.DataFrame, *, currency: str, language: str = "en", cutoff: int | None = None, best: int | None = None
) -> go.Figure:
    """Return the profit curve by number of customers contacted, with the best cut-off and the present one marked.

    In: a table of ``call_list.profit_curve`` (or some of its rows): contacts, profit_minor and, where known,
    profit_low_minor and profit_high_minor; ``currency`` its ISO code.
    """
    say = texts.speak(language)
    _need(curve, {"contacts", "profit_minor"})
    money = curve[[name for name in curve if name.endswith("_minor")]].map(lambda minor: texts.major(minor, currency))
    symbol = say.symbol(currency)
    figure = _figure(language, say.text("Customers contacted"), say.text("Expected profit, {unit}", unit=symbol))
    contacts = curve["contacts"].to_numpy()
    _band(figure, contacts, money.get("profit_low_minor"), money.get("profit_high_minor"), shown=True)
    figure.add_scatter(
        x=contacts,
        y=money["profit_minor"],
        mode="lines",
        name=say.text("expected profit"),
        line={"color": BLUE, "width": 3},
        hovertemplate="%{y:,.0f} " + symbol,
    )

    def at(number: int) -> float:
        return float(np.interp(number, contacts, money["profit_minor"]))

    if best is not None:
        figure.add_vline(x=best, line={"color": GREEN, "width": 2, "dash": "dash"})
        label = say.text("best: {n}", n=say.number(best))
        _mark(
            figure, best, at(best), name=say.text("best cut-off"), label=label, color=GREEN, symbol="star", above=True
        )
    if cutoff is not None:
        _mark(figure, cutoff, at(cutoff), name=say.text("your cut-off"), label=say.number(cutoff))
    figure.update_xaxes(tickformat=",d", rangemode="tozero")
    figure.update_yaxes(tickformat=",~r", zeroline=True)
    return figure


def calibration(table: pd.DataFrame, *, language: str = "en", product: str = "") -> go.Figure:
    """Return the calibration chart: how often customers bought against the probability they were given.

    In: predicted, observed (0 to 1) and, where known, low and high of observed, and customers; ``product`` as in ``gains``.
    """
    say = texts.speak(language)
    table = _of_product(table, product, {"predicted", "observed"})
    figure = _figure(language, say.text("Predicted probability of buying"), say.text("Share who bought"))
    top = float(max(table["predicted"].max(), table["observed"].max(), 1e-6)) * 1.05 if len(table) else 1.0
    line = {"color": GREY, "dash": "dot"}
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", name=say.text("perfectly calibrated"), line=line)
    error = None
    if {"low", "high"} <= set(table):
        error = {"array": table["high"] - table["observed"], "arrayminus": table["observed"] - table["low"]}
        error = {**error, "symmetric": False, "color": BLUE, "thickness": 1.5}
    marker = {"color": BLUE, "size": 9}
    figure.add_scatter(
        x=table["predicted"],
        y=table["observed"],
        error_y=error,
        mode="markers",
        name=say.text("groups of customers"),
        marker=marker,
    )
    figure.update_xaxes(tickformat=".1%", range=[0, top])
    figure.update_yaxes(tickformat=".1%", rangemode="tozero")
    return figure


def quality(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the completeness of each field as bars, the least complete first, with the age of its latest value.

    In: table, column, completeness (0 to 1) and, where known, age_days (days since the latest value).
    """
    say = texts.speak(language)
    _need(table, {"table", "column", "completeness"})
    rows = table.sort_values("completeness", ascending=False)
    names = rows["table"].astype(str) + "." + rows["column"].astype(str)
    figure = _figure(language, say.text("Share of rows with a value"), "")
    notes = [_percent_note(say, value) for value in rows["completeness"]]
    if "age_days" in rows:
        ages = [say.plural("{n} day old", "{n} days old", age) if pd.notna(age) else "" for age in rows["age_days"]]
        notes = [" · ".join(filter(None, pair)) for pair in zip(notes, ages, strict=True)]
    colors = [BLUE if value >= 0.9 else ORANGE for value in rows["completeness"]]
    _bars(figure, rows["completeness"], names, notes, colors)
    figure.update_xaxes(tickformat=".0%", range=[0, 1.25], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure


def reasons(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return what speaks for buying, as bars: the share of the listed customers who have each reason.

    In: reason (words), share (0 to 1); the most frequent is drawn on top.
    """
    say = texts.speak(language)
    _need(table, {"reason", "share"})
    rows = table.sort_values("share")
    figure = _figure(language, say.text("Share of the customers on the list"), "")
    notes = [_percent_note(say, value) for value in rows["share"]]
    _bars(figure, rows["share"], [_wrapped(name) for name in rows["reason"]], notes, [BLUE] * len(rows))
    top = max(float(rows["share"].max()), 0.01) if len(rows) else 1.0
    figure.update_xaxes(tickformat=".0%", range=[0, top * 1.2])
    return figure


def empty(message: str, *, language: str = "en") -> go.Figure:
    """Return a figure that only says why there is nothing to see."""
    figure = _figure(language, "", "")
    figure.add_annotation(text=message, showarrow=False, font={"size": 15, "color": GREY})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _figure(language: str, x: str, y: str) -> go.Figure:
    axis: dict[str, Any] = {
        "gridcolor": "#E6E8EB",
        "linecolor": "#B5BAC1",
        "zerolinecolor": "#B5BAC1",
        "automargin": True,
        "fixedrange": True,
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": 320,
            "margin": {"l": 12, "r": 20, "t": 34, "b": 12},
            "font": {"family": _FONT, "size": 13, "color": INK},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "separators": texts.speak(language).separators,
            "hovermode": "x unified",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
            "xaxis": {**axis, "title": {"text": x, "standoff": 8, "font": {"size": 13}}},
            "yaxis": {**axis, "title": {"text": y, "standoff": 8, "font": {"size": 13}}},
        }
    )


def _bars(figure: go.Figure, x: pd.Series, y: Sequence[str], notes: list[str], colors: list[str]) -> None:
    figure.add_bar(
        x=x,
        y=list(y),
        orientation="h",
        marker={"color": colors},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(height=max(200, 90 + 34 * len(x)), hovermode=False, bargap=0.35)
    figure.update_yaxes(showgrid=False)


def _band(figure: go.Figure, x: Any, low: pd.Series | None, high: pd.Series | None, *, shown: bool) -> None:
    if low is None or high is None or not shown:
        return
    edges = np.concatenate([np.asarray(x, float), np.asarray(x, float)[::-1]])
    bounds = np.concatenate([np.asarray(high, float), np.asarray(low, float)[::-1]])
    figure.add_scatter(
        x=edges,
        y=bounds,
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        mode="lines",
    )


def _mark(
    figure: go.Figure,
    x: float,
    y: float,
    *,
    name: str,
    label: str,
    color: str = ORANGE,
    symbol: str = "circle",
    above: bool = False,
) -> None:
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers+text",
        name=name,
        text=[label],
        textposition="top center" if above else "bottom right",
        textfont={"color": color, "size": 13, "weight": 600},
        cliponaxis=False,
        marker={"color": color, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 2}},
        hoverinfo="skip",
    )


def _by_model(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "model" not in table:
        return [("", table.sort_values("share_contacted"))]
    # The propensity model is the one in use; the baselines it is compared with come after it.
    names = sorted(table["model"].astype(str).unique(), key=lambda name: (name != "propensity", name))
    return [(name, table[table["model"].astype(str) == name].sort_values("share_contacted")) for name in names]


def _model_name(say: texts.Language, model: str) -> str:
    known = {
        "": say.text("this model"),
        "propensity": say.text("this model"),
        "logistic": say.text("logistic regression"),
    }
    return known.get(model, model)


def _percent_note(say: texts.Language, share: float) -> str:
    return say.percent(share, 0 if share >= 0.1 or share == 0 else 1)


def _wrapped(words: str, width: int = 42) -> str:
    lines, line = [], ""
    for word in words.split(" "):
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def _of_product(table: pd.DataFrame, product: str, needed: set[str]) -> pd.DataFrame:
    _need(table, needed)
    return table[table["product_id"].astype(str) == product] if product and "product_id" in table else table


def _need(table: pd.DataFrame, columns: set[str]) -> None:
    missing = sorted(columns - set(table.columns))
    if missing:
        raise DataError(
            f"the table to plot has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
