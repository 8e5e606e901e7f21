"""A small picture of a chart without words, for the front door: its shapes in the page's own colours, light or dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots

WIDTH, HEIGHT, _EDGE = 320, 150, 10
_POINTS, _DOTS, _BARS, _CELLS = 90, 45, 40, (18, 12)
_NAMES = {
    plots.BLUE: "blue",
    plots.ORANGE: "orange",
    plots.GREEN: "green",
    plots.PURPLE: "purple",
    plots.PALETTE[4]: "amber",
    plots.PALETTE[5]: "sky",
    plots.GREY: "grey",
}
_ORDER = ("blue", "orange", "green", "purple", "amber", "sky")
_FIRST_DAY = pd.Timestamp("1970-01-01")
_KNOWN = (
    "x|y|width|height|rx|cx|cy|r|d|fill|opacity|stroke|stroke-width|stroke-linejoin|stroke-linecap|stroke-dasharray"
)
_SHAPE = re.compile(rf'<(?:rect|circle|path)(?: (?:{_KNOWN})="[A-Za-z0-9 .,()-]*")*/>')
_OPENING = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">'


@dataclass(frozen=True)
class _Axes:
    """Where values lie in the picture: the lowest and highest of each axis."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, values: Any) -> Any:
        low, high = self.x
        return _EDGE + (np.asarray(values, float) - low) / ((high - low) or 1) * (WIDTH - 2 * _EDGE)

    def up(self, values: Any) -> Any:
        low, high = self.y
        return HEIGHT - _EDGE - (np.asarray(values, float) - low) / ((high - low) or 1) * (HEIGHT - 2 * _EDGE)


def draw(figure: go.Figure) -> str:
    """Return a figure as a small SVG without words or numbers, "" where there is nothing that can be drawn so.

    >>> draw(go.Figure(go.Bar(x=["a", "b"], y=[1, 2]))).count("<rect")
    2
    """
    traces = [one for one in figure.data if one.visible in (None, True)]
    first = [one for one in traces if getattr(one, "xaxis", None) in (None, "x", "x1")]
    grid = next((one for one in first if one.type == "heatmap"), None)
    shapes = _heat(grid) if grid is not None else _plane(figure, first)
    return f"{_OPENING}{''.join(shapes)}</svg>" if shapes else ""


def safe(picture: str) -> bool:
    """Return whether a text is a picture made here, and nothing else: it is put into pages as it is.

    >>> safe(draw(go.Figure(go.Bar(y=[1, 2])))), safe("<svg onload=alert(1)></svg>")
    (True, False)
    """
    inside = picture.removeprefix(_OPENING).removesuffix("</svg>")
    return picture == f"{_OPENING}{inside}</svg>" and not _SHAPE.sub("", inside)


# ---------------------------------------------------------------- kinds of charts


def _heat(trace: Any) -> list[str]:
    table = pd.DataFrame([list(row) for row in trace.z]).apply(pd.to_numeric, errors="coerce").to_numpy(float)
    table = table[: _CELLS[1], : _CELLS[0]][::-1]
    if (trace.yaxis in (None, "y") and table.size == 0) or not np.isfinite(table).any():
        return []
    low, high = np.nanmin(table), np.nanmax(table)
    rows, columns = table.shape
    wide, tall = (WIDTH - 2 * _EDGE) / columns, (HEIGHT - 2 * _EDGE) / rows
    shapes = []
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            share = (value - low) / ((high - low) or 1)
            box = (_EDGE + column * wide + 1, _EDGE + row * tall + 1, wide - 2, tall - 2)
            shapes.append(_rect(*box, color="var(--crm-blue)", opacity=0.12 + 0.83 * share))
    return shapes


