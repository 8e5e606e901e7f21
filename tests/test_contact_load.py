"""Contact load: local half hours with summer time, opening hours, the choice of a method, and intervals on planted truth."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crmlib.errors import DataError, UsageError
from crmlib.models import contact_days, contact_load

BERLIN = "Europe/Berlin"
WEEK = np.array([1.2, 1.0, 0.9, 1.0, 1.1, 0.4, 0.0])


def _contacts(local: pd.DatetimeIndex, time_zone: str = BERLIN) -> pd.DataFrame:
    utc = local.tz_localize(time_zone, ambiguous=np.ones(len(local), dtype=bool), nonexistent="shift_forward")
    table = pd.DataFrame({"occurred_at": utc.tz_convert("UTC").tz_localize(None).sort_values()})
    return table.assign(direction="in", channel="call", duration_seconds=120.0)


def _truth(days: pd.DatetimeIndex, *, level: float = 200.0, holidays: tuple[str, ...] = ()) -> NDArray[Any]:
    """Mean contacts by day and half hour: 8 to 18 o'clock, Saturdays until noon, busier in summer."""
    hour = np.arange(48) / 2
    shape = np.exp(-(((hour - 10.5) / 2.5) ** 2)) + 0.2
    shape = np.where((hour >= 8) & (hour < 18), shape, 0)
    saturday = np.where(hour < 12, shape, 0)
    day = np.asarray(days.day_of_week)
    rows = np.where((day == 5)[:, None], saturday / saturday.sum(), shape / shape.sum())
    year = 1 + 0.3 * np.sin(2 * np.pi * (np.asarray(days.day_of_year) - 100) / 365.25)
    off = np.asarray(days.isin(pd.DatetimeIndex(list(holidays))))
    return rows * (level * WEEK[day] * year * ~off)[:, None]


def _planted(
    days: int, *, seed: int = 1, shock: float = 0.0, level: float = 200.0, holidays: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.DatetimeIndex]:
    """Calls up to 2025-06-30 drawn from the truth, each day off by a shock of its own."""
    rng = np.random.default_rng(seed)
    every = pd.date_range(end="2025-06-30", periods=days, freq="D")
    noise = np.exp(rng.normal(0, shock, days) - shock**2 / 2)
    count = rng.poisson(_truth(every, level=level, holidays=holidays) * noise[:, None])
    day, slot = (np.repeat(place, count.ravel()) for place in np.indices(count.shape).reshape(2, -1))
    seconds = slot * 1800 + rng.integers(0, 1800, len(slot))
    return _contacts(every[day] + pd.to_timedelta(seconds, unit="s")), every


UNTIL = dt.date(2025, 6, 30)


# ---- the record


def test_contacts_fall_into_the_half_hours_of_local_time_in_summer_and_winter() -> None:
    times = ["2025-01-10 09:29:59", "2025-01-10 09:30:00", "2025-07-10 09:30:00", "2025-07-10 23:45:00"]
    local = pd.DatetimeIndex(times)
    days = contact_load.record(_contacts(local), time_zone=BERLIN, until=dt.date(2025, 7, 10))
    assert days.days[0] == pd.Timestamp(2025, 1, 10)
    assert days.counts[0, 18:20].tolist() == [1, 1]
    assert days.counts[-1, [19, 47]].tolist() == [1, 1]
    assert days.counts.sum() == 4


