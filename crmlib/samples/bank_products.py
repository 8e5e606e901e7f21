"""The twenty products of the sample bank: their terms, and what drives their sale (see docs/sample_bank.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUPS = ("accounts", "cards", "deposits", "loans", "insurance", "investment")


@dataclass(frozen=True)
class Product:
    """One product.

    Attributes: ``drivers`` what each driver (``bank_model.drivers``) adds to the log-odds of a purchase in a quarter;
    ``intercept`` the log-odds where all drivers are 0; ``season`` added to it in each quarter of the year;
    ``contact`` how strongly a contact works; ``held`` the share that holds it at first; ``lapse`` the probability that
    a holding is closed early in a quarter; money in minor units, ``amount`` the median contract amount; ``substitutes``
    what serves differently, ``replaced_by`` what serves as well; ``supply`` pieces that can be delivered per quarter;
    ``attributes`` further conditions of sale. The simulation knows none of the last three.
    """

    product_id: str
    name: str
    group: str
    intercept: float
    drivers: dict[str, float]
    margin: int
    margin_months: int
    held: float
    lapse: float
    season: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    contact: float = 1.0
    price: int = 0
    rate: float | None = None
    term: int = 0
    ages: tuple[int, int] = (18, 150)
    minimum_income: int | None = None
    requires: str = ""
    repeatable: bool = False
    amount: int = 0
    carries_balance: bool = False
    substitutes: tuple[str, ...] = field(default=())
    replaced_by: tuple[str, ...] = field(default=())
    supply: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


# fmt: off
PRODUCTS = (
    Product("current", "Current account", "accounts", -3.5,
            {"active": 1.3, "digital": 0.8, "young": 1.4, "shopping": 0.7, "has_savings": 0.9, "has_deposit": 0.6, "complaint": -0.6},
            6_000, 24, held=0.78, lapse=0.0, price=3_600, carries_balance=True, contact=0.8, substitutes=("premium",)),
    Product("premium", "Premium account", "accounts", -6.0,
            {"income": 1.3, "travel": 1.0, "leisure": 0.9, "middle": 0.9, "has_brokerage": 0.8, "liquid": 0.5, "complaint": -0.5},
            18_000, 24, held=0.09, lapse=0.04, price=18_000, minimum_income=200_000, requires="current",
            contact=1.1, season=(0.0, 0.1, 0.0, 0.1), substitutes=("current",),
            attributes={"minimum_tenure_months": 3}),
    Product("child", "Child's account", "accounts", -6.2,
            {"kids": 1.5, "children": 1.2, "newborn": 1.5, "children_now": 0.5, "married": 0.3, "digital": 0.3},
            2_500, 36, held=0.07, lapse=0.02, ages=(20, 60), requires="current", contact=0.8, season=(0.0, 0.1, 0.2, 0.0),
            attributes={"occasions": ["child_7", "child_14"]}),
    Product("fx_account", "Foreign currency account", "accounts", -5.0,
            {"exchange": 2.1, "travel": 0.9, "income": 0.4, "has_travel_card": 0.8, "transfer": 0.4},
            3_000, 24, held=0.06, lapse=0.05, carries_balance=True, contact=0.7, season=(0.0, 0.3, 0.1, -0.1)),
    Product("debit_gold", "Gold debit card", "cards", -5.8,
            {"active": 0.9, "shopping": 0.9, "leisure": 0.9, "income": 0.6, "has_credit_card": -0.5, "young": 0.5},
            5_000, 24, held=0.14, lapse=0.06, price=4_800, requires="current", season=(0.0, 0.0, 0.0, 0.25),
            supply=800),
    Product("credit_card", "Credit card", "cards", -6.3,
            {"shopping": 1.4, "fee": 1.1, "salary": 1.2, "broke": 0.6, "middle": 0.9, "has_cash_loan": 0.6, "refused": -0.9},
            12_000, 36, held=0.17, lapse=0.05, price=2_400, rate=18.9, ages=(21, 70), minimum_income=80_000, amount=150_000,
            carries_balance=True, season=(0.0, 0.0, 0.05, 0.3), contact=1.1, substitutes=("overdraft",),
            replaced_by=("travel_card",), attributes={"documents": ["identity"]}),
    Product("travel_card", "Travel card", "cards", -5.4,
            {"travel": 1.9, "income_travel": 0.4, "exchange": 0.8, "digital": 0.5, "has_premium": 0.5, "travel_now": 0.4},
            9_000, 24, held=0.07, lapse=0.05, price=6_000, rate=19.9, ages=(21, 70), minimum_income=100_000, amount=200_000,
            season=(0.1, 0.3, 0.0, -0.1), substitutes=("credit_card",)),
    Product("savings", "Savings account", "deposits", -5.0,
            {"liquid": 0.9, "salary": 0.9, "transfer": 0.8, "kids": 0.3, "has_deposit": 0.7, "digital": 0.4},
            4_000, 24, held=0.22, lapse=0.06, rate=2.1, carries_balance=True, season=(0.2, 0.0, 0.0, 0.0), substitutes=("deposit",)),
    Product("deposit", "Term deposit", "deposits", -5.2,
            {"liquid": 1.2, "old": 1.3, "has_deposit": 1.0, "matured": 0.9, "utilities": 0.3, "has_brokerage": -0.5},
            4_500, 12, held=0.13, lapse=0.03, rate=3.4, term=12, repeatable=True, amount=500_000, carries_balance=True,
            season=(0.25, 0.0, 0.0, 0.1), contact=0.9, substitutes=("savings", "fund_plan"),
            attributes={"risk": "low"}),
    Product("cash_loan", "Cash loan", "loans", -6.3,
            {"broke": 1.4, "cash": 1.0, "fee": 1.3, "home_now": 1.3, "middle": 0.8, "salary": 0.7, "refused": -1.2},
            30_000, 24, held=0.10, lapse=0.03, rate=11.9, term=30, ages=(21, 70), minimum_income=70_000, amount=450_000,
            carries_balance=True, season=(0.0, 0.0, 0.1, 0.2), contact=1.2, substitutes=("overdraft",),
            attributes={"documents": ["identity", "income"], "minimum_tenure_months": 3, "occasions": ["child_17"]}),
    Product("car_loan", "Car loan", "loans", -6.1,
            {"car": 1.6, "income": 0.5, "middle": 0.8, "has_car_insurance": 0.6, "newborn": 0.8, "car_now": 0.5, "refused": -1.0},
            45_000, 48, held=0.04, lapse=0.02, rate=7.9, term=48, ages=(21, 68), minimum_income=120_000, amount=1_400_000,
            carries_balance=True, season=(-0.1, 0.25, 0.1, -0.1),
            attributes={"documents": ["identity", "income"], "accepts": {"risk_class": ["low", "medium"]}}),
    Product("mortgage", "Mortgage", "loans", -8.9,
            {"rent": 1.6, "married_rent": 0.6, "middle": 1.2, "income": 1.0, "liquid": 0.4, "newborn": 0.9},
            300_000, 120, held=0.05, lapse=0.004, rate=4.2, term=240, ages=(21, 60), minimum_income=160_000, amount=15_000_000,
            carries_balance=True, season=(-0.1, 0.2, 0.1, -0.1), contact=0.6,
            attributes={"documents": ["identity", "income"], "minimum_tenure_months": 6,
                        "accepts": {"risk_class": ["low", "medium"]}, "refused_within_months": 12}),
    Product("overdraft", "Overdraft", "loans", -6.2,
            {"broke": 1.3, "fee": 1.4, "salary": 1.7, "cash": 0.7, "young": 0.8, "refused": -0.8},
            6_000, 24, held=0.09, lapse=0.05, rate=16.9, ages=(18, 68), requires="current", amount=100_000,
            season=(0.1, 0.0, 0.0, 0.15), contact=0.8, substitutes=("cash_loan",),
            replaced_by=("credit_card",), attributes={"minimum_tenure_months": 3}),
    Product("home_insurance", "Home insurance", "insurance", -5.3,
            {"has_mortgage": 2.0, "home": 1.1, "moved": 1.4, "utilities": 0.7, "income": 0.4},
            8_000, 24, held=0.08, lapse=0.05, price=15_000, term=24, amount=8_000_000, contact=1.1, season=(0.0, 0.1, 0.0, -0.1)),
    Product("travel_insurance", "Travel insurance", "insurance", -5.1,
            {"travel": 1.4, "travel_now": 0.9, "kids": 0.4, "has_travel_card": 0.6, "digital": 0.5, "exchange": 0.5},
            1_800, 12, held=0.05, lapse=0.0, price=6_000, term=12, repeatable=True, amount=5_000_000, contact=0.9,
            season=(0.0, 0.35, 0.1, 0.1)),
    Product("life_insurance", "Life insurance", "insurance", -6.2,
            {"newborn": 1.6, "has_mortgage": 1.3, "kids": 1.0, "health": 1.0, "middle": 0.9, "income": 0.5},
            35_000, 60, held=0.05, lapse=0.015, price=36_000, ages=(18, 60), amount=5_000_000, contact=1.2, season=(0.1, 0.0, 0.0, 0.1)),
    Product("car_insurance", "Car insurance", "insurance", -6.2,
            {"car": 1.8, "has_car_loan": 1.6, "car_now": 0.5, "young": -0.6, "digital": 0.4},
            7_000, 12, held=0.07, lapse=0.02, price=42_000, term=12, amount=1_500_000, season=(0.0, 0.2, 0.1, -0.1)),
    Product("brokerage", "Brokerage account", "investment", -5.3,
            {"securities": 1.8, "young_digital": 1.1, "income": 0.7, "liquid": 0.6, "exchange": 0.6},
            15_000, 36, held=0.06, lapse=0.05, carries_balance=True, contact=0.7, season=(0.2, 0.0, -0.1, 0.0), substitutes=("fund_plan",),
            attributes={"documents": ["identity"], "risk": "high"}),
    Product("fund_plan", "Fund savings plan", "investment", -8.0,
            {"securities": 1.5, "has_brokerage": 1.6, "income": 0.8, "liquid": 0.5, "middle": 0.7},
            20_000, 60, held=0.03, lapse=0.02, price=1_200, contact=0.8, season=(0.1, 0.0, 0.0, 0.1), substitutes=("deposit", "brokerage"),
            attributes={"documents": ["identity"], "risk": "medium"}),
    Product("pension_plan", "Pension plan", "investment", -8.2,
            {"middle": 1.2, "salary": 1.4, "income": 0.9, "has_life_insurance": 1.3, "health": 0.6},
            40_000, 120, held=0.04, lapse=0.008, ages=(18, 62), contact=0.9, season=(-0.1, 0.0, 0.0, 0.35),
            supply=240, attributes={"risk": "low"}),
)
# fmt: on

IDS = tuple(product.product_id for product in PRODUCTS)
NUMBER = {product_id: number for number, product_id in enumerate(IDS)}
GROUP_OF = tuple(GROUPS.index(product.group) for product in PRODUCTS)

VISITED = 0.7
"""Added to the log-odds by log(1 + visits to the product's group in the quarter before)."""

ABANDONED = 0.9
"""Added to the log-odds by an application for the same product abandoned or withdrawn in the quarter before."""

PESTERED = -0.15
"""Added to the log-odds of every product by log(1 + contacts by the bank in the quarter before)."""

AFFINITY = 0.25
"""Standard deviation over customers of a lasting affinity to each product that shows in nothing but purchases."""
