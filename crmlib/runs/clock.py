"""The one place below the command line that reads the clock."""

from __future__ import annotations

import datetime as dt


def now() -> dt.datetime:
    """Return the UTC time, naive, as the store and the warehouse keep it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
