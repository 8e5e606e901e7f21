"""Campaigns from plan to result: what is refused, who approves, what leaves in a list, what comes back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import made_campaigns
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from made_campaigns import CALL, EMAIL, ENDS, NOW, STARTS, plan

from crmlib import paths, warehouse
from crmlib.decisions import audiences, campaigns, eligibility, experiments, watermarks
from crmlib.decisions.campaigns import Arm, Plan, book, calendar, freeze
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.store import session, tables
from crmlib.warehouse import build
from crmlib.warehouse.company import Company

LATER = dt.datetime(2026, 1, 12, 8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made_campaigns.folder(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for tests that record nothing in it."""
    folder = tmp_path_factory.mktemp("shared")
    made_campaigns.folder(folder)
    return folder


def assigned(data: Path, **changed: Any) -> campaigns.Assignment:
    row = campaigns.draft(data, plan(**changed), now=NOW)
    row = campaigns.approve(data, row.campaign_id, revision=1, by="Boris", now=NOW)
    return campaigns.assign(data, row.campaign_id, revision=2, seed=7, now=NOW)


def load(data: Path, mapping: dict[str, Any], rows: pd.DataFrame, *, now: dt.datetime) -> None:
    path = data / f"{rows.columns[0]}-{now:%H%M%S}.csv"
    rows.to_csv(path, index=False)
    (name,) = mapping
    section = {"files": [path.name], "columns": {column: column for column in rows.columns}}
    warehouse.load([path], {"tables": {name: section}}, data=data, recorded_at=now)


