"""The calendar of demand: periods, holidays, on which days an outlet is open, and regressors made of all that."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import steps
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

STEPS = ("day", "week", "month", "quarter", "year")
"""Lengths of a period for series made from the warehouse; a week begins on Monday."""
_PANDAS = {"day": "D", "week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}
_YEARLY = {"day": 365.25, "week": 365.25 / 7, "month": 12.0, "quarter": 4.0, "year": 1.0}

OPEN, WEEKDAY, HOLIDAY, CLOSURE, ENDED = "", "weekday", "holiday", "closure", "ended"
"""Why an outlet is closed on a day; empty: it is open."""
_SEEN_WEEKS, _BUSY = 8, 20
"""Weeks of records after which a weekday without any record is taken for a closed one; rows on a usual day from which a
day without any is a gap in the records."""


def starts(days: Any, step: str) -> pd.DatetimeIndex:
    """Return the first moment of the period each day lies in.

    Raises UsageError for an unknown step.

    >>> starts(["2025-01-01", "2025-01-06"], "week")
    DatetimeIndex(['2024-12-30', '2025-01-06'], dtype='datetime64[us]', freq=None)
    """
    _check(step)
    return _moments(pd.DatetimeIndex(pd.to_datetime(days)).to_period(_PANDAS[step]).start_time.to_numpy())


def periods(first: Any, last: Any, step: str) -> pd.DatetimeIndex:
    """Return the periods from the one of ``first`` to the one of ``last``, both included; raises as ``starts``.

    >>> len(periods("2025-01-15", "2025-12-01", "month"))
    12
    """
    number = steps.numbers(pd.Series(starts([first, last], step)), step)
    return _moments(steps.moments(np.arange(number[0], number[1] + 1), step))


def following(last: Any, step: str, horizon: int) -> pd.DatetimeIndex:
    """Return the ``horizon`` periods after the one of ``last``; raises UsageError for a horizon below 1.

    >>> following("2025-12-29", "week", 2)
    DatetimeIndex(['2026-01-05', '2026-01-12'], dtype='datetime64[us]', freq=None)
    """
    _check(step)
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise UsageError(f"horizon is {horizon!r}; give a whole number of periods, 1 or more")
    number = steps.numbers(pd.Series(starts([last], step)), step)
    return _moments(steps.moments(number + np.arange(1, int(horizon) + 1), step))


def ends(times: pd.DatetimeIndex, step: str) -> pd.DatetimeIndex:
    """Return the last day of each period; raises as ``starts``.

    >>> ends(pd.DatetimeIndex(["2025-02-01"]), "month")
    DatetimeIndex(['2025-02-28'], dtype='datetime64[us]', freq=None)
    """
    _check(step)
    return _moments(times.to_period(_PANDAS[step]).end_time.normalize().to_numpy())


def _moments(found: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(found.astype("datetime64[us]"))


def _check(step: str) -> None:
    if step not in STEPS:
        raise UsageError(f"step is {step!r}; use {', '.join(STEPS)}")


def holidays(company: Company) -> pd.DatetimeIndex:
    """Return the company's public holidays in order; raises DataError for one that is not a date."""
    try:
        found = sorted(dt.date.fromisoformat(day) for day in company.holidays)
    except ValueError as error:
        raise DataError(f"company file: holidays: {error}; write each as YYYY-MM-DD") from error
    return pd.DatetimeIndex(np.array(found, dtype="datetime64[us]"))


# ---------------------------------------------------------------- open days


