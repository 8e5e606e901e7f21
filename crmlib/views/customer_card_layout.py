"""What the parts of the customer card are made of: a heading, pictures, words."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from crmlib.decisions.desk_history import Code
from crmlib.views import customer_card_words as words
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.texts import Language


@dataclass(frozen=True, eq=False)
class Part:
    """What one card of the page shows: HTML above the pictures, the pictures (None: nothing to draw), HTML below."""

    head: str
    figures: tuple[go.Figure | None, ...] = ()
    body: str = ""


def why(say: Language, model: str, card: Card, loaded: Loaded) -> str:
    """Return why there is nothing of a model on this customer's card."""
    return words.not_in(say, card) if model in loaded.sets and not card.objected else words.missing(say, model, card)


def records(table: pd.DataFrame) -> list[Code]:
    """Return the rows of a table as dictionaries."""
    rows: list[Code] = table.to_dict("records")  # type: ignore[assignment]
    return rows


def paragraph(text: str) -> str:
    """Return words as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """Return lines of words as a list; nothing for none."""
    items = "".join(f"<li>{html.escape(one)}</li>" for one in lines)
    return f'<ul class="card-list">{items}</ul>' if items else ""
