"""The campaigns dashboard: plan one, follow those that run, see what each really earned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from crmlib.errors import NotFoundError
from crmlib.views import campaigns_data, texts
from crmlib.views.campaign_effect import Effects
from crmlib.views.campaign_follow import Following
from crmlib.views.campaign_plan import Planning
from crmlib.views.campaigns_data import Loaded
from crmlib.views.frame import Frame

PARTS = ("plan", "follow", "effect")

_CSS = """<style>
.crm-parts .widget-toggle-button, .crm-parts button { font-size: 14px; }
.crm-parts { margin-top: 12px; }
.crm-arm { border: 0; padding: 4px 0 0; margin: 0; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.crm-panel .crm-controls input, .crm-panel .crm-controls select { height: 34px; font-size: 14px; border-radius: 6px; box-sizing: border-box; }
.crm-panel .crm-controls select[multiple] { height: 66px; }
.crm-controls .widget-text, .crm-controls .widget-datepicker, .crm-controls .widget-select-multiple { width: 100%; margin: 0; height: auto; }
.crm-panel .widget-vbox > .crm-card { margin-top: 12px; }
.crm-panel p.crm-say { font-size: 19px; font-weight: 600; line-height: 1.35; margin: 6px 0 10px; color: var(--crm-ink); }
.crm-controls .widget-button { height: 34px; border-radius: 6px; margin: 0; }
</style>"""


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the campaigns dashboard; ``data`` is the data folder, ``language`` "en" or "ru"."""
    return Panel(Path(data), language).root


class Panel:
    """The dashboard's three parts, one shown at a time; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: Loaded | None = None
        self.frame = Frame(
            texts.later("Campaigns"),
            data=data,
            dashboard="campaigns",
            language=language,
            load=self._load,
            draw=self._draw,
            newest=lambda: campaigns_data.newest(data),
            asked=self._asked,
            came=self._came,
            settings=self._settings,
            apply=self._apply,
        )
        self.part = widgets.ToggleButtons(options=list(PARTS))
        self.part.add_class("crm-parts")
        self.planning = Planning(self.frame, stored=self._stored)
        self.form = self.planning.form
        self.following, self.effects = Following(self.frame), Effects(self.frame)
        self.shown: dict[str, Planning | Following | Effects] = {
            "plan": self.planning,
            "follow": self.following,
            "effect": self.effects,
        }
        self.part.observe(self.frame.guarded(self._turned), "value")
        self.root = self.frame.show(widgets.HTML(_CSS), self.part, *[one.root for one in self.shown.values()])

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        first = self.loaded is None
        self.loaded = campaigns_data.load(self.data)
        with self.frame.quietly():
            if first:
                self.planning.begin(self.loaded)
            self.planning.follow(self.loaded)

    def _came(self) -> None:
        self.planning.came()

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.frame.origin([say.text("warehouse version {n}", n=loaded.warehouse.version)], as_of=loaded.snapshot.as_of)
        with self.frame.quietly():
            part = self.part.value
            named = (say.text("Plan"), say.text("Follow"), say.text("Effect"))
            self.part.options = list(zip(named, PARTS, strict=True))
            self.part.value = part or "plan"
            for one in self.shown.values():
                one.offer(loaded)
        self._turned()

    def _turned(self) -> None:
        for name, one in self.shown.items():
            one.root.layout.display = "" if name == self.part.value else "none"
        self.shown[self.part.value].draw()

    def _stored(self) -> None:
        """Something was recorded: read the plans anew and offer them everywhere."""
        self.loaded = campaigns_data.load(self.data)
        with self.frame.quietly():
            self.planning.follow(self.loaded)
            for one in self.shown.values():
                one.offer(self.loaded)

    def _asked(self, query: dict[str, str]) -> None:
        """The address asked for an audience, a product or a part of the page."""
        assert self.loaded is not None
        if query.get("part") in PARTS:
            self.part.value = query["part"]
        with self.frame.quietly():
            number = query.get("audience", "")
            if number:
                known = set(self.loaded.audiences["audience_id"].astype(str))
                if number not in known:
                    raise NotFoundError(self.say.text("There is no saved audience {n}.", n=number))
                self.form.audience.value = int(number)
            if query.get("product") in set(self.loaded.products["product_id"]):
                self.form.arms[0].product.value = query["product"]
        self._turned()

    def _settings(self) -> dict[str, Any]:
        return {"part": self.part.value, "measured": self.effects.chosen.value, "form": self.form.settings()}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            self.planning.forget()
            self.form.apply(settings["form"])
            self.effects.choose(settings["measured"])
            self.part.value = settings["part"]
        self._turned()
