"""The cheaper scorer: near to its model, no product loses more than it may, saved and read again to the bit."""

import dataclasses
import datetime as dt

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.models import boost_each, distilled, learner, linear, metrics, pairs, registry
from crmlib.models.encode import fit as encode
from crmlib.models.propensity import PropensityModel

NOW = dt.datetime(2026, 1, 2, 3, 4)
PRODUCTS = ["card", "deposit", "gold", "loan"]
BASE = np.array([-1.8, -2.2, -3.2, -2.5])


def customers(seed: int, day: str, *, size: int = 8_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Six features, of which a level and a gap, and four products that depend on them in straight and crooked ways."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 4))
    kind = rng.integers(0, 3, size)
    features = pd.DataFrame(x, columns=["a", "b", "c", "d"]).astype("float32")
    features.insert(0, "customer_id", [f"k{place:05d}" for place in range(size)])
    features.insert(1, "as_of", pd.Timestamp(day))
    features["kind"] = pd.Categorical.from_codes(kind, ["x", "yé", "z"])
    features.loc[rng.random(size) < 0.1, "d"] = np.nan
    drive = np.column_stack(
        [x[:, 0] + (kind == 1), -x[:, 1] + (x[:, 2] > 0.5), 1.2 * np.abs(x[:, 0]), x[:, 1] * (x[:, 2] > 0)]
    )
    able = rng.random(drive.shape) < 0.9
    bought = rng.random(drive.shape) < expit(BASE + drive)
    return features, pairs.table(features["customer_id"], PRODUCTS, pd.Timestamp(day), chosen=able, bought=bought)


@pytest.fixture(scope="module")
def periods():
    return customers(1, "2025-03-31"), customers(2, "2025-06-30"), customers(3, "2025-09-30")


@pytest.fixture(scope="module")
def model(periods):
    return PropensityModel(seed=7, nthread=1).fit(*periods[0], calibrate=periods[1])


@pytest.fixture(scope="module")
def found(model, periods):
    return distilled.distil(model, periods[0][0], calibrate=periods[1], seed=3, nthread=1)


def aucs(scores: pd.DataFrame, labels: pd.DataFrame) -> pd.Series:
    both = scores.merge(labels, on=["customer_id", "as_of", "product_id"], validate="one_to_one")
    return pd.Series(
        {
            name: metrics.auc(part["bought"].to_numpy(), part["score"].to_numpy()).value
            for name, part in both.groupby("product_id", observed=True)
        }
    )


def test_the_imitation_orders_customers_nearly_as_its_model(model, found, periods):
    features, labels = periods[2]
    lost = aucs(model.score(features), labels) - aucs(found.score(features), labels)
    assert lost.mean() < 0.004 and lost.max() < 0.01, lost
    assert found.judged["product_id"].tolist() == PRODUCTS
    kept = (found.judged["lost"] <= distilled.MOST_LOST) & (found.judged["buyers"] >= distilled._JUDGED_BUYERS)
    assert kept.any() and (found.judged["scorer"] == np.where(kept, "fast", "full")).all()


def test_its_probabilities_are_calibrated_apart(found, periods):
    features, labels = periods[2]
    got = metrics.evaluate(found.score(features, labels), labels).set_index(["product_id", "metric"])
    slope, intercept = got.loc[("(all)", "slope")], got.loc[("(all)", "intercept")]
    assert slope["low"] < 1.08 and slope["high"] > 0.92
    assert abs(intercept["value"]) < 0.15
    scores = found.score(features)
    assert ((scores["low"] < scores["score"]) & (scores["score"] < scores["high"])).all()
    assert set(scores["model"]) == {distilled.NAME}


def test_a_product_that_would_lose_too_much_is_scored_by_its_model(model, found, periods, monkeypatch):
    features = periods[2][0].head(500)
    monkeypatch.setattr(distilled, "_ROUNDS", 1)  # an imitation that has learnt next to nothing but straight lines
    poor = distilled.distil(model, periods[0][0], calibrate=periods[1], seed=3, nthread=1)
    slow = poor.judged.loc[poor.judged["scorer"] == "full", "product_id"].tolist()
    assert "gold" in slow  # wants a and -a alike: no line tells
    full, mixed = (each.score(features).set_index(["customer_id", "product_id"]) for each in (model, poor))
    wanted = full.index.get_level_values("product_id").isin(slow)
    np.testing.assert_allclose(mixed.loc[wanted, ["score", "low", "high"]], full.loc[wanted, ["score", "low", "high"]])
    if (~wanted).any():
        assert np.abs(mixed.loc[~wanted, "score"] - full.loc[~wanted, "score"]).max() > 1e-3


def test_a_product_without_buyers_among_the_judges_keeps_its_own_trees(model, periods, monkeypatch):
    monkeypatch.setattr(distilled, "_ROUNDS", 2)
    tune, labels = periods[1]
    unsold = labels.assign(bought=labels["bought"] & (labels["product_id"] != "card"))
    judged = distilled.distil(model, periods[0][0], calibrate=(tune, unsold), seed=3, nthread=1).judged
    row = judged.set_index("product_id").loc["card"]
    assert row["buyers"] == 0 and row["scorer"] == "full" and np.isnan(row["auc"])


def test_a_few_buyers_among_the_judges_judge_nothing(model, periods, monkeypatch):
    monkeypatch.setattr(distilled, "MOST_LOST", 1.0)
    monkeypatch.setattr(distilled, "_JUDGED_BUYERS", 150)
    tune, labels = periods[1]
    card = labels.index[labels["bought"] & (labels["product_id"] == "card")]
    sold_little = labels.assign(bought=labels["bought"] & ~labels.index.isin(card[200:]))
    found = distilled.distil(model, periods[0][0], calibrate=(tune, sold_little), seed=3, nthread=1)
    judged = found.judged.assign(lost=0.5).set_index("product_id")
    assert 0 < judged.loc["card", "buyers"] < distilled._JUDGED_BUYERS and judged.loc["card", "scorer"] == "full"
    assert set(judged["scorer"].drop("card")) == {"fast"}
    counted = dataclasses.replace(found, judged=judged.reset_index())
    assert counted.lost == pytest.approx(0.5 * 3 / 4)  # who keeps its own trees loses nothing


def test_the_judges_are_drawn_from_all_customers(model, periods, monkeypatch):
    """The first half of the table has no buyer of a card; judges taken in the table's order would see none."""
    monkeypatch.setattr(distilled, "_ROUNDS", 2)
    monkeypatch.setattr(distilled, "_JUDGED_ROWS", 1_000)
    tune, labels = periods[1]
    first = labels["customer_id"].isin(tune["customer_id"].head(4_000))
    late = labels.assign(bought=labels["bought"] & ~first)
    judged = distilled.distil(model, periods[0][0], calibrate=(tune, late), seed=3, nthread=1).judged
    assert judged["customers"].max() <= 1_000 and (judged["buyers"] > 10).all()


def test_written_and_read_again_it_scores_to_the_bit(model, found, periods, tmp_path):
    features = periods[2][0]
    names = found.write(tmp_path)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    again = distilled.read(tmp_path, model)
    pd.testing.assert_frame_equal(again.score(features), found.score(features), check_exact=True)
    pd.testing.assert_frame_equal(again.judged, found.judged)


def test_the_registry_finds_the_imitation_of_the_version_asked_for(model, found, periods, tmp_path):
    told = {"data": tmp_path, "warehouse_version": 1, "as_of": NOW.date(), "now": NOW, "metrics": {}}
    numbers = [registry.save(model, **told, also=also) for also in (found.write, None)]
    first, second = (registry.load(tmp_path, version=number) for number in numbers)
    features = periods[2][0].head(50)
    again = distilled.load(first).score(features)
    pd.testing.assert_frame_equal(again, found.score(features), check_exact=True)
    with pytest.raises(NotFoundError, match="model version 2 has no cheaper scorer; train with `crm train --fast`"):
        distilled.load(second)
    file = first.folder / "fast_booster.ubj"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EnvironmentFault, match=r"fast_booster.ubj: missing or damaged.*train again with `crm train`"):
        registry.load(tmp_path, version=first.version)


