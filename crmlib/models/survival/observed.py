"""What was observed of each customer: how long, and how it ended; checked once, for all methods of this package."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError

Values = pd.Series | np.ndarray | Sequence[float]
Names = pd.Series | np.ndarray | Sequence[str]
ALL = "(all)"


@dataclass(frozen=True)
class Observed:
    """One row a customer.

    Attributes: ``time`` until leaving or the end of observation; ``code`` of the reason (place in ``reasons``; -1 is
    still here); ``group`` (place in ``groups``); ``entered``, the duration already past when observation began
    (minus infinity: from the start).
    """

    time: np.ndarray
    code: np.ndarray
    reasons: tuple[str, ...]
    group: np.ndarray
    groups: tuple[str, ...]
    entered: np.ndarray

    @property
    def left(self) -> np.ndarray:
        """Whether the customer left, for any reason."""
        return self.code >= 0

    def of_group(self, place: int) -> Observed:
        """Return the customers of one group."""
        own = self.group == place
        return Observed(self.time[own], self.code[own], self.reasons, self.group[own], self.groups, self.entered[own])

    def place(self, reason: str) -> int:
        """Return the code of a reason; raises DataError for one that nobody has."""
        if reason not in self.reasons:
            raise DataError(f"nobody left for the reason {reason!r}; the reasons found are {', '.join(self.reasons)}")
        return self.reasons.index(reason)


@dataclass(frozen=True)
class Counts:
    """At each ``time`` somebody left: ``at_risk`` just before, and ``events`` (times x reasons)."""

    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray


def from_flags(
    durations: Values, ended: Values, *, groups: Names | None = None, entered: Values | None = None
) -> Observed:
    """Return what was observed where leaving has one kind; ``ended`` is 1 for who left, 0 for who is still here."""
    flags = _numbers(ended, "ended", len(np.asarray(durations)))
    odd = ~np.isin(flags, (0.0, 1.0))
    if odd.any():
        raise DataError(
            f"ended holds {flags[odd][0]:g} in row {int(np.argmax(odd))}; it must be 1 (left) or 0 (still here)"
        )
    return _observed(durations, np.where(flags == 1, 0, -1), ("left",), groups=groups, entered=entered)


def from_reasons(
    durations: Values, reasons: Names, *, groups: Names | None = None, entered: Values | None = None
) -> Observed:
    """Return what was observed where reasons compete; the reason "" is still here."""
    remedy = 'write "" for a customer who is still here'
    code, names = _texts(reasons, "reasons", len(np.asarray(durations)), remedy=remedy)
    found = tuple(name for name in names if name)
    return _observed(durations, code - (len(names) - len(found)), found, groups=groups, entered=entered)


def counts(given: Observed) -> Counts:
    """Return how many were at risk and how many left, at each time somebody left.

    Raises DataError where a whole risk set leaves although others enter later: then no curve goes on.
    """
    times, place = np.unique(given.time[given.left], return_inverse=True)
    kinds = len(given.reasons)
    events = np.bincount(place * kinds + given.code[given.left], minlength=len(times) * kinds).reshape(-1, kinds)
    entered_before = _before(given.entered, times)
    at_risk = entered_before - _before(given.time, times)
    empty = (events.sum(axis=1) == at_risk) & (entered_before < len(given.time))
    if empty.any():
        at = int(np.argmax(empty))
        raise DataError(
            f"at duration {times[at]:g} all {at_risk[at]} customers under observation left, and others entered only later;"
            " leave out the customers who ended before that duration, and read the curve from there"
        )
    return Counts(times, at_risk, events)


def _before(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return how many of the values lie before each time."""
    if not np.isfinite(values).any():
        return np.full(len(times), len(values))
    return np.searchsorted(np.sort(values), times, side="left")


def _observed(
    durations: Values, code: np.ndarray, reasons: tuple[str, ...], *, groups: Names | None, entered: Values | None
) -> Observed:
    time = _numbers(durations, "durations")
    if not len(time):
        raise DataError("not enough data for a survival curve (found 0 customers, need 1)")
    if (time < 0).any():
        raise DataError(
            f"durations: {int((time < 0).sum())} of {len(time)} are below zero (the lowest is {time.min():g}, in row"
            f" {int(np.argmin(time))}); nobody leaves before the beginning, mend the dates of start and end"
        )
    begun = np.full(len(time), -np.inf)
    if entered is not None:
        begun = _numbers(entered, "entered", len(time))
        if (begun >= time).any():
            raise DataError(
                f"entered: {int((begun >= time).sum())} of {len(time)} customers come under observation when their"
                " duration is over, or later; leave them out"
            )
    if not (code >= 0).any():
        raise DataError(
            f"not enough data: nobody of {len(time)} customers left (found 0 departures, need 1); observe longer"
        )
    if groups is None:
        return Observed(time, code, reasons, np.zeros(len(time), dtype=int), (ALL,), begun)
    group, labels = _texts(groups, "groups", len(time), remedy="give each customer a group, or leave him out")
    return Observed(time, code, reasons, group, tuple(labels), begun)


def _numbers(values: Values, name: str, count: int | None = None) -> np.ndarray:
    try:
        found = np.asarray(values, dtype=float).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers; convert them ({error})") from error
    _same_length(found, name, count)
    if not np.isfinite(found).all():
        odd = ~np.isfinite(found)
        raise DataError(
            f"{name}: {int(odd.sum())} of {len(found)} are empty or infinite, the first in row {int(np.argmax(odd))};"
            " fill them or leave the rows out"
        )
    return found


def _texts(values: Names, name: str, count: int, *, remedy: str) -> tuple[np.ndarray, list[str]]:
    """Return for each value its place among the labels, and the labels in order."""
    given = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values, dtype=object).reshape(-1))
    _same_length(given, name, count)
    code, found = pd.factorize(given)
    absent = code < 0
    if absent.any():
        raise DataError(f"{name}: {int(absent.sum())} of {len(code)} are empty; {remedy}")
    texts = [str(value) for value in found]
    labels = sorted(set(texts))
    return np.array([labels.index(text) for text in texts], dtype=np.int64)[code], labels


def _same_length(found: Sized, name: str, count: int | None) -> None:
    if count is not None and len(found) != count:
        raise DataError(f"there are {count} durations but {len(found)} values of {name}; give one for each customer")
