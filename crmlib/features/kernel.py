"""Features by the local kernel: blocks of customers, codes and days into small cubes of counts and sums.

A warehouse version is sorted by customer, so a block of customers is a contiguous part of each table. DuckDB hands over
only the columns needed, already filtered to what was known; numpy counts and adds in 64-bit integers, so sums are exact.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from crmlib.features import customers, reading, source
from crmlib.features.block import Block, Layout
from crmlib.features.cubes import Array, Room
from crmlib.features.plan import Feature, Measure
from crmlib.features.reading import Query
from crmlib.features.results import Results, Run
from crmlib.features.spec import find_table
from crmlib.features.sql import earliest
from crmlib.warehouse.snapshot import Snapshot


class Measured(Protocol):
    """What was counted of a block of customers."""

    def __getitem__(self, measure: Measure, /) -> Array:
        """Return a measure, one element for each of the block's customers."""


BLOCK = 16_384
"""Customers computed at a time: what their cubes need stays within the processor's caches."""


def compute(snapshot: Snapshot, features: list[Feature], *, only: Iterable[str] | None = None) -> dict[str, Any]:
    """Return customer_id (Arrow) and each feature (array; categories as Arrow texts), one element per customer.

    Raises DataError where amounts are too large to be added exactly.
    """
    ids, keys, own = customers.read(snapshot, features, only=only)
    results = Results.of(features, len(keys))
    fill(snapshot, results, keys, some=only is not None)
    out: dict[str, Any] = {"customer_id": ids, **dict(results.columns()), **own}
    ratios(features, out)
    return out


def fill(snapshot: Snapshot, results: Results, keys: Array, *, some: bool = False) -> None:
    """Write the features of ``results``, for the customers with these keys.

    ``some`` says that the keys are few among many, so that reading everybody's rows would be waste.
    """
    members = reading.blocks(keys, BLOCK)
    with snapshot.warehouse.scan() as connection:
        for batch, runs in batches(results.runs):
            query, layout = prepared(snapshot, batch)
            room = Room()
            cuts = [layout.cut(run.measures) if run.added else None for run in runs]
            for block, columns in reading.by_block(connection, query, members, some=some):
                found = Block(columns, block.size, layout, room)
                for run, cut in zip(runs, cuts, strict=True):
                    if cut:
                        block.put_difference(*found.planes(run.measures[0], cut), run.values)
                    else:
                        block.put(computed(run.features[0], found, snapshot.as_of), run.values)


def ratios(features: Iterable[Feature], out: dict[str, Any]) -> None:
    """Write the features made of other features into ``out``."""
    for feature in features:
        if feature.inputs and not feature.table:
            inputs = [out[str(name)] for name in feature.inputs]
            out[feature.name] = FORMULAS[feature.formula](inputs, feature, 0)


def batches(runs: Iterable[Run]) -> list[tuple[list[Measure], list[Run]]]:
    """Return what one pass over a table's rows yields; balances in force need another pass than movements."""
    groups: dict[Any, tuple[dict[Measure, None], list[Run]]] = {}
    for run in runs:
        measures = run.measures
        found = groups.setdefault((measures[0].table, measures[0].kind == "state"), ({}, []))
        found[0].update(dict.fromkeys(measures))
        found[1].append(run)
    return [(list(measures), mine) for measures, mine in groups.values()]


def prepared(snapshot: Snapshot, batch: list[Measure]) -> tuple[Query, Layout]:
    """Return the query for the rows of a batch as known at the snapshot, and its layout."""
    table, through = batch[0].table, {measure.by for measure in batch}
    rows = source.rows(table, snapshot.as_of, through=through, first_day=earliest(batch, snapshot.as_of), keyed=True)
    # A join or the choice of an entity's last rows may mix them.
    mixed = table == "balances" or "product_group" in through or find_table(table).info["kind"] == "dated"
    query = Query.of(snapshot.warehouse, reading.needed(batch, rows), ordered=not mixed)
    return query, Layout.of(batch, snapshot.as_of)


def computed(feature: Feature, found: Measured, as_of: dt.date) -> Array:
    """Return the values of a feature from its measures."""
    inputs = [found[measure] for measure in feature.inputs]  # type: ignore[index]
    return FORMULAS[feature.formula](inputs, feature, source.day_number(as_of))


def _divided(top: Array, bottom: Array) -> Array:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=(bottom != 0) & ~np.isnan(bottom))


def _trend(inputs: list[Array], feature: Feature, today: int) -> Array:
    (recent, before), (recent_months, before_months) = inputs, feature.weights
    a, b = recent * before_months, before * recent_months
    return _divided(a - b, np.abs(a) + np.abs(b))


def _variance(inputs: list[Array], feature: Feature, today: int) -> Array:
    count, squares = inputs
    return np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=count >= 2)


FORMULAS: dict[str, Callable[[list[Array], Feature, int], Array]] = {
    "value": lambda inputs, feature, today: inputs[0],
    "days": lambda inputs, feature, today: today - inputs[0],
    "ratio": lambda inputs, feature, today: _divided(inputs[0], inputs[1]),
    "difference": lambda inputs, feature, today: inputs[0] - inputs[1],
    "mean": lambda inputs, feature, today: np.add.reduce(inputs, axis=0) / np.float64(len(inputs)),
    "trend": _trend,
    "variance": _variance,
}
