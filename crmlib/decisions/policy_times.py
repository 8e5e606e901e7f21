"""When the contact policy lets the company make contact: quiet hours, weekdays and holidays in the company's own time."""

from __future__ import annotations

import datetime as dt
import zoneinfo

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import MINUTES_OF_A_DAY, WEEKDAYS, quiet_minutes

_FURTHEST_DAYS = 366


def allowed_days(company: Company, start: dt.date, end: dt.date, *, channel: str = "") -> list[dt.date]:
    """Return the days from ``start`` to ``end``, both included, on which the company makes contact.

    In: ``channel`` of the contact; where the policy names ``quiet_channels`` the others have no quiet times ("" is
    bound by them in any case). Raises UsageError where the end lies before the start.

    >>> from crmlib.warehouse.company_policy import ContactPolicy
    >>> quiet = Company(contact_policy=ContactPolicy(quiet_weekdays=("saturday", "sunday")))
    >>> [day.day for day in allowed_days(quiet, dt.date(2025, 5, 1), dt.date(2025, 5, 6))]
    [1, 2, 5, 6]
    """
    if end < start:
        raise UsageError(f"the period runs from {start} to {end}; let it end on or after its first day")
    days = (start + dt.timedelta(days=number) for number in range((end - start).days + 1))
    return [day for day in days if not _quiet_day(company, day, channel)]


def next_allowed(company: Company, moment: dt.datetime, *, channel: str = "") -> dt.datetime:
    """Return the first minute from ``moment`` on, both UTC, at which the company makes contact.

    Raises DataError for an unknown time zone and where a whole year is quiet.

    >>> from crmlib.warehouse.company_policy import ContactPolicy
    >>> quiet = Company(contact_policy=ContactPolicy(quiet_hours=("20:00-09:00",)))
    >>> next_allowed(quiet, dt.datetime(2025, 5, 1, 21, 30))
    datetime.datetime(2025, 5, 2, 9, 0)
    """
    zone = _zone(company)
    quiet = quiet_minutes(company.contact_policy) if _bound(company, channel) else frozenset()
    local = moment.replace(tzinfo=dt.UTC).astimezone(zone)
    first = local.hour * 60 + local.minute
    for number in range(_FURTHEST_DAYS + 1):
        day = local.date() + dt.timedelta(days=number)
        if not _quiet_day(company, day, channel):
            for minute in range(first if number == 0 else 0, MINUTES_OF_A_DAY):
                if minute not in quiet:
                    if number == 0 and minute == first:
                        return moment
                    at = dt.datetime.combine(day, dt.time(minute // 60, minute % 60), tzinfo=zone)
                    return at.astimezone(dt.UTC).replace(tzinfo=None)
    raise DataError(
        f"the contact policy leaves no moment within a year after {moment:%Y-%m-%d %H:%M}; "
        "look at quiet_hours, quiet_weekdays and holidays in company.toml"
    )


def _bound(company: Company, channel: str) -> bool:
    named = company.contact_policy.quiet_channels
    return not named or not channel or channel in named


def _quiet_day(company: Company, day: dt.date, channel: str) -> bool:
    rules = company.contact_policy
    if not _bound(company, channel):
        return False
    holiday = rules.quiet_holidays and day.isoformat() in company.holidays
    return holiday or WEEKDAYS[day.weekday()] in rules.quiet_weekdays


def _zone(company: Company) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(company.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataError(
            f'time_zone is {company.time_zone!r}, which is not known; write it like "Europe/Prague" in company.toml'
        ) from error
