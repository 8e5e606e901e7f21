"""Which segment each customer is in: by a saved segmentation, an attribute, the age, or an audience."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib.decisions import audiences, customer_facts
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import segment_sets
from crmlib.warehouse.snapshot import Snapshot

ATTRIBUTES = {
    "region": "region",
    "service_segment": "segment",
    "gender": "gender",
    "marital_status": "marital_status",
    "employment_status": "employment_status",
    "education": "education",
    "occupation": "occupation",
    "risk_class": "risk_class",
    "preferred_channel": "preferred_channel",
    "branch_id": "branch_id",
}
"""Attributes that customers can be put into rows by: name of the audience field, column of the table customers."""

AGE = "age"
AGE_BANDS = (0, 18, 25, 35, 45, 55, 65, 75)
"""Completed years at which a band begins; the last one has no end."""

HOLDS = "holds"
"""Customers by what they hold: a customer is in as many segments as products held."""

AUDIENCE = "audience:"
UNKNOWN = ""
"""The segment of those of whom the attribute is not known, or who are in no segment."""


def members(snapshot: Snapshot, by: str, *, data: Path | None = None) -> pd.DataFrame:
    """Return the segment of every customer whose relationship is open.

    ``by`` is an attribute (``ATTRIBUTES``), "age", "holds" (a segment a product), "audience:NAME" (segments in and out),
    or the name of a saved segmentation, whose newest membership not after the snapshot counts. Out: customer_id, segment
    ("" unknown).

    Raises UsageError where saved things are asked for without ``data``, NotFoundError for a name that is unknown.
    """
    if by == AGE:
        return _ages(snapshot)
    if by == HOLDS:
        return _holders(snapshot)
    if by in ATTRIBUTES:
        rows = snapshot.table("customers", ["customer_id", ATTRIBUTES[by], "closed_on"])
        rows = rows[rows["closed_on"].isna()].sort_values("customer_id", ignore_index=True)
        return pd.DataFrame(
            {"customer_id": rows["customer_id"], "segment": rows[ATTRIBUTES[by]].astype("str").fillna("")}
        )
    if data is None:
        raise UsageError(
            f"unknown attribute {by!r}; use {', '.join(ATTRIBUTES)}, {AGE}, or give the data folder for a saved segmentation"
        )
    everybody = _open(snapshot)
    if by.startswith(AUDIENCE):
        chosen = audiences.load(data, by.removeprefix(AUDIENCE))
        inside = audiences.customers(snapshot, chosen.conditions, data=data)["customer_id"]
        return pd.DataFrame(
            {"customer_id": everybody, "segment": pd.Series(np.where(everybody.isin(inside), "in", "out"), dtype="str")}
        )
    found = segment_sets.read(data, _segment_set(data, by, snapshot.as_of))
    segment = everybody.map(found.set_index("customer_id")["segment"]).astype("str").fillna(UNKNOWN)
    return pd.DataFrame({"customer_id": everybody, "segment": segment})


def conditions(by: str, segment: str, *, data: Path | None = None) -> dict[str, object]:
    """Return the conditions of an audience that are one segment of ``members``, as plain data.

    >>> conditions("region", "South")
    {'field': 'region', 'operator': 'eq', 'value': 'South'}
    >>> conditions("age", "25-34")
    {'field': 'age_years', 'operator': 'between', 'value': [25, 34]}
    """
    if by.startswith(AUDIENCE):
        if data is None:
            raise UsageError(f"{by!r} is saved in a data folder; give data")
        saved: dict[str, object] = audiences.load(data, by.removeprefix(AUDIENCE)).conditions
        return saved if segment == "in" else {"not": saved}
    if by == HOLDS:
        where = {"product_id": segment}
        return {"field": "holdings.count", "where": where, "operator": "ge", "value": 1}
    field: dict[str, object] = {"field": "age_years" if by == AGE else by}
    if by != AGE and by not in ATTRIBUTES:
        field = {"field": "segment", "where": {"segmentation": by}}
    if segment == UNKNOWN:
        return {**field, "operator": "known", "value": False}
    if by != AGE:
        return {**field, "operator": "eq", "value": segment}
    first, last = _bounds(segment)
    bounds = {"operator": "ge", "value": first} if last is None else {"operator": "between", "value": [first, last]}
    return {**field, **bounds}


def _segment_set(data: Path, by: str, as_of: dt.date) -> segment_sets.SegmentSet:
    """Return the newest membership of a segmentation that was known at the snapshot."""
    newest = segment_sets.newest(data, by)
    if newest.as_of <= as_of:
        return newest
    earlier = [one for one in segment_sets.dates(data, by) if one.as_of <= as_of]
    if not earlier:
        raise NotFoundError(
            f"segmentation {by!r} has no members as of {as_of} or before, only later; make them with `crm segment`"
        )
    return earlier[-1]


def _holders(snapshot: Snapshot) -> pd.DataFrame:
    rows = snapshot.table("holdings", ["customer_id", "product_id", "closed_on"])
    rows = rows[rows["closed_on"].isna()]
    held = pd.DataFrame({"customer_id": rows["customer_id"], "segment": rows["product_id"].astype("str")})
    return held.drop_duplicates(ignore_index=True)


def _ages(snapshot: Snapshot) -> pd.DataFrame:
    rows = snapshot.table("customers", ["customer_id", "birth_date", "closed_on"])
    rows = rows[rows["closed_on"].isna()].sort_values("customer_id", ignore_index=True)
    years = np.floor(customer_facts.months(rows["birth_date"], np.datetime64(snapshot.as_of, "D")) / 12)
    names = np.array([*(_band(place) for place in range(len(AGE_BANDS))), UNKNOWN], dtype=object)
    place = np.where(
        np.isnan(years), len(AGE_BANDS), np.searchsorted(AGE_BANDS, np.nan_to_num(years), side="right") - 1
    )
    return pd.DataFrame({"customer_id": rows["customer_id"], "segment": pd.Series(names[place], dtype="str")})


def _band(place: int) -> str:
    """Return the name of an age band, zero-padded so that names sort by age.

    >>> _band(2), _band(7)
    ('25-34', '75+')
    """
    first = AGE_BANDS[place]
    return f"{first:02d}+" if place + 1 == len(AGE_BANDS) else f"{first:02d}-{AGE_BANDS[place + 1] - 1:02d}"


def _bounds(band: str) -> tuple[int, int | None]:
    for place, first in enumerate(AGE_BANDS):
        if band == _band(place):
            return first, None if place + 1 == len(AGE_BANDS) else AGE_BANDS[place + 1] - 1
    raise UsageError(f"there is no age band {band!r}; use one of {', '.join(map(_band, range(len(AGE_BANDS))))}")


def _open(snapshot: Snapshot) -> pd.Series:
    rows = snapshot.table("customers", ["customer_id", "closed_on"])
    if rows["closed_on"].notna().all():
        raise DataError(f"as of {snapshot.as_of} no customer has an open relationship; check the table customers")
    return rows.loc[rows["closed_on"].isna(), "customer_id"].sort_values(ignore_index=True)
