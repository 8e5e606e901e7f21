"""Assignment of a campaign: its audience frozen, people drawn at random and put on record before anybody is contacted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import audiences, eligibility, experiments, policy
from crmlib.decisions.campaigns import book, calendar, covariates, randomise, reach
from crmlib.decisions.campaigns import plan as plans
from crmlib.decisions.campaigns.plan import Plan
from crmlib.decisions.campaigns.reach import Reach
from crmlib.errors import DataError, NotFoundError
from crmlib.store import files, score_sets
from crmlib.store.tables import Campaign
from crmlib.warehouse import company as companies
from crmlib.warehouse import schema
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, Warehouse

MEMBERS = ["campaign_id", "customer_id", "arm", "control", "stratum", "assigned_at", "channel", "product_id"]
SCORES = 10  # groups of the stratum by score


@dataclass(frozen=True, eq=False)
class Answer:
    """What a plan would come to: made by ``look``, before anything is recorded.

    Attributes: ``audience`` people in it; ``people`` those whom an arm may contact, best first, with stratum; ``may``
    (people × arms); ``refusals`` counts by arm and code of why others may not; ``members`` who would take part under
    budget and capacities, ``treated`` and ``control`` of them; ``cost_minor`` expected, ``contacts`` expected by
    channel; ``schedule`` the contact plan; ``needed`` the sample size for the effect worth finding; ``snapshot`` asked.
    """

    plan: Plan
    snapshot: Snapshot
    audience: int
    people: pd.DataFrame
    may: np.ndarray
    refusals: pd.DataFrame
    members: int
    contacts: Mapping[str, int]
    cost_minor: float
    schedule: pd.DataFrame
    needed: experiments.SampleSize

    @property
    def control(self) -> int:
        """Members left alone."""
        return round(self.members * self.plan.control_share)

    @property
    def treated(self) -> int:
        """Members contacted."""
        return self.members - self.control

    @property
    def enough(self) -> bool:
        """Whether the effect worth finding would be found with the power asked for."""
        return self.members >= self.needed.members


@dataclass(frozen=True, eq=False)
class Assignment:
    """A campaign whose people are on record.

    Attributes: ``campaign`` its row; ``members`` with the columns of ``MEMBERS``; ``balance`` of the groups before the
    campaign (see ``randomise.balance``); ``cost_minor`` of contacting everybody treated.
    """

    campaign: Campaign
    members: pd.DataFrame
    balance: pd.DataFrame
    cost_minor: float


def look(
    data: Path, plan: Plan, *, today: dt.date, given: Warehouse | None = None, allowed: Reach | None = None
) -> Answer:
    """Return what a plan would come to, as of the newest data; nothing is recorded.

    ``given`` is the warehouse version to ask (default: the one served) and ``allowed`` who may be contacted by the plan's
    channels, for who asks again and again (default: read anew).

    Raises what ``plan.check`` does, NotFoundError for an unknown audience, DataError for an empty one and for a
    warehouse without records.
    """
    opened = given or warehouse.open(paths.warehouse(data))
    company = companies.read(data / "company.toml")
    plans.check(plan, company=company, products=book.on_sale(opened), today=today)
    snapshot = newest(opened)
    ids = audience(data, plan.audience_id, snapshot)
    rules = allowed or allowed_at(
        data, snapshot, channels=plan.channels, company=company, day=max(today, plan.starts_on)
    )
    people = _ordered(data, plan, snapshot, ids)
    own = eligibility.rules(snapshot, file=data / eligibility.RULES_FILE)
    codes = refusals(plan, people, snapshot, rules, terms=own)
    return answer(plan, people, codes, snapshot, company=company)


def allowed_at(data: Path, snapshot: Snapshot, *, channels: list[str], company: Company, day: dt.date) -> Reach:
    """Return who may be contacted by these channels from a day on, what running campaigns have planned included."""
    at = dt.datetime.combine(day, dt.time())
    return reach.read(
        snapshot, channels=channels, company=company, at=at, promised=promised(data, snapshot.warehouse, at=at)
    )


def newest(opened: Warehouse) -> Snapshot:
    """Return what is known at the end of the last day with records."""
    if opened.period is None:
        raise DataError(f"version {opened.version} of the warehouse holds no events; load some data first")
    return opened.snapshot(opened.period[1])


def audience(data: Path, audience_id: int, snapshot: Snapshot) -> pd.Series:
    """Return the customer_ids of a saved audience as of a snapshot; raises DataError where it is empty."""
    row = book.audience_of(data, audience_id)
    ids = audiences.customers(snapshot, row.conditions, data=data)["customer_id"]
    if ids.empty:
        raise DataError(
            f"audience {row.name!r} (version {row.audience_version}) is empty as of {snapshot.as_of}; loosen its conditions"
        )
    return ids


def answer(plan: Plan, people: pd.DataFrame, codes: np.ndarray, snapshot: Snapshot, *, company: Company) -> Answer:
    """Return what a plan would come to, from people (customer_id, stratum; best first) and their codes by arm."""
    may = codes == ""
    inside = may.any(axis=1)
    kept = fitting(plan, may[inside], company=company)
    contacts = _by_channel(plan, kept)
    costs = _mean_costs(plan, kept, company)
    days = plans.contact_days(plan, company)
    schedule = calendar.schedule(contacts, days=days, capacities=plan.capacities, costs=costs)
    names = [arm.name for arm in plan.arms]
    counts = pd.DataFrame(
        [(name, code, n) for name, column in zip(names, codes.T, strict=True) for code, n in _counted(column)],
        columns=["arm", "code", "customers"],
    )
    needed = experiments.sample_size(
        plan.effect, rate=plan.baseline, control_share=plan.control_share, arms=len(plan.arms)
    )
    return Answer(
        plan=plan,
        snapshot=snapshot,
        audience=len(people),
        people=people[inside].reset_index(drop=True),
        may=kept,
        refusals=counts,
        members=int(kept.any(axis=1).sum()),
        contacts=contacts,
        cost_minor=float(sum(contacts[name] * costs[name] for name in contacts)),
        schedule=schedule,
        needed=needed,
    )


def _counted(column: np.ndarray) -> list[tuple[str, int]]:
    codes, counts = np.unique(column.astype(str), return_counts=True)
    return [(str(code), int(n)) for code, n in zip(codes, counts, strict=True) if code]


def fitting(plan: Plan, may: np.ndarray, *, company: Company) -> np.ndarray:
    """Return the arms that each person may get, so that budget and capacities suffice; who is first comes first.

    In: ``may`` (person × arm), the best person first. Where a channel is full, the rest lose its arms; where the budget
    is spent, the rest lose all. Expected numbers: each treated person costs what the arms open to them cost on average.
    """
    days = len(plans.contact_days(plan, company))
    weights = np.array([arm.weight for arm in plan.arms])
    channels = np.array([arm.channel for arm in plan.arms])
    left = may.copy()
    for channel in plan.channels:
        if channel in plan.capacities:
            load = _shares(left, weights)[:, channels == channel].sum(axis=1).cumsum() * (1 - plan.control_share)
            left[np.ix_(load > plan.capacities[channel] * days, channels == channel)] = False
    if plan.budget_minor is not None:
        prices = np.array(list(plans.costs(plan, company).values()))
        spent = (_shares(left, weights) @ prices).cumsum() * (1 - plan.control_share)
        left[spent > plan.budget_minor] = False
    return left


def _shares(may: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the probability of each arm for each person, given that the person is treated."""
    shares = may * weights
    total = shares.sum(axis=1, keepdims=True)
    return np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)


