"""From prices to an allocation within all limits: nearly everyone takes the best at the prices, a few are settled exactly.

Those few are the customers who would change their minds if a price moved a little. All others are fixed; for the few a
linear programme over what is left of the resources is solved and rounded down, as with the core of a knapsack problem
(Balas and Zemel 1980, "An algorithm for large zero-one knapsack problems", Operations Research 28, pages 1130-1154).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from crmlib.decisions import allocation_inner as inner
from crmlib.decisions.allocation_inner import Chunk, Problem

_ROUNDS = 60  # of closing what has run out within a chunk; each closes at least one offer to one customer
SMALL = 20_000
"""Offers × customers up to which all of them are settled exactly."""
_CONSIDERED = 4  # offers beyond k that the programme may choose from, for each customer


def undecided(problem: Problem, prices: np.ndarray, steps: np.ndarray, *, size: int) -> np.ndarray:
    """Return the places of customers (whole households) whose offers change when one price moves by its step.

    At most about ``size`` of them, drawn evenly from the chunks where there are more.
    """
    moved = [np.maximum(prices + sign * step, 0) for step in np.diag(steps) for sign in (1, -1)]
    found, before = [], 0
    for chunk in problem.chunks():
        chosen = _chosen(problem, chunk, prices)
        changed = np.zeros(chosen.shape[1], bool)
        for other in moved:
            changed |= (chosen != _chosen(problem, chunk, other)).any(axis=0)
        if chunk.household is not None:
            changed = np.isin(chunk.household, chunk.household[changed])
        found.append(before + np.flatnonzero(changed))
        before += chosen.shape[1]
    total = sum(map(len, found))
    if total > size:
        found = [part[: max(1, len(part) * size // total)] for part in found]
    return np.concatenate(found) if found else np.zeros(0, int)


def _chosen(problem: Problem, chunk: Chunk, prices: np.ndarray) -> np.ndarray:
    return inner.choose(problem, chunk, inner.reduced(problem, chunk, prices.astype(np.float32))).chosen


def allocate(
    problem: Problem, prices: np.ndarray, pool: np.ndarray, *, customers: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the offers of every customer (k × customers, by number, -1 for none), their value and what they use.

    ``pool`` are the places of the customers settled exactly, households whole.
    """
    remaining = problem.limits.astype(float).copy()
    out = np.full((problem.k, customers), -1, np.int8 if len(problem.product) <= 127 else np.int16)
    apart, value, before = [], 0.0, 0
    for chunk in problem.chunks():
        count = chunk.values.shape[1]
        inside = pool[np.searchsorted(pool, before) : np.searchsorted(pool, before + count)] - before
        if chunk.household is not None:
            inside = np.flatnonzero(np.isin(chunk.household, chunk.household[inside]))
        picked = settle(problem, chunk, prices, remaining, without=inside)
        apart.append((before + inside, chunk.take(inside)))
        value += _value(chunk, picked)
        remaining -= inner.taken(problem, chunk, inner.mask(picked, len(chunk.values)))
        out[:, before : before + count] = picked
        before += count
    places = np.concatenate([place for place, _ in apart]) if apart else np.zeros(0, int)
    if len(places):
        few = inner.joined([chunk for _, chunk in apart])
        picked = programme(problem, few, prices, np.maximum(remaining, 0))
        out[:, places] = picked
        value += _value(few, picked)
        remaining -= inner.taken(problem, few, inner.mask(picked, len(few.values)))
    return out, value, problem.limits - remaining


def _value(chunk: Chunk, picked: np.ndarray) -> float:
    place, customer = np.nonzero(picked >= 0)
    return float(chunk.values[picked[place, customer], customer].sum(dtype=np.float64))


def settle(
    problem: Problem, chunk: Chunk, prices: np.ndarray, remaining: np.ndarray, *, without: np.ndarray
) -> np.ndarray:
    """Return the best offers of a chunk's customers at the prices that fit what remains; nothing for those ``without``.

    Where something has run out, those to whom it leaves most get it, and the others their next best offer.
    """
    left = inner.reduced(problem, chunk, prices.astype(np.float32))
    left[:, without] = -np.inf
    for _ in range(_ROUNDS):
        choice = inner.choose(problem, chunk, left)
        picked = inner.pick(problem, left, choice.slots)
        closed = False
        for _, customer, offers in surplus(problem, chunk, left, picked, remaining):
            left[np.ix_(offers, customer)] = -np.inf
            closed = True
        if not closed:
            return picked
    while surplus_left := list(surplus(problem, chunk, left, picked, remaining)):
        for place, customer, _ in surplus_left:
            picked[place, customer] = -1
    return picked


