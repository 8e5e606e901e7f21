"""What all campaigns together changed: the customers against the universal hold-out, whom no campaign selects."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import call_list
from crmlib.decisions.experiments import effects
from crmlib.errors import DataError, UsageError
from crmlib.warehouse.snapshot import Snapshot

HOLD_OUT = "universal-holdout"
ARM = "campaigns"


def programme(snapshot: Snapshot, *, since: dt.date | None = None, confidence: float = 0.95) -> pd.DataFrame:
    """Return the effect of all campaigns together, from ``since`` (default: when the hold-out began) to the snapshot.

    Out: the table of ``effects.final`` with one arm, "campaigns": everybody but the hold-out, whether selected or not; the
    measure "conversions" counts purchases of any product, of which a customer may make several. The profit is the margin
    of what was bought less the cost of all contacts by campaigns. Variance is reduced by what was known before: age,
    length of the relationship, contracts opened before the beginning.

    Raises DataError where nobody is in the hold-out or no campaign contacted anybody.
    """
    return effects.final(customers(snapshot, since=since), confidence=confidence)


def customers(snapshot: Snapshot, *, since: dt.date | None = None) -> pd.DataFrame:
    """Return the table of ``contract`` of everybody who was a customer when ``since`` came or later, hold-out included.

    Here "converted" holds the number of purchases. A customer counts from ``since`` or from the day of joining; stratum
    says in which quarter that was.
    """
    held = _held(snapshot)
    first = since or held["assigned_at"].min().date()
    if first > snapshot.as_of:
        raise UsageError(f"since is {first}, after the snapshot's {snapshot.as_of}; give an earlier day")
    people = _people(snapshot, first)
    begun = pd.Timestamp(first)
    people = people.assign(control=people["customer_id"].isin(held["customer_id"]))
    bought, costs = _bought(snapshot, begun), _costs(snapshot, begun)
    out = people.merge(bought, on="customer_id", how="left", validate="one_to_one")
    out = out.merge(costs, on="customer_id", how="left", validate="one_to_one")
    numbers = ["converted", "revenue_minor", "margin_minor", "cost_minor", "pre_holdings"]
    out[numbers] = out[numbers].fillna(0.0)
    contacted = out["cost_minor"].gt(0) | out["contacts"].gt(0)
    out = out.assign(arm=ARM, contacted=contacted, profit_minor=out["margin_minor"] - out["cost_minor"])
    return out.drop(columns=["margin_minor", "contacts"])


def _held(snapshot: Snapshot) -> pd.DataFrame:
    members = snapshot.table("campaign_members", ["campaign_id", "customer_id", "assigned_at", "control"])
    held = members[(members["campaign_id"] == HOLD_OUT) & members["control"].astype(bool)]
    if held.empty:
        raise DataError(
            f"nobody is in the universal hold-out, so what all campaigns changed cannot be measured; load campaign members "
            f"of a campaign {HOLD_OUT!r} who are in the control group of everything"
        )
    return held


def _people(snapshot: Snapshot, first: dt.date) -> pd.DataFrame:
    """Return who was a customer on ``first`` or joined later, with what was known then; by the quarter each began."""
    names = ["customer_id", "birth_date", "customer_since", "closed_on"]
    people = snapshot.table("customers", names)
    people = people[~(people["closed_on"] < pd.Timestamp(first))]
    joined = people["customer_since"].where(people["customer_since"] > pd.Timestamp(first), pd.Timestamp(first))
    age = (joined - people["birth_date"]).dt.days / 365.25
    length = (joined - people["customer_since"]).dt.days.fillna(0.0)
    early = _bought(snapshot, None, before=pd.Timestamp(first))
    held = people["customer_id"].map(early.set_index("customer_id")["converted"]).fillna(0.0)
    quarter = joined.dt.to_period("Q").astype("str")
    return pd.DataFrame(
        {
            "customer_id": people["customer_id"],
            "assigned_at": joined,
            "stratum": quarter.where(joined > pd.Timestamp(first), "from the beginning"),
            "pre_age_years": age.fillna(age.mean()),
            "pre_age_squared": (age.fillna(age.mean()) - 45.0) ** 2,
            "pre_tenure_years": np.sqrt(length.clip(lower=0) / 365.25),
            "pre_holdings": held,
        }
    )


def _bought(snapshot: Snapshot, begun: pd.Timestamp | None, *, before: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return by customer converted (contracts opened from ``begun`` on, or ``before``), revenue_minor and margin_minor."""
    rows = snapshot.select("holdings").subquery("held")
    period = rows.c.opened_on >= begun.date() if begun is not None else rows.c.opened_on < before.date()  # type: ignore[union-attr]
    query = (
        sa.select(
            rows.c.customer_id,
            rows.c.product_id,
            sa.func.count().label("converted"),
            sa.func.sum(sa.func.coalesce(rows.c.premium_minor, 0)).label("revenue_minor"),
        )
        .where(period)
        .group_by(rows.c.customer_id, rows.c.product_id)
    )
    sold = snapshot.warehouse.read(query)
    margins = call_list.margins(snapshot.table("products"), company=snapshot.warehouse.company)
    worth = sold["product_id"].map(margins.set_index("product_id")["margin_minor"]).fillna(0.0)
    sold = sold.assign(
        converted=sold["converted"].astype(float),
        revenue_minor=sold["revenue_minor"].astype(float),
        margin_minor=worth * sold["converted"].astype(float),
    )
    return sold.groupby("customer_id", as_index=False)[["converted", "revenue_minor", "margin_minor"]].sum()


def _costs(snapshot: Snapshot, begun: pd.Timestamp) -> pd.DataFrame:
    """Return by customer the contacts by campaigns since ``begun`` and what they cost, minor units."""
    rows = snapshot.select("contacts").subquery("made")
    usual = snapshot.warehouse.company.contact_costs_minor
    price = (
        sa.case(*[(rows.c.channel == name, cost) for name, cost in usual.items()], else_=0) if usual else sa.literal(0)
    )
    query = (
        sa.select(
            rows.c.customer_id,
            sa.func.count().label("contacts"),
            sa.func.sum(sa.func.coalesce(rows.c.cost_minor, price)).label("cost_minor"),
        )
        .where(rows.c.campaign_id.is_not(None), rows.c.direction == "out", rows.c.occurred_at >= begun.to_pydatetime())
        .group_by(rows.c.customer_id)
    )
    made = snapshot.warehouse.read(query)
    return made.assign(contacts=made["contacts"].astype(float), cost_minor=made["cost_minor"].astype(float))
