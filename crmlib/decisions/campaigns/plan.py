"""The plan of a campaign as data: goal, arms, control group, dates, budget, capacities, the effect worth finding."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crmlib.decisions import policy_times
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.warehouse.company import Company

CHANNELS = ("call", "mail", "email", "sms", "internet", "mobile", "branch", "event")
"""How a campaign reaches people: telemarketing, direct mail, e-mail, messages, the internet bank, visits and events."""

STRATA = ("region", "segment", "score")
CONTROL = "control"
MAXIMUM_CONTROL = 0.9


@dataclass(frozen=True)
class Arm:
    """One way in which members are treated: an offer by a channel.

    Attributes: ``name`` unique in the plan; ``weight`` its part of those treated, relative to the other arms;
    ``cost_minor`` of one contact, None for the company's cost of the channel.
    """

    name: str
    product_id: str
    channel: str
    weight: float = 1.0
    cost_minor: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a campaign is meant to do.

    Attributes: ``audience_id`` a saved audience; ``control_share`` of those who may be contacted is left alone;
    ``budget_minor`` None for no limit; ``capacities`` contacts a day by channel; ``baseline`` and ``effect`` the share
    who buy without the campaign and the added share worth finding (0 to 1); ``within_days`` after the assignment a
    purchase counts; ``strata`` what the groups must be alike in; ``quiet_weekdays`` 0 for Monday to 6 for Sunday.
    """

    name: str
    goal: str
    owner: str
    audience_id: int
    arms: tuple[Arm, ...]
    starts_on: dt.date
    ends_on: dt.date
    control_share: float = 0.15
    budget_minor: int | None = None
    capacities: Mapping[str, int] = field(default_factory=dict)
    baseline: float = 0.02
    effect: float = 0.01
    within_days: int = 90
    strata: tuple[str, ...] = ("region",)
    quiet_weekdays: tuple[int, ...] = (5, 6)

    @property
    def products(self) -> list[str]:
        """The products of the arms, in order and once each."""
        return list(dict.fromkeys(arm.product_id for arm in self.arms))

    @property
    def channels(self) -> list[str]:
        """The channels of the arms, in order and once each."""
        return list(dict.fromkeys(arm.channel for arm in self.arms))


def to_json(plan: Plan) -> dict[str, Any]:
    """Return what the store keeps of a plan beside its own columns."""
    found = asdict(plan)
    for name in ("name", "owner", "audience_id", "starts_on", "ends_on"):
        del found[name]
    return {**found, "arms": list(found["arms"]), "strata": list(plan.strata), "capacities": dict(plan.capacities)}


def from_json(values: Mapping[str, Any], **columns: Any) -> Plan:
    """Return the plan written by ``to_json``; ``columns`` are those the store keeps beside it."""
    kept: dict[str, Any] = {name: value for name, value in values.items() if name in Plan.__dataclass_fields__}
    lists: dict[str, Any] = {name: tuple(kept[name]) for name in ("strata", "quiet_weekdays") if name in kept}
    arms = tuple(Arm(**arm) for arm in values["arms"])
    return Plan(**(kept | lists | columns | {"arms": arms}))


def check(plan: Plan, *, company: Company, products: set[str], today: dt.date) -> None:
    """Refuse a plan that cannot be carried out; the first thing wrong is named.

    In: ``products`` on sale, ``today`` the day of the question. Raises UsageError for a parameter that contradicts
    itself, NotFoundError for an unknown product, DataError for dates that are past and a budget below one contact.
    """
    for parameter in ("name", "goal", "owner"):
        if not str(getattr(plan, parameter)).strip():
            raise UsageError(f"{parameter} is empty; a campaign is recorded with its name, its goal and its owner")
    _check_arms(plan, products=products)
    _check_numbers(plan)
    if plan.ends_on < plan.starts_on:
        raise UsageError(f"ends_on {plan.ends_on} is before starts_on {plan.starts_on}; exchange them")
    if plan.starts_on < today:
        raise DataError(f"starts_on {plan.starts_on} is in the past (today is {today}); choose a later day")
    cheapest = min(costs(plan, company).values())
    if plan.budget_minor is not None and plan.budget_minor < cheapest:
        raise DataError(
            f"budget_minor {plan.budget_minor} does not pay for one contact, which costs {cheapest:g}; raise the budget or take a cheaper channel"
        )
    if not contact_days(plan, company):
        raise DataError(
            f"every day from {plan.starts_on} to {plan.ends_on} is a holiday or a quiet weekday; choose other dates"
        )


