"""Alerts: raised once, sent to a real mail server, webhook and command, tried again, never in the way of a run."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import http.server
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import postgres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmlib.errors import DataError
from crmlib.runs import alert_settings, alerts
from crmlib.runs.alert_settings import Command, Email, Settings, Webhook
from crmlib.store import alerts as kept
from crmlib.views import alert_words

NOW = dt.datetime(2026, 1, 31, 6)
FAILED = {
    "job": "nightly",
    "logical_date": "2026-01-31T02:00:00",
    "message": "02_propensity.ipynb: cell 4 failed: ValueError: no rows",
    "attempt": 3,
    "attempts": 3,
    "notebook": "runs/000007-02_propensity-failed.ipynb",
    "log": "logs/schedule/000012-3.log",
}


def minutes(number: float) -> dt.datetime:
    return NOW + dt.timedelta(minutes=number)


def raise_one(data: Path, topic: str = "failed/nightly") -> bool:
    return alerts.raise_alert(data, topic=topic, code="failed", content=FAILED, now=NOW)


# ---------------------------------------------------------------- servers of this test


class Mail(socketserver.StreamRequestHandler):
    """As much of an SMTP server as a client needs."""

    def handle(self) -> None:
        server: Any = self.server
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if word.startswith("EHLO"):
                self.say("250-here\r\n250 AUTH PLAIN")
            elif word.startswith("AUTH PLAIN"):
                server.login = base64.b64decode(line.split()[-1]).decode().split("\0")[1:]
                self.say("235 ok" if server.login[1] == server.password else "535 wrong password")
            elif word.startswith("RCPT") and "nobody@" in line:
                self.say("550 unknown")
            elif word == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part)
                server.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))
                self.say("250 taken")
            elif word == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.posts.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(server.answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(handler: Any, **values: Any) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        vars(server).update(values)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


# ---------------------------------------------------------------- raising


def test_an_alert_is_raised_once_until_it_is_cleared(tmp_path: Path) -> None:
    assert raise_one(tmp_path) and not raise_one(tmp_path)
    assert alerts.clear(tmp_path, "failed/nightly", now=minutes(5)) and not alerts.clear(tmp_path, "none", now=NOW)
    assert kept.alerts(tmp_path).empty and len(kept.alerts(tmp_path, standing=False)) == 1
    assert raise_one(tmp_path) and kept.alerts(tmp_path)["sent"].tolist() == [{}]


def test_raising_never_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("no database")
    assert raise_one(tmp_path) is False and alerts.clear(tmp_path, "x", now=NOW) is False
    settings = Settings(command=Command(("true",)))
    assert "cannot be opened" in alerts.send_due(tmp_path, settings, NOW)["command"]


# ---------------------------------------------------------------- sending


def test_a_mail_reaches_a_real_server_with_a_password_that_is_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_SECRET_MAIL", "canary-password")
    raise_one(tmp_path)
    with serving(Mail, mails=[], password="canary-password") as server:
        port = server.server_address[1]
        email = Email(
            "127.0.0.1", "crm@example.com", ("a@example.com", "b@example.com"), port, "none", "crm", "secret:MAIL"
        )
        assert alerts.send_due(tmp_path, Settings(email=email, place="CRM"), NOW) == {"email": ""}
        assert alerts.send_due(tmp_path, Settings(email=email, place="CRM"), minutes(60)) == {}, (
            "received once is enough"
        )
    [mail] = server.mails
    assert server.login == ["crm", "canary-password"]
    assert mail["subject"] == "CRM: nightly failed (for 31 January 2026, 02:00 UTC)"
    assert (
        mail["to"] == "a@example.com, b@example.com"
        and mail["date"].datetime.isoformat() == "2026-01-31T06:00:00+00:00"
    )
    text = mail.get_content()
    for part in (
        "cell 4 failed: ValueError: no rows",
        "tried 3 times",
        FAILED["notebook"],
        FAILED["log"],
        "What to do:",
    ):
        assert part in text


def test_a_mail_server_that_refuses_is_named_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET_MAIL", "canary-password")
    raise_one(tmp_path)
    with serving(Mail, mails=[], password="another") as server:
        port = server.server_address[1]
        email = Email("127.0.0.1", "crm@example.com", ("a@example.com",), port, "none", "crm", "secret:MAIL")
        trouble = alerts.send_due(tmp_path, Settings(email=email), NOW)["email"]
        assert "127.0.0.1 refused: 535 wrong password" in trouble and "canary" not in trouble
        plain = Email("127.0.0.1", "crm@example.com", ("a@example.com",), port, "starttls")
        assert (
            "could not be used (STARTTLS extension not supported"
            in alerts.send_due(tmp_path, Settings(email=plain), minutes(2))["email"]
        )
        half = Email("127.0.0.1", "crm@example.com", ("a@example.com", "nobody@example.com"), port, "none")
        assert (
            "refused the receivers nobody@example.com"
            in alerts.send_due(tmp_path, Settings(email=half), minutes(10))["email"]
        )
    assert "canary" not in str(kept.alerts(tmp_path)["sent"].tolist())


def test_a_webhook_receives_signed_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET_HOOK", "a key of this test")
    raise_one(tmp_path), raise_one(tmp_path, "failed/weekly")
    with serving(Hook, posts=[], answer=204) as server:
        hook = Webhook(f"http://127.0.0.1:{server.server_address[1]}/alerts", "secret:HOOK")
        assert alerts.send_due(tmp_path, Settings(webhook=hook, language="ru"), NOW) == {"webhook": ""}
    [(headers, body)] = server.posts
    assert headers["X-Crm-Signature"] == "sha256=" + hmac.new(b"a key of this test", body, hashlib.sha256).hexdigest()
    message = json.loads(body)
    assert [one["code"] for one in message["alerts"]] == ["failed", "failed"], "both in one message"
    assert message["alerts"][0]["content"] == FAILED and message["subject"].endswith("и ещё 1")


def test_a_webhook_that_answers_otherwise_or_leads_elsewhere_is_trouble(tmp_path: Path) -> None:
    raise_one(tmp_path)
    with serving(Hook, posts=[], answer=302) as server:
        hook = Webhook(f"http://127.0.0.1:{server.server_address[1]}/alerts")
        assert alerts.send_due(tmp_path, Settings(webhook=hook), NOW)["webhook"].startswith(
            "the webhook at 127.0.0.1 answered 302"
        )
        assert len(server.posts) == 1, "not followed"
    gone = alerts.send_due(tmp_path, Settings(webhook=hook), minutes(2))["webhook"]
    assert "could not be reached" in gone


def test_a_command_gets_the_message_and_is_ended_when_it_hangs(tmp_path: Path) -> None:
    raise_one(tmp_path)
    script = tmp_path / "take.py"
    script.write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).write_text(sys.stdin.read())")
    works = Command((sys.executable, str(script), str(tmp_path / "taken")))
    assert alerts.send_due(tmp_path, Settings(command=works), NOW) == {"command": ""}
    assert "cell 4 failed" in json.loads((tmp_path / "taken").read_text())["text"]
    raise_one(tmp_path, "failed/other")
    hangs = Command(("sh", "-c", "sleep 60 & wait"), timeout_seconds=1)
    assert "did not end within 1 s" in alerts.send_due(tmp_path, Settings(command=hangs), NOW)["command"]
    fails = Command(("sh", "-c", "echo no such team >&2; exit 3"))
    assert alerts.send_due(tmp_path, Settings(command=fails), minutes(1))["command"].endswith(
        "ended with code 3: no such team"
    )
    missing = Command((str(tmp_path / "none"),))
    assert (
        "cannot be started (No such file" in alerts.send_due(tmp_path, Settings(command=missing), minutes(9))["command"]
    )


def test_what_cannot_be_sent_is_tried_again_with_growing_pauses_and_stands_in_the_alert(tmp_path: Path) -> None:
    raise_one(tmp_path)
    settings = Settings(command=Command(("false",)))
    tried = [minute for minute in range(0, 400) if alerts.send_due(tmp_path, settings, minutes(minute))]
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]
    [sent] = kept.alerts(tmp_path)["sent"]
    assert sent["command"]["tries"] == len(tried) and "ended with code 1" in kept.trouble(sent)["command"]
    assert alerts.send_due(tmp_path, Settings(command=Command(("true",))), minutes(500)) == {"command": ""}
    assert kept.trouble(kept.alerts(tmp_path)["sent"][0]) == {}


def many_at_once(data: Path) -> list[str]:
    raise_one(data)
    counter = data / "count"
    settings = Settings(command=Command(("sh", "-c", f"echo one >> {counter}")))
    threads = [threading.Thread(target=alerts.send_due, args=(data, settings, NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counter.read_text().split()


def test_of_many_schedulers_one_sends(tmp_path: Path) -> None:
    assert many_at_once(tmp_path) == ["one"]


@pytest.mark.postgres
def test_of_many_schedulers_one_sends_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        assert many_at_once(tmp_path) == ["one"]
        assert alerts.clear(tmp_path, "failed/nightly", now=NOW) and raise_one(tmp_path)


def test_one_killed_while_sending_leaves_the_alert_to_others_after_a_while(tmp_path: Path) -> None:
    raise_one(tmp_path)
    assert len(kept.claim(tmp_path, "command", now=NOW)) == 1
    settings = Settings(command=Command(("true",)))
    assert alerts.send_due(tmp_path, settings, minutes(4)) == {} and alerts.send_due(
        tmp_path, settings, minutes(5)
    ) == {"command": ""}


# ---------------------------------------------------------------- settings


GOOD = """
language = "ru"
place = "CRM of the bank"
[command]
run = ["page", "--team", "crm"]
[email]
host = "mail.example.com"
sender = "crm@example.com"
to = ["a@example.com"]
user = "crm"
password = "secret:SMTP_PASSWORD"
[webhook]
url = "https://chat.example.com/x"
key = "secret:KEY"
[stale]
transactions = 3
"""


def test_settings_are_read(tmp_path: Path) -> None:
    assert alert_settings.read(tmp_path) == Settings()
    (tmp_path / "alerts.toml").write_text(GOOD, encoding="utf-8")
    found = alert_settings.read(tmp_path)
    assert found.channels() == ["command", "email", "webhook"] and found.stale == {"transactions": 3}
    assert found.email == Email(
        "mail.example.com", "crm@example.com", ("a@example.com",), user="crm", password="secret:SMTP_PASSWORD"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"secret:SMTP_PASSWORD"',
            '"hunter2hunter2"',
            r"password in \[email\] stands there in clear text; write secret:NAME",
        ),
        ('url = "https://chat', 'url = "http://chat', "the webhook's url must begin with https://"),
        ('url = "https://chat', 'url = "https://user:pass@chat', "must begin with https://"),
        ('user = "crm"', 'security = "none"', "would send to mail.example.com in clear text"),
        ("a@example.com", r"a@example.com\\nBcc: x@y.z", "is no e-mail address"),
        ("transactions = 3", "transactions = 0", "write a number of days, 1 or more"),
        ("transactions = 3", "customers = 3", "'customers', which is unknown"),
        ('language = "ru"', 'language = "fr"', "language is 'fr'; use en or ru"),
        (
            'run = ["page", "--team", "crm"]',
            'run = "page --team"',
            r"run in \[command\] is 'page --team'; write a list of texts",
        ),
        ("[stale]", "[sms]\nx = 1\n[stale]", "'sms', which is unknown; there are command, email"),
        ("[webhook]", "[webhook]\ntimeout_seconds = 900", "timeout_seconds in .* is 900; write 1 to 60"),
        ("[stale]", "[stale", "cannot be read"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    (tmp_path / "alerts.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        alert_settings.read(tmp_path)


# ---------------------------------------------------------------- words


@given(
    st.sampled_from([*alert_words.CODES, "moon"]),
    st.fixed_dictionaries(
        {},
        optional={
            "job": st.text(max_size=8),
            "table": st.text(max_size=8),
            "logical_date": st.datetimes().map(dt.datetime.isoformat),
            "newest": st.dates().map(str),
            "message": st.text(max_size=20),
            "attempts": st.integers(0, 9),
            "hours_late": st.floats(0, 1e6),
            "limit_days": st.none() | st.integers(1, 99),
            "limit_seconds": st.floats(1, 1e6),
        },
    ),
    st.sampled_from(["en", "ru"]),
)
def test_any_alert_can_be_worded(code: str, content: dict[str, Any], language: str) -> None:
    message = alert_words.message(
        [{"code": code, "content": content, "raised_at": NOW}], language=language, place="CRM"
    )
    assert message["subject"].startswith("CRM: ") and message["text"]
