"""The behaviour model of the sample bank: what drives purchases, churn and response (see docs/sample_bank.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_state import People, State

Floats = NDArray[np.float64]

CONTACT_KINDS = ("call", "mail", "email")
CHURN_REASONS = ("competitor", "price", "service", "moving", "death")
RESPONDERS = ("neutral", "persuadable", "annoyed")

RETENTION_KINDS = ("call", "email")
"""Kinds of contact with which the bank tries to keep a customer."""

RETENTION_CONTROL = 0.30
"""Share of those selected for a retention campaign who are left alone, at random."""

POINTS_CATEGORIES = ("groceries", "restaurants", "leisure", "shopping", "car")
"""Categories that earn points of the loyalty programme."""

MEMBERS_SPEND = 0.10
"""Added to the log of the rate of those categories by membership in the programme of points."""

CONTROL_SHARE = 0.15
"""Share of those selected for a campaign who are left alone, at random."""

SELECTED = 0.22
"""Highest probability of being selected for a campaign."""

DRIVERS = {
    "active": "log(1 + transactions in the last quarter) - 1",
    "digital": "2 × share of digital behaviour - 1",
    "income": "log(monthly income / 1,800) / 0.5, within ±3",
    "liquid": "(log(30 + balance on accounts, deposits excluded) - 6.5) / 1.5; 0 balance where there is no account",
    "broke": "max(0, -liquid), at most 2",
    "young": "1 / (1 + exp((age - 31) / 3))",
    "middle": "exp(-((age - 42) / 13)²)",
    "old": "1 / (1 + exp(-(age - 57) / 4))",
    "married": "1 where married",
    "kids": "children in the household, at most 2",
    "newborn": "1 where a child was born in the last quarter or the one before",
    "moved": "1 where the household moved in the last quarter",
    "salary": "1 where a salary was paid in the last quarter",
    "complaint": "1 where a complaint was made in the last quarter",
    "matured": "1 where a deposit ended in the last quarter",
    "income_travel": "income × travel",
    "young_digital": "young × digital",
    "married_rent": "married × rent",
    "refused": "1 where the bank refused a loan or card in the last quarter",
}
"""The drivers that are not counts of a category or holdings. ``<category>`` is log(1 + count in the last year),
``<category>_now`` the same for the last quarter, ``has_<product>`` is 1 where the product is held."""


@dataclass(frozen=True)
class Category:
    """One category of transactions.

    Attributes: ``rate`` transactions per quarter of an average active customer; ``spread`` standard deviation of the
    log of the rate over customers; ``trait`` the trait it leans on; ``median`` amount, minor units; ``inflow`` share
    that comes in; ``channels`` odds of branch, atm, card, internet, mobile.
    """

    name: str
    rate: float
    spread: float
    trait: int
    median: int
    inflow: float
    channels: tuple[float, float, float, float, float]


# fmt: off
TRAITS = ("household", "traveller", "driver", "homebody", "investor", "spender", "borrower")
CATEGORIES = (
    Category("salary", 3.0, 0.0, 0, 185_000, 1.0, (0, 0, 0, 1, 0)),
    Category("groceries", 0.85, 0.7, 0, 3_500, 0.0, (0, 0, 9, 0, 1)),
    Category("restaurants", 0.30, 1.0, 5, 2_800, 0.0, (0, 0, 9, 0, 1)),
    Category("leisure", 0.30, 1.1, 5, 4_000, 0.0, (0, 0, 5, 3, 2)),
    Category("shopping", 0.45, 1.0, 5, 6_000, 0.01, (0, 0, 5, 3, 2)),
    Category("travel", 0.16, 1.4, 1, 32_000, 0.01, (0, 0, 3, 4, 2)),
    Category("exchange", 0.09, 1.5, 1, 25_000, 0.3, (3, 0, 0, 3, 3)),
    Category("car", 0.50, 0.9, 2, 5_500, 0.0, (0, 0, 9, 1, 1)),
    Category("home", 0.18, 1.1, 3, 12_000, 0.01, (0, 0, 6, 3, 1)),
    Category("utilities", 0.45, 0.8, 3, 9_000, 0.0, (2, 0, 0, 5, 3)),
    Category("rent", 0.90, 0.5, 3, 70_000, 0.0, (1, 0, 0, 6, 3)),
    Category("children", 0.25, 0.9, 0, 5_000, 0.0, (0, 0, 7, 2, 1)),
    Category("health", 0.20, 1.1, 0, 6_000, 0.02, (0, 0, 8, 2, 1)),
    Category("transfer", 0.45, 1.0, 4, 15_000, 0.4, (1, 0, 0, 5, 5)),
    Category("securities", 0.12, 1.5, 4, 60_000, 0.35, (1, 0, 0, 5, 4)),
    Category("cash", 0.45, 1.1, 6, 12_000, 0.1, (2, 8, 0, 0, 0)),
    Category("fee", 0.12, 1.3, 6, 900, 0.0, (1, 0, 0, 1, 0)),
)
# fmt: on
CATEGORY_NUMBER = {category.name: number for number, category in enumerate(CATEGORIES)}


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-values))


def drivers(people: People, state: State, *, at: int) -> dict[str, Floats]:
    """Return the drivers of purchases at the day number ``at``, each an array over the block's customers."""
    age = (at - people.birth) / 365.25
    year, last = np.log1p(state.counts.sum(axis=0)), np.log1p(state.counts[-1])
    held = state.holdings.held(people.size, at) > 0
    income = np.clip(np.log(state.income / 180_000) / 0.5, -3, 3)
    liquid = np.clip((np.log(30 + state.liquid / 100) - 6.5) / 1.5, -3, 3)
    digital, young = 2 * state.digital - 1, _sigmoid((31 - age) / 3)
    married = (state.marital == 1).astype(float)
    out = {
        "active": np.log1p(state.counts[-1].sum(axis=1)) - 1,
        "digital": digital,
        "income": income,
        "liquid": liquid,
        "broke": np.clip(-liquid, 0, 2),
        "young": young,
        "middle": np.exp(-(((age - 42) / 13) ** 2)),
        "old": _sigmoid((age - 57) / 4),
        "married": married,
        "kids": np.minimum(state.kids, 2).astype(float),
        "newborn": (state.newborn > 0).astype(float),
        "moved": state.moved.astype(float),
        "salary": (state.counts[-1][:, 0] > 0).astype(float),
        "complaint": (state.complaints > 0).astype(float),
        "matured": state.matured.astype(float),
        "refused": state.refused.astype(float),
        "young_digital": young * digital,
    }
    for number, category in enumerate(CATEGORIES[1:], start=1):
        out[category.name] = year[:, number]
        out[f"{category.name}_now"] = last[:, number]
    out["income_travel"] = income * out["travel"]
    out["married_rent"] = married * out["rent"]
    out.update({f"has_{product_id}": held[:, k].astype(float) for k, product_id in enumerate(catalogue.IDS)})
    return out


