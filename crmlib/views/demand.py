"""The dashboard of demand: how much will be wanted, where and when, how sure that is, and what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from crmlib.store import overrides
from crmlib.views import demand_data, demand_parts, layout, origins, plots, texts
from crmlib.views import demand_words as words
from crmlib.views.demand_data import Chosen
from crmlib.views.demand_override import OverrideCard
from crmlib.views.demand_what_if import WhatIfCard
from crmlib.views.frame import Frame

CHARTS = ("path", "errors", "added", "plans", "hierarchy")
CSS = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
YEARS = (1, 2, 0)
_LONGEST_SEARCH = 64


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of demand: a series and its forecast, errors so far, plans, what-if, overrides, download.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves.

    ``seen`` is the customer whose series is shown: each look at one customer's demand is on record.
    """

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: demand_data.Loaded | None = None
        self.chosen: Chosen | None = None
        self.seen = ""
        self.frame = Frame(
            texts.later("Demand"),
            data=data,
            dashboard="demand",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: demand_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        self.step, self.what, self.where, self.years = (widgets.Dropdown(layout=wide) for _ in range(4))
        self.find = widgets.Text(layout=wide)
        self.labels = {name: widgets.Label() for name in ("step", "find", "what", "where", "years")}
        self.tiles = widgets.HTML()
        self.titles, self.notes = ({name: widgets.HTML() for name in CHARTS} for _ in range(2))
        self.charts = {name: self.frame.chart(name) for name in CHARTS}
        self.downloads = {name: widgets.Button().add_class("crm-needs-export") for name in ("series", "level")}
        self.overriding = OverrideCard(self.frame, data, self._draw)
        self.trying = WhatIfCard(self.frame)
        for control in (self.step, self.what, self.where, self.years, self.find):
            control.observe(self.frame.guarded(self._draw), "value")
        for name, button in self.downloads.items():
            button.on_click(self.frame.guarded(lambda name=name: self._export(name)))
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _card(self, name: str) -> widgets.Widget:
        return layout.card(self.titles[name], self.charts[name], self.notes[name])

    def _arranged(self) -> list[widgets.Widget]:
        chosen = layout.controls(*[(self.labels[name], getattr(self, name)) for name in self.labels])
        chosen.add_class("crm-demand")
        rows = [
            [self._card("path")],
            [self.trying.root, self.overriding.root],
            [self._card("errors"), self._card("added")],
            [self._card("plans"), self._card("hierarchy")],
        ]
        cards = [layout.charts(*row, columns=len(row)) for row in rows]
        for card in cards:
            card.add_class("crm-stacked")  # names beside the charts need the width of a narrow screen
        return [widgets.HTML(CSS), chosen, self.tiles, *cards, layout.bar(*self.downloads.values())]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = None
        self.loaded = demand_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?level=product_region_week&series=milk/North, or ?product=milk&step=week."""
        assert self.loaded is not None
        settings = self._settings()
        if "level" in query and "series" in query:
            found = self.loaded.option_of(query["level"], query["series"])
            if found:
                settings |= dict(zip(("step", "what", "where"), found, strict=True))
        if query.get("step") in self.loaded.steps:
            settings["step"] = query["step"]
        if "product" in query:
            settings["what"] = f"product_id={query['product']}"
        for name, column in (("region", "region"), ("outlet", "outlet_id")):
            if name in query:
                settings["where"] = f"{column}={query[name]}"
        self._apply(settings)

    def _settings(self) -> dict[str, Any]:
        return {**{name: getattr(self, name).value for name in self.labels}, "what_if": self.trying.settings()}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            self.find.value = str(settings["find"])[:_LONGEST_SEARCH]
            for name in ("step", "years", "what", "where"):
                self._fill()
                control = getattr(self, name)
                if settings[name] in [code for _, code in control.options]:
                    control.value = settings[name]
            self.trying.apply(settings["what_if"])
        self._draw()

    def _export(self, name: str) -> None:
        self.frame.require("export")
        assert self.loaded is not None and self.chosen is not None
        level, series_id = self.chosen.level, self.chosen.series_id
        table = self.loaded.forecast[self.loaded.forecast["level"] == level]
        if name == "series":
            table = table[table["series_id"] == series_id]
        table = overrides.apply(table, overrides.in_force(self.data, level=level))
        content: dict[str, Any] = {"score_set_id": self.loaded.score_set.score_set_id, "level": level}
        if name == "series":
            # The record outlives the customer: which one it was stands in the entry of the look, as a pseudonym.
            content["series_id"] = "one customer's" if "customer_id" in self.chosen.keys else series_id
        path = self.frame.take(
            table.sort_values(["series_id", "period"]),
            name=f"demand-{level}".replace("_", "-"),
            purpose="demand",
            format="csv",
            content=content,
        )
        self.frame.tell(
            self.say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(table), name=path.name)
        )

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        named = {
            "step": say.text("Step of time"),
            "find": say.text("Find a product or place"),
            "what": say.text("Product"),
            "where": say.text("Where"),
            "years": say.text("History shown"),
        }
        for name, words_ in named.items():
            self.labels[name].value = words_
        self.find.placeholder = say.text("part of a name")
        self.downloads["series"].description = say.text("Download this forecast as CSV")
        self.downloads["level"].description = say.text("Download all of this level as CSV")
        self.overriding.reword(say)
        self.trying.reword(say)
        with self.frame.quietly():
            _fill(self.step, [(words.step(say, code), code) for code in loaded.steps])
            self._fill()
        parts = [*origins.scores(say, loaded.score_set), say.text("scores {n}", n=loaded.score_set.score_set_id)]
        if loaded.effects_set is not None:
            parts.append(origins.briefly(say, loaded.effects_set))
        self.frame.origin(parts, as_of=loaded.as_of)
        self._draw()

    def _fill(self) -> None:
        """Offer the products and places that the step has, those that the search finds; keep what was chosen."""
        assert self.loaded is not None
        say, loaded, step = self.say, self.loaded, self.step.value
        spans = [(words.periods(say, step, n * demand_data.PAST_PERIODS.get(step, 48)), n) for n in YEARS if n]
        _fill(self.years, [*spans, (say.text("all there is"), 0)])
        every = say.text("All products"), say.text("Everywhere")
        what = [(self._named(code, every[0]), code) for code in loaded.what(step)]
        _fill(self.what, self._found(what))
        where = [(self._named(code, every[1]), code) for code in loaded.where(step, self.what.value)]
        _fill(self.where, self._found(where))

    def _named(self, code: str, every: str) -> str:
        assert self.loaded is not None
        if not code:
            return every
        name = self.loaded.name(code)
        return self.say.text("Group: {name}", name=name) if code.startswith("product_group=") else name

    def _found(self, options: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the options with the words searched in them; all where there are none, the search means the other list."""
        wanted = self._searched()
        return [one for one in options if wanted in one[0].casefold()] or options

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        with self.frame.quietly():
            self._fill()
        for control in (self.step, self.what, self.where):
            control.disabled = len(control.options) < 2
        chosen = loaded.choose(self.step.value, self.what.value, self.where.value)
        self._see(chosen.keys.get("customer_id", ""))
        self.chosen = chosen
        every = overrides.table(self.data)
        rows = every[(every["level"] == chosen.level) & (every["series_id"] == chosen.series_id)]
        for name, part in demand_parts.parts(say, loaded, chosen, years=self.years.value, overrides=rows).items():
            self.titles[name].value, self.notes[name].value = part.title, part.note
            self.charts[name].layout.display = "none" if part.figure is None else ""
            self.charts[name].update(plots.empty("", language=say.code) if part.figure is None else part.figure)
        held = rows[rows["in_force"]]
        final = overrides.apply(chosen.forecast, held[list(overrides.COLUMNS)])
        self.tiles.value = layout.tiles(demand_parts.tiles(say, loaded, chosen, final=final))
        self.overriding.show(chosen, rows, elsewhere=int(every["in_force"].sum()) - len(held))
        self.trying.show(loaded, chosen)
        self._say_search()

    def _see(self, customer: str) -> None:
        """Have a look at one customer's demand on record before it shows, once while it stays on the screen."""
        before, self.seen = self.seen, ""
        if customer and customer != before:
            self.frame.looked(customer)
        self.seen = customer

    def _searched(self) -> str:
        return self.find.value.casefold().strip()[:_LONGEST_SEARCH]

    def _say_search(self) -> None:
        wanted = self._searched()
        shown = [name for name, _ in (*self.what.options, *self.where.options)]
        if wanted and not any(wanted in name.casefold() for name in shown):
            self.frame.complain(
                self.say.text("Nothing here is called like {words}.", words=self.find.value.strip()[:_LONGEST_SEARCH])
            )


def _fill(control: widgets.Dropdown, options: list[tuple[str, Any]]) -> None:
    """Offer other options, and keep what was chosen where it is still there."""
    kept = control.value
    codes = [code for _, code in options]
    if list(control.options) != options:
        control.options = options
    control.value = kept if kept in codes else codes[0] if codes else None
