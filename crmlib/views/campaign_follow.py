"""The part of the campaigns dashboard that follows them: all in a calendar, and how one goes on day by day."""

from __future__ import annotations

import datetime as dt
import html

import ipywidgets as widgets

from crmlib.errors import CrmError
from crmlib.views import campaign_tables, campaigns_data, error_words, layout, plots, plots_campaigns, texts
from crmlib.views import campaign_words as words
from crmlib.views.campaigns_data import Loaded, Measured
from crmlib.views.frame import Frame

SHOWN = 24
"""Campaigns in the calendar, the newest ones."""

_LINES = ("contacted", "refused", "bought")


class Following:
    """The widgets of this part; ``chosen`` is the campaign followed."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.loaded: Loaded | None = None
        self.chosen, self.label = widgets.Dropdown(layout={"width": "auto"}), widgets.Label()
        self.counts = widgets.HTML()
        self.titles = {name: widgets.HTML() for name in ("calendar", *_LINES)}
        self.charts = {name: frame.chart(name) for name in self.titles}
        self.chosen.observe(frame.guarded(self.draw), "value")
        cards = {name: layout.card(title, self.charts[name]) for name, title in self.titles.items()}
        calendar = layout.charts(cards["calendar"], columns=1)
        lines = layout.charts(*[cards[name] for name in _LINES])
        self.root = widgets.VBox([calendar, layout.controls((self.label, self.chosen)), self.counts, lines])

    def offer(self, loaded: Loaded) -> None:
        """Say everything in the language chosen and offer the campaigns that have begun."""
        self.loaded = loaded
        self.label.value = self.chosen.tooltip = self.frame.say.text("Choose a campaign to follow")
        offer(self.chosen, loaded)

    def draw(self) -> None:
        """Show the calendar and the campaign chosen."""
        assert self.loaded is not None
        self._calendar(self.loaded)
        say = self.frame.say
        heads = {
            "contacted": (say.text("Contacted so far"), say.text("Share of each arm that was reached.")),
            "refused": (say.text("Refused so far"), say.text("Share of each arm that said no.")),
            "bought": (say.text("Bought so far"), say.text("The gap to the control group is what counts.")),
        }
        for name, head in heads.items():
            self.titles[name].value = layout.title(*head)
        found = measured(say, self.loaded, self.chosen.value)
        if isinstance(found, str):
            self.counts.value = f'<div class="crm-note" role="status">{html.escape(found)}</div>'
            for name in _LINES:
                self.charts[name].update(plots.empty("–", language=say.code))
            return
        arms = {arm: words.arm_of(say, arm, self.loaded.products) for arm in set(found.progress["arm"])}
        for name in _LINES:
            drawn = plots_campaigns.progress(found.progress, column=name, words=arms, language=say.code)
            self.charts[name].update(drawn)
        self.counts.value = layout.tiles(campaign_tables.progress_tiles(say, found))

    def _calendar(self, loaded: Loaded) -> None:
        say, today = self.frame.say, loaded.snapshot.as_of
        table = campaigns_data.calendar_table(loaded)
        first = max([today, *table["starts_on"]]) - dt.timedelta(days=400)
        shown = table[table["ends_on"] >= first].sort_values("starts_on").tail(SHOWN)
        states = {code: words.state(say, code) for code in set(table["state"])}
        note = say.text("The dotted line is the last day with records; hover over a bar for its dates.")
        self.titles["calendar"].value = layout.title(say.text("Campaign calendar"), note)
        drawn = plots_campaigns.gantt(shown, words=states, language=say.code, today=today)
        empty = plots.empty(say.text("No campaign is planned yet, and the warehouse holds none."), language=say.code)
        self.charts["calendar"].update(drawn if len(shown) else empty)


def offer(control: widgets.Dropdown, loaded: Loaded) -> None:
    """Offer the campaigns that can be measured, keeping the one chosen."""
    begun = campaigns_data.measurable(loaded)
    options, kept = list(zip(begun["name"], begun["campaign_id"], strict=True)), control.value
    control.options = options
    if options:
        control.value = kept if kept in set(begun["campaign_id"]) else options[0][1]


def measured(say: texts.Language, loaded: Loaded, campaign_id: str | None) -> Measured | str:
    """Return what came of a campaign, or in words why that cannot be said."""
    if not campaign_id:
        return say.text("No campaign has begun yet: there is nothing to measure.")
    try:
        return campaigns_data.measure(loaded, campaign_id)
    except CrmError as error:
        return error_words.words(say, error)
