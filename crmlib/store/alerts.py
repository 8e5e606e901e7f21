"""The alerts of the store: raised once for each topic, taken by whoever sends them, cleared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib.store import session as stores
from crmlib.store.tables import Alert

COLUMNS = {
    "alert_id": "int64",
    "topic": "str",
    "code": "str",
    "content": "object",
    "raised_at": "datetime64[us]",
    "cleared_at": "datetime64[us]",
    "sent": "object",
}
CLAIM = dt.timedelta(minutes=5)
"""How long others leave an alert alone that somebody has begun to send; longer than any channel may take."""
FIRST_PAUSE = dt.timedelta(minutes=1)
LONGEST_PAUSE = dt.timedelta(hours=1)

_LONGEST_TOPIC = 128
# As text: the only form of a JSON column that every database can compare.
_AS_KEPT = sa.cast(Alert.sent, sa.Text).label("as_kept")


def put(data: Path, *, topic: str, code: str, content: Mapping[str, Any], now: dt.datetime) -> bool:
    """Raise an alert unless one on this topic stands; return whether it is new. ``content`` is plain JSON."""
    values = {"code": code, "content": dict(content), "raised_at": now}
    named = Alert.topic == topic[:_LONGEST_TOPIC]
    with stores.session(data) as store:
        again = sa.update(Alert).where(named, Alert.cleared_at.is_not(None))
        if _one(store, again.values(**values, cleared_at=None, sent={})):
            return True
        if store.scalar(sa.select(Alert.alert_id).where(named)) is not None:
            return False
        store.add(Alert(topic=topic[:_LONGEST_TOPIC], sent={}, **values))
        try:
            store.commit()
        except sa.exc.IntegrityError:  # another process raised it at the same moment
            store.rollback()
            return False
        return True


def clear(data: Path, topic: str, *, now: dt.datetime) -> bool:
    """Clear the alert on a topic, so that it can be raised again; return whether one stood."""
    with stores.session(data) as store:
        standing = sa.update(Alert).where(Alert.topic == topic[:_LONGEST_TOPIC], Alert.cleared_at.is_(None))
        return _one(store, standing.values(cleared_at=now))


def alerts(data: Path, *, standing: bool = True, newest: int = 200) -> pd.DataFrame:
    """Return the alerts, newest first: those that stand, or with ``standing=False`` also those cleared.

    Columns and types: ``COLUMNS``; times are UTC; ``sent`` says for each channel ``received`` (a time), or ``tries``,
    ``trouble`` and ``again`` (when it is tried next).
    """
    wanted = sa.select(*[getattr(Alert, name) for name in COLUMNS])
    if standing:
        wanted = wanted.where(Alert.cleared_at.is_(None))
    with stores.session(data) as store:
        found = store.execute(wanted.order_by(Alert.raised_at.desc(), Alert.alert_id.desc()).limit(newest)).all()
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(COLUMNS)


def trouble(sent: Mapping[str, Any]) -> dict[str, str]:
    """Return the last trouble of each channel that has not received an alert.

    >>> trouble({"email": {"tries": 2, "trouble": "no route", "again": "…"}, "command": {"received": "…"}})
    {'email': 'no route'}
    """
    return {name: state["trouble"] for name, state in sent.items() if state.get("trouble")}


def claim(data: Path, channel: str, *, now: dt.datetime) -> list[dict[str, Any]]:
    """Take the standing alerts that a channel has to send now, oldest first; what another process took is left to it.

    Returns alert_id, code, content and raised_at of each. Whoever takes them says what came of it with ``note``.
    """
    taken = []
    with stores.session(data) as store:
        rows = store.execute(
            sa.select(Alert.alert_id, Alert.code, Alert.content, Alert.raised_at, Alert.sent, _AS_KEPT)
            .where(Alert.cleared_at.is_(None))
            .order_by(Alert.raised_at, Alert.alert_id)
        ).all()
        store.rollback()  # so that what follows sees what others have written since
        for row in rows:
            state = row.sent.get(channel, {})
            if state.get("received") or ("again" in state and dt.datetime.fromisoformat(state["again"]) > now):
                continue
            waiting = {**state, "again": (now + CLAIM).isoformat()}
            if _change(store, row.alert_id, row.as_kept, {**row.sent, channel: waiting}):
                taken.append({name: getattr(row, name) for name in ("alert_id", "code", "content", "raised_at")})
    return taken


def note(data: Path, alert_id: int, channel: str, *, trouble: str, now: dt.datetime) -> None:
    """Write into an alert that a channel received it, or its ``trouble``: then it is due again after 1, 2, 4 … 60 minutes."""
    while True:  # another channel may write into it at the same time
        with stores.session(data) as store:
            row = store.execute(sa.select(Alert.sent, _AS_KEPT).where(Alert.alert_id == alert_id)).one()
            store.rollback()
            tries = int(row.sent.get(channel, {}).get("tries", 0)) + 1
            state: dict[str, Any] = {"tries": tries, "received": now.isoformat()}
            if trouble:
                pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
                state = {"tries": tries, "trouble": trouble, "again": (now + pause).isoformat()}
            if _change(store, alert_id, row.as_kept, {**row.sent, channel: state}):
                return


def _change(store: Session, alert_id: int, as_kept: str, sent: dict[str, Any]) -> bool:
    unchanged = sa.update(Alert).where(Alert.alert_id == alert_id, sa.cast(Alert.sent, sa.Text) == as_kept)
    return _one(store, unchanged.values(sent=sent))


def _one(store: Session, statement: sa.Update) -> bool:
    """Execute and commit; return whether a row was changed."""
    done = store.execute(statement)
    store.commit()
    return bool(done.rowcount)  # type: ignore[attr-defined]
