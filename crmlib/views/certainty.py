"""How sure a figure is: the interval it shows, or the reason why it shows none, in words under the chart."""

from __future__ import annotations

from typing import Any, TypeVar

import plotly.graph_objects as go

from crmlib.views.sketch import Sketch
from crmlib.views.texts import Language

Drawn = TypeVar("Drawn", go.Figure, Sketch)


def told(drawn: Drawn, words: str, *, origin: str = "") -> Drawn:
    """Return the figure with what is to be said under it: how sure it is, and its origin where not the page's own.

    >>> told(go.Figure(), "Counted.").layout.meta["certainty"]
    'Counted.'
    """
    drawn.update_layout(meta={**_meta(drawn), "certainty": words, "origin": origin})
    return drawn


def of(drawn: go.Figure | Sketch) -> str:
    """Return what ``told`` put on a figure, "" where nothing was."""
    return str(_meta(drawn).get("certainty", ""))


def own_origin(drawn: go.Figure | Sketch) -> str:
    """Return the origin that ``told`` put on a figure, "" for the page's own."""
    return str(_meta(drawn).get("origin", ""))


def _meta(drawn: go.Figure | Sketch) -> dict[str, Any]:
    meta = drawn.layout.get("meta") if isinstance(drawn, Sketch) else drawn.layout.meta
    return dict(meta) if isinstance(meta, dict) else {}


def interval(say: Language, level: int) -> str:
    """Return the words for a figure that draws an interval: bands, whiskers or ranges in the text beside it."""
    return say.text("The band or bar around a value is its {level}% interval.", level=level)


def counted(say: Language) -> str:
    """Return the words for figures that were counted or summed from records of everybody."""
    return say.text("Counted from the records, not estimated: there is no interval.")


def none(say: Language, why: str) -> str:
    """Return the words for an estimate without an interval; ``why`` is a sentence in the reader's language."""
    return say.text("No interval: {why}", why=why)