def test_it_learns_from_answers_not_from_outcomes(model, periods, monkeypatch):
    """Other outcomes of the same customers change the calibration and the judgement, and no tree."""
    monkeypatch.setattr(distilled, "_ROUNDS", 5)
    other = periods[1][1]
    flipped = other.assign(bought=other["bought"].to_numpy()[::-1])
    one, two = (
        distilled.distil(model, periods[0][0], calibrate=(periods[1][0], labels), seed=3, nthread=1).student
        for labels in (other, flipped)
    )
    assert one.booster.save_raw("ubj") == two.booster.save_raw("ubj")
    assert not np.array_equal(one.calibration.coefficients, two.calibration.coefficients)


def test_a_model_of_one_outcome_is_refused(periods):
    features = periods[0][0].head(600).drop(columns=["customer_id", "as_of"])
    plain = PropensityModel(nthread=1).fit(features, (features["a"] > 1).to_numpy(int) ^ (np.arange(600) % 7 == 0))
    with pytest.raises(DataError, match="a model of one outcome is as quick as any imitation of it"):
        distilled.distil(plain, periods[0][0], calibrate=periods[1])


def test_some_products_of_a_model_score_as_in_the_whole(model, periods):
    tree = model.fitted_.encoding.tree_matrix(periods[2][0].head(300))
    whole = model.fitted_.logits_of(tree)
    part = model.fitted_.only(["gold", "card"]).logits_of(tree)
    for one, every in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, every[:, [2, 0]])


