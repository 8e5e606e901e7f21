"""``crm audit``: whether the audit log is as it was written, what it says, and its head to be kept elsewhere."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path
from typing import Any

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.runs.command import Command

# ruff: noqa: PLC0415

FOUND = DataError.exit_code
"""The exit code of ``crm audit verify`` where something is wrong with the log."""

_TEXTS = ("actor", "role", "action", "content")
_CONTROL = "[\x00-\x1f\x7f-\x9f]"


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="audit_action", required=True, metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)  # what stands before the action may stand behind it, too
    common.add_argument("--data", metavar="DIR", default=argparse.SUPPRESS, help="data folder")
    verify = actions.add_parser(
        "verify", parents=[common], help="look for changed, removed, moved, added and cut off entries"
    )
    verify.add_argument(
        "--head", type=Path, metavar="FILE", help="a head kept elsewhere: finds a log that was put back"
    )
    verify.set_defaults(audit=_verify)
    listed = actions.add_parser("list", parents=[common], help="the newest entries, or those asked for")
    listed.add_argument("--actor", metavar="NAME", help="entries of one person, exactly as recorded")
    listed.add_argument("--action", metavar="WORD", help="entries of one kind: export, picture, look, reveal, login …")
    listed.add_argument("--since", type=_moment, metavar="TIME", help="entries from this day or UTC time on")
    listed.add_argument("--customer", metavar="ID", help="entries about one customer, by customer_id")
    listed.add_argument("--newest", type=_positive, default=50, metavar="N", help="at most this many (default 50)")
    listed.set_defaults(audit=_list)
    head = actions.add_parser(
        "head", parents=[common], help="how far the log reaches, as JSON to be kept where no one here can write"
    )
    head.add_argument("--to", type=Path, metavar="FILE", help="write it to a file (default: to the screen)")
    head.set_defaults(audit=_head)


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write 2025-03-31 or 2025-03-31T18:00") from error
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _run(given: argparse.Namespace, data: Path) -> int:
    code: int = given.audit(given, data)
    return code


def _verify(given: argparse.Namespace, data: Path) -> int:
    from crmlib.store import audit

    exported = None if given.head is None else _read(given.head)
    found = audit.verify(data, exported)
    for message in found["message"]:
        print(message)
    if len(found):
        print(
            f"{len(found):,} findings: the audit log is not as it was written; keep the store as it is for whoever looks into it"
        )
        return FOUND
    reached = audit.head(data)
    entries = reached["entry"] if reached else 0
    print(
        f"the audit log is as it was written: {entries:,} entries"
        + ("" if exported is None else ", and it holds the head given")
    )
    return 0


def _list(given: argparse.Namespace, data: Path) -> int:
    from crmlib.store import audit

    found = audit.entries(
        data,
        newest=given.newest,
        actor=given.actor,
        action=given.action,
        since=given.since,
        customer_id=given.customer,
    )
    if found.empty:
        print("no entries")
        return 0
    told = found.assign(
        subject=found["subject"].str.slice(0, 12).fillna(""),
        content=[json.dumps(content, ensure_ascii=False) for content in found["content"]],
    )
    # Names come from outside: a terminal must not take them for its own commands.
    shown = told.assign(**{name: told[name].str.replace(_CONTROL, "?", regex=True) for name in _TEXTS})
    print(shown.to_string(index=False, max_colwidth=100))
    return 0


def _head(given: argparse.Namespace, data: Path) -> int:
    from crmlib.store import audit

    found = audit.head(data)
    if found is None:
        raise NotFoundError("the audit log has no entries yet; there is no head to keep")
    text = json.dumps(found, indent=2)
    if given.to is None:
        print(text)
        return 0
    part = given.to.with_name(f".{given.to.name}.part")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(given.to)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise EnvironmentFault(f"{given.to}: cannot be written ({error.strerror}); choose another file") from error
    print(f"head of entry {found['entry']:,} written to {given.to}")
    return 0


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read as an exported head ({error}); give a file of `crm audit head --to`"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: is no exported head; give a file of `crm audit head --to`")
    return found


COMMANDS = [
    Command("audit", "who took what away and looked at whom; whether the log was tampered with", _arguments, _run)
]
