"""Demand from the invoices of Online Retail, through the loader: against plain sums, and all the way of `crm demand`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crmlib import paths, warehouse
from crmlib.models.demand import future, reconcile, series, treatment
from crmlib.runs import demand_jobs
from crmlib.runs.stages import Stages
from crmlib.samples import online_retail, public
from crmlib.store import score_sets

PRODUCTS = ("85123A", "85099B", "22423", "POST", "22197", "47566B")
COUNTRIES = ("United Kingdom", "Germany", "France")


@pytest.fixture(scope="module")
def lines(real_data: Path) -> pd.DataFrame:
    whole = public.online_retail()
    return whole[whole["StockCode"].isin(PRODUCTS) & whole["Country"].isin(COUNTRIES)].reset_index(drop=True)


@pytest.fixture(scope="module")
def shop(lines: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    plan = public.mapping("online_retail")
    (folder / "company.toml").write_bytes(plan.with_name("online_retail.company.toml").read_bytes())
    files = []
    for name, table in online_retail.prepare(lines).items():
        files.append(folder / f"online_retail_{name}.parquet")
        table.to_parquet(files[-1], index=False)
    warehouse.load(files, plan, data=folder, recorded_at=dt.datetime(2026, 1, 2))
    return folder


@pytest.fixture(scope="module")
def known(shop: Path) -> warehouse.Snapshot:
    return warehouse.open(paths.warehouse(shop)).snapshot("2011-12-09")


@pytest.mark.real_data
def test_what_was_recorded_is_the_net_sum_of_the_invoices(lines: pd.DataFrame, known: warehouse.Snapshot) -> None:
    table = series.build(known, by=("product_id",), step="month", source="orders")
    whole = lines[lines["InvoiceDate"] < "2011-12-01"]
    month = whole["InvoiceDate"].dt.to_period("M").dt.start_time
    net = whole.groupby([whole["StockCode"], month])["Quantity"].sum()
    back = whole[whole["Quantity"] < 0].groupby("StockCode")["Quantity"].sum()
    found = table.set_index(["product_id", "period"])["recorded"]
    pd.testing.assert_series_equal(
        found[found != 0], net[net != 0].astype(float), check_names=False, check_index_type=False
    )
    returned = table.groupby("product_id")["returns"].sum()
    assert returned[returned > 0].to_dict() == (-back).to_dict()
    told = table["recorded"] + table["returns"] + table["lost"] + table["filled"] - table["removed"]
    np.testing.assert_allclose(table["quantity"], told, atol=1e-9)
    assert [note["code"] for note in treatment.notes(table)] == ["running_period_left_out"]


@pytest.mark.real_data
def test_saturdays_are_closed_and_the_week_of_christmas_is_a_gap(known: warehouse.Snapshot) -> None:
    days = series.build(known, by=(), step="day", source="orders").set_index("period")
    assert set(days.loc[days.index.day_of_week == 5, "status"]) == {"closed"}
    christmas = days["2010-12-24":"2011-01-03"].query("period.dt.day_of_week < 5")  # few buy on Sundays: none is no gap
    assert (christmas["weight"] == 0).all()
    assert set(christmas["status"]) == {"gap"}
    ahead = future.known(known, days.reset_index(), horizon=7, source="orders", step="day")
    assert ahead["open_days"].tolist() == [0, 1, 1, 1, 1, 1, 1], "the first is a Saturday"


@pytest.mark.real_data
def test_the_job_forecasts_it_although_a_quarter_of_the_buyers_have_no_region_and_mint_is_out_of_reach(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MOST_NODES", 20)  # all of its products in all countries are 22,054
    demand_jobs.demand(shop, stages=Stages(quiet=True))
    newest = score_sets.newest(shop, demand_jobs.NAME)
    forecasts = score_sets.read(shop, newest)
    assert "unknown" in set(forecasts.loc[forecasts["level"] == "region_week", "series_id"])
    ends = forecasts[["mean", "low_80", "high_80", "low_95", "high_95"]].to_numpy()
    assert np.isfinite(ends).all()
    sums = forecasts.groupby(["level", "period"])["mean"].sum().unstack(0)
    for step in ("week", "month"):
        some = sums.filter(like=step).dropna()
        assert len(some) > 0
        for level in some:
            np.testing.assert_allclose(some[level], some[f"total_{step}"], rtol=1e-6)
    tried = set(score_sets.beside(shop, newest, "coherence")["method"])
    assert {"ols", "wls"} <= tried
    assert "mint" not in tried
    missing = score_sets.beside(shop, newest, "missing")
    assert missing["why"].str.contains(r"mint is not tried on \d+ series of all levels \(most: 20\)").any()
    accuracy = score_sets.beside(shop, newest, "accuracy")
    assert {"region_week", "product_region_month"} <= set(accuracy["level"])
