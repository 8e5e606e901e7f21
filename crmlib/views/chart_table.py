"""The numbers behind a chart as a table: what a person takes away as CSV or XLSX."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go


def table(
    figure: go.Figure, *, series: str = "series", x: str = "x", y: str = "y", value: str = "value"
) -> pd.DataFrame:
    """Return the points of a figure, one a row: series (the name of the trace), x, y, and what else a trace has.

    In: a plotly figure; the words name the columns where an axis has no title. Out: ``series`` where there is more than
    one, the columns of the axes, ``value`` for heatmaps and slices of pies, low and high where error bars are drawn.

    >>> drawn = go.Figure().add_bar(x=["a", "b"], y=[1, 2])
    >>> table(drawn).to_dict("list")
    {'x': ['a', 'b'], 'y': [1, 2]}
    """
    names = (_axis(figure.layout.xaxis) or x, _axis(figure.layout.yaxis) or y, value)
    if names[0] == names[1]:
        names = (x, y, value)
    rows = []
    for place, trace in enumerate(figure.data, start=1):
        label = _plain(trace.name or "") or (str(place) if len(figure.data) > 1 else "")
        rows += [{series: label, **point} for point in _points(trace, names)]
    found = pd.DataFrame(rows)
    return found.drop(columns=series) if len(found) and set(found[series]) == {""} else found


def _points(trace: Any, names: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
    across, up, value = names
    if trace.type == "heatmap":
        for (row, upper), (column, right) in itertools.product(enumerate(_list(trace.y)), enumerate(_list(trace.x))):
            yield {across: right, up: upper, value: _scalar(trace.z[row][column])}
    elif trace.type == "pie":
        for label, amount in zip(_list(trace.labels), _list(trace.values), strict=True):
            yield {across: label, value: amount}
    elif trace.type in ("scatter", "scattergl", "bar", "box", "violin", "histogram"):
        xs, ys = _list(trace.x), _list(trace.y)
        errors = {"y": getattr(trace, "error_y", None), "x": getattr(trace, "error_x", None)}
        for place, (right, upper) in enumerate(itertools.zip_longest(xs, ys)):
            point = {across: right, up: upper}
            for middle, error in ((upper, errors["y"]), (right, errors["x"])):
                if error is not None and error.array is not None and place < len(error.array):
                    below = error.array if error.arrayminus is None else error.arrayminus
                    point |= {"low": middle - below[place], "high": middle + error.array[place]}
            yield point


def _axis(axis: Any) -> str:
    return _plain(axis.title.text or "") if axis is not None and axis.title is not None else ""


def _plain(words: str) -> str:
    """Return a label without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", words).split())


def _list(values: Any) -> list[Any]:
    return [] if values is None else [_scalar(one) for one in values]


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return _plain(value) if isinstance(value, str) else value
