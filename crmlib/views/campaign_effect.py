"""The part of the campaigns dashboard that says what one changed against its control group, and all together."""

from __future__ import annotations

import html

import ipywidgets as widgets

from crmlib.decisions import experiments
from crmlib.views import campaign_tables, campaigns_data, certainty, effect_words, layout, plots, plots_effects
from crmlib.views import campaign_words as words
from crmlib.views.campaign_follow import measured, offer
from crmlib.views.campaigns_data import Loaded, Measured
from crmlib.views.frame import Frame

_MEASURES = ("conversions", "profit_minor")


class Effects:
    """The widgets of this part; ``chosen`` is the campaign measured."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.loaded: Loaded | None = None
        self.chosen, self.label = widgets.Dropdown(layout={"width": "auto"}), widgets.Label()
        self.sentence, self.tiles, self.table, self.all = (widgets.HTML() for _ in range(4))
        self.titles = {name: widgets.HTML() for name in (*_MEASURES, "groups", "programme")}
        self.charts = {name: frame.chart(name) for name in _MEASURES}
        self.measure_all = widgets.Button(layout={"width": "auto"})
        self.chosen.observe(frame.guarded(self.draw), "value")
        self.measure_all.on_click(frame.guarded(self._programme))
        pictures = [layout.card(self.titles[name], chart) for name, chart in self.charts.items()]
        groups, together = (
            layout.card(self.titles["groups"], self.table),
            layout.card(self.titles["programme"], self.all),
        )
        self.root = widgets.VBox(
            [
                layout.controls((self.label, self.chosen)),
                layout.card(self.sentence),
                self.tiles,
                layout.charts(*pictures, columns=2),
                layout.charts(groups, columns=1),
                layout.charts(widgets.VBox([together, layout.bar(self.measure_all)]), columns=1),
            ]
        )

    def offer(self, loaded: Loaded) -> None:
        """Say everything in the language chosen and offer the campaigns that have begun."""
        say, self.loaded = self.frame.say, loaded
        self.label.value = self.chosen.tooltip = say.text("Choose a campaign to measure")
        self.measure_all.description = say.text("Measure all campaigns together")
        offer(self.chosen, loaded)

    def choose(self, campaign_id: str | None) -> None:
        """Choose a campaign where it is among those offered."""
        if campaign_id in {value for _, value in self.chosen.options}:
            self.chosen.value = campaign_id

    def draw(self) -> None:
        """Say what the campaign chosen changed."""
        assert self.loaded is not None
        say, currency = self.frame.say, self.loaded.company.currency
        self.titles["programme"].value = layout.title(
            say.text("All campaigns together"),
            say.text("Everybody against the universal hold-out, whom no campaign contacts."),
        )
        self.tiles.value = self.table.value = ""
        found = measured(say, self.loaded, self.chosen.value)
        if isinstance(found, str):
            self.sentence.value = f'<div class="crm-note" role="status">{html.escape(found)}</div>'
            for chart in self.charts.values():
                chart.update(plots.empty("–", language=say.code))
            return
        lines = [*self._verdicts(found, currency), self._kind(found)]
        rest = "".join(f"<p>{html.escape(line)}</p>" for line in lines[1:])
        self.sentence.value = f'<p class="crm-say">{html.escape(lines[0])}</p>{rest}'
        self.tiles.value = layout.tiles(campaign_tables.effect_tiles(say, found, currency))
        self._forest(found, currency)

    def _verdicts(self, found: Measured, currency: str) -> list[str]:
        profit = experiments.verdict(found.effects)
        buyers = experiments.verdict(found.effects, measure="conversions")
        # The whole campaign is meant, of one arm or of several: no arm's name before the sentence.
        whole = [{**one, "arm": ""} for one in (profit, buyers)]
        lines = [effect_words.sentence(one, self.frame.say.code, currency=currency) for one in whole]
        return lines[:1] if profit["code"] == buyers["code"] == "not_enough_data" else lines

    def _kind(self, found: Measured) -> str:
        say = self.frame.say
        if found.final:
            return say.text("Final: every purchase that counts could have happened by now.")
        return say.text(
            "Interim: purchases count until {day}. The interval stays valid however often you look.",
            day=say.date(found.complete_on),
        )

    def _forest(self, found: Measured, currency: str) -> None:
        assert self.loaded is not None
        say, products = self.frame.say, self.loaded.products
        titles = {"conversions": say.text("Additional buyers"), "profit_minor": say.text("Additional profit")}
        note = say.text("The best estimate with its 95% interval; one that reaches over zero is not certain.")
        arms = [words.arm_of(say, name, products) for name in found.effects["arm"]]
        shown = found.effects.assign(arm=arms)
        for name, title in titles.items():
            self.titles[name].value = layout.title(title, note)
            known = shown.loc[shown["measure"] == name, "total"].notna().any()
            drawn = plots_effects.effects(shown, currency=currency, language=say.code, measure=name)
            drawn = certainty.told(drawn, f"{certainty.interval(say, 95)} {self._kind(found)}")
            empty = plots.empty(say.text("too few purchases"), language=say.code)
            self.charts[name].update(drawn if known else empty)
        self.titles["groups"].value = layout.title(say.text("The groups"))
        heads, rows = campaign_tables.group_table(say, found, products, currency)
        self.table.value = layout.table(heads, rows)

    def _programme(self) -> None:
        assert self.loaded is not None
        say, currency = self.frame.say, self.loaded.company.currency
        found = campaigns_data.programme(self.loaded)
        if isinstance(found, str):
            self.all.value = f'<div class="crm-note" role="status">{html.escape(found)}</div>'
            return
        parts = [experiments.verdict(found), experiments.verdict(found, measure="conversions")]
        lines = [effect_words.sentence(one, say.code, currency=currency) for one in parts]
        self.all.value = f'<p class="crm-say">{html.escape(lines[0])}</p><p>{html.escape(lines[1])}</p>'
