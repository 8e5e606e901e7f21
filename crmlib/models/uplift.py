"""What a contact changes for whom: uplift of several arms at once, learnt from a randomised trial.

Doubly robust learner (Kennedy 2023, Electronic Journal of Statistics 17, 3008-3049): expected outcomes of each arm are
fitted on other folds (shallow boosted trees), then each customer's score of an arm less that of nothing
(``policy_value.scores``, by the known chances) is the outcome of a second regression on the features. Three
candidates are judged on folds they have not seen: the average effect for all, a ridge regression, shallow boosted trees.
What the better of the latter two adds is shrunk towards the average effect by ``max(0, 1 - 1 / F)``, F being the squared
t of its slope out of fold (James & Stein 1961): where no difference between customers is found, all get the average.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from crmlib.errors import DataError, UsageError
from crmlib.models import encode, policy_value
from crmlib.models.policy_value import Trial

NAME = "uplift"
MINIMUM = 100
"""Customers each arm must have."""

_Z = 1.959963984540054  # normal quantile of 0.975
_PENALTIES = (10.0, 100.0, 1_000.0, 10_000.0)
_TREES: dict[str, Any] = {
    "tree_method": "hist",
    "objective": "reg:squarederror",
    "learning_rate": 0.05,
    "max_depth": 2,
    "min_child_weight": 50,
    "reg_lambda": 50.0,
    "subsample": 0.7,
    "max_bin": 64,
}
_ROUNDS = 60


@dataclass(frozen=True)
class Heterogeneity:
    """How the effect of an arm differs between customers.

    Attributes: ``average`` effect and its standard ``error``; ``kind`` of the regression ("none", "ridge", "trees");
    ``kept`` the factor its differences are multiplied by, with ``kept_error``; ``t`` of the slope out of fold.
    """

    average: float
    error: float
    kind: str
    kept: float
    kept_error: float
    t: float


@dataclass(frozen=True)
class _Ridge:
    coefficients: np.ndarray

    def predict(self, tree: np.ndarray, line: np.ndarray) -> np.ndarray:
        return line @ self.coefficients[:-1] + self.coefficients[-1]


@dataclass(frozen=True)
class _Trees:
    booster: xgb.Booster
    types: list[str]

    def predict(self, tree: np.ndarray, line: np.ndarray) -> np.ndarray:
        data = xgb.DMatrix(tree, feature_types=self.types, enable_categorical=True)
        return self.booster.predict(data).astype(float)


@dataclass
class UpliftModel:
    """Uplift of the arms of a randomised trial; see the module. Attributes: ``seed``, ``folds``."""

    seed: int = 7
    folds: int = 5
    names_: tuple[str, ...] = field(default=(), init=False)
    found_: dict[str, Heterogeneity] = field(default_factory=dict, init=False)

    def fit(self, features: pd.DataFrame, given: Trial) -> UpliftModel:
        """Learn from a trial; ``features`` has one row per customer of it, in the same order.

        Raises DataError for arms of fewer than 100 customers or tables of different length.
        """
        if len(features) != len(given.arm):
            raise DataError(f"there are {len(features)} rows of features and {len(given.arm)} customers of the trial")
        sizes = np.bincount(given.arm, minlength=len(given.names))
        if sizes.min() < MINIMUM:
            raise DataError(
                f"not enough data for uplift: {given.names[int(sizes.argmin())]} has {sizes.min()} customers, "
                f"each arm needs {MINIMUM}"
            )
        self.encoding_ = encode.fit(features)
        tree = self.encoding_.tree_matrix(features)
        line = self.encoding_.linear_matrix(tree).astype(float)
        fold = np.random.default_rng(self.seed).permutation(np.arange(len(tree)) % self.folds)
        expected = self._cross_fitted(tree, given, fold)
        self.outcomes_ = [self._trees(tree, given.outcome, given.arm == arm) for arm in range(len(given.names))]
        scores = policy_value.scores(given, expected)
        self.names_ = given.names
        self.differences_: dict[str, _Ridge | _Trees | None] = {}
        self.centre_: dict[str, float] = {}
        self.found_ = {}
        for place, name in enumerate(given.names[1:], start=1):
            self._differences(name, scores[:, place] - scores[:, 0], tree, line, fold)
        return self

    def expected(self, features: pd.DataFrame) -> np.ndarray:
        """Return the expected outcome of customers (rows) by arm (columns), nothing first."""
        tree = self.encoding_.tree_matrix(features)
        return np.stack([model.predict(tree, tree) for model in self.outcomes_], axis=1)

    def effects(self, features: pd.DataFrame) -> np.ndarray:
        """Return the uplift of customers (rows) by arm (columns), without nothing."""
        tree = self.encoding_.tree_matrix(features)
        line = self.encoding_.linear_matrix(tree).astype(float)
        return np.stack([self._effect(name, tree, line)[0] for name in self.names_[1:]], axis=1)

    def score(self, features: pd.DataFrame) -> pd.DataFrame:
        """Return the uplift by customer and arm, with a 95% interval.

        Out: customer_id and as_of where the features have them, model, arm, score (expected outcome added), low, high.
        The interval covers the errors of the average effect and of how far differences are kept, not of their shape.
        """
        if not self.names_:
            raise UsageError("the uplift model is not fitted; call fit first")
        tree = self.encoding_.tree_matrix(features)
        line = self.encoding_.linear_matrix(tree).astype(float)
        keys = features[[name for name in encode.KEYS if name in features]]
        parts = []
        for name in self.names_[1:]:
            value, error = self._effect(name, tree, line)
            columns: dict[str, Any] = {
                "model": NAME,
                "arm": name,
                "score": value,
                "low": value - _Z * error,
                "high": value + _Z * error,
            }
            parts.append(keys.assign(**columns))
        return pd.concat(parts, ignore_index=True)

    def _effect(self, name: str, tree: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, model = self.found_[name], self.differences_[name]
        if model is None:
            return np.full(len(tree), found.average), np.full(len(tree), found.error)
        away = model.predict(tree, line) - self.centre_[name]
        return found.average + found.kept * away, np.sqrt(found.error**2 + (away * found.kept_error) ** 2)

    def _cross_fitted(self, tree: np.ndarray, given: Trial, fold: np.ndarray) -> np.ndarray:
        out = np.empty(given.chances.shape)
        for number in range(self.folds):
            own = fold == number
            for arm in range(len(given.names)):
                model = self._trees(tree, given.outcome, ~own & (given.arm == arm))
                out[own, arm] = model.predict(tree[own], tree[own])
        return out

    def _trees(self, tree: np.ndarray, target: np.ndarray, rows: np.ndarray) -> _Trees:
        types = self.encoding_.tree_types
        options = {"feature_types": types, "enable_categorical": True, "max_bin": 64}
        data = xgb.QuantileDMatrix(tree[rows], label=target[rows], **options)
        start = float(target[rows].mean())
        return _Trees(xgb.train({**_TREES, "base_score": start, "seed": self.seed}, data, _ROUNDS), types)

    def _differences(self, name: str, effect: np.ndarray, tree: np.ndarray, line: np.ndarray, fold: np.ndarray) -> None:
        """Choose and fit what says how the effect of an arm differs between customers."""
        average, error = float(effect.mean()), float(effect.std(ddof=1) / np.sqrt(len(effect)))
        unseen: dict[str, np.ndarray] = {}
        penalties = {f"ridge {penalty:g}": penalty for penalty in _PENALTIES}
        for kind in (*penalties, "trees"):
            unseen[kind] = np.empty(len(effect))
            for number in range(self.folds):
                own = fold == number
                model = self._candidate(kind, effect, tree, line, ~own)
                unseen[kind][own] = model.predict(tree[own], line[own])
        best = min(unseen, key=lambda kind: float(np.mean((effect - unseen[kind]) ** 2)))
        slope, spread = _slope(effect, unseen[best])
        t = slope / spread if spread > 0 else 0.0
        kept = max(0.0, slope) * max(0.0, 1 - 1 / t**2) if t > 0 else 0.0
        self.differences_[name], self.centre_[name] = None, 0.0
        if kept > 0:
            model = self._candidate(best, effect, tree, line, np.ones(len(effect), dtype=bool))
            self.differences_[name], self.centre_[name] = model, float(model.predict(tree, line).mean())
        kind = best.split()[0] if kept > 0 else "none"
        self.found_[name] = Heterogeneity(average, error, kind, kept, spread if kept > 0 else 0.0, float(t))

    def _candidate(
        self, kind: str, effect: np.ndarray, tree: np.ndarray, line: np.ndarray, rows: np.ndarray
    ) -> _Ridge | _Trees:
        if kind == "trees":
            return self._trees(tree, effect, rows)
        x = np.column_stack([line[rows], np.ones(rows.sum())])
        penalty = np.full(x.shape[1], float(kind.split()[1]))
        penalty[-1] = 0.0
        found = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ effect[rows])
        return _Ridge(found)


def _slope(outcome: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Return the slope of the outcome on a prediction, with its robust standard error."""
    x = predicted - predicted.mean()
    square = float(x @ x)
    if square <= 1e-12 * len(x) * max(float(np.var(outcome)), 1e-300):
        return 0.0, 0.0
    slope = float(x @ outcome) / square
    left = outcome - outcome.mean() - slope * x
    return slope, float(np.sqrt(np.sum((x * left) ** 2)) / square)
