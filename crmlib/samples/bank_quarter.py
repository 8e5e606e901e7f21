"""One quarter of the sample bank: what the state at its start decides, exactly, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_model as model
from crmlib.samples import bank_names as names
from crmlib.samples import bank_population as population
from crmlib.samples import bank_products as catalogue
from crmlib.samples import bank_retention as retention
from crmlib.samples.bank_model import Floats
from crmlib.samples.bank_retention import Departures
from crmlib.samples.bank_state import Ints, People, Quarter, State

WITHIN_DAYS = 90
"""Horizon of the true probabilities; no quarter is shorter."""

PROBABILITIES = ("p", "p_none", *[f"p_{kind}" for kind in model.CONTACT_KINDS])

CONTACT_DAYS = 20
"""Contacts of a campaign are made in its first so many days."""


@dataclass(frozen=True)
class Campaign:
    """A campaign: one product, one quarter, and how its contacts are split over the kinds of contact."""

    campaign_id: str
    quarter: int
    product: int
    split: tuple[float, float, float]


@dataclass(frozen=True)
class _Decisive:
    """What else the truth tells: who could buy what, effects of contact, probabilities of leaving."""

    able: NDArray[np.bool_]
    effects: Floats
    departures: Departures


@dataclass(frozen=True)
class Outcome:
    """What is decided for a quarter. Arrays run over customers (× products); ``arm`` 0 none, 1 + kind, -1 control."""

    eligible: NDArray[np.bool_]
    quiet: Floats  # probability of a purchase in the quarter without contact, for who stays
    arm: Ints
    bought: Ints  # day, or 0
    left: Ints  # day, or 0
    left_reason: Ints
    kept: Ints  # arm of the retention campaign, as ``arm``
    truth: dict[str, dict[str, NDArray[Any]]]


def decide(
    rng: np.random.Generator,
    people: People,
    state: State,
    *,
    quarter: Quarter,
    campaigns: list[Campaign],
    held_out: NDArray[np.bool_],
    keeper: np.random.Generator | None,
) -> Outcome:
    """Draw contacts, purchases and departures of a quarter from the state at its start, with their true probabilities.

    Who is ``held_out`` is selected for no campaign. A retention campaign, where there is one, draws from ``keeper``.
    """
    given = model.drivers(people, state, at=quarter.first)
    able = model.eligible(people, state, at=quarter.first)
    odds = model.log_odds(people, state, given, season=quarter.season)
    effects = model.contact_effects(people, state, given)
    strength = np.array([product.contact for product in catalogue.PRODUCTS])
    quiet = _probability(odds)
    called = np.stack([_probability(odds + effects[:, [kind]] * strength) for kind in range(3)])
    chosen = _chosen(people, given, able & ~held_out[:, None], quarter=quarter, campaigns=campaigns)
    arm = _assign(rng, chosen, campaigns)
    hazards = model.churn_hazards(people, state, given, at=quarter.first)
    reachable = state.present(people, quarter.first) & ~held_out
    keeping = retention.nobody(people.size)
    if keeper is not None:
        keeping = retention.select(keeper, people, given, reachable, at=quarter.first)
    gone = retention.departures(rng, people, state, hazards, keeping=keeping, quarter=quarter)
    realised = np.choose(np.maximum(arm, 0), [quiet, *called])
    buys = able & (rng.random(able.shape) < realised) & (gone.left == 0)[:, None]
    days = quarter.first + (rng.random(able.shape) * quarter.days).astype(np.int32)
    truth: dict[str, dict[str, NDArray[Any]]] = {}
    if quarter.recorded:
        contact = (1 - model.CONTROL_SHARE) * chosen
        mixture = (1 - contact.sum(axis=0)) * quiet + (contact * called).sum(axis=0)
        truth = _truth(people, state, quarter, _Decisive(able, effects, gone), [mixture, quiet, *called])
    return Outcome(
        able, quiet, arm, np.where(buys, days, 0).astype(np.int32), gone.left, gone.reason, keeping.arm, truth
    )


def _probability(log_odds: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-log_odds))


def _chosen(
    people: People, given: dict[str, Floats], able: NDArray[np.bool_], *, quarter: Quarter, campaigns: list[Campaign]
) -> Floats:
    """Return the probability of being selected for each kind of contact (kinds × customers × products)."""
    out = np.zeros((3, *able.shape))
    at = quarter.first
    silent = ((people.withdrawn > 0) & (people.withdrawn < at)) | (people.objects & (people.objected < at))
    allowed = people.consents & ~silent[:, None]
    for campaign in campaigns:
        weights = allowed * np.array(campaign.split)
        total = weights.sum(axis=1, keepdims=True)
        share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        chance = model.selection(campaign.product, given) * able[:, campaign.product]
        out[:, :, campaign.product] = (share * chance[:, None]).T
    return out


def _assign(rng: np.random.Generator, chosen: Floats, campaigns: list[Campaign]) -> Ints:
    """Draw the arm of each customer and product: 0 not selected, 1 + kind contacted, -1 control."""
    size = chosen.shape[1]
    arm = np.zeros((size, chosen.shape[2]), dtype=np.int32)
    for campaign in campaigns:
        edges: Floats = np.cumsum(chosen[:, :, campaign.product], axis=0)
        draw = rng.random(size)
        kind = (draw >= edges[0]).astype(np.int32) + (draw >= edges[1])
        kept = rng.random(size) < model.CONTROL_SHARE
        arm[:, campaign.product] = np.where(draw < edges[2], np.where(kept, -1, 1 + kind), 0)
    return arm


def _truth(
    people: People, state: State, quarter: Quarter, values: _Decisive, probabilities: list[Floats]
) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the rows of the truth about a quarter; ``probabilities`` are those of a purchase by who stays."""
    share = WITHIN_DAYS / quarter.days
    leaving, by_arm = values.departures.leaving, values.departures.by_arm
    factor = (1 - leaving.sum(axis=1)) * share
    customer, product = np.nonzero(values.able)
    purchases: dict[str, NDArray[Any]] = {
        "customer": customer,
        "as_of": np.full(customer.size, quarter.first - 1, np.int32),
        "product": product,
    }
    for name, found in zip(PROBABILITIES, probabilities, strict=True):
        purchases[name] = (found[customer, product] * factor[customer]).astype(np.float32)
    who = np.flatnonzero(state.present(people, quarter.first))
    as_of = np.full(who.size, quarter.first - 1, np.int32)
    churn: dict[str, NDArray[Any]] = {"customer": who, "as_of": as_of}
    for number, reason in enumerate(model.CHURN_REASONS):
        churn[f"p_{reason}"] = (leaving[who, number] * share).astype(np.float32)
    for name, found in zip(("none", *model.RETENTION_KINDS), by_arm, strict=True):
        churn[f"p_{name}"] = (found[who] * share).astype(np.float32)
    effects: dict[str, NDArray[Any]] = {"customer": who, "as_of": as_of, "responder": people.responder[who]}
    for number, kind in enumerate(model.CONTACT_KINDS):
        effects[f"effect_{kind}"] = values.effects[who, number].astype(np.float32)
    return {"purchases": purchases, "churn": churn, "effects": effects}


