"""Agents needed: published figures of Erlang B, C and A, an independent solution and simulation, and the plan over a forecast."""

from __future__ import annotations

import datetime as dt
import heapq
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import paths
from crmlib.decisions import staffing
from crmlib.decisions.staffing import Goal
from crmlib.errors import DataError, UsageError
from crmlib.runs import staffing_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets, session, tables
from crmlib.warehouse import build, company, schema


@pytest.mark.parametrize(
    ("load", "agents", "lost"),
    [(1, 1, 0.5), (5, 10, 0.0184), (10, 10, 0.2146), (20, 30, 0.0085), (84.1, 100, 0.01)],
)
def test_erlang_b_of_the_published_traffic_tables(load: float, agents: int, lost: float) -> None:
    assert staffing.erlang_b(load, agents) == pytest.approx(lost, abs=0.0002)


def test_erlang_b_equals_its_formula() -> None:
    for load in (0.3, 4.0, 25.0):
        terms = [load**k / math.factorial(k) for k in range(31)]
        for agents in (0, 1, 7, 30):
            assert staffing.erlang_b(load, agents) == pytest.approx(terms[agents] / sum(terms[: agents + 1]))


def test_erlang_c_of_the_usual_example_100_calls_in_half_an_hour_of_180_seconds_14_agents() -> None:
    found = staffing.service(100, 14, handling_seconds=180, goal=Goal(patience_seconds=math.inf))
    assert found.delayed == pytest.approx(0.174, abs=0.0005)
    assert found.service_level == pytest.approx(0.888, abs=0.0005)
    assert found.wait_seconds == pytest.approx(7.8, abs=0.05)
    assert found.busy == pytest.approx(10 / 14)


def test_erlang_a_and_c_of_garnett_mandelbaum_reiman_2002_table_1_50_agents_48_calls_a_minute() -> None:
    """One minute of service, two minutes of patience: 3.1% abandon, mean wait 3.7 s, 93% busy; without patience 20.8 s, 96%."""
    patient = staffing.service(48, 50, handling_seconds=60, goal=Goal(patience_seconds=math.inf), period_seconds=60)
    assert patient.wait_seconds == pytest.approx(20.8, abs=0.05)
    assert patient.busy == pytest.approx(0.96)
    found = staffing.service(48, 50, handling_seconds=60, goal=Goal(patience_seconds=120), period_seconds=60)
    assert found.abandoned == pytest.approx(0.031, abs=0.0005)
    assert found.wait_seconds == pytest.approx(3.7, abs=0.05)
    assert found.busy == pytest.approx(0.93, abs=0.005)


def _chain(rate: float, agents: int, theta: float) -> tuple[float, float, float]:
    """Delay, abandonment and mean queue of the birth-and-death chain solved state by state (handling takes 1)."""
    logs = [0.0]
    for k in range(1, agents + 4000):
        logs.append(logs[-1] + math.log(rate) - math.log(min(k, agents) + max(k - agents, 0) * theta))
        if k > agents and logs[-1] < max(logs) - 60:
            break
    share = np.exp(np.array(logs) - max(logs))
    share /= share.sum()
    waiting = np.maximum(np.arange(len(share)) - agents, 0)
    queue = float(share @ waiting)
    return float(share[agents:].sum()), theta * queue / rate, queue


