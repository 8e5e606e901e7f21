"""Ids of the sample bank's rows, contracts and customers, as Arrow columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crmlib.samples import bank_block as blocks
from crmlib.samples.columns import Array, numbers

ROWS_PER_BLOCK = 100_000_000
"""Room for the numbers of a block's rows, so that no block needs to know how many another one has."""


def row_ids(block: int, count: int) -> pa.Array:
    """Return ids for the rows of one table of a block."""
    return numbers((block + 1) * ROWS_PER_BLOCK + np.arange(count))


def contract_ids(block: int, positions: Array) -> pa.Array:
    """Return the numbers of contracts by their position in the block, empty where it is negative."""
    return numbers((block + 1) * ROWS_PER_BLOCK // 100 + positions, empty=positions < 0)


def customers(block: blocks.Block, positions: Array) -> pa.Array:
    """Return the numbers of customers by their position in the block."""
    return numbers(block.people.number[positions])
