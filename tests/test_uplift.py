"""Uplift: planted effects found, nothing found where there is nothing, policies valued without bias, budgets kept."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models import policy_value, qini, uplift, uplift_assign
from crmlib.models.policy_value import Trial
from crmlib.samples import public
from crmlib.views import plots_effects


def made_up(seed: int, size: int, *, different: bool) -> tuple[pd.DataFrame, Trial, np.ndarray]:
    """Return features, a trial of two arms and the planted effects; ``different``: they depend on the customer."""
    rng = np.random.default_rng(seed)
    features = pd.DataFrame({f"x{number}": rng.normal(size=size) for number in range(6)})
    lean = features["x0"].to_numpy() if different else np.zeros(size)
    planted = np.stack([0.5 + lean, 0.2 - 0.5 * lean], axis=1)
    chances = np.tile([0.4, 0.3, 0.3], (size, 1))
    arm = rng.choice(3, size, p=[0.4, 0.3, 0.3])
    own = np.concatenate([np.zeros((size, 1)), planted], axis=1)[np.arange(size), arm]
    outcome = 2 * features["x1"].to_numpy() + own + rng.normal(size=size)
    return features, Trial(("none", "a", "b"), arm, outcome, chances), planted


def test_planted_differences_between_customers_are_found() -> None:
    features, trial, _ = made_up(1, 8_000, different=True)
    model = uplift.UpliftModel(seed=3).fit(features, trial)
    fresh, _, planted = made_up(2, 4_000, different=True)
    found = model.effects(fresh)
    for place, name in enumerate(("a", "b")):
        assert np.corrcoef(found[:, place], planted[:, place])[0, 1] > 0.9
        assert model.found_[name].kept > 0.8
        assert found[:, place].mean() == pytest.approx(planted[:, place].mean(), abs=0.15)
    table = model.score(fresh)
    assert list(table) == ["model", "arm", "score", "low", "high"] and len(table) == 8_000
    assert (table["low"] < table["score"]).all() and (table["score"] < table["high"]).all()


def test_where_customers_do_not_differ_most_get_the_average_effect() -> None:
    kept = []
    for seed in range(4):
        features, trial, _ = made_up(seed, 3_000, different=False)
        model = uplift.UpliftModel(seed=seed).fit(features, trial)
        for found in model.found_.values():
            kept.append(found.kept)
        away = model.effects(features) - np.array([found.average for found in model.found_.values()])
        assert np.abs(away).max() < 0.5  # planted averages are 0.5 and 0.2, the noise of a customer's score is above 3
        for name, planted in (("a", 0.5), ("b", 0.2)):
            found = model.found_[name]
            assert abs(found.average - planted) < 4 * found.error
    assert np.median(kept) == 0


# ---------------------------------------------------------------- off-policy value


def test_the_value_of_a_policy_is_unbiased_and_covered_whatever_outcomes_are_expected() -> None:
    covered = {"plain": 0, "wrong": 0, "right": 0}
    widths = dict.fromkeys(covered, 0.0)
    for seed in range(200):
        features, trial, planted = made_up(seed, 800, different=True)
        policy = np.where(features["x0"] > 0, 1, 0)
        cost = np.array([0.0, 0.1, 0.1])
        truth = float(np.where(policy == 1, planted[:, 0] - 0.1, 0).mean())
        base = np.repeat(2 * features["x1"].to_numpy()[:, None], 3, axis=1)
        right = base + np.concatenate([np.zeros((800, 1)), planted], axis=1)
        for name, expected in (("plain", None), ("wrong", np.full((800, 3), 5.0)), ("right", right)):
            found = policy_value.estimate(policy_value.gain(trial, policy, costs=cost, expected=expected))
            covered[name] += found.low <= truth <= found.high
            widths[name] += found.high - found.low
    # "right" leaves nothing but the assignment's noise, "wrong" adds to it; both are centred on the truth.
    assert all(count / 200 > 0.9 for count in covered.values()), covered
    assert widths["right"] < 0.7 * widths["plain"] < widths["wrong"]


def test_giving_one_arm_to_everybody_is_worth_the_difference_in_means() -> None:
    arms = np.array(["none", "a"] * 500)
    outcome = np.random.default_rng(1).normal(size=1_000) + (arms == "a")
    given_trial = policy_value.trial(arms, outcome, control="none")
    found = policy_value.estimate(policy_value.gain(given_trial, np.ones(1_000, dtype=int), costs=[0, 0.25]))
    assert found.value == pytest.approx(outcome[arms == "a"].mean() - outcome[arms == "none"].mean() - 0.25)


def test_probabilities_of_a_policy_are_valued_like_the_draws_they_stand_for() -> None:
    _, trial, _ = made_up(4, 1_000, different=True)
    shares = np.tile([0.5, 0.25, 0.25], (1_000, 1))
    mixed = policy_value.gain(trial, shares, costs=[0, 0.1, 0.2])
    parts = [policy_value.gain(trial, np.full(1_000, arm), costs=[0, 0.1, 0.2]) for arm in range(3)]
    assert mixed == pytest.approx(0.5 * parts[0] + 0.25 * parts[1] + 0.25 * parts[2])
    assert parts[0] == pytest.approx(0.0)


# ---------------------------------------------------------------- Qini


def test_the_qini_curve_is_radcliffes_where_arms_have_equal_shares() -> None:
    rng = np.random.default_rng(2)
    size = 400
    arms = np.tile(["none", "a"], size // 2)
    outcome = (rng.random(size) < 0.3).astype(float)
    order = np.repeat(rng.permutation(size // 2), 2).astype(
        float
    )  # ties of one of each: shares equal in any first part
    trial = policy_value.trial(arms, outcome, control="none", chances={"none": 0.5, "a": 0.5})
    table = qini.curve(order, qini.contrast(trial, "a"), steps=size // 2)
    for step, value in zip(range(0, size // 2, 20), table["value"].to_numpy()[::20], strict=False):
        first = np.argsort(-order, kind="stable")[: 2 * step]
        treated, alone = first[arms[first] == "a"], first[arms[first] == "none"]
        radcliffe = outcome[treated].sum() - outcome[alone].sum() * (len(treated) / len(alone) if len(alone) else 0)
        assert value == pytest.approx(radcliffe / size * 2)  # per customer of the list, all of it treated: twice half
    area = float(np.trapezoid(table["value"] - table["random"], table["share"]))
    assert qini.coefficient(order, qini.contrast(trial, "a")).value == pytest.approx(area, abs=1e-12)


def test_the_qini_interval_covers_zero_for_a_random_order_and_not_for_the_planted_one() -> None:
    _, trial, planted = made_up(6, 4_000, different=True)
    effect = qini.contrast(trial, "a")
    rng = np.random.default_rng(7)
    inside = [qini.coefficient(rng.random(4_000), effect) for _ in range(100)]
    assert 88 <= sum(found.low <= 0 <= found.high for found in inside) <= 100
    assert qini.coefficient(planted[:, 0], effect).low > 0
    assert qini.coefficient(np.ones(4_000), effect).value == pytest.approx(0)
    drawn = plots_effects.qini(qini.curve(planted[:, 0], effect), unit="EUR")
    assert drawn.layout.yaxis.title.text == "Additional result per customer, EUR" and len(drawn.data) == 4


# ---------------------------------------------------------------- budgets


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.floats(0, 12))
def test_an_assignment_keeps_the_budget_and_is_within_one_customer_of_the_best(
    seed: int, customers: int, arms: int, budget: float
) -> None:
    rng = np.random.default_rng(seed)
    profit = rng.normal(1, 2, (customers, arms)).round(1)
    spent = rng.integers(1, 4, (customers, arms)).astype(float)
    chosen = uplift_assign.assign(profit, spent, budget=budget, seed=seed)
    rows = np.arange(customers)

    def worth(choice: np.ndarray, values: np.ndarray) -> float:
        return float(np.where(choice > 0, values[rows, np.maximum(choice - 1, 0)], 0).sum())

    assert worth(chosen, spent) <= budget + 1e-9
    every = (np.array(choice) for choice in itertools.product(range(arms + 1), repeat=customers))
    best = max(worth(choice, profit) for choice in every if worth(choice, spent) <= budget)
    assert worth(chosen, profit) >= best - max(profit.max(), 0) - 1e-9
    assert (profit[rows, np.maximum(chosen - 1, 0)][chosen > 0] > 0).all()


def test_customers_alike_are_drawn_at_random_under_a_budget_of_contacts() -> None:
    profit, spent = np.full((1_000, 2), [0.3, 0.2]), np.ones((1_000, 2))
    one, other = (uplift_assign.assign(profit, spent, budget=250, seed=seed) for seed in (1, 2))
    assert (one > 0).sum() == (other > 0).sum() == 250
    assert set(one) == {0, 1} and (one != other).any()
    assert (uplift_assign.assign(profit, spent) == 1).all()
    assert (uplift_assign.assign(profit, spent, budget=0) == 0).all()


# ---------------------------------------------------------------- Hillstrom


def test_hillstrom_average_margins_agree_with_the_published_spend(real_data: object) -> None:
    table = public.hillstrom()
    chances = dict.fromkeys(("No E-Mail", "Mens E-Mail", "Womens E-Mail"), 1 / 3)
    trial = policy_value.trial(table["segment"], 0.4 * table["spend"], control="No E-Mail", chances=chances)
    for arm, published in ((1, 0.4 * 0.77), (2, 0.4 * 0.42)):
        everyone = np.full(len(table), arm)
        found = policy_value.estimate(policy_value.gain(trial, everyone, costs=[0, 0.15, 0.15]))
        assert found.value == pytest.approx(published - 0.15, abs=0.01)
        assert found.low < published - 0.15 < found.high


# ---------------------------------------------------------------- refusals


def test_trials_that_are_none_are_refused() -> None:
    arms, outcome = np.array(["none", "a"] * 10), np.arange(20.0)
    with pytest.raises(DataError, match="nobody of the trial is in the control group 'no'"):
        policy_value.trial(arms, outcome, control="no")
    with pytest.raises(DataError, match="everybody of the trial is in the control group"):
        policy_value.trial(np.array(["none"] * 3), np.zeros(3), control="none")
    with pytest.raises(DataError, match="20 arms and 19 outcomes"):
        policy_value.trial(arms, np.where(outcome == 3, np.nan, outcome), control="none")
    with pytest.raises(UsageError, match="chances are given for b, none, but the arms are none, a"):
        policy_value.trial(arms, outcome, control="none", chances={"none": 0.5, "b": 0.5})
    with pytest.raises(DataError, match="must sum to 1"):
        policy_value.trial(arms, outcome, control="none", chances={"none": 0.5, "a": 0.6})
    trial = policy_value.trial(arms, outcome, control="none")
    with pytest.raises(UsageError, match="give one of zero or more for each of none, a"):
        policy_value.gain(trial, np.ones(20, dtype=int), costs=[0, -1])
    with pytest.raises(DataError, match="no arm 'letter'; it has a"):
        qini.contrast(trial, "letter")
    with pytest.raises(DataError, match="3 uplifts and 20 customers"):
        qini.coefficient(np.zeros(3), np.zeros(20))
    with pytest.raises(DataError, match="not enough data for uplift: none has 10 customers, each arm needs 100"):
        uplift.UpliftModel().fit(pd.DataFrame({"x": outcome}), trial)
    with pytest.raises(DataError, match="3 rows of features and 20 customers"):
        uplift.UpliftModel().fit(pd.DataFrame({"x": np.zeros(3)}), trial)
    with pytest.raises(UsageError, match="not fitted; call fit first"):
        uplift.UpliftModel().score(pd.DataFrame({"x": np.zeros(3)}))
    with pytest.raises(UsageError, match="budget is -1; give zero or more"):
        uplift_assign.assign(np.ones((2, 1)), np.ones((2, 1)), budget=-1)
    with pytest.raises(UsageError, match="spent must have the shape of profit"):
        uplift_assign.assign(np.ones((2, 1)), np.ones((2, 2)))
