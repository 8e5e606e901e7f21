"""The sample dairy's order desk: calls by half hour of local time, with the seasons of day, week and year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples.dairy_calendar import Days

OPEN = (6.0, 18.0)
"""Hours of the order desk on working days, local time; on Saturdays until noon."""

PER_DAY = 180.0
"""Calls on a usual day for 48 shops."""

WEEKDAYS = (1.25, 1.0, 0.95, 1.05, 1.15, 0.35, 0.0)
AFTER_HOLIDAY = 1.35
SEASON, GROWTH, SHOCK = 0.12, 0.04, 0.07
"""Amplitude of the year (highest in summer), growth a year, and spread of a day around its mean, in logs."""

HANDLING, HANDLING_SPREAD = 185.0, 0.6
"""Median seconds of a call, and the spread of its log."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calls:
    """Calls; arrays of one length: ``day``, ``second`` of the local day, ``length`` seconds; beside them ``mean``, day by
    half hour, the true mean number of calls."""

    day: NDArray[np.int64]
    second: NDArray[np.int64]
    length: NDArray[np.int64]
    mean: Floats


def calls(rng: np.random.Generator, days: Days, *, shops: int) -> Calls:
    """Return the calls of the recorded days; the number grows with the root of the number of shops."""
    mean = _mean(days) * PER_DAY * np.sqrt(shops / 48)
    shock = np.exp(rng.normal(0, SHOCK, days.total) - SHOCK**2 / 2)
    count = rng.poisson(mean[: days.recorded] * shock[: days.recorded, None])
    day, half_hour = (np.repeat(place, count.ravel()) for place in np.indices(count.shape).reshape(2, -1))
    second = half_hour * 1_800 + rng.integers(0, 1_800, day.size)
    order = np.lexsort((second, day))
    length = np.maximum(np.round(HANDLING * np.exp(rng.normal(0, HANDLING_SPREAD, day.size))), 15).astype(np.int64)
    return Calls(day[order], second[order], length, mean)


def _mean(days: Days) -> Floats:
    """Return day by half hour the true mean, 1 in sum on a usual day."""
    hour = np.arange(48) / 2 + 0.25
    shape = np.exp(-(((hour - 8.0) / 1.6) ** 2)) + 0.6 * np.exp(-(((hour - 13.5) / 1.8) ** 2)) + 0.12
    shape *= (hour > OPEN[0]) & (hour < OPEN[1])
    saturday = shape * (hour < 12)
    shape, saturday = shape / shape.sum(), saturday / saturday.sum()
    profile = np.where((days.weekday == 5)[:, None], saturday, shape)
    number = np.arange(days.total)
    year_day = np.array([days.date(day).timetuple().tm_yday for day in range(days.total)])
    level = np.exp(-SEASON * np.cos(2 * np.pi * (year_day - 15) / 365.25) + GROWTH * number / 365.25)
    after = np.insert(days.holiday[:-1], 0, False)
    level = level * np.array(WEEKDAYS)[days.weekday] * np.where(after, AFTER_HOLIDAY, 1.0) * ~days.holiday
    return profile * level[:, None]
