"""Every text of the views exists in Russian, and nothing else does; forms, numbers, money, dates and reasons."""

from __future__ import annotations

import ast
import datetime as dt
import string
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from crmlib import serving, views
from crmlib.errors import UsageError
from crmlib.views import texts

FOLDERS = (Path(views.__file__).parent, Path(serving.__file__).parent)
EN, RU = texts.speak("en"), texts.speak("ru")


def used() -> set[str | tuple[str, str]]:
    """The texts in the source of the views: singular, or the pair of plural forms."""
    found: set[str | tuple[str, str]] = set()
    for path in (file for folder in FOLDERS for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            literal = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            if name in ("text", "later") and literal:
                found.add(literal[0])
            elif name == "plural":
                assert len(literal) == 2, f"{path.name}:{node.lineno}: both forms of a plural must be written out"
                found.add((literal[0], literal[1]))
    return found


def russian() -> dict[str | tuple[str, str], Message]:
    found: dict[str | tuple[str, str], Message] = {}
    for path in texts.catalogue_files("ru"):
        with path.open("rb") as file:
            for message in read_po(file, locale="ru"):
                if message.id:
                    assert message.id not in found, f"{path.name}: {message.id} is translated in another catalogue too"
                    found[message.id] = message
    return found


def test_there_are_texts_to_find() -> None:
    assert "Choose a product" in used() and ("{n} contact", "{n} contacts") in used()


def test_every_text_is_translated_and_no_translation_is_left_over() -> None:
    found, known = used(), russian()
    assert sorted(map(str, found - set(known))) == [], "texts without an entry in locale/ru"
    assert sorted(map(str, set(known) - found)) == [], "entries of locale/ru that no source uses"
    empty = [
        key for key, message in known.items() if not all(message.string if message.pluralizable else [message.string])
    ]
    assert empty == [] and not [key for key, message in known.items() if message.fuzzy]


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_translations_have_the_parameters_of_the_original() -> None:
    for key, message in russian().items():
        originals = key if isinstance(key, tuple) else (key,)
        forms = message.string if message.pluralizable else (message.string,)
        if message.pluralizable:
            assert len(forms) == 3, f"{key}: Russian has three forms"
        for form in forms:
            assert names(form) == names(originals[-1]), key


@pytest.mark.parametrize(
    ("n", "words"),
    [(1, "1 контакт"), (3, "3 контакта"), (5, "5 контактов"), (11, "11 контактов"), (1021, "1\u00a0021 контакт")],
)
def test_russian_has_three_plural_forms(n: int, words: str) -> None:
    assert RU.plural("{n} contact", "{n} contacts", n) == words


def test_numbers_money_and_dates() -> None:
    assert EN.money(-123456, "EUR", 2) == "-€1,234.56" and RU.money(123456, "RUB") == "1\u00a0235\u00a0₽"
    assert EN.money(-0.4, "EUR") == "€0", "no minus before nothing"
    assert EN.money(1500, "JPY") == "¥1,500", "a yen has no hundredths"
    assert RU.number(1234567.5, 1) == "1\u00a0234\u00a0567,5" and EN.number(999) == "999"
    assert RU.percent(0.0123) == "1,2\u00a0%" and EN.percent(1, 0) == "100%"
    assert RU.date(dt.date(2025, 12, 31)) == "31 декабря 2025 г."


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UsageError, match="language is 'fr'; use en or ru"):
        texts.speak("fr")


@pytest.mark.parametrize(
    ("code", "english", "russian"),
    [
        (
            {"code": "days_since_last", "feature": "contacts_out_recency_days", "unit": "days", "value": 21.0},
            "Contacts made by us, the last: 21 days ago",
            "Наши обращения к клиенту, последнее событие: 21 день назад",
        ),
        (
            {"code": "balance_change", "feature": "balances_change_deposits_3m", "level": "deposits", "months": 3}
            | {"unit": "minor units", "value": 120000, "typical": 0},
            "Balance (deposits), change in 3 months: +€1,200 (usually €0)",
            "Остаток (вклады), изменение за 3 месяца: +1\u00a0200\u00a0€ (обычно 0\u00a0€)",
        ),
        (
            {"code": "since", "feature": "customer_age_years", "unit": "years", "value": 34.9, "typical": 45},
            "Age: 34 years (usually 45 years)",
            "Возраст: 34 года (обычно 45 лет)",
        ),
        (
            {"code": "attribute", "feature": "customer_marital_status", "value": "married", "typical": "married"},
            "Marital status: married",
            "Семейное положение: в браке",
        ),
        (
            {
                "code": "count_trend",
                "feature": "transactions_count_trend_3m",
                "months": 3,
                "unit": "-1..1",
                "value": -0.6,
            },
            "Transactions, number against earlier: less than before",
            "Операции, число по сравнению с прежним: меньше, чем раньше",
        ),
        (
            {"code": "upcoming", "table": "holdings", "months": 1, "value": None},
            "Contracts, due within 1 month: none",
            "Договоры, срок наступает скоро (1 месяц): нет",
        ),
    ],
)
def test_reasons_in_words(code: dict[str, object], english: str, russian: str) -> None:
    assert texts.reason(code, "en", currency="EUR") == english
    assert texts.reason(code, "ru", currency="EUR") == russian


def test_an_unknown_reason_still_reads_well() -> None:
    assert texts.reason({"code": "moon", "feature": "moon_phase_days", "value": 3}) == "Moon phase days: 3"
    assert texts.reason({}) == "" and texts.reason_kind({"code": "full_moon"}) == "Full moon"


@given(
    st.fixed_dictionaries(
        {"code": st.sampled_from(["count", "sum", "balance", "attribute", "what", "variance", "sum_trend"])},
        optional={
            "table": st.text(max_size=8),
            "level": st.text(max_size=8),
            "months": st.none() | st.integers(1, 24),
            "unit": st.sampled_from(["rows", "days", "share", "minor units", "years"]),
            "feature": st.text(max_size=8),
            "typical": st.none() | st.text(max_size=3) | st.floats(-1e9, 1e9),
            "value": st.none() | st.text(max_size=8) | st.floats(-1e9, 1e9) | st.booleans(),
        },
    ),
    st.sampled_from(["en", "ru"]),
)
def test_any_reason_can_be_worded(code: dict[str, object], language: str) -> None:
    assert isinstance(texts.reason(code, language, currency="EUR"), str)
