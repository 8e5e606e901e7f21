"""The job behind `crm loyalty`: NPS, who answers, drivers, the indirect index, cohorts and mentions, saved together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import features, paths, warehouse
from crmlib.errors import DataError, NotFoundError
from crmlib.models.loyalty import cohorts, drivers, index, mentions, nps, response
from crmlib.models.segments import behavioural
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import score_sets, segment_sets
from crmlib.warehouse.objections import objectors
from crmlib.warehouse.snapshot import Snapshot, cutoff

NAME = "loyalty"
VERSION = 1
"""Version of how it is computed, kept beside the scores as their model version."""
EXPLAINED = 2_000
"""So many customers get the reasons of their index: those whose lack of loyalty costs most."""
WEIGHTED = 4
"""The answers of so many periods, the last ones, are weighted."""
GROUPS = ("channel", "branch_id", "segment")
_YEAR = dt.timedelta(days=365)


@dataclass
class _Parts:
    """The tables to be saved, and what could not be said and why."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)

    def add(self, part: str, make: Callable[[], dict[str, pd.DataFrame]]) -> str:
        """Add the tables of a part, or the sentence that says why there are none; return that sentence or ""."""
        try:
            self.tables |= make()
        except DataError as error:
            self.missing.append((part, str(error)))
            return str(error)
        return ""


def loyalty(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Compute all that is known of loyalty as of a day (default: the last record) and save it; return the customers' table.

    A part for which there are not enough data is left out; the table "missing" beside the scores says which and why.
    Returns customer_id, as_of, index (0 to 100), retained (probability to be a customer 180 days later, deaths and moves
    apart; both nan where there is no index, or the customer objected to profiling), nps (last answer to the loyalty
    survey, or nan) and group (promoter, passive, detractor or "").
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, NAME, parameters, warehouse_version=wh.version) as run_id:
        parts = _Parts()
        with stages.stage("surveys", f"NPS as of {snapshot.as_of}") as stage:
            answered = nps.answers(snapshot)
            for line in _surveys(parts, data, snapshot, answered):
                stage.say(line)
        with stages.stage("index", "loyalty of those who were never asked") as stage:
            scores, line = _index(parts, data, snapshot, answered.table, seed)
            stage.say(line)
        with stages.stage("save", "cohorts, mentions, scores") as stage:
            _add_rest(parts, snapshot)
            parts.tables["missing"] = pd.DataFrame(parts.missing, columns=["part", "why"], dtype="str")
            score_sets.save(
                scores,
                data=data,
                model=NAME,
                model_version=VERSION,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=parts.tables,
                run_id=run_id,
            )
            stage.say(f"{len(scores):,} customers, {len(parts.tables)} tables beside them")
    return scores


def main_survey(answered: pd.DataFrame) -> str:
    """Return the survey about the whole relationship: "loyalty" where there is one, else the one with most answers."""
    sizes = answered["survey"].value_counts()
    return "loyalty" if "loyalty" in sizes.index else str(sizes.index[0])


# ---------------------------------------------------------------- surveys


def _surveys(parts: _Parts, data: Path, snapshot: Snapshot, answered: nps.Answers) -> list[str]:
    """Add the tables about answers; return what to say about them."""
    told = []
    if answered.outside or answered.empty:
        why = f"surveys.score: {answered.outside} answers outside 0 to 10 and {answered.empty} without a number are left out"
        parts.missing.append(("answers", why))
        told.append(why)
    if answered.table.empty:
        why = "surveys: nobody has answered the question nps yet (found 0 answers, need 10); load a survey"
        parts.missing.append(("nps", why))
        return [*told, why]
    survey = main_survey(answered.table)
    marked = nps.periods(_with_segments(answered.table, data, snapshot))
    own = marked[marked["survey"] == survey]
    weights = pd.DataFrame()

    def weigh() -> dict[str, pd.DataFrame]:
        nonlocal weights
        periods = _weighted_periods(own, snapshot)
        people = response.population(snapshot.warehouse, own, periods)
        found = response.fit(people)
        weights = response.weights(people, found)
        return {"response": response.balance(people, weights), "odds": found.odds}

    told.append(parts.add("weights", weigh))
    parts.tables["nps"] = scores_of(marked, since=cutoff(snapshot.as_of) - _YEAR)
    if len(weights):
        counted = response.weighted(own, weights)
        parts.tables["nps_weighted"] = _weighted_scores(counted, survey)
    for name in sorted(marked["survey"].unique()):
        told.append(parts.add(f"drivers:{name}", lambda name=name: _drivers(parts, snapshot, name)))  # type: ignore[misc]
    latest = nps.table(own[own["answered_at"] >= cutoff(snapshot.as_of) - _YEAR])
    if len(latest) and np.isfinite(latest["score"].iloc[0]):
        one = latest.iloc[0]
        told.insert(
            0, f"{survey}: NPS {one['score']:+.1f} ({one['low']:+.1f} to {one['high']:+.1f}) of {int(one['answers']):,}"
        )
    # Most surveys ask one question only: that they have no drivers needs no line at the terminal.
    return [line for line in told if line and "drivers need" not in line]


