"""What a person should know before opening a dashboard: data not loaded, scores missing or old, jobs that failed or are late."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmlib import paths
from crmlib.errors import CrmError
from crmlib.store import score_sets, session
from crmlib.store.tables import Alert, Pointer, ScoreSet

NEEDS: Mapping[str, tuple[str, ...]] = {
    "campaign_targeting": ("propensity",),
    "retention_watchlist": ("retention",),
    "loyalty": ("loyalty",),
    "due_list": ("replenishment",),
    "demand": ("demand",),
}
"""The scores without which a dashboard shows nothing; the first one dates it."""

_MOST_ALERTS = 5


@dataclass(frozen=True)
class State:
    """What the store knows: the version ``served`` (None: nothing is loaded), what each dashboard's scores reach to, what
    is wrong with them as codes with parameters, and the alerts nobody cleared.
    """

    served: int | None = None
    as_of: dict[str, dt.date] = field(default_factory=dict)
    wrong: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)


def state(data: Path, dashboards: Iterable[str]) -> State:
    """Return what the store of a data folder says about the dashboards; a store that is not there or fails knows nothing."""
    address = sa.make_url(paths.store_url(data))
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        return State()
    try:
        with session.session(data) as store:
            served = store.scalar(sa.select(Pointer.version).where(Pointer.name == "served"))
            if served is None:
                return State()
            newest = _newest(store)
            found = State(served, alerts=_alerts(store))
    except (CrmError, sa.exc.SQLAlchemyError):
        return State()
    for name in dashboards:
        needed = NEEDS.get(name, ())
        missing = [model for model in needed if model not in newest]
        if missing:
            found.wrong[name] = {"code": "missing", "command": score_sets.command(missing[0])}
        elif needed:
            found.as_of[name] = newest[needed[0]].as_of
            if min(newest[model].warehouse_version for model in needed) < served:
                command = score_sets.command(needed[0])
                found.wrong[name] = {"code": "older", "version": served, "command": command}
    return found


def _newest(store: sa.orm.Session) -> dict[str, ScoreSet]:
    """Return the newest set of scores of each model."""
    models = {model for several in NEEDS.values() for model in several}
    found = store.scalars(sa.select(ScoreSet).where(ScoreSet.model.in_(models)).order_by(ScoreSet.score_set_id))
    return {one.model: one for one in found}


def _alerts(store: sa.orm.Session) -> list[Alert]:
    query = sa.select(Alert).where(Alert.cleared_at.is_(None)).order_by(Alert.raised_at.desc())
    return list(store.scalars(query.limit(_MOST_ALERTS)))
