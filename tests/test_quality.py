"""Quality and freshness: every figure against a count by hand or a naive reading in pandas."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crmlib.errors import DataError
from crmlib.store import session
from crmlib.store.tables import Load
from crmlib.warehouse import build, quality, schema, snapshot

TODAY = dt.date(2025, 12, 31)


def made(folder: Path, frames: dict[str, pd.DataFrame]) -> snapshot.Warehouse:
    build.from_frames(folder / "v.duckdb", frames)
    return snapshot.open_file(folder / "v.duckdb")


def of(checked: pd.DataFrame, table: str) -> pd.DataFrame:
    return checked[checked["table"] == table].set_index("column")


def transactions(days: list[str], **columns: object) -> pd.DataFrame:
    number = [f"t{i}" for i in range(len(days))]
    return pd.DataFrame({"transaction_id": number, "customer_id": "a", "occurred_at": days, "amount_minor": 1}).assign(
        **columns
    )


DAILY = [f"{day:%Y-%m-%d}" for day in pd.date_range("2025-12-01", "2025-12-31")]


def test_fullness_validity_and_distinct_values_are_counted(tmp_path: Path) -> None:
    customers = pd.DataFrame(
        {
            "customer_id": list("abcd"),
            "valid_from": "2025-06-01",
            "children": [0, 2, 31, None],
            "gender": ["female", "femal", None, "male"],
            "region": ["north", "north", None, "south"],
        }
    )
    found = quality.check(made(tmp_path, {"customers": customers, "transactions": transactions(DAILY)}))
    assert len(found) == sum(len(schema.source_columns(table)) for table in schema.tables().values())
    assert found.dtypes.astype(str).to_dict() == quality._CHECKED
    rows = of(found, "customers")
    assert (rows["rows"] == 4).all()
    assert rows["completeness"][["children", "gender", "region", "phone"]].tolist() == [0.75, 0.75, 0.75, 0]
    assert rows["validity"][["children", "gender", "region"]].tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert np.isnan(rows["validity"]["phone"])
    assert rows["distinct"][["children", "gender", "region", "phone"]].tolist() == [3, 3, 2, 0]
    assert rows["freshness"]["phone"] == "empty"
    nothing = of(found, "complaints")
    assert (nothing["rows"] == 0).all() and (nothing["completeness"] == 0).all()
    assert (nothing["freshness"] == "empty").all()


def test_repeated_keys_and_people_who_look_alike_are_counted(tmp_path: Path) -> None:
    people = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c", "d", "e", "f"],
            "valid_from": "2025-06-01",
            "given_name": ["Ann", "Ann", "Ann", "Bob", "Bob", None],
            "family_name": ["Lee", "Lee", "Lee", "Ray", "Ray", None],
            "birth_date": ["1980-01-01", "1980-01-01", "1990-01-01", "1970-05-05", "1970-05-05", None],
        }
    )
    balances = pd.DataFrame(
        {"holding_id": ["h", "h", "h"], "balance_date": ["2025-11-30", "2025-11-30", "2025-12-31"]}
    ).assign(customer_id="a", balance_minor=[1, 2, 3])
    found = quality.check(made(tmp_path, {"customers": people, "balances": balances}))
    duplicates = of(found, "customers")["duplicates"]
    assert duplicates[list(quality.LOOK_ALIKE)].tolist() == [4, 4, 4]
    assert duplicates.drop(list(quality.LOOK_ALIKE)).eq(0).all()
    assert of(found, "balances")["duplicates"].to_dict() == {
        "holding_id": 1,
        "balance_date": 1,
        "customer_id": 0,
        "balance_minor": 0,
        "currency": 0,
    }
    summary = quality.summary(found).set_index("table")
    assert summary.loc["customers", ["duplicates", "look_alikes"]].tolist() == [0, 4]
    assert summary.loc["balances", ["duplicates", "grade", "finding"]].tolist() == [1, "poor", "duplicates"]


def test_a_value_is_as_old_as_its_last_change_or_full_confirmation(tmp_path: Path) -> None:
    customers = pd.DataFrame(
        [
            # region stated 1000 days ago, a changed income does not confirm it
            ("a", "2023-04-06", "north", 100),
            ("a", "2025-12-21", "north", 200),
            # a row that changes nothing confirms everything
            ("b", "2023-04-06", "north", 100),
            ("b", "2025-12-11", "north", 100),
            # changed there and back: the change back counts
            ("c", "2023-04-06", "north", 100),
            ("c", "2025-12-01", "south", 100),
            ("c", "2025-12-30", "north", 100),
            # emptied: there is no value to be old
            ("d", "2023-04-06", "north", 100),
            ("d", "2025-12-30", None, 100),
        ],
        columns=["customer_id", "valid_from", "region", "income_minor"],
    )
    wh = made(tmp_path, {"customers": customers, "transactions": transactions(DAILY)})
    found = of(quality.check(wh.snapshot(TODAY)), "customers")
    assert found.loc["region", "median_age_days"] == np.median([1000, 20, 1])
    assert found.loc["region", "newest"] == pd.Timestamp("2025-12-30")
    assert found.loc["region", "age_days"] == 1
    assert found.loc["income_minor", "median_age_days"] == np.median([10, 20, 1000, 1000])
    assert found.loc["income_minor", "stale_share"] == 0.5
    assert found.loc["region", "stale_share"] == 0
    assert found.loc["income_minor", "freshness"] == "stale"
    assert found.loc["region", "freshness"] == "fresh"
    assert found.loc["customer_id", "freshness"] == "lasting"


def test_ages_agree_with_a_naive_reading(tmp_path: Path) -> None:
    chance = np.random.default_rng(11)
    days = pd.date_range("2022-01-01", "2025-12-31")
    history = pd.DataFrame(
        {
            "customer_id": chance.choice(list("abcdefgh"), 60),
            "valid_from": chance.choice(days, 60),
            "occupation": chance.choice(["baker", "nurse", None], 60),
            "marital_status": chance.choice(["single", "married"], 60),
        }
    ).drop_duplicates(["customer_id", "valid_from"])
    wh = made(tmp_path, {"customers": history, "transactions": transactions(DAILY)})
    found = of(quality.check(wh, TODAY), "customers")
    ages: dict[str, list[int]] = {"occupation": [], "marital_status": []}
    for _, own in history.sort_values("valid_from").groupby("customer_id"):
        previous: dict[str, object] = dict.fromkeys(ages)
        since: dict[str, pd.Timestamp] = {}
        for stated in own.to_dict("records"):
            row = {key: None if pd.isna(value) else value for key, value in stated.items()}
            changed = [name for name in ages if row[name] != previous[name]]
            for name in changed or list(ages):
                since[name] = row["valid_from"]
            previous = {name: row[name] for name in ages}
        for name, found_ages in ages.items():
            if previous[name] is not None:
                found_ages.append((pd.Timestamp(TODAY) - since[name]).days)
    for name, expected in ages.items():
        assert found.loc[name, "median_age_days"] == np.median(expected)
        assert found.loc[name, "age_days"] == min(expected)
        assert found.loc[name, "stale_share"] == pytest.approx(np.mean([age > 730 for age in expected]))


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (DAILY, "fresh"),
        (DAILY[:-2], "fresh"),  # two days without: twice the usual gap
        (DAILY[:-3], "late"),
        (["2025-09-30", "2025-10-31", "2025-11-30"], "fresh"),  # monthly figures are not late after a month
        (["2025-05-31", "2025-06-30", "2025-07-31"], "late"),
    ],
)
def test_a_table_is_late_when_it_is_silent_for_twice_its_usual_gap(
    tmp_path: Path, days: list[str], verdict: str
) -> None:
    found = of(quality.check(made(tmp_path, {"transactions": transactions(days)}), TODAY), "transactions")
    assert found.loc["amount_minor", "freshness"] == verdict
    assert found.loc["amount_minor", "age_days"] == (TODAY - dt.date.fromisoformat(days[-1])).days
    assert found.loc["amount_minor", "newest"] == pd.Timestamp(days[-1])


def test_a_field_that_stopped_being_filled_is_named(tmp_path: Path) -> None:
    often = ["card"] * 20 + [None] * 11
    seldom = ["loan"] * 3 + [None] * 28
    frame = transactions(DAILY, channel=often, product_id=seldom)
    found = quality.check(made(tmp_path, {"transactions": frame}), TODAY)
    rows = of(found, "transactions")
    assert rows["freshness"][["channel", "product_id", "amount_minor"]].tolist() == ["stopped", "fresh", "fresh"]
    assert rows["age_days"][["channel", "product_id"]].tolist() == [11, 28]
    summary = quality.summary(found).set_index("table").loc["transactions"]
    assert (summary["grade"], summary["finding"]) == ("fair", "stopped")


def test_only_what_was_known_then_counts(tmp_path: Path) -> None:
    frame = transactions(DAILY, channel=["card"] * 10 + [None] * 21)
    wh = made(tmp_path, {"transactions": frame})
    early = of(quality.check(wh.snapshot("2025-12-10")), "transactions")
    assert early.loc["channel", ["rows", "completeness", "age_days"]].tolist() == [10, 1.0, 0]
    late = of(quality.check(wh.snapshot("2025-12-31")), "transactions")
    assert late.loc["channel", "rows"] == 31
    assert late.loc["channel", "age_days"] == 21
    assert of(quality.check(wh), "transactions").equals(late)


def test_a_superseded_row_is_not_counted(tmp_path: Path) -> None:
    frame = pd.concat([transactions(DAILY), transactions(DAILY[:1])]).assign(
        recorded_at=pd.Timestamp("2025-12-31"), superseded_at=[None] * 31 + ["2026-01-01"]
    )
    found = of(quality.check(made(tmp_path, {"transactions": frame})), "transactions")
    assert found.loc["transaction_id", ["rows", "duplicates"]].tolist() == [31, 0]


@pytest.mark.parametrize(
    ("frame", "grade", "finding"),
    [
        (transactions(DAILY), "good", "ok"),
        (transactions(DAILY, amount_minor=[1] * 30 + [None]), "poor", "incomplete"),
        (transactions(DAILY, product_id=["m"] + [None] * 30, channel="card"), "good", "ok"),  # many have no product
        (transactions(DAILY[:5]), "poor", "late"),
        (transactions([]), "empty", "empty"),
    ],
)
def test_a_table_gets_the_grade_of_its_worst_finding(
    tmp_path: Path, frame: pd.DataFrame, grade: str, finding: str
) -> None:
    found = quality.summary(quality.check(made(tmp_path, {"transactions": frame}), TODAY)).set_index("table")
    assert list(found.index) == list(schema.tables())
    assert found.loc["transactions", ["grade", "finding"]].tolist() == [grade, finding]
    assert set(found["grade"]) <= set(quality.GRADES)


def test_a_customer_attribute_that_is_mostly_empty_is_a_gap(tmp_path: Path) -> None:
    customers = pd.DataFrame({"customer_id": list("abc"), "valid_from": "2025-12-01", "phone": ["1", None, None]})
    found = quality.check(made(tmp_path, {"customers": customers.assign(closed_on=[None, None, "2025-12-05"])}), TODAY)
    row = quality.summary(found).set_index("table").loc["customers"]
    assert (row["grade"], row["finding"]) == ("fair", "gaps")


def test_invalid_values_make_a_table_poor(tmp_path: Path) -> None:
    complaints = pd.DataFrame({"complaint_id": ["a", "b"], "customer_id": "c", "opened_at": "2025-12-31"})
    found = quality.check(made(tmp_path, {"complaints": complaints.assign(severity=[5, 6])}), TODAY)
    row = quality.summary(found).set_index("table").loc["complaints"]
    assert (row["validity"], row["grade"], row["finding"]) == (0.5, "poor", "invalid")


def test_a_warehouse_without_events_needs_a_day(tmp_path: Path) -> None:
    wh = made(tmp_path, {})
    with pytest.raises(DataError, match="holds no events; say which day it is with today="):
        quality.check(wh)
    assert (quality.summary(quality.check(wh, TODAY))["grade"] == "empty").all()


# ---------------------------------------------------------------- quarantine


def _refused(data: Path, load_id: int, rows: list[tuple[str, int]]) -> str:
    frame = pd.DataFrame(rows, columns=["file", "line"]).assign(
        load_id=load_id,
        table="customers",
        sha256="0",
        column="born",
        fills="birth_date",
        rule="date",
        value="31.2.",
        remedy="write a date",
    )
    (data / "quarantine").mkdir(exist_ok=True)
    frame.to_parquet(data / "quarantine" / f"load-{load_id:06d}.parquet")
    return f"quarantine/load-{load_id:06d}.parquet"


def test_quarantine_shows_each_source_as_it_was_last_loaded(tmp_path: Path) -> None:
    loads = [
        ({"old.csv": {}, "clients.csv": {}}, _refused(tmp_path, 1, [("old.csv", 3), ("clients.csv", 7)])),
        ({"clients.csv": {}}, _refused(tmp_path, 2, [("clients.csv", 9), ("clients.csv", 11)])),
        ({"sales.csv": {}}, None),
    ]
    with session.session(tmp_path) as store:
        for sources, report in loads:
            now = dt.datetime(2026, 1, 5)
            store.add(
                Load(
                    state="accepted",
                    started_at=now,
                    recorded_at=now,
                    fingerprint="",
                    sources=sources,
                    quarantine=report,
                )
            )
        store.commit()
    found = quality.quarantine(tmp_path)
    assert found[["load_id", "file", "line"]].values.tolist() == [
        [2, "clients.csv", 9],
        [2, "clients.csv", 11],
        [1, "old.csv", 3],
    ]
    assert list(found.columns) == list(quality._QUARANTINE)
    assert found["remedy"].eq("write a date").all()


def test_a_source_loaded_without_faults_later_is_in_order(tmp_path: Path) -> None:
    report = _refused(tmp_path, 1, [("clients.csv", 7)])
    with session.session(tmp_path) as store:
        for quarantined in (report, None):
            now = dt.datetime(2026, 1, 5)
            store.add(
                Load(
                    state="accepted",
                    started_at=now,
                    recorded_at=now,
                    fingerprint="",
                    sources={"clients.csv": {}},
                    quarantine=quarantined,
                )
            )
        store.commit()
    found = quality.quarantine(tmp_path)
    assert found.empty and list(found.columns) == list(quality._QUARANTINE)