def _plane(figure: go.Figure, traces: Sequence[Any]) -> list[str]:
    bars = [one for one in traces if one.type == "bar"]
    lines = [one for one in traces if one.type in ("scatter", "scattergl")]
    lying = any(getattr(one, "orientation", None) == "h" for one in bars)
    places: dict[str, dict[Any, int]] = {"x": {}, "y": {}}
    boxes = [box for at, one in enumerate(bars) for box in _boxes(one, at, lying=lying, places=places)]
    boxes = _stacked(boxes) if figure.layout.barmode in ("stack", "relative") else _beside(boxes, len(bars))
    curves = [found for at, one in enumerate(lines) if (found := _curve(one, at, places)) is not None]
    curves = [_on_log_axes(curve, figure) for curve in curves]
    if not boxes and not curves:
        return []
    axes = _axes(figure, boxes, curves, lying=lying)
    shapes = [shape for box in boxes for shape in _bar(box, axes, lying=lying)]
    for curve in sorted(curves, key=lambda one: not one.filled):
        shapes += _line(curve, axes)
    return shapes


@dataclass(frozen=True)
class _Box:
    """A bar: its place along the row of bars, from where to where it reaches, how much of its place it takes."""

    place: float
    low: float
    high: float
    color: str
    thick: float = 0.7


@dataclass(frozen=True)
class _Curve:
    """A line, an area or points."""

    x: np.ndarray
    y: np.ndarray
    color: str
    filled: bool
    lined: bool
    dashed: bool


def _boxes(trace: Any, at: int, *, lying: bool, places: dict[str, dict[Any, int]]) -> Iterable[_Box]:
    sizes, names = (trace.x, trace.y) if lying else (trace.y, trace.x)
    sizes = pd.to_numeric(pd.Series(list(sizes if sizes is not None else ())), errors="coerce").to_numpy(float)[:_BARS]
    where = _numbers(names if names is not None else range(len(sizes)), places["y" if lying else "x"])[:_BARS]
    colors = trace.marker.color if isinstance(trace.marker.color, list | tuple | np.ndarray) else None
    for number, (place, size) in enumerate(zip(where, sizes, strict=False)):
        if np.isfinite(place) and np.isfinite(size) and size:
            own = _color(colors[number] if colors is not None and number < len(colors) else trace.marker.color, at)
            yield _Box(float(place), 0.0, float(size), own)


def _stacked(boxes: Sequence[_Box]) -> list[_Box]:
    tops: dict[tuple[float, bool], float] = {}
    done = []
    for box in boxes:
        size = box.high - box.low
        start = tops.get((box.place, size < 0), 0.0)
        tops[box.place, size < 0] = start + size
        done.append(_Box(box.place, start, start + size, box.color))
    return done


def _beside(boxes: Sequence[_Box], rows: int) -> list[_Box]:
    if rows < 2:
        return list(boxes)
    seen: dict[float, int] = {}
    done = []
    for box in boxes:
        number = seen.setdefault(box.place, 0)
        seen[box.place] += 1
        shift = (number - (rows - 1) / 2) * 0.8 / rows
        done.append(_Box(box.place + shift, box.low, box.high, box.color, 0.75 / rows))
    return done


