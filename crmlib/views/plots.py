"""Tables in, figures out: the pictures of notebooks and dashboards."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.errors import DataError
from crmlib.views import certainty, texts
from crmlib.views.sketch import Sketch

# Okabe and Ito's palette, told apart with any kind of colour vision and in print.
BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8F98", "#23272F"
AMBER, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
PALE, RULE, GRID, PAPER = (
    "#C9CDD3",
    "#B5BAC1",
    "#E6E8EB",
    "#FFFFFF",
)  # what is not in focus, axes, their grid, what lies under
HIDDEN = "#ECEEF1"  # a cell that may not be shown
# Every colour of a figure is for light paper; theme.js turns it for the dark: greys and scales change sides.
BLUES = [[0.0, "#F3F7FB"], [0.5, "#7DB5DA"], [1.0, "#0B5A94"]]
GREENS = [[0.0, "#F2F8F4"], [0.5, "#74BFA0"], [1.0, "#00623F"]]
LESS_OR_MORE = [[0.0, "#B5530A"], [0.25, "#EBB98C"], [0.5, "#F6F6F4"], [0.75, "#8ABFE0"], [1.0, "#0B5A94"]]
PALE_BLUES = [[0.0, "#FDF3E7"], [0.5, "#CFE3F1"], [1.0, "#6BAED6"]]  # dark words are legible on all of them
_BAND = "rgba(0, 114, 178, 0.15)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_LONG = 46  # characters of a reason
_WRAPPED = 40  # characters of a line of a message: the narrowest chart is 330 px wide


def gains(
    table: pd.DataFrame,
    *,
    language: str = "en",
    product: str = "",
    mark: tuple[float, float] | None = None,
    origin: str = "",
) -> go.Figure:
    """Return the gains chart of ``gains_sketch``."""
    return gains_sketch(table, language=language, product=product, mark=mark, origin=origin).figure()


def gains_sketch(
    table: pd.DataFrame,
    *,
    language: str = "en",
    product: str = "",
    mark: tuple[float, float] | None = None,
    origin: str = "",
) -> Sketch:
    """Return the gains chart: the share of all buyers among the best-scored customers.

    In: a table of ``metrics.gains``: share (of customers contacted), gains (share of all buyers found; 0 to 1) and, where
    known, low and high; several curves by ``model``; ``product`` chooses one product. ``mark`` shows a list as a point:
    its shares of customers and of expected buyers; ``origin`` of the back test.
    """
    say = texts.speak(language)
    table = _of_product(table, product, {"share", "gains"})
    drawn = sketch(language, say.text("Share of customers contacted"), say.text("Share of all buyers reached"))
    line = {"color": GREY, "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name=say.text("at random"), line=line, hoverinfo="skip")
    for (model, rows), color in zip(_by_model(table), PALETTE, strict=False):
        _band(drawn, rows["share"], rows.get("low"), rows.get("high"), shown=color == BLUE)
        error, name = _unseen(rows["gains"], rows.get("low"), rows.get("high")), _model_name(say, model)
        _curve(drawn, rows["share"], rows["gains"], name=name, color=color, hover="%{y:.1%}", error=error)
    if mark is not None:
        label = say.text("your list: {share}", share=say.percent(mark[1], 0))
        _mark(drawn, *mark, label=label, across=mark[0])
    drawn.update_xaxes(tickformat=".0%", range=[0, 1])
    drawn.update_yaxes(tickformat=".0%", range=[0, 1.02])
    no_band = say.text("the table of gains was saved without limits.")
    sure = certainty.interval(say, 95) if {"low", "high"} <= set(table) else certainty.none(say, no_band)
    return certainty.told(drawn, sure, origin=origin)


def lift(table: pd.DataFrame, *, language: str = "en", product: str = "") -> go.Figure:
    """Return the lift chart: how many times more buyers than at random among the best-scored customers.

    In: a table of ``metrics.gains``: share and lift; ``model`` and ``product`` as in ``gains``.
    """
    say = texts.speak(language)
    table = _of_product(table, product, {"share", "lift"})
    table = table[table["share"] > 0]
    drawn = figure(language, say.text("Share of customers contacted"), say.text("Buyers compared with random choice"))
    line = {"color": GREY, "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[1, 1], mode="lines", name=say.text("at random"), line=line, hoverinfo="skip")
    for (model, rows), color in zip(_by_model(table), PALETTE, strict=False):
        _curve(drawn, rows["share"], rows["lift"], name=_model_name(say, model), color=color, hover="%{y:.2f} ×")
    drawn.update_xaxes(tickformat=".0%", range=[0, 1])
    drawn.update_yaxes(rangemode="tozero", ticksuffix=" ×")
    why = say.text("the lift is the share of buyers reached over the share contacted; the chart of gains has the band.")
    return certainty.told(drawn, certainty.none(say, why))


def profit(
    curve: pd.DataFrame, *, currency: str, language: str = "en", cutoff: int | None = None, best: int | None = None
) -> go.Figure:
    """Return the profit curve of ``profit_sketch``."""
    return profit_sketch(curve, currency=currency, language=language, cutoff=cutoff, best=best).figure()


def profit_sketch(
    curve: pd.DataFrame, *, currency: str, language: str = "en", cutoff: int | None = None, best: int | None = None
) -> Sketch:
    """Return the profit curve by number of customers contacted, with the best cut-off and the present one marked.

    In: a table of ``call_list.profit_curve`` (or some of its rows): contacts, profit_minor and, where known,
    profit_low_minor and profit_high_minor; ``currency`` its ISO code.
    """
    say = texts.speak(language)
    _need(curve, {"contacts", "profit_minor"})
    unit, symbol = texts.major(1, currency), say.symbol(currency)
    drawn = sketch(language, say.text("Customers contacted"), say.text("Expected profit, {unit}", unit=symbol))
    contacts, earned = curve["contacts"].to_numpy(float), curve["profit_minor"].to_numpy(float) * unit
    bounded = {"profit_low_minor", "profit_high_minor"} <= set(curve)
    low, high = (curve[f"profit_{end}_minor"] * unit if bounded else None for end in ("low", "high"))
    _band(drawn, contacts, low, high, shown=True)
    name, error = say.text("expected profit"), _unseen(earned, low, high)
    _curve(drawn, contacts, earned, name=name, color=BLUE, hover="%{y:,.0f} " + symbol, error=error)
    last = max(1.0, float(contacts[-1])) if len(contacts) else 1.0
    if cutoff is not None and len(contacts):
        where = float(np.interp(cutoff, contacts, earned))
        label = "" if cutoff == best else say.number(cutoff)
        _mark(drawn, cutoff, where, label=label, across=cutoff / last)
    if best is not None and len(contacts):
        drawn.add_vline(x=best, line={"color": GREEN, "width": 2, "dash": "dash"})
        where = float(np.interp(best, contacts, earned))
        marker = {"color": GREEN, "size": 13, "symbol": "star"}
        star = say.text("best cut-off")
        drawn.add_scatter(x=[best], y=[where], mode="markers", name=star, marker=marker, hoverinfo="skip")
        words = say.text("best: {n}", n=say.number(best))
        side = {"xanchor": "right", "xshift": -6} if best > 0.5 * last else {"xanchor": "left", "xshift": 6}
        font = {"color": GREEN, "size": 13, "weight": 600}
        drawn.add_annotation(x=best, y=1, yref="paper", yanchor="top", text=words, showarrow=False, font=font, **side)
    drawn.update_layout(showlegend=False, margin={"t": 12})
    drawn.update_xaxes(tickformat=",d", range=[0, last * 1.02], nticks=6)
    drawn.update_yaxes(tickformat=",~r", zeroline=True)
    sure = say.text("The band adds up the customers' own 90% bounds, cautiously: as if all erred the same way at once.")
    no_band = certainty.none(say, say.text("the probabilities were saved without bounds."))
    return certainty.told(drawn, sure if bounded else no_band)


def calibration(table: pd.DataFrame, *, language: str = "en", product: str = "") -> go.Figure:
    """Return the calibration chart: how often customers bought against the probability they were given.

    In: predicted, observed (0 to 1) and, where known, low and high of observed, and customers; ``product`` as in ``gains``.
    """
    say = texts.speak(language)
    table = _of_product(table, product, {"predicted", "observed"})
    drawn = figure(language, say.text("Predicted probability of buying"), say.text("Share who bought"))
    top = float(max(table["predicted"].max(), table["observed"].max(), 1e-6)) * 1.05 if len(table) else 1.0
    line = {"color": GREY, "dash": "dot"}
    drawn.add_scatter(x=[0, top], y=[0, top], mode="lines", name=say.text("perfectly calibrated"), line=line)
    error = None
    if {"low", "high"} <= set(table):
        above, below = table["high"] - table["observed"], table["observed"] - table["low"]
        error = {"array": above, "arrayminus": below, "symmetric": False, "color": BLUE, "thickness": 1.5}
    marker = {"color": BLUE, "size": 9}
    drawn.add_scatter(
        x=table["predicted"],
        y=table["observed"],
        error_y=error,
        mode="markers",
        name=say.text("groups of customers"),
        marker=marker,
    )
    drawn.update_xaxes(tickformat=".1%", range=[0, top])
    drawn.update_yaxes(tickformat=".1%", rangemode="tozero")
    no_bars = say.text("the table of calibration was saved without limits.")
    return certainty.told(drawn, certainty.interval(say, 95) if error else certainty.none(say, no_bars))


def quality(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the completeness of each field as bars, the least complete first, with the age of its latest value.

    In: table, column, completeness (0 to 1) and, where known, age_days (days since the latest value).
    """
    say = texts.speak(language)
    _need(table, {"table", "column", "completeness"})
    rows = table.sort_values("completeness", ascending=False)
    names = rows["table"].astype(str) + "." + rows["column"].astype(str)
    drawn = figure(language, say.text("Share of rows with a value"), "")
    notes = [_percent_note(say, value) for value in rows["completeness"]]
    if "age_days" in rows:
        ages = [say.plural("{n} day old", "{n} days old", age) if pd.notna(age) else "" for age in rows["age_days"]]
        notes = [" · ".join(filter(None, pair)) for pair in zip(notes, ages, strict=True)]
    colors = [BLUE if value >= 0.9 else ORANGE for value in rows["completeness"]]
    _bars(drawn, rows["completeness"], names.tolist(), notes, colors)
    drawn.update_xaxes(tickformat=".0%", range=[0, 1.25], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return certainty.told(drawn, certainty.counted(say))


def reasons(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the bars of ``reasons_sketch``."""
    return reasons_sketch(table, language=language).figure()


def reasons_sketch(table: pd.DataFrame, *, language: str = "en") -> Sketch:
    """Return what speaks for buying, as bars: the share of the listed customers who have each reason.

    In: reason (words), share (0 to 1); the most frequent is drawn on top.
    """
    say = texts.speak(language)
    _need(table, {"reason", "share"})
    rows = table.sort_values("share")
    drawn = sketch(language, say.text("Share of the customers with this reason"), "")
    notes = [_percent_note(say, value) for value in rows["share"]]
    places = list(range(len(rows)))
    _bars(drawn, rows["share"], places, notes, [BLUE] * len(rows))
    # The words stand above their bars: beside them they would leave no room for the bars on a narrow screen.
    for place, words in zip(places, rows["reason"], strict=True):
        about = {"xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left"}
        font = {"size": 13 if len(words) <= _LONG else 11}  # a third of a laptop's screen is that wide
        drawn.add_annotation(x=0, y=place + 0.17, text=_plain_text(words), xshift=-2, font=font, **about)
    top = max(float(rows["share"].max()), 0.01) if len(rows) else 1.0
    drawn.update_layout(bargap=0.66, height=280, margin={"t": 12})
    drawn.update_xaxes(tickformat=".0%", range=[0, top * 1.2], nticks=5)
    # Not seen, but it names the bars for whoever takes the numbers away.
    names = {"tickvals": places, "ticktext": [_plain_text(words) for words in rows["reason"]]}
    drawn.update_yaxes(visible=False, range=[-0.5, max(len(rows), 1) - 0.2], **names)
    why = say.text("these are counts of what the model itself weighed for each customer, not estimates of causes.")
    return certainty.told(drawn, certainty.none(say, why))


def empty(message: str, *, language: str = "en") -> go.Figure:
    """Return a figure that only says why there is nothing to see."""
    drawn = figure(language, "", "")
    # Placed on the paper: axes that take the place of a chart's logarithmic ones have no middle yet.
    middle = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
    lines = "<br>".join(textwrap.wrap(message, _WRAPPED, break_long_words=False))
    drawn.add_annotation(text=lines, showarrow=False, font={"size": 15, "color": GREY}, **middle)
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False)
    return drawn


def figure(language: str, x: str, y: str) -> go.Figure:
    """Return an empty figure in the house's look, with the titles of its axes."""
    return go.Figure(layout=_look(language, x, y))


def sketch(language: str, x: str, y: str) -> Sketch:
    """Return what ``figure`` does as a sketch, for a chart that follows a slider."""
    return Sketch(_look(language, x, y))


def _look(language: str, x: str, y: str) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "gridcolor": GRID,
        "linecolor": RULE,
        "zerolinecolor": RULE,
        "automargin": True,
        "fixedrange": True,
        "ticklabeloverflow": "allow",  # nothing overflows, for margins make room; to look would take a tenth of a redraw
    }
    return {
        "template": "none",
        "height": 280,
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


def _bars(drawn: go.Figure | Sketch, x: pd.Series, y: Sequence[Any], notes: list[str], colors: list[str]) -> None:
    drawn.add_bar(
        x=x,
        y=list(y),
        orientation="h",
        marker={"color": colors},
        text=notes,
        textposition="outside",
        constraintext="none",  # as large as other words, however thin the bar
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    drawn.update_layout(height=max(200, 90 + 34 * len(x)), hovermode=False, bargap=0.35)
    drawn.update_yaxes(showgrid=False)


def _curve(drawn: go.Figure | Sketch, x: Any, y: Any, *, name: str, color: str, hover: str, error: Any = None) -> None:
    line = {"color": color, "width": 3, "dash": "solid" if color == BLUE else "dash"}
    drawn.add_scatter(x=x, y=y, mode="lines", name=name, line=line, hovertemplate=hover, error_y=error)


def _unseen(value: Any, low: Any, high: Any) -> dict[str, Any] | None:
    """Return limits that a band draws already, for whoever takes the numbers away; None where there are none."""
    if low is None or high is None:
        return None
    return {"visible": False, "array": high - value, "arrayminus": value - low, "symmetric": False}


def _band(drawn: go.Figure | Sketch, x: Any, low: Any, high: Any, *, shown: bool) -> None:
    if low is None or high is None or not shown:
        return
    edges = np.concatenate([np.asarray(x, float), np.asarray(x, float)[::-1]])
    bounds = np.concatenate([np.asarray(high, float), np.asarray(low, float)[::-1]])
    about = {"fill": "toself", "fillcolor": _BAND, "line": {"width": 0}, "mode": "lines"}
    drawn.add_scatter(x=edges, y=bounds, hoverinfo="skip", showlegend=False, **about)


def _mark(drawn: go.Figure | Sketch, x: float, y: float, *, label: str, across: float) -> None:
    """Draw a ring, within which a star may stand, with its label where ``across`` (0 to 1) the chart there is room."""
    side = "right" if across < 0.3 else "center" if across < 0.85 else "left"
    drawn.add_scatter(
        x=[x],
        y=[y],
        mode="markers+text",
        showlegend=False,
        text=[label],
        textposition=f"bottom {side}",
        textfont={"color": ORANGE, "size": 13, "weight": 600},
        cliponaxis=False,
        marker={"color": PAPER, "size": 17, "line": {"color": ORANGE, "width": 3}},
        hoverinfo="skip",
    )


def _by_model(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "model" not in table:
        return [("", table.sort_values("share"))]
    # The propensity model is the one in use; the baselines it is compared with come after it.
    names = sorted(table["model"].astype(str).unique(), key=lambda name: (name != "propensity", name))
    return [(name, table[table["model"].astype(str) == name].sort_values("share")) for name in names]


def _model_name(say: texts.Language, model: str) -> str:
    known = {
        "": say.text("this model"),
        "propensity": say.text("this model"),
        "baseline": say.text("logistic regression"),
    }
    return known.get(model, model)


def _percent_note(say: texts.Language, share: float) -> str:
    return say.percent(share, 0 if share >= 0.1 or share == 0 else 1)


def _plain_text(words: str) -> str:
    """Return words from the data so that plotly shows them as they are."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _of_product(table: pd.DataFrame, product: str, needed: set[str]) -> pd.DataFrame:
    _need(table, needed)
    return table[table["product_id"].astype(str) == product] if product and "product_id" in table else table


def _need(table: pd.DataFrame, columns: set[str]) -> None:
    missing = sorted(columns - set(table.columns))
    if missing:
        raise DataError(
            f"the table to plot has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
