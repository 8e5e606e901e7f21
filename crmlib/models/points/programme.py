"""What the programme of points changes: invited at random, compared with alike customers, or not to be known.

Customers who join are others than those who do not, so their plain difference says nothing about the programme. Where
invitations were drawn at random, the invited and the others differ by the invitation alone: their difference is the effect of
inviting (intention to treat); divided by the share who joined because of it, the effect on those who join when invited
(compliers: Imbens & Angrist 1994, Econometrica 62, 467-475). As a factor, what they do is compared with what they would
have done (their potential outcomes: Abadie 2002, JASA 97, 284-292, lemma 2.1). Records of one person count as one, as they are
drawn together. Intervals are those of ratios of means (linearised), normal.

Where nothing was drawn at random, members are compared with customers who did as much before (coarsened exact matching:
Iacus, King & Porro 2012, Political Analysis 20, 1-24), beside a placebo: the same comparison in the months before joining, where
the programme can have changed nothing. ``code`` says how far the result can be trusted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.models.points import alike
from crmlib.models.points.comparison import (
    MEASURES,
    NEED,
    PERIOD_DAYS,
    Effect,
    Means,
    compared,
    enough,
    filled,
    log_ratio,
    minus,
    needed,
    ratio,
)
from crmlib.models.points.liability import check_level
from crmlib.warehouse.snapshot import Snapshot

GOAL = "loyalty"
"""Goal of the campaigns that invite to the programme."""


def effects(snapshot: Snapshot, *, categories: Sequence[str] = (), level: float = 0.95) -> pd.DataFrame:
    """Return what the programme changes in the payments of ``categories`` (none named: all), by the best method there is.

    Out: a row per measure and method, the columns of ``Effect``. Never raises for want of data: a row says what is missing.
    """
    check_level(level)
    joined = first_points(snapshot)
    invited = invitations(snapshot)
    if len(invited):
        return randomised(outcomes(snapshot, invited, joined, categories=categories), level=level)
    return alike.effects(snapshot, joined, categories=categories, level=level)


def first_points(snapshot: Snapshot) -> pd.DataFrame:
    """Return when each member joined: customer_id, joined_at (time of the first points earned)."""
    rows = snapshot.table("loyalty_entries", ["customer_id", "occurred_at", "points"])
    found = rows[rows["points"] > 0].groupby("customer_id")["occurred_at"].min()
    return found.rename("joined_at").reset_index()


def invitations(snapshot: Snapshot) -> pd.DataFrame:
    """Return who was drawn to be invited and who not: customer_id, invited, assigned_at; of several draws the first counts."""
    plans = snapshot.table("campaigns", ["campaign_id", "goal"])
    known = plans.loc[plans["goal"] == GOAL, "campaign_id"].tolist()
    members = snapshot.select("campaign_members").subquery("members")
    wanted = sa.select(members.c.campaign_id, members.c.customer_id, members.c.control, members.c.assigned_at)
    rows = snapshot.warehouse.read(wanted.where(members.c.campaign_id.in_(known)))
    drawn = (
        rows.groupby("campaign_id")["control"].transform("nunique") == 2
    )  # without a control group there was no draw
    rows = rows[drawn].sort_values(["assigned_at", "campaign_id"]).drop_duplicates("customer_id")
    return rows.assign(invited=~rows["control"].astype(bool))[["customer_id", "invited", "assigned_at"]]


def outcomes(
    snapshot: Snapshot, invited: pd.DataFrame, joined: pd.DataFrame, *, categories: Sequence[str] = ()
) -> pd.DataFrame:
    """Return what each person did from the draw on: unit, invited, joined (0 to 1), days, purchases, spent_minor."""
    people = snapshot.table("customers", ["customer_id", "person_id"])
    rows = invited.merge(people, on="customer_id", how="left", validate="one_to_one")
    rows = rows.merge(joined, on="customer_id", how="left", validate="one_to_one")
    end = pd.Timestamp(snapshot.as_of) + pd.Timedelta(days=1)
    begin = rows["assigned_at"].dt.normalize()
    rows["days"] = (end - begin).dt.days
    rows = rows[rows["days"] > 0]
    paid = _paid(snapshot, categories, since=begin.min())
    paid = paid.merge(rows.assign(begin=begin)[["customer_id", "begin"]], on="customer_id", validate="many_to_one")
    paid = paid[paid["day"].isna() | (paid["day"] >= paid["begin"])]
    sums = paid.groupby("customer_id").agg(purchases=("purchases", "sum"), spent_minor=("spent_minor", "sum"))
    rows = rows.merge(sums, on="customer_id", how="left", validate="one_to_one")
    rows = rows.fillna({"purchases": 0, "spent_minor": 0})
    rows["joined"] = (rows["joined_at"] >= rows["assigned_at"].dt.normalize()).astype(float)
    rows["unit"] = rows["person_id"].fillna(rows["customer_id"]) if "person_id" in rows else rows["customer_id"]
    groups = rows.groupby("unit", sort=True)
    out = groups.agg(invited=("invited", "first"), joined=("joined", "max"), days=("days", "sum"))
    return out.join(groups[list(MEASURES)].sum()).reset_index()


def _paid(snapshot: Snapshot, categories: Sequence[str], *, since: pd.Timestamp) -> pd.DataFrame:
    """Return payments from a day on: customer_id, day, purchases, spent_minor; without a day of those drawn that day or before.

    Most were drawn when the programme began: of them the sums are enough, and far fewer rows.
    """
    names = ("transactions", "campaign_members", "campaigns")
    rows, members, plans = (snapshot.select(name).subquery(name) for name in names)
    ours = sa.select(plans.c.campaign_id).where(plans.c.goal == GOAL)
    start = since.to_pydatetime()
    later = sa.select(members.c.customer_id).where(
        members.c.campaign_id.in_(ours), members.c.assigned_at >= start + dt.timedelta(days=1)
    )
    day = sa.cast(rows.c.occurred_at, sa.Date).label("day")
    sums = (sa.func.count().label("purchases"), (-sa.func.sum(rows.c.amount_minor)).label("spent_minor"))
    wanted = [rows.c.amount_minor < 0, rows.c.occurred_at >= start]
    if categories:
        wanted.append(rows.c.category.in_(list(categories)))
    queries = (
        sa.select(rows.c.customer_id, *sums)
        .where(*wanted, rows.c.customer_id.not_in(later))
        .group_by(rows.c.customer_id),
        sa.select(rows.c.customer_id, day, *sums)
        .where(*wanted, rows.c.customer_id.in_(later))
        .group_by(rows.c.customer_id, day),
    )
    whole, daily = (snapshot.warehouse.read(query) for query in queries)
    found = pd.concat([whole.assign(day=pd.Series(pd.NaT, index=whole.index, dtype="datetime64[us]")), daily])
    return found.astype({"purchases": "float64", "spent_minor": "float64"})


def randomised(table: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return the effects by a randomised invitation, and the plain difference of members beside them.

    In, a row per unit drawn: invited (drawn to be invited), joined (0 or 1, afterwards), days (observed) and the measures
    (totals of those days). Out: a row per measure and method "invited", "joined", "members"; see ``Effect``.
    """
    needed(table, ("invited", "joined", "days", *MEASURES))
    if (table["days"] <= 0).any() or not np.isfinite(table["days"]).all():
        raise DataError("the table of outcomes has units observed for no days at all; leave them out")
    drawn, joined = table["invited"].to_numpy(bool), table["joined"].to_numpy(float)
    rows = []
    for measure in MEASURES:
        outcome = table[measure].to_numpy(float) * PERIOD_DAYS
        days = table["days"].to_numpy(float)
        rows += _randomised(measure, outcome, days, drawn=drawn, joined=joined, level=level)
    return pd.DataFrame([asdict(row) for row in rows])