def open_days(
    snapshot: Snapshot, *, since: dt.date, until: dt.date, records: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return on which days each outlet is open, as the snapshot knows it; days after ``as_of`` may be asked for.

    Opening days are those of the outlets' table; where it names none, the weekdays without any record in at least 8
    weeks of ``records`` (outlet_id, day, rows, sold: rows with pieces sold; without them every day is open) count as
    closed. Company holidays and closures are closed, unless something was sold; on holidays to come an outlet is open
    if it sold on half of those behind. Out, a row per outlet and day: outlet_id, day, is_open, reason ("", weekday,
    holiday, closure, ended), inferred (the weekdays were read off the records). Raises DataError where there are no outlets.
    """
    outlets = snapshot.table("outlets", ["outlet_id", "open_weekdays", "closed_on"]).sort_values("outlet_id")
    if outlets.empty:
        raise DataError("table outlets is empty as of this day; load the outlets before asking when they are open")
    days = pd.date_range(since, until, freq="D", unit="us")
    sold, rows = _presence(records, outlets["outlet_id"], days)
    by_weekday, inferred = _weekdays(outlets["open_weekdays"], rows, days)
    reason = np.where(by_weekday[:, days.day_of_week], OPEN, WEEKDAY).astype(object)
    free = days.isin(holidays(snapshot.warehouse.company))
    past = days <= pd.Timestamp(snapshot.as_of)
    seen = free & past
    usually = sold[:, seen].mean(axis=1) >= 0.5 if seen.any() else np.zeros(len(outlets), dtype=bool)
    shut = free[None, :] & ~(usually[:, None] & ~past[None, :])
    reason[shut & (reason == OPEN)] = HOLIDAY
    reason[_closed(snapshot, outlets["outlet_id"], days)] = CLOSURE
    reason[sold] = OPEN  # what was sold says more than any calendar
    ended = pd.to_datetime(outlets["closed_on"]).to_numpy()[:, None] < days.to_numpy()[None, :]
    reason[ended & ~sold] = ENDED
    return pd.DataFrame(
        {
            "outlet_id": np.repeat(outlets["outlet_id"].to_numpy(dtype=object), len(days)),
            "day": np.tile(days.to_numpy(), len(outlets)),
            "is_open": (reason == OPEN).ravel(),
            "reason": reason.ravel(),
            "inferred": np.repeat(inferred, len(days)),
        }
    ).astype({"outlet_id": "str", "reason": "str"})


def _presence(
    records: pd.DataFrame | None, outlets: pd.Series, days: pd.DatetimeIndex
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether something was sold, and whether there is any record, outlets × days."""
    sold = np.zeros((len(outlets), len(days)), dtype=bool)
    rows = sold.copy()
    if records is not None and len(records):
        where = pd.Index(outlets).get_indexer(records["outlet_id"])
        when = days.get_indexer(pd.DatetimeIndex(records["day"]))
        here = (where >= 0) & (when >= 0)
        rows[where[here], when[here]] = records["rows"].to_numpy()[here] > 0
        sold[where[here], when[here]] = records["sold"].to_numpy()[here] > 0
    return sold, rows


def _weekdays(declared: pd.Series, rows: np.ndarray, days: pd.DatetimeIndex) -> tuple[np.ndarray, np.ndarray]:
    """Return outlets × weekdays that are open, and for which outlets that was read off the records."""
    texts = declared.fillna("").astype("str").tolist()
    wrong = [text for text in texts if set(text) - set("1234567")]
    if wrong:
        raise DataError(
            f"table outlets: open_weekdays is {wrong[0]!r}; write the open days as digits, 1 Monday to 7 Sunday"
        )
    told = np.array([[str(day) in text for day in range(1, 8)] for text in texts], dtype=bool).reshape(-1, 7)
    counts = np.column_stack([rows[:, days.day_of_week == day].sum(axis=1) for day in range(7)])
    span = np.where(rows.any(axis=1), rows.shape[1] - rows.argmax(axis=1) - rows[:, ::-1].argmax(axis=1), 0)
    inferred = np.array([not text for text in texts]) & (span >= 7 * _SEEN_WEEKS)
    free = np.array([not text for text in texts]) & ~inferred
    return np.where(free[:, None], True, np.where(inferred[:, None], counts > 0, told)), inferred


def _closed(snapshot: Snapshot, outlets: pd.Series, days: pd.DatetimeIndex) -> np.ndarray:
    closures = snapshot.table("outlet_closures", ["outlet_id", "closed_from", "closed_until"])
    found = np.zeros((len(outlets), len(days) + 1), dtype=np.int32)
    where = pd.Index(outlets).get_indexer(closures["outlet_id"])
    first = days.searchsorted(pd.DatetimeIndex(closures["closed_from"]))
    last = days.searchsorted(pd.DatetimeIndex(closures["closed_until"]), side="right")
    here = (where >= 0) & (first < last)
    np.add.at(found, (where[here], first[here]), 1)
    np.add.at(found, (where[here], last[here]), -1)
    return found.cumsum(axis=1)[:, :-1] > 0


def recorded_days(sales: sa.Subquery) -> sa.Select[Any]:
    """Return the select of outlet_id, day, rows, sold (rows with pieces sold) from known outlet_sales."""
    sold = sa.func.sum(sa.case((sales.c.quantity > 0, 1), else_=0))
    return sa.select(
        sales.c.outlet_id, sales.c.sold_on.label("day"), sa.func.count().label("rows"), sold.label("sold")
    ).group_by(sales.c.outlet_id, sales.c.sold_on)


# ---------------------------------------------------------------- days of business


@dataclass(frozen=True, eq=False)
class Business:
    """Periods of a source without outlets: ``days`` of business in each, and the ``share`` of them that has records."""

    times: pd.DatetimeIndex
    days: NDArray[np.float64]
    share: NDArray[np.float64]


def business(recorded: pd.DataFrame, times: pd.DatetimeIndex, *, step: str, free: pd.DatetimeIndex) -> Business:
    """Return the days of business of each period, and the share of them that has records.

    ``recorded`` day, rows. A day is one of business if it has rows, or its weekday usually has and it is no holiday;
    without rows it is missing where its weekday usually has 20 or more, else nothing happened.
    """
    last = ends(times, step)
    days = pd.date_range(times[0], last[-1], freq="D", unit="us")
    rows = recorded.groupby("day")["rows"].sum().reindex(days, fill_value=0).to_numpy(dtype=float)
    usual = np.array(
        [np.median(rows[days.day_of_week == day]) if (days.day_of_week == day).any() else 0 for day in range(7)]
    )
    ever = np.array([(rows[days.day_of_week == day] > 0).any() for day in range(7)])
    seldom = len(days) < 7 * _SEEN_WEEKS
    opened = (rows > 0) | ((ever[days.day_of_week] | seldom) & ~days.isin(free))
    missing = opened & (rows == 0) & (usual[days.day_of_week] >= _BUSY)
    first = days.searchsorted(times)
    count, gaps = (np.add.reduceat(flags.astype(float), first) for flags in (opened, missing))
    return Business(times, count, np.where(count > 0, 1 - gaps / np.maximum(count, 1), 0.0))


def with_idle_ends(
    recorded: pd.DataFrame, *, free: pd.DatetimeIndex, since: dt.date, until: dt.date
) -> tuple[dt.date, dt.date]:
    """Return the first and last day with records (day), moved outwards over holidays and weekdays without any, up to the limits.

    >>> with_idle_ends(pd.DataFrame({"day": pd.bdate_range("2025-01-02", "2025-12-30")}),
    ...     free=pd.DatetimeIndex(["2025-01-01"]), since=dt.date(2024, 12, 1), until=dt.date(2025, 12, 30))
    (datetime.date(2025, 1, 1), datetime.date(2025, 12, 30))
    """
    days = pd.DatetimeIndex(recorded["day"])
    ever, one = set(days.day_of_week), pd.Timedelta(days=1)
    ends = []
    for outermost, limit, way in ((days.min(), since, -one), (days.max(), until, one)):
        day = outermost + way
        while (day - pd.Timestamp(limit)) / way <= 0 and (day in free or day.weekday() not in ever):
            day = day + way
        ends.append((day - way).date())
    return ends[0], ends[1]


# ---------------------------------------------------------------- regressors


def regressors(
    times: pd.DatetimeIndex, step: str, *, free: pd.DatetimeIndex | None = None, waves: int = 3
) -> pd.DataFrame:
    """Return what the calendar says about each period, known as far ahead as the holidays are.

    Out, a row per period: period; share of the year passed as ``waves`` sine and cosine pairs (sin_1, cos_1, …; no more
    than the step can tell apart); days; for days weekday (0 Monday), holiday, before_holiday, after_holiday (0 or 1);
    for longer steps the number of holidays in it, in the week before its first and in the week after its last day,
    under the same names. Raises UsageError for an unknown step or waves below 0.

    >>> regressors(pd.DatetimeIndex(["2025-12-22"]), "week", free=pd.DatetimeIndex(["2025-12-25"]))["holiday"].tolist()
    [1.0]
    """
    _check(step)
    if waves < 0:
        raise UsageError(f"waves is {waves!r}; give the number of sine and cosine pairs, 0 or more")
    last = ends(times, step)
    out: dict[str, Any] = {"period": times, "days": ((last - times).days + 1).to_numpy(dtype=float)}
    middle = times + (last - times) / 2
    angle = 2 * np.pi * (middle.day_of_year.to_numpy() - 0.5) / np.where(middle.is_leap_year, 366, 365)
    for wave in range(1, min(waves, int(_YEARLY[step] // 2)) + 1):
        out[f"sin_{wave}"], out[f"cos_{wave}"] = np.sin(wave * angle), np.cos(wave * angle)
    if step == "day":
        out["weekday"] = times.day_of_week.to_numpy()
    listed = pd.DatetimeIndex([]) if free is None else free
    near = 1 if step == "day" else 7
    one, around = pd.Timedelta(days=1), pd.Timedelta(days=near)
    out["holiday"] = within(listed, times, last)
    out["before_holiday"] = within(listed, last + one, last + around)
    out["after_holiday"] = within(listed, times - around, times - one)
    return pd.DataFrame(out)


def within(days: pd.DatetimeIndex, first: pd.DatetimeIndex, last: pd.DatetimeIndex) -> np.ndarray:
    """Return how many of ``days`` lie in each span, both ends included."""
    ordered = days.sort_values()
    return (ordered.searchsorted(last, side="right") - ordered.searchsorted(first)).astype(float)
