"""Order proposals: the newsvendor's known answers, shelf life, packs, deliveries, a trial against simple rules, bad input."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib.decisions import orders, orders_inputs, orders_trial
from crmlib.errors import DataError, UsageError

AS_OF = dt.date(2025, 6, 2)  # a Monday
EVERY_DAY = "1234567"


def terms(**changed: Any) -> pd.DataFrame:
    row = {
        "outlet_id": "o1",
        "product_id": "milk",
        "lead_time_days": 1,
        "delivery_weekdays": EVERY_DAY,
        "closed": (),
        "shelf_life_days": 365,
        "pack_size": 1,
        "margin_minor": 50.0,
        "cost_minor": 50.0,
    }
    return pd.DataFrame([{**row, **changed}])


def forecast(mean: float = 20.0, *, days: int = 28, spread: float | None = None) -> pd.DataFrame:
    half = (np.sqrt(mean) if spread is None else spread) * 1.2815515655446004
    period = pd.date_range(AS_OF + dt.timedelta(days=1), periods=days)
    return pd.DataFrame(
        {
            "outlet_id": "o1",
            "product_id": "milk",
            "period": period,
            "mean": mean,
            "low_80": mean - half,
            "high_80": mean + half,
        }
    )


def stock(quantity: float = 0.0, on_order: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame({"outlet_id": ["o1"], "product_id": ["milk"], "quantity": [quantity], "on_order": [on_order]})


def propose(*, with_terms: pd.DataFrame | None = None, **given: Any) -> pd.Series:
    arguments = {"terms": terms() if with_terms is None else with_terms, "as_of": AS_OF, **given}
    return orders.propose(arguments.pop("forecast", forecast()), arguments.pop("stock", stock()), **arguments).iloc[0]


@pytest.mark.parametrize(("margin", "cost"), [(80.0, 20.0), (50.0, 50.0), (20.0, 80.0)])
def test_what_spoils_by_the_next_delivery_is_ordered_at_the_newsvendors_quantile(margin: float, cost: float) -> None:
    one_day = terms(shelf_life_days=1, margin_minor=margin, cost_minor=cost)
    found = propose(with_terms=one_day, forecast=forecast(100.0), service_level=0.999)
    exact = stats.poisson.ppf(margin / (margin + cost), 100.0)
    assert abs(found["order_quantity"] - exact) <= 2
    assert found["code"] == "shelf_life"
    drawn = stats.poisson.rvs(100.0, size=200_000, random_state=1)
    assert abs(found["expected_waste"] - np.maximum(found["order_quantity"] - drawn, 0).mean()) < 1.0
    assert abs(found["expected_lost"] - np.maximum(drawn - found["order_quantity"], 0).mean()) < 1.0


@pytest.mark.parametrize("level", [0.5, 0.9, 0.98])
def test_what_keeps_is_ordered_up_to_the_wanted_service(level: float) -> None:
    twice_a_week = terms(delivery_weekdays="25")  # Tuesday and Friday: three days to cover
    found = propose(with_terms=twice_a_week, service_level=level, stock=stock(10, 5))
    assert (found["deliver_on"], found["next_on"]) == (pd.Timestamp("2025-06-03"), pd.Timestamp("2025-06-06"))
    assert abs(found["order_quantity"] + 15 - stats.poisson.ppf(level, 60.0)) <= 2
    assert abs(found["service_level"] - level) < 0.03
    assert found["expected_waste"] < 0.3 and found["code"] == ""


def test_demand_before_the_delivery_uses_up_stock_and_what_is_missing_then_is_gone() -> None:
    slow = terms(lead_time_days=3)
    with_much = propose(with_terms=slow, stock=stock(45), service_level=0.9)
    with_little = propose(with_terms=slow, stock=stock(10), service_level=0.9)
    assert with_much["deliver_on"] == pd.Timestamp("2025-06-05")
    assert with_much["order_quantity"] < with_little["order_quantity"]
    assert abs(with_little["order_quantity"] - stats.poisson.ppf(0.9, 20.0)) <= 1, "unmet demand does not wait"


def test_forecast_errors_that_go_together_need_more_stock() -> None:
    weekly = terms(delivery_weekdays="2")
    apart, together = (
        propose(with_terms=weekly, forecast=forecast(20.0, spread=8.0), correlation=c) for c in (0.0, 0.6)
    )
    apart_sd, together_sd = np.sqrt(7) * 8, np.sqrt(7 * 64 + 7 * 6 * 0.6 * 64)
    assert abs(apart["order_quantity"] - (140 + 1.645 * apart_sd)) < 8
    assert abs(together["order_quantity"] - (140 + 1.645 * together_sd)) < 16
    assert together["order_quantity"] > apart["order_quantity"] + 20


def test_packs_are_whole_and_one_that_would_spoil_is_not_ordered() -> None:
    found = propose(with_terms=terms(pack_size=12), service_level=0.9)
    assert found["order_quantity"] % 12 == 0 and found["packs"] * 12 == found["order_quantity"] > 0
    slow = forecast(0.3)
    spoils = propose(with_terms=terms(pack_size=24, shelf_life_days=5), forecast=slow)
    assert (spoils["order_quantity"], spoils["code"]) == (0, "pack_size")
    assert propose(stock=stock(500))["code"] == "enough"
    missing = orders.propose(forecast(), stock().iloc[:0], terms=terms(), as_of=AS_OF).iloc[0]
    assert missing["code"] == "no_stock_record" and missing["order_quantity"] > 0


@settings(max_examples=25, deadline=None)
@given(
    mean=st.floats(0.05, 40),
    life=st.integers(1, 30),
    pack=st.integers(1, 12),
    have=st.integers(0, 60),
    level=st.floats(0.5, 0.99),
)
def test_the_proposal_is_the_best_number_of_packs_below_the_wanted_service(
    mean: float, life: int, pack: int, have: int, level: float
) -> None:
    one = terms(shelf_life_days=life, pack_size=pack, delivery_weekdays="25")
    windows = orders_inputs.windows(forecast(mean), stock(have), terms=one, as_of=AS_OF)
    drawn = orders.draws(windows, correlation=0.0, rng=np.random.default_rng(7))
    spoilt = np.maximum(windows.ageing * windows.stock - drawn.before, 0)
    left = np.maximum(windows.stock + windows.on_order - drawn.before - spoilt, 0)
    need, life_need = drawn.cover - left, drawn.cover + drawn.later - left
    full = int(np.ceil(max(np.quantile(need, level, method="inverted_cdf"), 0) / pack - 1e-9))
    worth = []
    for packs in range(full + 1):
        # The margin of what would be missing otherwise, less the cost of what of the order spoils.
        saved = np.clip(need, 0, packs * pack).mean()
        waste = (packs * pack - np.clip(life_need, 0, packs * pack)).mean()
        worth.append(50.0 * saved - 50.0 * waste)
    best = max(range(full + 1), key=lambda packs: (round(worth[packs], 6), packs))
    found = orders.propose(forecast(mean), stock(have), terms=one, as_of=AS_OF, service_level=level).iloc[0]
    assert abs(worth[int(found["packs"])] - worth[best]) < 1e-6


def test_deliveries_keep_to_weekdays_lead_time_holidays_and_closures() -> None:
    outlets = terms(lead_time_days=2, delivery_weekdays="135", closed=(dt.date(2025, 6, 6),))
    found = orders_inputs.delivery_days(outlets, as_of=AS_OF).iloc[0]
    assert found["deliver_on"] == pd.Timestamp("2025-06-04")
    assert found["order_by"] == pd.Timestamp("2025-06-02")
    assert found["next_on"] == pd.Timestamp("2025-06-09"), "the Friday is closed"
    late = orders_inputs.delivery_days(terms(delivery_weekdays="5", lead_time_days=1), as_of=AS_OF).iloc[0]
    assert late["order_by"] == pd.Timestamp("2025-06-05"), "there is time until Thursday"


def test_the_correlation_of_errors_is_found() -> None:
    rng = np.random.default_rng(3)
    parts = []
    for series in range(40):
        for origin in range(20):
            common = rng.normal(0, np.sqrt(0.4))
            error = (common + rng.normal(0, np.sqrt(0.6), 7)) * (1 + series)
            parts.append(
                pd.DataFrame({"series_id": str(series), "origin": origin, "actual": 100 + error, "forecast": 100.0})
            )
    rows = pd.concat(parts, ignore_index=True)
    assert abs(orders.error_correlation(rows) - 0.4) < 0.06
    unsound = rows.assign(weight=0.0)
    assert orders.error_correlation(unsound) == 0.0, "days that tell nothing do not count"
    with pytest.raises(DataError, match="the table of forecast errors has no column actual"):
        orders.error_correlation(rows.drop(columns="actual"))


@pytest.fixture(scope="module")
def market() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Demand of 3 outlets x 4 products with weekdays, its mean and spread, and the terms of supply."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2025-05-05", periods=28 + 35 + 40)
    week = np.array([0.9, 0.8, 0.9, 1.0, 1.3, 1.5, 0.6])[days.day_of_week]
    parts, rows = [], []
    for outlet, delivery in enumerate(("135", "25", "123456")):
        for product, life in enumerate((4, 6, 12, 40)):
            mean = np.exp(rng.normal(2.0, 0.6)) * week
            demand = rng.poisson(mean * rng.gamma(6, 1 / 6, len(days))).astype(float)
            half = 1.2816 * np.sqrt(mean + mean**2 / 6)
            table = {"outlet_id": f"o{outlet}", "product_id": f"p{product}", "day": days, "demand": demand}
            parts.append(
                pd.DataFrame({**table, "mean": mean, "low_80": np.maximum(mean - half, 0), "high_80": mean + half})
            )
            changed = {"shelf_life_days": life, "pack_size": 6, "cost_minor": 60.0, "margin_minor": 40.0}
            rows.append(terms(outlet_id=f"o{outlet}", product_id=f"p{product}", delivery_weekdays=delivery, **changed))
    return pd.concat(parts, ignore_index=True), pd.concat(rows, ignore_index=True)


def test_over_the_same_demand_proposals_earn_more_than_simple_rules(market: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, supplied = market
    known = table.rename(columns={"day": "period"})

    def forecast_at(day: dt.date) -> pd.DataFrame:
        ahead = (known["period"] - pd.Timestamp(day)).dt.days
        return known[ahead.between(1, 28)].drop(columns="demand")

    asked = table[table["day"] < pd.Timestamp("2025-05-05") + pd.Timedelta(days=28 + 35)]
    policies = {
        "proposals": orders_trial.proposals(forecast_at),
        "week": orders_trial.same_as_last_week,
        "four": orders_trial.four_weeks_and_safety(0.95),
    }
    found = orders_trial.trial(
        asked[["outlet_id", "product_id", "day", "demand"]], policies, terms=supplied, starts_on=dt.date(2025, 6, 2)
    )
    found = found.set_index("policy")
    assert (found["sold"] + found["lost"] - found["demand"]).abs().max() < 1e-6
    assert set(found["demand"]) == {asked.loc[asked["day"] >= "2025-06-02", "demand"].sum()}
    for rule in ("week", "four"):
        assert found.loc["proposals", "profit_minor"] > found.loc[rule, "profit_minor"]
        assert found.loc["proposals", "waste_rate"] < found.loc[rule, "waste_rate"]
    assert found.loc["proposals", "fill_rate"] > 0.9


def test_what_was_delivered_of_late_does_not_spoil_before_the_next_delivery() -> None:
    """As evenly spread over its week of life, two sevenths of this stock would be gone on Thursday."""
    slow = terms(lead_time_days=3, shelf_life_days=7, delivery_weekdays="14")
    fresh = orders_inputs.windows(forecast(10.0), stock(20), terms=slow, as_of=AS_OF)
    assert fresh.pairs["last_on"].iloc[0] == pd.Timestamp(AS_OF) and fresh.ageing.tolist() == [0.0]
    much = orders_inputs.windows(forecast(10.0), stock(600), terms=slow, as_of=AS_OF)
    assert much.ageing[0] == pytest.approx(2 / 6)  # ages 0 to 6, of which those from 4 are gone on Wednesday
    short = orders_inputs.windows(
        forecast(10.0), stock(20), terms=terms(**{**slow.iloc[0], "shelf_life_days": 2}), as_of=AS_OF
    )
    assert short.ageing.tolist() == [1.0]


def test_the_trial_by_outlet_adds_up_to_the_whole() -> None:
    days = pd.date_range("2025-05-05", periods=28 + 14)
    rng = np.random.default_rng(9)
    parts = [
        pd.DataFrame({"outlet_id": name, "product_id": "milk", "day": days, "demand": rng.poisson(mean, len(days))})
        for name, mean in (("o1", 6.0), ("o2", 15.0))
    ]
    supplied = pd.concat([terms(shelf_life_days=3), terms(outlet_id="o2", shelf_life_days=4)], ignore_index=True)
    rules = {"week": orders_trial.same_as_last_week}
    arguments = {"terms": supplied, "starts_on": dt.date(2025, 6, 2)}
    whole = orders_trial.trial(pd.concat(parts), rules, **arguments)  # type: ignore[arg-type]
    each = orders_trial.trial(pd.concat(parts), rules, **arguments, by=("outlet_id",))  # type: ignore[arg-type]
    assert list(whole) == orders_trial.RESULTS and each["outlet_id"].tolist() == ["o1", "o2"]
    np.testing.assert_allclose(each[orders_trial.SUMS].sum(), whole[orders_trial.SUMS].iloc[0])
    assert each["wasted"].gt(0).all() and each["waste_rate"].between(0, 1).all()


def test_the_trial_agrees_with_a_plain_loop_of_batches() -> None:
    days = pd.date_range("2025-05-05", periods=28 + 20)
    rng = np.random.default_rng(8)
    demand = pd.DataFrame(
        {"outlet_id": "o1", "product_id": "milk", "day": days, "demand": rng.poisson(6, len(days)).astype(float)}
    )
    supplied = terms(shelf_life_days=3, pack_size=5, delivery_weekdays="135")
    start = dt.date(2025, 6, 2)
    seen: dict[dt.date, float] = {}

    def noted(now: orders_trial.Situation) -> np.ndarray:
        wanted = orders_trial.same_as_last_week(now)
        seen[now.as_of] = float(wanted[0])
        return wanted

    found = orders_trial.trial(demand, {"week": noted}, terms=supplied, starts_on=start).iloc[0]
    batches = [[3, float(np.round(demand["demand"].iloc[:28].mean() * 3))]]
    coming: dict[dt.date, float] = {}
    sold = wasted = 0.0
    for day, asked in zip(days[28:], demand["demand"].iloc[28:], strict=True):
        wanted = float(asked)
        if day.date() in coming:
            batches.append([3, coming[day.date()]])
        for batch in batches:
            taken = min(batch[1], wanted)
            batch[1] -= taken
            wanted -= taken
            sold += taken
        wasted += sum(pieces for life, pieces in batches if life == 1)
        batches = [[life - 1, pieces] for life, pieces in batches if life > 1]
        if day.date() in seen:
            calendar = orders_inputs.delivery_days(supplied, as_of=day.date()).iloc[0]
            assert calendar["order_by"].date() == day.date()
            coming[calendar["deliver_on"].date()] = np.ceil(seen[day.date()] / 5) * 5
    assert (found["sold"], found["wasted"]) == (sold, wasted)
    assert len(seen) >= 8


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"service_level is 1; give a chance between 0 and 1"):
        propose(service_level=1)
    with pytest.raises(UsageError, match=r"correlation is 1; give a number from 0 to below 1"):
        propose(correlation=1)
    with pytest.raises(
        DataError,
        match=r"table stocks: outlet o1, product milk has -4 pieces in stock and 0 on order; neither is ever negative",
    ):
        propose(stock=stock(-4))
    with pytest.raises(DataError, match="is there twice; give the last count only"):
        propose(stock=pd.concat([stock(), stock()]))
    with pytest.raises(DataError, match="the table stock has no column on_order"):
        propose(stock=stock().drop(columns="on_order"))
    with pytest.raises(DataError, match="has 2025-06-03 twice; give one forecast a day"):
        propose(forecast=pd.concat([forecast(), forecast().head(1)]))
    with pytest.raises(DataError, match="the table forecast has gaps in the days after 2025-06-02"):
        propose(forecast=forecast().drop(index=3))
    with pytest.raises(DataError, match="column mean: below zero or missing"):
        propose(forecast=forecast().assign(mean=-1.0))
    with pytest.raises(
        DataError,
        match=r"the table forecast begins on 2025-06-05, the stock is of 2025-06-02; forecast from the day after",
    ):
        propose(forecast=forecast().iloc[2:])
    with pytest.raises(DataError, match="the table forecast holds no rows"):
        propose(forecast=forecast().iloc[:0])
    with pytest.raises(
        DataError, match=r"the table forecast ends 3 days after 2025-06-02, the delivery to outlet o1 must last 7 days"
    ):
        propose(with_terms=terms(delivery_weekdays="2"), forecast=forecast(days=3))
    with pytest.raises(DataError, match="outlet o1 has no two delivery days in the 60 days"):
        propose(with_terms=terms(delivery_weekdays=""))
    short = forecast(days=10).rename(columns={"period": "day", "mean": "demand"})
    with pytest.raises(
        DataError,
        match=r"not enough data for a trial of orders \(found 0 days before 2025-06-03 and 10 from then; need 28 and 1",
    ):
        orders_trial.trial(short, {}, terms=terms(), starts_on=dt.date(2025, 6, 3))
