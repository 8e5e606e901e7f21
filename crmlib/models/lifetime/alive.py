"""P(alive) is 30%: what do I do? Actions compared by what they bring from customers who still buy and from those who do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.lifetime.inputs import Array

NOTHING = "nothing"
STEPS = 101


@dataclass(frozen=True)
class Action:
    """Something that can be done with a customer, by what it brings.

    Attributes: ``name``; ``if_alive`` the share of the customer's value that it adds where the customer still buys
    (negative: a discount given to who would have bought anyway), ``if_gone`` where he has stopped; ``cost_minor`` what it
    costs each time. Both shares are estimates: give what past campaigns with a control group showed.
    """

    name: str
    if_alive: float
    if_gone: float
    cost_minor: float

    def __post_init__(self) -> None:
        if self.name == NOTHING or not self.name:
            raise UsageError(f"the action is named {self.name!r}; doing nothing is always compared, name the others")
        for field in ("if_alive", "if_gone"):
            share = getattr(self, field)
            if not math.isfinite(share) or not -1 <= share <= 1:
                raise UsageError(f"action {self.name}: {field} is {share!r}; give a share of the value from -1 to 1")
        if not math.isfinite(self.cost_minor) or self.cost_minor < 0:
            raise UsageError(f"action {self.name}: cost_minor is {self.cost_minor!r}; give minor units, 0 or more")

    def net_minor(self, alive: Any, value_minor: Any) -> Array:
        """Return what the action brings after its cost, minor units.

        >>> Action("catalogue", 0.04, 0.0, 80).net_minor([0.3, 0.9], 5_000).round(6).tolist()
        [-20.0, 100.0]
        """
        p, value = np.asarray(alive, dtype=float), np.asarray(value_minor, dtype=float)
        return value * (p * self.if_alive + (1 - p) * self.if_gone) - self.cost_minor


def thresholds(actions: Sequence[Action], *, value_minor: float) -> pd.DataFrame:
    """Return which action is best at which probability of being alive, for customers of one value.

    In: ``value_minor`` the margin that a customer who still buys brings over the horizon. Out, in rising order of the
    probability: from_alive, to_alive (0 to 1), action ("nothing" where none pays for itself), net_minor (at the middle).

    >>> choices = [Action("catalogue", 0.04, 0.0, 80), Action("win back", -0.05, 0.06, 150)]
    >>> thresholds(choices, value_minor=5_000).round(3).values.tolist()
    [[0.0, 0.273, 'win back', 75.0], [0.273, 0.4, 'nothing', 0.0], [0.4, 1.0, 'catalogue', 60.0]]
    """
    _distinct(actions)
    value = _one_value(value_minor)
    lines = [(NOTHING, 0.0, 0.0), *[_line(action, value) for action in actions]]
    marks = {0.0, 1.0}
    for k, (_, start, slope) in enumerate(lines):
        for _, other, steepness in lines[k + 1 :]:
            if slope != steepness:
                marks.add((other - start) / (slope - steepness))
    edges = sorted(mark for mark in marks if 0 <= mark <= 1)
    rows: list[tuple[float, float, str]] = []
    for begin, end in itertools.pairwise(edges):
        middle = (begin + end) / 2
        best = max(lines, key=lambda line: line[1] + line[2] * middle)[0]
        if rows and rows[-1][2] == best:
            rows[-1] = (rows[-1][0], end, best)
        elif end - begin > 1e-12:
            rows.append((begin, end, best))
    known = {name: (start, slope) for name, start, slope in lines}
    net = [known[best][0] + known[best][1] * (begin + end) / 2 for begin, end, best in rows]
    return pd.DataFrame(rows, columns=["from_alive", "to_alive", "action"]).assign(net_minor=net)


def break_even(action: Action, value_minor: Any) -> pd.DataFrame:
    """Return at which probability of being alive an action pays for itself, for each value.

    Out: value_minor, from_alive, to_alive (between them it pays; both NaN where it never does).

    >>> break_even(Action("catalogue", 0.04, 0.0, 80), [1_000, 2_500, 8_000]).values.tolist()
    [[1000.0, nan, nan], [2500.0, 0.8, 1.0], [8000.0, 0.25, 1.0]]
    """
    value = np.atleast_1d(np.asarray(value_minor, dtype=float))
    start, slope = value * action.if_gone - action.cost_minor, value * (action.if_alive - action.if_gone)
    with np.errstate(divide="ignore", invalid="ignore"):
        mark = np.clip(np.where(slope != 0, -start / slope, np.nan), 0, 1)
    at_end = start + slope
    low = np.where(start >= 0, 0.0, np.where(at_end >= 0, mark, np.nan))
    high = np.where(at_end >= 0, 1.0, np.where(start >= 0, mark, np.nan))
    return pd.DataFrame({"value_minor": value, "from_alive": low, "to_alive": high})


def curve(actions: Sequence[Action], *, value_minor: float) -> pd.DataFrame:
    """Return what each action brings at each probability of being alive, for a chart: action, alive, net_minor, best."""
    _distinct(actions)
    at = np.linspace(0, 1, STEPS)
    value = _one_value(value_minor)
    net = np.stack([np.zeros(STEPS), *[action.net_minor(at, value) for action in actions]])
    best = net.argmax(axis=0)
    parts = [
        pd.DataFrame({"action": name, "alive": at, "net_minor": net[k], "best": best == k})
        for k, name in enumerate([NOTHING, *[action.name for action in actions]])
    ]
    return pd.concat(parts, ignore_index=True)


def decide(
    alive: Any, value_minor: Any, actions: Sequence[Action], *, low: Any = None, high: Any = None
) -> pd.DataFrame:
    """Return the best action for each customer, why, and whether the estimate decides it.

    In: probability of being alive, its interval where known, and value of each customer while alive. Out, a row a customer:
    action, net_minor, code, sure. ``code``: "earns" (the action is worth its cost), "too_likely_gone" (it would pay if the
    customer were alive for sure), "too_likely_alive" (it would pay if he had left), "too_little_value" (it pays
    at no probability). ``sure`` is False where the ends of the interval would be treated differently. Raises DataError for
    probabilities outside 0 to 1 or values below 0.
    """
    _distinct(actions)
    p, value = np.broadcast_arrays(np.asarray(alive, dtype=float), np.asarray(value_minor, dtype=float))
    p, value = np.atleast_1d(p), np.atleast_1d(value)
    _check(p, value)
    names = np.array([NOTHING, *[action.name for action in actions]], dtype=object)
    net, best = _best(p, value, actions)
    always, never = (_best(np.full(len(p), end), value, actions)[1] for end in (1.0, 0.0))
    code = np.select(
        [best > 0, always > 0, never > 0], ["earns", "too_likely_gone", "too_likely_alive"], "too_little_value"
    )
    sure = np.ones(len(p), dtype=bool)
    for end in (low, high):
        if end is not None:
            given = np.broadcast_to(np.asarray(end, dtype=float), p.shape)
            _check(given, value)
            sure &= _best(given, value, actions)[1] == best
    return pd.DataFrame({"action": names[best].astype(str), "net_minor": net, "code": code.astype(str), "sure": sure})


def _best(p: Array, value: Array, actions: Sequence[Action]) -> tuple[Array, Array]:
    net = np.stack([np.zeros(len(p)), *[action.net_minor(p, value) for action in actions]])
    best = net.argmax(axis=0)
    return net[best, np.arange(len(p))], best


def _line(action: Action, value: float) -> tuple[str, float, float]:
    """Return an action's net as a line over the probability: name, at 0, slope."""
    return action.name, value * action.if_gone - action.cost_minor, value * (action.if_alive - action.if_gone)


def _distinct(actions: Sequence[Action]) -> None:
    names = [action.name for action in actions]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"the actions are {', '.join(names) or 'none'}; give one or more, each with a name of its own")


def _one_value(value_minor: float) -> float:
    value = float(value_minor)
    if not math.isfinite(value) or value < 0:
        raise UsageError(
            f"value_minor is {value_minor!r}; give the margin of a living customer in minor units, 0 or more"
        )
    return value


def _check(p: Array, value: Array) -> None:
    bad = int((~((p >= 0) & (p <= 1))).sum())
    if bad:
        raise DataError(f"P(alive) is missing or outside 0 to 1 for {bad:,} of {len(p):,} customers")
    bad = int((~((value >= 0) & np.isfinite(value))).sum())
    if bad:
        raise DataError(
            f"the value is missing or negative for {bad:,} of {len(value):,} customers; give 0 where unknown"
        )
