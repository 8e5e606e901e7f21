"""Due times against a minute-by-minute reference, through changes of clocks in several zones."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import UsageError
from crmlib.runs import due

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Moscow",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
]
# A day with a change of clocks (or of the calendar, in Samoa) in one of the zones, and an ordinary one.
DAYS = [dt.date(2026, 3, 29), dt.date(2026, 10, 25), dt.date(2026, 3, 8), dt.date(2026, 11, 1), dt.date(2026, 4, 5)]
DAYS += [dt.date(2026, 10, 4), dt.date(2011, 12, 30), dt.date(2026, 6, 17)]


def naive(times: due.Times, zone: str, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    """Walk every minute; a wall time seen before does not count again, one that was skipped counts when it is passed."""
    where, found = zoneinfo.ZoneInfo(zone), []
    moment = after - dt.timedelta(days=2)
    seen = moment.replace(tzinfo=dt.UTC).astimezone(where).replace(tzinfo=None)
    while moment < until:
        moment += dt.timedelta(minutes=1)
        wall = moment.replace(tzinfo=dt.UTC).astimezone(where).replace(tzinfo=None)
        hit = False
        while seen < wall:  # usually one minute, more after a gap, none while clocks show the same again
            seen += dt.timedelta(minutes=1)
            hit |= times.matches(seen.date()) and seen.hour in times.hours and seen.minute in times.minutes
        if hit and after < moment <= until:
            found.append(moment)
    return found


FIELDS = st.tuples(
    st.sampled_from(["0", "30", "*/20", "5,50", "10-12"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/5", "23"]),
    st.sampled_from(["* * *", "* * sun", "* * mon-fri", "29-31 * *", "1 * *", "* mar,oct,nov *"]),
).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(FIELDS, st.sampled_from(ZONES), st.sampled_from(DAYS), st.integers(0, 36 * 60), st.integers(1, 40 * 60))
def test_due_moments_agree_with_walking_every_minute(
    text: str, zone: str, day: dt.date, begin: int, length: int
) -> None:
    after = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=begin - 24 * 60)
    until = after + dt.timedelta(minutes=length)
    times = due.parse(text)
    expected = naive(times, zone, after, until)
    assert due.between(times, zone, after=after, until=until) == expected
    if expected:
        assert due.next_after(times, zone, after) == expected[0]
        assert due.last_until(times, zone, until) == expected[-1]


def test_a_skipped_time_runs_once_when_it_is_passed_and_a_repeated_one_once() -> None:
    times = due.parse("30 2 * * *")
    spring = due.between(times, "Europe/Berlin", after=dt.datetime(2026, 3, 28, 12), until=dt.datetime(2026, 3, 29, 12))
    assert spring == [dt.datetime(2026, 3, 29, 1, 0)]  # 03:00, since 02:30 did not exist
    autumn = due.between(
        times, "Europe/Berlin", after=dt.datetime(2026, 10, 24, 12), until=dt.datetime(2026, 10, 25, 12)
    )
    assert autumn == [dt.datetime(2026, 10, 25, 0, 30)]  # the first 02:30, in summer time


def test_a_year_of_nights_has_a_run_for_each() -> None:
    times = due.parse("30 2 * * *")
    for zone in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe"):
        found = due.between(times, zone, after=dt.datetime(2025, 12, 31, 12), until=dt.datetime(2026, 12, 31, 12))
        assert len(found) == 365
        assert len({due.local_day(moment, zone) for moment in found}) == 365


def test_pieces_of_a_span_give_what_the_whole_gives() -> None:
    times, zone, begin = due.parse("*/30 * * * *"), "Europe/Berlin", dt.datetime(2026, 3, 28, 20)
    whole = due.between(times, zone, after=begin, until=begin + dt.timedelta(hours=10))
    pieces = [
        moment
        for number in range(60)
        for moment in due.between(
            times,
            zone,
            after=begin + dt.timedelta(minutes=10 * number),
            until=begin + dt.timedelta(minutes=10 * number + 10),
        )
    ]
    assert pieces == whole


def test_a_leap_day_is_found_years_ahead_and_back() -> None:
    times = due.parse("0 0 29 feb *")
    assert due.next_after(times, "UTC", dt.datetime(2096, 3, 1)) == dt.datetime(2104, 2, 29)
    assert due.last_until(times, "UTC", dt.datetime(2104, 2, 28)) == dt.datetime(2096, 2, 29)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("30 2 * *", "has 4 fields; five are wanted"),
        ("60 2 * * *", "the minute is '60'; write .* from 0 to 59"),
        ("0 2-1 * * *", "the hour is '2-1'"),
        ("0 */0 * * *", "the hour is '\\*/0'"),
        ("0 0 * * monday", "the weekday is 'monday'"),
        ("0 0 1 * mon", "names a day of the month and a weekday; keep one"),
        ("0 0 30 2 *", "a day that never comes"),
        ("0 0 31 4,6 *", "a day that never comes"),
        ("0 0 -1 * *", "the day is '-1'"),
        ("٣ 0 * * *", "the minute is|fields"),
    ],
)
def test_times_that_make_no_sense_are_refused(text: str, match: str) -> None:
    if text.startswith("٣"):
        assert due.parse(text).minutes == (3,)  # other scripts' digits are digits
        return
    with pytest.raises(UsageError, match=match):
        due.parse(text)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="'Europe/Nowhere' is no time zone; write one like Europe/Berlin"):
        due.zone("Europe/Nowhere")
    with pytest.raises(UsageError, match="no time zone"):
        due.zone("../etc/passwd")
