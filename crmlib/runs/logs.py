"""Structured logs: one JSON object a line, rotated, below ``data/logs``."""

from __future__ import annotations

import json
import logging
import re
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from crmlib.runs import secrets

# Passwords in database URLs (user:password@, ?password=…) must not reach the log, wherever in a record they stand.
# Options come first: with a password among them taken out, the last @ of an address ends the login's.
_SECRETS = (
    re.compile(r"((?:password|passwd|pwd|token|secret)=)[^&\s]+", re.IGNORECASE),
    re.compile(r"(://[^:/@\s]*:)\S+(?=@)"),
)
_USUAL = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time (UTC), level, logger, message, and what was passed as ``extra``.

    The secrets of the data folder ``data`` are taken out of it.
    """

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.data = data

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time of a record, UTC."""
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({key: value for key, value in record.__dict__.items() if key not in _USUAL})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return secrets.scrub(json.dumps(_shown(entry), ensure_ascii=False), self.data)


def _shown(value: Any) -> Any:
    """Return a value as JSON has it, without passwords."""
    if isinstance(value, dict):
        return {str(key): _shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text


class _QuietHandler(RotatingFileHandler):
    """A log that cannot be written stays silent: no command fails for it, and nobody is shown a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the record out."""


def start(data: Path, *, level: int = logging.INFO) -> Path | None:
    """Send the records of ``crmlib`` to ``data/logs/crm.log``, 5 files of at most 2 MB.

    Returns the file, or None where the folder cannot be written: a log must never be the reason a command fails.
    """
    root = stop()
    root.setLevel(level)
    file = data / "logs" / "crm.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _QuietHandler(file, maxBytes=2_000_000, backupCount=5, encoding="utf-8")
    except OSError:
        return None
    handler.setFormatter(JsonFormatter(data))
    root.addHandler(handler)
    return file


def stop() -> logging.Logger:
    """Keep the records of ``crmlib`` from the file they went to and from the terminal; return the logger they come from."""
    root = logging.getLogger("crmlib")
    root.propagate = False
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.addHandler(logging.NullHandler())  # without any handler the tracebacks would go to the terminal
    return root
