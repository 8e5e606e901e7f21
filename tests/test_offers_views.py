"""The pictures of the offers and the words of their log, in both languages."""

from __future__ import annotations

import pandas as pd
import pytest

from crmlib.views import offer_words, plots_offers, texts

NAMES = {"card": "Gold card", "loan": "Cash loan"}


def sensitive() -> pd.DataFrame:
    rows = [
        ("margin", "loan", -0.2, 0.04, "card", 0.03, "loan", 0.04),
        ("margin", "loan", 0.2, 0.03, "loan", 0.03, "", 0.01),
        ("horizon", "", -0.2, 0.01, "card", 0.01, "loan", 0.01),
        ("horizon", "", 0.2, 0.02, "loan", 0.02, "card", 0.02),
    ]
    sides = ["gained_product_id", "gained", "lost_product_id", "lost"]
    return pd.DataFrame(rows, columns=["assumption", "product_id", "share", "changed", *sides])


def test_the_tornado_has_the_most_sensitive_on_top_and_says_who_gains() -> None:
    figure = plots_offers.tornado(sensitive(), products=NAMES)
    lower, higher = figure.data
    assert list(lower.y) == ["Horizon", "Margin: Cash loan"] and list(lower.x) == [-0.01, -0.04]
    assert list(higher.x) == [0.02, 0.03] and lower.name == "20% lower"
    assert higher.customdata[1] == "3.0% of customers: most to Cash loan, most from no offer"
    russian = plots_offers.tornado(sensitive(), products=NAMES, language="ru", shown=1)
    assert list(russian.data[0].y) == ["Маржа: Cash loan"] and russian.data[0].name == "на 20\u00a0% ниже"


def test_prices_are_in_whole_units_and_the_budget_is_left_out() -> None:
    resources = pd.DataFrame(
        [
            ("capacity", "call", 10.0, 10.0, 1250.0),
            ("capacity", "email", float("inf"), 7.0, 0.0),
            ("budget", "EUR", 900.0, 900.0, 3.0),
            ("supply", "loan", 5.0, 2.0, 0.0),
        ],
        columns=["kind", "name", "limit", "used", "price_minor"],
    )
    bar = plots_offers.worth(resources, currency="EUR", products=NAMES).data[0]
    assert list(bar.y) == ["Cash loan", "call"] and list(bar.x) == [0.0, 12.5]
    assert bar.text[1] == "€12.50 · 10 of 10 used"
    assert len(plots_offers.worth(resources.head(0), currency="EUR", products=NAMES).data[0].x) == 0


def test_offers_are_counted_by_product_and_channel() -> None:
    offers = pd.DataFrame({"product_id": ["loan", "loan", "card"], "channel": ["call", "email", "email"]})
    call, email = plots_offers.made(offers, products=NAMES, language="ru").data
    assert list(email.y) == ["Gold card", "Cash loan"] and list(email.x) == [1, 1] and list(call.x) == [0, 1]
    assert call.name == "звонок"


BASE = {
    "product_id": "loan",
    "channel": "email",
    "value_minor": 1234.0,
    "flip_minor": 50.0,
    "products": "",
    "detail": "",
}


@pytest.mark.parametrize(
    ("change", "english"),
    [
        (
            {"decision": "offered", "code": "best"},
            "Offered: Cash loan by e-mail, worth €12.34; it would lose its place with €0.50 less",
        ),
        (
            {"decision": "ranked", "code": "outranked"},
            "Considered: Cash loan by e-mail, worth €12.34; a better offer took its place: it would win with €0.50 more",
        ),
        (
            {"decision": "ranked", "code": "scarce", "detail": '{"resource": "capacity", "name": "call"}'},
            "Considered: Cash loan by e-mail, worth €12.34; worth less than the scarce call it would take: it lacks €0.50",
        ),
        (
            {"decision": "ranked", "code": "scarce", "detail": '{"resource": "budget", "name": ""}'},
            "Considered: Cash loan by e-mail, worth €12.34; worth less than the scarce budget it would take: it lacks €0.50",
        ),
        (
            {"decision": "dropped", "code": "already_held", "products": "card, loan", "channel": ""},
            "Not Gold card, Cash loan: already has the product",
        ),
        ({"decision": "dropped", "code": "no_consent"}, "Not by e-mail: no consent for this channel"),
    ],
)
def test_rows_of_the_log_in_words(change: dict[str, str], english: str) -> None:
    told = {**BASE, **change}
    assert offer_words.row(texts.speak("en"), told, products=NAMES, currency="EUR") == english
    russian = offer_words.row(texts.speak("ru"), told, products=NAMES, currency="EUR")
    assert russian != english and "{" not in russian


def test_every_code_of_a_candidate_has_words() -> None:
    for code in ("outranked", "other_channel", "scarce", "unprofitable", "household", "rounding"):
        told = {**BASE, "decision": "ranked", "code": code, "detail": '{"resource": "supply", "name": "card"}'}
        for language in ("en", "ru"):
            assert "{" not in offer_words.row(texts.speak(language), told, products=NAMES, currency="EUR")
