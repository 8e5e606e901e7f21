"""Pareto/NBD: customers buy at random at rates of their own, and stop at times that no purchase announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from crmlib.models.lifetime import discount, maximum, quadrature
from crmlib.models.lifetime.bgnbd import rescaled
from crmlib.models.lifetime.inputs import Array, checked, checked_horizon, collapsed, enough

NAME = "Pareto/NBD"
PARAMETERS = ("r", "alpha", "s", "beta")
_NODES = 24
_NOTHING = 40.0  # what is e^-40 of the largest part changes no digit of the integral


@dataclass(frozen=True)
class Fitted:
    """A fitted model; times are in the unit of the data it was fitted to.

    Attributes: purchase rates are Gamma(``r``, rate ``alpha``), rates of stopping Gamma(``s``, rate ``beta``);
    ``optimum`` says how well they are known. Each of them alone is weakly determined; look at predictions.
    """

    r: float
    alpha: float
    s: float
    beta: float
    optimum: maximum.Maximum

    @property
    def parameters(self) -> Array:
        """The parameters in the order of ``PARAMETERS``."""
        return np.array([self.r, self.alpha, self.s, self.beta])

    def moved(self, parameters: Array) -> Fitted:
        """Return the model with other parameters."""
        r, alpha, s, beta = map(float, parameters)
        return Fitted(r, alpha, s, beta, self.optimum)

    def alive(self, frequency: Any, recency: Any, age: Any) -> Array:
        """Return the probability that a customer still buys."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        rows, _, place = collapsed(x, last, age_)
        there, gone, _ = _parts(self.parameters, rows)
        return (1 / (1 + np.exp(np.minimum(gone - there, 700))))[place]

    def expected(self, horizon: float, frequency: Any, recency: Any, age: Any) -> Array:
        """Return the expected number of purchases within ``horizon`` from now."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        return self._while_alive(horizon, x, age_) * self.alive(x, last, age_)

    def expected_new(self, horizon: float) -> float:
        """Return the expected number of repeat purchases of a new customer within ``horizon`` of the first purchase."""
        return float(self._while_alive(horizon, np.zeros(1), np.zeros(1))[0])

    def discounted(
        self, horizon_days: float, frequency: Any, recency: Any, age: Any, *, annual_discount: float, unit_days: float
    ) -> Array:
        """Return the purchases expected within ``horizon_days``, each discounted to today at ``annual_discount``.

        ``unit_days`` is the length of the unit of time of the data: 7 where recency and age are in weeks.
        """
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        total = discount.accumulated(
            lambda days: self._while_alive(days / unit_days, x, age_),
            horizon_days=horizon_days,
            annual_discount=annual_discount,
        )
        return total * self.alive(x, last, age_)

    def simulate(self, horizon: float, frequency: Any, recency: Any, age: Any, *, random: np.random.Generator) -> Array:
        """Return one draw of each customer's number of purchases within ``horizon``, given what he did so far."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        horizon = checked_horizon(horizon, model=NAME)
        there = random.random(len(x)) < self.alive(x, last, age_)
        rate = random.gamma(self.r + x) / (self.alpha + age_)
        stopping = random.gamma(self.s, size=len(x)) / (self.beta + age_)
        time = np.minimum(horizon, random.exponential(size=len(x)) / np.maximum(stopping, 1e-300))
        return np.where(there, random.poisson(rate * time), 0).astype(float)

    def _while_alive(self, horizon: float, x: Array, age: Array) -> Array:
        """Return the expected purchases of those still buying: their mean rate times their mean time within the horizon."""
        horizon = checked_horizon(horizon, model=NAME)
        passed = np.log1p(horizon / (self.beta + age))
        power = self.s - 1
        # (1 - e^(-power passed)) / power, which at power 0 is what passed.
        time = passed if power == 0 else -np.expm1(-power * passed) / power
        return (self.r + x) / (self.alpha + age) * (self.beta + age) * time


