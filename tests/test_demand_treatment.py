"""Zeros, gaps, closed days, stock-outs, returns and outliers are told apart, put right, and reported."""

from __future__ import annotations

from pathlib import Path

import made_demand as made
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.models.demand import series, treatment

OUTLET = "O05"


def days_of(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    known = made.opened(tmp_path, frames).snapshot(made.LAST)
    return series.build(known, by=("outlet_id", "product_id"), step="day")


def at(table: pd.DataFrame, product: str, day: str, outlet: str = OUTLET) -> pd.Series:
    found = table[(table["outlet_id"] == outlet) & (table["product_id"] == product) & (table["period"] == day)]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def supplier() -> made.Made:
    return made.make(seed=3, stock_days=6)  # shelves seldom empty


@pytest.fixture(scope="module")
def spoiled(supplier: made.Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The daily series of a supplier whose records were spoilt by hand, and what was truly wanted."""
    sales = supplier.frames["outlet_sales"].copy()
    day = sales["sold_on"]
    sales = sales[~((sales["outlet_id"] == "O07") & day.between("2025-04-01", "2025-04-05"))]  # no file came
    silent = (sales["outlet_id"] == "O03") & (sales["product_id"] == "P2")
    sales = sales[~(silent & sales["sold_on"].between("2025-02-03", "2025-03-01"))]
    sales = sales[sales["quantity"] > 0]  # this source writes no zeros
    for product, on, quantity in (
        ("P1", "2025-05-06", 900.0),
        ("P2", "2025-07-09", -12.0),
        ("P3", "2025-01-02", 700.0),
    ):
        row = (sales["outlet_id"] == OUTLET) & (sales["product_id"] == product) & (sales["sold_on"] == on)
        assert row.any()
        sales.loc[row, "quantity"] = quantity
    frames = {**supplier.frames, "outlet_sales": sales}
    return days_of(tmp_path_factory.mktemp("spoiled"), frames), supplier.truth


def test_a_day_without_any_record_is_a_gap_and_filled_by_comparable_days(
    spoiled: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table, truth = spoiled
    gap = table[(table["outlet_id"] == "O07") & table["period"].between("2025-04-01", "2025-04-05")]
    assert (gap["status"] == "gap").all()
    assert (gap["weight"] == 0).all()
    mean = truth[(truth["outlet_id"] == "O07") & truth["sold_on"].between("2025-04-01", "2025-04-05")]
    mean = mean[mean["product_id"] != "X1"]["mean"]
    assert gap["quantity"].sum() == pytest.approx(mean.sum(), rel=0.12)
    np.testing.assert_allclose(gap["filled"], gap["quantity"])


def test_a_missing_row_is_a_zero_where_other_products_have_records(
    spoiled: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table, truth = spoiled
    both = table.merge(
        truth[["outlet_id", "product_id", "sold_on", "sold", "mean"]],
        left_on=["outlet_id", "product_id", "period"], right_on=["outlet_id", "product_id", "sold_on"],
    )  # fmt: skip
    nothing = both[(both["sold"] == 0) & (both["mean"] > 0) & ~both["status"].isin(["gap", "stocked_out"])]
    assert len(nothing) > 100
    assert (nothing["status"] == "zero").mean() > 0.99
    assert (nothing.loc[nothing["status"] == "zero", ["quantity", "filled", "lost"]] == 0).all().all()
    assert (nothing.loc[nothing["status"] == "zero", "weight"] == 1).all()


def test_a_silence_that_chance_does_not_explain_is_a_gap(spoiled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, _ = spoiled
    silent = table[(table["outlet_id"] == "O03") & (table["product_id"] == "P2")]
    silent = silent[silent["period"].between("2025-02-03", "2025-03-01") & (silent["status"] != "closed")]
    assert set(silent["status"]) == {"gap"}
    assert (silent["quantity"] > 0).all()


def test_a_zero_too_many_is_an_outlier_and_what_remains_is_plausible(
    spoiled: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table, truth = spoiled
    for product, day in (("P1", "2025-05-06"), ("P3", "2025-01-02")):
        found = at(table, product, day)
        mean = truth[(truth["outlet_id"] == OUTLET) & (truth["product_id"] == product) & (truth["sold_on"] == day)]
        assert found["status"] == "outlier"
        assert found["weight"] == 0
        assert found["quantity"] == pytest.approx(float(mean["mean"].iloc[0]), rel=0.35)
        assert found["removed"] == pytest.approx(found["recorded"] - found["quantity"])
    assert (table["status"] == "outlier").sum() == 2


def test_more_taken_back_than_sold_is_a_return(spoiled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = at(spoiled[0], "P2", "2025-07-09")
    assert (found["status"], found["recorded"], found["returns"], found["weight"]) == ("return", -12, 12, 0)
    assert found["quantity"] > 0


def test_promotions_and_holiday_peaks_are_not_taken_for_outliers(supplier: made.Made, tmp_path: Path) -> None:
    """A promotion that sells eight times as much in one outlet, a Christmas Eve on which all sell ten times as much."""
    sales = supplier.frames["outlet_sales"].copy()
    on_promotion = sales["on_promotion"] & (sales["outlet_id"] == OUTLET)
    sales.loc[on_promotion, "quantity"] *= 4
    eve = sales["sold_on"].isin(pd.to_datetime(["2024-12-24", "2025-12-24"]))
    sales.loc[eve, "quantity"] *= 10
    table = days_of(tmp_path, {**supplier.frames, "outlet_sales": sales})
    assert not (table["status"] == "outlier").any()
    np.testing.assert_allclose(table.loc[table["period"] == "2025-12-24", "removed"], 0)


def test_an_event_of_a_few_days_in_one_outlet_is_no_slip_of_the_keyboard(supplier: made.Made, tmp_path: Path) -> None:
    sales = supplier.frames["outlet_sales"].copy()
    fair = (sales["outlet_id"] == OUTLET) & sales["sold_on"].between("2025-09-01", "2025-09-06")
    sales.loc[fair, "quantity"] = sales.loc[fair, "quantity"] * 12 + 40
    table = days_of(tmp_path, {**supplier.frames, "outlet_sales": sales})
    assert not (table["status"] == "outlier").any()


def test_where_zeros_are_written_a_missing_row_is_a_gap(supplier: made.Made, tmp_path: Path) -> None:
    sales = supplier.frames["outlet_sales"]
    row = sales[(sales["quantity"] == 0) & ~sales["stocked_out"] & (sales["product_id"] == "P1")].iloc[-1]
    without = sales.drop(index=row.name)
    table = days_of(tmp_path, {**supplier.frames, "outlet_sales": without})
    found = at(table, "P1", str(row["sold_on"].date()), row["outlet_id"])
    written = (sales["quantity"] == 0) & (sales["outlet_id"] == row["outlet_id"]) & (sales["product_id"] == "P1")
    assert written.sum() > 2
    assert found["status"] == "gap"


# ---------------------------------------------------------------- coarser series


def test_coarser_series_name_what_fills_half_of_a_period(supplier: made.Made, tmp_path: Path) -> None:
    sales = supplier.frames["outlet_sales"].copy()
    day, north = sales["sold_on"], sales["outlet_id"].isin(["O00", "O02", "O04", "O06", "O08", "O10"])
    sales = sales[~(north & day.between("2025-04-07", "2025-04-12"))]
    empty = north & day.between("2025-05-12", "2025-05-17") & (sales["product_id"] == "P1")
    sales.loc[empty, ["quantity", "stocked_out"]] = [0.0, True]
    slip = (sales["outlet_id"] == "O00") & (sales["product_id"] == "P1") & (day == "2025-06-11")
    sales.loc[slip, "quantity"] = 4_000.0
    known = made.opened(tmp_path, {**supplier.frames, "outlet_sales": sales}).snapshot(made.LAST)
    table = series.build(known).set_index(["series_id", "period"])
    assert table.loc[("P1/north", "2025-04-07"), "status"] == "gap"
    assert table.loc[("P1/south", "2025-04-07"), "status"] == "sold"
    hole = table.loc[("P1/north", "2025-05-12")]
    assert (hole["status"], hole["weight"], hole["recorded"]) == ("stocked_out", 0, 0)
    around = table.loc["P1/north"]["quantity"]["2025-04-28":"2025-06-02"].drop(pd.Timestamp("2025-05-12"))
    assert around.min() * 0.8 < hole["quantity"] < around.max() * 1.2
    assert table.loc[("P1/north", "2025-06-09"), "status"] == "outlier"
    assert table.loc[("P1/north", "2025-06-09"), "quantity"] < 2 * around.mean()


def test_the_report_accounts_for_every_period_and_piece(spoiled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, _ = spoiled
    report = treatment.report(table)
    assert report["periods"].sum() == len(table)
    assert report["share"].sum() == pytest.approx(1)
    assert set(report["status"]) == {"sold", "zero", "closed", "stocked_out", "gap", "return", "outlier"}
    assert report["pieces"].sum() == pytest.approx(table["quantity"].sum() - table["recorded"].sum())
    by_status = report.set_index("status")["pieces"]
    assert by_status["sold"] == by_status["zero"] == by_status["closed"] == 0
    assert by_status["outlier"] < 0 < by_status["gap"]
    causes = treatment.causes(table)
    assert causes["pieces"].sum() == pytest.approx(report["pieces"].sum())
    assert treatment.causes(table.iloc[:0])["share"].tolist() == [0, 0, 0, 0]
    assert treatment.report(table.iloc[:0]).empty


def test_the_notes_can_be_changed_without_changing_the_table(spoiled: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = spoiled[0].copy()
    table.attrs["notes"] = [{"code": "no_holidays_known"}]
    treatment.notes(table)[0]["code"] = "other"
    assert treatment.notes(table) == [{"code": "no_holidays_known"}]


# ---------------------------------------------------------------- lonely peaks


def naive_usual(values: np.ndarray) -> np.ndarray:
    out = np.zeros(values.shape)
    for row, one in enumerate(values):
        for place in range(len(one)):
            near = one[max(place - 6, 0) : place + 7]
            near = near[~np.isnan(near)]
            out[row, place] = np.median(near) if len(near) else 0
    return out


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_usual_value_is_the_median_around(data: st.DataObject) -> None:
    width = data.draw(st.integers(5, 30))
    cells = st.one_of(st.just(np.nan), st.integers(0, 100).map(float))
    values = np.array(data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=4)))
    usual, peak = treatment.lonely_peaks(values, season=7)
    np.testing.assert_allclose(usual, naive_usual(values))
    assert not peak[np.isnan(values)].any()


def test_peaks_that_return_every_year_or_hit_everybody_are_kept() -> None:
    rng = np.random.default_rng(1)
    values = rng.poisson(50, (10, 156)).astype(float)
    values[:, [51, 103]] *= 9  # everybody's Christmas
    values[2, [30, 82, 134]] = 900  # its own anniversary, year by year
    values[4, 70] = 2_000
    _, peak = treatment.lonely_peaks(values, season=52)
    assert list(zip(*np.nonzero(peak), strict=True)) == [(4, 70)]


def test_too_short_a_series_has_no_peaks() -> None:
    usual, peak = treatment.lonely_peaks(np.array([[1.0, 1_000, 1]]), season=12)
    assert not peak.any()
    assert usual.tolist() == [[1, 1_000, 1]]


def test_orders_now_and_then_are_no_peaks() -> None:
    values = np.zeros((1, 120))
    values[0, [5, 40, 71, 99]] = [60, 80, 70, 75]
    assert not treatment.lonely_peaks(values, season=12)[1].any()
    values[0, 80] = 900
    assert np.flatnonzero(treatment.lonely_peaks(values, season=12)[1][0]).tolist() == [80]
