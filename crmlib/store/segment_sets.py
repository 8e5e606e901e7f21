"""Tables of segment memberships: saved by a segmentation, read by decisions and dashboards that never import one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.store import files, session
from crmlib.store.tables import SegmentSet

COLUMNS = ("customer_id", "as_of", "segmentation", "segment")
_REMEDY = "assign the customers again with `crm segment`"


def save(
    table: pd.DataFrame,
    *,
    data: Path,
    segmentation: str,
    fitted_as_of: dt.date,
    as_of: dt.date,
    warehouse_version: int,
    description: dict[str, Any],
    now: dt.datetime,
    run_id: int | None = None,
) -> int:
    """Write memberships as Parquet below ``data/segments/SEGMENTATION`` and record them; return the number of the set.

    Takes one row a customer: customer_id, as_of, segmentation, segment. The ``description`` (plain JSON: cut points or
    centres, a profile of each segment as codes) is kept in the row. Raises DataError for a table that is no such
    membership, EnvironmentFault where a file cannot be written; then nothing is recorded.
    """
    _check(table, segmentation, as_of)
    folder = data / "segments" / segmentation
    stem = f"{as_of}-fitted{fitted_as_of}-warehouse{warehouse_version:06d}"
    kept = table.loc[:, list(COLUMNS)]
    with files.adding(kept, folder, stem, data=data) as (store, path, checksum, _):
        row = SegmentSet(
            segmentation=segmentation,
            fitted_as_of=fitted_as_of,
            as_of=as_of,
            warehouse_version=warehouse_version,
            file=str(path.relative_to(data)),
            checksum=checksum,
            rows=len(table),
            description=description,
            created_at=now,
            run_id=run_id,
        )
        store.add(row)
        store.flush()
        number = row.segment_set_id
    return number


def newest(data: Path, segmentation: str, *, as_of: dt.date | None = None) -> SegmentSet:
    """Return the memberships saved last for the latest date (or for a date); raises NotFoundError for none."""
    found = _query(data, sa.select(SegmentSet).where(SegmentSet.segmentation == segmentation), as_of)
    if found is None:
        with session.session(data) as opened:
            known = sorted(opened.scalars(sa.select(SegmentSet.segmentation).distinct()))
        if segmentation in known:
            raise NotFoundError(
                f"there are no members of the segmentation {segmentation!r} as of {as_of}; make them with `crm segment`"
            )
        have = f"there are {', '.join(known)}" if known else "there is none yet"
        raise NotFoundError(f"unknown segmentation {segmentation!r}: {have}; make one with `crm segment`")
    return found


def dates(data: Path, segmentation: str) -> list[SegmentSet]:
    """Return the memberships of each date saved last, by date, of the same fit as the newest; raises NotFoundError for none."""
    last = newest(data, segmentation)
    query = (
        sa.select(SegmentSet)
        .where(SegmentSet.segmentation == segmentation, SegmentSet.fitted_as_of == last.fitted_as_of)
        .order_by(SegmentSet.segment_set_id)
    )
    with session.session(data) as opened:
        return sorted({row.as_of: row for row in opened.scalars(query)}.values(), key=lambda row: row.as_of)


def read(data: Path, segment_set: SegmentSet) -> pd.DataFrame:
    """Return customer_id, as_of, segmentation, segment of a set; raises EnvironmentFault for a missing or damaged file."""
    return files.read_parquet(data / segment_set.file, segment_set.checksum, remedy=_REMEDY, columns=list(COLUMNS))


def _query(data: Path, query: sa.Select[SegmentSet], as_of: dt.date | None) -> SegmentSet | None:
    if as_of is not None:
        query = query.where(SegmentSet.as_of == as_of)
    with session.session(data) as opened:
        return opened.scalar(query.order_by(SegmentSet.as_of.desc(), SegmentSet.segment_set_id.desc()).limit(1))


def _check(table: pd.DataFrame, segmentation: str, as_of: dt.date) -> None:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"memberships lack the columns {', '.join(missing)}; they need {', '.join(COLUMNS)}")
    if table["customer_id"].duplicated().any():
        twice = table.loc[table["customer_id"].duplicated(), "customer_id"].iloc[0]
        raise DataError(
            f"memberships: customer {twice} is there twice; a segmentation has one segment for each customer"
        )
    if (
        not table["segmentation"].eq(segmentation).all()
        or not pd.to_datetime(table["as_of"]).eq(pd.Timestamp(as_of)).all()
    ):
        raise DataError(
            f"memberships: not all rows are of the segmentation {segmentation!r} as of {as_of}; save each alone"
        )
