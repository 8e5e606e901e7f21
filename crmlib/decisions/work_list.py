"""The work list of consultants: whose loyalty is worth an effort now, why, what to do, at what cost.

On it are customers whose retention action pays and takes a person's time, and customers worth keeping who wait for the
answer to a complaint of the last 180 days: that is owed to them, so it is service and needs no consent, and what it saves
is not counted. Complaints open for longer are left to whoever handles complaints: calling years later keeps nobody, and a
list of them would hide the rest.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, cutoff

COLUMNS = [
    *("branch_id", "employee_id", "rank", "customer_id", "task", "channel", "why", "what", "risk_90"),
    *("value_at_stake_minor", "saving_minor", "cost_minor", "minutes", "net_minor"),
]
KEEP, COMPLAINT = "keep", "complaint"
RECENT_DAYS = 180
"""Days for which a complaint still explains why somebody may leave, and for which an open one is a task of this list."""
LOW_LOYALTY = 0.2
"""Share of the customers with the lowest loyalty index, to whom it is given as a reason."""

_ADVICE = {"price": "review_fees", "competitor": "compare_offers", "service": "put_right", "matured": "renew"}
_NEEDED = ("customer_id", "action", "risk_90", "reason", "value_at_stake_minor", "saving_minor", "cost_minor")


def work_list(
    snapshot: Snapshot,
    decided: pd.DataFrame,
    *,
    company: Company,
    loyalty: pd.DataFrame | None = None,
    points: pd.DataFrame | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Return the tasks of consultants, by branch and employee, what leaves most first.

    In: ``decided`` a table of ``retention.decide``; ``loyalty`` customer_id, index, nps, group and ``points`` customer_id,
    expiring_90, where known; ``most`` tasks of one employee, or of a branch where a customer has none (None: all).
    Out: one row a task with the columns of ``COLUMNS``: task "keep" or "complaint" (these come first), channel, why and
    what as lists of codes in JSON, cost_minor and minutes of the contact, saving_minor and net_minor (nan for complaints).
    An employee who left the company has no tasks: they are the branch's.

    Raises DataError for a missing column, UsageError for ``most`` below 1.
    """
    missing = [name for name in _NEEDED if name not in decided]
    if missing:
        raise DataError(f"the table of decisions has no column {', '.join(missing)}; give a table of retention.decide")
    if most is not None and most < 1:
        raise UsageError(f"most is {most}; give the most tasks one employee gets, 1 or more")
    complaints = _complaints(snapshot)
    average = float(decided["risk_90"].mean())
    tasks = _tasks(decided, complaints, company)
    tasks = tasks.merge(_owners(snapshot), on="customer_id", how="left", validate="one_to_one")
    tasks = tasks.merge(complaints, on="customer_id", how="left", validate="one_to_one")
    tasks = _joined(tasks, loyalty, ["index", "nps", "group"])
    tasks = _joined(tasks, points, ["expiring_90"])
    low = np.nan if loyalty is None else float(loyalty["index"].quantile(LOW_LOYALTY))
    rows = [dict(zip(tasks.columns, values, strict=True)) for values in tasks.itertuples(index=False)]
    tasks["why"] = pd.array([json.dumps(_why(row, average=average, low=low)) for row in rows], dtype="str")
    tasks["what"] = pd.array([json.dumps(_what(row)) for row in rows], dtype="str")
    stake = tasks["risk_90"] * tasks["value_at_stake_minor"]
    tasks = tasks.assign(first=tasks["task"] != COMPLAINT, order=tasks["net_minor"].fillna(stake))
    owner = ["branch_id", "employee_id"]
    tasks = tasks.sort_values([*owner, "first", "order", "customer_id"], ascending=[True, True, True, False, True])
    tasks["rank"] = tasks.groupby(owner).cumcount() + 1
    kept = tasks if most is None else tasks[tasks["rank"] <= most]
    return kept[COLUMNS].reset_index(drop=True)