def log_odds(people: People, state: State, given: dict[str, Floats], *, season: int) -> Floats:
    """Return the log-odds (customers × products) of a purchase in the quarter without contact by the bank.

    ``season`` is the quarter of the year, 0 to 3. The bank is deaf to eligibility here: see ``eligible``.
    """
    shared = catalogue.PESTERED * np.log1p(state.contacted)
    visits = catalogue.VISITED * np.log1p(state.visits)
    out = people.affinity + catalogue.ABANDONED * state.abandoned
    for k, product in enumerate(catalogue.PRODUCTS):
        out[:, k] += product.intercept + product.season[season] + shared + visits[:, catalogue.GROUP_OF[k]]
        for name, weight in product.drivers.items():
            out[:, k] += weight * given[name]
    return out


def completed_years(birth: NDArray[np.int32], at: int) -> NDArray[np.int64]:
    """Return the age in completed years at the day number ``at``."""
    days = birth.astype("datetime64[D]")
    today = np.datetime64(at, "D")
    years = today.astype("datetime64[Y]").astype(int) - days.astype("datetime64[Y]").astype(int)
    into = (days - days.astype("datetime64[M]")).astype(int) + 31 * (days.astype("datetime64[M]").astype(int) % 12)
    month = today.astype("datetime64[M]")
    return years - (into > (today - month).astype(int) + 31 * (month.astype(int) % 12))


