"""The prices of shared resources at which demand meets supply: the minimum of the Lagrangian dual.

The dual is convex, with as many unknowns as there are resources. It is first minimised on a sample by cutting planes in
a box that grows and shrinks (a trust region); over all customers it is nearly smooth, so a few Newton steps with the
curvature of the sample remain (Fisher 1981, "The Lagrangian relaxation method", Management Science 27, pages 1-18).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linprog, nnls

from crmlib.decisions import allocation_inner as inner
from crmlib.decisions.allocation_inner import Chunk, Problem

_PRECISION = 3e-7
_STEP = 0.05  # share of a price over which curvature is measured: enough customers change their minds within it


@dataclass
class Dual:
    """The dual of a problem, with all that was learnt about it so far.

    Attributes: ``points`` (prices), ``bounds`` (the dual there: an upper bound of what any allocation can earn) and
    ``slopes`` (limits less what would be used).
    """

    problem: Problem
    points: list[np.ndarray] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    slopes: list[np.ndarray] = field(default_factory=list)

    def at(self, prices: np.ndarray) -> float:
        """Evaluate the dual, keep what was found and return it."""
        bound, slope = evaluate(self.problem, prices)
        self.points.append(prices)
        self.bounds.append(bound)
        self.slopes.append(slope)
        return bound

    @property
    def best(self) -> int:
        """The place of the lowest bound."""
        return int(np.argmin(self.bounds))


def evaluate(
    problem: Problem, prices: np.ndarray, *, precision: type[np.floating] = np.float32
) -> tuple[float, np.ndarray]:
    """Return the dual at the prices, and its slope by price: the limits less what the customers would take."""
    bound = float(problem.limits @ prices)
    slope = problem.limits.astype(float).copy()
    for chunk in problem.chunks():
        choice = inner.choose(problem, chunk, inner.reduced(problem, chunk, prices.astype(precision)))
        bound += choice.worth
        slope -= inner.taken(problem, chunk, choice.chosen)
    return bound, slope


def sampled(problem: Problem, *, customers: int, size: int, seed: int) -> Problem:
    """Return the problem of a random share of the customers (whole households) with that share of the limits."""
    share = min(1.0, size / max(customers, 1))
    if share == 1.0:
        kept = list(problem.chunks())
    else:
        random = np.random.default_rng(seed)
        kept = [chunk.take(_some(chunk, random, share)) for chunk in problem.chunks()]
    whole = inner.joined(kept) if kept else None
    parts = [] if whole is None else _split(whole)
    count = 0 if whole is None else whole.values.shape[1]
    return replace(problem, chunks=lambda: iter(parts), limits=problem.limits * (count / max(customers, 1)))


def _some(chunk: Chunk, random: np.random.Generator, share: float) -> np.ndarray:
    count = chunk.values.shape[1]
    if chunk.household is None:
        return np.flatnonzero(random.random(count) < share)
    unit = np.cumsum(np.diff(chunk.household, prepend=chunk.household[:1]) != 0)
    return np.flatnonzero((random.random(int(unit[-1]) + 1 if count else 0) < share)[unit])


def _split(whole: Chunk) -> list[Chunk]:
    """Return a chunk in pieces of the usual size, cut between households."""
    count = whole.values.shape[1]
    cuts = np.arange(inner.CHUNK, count, inner.CHUNK)
    if whole.household is not None and count:
        starts = np.flatnonzero(np.diff(whole.household, prepend=whole.household[0] - 1) != 0)
        cuts = np.unique(np.append(starts, count)[np.searchsorted(starts, cuts)])
    edges = [0, *cuts.tolist(), count]
    pieces = [whole.take(np.arange(low, high)) for low, high in itertools.pairwise(edges) if high > low]
    return [replace(piece, values=np.ascontiguousarray(piece.values)) for piece in pieces]


def ceiling(problem: Problem) -> np.ndarray:
    """Return prices so high that nobody takes anything of the resource."""
    top = np.zeros(len(problem.limits))
    for chunk in problem.chunks():
        values = np.where(np.isfinite(chunk.values), chunk.values, 0)
        best = values.max(axis=1, initial=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_use = np.where(problem.uses > 0, best / problem.uses, 0).max(axis=1, initial=0)
            top = np.maximum(top, by_use)
            if chunk.weights is not None:
                ratio = np.where(chunk.weights > 0, values / chunk.weights, 0).max(axis=1, initial=0)
                top = np.maximum(top, np.where(problem.weighted > 0, ratio, 0).max(axis=1, initial=0))
    return top * 1.001 + 1e-6


def by_planes(dual: Dual, start: np.ndarray, *, top: np.ndarray, rounds: int, tolerance: float, radius: float) -> None:
    """Lower the dual by cutting planes within a box around the best point, at most ``rounds`` times."""
    dual.at(start)
    reach = np.maximum(radius * top, 1e-9)
    for _ in range(rounds):
        best = dual.best
        centre, bound = dual.points[best], dual.bounds[best]
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach, top)
        prices, promised = _lowest(dual, low, high, scale=max(abs(bound), 1e-9))
        if bound - promised <= tolerance * max(abs(bound), 1e-12):
            inside = (prices > low + 1e-12 * top) & (prices < high - 1e-12 * top)
            if (inside | (prices <= 0) | (prices >= top)).all():
                return
            reach = reach * 2
            continue
        found = dual.at(prices)
        agreed = (bound - found) / (bound - promised)
        reach = reach * (2.0 if agreed > 0.5 else 1.0 if agreed > 0.1 else 0.5)


def _lowest(dual: Dual, low: np.ndarray, high: np.ndarray, *, scale: float) -> tuple[np.ndarray, float]:
    """Return where the highest of all planes is lowest within the box, and how low it is."""
    points, slopes = np.array(dual.points), np.array(dual.slopes)
    span = np.maximum(high - low, 1e-12)
    # In units of the box and of the bound, so that the solver's tolerances mean the same everywhere.
    slant = slopes * span / scale
    level = (np.array(dual.bounds) + (slopes * (low - points)).sum(axis=1)) / scale
    matrix = np.hstack([slant, -np.ones((len(points), 1))])
    cost = np.append(np.zeros(len(low)), 1.0)
    found = linprog(cost, A_ub=matrix, b_ub=-level, bounds=[*[(0, 1)] * len(low), (None, None)], method="highs-ds")
    if found.x is None:
        return low, float("-inf")
    return low + found.x[:-1] * span, float(found.x[-1]) * scale


def curvature(problem: Problem, prices: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Return the second derivatives of the dual by differences of its slope, symmetric and positive."""
    steps = np.maximum(_STEP * prices, 1e-3 * top)
    rows = []
    for place, step in enumerate(steps):
        ahead, behind = prices.copy(), prices.copy()
        ahead[place] += step
        behind[place] = max(prices[place] - step, 0)
        width = ahead[place] - behind[place]
        rows.append((evaluate(problem, ahead)[1] - evaluate(problem, behind)[1]) / width)
    matrix = np.array(rows)
    matrix = (matrix + matrix.T) / 2
    level, axes = np.linalg.eigh(matrix * np.outer(top, top))
    floor = max(float(level.max()), 1e-9) * 1e-6
    return (axes * np.maximum(level, floor)) @ axes.T / np.outer(top, top)


