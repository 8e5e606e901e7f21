"""Runs in words: states, durations, times, reasons."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crmlib.views import texts
from crmlib.views.plots import BLUE, GREEN, GREY, ORANGE, PURPLE

AMBER = "#E69F00"
LOOKS: dict[str, tuple[str, str]] = {
    "succeeded": (GREEN, "circle"),
    "failed": (ORANGE, "x"),
    "timed out": (ORANGE, "hourglass"),
    "lost": (ORANGE, "cross"),
    "interrupted": (PURPLE, "square"),
    "running": (BLUE, "triangle-right"),
    "skipped": (GREY, "circle-open"),
}
"""Colour and shape of each state: told apart without colours too."""

DUE = (GREY, "diamond-open")
LATE = (AMBER, "star-triangle-up-open")


def state(say: texts.Language, code: str) -> str:
    """Return the state of a run in words; an unknown one as its own name."""
    words = {
        "succeeded": say.text("succeeded"),
        "failed": say.text("failed"),
        "timed out": say.text("took too long"),
        "lost": say.text("vanished"),
        "interrupted": say.text("interrupted"),
        "running": say.text("running"),
        "waiting": say.text("waiting"),
        "skipped": say.text("skipped"),
    }
    return words.get(code, code)


def duration(say: texts.Language, seconds: float) -> str:
    """Return a duration in its largest fitting unit.

    >>> duration(texts.speak("en"), 5400)
    '1.5 h'
    """
    if pd.isna(seconds):
        return "–"
    if seconds < 90:
        return say.text("{n} s", n=say.number(seconds, 1 if seconds < 10 else 0))
    if seconds < 5400:
        return say.text("{n} min", n=say.number(seconds / 60, 1 if seconds < 600 else 0))
    return say.text("{n} h", n=say.number(seconds / 3600, 1))


def round_duration(say: texts.Language, seconds: float) -> str:
    """Return a whole number of seconds, minutes or hours, as an axis has them."""
    if seconds < 60:
        return say.text("{n} s", n=say.number(seconds, 0 if seconds >= 1 else 1))
    if seconds < 3600:
        return say.text("{n} min", n=say.number(seconds / 60))
    return say.text("{n} h", n=say.number(seconds / 3600))


def moment(say: texts.Language, when: Any) -> str:
    """Return a UTC time as day and minute, "–" for none.

    >>> moment(texts.speak("en"), dt.datetime(2026, 1, 31, 2, 5))
    '31 Jan, 02:05'
    """
    if when is None or pd.isna(when):
        return "–"
    at = pd.Timestamp(when)
    return say.text("{day}, {time}", day=short_day(say, at.date()), time=f"{at:%H:%M}")


def short_day(say: texts.Language, day: dt.date) -> str:
    """Return a day without its year."""
    from babel import dates  # noqa: PLC0415

    return str(dates.format_date(day, "d MMM", locale=say.code)).rstrip(".")


def times_usual(say: texts.Language, ratio: float | None) -> str:
    """Return how long a run took beside the usual time."""
    if ratio is None:
        return "–"
    if 0.8 <= ratio <= 1.25:
        return say.text("as usual")
    return say.text("{n} × the usual", n=say.number(ratio, 1))


def why(say: texts.Language, row: Mapping[Any, Any]) -> str:
    """Return why a run ended as it did: what it said itself, or why its slot was skipped; "" for nothing to say."""
    reason = row["reason"] if isinstance(row["reason"], Mapping) else {}
    code = reason.get("code")
    if row["state"] != "skipped" or not code:
        return str(row["message"]) if isinstance(row["message"], str) else ""
    if code == "after":
        return say.text("{job}, which it waits for, did not succeed", job=str(reason.get("job", "")))
    words = {
        "missed": say.text("nothing ran when it was due, and by its rule it is not made up for"),
        "removed": say.text("the job was taken out of the schedule"),
    }
    return words.get(code, str(code).replace("_", " "))


def sent(say: texts.Language, state: Mapping[str, Any]) -> str:
    """Return whom an alert has reached so far, by its channels."""
    names = {"command": say.text("command"), "email": say.text("e-mail"), "webhook": say.text("webhook")}
    parts = []
    for channel, found in state.items():
        name = names.get(channel, channel)
        if found.get("received"):
            parts.append(say.text("{channel}: sent", channel=name))
        elif found.get("trouble"):
            parts.append(say.text("{channel}: not sent ({why})", channel=name, why=str(found["trouble"])))
    return "; ".join(parts) or say.text("shown here only")
