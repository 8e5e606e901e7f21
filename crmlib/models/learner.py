"""The pair of learners behind every propensity model, and how customers are sampled for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from crmlib.models import boost, boost_each, encode, linear
from crmlib.models.boost import Target

MAX_ROWS = 60_000
_BOOST_ROWS, _BOOST_CELLS = 15_000, 300_000
_EACH_ROWS, _OTHERS = 200_000, 8
HELD_OUT = 0.15
CHUNK = 16_384
"""Rows that are scored at once; what comes out does not depend on it."""


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
        trees, lines = np.empty((2, len(features), len(self.offsets)))
        for first in range(0, len(features), CHUNK):
            part = slice(first, first + CHUNK)
            trees[part], lines[part] = self.margins_of(self.encoding.tree_matrix(features.iloc[part]))
        return trees, lines

    def only(self, outcomes: Sequence[int]) -> Learner:
        """Return the part that knows some of the outcomes."""
        places = list(outcomes)
        booster = boost_each.joined(boost_each.trees(self.booster, places), self.encoding)
        return replace(
            self,
            booster=booster,
            coefficients=self.coefficients[:, places],
            offsets=self.offsets[places],
            rounds=self.rounds[places],
        )

    def margins_of(self, tree: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of a tree matrix: of each row, whatever rows are beside it and however many threads there are."""
        columns = self.encoding.linear_columns(tree)
        return boost.margins_of(self.booster, tree, len(self.offsets)), linear.exact_margins(self.coefficients, columns)


def base_log_odds(bought: np.ndarray) -> np.ndarray:
    """Return the log-odds of each outcome's share of buyers, drawn towards the overall share by one buyer's weight.

    >>> base_log_odds(np.array([[1, 0], [0, 0], [0, -1], [0, 0]], dtype=np.int8)).round(2)
    array([-1.5, -2.2])
    """
    return log_odds_of((bought == 1).sum(axis=0), (bought >= 0).sum(axis=0))


def log_odds_of(buyers: np.ndarray, able: np.ndarray) -> np.ndarray:
    """Return what ``base_log_odds`` does from how many bought and how many could have, by outcome."""
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
        held_out = np.random.default_rng(seed).random(len(bought)) < HELD_OUT
    inner, outer = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    coefficients, penalty = regression(design, target, held_out, refit=refit)
    judge = (tree[outer], target.take(outer))
    booster, rounds = _boost(tree[inner], target.take(inner), encoding, held_out=judge, **options)
    return Learner(encoding, booster, coefficients, target.start[0], rounds, penalty)


def fit_large(features: pd.DataFrame, bought: np.ndarray, *, seed: int, nthread: int | None) -> Learner:
    """Return the learner of more customers than ``MAX_ROWS``: the regression learns from a sample of that size, the trees
    of each outcome from its own buyers and eight times as many others, at most 200,000 rows.
    """
    rows, weights = sample(bought, MAX_ROWS, np.random.default_rng(seed))
    encoding = encode.fit(features.iloc[rows])
    start = base_log_odds(bought)
    held_out = np.random.default_rng(seed).random(len(bought)) < HELD_OUT
    design = encoding.linear_matrix(encoding.tree_matrix(features.iloc[rows]))
    target = Target(bought[rows], weights, start[None])
    coefficients, penalty = regression(design, target, held_out[rows], refit=True)
    tree, draws = encoding.tree_matrix(features), _draws(bought, held_out, seed)
    booster, rounds = boost_each.fit(tree, draws, encoding, start=start, seed=seed, nthread=nthread)
    return Learner(encoding, booster, coefficients, start, rounds, penalty)


def _draws(bought: np.ndarray, held_out: np.ndarray, seed: int) -> Iterator[boost_each.Draw]:
    """Yield what each outcome's trees are grown on."""
    for place in range(bought.shape[1]):
        own = bought[:, [place]]
        limit = min(_EACH_ROWS, max(_BOOST_ROWS, (1 + _OTHERS) * int((own == 1).sum())))
        rows, weights = sample(own, limit, np.random.default_rng([seed, place]))
        yield boost_each.Draw(rows, own[rows, 0], weights, held_out[rows])


def regression(design: np.ndarray, target: Target, held_out: np.ndarray, *, refit: bool) -> tuple[np.ndarray, float]:
    """Return coefficients and penalty, chosen on the rows held out; those are learnt from too where ``refit``."""
    inner, outer = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    judge = (design[outer], target.take(outer))
    coefficients, penalty = linear.fit(design[inner], target.take(inner), held_out=judge)
    if refit:
        coefficients, _ = linear.fit(design, target, penalty=penalty, start=coefficients)
    return coefficients, penalty


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
