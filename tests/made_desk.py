"""A data folder with a small made-up bank, a fitted model and one family whose story the desk has to tell."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features, paths
from crmlib.models import registry
from crmlib.models.propensity import PropensityModel
from crmlib.store import session, tables
from crmlib.warehouse import build, schema, snapshot
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 6, 30)
NOW = dt.datetime(2025, 7, 1, 9, 0)
FAMILY, OBJECTOR, LEFT, COMPLAINER, HELD_OUT = "F0001", "F0002", "F0003", "F0004", "F0005"
COMPANY = Company(name="Made-up bank", contact_costs_minor={"call": 500, "mail": 100, "email": 2})
PRODUCTS: dict[str, dict[str, Any]] = {
    "current": {"name": "Current account", "product_group": "accounts", "margin_minor": 6_000},
    "savings": {"name": "Savings account", "product_group": "deposits", "margin_minor": 4_000},
    "credit_card": {"name": "Credit card", "product_group": "cards", "margin_minor": 12_000, "minimum_age": 21},
    "mortgage": {"name": "Mortgage", "product_group": "loans", "margin_minor": 300_000, "minimum_age": 21},
    "education_loan": {
        "name": "Education loan",
        "product_group": "loans",
        "margin_minor": 20_000,
        "attributes": '{"occasions": ["child_17"]}',
    },
    "gold_card": {
        "name": "Gold card",
        "product_group": "cards",
        "margin_minor": 9_000,
        "requires_product_id": "credit_card",
    },
    "fund": {"name": "Fund <b>plan</b>", "product_group": "investment", "margin_minor": 40_000},
    "pension": {"name": "Pension plan", "product_group": "investment", "margin_minor": 60_000, "maximum_age": 60},
}
SPEC = features.Specification(
    (
        *[features.attribute(name) for name in ("region", "marital_status", "employment_status", "gender")],
        features.attribute("children"),
        features.attribute("income_minor"),
        features.since("birth_date", years=True, name="customer_age_years"),
        features.household_size(),
        features.windowed("transactions", "amount_minor", months=(3, 12)),
        features.held(by="product_id"),
        features.balance("latest"),
        features.recency("contacts", months=12),
    )
)


def make(data: Path, *, customers: int = 300, seed: int = 7) -> Path:
    """Fill the data folder: a served warehouse version and a registered model."""
    folder = paths.warehouse(data)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "v000001.duckdb"
    build.from_frames(path, frames(customers, np.random.default_rng(seed)), company=COMPANY)
    with session.session(data) as store:
        row = {"version": 1, "state": "published", "file": path.name, "format_version": schema.FORMAT_VERSION}
        store.add(tables.Version(**row, created_at=NOW, published_at=NOW))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    known = snapshot.open_file(path).snapshot(AS_OF)
    spec = features.resolve(SPEC, known)
    table = features.build(known, spec)
    registry.save(
        fitted(table, seed),
        data=data,
        warehouse_version=1,
        as_of=AS_OF,
        now=NOW,
        metrics={},
        specification=features.to_json(spec),
    )
    return data


def fitted(table: pd.DataFrame, seed: int) -> PropensityModel:
    """A model of purchases that go up with income and down with age."""
    rng = np.random.default_rng(seed)
    income = table["customer_income_minor"].fillna(200_000).to_numpy(float)
    parts = []
    for number, product in enumerate(PRODUCTS):
        logit = -1.5 + (number % 3 - 1) * (income - 250_000) / 150_000
        bought = rng.random(len(table)) < 1 / (1 + np.exp(-logit))
        parts.append(table[["customer_id", "as_of"]].assign(product_id=product, bought=bought))
    labels = pd.concat(parts, ignore_index=True)
    return PropensityModel(seed=seed, nthread=1).fit(table, labels, calibrate=(table, labels))


def frames(customers: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tables: strangers at random, and the family."""
    ids = [f"C{number:04d}" for number in range(customers)]
    story = {name: pd.DataFrame(rows) for name, rows in family().items()}
    made = {
        "customers": pd.DataFrame(
            {
                "customer_id": ids,
                "valid_from": dt.date(2020, 1, 1),
                "given_name": "Anna",
                "family_name": "Novák",
                "gender": rng.choice(["female", "male"], customers),
                "region": rng.choice(["North", "South"], customers),
                "marital_status": rng.choice(["single", "married"], customers),
                "employment_status": rng.choice(["employed", "retired"], customers),
                "children": rng.integers(0, 4, customers),
                "income_minor": rng.integers(100_000, 500_000, customers),
                "birth_date": np.datetime64("1950-01-01") + rng.integers(0, 18_000, customers).astype("timedelta64[D]"),
                "customer_since": dt.date(2015, 1, 1),
                "household_id": rng.integers(0, customers // 2, customers).astype(str),
            }
        ),
        "products": pd.DataFrame(
            [
                {"product_id": key, "valid_from": dt.date(2015, 1, 1), "currency": "EUR", **told}
                for key, told in PRODUCTS.items()
            ]
        ),
        "transactions": pd.DataFrame(
            {
                "transaction_id": np.arange(customers * 5).astype(str),
                "customer_id": rng.choice(ids, customers * 5),
                "occurred_at": np.datetime64("2024-06-30")
                + rng.integers(0, 365 * 86_400, customers * 5).astype("timedelta64[s]"),
                "amount_minor": rng.integers(-50_000, 50_000, customers * 5),
            }
        ),
        "holdings": pd.DataFrame(
            {
                "holding_id": [f"H{number}" for number in range(customers)],
                "customer_id": ids,
                "product_id": rng.choice(["current", "savings", "credit_card"], customers),
                "opened_on": dt.date(2021, 1, 1),
            }
        ),
        "balances": pd.DataFrame(
            {
                "holding_id": [f"H{number}" for number in range(customers)],
                "customer_id": ids,
                "balance_date": dt.date(2025, 5, 31),
                "balance_minor": rng.integers(0, 900_000, customers),
            }
        ),
    }
    for name, rows in story.items():
        made[name] = pd.concat([made[name], rows], ignore_index=True) if name in made else rows
    return made


def family() -> dict[str, list[dict[str, Any]]]:
    """T2 and its neighbours: who calls about a mortgage, whose son has turned 17; and those who are not to be sold to."""
    born, day = dt.date(1978, 3, 4), dt.datetime
    person = {"valid_from": dt.date(2018, 1, 1), "birth_date": born, "customer_since": dt.date(2012, 5, 6)}
    person |= {"given_name": "Maria", "family_name": "Silva", "region": "North", "income_minor": 300_000, "children": 1}
    people = [
        {**person, "customer_id": name, "marital_status": "married"}
        for name in (FAMILY, OBJECTOR, COMPLAINER, HELD_OUT)
    ]
    people.append(
        {
            **person,
            "customer_id": FAMILY,
            "valid_from": dt.date(2025, 4, 1),
            "marital_status": "divorced",
            "household_id": "f",
        }
    )
    people.append({**person, "customer_id": LEFT, "closed_on": dt.date(2025, 3, 1)})
    consents = [
        {
            "customer_id": FAMILY,
            "channel": "mail",
            "purpose": "marketing",
            "changed_at": day(2024, 1, 1),
            "granted": True,
        },
        {
            "customer_id": OBJECTOR,
            "channel": "all",
            "purpose": "profiling",
            "changed_at": day(2024, 1, 1),
            "granted": False,
        },
    ]
    return {
        "customers": people,
        "consents": consents,
        "relatives": [
            {
                "relative_id": "r1",
                "valid_from": dt.date(2020, 1, 1),
                "customer_id": FAMILY,
                "relation": "child",
                "birth_date": dt.date(2008, 5, 20),
            }
        ],
        "holdings": [
            {"holding_id": "f1", "customer_id": FAMILY, "product_id": "current", "opened_on": dt.date(2012, 5, 6)},
            {
                "holding_id": "f2",
                "customer_id": FAMILY,
                "product_id": "savings",
                "opened_on": dt.date(2023, 8, 1),
                "matures_on": dt.date(2025, 8, 1),
                "amount_minor": 500_000,
            },
            {
                "holding_id": "f3",
                "customer_id": FAMILY,
                "product_id": "mortgage",
                "opened_on": dt.date(2013, 1, 1),
                "closed_on": dt.date(2023, 1, 1),
            },
        ],
        "balances": [
            {"holding_id": "f1", "customer_id": FAMILY, "balance_date": dt.date(2025, 4, 30), "balance_minor": 20_000},
            {"holding_id": "f1", "customer_id": FAMILY, "balance_date": dt.date(2025, 5, 31), "balance_minor": -12_000},
            {
                "holding_id": "f3",
                "customer_id": FAMILY,
                "balance_date": dt.date(2022, 12, 31),
                "balance_minor": -90_000,
            },
        ],
        "applications": [
            {
                "application_id": "a1",
                "customer_id": FAMILY,
                "product_id": "mortgage",
                "applied_at": day(2025, 6, 20, 10),
                "amount_minor": 9_000_000,
            },
            {
                "application_id": "a2",
                "customer_id": FAMILY,
                "product_id": "credit_card",
                "applied_at": day(2024, 2, 1),
                "decided_at": day(2024, 2, 3),
                "outcome": "refused",
            },
        ],
        "transactions": [
            {"transaction_id": "t", "customer_id": FAMILY, "occurred_at": day(2025, 6, 30, 12), "amount_minor": -4_000}
        ],
        "campaigns": [
            {
                "campaign_id": "K1",
                "name": "Funds",
                "product_id": "fund",
                "channel": "mail",
                "starts_on": dt.date(2025, 5, 1),
            }
        ],
        "contacts": [
            {
                "contact_id": "k1",
                "customer_id": FAMILY,
                "occurred_at": day(2025, 5, 5),
                "channel": "mail",
                "direction": "out",
                "purpose": "sales",
                "campaign_id": "K1",
            },
            {
                "contact_id": "k2",
                "customer_id": FAMILY,
                "occurred_at": day(2025, 6, 1),
                "channel": "call",
                "direction": "out",
                "purpose": "sales",
                "product_id": "pension",
                "answered_at": day(2025, 6, 1),
                "outcome": "refused",
            },
            {
                "contact_id": "k3",
                "customer_id": FAMILY,
                "occurred_at": day(2025, 6, 25),
                "channel": "branch",
                "direction": "in",
                "purpose": "service",
            },
        ],
        "campaign_members": [
            {
                "campaign_id": "K1",
                "customer_id": FAMILY,
                "assigned_at": day(2025, 5, 1),
                "arm": "mail",
                "control": False,
                "contacted_at": day(2025, 5, 5),
            },
            {
                "campaign_id": "universal-holdout",
                "customer_id": HELD_OUT,
                "assigned_at": day(2025, 1, 1),
                "arm": "control",
                "control": True,
            },
        ],
        "complaints": [
            {
                "complaint_id": "p1",
                "customer_id": COMPLAINER,
                "opened_at": day(2025, 6, 10),
                "topic": "fees",
                "severity": 4,
            }
        ],
    }
