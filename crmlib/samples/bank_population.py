"""Who the customers of the sample bank are at first: people, households, habits, first contracts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_names as names
from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_model import (
    CATEGORIES,
    CATEGORY_NUMBER,
    MEMBERS_SPEND,
    POINTS_CATEGORIES,
    TRAITS,
    Floats,
    completed_years,
    drivers,
    log_odds,
)
from crmlib.samples.bank_state import Holdings, Ints, People, State

FIRST_NUMBER = 10_000_001
"""Number of the first customer."""

EMPLOYMENT = ("employed", "self-employed", "student", "retired", "unemployed")
MARITAL = ("single", "married", "divorced", "widowed")
EDUCATION = ("basic", "secondary", "higher", "doctorate")

_MISSING = {
    "income": 0.08,
    "education": 0.15,
    "occupation": 0.20,
    "phone": 0.05,
    "email": 0.25,
    "postcode": 0.03,
    "birth": 0.007,
    "marital": 0.04,
    "person": 0.10,
    "manager": 0.60,
    "risk": 0.50,
    "favourite": 0.65,
}
_SEASONS = {
    "travel": (0.8, 1.15, 1.4, 0.8),
    "exchange": (0.8, 1.2, 1.3, 0.8),
    "shopping": (0.9, 0.95, 0.95, 1.25),
    "utilities": (1.25, 0.9, 0.8, 1.1),
    "home": (0.85, 1.1, 1.1, 0.95),
}
_OWNED_BY = {"car": 0.55, "rent": 0.30, "securities": 0.40, "exchange": 0.50}


def people(rng: np.random.Generator, size: int, *, first: int, begin: int, start: int, end: int) -> People:
    """Draw ``size`` customers; ``begin`` is the first simulated day, records run from ``start`` to ``end``."""
    number = FIRST_NUMBER + first + np.arange(size, dtype=np.int64)
    household, twin = _households(rng, number)
    female = rng.random(size) < 0.52
    age = np.clip(18 + rng.gamma(3.0, 9.0, size), 18, 92)
    birth = (start - age * 365.25).astype(np.int32)
    second = twin >= 0
    birth[second] = birth[twin[second]]
    adult = birth + int(18.1 * 365.25)
    before = start - 40 - np.minimum(rng.exponential(2_600, size), 9_000)
    since = np.where(rng.random(size) < 0.88, np.maximum(before, adult), rng.integers(start, end - 30, size))
    since = np.where(second & (since < start), np.maximum(since, begin - rng.integers(1, 700, size)), since)
    habit = _habits(rng, size)
    out: dict[str, Any] = {
        "female": female,
        "given_name": (rng.random(size) ** 1.5 * len(names.GIVEN_FEMALE)).astype(np.int32),
        "family_name": (rng.random(size) ** 1.3 * len(names.FAMILY)).astype(np.int32)[
            np.searchsorted(number, household)
        ],
        "birth": birth,
        "education": rng.choice(4, size, p=(0.15, 0.45, 0.36, 0.04)).astype(np.int32),
        "occupation": rng.integers(0, len(names.OCCUPATIONS), size, dtype=np.int32),
    }
    for values in out.values():  # a duplicate record is about the same person
        values[second] = values[twin[second]]
    return People(
        number=number,
        household=household,
        twin=twin,
        since=since.astype(np.int32),
        habit=habit,
        appetite=rng.gamma(1.3, 1 / 1.3, size),
        saver=rng.normal(size=size),
        responder=rng.choice(3, size, p=(0.60, 0.25, 0.15)).astype(np.int32),
        affinity=catalogue.AFFINITY * rng.normal(size=(size, len(catalogue.PRODUCTS))),
        consents=rng.random((size, 3)) < (0.70, 0.80, 0.65),
        withdrawn=_some_days(rng, size, share=0.04, between=(start, end)),
        objects=(objects := rng.random(size) < 0.01),
        objected=np.where(objects, np.maximum(since, rng.integers(start - 700, end, size)), 0).astype(np.int32),
        missing={name: rng.random(size) < share for name, share in _MISSING.items()},
        forgetful=rng.random(size) < 0.10,
        **out,
    )


def _some_days(rng: np.random.Generator, size: int, *, share: float, between: tuple[int, int]) -> Ints:
    days = rng.integers(*between, size, dtype=np.int32)
    return np.where(rng.random(size) < share, days, 0).astype(np.int32)


def _households(rng: np.random.Generator, number: NDArray[np.int64]) -> tuple[NDArray[np.int64], Ints]:
    """Return the household (number of its first member) of each customer, and who is a second record of whom."""
    size = number.size
    members = rng.choice((1, 2, 3), size, p=(0.62, 0.28, 0.10))
    place = np.repeat(np.cumsum(members) - members, members)[:size]
    household = number[place]
    twin = np.full(size, -1, dtype=np.int32)
    second = np.flatnonzero((rng.random(size) < 0.008) & (place == np.arange(size)) & (np.arange(size) > 0))
    second = second[~np.isin(second - 1, second)]
    twin[second] = second - 1
    household[second] = household[second - 1]
    return household, twin


def _habits(rng: np.random.Generator, size: int) -> Floats:
    """Return the log of each customer's usual rate of each category against the average; -20 where there is none."""
    traits = rng.normal(size=(size, len(TRAITS)))
    out = np.empty((size, len(CATEGORIES)))
    for number, category in enumerate(CATEGORIES):
        own = rng.normal(size=size)
        out[:, number] = category.spread * (0.75 * traits[:, category.trait] + 0.66 * own) - category.spread**2 / 2
        if category.name in _OWNED_BY:
            share = _OWNED_BY[category.name]
            out[:, number] = np.where(rng.random(size) < share, out[:, number] - np.log(share), -20.0)
    return out


