"""The rows that an engine answers with, as Arrow has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from crmlib.errors import DataError
from crmlib.features.plan import Feature

_ARROW = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}


def shape(features: Iterable[Feature]) -> pa.Schema:
    """Return the schema of an engine's answer: customer_id, then the features; categories are texts."""
    fields = [pa.field(feature.name, _ARROW.get(feature.dtype, pa.string())) for feature in features]
    return pa.schema([pa.field("customer_id", pa.string()), *fields])


def batch(rows: list[Any], wanted: pa.Schema) -> pa.RecordBatch:
    """Return rows of an answer as a batch of the wanted types; raises DataError where a value does not fit."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(wanted)
    arrays = []
    for field, column in zip(wanted, columns, strict=True):
        try:
            arrays.append(pa.array(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise DataError(
                f"feature {field.name}: the engine returned what is no {field.type} ({str(error).splitlines()[0]}); "
                "see that the tables have the types of docs/schema.md"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
