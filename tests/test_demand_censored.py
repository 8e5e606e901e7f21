"""Demand behind stock-outs: the mean above a bound by brute force, recovery of planted demand, and of the sample dairy's."""

from __future__ import annotations

from pathlib import Path

import made_demand as made
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib import paths, samples, warehouse
from crmlib.errors import DataError
from crmlib.models.demand import censored, series
from crmlib.runs import jobs
from crmlib.runs.stages import Stages


@given(mean=st.floats(0.05, 60), dispersion=st.floats(0.01, 5), least=st.integers(0, 80))
@settings(deadline=None, max_examples=80)
def test_the_mean_above_a_bound_is_that_of_the_summed_distribution(mean: float, dispersion: float, least: int) -> None:
    shape = 1 / dispersion
    law = stats.nbinom(shape, shape / (shape + mean))
    if law.sf(least - 1) < 1e-9:
        return
    top = int(law.isf(1e-13)) + least + 10
    values = np.arange(least, top)
    brute = float((values * law.pmf(values)).sum() / law.sf(least - 1))
    found = censored.above(np.array([mean]), np.array([dispersion]), np.array([float(least)]))[0]
    assert found == pytest.approx(brute, rel=1e-5)
    assert found >= least


def test_a_sale_far_above_what_was_expected_is_the_least() -> None:
    found = censored.above(np.array([0.1, 1.0]), np.array([1e-4, 0.1]), np.array([500.0, 4_000.0]))
    assert found.tolist() == [500.0, 4_000.0]


# ---------------------------------------------------------------- planted demand