def count_of(data: Path, table: Any) -> int:
    with session.session(data) as store:
        return int(store.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


# ---------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"arms": ()}, UsageError, "the campaign has no arms, so it would contact nobody"),
        (
            {"arms": (CALL, Arm("Gold by phone ", "deposit", "email"))},
            UsageError,
            "two arms are named 'Gold by phone '",
        ),
        ({"arms": (Arm("control", "deposit", "call"),)}, UsageError, "that is the name of the group left alone"),
        ({"arms": (Arm("a", "moon_loan", "call"),)}, NotFoundError, "there is no product 'moon_loan' on sale"),
        ({"arms": (Arm("a", "deposit", "pigeon"),)}, UsageError, "channel is 'pigeon'; use one of call, mail, email"),
        (
            {"arms": (Arm("a", "deposit", "event"),)},
            UsageError,
            "channel 'event' has no cost of contact; give cost_minor",
        ),
        ({"arms": (Arm("a", "deposit", "call", weight=0),)}, UsageError, "weight is 0; give a number above zero"),
        ({"control_share": 0.0}, UsageError, "control_share is 0.0, a control group of nobody; leave some alone"),
        ({"control_share": 1.0}, UsageError, "control_share is 1.0; give at most 0.9"),
        ({"ends_on": dt.date(2026, 1, 1)}, UsageError, "ends_on 2026-01-01 is before starts_on 2026-01-05"),
        ({"starts_on": dt.date(2026, 1, 1)}, DataError, r"starts_on 2026-01-01 is in the past \(today is 2026-01-02\)"),
        ({"starts_on": dt.date(2026, 1, 10), "ends_on": dt.date(2026, 1, 11)}, DataError, "every day from 2026-01-10"),
        (
            {"budget_minor": 1},
            DataError,
            "budget_minor 1 does not pay for one contact, which costs 2; raise the budget",
        ),
        ({"budget_minor": -5}, UsageError, "budget_minor is -5; give zero or more"),
        ({"capacities": {"call": 0}}, UsageError, "capacities: call is 0 a day, so nobody can be contacted"),
        ({"baseline": 0.5, "effect": 0.6}, UsageError, "baseline is 0.5 and effect 0.6; give shares between 0 and 1"),
        ({"within_days": 0}, UsageError, "within_days is 0; give one day or more"),
        ({"strata": ("horoscope",)}, UsageError, "strata: 'horoscope' is unknown; use region, segment, score"),
        ({"goal": " "}, UsageError, "goal is empty; a campaign is recorded with its name, its goal and its owner"),
        ({"audience_id": 99}, NotFoundError, "there is no audience number 99"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_in_one_sentence_and_nothing_is_recorded(
    shared: Path, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        campaigns.draft(shared, plan(**changed), now=NOW)
    assert "\n" not in str(caught.value)
    with pytest.raises(error, match=message):
        campaigns.look(shared, plan(**changed), today=NOW.date())
    assert count_of(shared, tables.Campaign) == 0


def test_a_plan_comes_back_from_the_store_as_it_was(data: Path) -> None:
    given = plan(capacities={"call": 5}, budget_minor=9_000, strata=("region", "score"), quiet_weekdays=(6,))
    row = campaigns.draft(data, given, now=NOW)
    assert row.campaign_id == "2026-01-gold-in-spring" and (row.state, row.revision) == ("draft", 1)
    assert campaigns.plan_of(campaigns.get(data, row.campaign_id)) == given
    again = campaigns.draft(data, given, now=NOW)
    assert again.campaign_id == "2026-01-gold-in-spring-2"
    assert [one.campaign_id for one in campaigns.planned(data)] == [row.campaign_id, again.campaign_id]


def test_two_people_who_edit_at_once_the_second_is_told(data: Path) -> None:
    row = campaigns.draft(data, plan(), now=NOW)
    campaigns.change(data, row.campaign_id, plan(goal="first"), revision=1, now=NOW)
    with pytest.raises(DataError, match=r"changed by somebody else meanwhile \(it is at revision 2, you saw 1\)"):
        campaigns.change(data, row.campaign_id, plan(goal="second"), revision=1, now=NOW)
    assert campaigns.plan_of(campaigns.get(data, row.campaign_id)).goal == "first"


def test_who_owns_a_campaign_does_not_approve_it_and_a_change_takes_the_approval_away(data: Path) -> None:
    row = campaigns.draft(data, plan(), now=NOW)
    with pytest.raises(UsageError, match="anna owns campaign 2026-01-gold-in-spring; somebody else approves it"):
        campaigns.approve(data, row.campaign_id, revision=1, by="anna", now=NOW)
    with pytest.raises(DataError, match="is draft, not approved; people are assigned once somebody other"):
        campaigns.assign(data, row.campaign_id, revision=1, seed=1, now=NOW)
    approved = campaigns.approve(data, row.campaign_id, revision=1, by="Boris", now=NOW)
    assert (approved.state, approved.approved_by, approved.approved_at) == ("approved", "Boris", NOW)
    changed = campaigns.change(data, row.campaign_id, plan(goal="other"), revision=2, now=NOW)
    assert (changed.state, changed.approved_by) == ("draft", None)
    with pytest.raises(DataError, match="is draft, so it cannot be finished; only if it is assigned"):
        campaigns.finish(data, row.campaign_id, revision=3, now=NOW)


# ---------------------------------------------------------------- what it would come to


def test_the_answer_counts_whom_each_arm_may_reach_and_says_whether_that_is_enough(shared: Path) -> None:
    found = campaigns.look(shared, plan(), today=NOW.date())
    assert found.audience == 600
    reached = {arm: 600 - rows["customers"].sum() for arm, rows in found.refusals.groupby("arm")}
    assert 100 < reached["gold by phone"] < 220 and 200 < reached["gold by e-mail"] < 330
    assert set(found.refusals["code"]) == {"no_consent"}
    assert found.members == found.may.any(axis=1).sum() and found.control == round(0.15 * found.members)
    assert not found.enough and found.needed.members > 10_000
    assert campaigns.look(shared, plan(baseline=0.2, effect=0.4), today=NOW.date()).enough
    assert found.schedule["contacts"].sum() == sum(found.contacts.values())
    assert count_of(shared, tables.Campaign) == 0


def test_sample_size_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    needed = experiments.sample_size(0.05, rate=0.10, control_share=0.2)
    theirs = NormalIndPower().solve_power(
        proportion_effectsize(0.15, 0.10), alpha=0.05, power=0.8, ratio=4.0, alternative="two-sided"
    )
    assert needed.control == pytest.approx(theirs, rel=0.12), "they use the arcsine, we the variances themselves"


def test_the_budget_and_the_capacity_hold_in_the_draw_itself(data: Path) -> None:
    for seed, budget in enumerate((600, 5_003, 20_001)):
        limits = {"budget_minor": budget, "capacities": {"call": 2, "email": 3}, "name": f"Limits {seed}"}
        made = assigned(data, **limits)
        assert 0 < made.cost_minor <= budget
        counts = made.members["channel"].value_counts()
        days = 20  # working days from 5 to 30 January
        assert counts.get("call", 0) <= 2 * days and counts.get("email", 0) <= 3 * days
        campaigns.cancel(data, made.campaign.campaign_id, revision=3, now=NOW)


def test_the_contact_plan_leaves_out_holidays_quiet_weekdays_and_what_is_above_capacity() -> None:
    company = Company(holidays=("2026-01-06",))
    days = book.plans.contact_days(plan(ends_on=dt.date(2026, 1, 12)), company)
    assert [day.day for day in days] == [5, 7, 8, 9, 12]
    table = calendar.schedule(
        {"call": 7, "email": 9}, days=days, capacities={"call": 2}, costs={"call": 500, "email": 2}
    )
    calls = table[table["channel"] == "call"]
    assert calls["contacts"].tolist() == [2, 2, 2, 1] and calls["cost_minor"].sum() == 3_500
    assert table.loc[table["channel"] == "email", "contacts"].tolist() == [9]


# ---------------------------------------------------------------- the assignment


def test_the_assignment_is_on_record_before_any_list_and_cannot_be_made_twice(data: Path) -> None:
    row = campaigns.draft(data, plan(), now=NOW)
    campaigns.approve(data, row.campaign_id, revision=1, by="Boris", now=NOW)
    with pytest.raises(DataError, match="is approved; a list can be exported once its people are assigned"):
        campaigns.release(data, row.campaign_id, actor="anna", now=NOW)
    made = campaigns.assign(data, row.campaign_id, revision=2, seed=7, now=NOW)
    assert list(made.members.columns) == freeze.MEMBERS
    kept = campaigns.get(data, row.campaign_id)
    assert (kept.state, kept.seed, kept.warehouse_version, kept.members) == ("assigned", 7, 1, len(made.members))
    pd.testing.assert_frame_equal(campaigns.members_of(data, kept), made.members, check_dtype=False)
    assert abs(made.members["control"].sum() - 0.15 * len(made.members)) < 1
    assert set(made.balance["arm"]) == {CALL.name, EMAIL.name}
    with pytest.raises(DataError, match="is assigned, not approved"):
        campaigns.assign(data, row.campaign_id, revision=3, seed=8, now=NOW)
    path = data / str(kept.members_file)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EnvironmentFault, match="missing or changed since it was written; put it back from a backup"):
        campaigns.release(data, row.campaign_id, actor="anna", now=NOW)


def test_somebody_who_changes_the_plan_meanwhile_stops_the_assignment_and_nothing_is_left(data: Path) -> None:
    row = campaigns.draft(data, plan(), now=NOW)
    campaigns.approve(data, row.campaign_id, revision=1, by="Boris", now=NOW)
    with pytest.raises(DataError, match="changed by somebody else meanwhile"):
        campaigns.assign(data, row.campaign_id, revision=1, seed=7, now=NOW)
    assert list((data / "campaigns" / row.campaign_id).iterdir()) == []
    assert campaigns.get(data, row.campaign_id).state == "approved"


def test_an_empty_audience_is_refused(shared: Path) -> None:
    empty = audiences.save(shared, "Nobody", audiences.complained(), now=NOW, actor="anna")
    with pytest.raises(DataError, match=r"audience 'Nobody' \(version 1\) is empty as of 2025-12-31; loosen"):
        campaigns.look(shared, plan(empty.audience_id), today=NOW.date())


def test_the_assignment_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        made_campaigns.folder(tmp_path / name)
        made.append(assigned(tmp_path / name).members)
    pd.testing.assert_frame_equal(*made)


# ---------------------------------------------------------------- the calendar


def entry(name: str, first: int, last: int, **changed: Any) -> calendar.Entry:
    days = [dt.date(2026, 1, day) for day in range(first, last + 1)]
    given: dict[str, Any] = {"products": frozenset({"card"}), "channels": frozenset({"call"})}
    given |= {"customers": pd.Index(["a", "b", "c"]), "capacities": {"call": 10}, "state": "assigned"}
    given |= {
        "schedule": calendar.schedule({"call": 10 * len(days)}, days=days, capacities={"call": 6}, costs={"call": 1.0})
    }
    return calendar.Entry(name, name, "plan", starts_on=days[0], ends_on=days[-1], **{**given, **changed})


def test_clashes_name_shared_customers_products_and_overloaded_days() -> None:
    here = entry("here", 5, 9)
    same = entry("same", 8, 12, customers=pd.Index(["b", "c", "d"]))
    found = calendar.clashes(here, [here, same, entry("after", 10, 12), entry("off", 5, 9, state="cancelled")])
    assert found["campaign_id"].tolist() == ["same"] * 3
    assert found["kind"].tolist() == ["customers", "product", "capacity"]
    assert found["number"].tolist() == [2, 0, 2], "two of three customers; 6 + 6 calls a day where 10 can be made"
    assert set(found["first_day"]) == {dt.date(2026, 1, 8)} and set(found["last_day"]) == {dt.date(2026, 1, 9)}
    other = entry("other", 5, 9, products=frozenset({"loan"}), channels=frozenset({"mail"}), customers=pd.Index(["x"]))
    assert calendar.clashes(here, [other]).empty


# ---------------------------------------------------------------- the list


def test_the_list_holds_those_treated_with_their_details_and_a_mark_and_never_the_control_group(data: Path) -> None:
    made = assigned(data, capacities={"call": 10})
    number = made.campaign.campaign_id
    out = campaigns.release(data, number, actor="anna", now=NOW)
    rows = pd.read_csv(out.file, dtype=str, keep_default_na=False)
    marked = rows["customer_id"].map(watermarks.is_marked)
    assert marked.sum() == 1 and len(rows) == out.rows + 1
    real = rows[~marked]
    treated = made.members[~made.members["control"]]
    assert sorted(real["customer_id"]) == sorted(treated["customer_id"]) and out.left_out == {}
    calls = real[real["channel"] == "call"]
    assert calls["phone"].str.startswith("'+4206").all() and (calls["email"] == "").all()
    assert calls.groupby("contact_on").size().max() == 10 and calls["contact_on"].min() == STARTS.isoformat()
    assert (real[["contacted_at", "outcome", "answered_at"]] == "").all(axis=None)
    record = watermarks.traced(data, rows.loc[marked, "customer_id"].iloc[0])
    assert (record.actor, record.rows, record.purpose) == ("anna", out.rows, "campaign: sell gold cards")
    assert record.content["campaign_id"] == number and record.content["audience_version"] == 1
    assert record.content["members_checksum"] == made.campaign.members_checksum
    again = pd.read_csv(campaigns.release(data, number, actor="anna", now=NOW).file, dtype=str)
    assert not set(again["customer_id"]) & set(rows.loc[marked, "customer_id"]), "each export has a mark of its own"
    with pytest.raises(NotFoundError, match="no export of this data folder has the mark 'WMAAAAAAAAAAAA'"):
        watermarks.traced(data, "WMAAAAAAAAAAAA")


def test_who_withdrew_consent_complained_or_left_after_the_assignment_is_left_out_and_counted(data: Path) -> None:
    made = assigned(data)
    phone = made.members.loc[made.members["arm"] == CALL.name, "customer_id"].tolist()
    gone = pd.DataFrame({"customer_id": phone[:3], "channel": "call", "purpose": "marketing"})
    load(data, {"consents": 0}, gone.assign(changed_at="2025-12-20", granted="false"), now=LATER)
    unhappy = pd.DataFrame({"complaint_id": ["x"], "customer_id": phone[3], "opened_at": "2026-01-03"})
    load(data, {"complaints": 0}, unhappy, now=LATER + dt.timedelta(seconds=1))
    out = campaigns.release(data, made.campaign.campaign_id, actor="anna", now=LATER, arm=CALL.name)
    assert out.left_out == {"no_consent": 3, "open_complaint": 1}
    listed = set(pd.read_csv(out.file, dtype=str)["customer_id"])
    assert not listed & set(phone[:4]) and len(listed) == len(phone) - 4 + 1
    all_ = pd.DataFrame({"customer_id": phone, "channel": "all", "purpose": "marketing"})
    load(
        data,
        {"consents": 0},
        all_.assign(changed_at="2026-01-11", granted="false"),
        now=LATER + dt.timedelta(seconds=2),
    )
    before = count_of(data, tables.Export)
    with pytest.raises(DataError, match=r"is empty: .* left out \(no_consent\); nothing was exported"):
        campaigns.release(data, made.campaign.campaign_id, actor="anna", now=LATER, arm=CALL.name)
    assert count_of(data, tables.Export) == before
    with pytest.raises(UsageError, match="has no arm 'x'; it has gold by phone, gold by e-mail"):
        campaigns.release(data, made.campaign.campaign_id, actor="anna", now=LATER, arm="x")


def test_a_finished_or_cancelled_campaign_gives_no_list(data: Path) -> None:
    made = assigned(data)
    campaigns.finish(data, made.campaign.campaign_id, revision=3, now=NOW)
    with pytest.raises(DataError, match="is finished; a list can be exported"):
        campaigns.release(data, made.campaign.campaign_id, actor="anna", now=NOW)


# ---------------------------------------------------------------- what happened


def returned(data: Path, made: campaigns.Assignment, *, format: str = "csv") -> tuple[Path, pd.DataFrame]:
    """A list that comes back: everybody tried but the last five, every third refused."""
    out = campaigns.release(data, made.campaign.campaign_id, actor="anna", now=NOW, format=format)
    rows = pd.read_csv(out.file, dtype=str) if format == "csv" else pd.read_excel(out.file, dtype=str)
    rows["contacted_at"] = [f"2026-01-0{5 + n % 5} 10:00" for n in range(len(rows))]
    rows["outcome"] = np.where(np.arange(len(rows)) % 3 == 0, "refused", None)
    rows.loc[rows.index[-5:], ["contacted_at", "outcome"]] = None
    path = data / f"back.{format}"
    rows.to_csv(path, index=False, sep=";") if format == "csv" else rows.to_excel(path, index=False)
    return path, rows


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_what_happened_comes_back_through_the_mapping_without_the_marked_row(data: Path, format: str) -> None:
    made = assigned(data)
    number = made.campaign.campaign_id
    path, rows = returned(data, made, format=format)
    buyers = made.members["customer_id"].iloc[[0, 1, 2]].tolist()
    bought = pd.DataFrame({"contract": ["H1", "H2", "H3"], "customer_id": buyers, "product_id": "gold_card"})
    bought.assign(opened_on=["2026-01-08", "2026-01-09", "2026-06-30"], channel="branch").to_csv(
        data / "bought.csv", index=False
    )
    late = dt.datetime(2026, 7, 1)
    taken = campaigns.bring_in(data, number, [path], bought=[data / "bought.csv"], now=late)
    mark = rows.loc[rows["customer_id"].map(watermarks.is_marked), "customer_id"].tolist()
    assert list(taken.marks) == mark and taken.marks[mark[0]] == 1
    tried = rows[rows["contacted_at"].notna() & ~rows["customer_id"].isin(mark)]
    assert taken.contacts == len(tried) and taken.report.quarantine is None
    opened = warehouse.open(paths.warehouse(data))
    assert len(opened.table("campaign_members")) == len(made.members)
    result = campaigns.members(opened, number, data=data)
    assert experiments.check(result)["customer_id"].tolist() == sorted(made.members["customer_id"])
    assert set(result.loc[result["contacted"], "customer_id"]) == set(tried["customer_id"])
    assert not result.loc[result["control"], "contacted"].any()
    refused = set(tried.loc[tried["outcome"] == "refused", "customer_id"])
    assert set(result.loc[result["refused_at"].notna(), "customer_id"]) == refused
    by = result.set_index("customer_id")
    assert by.loc[buyers, "converted"].tolist() == [True, True, False], "the third came after 90 days"
    assert by.loc[buyers[0], "profit_minor"] + by.loc[buyers[0], "cost_minor"] == 9_000
    assert by.loc[buyers[0], "revenue_minor"] == 9_000, "no premium and no price: the margin"
    assert set(by["cost_minor"]) == {0.0, 500.0, 2.0}
    again = campaigns.bring_in(data, number, [path], now=late)
    assert again.report.counts["accepted"].sum() == 0, "the same again changes nothing"
    progress = campaigns.progress(result)
    last = progress.groupby("arm").tail(1).set_index("arm")
    assert last["contacted"].sum() == len(tried) and last["bought"].sum() == 2
    assert last["refused"].sum() == len(refused) and last.loc["control", "contacted"] == 0
    assert (progress.groupby("arm")[["contacted", "refused", "bought"]].diff().dropna() >= 0).all(axis=None)


def test_a_second_list_adds_to_the_first(data: Path) -> None:
    made = assigned(data)
    path, rows = returned(data, made)
    campaigns.bring_in(data, made.campaign.campaign_id, [path], now=LATER)
    real = rows[~rows["customer_id"].map(watermarks.is_marked)]
    before = len(warehouse.open(paths.warehouse(data)).table("contacts"))
    last = pd.concat([real.iloc[:3], real.iloc[-5:]]).assign(contacted_at="2026-01-12 07:00", outcome="accepted")
    last.to_csv(data / "second.csv", index=False)
    campaigns.bring_in(data, made.campaign.campaign_id, [data / "second.csv"], now=LATER)
    opened = warehouse.open(paths.warehouse(data))
    assert len(opened.table("contacts")) == before + len(last), "a further attempt is another contact"
    table = opened.table("campaign_members")
    assert table["contacted_at"].notna().sum() == (~made.members["control"]).sum()
    assert (table["response"] == "accepted").sum() == len(last)


def test_results_that_cannot_be_are_refused_and_nothing_is_loaded(data: Path) -> None:
    made = assigned(data)
    number = made.campaign.campaign_id
    path, rows = returned(data, made)
    alone = made.members.loc[made.members["control"], "customer_id"].iloc[0]

    def wrong(message: str, **cells: str) -> None:
        bad = rows.copy()
        place = int(np.flatnonzero(~rows["customer_id"].map(watermarks.is_marked))[3])
        bad.loc[place, list(cells)] = list(cells.values())
        bad.to_csv(path, index=False)
        with pytest.raises(DataError, match=message):
            campaigns.bring_in(data, number, [path], now=LATER)
        assert warehouse.open(paths.warehouse(data)).version == 1

    wrong("line .: contacted_at 2026-01-03 10:00 is before the campaign's first day", contacted_at="2026-01-03 10:00")
    wrong("contacted_at 2026-02-03 10:00 is after the present, 2026-01-12 08:00", contacted_at="2026-02-03 10:00")
    wrong("contacted_at is 'yesterday'; write it as 2026-01-31 14:05", contacted_at="yesterday")
    wrong("answered_at 2026-01-01 00:00 is before the contact itself", outcome="refused", answered_at="2026-01-01")
    wrong("was not to be contacted in campaign .* but is left alone as its control group", customer_id=alone)
    wrong("customer stranger was not to be contacted .* but is not a member of it", customer_id="stranger")
    rows.assign(contacted_at="").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"back\.csv: no row says when somebody was contacted; fill in contacted_at"):
        campaigns.bring_in(data, number, [path], now=LATER)
    assert warehouse.open(paths.warehouse(data)).version == 1 and not (data / "staging").exists()
    rows.drop(columns="outcome").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"back\.csv: no column outcome; it has contact_id"):
        campaigns.bring_in(data, number, [path], now=LATER)
    with pytest.raises(NotFoundError, match="no such file; give the list that came back"):
        campaigns.bring_in(data, number, [data / "none.csv"], now=LATER)


