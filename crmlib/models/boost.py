"""One XGBoost booster for many outcomes of which each customer has only some.

Trees are grown per outcome (``one_output_per_tree``). Where a customer could not buy a product, the pair has neither
gradient nor curvature, so it moves no split and no leaf of that product.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from scipy.special import expit

from crmlib.models.encode import Encoding

_BINS = 64
PARAMETERS: dict[str, object] = {
    "tree_method": "hist",
    "objective": "reg:squarederror",  # replaced by the masked logistic one below; predictions are plain log-odds
    "multi_strategy": "one_output_per_tree",
    "base_score": 0.0,
    "max_bin": _BINS,
    "min_child_weight": 3.0,
    "reg_lambda": 3.0,
    "subsample": 0.7,
    "colsample_bytree": 0.8,
    "disable_default_eval_metric": 1,
}
# Of one outcome a round costs little, so there are more of them, each learning less.
_ONE: dict[str, object] = {"learning_rate": 0.05, "max_depth": 4}
_MANY: dict[str, object] = {"learning_rate": 0.15, "max_depth": 3}
_ROUNDS_OF_ONE, _ROUNDS_OF_MANY = 360, 120
PATIENCE = 10  # rounds


@dataclass(frozen=True)
class Target:
    """Outcomes to learn: ``bought`` (rows x outcomes; -1 has none), row ``weights``, and the log-odds ``start`` (base
    rates, one per outcome) that margins are added to.
    """

    bought: np.ndarray
    weights: np.ndarray
    start: np.ndarray

    def take(self, rows: np.ndarray) -> Target:
        """Return the outcomes of some rows."""
        return Target(self.bought[rows], self.weights[rows], self.start)

    def slope_and_curvature(self, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return first and second derivative of the logistic loss by the margins, 0 where there is no outcome."""
        chance = expit(self._logits(margins))
        weight = self.weights.astype(np.float32)[:, None] * (self.bought >= 0)
        return weight * (chance - self.bought), weight * chance * (1 - chance)

    def losses(self, margins: np.ndarray) -> np.ndarray:
        """Return the logistic loss of each outcome, summed over the rows that have it."""
        logit = self._logits(margins)
        each = np.logaddexp(np.float32(0), logit) - (self.bought == 1) * logit
        return self.weights @ (each * (self.bought >= 0))

    def _logits(self, margins: np.ndarray) -> np.ndarray:
        return margins.reshape(self.bought.shape).astype(np.float32, copy=False) + self.start.astype(np.float32)


def settings(outcomes: int) -> tuple[dict[str, object], int]:
    """Return XGBoost's parameters for so many outcomes, and the rounds it takes at most."""
    pace, most = (_MANY, _ROUNDS_OF_MANY) if outcomes > 1 else (_ONE, _ROUNDS_OF_ONE)
    return {**PARAMETERS, **pace}, most


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
    parameters, most = settings(target.bought.shape[1])
    watch = _Watch(target, held_out[1] if held_out else None, rounds)
    data = _binned(tree, target, encoding, nthread)
    evals = [(_binned(held_out[0], held_out[1], encoding, nthread, ref=data), "held_out")] if held_out else []
    booster = xgb.train(
        {**parameters, "seed": seed, "nthread": nthread or 0},
        data,
        most if rounds is None else int(rounds.max()),
        obj=watch.objective,
        evals=evals,
        custom_metric=watch.metric if held_out else None,
        callbacks=[watch],
        verbose_eval=False,
    )
    return booster, watch.best + 1 if rounds is None else rounds


def _binned(
    tree: np.ndarray, target: Target, encoding: Encoding, nthread: int | None, ref: xgb.DMatrix | None = None
) -> xgb.QuantileDMatrix:
    return xgb.QuantileDMatrix(
        tree,
        label=target.bought,
        feature_types=encoding.tree_types,
        enable_categorical=True,
        max_bin=_BINS,
        ref=ref,
        nthread=nthread,
    )


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
        gradient, curvature = self.target.slope_and_curvature(margins)
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
            self.growing &= self.best >= epoch - PATIENCE
        return not self.growing.any()


def margins_of(booster: xgb.Booster, tree: np.ndarray, outcomes: int) -> np.ndarray:
    """Return the log-odds beyond the offsets (rows x outcomes) of a tree matrix.

    XGBoost's own form of the matrix is not built for it: that is a third of the time of shallow trees.
    """
    return booster.inplace_predict(tree, predict_type="margin", validate_features=False).reshape(-1, outcomes)


def apart(booster: xgb.Booster, outcomes: Iterable[int]) -> dict[int, xgb.Booster]:
    """Return boosters of one outcome's trees each, for explanations: Shapley values cost by the tree."""
    content = json.loads(booster.save_raw("json"))
    learner = content["learner"]
    model = learner["gradient_booster"]["model"]
    every, owners = model["trees"], model["tree_info"]
    learner["learner_model_param"] |= {"num_target": "1", "base_score": "[0E0]"}
    found = {}
    for outcome in outcomes:
        trees = [tree for tree, owner in zip(every, owners, strict=True) if owner == outcome]
        model["trees"] = [{**tree, "id": number} for number, tree in enumerate(trees)]
        model["tree_info"] = [0] * len(trees)
        model["iteration_indptr"] = list(range(len(trees) + 1))
        model["gbtree_model_param"]["num_trees"] = str(len(trees))
        found[outcome] = xgb.Booster()
        found[outcome].load_model(bytearray(json.dumps(content).encode()))
    return found
