"""Life-cycle phases that nobody sees: a hidden Markov model of what customers do each quarter, fitted by EM."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.lifetime.inputs import Array

CHANNELS: dict[str, tuple[float, ...]] = {
    "transactions": (1, 3, 6, 12, 24),
    "silent_days": (15, 45, 90),
    "holdings": (1, 2, 3, 5),
    "surprise": (-1.5, -0.5, 0.5, 1.5),
}
"""What is observed each quarter and the numbers from which the next class begins; a missing value is a class of its own."""
STATES = 7
SAMPLE = 4_000
"""So many customers are enough to find the states; the last steps are on all."""
LAST = 2
FEWEST = 200
STEPS = 200
ENOUGH = 1e-4
"""The fit ends when a step gains less log-likelihood per customer."""
BLOCK = 100_000
"""Customers followed at a time, so that memory does not grow with their number."""
_PRIOR = 0.5  # what each class is given in advance, so that nothing is impossible
NEWCOMER_DAYS = 92


@dataclass(frozen=True)
class Encoded:
    """What customers did, in classes.

    Attributes: ``customer_id``; ``days`` (quarter ends); ``codes`` (customers × dates × channels) the class of each channel;
    ``present`` where the customer was known; ``ended`` where the relationship had ended; ``newcomer`` who was new at the
    first date he was known.
    """

    customer_id: pd.Index
    days: tuple[pd.Timestamp, ...]
    codes: Array
    present: Array
    ended: Array
    newcomer: Array

    def take(self, some: Array | slice, *, until: int | None = None) -> Encoded:
        """Return some customers, and only the first ``until`` dates."""
        return Encoded(
            self.customer_id[some],
            self.days[:until],
            self.codes[some, :until],
            self.present[some, :until],
            self.ended[some, :until],
            self.newcomer[some],
        )


@dataclass(frozen=True)
class HiddenModel:
    """A fitted model of ``states`` hidden states and one that is seen: the relationship has ended.

    Attributes: ``start`` (2 × states): how known customers and newcomers are spread at first; ``move`` (states + 1 squared)
    chances of a quarter; ``emit`` by channel (states × classes); ``log_likelihood`` per customer at each step of the fit.
    """

    start: Array
    move: Array
    emit: tuple[Array, ...]
    log_likelihood: tuple[float, ...]

    @property
    def states(self) -> int:
        """The number of hidden states."""
        return self.start.shape[1]

    def filtered(self, encoded: Encoded) -> Array:
        """Return the chance of each state given what was known by then (customers × dates × states + 1); 0 before that."""
        out = np.empty((*encoded.codes.shape[:2], self.states + 1))
        for place, part in _blocks(encoded):
            out[place] = _forward(self, part, _chances(self, part))[0]
        return out


def encode(observed: Sequence[pd.DataFrame]) -> Encoded:
    """Return tables of ``observations.observe`` of successive dates as classes of the customers known at the last one."""
    ids = pd.Index(observed[-1]["customer_id"])
    days = tuple(pd.Timestamp(table["as_of"].iloc[0]) for table in observed)
    codes = np.zeros((len(ids), len(days), len(CHANNELS)), dtype=np.int8)
    present, ended = np.zeros(codes.shape[:2], dtype=bool), np.zeros(codes.shape[:2], dtype=bool)
    tenure = np.full(codes.shape[:2], np.nan)
    for column, table in enumerate(observed):
        place = ids.get_indexer(pd.Index(table["customer_id"]))
        known = place >= 0
        place = place[known]
        present[place, column] = True
        ended[place, column] = table["ended"].to_numpy()[known] > 0
        tenure[place, column] = table["tenure_days"].to_numpy(float)[known]
        for number, (measure, edges) in enumerate(CHANNELS.items()):
            value = table[measure].to_numpy(float)[known]
            found = np.searchsorted(np.array(edges), value, side="right")
            codes[place, column, number] = np.where(np.isnan(value), len(edges) + 1, found)
    first = present.argmax(axis=1)
    newcomer = tenure[np.arange(len(ids)), first] <= NEWCOMER_DAYS
    return Encoded(ids, days, codes, present, ended, newcomer)


def fit(encoded: Encoded, *, states: int = STATES, seed: int = 7, start: HiddenModel | None = None) -> HiddenModel:
    """Return the model of highest likelihood that EM finds (Baum, Petrie, Soules & Weiss 1970), from ``start`` or from
    groups of customers by activity.

    Of more than ``SAMPLE`` customers a random sample is used, and all for the last steps: chances of leaving are small, and
    few customers tell little about them. Raises DataError for fewer than 200 customers or two dates,
    UsageError for fewer than two states.
    """
    if not 2 <= states <= 12:
        raise UsageError(f"hidden states: {states}; give 2 to 12")
    # Who had left before he was first seen shows nothing but that.
    first = encoded.present.argmax(axis=1)
    usable = np.flatnonzero(~encoded.ended[np.arange(len(first)), first] & encoded.present.any(axis=1))
    if len(usable) < FEWEST or len(encoded.days) < 2:
        raise DataError(
            f"the hidden-state model: not enough data (found {len(usable)} customers at {len(encoded.days)} quarter ends, "
            f"need {FEWEST} at 2)"
        )
    random = np.random.default_rng(seed)
    some = np.sort(random.choice(usable, SAMPLE, replace=False)) if len(usable) > SAMPLE else usable
    given = encoded.take(some)
    model = start or _first(given, states)
    path: list[float] = []
    for _ in range(STEPS):
        better, value = _step(model, given)
        path.append(value)
        if len(path) > 1 and path[-1] - path[-2] < ENOUGH:
            break
        model = better
    if len(usable) > SAMPLE:
        everybody = encoded.take(usable)
        for _ in range(LAST):
            model, _ = _step(model, everybody)
    return HiddenModel(model.start, model.move, model.emit, tuple(path))


def log_likelihood(model: HiddenModel, encoded: Encoded) -> Array:
    """Return the log-likelihood of each customer's whole history."""
    parts = [_forward(model, part, _chances(model, part))[1] for _, part in _blocks(encoded)]
    return np.concatenate([np.log(scale).sum(axis=1) for scale in parts])


