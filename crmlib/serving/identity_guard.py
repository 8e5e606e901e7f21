"""What every request passes before a handler sees it: address, origin, identity; and what every answer carries.

Voila's own handlers look at nothing but a login, and some not even at that. So each class of handler is served through
a subclass with ``Guard`` in front.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import tornado.web
import tornado.websocket
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from voila.request_info_handler import RequestInfoSocketHandler
from voila.tornado.contentshandler import VoilaContentsHandler

from crmlib.serving import login, pages
from crmlib.serving.identity import Refused
from crmlib.views import texts

LONGEST_QUERY, LONGEST_VALUE, MOST_PARAMETERS = 2_000, 200, 20
LONGEST_BODY = 1_000_000  # bytes; nobody sends files to the workbench
INLINE = ("this.dataset.failed = true", "crmTheme.toggle()")
"""The handlers of events that stand in the pages themselves; every other one in an element is refused by the browser."""

_LOCAL = {"127.0.0.1", "localhost", "[::1]"}
_ENDED = 4401  # a private code of websockets


class Gone(APIHandler):
    """Stands in for what Voila would serve and nobody here needs."""

    def get(self, *_: str) -> None:
        """Answer that there is nothing."""
        raise tornado.web.HTTPError(404)


def guarded(rules: Sequence[Any], *, base: str = "/") -> list[Any]:
    """Return the rules of handlers, each behind ``Guard``, without those that are of no use here but to an attacker.

    The kernels' questions about a request would be answered to anybody who knows a kernel's id, and the listing of
    contents shows dashboards that do not open.
    """
    replaced: dict[type, type] = {VoilaContentsHandler: Gone}
    kept = [
        (rule[0], replaced.get(rule[1], rule[1]), *_settings(rule))
        for rule in rules
        if rule[1] is not RequestInfoSocketHandler
    ]
    everything = (url_path_join(base, r"(.*)"), pages.Missing)
    return [(pattern, _behind(handler), *rest) for pattern, handler, *rest in [*kept, everything]]


def _settings(rule: Any) -> tuple[Any, ...]:
    return () if rule[1] is VoilaContentsHandler else tuple(rule[2:])


def _behind(handler: type) -> type:
    return handler if issubclass(handler, Guard) else type(handler.__name__, (Guard, handler), {})


class Guard(tornado.web.RequestHandler):
    """The checks; mixed in before another handler."""

    _crm_token = ""

    async def prepare(self) -> None:
        """Refuse what is not asked by somebody known from a page of this server in an address that makes sense."""
        _check_address(self)
        _check_origin(self)
        given = _without_token(self)
        provider = self.settings["identity_provider"]
        person = provider.get_user(self)
        if person is None and not getattr(self, "open_to_all", False):
            self._turn_away()
            return
        if getattr(self, "_crm_came_by_token", False):
            provider.begin(self, person)
            if given and self.request.method == "GET" and self._is_page():
                self.redirect(self.request.uri or "/")
                return
        ahead = super().prepare()
        if inspect.isawaitable(ahead):
            await ahead

    def set_default_headers(self) -> None:
        """Say to the browser what a page of this server may do: nothing with any other site."""
        super().set_default_headers()
        if isinstance(self, tornado.websocket.WebSocketHandler):
            return
        for name, value in _headers(self.request.host).items():
            self.set_header(name, value)
        self.clear_header("Server")
        if not isinstance(self, tornado.web.StaticFileHandler):
            self.set_header("Cache-Control", "no-store")

    def on_message(self, message: Any) -> None:
        """Pass a message of an open connection on while its session lasts."""
        if self.settings["identity_provider"].still(self):
            super().on_message(message)  # type: ignore[misc]
        else:
            self.close(_ENDED, "the session has ended")  # type: ignore[attr-defined]

    def write_error(self, status_code: int, **content: Any) -> None:
        """Say in words what is wrong and what to do; programs get what they got before."""
        if isinstance(self, tornado.websocket.WebSocketHandler):
            self.finish()  # nobody reads the page of a connection
            return
        if isinstance(self, APIHandler):
            super().write_error(status_code, **content)
            return
        error = content.get("exc_info", (None, None))[1]
        say, home = texts.speak(_language(self)), str(self.settings.get("base_url", "/"))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            login.refusal(error, say, home=home)
            if isinstance(error, Refused)
            else pages.error(status_code, say, home=home)
        )

    def _turn_away(self) -> None:
        refused = self.settings["identity_provider"].turned_away()
        if refused or self.request.method not in ("GET", "HEAD") or not self._is_page():
            raise refused or Refused(403, "login")
        self.redirect(f"{self.settings['login_url']}?{urlencode({'next': self.request.uri})}")

    def _is_page(self) -> bool:
        kinds = (APIHandler, tornado.web.StaticFileHandler, tornado.websocket.WebSocketHandler)
        return not isinstance(self, kinds) and "/api/" not in self.request.path


def _language(handler: Guard) -> str:
    try:
        return pages.language(handler)
    except tornado.web.HTTPError:  # the address itself cannot be read
        return "en"


def _check_address(handler: Guard) -> None:
    """Refuse addresses that no page of the workbench has: long, of strange characters, or with a way out of a folder."""
    request = handler.request
    if len(request.uri or "") > LONGEST_QUERY + LONGEST_VALUE:
        raise Refused(414, "address")
    path = unquote(request.path, errors="replace")
    parts = re.split(r"[/\\]", path)
    if not path.isprintable() or re.search(r"[\\%\ufffd]", path) or ".." in parts or "//" in path:
        raise Refused(400, "address")
    if "/voila/templates/" in path and not re.search(r"/voila/templates/[^/]+/static/.", path):
        raise Refused(404, "address")  # Voila's handler takes it for granted
    try:
        found = parse_qsl(request.query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict")
    except ValueError as error:
        raise Refused(400, "address") from error
    for name, value in found:
        longest = LONGEST_QUERY if name == "next" else LONGEST_VALUE
        # A number without a value is how the page's scripts keep an answer from being taken out of the cache.
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,31}", name) or (name.isdecimal() and not value)
        if not plain or name == "template" or len(value) > longest or not value.isprintable():
            raise Refused(400, "address")


def _check_origin(handler: Guard) -> None:
    """Refuse what another site makes a browser ask: by name of the host, and where anything is changed or connected."""
    request, public = handler.request, handler.settings["identity_provider"].public
    allowed = {urlsplit(public).netloc} if public else set()
    host = re.sub(r":\d+$", "", request.host)
    if request.host not in allowed and host not in _LOCAL:
        raise Refused(403, "elsewhere")  # another name that leads here: DNS rebinding
    changes = request.method not in ("GET", "HEAD", "OPTIONS")
    if not changes and not isinstance(handler, tornado.websocket.WebSocketHandler):
        return
    origin = request.headers.get("Origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "elsewhere")
    if origin is not None and urlsplit(origin).netloc not in {request.host, *allowed}:
        raise Refused(403, "elsewhere")


def _without_token(handler: Guard) -> bool:
    """Take a token out of the address before anybody logs or passes the address on; return whether there was one."""
    request = handler.request
    given = request.query_arguments.pop("token", [])
    request.arguments.pop("token", None)
    if not given:
        return False
    handler._crm_token = given[-1].decode(errors="replace")
    rest = urlencode([one for one in parse_qsl(request.query, keep_blank_values=True) if one[0] != "token"])
    request.query = rest
    request.uri = request.path + (f"?{rest}" if rest else "")
    return True


def _headers(host: str) -> dict[str, str]:
    own = host if re.fullmatch(r"[\w.:\[\]-]{1,255}", host) else ""
    return {
        "Content-Security-Policy": "; ".join(
            [
                "default-src 'self'",
                # Voila's pages hold scripts of their own, and widgets come as modules made in the browser (blob:).
                "script-src 'self' 'unsafe-inline' blob:",
                f"script-src-attr 'unsafe-hashes' {' '.join(map(_hash, INLINE))}",
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data: blob:",
                "font-src 'self' data:",
                f"connect-src 'self' ws://{own} wss://{own}" if own else "connect-src 'self'",
                "worker-src 'self' blob:",
                "object-src 'none'",
                "base-uri 'self'",
                "form-action 'self'",
                "frame-ancestors 'self'",
            ]
        ),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        # Not no-referrer: with it browsers send "Origin: null" with forms, which then could not be told from strangers'.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
