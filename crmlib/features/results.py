"""Where computed features are kept: those that are levels of one count or sum lie below each other and are written at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from crmlib.features.cubes import Array
from crmlib.features.plan import Feature, Measure

ADDED = ("count", "values", "sum")
"""Kinds of measures whose windows are differences of a cube's planes."""


@dataclass(frozen=True)
class Run:
    """Features, and their values by feature and customer.

    ``added`` says that each is one whole count or sum, all of the same rows and window, so that only the levels differ;
    otherwise there is but one.
    """

    features: tuple[Feature, ...]
    values: Array
    added: bool

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures that the features are made of."""
        return tuple(measure for feature in self.features for measure in feature.inputs if isinstance(measure, Measure))


class Results:
    """An empty array for each feature made of rows."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = list(runs)

    @classmethod
    def of(cls, features: Iterable[Feature], size: int) -> Results:
        """Make room for the features made of rows, for so many customers."""
        together: dict[object, list[Feature]] = {}
        for feature in features:
            if feature.inputs and feature.table:
                [first, *more] = feature.inputs
                added = not more and isinstance(first, Measure) and _added(feature, first)
                key = (replace(first, level=""), feature.dtype) if added else feature.name  # type: ignore[type-var]
                together.setdefault(key, []).append(feature)
        return cls(
            Run(tuple(run), np.empty((len(run), size), dtype=run[0].dtype), not isinstance(key, str))
            for key, run in together.items()
        )

    def columns(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and values of each feature."""
        for run in self.runs:
            for feature, values in zip(run.features, run.values, strict=True):
                yield feature.name, values

    def part(self, low: int, high: int) -> Results:
        """Return the room of some of the customers: what is written there is written here."""
        return Results(replace(run, values=run.values[:, low:high]) for run in self.runs)


def _added(feature: Feature, measure: Measure) -> bool:
    return feature.formula == "value" and measure.kind in ADDED and np.issubdtype(feature.dtype, np.integer)
