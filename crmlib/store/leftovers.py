"""Removing what killed processes left behind below a data folder: their work, and files that were never recorded."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

from crmlib.store import files

_NEVER_OURS = ("samples", "staging", "warehouse")
"""Folders where others look after what is left: ``warehouse.prune``, and nobody."""


def clear(data: Path, *, now: dt.datetime) -> list[str]:
    """Remove what processes that have ended left behind; return its names below the data folder.

    ``now`` (UTC) decides for those of other machines. Raises EnvironmentFault where the store cannot be asked what is
    recorded.
    """
    removed = []
    for path in _abandoned(data, now.replace(tzinfo=dt.UTC).timestamp()):
        with files.reporting(path.parent):
            if path.is_dir():
                files.settle(path, data)
            else:
                path.unlink(missing_ok=True)
        removed.append(path.relative_to(data).as_posix())
    return removed


def _abandoned(data: Path, now: float) -> Iterator[Path]:
    for root, folders, names in os.walk(data):
        if Path(root) == data:
            folders[:] = [name for name in folders if name not in _NEVER_OURS]
        for name in [name for name in (*folders, *names) if name.startswith(".")]:
            path = Path(root, name)
            try:
                gone = files.abandoned(path, now=now)
            except FileNotFoundError:  # its process has just ended well
                continue
            if gone:
                yield path
        folders[:] = [name for name in folders if not name.startswith(".")]
