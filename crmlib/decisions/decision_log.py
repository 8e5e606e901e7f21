"""The decision log: for every decision the candidates, why each was dropped or ranked where it is, and what would flip it.

A log is one Parquet file of plain columns below ``data/decisions/KIND``, recorded in the store; any tool reads it.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.store import files, session
from crmlib.store.tables import DecisionSet

KINDS = ("best offers", "desk", "match")
COLUMNS = [
    *("customer_id", "as_of", "decision", "rank", "product_id", "channel", "code", "detail", "products"),
    *("basis", "probability", "uplift", "margin_minor", "retention", "lever", "cost_minor"),
    *("value_minor", "unlevered_minor", "price_minor", "net_minor"),
    *("flip_minor", "flip_chance", "flip_cost_minor", "until"),
]
"""The columns of a log of best offers; see docs/offers.md for what each says."""
_NEEDED = ("customer_id", "as_of", "decision", "code")


def save(
    log: pd.DataFrame,
    *,
    data: Path,
    kind: str,
    settings: dict[str, Any],
    warehouse_version: int,
    now: dt.datetime,
    score_set_id: int | None = None,
    run_id: int | None = None,
) -> int:
    """Write a log as Parquet and record it; return the number of the decision set.

    In: ``log`` with customer_id, as_of (one date), decision, code and any other plain columns; ``settings`` of the
    decision as plain data. Raises DataError for another kind or a log without these columns or with several dates,
    EnvironmentFault where it cannot be written; then nothing is recorded and no half of a file is left behind.
    """
    missing = [name for name in _NEEDED if name not in log]
    if kind not in KINDS or missing:
        what = f"kind is {kind!r}; use {', '.join(KINDS)}" if kind not in KINDS else f"no column {', '.join(missing)}"
        raise DataError(f"decision log: {what}")
    days = pd.to_datetime(log["as_of"]).dt.date.unique()
    if len(days) != 1:
        raise DataError(f"decision log: as_of has {len(days)} dates; write one log for each date")
    folder = data / "decisions" / kind.replace(" ", "-")
    stem = f"{days[0]}-warehouse{warehouse_version:06d}"
    with files.adding(log, folder, stem, data=data) as (store, path, checksum, _):
        row = DecisionSet(
            kind=kind,
            as_of=days[0],
            warehouse_version=warehouse_version,
            score_set_id=score_set_id,
            settings=settings,
            file=path.relative_to(data).as_posix(),
            checksum=checksum,
            rows=len(log),
            created_at=now,
            run_id=run_id,
        )
        store.add(row)
        store.flush()
        number = row.decision_set_id
    return number


def newest(data: Path, kind: str = "best offers", *, as_of: dt.date | None = None) -> DecisionSet:
    """Return the newest decision set of a kind (of a date); raises NotFoundError where there is none."""
    query = sa.select(DecisionSet).where(DecisionSet.kind == kind).order_by(DecisionSet.decision_set_id.desc())
    if as_of is not None:
        query = query.where(DecisionSet.as_of == as_of)
    with session.session(data) as opened:
        found = opened.scalar(query.limit(1))
    if found is None:
        wanted = f" as of {as_of}" if as_of else ""
        raise NotFoundError(
            f"there is no decision log of {kind}{wanted} below {data / 'decisions'}; make one with `crm offers`"
        )
    return found


def read(data: Path, decisions: DecisionSet, *, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a log; raises EnvironmentFault where its file is missing or was changed."""
    return files.read_parquet(
        data / decisions.file, decisions.checksum, remedy="make it again with `crm offers`", columns=columns
    )