def fit(frequency: Any, recency: Any, age: Any) -> Fitted:
    """Return the model of maximum likelihood (Schmittlein, Morrison & Colombo 1987, Management Science 33, 1-24).

    In: per customer repeat purchases, time from first to last purchase and from first purchase to now, in one unit.
    Raises DataError for inconsistent values, fewer than 50 customers or 10 with a repeat purchase.
    """
    x, last, age_ = checked(frequency, recency, age, model=NAME)
    enough(x, model=NAME)
    unit = float(age_.mean())
    rows, weight, _ = collapsed(x, last / unit, age_ / unit)
    found = maximum.maximise(likelihood, rows, weight, start=(0.5, 0.3, 0.6, 0.3), names=PARAMETERS)
    scaled = found.parameters * np.array([1, unit, 1, unit])
    r, alpha, s, beta = map(float, scaled)
    return Fitted(r, alpha, s, beta, rescaled(found, scaled, float(x.sum()), unit))


def likelihood(parameters: Array, rows: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the log-likelihood of each row (frequency, recency, age), and its slopes by r, alpha, s and beta."""
    r, alpha, s, beta = parameters
    x, _, age = rows
    place, number = x.astype(np.int64), np.arange(int(x.max()) + 1)
    there, gone, means = _parts(parameters, rows)
    either = np.logaddexp(there, gone)
    share = np.exp(gone - either)  # of those who stopped between the last purchase and now
    stay = 1 - share
    bought = (gammaln(r + number) - gammaln(r))[place] + r * np.log(alpha) + s * np.log(beta)
    slope = np.empty((4, len(x)))
    slope[0] = (digamma(r + number) - digamma(r))[place] + np.log(alpha) - stay * np.log(alpha + age) - share * means[0]
    slope[1] = r / alpha - (r + x) * (stay / (alpha + age) + share * means[1])
    slope[2] = np.log(beta) - stay * np.log(beta + age) - share * (means[2] - 1 / s)
    slope[3] = s / beta - stay * s / (beta + age) - share * (s + 1) * means[3]
    return bought + either, slope


def _parts(parameters: Array, rows: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """Return the logarithms of both parts of the likelihood, without what they share, and means over the second.

    First: the customer still buys, (alpha + T)^-(r + x) (beta + T)^-s. Second: the customer stopped at u after the last
    purchase, s times the integral of (alpha + u)^-(r + x) (beta + u)^-(s + 1) to T. Means over u, by which the slopes
    go: log(alpha + u), 1 / (alpha + u), log(beta + u), 1 / (beta + u). The integral, by Gauss-Legendre over log(c +
    u) with c the smaller of alpha and beta, cut where it has died away, needs no 2F1 and gives exact slopes.
    """
    r, alpha, s, beta = parameters
    x, last, age = rows
    low = min(alpha, beta)
    fading = _NOTHING / (r + x)
    end = np.minimum(age, (alpha + last) * np.exp(np.minimum(fading, 500)) - alpha)
    width = np.log1p((end - last) / (low + last))
    at, weight = quadrature.legendre(_NODES)
    moment = (low + last)[:, None] * np.exp(width[:, None] * at) - low
    first, second = alpha + moment, beta + moment
    log_first, log_second = np.log(first), np.log(second)
    part = -(r + x)[:, None] * log_first - (s + 1) * log_second + np.log(low + moment)
    top = part.max(axis=1, keepdims=True)
    share = np.exp(part - top) * weight
    total = share.sum(axis=1)
    with np.errstate(divide="ignore"):
        gone = np.log(s) + top[:, 0] + np.log(total * width)
    means = np.stack([(share * one).sum(axis=1) / total for one in (log_first, 1 / first, log_second, 1 / second)])
    there = -(r + x) * np.log(alpha + age) - s * np.log(beta + age)
    return there, gone, means
