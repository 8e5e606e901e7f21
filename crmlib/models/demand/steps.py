"""Steps of time (year, quarter, month, week, day, hour, half hour) as whole numbers, and back."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError

STEPS = ("year", "quarter", "month", "week", "day", "hour", "half_hour")
SEASONS = {"year": 1, "quarter": 4, "month": 12, "week": 52, "day": 7, "hour": 24, "half_hour": 48}
_MONTHS = {"year": 12, "quarter": 3, "month": 1}
_MINUTES = {"week": 7 * 24 * 60, "day": 24 * 60, "hour": 60, "half_hour": 30}
_MONDAY = 4 * 24 * 60  # the epoch began on a Thursday: minutes from it to the first Monday


def check(step: str) -> str:
    """Return the step, or refuse one that is not of STEPS."""
    if step not in STEPS:
        raise UsageError(f"step is {step!r}; take one of {', '.join(STEPS)}")
    return step


def season_of(step: str, season: int | None = None) -> int:
    """Return the periods of a season: those given, else the usual ones of the step.

    >>> season_of("week"), season_of("half_hour", 336)
    (52, 336)
    """
    if season is None:
        return SEASONS[check(step)]
    if isinstance(season, bool) or not isinstance(season, int | np.integer) or season < 1:
        raise UsageError(f"season is {season!r}; it is a whole number of periods, at least 1")
    return int(season)


def numbers(periods: pd.Series, step: str) -> np.ndarray:
    """Return the number of each period on the grid of its step, consecutive periods being consecutive numbers.

    A time that is not the first moment of a period is refused.

    >>> numbers(pd.Series(pd.to_datetime(["2025-12-01", "2026-01-01"])), "month")
    array([671, 672])
    """
    stamps = periods.to_numpy("datetime64[s]")
    if check(step) in _MONTHS:
        months = stamps.astype("datetime64[M]")
        found = months.astype(np.int64) // _MONTHS[step]
        exact = moments(found, step) == stamps
    else:
        minutes = stamps.astype(np.int64) / 60 - (_MONDAY if step == "week" else 0)
        found = np.floor(minutes / _MINUTES[step]).astype(np.int64)
        exact = minutes == found * _MINUTES[step]
    if not exact.all():
        first = pd.Timestamp(stamps[~exact][0])
        note = "weeks begin on Monday" if step == "week" else f"a period is named by the first moment of its {step}"
        raise DataError(f"series, column period: {first} begins no {step}; {note}")
    return found


def moments(numbers: np.ndarray, step: str) -> np.ndarray:
    """Return the first moments (datetime64[s]) of numbered periods.

    >>> moments(np.array([0]), "week")
    array(['1970-01-05T00:00:00'], dtype='datetime64[s]')
    """
    numbers = np.asarray(numbers, np.int64)
    if check(step) in _MONTHS:
        return (numbers * _MONTHS[step]).astype("datetime64[M]").astype("datetime64[s]")
    minutes = numbers * _MINUTES[step] + (_MONDAY if step == "week" else 0)
    return (minutes * 60).astype("datetime64[s]")


def infer(periods: pd.Series) -> str:
    """Return the step of a column of periods: the longest one on whose grid every one of them lies.

    A single period is refused: the first of January begins a year, a month and a day.

    >>> infer(pd.Series(pd.to_datetime(["2026-01-05", "2026-01-12", "2026-01-26"])))
    'week'
    """
    if (periods == periods.iloc[0]).all():
        raise UsageError(
            f"step cannot be told from one period, {periods.iloc[0]:%Y-%m-%d}; give one of {', '.join(STEPS)}"
        )
    for step in STEPS:
        try:
            numbers(periods, step)
        except DataError:
            continue
        return step
    raise DataError(f"series, column period: no step of {', '.join(STEPS)} fits; {periods.iloc[0]} begins none of them")
