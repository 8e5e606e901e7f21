"""Whom field representatives visit, on which day and in which order: by the margin of what is due, within their days.

Purchases that are due earn their margin whether or not somebody calls, so this is no estimate of what a visit adds: it says where
most is at stake, and when. What a visit adds is measured by leaving some customers out at random (``experiments``).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.decisions import policy
from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

PLAN = [
    *("employee_id", "region", "week", "visit_on", "stop", "customer_id", "outlet_id", "expected_margin_minor"),
    *("cost_minor", "products", "kilometres", "reasons"),
]
LEFT_OUT = ["employee_id", "region", "customer_id", "outlet_id", "expected_margin_minor", "code"]
STOP = ["customer_id", "outlet_id"]
PERIODS = (7, 14)
"""Days ahead that end the two halves of the plan."""
REASONS = 5
_EARTH_KM = 6371.0
_NEEDED = [*STOP, "product_id", "due_7", "due_14", "days_since", "usual_days", "expected_on", "margin_minor"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The visits, and who is not visited and why: tables with the columns of ``PLAN`` and ``LEFT_OUT``."""

    visits: pd.DataFrame
    left_out: pd.DataFrame


def places(snapshot: Snapshot) -> pd.DataFrame:
    """Return where customers are met: customer_id, outlet_id ("" for the customer's own door), region, employee_id, latitude, longitude.

    One row for each open outlet with a customer, and one for each customer by themselves; the representative of an
    outlet, or else of its customer ("" where there is none, or none who still works here).
    """
    people = snapshot.table("customers", ["customer_id", "region", "employee_id", "closed_on"])
    people = people[people["closed_on"].isna()].drop(columns="closed_on")
    staff = snapshot.table("employees", ["employee_id", "left_on"])
    here = staff.loc[staff["left_on"].isna(), "employee_id"]
    outlets = snapshot.table("outlets")
    names = [*STOP, "region", "employee_id", "latitude", "longitude"]
    outlets = outlets.loc[outlets["closed_on"].isna() & outlets["customer_id"].notna(), names]
    outlets = outlets.merge(people, on="customer_id", how="inner", validate="many_to_one", suffixes=("", "_own"))
    for name in ("region", "employee_id"):
        outlets[name] = outlets[name].fillna(outlets[f"{name}_own"])
    doors = people.assign(outlet_id="", latitude=np.nan, longitude=np.nan)
    out = pd.concat([outlets[names], doors[names]], ignore_index=True)
    known = out["employee_id"].where(out["employee_id"].isin(here), "").fillna("")
    out = out.assign(employee_id=known, region=out["region"].fillna(""))
    return out.astype({"latitude": float, "longitude": float})


