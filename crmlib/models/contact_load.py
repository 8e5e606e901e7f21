"""How many contacts come in each half hour of local time: the record, and a forecast with its uncertainty."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models import contact_days
from crmlib.models.contact_days import SLOTS, Days
from crmlib.models.demand import metrics
from crmlib.models.demand.aligned import Array

NAME = "contact_load"
NEEDED = ("occurred_at", "direction", "channel")
LEVELS = {"low_95": 0.025, "low_80": 0.1, "high_80": 0.9, "high_95": 0.975}
ORIGINS, DAYS_NEEDED, WEEKS_TO_VALIDATE = 16, 14, 6
_RECENT_DAYS = 364
"""Opening hours are found in the last year."""


@dataclass(frozen=True)
class Forecast:
    """A forecast of contact load.

    Attributes: ``table`` one row a half hour ahead; ``accuracy`` one row a week ahead, measured on origins that neither
    chose nor calibrated anything; ``method`` what makes the forecast; ``reason`` why a simpler one, or "".
    """

    table: pd.DataFrame
    accuracy: pd.DataFrame
    method: str
    reason: str


def record(
    contacts: pd.DataFrame,
    *,
    time_zone: str,
    until: dt.date,
    channel: str = "call",
    holidays: Sequence[str] = (),
    opening: Mapping[int, tuple[str, str]] | None = None,
) -> Days:
    """Return incoming contacts of a channel by day and half hour of local time, up to the day ``until``.

    In: contacts with occurred_at (UTC), direction and channel; those with direction "in" count. A half hour that summer
    time skips or repeats is counted as 0 or 2 half hours. ``opening`` gives the hours by weekday (0 is Monday, "08:00" to
    "18:00"; a weekday left out is closed); without it a half hour is open where contacts came on two of its days and 1% of
    them within the last year, or later and earlier on that weekday. Days without a contact on which five were usual,
    and holidays with under a tenth of the usual, are closed days. Raises DataError for missing columns, an unknown time
    zone or fewer than 14 days; UsageError for hours that are none.
    """
    missing = [name for name in NEEDED if name not in contacts]
    if missing:
        raise DataError(f"contacts has no column {', '.join(missing)}; it has {', '.join(contacts.columns)}")
    zone = _zone(time_zone)
    chosen = contacts[(contacts["direction"] == "in") & (contacts["channel"] == channel)]
    local = pd.DatetimeIndex(chosen["occurred_at"]).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    local = local[local < pd.Timestamp(until) + pd.Timedelta(days=1)]
    found = 0 if local.empty else (pd.Timestamp(until) - local.min().normalize()).days + 1
    if found < DAYS_NEEDED:
        raise DataError(
            f"not enough data: contacts of channel {channel} coming in go back {found} days (need {DAYS_NEEDED}); "
            "load a longer record, or one with direction filled"
        )
    days = pd.date_range(local.min().normalize(), pd.Timestamp(until), freq="D")
    counts = np.zeros((len(days), SLOTS))
    place = ((local.normalize() - days[0]).days, local.hour * 2 + local.minute // 30)
    np.add.at(counts, place, 1.0)
    number = _number(days, zone)
    weekly = _given(opening) if opening is not None else _hours(counts, days)
    open_ = weekly[days.day_of_week]
    off = days.isin(pd.DatetimeIndex(list(holidays)))
    return contact_days.days(days, counts, number, open_, holiday=np.asarray(off), weekly=weekly)


def last_whole_day(as_of: dt.date, *, time_zone: str) -> dt.date:
    """Return the last day that had ended in local time when the day ``as_of`` ended in UTC.

    >>> last_whole_day(dt.date(2025, 3, 31), time_zone="Europe/Berlin").isoformat()
    '2025-03-31'
    >>> last_whole_day(dt.date(2025, 3, 31), time_zone="America/New_York").isoformat()
    '2025-03-30'
    """
    end = dt.datetime.combine(as_of + dt.timedelta(days=1), dt.time(), tzinfo=dt.UTC)
    return end.astimezone(_zone(time_zone)).date() - dt.timedelta(days=1)


def handling(contacts: pd.DataFrame, *, channel: str = "call", until: dt.date, weeks: int = 13) -> float:
    """Return the mean duration of the channel's incoming contacts in the weeks to a day, seconds; NaN where none is recorded."""
    if "duration_seconds" not in contacts:
        return float("nan")
    end = pd.Timestamp(until) + pd.Timedelta(days=1)
    recent = contacts["occurred_at"].between(end - pd.Timedelta(weeks=weeks), end, inclusive="left")
    chosen = contacts[recent & (contacts["direction"] == "in") & (contacts["channel"] == channel)]
    seconds = pd.to_numeric(chosen["duration_seconds"]).dropna().astype(float)
    return float(seconds[seconds > 0].mean())


