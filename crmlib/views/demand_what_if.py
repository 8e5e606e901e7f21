"""The card in which a person tries another price or a promotion on the forecast."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions import promotion_plan
from crmlib.views import certainty, demand_parts, layout, origins, plots, plots_demand
from crmlib.views import demand_words as words
from crmlib.views.demand_data import Chosen, Loaded
from crmlib.views.frame import Frame
from crmlib.views.texts import Language

CHANGE = 40
"""Prices are tried up to so many percent up or down: beyond, nothing like it was ever seen."""


class WhatIfCard:
    """The widgets of the card; nothing is stored, what is tried is gone with the page."""

    def __init__(self, framed: Frame) -> None:
        self.frame = framed
        self.loaded: Loaded | None = None
        self.chosen: Chosen | None = None
        wide = {"width": "auto"}
        self.title, self.told = widgets.HTML(), widgets.HTML()
        self.price = widgets.IntSlider(min=-CHANGE, max=CHANGE, step=5, value=-10, continuous_update=False, layout=wide)
        self.price.add_class("crm-slider")
        self.promoted = widgets.Checkbox(indent=False)
        self.first, self.last = widgets.Dropdown(layout=wide), widgets.Dropdown(layout=wide)
        self.labels = {name: widgets.Label() for name in ("price", "first", "last")}
        self.chart = framed.chart("what_if")
        for control in (self.price, self.promoted, self.first, self.last):
            control.observe(framed.guarded(self._draw), "value")
        self._asked = layout.controls(*[(self.labels[name], getattr(self, name)) for name in self.labels])
        self._asked.add_class("crm-inner")
        self.root = layout.card(self.title, self._asked, layout.bar(self.promoted), self.chart, self.told)

    def settings(self) -> dict[str, Any]:
        """Return what is tried."""
        return {"price": self.price.value, "promoted": self.promoted.value}

    def apply(self, settings: dict[str, Any]) -> None:
        """Put back what was tried; called while the frame is quiet."""
        price = settings.get("price")
        self.price.value = int(price) if isinstance(price, int | float) and abs(price) <= CHANGE else self.price.value
        self.promoted.value = bool(settings.get("promoted"))

    def reword(self, say: Language) -> None:
        """Say everything in a language; the values stay."""
        self.title.value = layout.title(
            say.text("What if the price changes or a promotion runs?"),
            say.text("From the effects measured in the past, with their uncertainty. The rest stays as planned."),
        )
        self.labels["price"].value = say.text("Price against the plan, percent")
        self.labels["first"].value, self.labels["last"].value = say.text("From"), say.text("To")
        self.promoted.description = say.text("with a promotion (display, advertising)")

    def show(self, loaded: Loaded, chosen: Chosen) -> None:
        """Show the card for a series."""
        other = self.chosen is None or (chosen.level, chosen.series_id) != (self.chosen.level, self.chosen.series_id)
        self.loaded, self.chosen = loaded, chosen
        with self.frame.quietly():
            days = [words.period(self.frame.say, chosen.step, day).split(" – ")[0] for day in chosen.forecast["period"]]
            for control, start in ((self.first, 0), (self.last, min(1, len(days) - 1))):
                kept = None if other else control.value
                control.options = [(day, place) for place, day in enumerate(days)]
                if days:
                    control.value = kept if kept is not None and kept < len(days) else start
        self._draw()

    def _draw(self) -> None:
        loaded, chosen, say = self.loaded, self.chosen, self.frame.say
        if loaded is None or chosen is None:
            return
        why = refused(say, loaded, chosen)
        self._asked.layout.display = self.promoted.layout.display = self.chart.layout.display = "none" if why else ""
        if why:
            self.chart.update(plots.empty("", language=say.code))
            self.told.value = f'<p class="crm-note">{html.escape(why)}</p>'
            return
        found = outcome(
            loaded, chosen, price=1 + self.price.value / 100, promoted=self.promoted.value, span=self._span()
        )
        unit = demand_parts.unit(say, loaded, chosen)
        drawn = plots_demand.what_if(found.table, unit=unit, language=say.code)
        self.chart.update(certainty.told(drawn, certainty.interval(say, 80), origin=_origin(say, loaded)))
        self.told.value = told(say, loaded, chosen, found)

    def _span(self) -> tuple[int, int]:
        first, last = int(self.first.value or 0), int(self.last.value or 0)
        return min(first, last), max(first, last)


def _origin(say: Language, loaded: Loaded) -> str:
    made = [origins.line(say, loaded.score_set)]
    return " · ".join([*made, origins.briefly(say, loaded.effects_set)] if loaded.effects_set is not None else made)


def refused(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    """Return why nothing can be tried on a series, "" where it can."""
    reasons = (
        (loaded.source == "contracts", say.text("What a price or a promotion does to contracts is not estimated.")),
        (not chosen.product_id, say.text("Choose one product: effects are estimated product by product.")),
        (
            loaded.effects is None,
            say.text("The effects of price and promotion have not been estimated yet; run `crm effects`."),
        ),
        (
            chosen.step not in ("week", "month"),
            say.text("Choose weeks or months: effects are measured by week."),
        ),
        (chosen.unsure, say.text("How sure this forecast is cannot be told, so nothing can be tried on it.")),
        (
            loaded.effect(chosen).empty,
            say.text("Nothing is known of the effects on this product: its price never changed, or it is too new."),
        ),
    )
    return next((why for refuses, why in reasons if refuses), "")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a person tried. Attributes: ``table`` of ``promotion_plan.what_if``; ``profit`` of ``profit_if``, None where the
    price or cost of the product is not known; ``span`` first and last period changed, by place."""

    table: pd.DataFrame
    profit: pd.Series | None
    span: tuple[int, int]


