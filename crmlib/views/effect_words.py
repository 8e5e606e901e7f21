"""The effect of campaigns in words: one plain sentence for each verdict of ``decisions.experiments``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmlib.decisions.experiments import ALL_ARMS
from crmlib.decisions.experiments.programme import ARM
from crmlib.views import texts
from crmlib.views.texts import Language, later

_MONEY = ("profit_minor", "revenue_minor")
_SENTENCES = {
    ("campaign", "profit_minor", "gained"): later(
        "With {confidence} confidence the campaign earned between {low} and {high}; the best estimate is {value}."
    ),
    ("campaign", "profit_minor", "lost"): later(
        "With {confidence} confidence the campaign lost between {low} and {high}; the best estimate is {value}."
    ),
    ("campaign", "profit_minor", "unclear"): later(
        "Whether the campaign earned anything is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible."
    ),
    ("campaign", "revenue_minor", "gained"): later(
        "With {confidence} confidence it brought between {low} and {high} of additional revenue; the best estimate is {value}."
    ),
    ("campaign", "revenue_minor", "lost"): later(
        "With {confidence} confidence it cost between {low} and {high} of revenue; the best estimate is {value}."
    ),
    ("campaign", "revenue_minor", "unclear"): later(
        "Whether it changed revenue is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible."
    ),
    ("campaign", "conversions", "gained"): later(
        "With {confidence} confidence between {low} and {high} customers bought only because of it; the best estimate is {value}."
    ),
    ("campaign", "conversions", "lost"): later(
        "With {confidence} confidence it kept between {low} and {high} customers from buying; the best estimate is {value}."
    ),
    ("campaign", "conversions", "unclear"): later(
        "Whether it changed the number of buyers is not certain: with {confidence} confidence anything from {low} fewer to {high} more is possible."
    ),
    ("programme", "profit_minor", "gained"): later(
        "With {confidence} confidence all campaigns together earned between {low} and {high}; the best estimate is {value}."
    ),
    ("programme", "profit_minor", "lost"): later(
        "With {confidence} confidence all campaigns together lost between {low} and {high}; the best estimate is {value}."
    ),
    ("programme", "profit_minor", "unclear"): later(
        "Whether all campaigns together earned anything is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible."
    ),
    ("programme", "revenue_minor", "gained"): later(
        "With {confidence} confidence they brought between {low} and {high} of additional revenue; the best estimate is {value}."
    ),
    ("programme", "revenue_minor", "lost"): later(
        "With {confidence} confidence they cost between {low} and {high} of revenue; the best estimate is {value}."
    ),
    ("programme", "revenue_minor", "unclear"): later(
        "Whether they changed revenue is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible."
    ),
    ("programme", "conversions", "gained"): later(
        "With {confidence} confidence between {low} and {high} purchases came about only because of them; the best estimate is {value}."
    ),
    ("programme", "conversions", "lost"): later(
        "With {confidence} confidence they prevented between {low} and {high} purchases; the best estimate is {value}."
    ),
    ("programme", "conversions", "unclear"): later(
        "Whether they changed the number of purchases is not certain: with {confidence} confidence anything from {low} fewer to {high} more is possible."
    ),
}
"""By whose effect it is, measure and verdict. A campaign counts customers who bought, the programme purchases."""


def sentence(code: Mapping[str, Any], language: str = "en", *, currency: str) -> str:
    """Return a verdict (see ``experiments.verdict``) as a sentence; amounts in ``currency``.

    >>> code = {"code": "gained", "measure": "profit_minor", "arm": "(all)", "confidence": 0.95, "value": 2e5}
    >>> sentence({**code, "low": 1e5, "high": 3e5}, currency="EUR")
    'With 95% confidence the campaign earned between €1,000 and €3,000; the best estimate is €2,000.'
    """
    say = texts.speak(language)
    if code["code"] == "not_enough_data":
        words = say.text(
            "Not enough data yet: {found} of the {need} buyers it takes.",
            found=say.number(code["found"]),
            need=say.number(code["need"]),
        )
        return _of_arm(say, code, words)
    return _of_arm(say, code, _told(say, code, currency))


def arm_name(arm: str, language: str = "en") -> str:
    """Return the name of an arm as a person reads it.

    >>> arm_name("(all)")
    'all arms together'
    """
    say = texts.speak(language)
    if arm == ALL_ARMS:
        return say.text("all arms together")
    return say.text("all campaigns together") if arm == ARM else arm


def measure_name(measure: str, language: str = "en") -> str:
    """Return the name of a measure as a person reads it.

    >>> measure_name("profit_minor")
    'additional profit'
    """
    say = texts.speak(language)
    names = {
        "conversions": say.text("additional buyers"),
        "revenue_minor": say.text("additional revenue"),
        "profit_minor": say.text("additional profit"),
    }
    return names.get(measure, measure)


def _of_arm(say: Language, code: Mapping[str, Any], words: str) -> str:
    if code["arm"] in (ALL_ARMS, ARM, ""):
        return words
    return say.text("{arm}: {words}", arm=code["arm"], words=words)


def _told(say: Language, code: Mapping[str, Any], currency: str) -> str:
    whose = "programme" if code["arm"] == ARM else "campaign"
    measure = code["measure"] if code["measure"] in _MONEY else "conversions"
    shown = say.number if measure == "conversions" else (lambda value: say.money(value, currency))
    low, high, value = (shown(abs(_whole(code[name], measure))) for name in ("low", "high", "value"))
    if code["code"] == "lost":  # the smaller loss first
        low, high = high, low
    confidence = say.percent(code["confidence"], 0)
    return say.text(_SENTENCES[whose, measure, code["code"]], confidence=confidence, low=low, high=high, value=value)


def _whole(value: float, measure: str) -> float:
    return round(value) if measure == "conversions" else value
