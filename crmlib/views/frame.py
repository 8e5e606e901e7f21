"""What every dashboard has around its content: heading, origin of the data, language, named views, messages."""

from __future__ import annotations

import datetime as dt
import functools
import getpass
import html
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import ipywidgets as widgets

from crmlib.errors import CrmError, NotFoundError
from crmlib.store import saved_views
from crmlib.views import texts
from crmlib.views.page import Page

log = logging.getLogger(__name__)

CSS = f"<style>{Path(__file__).with_name('frame.css').read_text(encoding='utf-8')}</style>"
_LONGEST_QUERY = 2_000
_LONGEST_VALUE = 200


class Html(str):
    """Text that is HTML already, such as a link: ``table`` shows it as it is, and escapes every other."""


class Frame:
    """The frame of one dashboard; ``root`` is the widget to show, ``say`` the language a person chose.

    ``load`` reads the newest data, ``draw`` says everything anew; both are called by ``reload``, ``draw`` also when
    the language changes. ``newest`` returns what changes when there are newer data: it is asked when a person opens the
    page, which may have been made ready hours ago. ``asked`` receives what the address of the page asked for.
    ``settings`` and ``apply`` return and restore what a person chose, for views kept under a name.
    """

    def __init__(
        self,
        title: str,
        *,
        data: Path,
        dashboard: str,
        load: Callable[[], None],
        draw: Callable[[], None],
        language: str = "en",
        newest: Callable[[], object] | None = None,
        asked: Callable[[dict[str, str]], None] | None = None,
        settings: Callable[[], dict[str, Any]] | None = None,
        apply: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.data, self.dashboard, self.title = data, dashboard, title
        self._load, self._draw, self._newest, self._asked = load, draw, newest, asked
        self._settings, self._apply = settings, apply
        self.loaded = False
        self._seen: object = None
        self._quiet = False
        self._origin: tuple[list[str], dt.date | None, str] = ([], None, "")
        self.language = widgets.ToggleButtons(
            options=[(name, code) for code, name in texts.LANGUAGES.items()], value=texts.speak(language).code
        )
        self.language.style.button_width = "84px"
        self.language.observe(self.guarded(self._reworded), "value")
        self._head, self._trouble = widgets.HTML(), widgets.HTML()
        self._views = _Views(self) if settings else None
        self.page = Page(self._opened)
        self.body = widgets.VBox()
        corner = widgets.Box([self.language, *([self._views.root] if self._views else [])])
        corner.add_class("crm-corner")
        header = widgets.Box([self._head, corner])
        header.add_class("crm-head")
        self.root = widgets.VBox([widgets.HTML(CSS), self.page, header, self._trouble, self.body])
        self.root.add_class("crm-panel")

    # ---------------------------------------------------------------- for the dashboard

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return texts.speak(self.language.value)

    @property
    def actor(self) -> str:
        """Who is looking, for what is recorded."""
        return f"{getpass.getuser()} (dashboard)"

    @staticmethod
    def now() -> dt.datetime:
        """Return the UTC time of a person's click, the one reading of the clock in the views."""
        return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)

    def show(self, *content: widgets.Widget) -> widgets.Widget:
        """Put the content below the heading, load the data, and return the whole."""
        self.body.children = content
        self.reload()
        return self.root

    def reload(self) -> None:
        """Read the newest data and show them."""
        self.guarded(self._reload)()

    def origin(self, parts: Sequence[str], *, as_of: dt.date | None = None, note: str = "") -> None:
        """Say where the numbers come from: the day they reach to, versions, and a warning where one is due."""
        self._origin = (list(parts), as_of, note)
        self._heading()

    def guarded(self, action: Callable[..., None]) -> Callable[..., None]:
        """Return a handler for widgets that says in words what goes wrong, and does nothing while ``quietly``."""

        @functools.wraps(action)
        def handle(*_change: Any) -> None:
            if self._quiet:
                return
            self._trouble.value = ""
            with self._worded():
                action()

        return handle

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Move controls without taking it for a person's doing."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def complain(self, words: str) -> None:
        """Say what is wrong, at the top of the page."""
        self._trouble.value = f'<div class="crm-error" role="alert">{html.escape(words)}</div>'

    def tell(self, words: str) -> None:
        """Say what was done, at the top of the page."""
        self._trouble.value = f'<div class="crm-told" role="status">{html.escape(words)}</div>'

    def save(self, path: Path) -> None:
        """Have the browser save a copy of an exported file."""
        self.page.save(path)

    @staticmethod
    def link(dashboard: str, words: str, **query: object) -> Html:
        """Return the HTML of a link to another dashboard, with what its address asks for.

        >>> Frame.link("campaigns", "Plan a campaign", audience=3)
        '<a class="crm-link" href="campaigns.ipynb?audience=3">Plan a campaign</a>'
        """
        address = f"{dashboard}.ipynb" + (f"?{urlencode(query)}" if query else "")
        return Html(f'<a class="crm-link" href="{html.escape(address)}">{html.escape(words)}</a>')

    # ---------------------------------------------------------------- what happens

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except CrmError as error:
            self.complain(str(error))
        except Exception as error:
            log.exception("the dashboard %s failed", self.dashboard)
            self.complain(self.say.text("Something unexpected went wrong ({what}).", what=type(error).__name__))

    def _opened(self, query: str) -> None:
        self._say_page()
        if not self.loaded or (self._newest is not None and self._newest() != self._seen):
            self.reload()
        if self._views:
            self._views.refresh()
        wanted = asked_for(query)
        language = wanted.pop("language", "")
        if language in texts.LANGUAGES:
            self.language.value = language
        if wanted and self.loaded and self._asked:
            with self._worded():
                self._asked(wanted)

    def _reload(self) -> None:
        self.loaded = False
        self.body.layout.display = "none"
        self._reworded()
        seen = self._newest() if self._newest else None
        self._load()
        self.loaded, self._seen = True, seen
        self.body.layout.display = ""
        self._reworded()

    def _reworded(self) -> None:
        self._say_page()
        self._heading()
        if self._views:
            self._views.reword()
        if self.loaded:
            self._draw()

    def _say_page(self) -> None:
        say = self.say
        self.page.title, self.page.language = say.text(self.title), say.code
        self.page.lost = say.text(
            "The connection to the workbench is lost; reload the page. What you see may be out of date."
        )

    def _heading(self) -> None:
        say = self.say
        parts, as_of, note = self._origin
        lines = [f"<h1>{html.escape(say.text(self.title))}</h1>"]
        if as_of is not None:
            age = max(0, (self.now().date() - as_of).days)
            ago = say.plural("{n} day ago", "{n} days ago", age)
            parts = [f"{say.text('Data up to {day}', day=say.date(as_of))} ({ago})", *parts]
        if parts:
            lines.append(f'<p class="crm-from">{html.escape(" · ".join(parts))}</p>')
        if note:
            lines.append(f'<p class="crm-note">{html.escape(note)}</p>')
        self._head.value = "".join(lines)