def _check_arms(plan: Plan, *, products: set[str]) -> None:
    if not plan.arms:
        raise UsageError(
            "the campaign has no arms, so it would contact nobody; give at least one offer and its channel"
        )
    names: set[str] = set()
    for arm in plan.arms:
        if not arm.name.strip():
            raise UsageError("an arm has no name; name it after its offer and channel")
        if arm.name.strip().casefold() == CONTROL:
            raise UsageError(f"an arm is named {arm.name!r}; that is the name of the group left alone, take another")
        if arm.name.strip().casefold() in names:
            raise UsageError(f"two arms are named {arm.name!r}; give each its own name")
        names.add(arm.name.strip().casefold())
        if arm.product_id not in products:
            raise NotFoundError(
                f"arm {arm.name!r}: there is no product {arm.product_id!r} on sale; there are {', '.join(sorted(products))}"
            )
        if arm.channel not in CHANNELS:
            raise UsageError(f"arm {arm.name!r}: channel is {arm.channel!r}; use one of {', '.join(CHANNELS)}")
        if not (math.isfinite(arm.weight) and arm.weight > 0):
            raise UsageError(f"arm {arm.name!r}: weight is {arm.weight}; give a number above zero")
        if arm.cost_minor is not None and not (math.isfinite(arm.cost_minor) and arm.cost_minor >= 0):
            raise UsageError(f"arm {arm.name!r}: cost_minor is {arm.cost_minor}; give zero or more minor units")


def _check_numbers(plan: Plan) -> None:
    if not plan.control_share > 0:
        raise UsageError(
            f"control_share is {plan.control_share}, a control group of nobody; leave some alone, 0.15 say, or the effect cannot be measured"
        )
    if not plan.control_share <= MAXIMUM_CONTROL:
        raise UsageError(
            f"control_share is {plan.control_share}; give at most {MAXIMUM_CONTROL}, so that some are treated"
        )
    if plan.budget_minor is not None and plan.budget_minor < 0:
        raise UsageError(f"budget_minor is {plan.budget_minor}; give zero or more minor units")
    for channel, most in plan.capacities.items():
        if channel not in CHANNELS:
            raise UsageError(f"capacities: channel is {channel!r}; use one of {', '.join(CHANNELS)}")
        if most < 1 and channel in plan.channels:
            raise UsageError(f"capacities: {channel} is {most} a day, so nobody can be contacted; give one or more")
    if not (0 < plan.baseline < 1 and 0 < plan.effect < 1 and plan.baseline + plan.effect < 1):
        raise UsageError(
            f"baseline is {plan.baseline} and effect {plan.effect}; give shares between 0 and 1 whose sum stays below 1"
        )
    if plan.within_days < 1:
        raise UsageError(f"within_days is {plan.within_days}; give one day or more")
    if unknown := [name for name in plan.strata if name not in STRATA]:
        raise UsageError(f"strata: {unknown[0]!r} is unknown; use {', '.join(STRATA)}")
    if wrong := [day for day in plan.quiet_weekdays if day not in range(7)]:
        raise UsageError(f"quiet_weekdays: {wrong[0]!r} is no weekday; use 0 for Monday to 6 for Sunday")


def costs(plan: Plan, company: Company) -> dict[str, float]:
    """Return the cost of one contact by arm, minor units.

    Raises UsageError for a channel to which neither the arm nor the company gives a cost.
    """
    found = {}
    for arm in plan.arms:
        cost = company.contact_costs_minor.get(arm.channel) if arm.cost_minor is None else arm.cost_minor
        if cost is None:
            raise UsageError(
                f"arm {arm.name!r}: channel {arm.channel!r} has no cost of contact; give cost_minor or add it to contact_costs_minor in company.toml"
            )
        found[arm.name] = float(cost)
    return found


def contact_days(plan: Plan, company: Company) -> list[dt.date]:
    """Return the days on which the campaign may contact anybody.

    Left out are the company's holidays, the quiet days of its contact policy and the plan's own quiet weekdays.
    """
    days = policy_times.allowed_days(company, plan.starts_on, plan.ends_on)
    holidays = set(company.holidays)
    return [day for day in days if day.weekday() not in plan.quiet_weekdays and day.isoformat() not in holidays]
