"""When a job is due: five fields (minute, hour, day, month, weekday) in a time zone, through changes of the clocks.

A wall time that does not exist, when clocks go forward, is due once at the next moment that does; one that comes
twice, when they go back, is due once, the first time.
"""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass

from crmlib.errors import UsageError

FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    "month": {
        name: number
        for number, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
        )
    },
    "weekday": {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
}
_DAY = dt.timedelta(days=1)
_FARTHEST = 366 * 8 + 3  # days between two 29ths of February around a year like 2100


@dataclass(frozen=True)
class Times:
    """The wall times at which something is due; ``weekdays`` from 0 (Monday), as Python counts them."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def matches(self, day: dt.date) -> bool:
        """Return whether anything is due on a day."""
        return day.month in self.months and day.day in self.days and day.weekday() in self.weekdays


def parse(text: str) -> Times:
    """Return the times of five fields: ``minute hour day month weekday``, each ``*``, ``7``, ``1-5``, ``*/15`` or a list.

    Months and weekdays may be three letters. Raises UsageError for anything else, for a day and a weekday together
    (cron reads them as "either", people as "both"), and for a date that never comes.

    >>> parse("30 2 * * mon-fri").weekdays == frozenset(range(5))
    True
    """
    parts = text.split()
    if len(parts) != len(FIELDS):
        raise UsageError(
            f"{text!r} has {len(parts)} fields; five are wanted: minute hour day month weekday, like '30 2 * * *'"
        )
    found = [_field(part, *field, text) for part, field in zip(parts, FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = found
    if parts[2] != "*" and parts[4] != "*":
        raise UsageError(f"{text!r} names a day of the month and a weekday; keep one and write * for the other")
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    if min(days) > max(longest.get(month, 31) for month in months):
        raise UsageError(f"{text!r} names a day that never comes; give one that its months have")
    from_monday = frozenset((number + 6) % 7 for number in weekdays)
    return Times(text, tuple(sorted(minutes)), tuple(sorted(hours)), frozenset(days), frozenset(months), from_monday)


def _field(part: str, name: str, low: int, high: int, text: str) -> set[int]:
    values: set[int] = set()
    for item in part.split(","):
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        try:
            if slash and (not step.isdecimal() or int(step) < 1):
                raise ValueError
            if span == "*":
                begin, end = low, high
            else:
                begin = _number(first, name)
                end = _number(last, name) if dash else high if slash else begin
            if not low <= begin <= end <= high:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{text!r}: the {name} is {item!r}; write *, a number from {low} to {high}, a range like 1-5, "
                "a step like */5, or several with commas"
            ) from None
        values |= set(range(begin, end + 1, int(step) if slash else 1))
    return values


def _number(text: str, name: str) -> int:
    known = _NAMES.get(name, {})
    if text.lower() in known:
        return known[text.lower()]
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def zone(name: str) -> zoneinfo.ZoneInfo:
    """Return a time zone by its IANA name; raises UsageError for one that there is not."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"{name!r} is no time zone; write one like Europe/Berlin or UTC") from error


def local_day(moment: dt.datetime, zone_name: str) -> dt.date:
    """Return the day of a moment (naive UTC) in a zone.

    >>> local_day(dt.datetime(2026, 1, 31, 23, 30), "Europe/Moscow")
    datetime.date(2026, 2, 1)
    """
    return moment.replace(tzinfo=dt.UTC).astimezone(zone(zone_name)).date()


def between(times: Times, zone_name: str, *, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    """Return the moments due later than ``after`` and no later than ``until``, in order, each once; all naive UTC.

    >>> between(parse("30 2 * * *"), "Europe/Berlin", after=dt.datetime(2026, 3, 28), until=dt.datetime(2026, 3, 31))
    [datetime.datetime(2026, 3, 28, 1, 30), datetime.datetime(2026, 3, 29, 1, 0), datetime.datetime(2026, 3, 30, 0, 30)]
    """
    if until <= after:
        return []
    # A gap can put a moment off by up to a day (islands that changed sides of the date line), so begin a day before.
    day, last = local_day(after, zone_name) - _DAY, local_day(until, zone_name)
    found: set[dt.datetime] = set()
    while day <= last:
        found.update(moment for moment in _of_day(times, zone_name, day) if after < moment <= until)
        day += _DAY
    return sorted(found)


def next_after(times: Times, zone_name: str, moment: dt.datetime) -> dt.datetime:
    """Return the first moment due after another; naive UTC."""
    return next(_walk(times, zone_name, moment, step=1))


def last_until(times: Times, zone_name: str, moment: dt.datetime) -> dt.datetime:
    """Return the last moment due at another or before it; naive UTC."""
    return next(_walk(times, zone_name, moment, step=-1))


def _walk(times: Times, zone_name: str, moment: dt.datetime, *, step: int) -> Iterator[dt.datetime]:
    begin = local_day(moment, zone_name) - step * _DAY
    for away in range(_FARTHEST):
        found = sorted(set(_of_day(times, zone_name, begin + step * away * _DAY)))
        yield from (due for due in found if due > moment) if step > 0 else (d for d in found[::-1] if d <= moment)
    raise AssertionError(f"{times.text!r} is never due, which parse refuses")


def _of_day(times: Times, zone_name: str, day: dt.date) -> Iterator[dt.datetime]:
    if not times.matches(day):
        return
    where = zone(zone_name)
    for hour in times.hours:
        for minute in times.minutes:
            yield _moment(dt.datetime.combine(day, dt.time(hour, minute)), where)


def _moment(wall: dt.datetime, where: zoneinfo.ZoneInfo) -> dt.datetime:
    """Return the first moment (naive UTC) at which clocks show a wall time, or have gone past it."""
    first = wall.replace(tzinfo=where).astimezone(dt.UTC)
    if first.astimezone(where).replace(tzinfo=None) == wall:
        return first.replace(tzinfo=None)
    # It was skipped: the change lies between what the time before it and the time after it make of the wall time.
    early = wall.replace(tzinfo=where, fold=1).astimezone(dt.UTC)
    return _change(early.replace(tzinfo=None), first.replace(tzinfo=None), where)


@functools.lru_cache(maxsize=256)
def _change(before: dt.datetime, after: dt.datetime, where: zoneinfo.ZoneInfo) -> dt.datetime:
    """Return the moment of the one change of clocks between two moments."""

    def offset(moment: dt.datetime) -> dt.timedelta | None:
        return moment.replace(tzinfo=dt.UTC).astimezone(where).utcoffset()

    seconds, new = int((after - before).total_seconds()), offset(after)
    low, high = 0, seconds  # at low the old offset holds, at high the new one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if offset(before + dt.timedelta(seconds=middle)) == new else (middle, high)
    return before + dt.timedelta(seconds=high)