def scores_of(marked: pd.DataFrame, *, since: dt.datetime) -> pd.DataFrame:
    """Return the score of each survey by period, and by channel, branch and segment of the answers from ``since``.

    In: answers with survey, period, channel, branch_id, segment. Out: survey, kind (period, channel, branch_id or
    segment), group (empty for periods), period (empty for groups), then the columns of ``nps.changes`` (against the
    period before) or ``nps.contrasts`` (against the rest). p_holm holds for all tests of one survey and kind.
    """
    out = []
    recent = marked[marked["answered_at"] >= since]
    for survey, own in marked.groupby("survey"):
        found = nps.changes(nps.table(own, ["period"]))
        out.append(found.assign(survey=survey, kind="period", group=""))
        for kind in GROUPS:
            given = recent[(recent["survey"] == survey) & recent[kind].notna()]
            if given[kind].nunique():
                found = nps.contrasts(given, kind).rename(columns={kind: "group"})
                out.append(found.assign(survey=survey, kind=kind, group=found["group"].astype("str")))
    table = pd.concat(out, ignore_index=True)
    first = ["survey", "kind", "group", "period"]
    return table[[*first, *[name for name in table if name not in first]]]


def _weighted_scores(counted: pd.DataFrame, survey: str) -> pd.DataFrame:
    """Return the scores of the weighted answers before and after: survey, period, weighted, and those of ``nps.table``."""
    parts = []
    for weight in (None, "weight"):
        parts.append(nps.table(counted, ["period"], weight=weight).assign(weighted=weight is not None))
        parts.append(
            nps.table(counted, weight=weight).assign(weighted=weight is not None)
        )  # without a period: the whole
    table = pd.concat(parts, ignore_index=True)
    return table.assign(survey=survey, period=table["period"].astype("datetime64[us]"))


def _weighted_periods(own: pd.DataFrame, snapshot: Snapshot) -> list[dt.date]:
    """Return the first days of the last periods before which something was known of the customers.

    Raises DataError where there is none.
    """
    began = snapshot.warehouse.period
    found = [pd.Timestamp(day).date() for day in sorted(own["period"].unique())]
    known = [day for day in found if began is not None and began[0] < day <= snapshot.as_of]
    if not known:
        raise DataError(
            "surveys: not enough data to weight the answers (found 0 quarters with records of the customers before, need 1)"
        )
    return known[-WEIGHTED:]


def _drivers(parts: _Parts, snapshot: Snapshot, survey: str) -> dict[str, pd.DataFrame]:
    wide = drivers.wide(snapshot, survey=survey)
    names = [name for name in wide.columns[4:] if name != nps.QUESTION]
    found = drivers.drivers(wide, nps.QUESTION, names).assign(survey=survey)
    before = parts.tables.get("drivers")
    return {"drivers": found if before is None else pd.concat([before, found], ignore_index=True)}


def _with_segments(answered: pd.DataFrame, data: Path, snapshot: Snapshot) -> pd.DataFrame:
    """Return the answers with the segment in which the customer was last before it; empty where none was known."""
    try:
        sets = [one for one in segment_sets.dates(data, behavioural.NAME) if one.as_of <= snapshot.as_of]
    except NotFoundError:
        sets = []
    if not sets:
        return answered.assign(segment=pd.Series(np.nan, index=answered.index, dtype="str"))
    members = pd.concat(
        [segment_sets.read(data, one)[["customer_id", "segment"]].assign(at=cutoff(one.as_of)) for one in sets]
    )
    members["at"] = members["at"].astype("datetime64[us]")
    found = pd.merge_asof(
        answered.assign(answered_at=answered["answered_at"].astype("datetime64[us]")),
        members.astype({"segment": "str"}).sort_values("at"),
        left_on="answered_at",
        right_on="at",
        by="customer_id",
    )
    return found.drop(columns="at")


