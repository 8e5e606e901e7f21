"""The job behind `crm segment`: fit the segments once, then say at every later date who belongs where."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import DataError, NotFoundError
from crmlib.features import plan
from crmlib.models import segments
from crmlib.models.segments import behavioural, rfm
from crmlib.models.segments.profiles import Segmentation
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import segment_sets
from crmlib.store.tables import SegmentSet
from crmlib.warehouse import schema

PERIOD_MONTHS = 3
EARLIER = 4
"""Memberships are made for so many earlier dates, a quarter apart, as far as the records reach."""
SLACK = dt.timedelta(days=10)
"""A window that begins so little before the first transaction counts as full."""


def segment(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Segment every customer by RFM and by behaviour at a day (default: the last record) and up to four quarters before.

    Segmentations saved before are kept, so that memberships compare; the first time they are fitted on the earliest of
    those dates. Returns the memberships at the day by name of the segmentation; all are saved in ``data/segments``.
    Raises DataError where the day is before the date of the fit.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    out = {}
    with recorded(data, "segment", parameters, warehouse_version=wh.version) as run_id:
        for name in (rfm.NAME, behavioural.NAME):
            with stages.stage(name, f"as of {snapshot.as_of}") as stage:
                kept = _kept(data, name, seed)
                days = _days(wh, snapshot.as_of, kept.fitted_as_of if kept else None)
                model, tables = _measured(name, kept, [wh.snapshot(day) for day in days], seed)
                stage.say(f"{'kept from' if kept else 'fitted on'} {model.fitted_as_of}")
                stage.say(_told(model))
                members = [model.assign(table) for table in tables]
                description = segments.describe(model, segments.profile(model, tables[-1], members[-1]))
                for day, table in zip(days, members, strict=True):
                    segment_sets.save(
                        table,
                        data=data,
                        segmentation=name,
                        fitted_as_of=model.fitted_as_of,
                        as_of=day,
                        warehouse_version=wh.version,
                        description=description,
                        now=clock.now(),
                        run_id=run_id,
                    )
                stage.say(f"{len(members[-1]):,} customers, {len(days)} dates from {days[0]}")
                out[name] = members[-1]
    return out


def load(
    data: Path, segmentation: str = behavioural.NAME, *, as_of: dt.date | None = None
) -> tuple[Segmentation, SegmentSet]:
    """Return the saved segmentation and its newest set of memberships (or that of a date).

    Raises NotFoundError for an unknown segmentation, EnvironmentFault where what was saved has been changed.
    """
    found = segment_sets.newest(data, segmentation, as_of=as_of)
    return segments.restore(found.description), found


def _kept(data: Path, name: str, seed: int) -> Segmentation | None:
    """Return the segmentation saved before, if it was made with the same seed."""
    try:
        found = segments.restore(segment_sets.newest(data, name).description)
    except NotFoundError:
        return None
    return found if getattr(found, "seed", seed) == seed else None


def _days(wh: warehouse.Warehouse, last: dt.date, fitted: dt.date | None) -> list[dt.date]:
    """Return the day and the quarters before it that have a year of transactions before them and a fit not after them."""
    if fitted is not None and last < fitted:
        raise DataError(f"as_of {last} is before the saved segments were fitted ({fitted}); take a later date")
    first = _first_transaction(wh)
    days = [last]
    for back in range(1, EARLIER + 1):
        day = plan.bound(last, back * PERIOD_MONTHS) - dt.timedelta(days=1)
        full = first is not None and plan.bound(day, segments.behaviour.MONTHS) >= first - SLACK
        if not full or (fitted is not None and day < fitted):
            break
        days.append(day)
    return days[::-1]


def _first_transaction(wh: warehouse.Warehouse) -> dt.date | None:
    table = schema.tables()["transactions"]
    found: dt.datetime | None = wh.arrow(sa.select(sa.func.min(table.c.occurred_at).label("first"))).to_pylist()[0][
        "first"
    ]
    return found.date() if found else None


def _measured(
    name: str, kept: Segmentation | None, snapshots: list[warehouse.Snapshot], seed: int
) -> tuple[Segmentation, list[pd.DataFrame]]:
    """Return the segmentation, fitted on the first date unless there is one, and its measures at each date."""
    # Two threads: most of the work is DuckDB's and numpy's, outside Python's lock, and the fit waits for the first date only.
    with ThreadPoolExecutor(2) as pool:
        if kept is not None:
            return kept, list(pool.map(kept.measure, snapshots))
        if name == rfm.NAME:
            tables = list(pool.map(rfm.measure, snapshots))
            return rfm.fit_table(tables[0]), tables
        spec = segments.resolve(snapshots[0])
        coming = [pool.submit(segments.measure, snapshot, spec) for snapshot in snapshots]
        model = behavioural.fit_table(coming[0].result(), spec, seed=seed)
        return model, [one.result() for one in coming]


def _told(model: Segmentation) -> str:
    if isinstance(model, behavioural.Behavioural):
        how = "separate groups" if model.choice["separate"] else "a division of a continuum"
        return f"{len(model.segments)} segments ({how}): {', '.join(model.segments)}"
    return f"{len(model.segments)} cells"