def test_days_of_23_and_25_hours_have_46_and_50_half_hours_and_lose_no_contact() -> None:
    every = pd.date_range("2025-03-25", "2025-10-31 23:59", freq="15min", tz=BERLIN)
    table = pd.DataFrame(
        {"occurred_at": every.tz_convert("UTC").tz_localize(None), "direction": "in", "channel": "call"}
    )
    days = contact_load.record(table, time_zone=BERLIN, until=dt.date(2025, 10, 31))
    spring, autumn = days.days.get_loc("2025-03-30"), days.days.get_loc("2025-10-26")
    assert days.number[spring].sum() == 46
    assert days.number[autumn].sum() == 50
    assert days.counts[spring].sum() == 92
    assert days.counts[autumn].sum() == 100
    assert days.counts[autumn, 4:6].tolist() == [4, 4]
    out = contact_load.half_hours(days, time_zone=BERLIN)
    assert out["contacts"].sum() == pytest.approx(len(table))
    assert (out["contacts"] == 2).all()
    assert out["starts_at_utc"].diff().dropna().eq(pd.Timedelta(minutes=30)).all()
    repeated = out[out["starts_at"] == pd.Timestamp(2025, 10, 26, 2, 0)]
    assert repeated["starts_at_utc"].tolist() == [pd.Timestamp(2025, 10, 26, 0, 0), pd.Timestamp(2025, 10, 26, 1, 0)]
    assert not (out["starts_at"] == pd.Timestamp(2025, 3, 30, 2, 0)).any()


def test_a_forecast_over_the_change_of_the_clock_keeps_local_hours() -> None:
    table, _ = _planted(85)
    table["occurred_at"] += pd.Timestamp(2025, 10, 20) - pd.Timestamp(2025, 6, 30)  # both in summer time
    days = contact_load.record(table, time_zone=BERLIN, until=dt.date(2025, 10, 20))
    found = contact_load.forecast(days, time_zone=BERLIN, weeks=2).table
    assert len(found) == 14 * 48 + 2
    busy = found[found["contacts"] > 0]
    assert busy["starts_at"].dt.hour.between(8, 17).all()
    offset = (found["starts_at"] - found["starts_at_utc"]).dt.total_seconds() / 3600
    assert offset[found["starts_at"] < "2025-10-26"].eq(2).all()
    assert offset[found["starts_at"] >= "2025-10-26 03:00"].eq(1).all()