def test_there_is_no_result_before_the_start_nor_without_contacts_nor_of_a_campaign_nobody_knows(data: Path) -> None:
    made = assigned(data)
    number = made.campaign.campaign_id
    opened = warehouse.open(paths.warehouse(data))
    with pytest.raises(DataError, match=r"starts on 2026-01-05, after the last day with records \(2025-12-31\)"):
        campaigns.members(opened, number, data=data)
    with pytest.raises(
        NotFoundError, match="there is no campaign 'nothing', neither planned here nor in the warehouse"
    ):
        campaigns.members(opened, "nothing", data=data)
    moved = pd.DataFrame({"transaction_id": ["t2"], "customer_id": ["C000001"], "occurred_at": "2026-01-10"})
    load(data, {"transactions": 0}, moved.assign(amount_minor=5), now=LATER)
    with pytest.raises(DataError, match="has no contacts on record up to 2026-01-10; load what happened first"):
        campaigns.members(warehouse.open(paths.warehouse(data)), number, data=data)


# ---------------------------------------------------------------- results against a naive reading


def random_results(tmp_path: Path, seed: int) -> tuple[warehouse.Warehouse, dict[str, pd.DataFrame]]:
    rng = np.random.default_rng(seed)
    ids = [f"C{n:03d}" for n in range(60)]
    start = pd.Timestamp("2025-03-01 06:00")
    chosen = ids[:40]
    arm = rng.choice(["call", "email", "control"], len(chosen), p=[0.4, 0.4, 0.2])
    told = np.where((arm != "control") & (rng.random(40) < 0.8), 1, 0)
    members = pd.DataFrame({"campaign_id": "K", "customer_id": chosen, "arm": arm, "control": arm == "control"})
    members["assigned_at"] = start
    contacts = members[told == 1].assign(
        contact_id=lambda t: "k" + t["customer_id"],
        occurred_at=start + pd.Timedelta(days=3),
        channel=lambda t: t["arm"],
    )
    contacts["outcome"] = np.where(rng.random(len(contacts)) < 0.4, "refused", None)
    contacts["answered_at"] = contacts["occurred_at"].where(contacts["outcome"].notna())
    contacts = contacts[
        ["contact_id", "customer_id", "occurred_at", "channel", "campaign_id", "outcome", "answered_at"]
    ]
    contacts = contacts.assign(
        direction="out", purpose="sales", cost_minor=[int(x) for x in rng.integers(1, 9, len(contacts))]
    )
    holdings = pd.DataFrame({"holding_id": [f"h{n}" for n in range(70)], "customer_id": rng.choice(ids, 70)})
    days = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 200, 70), unit="D")
    holdings = holdings.assign(product_id=rng.choice(["card", "loan"], 70), opened_on=[day.date() for day in days])
    frames = {
        "customers": pd.DataFrame(
            {"customer_id": ids, "valid_from": dt.date(2020, 1, 1), "customer_since": dt.date(2019, 6, 1)}
        ),
        "products": pd.DataFrame(
            {"product_id": ["card", "loan"], "valid_from": dt.date(2020, 1, 1), "name": ["Card", "Loan"]}
            | {"margin_minor": [700, 900], "price_minor": [400, None]}
        ),
        "campaigns": pd.DataFrame(
            {"campaign_id": ["K"], "name": ["K"], "product_id": ["card"], "starts_on": [dt.date(2025, 3, 1)]}
        ),
        "campaign_members": members,
        "contacts": contacts,
        "holdings": holdings,
        "consents": pd.DataFrame(
            {"customer_id": ids, "channel": rng.choice(["call", "email", "all"], 60), "purpose": "marketing"}
            | {"changed_at": pd.Timestamp("2024-01-01"), "granted": True}
        ),
        "transactions": pd.DataFrame(
            {
                "transaction_id": ["t"],
                "customer_id": ["C000"],
                "occurred_at": [dt.datetime(2025, 8, 1)],
                "amount_minor": [-9],
            }
        ),
    }
    path = tmp_path / f"v{seed}.duckdb"
    build.from_frames(path, frames)
    from crmlib.warehouse import snapshot

    return snapshot.open_file(path), frames


