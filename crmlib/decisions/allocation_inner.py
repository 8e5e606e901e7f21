"""One customer's best offers at given prices of the shared resources, for many customers at once.

With a price on every shared resource the customers of different households are independent, and what remains is small:
at most one offer of a product, at most so many offers a customer, at most so many a household. These limits are nested,
so taking the offers in order of what they leave after the prices is exactly optimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 16_384
"""Customers in a chunk: twenty values of each fit into a core's cache."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some customers with all of their possible offers.

    Attributes: ``values`` (offers × customers, float32; -inf where there is no such offer); ``weights`` of the same
    shape, what an offer takes of the weighted resources, or None; ``slots`` how many offers each customer may get, or
    None for k; ``household`` numbers that are equal within a household, whose members stand side by side in one chunk,
    with ``household_slots``, how many offers it may get (the same number at each member); both None without such limits.
    ``channel_slots`` and ``household_channel_slots`` (channels × customers) say the same by channel: these limits cut
    across the others, so the bound leaves them out, and only the allocation keeps them.
    """

    values: np.ndarray
    weights: np.ndarray | None = None
    slots: np.ndarray | None = None
    household: np.ndarray | None = None
    household_slots: np.ndarray | None = None
    channel_slots: np.ndarray | None = None
    household_channel_slots: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Chunk:
        """Return the customers ``rows`` alone."""
        parts: list[Any] = [getattr(self, name) for name in _PARTS]
        taken: list[Any] = [None if part is None else part[..., rows] for part in parts]
        return Chunk(*taken)


_PARTS = tuple(Chunk.__dataclass_fields__)


def joined(parts: list[Chunk]) -> Chunk:
    """Return the customers of several chunks as one."""
    found: list[list[Any]] = [[getattr(part, name) for part in parts] for name in _PARTS]
    together: list[Any] = [None if part[0] is None else np.concatenate(part, axis=-1) for part in found]
    return Chunk(*together)


@dataclass(frozen=True, eq=False)
class Problem:
    """Which offers to make so that their values are largest together, within limits.

    Attributes: ``chunks`` gives all customers, chunk by chunk, the same each time it is called; ``product`` the number
    of each offer's product, ascending from 0; ``uses`` (resources × offers) what an offer takes of each resource;
    ``weighted`` (resources × offers) the same for resources of which the customer's own weight is taken; ``limits`` of
    the resources, finite; ``k`` offers a customer at most; ``channel`` the number of each offer's channel.
    """

    chunks: Callable[[], Iterator[Chunk]]
    product: np.ndarray
    uses: np.ndarray
    weighted: np.ndarray
    limits: np.ndarray
    k: int = 1
    channel: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """What the customers of a chunk would take at some prices.

    Attributes: ``worth`` the sum of what the chosen offers leave after the prices; ``chosen`` (offers × customers, bool;
    where offers tie there may be more than allowed); ``slots`` how many offers each customer gets at most, its household
    considered.
    """

    worth: float
    chosen: np.ndarray
    slots: np.ndarray | None


def reduced(problem: Problem, chunk: Chunk, prices: np.ndarray) -> np.ndarray:
    """Return what each offer leaves after the prices, in the precision of the prices."""
    column = prices @ problem.uses.astype(prices.dtype)
    out = np.subtract(chunk.values, column[:, None], dtype=prices.dtype)
    own = prices @ problem.weighted.astype(prices.dtype)
    if chunk.weights is not None and own.any():
        priced = np.flatnonzero(own)
        # Where there is no such offer its weight does not matter, and may be missing.
        out[priced] -= own[priced, None] * np.nan_to_num(chunk.weights[priced])
    return out


def choose(problem: Problem, chunk: Chunk, left: np.ndarray) -> Choice:
    """Return the best offers of each customer by what they leave (``reduced``)."""
    best = by_product(problem, left)
    if problem.k == 1 and chunk.slots is None and chunk.household is None:
        top = np.maximum(best.max(axis=0), 0)
        return Choice(float(top.sum(dtype=np.float64)), (left == top) & (top > 0), None)
    top = highest(best, problem.k)
    slots = np.full(left.shape[1], problem.k) if chunk.slots is None else np.minimum(chunk.slots, problem.k)
    if chunk.household is not None:
        slots = _within_household(chunk, top, slots)
    counted = np.arange(problem.k)[:, None] < slots
    bar = top[np.maximum(slots - 1, 0), np.arange(left.shape[1])]
    bar = np.where(slots > 0, bar, np.inf)
    chosen = (left >= bar) & (left > 0)
    if len(best) < len(left):
        chosen &= left == best[problem.product]
    return Choice(float((top * counted).sum(dtype=np.float64)), chosen, slots)


def by_product(problem: Problem, left: np.ndarray) -> np.ndarray:
    """Return the best of each product's offers: products × customers."""
    starts = np.flatnonzero(np.diff(problem.product, prepend=-1))
    if len(starts) == len(left):
        return left
    each, rest = divmod(len(left), len(starts))
    if not rest and (np.diff(starts) == each).all():  # much quicker than the general way
        return left.reshape(len(starts), each, -1).max(axis=1)
    return np.maximum.reduceat(left, starts, axis=0)


