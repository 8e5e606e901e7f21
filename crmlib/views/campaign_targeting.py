"""The campaign targeting dashboard: whom to contact about a product, and where contacting more stops paying."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions.call_list import affordable
from crmlib.errors import NotFoundError
from crmlib.views import layout, listing, origins, plots, targeting, texts
from crmlib.views.frame import Frame
from crmlib.views.targeting import Targeting
from crmlib.views.targeting_prepared import Choice

_ANY = ""  # the channel that earns most


def panel(data: str | Path, *, product: str = "", language: str = "en") -> widgets.Widget:
    """Return the campaign targeting panel: choose a product, see whom to contact, and take the list along.

    ``data`` is the data folder, ``product`` the product_id to begin with (default: the first with a list), ``language``
    "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), product, language).root


class Panel:
    """The widgets of the campaign targeting panel; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, product: str, language: str) -> None:
        self.data, self.product = data, product
        self.loaded: Targeting | None = None
        self.choice: Choice | None = None
        style = {"description_width": "0px"}
        wide = {"width": "auto"}
        self.frame = Frame(
            texts.later("Campaign targeting"),
            data=data,
            dashboard="campaign_targeting",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: targeting.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        self.tiles = widgets.HTML()
        self.names = {name: widgets.Label() for name in ("product", "channel", "cutoff", "budget")}
        self.products = widgets.Dropdown(layout=wide)
        self.channels = widgets.Dropdown(layout=wide)
        self.cutoff = widgets.IntSlider(readout=False, layout=wide, style=style)
        self.budget = widgets.IntSlider(readout=False, layout=wide, style=style)
        self.titles = {name: widgets.HTML() for name in ("profit", "gains", "reasons")}
        self.charts = {name: self.frame.chart(name) for name in self.titles}
        self.listing = listing.Listing(self._take)
        guarded = self.frame.guarded
        self.products.observe(guarded(self._chosen), "value")
        self.channels.observe(guarded(self._chosen), "value")
        self.cutoff.observe(guarded(self._moved), "value")
        self.budget.observe(guarded(self._spent), "value")
        pairs = {"product": self.products, "channel": self.channels, "cutoff": self.cutoff, "budget": self.budget}
        chosen = layout.controls(*[(self.names[name], control) for name, control in pairs.items()])
        cards = [layout.card(self.titles[name], chart) for name, chart in self.charts.items()]
        self.root = self.frame.show(chosen, self.tiles, layout.charts(*cards), self.listing.root)

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = self.choice = None
        self.loaded = targeting.load(self.data)
        if self.loaded.products.empty:
            raise NotFoundError(self.say.text("No product has both scores and a margin; give margins in company.toml."))
        known = self.loaded.products
        unknown = self.product if self.product not in {"", *known["product_id"]} else ""
        kept = self.products.value or self.product or known["product_id"].iloc[0]
        with self.frame.quietly():
            self.products.options = list(zip(known["name"], known["product_id"], strict=True))
            self.products.value = kept if kept in set(known["product_id"]) else known["product_id"].iloc[0]
        if unknown:
            self.frame.complain(self.say.text("There is no product {product} among those scored.", product=unknown))

    def _asked(self, query: dict[str, str]) -> None:
        product = query.get("product", "")
        if product in dict(map(reversed, self.products.options)):
            self.products.value = product
        elif product:
            self.frame.complain(self.say.text("There is no product {product} among those scored.", product=product))

    def _settings(self) -> dict[str, Any]:
        return {"product": self.products.value, "channel": self.channels.value, "cutoff": self.cutoff.value}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            self.products.value, self.channels.value = settings["product"], settings["channel"]
        self._chosen()
        self.cutoff.value = min(int(settings["cutoff"]), self.cutoff.max)

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say = self.say
        self._origin()
        self.names["product"].value = say.text("Choose a product")
        self.names["channel"].value = say.text("Channel")
        with self.frame.quietly():
            kept = self.channels.value or _ANY
            words = [(texts.channel(name, say.code), name) for name in self.loaded.channels]
            self.channels.options = [(say.text("the one that earns most"), _ANY), *words]
            self.channels.value = kept if kept in dict(map(reversed, self.channels.options)) else _ANY
        self._chosen(keep=self.choice is not None)

    def _chosen(self, *, keep: bool = False) -> None:
        """Count the product and channel chosen, and begin at the best cut-off."""
        assert self.loaded is not None
        wanted = (self.products.value, self.channels.value)
        if not (keep and self.choice and self.choice.product_id == wanted[0]):
            self.choice = targeting.choose(self.loaded, wanted[0], wanted[1] or None)
            with self.frame.quietly():
                number = len(self.choice.ranked)
                self.cutoff.max = number  # a step above 1 would move the best cut-off to its next multiple
                self.cutoff.value = self.choice.best
                self.budget.max = max(1, self._whole(self.choice.curve["cost_minor"].iloc[-1]))
        self._moved()

    def _whole(self, minor: float) -> int:
        """Return an amount in whole units of the currency, rounded up so that it covers it."""
        assert self.loaded is not None
        return math.ceil(round(texts.major(minor, self.loaded.company.currency), 6))

    def _spent(self) -> None:
        """The budget was moved: contact as many as it pays for."""
        assert self.choice is not None and self.loaded is not None
        minor = self.budget.value / texts.major(1, self.loaded.company.currency)
        with self.frame.quietly():
            self.cutoff.value = affordable(self.choice.curve, minor)
        self._draw()

    def _moved(self) -> None:
        """The cut-off was moved: show what it costs."""
        assert self.choice is not None and self.loaded is not None
        cost = self.choice.curve["cost_minor"].iloc[self.cutoff.value]
        with self.frame.quietly():
            self.budget.value = -int(
                -texts.major(cost, self.loaded.company.currency) // 1
            )  # rounded up, so it covers it
        self._draw()

    # ---------------------------------------------------------------- what is shown

    def _origin(self) -> None:
        assert self.loaded is not None
        say, scores = self.say, self.loaded.score_set
        parts = [*origins.scores(say, scores), say.text("scores {n}", n=scores.score_set_id)]
        newer, note = self.loaded.served_version, ""
        if newer is not None and newer > scores.warehouse_version:
            note = say.text("Newer data are loaded (version {n}); score again with `crm score`.", n=newer)
        self.frame.origin(parts, as_of=scores.as_of, note=note)

    def _draw(self) -> None:
        """Show the numbers, charts and list for the present cut-off."""
        assert self.choice is not None and self.loaded is not None
        say, choice, currency = self.say, self.choice, self.loaded.company.currency
        number = int(self.cutoff.value)
        listed = min(number, choice.worth)
        at = choice.curve.iloc[number]
        contacts = say.plural("{n} contact", "{n} contacts", number)
        self.names["cutoff"].value = say.text("Cut-off: {contacts}", contacts=contacts)
        self.names["budget"].value = say.text("Budget: {money}", money=say.money(at["cost_minor"], currency))
        self.tiles.value = _tiles(say, choice, number, currency)
        for name, title in _titles(say, int(choice.explained[listed])).items():
            self.titles[name].value = layout.title(*title)
        share = float(at["expected_buyers"] / choice.buyers) if choice.buyers else 0.0
        point = (number / max(1, choice.customers), share)
        self.charts["gains"].update(_gains(self.loaded, choice.product_id, say.code, point))
        curve = targeting.thinned(choice.curve, number, choice.best)
        drawn = plots.profit_sketch(curve, currency=currency, language=say.code, cutoff=number, best=choice.best)
        self.charts["profit"].update(drawn)
        self.charts["reasons"].update(_reasons(say, choice, listed, self.loaded.names))
        self.listing.show(listing.View(say, choice, currency, self.loaded.names), listed=listed, asked=number)

    def _take(self, format: str, details: bool) -> None:
        """Export the list shown and have the browser save it."""
        self.frame.guarded(lambda: self._export(format, details))()

    def _export(self, format: str, details: bool) -> None:
        assert self.choice is not None and self.loaded is not None
        self.frame.require("export")
        details = details and self.frame.may("names")
        say, loaded, choice = self.say, self.loaded, self.choice
        now = self.frame.now()
        view = listing.View(say, choice, loaded.company.currency, loaded.names)
        rows = listing.table(view, listed=min(int(self.cutoff.value), choice.worth))
        kept, allowed = targeting.still_permitted(loaded, rows, today=now.date())
        if not details:
            kept = kept[rows.columns]
        name = f"calls-{listing.file_part(choice.product_id)}"
        about = {"cutoff": int(self.cutoff.value), "channel": self.channels.value, "details": details}
        content = _content(loaded, choice, **about)
        path = self.frame.take(
            kept, name=name, purpose="campaign targeting", format=format, content=content, permitted=allowed
        )
        self.listing.saved(say, path.name, rows=len(kept), dropped=len(rows) - len(kept))


def _titles(say: texts.Language, explained: int) -> dict[str, tuple[str, str]]:
    most = say.plural(
        "Most frequent for the best {n} customer of the list.",
        "Most frequent for the best {n} customers of the list.",
        explained,
    )
    return {
        "profit": (
            say.text("Expected profit"),
            say.text("Contacting more pays until the star; the ring is your cut-off."),
        ),
        "gains": (say.text("How well the model finds buyers"), say.text("Back test on customers it had not seen.")),
        "reasons": (say.text("What speaks for buying"), most),
    }


def _tiles(say: texts.Language, choice: Choice, number: int, currency: str) -> str:
    at = choice.curve.iloc[number]
    best = choice.curve["profit_minor"].iloc[choice.best]
    buyers = say.text("between {low} and {high}", low=say.number(at["buyers_low"]), high=say.number(at["buyers_high"]))
    low, high = (say.money(at[f"profit_{bound}_minor"], currency) for bound in ("low", "high"))
    of_best = say.text("between {low} and {high}", low=low, high=high)
    if number != choice.best:
        of_best += " · " + say.text("best: {n}", n=say.money(best, currency))
    share = number / choice.customers if choice.customers else 0.0
    each = at["cost_minor"] / number if number else 0.0
    tiles = [
        (say.text("Contacts"), say.number(number), say.text("{share} of those scored", share=say.percent(share))),
        (say.text("Expected buyers"), say.number(at["expected_buyers"]), buyers),
        (
            say.text("Cost of the contacts"),
            say.money(at["cost_minor"], currency),
            say.text("{money} each", money=say.money(each, currency, 2)),
        ),
        (say.text("Expected profit"), say.money(at["profit_minor"], currency), of_best),
    ]
    return layout.tiles(tiles)


def _gains(loaded: Targeting, product: str, language: str, mark: tuple[float, float]) -> Any:
    table = loaded.gains
    if table.empty or product not in set(table["product_id"].astype(str)):
        words = texts.speak(language).text("No back test of this product was saved.")
        return plots.empty(words, language=language)
    return plots.gains_sketch(table, language=language, product=product, mark=mark, origin=_back_test(loaded, language))


def _back_test(loaded: Targeting, language: str) -> str:
    """Return where the gains come from: the back test made when the model was trained."""
    say, model = texts.speak(language), loaded.model
    assert model is not None
    parts = [
        say.text("warehouse version {n}", n=model.warehouse_version),
        say.text("model {name} {n}", name=model.name, n=model.model_version),
    ]
    tested = model.metrics.get("dates", {}).get("test")
    if tested:
        parts.append(say.text("tested on what customers did after {day}", day=say.date(dt.date.fromisoformat(tested))))
    return " · ".join(parts)


def _reasons(say: texts.Language, choice: Choice, listed: int, products: dict[str, str]) -> Any:
    explained = int(choice.explained[listed])
    if not choice.kinds or explained == 0:
        return plots.empty(say.text("No reasons were saved for these customers."), language=say.code)
    shares = choice.counts(listed) / explained
    names = [texts.reason_kind(reason, say.code, products=products) for reason in choice.kinds]
    return plots.reasons_sketch(pd.DataFrame({"reason": names, "share": shares}), language=say.code)


def _content(loaded: Targeting, choice: Choice, *, cutoff: int, channel: str, details: bool) -> dict[str, Any]:
    scores = loaded.score_set
    return {
        "product_id": choice.product_id,
        "cutoff": cutoff,
        "channel": channel or "most profitable",
        "contact_details": details,
        "score_set_id": scores.score_set_id,
        "model": scores.model,
        "model_version": scores.model_version,
        "warehouse_version": scores.warehouse_version,
        "as_of": scores.as_of.isoformat(),
    }
