"""Weights of methods: right where the answer is known, equal where little is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.models.demand import combine


def test_of_two_methods_with_opposite_errors_both_count_the_same() -> None:
    errors = np.random.default_rng(1).normal(size=4000)
    found = combine.weights(np.stack([errors, -errors]), np.ones(4000))
    assert found == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize("squared", [False, True])
def test_weights_are_those_of_a_grid_search(squared: bool) -> None:
    random = np.random.default_rng(2)
    shared = random.normal(size=20_000)
    errors = np.stack([shared + random.normal(size=20_000), 0.7 * shared + 1.3 * random.normal(size=20_000)])
    grid = np.linspace(0, 1, 101)
    mixed = [w * errors[0] + (1 - w) * errors[1] for w in grid]
    best = grid[np.argmin([(m**2 if squared else np.abs(m)).mean() for m in mixed])]
    assert combine.weights(errors, np.ones(20_000), squared=squared)[0] == pytest.approx(best, abs=0.03)


def test_independent_errors_are_weighted_by_their_inverse_variance() -> None:
    random = np.random.default_rng(3)
    errors = np.stack([random.normal(0, spread, 60_000) for spread in (1.0, 1.2, 1.4)])
    inverse = 1 / np.array([1.0, 1.2, 1.4]) ** 2
    found = combine.weights(errors, np.ones(60_000), squared=True)
    assert found == pytest.approx(inverse / inverse.sum(), abs=0.02)


def test_few_cases_leave_equal_weights_among_those_that_are_not_hopeless() -> None:
    errors = np.array([[1.0, -1.0], [1.1, -1.1], [9.0, 9.0]])
    found = combine.weights(errors, np.ones(2))
    assert found == pytest.approx([0.5, 0.5, 0.0], abs=0.06)


def test_cases_without_weight_and_cases_where_a_method_failed_do_not_count() -> None:
    random = np.random.default_rng(4)
    errors = random.normal(size=(2, 500))
    spoiled = np.concatenate([errors, [[1e6, np.nan], [0.0, 0.0]]], axis=1)
    counts = np.r_[np.ones(500), 0.0, 1.0]
    assert combine.weights(spoiled, counts) == pytest.approx(combine.weights(errors, np.ones(500)))


def test_no_complete_case_gives_equal_weights() -> None:
    assert combine.weights(np.full((4, 3), np.nan), np.ones(3)).tolist() == [0.25] * 4


def test_a_wild_method_does_not_end_the_search() -> None:
    errors = np.stack([np.full(100, 1e-9), np.full(100, 1e9)])
    assert combine.weights(errors, np.ones(100)).round(6).tolist() == [1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 60), st.integers(0, 10_000), st.booleans())
def test_weights_are_shares_and_no_worse_than_equal_ones(methods: int, cases: int, seed: int, squared: bool) -> None:
    random = np.random.default_rng(seed)
    errors = random.normal(size=(methods, cases)) * random.gamma(1, 2, (methods, 1))
    counts = random.random(cases) + 0.01
    found = combine.weights(errors, counts, squared=squared)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()

    def loss(weights: np.ndarray) -> float:
        mixed = weights @ errors
        return float(np.average(mixed**2 if squared else np.abs(mixed), weights=counts))

    single = combine.losses(errors, counts, squared=squared)
    assert loss(found) <= single.max() + 1e-9
