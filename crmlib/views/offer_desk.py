"""The offer desk: who is on the line, what to offer and why, what not, and what came of it; one click stores an answer."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from crmlib.decisions import desk
from crmlib.decisions.desk import Offer, Prompt
from crmlib.errors import CrmError
from crmlib.views import (
    certainty,
    desk_words,
    layout,
    offer_desk_data,
    offer_desk_match,
    origins,
    plots,
    plots_desk,
    texts,
    wording,
)
from crmlib.views.frame import Frame
from crmlib.views.offer_desk_data import Loaded

_CSS = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
_LONGEST_NUMBER = 64


def panel(data: str | Path, *, customer: str = "", language: str = "en") -> widgets.Widget:
    """Return the offer desk: look a customer up, see what to offer and why, store what came of it.

    ``data`` is the data folder, ``customer`` the customer_id to begin with, ``language`` "en" or "ru". What goes wrong
    is said on the panel in words.
    """
    return Panel(Path(data), customer, language).root


class Panel:
    """The widgets of the offer desk; ``prompt`` is what is on the screen, each look at whom is on record.

    ``revealed`` is the customer_id whose name was asked for, and recorded; what the page claims of its box does not count.
    """

    def __init__(self, data: Path, customer: str, language: str) -> None:
        self.data, self.begin = data, customer
        self.loaded: Loaded | None = None
        self.prompt: Prompt | None = None
        self.revealed = ""
        self.frame = Frame(
            texts.later("Offer desk"),
            data=data,
            dashboard="offer_desk",
            language=language,
            load=self._load,
            draw=self._draw,
            newest=lambda: offer_desk_data.newest(data),
            asked=self._asked,
            settings=lambda: {"channel": self.channel.value, "mode": self.mode.value},
            apply=self._apply,
        )
        guarded = self.frame.guarded
        self.number = widgets.Text(continuous_update=False, layout={"width": "auto"})
        self.look = widgets.Button(button_style="primary", layout={"width": "auto"})
        self.channel = widgets.Dropdown(
            options=[(name, name) for name in offer_desk_data.CHANNELS], layout={"width": "auto"}
        )
        self.names = widgets.Checkbox(indent=False, layout={"width": "auto"}).add_class("crm-needs-names")
        self.mode = widgets.ToggleButtons(options=[("desk", "desk"), ("match", "match")])
        self.mode.add_class("desk-mode")
        self.labels = {name: widgets.Label() for name in ("number", "channel", "look", "names")}
        self.who, self.told = widgets.HTML(), widgets.HTML()
        self.offers = [_OfferCard(self, place) for place in range(desk.OFFERS + 1)]
        self.sections = {name: widgets.HTML() for name in ("avoid", "before", "contracts", "timeline")}
        self.chart = self.frame.chart("timeline")
        self.match = offer_desk_match.MatchPart(self.frame)
        self.number.observe(guarded(self._look), "value")
        self.look.on_click(guarded(self._look))
        self.names.observe(guarded(self._reveal), "value")
        self.mode.observe(guarded(self._show), "value")
        self.body, self.selling = self._arranged()
        search = layout.controls(
            (self.labels["number"], self.number),
            (self.labels["look"], self.look),
            (self.labels["channel"], self.channel),
            (self.labels["names"], self.names),
        )
        self.root = self.frame.show(widgets.HTML(_CSS), search, self.who, self.mode, self.body, self.match.root)

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _arranged(self) -> tuple[widgets.Widget, widgets.Widget]:
        selling = layout.charts(*[one.root for one in self.offers])
        picture = layout.card(self.sections["timeline"], self.chart)
        lists = widgets.Box([picture, *[layout.card(self.sections[name]) for name in ("avoid", "before", "contracts")]])
        lists.add_class("desk-lists")
        return widgets.VBox([self.told, selling, lists]), selling

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        # Who was on the screen stays there when newer data come; a page made ready for nobody shows nobody.
        kept, self.loaded, self.prompt = self.prompt, None, None
        self.loaded = offer_desk_data.load(self.data)
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
        for control, name in ((self.channel, "channel"), (self.mode, "mode")):
            if settings[name] in [code for _, code in control.options]:
                control.value = settings[name]

    def _look(self) -> None:
        self._find(self.number.value.strip())
        self._show()

    def _find(self, customer_id: str, *, again: bool = False) -> None:
        """Ask the desk about a customer, which is on record before it shows, but for one who is on the screen already.

        An unknown customer clears the screen, so that nobody reads another's.
        """
        assert self.loaded is not None
        self.prompt, found = None, None
        if not again:
            self._conceal()
        with self.frame.quietly():
            self.number.value = customer_id[:_LONGEST_NUMBER]
        if customer_id:
            try:
                found = desk.prompt(self.loaded.desk, customer_id, now=self.frame.now())
                if not again:
                    self.frame.looked(found.customer_id)
            except CrmError as error:
                self.frame.complain(self._worded(error, customer_id[:_LONGEST_NUMBER]))
                found = None
                self._conceal()
        self.prompt = found
        self.match.of(self.loaded, None if found is None else found.customer_id)

    def _worded(self, error: CrmError, customer_id: str) -> str:
        if "is not in the warehouse" in str(error):
            return self.say.text("There is no customer {number}; check the number.", number=customer_id)
        if "ended the relationship" in str(error):
            return self.say.text("Customer {number} has left; there is nobody to serve.", number=customer_id)
        return str(error)

    def _reveal(self) -> None:
        """Show or hide the name; it is shown once that is on record."""
        asked = self.names.value and self.prompt is not None
        self._conceal()
        try:
            if asked:
                assert self.prompt is not None
                self.frame.require("names")
                self.frame.looked(self.prompt.customer_id, action="reveal")
                self.revealed = self.prompt.customer_id
                with self.frame.quietly():
                    self.names.value = True
        finally:
            self._show()

    def _conceal(self) -> None:
        self.revealed = ""
        with self.frame.quietly():
            self.names.value = False

    def answer(self, place: int, outcome: str) -> None:
        """Store what came of an offer shown, and show the prompt as it is now; raises RefusedError without the right."""
        self.frame.require("change")
        if self.prompt is None or self.loaded is None:
            return
        shown, product = self.prompt, self.offers[place].product_id
        actor, now = self.frame.actor, self.frame.now()
        desk.answer(self.loaded.desk, shown, product, outcome=outcome, channel=self.channel.value, actor=actor, now=now)
        self._find(shown.customer_id, again=True)
        self._show()
        name = self.loaded.names[product]
        self.frame.tell(
            self.say.text("Stored: {product}, {outcome}.", product=name, outcome=desk_words.outcome(self.say, outcome))
        )

    # ---------------------------------------------------------------- what is shown

    def _draw(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, opened = self.say, self.loaded.desk
        parts = [say.text("warehouse version {n}", n=opened.snapshot.warehouse.version)]
        if opened.scorer:
            parts.append(say.text("model {name} {n}", name=opened.scorer.name, n=opened.scorer.version))
        self.frame.origin(parts, as_of=opened.snapshot.as_of)
        self.labels["number"].value = say.text("Customer number")
        self.labels["channel"].value = say.text("The customer is")
        self.labels["look"].value = self.labels["names"].value = "\u00a0"
        self.look.description = say.text("Show the customer")
        self.names.description = say.text("Show the name")
        with self.frame.quietly():
            kept, mode = self.channel.value, self.mode.value
            words = (say.text("on the telephone"), say.text("in the branch"))
            self.channel.options = list(zip(words, offer_desk_data.CHANNELS, strict=True))
            self.mode.options = [(say.text("Offers"), "desk"), (say.text("Product match"), "match")]
            self.channel.value, self.mode.value = kept, mode
        self.match.of(self.loaded, None if self.prompt is None else self.prompt.customer_id)
        self._show()

    def _show(self) -> None:
        """Show the customer found, or what to do where there is none."""
        matching = self.mode.value == "match"
        self.match.root.layout.display = "" if matching else "none"
        self.body.layout.display = "none" if matching or self.prompt is None else ""
        self.names.disabled = self.prompt is None
        if matching:
            self.match.show()
        if self.prompt is None:
            words = self.say.text("Type a customer number and press Enter.")
            self.who.value = f'<p class="desk-follow">{html.escape(words)}</p>'
            self._emptied()
            return
        assert self.loaded is not None
        say, shown, loaded = self.say, self.prompt, self.loaded
        revealed = self.revealed == shown.customer_id
        line = desk_words.headline(say, shown.who, shown.customer_id, shown=revealed)
        chips = desk_words.chips(say, shown, loaded.names, dated=revealed)
        self.who.value = f'<p class="desk-who">{html.escape(line)}</p>{chips}'
        for card, offer in zip(self.offers, _cards(shown), strict=True):
            card.show(offer, dated=revealed)
        self.selling.layout.display = "" if shown.offers or shown.hints else "none"
        follow = desk_words.follow_up(say, shown.follow_up)
        nothing = say.text("No offer is worth making now.") if not shown.offers and not shown.notes else ""
        self.told.value = f'<p class="desk-follow">{html.escape(nothing or follow)}</p>'
        self._lists()

    def _emptied(self) -> None:
        """Keep nothing of a customer who is no longer on the screen."""
        self.told.value = ""
        for card in self.offers:
            card.show(None)
        for section in self.sections.values():
            section.value = ""
        self.chart.update(plots.empty("", language=self.say.code))

    def _lists(self) -> None:
        assert self.prompt is not None and self.loaded is not None
        say, shown, names = self.say, self.prompt, self.loaded.names
        currency = self.loaded.desk.company.currency
        why = layout.table(
            [("", say.text("Product")), ("", say.text("Why not"))],
            offer_desk_data.avoided(say, shown, names, currency=currency),
        )
        heads = [
            ("", say.text("When")),
            ("", say.text("Product")),
            ("", say.text("Channel")),
            ("", say.text("What came of it")),
        ]
        before = offer_desk_data.offered(say, shown, names)
        empty = f"<p>{html.escape(say.text('Nothing was offered before.'))}</p>"
        note = say.text("Beside what the customer has already.")
        self.sections["avoid"].value = layout.title(say.text("Do not offer"), note) + why
        self.sections["before"].value = layout.title(say.text("Offered before")) + (
            layout.table(heads, before) if before else empty
        )
        heads = [
            ("", say.text("Product")),
            ("", say.text("Since")),
            ("", say.text("Until")),
            ("n", say.text("Balance")),
        ]
        rows = offer_desk_data.contracts(say, shown, names)
        self.sections["contracts"].value = layout.title(say.text("What the customer has")) + layout.table(heads, rows)
        note = say.text("Point at a mark to see what it is.")
        self.sections["timeline"].value = layout.title(say.text("Two years at a glance"), note)
        lanes = [(code, desk_words.lane(say, code)) for code in plots_desk.LANES]
        events = offer_desk_data.timeline(say, shown, names)
        drawn = plots_desk.timeline(events, lanes=lanes, language=say.code)
        origin = origins.records(say, self.loaded.desk.snapshot)
        self.chart.update(certainty.told(drawn, certainty.counted(say), origin=origin))


def _cards(shown: Prompt) -> list[Offer | None]:
    """Return what each card holds: three offers and, where an occasion points to one, a fourth."""
    found: list[Offer | None] = [*shown.offers]
    found += [None] * (desk.OFFERS - len(found))
    return [*found, shown.hints[0] if shown.hints else None]


class _OfferCard:
    """An offer on the screen, with a button for each answer."""

    def __init__(self, owner: Panel, place: int) -> None:
        self.owner, self.place, self.product_id = owner, place, ""
        self.text = widgets.HTML()
        self.buttons = {outcome: widgets.Button() for outcome in ("accepted", "refused", "later", "offered")}
        for outcome, button in self.buttons.items():
            button.on_click(owner.frame.guarded(lambda *_, said=outcome: owner.answer(place, said)))
        self.buttons["accepted"].add_class("desk-yes")
        row = widgets.Box(list(self.buttons.values()))
        row.add_class("desk-buttons").add_class("crm-needs-change")
        self.root = layout.card(self.text, row)
        self.root.add_class("desk-offer")

    def show(self, offer: Offer | None, *, dated: bool = False) -> None:
        """Show an offer in words, with the days of birthdays where ``dated``; hide the card where there is none."""
        self.root.layout.display = "flex" if offer else "none"
        if offer is None or self.owner.loaded is None:
            self.text.value, self.product_id = "", ""
            return
        say, loaded, self.product_id = self.owner.say, self.owner.loaded, offer.product_id
        name = loaded.names[offer.product_id]
        words = (say.text("Agreed"), say.text("Declined"), say.text("Later"), say.text("Offered, no answer"))
        for (outcome, button), word in zip(self.buttons.items(), words, strict=True):
            button.description, button.tooltip = word, f"{name}: {desk_words.outcome(say, outcome)}"
        currency = loaded.desk.company.currency
        worth = say.text(
            "{chance} likely to take it, worth {money}",
            chance=say.percent(offer.probability),
            money=say.money(offer.value_minor, currency, 2 if offer.value_minor < 10_000 else 0),
        )
        ends = {"low": say.percent(offer.low), "high": say.percent(offer.high)}
        span = say.text("90% interval of the chance: {low} to {high}", **ends)
        reasons = [
            f"<li>{html.escape(wording.reason(say, one, currency=currency, products=loaded.names))}</li>"
            for one in offer.reasons
        ]
        fitting = [
            f'<li class="desk-why">{html.escape(desk_words.occasion(say, one, dated=dated))}</li>'
            for one in offer.occasions
        ]
        title = f"{offer.rank}. {name}" if offer.rank else name
        self.text.value = f'{layout.title(title)}<p class="desk-worth">{html.escape(worth)}<br><small>{html.escape(span)}</small></p><ul>{"".join(fitting + reasons)}</ul>'
