"""The company file: name, currency, rates, calendar, margins and costs of contact."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crmlib.errors import DataError
from crmlib.warehouse import company_policy, company_value
from crmlib.warehouse.company_policy import ContactPolicy
from crmlib.warehouse.company_value import CustomerValue

DEFAULT_CONTACT_COSTS = {"call": 500, "mail": 100, "email": 2, "sms": 8, "branch": 400}
DEFAULT_CONTACT_MINUTES = {"call": 8.0, "branch": 20.0}
LEVER_BOUNDS = (0.5, 2.0)
"""How far a business priority may raise or lower what a product earns."""


@dataclass(frozen=True)
class Company:
    """What holds for the whole company.

    Attributes: ``currency`` is the ISO 4217 code in which decisions are computed; ``exchange_rates`` the worth of one
    unit of another currency in it; ``contact_costs_minor`` the cost of one contact by channel, minor units;
    ``margins_minor`` overrides the margin of the product table by product, minor units;
    ``consent_when_missing`` is "refused" (missing means no) or "granted" (the company answers for it elsewhere).

    For the value of offers: ``horizon_months`` over which a sale's earnings count, ``annual_discount`` of money that
    comes later, ``monthly_retention`` the share of contracts that live on each month and ``product_retention`` the same
    by product, ``levers`` business priorities by product (factors within ``LEVER_BOUNDS``). For their number:
    ``capacities`` contacts that one planning round can make by channel (a channel not named has no limit),
    ``contact_minutes`` the working time of one contact, and the ``contact_policy``. ``customer_value`` says what a
    customer earns and costs.
    """

    name: str = "Company"
    currency: str = "EUR"
    time_zone: str = "UTC"
    exchange_rates: dict[str, float] = field(default_factory=dict)
    holidays: tuple[str, ...] = ()
    contact_costs_minor: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_CONTACT_COSTS))
    margins_minor: dict[str, int] = field(default_factory=dict)
    consent_when_missing: str = "refused"
    horizon_months: int = 12
    annual_discount: float = 0.10
    monthly_retention: float = 0.99
    product_retention: dict[str, float] = field(default_factory=dict)
    levers: dict[str, float] = field(default_factory=dict)
    capacities: dict[str, int] = field(default_factory=dict)
    contact_minutes: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_CONTACT_MINUTES))
    contact_policy: ContactPolicy = field(default_factory=ContactPolicy)
    customer_value: CustomerValue = field(default_factory=CustomerValue)

    def to_json(self) -> str:
        """Return the company as JSON, for the warehouse file."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


def from_json(text: str) -> Company:
    """Return the company written by ``Company.to_json``, of this release or an earlier one."""
    return _company(json.loads(text))


def _company(values: dict[str, Any]) -> Company:
    given = dict(values)
    given["holidays"] = tuple(str(day) for day in given.get("holidays", ()))
    given["contact_policy"] = company_policy.policy(given.get("contact_policy", {}))
    given["customer_value"] = company_value.customer_value(given.get("customer_value", {}))
    return Company(**given)


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
    _check_value_settings(values, path)
    costs = values.get("contact_costs_minor", DEFAULT_CONTACT_COSTS)
    _check_capacities(values, path, channels=costs)
    company_policy.check(values.get("contact_policy", {}), f"{path}: contact_policy", channels=costs)
    company_value.check(values.get("customer_value", {}), f"{path}: customer_value")
    return _company(values)


def _check_value_settings(values: dict[str, Any], path: Path) -> None:
    months = values.get("horizon_months", 12)
    if not isinstance(months, int) or isinstance(months, bool) or not 1 <= months <= 600:
        raise DataError(f"{path}: horizon_months is {months!r}; give a whole number of months from 1 to 600")
    retention: dict[str, Any] = {
        f"product_retention.{name}": share for name, share in _section(values, "product_retention", path)
    }
    shares: dict[str, Any] = {name: values[name] for name in ("annual_discount", "monthly_retention") if name in values}
    for name, share in [*shares.items(), *retention.items()]:
        if not _is_number(share) or not 0 <= share <= 1:
            raise DataError(f"{path}: {name} is {share!r}; give a share from 0 to 1")
    for name, factor in _section(values, "levers", path):
        if not _is_number(factor) or not LEVER_BOUNDS[0] <= factor <= LEVER_BOUNDS[1]:
            low, high = LEVER_BOUNDS
            raise DataError(
                f"{path}: levers.{name} is {factor!r}; a business priority is a factor from {low} to {high}"
            )


def _check_capacities(values: dict[str, Any], path: Path, *, channels: dict[str, int]) -> None:
    for section in ("capacities", "contact_minutes"):
        for name, amount in _section(values, section, path):
            if section == "capacities" and name not in channels:
                raise DataError(
                    f"{path}: capacities.{name}: the channel has no cost of contact; known are {', '.join(sorted(channels))}"
                )
            whole = section == "contact_minutes" or isinstance(amount, int)
            if not _is_number(amount) or amount < 0 or not whole:
                wanted = "a whole number of contacts" if section == "capacities" else "a number of minutes"
                raise DataError(f"{path}: {section}.{name} is {amount!r}; give {wanted}, 0 or more")


def _section(values: dict[str, Any], name: str, path: Path) -> list[tuple[str, Any]]:
    section = values.get(name, {})
    if not isinstance(section, dict):
        raise DataError(f"{path}: {name} is {section!r}; write it as a section [{name}] with a line for each name")
    return list(section.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