@given(
    st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_no_contact_is_lost_in_any_time_zone(time_zone: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    utc = pd.Timestamp("2025-01-05") + pd.to_timedelta(np.sort(rng.integers(0, 330 * 86400, 400)), unit="s")
    table = pd.DataFrame({"occurred_at": utc, "direction": "in", "channel": "call"})
    days = contact_load.record(table, time_zone=time_zone, until=dt.date(2025, 12, 31))
    assert days.counts.sum() == 400
    assert set(np.unique(days.number[:, 12:])) == {1.0}
    assert not days.counts[days.number == 0].any()
    assert contact_load.half_hours(days, time_zone=time_zone)["contacts"].sum() == pytest.approx(400)


def test_opening_hours_are_found_or_given_and_stray_contacts_open_nothing() -> None:
    table, _ = _planted(200)
    stray = _contacts(pd.DatetimeIndex(["2025-05-06 03:10"]))
    days = contact_load.record(pd.concat([table, stray]), time_zone=BERLIN, until=UNTIL)
    assert [np.flatnonzero(row)[[0, -1]].tolist() if row.any() else [] for row in days.weekly] == [[16, 35]] * 5 + [
        [16, 23],
        [],
    ]
    assert days.counts.sum() - days.totals.sum() == 1
    given_ = contact_load.record(table, time_zone=BERLIN, until=UNTIL, opening={0: ("09:00", "11:15")})
    assert np.flatnonzero(given_.weekly[0]).tolist() == [18, 19, 20, 21, 22]
    assert given_.weekly[1:].sum() == 0


def test_closed_days_are_told_from_quiet_half_hours() -> None:
    holidays = ("2025-05-01", "2025-06-09")
    table, every = _planted(200, holidays=holidays)
    days = contact_load.record(table, time_zone=BERLIN, until=UNTIL, holidays=holidays)
    closed = every[~days.working & (every.day_of_week < 6)]
    assert closed.tolist() == [pd.Timestamp(day) for day in holidays]
    unlisted = contact_load.record(table, time_zone=BERLIN, until=UNTIL)
    assert unlisted.working.tolist() == days.working.tolist()


def test_a_coming_holiday_is_closed_unless_past_ones_brought_contacts() -> None:
    coming = "2025-07-03"
    for past, works in ((("2025-05-01", "2025-06-09"), False), ((), True)):
        table, _ = _planted(200, holidays=past)
        days = contact_load.record(table, time_zone=BERLIN, until=UNTIL, holidays=("2025-05-01", "2025-06-09", coming))
        found = contact_load.forecast(
            days, time_zone=BERLIN, weeks=1, holidays=("2025-05-01", "2025-06-09", coming)
        ).table
        day = found[found["starts_at"].dt.normalize() == pd.Timestamp(coming)]
        assert (day["contacts"].sum() > 50) == works
        assert ("closed_day" in set(day["code"])) != works


# ---- the forecast


@pytest.fixture(scope="module")
def planted() -> tuple[contact_days.Days, contact_load.Forecast]:
    table, _ = _planted(700, shock=0.12)
    days = contact_load.record(table, time_zone=BERLIN, until=UNTIL)
    return days, contact_load.forecast(days, time_zone=BERLIN)


def test_the_forecast_comes_near_the_planted_means(planted: tuple[Any, contact_load.Forecast]) -> None:
    table = planted[1].table
    ahead = pd.DatetimeIndex(table["starts_at"]).normalize().unique()
    truth = _truth(ahead).ravel()
    assert np.abs(table["contacts"] - truth).sum() / truth.sum() < 0.09
    assert (table.loc[truth == 0, ["contacts", "low_80", "high_95"]] == 0).all(axis=None)
    assert set(table.loc[truth == 0, "code"]) == {"closed_hours"}


def test_the_spread_of_a_day_is_recovered(planted: tuple[Any, contact_load.Forecast]) -> None:
    spread = planted[1].table.loc[planted[1].table["code"] == "", "spread"]
    assert np.sqrt(spread.iloc[0]) == pytest.approx(0.12, abs=0.05)
    assert spread.is_monotonic_increasing


def test_intervals_cover_what_comes(planted: tuple[Any, contact_load.Forecast]) -> None:
    table = planted[1].table
    open_ = table["code"] == ""
    truth = _truth(pd.DatetimeIndex(table["starts_at"]).normalize().unique()).ravel()[open_]
    rng = np.random.default_rng(11)
    levels = {"80": [], "95": []}
    for _ in range(60):
        shock = np.repeat(np.exp(rng.normal(0, 0.12, 28)), 48)[open_]
        actual = rng.poisson(truth * shock)
        for name, inside in levels.items():
            row = table[open_]
            inside.append(((actual >= row[f"low_{name}"]) & (actual <= row[f"high_{name}"])).mean())
    assert 0.78 < np.mean(levels["80"]) < 0.93  # whole contacts: an interval can only be a step too wide
    assert 0.93 < np.mean(levels["95"]) < 0.995


def test_the_accuracy_shown_beats_the_seasonal_naive(planted: tuple[Any, contact_load.Forecast]) -> None:
    found = planted[1]
    assert found.method in contact_days.METHODS
    assert found.reason == ""
    assert found.accuracy["ahead"].tolist() == [0, 1, 2, 3, 4]
    assert (found.accuracy["wape"] < found.accuracy["wape_naive"]).all()
    assert (found.accuracy["pinball"] < found.accuracy["pinball_naive"]).all()
    assert found.accuracy["coverage_80"].between(0.74, 0.95).all()


def test_the_accuracy_of_a_seasonal_naive_equals_one_written_out(planted: tuple[Any, contact_load.Forecast]) -> None:
    days, found = planted
    errors, wanted = 0.0, 0.0
    for origin in range(8):
        cut = len(days.days) - 7 * (origin + 1)
        for day in range(cut, min(cut + 28, len(days.days))):
            last = day - 7 * ((day - cut) // 7 + 1)
            open_ = days.open[day] & (days.number[day] == 1)
            errors += np.abs(days.counts[day] - days.counts[last])[open_].sum()
            wanted += days.counts[day][open_].sum()
    assert found.accuracy["wape_naive"].iloc[0] == pytest.approx(errors / wanted)


def test_the_future_changes_no_earlier_forecast() -> None:
    table, _ = _planted(200)
    until = dt.date(2025, 5, 31)
    later = contact_load.record(table, time_zone=BERLIN, until=until)
    cut = table[table["occurred_at"] < "2025-05-31 22:00"]
    known = contact_load.record(cut, time_zone=BERLIN, until=until)
    one, two = (contact_load.forecast(days, time_zone=BERLIN, weeks=1).table for days in (later, known))
    pd.testing.assert_frame_equal(one, two)


def test_a_short_or_thin_record_gets_a_simple_method_and_a_reason() -> None:
    table, _ = _planted(30)
    days = contact_load.record(table, time_zone=BERLIN, until=UNTIL)
    found = contact_load.forecast(days, time_zone=BERLIN)
    assert (found.method, found.reason) == ("mean_of_weeks", "short_record")
    assert found.accuracy.empty
    thin, _ = _planted(400, level=6.0)
    days = contact_load.record(thin, time_zone=BERLIN, until=UNTIL)
    found = contact_load.forecast(days, time_zone=BERLIN)
    monday = (
        found.table[found.table["starts_at"].dt.day_of_week == 0]
        .groupby(found.table["starts_at"].dt.date)["contacts"]
        .sum()
    )
    assert monday.iloc[0] == pytest.approx(6.0 * 1.2 * 1.3, rel=0.25)


def test_a_profile_that_differs_by_chance_only_is_shared_and_a_real_one_kept() -> None:
    rng = np.random.default_rng(4)
    shape = np.array([0.1, 0.2, 0.4, 0.3])
    drawn = rng.multinomial(50, shape, size=5).astype(float)
    assert np.abs(contact_days._shrunk(drawn) - shape).max() < 0.6 * np.abs(drawn / 50 - shape).max()
    own = np.array([[0.4, 0.3, 0.2, 0.1], shape]) * 10_000
    assert contact_days._shrunk(own) == pytest.approx(own / 10_000, abs=0.01)


# ---- bad input


def test_bad_input_gets_a_clear_sentence() -> None:
    table, _ = _planted(60)
    with pytest.raises(DataError, match="contacts has no column direction; it has occurred_at"):
        contact_load.record(table.drop(columns="direction"), time_zone=BERLIN, until=UNTIL)
    with pytest.raises(DataError, match="time_zone is 'Berlin', which is no time zone; write one like Europe/Berlin"):
        contact_load.record(table, time_zone="Berlin", until=UNTIL)
    with pytest.raises(DataError, match=r"channel chat coming in go back 0 days \(need 14\)"):
        contact_load.record(table, time_zone=BERLIN, until=UNTIL, channel="chat")
    for wrong in (("18:00", "08:00"), ("8", "9"), ("08:00", "25:00"), (8, 18), 5):
        with pytest.raises(UsageError, match=r"opening of weekday 0 is .*; give two times like"):
            contact_load.record(table, time_zone=BERLIN, until=UNTIL, opening={0: wrong})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="opening names the weekday 7"):
        contact_load.record(table, time_zone=BERLIN, until=UNTIL, opening={7: ("08:00", "18:00")})
    days = contact_load.record(table, time_zone=BERLIN, until=UNTIL)
    with pytest.raises(UsageError, match="weeks is 0; give a whole number of weeks, 1 or more"):
        contact_load.forecast(days, time_zone=BERLIN, weeks=0)


def test_handling_is_the_mean_of_the_last_weeks() -> None:
    table, _ = _planted(200)
    table["duration_seconds"] = np.where(table["occurred_at"] < "2025-03-01", 900.0, 120.0)
    assert contact_load.handling(table, until=UNTIL) == 120.0
    assert np.isnan(contact_load.handling(table.assign(duration_seconds=np.nan), until=UNTIL))
    assert np.isnan(contact_load.handling(table.drop(columns="duration_seconds"), until=UNTIL))
