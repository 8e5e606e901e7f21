"""The contact policy of the company file: how often, when and whom the company may contact of its own accord."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crmlib.errors import DataError

PER = ("customer", "household")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MINUTES_OF_A_DAY = 24 * 60


@dataclass(frozen=True)
class Limit:
    """At most ``contacts`` contacts within any ``days`` days, ``per`` customer or household.

    Attributes: ``channel`` is the channel it counts and limits, "" for all channels together.
    """

    per: str
    contacts: int
    days: int
    channel: str = ""


@dataclass(frozen=True)
class ContactPolicy:
    """What the company keeps to when it makes contact of its own accord.

    Attributes: ``purposes`` of past contacts that count; ``consent_purposes`` for which a customer must have consented;
    ``limits`` over rolling windows; ``ignored_contacts`` unanswered or refused contacts within ``ignored_within_days``
    silence a customer for ``silent_days`` (0 contacts: never); an open complaint silences where
    ``open_complaint_silences``, a resolved one for ``complaint_days`` more; ``quiet_hours`` ("20:00-09:00"),
    ``quiet_weekdays`` and ``quiet_holidays`` say when nobody is contacted by the ``quiet_channels`` (none: all);
    ``holdout_share`` of all persons, chosen by a hash with ``holdout_key``, is left alone by every campaign.
    """

    purposes: tuple[str, ...] = ("sales", "retention")
    consent_purposes: tuple[str, ...] = ("marketing",)
    limits: tuple[Limit, ...] = ()
    ignored_contacts: int = 0
    ignored_within_days: int = 90
    silent_days: int = 60
    open_complaint_silences: bool = True
    complaint_days: int = 0
    quiet_hours: tuple[str, ...] = ()
    quiet_weekdays: tuple[str, ...] = ()
    quiet_holidays: bool = False
    quiet_channels: tuple[str, ...] = ()
    holdout_share: float = 0.0
    holdout_key: str = ""


def policy(values: Mapping[str, Any]) -> ContactPolicy:
    """Return the policy that ``dataclasses.asdict`` or a TOML table holds; what is missing takes its default.

    >>> policy({"limits": [{"per": "customer", "contacts": 2, "days": 30}]}).limits
    (Limit(per='customer', contacts=2, days=30, channel=''),)
    """
    given = dict(values)
    if "limits" in given:
        given["limits"] = tuple(Limit(**one) for one in given["limits"])
    for name in ("purposes", "consent_purposes", "quiet_hours", "quiet_weekdays", "quiet_channels"):
        if name in given:
            given[name] = tuple(given[name])
    return ContactPolicy(**given)


def check(values: Any, where: str, *, channels: Mapping[str, Any]) -> None:
    """Refuse a table of a TOML file that makes no policy or contradicts itself.

    In: ``where`` names the file and section for the message, ``channels`` are those with a cost of contact. Raises
    DataError for an unknown setting, a value of the wrong kind, an unknown channel, two limits over the same contacts
    and days, a limit that a stricter one makes idle, and quiet times that leave no moment.
    """
    _check_names(values, where, known=list(ContactPolicy.__dataclass_fields__))
    for name, value in values.items():
        if name != "limits":
            _check_value(name, value, where)
    for number, limit in enumerate(_limits(values, where), start=1):
        _check_limit(limit, f"{where}.limits[{number}]", channels)
    _check_channels(values.get("quiet_channels", []), f"{where}.quiet_channels", channels)
    _check_contradictions(policy(values), where)


def _check_names(values: Any, where: str, *, known: list[str]) -> None:
    if not isinstance(values, Mapping):
        raise DataError(f"{where} is {values!r}; write it as a table with {', '.join(known)}")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise DataError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(known)}")


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "truth": (lambda value: isinstance(value, bool), "true or false"),
    "count": (lambda value: _is_whole(value) and value >= 0, "a whole number of 0 or more"),
    "words": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) and one for one in value),
        "a list of words",
    ),
    "word": (lambda value: isinstance(value, str), "a text"),
    "share": (
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.5,
        "a share from 0 to 0.5",
    ),
}


def _kind(name: str) -> str:
    default = ContactPolicy.__dataclass_fields__[name].default
    kinds = {bool: "truth", int: "count", tuple: "words", float: "share"}
    return kinds.get(type(default), "word")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_value(name: str, value: Any, where: str) -> None:
    fits, wanted = _KINDS[_kind(name)]
    if not fits(value):
        raise DataError(f"{where}.{name} is {value!r}; give {wanted}")
    if name == "consent_purposes" and not value:
        raise DataError(
            f"{where}.consent_purposes is empty, so nobody's consent would be asked for; name at least one purpose, "
            'such as "marketing"'
        )
    if name == "quiet_weekdays":
        unknown = [day for day in value if day not in WEEKDAYS]
        if unknown:
            raise DataError(f"{where}.quiet_weekdays: unknown day {unknown[0]!r}; use {', '.join(WEEKDAYS)}")
    if name == "quiet_hours":
        for span in value:
            quiet_span(span, f"{where}.quiet_hours")


def quiet_span(text: str, where: str = "quiet_hours") -> tuple[int, int]:
    """Return the minutes of the day at which a quiet time such as "20:00-09:00" begins and ends.

    Raises DataError for another form and for a span without length.

    >>> quiet_span("20:00-09:00")
    (1200, 540)
    """
    try:
        begins, ends = (dt.time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError as error:
        raise DataError(f'{where}: {text!r} is no span of hours; write it like "20:00-09:00"') from error
    span = (begins.hour * 60 + begins.minute, ends.hour * 60 + ends.minute)
    if span[0] == span[1]:
        raise DataError(f"{where}: {text!r} has no length; let it end at another time than it begins")
    return span


def _limits(values: Mapping[str, Any], where: str) -> list[Any]:
    limits = values.get("limits", [])
    if not isinstance(limits, list):
        raise DataError(f"{where}.limits is {limits!r}; write each limit as [[contact_policy.limits]]")
    return limits


def _check_limit(limit: Any, where: str, channels: Mapping[str, Any]) -> None:
    _check_names(limit, where, known=list(Limit.__dataclass_fields__))
    missing = [name for name in ("per", "contacts", "days") if name not in limit]
    if missing:
        raise DataError(f"{where}: {' and '.join(missing)} missing; a limit needs per, contacts and days")
    if limit["per"] not in PER:
        raise DataError(f"{where}.per is {limit['per']!r}; use {' or '.join(PER)}")
    for name in ("contacts", "days"):
        if not _is_whole(limit[name]) or limit[name] < 1:
            hint = " (to close a channel, remove its cost of contact)" if name == "contacts" else ""
            raise DataError(f"{where}.{name} is {limit[name]!r}; give a whole number of 1 or more{hint}")
    if limit.get("channel"):
        _check_channels([limit["channel"]], f"{where}.channel", channels)


def _check_channels(names: list[str], where: str, channels: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in channels]
    if unknown:
        raise DataError(
            f"{where}: channel {unknown[0]!r} has no cost of contact; known are {', '.join(sorted(channels))} "
            "(contact_costs_minor)"
        )


def _check_contradictions(rules: ContactPolicy, where: str) -> None:
    for number, one in enumerate(rules.limits):
        for other in rules.limits[number + 1 :]:
            strict, loose = sorted((one, other), key=lambda limit: (limit.contacts, -limit.days))
            same = (one.per, one.channel) == (other.per, other.channel)
            if same and strict.contacts <= loose.contacts and strict.days >= loose.days:
                raise DataError(
                    f"{where}.limits contradict: {loose.contacts} contacts in {loose.days} days per {loose.per} "
                    f"are never reached where {strict.contacts} in {strict.days} days are allowed; remove one of the two"
                )
    if set(rules.quiet_weekdays) == set(WEEKDAYS):
        raise DataError(
            f"{where}.quiet_weekdays names all seven days, so nobody could ever be contacted; leave one out"
        )
    if rules.quiet_hours and len(quiet_minutes(rules)) == MINUTES_OF_A_DAY:
        raise DataError(f"{where}.quiet_hours cover the whole day, so nobody could ever be contacted; leave some time")
    if rules.holdout_share and not rules.holdout_key:
        raise DataError(
            f"{where}.holdout_share is {rules.holdout_share} without a holdout_key; give a secret text that never changes"
        )


def quiet_minutes(rules: ContactPolicy) -> frozenset[int]:
    """Return the minutes of the local day at which nobody is contacted."""
    quiet: set[int] = set()
    for text in rules.quiet_hours:
        begins, ends = quiet_span(text)
        quiet |= set(range(begins, ends)) if begins < ends else {*range(begins, MINUTES_OF_A_DAY), *range(ends)}
    return frozenset(quiet)
