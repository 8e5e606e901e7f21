"""What is usual for a customer and a product, where few orders lean on the product, the kind of customer and the customer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

LAYERS = ("product_id", "kind", "customer_id")
_LEAST_SPREAD = 0.02
_LEAST_FREEDOM = 10


@dataclass(frozen=True, eq=False)
class Prior:
    """What to expect of a pair before its own orders are looked at, on a logarithmic scale.

    Attributes: ``base`` of all, ``effects`` by the column of ``LAYERS`` and its value, ``spread`` of pairs around
    their expectation (standard deviation).
    """

    base: float
    effects: Mapping[str, pd.Series]
    spread: float

    def mean(self, pairs: pd.DataFrame) -> np.ndarray:
        """Return the expectation of each pair (product_id, kind, customer_id); a value never seen adds nothing."""
        out = np.full(len(pairs), self.base)
        for layer, effect in self.effects.items():
            out += pairs[layer].map(effect).fillna(0.0).to_numpy(float)
        return out


def prior(pairs: pd.DataFrame, mean: np.ndarray, variance: np.ndarray) -> Prior:
    """Return the prior that goes with the pairs' present estimates: one step of expectation and maximisation.

    In: ``pairs`` with the columns of ``LAYERS``; ``mean`` and ``variance`` of each pair's value on a logarithmic scale.
    Each layer's effect is the mean of what the layers before leave, shrunk by its own spread.
    """
    base = float(np.mean(mean))
    left = mean - base
    effects = {}
    for layer in LAYERS:
        effects[layer] = _shrunk(left, variance, pairs[layer])
        left = left - pairs[layer].map(effects[layer]).to_numpy(float)
    spread = float(np.sqrt(max(np.mean(left**2 + variance), _LEAST_SPREAD**2)))
    return Prior(base, effects, spread)


def _shrunk(values: np.ndarray, variance: np.ndarray, group: pd.Series) -> pd.Series:
    """Return the means of groups, drawn to zero by as much as their noise explains them.

    Where hardly any group has two members, a group's own mean cannot be told from its member's: then it adds nothing.
    """
    table = pd.DataFrame({"group": group.to_numpy(), "value": values}).groupby("group")["value"].agg(["mean", "size"])
    freedom = len(values) - len(table)
    if freedom < _LEAST_FREEDOM:
        return table["mean"] * 0.0
    within = float(np.sum((values - table["mean"].reindex(group).to_numpy()) ** 2)) / freedom + float(np.mean(variance))
    noise = within / table["size"]
    weight = table["size"] / table["size"].sum()
    between = max(float((weight * (table["mean"] ** 2 - noise)).sum()), 0.0)
    return table["mean"] * between / (between + noise)


@dataclass(frozen=True, eq=False)
class Quantities:
    """Usual quantities: ``log`` of each pair's usual order (its geometric mean), and ``mean_over_usual`` of all orders."""

    log: np.ndarray
    prior: Prior
    mean_over_usual: float


def quantities(pairs: pd.DataFrame, pair: np.ndarray, quantity: np.ndarray) -> Quantities:
    """Return what each pair usually orders, pieces.

    In: ``pairs`` with the columns of ``LAYERS``; ``pair`` (row of ``pairs``) and ``quantity`` of every order.
    """
    log = np.log(quantity)
    number = np.bincount(pair, minlength=len(pairs))
    own = np.bincount(pair, log, len(pairs)) / number
    again = number[pair] > 1
    freedom = max(int(again.sum()) - int((number > 1).sum()), 1)
    noise = float(np.sum((log - own[pair])[again] ** 2)) / freedom
    mean, variance = own, np.zeros(len(pairs))
    found = prior(pairs, mean, variance)
    for _step in range(5):
        share = found.spread**2 / (found.spread**2 + noise / number)
        mean = found.mean(pairs) * (1 - share) + own * share
        variance = noise / number * share
        found = prior(pairs, mean, variance)
    ratio = float(np.sum(quantity) / np.sum(np.exp(mean[pair])))
    return Quantities(mean, found, ratio)
