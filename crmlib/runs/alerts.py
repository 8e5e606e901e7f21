"""Alerts: what a person must know, raised once for each topic and sent until it was received.

Where they go stands in ``alerts.toml`` of the data folder (``alert_settings``). Raising and sending never fail the run
that does it: what goes wrong is logged, stands in the alert and is tried again later.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crmlib.runs import alert_channels, secrets
from crmlib.runs.alert_settings import Settings
from crmlib.store import alerts as kept
from crmlib.views import alert_words

log = logging.getLogger(__name__)


def raise_alert(data: Path, *, topic: str, code: str, content: Mapping[str, Any], now: dt.datetime) -> bool:
    """Raise an alert unless one on this topic stands already; return whether it is new.

    ``code`` is one of ``alert_words.CODES``, ``content`` plain JSON with what its words need; secrets are taken out of
    it. Never raises: an alert that cannot be kept is logged.
    """
    try:
        clean = secrets.scrub_content(dict(content), data)
        new = kept.put(data, topic=topic, code=code, content=clean, now=now)
    except Exception:
        log.exception("the alert %s could not be raised", topic)
        return False
    if new:
        log.warning("alert %s", topic, extra={"code": code})
    return new


def clear(data: Path, topic: str, *, now: dt.datetime) -> bool:
    """Clear the alert on a topic, so that it can be raised again; return whether one stood. Never raises."""
    try:
        return kept.clear(data, topic, now=now)
    except Exception:
        log.exception("the alert %s could not be cleared", topic)
        return False


def send_due(data: Path, settings: Settings, now: dt.datetime) -> dict[str, str]:
    """Send the standing alerts that a channel has not received, all in one message a channel.

    Returns for each channel that had something to send "" where it was received, else what went wrong. Whoever fails is
    tried again after a minute, two, four … up to an hour. Of several processes one sends. Never raises.
    """
    outcome: dict[str, str] = {}
    for channel in settings.channels():
        try:
            taken = kept.claim(data, channel, now=now)
            if taken:
                outcome[channel] = _send(data, settings, channel, taken, now)
        except Exception as error:
            log.exception("alerts could not be sent by %s", channel)
            outcome[channel] = _worded(error, data)
    return outcome


def _send(data: Path, settings: Settings, channel: str, taken: Sequence[dict[str, Any]], now: dt.datetime) -> str:
    trouble = ""
    try:
        message = alert_words.message(taken, language=settings.language, place=settings.place or f"crm {data.name}")
        alert_channels.send(channel, settings, message, data=data, now=now)
    except Exception as error:
        trouble = _worded(error, data)
        log.warning("alerts could not be sent by %s: %s", channel, trouble)
    for one in taken:
        kept.note(data, one["alert_id"], channel, trouble=trouble, now=now)
    return trouble


def _worded(error: Exception, data: Path) -> str:
    first = (str(error).splitlines() or [""])[0]
    return secrets.scrub(first or type(error).__name__, data)[:300]
