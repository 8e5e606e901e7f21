"""Rankers of who leaves and when, the effect of a premium change, comparisons over folds; on made and on real data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from crmlib.errors import DataError, UsageError
from crmlib.models import leaks, metrics
from crmlib.models.churn import paired, plain, renewal
from crmlib.models.churn.ranker import ChurnRanker
from crmlib.models.churn.survival_ranker import SurvivalRanker
from crmlib.models.survival.concordance import concordance


def made(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Features, the planted probability of leaving, and who left."""
    rng = np.random.default_rng(seed)
    plan, balance = rng.choice(["basic", "plus", "gold"], count), rng.lognormal(5, 1, count)
    calls = rng.poisson(1.5, count)
    bend = np.where((calls >= 3) & (plan == "basic"), 2.5, 0.0)
    chance = expit(-1.5 + 0.9 * (plan == "plus") - 0.8 * (np.log(balance) - 5) + bend)
    table = pd.DataFrame({"customer_id": [f"c{i}" for i in range(count)], "as_of": pd.Timestamp("2025-06-30")})
    table = table.assign(plan=plan, balance=balance, calls=calls, noise=rng.normal(size=count))
    table.loc[::17, "noise"] = np.nan
    return table, chance, (rng.random(count) < chance).astype(np.int8)


