"""How long until the next phase, and which one: from how long others stayed, by the time they had already been there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.models.lifecycle import history as histories
from crmlib.models.lifecycle import phases
from crmlib.models.lifecycle.history import History
from crmlib.models.lifecycle.observations import QUARTER_DAYS
from crmlib.models.lifetime.inputs import Array

LONGEST = 4
"""Quarters in a phase from which on one chance of leaving holds, and which those are given who were in it from the start."""
FEWEST = 30
"""Fewer customer-quarters than this are taken together with the other lengths of stay in the phase."""
DRAWS = 1_000
RANGE = (0.1, 0.9)
"""The dates by which these shares of customers will have moved bound the range that is shown."""
_FAR = 400  # quarters: beyond any horizon


def times(history: History, *, seed: int = 7) -> pd.DataFrame:
    """Return how long customers stay on, by phase and quarters already spent there.

    Out: phase, quarters (1 to ``LONGEST``, the last meaning "or more"), customers (customer-quarters observed), moved
    (of them, within a quarter), days (expected until the next phase; NaN where nobody ever moved), low, high (its 95%
    interval), days_from, days_to (by then 10% and 90% of such customers have moved; NaN beyond any horizon), next_phase
    (the most frequent), next_share (of those who move). Phases in which nobody was seen long enough are left out.
    """
    exposed, moved, going = _counted(history)
    random = np.random.default_rng(seed)
    rows = []
    for place, phase in enumerate(phases.PHASES):
        if exposed[place].sum() == 0:
            continue
        size, left, to = _pooled(exposed[place], moved[place], going[place])
        chance = random.beta(left + 0.5, size - left + 0.5, size=(DRAWS, LONGEST))
        drawn = _expected(chance)
        point = _expected((left / size)[None, :])[0]
        for quarter in range(LONGEST):
            low, high = np.quantile(drawn[:, quarter], [0.025, 0.975])
            # Where all moved, no draw is quite as quick as the estimate.
            low, high = min(low, point[quarter]), max(high, point[quarter])
            first, last = _range(left / size, quarter)
            best = int(to[quarter].argmax())
            some = left[quarter] > 0
            rows.append(
                {
                    "phase": phase,
                    "quarters": quarter + 1,
                    "customers": int(exposed[place, quarter]),
                    "moved": int(moved[place, quarter]),
                    "days": point[quarter] if np.isfinite(point[quarter]) else np.nan,
                    "low": low if np.isfinite(point[quarter]) else np.nan,
                    "high": high if np.isfinite(point[quarter]) else np.nan,
                    "days_from": first,
                    "days_to": last,
                    "next_phase": phases.PHASES[best] if some else "",
                    "next_share": float(to[quarter, best] / left[quarter]) if some else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    "phase",
    "quarters",
    "customers",
    "moved",
    "days",
    "low",
    "high",
    "days_from",
    "days_to",
    "next_phase",
    "next_share",
]


def ahead(history: History, table: pd.DataFrame) -> pd.DataFrame:
    """Return what comes next for each customer at the last date of a history.

    In: a table of ``times``. Out, a row a customer: customer_id, quarters (in the phase, as far as seen), next_phase,
    next_share, days_to_next (expected), days_from, days_to. A closed relationship has no next phase.
    """
    length, seen = histories.runs(history)
    phase, closed = history.phase[:, -1], history.closed[:, -1]
    quarter = _place(length[:, -1], seen[:, -1])
    names = np.array([*phases.PHASES, ""], dtype=object)[phase]
    keys = pd.MultiIndex.from_arrays([names, quarter])
    found = table.set_index(["phase", "quarters"]).reindex(keys).reset_index(drop=True)
    own = pd.DataFrame({"customer_id": history.customer_id.to_numpy(), "quarters": length[:, -1]})
    out = own.assign(
        next_phase=found["next_phase"].fillna("").astype(str).to_numpy(),
        next_share=found["next_share"].to_numpy(float),
        days_to_next=found["days"].to_numpy(float),
        days_from=found["days_from"].to_numpy(float),
        days_to=found["days_to"].to_numpy(float),
    )
    numbers = ["next_share", "days_to_next", "days_from", "days_to"]
    out.loc[closed, numbers] = np.nan
    out.loc[closed, "next_phase"] = ""
    return out


def _place(length: Array, seen: Array) -> Array:
    """Return the quarters spent in the phase; one that began before the history has lasted longest, as far as is known."""
    return np.where(seen, np.clip(length, 1, LONGEST), LONGEST)


def _counted(history: History) -> tuple[Array, Array, Array]:
    """Return by phase and quarters in it: customer-quarters, how many moved, and where to."""
    length, seen = histories.runs(history)
    size = len(phases.PHASES)
    before, after = history.phase[:, :-1], history.phase[:, 1:]
    quarter = _place(length[:, :-1], seen[:, :-1])
    known = (before >= 0) & (after >= 0) & ~history.closed[:, :-1]
    own, there, where = before[known].astype(np.int64), quarter[known] - 1, after[known].astype(np.int64)
    going = np.bincount((own * LONGEST + there) * size + where, minlength=size * LONGEST * size)
    going = going.reshape(size, LONGEST, size)
    exposed = going.sum(axis=2)
    for place in range(size):
        going[place, :, place] = 0
    return exposed, going.sum(axis=2), going


def _pooled(exposed: Array, moved: Array, going: Array) -> tuple[Array, Array, Array]:
    """Return the same with the lengths of stay that too few had replaced by all of the phase."""
    few = exposed < FEWEST
    return (
        np.where(few, exposed.sum(), exposed).astype(float),
        np.where(few, moved.sum(), moved).astype(float),
        np.where(few[:, None], going.sum(axis=0), going).astype(float),
    )


def _expected(chance: Array) -> Array:
    """Return the expected days until the move from the chances of moving by quarter (cases × quarters)."""
    out = np.empty_like(chance)
    with np.errstate(divide="ignore"):
        ahead_ = 1 / chance[:, -1]
    out[:, -1] = ahead_
    for quarter in range(LONGEST - 2, -1, -1):
        left = 1 - chance[:, quarter]
        # Nobody is left where all move, even if those who stayed would stay for ever.
        ahead_ = 1 + np.where(left > 0, left * np.where(left > 0, ahead_, 0.0), 0.0)
        out[:, quarter] = ahead_
    return (out - 0.5) * QUARTER_DAYS  # a move falls somewhere within its quarter


def _range(chance: Array, quarter: int) -> tuple[float, float]:
    """Return after how many days the shares of ``RANGE`` have moved, linear within a quarter."""
    later = np.concatenate([chance[quarter:], np.full(_FAR, chance[-1])])
    gone = np.concatenate([[0.0], 1 - np.cumprod(1 - later)])
    found = [float(np.interp(share, gone, np.arange(len(gone)))) * QUARTER_DAYS for share in RANGE]
    return tuple(one if gone[-1] >= share else float("nan") for one, share in zip(found, RANGE, strict=True))  # type: ignore[return-value]