def _blocks(encoded: Encoded) -> Iterator[tuple[slice, Encoded]]:
    """Yield the customers in blocks, with their place among all; at least one block, even of nobody."""
    for first in range(0, max(len(encoded.customer_id), 1), BLOCK):
        place = slice(first, first + BLOCK)
        yield place, encoded.take(place)


def _first(given: Encoded, states: int) -> HiddenModel:
    """Return a rough model: states by activity, from silent to busy; most customers stay."""
    rank = given.codes[:, :, 0].astype(float) * 10 + given.codes[:, :, 2] + 2.0 * (given.codes[:, :, 3] - 2)
    live = given.present & ~given.ended
    cuts = np.quantile(rank[live], np.arange(1, states) / states)
    group = np.searchsorted(cuts, rank, side="right")
    emit = []
    for number, size in enumerate(_sizes()):
        flat = group[live] * size + given.codes[:, :, number][live]
        emit.append(_shares(np.bincount(flat, minlength=states * size).reshape(states, size) + 1.0))
    move = np.full((states + 1, states + 1), 0.2 / states)
    move[np.arange(states), np.arange(states)] = 0.75
    move[:, states] = 0.02
    move[states] = np.eye(states + 1)[states]
    return HiddenModel(np.full((2, states), 1 / states), _shares(move), tuple(emit), ())


def _step(model: HiddenModel, given: Encoded) -> tuple[HiddenModel, float]:
    """Return the model after one step of EM, and the mean log-likelihood per customer before it."""
    parts = [_counted(model, part) for _, part in _blocks(given)]
    start, pairs, *emit, likelihood = (functools.reduce(operator.add, sums) for sums in zip(*parts, strict=True))
    states = model.states
    move = pairs * model.move
    move[:states] += _PRIOR / (states + 1)
    move[states] = np.eye(states + 1)[states]
    better = HiddenModel(_shares(start + _PRIOR), _shares(move), tuple(_shares(one + _PRIOR) for one in emit), ())
    return better, float(likelihood / len(given.customer_id))


