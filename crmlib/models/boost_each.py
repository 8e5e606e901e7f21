"""Boosters of one outcome each, every one grown on rows of its own, joined into one booster of all outcomes.

For many customers. A product that one in fifty buys says little more with a million customers than with all its buyers
and eight times as many others, weighted (case-control sampling; King & Zeng 2001, pages 141-145); but those rows differ
from product to product, and a tree visits every row of its matrix. So each product gets a matrix of its own, with bins
shared by all: counting them again for each would take as long as growing the trees.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb

from crmlib.models import boost
from crmlib.models.encode import Encoding

_BINS = 64
PACE: dict[str, object] = {
    "tree_method": "hist",
    "objective": "binary:logistic",
    "base_score": 0.5,  # log-odds 0: the base rates come as margins
    "max_bin": _BINS,
    "max_depth": 5,
    "learning_rate": 0.1,
    "min_child_weight": 3.0,
    "reg_lambda": 3.0,
    "colsample_bytree": 0.8,
}
_ROUNDS = 100
_PATIENCE = 10  # rounds
_BINNED_ROWS = 60_000


@dataclass(frozen=True)
class Draw:
    """What one outcome is learnt from: ``rows`` of the matrix with ``bought`` (0, 1) and ``weights`` of each; those
    true in ``held_out`` only tell when to stop.
    """

    rows: np.ndarray
    bought: np.ndarray
    weights: np.ndarray
    held_out: np.ndarray


def fit(
    tree: np.ndarray,
    draws: Iterable[Draw],
    encoding: Encoding,
    *,
    start: np.ndarray,
    seed: int = 0,
    nthread: int | None = None,
) -> tuple[xgb.Booster, np.ndarray]:
    """Return the booster of all outcomes and the rounds of each; ``start`` are base log-odds, one per outcome.

    An outcome's trees are those up to the round with the lowest loss on its held-out rows; without buyers it has none.
    """
    step = max(1, len(tree) // _BINNED_ROWS)
    bins = _binned(tree[::step], encoding, nthread=nthread)
    parts, rounds = [], []
    for draw, offset in zip(draws, start, strict=True):
        grown = _grow(tree, draw, encoding, offset=float(offset), bins=bins, seed=seed, nthread=nthread)
        parts.append([] if grown is None else trees(grown)[0])
        rounds.append(len(parts[-1]))
    return joined(parts, encoding), np.array(rounds)


def _grow(
    tree: np.ndarray,
    draw: Draw,
    encoding: Encoding,
    *,
    offset: float,
    bins: xgb.DMatrix,
    seed: int,
    nthread: int | None,
) -> xgb.Booster | None:
    """Return the booster of one outcome up to its best round, None where nobody bought."""
    if not (draw.bought[~draw.held_out] == 1).any():
        return None
    data = _binned_part(tree, draw, ~draw.held_out, encoding, offset=offset, ref=bins, nthread=nthread)
    judge = _binned_part(tree, draw, draw.held_out, encoding, offset=offset, ref=data, nthread=nthread)
    booster = xgb.train(
        {**PACE, "seed": seed, "nthread": nthread or 0},
        data,
        _ROUNDS,
        evals=[(judge, "held_out")],
        early_stopping_rounds=_PATIENCE,
        verbose_eval=False,
    )
    return booster[: booster.best_iteration + 1]


def _binned_part(
    tree: np.ndarray, draw: Draw, part: np.ndarray, encoding: Encoding, *, offset: float, **more: Any
) -> xgb.QuantileDMatrix:
    return _binned(
        tree[draw.rows[part]],
        encoding,
        label=draw.bought[part],
        weight=draw.weights[part],
        base_margin=np.full(int(part.sum()), offset, dtype=np.float32),
        **more,
    )


def _binned(rows: np.ndarray, encoding: Encoding, **more: Any) -> xgb.QuantileDMatrix:
    return xgb.QuantileDMatrix(rows, feature_types=encoding.tree_types, enable_categorical=True, max_bin=_BINS, **more)


def trees(booster: xgb.Booster, outcomes: Iterable[int] = (0,)) -> list[list[dict[str, Any]]]:
    """Return the trees of each of some outcomes in XGBoost's JSON."""
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    owned = list(zip(model["trees"], model["tree_info"], strict=True))
    return [[tree for tree, owner in owned if owner == outcome] for outcome in outcomes]


def joined(parts: list[list[dict[str, Any]]], encoding: Encoding) -> xgb.Booster:
    """Return one booster whose outcomes have the trees given (of each outcome, in XGBoost's JSON); it predicts log-odds."""
    content = json.loads(_empty(len(parts), encoding).save_raw("json"))
    model = content["learner"]["gradient_booster"]["model"]
    longest = max((len(part) for part in parts), default=0)
    order = [(turn, place) for turn in range(longest) for place, part in enumerate(parts) if turn < len(part)]
    model["trees"] = [{**parts[place][turn], "id": number} for number, (turn, place) in enumerate(order)]
    model["tree_info"] = [place for _, place in order]
    model["iteration_indptr"] = np.searchsorted([turn for turn, _ in order], np.arange(longest + 1)).tolist()
    model["gbtree_model_param"]["num_trees"] = str(len(order))
    booster = xgb.Booster()
    booster.load_model(bytearray(json.dumps(content).encode()))
    return booster


def _empty(outcomes: int, encoding: Encoding) -> xgb.Booster:
    """Return a booster of ``boost`` without a tree, which says how its outcomes are put together."""
    two = np.zeros((2, len(encoding.tree_types)), dtype=np.float32)
    data = xgb.QuantileDMatrix(
        two, label=np.zeros((2, outcomes)), feature_types=encoding.tree_types, enable_categorical=True
    )
    return xgb.train(boost.PARAMETERS, data, num_boost_round=0)
