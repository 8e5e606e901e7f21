"""The job of replenishment and the plan of visits: days, limits, consent, neighbours, reasons, bad input."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import made_replenishment
import numpy as np
import pandas as pd
import pytest

from crmlib import paths, warehouse
from crmlib.decisions import orders_inputs, policy, visits
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.runs import replenishment_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse.company_policy import ContactPolicy, Limit
from crmlib.warehouse.snapshot import Snapshot


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supplier") / "data"
    made_replenishment.make(folder)
    replenishment_jobs.replenishment(folder, stages=Stages(quiet=True))
    return folder


@pytest.fixture(scope="module")
def snapshot(data: Path) -> Snapshot:
    return warehouse.open(paths.warehouse(data)).snapshot(made_replenishment.AS_OF)


@pytest.fixture(scope="module")
def due(data: Path) -> pd.DataFrame:
    return score_sets.read(data, score_sets.newest(data, "replenishment"))


def test_the_job_saves_the_due_list_with_margins_and_what_is_beside_it(data: Path, due: pd.DataFrame) -> None:
    found = score_sets.newest(data, "replenishment")
    assert set(visits._NEEDED) <= set(due)
    np.testing.assert_allclose(due["margin_minor"], due["orders_14"] * due["expected_quantity"] * 50)
    assert due["outlet_id"].ne("").sum() == 2 * made_replenishment.SHOPS
    out = due[due["code"] == "supplier_out"]
    assert (
        set(out["product_id"]) == {"butter"} and len(out) == (made_replenishment.CAFES + made_replenishment.SHOPS) // 2
    )
    assert abs(np.log(due.loc[due["product_id"] == "milk", "usual_days"].median() / 6.0)) < 0.25
    quality = score_sets.beside(data, found, "quality")
    week = quality[quality["within_days"] == 7].set_index("method")["auc"]
    assert week["hazard"] > week.drop("hazard").max()
    assert len(score_sets.beside(data, found, "calibration")) == 20


def test_visits_keep_to_days_capacity_consent_and_cost(snapshot: Snapshot, due: pd.DataFrame) -> None:
    company = made_replenishment.COMPANY
    found = visits.plan(snapshot, due, company=company, visits_per_day=1)
    plan, left = found.visits, found.left_out
    assert list(plan) == visits.PLAN and list(left) == visits.LEFT_OUT
    assert plan.groupby(["employee_id", "visit_on"]).size().max() == 1
    assert not plan["visit_on"].isin([pd.Timestamp("2026-01-01")]).any(), "a holiday"
    assert (plan["visit_on"].dt.day_of_week < 5).all()
    assert plan["visit_on"].between("2026-01-02", "2026-01-14").all()
    assert (plan["week"] <= plan["visit_on"]).all() and (plan["week"].dt.day_of_week == 0).all()
    why = left.set_index("customer_id")["code"]
    assert why["C002"] == why["C003"] == "no_consent"
    assert why["C001"] == "no_representative"
    assert (left["code"] == "capacity").sum() > 0
    own = plan[plan["employee_id"] == "R1"]
    full = left[(left["code"] == "capacity") & (left["employee_id"] == "R1")]
    assert own["expected_margin_minor"].min() >= full["expected_margin_minor"].max(), "most margin first"
    places = len(due[["customer_id", "outlet_id"]].drop_duplicates())
    assert len(plan) + len(left) == places
    dear = visits.plan(snapshot, due.assign(margin_minor=400.0), company=company)
    assert dear.visits.empty and "not_worth" in set(dear.left_out["code"])


def test_planned_visits_count_to_the_limits_of_customer_and_household(snapshot: Snapshot) -> None:
    company = replace(
        made_replenishment.COMPANY, contact_policy=ContactPolicy(limits=(Limit("customer", 2, 30, "visit"),))
    )
    stops = pd.DataFrame(
        {
            "customer_id": ["C024", "C024", "C024", "C025", "C024"],
            "outlet_id": ["a", "b", "c", "d", "e"],
            "expected_margin_minor": [10.0, 40.0, 30.0, 5.0, 90.0],
            "code": ["", "", "", "", "not_worth"],
        }
    )
    past = policy.history(snapshot, company=company)
    found = visits._within_limits(stops, past, company=company, channel="visit").set_index("outlet_id")["code"]
    assert found.to_dict() == {"a": "limit_customer", "b": "", "c": "", "d": "", "e": "not_worth"}
    household = replace(company, contact_policy=ContactPolicy(limits=(Limit("household", 1, 7),)))
    found = visits._within_limits(stops, past, company=household, channel="visit").set_index("outlet_id")["code"]
    assert found.to_dict() == {"a": "limit_household", "b": "", "c": "limit_household", "d": "", "e": "not_worth"}


def test_reasons_name_the_products_with_most_due(snapshot: Snapshot, due: pd.DataFrame) -> None:
    plan = visits.plan(snapshot, due, company=made_replenishment.COMPANY).visits
    row = plan.iloc[0]
    told = json.loads(row["reasons"])
    mine = due[(due["customer_id"] == row["customer_id"]) & (due["outlet_id"] == row["outlet_id"])]
    ranked = mine.sort_values("margin_minor", ascending=False)
    assert [one["product_id"] for one in told] == ranked["product_id"].tolist()
    assert np.isclose(row["expected_margin_minor"], mine["margin_minor"].sum())
    for one, (_, known) in zip(told, ranked.iterrows(), strict=True):
        assert one["code"] == ("overdue" if known["days_since"] > known["usual_days"] else "due")
        assert one["days"] == known["days_since"] and abs(one["probability"] - known["due_14"]) < 1e-3


def test_a_day_goes_from_neighbour_to_neighbour() -> None:
    rng = np.random.default_rng(6)
    stops = pd.DataFrame(
        {
            "latitude": 50 + rng.random(30),
            "longitude": 10 + rng.random(30),
            "customer_id": [f"c{k}" for k in range(30)],
            "outlet_id": "s",
            "first": pd.Timestamp("2026-01-05"),
        }
    )
    days = [day.date() for day in pd.date_range("2026-01-05", periods=3)]
    plan = visits._days(stops, days)
    assert plan.groupby("visit_on").size().tolist() == [10, 10, 10]
    assert plan["customer_id"].nunique() == 30
    by_chance = []
    for seed in range(20):
        mixed = plan.assign(visit_on=np.random.default_rng(seed).permutation(plan["visit_on"]))
        by_chance.append(sum(_length(rows) for _, rows in mixed.groupby("visit_on")))
    planned = sum(_length(rows) for _, rows in plan.groupby("visit_on"))
    assert planned < 0.6 * min(by_chance)


def _length(rows: pd.DataFrame) -> float:
    where = np.radians(rows[["latitude", "longitude"]].to_numpy())
    return float(sum(visits.kilometres(where[k : k + 1], where[k + 1])[0] for k in range(len(where) - 1)))


def test_bad_input_is_refused_in_words(snapshot: Snapshot, due: pd.DataFrame) -> None:
    company = made_replenishment.COMPANY
    with pytest.raises(UsageError, match="visits_per_day is 0; give the visits one representative makes a day"):
        visits.plan(snapshot, due, company=company, visits_per_day=0)
    with pytest.raises(
        DataError, match="the due list has no column margin_minor; give the table of `crm replenishment`"
    ):
        visits.plan(snapshot, due.drop(columns="margin_minor"), company=company)
    with pytest.raises(UsageError, match="channel 'owl' has no cost of contact"):
        visits.plan(snapshot, due, company=company, channel="owl")


def test_the_job_of_orders_reads_the_daily_forecast(data: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there are no demand scores .* make some with `crm demand`"):
        replenishment_jobs.orders(data, stages=Stages(quiet=True))
    made_replenishment.forecast(data, level="product_month")
    with pytest.raises(
        DataError,
        match=r"has no level outlet_product_day \(it has product_month\); order proposals need outlet sales by day",
    ):
        replenishment_jobs.orders(data, stages=Stages(quiet=True))
    made_replenishment.forecast(data)
    proposed = replenishment_jobs.orders(data, stages=Stages(quiet=True))
    assert len(proposed) == 2 * made_replenishment.SHOPS
    assert (proposed["deliver_on"] == pd.Timestamp("2026-01-02")).all(), "the first of January is a holiday"
    assert (proposed["order_quantity"] % 6 == 0).all() and proposed["order_quantity"].sum() > 0
    found = score_sets.newest(data, "orders")
    assert 0.2 < score_sets.beside(data, found, "settings")["correlation"].iloc[0] < 0.8
    assert score_sets.beside(data, found, "left_out").empty


def test_an_outlet_closed_for_long_keeps_no_other_from_its_proposals(tmp_path: Path) -> None:
    tables = made_replenishment.frames()
    closed = {"outlet_id": "S0", "closed_from": dt.date(2026, 1, 2), "closed_until": dt.date(2026, 2, 20)}
    closed["announced_on"] = dt.date(2025, 12, 1)
    made_replenishment.make(tmp_path, tables | {"outlet_closures": pd.DataFrame([closed])})
    made_replenishment.forecast(tmp_path)
    proposed = replenishment_jobs.orders(tmp_path, stages=Stages(quiet=True))
    assert len(proposed) == 2 * (made_replenishment.SHOPS - 1) and "S0" not in set(proposed["outlet_id"])
    left = score_sets.beside(tmp_path, score_sets.newest(tmp_path, "orders"), "left_out")
    assert left.to_dict("records") == [{"outlet_id": "S0", "code": "beyond_forecast"}]


def test_a_count_of_long_ago_is_no_stock(tmp_path: Path) -> None:
    tables = made_replenishment.frames()
    counts = tables["stocks"]
    old = counts["outlet_id"].eq("S0")
    counted_on = counts["counted_on"].where(~old, dt.date(2025, 12, 20))
    made_replenishment.make(tmp_path, tables | {"stocks": counts.assign(counted_on=counted_on)})
    known = warehouse.open(paths.warehouse(tmp_path)).snapshot(made_replenishment.AS_OF)
    assert set(orders_inputs.stock(known)["outlet_id"]) == set(counts["outlet_id"]) - {"S0"}


def test_without_orders_the_job_says_what_is_missing(tmp_path: Path) -> None:
    tables = made_replenishment.frames()
    tables["transactions"] = tables["transactions"].assign(product_id=None)
    made_replenishment.make(tmp_path / "data", tables)
    with pytest.raises(DataError, match="table transactions: no orders"):
        replenishment_jobs.replenishment(tmp_path / "data", stages=Stages(quiet=True))


def test_a_short_history_has_a_list_and_says_that_it_is_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = made_replenishment.frames()
    late = tables["transactions"]["occurred_at"] >= pd.Timestamp("2025-11-15")
    tables["transactions"] = tables["transactions"][late]
    made_replenishment.make(tmp_path / "data", tables)
    due = replenishment_jobs.replenishment(tmp_path / "data", stages=Stages())
    assert "not enough data to test the due list (found 4" in capsys.readouterr().out
    assert len(due) and due["due_14"].between(0, 1).all()
    assert score_sets.beside(tmp_path / "data", score_sets.newest(tmp_path / "data", "replenishment"), "quality").empty