def planted(*, censor: bool, seed: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    products, outlets, days = 3, 16, 728
    product = np.repeat(np.arange(products), outlets)
    region = np.tile(np.repeat(np.arange(2), outlets // 2), products)
    level = np.exp(rng.normal(1.8, 0.9, products * outlets))
    week = np.exp(rng.normal(0, 0.25, (products, 7)))[product][:, np.arange(days) % 7]
    season = np.exp(0.3 * np.sin(2 * np.pi * (np.arange(days) / 365 + rng.uniform(0, 1, (products, 1)))))[product]
    promoted = np.zeros((products * 2, days), dtype=bool)
    for row in range(products * 2):
        for start in rng.integers(0, days - 14, 5):
            promoted[row, start : start + 14] = True
    offer = promoted[product * 2 + region]
    mean = level[:, None] * week * season * np.where(offer, 1.8, 1.0)
    demand = rng.negative_binomial(6, 6 / (6 + mean)).astype(float)
    stock = np.ceil(level[:, None] * 2.2 * rng.gamma(6, 1 / 6, mean.shape)) if censor else np.full(mean.shape, np.inf)
    return {"product": product, "region": region, "offer": offer.astype(int), "mean": mean, "demand": demand,
            "sold": np.minimum(demand, stock), "empty": demand >= stock}  # fmt: skip


def grouping(found: dict[str, np.ndarray]) -> censored.Grouping:
    days = np.arange(found["sold"].shape[1])
    return censored.Grouping(
        product=found["product"], group=found["product"] * 2 + found["region"], weekday=days % 7, week=days // 7,
        block=days // 91, offer=found["offer"],
    )  # fmt: skip


def test_planted_demand_is_recovered_where_a_quarter_of_the_days_is_censored() -> None:
    found = planted(censor=True)
    empty, demand, sold = found["empty"], found["demand"], found["sold"]
    assert 0.1 < empty.mean() < 0.35
    got = censored.estimate(sold, told=~empty, censored=empty, grouping=grouping(found))
    assert abs(got.demand[empty].sum() / demand[empty].sum() - 1) < 0.02
    assert sold[empty].sum() / demand[empty].sum() < 0.75, "raw sales are far too low"
    assert abs(got.demand.sum() / demand.sum() - 1) < 0.01
    left_out = (np.where(empty, 0, sold).sum(axis=1) / (~empty).sum(axis=1)).sum() * sold.shape[1]
    assert left_out / demand.sum() < 0.93, "the days that are left out are those of high demand"
    assert (got.demand >= sold).all()
    assert got.dispersion.mean() == pytest.approx(1 / 6, rel=0.25)
    error = np.abs(got.expected - found["mean"]).sum() / found["mean"].sum()
    assert error < 0.09
    assert np.abs(got.demand - demand)[empty].sum() < 0.8 * np.abs(sold - demand)[empty].sum()


def test_without_stock_outs_the_sales_stay_as_they_are() -> None:
    found = planted(censor=False)
    none = np.zeros(found["sold"].shape, dtype=bool)
    got = censored.estimate(found["sold"], told=~none, censored=none, grouping=grouping(found))
    np.testing.assert_array_equal(got.demand, found["sold"])
    assert got.expected.sum() == pytest.approx(found["sold"].sum(), rel=0.01)


def test_a_product_that_was_never_in_stock_gets_what_its_like_sells() -> None:
    """No day tells its own demand; the estimate is finite, above the sale, and near the product's other outlets."""
    found = planted(censor=True)
    empty = found["empty"].copy()
    empty[0] = True
    got = censored.estimate(found["sold"], told=~empty, censored=empty, grouping=grouping(found))
    assert np.isfinite(got.demand).all()
    assert (got.demand[0] >= found["sold"][0]).all()
    nothing = np.zeros(found["sold"].shape, dtype=bool)
    empty_handed = censored.estimate(found["sold"] * 0, told=nothing, censored=nothing, grouping=grouping(found))
    assert np.isfinite(empty_handed.expected).all()


def test_products_do_not_teach_each_other() -> None:
    found = planted(censor=True)
    together = censored.estimate(found["sold"], told=~found["empty"], censored=found["empty"], grouping=grouping(found))
    one = {name: values[:16] for name, values in found.items()}
    alone = censored.estimate(one["sold"], told=~one["empty"], censored=one["empty"], grouping=grouping(one))
    np.testing.assert_allclose(alone.demand, together.demand[:16], rtol=1e-9)


def test_days_that_contradict_themselves_are_refused() -> None:
    found = planted(censor=True)
    sold, empty = found["sold"], found["empty"]
    with pytest.raises(DataError, match=r"days both tell demand and are censored"):
        censored.estimate(sold, told=~empty | empty, censored=empty, grouping=grouping(found))
    with pytest.raises(DataError, match=r"row 0, day 3 is -2.0 \(1 such days\); returns and gaps tell no demand"):
        wrong = sold.copy()
        wrong[0, 3] = -2
        censored.estimate(wrong, told=~empty, censored=empty, grouping=grouping(found))
    with pytest.raises(DataError, match=r"give the same rows and days"):
        censored.estimate(sold, told=~empty[:, 1:], censored=empty, grouping=grouping(found))


# ---------------------------------------------------------------- from the warehouse


def versus_truth(table: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Days of the series table beside what was truly wanted."""
    return table.merge(
        truth[["outlet_id", "product_id", "sold_on", "demand"]],
        left_on=["outlet_id", "product_id", "period"], right_on=["outlet_id", "product_id", "sold_on"],
        how="inner", validate="one_to_one",
    )  # fmt: skip


def biases(days: pd.DataFrame) -> dict[str, float]:
    """Bias of the corrected demand, the raw sales, and of leaving out days with an empty shelf: in all, and on those days."""
    opened = days[days["status"] != "closed"]
    empty, told = opened[opened["status"] == "stocked_out"], opened[opened["weight"] == 1]
    mean = told.groupby("series_id")["quantity"].mean()
    left_out = float((mean * opened.groupby("series_id").size()).sum())
    wanted = opened["demand"].sum()
    return {
        "corrected": opened["quantity"].sum() / wanted - 1,
        "raw": opened["recorded"].sum() / wanted - 1,
        "left_out": left_out / wanted - 1,
        "corrected_empty": empty["quantity"].sum() / empty["demand"].sum() - 1,
        "raw_empty": empty["recorded"].sum() / empty["demand"].sum() - 1,
    }


def test_series_of_a_made_up_supplier_tell_the_demand(tmp_path: Path) -> None:
    supplier = made.make(seed=11)
    wh = made.opened(tmp_path, supplier.frames)
    table = series.build(wh.snapshot(made.LAST), by=("outlet_id", "product_id"), step="day")
    found = biases(versus_truth(table, supplier.truth))
    assert abs(found["corrected"]) < 0.01
    assert min(-found["raw"], -found["left_out"]) > 0.08
    assert abs(found["corrected_empty"]) < 0.03
    assert found["raw_empty"] < -0.2


def test_stock_counted_as_none_is_a_stock_out_where_nobody_said_so(tmp_path: Path) -> None:
    """The same sales with the shelf's state taken from the stocks at the end of the day, rows without a sale missing."""
    supplier = made.make(seed=11)
    sales = supplier.frames["outlet_sales"]
    stocks = sales.rename(columns={"sold_on": "counted_on"})[["outlet_id", "product_id", "counted_on"]]
    stocks = stocks.assign(quantity=np.where(sales["stocked_out"], 0.0, 5.0))
    plain = sales[sales["quantity"] > 0].drop(columns="stocked_out")
    frames = {**supplier.frames, "outlet_sales": plain, "stocks": stocks}
    wh = made.opened(tmp_path, frames)
    table = series.build(wh.snapshot(made.LAST), by=("outlet_id", "product_id"), step="day")
    found = biases(versus_truth(table, supplier.truth))
    assert abs(found["corrected_empty"]) < 0.03
    never = table[(table["status"] == "stocked_out") & (table["recorded"] == 0)]
    assert len(never) > 50
    assert (never["quantity"] > 0).all()
    assert (never["weight"] == 0).all()


@pytest.fixture(scope="module")
def dairy(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Daily series of a small sample dairy, and its planted demand."""
    data = tmp_path_factory.mktemp("dairy")
    sample = samples.dairy(outlets=16, years=1, folder=data / "samples" / "dairy")
    jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=Stages())
    known = warehouse.open(paths.warehouse(data)).snapshot("2025-12-31")
    table = series.build(known, by=("outlet_id", "product_id"), step="day")
    truth = samples.truth(sample, "demand")
    return table, truth.assign(sold_on=pd.to_datetime(truth["sold_on"]))


def test_planted_demand_of_the_sample_dairy_is_recovered(dairy: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = biases(versus_truth(*dairy))
    assert abs(found["corrected"]) < 0.01
    assert min(-found["raw"], -found["left_out"]) > 2 * abs(found["corrected"])
    assert abs(found["corrected_empty"]) < 0.06
    assert found["raw_empty"] < -0.3
