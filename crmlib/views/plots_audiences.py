"""Pictures of an audience: what each condition leaves, who the customers are, by which channel they may be contacted."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import certainty, plots, texts
from crmlib.views.plots import BLUE, GREY, ORANGE

_BAR = 34
_LONG = 52  # characters of a condition
_BESIDE = {
    "mode": "text",
    "textposition": "middle right",
    "cliponaxis": False,
    "hoverinfo": "skip",
    "showlegend": False,
}
"""How notes stand beside bars."""


def steps(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return what the conditions leave, as bars from everybody down to the audience.

    In: label (words), customers (NaN where hidden), shown (the number in words); the first row is everybody, the last
    the audience.
    """
    say = texts.speak(language)
    figure = plots.figure(language, "", "")
    places = list(range(len(table)))[::-1]
    colors = [GREY, *[BLUE] * (len(table) - 2), ORANGE][-len(table) :] if len(table) > 1 else [ORANGE]
    seen = table["customers"].notna()
    _bars(figure, table["customers"], places, list(table["shown"].where(seen, "")), colors)
    few = [place for place, known in zip(places, seen, strict=True) if not known]
    if few:  # no bar tells how few they are
        figure.add_scatter(x=[0] * len(few), y=few, text=[f" {one}" for one in table.loc[~seen, "shown"]], **_BESIDE)
    for place, words in zip(places, table["label"], strict=True):
        shown = words if len(words) <= _LONG else f"{words[: _LONG - 1]}…"
        _words(figure, place, shown)
    top = max(float(table["customers"].max()), 1.0)
    figure.update_layout(bargap=0.66, height=70 + 44 * len(table), margin={"t": 12, "b": 4})
    figure.update_xaxes(visible=False, range=[0, top * 1.2])
    # Not seen, but it names the bars for whoever takes the numbers away.
    names = {"tickvals": places, "ticktext": [plots._plain_text(words) for words in table["label"]]}
    figure.update_yaxes(visible=False, range=[-0.5, len(table) - 0.2], **names)
    return certainty.told(figure, certainty.counted(say))


def profile(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the shares of the audience as bars, with a mark where all customers are.

    In: label (words), share and share_all, both 0 to 1 (NaN where hidden); in the order to be read downwards.
    """
    say = texts.speak(language)
    figure = plots.figure(language, "", "")
    places = list(range(len(table)))[::-1]
    pairs = zip(table["share"], table["share_all"], strict=True)
    notes = [say.text("{share} (all: {all})", share=_shown(say, own), all=_shown(say, every)) for own, every in pairs]
    shares = table["share"].fillna(0)
    _bars(figure, table["share"], places, [""] * len(table), [BLUE] * len(table), name=say.text("this audience"))
    # Beyond bar and mark, so that neither runs through the figures.
    beyond = table["share_all"].where(table["share_all"] > shares, shares)
    figure.add_scatter(x=beyond, y=places, text=[f" {note}" for note in notes], **_BESIDE)
    marker = {"symbol": "line-ns", "size": 17, "line": {"color": ORANGE, "width": 3}}
    figure.add_scatter(
        x=table["share_all"],
        y=places,
        mode="markers",
        marker=marker,
        name=say.text("all customers"),
        text=[_shown(say, one) for one in table["share_all"]],
        hovertemplate="%{text}",
    )
    top = max(float(table[["share", "share_all"]].max().max()), 0.01)
    figure.update_layout(height=max(200, 84 + _BAR * len(table)), bargap=0.35, hovermode="closest")
    figure.update_xaxes(
        visible=False, range=[0, top * 2.4]
    )  # the words beside the longest bar need as much room on a tablet
    names = [plots._plain_text(one) for one in table["label"]]
    figure.update_yaxes(tickvals=places, ticktext=names, showgrid=False, zeroline=False, range=[-0.6, len(table) - 0.4])
    return certainty.told(figure, certainty.counted(say))


def channels(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return how many customers of the audience may be contacted by each channel.

    In: label (words), customers (NaN where hidden), share of the audience (0 to 1, NaN where hidden).
    """
    say = texts.speak(language)
    figure = plots.figure(language, "", "")
    places = list(range(len(table)))[::-1]
    notes = [
        say.text("hidden") if math.isnan(number) else f"{say.number(number)} · {_percent(say, share)}"
        for number, share in zip(table["customers"], table["share"], strict=True)
    ]
    _bars(figure, table["share"], places, [""] * len(table), [BLUE] * len(table))
    figure.add_scatter(x=table["share"].fillna(0), y=places, text=[f" {note}" for note in notes], **_BESIDE)
    figure.update_layout(height=max(200, 60 + _BAR * len(table)), bargap=0.35, margin={"t": 12})
    figure.update_xaxes(visible=False, range=[0, 1.7])
    names = [plots._plain_text(one) for one in table["label"]]
    figure.update_yaxes(tickvals=places, ticktext=names, showgrid=False, zeroline=False, range=[-0.6, len(table) - 0.4])
    return certainty.told(figure, certainty.counted(say))


def _bars(
    figure: go.Figure, values: pd.Series, places: list[int], notes: list[str], colors: list[str], *, name: str = ""
) -> None:
    figure.add_bar(
        x=values,
        y=places,
        orientation="h",
        marker={"color": colors},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        name=name,
        showlegend=bool(name),
    )


def _words(figure: go.Figure, place: int, words: str) -> None:
    """Write words above a bar: beside it they would leave no room for the bar on a narrow screen."""
    about = {"xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left", "xshift": -2}
    font = {"size": 12 if len(words) <= 44 else 11}  # a column of a tablet is that wide
    figure.add_annotation(x=0, y=place + 0.17, text=plots._plain_text(words), font=font, **about)


def _shown(say: texts.Language, share: float) -> str:
    return say.text("hidden") if math.isnan(share) else _percent(say, share)


def _percent(say: texts.Language, share: float) -> str:
    return say.percent(share, 0 if share >= 0.1 or share == 0 else 1)
