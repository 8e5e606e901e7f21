"""Leaving in words: what counts as leaving, in full, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmlib.views import retention_words, wording
from crmlib.views.texts import Language, later

_COVARIATES = {
    "contracts_doubled": later("twice as many contracts"),
    "activity_doubled": later("twice as many transactions"),
    "fees_doubled": later("twice as many fees"),
    "complaint_last_quarter": later("a complaint in the last three months"),
    "details_changed_last_quarter": later("own details changed in the last three months"),
    "detractor": later("would not recommend us"),
    "ten_years_older": later("ten years older"),
}


def definition(say: Language, given: Mapping[str, Any]) -> list[str]:
    """Return what counts as leaving (``churn.definitions.described``) in sentences.

    >>> from crmlib.views.texts import speak
    >>> given = {"code": "leaving_relationship", "reasons": [{"reason": "price", "values": ["price"]}]}
    >>> definition(speak("en"), given)
    ['A customer leaves on the day the whole relationship ends.', 'Reasons told apart: the price.']
    """
    told = {"leaving_holding": _holding, "leaving_fading": _fading}.get(str(given["code"]), _relationship)(say, given)
    names = [retention_words.reason(say, one["reason"]) for one in given["reasons"]]
    return [*told, say.text("Reasons told apart: {reasons}.", reasons=", ".join(names))]


def covariate(say: Language, name: str) -> str:
    """Return a covariate of the hazards in words.

    >>> from crmlib.views.texts import speak
    >>> covariate(speak("ru"), "ten_years_older")
    'старше на десять лет'
    """
    return say.text(_COVARIATES[name]) if name in _COVARIATES else wording.value(say, name)


def _relationship(say: Language, given: Mapping[str, Any]) -> list[str]:
    return [say.text("A customer leaves on the day the whole relationship ends.")]


def _holding(say: Language, given: Mapping[str, Any]) -> list[str]:
    what = wording.value(say, str(given["product_id"] or given["product_group"]))
    told = say.text("A customer leaves on the day the last contract ends: {what}.", what=what)
    if not given["renewed_within_days"]:
        return [told]
    renewed = say.plural(
        "Who opens another one within {n} day has renewed, not left.",
        "Who opens another one within {n} days has renewed, not left.",
        given["renewed_within_days"],
    )
    return [told, renewed]


def _fading(say: Language, given: Mapping[str, Any]) -> list[str]:
    days = given["window_days"]
    if given["share"]:
        told = say.plural(
            "A customer leaves on the day when the transactions of the last {n} day fall to {share} of the own usual number, or below.",
            "A customer leaves on the day when the transactions of the last {n} days fall to {share} of the own usual number, or below.",
            days,
            share=say.percent(given["share"], 0),
        )
    else:
        told = say.plural(
            "A customer leaves after {n} day in a row without a transaction.",
            "A customer leaves after {n} days in a row without a transaction.",
            days,
        )
    usual = say.text(
        "Only customers with at least {fewest} transactions in the {days} days before can leave in this sense.",
        fewest=say.number(given["fewest"]),
        days=say.number(given["before_days"]),
    )
    ignored = ", ".join(wording.value(say, name) for name in given["left_out"])
    return [told, usual, *([say.text("Not counted: {categories}.", categories=ignored)] if ignored else [])]
