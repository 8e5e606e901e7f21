"""The heat map of a matrix: a table of cells in, a figure out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts

_SHARES = [[0, "#F3F7FB"], [0.5, "#7DB5DA"], [1, "#0B5A94"]]
_LIFTS = [[0, "#B5530A"], [0.25, "#EBB98C"], [0.5, "#F6F6F4"], [0.75, "#8ABFE0"], [1, "#0B5A94"]]
_PROFITS = [[0, "#F2F8F4"], [0.5, "#74BFA0"], [1, "#00623F"]]
_HIDDEN = "#ECEEF1"
_MOST_LIFT = 2.5  # doublings at the ends of the scale: some six times as often


def heat_map(
    table: pd.DataFrame,
    *,
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    measure: str,
    write: Callable[[float], str],
    language: str = "en",
    chosen: tuple[str, str] | None = None,
) -> go.Figure:
    """Return a heat map with a number in each cell.

    In: ``table`` with segment, product_id, value (nan where hidden), for a lift also low and high, which give the colour; ``rows`` and ``columns`` as (code, words) in the order
    shown; ``write`` turns a value into the words of a cell; ``chosen`` (segment, product_id) gets a frame.
    """
    say = texts.speak(language)
    values = table.pivot(index="segment", columns="product_id", values="value").astype(float)
    values = values.reindex(index=[code for code, _ in rows], columns=[code for code, _ in columns])
    numbers = values.to_numpy()
    shades, scale = _shades(_cautious(table, values) if measure == "lift" else numbers, measure)
    words = [["" if np.isnan(value) else write(value) for value in line] for line in numbers]
    across = list(range(len(columns)))
    down = list(range(len(rows)))
    hover = [
        [
            f"{row} · {column}<br><b>{word or say.text('hidden')}</b>"
            for (_, column), word in zip(escaped(columns), line, strict=True)
        ]
        for (_, row), line in zip(escaped(rows), words, strict=True)
    ]
    figure = plots.figure(language, "", "")
    figure.add_heatmap(
        z=[[None if np.isnan(one) else float(one) for one in line] for line in shades],
        x=across,
        y=down,
        text=words,
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=scale,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=True,
    )
    _axes(figure, [name for _, name in escaped(rows)], [name for _, name in escaped(columns)])
    codes = [code for code, _ in rows], [code for code, _ in columns]
    if chosen and chosen[0] in codes[0] and chosen[1] in codes[1]:
        y, x = codes[0].index(chosen[0]), codes[1].index(chosen[1])
        line = {"color": plots.ORANGE, "width": 3}
        figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=line)
    return figure


def _axes(figure: go.Figure, rows: list[str], columns: list[str]) -> None:
    shown = {"showgrid": False, "zeroline": False, "showline": False, "ticks": ""}
    figure.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=columns,
        tickangle=-50,
        side="top",
        range=[-0.5, len(columns) - 0.5],
        tickfont={"size": 12},
        **shown,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[_short(name) for name in rows],
        range=[len(rows) - 0.5, -0.5],
        tickfont={"size": 12},
        **shown,
    )
    layout: dict[str, Any] = {"height": 150 + 27 * max(len(rows), 3), "hovermode": "closest", "plot_bgcolor": _HIDDEN}
    figure.update_layout(**layout, margin={"l": 8, "r": 56, "t": 8, "b": 6})


def _cautious(table: pd.DataFrame, like: pd.DataFrame) -> np.ndarray:
    """Return the end of each interval that is nearer to 1, and 1 where it holds 1: no colour for what chance explains."""
    low, high = (
        table.pivot(index="segment", columns="product_id", values=name).astype(float).reindex_like(like).to_numpy()
        for name in ("low", "high")
    )
    out = np.where(low > 1, low, np.where(high < 1, high, 1.0))
    return np.where(np.isnan(like.to_numpy()), np.nan, out)


def _shades(values: np.ndarray, measure: str) -> tuple[np.ndarray, list[list[Any]]]:
    """Return the place of each value on a scale from 0 to 1, and the scale's colours."""
    if measure == "lift":
        with np.errstate(divide="ignore"):
            doublings = np.clip(np.log2(values), -_MOST_LIFT, _MOST_LIFT)
        return 0.5 + doublings / (2 * _MOST_LIFT), _LIFTS
    top = np.nanmax(values, initial=0.0)
    # A square root, so that one large cell does not leave the others without colour.
    shades = np.sqrt(np.clip(values, 0, None) / top) if top > 0 else np.where(np.isnan(values), np.nan, 0.0)
    return shades, _PROFITS if measure == "expected_profit" else _SHARES


def escaped(names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return codes and names, the names so that plotly shows them as they are."""
    return [(code, name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) for code, name in names]


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:28]}…"