def live(rng: np.random.Generator, people: People, state: State, *, quarter: Quarter) -> tuple[Ints, NDArray[np.bool_]]:
    """Change the state by the life events of a quarter; return the day on which each customer told of it, and births.

    All changes of a customer in a quarter fall on one day; it is 0 where nothing changed or the bank never heard of it.
    """
    size = people.size
    has = _life_events(rng, people, state, at=quarter.first)
    grown = np.exp(0.12 * rng.normal(size=size) + 0.05)
    factor = np.where(has["rise"], np.maximum(grown, 1), 1.0) * np.where(has["job"], grown**2, 1.0)
    factor *= np.where(has["start"], 2.4, 1.0) * np.where(has["retirement"], 0.6, 1.0)
    state.income = np.round(state.income * factor / 1_000) * 1_000
    works = np.where(rng.random(size) < 0.97, 0, 4)
    state.employment = np.select([has["retirement"], has["start"], has["job"]], [3, 0, works], state.employment)
    state.marital = np.select([has["wedding"], has["divorce"]], [1, 2], state.marital)
    state.kids = np.minimum(state.kids + has["birth"], 9).astype(np.int32)
    state.newborn = np.where(has["birth"], 2, np.maximum(state.newborn - 1, 0)).astype(np.int32)
    household = np.searchsorted(people.number, people.household)
    state.moved = has["move"]
    state.town = np.where(has["move"], rng.integers(0, names.TOWNS_PER_REGION, size)[household], state.town)
    away = has["move"] & (rng.random(size) < 0.4)[household]
    state.region = np.where(away, rng.integers(0, len(names.REGIONS), size)[household], state.region)
    account = state.holdings.held(size, quarter.first)[:, catalogue.NUMBER["current"]] > 0
    draw = rng.random(size)
    kept = state.salary & ~has["retirement"] & ~(has["job"] & (draw < 0.3))
    state.salary = kept | ((has["start"] | has["job"]) & account & (draw > 0.6))
    day = quarter.first + (rng.random(size) * quarter.days).astype(np.int32)
    told = np.any(list(has.values()), axis=0) & (day > people.since) & ~people.forgetful
    state.shown_income = np.where(told | people.missing["income"], state.income, state.shown_income)
    _drift(rng, state)
    return np.where(told, day, 0).astype(np.int32), has["birth"]