def rates(given: People, state: State, *, season: int) -> Floats:
    """Return the expected transactions of a quarter (customers × categories); salaries are not drawn but paid."""
    base = 0.78 * np.array([category.rate for category in CATEGORIES])
    for name, factors in _SEASONS.items():
        base[CATEGORY_NUMBER[name]] *= factors[season]
    out = base * np.exp(np.minimum(given.habit + state.drift, 2.5))
    out *= (given.appetite * np.where(state.dormant, 0.03, 1.0))[:, None]
    out[:, 0] = 0.0
    out[:, CATEGORY_NUMBER["children"]] *= np.where(state.kids > 0, 1.0 + 0.7 * state.kids + 1.5 * state.newborn, 0.05)
    out[:, CATEGORY_NUMBER["home"]] *= 1.0 + 5.0 * state.moved
    for name in POINTS_CATEGORIES:
        out[:, CATEGORY_NUMBER[name]] *= np.where(state.member, np.exp(MEMBERS_SPEND), 1.0)
    richer = np.clip(state.income / 180_000, 0.3, 3.0)[:, None]
    for name in ("travel", "securities", "exchange", "leisure"):
        out[:, CATEGORY_NUMBER[name]] *= 0.4 + 0.6 * richer[:, 0]
    return out


def first_state(rng: np.random.Generator, given: People, *, begin: int) -> State:
    """Draw the state of the customers on the first simulated day, their contracts included."""
    size = given.size
    # These are shared by several fields: a quarter replaces them, it never writes into them.
    nothing = np.zeros(size)
    no_days = np.zeros(size, dtype=np.int32)
    never = np.zeros(size, dtype=bool)
    who = _circumstances(rng, given, begin=begin)
    state = State(
        **who,
        shown_income=who["income"].copy(),
        drift=0.3 * rng.normal(size=(size, len(CATEGORIES))),
        dormant=rng.random(size) < 0.22,
        salary=never,
        wealth=0.45 * rng.normal(size=size),
        liquid=nothing,
        satisfaction=rng.normal(size=size),
        counts=np.zeros((4, size, len(CATEGORIES))),
        visits=np.zeros((size, len(catalogue.GROUPS))),
        abandoned=np.zeros((size, len(catalogue.PRODUCTS)), dtype=bool),
        refused=never,
        contacted=nothing,
        member=never,
        points=np.zeros((5, size), dtype=np.int64),
        complaints=no_days,
        soothed=never,
        newborn=no_days,
        moved=never,
        matured=never,
        left=no_days,
        left_reason=no_days,
        holdings=_no_holdings(),
    )
    state.counts = rng.poisson(rates(given, state, season=0), size=state.counts.shape).astype(float)
    state.liquid = state.income * np.exp(0.8 * given.saver + state.wealth)
    state.holdings.extend(_first_holdings(rng, given, state, begin=begin))
    everything = state.holdings.held(size, int(given.since.max()) + 1)
    has_account = everything[:, catalogue.NUMBER["current"]] > 0
    state.salary = has_account & (state.employment == 0) & (rng.random(size) < 0.42)
    return state