# ---------------------------------------------------------------- many customers: boosters on rows of their own


@pytest.fixture(scope="module")
def large(periods):
    """A model fitted the way of many customers: the limit is lowered, not the customers made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "MAX_ROWS", 3_000)
        patch.setattr(learner, "_EACH_ROWS", 5_000)
        return PropensityModel(seed=7, nthread=1).fit(*periods[0], calibrate=periods[1])


def test_with_many_customers_each_product_learns_from_its_own_rows(large, model, periods):
    features, labels = periods[2]
    assert (large.fitted_.learner.rounds > 0).all()
    assert (aucs(large.score(features), labels) - aucs(model.score(features), labels)).min() > -0.02
    got = metrics.evaluate(large.score(features, labels), labels).set_index(["product_id", "metric"])
    assert abs(got.loc[("(all)", "slope"), "value"] - 1) < 0.15


def test_the_rows_of_an_outcome_are_its_buyers_and_weighted_others():
    rng = np.random.default_rng(0)
    bought = (rng.random((90_000, 2)) < [0.01, 0.2]).astype(np.int8)
    bought[rng.random(bought.shape) < 0.1] = -1
    held_out = rng.random(len(bought)) < 0.15
    few, many = learner._draws(bought, held_out, 1)
    assert few.bought.sum() == (bought[:, 0] == 1).sum()
    assert len(few.rows) == max(15_000, 9 * few.bought.sum())
    for place, draw in enumerate((few, many)):
        np.testing.assert_array_equal(draw.bought, bought[draw.rows, place])
        assert (draw.bought >= 0).all() and (draw.held_out == held_out[draw.rows]).all()
        assert draw.weights.sum() == pytest.approx((bought[:, place] >= 0).sum())


def test_the_joined_booster_predicts_what_its_parts_do(periods):
    features = periods[0][0]
    coding = encode(features)
    tree = coding.tree_matrix(features)
    bought = pairs.matrix(periods[0][1], features, PRODUCTS)
    bought[:, 2] = np.minimum(bought[:, 2], 0)  # nobody bought gold
    held_out = np.arange(len(tree)) % 7 == 0
    start = learner.base_log_odds(bought)
    draws = list(learner._draws(bought, held_out, 1))
    booster, rounds = boost_each.fit(tree, draws, coding, start=start, nthread=1)
    margins = booster.inplace_predict(tree, predict_type="margin", validate_features=False)
    assert rounds[2] == 0 and not margins[:, 2].any() and (rounds[[0, 1, 3]] > 3).all()
    for place in (0, 1, 3):
        alone, its = boost_each.fit(tree, [draws[place]], coding, start=start[[place]], nthread=1)
        assert its[0] == rounds[place]
        np.testing.assert_array_equal(
            alone.inplace_predict(tree, predict_type="margin", validate_features=False), margins[:, place]
        )


def test_exact_margins_agree_with_a_product_of_matrices_and_do_not_depend_on_neighbours(periods):
    coding = encode(periods[0][0])
    columns = coding.linear_columns(coding.tree_matrix(periods[0][0]))
    coefficients = np.random.default_rng(0).normal(size=(len(columns) + 1, 3)) * [1e-3, 1.0, 50.0]
    got = linear.exact_margins(coefficients, columns)
    wanted = columns.T.astype(float) @ coefficients[:-1] + coefficients[-1]
    assert (np.abs(got - wanted) < 1e-5 * np.abs(coefficients).max(axis=0)).all()
    order = np.random.default_rng(1).permutation(columns.shape[1])[:777]
    np.testing.assert_array_equal(linear.exact_margins(coefficients, columns[:, order]), got[order])
    one = np.vstack([linear.exact_margins(coefficients, columns[:, [place]]) for place in order[:50]])
    np.testing.assert_array_equal(one, got[order[:50]])


@pytest.mark.parametrize("count", [60, 244])
def test_exact_margins_are_within_the_bound_they_state_and_the_bound_is_no_wild_guess(count):
    rng = np.random.default_rng(count)
    usual = np.clip(rng.normal(size=(count, 500)), -4, 4).astype(np.float32)
    worst = np.full((count, 1), 1 + 2.0**-21, dtype=np.float32)  # as far from a multiple of 2**-20 as can be
    for columns, slopes in ((usual, rng.normal(size=count)), (worst, np.full(count, 0.75))):
        coefficients = np.append(slopes, 0.3)[:, None]
        exact = columns.T.astype(float) @ coefficients[:-1] + coefficients[-1]
        off = np.abs(linear.exact_margins(coefficients, columns) - exact).max() / np.abs(slopes).max()
        assert off <= count * 2.0**-20
    assert off >= 0.999 * count * 2.0**-21
