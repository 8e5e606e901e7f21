"""The allocation against exact integer and linear programmes: feasible always, never above its bound, the gap true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import LinearConstraint, linprog, milp

from crmlib.decisions import allocation
from crmlib.decisions import allocation_inner as inner
from crmlib.decisions import allocation_prices as pricing
from crmlib.decisions import allocation_repair as repair
from crmlib.decisions.allocation import Chunk, Problem
from crmlib.errors import DataError


def made_up(seed: int, *, customers: int, products: int, channels: int, k: int, chunk: int = 50) -> Problem:
    """A random problem with every kind of limit: capacities, budget, supply, slots, households, channels within them."""
    random = np.random.default_rng(seed)
    offers = products * channels
    product, channel = np.repeat(np.arange(products), channels), np.tile(np.arange(channels), products)
    cost = random.uniform(1, 20, channels)[channel]
    gain = np.repeat(random.gamma(2, 20, (products, customers)), channels, axis=0)
    values = (gain * random.uniform(0.7, 1.3, gain.shape) - cost[:, None]).astype(np.float32)
    values[random.random(values.shape) < 0.15] = -np.inf
    weights = random.uniform(0.01, 0.4, values.shape).astype(np.float32)
    household = np.sort(random.integers(0, max(1, customers // 2), customers))
    by_house = random.integers(0, 4, customers)
    parts = {
        "values": values,
        "weights": weights,
        "slots": random.integers(0, k + 2, customers),
        "household": household,
        "household_slots": by_house[household],
        "channel_slots": random.integers(0, 3, (channels, customers)),
        "household_channel_slots": random.integers(0, 3, (channels, customers))[:, household],
    }
    for name in ("weights", "slots", "channel_slots", "household_channel_slots"):
        if random.random() < 0.4:
            parts[name] = None
    if random.random() < 0.3:
        parts["household"] = parts["household_slots"] = parts["household_channel_slots"] = None
    whole = Chunk(**parts)
    uses = np.vstack([channel == np.arange(channels)[:, None], cost]).astype(float)
    weighted = np.zeros((channels + 2, offers))
    if whole.weights is not None:
        weighted[-1] = product == 0
    limits = np.append(random.integers(0, customers, channels), [random.uniform(1, 8 * customers), customers * 0.05])
    problem = Problem(iter, product, np.vstack([uses, np.zeros(offers)]), weighted, limits.astype(float), k, channel)
    pieces = [whole.take(rows) for rows in _cut(whole, chunk)]
    return replace(problem, chunks=lambda: iter(pieces))


def _cut(whole: Chunk, size: int) -> Iterator[np.ndarray]:
    count, low = whole.values.shape[1], 0
    while low < count:
        high = min(low + size, count)
        while whole.household is not None and high < count and whole.household[high] == whole.household[high - 1]:
            high += 1
        yield np.arange(low, high)
        low = high


def rows_of(problem: Problem) -> tuple[np.ndarray, sparse.csr_array, np.ndarray]:
    """Every limit of the problem, written out one by one: values, matrix and right-hand sides over offers × customers."""
    whole = inner.joined(list(problem.chunks()))
    offers, customers = whole.values.shape
    lines: list[np.ndarray] = []
    limits: list[float] = []

    def add(coefficients: np.ndarray, limit: float) -> None:
        lines.append(coefficients.ravel())
        limits.append(float(limit))

    weights = (
        np.zeros(whole.values.shape) if whole.weights is None else np.where(np.isnan(whole.weights), 0, whole.weights)
    )
    for row, limit in enumerate(problem.limits):
        if np.isfinite(limit):
            add(problem.uses[row][:, None] + problem.weighted[row][:, None] * weights, limit)
    everyone = np.arange(customers)
    for one in everyone:
        mine = np.zeros((offers, customers))
        mine[:, one] = 1
        add(mine, problem.k if whole.slots is None else min(problem.k, whole.slots[one]))
        for product in set(problem.product):
            add(mine * (problem.product == product)[:, None], 1)
        if whole.channel_slots is not None:
            for channel in range(len(whole.channel_slots)):
                add(mine * (problem.channel == channel)[:, None], whole.channel_slots[channel, one])
    if whole.household is not None:
        for house in set(whole.household):
            members = np.tile(whole.household == house, (offers, 1)).astype(float)
            first = np.flatnonzero(whole.household == house)[0]
            add(members, whole.household_slots[first])
            if whole.household_channel_slots is not None:
                for channel in range(len(whole.household_channel_slots)):
                    of = (problem.channel == channel)[:, None]
                    add(members * of, whole.household_channel_slots[channel, first])
    return whole.values.astype(float).ravel(), sparse.csr_array(np.array(lines)), np.array(limits)


def exact(problem: Problem) -> float:
    """The best value there is, by branch and bound."""
    values, matrix, limits = rows_of(problem)
    good = np.isfinite(values)
    if not good.any():
        return 0.0
    constraint = LinearConstraint(matrix[:, np.flatnonzero(good)], ub=limits)
    found = milp(-values[good], constraints=constraint, integrality=1, bounds=(0, 1), options={"mip_rel_gap": 1e-9})
    return float(-found.fun)


def relaxed(problem: Problem) -> float:
    """The optimum of the linear relaxation without the limits by channel, which the bound leaves out."""
    parts = [replace(part, channel_slots=None, household_channel_slots=None) for part in problem.chunks()]
    values, matrix, limits = rows_of(replace(problem, chunks=lambda: iter(parts)))
    good = np.isfinite(values)
    if not good.any():
        return 0.0
    found = linprog(-values[good], A_ub=matrix[:, np.flatnonzero(good)], b_ub=limits, bounds=(0, 1), method="highs")
    return float(-found.fun)


def check(problem: Problem, found: allocation.Allocation) -> None:
    """Nothing is exceeded, and value, use and gap are what the offers picked say."""
    values, matrix, limits = rows_of(problem)
    offers = len(problem.product)
    taken = inner.mask(found.picked, offers).ravel().astype(float)
    assert taken.sum() == (found.picked >= 0).sum(), "no offer twice"
    assert np.isfinite(values[taken > 0]).all(), "no offer that may not be made"
    assert (matrix @ taken <= limits * (1 + 1e-9) + 1e-9).all()
    assert found.value == pytest.approx(values[taken > 0].sum(), rel=1e-6, abs=1e-6)
    assert found.value <= found.bound * (1 + 1e-9) + 1e-6
    assert found.gap == pytest.approx(max(0, 1 - found.value / found.bound) if found.bound > 0 else 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_small_problems_against_the_exact_optimum(
    seed: int, customers: int, products: int, channels: int, k: int
) -> None:
    problem = made_up(seed, customers=customers, products=products, channels=channels, k=k)
    found = allocation.solve(problem)
    check(problem, found)
    best = exact(problem)
    assert found.value <= best * (1 + 1e-6) + 1e-4
    assert best <= found.bound * (1 + 1e-6) + 1e-4, "the bound is above whatever can be reached"
    assert found.bound <= relaxed(problem) * (1 + 1e-3) + 1e-2, "and it is that of the linear relaxation"


def test_few_hundred_customers_come_close_to_the_optimum() -> None:
    shares = []
    for seed in range(8):
        problem = made_up(seed, customers=60, products=4, channels=2, k=2)
        found = allocation.solve(problem)
        check(problem, found)
        best = exact(problem)
        shares.append(found.value / best if best else 1.0)
    assert min(shares) > 0.97 and np.mean(shares) > 0.99


@pytest.mark.parametrize("k", [1, 3])
def test_thousands_of_customers_by_prices_and_repair(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    # So that what is meant for millions is used: a sample smaller than the whole, few customers settled exactly.
    monkeypatch.setattr(allocation, "SAMPLE", 2_000)
    monkeypatch.setattr(allocation, "POOL", 300)
    monkeypatch.setattr(repair, "SMALL", 100)
    random = np.random.default_rng(3)
    values = (random.gamma(2, 20, (12, 6_000)) - 10).astype(np.float32)
    uses = np.vstack([np.arange(12) % 4 == row for row in range(4)] + [np.tile([9.0, 5, 2, 1], 3)])
    limits = np.array([300, 900, 1500, 2000, 12_000.0])
    pieces = [Chunk(np.ascontiguousarray(values[:, low : low + 1024])) for low in range(0, 6_000, 1024)]
    problem = Problem(lambda: iter(pieces), np.arange(12), uses, np.zeros_like(uses), limits, k)
    found = allocation.solve(problem)
    used = inner.taken(problem, Chunk(values), inner.mask(found.picked, 12))
    assert (used <= limits).all() and used == pytest.approx(found.used)
    assert found.gap < 5e-4
    assert found.prices @ (limits - used) < 1e-3 * found.bound, "what has a price is used up"


def test_supply_and_households_at_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "SMALL", 100)
    problem = made_up(11, customers=3_000, products=5, channels=3, k=2, chunk=700)
    found = allocation.solve(problem)
    whole = inner.joined(list(problem.chunks()))
    taken = inner.mask(found.picked, len(problem.product))
    assert (inner.taken(problem, whole, taken) <= problem.limits * (1 + 1e-9)).all()
    per_house = np.bincount(whole.household, weights=taken.sum(axis=0))
    assert (per_house[whole.household] <= whole.household_slots).all()
    assert 0 <= found.gap < 0.2  # the limits by channel are left out of the bound


def test_the_same_problem_gives_the_same_answer() -> None:
    problem = made_up(5, customers=400, products=4, channels=3, k=2)
    first, second = allocation.solve(problem, seed=1), allocation.solve(problem, seed=1)
    assert (first.picked == second.picked).all() and (first.prices == second.prices).all()


def test_without_limits_everyone_gets_the_best() -> None:
    values = np.array([[3, -1, 5], [2, -2, 9]], np.float32)
    uses = np.ones((1, 2))
    problem = Problem(lambda: iter([Chunk(values)]), np.arange(2), uses, np.zeros((1, 2)), np.array([np.inf]))
    found = allocation.solve(problem)
    assert found.picked.tolist() == [[0, -1, 1]]
    assert (found.value, found.bound, found.gap) == (12.0, 12.0, 0.0)
    assert found.used.tolist() == [2.0] and found.prices.tolist() == [0.0]


def test_nobody_and_nothing() -> None:
    empty = Problem(lambda: iter([]), np.arange(2), np.ones((1, 2)), np.zeros((1, 2)), np.array([3.0]))
    assert allocation.solve(empty).picked.shape == (1, 0)
    barred = replace(empty, chunks=lambda: iter([Chunk(np.full((2, 4), -np.inf, np.float32))]))
    found = allocation.solve(barred)
    assert (found.picked == -1).all() and found.value == 0 and found.gap == 0


def test_the_price_is_what_one_more_unit_earns() -> None:
    # Ten customers worth 1 to 10, one channel for four of them: the next one would be worth 6.
    values = np.arange(1, 11, dtype=np.float32)[None]
    problem = Problem(lambda: iter([Chunk(values)]), np.arange(1), np.ones((1, 1)), np.zeros((1, 1)), np.array([4.0]))
    found = allocation.solve(problem)
    more = allocation.solve(replace(problem, limits=np.array([5.0])))
    assert found.value == 34 and more.value - found.value == 6
    assert 6 <= found.prices[0] <= 7


def test_equal_customers_share_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "SMALL", 100)
    values = np.tile(np.array([[10.0], [4.0]], np.float32), (1, 3_000))
    uses = np.array([[1.0, 0.0]])
    problem = Problem(lambda: iter([Chunk(values)]), np.arange(2), uses, np.zeros((1, 2)), np.array([700.0]))
    found = allocation.solve(problem)
    assert found.used[0] <= 700
    assert found.value == pytest.approx(700 * 10 + 2_300 * 4, rel=0.02)


def test_the_dual_is_convex_and_its_slope_is_true() -> None:
    problem = made_up(2, customers=200, products=4, channels=2, k=2)
    random = np.random.default_rng(0)
    for _ in range(10):
        one, other = random.uniform(0, 30, (2, len(problem.limits)))
        (low, slope), (high, _) = pricing.evaluate(problem, one), pricing.evaluate(problem, other)
        between = pricing.evaluate(problem, (one + other) / 2)[0]
        assert between <= (low + high) / 2 + 1e-3
        assert high >= low + slope @ (other - one) - 1e-2, "the slope is a subgradient"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"product": np.array([1, 0])}, "must be sorted by product"),
        ({"uses": -np.ones((1, 2))}, "less than nothing of a resource"),
        ({"limits": np.array([-1.0])}, "a limit of a resource is negative or not a number"),
        ({"limits": np.array([np.nan])}, "a limit of a resource is negative or not a number"),
        ({"k": 0}, "k is 0; give one offer a customer or more"),
    ],
)
def test_a_problem_that_is_none(change: dict[str, object], sentence: str) -> None:
    problem = Problem(lambda: iter([]), np.arange(2), np.ones((1, 2)), np.zeros((1, 2)), np.array([1.0]))
    with pytest.raises(DataError, match=sentence):
        allocation.solve(replace(problem, **change))  # type: ignore[arg-type]