def _by_channel(plan: Plan, may: np.ndarray) -> dict[str, int]:
    expected = _shares(may, np.array([arm.weight for arm in plan.arms])).sum(axis=0) * (1 - plan.control_share)
    sums: dict[str, float] = {}
    for arm, number in zip(plan.arms, expected, strict=True):
        sums[arm.channel] = sums.get(arm.channel, 0.0) + float(number)
    return {channel: round(number) for channel, number in sums.items()}


def _mean_costs(plan: Plan, may: np.ndarray, company: Company) -> dict[str, float]:
    expected = _shares(may, np.array([arm.weight for arm in plan.arms])).sum(axis=0)
    prices = plans.costs(plan, company)
    found = {}
    for channel in plan.channels:
        own = [number for number, arm in enumerate(plan.arms) if arm.channel == channel]
        weight = expected[own] if expected[own].sum() else np.ones(len(own))
        found[channel] = float(np.average([prices[plan.arms[number].name] for number in own], weights=weight))
    return found


def refusals(
    plan: Plan, people: pd.DataFrame, snapshot: Snapshot, allowed: Reach, *, terms: pd.DataFrame | None = None
) -> np.ndarray:
    """Return why each person (rows) may not get each arm (columns): by its channel, or its product; else "".

    ``terms`` are the rules of eligibility (None: those of the product table).
    """
    customers = people["customer_id"].to_numpy(dtype=object)
    by_channel = dict(zip(plan.channels, reach.matrix(allowed, customers, plan.channels).T, strict=True))
    may_buy = eligibility.matrix(snapshot, customers=customers.tolist(), products=plan.products, rules=terms)
    places = pd.Index(may_buy.customer_ids).get_indexer(pd.Index(customers))
    meanings = np.array(may_buy.meanings, dtype=object)
    columns = []
    for arm in plan.arms:
        offer = meanings[may_buy.codes[places, may_buy.product_ids.index(arm.product_id)]]
        columns.append(np.where(by_channel[arm.channel] != "", by_channel[arm.channel], offer))
    return np.stack(columns, axis=1)


