"""Plans as forecasters: whose they are, how biased, what weight their record earns; nothing from after the origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crmlib import samples
from crmlib.errors import DataError
from crmlib.models.demand import backtest, judgement, plan_cells

MONTHS = pd.date_range("2023-01-01", periods=36, freq="MS")
REGIONS, PRODUCTS = ("North", "South"), ("P0", "P1", "P2")
OPTIMISM = {"North": 0.2, "South": 0.0}


def made(seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Monthly series that jump about, and plans of two regions and of an institute that know where they will go."""
    random = np.random.default_rng(seed)
    rows, plans = [], []
    for product in PRODUCTS:
        for region in REGIONS:
            quantity = 100 * np.exp(random.normal(0, 0.4, 36))
            keys = {"product_id": product, "region": region}
            rows.append(
                pd.DataFrame({"series_id": f"{product}/{region}", **keys, "period": MONTHS, "quantity": quantity})
            )
            said = quantity * (1 + OPTIMISM[region]) * np.exp(random.normal(-0.005, 0.1, 36))
            plans.append(lines(f"sales {region}", MONTHS, MONTHS + pd.offsets.MonthEnd(), said, **keys))
    series = pd.concat(rows, ignore_index=True).assign(weight=1.0)
    quarters = series.groupby(["product_id", pd.PeriodIndex(series["period"], freq="Q")])["quantity"].sum().unstack()
    for product in PRODUCTS:
        starts = quarters.columns.to_timestamp()
        said = quarters.loc[product].to_numpy() * np.exp(random.normal(0.03, 0.05, 12))
        plans.append(
            lines("institute", starts, starts + pd.offsets.QuarterEnd(startingMonth=3), said, product_id=product)
        )
    return series, pd.concat(plans, ignore_index=True)


def lines(source: str, start: Any, end: Any, quantity: Any, **keys: str) -> pd.DataFrame:
    given = {"product_id": None, "region": None, **keys}
    days = {"made_on": pd.DatetimeIndex(start) - pd.Timedelta(days=10), "period_start": start, "period_end": end}
    return pd.DataFrame({"source": source, **given, **days, "quantity": quantity})