@given(rate=st.floats(0.05, 120), agents=st.integers(1, 120), patience=st.floats(0.05, 30), within=st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_erlang_a_equals_the_chain_solved_state_by_state(
    rate: float, agents: int, patience: float, within: float
) -> None:
    goal = Goal(patience_seconds=patience * 100, within_seconds=within * 100)
    found = staffing.service(rate, agents, handling_seconds=100, goal=goal, period_seconds=100)
    delayed, abandoned, queue = _chain(rate, agents, 1 / patience)
    assert found.delayed == pytest.approx(delayed, rel=1e-6, abs=1e-9)
    assert found.abandoned == pytest.approx(abandoned, rel=1e-6, abs=1e-9)
    assert found.wait_seconds == pytest.approx(queue / rate * 100, rel=1e-6, abs=1e-6)
    assert found.busy == pytest.approx(rate * (1 - abandoned) / agents, abs=1e-9)
    assert -1e-12 <= found.service_level <= 1 - abandoned + 1e-9


@pytest.mark.parametrize(
    ("rate", "agents", "patience", "within"), [(8.0, 9, 2.0, 0.2), (8.0, 7, 0.5, 0.3), (1.2, 2, 1.0, 0.1)]
)
def test_the_service_level_equals_that_of_the_chain_with_its_waits_written_out(
    rate: float, agents: int, patience: float, within: float
) -> None:
    """A caller who finds q in the queue waits for q + 1 departures, each of rate agents + j theta, unless his patience ends."""
    theta, states = 1 / patience, 400
    logs = np.concatenate(
        [
            [0.0],
            np.cumsum(
                [math.log(rate / (min(k, agents) + max(k - agents, 0) * theta)) for k in range(1, agents + states)]
            ),
        ]
    )
    share = np.exp(logs - logs.max())
    share /= share.sum()
    in_time = share[:agents].sum()
    grid = np.linspace(0, within, 2001)
    ahead = np.zeros(states)  # chance that j are still before him (0: he is answered), started in each queue in turn
    ahead[1:] = share[agents : agents + states - 1]
    step = grid[1]
    leave = agents + np.arange(states - 1) * theta
    for _ in grid[1:]:  # explicit steps of the pure death process of those before him, and of his own patience
        out = ahead[1:] * leave * step
        lost = ahead[1:] * theta * step
        ahead[0] += out[0]
        ahead[1:] -= out + lost
        ahead[1:-1] += out[1:]
    found = staffing.service(
        rate,
        agents,
        handling_seconds=100,
        goal=Goal(patience_seconds=patience * 100, within_seconds=within * 100),
        period_seconds=100,
    )
    assert found.service_level == pytest.approx(in_time + ahead[0], abs=2e-4)


def _simulated(rate: float, agents: int, patience: float, within: float, seed: int) -> tuple[float, float]:
    """Share answered in time and share abandoned of a simulated queue, first come first served."""
    rng = np.random.default_rng(seed)
    number = 60_000
    arrivals = np.cumsum(rng.exponential(1 / rate, number))
    times, patient = rng.exponential(1, number), rng.exponential(patience, number)
    free = [0.0] * agents
    in_time = abandoned = 0
    for at, time, waits in zip(arrivals, times, patient, strict=True):
        start = max(free[0], at)
        if start - at > waits:
            abandoned += 1
            continue
        in_time += start - at <= within
        heapq.heapreplace(free, start + time)
    return in_time / number, abandoned / number


@pytest.mark.parametrize(("rate", "agents", "patience"), [(6.0, 7, 1.0), (12.0, 10, 0.5), (3.0, 4, 5.0)])
def test_erlang_a_equals_a_simulation(rate: float, agents: int, patience: float) -> None:
    goal = Goal(patience_seconds=patience * 180, within_seconds=20)
    found = staffing.service(rate * 10, agents, handling_seconds=180, goal=goal)
    in_time, abandoned = np.mean([_simulated(rate, agents, patience, 20 / 180, seed) for seed in range(5)], axis=0)
    assert found.service_level == pytest.approx(in_time, abs=0.012)
    assert found.abandoned == pytest.approx(abandoned, abs=0.01)


@given(rate=st.floats(0.5, 60), spare=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_endless_patience_is_erlang_c_and_none_is_erlang_b(rate: float, spare: int) -> None:
    agents = math.ceil(rate) + spare
    c = staffing.service(rate, agents, handling_seconds=100, goal=Goal(patience_seconds=math.inf), period_seconds=100)
    long = staffing.service(rate, agents, handling_seconds=100, goal=Goal(patience_seconds=1e9), period_seconds=100)
    assert long.service_level == pytest.approx(c.service_level, abs=1e-5)
    assert long.delayed == pytest.approx(c.delayed, abs=1e-5)
    short = staffing.service(rate, agents, handling_seconds=100, goal=Goal(patience_seconds=1e-4), period_seconds=100)
    assert short.abandoned == pytest.approx(staffing.erlang_b(rate, agents), abs=1e-4)


@given(st.floats(0, 300), st.integers(0, 60), st.floats(0.01, 1e5), st.floats(0, 300))
@settings(max_examples=150, deadline=None)
def test_more_agents_never_serve_worse_and_every_share_is_one(
    contacts: float, agents: int, patience: float, within: float
) -> None:
    goal = Goal(patience_seconds=patience, within_seconds=within)
    less, more = (staffing.service(contacts, n, handling_seconds=200, goal=goal) for n in (agents, agents + 1))
    for found in (less, more):
        for share in (found.service_level, found.abandoned, found.delayed, found.busy):
            assert 0 <= share <= 1
    assert more.service_level >= less.service_level - 1e-7
    assert more.abandoned <= less.abandoned + 1e-7


# ---- the plan


def _half_hours(contacts: list[float], spread: float) -> pd.DataFrame:
    return pd.DataFrame({"contacts": contacts, "spread": spread})


def test_a_plan_has_the_fewest_agents_that_reach_the_goal_on_average() -> None:
    goal = Goal(service_level=0.8, within_seconds=20, patience_seconds=180)
    planned = staffing.plan(_half_hours([3.0, 40.0, 250.0], 0.04), handling_seconds=200, goal=goal)
    rng = np.random.default_rng(1)
    for row in planned.itertuples():
        rates = rng.gamma(1 / 0.04, 0.04 * row.contacts, 20_000)
        found = [staffing.service(rates, n, handling_seconds=200, goal=goal) for n in (row.agents - 1, row.agents)]
        fewer, enough = (np.average(one.service_level, weights=rates) for one in found)
        assert fewer < 0.8 <= enough + 0.004
        assert row.service_level == pytest.approx(enough, abs=0.005)
        assert row.abandoned == pytest.approx(np.average(found[1].abandoned, weights=rates), abs=0.005)
        assert row.met == pytest.approx((found[1].service_level >= 0.8).mean(), abs=0.05)


def test_an_uncertain_forecast_needs_more_agents_and_no_contacts_need_none() -> None:
    sure, unsure = (
        staffing.plan(_half_hours([0.0, 100.0], spread), handling_seconds=240, goal=Goal()) for spread in (0.0, 0.1)
    )
    assert sure["agents"].tolist()[0] == unsure["agents"].tolist()[0] == 0
    assert np.isnan(sure["service_level"].iloc[0])
    assert unsure["agents"].iloc[1] > sure["agents"].iloc[1]
    assert sure["met"].iloc[1] == 1.0
    assert 0.5 < unsure["met"].iloc[1] < 1.0


def test_bad_input_gets_a_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="service_level is 1; give a share above 0 and below 1"):
        Goal(service_level=1)
    with pytest.raises(UsageError, match="patience_seconds is 0; give seconds above 0"):
        Goal(patience_seconds=0)
    with pytest.raises(UsageError, match="within_seconds is -1"):
        Goal(within_seconds=-1)
    with pytest.raises(UsageError, match="weeks is 0; give a whole number of weeks from 1 to 13"):
        Goal(weeks=0)
    with pytest.raises(UsageError, match="handling_seconds is 0"):
        staffing.service(1, 1, handling_seconds=0, goal=Goal())
    with pytest.raises(UsageError, match="contacts are -1; give numbers, 0 or more"):
        staffing.service(-1, 1, handling_seconds=10, goal=Goal())
    with pytest.raises(UsageError, match="agents is -1; give a whole number"):
        staffing.erlang_b(1.0, -1)
    with pytest.raises(DataError, match="the forecast has no column spread; it has contacts"):
        staffing.plan(pd.DataFrame({"contacts": [1.0]}), handling_seconds=10, goal=Goal())
    with pytest.raises(DataError, match=r"forecast\.contacts holds values below 0 or none"):
        staffing.plan(_half_hours([np.nan], 0.0), handling_seconds=10, goal=Goal())
    with pytest.raises(DataError, match=r"more than 2,000 agents would be needed for 100,000 contacts of 3600 seconds"):
        staffing.plan(_half_hours([1e5], 0.0), handling_seconds=3600, goal=Goal())
    path = tmp_path / "staffing.toml"
    assert staffing.read(path) == Goal()
    for text, found in [
        ("service_level = 2", r"staffing\.toml: service_level is 2; give a share"),
        ("agents = 2", "unknown setting agents; known are service_level"),
        ("service_level", "not a readable TOML file"),
        ("[opening]\nmo = ['08:00', '18:00']", "opening names 'mo'; write lines like monday"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=found):
            staffing.read(path)
    path.write_text("patience_seconds = 60\n[opening]\nmonday = ['08:00', '18:00']\n", encoding="utf-8")
    assert staffing.read(path) == Goal(patience_seconds=60, opening={0: ["08:00", "18:00"]})  # type: ignore[dict-item]


# ---- the job


def _folder(data: Path, calls: pd.DataFrame, **settings: object) -> Path:
    """A data folder whose warehouse holds these calls and one customer."""
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    people = pd.DataFrame({"customer_id": ["c1"], "customer_since": [pd.Timestamp(2024, 1, 1)]})
    build.from_frames(path, {"customers": people, "contacts": calls}, company=company.Company(**settings))  # type: ignore[arg-type]
    now = dt.datetime(2025, 7, 1)
    with session.session(data) as store:
        row = {"version": 1, "state": "published", "file": path.name, "format_version": schema.FORMAT_VERSION}
        store.add(tables.Version(**row, created_at=now, published_at=now))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    return data


def _calls(days: int, *, seconds: float | None = 200.0, per_half_hour: float = 12.0) -> pd.DataFrame:
    """Calls from 9 to 17 o'clock in Berlin on working days until the end of June 2025."""
    rng = np.random.default_rng(1)
    every = pd.date_range(end="2025-06-30", periods=days, freq="D")
    times = [
        day + pd.Timedelta(hours=9, seconds=s)
        for day in every
        if day.day_of_week < 5
        for s in rng.uniform(0, 8 * 3600, rng.poisson(16 * per_half_hour))
    ]
    utc = (
        pd.DatetimeIndex(times)
        .tz_localize("Europe/Berlin")
        .tz_convert("UTC")
        .tz_localize(None)
        .floor("s")
        .sort_values()
    )
    table = pd.DataFrame(
        {"contact_id": [f"k{n:06d}" for n in range(len(utc))], "customer_id": "c1", "occurred_at": utc}
    )
    return table.assign(channel="call", direction="in", duration_seconds=seconds)


def test_the_job_saves_a_plan_in_local_time_with_what_it_rests_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _folder(tmp_path / "data", _calls(130), time_zone="Europe/Berlin", holidays=("2025-07-09",))
    (data / "staffing.toml").write_text("weeks = 2\npatience_seconds = 90\n", encoding="utf-8")
    table = staffing_jobs.staffing(data, stages=Stages())
    said = capsys.readouterr().out
    saved = score_sets.newest(data, "contact_load")
    assert score_sets.read(data, saved)["agents"].tolist() == table["agents"].tolist()
    assert len(table) == 14 * 48
    assert table["starts_at"].min() == pd.Timestamp(2025, 7, 1)
    assert (table["starts_at"] - table["starts_at_utc"]).eq(pd.Timedelta(hours=2)).all()
    at_work = (table["starts_at"].dt.day_of_week < 5) & table["starts_at"].dt.hour.between(9, 16)
    holiday = table["starts_at"].dt.normalize() == pd.Timestamp(2025, 7, 9)
    assert (table["agents"] > 0).tolist() == (at_work & ~holiday).tolist()
    assert table.loc[at_work & ~holiday, "contacts"].mean() == pytest.approx(12, rel=0.05)
    assert (table.loc[at_work & ~holiday, "service_level"] >= 0.8).all()
    assert set(table.loc[at_work & holiday, "code"]) == {"closed_day"}
    accuracy = score_sets.beside(data, saved, "accuracy")
    assert (
        accuracy.loc[accuracy["ahead"] == 0, "wape"].item() < accuracy.loc[accuracy["ahead"] == 0, "wape_naive"].item()
    )
    measured = accuracy.loc[accuracy["ahead"] == 0].iloc[0]
    assert f"tested ({measured['method']}): WAPE {measured['wape']:.1%}" in said
    history = score_sets.beside(data, saved, "history")
    assert history["starts_at"].max() == pd.Timestamp(2025, 6, 30, 23, 30)
    rests = score_sets.beside(data, saved, "assumptions").set_index("name")
    assert rests.loc["patience_seconds", "value"] == 90
    assert tuple(rests.loc["handling_seconds"]) == (200.0, "recorded")


def test_a_short_record_or_one_without_durations_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _folder(tmp_path / "short", _calls(21, seconds=None), time_zone="Europe/Berlin")
    table = staffing_jobs.staffing(data, stages=Stages())
    said = capsys.readouterr().out
    assert "mean_of_weeks: too short a record to measure its errors" in said
    assert "480 s a call (company)" in said
    assert table["agents"].max() > 0
    rests = score_sets.beside(data, score_sets.newest(data, "contact_load"), "assumptions").set_index("name")
    assert rests.loc["reason", "code"] == "short_record"
    with pytest.raises(
        DataError, match=r"not enough data: contacts of channel call coming in go back 8 days \(need 14\)"
    ):
        staffing_jobs.staffing(
            _folder(tmp_path / "ten", _calls(10), time_zone="Europe/Berlin"), stages=Stages(quiet=True)
        )
    mails = _folder(tmp_path / "mails", _calls(60).assign(channel="email"))
    with pytest.raises(DataError, match="go back 0 days"):
        staffing_jobs.staffing(mails, stages=Stages(quiet=True))


def test_the_example_of_the_document_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "staffing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(example, {})
    settings = (
        re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)[0].replace("# [", "[").replace("# monday", "monday")
    )
    known = tomllib.loads(settings.replace("# handling_seconds", "handling_seconds"))
    assert {**Goal().__dict__, "handling_seconds": 240, "opening": {"monday": ["08:00", "18:00"]}} == known
