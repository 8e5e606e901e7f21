"""Clusters of customers: k-means, how many there are, and how far the answer can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

STRONG = 0.8
"""Prediction strength from which groups count as separate (Tibshirani & Walther 2005: 0.8 to 0.9)."""
STABLE = 0.75
"""Mean Jaccard similarity over resamples from which a cluster counts as stable (Hennig 2007)."""


def kmeans(rows: Array, k: int, *, seed: int, starts: int = 5, rounds: int = 100) -> tuple[Array, Array, float]:
    """Return centres, the number of each row's centre and the sum of squared distances of the best of some starts.

    Starting points by k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's algorithm; a centre that loses all its rows
    moves to the row that lies farthest from its own.
    """
    random = np.random.default_rng(seed)
    best: tuple[Array, Array, float] | None = None
    for _ in range(starts):
        found = refine(rows, _spread(rows, k, random), rounds=rounds)
        if best is None or found[2] < best[2]:
            best = found
    assert best is not None
    return best


def refine(rows: Array, centres: Array, *, rounds: int = 100) -> tuple[Array, Array, float]:
    """Return what Lloyd's algorithm makes of some centres: centres, the number of each row's, the sum of squares.

    It ends when fewer than one row in a thousand changes its centre.
    """
    number = np.full(len(rows), -1)
    for _ in range(rounds):
        # The squared length of a row is the same for every centre.
        nearest = ((centres**2).sum(axis=1) - 2 * product(rows, centres)).argmin(axis=1)
        changed = np.count_nonzero(nearest != number)
        number = nearest
        if changed * 1000 < len(rows):
            break
        member = (number == np.arange(len(centres))[:, None]).astype(float)
        size = member.sum(axis=1)
        sums = np.einsum("kn,np->kp", member, rows)
        centres = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centres)
        if (size == 0).any():
            own = ((rows - centres[number]) ** 2).sum(axis=1)
            centres[size == 0] = rows[np.argsort(-own, kind="stable")[: int((size == 0).sum())]]
    distance = squared(rows, centres)
    number = distance.argmin(axis=1)
    return centres, number, float(distance[np.arange(len(rows)), number].sum())


def squared(rows: Array, centres: Array) -> Array:
    """Return the squared distance (rows × centres)."""
    far = (rows**2).sum(axis=1)[:, None] - 2 * product(rows, centres) + (centres**2).sum(axis=1)[None, :]
    return np.maximum(far, 0)


def product(rows: Array, centres: Array) -> Array:
    """Return the products of rows and centres.

    Not by BLAS: its threads cost far more than they save on products this thin (measured on two busy cores: 0.15 s
    instead of 2 ms).
    """
    return np.einsum("np,kp->nk", rows, centres)


def _spread(rows: Array, k: int, random: np.random.Generator) -> Array:
    chosen = [int(random.integers(len(rows)))]
    nearest = squared(rows, rows[chosen])[:, 0]
    while len(chosen) < k:
        total = nearest.sum()
        pick = random.choice(len(rows), p=nearest / total) if total > 0 else random.integers(len(rows))
        chosen.append(int(pick))
        nearest = np.minimum(nearest, squared(rows, rows[chosen[-1:]])[:, 0])
    return rows[chosen].copy()


def adjusted_rand(one: Array, other: Array) -> float:
    """Return how far two divisions of the same customers agree: 1 fully, 0 as much as by chance (Hubert & Arabie 1985).

    >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))
    1.0
    """
    table = crossed(one, other).astype(float)
    pairs = (table * (table - 1)).sum() / 2
    rows, columns = ((side * (side - 1)).sum() / 2 for side in (table.sum(axis=1), table.sum(axis=0)))
    expected = rows * columns / max(len(one) * (len(one) - 1) / 2, 1)
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def crossed(one: Array, other: Array) -> Array:
    """Return the counts of each pair of labels."""
    first, rows = np.unique(one, return_inverse=True)
    second, columns = np.unique(other, return_inverse=True)
    return np.bincount(rows * len(second) + columns, minlength=len(first) * len(second)).reshape(len(first), -1)


def prediction_strength(rows: Array, k: int, *, seed: int, splits: int = 5) -> tuple[float, float]:
    """Return how well one half of the customers predicts who belongs together in the other, and its standard error.

    For each cluster of the one half: the share of pairs of its customers whom the centres found on the other half put
    together too; the least of the clusters counts, as the mean over random halvings (Tibshirani & Walther 2005).
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = random.permutation(len(rows))
        half = len(rows) // 2
        trained, held = rows[order[:half]], rows[order[half:]]
        centres = kmeans(trained, k, seed=int(random.integers(2**31)), starts=3, rounds=40)[0]
        own = kmeans(held, k, seed=int(random.integers(2**31)), starts=3, rounds=40)[1]
        table = crossed(own, squared(held, centres).argmin(axis=1)).astype(float)
        size = table.sum(axis=1)
        together = (table * (table - 1)).sum(axis=1) / np.maximum(size * (size - 1), 1)
        found.append(float(together.min()) if len(together) == k else 0.0)
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(splits)) if splits > 1 else float("nan")


