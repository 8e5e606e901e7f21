"""The look of every page that the server writes itself: the front door, the login, waiting, errors."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import tornado.web

from crmlib import views
from crmlib.views import texts
from crmlib.views.texts import LANGUAGES, later

LANGUAGE_COOKIE = "crm_language"
_HERE = Path(__file__).parent
_VIEWS = Path(views.__file__).parent

_ERRORS = {
    400: (
        later("This address cannot be read"),
        later("It is longer or other than a link of the workbench. Go to all dashboards and choose one there."),
    ),
    403: (
        later("This page is not open to you"),
        later("Your role does not open it, or your session has ended. Log in again, or ask who runs the workbench."),
    ),
    404: (
        later("There is no such page"),
        later("The link may be old or mistyped. Go to all dashboards and choose one there."),
    ),
    429: (later("Too many attempts"), later("Wait a minute, then try again.")),
    500: (
        later("The page could not be made"),
        later(
            "Reload it in a minute. If that does not help, tell who runs the workbench: what happened is in its log."
        ),
    ),
}

_BEFORE = {
    "home": later("All dashboards"),
    "theme": later("Light or dark"),
    "starting": later("The dashboard is being opened …"),
    "drawing": later("The charts are being drawn …"),
    "slow": later("This takes longer than usual: the computer is busy. The dashboard will appear by itself."),
    "stuck": later("The dashboard has not come. Reload the page; if that does not help, tell who runs the workbench."),
    "failed": later("This dashboard could not be made"),
    "failed_remedy": later(
        "Reload the page. If that does not help, tell who runs the workbench: what happened is in its log."
    ),
}
"""What a dashboard's page says before, or instead of, what its kernel says."""


def for_template() -> dict[str, Any]:
    """Return what the page of a dashboard is made with: its words in every language, and the themes."""
    words = {name: {code: texts.speak(code).text(english) for code in LANGUAGES} for name, english in _BEFORE.items()}
    return {"words": words, "theme_css": _text(_VIEWS / "theme.css"), "theme_js": _text(_VIEWS / "theme.js")}


def language(handler: tornado.web.RequestHandler) -> str:
    """Return the reader's language: asked for in the address (and kept from then on), chosen before, or the browser's."""
    asked = handler.get_query_argument("language", "")
    if asked in LANGUAGES:
        handler.set_cookie(LANGUAGE_COOKIE, asked, path="/", samesite="Lax", expires_days=365)
        return asked
    preferred = [part.strip()[:2].lower() for part in handler.request.headers.get("Accept-Language", "").split(",")]
    chosen = [handler.get_cookie(LANGUAGE_COOKIE, ""), *preferred]
    return next((code for code in chosen if code in LANGUAGES), "en")


def shell(
    say: texts.Language,
    title: str,
    body: str,
    *,
    home: str = "",
    visitor: str = "",
    logout: str = "",
    keep: Mapping[str, str] | None = None,
) -> str:
    """Return a whole page: ``body`` (HTML) below the heading and the bar with language, theme and who is logged in.

    ``home`` is the address of the front door where this is another page, ``logout`` where one logs out, ``keep`` what the
    address of the page asks for besides the language.
    """
    heading = html.escape(title)
    back = (
        f'<a class="crm-back" href="{html.escape(home)}">{html.escape(say.text("All dashboards"))}</a>' if home else ""
    )
    who = f'<span class="crm-who">{html.escape(visitor)}</span>' if visitor else ""
    if logout:
        who += f'<a href="{html.escape(logout)}">{html.escape(say.text("Log out"))}</a>'
    switch = html.escape(say.text("Light or dark"))
    return (
        f'<!doctype html><html lang="{say.code}"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<script>{_text(_VIEWS / 'theme.js')}</script>"
        f"<style>{_text(_VIEWS / 'theme.css')}{_text(_HERE / 'pages.css')}</style></head><body>"
        f'<header class="crm-top"><div>{back}</div><nav aria-label="{html.escape(say.text("Settings"))}">{who}'
        f'{_tongues(say, keep or {})}<button type="button" class="crm-theme" aria-label="{switch}" title="{switch}"'
        f' onclick="crmTheme.toggle()"><span aria-hidden="true">◐</span></button></nav></header>'
        f"<main><h1>{heading}</h1>{body}</main></body></html>"
    )


def message(say: texts.Language, title: str, words: str, *, home: str = "", again: int | None = None) -> str:
    """Return a page that says one thing: a refusal, an error, or to wait, which it does for ``again`` seconds at a time."""
    link = f'<p><a class="crm-button" href="{html.escape(home)}">{html.escape(say.text("All dashboards"))}</a></p>'
    # Reloads until there is a place.
    later_on = f"<script>setTimeout(() => location.reload(), {1000 * again})</script>" if again else ""
    waiting = f'<p class="crm-wait"><span></span></p>{later_on}' if again else ""
    body = f'<div class="crm-message"><p>{html.escape(words)}</p>{waiting}{link if home else ""}</div>'
    return shell(say, title, body)


def error(status: int, say: texts.Language, *, home: str) -> str:
    """Return the page for an HTTP status: what is wrong and what to do about it, never what the machine said."""
    title, words = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 404]
    return message(say, say.text(title), say.text(words), home=home)


class Missing(tornado.web.RequestHandler):
    """The answer to every address that leads nowhere; its words are those of ``identity_guard``, as for every error."""

    async def prepare(self) -> None:
        """Refuse: there is no such page."""
        raise tornado.web.HTTPError(404)


def _tongues(say: texts.Language, keep: Mapping[str, str]) -> str:
    links = "".join(
        f'<a href="?{html.escape(urlencode({**keep, "language": code}))}" lang="{code}" hreflang="{code}"'
        f"{' aria-current=true' if code == say.code else ''}>{name}</a>"
        for code, name in LANGUAGES.items()
    )
    return f'<span class="crm-tongues">{links}</span>'


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
