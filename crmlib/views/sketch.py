"""A figure put together without plotly's checks: for charts that follow a slider, where checking is most of the time."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go


class Sketch:
    """What ``go.Figure`` is made of, by the same methods; ``figure`` checks it and makes one.

    Attributes: ``data`` the traces, ``layout`` the layout, both plain dictionaries as plotly.js reads them.

    >>> drawn = Sketch({"height": 200})
    >>> drawn.add_bar(x=["a"], y=[1])
    >>> drawn.update_layout(margin={"t": 12})
    >>> drawn.figure().layout.margin.t
    12
    """

    def __init__(self, layout: dict[str, Any]) -> None:
        self.data: list[dict[str, Any]] = []
        self.layout = {**layout, "shapes": [], "annotations": []}

    def add_scatter(self, **trace: Any) -> None:
        """Add a trace of lines or points."""
        self._add("scatter", trace)

    def add_bar(self, **trace: Any) -> None:
        """Add a trace of bars."""
        self._add("bar", trace)

    def add_annotation(self, **note: Any) -> None:
        """Add words at a place."""
        self.layout["annotations"].append(note)

    def add_vline(self, x: float, **about: Any) -> None:
        """Add a line over the whole height."""
        place = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
        self.layout["shapes"].append({**place, **about})

    def update_layout(self, **changes: Any) -> None:
        """Change the layout; what is nested is changed within."""
        _merge(self.layout, changes)

    def update_xaxes(self, **changes: Any) -> None:
        """Change the horizontal axis."""
        _merge(self.layout["xaxis"], changes)

    def update_yaxes(self, **changes: Any) -> None:
        """Change the vertical axis."""
        _merge(self.layout["yaxis"], changes)

    def spec(self) -> dict[str, Any]:
        """Return traces and layout as plotly.js reads them."""
        return {"data": self.data, "layout": self.layout}

    def figure(self) -> go.Figure:
        """Return the checked figure."""
        return go.Figure(self.spec())

    def _add(self, kind: str, trace: dict[str, Any]) -> None:
        self.data.append({"type": kind, **{name: value for name, value in trace.items() if value is not None}})


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            into[name] = {**into[name]}  # the skeleton is shared between figures
            _merge(into[name], value)
        else:
            into[name] = value
