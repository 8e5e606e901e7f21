"""The propensity model on made-up customers whose true probabilities are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from crmlib.errors import DataError, UsageError
from crmlib.models import baseline, calibration, encode, leaks, learner, metrics, pairs
from crmlib.models.propensity import PropensityModel

PRODUCTS = ["card", "deposit", "gold", "loan"]
BASE = np.array([-2.0, -2.5, -5.8, -3.0])  # few buy gold


def bank(seed: int, day: str, *, size: int = 6_000) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Customers with skewed, missing and categorical features; labels of who could buy; true probabilities."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(size, 3))
    kind = rng.integers(0, 4, size)
    features = pd.DataFrame(
        {
            "customer_id": [f"c{i:05d}" for i in range(size)],
            "as_of": pd.Timestamp(day),
            "balance": np.round(np.expm1(1.5 * np.abs(hidden[:, 0])) * 100) * np.sign(hidden[:, 0]),
            "age": np.where(rng.random(size) < 0.1, np.nan, 45 + 12 * hidden[:, 1]),
            "contacts": rng.poisson(np.exp(hidden[:, 2] / 2)),
            "active": rng.random(size) < 0.5,
            "region": pd.Categorical.from_codes(kind, ["north", "east", "south", "west"]),
            "noise": rng.normal(size=size),
        }
    )
    drive = np.column_stack(
        [hidden[:, 0] + 0.5 * (kind == 2), -hidden[:, 1], 0.8 * hidden[:, 0], 1.5 * np.abs(hidden[:, 0])]
    )
    chance = expit(BASE + drive)
    able = rng.random(chance.shape) < 0.8
    bought = rng.random(chance.shape) < chance
    labels = pairs.table(features["customer_id"], PRODUCTS, pd.Timestamp(day), chosen=able, bought=bought)
    return features, labels, chance


@pytest.fixture(scope="module")
def periods():
    return bank(1, "2025-03-31"), bank(2, "2025-06-30"), bank(3, "2025-09-30")


@pytest.fixture(scope="module")
def model(periods):
    train, tune, _ = periods
    return PropensityModel(seed=7, nthread=1).fit(train[0], train[1], calibrate=tune[:2])


def true_auc(chance: np.ndarray, score: np.ndarray) -> float:
    order = np.argsort(score)
    no = 1 - chance[order]
    return float(np.sum(chance[order] * (np.cumsum(no) - no / 2)) / chance.sum() / no.sum())


def test_recovers_the_planted_probabilities(model, periods):
    features, _, chance = periods[2]
    score = model.score(features)["score"].to_numpy().reshape(chance.shape)
    reached = []
    for place in range(4):
        best = true_auc(chance[:, place], chance[:, place])
        reached.append((true_auc(chance[:, place], score[:, place]) - 0.5) / (best - 0.5))
    assert min(reached) > 0.75 and np.mean(reached) > 0.9, reached
    line = np.polyfit(
        np.log(score / (1 - score))[:, [0, 1, 3]].ravel(),
        np.log(chance / (1 - chance))[:, [0, 1, 3]].ravel(),
        1,
    )
    assert 0.85 < line[0] < 1.15


def test_probabilities_are_calibrated_on_the_third_date(model, periods):
    features, labels, _ = periods[2]
    found = metrics.evaluate(model.score(features, labels), labels).set_index(["product_id", "metric"])
    slope, intercept = found.loc[("(all)", "slope")], found.loc[("(all)", "intercept")]
    assert slope["low"] < 1.05 and slope["high"] > 0.95
    assert abs(intercept["value"]) < 0.15
    assert found.loc[("(all)", "ece"), "value"] < 0.01


def test_beats_the_logistic_baseline_where_the_truth_is_not_linear(model, periods):
    train, _, test = periods
    plain = baseline.fit(train[0], train[1]).score(test[0], test[1])
    scores = model.score(test[0], test[1])
    both = baseline.compare(metrics.evaluate(scores, test[1]), metrics.evaluate(plain, test[1]))
    gain = both[both["metric"] == "auc"].set_index("product_id")["gain"]
    assert gain["loan"] > 0.05  # driven by the size of the balance whatever its sign
    assert abs(gain["card"]) < 0.05


def test_the_score_table_has_the_agreed_columns(model, periods):
    features, labels, _ = periods[2]
    scores = model.score(features, labels)
    assert list(scores.columns) == ["customer_id", "as_of", "model", "product_id", "score", "low", "high"]
    pd.testing.assert_frame_equal(scores[["customer_id", "as_of", "product_id"]], labels.drop(columns="bought"))
    assert ((scores["low"] > 0) & (scores["low"] <= scores["score"]) & (scores["score"] <= scores["high"])).all()
    assert scores["high"].max() < 1 and set(scores["model"]) == {"propensity"}


def test_intervals_are_wider_for_fewer_buyers(model, periods):
    scores = model.score(periods[2][0])
    logit = np.log(scores[["low", "high"]] / (1 - scores[["low", "high"]]))
    width = (logit["high"] - logit["low"]).groupby(scores["product_id"], observed=True).mean()
    assert width["gold"] > 1.5 * width["card"]


def test_products_with_few_buyers_lean_on_the_pool_and_say_so(model):
    table = model.products_.set_index("product_id")
    assert table.loc["gold", "reason"] == "few_buyers" and table.loc["card", "reason"] == "own"
    assert table.loc["gold", "shrunk"] == pytest.approx(100 / (100 + table.loc["gold", "buyers"]))


def test_a_product_first_sold_in_the_calibration_period_is_scored_by_the_pool(periods):
    train, tune, test = periods
    unsold = train[1].assign(bought=train[1]["bought"] & (train[1]["product_id"] != "gold"))
    model = PropensityModel(seed=1, nthread=1).fit(train[0], unsold, calibrate=tune[:2])
    row = model.products_.set_index("product_id").loc["gold"]
    assert row["reason"] == "no_buyers" and row["shrunk"] == 1
    score = model.score(test[0]).query("product_id == 'gold'")["score"]
    assert 0.2 < score.mean() / test[2][:, 2].mean() < 5


def test_what_could_not_be_bought_carries_no_information(periods):
    """A feature that differs only between those who could and could not buy a product moves nothing of that product."""
    train, tune, _ = periods
    able = pairs.matrix(train[1], train[0], PRODUCTS)[:, 0] >= 0
    features = train[0].assign(trap=(~able).astype(float))
    model = PropensityModel(seed=1, nthread=1).fit(features, train[1], calibrate=(tune[0].assign(trap=0.0), tune[1]))
    without, with_trap = [model.fitted_.learner.margins(tune[0].assign(trap=value)) for value in (0.0, 1.0)]
    np.testing.assert_array_equal(without[0][:, 0], with_trap[0][:, 0])
    assert np.abs(without[1][:, 0] - with_trap[1][:, 0]).max() < 0.01
    assert np.abs(without[1][:, -1] - with_trap[1][:, -1]).min() > 0.05  # the pool may know it: they bought less


def test_the_same_seed_gives_the_same_scores_and_inputs_stay_unchanged(periods):
    train, tune, test = periods
    before = [table.copy(deep=True) for table in (*train[:2], *tune[:2], test[0])]
    scores = [
        PropensityModel(seed=3, nthread=1).fit(train[0], train[1], calibrate=tune[:2]).score(test[0]) for _ in range(2)
    ]
    pd.testing.assert_frame_equal(scores[0], scores[1], check_exact=True)
    for old, new in zip(before, (*train[:2], *tune[:2], test[0]), strict=True):
        pd.testing.assert_frame_equal(old, new)


def test_order_of_rows_of_the_labels_does_not_matter(model, periods):
    train, tune, test = periods
    shuffled = train[1].sample(frac=1, random_state=0)
    other = PropensityModel(seed=7, nthread=1).fit(train[0], shuffled, calibrate=tune[:2])
    pd.testing.assert_frame_equal(model.score(test[0]), other.score(test[0]), check_exact=True)


def test_unseen_levels_and_missing_values_are_scored(model, periods):
    features = periods[2][0].head(3).copy()
    features["region"] = pd.Categorical(["north", "abroad", None])
    features.loc[0, ["balance", "age"]] = np.nan
    assert model.score(features)["score"].between(0, 1).all()


def test_fits_a_plain_table_by_cross_fitting(periods):
    features, _, chance = periods[0]
    rng = np.random.default_rng(5)
    y = (rng.random(len(chance)) < chance[:, 3]).astype(int)
    table = features.drop(columns=["customer_id", "as_of"])
    model = PropensityModel(seed=1, nthread=1).fit(table, y)
    p = model.predict(periods[2][0])
    assert true_auc(periods[2][2][:, 3], p) > true_auc(periods[2][2][:, 3], periods[2][2][:, 3]) - 0.02
    assert p.mean() == pytest.approx(y.mean(), abs=0.02)
    fixed = PropensityModel(seed=1, nthread=1).fit(table, pd.Series(y), calibrate=(table, y))
    assert fixed.predict(table).shape == (len(table),)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, x: (f, x.assign(bought=False)), "nobody bought card, deposit, gold, loan"),
        (lambda f, x: (f, x.assign(bought=x["bought"] & (x["product_id"] != "gold"))), "nobody bought gold in the periods"),
        (lambda f, x: (f, x.assign(bought=True)), "all outcomes of the training period are the same"),
        (lambda f, x: (f, x.assign(as_of=pd.Timestamp("2024-01-01"))), "no label belongs to a row of the features"),
        (lambda f, x: (f, x.drop(columns="bought")), "the labels lack column bought"),
        (lambda f, x: (pd.concat([f, f.head(1)]), x), "features hold customer c00000 more than once"),
        (lambda f, x: (f.assign(opened=pd.Timestamp("2025-01-01")), x), "feature opened holds dates"),
        (lambda f, x: (f[["customer_id", "as_of"]].assign(one=1.0), x), "no feature column varies"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(periods, spoil, message):
    features, labels = periods[0][:2]
    with pytest.raises(DataError, match=message):
        PropensityModel(nthread=1).fit(*spoil(features, labels))


def test_plain_outcomes_are_checked():
    table = pd.DataFrame({"x": np.arange(40.0)})
    with pytest.raises(DataError, match="40 rows of features but 39 outcomes"):
        PropensityModel().fit(table, np.zeros(39))
    with pytest.raises(DataError, match="outcomes must be 0 or 1"):
        PropensityModel().fit(table, np.full(40, 2))
    with pytest.raises(DataError, match="no outcome is 1"):
        PropensityModel().fit(table, np.zeros(40))
    with pytest.raises(DataError, match="8 customers with outcomes are too few"):
        PropensityModel().fit(table.head(8), np.arange(8) % 2)


def test_scoring_is_checked(model, periods):
    with pytest.raises(UsageError, match="not fitted yet"):
        PropensityModel().score(periods[0][0])
    with pytest.raises(UsageError, match="predict is for a model fitted on one outcome"):
        model.predict(periods[0][0])
    with pytest.raises(DataError, match="lack 1 columns the model was fitted on"):
        model.score(periods[0][0].drop(columns="age"))
    with pytest.raises(DataError, match="feature age is str"):
        model.score(periods[0][0].assign(age="young"))


def test_sampling_keeps_buyers_and_expected_sums():
    rng = np.random.default_rng(0)
    bought = (rng.random((50_000, 2)) < 0.02).astype(np.int8)
    rows, weights = learner.sample(bought, 10_000, rng)
    assert len(rows) == 10_000 and (np.diff(rows) > 0).all()
    assert set(np.flatnonzero(bought.any(axis=1))) <= set(rows)
    assert weights.sum() == pytest.approx(50_000)


def test_partial_pooling_recovers_planted_lines():
    """Lines of 12 outcomes drawn around one mean: pooled estimates are nearer to the truth than each one's own."""
    rng = np.random.default_rng(1)
    truth = np.column_stack([rng.normal(0, 0.3, 12), rng.normal(0.9, 0.1, 12)])
    samples, alone = [], []
    prior = calibration.Prior(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([0.3, 0.3]))
    free = calibration.Prior(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([30.0, 30.0]))
    for line in truth:
        x = np.column_stack([np.ones(1_500), rng.normal(size=1_500)])
        bought = rng.random(1_500) < expit(x @ line - 3)
        samples.append(calibration.Sample(x, bought, np.ones(1_500), -3.0))
        alone.append(calibration.fit([samples[-1]], free).coefficients[0])
    found = calibration.fit(samples, prior)
    assert np.sum((found.coefficients - truth) ** 2) < 0.8 * np.sum((np.array(alone) - truth) ** 2)
    error = np.sqrt(np.diagonal(found.covariances, axis1=1, axis2=2))
    assert np.mean(np.abs(found.coefficients - truth) < 1.645 * error) > 0.75


