"""What the dashboard of product matrices says: names of rows and measures, and a cell in one sentence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crmlib.decisions import matrices, memberships
from crmlib.views import certainty, texts, wording
from crmlib.views.texts import Language, later

_ROWS = {
    "region": later("Region"),
    "service_segment": later("Tier of service"),
    "gender": later("Gender"),
    "marital_status": later("Marital status"),
    "employment_status": later("Employment"),
    "education": later("Education"),
    "occupation": later("Occupation"),
    "risk_class": later("Risk class"),
    "preferred_channel": later("Preferred channel"),
    "branch_id": later("Home branch"),
    "age": later("Age"),
    "holds": later("Product already held (cross-selling)"),
    "rfm": later("Segments by recency, frequency, money"),
    "behaviour": later("Segments by behaviour"),
}
_ROWS_AS_THEY_ARE = ("age", "region", "branch_id")
_MEASURES = {
    "penetration": later("Share who hold it"),
    "propensity": later("Mean probability of buying"),
    "expected_profit": later("Expected profit of contacting"),
    "lift": later("How many times as often as others (lift)"),
    "rate": later("Share who take it next"),
}
_NOTES = {
    "penetration": later("Of all customers in the row, the share who hold the product."),
    "propensity": later(
        "Of those in the row who may be offered the product, the mean of their calibrated probabilities."
    ),
    "expected_profit": later(
        "What contacting everybody in the row for whom it pays is expected to bring, costs of contact deducted."
    ),
    "lift": later(
        "How often holders of the row's product took the column's product, compared with everybody who could; coloured where"
        " chance does not explain it."
    ),
    "rate": later("Of the holders of the row's product who could take the column's product, the share who did."),
}
_SENTENCES = {
    "penetration": later("{who}: {hits} of {base} customers hold {product}, which is {value} ({range})."),
    "propensity": later(
        "{who}: the {base} customers who may be offered {product} buy it with a mean probability of {value} ({range})."
    ),
    "expected_profit": later(
        "{who}: contacting the {hits} customers for whom offering {product} pays is expected to bring {value} ({range})"
        " after {cost} for the contacts."
    ),
    "rate": later(
        "{who}: of {base} holders on {day} who could take {product}, {hits} took it within {span}: {value} ({range})."
    ),
    "lift": later(
        "{who}: {product} was taken {value} as often as by everybody who could take it ({range}), {rate} against {all}"
        " within {span} after {day}."
    ),
}
_UNCHECKED = {
    "application_open": later("an application still open"),
    "refused_recently": later("an application refused lately"),
    "document_missing": later("documents that are missing"),
    "risk_above_appetite": later("the stated appetite for risk"),
}


def rows(say: Language, by: str) -> str:
    """Return the name of a way to put customers into rows."""
    if by.startswith(memberships.AUDIENCE):
        return say.text("Audience {name}", name=by.removeprefix(memberships.AUDIENCE))
    found = _ROWS.get(by)
    return say.text(found) if found else by.replace("_", " ").capitalize()


def measure(say: Language, name: str) -> str:
    """Return the name of a measure."""
    return say.text(_MEASURES[name])


def note(say: Language, name: str) -> str:
    """Return what a measure means."""
    return say.text(_NOTES[name])


def segment(say: Language, by: str, code: str, known: Mapping[str, str]) -> str:
    """Return the name of a row; ``known`` are the names of products and of the segments of a saved segmentation."""
    if code == memberships.UNKNOWN:
        return say.text("not known")
    if by == memberships.HOLDS or code in known:
        return known.get(code, code)
    if by.startswith(memberships.AUDIENCE):
        return say.text("in the audience") if code == "in" else say.text("all others")
    if by in _ROWS_AS_THEY_ARE:
        return code.replace("-", "–")
    return wording.value(say, code)


def group(say: Language, by: str, name: str) -> str:
    """Return who is in a row, so that a sentence can begin with it; ``name`` is that of the row."""
    if by == memberships.HOLDS:
        return say.text("Holders of {product}", product=name)
    return f"{rows(say, by)} – {name}"


def cell(say: Language, name: str, value: float, currency: str) -> str:
    """Return a value as it stands in a cell of the heat map: short."""
    if name == "expected_profit":
        return short(say, texts.major(value, currency))
    if name == "lift":
        return say.number(value, 1)
    return say.percent(value, 0 if value >= 0.0995 else 1)


def short(say: Language, amount: float) -> str:
    """Return an amount in at most four signs: thousands and millions are marked.

    >>> short(texts.speak("en"), 1234.0), short(texts.speak("en"), 45.2), short(texts.speak("en"), 2_310_000.0)
    ('1.2k', '45', '2.3m')
    """
    for unit, words in ((1e6, later("{n}m")), (1e3, later("{n}k"))):
        if abs(amount) >= unit * 0.9995:
            scaled = amount / unit
            return say.text(words, n=say.number(scaled, 0 if abs(scaled) >= 9.95 else 1))
    return say.number(amount)


def whole(say: Language, name: str, value: float, currency: str) -> str:
    """Return a value as it stands in a table or sentence."""
    if name == "expected_profit":
        return say.money(value, currency)
    return say.text("{n} times", n=say.number(value, 1)) if name == "lift" else say.percent(value, 1)


def sentence(
    say: Language,
    row: pd.Series,
    *,
    name: str,
    who: str,
    product: str,
    currency: str,
    day: dt.date,
    within_days: int,
) -> str:
    """Return a cell in one sentence, with its interval; ``who`` is the row in words, ``product`` the column."""
    if bool(row["hidden"]):
        return say.text(
            "Hidden: fewer than {n} customers are behind this cell, or it would give such a cell away.",
            n=matrices.FEWEST,
        )
    if pd.isna(row["value"]):
        if name == "expected_profit":
            return say.text(
                "{product} has no margin, so nothing can be said about profit; give one in company.toml.",
                product=product,
            )
        return say.text("Nobody took {product}, so there is nothing to compare.", product=product)
    told: dict[str, Any] = {
        "who": who,
        "product": product,
        "base": say.number(int(row["base"])),
        "hits": say.number(int(row["hits"])),
        "value": whole(say, name, float(row["value"]), currency),
        "range": between(say, row, name=name, currency=currency),
        "day": say.date(day),
        "span": say.plural("{n} day", "{n} days", within_days),
    }
    if name == "expected_profit":
        told["cost"] = say.money(float(row["cost_minor"]), currency)
    if name == "lift":
        told["rate"], told["all"] = say.percent(float(row["rate"]), 1), say.percent(float(row["base_rate"]), 1)
    return say.text(_SENTENCES[name], **told)


def sure(say: Language, name: str, *, bounds: bool = True) -> str:
    """Return how sure the numbers of a measure are; ``bounds`` whether the scores were saved with theirs."""
    if name not in ("propensity", "expected_profit"):
        return say.text("Each number has its 95% interval: under the mouse, and in the numbers to be saved.")
    if not bounds:
        return certainty.none(say, say.text("the probabilities were saved without bounds."))
    return say.text(
        "Each number has a range, which adds up the customers' own 90% bounds as if all erred the same way at once: under"
        " the mouse, and in the numbers to be saved."
    )


def between(say: Language, row: Mapping[str, Any] | pd.Series, *, name: str, currency: str) -> str:
    """Return the interval of a cell, with what kind it is."""
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return say.text("no interval")
    ends = (float(row[bound]) for bound in ("low", "high"))
    low, high = (say.number(end, 1) if name == "lift" else whole(say, name, end, currency) for end in ends)
    if name in ("propensity", "expected_profit"):
        return say.text("between {low} and {high}", low=low, high=high)
    return say.text("95% interval {low} to {high}", low=low, high=high)


def unchecked(say: Language, codes: list[str]) -> str:
    """Return what an audience leaves to the moment of the offer."""
    words = [say.text("consent to be contacted"), *[say.text(_UNCHECKED[code]) for code in codes if code in _UNCHECKED]]
    return say.text("Checked only when the offer is made: {rules}.", rules=", ".join(words))
