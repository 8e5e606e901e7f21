"""The customer card: one customer's history at a glance, with credit, value, risk, phase, loyalty and relationship."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from crmlib.errors import NotFoundError
from crmlib.views import (
    customer_card_bond,
    customer_card_data,
    customer_card_money,
    desk_words,
    layout,
    origins,
    plots,
    texts,
    wording,
)
from crmlib.views import customer_card_parts as parts
from crmlib.views.customer_card_data import Card, Loaded
from crmlib.views.customer_card_layout import Part
from crmlib.views.frame import Frame

_CSS = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
_LONGEST_NUMBER = 64
_YEARS = (1, 2, 5, 0)
"""Spans of the timeline to choose from, years; 0 is everything."""
_SECTIONS: dict[Callable[[texts.Language, Card, Loaded], Part], tuple[str, ...]] = {
    customer_card_money.credit: ("credit",),
    customer_card_money.value: ("account", "outlook"),
    customer_card_bond.risk: ("risk",),
    customer_card_bond.life: ("phases",),
    customer_card_bond.loyalty: ("answers",),
    parts.people: (),
}
"""Cards below the timeline: the function that fills each, and the names of its pictures."""


def panel(data: str | Path, *, customer: str = "", language: str = "en") -> widgets.Widget:
    """Return the customer card: look a customer up and see the whole history at a glance.

    ``data`` is the data folder, ``customer`` the customer_id to begin with, ``language`` "en" or "ru". What goes wrong is
    said on the panel in words.
    """
    return Panel(Path(data), customer, language).root


class Panel:
    """The widgets of the customer card; ``card`` is the customer on the screen, each look at whom is on record.

    ``revealed`` is the customer_id whose name was asked for, and recorded; what the page claims of its box does not count.
    """

    def __init__(self, data: Path, customer: str, language: str) -> None:
        self.data, self.begin = data, customer
        self.loaded: Loaded | None = None
        self.card: Card | None = None
        self.revealed = ""
        self.frame = Frame(
            texts.later("Customer card"),
            data=data,
            dashboard="customer_card",
            language=language,
            load=self._load,
            draw=self._draw,
            newest=lambda: customer_card_data.newest(data),
            asked=self._asked,
            settings=lambda: {"years": self.years.value},
            apply=self._apply,
        )
        guarded = self.frame.guarded
        self.number = widgets.Text(continuous_update=False, layout={"width": "auto"})
        self.look = widgets.Button(button_style="primary", layout={"width": "auto"})
        self.years = widgets.Dropdown(options=[(str(one), one) for one in _YEARS], value=2, layout={"width": "auto"})
        self.names = widgets.Checkbox(indent=False, layout={"width": "auto"}).add_class("crm-needs-names")
        self.labels = {name: widgets.Label() for name in ("number", "look", "years", "names")}
        self.who, self.tiles = widgets.HTML(), widgets.HTML()
        self.history = Section(self.frame, "history")
        self.history.root.add_class("card-history")
        self.sections = {part: Section(self.frame, *charts) for part, charts in _SECTIONS.items()}
        self.number.observe(guarded(self._look), "value")
        self.look.on_click(guarded(self._look))
        self.names.observe(guarded(self._reveal), "value")
        self.years.observe(guarded(self._show), "value")
        search = layout.controls(
            (self.labels["number"], self.number),
            (self.labels["look"], self.look),
            (self.labels["years"], self.years),
            (self.labels["names"], self.names),
        )
        cards = layout.charts(*[one.root for one in self.sections.values()], columns=2)
        self.body = widgets.VBox([self.tiles, self.history.root, cards])
        self.root = self.frame.show(widgets.HTML(_CSS), search, self.who, self.body)

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        # Who was on the screen stays there when newer data come; a page made ready for nobody shows nobody.
        kept, self.loaded = self.card, None
        self.loaded = customer_card_data.load(self.data)
        if kept is not None:
            self._find(kept.customer_id, again=True)
        elif self.begin and self.frame.visitor.name:
            begin, self.begin = self.begin, ""
            self._find(begin)

    def _asked(self, query: dict[str, str]) -> None:
        if query.get("customer"):
            self._find(query["customer"])
            self._show()

    def _apply(self, settings: dict[str, Any]) -> None:
        if settings["years"] in _YEARS:
            self.years.value = settings["years"]

    def _look(self) -> None:
        self._find(self.number.value.strip())
        self._show()

    def _find(self, customer_id: str, *, again: bool = False) -> None:
        """Read a customer's card, which is on record before it shows, but for one who is on the screen already.

        An unknown customer clears the screen, so that nobody reads another's.
        """
        assert self.loaded is not None
        self.card, shown = None, customer_id[:_LONGEST_NUMBER]
        if not again:
            self._conceal()
        with self.frame.quietly():
            self.number.value = shown
        if not customer_id:
            return
        try:
            found = customer_card_data.find(self.loaded, customer_id, now=self.frame.now())
        except NotFoundError:
            self._conceal()
            self.frame.complain(self.say.text("There is no customer {number}; check the number.", number=shown))
            return
        if not again:
            self.frame.looked(found.customer_id)
        self.card = found

    def _reveal(self) -> None:
        """Show or hide the name; it is shown once that is on record."""
        asked = self.names.value and self.card is not None
        self._conceal()
        try:
            if asked:
                assert self.card is not None
                self.frame.require("names")
                self.frame.looked(self.card.customer_id, action="reveal")
                self.revealed = self.card.customer_id
                with self.frame.quietly():
                    self.names.value = True
        finally:
            self._show()

    def _conceal(self) -> None:
        self.revealed = ""
        with self.frame.quietly():
            self.names.value = False

    # ---------------------------------------------------------------- what is shown

    def _draw(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        made = [origins.briefly(say, one) for one in loaded.sets.values()]
        late = [one for one in loaded.sets.values() if one.as_of != loaded.snapshot.as_of]
        note = say.text("Some predictions are of an earlier day than the history; compute them again.") if late else ""
        self.frame.origin(
            [say.text("warehouse version {n}", n=loaded.snapshot.warehouse.version), *made],
            as_of=loaded.snapshot.as_of,
            note=note,
        )
        self.labels["number"].value = say.text("Customer number")
        self.labels["years"].value = say.text("History of")
        self.labels["look"].value = self.labels["names"].value = "\u00a0"
        self.look.description = say.text("Show the customer")
        self.names.description = say.text("Show the name")
        with self.frame.quietly():
            kept = self.years.value
            self.years.options = [(self._span(one), one) for one in _YEARS]
            self.years.value = kept
        self._show()

    def _span(self, years: int) -> str:
        return self.say.plural("{n} year", "{n} years", years) if years else self.say.text("everything")

    def _show(self) -> None:
        """Show the customer found, or what to do where there is none."""
        self.names.disabled = self.card is None
        self.body.layout.display = "none" if self.card is None else ""
        if self.card is None or self.loaded is None:
            self.tiles.value = ""
            for section in (self.history, *self.sections.values()):
                section.show(Part("", (None,) * len(section.charts)))
            hint = html.escape(self.say.text("Type a customer number and press Enter."))
            known = customer_card_data.most_at_stake(self.loaded) if self.loaded else []
            if known:
                links = ", ".join(layout.link("customer_card", number, customer=number) for number in known)
                hint += f" {html.escape(self.say.text('Or open one of those with most at stake:'))} {links}"
            self.who.value = f'<p class="card-hint">{hint}</p>'
            return
        say, loaded = self.say, self.loaded
        card = self.card if self.revealed == self.card.customer_id else customer_card_data.masked(self.card)
        self.who.value = self._headline(card)
        self.tiles.value = parts.tiles(say, card, loaded)
        since = None if not self.years.value else _before(card.as_of, self.years.value)
        self.history.show(parts.timeline(say, card, loaded, since=since))
        for part, section in self.sections.items():
            section.show(part(say, card, loaded))

    def _headline(self, card: Card) -> str:
        say = self.say
        line = desk_words.headline(say, card.who, card.customer_id, shown=self.revealed == card.customer_id)
        chips = "".join(f'<li class="card-{kind}">{html.escape(words)}</li>' for kind, words in self._chips(card))
        link = layout.link("offer_desk", say.text("What to offer: open at the offer desk"), customer=card.customer_id)
        links = f'<p class="card-links">{link}</p>' if card.left_on is None else ""
        return (
            f'<p class="card-who">{html.escape(line)}</p>'
            + (f'<ul class="card-chips">{chips}</ul>' if chips else "")
            + links
        )

    def _chips(self, card: Card) -> list[tuple[str, str]]:
        """Return what to know before anything else, with how it is marked."""
        say = self.say
        assert self.loaded is not None
        found = []
        if card.left_on is not None:
            why = wording.value(say, card.left_reason) if card.left_reason else say.text("reason unknown")
            found.append(("alert", say.text("Left on {date}: {reason}", date=say.date(card.left_on), reason=why)))
        if card.objected:
            found.append(("alert", say.text("Objected to profiling: nothing predicted is shown")))
        for one in card.rows["complaints"]:
            if one["resolved_at"] is None:
                told = {"date": say.date(one["opened_at"].date()), "topic": wording.value(say, one["topic"] or "")}
                found.append(("alert", say.text("Open complaint since {date}: {topic}", **told)))
        for one in card.rows["applications"]:
            if one["decided_at"] is None:
                product = self.loaded.names.get(one["product_id"], one["product_id"])
                day = say.date(one["applied_at"].date())
                found.append(
                    ("news", say.text("Application pending: {product}, since {date}", product=product, date=day))
                )
        return found


class Section:
    """One card of the page: words, pictures, words."""

    def __init__(self, frame: Frame, *charts: str) -> None:
        self.head, self.body = widgets.HTML(), widgets.HTML()
        self.charts = [frame.chart(name) for name in charts]
        self.root = layout.card(self.head, *self.charts, self.body)

    def show(self, part: Part) -> None:
        """Show a part; a picture that there is not takes no room, and keeps nothing of another customer."""
        self.head.value, self.body.value = part.head, part.body
        for chart, figure in zip(self.charts, part.figures, strict=True):
            chart.layout.display = "none" if figure is None else ""
            chart.update(plots.empty("") if figure is None else figure)


def _before(day: dt.date, years: int) -> dt.date:
    return day - dt.timedelta(days=round(365.25 * years))
