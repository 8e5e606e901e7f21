"""The pair of learners behind every propensity model, and how customers are sampled for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from crmlib.models import boost, encode, linear
from crmlib.models.boost import Target

MAX_ROWS = 60_000
_BOOST_ROWS, _BOOST_CELLS = 15_000, 300_000
_HELD_OUT = 0.15
_CHUNK = 65_536


@dataclass(frozen=True)
class Learner:
    """A booster and a ridge-penalised logistic regression of the same outcomes.

    Attributes: ``offsets`` base log-odds by outcome, ``rounds`` by outcome, ``penalty`` of the regression.
    """

    encoding: encode.Encoding
    booster: xgb.Booster
    coefficients: np.ndarray
    offsets: np.ndarray
    rounds: np.ndarray
    penalty: float

    def margins(self, features: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-odds beyond the offsets by booster and by regression (rows x outcomes each), in chunks."""
        outcomes = len(self.offsets)
        trees, lines = [], []
        for first in range(0, len(features), _CHUNK):
            tree = self.encoding.tree_matrix(features.iloc[first : first + _CHUNK])
            trees.append(boost.margins(self.booster, boost.matrix(tree, self.encoding), outcomes))
            lines.append(linear.margins(self.coefficients, self.encoding.linear_matrix(tree)))
        if not trees:
            return np.zeros((0, outcomes)), np.zeros((0, outcomes))
        return np.concatenate(trees).astype(np.float64), np.concatenate(lines).astype(np.float64)


def base_log_odds(bought: np.ndarray) -> np.ndarray:
    """Return the log-odds of each outcome's share of buyers, drawn towards the overall share by one buyer's weight.

    >>> base_log_odds(np.array([[1, 0], [0, 0], [0, -1], [0, 0]], dtype=np.int8)).round(2)
    array([-1.5, -2.2])
    """
    buyers, able = (bought == 1).sum(axis=0), (bought >= 0).sum(axis=0)
    overall = min(max(buyers.sum() / max(able.sum(), 1), 1e-6), 0.5)
    share = (buyers + 1) / (able + 1 / overall)
    return np.log(share) - np.log1p(-share)


def sample(bought: np.ndarray, limit: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``limit`` rows and their weights: buyers first, for they carry most of the information.

    Rows with a buyer fill up to half of the limit, rows without the rest; the weight is the inverse of the chance to be
    drawn, so that every sum over the rows keeps its expected value (Horvitz & Thompson 1952).
    """
    usable = np.flatnonzero((bought >= 0).any(axis=1))
    if len(usable) <= limit:
        return usable, np.ones(len(usable))
    some = (bought[usable] == 1).any(axis=1)
    strata = [usable[some], usable[~some]]
    quota_some = min(len(strata[0]), max(limit // 2, limit - len(strata[1])))
    rows, weights = [], []
    for stratum, quota in zip(strata, (quota_some, limit - quota_some), strict=True):
        count = min(quota, len(stratum))
        rows.append(rng.choice(stratum, count, replace=False))
        weights.append(np.full(count, len(stratum) / max(count, 1)))
    order = np.argsort(np.concatenate(rows))
    return np.concatenate(rows)[order], np.concatenate(weights)[order]


def fit(
    features: pd.DataFrame,
    bought: np.ndarray,
    *,
    weights: np.ndarray,
    seed: int,
    nthread: int | None,
    held_out: np.ndarray | None = None,
    settled: Learner | None = None,
) -> Learner:
    """Return the learner of the outcomes (rows x outcomes; 1, 0, -1 for none).

    Rounds and penalty are those of ``settled``, else chosen on the rows that are true in ``held_out`` (which then train nothing), else on 15%
    of the rows drawn at random (which then train the regression only).
    """
    encoding = encode.fit(features)
    tree = encoding.tree_matrix(features)
    design = encoding.linear_matrix(tree)
    target = Target(bought, weights, base_log_odds(bought)[None])
    options: dict[str, Any] = {"seed": seed, "nthread": nthread}
    if settled is not None:
        coefficients, penalty = linear.fit(design, target, penalty=settled.penalty)
        booster, rounds = _boost(tree, target, encoding, rounds=settled.rounds, **options)
        return Learner(encoding, booster, coefficients, target.start[0], rounds, penalty)
    refit = held_out is None
    if held_out is None:
        held_out = np.random.default_rng(seed).random(len(bought)) < _HELD_OUT
    inner, outer = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    learnt, judge = target.take(inner), target.take(outer)
    coefficients, penalty = linear.fit(design[inner], learnt, held_out=(design[outer], judge))
    booster, rounds = _boost(tree[inner], learnt, encoding, held_out=(tree[outer], judge), **options)
    if refit:
        coefficients, _ = linear.fit(design, target, penalty=penalty, start=coefficients)
    return Learner(encoding, booster, coefficients, target.start[0], rounds, penalty)


def _boost(
    tree: np.ndarray, target: Target, encoding: encode.Encoding, *, seed: int, **options: Any
) -> tuple[xgb.Booster, np.ndarray]:
    """Boost on a sample of the rows: each tree visits every row of it, so this is where the time goes."""
    limit = max(_BOOST_ROWS, _BOOST_CELLS // target.bought.shape[1])
    rows, weights = sample(target.bought, limit, np.random.default_rng(seed))
    drawn = Target(target.bought[rows], target.weights[rows] * weights, target.start)
    return boost.fit(tree[rows], drawn, encoding, seed=seed, **options)


def cross_fit(
    features: pd.DataFrame,
    bought: np.ndarray,
    *,
    weights: np.ndarray,
    seed: int,
    nthread: int | None,
    folds: int = 5,
) -> tuple[Learner, np.ndarray, np.ndarray]:
    """Return a learner of all rows, and each row's margins (booster, regression) by a learner that did not see it."""
    fold = np.random.default_rng(seed).permutation(np.arange(len(features)) % folds)
    tree, line = np.empty(bought.shape), np.empty(bought.shape)
    parts = []
    for number in range(folds):
        own = fold == number
        part = fit(features, bought, weights=weights, seed=seed, nthread=nthread, held_out=own)
        tree[own], line[own] = part.margins(features[own])
        parts.append(part)
    settled = replace(
        parts[0],
        rounds=np.rint(np.mean([part.rounds for part in parts], axis=0)).astype(int),
        penalty=float(np.exp(np.mean(np.log([part.penalty for part in parts])))),
    )
    final = fit(features, bought, weights=weights, seed=seed, nthread=nthread, settled=settled)
    return final, tree, line
