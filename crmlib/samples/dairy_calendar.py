"""The sample dairy's days: holidays, weekdays, seasons and the feasts for which people buy more."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import dairy_catalogue as catalogue

AHEAD = 91
"""Days after the records end of which the truth is told."""

SEASONS = {
    "milk": (0.04, -0.02),
    "yoghurt": (-0.20, -0.08),
    "cheese": (0.09, 0.05),
    "butter_cream": (0.14, 0.04),
}
"""Amplitude of the yearly cosine (highest on 1 January) and sine (highest in April) of the log of demand."""

FEASTS = {
    "milk": (0.08, 0.05),
    "yoghurt": (-0.05, 0.0),
    "cheese": (0.30, 0.12),
    "butter_cream": (0.45, 0.25),
}
"""What the week before Christmas and that before Easter Sunday add to the log of demand."""

EVE, AFTER = 0.25, 0.10
"""What the day before a holiday, and the first day after, add to the log of demand."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Days:
    """The days of the records and the ``AHEAD`` days after them.

    Attributes: ``start`` the first day; ``recorded`` how many are in the records, ``total`` how many there are;
    ``weekday`` 0 Monday to 6 Sunday; ``holiday`` whether the company has one; ``season`` group by day, the yearly season
    and feasts in the log of demand; ``around`` the same of the days around holidays, for all groups.
    """

    start: dt.date
    recorded: int
    total: int
    weekday: NDArray[np.int64]
    holiday: Flags
    season: Floats
    around: Floats

    def date(self, number: int) -> dt.date:
        """Return the date of a day."""
        return self.start + dt.timedelta(days=int(number))

    def day_numbers(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return days since 1970."""
        return numbers + (self.start - dt.date(1970, 1, 1)).days


def easter(year: int) -> dt.date:
    """Return Easter Sunday of the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8).

    >>> easter(2025)
    datetime.date(2025, 4, 20)
    """
    century, rest = divmod(year, 100)
    golden = year % 19
    moon = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    shift = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    late = (golden + 11 * moon + 22 * shift) // 451
    month, day = divmod(moon + shift - 7 * late + 114, 31)
    return dt.date(year, month, day + 1)


def holidays(year: int) -> list[dt.date]:
    """Return the company's holidays of a year."""
    fixed = [dt.date(year, month, day) for month, day in ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))]
    return sorted([*fixed, *[easter(year) + dt.timedelta(days=shift) for shift in (-2, 1, 39, 50)]])


def days(years: int, *, end: dt.date) -> Days:
    """Return the calendar of so many years that end on ``end``."""
    start = dt.date(end.year - years + 1, 1, 1)
    recorded = (end - start).days + 1
    total = recorded + AHEAD
    dates = [start + dt.timedelta(days=number) for number in range(total)]
    closed = {day for year in range(start.year, end.year + 2) for day in holidays(year)}
    holiday = np.array([day in closed for day in dates])
    return Days(
        start=start,
        recorded=recorded,
        total=total,
        weekday=np.array([day.weekday() for day in dates]),
        holiday=holiday,
        season=_season(dates),
        around=_around(holiday),
    )


def _season(dates: list[dt.date]) -> Floats:
    angle = np.array([2 * np.pi * (day.timetuple().tm_yday - 1) / 365.25 for day in dates])
    christmas = np.array([day.month == 12 and 18 <= day.day <= 24 for day in dates])
    paschal = np.array([0 < (easter(day.year) - day).days <= 7 for day in dates])
    out = [
        SEASONS[group][0] * np.cos(angle)
        + SEASONS[group][1] * np.sin(angle)
        + FEASTS[group][0] * christmas
        + FEASTS[group][1] * paschal
        for group in catalogue.GROUPS
    ]
    return np.stack(out)


def _around(holiday: Flags) -> Floats:
    before = np.append(holiday[1:], False) & ~holiday
    after = np.insert(holiday[:-1], 0, False) & ~holiday
    return EVE * before + AFTER * after
