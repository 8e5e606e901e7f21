"""Fit, calibrate and judge on three dates of a small sample bank, through the loader and the features."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from crmlib import features, samples, warehouse
from crmlib.errors import DataError
from crmlib.models import backtest, explain, labels, registry

DATES = ("2025-03-31", "2025-06-30", "2025-09-30")
NOW = dt.datetime(2026, 1, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    made = samples.bank(customers=1_500, months=15, seed=3, folder=folder / "samples" / "bank")
    warehouse.load(made.files, made.mapping, data=folder, recorded_at=NOW, now=NOW)
    return folder


@pytest.fixture(scope="module")
def wh(data):
    return warehouse.open(data / "warehouse")


@pytest.fixture(scope="module")
def tested(wh):
    return backtest.three_dates(wh, DATES, seed=1)


def test_it_tells_buyers_from_others_on_a_date_it_has_not_seen(tested):
    found = tested.evaluation.set_index(["product_id", "metric"]).loc[("(all)", "auc")]
    assert found["low"] > 0.6 and 0.5 < found["baseline"] < 1
    assert found["gain"] == pytest.approx(found["value"] - found["baseline"])


def test_every_candidate_and_nobody_else_is_scored(tested, wh):
    snapshot = wh.snapshot(DATES[2])
    able = labels.candidates(snapshot, products=tested.model.fitted_.products)
    keys = ["customer_id", "product_id"]
    scored = tested.scores[keys].astype(str).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(scored, able[keys].astype(str).sort_values(keys, ignore_index=True))
    objecting = labels.objectors(snapshot)
    known = wh.connect().execute("SELECT customer_id, customer_key FROM customer_keys").df().set_index("customer_key")
    assert len(objecting) and not set(known.loc[objecting, "customer_id"]) & set(tested.scores["customer_id"])


def test_candidates_agree_with_a_naive_loop(wh):
    snapshot, day = wh.snapshot(DATES[0]), pd.Timestamp(DATES[0])
    found = labels.candidates(snapshot)
    pairs = set(zip(found["customer_id"], found["product_id"].astype(str), strict=True))
    holdings = snapshot.table("holdings")
    holdings = holdings[holdings["closed_on"].isna()]
    held = set(zip(holdings["customer_id"], holdings["product_id"], strict=True))
    keys = wh.connect().execute("SELECT customer_id, customer_key FROM customer_keys").df()
    objecting = set(keys.loc[keys["customer_key"].isin(labels.objectors(snapshot)), "customer_id"])
    products = snapshot.table("products")
    for customer in snapshot.table("customers").sample(150, random_state=0).itertuples():
        who, born = customer.customer_id, customer.birth_date
        gone = pd.notna(customer.closed_on) or who in objecting
        age = np.nan if pd.isna(born) else day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        income = np.nan if pd.isna(customer.income_minor) else customer.income_minor
        for product in products.itertuples():
            refused = [
                gone,
                pd.notna(product.withdrawn_on),
                pd.notna(product.minimum_age) and age < product.minimum_age,
                pd.notna(product.maximum_age) and age > product.maximum_age,
                pd.notna(product.minimum_income_minor) and income < product.minimum_income_minor,
                (who, product.product_id) in held and not (pd.notna(product.repeatable) and product.repeatable),
                pd.notna(product.requires_product_id) and (who, product.requires_product_id) not in held,
            ]
            assert (not any(refused)) == ((who, product.product_id) in pairs), (who, product.product_id)


def test_reasons_use_the_codes_of_the_features_own_meanings(tested, wh):
    meanings = features.describe(tested.specification)
    inputs = features.build(wh.snapshot(DATES[2]), tested.specification)
    top = tested.scores.nlargest(40, "score")
    found = explain.reasons(tested.model, inputs, top, meanings=meanings)
    assert set(found["code"]) <= set(explain.codes(meanings))
    assert found.groupby(["customer_id", "product_id"], observed=True).ngroups == 40
    assert all(given["table"] for given in found["parameters"])


def test_a_saved_model_builds_its_own_columns_and_scores_the_same(tested, wh, data):
    version = registry.save(
        tested.model, data=data, warehouse_version=wh.version, as_of=dt.date(2025, 6, 30), now=NOW, metrics={},
        specification=features.to_json(tested.specification),
    )  # fmt: skip
    saved = registry.load(data, version=version)
    inputs = features.build(wh.snapshot(DATES[2]), features.from_json(saved.specification))
    pd.testing.assert_frame_equal(saved.model.score(inputs, tested.labels), tested.scores, check_exact=True)


def test_dates_whose_outcomes_overlap_are_refused(wh):
    with pytest.raises(DataError, match="outcomes of 2025-06-30 run 90 days, past 2025-08-31"):
        backtest.three_dates(wh, ("2025-03-31", "2025-06-30", "2025-08-31"))
    with pytest.raises(DataError, match="2 dates were given"):
        backtest.three_dates(wh, DATES[:2])
