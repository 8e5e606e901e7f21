"""What the campaigns dashboard shows: plans and the warehouse's campaigns in one calendar, answers, progress, effects."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import audiences, campaigns, experiments, policy
from crmlib.decisions.audiences import sources
from crmlib.decisions.campaigns import Answer, Plan, calendar, freeze, reach, results
from crmlib.decisions.campaigns import plan as plans
from crmlib.errors import CrmError
from crmlib.store import session
from crmlib.store.tables import Audience, Campaign, ScoreSet, SegmentSet
from crmlib.warehouse import company as companies
from crmlib.warehouse.snapshot import Snapshot, Warehouse

BASELINE = Plan.baseline


@dataclass(frozen=True, eq=False)
class Loaded:
    """All that is read once. Attributes: ``audiences`` and ``products`` (on sale) to choose from, ``planned`` rows of the
    store, ``known`` campaigns of the warehouse without hold-outs; ``reached`` and ``measured`` keep answers given."""

    data: Path
    snapshot: Snapshot
    company: companies.Company
    audiences: pd.DataFrame
    products: pd.DataFrame
    planned: list[Campaign]
    known: pd.DataFrame
    reached: dict[Any, reach.Reach] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)

    @property
    def warehouse(self) -> Warehouse:
        """The version shown."""
        return self.snapshot.warehouse


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of one campaign. Attributes: ``results`` a row per member; ``progress`` day by day; ``effects`` by arm and
    measure, final ones if ``final``; ``complete_on`` the last day that counts; ``contaminated`` of the control group."""

    results: pd.DataFrame
    progress: pd.DataFrame
    effects: pd.DataFrame
    final: bool
    complete_on: dt.date
    contaminated: int


def load(data: Path) -> Loaded:
    """Return what there is in a data folder; raises NotFoundError without a warehouse, DataError without records."""
    opened = warehouse.open(paths.warehouse(data))
    snapshot = freeze.newest(opened)
    products = opened.table("products")
    on_sale = (
        products[products["withdrawn_on"].isna()].sort_values("valid_from").drop_duplicates("product_id", keep="last")
    )
    known = opened.table("campaigns")
    planned = campaigns.planned(data)
    own = {row.campaign_id for row in planned}
    known = known[(known["goal"] != policy.HOLDOUT_GOAL) & ~known["campaign_id"].isin(own)]
    return Loaded(
        data=data,
        snapshot=snapshot,
        company=companies.read(data / "company.toml"),
        audiences=audiences.saved(data),
        products=on_sale[["product_id", "name"]].sort_values("name", ignore_index=True),
        planned=planned,
        known=known.sort_values(["starts_on", "campaign_id"], ignore_index=True),
    )


def newest(data: Path) -> tuple[Any, ...]:
    """Return what changes when there is something newer to show: version, audiences, plans."""
    if not paths.warehouse(data).is_dir():
        return ()
    with session.session(data) as store:
        plans_ = store.execute(sa.select(sa.func.count(), sa.func.sum(Campaign.revision)).select_from(Campaign)).one()
        saved = store.scalar(sa.select(sa.func.max(Audience.audience_id)))
    versions = warehouse.lineage(data)
    return (versions[0] if versions else None, saved, *plans_)


def calendar_table(loaded: Loaded) -> pd.DataFrame:
    """Return all campaigns: campaign_id, name, source (plan or warehouse), state, starts_on, ends_on, product_id, channel.

    The state of a warehouse's campaign is planned, running or past on the last day with records.
    """
    rows = []
    for row in loaded.planned:
        plan = campaigns.plan_of(row)
        about = (plan.products[0], "+".join(plan.channels))
        rows.append((row.campaign_id, row.name, "plan", row.state, row.starts_on, row.ends_on, *about))
    today = loaded.snapshot.as_of
    for one in loaded.known.to_dict("records"):
        first = pd.Timestamp(one["starts_on"]).date()
        last = pd.Timestamp(one["ends_on"]).date() if pd.notna(one["ends_on"]) else first
        state = "planned" if first > today else "past" if last <= today else "running"
        rows.append(
            (one["campaign_id"], one["name"], "warehouse", state, first, last, one["product_id"], one["channel"])
        )
    columns = ["campaign_id", "name", "source", "state", "starts_on", "ends_on", "product_id", "channel"]
    return pd.DataFrame(rows, columns=columns)


def audience_made_with(loaded: Loaded, audience_id: int) -> tuple[Audience, list[ScoreSet | SegmentSet]]:
    """Return a saved audience, and the scores and segments that its conditions ask for."""
    row = audiences.by_id(loaded.data, audience_id)
    return row, sources.asked_for(audiences.normal(row.conditions), loaded.data, loaded.snapshot.as_of)


def ask(loaded: Loaded, plan: Plan, *, today: dt.date) -> Answer:
    """Check a plan and return what it would come to; whom the channels reach is read once for each first day."""
    plans.check(plan, company=loaded.company, products=set(loaded.products["product_id"]), today=today)
    allowed = reached(loaded, plan.channels, day=max(today, plan.starts_on))
    return campaigns.look(loaded.data, plan, today=today, given=loaded.warehouse, allowed=allowed)


def reached(loaded: Loaded, channels: list[str], *, day: dt.date) -> reach.Reach:
    """Return who may be contacted from a day on, read once for all channels of the company and the one that is new."""
    every = sorted({*loaded.company.contact_costs_minor, *channels})
    assigned = sum(row.state == "assigned" for row in loaded.planned)
    key = (*every, day, assigned)
    if key not in loaded.reached:
        loaded.reached[key] = freeze.allowed_at(
            loaded.data, loaded.snapshot, channels=every, company=loaded.company, day=day
        )
    return loaded.reached[key]


