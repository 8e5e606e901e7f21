"""What every dashboard has around its content: heading, origin of the data, language, named views, messages."""

from __future__ import annotations

import datetime as dt
import functools
import html
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from crmlib.decisions.export import export
from crmlib.errors import CrmError, RefusedError
from crmlib.views import cards, certainty, chart_table, error_words, page_table, plots, texts
from crmlib.views import visitor as visitors
from crmlib.views.chart import Chart
from crmlib.views.named_views import Views
from crmlib.views.page import Page, asked_for
from crmlib.views.sketch import Sketch

log = logging.getLogger(__name__)

CSS = "".join(
    f"<style>{Path(__file__).with_name(name).read_text(encoding='utf-8')}</style>"
    for name in ("theme.css", "frame.css")
)


class Frame:
    """The frame of one dashboard; ``root`` is the widget to show, ``say`` the language a person chose.

    ``load`` reads the newest data, ``draw`` says everything anew; both are called by ``reload``, ``draw`` also when
    the language changes. ``newest`` returns what changes when there are newer data: it is asked when a person opens the
    page, which may have been made ready hours ago. ``asked`` receives what the address of the page asked for.
    ``came`` is called when somebody came to a page made ready before, for what depends on who that is.
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
        came: Callable[[], None] | None = None,
        settings: Callable[[], dict[str, Any]] | None = None,
        apply: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.data, self.dashboard, self.title = data, dashboard, title
        self._load, self._draw, self._newest, self._asked = load, draw, newest, asked
        self._came = came
        self._settings, self._apply = settings, apply
        self.loaded = False
        self._seen: object = None
        self._quiet, self._untouched = False, True
        self._origin: tuple[list[str], dt.date | None, str] = ([], None, "")
        self.language = widgets.ToggleButtons(
            options=[(name, code) for code, name in texts.LANGUAGES.items()], value=texts.speak(language).code
        )
        self.language.style.button_width = "84px"
        self.language.observe(self.guarded(self._reworded), "value")
        self._head, self._trouble = widgets.HTML(), widgets.HTML()
        self._views = Views(self) if settings else None
        self.visitor = visitors.current(data)
        self._charts: dict[str, Chart] = {}
        self.page = Page(self._opened, self._table_taken)
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
        return f"{self.visitor.name or 'nobody'} (dashboard)"

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
        for chart in self._charts.values():
            chart.reword()

    def guarded(self, action: Callable[..., None]) -> Callable[..., None]:
        """Return a handler for widgets that says in words what goes wrong, and does nothing while ``quietly``."""

        @functools.wraps(action)
        def handle(*_change: Any) -> None:
            if self._quiet:
                return
            self._trouble.value = ""
            with self._worded():
                if not self.visitor.name:  # the page was made ready before anybody came, and may not have said who
                    self.visitor = visitors.current(self.data)
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
        """Have the browser save a copy of a file that was exported for the person who looks."""
        self.page.save(path)

    def chart(self, name: str, *, clicked: Callable[[dict[str, Any]], None] | None = None) -> Chart:
        """Return a chart of this dashboard, empty as yet; under it stand its origin, how sure it is, and what takes it away.

        ``name`` tells it from the others and is part of the files' names; for ``clicked`` see ``Chart``.
        """
        made = Chart(plots.empty(""), clicked=clicked, worded=self._foot, taken=self._chart_taken)
        self._charts[name] = made
        return made

    def may(self, right: str) -> bool:
        """Return whether the person who looks has a right of ``visitor.RIGHTS``."""
        return self.visitor.may(right)

    def require(self, right: str) -> None:
        """Raise RefusedError where the person who looks has not a right; every handler that needs one begins with it.

        Controls with the class ``crm-needs-<right>`` are hidden from people without it.
        """
        self.visitor = visitors.current(self.data)  # a role may have lost a right while the page was open
        if not self.may(right):
            words = {
                "names": self.say.text(
                    "Your role does not show names and contact details; ask whoever runs the workbench."
                ),
                "export": self.say.text("Your role does not allow taking files away; ask whoever runs the workbench."),
                "change": self.say.text("Your role does not allow changes; ask whoever runs the workbench."),
            }
            raise RefusedError(words[right])

    def looked(self, customer: str, *, action: str = "look", **content: Any) -> None:
        """Enter in the audit log that the person looked at one customer; ``action`` "reveal" when names were shown."""
        self._record(action, subject=customer, content={"dashboard": self.dashboard, **content})

    def take(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        purpose: str,
        format: str,
        content: dict[str, Any] | None = None,
        permitted: pd.DataFrame | None = None,
        watermark: bool = False,
    ) -> Path:
        """Export a table (see ``decisions.export``) for the person who looks and have the browser save the file.

        Raises RefusedError without the right "export", and what ``export`` raises.
        """
        self.require("export")
        file = export(
            table,
            data=self.data,
            actor=self.actor,
            role=self.visitor.role.name,
            purpose=purpose,
            content={"dashboard": self.dashboard, **(content or {})},
            now=self.now(),
            name=name,
            format=format,
            permitted=permitted,
            watermark=watermark,
        )
        self.save(file)
        return file

    # ---------------------------------------------------------------- what happens

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except CrmError as error:
            self.complain(error_words.words(self.say, error))
        except Exception as error:
            log.exception("the dashboard %s failed", self.dashboard)
            self.complain(self.say.text("Something unexpected went wrong ({what}).", what=type(error).__name__))

    def _record(self, action: str, *, content: dict[str, Any], subject: str | None = None) -> None:
        from crmlib.store import audit  # noqa: PLC0415

        who = {"actor": self.actor, "role": self.visitor.role.name}
        audit.record(self.data, **who, action=action, now=self.now(), subject=subject, content=content)

    def _foot(self, figure: go.Figure | Sketch) -> dict[str, Any]:
        """Return what stands under a chart: nothing under an empty one."""
        if not figure.data:
            return {}
        say = self.say
        origin = certainty.own_origin(figure) or " · ".join(self._origin_parts())
        return {
            "title": say.text("Where this comes from"),
            "lines": [line for line in (origin, certainty.of(figure)) if line],
            "take": {"png": {"short": "PNG", "long": say.text("Save this chart as a picture")}, **self._take_labels()},
        }

    def _take_labels(self) -> dict[str, dict[str, str]]:
        say = self.say
        return {
            "csv": {"short": "CSV", "long": say.text("Save these numbers as CSV")},
            "xlsx": {"short": "XLSX", "long": say.text("Save these numbers as XLSX")},
        }

    def _chart_taken(self, chart: Chart, format: str) -> None:
        name = next(name for name, one in self._charts.items() if one is chart)
        self.guarded(lambda: self._take_chart(name, chart, format))()

    def _take_chart(self, name: str, chart: Chart, format: str) -> None:
        self.require("export")
        file, content = f"{self.dashboard}-{name}", {"chart": name, "origin": self._origin_parts()}
        if format != "png":
            say = self.say
            words = {
                "series": say.text("series"),
                "item": say.text("item"),
                "value": say.text("value"),
                "low": say.text("lower limit"),
                "high": say.text("upper limit"),
                "first": say.text("first"),
                "last": say.text("last"),
                "row": say.text("row"),
                "column": say.text("column"),
            }
            table = chart_table.table(chart.figure, words=words)
            self.take(table, name=file, purpose="a chart's numbers", format=format, content=content)
            return
        from crmlib.decisions.export import picture  # noqa: PLC0415

        content = {"dashboard": self.dashboard, **content}
        who = {"actor": self.actor, "role": self.visitor.role.name}
        picture(self.data, **who, purpose="a chart as a picture", content=content, now=self.now())
        chart.save_picture(f"{file}-{self.now():%Y%m%dT%H%M%S}")

    def _table_taken(self, table: str, format: str) -> None:
        self.guarded(lambda: self._take_table(table, format))()

    def _take_table(self, table: str, format: str) -> None:
        self.require("export")
        # What is taken is read from what the kernel showed, never from what the page sends.
        shown = next((one for one in _texts(self.root) if f'id="{table}"' in one), "") if table else ""
        rows = page_table.read(shown, table, language=self.say.code)
        content = {"table": list(map(str, rows.columns)), "origin": self._origin_parts()}
        self.take(rows, name=f"{self.dashboard}-table", purpose="a table", format=format, content=content)

    def _opened(self, query: str) -> None:
        self.visitor = visitors.current(self.data)
        self._say_page()
        if not self.loaded or (self._newest is not None and self._newest() != self._seen):
            self.reload()
        elif self._came:
            self.guarded(self._came)()
        if self._views:
            self._views.refresh()
        wanted = asked_for(query)
        language = wanted.pop("language", "")
        if language in texts.LANGUAGES:
            self.language.value = language
        if wanted and self.loaded and self._asked:
            with self._worded():
                self._asked(wanted)
        self._untouched = False

    def _reload(self) -> None:
        self.loaded = False
        self.body.layout.display = "none"
        self._reworded()
        seen = self._newest() if self._newest else None
        self._load()
        self.loaded, self._seen = True, seen
        self.body.layout.display = ""
        self._reworded()
        if self._untouched:  # what a person chose is theirs alone, and not for the front door
            self._publish()

    def _publish(self) -> None:
        parts, as_of, note = self._origin
        cards.publish(
            self.data,
            self.dashboard,
            figures=[chart.figure for chart in self._charts.values()],
            as_of=as_of,
            origin=parts,
            note=note,
            language=self.say.code,
            now=self.now(),
        )

    def _reworded(self) -> None:
        self._say_page()
        self._heading()
        if self._views:
            self._views.reword()
        if self.loaded:
            self._draw()
        for chart in self._charts.values():
            chart.trouble = self.say.text("This chart could not be drawn; reload the page.")
            chart.reword()

    def _say_page(self) -> None:
        say = self.say
        for right in visitors.RIGHTS:
            (self.root.remove_class if self.may(right) else self.root.add_class)(f"crm-may-not-{right}")
        self.page.take = self._take_labels()
        self.page.who = self.visitor.name
        self.page.title, self.page.language = say.text(self.title), say.code
        self.page.lost = say.text(
            "The connection to the workbench is lost; reload the page. What you see may be out of date."
        )

    def _heading(self) -> None:
        note = self._origin[2]
        lines = [f"<h1>{html.escape(self.say.text(self.title))}</h1>"]
        parts = self._origin_parts()
        if parts:
            lines.append(f'<p class="crm-from">{html.escape(" · ".join(parts))}</p>')
        if note:
            lines.append(f'<p class="crm-note">{html.escape(note)}</p>')
        self._head.value = "".join(lines)

    def _origin_parts(self) -> list[str]:
        say = self.say
        parts, as_of, _ = self._origin
        if as_of is None:
            return parts
        age = max(0, (self.now().date() - as_of).days)
        ago = say.plural("{n} day ago", "{n} days ago", age)
        return [f"{say.text('Data up to {day}', day=say.date(as_of))} ({ago})", *parts]


def _texts(widget: widgets.Widget) -> Iterator[str]:
    """Return the HTML of a widget and of all within it."""
    if isinstance(widget, widgets.HTML):
        yield widget.value
    for child in getattr(widget, "children", ()):
        yield from _texts(child)
