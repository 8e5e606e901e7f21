"""The start panel in words: a card for each notebook, the history of runs, what to do next."""

from __future__ import annotations

import datetime as dt
import html
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pandas as pd

from crmlib.views import layout, texts
from crmlib.views.lab_work import Notebook, Work
from crmlib.views.layout import Html
from crmlib.views.runs_board_words import duration, moment, state

SHOWN = 15
"""So many runs are listed."""

_LONGEST = 160


def opens(path: str, words: str) -> Html:
    """Return a link that opens a file of the project in a tab of JupyterLab, elsewhere in a new page.

    >>> opens("notebooks/a.ipynb", "A")
    '<a class="crm-link" href="/lab/tree/notebooks/a.ipynb" target="_blank" data-commandlinker-command="docmanager:open" data-commandlinker-args="{&quot;path&quot;: &quot;notebooks/a.ipynb&quot;}">A</a>'
    """
    attributes = {
        "class": "crm-link",
        "href": f"/lab/tree/{quote(path)}",
        "target": "_blank",
        "data-commandlinker-command": "docmanager:open",
        "data-commandlinker-args": json.dumps({"path": path}),
    }
    given = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return Html(f"<a {given}>{html.escape(words)}</a>")


def shows(path: str, words: str) -> Html:
    """Return a link to a file of the project in a page of its own, where its charts may run.

    >>> shows("data/reports/a.html", "report")
    '<a class="crm-link" href="/files/data/reports/a.html" target="_blank">report</a>'
    """
    return Html(
        f'<a class="crm-link" href="/files/{html.escape(quote(path))}" target="_blank">{html.escape(words)}</a>'
    )


def last_run(history: pd.DataFrame, notebook: Notebook) -> dict[str, Any] | None:
    """Return the newest run of a notebook, None where it never ran."""
    mine = history[(history["kind"] == "notebook") & (history["name"] == notebook.file)]
    return None if mine.empty else {str(name): value for name, value in mine.iloc[0].items()}


def usual_seconds(history: pd.DataFrame, notebook: Notebook) -> float | None:
    """Return the median duration of a notebook's successful runs, None where there is none."""
    mine = history[(history["name"] == notebook.file) & (history["state"] == "succeeded")]
    took = (mine["finished_at"] - mine["started_at"]).dt.total_seconds()
    return None if took.empty else float(took.median())


def books(say: texts.Language, work: Work, history: pd.DataFrame) -> str:
    """Return the HTML of a card for each notebook, in reading order."""
    cards = []
    for notebook in work.notebooks:
        run = last_run(history, notebook)
        lines = [opens(notebook.path, notebook.title), f"<span>{html.escape(notebook.question)}</span>"]
        if notebook.trouble:
            lines.append(f'<span class="crm-state crm-state-failed">{html.escape(notebook.trouble)}</span>')
        lines.append(f'<span class="crm-last">{_standing(say, work, run)}</span>')
        cards.append(f'<li class="crm-book" data-notebook="{html.escape(notebook.file)}">{"".join(lines)}</li>')
    return f'<ol class="crm-books">{"".join(cards)}</ol>'


def _standing(say: texts.Language, work: Work, run: Mapping[str, Any] | None) -> str:
    if run is None:
        return f'<span class="crm-state">{say.text("never run")}</span>'
    found = [_state(say, work, run), html.escape(moment(say, run["started_at"])), *files(say, work, run)]
    return " · ".join(found)


def _state(say: texts.Language, work: Work, run: Mapping[str, Any]) -> str:
    words = state(say, str(run["state"]))
    if run["state"] == "running":
        done, cells = work.progress(int(run["run_id"]))
        words += f", {cell_of(say, done, cells)}" if cells else ""
    return f'<span class="crm-state crm-state-{html.escape(str(run["state"]))}">{html.escape(words)}</span>'