def _curve(trace: Any, at: int, places: dict[str, dict[Any, int]]) -> _Curve | None:
    if trace.y is None or len(trace.y) == 0:
        return None
    x = _numbers(trace.x if trace.x is not None else range(len(trace.y)), places["x"])
    y = _numbers(trace.y, places["y"])
    length = min(len(x), len(y))
    filled = trace.fill not in (None, "none")
    mode = trace.mode or "lines"
    step = max(1, length // (_POINTS if "lines" in mode else _DOTS))
    keep = np.arange(0, length, step)
    x, y = x[keep], y[keep]
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    color = trace.fillcolor if filled and trace.fillcolor else trace.line.color or trace.marker.color
    dashed = trace.line.dash not in (None, "solid")
    return _Curve(x[known], y[known], _color(color, at), filled, "lines" in mode, dashed)


def _on_log_axes(curve: _Curve, figure: go.Figure) -> _Curve:
    sides = {"x": curve.x, "y": curve.y}
    for side, axis in (("x", figure.layout.xaxis), ("y", figure.layout.yaxis)):
        if axis.type == "log":
            sides[side] = np.log10(np.where(sides[side] > 0, sides[side], np.nan))
    known = np.isfinite(sides["x"]) & np.isfinite(sides["y"])
    return replace(curve, x=sides["x"][known], y=sides["y"][known])


# ---------------------------------------------------------------- places and colours


def _axes(figure: go.Figure, boxes: Sequence[_Box], curves: Sequence[_Curve], *, lying: bool) -> _Axes:
    along = [box.place + side for box in boxes for side in (-0.5, 0.5)]
    reach = [value for box in boxes for value in (box.low, box.high)] + ([0.0] if boxes else [])
    xs = [*(reach if lying else along), *(value for curve in curves for value in curve.x)]
    ys = [*(along if lying else reach), *(value for curve in curves for value in curve.y)]
    asked_x, asked_y = figure.layout.xaxis.range, figure.layout.yaxis.range
    plain = not boxes and all(isinstance(end, int | float) for end in (*(asked_x or ()), *(asked_y or ())))
    x = tuple(map(float, asked_x)) if plain and asked_x else (min(xs), max(xs))
    y = tuple(map(float, asked_y)) if plain and asked_y else (min(ys), max(ys))
    return _Axes((x[0], x[-1]), (y[0], y[-1]))


def _numbers(values: Any, places: dict[Any, int]) -> np.ndarray:
    """Return values as numbers: themselves, days, or the places of categories in the order they came."""
    series = pd.Series(list(values), dtype="object")
    numbers = pd.to_numeric(series, errors="coerce")
    if numbers.notna().any() and not places and numbers.notna().sum() >= series.notna().sum():
        return numbers.to_numpy(float)
    if not places and series.dropna().map(_is_day).all():
        days = pd.to_datetime(series, errors="coerce", format="mixed")
        if days.notna().any():
            return (days - _FIRST_DAY).dt.total_seconds().to_numpy(float) / 86_400
    return np.array([places.setdefault(str(value), len(places)) for value in series], float)


def _is_day(value: Any) -> bool:
    return hasattr(value, "year") or (isinstance(value, str) and bool(re.match(r"\d{4}-\d{2}", value)))


def _color(color: Any, at: int) -> str:
    if isinstance(color, str):
        if color.upper() in _NAMES:
            return f"var(--crm-{_NAMES[color.upper()]})"
        if color.startswith("rgba("):
            parts = [int(float(part)) for part in color[5:-1].split(",")[:3]]
            return _color("#{:02X}{:02X}{:02X}".format(*parts), at)
        if re.fullmatch(r"#[0-9A-Fa-f]{6}", color):
            parts = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
            if max(parts) - min(parts) < 32:
                return "var(--crm-grey)"
    return f"var(--crm-{_ORDER[at % len(_ORDER)]})"


# ---------------------------------------------------------------- shapes


def _bar(box: _Box, axes: _Axes, *, lying: bool) -> list[str]:
    sides = (box.place - box.thick / 2, box.place + box.thick / 2)
    xs = axes.across((box.low, box.high) if lying else sides)
    ys = axes.up(sides if lying else (box.low, box.high))
    size = (abs(xs[1] - xs[0]), abs(ys[1] - ys[0]))
    return [_rect(min(xs), min(ys), max(size[0], 1), max(size[1], 1), color=box.color)]


def _line(curve: _Curve, axes: _Axes) -> list[str]:
    xs = np.clip(axes.across(curve.x), -9, WIDTH + 9)
    ys = np.clip(axes.up(curve.y), -9, HEIGHT + 9)
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    if curve.filled:
        return [f'<path d="{path}Z" fill="{curve.color}" opacity="0.18"/>']
    if curve.lined and len(xs) > 1:
        dash = ' stroke-dasharray="5 4" opacity="0.8"' if curve.dashed else ""
        width = 2 if curve.dashed else 3
        joins = 'stroke-linejoin="round" stroke-linecap="round"'
        return [f'<path d="{path}" fill="none" stroke="{curve.color}" stroke-width="{width}" {joins}{dash}/>']
    inside = (xs > 0) & (xs < WIDTH) & (ys > 0) & (ys < HEIGHT)
    points = zip(xs[inside], ys[inside], strict=True)
    return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{curve.color}" opacity="0.75"/>' for x, y in points]


def _rect(x: float, y: float, width: float, height: float, *, color: str, opacity: float = 1.0) -> str:
    shade = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{color}"{shade}/>'