@pytest.mark.parametrize("seed", range(4))
def test_results_agree_with_a_naive_reading(tmp_path: Path, seed: int) -> None:
    opened, frames = random_results(tmp_path, seed)
    result = campaigns.members(opened, "K", within_days=30).set_index("customer_id")
    for row in frames["campaign_members"].to_dict("records"):
        who = row["customer_id"]
        bought = frames["holdings"]
        bought = bought[(bought["customer_id"] == who) & (bought["product_id"] == "card")]
        counted = [day for day in bought["opened_on"] if dt.date(2025, 3, 1) <= day < dt.date(2025, 3, 31)]
        met = frames["contacts"][frames["contacts"]["customer_id"] == who]
        got = result.loc[who]
        assert got["converted"] == bool(counted) and got["contacted"] == bool(len(met))
        assert got["revenue_minor"] == 400 * len(counted)
        assert got["profit_minor"] == 700 * len(counted) - met["cost_minor"].sum()
        assert pd.notna(got["refused_at"]) == (met["outcome"] == "refused").any()
        mine = frames["holdings"][frames["holdings"]["customer_id"] == who]
        assert got["pre_holdings"] == sum(day < dt.date(2025, 3, 1) for day in mine["opened_on"])
        assert got["pre_tenure_days"] == (dt.date(2025, 3, 1) - dt.date(2019, 6, 1)).days
        said = frames["consents"].set_index("customer_id").loc[who, "channel"]
        assert got["stratum"] == ("call+email" if said == "all" else said)


