"""What the retention watchlist shows: decisions, what they rest on, and the lists that leave from it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import offers_inputs, retention, retention_worth
from crmlib.errors import NotFoundError
from crmlib.store import score_sets, session
from crmlib.store.tables import Model, ScoreSet
from crmlib.views import targeting
from crmlib.warehouse.company import Company
from crmlib.warehouse.objections import profiling_objectors

KINDS = {
    "act": (retention.PAYS,),
    "let_go": retention.LET_GO,
    "blocked": retention.BLOCKED,
    "alone": retention.LEFT_ALONE,
    "unknown": retention.UNKNOWN,
}
"""What the codes of decisions have in common."""
POINTS = 1_200
"""Customers drawn in the chart of risk and value: those with most at stake."""
CALIBRATED = 90
"""The horizon whose calibration is shown, days: the one that decisions use."""
MOST_BARS = 10

_Z = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Filter:
    """Whom to list: ``decision`` a kind or a code ("": all), ``reason``, ``branch`` ("": any), ``risk`` the least."""

    decision: str = ""
    reason: str = ""
    branch: str = ""
    risk: float = 0.0


@dataclass(frozen=True, eq=False)
class Loaded:
    """What belongs to the newest decisions; made by ``load``.

    Attributes: ``scores`` the decisions, ``risks`` the risks they were made on; ``table`` one row a customer: what ``retention.decide`` returns, with low_90, high_90, stake_minor (risk
    × value), kind (of ``KINDS``), branch_id; ``effects`` counted on, ``measured`` in past campaigns; ``limits`` of the
    channels; ``tasks`` of consultants; ``calibration`` of the risks; ``definition`` of leaving as a code; ``caution``
    of the effects; ``branches`` names by branch_id; ``mix`` shares of the reasons in all expected departures.
    """

    data: Path
    company: Company
    scores: ScoreSet
    risks: ScoreSet
    table: pd.DataFrame
    effects: pd.DataFrame
    measured: pd.DataFrame
    limits: pd.DataFrame
    tasks: pd.DataFrame
    calibration: pd.DataFrame
    definition: dict[str, Any]
    caution: float
    branches: dict[str, str]
    mix: dict[str, float]
    reasons: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def average(self) -> float:
        """The mean risk of leaving within 90 days; nan where nobody has one."""
        return float(self.table["risk_90"].mean())

    @property
    def prevented(self) -> dict[str, float]:
        """The share of departures that each channel prevents, as counted on, at the present mix of reasons."""
        shares = {str(name): _prevented(self, str(name)) for name in self.limits["channel"]}
        return {name: share for name, share in shares.items() if share > 0}


def newest(data: Path) -> int | None:
    """Return the number of the newest set of decisions."""
    if not data.is_dir():
        return None
    with session.session(data) as store:
        return store.scalar(sa.select(sa.func.max(ScoreSet.score_set_id)).where(ScoreSet.model == "retention"))


def load(data: Path) -> Loaded:
    """Return what the watchlist shows.

    Raises NotFoundError where there is no data folder or nothing was decided yet, EnvironmentFault for a damaged file.
    """
    if not data.is_dir():
        raise NotFoundError(
            f"{data}: there is no such data folder; run `crm demo`, or load your own files with `crm load`"
        )
    try:
        scores = score_sets.newest(data, "retention")
    except NotFoundError as error:
        raise NotFoundError(
            "nobody has been decided on yet; run `crm churn`, `crm value` and `crm retention`"
        ) from error
    risks = score_sets.newest(data, "churn", as_of=scores.as_of)
    snapshot = warehouse.open(paths.warehouse(data), version=scores.warehouse_version).snapshot(scores.as_of)
    beside = {name: score_sets.beside(data, scores, name) for name in ("effects", "measured", "limits", "work_list")}
    by_reason = score_sets.beside(data, risks, "by_reason")
    return Loaded(
        data=data,
        company=offers_inputs.company_of(data, snapshot),
        scores=scores,
        risks=risks,
        table=_table(snapshot, score_sets.read(data, scores), score_sets.read(data, risks)),
        effects=beside["effects"],
        measured=beside["measured"],
        limits=beside["limits"],
        tasks=beside["work_list"],
        calibration=_calibration(_optional(data, risks, "calibration")),
        definition=_definition(data, risks),
        caution=float(score_sets.beside(data, scores, "settings")["caution"].iloc[0]),
        branches=_branches(snapshot),
        mix=_mix(by_reason),
        reasons=_optional(data, risks, "reasons"),
    )


def _table(snapshot: warehouse.Snapshot, decided: pd.DataFrame, risks: pd.DataFrame) -> pd.DataFrame:
    bounds = [name for name in ("low_90", "high_90") if name in risks]
    out = decided.merge(risks[["customer_id", *bounds]], on="customer_id", how="left", validate="one_to_one")
    out.loc[out["risk_90"].isna(), bounds] = np.nan  # who objected to profiling has no risk here
    where = snapshot.table("customers", ["customer_id", "branch_id"])
    out = out.merge(where, on="customer_id", how="left", validate="one_to_one")
    kind = {code: name for name, codes in KINDS.items() for code in codes}
    stake = out["risk_90"] * out["value_at_stake_minor"]
    branch = out["branch_id"].fillna("").astype("str")
    return out.assign(stake_minor=stake, kind=out["code"].map(kind).astype("str"), branch_id=branch)


def _optional(data: Path, scores: ScoreSet, name: str) -> pd.DataFrame:
    try:
        return score_sets.beside(data, scores, name)
    except NotFoundError:
        return pd.DataFrame()


def _calibration(table: pd.DataFrame) -> pd.DataFrame:
    """Return the groups of the horizon shown, with the 95% interval (Wilson) of the share that left."""
    if table.empty:
        return table
    own = table[table["horizon"] == CALIBRATED].reset_index(drop=True)
    n, share = own["customers"].to_numpy(float), own["observed"].to_numpy(float)
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return own.assign(low=centre - reach, high=centre + reach)


def _definition(data: Path, risks: ScoreSet) -> dict[str, Any]:
    with session.session(data) as store:
        where = (Model.name == risks.model, Model.model_version == risks.model_version)
        metrics = store.scalar(sa.select(Model.metrics).where(*where))
    found = (metrics or {}).get("definition", {})
    return dict(found) if isinstance(found, dict) else {}


def _branches(snapshot: warehouse.Snapshot) -> dict[str, str]:
    table = snapshot.table("branches", ["branch_id", "name"])
    return dict(zip(table["branch_id"], table["name"].fillna(table["branch_id"]), strict=True))


def _mix(by_reason: pd.DataFrame) -> dict[str, float]:
    total = by_reason.groupby(by_reason["reason"].astype(str))["risk_90"].sum()
    return {str(name): float(value) for name, value in (total / max(total.sum(), 1e-300)).items()}


def _prevented(loaded: Loaded, channel: str) -> float:
    own = loaded.effects[(loaded.effects["channel"] == channel) & (loaded.effects["group"] == "")]
    kept: dict[str, float] = dict(zip(own["reason"], 1 - own["cautious"].astype(float), strict=True))
    other = kept.get("", 0.0)
    return float(sum(share * kept.get(reason, other) for reason, share in loaded.mix.items()))


# ---------------------------------------------------------------- what is asked


def chosen(loaded: Loaded, wanted: Filter) -> pd.DataFrame:
    """Return the customers of a filter, those with most to save first, then those with most at stake."""
    table = loaded.table
    keep = np.ones(len(table), bool)
    if wanted.decision:
        keep &= (table["kind"] == wanted.decision) | (table["code"] == wanted.decision)
    if wanted.reason:
        keep &= (table["reason"] == wanted.reason).to_numpy()
    if wanted.branch:
        keep &= (table["branch_id"] == wanted.branch).to_numpy()
    if wanted.risk:
        keep &= (table["risk_90"] >= wanted.risk).to_numpy()
    order = ["net_minor", "stake_minor", "customer_id"]
    return table[keep].sort_values(order, ascending=[False, False, True], ignore_index=True)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """Return the customers to draw by risk and value: those with most at stake, each with a value above nothing."""
    usable = table[(table["stake_minor"] > 0)]
    return usable.sort_values("stake_minor", ascending=False, kind="stable").head(POINTS)


def decisions(table: pd.DataFrame) -> pd.DataFrame:
    """Return what is decided: kind, code, action, customers, risk (departures expected), stake_minor, net_minor."""
    rows = table.assign(stake=table["stake_minor"].clip(lower=0))
    found = rows.groupby(["kind", "code", "action"], as_index=False).agg(
        customers=("customer_id", "size"),
        risk=("risk_90", "sum"),
        stake_minor=("stake", "sum"),
        net_minor=("net_minor", "sum"),
    )
    return found.sort_values(["stake_minor", "customers"], ascending=False, ignore_index=True)


def reasons_of(loaded: Loaded, customer: str) -> list[dict[str, Any]] | None:
    """Return why a customer's risk is as it is, as codes; None where this was not worked out for the customer."""
    if loaded.reasons.empty:
        return None
    own = loaded.reasons.loc[loaded.reasons["customer_id"] == customer, "reasons"]
    return None if own.empty else list(json.loads(own.iloc[0]))


def break_even(loaded: Loaded, channel: str, risk: np.ndarray) -> np.ndarray:
    """Return the value from which a channel pays at each risk; minor units."""
    cost = float(loaded.company.contact_costs_minor[channel])
    return retention_worth.break_even(risk, cost_minor=cost, prevented=loaded.prevented[channel])


def needed(loaded: Loaded, row: pd.Series, channel: str) -> float:
    """Return the share of departures that a channel must prevent to pay for a customer."""
    cost = float(loaded.company.contact_costs_minor[channel])
    return float(retention_worth.needed_share(cost, float(row["risk_90"]), float(row["value_at_stake_minor"])))


def with_details(loaded: Loaded, rows: pd.DataFrame, *, today: dt.date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows with an action that the newest data still permit, with contact details, and all permitted pairs.

    Out as in ``targeting.contactable``. Whoever objected to profiling since the decision is left out too.
    """
    acts = rows[rows["action"] != ""].assign(channel=rows["action"])
    consents = warehouse.open(paths.warehouse(loaded.data)).table("consents")
    acts = acts[~acts["customer_id"].isin(profiling_objectors(consents))]
    return targeting.contactable(acts, data=loaded.data, company=loaded.company, today=today)
