"""The words of the dashboard of demand: steps of time, levels, methods, reasons, statuses, sources."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pandas as pd

from crmlib.views.texts import Language, later

_STEPS = {
    "half_hour": later("By half hour"),
    "hour": later("By hour"),
    "day": later("By day"),
    "week": later("By week"),
    "month": later("By month"),
    "quarter": later("By quarter"),
    "year": later("By year"),
}
_LEVELS = {
    "total": later("All together"),
    "product": later("Products"),
    "group": later("Product groups"),
    "region": later("Regions"),
    "outlet": later("Outlets"),
    "product_region": later("Products by region"),
    "group_region": later("Product groups by region"),
    "outlet_product": later("Products by outlet"),
    "product_outlet": later("Products by outlet"),
    "customer_product": later("Products by customer"),
}
_METHODS = {
    "combination": later("a combination of methods"),
    "seasonal_naive_long": later("as a week ago"),
    "naive": later("as last time"),
    "zero": later("zero"),
    "theta": later("Theta"),
    "theta_long": later("Theta"),
    "smoothing": later("exponential smoothing"),
    "boosted": later("boosted trees over all series"),
    "croston": later("Croston"),
    "sba": later("Croston (SBA)"),
    "tsb": later("Croston (TSB)"),
}
_REASONS = {
    "short_series": later("the history is shorter than two seasons"),
    "all_zero": later("nothing was sold so far"),
    "one_observation": later("there is only one period on record"),
    "nothing_told": later("no period on record tells demand"),
    "constant": later("sales never changed"),
    "closed": later("it is closed then"),
}
_CAUTIONS = {
    "no_plans": later(
        "No plans are known ahead: it takes the price of late and no promotion, and may miss by more than it says."
    ),
    "first_promotion": later("A promotion is planned that there never was here: what it will do is not known."),
}
_STATUS = {
    "sold": later("sold"),
    "zero": later("open, nothing sold"),
    "closed": later("closed"),
    "stocked_out": later("shelf empty"),
    "gap": later("no record"),
    "return": later("more returned than sold"),
    "outlier": later("outlier, left out"),
}
_ADDED = {
    "statistical": later("statistical forecast"),
    "with_plans": later("with plans"),
    "reconciled": later("made to add up"),
    "as_weeks": later("moved to the level of the weeks"),
    "override": later("with overrides"),
}
_MIND = {
    "never_promoted": later("It never was on promotion: the effect is that of products like it."),
    "promoted_too_seldom": later("It was promoted too seldom to tell by itself."),
    "price_never_moved": later("Its price never changed: the effect is that of products like it."),
    "no_price": later("Its price is not on record: the effect is that of products like it."),
    "known_from_group": later("The effect is that of products like it, so its interval is wide."),
    "moves_before_it_begins": later(
        "Demand moved before past promotions began: they were timed into good weeks, and the effect may be too large."
    ),
    "beyond_prices_seen": later("Such a price was never seen; what happens there is a guess."),
    "not_separable": later("Price and promotion always came together: what is due to which cannot be told."),
    "includes_price": later("Price and promotion always came together: this effect holds both."),
    "too_many_zeros": later("Too few sales to tell by itself: the effect is that of products like it."),
    "not_enough_data": later("Too short a history to tell by itself: the effect is that of products like it."),
    "season_not_known": later("Less than a year on record: effect and season can hardly be told apart."),
    "short_series": later("Less than two years on record: the season is hardly known, and the effect may be off."),
    "no_cost": later("Its price or cost is not on record, so what it would earn cannot be told."),
    "promotion_planned": later(
        "A promotion is planned there already, and the forecast knows it: do not count it twice."
    ),
}
_ASSUMED = {
    "usual_price_without_promotion": later("otherwise the usual price and no promotion"),
    "competitors_keep_prices": later("competitors keep their prices"),
    "stock_suffices": later("there is enough in stock"),
}

_TREATMENTS = {
    "none": later("The history was taken as it is: taking open days or promotions out of it did not help."),
    "opening": later("Open and closed days were taken out of the history, and put back into the forecast."),
    "opening_and_promotions": later(
        "Open days and promotions were taken out of the history, and those that are planned put into the forecast."
    ),
}
_KINDS = {
    "regular": later("series with regular demand"),
    "intermittent": later("series with demand now and then"),
    "short": later("series with a short history"),
    "fixed": later("series with a simpler method"),
}
_LACKING = {
    "plans": later("No plans or outside forecasts could be used."),
    "errors": later("The history is too short to test forecasts of this level."),
    "value_added": later("Nothing can be compared at this level."),
    "coherence": later("Which way of making levels add up is best could not be found out."),
    "intervals": later("Too few past periods to check the width of the intervals."),
    "levels": later("There are too many products by region: forecast are the products and their total."),
    "weeks": later("The days could not be tested together with the weeks they follow."),
}
_FOUND = re.compile(r"found ([\d,]+)[^,;)]*, need ([\d,]+)")


def step(say: Language, code: str) -> str:
    """Return a step of time as a choice: "By week"."""
    return _known(say, _STEPS, code)


def level(say: Language, code: str) -> str:
    """Return the name of a level without its step.

    >>> from crmlib.views.texts import speak
    >>> level(speak("en"), "product_region_week"), level(speak("ru"), "total_month")
    ('Products by region', 'Всё вместе')
    """
    name = next((code.removesuffix(f"_{step}") for step in _STEPS if code.endswith(f"_{step}")), code)
    return _known(say, _LEVELS, name)


def naive(say: Language, step: str) -> str:
    """Return the name of the bar that every forecast is held against: the same period of the season before.

    >>> from crmlib.views.texts import speak
    >>> naive(speak("en"), "week"), naive(speak("ru"), "day")
    ('as a year ago', 'как неделю назад')
    """
    return say.text("as a week ago") if step == "day" else say.text("as a year ago")


def method(say: Language, code: str, step: str = "") -> str:
    """Return the name of a method in the middle of a sentence."""
    if code == "seasonal_naive":
        return naive(say, step)
    return _known(say, _METHODS, code)


def reason(say: Language, code: str) -> str:
    """Return why a simpler method was used, as a clause."""
    return _known(say, _REASONS, code)


def caution(say: Language, code: str) -> str:
    """Return what a forecast could not know, as a sentence; "" for the reason of a simpler method."""
    return say.text(_CAUTIONS[code]) if code in _CAUTIONS else ""


def lacking(say: Language, part: str, why: str) -> str:
    """Return why a part could not be made, in the reader's language; ``why`` is the sentence of the job.

    >>> from crmlib.views.texts import speak
    >>> lacking(speak("en"), "plans", "plans: found 0 plans, need 1; load a table of plans")
    'No plans or outside forecasts could be used. Found 0, needed 1.'
    """
    known = _LACKING.get(part.partition(":")[0])
    told = say.text(known) if known else say.text("No forecast could be made {step}.", step=step(say, part).lower())
    found = _FOUND.search(why)
    if not found:
        return told
    numbers = [say.number(int(one.replace(",", ""))) for one in found.groups()]
    return f"{told} {say.text('Found {found}, needed {need}.', found=numbers[0], need=numbers[1])}"


def note(say: Language, told: dict[str, Any]) -> str:
    """Return what a forecaster noted about all series of a step, "" for what is told elsewhere."""
    if told["code"] == "treatment":
        return say.text(_TREATMENTS[told["chosen"]]) if told["chosen"] in _TREATMENTS else ""
    if told["code"] == "intervals_lent":
        return say.plural(
            "{n} of the {kind} had too few errors of its own: its intervals are those of the commonest kind.",
            "{n} of the {kind} had too few errors of their own: their intervals are those of the commonest kind.",
            told["series"],
            kind=_known(say, _KINDS, told["kind"]),
        )
    return ""


def status(say: Language, code: str) -> str:
    """Return what a period tells of demand."""
    return _known(say, _STATUS, code)


def added(say: Language, code: str, step: str = "") -> str:
    """Return a step of forecast value added, at a step of time."""
    if code == "naive":
        return naive(say, step)
    return _known(say, _ADDED, code)


def mind(say: Language, code: str) -> str:
    """Return what to mind about an effect, as a sentence."""
    return _known(say, _MIND, code)


def assumed(say: Language, code: str) -> str:
    """Return what every what-if takes for granted, as a clause."""
    return _known(say, _ASSUMED, code)


def periods(say: Language, code: str, n: int) -> str:
    """Return a number of periods: "8 weeks"."""
    if code == "week":
        return say.plural("{n} week", "{n} weeks", n)
    if code == "month":
        return say.plural("{n} month", "{n} months", n)
    if code == "day":
        return say.plural("{n} day", "{n} days", n)
    return say.plural("{n} period", "{n} periods", n)


def period(say: Language, code: str, start: pd.Timestamp) -> str:
    """Return one period as people write it.

    >>> from crmlib.views.texts import speak
    >>> period(speak("en"), "week", pd.Timestamp("2025-12-29")), period(speak("ru"), "month", pd.Timestamp("2026-01-01"))
    ('29 Dec 2025 – 4 Jan 2026', '01.2026')
    """
    if code == "month":
        return start.strftime("%m.%Y" if say.code == "ru" else "%b %Y")
    if code == "week":
        return f"{day(say, start)} – {day(say, start + dt.timedelta(days=6))}"
    if code in ("hour", "half_hour"):
        return f"{day(say, start)} {start:%H:%M}"
    return day(say, start)


def day(say: Language, moment: dt.datetime) -> str:
    """Return a day in short."""
    return f"{moment:%d.%m.%Y}" if say.code == "ru" else f"{moment.day} {moment:%b %Y}"


def moment(say: Language, at: dt.datetime) -> str:
    """Return a day and time (UTC) in short."""
    return say.text("{day}, {time} UTC", day=day(say, at), time=f"{at:%H:%M}")


def signed(say: Language, share: float, digits: int = 0) -> str:
    """Return a share with its sign, as a percentage.

    >>> from crmlib.views.texts import speak
    >>> signed(speak("en"), -0.034), signed(speak("en"), 0.2), signed(speak("en"), -0.0001)
    ('−3%', '+20%', '0%')
    """
    written = say.percent(abs(share), digits)
    if round(abs(share) * 100, digits) == 0:
        return written
    return f"{'+' if share > 0 else '−'}{written}"


def points(say: Language, share: float) -> str:
    """Return a change of a share in points, with its sign.

    >>> from crmlib.views.texts import speak
    >>> points(speak("en"), -0.012), points(speak("ru"), 0.0304)
    ('−1.2', '+3,0')
    """
    written = say.number(abs(share) * 100, 1)
    return f"{'+' if share > 0 else '−' if share < 0 else '±'}{written}"


def bands(say: Language) -> str:
    """Return what the bands around a forecast are."""
    return say.text("The dark band around the forecast is its 80% interval, the light one its 95% interval.")


def _known(say: Language, words: dict[str, str], code: str) -> str:
    return say.text(words[code]) if code in words else code.replace("_", " ")
