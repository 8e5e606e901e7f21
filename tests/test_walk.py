"""One row's trees walked together give XGBoost's numbers to the bit: gaps, sets of levels, outcomes without a tree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crmlib.models import boost, boost_each, encode, walk
from crmlib.models.boost import Target

LEVELS = {"region": 14, "kind": 3}


@pytest.fixture(scope="module")
def made() -> tuple[encode.Encoding, np.ndarray, Target]:
    """Customers with gaps in numbers and levels, three outcomes that need both, the last one bought by nobody."""
    rng = np.random.default_rng(4)
    size = 6_000
    numbers = rng.normal(size=(size, 3)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.15] = np.nan
    features = pd.DataFrame(numbers, columns=["a", "b", "c"])
    drive = np.nan_to_num(numbers[:, 0]) + np.isnan(numbers[:, 1])
    for name, count in LEVELS.items():
        code = rng.integers(0, count, size)
        drive = drive + np.where(code % 2, 1.0, -1.0)
        text = pd.Series([f"{name}{one:02d}" for one in code])
        features[name] = text.where(rng.random(size) > 0.1, None).astype("category")
    chance = 1 / (1 + np.exp(1 - np.column_stack([drive, -drive, drive])))
    bought = (rng.random(chance.shape) < chance).astype(np.int8)
    bought[:, 2] = 0
    coding = encode.fit(features)
    return coding, coding.tree_matrix(features), Target(bought, np.ones(size), np.zeros((1, 3)))


@pytest.mark.parametrize("way", ["together", "each", "no tree"])
def test_a_walk_gives_the_bits_of_the_booster(made: tuple[encode.Encoding, np.ndarray, Target], way: str) -> None:
    coding, tree, target = made
    rows = np.arange(len(tree))
    draws = [
        boost_each.Draw(rows, target.bought[:, place] * (way == "each"), np.ones(len(rows)), rows % 7 == 0)
        for place in range(3)
    ]
    if way == "together":
        booster, _ = boost.fit(tree, target, coding, rounds=np.array([25, 10, 0]), nthread=1)
    else:
        booster, rounds = boost_each.fit(tree, draws, coding, start=np.zeros(3), nthread=1)
        assert (rounds > 0).tolist() == ([True, True, False] if way == "each" else [False] * 3)
    ready = walk.prepare(booster, 3, max(LEVELS.values()))
    if way != "no tree":
        assert len(ready.members) > 20 and (ready.members.sum(axis=1) > 1).any()  # sets of several levels too
    wanted = boost.margins_of(booster, tree, 3)
    chosen = np.flatnonzero(np.isnan(tree).any(axis=1))[:400].tolist() + list(range(200))
    np.testing.assert_array_equal(np.array([ready.margins(tree[row]) for row in chosen]), wanted[chosen])
