"""A data folder in which campaigns can be planned: the made-up bank with an audience of everybody."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import made_scores
import numpy as np
import pandas as pd

from crmlib import warehouse
from crmlib.decisions import audiences
from crmlib.decisions.campaigns import Arm, Plan, returned

NOW = dt.datetime(2026, 1, 2, 9)
STARTS, ENDS = dt.date(2026, 1, 5), dt.date(2026, 1, 30)
CALL = Arm("gold by phone", "gold_card", "call")
EMAIL = Arm("gold by e-mail", "gold_card", "email")


def folder(data: Path, *, customers: int = 600) -> int:
    """Fill the data folder and return the number of an audience of everybody."""
    made_scores.make(data, customers=customers)
    return everybody(data)


def everybody(data: Path) -> int:
    """Save the audience of everybody and return its number."""
    return audiences.save(data, "Everybody", audiences.everybody(), now=NOW, actor="anna").audience_id


def plan(audience_id: int = 1, **changed: Any) -> Plan:
    """A plan of two arms over everybody."""
    given = {"name": "Gold in spring", "goal": "sell gold cards", "owner": "Anna", "audience_id": audience_id}
    dates = {"starts_on": STARTS, "ends_on": ENDS}
    return Plan(**{**given, **dates, "arms": (CALL, EMAIL), "strata": ("score",), **changed})


def with_past(data: Path, *, customers: int = 600, seed: int = 3) -> None:
    """Load a campaign of last summer: a quarter was left alone; of those called more bought."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{n:06d}" for n in range(customers)])
    control = rng.random(customers) < 0.25
    members = pd.DataFrame({"campaign_id": "K1", "customer_id": ids, "assigned_at": "2025-07-01 06:00"})
    met = [f"2025-07-{2 + n % 20:02d} 10:00" for n in range(customers)]
    members = members.assign(arm=np.where(control, "control", "call"), control=np.where(control, "true", "false"))
    members = members.assign(contacted_at=np.where(control, "", met), responded_at="", response="")
    contacts = members[~control].assign(contact_id=lambda t: "K1:" + t["customer_id"], channel="call")
    contacts = contacts.assign(product_id="gold_card", answered_at="", outcome="")
    bought = ids[rng.random(customers) < np.where(control, 0.1, 0.35)]
    sold = pd.DataFrame({"contract": "H" + pd.Series(bought), "customer_id": bought, "product_id": "gold_card"})
    campaign = {"campaign_id": "K1", "name": "Gold in summer", "goal": "sell", "product_id": "gold_card"}
    campaign |= {"channel": "call", "starts_on": "2025-07-01", "ends_on": "2025-08-31", "budget_minor": 900_000}
    tables = {
        "campaign": pd.DataFrame([{**campaign, "currency": "EUR"}]),
        "members": members,
        "contacts": contacts,
        "bought": sold.assign(opened_on="2025-08-01", channel="branch"),
    }
    folder_ = data / "past"
    folder_.mkdir()
    for name, table in tables.items():
        table.to_csv(folder_ / f"{name}.csv", index=False)
    warehouse.load([folder_], returned.mapping_file(), data=data, recorded_at=dt.datetime(2025, 12, 31))
