"""The job behind `crm demand` on a small supplier and a small bank: what it saves adds up, is scored, and is shown."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import made_demand
import numpy as np
import pandas as pd
import pytest

from crmlib import paths
from crmlib.errors import DataError
from crmlib.runs import demand_grids, demand_jobs
from crmlib.runs.stages import Stages
from crmlib.store import ledger, overrides, score_sets, session, tables
from crmlib.views import demand, demand_data, demand_words, texts
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

NOW = dt.datetime(2026, 1, 2, 8, 30)
MONTHS = pd.date_range("2022-01-01", "2025-12-01", freq="MS")


def serve(data: Path, frames: dict[str, pd.DataFrame], company: Company) -> None:
    """Put the frames into a data folder, served as version 1."""
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    build.from_frames(path, frames, company=company, version=1)
    about = {"format_version": schema.FORMAT_VERSION, "created_at": NOW, "published_at": NOW}
    with session.session(data) as store:
        store.add(tables.Version(version=1, state="published", file=path.name, **about))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()


def made_plans(sales: pd.DataFrame, outlets: pd.DataFrame) -> pd.DataFrame:
    """What the sales force plans: what came, and a quarter more."""
    told = sales.merge(outlets[["outlet_id", "region"]], on="outlet_id")
    told = told[told["product_id"] != "X1"].assign(month=pd.to_datetime(told["sold_on"]).dt.to_period("M"))
    sums = told.groupby(["product_id", "region", "month"])["quantity"].sum().reset_index()
    start = sums["month"].dt.start_time
    plan = {"source": "sales force", "made_on": start - pd.Timedelta(days=10), "period_start": start}
    table = sums.assign(**plan, period_end=start + pd.offsets.MonthEnd(0), quantity=(1.25 * sums["quantity"]).round())
    table["plan_id"] = [f"N{number}" for number in range(len(table))]
    return table.drop(columns="month")


@pytest.fixture(scope="module")
def supplier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supplier")
    frames = made_demand.make(outlets=4).frames
    frames["plans"] = made_plans(frames["outlet_sales"], frames["outlets"])
    serve(folder, frames, made_demand.COMPANY)
    demand_jobs.demand(folder, stages=Stages(quiet=True))
    return folder


@pytest.fixture(scope="module")
def loaded(supplier: Path) -> demand_data.Loaded:
    return demand_data.load(supplier)


def contracts(*, products: tuple[str, ...] = ("card", "deposit"), seed: int = 5) -> dict[str, pd.DataFrame]:
    """A bank that opens about thirty contracts a month and product, more of them each December."""
    rng = np.random.default_rng(seed)
    opened = [
        (product, month + pd.Timedelta(days=int(day)))
        for product in products
        for month in MONTHS
        for day in rng.integers(0, 28, rng.poisson(30 * (1.8 if month.month == 12 else 1.0)))
    ]
    holdings = pd.DataFrame(opened, columns=["product_id", "opened_on"])
    holdings["holding_id"] = [f"H{number}" for number in range(len(holdings))]
    holdings["customer_id"] = [f"C{number % 50}" for number in range(len(holdings))]
    customers = pd.DataFrame({"customer_id": [f"C{number}" for number in range(50)], "valid_from": MONTHS[0]})
    customers["region"] = np.where(np.arange(50) < 25, "North", "South")
    about = {"product_id": list(products), "name": list(products), "valid_from": MONTHS[0], "product_group": "accounts"}
    return {"holdings": holdings, "customers": customers, "products": pd.DataFrame(about)}


# ---------------------------------------------------------------- a supplier


def test_every_level_is_forecast_and_all_add_up(loaded: demand_data.Loaded) -> None:
    assert set(loaded.levels) == {
        *(f"{name}_{step}" for name in ("total", "region", "product", "product_region") for step in ("week", "month")),
        "outlet_product_day",
    }
    for step, horizon in (("week", 8), ("month", 6)):
        rows = loaded.forecast[loaded.forecast["level"].str.endswith(step)]
        sums = rows.groupby(["level", "period"])["mean"].sum().unstack("level")
        assert len(sums) == horizon
        for level in sums:
            np.testing.assert_allclose(sums[level], sums[f"total_{step}"], rtol=1e-9)
        assert (rows["reconciled"] != "").all()


def test_forecasts_are_ordered_not_negative_and_without_competitors(loaded: demand_data.Loaded) -> None:
    table = loaded.forecast
    ends = table[["low_95", "low_80", "mean", "high_80", "high_95"]].to_numpy()
    assert np.isfinite(ends).all() and (ends >= 0).all()
    assert (np.diff(ends[:, [0, 1, 3, 4]], axis=1) >= -1e-9).all()
    assert set(table["product_id"]) == {"", "P1", "P2", "P3"}, "those of another maker are not ours to forecast"
    first = table[table["ahead"] == 1].groupby("level")["period"].first()
    assert first["product_week"] == pd.Timestamp("2025-12-29") and first["product_month"] == pd.Timestamp("2025-12-01")
    assert not table.duplicated(["level", "series_id", "period"]).any()
    days = table[table["level"] == "outlet_product_day"]
    sundays = days["period"].dt.day_of_week == 6
    assert (days.loc[sundays, "mean"] == 0).all() and (days["q_0.9"] >= days["q_0.5"]).all()


def test_the_back_test_beats_a_year_ago_and_says_so(loaded: demand_data.Loaded) -> None:
    table = loaded.tables["accuracy"]
    whole = table[table["ahead"] == 0].set_index("level")
    assert set(whole.index) == set(loaded.levels)
    assert whole.loc["product_region_week", "wape"] < whole.loc["product_region_week", "wape_naive"]
    assert whole[["pinball", "pinball_naive", "coverage_80"]].notna().all().all()
    errors = loaded.tables["errors"]
    own = errors[(errors["level"] == "product_region_week") & (errors["weight"] > 0)]
    wape = ((own["forecast"] - own["actual"]).abs() * own["weight"]).sum() / (own["actual"] * own["weight"]).sum()
    assert whole.loc["product_region_week", "wape"] == pytest.approx(wape)
    assert (errors["origin"] < errors["period"]).all()
    added = loaded.tables["value_added"]
    steps = added[added["level"] == "product_region_week"]["step"].tolist()
    assert steps == ["naive", "statistical", "reconciled"]
    coherence = loaded.tables["coherence"]
    assert coherence[coherence["chosen"]].groupby("step")["method"].nunique().eq(1).all()
    base = coherence[coherence["method"] == "base"]
    assert set(base["level"]) == {level for level in loaded.levels if not level.endswith("day")}


def test_plans_enter_by_their_record_with_their_bias_shown(loaded: demand_data.Loaded) -> None:
    table = loaded.tables["judgement"]
    row = table.iloc[0]
    # A quarter above what was sold, so by less above what was wanted: some shelves were empty.
    assert row["source"] == "sales force" and 0 < row["bias_low"] < row["bias"] < row["bias_high"] < 0.25
    assert row["n"] >= 20 and 0 <= row["weight"] <= 1
    points = loaded.tables["plans"]
    assert set(points["level"]) == {"product_region_month"}
    assert not points.duplicated(["level", "series_id", "source", "period"]).any()


def test_the_run_and_its_tables_can_be_traced(supplier: Path, loaded: demand_data.Loaded) -> None:
    run = ledger.runs(supplier).iloc[0]
    assert (run["kind"], run["state"]) == ("demand", "succeeded")
    assert run["parameters"]["source"] == "outlet_sales" and loaded.score_set.run_id == run["run_id"]
    levels = loaded.tables["levels"].set_index("level")
    assert levels.loc["outlet_product_day", ["keys", "horizon"]].tolist() == ["outlet_id/product_id", 14]
    treated = loaded.tables["treatment"]
    days = treated[treated["level"] == "outlet_product_day"].set_index("status")["periods"]
    assert days["stocked_out"] > 0 and days["closed"] > 0
    history = loaded.tables["history"]
    assert history[history["level"] == "outlet_product_day"].groupby("series_id").size().max() == 182


def test_the_dashboard_shows_every_level_of_it(supplier: Path, loaded: demand_data.Loaded) -> None:
    panel = demand.Panel(supplier, "ru")
    for step in loaded.steps:
        panel.step.value = step
        assert panel.frame._trouble.value == ""
        assert panel.charts["path"].layout.display == "" and panel.charts["errors"].layout.display == ""
    say = texts.speak("ru")
    told = [
        *loaded.forecast["reason"].unique(),
        *loaded.tables["weights"]["method"],
        *loaded.tables["value_added"]["step"],
    ]
    for code in filter(None, told):
        known = {demand_words.reason(say, code), demand_words.method(say, code), demand_words.added(say, code)}
        assert known - {code.replace("_", " ")}, f"{code} has words in Russian"


def test_overrides_that_met_their_period_are_scored_the_next_time(supplier: Path) -> None:
    history = score_sets.beside(supplier, score_sets.newest(supplier, "demand"), "errors")
    row = history[(history["level"] == "product_region_week") & (history["weight"] > 0)].iloc[-1]
    made = {"level": row["level"], "series_id": row["series_id"], "period": row["period"].date(), "actor": "planner"}
    when = (row["period"] - pd.Timedelta(days=3)).to_pydatetime()
    overrides.put(supplier, **made, quantity=row["actual"], previous=row["forecast"], reason="I knew", now=when)
    snapshot_made = demand_jobs.demand(supplier, stages=Stages(quiet=True))
    saved = score_sets.newest(supplier, "demand")
    worth = score_sets.beside(supplier, saved, "overrides").iloc[0]
    assert worth["overrides"] == 1 and worth["wape"] == pytest.approx(0, abs=1e-9) and worth["improved"] == 1
    added = score_sets.beside(supplier, saved, "value_added")
    last = added[added["level"] == "product_region_week"].iloc[-1]
    assert last["step"] == "override" and last["change"] < 0
    again = score_sets.read(supplier, saved)
    assert len(again) == len(snapshot_made), "the same day gives the same forecasts"


# ---------------------------------------------------------------- a bank, and too little


def test_a_bank_forecasts_contracts_by_month(tmp_path: Path) -> None:
    serve(tmp_path, contracts(), Company(name="Bank"))
    found = demand_jobs.demand(tmp_path, stages=Stages(quiet=True))
    assert set(found["level"]) == {"total_month", "region_month", "product_month", "product_region_month"}
    december = found[(found["level"] == "total_month")].set_index("period")["mean"]
    assert december.index.min() in (pd.Timestamp("2025-12-01"), pd.Timestamp("2026-01-01"))
    panel = demand.Panel(tmp_path, "en")
    assert panel.frame._trouble.value == "" and "Contracts a month" in panel.charts["path"].spec
    assert "No plans or outside forecasts could be used. Found 0, needed 1." in panel.notes["plans"].value


def test_too_short_a_history_gets_a_simpler_method_and_its_reason(tmp_path: Path) -> None:
    frames = contracts()
    frames["holdings"] = frames["holdings"][frames["holdings"]["opened_on"] >= "2025-03-01"]
    serve(tmp_path, frames, Company(name="Young bank"))
    found = demand_jobs.demand(tmp_path, stages=Stages(quiet=True))
    assert (found["reason"] == "short_series").all() and found["mean"].gt(0).all()
    panel = demand.Panel(tmp_path, "en")
    assert "the history is shorter than two seasons" in panel.notes["path"].value and panel.frame._trouble.value == ""


def test_nothing_to_forecast_is_said_in_one_sentence(tmp_path: Path) -> None:
    frames = contracts()
    people = frames["customers"].assign(customer_since=MONTHS[0])
    mentions = pd.DataFrame({"mention_id": ["M1"], "occurred_at": [NOW - dt.timedelta(days=9)], "source": "forum"})
    serve(tmp_path, {"customers": people, "mentions": mentions}, Company(name="Empty"))
    with pytest.raises(
        DataError, match=r"hold nothing to forecast \(found 0 rows with a product, need 1\); load sales"
    ):
        demand_jobs.demand(tmp_path, stages=Stages(quiet=True))


def test_grids_end_at_the_series_that_all_others_are_sums_of() -> None:
    for source in ("outlet_sales", "orders", "contracts"):
        for grid in demand_grids.grids(source):
            keys = list(grid.levels.values())
            assert all(set(one) < set(keys[-1]) for one in keys[:-1]) and grid.bottom in grid.levels
