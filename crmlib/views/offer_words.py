"""Rows of the decision log of best offers in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crmlib.views import campaign_words, wording
from crmlib.views.texts import Language, later

_RANKED = {
    "outranked": later("a better offer took its place: it would win with {flip} more"),
    "other_channel": later("offered by another channel: this one would win with {flip} more"),
    "scarce": later("worth less than the scarce {resource} it would take: it lacks {flip}"),
    "unprofitable": later("the contact costs more than it is expected to bring: it lacks {flip}"),
    "household": later("the household's contacts went to better offers: it lacks {flip}"),
    "rounding": later("equally good offers got the last place"),
}


def row(say: Language, told: Mapping[str, Any], *, products: Mapping[str, str], currency: str) -> str:
    """Return one row of the log as a sentence; ``products`` are their names.

    >>> from crmlib.views.texts import speak
    >>> told = {"decision": "dropped", "code": "left", "products": "", "channel": "call"}
    >>> row(speak("en"), told, products={}, currency="EUR")
    'Not by call: no longer a customer'
    """
    if told["decision"] == "dropped":
        why = campaign_words.refusal(say, told["code"])
        if told["products"]:
            named = ", ".join(products.get(name, name) for name in told["products"].split(", "))
            return say.text("Not {products}: {why}", products=named, why=why)
        return say.text("Not by {channel}: {why}", channel=wording.value(say, told["channel"]), why=why)
    values = {
        "product": products.get(told["product_id"], told["product_id"]),
        "channel": wording.value(say, told["channel"]),
        "worth": say.money(told["value_minor"], currency, 2),
        "flip": say.money(told["flip_minor"], currency, 2),
    }
    if told["decision"] == "offered":
        return say.text(
            "Offered: {product} by {channel}, worth {worth}; it would lose its place with {flip} less", **values
        )
    why = say.text(_RANKED[told["code"]]).replace("{flip}", values["flip"])
    if told["code"] == "scarce":
        why = why.replace("{resource}", _resource(say, told["detail"], products))
    return say.text("Considered: {product} by {channel}, worth {worth}; {why}", **values, why=why)


def _resource(say: Language, detail: str, products: Mapping[str, str]) -> str:
    told = json.loads(detail)
    name = str(told["name"])
    if told["resource"] == "budget":
        return say.text("budget")
    return products.get(name, name) if told["resource"] == "supply" else wording.value(say, name)
