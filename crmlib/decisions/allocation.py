"""Which offers to make so that they earn most together, under limits that all customers share; with a certified gap.

The limits shared by all (capacities, a budget, supply) get prices; at given prices every customer, or household, is
solved exactly by itself (``allocation_inner``). The lowest bound over all prices is found (``allocation_prices``), and an
allocation within all limits is made from it (``allocation_repair``). The bound is the optimum of the linear relaxation
(Geoffrion 1974, "Lagrangean relaxation for integer programming", Mathematical Programming Study 2, pages 82-114), so the
gap between bound and allocation certifies how much could at most be missing. Limits of one channel within a customer's
or household's own are kept by the allocation but left out of the bound: where they bind the gap overstates.

Memory does not grow with the number of customers, but for the answer: a byte a customer and offer (two where there are
more than 127 offers to choose from), twice where a second attempt is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crmlib.decisions import allocation_inner as inner
from crmlib.decisions import allocation_prices as pricing
from crmlib.decisions import allocation_repair as repair
from crmlib.decisions.allocation_inner import CHUNK, Chunk, Problem
from crmlib.errors import DataError

__all__ = ["CHUNK", "Allocation", "Chunk", "Problem", "solve"]

SAMPLE = 60_000
POOL = 1_500


@dataclass(frozen=True, eq=False)
class Allocation:
    """Offers for all customers.

    Attributes: ``picked`` (k × customers, the number of the offer, -1 for none); ``value`` what they are expected to
    earn, ``bound`` what no allocation within the limits can exceed, ``gap`` = (bound - value) / bound; by resource
    ``prices`` (what one more unit would earn), ``used`` and ``limits``.
    """

    picked: np.ndarray
    value: float
    bound: float
    prices: np.ndarray
    used: np.ndarray
    limits: np.ndarray

    @property
    def gap(self) -> float:
        """The certified gap: the share of the bound that is at most missing."""
        return max(0.0, (self.bound - self.value) / self.bound) if self.bound > 0 else 0.0


def solve(problem: Problem, *, tolerance: float = 1e-5, seed: int = 0) -> Allocation:
    """Solve a problem of allocation; settles more customers exactly where the gap is above ``tolerance``.

    A limit may be infinite: then it has no price. Raises DataError for products that are not in order, negative uses or
    limits, and limits that are not numbers.
    """
    _check(problem)
    customers = sum(chunk.values.shape[1] for chunk in problem.chunks())
    finite = np.flatnonzero(np.isfinite(problem.limits))
    bounded = replace(
        problem, uses=problem.uses[finite], weighted=problem.weighted[finite], limits=problem.limits[finite]
    )
    prices, curvature = np.zeros(len(finite)), np.eye(len(finite))
    if len(finite) and customers:
        prices, curvature = _priced(bounded, customers=customers, seed=seed)
    bound = pricing.evaluate(bounded, prices, precision=np.float64)[0]
    found = None
    for size in (POOL, 4 * POOL):
        pool = _pool(bounded, prices, curvature, customers=customers, size=size)
        attempt = repair.allocate(bounded, prices, pool, customers=customers)
        found = attempt if found is None or attempt[1] > found[1] else found
        if bound - found[1] <= tolerance * bound or len(pool) == customers:
            break
    assert found is not None
    picked, value, used = found
    whole = np.zeros((2, len(problem.limits)))
    whole[:, finite] = prices, used
    if len(finite) < len(problem.limits):
        whole[1] = _used(problem, picked)
    return Allocation(picked, value, bound, whole[0], whole[1], problem.limits)


def _check(problem: Problem) -> None:
    if (np.diff(problem.product, prepend=0) < 0).any() or set(problem.product) != set(range(len(set(problem.product)))):
        raise DataError(
            "the offers of a problem of allocation must be sorted by product, numbered from 0 without a gap"
        )
    if (problem.uses < 0).any() or (problem.weighted < 0).any():
        raise DataError("an offer takes less than nothing of a resource; give uses of zero or more")
    if np.isnan(problem.limits).any() or (problem.limits < 0).any():
        raise DataError("a limit of a resource is negative or not a number; give zero or more")
    if problem.k < 1:
        raise DataError(f"k is {problem.k}; give one offer a customer or more")


def _priced(problem: Problem, *, customers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best prices found and the second derivatives of the dual there."""
    sample = pricing.sampled(problem, customers=customers, size=SAMPLE, seed=seed)
    top = pricing.ceiling(sample)
    learnt = pricing.Dual(sample)
    pricing.by_planes(learnt, np.zeros(len(top)), top=top, rounds=40 + 20 * len(top), tolerance=1e-7, radius=0.25)
    start = learnt.points[learnt.best]
    share = sum(chunk.values.shape[1] for chunk in sample.chunks()) / customers
    curvature = pricing.curvature(sample, start, top) / max(share, 1e-9)
    if share == 1.0:
        return start, curvature
    dual = pricing.Dual(problem)
    dual.at(start)
    return pricing.by_newton(dual, curvature, top=top, rounds=12, tolerance=1e-8), curvature


def _pool(problem: Problem, prices: np.ndarray, curvature: np.ndarray, *, customers: int, size: int) -> np.ndarray:
    """Return the customers to settle exactly: everyone in a small problem, else those near a change of mind."""
    if customers * len(problem.product) <= repair.SMALL:
        return np.arange(customers)
    if not len(prices):
        return np.zeros(0, int)
    steps = size / (2 * len(prices)) / np.maximum(np.diag(curvature), 1e-12)
    # Below this share of a price single floats do not tell two prices apart.
    steps = np.maximum(steps, 5e-6 * prices)
    # A price of zero has nothing to be repaired: what it stands for is not used up.
    return repair.undecided(problem, prices, np.where(prices > 0, np.minimum(steps, prices), 0), size=size)


def _used(problem: Problem, picked: np.ndarray) -> np.ndarray:
    used, before = np.zeros(len(problem.limits)), 0
    for chunk in problem.chunks():
        part = picked[:, before : before + chunk.values.shape[1]]
        used += inner.taken(problem, chunk, inner.mask(part, len(chunk.values)))
        before += chunk.values.shape[1]
    return used