def surplus(
    problem: Problem, chunk: Chunk, left: np.ndarray, picked: np.ndarray, remaining: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give the picks beyond a limit (place and customer), with the offers that take of it; the best keep within it."""
    place, customer = np.nonzero(picked >= 0)
    offer = picked[place, customer]
    order = np.argsort(-left[offer, customer], kind="stable")
    place, customer, offer = place[order], customer[order], offer[order]
    for row in range(len(problem.limits)):
        takes = problem.uses[row, offer].astype(float)
        if chunk.weights is not None and problem.weighted[row].any():
            takes = takes + problem.weighted[row, offer] * np.nan_to_num(chunk.weights[offer, customer])
        beyond = (takes > 0) & (np.cumsum(takes) > remaining[row] * (1 + 1e-12))
        if beyond.any():
            yield place[beyond], customer[beyond], np.flatnonzero(problem.uses[row] + problem.weighted[row])
    yield from _crossing(problem, chunk, place, customer, offer)


def _crossing(
    problem: Problem, chunk: Chunk, place: np.ndarray, customer: np.ndarray, offer: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give the picks beyond a limit of one channel, of a customer or a household."""
    if problem.channel is None:
        return
    for allowed, owners in ((chunk.channel_slots, None), (chunk.household_channel_slots, chunk.household)):
        if allowed is None:
            continue
        for channel in range(len(allowed)):
            of = np.flatnonzero(problem.channel[offer] == channel)
            owner = customer[of] if owners is None else owners[customer[of]]
            beyond = of[_rank(owner) >= allowed[channel, customer[of]]]
            if len(beyond):
                yield place[beyond], customer[beyond], np.flatnonzero(problem.channel == channel)


def _rank(owner: np.ndarray) -> np.ndarray:
    """Return how many earlier entries have the same owner."""
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    rank = np.empty(len(owner), int)
    rank[order] = np.arange(len(owner)) - np.repeat(first, np.diff(np.append(first, len(owner))))
    return rank


def programme(problem: Problem, few: Chunk, prices: np.ndarray, remaining: np.ndarray) -> np.ndarray:
    """Return the offers of a few customers by a linear programme over what remains, rounded down and filled up."""
    left = inner.reduced(problem, few, prices)
    count = min(len(left), problem.k + _CONSIDERED if left.size > SMALL else len(left))
    offer = np.argpartition(-np.nan_to_num(left, neginf=-1e30), count - 1, axis=0)[:count]
    customer = np.broadcast_to(np.arange(left.shape[1]), offer.shape)
    good = few.values[offer, customer] > 0
    offer, customer = offer[good], customer[good]
    rows, limits = _limits(problem, few, offer, customer, remaining)
    out = np.full((problem.k, left.shape[1]), -1, np.int16)
    if not len(offer):
        return out
    worth = few.values[offer, customer].astype(float)
    scale = max(float(worth.max()), 1e-9)
    found = linprog(-worth / scale, A_ub=rows, b_ub=limits, bounds=(0, 1), method="highs-ds")
    share = np.zeros(len(offer)) if found.x is None else found.x
    return _rounded(rows, limits, share, (offer, customer, left[offer, customer]), out)


def _limits(
    problem: Problem, few: Chunk, offer: np.ndarray, customer: np.ndarray, remaining: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray]:
    """Return all limits on the offers as rows of a matrix with their right-hand sides."""
    takes = problem.uses[:, offer].astype(float)
    if few.weights is not None:
        takes = takes + problem.weighted[:, offer] * np.nan_to_num(few.weights[offer, customer])
    slots = np.full(few.values.shape[1], problem.k) if few.slots is None else np.minimum(few.slots, problem.k)
    blocks, bounds = [sparse.csr_array(takes)], [remaining]

    def at_most(owner: np.ndarray, allowed: np.ndarray) -> None:
        """Add a row for each owner: so many of its entries at most, as its entries say."""
        names, first, code = np.unique(owner, return_index=True, return_inverse=True)
        inside = owner >= 0
        ones = np.ones(int(inside.sum()))
        shape = (len(names), len(owner))
        blocks.append(sparse.csr_array((ones, (code[inside], np.flatnonzero(inside))), shape=shape))
        bounds.append(allowed[first].astype(float))

    at_most(customer, slots[customer])
    if problem.k > 1 and len(np.unique(problem.product)) < len(problem.product):
        at_most(customer * (int(problem.product.max()) + 1) + problem.product[offer], np.ones(len(offer)))
    if few.household is not None and few.household_slots is not None:
        at_most(few.household[customer], few.household_slots[customer])
    if problem.channel is not None:
        channels, channel = int(problem.channel.max()) + 1, problem.channel[offer]
        if few.channel_slots is not None:
            at_most(customer * channels + channel, few.channel_slots[channel, customer])
        if few.household_channel_slots is not None and few.household is not None:
            at_most(few.household[customer] * channels + channel, few.household_channel_slots[channel, customer])
    return sparse.vstack(blocks).tocsr(), np.concatenate(bounds)


def _rounded(
    rows: sparse.csr_array,
    limits: np.ndarray,
    share: np.ndarray,
    entries: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
) -> np.ndarray:
    """Take the offers that the programme takes whole, then any other that still fits, those that leave most first."""
    offer, customer, left = entries
    columns = rows.tocsc()
    room = limits * (1 + 1e-12)
    whole = share > 1 - 1e-6
    order = np.concatenate([np.flatnonzero(whole), _by(~whole, share, left)])
    held = np.zeros(out.shape[1], int)
    for entry in order:
        where = slice(columns.indptr[entry], columns.indptr[entry + 1])
        touched, takes = columns.indices[where], columns.data[where]
        if (room[touched] >= takes).all():
            room[touched] -= takes
            out[held[customer[entry]], customer[entry]] = offer[entry]
            held[customer[entry]] += 1
    return out


def _by(rest: np.ndarray, share: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the entries not taken whole: those taken in part first, then by what they leave."""
    entries = np.flatnonzero(rest)
    return entries[np.lexsort((-left[entries], share[entries] <= 1e-6))]
