"""A data folder with a small warehouse of two years in which what makes customers stay, answer and recommend is planted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.store import session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 8, 30)
COMPANY = Company(name="Made-up bank")
DAYS = (LAST - FIRST).days + 1
SEGMENTS = ("young", "old")


def frames(customers: int = 3_000, *, seed: int = 3) -> dict[str, pd.DataFrame]:
    """The tables: who complains, is silent or new leaves the rather; the old answer surveys, and are kinder."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{number:06d}" for number in range(customers)])
    age = rng.uniform(20, 80, customers)
    since = np.where(
        rng.random(customers) < 0.35, rng.integers(0, DAYS - 20, customers), -rng.integers(30, 4000, customers)
    )
    busy = rng.gamma(2.0, 4.0, customers)
    complains = rng.random(customers) < 0.25
    compensated = rng.random(customers) < 0.5
    complained = np.maximum(since, 0) + rng.uniform(0, 1, customers) * (DAYS - np.maximum(since, 0))
    hazard = 0.00035 * np.exp(-0.12 * busy + 0.25 * (since > 0))
    left = np.maximum(since, 0) + rng.exponential(1 / hazard)
    soon = rng.exponential(200.0, customers)
    left = np.where(complains & ~compensated, np.minimum(left, complained + 5 + soon), left)
    gone = left < DAYS
    reason = np.where(rng.random(customers) < 0.1, "death", "competitor")
    people = pd.DataFrame(
        {
            "customer_id": ids,
            "valid_from": [FIRST + dt.timedelta(days=int(one)) for one in since],
            "birth_date": [dt.date(2024, 1, 1) - dt.timedelta(days=int(365.25 * one)) for one in age],
            "customer_since": [FIRST + dt.timedelta(days=int(one)) for one in since],
            "closed_on": [
                FIRST + dt.timedelta(days=int(one)) if yes else None for one, yes in zip(left, gone, strict=True)
            ],
            "closed_reason": np.where(gone, reason, None),
        }
    )
    until = np.minimum(left, DAYS)
    happy = complains & (complained < until)
    complaints = pd.DataFrame(
        {
            "complaint_id": [f"p{number}" for number in range(int(happy.sum()))],
            "customer_id": ids[happy],
            "opened_at": [_at(day) for day in complained[happy]],
            "topic": "fees",
            "resolved_at": [_at(day + 3) for day in complained[happy]],
            "resolution": np.where(compensated[happy], "compensated", "explained"),
        }
    )
    out = {"customers": people, "complaints": complaints}
    out["transactions"] = _transactions(rng, ids, busy, since, until)
    out["surveys"] = _surveys(rng, ids, age, since, until)
    out["mentions"] = _mentions(rng, ids)
    out["branches"] = pd.DataFrame({"branch_id": ["B1", "B2"], "name": ["North & <b>West</b>", "South"]})
    return out


def make(data: Path, tables_: dict[str, pd.DataFrame]) -> None:
    """Put the tables into a data folder, served as version 1."""
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    build.from_frames(path, tables_, company=COMPANY, version=1)
    about = {"format_version": schema.FORMAT_VERSION, "created_at": NOW, "published_at": NOW}
    with session.session(data) as store:
        store.add(tables.Version(version=1, state="published", file=path.name, **about))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()


def _at(day: float) -> dt.datetime:
    return dt.datetime.combine(FIRST, dt.time()) + dt.timedelta(days=float(day))


def _transactions(
    rng: np.random.Generator, ids: np.ndarray, busy: np.ndarray, since: np.ndarray, until: np.ndarray
) -> pd.DataFrame:
    count = rng.poisson(busy * (until - np.maximum(since, 0)) / 365)
    row = np.repeat(np.arange(len(ids)), count)
    day = np.maximum(since, 0)[row] + rng.random(row.size) * (until - np.maximum(since, 0))[row]
    fee = rng.random(row.size) < 0.2
    return pd.DataFrame(
        {
            "transaction_id": [f"t{number}" for number in range(row.size)],
            "customer_id": ids[row],
            "occurred_at": pd.Timestamp(FIRST) + pd.to_timedelta(day, unit="D"),
            "amount_minor": np.where(fee, -250, -4_000),
            "currency": "EUR",
            "category": np.where(fee, "fee", "groceries"),
            "channel": rng.choice(["mobile", "branch"], row.size),
        }
    )


def _surveys(
    rng: np.random.Generator, ids: np.ndarray, age: np.ndarray, since: np.ndarray, until: np.ndarray
) -> pd.DataFrame:
    parts = []
    for quarter in range(8):
        day = 91 * quarter + rng.uniform(1, 89, len(ids))
        there = (day > since) & (day < until)
        who = np.flatnonzero(there & (rng.random(len(ids)) < 0.04 * np.exp(0.05 * (age - 50))))
        mark = np.clip(np.round(7.4 + 0.05 * (age[who] - 50) + 1.8 * rng.normal(size=who.size)), 0, 10)
        channel = rng.choice(["email", "call", "branch"], who.size)
        rows = {
            "customer_id": ids[who],
            "answered_at": [_at(one) for one in day[who]],
            "score": mark,
            "channel": channel,
        }
        branch = np.where(channel == "branch", rng.choice(["B1", "B2"], who.size), None)
        parts.append(pd.DataFrame({**rows, "branch_id": branch, "survey": "loyalty", "question": "nps"}))
    who = rng.choice(len(ids), 300, replace=False)
    speed, price = rng.integers(1, 11, 300), rng.integers(1, 11, 300)
    nps = np.clip(np.round(2 + 0.6 * speed + 0.1 * price + 0.8 * rng.normal(size=300)), 0, 10)
    when = [_at(one) for one in rng.uniform(400, DAYS, 300)]
    for question, mark in (("nps", nps), ("speed", speed), ("price", price)):
        rows = {"customer_id": ids[who], "answered_at": when, "score": mark.astype(float), "channel": "call"}
        parts.append(pd.DataFrame({**rows, "branch_id": None, "survey": "service", "question": question}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(answer_id=[f"a{number}" for number in range(len(table))])


def _mentions(rng: np.random.Generator, ids: np.ndarray) -> pd.DataFrame:
    day = np.sort(rng.uniform(0, DAYS, 300))
    return pd.DataFrame(
        {
            "mention_id": [f"m{number}" for number in range(300)],
            "customer_id": np.where(rng.random(300) < 0.5, rng.choice(ids, 300), None),
            "occurred_at": [_at(one) for one in day],
            "author": "somebody",
            "text": "The <b>bank</b> helped.",
            "sentiment": np.round(rng.uniform(-1, 1, 300), 2),
        }
    )
