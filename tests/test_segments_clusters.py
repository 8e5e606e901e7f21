"""Clusters: against planted groups, published figures and another library; how many there are; how stable they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.datasets import load_iris

from crmlib.errors import DataError
from crmlib.models.segments import clusters


def planted(k: int, *, apart: float, size: int = 1_500, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(k), size // k)
    middles = apart * random.normal(size=(k, 6))
    return middles[truth] + random.normal(size=(len(truth), 6)), truth


def test_kmeans_on_fishers_iris_r_documentation_of_kmeans_sum_of_squares_78_85_sizes_50_62_38() -> None:
    rows, kinds = load_iris(return_X_y=True)
    _, number, within = clusters.kmeans(rows, 3, seed=7, starts=10)
    assert sorted(np.bincount(number)) == [38, 50, 62]
    assert within == pytest.approx(78.85, abs=0.01)
    assert clusters.adjusted_rand(number, kinds) == pytest.approx(0.730, abs=0.001)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_adjusted_rand_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    assert clusters.adjusted_rand(one, other) == pytest.approx(reference.adjusted_rand_score(one, other), abs=1e-12)


@pytest.mark.parametrize("k", [3, 5])
def test_planted_groups_and_their_number_are_found(k: int) -> None:
    rows, truth = planted(k, apart=4.0)
    table = clusters.curve(rows, ks=(2, 3, 4, 5, 6, 7), seed=3)
    assert clusters.best(table) == (k, True)
    centres, number, _ = clusters.kmeans(rows, k, seed=3)
    assert clusters.adjusted_rand(number, truth) > 0.98
    stable = clusters.stability(rows, centres, seed=3)
    assert stable.jaccard.min() > clusters.STABLE and stable.rand_low > 0.95
    assert table["within"].is_monotonic_decreasing


def test_a_cloud_without_groups_is_said_to_have_none() -> None:
    rows = np.random.default_rng(5).normal(size=(2_000, 8))
    table = clusters.curve(rows, ks=(2, 3, 4, 5), seed=5)
    k, separate = clusters.best(table)
    assert not separate and k == int(table.loc[table["strength"].idxmax(), "clusters"])


def test_the_same_seed_gives_the_same_clusters_and_another_start_no_worse_ones() -> None:
    rows, _ = planted(4, apart=1.5)
    first, second = (clusters.kmeans(rows, 4, seed=9) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert clusters.kmeans(rows, 4, seed=9, starts=12)[2] <= first[2] + 1e-9


def test_no_cluster_is_ever_empty_even_with_many_equal_rows() -> None:
    rows = np.repeat(np.arange(6.0)[:, None], 50, axis=0)
    _, number, within = clusters.kmeans(rows, 6, seed=2, starts=10)
    assert len(np.unique(number)) == 6 and within == pytest.approx(0, abs=1e-9)


def test_too_few_rows_for_so_many_clusters() -> None:
    with pytest.raises(DataError, match="20 customers are too few for 7 clusters"):
        clusters.curve(np.zeros((20, 2)), ks=(2, 7), seed=1)
