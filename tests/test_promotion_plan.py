"""Promotions: profit of past ones against a reckoning by hand and the planted truth, what-if for the next, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crmlib.decisions import promotion_past, promotion_plan
from crmlib.errors import DataError, UsageError

WEEKS = pd.date_range("2025-01-06", periods=20, freq="W-MON")
PRODUCTS = pd.DataFrame(
    {"product_id": ["milk", "kefir", "rival"], "price_minor": [100.0, 80.0, 90.0], "cost_minor": [60.0, 50.0, np.nan]}
).assign(maker=[np.nan, np.nan, "Hill"])


def effects(*, error: float = 1e-9, method: str = "pooled", code: str = "", product: str = "milk") -> pd.DataFrame:
    """Elasticity -2, uplift 0.3, dip -0.2."""
    values = zip(("price_elasticity", "promotion_uplift", "post_promotion_dip"), (-2.0, 0.3, -0.2), strict=True)
    rows = [{"measure": measure, "estimate": value} for measure, value in values]
    known = {"product_id": product, "region": "", "error": error, "method": method, "note_code": code}
    return pd.DataFrame(rows).assign(**known, seen_low=0.7, seen_high=1.1, deviation=0.0)


CROSS = pd.DataFrame({"product_id": ["kefir", "rival"], "other_id": "milk", "elasticity": [0.5, 0.6], "error": 1e-9})


def series(price: float = 80.0) -> pd.DataFrame:
    """Twenty weeks; milk is promoted in the eleventh, at another price."""
    parts = []
    for product, region in (("milk", "north"), ("milk", "south"), ("kefir", "north"), ("rival", "north")):
        quantity, prices, promotion = np.full(20, 1000.0), np.full(20, 100.0), np.zeros(20)
        if product == "milk" and region == "north":
            quantity[10], prices[10], promotion[10] = 2000.0, price, 1.0
        if product == "kefir":
            quantity[10], prices[:] = 900.0, 80.0
        keys = {"series_id": f"{product}/{region}", "product_id": product, "region": region, "period": WEEKS}
        parts.append(pd.DataFrame({**keys, "quantity": quantity, "price_minor": prices, "promotion": promotion}))
    return pd.concat(parts, ignore_index=True)


def promoted(**change: object) -> pd.DataFrame:
    row = {"promotion_id": "p1", "product_id": "milk", "region": "north", "starts_on": WEEKS[10], "cost_minor": 5000}
    return pd.DataFrame([row | {"ends_on": WEEKS[10] + pd.Timedelta(days=6)} | change])


def forecast(**products: float) -> pd.DataFrame:
    """Eight weeks of 1,000 milk in the north, ± 100, and what else is named."""
    parts = []
    for product, mean in ({"milk": 1000.0} | products).items():
        rows = pd.DataFrame({"period": pd.date_range("2025-06-02", periods=8, freq="W-MON"), "mean": mean})
        rows = rows.assign(series_id=f"{product}/north", product_id=product, region="north", ahead=range(1, 9))
        reach = {"low_80": 0.935, "high_80": 1.065, "low_95": 0.9, "high_95": 1.1}
        parts.append(rows.assign(**{name: mean * factor for name, factor in reach.items()}))
    return pd.concat(parts, ignore_index=True)


# ---------------------------------------------------------------- the past


def test_a_past_promotion_reckoned_by_hand() -> None:
    done = promotion_past.past(series(), effects(), promotions=promoted(), products=PRODUCTS, cross=CROSS)
    row = done.iloc[0]
    without = 2000 / (0.8**-2 * np.exp(0.3))
    dip = 2 * without * (1 - np.exp(-0.1))
    lost = 900 * (0.8**-0.5 - 1)
    assert row["uplift_pieces"] == pytest.approx(2000 - without, rel=1e-6)
    assert row["dip_pieces"] == pytest.approx(dip, rel=1e-6)
    assert row["cannibalised_pieces"] == pytest.approx(lost, rel=1e-6)  # the rival's loss is not the company's
    margin = 2000 * 20 - without * 40 - dip * 40 - lost * 30
    assert row["margin_minor"] == pytest.approx(margin, rel=1e-6)
    assert row["profit_minor"] == pytest.approx(margin - 5000, rel=1e-6)
    assert row["profit_low_minor"] <= row["profit_minor"] <= row["profit_high_minor"]
    assert row["price_ratio"] == pytest.approx(0.8)


def test_uncertainty_becomes_an_interval_and_a_chance() -> None:
    wide = promotion_past.past(series(), effects(error=0.15), promotions=promoted(), products=PRODUCTS)
    tight = promotion_past.past(series(), effects(error=0.01), promotions=promoted(), products=PRODUCTS)
    assert np.ptp(wide[["profit_low_minor", "profit_high_minor"]].to_numpy()) > 5 * np.ptp(
        tight[["profit_low_minor", "profit_high_minor"]].to_numpy()
    )
    assert 0 <= wide["chance"].iloc[0] <= 1
    lucky = effects(error=0.01).assign(deviation=0.2)
    told = promotion_past.past(series(), lucky, promotions=promoted(), products=PRODUCTS)
    assert (told["uplift_pieces_high"] > tight["uplift_pieces_high"]).all()


def test_promotions_everywhere_sum_their_regions() -> None:
    north = promotion_past.past(series(), effects(), promotions=promoted(), products=PRODUCTS)
    for name in ("all", np.nan):
        everywhere = promotion_past.past(series(), effects(), promotions=promoted(region=name), products=PRODUCTS)
        south = 1000 * (1 - np.exp(-0.3))  # promoted there without a price cut
        assert everywhere["uplift_pieces"].iloc[0] == pytest.approx(north["uplift_pieces"].iloc[0] + south, rel=1e-6)


def test_half_a_week_counts_half() -> None:
    half = promoted(ends_on=WEEKS[10] + pd.Timedelta(days=2))
    found = promotion_past.past(series(100.0), effects(), promotions=half, products=PRODUCTS)
    assert found["uplift_pieces"].iloc[0] == pytest.approx(2000 * (1 - np.exp(-0.3 * 3 / 7)), rel=1e-6)


def test_what_cannot_be_reckoned_is_left_out_by_name() -> None:
    running = promoted(promotion_id="p2", starts_on=WEEKS[19], ends_on=WEEKS[19] + pd.Timedelta(days=7))
    unknown = promoted(promotion_id="p3", product_id="quark")
    every = pd.concat([promoted(), running, unknown])
    done = promotion_past.past(series(), effects(), promotions=every, products=PRODUCTS)
    left = promotion_past.left_out(done, every, last=WEEKS[-1])
    assert done["promotion_id"].tolist() == ["p1"]
    assert left[["promotion_id", "code"]].to_numpy().tolist() == [["p2", "not_ended"], ["p3", "no_series_or_effect"]]
    free = promotion_past.past(
        series(), effects(), promotions=promoted(cost_minor=np.nan), products=PRODUCTS.assign(cost_minor=np.nan)
    )
    assert free["note_code"].iloc[0] == "no_cost"
    assert free["cost_minor"].iloc[0] == 0
    assert np.isnan(free["profit_minor"].iloc[0])
    assert np.isfinite(free["uplift_pieces"].iloc[0])


def test_bad_promotions_are_refused() -> None:
    backwards = promoted(ends_on=WEEKS[9])
    with pytest.raises(DataError, match="promotion p1 ends before it starts"):
        promotion_past.past(series(), effects(), promotions=backwards, products=PRODUCTS)
    with pytest.raises(DataError, match="series has no column promotion"):
        promotion_past.past(series().drop(columns="promotion"), effects(), promotions=promoted(), products=PRODUCTS)
    with pytest.raises(DataError, match="price_effects has no column error"):
        promotion_past.past(series(), effects().drop(columns="error"), promotions=promoted(), products=PRODUCTS)


# ---------------------------------------------------------------- what if


def test_nothing_changed_is_the_forecast_itself() -> None:
    found = promotion_plan.what_if(forecast(), effects(error=0.3))
    names = ["mean", "low_80", "high_80", "low_95", "high_95"]
    np.testing.assert_allclose(found[names].to_numpy(), forecast()[names].to_numpy())
    assert (found["ratio"] == 1).all()
    assert found["codes"].iloc[0] == ()


def test_a_price_and_a_promotion_by_hand() -> None:
    weeks = forecast()["period"]
    found = promotion_plan.what_if(forecast(), effects(), price_ratio=0.8, promoted=1.0, periods=weeks[2:4].tolist())
    ratio = 0.8**-2 * np.exp(0.3)
    dip = np.exp(-0.1)
    np.testing.assert_allclose(found["ratio"], [1, 1, ratio, ratio, dip, dip, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(found["mean"], 1000 * found["ratio"], rtol=1e-6)
    assert found.loc[2, "high_95"] == pytest.approx(1100 * ratio, rel=0.02)


def test_intervals_hold_both_the_forecasts_and_the_effects_uncertainty() -> None:
    sure = promotion_plan.what_if(forecast(), effects(), price_ratio=0.8)
    unsure = promotion_plan.what_if(forecast(), effects(error=0.5), price_ratio=0.8)
    assert ((unsure["high_95"] - unsure["low_95"]) > (sure["high_95"] - sure["low_95"])).all()
    assert ((sure["high_95"] - sure["low_95"]) > 200).all()
    assert unsure["ratio_low"].iloc[0] == pytest.approx(0.8 ** (-2 + 1.96 * 0.5), rel=0.05)
    assert (unsure["low_95"] <= unsure["low_80"]).all()


def test_intervals_of_the_plan_are_those_of_the_table() -> None:
    """Four regions brought together have an interval of Student's t, wider than twice their error."""
    table = effects(error=0.1).assign(
        low=lambda rows: rows["estimate"] - 0.32, high=lambda rows: rows["estimate"] + 0.32
    )
    found = promotion_plan.what_if(forecast(), table, promoted=1.0).iloc[0]
    assert [found["ratio_low"], found["ratio_high"]] == pytest.approx(np.exp([0.3 - 0.32, 0.3 + 0.32]), rel=0.05)
    cross = CROSS.head(1).assign(error=0.1, low=0.18, high=0.82)
    done = promotion_past.past(series(), effects(), promotions=promoted(), products=PRODUCTS, cross=cross).iloc[0]
    ends = [900 * (0.8**-end - 1) for end in (0.18, 0.82)]
    assert [done["cannibalised_pieces_low"], done["cannibalised_pieces_high"]] == pytest.approx(
        ends, rel=0.15
    )  # by 1,000 draws