def _randomised(
    measure: str, outcome: np.ndarray, days: np.ndarray, *, drawn: np.ndarray, joined: np.ndarray, level: float
) -> list[Effect]:
    sizes = int(drawn.sum()), int((~drawn).sum())
    members = joined > 0
    plain = enough(measure, "members", (int(members.sum()), int((~members).sum())))
    if not plain.code:
        plain = compared(plain, Means(outcome, days, members), code="self_selected", level=level)
    whole = enough(measure, "invited", sizes)
    if whole.code:
        return [whole, enough(measure, "joined", sizes), plain]
    means, inside = Means(outcome, days, drawn), Means(outcome * joined, days, drawn)
    share = Means(joined * days, days, drawn)
    whole = compared(whole, means, code="randomised", level=level)
    because = (share.mean[1] - share.mean[0]) * min(sizes)
    if because < NEED:
        found = max(0, int(because))
        return [whole, Effect(measure, "joined", code="not_enough_data", found=found, need=NEED), plain]
    # Of those who join when invited: what they do, and what they would have done, both times their share.
    does, would = inside.difference(), minus(inside.difference(), means.difference())
    per = ratio(means.difference(), share.difference())
    factor = log_ratio(does, would)
    own = Effect(measure, "joined", customers=int(members[drawn].sum()), others=sizes[1], code="randomised")
    return [whole, filled(own, per, factor, level), plain]
