"""The one place below the command line that reads the clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path


def now() -> dt.datetime:
    """Return the UTC time, naive, as the store and the warehouse keep it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)


def shared(data: Path) -> dt.datetime:
    """Return the time by which all who share a store go: the database server's, else this machine's; naive UTC."""
    import sqlalchemy as sa  # noqa: PLC0415  (slow to import, and most commands only want the time)

    from crmlib.store import session  # noqa: PLC0415

    with session.engine(data).connect() as connection:
        if connection.dialect.name != "postgresql":
            return now()
        at = connection.scalar(sa.select(sa.func.timezone("UTC", sa.func.clock_timestamp())))
    assert isinstance(at, dt.datetime)
    return at.replace(microsecond=0)
