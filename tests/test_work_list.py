"""The work list of consultants: who is on it, in whose hands, why, what to do, at what cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_retention
import numpy as np
import pandas as pd
import pytest

from crmlib import paths, warehouse
from crmlib.decisions import work_list as listing
from crmlib.decisions.work_list import work_list
from crmlib.errors import DataError, UsageError
from crmlib.runs import retention_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse.snapshot import Snapshot

COMPANY = made_retention.COMPANY


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work_list")
    made_retention.make(folder, customers=2_500)
    retention_jobs.retention(folder, stages=Stages(quiet=True))
    return folder


@pytest.fixture(scope="module")
def snapshot(data: Path) -> Snapshot:
    return warehouse.open(paths.warehouse(data)).snapshot(made_retention.AS_OF)


@pytest.fixture(scope="module")
def decided(data: Path) -> pd.DataFrame:
    return score_sets.read(data, score_sets.newest(data, "retention"))


@pytest.fixture(scope="module")
def tasks(snapshot: Snapshot, decided: pd.DataFrame) -> pd.DataFrame:
    return work_list(snapshot, decided, company=COMPANY)


def codes(text: str) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in json.loads(text)}


def test_on_it_are_calls_that_pay_and_complaints_of_customers_worth_keeping(
    snapshot: Snapshot, decided: pd.DataFrame, tasks: pd.DataFrame
) -> None:
    keep = tasks[tasks["task"] == listing.KEEP]
    assert set(keep["customer_id"]) == set(decided.loc[decided["action"] == "call", "customer_id"])
    assert (keep["net_minor"] > 0).all() and (keep["minutes"] == 8).all() and (keep["cost_minor"] == 500).all()
    complaints = snapshot.table("complaints")
    waiting = set(complaints.loc[complaints["resolved_at"].isna(), "customer_id"])
    owed = tasks[tasks["task"] == listing.COMPLAINT]
    worth = decided.loc[decided["value_at_stake_minor"] > 0, "customer_id"]
    assert set(owed["customer_id"]) == waiting & set(worth) and len(owed)
    assert owed[["saving_minor", "net_minor"]].isna().all(axis=None), "what an answer saves was never measured"
    assert not tasks["customer_id"].duplicated().any()


def test_tasks_are_in_the_hands_of_who_still_works_there(snapshot: Snapshot, tasks: pd.DataFrame) -> None:
    customers = snapshot.table("customers", ["customer_id", "branch_id", "employee_id"])
    both = tasks.merge(customers, on="customer_id", validate="one_to_one", suffixes=("", "_now"))
    assert (both["branch_id"] == both["branch_id_now"]).all()
    here = both["employee_id_now"].isin(["E1", "E2"])
    assert (both.loc[here, "employee_id"] == both.loc[here, "employee_id_now"]).all() and here.any()
    assert (both.loc[~here, "employee_id"] == "").all() and (both["employee_id_now"] == "E9").any()


def test_each_list_begins_with_what_is_owed_then_with_what_leaves_most(tasks: pd.DataFrame) -> None:
    for _, own in tasks.groupby(["branch_id", "employee_id"]):
        assert own["rank"].tolist() == list(range(1, len(own) + 1))
        kinds = own["task"].tolist()
        assert kinds == sorted(kinds, key=lambda kind: kind != listing.COMPLAINT)
        net = own.loc[own["task"] == listing.KEEP, "net_minor"].to_numpy()
        assert (np.diff(net) <= 0).all()


def test_at_most_so_many_tasks_each(snapshot: Snapshot, decided: pd.DataFrame, tasks: pd.DataFrame) -> None:
    few = work_list(snapshot, decided, company=COMPANY, most=3)
    assert few.groupby(["branch_id", "employee_id"]).size().max() == 3
    expected = tasks[tasks["rank"] <= 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, expected)


def test_why_and_what_follow_from_the_customers_own_records(
    snapshot: Snapshot, decided: pd.DataFrame, tasks: pd.DataFrame
) -> None:
    average = decided["risk_90"].mean()
    advice = {"price": "review_fees", "competitor": "compare_offers", "service": "put_right", "death_or_moving": "ask"}
    complaints = snapshot.table("complaints").set_index("customer_id")
    for row in tasks.itertuples():
        why, what = codes(row.why), codes(row.what)
        if "risk" in why:
            assert why["risk"]["times"] == pytest.approx(row.risk_90 / average, abs=0.006)
        assert why["value"]["minor"] == round(row.value_at_stake_minor)
        if row.task == listing.KEEP:
            assert list(what) == [advice[why["leaving_reason"]["reason"]]]
            assert "complaint_open" not in why, "nobody with an open complaint is contacted to be kept"
        else:
            assert why["complaint_open"] == {"code": "complaint_open", "topic": "fees", "days": 12}
            assert list(what) == ["settle_complaint"] and row.customer_id in complaints.index
    assert any("complaint_recent" in codes(text) for text in tasks["why"])


def test_loyalty_and_points_are_told_where_they_are_known(
    snapshot: Snapshot, decided: pd.DataFrame, tasks: pd.DataFrame
) -> None:
    ids = tasks.loc[tasks["task"] == listing.KEEP, "customer_id"].tolist()
    everyone = decided["customer_id"].tolist()
    loyalty = pd.DataFrame({"customer_id": everyone, "index": 60.0, "nps": np.nan, "group": ""})
    loyalty.loc[loyalty["customer_id"] == ids[0], ["index", "nps", "group"]] = [12.4, 3.0, "detractor"]
    loyalty.loc[loyalty["customer_id"] == ids[1], "index"] = 90.0
    loyalty.loc[~loyalty["customer_id"].isin(ids), "index"] = np.linspace(20, 80, len(everyone) - len(ids))
    points = pd.DataFrame({"customer_id": ids[:2], "expiring_90": [0, 420]})
    found = work_list(snapshot, decided, company=COMPANY, loyalty=loyalty, points=points).set_index("customer_id")
    first, second = (codes(found.loc[name, "why"]) for name in ids[:2])
    assert first["detractor"]["score"] == 3 and first["loyalty_low"]["index"] == 12
    assert "detractor" not in second and "loyalty_low" not in second
    assert "remind_points" not in codes(found.loc[ids[0], "what"])
    assert codes(found.loc[ids[1], "what"])["remind_points"]["points"] == 420


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot) -> Any:
    """Put complaints in the place of those of the warehouse: customer_id, days ago, topic, resolved."""
    table = Snapshot.table

    def put(rows: list[tuple[str, int, str, bool]]) -> None:
        day = pd.Timestamp(snapshot.as_of) + pd.Timedelta(days=1)
        made = pd.DataFrame(rows, columns=["customer_id", "days", "topic", "resolved"])
        made["opened_at"] = day - pd.to_timedelta(made.pop("days"), unit="D")
        made["resolved_at"] = made["opened_at"].where(made.pop("resolved"))
        monkeypatch.setattr(
            Snapshot,
            "table",
            lambda self, name, *args, **more: made if name == "complaints" else table(self, name, *args, **more),
        )

    return put


def test_complaints_open_for_longer_than_180_days_are_no_task_and_no_reason(
    snapshot: Snapshot, decided: pd.DataFrame, complaints: Any
) -> None:
    worth = decided[(decided["value_at_stake_minor"] > 0) & (decided["action"] == "")]["customer_id"].tolist()
    complaints([(worth[0], 180, "fees", False), (worth[1], 181, "fees", False)])
    tasks = work_list(snapshot, decided, company=COMPANY)
    assert tasks.loc[tasks["task"] == listing.COMPLAINT, "customer_id"].tolist() == [worth[0]]
    kept = decided.loc[decided["action"] == "call", "customer_id"].tolist()
    complaints([(kept[0], 181, "fees", True), (kept[1], 180, "fees", True)])
    why = work_list(snapshot, decided, company=COMPANY).set_index("customer_id")["why"]
    assert "complaint_recent" not in codes(why[kept[0]]) and codes(why[kept[1]])["complaint_recent"]["days"] == 180


def test_the_topic_told_is_that_of_the_complaint_still_open_not_of_a_later_one(
    snapshot: Snapshot, decided: pd.DataFrame, complaints: Any
) -> None:
    name = decided[(decided["value_at_stake_minor"] > 0) & (decided["action"] == "")]["customer_id"].iloc[0]
    complaints([(name, 50, "card", True), (name, 30, "fees", False), (name, 20, "loan", False), (name, 5, "app", True)])
    row = work_list(snapshot, decided, company=COMPANY).set_index("customer_id").loc[name]
    assert codes(row["why"])["complaint_open"] == {"code": "complaint_open", "topic": "fees", "days": 30}


def test_bad_input_is_answered(snapshot: Snapshot, decided: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="most is 0; give the most tasks"):
        work_list(snapshot, decided, company=COMPANY, most=0)
    with pytest.raises(DataError, match="the table of decisions has no column reason, saving_minor; give a table of"):
        work_list(snapshot, decided.drop(columns=["reason", "saving_minor"]), company=COMPANY)
    nobody = work_list(snapshot, decided.iloc[:0], company=COMPANY)
    assert nobody.empty and list(nobody) == listing.COLUMNS
