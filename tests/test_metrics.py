"""Metrics against scikit-learn, published examples and naive references."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from crmlib.errors import DataError
from crmlib.models import metrics


def outcomes(seed: int, *, size: int = 400, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and outcomes that follow them."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(1, 4, size), decimals)
    return (rng.random(size) < score).astype(np.int8), score


def tables(
    score: np.ndarray, bought: np.ndarray, products: tuple[str, ...] = ("card",)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    keys = pd.DataFrame(
        {
            "customer_id": np.tile([f"c{i}" for i in range(len(score) // len(products))], len(products)),
            "as_of": pd.Timestamp("2025-06-30"),
            "product_id": np.repeat(products, len(score) // len(products)),
        }
    )
    return keys.assign(score=score), keys.assign(bought=bought.astype(bool))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_auc_and_average_precision_agree_with_scikit_learn(seed, decimals):
    bought, score = outcomes(seed, decimals=decimals)
    if 0 < bought.sum() < len(bought):
        assert metrics.auc(bought, score).value == pytest.approx(reference.roc_auc_score(bought, score), abs=1e-12)
        expected = reference.average_precision_score(bought, score)
        assert metrics.average_precision(bought, score).value == pytest.approx(expected, abs=1e-12)


def test_hanley_mcneil_1982_table_1_area_of_the_ct_ratings():
    """58 normal and 51 abnormal images rated 1 to 5: W = 0.893 (Radiology 143, table I and page 31)."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    score = np.repeat([1.0, 2, 3, 4, 5] * 2, normal + abnormal)
    bought = np.repeat([0, 1], [58, 51]).astype(np.int8)
    found = metrics.auc(bought, score)
    assert found.value == pytest.approx(0.893, abs=0.0005)
    error = (found.high - found.low) / 2 / 1.96
    assert error == pytest.approx(0.032, abs=0.003)


def test_delong_error_agrees_with_the_naive_double_sum():
    bought, score = outcomes(3, size=150)
    yes, no = score[bought == 1], score[bought == 0]
    wins = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)
    error = np.sqrt(wins.mean(1).var(ddof=1) / len(yes) + wins.mean(0).var(ddof=1) / len(no))
    found = metrics.auc(bought, score)
    odds = np.log(np.array(found) / (1 - np.array(found)))
    assert (odds[2] - odds[1]) / 2 == pytest.approx(1.959964 * error / (found.value * (1 - found.value)), rel=1e-6)


