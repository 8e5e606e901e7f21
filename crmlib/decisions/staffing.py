"""How many agents the contact centre needs: queues with and without abandonment, over the distribution of a forecast."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from crmlib.errors import DataError, UsageError

Array = NDArray[np.float64]
FILE = "staffing.toml"
PERIOD_SECONDS = 1800
NODES = 24
"""Rates of contact, equally likely, that stand for the distribution of one forecast."""
MOST_AGENTS = 2000
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TINY = 1e-200


@dataclass(frozen=True)
class Goal:
    """What callers are promised, and how long they wait.

    Attributes: ``service_level`` the share of contacts to be answered within ``within_seconds``; ``patience_seconds`` the
    mean time after which a waiting caller hangs up (exponential; infinite: nobody does); ``handling_seconds`` the mean
    time an agent is busy with one (None: as recorded); ``weeks`` to be planned; ``opening`` the hours by weekday, 0 for
    Monday (None: as the record shows them).
    """

    service_level: float = 0.8
    within_seconds: float = 20.0
    patience_seconds: float = 180.0
    handling_seconds: float | None = None
    weeks: int = 4
    opening: Mapping[int, tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        if not _number(self.service_level) or not 0 < self.service_level < 1:
            raise UsageError(
                f"service_level is {self.service_level!r}; give a share above 0 and below 1, for example 0.8"
            )
        if not _number(self.within_seconds) or not 0 <= self.within_seconds < math.inf:
            raise UsageError(f"within_seconds is {self.within_seconds!r}; give seconds, 0 or more")
        if not _number(self.patience_seconds) or not self.patience_seconds > 0:
            raise UsageError(
                f"patience_seconds is {self.patience_seconds!r}; give seconds above 0 (inf: nobody hangs up)"
            )
        handling = self.handling_seconds
        if handling is not None and (not _number(handling) or not 0 < handling < math.inf):
            raise UsageError(
                f"handling_seconds is {handling!r}; give seconds above 0, or leave it out to use those recorded"
            )
        if isinstance(self.weeks, bool) or not isinstance(self.weeks, int) or not 1 <= self.weeks <= 13:
            raise UsageError(f"weeks is {self.weeks!r}; give a whole number of weeks from 1 to 13")


@dataclass(frozen=True)
class Service:
    """What a number of agents makes of a rate of contacts, arrays of one shape.

    Attributes: ``service_level`` share of all contacts answered within the time promised; ``abandoned`` share that hang
    up; ``delayed`` share that wait at all; ``wait_seconds`` mean wait of all; ``busy`` share of the agents' time.
    """

    service_level: Array
    abandoned: Array
    delayed: Array
    wait_seconds: Array
    busy: Array


def read(path: Path) -> Goal:
    """Return the goal written in a TOML file, the default one where there is no file; raises DataError for a wrong one."""
    if not path.exists():
        return Goal()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a readable TOML file ({error}); mend it or remove it to use the defaults"
        ) from error
    known = [field.name for field in fields(Goal)]
    opening = values.get("opening")
    if opening is not None:
        wrong = [day for day in opening if day not in WEEKDAYS] if isinstance(opening, dict) else [opening]
        if wrong:
            raise DataError(f'{path}: opening names {wrong[0]!r}; write lines like monday = ["08:00", "18:00"]')
        values["opening"] = {WEEKDAYS.index(day): hours for day, hours in opening.items()}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise DataError(f"{path}: unknown setting {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        return Goal(**values)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error


def erlang_b(load: Any, agents: int) -> Array:
    """Return the share of contacts lost where nobody can wait: ``load`` is contacts a second times seconds each (erlangs).

    A. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone exchanges",
    Elektrotkeknikeren 13 (1917).

    >>> erlang_b([5.0, 10.0], 10).round(4).tolist()
    [0.0184, 0.2146]
    """
    return 1 / _inverse_b(_loads(load), _whole(agents))


def erlang_c(load: Any, agents: int) -> Array:
    """Return the share of contacts that wait where nobody hangs up; 1 where the agents cannot keep up.

    >>> erlang_c(10.0, 14).round(3).tolist()
    0.174
    """
    loads = _loads(load)
    lost = erlang_b(loads, agents)
    with np.errstate(divide="ignore", invalid="ignore"):
        waits = lost / (1 - loads / agents * (1 - lost)) if agents else np.ones_like(loads)
    return np.where(loads < agents, waits, 1.0)


def service(
    contacts: Any, agents: int, *, handling_seconds: float, goal: Goal, period_seconds: int = PERIOD_SECONDS
) -> Service:
    """Return what ``agents`` make of ``contacts`` in a period, in the steady state of the queue M/M/n+M (Erlang A).

    Contacts come at random, handling and patience are exponential; with infinite patience it is the queue of Erlang C.
    Raises UsageError for negative contacts, agents below 0 or a handling time not above 0.

    A. Mandelbaum, S. Zeltyn, "Service engineering in action: the Palm/Erlang-A queue", Advances in Services Innovations
    (2007), 17-45, section 4; C. Palm, "Research on telephone traffic carried by full availability groups", Tele 1 (1957).

    >>> found = service(100, 14, handling_seconds=180, goal=Goal(patience_seconds=math.inf))
    >>> found.service_level.round(3).tolist(), found.wait_seconds.round(1).tolist()
    (0.888, 7.8)
    """
    number = _loads(contacts)
    if not _number(handling_seconds) or not 0 < handling_seconds < math.inf:
        raise UsageError(f"handling_seconds is {handling_seconds!r}; give seconds above 0")
    rate = np.maximum(number / period_seconds * handling_seconds, _TINY)  # contacts in the time that one takes
    count = _whole(agents)
    if count == 0:
        nobody, all_ = np.zeros_like(rate), np.ones_like(rate)
        return Service(nobody, all_, all_, all_ * goal.patience_seconds, all_)
    if math.isinf(goal.patience_seconds):
        return _patient(rate, count, goal.within_seconds / handling_seconds, handling_seconds)
    return _impatient(rate, count, handling_seconds, goal)


def plan(
    forecast: pd.DataFrame, *, handling_seconds: float, goal: Goal, period_seconds: int = PERIOD_SECONDS
) -> pd.DataFrame:
    """Return how many agents each period needs, so that the goal holds on average over what the forecast holds possible.

    In: ``contacts`` (mean forecast of a period) and ``spread`` (squared coefficient of variation of its true mean; 0: known
    exactly), other columns kept. Out: these with handling_seconds, ``agents`` (the fewest for which the expected share of
    contacts answered in time reaches the goal; 0 where none are expected), ``service_level`` and ``abandoned`` (expected
    shares of contacts, NaN without agents), ``met`` (probability that the goal is met), ``busy``.

    >>> forecast = pd.DataFrame({"contacts": [100.0, 100.0, 0.0], "spread": [0.0, 0.04, 0.0]})
    >>> plan(forecast, handling_seconds=180, goal=Goal())[["agents", "met"]].values.tolist()
    [[12.0, 1.0], [13.0, 0.7083333333333334], [0.0, nan]]
    """
    for name in ("contacts", "spread"):
        if name not in forecast:
            raise DataError(f"the forecast has no column {name}; it has {', '.join(forecast.columns)}")
        values = forecast[name].to_numpy(dtype=float)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise DataError(f"forecast.{name} holds values below 0 or none; forecast every period first")
    mean = forecast["contacts"].to_numpy(dtype=float)
    rates = _rates(mean, forecast["spread"].to_numpy(dtype=float))
    out = {name: np.full(len(mean), np.nan) for name in ("service_level", "abandoned", "met", "busy")}
    agents = np.zeros(len(mean), dtype=np.int64)
    open_ = np.flatnonzero(mean > 0)
    loads = mean / period_seconds * handling_seconds
    count = max(int(goal.service_level * loads[open_].min()) - 1, 0) if len(open_) else 0  # fewer answer too few
    while len(open_):
        count += 1
        if max(count, goal.service_level * loads[open_].max()) > MOST_AGENTS:
            raise DataError(
                f"more than {MOST_AGENTS:,} agents would be needed for {mean[open_].max():,.0f} contacts of "
                f"{handling_seconds:g} seconds in one period; check the times, or plan by site"
            )
        found = service(
            rates[open_], count, handling_seconds=handling_seconds, goal=goal, period_seconds=period_seconds
        )
        weight = rates[open_] / rates[open_].sum(axis=1, keepdims=True)
        reached = (found.service_level * weight).sum(axis=1) >= goal.service_level
        rows = open_[reached]
        agents[rows] = count
        out["service_level"][rows] = (found.service_level * weight).sum(axis=1)[reached]
        out["abandoned"][rows] = (found.abandoned * weight).sum(axis=1)[reached]
        out["met"][rows] = (found.service_level >= goal.service_level).mean(axis=1)[reached]
        out["busy"][rows] = found.busy.mean(axis=1)[reached]
        open_ = open_[~reached]
    return forecast.assign(handling_seconds=float(handling_seconds), agents=agents, **out)


def _rates(mean: Array, spread: Array) -> Array:
    """Return equally likely rates of contact of each period (period × NODES): gamma, of the mean and variation given."""
    levels = (np.arange(NODES) + 0.5) / NODES
    shape = 1 / np.maximum(spread, 1e-9)[:, None]
    nodes = special.gammaincinv(shape, levels[None, :]) / shape
    nodes = np.where(spread[:, None] > 0, nodes, 1.0)
    return nodes / nodes.mean(axis=1, keepdims=True) * mean[:, None]


def _patient(rate: Array, count: int, within: float, handling_seconds: float) -> Service:
    """Return the service of Erlang C: where contacts outrun the agents, nobody is answered in time and the wait has no end."""
    waits = erlang_c(rate, count)
    spare = np.maximum(count - rate, _TINY)
    stable = rate < count
    level = np.where(stable, 1 - waits * np.exp(-spare * within), 0.0)
    mean = np.where(stable, waits / spare * handling_seconds, np.inf)
    return Service(level, np.zeros_like(rate), waits, mean, np.minimum(rate / count, 1.0))


def _impatient(rate: Array, count: int, handling_seconds: float, goal: Goal) -> Service:
    """Return the service of Erlang A, in the time of one handling: service rate 1, ``theta`` hang up a unit of time.

    Everything is scaled by e^-c so that a queue that always lasts does not overflow.
    """
    theta = handling_seconds / goal.patience_seconds
    within = goal.within_seconds / handling_seconds
    whole, rest = _log_tail(rate, count, theta, 0.0), _log_tail(rate, count, theta, within)
    c = np.maximum(np.maximum(whole, rest), 0.0)
    unit, tail, left = np.exp(-c), np.exp(whole - c), np.exp(rest - c)
    full = 1 / _inverse_b(rate, count - 1)  # against it the chance that an agent is free is 1
    total = unit + full * rate * tail
    passed = np.exp(rate * -np.expm1(-theta * within) / theta - count * within - c)
    level = (unit + full * (passed - unit + count * (tail - left))) / total
    abandoned = np.clip(full * (unit + (rate - count) * tail) / total, 0.0, 1.0)
    busy = np.clip(rate * (1 - abandoned) / count, 0.0, 1.0)
    wait = abandoned * goal.patience_seconds
    return Service(np.clip(level, 0.0, 1.0), abandoned, full * rate * tail / total, wait, busy)


def _log_tail(rate: Array, count: int, theta: float, after: float) -> Array:
    """Return log of the integral from ``after`` on of exp(rate (1 - e^(-theta x)) / theta - count x) dx.

    By the incomplete gamma function; by its power series where that would vanish.
    """
    x, y = count / theta, rate / theta
    z = y * math.exp(-theta * after)
    share = special.gammainc(x, z)
    with np.errstate(divide="ignore"):
        usual = y - x * np.log(y) + special.gammaln(x) + np.log(share)
    series, term = np.ones_like(z), np.ones_like(z)
    small = share < _TINY
    k = 0
    while small.any() and (term[small] > 1e-16 * series[small]).any():
        k += 1
        term = np.where(small, term * z / (x + k), 0.0)
        series = series + term
    by_series = y - z - count * after - math.log(x) + np.log(series)
    return np.where(small, by_series, usual) - math.log(theta)


def _inverse_b(load: Array, agents: int) -> Array:
    """Return 1 / the share lost of Erlang B, by the recursion that only adds."""
    loads = np.maximum(load, _TINY)
    out = np.ones_like(loads)
    with np.errstate(over="ignore"):
        for n in range(1, agents + 1):
            out = 1 + n / loads * out
    return out


def _loads(value: Any) -> Array:
    loads = np.asarray(value, dtype=float)
    if not (np.isfinite(loads) & (loads >= 0)).all():
        raise UsageError(f"contacts are {value!r}; give numbers, 0 or more")
    return loads


def _whole(agents: Any) -> int:
    if isinstance(agents, bool) or not isinstance(agents, int | np.integer) or agents < 0:
        raise UsageError(f"agents is {agents!r}; give a whole number, 0 or more")
    return int(agents)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
