"""What every job does before it begins: it looks after what killed processes left behind."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from crmlib import paths, warehouse
from crmlib.errors import CrmError
from crmlib.store import files, ledger, leftovers
from crmlib.warehouse import company as companies
from crmlib.warehouse import pruning

log = logging.getLogger(__name__)


_COMPANY = ".company.toml"


def after_the_dead(data: Path, *, now: dt.datetime) -> list[str]:
    """Mark dead runs and loads as interrupted, remove their work and orphans; return the names of what was removed.

    A folder without a warehouse is left as it is. What cannot be removed now stays for the next time.
    """
    if not paths.warehouse(data).is_dir():
        return []
    try:
        ledger.mark_interrupted(data, now=now)
        _finish_company(data, now)
        removed = [*pruning.clear(data, now=now)["file"], *leftovers.clear(data, now=now)]
    except (CrmError, SQLAlchemyError, OSError) as error:
        log.warning("what dead processes left behind could not be removed: %s", error)
        return []
    if removed:
        log.info("removed what dead processes left behind", extra={"files": removed})
    return removed


@contextmanager
def becoming_company(source: Path | None, data: Path) -> Iterator[Callable[[], None]]:
    """Lay a company file ready beside the data folder's own; yields what puts it in its place once a load was accepted.

    A version carries its company: where the process dies between the two, the next job finds by the version that is
    served whether the file was accepted, and finishes what was begun.
    """
    if source is None:
        yield lambda: None
        return
    content, staged = source.read_bytes(), files.temporary(data, _COMPANY)
    try:
        with files.reporting(data):
            files.make_folder(data)
            staged.write_bytes(content)
            files.sync(staged)
        yield lambda: _put_company(staged, data)
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def _put_company(staged: Path, data: Path) -> None:
    with files.reporting(data):
        staged.replace(data / "company.toml")
        files.sync(data)


def _finish_company(data: Path, now: dt.datetime) -> None:
    for staged in sorted(data.glob(f".*{_COMPANY}"), key=lambda file: file.stat().st_mtime):
        if not files.abandoned(staged, now=now.replace(tzinfo=dt.UTC).timestamp()):
            continue
        with suppress(CrmError):  # nothing is served yet, or the file was cut short: then it was never accepted
            if companies.read(staged) == warehouse.open(paths.warehouse(data)).company:
                _put_company(staged, data)
