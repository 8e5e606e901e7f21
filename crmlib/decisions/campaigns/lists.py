"""The list of a campaign: who is contacted, checked again on the day it leaves, exported with its record and mark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crmlib import paths, warehouse
from crmlib.decisions import call_list
from crmlib.decisions.campaigns import book, calendar, freeze, reach
from crmlib.decisions.campaigns import plan as plans
from crmlib.decisions.campaigns.reach import Reach
from crmlib.decisions.export import export
from crmlib.errors import DataError, UsageError
from crmlib.store.tables import Campaign
from crmlib.warehouse import company as companies
from crmlib.warehouse.snapshot import Warehouse

DETAILS = {
    **{channel: ("phone",) for channel in ("call", "sms")},
    **{"mail": ("postcode", "city"), "email": ("email",), "event": ("email",)},
}
"""Contact details that each channel needs beside the name; internet, mobile and branch meet the customer themselves."""

NAMES = ("given_name", "family_name")
_PLACES = ("phone", "email", "postcode", "city")

PURPOSE = "campaign"
NO_DAY = "no_day_left"


@dataclass(frozen=True, eq=False)
class Released:
    """A list that left the workbench. Attributes: ``file``; ``rows`` in it; ``left_out`` members by code of the reason."""

    file: Path
    rows: int
    left_out: Mapping[str, int]


def checked(members: pd.DataFrame, allowed: Reach) -> pd.DataFrame:
    """Return a campaign's members without the control group, with why each may not be contacted now.

    In: ``members`` with customer_id, control, channel; ``allowed`` who may be contacted now. Out: their rows, with code
    ("" for who is contacted). The control group is in no list whatever.
    """
    treated = members[~members["control"].to_numpy(dtype=bool)]
    codes = reach.codes(allowed, treated["customer_id"].to_numpy(), treated["channel"].to_numpy())
    return treated.assign(code=codes)


def release(
    data: Path,
    campaign_id: str,
    *,
    actor: str,
    now: dt.datetime,
    format: str = "csv",
    arm: str = "",
    role: str = "",
    details: bool = True,
) -> Released:
    """Export the list of an assigned campaign, or of one arm; what was assigned is checked against the newest data.

    Columns: contact_id (of the row: campaign and customer), campaign_id, arm, assigned_at, customer_id, channel, product_id,
    contact_on (the day of the contact plan), the name and the contact details that the channel needs, and contacted_at,
    outcome and answered_at to be filled in; without ``details`` names and contact details are left out. ``actor`` and ``role``
    are who takes it. Whoever withdrew consent, left, complained or is refused by the contact
    policy since is left out and counted. The record is written before the file is released; one made-up row marks
    this export (see ``export``).

    Raises DataError for a campaign that is not assigned or a list of nobody, UsageError for an unknown arm.
    """
    row = book.get(data, campaign_id)
    if row.state != "assigned":
        raise DataError(
            f"campaign {campaign_id} is {row.state}; a list can be exported once its people are assigned, and until it is finished"
        )
    names = [one.name for one in book.plan_of(row).arms]
    if arm and arm not in names:
        raise UsageError(f"campaign {campaign_id} has no arm {arm!r}; it has {', '.join(names)}")
    opened = warehouse.open(paths.warehouse(data))
    every = _dated(data, row, opened, now)
    chosen = every[every["arm"] == arm] if arm else every
    left_out = {str(code): int(n) for code, n in chosen.loc[chosen["code"] != "", "code"].value_counts().items()}
    kept = chosen[chosen["code"] == ""]
    if kept.empty:
        raise DataError(f"the list of campaign {campaign_id} is empty: {_why(left_out)}; nothing was exported")
    table = _table(opened, kept)
    if not details:
        table = table.drop(columns=[*NAMES, *_PLACES])
    file = export(
        table,
        data=data,
        actor=actor,
        purpose=f"{PURPOSE}: {row.plan['goal']}",
        content={
            **_content(data, row),
            "arm": arm,
            "warehouse_version": opened.version,
            "left_out": left_out,
            "contact_details": details,
        },
        role=role,
        now=now,
        name=f"list-{campaign_id[:70]}",
        format=format,
        permitted=_consented(opened, data, kept),
        watermark=True,
    )
    return Released(file, len(table), left_out)


def _dated(data: Path, row: Campaign, opened: Warehouse, now: dt.datetime) -> pd.DataFrame:
    """Return who was to be contacted, with the day of the contact plan, and the code of why not for the others."""
    plan, company = book.plan_of(row), companies.read(data / "company.toml")
    at = max(now, dt.datetime.combine(plan.starts_on, dt.time()))
    others = freeze.promised(data, opened, at=at, besides=row.campaign_id)
    allowed = reach.read(freeze.newest(opened), channels=plan.channels, company=company, at=at, promised=others)
    every = checked(freeze.members_of(data, row), allowed)
    # In random order, so that those of the first days are like those of the last and an interim look is fair.
    kept = every[every["code"] == ""].sample(frac=1.0, random_state=row.seed)
    days = [day for day in plans.contact_days(plan, company) if day >= now.date()]
    every["contact_on"] = calendar.day_of_contact(kept["channel"], days=days, capacities=plan.capacities)
    every.loc[(every["code"] == "") & every["contact_on"].isna(), "code"] = NO_DAY
    return every


def _consented(opened: Warehouse, data: Path, kept: pd.DataFrame) -> pd.DataFrame:
    """Return who consents to the list's channels by the newest records: the export checks every row against it."""
    company = companies.read(data / "company.toml")
    used = reach.using(company, list(kept["channel"].unique()))
    return call_list.permitted(opened.table("consents"), opened.table("customers")["customer_id"], company=used)


def _content(data: Path, row: Campaign) -> dict[str, Any]:
    """Return what the record of an export says about the campaign."""
    assert row.audience_id is not None
    audience = book.audience_of(data, row.audience_id)
    return {
        "campaign_id": row.campaign_id,
        "revision": row.revision,
        "audience": audience.name,
        "audience_id": audience.audience_id,
        "audience_version": audience.audience_version,
        "members_checksum": row.members_checksum,
        "assigned_on_warehouse_version": row.warehouse_version,
    }


def _why(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} left out ({code})" for code, count in left_out.items()) or "nobody is in this arm"


def _table(opened: Warehouse, kept: pd.DataFrame) -> pd.DataFrame:
    """Return the list as it is exported: one row per customer, in the order of the contact plan."""
    columns = ["customer_id", "valid_from", *NAMES, *_PLACES]
    people = opened.table("customers")[columns].sort_values("valid_from", kind="stable")
    people = people.drop_duplicates("customer_id", keep="last").drop(columns="valid_from")
    rows = kept.astype({"customer_id": "str"}).merge(people, on="customer_id", how="left", validate="one_to_one")
    for column in _PLACES:
        needed = rows["channel"].map(lambda channel, own=column: own in DETAILS.get(channel, ()))
        rows[column] = rows[column].where(needed.astype(bool))
    rows = rows.sort_values(["contact_on", "channel", "arm", "customer_id"], kind="stable", ignore_index=True)
    rows["contact_id"] = rows["campaign_id"].astype("str") + ":" + rows["customer_id"].astype("str")
    order = ["contact_id", "campaign_id", "arm", "assigned_at", "customer_id", "channel", "product_id", "contact_on"]
    return rows[[*order, *columns[2:]]].assign(contacted_at="", outcome="", answered_at="")
