"""Whether the audit log is as it was written: what was changed, removed, moved, put in, cut off or put back."""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.store import keys, session
from crmlib.store.audit_chain import mac_of, seal_of
from crmlib.store.tables import AuditEntry, AuditHead

FINDINGS = {"code": "str", "first": "Int64", "last": "Int64", "message": "str"}

_BLOCK = 5_000
_RECENT = 4  # MACs of rows before, among which a moved entry's own predecessor is looked for
_EXAMINED = 30  # entries that are compared with each other's places


def verify(data: Path, head: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Return what is wrong with the audit log, nothing for one that is as it was written.

    In: ``head`` what ``audit.head`` returned at an earlier time and was kept elsewhere; only with it a log that was
    put back to an older state as a whole is found. Out: one row per finding, ``code`` (changed, missing, moved,
    renumbered, beyond, truncated, head, exported_head, rolled_back, empty), ``first`` and ``last`` the entries, and the
    ``message``. The log is read in blocks, so that millions of entries need no memory; writers may go on meanwhile.

    Raises EnvironmentFault where the log has entries and its key is lost, DataError for ``head`` that is none.
    """
    exported = None if head is None else _read_head(head)
    with session.engine(data).connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # all blocks see the log at one moment
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")
        stored = connection.execute(sa.select(AuditHead.entry, AuditHead.mac, AuditHead.seal)).one_or_none()
        empty = connection.scalar(sa.select(sa.func.max(AuditEntry.entry))) is None
        if stored is None and empty:
            return _table(_nothing(keys.existing(data, keys.AUDIT), exported))
        key = keys.of_log(data)
        walked = _walk(key, _rows(connection), wanted=exported["entry"] if exported else 0)
    found = [*_entries(key, walked)]
    found += _head(key, stored, walked)
    if exported:
        found += _exported(key, exported, walked)
    return _table(found)


@dataclass(frozen=True)
class _Finding:
    code: str
    first: int | None
    last: int | None
    message: str


@dataclass
class _Walked:
    """What one reading of the log left behind."""

    last: int = 0
    mac: str = ""
    wanted: str | None = None  # the MAC of the entry that an exported head names
    missing: list[tuple[int, int]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    renumbered: list[tuple[int, int]] = field(default_factory=list)  # entry, the number it was written with
    suspects: dict[int, dict[str, Any]] = field(default_factory=dict)  # the first ones changed
    near: set[str] = field(default_factory=set)  # MACs around them


# ---------------------------------------------------------------- reading


def _rows(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """Yield the entries in the order of their numbers; a time or content that cannot be read is left as text."""
    columns = [
        AuditEntry.entry,
        sa.type_coerce(AuditEntry.happened_at, sa.String).label("happened_at"),
        AuditEntry.actor,
        AuditEntry.role,
        AuditEntry.action,
        AuditEntry.subject,
        sa.cast(AuditEntry.content, sa.Text).label("content"),
        AuditEntry.mac,
    ]
    last: int | None = None
    while True:
        block = sa.select(*columns).order_by(AuditEntry.entry).limit(_BLOCK)
        found = connection.execute(block if last is None else block.where(AuditEntry.entry > last)).all()
        for row in found:
            yield row._asdict()
        if len(found) < _BLOCK:
            return
        last = found[-1].entry


def _mac(key: bytes, row: dict[str, Any], number: int, before: str) -> str:
    """Return the MAC a row would have as entry ``number`` after ``before``, "" where it cannot be read."""
    try:
        moment, text = row["happened_at"], row["content"]
        content = json.loads(text)
        if json.dumps(content) != text:  # an own way of writing the same is fine, a name written twice is not
            content = json.loads(text, object_pairs_hook=_once)
        happened = moment if isinstance(moment, dt.datetime) else dt.datetime.fromisoformat(moment)
        return mac_of(key, {**row, "entry": number, "happened_at": happened, "content": content}, before)
    except (TypeError, ValueError, RecursionError):
        return ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice")
    return made


def _walk(key: bytes, rows: Iterator[dict[str, Any]], *, wanted: int) -> _Walked:
    walked, shift, recent = _Walked(), 0, [""]
    for row in rows:
        number, mac = row["entry"], str(row["mac"])
        gap = number != walked.last + 1
        if gap:
            walked.missing.append((walked.last + 1, number - 1))
        own = "" if gap else _mac(key, row, number + shift, recent[-1])
        if not gap and not _same(own, mac):
            # Another place fits where the rows before were exchanged, taken away or put in with new numbers.
            places = ((number + step, before) for step in (shift, 0, -1, 1) for before in recent)
            place = next((one for one, before in places if _same(_mac(key, row, one, before), mac)), None)
            if place is None:
                walked.changed.append(number)
                if len(walked.suspects) < _EXAMINED:
                    walked.suspects[number] = row
                    walked.near |= {mac, own, *recent}
            else:
                shift = place - number
                walked.near.add(mac)
        if shift:
            walked.renumbered.append((number, number + shift))
        if number == wanted:
            walked.wanted = mac
        walked.last, walked.mac = number, mac
        # What a row's MAC should be counts too: the next one follows it where only the MAC itself was changed.
        recent = [*recent[-_RECENT:], *([own] if own and own != mac else []), mac]
    return walked


def _same(one: str, other: str) -> bool:
    return bool(one) and hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))


# ---------------------------------------------------------------- what it means


def _entries(key: bytes, walked: _Walked) -> Iterator[_Finding]:
    for first, last in walked.missing:
        after = f"; entry {last + 1} cannot be checked without {'it' if first == last else 'them'}"
        yield _finding("missing", first, last, "{these} is missing|{these} are missing", after)
    moved = _moved(key, walked)
    for number, place in moved.items():
        if place != number:
            yield _Finding("moved", number, number, f"entry {number} was written as entry {place} and moved here")
    for first, last in _ranges([number for number in walked.changed if number not in moved]):
        words = "{these} is not as it was written: changed, or put in|{these} are not as they were written: changed, or put in"
        yield _finding("changed", first, last, words)
    for first, last, shift in _shifted(walked.renumbered):
        words = f"{{these}} was written as {first + shift}|{{these}} were written as {first + shift} to {last + shift}"
        yield _finding("renumbered", first, last, words, ": others were put in, taken away or moved before")


def _moved(key: bytes, walked: _Walked) -> dict[int, int]:
    """Return where the first of the entries that fit nowhere were written, for those that fit each other's places."""
    free = [number for first, last in walked.missing if last - first < _EXAMINED for number in range(first, last + 1)]
    left = [number for number, _ in walked.renumbered[:_EXAMINED]]
    places = dict.fromkeys([*walked.suspects, *left, *free[:_EXAMINED]])
    return {
        number: place
        for number, row in walked.suspects.items()
        for place in places
        if any(_same(_mac(key, row, place, before), str(row["mac"])) for before in walked.near)
    }


def _head(key: bytes, stored: Any, walked: _Walked) -> Iterator[_Finding]:
    if stored is None:
        yield _Finding("head", None, None, "the head of the log is gone")
        return
    if not _same(seal_of(key, stored.entry, stored.mac), stored.seal):
        words = "the head of the log was not sealed by its key: it was replaced, or the key is another one"
        yield _Finding("head", stored.entry, stored.entry, words)
    if stored.entry > walked.last:
        words = "{these} is cut off: the head knows it|{these} are cut off: the head knows them"
        yield _finding("truncated", walked.last + 1, stored.entry, words)
    elif stored.entry < walked.last:
        words = "{these} follows the head: put in, or the head was put back|{these} follow the head: put in, or the head was put back"
        yield _finding("beyond", stored.entry + 1, walked.last, words)
    elif stored.mac != walked.mac:
        yield _Finding("head", stored.entry, stored.entry, f"the head knows entry {stored.entry} with another MAC")


def _exported(key: bytes, exported: dict[str, Any], walked: _Walked) -> Iterator[_Finding]:
    number = exported["entry"]
    if not _same(seal_of(key, number, exported["mac"]), exported["seal"]):
        words = "the exported head was not sealed by the key of this log: it was changed, or is of another log"
        yield _Finding("exported_head", number, number, words)
    elif number > walked.last:
        words = f"the exported head knows entry {number}, but the log ends at entry {walked.last}: cut off, or put back to an older state"
        yield _Finding("rolled_back", walked.last + 1, number, words)
    elif number and walked.wanted != exported["mac"]:
        words = f"entry {number} is not the one the exported head knows: the log was put back to an older state and went on from there"
        yield _Finding("rolled_back", number, number, words)


def _nothing(key: bytes | None, exported: dict[str, Any] | None) -> list[_Finding]:
    if exported and exported["entry"]:
        words = f"the log is empty, but the exported head knows entry {exported['entry']}"
        return [_Finding("rolled_back", 1, exported["entry"], words)]
    if key is not None:
        return [_Finding("empty", None, None, "the log has its key but neither entries nor a head: it was emptied")]
    return []


def _read_head(head: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"entry": int, "mac": str, "seal": str}
    if not all(type(head.get(name)) is kind for name, kind in kinds.items()):
        raise DataError("the exported head is not one: it needs entry, mac and seal as `crm audit head` writes them")
    return {name: head[name] for name in kinds}


# ---------------------------------------------------------------- words


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


def _shifted(renumbered: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    for shift in sorted({place - number for number, place in renumbered}):
        numbers = [number for number, place in renumbered if place - number == shift]
        for first, last in _ranges(numbers):
            yield first, last, shift


def _finding(code: str, first: int, last: int, words: str, after: str = "") -> _Finding:
    one, many = words.split("|")
    these = f"entry {first}" if first == last else f"entries {first} to {last}"
    return _Finding(code, first, last, (one if first == last else many).format(these=these) + after)


def _table(found: list[_Finding]) -> pd.DataFrame:
    rows = [(one.code, one.first, one.last, one.message) for one in found]
    return pd.DataFrame(rows, columns=list(FINDINGS)).astype(FINDINGS)
