"""A booster's trees for one row at a time: all trees take a step together, level by level, in plain arrays.

XGBoost is made for many rows: a call for one takes a fifth of a millisecond before the first tree, and then walks through
trees one by one, each of them new to the processor's cache.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xgboost as xgb


@dataclass(frozen=True)
class Walk:
    """The nodes of all trees one after the other; a leaf is its own child on both sides, so that who arrived stays.

    Attributes, by node: ``feature``, ``below`` (a number under it goes left, one above right; at leaves their value),
    ``missing_left``, ``children`` (nodes x right, left), ``sets`` (the row of ``members`` that a code is looked up in, -1
    for numbers; codes in it go right). ``roots`` and ``places`` (round, outcome) by tree; ``depth`` in steps.
    """

    feature: np.ndarray
    below: np.ndarray
    missing_left: np.ndarray
    children: np.ndarray
    sets: np.ndarray
    members: np.ndarray
    roots: np.ndarray
    places: tuple[np.ndarray, np.ndarray]
    shape: tuple[int, int]
    depth: int

    def margins(self, row: np.ndarray) -> np.ndarray:
        """Return the log-odds by outcome of one row of a tree matrix, to the bit what ``boost.margins_of`` gives."""
        at = self.roots
        missing = np.isnan(row)
        for _ in range(self.depth):
            feature = self.feature.take(at)
            value = row.take(feature)
            left = value < self.below.take(at)
            if len(self.members):
                own = self.sets.take(at)
                coded = np.flatnonzero(own >= 0)
                codes = np.nan_to_num(value[coded]).astype(np.intp)
                left[coded] = ~self.members[own[coded], codes]
            left = np.where(missing.take(feature), self.missing_left.take(at), left)
            at = self.children.take(2 * at + left)
        leaves = np.zeros(self.shape, dtype=np.float32)
        leaves[self.places] = self.below.take(at)
        # Down the rounds, one added to the other in single precision, as XGBoost does.
        return np.add.reduce(leaves, axis=0)


def prepare(booster: xgb.Booster, outcomes: int, codes: int) -> Walk:
    """Return the trees of a booster of ``boost``; ``codes`` is the number of levels that a feature has at most."""
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    trees, owners = model["trees"], np.array(model["tree_info"], dtype=np.intp)
    sizes = [len(tree["left_children"]) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp) if trees else np.zeros(0, dtype=np.intp)

    def joined(name: str, kind: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype=kind), *[np.array(tree[name], dtype=kind) for tree in trees]])

    first = np.repeat(roots, sizes)
    left, right = joined("left_children", np.intp), joined("right_children", np.intp)
    inner = left >= 0
    own = np.arange(len(left))
    children = np.stack([np.where(inner, right + first, own), np.where(inner, left + first, own)], axis=1)
    sets, members = _sets(trees, roots, len(left), codes)
    rounds = np.searchsorted(model["iteration_indptr"], np.arange(len(trees)), side="right") - 1
    depth, at = 0, roots
    while inner[at].any():
        at = np.unique(children[at])
        depth += 1
    return Walk(
        feature=joined("split_indices", np.intp),
        below=joined("split_conditions", np.float32),
        missing_left=joined("default_left", bool),
        children=children.ravel(),
        sets=sets,
        members=members,
        roots=roots,
        places=(rounds, owners),
        shape=(len(model["iteration_indptr"]) - 1, outcomes),
        depth=depth,
    )


def _sets(
    trees: list[dict[str, list[int]]], roots: np.ndarray, nodes: int, codes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``sets`` and ``members`` of ``Walk``."""
    sets = np.full(nodes, -1, dtype=np.intp)
    rows: list[np.ndarray] = []
    for root, tree in zip(roots, trees, strict=True):
        parts = (tree[f"categories{end}"] for end in ("_nodes", "_segments", "_sizes"))
        for node, start, size in zip(*parts, strict=True):
            sets[root + node] = len(rows)
            rows.append(np.isin(np.arange(codes), tree["categories"][start : start + size]))
    return sets, np.array(rows).reshape(len(rows), codes)
