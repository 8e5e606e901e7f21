"""Arrow columns of made-up companies' files: texts, days, moments and money as real exports have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Array = NDArray[Any]


def numbers(values: Array, *, empty: Array | None = None) -> pa.Array:
    """Return whole numbers as texts, empty where ``empty`` says so."""
    return pc.cast(pa.array(values.astype(np.int64), mask=empty), pa.string())


def pick(values: Sequence[str], positions: Array, *, empty: Array | None = None) -> pa.Array:
    """Return the values at the positions given, empty where the position is negative or ``empty`` says so."""
    nothing = positions < 0 if empty is None else (positions < 0) | empty
    places = pa.array(np.maximum(positions, 0).astype(np.int32), mask=nothing)
    return pa.array(values, pa.string()).take(places)


def days(values: Array, *, pattern: str = "", empty: Array | None = None) -> pa.Array:
    """Return day numbers as dates, as texts where a ``pattern`` of strftime is given; 0 is empty."""
    nothing = values == 0 if empty is None else (values == 0) | empty
    column = pa.array(values.astype(np.int32), pa.date32(), mask=nothing)
    if not pattern:
        return column
    found, places = np.unique(values, return_inverse=True)
    texts = pc.strftime(pa.array(found.astype(np.int32), pa.date32()), format=pattern)
    return texts.take(pa.array(places.astype(np.int32), mask=nothing))


def moments(values: Array) -> pa.Array:
    """Return seconds since 1970 as times to the second; 0 is empty."""
    return pa.array(values.astype(np.int64), pa.timestamp("s"), mask=values == 0)


def major(values: Array, *, decimal: str = ".", empty: Array | None = None) -> pa.Array:
    """Return amounts in minor units, not negative, as texts in major units.

    >>> major(np.array([123456, 50]), decimal=",").to_pylist()
    ['1234,56', '0,50']
    """
    whole, rest = np.divmod(values.astype(np.int64), 100)
    padded = pc.utf8_lpad(numbers(rest), 2, "0")
    return pc.binary_join_element_wise(numbers(whole, empty=empty), padded, decimal)