def _life_events(rng: np.random.Generator, people: People, state: State, *, at: int) -> dict[str, NDArray[np.bool_]]:
    """Draw to whom each life event happens in a quarter; households move together."""
    age = (at - people.birth) / 365.25
    draw = rng.random((6, people.size))
    household = np.searchsorted(people.number, people.household)
    married = state.marital == 1
    happens = {
        "rise": draw[0] < 0.05,
        "job": (draw[1] < 0.02) & (state.employment <= 1),
        "start": (draw[1] < 0.25) & (state.employment == 2) & (age > 23),
        "retirement": (draw[2] < 0.12) & (state.employment != 3) & (age > 63),
        "wedding": (draw[3] < 0.014) & ~married & (age < 50),
        "divorce": (draw[3] < 0.003) & married,
        "birth": (draw[4] < np.where(married, 0.026, 0.006)) & (age > 21) & (age < 43),
        "move": (draw[5] < 0.010 + 0.015 * (age < 35))[household],
    }
    return {name: mask & (state.left == 0) for name, mask in happens.items()}


def _drift(rng: np.random.Generator, state: State) -> None:
    """Let habits drift: rates, digital share, dormancy and satisfaction."""
    size = state.income.size
    state.drift = 0.9 * state.drift + 0.16 * rng.normal(size=state.drift.shape)
    state.digital = np.clip(state.digital + 0.004 + 0.03 * rng.normal(size=size), 0.02, 0.98)
    draw = rng.random(size)
    state.dormant = np.where(state.dormant, draw > 0.05, draw < 0.018)
    state.satisfaction = 0.9 * state.satisfaction + 0.43 * rng.normal(size=size) - _anger(state)


def _anger(state: State) -> Floats:
    """Return what a complaint took from the satisfaction: less where it was compensated than where it was only explained."""
    return np.where(state.complaints > 0, np.where(state.soothed, 0.3, 0.9), 0.0)


def settle(rng: np.random.Generator, people: People, state: State, outcome: Outcome, *, quarter: Quarter) -> None:
    """Close and open contracts as decided, and as their terms and their owners' whims say."""
    holdings = state.holdings
    leaves = outcome.left > 0
    state.left = np.where(leaves, outcome.left, state.left).astype(np.int32)
    state.left_reason = np.where(leaves, outcome.left_reason, state.left_reason).astype(np.int32)
    open_now = holdings.open_at(quarter.first)
    gone = open_now & leaves[holdings.customer]
    due = open_now & ~gone & (holdings.matures > 0) & (holdings.matures <= quarter.last)
    lapse = np.array([product.lapse for product in catalogue.PRODUCTS])[holdings.product]
    day = quarter.first + (rng.random(lapse.size) * quarter.days).astype(np.int32)
    whim = open_now & ~gone & ~due & (rng.random(lapse.size) < lapse)
    holdings.closed = np.select(
        [gone, due, whim],
        [outcome.left[holdings.customer], np.maximum(holdings.matures, quarter.first), day],
        holdings.closed,
    ).astype(np.int32)
    holdings.reason = np.select(
        [gone, due, whim], [3 + outcome.left_reason[holdings.customer], 1, 2], holdings.reason
    ).astype(np.int32)
    state.matured = np.zeros(people.size, dtype=bool)
    state.matured[holdings.customer[due & (holdings.product == catalogue.NUMBER["deposit"])]] = True
    customer, product = np.nonzero(outcome.bought)
    opened = outcome.bought[customer, product]
    holdings.extend(population.contracts(rng, state, customer=customer, product=product, opened=opened))
