"""The parts of a report as safe HTML: texts, tables and pictures of cells, without anything that runs or fetches."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
        "var",
    ]
)
_RUNS = re.compile(r"<(script|style|template|noscript)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def clean(text: str) -> str:
    """Return HTML with tags, attributes and addresses of a short list only; tables scroll where they are too wide.

    >>> clean('<b onclick="x()">North</b><script>x()</script><img src="https://a.example/x.png" alt="map">')
    '<b>North</b>'
    """
    cleaned = _cleaner().clean(_RUNS.sub("", text))
    cleaned = re.sub(r"<img(?![^>]*\ssrc=)[^>]*>", "", cleaned)
    cleaned = cleaned.replace("<table", '<div class="scroll"><table').replace("</table>", "</table></div>")
    return cleaned.strip()


def markdown(source: str, attachments: Mapping[str, Any]) -> str:
    """Return Markdown, with the pictures attached to its cell, as safe HTML.

    >>> markdown("**12** customers", {})
    '<p><strong>12</strong> customers</p>'
    """
    for name, forms in attachments.items():
        for kind, content in forms.items():
            source = source.replace(f"attachment:{name}", f"data:{kind};base64,{content}")
    return clean(_renderer()(source))


def picture(kind: str, content: Any, words: str) -> str:
    """Return a picture of an output, base64 or the text of an SVG, as part of the page."""
    text = "".join(content) if isinstance(content, list) else str(content)
    if kind == "image/svg+xml" and "<" in text:
        text = base64.b64encode(text.encode()).decode()  # as an image it can run nothing
    data = re.sub(r"[^A-Za-z0-9+/=]", "", text)
    return f'<img src="data:{kind};base64,{data}" alt="{html.escape(words, quote=True)}">'


def without_colours(text: str) -> str:
    """Return the text of a terminal without its codes for colours.

    >>> without_colours("\\x1b[31mred\\x1b[0m")
    'red'
    """
    return _COLOURS.sub("", text)


def figure_label(layout: Mapping[str, Any]) -> str:
    """Return what a figure shows, for those who cannot see it: its title, else the titles of its axes.

    >>> figure_label({"xaxis": {"title": {"text": "Month"}}, "yaxis": {"title": {"text": "Sales"}}})
    'Sales, Month'
    """
    parts = [layout] if _titled(layout) else [layout.get("yaxis", {}), layout.get("xaxis", {})]
    found = [_titled(part) for part in parts]
    return re.sub(r"<[^>]+>", " ", ", ".join(filter(None, found))) or "–"


def _titled(part: Any) -> str:
    title = part.get("title", "") if isinstance(part, Mapping) else ""
    text = title.get("text", "") if isinstance(title, Mapping) else title
    return str(text or "")


@cache
def _cleaner() -> Any:
    import bleach  # noqa: PLC0415  (slow to import)

    def attribute(tag: str, name: str, value: str) -> bool:
        if tag == "a" and name == "href":
            return value.startswith(("#", "https://", "http://", "mailto:"))
        if tag == "img" and name == "src":
            return re.match(r"data:image/(png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=]+$", value) is not None
        if tag in ("td", "th") and name in ("colspan", "rowspan", "scope"):
            return value.isalnum()
        return name in ("alt", "title") or (name, value) == ("class", "dataframe")

    protocols = ["http", "https", "mailto", "data"]
    return bleach.Cleaner(tags=_TAGS, attributes=attribute, protocols=protocols, strip=True, strip_comments=True)


@cache
def _renderer() -> Any:
    import mistune  # noqa: PLC0415  (slow to import)

    return mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "footnotes"])