def test_errors_that_offset_each_other_narrow_the_sum() -> None:
    together = effects(error=0.3).assign(price_correlation=[1.0, 0.95, 0.0])
    apart = effects(error=0.3).assign(price_correlation=[1.0, 0.0, 0.0])
    widths = [
        float((found["ratio_high"] - found["ratio_low"]).iloc[0])
        for found in (
            promotion_plan.what_if(forecast(), table, price_ratio=0.6, promoted=0.5) for table in (together, apart)
        )
    ]
    assert widths[0] < widths[1]


def test_a_promotion_that_never_happened_says_where_its_effect_comes_from() -> None:
    borrowed = effects(error=0.1, method="group", code="never_promoted")
    found = promotion_plan.what_if(forecast(), borrowed, promoted=1.0)
    assert (found["method"].iloc[0], found["codes"].iloc[0]) == ("group", ("never_promoted",))
    far = promotion_plan.what_if(forecast(), effects(), price_ratio=0.5)
    assert far["codes"].iloc[0] == ("beyond_prices_seen",)
    nothing = effects().assign(estimate=np.nan, note_code="never_promoted")
    with pytest.raises(DataError, match=r"product milk: its promotion uplift is not known, .*\(never promoted\)"):
        promotion_plan.what_if(forecast(), nothing, promoted=1.0)
    with pytest.raises(DataError, match=r"product milk: its price elasticity is not known, .*no such product"):
        promotion_plan.what_if(forecast(), effects(product="tea"), price_ratio=0.9)


