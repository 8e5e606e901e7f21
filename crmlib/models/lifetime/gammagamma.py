"""Gamma-Gamma: what a customer spends on average, from a few purchases and from what the others spend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from crmlib.errors import DataError
from crmlib.models.lifetime import maximum
from crmlib.models.lifetime.inputs import FEWEST, Array, collapsed

NAME = "Gamma-Gamma"
PARAMETERS = ("p", "q", "gamma")


@dataclass(frozen=True)
class Fitted:
    """A fitted model; money is in the unit of the data it was fitted to.

    Attributes: a purchase is Gamma(``p``, rate nu), nu is Gamma(``q``, rate ``gamma``) over customers; ``optimum`` says how
    well they are known; ``correlation`` of mean value and frequency among those it was fitted to: the model takes them
    to be independent.
    """

    p: float
    q: float
    gamma: float
    optimum: maximum.Maximum
    correlation: float

    @property
    def parameters(self) -> Array:
        """The parameters in the order of ``PARAMETERS``."""
        return np.array([self.p, self.q, self.gamma])

    def moved(self, parameters: Array) -> Fitted:
        """Return the model with other parameters."""
        p, q, gamma = map(float, parameters)
        return Fitted(p, q, gamma, self.optimum, self.correlation)

    def expected_value(self, frequency: Any, mean_value: Any) -> Array:
        """Return the expected value of a customer's purchase; that of all customers where frequency is 0.

        In: number of purchases and their mean value (ignored where the number is 0). Raises DataError where the model
        has no mean (q not above 1) and a customer no purchases to go by.
        """
        x, mean = _arrays(frequency, mean_value)
        _positive(np.where(x > 0, mean, 1.0), x)
        below = self.p * x + self.q - 1
        if (below <= 0).any():
            raise DataError(
                f"{NAME}: q is {self.q:.2f}, so values have no mean over all customers; leave out the customers "
                "without purchases, or take out the largest amounts"
            )
        return self.p * (self.gamma + x * np.where(x > 0, mean, 0.0)) / below


def fit(frequency: Any, mean_value: Any) -> Fitted:
    """Return the model of maximum likelihood (Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value", eq. 1a).

    In: per customer the number of purchases whose values are averaged, and their mean value, above 0. Customers with 0
    purchases tell nothing and are left out. Raises DataError for amounts of 0 or less, fewer than 50 customers, or
    customers who have one purchase each.
    """
    x, mean = _arrays(frequency, mean_value)
    x, mean = x[x > 0], mean[x > 0]
    _positive(mean, x)
    if len(x) < FEWEST:
        raise DataError(f"{NAME}: not enough data (found {len(x)} customers with purchases, need {FEWEST})")
    if x.max() < 2:
        raise DataError(
            f"{NAME}: all {len(x):,} customers have one purchase each, which cannot tell how purchases of one customer "
            "differ; take a longer period"
        )
    unit = float(np.exp(np.log(mean).mean()))
    rows, weight, _ = collapsed(x, mean / unit)
    found = maximum.maximise(likelihood, rows, weight, start=(2.0, 3.0, 2.0), names=PARAMETERS)
    scaled = found.parameters * np.array([1, 1, unit])
    # The density of the mean value has the unit 1 / money.
    worth = found.log_likelihood - len(x) * float(np.log(unit))
    related = float(np.corrcoef(x, mean)[0, 1]) if x.std() > 0 and mean.std() > 0 else 0.0
    p, q, gamma = map(float, scaled)
    return Fitted(p, q, gamma, replace(found, parameters=scaled, log_likelihood=worth), related)


def likelihood(parameters: Array, rows: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the log-likelihood of each row (frequency, mean value), and its slopes by p, q and gamma."""
    p, q, gamma = parameters
    x, mean = rows
    place, number = x.astype(np.int64), np.arange(int(x.max()) + 1)
    number = np.maximum(number, 1)
    own = gammaln(p * number + q) - gammaln(p * number) - gammaln(q) + q * np.log(gamma)
    spent, log_spent = gamma + mean * x, np.log(mean * x)
    log_all = np.log(spent)
    value = own[place] + p * x * log_spent - np.log(mean) - (p * x + q) * log_all
    slope = np.empty((3, len(x)))
    shape = digamma(p * number + q)
    slope[0] = x * ((shape - digamma(p * number))[place] + log_spent - log_all)
    slope[1] = (shape - digamma(q))[place] + np.log(gamma) - log_all
    slope[2] = q / gamma - (p * x + q) / spent
    return value, slope


def _arrays(frequency: Any, mean_value: Any) -> tuple[Array, Array]:
    x, mean = (np.atleast_1d(np.asarray(given, dtype=float)) for given in (frequency, mean_value))
    if x.shape != mean.shape or x.ndim != 1:
        raise DataError(
            f"{NAME}: frequency and mean value have the shapes {x.shape}, {mean.shape}; give one a customer"
        )
    if not (np.isfinite(x) & (x >= 0) & (x == np.floor(x))).all():
        raise DataError(f"{NAME}: frequency must be a whole number of purchases, 0 or more, for each customer")
    return x, mean


def _positive(mean: Array, x: Array) -> None:
    bad = int((~np.isfinite(mean) | (mean <= 0)).sum())
    if bad:
        raise DataError(
            f"{NAME}: {bad:,} of {len(x):,} customers have a mean value that is missing, 0 or negative; leave out "
            "purchases that were free or taken back"
        )
