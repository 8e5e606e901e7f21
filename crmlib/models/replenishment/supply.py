"""Whether the supplier will be able to deliver: a product that is out comes back, one in stock may run out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.models.replenishment.history import Market


@dataclass(frozen=True)
class Supply:
    """A chain of two states for every region and product.

    Attributes: ``runs_out`` the chance that what is in stock is not on the next day, ``comes_back`` the chance of the way back.
    """

    runs_out: float
    comes_back: float


def chain(market: Market, pairs: pd.DataFrame, *, since: dt.date, as_of: dt.date) -> Supply:
    """Return how often products ran out and came back from the day ``since`` to ``as_of``.

    In: ``market.out``; ``pairs`` with region and product_id: what is supplied. Without any day out of supply nothing
    runs out.
    """
    keys = ["region", "product_id"]
    out = market.out[market.out["day"].between(pd.Timestamp(since), pd.Timestamp(as_of))].drop_duplicates()
    out = out.merge(pairs[keys].drop_duplicates(), on=keys, how="inner", validate="many_to_one").sort_values(
        [*keys, "day"]
    )
    if out.empty:
        return Supply(0.0, 1.0)
    began = out.groupby(keys)["day"].diff() != pd.Timedelta(days=1)
    spells = int(began.sum())
    lasting = int(len(out) - (out["day"] == pd.Timestamp(as_of)).sum())
    ended = spells - int((out["day"] == pd.Timestamp(as_of)).sum())
    days = len(pairs[keys].drop_duplicates()) * ((as_of - since).days + 1)
    return Supply(spells / max(days - len(out), spells), (ended + 0.5) / (lasting + 1))


def out_on(market: Market, pairs: pd.DataFrame, day: dt.date) -> np.ndarray:
    """Return for each of ``pairs`` (region, product_id) whether it is out of supply on a day."""
    keys = ["region", "product_id"]
    rows = market.out[market.out["day"] == pd.Timestamp(day)]
    return np.asarray(pd.MultiIndex.from_frame(pairs[keys]).isin(pd.MultiIndex.from_frame(rows[keys])))


def waiting(rate: np.ndarray, out: np.ndarray, supply: Supply) -> np.ndarray:
    """Return the chance that no order has come after 0, 1, … days.

    In: ``rate`` of orders by day while there is supply (pairs × days), ``out`` whether the pair is out of supply on the
    day before.

    >>> never = Supply(0.0, 0.0)
    >>> waiting(np.full((2, 2), np.log(2)), np.array([False, True]), never).round(3).tolist()
    [[1.0, 0.5, 0.25], [1.0, 1.0, 1.0]]
    """
    still = np.ones((rate.shape[0], rate.shape[1] + 1))
    inside, outside = np.where(out, 0.0, 1.0), np.where(out, 1.0, 0.0)
    for day in range(rate.shape[1]):
        back, gone = outside * supply.comes_back, inside * supply.runs_out
        inside, outside = inside - gone + back, outside - back + gone
        inside = inside * np.exp(-rate[:, day])
        still[:, day + 1] = inside + outside
    return still
