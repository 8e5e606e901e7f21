"""The pages on which people log in and out, and the words in which a request is refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import html
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler

from crmlib.errors import EnvironmentFault
from crmlib.serving import pages
from crmlib.serving.identity import Identity, Person, Refused, UserIdentity
from crmlib.serving.login_limits import Limits
from crmlib.store import audit, users
from crmlib.views import texts
from crmlib.views.texts import later
from crmlib.views.visitor import ANALYST

_LIMITS = Limits()
# Each try takes 32 MiB and a third of a second of a processor; more at once would slow everybody's dashboards.
_HASHING = ThreadPoolExecutor(1, thread_name_prefix="passwords")

_REFUSALS = {
    "dashboard": (
        later("This dashboard is not open to you"),
        later(
            "Your role, {role}, does not open it. Choose another one, or ask who runs the workbench for another role."
        ),
    ),
    "unannounced": (
        later("You are not logged in"),
        later(
            "Open the workbench through your company's sign-in. If you did, ask who runs the workbench: its log says what was wrong."
        ),
    ),
    "places": (
        later("You have many dashboards open"),
        later("Each takes memory that others need too. Close the ones you no longer need, then reload this page."),
    ),
    "elsewhere": (
        later("This request came from another site"),
        later("Open the workbench by its own address, then try again."),
    ),
}


def refusal(refused: Refused, say: texts.Language, *, home: str) -> str:
    """Return the page that says why a request is refused and what to do about it."""
    if refused.code not in _REFUSALS:
        return pages.error(400 if refused.code == "address" else refused.status_code, say, home=home)
    title, words = _REFUSALS[refused.code]
    content = refused.content
    return pages.message(say, say.text(title), say.text(words, **content), home=home)


def own_address(asked: str, base: str) -> str:
    """Return where to go after logging in: the address asked for if it is one of this server, else the front door.

    >>> own_address("/voila/render/demand.ipynb?level=total", "/")
    '/voila/render/demand.ipynb?level=total'
    >>> [own_address(one, "/") for one in ("//evil.example", "https://evil.example/", "/\\\\\\\\evil.example", "javascript:alert(1)")]
    ['/', '/', '/', '/']
    """
    parts = urlsplit(asked) if asked.isprintable() and "\\" not in asked and len(asked) <= 2_000 else None
    if parts is None or parts.scheme or parts.netloc or asked.startswith("//") or not parts.path.startswith(base):
        return base
    return base if parts.path.removeprefix(base).strip("/") in ("login", "logout") else asked


class _Page(JupyterHandler):
    """A page that people may see before they have logged in."""

    open_to_all = True

    @property
    def provider(self) -> Identity:
        """Who says who people are."""
        return cast(Identity, self.settings["identity_provider"])

    @property
    def say(self) -> texts.Language:
        """The reader's language."""
        return texts.speak(pages.language(self))

    def form(self, title: str, body: str, button: str, *, keep: dict[str, str] | None = None) -> None:
        """Answer with a page that holds a form."""
        action = html.escape(self.request.path + (f"?{urlencode(keep)}" if keep else ""))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            pages.shell(
                self.say,
                title,
                f'<form class="crm-login" method="post" action="{action}">{self.xsrf_form_html()}{body}'
                f'<button type="submit">{html.escape(button)}</button></form>',
                keep=keep,
            )
        )


