"""The audit log: who did what, when, about whom; only ever added to, in one line, chained by keyed MACs.

Each entry has a number (1, 2, … without gaps) and a MAC: HMAC-SHA256 with the key ``keys.AUDIT`` over the entry, its
number and the MAC before it. The head, the last number and MAC, carries a seal of the same key. So whoever can write to
the database but has not the key can change, remove, reorder or add nothing that ``verify`` does not find.
Customers are pseudonyms, HMAC with another key.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, EnvironmentFault, UsageError
from crmlib.store import keys, session
from crmlib.store.audit_chain import COLUMNS, mac_of, pseudonym_of, seal_of
from crmlib.store.audit_check import verify
from crmlib.store.tables import AuditEntry, AuditHead

PERSONAL = frozenset(
    {
        "answer",
        "application_id",
        "author",
        "birth_date",
        "children",
        "customer_id",
        "education",
        "email",
        "employment_status",
        "family_name",
        "gender",
        "given_name",
        "household_id",
        "income_minor",
        "marital_status",
        "merchant",
        "occupation",
        "person_id",
        "phone",
        "postcode",
        "relative_id",
        "risk_class",
        "text",
        "transaction_id",
    }
)
"""Columns of the schema that are personal or contact details wherever they stand; never a key of an entry's content."""

__all__ = ["COLUMNS", "PERSONAL", "Writing", "add", "entries", "head", "pseudonym", "record", "verify", "writing"]

_NAME = "audit"
_LOCK = 0x63726D61  # PostgreSQL: writers of one log take turns
_ACTION = re.compile(r"[a-z][a-z_ ]{0,31}")
_LONGEST_ACTOR = 256
_LONGEST_CONTENT = 20_000
_NOT_STORED = re.compile("[\x00\ud800-\udfff]")  # what a database refuses in a text


@dataclass(frozen=True)
class Writing:
    """The one writer of a log: holds its lock until the transaction of ``connection`` ends."""

    data: Path
    connection: sa.Connection


# ---------------------------------------------------------------- writing


def record(
    data: Path,
    *,
    actor: str,
    role: str,
    action: str,
    now: dt.datetime,
    subject: str | None = None,
    content: Mapping[str, Any] | None = None,
) -> int:
    """Add one entry and return its number; it is on the disk when this returns.

    In: ``actor`` and ``role`` who, ``action`` what ("export", "look", "reveal", "login" …), ``now`` the UTC time,
    ``subject`` the customer_id it is about, which becomes a pseudonym, ``content`` plain JSON.

    Never call it within a transaction of your own on the same store: it waits for that one to end; use ``writing``.

    Raises UsageError for an empty actor or a strange action, DataError for content that is no plain JSON or names
    personal columns, EnvironmentFault where the log cannot be written, its key is lost or its head does not fit.
    """
    with writing(data) as log:
        return add(log, actor=actor, role=role, action=action, now=now, subject=subject, content=content)


@contextmanager
def writing(data: Path) -> Iterator[Writing]:
    """Hold the log's lock; entries added, and whatever else is written on the connection, are committed as one.

    Raises EnvironmentFault where the log cannot be written; then nothing is.
    """
    engine = session.engine(data)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield Writing(data, connection)
            connection.commit()
    except (sa.exc.DatabaseError, session.StoreFault) as error:
        raise EnvironmentFault(
            f"the record could not be written to the store ({_reason(error)}), so nothing was done; mend the store and try again"
        ) from error


