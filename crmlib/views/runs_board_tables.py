"""Tables and texts of the dashboard of runs."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from crmlib.views import alert_words, layout, runs_board_data, texts
from crmlib.views import runs_board_words as words
from crmlib.views.runs_board_data import BAD, Board

ROWS = 15
"""Runs that are listed."""

_SILENT = dt.timedelta(minutes=15)
"""After how long without a look the scheduler counts as away: it looks every minute, or cron calls it every few."""


def origin(say: texts.Language, board: Board) -> str:
    """Return where what is shown comes from."""
    return say.text("The ledger of runs, as of {when} UTC", when=words.moment(say, board.now))


def warning(say: texts.Language, board: Board) -> str:
    """Return what is wrong as a whole: jobs, but nobody who runs them."""
    if board.looked_at is None or board.jobs["next_due"].isna().all():
        return ""
    if board.now - board.looked_at <= _SILENT:
        return ""
    return say.text(
        "No scheduler has looked at what is due since {when} UTC; start `crm schedule run`, or see why the timer does not call `crm schedule tick`.",
        when=words.moment(say, board.looked_at),
    )


def tiles(say: texts.Language, board: Board) -> list[tuple[str, str, str]]:
    """Return the numbers on top: late, not successful, running, next due."""
    ended = board.runs[board.runs["state"].isin((*BAD, "succeeded"))]
    bad = ended[ended["state"].isin(BAD)]
    late, running = board.late, board.runs[board.runs["state"] == "running"]
    soon = board.jobs[board.jobs["next_due"].notna()].sort_values("next_due").head(1)
    slow = int(board.usual["slow"].sum())
    return [
        (
            say.text("Late now"),
            say.number(len(late)),
            ", ".join(late["job"].head(3)) or say.text("nothing is late"),
        ),
        (
            say.text("Not successful"),
            say.number(len(bad)),
            say.plural("of {n} run", "of {n} runs", len(ended)),
        ),
        (
            say.text("Running now"),
            say.number(len(running)),
            ", ".join(running["job"].head(3)) or say.text("nothing runs"),
        ),
        (
            say.text("Longer than usual"),
            say.number(slow),
            ", ".join(board.usual.loc[board.usual["slow"], "job"].head(3)) or say.text("no newest run"),
        ),
        (
            say.text("Due next"),
            words.moment(say, soon["next_due"].iloc[0]) if len(soon) else "–",
            str(soon["job"].iloc[0]) if len(soon) else say.text("no schedule"),
        ),
    ]


def alerts(say: texts.Language, board: Board) -> str:
    """Return the alerts that stand: since when, what and why, what to do, whom they reached."""
    if board.alerts.empty:
        return _paragraph(say.text("No alert stands."))
    heads = [
        ("", say.text("Since")),
        ("", say.text("What")),
        ("", say.text("Why")),
        ("", say.text("What to do")),
        ("", say.text("Who was told")),
    ]
    rows = [
        (
            words.moment(say, one["raised_at"]),
            alert_words.subject(one["code"], one["content"], say.code),
            alert_words.sentence(one["code"], one["content"], say.code) or "–",
            alert_words.remedy(one["code"], one["content"], say.code),
            words.sent(say, one["sent"]),
        )
        for _, one in board.alerts.iterrows()
    ]
    return layout.table(heads, rows)


def due(say: texts.Language, board: Board) -> str:
    """Return when each job is due next, since when it is late, and how long it usually takes."""
    if board.jobs.empty:
        return _paragraph(
            say.text(
                "There is no schedule yet. `crm schedule init` writes a schedules.toml to begin from; `crm schedule run` then does what is due."
            )
        )
    usual = board.usual.set_index("job")["median"]
    heads = [
        ("", say.text("Job")),
        ("", say.text("Due next")),
        ("", say.text("Last success")),
        ("n", say.text("Usually takes")),
        ("", say.text("State")),
    ]
    rows = []
    for _, job in board.jobs.sort_values("next_due").iterrows():
        late = pd.notna(job["late_since"])
        state = (
            say.text("late since {when}", when=words.moment(say, job["late_since"])) if late else say.text("in time")
        )
        if pd.isna(job["next_due"]) and not late:
            state = say.text("not in the schedule any more")
        when, success = words.moment(say, job["next_due"]), words.moment(say, job["last_success"])
        rows.append((job["job"], when, success, words.duration(say, usual.get(job["job"], float("nan"))), state))
    return layout.table(heads, rows)


def runs(say: texts.Language, board: Board, listed: pd.DataFrame) -> str:
    """Return the newest runs as a table."""
    if listed.empty:
        return _paragraph(say.text("Nothing ran in this time."))
    heads = [
        ("", say.text("Job")),
        ("", say.text("For")),
        ("", say.text("Began")),
        ("n", say.text("Took")),
        ("", say.text("Against usual")),
        ("", say.text("State")),
        ("", say.text("Why")),
    ]
    rows = [
        (
            row["job"],
            words.moment(say, row["logical_date"]) if row["scheduled"] else say.text("by hand"),
            "–" if row["state"] == "skipped" else words.moment(say, row["started_at"]),
            "–" if row["state"] == "skipped" else words.duration(say, row["seconds"]),
            words.times_usual(say, runs_board_data.against_usual(board, row)),
            words.state(say, row["state"]),
            words.why(say, row),
        )
        for row in listed.to_dict("records")
    ]
    more = len(board.runs) - len(listed)
    note = say.plural("{n} older run is not listed.", "{n} older runs are not listed.", more) if more else ""
    return layout.table(heads, rows) + (_paragraph(note) if note else "")


def one(say: texts.Language, data: Path, row: Mapping[str, Any] | None, *, has_report: bool) -> str:
    """Return what there is to say of one run: why it ended so, its files, the end of its log."""
    if row is None:
        return _paragraph(say.text("When something has run, its log and report can be looked at here."))
    parts = [_paragraph(why)] if (why := words.why(say, row)) else []
    if isinstance(row["output"], str):
        parts.append(_paragraph(say.text("Executed notebook: {file}", file=row["output"])))
    if not has_report:
        parts.append(_paragraph(say.text("There is no report of this run, or it is no longer kept.")))
    log = runs_board_data.tail(data, row["log"])
    if log is None:
        parts.append(_paragraph(say.text("There is no log of this run, or it is no longer kept.")))
    else:
        label = html.escape(say.text("End of the log"), quote=True)
        parts.append(f'<pre class="crm-log" tabindex="0" role="region" aria-label="{label}">{html.escape(log)}</pre>')
    return "".join(parts)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
