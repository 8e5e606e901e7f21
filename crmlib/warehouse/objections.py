"""Who objected to profiling: they are neither scored nor judged."""

from __future__ import annotations

import pandas as pd

from crmlib.warehouse.snapshot import Snapshot

PURPOSE = "profiling"


def profiling_objectors(consents: pd.DataFrame, *, who: str = "customer_id") -> pd.Index:
    """Return the customers, named by the column ``who``, whose objection to profiling stands.

    In: ``consents`` with customer_id (or another column ``who``), channel, purpose, changed_at, granted, as known at a date. A
    statement for one channel is replaced by a later one for that channel or for "all"; whoever is left with any
    statement against profiling objects, a customer without a statement does not (GDPR Art. 21).

    >>> said = {"customer_id": ["a", "a"], "channel": "all", "purpose": "profiling", "granted": [False, True]}
    >>> profiling_objectors(pd.DataFrame({**said, "changed_at": pd.to_datetime(["2025-01-01", "2025-02-01"])})).tolist()
    []
    """
    said = consents[consents["purpose"] == PURPOSE]
    if said.empty:
        return pd.Index([], dtype=consents[who].dtype)
    # Of two statements of one moment the objection counts.
    said = said.sort_values(["changed_at", "granted"], ascending=[True, False], kind="stable")
    last = said.drop_duplicates([who, "channel"], keep="last")
    overall = last[last["channel"] == "all"].set_index(who)["changed_at"]
    overruled = last["changed_at"] < last[who].map(overall)
    against = ~last["granted"].astype(bool) & ~overruled
    return pd.Index(last.loc[against, who].drop_duplicates())


def objectors(snapshot: Snapshot) -> pd.Index:
    """Return the customer_id of everybody whose objection to profiling stands at a snapshot."""
    return profiling_objectors(snapshot.table("consents"))
