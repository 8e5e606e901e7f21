"""A data folder with past retention campaigns of planted effects, risks of leaving and customer values, all made up."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.store import score_sets, session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import ContactPolicy, Limit

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 8, 30)
REASONS = ("competitor", "price", "service", "death_or_moving")
RECORDED = dict(zip(REASONS, ("competitor", "price", "service", "death"), strict=True))
PLANTED = {"call": 0.5, "email": 0.8}
"""Relative risk of leaving for what can be prevented; of whom calls annoy a call makes it 1.6."""
ANNOYED = 1.6
COMPANY = Company(
    name="Made-up bank",
    contact_costs_minor={"call": 500, "mail": 100, "email": 2},
    contact_minutes={"call": 8.0, "branch": 20.0},
    capacities={"call": 120},
    contact_policy=ContactPolicy(
        purposes=("sales", "retention"), limits=(Limit(per="household", contacts=1, days=30),), complaint_days=14
    ),
)
STARTS = (dt.date(2025, 3, 1), dt.date(2025, 7, 1))


@dataclass(frozen=True, eq=False)
class Planted:
    """The made-up customers: ``table`` by customer, ``shares`` of the reasons in the risk, customers × ``REASONS``."""

    table: pd.DataFrame
    shares: np.ndarray

    def leaving(self, channel: str | np.ndarray) -> np.ndarray:
        """The true probability of leaving within 90 days after a contact by a channel ("": left alone)."""
        return self._weights(channel).sum(axis=1) * self.table["risk"].to_numpy()

    def reasons(self, channel: str | np.ndarray) -> np.ndarray:
        """The shares of the reasons in it."""
        weights = self._weights(channel)
        return weights / weights.sum(axis=1, keepdims=True)

    def _weights(self, channel: str | np.ndarray) -> np.ndarray:
        channels = np.broadcast_to(np.asarray(channel, dtype=object), len(self.table))
        ratio = np.array([PLANTED.get(name, 1.0) for name in channels])
        ratio = np.where((channels == "call") & self.table["annoyed"].to_numpy(), ANNOYED, ratio)
        return self.shares * np.column_stack([*[ratio] * (len(REASONS) - 1), np.ones(len(ratio))])


def people(customers: int, rng: np.random.Generator) -> Planted:
    """Customers with a risk of leaving, its reasons, a value, and whether calls annoy them."""
    ids = [f"C{number:06d}" for number in range(customers)]
    table = pd.DataFrame({"customer_id": ids, "household_id": [f"H{number // 2}" for number in range(customers)]})
    table["risk"] = np.clip(np.exp(rng.normal(np.log(0.06), 0.8, customers)), 0.002, 0.6)
    table["value"] = np.round(np.exp(rng.normal(np.log(40_000), 1.0, customers)) - 5_000)
    table["annoyed"] = rng.random(customers) < 0.15
    table["branch_id"] = rng.choice(["B1", "B2", "B<3>"], customers)
    table["employee_id"] = rng.choice(["E1", "E2", "E9", ""], customers)
    return Planted(table, rng.dirichlet([4, 2, 2, 1.2], customers))


def make(data: Path, *, customers: int = 4_000, seed: int = 7, past: bool = True) -> Planted:
    """Fill the data folder; returns who is still there at ``AS_OF``. Without ``past`` there were no campaigns."""
    rng = np.random.default_rng(seed)
    planted = people(customers, rng)
    frames, left = warehouse_frames(planted, rng, past=past)
    folder = paths.warehouse(data)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "v000001.duckdb"
    build.from_frames(path, frames, company=COMPANY, version=1)
    version = tables.Version(
        version=1, state="published", file=path.name, format_version=schema.FORMAT_VERSION, created_at=NOW
    )
    with session.session(data) as store:
        store.add(version)
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    here = Planted(planted.table[~left].reset_index(drop=True), planted.shares[~left])
    save_scores(data, here, rng)
    return here


def save_scores(data: Path, here: Planted, rng: np.random.Generator) -> None:
    """Save the score sets that the retention job reads: "churn" and "customer_value"."""
    table, about = here.table, {"model_version": 1, "warehouse_version": 1, "as_of": AS_OF, "now": NOW}
    ids = table["customer_id"]
    risk = here.leaving("")
    scores = pd.DataFrame({"customer_id": ids, "as_of": pd.Timestamp(AS_OF), "risk_30": risk / 3, "risk_90": risk})
    scores = scores.assign(risk_180=1 - (1 - risk) ** 2, low_90=risk * 0.7, high_90=np.minimum(risk * 1.4, 1.0))
    scores["reason"] = np.array(REASONS, object)[here.shares.argmax(axis=1)]
    by_reason = pd.DataFrame(
        {
            "customer_id": np.repeat(ids.to_numpy(), len(REASONS)),
            "reason": pd.Categorical(np.tile(REASONS, len(ids)), categories=REASONS),
            "risk_90": (here.shares * risk[:, None]).ravel(),
        }
    )
    score_sets.save(scores, data=data, model="churn", beside={"by_reason": by_reason, **beside(here, rng)}, **about)
    value = table["value"].to_numpy()
    values = pd.DataFrame({"customer_id": ids, "as_of": pd.Timestamp(AS_OF), "actual_minor": value / 2})
    values = values.assign(predicted_minor=value, predicted_low_minor=value * 0.8, predicted_high_minor=value * 1.2)
    score_sets.save(values.assign(alive=0.9), data=data, model="customer_value", **about)


def beside(here: Planted, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """What the churn job saves beside its scores for dashboards: reasons of the riskiest, calibration."""
    riskiest = here.table.sort_values("risk", ascending=False).head(500)["customer_id"]
    codes = [
        {"code": "days_since_last", "feature": "contacts_in_recency_days", "unit": "days", "direction": "for"},
        {"code": "count_trend", "table": "transactions", "months": 3, "unit": "-1..1", "direction": "for"},
    ]
    told = [json.dumps([{**code, "value": -0.5 if "trend" in code["code"] else 7} for code in codes])] * len(riskiest)
    reasons = pd.DataFrame({"customer_id": riskiest, "reasons": told}).reset_index(drop=True)
    rows = []
    for horizon in (30, 90, 180):
        predicted = np.linspace(0.01, 0.2, 10) * horizon / 90
        rows.append(
            pd.DataFrame(
                {"horizon": horizon, "bin": range(10), "customers": 400, "predicted": predicted}
                | {"observed": predicted * rng.uniform(0.9, 1.1, 10)}
            )
        )
    return {"reasons": reasons, "calibration": pd.concat(rows, ignore_index=True)}


def warehouse_frames(
    planted: Planted, rng: np.random.Generator, *, past: bool
) -> tuple[dict[str, pd.DataFrame], np.ndarray]:
    """The tables of the made-up bank, and who left."""
    table = planted.table
    ids, number = table["customer_id"].to_numpy(object), len(table)
    consents = _consents(ids, rng)
    members, closed, reason = _campaigns(planted, consents, rng) if past else _nothing(number)
    left = ~np.isnat(closed)
    customers = table[["customer_id", "household_id", "branch_id", "employee_id"]].assign(
        valid_from=dt.date(2020, 1, 1),
        given_name="=Anna",
        family_name="Novák",
        phone=[f"+4206{place:08d}" for place in range(number)],
        email=[f"c{place}@example.org" for place in range(number)],
        closed_on=closed,
        closed_reason=reason,
    )
    customers["employee_id"] = customers["employee_id"].where(customers["employee_id"] != "")
    called = table.loc[table["annoyed"], "customer_id"].to_numpy(object)
    moment, said = dt.datetime(2025, 2, 1, 12), {"direction": "out", "channel": "call", "purpose": "sales"}
    contacts = pd.DataFrame({"customer_id": called, "occurred_at": moment, "outcome": "refused", **said})
    contacts["answered_at"] = moment
    kinds = {"universal-holdout": "holdout"} | ({f"R{place}": "retention" for place in range(2)} if past else {})
    campaigns = pd.DataFrame({"campaign_id": list(kinds), "goal": list(kinds.values())})
    held = pd.DataFrame({"campaign_id": "universal-holdout", "customer_id": ids[::50], "arm": "control"})
    held = held.assign(assigned_at=dt.datetime(2025, 1, 1), control=True)
    complaining = ids[::40]
    opened = np.where(np.arange(len(complaining)) % 2, dt.datetime(2025, 12, 20), dt.datetime(2025, 9, 20))
    complaints = pd.DataFrame({"customer_id": complaining, "opened_at": opened, "topic": "fees"})
    resolved = pd.Series(opened).where(np.arange(len(complaining)) % 2 == 0) + pd.Timedelta(days=3)
    staff = {"employee_id": ["E1", "E2", "E9"], "name": ["Anna", "Boris", "Ghost"], "branch_id": ["B1", "B2", "B1"]}
    frames = {
        "customers": customers,
        "consents": consents,
        "contacts": contacts.assign(contact_id=[f"k{place}" for place in range(len(contacts))]),
        "campaigns": campaigns.assign(starts_on=dt.date(2025, 1, 1)),
        "campaign_members": pd.concat([held, members], ignore_index=True),
        "complaints": complaints.assign(
            resolved_at=resolved, complaint_id=[f"c{place}" for place in range(len(complaining))]
        ),
        "employees": pd.DataFrame(staff).assign(
            valid_from=dt.date(2020, 1, 1), left_on=[None, None, dt.date(2025, 5, 1)]
        ),
        "branches": pd.DataFrame({"branch_id": ["B1", "B2", "B<3>"], "name": ["Old Town", "Harbour", "<Third>"]}),
        "transactions": pd.DataFrame(
            {"transaction_id": ["t1"], "customer_id": ids[:1], "occurred_at": [dt.datetime(2025, 12, 31, 12)]}
        ).assign(amount_minor=100),
    }
    return frames, left


def _consents(ids: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for channel, share in {"call": 0.6, "email": 0.7}.items():
        parts.append(pd.DataFrame({"customer_id": ids, "channel": channel, "granted": rng.random(len(ids)) < share}))
    said = pd.concat(parts, ignore_index=True).assign(purpose="marketing")
    against = pd.DataFrame({"customer_id": ids[7::100], "channel": "all", "granted": False, "purpose": "profiling"})
    return pd.concat([said, against], ignore_index=True).assign(changed_at=dt.datetime(2024, 5, 1))


def _campaigns(
    planted: Planted, consents: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Two campaigns of everybody who could be contacted, three in ten left alone; who left within 90 days, and why."""
    ids = planted.table["customer_id"].to_numpy(object)
    marketing = consents[consents["purpose"] == "marketing"]
    yes = {name: rows["granted"].to_numpy() for name, rows in marketing.groupby("channel")}
    closed, reason = np.full(len(ids), np.datetime64("NaT"), "datetime64[s]"), np.full(len(ids), None, dtype=object)
    parts = []
    for number, start in enumerate(STARTS):
        here = np.isnat(closed)
        channel = np.where(yes["call"] & (~yes["email"] | (rng.random(len(ids)) < 0.5)), "call", "email")
        able, control = here & (yes["call"] | yes["email"]), rng.random(len(ids)) < 0.3
        arm = np.where(control, "control", channel)
        given = np.where(able, arm, "")
        leaves = here & (rng.random(len(ids)) < planted.leaving(given))
        day = np.datetime64(start) + rng.integers(0, 90, len(ids)).astype("timedelta64[D]")
        closed = np.where(leaves, day.astype("datetime64[s]"), closed)
        part = pd.DataFrame({"customer_id": ids, "arm": arm, "control": control})[able]
        parts.append(part.assign(campaign_id=f"R{number}", assigned_at=dt.datetime.combine(start, dt.time(6))))
        drawn = (rng.random((len(ids), 1)) > np.cumsum(planted.reasons(given), axis=1)).sum(axis=1)
        names = np.array([RECORDED[name] for name in REASONS], object)
        reason = np.where(leaves, names[np.minimum(drawn, len(REASONS) - 1)], reason)
    return pd.concat(parts, ignore_index=True), closed, reason


def _nothing(number: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    columns = ["campaign_id", "customer_id", "arm", "control", "assigned_at"]
    return pd.DataFrame(columns=columns), np.full(number, np.datetime64("NaT"), "datetime64[s]"), np.full(number, None)
