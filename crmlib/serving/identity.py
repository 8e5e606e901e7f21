"""Who is looking: the server's own identity provider, in three tiers, and what handlers ask of it.

``token``: whoever opens the link printed at the start is the person who started the server. ``users``: people of
``store.users`` with passwords. ``proxy``: a company's proxy says who it is in a signed token with every request. A
bare header is never believed.
"""

from __future__ import annotations

import getpass
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tornado.web
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.utils import url_path_join
from traitlets import Any as Anything
from traitlets import Bool, Unicode

from crmlib.serving import identity_proxy
from crmlib.serving.identity_settings import Access
from crmlib.store import users
from crmlib.views import visitor as visitors
from crmlib.views.visitor import ANALYST, Role, Visitor

SESSION_HOURS = 12
"""A session ends so long after it began, however busy it was, and when the server is started anew."""

_LOOK_AGAIN_SECONDS = 2.0
"""A password user who was removed, or got another role or password, is out after so long."""


class Refused(tornado.web.HTTPError):
    """A request that is not answered; ``code`` says why, in words of ``login.refusals``."""

    def __init__(self, status: int, code: str, **content: str) -> None:
        super().__init__(status, code)
        self.code, self.content = code, content


@dataclass
class Person(User):
    """Whom the server takes a request to be from."""

    role: str = ""
    session: str = ""
    """What ends when the person logs out; "" where nothing was begun."""


class Identity(IdentityProvider):
    """The link with the token: whoever has it is who started the server, with the role of an analyst."""

    data = Unicode(help="data folder").tag(config=True)
    public = Unicode(help="address at which people open the dashboards through TLS, if they do").tag(config=True)
    tier = "token"
    asks: tuple[str, ...] = ("token",)  # what the login page asks for
    need_token = Bool(True)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._ended: dict[str, float] = {}

    # ---------------------------------------------------------------- what the server calls

    def get_user(self, handler: Any) -> Person | None:
        """Return from whom a request is, None for nobody known."""
        if not hasattr(handler, "_crm_person"):
            handler._crm_person = self._person(handler)
        return handler._crm_person

    def get_handlers(self) -> list[tuple[str, object]]:
        """Return the pages on which people log in and out."""
        from crmlib.serving import login  # noqa: PLC0415  it is built on this module

        base = getattr(self.parent, "base_url", "/")
        return [(url_path_join(base, "login"), login.Login), (url_path_join(base, "logout"), login.Logout)]

    def is_token_authenticated(self, handler: Any) -> bool:
        """Return False: a token in the address does not do away with the checks against other sites' requests."""
        return False

    @property
    def auth_enabled(self) -> bool:
        """Return True: nobody is served without having proved who they are."""
        return True

    # ---------------------------------------------------------------- what the tiers do differently

    def _person(self, handler: Any) -> Person | None:
        given = getattr(handler, "_crm_token", "") or self._header_token(handler)
        if given and hmac.compare_digest(given.encode(), str(self.token).encode()):
            person = self._cookie_person(handler) or self.enters(ANALYST)
            handler._crm_came_by_token = True
            return person
        return self._cookie_person(handler)

    def enters(self, role: str, name: str = "") -> Person:
        """Return a person who just proved who they are, in a session of their own."""
        name = name or getpass.getuser()
        return Person(username=name, name=name, role=role, session=secrets.token_urlsafe(12))

    def holds(self, person: Person) -> Person | None:
        """Return a person of a session as they are now, None when the session has ended."""
        return None if person.session in self._ended else person

    def turned_away(self) -> Refused | None:
        """Return how a page is refused to nobody known; None to show the login page."""
        return None

    # ---------------------------------------------------------------- sessions

    def begin(self, handler: Any, person: Person) -> None:
        """Give the browser the cookie of a session."""
        secure = bool(self.public) or handler.request.protocol == "https"
        handler.set_signed_cookie(
            self.get_cookie_name(handler),
            json.dumps({"n": person.username, "r": person.role, "s": person.session}),
            expires_days=None,  # the browser forgets it when it is closed, the server after SESSION_HOURS
            path=handler.settings.get("base_url", "/"),
            httponly=True,
            samesite="Lax",
            secure=secure,
        )

    def end(self, handler: Any) -> None:
        """End the session of a request, also for whoever else has its cookie."""
        person, now = self.get_user(handler), time.monotonic()
        self._ended = {one: until for one, until in self._ended.items() if until > now}
        if person is not None and person.session:
            self._ended[person.session] = now + SESSION_HOURS * 3600
        handler.clear_cookie(self.get_cookie_name(handler), path=handler.settings.get("base_url", "/"))

    def still(self, handler: Any) -> bool:
        """Return whether the person of an open connection may go on with it."""
        began = handler.__dict__.setdefault("_crm_began", time.monotonic())
        if time.monotonic() - began > SESSION_HOURS * 3600:
            return False
        person = self.get_user(handler)
        return person is not None and self.holds(person) is not None

    def _cookie_person(self, handler: Any) -> Person | None:
        name = self.get_cookie_name(handler)
        content = handler.get_signed_cookie(name, max_age_days=SESSION_HOURS / 24)
        if not content:
            return None
        try:
            found = json.loads(content)
            person = Person(username=found["n"], name=found["n"], role=found["r"], session=found["s"])
        except (ValueError, KeyError, TypeError):
            return None
        return self.holds(person)

    def _header_token(self, handler: Any) -> str:
        found = re.match(r"token\s+(\S+)$", handler.request.headers.get("Authorization", ""), re.IGNORECASE)
        return found[1] if found else ""


