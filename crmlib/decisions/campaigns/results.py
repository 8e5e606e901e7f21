"""What came of a campaign, a row per member: the table that effects are measured on (``decisions.experiments``)."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import call_list
from crmlib.decisions.campaigns import book, covariates, freeze, plan
from crmlib.errors import DataError, NotFoundError
from crmlib.store.tables import Campaign
from crmlib.warehouse import schema
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Warehouse, cutoff

WITHIN_DAYS = 90
REFUSED, ACCEPTED = "refused", "accepted"
COLUMNS = [
    *("customer_id", "arm", "control", "stratum", "assigned_at", "contacted", "converted"),
    *("revenue_minor", "profit_minor", "cost_minor", "contacted_at", "refused_at", "converted_at"),
    *covariates.COLUMNS,
]


def members(
    warehouse: Warehouse,
    campaign_id: str,
    *,
    data: Path | None = None,
    until: dt.date | None = None,
    within_days: int | None = None,
) -> pd.DataFrame:
    """Return what came of a campaign for each of its members, the control group included.

    The members are the frozen ones where ``data`` holds a campaign planned there, else those of the warehouse. ``until``
    shows what was known at the end of that day (default: all the version knows); a purchase of one of the campaign's
    products counts within ``within_days`` of the assignment (default: the plan's, else 90).

    Out: the columns of ``COLUMNS``, sorted by customer_id: contacted (by the campaign), converted, revenue_minor (the
    contract's premium or fee of a year, else the list price, else the margin), profit_minor (margin less the cost of the
    campaign's contacts) and cost_minor in the company's currency; the UTC times contacted_at, refused_at and the day
    converted_at; pre_* of ``covariates.before``. For a campaign of the warehouse, stratum names the channels consented to at
    the assignment, since by them the arms were open to a customer.

    Raises NotFoundError for an unknown campaign, DataError for one without members, before its start, or of which no
    contact is on record.
    """
    planned = _planned(data, campaign_id)
    table = schema.tables()["campaigns"]
    known = warehouse.read(sa.select(table).where(table.c.campaign_id == campaign_id, table.c.superseded_at.is_(None)))
    if planned is None and known.empty:
        raise NotFoundError(f"there is no campaign {campaign_id!r}, neither planned here nor in the warehouse")
    starts_on = planned.starts_on if planned else pd.Timestamp(known["starts_on"].iloc[0]).date()
    last = min(filter(None, [until, warehouse.period[1] if warehouse.period else None]), default=None)
    if last is None or last < starts_on:
        raise DataError(
            f"campaign {campaign_id} starts on {starts_on}, after the last day with records ({last}); there is nothing to measure yet"
        )
    chosen = _chosen(warehouse, campaign_id, data=data, planned=planned)
    products = book.plan_of(planned).products if planned else [str(known["product_id"].iloc[0])]
    days = within_days or (book.plan_of(planned).within_days if planned else WITHIN_DAYS)
    costs = _costs(warehouse.company, planned)
    out = _with_contacts(warehouse, chosen, campaign_id=campaign_id, last=last, costs=costs)
    if not (out["contacted"] & ~out["control"]).any():
        raise DataError(f"campaign {campaign_id} has no contacts on record up to {last}; load what happened first")
    bought = _bought(warehouse, products, chosen, last=last, days=days)
    out = out.merge(bought, on="customer_id", how="left", validate="one_to_one")
    out = out.merge(covariates.before(warehouse, chosen), on="customer_id", how="left", validate="one_to_one")
    margin, revenue = out["margin_minor"].fillna(0.0), out["revenue_minor"].fillna(0.0)
    done = {"converted": out["converted_at"].notna(), "revenue_minor": revenue}
    out = out.assign(**done, profit_minor=margin - out["cost_minor"])
    return out[COLUMNS].sort_values("customer_id", ignore_index=True)


def _planned(data: Path | None, campaign_id: str) -> Campaign | None:
    if data is None:
        return None
    try:
        return book.get(data, campaign_id)
    except NotFoundError:
        return None


def _chosen(warehouse: Warehouse, campaign_id: str, *, data: Path | None, planned: Campaign | None) -> pd.DataFrame:
    """Return customer_id, arm, control, stratum, assigned_at, channel, contacted_at, responded_at, response."""
    table = schema.tables()["campaign_members"]
    own = sa.and_(table.c.campaign_id == campaign_id, table.c.superseded_at.is_(None))
    names = ["customer_id", "arm", "control", "assigned_at", "contacted_at", "responded_at", "response"]
    loaded = warehouse.read(sa.select(*[table.c[name] for name in names]).where(own))
    if planned is not None:
        assert data is not None
        frozen = freeze.members_of(data, planned).drop(columns=["campaign_id", "product_id"])
        loaded = loaded[["customer_id", "contacted_at", "responded_at", "response"]]
        return frozen.merge(loaded, on="customer_id", how="left", validate="one_to_one")
    if loaded.empty:
        raise DataError(f"campaign {campaign_id} has no members on record; load its campaign_members")
    loaded["control"] = loaded["control"].astype(bool)
    strata = _consented(warehouse, loaded)
    return loaded.assign(stratum=strata, channel=loaded["arm"].where(~loaded["control"], ""))


def _consented(warehouse: Warehouse, chosen: pd.DataFrame) -> pd.Series:
    """Return the channels each member consented to when the members were chosen, joined by +."""
    table = schema.tables()["consents"]
    at = chosen["assigned_at"].min().to_pydatetime()
    then = sa.and_(table.c.recorded_at < at, sa.or_(table.c.superseded_at.is_(None), table.c.superseded_at >= at))
    names = ["customer_id", "channel", "purpose", "changed_at", "granted"]
    said = warehouse.read(sa.select(*[table.c[name] for name in names]).where(then, table.c.changed_at < at))
    said = said[said["customer_id"].isin(chosen["customer_id"])]
    pairs = call_list.permitted(said, chosen["customer_id"], company=warehouse.company)
    used = pairs[pairs["channel"].isin(set(chosen["arm"]))].sort_values("channel")
    joined = used.groupby("customer_id")["channel"].agg("+".join)
    return chosen["customer_id"].map(joined).fillna("").astype("str")


def _costs(company: Company, planned: Campaign | None) -> dict[str, float]:
    """Return the cost of a contact, minor units, by arm where the campaign is planned here, and by channel."""
    by_channel = {name: float(cost) for name, cost in company.contact_costs_minor.items()}
    return {**by_channel, **(plan.costs(book.plan_of(planned), company) if planned else {})}


def _with_contacts(
    warehouse: Warehouse, chosen: pd.DataFrame, *, campaign_id: str, last: dt.date, costs: dict[str, float]
) -> pd.DataFrame:
    """Add contacted, contacted_at, refused_at and cost_minor, from the contacts of the campaign and the members' rows."""
    table, end = schema.tables()["contacts"], cutoff(last)
    ours = sa.func.coalesce(table.c.direction, "out") == "out"  # a customer's answer is no contact of the campaign's
    own = sa.and_(table.c.campaign_id == campaign_id, ours, table.c.superseded_at.is_(None), table.c.occurred_at < end)
    names = ["customer_id", "occurred_at", "channel", "cost_minor", "answered_at", "outcome"]
    made = warehouse.read(sa.select(*[table.c[name] for name in names]).where(own))
    arm = made["customer_id"].map(chosen.set_index("customer_id")["arm"])
    usual = arm.map(costs).fillna(made["channel"].map(costs)).fillna(0.0).astype(float)
    made = made.assign(cost_minor=made["cost_minor"].astype(float).fillna(usual))
    said = made[(made["outcome"] == REFUSED) & (made["answered_at"] < end)]
    ids = chosen["customer_id"]
    first = _earliest(ids, made["customer_id"], made["occurred_at"])
    paid = made["cost_minor"].astype(float).groupby(made["customer_id"]).sum()
    spent = pd.Series(paid.reindex(ids).to_numpy(float), index=ids.index)
    told = chosen["contacted_at"].astype("datetime64[us]").where(chosen["contacted_at"] < end)
    answered = (
        chosen["responded_at"]
        .astype("datetime64[us]")
        .where((chosen["responded_at"] < end) & (chosen["response"] == REFUSED))
    )
    refused = _earliest(ids, said["customer_id"], said["answered_at"])
    # A member's own row says that there was a contact even where the contact itself was never loaded.
    missing = np.where(told.notna(), chosen["arm"].map(costs).fillna(0.0).astype(float), 0.0)
    return chosen.assign(
        contacted_at=first.fillna(told),
        contacted=(first.notna() | told.notna()).to_numpy(bool),
        refused_at=refused.fillna(answered),
        cost_minor=spent.fillna(pd.Series(missing, index=chosen.index)),
    )


def _earliest(ids: pd.Series, customers: pd.Series, moments: pd.Series) -> pd.Series:
    """Return the first moment of each customer, empty for who has none."""
    first = moments.astype("datetime64[us]").groupby(customers).min()
    return pd.Series(first.reindex(ids).to_numpy("datetime64[us]"), index=ids.index)


def _bought(
    warehouse: Warehouse, products: list[str], chosen: pd.DataFrame, *, last: dt.date, days: int
) -> pd.DataFrame:
    """Return customer_id, converted_at (first day), margin_minor and revenue_minor of what members bought in time."""
    table, end = schema.tables()["holdings"], cutoff(last)
    first = chosen["assigned_at"].min().date()
    names = ["customer_id", "product_id", "opened_on", "premium_minor", "currency"]
    query = sa.select(*[table.c[name] for name in names]).where(
        table.c.product_id.in_(products),
        table.c.opened_on >= first,
        table.c.opened_on <= last,
        table.c.recorded_at < (end if last < (warehouse.period or (last, last))[1] else dt.datetime.max),
        table.c.superseded_at.is_(None),
    )
    sold = warehouse.read(query).merge(chosen[["customer_id", "assigned_at"]], on="customer_id", validate="many_to_one")
    since = sold["assigned_at"].dt.normalize()
    sold = sold[(sold["opened_on"] >= since) & (sold["opened_on"] < since + pd.Timedelta(days=days))]
    worth = _worth(warehouse, products)
    sold = sold.merge(worth, on="product_id", how="left", validate="many_to_one")
    rates = {warehouse.company.currency: 1.0, **warehouse.company.exchange_rates}
    rate = sold["currency"].map(rates).fillna(1.0).astype(float)
    paid = (sold["premium_minor"].astype(float) * rate).fillna(sold["price_minor"]).fillna(sold["margin_minor"])
    sold = sold.assign(revenue_minor=paid.astype(float), margin_minor=sold["margin_minor"].astype(float))
    kinds = {"opened_on": "min", "margin_minor": "sum", "revenue_minor": "sum"}
    out = sold.groupby("customer_id", as_index=False).agg(kinds)
    return out.rename(columns={"opened_on": "converted_at"}).astype({"customer_id": "str"})


def _worth(warehouse: Warehouse, products: list[str]) -> pd.DataFrame:
    """Return product_id, margin_minor and price_minor (NaN where unknown), in the company's currency."""
    table = (
        warehouse.table("products").sort_values("valid_from", kind="stable").drop_duplicates("product_id", keep="last")
    )
    table = table[table["product_id"].isin(products)]
    earned = call_list.margins(table, company=warehouse.company)
    missing = sorted(set(products) - set(earned["product_id"]))
    if missing:
        raise DataError(
            f"table products, column margin_minor: no margin for {', '.join(missing)}; add it to margins_minor in company.toml"
        )
    rates = {warehouse.company.currency: 1.0, **warehouse.company.exchange_rates}
    price = table["price_minor"].astype(float) * table["currency"].map(rates).fillna(1.0).astype(float)
    return earned.merge(
        table.assign(price_minor=price)[["product_id", "price_minor"]], on="product_id", validate="one_to_one"
    )


def progress(results: pd.DataFrame) -> pd.DataFrame:
    """Return how a campaign went on, day by day: the table of ``members`` in, counts so far out.

    Out: arm ("control" for the control group), day (from the assignment to the last event), members, contacted, refused
    and bought up to the end of that day.
    """
    moments = {"contacted": "contacted_at", "refused": "refused_at", "bought": "converted_at"}
    first = results["assigned_at"].min().normalize()
    last = pd.concat([results[name] for name in moments.values()]).max()
    days = pd.date_range(first, last.normalize() if pd.notna(last) else first)
    parts = []
    for arm, group in results.groupby("arm", sort=True):
        rows = pd.DataFrame({"arm": str(arm), "day": days, "members": len(group)})
        for name, column in moments.items():
            happened = np.sort(group[column].dropna().to_numpy("datetime64[us]"))
            rows[name] = np.searchsorted(
                happened, (days + pd.Timedelta(days=1)).to_numpy("datetime64[us]"), side="left"
            )
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def complete_on(results: pd.DataFrame, *, within_days: int = WITHIN_DAYS) -> dt.date:
    """Return the last day on which a purchase of a member counts; before it an effect is an interim one."""
    return (results["assigned_at"].max() + pd.Timedelta(days=within_days - 1)).date()
