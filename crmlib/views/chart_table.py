"""The numbers behind a chart as a table: what a person takes away as CSV or XLSX."""

from __future__ import annotations

import datetime as dt
import html
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

WORDS = {name: name for name in ("series", "item", "value", "low", "high", "first", "last", "row", "column")}
"""What columns are called where no axis names them; ``row`` and ``column`` where both axes hold items."""


def table(figure: go.Figure, *, words: Mapping[str, str] = WORDS) -> pd.DataFrame:
    """Return the points of a figure, one a row: series (the name of the trace), what stands on the axes, and more.

    In: a plotly figure; ``words`` as of ``WORDS``, in the reader's language. Out: ``series`` where there is more than
    one; a column an axis, called by its title (ticks with words in place of numbers); ``value`` for heatmaps
    (``customdata`` where there is any: value, or value, low and high) and slices of pies; ``low`` and ``high`` where
    error bars are drawn or meant (invisible ones of a curve with a band), and ``first`` and ``last`` of bars that begin at a
    ``base``. Lines without hover, such as bands and diagonals, only help to read a chart and are left out.

    >>> drawn = go.Figure().add_bar(x=["a", "b"], y=[1, 2])
    >>> table(drawn).to_dict("list")
    {'item': ['a', 'b'], 'value': [1, 2]}
    """
    drawn = [trace for trace in figure.data if not (trace.type == "scatter" and trace.hoverinfo == "skip")]
    rows = []
    for place, trace in enumerate(drawn or figure.data, start=1):
        label = _plain(trace.name or "") or (str(place) if len(drawn or figure.data) > 1 else "")
        rows += [{"series": label, **point} for point in _points(trace)]
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    if not any(trace.name for trace in drawn or figure.data):
        found = found.drop(columns="series")
    axes = {"x": figure.layout.xaxis, "y": figure.layout.yaxis}
    whole = (figure.layout.meta or {}).get("whole", {})
    for name, axis in axes.items():
        found = _named(found, name, axis, whole.get(name))
    return found.rename(columns={**words, **_titles(found, axes, words)})


def _titles(table: pd.DataFrame, axes: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, str]:
    """Return what the columns of the axes are called: by title, else by what they hold."""
    shown = {name: axis for name, axis in axes.items() if name in table}
    named = {
        name: _axis(axis) or words["value" if pd.api.types.is_numeric_dtype(table[name]) else "item"]
        for name, axis in shown.items()
    }
    taken = [words[name] for name in ("series", "value", "low", "high") if name in table]
    if len({*named.values(), *taken}) < len(named) + len(taken):
        named = {name: {"x": words["column"], "y": words["row"]}[name] for name in shown}
    return named


def _points(trace: Any) -> Iterator[dict[str, Any]]:
    if trace.type == "heatmap":
        cells = trace.z if trace.customdata is None else trace.customdata
        for (row, upper), (column, right) in itertools.product(enumerate(_list(trace.y)), enumerate(_list(trace.x))):
            told = np.atleast_1d(np.asarray(cells[row][column], dtype=object))
            yield {"x": right, "y": upper, **dict(zip(("value", "low", "high"), _list(told), strict=False))}
    elif trace.type == "pie":
        for label, amount in zip(_list(trace.labels), _list(trace.values), strict=True):
            yield {"x": label, "value": amount}
    elif trace.type == "bar" and trace.base is not None:
        yield from _spans(trace)
    elif trace.type in ("scatter", "scattergl", "bar", "waterfall", "box", "violin", "histogram"):
        xs, ys = _list(trace.x), _list(trace.y)
        errors = {"y": getattr(trace, "error_y", None), "x": getattr(trace, "error_x", None)}
        for place, (right, upper) in enumerate(itertools.zip_longest(xs, ys)):
            point = {"x": right, "y": upper}
            for middle, error in ((upper, errors["y"]), (right, errors["x"])):
                if error is not None and error.array is not None and place < len(error.array):
                    below = error.array if error.arrayminus is None else error.arrayminus
                    point |= {"low": middle - below[place], "high": middle + error.array[place]}
            yield point


def _spans(trace: Any) -> Iterator[dict[str, Any]]:
    """Return bars that begin at a base as rows with their first and last place; days without times where they are days."""
    for first, long, upper in zip(_list(trace.base), _list(trace.x), _list(trace.y), strict=True):
        if isinstance(first, pd.Timestamp | np.datetime64 | dt.datetime | str):
            begin = pd.Timestamp(first)
            yield {
                "y": upper,
                "first": begin.date(),
                "last": (begin + pd.Timedelta(long, "ms") - pd.Timedelta(1, "s")).date(),
            }
        else:
            yield {"y": upper, "first": first, "last": first + long}


def _named(table: pd.DataFrame, column: str, axis: Any, whole: list[str] | None) -> pd.DataFrame:
    """Return the table with the words of an axis' ticks, ``whole`` where shortened, in place of the places if all are named."""
    if column not in table or axis.ticktext is None or axis.tickvals is None:
        return table
    names = whole or [_plain(str(one)) for one in axis.ticktext]
    words = dict(zip(_list(axis.tickvals), names, strict=False))
    known = table[column].isin(list(words))
    return table.assign(**{column: table[column].map(words)}) if known.all() else table


def _axis(axis: Any) -> str:
    return _plain(axis.title.text or "") if axis is not None and axis.title is not None else ""


def _plain(words: str) -> str:
    """Return a label without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", words)).split())


def _list(values: Any) -> list[Any]:
    return [] if values is None else [_scalar(one) for one in values]


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return _plain(value) if isinstance(value, str) else value
