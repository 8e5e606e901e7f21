"""RFM: recency, frequency and monetary value with stated cut points, and a few named cells."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import features
from crmlib.errors import DataError, UsageError
from crmlib.features import plan
from crmlib.models.segments.behaviour import Measure
from crmlib.models.segments.behavioural import membership, not_before
from crmlib.warehouse.snapshot import Snapshot

NAME = "rfm"
FEWEST = 50
"""Fewer customers with transactions than this give no quantiles worth keeping."""
SCORES = 5
KINDS = ("all", "out", "in")
AXES = ("recency", "frequency", "monetary")
CELLS = ("champions", "loyal", "potential", "recent", "attention", "at_risk", "hibernating", "inactive")
"""The cells, from best to worst; ``cell`` says who belongs where."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Counted:
    """Which transactions count: those of the last ``months``; ``kind`` "out" (money spent), "in" or "all"; where
    ``categories`` are given, only those.
    """

    months: int = 12
    kind: str = "all"
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"RFM: kind is {self.kind!r}; use one of {', '.join(KINDS)}")
        if not 0 < self.months <= 120:
            raise UsageError(f"RFM: months is {self.months}; give 1 to 120")


@dataclass(frozen=True)
class RFM:
    """Cut points fitted on one date or given by the user, and kept for others.

    Attributes: ``cuts`` four for each axis, rising: days since the last transaction, number of transactions, turnover
    in minor units; a value above so many of them gets that many points more than 1 (for recency: fewer than 5).
    """

    cuts: dict[str, tuple[float, ...]]
    counted: Counted
    fitted_as_of: dt.date

    @property
    def name(self) -> str:
        """The name of the segmentation."""
        return NAME

    @property
    def segments(self) -> tuple[str, ...]:
        """The names of the cells, from best to worst."""
        return CELLS

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the cells are made of."""
        kinds = zip(AXES, ("days", "count", "minor units"), strict=True)
        return tuple(Measure(axis, axis, kind, months=self.counted.months) for axis, kind in kinds)

    @property
    def described(self) -> tuple[Measure, ...]:
        """What a profile is about."""
        return self.measures

    def measure(self, snapshot: Snapshot) -> pd.DataFrame:
        """Return recency, frequency and monetary value at a snapshot, counted as for the fit (see ``measure``)."""
        return measure(snapshot, self.counted)

    def scores(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the points of each customer: customer_id, as_of, r, f, m (1 to 5; 0 without transactions).

        Equal values get equal points. Raises DataError for a table without an axis.
        """
        _need(table)
        some = table["frequency"].to_numpy() > 0
        points = {}
        for letter, axis in zip("rfm", AXES, strict=True):
            above = np.searchsorted(np.array(self.cuts[axis]), table[axis].to_numpy(float), side="left")
            given = SCORES - above if axis == "recency" else 1 + above
            points[letter] = np.where(some, given, 0).astype(np.int8)
        return table[["customer_id", "as_of"]].assign(**points)

    def assign(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the cell of each customer: customer_id, as_of, segmentation, segment.

        Raises DataError for a table without an axis, or as of a date before the fit.
        """
        given = self.scores(table)
        not_before(table, self.fitted_as_of, NAME)
        return membership(table, NAME, cell(given["r"], given["f"], given["m"]))

    def pulls(self, before: pd.DataFrame, after: pd.DataFrame, start: Array, end: Array) -> Array:
        """Return by how many points each axis moved each customer towards its new cell (customers × axes).

        Recency counts in full, frequency and monetary value by half, as in ``cell``. Signs are those of the better (or
        worse) cell that the customer moved to.
        """
        moved = self.scores(after)[["r", "f", "m"]].to_numpy(float) - self.scores(before)[["r", "f", "m"]].to_numpy(
            float
        )
        moved = moved * np.array([1.0, 0.5, 0.5])
        return moved * np.sign(moved.sum(axis=1, keepdims=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the cut points and what counts as plain JSON values."""
        return {**asdict(self), "fitted_as_of": str(self.fitted_as_of)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RFM:
        """Return what ``to_dict`` wrote."""
        given = values["counted"]
        counted = Counted(given["months"], given["kind"], tuple(given["categories"]))
        cuts = {axis: tuple(map(float, values["cuts"][axis])) for axis in AXES}
        return cls(cuts, counted, dt.date.fromisoformat(values["fitted_as_of"]))


def cell(r: Sequence[int] | pd.Series, f: Sequence[int] | pd.Series, m: Sequence[int] | pd.Series) -> Array:
    """Return the cell of each triple of points, by recency and the mean of frequency and monetary value (FM).

    Recency 4 and 5: champions (FM 4 and more), potential (2.5 and more), recent (less). Recency 3: loyal (FM 4 and more),
    attention. Recency 1 and 2: at_risk (FM 2.5 and more), hibernating. No points: inactive.

    >>> cell([5, 3, 1, 0], [5, 4, 1, 0], [4, 4, 2, 0]).tolist()
    ['champions', 'loyal', 'hibernating', 'inactive']
    """
    recency = np.asarray(r)
    value = (np.asarray(f).astype(float) + np.asarray(m)) / 2
    many, some = value >= 4, value >= 2.5
    conditions = {
        "inactive": recency == 0,
        "champions": (recency >= 4) & many,
        "potential": (recency >= 4) & some,
        "recent": recency >= 4,
        "loyal": (recency == 3) & many,
        "attention": recency == 3,
        "at_risk": some,
    }
    return np.select(list(conditions.values()), list(conditions), default="hibernating")


def measure(snapshot: Snapshot, counted: Counted | None = None) -> pd.DataFrame:
    """Return the RFM values of each customer known and not closed at the snapshot.

    Out: customer_id, as_of, recency (days since the last transaction that counts, NaN without one), frequency (their
    number), monetary (sum of their amounts without signs, minor units). Amounts are taken as they are, so the
    transactions must be in one currency. Raises NotFoundError for an unknown category.
    """
    counted = counted or Counted()
    base = features.build(snapshot, (features.attribute("children"),))[["customer_id", "as_of"]]
    found = snapshot.warehouse.read(_statement(snapshot, counted))
    out = base.merge(found, on="customer_id", how="left", validate="one_to_one")
    day = pd.Timestamp(snapshot.as_of)
    return base.assign(
        recency=(day - out["last"].dt.normalize()).dt.days.astype(float),
        frequency=out["frequency"].fillna(0).astype(np.int64),
        monetary=out["monetary"].fillna(0).astype(np.int64),
    )


def _statement(snapshot: Snapshot, counted: Counted) -> sa.Select[Any]:
    rows = snapshot.select("transactions").subquery("counted")
    start = dt.datetime.combine(plan.bound(snapshot.as_of, counted.months), dt.time())
    query = sa.select(
        rows.c.customer_id,
        sa.func.max(rows.c.occurred_at).label("last"),
        sa.func.count().label("frequency"),
        sa.cast(sa.func.sum(sa.func.abs(rows.c.amount_minor)), sa.BigInteger).label("monetary"),
    ).where(rows.c.occurred_at >= start)
    if counted.kind != "all":
        query = query.where(rows.c.amount_minor < 0 if counted.kind == "out" else rows.c.amount_minor > 0)
    if counted.categories:
        query = query.where(rows.c.category.in_(counted.categories))
    return query.group_by(rows.c.customer_id)


def fit(
    snapshot: Snapshot, *, counted: Counted | None = None, cuts: Mapping[str, Sequence[float]] | None = None
) -> RFM:
    """Return RFM with the cut points given, or with the quintiles of those who have transactions at the snapshot."""
    counted = counted or Counted()
    if cuts is not None:
        return RFM(_checked(cuts), counted, snapshot.as_of)
    return fit_table(measure(snapshot, counted), counted=counted)


def fit_table(table: pd.DataFrame, *, counted: Counted | None = None) -> RFM:
    """Return RFM with the quintiles of those customers of a table who have transactions.

    Where many have the same value, some cut points fall together and points are skipped: equal values stay together.
    Raises DataError for too few customers or an axis on which all are equal.
    """
    _need(table)
    some = table[table["frequency"] > 0]
    if len(some) < FEWEST:
        raise DataError(
            f"{len(some)} customers with transactions are too few for the quantiles of RFM, it takes {FEWEST}; "
            "give cuts= of your own"
        )
    share = np.arange(1, SCORES) / SCORES
    cuts = {axis: tuple(map(float, np.quantile(some[axis].to_numpy(float), share))) for axis in AXES}
    for axis in AXES:
        if some[axis].min() == some[axis].max():
            raise DataError(f"RFM: {axis} is {some[axis].iloc[0]:g} for everybody; give cuts= of your own")
    return RFM(cuts, counted or Counted(), pd.Timestamp(table["as_of"].max()).date())


def _checked(cuts: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    out = {}
    for axis in AXES:
        given = tuple(map(float, cuts.get(axis, ())))
        if len(given) != SCORES - 1 or list(given) != sorted(given):
            raise UsageError(f"RFM: the cut points of {axis} are {list(given)}; give {SCORES - 1} rising numbers")
        out[axis] = given
    return out


def _need(table: pd.DataFrame) -> None:
    missing = [axis for axis in ("customer_id", "as_of", *AXES) if axis not in table]
    if missing:
        raise DataError(f"the table of RFM has no column {', '.join(missing)}; make it with segments.rfm.measure")
