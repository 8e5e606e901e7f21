"""The commands around the safety of the data: backup and restore."""

from __future__ import annotations

import argparse
from pathlib import Path

from crmlib.errors import UsageError
from crmlib.runs import clock
from crmlib.runs.command import Command

# ruff: noqa: PLC0415


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    words = (
        "the folder that holds the backups; `verify FOLDER` compares one, or the newest of several, with its checksums"
    )
    parser.add_argument("target", nargs="+", metavar="FOLDER", help=words)
    parser.add_argument("--keep", type=_positive, metavar="N", help="afterwards remove all but the newest N backups")
    parser.add_argument(
        "--with-keys", action="store_true", help="copy keys and secrets too; keep such a backup locked away"
    )


def _backup(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import backup

    first, *rest = given.target
    if first == "verify" and len(rest) == 1:
        folder = backup.locate(Path(rest[0]))
        manifest = backup.verify(folder)
        print(
            f"{folder}: sound, {len(manifest['files'])} files of {manifest['made_at']}, made by crmlib {manifest['crmlib']}"
        )
        return
    if rest:
        raise UsageError(
            f"one folder is wanted, not {len(given.target)}; write `crm backup FOLDER` or `crm backup verify FOLDER`"
        )
    made = backup.make(data, Path(first), now=clock.now(), with_keys=given.with_keys)
    print(
        f"{made.folder}: {made.files} files, {made.bytes / 1e6:.1f} MB, {made.linked} of them as in the backup before"
    )
    if not given.with_keys:
        print("keys and secrets are not in it (--with-keys); without the keys the audit log cannot be verified")
    for file in made.missing:
        print(f"not there, though the store names it: {file}")
    if given.keep:
        removed = backup.prune(Path(first), keep=given.keep)
        print(f"removed: {', '.join(removed)}" if removed else "no older backup to remove")


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a backup, or a folder of several: then the newest")


def _restore(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import restore

    manifest = restore.restore(given.folder, data)
    print(
        f"{data}: restored {len(manifest['files'])} files of {manifest['made_at']}; serves version {manifest['versions']['served']}"
    )
    if not manifest["keys"]:
        print("keys and secrets were not in the backup; put them into keys/ and secrets/ before people go on working")


COMMANDS = [
    Command("backup", "copy the store, the warehouse, models and scores to a safe place", _backup_arguments, _backup),
    Command("restore", "put a backup back into an empty data folder (--data)", _restore_arguments, _restore),
]
