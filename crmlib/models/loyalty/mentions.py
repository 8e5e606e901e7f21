"""Mentions in social networks, as imported: how many, how kind, by whom, month by month."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.warehouse.snapshot import Snapshot

NEUTRAL = 0.2
"""A sentiment above is positive, below its negative is negative."""
FEWEST = 10
"""With fewer mentions no mean is shown."""
_COLUMNS = ["mention_id", "customer_id", "occurred_at", "author", "text", "sentiment"]


def mentions(snapshot: Snapshot) -> pd.DataFrame:
    """Return the mentions known at the snapshot, the latest first: mention_id, customer_id (empty where unknown),
    occurred_at, author, text, sentiment (-1 to 1), kind (positive, neutral, negative, or "" without a sentiment)."""
    table = snapshot.table("mentions", _COLUMNS).sort_values(["occurred_at", "mention_id"], ascending=False)
    return table.assign(kind=kinds(table["sentiment"])).reset_index(drop=True)


def kinds(sentiment: pd.Series) -> pd.Series:
    """Return positive, neutral, negative or "" for each sentiment.

    >>> kinds(pd.Series([0.5, 0.0, -0.3, float("nan")])).tolist()
    ['positive', 'neutral', 'negative', '']

    Raises DataError for a sentiment outside -1 to 1.
    """
    given = sentiment.astype(float)
    wrong = given.notna() & ~given.between(-1, 1)
    if wrong.any():
        raise DataError(
            f"mentions.sentiment: {int(wrong.sum())} of {len(given)} values are outside -1 to 1 (the first is "
            f"{given[wrong].iloc[0]}); bring them to that scale in the mapping"
        )
    named = np.select([given > NEUTRAL, given < -NEUTRAL, given.notna()], ["positive", "negative", "neutral"], "")
    return pd.Series(named, index=sentiment.index, dtype="str")


def monthly(found: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return by month: month (first day), mentions, positive, neutral, negative, linked (with a known customer),
    sentiment (mean), low, high (of the mean, Student's t; empty for fewer than 10 mentions with a sentiment)."""
    if found.empty:
        names = ["mentions", "positive", "neutral", "negative", "linked", "sentiment", "low", "high"]
        return pd.DataFrame(
            {"month": pd.Series(dtype="datetime64[us]"), **{name: pd.Series(dtype=float) for name in names}}
        )
    month = pd.Series(found["occurred_at"].to_numpy("datetime64[M]").astype("datetime64[us]"), index=found.index)
    flags = {name: found["kind"] == name for name in ("positive", "neutral", "negative")}
    rows = found.assign(month=month, linked=found["customer_id"].notna(), **flags)
    grouped = rows.groupby("month", sort=True)
    out = grouped[[*flags, "linked"]].sum().assign(mentions=grouped.size())
    moments = grouped["sentiment"].agg(["count", "mean", "std"])
    enough = moments["count"] >= FEWEST
    mean = moments["mean"].where(enough)
    reach = (
        stats.t.ppf((1 + level) / 2, moments["count"].where(enough) - 1) * moments["std"] / np.sqrt(moments["count"])
    )
    # A mean of numbers from -1 to 1 lies there too.
    out = out.assign(sentiment=mean, low=(mean - reach).clip(lower=-1), high=(mean + reach).clip(upper=1)).reset_index()
    return out[["month", "mentions", "positive", "neutral", "negative", "linked", "sentiment", "low", "high"]]