def level(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
    mean, last = train.groupby("series_id")["quantity"].mean(), train["period"].max()
    periods = [last + pd.DateOffset(months=k) for k in range(1, horizon + 1)]
    out = pd.DataFrame({"series_id": np.repeat(mean.index, horizon), "period": periods * len(mean)})
    return out.assign(mean=np.repeat(mean.to_numpy(), horizon), low_80=0.0, high_80=1000.0)


@pytest.fixture(scope="module")
def world() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    series, plans = made()
    return series, plans, backtest.rolling(series, level, horizon=1, origins=18, step="month")


# The record


def test_a_line_is_compared_with_all_it_speaks_of(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, _ = world
    found = judgement.record(plans, series)
    assert found["code"].eq("").all() and len(found) == len(plans)
    quarter = found[(found["source"] == "institute") & (found["start"] == "2024-04-01") & (found["product_id"] == "P1")]
    expected = series[(series["product_id"] == "P1") & series["period"].between("2024-04-01", "2024-06-30")]
    (row,) = quarter.to_dict("records")
    assert row["actual"] == pytest.approx(expected["quantity"].sum()) and row["series"] == 2
    assert row["end"] == pd.Timestamp("2024-06-01") and pd.isna(row["region"])
    weighted = judgement.record(plans, series.assign(weight=np.where(series["region"] == "North", 0.0, 1.0)))
    some = weighted[(weighted["source"] == "institute") & (weighted["start"] == "2024-04-01")].iloc[1]
    south = expected.loc[expected["region"] == "South", "quantity"].sum()
    assert some["weight"] == pytest.approx(south / expected["quantity"].sum())


def test_a_plan_made_too_late_or_said_anew_does_not_count_twice(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, _ = world
    first = plans.iloc[[0]]
    late = first.assign(made_on=first["period_start"], quantity=1.0)
    anew = first.assign(made_on=first["made_on"] + pd.Timedelta(days=5), quantity=2.0)
    found = judgement.record(pd.concat([plans, late, anew]), series)
    mine = found[(found["source"] == "sales North") & (found["product_id"] == "P0") & (found["start"] == MONTHS[0])]
    assert mine.set_index("planned")["code"].to_dict() == {
        first["quantity"].iloc[0]: "replaced",
        1.0: "late",
        2.0: "",
    }


def test_the_planted_optimism_of_each_source_is_found(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, _ = world
    found = judgement.sources(judgement.record(plans, series)).set_index("source")
    assert found["periods"].to_dict() == {"institute": 12, "sales North": 36, "sales South": 36}
    for source, optimism in (("sales North", 0.2), ("sales South", 0.0), ("institute", 0.03)):
        row = found.loc[source]
        assert row["low"] < row["bias"] < row["high"] and row["bias"] == pytest.approx(optimism, abs=0.03)
    assert found.loc["sales North", "taken_off"] == pytest.approx(found.loc["sales North", "bias"], rel=0.05)
    assert abs(found.loc["sales South", "taken_off"]) < abs(found.loc["sales South", "bias"])
    assert found.loc["sales North", "wape_debiased"] < found.loc["sales North", "wape"] - 0.05


def test_intervals_of_bias_hold_what_was_planted_in_most_worlds() -> None:
    inside = []
    for seed in range(25):
        series, plans = made(seed)
        found = judgement.sources(judgement.record(plans, series)).set_index("source")
        inside.append(found.loc["sales North", "low"] < 0.2 < found.loc["sales North", "high"])
    assert np.mean(inside) >= 0.85


def test_the_record_of_a_moment_knows_nothing_later(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, _ = world
    then = MONTHS[20]
    known = judgement.sources(judgement.record(plans, series), known_at=then)
    disturbed = series.assign(quantity=series["quantity"].where(series["period"] <= then, 1e9))
    pd.testing.assert_frame_equal(known, judgement.sources(judgement.record(plans, disturbed), known_at=then))
    assert known["periods"].tolist() == [7, 21, 21]


# The combination


def test_plans_that_know_more_take_over_and_their_bias_does_not(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    found = judgement.rolling(table, plans, series)
    late = found[found["origin"] >= found["origin"].unique()[8]]
    plain, combined = (backtest.report(late.assign(forecast=late[name])).iloc[0] for name in ("forecast", "with_plans"))
    assert combined["wape"] < 0.7 * plain["wape"] and abs(combined["bias"]) < 0.05
    first = found[found["origin"] == found["origin"].min()]
    assert first["with_plans"].tolist() == first["forecast"].tolist() and first["plans"].eq(0).all()


def test_a_combination_knows_nothing_after_its_origin(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    then = table["origin"].unique()[10]
    found = judgement.rolling(table, plans, series)
    lie = 1e6
    later_plans = plans.assign(quantity=plans["quantity"].where(plans["made_on"] < then + pd.offsets.MonthBegin(), lie))
    later_series = series.assign(quantity=series["quantity"].where(series["period"] <= then, lie))
    later_table = table.assign(actual=table["actual"].where(table["period"] <= then, lie))
    again = judgement.rolling(later_table, later_plans, later_series)
    known = found["origin"] <= then
    assert known.sum() == 66
    pd.testing.assert_series_equal(found.loc[known, "with_plans"], again.loc[known, "with_plans"])


def test_forecasts_of_tomorrow_are_combined_by_the_record(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    past = series[series["period"] < MONTHS[35]]
    told = plans[plans["made_on"] < MONTHS[35]]
    forecasts = level(past, 1)
    judged = judgement.combine(forecasts, told, past, table[table["period"] < MONTHS[35]])
    out, sources = judged.forecasts, judged.sources.set_index("source")
    assert out["statistical"].tolist() == forecasts["mean"].tolist() and judged.notes == []
    assert sources.loc["sales North", "weight"] > 0.3 and sources["code"].eq("").all()
    assert sources.loc["sales North", "wape_of_plan"] < sources.loc["sales North", "wape_statistical"]
    actual = out.merge(series, on=["series_id", "period"])["quantity"]
    assert (out["mean"] - actual).abs().sum() < 0.6 * (out["statistical"] - actual).abs().sum()
    north = out["series_id"].str.endswith("North")
    assert out.loc[north, "plan sales North"].notna().all() and out.loc[~north, "plan sales North"].isna().all()
    shares = (
        north.map({True: "sales North", False: "sales South"}).map(sources["weight"])
        + sources.loc["institute", "weight"]
    )
    assert out["plans"].tolist() == pytest.approx(shares.clip(upper=1).tolist())
    assert (out["high_80"] - out["mean"]).tolist() == pytest.approx((1000 - forecasts["mean"]).tolist())
    assert (out["low_80"] >= 0).all()
    # the institute speaks of a quarter and of both regions: two months are known, the third is shared by forecast
    quarter = told[
        (told["source"] == "institute") & (told["period_start"] == "2025-10-01") & (told["product_id"] == "P0")
    ]
    known = past[(past["product_id"] == "P0") & (past["period"] >= "2025-10-01")]["quantity"].sum()
    mine = forecasts[forecasts["series_id"].str.startswith("P0")]["mean"]
    ratio = quarter["quantity"].iloc[0] / (known + mine.sum()) / (1 + sources.loc["institute", "taken_off"])
    assert out.loc[mine.index, "plan institute"].tolist() == pytest.approx((ratio * mine).tolist())


def test_a_short_record_has_no_weight_and_says_what_is_missing(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    few = plans[(plans["source"] == "sales North") & (plans["period_start"] >= MONTHS[33])]
    judged = judgement.combine(level(series, 1), few, series, table)
    (row,) = judged.sources.to_dict("records")
    assert (row["code"], row["found"], row["need"], row["weight"], row["taken_off"]) == ("short_record", 3, 4, 0, 0)
    assert judged.forecasts["mean"].tolist() == judged.forecasts["statistical"].tolist()
    none = judgement.combine(level(series, 1), plans.iloc[:0], series, table)
    assert none.sources.empty and none.forecasts["plans"].eq(0).all()


def test_what_is_no_better_gets_no_weight(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    random = np.random.default_rng(3)
    noise = plans.assign(quantity=random.permutation(plans["quantity"]) * random.lognormal(0, 1, len(plans)))
    judged = judgement.combine(level(series, 1), noise, series, table)
    assert judged.sources["weight"].max() < 0.15


# What cannot be used


def test_lines_that_cannot_be_used_are_counted_by_reason(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, _ = world
    odd = plans.iloc[:6].copy()
    odd.loc[0, "period_end"] = pd.Timestamp("2023-01-30")
    odd.loc[1, "period_start"] = pd.NaT
    odd.loc[2, "quantity"] = np.nan
    odd.loc[3, "quantity"] = -5.0
    odd.loc[4, "product_id"] = "unheard of"
    kept, notes = plan_cells.usable(odd, series, step="month")
    assert kept["line"].tolist() == [5]
    assert {note["reason"]: note["lines"] for note in notes} == {
        "no_whole_periods": 2,
        "no_quantity": 2,
        "no_such_series": 1,
    }
    coarse = series.drop(columns="region")
    assert plan_cells.usable(plans, coarse, step="month")[1] == [
        {"code": "plans_left_out", "reason": "no_such_series", "lines": 6 * 36}
    ]


def test_bad_tables_are_refused(world: tuple[pd.DataFrame, ...]) -> None:
    series, plans, table = world
    with pytest.raises(DataError, match="plans: no column made_on; it has source"):
        judgement.record(plans.drop(columns="made_on"), series)
    with pytest.raises(DataError, match="has two rows of one origin and period; give one level and one method"):
        judgement.rolling(pd.concat([table, table]), plans, series)
    with pytest.raises(DataError, match="forecast: no column mean"):
        judgement.combine(level(series, 1).drop(columns="mean"), plans, series, table)


def test_the_optimism_planted_in_the_sample_dairy_is_found_and_taken_off(tmp_path: Path) -> None:
    """Every source's bias within 3 points of the truth; combined forecasts are better and hardly biased."""
    sample = samples.dairy(outlets=16, seed=3, folder=tmp_path / "dairy")
    shops = pd.read_csv(tmp_path / "dairy" / "outlets.csv", sep=None, engine="python").set_index("place")["region"]
    wanted = samples.truth(sample, "demand")
    month = pd.to_datetime(wanted["sold_on"]).to_numpy("datetime64[M]")
    keys = wanted.astype({"outlet_id": "str", "product_id": "str"}).assign(
        period=pd.to_datetime(month), region=wanted["outlet_id"].astype("str").map(shops)
    )
    series = keys.groupby(["product_id", "region", "period"], as_index=False)["demand"].sum()
    series = series.rename(columns={"demand": "quantity"})
    series.insert(0, "series_id", series["product_id"] + "/" + series["region"])
    full = series.groupby("series_id")["period"].transform("size") == 36
    renamed = {"made": "made_on", "by": "source", "article": "product_id", "from": "period_start", "to": "period_end"}
    plans = pd.read_csv(tmp_path / "dairy" / "plans.csv", sep="\t").rename(columns={**renamed, "pieces": "quantity"})
    found = judgement.sources(judgement.record(plans, series)).set_index("source")
    planted = samples.truth(sample, "plans").set_index("source")["optimism"]
    assert set(found.index) == set(planted.index)
    assert (found["bias"] - planted).abs().max() < 0.03
    assert (found["wape_debiased"] < found["wape"]).loc[planted[planted > 0.1].index].all()
    some = series[full]
    table = backtest.rolling(some, level, horizon=1, origins=12, step="month")
    combined = judgement.rolling(table, plans, some)
    late = combined[combined["origin"] >= combined["origin"].unique()[6]]
    plain, with_plans = (
        backtest.report(late.assign(forecast=late[name])).iloc[0] for name in ("forecast", "with_plans")
    )
    assert with_plans["wape"] < 0.8 * plain["wape"] and abs(with_plans["bias"]) < 0.05
