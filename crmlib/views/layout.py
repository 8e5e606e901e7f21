"""How things are laid out on a dashboard: controls, cards, charts side by side, tiles, tables."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from urllib.parse import urlencode

import ipywidgets as widgets


class Html(str):
    """Text that is HTML already, such as a link: ``table`` shows it as it is, and escapes every other."""


def controls(*pairs: tuple[widgets.Widget, widgets.Widget]) -> widgets.Widget:
    """Return controls in a row, each a label above a widget."""
    box = widgets.Box([widgets.Box(pair) for pair in pairs])
    box.add_class("crm-controls")
    return box


def card(*content: widgets.Widget) -> widgets.Widget:
    """Return a card: a bordered box of widgets below one another."""
    box = widgets.VBox(content, layout={"display": "block"})
    box.add_class("crm-card")
    return box


def charts(*cards: widgets.Widget, columns: int = 3) -> widgets.Widget:
    """Return cards side by side, fewer in a row on a narrow screen."""
    box = widgets.Box(cards)
    box.add_class("crm-charts")
    box.add_class(f"crm-columns-{columns}")
    return box


def bar(*content: widgets.Widget) -> widgets.Widget:
    """Return small controls in one row that wraps."""
    box = widgets.Box(content)
    box.add_class("crm-bar")
    return box


def title(words: str, note: str = "") -> str:
    """Return the HTML of a card's heading."""
    return f"<h2>{html.escape(words)}</h2>" + (f"<p>{html.escape(note)}</p>" if note else "")


def tiles(values: Sequence[tuple[str, str, str]]) -> str:
    """Return the HTML of numbers in tiles: name, value, note."""
    cells = "".join(
        f'<div class="crm-tile"><span>{html.escape(name)}</span><b>{html.escape(value)}</b>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in values
    )
    return f'<div class="crm-tiles">{cells}</div>'


def table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    """Return the HTML of a table: ``heads`` with "n" for numbers or "" and the words; ``rows`` of plain texts or links (``Html``)."""
    head = "".join(f'<th class="{kind}" scope="col">{html.escape(words)}</th>' for kind, words in heads)
    kinds = [kind for kind, _ in heads]
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{_cell(value)}</td>' for kind, value in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    named = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="crm-scroll"><table class="crm-table" id="{_table_id(head + body)}">{named}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _table_id(content: str) -> str:
    """Return an id by which the page can ask for a table, the same for the same content."""
    return f"t-{hashlib.blake2s(content.encode(), digest_size=8).hexdigest()}"


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else html.escape(value)


def link(dashboard: str, words: str, **query: object) -> Html:
    """Return the HTML of a link to another dashboard, with what its address asks for.

    >>> link("campaigns", "Plan a campaign", audience=3)
    '<a class="crm-link" href="campaigns.ipynb?audience=3">Plan a campaign</a>'
    """
    address = f"{dashboard}.ipynb" + (f"?{urlencode(query)}" if query else "")
    return Html(f'<a class="crm-link" href="{html.escape(address)}">{html.escape(words)}</a>')
