"""Opening the operational store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib import paths
from crmlib.store.tables import Base


def engine(data: Path) -> sa.Engine:
    """Return an engine on the store of a data folder, created and migrated where needed; SQLite in WAL mode."""
    url = sa.make_url(paths.store_url(data))
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    made = sa.create_engine(url)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(made, "connect", _prepare_sqlite)
    Base.metadata.create_all(made)
    return made


def session(data: Path) -> Session:
    """Return a session on the store of a data folder; use it with ``with`` and commit explicitly."""
    return Session(engine(data))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")
