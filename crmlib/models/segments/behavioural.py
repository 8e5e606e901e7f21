"""Behavioural segments: clusters of customers whose behaviour is alike, fixed on one date and assigned on others."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features
from crmlib.errors import DataError
from crmlib.features import plan
from crmlib.features.spec import Specification
from crmlib.models.segments import behaviour, clusters
from crmlib.models.segments.behaviour import Measure
from crmlib.warehouse.snapshot import Snapshot

NAME = "behaviour"
FEWEST = 300
"""Fewer customers than this are not segmented: halves of them would not show whether groups repeat."""
SAMPLE = 4_000
"""The number of clusters is chosen on so many customers, drawn at random; the centres are then fitted on all."""
CLUSTERS = (2, 3, 4, 5, 6, 7)
PRIOR = 5.0
"""So many transactions' weight draws the shares of customers with few transactions towards none."""
TAIL = 0.005
"""Share of the customers on either side whose values are pulled in to the edge (winsorised)."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scale:
    """How the measures are made comparable; each field runs over the measures.

    A measure is transformed (log of counts of transactions, shares drawn towards none where there are few, asinh of
    balances in units of ``size``), kept within ``low`` and ``high``, its ``middle`` taken off, and multiplied by
    ``weight``, which gives every block of measures the same total variance.
    """

    size: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    middle: tuple[float, ...]
    weight: tuple[float, ...]


@dataclass(frozen=True)
class Behavioural:
    """Fitted behavioural segments.

    Attributes: ``segments`` their names, in the order of ``centres`` (segments × measures, on the scale of ``scale``);
    ``measures`` what they are made of; ``specification`` the JSON of the resolved features; ``left_out`` measures that
    were the same for everybody; ``choice`` the curve over numbers of clusters, the rule's answer and the stability.
    """

    segments: tuple[str, ...]
    measures: tuple[Measure, ...]
    scale: Scale
    centres: tuple[tuple[float, ...], ...]
    specification: str
    fitted_as_of: dt.date
    seed: int
    left_out: tuple[str, ...]
    choice: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the segmentation."""
        return NAME

    @property
    def described(self) -> tuple[Measure, ...]:
        """What a profile is about: the measures that make the segments, then those that only describe."""
        return (*self.measures, *behaviour.DESCRIBING)

    def measure(self, snapshot: Snapshot) -> pd.DataFrame:
        """Return the behaviour at a snapshot, in the columns that this segmentation knows (see ``behaviour.measure``)."""
        return behaviour.measure(snapshot, features.from_json(self.specification))

    def scaled(self, table: pd.DataFrame) -> Array:
        """Return the measures of a table of behaviour on the scale of the segmentation (customers × measures)."""
        behaviour.need(table, ["customer_id", "as_of", *[one.name for one in self.measures]])
        return _scaled(_transformed(table, self.measures, np.array(self.scale.size)), self.scale)

    def assign(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the segment whose centre is nearest: customer_id, as_of, segmentation, segment, a row a customer.

        Raises DataError for a table without a measure, or as of a date before the fit.
        """
        rows = self.scaled(table)
        not_before(table, self.fitted_as_of, NAME)
        nearest = clusters.squared(rows, np.array(self.centres)).argmin(axis=1)
        return membership(table, NAME, np.array(self.segments, dtype=object)[nearest])

    def pulls(self, before: pd.DataFrame, after: pd.DataFrame, start: Array, end: Array) -> Array:
        """Return how much each measure drew each customer from the segment ``start`` to ``end`` (customers × measures).

        With a and b the two centres, a customer at x leans towards b by |x - a|² - |x - b|²; the change of this between
        two dates is a sum over measures, 2 (b - a) (x' - x): an exact account, whose total is positive for a mover. What a
        share changed only because there were more or fewer transactions is put to the account of activity.
        """
        centres, place = np.array(self.centres), {name: number for number, name in enumerate(self.segments)}
        first, second = (centres[np.array([place[name] for name in side], dtype=int)] for side in (start, end))
        pull = 2 * (second - first) * (self.scaled(after) - self.scaled(before))
        return _activity_apart(pull, before, after, self.measures)

    def to_dict(self) -> dict[str, Any]:
        """Return the segmentation as plain JSON values."""
        return {**asdict(self), "fitted_as_of": str(self.fitted_as_of)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Behavioural:
        """Return what ``to_dict`` wrote."""
        return cls(
            segments=tuple(values["segments"]),
            measures=tuple(Measure(**one) for one in values["measures"]),
            scale=Scale(**{name: tuple(given) for name, given in values["scale"].items()}),
            centres=tuple(tuple(row) for row in values["centres"]),
            specification=values["specification"],
            fitted_as_of=dt.date.fromisoformat(values["fitted_as_of"]),
            seed=values["seed"],
            left_out=tuple(values["left_out"]),
            choice=values["choice"],
        )


def fit(snapshot: Snapshot, *, seed: int = 7, ks: tuple[int, ...] = CLUSTERS) -> Behavioural:
    """Find the behavioural segments as of a snapshot; raises DataError where there is too little to find them in."""
    spec = behaviour.resolve(snapshot)
    return fit_table(behaviour.measure(snapshot, spec), spec, seed=seed, ks=ks)


def fit_table(
    table: pd.DataFrame, spec: Specification, *, seed: int = 7, ks: tuple[int, ...] = CLUSTERS
) -> Behavioural:
    """Find segments in a table of behaviour: measures made comparable, their number chosen, their stability found.

    The number of clusters is ``clusters.best`` of the curve on a random sample of ``SAMPLE`` customers. Raises DataError
    for fewer than ``FEWEST`` customers, or where all measures are constant.
    """
    if len(table) < FEWEST:
        raise DataError(
            f"{len(table)} customers are too few to segment by behaviour; it takes at least {FEWEST}, "
            "use RFM with cut points of your own instead"
        )
    every = [one for one in behaviour.measures(spec) if one.block]
    behaviour.need(table, [one.name for one in every])
    measures, scale, rows, left_out = _fitted_scale(table, every)
    random = np.random.default_rng(seed)
    sample = rows if len(rows) <= SAMPLE else rows[np.sort(random.choice(len(rows), SAMPLE, replace=False))]
    found = clusters.curve(sample, ks=ks, seed=seed)
    k, separate = clusters.best(found)
    centres = clusters.refine(rows, clusters.kmeans(sample, k, seed=seed, starts=10)[0])[0]
    # The order of centres by activity does not depend on where the random starts fell.
    centres = centres[np.lexsort(centres.T[::-1])[::-1]]
    stable = clusters.stability(sample, centres, seed=seed)
    choice = {
        "curve": found.to_dict("records"),
        "clusters": k,
        "separate": separate,
        "sample": len(sample),
        "jaccard": [float(value) for value in stable.jaccard],
        "rand": stable.rand,
        "rand_low": stable.rand_low,
    }
    return Behavioural(
        segments=_named(centres, measures),
        measures=tuple(measures),
        scale=scale,
        centres=tuple(tuple(map(float, row)) for row in centres),
        specification=features.to_json(spec),
        fitted_as_of=pd.Timestamp(table["as_of"].max()).date(),
        seed=seed,
        left_out=tuple(left_out),
        choice=choice,
    )


def membership(table: pd.DataFrame, segmentation: str, segment: Array) -> pd.DataFrame:
    """Return customer_id, as_of, segmentation, segment from the customers of a table and the segment of each."""
    return pd.DataFrame(
        {
            "customer_id": table["customer_id"].astype("str"),
            "as_of": table["as_of"],
            "segmentation": pd.Series(segmentation, index=table.index, dtype="str"),
            "segment": pd.Series(segment, index=table.index, dtype="str"),
        }
    )


def not_before(table: pd.DataFrame, fitted: dt.date, name: str) -> None:
    """Raise DataError where a table is as of a date before the fit."""
    first = pd.Timestamp(table["as_of"].min()).date() if len(table) else fitted
    if first < fitted:
        raise DataError(
            f"as_of {first} is before the segmentation {name!r} was fitted ({fitted}); "
            "take a later date, or fit on an earlier one"
        )


def _transformed(table: pd.DataFrame, measures: tuple[Measure, ...] | list[Measure], size: Array) -> Array:
    values = table[[one.name for one in measures]].to_numpy(float)
    values = np.where(np.isnan(values), 0.0, values)
    activity = table["activity"].to_numpy(float)
    share, money = (np.array([one.kind == kind for one in measures]) for kind in ("share", "minor units"))
    out = np.log1p(np.where(share | money, 0.0, values))
    out[:, share] = values[:, share] * (activity / (activity + PRIOR))[:, None]
    out[:, money] = np.arcsinh(values[:, money] / size[money])
    return out


def _activity_apart(pull: Array, before: pd.DataFrame, after: pd.DataFrame, measures: tuple[Measure, ...]) -> Array:
    """Return the pulls with that of activity through the shares (they are drawn to none where there are few) put to it.

    A share s enters as s·w, with w growing with activity; Δ(s·w) = w̄·Δs + s̄·Δw, where the mean of both dates is meant.
    """
    out = pull.copy()
    counts = [frame["activity"].to_numpy(float) for frame in (before, after)]
    one, other = (count / (count + PRIOR) for count in counts)
    activity = next((number for number, given in enumerate(measures) if given.block == "activity"), None)
    for column, given in enumerate(measures):
        if given.kind != "share" or activity is None:
            continue
        first, second = before[given.name].to_numpy(float), after[given.name].to_numpy(float)
        first, second = np.where(np.isnan(first), second, first), np.where(np.isnan(second), first, second)
        first, second = np.nan_to_num(first), np.nan_to_num(second)
        change = second * other - first * one
        slope = np.divide(pull[:, column], change, out=np.zeros(len(change)), where=np.abs(change) > 1e-12)
        out[:, column] = slope * (one + other) / 2 * (second - first)
        out[:, activity] += pull[:, column] - out[:, column]
    return out


def _scaled(values: Array, scale: Scale) -> Array:
    inside = np.clip(values, np.array(scale.low), np.array(scale.high))
    return (inside - np.array(scale.middle)) * np.array(scale.weight)


def _fitted_scale(table: pd.DataFrame, every: list[Measure]) -> tuple[list[Measure], Scale, Array, list[str]]:
    size = np.array([_size(table[one.name]) if one.kind == "minor units" else 1.0 for one in every])
    values = _transformed(table, every, size)
    low, high = np.quantile(values, [TAIL, 1 - TAIL], axis=0)
    inside = np.clip(values, low, high)
    spread = inside.std(axis=0)
    varies = spread > 1e-9
    if not varies.any():
        raise DataError(
            "all customers behave alike: every measure of behaviour is constant; load transactions or contracts"
        )
    kept = [one for one, differs in zip(every, varies, strict=True) if differs]
    blocks = pd.Series([one.block for one in kept])
    weight = 1 / (spread[varies] * np.sqrt(blocks.map(blocks.value_counts()).to_numpy(float)))
    parts = (size[varies], low[varies], high[varies], inside[:, varies].mean(axis=0), weight)
    scale = Scale(*(tuple(map(float, part)) for part in parts))
    return kept, scale, _scaled(values[:, varies], scale), [one.name for one in every if one not in kept]


def _size(values: pd.Series) -> float:
    """Return the typical size of a balance: the median of those that are not zero, minor units."""
    some = values.abs()[values.abs() > 0]
    return float(some.median()) if len(some) else 1.0


def _named(centres: Array, measures: list[Measure]) -> tuple[str, ...]:
    """Return a name for each segment after what sets it apart most, in as few words as keep the names apart.

    What sets apart is the deviation of its centre in standard deviations; below the middle it reads "no_": "salary",
    "inactive", "no_card". Balances do not name: those of loans are negative, and held contracts say the same.
    """
    blocks = pd.Series([one.block for one in measures])
    deviation = centres * np.sqrt(blocks.map(blocks.value_counts()).to_numpy(float))
    far = np.argsort(-np.abs(deviation), axis=1, kind="stable")
    speaking = {number for number, one in enumerate(measures) if one.block != "balance"} or set(range(len(measures)))
    for words in range(1, len(speaking) + 1):
        names = []
        for row, order in zip(deviation, far, strict=True):
            chosen = [number for number in order if number in speaking][:words]
            names.append("-".join(_word(measures[number], row[number]) for number in chosen))
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(f"{name}-{number}" for number, name in enumerate(names, start=1))


def _word(one: Measure, deviation: float) -> str:
    if one.block == "activity":
        return "active" if deviation > 0 else "inactive"
    word = f"{plan.slug(one.level)}_balance" if one.block == "balance" else plan.slug(one.level)
    return word if deviation > 0 else f"no_{word}"
