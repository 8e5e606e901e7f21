"""Reasons: additive in log-odds, grouped by code, the strongest first."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from crmlib.errors import DataError, NotFoundError
from crmlib.models import boost, explain, pairs
from crmlib.models.propensity import PropensityModel

PRODUCTS = ["card", "loan", "rare"]
DAY = pd.Timestamp("2025-03-31")


def customers(seed: int, size: int = 3_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    spend = rng.gamma(2, 100, size)
    features = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(size)],
            "as_of": DAY,
            "spend_3m": np.round(spend * rng.uniform(0.8, 1.2, size), 2),
            "spend_12m": np.round(spend * 4, 2),
            "age": np.where(rng.random(size) < 0.1, np.nan, rng.normal(45, 12, size)),
            "region": pd.Categorical.from_codes(rng.integers(0, 3, size), ["north", "east", "west"]),
        }
    )
    drive = (spend - 200) / 100
    chance = expit(np.column_stack([drive - 2, -drive - 2 + (features["region"] == "east"), drive - 5]))
    bought = rng.random(chance.shape) < chance
    return features, pairs.table(
        features["customer_id"], PRODUCTS, DAY, chosen=np.ones(chance.shape, dtype=bool), bought=bought
    )


MEANINGS = pd.DataFrame(
    {
        "name": ["spend_3m", "spend_12m", "age", "region"],
        "code": ["spend", "spend", "age", "region"],
        "months": pd.array([3, 12, None, None], dtype="Int64"),
        "unit": ["minor units", "minor units", "years", ""],
        "level": ["", "", "", ""],
    }
)


@pytest.fixture(scope="module")
def features():
    return customers(2)[0]


@pytest.fixture(scope="module")
def model():
    return PropensityModel(seed=1, nthread=1).fit(*customers(1), calibrate=customers(3))


@pytest.mark.parametrize("product", PRODUCTS)
def test_contributions_sum_to_the_calibrated_log_odds(model, features, product):
    parts = explain.contributions(model, features, product)
    scores = model.score(features)
    expected = logit(scores.loc[scores["product_id"] == product, "score"].to_numpy())
    np.testing.assert_allclose(parts.sum(axis=1), expected, atol=1e-4)
    assert list(parts.columns) == ["spend_3m", "spend_12m", "age", "region", explain.BASE]


def test_one_outcome_taken_out_of_the_booster_predicts_the_same(model, features):
    used = model.fitted_.learner
    tree = used.encoding.tree_matrix(features)
    data = boost.matrix(tree, used.encoding)
    every = boost.margins_of(used.booster, tree, len(used.offsets))
    for outcome in range(len(used.offsets)):
        alone = boost.apart(used.booster, [outcome])[outcome].predict(data)
        np.testing.assert_allclose(alone, every[:, outcome], atol=1e-6)


def test_reasons_are_grouped_ranked_and_signed(model, features):
    chosen = model.score(features).sample(200, random_state=0)
    found = explain.reasons(model, features, chosen, meanings=MEANINGS)
    assert list(found.columns) == [
        "customer_id", "as_of", "product_id", "direction", "rank", "code", "contribution", "parameters",
    ]  # fmt: skip
    assert set(found["code"]) <= set(explain.codes(MEANINGS)) == {"spend", "age", "region"}
    assert (found["contribution"] > 0).eq(found["direction"] == "for").all()
    keys = ["customer_id", "product_id", "direction"]
    assert not found.duplicated([*keys, "code"]).any()
    assert (
        found.groupby(keys, observed=True)["rank"]
        .apply(lambda rank: rank.tolist() == list(range(1, len(rank) + 1)))
        .all()
    )
    assert (found["contribution"].abs().groupby([found[key] for key in keys], observed=True).diff().dropna() <= 0).all()


def test_a_reason_is_the_sum_of_its_features(model, features):
    chosen = model.score(features.head(5)).query("product_id == 'card'")
    found = explain.reasons(model, features, chosen, meanings=MEANINGS)
    parts = explain.contributions(model, features.head(5), "card")
    spend = found[found["code"] == "spend"].set_index("customer_id")["contribution"]
    expected = (parts["spend_3m"] + parts["spend_12m"]).set_axis(features["customer_id"].head(5))
    assert spend.to_numpy() == pytest.approx(expected[spend.index].to_numpy())


def test_the_reason_planted_is_the_reason_given(model, features):
    top = features.nlargest(20, "spend_12m")[["customer_id", "as_of"]].assign(product_id="card")
    found = explain.reasons(model, features, top, meanings=MEANINGS)
    first = found[(found["direction"] == "for") & (found["rank"] == 1)]
    assert (first["code"] == "spend").all() and len(first) == 20
    against = explain.reasons(model, features, top.assign(product_id="loan"), meanings=MEANINGS)
    assert (against[(against["direction"] == "against") & (against["rank"] == 1)]["code"] == "spend").all()


def test_parameters_are_plain_values_that_json_holds(model, features):
    gap = features[features["age"].isna()].head(3)
    chosen = gap[["customer_id", "as_of"]].assign(product_id="loan")
    found = explain.reasons(model, gap, chosen, meanings=MEANINGS, top=4)
    again = [json.loads(json.dumps(given)) for given in found["parameters"]]
    assert again == found["parameters"].tolist()
    by_feature = {given["feature"]: given for given in again}
    assert by_feature["age"]["value"] is None and 40 < by_feature["age"]["typical"] < 50
    spend = next(given for given in again if given["feature"].startswith("spend"))
    assert spend["months"] == (3 if spend["feature"] == "spend_3m" else 12)
    row = features.set_index("customer_id").loc[found["customer_id"].iloc[0]]
    given = found["parameters"].iloc[0]
    assert given["value"] is None or given["value"] == row[given["feature"]]


def test_without_meanings_each_feature_is_its_own_code(model, features):
    chosen = features.head(3)[["customer_id", "as_of"]].assign(product_id="card")
    found = explain.reasons(model, features, chosen)
    assert set(found["code"]) <= {"spend_3m", "spend_12m", "age", "region"}


def test_unknown_products_and_customers_are_named(model, features):
    chosen = features.head(1)[["customer_id", "as_of"]].assign(product_id="card")
    with pytest.raises(NotFoundError, match="the model knows no product gold; it was fitted on card, loan, rare"):
        explain.contributions(model, features, "gold")
    with pytest.raises(DataError, match="customer stranger has no row in the features"):
        explain.reasons(model, features, chosen.assign(customer_id="stranger"))
    assert explain.reasons(model, features, chosen.head(0)).empty
