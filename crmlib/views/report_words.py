"""What a report says about itself, and in place of what a page on paper cannot show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from crmlib.views import texts
from crmlib.views.alert_words import moment


def heading(language: str, *, made_at: dt.datetime) -> dict[str, str]:
    """Return the words around a report's facts, by what they are for."""
    say = texts.speak(language)
    return {
        "made": say.text("Made on {when}", when=moment(say, made_at)),
        "parameters": say.text("Parameters"),
        "versions": say.text("Made from"),
        "contents": say.text("Contents"),
        "chart": say.text("Chart"),
        "picture": say.text("Picture"),
        "messages": say.text("Messages of the run"),
        "widget": say.text("Here stands a control that works in the notebook only."),
        "unknown": say.text("Something that only the notebook can show."),
        "trouble": say.text("This chart could not be drawn."),
        "no_script": say.text("The charts need JavaScript, which is switched off here."),
    }


def failed(language: str, *, cell: int, reason: str) -> str:
    """Return what stands above the report of a run that failed."""
    say = texts.speak(language)
    return say.text("The run failed in cell {n}: {reason}. What came before it is below.", n=cell, reason=reason)


def stopped(language: str) -> str:
    """Return what stands in place of the output of the cell that failed."""
    return texts.speak(language).text("The run ended here.")


def versions(found: Mapping[str, Any], language: str) -> list[tuple[str, str]]:
    """Return what a report was made from, named in words: warehouse, model and crmlib; others by their own name."""
    say = texts.speak(language)
    names = {
        "warehouse": say.text("Version of the data"),
        "model": say.text("Version of the model"),
        "models": say.text("Versions of the models"),
        "crmlib": say.text("Version of crmlib"),
        "run": say.text("Number of the run"),
        "job": say.text("Job"),
        "logical_date": say.text("For"),
    }
    return [(names.get(name, name), _shown(say, name, value)) for name, value in found.items() if value is not None]


def _shown(say: texts.Language, name: str, value: Any) -> str:
    if name == "logical_date":
        return moment(say, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value)