def by_newton(dual: Dual, matrix: np.ndarray, *, top: np.ndarray, rounds: int, tolerance: float) -> np.ndarray:
    """Lower the dual by Newton steps with the given second derivatives from its best point on; return where it ends.

    Done when a step promises no more than ``tolerance`` of the dual, and what has a price is used up or overdrawn by so
    little that it is worth no more than a hundred times that: the repair can then make up for it.
    """
    lower = np.linalg.cholesky(matrix * np.outer(top, top))
    damping, here = 1.0, dual.best
    for _ in range(rounds):
        centre, bound, slope = dual.points[here], dual.bounds[here], dual.slopes[here]
        root = lower * np.sqrt(damping)
        target, _ = nnls(root.T, root.T @ (centre / top) - np.linalg.solve(root, slope * top))
        step = target * top - centre
        promised, unsettled = -(slope @ step) / 2, float(centre @ np.abs(slope))
        if promised <= tolerance * abs(bound) and unsettled <= 100 * tolerance * abs(bound):
            break
        found = dual.at(centre + step)
        # Below the precision of single floats the dual says nothing more; how well demand meets supply still does.
        even = abs(bound - found) <= _PRECISION * abs(bound)
        better = float(dual.points[-1] @ np.abs(dual.slopes[-1])) < unsettled if even else found < bound
        damping *= (0.7 if even or bound - found > 0.5 * promised else 1.0) if better else 4.0
        here = len(dual.points) - 1 if better else here
    return dual.points[here]
