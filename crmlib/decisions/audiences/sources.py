"""Saved scores and segments beside a warehouse version, as tables an audience can be joined with."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.decisions.audiences.conditions import Data, closest, leaves
from crmlib.errors import NotFoundError, UsageError
from crmlib.store import score_sets, segment_sets, session
from crmlib.store.tables import ScoreSet, SegmentSet


def scores(data: Path, model: str, as_of: dt.date) -> ScoreSet:
    """Return the newest set of a model's scores as of the latest date not after ``as_of``; NotFoundError for none."""
    query = sa.select(ScoreSet).where(ScoreSet.model == model, ScoreSet.as_of <= as_of)
    with session.session(data) as store:
        found = store.scalar(query.order_by(ScoreSet.as_of.desc(), ScoreSet.score_set_id.desc()).limit(1))
        known = sorted(store.scalars(sa.select(ScoreSet.model).distinct()))
    if found is None:
        have = f"there are scores of {', '.join(known)}" if known else "there are no scores at all"
        raise NotFoundError(
            f"no scores of model {model!r} up to {as_of}{closest(model, known)}; {have}; make some with `crm score`"
        )
    return found


def segments(data: Path, segmentation: str, as_of: dt.date) -> SegmentSet:
    """Return the newest memberships of a segmentation as of the latest date not after ``as_of``; NotFoundError for none."""
    query = sa.select(SegmentSet).where(SegmentSet.segmentation == segmentation, SegmentSet.as_of <= as_of)
    with session.session(data) as store:
        found = store.scalar(query.order_by(SegmentSet.as_of.desc(), SegmentSet.segment_set_id.desc()).limit(1))
        known = sorted(store.scalars(sa.select(SegmentSet.segmentation).distinct()))
    if found is None:
        have = f"there are {', '.join(known)}" if known else "there are no segmentations at all"
        raise NotFoundError(
            f"no members of segmentation {segmentation!r} up to {as_of}{closest(segmentation, known)}; {have}; "
            "make some with `crm segment`"
        )
    return found


def tables(
    conditions: Data, data: Path | None, as_of: dt.date
) -> tuple[dict[str, dict[str, str]], dict[str, pa.Table]]:
    """Return what ``compile.Target`` wants to know of scores and segments, and the tables under those names.

    Out: ``{"scores": {model: name}, "segments": {segmentation: name}}`` and ``{name: Arrow table}``. Raises UsageError
    where conditions ask for them and no data folder is given, NotFoundError where nothing was saved.
    """
    asked = {(leaf["field"], _set(leaf)) for leaf in leaves(conditions) if leaf["field"] in ("score", "segment")}
    names: dict[str, dict[str, str]] = {"scores": {}, "segments": {}}
    found: dict[str, pa.Table] = {}
    if asked and data is None:
        raise UsageError("the audience asks for scores or segments; give the data folder they are saved in (data=)")
    for number, (kind, name) in enumerate(sorted(asked)):
        assert data is not None
        table = f"audience_{kind}_{number}"
        names[f"{kind}s"][name] = table
        found[table] = (scores_of if kind == "score" else segments_of)(data, name, as_of)
    return names, found


def asked_for(conditions: Data, data: Path, as_of: dt.date) -> list[ScoreSet | SegmentSet]:
    """Return the sets of scores and segments that normal conditions ask for, each once; NotFoundError for none saved."""
    asked = {(leaf["field"], _set(leaf)) for leaf in leaves(conditions) if leaf["field"] in ("score", "segment")}
    return [(scores if kind == "score" else segments)(data, name, as_of) for kind, name in sorted(asked)]


def scores_of(data: Path, model: str, as_of: dt.date) -> pa.Table:
    """Return customer_id, product_id, score of the scores an audience as of ``as_of`` would use."""
    found = scores(data, model, as_of)
    return _read("score", found.model, data, found.file, found.checksum)


def segments_of(data: Path, segmentation: str, as_of: dt.date) -> pa.Table:
    """Return customer_id, segment of the memberships an audience as of ``as_of`` would use."""
    found = segments(data, segmentation, as_of)
    return _read("segment", segmentation, data, found.file, found.checksum)


def _set(leaf: Data) -> str:
    return str(leaf["where"]["model" if leaf["field"] == "score" else "segmentation"])


@lru_cache(maxsize=4)  # files of scores never change; a builder counts again at each click
def _read(kind: str, name: str, data: Path, file: str, checksum: str) -> pa.Table:
    if kind == "score":
        read = score_sets.read(
            data, ScoreSet(model=name, file=file, checksum=checksum), columns=["customer_id", "product_id", "score"]
        )
        read = read.dropna(subset="score")
    else:
        read = segment_sets.read(data, SegmentSet(file=file, checksum=checksum))[["customer_id", "segment"]]
    texts = [name for name in read.columns if name != "score"]
    return pa.Table.from_pandas(
        read.assign(**{name: read[name].astype(pd.CategoricalDtype()) for name in texts if name != "customer_id"}),
        preserve_index=False,
    )
