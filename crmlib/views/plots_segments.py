"""Pictures of segments: how many, what sets them apart, how they grow, who moves and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.errors import DataError
from crmlib.views import segment_words, texts
from crmlib.views.plots import BLUE, BLUES, GREEN, GREY, INK, LESS_OR_MORE, ORANGE, PALETTE, figure

_WIDE = 24  # characters of a segment's name on a line


def choice(fitted: Mapping[str, Any], *, threshold: float, language: str = "en") -> go.Figure:
    """Return how well groups repeat on the other half of the customers, by number of groups, with the one chosen.

    In: the ``choice`` of a behavioural segmentation: curve (clusters, strength, error), clusters.
    """
    say = texts.speak(language)
    curve = pd.DataFrame(fitted["curve"])
    _need(curve, {"clusters", "strength", "error"})
    drawn = figure(language, say.text("Number of segments"), say.text("Prediction strength"))
    drawn.add_hline(y=threshold, line={"color": GREY, "dash": "dot"})
    drawn.add_scatter(
        x=curve["clusters"],
        y=curve["strength"],
        mode="lines+markers",
        line={"color": BLUE, "width": 3},
        marker={"size": 9},
        error_y={"array": curve["error"], "color": BLUE, "thickness": 1.5},
        name=say.text("prediction strength ± standard error"),
        hovertemplate="%{y:.2f}",
    )
    own = curve[curve["clusters"] == fitted["clusters"]]
    marker = {"color": GREEN, "size": 16, "symbol": "star"}
    drawn.add_scatter(x=own["clusters"], y=own["strength"], mode="markers", marker=marker, name=say.text("chosen"))
    drawn.update_xaxes(dtick=1)
    drawn.update_yaxes(range=[0, 1.08])
    return drawn


def profiles(
    table: pd.DataFrame, names: Mapping[str, str], *, language: str = "en", currency: str = "", most: int = 14
) -> go.Figure:
    """Return a heat map of what sets the segments apart: blue is more than all other customers, orange less.

    In: a table of ``segments.profile``; ``names`` of the segments in words. Shown are the ``most`` measures with the
    largest differences, each with the value in the segment.
    """
    say = texts.speak(language)
    _need(table, {"segment", "measure", "difference", "value", "kind"})
    largest = table.assign(size=table["difference"].abs()).groupby("measure")["size"].max().nlargest(most).index[::-1]
    segments = [name for name in names if name in set(table["segment"])]
    keyed = table.set_index(["measure", "segment"])
    about = table.drop_duplicates("measure").set_index("measure")
    cells = pd.MultiIndex.from_product([largest, segments])
    difference = keyed["difference"].reindex(cells).to_numpy().reshape(len(largest), -1)
    value = keyed["value"].reindex(cells).to_numpy().reshape(len(largest), -1)
    codes = [_code(about, str(measure)) for measure in largest]
    words = [
        [segment_words.shown(say, code, one, currency) for one in row] for code, row in zip(codes, value, strict=True)
    ]
    drawn = figure(language, "", "")
    drawn.add_heatmap(
        z=np.clip(difference, -2, 2),
        x=[_wrapped(names[name]) for name in segments],
        y=[segment_words.measure(say, code) for code in codes],
        text=words,
        texttemplate="%{text}",
        textfont={"size": 12},
        colorscale=LESS_OR_MORE,
        zmin=-2,
        zmax=2,
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="%{y}<br>%{x}: %{text}<extra></extra>",
    )
    drawn.update_layout(height=90 + 30 * len(largest) + 30, hovermode="closest", margin={"t": 8})
    drawn.update_xaxes(side="top", showgrid=False, tickfont={"size": 12})
    drawn.update_yaxes(showgrid=False)
    return drawn


def sizes(table: pd.DataFrame, names: Mapping[str, str], *, language: str = "en") -> go.Figure:
    """Return how many customers each segment had at each date, in lines.

    In: as_of, segment, customers.
    """
    say = texts.speak(language)
    _need(table, {"as_of", "segment", "customers"})
    drawn = figure(language, "", say.text("Customers in the segment"))
    for (name, words), color in zip(names.items(), PALETTE * 3, strict=False):
        rows = table[table["segment"] == name].sort_values("as_of")
        if len(rows):
            drawn.add_scatter(
                x=rows["as_of"],
                y=rows["customers"],
                mode="lines+markers",
                name=words,
                line={"color": color, "width": 3},
                hovertemplate="%{y:,}",
            )
    drawn.update_layout(height=320)
    drawn.update_xaxes(tickvals=sorted(table["as_of"].unique()), tickformat="%d.%m.%Y")
    drawn.update_yaxes(rangemode="tozero", tickformat=",")
    return drawn


def transitions(table: pd.DataFrame, names: Mapping[str, str], *, language: str = "en") -> go.Figure:
    """Return the transition matrix as a heat map: of those in a row's segment, the share found in each column's later.

    In: a table of ``moves.transitions``: from, to, customers, share, low, high.
    """
    say = texts.speak(language)
    _need(table, {"from", "to", "customers", "share", "low", "high"})
    segments = list(names)
    keyed = table.set_index(["from", "to"]).reindex(pd.MultiIndex.from_product([segments[::-1], segments]))
    shape = (len(segments), len(segments))
    share = keyed["share"].to_numpy(float)
    words = [_cell(say, part, count) for part, count in zip(share, keyed["customers"], strict=True)]
    interval = [
        say.text("{low} to {high}", low=say.percent(low), high=say.percent(high)) if not np.isnan(low) else ""
        for low, high in zip(keyed["low"], keyed["high"], strict=True)
    ]
    drawn = figure(language, say.text("segment a period later"), say.text("segment before"))
    drawn.add_heatmap(
        z=np.sqrt(share).reshape(shape),  # small moves are what is looked for
        x=[_wrapped(names[name]) for name in segments],
        y=[_wrapped(names[name]) for name in segments[::-1]],
        text=np.array(words, dtype=object).reshape(shape),
        customdata=np.array(interval, dtype=object).reshape(shape),
        texttemplate="%{text}",
        colorscale=BLUES,
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="%{y} → %{x}<br>%{text}<br>%{customdata}<extra></extra>",
    )
    drawn.update_layout(height=120 + 62 * len(segments), hovermode="closest", margin={"t": 8})
    drawn.update_xaxes(showgrid=False)
    drawn.update_yaxes(showgrid=False)
    return drawn


def habit(table: pd.DataFrame, names: Mapping[str, str], *, language: str = "en") -> go.Figure:
    """Return the share of customers who stay in their segment, by period, with 95% intervals.

    In: a table of ``moves.habit``: after, segment, stayed, low, high; "(all)" is drawn in black.
    """
    say = texts.speak(language)
    _need(table, {"after", "segment", "stayed", "low", "high"})
    drawn = figure(language, "", say.text("Share who stayed"))
    lines = {"(all)": say.text("all customers"), **names}
    for (name, words), color in zip(lines.items(), (INK, *PALETTE * 3), strict=False):
        rows = table[table["segment"] == name]
        above, below = rows["high"] - rows["stayed"], rows["stayed"] - rows["low"]
        drawn.add_scatter(
            x=rows["after"],
            y=rows["stayed"],
            mode="lines+markers",
            name=words,
            line={"color": color, "width": 4 if name == "(all)" else 2},
            error_y={"array": above, "arrayminus": below, "symmetric": False, "thickness": 1},
            hovertemplate="%{y:.1%}",
        )
    drawn.update_layout(height=320)
    drawn.update_xaxes(tickvals=sorted(table["after"].unique()), tickformat="%d.%m.%Y")
    drawn.update_yaxes(tickformat=".0%")
    return drawn


def why(table: pd.DataFrame, *, language: str = "en", most: int = 6) -> go.Figure:
    """Return the reasons of one move as bars: the share of those who moved so whom each drew.

    In: rows of one move of a table of ``moves.why``: measure, code, level, direction, share.
    """
    say = texts.speak(language)
    _need(table, {"code", "level", "direction", "share"})
    rows = table.nlargest(most, "share")[::-1]
    drawn = figure(language, say.text("Share of those who moved"), "")
    drawn.add_bar(
        x=rows["share"],
        y=[segment_words.direction(say, dict(row)) for _, row in rows.iterrows()],
        orientation="h",
        marker={"color": [BLUE if side == "up" else ORANGE for side in rows["direction"]]},
        text=[say.percent(share, 0) for share in rows["share"]],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    drawn.update_layout(height=90 + 34 * len(rows), hovermode=False, bargap=0.35, margin={"t": 8})
    drawn.update_xaxes(tickformat=".0%", range=[0, min(1.15, float(rows["share"].max()) * 1.2 if len(rows) else 1)])
    drawn.update_yaxes(showgrid=False)
    return drawn


def _cell(say: texts.Language, share: float, customers: float) -> str:
    if np.isnan(share):
        return ""
    return f"{say.percent(share)}<br>{say.number(customers)}"


def _code(about: pd.DataFrame, measure: str) -> dict[str, Any]:
    row = about.loc[measure]
    return {"code": row["block"] or measure, "measure": measure, "level": row["level"], "kind": row["kind"]}


def _wrapped(words: str) -> str:
    lines, line = [], ""
    for word in words.split():
        if line and len(line) + len(word) >= _WIDE:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def _need(table: pd.DataFrame, columns: Sequence[str] | set[str]) -> None:
    missing = sorted(set(columns) - set(table.columns))
    if missing:
        raise DataError(
            f"the table to plot has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