def half_hours(days: Days, *, time_zone: str, channel: str = "call") -> pd.DataFrame:
    """Return the record as a table: channel, starts_at (local), starts_at_utc, contacts, open; one row a half hour.

    Where summer time ends the contacts of a repeated half hour are shared between its two.
    """
    out, day, slot = _clock(days.days, _zone(time_zone))
    with np.errstate(divide="ignore", invalid="ignore"):
        each = days.counts / days.number
    return out.assign(channel=channel, contacts=each[day, slot], open=days.open[day, slot])[
        ["channel", "starts_at", "starts_at_utc", "contacts", "open"]
    ]


def forecast(
    days: Days, *, time_zone: str, weeks: int = 4, channel: str = "call", holidays: Sequence[str] = (), seed: int = 7
) -> Forecast:
    """Forecast the contacts of each half hour of the weeks ahead.

    Of the methods of ``contact_days`` the one with the smallest squared error at earlier weekly origins is taken. The
    spread of the true mean (squared coefficient of variation, growing with the weeks ahead) and the levels of the
    intervals come from its errors there; ``accuracy`` from later origins that had no say. A record under six weeks is
    forecast as the mean of its weeks, with the reason "short_record". Half hours outside opening hours and on closed
    days are 0 with the code "closed_hours" or "closed_day". Raises UsageError for weeks below 1.

    Out (``table``): channel, starts_at (local, naive), starts_at_utc, ahead (weeks), contacts (mean), low_80, high_80,
    low_95, high_95, spread, code.
    """
    if isinstance(weeks, bool) or not isinstance(weeks, int) or weeks < 1:
        raise UsageError(f"weeks is {weeks!r}; give a whole number of weeks, 1 or more")
    origins = min(ORIGINS, len(days.days) // 7 - WEEKS_TO_VALIDATE + 2)
    reason = "" if origins >= 2 else "short_record"
    tried = _tried(days, weeks, origins if not reason else 0)
    method = _chosen(tried) if not reason else "mean_of_weeks"
    own = tried[tried["method"] == method]
    if reason:
        own = _within(days)
    spread, levels = _spread(own, weeks), _levels(own, weeks, seed)
    ahead = pd.date_range(days.days[-1] + pd.Timedelta(days=1), periods=7 * weeks, freq="D")
    off = np.asarray(ahead.isin(pd.DatetimeIndex(list(holidays))))
    mean, closed = contact_days.ahead(days, ahead, off, method=method)
    out, day, slot = _clock(ahead, _zone(time_zone))
    week = day // 7 + 1
    table = out.assign(channel=channel, ahead=week, contacts=mean[day, slot], spread=spread[week - 1])
    for name, level in levels.items():
        table[name] = _quantile(table["contacts"].to_numpy(), table["spread"].to_numpy(), level)
    shut = ~days.weekly[ahead.day_of_week][day, slot]
    table["code"] = np.where(shut, "closed_hours", np.where(closed[day], "closed_day", ""))
    table.loc[table["code"] != "", "spread"] = 0.0
    columns = ["channel", "starts_at", "starts_at_utc", "ahead", "contacts", *sorted(levels), "spread", "code"]
    accuracy = _accuracy(tried, weeks, seed) if not reason else pd.DataFrame(columns=_ACCURACY)
    return Forecast(table[columns], accuracy.assign(channel=channel), method, reason)


_ACCURACY = [
    "ahead", "method", "half_hours", "contacts", "wape", "wape_naive", "rmse", "rmse_naive", "bias",
    "coverage_80", "coverage_95", "pinball", "pinball_naive",
]  # fmt: skip


def _tried(days: Days, weeks: int, origins: int) -> pd.DataFrame:
    """Return forecasts of every method from weekly origins: origin (0 the latest), method, ahead, actual, mean; open half hours."""
    parts = []
    for origin in range(origins):
        cut = len(days.days) - 7 * (origin + 1)
        past, then = days.until(cut), slice(cut, min(cut + 7 * weeks, len(days.days)))
        week = (np.arange(then.stop - then.start) // 7 + 1)[:, None] * np.ones((1, SLOTS), dtype=np.int64)
        counted = days.open[then] & (days.number[then] == 1)
        for method in contact_days.METHODS:
            mean, _ = contact_days.ahead(past, days.days[then], days.holiday[then], method=method)
            values = {"ahead": week[counted], "actual": days.counts[then][counted], "mean": mean[counted]}
            parts.append(pd.DataFrame({"origin": origin, "method": method, **values}))
    columns = ["origin", "method", "ahead", "actual", "mean"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _within(days: Days) -> pd.DataFrame:
    """Return the record beside the mean of its weeks, as if forecast: all that a short one can say of its spread."""
    mean, _ = contact_days.ahead(days, days.days, days.holiday, method="mean_of_weeks")
    counted = days.open & (days.number == 1)
    return pd.DataFrame({"ahead": 1, "actual": days.counts[counted], "mean": mean[counted]})


def _chosen(tried: pd.DataFrame) -> str:
    """Return the method with the smallest squared error."""
    squared = (tried["actual"] - tried["mean"]) ** 2
    return str(squared.groupby(tried["method"]).mean().reindex(list(contact_days.METHODS)).idxmin())


def _spread(errors: pd.DataFrame, weeks: int) -> Array:
    """Return the squared coefficient of variation of the mean by week ahead: errors beyond Poisson noise, never falling."""
    squared = (errors["actual"] - errors["mean"]) ** 2 - errors["mean"]
    found = squared.groupby(errors["ahead"]).sum() / (errors["mean"] ** 2).groupby(errors["ahead"]).sum()
    by_week = found.reindex(range(1, weeks + 1)).fillna(0.0).clip(lower=0.0)
    return by_week.cummax().to_numpy(dtype=float)


def _levels(errors: pd.DataFrame, weeks: int, seed: int) -> dict[str, float]:
    """Return the level to ask of the distribution for each end of an interval, so that past errors would have been covered.

    The place of each actual value within its distribution (at random within its step) would be uniform; its quantiles
    replace the nominal levels.
    """
    rng = np.random.default_rng(seed)
    mean, actual = errors["mean"].to_numpy(dtype=float), errors["actual"].to_numpy(dtype=float)
    spread = _spread(errors, weeks)[errors["ahead"].to_numpy(dtype=np.int64) - 1]
    top, below = _share(mean, spread, actual), _share(mean, spread, actual - 1)
    place = below + rng.random(len(top)) * (top - below)
    return {name: float(np.clip(np.quantile(place, level), 1e-4, 1 - 1e-4)) for name, level in LEVELS.items()}


def _shape(mean: Array, spread: Array) -> tuple[Array, Array]:
    """Return size and success probability of the negative binomial of a mean and spread; nearly Poisson without spread."""
    size = 1 / np.maximum(spread, 1e-6)
    return size, size / (size + np.maximum(mean, 1e-9))


def _share(mean: Array, spread: Array, value: Array) -> Array:
    return np.asarray(stats.nbinom.cdf(value, *_shape(mean, spread)))


def _quantile(mean: Array, spread: Array, level: float) -> Array:
    return np.where(mean > 0, stats.nbinom.ppf(level, *_shape(mean, spread)), 0.0)


def _accuracy(tried: pd.DataFrame, weeks: int, seed: int) -> pd.DataFrame:
    """Return errors by week ahead (0: all) on the later half of the origins, method and intervals settled on the earlier."""
    half = tried["origin"].max() // 2
    before, after = tried[tried["origin"] > half], tried[tried["origin"] <= half]
    method = _chosen(before)
    own = before[before["method"] == method]
    spread, levels = _spread(own, weeks), _levels(own, weeks, seed)
    rows = []
    for week in range(weeks + 1):
        some = after[(after["ahead"] == week) | (week == 0)]
        ours, bar = some[some["method"] == method], some[some["method"] == "seasonal_naive"]
        if ours.empty:
            continue
        actual, mean, naive = (part.to_numpy(dtype=float) for part in (ours["actual"], ours["mean"], bar["mean"]))
        cv = spread[ours["ahead"].to_numpy(dtype=np.int64) - 1]
        ends = {name: _quantile(mean, cv, level) for name, level in levels.items()}
        rows.append(
            {
                "ahead": week,
                "method": method,
                "half_hours": len(actual),
                "contacts": actual.sum(),
                "wape": metrics.wape(actual, mean),
                "wape_naive": metrics.wape(actual, naive),
                "rmse": float(np.sqrt(np.mean((actual - mean) ** 2))),
                "rmse_naive": float(np.sqrt(np.mean((actual - naive) ** 2))),
                "bias": metrics.bias(actual, mean),
                "coverage_80": metrics.coverage(actual, ends["low_80"], ends["high_80"]),
                "coverage_95": metrics.coverage(actual, ends["low_95"], ends["high_95"]),
                "pinball": metrics.pinball(actual, ends["high_80"], level=0.9),
                "pinball_naive": metrics.pinball(actual, naive, level=0.9),
            }
        )
    return pd.DataFrame(rows, columns=_ACCURACY)


def _zone(time_zone: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise DataError(
            f"time_zone is {time_zone!r}, which is no time zone; write one like Europe/Berlin in the company file"
        ) from error


def _clock(days: pd.DatetimeIndex, zone: zoneinfo.ZoneInfo) -> tuple[pd.DataFrame, NDArray[np.intp], NDArray[np.intp]]:
    """Return every half hour of the days, local and UTC, with the place of its day and its half hour of the clock."""
    edges = pd.DatetimeIndex([days[0], days[-1] + pd.Timedelta(days=1)])
    edges = edges.tz_localize(zone, nonexistent="shift_forward", ambiguous=np.array([True, True])).tz_convert("UTC")
    utc = pd.date_range(edges[0], edges[1], freq="30min", inclusive="left")
    local = utc.tz_convert(zone).tz_localize(None)
    table = pd.DataFrame({"starts_at": local, "starts_at_utc": utc.tz_localize(None)})
    day = np.asarray((local.normalize() - days[0]).days, dtype=np.intp)
    return table, day, np.asarray(local.hour * 2 + local.minute // 30, dtype=np.intp)


def _number(days: pd.DatetimeIndex, zone: zoneinfo.ZoneInfo) -> Array:
    """Return how often each half hour of the clock comes on each day: 1, or 0 or 2 where summer time begins or ends."""
    _, day, slot = _clock(days, zone)
    out = np.zeros((len(days), SLOTS))
    np.add.at(out, (day, slot), 1.0)
    return out


def _hours(counts: Array, days: pd.DatetimeIndex) -> NDArray[np.bool_]:
    """Return the open half hours of each weekday (7 × 48) as the contacts of the last year show them."""
    recent, weekday = counts[-_RECENT_DAYS:] > 0, np.asarray(days.day_of_week)[-_RECENT_DAYS:]
    out = np.zeros((7, SLOTS), dtype=bool)
    for day in range(7):
        rows = recent[weekday == day]
        places = np.flatnonzero((rows.sum(axis=0) >= 2) & (rows.mean(axis=0) >= 0.01))
        if len(places):
            out[day, places[0] : places[-1] + 1] = True
    return out


def _given(opening: Mapping[int, tuple[str, str]]) -> NDArray[np.bool_]:
    """Return the open half hours of each weekday (7 × 48) as given."""
    out = np.zeros((7, SLOTS), dtype=bool)
    for day, hours in opening.items():
        if day not in range(7):
            raise UsageError(f"opening names the weekday {day!r}; give 0 (Monday) to 6")
        try:
            start, end = (_minutes(text) for text in hours)
        except (ValueError, TypeError, AttributeError):  # not two, or no texts
            start = end = 0
        if not start < end:
            raise UsageError(f'opening of weekday {day} is {hours!r}; give two times like ("08:00", "18:00")')
        out[day, start // 30 : -(-end // 30)] = True
    return out


def _minutes(text: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if not (0 <= hour <= 24 and 0 <= minute < 60 and hour * 60 + minute <= 1440):
        raise ValueError(text)
    return hour * 60 + minute
