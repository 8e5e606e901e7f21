"""How sure predictions are: from what is not known of the parameters, and from the chance in what customers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import UsageError
from crmlib.models.lifetime.inputs import Array
from crmlib.models.lifetime.maximum import Maximum

SCALES = ("log", "logit", "plain")
_STEP = 1e-4


class Model(Protocol):
    """A fitted model: parameters above 0, and the same model with others."""

    optimum: Maximum

    @property
    def parameters(self) -> Array:
        """The parameters."""

    def moved(self, parameters: Array) -> Any:
        """Return the model with other parameters."""


class Counting(Model, Protocol):
    """A model of numbers of purchases."""

    def simulate(self, horizon: Any, frequency: Any, recency: Any, age: Any, *, random: np.random.Generator) -> Array:
        """Return one draw of each customer's number of purchases."""


def expected(
    fitted: Model, quantity: Callable[[Any], Array], *, level: float = 0.95, scale: str = "log"
) -> pd.DataFrame:
    """Return a predicted quantity with the interval that comes from estimating the parameters: value, low, high.

    In: ``quantity`` of a model, one number a customer (or a total); it is evaluated twice a parameter. ``scale`` on which
    the interval is symmetric: "log" for what is above 0, "logit" for probabilities, "plain" for the rest. Delta method
    on the sandwich covariance of the parameters' logarithms; that is, what drawing the customers anew would change. An
    expectation is no forecast of one customer: see ``simulated``.
    """
    if scale not in SCALES:
        raise UsageError(f"scale is {scale!r}; use one of {', '.join(SCALES)}")
    value = np.atleast_1d(np.asarray(quantity(fitted), dtype=float))
    there, back, slope = _scale(scale, value)
    moves = np.eye(len(fitted.parameters)) * _STEP
    base = fitted.parameters
    by = np.array(
        [(quantity(fitted.moved(base * np.exp(one))) - quantity(fitted.moved(base * np.exp(-one)))) for one in moves]
    ).reshape(len(base), -1) / (2 * _STEP)
    by = by * slope
    error = np.sqrt(np.maximum(np.einsum("in,ij,jn->n", by, fitted.optimum.covariance, by), 0))
    wide = stats.norm.ppf((1 + _checked(level)) / 2) * error
    return pd.DataFrame({"value": value, "low": back(there - wide), "high": back(there + wide)})


def simulated(
    fitted: Counting,
    horizon: float,
    frequency: Any,
    recency: Any,
    age: Any,
    *,
    draws: int = 400,
    groups: Any = None,
    level: float = 0.95,
    seed: int = 7,
) -> pd.DataFrame:
    """Return how many purchases customers will make within ``horizon``, by group and in total ("(all)"), with the range
    in which the actual numbers should lie.

    Out: group, customers, value (mean of the draws), low, high. Each draw takes parameters from what is not known of them
    and lets every customer buy or not; so the range holds both kinds of chance. Raises UsageError for fewer than 100 draws.
    """
    if draws < 100:
        raise UsageError(f"{draws} draws are too few for the ends of an interval; take 100 or more")
    random = np.random.default_rng(seed)
    size = len(np.atleast_1d(frequency))
    names, place = np.unique(
        np.zeros(size, dtype=np.int64) if groups is None else np.asarray(groups), return_inverse=True
    )
    steps = random.multivariate_normal(np.zeros(len(fitted.parameters)), fitted.optimum.covariance, draws)
    totals = np.empty((draws, len(names)))
    for number, step in enumerate(np.clip(steps, -3, 3)):
        model = fitted.moved(fitted.parameters * np.exp(step))
        bought = model.simulate(horizon, frequency, recency, age, random=random)
        totals[number] = np.bincount(place, bought, minlength=len(names))
    rows = [("(all)", size, totals.sum(axis=1))]
    if groups is not None:
        sizes = np.bincount(place, minlength=len(names))
        rows += [(name, int(sizes[k]), totals[:, k]) for k, name in enumerate(names.tolist())]
    tail = (1 - _checked(level)) / 2
    return pd.DataFrame(
        [(name, count, one.mean(), *np.quantile(one, [tail, 1 - tail])) for name, count, one in rows],
        columns=["group", "customers", "value", "low", "high"],
    )


def _scale(scale: str, value: Array) -> tuple[Array, Callable[[Array], Array], Array]:
    """Return the values on the scale, the way back, and the slope of the way there."""
    if scale == "log":
        safe = np.maximum(value, 1e-300)
        return np.log(safe), np.exp, 1 / safe
    if scale == "logit":
        safe = np.clip(value, 1e-12, 1 - 1e-12)
        return np.log(safe / (1 - safe)), lambda at: 1 / (1 + np.exp(-at)), 1 / (safe * (1 - safe))
    return value, lambda at: at, np.ones_like(value)


def _checked(level: float) -> float:
    if not 0.5 <= level < 1:
        raise UsageError(f"level is {level!r}; give a share from 0.5 to below 1, for example 0.95")
    return level
