"""Which arm, or nothing, for each customer under a budget: by incremental profit."""

from __future__ import annotations

import numpy as np

from crmlib.errors import UsageError


def assign(profit: np.ndarray, spent: np.ndarray, *, budget: float = np.inf, seed: int = 0) -> np.ndarray:
    """Return the arm of each customer (1 the first column, 0 nothing) that earns most within the budget.

    ``profit`` (customers × arms) is incremental and after costs; ``spent`` what each takes from the budget: money, or 1
    where the budget is a number of contacts. Each customer gets the arm of greatest ``profit - price × spent``, if it is above
    zero, at the lowest price that keeps the budget (Dantzig 1957); at that price customers come in order of profit per
    unit spent, drawn by ``seed`` where they are alike. What is left unspent is less than one customer takes.

    Raises UsageError for spending below zero or a negative budget.

    >>> assign(np.array([[3.0, 5.0], [2.0, 2.5]]), np.array([[1.0, 2.0], [1.0, 2.0]]), budget=2)
    array([1, 1])
    """
    if np.isnan(budget) or budget < 0:
        raise UsageError(f"budget is {budget}; give zero or more")
    if profit.shape != spent.shape or (spent < 0).any():
        raise UsageError("spent must have the shape of profit (customers × arms) and hold nothing below zero")
    best = _at(profit, spent, 0.0)
    if _total(spent, best) <= budget:
        return best
    positive = spent > 0
    high = float(np.max(profit[positive] / spent[positive])) * (1 + 1e-9) + 1e-9
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(spent, _at(profit, spent, middle)) > budget else (low, middle)
    chosen, wished = _at(profit, spent, high), _at(profit, spent, low)
    return _filled(profit, spent, chosen, wished, budget=budget, seed=seed)


def _at(profit: np.ndarray, spent: np.ndarray, price: float) -> np.ndarray:
    """Return each customer's best arm at a price of the budget; of equal ones the cheaper."""
    worth = profit - price * spent
    order = np.argsort(spent, axis=1, kind="stable")
    place = np.take_along_axis(worth, order, axis=1).argmax(axis=1)
    arm = np.take_along_axis(order, place[:, None], axis=1)[:, 0]
    return np.where(worth[np.arange(len(worth)), arm] > 0, arm + 1, 0)


def _total(spent: np.ndarray, chosen: np.ndarray) -> float:
    return float(_of(spent, chosen).sum())


def _of(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return each customer's value of the arm chosen; 0 for nothing."""
    return np.where(chosen > 0, values[np.arange(len(values)), np.maximum(chosen - 1, 0)], 0.0)


def _filled(
    profit: np.ndarray, spent: np.ndarray, chosen: np.ndarray, wished: np.ndarray, *, budget: float, seed: int
) -> np.ndarray:
    """Return ``chosen`` with as many changes to ``wished`` as the budget pays, the best first."""
    rows = np.flatnonzero(wished != chosen)
    more = (_of(spent, wished) - _of(spent, chosen))[rows]
    gain = (_of(profit, wished) - _of(profit, chosen))[rows]
    draw = np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((draw, -gain / np.maximum(more, 1e-300)))
    paid = np.cumsum(more[order]) <= budget - _total(spent, chosen)
    out = chosen.copy()
    out[rows[order[paid]]] = wished[rows[order[paid]]]
    return out
