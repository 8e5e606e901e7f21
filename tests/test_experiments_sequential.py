"""Looking often at a running campaign: how often intervals exclude zero without an effect, and what that costs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from crmlib.decisions import experiments
from crmlib.decisions.experiments import design, sequential
from crmlib.decisions.experiments.contract import Groups

LOOKS, SIMULATIONS = 20, 2_000


def never_excluded_zero(
    seed: int, *, customers: int, control_share: float, rate: float, tail: float
) -> tuple[float, float, float]:
    """Return the share of simulations without effect in which no look excluded zero: by conversions, by money, and by an
    ordinary interval of the conversions looked at as often. ``tail``: spread of the log of what a sale earns."""
    rng = np.random.default_rng(seed)
    alone = round(control_share * customers)
    planned = customers * rate
    clean = np.zeros(3)

    @cache
    def excludes(own: int, buyers: int) -> bool:
        odds = np.log(np.array([(customers - alone) / alone]))
        _, low, high = sequential.ratio_interval(own, np.array([float(buyers)]), odds)
        return low > 0 or high < 0

    for _ in range(SIMULATIONS):
        treated = np.ones(customers, dtype=bool)
        treated[rng.permutation(customers)[:alone]] = False
        found = Groups("call", np.arange(customers), treated, np.zeros(customers, dtype=int), 0)
        buys = np.flatnonzero(rng.random(customers) < rate)
        when, worth = rng.random(len(buys)) * LOOKS, np.exp(tail * rng.normal(size=len(buys)))
        wrong = np.zeros(3, dtype=bool)
        for look in range(1, LOOKS + 1):
            so_far = buys[when < look]
            own = int(treated[so_far].sum())
            wrong[0] |= bool(len(so_far)) and excludes(own, len(so_far))
            if len(so_far) >= sequential.NEED_BUYERS:
                money = np.zeros(customers)
                money[so_far] = worth[when < look]
                value, reach = sequential.money_interval(money, found, share_of_plan=len(so_far) / planned)
                wrong[1] |= abs(value) > reach
            p1, p0 = own / (customers - alone), (len(so_far) - own) / alone
            error = np.sqrt(p1 * (1 - p1) / (customers - alone) + p0 * (1 - p0) / alone)
            wrong[2] |= abs(p1 - p0) > 1.96 * error
        clean += ~wrong
    return tuple(clean / SIMULATIONS)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("seed", "customers", "control_share", "rate", "tail"),
    [(101, 2_000, 0.15, 0.02, 1.5), (102, 3_000, 0.3, 0.01, 1.8)],
)
def test_twenty_looks_at_2000_campaigns_without_effect_leave_zero_inside_in_at_least_94_5_percent(
    seed: int, customers: int, control_share: float, rate: float, tail: float
) -> None:
    conversions, money, ordinary = never_excluded_zero(
        seed, customers=customers, control_share=control_share, rate=rate, tail=tail
    )
    assert conversions >= 0.945
    assert money >= 0.945
    assert ordinary < 0.9  # an ordinary interval is wrong far more often: the simulation can tell


def test_the_mixture_is_a_likelihood_ratio_that_averages_to_one_without_effect() -> None:
    """The mean over all outcomes of so many buyers, each with its probability under no effect, must be exactly 1."""
    share, buyers = 0.85, 12
    odds = np.log(share / (1 - share))

    def against_none(own: int) -> float:
        def ratio(log_ratio: float) -> float:
            lean = np.exp(own * log_ratio - buyers * np.log(share * np.exp(log_ratio) + 1 - share))
            return float(lean * stats.norm.pdf(log_ratio, scale=sequential.PRIOR_SPREAD))

        return float(integrate.quad(ratio, -6, 6)[0])

    chances = stats.binom.pmf(np.arange(buyers + 1), buyers, share)
    assert np.dot(chances, [against_none(own) for own in range(buyers + 1)]) == pytest.approx(1.0, abs=1e-6)
    for own in (0, 3, 8, 12):  # the interval holds zero exactly where the mixture is below 20
        _, low, high = sequential.ratio_interval(own, np.array([float(buyers)]), np.array([odds]))
        assert (low <= 0 <= high) == (against_none(own) < 20)


def test_a_strong_effect_is_found_while_the_campaign_runs_and_its_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(11)
    size = 20_000
    control = rng.random(size) < 0.3
    buys = rng.random(size) < np.where(control, 0.02, 0.04)
    table = pd.DataFrame(
        {
            "customer_id": np.arange(size).astype(str),
            "arm": "call",
            "control": control,
            "stratum": rng.choice(["a", "b"], size),
            "assigned_at": pd.Timestamp("2025-01-01"),
            "contacted": ~control,
            "converted": buys,
            "revenue_minor": 100.0 * buys,
            "profit_minor": 50.0 * buys - 3.0 * ~control,
            "cost_minor": 3.0 * ~control,
        }
    )
    found = experiments.interim(table, planned_buyers=700).set_index("measure")
    planted = 0.02 * (~control).sum()
    assert 0 < found.loc["conversions", "total_low"] < planted < found.loc["conversions", "total_high"]
    profit = found.loc["profit_minor"]
    assert profit["total_low"] < 50 * planted - 3 * (~control).sum() < profit["total_high"]
    once = experiments.final(table).set_index("measure").loc["profit_minor"]
    price = (profit["total_high"] - profit["total_low"]) / (once["total_high"] - once["total_low"])
    assert design.PRICE_OF_LOOKING <= price < 1.35 * design.PRICE_OF_LOOKING


def test_the_price_of_looking_is_the_boundary_at_the_planned_end() -> None:
    assert float(sequential.boundary(1.0)) / 1.96 == pytest.approx(design.PRICE_OF_LOOKING, abs=0.005)
    shares = np.linspace(0.5, 2, 31)
    width = sequential.boundary(shares) / np.sqrt(shares)  # of the interval of a mean after so much of the plan
    assert (np.diff(width) < 0).all()
