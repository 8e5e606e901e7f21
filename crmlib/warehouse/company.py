"""The company file: name, currency, rates, calendar, margins and costs of contact."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from crmlib.errors import DataError

DEFAULT_CONTACT_COSTS = {"call": 500, "mail": 100, "email": 2, "sms": 8, "branch": 400}


@dataclass(frozen=True)
class Company:
    """What holds for the whole company.

    Attributes: ``currency`` is the ISO 4217 code in which decisions are computed; ``exchange_rates`` the worth of one
    unit of another currency in it; ``contact_costs_minor`` the cost of one contact by channel, minor units;
    ``margins_minor`` overrides the margin of the product table by product, minor units;
    ``consent_when_missing`` is "refused" (missing means no) or "granted" (the company answers for it elsewhere).
    """

    name: str = "Company"
    currency: str = "EUR"
    time_zone: str = "UTC"
    exchange_rates: dict[str, float] = field(default_factory=dict)
    holidays: tuple[str, ...] = ()
    contact_costs_minor: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_CONTACT_COSTS))
    margins_minor: dict[str, int] = field(default_factory=dict)
    consent_when_missing: str = "refused"

    def to_json(self) -> str:
        """Return the company as JSON, for the warehouse file."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


def from_json(text: str) -> Company:
    """Return the company written by ``Company.to_json``."""
    values = json.loads(text)
    return Company(**{**values, "holidays": tuple(values["holidays"])})


def read(path: Path) -> Company:
    """Return the company of a TOML file, or the defaults where there is no file.

    Raises DataError for a file that is not TOML or names an unknown setting.
    """
    if not path.exists():
        return Company()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a readable TOML file ({error}); mend it or remove it to use the defaults"
        ) from error
    unknown = sorted(set(values) - set(Company.__dataclass_fields__))
    if unknown:
        known = ", ".join(Company.__dataclass_fields__)
        raise DataError(f"{path}: unknown setting {', '.join(unknown)}; known are {known}")
    if values.get("consent_when_missing", "refused") not in ("refused", "granted"):
        raise DataError(
            f'{path}: consent_when_missing is {values["consent_when_missing"]!r}; use "refused" or "granted"'
        )
    for section in ("contact_costs_minor", "margins_minor"):
        for name, amount in values.get(section, {}).items():
            if not isinstance(amount, int) or isinstance(amount, bool):
                raise DataError(f"{path}: {section}.{name} is {amount!r}; give a whole number of minor units")
    if "holidays" in values:
        values["holidays"] = tuple(str(day) for day in values["holidays"])
    return Company(**values)
