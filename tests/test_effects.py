"""Effects of price and promotion: the regression against statsmodels and naive references, coverage of planted values, bad input."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.effects import design, elasticity, explain, regression
from crmlib.samples.price_series import Planted, weekly

SERIES = 200


def covered(rows: pd.DataFrame, truth: float) -> int:
    return int(((rows["low"] <= truth) & (truth <= rows["high"])).sum())


def binomial(trials: int, share: float = 0.95) -> tuple[float, float]:
    """The numbers between which a right 95% interval stays but once in ten thousand times."""
    low, high = stats.binom.ppf((5e-5, 1 - 5e-5), trials, share)
    return float(low), float(high)


# ---------------------------------------------------------------- the regression


def test_without_memory_it_is_ordinary_regression() -> None:
    random = np.random.default_rng(1)
    x = np.stack([np.ones((3, 60)), random.normal(size=(3, 60)), random.normal(size=(3, 60))], axis=2)
    y = x @ np.array([2.0, -1.5, 0.3]) + random.normal(0, 0.2, (3, 60))
    found = regression.fit(y, x, grid=np.array([(0.0, 1.0)]))
    for row in range(3):
        inverse = np.linalg.inv(x[row].T @ x[row])
        plain = inverse @ x[row].T @ y[row]
        rest = ((y[row] - x[row] @ plain) ** 2).sum() / 57
        np.testing.assert_allclose(found.estimate[row], plain, rtol=1e-8)
        np.testing.assert_allclose(found.covariance[row], rest * inverse, rtol=1e-8)


@pytest.mark.parametrize(("phi", "share"), [(0.6, 0.3), (0.9, 1.0), (-0.4, 1.0)])
def test_at_one_point_it_is_generalised_least_squares_with_the_matrix_written_out(phi: float, share: float) -> None:
    random = np.random.default_rng(2)
    x = np.stack([np.ones((1, 40)), random.normal(size=(1, 40))], axis=2)
    y = x @ np.array([1.0, 2.0]) + random.normal(size=(1, 40))
    y[0, [5, 17, 18]] = np.nan
    seen = np.isfinite(y[0])
    lags = np.abs(np.subtract.outer(np.arange(40), np.arange(40)))
    matrix = share / (1 - phi**2) * phi**lags + (1 - share) * np.eye(40)
    inverse = np.linalg.inv(matrix[np.ix_(seen, seen)])
    inner = np.linalg.inv(x[0, seen].T @ inverse @ x[0, seen])
    plain = inner @ x[0, seen].T @ inverse @ y[0, seen]
    rest = y[0, seen] - x[0, seen] @ plain
    found = regression.fit(y, x, grid=np.array([(phi, share)]))
    np.testing.assert_allclose(found.estimate[0], plain, rtol=1e-8)
    np.testing.assert_allclose(found.covariance[0], inner * (rest @ inverse @ rest) / (seen.sum() - 2), rtol=1e-8)
    assert found.periods[0] == 37


def test_a_wandering_level_is_regression_of_differences() -> None:
    random = np.random.default_rng(3)
    x = np.stack([np.ones((1, 50)), random.normal(size=(1, 50))], axis=2)
    y = np.cumsum(random.normal(0, 0.3, (1, 50)), axis=1) - 1.2 * x[:, :, 1]
    found = regression.fit(y, x, grid=np.array([(1.0, 1.0)]))
    dx, dy = np.diff(x[0, :, 1]), np.diff(y[0])
    assert found.estimate[0, 1] == pytest.approx((dx @ dy) / (dx @ dx), rel=1e-8)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_units_of_a_regressor_change_nothing_but_its_coefficient(scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.stack([np.ones((2, 40)), random.normal(size=(2, 40))], axis=2)
    y = random.normal(size=(2, 40))
    plain, scaled = regression.fit(y, x), regression.fit(y, x * np.array([1.0, scale]))
    np.testing.assert_allclose(scaled.estimate[:, 1] * scale, plain.estimate[:, 1], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.error[:, 1] * scale, plain.error[:, 1], rtol=1e-6)


def test_the_regression_refuses_what_it_cannot_tell() -> None:
    y, x = np.random.default_rng(4).normal(size=(2, 30)), np.ones((2, 30, 1))
    with pytest.raises(DataError, match="give series × periods × regressors"):
        regression.fit(y, x[:, :20])
    with pytest.raises(DataError, match=r"series 1: not enough data for 1 regressors \(found 5 periods, need 11\)"):
        regression.fit(np.where(np.arange(30) < np.array([[30], [5]]), y, np.nan), x)
    with pytest.raises(DataError, match="combination of the others"):
        regression.fit(y, np.concatenate([x, 2 * x], axis=2))
    with pytest.raises(DataError, match="zero in all periods"):
        regression.fit(y, np.concatenate([x, 0 * x], axis=2))


# ---------------------------------------------------------------- planted truth


@pytest.mark.parametrize(
    "planted",
    [
        Planted(),
        Planted(elasticity=-3.0, uplift=0.5, memory=1.0, shock=0.03),
        Planted(elasticity=-1.0, season=0.5, memory=0.0),
    ],
    ids=["as_measured", "wandering_level", "strong_season"],
)
def test_intervals_cover_the_planted_effects(planted: Planted) -> None:
    found = elasticity.estimate(weekly(planted, series=SERIES, seed=11))
    low, high = binomial(SERIES)
    truths = {
        "price_elasticity": planted.elasticity,
        "promotion_uplift": planted.uplift,
        "post_promotion_dip": 2 * planted.dip,
        "before_promotion": 0.0,
    }
    for measure, truth in truths.items():
        rows = found[found["measure"] == measure]
        assert len(rows) == SERIES
        assert low <= covered(rows, truth) <= high, measure
        assert rows["estimate"].mean() == pytest.approx(truth, abs=4 * rows["estimate"].std() / np.sqrt(SERIES))


def test_leaving_the_season_out_would_not_cover_it() -> None:
    planted = Planted(season=0.4, timing=8.0)
    series = weekly(planted, series=60, seed=3)
    made, _ = design.build(series, harmonics=0)
    at = made[0].names.index(design.PROMOTION)
    blind = regression.fit(
        np.stack([m.values for m in made]), np.stack([m.regressors for m in made]), grid=np.array([(0.0, 1.0)])
    )
    found = elasticity.estimate(series)
    rows = found[found["measure"] == "promotion_uplift"]
    assert blind.estimate[:, at].mean() > planted.uplift + 0.05
    assert rows["estimate"].mean() == pytest.approx(planted.uplift, abs=0.03)


def test_the_placebo_finds_promotions_that_follow_demand() -> None:
    honest = weekly(Planted(), series=20, seed=5)
    # Demand already rises a week before each promotion begins: orders placed ahead, or promotions set when demand grows.
    ahead = honest.groupby("series_id")["promotion"].shift(-1).fillna(0)
    early = honest["quantity"] * np.exp(0.3 * np.maximum(ahead - honest["promotion"], 0))
    found = elasticity.estimate(honest.assign(quantity=early))
    rows = found[found["measure"] == "before_promotion"]
    assert rows["estimate"].mean() == pytest.approx(0.3, abs=0.05)
    noted = found.loc[found["measure"] == "promotion_uplift", "note_code"]
    assert (noted == "moves_before_it_begins").mean() > 0.8


def test_prices_of_others_are_told_from_the_own() -> None:
    planted = Planted(timing=0.0)
    one, two = (weekly(planted, series=40, seed=seed) for seed in (1, 2))
    one["region"] = two["region"] = one["series_id"]
    one["product_id"], two["product_id"] = "a", "b"
    one["quantity"] *= (two["price_minor"].to_numpy() / 100) ** 0.6
    both = pd.concat([one, two.assign(series_id="b/" + two["series_id"])])
    found = elasticity.estimate(both, others=pd.DataFrame({"product_id": ["a", "b"], "other_id": ["b", "a"]}))
    cross = found[found["measure"] == "cross_elasticity"]
    low, high = binomial(40)
    assert low <= covered(cross[cross["product_id"] == "a"], 0.6) <= high
    assert low <= covered(cross[cross["product_id"] == "b"], 0.0) <= high


def test_statsmodels_agrees_series_by_series() -> None:
    table = weekly(Planted(), series=3, seed=8)
    found = elasticity.estimate(table).set_index(["series_id", "measure"])
    made, _ = design.build(table)
    for model in ("sarimax", "unobserved"):
        for one in made:
            coefficients, parts = explain.fit(one, model=model)
            rows = coefficients.set_index("name")
            for measure, name in (("price_elasticity", "price"), ("promotion_uplift", "promotion")):
                own = found.loc[(one.series_id, measure)]
                assert rows.loc[name, "estimate"] == pytest.approx(own["estimate"], abs=1.2 * own["error"])
                assert 0.5 < rows.loc[name, "error"] / own["error"] < 1.5
            np.testing.assert_allclose(parts[list(explain.PARTS)].sum(axis=1), parts["log"], atol=1e-8)
            assert len(parts) == 156
    with pytest.raises(DataError, match="choose one of sarimax, unobserved"):
        explain.fit(made[0], model="tree")


# ---------------------------------------------------------------- what does not count


def test_weeks_without_stock_teach_nothing() -> None:
    table = weekly(Planted(), series=1, seed=9)
    empty = np.random.default_rng(1).random(156) < 0.15
    weighted = table.assign(
        quantity=np.where(empty, table["quantity"] * 0.1, table["quantity"]), weight=np.where(empty, 0.1, 1.0)
    )
    wild = weighted.assign(quantity=np.where(empty, 1e6, weighted["quantity"]))
    columns = ["measure", "estimate", "low", "high"]
    pd.testing.assert_frame_equal(elasticity.estimate(weighted)[columns], elasticity.estimate(wild)[columns])
    assert elasticity.estimate(weighted)["periods"].iloc[0] == 156 - empty.sum()


def test_what_cannot_be_told_is_named() -> None:
    table = weekly(Planted(), series=1, seed=10)

    def code(given: pd.DataFrame, measure: str) -> tuple[str, bool]:
        row = elasticity.estimate(given).set_index("measure").loc[measure]
        return row["note_code"], bool(np.isfinite(row["estimate"]))

    assert code(table.assign(price_minor=100.0), "price_elasticity") == ("price_never_moved", False)
    assert code(table.drop(columns="price_minor"), "price_elasticity") == ("no_price", False)
    assert code(table.assign(promotion=0.0), "promotion_uplift") == ("never_promoted", False)
    once = table.assign(promotion=(np.arange(156) == 80).astype(float))
    assert code(once, "promotion_uplift") == ("promoted_too_seldom", False)
    together = table.assign(price_minor=100 * (1 - 0.2 * table["promotion"]))
    assert code(together, "price_elasticity") == ("not_separable", False)
    assert code(together, "promotion_uplift") == ("includes_price", True)
    winter = table.assign(promotion=(table["period"].dt.month <= 6).astype(float))
    assert elasticity.estimate(winter).set_index("measure").loc["promotion_uplift", "separable"] < 0.3


def test_short_series_say_so() -> None:
    table = weekly(Planted(), series=1, seed=10)
    notes = {weeks: elasticity.estimate(table.head(weeks)) for weeks in (156, 80, 40, 12)}
    first = {weeks: found.set_index("measure").loc["price_elasticity", "note_code"] for weeks, found in notes.items()}
    assert first == {156: "", 80: "short_series", 40: "season_not_known", 12: "not_enough_data"}
    assert not np.isfinite(notes[12]["estimate"]).any()
    widths = [float((notes[weeks]["high"] - notes[weeks]["low"]).iloc[0]) for weeks in (156, 80, 40)]
    assert widths == sorted(widths)


def test_seldom_sold_series_are_refused() -> None:
    table = weekly(Planted(), series=1, seed=10)
    seldom = table.assign(quantity=np.where(np.arange(156) % 3 == 0, 0.0, table["quantity"]))
    assert set(elasticity.estimate(seldom)["note_code"]) == {"too_many_zeros"}
    assert set(elasticity.estimate(table.assign(quantity=0.0))["note_code"]) == {"too_many_zeros"}


def test_months_are_measured_as_well() -> None:
    planted = replace(Planted(), dip=0.0)
    weeks = weekly(planted, series=30, weeks=208, seed=2)
    months = weeks.assign(period=weeks["period"].dt.to_period("M").dt.start_time)
    keys = ["series_id", "product_id", "region", "period"]
    sums = months.groupby(keys).agg(
        quantity=("quantity", "sum"), price_minor=("price_minor", "mean"), promotion=("promotion", "mean")
    )
    found = elasticity.estimate(sums.reset_index(), step="month")
    rows = found[found["measure"] == "price_elasticity"]
    assert rows["estimate"].mean() == pytest.approx(planted.elasticity, abs=0.4)
    assert found["note_code"].isin(["", "placebo", "moves_before_it_begins"]).all()


def test_holidays_and_feasts_are_regressors() -> None:
    table = weekly(Planted(), series=1, seed=1)
    years = range(2022, 2026)
    christmas = [dt.date(year, 12, day) for year in years for day in (25, 26)]
    easter = [dt.date(2022, 4, 15), dt.date(2022, 4, 18), dt.date(2023, 4, 7), dt.date(2023, 4, 10)]
    (made,), _ = design.build(table, holidays=[*christmas, *easter, dt.date(2022, 5, 3), dt.date(2023, 5, 3)])
    column = dict(zip(made.names, made.regressors.T, strict=True))
    periods = table["period"].reset_index(drop=True)
    assert periods[column["before_fixed_feast"] > 0.8].dt.strftime("%m-%d").isin(["12-18", "12-19"]).all()
    assert set(periods[column["before_movable_feast"] > 0.5].dt.strftime("%Y-%m-%d")) == {"2022-04-11", "2023-04-03"}
    assert column["holiday"].sum() == 12  # the last Christmas lies after the records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pd.concat([t, t.tail(1)]), r"series p0000/all has the period 2024-12-23 twice"),
        (lambda t: t.drop(columns="quantity"), "series has no column quantity"),
        (lambda t: t.assign(price_minor=-1.0), r"price_minor -1.0 in 2022-01-03; a price is above 0"),
    ],
)
def test_bad_series_are_refused(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        elasticity.estimate(change(weekly(Planted(), series=1)))  # type: ignore[operator]


def test_bad_arguments_are_refused() -> None:
    table = weekly(Planted(), series=1)
    with pytest.raises(UsageError, match="step is 'day'; effects are measured on series by week or by month"):
        elasticity.estimate(table, step="day")
    with pytest.raises(UsageError, match="level is 95"):
        elasticity.estimate(table, level=95)
    with pytest.raises(DataError, match="series has no column weather"):
        elasticity.estimate(table, controls=["weather"])
