"""The effect of campaigns in words: one plain sentence for each verdict of ``decisions.experiments``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmlib.decisions.experiments import ALL_ARMS
from crmlib.decisions.experiments.programme import ARM
from crmlib.views import texts
from crmlib.views.texts import Language

_MONEY = ("profit_minor", "revenue_minor")


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
    told = _profit(say, code, currency) if code["measure"] in _MONEY else _conversions(say, code)
    return _of_arm(say, code, told)


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


def _profit(say: Language, code: Mapping[str, Any], currency: str) -> str:
    confidence = say.percent(code["confidence"], 0)
    low, high, value = (say.money(abs(code[name]), currency) for name in ("low", "high", "value"))
    revenue = code["measure"] == "revenue_minor"
    given = {"confidence": confidence, "value": value}
    if code["code"] == "gained":
        if revenue:
            return say.text(
                "With {confidence} confidence it brought between {low} and {high} of additional revenue; the best estimate is {value}.",
                low=low,
                high=high,
                **given,
            )
        return say.text(
            "With {confidence} confidence the campaign earned between {low} and {high}; the best estimate is {value}.",
            low=low,
            high=high,
            **given,
        )
    if code["code"] == "lost":
        if revenue:
            return say.text(
                "With {confidence} confidence it cost between {low} and {high} of revenue; the best estimate is {value}.",
                low=high,
                high=low,
                **given,
            )
        return say.text(
            "With {confidence} confidence the campaign lost between {low} and {high}; the best estimate is {value}.",
            low=high,
            high=low,
            **given,
        )
    if revenue:
        return say.text(
            "Whether it changed revenue is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible.",
            confidence=confidence,
            low=low,
            high=high,
        )
    return say.text(
        "Whether the campaign earned anything is not certain: with {confidence} confidence anything from a loss of {low} to a gain of {high} is possible.",
        confidence=confidence,
        low=low,
        high=high,
    )


def _conversions(say: Language, code: Mapping[str, Any]) -> str:
    confidence = say.percent(code["confidence"], 0)
    low, high, value = (say.number(abs(round(code[name]))) for name in ("low", "high", "value"))
    if code["code"] == "gained":
        return say.text(
            "With {confidence} confidence between {low} and {high} purchases came about only through it; the best estimate is {value}.",
            confidence=confidence,
            low=low,
            high=high,
            value=value,
        )
    if code["code"] == "lost":
        return say.text(
            "With {confidence} confidence it prevented between {low} and {high} purchases; the best estimate is {value}.",
            confidence=confidence,
            low=high,
            high=low,
            value=value,
        )
    return say.text(
        "Whether it changed purchases is not certain: with {confidence} confidence anything from {low} fewer to {high} more is possible.",
        confidence=confidence,
        low=low,
        high=high,
    )
