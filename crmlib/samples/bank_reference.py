"""What the sample bank's blocks share: branches, employees, product terms, the plan of campaigns."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from crmlib.samples import bank_names as names
from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_model import CONTACT_KINDS
from crmlib.samples.bank_quarter import Campaign
from crmlib.samples.bank_retention import Retention
from crmlib.samples.bank_state import Quarter

OPERATORS = 24
"""Operators of the contact centre."""

PER_QUARTER = 8
"""Campaigns in a quarter."""

INVITATION_ID = "points-invitation"
"""Campaign id of the invitation to the programme of points: members by lot, the others its control group."""

HOLD_OUT_ID = "universal-holdout"
"""Campaign id of the universal hold-out, whose members are all left alone by every campaign."""

_SPLITS = {
    "accounts": (0.2, 0.3, 0.5),
    "cards": (0.3, 0.2, 0.5),
    "deposits": (0.2, 0.5, 0.3),
    "loans": (0.5, 0.2, 0.3),
    "insurance": (0.5, 0.3, 0.2),
    "investment": (0.4, 0.2, 0.4),
}


@dataclass(frozen=True)
class Branch:
    """A branch: one in each town."""

    branch_id: str
    name: str
    region: str
    town: str
    latitude: float
    longitude: float


BRANCHES = tuple(
    Branch(
        branch_id=f"B{number + 1:02d}",
        name=f"{town} office",
        region=names.REGIONS[number // names.TOWNS_PER_REGION],
        town=town,
        latitude=round(50 + 0.9 * (number // names.TOWNS_PER_REGION) + 0.11 * (number % 3), 3),
        longitude=round(10 + 1.3 * (number % 5) + 0.07 * number, 3),
    )
    for number, town in enumerate(names.TOWNS)
)


def branch_ids() -> list[str]:
    """Return the ids of the branches."""
    return [branch.branch_id for branch in BRANCHES]


def employee_ids() -> list[str]:
    """Return the ids of the employees: four in each branch, then the operators of the contact centre."""
    return [f"E{number + 1:03d}" for number in range(4 * len(BRANCHES) + OPERATORS)]


def plan(rng: np.random.Generator, *, quarters: int) -> list[Campaign]:
    """Return the campaigns: in each quarter ``PER_QUARTER`` products in turn, in an order drawn once."""
    order = rng.permutation(len(catalogue.PRODUCTS))
    out = []
    for quarter in range(quarters):
        for place in range(PER_QUARTER):
            product = int(order[(quarter * PER_QUARTER + place) % order.size])
            split = _SPLITS[catalogue.PRODUCTS[product].group]
            out.append(Campaign(f"K{quarter + 1:02d}-{place + 1}", quarter, product, split))
    return out


def campaign_ids(campaigns: list[Campaign], retentions: list[Retention]) -> list[str]:
    """Return the ids of all campaigns: those for products, the universal hold-out, retention, the invitation."""
    return [*(c.campaign_id for c in campaigns), HOLD_OUT_ID, *(r.campaign_id for r in retentions), INVITATION_ID]


def tables(
    rng: np.random.Generator, campaigns: list[Campaign], retentions: list[Retention], *, over: list[Quarter]
) -> dict[str, pa.Table]:
    """Return the tables that no customer is in, by the name of their file; ``over`` are the recorded quarters."""
    return {
        "products": products(over[0].first),
        "analogues": substitutes(),
        "offices": offices(),
        "staff": staff(rng, first=over[0].first, last=over[-1].last),
        "campaigns": campaign_list(campaigns, retentions, over=over),
    }


def products(first: int) -> pa.Table:
    """Return the product list: terms, margins and conditions of sale; money in major units."""
    listed = catalogue.PRODUCTS
    start = np.datetime64(first - 3_650, "D").astype("datetime64[Y]").astype("datetime64[D]").item()
    return pa.table(
        {
            "code": list(catalogue.IDS),
            "from": [start] * len(listed),
            "title": [p.name for p in listed],
            "family": [p.group for p in listed],
            "margin": [p.margin / 100 for p in listed],
            "margin_months": [p.margin_months for p in listed],
            "price": pa.array([p.price / 100 or None for p in listed], pa.float64()),
            "rate": pa.array([p.rate for p in listed], pa.float64()),
            "term": pa.array([p.term or None for p in listed], pa.int64()),
            "age_from": [p.ages[0] for p in listed],
            "age_to": pa.array([p.ages[1] if p.ages[1] < 150 else None for p in listed], pa.int64()),
            "income_from": pa.array(
                [None if p.minimum_income is None else p.minimum_income / 100 for p in listed], pa.float64()
            ),
            "needs": pa.array([p.requires or None for p in listed], pa.string()),
            "several": ["Y" if p.repeatable else "N" for p in listed],
            "per_quarter": pa.array([p.supply for p in listed], pa.int64()),
            "more": pa.array([json.dumps(p.attributes) if p.attributes else None for p in listed], pa.string()),
        }
    )


def substitutes() -> pa.Table:
    """Return which product can take the place of which."""
    pairs = [
        (p.product_id, other, kind)
        for p in catalogue.PRODUCTS
        for kind, others in (("alternative", p.substitutes), ("substitute", p.replaced_by))
        for other in others
    ]
    code, other, kind = (list(column) for column in zip(*pairs, strict=True))
    return pa.table({"code": code, "other": other, "kind": kind})


def offices() -> pa.Table:
    """Return the branches."""
    return pa.table(
        {
            "office": branch_ids(),
            "title": [branch.name for branch in BRANCHES],
            "type": ["branch"] * len(BRANCHES),
            "region": [branch.region for branch in BRANCHES],
            "town": [branch.town for branch in BRANCHES],
            "lat": [branch.latitude for branch in BRANCHES],
            "lon": [branch.longitude for branch in BRANCHES],
        }
    )


def staff(rng: np.random.Generator, *, first: int, last: int) -> pa.Table:
    """Return the employees; one in twelve left while the records ran."""
    ids = employee_ids()
    count = len(ids)
    at_branch = 4 * len(BRANCHES)
    given, family = rng.integers(0, len(names.GIVEN_FEMALE), count), rng.integers(0, len(names.FAMILY), count)
    left = np.where(rng.random(count) < 1 / 12, rng.integers(first, last, count), 0)
    roles = [("manager", "adviser", "teller", "teller")[k % 4] if k < at_branch else "operator" for k in range(count)]
    return pa.table(
        {
            "employee": ids,
            "actual_from": pa.array(first - rng.integers(30, 3_000, count), pa.int32()).cast(pa.date32()),
            "full_name": [f"{names.GIVEN_FEMALE[g]} {names.FAMILY[f]}а" for g, f in zip(given, family, strict=True)],
            "role": roles,
            "office": pa.array([branch_ids()[k // 4] if k < at_branch else None for k in range(count)], pa.string()),
            "last_day": pa.array(left.astype(np.int32), pa.date32(), mask=left == 0),
        }
    )


def campaign_list(campaigns: list[Campaign], retentions: list[Retention], *, over: list[Quarter]) -> pa.Table:
    """Return the campaigns with their products, main channels and dates, in the order of ``campaign_ids``."""
    chosen = [catalogue.PRODUCTS[campaign.product] for campaign in campaigns]
    selling = [over[campaign.quarter] for campaign in campaigns]
    keeping = [over[campaign.quarter] for campaign in retentions]
    whole = Quarter(over[0].first, over[-1].last, season=0, recorded=True)
    periods = [*selling, whole, *keeping, whole]
    others = [None] * (2 + len(keeping))
    titles = [f"{product.name} {_month(period)}" for product, period in zip(chosen, selling, strict=True)]
    ways = [CONTACT_KINDS[int(np.argmax(campaign.split))].upper() for campaign in campaigns]
    goals = ["sell"] * len(selling) + ["holdout"] + ["retention"] * len(keeping) + ["loyalty"]
    return pa.table(
        {
            "campaign": campaign_ids(campaigns, retentions),
            "title": [
                *titles,
                "Universal hold-out",
                *[f"Retention {_month(period)}" for period in keeping],
                "Invitation to the programme of points",
            ],
            "goal": goals,
            "product_code": pa.array([*[product.product_id for product in chosen], *others], pa.string()),
            "way": pa.array([*ways, None, *["CALL"] * len(keeping), None], pa.string()),
            "starts": pa.array([period.first for period in periods], pa.int32()).cast(pa.date32()),
            "ends": pa.array([period.last for period in periods], pa.int32()).cast(pa.date32()),
            "budget": pa.array([*[5_000.0] * len(selling), *others], pa.float64()),
        }
    )


def _month(period: Quarter) -> str:
    return str(np.datetime64(period.first, "D").astype("datetime64[M]"))
