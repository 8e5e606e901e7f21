"""BG/NBD: customers buy at random at rates of their own, and after each purchase stop with a probability of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln, hyp2f1

from crmlib.models.lifetime import discount, maximum
from crmlib.models.lifetime.inputs import Array, checked, checked_horizon, collapsed, enough

NAME = "BG/NBD"
PARAMETERS = ("r", "alpha", "a", "b")
_NEAR = 1e-4


@dataclass(frozen=True)
class Fitted:
    """A fitted model; times are in the unit of the data it was fitted to.

    Attributes: purchase rates are Gamma(``r``, rate ``alpha``), probabilities to stop after a purchase Beta(``a``,
    ``b``); ``optimum`` says how well they are known. Each of them alone is weakly determined; look at predictions.
    """

    r: float
    alpha: float
    a: float
    b: float
    optimum: maximum.Maximum

    @property
    def parameters(self) -> Array:
        """The parameters in the order of ``PARAMETERS``."""
        return np.array([self.r, self.alpha, self.a, self.b])

    def moved(self, parameters: Array) -> Fitted:
        """Return the model with other parameters."""
        r, alpha, a, b = map(float, parameters)
        return Fitted(r, alpha, a, b, self.optimum)

    def alive(self, frequency: Any, recency: Any, age: Any) -> Array:
        """Return the probability that a customer still buys; 1 without a repeat purchase, by the model's assumption."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        odds = np.log(self.a) - np.log(np.maximum(self.b + x - 1, 1e-300))
        odds = odds + (self.r + x) * (np.log(self.alpha + age_) - np.log(self.alpha + last))
        return np.where(x > 0, 1 / (1 + np.exp(np.minimum(odds, 700))), 1.0)

    def expected(self, horizon: float, frequency: Any, recency: Any, age: Any) -> Array:
        """Return the expected number of purchases within ``horizon`` from now."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        (x1, age1), _, place = collapsed(x, age_)
        return self._while_alive(horizon, x1, age1)[place] * self.alive(x, last, age_)

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
        (x1, age1), _, place = collapsed(x, age_)
        total = discount.accumulated(
            lambda days: self._while_alive(days / unit_days, x1, age1),
            horizon_days=horizon_days,
            annual_discount=annual_discount,
        )
        return total[place] * self.alive(x, last, age_)

    def simulate(self, horizon: float, frequency: Any, recency: Any, age: Any, *, random: np.random.Generator) -> Array:
        """Return one draw of each customer's number of purchases within ``horizon``, given what he did so far."""
        x, last, age_ = checked(frequency, recency, age, model=NAME)
        horizon = checked_horizon(horizon, model=NAME)
        there = random.random(len(x)) < self.alive(x, last, age_)
        rate = random.gamma(self.r + x) / (self.alpha + age_)
        stop = np.maximum(random.beta(self.a, self.b + x), 1e-12)
        return np.where(there, np.minimum(random.poisson(rate * horizon), random.geometric(stop)), 0).astype(float)

    def _while_alive(self, horizon: float, x: Array, age: Array) -> Array:
        """Return the expected purchases of those still buying (the paper's equation 10 without its denominator).

        Its 2F1, whose parameters grow with x, is taken after Euler's transformation, where they do not.
        """
        horizon = checked_horizon(horizon, model=NAME)
        if abs(self.a - 1) < _NEAR:  # the formula is 0 / 0 at a = 1 and smooth around it
            sides = [replace(self, a=1 + step)._while_alive(horizon, x, age) for step in (-2 * _NEAR, 2 * _NEAR)]
            return (sides[0] + sides[1]) / 2
        left = (self.alpha + age) / (self.alpha + age + horizon)
        last = self.a + self.b + x - 1
        series = hyp2f1(self.a - 1, self.a + self.b - 1 - self.r, last, horizon / (self.alpha + age + horizon))
        return last / (self.a - 1) * (1 - left ** (self.a - 1) * series)


def fit(frequency: Any, recency: Any, age: Any) -> Fitted:
    """Return the model of maximum likelihood (Fader, Hardie & Lee 2005, Marketing Science 24, 275-284).

    In: per customer repeat purchases, time from first to last purchase and from first purchase to now, in one unit.
    Raises DataError for inconsistent values, fewer than 50 customers or 10 with a repeat purchase.
    """
    x, last, age_ = checked(frequency, recency, age, model=NAME)
    enough(x, model=NAME)
    unit = float(age_.mean())
    rows, weight, _ = collapsed(x, last / unit, age_ / unit)
    found = maximum.maximise(likelihood, rows, weight, start=(0.5, 0.3, 0.8, 2.5), names=PARAMETERS)
    scaled = found.parameters * np.array([1, unit, 1, 1])
    r, alpha, a, b = map(float, scaled)
    return Fitted(r, alpha, a, b, rescaled(found, scaled, float(x.sum()), unit))


def rescaled(found: maximum.Maximum, parameters: Array, events: float, unit: float) -> maximum.Maximum:
    """Return an optimum found in units of the mean age in the unit of the data: densities of ``events`` change with it."""
    return replace(found, parameters=parameters, log_likelihood=found.log_likelihood - events * float(np.log(unit)))


def likelihood(parameters: Array, rows: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the log-likelihood of each row (frequency, recency, age), and its slopes by r, alpha, a and b."""
    r, alpha, a, b = parameters
    x, last, age = rows
    place, number = x.astype(np.int64), np.arange(int(x.max()) + 1)
    bought = (gammaln(r + number) - gammaln(r))[place] + r * np.log(alpha)
    stayed = (gammaln(a + b) - gammaln(b) + gammaln(b + number) - gammaln(a + b + number))[place]
    log_age, log_last = np.log(alpha + age), np.log(alpha + last)
    there = -(r + x) * log_age
    some = x > 0
    lived = np.where(some, b + x - 1, 1.0)
    gone = np.where(some, np.log(a) - np.log(lived) - (r + x) * log_last, -np.inf)
    either = np.logaddexp(there, gone)
    share = np.exp(gone - either)  # of those who stopped at the last purchase
    slope = np.empty((4, len(x)))
    slope[0] = (digamma(r + number) - digamma(r))[place] + np.log(alpha) - (1 - share) * log_age - share * log_last
    slope[1] = r / alpha - (r + x) * ((1 - share) / (alpha + age) + share / (alpha + last))
    both = digamma(a + b) - digamma(a + b + number)
    slope[2] = both[place] + share / a
    slope[3] = (both + digamma(b + number) - digamma(b))[place] - share / lived
    return bought + stayed + either, slope
