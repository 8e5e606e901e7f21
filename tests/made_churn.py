"""A small made-up bank whose customers leave with planted hazards, as canonical frames, and the truth."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.store import session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

BEGIN = dt.date(2024, 1, 1)
QUARTERS = [pd.Timestamp(day) for day in pd.date_range("2023-12-31", "2025-12-31", freq="QE")]
REASONS = ("competitor", "price", "service", "death")
CONTRACTS, ACTIVITY, FEES, COMPLAINT, AGE = -0.6, -0.5, 0.7, 1.6, 0.08
"""Planted coefficients: of log(1 + contracts) and log(1 + transactions) for the competitor, log(1 + fees) for the price,
a complaint in the last quarter for the service, and a year of age for death."""


@dataclass(frozen=True, eq=False)
class Made:
    """The frames, and for each quarter end and customer still here the probability of leaving within it, by reason."""

    frames: dict[str, pd.DataFrame]
    truth: pd.DataFrame


def make(size: int = 5_000, *, seed: int = 7) -> Made:
    """Simulate quarter by quarter; hazards are those of the state at the quarter's beginning."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{number:05d}" for number in range(size)])
    age = rng.uniform(20, 85, size)
    contracts = rng.poisson(1.5, size)
    pace, fee_pace = rng.gamma(1.2, 5.0, size), rng.gamma(0.6, 0.8, size)
    since = QUARTERS[0] - pd.to_timedelta(rng.integers(30, 3_000, size), unit="D")
    left = pd.Series(pd.NaT, index=range(size), dtype="datetime64[us]")
    why = np.full(size, "", dtype=object)
    moves, complaints, truth = [], [], []
    complained, lately = np.zeros(size, dtype=bool), rng.poisson(pace)
    fees_year = rng.poisson(4 * fee_pace)
    for start, end in itertools.pairwise(QUARTERS):
        here = left.isna().to_numpy()
        hazard = _hazards(age, contracts, lately, fees_year, complained)
        chance = hazard / hazard.sum(axis=1, keepdims=True) * -np.expm1(-hazard.sum(axis=1, keepdims=True))
        named = dict(zip(REASONS, chance[here].T, strict=True))
        truth.append(pd.DataFrame({"customer_id": ids[here], "as_of": start, **named}))
        leaves = here & (rng.random(size) < chance.sum(axis=1))
        length = (end - start).days
        day = rng.integers(1, length + 1, size)
        left[leaves] = start + pd.to_timedelta(day[leaves], unit="D")
        draw = rng.random(size)[:, None] * chance.sum(axis=1, keepdims=True)
        why[leaves] = np.array(REASONS, dtype=object)[(draw > chance.cumsum(axis=1)).sum(axis=1)][leaves]
        last = np.where(leaves, day, length)
        lately, fees = (np.where(here, rng.poisson(rate * last / length), 0) for rate in (pace, fee_pace))
        for count, category in ((lately, "groceries"), (fees, "fee")):
            moves.append(_events(rng, ids, count, start, last).assign(category=category))
        complained = here & (rng.random(size) < 0.12)
        complaints.append(_events(rng, ids, complained.astype(int), start, last))
        # Of the year of fees the oldest quarter goes; the pace is steady, so its share stands for it.
        fees_year = fees_year - rng.binomial(fees_year, 0.25) + fees
        age = age + 0.25
    customers = pd.DataFrame(
        {
            "customer_id": ids,
            "valid_from": since.date,
            "customer_since": since.date,
            "birth_date": [(QUARTERS[0] - pd.Timedelta(days=365.25 * years)).date() for years in age - 2.0],
            "closed_on": left.dt.date.astype(object).where(left.notna(), None),
            "closed_reason": pd.Series(why, dtype=object).where(left.notna(), None),
        }
    )
    return Made(_frames(rng, customers, contracts, moves, complaints), pd.concat(truth, ignore_index=True))


def _hazards(
    age: np.ndarray, contracts: np.ndarray, lately: np.ndarray, fees: np.ndarray, complained: np.ndarray
) -> np.ndarray:
    """Return the integrated hazard of a quarter, customers x ``REASONS``."""
    return np.exp(
        np.column_stack(
            [
                -1.7 + CONTRACTS * np.log1p(contracts) + ACTIVITY * np.log1p(lately),
                -4.6 + FEES * np.log1p(fees),
                -4.4 + COMPLAINT * complained,
                -6.2 + AGE * (age - 40),
            ]
        )
    )


def _events(
    rng: np.random.Generator, ids: np.ndarray, count: np.ndarray, start: pd.Timestamp, last: np.ndarray
) -> pd.DataFrame:
    place = np.repeat(np.arange(len(ids)), count)
    seconds = np.floor(rng.random(len(place)) * last[place] * 86_400)
    moment = start + pd.Timedelta(days=1) + pd.to_timedelta(seconds, unit="s")
    return pd.DataFrame({"customer_id": ids[place], "happened": moment})


def _frames(
    rng: np.random.Generator,
    customers: pd.DataFrame,
    contracts: np.ndarray,
    moves: list[pd.DataFrame],
    complaints: list[pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    place = np.repeat(np.arange(len(customers)), contracts)
    holdings = pd.DataFrame(
        {
            "holding_id": [f"h{number}" for number in range(len(place))],
            "customer_id": customers["customer_id"].to_numpy()[place],
            "product_id": rng.choice(["account", "card", "deposit"], len(place)),
            "opened_on": dt.date(2023, 12, 1),
            "closed_on": customers["closed_on"].to_numpy()[place],
            "closed_reason": customers["closed_reason"].to_numpy()[place],
        }
    )
    spent, said = pd.concat(moves, ignore_index=True), pd.concat(complaints, ignore_index=True)
    groups = {"account": "accounts", "card": "cards", "deposit": "deposits"}
    products = [{"product_id": name, "name": name, "product_group": group} for name, group in groups.items()]
    return {
        "customers": customers,
        "products": pd.DataFrame(products).assign(valid_from=dt.date(2020, 1, 1)),
        "holdings": holdings,
        "transactions": spent.rename(columns={"happened": "occurred_at"}).assign(
            transaction_id=[f"t{number}" for number in range(len(spent))], amount_minor=-1_000
        ),
        "complaints": said.rename(columns={"happened": "opened_at"}).assign(
            complaint_id=[f"k{number}" for number in range(len(said))]
        ),
    }


def write(data: Path, frames: dict[str, pd.DataFrame], *, version: int = 1) -> Path:
    """Write the frames as the served version of a warehouse below ``data``; return its file."""
    folder = paths.warehouse(data)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"v{version:06d}.duckdb"
    build.from_frames(path, frames, company=Company(name="Made-up bank"), version=version)
    now = dt.datetime(2026, 1, 2)
    with session.session(data) as store:
        store.add(
            tables.Version(
                version=version,
                state="published",
                file=path.name,
                format_version=schema.FORMAT_VERSION,
                created_at=now,
                published_at=now,
            )
        )
        store.flush()
        store.merge(tables.Pointer(name="served", version=version))
        store.commit()
    return path
