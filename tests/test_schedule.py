"""The ledger of scheduled runs with an injected clock: exact slots for each policy, fences, leases, retries, order."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.runs import attempts, schedule_file, scheduler
from crmlib.store import alerts, fence, processes, session, slot_history, slots
from crmlib.store.tables import Run, ScheduledJob, Slot, SlotAttempt

START = dt.datetime(2026, 3, 20, 12)  # a Friday, nine days before clocks change in Berlin
DAY, HOUR, MINUTE = dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)
LEASE = dt.timedelta(seconds=90)
NIGHTLY = '[job.nightly]\nrun = ["score"]\nat = "30 2 * * *"\nzone = "Europe/Berlin"\n'


def schedule(folder: Path, text: str) -> schedule_file.Schedule:
    folder.mkdir(exist_ok=True)
    (folder / "schedules.toml").write_text(text)
    return schedule_file.read(folder / "schedules.toml")


def take(data: Path, now: dt.datetime, worker: str | None = None) -> slots.Claim | None:
    return slots.claim(data, worker=worker or processes.me(), now=now, lease=LEASE, log="{slot}-{attempt}.log")


def work(data: Path, now: dt.datetime, state: str = "succeeded") -> list[tuple[str, dt.datetime]]:
    """Take and end whatever can run now; return it in order."""
    done = []
    while held := take(data, now):
        assert slots.finish(data, held, slots.Ended(state), now=now)
        done.append((held.job, held.logical_date))
    return done


def states(data: Path, job: str = "nightly") -> Counter[str]:
    return Counter(slot_history.slots(data, job=job, newest=10_000)["state"])


def night(day: int, month: int = 3) -> dt.datetime:
    """The moment of the nightly job on a day in Berlin, in UTC."""
    if (month, day) == (3, 29):
        return dt.datetime(2026, 3, 29, 1)  # 02:30 does not exist: it is 03:00 at once
    summer = (month, day) > (3, 29)
    return dt.datetime(2026, month, day, 0 if summer else 1, 30)


# ---------------------------------------------------------------- exact slots


@pytest.mark.parametrize(("policy", "ran", "skipped"), [("skip", [], 3), ("latest", [23], 2), ("all", [21, 22, 23], 0)])
def test_three_days_of_downtime(tmp_path: Path, policy: str, ran: list[int], skipped: int) -> None:
    plan = schedule(tmp_path, NIGHTLY + f'catch_up = "{policy}"')
    scheduler.plan(tmp_path, plan, START)  # a scheduler looks, then nobody does until Monday noon
    back = START + 3 * DAY
    scheduler.plan(tmp_path, plan, back)
    assert work(tmp_path, back) == [("nightly", night(day)) for day in ran]
    assert states(tmp_path) == Counter(succeeded=len(ran), skipped=skipped)
    # From then on every night as ever.
    assert [work_at(tmp_path, plan, night(24) + MINUTE)] == [[("nightly", night(24))]]


def work_at(data: Path, plan: schedule_file.Schedule, now: dt.datetime) -> list[tuple[str, dt.datetime]]:
    scheduler.plan(data, plan, now)
    return work(data, now)


@pytest.mark.parametrize("policy", ["skip", "latest", "all"])
def test_clocks_that_jump_a_day_forwards_and_back_double_and_lose_nothing(tmp_path: Path, policy: str) -> None:
    plan = schedule(tmp_path, NIGHTLY + f'catch_up = "{policy}"')
    # Every two hours for six days; on the second day the clock is a day ahead for three hours, on the fourth a day behind.
    done: list[tuple[str, dt.datetime]] = []
    for step in range(6 * 12):
        now = START + step * 2 * HOUR
        if DAY <= now - START < DAY + 3 * HOUR:
            now += DAY
        if 3 * DAY <= now - START < 3 * DAY + 3 * HOUR:
            now -= DAY
        done += work_at(tmp_path, plan, now)
    nights = [night(day) for day in range(21, 27)]
    # The jump passes the night of the 22nd at once, ten hours late: left out where late ones are.
    missed = [night(22)] if policy == "skip" else []
    assert done == [("nightly", one) for one in nights if one not in missed]
    assert states(tmp_path) == Counter(succeeded=len(nights) - len(missed), skipped=len(missed)) + Counter()
    with session.session(tmp_path) as store:
        assert store.get_one(ScheduledJob, "nightly").planned_until == START + 6 * DAY - 2 * HOUR


@pytest.mark.parametrize("policy", ["skip", "latest", "all"])
@pytest.mark.parametrize("first", [dt.datetime(2026, 3, 27, 12), dt.datetime(2026, 10, 23, 12)])
def test_a_week_with_a_change_of_clocks_has_seven_runs(tmp_path: Path, policy: str, first: dt.datetime) -> None:
    plan = schedule(tmp_path, NIGHTLY + f'catch_up = "{policy}"')
    done = [
        one
        for day in range(7)
        for hours in (0, 12.75, 13.75)
        for one in work_at(tmp_path, plan, first + day * DAY + hours * HOUR)
    ]
    assert len(done) == len(set(done)) == 7
    assert states(tmp_path) == Counter(succeeded=7)
    if first.month == 3:
        assert done[1] == ("nightly", night(29))


def test_late_is_skipped_only_by_the_policy_that_says_so(tmp_path: Path) -> None:
    text = "".join(NIGHTLY.replace("nightly", name) + f'catch_up = "{name}"\n' for name in ("skip", "latest"))
    plan = schedule(tmp_path, text)
    scheduler.plan(tmp_path, plan, START)
    assert work_at(tmp_path, plan, night(21) + 59 * MINUTE) == [("skip", night(21)), ("latest", night(21))]
    assert work_at(tmp_path, plan, night(22) + 61 * MINUTE) == [("latest", night(22))]
    reasons = slot_history.slots(tmp_path, job="skip").set_index("state")["reason"]
    assert reasons["skipped"] == {"code": "missed", "catch_up": "skip"}


def test_a_slot_nobody_began_before_the_downtime_follows_the_policy(tmp_path: Path) -> None:
    for policy, expected in (("skip", []), ("latest", [night(22)]), ("all", [night(21), night(22)])):
        data = tmp_path / policy
        plan = schedule(data, NIGHTLY + f'catch_up = "{policy}"')
        scheduler.plan(data, plan, START)
        scheduler.plan(data, plan, night(21) + MINUTE)  # made, and then the machine stops
        back = night(22) + 2 * HOUR
        assert work_at(data, plan, back) == [("nightly", moment) for moment in expected], policy
        assert states(data)["skipped"] == 2 - len(expected)


def test_nothing_before_a_job_is_known_is_ever_due(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY + 'catch_up = "all"')
    assert scheduler.plan(tmp_path, plan, START) == {}
    assert work(tmp_path, START) == []


def test_a_job_taken_out_of_the_file_runs_no_more(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY)
    scheduler.plan(tmp_path, plan, START)
    scheduler.plan(tmp_path, plan, START + DAY)
    scheduler.plan(tmp_path, schedule(tmp_path, ""), START + DAY)
    assert work(tmp_path, START + DAY) == []
    [row] = slot_history.slots(tmp_path).itertuples()
    assert (row.state, row.reason) == ("skipped", {"code": "removed"})


def test_schedulers_that_plan_and_claim_at_once_make_and_take_each_slot_once(tmp_path: Path) -> None:
    compete(tmp_path)


@pytest.mark.postgres
def test_schedulers_compete_on_postgresql_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        compete(tmp_path)
        session.engine(tmp_path).dispose()


def compete(data: Path) -> None:
    text = "".join(
        NIGHTLY.replace("nightly", f"job_{number}").replace("30 2 * * *", "*/10 * * * *") + 'catch_up = "all"\n'
        for number in range(3)
    )
    plan = schedule(data, text)
    scheduler.plan(data, plan, START)
    end = START + HOUR
    barrier = threading.Barrier(4)

    def one(_: int) -> list[tuple[str, dt.datetime]]:
        barrier.wait()
        return work_at(data, plan, end)

    with ThreadPoolExecutor(4) as pool:
        done = [item for part in pool.map(one, range(4)) for item in part]
    # Somebody may have found a job busy and left; what is left is for the next.
    done += work(data, end)
    expected = [(f"job_{number}", START + step * 10 * MINUTE) for number in range(3) for step in range(1, 7)]
    assert sorted(done) == sorted(expected)


# ---------------------------------------------------------------- attempts, leases, fences


@pytest.fixture
def due_slot(tmp_path: Path) -> Path:
    plan = schedule(tmp_path, NIGHTLY + 'retries = 2\nback_off = "10m"\n')
    scheduler.plan(tmp_path, plan, START)
    scheduler.plan(tmp_path, plan, START + DAY)
    return tmp_path


def test_failures_are_tried_again_with_a_pause_that_doubles_then_it_has_failed(due_slot: Path) -> None:
    now, pauses = START + DAY, []
    for _ in range(3):
        held = take(due_slot, now)
        assert held
        slots.finish(due_slot, held, slots.Ended("failed", 5, "no disk"), now=now)
        [row] = slot_history.slots(due_slot).itertuples()
        pauses.append((row.state, row.not_before - now if row.state == "waiting" else None))
        assert take(due_slot, now + 9 * MINUTE) is None
        now = row.not_before.to_pydatetime() if row.state == "waiting" else now
    assert pauses == [("waiting", 10 * MINUTE), ("waiting", 20 * MINUTE), ("failed", None)]
    assert (row.tries, row.message, row.reason) == (3, "no disk", {"code": "failed", "tries": 3})
    assert slot_history.attempts(due_slot)["state"].tolist() == ["failed"] * 3


def test_a_pause_ended_in_the_future_is_no_reason_to_wait_a_day(due_slot: Path) -> None:
    ahead = START + 2 * DAY
    held = take(due_slot, ahead)
    assert held
    slots.finish(due_slot, held, slots.Ended("failed"), now=ahead)
    assert take(due_slot, START + DAY) is not None  # the clock went back meanwhile


def test_a_stopped_attempt_is_begun_again_without_counting(due_slot: Path) -> None:
    for attempt in range(1, 6):
        held = take(due_slot, START + DAY)
        assert held and held.attempt == attempt
        slots.finish(due_slot, held, slots.Ended("interrupted"), now=START + DAY)
    [row] = slot_history.slots(due_slot).itertuples()
    assert (row.state, row.tries) == ("waiting", 0)


def test_only_the_newest_attempt_may_say_how_it_ended(due_slot: Path) -> None:
    now = START + DAY
    first = take(due_slot, now, worker="elsewhere/1/2.0")
    assert first
    assert slots.lost(due_slot, now=now + LEASE) == []
    late = now + LEASE + MINUTE
    assert slots.lost(due_slot, now=late) == [first]
    assert slots.finish(due_slot, first, slots.Ended("lost"), now=late)
    second = take(due_slot, late + HOUR)
    assert second and second.attempt == 2
    # The first was only asleep. Nothing it says counts any more.
    assert not slots.beat(due_slot, first, now=late, lease=LEASE)
    assert not slots.finish(due_slot, first, slots.Ended("succeeded", 0, output="runs/old.ipynb"), now=late)
    assert slots.beat(due_slot, second, now=late + HOUR, lease=LEASE)
    assert slots.finish(due_slot, second, slots.Ended("succeeded", 0, output="runs/new.ipynb"), now=late + HOUR)
    assert not slots.finish(due_slot, second, slots.Ended("failed"), now=late + HOUR)
    [row] = slot_history.slots(due_slot).itertuples()
    assert (row.state, row.output) == ("succeeded", "runs/new.ipynb")
    assert slot_history.published(due_slot) == {"nightly": row.slot_id}
    assert slot_history.attempts(due_slot)["state"].tolist() == ["succeeded", "lost"]


def test_a_beat_renews_the_lease(due_slot: Path) -> None:
    now = START + DAY
    held = take(due_slot, now, worker="elsewhere/1/2.0")
    assert held
    assert slots.beat(due_slot, held, now=now + MINUTE, lease=LEASE)
    assert slots.lost(due_slot, now=now + LEASE + MINUTE) == []
    assert slots.lost(due_slot, now=now + LEASE + 2 * MINUTE) == [held]


def test_a_dead_scheduler_of_this_machine_is_noticed_before_its_lease_ends(due_slot: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    host, _, start = processes.me().rsplit("/", 2)
    dead.wait()
    held = take(due_slot, START + DAY, worker=f"{host}/{dead.pid}/{start}")
    assert slots.lost(due_slot, now=START + DAY) == [held]


def test_a_process_of_a_given_up_attempt_cannot_write_to_the_store(due_slot: Path) -> None:
    """In a process of its own, as the variable is read when the store is opened."""
    held = take(due_slot, START + DAY)
    assert held
    program = (
        "import sys, pathlib, datetime as dt\nfrom crmlib.store import ledger\n"
        "data = pathlib.Path(sys.argv[1])\n"
        "run = ledger.start_run(data, kind='k', name='n', parameters={}, now=dt.datetime(2026, 1, 5))\n"
        "print(run, flush=True)\nsys.stdin.readline()\n"
        "ledger.finish_run(data, run, state='succeeded', exit_code=0, now=dt.datetime(2026, 1, 5))\n"
    )
    environment = {"CRM_ATTEMPT": str(held.mark), "PATH": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(due_slot)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "1\n"
    assert slots.run_of(due_slot, held) == 1  # the attempt knows its run
    slots.finish(due_slot, held, slots.Ended("lost"), now=START + DAY)
    _, said = process.communicate("\n", timeout=60)
    assert process.returncode != 0
    assert "attempt 1 of slot 1 was given up: the slot is waiting with attempt 1; nothing was written" in said
    with session.session(due_slot) as store:
        assert store.scalars(sa.select(Run.state)).all() == ["running"]


def test_a_mark_that_is_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_ATTEMPT", "seventeen")
    with pytest.raises(UsageError, match="CRM_ATTEMPT is 'seventeen'; the scheduler sets it"):
        fence.current()


# ---------------------------------------------------------------- what waits for what


CHAIN = (
    '[job.load]\nrun = ["score"]\nat = "30 2 * * *"\nretries = 0\n'
    '[job.score]\nrun = ["score"]\nafter = ["load"]\n[job.report]\nrun = ["score"]\nafter = ["score"]\n'
)


def test_what_waits_runs_after_and_is_skipped_with_a_reason_where_that_failed(tmp_path: Path) -> None:
    plan = schedule(tmp_path, CHAIN)
    scheduler.plan(tmp_path, plan, START)
    now = START + DAY
    assert [job for job, _ in work_at(tmp_path, plan, now)] == ["load", "score", "report"]
    scheduler.plan(tmp_path, plan, now + DAY)
    held = take(tmp_path, now + DAY)
    assert held and held.job == "load"
    assert take(tmp_path, now + DAY) is None  # the others wait
    slots.finish(tmp_path, held, slots.Ended("failed"), now=now + DAY)
    assert take(tmp_path, now + DAY) is None
    found = slot_history.slots(tmp_path).head(3).set_index("job")
    moment = held.logical_date.isoformat()
    assert found["state"].to_dict() == {"load": "failed", "score": "skipped", "report": "skipped"}
    assert found.loc["score", "reason"] == {"code": "after", "job": "load", "logical_date": moment, "state": "failed"}
    assert found.loc["report", "reason"]["job"] == "score"
    # Put back by hand, it brings those with it that were skipped because of it.
    assert len(slots.retry(tmp_path, held.slot_id, now=now + DAY)) == 3
    assert [job for job, _ in work(tmp_path, now + DAY)] == ["load", "score", "report"]


def test_one_slot_of_a_job_runs_at_a_time_and_an_older_one_put_back_does_not_move_the_pointer(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY + 'catch_up = "all"\nretries = 0')
    scheduler.plan(tmp_path, plan, START)
    scheduler.plan(tmp_path, plan, START + 2 * DAY)
    now = START + 2 * DAY
    held = take(tmp_path, now)
    assert held and take(tmp_path, now) is None
    slots.finish(tmp_path, held, slots.Ended("failed"), now=now)
    [(_, newer)] = work(tmp_path, now)
    pointed = slot_history.published(tmp_path)
    assert newer == night(22)
    slots.retry(tmp_path, held.slot_id, now=now)
    assert work(tmp_path, now) == [("nightly", night(21))]
    assert slot_history.published(tmp_path) == pointed


def test_only_what_failed_or_was_skipped_can_be_put_back(due_slot: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no slot 99; `crm schedule status`"):
        slots.retry(due_slot, 99, now=START)
    with pytest.raises(UsageError, match="slot 1 of nightly is waiting; only one that failed"):
        slots.retry(due_slot, 1, now=START)


def test_what_was_due_before_the_job_was_known_is_not_waited_for(tmp_path: Path) -> None:
    text = NIGHTLY + '[job.weekly]\nrun = ["score"]\nat = "0 13 * * fri"\nafter = ["nightly"]\n'
    plan = schedule(tmp_path, text)
    scheduler.plan(tmp_path, plan, START)  # Friday noon: the night before was nobody's
    assert work_at(tmp_path, plan, START + HOUR) == [("weekly", START + HOUR)]


def test_what_was_put_back_by_hand_is_not_left_out_again(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY)
    scheduler.plan(tmp_path, plan, START)
    scheduler.plan(tmp_path, plan, START + 2 * DAY)  # the first night was missed, the second stands for it
    missed = slot_history.slots(tmp_path).set_index("state")["slot_id"]["skipped"]
    assert work(tmp_path, START + 2 * DAY) == [("nightly", night(22))]
    slots.retry(tmp_path, int(missed), now=START + 2 * DAY)
    # The next look is when the third night is due: the one put back is older, but wanted.
    assert work_at(tmp_path, plan, START + 3 * DAY) == [("nightly", night(21)), ("nightly", night(23))]


# ---------------------------------------------------------------- how jobs stand


def test_a_clock_that_jumps_ahead_does_not_make_what_runs_here_look_lost(
    due_slot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, ended = threading.Event(), threading.Event()

    def supervise(_data: Path, held: slots.Claim, **_: object) -> attempts.Result:
        running.set()
        assert ended.wait(60)
        return attempts.Result(held.slot_id, held.job, held.logical_date, held.attempt, "succeeded")

    monkeypatch.setattr(attempts, "supervise", supervise)
    clock = [START + DAY]
    with ThreadPoolExecutor(1) as pool:
        crew = scheduler.Crew(due_slot, lambda: clock[0], 1, pool)
        crew.fill()
        try:
            assert running.wait(60)
            clock[0] += DAY
            assert len(slots.lost(due_slot, now=clock[0])) == 1
            assert scheduler._look_after(crew) == []
            assert slot_history.slots(due_slot)["state"].tolist() == ["running"]
        finally:
            ended.set()
        assert [result.state for result in crew.ended(within=60)] == ["succeeded"]
    # Nobody here runs it any more, and nobody said how it ended: now it is lost.
    assert [result.state for result in scheduler._look_after(crew)] == ["lost"]


def test_a_failure_is_told_even_if_a_later_run_in_the_same_tick_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = schedule(tmp_path, NIGHTLY + 'catch_up = "all"\nretries = 0\n')
    scheduler.plan(tmp_path, plan, START)
    back = START + 2 * DAY

    def supervise(data: Path, held: slots.Claim, **_: object) -> attempts.Result:
        state = "failed" if held.logical_date == night(21) else "succeeded"
        assert slots.finish(data, held, slots.Ended(state), now=back)
        return attempts.Result(held.slot_id, held.job, held.logical_date, held.attempt, state)

    monkeypatch.setattr(attempts, "supervise", supervise)
    assert [result.state for result in scheduler.tick(tmp_path, lambda: back)] == ["failed", "succeeded"]
    [alert] = alerts.alerts(tmp_path, standing=False).itertuples()
    assert alert.topic == f"failed/nightly/{night(21).isoformat()}" and alert.cleared_at == back


def test_the_alert_of_a_job_that_is_taken_out_of_the_file_goes(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY + "retries = 0\n")
    scheduler.plan(tmp_path, plan, START)
    scheduler.plan(tmp_path, plan, START + DAY)
    assert work(tmp_path, START + DAY, "failed") == [("nightly", night(21))]
    for _ in range(2):
        scheduler._alert(tmp_path, START + DAY)
        assert len(alerts.alerts(tmp_path)) == 1
    scheduler.plan(tmp_path, schedule(tmp_path, ""), START + DAY + HOUR)
    for _ in range(2):
        scheduler._alert(tmp_path, START + DAY + HOUR)
        assert alerts.alerts(tmp_path).empty


def test_the_overview_says_what_is_late_even_if_no_scheduler_comes_by(tmp_path: Path) -> None:
    plan = schedule(tmp_path, NIGHTLY)
    scheduler.plan(tmp_path, plan, START)
    late = scheduler.overview(tmp_path, plan, night(21) + 30 * MINUTE)["late"]
    assert late.tolist() == [False]
    seen = scheduler.overview(tmp_path, plan, night(21) + 2 * HOUR)
    assert seen.dtypes.astype(str).to_dict() == scheduler.OVERVIEW
    assert seen["late"].tolist() == [True]
    scheduler.plan(tmp_path, plan, night(21) + 2 * HOUR)
    assert scheduler.overview(tmp_path, plan, night(21) + 2 * HOUR)["late"].tolist() == [True]  # made, not begun
    held = take(tmp_path, night(21) + 2 * HOUR)
    assert held
    slots.finish(tmp_path, held, slots.Ended("succeeded"), now=night(21) + 3 * HOUR)
    [row] = scheduler.overview(tmp_path, plan, night(21) + 3 * HOUR).itertuples()
    assert (row.state, row.late, row.seconds, row.usual_seconds) == ("succeeded", False, 3600, 3600)
    assert row.next_due == night(22)


def test_tables_have_the_columns_and_types_they_say(due_slot: Path) -> None:
    assert slot_history.slots(due_slot).dtypes.astype(str).to_dict() == slot_history.SLOTS
    take(due_slot, START + DAY)
    assert slot_history.attempts(due_slot, slot_id=1).dtypes.astype(str).to_dict() == slot_history.ATTEMPTS
    assert slot_history.attempts(due_slot)["log"].tolist() == ["1-1.log"]
    assert slot_history.outlook(due_slot, now=START + DAY) == (None, True)
    with session.session(due_slot) as store:
        assert store.scalar(sa.select(sa.func.count()).select_from(SlotAttempt)) == 1
        assert store.scalars(sa.select(Slot.attempt)).all() == [1]
