"""What runs leave behind is kept by a rule for each job; what is published stays; leftovers of kills go."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import made_runs
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from crmlib.errors import UsageError
from crmlib.runs import daily_check, retention
from crmlib.runs.alert_settings import Settings
from crmlib.runs.retention import Keep
from crmlib.store import alerts as kept
from crmlib.store import ledger, session
from crmlib.store.tables import Run, ScheduledJob, Slot, SlotAttempt
from crmlib.warehouse import build, quality, snapshot

NOW = dt.datetime(2026, 1, 31, 6)
DAY = dt.timedelta(days=1)


def history(data: Path, days: int) -> list[int]:
    """A job that ran every day, with a notebook, a report and a log each; returns its slots, oldest first."""
    (data / "logs" / "schedule").mkdir(parents=True)
    for name in ("runs", "reports"):
        (data / name).mkdir()
    numbers = []
    with session.session(data) as store:
        for back in range(days, 0, -1):
            number = made_runs.add(store, data, "nightly", NOW - back * DAY, seconds=60)
            slot = store.get_one(Slot, number)
            run = store.scalars(sa.select(Run).order_by(Run.run_id.desc())).first()
            assert run is not None
            slot.output = run.output = f"runs/{run.run_id:06d}-nightly.ipynb"
            slot.report = f"reports/{run.run_id:06d}-nightly.html"
            for name in (slot.output, slot.report):
                (data / name).write_text("x")
            numbers.append(number)
        store.add(ScheduledJob(job="nightly", known_since=NOW, planned_until=NOW, published=numbers[0]))
        store.commit()
    return numbers


def outputs(data: Path) -> set[int]:
    with session.session(data) as store:
        return set(store.scalars(sa.select(Slot.slot_id).where(Slot.output.is_not(None))))


def test_the_newest_and_the_published_stay(tmp_path: Path) -> None:
    numbers = history(tmp_path, 6)
    removed = retention.prune(tmp_path, jobs={"nightly": Keep(newest=2)}, now=NOW)
    assert outputs(tmp_path) == {numbers[0], numbers[4], numbers[5]}, "the first is published"
    assert len(removed) == 9 and set(removed["reason"]) == {"old"} and removed["bytes"].sum() > 0
    for folder, left in (("runs", 3), ("reports", 3), ("logs/schedule", 3)):
        assert len(list((tmp_path / folder).iterdir())) == left
    assert len(retention.prune(tmp_path, jobs={"nightly": Keep(newest=2)}, now=NOW)) == 0
    with session.session(tmp_path) as store:
        assert store.scalar(sa.select(sa.func.count()).select_from(SlotAttempt)) == 6, "the ledger forgets no attempt"


def test_slots_that_never_ran_do_not_count_as_newest(tmp_path: Path) -> None:
    numbers = history(tmp_path, 3)
    with session.session(tmp_path) as store:
        for hours in range(1, 5):  # a downtime since, by whose rule nothing was made up for
            store.add(made_runs.slot("nightly", NOW - dt.timedelta(hours=hours), "skipped"))
        store.commit()
    retention.prune(tmp_path, jobs={"nightly": Keep(newest=2)}, now=NOW)
    assert outputs(tmp_path) == set(numbers)


def test_days_and_number_together_keep_whatever_either_keeps(tmp_path: Path) -> None:
    numbers = history(tmp_path, 6)
    retention.prune(tmp_path, jobs={"nightly": Keep(newest=1, days=3)}, now=NOW)
    assert outputs(tmp_path) == {numbers[0], *numbers[3:]}


def test_jobs_without_a_rule_and_running_ones_keep_everything(tmp_path: Path) -> None:
    history(tmp_path, 3)
    with session.session(tmp_path) as store:
        store.execute(sa.update(Slot).values(state="running"))
        store.commit()
    assert len(retention.prune(tmp_path, jobs={"nightly": Keep(newest=1)}, now=NOW)) == 0
    assert len(retention.prune(tmp_path, jobs={}, now=NOW)) == 0


def test_what_lies_elsewhere_is_never_removed(tmp_path: Path) -> None:
    for number in range(3):
        run = ledger.start_run(tmp_path, kind="score", name="score", parameters={}, now=NOW - 9 * DAY)
        (tmp_path / "scores").mkdir(exist_ok=True)
        (tmp_path / "scores" / f"{number}.parquet").write_text("x")
        output = f"scores/{number}.parquet"
        ledger.finish_run(tmp_path, run, state="succeeded", exit_code=0, now=NOW - 9 * DAY, output=output)
    assert retention.prune(tmp_path, jobs={}, others=Keep(newest=1), now=NOW).empty
    assert len(list((tmp_path / "scores").iterdir())) == 3


def test_runs_by_hand_have_a_rule_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number in range(4):
        run = ledger.start_run(tmp_path, kind="notebook", name="a.ipynb", parameters={}, now=NOW - (9 - number) * DAY)
        output = f"runs/{run:06d}-a.ipynb"
        (tmp_path / output).write_text("x")
        ended = NOW - (9 - number) * DAY
        ledger.finish_run(tmp_path, run, state="succeeded", exit_code=0, now=ended, output=output)
    assert len(retention.prune(tmp_path, jobs={}, now=NOW)) == 0
    removed = retention.prune(tmp_path, jobs={}, others=Keep(newest=1), now=NOW)
    assert removed["file"].tolist() == [f"runs/00000{number}-a.ipynb" for number in (1, 2, 3)]


def test_leftovers_of_kills_go_after_a_day_but_never_of_what_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    run = ledger.start_run(tmp_path, kind="notebook", name="a.ipynb", parameters={}, now=NOW)
    old, young = NOW - 3 * DAY, NOW - dt.timedelta(hours=3)
    for name, when in (
        (f".{run:06d}-a.running.ipynb", old),
        (".000099-b.running.ipynb", old),
        ("000098-c.ipynb", young),
    ):
        (tmp_path / "runs" / name).write_text("x")
        os.utime(tmp_path / "runs" / name, (when.replace(tzinfo=dt.UTC).timestamp(),) * 2)
    removed = retention.prune(tmp_path, jobs={}, now=NOW)
    assert removed["file"].tolist() == ["runs/.000099-b.running.ipynb"] and removed["reason"].tolist() == ["orphan"]


@given(st.integers(1, 9), st.none() | st.integers(1, 9), st.integers(0, 20), st.integers(0, 20))
def test_a_rule_never_drops_the_newest(newest: int, days: int | None, rank: int, age: int) -> None:
    dropped = Keep(newest, days).drops(rank, NOW - age * DAY, NOW)
    assert dropped == (rank >= newest and (days is None or age > days))


def test_rules_that_keep_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="newest is 0; keep at least 1"):
        Keep(newest=0)
    with pytest.raises(UsageError, match="needs newest or days"):
        Keep(newest=None)


# ---------------------------------------------------------------- the daily check


def test_late_jobs_raise_an_alert_that_is_cleared_when_they_are_done(tmp_path: Path) -> None:
    with session.session(tmp_path) as store:
        store.add(made_runs.slot("load", NOW - dt.timedelta(hours=3), "waiting", settings={"late_after_seconds": 3600}))
        store.add(
            made_runs.slot("scores", NOW - dt.timedelta(hours=3), "running", settings={"late_after_seconds": 14400})
        )
        due = NOW - dt.timedelta(hours=30)
        store.add(ScheduledJob(job="weekly", known_since=due, planned_until=due, next_due=due))
        store.add(ScheduledJob(job="scores", known_since=due, planned_until=NOW, next_due=NOW + DAY))
        store.commit()
    found = daily_check.check(tmp_path, Settings(), NOW)
    assert {one.topic: one.content["hours_late"] for one in found} == {"late/load": 3.0, "late/weekly": 30.0}
    assert set(kept.alerts(tmp_path)["topic"]) == {"late/load", "late/weekly"}
    with session.session(tmp_path) as store:
        store.execute(sa.update(Slot).values(state="succeeded"))
        store.commit()
    daily_check.check(tmp_path, Settings(), NOW)
    assert kept.alerts(tmp_path)["topic"].tolist() == ["late/weekly"]


def test_what_began_in_time_is_not_late_however_long_it_takes(tmp_path: Path) -> None:
    due = NOW - dt.timedelta(hours=5)
    with session.session(tmp_path) as store:
        for job, minutes in (("training", 2), ("load", 90)):
            running = made_runs.slot(job, due, "running", settings={"late_after_seconds": 3600})
            running.started_at = due + dt.timedelta(minutes=minutes)
            store.add(running)
        store.commit()
    assert [one.topic for one in daily_check.late(tmp_path, NOW)] == ["late/load"]


def daily(days: pd.DatetimeIndex) -> pd.DataFrame:
    number = [f"t{i}" for i in range(len(days))]
    return pd.DataFrame({"transaction_id": number, "customer_id": "a", "occurred_at": days, "amount_minor": 1})


def test_the_quick_look_at_the_newest_records_says_what_the_whole_check_says(tmp_path: Path) -> None:
    build.from_frames(tmp_path / "v.duckdb", {"transactions": daily(pd.date_range("2025-12-01", "2025-12-20"))})
    wh = snapshot.open_file(tmp_path / "v.duckdb")
    for day in (dt.date(2025, 12, 21), dt.date(2025, 12, 22), dt.date(2025, 12, 23), dt.date(2026, 2, 1)):
        [row] = quality.newest_records(wh, day).to_dict("records")
        whole = quality.summary(quality.check(wh, day)).set_index("table").loc["transactions"]
        assert (row["age_days"] > row["patience_days"]) == (whole["finding"] == "late")
        assert row["newest"] == dt.date(2025, 12, 20) and row["age_days"] == whole["age_days"]


def test_stale_tables_raise_an_alert_by_their_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.from_frames(tmp_path / "v.duckdb", {"transactions": daily(pd.date_range("2025-12-01", "2026-01-28"))})
    monkeypatch.setattr(daily_check.warehouse, "open", lambda _folder: snapshot.open_file(tmp_path / "v.duckdb"))
    [found] = daily_check.check(tmp_path, Settings(), NOW)
    assert found.topic == "stale/transactions"
    assert dict(found.content) == {"table": "transactions", "newest": "2026-01-28", "age_days": 3, "limit_days": 2}
    assert daily_check.check(tmp_path, Settings(stale={"transactions": 3}), NOW) == []
    assert kept.alerts(tmp_path).empty, "it is cleared"


def test_without_a_warehouse_nothing_is_stale(tmp_path: Path) -> None:
    assert daily_check.check(tmp_path, Settings(), NOW) == []
