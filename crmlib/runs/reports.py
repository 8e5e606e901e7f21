"""An executed notebook as one HTML page for people: no code, charts drawn, everything in the page itself.

The page asks nobody for anything: plotly.js is in it once, and its content policy forbids the browser every request and
every script but the two that belong to it. What cells wrote is cleaned to plain text, tables and pictures.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from crmlib.errors import DataError, NotFoundError
from crmlib.runs import report_html
from crmlib.store import files
from crmlib.views import report_words
from crmlib.views.chart import plotly_js

_HERE = Path(__file__).parent
_PLOTLY = "application/vnd.plotly.v1+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
_BANNERS = {"papermill-error-cell-tag"}
"""Tags of cells that papermill adds to a failed notebook; the report says it in its own words."""


def make(
    executed: Path,
    target: Path,
    *,
    title: str,
    parameters: Mapping[str, Any],
    versions: Mapping[str, Any],
    made_at: dt.datetime,
    language: str = "en",
) -> Path:
    """Write an executed notebook as a self-contained HTML page to ``target`` and return it.

    ``versions`` says what it was made from (warehouse, models, crmlib, run …), ``made_at`` is UTC. The page appears
    under its name once it is complete. Raises NotFoundError where there is no such notebook, DataError where it cannot
    be read, EnvironmentFault where the page cannot be written.
    """
    words = report_words.heading(language, made_at=made_at)
    body = _Body(words, language, title)
    for cell in _read(executed).cells:
        body.add(cell)
    facts = [
        (words["versions"], report_words.versions(versions, language)),
        (words["parameters"], [(name, _plain(value)) for name, value in parameters.items() if name != "data"]),
    ]
    page = _page(body, facts, title=title, language=language)
    with files.reporting(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=".html", dir=target.parent)
        working = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(page)
            files.sync(working)
            working.chmod(0o640)
            working.replace(target)
        finally:
            working.unlink(missing_ok=True)
    return target


def title_of(notebook: Path) -> str:
    """Return the title in the first cell of a notebook, else its name in words."""
    for cell in _read(notebook).cells[:1]:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return str(cell.source.splitlines()[0][2:]).strip()
    return re.sub(r"^[\d_]+", "", notebook.stem).replace("_", " ").capitalize() or notebook.stem


def _read(notebook: Path) -> Any:
    if not notebook.is_file():
        raise NotFoundError(f"{notebook}: no such notebook; `crm run` makes executed copies below data/runs")
    try:
        return nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises many kinds; all mean the same here
        raise DataError(f"{notebook}: not a readable notebook ({str(error).splitlines()[0][:120]})") from error


# ---------------------------------------------------------------- the cells


@dataclass
class _Body:
    """What the cells of a notebook become: HTML in order, the figures' data, the headings, and how it failed."""

    words: Mapping[str, str]
    language: str
    title: str
    parts: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    headings: list[tuple[str, str]] = field(default_factory=list)
    failure: str = ""
    cells: int = 0

    def add(self, cell: Any) -> None:
        """Add a cell: its text, or its outputs without the code."""
        if cell.cell_type == "code":
            self.cells += 1
            for output in cell.get("outputs", []):
                self.parts.extend(self._output(output, cell))
        elif cell.cell_type == "markdown" and not _BANNERS & set(cell.metadata.get("tags", [])):
            source = cell.source
            first, _, rest = source.partition("\n")
            if first.removeprefix("# ").strip() == self.title and first.startswith("# "):
                source = rest  # the head of the page says it already
            self.parts.append(self._markdown(source, cell.get("attachments", {})))

    def _markdown(self, source: str, attachments: Mapping[str, Any] | None = None) -> str:
        return self._numbered(report_html.markdown(source, attachments or {}))

    def _numbered(self, text: str) -> str:
        """Give headings an anchor and remember them for the contents."""

        def anchor(match: re.Match[str]) -> str:
            name = f"part-{len(self.headings) + 1}"
            self.headings.append((name, re.sub(r"<[^>]+>", "", match[1])))
            return f'<h2 id="{name}">{match[1]}</h2>'

        return re.sub(r"<h2>(.*?)</h2>", anchor, text, flags=re.DOTALL)

    def _output(self, output: Any, cell: Any) -> Iterator[str]:
        kind = output.output_type
        if kind == "stream":
            text = _preformatted(output.text)
            if output.name == "stderr":
                yield f"<details><summary>{html.escape(self.words['messages'])}</summary>{text}</details>"
            elif output.text.strip():
                yield text
        elif kind == "error":
            value = str(output.evalue).splitlines()
            reason = f"{output.ename}: {value[0]}" if value else str(output.ename)
            number = cell.get("execution_count") or self.cells
            self.failure = report_words.failed(self.language, cell=number, reason=reason.rstrip("."))
            yield _note(report_words.stopped(self.language))
        else:
            yield self._shown(output.get("data", {}))

    def _shown(self, data: Mapping[str, Any]) -> str:
        """Return the best a page can show of an output's forms."""
        shown: dict[str, Callable[[Any], str]] = {
            _PLOTLY: self._figure,
            _WIDGET: lambda _: _note(self.words["widget"]),
            **{kind: partial(report_html.picture, kind, words=self.words["picture"]) for kind in _PICTURES},
            "text/html": lambda content: report_html.clean(_text(content)),
            "text/markdown": lambda content: self._markdown(_text(content)),
            "text/plain": _preformatted,
        }
        best = next((kind for kind in shown if kind in data), None)
        return shown[best](data[best]) if best else _note(self.words["unknown"])

    def _figure(self, spec: Mapping[str, Any]) -> str:
        name = f"figure-{len(self.figures) + 1}"
        kept = {"data": spec.get("data", []), "layout": spec.get("layout", {})}
        # In a script element only "<" could end it.
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        self.figures.append(f'<script type="application/json" id="{name}">{text}</script>')
        label = html.escape(f"{self.words['chart']}: {report_html.figure_label(kept['layout'])}", quote=True)
        trouble = html.escape(self.words["trouble"], quote=True)
        return f'<div class="figure" role="img" aria-label="{label}" data-of="{name}" data-trouble="{trouble}"></div>'


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _note(words: str) -> str:
    return f'<p class="note">{html.escape(words)}</p>'