def _counted(model: HiddenModel, given: Encoded) -> list[Any]:
    """Return what is expected of some customers: how many begin in each state, what moves weigh, by channel how many are
    seen in each class (states × classes); and their log-likelihood.
    """
    chances = _chances(model, given)
    alpha, scale = _forward(model, given, chances)
    size, dates, total = alpha.shape
    states = model.states
    beta = np.ones((size, total))
    gamma = np.zeros_like(alpha)
    gamma[:, -1] = alpha[:, -1]
    pairs = np.zeros((total, total))
    for column in range(dates - 2, -1, -1):
        ahead = chances[:, column + 1] * beta / scale[:, column + 1, None]
        known = given.present[:, column] & ~given.ended[:, column]
        pairs += alpha[known, column].T @ ahead[known]
        # Of who came back after an end, what follows says nothing of what was before.
        beta = np.where(_back(given, column + 1)[:, None], 1.0, ahead @ model.move.T)
        gamma[:, column] = alpha[:, column] * beta
    live = given.present & ~given.ended
    weight = gamma[live][:, :states]
    emit = []
    for number, classes in enumerate(_sizes()):
        code = given.codes[:, :, number][live]
        emit.append(np.stack([np.bincount(code, weight[:, state], minlength=classes) for state in range(states)]))
    first = given.present.argmax(axis=1)
    begun = gamma[np.arange(size), first, :states]
    start = np.stack([begun[~given.newcomer].sum(axis=0), begun[given.newcomer].sum(axis=0)])
    return [start, pairs, *emit, np.log(scale).sum()]


def _chances(model: HiddenModel, encoded: Encoded) -> Array:
    """Return the chance of what was seen in each state (customers × dates × states + 1)."""
    states = model.states
    out = np.zeros((*encoded.codes.shape[:2], states + 1))
    seen = model.emit[0].T[encoded.codes[:, :, 0]]
    for number in range(1, len(model.emit)):
        seen = seen * model.emit[number].T[encoded.codes[:, :, number]]
    out[:, :, :states] = np.where(encoded.ended[:, :, None], 0.0, seen)
    out[:, :, states] = encoded.ended
    return out


def _forward(model: HiddenModel, encoded: Encoded, chances: Array) -> tuple[Array, Array]:
    """Return the filtered chances of the states, and by date the chance of what was seen given all before (1 before that)."""
    size, dates, total = chances.shape
    alpha, scale = np.zeros_like(chances), np.ones((size, dates))
    start = np.concatenate([model.start, np.zeros((2, 1))], axis=1)[encoded.newcomer.astype(np.int64)]
    gone = np.eye(total)[-1]
    before = np.zeros((size, total))
    for column in range(dates):
        present = encoded.present[:, column]
        fresh = present & ((before.sum(axis=1) == 0) | _back(encoded, column))
        expected = np.where(fresh[:, None], start, before @ model.move)
        # Who had left before he was first seen is in the last state; that was not for the model to say.
        expected = np.where((fresh & encoded.ended[:, column])[:, None], gone, expected)
        now = expected * chances[:, column]
        sums = np.where(present, now.sum(axis=1), 1.0)
        scale[:, column] = np.maximum(sums, 1e-300)
        before = np.where(present[:, None], now / scale[:, column, None], before)
        alpha[:, column] = before
    return alpha, scale


def _back(encoded: Encoded, column: int) -> Array:
    """Return whose relationship, ended at the date before, is open again: he begins anew."""
    if column == 0:
        return np.zeros(len(encoded.newcomer), dtype=bool)
    return encoded.ended[:, column - 1] & ~encoded.ended[:, column]


def _sizes() -> list[int]:
    return [len(edges) + 2 for edges in CHANNELS.values()]


def _shares(count: Array) -> Array:
    total: Array = count.sum(axis=1, keepdims=True)
    return count / total
