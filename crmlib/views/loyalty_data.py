"""What the dashboard of loyalty shows: read once from what the jobs saved, free of widgets."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import NotFoundError
from crmlib.store import score_sets, segment_sets, session
from crmlib.store.tables import ScoreSet
from crmlib.views import segment_words
from crmlib.views.texts import Language
from crmlib.warehouse import company as companies

MODEL, POINTS, RETENTION = "loyalty", "points", "retention"
SEGMENTATION = "behaviour"
TABLES = (
    *("nps", "nps_weighted", "response", "odds", "drivers", "weights", "index_test", "index_bins", "comparison"),
    *("cohorts", "mentions", "missing"),
)
LATEST = 8
"""Mentions quoted, and tasks shown."""
KINDS = ("channel", "branch_id", "segment")


@dataclass(frozen=True, eq=False)
class Loaded:
    """What was saved about loyalty as of one day; made by ``load``.

    Attributes: ``scores`` and ``score_set`` of the model "loyalty"; ``tables`` beside them by name, empty where a part had
    too few data, and ``missing`` why, by part; ``points`` the forecast of their liability and ``tasks`` the work list of
    consultants, None where their job has not run; ``quotes`` the latest mentions; ``branches`` names by branch_id;
    ``made`` the sets of scores that the parts were made with, by model.
    """

    data: Path
    company: companies.Company
    score_set: ScoreSet
    scores: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    missing: dict[str, str]
    points: pd.DataFrame | None
    tasks: pd.DataFrame | None
    quotes: pd.DataFrame
    branches: dict[str, str]
    made: dict[str, ScoreSet]

    @property
    def as_of(self) -> dt.date:
        """The day that everything reaches to."""
        return self.score_set.as_of

    @property
    def surveys(self) -> list[str]:
        """The surveys that ask the recommendation question, the one about the whole relationship first."""
        found = self.tables["nps"]
        names = [] if found.empty else sorted(found["survey"].unique())
        weighted = self.tables["nps_weighted"]
        main = str(weighted["survey"].iloc[0]) if len(weighted) else "loyalty"
        return sorted(names, key=lambda name: (name != main, name))

    def over_time(self, survey: str) -> pd.DataFrame:
        """Return the score of each period: period, answers, promoters, passives, detractors, score, low, high, difference
        and its test, and weighted, weighted_low, weighted_high (nan where it is not weighted), period by period."""
        own = self._of(survey, "period")
        after = self._weighted(survey)
        after = after[after["period"].notna() & after["weighted"]][["period", "score", "low", "high", "effective"]]
        names = {"score": "weighted", "low": "weighted_low", "high": "weighted_high", "effective": "weighted_effective"}
        return own.drop(columns="group").merge(
            after.rename(columns=names), on="period", how="left", validate="one_to_one"
        )

    def whole(self, survey: str) -> tuple[pd.Series | None, pd.Series | None]:
        """Return the score of the last periods taken together, before and after weighting; None where not weighted."""
        found = self._weighted(survey)
        found = found[found["period"].isna()]
        if found.empty:
            return None, None
        return found[~found["weighted"]].iloc[0], found[found["weighted"]].iloc[0]

    def kinds(self, survey: str) -> list[str]:
        """Return the ways in which the answers to a survey are split into groups."""
        return [kind for kind in KINDS if len(self._of(survey, kind))]

    def by_group(self, survey: str, kind: str) -> pd.DataFrame:
        """Return the score of each group in the last year, the best first, those without a score last."""
        return self._of(survey, kind).sort_values(["score", "group"], ascending=[False, True], na_position="last")

    def group_names(self, say: Language, kind: str) -> dict[str, str]:
        """Return the names of groups by their codes; empty for codes that are words of their own."""
        if kind == "branch_id":
            return self.branches
        if kind == "segment":
            return segment_words.names(say, segment_sets.newest(self.data, SEGMENTATION).description)
        return {}

    def drivers(self) -> pd.DataFrame:
        """Return the drivers of the survey that asks most questions; empty where none asks several."""
        found = self.tables["drivers"]
        return found[found["survey"] == found["survey"].value_counts().index[0]] if len(found) else found

    def _of(self, survey: str, kind: str) -> pd.DataFrame:
        found = self.tables["nps"]
        return found if found.empty else found[(found["survey"] == survey) & (found["kind"] == kind)]

    def _weighted(self, survey: str) -> pd.DataFrame:
        found = self.tables["nps_weighted"]
        if found.empty:
            names = ["period", "weighted", "score", "low", "high", "effective"]
            return pd.DataFrame({name: pd.Series(dtype=float) for name in names}).astype(
                {"period": "datetime64[us]", "weighted": bool}
            )
        return found[found["survey"] == survey]


def newest(data: Path) -> tuple[int, ...]:
    """Return what changes when there is something newer to show."""
    if not data.is_dir():
        return ()
    query = sa.select(sa.func.max(ScoreSet.score_set_id)).where(ScoreSet.model.in_((MODEL, POINTS, RETENTION)))
    with session.session(data) as opened:
        return (int(opened.scalar(query) or 0),)


def load(data: Path) -> Loaded:
    """Return what was saved last; raises NotFoundError where `crm loyalty` has not run."""
    if not data.is_dir():
        raise NotFoundError(f"{data}: there is no such data folder; run `crm demo`, or name another one")
    try:
        chosen = score_sets.newest(data, MODEL)
    except NotFoundError as error:
        raise NotFoundError(f"nothing is known of loyalty below {data} yet; run `crm loyalty`") from error
    tables = {name: _beside(data, chosen, name) for name in TABLES}
    missing = tables.pop("missing")
    wh = warehouse.open(paths.warehouse(data), version=chosen.warehouse_version)
    snapshot = wh.snapshot(chosen.as_of)
    branches = snapshot.table("branches", ["branch_id", "name"])
    points, tasks = (_other(data, name, chosen.as_of) for name in (POINTS, RETENTION))
    return Loaded(
        data=data,
        company=wh.company,
        score_set=chosen,
        scores=score_sets.read(data, chosen),
        tables=tables,
        missing=dict(zip(missing["part"], missing["why"], strict=True)) if len(missing) else {},
        points=None if points is None else _beside(data, points, "liability"),
        tasks=None if tasks is None else _beside(data, tasks, "work_list"),
        quotes=_quotes(snapshot),
        branches={code: name for code, name in branches.itertuples(index=False) if isinstance(name, str)},
        made={one.model: one for one in (chosen, points, tasks) if one is not None},
    )


def cohort_grid(table: pd.DataFrame, measure: str) -> tuple[pd.Index, np.ndarray, np.ndarray, np.ndarray]:
    """Return cohorts (rows) and matrices of ``measure`` and its limits by age in months, nan where not yet known.

    ``measure``: retained or revenue_minor.
    """
    names = ("low", "high") if measure == "retained" else ("revenue_low_minor", "revenue_high_minor")
    grids = [table.pivot(index="cohort", columns="age_months", values=name) for name in (measure, *names)]
    value, low, high = (grid.to_numpy(float) for grid in grids)
    return grids[0].index, value, low, high


def _quotes(snapshot: warehouse.Snapshot) -> pd.DataFrame:
    rows = snapshot.select("mentions").subquery("rows")
    names = ("occurred_at", "author", "text", "sentiment", "customer_id")
    latest = sa.select(*[rows.c[name] for name in names]).order_by(rows.c.occurred_at.desc()).limit(LATEST)
    return snapshot.warehouse.read(latest)


def _beside(data: Path, chosen: ScoreSet, name: str) -> pd.DataFrame:
    try:
        return score_sets.beside(data, chosen, name)
    except NotFoundError:
        return pd.DataFrame()


def _other(data: Path, model: str, as_of: dt.date) -> ScoreSet | None:
    """Return the set of scores of another job of the same day; None where it has not run."""
    try:
        return score_sets.newest(data, model, as_of=as_of)
    except NotFoundError:
        return None
