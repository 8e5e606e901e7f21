"""Intervals of shares and of ratios of shares, at 95%."""

from __future__ import annotations

from typing import Any

import numpy as np

from crmlib.errors import DataError

Z = 1.959963984540054
"""The 97.5% point of the normal distribution."""


def wilson(successes: Any, trials: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the 95% score interval of a share; nan where there are no trials.

    Wilson (1927), Journal of the American Statistical Association 22, pp. 209-212.

    >>> [round(float(bound), 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    x, n = np.asarray(successes, float), np.asarray(trials, float)
    if (n < 0).any() or (x < 0).any() or (x > n).any():
        raise DataError("a share needs 0 <= successes <= trials; check the counts")
    with np.errstate(invalid="ignore", divide="ignore"):
        share = x / n
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At the ends the bound is the share itself; rounding would put it beyond.
    return np.where(x == 0, np.where(n > 0, 0.0, np.nan), middle - half), np.where(
        (x == n) & (n > 0), 1.0, middle + half
    )


def ratio(
    successes: Any, trials: Any, other_successes: Any, other_trials: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ratio of two independent shares with low and high of its 95% interval on the log scale.

    Katz, Baptista, Azen and Pike (1978), Biometrics 34, pp. 469-474, method C. Where one count is 0 the logarithm is taken
    after 0.5 is added to each number, as in Walter (1975), Biometrika 62, pp. 371-374; the interval then reaches to 0
    or to infinity on the side of the estimate. nan where a group is empty or neither has a success.

    >>> [round(float(value), 2) for value in ratio(10, 75, 12, 225)]
    [2.5, 1.13, 5.55]
    """
    x, n, y, m = (np.asarray(one, float) for one in (successes, trials, other_successes, other_trials))
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = (x / n) / (y / m)
        more = np.where((x == 0) | (y == 0), 0.5, 0.0)
        a, b, c, d = x + more, n + more, y + more, m + more
        middle = np.log(a / b) - np.log(c / d)
        half = Z * np.sqrt(np.maximum(1 / a - 1 / b + 1 / c - 1 / d, 0))
        low = np.where(x == 0, 0.0, np.exp(middle - half))
        high = np.where(y == 0, np.inf, np.exp(middle + half))
    usable = (n > 0) & (m > 0) & (x + y > 0)
    return tuple(np.where(usable, one, np.nan) for one in (estimate, low, high))  # type: ignore[return-value]


def lift(successes: Any, trials: Any, all_successes: Any, all_trials: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share of a group over that of everybody, the group included, with low and high of a 95% interval.

    Group and everybody overlap, so the interval comes from the ratio r of the group to the rest (``ratio``): with w the
    group's part of everybody, lift = r / (w r + 1 - w), which rises with r. A group that is everybody has lift 1.

    >>> [round(float(value), 2) for value in lift(10, 75, 22, 300)]
    [1.82, 1.09, 2.6]
    """
    x, n, y, m = (np.asarray(one, float) for one in (successes, trials, all_successes, all_trials))
    if (n > m).any() or (x > y).any():
        raise DataError("a group of the lift is larger than everybody; count everybody with the group included")
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = (x / n) / (y / m)
        part = n / m
        bounds = [
            np.where(np.isinf(one), 1 / part, one / (part * one + 1 - part)) for one in ratio(x, n, y - x, m - n)[1:]
        ]
    whole = (n == m) & (y > 0)
    low, high = (np.where(whole, 1.0, one) for one in bounds)
    return estimate, low, high
