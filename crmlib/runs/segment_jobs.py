"""The job behind `crm segment`: fit the segments once, then say at every later date who belongs where."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
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
                model, members, last = _assigned(name, kept, [wh.snapshot(day) for day in days], seed)
                stage.say(f"{'kept from' if kept else 'fitted on'} {model.fitted_as_of}")
                stage.say(_told(model))
                description = segments.describe(model, segments.profile(model, last, members[-1]))
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


def _assigned(
    name: str, kept: Segmentation | None, snapshots: list[warehouse.Snapshot], seed: int
) -> tuple[Segmentation, list[pd.DataFrame], pd.DataFrame]:
    """Return the segmentation, fitted on the first date unless there is one, the memberships and the last date's measures.

    The measures of the other dates are let go as soon as they have been used: of many customers they are large.
    """
    measure, fit = _methods(name, kept, snapshots[0], seed)
    model: Future[Segmentation] = Future()

    def member(snapshot: warehouse.Snapshot, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        return model.result().assign(table), table if snapshot is snapshots[-1] else None

    def measured(snapshot: warehouse.Snapshot) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        return member(snapshot, measure(snapshot))

    # Two threads: most of the work is DuckDB's and numpy's, outside Python's lock, and the fit waits for the first date only.
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(measure, snapshots[0])
        others = [pool.submit(measured, one) for one in snapshots[1:]]
        try:
            model.set_result(fit(first.result()))
        except BaseException as error:
            model.set_exception(error)  # the other dates wait for it
            raise
        found = [member(snapshots[0], first.result())]
        del first
        found += [one.result() for one in others]
    last = found[-1][1]
    assert last is not None
    return model.result(), [members for members, _ in found], last


def _methods(
    name: str, kept: Segmentation | None, first: warehouse.Snapshot, seed: int
) -> tuple[Callable[[warehouse.Snapshot], pd.DataFrame], Callable[[pd.DataFrame], Segmentation]]:
    """Return what measures a date, and what makes the segmentation of the first date's measures."""
    if kept is not None:
        return kept.measure, lambda table: kept
    if name == rfm.NAME:
        return rfm.measure, rfm.fit_table
    spec = segments.resolve(first)
    return partial(segments.measure, spec=spec), partial(behavioural.fit_table, spec=spec, seed=seed)


def _told(model: Segmentation) -> str:
    if isinstance(model, behavioural.Behavioural):
        how = "separate groups" if model.choice["separate"] else "a division of a continuum"
        return f"{len(model.segments)} segments ({how}): {', '.join(model.segments)}"
    return f"{len(model.segments)} cells"
