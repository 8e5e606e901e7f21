"""Spells cut at dates into person-periods, with covariates as they were known at the beginning of each period.

A customer counts in a period (as_of, until] if the spell was open at ``as_of``; who joined within it counts from the next
one, because nothing was known of him before. That is late entry, and the hazards stay unbiased (left truncation).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError

_NEEDED = ("customer_id", "started", "ended", "reason")


def split(spells: pd.DataFrame, dates: Sequence[dt.date | str | pd.Timestamp]) -> pd.DataFrame:
    """Return a row for each customer and period at whose beginning he was there.

    In: ``spells``, a row a customer (or a holding, with the customer_id): customer_id, started, ended (empty: still here),
    reason ("" if still here); ``dates``, ascending: the ends of the periods, the last one the end of observation.

    Out: customer_id, as_of (beginning of the period, known then), until, tenure (days from start to ``as_of``), days
    (under observation in the period), reason (of leaving in it, else ""). Raises DataError for a spell that ends before it
    starts, or that ended without a reason.

    >>> spells = pd.DataFrame({"customer_id": ["a"], "started": ["2025-01-01"], "ended": ["2025-03-15"], "reason": ["price"]})
    >>> split(spells, ["2025-01-31", "2025-02-28", "2025-03-31"])[["tenure", "days", "reason"]].values.tolist()
    [[30, 28, ''], [58, 15, 'price']]
    """
    cuts = pd.DatetimeIndex([pd.Timestamp(date) for date in dates])
    if len(cuts) < 2 or not cuts.is_monotonic_increasing or not cuts.is_unique:
        raise UsageError(f"dates must be two or more, ascending and different; {len(cuts)} were given")
    table = _checked(spells)
    parts = []
    for as_of, until in itertools.pairwise(cuts):
        own = table[(table["started"] <= as_of) & ~(table["ended"] <= as_of)]
        left = (own["ended"] <= until).to_numpy()
        last = own["ended"].where(left, until)
        parts.append(
            pd.DataFrame(
                {
                    "customer_id": own["customer_id"],
                    "as_of": as_of,
                    "until": until,
                    "tenure": (as_of - own["started"]).dt.days,
                    "days": (last - as_of).dt.days,
                    "reason": own["reason"].where(left, ""),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def with_covariates(periods: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the periods with the covariates last known at their beginning.

    In: ``known``, rows of customer_id, as_of (the date as of which the row was known: features built as of several dates,
    or changes with the day they were recorded) and covariates. Of each customer the last row with ``as_of`` not after that
    of the period counts; later rows change nothing. Raises DataError for doubled rows, and where a period has none.
    """
    covariates = [name for name in known.columns if name not in ("customer_id", "as_of")]
    missing = {"customer_id", "as_of"} - set(known.columns)
    if missing or not covariates:
        raise DataError(f"the covariates need customer_id, as_of and a column more; missing: {sorted(missing) or 'it'}")
    doubled = known.duplicated(["customer_id", "as_of"])
    if doubled.any():
        row = known[doubled].iloc[0]
        raise DataError(
            f"the covariates hold customer {row['customer_id']} twice as of {row['as_of']}; keep one row a customer and date"
        )
    clash = [name for name in covariates if name in periods.columns]
    if clash:
        raise DataError(f"the covariates have a column {clash[0]} that the periods have too; rename it")
    left = periods.assign(_row=np.arange(len(periods)), as_of=pd.to_datetime(periods["as_of"]).astype("datetime64[us]"))
    right = known.assign(as_of=pd.to_datetime(known["as_of"]).astype("datetime64[us]"), _known=True)
    found = pd.merge_asof(
        left.sort_values("as_of", kind="stable"),
        right.sort_values("as_of", kind="stable"),
        on="as_of",
        by="customer_id",
        direction="backward",
    ).sort_values("_row", ignore_index=True)
    unknown = found["_known"].isna()
    if unknown.any():
        row = found[unknown].iloc[0]
        raise DataError(
            f"{int(unknown.sum())} of {len(found)} periods have no covariates known by their beginning, for example"
            f" customer {row['customer_id']} as of {row['as_of']:%Y-%m-%d}; give earlier rows or leave those periods out"
        )
    return found.drop(columns=["_row", "_known"])


def _checked(spells: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in _NEEDED if name not in spells.columns]
    if missing:
        raise DataError(f"the spells lack the column {missing[0]}; they need {', '.join(_NEEDED)}")
    table = spells[list(_NEEDED)].assign(
        started=pd.to_datetime(spells["started"]), ended=pd.to_datetime(spells["ended"])
    )
    if table["started"].isna().any():
        raise DataError(
            f"the spells have {int(table['started'].isna().sum())} rows without a start; fill it or leave them out"
        )
    before = table["ended"] < table["started"]
    if before.any():
        row = table[before].iloc[0]
        raise DataError(
            f"{int(before.sum())} of {len(table)} spells end before they start (durations below zero), for example that of"
            f" customer {row['customer_id']}: {row['started']:%Y-%m-%d} to {row['ended']:%Y-%m-%d}; mend the dates"
        )
    table["reason"] = table["reason"].fillna("").astype("str")
    odd = table["ended"].notna() & (table["reason"] == "")
    if odd.any():
        raise DataError(
            f"{int(odd.sum())} spells ended without a reason, for example that of customer {table[odd].iloc[0]['customer_id']};"
            ' give one, for example "other"'
        )
    return table
