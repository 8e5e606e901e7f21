"""Who leaves sooner: XGBoost with the partial likelihood of Cox, for ordering customers by risk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xgboost as xgb

from crmlib.errors import DataError, UsageError
from crmlib.models import encode
from crmlib.models.churn.ranker import FEWEST
from crmlib.models.encode import Encoding
from crmlib.models.survival import observed
from crmlib.models.survival.observed import Values

_PARAMETERS: dict[str, object] = {
    "objective": "survival:cox",
    "tree_method": "hist",
    "learning_rate": 0.05,
    "max_depth": 3,
    "min_child_weight": 3.0,
    "reg_lambda": 3.0,
    "subsample": 0.7,
    "colsample_bytree": 0.8,
    "max_bin": 64,
}
_ROUNDS, _PATIENCE, _HELD_OUT = 600, 20, 0.2


class SurvivalRanker:
    """Boosted trees of the log hazard relative to the average customer (partial likelihood, Cox 1972; ties by Breslow).

    For ordering, not for probabilities: it has no baseline hazard. ``seed`` fixes every random choice; ``nthread`` limits
    the threads (default: all). After ``fit``: ``rounds_``, the number of trees, chosen on a fifth of the customers.
    """

    def __init__(self, *, seed: int = 7, nthread: int | None = None) -> None:
        self.seed, self.nthread = seed, nthread
        self._booster: xgb.Booster | None = None
        self._encoding: Encoding | None = None

    def fit(self, features: pd.DataFrame, durations: Values, ended: Values) -> SurvivalRanker:
        """Fit on a table of features (customer_id and as_of are ignored), durations and 1 for who left.

        Raises DataError for durations below zero and where fewer than 10 left.
        """
        given = observed.from_flags(durations, ended)
        found = int(given.left.sum())
        if len(given.time) != len(features):
            raise DataError(
                f"there are {len(features)} rows of features but {len(given.time)} durations; give one for each row"
            )
        if found < FEWEST:
            raise DataError(f"not enough data: {found} customers left (found {found}, need {FEWEST}); observe longer")
        encoding = encode.fit(features)
        tree = encoding.tree_matrix(features)
        # XGBoost wants positive times, negative for who is still here; only their order matters.
        rank = 1.0 + np.unique(given.time, return_inverse=True)[1]
        label = np.where(given.left, rank, -rank)
        rng = np.random.default_rng(self.seed)
        held = np.zeros(len(label), dtype=bool)
        for kind in (given.left, ~given.left):
            rows = np.flatnonzero(kind)
            held[rng.choice(rows, int(np.ceil(_HELD_OUT * len(rows))), replace=False)] = True
        watched = self._train(tree[~held], label[~held], encoding, judge=(tree[held], label[held]))
        self.rounds_ = watched.best_iteration + 1
        self._booster, self._encoding = self._train(tree, label, encoding, rounds=self.rounds_), encoding
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the log of the hazard relative to the average customer, one a row; raises UsageError before ``fit``."""
        if self._booster is None or self._encoding is None:
            raise UsageError("the ranker is not fitted yet; call fit first")
        data = _matrix(self._encoding.tree_matrix(features), self._encoding, nthread=self.nthread)
        return self._booster.predict(data, output_margin=True).astype(np.float64)

    def _train(
        self,
        tree: np.ndarray,
        label: np.ndarray,
        encoding: Encoding,
        *,
        judge: tuple[np.ndarray, np.ndarray] | None = None,
        rounds: int = _ROUNDS,
    ) -> xgb.Booster:
        # The partial likelihood is computed in order of time; sorted rows make that quick.
        order = np.argsort(np.abs(label), kind="stable")
        data = _matrix(tree[order], encoding, label=label[order], nthread=self.nthread)
        options: dict[str, object] = {}
        if judge is not None:
            order = np.argsort(np.abs(judge[1]), kind="stable")
            watched = _matrix(judge[0][order], encoding, label=judge[1][order], nthread=self.nthread)
            options = {"evals": [(watched, "held_out")], "early_stopping_rounds": _PATIENCE}
        parameters = {**_PARAMETERS, "seed": self.seed, "nthread": self.nthread or 0}
        return xgb.train(parameters, data, rounds, verbose_eval=False, **options)


def _matrix(
    tree: np.ndarray, encoding: Encoding, *, label: np.ndarray | None = None, nthread: int | None = None
) -> xgb.DMatrix:
    return xgb.DMatrix(
        tree, label=label, feature_types=encoding.tree_types, enable_categorical=True, nthread=nthread or -1
    )