@dataclass(frozen=True)
class Stability:
    """How a division holds up when the customers are drawn anew.

    Attributes: ``jaccard`` for each cluster the mean similarity to its best likeness in each resample (Hennig 2007);
    ``rand`` the mean adjusted Rand index between the division and those of the resamples, ``rand_low`` the least.
    """

    jaccard: Array
    rand: float
    rand_low: float


def stability(rows: Array, centres: Array, *, seed: int, resamples: int = 20) -> Stability:
    """Return how stable the clusters around some centres are over bootstrap resamples of the rows."""
    random = np.random.default_rng(seed)
    k, number = len(centres), squared(rows, centres).argmin(axis=1)
    best, rand = np.zeros((resamples, k)), np.zeros(resamples)
    for turn in range(resamples):
        drawn = rows[random.integers(len(rows), size=len(rows))]
        again = kmeans(drawn, k, seed=int(random.integers(2**31)), starts=3, rounds=40)[0]
        other = squared(rows, again).argmin(axis=1)
        table = np.zeros((k, k))
        np.add.at(table, (number, other), 1)
        union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
        best[turn] = (table / np.maximum(union, 1)).max(axis=1)
        rand[turn] = adjusted_rand(number, other)
    return Stability(best.mean(axis=0), float(rand.mean()), float(rand.min()))


def curve(rows: Array, *, ks: tuple[int, ...], seed: int, splits: int = 5) -> pd.DataFrame:
    """Return what each number of clusters is worth.

    Out, a row a number: clusters, strength (prediction strength), error (its standard error), within (share of the
    variance that is left inside the clusters), separate (``strength + error`` reaches ``STRONG``).
    """
    if len(rows) < 4 * max(ks):
        raise DataError(
            f"{len(rows)} customers are too few for {max(ks)} clusters; ask for fewer or take more customers"
        )
    total = float(((rows - rows.mean(axis=0)) ** 2).sum())
    table = []
    for k in ks:
        strength, error = prediction_strength(rows, k, seed=seed + k, splits=splits)
        within = kmeans(rows, k, seed=seed + k, starts=3, rounds=40)[2] / total
        table.append((k, strength, error, within, strength + error >= STRONG))
    return pd.DataFrame(table, columns=["clusters", "strength", "error", "within", "separate"])


def best(table: pd.DataFrame) -> tuple[int, bool]:
    """Return the number of clusters by the stated rule, and whether they are separate groups.

    The rule (Tibshirani & Walther 2005): the largest number whose prediction strength, with one standard error,
    reaches ``STRONG``. Where none does, the customers form no separate groups; then the number that repeats best is
    taken, as a division of a continuum.
    """
    separate = table[table["separate"]]
    if len(separate):
        return int(separate["clusters"].max()), True
    return int(table["clusters"].to_numpy()[table["strength"].to_numpy().argmax()]), False
