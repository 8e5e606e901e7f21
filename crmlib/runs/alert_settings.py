"""Where alerts go and what counts as stale: ``alerts.toml`` of the data folder, checked strictly.

language = "en"                       # of the messages: en or ru
place = "CRM of the bank"             # what the subject begins with (default: the data folder)

[command]                             # gets the message as JSON on its standard input
run = ["/usr/local/bin/page-me", "--team", "crm"]
timeout_seconds = 20

[email]
host = "mail.example.com"
port = 587
security = "starttls"                 # tls, starttls, or none for a server on this machine
user = "crm"
password = "secret:SMTP_PASSWORD"
sender = "crm@example.com"
to = ["analysts@example.com"]

[webhook]                             # the message as JSON, signed: X-Crm-Signature: sha256=HMAC of the body
url = "https://chat.example.com/hooks/crm"
key = "secret:WEBHOOK_KEY"

[stale]                               # days without a record of a table; others: twice their usual gap
transactions = 3
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crmlib.errors import DataError
from crmlib.runs import secrets
from crmlib.views.texts import LANGUAGES
from crmlib.warehouse import schema

FILE = "alerts.toml"
LONGEST_SECONDS = 60
SECURITY = ("starttls", "tls", "none")


@dataclass(frozen=True)
class Command:
    """A program that receives the message as JSON on its standard input."""

    run: tuple[str, ...]
    timeout_seconds: int = 20


@dataclass(frozen=True)
class Email:
    """A mail server and who gets the message; ``password`` is a reference to a secret, "" for none."""

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    security: str = "starttls"
    user: str = ""
    password: str = ""
    timeout_seconds: int = 20


@dataclass(frozen=True)
class Webhook:
    """An address that receives the message by POST; ``key``, a reference to a secret, signs it ("" for none)."""

    url: str
    key: str = ""
    timeout_seconds: int = 10


@dataclass(frozen=True)
class Settings:
    """Where alerts go (nowhere by default), in which language, and after how many days a table is stale."""

    language: str = "en"
    place: str = ""
    command: Command | None = None
    email: Email | None = None
    webhook: Webhook | None = None
    stale: Mapping[str, int] = field(default_factory=dict)

    def channels(self) -> list[str]:
        """Return the names of the channels that are set up."""
        return [name for name in ("command", "email", "webhook") if getattr(self, name) is not None]


def read(data: Path) -> Settings:
    """Return the settings of ``alerts.toml`` in the data folder, the defaults where there is none.

    Raises DataError for a file that cannot be read, or a setting that is unknown, missing or of the wrong kind.
    """
    file = data / FILE
    if not file.exists():
        return Settings()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); mend it or take it away to send no alerts") from error
    return parse(content, where=str(file))


def parse(content: Mapping[str, Any], *, where: str) -> Settings:
    """Return settings from parsed TOML; ``where`` names the file in errors (DataError)."""
    _only(content, {"language", "place", "command", "email", "webhook", "stale"}, where, "the file")
    language = content.get("language", "en")
    if language not in LANGUAGES:
        raise DataError(f"{where}: language is {language!r}; use {' or '.join(LANGUAGES)}")
    return Settings(
        language,
        _text(content, "place", where, "the file", ""),
        _command(content["command"], where) if "command" in content else None,
        _email(content["email"], where) if "email" in content else None,
        _webhook(content["webhook"], where) if "webhook" in content else None,
        _stale(content.get("stale", {}), where),
    )


def _command(content: Any, where: str) -> Command:
    part = "[command]"
    _only(content, {"run", "timeout_seconds"}, where, part)
    return Command(_texts(content, "run", where, part), _seconds(content, where, part, 20))


def _email(content: Any, where: str) -> Email:
    part = "[email]"
    known = {"host", "port", "security", "user", "password", "sender", "to", "timeout_seconds"}
    _only(content, known, where, part)
    security, port = content.get("security", "starttls"), content.get("port", 587)
    if security not in SECURITY:
        raise DataError(f"{where}: security in {part} is {security!r}; use one of {', '.join(SECURITY)}")
    if type(port) is not int or not 0 < port < 65536:
        raise DataError(f"{where}: port in {part} is {port!r}; write a number from 1 to 65535")
    host, password = _text(content, "host", where, part), _secret(content, "password", where, part)
    to = _texts(content, "to", where, part)
    if security == "none" and not _here(host):
        raise DataError(f"{where}: {part} would send to {host} in clear text; set security to starttls or tls")
    for address in (sender := _text(content, "sender", where, part), *to):
        if address.count("@") != 1 or not address.isprintable() or " " in address:
            raise DataError(f"{where}: {address!r} in {part} is no e-mail address; write name@example.com")
    user = _text(content, "user", where, part, "")
    return Email(host, sender, to, port, security, user, password, _seconds(content, where, part, 20))


def _webhook(content: Any, where: str) -> Webhook:
    part = "[webhook]"
    _only(content, {"url", "key", "timeout_seconds"}, where, part)
    url = _text(content, "url", where, part)
    if not secrets.is_reference(url):
        check_address(url, where)
    return Webhook(url, _secret(content, "key", where, part), _seconds(content, where, part, 10))


def check_address(url: str, where: str) -> None:
    """Raise DataError unless an address is https, or http on this machine."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and not (parts.username or parts.password) and url.isprintable()
        safe = parts.scheme == "https" or (parts.scheme == "http" and _here(parts.hostname or ""))
    except ValueError:
        usable = safe = False
    if not usable or not safe:
        raise DataError(f"{where}: the webhook's url must begin with https:// (http:// only for this machine itself)")


def _stale(content: Any, where: str) -> dict[str, int]:
    events = {name for name, table in schema.tables().items() if table.info["kind"] == "event"}
    _only(content, events, where, "[stale]")
    for name, days in content.items():
        if type(days) is not int or days < 1:
            raise DataError(f"{where}: {name} in [stale] is {days!r}; write a number of days, 1 or more")
    return dict(content)


# ---------------------------------------------------------------- one value


def _only(content: Any, known: set[str], where: str, part: str) -> None:
    if not isinstance(content, Mapping):
        raise DataError(f"{where}: {part} is {content!r}; write a section with name = value")
    strange = sorted(set(content) - known)
    if strange:
        raise DataError(f"{where}: {part} has {strange[0]!r}, which is unknown; there are {', '.join(sorted(known))}")


def _text(content: Mapping[str, Any], name: str, where: str, part: str, default: str | None = None) -> str:
    value = content.get(name, default)
    if not isinstance(value, str) or (default is None and not value) or not value.isprintable():
        raise DataError(f"{where}: {name} in {part} is {value!r}; write a text of one line")
    return value


def _texts(content: Mapping[str, Any], name: str, where: str, part: str) -> tuple[str, ...]:
    value = content.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise DataError(f'{where}: {name} in {part} is {value!r}; write a list of texts, ["…", "…"]')
    return tuple(value)


def _secret(content: Mapping[str, Any], name: str, where: str, part: str) -> str:
    value = content.get(name, "")
    if value and not secrets.is_reference(value):
        raise DataError(f"{where}: {name} in {part} stands there in clear text; write secret:NAME (docs/reports.md)")
    return str(value)


def _seconds(content: Mapping[str, Any], where: str, part: str, default: int) -> int:
    value = content.get("timeout_seconds", default)
    if type(value) is not int or not 1 <= value <= LONGEST_SECONDS:
        raise DataError(f"{where}: timeout_seconds in {part} is {value!r}; write 1 to {LONGEST_SECONDS}")
    return value


def _here(host: str) -> bool:
    """Return whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