class UserIdentity(Identity):
    """People with passwords."""

    tier = "users"
    asks = ("name", "password")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._seen: dict[str, tuple[float, users.Known | None]] = {}

    def _person(self, handler: Any) -> Person | None:
        return self._cookie_person(handler)

    def admitted(self, known: users.Known) -> Person:
        """Return the person whose name and password fitted."""
        self._seen.pop(known.name, None)
        person = self.enters(known.role, known.name)
        person.session = f"{known.session}.{person.session}"
        return person

    def holds(self, person: Person) -> Person | None:
        """Return the person with today's role; None once they were removed or got another role or password."""
        known = self._known(person.username)
        if known is None or person.session.partition(".")[0] != str(known.session):
            return None
        person.role = known.role
        return super().holds(person)

    def _known(self, name: str) -> users.Known | None:
        now = time.monotonic()
        when, known = self._seen.get(name, (0.0, None))
        if not when or now - when > _LOOK_AGAIN_SECONDS:
            known = users.current(Path(self.data), name)
            self._seen[name] = now, known
        return known


class ProxyIdentity(Identity):
    """People of whom a company's proxy says, signed, who they are."""

    tier = "proxy"
    asks = ()

    verifier = Anything(help="checks what the proxy says").tag(config=True)

    def _person(self, handler: Any) -> Person | None:
        try:
            name, role = self.verifier.verified(handler.request.headers)
        except identity_proxy.NotVerified as reason:
            self.log.warning("not announced by the proxy: %s", reason)
            return None
        return Person(username=name, name=name, role=role)

    def turned_away(self) -> Refused | None:
        """Return the refusal of whoever the proxy did not announce; there is no login page here."""
        return Refused(403, "unannounced")


_PROVIDERS: dict[str, type[Identity]] = {"token": Identity, "users": UserIdentity, "proxy": ProxyIdentity}


def configuration(access: Access, data: Path, *, token: str = "", secret: str = "") -> dict[str, Any]:
    """Return the server's settings that say how people prove who they are; ``secret`` is the proxy's, for HS256."""
    provider = _PROVIDERS[access.tier]
    verifier = identity_proxy.Verifier(access.proxy, secret) if access.proxy else None
    return {
        "Voila": {
            "identity_provider_class": provider,
            "token": token if access.tier == "token" else "",
            "tornado_settings": {
                "xsrf_cookies": True,
                "xsrf_cookie_kwargs": {"samesite": "Strict", "secure": bool(access.public_address)},
            },
        },
        "Identity": {"data": str(data), "public": access.public_address},
        "ProxyIdentity": {"verifier": verifier},
    }


# ---------------------------------------------------------------- what handlers ask


def visitor(handler: Any) -> Visitor:
    """Return who makes a request, with the rights of today's ``roles.toml``; ``NOBODY`` where that is not known."""
    provider = handler.settings["identity_provider"]
    person = provider.get_user(handler)
    if person is None:
        return visitors.NOBODY
    roles = visitors.roles(Path(provider.data))
    role = roles.get(person.role) or Role(person.role)
    return Visitor(person.username, role, shared=provider.tier == "token")


def refuse_unless_opens(handler: Any, dashboard: str) -> None:
    """Let a handler go on only where the visitor's role opens the dashboard; otherwise raise the refusal (403)."""
    who = visitor(handler)
    if not who.role.opens(dashboard):
        raise Refused(403, "dashboard", role=who.role.name)
