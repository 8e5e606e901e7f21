"""What each step adds to a forecast, human overrides included, and intervals of moved forecasts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest, metrics, recalibrate, value_added
from crmlib.store import overrides

MONTHS = pd.date_range("2025-01-01", periods=10, freq="MS")


def made(count: int = 30, seed: int = 1) -> pd.DataFrame:
    """A back test whose statistical forecast is better than naive, plans are no better, reconciling is worse."""
    random = np.random.default_rng(seed)
    actual = random.gamma(20, 5, (count, 10))

    def off(sigma: float) -> np.ndarray:
        return (actual * np.exp(random.normal(0, sigma, actual.shape))).ravel()

    statistical = off(0.15)
    return pd.DataFrame(
        {
            "series_id": np.repeat([f"s{i:02d}" for i in range(count)], 10),
            "period": np.tile(MONTHS, count),
            "actual": actual.ravel(),
            "weight": np.where(random.random(count * 10) < 0.2, 0.0, 1.0),
            "naive": off(0.3),
            "statistical": statistical,
            "with_plans": statistical * np.exp(random.normal(0, 0.01, count * 10)),
            "reconciled": statistical * 1.2,
        }
    )


def test_each_step_is_compared_with_the_one_before() -> None:
    table = made()
    found = value_added.of_steps(table).set_index("step")
    assert found.index.tolist() == ["naive", "statistical", "with_plans", "reconciled"]
    for step in found.index:
        assert found.loc[step, "wape"] == pytest.approx(metrics.wape(table["actual"], table[step], table["weight"]))
        assert found.loc[step, "bias"] == pytest.approx(metrics.bias(table["actual"], table[step], table["weight"]))
    assert found["change"].iloc[1:].tolist() == pytest.approx(np.diff(found["wape"]).tolist())
    assert found["since_first"].tolist() == pytest.approx((found["wape"] - found["wape"].iloc[0]).tolist())
    assert found["code"].tolist() == ["first", "better", "unsure", "worse"]
    assert ((found["low"] <= found["change"]) & (found["change"] <= found["high"])).iloc[1:].all()
    assert set(found["values"]) == {(table["weight"] > 0).sum()}


def test_the_interval_holds_the_change_of_the_population_in_most_samples() -> None:
    """The population's change is that of very many series."""
    truth = value_added.of_steps(made(20_000, seed=99), steps=["naive", "statistical"])["change"].iloc[1]
    inside = []
    for seed in range(60):
        row = value_added.of_steps(made(25, seed=seed), steps=["naive", "statistical"]).iloc[1]
        inside.append(row["low"] <= truth <= row["high"])
    assert 0.85 <= np.mean(inside) <= 1


def test_rows_without_weight_or_with_a_step_missing_count_for_no_step() -> None:
    table = made()
    table.loc[:49, "with_plans"] = np.nan
    changed = table.assign(naive=table["naive"].mask((table["weight"] == 0) | (table.index < 50), 1e9))
    pd.testing.assert_frame_equal(value_added.of_steps(table), value_added.of_steps(changed))


def test_few_series_have_no_interval_and_it_is_said() -> None:
    found = value_added.of_steps(made(4))
    assert found["code"].tolist() == ["first"] + ["few_series"] * 3 and found["low"].isna().all()
    with pytest.raises(UsageError, match="steps names naive; give at least two"):
        value_added.of_steps(made(), steps=["naive"])
    with pytest.raises(DataError, match="back test: no column override"):
        value_added.of_steps(made(), steps=["naive", "override"])
    with pytest.raises(DataError, match=r"not enough data .found 0 values that every step forecast"):
        value_added.of_steps(made().assign(weight=0.0))


# Overrides


def put(data: Path, table: pd.DataFrame, row: int, quantity: float, at: dt.datetime, **changed: Any) -> int:
    line = table.iloc[row]
    given: dict[str, Any] = {"reason": "a fair", "actor": "anna", "previous": float(line["statistical"]), **changed}
    key = {"level": "product_month", "series_id": line["series_id"], "period": line["period"]}
    return overrides.put(data, **key, quantity=quantity, now=at, **given)


