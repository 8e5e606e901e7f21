"""Where each customer will be next period, compared with "everyone stays" and with the transition matrix."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from crmlib.errors import DataError
from crmlib.models.segments import behaviour, clusters
from crmlib.models.segments.behavioural import Behavioural

MODEL = "segment_forecast"
ROWS = 8_000
"""So many customers of each period are learnt from at most, drawn at random."""
PENALTY = 3.0
"""Ridge penalty on the standardised inputs, in customers' log-likelihood: a judgement, not tuned."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Forecast:
    """A fitted forecast of the next period's segment.

    Attributes: ``coefficients`` (inputs + 1 × segments) on inputs standardised by ``middle`` and ``spread``;
    ``sharpness`` and ``offsets`` calibrate the log-odds on a later period than the coefficients were fitted on.
    """

    segmentation: Behavioural
    middle: Array
    spread: Array
    coefficients: Array
    sharpness: float
    offsets: Array

    def predict(self, now: pd.DataFrame, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the probability of each segment one period later, a row a customer and segment, summing to 1.

        In: the table of behaviour at a date and, where there is one, a period earlier. Out: customer_id, as_of, model,
        segment, score. It is meant for those who will still be customers.
        """
        chance = self.chances(now, before)
        k = len(self.segmentation.segments)
        return pd.DataFrame(
            {
                "customer_id": np.repeat(now["customer_id"].to_numpy(), k),
                "as_of": np.repeat(now["as_of"].to_numpy(), k),
                "model": MODEL,
                "segment": np.tile(np.array(self.segmentation.segments, dtype=object), len(now)),
                "score": chance.ravel(),
            }
        ).astype({"customer_id": "str", "segment": "str", "model": "str"})

    def chances(self, now: pd.DataFrame, before: pd.DataFrame | None = None) -> Array:
        """Return the probabilities as an array (customers × segments)."""
        earlier = None if before is None else _see(self.segmentation, before)
        return self._chances(_see(self.segmentation, now), earlier)

    def _chances(self, now: _Seen, before: _Seen | None) -> Array:
        given = _design(_inputs(now, before), self.middle, self.spread)
        return special.softmax(self.sharpness * clusters.product(given, self.coefficients.T) + self.offsets, axis=1)


def fit(segmentation: Behavioural, tables: Sequence[pd.DataFrame], *, seed: int = 7) -> Forecast:
    """Fit on the moves between successive tables of behaviour, and calibrate on the last of them.

    A multinomial logistic regression with a ridge penalty on: the distance to each centre today; the same for the last
    nine months alone, which is what will be left of today's behaviour a quarter later; the segment now and a period
    ago. Raises DataError for fewer than three dates.
    """
    if len(tables) < 3:
        raise DataError(f"a forecast of segments takes the behaviour of at least 3 dates, there are {len(tables)}")
    return _fit(segmentation, [_see(segmentation, table) for table in tables], seed)


def _fit(segmentation: Behavioural, seen: list[_Seen], seed: int) -> Forecast:
    random = np.random.default_rng(seed)
    periods = []
    for place, (now, after) in enumerate(itertools.pairwise(seen)):
        at, then = _both(now, after)
        periods.append((_inputs(now, seen[place - 1] if place else None)[at], after.numbers[then]))
    drawn = [_drawn(period, random) for period in periods]
    inputs, target = (np.concatenate(part) for part in zip(*drawn[:-1], strict=True))
    middle, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    k = len(segmentation.segments)
    coefficients = _logistic(_design(inputs, middle, spread), target, k, penalty=PENALTY)
    later, truth = drawn[-1]
    sharpness, offsets = _calibrated(clusters.product(_design(later, middle, spread), coefficients.T), truth)
    return Forecast(segmentation, middle, spread, coefficients, sharpness, offsets)


@dataclass(frozen=True)
class Comparison:
    """How a forecast did on a period it had not seen.

    Attributes: ``table`` with a row a way of forecasting: model, customers, accuracy, low, high (95%), log_loss (empty
    for "stays", which is never unsure); ``accuracy_gain`` over "everyone stays" and ``log_loss_gain`` over the
    transition matrix (positive is better), each (value, low, high), paired by customer; ``sizes``: segment, before,
    expected (customers), actual.
    """

    table: pd.DataFrame
    accuracy_gain: tuple[float, float, float]
    log_loss_gain: tuple[float, float, float]
    sizes: pd.DataFrame

    @property
    def better(self) -> bool:
        """Whether more customers were placed rightly than by "everyone stays", with 95% confidence."""
        return self.accuracy_gain[1] > 0


def compare(segmentation: Behavioural, tables: Sequence[pd.DataFrame], *, seed: int = 7) -> Comparison:
    """Fit on all but the last of successive tables of behaviour, and compare on the moves to the last.

    Raises DataError for fewer than four dates: two periods to learn from, one to test on.
    """
    if len(tables) < 4:
        raise DataError(f"a test of the forecast takes the behaviour of at least 4 dates, there are {len(tables)}")
    seen = [_see(segmentation, table) for table in tables]
    model = _fit(segmentation, seen[:-1], seed)
    k = len(segmentation.segments)
    # Half a customer in each cell, so that a move never seen is not held impossible.
    matrix = np.full((k, k), 0.5)
    for now, after in itertools.pairwise(seen[:-1]):
        at, then = _both(now, after)
        matrix += np.bincount(now.numbers[at] * k + after.numbers[then], minlength=k * k).reshape(k, k)
    matrix /= matrix.sum(axis=1, keepdims=True)
    at, then = _both(seen[-2], seen[-1])
    start, end = seen[-2].numbers[at], seen[-1].numbers[then]
    chance = model._chances(seen[-2], seen[-3])[at]
    rows = np.arange(len(end))
    right = {
        "forecast": chance.argmax(axis=1) == end,
        "matrix": matrix[start].argmax(axis=1) == end,
        "stays": start == end,
    }
    loss = {"forecast": -np.log(chance[rows, end]), "matrix": -np.log(matrix[start, end])}
    table = pd.DataFrame(
        [
            (name, len(end), *_mean(hit.astype(float)), float(loss[name].mean()) if name in loss else np.nan)
            for name, hit in right.items()
        ],
        columns=["model", "customers", "accuracy", "low", "high", "log_loss"],
    )
    sizes = pd.DataFrame(
        {
            "segment": segmentation.segments,
            "before": np.bincount(start, minlength=k),
            "expected": chance.sum(axis=0),
            "actual": np.bincount(end, minlength=k),
        }
    )
    gained = right["forecast"].astype(float) - right["stays"]
    return Comparison(table, _mean(gained), _mean(loss["matrix"] - loss["forecast"]), sizes)


def _mean(values: Array) -> tuple[float, float, float]:
    """Return a mean over customers with its 95% interval."""
    middle = float(values.mean())
    spread = float(stats.norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return middle, middle - spread, middle + spread


@dataclass(frozen=True)
class _Seen:
    """Customers at a date: their distances to the centres today and by the last nine months, their segments' numbers."""

    customers: pd.Index[Any]
    today: Array
    left: Array
    numbers: Array


def _see(segmentation: Behavioural, table: pd.DataFrame) -> _Seen:
    behaviour.need(table, ["remaining_activity"])
    centres = np.array(segmentation.centres)
    today = clusters.squared(segmentation.scaled(table), centres)
    left = clusters.squared(segmentation.scaled(behaviour.projected(table)), centres)
    return _Seen(pd.Index(table["customer_id"].to_numpy(object)), np.sqrt(today), np.sqrt(left), today.argmin(axis=1))


def _both(one: _Seen, other: _Seen) -> tuple[Array, Array]:
    """Return the positions in both of the customers who are in both."""
    place = other.customers.get_indexer(one.customers)
    return np.flatnonzero(place >= 0), place[place >= 0]


def _drawn(period: tuple[Array, Array], random: np.random.Generator) -> tuple[Array, Array]:
    inputs, target = period
    if len(target) <= ROWS:
        return inputs, target
    chosen = random.choice(len(target), ROWS, replace=False)
    return inputs[chosen], target[chosen]


def _inputs(now: _Seen, before: _Seen | None) -> Array:
    k = now.today.shape[1]
    earlier = np.full(len(now.customers), -1)
    if before is not None:
        place = before.customers.get_indexer(now.customers)
        earlier = np.where(place >= 0, before.numbers[place], -1)
    return np.hstack([now.today, now.left, _flags(now.numbers, k), _flags(earlier, k)])


def _flags(numbers: Array, k: int) -> Array:
    return (numbers[:, None] == np.arange(k)[None, :]).astype(float)


def _design(inputs: Array, middle: Array, spread: Array) -> Array:
    return np.hstack([np.ones((len(inputs), 1)), (inputs - middle) / spread])


def _logistic(design: Array, target: Array, k: int, *, penalty: float) -> Array:
    """Return the coefficients (inputs × segments) of a multinomial logistic regression by L-BFGS."""
    wanted, shape = _flags(target, k), (design.shape[1], k)

    def loss(flat: Array) -> tuple[float, Array]:
        at = flat.reshape(shape)
        margin = clusters.product(design, at.T)
        log_chance = _log_softmax(margin)
        held = at.copy()
        held[0] = 0  # the intercepts are free
        slope = np.einsum("np,nk->pk", design, np.exp(log_chance) - wanted) + penalty * held
        return float(-(wanted * log_chance).sum() + penalty / 2 * (held**2).sum()), slope.ravel()

    found = optimize.minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return np.asarray(found.x).reshape(shape)


def _calibrated(margin: Array, target: Array) -> tuple[float, Array]:
    """Return the factor and the offsets that make the log-odds fit a later period best (Guo et al. 2017, with offsets)."""
    k = margin.shape[1]
    wanted = _flags(target, k)

    def loss(at: Array) -> tuple[float, Array]:
        shifted = at[0] * margin + at[1:]
        log_chance = _log_softmax(shifted)
        off = np.exp(log_chance) - wanted
        slope = np.concatenate([[(off * margin).sum()], off.sum(axis=0) + at[1:]])
        return float(-(wanted * log_chance).sum() + (at[1:] ** 2).sum() / 2), slope

    start = np.concatenate([[1.0], np.zeros(k)])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.05, 20.0), *[(None, None)] * k])
    return float(found.x[0]), np.asarray(found.x[1:])


def _log_softmax(margin: Array) -> Array:
    shifted = margin - margin.max(axis=1, keepdims=True)
    out: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out
