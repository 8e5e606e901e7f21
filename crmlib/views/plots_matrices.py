"""The heat map of a matrix: a table of cells in, a figure out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts, tick_names

_LONG = 30  # characters of a name
_MOST_LIFT = 2.5  # doublings at the ends of the scale: some six times as often


def heat_map(
    table: pd.DataFrame,
    *,
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    measure: str,
    write: Callable[[float], str],
    between: Callable[[float, float], str] | None = None,
    unit: float = 1.0,
    language: str = "en",
    chosen: tuple[str, str] | None = None,
) -> go.Figure:
    """Return a heat map with a number in each cell.

    In: ``table`` with segment, product_id, value, low and high (nan where hidden), which give a lift its colour; ``rows``
    and ``columns`` as (code, words) in the order shown; ``write`` turns a value into the words of a cell, ``between`` its
    limits into those under the mouse, ``unit`` all three into what a person takes away; ``chosen`` (segment,
    product_id) gets a frame.
    """
    say = texts.speak(language)
    codes = [code for code, _ in rows], [code for code, _ in columns]
    numbers, low, high = (
        table.pivot(index="segment", columns="product_id", values=name)
        .astype(float)
        .reindex(index=codes[0], columns=codes[1])
        .to_numpy()
        for name in ("value", "low", "high")
    )
    shades, scale = _shades(_cautious(numbers, low, high) if measure == "lift" else numbers, measure)
    words = [["" if np.isnan(value) else write(value) for value in line] for line in numbers]
    across = list(range(len(columns)))
    down = list(range(len(rows)))
    hover = [
        [
            f"{row} · {column}<br><b>{word or say.text('hidden')}</b>"
            + (f"<br>{between(*ends)}" if word and between else "")
            for (_, column), word, *ends in zip(escaped(columns), line, least, most, strict=True)
        ]
        for (_, row), line, least, most in zip(escaped(rows), words, low, high, strict=True)
    ]
    figure = plots.figure(language, "", "")
    figure.add_heatmap(
        z=[[None if np.isnan(one) else float(one) for one in line] for line in shades],
        x=across,
        y=down,
        customdata=np.dstack([numbers, low, high]) * unit,
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
    _axes(figure, [name for _, name in rows], [name for _, name in columns])
    if chosen and chosen[0] in codes[0] and chosen[1] in codes[1]:
        y, x = codes[0].index(chosen[0]), codes[1].index(chosen[1])
        line = {"color": plots.ORANGE, "width": 3}
        figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=line)
    return figure


def _axes(figure: go.Figure, rows: list[str], columns: list[str]) -> None:
    shown = {"showgrid": False, "zeroline": False, "showline": False, "ticks": ""}
    tick_names.put(figure, "x", columns, longest=_LONG)
    tick_names.put(figure, "y", rows, longest=_LONG)
    figure.update_xaxes(
        tickangle=-50,
        side="top",
        range=[-0.5, len(columns) - 0.5],
        tickfont={"size": 12},
        **shown,
    )
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickfont={"size": 12},
        **shown,
    )
    layout: dict[str, Any] = {
        "height": 150 + 27 * max(len(rows), 3),
        "hovermode": "closest",
        "plot_bgcolor": plots.HIDDEN,
    }
    figure.update_layout(**layout, margin={"l": 8, "r": 56, "t": 8, "b": 6})


def _cautious(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the end of each interval that is nearer to 1, and 1 where it holds 1: no colour for what chance explains."""
    out = np.where(low > 1, low, np.where(high < 1, high, 1.0))
    return np.where(np.isnan(values), np.nan, out)


def _shades(values: np.ndarray, measure: str) -> tuple[np.ndarray, list[list[Any]]]:
    """Return the place of each value on a scale from 0 to 1, and the scale's colours."""
    if measure == "lift":
        with np.errstate(divide="ignore"):
            doublings = np.clip(np.log2(values), -_MOST_LIFT, _MOST_LIFT)
        return 0.5 + doublings / (2 * _MOST_LIFT), plots.LESS_OR_MORE
    top = np.nanmax(values, initial=0.0)
    # A square root, so that one large cell does not leave the others without colour.
    shades = np.sqrt(np.clip(values, 0, None) / top) if top > 0 else np.where(np.isnan(values), np.nan, 0.0)
    return shades, plots.GREENS if measure == "expected_profit" else plots.BLUES


def escaped(names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return codes and names, the names so that plotly shows them as they are."""
    return [(code, tick_names.plain(name)) for code, name in names]