def _ordered(data: Path, plan: Plan, snapshot: Snapshot, ids: pd.Series) -> pd.DataFrame:
    """Return the audience with the score for the first arm's product and the stratum, the best score first."""
    people = pd.DataFrame({"customer_id": ids.astype("str")})
    score = _score(data, plan.arms[0].product_id)
    people = people.merge(score, on="customer_id", how="left", validate="one_to_one")
    known = snapshot.table("customers", ["customer_id", "region", "segment"])
    people = people.merge(known, on="customer_id", how="left", validate="one_to_one")
    ranks = people["score"].rank(method="first", pct=True).to_numpy(float)
    groups = np.where(np.isnan(ranks), "?", np.ceil(np.nan_to_num(ranks) * SCORES).astype(int).astype(str))
    columns = {"region": people["region"], "segment": people["segment"], "score": pd.Series(groups)}
    parts = [columns[name].astype("str").fillna("?") for name in plan.strata]
    stratum = parts[0] if parts else pd.Series("", index=people.index, dtype="str")
    for part in parts[1:]:
        stratum = stratum + " · " + part
    people = people.assign(stratum=stratum).sort_values("score", ascending=False, kind="stable", na_position="last")
    return people[["customer_id", "score", "stratum"]].reset_index(drop=True)


def _score(data: Path, product_id: str) -> pd.DataFrame:
    try:
        scores = score_sets.read(
            data, score_sets.newest(data, "propensity"), columns=["customer_id", "product_id", "score"]
        )
    except NotFoundError:
        return pd.DataFrame({"customer_id": pd.Series(dtype="str"), "score": pd.Series(dtype=float)})
    return scores.loc[scores["product_id"] == product_id, ["customer_id", "score"]].astype({"customer_id": "str"})


def assign(data: Path, campaign_id: str, *, revision: int, seed: int, now: dt.datetime) -> Assignment:
    """Freeze the audience of an approved campaign, draw control group and arms, and put them on record.

    The members lie in ``data/campaigns/ID`` as Parquet (columns of ``MEMBERS``), complete before the row that points at
    them is written. Raises DataError for a campaign that is not approved, was changed meanwhile, starts in the past,
    or whose audience leaves nobody to contact or nobody to leave alone; then nothing is recorded.
    """
    row = book.get(data, campaign_id)
    if row.state != "approved":
        raise DataError(
            f"campaign {campaign_id} is {row.state}, not approved; people are assigned once somebody other than its owner approved it"
        )
    plan = book.plan_of(row)
    if plan.starts_on < now.date():
        raise DataError(
            f"campaign {campaign_id} was to start on {plan.starts_on}, before today ({now.date()}); change its dates"
        )
    found = look(data, plan, today=now.date())
    company = companies.read(data / "company.toml")
    table = drawn(found, seed=seed, company=company)
    members = table.assign(campaign_id=campaign_id, assigned_at=pd.Timestamp(now).as_unit("us"))[MEMBERS]
    opened = found.snapshot.warehouse
    before = randomise.balance(members, covariates.before(opened, members))
    folder = data / "campaigns" / campaign_id
    with files.reporting(folder):
        path = files.reserved(folder, "members")
        try:
            checksum = files.write_parquet(members, path)
            values = {
                "state": "assigned",
                "warehouse_version": opened.version,
                "as_of": found.snapshot.as_of,
                "seed": seed,
                "members_file": path.relative_to(data).as_posix(),
                "members_checksum": checksum,
                "members": len(members),
                "assigned_at": now,
                "changed_at": now,
            }
            done = book.swap(data, campaign_id, values, revision=revision, states=("approved",), doing="assigned")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Assignment(done, members, before, spending(plan, members, company))


