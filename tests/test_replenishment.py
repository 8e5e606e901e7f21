"""The hazard of the next order: recovery of planted waits, stock-outs, pooling, out-of-time test, bad input."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models import replenishment
from crmlib.models.replenishment import Market, pooling, supply
from crmlib.models.replenishment.history import out_of_supply
from crmlib.models.replenishment.spells import spells
from crmlib.samples import public

UNTIL = dt.date(2025, 6, 23)
START = pd.Timestamp("2024-01-01")
DAYS = 539
POWER, SHAPE = 0.6, 4.0
WEEK = np.array([1.6, 1.2, 0.8, 1.2, 1.6, 0.3, 0.02])
NOTHING_OUT = pd.DataFrame({"region": [], "product_id": [], "day": pd.Series(dtype="datetime64[us]")}).astype(
    {"region": "str", "product_id": "str"}
)


def made(
    *, customers: int = 60, products: int = 4, outages: bool = False, seed: int = 1
) -> tuple[pd.DataFrame, Market, pd.DataFrame]:
    """Orders by a planted Weibull hazard with weekdays and quantities, suspended while the region is out of a product."""
    rng = np.random.default_rng(seed)
    out = np.zeros((3, products, DAYS + 1), bool)
    if outages:
        for region, product in np.ndindex(3, products):
            for first in rng.integers(10, DAYS - 20, 9):
                out[region, product, first : first + int(rng.integers(7, 18))] = True
    rows, truth = [], []
    for customer in range(customers):
        habit = np.exp(rng.normal(0, 0.6, 7)) * WEEK
        habit /= habit.mean()
        own = rng.normal(0, 0.3)
        for product in range(products):
            usual = np.exp(np.log(8 + 3 * product) + own + rng.normal(0, 0.25))
            size = np.exp(rng.normal(2, 0.5))
            truth.append((f"c{customer:03}", f"p{product}", usual, size))
            day = int(rng.integers(0, int(3 * usual) + 1))
            while day <= DAYS:
                more = rng.normal(0, 0.4)
                rows.append((f"c{customer:03}", f"p{product}", day, size * np.exp(more)))
                scale, waited = usual * np.exp(POWER * more), 0
                while True:
                    waited, day = waited + 1, day + 1
                    if day > DAYS:
                        break
                    rate = np.log(2) * ((waited / scale) ** SHAPE - ((waited - 1) / scale) ** SHAPE) * habit[day % 7]
                    if not out[customer % 3, product, day] and rng.random() < 1 - np.exp(-rate):
                        break
    orders = pd.DataFrame(rows, columns=["customer_id", "product_id", "day", "quantity"])
    orders["ordered_on"] = START + pd.to_timedelta(orders.pop("day"), unit="D")
    names = [f"c{customer:03}" for customer in range(customers)]
    people = pd.DataFrame({"customer_id": names, "region": [f"r{k % 3}" for k in range(customers)], "kind": "cafe"})
    region, product, day = np.nonzero(out)
    empty = pd.DataFrame(
        {
            "region": [f"r{k}" for k in region],
            "product_id": [f"p{k}" for k in product],
            "day": START + pd.to_timedelta(day, unit="D"),
        }
    )
    known = Market(people, empty if outages else NOTHING_OUT)
    planted = pd.DataFrame(truth, columns=["customer_id", "product_id", "usual", "size"])
    return replenishment.by_day(orders), known, planted


@pytest.fixture(scope="module")
def plain() -> tuple[pd.DataFrame, Market, pd.DataFrame]:
    return made()


@pytest.fixture(scope="module")
def fitted(plain: tuple[pd.DataFrame, Market, pd.DataFrame]) -> replenishment.Hazard:
    return replenishment.fit(plain[0], plain[1], until=UNTIL)


def error(hazard: replenishment.Hazard, planted: pd.DataFrame) -> np.ndarray:
    both = hazard.pairs.merge(planted, on=["customer_id", "product_id"], validate="one_to_one")
    return both["log_wait"].to_numpy() - np.log(both["usual"].to_numpy())


def test_planted_waits_quantities_and_weekdays_are_found(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame], fitted: replenishment.Hazard
) -> None:
    wrong = error(fitted, plain[2])
    assert abs(wrong.mean()) < 0.04
    assert wrong.std() < 0.1
    assert abs(fitted.power - POWER) < 0.12
    week = WEEK[[0, 1, 2, 3, 4, 5, 6]] / WEEK.mean()  # 2024-01-01 was a Monday
    assert np.corrcoef(fitted.calendar[0][:7], week)[0, 1] > 0.97
    assert fitted.calendar[0][6] < 0.15
    rising = fitted.rate[0][[4, 8, 12]]
    assert (np.diff(rising) > 0).all(), "the chance grows with the wait"


def test_days_without_supply_are_not_taken_for_longer_waits() -> None:
    orders, market, planted = made(outages=True)
    corrected = error(replenishment.fit(orders, market, until=UNTIL), planted)
    blind = error(replenishment.fit(orders, Market(market.customers, NOTHING_OUT), until=UNTIL), planted)
    assert len(market.out) > 500
    assert abs(corrected.mean()) < 0.04
    assert blind.mean() > corrected.mean() + 0.03, "uncorrected, the usual wait looks longer than it is"


def test_out_of_time_the_hazard_is_calibrated_and_beats_the_rules(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame],
) -> None:
    tested = replenishment.backtest(plain[0], plain[1], until=UNTIL)
    assert tested.trained_until == dt.date(2025, 5, 12)
    quality = tested.quality.set_index(["within_days", "method"])
    for within in (7, 14):
        ours = quality.loc[(within, "hazard")]
        for rule in (*replenishment.RULES, "always_average"):
            assert ours["log_loss"] < quality.loc[(within, rule), "log_loss"] - 0.05
            assert ours["auc"] > quality.loc[(within, rule), "auc"] + 0.05
        assert abs(ours["predicted"] - ours["ordered"]) < 0.03
    week = tested.calibration[tested.calibration["within_days"] == 7]
    inside = (week["predicted"] > week["low"] - 0.03) & (week["predicted"] < week["high"] + 0.03)
    assert inside.sum() >= 9, "by tenths what was predicted came"


def test_the_forecast_of_orders_agrees_with_drawing_them(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame], fitted: replenishment.Hazard
) -> None:
    orders, market, _ = plain
    due = replenishment.due(fitted, orders, market, as_of=UNTIL)
    assert ((due["due_7"] <= due["due_14"]) & (due["due_14"] <= 1) & (due["due_7"] >= 0)).all()
    assert (due["orders_14"] >= due["due_14"] - 1e-9).all()
    middle = due["expected_on"].dropna()
    assert (middle > pd.Timestamp(UNTIL)).all()
    soon = due["expected_on"] <= pd.Timestamp(UNTIL) + pd.Timedelta(days=7)
    assert ((due["due_7"] >= 0.5) == soon).all()
    # Fourteen days of a well-known past, counted: as many orders as expected.
    early = UNTIL - dt.timedelta(days=14)
    before = replenishment.due(replenishment.fit(orders, market, until=early), orders, market, as_of=early)
    came = orders[(orders["ordered_on"] > pd.Timestamp(early)) & (orders["ordered_on"] <= pd.Timestamp(UNTIL))]
    assert abs(before["orders_14"].sum() / len(came) - 1) < 0.08
    assert abs((before["orders_14"] * before["expected_quantity"]).sum() / came["quantity"].sum() - 1) < 0.12


def test_nothing_after_the_day_changes_the_list(plain: tuple[pd.DataFrame, Market, pd.DataFrame]) -> None:
    orders, market, _ = plain
    day = dt.date(2025, 3, 31)
    past = orders[orders["ordered_on"] <= pd.Timestamp(day)]
    lists = [
        replenishment.due(replenishment.fit(some, market, until=day), some, market, as_of=day)
        for some in (orders, past)
    ]
    pd.testing.assert_frame_equal(*lists)


def test_one_order_leans_on_its_product_and_a_silent_customer_is_said_to_be(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame],
) -> None:
    orders, market, planted = plain
    new = pd.DataFrame(
        {
            "customer_id": "new",
            "outlet_id": "",
            "product_id": ["p0", "p3"],
            "ordered_on": pd.Timestamp("2025-06-20"),
            "quantity": 8.0,
        }
    )
    gone = orders[(orders["customer_id"] == "c000") & (orders["ordered_on"] > "2025-01-31")]
    some = pd.concat([orders.drop(index=gone.index), new], ignore_index=True)
    people = pd.concat([market.customers, pd.DataFrame({"customer_id": ["new"], "region": "r0", "kind": "cafe"})])
    around = Market(people, NOTHING_OUT)
    due = replenishment.due(replenishment.fit(some, around, until=UNTIL), some, around, as_of=UNTIL)
    mine = due[due["customer_id"] == "new"].set_index("product_id")
    assert mine["code"].tolist() == ["one_order", "one_order"]
    for product in ("p0", "p3"):
        typical = planted.loc[planted["product_id"] == product, "usual"].median()
        assert abs(np.log(mine.loc[product, "usual_days"] / typical)) < 0.35
    assert set(due.loc[due["customer_id"] == "c000", "code"]) == {"silent"}
    assert due.loc[due["customer_id"] == "c000", "due_14"].max() < 0.5


def test_a_product_that_is_out_today_is_said_to_be_and_waits_for_its_return(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame], fitted: replenishment.Hazard
) -> None:
    orders, market, _ = plain
    last = pd.date_range("2025-06-18", "2025-06-23")
    out = pd.DataFrame({"region": "r0", "product_id": "p0", "day": last})
    due = replenishment.due(fitted, orders, Market(market.customers, out), as_of=UNTIL)
    usual = replenishment.due(fitted, orders, market, as_of=UNTIL)
    hit = due["customer_id"].isin(market.customers.loc[market.customers["region"] == "r0", "customer_id"]) & (
        due["product_id"] == "p0"
    )
    assert set(due.loc[hit, "code"]) == {"supplier_out"}
    assert (due.loc[hit, "due_7"] < usual.loc[hit, "due_7"]).all()


def test_waits_are_counted_day_by_day_against_a_plain_loop() -> None:
    orders = replenishment.by_day(
        pd.DataFrame(
            {
                "customer_id": ["a", "a", "b", "b"],
                "product_id": "x",
                "ordered_on": pd.to_datetime(["2025-03-03", "2025-03-07", "2025-03-05", "2025-03-06"]),
                "quantity": [1.0, 2.0, 3.0, 4.0],
            }
        )
    )
    people = pd.DataFrame({"customer_id": ["a", "b"], "region": ["n", "s"], "kind": ""})
    out = pd.DataFrame({"region": ["n", "n"], "product_id": "x", "day": pd.to_datetime(["2025-03-04", "2025-03-09"])})
    found = spells(orders, Market(people, out, holidays=(dt.date(2025, 3, 5),)), until=dt.date(2025, 3, 9))
    rows = list(
        zip(
            found.pair[found.wait].tolist(),
            found.since.tolist(),
            found.weekday.tolist(),
            found.ordered.tolist(),
            found.open.tolist(),
            strict=True,
        )
    )
    assert rows == [
        (0, 1, 1, False, False),
        (0, 2, 7, False, True),
        (0, 3, 3, False, True),
        (0, 4, 4, True, True),
        (0, 1, 5, False, True),
        (0, 2, 6, False, False),
        (1, 1, 3, True, True),
        (1, 1, 4, False, True),
        (1, 2, 5, False, True),
        (1, 3, 6, False, True),
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.5), st.floats(0.05, 1.0))
def test_the_chance_of_waiting_agrees_with_drawing(seed: int, runs_out: float, comes_back: float) -> None:
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0, 1, (1, 5))
    out = np.array([bool(rng.integers(2))])
    exact = supply.waiting(rate, out, supply.Supply(runs_out, comes_back))[0]
    assert (np.diff(exact) <= 1e-12).all() and 0 <= exact[-1] <= 1
    number = 20_000
    away, still = np.full(number, out[0]), np.ones(number, bool)
    for day in range(5):
        draw = rng.random(number)
        away = np.where(away, draw > comes_back, draw < runs_out)
        still &= away | (rng.random(number) < np.exp(-rate[0, day]))
    assert abs(still.mean() - exact[-1]) < 0.02


def test_supply_is_learnt_from_the_days_out() -> None:
    rng = np.random.default_rng(5)
    days = pd.date_range("2025-01-01", periods=2_000)
    state, away = False, []
    for _day in days:
        state = rng.random() > 0.2 if state else rng.random() < 0.03
        away.append(state)
    out = pd.DataFrame({"region": "n", "product_id": "x", "day": days[np.array(away)]})
    pairs = pd.DataFrame({"region": ["n", "n"], "product_id": "x"})
    known = supply.chain(Market(pd.DataFrame(), out), pairs, since=days[0].date(), as_of=days[-1].date())
    assert abs(known.runs_out - 0.03) < 0.01 and abs(known.comes_back - 0.2) < 0.05
    assert supply.chain(
        Market(pd.DataFrame(), NOTHING_OUT), pairs, since=days[0].date(), as_of=days[-1].date()
    ) == supply.Supply(0.0, 1.0)


def test_usual_quantities_are_drawn_to_the_product_where_orders_are_few() -> None:
    rng = np.random.default_rng(2)
    pairs = pd.DataFrame({"product_id": ["x"] * 40, "kind": "", "customer_id": [f"c{k}" for k in range(40)]})
    pair = np.repeat(np.arange(40), [1] * 20 + [30] * 20)
    level = rng.normal(3, 0.3, 40)
    quantity = np.exp(level[pair] + rng.normal(0, 0.5, len(pair)))
    found = pooling.quantities(pairs, pair, quantity)
    own = np.bincount(pair, np.log(quantity)) / np.bincount(pair)
    drawn = np.abs(found.log - own)
    assert drawn[:20].mean() > 4 * drawn[20:].mean()
    assert np.mean((found.log[:20] - level[:20]) ** 2) < np.mean((own[:20] - level[:20]) ** 2)


def test_counts_of_nothing_stand_until_the_next_count_and_not_for_ever() -> None:
    counts = pd.DataFrame(
        {
            "region": "n",
            "product_id": "x",
            "counted_on": pd.to_datetime(["2025-03-03", "2025-03-20", "2025-03-24"]),
            "quantity": [0.0, 0.0, 5.0],
        }
    )
    days = out_of_supply(counts, until=dt.date(2025, 3, 31))["day"]
    assert days.dt.day.tolist() == [3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23]
    assert out_of_supply(counts, until=dt.date(2025, 3, 21))["day"].dt.day.tolist()[-2:] == [20, 21]
    with pytest.raises(
        DataError, match=r"table stocks, column quantity: -2 pieces of product x in region n; a stock is never negative"
    ):
        out_of_supply(counts.assign(quantity=[1.0, -2.0, 0.0]), until=dt.date(2025, 3, 31))


def test_bad_input_is_refused_in_words(
    plain: tuple[pd.DataFrame, Market, pd.DataFrame], fitted: replenishment.Hazard
) -> None:
    orders, market, _ = plain
    with pytest.raises(DataError, match=r"column quantity: found -3.0; give pieces above 0 \(returns are no orders"):
        replenishment.by_day(orders.assign(quantity=-3.0))
    with pytest.raises(DataError, match="has no column ordered_on"):
        replenishment.by_day(orders.drop(columns="ordered_on"))
    with pytest.raises(DataError, match="2 rows without a day"):
        replenishment.by_day(orders.head(2).assign(ordered_on=pd.NaT))
    once = orders.drop_duplicates(["customer_id", "product_id"])
    with pytest.raises(DataError, match=r"not enough data for replenishment \(found 0 customers with two orders"):
        replenishment.fit(once, market, until=UNTIL)
    with pytest.raises(DataError, match=r"as_of 2020-01-01: not enough data for a due list \(found 0 orders"):
        replenishment.due(fitted, orders, market, as_of=dt.date(2020, 1, 1))
    with pytest.raises(UsageError, match="origins is 0; give the number of days to test, 1 or more"):
        replenishment.backtest(orders, market, until=UNTIL, origins=0)
    with pytest.raises(DataError, match=r"not enough data to test the due list \(found 80 days of orders, need 140\)"):
        replenishment.backtest(orders, market, until=START.date() + dt.timedelta(days=80))


@pytest.mark.real_data
def test_online_retail_the_hazard_of_the_next_order_beats_the_rules(real_data: Path) -> None:
    lines = public.online_retail()
    lines = lines[lines["CustomerID"].notna() & (lines["Quantity"] > 0)]
    customer = lines["CustomerID"].astype("str")
    orders = replenishment.by_day(
        pd.DataFrame(
            {
                "customer_id": customer,
                "product_id": "goods",
                "ordered_on": lines["InvoiceDate"],
                "quantity": lines["Quantity"].astype(float),
            }
        )
    )
    home = lines["Country"].eq("United Kingdom").map({True: "home", False: "abroad"})
    people = pd.DataFrame({"customer_id": customer, "region": "", "kind": home}).drop_duplicates("customer_id")
    tested = replenishment.backtest(orders, Market(people, NOTHING_OUT), until=dt.date(2011, 12, 8))
    quality = tested.quality.set_index(["within_days", "method"])
    for within in (7, 14):
        for rule in replenishment.RULES:
            assert quality.loc[(within, "hazard"), "log_loss"] < quality.loc[(within, rule), "log_loss"]
            assert quality.loc[(within, "hazard"), "auc"] > quality.loc[(within, rule), "auc"]