def test_profit_of_the_next_promotion_by_hand() -> None:
    weeks = forecast()["period"]
    found = promotion_plan.profit_if(
        forecast(kefir=500.0),
        effects(),
        product_id="milk",
        economics=PRODUCTS,
        cross=CROSS,
        price_ratio=0.8,
        promoted=1.0,
        periods=weeks[2:3].tolist(),
        fixed_cost_minor=5000,
    ).iloc[0]
    sold = 1000 * 0.8**-2 * np.exp(0.3)
    dip, lost = 2 * 1000 * (1 - np.exp(-0.1)), 500 * (1 - 0.8**0.5)
    margin = sold * 20 - 1000 * 40 - dip * 40 - lost * 30
    assert found["uplift_pieces"] == pytest.approx(sold - 1000, rel=0.01)
    assert found["dip_pieces"] == pytest.approx(dip, rel=0.01)
    assert found["cannibalised_pieces"] == pytest.approx(lost, rel=1e-6)
    assert found["profit_minor"] == pytest.approx(margin - 5000, rel=0.01)
    assert found["profit_minor_low"] < found["profit_minor"] < found["profit_minor_high"]
    assert found["chance"] == 0.0


@pytest.mark.parametrize(("freq", "share", "spread"), [("MS", 7 / 30.5, 1), ("D", 0.5, 14), ("W-MON", 0.5, 2)])
def test_a_dip_is_in_usual_weeks_whatever_the_step_of_the_forecast(freq: str, share: float, spread: int) -> None:
    table = pd.concat([forecast(), forecast(), forecast()]).assign(
        period=pd.date_range("2025-06-01", periods=24, freq=freq)
    )
    found = promotion_plan.what_if(table, effects(), promoted=1.0, periods=table["period"].head(2).tolist())
    assert (found["ratio"] < 0.999).sum() == spread
    assert found["ratio"].iloc[2] == pytest.approx(np.exp(-0.2 * share), rel=2e-3)


