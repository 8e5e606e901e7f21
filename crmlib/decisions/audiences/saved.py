"""Audiences under a name in the operational store: every change is a new version, nothing is overwritten."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from crmlib.decisions.audiences.conditions import closest, normal, same
from crmlib.decisions.audiences.contradictions import check
from crmlib.errors import EnvironmentFault, NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import Audience

COLUMNS = ("audience_id", "name", "audience_version", "created_at", "created_by")
LONGEST_NAME = 128
_ATTEMPTS = 20


def save(data: Path, name: str, conditions: Any, *, now: dt.datetime, actor: str) -> Audience:
    """Save conditions under a name and return the row; conditions equal to the newest version's make no new one.

    ``now`` is UTC. Raises UsageError for bad conditions or a name that is blank or too long.
    """
    found = normal(getattr(conditions, "data", conditions))
    check(found)
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or "\x00" in name:
        raise UsageError(f"the name of the audience is {name[:60]!r}; give 1 to {LONGEST_NAME} characters")
    for _ in range(_ATTEMPTS):
        with session.session(data) as store:
            last = store.scalar(_versions(name).limit(1))
            if last is not None and same(last.conditions, found):
                return last
            row = Audience(
                name=name,
                audience_version=last.audience_version + 1 if last else 1,
                conditions=found,
                created_at=now,
                created_by=actor,
            )
            store.add(row)
            try:
                store.commit()
            except IntegrityError:  # somebody took the number; look at what they saved
                continue
            store.refresh(row)
            store.expunge(row)
            return row
    raise EnvironmentFault(f"audience {name!r}: others save it at the same time again and again; try later")


def load(data: Path, name: str, version: int | None = None) -> Audience:
    """Return a saved audience, its newest version or the one asked for; raises NotFoundError."""
    with session.session(data) as store:
        query = _versions(name.strip())
        found = store.scalar(query.limit(1) if version is None else query.where(Audience.audience_version == version))
        if found is not None:
            return found
        versions = store.scalars(_versions(name.strip())).all()
        if versions:
            raise NotFoundError(
                f"audience {name!r} has no version {version}; the newest is {versions[0].audience_version}"
            )
        known = sorted(store.scalars(sa.select(Audience.name).distinct()))
    have = f"there are {', '.join(known[:12])}" if known else "none was saved yet"
    raise NotFoundError(f"there is no audience {name!r}{closest(name, known)}; {have}")


def by_id(data: Path, audience_id: int) -> Audience:
    """Return a saved audience by its number; raises NotFoundError."""
    with session.session(data) as store:
        found = store.get(Audience, audience_id)
    if found is None:
        raise NotFoundError(f"there is no audience number {audience_id}; open one of those saved")
    return found


def saved(data: Path) -> pd.DataFrame:
    """Return every version of every audience, by name and the newest first: ``COLUMNS``."""
    columns = [getattr(Audience, name) for name in COLUMNS]
    with session.session(data) as store:
        rows = store.execute(sa.select(*columns).order_by(Audience.name, Audience.audience_version.desc())).all()
    return pd.DataFrame([tuple(row) for row in rows], columns=list(COLUMNS))


def _versions(name: str) -> sa.Select[Any]:
    return sa.select(Audience).where(Audience.name == name).order_by(Audience.audience_version.desc())
