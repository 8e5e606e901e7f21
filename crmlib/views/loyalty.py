"""The dashboard of loyalty: what customers say, who stays, what points will cost, and whom to care for now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions import small_cells
from crmlib.views import layout, loyalty_data, loyalty_parts, origins, plots, texts
from crmlib.views import loyalty_words as words
from crmlib.views.frame import Frame

MEASURES = ("retained", "revenue_minor")
_PARTS = ["promoters", "passives", "detractors"]
CHARTS = ("time", "groups", "drivers", "balance", "weights", "calibration", "cohorts", "points", "mentions")


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of loyalty: NPS with intervals, drivers, the index, cohorts, points, mentions, the work list.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves.

    ``revealed`` is what was loaded when somebody asked for what people wrote, and that was recorded; what the page claims
    of its box does not count.
    """

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: loyalty_data.Loaded | None = None
        self.revealed: loyalty_data.Loaded | None = None
        self.frame = Frame(
            texts.later("Loyalty"),
            data=data,
            dashboard="loyalty",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: loyalty_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        self.survey, self.kind, self.measure = (widgets.Dropdown(layout=wide) for _ in range(3))
        self.labels = {name: widgets.Label() for name in ("survey", "kind", "measure")}
        self.weighted = widgets.Checkbox(indent=False, value=True)
        self.quoted = widgets.Checkbox(indent=False, value=False)
        self.quoted.add_class("crm-needs-names")
        self.tiles = widgets.HTML()
        self.titles = {name: widgets.HTML() for name in (*CHARTS, "tasks")}
        self.notes = {name: widgets.HTML() for name in (*CHARTS, "tasks")}
        self.charts = {name: self.frame.chart(name) for name in CHARTS}
        self.download = widgets.Button()
        self.download.add_class("crm-needs-export")
        for control in (self.survey, self.kind, self.measure, self.weighted):
            control.observe(self.frame.guarded(self._draw), "value")
        self.quoted.observe(self.frame.guarded(self._quote), "value")
        self.download.on_click(self.frame.guarded(self._export))
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _card(self, name: str, *more: widgets.Widget) -> widgets.Widget:
        return layout.card(self.titles[name], *more, self.charts[name], self.notes[name])

    def _arranged(self) -> list[widgets.Widget]:
        chosen = layout.controls(*[(self.labels[name], getattr(self, name)) for name in ("survey", "kind", "measure")])
        time = self._card("time", layout.bar(self.weighted))
        tasks = layout.card(self.titles["tasks"], self.notes["tasks"])
        rows = [
            [time, self._card("groups")],
            [self._card("drivers"), self._card("balance")],
            [self._card("cohorts")],
            [self._card("weights"), self._card("calibration")],
            [self._card("points"), self._card("mentions", self.quoted)],
            [tasks],
        ]
        cards = [layout.charts(*row, columns=len(row)) for row in rows]
        for card in cards:
            card.add_class("crm-stacked")  # names beside the charts need the width of a narrow screen
        return [chosen, self.tiles, *cards, layout.bar(self.download)]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = self.revealed = None
        with self.frame.quietly():
            self.quoted.value = False
        self.loaded = loyalty_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?survey=service&kind=branch_id&measure=revenue_minor."""
        self._apply({**self._settings(), **{name: query[name] for name in self.labels if name in query}})

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name).value for name in (*self.labels, "weighted")}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            for name in self.labels:
                control = getattr(self, name)
                if settings[name] in [code for _, code in control.options]:
                    control.value = settings[name]
                if name == "survey":
                    self._fill_kinds()
            self.weighted.value = bool(settings["weighted"])
        self._draw()

    def _quote(self) -> None:
        """What people wrote shows when it is asked for, and who asked is on record for each customer known."""
        assert self.loaded is not None
        self.revealed = None
        try:
            if self.quoted.value:
                self.frame.require("names")
                for customer in self.loaded.quotes["customer_id"].head(loyalty_parts.QUOTED).dropna().unique():
                    self.frame.looked(str(customer), action="reveal", part="mentions")
                self.revealed = self.loaded
        finally:
            with self.frame.quietly():
                self.quoted.value = self.revealed is not None
            self._draw()

    def _export(self) -> None:
        assert self.loaded is not None
        table = _without_few(self.loaded.tables["nps"])
        content = {"score_set_id": self.loaded.score_set.score_set_id, "table": "nps"}
        path = self.frame.take(table, name="nps", purpose="loyalty", format="csv", content=content)
        self.frame.tell(
            self.say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(table), name=path.name)
        )

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.labels["survey"].value = say.text("Survey")
        self.labels["kind"].value = say.text("Compare by")
        self.labels["measure"].value = say.text("Cohorts show")
        self.weighted.description = say.text("also show the score if everybody had answered")
        self.quoted.description = say.text("show what was written; this is recorded")
        self.download.description = say.text("Download the scores as CSV")
        with self.frame.quietly():
            _fill(self.survey, [(words.survey(say, name), name) for name in loaded.surveys])
            self._fill_kinds()
            _fill(self.measure, [(words.measure(say, name), name) for name in MEASURES])
        parts = [*origins.scores(say, loaded.score_set), say.text("scores {n}", n=loaded.score_set.score_set_id)]
        self.frame.origin(parts, as_of=loaded.as_of, note=loaded.missing.get("answers", ""))
        self._draw()

    def _fill_kinds(self) -> None:
        assert self.loaded is not None
        found = self.loaded.kinds(self.survey.value) if self.survey.value else []
        _fill(self.kind, [(words.kind(self.say, name), name) for name in found])

    def _draw(self) -> None:
        assert self.loaded is not None
        with self.frame.quietly():
            self._fill_kinds()
        for control in (self.survey, self.kind):
            control.disabled = not control.options
        self.download.disabled = self.loaded.tables["nps"].empty
        self.weighted.layout.display = "" if self._is_weighted() else "none"
        chosen = {"survey": self.survey.value, "kind": self.kind.value, "measure": self.measure.value}
        chosen["quoted"] = self.revealed is self.loaded and self.frame.may("names")
        for name, part in loyalty_parts.parts(self.say, self.loaded, weighted=self.weighted.value, **chosen).items():
            self.titles[name].value, self.notes[name].value = part.title, part.note
            if name in self.charts:
                self.charts[name].layout.display = "none" if part.figure is None else ""
                if part.figure is not None or self.charts[name].figure.data:
                    self.charts[name].update(part.figure or plots.empty("", language=self.say.code))
        shown = loyalty_parts.tiles(self.say, self.loaded, survey=self.survey.value)
        self.tiles.value = layout.tiles(shown) if shown else ""

    def _is_weighted(self) -> bool:
        assert self.loaded is not None
        survey = self.survey.value
        return bool(survey) and bool(self.loaded.over_time(survey)["weighted"].notna().any())


def _without_few(table: pd.DataFrame) -> pd.DataFrame:
    """Return scores without the counts that would tell of few persons, nor those that would tell these."""
    for _, own in table.groupby(["survey", "kind"]):
        few = small_cells.hide_list(own["answers"], total="known").reindex(table.index, fill_value=False)
        table = small_cells.blank(table, ["answers", *_PARTS], few)
    small = table[_PARTS].apply(lambda count: count.between(1, small_cells.SMALLEST - 1)).any(axis=1)
    return small_cells.blank(table, _PARTS, small)


def _fill(control: widgets.Dropdown, options: list[tuple[str, str]]) -> None:
    """Offer other options, and keep what was chosen where it is still there."""
    kept = control.value
    control.options = options
    codes = [code for _, code in options]
    control.value = kept if kept in codes else codes[0] if codes else None
