"""The ways an alert takes: a command, an e-mail, a webhook; each with a time limit."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import json
import os
import signal
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crmlib.errors import EnvironmentFault
from crmlib.runs import secrets
from crmlib.runs.alert_settings import Command, Email, Settings, Webhook, check_address

SIGNATURE = "X-Crm-Signature"


def send(channel: str, settings: Settings, message: Mapping[str, Any], *, data: Path, now: dt.datetime) -> None:
    """Send a message of ``alert_words.message`` by one channel of the settings.

    Raises EnvironmentFault, or what ``secrets.get`` raises, where it was not received.
    """
    if channel == "command" and settings.command:
        _call(settings.command, as_json(message))
    elif channel == "email" and settings.email:
        _mail(settings.email, message, data=data, now=now)
    elif channel == "webhook" and settings.webhook:
        _post(settings.webhook, as_json(message), data=data)


def as_json(message: Mapping[str, Any]) -> bytes:
    """Return a message as the JSON that commands and webhooks receive."""
    return json.dumps(message, ensure_ascii=False, indent=1, default=str).encode()


def signature(key: str, body: bytes) -> str:
    """Return what the header ``X-Crm-Signature`` holds: the HMAC-SHA-256 of the body (RFC 4231, test case 2).

    >>> signature("Jefe", b"what do ya want for nothing?")
    'sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'
    """
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def _call(command: Command, body: bytes) -> None:
    program = command.run[0]
    try:
        process = subprocess.Popen(
            command.run,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvironmentFault(f"the command {program} cannot be started ({error.strerror})") from error
    try:
        _, said = process.communicate(body, timeout=command.timeout_seconds)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise EnvironmentFault(f"the command {program} did not end within {command.timeout_seconds} s") from error
    if process.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise EnvironmentFault(f"the command {program} ended with code {process.returncode}: {last[0][:200]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where the system knows groups, what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    for pipe in (process.stdin, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _mail(email: Email, message: Mapping[str, Any], *, data: Path, now: dt.datetime) -> None:
    letter = EmailMessage()
    letter["Subject"] = " ".join(str(message["subject"]).split())[:200]
    letter["From"], letter["To"] = email.sender, ", ".join(email.to)
    letter["Date"] = format_datetime(now.replace(tzinfo=dt.UTC))
    letter["Message-ID"] = make_msgid(domain=email.sender.partition("@")[2])
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(str(message["text"]))
    password = secrets.get(email.password, data) if email.password else ""
    wait, trusted = email.timeout_seconds, ssl.create_default_context()
    try:
        if email.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(email.host, email.port, timeout=wait, context=trusted)
        else:
            server = smtplib.SMTP(email.host, email.port, timeout=wait)
        with server:
            if email.security == "starttls":
                server.starttls(context=trusted)
            if email.user:
                server.login(email.user, password)
            refused = server.send_message(letter)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise EnvironmentFault(f"the mail server {email.host} refused: {error.smtp_code} {said}") from error
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise EnvironmentFault(f"the mail server {email.host}:{email.port} could not be used ({why})") from error
    if refused:
        raise EnvironmentFault(f"the mail server {email.host} refused the receivers {', '.join(sorted(refused))}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook that points elsewhere is not followed: where it leads was not agreed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(webhook: Webhook, body: bytes, *, data: Path) -> None:
    url = secrets.resolve(webhook.url, data)
    check_address(url, "the secret that holds the webhook's url")
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "crmlib"}
    if webhook.key:
        headers[SIGNATURE] = signature(secrets.get(webhook.key, data), body)
    opener = urllib.request.build_opener(_NoRedirect)
    host = urlsplit(url).hostname
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=webhook.timeout_seconds) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        error.close()
        raise EnvironmentFault(
            f"the webhook at {host} answered {error.code}; a code from 200 to 299 is wanted"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise EnvironmentFault(f"the webhook at {host} could not be reached ({why})") from error
