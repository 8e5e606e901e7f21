"""The daily check: raises an alert for tables without new data and for jobs that are late, and clears those that mended.

Run it by a timer that does not depend on the scheduler (`crm check --alarm`): then it also notices a scheduler that
no longer runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmlib import paths, warehouse
from crmlib.errors import NotFoundError
from crmlib.runs import alerts
from crmlib.runs.alert_settings import Settings
from crmlib.store import alerts as kept
from crmlib.store import lateness
from crmlib.store import session as stores
from crmlib.warehouse import quality


@dataclass(frozen=True)
class Finding:
    """Something wrong: what an alert is raised with."""

    topic: str
    code: str
    content: Mapping[str, Any]


def check(data: Path, settings: Settings, now: dt.datetime) -> list[Finding]:
    """Look for stale data and late jobs, raise and clear alerts, send them; return what is wrong now.

    Raises NotFoundError or EnvironmentFault where the warehouse is there but cannot be read.
    """
    found = [*stale(data, settings, now), *late(data, now)]
    topics = {finding.topic for finding in found}
    for topic in kept.alerts(data)["topic"]:
        if topic.startswith(("stale/", "late/")) and topic not in topics:
            alerts.clear(data, topic, now=now)
    for finding in found:
        alerts.raise_alert(data, topic=finding.topic, code=finding.code, content=finding.content, now=now)
    alerts.send_due(data, settings, now)
    return found


def stale(data: Path, settings: Settings, now: dt.datetime) -> list[Finding]:
    """Return the tables of events whose newest record is too old: beyond ``[stale]``, else twice their usual gap.

    An empty warehouse has none. Ages are counted in days to ``now`` (UTC).
    """
    try:
        wh = warehouse.open(paths.warehouse(data))
    except NotFoundError:
        return []
    found = []
    for row in quality.newest_records(wh, now.date()).to_dict("records"):
        limit = settings.stale.get(row["table"], row["patience_days"])
        if row["age_days"] > limit:
            content = {"table": row["table"], "newest": row["newest"].isoformat(), "age_days": row["age_days"]}
            found.append(Finding(f"stale/{row['table']}", "stale", {**content, "limit_days": round(limit)}))
    return found


def late(data: Path, now: dt.datetime) -> list[Finding]:
    """Return the jobs that should have begun by now, or began late and run: also those no scheduler looked after."""
    with stores.session(data) as store:
        found = lateness.late(store, now)
    return [_late(one, now) for one in found.values()]


def _late(one: lateness.Late, now: dt.datetime) -> Finding:
    content: dict[str, Any] = {"job": one.job, "logical_date": one.since.isoformat()}
    content |= {"hours_late": round((now - one.since).total_seconds() / 3600, 1)}
    if one.message:
        content["message"] = one.message
    return Finding(f"late/{one.job}", "late", content)