class _Views:
    """The named views of a dashboard: choose one, keep the present settings under a name, forget one."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.chosen = widgets.Dropdown(options=[("", "")])
        self.name = widgets.Text()
        self.keep, self.drop = widgets.Button(), widgets.Button()
        self.chosen.observe(frame.guarded(self._apply), "value")
        self.keep.on_click(frame.guarded(self._save))
        self.drop.on_click(frame.guarded(self._delete))
        self.root = widgets.Box([self.chosen, self.name, self.keep, self.drop])
        self.root.add_class("crm-views")

    def reword(self) -> None:
        say = self.frame.say
        self.name.placeholder = say.text("Name of this view")
        self.name.tooltip = self.name.placeholder
        self.chosen.tooltip = say.text("Saved views")
        self.keep.description, self.drop.description = say.text("Save view"), say.text("Delete view")
        self.refresh()

    def refresh(self) -> None:
        if not self.frame.data.is_dir():
            return
        found = saved_views.names(self.frame.data, self.frame.dashboard)
        with self.frame.quietly():
            kept = self.chosen.value
            self.chosen.options = [(self.frame.say.text("Saved views"), ""), *((name, name) for name in found)]
            self.chosen.value = kept if kept in found else ""
        self.drop.disabled = not self.chosen.value

    def _apply(self) -> None:
        name = self.chosen.value
        self.drop.disabled = not name
        apply = self.frame._apply
        if name and apply:
            settings = saved_views.load(self.frame.data, self.frame.dashboard, name)
            try:
                apply(settings)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("view %s of %s cannot be restored: %r", name, self.frame.dashboard, error)
                words = self.frame.say.text("The view {name} does not fit this data any more; save it anew.", name=name)
                raise NotFoundError(words) from error
            self.name.value = name

    def _save(self) -> None:
        frame, settings = self.frame, self.frame._settings
        assert settings is not None
        name = " ".join(self.name.value.split())
        saved_views.save(frame.data, frame.dashboard, name, settings(), now=frame.now(), actor=frame.actor)
        self.refresh()
        with frame.quietly():
            self.chosen.value = name
        self.drop.disabled = False
        frame.tell(frame.say.text("View {name} saved.", name=name))

    def _delete(self) -> None:
        name = self.chosen.value
        saved_views.delete(self.frame.data, self.frame.dashboard, name)
        self.refresh()
        self.frame.tell(self.frame.say.text("View {name} deleted.", name=name))


def asked_for(query: str) -> dict[str, str]:
    """Return what the address of a page asks for; whatever is not a plain name and a short value is left out.

    >>> asked_for("?audience=3&token=x&<b>=1")
    {'audience': '3'}
    """
    if len(query) > _LONGEST_QUERY:
        return {}
    found = parse_qsl(query.removeprefix("?"), max_num_fields=20)
    plain = {name: value for name, value in found if re.fullmatch(r"[a-z_]{1,32}", name) and name != "token"}
    return {name: value for name, value in plain.items() if len(value) <= _LONGEST_VALUE and value.isprintable()}


# ---------------------------------------------------------------- layout


def controls(*pairs: tuple[widgets.Widget, widgets.Widget]) -> widgets.Widget:
    """Return controls in a row, each a label above a widget."""
    box = widgets.Box([widgets.Box(pair) for pair in pairs])
    box.add_class("crm-controls")
    return box


def card(*content: widgets.Widget) -> widgets.Widget:
    """Return a card: a bordered box of widgets below one another."""
    box = widgets.VBox(content, layout={"display": "block"})
    box.add_class("crm-card")
    return box


def charts(*cards: widgets.Widget, columns: int = 3) -> widgets.Widget:
    """Return cards side by side, fewer in a row on a narrow screen."""
    box = widgets.Box(cards)
    box.add_class("crm-charts")
    box.add_class(f"crm-columns-{columns}")
    return box


def bar(*content: widgets.Widget) -> widgets.Widget:
    """Return small controls in one row that wraps."""
    box = widgets.Box(content)
    box.add_class("crm-bar")
    return box


def title(words: str, note: str = "") -> str:
    """Return the HTML of a card's heading."""
    return f"<h2>{html.escape(words)}</h2>" + (f"<p>{html.escape(note)}</p>" if note else "")


def tiles(values: Sequence[tuple[str, str, str]]) -> str:
    """Return the HTML of numbers in tiles: name, value, note."""
    cells = "".join(
        f'<div class="crm-tile"><span>{html.escape(name)}</span><b>{html.escape(value)}</b>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in values
    )
    return f'<div class="crm-tiles">{cells}</div>'


def table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    """Return the HTML of a table: ``heads`` with "n" for numbers or "" and the words; ``rows`` of plain texts or links (``Html``)."""
    head = "".join(f'<th class="{kind}" scope="col">{html.escape(words)}</th>' for kind, words in heads)
    kinds = [kind for kind, _ in heads]
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{_cell(value)}</td>' for kind, value in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    named = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="crm-scroll"><table class="crm-table">{named}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else html.escape(value)