def telco(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    table = pd.read_csv(folder / "telco_churn_ibm" / "WA_Fn-UseC_-Telco-Customer-Churn.csv.gz")
    charges = pd.to_numeric(table["TotalCharges"].str.strip(), errors="coerce").fillna(0.0)
    inputs = table.drop(columns=["customerID", "Churn"]).assign(TotalCharges=charges)
    return inputs, (table["Churn"] == "Yes").to_numpy().astype(np.int8)


def motor(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / "casdatasets_insurance" / "eudirectlapse.parquet")
    names = {"lapse": "lapsed", "prem_last": "premium_before", "prem_final": "premium_after"}
    policies = table.rename(columns=names).drop(columns=["prem_pure", "prem_market"])
    return policies.assign(policy_age=pd.cut(policies["policy_age"], [-1, 0, 1, 2, 3, 5, 99]).astype("str"))


# ---------------------------------------------------------------- who leaves


def test_the_planted_probability_of_leaving_is_found_and_calibrated():
    table, _, left = made(5_000, 1)
    later, chance, left_later = made(5_000, 2)
    ranker = ChurnRanker(seed=7, nthread=1).fit(table, left)
    found = ranker.predict(later)
    assert np.corrcoef(found, chance)[0, 1] > 0.95
    slope, intercept = metrics.calibration_line(left_later, found)
    assert 0.8 < slope.value < 1.25 and abs(intercept.value) < 0.1
    # The bend is no line, so the booster must count for more, and neither for nothing.
    _, booster, regression = ranker.calibration_.coefficients[0]
    assert booster > regression
    alone = plain.logistic(table.drop(columns=["customer_id", "as_of"]), left).predict(later)
    assert metrics.auc(left_later, found).value > metrics.auc(left_later, alone).value + 0.005


def test_weights_count_rows_as_often_as_they_say():
    table, _, left = made(4_000, 3)
    rng = np.random.default_rng(4)
    kept = (left == 1) | (rng.random(len(left)) < 0.25)  # one stayer of four, each for four
    weight = np.where(left == 1, 1.0, 4.0)[kept]
    later, _, left_later = made(4_000, 5)
    found = ChurnRanker(seed=7, nthread=1).fit(table[kept], left[kept], weight=weight).predict(later)
    _, intercept = metrics.calibration_line(left_later, found)
    assert abs(intercept.value) < 0.2  # log 4 = 1.39 too high without the weights
    unweighted = ChurnRanker(seed=7, nthread=1).fit(table[kept], left[kept]).predict(later)
    assert unweighted.mean() > 1.8 * found.mean()


def test_a_later_date_calibrates_out_of_time():
    table, _, left = made(4_000, 6)
    later, _, _ = made(4_000, 7)
    # The market turned: half as many leave as the features would say.
    chance = made(4_000, 7)[1] / 2
    left_later = (np.random.default_rng(8).random(4_000) < chance).astype(np.int8)
    ranker = ChurnRanker(seed=7, nthread=1).fit(table, left, calibrate=(later, left_later))
    assert ranker.predict(later).mean() == pytest.approx(left_later.mean(), rel=0.05)
    assert ranker.predict(table).mean() < 0.7 * left.mean()


def test_the_same_seed_gives_the_same_probabilities_and_the_keys_do_not_matter():
    table, _, left = made(1_500, 9)
    first = ChurnRanker(seed=3, nthread=1).fit(table, left).predict(table)
    again = ChurnRanker(seed=3, nthread=1).fit(table.drop(columns=["customer_id", "as_of"]), left).predict(table)
    assert np.array_equal(first, again)
    assert first.shape == (1_500,) and (first > 0).all() and (first < 1).all()


def test_bad_input_of_the_ranker_gets_a_clear_sentence():
    table, _, left = made(300, 10)
    one = np.zeros(300)
    one[5] = 1
    with pytest.raises(DataError, match=r"not enough data: 1 of 300 customers left \(found 1, need 10\)"):
        ChurnRanker().fit(table, one)
    with pytest.raises(DataError, match=r"not enough data: 0 of 300 customers stayed \(found 0, need 10\)"):
        ChurnRanker().fit(table, np.ones(300))
    with pytest.raises(DataError, match="there are 300 rows of features but 2 values of outcome"):
        ChurnRanker().fit(table, [0, 1])
    with pytest.raises(DataError, match="outcome holds 2 in row 0"):
        ChurnRanker().fit(table, np.full(300, 2))
    with pytest.raises(DataError, match="outcome holds nan in row 3"):
        ChurnRanker().fit(table, np.where(np.arange(300) == 3, np.nan, left))
    with pytest.raises(DataError, match="outcome must be 1"):
        ChurnRanker().fit(table, ["yes"] * 300)
    with pytest.raises(DataError, match="weight must hold 300 numbers of 0 or more"):
        ChurnRanker().fit(table, left, weight=-np.ones(300))
    with pytest.raises(DataError, match=r"0 of 300 customers left \(found 0, need 10\)"):
        ChurnRanker(nthread=1).fit(table, left, calibrate=(table, np.zeros(300)))
    with pytest.raises(UsageError, match="the ranker is not fitted yet"):
        ChurnRanker().predict(table)
    with pytest.raises(DataError, match="the features lack 1 columns the model was fitted on"):
        ChurnRanker(nthread=1).fit(table, left).predict(table.drop(columns="plan"))


def test_the_plain_logistic_regression_agrees_with_scikit_learn():
    table, _, left = made(2_000, 11)
    inputs = table[["plan", "balance", "calls"]]
    dummies = pd.get_dummies(inputs, drop_first=True).astype(float)
    expected = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-10).fit(
        (dummies - dummies.mean()) / dummies.std(), left
    )
    chance = expected.predict_proba((dummies - dummies.mean()) / dummies.std())[:, 1]
    assert plain.logistic(inputs, left).predict(inputs) == pytest.approx(chance, abs=1e-4)


# ---------------------------------------------------------------- when


def test_the_survival_ranker_orders_by_the_planted_hazard():
    table, _, _ = made(4_000, 12)
    rng = np.random.default_rng(13)
    # Who calls often or never leaves sooner: a bend that no line follows.
    risk = np.where(table["calls"] == 1, 0.0, 1.2) + 0.5 * (table["plan"] == "plus")
    time = np.ceil(rng.exponential(100 * np.exp(-risk)))
    until = rng.uniform(10, 200, 4_000)
    ended = (time <= until).astype(int)
    days = np.minimum(time, np.ceil(until))
    train, test = np.arange(4_000) < 2_500, np.arange(4_000) >= 2_500
    ranker = SurvivalRanker(seed=7, nthread=1).fit(table[train], days[train], ended[train])
    inputs = table[["plan", "balance", "calls", "noise"]]
    line = plain.cox(inputs[train], days[train], ended[train])
    found, planted, linear = (
        concordance(days[test], ended[test], score)
        for score in (ranker.predict(table[test]), risk[test], line.predict(inputs[test]))
    )
    assert planted.value - 0.02 < found.value < planted.high and 1 < ranker.rounds_ < 600
    assert found.value > linear.value + 0.03