def highest(rows: np.ndarray, k: int) -> np.ndarray:
    """Return the k largest positive values of each column in descending order, zeros where there are fewer."""
    top = np.zeros((k, rows.shape[1]), rows.dtype)
    for row in rows:
        rest = row
        for place in range(k):
            larger = np.maximum(top[place], rest)
            rest = np.minimum(top[place], rest)
            top[place] = larger
    return top


def _within_household(chunk: Chunk, top: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Return how many of its offers each customer keeps where the household's best offers come first."""
    assert chunk.household is not None and chunk.household_slots is not None
    group = np.cumsum(np.diff(chunk.household, prepend=chunk.household[:1]) != 0)
    positive = (top > 0) & (np.arange(len(top))[:, None] < slots)
    wanted = np.bincount(group, weights=positive.sum(axis=0))
    tight = (wanted > chunk.household_slots[np.flatnonzero(np.diff(group, prepend=-1))])[group]
    if not tight.any():
        return slots
    place, customer = np.nonzero(positive & tight)
    order = np.lexsort((-top[place, customer], group[customer]))
    owner = group[customer[order]]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    rank = np.arange(len(owner)) - np.repeat(first, np.diff(np.append(first, len(owner))))
    kept = customer[order][rank < chunk.household_slots[customer[order]]]
    return np.where(tight, np.bincount(kept, minlength=len(slots)), slots)


def taken(problem: Problem, chunk: Chunk, chosen: np.ndarray) -> np.ndarray:
    """Return how much of each resource the chosen offers (offers × customers, bool) take."""
    used = problem.uses @ np.count_nonzero(chosen, axis=1)
    if chunk.weights is not None and problem.weighted.any():
        used = used + problem.weighted @ np.sum(chunk.weights, axis=1, where=chosen, dtype=np.float64)
    return used


def pick(problem: Problem, left: np.ndarray, slots: np.ndarray | None) -> np.ndarray:
    """Return the offers of each customer by number: k × customers, -1 for none; never more than allowed, ties or not."""
    remaining = left if problem.k == 1 else left.copy()
    customers = np.arange(left.shape[1])
    out = np.full((problem.k, left.shape[1]), -1, np.int16)
    for place in range(problem.k):
        best = remaining.argmax(axis=0)
        good = remaining[best, customers] > 0
        if slots is not None:
            good &= place < slots
        out[place] = np.where(good, best, -1)
        if place + 1 < problem.k:
            remaining[problem.product[:, None] == problem.product[best]] = -np.inf
    return out


def mask(picked: np.ndarray, offers: int) -> np.ndarray:
    """Return picked offers by number (k × customers) as offers × customers, bool."""
    out = np.zeros((offers, picked.shape[1]), bool)
    place, customer = np.nonzero(picked >= 0)
    out[picked[place, customer], customer] = True
    return out
