"""What a customer earns and costs: the section [customer_value] of the company file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crmlib.errors import DataError

BALANCE_MARGINS = {"accounts": 0.01, "cards": 0.08, "deposits": 0.01, "investment": 0.005, "loans": 0.02}
FEE_MARGINS = {"accounts": 1.0, "cards": 0.8, "insurance": 0.2, "investment": 1.0}
TRANSACTION_MARGINS = {"exchange": 0.01, "fee": 1.0, "securities": 0.003, "transfer": 0.001}
TRANSACTION_COSTS = {"atm": 30, "branch": 150, "call": 150, "card": 3, "internet": 2, "mobile": 1}
HOLDING_COSTS = {"accounts": 600, "cards": 600, "insurance": 300, "investment": 600, "loans": 1200}
INCOMING_MINUTES = {"branch": 12.0, "call": 5.0, "email": 6.0, "mail": 10.0}
INCOMING_COSTS = {"internet": 1, "mobile": 1}

SHARES = ("balance_margins", "fee_margins", "transaction_margins")
AMOUNTS = ("transaction_costs_minor", "holding_costs_minor", "incoming_minutes", "incoming_costs_minor")
BY_PRODUCT: dict[str, dict[str, Any]] = {
    "balance_margins": BALANCE_MARGINS,
    "fee_margins": FEE_MARGINS,
    "holding_costs_minor": HOLDING_COSTS,
}
"""Settings by product group or product, with their defaults; a product's own line wins over that of its group."""


@dataclass(frozen=True)
class CustomerValue:
    """What a customer earns and costs the company.

    Attributes: by product group or product, the product first: ``balance_margins`` share of a balance, owned or owed,
    that a year earns, after interest, funding and expected losses; ``fee_margins`` share of the yearly fee or premium of
    a contract that is earned; ``holding_costs_minor`` what keeping a contract costs in a year. By category:
    ``transaction_margins`` share of the amount of a transaction that is earned, on what the customer pays (refunds take
    it back), or on amounts in ``both_directions``. By channel: ``transaction_costs_minor`` of handling a transaction;
    ``incoming_minutes`` working time of a contact that the customer began and whose length is not on record, and
    ``incoming_costs_minor`` what it costs besides. ``service_minute_minor`` is the price of a minute of working time,
    ``complaint_minutes`` the working time of a complaint.
    """

    balance_margins: dict[str, float] = field(default_factory=lambda: dict(BALANCE_MARGINS))
    fee_margins: dict[str, float] = field(default_factory=lambda: dict(FEE_MARGINS))
    holding_costs_minor: dict[str, float] = field(default_factory=lambda: dict(HOLDING_COSTS))
    transaction_margins: dict[str, float] = field(default_factory=lambda: dict(TRANSACTION_MARGINS))
    both_directions: tuple[str, ...] = ("exchange", "securities", "transfer")
    transaction_costs_minor: dict[str, float] = field(default_factory=lambda: dict(TRANSACTION_COSTS))
    incoming_minutes: dict[str, float] = field(default_factory=lambda: dict(INCOMING_MINUTES))
    incoming_costs_minor: dict[str, float] = field(default_factory=lambda: dict(INCOMING_COSTS))
    service_minute_minor: float = 60
    complaint_minutes: float = 30


def customer_value(values: Mapping[str, Any]) -> CustomerValue:
    """Return the settings that ``dataclasses.asdict`` or a TOML table holds; what is missing takes its default.

    >>> customer_value({"service_minute_minor": 80}).service_minute_minor
    80
    """
    given = dict(values)
    if "both_directions" in given:
        given["both_directions"] = tuple(given["both_directions"])
    return CustomerValue(**given)


def check(values: Any, where: str) -> None:
    """Refuse a table of a TOML file that makes no settings; ``where`` names the file and section for the message.

    Raises DataError for an unknown setting, a margin that is no share from 0 to 1, and a cost or a time below 0.
    """
    known = list(CustomerValue.__dataclass_fields__)
    if not isinstance(values, Mapping):
        raise DataError(f"{where} is {values!r}; write it as a section [customer_value]")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise DataError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(known)}")
    for section in (*SHARES, *AMOUNTS):
        for name, amount in _lines(values, section, where):
            top = 1.0 if section in SHARES else math.inf
            wanted = "a share from 0 to 1" if section in SHARES else "a number, 0 or more"
            _check_number(amount, f"{where}.{section}.{name}", wanted, top)
    for name in ("service_minute_minor", "complaint_minutes"):
        _check_number(values.get(name, 0), f"{where}.{name}", "a number, 0 or more", math.inf)
    both = values.get("both_directions", [])
    if not isinstance(both, list | tuple) or not all(isinstance(one, str) and one for one in both):
        raise DataError(f"{where}.both_directions is {both!r}; give a list of categories of transactions")


def check_names(settings: CustomerValue, groups: set[str], products: set[str]) -> None:
    """Raise DataError where a setting names what is neither a product group nor a product; defaults may."""
    for section, defaults in BY_PRODUCT.items():
        given = getattr(settings, section)
        unknown = sorted(name for name in given if name not in groups | products | set(defaults))
        if unknown:
            raise DataError(
                f"company.toml, customer_value.{section}: {unknown[0]!r} is neither a product group nor a product; "
                f"groups are {', '.join(sorted(groups)) or 'none'}, products {', '.join(sorted(products)) or 'none'}"
            )


def _lines(values: Mapping[str, Any], section: str, where: str) -> list[tuple[str, Any]]:
    lines = values.get(section, {})
    if not isinstance(lines, Mapping):
        raise DataError(f"{where}.{section} is {lines!r}; write it as a section with a line for each name")
    return list(lines.items())


def _check_number(amount: Any, where: str, wanted: str, top: float) -> None:
    number = isinstance(amount, int | float) and not isinstance(amount, bool) and math.isfinite(amount)
    if not number or not 0 <= amount <= top:
        raise DataError(f"{where} is {amount!r}; give {wanted}")
