"""Contacts as a level of the day times a profile over its half hours: the methods that a forecast of load chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crmlib.models.demand import theta
from crmlib.models.demand.aligned import Array

SLOTS = 48
WEEKS_OF_MEAN = 6
_PROFILE_DAYS, _LEVEL_DAYS, _YEAR_NEEDED = 364, 28, 400
_CLOSED_SHARE, _USUAL = 0.1, 5.0


@dataclass(frozen=True)
class Days:
    """Contacts by day and half hour of the clock, days × 48.

    Attributes: ``days`` local; ``counts`` contacts; ``number`` how often the half hour came (0 or 2 where summer time
    begins or ends); ``open`` (False on closed days); ``holiday`` by day; ``weekly`` the opening hours, 7 × 48.
    """

    days: pd.DatetimeIndex
    counts: Array
    number: Array
    open: NDArray[np.bool_]
    holiday: NDArray[np.bool_]
    weekly: NDArray[np.bool_]

    def until(self, cut: int) -> Days:
        """Return the first ``cut`` days, as known then."""
        head = slice(0, cut)
        return Days(
            self.days[head], self.counts[head], self.number[head], self.open[head], self.holiday[head], self.weekly
        )

    @property
    def totals(self) -> Array:
        """Contacts of each day within opening hours."""
        return np.where(self.open, self.counts, 0.0).sum(axis=1)

    @property
    def working(self) -> NDArray[np.bool_]:
        """Days that were open."""
        return np.asarray(self.open.any(axis=1), dtype=bool)


def days(
    index: pd.DatetimeIndex,
    counts: Array,
    number: Array,
    open_: NDArray[np.bool_],
    *,
    holiday: NDArray[np.bool_],
    weekly: NDArray[np.bool_],
) -> Days:
    """Return the record with its closed days told from quiet ones (see ``contact_load.record``)."""
    found = Days(index, counts, number, open_, holiday, weekly)
    totals, usual = found.totals, _usual(found)
    closed = ((totals == 0) & (usual >= _USUAL)) | (holiday & (totals <= _CLOSED_SHARE * usual))
    return replace(found, open=open_ & ~closed[:, None])


def ahead(
    past: Days, coming: pd.DatetimeIndex, holiday: NDArray[np.bool_], *, method: str
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the mean contacts of each half hour of the days to come (days × 48) and which of them are closed.

    A coming holiday is closed unless past ones on working weekdays brought a tenth of the usual or more.
    """
    closed = np.zeros_like(holiday) if _holidays_work(past) else holiday.copy()
    mean = METHODS[method](past, coming, holiday & ~closed, closed)
    return np.where(past.weekly[coming.day_of_week] & ~closed[:, None], np.maximum(mean, 0.0), 0.0), closed


def _seasonal_naive(past: Days, coming: pd.DatetimeIndex, works: object, closed: object) -> Array:
    """The same half hour of the last open day of that weekday."""
    return _by_weekday(past, coming, 1)


def _mean_of_weeks(past: Days, coming: pd.DatetimeIndex, works: object, closed: object) -> Array:
    """The mean of the half hour over the last six open days of that weekday."""
    return _by_weekday(past, coming, WEEKS_OF_MEAN)


def _theta_day(past: Days, coming: pd.DatetimeIndex, works: NDArray[np.bool_], closed: NDArray[np.bool_]) -> Array:
    """The dynamic optimised Theta of the daily totals, its season the open weekdays, times the profile of the weekday."""
    weekdays = np.flatnonzero(past.weekly.any(axis=1))
    usable = np.isin(past.days.day_of_week, weekdays)
    totals = np.where(past.working, past.totals, _usual(past))[usable]
    wanted = np.isin(coming.day_of_week, weekdays)
    level = np.zeros(len(coming))
    if wanted.any():
        level[wanted] = theta.dynamic_optimised(totals[None, :], season=len(weekdays), horizon=int(wanted.sum()))[0]
    return np.maximum(level, 0.0)[:, None] * profile(past)[coming.day_of_week]


def _regression_day(past: Days, coming: pd.DatetimeIndex, works: NDArray[np.bool_], closed: NDArray[np.bool_]) -> Array:
    """A quasi-Poisson regression of the daily totals on the calendar, moved to the level of late, times the profile."""
    start, yearly = past.days[0], len(past.days) >= _YEAR_NEEDED
    shut = past.holiday & ~past.working
    every = np.concatenate([shut, closed])
    after = np.concatenate([[False], every[:-1]])
    whole = pd.DatetimeIndex(past.days.append(coming))
    table = _calendar(whole, start, after, np.concatenate([past.holiday & past.working, works]), yearly=yearly)
    count, rows = len(past.days), past.working
    fitted = _poisson(table[:count][rows], past.totals[rows])
    mean = np.exp(np.clip(table @ fitted, -20, 20))
    late = rows & (np.arange(count) >= count - _LEVEL_DAYS)
    told, came = mean[:count][late].sum(), past.totals[late].sum()
    level = (came + _USUAL) / (told + _USUAL)
    return (mean[count:] * level)[:, None] * profile(past)[coming.day_of_week]


