"""The product match of the offer desk: answers typed in, the list they give, and what to ask next."""

from __future__ import annotations

import html

import ipywidgets as widgets

from crmlib.decisions import match
from crmlib.decisions.match import Match, Ranking
from crmlib.decisions.match_questions import NO_PLAN, Question
from crmlib.errors import CrmError, UsageError
from crmlib.views import certainty, desk_words, layout, plots, plots_desk, texts, wording
from crmlib.views.frame import Frame
from crmlib.views.offer_desk_data import Loaded

_SHOWN = 8


class MatchPart:
    """The widgets of the match; ``root`` is to be placed, ``of`` says about whom it is, ``show`` draws it."""

    def __init__(self, owner: Frame) -> None:
        self.frame = owner
        self.loaded: Loaded | None = None
        self.opened: Match | None = None
        self.customer_id: str | None = None
        self.controls: dict[str, widgets.Widget] = {}
        self.labels: dict[str, widgets.Label] = {}
        self.pairs: dict[str, widgets.Box] = {}
        self.about, self.ask, self.reasons, self.heading = (widgets.HTML() for _ in range(4))
        self.clear = widgets.Button(layout={"width": "auto"})
        self.answers = widgets.Box()
        self.answers.add_class("desk-answers")
        self.chart = owner.chart("match")
        self.clear.on_click(owner.guarded(self._cleared))
        result = layout.charts(layout.card(self.heading, self.chart), layout.card(self.reasons), columns=2)
        result.add_class("desk-result")
        self.root = widgets.VBox([self.about, self.ask, self.answers, layout.bar(self.clear), result])

    def of(self, loaded: Loaded, customer_id: str | None) -> None:
        """Say which desk and whose history the match is about; another customer's answers are forgotten."""
        if loaded is not self.loaded:
            self.loaded, self.opened = loaded, None
        if customer_id != self.customer_id:
            self.customer_id = customer_id
            self._emptied()
            self._nothing()
            if self.opened is not None:
                self._words(self.opened, None)

    def show(self) -> None:
        """Rank for the answers on the screen and show the list and the next question."""
        say = self.frame.say
        if self.loaded is None or self.loaded.match is None:
            raise UsageError(say.text("The product match needs a model; train one with `crm train`."))
        if self.opened is None:
            self.opened = self.loaded.match()
            self._arrange(self.opened)
        self.clear.description = say.text("Clear the answers")
        whose = (
            say.text(
                "The history of customer {number} counts; type what has changed or is missing.", number=self.customer_id
            )
            if self.customer_id
            else say.text("Somebody new: type what the person tells you.")
        )
        self.about.value = f'<p class="desk-follow">{html.escape(whose)}</p>'
        try:
            found = match.rank(
                self.opened, self._given(self.opened), customer_id=self.customer_id, now=self.frame.now()
            )
        except CrmError:
            self._words(self.opened, None)
            self._nothing()
            raise
        self._words(self.opened, found)
        self._result(found)

    def _arrange(self, opened: Match) -> None:
        self.controls, self.labels, self.pairs = {}, {}, {}
        for one in opened.questions:
            label = widgets.Label()
            choices = [("", ""), *[(option, option) for option in one.options]]
            if one.kind == "choice":
                control: widgets.Widget = widgets.Dropdown(options=choices, value="")
            else:
                control = widgets.Text(continuous_update=False)
            control.observe(self.frame.guarded(self.show), "value")
            self.controls[one.name], self.labels[one.name] = control, label
            self.pairs[one.name] = widgets.Box([label, control])
        self.answers.children = list(self.pairs.values())

    def _given(self, opened: Match) -> dict[str, object]:
        found: dict[str, object] = {}
        for one in opened.questions:
            typed = str(self.controls[one.name].value or "").strip()
            if typed:
                found[one.name] = self._minor(typed) if one.kind == "money" else typed
        return found

    def _minor(self, typed: str) -> object:
        """Return an amount typed in whole units as minor units; what is no number is for the match to refuse."""
        assert self.loaded is not None
        try:
            return float(typed.replace(" ", "").replace(",", ".")) / texts.major(1, self.loaded.desk.company.currency)
        except ValueError:
            return typed

    def _words(self, opened: Match, found: Ranking | None) -> None:
        say = self.frame.say
        with self.frame.quietly():
            for one in opened.questions:
                control = self.controls[one.name]
                self.labels[one.name].value = desk_words.question(say, one.name)
                control.tooltip = desk_words.question(say, one.name)
                known = found.recorded.get(one.name) if found else None
                if one.kind == "choice":
                    kept = control.value
                    blank = say.text("on record: {value}", value=wording.value(say, known)) if known is not None else ""
                    words = [(self._option(say, option), option) for option in one.options]
                    control.options = [(blank, ""), *words]
                    control.value = kept
                else:
                    control.placeholder = self._placeholder(say, one, known)

    def _placeholder(self, say: texts.Language, one: Question, known: object) -> str:
        assert self.loaded is not None
        if known is None:
            return ""
        currency = self.loaded.desk.company.currency
        number = float(str(known))
        return say.text(
            "on record: {value}", value=say.money(number, currency) if one.kind == "money" else say.number(int(number))
        )

    def _option(self, say: texts.Language, option: str) -> str:
        return say.text("nothing in particular") if option == NO_PLAN else wording.value(say, option)

    def _result(self, found: Ranking) -> None:
        assert self.loaded is not None
        say, names, currency = self.frame.say, self.loaded.names, self.loaded.desk.company.currency
        asked = found.next
        words = (
            say.text("Ask next: {question}", question=desk_words.question(say, asked))
            if asked
            else say.text("Nothing more to ask: no answer is likely to change the first three.")
        )
        self.ask.value = f'<p class="desk-ask" role="status">{html.escape(words)}</p>'
        for name, pair in self.pairs.items():
            (pair.add_class if name == asked else pair.remove_class)("desk-next")
        worth = found.offers[found.offers["value_minor"] > 0].head(_SHOWN)
        listed = worth.assign(name=worth["product_id"].map(names))
        self.heading.value = layout.title(say.text("What fits best"), say.text("Blue: the three to show."))
        drawn = plots_desk.ranking(listed, currency=currency, language=say.code)
        why = say.text("each value is a mean over comparable customers; how far it may be off was not worked out.")
        self.chart.update(certainty.told(drawn, certainty.none(say, why)))
        blocks = [layout.title(say.text("Why"))]
        for product, reasons in found.reasons.items():
            lines = "".join(
                f"<li>{html.escape(wording.reason(say, one, currency=currency, products=names))}</li>"
                for one in reasons
            )
            blocks.append(f"<h2>{html.escape(names[product])}</h2><ul>{lines}</ul>")
        self.reasons.value = "".join(blocks)

    def _nothing(self) -> None:
        self.about.value = self.ask.value = self.reasons.value = self.heading.value = ""
        self.chart.update(plots.empty("", language=self.frame.say.code))

    def _cleared(self) -> None:
        self._emptied()
        self.show()

    def _emptied(self) -> None:
        with self.frame.quietly():
            for control in self.controls.values():
                control.value = ""
