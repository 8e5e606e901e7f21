"""People who may open dashboards with a password; only hashes are kept.

A password is stretched with scrypt (RFC 7914): 32 MiB and some 0.3 s of one processor for each try, with a random salt of
16 bytes. An unknown or ended user costs as much time as a wrong password. Every change that must end the sessions
begun before counts ``session`` up; a session carries the number it began with.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import User

SHORTEST, LONGEST = 12, 256
"""Characters of a password."""

_LOG2_N, _R, _P = 15, 8, 3
_MOST_MEMORY = 128 * 2**20
_NAME = r"[a-z0-9][a-z0-9._@-]{0,63}"


@dataclass(frozen=True)
class Known:
    """A person who may come in: name, role and the number of the sessions that hold."""

    name: str
    role: str
    session: int


def add(data: Path, name: str, role: str, password: str, *, now: dt.datetime) -> None:
    """Let a person in; one who was removed comes back, without the sessions of before.

    Raises UsageError for a name that is taken or cannot be one, and for a weak password.
    """
    wanted = tidy(name)
    if not re.fullmatch(_NAME, wanted):
        raise UsageError(
            f"the name of the user is {name[:80]!r}; use up to 64 small letters, digits and . _ @ -, such as maria.silva"
        )
    hashed = _hashed(_strong(password, wanted))
    with session.session(data) as opened:
        row = opened.get(User, wanted)
        if row is not None and row.active:
            raise UsageError(
                f"there is a user {wanted} already; change them with `crm users password` or `crm users role`"
            )
        if row is None:
            row = User(name=wanted, session=0, created_at=now)
            opened.add(row)
        row.role, row.password_hash, row.active = role, hashed, True
        row.session, row.changed_at = row.session + 1, now
        opened.commit()


def set_password(data: Path, name: str, password: str, *, now: dt.datetime) -> None:
    """Give a person another password, which ends their sessions; raises NotFoundError, and UsageError for a weak one."""
    hashed = _hashed(_strong(password, tidy(name)))
    _change(data, name, {"password_hash": hashed}, now)


def set_role(data: Path, name: str, role: str, *, now: dt.datetime) -> None:
    """Give a person another role, which ends their sessions; raises NotFoundError for an unknown name."""
    _change(data, name, {"role": role}, now)


def remove(data: Path, name: str, *, now: dt.datetime) -> None:
    """Let a person in no longer and end their sessions; the name stays known, for what is recorded under it."""
    _change(data, name, {"active": False}, now)


def listed(data: Path) -> pd.DataFrame:
    """Return everybody who was ever let in: name, role, active, created_at, changed_at (UTC)."""
    columns = [User.name, User.role, User.active, User.created_at, User.changed_at]
    with session.session(data) as opened:
        rows = opened.execute(sa.select(*columns).order_by(User.name)).all()
    return pd.DataFrame([tuple(row) for row in rows], columns=[column.key for column in columns])


def check(data: Path, name: str, password: str) -> Known | None:
    """Return the person whom name and password fit, None where they do not; always takes the time of one try."""
    with session.session(data) as opened:
        row = opened.get(User, tidy(name))
    known = row is not None and row.active
    fits = _fits(row.password_hash if row is not None and known else _NOBODY, password)
    return Known(row.name, row.role, row.session) if row is not None and known and fits else None


def current(data: Path, name: str) -> Known | None:
    """Return a person who may come in, as things are now; None where the name is unknown or was removed."""
    with session.session(data) as opened:
        row = opened.get(User, name)
    return Known(row.name, row.role, row.session) if row is not None and row.active else None


def tidy(name: str) -> str:
    """Return a name as it is kept: small letters, nothing around it.

    >>> tidy(" Maria.Silva ")
    'maria.silva'
    """
    return name.strip().lower()


def _change(data: Path, name: str, values: dict[str, object], now: dt.datetime) -> None:
    with session.session(data) as opened:
        row = opened.get(User, tidy(name))
        if row is None or not row.active:
            raise NotFoundError(f"there is no user {name[:80]!r}; `crm users list` shows who there is")
        for column, value in values.items():
            setattr(row, column, value)
        row.session, row.changed_at = row.session + 1, now
        opened.commit()


def _strong(password: str, name: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"the password has {len(password)} characters; use {SHORTEST} to {LONGEST}, a few words are easy to remember"
        )
    if len(set(password)) < 5 or name in password.lower():
        raise UsageError(
            "the password can be guessed: it repeats few characters or contains the name; use a few words, say four"
        )
    return password


def _hashed(password: str) -> str:
    salt = os.urandom(16)
    parts = (base64.b64encode(part).decode() for part in (salt, _stretched(password, salt, _LOG2_N, _R, _P)))
    return f"scrypt$ln={_LOG2_N},r={_R},p={_P}${'$'.join(parts)}"


def _fits(hashed: str, password: str) -> bool:
    found = re.fullmatch(r"scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/=]+)\$([\w+/=]+)", hashed)
    if found is None or len(password) > LONGEST:
        return False
    try:
        salt, kept = base64.b64decode(found[4], validate=True), base64.b64decode(found[5], validate=True)
        tried = _stretched(password, salt, *map(int, found.groups()[:3]))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(tried, kept)


def _stretched(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    typed = unicodedata.normalize("NFKC", password).encode()  # one password, however the keyboard composes accents
    return hashlib.scrypt(typed, salt=salt, n=2**log2_n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=32)


_NOBODY = "scrypt$ln=15,r=8,p=3$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
"""What an unknown user is compared with, at the same cost; no password is known to fit."""