METHODS: dict[str, Callable[[Days, pd.DatetimeIndex, NDArray[np.bool_], NDArray[np.bool_]], Array]] = {
    "seasonal_naive": _seasonal_naive,
    "mean_of_weeks": _mean_of_weeks,
    "theta_day": _theta_day,
    "regression_day": _regression_day,
}


def profile(past: Days) -> Array:
    """Return the share of a day's contacts that each half hour gets, by weekday (7 × 48), from the last year.

    Weekdays with the same hours lend each other strength: each profile is drawn to their common one as far as its
    differences from it could be chance (James-Stein, by the chi-square of the table).
    """
    recent = slice(max(len(past.days) - _PROFILE_DAYS, 0), None)
    counts = np.where(past.open[recent] & (past.number[recent] == 1), past.counts[recent], 0.0)
    weekday = np.asarray(past.days.day_of_week)[recent]
    sums = np.stack([counts[weekday == day].sum(axis=0) for day in range(7)])
    out = np.zeros((7, SLOTS))
    for hours in np.unique(past.weekly, axis=0):
        if not hours.any():
            continue
        group = np.flatnonzero((past.weekly == hours).all(axis=1))
        table = sums[np.ix_(group, np.flatnonzero(hours))]
        out[np.ix_(group, np.flatnonzero(hours))] = _shrunk(table)
    return out


def _shrunk(table: Array) -> Array:
    """Return the rows of a table of counts as shares, drawn together as far as chance explains their differences."""
    total = table.sum()
    if total == 0:
        return np.full(table.shape, 1 / table.shape[1])
    common = (table.sum(axis=0) + 0.5) / (total + 0.5 * table.shape[1])
    size = table.sum(axis=1, keepdims=True)
    own = np.where(size > 0, table / np.maximum(size, 1.0), common)
    chi = float((size * (own - common) ** 2 / common).sum())
    free = (table.shape[0] - 1) * (table.shape[1] - 1)
    weight = max(1 - free / chi, 0.0) if chi > 0 else 0.0
    return weight * own + (1 - weight) * common


def _by_weekday(past: Days, coming: pd.DatetimeIndex, number: int) -> Array:
    """Return the mean of each half hour over the last open days of each weekday."""
    weekday = np.asarray(past.days.day_of_week)
    means = np.zeros((7, SLOTS))
    for day in range(7):
        rows = np.flatnonzero((weekday == day) & past.working)[-number:]
        times = past.number[rows].sum(axis=0)
        means[day] = past.counts[rows].sum(axis=0) / np.maximum(times, 1.0)
    return means[coming.day_of_week]


def _usual(past: Days) -> Array:
    """Return the median total of the weekday of each day, over days that were not holidays."""
    weekday, totals = np.asarray(past.days.day_of_week), past.totals
    rows = past.working & ~past.holiday
    medians = np.array(
        [np.median(totals[rows & (weekday == day)]) if (rows & (weekday == day)).any() else 0.0 for day in range(7)]
    )
    return medians[weekday]


def _holidays_work(past: Days) -> bool:
    """Return whether past holidays on working weekdays brought a tenth of the usual or more."""
    usual = np.where(past.holiday, _usual(past), 0.0)
    inside = np.where(past.weekly[past.days.day_of_week], past.counts, 0.0).sum(axis=1)
    return usual.sum() > 0 and float(inside[usual > 0].sum()) > _CLOSED_SHARE * float(usual.sum())


def _calendar(
    index: pd.DatetimeIndex, start: pd.Timestamp, after: NDArray[np.bool_], works: NDArray[np.bool_], *, yearly: bool
) -> Array:
    """Return the regressors of each day: weekday, trend, day after a closed holiday, open holiday, two yearly harmonics."""
    weekday = np.asarray(index.day_of_week)
    years = np.asarray((index - start).days) / 365.25
    columns = [(weekday == day).astype(float) for day in range(7)] + [years, after.astype(float), works.astype(float)]
    if yearly:
        turn = 2 * np.pi * np.asarray(index.day_of_year) / 365.25
        columns += [wave(k * turn) for k in (1, 2) for wave in (np.sin, np.cos)]
    return np.column_stack(columns)


def _poisson(table: Array, totals: Array) -> Array:
    """Return the coefficients of a Poisson regression with a log link, all but the weekdays drawn a little to 0.

    Iteratively reweighted least squares; the ridge of one usual day keeps what the record cannot tell at 0.
    """
    scale = max(float(totals.mean()), 1.0)
    ridge = np.full(table.shape[1], scale)
    ridge[:7] = 1e-3
    beta = np.zeros(table.shape[1])
    beta[:7] = np.log(scale)
    prior = beta.copy()
    for _ in range(25):
        mean = np.exp(np.clip(table @ beta, -20, 20))
        slope = table.T @ (totals - mean) - ridge * (beta - prior)
        step = np.linalg.solve((table * mean[:, None]).T @ table + np.diag(ridge), slope)
        beta = beta + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    return beta
