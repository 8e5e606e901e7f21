"""Names along an axis: shortened to fit the chart, whole for whoever takes its numbers away."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go


def put(
    drawn: go.Figure, axis: str, names: Sequence[str], *, longest: int, under: Sequence[str] | None = None
) -> go.Figure:
    """Return the figure with names at the places 0, 1, 2, … of an axis ("x" or "y"), each at most ``longest`` characters.

    ``under`` are words on a line below each. ``chart_table.table`` gives the names whole.

    >>> put(go.Figure(), "y", ["Current account <plus>"], longest=9).layout.yaxis.ticktext
    ('Current…',)
    """
    texts = [plain(short(name, longest)) for name in names]
    if under is not None:
        texts = [f"{name}<br>{words}" for name, words in zip(texts, under, strict=True)]
    drawn.update_layout({f"{axis}axis": {"tickvals": list(range(len(texts))), "ticktext": texts}})
    meta = drawn.layout.meta or {}
    return drawn.update_layout(meta={**meta, "whole": {**meta.get("whole", {}), axis: list(names)}})


def alias(names: Sequence[str], *, longest: int) -> dict[str, str]:
    """Return the ``labelalias`` of an axis of categories: whole names (as of ``plain``) to what the axis shows.

    >>> alias(["Current account", "Loan"], longest=9)
    {'Current account': 'Current…'}
    """
    return {plain(name): plain(short(name, longest)) for name in names if len(name) > longest}


def short(words: str, longest: int) -> str:
    """Return words cut where they are longer.

    >>> short("Current account", 9), short("Loan", 9)
    ('Current…', 'Loan')
    """
    return words if len(words) <= longest else f"{words[: longest - 1].rstrip()}…"


def plain(words: str) -> str:
    """Return words from the data so that plotly shows them as they are.

    >>> plain("A & <b>")
    'A &amp; &lt;b&gt;'
    """
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
