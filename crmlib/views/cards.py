"""What the front door shows of each dashboard: published by the dashboard itself whenever it has read its data."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import plotly.graph_objects as go

from crmlib.views import thumbnail

log = logging.getLogger(__name__)

ONE_CUSTOMER = frozenset({"customer_card", "offer_desk"})
"""Dashboards whose charts are of one person: no picture of them leaves the page."""


@dataclass(frozen=True)
class Card:
    """The last state of a dashboard: aggregates and versions only.

    ``as_of`` is the last day of its data (ISO, "" for none), ``origin`` and ``note`` are words in ``language``, ``picture``
    is an SVG without words.
    """

    made_at: str
    as_of: str
    language: str
    origin: list[str]
    note: str
    picture: str


def publish(
    data: Path,
    dashboard: str,
    *,
    figures: Sequence[go.Figure],
    as_of: dt.date | None,
    origin: Sequence[str],
    note: str,
    language: str,
    now: dt.datetime,
) -> Path | None:
    """Write the card of a dashboard, with a picture of its first chart that can be drawn small; return its file.

    A folder that cannot be written to leaves the front door without a picture, and the dashboard without a scratch: None.
    """
    picture = "" if dashboard in ONE_CUSTOMER else next(filter(None, map(_picture, figures)), "")
    day = as_of.isoformat() if as_of else ""
    card = Card(now.isoformat(), day, language, list(origin), note, picture)
    target = _file(data, dashboard)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(asdict(card), ensure_ascii=False), encoding="utf-8")
        part.replace(target)
    except OSError:
        return None
    return target


def read(data: Path, dashboard: str) -> Card | None:
    """Return the card of a dashboard, None where there is none or it is not one."""
    try:
        card = Card(**json.loads(_file(data, dashboard).read_text(encoding="utf-8")))
        if card.as_of:
            dt.date.fromisoformat(card.as_of)
    except (OSError, ValueError, TypeError):
        return None
    return card if not card.picture or thumbnail.safe(card.picture) else None


def _picture(figure: go.Figure) -> str:
    try:
        return thumbnail.draw(figure)
    except (TypeError, ValueError, AttributeError, IndexError):
        log.exception("a chart cannot be drawn small")  # the dashboard itself goes on
        return ""


def _file(data: Path, dashboard: str) -> Path:
    if not re.fullmatch(r"\w+", dashboard):
        raise ValueError(f"{dashboard!r} is not the name of a dashboard")
    return data / "gallery" / f"{dashboard}.json"