def cell_of(say: texts.Language, done: int, cells: int) -> str:
    """Return at which code cell a run is."""
    return say.text("cell {n} of {cells}", n=min(done + 1, cells), cells=cells)


def files(say: texts.Language, work: Work, run: Mapping[str, Any]) -> list[Html]:
    """Return links to what a run left: its executed copy, and its report where there is one."""
    if pd.isna(run["output"]) or run["kind"] != "notebook":
        return []
    output = str(run["output"])
    report = f"reports/{output.rpartition('/')[2].removesuffix('.ipynb')}.html"
    links = [opens(copy, say.text("executed copy"))] if (copy := work.address(output)) else []
    return [*links, shows(page, say.text("report"))] if (page := work.address(report)) else links


def runs(say: texts.Language, work: Work, history: pd.DataFrame) -> str:
    """Return the HTML of the newest runs."""
    heads = [
        ("", say.text("Started (UTC)")),
        ("", say.text("What")),
        ("", say.text("State")),
        ("n", say.text("Took")),
        ("", say.text("Parameters")),
        ("", say.text("Result")),
    ]
    rows = []
    for run in history.head(SHOWN).to_dict("records"):
        message = "" if pd.isna(run["message"]) else str(run["message"])[:_LONGEST]
        left = [*files(say, work, {str(name): value for name, value in run.items()}), html.escape(message)]
        took = (run["finished_at"] - run["started_at"]).total_seconds()
        given = ", ".join(f"{name}={written}" for name, written in (run["parameters"] or {}).items() if name != "data")
        called = run["name"] if run["kind"] == "notebook" else f"crm {run['kind']}"
        rows.append(
            [
                moment(say, run["started_at"]),
                str(called),
                Html(_state(say, work, {str(name): value for name, value in run.items()})),
                duration(say, took),
                given[:_LONGEST] or "–",
                Html(" · ".join(filter(None, left)) or "–"),
            ]
        )
    return layout.table(heads, rows)


def dashboards(work: Work) -> str:
    """Return the HTML of a card for each dashboard, whose notebook shows the page as a marketer sees it."""
    cards = "".join(
        f'<li class="crm-book">{opens(one.path, one.title)}<span>{html.escape(one.question)}</span></li>'
        for one in work.dashboards
    )
    return f'<ul class="crm-books">{cards}</ul>'


def result(say: texts.Language, work: Work, run: Mapping[str, Any], *, now: dt.datetime) -> str:
    """Return the HTML of how a run stands: its progress while it runs, at its end what it left or why it failed."""
    ended = None if pd.isna(run["finished_at"]) else run["finished_at"]
    took = duration(say, ((ended or now) - run["started_at"]).total_seconds())
    said = f"<b>{html.escape(str(run['name']))}</b>: {_state(say, work, run)} · {html.escape(took)}"
    left = [*files(say, work, run), "" if pd.isna(run["message"]) else html.escape(str(run["message"]))]
    return " · ".join(filter(None, [said, *left]))


def conclusions(say: texts.Language, work: Work, history: pd.DataFrame) -> str:
    """Return in Markdown how far the notebooks were run, and which one to run next."""
    latest = [(notebook, last_run(history, notebook)) for notebook in work.notebooks]
    ran = sum(run is not None and run["state"] == "succeeded" for _, run in latest)
    failed = [notebook for notebook, run in latest if run and run["state"] in ("failed", "interrupted")]
    count = {"n": f"**{ran}**", "all": f"**{len(latest)}**"}
    lines = [say.text("Notebooks whose last run succeeded: {n} of {all}.", **count)]
    if failed:
        titles = ", ".join(f"**{notebook.title}**" for notebook in failed)
        lines.append(say.text("Last run failed or was interrupted: {titles}.", titles=titles))
    fresh = next((notebook for notebook, run in latest if run is None), None)
    if fresh:
        lines.append(say.text("Next in reading order: {title}.", title=f"**{fresh.title}**"))
    return "\n".join(f"- {line}" for line in lines)