def test_bad_input_of_the_survival_ranker_gets_a_clear_sentence():
    table, _, left = made(100, 14)
    days = np.arange(100.0)
    with pytest.raises(DataError, match="durations: 1 of 100 are below zero"):
        SurvivalRanker().fit(table, days - 1, left)
    with pytest.raises(DataError, match="nobody of 100 customers left"):
        SurvivalRanker().fit(table, days, np.zeros(100))
    with pytest.raises(DataError, match=r"not enough data: 1 customers left \(found 1, need 10\)"):
        SurvivalRanker().fit(table, days, days == 4)
    with pytest.raises(DataError, match="there are 99 rows of features but 100 durations"):
        SurvivalRanker().fit(table[:99], days, left)
    with pytest.raises(UsageError, match="the ranker is not fitted yet"):
        SurvivalRanker().predict(table)


# ---------------------------------------------------------------- comparisons


def test_folds_test_each_row_once_a_repeat():
    tested = np.zeros((2, 23), dtype=int)
    for number, (train, test) in enumerate(paired.folds(23, repeats=2)):
        assert not (train & test).any() and (train | test).all()
        tested[number // 5] += test
    assert (tested == 1).all()
    with pytest.raises(UsageError, match="3 rows cannot be cut into 5 parts"):
        next(paired.folds(3))


def test_the_difference_over_folds_has_the_variance_of_nadeau_and_bengio_2003():
    rng = np.random.default_rng(15)
    gains = rng.normal(0.01, 0.02, 25)
    found = paired.difference(gains + 0.8, np.full(25, 0.8))
    plain_error = gains.std(ddof=1) / 5
    assert found.value == pytest.approx(gains.mean())
    # 1/25 + 1/4 instead of 1/25, and 2.064 for 24 degrees of freedom.
    assert (found.high - found.low) / 2 == pytest.approx(2.0639 * plain_error * np.sqrt(7.25), rel=1e-4)
    with pytest.raises(DataError, match="found 1 folds, need 2"):
        paired.difference([0.8], [0.7])


# ---------------------------------------------------------------- renewal


def renewals(count: int, seed: int) -> pd.DataFrame:
    """Policies whose insurer lowers premiums for the good drivers, who lapse more: the crude figure misleads."""
    rng = np.random.default_rng(seed)
    good = rng.random(count) < 0.5
    before = rng.lognormal(6, 0.4, count)
    change = np.where(good, -0.08, 0.04) + rng.normal(0, 0.05, count)
    chance = expit(-2.4 + 1.0 * good + 3.0 * change + 0.5 * (np.log(before) - 6))
    table = pd.DataFrame({"lapsed": (rng.random(count) < chance).astype(int), "premium_before": before})
    return table.assign(premium_after=before * np.exp(change), driver=np.where(good, "good", "other"))


def test_the_planted_effect_of_the_premium_is_found_where_the_crude_one_has_the_wrong_sign():
    found = renewal.premium_effect(renewals(40_000, 16))
    assert found.odds_ratio.low < 1.1**3.0 < found.odds_ratio.high
    assert found.odds_ratio.value == pytest.approx(1.1**3.0, rel=0.05)
    assert found.crude_odds_ratio.high < 1.05
    assert found.policies == 40_000 and found.lapses > 3_000
    # The marginal effect is the difference that the planted probabilities would make.
    table = renewals(40_000, 16)
    margin = -2.4 + 1.0 * (table["driver"] == "good") + 3.0 * np.log(table["premium_after"] / table["premium_before"])
    margin += 0.5 * (np.log(table["premium_before"]) - 6)
    planted = (expit(margin + 3.0 * np.log(1.1)) - expit(margin)).mean()
    assert found.marginal.low < planted < found.marginal.high
    assert (found.curve["low"] < found.curve["lapse"]).all() and (found.curve["lapse"] < found.curve["high"]).all()
    assert found.curve["lapse"].is_monotonic_increasing
    half = renewal.premium_effect(table, rise=-0.05)
    assert half.odds_ratio.value == pytest.approx(0.95 ** (np.log(found.odds_ratio.value) / np.log(1.1)))
    assert half.marginal.value < 0


def test_intervals_of_the_premium_effect_hold_the_planted_one_as_often_as_they_say():
    hits = [
        (found.odds_ratio.low < 1.1**3.0 < found.odds_ratio.high)
        for found in (renewal.premium_effect(renewals(800, seed)) for seed in range(80))
    ]
    assert 0.88 < np.mean(hits) <= 1


def test_bad_input_of_renewals_gets_a_clear_sentence():
    table = renewals(500, 17)
    with pytest.raises(DataError, match="premium_after: 1 of 500 are empty or not above 0, the first in row 3"):
        renewal.premium_effect(table.assign(premium_after=np.where(np.arange(500) == 3, 0, table["premium_after"])))
    with pytest.raises(DataError, match="the policies lack the column premium_before"):
        renewal.premium_effect(table.drop(columns="premium_before"))
    with pytest.raises(DataError, match="lapsed holds 2 in row 0"):
        renewal.premium_effect(table.assign(lapsed=2))
    with pytest.raises(DataError, match=r"0 of 500 policies lapsed \(found 0, need 20: 5 a coefficient\)"):
        renewal.premium_effect(table.assign(lapsed=0))
    with pytest.raises(DataError, match="all premiums changed by the same share"):
        renewal.premium_effect(table.assign(premium_after=table["premium_before"] * 2))
    with pytest.raises(UsageError, match="rise is 0"):
        renewal.premium_effect(table, rise=0)
    with pytest.raises(UsageError, match="level is 95"):
        renewal.premium_effect(table, level=95)


# ---------------------------------------------------------------- real data (5 x 5 folds: benchmarks/bench_churn.py)


@pytest.mark.real_data
def test_telco_auc_reaches_0848_and_is_not_below_the_plain_logistic_regression(real_data):
    inputs, left = telco(real_data)
    both = []
    for train, test in paired.folds(len(left), repeats=1, seed=0):
        models = (
            ChurnRanker(seed=7, nthread=1).fit(inputs[train], left[train]),
            plain.logistic(inputs[train], left[train]),
        )
        both.append([metrics.auc(left[test], model.predict(inputs[test])).value for model in models])
    ranker, logistic = np.array(both).T
    assert ranker.mean() >= 0.848
    assert paired.difference(ranker, logistic).low > 0


@pytest.mark.real_data
def test_telco_concordance_reaches_0864_and_is_not_below_cox(real_data):
    inputs, left = telco(real_data)
    tenure = inputs["tenure"].to_numpy()
    inputs = inputs.drop(columns=["tenure", "TotalCharges"])  # the second is the first times the monthly charges
    both = []
    for train, test in paired.folds(len(left), repeats=1, seed=0):
        models = (
            SurvivalRanker(seed=7, nthread=1).fit(inputs[train], tenure[train], left[train]),
            plain.cox(inputs[train], tenure[train], left[train]),
        )
        both.append([concordance(tenure[test], left[test], model.predict(inputs[test])).value for model in models])
    ranker, cox = np.array(both).T
    assert ranker.mean() >= 0.864
    found = paired.difference(ranker, cox)
    assert found.value > 0 and found.high > 0 and found.low > -0.005


@pytest.mark.real_data
def test_churn_modelling_auc_reaches_086(real_data):
    table = pd.read_csv(real_data / "bank_churn_modelling" / "Churn_Modelling.csv.gz")
    left = table["Exited"].to_numpy(np.int8)
    inputs = table.drop(columns=["RowNumber", "CustomerId", "Surname", "Exited"])
    found = []
    for train, test in paired.folds(len(left), repeats=1, seed=0):
        score = ChurnRanker(seed=7, nthread=1).fit(inputs[train], left[train]).predict(inputs[test])
        found.append(metrics.auc(left[test], score).value)
    assert np.mean(found) >= 0.86, found
    assert leaks.check(inputs, left).empty


@pytest.mark.real_data
def test_motor_policies_lapse_more_the_more_the_premium_rises(real_data):
    policies = motor(real_data)
    found = renewal.premium_effect(policies)
    assert found.policies == 23_060 and found.lapses == 2_954
    assert found.odds_ratio.low > 1.05 and found.odds_ratio.high < 1.40
    assert 0 < found.marginal.low < found.marginal.value < found.marginal.high < 0.04
    # The bonus class lowers the premium of those who lapse more: without it the sign turns.
    assert found.crude_odds_ratio.high < 1
