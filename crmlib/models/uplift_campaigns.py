"""What past campaigns teach about contacts: who was drawn into which arm, what was known then, what was bought after."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.warehouse.snapshot import Snapshot

COLUMNS = ["campaign_id", "customer_id", "as_of", "product_id", "channel", "bought"]
NEED_BUYERS = 100
"""Buyers among the members of campaigns, and a tenth of it in the control groups, below which nothing is learnt."""


def members(snapshot: Snapshot, *, within_days: int = 90, dates: int = 3) -> pd.DataFrame:
    """Return the members of campaigns for one product whose outcome was known at the snapshot.

    Out: campaign_id, customer_id, as_of (the day before the assignment), product_id, channel ("" for the control group; the
    arm where it names a channel with a cost, else that of its contacts, else the campaign's), bought (within
    ``within_days`` of the assignment, by what was known at the snapshot). Only the last ``dates`` days of assignment, since
    features are built for each. An arm that was contacted about another product than the campaign's is left out.

    Raises DataError where there are too few members, control groups or buyers to learn from.
    """
    goods = snapshot.table("campaigns", ["campaign_id", "product_id", "channel"]).dropna(subset=["product_id"])
    rows = snapshot.table("campaign_members", ["campaign_id", "customer_id", "assigned_at", "arm", "control"])
    rows = rows.merge(goods, on="campaign_id", validate="many_to_one")
    day = rows["assigned_at"].dt.normalize()
    rows = rows.assign(assigned=day)[day + pd.Timedelta(days=within_days - 1) <= pd.Timestamp(snapshot.as_of)]
    last = np.sort(rows["assigned"].unique())[-dates:]
    rows = with_channels(snapshot, rows[rows["assigned"].isin(last)])
    named, control = rows["named"], rows["control"].astype(bool)
    rows = rows.assign(channel=named.where(~control, ""), as_of=rows["assigned"] - pd.Timedelta(days=1))
    bought = _bought(snapshot, rows, within_days=within_days)
    rows = rows.assign(bought=bought)[control | (named != "")]
    _check(rows)
    return rows[COLUMNS].reset_index(drop=True)


def with_channels(snapshot: Snapshot, rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``named``, the channel of each member's arm, without the arms about another product than the campaign's."""
    known = set(snapshot.warehouse.company.contact_costs_minor)
    control = rows["control"].astype(bool)
    unnamed = rows[~rows["arm"].isin(known) & ~control]
    made = snapshot.select("contacts").subquery("made")
    query = sa.select(made.c.campaign_id, made.c.customer_id, made.c.channel, made.c.product_id).where(
        made.c.campaign_id.in_(unnamed["campaign_id"].unique().tolist()), made.c.direction == "out"
    )
    keys = ["campaign_id", "customer_id"]
    met = snapshot.warehouse.read(query).drop_duplicates(keys)
    met = met.merge(unnamed[[*keys, "arm"]], on=keys, validate="one_to_one")
    arms = met.groupby(["campaign_id", "arm"], as_index=False).agg(
        met_by=("channel", _commonest), met_about=("product_id", _commonest)
    )
    out = rows.merge(arms, on=["campaign_id", "arm"], how="left", validate="many_to_one")
    named = out["arm"].where(out["arm"].isin(known), out["met_by"].fillna(out["channel"]))
    other = out["met_about"].notna() & out["product_id"].notna() & (out["met_about"] != out["product_id"])
    return out.assign(named=named.fillna("").astype("str"))[~other].reset_index(drop=True)


def _commonest(values: pd.Series) -> str | None:
    return next(iter(values.mode()), None)


def days(found: pd.DataFrame) -> list[dt.date]:
    """Return the days as of which features are needed."""
    return [pd.Timestamp(day).date() for day in sorted(found["as_of"].unique())]


def _bought(snapshot: Snapshot, rows: pd.DataFrame, *, within_days: int) -> np.ndarray:
    sold = snapshot.table("holdings", ["customer_id", "product_id", "opened_on"])
    sold = sold[sold["opened_on"] >= rows["assigned"].min()] if len(rows) else sold.iloc[:0]
    keyed = rows[["customer_id", "product_id", "assigned"]].assign(place=np.arange(len(rows)))
    both = keyed.merge(sold, on=["customer_id", "product_id"], validate="many_to_many")
    after = both["opened_on"] - both["assigned"]
    inside = (after >= pd.Timedelta(0)) & (after < pd.Timedelta(days=within_days))
    out = np.zeros(len(rows), dtype=bool)
    out[both.loc[inside, "place"].to_numpy()] = True
    return out


def _check(rows: pd.DataFrame) -> None:
    buyers = int(rows["bought"].sum())
    left_alone = int(rows.loc[rows["channel"] == "", "bought"].sum())
    if buyers < NEED_BUYERS or left_alone < NEED_BUYERS // 10:
        raise DataError(
            f"not enough data for uplift: the campaigns on record have {buyers} buyers, {left_alone} of them in control "
            f"groups (need {NEED_BUYERS} and {NEED_BUYERS // 10}); run campaigns with control groups first"
        )