class Login(_Page):
    """Where people prove who they are."""

    @allow_unauthenticated
    def get(self) -> None:
        """Answer with the form, or go on where nothing needs to be proved."""
        refused = self.provider.turned_away()
        if refused:
            raise refused
        if self.current_user:
            self.redirect(self._next())
            return
        self._ask()

    @allow_unauthenticated
    async def post(self) -> None:
        """Let a person in, or say that what they typed does not fit."""
        refused = self.provider.turned_away()
        if refused:
            raise refused
        name = users.tidy(self.get_body_argument("name", "", strip=False)[:200])
        typed = self.get_body_argument(self.provider.asks[-1], "", strip=False)[:1_000]
        address = self._address()
        wait = _LIMITS.attempt(name, address, now=time.monotonic())
        if wait:
            self._too_often(wait, name)
            return
        person = await self._person(name, typed)
        if person is None:
            self.set_status(401)
            self._record("login refused", name)
            self._ask(name, self.say.text(_WRONG[self.provider.tier]))
            return
        _LIMITS.succeeded(name, address)
        self._record("login", person.username, person.role)
        self.provider.begin(self, person)
        self.redirect(self._next(), status=303)

    async def _person(self, name: str, typed: str) -> Person | None:
        provider = self.provider
        if isinstance(provider, UserIdentity):
            check: Callable[..., users.Known | None] = users.check
            known = await asyncio.get_running_loop().run_in_executor(_HASHING, check, Path(provider.data), name, typed)
            return provider.admitted(known) if known else None
        fits = hmac.compare_digest(typed.strip().encode(), str(provider.token).encode())
        return provider.enters(ANALYST) if fits else None

    def _too_often(self, wait: float, name: str) -> None:
        self.set_status(429)
        self.set_header("Retry-After", str(math.ceil(wait)))
        if not _LIMITS.told(
            name, self._address(), now=time.monotonic()
        ):  # else a flood of attempts would flood the log
            self._record("login refused", name, too_often=True)
        minutes = math.ceil(wait / 60)
        self._ask(
            name,
            self.say.plural(
                "Too many attempts that did not fit. Try again in {n} minute.",
                "Too many attempts that did not fit. Try again in {n} minutes.",
                minutes,
            ),
        )

    def _ask(self, name: str = "", trouble: str = "") -> None:
        say = self.say
        fields = "".join(_field(say, kind, name) for kind in self.provider.asks)
        told = f'<p id="crm-trouble" class="crm-error" role="alert">{html.escape(trouble)}</p>' if trouble else ""
        hint = f"<p>{html.escape(say.text(_HINTS[self.provider.tier]))}</p>"
        after = self._next()
        keep = {"next": after} if after != self.settings.get("base_url", "/") else None
        self.form(say.text("Log in"), f"{told}{hint}{fields}", say.text("Log in"), keep=keep)

    def _address(self) -> str:
        """Return from where a person comes: what a proxy that is agreed on saw, else who connected."""
        seen = self.request.headers.get("X-Forwarded-For", "") if self.provider.public else ""
        return seen.rpartition(",")[2].strip()[:45] or str(self.request.remote_ip)

    def _next(self) -> str:
        return own_address(self.get_query_argument("next", ""), self.settings.get("base_url", "/"))

    def _record(self, action: str, name: str, role: str = "", *, too_often: bool = False) -> None:
        """Record an attempt; of a name that nobody has only that it was one, since people mistake the fields."""
        data = Path(self.provider.data)
        known = role or (self.provider.tier == "users" and users.current(data, name) is not None)
        content: dict[str, Any] = {"address": self._address(), "tier": self.provider.tier}
        if too_often:
            content["too_often"] = True
        try:
            audit.record(
                data,
                actor=name if known else "unknown",
                role=role or "none",
                action=action,
                now=_now(),
                content=content,
            )
        except EnvironmentFault:
            if role:
                raise  # nobody comes in without its being recorded
            self.log.exception("a refused login could not be recorded")


class Logout(_Page):
    """Where people end their session."""

    @allow_unauthenticated
    def get(self) -> None:
        """Answer with the button; another site's link must not log anybody out."""
        say = self.say
        if not self.current_user:
            self.redirect(self.settings.get("login_url", "/login"))
            return
        if self.provider.turned_away():
            words = say.text("You are logged in by your company; log out there.")
            self.finish(pages.message(say, say.text("Log out"), words, home=self.settings.get("base_url", "/")))
            return
        words = say.text("You are logged in as {name}.", name=self.current_user.username)
        self.form(say.text("Log out"), f"<p>{html.escape(words)}</p>", say.text("Log out"))

    @allow_unauthenticated
    def post(self) -> None:
        """End the session."""
        self.provider.end(self)
        self.redirect(self.settings.get("login_url", "/login"), status=303)


_HINTS = {
    "token": later("Open the link that the workbench printed when it was started, or paste its token here."),
    "users": later("With the name and password that you were given for the workbench."),
}
_WRONG = {
    "token": later("This is not the token. It stands after “token=” in the link that the workbench printed."),
    "users": later("Name and password do not fit. Check both; capital letters count in the password."),
}
_LABELS = {"name": later("Name"), "password": later("Password"), "token": later("Token")}
_COMPLETE = {"name": "username", "password": "current-password", "token": "off"}


def _field(say: texts.Language, kind: str, name: str) -> str:
    value = f' value="{html.escape(name)}"' if kind == "name" else ""
    shown = "text" if kind == "name" else "password"
    first = " autofocus" if kind in ("name", "token") else ""
    return (
        f'<label for="crm-{kind}">{html.escape(say.text(_LABELS[kind]))}</label>'
        f'<input id="crm-{kind}" name="{kind}" type="{shown}" autocomplete="{_COMPLETE[kind]}" maxlength="256"'
        f' spellcheck="false" autocapitalize="none" required{first}{value}>'
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
