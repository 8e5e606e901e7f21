"""The ledger of runs: what was started, by which process, and how it ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crmlib.errors import NotFoundError
from crmlib.store import fence, processes, session
from crmlib.store.tables import Load, Run

if TYPE_CHECKING:
    import pandas as pd

ENDED = ("succeeded", "failed", "interrupted")
COLUMNS = {
    "run_id": "int64",
    "kind": "str",
    "name": "str",
    "parameters": "object",
    "state": "str",
    "started_at": "datetime64[us]",
    "finished_at": "datetime64[us]",
    "exit_code": "Int64",
    "warehouse_version": "Int64",
    "output": "str",
    "message": "str",
}


def start_run(data: Path, *, kind: str, name: str, parameters: Mapping[str, Any], now: dt.datetime) -> int:
    """Enter a run of this process as running and return its number.

    ``kind`` is notebook, demo, train, score, load or features; ``parameters`` must be plain JSON and hold no secret; ``now`` is
    UTC.
    """
    with session.session(data) as store:
        run = Run(kind=kind, name=name, parameters=dict(parameters), state="running", started_at=now)
        store.add(run)
        store.flush()
        fence.link_run(store, run.run_id)
        store.commit()
        return run.run_id


def finish_run(
    data: Path,
    run_id: int,
    *,
    state: str,
    now: dt.datetime,
    exit_code: int,
    warehouse_version: int | None = None,
    output: str | None = None,
    message: str | None = None,
) -> None:
    """Enter how a run ended: ``state`` succeeded, failed or interrupted; ``output`` a file below the data folder.

    Raises NotFoundError for a run that is not in the ledger, ValueError for another state.
    """
    if state not in ENDED:
        raise ValueError(f"state is {state!r}; use one of {', '.join(ENDED)}")
    with session.session(data) as store:
        run = store.get(Run, run_id)
        if run is None:
            raise NotFoundError(f"run {run_id} is not in the ledger; see the latest runs with `crm doctor`")
        run.state, run.finished_at, run.exit_code = state, now, exit_code
        run.warehouse_version, run.output, run.message = warehouse_version, output, message
        store.commit()


def mark_interrupted(data: Path, *, now: dt.datetime) -> int:
    """Mark the runs and loads whose process has ended without saying so as interrupted; return how many."""
    marked = 0
    with session.session(data) as store:
        running: list[Run | Load] = [
            *store.scalars(sa.select(Run).where(Run.state == "running")),
            *store.scalars(sa.select(Load).where(Load.state == "running")),
        ]
        for entry in running:
            if processes.gone(entry.process, since=entry.started_at, now=now):
                entry.state, entry.finished_at = "interrupted", now
                entry.message = "the process ended without saying how"
                marked += 1
        store.commit()
    return marked


def run(data: Path, run_id: int) -> dict[str, Any]:
    """Return one run as a dictionary of ``COLUMNS``; raises NotFoundError for one that is not in the ledger."""
    with session.session(data) as store:
        found = store.get(Run, run_id)
        if found is None:
            raise NotFoundError(f"run {run_id} is not in the ledger; see the latest runs with `crm doctor`")
        return {name: getattr(found, name) for name in COLUMNS}


def runs(data: Path, *, newest: int = 20) -> pd.DataFrame:
    """Return the latest runs, newest first; columns and types: ``COLUMNS``; times are UTC."""
    import pandas as pd  # noqa: PLC0415  (slow to import, and a scheduler's ticks never need it)

    with session.session(data) as store:
        found = store.execute(
            sa.select(*[getattr(Run, name) for name in COLUMNS]).order_by(Run.run_id.desc()).limit(newest)
        ).all()
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(COLUMNS)
