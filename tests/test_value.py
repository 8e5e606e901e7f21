"""The value of an offer: the formula by hand and naively, levers, uplift before probability, sensitivity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.decisions import value, value_sensitivity
from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company

COSTS = {"call": 500, "email": 2}
PLAIN = Company(contact_costs_minor=COSTS, horizon_months=12, annual_discount=0.0, monthly_retention=1.0)


def sold(**margin: tuple[int, int]) -> pd.DataFrame:
    rows = [(name, amount, months, "EUR") for name, (amount, months) in margin.items()]
    frame = pd.DataFrame(rows, columns=["product_id", "margin_minor", "margin_months", "currency"])
    return frame.astype({"margin_minor": "Int64", "margin_months": "Int64"})


def scored(**chance: dict[str, float]) -> pd.DataFrame:
    rows = [(who, what, score) for who, products in chance.items() for what, score in products.items()]
    return pd.DataFrame(rows, columns=["customer_id", "product_id", "score"])


def test_the_example_of_the_documentation() -> None:
    # A card earns 2,400 over 24 months: 100 a month. Over 12 months at 1% lost each month and no discount that is
    # 100 × (0.99 + 0.99² + … + 0.99¹²) = 1,124.79; at a chance of 10% and a call of 50 the offer is worth 62.48.
    company = Company(contact_costs_minor={"call": 50}, horizon_months=12, annual_discount=0, monthly_retention=0.99)
    terms = value.terms(sold(card=(2400, 24)), company=company)
    assert terms["margin_minor"].tolist() == pytest.approx([1200.0])
    assert terms["retention"].tolist() == pytest.approx([0.9373248])
    found = value.table(scored(anna={"card": 0.1}), terms=terms, company=company)
    assert list(found.columns) == value.COLUMNS
    assert found["value_minor"].tolist() == pytest.approx([62.478977])


@given(
    st.integers(-10_000, 1_000_000),
    st.integers(1, 400),
    st.integers(1, 400),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_terms_agree_with_a_naive_sum(margin: int, spread: int, horizon: int, discount: float, kept: float) -> None:
    company = Company(annual_discount=discount, monthly_retention=kept)
    row = value.terms(sold(p=(margin, spread)), company=company, horizon_months=horizon).iloc[0]
    months = range(1, min(spread, horizon) + 1)
    worth = [(1 + discount) ** (-month / 12) for month in months]
    assert row["margin_minor"] == pytest.approx(margin / spread * sum(worth), rel=1e-9, abs=1e-9)
    stays = sum(part * kept**month for part, month in zip(worth, months, strict=True)) / sum(worth)
    assert row["retention"] == pytest.approx(stays, rel=1e-9, abs=1e-12)
    assert row["months"] == min(spread, horizon)


def test_a_margin_without_months_is_earned_over_the_horizon() -> None:
    products = sold(p=(600, 12)).assign(margin_months=pd.array([None], "Int64"))
    assert value.terms(products, company=PLAIN, horizon_months=6)["margin_minor"].tolist() == pytest.approx([600.0])


def test_products_lose_contracts_at_rates_of_their_own() -> None:
    company = Company(annual_discount=0, monthly_retention=1.0, product_retention={"b": 0.5}, horizon_months=2)
    terms = value.terms(sold(a=(200, 2), b=(200, 2)), company=company).set_index("product_id")
    assert terms.loc["a", "retention"] == 1.0 and terms.loc["b", "retention"] == pytest.approx((0.5 + 0.25) / 2)


def test_uplift_where_known_else_probability() -> None:
    uplift = pd.DataFrame({"customer_id": ["a"], "product_id": ["p"], "channel": ["call"], "score": [0.02]})
    terms = value.terms(sold(p=(100_000, 12)), company=PLAIN)
    found = value.table(scored(a={"p": 0.1}), terms=terms, company=PLAIN, uplift=uplift).set_index("channel")
    assert found["basis"].to_dict() == {"call": "uplift", "email": "probability"}
    assert found.loc["call", "value_minor"] == pytest.approx(0.02 * 100_000 - 500)
    assert found.loc["email", "value_minor"] == pytest.approx(0.1 * 100_000 - 2)
    assert np.isnan(found.loc["email", "uplift"]) and found["probability"].tolist() == [0.1, 0.1]


def test_the_lever_shows_and_so_does_the_value_without_it() -> None:
    company = Company(**{**vars(PLAIN), "levers": {"p": 2.0}})
    terms = value.terms(sold(p=(100_000, 12)), company=company)
    found = value.table(scored(a={"p": 0.1}), terms=terms, company=company, channels=["call"])
    assert found[["lever", "value_minor", "unlevered_minor"]].to_numpy().tolist() == [[2.0, 19_500.0, 9_500.0]]


@pytest.mark.parametrize("factor", [0.49, 2.01, -1.0, 0.0])
def test_a_lever_out_of_bounds_is_refused(factor: float) -> None:
    with pytest.raises(DataError, match=r"the lever of p is .*; a business priority is a factor from 0\.5 to 2\.0"):
        value.terms(sold(p=(1, 1)), company=Company(levers={"p": factor}))


def test_a_lever_of_an_unknown_product_is_refused() -> None:
    with pytest.raises(DataError, match="levers: there is no product 'q'; there are p"):
        value.terms(sold(p=(1, 1)), company=Company(levers={"q": 1.0}))


def test_horizon_and_channel_must_make_sense() -> None:
    with pytest.raises(UsageError, match="horizon_months is 0; give one month or more"):
        value.terms(sold(p=(1, 1)), company=PLAIN, horizon_months=0)
    terms = value.terms(sold(p=(1, 1)), company=PLAIN)
    with pytest.raises(UsageError, match="channel 'pigeon' has no cost of contact; known are call, email"):
        value.table(scored(a={"p": 0.1}), terms=terms, company=PLAIN, channels=["pigeon"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_matrix_agrees_with_the_table(seed: int) -> None:
    random = np.random.default_rng(seed)
    names, products = [f"c{n}" for n in range(7)], ["a", "b", "c"]
    company = Company(contact_costs_minor=COSTS, levers={"b": 1.5})
    every = pd.MultiIndex.from_product([names, products], names=["customer_id", "product_id"]).to_frame(index=False)
    scores = every.assign(score=random.random(len(every)))[random.random(len(every)) < 0.7]
    scores = scores.astype({"product_id": "category"}) if seed % 2 else scores
    added = every.merge(pd.DataFrame({"channel": ["call", "email"]}), how="cross")
    added = added.assign(score=random.normal(0, 0.1, len(added)))[random.random(len(added)) < 0.4]
    terms = value.terms(sold(a=(5000, 12), b=(9000, 36), c=(70, 6)), company=company)
    table = value.table(scores, terms=terms, company=company, uplift=added)
    worth = value.matrix(scores, terms=terms, company=company, customers=pd.Index(names), uplift=added)
    dense = value.values(worth).reshape(3, 2, 7)
    assert np.isfinite(dense).sum() == len(table)
    for row in table.to_dict("records"):
        place = (
            worth.products.index(row["product_id"]),
            worth.channels.index(row["channel"]),
            names.index(row["customer_id"]),
        )
        assert dense[place] == pytest.approx(row["value_minor"], rel=1e-5, abs=1e-2)


def test_sensitivity_by_hand() -> None:
    # Anna: a is worth 1,000, b 900; a fifth less for a or more for b, and b wins. Boris: a by far.
    company = Company(**{**vars(PLAIN), "contact_costs_minor": {"email": 0}})
    products = sold(a=(10_000, 12), b=(10_000, 12))
    scores = scored(anna={"a": 0.10, "b": 0.09}, boris={"a": 0.10, "b": 0.01})
    worth = value.matrix(
        scores, terms=value.terms(products, company=company), company=company, customers=pd.Index(["anna", "boris"])
    )
    found = value_sensitivity.sensitivity(worth, products, company=company, share=0.2)
    assert list(found.columns) == value_sensitivity.COLUMNS
    keyed = found.set_index(["assumption", "product_id", "share"])
    less = keyed.loc[("margin", "a", -0.2)]
    assert (less["changed"], less["gained_product_id"], less["gained"]) == (0.5, "b", 0.5)
    assert (less["lost_product_id"], less["lost"]) == ("a", 0.5)
    assert keyed.loc[("margin", "b", 0.2), "changed"] == 0.5 and keyed.loc[("margin", "a", 0.2), "changed"] == 0
    assert keyed.loc[("horizon", "", 0.2), "changed"] == 0, "both products earn alike"
    assert (found.groupby(["assumption", "product_id"]).size() == 2).all()
    assert set(found["assumption"]) == {"margin", "horizon", "discount", "loss", "cost"}


def test_a_longer_horizon_favours_what_earns_long() -> None:
    company = Company(**{**vars(PLAIN), "contact_costs_minor": {"email": 0}, "horizon_months": 10})
    products = sold(long=(12_000, 120), short=(1_000, 10))  # 100 a month either way
    scores = scored(**{f"c{n}": {"long": 0.100, "short": 0.105} for n in range(4)})
    terms = value.terms(products, company=company)
    worth = value.matrix(scores, terms=terms, company=company, customers=pd.Index([f"c{n}" for n in range(4)]))
    found = value_sensitivity.sensitivity(worth, products, company=company)
    keyed = found.set_index(["assumption", "share"])
    longer, shorter = keyed.loc[("horizon", 0.2)], keyed.loc[("horizon", -0.2)]
    assert (longer["changed"], longer["gained_product_id"], longer["lost_product_id"]) == (1.0, "long", "short")
    assert shorter["changed"] == 0 and shorter["gained_product_id"] == value_sensitivity.NOTHING


def test_correlation_agrees_with_a_reference() -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(1)
    products = sold(**{f"p{n}": (1000 * (n + 1), 12) for n in range(6)})
    names = [f"c{n}" for n in range(20)]
    scores = scored(**{who: {f"p{n}": float(random.random()) for n in range(6)} for who in names})
    company = Company(**{**vars(PLAIN), "contact_costs_minor": {"email": 0}})
    worth = value.matrix(
        scores, terms=value.terms(products, company=company), company=company, customers=pd.Index(names)
    )
    found = value_sensitivity.sensitivity(worth, products, company=company, share=0.5)
    row = found[(found["assumption"] == "margin") & (found["product_id"] == "p3") & (found["share"] == 0.5)]
    base = value.values(worth)
    other = base.copy()
    other[3] *= 1.5
    naive = np.mean([spearmanr(base[:, n], other[:, n]).statistic for n in range(20)])
    assert row["correlation"].item() == pytest.approx(naive)


def test_what_may_not_be_offered_does_not_count() -> None:
    products = sold(a=(10_000, 12), b=(10_000, 12))
    scores = scored(anna={"a": 0.10, "b": 0.09})
    worth = value.matrix(
        scores, terms=value.terms(products, company=PLAIN), company=PLAIN, customers=pd.Index(["anna"])
    )
    only_a = np.array([[[True, True], [False, False]]])
    found = value_sensitivity.sensitivity(worth, products, company=PLAIN, possible=only_a)
    assert (found["changed"] == 0).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_of_change_must_be_one(share: float) -> None:
    products = sold(a=(10_000, 12))
    worth = value.matrix(
        scored(a={"a": 0.1}), terms=value.terms(products, company=PLAIN), company=PLAIN, customers=pd.Index(["a"])
    )
    with pytest.raises(UsageError, match="give how much an assumption changes, between 0 and 1"):
        value_sensitivity.sensitivity(worth, products, company=PLAIN, share=share)


def test_inputs_stay_unchanged() -> None:
    products, scores = sold(a=(10_000, 12)), scored(a={"a": 0.1})
    before = products.copy(), scores.copy()
    terms = value.terms(products, company=PLAIN)
    value.table(scores, terms=terms, company=PLAIN)
    worth = value.matrix(scores, terms=terms, company=PLAIN, customers=pd.Index(["a"]))
    kept = worth.probability.copy()
    value_sensitivity.sensitivity(worth, products, company=PLAIN)
    pd.testing.assert_frame_equal(products, before[0])
    pd.testing.assert_frame_equal(scores, before[1])
    assert (worth.probability == kept).all()
