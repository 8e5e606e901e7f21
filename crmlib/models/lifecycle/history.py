"""The history of phases, quarter by quarter: since when, and who moved where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.lifecycle import phases
from crmlib.models.lifetime.inputs import Array

_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class History:
    """Phases of customers over quarter ends.

    Attributes: ``customer_id`` those known at the last date; ``days`` the dates; ``phase`` (customers × dates) the number of
    the phase in ``phases.PHASES``, -1 before the customer was known; ``closed`` where the relationship had ended.
    """

    customer_id: pd.Index
    days: tuple[pd.Timestamp, ...]
    phase: Array
    closed: Array

    def table(self) -> pd.DataFrame:
        """Return the history as a table, a row a customer and date: customer_id, as_of, phase."""
        row, column = np.nonzero(self.phase >= 0)
        names = phases.categorical(self.phase[row, column])
        days = np.array(self.days, dtype="datetime64[s]")[column]
        return pd.DataFrame({"customer_id": self.customer_id.to_numpy()[row], "as_of": days, "phase": names})


def collect(assigned: Sequence[pd.DataFrame], observed: Sequence[pd.DataFrame]) -> History:
    """Return the history of phases from the tables of ``phases.assign`` of successive dates.

    In: also the tables of ``observations.observe`` they were made of, whose ``ended`` says which relationships were closed,
    whatever the rules call that. Raises DataError where the dates do not rise.
    """
    days = tuple(pd.Timestamp(table["as_of"].iloc[0]) for table in assigned)
    if list(days) != sorted(set(days)):
        raise DataError("the dates of a history of phases must rise; give one table a date, in order")
    ids = pd.Index(assigned[-1]["customer_id"])
    phase = np.full((len(ids), len(days)), -1, dtype=np.int8)
    closed = np.zeros(phase.shape, dtype=bool)
    for column, (table, seen) in enumerate(zip(assigned, observed, strict=True)):
        place = ids.get_indexer(pd.Index(table["customer_id"]))
        known = place >= 0
        number = pd.Categorical(table["phase"], categories=list(phases.PHASES)).codes
        phase[place[known], column] = number[known]
        closed[place[known], column] = (seen["ended"] > 0).to_numpy()[known]
    return History(ids, days, phase, closed)


def runs(history: History) -> tuple[Array, Array]:
    """Return for how many dates in a row each customer has been in the phase, and whether its beginning was seen.

    Both are customers × dates. A phase at the first date of the history began at some time before; that of a customer
    who became known later began when he was first seen in it.
    """
    size = history.phase.shape
    length, seen = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=bool)
    for column in range(size[1]):
        here = history.phase[:, column]
        if column == 0:
            length[:, 0] = here >= 0
            continue
        same = (here == history.phase[:, column - 1]) & (here >= 0)
        length[:, column] = np.where(same, length[:, column - 1] + 1, here >= 0)
        seen[:, column] = np.where(same, seen[:, column - 1], here >= 0)
    return length, seen


def moves(history: History) -> pd.DataFrame:
    """Return who moved where within a quarter, all quarters together.

    Out, a row a phase and next phase that occurred: phase, next_phase, customers (customer-quarters), share (of those in the
    phase), low, high (Wilson's 95% interval). Staying counts as a move to the same phase. Closed relationships, which
    never move, are left out.
    """
    size = len(phases.PHASES)
    before, after = history.phase[:, :-1], history.phase[:, 1:]
    known = (before >= 0) & (after >= 0) & ~history.closed[:, :-1]
    count = np.bincount(before[known].astype(np.int64) * size + after[known], minlength=size * size)
    matrix = count.reshape(size, size)
    row, column = np.nonzero(matrix)
    number, total = matrix[row, column].astype(float), matrix.sum(axis=1)[row].astype(float)
    share = number / total
    middle = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    spread = _Z / (1 + _Z**2 / total) * np.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    names = np.array(phases.PHASES, dtype=object)
    return pd.DataFrame(
        {
            "phase": names[row].astype(str),
            "next_phase": names[column].astype(str),
            "customers": number.astype(np.int64),
            "share": share,
            "low": np.maximum(middle - spread, 0),
            "high": np.minimum(middle + spread, 1),
        }
    )
