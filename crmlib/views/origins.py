"""Where numbers come from, in words: versions of the data and of the model, and the run that made them."""

from __future__ import annotations

from collections.abc import Sequence

from crmlib.store.tables import ScoreSet, SegmentSet
from crmlib.views.texts import Language
from crmlib.warehouse.snapshot import Snapshot


def scores(say: Language, found: ScoreSet) -> list[str]:
    """Return the origin of a set of scores: warehouse version, model and its version, run.

    >>> from crmlib.views.texts import speak
    >>> scores(speak("en"), ScoreSet(model="churn", model_version=2, warehouse_version=3, run_id=17))
    ['warehouse version 3', 'model churn 2', 'run 17']
    """
    return [say.text("warehouse version {n}", n=found.warehouse_version), *made(say, found)]


def made(say: Language, found: ScoreSet) -> list[str]:
    """Return which model made a set of scores, and in which run; without the run where it is not on record."""
    parts = [say.text("model {name} {n}", name=found.model, n=found.model_version)]
    return [*parts, say.text("run {n}", n=found.run_id)] if found.run_id is not None else parts


def segments(say: Language, found: SegmentSet) -> list[str]:
    """Return the origin of saved segments: which ones, and in which run; without the run where it is not on record.

    >>> from crmlib.views.texts import speak
    >>> segments(speak("en"), SegmentSet(segmentation="rfm", segment_set_id=4, run_id=9))
    ['segments rfm 4', 'run 9']
    """
    parts = [say.text("segments {name} {n}", name=found.segmentation, n=found.segment_set_id)]
    return [*parts, say.text("run {n}", n=found.run_id)] if found.run_id is not None else parts


def of_all(say: Language, found: Sequence[ScoreSet | SegmentSet]) -> list[str]:
    """Return the origin of several sets, one after the other, without the data's version."""
    return [part for one in found for part in (made(say, one) if isinstance(one, ScoreSet) else segments(say, one))]


def line(say: Language, found: ScoreSet) -> str:
    """Return the origin of a set of scores in one line, with the day its data reach to."""
    return " · ".join([say.text("Data up to {day}", day=say.date(found.as_of)), *scores(say, found)])


def briefly(say: Language, found: ScoreSet) -> str:
    """Return which model made a set of scores where several are named: "model churn 2 (run 17)"."""
    model, *run = made(say, found)
    return f"{model} ({run[0]})" if run else model


def records(say: Language, snapshot: Snapshot) -> str:
    """Return the origin of what was counted from the records themselves, in one line."""
    day = say.text("Data up to {day}", day=say.date(snapshot.as_of))
    return f"{day} · {say.text('warehouse version {n}', n=snapshot.warehouse.version)}"