@pytest.fixture
def put_in(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A back test, and what people did: 60 overrides in time, two too late, one taken back, one replaced."""
    table = made().assign(weight=1.0)
    before = dt.datetime(2024, 12, 20)
    for row in range(0, 120, 2):  # half the way to what will come
        quantity = float(table["actual"].iloc[row] + table["statistical"].iloc[row]) / 2
        put(tmp_path, table, row, quantity, before, reason="visit" if row % 4 else "fair")
    put(tmp_path, table, 1, 1e6, table["period"].iloc[1].to_pydatetime())
    put(tmp_path, table, 3, 1e6, dt.datetime(2025, 8, 1))
    gone = put(tmp_path, table, 5, 1e6, before)
    overrides.withdraw(tmp_path, gone, now=before, actor="boris")
    put(tmp_path, table, 7, 1e6, before)
    put(tmp_path, table, 7, float(table["actual"].iloc[7]), before + dt.timedelta(hours=1))
    return table, overrides.table(tmp_path)


def test_an_override_counts_where_it_was_there_before_its_period(put_in: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, rows = put_in
    found = value_added.with_overrides(table, rows, step="statistical")
    touched = found["override"] != found["statistical"]
    assert sorted(found.index[touched]) == sorted([*range(0, 120, 2), 7])
    assert found.loc[7, "override"] == pytest.approx(table.loc[7, "actual"]) and found["override"].max() < 1e5
    steps = value_added.of_steps(found, steps=["statistical", "override"])
    assert steps["code"].tolist() == ["first", "better"]


def test_the_record_of_overrides_says_what_they_added(put_in: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, rows = put_in
    series = table.rename(columns={"actual": "quantity"})[["series_id", "period", "quantity", "weight"]]
    (row,) = value_added.of_overrides(rows, series).to_dict("records")
    assert (row["overrides"], row["series"], row["code"], row["improved"]) == (61, 12, "better", 1.0)
    at = [*range(0, 120, 2), 7]
    part = table.iloc[at]
    assert row["wape_before"] == pytest.approx(metrics.wape(part["actual"], part["statistical"]))
    assert row["wape"] < 0.55 * row["wape_before"] and row["low"] <= row["change"] <= row["high"] < 0
    by = value_added.of_overrides(rows, series, by=["reason"])
    assert by.set_index("reason")["overrides"].to_dict() == {"a fair": 1, "fair": 30, "visit": 30}
    both = value_added.of_overrides(rows, series, by=["made_by", "direction"])
    assert set(both["direction"]) == {"up", "down"} and both["overrides"].sum() == 61
    silent = series.assign(weight=0.0)
    assert value_added.of_overrides(rows, silent).empty and value_added.of_overrides(rows.iloc[:0], series).empty


# Intervals of moved forecasts


def moved(count: int = 200, seed: int = 5, width: float = 0.5) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    sd = np.repeat(random.gamma(3, 2, count), 6)
    ends = {
        f"{end}_{n}": 100 + sign * width * stats.norm.ppf(0.5 + n / 200) * sd
        for n in (80, 95)
        for end, sign in (("low", -1), ("high", 1))
    }
    rows = {
        "series_id": np.repeat(np.arange(count).astype(str), 6),
        "level": "bottom",
        "weight": 1.0,
        "forecast": 100.0,
    }
    return pd.DataFrame(
        {**rows, "actual": 100 + random.normal(0, sd), **ends, "q_0.9": ends["high_80"], "naive": 100.0}
    )


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_widths_that_a_back_test_found_wrong_cover_as_said_afterwards(width: float) -> None:
    found = recalibrate.factors(moved(width=width))
    assert found["factor"].tolist() == pytest.approx([1 / width] * 2, rel=0.1) and not found["pooled"].any()
    fresh = recalibrate.widen(moved(400, seed=6, width=width), found, mean="forecast")
    row = backtest.report(fresh).iloc[0]
    assert row["coverage_80"] == pytest.approx(0.80, abs=0.03) and row["coverage_95"] == pytest.approx(0.95, abs=0.02)
    assert fresh["q_0.9"].tolist() == pytest.approx(fresh["high_80"].tolist())
    assert (fresh["low_95"] <= fresh["low_80"]).all() and (fresh["high_80"] <= fresh["high_95"]).all()


def test_a_level_of_few_values_takes_the_factor_of_all_and_says_so() -> None:
    table = moved()
    table.loc[:11, "level"] = "top"
    found = recalibrate.factors(table).set_index(["level", "nominal"])
    assert found.loc[("top", 80), "pooled"] and found.loc[("top", 80), "values"] == 12
    assert not found.loc[("bottom", 80), "pooled"]
    silent = table.assign(**{name: np.nan for name in backtest.quantile_columns(table)}, level="other")
    assert recalibrate.widen(silent, found.reset_index(), mean="forecast")["low_80"].isna().all()
    with pytest.raises(DataError, match="forecast: no factor for the level 'other'; there are 'bottom', 'top'"):
        recalibrate.widen(table.assign(level="other"), found.reset_index(), mean="forecast")
    with pytest.raises(DataError, match=r"not enough data to set intervals .found 60 scored values, need 100"):
        recalibrate.factors(table.iloc[:60])


def test_what_was_not_negative_stays_so() -> None:
    wide = recalibrate.widen(
        moved(width=0.1).assign(forecast=3.0, low_80=1.0, low_95=0.5),
        recalibrate.factors(moved(width=0.1)),
        mean="forecast",
    )
    assert (wide["low_95"] == 0).all()


def test_the_example_of_the_document_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "demand_accuracy.md").read_text(encoding="utf-8")
    known: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], known)
    assert known["choice"].origins == 4 and set(known["report"]["level"]) == {"total", "product", "product_region"}
