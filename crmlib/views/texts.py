"""Every word a person reads, in English or Russian: text, plural forms, numbers, money and dates.

English texts are the keys; the catalogues of ``locale/<language>/``, one a subject, hold the translations, in the usual
format of translators' tools. ``tests/test_texts.py`` says what is missing there.
"""

from __future__ import annotations

import datetime as dt
import gettext
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from babel import dates, numbers
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from crmlib.errors import UsageError

LANGUAGES = {"en": "English", "ru": "Русский"}


@dataclass(frozen=True)
class Language:
    """What is said in one language; made by ``speak``. Attributes: ``code``, and its ``catalogue``."""

    code: str
    catalogue: gettext.NullTranslations

    def text(self, english: str, **values: object) -> str:
        """Return a text in this language, with ``{name}`` replaced by the values.

        >>> speak("ru").text("Choose a product")
        'Выберите продукт'
        """
        found = self.catalogue.gettext(english)
        return found.format(**values) if values else found

    def plural(self, one: str, many: str, n: float, **values: object) -> str:
        """Return the form of a text that goes with the number ``n``; ``{n}`` stands for it, written out.

        >>> speak("ru").plural("{n} contact", "{n} contacts", 22)
        '22 контакта'
        """
        return self.catalogue.ngettext(one, many, int(n)).format(n=self.number(n), **values)

    def number(self, value: float, digits: int = 0) -> str:
        """Return a number with separators of thousands and so many decimals.

        >>> speak("en").number(1234567.891, 2)
        '1,234,567.89'
        """
        places = "." + "0" * digits if digits else ""
        return str(numbers.format_decimal(round(value, digits), format=f"#,##0{places}", locale=self.code))

    def percent(self, share: float, digits: int = 1) -> str:
        """Return a share as a percentage.

        >>> speak("en").percent(0.1234)
        '12.3%'
        """
        places = "." + "0" * digits if digits else ""
        pattern = f"#,##0{places}\u00a0%" if self.code == "ru" else f"#,##0{places}%"
        return str(numbers.format_percent(share, format=pattern, locale=self.code))

    def money(self, minor: float, currency: str, digits: int = 0) -> str:
        """Return an amount given in minor units, in the currency's usual writing.

        >>> speak("en").money(123456789, "EUR")
        '€1,234,568'
        """
        amount = major(minor, currency)
        pattern = numbers.parse_pattern("#,##0\u00a0¤" if self.code == "ru" else "¤#,##0")
        pattern.frac_prec = (digits, digits)
        rounded = round(amount, digits) + 0.0  # no minus sign before zero
        return str(pattern.apply(rounded, self.code, currency=currency, currency_digits=False))

    def symbol(self, currency: str) -> str:
        """Return the sign of a currency.

        >>> speak("en").symbol("EUR")
        '€'
        """
        return str(numbers.get_currency_symbol(currency, locale=self.code))

    def date(self, day: dt.date) -> str:
        """Return a date in words.

        >>> speak("en").date(dt.date(2025, 12, 31))
        '31 December 2025'
        """
        return str(dates.format_date(day, "d MMMM y", locale=self.code)) + (" г." if self.code == "ru" else "")

    @property
    def separators(self) -> str:
        """Return the decimal sign and the separator of thousands, as plotly wants them."""
        return ",\u00a0" if self.code == "ru" else ".,"


@cache
def speak(code: str) -> Language:
    """Return the language ``code``: "en" or "ru"; raises UsageError for another one."""
    if code not in LANGUAGES:
        raise UsageError(f"language is {code!r}; use {' or '.join(LANGUAGES)}")
    if code == "en":
        return Language(code, gettext.NullTranslations())
    whole = Catalog(locale=code)
    for path in catalogue_files(code):
        with path.open("rb") as file:
            for message in read_po(file, locale=code):
                if message.id:
                    whole[message.id] = message
    compiled = io.BytesIO()
    write_mo(compiled, whole)
    compiled.seek(0)
    return Language(code, gettext.GNUTranslations(compiled))


def later(english: str) -> str:
    """Return the text as it is: marks what ``Language.text`` will translate when it is shown."""
    return english


def catalogue_files(code: str) -> list[Path]:
    """Return the files with the translations into a language, one a subject."""
    return sorted((Path(__file__).parent / "locale" / code).glob("*.po"))


def major(minor: float, currency: str) -> float:
    """Return an amount given in minor units in whole units of the currency.

    >>> major(12345, "EUR"), major(12345, "JPY")
    (123.45, 12345.0)
    """
    return float(minor) / float(10 ** numbers.get_currency_precision(currency))


def channel(name: str, language: str = "en") -> str:
    """Return a channel of contact in words.

    >>> channel("mail", "ru")
    'письмо'
    """
    from crmlib.views import wording  # noqa: PLC0415  it is built on this module

    return wording.value(speak(language), name)


def reason(
    code: Mapping[str, Any], language: str = "en", *, currency: str = "", products: Mapping[str, str] | None = None
) -> str:
    """Return a reason (see ``models.explain``) in words: amounts in ``currency``, ``products`` by their names.

    >>> code = {"code": "count", "table": "transactions", "level": "salary", "months": 3, "value": 3}
    >>> reason(code), reason(code, "ru")
    ('Transactions (salary), number in 3 months: 3', 'Операции (зарплата), число за 3 месяца: 3')
    """
    from crmlib.views import wording  # noqa: PLC0415  it is built on this module

    return wording.reason(speak(language), code, currency=currency, products=products)


def reason_kind(code: Mapping[str, Any], language: str = "en", *, products: Mapping[str, str] | None = None) -> str:
    """Return what a reason is about, without the customer's own value."""
    from crmlib.views import wording  # noqa: PLC0415  it is built on this module

    return wording.kind(speak(language), code, products=products)
