"""One XGBoost booster for many outcomes of which each customer has only some.

Trees are grown per outcome (``one_output_per_tree``). Where a customer could not buy a product, the pair has neither
gradient nor curvature, so it moves no split and no leaf of that product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost as xgb

from crmlib.models.encode import Encoding

PARAMETERS: dict[str, object] = {
    "tree_method": "hist",
    "objective": "reg:squarederror",  # replaced by the masked logistic one below; predictions are plain log-odds
    "multi_strategy": "one_output_per_tree",
    "base_score": 0.0,
    "learning_rate": 0.1,
    "max_depth": 4,
    "max_bin": 64,
    "min_child_weight": 3.0,
    "reg_lambda": 3.0,
    "subsample": 0.7,
    "colsample_bytree": 0.8,
    "disable_default_eval_metric": 1,
}
MAX_ROUNDS = 120
_PATIENCE = 10


@dataclass(frozen=True)
class Target:
    """Outcomes to learn: ``bought`` (rows x outcomes; -1 has none), row ``weights``, and the log-odds to start from.

    ``start`` has one row for all (the base rates) or one for each.
    """

    bought: np.ndarray
    weights: np.ndarray
    start: np.ndarray

    def take(self, rows: np.ndarray) -> Target:
        """Return the outcomes of some rows."""
        start = self.start if len(self.start) == 1 else self.start[rows]
        return Target(self.bought[rows], self.weights[rows], start)

    def gradients(self, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return first and second derivative of the logistic loss by the margins, 0 where there is no outcome."""
        chance = 1 / (1 + np.exp(-(margins.reshape(self.bought.shape) + self.start)))
        weight = np.where(self.bought >= 0, self.weights[:, None], 0)
        return (weight * (chance - self.bought)).astype(np.float32), (weight * chance * (1 - chance)).astype(np.float32)

    def losses(self, margins: np.ndarray) -> np.ndarray:
        """Return the logistic loss of each outcome, summed over the rows that have it."""
        logit = margins.reshape(self.bought.shape) + self.start
        weight = np.where(self.bought >= 0, self.weights[:, None], 0)
        return np.sum(weight * (np.logaddexp(0, logit) - (self.bought == 1) * logit), axis=0)


def matrix(tree: np.ndarray, encoding: Encoding, *, nthread: int | None = None) -> xgb.DMatrix:
    """Return XGBoost's form of a tree matrix, for prediction."""
    return xgb.DMatrix(tree, feature_types=encoding.tree_types, enable_categorical=True, nthread=nthread)


def fit(
    tree: np.ndarray,
    target: Target,
    encoding: Encoding,
    *,
    held_out: tuple[np.ndarray, Target] | None = None,
    rounds: np.ndarray | None = None,
    seed: int = 0,
    nthread: int | None = None,
) -> tuple[xgb.Booster, np.ndarray]:
    """Return the booster and the rounds of each outcome: those given, else chosen on ``held_out`` (matrix, target).

    An outcome whose loss on the held-out rows has not improved for 10 rounds grows no more trees.
    """
    watch = _Watch(target, held_out[1] if held_out else None, rounds)
    data = xgb.QuantileDMatrix(
        tree,
        label=target.bought,
        feature_types=encoding.tree_types,
        enable_categorical=True,
        max_bin=int(str(PARAMETERS["max_bin"])),
        nthread=nthread,
    )
    evals = []
    if held_out:
        other = xgb.QuantileDMatrix(
            held_out[0],
            label=held_out[1].bought,
            feature_types=encoding.tree_types,
            enable_categorical=True,
            max_bin=int(str(PARAMETERS["max_bin"])),
            ref=data,
            nthread=nthread,
        )
        evals = [(other, "held_out")]
    booster = xgb.train(
        {**PARAMETERS, "seed": seed, "nthread": nthread or 0},
        data,
        MAX_ROUNDS if rounds is None else int(rounds.max()),
        obj=watch.objective,
        evals=evals,
        custom_metric=watch.metric if held_out else None,
        callbacks=[watch],
        verbose_eval=False,
    )
    return booster, watch.best + 1 if rounds is None else rounds


class _Watch(xgb.callback.TrainingCallback):
    """The masked objective, and the decision per outcome when to stop."""

    def __init__(self, target: Target, held_out: Target | None, rounds: np.ndarray | None) -> None:
        super().__init__()
        outcomes = target.bought.shape[1]
        self.target, self.held_out, self.rounds = target, held_out, rounds
        self.best = np.full(outcomes, -1)
        self.lowest = held_out.losses(np.zeros(held_out.bought.shape)) if held_out else np.zeros(outcomes)
        self.growing = np.ones(outcomes, dtype=bool)
        self.round = 0

    def objective(self, margins: np.ndarray, _data: xgb.DMatrix) -> tuple[np.ndarray, np.ndarray]:
        gradient, curvature = self.target.gradients(margins)
        return gradient * self.growing, curvature * self.growing

    def metric(self, margins: np.ndarray, _data: xgb.DMatrix) -> tuple[str, float]:
        assert self.held_out is not None
        losses = self.held_out.losses(margins)
        better = losses < self.lowest
        self.lowest = np.where(better, losses, self.lowest)
        self.best = np.where(better, self.round, self.best)
        return "loss", float(losses.sum())

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: object) -> bool:
        self.round = epoch + 1
        if self.rounds is not None:
            self.growing = self.rounds > self.round
        else:
            self.growing &= self.best >= epoch - _PATIENCE
        return not self.growing.any()


def margins(booster: xgb.Booster, data: xgb.DMatrix, outcomes: int) -> np.ndarray:
    """Return the log-odds beyond the offsets (rows x outcomes)."""
    return booster.predict(data, output_margin=True).reshape(-1, outcomes)
