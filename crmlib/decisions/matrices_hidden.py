"""Which cells of a product matrix are hidden: small counts, what is left of a row beside them, and what tells them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.decisions import small_cells
from crmlib.decisions.small_cells import SMALLEST


def groups(customers: np.ndarray, *, apart: bool) -> np.ndarray:
    """Return which groups of customers are hidden (bool); ``apart``: nobody is in two, and all of them are known."""
    if not apart:
        return _small(customers)
    hidden: np.ndarray = small_cells.hide_list(pd.Series(customers), total="known").to_numpy()
    return hidden


def parts(whole: np.ndarray, part: np.ndarray, *, hidden: np.ndarray, apart: bool) -> np.ndarray:
    """Return which cells (bool) of a part of groups are hidden: it or what is left of the group is small, or tells one.

    In: ``whole`` and ``part`` counts of persons (groups × products), ``hidden`` which of ``whole`` are hidden already.
    Where the groups are ``apart`` each column's sum is known, by other groups of the same persons.
    """
    told = hidden.copy()
    if not apart:
        return told | _small(part) | _small(whole - part)
    for column in range(part.shape[1]):
        seen = ~hidden[:, column]
        pairs = np.column_stack([part[:, column], (whole - part)[:, column]])
        # The hidden groups together are what the sums leave: as good as shown.
        table = np.vstack([pairs[seen], pairs[~seen].sum(axis=0)])
        found = small_cells.hide(pd.DataFrame(table), row_totals="known", column_totals="known", total="known")
        told[seen, column] = found.cells[0].to_numpy()[:-1]
    return told


def both_ways(hidden: np.ndarray, rows: list[str], products: list[str]) -> np.ndarray:
    """Return the cells hidden, where rows are holders of products: who holds A and B is in the row of A and that of B."""
    if not set(rows) <= set(products):
        return hidden
    places = [products.index(name) for name in rows]
    out = hidden.copy()
    out[:, places] |= hidden[:, places].T
    return out


def crossed(table: pd.DataFrame) -> np.ndarray:
    """Return which pairs of ``matrices.cross_product`` are hidden (bool).

    In: customers, takers, base_customers, base_takers. Small are: who could take the other and holds the one (nobody
    counts as small here, there is nothing to show), who does not hold it, and the takers and others of both.
    """
    few: np.ndarray = (table["customers"] < SMALLEST).to_numpy()
    without = {name: table[f"base_{name}"] - table[name] for name in ("customers", "takers")}
    for whole, part in ((table["customers"], table["takers"]), (without["customers"], without["takers"])):
        few = few | _small(whole.to_numpy()) | _small(part.to_numpy()) | _small((whole - part).to_numpy())
    return few


def _small(counts: np.ndarray) -> np.ndarray:
    return np.asarray((counts > 0) & (counts < SMALLEST))
