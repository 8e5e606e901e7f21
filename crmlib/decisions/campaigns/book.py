"""The book of planned campaigns: drafts, approval, cancelling; two people who change one at once are told."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import audiences
from crmlib.decisions.campaigns import plan as plans
from crmlib.decisions.campaigns.plan import Plan
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import Audience, Campaign
from crmlib.warehouse import company as companies
from crmlib.warehouse.snapshot import Warehouse

OPEN = ("draft", "approved")
"""States in which a plan can still be changed."""


def draft(data: Path, plan: Plan, *, now: dt.datetime) -> Campaign:
    """Record a new plan as a draft and return its row (detached); its id is made from the first day and the name.

    Raises what ``plan.check`` does, and NotFoundError for an unknown audience; then nothing is recorded.
    """
    _check(data, plan, now)
    with session.session(data) as store:
        taken = set(store.scalars(sa.select(Campaign.campaign_id)))
        taken |= set(_warehouse(data).table("campaigns")["campaign_id"])
        row = Campaign(
            campaign_id=_free(plan, taken), revision=1, state="draft", created_at=now, changed_at=now, **_columns(plan)
        )
        store.add(row)
        store.commit()
        store.refresh(row)
        store.expunge(row)
    return row


def change(data: Path, campaign_id: str, plan: Plan, *, revision: int, now: dt.datetime) -> Campaign:
    """Replace the plan of a campaign that is not assigned yet; what was approved becomes a draft again.

    ``revision`` is that of the row the change was made from. Raises DataError where somebody else changed it meanwhile
    or people are assigned already.
    """
    _check(data, plan, now)
    values = {**_columns(plan), "state": "draft", "approved_by": None, "approved_at": None, "changed_at": now}
    return swap(data, campaign_id, values, revision=revision, states=OPEN, doing="changed")


def approve(data: Path, campaign_id: str, *, revision: int, by: str, now: dt.datetime) -> Campaign:
    """Approve a draft; the owner cannot, since a second person looks at what is sent to customers.

    Raises UsageError for an empty name or the owner's, DataError where the campaign is no draft any more.
    """
    row = get(data, campaign_id)
    if not by.strip():
        raise UsageError("by is empty; an approval is recorded with the name of who gives it")
    if by.strip().casefold() == row.owner.strip().casefold():
        raise UsageError(f"{by} owns campaign {campaign_id}; somebody else approves it")
    _check(data, plan_of(row), now)
    values = {"state": "approved", "approved_by": by.strip(), "approved_at": now, "changed_at": now}
    return swap(data, campaign_id, values, revision=revision, states=("draft",), doing="approved")


def finish(data: Path, campaign_id: str, *, revision: int, now: dt.datetime) -> Campaign:
    """Close an assigned campaign: no list of it can be exported any more."""
    values = {"state": "finished", "changed_at": now}
    return swap(data, campaign_id, values, revision=revision, states=("assigned",), doing="finished")


def cancel(data: Path, campaign_id: str, *, revision: int, now: dt.datetime) -> Campaign:
    """Call a campaign off; who was assigned stays on record, and no list can be exported any more."""
    values = {"state": "cancelled", "changed_at": now}
    return swap(data, campaign_id, values, revision=revision, states=(*OPEN, "assigned"), doing="cancelled")


def get(data: Path, campaign_id: str) -> Campaign:
    """Return the row of a planned campaign (detached); raises NotFoundError for an unknown one."""
    with session.session(data) as store:
        row = store.get(Campaign, campaign_id)
        if row is None:
            raise NotFoundError(f"there is no planned campaign {campaign_id!r}; see the dashboard campaigns")
        store.expunge(row)
    return row


def planned(data: Path) -> list[Campaign]:
    """Return the rows of all planned campaigns (detached), by first day."""
    with session.session(data) as store:
        rows = list(store.scalars(sa.select(Campaign).order_by(Campaign.starts_on, Campaign.campaign_id)))
        store.expunge_all()
    return rows


def plan_of(row: Campaign) -> Plan:
    """Return the plan kept in a row."""
    own = ("name", "owner", "starts_on", "ends_on")
    assert row.audience_id is not None
    return plans.from_json(row.plan, audience_id=row.audience_id, **{name: getattr(row, name) for name in own})


def audience_of(data: Path, audience_id: int) -> Audience:
    """Return the row of a saved audience (detached); raises NotFoundError for an unknown one."""
    return audiences.by_id(data, audience_id)


def swap(
    data: Path, campaign_id: str, values: dict[str, Any], *, revision: int, states: tuple[str, ...], doing: str
) -> Campaign:
    """Change a row if it is still at ``revision`` and in one of ``states``; return it with the next revision."""
    unchanged = sa.and_(Campaign.campaign_id == campaign_id, Campaign.revision == revision, Campaign.state.in_(states))
    with session.session(data) as store:
        done = store.execute(sa.update(Campaign).where(unchanged).values(revision=revision + 1, **values))
        store.commit()
        if done.rowcount == 1:  # type: ignore[attr-defined]
            return get(data, campaign_id)
    row = get(data, campaign_id)
    if row.revision != revision:
        raise DataError(
            f"campaign {campaign_id} was changed by somebody else meanwhile (it is at revision {row.revision}, you saw {revision}); look at it again, then repeat"
        )
    raise DataError(
        f"campaign {campaign_id} is {row.state}, so it cannot be {doing}; only if it is {' or '.join(states)}"
    )


def _check(data: Path, plan: Plan, now: dt.datetime) -> None:
    audience_of(data, plan.audience_id)
    company = companies.read(data / "company.toml")
    plans.check(plan, company=company, products=on_sale(_warehouse(data)), today=now.date())


def on_sale(opened: Warehouse) -> set[str]:
    """Return the products that a campaign can offer: those not withdrawn."""
    products = opened.table("products")
    return set(products.loc[products["withdrawn_on"].isna(), "product_id"])


def _warehouse(data: Path) -> Warehouse:
    return warehouse.open(paths.warehouse(data))


def _columns(plan: Plan) -> dict[str, Any]:
    trimmed = replace(plan, name=plan.name.strip(), goal=plan.goal.strip(), owner=plan.owner.strip())
    own = {name: getattr(trimmed, name) for name in ("name", "owner", "audience_id", "starts_on", "ends_on")}
    return {**own, "plan": plans.to_json(trimmed)}


def _free(plan: Plan, taken: set[str]) -> str:
    """Return an id that no campaign has, of letters, digits and hyphens of ASCII, so that it fits every system."""
    words = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-")[:40] or "campaign"
    stem = f"{plan.starts_on:%Y-%m}-{words}"
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