def _preformatted(content: Any) -> str:
    return f"<pre>{html.escape(report_html.without_colours(_text(content)))}</pre>"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


# ---------------------------------------------------------------- the page


def _page(body: _Body, facts: list[tuple[str, list[tuple[str, str]]]], *, title: str, language: str) -> str:
    scripts = []
    if body.figures:
        scripts = [plotly_js().read_text(encoding="utf-8"), (_HERE / "report.js").read_text(encoding="utf-8")]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_allowed, scripts)) or chr(39) + 'none' + chr(39)}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    missing = f"<noscript><p>{html.escape(body.words['no_script'])}</p></noscript>" if body.figures else ""
    alarm = f'<p class="failed" role="alert">{html.escape(body.failure)}</p>' if body.failure else ""
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
            f'<header>\n<h1>{html.escape(title)}</h1>\n<p class="made">{html.escape(body.words["made"])}</p>',
            f"{alarm}{_facts(facts)}{_contents(body)}{missing}\n</header>\n<main>",
            *body.parts,
            "</main>",
            *body.figures,
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _allowed(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _facts(facts: list[tuple[str, list[tuple[str, str]]]]) -> str:
    parts = []
    for name, pairs in facts:
        if pairs:
            rows = "".join(f"<dt>{html.escape(one)}</dt><dd>{html.escape(value)}</dd>" for one, value in pairs)
            parts.append(f"<div><h2>{html.escape(name)}</h2><dl>{rows}</dl></div>")
    return f'<div class="facts">{"".join(parts)}</div>' if parts else ""


def _contents(body: _Body) -> str:
    if len(body.headings) < 3:
        return ""
    name = html.escape(body.words["contents"], quote=True)
    rows = "".join(f'<li><a href="#{anchor}">{words}</a></li>' for anchor, words in body.headings)
    return f'<nav aria-label="{name}"><h2>{name}</h2><ul>{rows}</ul></nav>'
