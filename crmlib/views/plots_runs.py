"""Pictures of runs: when what ran and how it ended, and how long it took beside what is usual."""

from __future__ import annotations

import datetime as dt
import math

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import certainty, plots, texts
from crmlib.views.plots import AMBER, BLUE, GREY, ORANGE, PAPER
from crmlib.views.runs_board_data import BAD, Board
from crmlib.views.runs_board_words import DUE, LATE, LOOKS, duration, moment, round_duration, state

_TICKS = (0.1, 1, 10, 60, 600, 3600, 36_000, 86_400)
_ROW_PX = 30
_AHEAD = dt.timedelta(days=1)


def timeline(board: Board, *, days: int, language: str = "en") -> go.Figure:
    """Return when what ran: a line of time for each job, a mark for each run by how it ended, and when it is due next.

    In: a ``runs_board_data.Board``. Only what falls within the last ``days`` days and the next one is drawn.
    """
    say = texts.speak(language)
    jobs = job_order(board)
    if not jobs:
        return plots.empty(say.text("Nothing ran in this time."), language=language)
    drawn = plots.figure(language, say.text("Time (UTC)"), "")
    _lines(drawn, board)
    for code, look in LOOKS.items():
        part = board.runs[board.runs["state"] == code]
        told = [_told(say, row) for _, row in part.iterrows()]
        _marks(drawn, part["started_at"], part["job"], look=look, name=state(say, code), told=told)
    soon = board.jobs[(board.jobs["next_due"] > board.now) & (board.jobs["next_due"] <= board.now + _AHEAD)]
    for rows, column, look, name in (
        (board.late, "late_since", LATE, say.text("late since then")),
        (soon, "next_due", DUE, say.text("due next")),
    ):
        told = [f"<b>{row['job']}</b>: {name}, {moment(say, row[column])}" for _, row in rows.iterrows()]
        _marks(drawn, rows[column], rows["job"], look=look, name=name, told=told)
    span = dt.timedelta(days=days)
    first, last = board.now - span, max([board.now, *soon["next_due"].dt.to_pydatetime()]) + 0.03 * span
    drawn.add_vline(x=board.now, line={"color": GREY, "dash": "dot", "width": 1})
    formats = {"tickformat": "%d.%m<br>%H:%M" if days <= 2 else "%d.%m"} if say.code == "ru" else {}
    drawn.update_xaxes(type="date", range=[first, last], **formats)
    drawn.update_yaxes(categoryorder="array", categoryarray=jobs[::-1], range=[-0.6, len(jobs) - 0.4], showgrid=True)
    drawn.update_layout(height=110 + _ROW_PX * len(jobs), hovermode="closest")
    return certainty.told(drawn, certainty.counted(say))


def _lines(drawn: go.Figure, board: Board) -> None:
    """Draw how long each run took, behind the marks of when it began."""
    for _, row in board.runs.iterrows():
        end = board.now if pd.isna(row["finished_at"]) else row["finished_at"]
        color = LOOKS.get(row["state"], DUE)[0]
        drawn.add_scatter(
            **{"x": [row["started_at"], end], "y": [row["job"]] * 2, "mode": "lines", "opacity": 0.55},
            **{"line": {"color": color, "width": 9}, "hoverinfo": "skip", "showlegend": False},
        )


def _marks(
    drawn: go.Figure, when: pd.Series, jobs: pd.Series, *, look: tuple[str, str], name: str, told: list[str]
) -> None:
    """Add a mark on each job's line; nothing where there is none, so that the legend names what is there."""
    if len(when):
        color, symbol = look
        edge = {"width": 2, "color": color} if symbol.endswith("-open") else {"width": 1, "color": PAPER}
        drawn.add_scatter(
            x=when,
            y=jobs,
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 11, "line": edge},
            name=name,
            text=told,
            hovertemplate="%{text}<extra></extra>",
        )