def drawn(found: Answer, *, seed: int, company: Company) -> pd.DataFrame:
    """Return the members drawn from an answer: as many of the best as the budget pays for in the draw itself."""
    plan = found.plan
    arms = pd.DataFrame([(arm.name, arm.weight, arm.channel, arm.product_id) for arm in plan.arms])
    arms.columns = pd.Index(["arm", "weight", "channel", "product_id"])
    may = found.may.copy()
    while True:
        table = randomise.assign(found.people, may, arms=arms, control_share=plan.control_share, seed=seed)
        if not _given_up(plan, table, may, company):
            return table


def _given_up(plan: Plan, table: pd.DataFrame, may: np.ndarray, company: Company) -> bool:
    """Take the last few people out of ``may`` where a draw costs more or needs more contacts than there are.

    The numbers of ``fitting`` are expected ones; a draw can hit dearer arms, or one channel more often.
    """
    over = spending(plan, table, company) - (np.inf if plan.budget_minor is None else plan.budget_minor)
    if over > 0:
        number = max(1, int(over / max(plans.costs(plan, company).values())))
        may[np.flatnonzero(may.any(axis=1))[-number:]] = False
    days = len(plans.contact_days(plan, company))
    used = table["channel"].value_counts()
    channels = np.array([arm.channel for arm in plan.arms])
    full = {name: int(used.get(name, 0)) - most * days for name, most in plan.capacities.items() if name in channels}
    for channel, beyond in full.items():
        if beyond > 0:
            rows = np.flatnonzero(may[:, channels == channel].any(axis=1))[-beyond:]
            may[np.ix_(rows, channels == channel)] = False
    return over > 0 or any(beyond > 0 for beyond in full.values())


def spending(plan: Plan, members: pd.DataFrame, company: Company) -> float:
    """Return what it costs to contact everybody treated, minor units."""
    return float(members.loc[~members["control"], "arm"].map(plans.costs(plan, company)).sum())


def promised(data: Path, opened: Warehouse, *, at: dt.datetime, besides: str = "") -> pd.DataFrame:
    """Return the contacts that running campaigns planned here have still before them, for the contact policy.

    Out: customer_id, channel, occurred_at (the campaign's first day, before ``at``), outcome (``policy.PLANNED``): each
    member of an assigned campaign, but for its control group, those whose contact is in the warehouse already, and the
    campaign named ``besides``.
    """
    columns = ["customer_id", "channel", "occurred_at", "outcome"]
    parts = [pd.DataFrame({name: pd.Series(dtype="str") for name in columns})]
    for row in book.planned(data):
        if row.state == "assigned" and row.campaign_id != besides and row.ends_on >= at.date():
            members = members_of(data, row)
            day = min(dt.datetime.combine(row.starts_on, dt.time()), at - dt.timedelta(minutes=1))
            left = ~members["control"] & ~members["customer_id"].isin(_met(opened, row.campaign_id))
            treated = members.loc[left, ["customer_id", "channel"]]
            parts.append(treated.assign(occurred_at=day, outcome=policy.PLANNED))
    found = pd.concat(parts[1:] or parts, ignore_index=True)
    return found.astype({"occurred_at": "datetime64[us]"})


def _met(opened: Warehouse, campaign_id: str) -> pd.Series:
    """Return who was contacted in a campaign, by what the warehouse holds."""
    made = schema.tables()["contacts"]
    own = sa.and_(made.c.campaign_id == campaign_id, made.c.superseded_at.is_(None))
    return opened.read(sa.select(made.c.customer_id).where(own))["customer_id"]


def members_of(data: Path, row: Campaign) -> pd.DataFrame:
    """Return the frozen members of a campaign; raises DataError before the assignment, EnvironmentFault for a changed file."""
    if row.members_file is None or row.members_checksum is None:
        raise DataError(f"campaign {row.campaign_id} is {row.state}; nobody is assigned to it yet")
    remedy = "put it back from a backup: the assignment cannot be made again"
    return files.read_parquet(data / row.members_file, row.members_checksum, remedy=remedy)