def plan(
    snapshot: Snapshot,
    due: pd.DataFrame,
    *,
    company: Company,
    visits_per_day: int = 8,
    channel: str = "visit",
) -> Plan:
    """Plan the visits of the 14 days after the snapshot's day.

    In: ``due`` by customer_id, outlet_id and product_id: due_7, due_14, days_since, usual_days, expected_on and
    margin_minor (expected within 14 days); ``visits_per_day`` of one representative; ``channel`` of the contact, whose cost and
    policy count. A customer's outlet is visited once: those whose due margin is highest have a place, and of these the
    ones of whose margin most is due early come in the first seven days. Nobody is visited whom the contact policy leaves alone (no
    consent, hold-out, open complaint, limits, to which planned visits count), nor where the margin due is below the visit's cost. Working days are
    Monday to Friday without holidays and quiet days. Out: ``visits`` with ``stop`` the place within the day,
    ``kilometres`` as the crow flies from the stop before (nan without coordinates) and ``reasons`` as JSON; ``left_out`` with ``code``: a code of
    the contact policy, no_representative, not_worth or capacity.

    Raises UsageError for a channel without a cost or no visits per day, DataError for a missing column.
    """
    if visits_per_day < 1:
        raise UsageError(
            f"visits_per_day is {visits_per_day}; give the visits one representative makes a day, 1 or more"
        )
    missing = [name for name in _NEEDED if name not in due]
    if missing:
        raise DataError(f"the due list has no column {', '.join(missing)}; give the table of `crm replenishment`")
    stops = _stops(due, places(snapshot))
    asked = stops[["customer_id"]].drop_duplicates().assign(channel=channel)
    past = policy.history(snapshot, company=company)
    allowed = policy.judged(past, asked, company=company)
    stops = stops.merge(allowed[["customer_id", "code"]], on="customer_id", how="left", validate="many_to_one")
    cost = float(company.contact_costs_minor[channel])
    poor = stops["code"].eq("") & (stops["expected_margin_minor"] < cost)
    nobody = stops["code"].eq("") & stops["employee_id"].eq("")
    stops["code"] = np.select([nobody, poor], ["no_representative", "not_worth"], stops["code"])
    stops = _within_limits(stops, past, company=company, channel=channel)
    days = _working_days(company, snapshot.as_of, channel)
    wanted = stops[stops["code"] == ""]
    parts, full = [], []
    for _employee, own in wanted.groupby("employee_id", sort=True):
        chosen, rest = _weeks(own, [len(part) * visits_per_day for part in days])
        full.append(rest.assign(code="capacity"))
        parts += [_days(half, on) for half, on in zip(chosen, days, strict=True) if len(half)]
    visits = (
        pd.concat(parts, ignore_index=True)
        if parts
        else wanted.assign(visit_on=pd.Series(dtype="datetime64[us]"), stop=0, kilometres=0.0)
    )
    visits = visits.assign(cost_minor=cost, week=_monday(visits["visit_on"]))
    left = pd.concat([stops[stops["code"] != ""], *full], ignore_index=True)
    left = left.sort_values(["expected_margin_minor", *STOP], ascending=[False, True, True])
    return Plan(
        visits.sort_values(["employee_id", "visit_on", "stop"])[PLAN].reset_index(drop=True),
        left[LEFT_OUT].reset_index(drop=True),
    )


def _monday(days: pd.Series) -> pd.Series:
    days = pd.to_datetime(days)
    return days - pd.to_timedelta(days.dt.day_of_week, unit="D")


def _stops(due: pd.DataFrame, where: pd.DataFrame) -> pd.DataFrame:
    """Return one row a place with something due: margin, its share in the first week, products, reasons."""
    rows = due.assign(early=due["margin_minor"] * due["due_7"] / due["due_14"].clip(lower=1e-9))
    rows = rows.sort_values("margin_minor", ascending=False, kind="stable")
    told = [_reason(row) for row in rows.to_dict("records")]
    rows = rows.assign(reason=pd.Series(told, index=rows.index, dtype=object))
    sums = rows.groupby(STOP, as_index=False).agg(
        expected_margin_minor=("margin_minor", "sum"),
        early=("early", "sum"),
        products=("product_id", "size"),
        first=("expected_on", "min"),
    )
    lists = rows.groupby(STOP).head(REASONS).groupby(STOP)["reason"].agg(lambda ones: json.dumps(list(ones)))
    sums = sums.merge(lists.rename("reasons").reset_index(), on=STOP, how="left", validate="one_to_one")
    return sums.merge(where, on=STOP, how="inner", validate="one_to_one")


def _reason(row: Mapping[Hashable, Any]) -> dict[str, object]:
    return {
        "code": "overdue" if row["days_since"] > row["usual_days"] else "due",
        "product_id": row["product_id"],
        "days": int(row["days_since"]),
        "usual": round(float(row["usual_days"]), 1),
        "probability": round(float(row["due_14"]), 3),
    }


def _within_limits(stops: pd.DataFrame, past: policy.History, *, company: Company, channel: str) -> pd.DataFrame:
    """Return stops with the code of a limit where the plan itself would use it up: a customer may have many outlets.

    Those with most margin go first. Limits over shorter times than the plan hold for the whole of it.
    """
    people = past.customers
    place = pd.Index(people["customer_id"]).get_indexer(stops["customer_id"])
    stops = stops.assign(place=place, household=people["household"].to_numpy()[place])
    stops = stops.sort_values(["expected_margin_minor", *STOP], ascending=[False, True, True], ignore_index=True)
    for per, owner in (("customer", "place"), ("household", "household")):
        room = np.minimum(
            *(policy.contacts_left(past, company=company, per=per, channel=name) for name in ("", channel))
        )
        wanted = stops.loc[stops["code"] == "", owner]
        beyond = wanted.index[wanted.groupby(wanted).cumcount() >= room[wanted]]
        stops.loc[beyond, "code"] = f"limit_{per}"
    return stops.drop(columns=["place", "household"])