@pytest.mark.parametrize("name", ["auc", "average_precision", "slope", "captured_50"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(name):
    big_bought, big_score = outcomes(1, size=400_000, decimals=6)
    truth = metrics._all_metrics(big_bought, big_score)[name].value
    hits = 0
    for seed in range(100, 300):
        bought, score = outcomes(seed, size=1_000, decimals=6)
        found = metrics._all_metrics(bought, score)[name]
        hits += found.low <= truth <= found.high
    assert hits >= 180  # 190 expected


def test_calibration_line_agrees_with_an_unpenalised_regression():
    bought, score = outcomes(5, size=3_000, decimals=6)
    score = np.clip(score, 1e-6, 1 - 1e-6)
    line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000)
    line.fit(np.log(score / (1 - score))[:, None], bought)
    slope, intercept = metrics.calibration_line(bought, score)
    assert slope.value == pytest.approx(float(line.coef_[0, 0]), rel=1e-4)
    assert intercept.low < 0 < intercept.high  # the scores are true


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_slope_finds_scores_that_are_too_extreme_or_too_timid(factor):
    bought, score = outcomes(6, size=60_000, decimals=6)
    score = np.clip(score, 1e-6, 1 - 1e-6)
    stretched = 1 / (1 + np.exp(-factor * np.log(score / (1 - score))))
    slope, _ = metrics.calibration_line(bought, stretched)
    assert slope.low < 1 / factor < slope.high


def test_calibration_error_is_the_naive_one_and_its_interval_knows_noise():
    bought, score = outcomes(7, size=5_000, decimals=6)
    order = np.argsort(score)
    parts = np.array_split(order, 10)
    naive = sum(len(part) / 5_000 * abs(bought[part].mean() - score[part].mean()) for part in parts)
    found = metrics.calibration_error(bought, score)
    assert found.value == pytest.approx(naive, abs=1e-3)
    assert found.low < 0.005  # the scores are true
    wrong = metrics.calibration_error(bought, np.clip(score + 0.1, 0, 1))
    assert wrong.low > 0.07


def test_gains_are_those_of_counting_by_hand():
    scores, labels = tables(np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([1, 0, 1, 0, 0]))
    found = metrics.gains(scores, labels, steps=5)
    assert found["gains"].tolist() == pytest.approx([0, 0.5, 0.5, 1, 1, 1])
    assert found["lift"].tolist()[1:] == pytest.approx([2.5, 1.25, 5 / 3, 1.25, 1])
    assert found["customers"].tolist() == [0, 1, 2, 3, 4, 5]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_area_under_the_gains_curve_follows_from_the_auc(seed):
    """ALIFT = AUC (1 - p) + p / 2 for a share p of buyers."""
    bought, score = outcomes(seed, size=300, decimals=6)
    if not 0 < bought.sum() < 300:
        return
    curve = metrics.gains(*tables(score, bought), steps=300)["gains"].to_numpy()
    area = (curve[:-1] + curve[1:]).sum() / 2 / 300
    p = bought.mean()
    assert area == pytest.approx(metrics.auc(bought, score).value * (1 - p) + p / 2, abs=1e-9)


def test_tied_scores_share_their_buyers_evenly():
    scores, labels = tables(np.full(10, 0.3), np.array([1] * 2 + [0] * 8))
    assert metrics.gains(scores, labels, steps=10)["gains"].tolist() == pytest.approx(np.linspace(0, 1, 11))


def test_evaluate_gives_each_product_and_all_of_them():
    bought, score = outcomes(8, size=2_000, decimals=6)
    found = metrics.evaluate(*tables(score, bought, ("card", "loan")))
    assert set(found["product_id"]) == {"card", "loan", "(all)"}
    one = found[(found["product_id"] == "loan") & (found["metric"] == "auc")].iloc[0]
    assert one["value"] == pytest.approx(reference.roc_auc_score(bought[1_000:], score[1_000:]))
    assert one["pairs"] == 1_000 and one["low"] < one["value"] < one["high"]
    mean = found[found["metric"] == "auc"].set_index("product_id")["value"]
    assert mean["(all)"] == pytest.approx((mean["card"] + mean["loan"]) / 2)


def test_evaluate_by_channel_and_segment_finds_the_group_that_is_off():
    bought, score = outcomes(9, size=8_000, decimals=6)
    scores, labels = tables(score, bought)
    groups = pd.DataFrame(
        {
            "customer_id": scores["customer_id"],
            "channel": np.where(np.arange(8_000) % 2, "call", "mail"),
            "segment": "a",
        }
    )
    scores.loc[groups["channel"] == "mail", "score"] *= 0.3
    found = metrics.evaluate(scores, labels, by=groups)
    error = found[found["metric"] == "ece"].set_index("channel")
    assert error.loc["mail", "low"] > error.loc["call", "high"]
    assert list(found.columns[:3]) == ["product_id", "channel", "segment"]


def test_reliability_compares_observed_with_predicted():
    bought, score = outcomes(10, size=20_000, decimals=6)
    found = metrics.reliability(*tables(score, bought))
    assert len(found) == 10 and found["pairs"].sum() == 20_000
    assert ((found["low"] <= found["predicted"]) & (found["predicted"] <= found["high"])).sum() >= 8


def test_a_product_without_buyers_has_no_auc_but_the_others_do():
    scores, labels = tables(np.linspace(0.1, 0.9, 8), np.array([0, 0, 0, 0, 0, 1, 0, 1]), ("card", "loan"))
    found = metrics.evaluate(scores, labels).set_index(["product_id", "metric"])["value"]
    assert np.isnan(found["card", "auc"]) and found["loan", "auc"] == pytest.approx(0.75)


def test_scores_and_labels_of_other_dates_are_refused():
    scores, labels = tables(np.linspace(0.1, 0.9, 4), np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match="no label belongs to a row of the features: labels are as of 2025-09-30"):
        metrics.evaluate(scores, labels.assign(as_of=pd.Timestamp("2025-09-30")))
    with pytest.raises(DataError, match="no product of the labels has a buyer"):
        metrics.gains(scores, labels.assign(bought=False))
    with pytest.raises(DataError, match="no column beside customer_id"):
        metrics.evaluate(scores, labels, by=scores[["customer_id"]])
