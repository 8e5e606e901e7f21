"""Alerts in words: what happened, why, and what to do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from crmlib.views import texts

CODES = ("failed", "timed_out", "lost", "late", "stale")
"""``failed``, ``timed_out`` and ``lost`` (its process vanished) of a job's last attempt; ``late``: a job that should have
begun by now; ``stale``: a table without new records for too long."""


def subject(code: str, content: Mapping[str, Any], language: str = "en") -> str:
    """Return an alert in a few words.

    >>> subject("failed", {"job": "nightly", "logical_date": "2026-01-31T02:00:00"})
    'nightly failed (for 31 January 2026, 02:00 UTC)'
    """
    say = texts.speak(language)
    job, when = str(content.get("job", "")), moment(say, content.get("logical_date"))
    if code == "failed":
        return say.text("{job} failed (for {when})", job=job, when=when)
    if code == "timed_out":
        return say.text("{job} took too long and was ended (for {when})", job=job, when=when)
    if code == "lost":
        return say.text("{job} vanished while it ran (for {when})", job=job, when=when)
    if code == "late":
        return say.text("{job} is late (for {when})", job=job, when=when)
    if code == "stale":
        return say.text("No new data in {table}", table=str(content.get("table", "")))
    return code.replace("_", " ").capitalize()


def sentence(code: str, content: Mapping[str, Any], language: str = "en") -> str:
    """Return why an alert was raised, in a sentence or two.

    In: for a job ``job``, ``logical_date`` (ISO, UTC), ``message`` (which cell and why), ``attempt``, ``attempts``,
    ``limit_minutes``, ``hours_late``; for a table ``table``, ``newest`` (ISO date), ``age_days``, ``limit_days``.
    """
    say = texts.speak(language)
    if code == "stale":
        newest = dt.date.fromisoformat(str(content["newest"])[:10]) if content.get("newest") else None
        last = say.text("The newest record is of {day}.", day=say.date(newest)) if newest else ""
        limit = content.get("limit_days")
        usual = "" if limit is None else _at_most(say, float(limit))
        return " ".join(filter(None, [last, usual]))
    parts = [str(content["message"]).rstrip(".") + "."] if content.get("message") else []
    if code == "timed_out" and content.get("limit_minutes"):
        parts.append(
            say.plural("The limit is {n} minute.", "The limit is {n} minutes.", float(content["limit_minutes"]))
        )
    if code == "late" and content.get("hours_late") is not None:
        hours = max(1.0, float(content["hours_late"]))
        parts.append(say.plural("It is {n} hour behind.", "It is {n} hours behind.", hours))
    if content.get("attempts"):
        tried = say.plural("It was tried {n} time.", "It was tried {n} times.", float(content.get("attempt", 1)))
        parts.append(tried)
    return " ".join(parts)


def _at_most(say: texts.Language, days: float) -> str:
    return say.plural("At most {n} day without records is usual.", "At most {n} days without records are usual.", days)


def remedy(code: str, content: Mapping[str, Any], language: str = "en") -> str:
    """Return what a person can do about an alert."""
    say = texts.speak(language)
    if code == "stale":
        return say.text("See whether the source delivers and the load runs; `crm check` shows every table.")
    if code == "late":
        return say.text("See that the scheduler runs (`crm schedule status`) and what the job waits for.")
    if code == "lost":
        return say.text("Often the machine was restarted or memory ran out. It is safe to run it again.")
    again = say.text("Mend the cause, then run it again with the button on the dashboard Runs.")
    if code == "timed_out":
        return say.text("See in the log where it stood; give it more time in schedules.toml or less to do.")
    return again


def places(content: Mapping[str, Any], language: str = "en") -> list[tuple[str, str]]:
    """Return where to look, as pairs of a name and a file below the data folder."""
    say = texts.speak(language)
    names = {
        "notebook": say.text("Notebook as far as it came"),
        "output": say.text("Notebook as far as it came"),
        "report": say.text("Report"),
        "log": say.text("Log"),
    }
    return [(words, str(content[name])) for name, words in names.items() if content.get(name)]


def message(alerts: Sequence[Mapping[str, Any]], *, language: str, place: str) -> dict[str, Any]:
    """Return the message that carries alerts to a person: subject, text, and the alerts themselves as plain JSON."""
    say = texts.speak(language)
    first = subject(alerts[0]["code"], alerts[0]["content"], language)
    more = len(alerts) - 1
    head = first if not more else say.plural("{first} and {n} more", "{first} and {n} more", more, first=first)
    text = "\n\n".join(paragraph(one["code"], one["content"], language) for one in alerts)
    listed = [
        {
            "code": one["code"],
            "raised_at": f"{one['raised_at'].isoformat()}Z",
            "subject": subject(one["code"], one["content"], language),
            "content": one["content"],
        }
        for one in alerts
    ]
    return {"subject": f"{place}: {head}", "text": f"{text}\n\n{place}\n", "place": place, "alerts": listed}


def paragraph(code: str, content: Mapping[str, Any], language: str = "en") -> str:
    """Return one alert as a paragraph: what, why, where to look, what to do."""
    say = texts.speak(language)
    what = subject(code, content, language)
    if code not in CODES:
        shown = ", ".join(f"{name}: {value}" for name, value in content.items())
        return f"{what}\n{shown}" if shown else what
    lines = [what, sentence(code, content, language)]
    lines += [f"{name}: {file}" for name, file in places(content, language)]
    lines.append(say.text("What to do: {remedy}", remedy=remedy(code, content, language)))
    return "\n".join(filter(None, lines))


def moment(say: texts.Language, when: object) -> str:
    """Return a time of the store (ISO text or datetime, UTC) in words; "" for none."""
    if when is None or when == "":
        return ""
    at = when if isinstance(when, dt.datetime) else dt.datetime.fromisoformat(str(when).removesuffix("Z"))
    return say.text("{day}, {time} UTC", day=say.date(at.date()), time=f"{at:%H:%M}")
