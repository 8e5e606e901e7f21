"""BG/BB: the same in discrete time, where a customer can buy once in each period (an appeal, a month, a season)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaln, digamma

from crmlib.errors import DataError, UsageError
from crmlib.models.lifetime import discount, maximum
from crmlib.models.lifetime.inputs import Array, checked, collapsed, enough

NAME = "BG/BB"
PARAMETERS = ("alpha", "beta", "gamma", "delta")


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    Attributes: probabilities to buy in a period are Beta(``alpha``, ``beta``), probabilities to stop before one Beta(
    ``gamma``, ``delta``); ``optimum`` says how well they are known. Each of them alone is weakly determined.
    """

    alpha: float
    beta: float
    gamma: float
    delta: float
    optimum: maximum.Maximum

    @property
    def parameters(self) -> Array:
        """The parameters in the order of ``PARAMETERS``."""
        return np.array([self.alpha, self.beta, self.gamma, self.delta])

    def moved(self, parameters: Array) -> Fitted:
        """Return the model with other parameters."""
        alpha, beta, gamma, delta = map(float, parameters)
        return Fitted(alpha, beta, gamma, delta, self.optimum)

    def alive(self, frequency: Any, recency: Any, trials: Any, *, ahead: int = 0) -> Array:
        """Return the probability that a customer still buys now, or ``ahead`` periods from now."""
        rows, _, place = collapsed(*_checked(frequency, recency, trials))
        gamma, delta = self.gamma, self.delta
        lasts = betaln(gamma, delta + rows[2] + ahead) - betaln(gamma, delta)
        buys = betaln(self.alpha + rows[0], self.beta + rows[2] - rows[0]) - betaln(self.alpha, self.beta)
        return np.exp(buys + lasts - likelihood(self.parameters, rows)[0])[place]

    def expected(self, horizon: int, frequency: Any, recency: Any, trials: Any) -> Array:
        """Return the expected number of periods with a purchase among the next ``horizon``."""
        return self._summed(np.ones(_periods(horizon)), frequency, recency, trials)

    def expected_new(self, horizon: int) -> float:
        """Return the expected number of periods with a purchase among the first ``horizon`` of a new customer."""
        later = np.arange(1, _periods(horizon) + 1)
        lasts = np.exp(betaln(self.gamma, self.delta + later) - betaln(self.gamma, self.delta))
        return float(self.alpha / (self.alpha + self.beta) * lasts.sum())

    def discounted(
        self,
        horizon_days: float,
        frequency: Any,
        recency: Any,
        trials: Any,
        *,
        annual_discount: float,
        unit_days: float,
    ) -> Array:
        """Return the purchases expected in the whole periods of ``unit_days`` within ``horizon_days``, discounted to today.

        A period's purchase counts at its end.
        """
        days = unit_days * np.arange(1, _periods(int(horizon_days // unit_days)) + 1)
        return self._summed(discount.factor(annual_discount, days), frequency, recency, trials)

    def simulate(
        self, horizon: int, frequency: Any, recency: Any, trials: Any, *, random: np.random.Generator
    ) -> Array:
        """Return one draw of each customer's purchases in the next ``horizon`` periods, given what he did so far."""
        x, last, n = _checked(frequency, recency, trials)
        there = random.random(len(x)) < self.alive(x, last, n)
        buys = random.beta(self.alpha + x, self.beta + n - x)
        stop = np.maximum(random.beta(self.gamma, self.delta + n), 1e-12)
        left = np.minimum(random.geometric(stop) - 1, _periods(horizon))
        return np.where(there, random.binomial(left.astype(np.int64), buys), 0).astype(float)

    def _summed(self, worth: Array, frequency: Any, recency: Any, trials: Any) -> Array:
        """Return the expected worth of the coming periods' purchases, one worth a period."""
        x, last, n = _checked(frequency, recency, trials)
        (x1, last1, n1), _, place = collapsed(x, last, n)
        rate = (self.alpha + x1) / (self.alpha + self.beta + n1)
        now = betaln(self.gamma, self.delta + n1)
        later = np.arange(1, len(worth) + 1)
        lasts = np.exp(betaln(self.gamma, self.delta + n1[:, None] + later) - now[:, None])
        return (self.alive(x1, last1, n1) * rate * (lasts @ worth))[place]


def fit(frequency: Any, recency: Any, trials: Any) -> Fitted:
    """Return the model of maximum likelihood (Fader, Hardie & Shang 2010, Marketing Science 29, 1086-1108).

    In: per customer the number of periods with a purchase after the first, the last of them (1, 2 …; 0 without one) and
    the number of periods until now. Raises DataError for inconsistent values, fewer than 50 customers, 10 with a repeat
    purchase, or two periods.
    """
    x, last, n = _checked(frequency, recency, trials)
    enough(x, model=NAME)
    if n.max() < 2:
        raise DataError(f"{NAME}: not enough data (found {n.max():.0f} period, need 2); take shorter periods or wait")
    rows, weight, _ = collapsed(x, last, n)
    found = maximum.maximise(likelihood, rows, weight, start=(1.0, 1.0, 0.7, 2.5), names=PARAMETERS)
    alpha, beta, gamma, delta = map(float, found.parameters)
    return Fitted(alpha, beta, gamma, delta, found)


def likelihood(parameters: Array, rows: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the log-likelihood of each row (frequency, recency, trials), and its slopes by the four parameters.

    A sum over the periods in which the customer may have stopped; the last term is that he has not.
    """
    alpha, beta, gamma, delta = parameters
    x, last, n = rows
    step = np.arange(int((n - last).max()) + 1)[None, :]
    lived = np.minimum(last[:, None] + step, n[:, None])  # periods in which he could have bought
    possible, ends = last[:, None] + step <= n[:, None], last[:, None] + step < n[:, None]
    missed, stopped = lived - x[:, None], ends.astype(float)
    buys = betaln(alpha + x[:, None], beta + missed) - betaln(alpha, beta)
    lasts = betaln(gamma + stopped, delta + lived) - betaln(gamma, delta)
    part = np.where(possible, buys + lasts, -np.inf)
    top = part.max(axis=1, keepdims=True)
    share = np.exp(part - top)
    total = share.sum(axis=1, keepdims=True)
    share = share / total
    bought, died = digamma(alpha + beta + lived), digamma(gamma + delta + lived + stopped)
    slope = np.stack(
        [
            (share * (digamma(alpha + x)[:, None] - bought)).sum(axis=1) + digamma(alpha + beta) - digamma(alpha),
            (share * (digamma(beta + missed) - bought)).sum(axis=1) + digamma(alpha + beta) - digamma(beta),
            (share * (digamma(gamma + stopped) - died)).sum(axis=1) + digamma(gamma + delta) - digamma(gamma),
            (share * (digamma(delta + lived) - died)).sum(axis=1) + digamma(gamma + delta) - digamma(delta),
        ]
    )
    return (top + np.log(total))[:, 0], slope


def _checked(frequency: Any, recency: Any, trials: Any) -> tuple[Array, Array, Array]:
    x, last, n = checked(frequency, recency, trials, model=NAME)
    if (last != np.floor(last)).any() or (n != np.floor(n)).any():
        raise DataError(f"{NAME}: recency and trials count periods; give whole numbers")
    if (x > last).any():
        bad = int((x > last).sum())
        raise DataError(f"{NAME}: frequency: {bad:,} of {len(x):,} customers bought in more periods than had passed")
    return x, last, n


def _periods(horizon: int) -> int:
    if horizon < 1 or horizon != int(horizon):
        raise UsageError(f"{NAME}: the horizon is {horizon!r} periods; give a whole number, 1 or more")
    return int(horizon)