def test_an_interim_result_shows_only_what_was_known_by_then(tmp_path: Path) -> None:
    opened, _ = random_results(tmp_path, 1)
    early = campaigns.members(opened, "K", until=dt.date(2025, 3, 10), within_days=60)
    late = campaigns.members(opened, "K", within_days=60)
    assert early["converted"].sum() < late["converted"].sum()
    assert set(early.loc[early["converted"], "customer_id"]) <= set(late.loc[late["converted"], "customer_id"])
    assert (early["converted_at"].dropna() <= pd.Timestamp("2025-03-10")).all()
    with pytest.raises(DataError, match="has no contacts on record up to 2025-03-02"):
        campaigns.members(opened, "K", until=dt.date(2025, 3, 2))
    with pytest.raises(DataError, match="there is nothing to measure yet"):
        campaigns.members(opened, "K", until=dt.date(2025, 2, 1))


def test_running_campaigns_count_for_the_contact_policy(data: Path) -> None:
    (data / "company.toml").write_text(
        'name = "Bank"\n[[contact_policy.limits]]\nper = "customer"\ncontacts = 1\ndays = 30\n', encoding="utf-8"
    )
    first = assigned(data, arms=(EMAIL,))
    found = campaigns.look(data, plan(name="Second", arms=(EMAIL,)), today=NOW.date())
    refused = found.refusals.set_index("code")["customers"]
    assert refused["limit_customer"] == (~first.members["control"]).sum()
    assert not set(found.people["customer_id"]) & set(first.members.loc[~first.members["control"], "customer_id"])