def test_an_unpooled_calibration_is_plain_logistic_regression():
    import statsmodels.api as sm

    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(800), rng.normal(size=800)])
    bought = rng.random(800) < expit(x @ [-1, 0.7])
    flat = calibration.Prior(np.zeros(2), np.full(2, 1e3), np.full(2, 1e3))
    found = calibration.fit([calibration.Sample(x, bought, np.ones(800), 0.0)], flat)
    reference = sm.Logit(bought, x).fit(disp=0)
    assert found.coefficients[0] == pytest.approx(reference.params, abs=1e-3)
    assert np.sqrt(np.diag(found.covariances[0])) == pytest.approx(reference.bse, rel=1e-2)


def test_the_baseline_survives_separation(periods):
    features, labels, _ = periods[0]
    code = pairs.matrix(labels, features, PRODUCTS)
    told = features.assign(giveaway=(code[:, 0] == 1).astype(float))
    found = baseline.fit(told, labels)
    row = found.coefficients.query("product_id == 'card' and feature == 'giveaway'").iloc[0]
    assert 2 < row["coefficient"] < 8 and row["standard_error"] < 2


def test_leaks_are_named_with_their_reason(periods):
    features, labels, _ = periods[0]
    code = pairs.matrix(labels, features, PRODUCTS)
    bad = features.assign(
        closing_call=np.where(code[:, 1] == 1, 5.0, np.nan),
        hint=np.where(code[:, 0] == 1, 2.0, 0.0) + np.random.default_rng(0).normal(size=len(features)),
    )
    late = pd.Series(pd.Timestamp("2025-03-31 23:59"), index=features.index)
    late.iloc[:7] = pd.Timestamp("2025-04-01")
    found = leaks.check(bad, labels, known_at={"contacts": late})
    assert set(zip(found["feature"], found["product_id"], found["reason"], strict=True)) == {
        ("closing_call", "deposit", "filled_by_the_outcome"),
        ("hint", "card", "predicts_too_well"),
        ("contacts", "", "known_afterwards"),
    }
    assert found.set_index("feature")["rows"]["contacts"] == 7
    assert leaks.check(features, labels).empty
    with pytest.raises(DataError, match="known_at of nothing: give a moment for each of the 6000 rows"):
        leaks.check(features, labels, known_at={"nothing": late})


def test_encoding_survives_json_and_reads_every_form_of_text(periods):
    import json

    features = periods[0][0]
    coding = encode.fit(features)
    again = encode.from_dict(json.loads(json.dumps(coding.to_dict())))
    as_text = features.assign(region=features["region"].astype("str"))
    first = coding.tree_matrix(features)
    np.testing.assert_array_equal(first, again.tree_matrix(as_text))
    np.testing.assert_array_equal(coding.linear_matrix(first), again.linear_matrix(first))
    assert abs(coding.linear_matrix(first).mean(axis=0)).max() < 0.05
