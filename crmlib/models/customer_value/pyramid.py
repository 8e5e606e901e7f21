"""The value pyramid: which share of the customers earns which share of the value."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError

TIERS = (0.01, 0.05, 0.20, 0.50)


def tiers(values: pd.Series, *, shares: Sequence[float] = TIERS) -> pd.DataFrame:
    """Return the tiers of customers by value, the most valuable on top.

    In: ``values`` a number a customer (NaN: left out); ``shares`` where tiers end, from the top. Out, a row a tier:
    from_share, to_share (of the customers), customers, value (sum), share (of the whole value), lowest (value of the
    last customer of the tier). Raises DataError for no values or a whole of 0 or less, UsageError for shares that do not
    rise between 0 and 1.

    >>> tiers(pd.Series([70, 10, 10, 5, 5, 0, 0, 0, 0, 0]), shares=[0.1, 0.5])[["to_share", "customers", "share"]].values.tolist()
    [[0.1, 1.0, 0.7], [0.5, 4.0, 0.3], [1.0, 5.0, 0.0]]
    """
    edges = [0.0, *shares, 1.0]
    if any(low >= high for low, high in itertools.pairwise(edges)):
        raise UsageError(f"shares are {list(shares)}; give rising shares between 0 and 1, for example 0.01, 0.05, 0.2")
    known = np.sort(values.dropna().to_numpy(float))[::-1]
    if not len(known) or known.sum() <= 0:
        raise DataError(
            f"the {len(known):,} values add up to {known.sum():,.0f}; a pyramid needs values that add up to more than 0"
        )
    ends = np.unique([round(edge * len(known)) for edge in edges])
    rows = [
        (begin / len(known), end / len(known), end - begin, known[begin:end].sum(), known[end - 1])
        for begin, end in itertools.pairwise(ends)
    ]
    table = pd.DataFrame(rows, columns=["from_share", "to_share", "customers", "value", "lowest"])
    return table.assign(share=table["value"] / known.sum())
