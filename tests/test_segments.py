"""Segments on a made-up bank with planted groups and planted moves: RFM, behaviour, profiles, reasons, store, job."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib import features, warehouse
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.models import segments
from crmlib.models.segments import behavioural, clusters, forecast, moves, rfm
from crmlib.runs import segment_jobs
from crmlib.runs.stages import Stages
from crmlib.store import segment_sets, session
from crmlib.store.tables import SegmentSet
from crmlib.warehouse import build, snapshot

START = pd.Timestamp("2023-12-01")
FIRST, LAST = "2024-12-31", "2025-12-31"
DATES = ("2024-12-31", "2025-03-31", "2025-06-30", "2025-09-30", "2025-12-31")
GROUPS = ("salary", "groceries", "inactive")
SIZE = 200
"""Customers of each planted group."""
OTHERS, CHANNELS = ("cash", "health", "home", "travel"), ("atm", "branch", "card", "internet")
CHANGED = 30
"""Customers whose salary stops, who close their deposit and buy groceries instead from 2025 on."""
NOW = dt.datetime(2026, 1, 1)


def monthly(kind: str, habit: dict[str, Any], random: np.random.Generator) -> list[tuple[str, str, int]]:
    """One month's transactions of a customer: category, channel, amount."""
    other = [
        (str(random.choice(OTHERS, p=habit["others"])), str(random.choice(CHANNELS, p=habit["channels"])), -5_000)
        for _ in range(random.poisson(habit["rate"]))
    ]
    if kind == "salary":
        return [("salary", "internet", 200_000), *[("rent", "internet", -70_000)] * int(random.poisson(1)), *other]
    if kind == "groceries":
        return [("groceries", "card", -int(random.integers(2_000, 9_000)))] * int(
            random.poisson(habit["rate"] * 2 + 1)
        ) + other
    return other


def habits(kind: str, random: np.random.Generator) -> dict[str, Any]:
    rate = random.uniform(0.05, 0.15) if kind == "inactive" else random.uniform(0.2, 1.5)
    return {"rate": rate, "others": random.dirichlet([1.0] * 4), "channels": random.dirichlet([1.0] * 4)}


def made_up() -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(12)
    kinds = {f"C{n:04}": GROUPS[n % 3] for n in range(3 * SIZE)}
    changed = set([one for one, kind in kinds.items() if kind == "salary"][:CHANGED])
    rows = []
    for customer, kind in kinds.items():
        habit = habits(kind, random)
        for month in range(25):
            day = START + pd.DateOffset(months=month)
            doing = "groceries" if customer in changed and day >= pd.Timestamp("2025-01-01") else kind
            rows += [
                (customer, day + pd.Timedelta(days=int(random.integers(27))), *one)
                for one in monthly(doing, habit, random)
            ]
    rows.append(("NEW", pd.Timestamp(LAST), "cash", "atm", -5_000))
    moved = pd.DataFrame(rows, columns=["customer_id", "occurred_at", "category", "channel", "amount_minor"])
    ids = list(kinds)
    customers = pd.DataFrame(
        {"customer_id": ids, "valid_from": pd.Timestamp("2020-01-01"), "customer_since": pd.Timestamp("2020-01-01")}
    )
    customers = customers.assign(
        birth_date=[
            pd.Timestamp("1998-06-01") if kinds[one] == "groceries" else pd.Timestamp("1970-06-01") for one in ids
        ],
        employment_status="employed",
    )
    late = customers[customers["customer_id"] == ids[0]].assign(
        customer_id="NEW", customer_since=pd.Timestamp("2025-06-01"), valid_from=pd.Timestamp("2025-06-01")
    )
    customers = pd.concat([customers, late], ignore_index=True)
    gone = customers["customer_id"] == ids[-1]
    customers["closed_on"] = pd.Series(pd.NaT, index=customers.index).where(~gone, pd.Timestamp("2025-05-01"))
    products = pd.DataFrame(
        {"product_id": ["savings"], "valid_from": [START], "name": ["savings"], "product_group": ["deposits"]}
    )
    savers = [one for one in ids if kinds[one] == "salary"]
    holdings = pd.DataFrame(
        {
            "holding_id": [f"H{one}" for one in savers],
            "customer_id": savers,
            "product_id": "savings",
            "opened_on": START,
        }
    )
    holdings["closed_on"] = pd.Series(pd.NaT, index=holdings.index).where(
        ~holdings["customer_id"].isin(changed), pd.Timestamp("2025-02-01")
    )
    return {
        "customers": customers,
        "products": products,
        "holdings": holdings,
        "transactions": moved.assign(transaction_id=np.arange(len(moved)).astype(str)),
    }


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return made_up()


