"""The forecasting engine: one call, every kind of series, honest reasons, and nothing learned from what it must not see."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models import demand
from crmlib.models.demand import boosted, boosted_rows, exposure, fitting, groups, naive, panel, steps, trials

CHEAP = ("seasonal_naive", "theta")
STARTS = {"year": "YS", "quarter": "QS", "month": "MS", "week": "W-MON", "day": "D", "hour": "h", "half_hour": "30min"}


def series(rows: dict[str, object], *, step: str = "month", **columns: object) -> pd.DataFrame:
    """A series table of the given quantities by series."""
    parts = []
    for name, quantity in rows.items():
        values = np.asarray(quantity, float)
        periods = pd.date_range("2019-01-01", periods=len(values), freq=STARTS[step])
        parts.append(pd.DataFrame({"series_id": name, "period": periods, "quantity": values, **columns}))
    return pd.concat(parts, ignore_index=True)


def seasonal(count: int, length: int, season: int, *, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    level = random.gamma(5, 40, count)[:, None]
    shape = 1 + 0.4 * np.sin(2 * np.pi * np.arange(length) / season)
    values = level * shape * np.exp(random.normal(0, 0.08, (count, length)))
    return {f"s{row:02d}": values[row] for row in range(count)}


@pytest.fixture(scope="module")
def fitted() -> demand.Forecaster:
    return demand.fit(series(seasonal(20, 60, 12)), horizon=6)


def test_a_forecast_has_a_row_a_series_and_period_with_ordered_quantiles(fitted: demand.Forecaster) -> None:
    table = fitted.forecast(quantiles=(0.5, 0.99))
    assert len(table) == 20 * 6
    assert list(table["ahead"][:6]) == [1, 2, 3, 4, 5, 6]
    assert (table.groupby("series_id")["period"].first() == pd.Timestamp("2024-01-01")).all()
    ordered = table[["low_95", "low_80", "q_0.5", "high_80", "high_95", "q_0.99"]].to_numpy()
    assert (np.diff(ordered, axis=1) >= 0).all()
    assert (table["method"] == "combination").all() and (table["reason"] == "").all()


def test_the_combination_beats_seasonal_naive_on_what_follows(fitted: demand.Forecaster) -> None:
    rows = seasonal(20, 66, 12)
    history = series({name: values[:60] for name, values in rows.items()})
    actual = np.array([values[60:] for values in rows.values()])
    found = demand.forecast(history, horizon=6)["mean"].to_numpy().reshape(20, 6)
    bar = naive.seasonal(np.array([values[:60] for values in rows.values()]), season=12, horizon=6)
    assert np.abs(found - actual).mean() < 0.9 * np.abs(bar - actual).mean()


def test_the_same_seed_gives_the_same_forecast() -> None:
    table = series(seasonal(6, 48, 12))
    first, again = (demand.forecast(table, horizon=3, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_the_order_of_rows_does_not_matter() -> None:
    table = series(seasonal(5, 40, 12))
    mixed = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        demand.forecast(table, horizon=3, methods=CHEAP), demand.forecast(mixed, horizon=3, methods=CHEAP)
    )


def test_weights_are_learned_within_the_training_part_and_sum_to_one(fitted: demand.Forecaster) -> None:
    weights = fitted.weights[fitted.weights["kind"] == "regular"]
    assert weights["weight"].sum() == pytest.approx(1)
    assert set(weights["method"]) == {"seasonal_naive", "theta", "smoothing", "boosted"}
    assert fitted.validation["period"].max() <= pd.Timestamp("2023-12-01")
    assert (fitted.validation["origin"] < fitted.validation["period"]).all()
    found = fitted.validation.merge(series(seasonal(20, 60, 12)), on=["series_id", "period"], validate="many_to_one")
    assert np.allclose(found["actual"], found["quantity"])


def test_a_shorter_horizon_is_the_beginning_of_the_longer_one(fitted: demand.Forecaster) -> None:
    long, short = fitted.forecast(6), fitted.forecast(2)
    kept = long[long["ahead"] <= 2].reset_index(drop=True)
    assert np.allclose(short["low_80"], kept["low_80"])
    with pytest.raises(UsageError, match="horizon is 7; this forecaster was fitted for up to 6"):
        fitted.forecast(7)


def test_every_simple_case_says_why_it_is_simple() -> None:
    rows = seasonal(30, 60, 12) | {
        "zero": np.zeros(40), "one": [7.0], "flat": np.full(40, 5.0), "short": [4.0, 6.0, 5.0, 7.0, 6.0, 8.0],
        "rare": np.where(np.arange(60) % 4 == 0, 3.0, 0.0),
    }  # fmt: skip
    found = demand.fit(series(rows), horizon=3)
    table = found.forecast().set_index("series_id")
    assert table.loc["zero", ["mean", "low_95", "high_95"]].to_numpy().max() == 0
    reasons = table["reason"].groupby(level=0).first()
    assert reasons[["zero", "one", "flat", "short", "rare", "s00"]].tolist() == [
        "all_zero", "one_observation", "constant", "short_series", "", "",
    ]  # fmt: skip
    assert (table.loc["one", "mean"] == 7).all() and (table.loc["flat", "mean"] == 5).all()
    assert table.loc["one", "low_95"].notna().all(), "intervals are lent by the other series"
    assert {"code": "intervals_lent", "kind": "fixed", "series": 3} in found.notes
    assert {"code": "short_series", "series": 1} in found.notes
    assert set(found.weights.loc[found.weights["kind"] == "intermittent", "method"]) >= {"croston", "sba", "tsb"}
    assert 0.2 < table.loc["rare", "mean"].mean() < 1.6


def test_one_series_of_one_value_has_no_interval_and_says_so() -> None:
    found = demand.fit(series({"one": [7.0]}), horizon=2, step="month")
    table = found.forecast()
    assert table["mean"].tolist() == [7, 7] and table["low_80"].isna().all()
    assert found.notes[-1]["code"] == "no_intervals"


def test_too_few_rows_for_the_booster_are_a_note_not_a_silence() -> None:
    found = demand.fit(series(seasonal(1, 40, 12)), horizon=2)
    assert {"code": "boosted_left_out", "need": boosted.LEAST_ROWS} in found.notes
    assert "boosted" not in set(found.weights["method"])


@pytest.mark.parametrize("step", list(STARTS))
def test_every_step_is_told_from_the_periods(step: str) -> None:
    rows = seasonal(3, 3 * 7 if step in ("year", "quarter", "week") else 120, 4)
    table = demand.forecast(series(rows, step=step), horizon=2, methods=("theta", "naive"))
    expected = pd.date_range("2019-01-01", periods=len(rows["s00"]) + 1, freq=STARTS[step])[-1]
    assert table["period"].iloc[0] == expected


def test_hours_find_their_week_without_being_told() -> None:
    hours = np.arange(24 * 7 * 6)
    shape = (2 + np.sin(2 * np.pi * hours / 24)) * np.where(hours // 24 % 7 >= 5, 0.3, 1.0)
    random = np.random.default_rng(5)
    rows = {f"line{n}": random.poisson(30 * shape[:-48]) for n in range(6)}
    table = demand.forecast(series(rows, step="hour"), horizon=48, methods=("theta", "theta_long"))
    found = table["mean"].to_numpy().reshape(6, 48)
    assert np.abs(found - 30 * shape[-48:]).mean() < 0.12 * 30 * shape[-48:].mean()


def test_what_has_no_weight_is_neither_learned_nor_scored() -> None:
    rows = seasonal(20, 60, 12)
    plain = series(rows, weight=1.0)
    spoiled = plain.copy()
    hit = (spoiled["period"] == "2023-12-01") & (spoiled["series_id"] < "s05")
    spoiled.loc[hit, "weight"] = 0.0
    found = panel.build(spoiled, step="month")
    inputs, target, weight = boosted._training(found, 3, np.random.default_rng(1))
    assert len(inputs) == len(target) and (weight > 0).all()
    validated = demand.fit(spoiled, horizon=3, methods=CHEAP).validation
    late = validated[(validated["period"] == "2023-12-01") & (validated["series_id"] < "s05")]
    assert (late["weight"] == 0).all() and len(late)


def test_no_input_of_the_booster_looks_past_its_origin() -> None:
    table = panel.build(series(seasonal(8, 60, 12)), step="month")
    before = boosted_rows.build(table.until(12), horizon=6, known={})
    changed = table.values.copy()
    changed[:, -12:] *= 5
    after = boosted_rows.build(
        panel.SeriesPanel(**{**table.__dict__, "values": changed}).until(12), horizon=6, known={}
    )
    assert before is not None and after is not None
    assert np.array_equal(before.inputs, after.inputs, equal_nan=True)
    assert np.allclose(before.restore(before.target(table.values[:, 48:54])), table.values[:, 48:54])


def test_a_planned_promotion_lifts_the_forecast_by_its_planted_effect() -> None:
    random = np.random.default_rng(2)
    days = 120
    parts = []
    for number in range(8):
        promoted = (random.random(days + 14) < 0.12).astype(float)
        wanted = random.gamma(8, 5) * np.where(promoted > 0, 2.0, 1.0) * np.exp(random.normal(0, 0.1, days + 14))
        periods = pd.date_range("2024-01-01", periods=days + 14)
        parts.append(
            pd.DataFrame({"series_id": f"s{number}", "period": periods, "quantity": wanted, "promotion": promoted})
        )
    table = pd.concat(parts)
    ahead = table[table["period"] >= table["period"].min() + pd.Timedelta(days=days)]
    found = demand.fit(table[table["period"] < ahead["period"].min()], horizon=14)
    assert found.setting.treatment == "opening_and_promotions"
    told = found.forecast(future=ahead[["series_id", "period", "promotion"]])
    both = told.merge(ahead, on=["series_id", "period"], validate="one_to_one")
    usual = both[both["promotion"] == 0].groupby("series_id")["mean"].mean()
    lift = (both[both["promotion"] == 1].groupby("series_id")["mean"].mean() / usual).mean()
    assert 1.8 < lift < 2.2
    unplanned = found.forecast()
    assert (unplanned["reason"] == "no_plans").all()
    assert unplanned.groupby("series_id")["mean"].mean().to_numpy() == pytest.approx(
        usual.sort_index().to_numpy(), rel=0.1
    )


def test_closed_days_are_forecast_as_zero_and_do_not_pull_the_others_down() -> None:
    days = pd.date_range("2024-01-01", periods=210)
    opened = (days.day_of_week != 6).astype(float)
    random = np.random.default_rng(4)
    parts = [
        pd.DataFrame(
            {
                "series_id": f"s{n}", "period": days, "quantity": opened * random.poisson(50, 210),
                "open_days": opened, "weight": opened,
            }
        )
        for n in range(5)
    ]  # fmt: skip
    future = pd.DataFrame({"series_id": "s0", "period": pd.date_range("2024-07-29", periods=7)})
    future["open_days"] = (future["period"].dt.day_of_week != 6) * 1.0
    future.loc[future["period"] == "2024-07-31", "open_days"] = 0.0
    table = demand.forecast(pd.concat(parts), horizon=7, methods=CHEAP, future=future)
    shut = (table["period"].dt.day_of_week == 6) | ((table["period"] == "2024-07-31") & (table["series_id"] == "s0"))
    assert (table.loc[shut, ["mean", "high_95"]] == 0).all().all()
    assert table.loc[~shut, "mean"].between(43, 57).all()
    assert (table.loc[shut & (table["series_id"] == "s0"), "reason"] == "closed").all()


def test_exposure_brings_a_holiday_week_to_the_usual_opening() -> None:
    opened = np.array([[6.0, 6, 3, 6, 6, 0, 6, 6]])
    table = series({"s": 10 * opened[0]}, step="week").assign(open_days=opened[0])
    found = exposure.take_out(panel.build(table), promotions=False)
    assert found.panel.values[0].tolist() == pytest.approx([60.0] * 8)
    assert found.panel.weight[0].tolist() == [1, 1, 1, 1, 1, 0, 1, 1]
    assert found.ahead({"open_days": np.array([[3.0]])}, 1).tolist() == [[0.5]]


def days(rows: dict[str, object], **columns: object) -> pd.DataFrame:
    """A daily series table in which all series end on the same day."""
    parts = []
    for name, quantity in rows.items():
        periods = pd.date_range(end="2025-06-30", periods=len(np.asarray(quantity)))
        parts.append(pd.DataFrame({"series_id": name, "period": periods, "quantity": quantity, **columns}))
    return pd.concat(parts, ignore_index=True).astype({"quantity": float})


def poisson(count: int, length: int, *, seed: int = 3) -> dict[str, object]:
    random = np.random.default_rng(seed)
    return {f"s{number:02d}": random.poisson(20, length) for number in range(count)}


def test_a_series_of_a_few_days_among_long_ones_is_not_taken_for_closed() -> None:
    rows = poisson(8, 120) | {"new": np.random.default_rng(9).poisson(20, 10)}
    table = demand.forecast(days(rows, open_days=1.0), horizon=7, methods=CHEAP).set_index("series_id")
    assert (table.loc["new", "reason"] == "short_series").all()
    assert table.loc["new", "mean"].between(12, 28).all()
    assert (table.loc["new", "high_95"] - table.loc["new", "low_95"]).min() > 6


def test_a_series_that_had_not_begun_at_an_origin_does_not_end_the_call() -> None:
    table = days(poisson(8, 120) | {"young": np.random.default_rng(9).poisson(20, 20)})
    table["promotion"] = (np.random.default_rng(2).random(len(table)) < 0.1) * 1.0
    table["quantity"] *= 1 + table["promotion"]
    found = demand.fit(table, horizon=28, methods=CHEAP)
    assert found.setting.treatment == "opening_and_promotions"
    assert np.isfinite(found.forecast()["mean"]).all()


def test_what_is_filled_in_at_the_end_is_not_what_a_simple_series_goes_on_with() -> None:
    zero = days({"zero": np.r_[np.zeros(50), 9.0, 9.0]}, weight=1.0)
    zero.loc[zero.index[-2:], "weight"] = 0.0
    table = demand.forecast(pd.concat([days(poisson(8, 120), weight=1.0), zero]), horizon=2, methods=CHEAP)
    assert (table.loc[table["series_id"] == "zero", "mean"] == 0).all()


def test_prices_of_nothing_are_prices_that_are_not_known() -> None:
    table = days(poisson(8, 70))
    table["price_minor"] = np.random.default_rng(4).choice([0.0, 90.0, 100.0], len(table))
    future = table[["series_id"]].drop_duplicates().assign(period=pd.Timestamp("2025-07-01"), price_minor=0.0)
    found = demand.fit(table, horizon=3)
    assert "boosted" in set(found.weights["method"])
    assert np.isfinite(found.forecast(future=future)["mean"]).all()


@pytest.mark.parametrize("known", [True, False])
def test_a_promotion_that_never_happened_before_is_said(known: bool) -> None:
    table = days(poisson(3, 60), **({"promotion": 0.0} if known else {}))
    future = pd.DataFrame({"series_id": "s00", "period": [pd.Timestamp("2025-07-02")], "promotion": 1.0})
    found = demand.forecast(table, horizon=3, methods=CHEAP, future=future)
    assert found["reason"].tolist() == ["", "first_promotion", "", *[""] * 6]


def test_one_series_is_tried_at_enough_origins_for_an_interval() -> None:
    assert demand.forecast(days(poisson(1, 150)), horizon=2, methods=["theta"])["low_95"].notna().all()


def test_intervals_of_short_series_are_in_the_units_of_their_errors() -> None:
    random = np.random.default_rng(6)
    shape = 100 * (1 + 0.5 * np.sin(2 * np.pi * np.arange(20) / 12))
    rows = {f"s{number:02d}": shape + random.normal(0, 1, 20) for number in range(40)}
    found = demand.fit(series(rows), horizon=3, methods=["naive"])
    table, group = found.forecast(), found.groups[0]
    assert group.kind == "short" and group.calibration is not None and not group.lent
    unit = np.abs(np.diff(found.panel.values, axis=1)).mean(axis=1)  # changes over a year would be tiny here
    width = (table["high_80"] - table["mean"]).to_numpy().reshape(40, 3)
    assert width == pytest.approx(unit[:, None] * group.calibration.offsets(0.9, 3)[None, :])


def test_the_booster_that_is_tried_saw_nothing_after_the_first_origin() -> None:
    table = days(poisson(6, 60), promotion=0.0)
    late = table["period"] > pd.Timestamp("2025-06-30") - pd.Timedelta(days=6)
    changed = table.assign(quantity=np.where(late, 3 * table["quantity"], table["quantity"]), promotion=late * 0.5)
    setting = fitting.Setting(3, None, "opening_and_promotions", (3, 6), 7)
    before, after = (fitting.grow(panel.build(one, step="day"), setting).tried for one in (table, changed))
    assert before is not None and after is not None
    assert before.booster.save_raw() == after.booster.save_raw()


def test_nothing_is_below_zero_where_the_history_never_was() -> None:
    falling = {f"s{n}": np.maximum(40 - np.arange(40.0) + n, 0.5) for n in range(12)}
    table = demand.forecast(series(falling), horizon=12, methods=("theta", "smoothing"))
    assert (table[["mean", "low_80", "low_95"]].min() >= 0).all()
    below = demand.forecast(series({name: values - 60 for name, values in falling.items()}), horizon=3, methods=CHEAP)
    assert (below["mean"] < 0).all()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=1, max_size=4),
    st.sampled_from(["month", "day"]),
    st.integers(1, 5),
)
def test_whatever_the_series_there_is_a_finite_forecast(rows: list[list[int]], step: str, horizon: int) -> None:
    table = series({f"s{n}": row for n, row in enumerate(rows)}, step=step)
    found = demand.forecast(table, horizon=horizon, step=step, methods=("seasonal_naive", "theta", "smoothing"))
    assert len(found) == len(rows) * horizon
    assert np.isfinite(found["mean"]).all() and (found["mean"] >= 0).all()
    assert (found["method"] != "").all()


def test_the_example_of_the_document_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "demand.md").read_text(encoding="utf-8")
    known: dict[str, pd.DataFrame] = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], known)
    assert len(known["table"]) == 12 * 6
    assert (known["table"]["mean"] < known["table"]["q_0.95"]).all()


BAD = series({"a": np.arange(30.0)})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (BAD.drop(columns="quantity"), "series has no column quantity"),
        (BAD.iloc[:0], "not enough data"),
        (pd.concat([BAD, BAD.iloc[3:4]]), "series 'a': period 2019-04-01 00:00 .month. is there twice"),
        (BAD.drop(index=5), "series 'a': period 2019-05-01 00:00 .month. is followed by a gap"),
        (BAD.assign(quantity=np.inf), "series 'a': quantity at 2019-01-01 00:00 is inf"),
        (BAD.assign(quantity="many"), "column quantity holds str"),
        (BAD.assign(period="today"), "column period holds str; it needs dates"),
        (BAD.assign(period=BAD["period"].dt.tz_localize("Europe/Berlin")), "it needs dates without a time zone"),
        (BAD.assign(promotion="yes"), "series, column promotion holds str; it needs numbers"),
        (BAD.assign(price_minor=np.inf), "series 'a': price_minor at 2019-01-01 00:00 is inf; it lies between 0 and"),
        (BAD.assign(weight=2.0), "weight 2.0 lies outside 0 to 1"),
        (BAD.assign(period=BAD["period"] + pd.Timedelta(minutes=7)), "no step of year"),
    ],
)
def test_series_that_cannot_be_forecast_are_refused_by_name(table: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        demand.forecast(table, horizon=2)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, True])
def test_a_horizon_is_a_whole_number_from_one(horizon: object) -> None:
    with pytest.raises(UsageError, match=r"horizon is .*; it is a whole number of periods, at least 1"):
        demand.forecast(BAD, horizon=horizon)  # type: ignore[arg-type]


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="methods holds 'magic'"):
        demand.forecast(BAD, horizon=1, methods=["magic"])
    with pytest.raises(UsageError, match="step is 'fortnight'"):
        demand.forecast(BAD, horizon=1, step="fortnight")
    with pytest.raises(UsageError, match="season is 0"):
        demand.forecast(BAD, horizon=1, season=0)
    with pytest.raises(UsageError, match="quantiles holds 95"):
        demand.forecast(BAD, horizon=1, quantiles=(95,), methods=CHEAP)
    with pytest.raises(DataError, match="begins no week; weeks begin on Monday"):
        demand.forecast(BAD, horizon=1, step="week")
    with pytest.raises(UsageError, match="step cannot be told from one period, 2019-01-01"):
        demand.forecast(BAD.iloc[:1], horizon=1)


def test_a_future_that_does_not_fit_is_refused(fitted: demand.Forecaster) -> None:
    row = {"series_id": "s00", "period": pd.Timestamp("2024-01-01"), "promotion": 1.0}
    with pytest.raises(DataError, match="future has series 's00' twice at 2024-01-01"):
        fitted.forecast(future=pd.DataFrame([row, row]))
    with pytest.raises(DataError, match="future has no column period"):
        fitted.forecast(future=pd.DataFrame([{"series_id": "s00", "promotion": 1.0}]))
    with pytest.raises(DataError, match="future has none of the columns promotion"):
        fitted.forecast(future=pd.DataFrame([row]).drop(columns="promotion"))
    with pytest.raises(DataError, match="future, column period holds str; it needs dates"):
        fitted.forecast(future=pd.DataFrame([row | {"period": "soon"}]))
    with pytest.raises(DataError, match=r"future, series 's00': promotion at .* is 50\.0; it lies between"):
        fitted.forecast(future=pd.DataFrame([row | {"promotion": 50.0}]))


@given(st.integers(-3000, 30000), st.sampled_from(steps.STEPS))
def test_numbers_and_moments_of_periods_agree(number: int, step: str) -> None:
    moment = pd.Series(steps.moments(np.array([number]), step))
    assert steps.numbers(moment, step).tolist() == [number]


def test_kinds_of_series_follow_the_counts() -> None:
    rows = {"a": [0, 0, 3, 0] * 10, "b": np.arange(40.0), "c": [1, 2, 3]}
    found = panel.build(series(rows), step="month")
    kind, reason = groups.sort(found)
    assert kind.tolist() == ["intermittent", "regular", "short"]
    assert reason.tolist() == ["intermittent", "", "short_series"]


def test_origins_leave_enough_history() -> None:
    found = panel.build(series(seasonal(500, 60, 12)), step="month")
    assert trials.offsets(found, 18, need=18) == (18,)
    assert trials.offsets(found, 18, need=60) == ()
    few = found.take(np.arange(5))
    assert trials.offsets(few, 3, need=18) == (3, 6, 9, 12, 15, 18, 21)


@pytest.mark.real_data
def test_m1_quarterly_the_combination_is_no_worse_than_each_of_its_parts(real_data: Path) -> None:
    from crmlib.models.demand import metrics
    from crmlib.samples import public

    table = public.forecasting_competition("M1")
    horizon = table["unique_id"].map(table[table["is_test"]].groupby("unique_id").size())
    part = table[horizon == 8].sort_values(["unique_id", "t"], ignore_index=True)
    dates = pd.date_range("1960-01-01", periods=200, freq="QS")
    part["period"] = dates[part.groupby("unique_id").cumcount()]
    part = part.rename(columns={"unique_id": "series_id", "y": "quantity"})
    actual = part.loc[part["is_test"], "quantity"].to_numpy().reshape(-1, 8)
    errors = {
        name: metrics.smape(
            actual,
            demand.forecast(part[~part["is_test"]], horizon=8, methods=methods)["mean"].to_numpy().reshape(-1, 8),
        ).mean()
        for name, methods in (("all", None), ("naive", ["seasonal_naive"]), ("theta", ["theta"]))
    }
    assert errors["all"] <= errors["theta"] < errors["naive"]