def add(
    log: Writing,
    *,
    actor: str,
    role: str,
    action: str,
    now: dt.datetime,
    subject: str | None = None,
    content: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry within ``writing`` and return its number; in and errors as of ``record``."""
    if not actor.strip():
        raise UsageError("actor is empty; an entry of the audit log says who did it")
    if not _ACTION.fullmatch(action):
        raise UsageError(f"action is {action!r}; use up to 32 small letters, for example export or look")
    key, last = _continued(log)
    number = last.entry + 1
    entry = {
        "entry": number,
        "happened_at": _moment(now),
        "actor": _stored(actor)[:_LONGEST_ACTOR],
        "role": _stored(role)[:32],
        "action": action,
        "subject": None if subject is None else pseudonym_of(_pseudonym_key(log.data, log.connection), subject),
        "content": _checked(content or {}),
    }
    mac = mac_of(key, entry, last.mac)
    log.connection.execute(sa.insert(AuditEntry), {**entry, "mac": mac})
    log.connection.execute(
        sa.update(AuditHead).where(AuditHead.name == _NAME),
        {"entry": number, "mac": mac, "seal": seal_of(key, number, mac)},
    )
    return number


@dataclass(frozen=True)
class _Last:
    entry: int
    mac: str


def _continued(log: Writing) -> tuple[bytes, _Last]:
    """Return the key and the entry to go on from; a log that was tampered with is not gone on with."""
    head = log.connection.execute(sa.select(AuditHead.entry, AuditHead.mac, AuditHead.seal)).one_or_none()
    if head is None:
        if log.connection.scalar(sa.select(sa.func.max(AuditEntry.entry))) is not None:
            raise _broken("has entries but no head")
        key = keys.secret(log.data, keys.AUDIT)
        nothing = {"name": _NAME, "entry": 0, "mac": "", "seal": seal_of(key, 0, "")}
        log.connection.execute(sa.insert(AuditHead), nothing)
        return key, _Last(0, "")
    key = keys.of_log(log.data)
    if not hmac.compare_digest(head.seal, seal_of(key, head.entry, head.mac)):
        raise _broken("has a head that its key did not seal")
    return key, _Last(head.entry, head.mac)


def _broken(what: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the audit log {what}, so nothing can be recorded; see `crm audit verify`, and put the right key or a backup "
        "of the store back"
    )


def _pseudonym_key(data: Path, connection: sa.Connection) -> bytes:
    key = keys.existing(data, keys.PSEUDONYM)
    if key is not None:
        return key
    if connection.scalar(sa.select(sa.exists().where(AuditEntry.subject.is_not(None)))):
        raise EnvironmentFault(
            f"{keys.where(data, keys.PSEUDONYM)}: the key of the customers' pseudonyms is gone, but the audit log "
            "has entries about customers; put it back from a backup"
        )
    return keys.secret(data, keys.PSEUDONYM)


def _reason(error: sa.exc.DatabaseError | session.StoreFault) -> str:
    if isinstance(error, session.StoreFault):
        return error.reason
    return str(error.orig).strip().splitlines()[0]


# ---------------------------------------------------------------- what an entry holds


def _moment(now: dt.datetime) -> dt.datetime:
    return now.astimezone(dt.UTC).replace(tzinfo=None) if now.tzinfo else now


def _stored(text: str) -> str:
    return _NOT_STORED.sub("\ufffd", text)


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content as the database gives it back; raises DataError where it must not or cannot be kept."""
    checked = _plain(dict(content), "content")
    if len(json.dumps(checked)) > _LONGEST_CONTENT:
        raise DataError(
            f"the content of an audit entry has more than {_LONGEST_CONTENT:,} characters; record a checksum of it"
        )
    assert isinstance(checked, dict)
    return checked


def _plain(value: object, place: str) -> object:
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise DataError(f"{place} of an audit entry has the key {name!r}; keys are texts")
            if name in PERSONAL:
                raise DataError(
                    f"{place} of an audit entry has {name!r}, a personal column; name the customer in subject=, "
                    "which becomes a pseudonym, and leave the rest out"
                )
        return {_stored(name): _plain(one, f"{place}.{name}") for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, place) for one in value]
    if isinstance(value, str):
        return _stored(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(f"{place} of an audit entry is {value!r}; use texts, numbers, true, false and lists of them")


# ---------------------------------------------------------------- reading


def pseudonym(data: Path, customer_id: str) -> str:
    """Return what a customer is called in the audit log: 64 hexadecimal digits.

    Raises EnvironmentFault where the log has entries about customers and the key is lost.
    """
    with session.engine(data).connect() as connection:
        return pseudonym_of(_pseudonym_key(data, connection), customer_id)


def entries(
    data: Path,
    *,
    newest: int | None = 100,
    actor: str | None = None,
    action: str | None = None,
    since: dt.datetime | None = None,
    customer_id: str | None = None,
) -> pd.DataFrame:
    """Return entries, newest first: columns and types ``COLUMNS``, times in UTC, ``subject`` a pseudonym.

    ``newest`` how many at most, None for all; ``actor`` and ``action`` exactly, ``since`` a UTC time, ``customer_id``
    in clear.
    """
    wanted = sa.select(*[getattr(AuditEntry, name) for name in COLUMNS])
    if actor is not None:
        wanted = wanted.where(AuditEntry.actor == actor)
    if action is not None:
        wanted = wanted.where(AuditEntry.action == action)
    if since is not None:
        wanted = wanted.where(AuditEntry.happened_at >= since)
    if customer_id is not None:
        wanted = wanted.where(AuditEntry.subject == pseudonym(data, customer_id))
    with session.session(data) as store:
        found = store.execute(wanted.order_by(AuditEntry.entry.desc()).limit(newest)).all()
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(COLUMNS)


def head(data: Path) -> dict[str, Any] | None:
    """Return how far the log reaches, as plain JSON to be kept elsewhere; None for a log without entries.

    ``{"log": "crm audit", "entry": 17, "mac": "…", "seal": "…"}``: ``seal`` is the head's own MAC.
    """
    with session.session(data) as store:
        found = store.execute(sa.select(AuditHead.entry, AuditHead.mac, AuditHead.seal)).one_or_none()
    return None if found is None else {"log": "crm audit", **found._asdict()}