def test_a_promotion_at_the_end_of_the_forecast_still_has_its_dip() -> None:
    def dips(at: int) -> float:
        weeks = [forecast()["period"].iloc[at]]
        asked = {"product_id": "milk", "economics": PRODUCTS, "promoted": 1.0, "periods": weeks}
        return float(promotion_plan.profit_if(forecast(), effects(), **asked)["dip_pieces"].iloc[0])

    assert dips(2) > 100
    assert [dips(6), dips(7)] == pytest.approx([dips(2)] * 2)


def test_a_promotion_that_the_forecast_has_already_is_said() -> None:
    planned = forecast().assign(promotion=[0, 0, 0.85, 0, 0, 0, 0, 0])
    weeks = planned["period"]
    again = promotion_plan.what_if(planned, effects(), promoted=1.0, periods=weeks[2:3].tolist())
    assert again["codes"].iloc[0] == ("promotion_planned",)
    elsewhere = promotion_plan.what_if(planned, effects(), promoted=1.0, periods=weeks[5:6].tolist())
    assert elsewhere["codes"].iloc[0] == ()


def test_bad_questions_are_refused() -> None:
    table = forecast()
    with pytest.raises(UsageError, match="price_ratio is 0"):
        promotion_plan.what_if(table, effects(), price_ratio=0)
    with pytest.raises(UsageError, match="promoted is 2"):
        promotion_plan.what_if(table, effects(), promoted=2)
    with pytest.raises(UsageError, match="period 2030-01-07 is not in the forecast, which runs from 2025-06-02"):
        promotion_plan.what_if(table, effects(), price_ratio=0.9, periods=[pd.Timestamp("2030-01-07")])
    with pytest.raises(DataError, match="forecast has no column low_95"):
        promotion_plan.what_if(table.drop(columns="low_95"), effects())
    with pytest.raises(DataError, match="the forecast has no rows"):
        promotion_plan.what_if(table.head(0), effects())
    with pytest.raises(DataError, match="the forecast has no product tea; it has milk"):
        promotion_plan.profit_if(table, effects(), product_id="tea", economics=PRODUCTS)
    with pytest.raises(DataError, match="product milk has no price_minor or cost_minor"):
        promotion_plan.profit_if(table, effects(), product_id="milk", economics=PRODUCTS.assign(cost_minor=np.nan))