def eligible(people: People, state: State, *, at: int) -> NDArray[np.bool_]:
    """Return who could buy what (customers × products) at the end of the day before ``at``.

    A product can be bought by who does not hold it (unless it is repeatable), has the age and the income, and holds
    the product that it requires.
    """
    held = state.holdings.held(people.size, at) > 0
    age = completed_years(people.birth, at - 1)
    out = np.empty(held.shape, dtype=bool)
    for k, product in enumerate(catalogue.PRODUCTS):
        out[:, k] = (age >= product.ages[0]) & (age <= product.ages[1])
        if not product.repeatable:
            out[:, k] &= ~held[:, k]
        if product.minimum_income is not None:
            out[:, k] &= state.shown_income >= product.minimum_income
        if product.requires:
            out[:, k] &= held[:, catalogue.NUMBER[product.requires]]
    return out & state.present(people, at)[:, None]


def contact_effects(people: People, state: State, given: dict[str, Floats]) -> Floats:
    """Return what a contact of each kind adds to the log-odds (customers × kinds) before the product's ``contact``."""
    digital, old = given["digital"], given["old"]
    tired = np.log1p(state.contacted)
    persuadable, annoyed = people.responder == 1, people.responder == 2
    effects = [
        0.85 + 0.35 * old - 0.30 * digital + 0.5 * persuadable - 1.5 * annoyed - 0.35 * tired,
        0.40 + 0.30 * old - 0.10 * digital + 0.3 * persuadable - 0.5 * annoyed - 0.15 * tired,
        0.30 + 0.45 * digital + 0.3 * persuadable - 0.6 * annoyed - 0.25 * tired,
    ]
    return np.stack(effects, axis=1)


def selection(product: int, given: dict[str, Floats]) -> Floats:
    """Return the probability with which the bank selects each customer for a campaign: a rule of thumb of its own.

    It looks at the two strongest drivers of the product only.
    """
    weights = catalogue.PRODUCTS[product].drivers
    strongest = sorted(weights, key=lambda name: -abs(weights[name]))[:2]
    score = sum((weights[name] * given[name] for name in strongest), start=np.zeros(given["income"].size))
    return SELECTED * _sigmoid(score - 1.5)


def churn_hazards(people: People, state: State, given: dict[str, Floats], *, at: int) -> Floats:
    """Return the integrated hazard of leaving in the quarter (customers × reasons)."""
    age = (at - people.birth) / 365.25
    tenure = np.log1p(np.maximum(at - people.since, 0) / 365.25)
    loyal = np.log1p(state.holdings.held(people.size, at).sum(axis=1))
    hazards = [
        np.exp(-3.8 - 0.5 * state.satisfaction - 0.5 * given["active"] - 0.35 * tenure - 0.6 * loyal),
        np.exp(-5.4 + 0.7 * given["fee"] - 0.3 * state.satisfaction + 0.3 * given["young"] - 0.3 * loyal),
        np.exp(-6.2 + 1.8 * given["complaint"] - 0.6 * state.satisfaction),
        np.exp(-7.6 + 3.2 * given["moved"]),
        np.exp(-8.6 + 0.085 * (age - 40)),
    ]
    return np.stack(hazards, axis=1)


def retention_effects(people: People) -> Floats:
    """Return what a retention contact adds to the log of the hazards of leaving (kinds × customers × reasons).

    Nobody can be kept from moving or dying; whom calls annoy leaves the rather.
    """
    persuadable, annoyed = people.responder == 1, people.responder == 2
    out = np.zeros((len(RETENTION_KINDS), people.size, len(CHURN_REASONS)))
    for kind, changes in enumerate(((-0.70, -0.55, -0.60), (-0.20, -0.40, -0.10))):
        out[kind, :, :3] = np.array(changes)[None, :] - 0.20 * persuadable[:, None]
    out[0][annoyed, :3] = (0.35, 0.35, 0.20)
    out[1][annoyed, :3] = 0.05
    return out


def retention_selection(given: dict[str, Floats]) -> Floats:
    """Return the probability with which a retention campaign selects each customer: the bank's own rule of thumb."""
    return 0.6 * _sigmoid(1.5 * given["complaint"] + 0.6 * given["fee"] - 0.8 * given["active"] - 1.2)


def answering(given: dict[str, Floats], satisfaction: Floats) -> Floats:
    """Return the probability of an answer to the loyalty survey in a quarter: who is old, active and content answers."""
    lean = 0.7 * given["old"] - 0.4 * given["digital"] + 0.35 * given["active"] + 0.12 * satisfaction
    return np.minimum(0.045 * np.exp(lean), 0.4)