def _tasks(decided: pd.DataFrame, complaints: pd.DataFrame, company: Company) -> pd.DataFrame:
    """Return whom to keep by a channel that takes a person's time, and who of worth waits for an answer."""
    minutes = {name: length for name, length in company.contact_minutes.items() if length > 0}
    keep = decided[decided["action"].isin(list(minutes))]
    keep = keep.assign(task=KEEP, channel=keep["action"], net_minor=keep["saving_minor"] - keep["cost_minor"])
    waiting = complaints.loc[complaints["open_days"].notna(), "customer_id"]
    owed = decided["customer_id"].isin(waiting) & (decided["value_at_stake_minor"] > 0) & decided["action"].eq("")
    by = "call" if "call" in company.contact_costs_minor else next(iter(minutes), "")
    cost = float(company.contact_costs_minor.get(by, 0))
    solve = decided[owed].assign(task=COMPLAINT, channel=by, saving_minor=np.nan, net_minor=np.nan, cost_minor=cost)
    out = pd.concat([keep, solve], ignore_index=True)
    columns = ["customer_id", "task", "channel", "reason", "risk_90", "value_at_stake_minor"]
    out = out[[*columns, "saving_minor", "cost_minor", "net_minor"]]
    return out.assign(minutes=out["channel"].map(minutes).astype(float))


def _owners(snapshot: Snapshot) -> pd.DataFrame:
    """Return the branch and the employee of each customer, "" where there is none or the employee has left."""
    customers = snapshot.table("customers", ["customer_id", "branch_id", "employee_id"])
    staff = snapshot.table("employees", ["employee_id", "left_on"])
    here = customers["employee_id"].isin(staff.loc[staff["left_on"].isna(), "employee_id"])
    employee = customers["employee_id"].where(here, "").fillna("").astype("str")
    return customers.assign(employee_id=employee, branch_id=customers["branch_id"].fillna("").astype("str"))


def _complaints(snapshot: Snapshot) -> pd.DataFrame:
    """Return by customer_id topic and days of one complaint of late: the oldest still open (open_days), else the last."""
    made = snapshot.table("complaints", ["customer_id", "opened_at", "topic", "resolved_at"])
    made = made.assign(days=(cutoff(snapshot.as_of) - made["opened_at"]).dt.days)
    made = made[made["customer_id"].notna() & (made["days"] <= RECENT_DAYS)]
    made = made.assign(open_days=made["days"].where(made["resolved_at"].isna()).astype(float))
    order = ["open_days", "opened_at"]  # who waits comes first, the longest first; the others by their last one
    told = made.sort_values(order, ascending=[False, False], kind="stable").drop_duplicates("customer_id")
    return told.assign(topic=told["topic"].fillna(""))[["customer_id", "topic", "days", "open_days"]]


def _joined(tasks: pd.DataFrame, table: pd.DataFrame | None, columns: list[str]) -> pd.DataFrame:
    if table is None:
        return tasks.assign(**dict.fromkeys(columns, np.nan))
    return tasks.merge(table[["customer_id", *columns]], on="customer_id", how="left", validate="one_to_one")


def _why(row: dict[str, Any], *, average: float, low: float) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if row["open_days"] == row["open_days"]:
        out.append({"code": "complaint_open", "topic": row["topic"], "days": int(row["open_days"])})
    elif row["days"] == row["days"]:
        out.append({"code": "complaint_recent", "topic": row["topic"], "days": int(row["days"])})
    if row["risk_90"] == row["risk_90"]:
        times = row["risk_90"] / average if average > 0 else 1.0
        out.append({"code": "risk", "risk": round(row["risk_90"], 4), "times": round(times, 2)})
    if row["reason"]:
        out.append({"code": "leaving_reason", "reason": row["reason"]})
    out.append({"code": "value", "minor": round(float(row["value_at_stake_minor"]))})
    if row["group"] == "detractor":
        out.append({"code": "detractor", "score": int(row["nps"])})
    if row["index"] <= low:
        out.append({"code": "loyalty_low", "index": round(float(row["index"]))})
    return out


def _what(row: dict[str, Any]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if row["open_days"] == row["open_days"]:
        out.append({"code": "settle_complaint"})
    if row["task"] == KEEP:
        out.append({"code": _ADVICE.get(row["reason"], "ask")})
        if row["expiring_90"] > 0:
            out.append({"code": "remind_points", "points": int(row["expiring_90"])})
    return out