def durations(board: Board, *, language: str = "en") -> go.Figure:
    """Return how long the newest run of each job took beside those before: their median and the span of nearly all."""
    say = texts.speak(language)
    rows = board.usual[board.usual["job"].isin(job_order(board))].iloc[::-1]
    if rows.empty:
        return plots.empty(say.text("No run has ended yet."), language=language)
    drawn = plots.figure(language, say.text("Duration"), "")
    known = rows[rows["earlier"] > 0]
    # A logarithmic axis has no place for nothing.
    low, median, high, newest = (
        part.clip(lower=0.05) for part in (known["low"], known["median"], known["high"], rows["seconds"])
    )
    drawn.add_scatter(
        x=median,
        y=known["job"],
        mode="markers",
        marker={"color": GREY, "symbol": "line-ns", "size": 16, "line": {"color": GREY, "width": 3}},
        error_x={
            "array": high - median,
            "arrayminus": median - low,
            "color": GREY,
            "thickness": 9,
            "width": 0,
        },
        name=say.text("usual: the middle, and 8 of 10 runs"),
        text=[
            say.plural("{span}, from {n} run", "{span}, from {n} runs", row["earlier"], span=_span(say, row))
            for _, row in known.iterrows()
        ],
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    for name, part, color, symbol in _newest(say, rows, newest):
        drawn.add_scatter(
            x=part,
            y=rows.loc[part.index, "job"],
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 12, "line": {"color": PAPER, "width": 1}},
            name=name,
            text=[duration(say, value) for value in rows.loc[part.index, "seconds"]],
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    ends = pd.concat([low, high, newest])
    ticks = [tick for tick in _TICKS if ends.min() / 10 <= tick <= ends.max() * 10]
    drawn.update_xaxes(type="log", tickvals=ticks, ticktext=[round_duration(say, tick) for tick in ticks])
    drawn.update_xaxes(range=[math.log10(ends.min()) - 0.2, math.log10(ends.max()) + 0.2])
    drawn.update_yaxes(categoryorder="array", categoryarray=list(rows["job"]), range=[-0.6, len(rows) - 0.4])
    drawn.update_layout(height=110 + _ROW_PX * len(rows), hovermode="closest")
    return certainty.told(drawn, say.text("The grey bar spans the middle 8 of 10 successful runs before the newest."))


def job_order(board: Board) -> list[str]:
    """Return the jobs that are drawn: those of the schedule by name, then what was run by hand."""
    scheduled = sorted(set(board.jobs["job"]) | set(board.runs.loc[board.runs["scheduled"], "job"]))
    by_hand = sorted(set(board.runs.loc[~board.runs["scheduled"], "job"]) - set(scheduled))
    return [*scheduled, *by_hand]


def _newest(say: texts.Language, rows: pd.DataFrame, newest: pd.Series) -> list[tuple[str, pd.Series, str, str]]:
    bad = rows["state"].isin(BAD)
    slow = rows["slow"] & ~bad
    groups = [
        (say.text("newest run"), ~bad & ~slow, BLUE, "circle"),
        (say.text("newest run, longer than usual"), slow, AMBER, "diamond"),
        (say.text("newest run, not successful"), bad, ORANGE, "x"),
    ]
    return [(name, newest[chosen], color, symbol) for name, chosen, color, symbol in groups if chosen.any()]


def _span(say: texts.Language, row: pd.Series) -> str:
    low, median, high = (duration(say, row[name]) for name in ("low", "median", "high"))
    return say.text("{median} ({low} to {high})", median=median, low=low, high=high)


def _told(say: texts.Language, row: pd.Series) -> str:
    lines = [f"<b>{row['job']}</b>: {state(say, row['state'])}"]
    if not pd.isna(row["logical_date"]):
        lines.append(say.text("for {when}", when=moment(say, row["logical_date"])))
    lines.append(
        say.text("began {when}, took {long}", when=moment(say, row["started_at"]), long=duration(say, row["seconds"]))
    )
    return "<br>".join(lines)