def outcome(loaded: Loaded, chosen: Chosen, *, price: float, promoted: bool, span: tuple[int, int]) -> Outcome:
    """Return what another price (ratio to the usual one) or a promotion would do to a series in some of its periods."""
    assert loaded.effects is not None
    forecast = chosen.forecast
    periods = list(forecast["period"].iloc[span[0] : span[1] + 1])
    asked = {"price_ratio": price, "promoted": float(promoted), "periods": periods}
    table = promotion_plan.what_if(forecast, loaded.effects, **asked)  # type: ignore[arg-type]
    product = chosen.product_id
    own = loaded.economics[loaded.economics["product_id"] == product]
    if own[["price_minor", "cost_minor"]].notna().all(axis=1).sum() != 1 or (price == 1 and not promoted):
        return Outcome(table, None, span)
    # Of the products that it would take sales from, those count that the forecast has in the same place.
    beside = loaded.beside(chosen)
    cross = None if loaded.cross is None else loaded.cross[loaded.cross["product_id"].isin(loaded.priced)]
    about = {"product_id": product, "economics": loaded.economics, "cross": cross}
    profit = promotion_plan.profit_if(beside, loaded.effects, **about, **asked)  # type: ignore[arg-type]
    return Outcome(table, profit.iloc[0], span)


def told(say: Language, loaded: Loaded, chosen: Chosen, found: Outcome) -> str:
    """Return what the outcome says, as HTML: sales, profit, and what to mind."""
    inside = found.table.iloc[found.span[0] : found.span[1] + 1]
    usual, mean = float(inside["usual"].sum()), float(inside["mean"].sum())
    values = {"usual": say.number(usual), "mean": say.number(mean)}
    ends = {
        "low": words.signed(say, inside["ratio_low"].mean() - 1),
        "high": words.signed(say, inside["ratio_high"].mean() - 1),
    }
    change = words.signed(say, mean / usual - 1) if usual > 0 else "–"
    lines = [
        say.text(
            "{mean} instead of {usual}: {change} (95% interval of the effect {low} to {high}).",
            change=change,
            **values,
            **ends,
        )
    ]
    if found.profit is not None:
        lines.append(_earned(say, loaded, found.profit))
    codes = dict.fromkeys([*inside["codes"].iloc[0], *(found.profit["codes"] if found.profit is not None else ())])
    tried = bool((inside["ratio"] != 1).any())
    if tried and chosen.product_id not in loaded.priced:
        codes["no_cost"] = None
    if _planned(chosen, inside["period"]):
        codes["promotion_planned"] = None
    minded = "".join(f'<p class="crm-note">{html.escape(words.mind(say, code))}</p>' for code in codes)
    if tried:
        clauses = ", ".join(words.assumed(say, code) for code in promotion_plan.ASSUMED)
        lines.append(say.text("Taken for granted: {clauses}.", clauses=clauses))
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines) + minded


def _earned(say: Language, loaded: Loaded, profit: pd.Series) -> str:
    currency = loaded.company.currency
    ends = {name: say.money(profit[f"profit_minor_{name}"], currency) for name in ("low", "high")}
    return say.text(
        "Profit changes by {profit} (95% interval {low} to {high}), before fixed costs; it pays with probability {chance}.",
        profit=say.money(profit["profit_minor"], currency),
        chance=say.percent(profit["chance"], 0),
        **ends,
    )


def _planned(chosen: Chosen, periods: pd.Series) -> bool:
    """Return whether a promotion is planned in one of the periods already."""
    if chosen.future.empty or "promotion" not in chosen.future:
        return False
    own = chosen.future[chosen.future["period"].isin(periods)]
    return bool((own["promotion"].fillna(0) > 0).any())