def _working_days(company: Company, as_of: dt.date, channel: str) -> list[list[dt.date]]:
    days = policy.allowed_days(
        company, as_of + dt.timedelta(days=1), as_of + dt.timedelta(days=PERIODS[-1]), channel=channel
    )
    free = {dt.date.fromisoformat(day) for day in company.holidays}
    working = [day for day in days if day.weekday() < 5 and day not in free]
    ahead = [(day - as_of).days for day in working]
    middle = PERIODS[0]
    return [
        [day for day, far in zip(working, ahead, strict=True) if far <= middle],
        [day for day, far in zip(working, ahead, strict=True) if far > middle],
    ]


def _weeks(own: pd.DataFrame, room: list[int]) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return whom one representative visits in the first and in the second half, and for whom there is no room.

    The halves are filled alike, by their working days; those of whose margin most is due early go first.
    """
    ranked = own.sort_values(["expected_margin_minor", *STOP], ascending=[False, True, True])
    chosen, rest = ranked.iloc[: sum(room)], ranked.iloc[sum(room) :]
    urgent = (chosen["early"] / chosen["expected_margin_minor"].clip(lower=1e-9)).sort_values(
        ascending=False, kind="stable"
    )
    first = -(-len(chosen) * room[0] // max(sum(room), 1))
    return [chosen.loc[urgent.index[:first]], chosen.loc[urgent.index[first:]]], rest


def _days(stops: pd.DataFrame, days: list[dt.date]) -> pd.DataFrame:
    """Spread stops over days: neighbours on one day, each day ordered from neighbour to neighbour."""
    placed = stops["latitude"].notna().to_numpy()
    where = np.radians(stops[["latitude", "longitude"]].to_numpy(float))
    centre = where[placed].mean(axis=0) if placed.any() else np.zeros(2)
    near, far = stops[placed], stops[~placed].sort_values(["first", *STOP])
    parts = []
    for number, day in enumerate(days):
        left = len(days) - number
        room = -(-(len(near) + len(far)) // left)
        share = max(min(-(-len(near) // left), room), room - len(far))
        chosen = _cluster(near, share, centre)
        near = near.drop(index=chosen)
        tail = far.index[: room - share]
        far = far.drop(index=tail)
        route = _route(stops.loc[chosen], centre)
        rest = stops.loc[tail].assign(kilometres=np.nan)
        whole = pd.concat([part for part in (route, rest) if len(part)]) if len(route) + len(rest) else route
        parts.append(whole.assign(visit_on=pd.Timestamp(day), stop=np.arange(1, len(whole) + 1)))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _cluster(stops: pd.DataFrame, number: int, centre: np.ndarray) -> pd.Index:
    """Return the stop farthest from the centre with its nearest neighbours."""
    if number == 0:
        return stops.index[:0]
    where = np.radians(stops[["latitude", "longitude"]].to_numpy(float))
    seed = where[int(np.argmax(kilometres(where, centre)))]
    return stops.index[np.argsort(kilometres(where, seed), kind="stable")[:number]]


def _route(stops: pd.DataFrame, start: np.ndarray) -> pd.DataFrame:
    """Return stops from nearest neighbour to nearest neighbour, with the kilometres to each."""
    where = np.radians(stops[["latitude", "longitude"]].to_numpy(float))
    open_ = list(range(len(stops)))
    order, far, at = [], [], start
    while open_:
        distance = kilometres(where[open_], at)
        best = int(np.argmin(distance))
        far.append(float(distance[best]))
        order.append(open_.pop(best))
        at = where[order[-1]]
    return stops.iloc[order].assign(kilometres=far)


def kilometres(places: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return the distance as the crow flies from places (n × 2) to a point; latitude and longitude in radians.

    >>> berlin, hamburg = np.radians([[52.52, 13.405]]), np.radians([53.55, 9.993])
    >>> kilometres(berlin, hamburg).round().tolist()
    [255.0]
    """
    half = np.sin((places - point) / 2) ** 2
    inner = half[:, 0] + np.cos(places[:, 0]) * np.cos(point[0]) * half[:, 1]
    return np.asarray(2 * _EARTH_KM * np.arcsin(np.sqrt(np.clip(inner, 0, 1))))
