"""Money of different days made comparable: everything is discounted to today at an annual rate, explicitly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crmlib.errors import UsageError
from crmlib.models.lifetime import quadrature
from crmlib.models.lifetime.inputs import Array

DAYS = 365.0
"""Days of the year to which an annual rate belongs."""
_NODES = 12


def factor(annual_discount: float, days: Any) -> Any:
    """Return what one unit of money in so many days is worth today: (1 + annual_discount) ** (-days / 365).

    Raises UsageError for a rate outside 0 to 1 or negative days.

    >>> round(float(factor(0.10, 365)), 6), factor(0.10, [0, 730]).round(4).tolist()
    (0.909091, [1.0, 0.8264])
    """
    given = np.asarray(days, dtype=float)
    if not 0 <= annual_discount <= 1:
        raise UsageError(f"annual_discount is {annual_discount!r}; give a share from 0 to 1, for example 0.10")
    if not (given >= 0).all():
        raise UsageError("the days to discount over must be 0 or more; money of the past is not discounted here")
    return (1 + annual_discount) ** (-given / DAYS)


def present_value(amounts: Any, days: Any, *, annual_discount: float) -> Any:
    """Return the worth today of amounts (last axis: payments) that fall due in so many days.

    >>> round(float(present_value([100, 100], [0, 365], annual_discount=0.10)), 2)
    190.91
    """
    amounts, weight = np.asarray(amounts, dtype=float), factor(annual_discount, days)
    if amounts.shape[-1:] != weight.shape[-1:] and weight.ndim:
        raise UsageError(f"{amounts.shape[-1]} payments and {weight.shape[-1]} days; give a day for each payment")
    return (amounts * weight).sum(axis=-1)


def accumulated(expected: Callable[[float], Array], *, horizon_days: float, annual_discount: float) -> Array:
    """Return the discounted number of events until the horizon, from their expected number by a day.

    In: ``expected`` of a number of days, smooth and rising. By parts, the discounted sum of its growth is its end value,
    discounted, plus the rate times the integral of its discounted course.

    >>> steady = accumulated(lambda days: np.array([days / 365]), horizon_days=365, annual_discount=0.10)
    >>> round(float(steady[0]), 6)  # 1/ln(1.1) * (1 - 1/1.1)
    0.953824
    """
    if not horizon_days > 0:
        raise UsageError(f"horizon_days is {horizon_days!r}; give a number of days above 0")
    rate = float(np.log1p(annual_discount)) / DAYS
    total = factor(annual_discount, horizon_days) * np.asarray(expected(horizon_days), dtype=float)
    if rate == 0:
        return total
    at, weight = quadrature.legendre(_NODES)
    for place, share in zip(at * horizon_days, weight * horizon_days, strict=True):
        total = total + rate * share * factor(annual_discount, place) * expected(float(place))
    return total
