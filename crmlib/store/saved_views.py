"""The settings of dashboards that people keep under a name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import SavedView

LONGEST_NAME = 60


def save(data: Path, dashboard: str, name: str, settings: dict[str, Any], *, now: dt.datetime, actor: str) -> None:
    """Keep the settings of a dashboard under a name; one of the same name is replaced.

    Raises UsageError for an empty or very long name.
    """
    wanted = " ".join(name.split())
    if not 0 < len(wanted) <= LONGEST_NAME:
        raise UsageError(f"the name of a view is {name[:80]!r}; give one of 1 to {LONGEST_NAME} characters")
    with session.session(data) as opened:
        row = opened.scalar(_named(dashboard, wanted)) or SavedView(dashboard=dashboard, name=wanted)
        row.settings, row.saved_at, row.saved_by = settings, now, actor
        opened.add(row)
        opened.commit()


def names(data: Path, dashboard: str) -> list[str]:
    """Return the names of the views kept for a dashboard, sorted."""
    with session.session(data) as opened:
        return list(opened.scalars(sa.select(SavedView.name).filter_by(dashboard=dashboard).order_by(SavedView.name)))


def load(data: Path, dashboard: str, name: str) -> dict[str, Any]:
    """Return the settings kept under a name; raises NotFoundError where there are none."""
    with session.session(data) as opened:
        found = opened.scalar(_named(dashboard, name))
    if found is None:
        raise NotFoundError(f"there is no view {name!r} of {dashboard}; there are {', '.join(names(data, dashboard))}")
    return dict(found.settings)


def delete(data: Path, dashboard: str, name: str) -> None:
    """Forget the settings kept under a name, where there are any."""
    with session.session(data) as opened:
        opened.execute(sa.delete(SavedView).filter_by(dashboard=dashboard, name=name))
        opened.commit()


def _named(dashboard: str, name: str) -> sa.Select[SavedView]:
    return sa.select(SavedView).filter_by(dashboard=dashboard, name=name)