def _circumstances(rng: np.random.Generator, given: People, *, begin: int) -> dict[str, Any]:
    """Draw where and how the customers live: region, town, work, income, family, digital share."""
    size, age = given.size, completed_years(given.birth, begin)
    household = np.searchsorted(given.number, given.household)
    region = rng.integers(0, len(names.REGIONS), size, dtype=np.int32)[household]
    employment = np.select(
        [age >= 64, age < 23, rng.random(size) < 0.12, rng.random(size) < 0.06], [3, 2, 1, 4], default=0
    )
    wage = 180_000 * np.exp(0.45 * rng.normal(size=size) + names.AFFLUENCE[region] + 0.2 * (given.education - 1.3))
    marital = np.select(
        [age < 23 + 4 * rng.random(size), rng.random(size) < 0.58, rng.random(size) < 0.25], [0, 1, 2], default=0
    )
    fertile = np.clip((age - 22) / 18, 0, 1) * (age < 62)
    kids = rng.poisson(fertile * np.where(marital == 1, 1.3, 0.35))
    return {
        "income": np.round(wage * np.array([1.0, 1.1, 0.35, 0.55, 0.3])[employment] / 1_000) * 1_000,
        "employment": employment.astype(np.int32),
        "marital": marital.astype(np.int32),
        "kids": np.minimum(kids, 5).astype(np.int32),
        "region": region,
        "town": rng.integers(0, names.TOWNS_PER_REGION, size, dtype=np.int32)[household],
        "digital": 1 / (1 + np.exp(-(1.8 - 0.045 * age + 1.1 * rng.normal(size=size)))),
    }


def _no_holdings() -> Holdings:
    empty = np.zeros(0, dtype=np.int32)
    return Holdings(empty, empty, empty, empty, empty, empty, np.zeros(0, dtype=np.int64), empty)


def _first_holdings(rng: np.random.Generator, given: People, state: State, *, begin: int) -> Holdings:
    """Draw who holds what at first: the same drivers as for purchases, around each product's share."""
    odds = log_odds(given, state, drivers(given, state, at=begin), season=0)
    age = completed_years(given.birth, begin)
    have = np.zeros(odds.shape, dtype=bool)
    for k, product in enumerate(catalogue.PRODUCTS):
        lean = np.clip(odds[:, k] - product.intercept - 1.8, -3, 3) * (0.0 if product.product_id == "current" else 0.7)
        chance = 1 / (1 + np.exp(-(np.log(product.held / (1 - product.held)) + lean)))
        have[:, k] = (rng.random(given.size) < chance) & (age >= product.ages[0]) & (age <= product.ages[1])
        if product.requires:
            have[:, k] &= have[:, catalogue.NUMBER[product.requires]]
    have[~have.any(axis=1), catalogue.NUMBER["savings"]] = True
    customer, product_number = np.nonzero(have)
    earliest = np.maximum(given.since[customer], begin - 1_800)
    opened = earliest + (rng.random(customer.size) * np.maximum(begin - earliest, 0)).astype(np.int32)
    return contracts(
        rng,
        state,
        customer=customer,
        product=product_number,
        opened=np.maximum(opened, given.since[customer]),
        floor=begin,
    )


def contracts(
    rng: np.random.Generator,
    state: State,
    *,
    customer: NDArray[np.int64],
    product: NDArray[np.int64],
    opened: NDArray[np.int32],
    floor: int = 0,
) -> Holdings:
    """Return new contracts: amount, channel and contractual end of each; no end lies before ``floor``."""
    count = customer.size
    term = np.array([p.term for p in catalogue.PRODUCTS])[product]
    median = np.array([p.amount for p in catalogue.PRODUCTS])[product]
    richer = (state.income[customer] / 180_000) ** 0.8
    amount = np.round(median * richer * np.exp(0.6 * rng.normal(size=count)) / 10_000) * 10_000
    matures = opened + np.round(term * 30.4375).astype(np.int32)
    late = matures < floor
    matures[late] = floor + rng.integers(0, 365, int(late.sum()))
    digital = state.digital[customer]
    draw = rng.random(count)
    channel = np.select(
        [draw < 0.75 * digital, draw < 0.75 * digital + 0.15], [rng.integers(2, 4, count), 1], default=0
    )
    return Holdings(
        customer=customer.astype(np.int32),
        product=product.astype(np.int32),
        opened=opened.astype(np.int32),
        matures=np.where(term > 0, matures, 0).astype(np.int32),
        closed=np.zeros(count, dtype=np.int32),
        reason=np.zeros(count, dtype=np.int32),
        amount=amount.astype(np.int64),
        channel=channel.astype(np.int32),
    )