@pytest.fixture(scope="module")
def wh(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> warehouse.Warehouse:
    path = tmp_path_factory.mktemp("segments") / "v000001.duckdb"
    build.from_frames(path, tables)
    return snapshot.open_file(path)


@pytest.fixture(scope="module")
def fitted(wh: warehouse.Warehouse) -> behavioural.Behavioural:
    return segments.fit(wh.snapshot(FIRST), seed=7)


@pytest.fixture(scope="module")
def measured(wh: warehouse.Warehouse, fitted: behavioural.Behavioural) -> list[pd.DataFrame]:
    return [fitted.measure(wh.snapshot(day)) for day in DATES]


def group(customer_id: str) -> str:
    return GROUPS[int(customer_id[1:]) % 3] if customer_id != "NEW" else "inactive"


# ---------------------------------------------------------------- behaviour


def test_planted_groups_their_number_and_names_are_found(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    members = fitted.assign(measured[0])
    truth = members["customer_id"].map(group)
    assert fitted.choice["separate"] and fitted.choice["clusters"] == 3
    assert clusters.adjusted_rand(members["segment"].to_numpy(), truth.to_numpy()) > 0.95
    assert len(set(fitted.segments)) == 3 and min(fitted.choice["jaccard"]) > clusters.STABLE
    assert list(members) == list(segment_sets.COLUMNS) and members["customer_id"].is_unique


def test_behaviour_is_what_pandas_counts(measured: list[pd.DataFrame], tables: dict[str, pd.DataFrame]) -> None:
    table = measured[0].set_index("customer_id")
    moved = tables["transactions"]
    year = moved[(moved["occurred_at"] >= "2024-01-01") & (moved["occurred_at"] < "2025-01-01")]
    total = year.groupby("customer_id").size().reindex(table.index, fill_value=0)
    assert (table["activity"] == total).all()
    salary = year[year["category"] == "salary"].groupby("customer_id").size().reindex(table.index, fill_value=0)
    share = (salary / total.where(total > 0)).to_numpy()
    assert np.allclose(table["category_salary"], share, equal_nan=True)
    assert (table["salary_elsewhere"] == (salary == 0)).all()
    last = year[year["occurred_at"] >= "2024-04-01"].groupby("customer_id").size().reindex(table.index, fill_value=0)
    assert np.allclose(table["remaining_activity"], last * 12 / 9)


def test_the_same_seed_gives_the_same_segments_and_json_brings_them_back(
    fitted: behavioural.Behavioural, wh: warehouse.Warehouse
) -> None:
    again = segments.fit(wh.snapshot(FIRST), seed=7)
    assert again == fitted
    assert behavioural.Behavioural.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_constant_measures_are_left_out_and_named(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    flat = measured[0].assign(held_deposits=1.0)
    assert "held_deposits" in behavioural.fit_table(flat, features.from_json(fitted.specification)).left_out


def test_a_profile_says_what_sets_a_segment_apart(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    members = fitted.assign(measured[0])
    found = segments.profile(fitted, measured[0], members)
    of = (
        members.assign(group=members["customer_id"].map(group))
        .groupby("group")["segment"]
        .agg(lambda x: x.mode().iloc[0])
    )
    young = found[(found["segment"] == of["groceries"]) & (found["measure"] == "age")].iloc[0]
    ages = measured[0].set_index(members["segment"])["age"]
    assert young["value"] == pytest.approx(ages[of["groceries"]].median()) and young["difference"] < -1
    assert young["others"] == pytest.approx(ages[ages.index != of["groceries"]].median())
    elsewhere = found[(found["segment"] == of["groceries"]) & (found["measure"] == "salary_elsewhere")].iloc[0]
    assert elsewhere["statistic"] == "share" and elsewhere["value"] == 1 and 0.95 < elsewhere["low"] < 1
    told = segments.traits(found, of["groceries"])
    assert {"category", "age", "salary_elsewhere"} <= {one["code"] for one in told} or "channel" in {
        one["code"] for one in told
    }
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    assert (found["difference_low"] <= found["difference"]).all()


def test_intervals_of_a_profile_cover_the_truth_as_often_as_they_say() -> None:
    from crmlib.models.segments.profiles import _median_interval

    random = np.random.default_rng(8)
    hit = 0
    for _ in range(400):
        low, high = _median_interval(random.exponential(size=60))
        hit += low <= np.log(2) <= high
    assert hit / 400 >= 0.93


# ---------------------------------------------------------------- moves and reasons


def test_planted_moves_are_found_with_their_reason(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    before, after = fitted.assign(measured[0]), fitted.assign(measured[-1])
    counted = moves.counts(before, after)
    assert counted.loc[counted["kind"] == "joined", "customers"].sum() == 1, "NEW joined"
    assert counted.loc[counted["kind"] == "left", "customers"].sum() == 1, "one was closed"
    planted = {f"C{3 * n:04}" for n in range(CHANGED)}
    why = moves.reasons(fitted, measured[0], measured[-1])
    assert planted <= set(why["customer_id"])
    mine = why[why["customer_id"].isin(planted)]
    assert (mine.loc[mine["rank"] == 1, "measure"] == "held_deposits").all(), "the deposit they closed comes first"
    assert mine.loc[mine["rank"] > 1, "measure"].str.startswith(("category_", "channel_")).mean() > 0.9
    down = mine[mine["measure"].isin(["category_salary", "channel_internet", "held_deposits"])]
    assert len(down) > CHANGED and (down["after"] < down["before"]).all()
    over_all = moves.why(why)
    assert over_all["customers"].max() <= why["customer_id"].nunique() and over_all["share"].le(1).all()


def test_the_pulls_of_a_move_add_up_to_the_change_of_the_distances(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    both = measured[0].merge(measured[-1][["customer_id"]], on="customer_id", validate="one_to_one")["customer_id"]
    one, other = (table.set_index("customer_id").loc[both].reset_index() for table in (measured[0], measured[-1]))
    start = np.repeat(fitted.segments[0], len(both))
    end = np.repeat(fitted.segments[-1], len(both))
    centres = np.array(fitted.centres)
    lean = [np.diff(clusters.squared(fitted.scaled(table), centres[[-1, 0]]), axis=1)[:, 0] for table in (one, other)]
    pulls = fitted.pulls(one, other, start, end)
    assert np.allclose(pulls.sum(axis=1), lean[1] - lean[0])
    assert (np.abs(lean[1] - lean[0]) > 0.1).any()


# ---------------------------------------------------------------- forecast


def test_a_forecast_foresees_the_planted_moves_where_everyone_stays_does_not(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    found = forecast.compare(fitted, measured, seed=7)
    assert list(found.table["model"]) == ["forecast", "matrix", "stays"]
    stays = found.table.set_index("model").loc["stays"]
    ends = [fitted.assign(table).set_index("customer_id")["segment"] for table in measured[-2:]]
    both = ends[0].index.intersection(ends[1].index)
    assert stays["accuracy"] == pytest.approx((ends[0][both] == ends[1][both]).mean()) and stays["customers"] == len(
        both
    )
    assert np.isnan(stays["log_loss"])
    low, high = found.accuracy_gain[1:]
    assert found.better == (low > 0) and low <= found.accuracy_gain[0] <= high
    assert found.sizes["expected"].sum() == pytest.approx(found.sizes["actual"].sum())


def test_probabilities_sum_to_one_and_need_the_measures(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame]
) -> None:
    model = forecast.fit(fitted, measured)
    table = model.predict(measured[-1], measured[-2])
    assert list(table) == ["customer_id", "as_of", "model", "segment", "score"]
    assert np.allclose(table.groupby("customer_id")["score"].sum(), 1)
    with pytest.raises(DataError, match="no column remaining_activity"):
        model.predict(measured[-1].drop(columns="remaining_activity"))
    with pytest.raises(DataError, match="at least 3 dates, there are 2"):
        forecast.fit(fitted, measured[:2])
    with pytest.raises(DataError, match="at least 4 dates, there are 3"):
        forecast.compare(fitted, measured[:3])


def test_chances_of_moving_recover_those_planted() -> None:
    """The regression gives back the probabilities of a multinomial logit that made the data."""
    random = np.random.default_rng(2)
    design = np.hstack([np.ones((20_000, 1)), random.normal(size=(20_000, 2))])
    planted = np.array([[0.0, 0.5, -0.5], [0.0, 1.0, -1.0], [0.0, -0.5, 0.8]])
    margin = design @ planted
    chance = np.exp(margin) / np.exp(margin).sum(axis=1, keepdims=True)
    target = (random.random(20_000)[:, None] > chance.cumsum(axis=1)).sum(axis=1)
    found = design @ forecast._logistic(design, target, 3, penalty=0.1)
    estimated = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    assert np.abs(estimated - chance).mean() < 0.01


# ---------------------------------------------------------------- RFM


@pytest.mark.parametrize(
    "counted", [rfm.Counted(), rfm.Counted(6, "out"), rfm.Counted(12, "all", ("groceries", "rent"))]
)
def test_rfm_is_what_pandas_counts(
    wh: warehouse.Warehouse, tables: dict[str, pd.DataFrame], counted: rfm.Counted
) -> None:
    found = rfm.measure(wh.snapshot(LAST), counted).set_index("customer_id")
    moved = tables["transactions"]
    end = pd.Timestamp(LAST) + pd.Timedelta(days=1)
    moved = moved[(moved["occurred_at"] < end) & (moved["occurred_at"] >= end - pd.DateOffset(months=counted.months))]
    if counted.kind == "out":
        moved = moved[moved["amount_minor"] < 0]
    if counted.categories:
        moved = moved[moved["category"].isin(counted.categories)]
    by = moved.groupby("customer_id")
    assert (found["frequency"] == by.size().reindex(found.index, fill_value=0)).all()
    turnover = by["amount_minor"].agg(lambda amounts: amounts.abs().sum()).reindex(found.index, fill_value=0)
    assert (found["monetary"] == turnover).all()
    days = (pd.Timestamp(LAST) - by["occurred_at"].max().dt.normalize()).dt.days.reindex(found.index)
    assert np.allclose(found["recency"], days, equal_nan=True)


def naive_points(value: float, cuts: tuple[float, ...]) -> int:
    return 1 + sum(value > cut for cut in cuts)


def test_points_and_cells_of_rfm_are_what_a_loop_gives(wh: warehouse.Warehouse) -> None:
    model = rfm.fit(wh.snapshot(FIRST))
    table = model.measure(wh.snapshot(LAST))
    points, members = model.scores(table), model.assign(table)
    for row, got, cell in zip(table.itertuples(), points.itertuples(), members["segment"], strict=True):
        if row.frequency == 0:
            assert (got.r, got.f, got.m, cell) == (0, 0, 0, "inactive")
            continue
        r = 6 - naive_points(row.recency, model.cuts["recency"])
        f, m = naive_points(row.frequency, model.cuts["frequency"]), naive_points(row.monetary, model.cuts["monetary"])
        assert (got.r, got.f, got.m) == (r, f, m)
        value = (f + m) / 2
        if r >= 4:
            expected = "champions" if value >= 4 else "potential" if value >= 2.5 else "recent"
        elif r == 3:
            expected = "loyal" if value >= 4 else "attention"
        else:
            expected = "at_risk" if value >= 2.5 else "hibernating"
        assert cell == expected
    assert rfm.RFM.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_quintiles_without_ties_make_five_equal_groups() -> None:
    numbers = np.random.default_rng(1).permutation(np.arange(1, 1_001))
    table = pd.DataFrame(
        {
            "customer_id": numbers.astype(str),
            "as_of": pd.Timestamp(FIRST),
            "recency": numbers,
            "frequency": numbers,
            "monetary": numbers,
        }
    )
    points = rfm.fit_table(table).scores(table)
    for letter in "rfm":
        assert points[letter].value_counts().to_dict() == dict.fromkeys(range(1, 6), 200)
    assert points.loc[table["recency"] == 1, "r"].item() == 5, "the latest gets the most points"


def test_equal_values_get_equal_points_whatever_the_ties() -> None:
    frequency = np.r_[np.ones(700), np.arange(2, 302)]
    table = pd.DataFrame(
        {
            "customer_id": np.arange(1_000).astype(str),
            "as_of": pd.Timestamp(FIRST),
            "recency": np.arange(1_000) % 90,
            "frequency": frequency,
            "monetary": np.arange(1_000),
        }
    )
    points = rfm.fit_table(table).scores(table)
    assert points.groupby(frequency)["f"].nunique().eq(1).all()
    assert points["f"][frequency == 1].iloc[0] == 1 and points["f"].max() == 5


def test_cut_points_of_ones_own_and_the_reasons_of_a_move(wh: warehouse.Warehouse) -> None:
    cuts = {"recency": (10, 30, 60, 120), "frequency": (3, 6, 12, 30), "monetary": (1e4, 1e5, 5e5, 2e6)}
    model = rfm.fit(wh.snapshot(FIRST), cuts=cuts)
    tables = [model.measure(wh.snapshot(day)) for day in (FIRST, LAST)]
    why = moves.reasons(model, *tables)
    assert set(why["measure"]) <= set(rfm.AXES) and (why["part"] > 0).all()
    assert why.groupby("customer_id")["part"].sum().le(1 + 1e-9).all()
    found = segments.profile(model, tables[-1], model.assign(tables[-1]))
    assert set(found["measure"]) == set(rfm.AXES)


# ---------------------------------------------------------------- store and job


@pytest.fixture(scope="module")
def home(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "warehouse").mkdir()
    build.from_frames(folder / "warehouse" / "v000001.duckdb", tables)
    from crmlib.store.tables import Pointer, Version

    with session.session(folder) as opened:
        opened.add(
            Version(
                version=1, state="published", file="v000001.duckdb", format_version=1, created_at=NOW, published_at=NOW
            )
        )
        opened.flush()
        opened.merge(Pointer(name="served", version=1))
        opened.commit()
    segment_jobs.segment(folder, stages=Stages(quiet=True), as_of=LAST)
    return folder


def test_the_job_saves_memberships_of_five_dates_and_keeps_the_fit(home: Path) -> None:
    for name in ("rfm", "behaviour"):
        sets = segment_sets.dates(home, name)
        assert [str(one.as_of) for one in sets] == list(DATES)
        assert {one.fitted_as_of for one in sets} == {dt.date.fromisoformat(FIRST)} and all(one.run_id for one in sets)
    model, newest = segment_jobs.load(home)
    segment_jobs.segment(home, stages=Stages(quiet=True), as_of=LAST)
    again, later = segment_jobs.load(home)
    assert again == model and later.segment_set_id > newest.segment_set_id
    table = segment_sets.read(home, later)
    assert list(table) == list(segment_sets.COLUMNS)
    assert set(table["segment"]) <= set(later.description["segments"]) == set(model.segments)
    traits = [one for told in later.description["segments"].values() for one in told["traits"]]
    assert traits and all(one["low"] <= one["value"] <= one["high"] for one in traits)


def test_newest_of_a_date_and_what_is_not_there(home: Path) -> None:
    assert segment_sets.newest(home, "rfm").as_of == dt.date.fromisoformat(LAST)
    assert segment_sets.newest(home, "rfm", as_of=dt.date(2025, 6, 30)).as_of == dt.date(2025, 6, 30)
    with pytest.raises(NotFoundError, match="no members of the segmentation 'rfm' as of 2020-01-01"):
        segment_sets.newest(home, "rfm", as_of=dt.date(2020, 1, 1))
    with pytest.raises(NotFoundError, match="unknown segmentation 'lifestyle': there are behaviour, rfm"):
        segment_sets.newest(home, "lifestyle")
    with pytest.raises(NotFoundError, match="unknown segmentation 'rfm': there is none yet"):
        segment_sets.newest(home / "elsewhere", "rfm")


def test_what_was_tampered_with_is_refused(home: Path) -> None:
    found = segment_sets.newest(home, "behaviour")
    changed = {**found.description, "model": {**found.description["model"], "seed": 8}}
    with pytest.raises(EnvironmentFault, match="'behaviour' was changed since it was fitted"):
        segments.restore(changed)
    with pytest.raises(NotFoundError, match="unknown segmentation 'moon'; there are behaviour, rfm"):
        segments.restore({"kind": "moon"})
    file = home / found.file
    kept = file.read_bytes()
    file.write_bytes(kept[:-1])
    with pytest.raises(EnvironmentFault, match="missing or changed since it was written; assign the customers again"):
        segment_sets.read(home, found)
    file.write_bytes(kept)


def save(home: Path, table: pd.DataFrame, **other: Any) -> int:
    given = {"data": home, "segmentation": "rfm", "fitted_as_of": dt.date(2024, 12, 31), "as_of": dt.date(2024, 12, 31)}
    return segment_sets.save(table, **{**given, "warehouse_version": 1, "description": {}, "now": NOW, **other})


def test_what_is_no_membership_is_not_saved(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"customer_id": ["1", "2"], "as_of": pd.Timestamp("2024-12-31"), "segmentation": "rfm", "segment": "loyal"}
    )
    with pytest.raises(DataError, match="memberships lack the columns segment"):
        save(tmp_path, table.drop(columns="segment"))
    with pytest.raises(DataError, match="customer 1 is there twice"):
        save(tmp_path, table.assign(customer_id="1"))
    with pytest.raises(DataError, match="not all rows are of the segmentation 'rfm' as of 2025-01-01"):
        save(tmp_path, table, as_of=dt.date(2025, 1, 1))
    assert not list((tmp_path).rglob("*.parquet"))
    number = save(tmp_path, table)
    with session.session(tmp_path) as opened:
        assert opened.scalar(sa.select(SegmentSet.rows).where(SegmentSet.segment_set_id == number)) == 2


def test_the_notebook_reads_what_the_job_saved_and_concludes_from_it(home: Path) -> None:
    import nbformat

    from crmlib.runs import notebooks

    executed = notebooks.run(
        Path(__file__).parents[1] / "notebooks" / "03_segments.ipynb", {"language": "ru"}, data=home
    )
    said = nbformat.read(executed, as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert "There are **3** segments, separate groups that repeat" in said
    tables = [segment_sets.read(home, one) for one in segment_sets.dates(home, "behaviour")]
    stayed = moves.habit(
        tables[-2:], segments=segments.restore(segment_sets.newest(home, "behaviour").description).segments
    )
    assert f"**{stayed['stayed'].iloc[0]:.1%}**" in said


# ---------------------------------------------------------------- bad input


def test_too_few_customers(measured: list[pd.DataFrame], fitted: behavioural.Behavioural) -> None:
    spec = features.from_json(fitted.specification)
    with pytest.raises(DataError, match="100 customers are too few to segment by behaviour; it takes at least 300"):
        behavioural.fit_table(measured[0].head(100), spec)
    table = pd.DataFrame(
        {"customer_id": ["1"], "as_of": pd.Timestamp(FIRST), "recency": 1.0, "frequency": 1, "monetary": 1}
    )
    with pytest.raises(DataError, match="1 customers with transactions are too few for the quantiles of RFM"):
        rfm.fit_table(table)


def test_everybody_alike(measured: list[pd.DataFrame], fitted: behavioural.Behavioural) -> None:
    flat = pd.concat([measured[0].head(1)] * 400, ignore_index=True)
    with pytest.raises(DataError, match="all customers behave alike: every measure of behaviour is constant"):
        behavioural.fit_table(flat, features.from_json(fitted.specification))
    same = pd.DataFrame(
        {
            "customer_id": np.arange(60).astype(str),
            "as_of": pd.Timestamp(FIRST),
            "recency": 3.0,
            "frequency": 2,
            "monetary": 5,
        }
    )
    with pytest.raises(DataError, match="recency is 3 for everybody; give cuts= of your own"):
        rfm.fit_table(same)


def test_before_the_fit(wh: warehouse.Warehouse, fitted: behavioural.Behavioural, home: Path) -> None:
    early = fitted.measure(wh.snapshot("2024-09-30"))
    with pytest.raises(DataError, match="as_of 2024-09-30 is before the segmentation 'behaviour' was fitted"):
        fitted.assign(early)
    with pytest.raises(DataError, match="as_of 2024-09-30 is before the segmentation 'rfm' was fitted"):
        rfm.fit(wh.snapshot(FIRST)).assign(rfm.measure(wh.snapshot("2024-09-30")))
    with pytest.raises(DataError, match="as_of 2024-09-30 is before the saved segments were fitted"):
        segment_jobs.segment(home, stages=Stages(quiet=True), as_of="2024-09-30")


def test_missing_measures(
    fitted: behavioural.Behavioural, measured: list[pd.DataFrame], wh: warehouse.Warehouse
) -> None:
    with pytest.raises(DataError, match="the table of behaviour has no column activity"):
        fitted.assign(measured[0].drop(columns="activity"))
    with pytest.raises(DataError, match="the table of RFM has no column monetary"):
        rfm.fit(wh.snapshot(FIRST)).assign(measured[0].assign(recency=1, frequency=1))
    with pytest.raises(DataError, match="members have no row in the table of measures"):
        segments.profile(fitted, measured[0].head(50), fitted.assign(measured[0]))


def test_rfm_settings_that_make_no_sense(wh: warehouse.Warehouse) -> None:
    with pytest.raises(UsageError, match="kind is 'up'; use one of all, out, in"):
        rfm.Counted(kind="up")
    with pytest.raises(UsageError, match="months is 0"):
        rfm.Counted(months=0)
    with pytest.raises(UsageError, match=r"the cut points of recency are \[3.0, 1.0\]; give 4 rising numbers"):
        rfm.fit(wh.snapshot(FIRST), cuts={"recency": (3, 1)})