def clashes(loaded: Loaded, plan: Plan, answer: Answer, *, own: str = "") -> pd.DataFrame:
    """Return what a plan shares with other campaigns on the days they overlap; see ``campaigns.clashes``."""
    here = calendar.Entry(
        campaign_id=own,
        name=plan.name,
        source="plan",
        state="draft",
        starts_on=plan.starts_on,
        ends_on=plan.ends_on,
        products=frozenset(plan.products),
        channels=frozenset(plan.channels),
        customers=pd.Index(answer.people["customer_id"]),
        schedule=answer.schedule,
        capacities=plan.capacities,
    )
    others = [_planned_entry(loaded, row) for row in loaded.planned if row.campaign_id != own and _near(row, plan)]
    table = calendar_table(loaded)
    near = table[(table["source"] == "warehouse") & (table["starts_on"] <= plan.ends_on)]
    others += [_known_entry(loaded, row) for row in near[near["ends_on"] >= plan.starts_on].to_dict("records")]
    return campaigns.clashes(here, others)


def _near(row: Campaign, plan: Plan) -> bool:
    return (
        row.starts_on <= plan.ends_on and row.ends_on >= plan.starts_on and row.state not in ("cancelled", "finished")
    )


def _planned_entry(loaded: Loaded, row: Campaign) -> calendar.Entry:
    plan = campaigns.plan_of(row)
    if row.members_file:
        members = campaigns.members_of(loaded.data, row)
        customers, counts = pd.Index(members["customer_id"]), members.loc[~members["control"], "channel"].value_counts()
        days = plans.contact_days(plan, loaded.company)
        schedule = calendar.schedule(
            {str(name): int(n) for name, n in counts.items()},
            days=days,
            capacities=plan.capacities,
            costs=dict.fromkeys(plan.channels, 0.0),
        )
    else:
        customers, schedule = _drafted(loaded, plan)
    return calendar.Entry(
        campaign_id=row.campaign_id,
        name=row.name,
        source="plan",
        state=row.state,
        starts_on=row.starts_on,
        ends_on=row.ends_on,
        products=frozenset(plan.products),
        channels=frozenset(plan.channels),
        customers=customers,
        schedule=schedule,
        capacities=plan.capacities,
    )


def _drafted(loaded: Loaded, plan: Plan) -> tuple[pd.Index, pd.DataFrame]:
    """Return whom a plan not assigned yet would reach and when; nobody where it cannot be carried out as it stands."""
    try:
        found = campaigns.look(loaded.data, plan, today=plan.starts_on, given=loaded.warehouse)
    except CrmError:  # what is wrong with it is said where it is opened; the plan asked about is another
        return pd.Index([], dtype="str"), pd.DataFrame(columns=calendar.SCHEDULE)
    return pd.Index(found.people["customer_id"]), found.schedule


def _known_entry(loaded: Loaded, row: dict[Any, Any]) -> calendar.Entry:
    table = warehouse.schema.tables()["campaign_members"]
    own = sa.and_(table.c.campaign_id == row["campaign_id"], table.c.superseded_at.is_(None))
    members = loaded.warehouse.read(sa.select(table.c.customer_id).where(own))
    return calendar.Entry(
        campaign_id=row["campaign_id"],
        name=row["name"],
        source="warehouse",
        state=row["state"],
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        products=frozenset([row["product_id"]] if pd.notna(row["product_id"]) else []),
        channels=frozenset([row["channel"]] if pd.notna(row["channel"]) else []),
        customers=pd.Index(members["customer_id"]),
        schedule=pd.DataFrame(columns=calendar.SCHEDULE),
        capacities={},
    )


def measurable(loaded: Loaded) -> pd.DataFrame:
    """Return the campaigns for a product that have begun and have members, the newest first: campaign_id and name."""
    table = calendar_table(loaded).dropna(subset=["product_id"])
    begun = table["starts_on"] <= loaded.snapshot.as_of
    drawn = {row.campaign_id for row in loaded.planned if row.members_file}
    kept = table[begun & ((table["source"] == "warehouse") | table["campaign_id"].isin(drawn))]
    return kept.sort_values(["starts_on", "campaign_id"], ascending=False, ignore_index=True)[["campaign_id", "name"]]


def measure(loaded: Loaded, campaign_id: str) -> Measured:
    """Return what came of a campaign: its final effect once every purchase that counts could have happened, else so far."""
    if campaign_id not in loaded.measured:
        found = campaigns.members(loaded.warehouse, campaign_id, data=loaded.data)
        row = next((one for one in loaded.planned if one.campaign_id == campaign_id), None)
        plan = campaigns.plan_of(row) if row else None
        last = results.complete_on(found, within_days=plan.within_days if plan else results.WITHIN_DAYS)
        final = last <= loaded.snapshot.as_of
        treated, control = int((~found["control"]).sum()), int(found["control"].sum())
        rate, more = (plan.baseline, plan.effect) if plan else (BASELINE, 0.0)
        expected = rate * (treated + control) + more * treated
        effects = experiments.final(found) if final else experiments.interim(found, planned_buyers=expected)
        contaminated = int((found["control"] & found["contacted"]).sum())
        loaded.measured[campaign_id] = Measured(found, campaigns.progress(found), effects, final, last, contaminated)
    return loaded.measured[campaign_id]


def programme(loaded: Loaded) -> pd.DataFrame | str:
    """Return the effect of all campaigns together, or in words why it cannot be measured."""
    try:
        return experiments.programme(loaded.snapshot)
    except CrmError as error:
        return str(error)
