"""The job behind `crm retention`: what past campaigns changed, what to do about each customer, and the work list."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import offers_inputs, retention_worth, work_list
from crmlib.decisions import retention as deciding
from crmlib.decisions.campaigns import freeze
from crmlib.errors import DataError, NotFoundError
from crmlib.models import retention as learning
from crmlib.models.churn.definitions import Relationship
from crmlib.runs import clock, jobs
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets, session
from crmlib.store.tables import Model, ScoreSet
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, cutoff, parse_date

NAME = "retention"
WITHIN_DAYS = (90, 180)
"""Days after the assignment for which the effect of past campaigns is measured; decisions rest on the first."""


def retention(
    data: Path,
    *,
    stages: Stages,
    as_of: str | None = None,
    capacities: dict[str, int] | None = None,
    caution: float = learning.CAUTION,
) -> deciding.Decided:
    """Decide on the newest risks of leaving and customer values (of a day), save the decisions and the work list.

    Contacts that running campaigns have still before them count for the contact policy. Saved as the score set
    "retention"; beside it "effects" (counted on), "measured" (past campaigns, by within_days), "limits", "work_list"
    and "settings". Without past campaigns with control groups no action is taken, and the code says why.

    Raises NotFoundError without risks or values, DataError where they are of different days.
    """
    day = parse_date(as_of) if as_of else None
    risks = score_sets.newest(data, "churn", as_of=day)
    values = _values(data, risks)
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(risks.as_of)
    company = offers_inputs.company_of(data, snapshot)
    settings = {"as_of": str(risks.as_of), "caution": caution, "within_days": WITHIN_DAYS[0], "capacities": capacities}
    with jobs.recorded(data, NAME, settings, warehouse_version=wh.version) as run_id:
        with stages.stage("effect", "what past retention campaigns changed") as stage:
            measured, effects = _learnt(snapshot, _definition(data, risks), caution, stage)
        with stages.stage("decide", f"whom to keep, and how, as of {risks.as_of}") as stage:
            known = _known(data, snapshot, (risks, values), effects)
            planned = freeze.promised(data, wh, at=cutoff(risks.as_of))
            found = deciding.decide(snapshot, known, company=company, capacities=capacities, since=planned)
            _tell(found, company, stage)
        with stages.stage("work list", "whose loyalty is worth an effort") as stage:
            loyalty, points = _newest(data, "loyalty", risks.as_of), _newest(data, "points", risks.as_of)
            tasks = work_list.work_list(snapshot, found.table, company=company, loyalty=loyalty, points=points)
            stage.say(f"{len(tasks):,} tasks in {tasks['branch_id'].nunique()} branches")
        score_sets.save(
            found.table,
            data=data,
            model=NAME,
            model_version=risks.model_version,
            warehouse_version=wh.version,
            as_of=risks.as_of,
            now=clock.now(),
            beside={
                "effects": effects,
                "measured": measured,
                "limits": found.limits,
                "work_list": tasks,
                "settings": pd.DataFrame({"caution": [caution], "within_days": [WITHIN_DAYS[0]]}),
            },
            run_id=run_id,
        )
    return found


def _values(data: Path, risks: ScoreSet) -> ScoreSet:
    try:
        return score_sets.newest(data, "customer_value", as_of=risks.as_of)
    except NotFoundError:
        other = score_sets.newest(data, "customer_value")  # where there is none at all, its own sentence says so
        raise DataError(
            f"the newest customer values are as of {other.as_of}, the risks of leaving as of {risks.as_of}; "
            "make both for one day with `crm value` and `crm churn`"
        ) from None


def _definition(data: Path, risks: ScoreSet) -> Relationship:
    """Return what leaving means in the risks: as their model was fitted, or as usual where it is not on record."""
    chosen = Model.name == risks.model, Model.model_version == risks.model_version
    with session.session(data) as opened:
        metrics = opened.scalar(sa.select(Model.metrics).where(*chosen))
    reasons = (metrics or {}).get("definition", {}).get("reasons", [])
    groups = tuple((one["reason"], tuple(one["values"])) for one in reasons)
    return Relationship(reasons=groups) if groups else Relationship()


def _learnt(
    snapshot: Snapshot, definition: Relationship, caution: float, stage: Stage
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what was measured and what decisions count on; empty tables where there is too little to learn from."""
    parts, effects = [], pd.DataFrame(columns=learning.EFFECTS).astype({"channel": "str", "cautious": float})
    for within_days in WITHIN_DAYS:
        found = learning.members(snapshot, within_days=within_days, definition=definition)
        try:
            parts.append(learning.measured(found).assign(within_days=within_days))
            if within_days == WITHIN_DAYS[0]:
                effects = learning.effects(found, caution=caution)
        except DataError as error:
            stage.say(f"within {within_days} days: {error}")
    empty = pd.DataFrame(columns=[*learning.MEASURED, "relative_risk", "low", "high", "within_days"])
    measured = pd.concat(parts, ignore_index=True) if parts else empty
    whole = (measured["group"] == "all") & (measured["reason"] == "preventable")
    for row in measured[whole & (measured["within_days"] == WITHIN_DAYS[0])].itertuples():
        stage.say(f"{row.channel}: relative risk {row.relative_risk:.2f} ({row.low:.2f} to {row.high:.2f})")
    return measured, effects


def _known(
    data: Path, snapshot: Snapshot, sets: tuple[ScoreSet, ScoreSet], effects: pd.DataFrame
) -> retention_worth.Known:
    risks, values = sets
    return retention_worth.Known(
        risk=score_sets.read(data, risks, columns=["customer_id", "risk_90", "reason"]),
        by_reason=score_sets.beside(data, risks, "by_reason"),
        values=score_sets.read(data, values, columns=["customer_id", "predicted_minor"]),
        effects=effects,
        groups=learning.groups(snapshot),
    )


def _newest(data: Path, model: str, as_of: dt.date) -> pd.DataFrame | None:
    try:
        return score_sets.read(data, score_sets.newest(data, model, as_of=as_of))
    except NotFoundError:
        return None


def _tell(found: deciding.Decided, company: Company, stage: Stage) -> None:
    acts = found.table[found.table["action"] != ""]
    counts = acts["action"].value_counts()
    told = ", ".join(f"{count:,} by {channel}" for channel, count in counts.items()) or "nobody"
    stage.say(f"{told} of {len(found.table):,} customers")
    saving, cost = acts["saving_minor"].sum() / 100, acts["cost_minor"].sum() / 100
    stage.say(f"expected saving {saving:,.0f} {company.currency} at a cost of {cost:,.0f}")