# ---------------------------------------------------------------- index


def _index(
    parts: _Parts, data: Path, snapshot: Snapshot, answered: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, str]:
    """Return the customers' table and what to say; add the tables about the index."""
    last = pd.DataFrame({"customer_id": pd.Series(dtype="str"), "score": pd.Series(dtype=float), "answered_at": pd.NaT})
    if len(answered):
        own = answered[answered["survey"] == main_survey(answered)]
        last = own.drop_duplicates("customer_id", keep="last")[["customer_id", "score", "answered_at"]]
    objected = objectors(snapshot)
    try:
        learnt = index.learn(snapshot.warehouse, snapshot.as_of, without=objected, seed=seed)
    except DataError as error:
        parts.missing.append(("index", str(error)))
        built = features.build(snapshot, ())
        scores = built[["customer_id", "as_of"]].assign(index=np.nan, retained=np.nan)
        return _with_answers(scores, last), str(error)
    built = features.build(snapshot, learnt.index.spec)
    scores = learnt.index.score(built)
    scores.loc[scores["customer_id"].isin(objected), ["index", "retained"]] = np.nan
    chosen = _costly(scores, data, snapshot.as_of)
    parts.tables |= {
        "weights": learnt.index.weights,
        "contributions": learnt.index.contributions(built[built["customer_id"].isin(chosen)]),
        "index_test": learnt.test,
        "index_bins": learnt.bins,
    }
    before = answered_before(answered, learnt.index.calibrated_as_of)
    parts.add("comparison", lambda: {"comparison": index.compare(learnt.later, before)})
    auc = learnt.test.set_index("measure").loc["auc"]
    told = f"index of {int(scores['index'].notna().sum()):,} customers; later leavers ranked below stayers: {auc['value']:.1%} of pairs"
    return _with_answers(scores, last), told


def answered_before(answered: pd.DataFrame, day: dt.date) -> pd.DataFrame:
    """Return the last answer to the survey on the relationship of each customer in the year up to the end of ``day``."""
    if answered.empty:
        return answered
    end = pd.Timestamp(cutoff(day))
    own = answered[answered["survey"] == main_survey(answered)]
    inside = (own["answered_at"] < end) & (own["answered_at"] >= end - _YEAR)
    return own[inside].sort_values("answered_at").drop_duplicates("customer_id", keep="last")


def _with_answers(scores: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    out = scores.merge(last[["customer_id", "score"]], on="customer_id", how="left", validate="one_to_one")
    answer = out.pop("score").astype(float)
    group = np.select(
        [answer >= nps.PROMOTER, answer <= nps.DETRACTOR, answer.notna()], ["promoter", "detractor", "passive"], ""
    )
    return out.assign(nps=answer, group=pd.Series(group, index=out.index, dtype="str"))


def _costly(scores: pd.DataFrame, data: Path, as_of: dt.date) -> pd.Series:
    """Return the customers whose low index is dearest: by risk times predicted value where that is known."""
    loss = 1 - scores["retained"]
    try:
        saved = score_sets.newest(data, "customer_value", as_of=as_of)
    except NotFoundError:
        return scores.loc[loss.nlargest(EXPLAINED).index, "customer_id"]
    values = score_sets.read(data, saved, columns=["customer_id", "predicted_minor"])
    worth = scores[["customer_id"]].merge(values, on="customer_id", how="left", validate="one_to_one")[
        "predicted_minor"
    ]
    at_stake = loss.to_numpy() * worth.fillna(0).clip(lower=0).to_numpy(float)
    return scores.loc[pd.Series(at_stake, index=scores.index).nlargest(EXPLAINED).index, "customer_id"]


# ---------------------------------------------------------------- the rest


def _add_rest(parts: _Parts, snapshot: Snapshot) -> None:
    def by_month() -> dict[str, pd.DataFrame]:
        first = cohorts.first_complete(snapshot)
        paid = cohorts.charges(snapshot)
        return {"cohorts": cohorts.table(cohorts.joined(snapshot), paid, as_of=snapshot.as_of, first=first)}

    def said() -> dict[str, pd.DataFrame]:
        return {"mentions": mentions.monthly(mentions.mentions(snapshot))}

    parts.add("cohorts", by_month)
    parts.add("mentions", said)
