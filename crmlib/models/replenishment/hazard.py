"""The daily chance of the next order: how long since the last one, how much it brought, weekday, customer, product.

A discrete-time hazard (Singer and Willett, Applied Longitudinal Data Analysis, 2003, chapter 11) with a complementary
log-log link. The chance of an order on a day is 1 - exp(-rate), and the rate is that of a piecewise constant hazard in
relative time (days since the order over the pair's usual wait, stretched where the order was larger than usual), times a
factor of the weekday or holiday and of the customer's own weekdays. Usual waits are pooled: of a pair with few orders
the prior of product, kind of customer and customer decides. Days without supply are no exposure, so a customer who could
not order is not taken for one who did not want to.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.models.replenishment import pooling
from crmlib.models.replenishment.history import KEYS, Market
from crmlib.models.replenishment.pooling import Prior, Quantities
from crmlib.models.replenishment.spells import HOLIDAY, Spells, spells

CODES = HOLIDAY + 1
GROUPS = 2
_CELL = 0.05
UPPER = np.concatenate([np.arange(0.1, 2.05, 0.1), [2.25, 2.5, 2.75, 3, 4, 6, 9, 15, 30]])
"""Upper edges of the pieces of relative time; the last piece has none."""
_PIECE = np.searchsorted(UPPER, (np.arange(round(UPPER[-1] / _CELL) + 1) + 0.5) * _CELL)
PIECES = len(UPPER) + 1
_ROUNDS = 5
_GRID = np.linspace(-2.5, 2.5, 7)
_STRETCH = np.log(4)
"""How far, at most, the quantity of one order stretches the wait after it (a factor of four)."""
_WAIT_VARIANCE = 0.3
"""A rough variance of the logarithm of one wait: it only says how finely to look."""


@dataclass(frozen=True, eq=False)
class Hazard:
    """A fitted hazard of the next order.

    Attributes: ``rate`` by group (0: customers, 1: outlets) and piece of relative time, ``calendar`` factor by group and weekday (7: holiday), ``habit`` the same of
    each customer and outlet (8 columns, 1: as all do), ``power`` of the quantity (0: a larger order changes nothing, 1: twice
    as much lasts twice as long), ``waits`` and ``quantities`` of each of ``pairs`` (customer_id, outlet_id, product_id, …) with
    their priors: ``log_wait`` and ``log_wait_sd`` in ``pairs`` are the logarithm of the usual wait in days. ``until`` is
    the last day learnt from, ``log_likelihood`` of it.
    """

    rate: np.ndarray
    calendar: np.ndarray
    habit: pd.DataFrame
    power: float
    pairs: pd.DataFrame
    waits: Prior
    quantities: Quantities
    until: dt.date
    log_likelihood: float


def piece(relative: np.ndarray) -> np.ndarray:
    """Return the piece of relative time.

    >>> piece(np.array([0.05, 1.0, 99.0])).tolist()
    [0, 10, 29]
    """
    return _PIECE[np.minimum((relative / _CELL).astype(np.int32), len(_PIECE) - 1)]


def fit(orders: pd.DataFrame, market: Market, *, until: dt.date) -> Hazard:
    """Fit the hazard of the next order to the orders known at the end of the day ``until``.

    In: ``orders`` of ``history.by_day``, ``market`` around them. Raises DataError where no customer ordered a product
    twice.
    """
    days = spells(orders, market, until=until)
    return _fitted(_Fit(days), until)


def _fitted(state: _Fit, until: dt.date) -> Hazard:
    for number in range(_ROUNDS):
        for _step in range(3):
            state.update_shape()
        state.update_waits()
        if number < 3:
            state.update_power(0.3 / 2**number)
    state.update_shape()
    days = state.days
    pairs = days.pairs.assign(log_wait=state.log_wait, log_wait_sd=np.sqrt(state.variance))
    places = pd.MultiIndex.from_frame(days.pairs[KEYS[:2]].drop_duplicates())
    return Hazard(
        rate=state.rate,
        calendar=state.calendar,
        habit=pd.DataFrame(state.habit, index=places),
        power=state.power,
        pairs=pairs,
        waits=state.prior,
        quantities=state.quantities,
        until=until,
        log_likelihood=float(state.likelihood(state.log_wait, state.power).sum()),
    )


class _Fit:
    """The estimates while they are being improved; each ``update`` raises the likelihood given the others."""

    def __init__(self, days: Spells) -> None:
        kept = days.open
        self.days = days
        self.wait, self.since = days.wait[kept], days.since[kept]
        self.ordered, self.weekday = days.ordered[kept], days.weekday[kept]
        self.pair = days.pair[self.wait]
        number = len(days.pairs)
        self.group = days.pairs["group"].to_numpy()[self.pair]
        self.day = self.group * CODES + self.weekday
        self.cell = days.pairs["place"].to_numpy()[self.pair] * CODES + self.weekday
        self.quantities = pooling.quantities(days.pairs, days.pair, days.quantity)
        self.surplus = np.clip(np.log(days.quantity) - self.quantities.log[days.pair], -_STRETCH, _STRETCH)
        events = np.bincount(self.pair, self.ordered, number)
        at_risk = np.bincount(self.pair, minlength=number)
        usual = at_risk.sum() / max(events.sum(), 1)
        self.events = events
        self.log_wait = np.log((at_risk + 2 * usual) / (events + 2))
        self.variance = np.full(number, 0.1)
        self.prior = pooling.prior(days.pairs, self.log_wait, self.variance)
        self.power = 0.5
        self.rate = np.ones((GROUPS, PIECES))
        self.calendar = np.ones((GROUPS, CODES))
        self.habit = np.ones((int(days.pairs["place"].max()) + 1, CODES))
        self.basket = self._basket()

    def _basket(self) -> np.ndarray:
        """Return how many products a customer orders on one day: what comes together tells of one choice of day."""
        days = self.days
        place = days.pairs["place"].to_numpy()
        number = len(self.habit)
        orders = np.bincount(place, days.pairs["orders"], number)
        most = np.zeros(number)
        np.maximum.at(most, place, days.pairs["orders"].to_numpy(float))
        return np.maximum(orders / np.maximum(most, 1), 1)

    def scale(self, log_wait: np.ndarray, power: float) -> np.ndarray:
        """Return the length of relative time 1 of each wait, days."""
        return np.exp(log_wait[self.days.pair] + power * self.surplus)

    def _base(self, log_wait: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
        scale = self.scale(log_wait, power)[self.wait]
        return piece((self.since - 0.5) / scale) + self.group * PIECES, 1 / scale

    def likelihood(self, log_wait: np.ndarray, power: float) -> np.ndarray:
        """Return the log-likelihood of each pair's days."""
        pieces, exposure = self._base(log_wait, power)
        rate = self.rate.ravel()[pieces] * exposure * self.calendar.ravel()[self.day] * self.habit.ravel()[self.cell]
        value = -rate
        value[self.ordered] = np.log(-np.expm1(-np.maximum(rate[self.ordered], 1e-12)))
        return np.bincount(self.pair, value, len(log_wait))

    def update_shape(self) -> None:
        """Improve the rates, the calendar and the customers' own weekdays (each day's order stands for one or more)."""
        pieces, exposure = self._base(self.log_wait, self.power)
        own = self.habit.ravel()[self.cell]
        factor = self.calendar.ravel()[self.day] * own
        rate = np.maximum(self.rate.ravel()[pieces] * exposure * factor, 1e-12)
        hits = np.where(self.ordered, rate / -np.expm1(-rate), 0.0)
        # One unit of exposure at the average rate keeps a piece that was hardly ever seen near the others.
        seen = np.bincount(pieces, exposure * factor, GROUPS * PIECES).reshape(GROUPS, PIECES)
        found = np.bincount(pieces, hits, GROUPS * PIECES).reshape(GROUPS, PIECES)
        average = (found.sum(axis=1) + 1e-3) / (seen.sum(axis=1) + 1e-3)
        self.rate = (found + average[:, None]) / (seen + 1)
        expected = self.rate.ravel()[pieces] * exposure
        cells = GROUPS * CODES
        chance, found = np.bincount(self.day, expected * own, cells), np.bincount(self.day, hits, cells)
        calendar = ((found + 1e-3) / (chance + 1e-3)).reshape(GROUPS, CODES)
        days = np.bincount(self.day, minlength=cells).reshape(GROUPS, CODES) + 1e-9
        self.calendar = calendar / ((calendar * days).sum(axis=1) / days.sum(axis=1))[:, None]
        self._update_habit(hits, expected * self.calendar.ravel()[self.day])

    def _update_habit(self, hits: np.ndarray, expected: np.ndarray) -> None:
        cells = self.habit.size
        share = np.repeat(self.basket, CODES)
        found, chance = np.bincount(self.cell, hits, cells) / share, np.bincount(self.cell, expected, cells) / share
        # Gamma-Poisson by moments: how much the customers' own weekdays differ beyond chance.
        variance = float(np.sum((found - chance) ** 2 - found) / max(np.sum(chance**2), 1e-12))
        prior = float(np.clip(1 / max(variance, 1e-3), 0.5, 1e3))
        self.habit = ((found + prior) / (chance + prior)).reshape(self.habit.shape)

    def update_waits(self) -> None:
        """Improve the usual waits: their posterior on a grid around the present ones, then the prior."""
        spread = 1 / np.sqrt(1 / self.prior.spread**2 + self.events / _WAIT_VARIANCE)
        centre = self.prior.mean(self.days.pairs)
        values = self.log_wait + _GRID[:, None] * spread
        score = np.stack([self.likelihood(value, self.power) for value in values])
        score = score - 0.5 * ((values - centre) / self.prior.spread) ** 2
        weight = np.exp(score - score.max(axis=0))
        weight = weight / weight.sum(axis=0)
        mean = (weight * values).sum(axis=0)
        self.variance = np.maximum((weight * (values - mean) ** 2).sum(axis=0), (0.25 * spread) ** 2)
        # Relative time 1 is the wait after which half have ordered, so that a usual wait means what it says.
        self.log_wait = mean + np.log(self._half())[self.days.pairs["group"].to_numpy()]
        self.prior = pooling.prior(self.days.pairs, self.log_wait, self.variance)

    def _half(self) -> np.ndarray:
        upper = np.append(np.append(0.0, UPPER), 60.0)
        total = np.cumsum(self.rate * np.diff(upper), axis=1)
        half = [np.interp(np.log(2), np.append(0.0, one), upper) for one in total]
        return np.clip(half, 0.5, 2.0)

    def update_power(self, step: float) -> None:
        """Improve how much longer a larger order lasts."""
        tried = np.clip(self.power + step * np.array([-1.0, 0.0, 1.0]), 0, 1)
        value = [self.likelihood(self.log_wait, power).sum() for power in tried]
        self.power = float(tried[int(np.argmax(value))])