def test_a_planned_contact_is_no_ignored_offer_and_counts_once_when_it_was_made(data: Path) -> None:
    (data / "company.toml").write_text(
        'name = "Bank"\n[contact_policy]\nignored_contacts = 1\n'
        '[[contact_policy.limits]]\nper = "customer"\ncontacts = 2\ndays = 30\n',
        encoding="utf-8",
    )
    first = assigned(data, arms=(EMAIL,))
    second = plan(name="Second", arms=(EMAIL,))
    treated = (~first.members["control"]).sum()
    found = campaigns.look(data, second, today=NOW.date())
    assert not {"ignored", "limit_customer"} & set(found.refusals["code"]), "planned, so neither ignored nor too often"
    path, rows = returned(data, first)
    rows.loc[:, ["contacted_at", "outcome"]] = ["2026-01-05 10:00", "later"]
    rows.to_csv(path, index=False)
    assert campaigns.bring_in(data, first.campaign.campaign_id, [path], now=LATER).contacts == treated
    found = campaigns.look(data, second, today=NOW.date())
    assert "limit_customer" not in set(found.refusals["code"]), "the contact made is the one that was planned"


def test_the_dates_of_the_plan_are_kept(data: Path) -> None:
    made = assigned(data)
    assert (made.campaign.starts_on, made.campaign.ends_on) == (STARTS, ENDS)
    assert isinstance(campaigns.plan_of(made.campaign), Plan)


def test_the_companys_own_rules_of_eligibility_bind_campaigns_too(data: Path) -> None:
    before = freeze.look(data, plan(), today=NOW.date())
    own = '[[rule]]\nproduct = "gold_card"\ncode = "age_below"\nyears = 18\n'  # and nobody's age is known
    (data / eligibility.RULES_FILE).write_text(own, encoding="utf-8")
    after = freeze.look(data, plan(), today=NOW.date())
    assert "age_unknown" in set(after.refusals["code"]) - set(before.refusals["code"])
    assert len(before.people) and after.people.empty
