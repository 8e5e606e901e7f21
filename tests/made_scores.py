"""A data folder with a small warehouse, scores, reasons and a back test, all made up: what a scoring job leaves behind."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.decisions import call_list
from crmlib.store import session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 8, 30)
MOST = 20_000  # customers of a list with reasons
PRODUCTS = {
    "deposit": ("Term deposit", 50_000, 0.10),
    "gold_card": ("Gold card <b>", 9_000, 0.04),
    "brokerage": ("Brokerage account", 120_000, 0.01),
    "small_insurance": ("Travel insurance", 900, 0.01),
}
COMPANY = Company(name="Made-up bank", contact_costs_minor={"call": 500, "mail": 100, "email": 2})


def make(data: Path, *, customers: int = 600, seed: int = 7, version: int = 1) -> int:
    """Fill the data folder, or add a version and newer scores to it; returns the number of the set of scores."""
    rng = np.random.default_rng(seed)
    ids = [f"C{number:06d}" for number in range(customers)]
    frames = warehouse_frames(ids, rng)
    folder = paths.warehouse(data)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"v{version:06d}.duckdb"
    build.from_frames(path, frames, company=COMPANY, version=version)
    scores = score_table(ids, rng)
    (data / "scores").mkdir(exist_ok=True)
    model_folder = data / "models" / "propensity" / f"{version:04d}"
    model_folder.mkdir(parents=True)
    gains_table().to_parquet(model_folder / "gains.parquet")
    with session.session(data) as store:
        store.add(
            tables.Version(
                version=version,
                state="published",
                file=path.name,
                format_version=schema.FORMAT_VERSION,
                created_at=NOW,
                published_at=NOW,
            )
        )
        store.flush()
        store.merge(tables.Pointer(name="served", version=version))
        store.add(
            tables.Run(kind="score", name="score", parameters={}, state="succeeded", started_at=NOW, finished_at=NOW)
        )
        store.add(
            tables.Model(
                name="propensity",
                model_version=version,
                folder=model_folder.relative_to(data).as_posix(),
                checksum="0" * 64,
                warehouse_version=version,
                as_of=AS_OF,
                created_at=NOW,
                metrics={},
            )
        )
        entry = tables.ScoreSet(
            model="propensity",
            model_version=version,
            warehouse_version=version,
            as_of=AS_OF,
            file=f"scores/propensity-{version:04d}.parquet",
            run_id=1,
            checksum="",
            rows=len(scores),
            created_at=NOW,
        )
        scores.to_parquet(data / entry.file, index=False)
        entry.checksum = hashlib.sha256((data / entry.file).read_bytes()).hexdigest()
        store.add(entry)
        store.commit()
        number, file = entry.score_set_id, data / entry.file
    allowed = call_list.permitted(frames["consents"], frames["customers"]["customer_id"], company=COMPANY)
    earned = call_list.margins(frames["products"], company=COMPANY)
    found = call_list.candidates(scores, allowed, margins=earned, company=COMPANY)
    listed = found[found["expected_profit_minor"] > 0]
    reason_table(listed, rng).to_parquet(file.with_name(f"{file.stem}-reasons.parquet"), index=False)
    return number


def warehouse_frames(ids: list[str], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tables of the made-up bank."""
    names = ["Anna", "Boris", "=Clara", "Dana"]
    customers = pd.DataFrame(
        {
            "customer_id": ids,
            "valid_from": dt.date(2020, 1, 1),
            "given_name": rng.choice(names, len(ids)),
            "family_name": "Novák",
            "phone": [f"+4206{number:08d}" for number in range(len(ids))],
            "email": [f"c{number}@example.org" for number in range(len(ids))],
        }
    )
    products = pd.DataFrame(
        [
            {"product_id": key, "valid_from": dt.date(2020, 1, 1), "name": name, "margin_minor": margin}
            for key, (name, margin, _) in PRODUCTS.items()
        ]
    ).assign(currency="EUR")
    said = []
    for channel, share in {"call": 0.3, "mail": 0.4, "email": 0.5}.items():
        asked = rng.random(len(ids)) < 0.9
        said.append(
            pd.DataFrame(
                {
                    "customer_id": np.array(ids)[asked],
                    "channel": channel,
                    "purpose": "marketing",
                    "changed_at": dt.datetime(2024, 5, 1),
                    "granted": rng.random(int(asked.sum())) < share,
                }
            )
        )
    moves = pd.DataFrame(
        {"transaction_id": ["t1"], "customer_id": [ids[0]], "occurred_at": [dt.datetime(2025, 12, 31, 12)]}
    ).assign(amount_minor=100)
    return {
        "customers": customers,
        "products": products,
        "consents": pd.concat(said, ignore_index=True),
        "transactions": moves,
    }


def score_table(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Scores of every customer and product: few likely buyers, many unlikely ones."""
    parts = []
    for product, (_, _, mean) in PRODUCTS.items():
        score = np.clip(rng.gamma(0.6, mean / 0.6, len(ids)), 1e-5, 0.95)
        part = pd.DataFrame({"customer_id": ids, "as_of": AS_OF, "model": "propensity", "product_id": product})
        parts.append(part.assign(score=score, low=score * 0.8, high=np.minimum(score * 1.25, 1.0)))
    table = pd.concat(parts, ignore_index=True)
    return table.astype({"product_id": "category", "model": "category"})


def gains_table() -> pd.DataFrame:
    """A back test of two models for all products but the last."""
    share = np.linspace(0, 1, 41)
    rows = []
    for product in list(PRODUCTS)[:-1]:
        for model, bend in (("propensity", 4.0), ("baseline", 2.5)):
            reached = (1 - np.exp(-bend * share)) / (1 - math.exp(-bend))
            table = pd.DataFrame({"share": share, "gains": reached}).assign(model=model)
            spread = 0.06 * share * (1 - share) * 2
            rows.append(table.assign(product_id=product, low=reached - spread, high=reached + spread))
    return pd.concat(rows, ignore_index=True)


def reason_table(listed: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Three reasons for and one against, for each row of the lists."""
    kinds: list[dict[str, Any]] = [
        {"code": "count", "feature": "transactions_count_salary_3m", "level": "salary", "months": 3, "unit": "rows"},
        {"code": "balance_change", "feature": "balances_change_3m", "months": 3, "unit": "minor units", "typical": 10},
        {"code": "since", "feature": "customer_age_years", "unit": "years", "typical": 41},
        {"code": "days_since_last", "feature": "contacts_out_recency_days", "unit": "days"},
        {"code": "attribute", "feature": "customer_occupation", "value": "<i>engineer</i>"},
    ]
    texts = []
    for _ in range(500):  # many customers share a text, so that a million of them are made up in seconds
        chosen = rng.choice(len(kinds), 4, replace=False, p=[0.35, 0.25, 0.2, 0.15, 0.05])
        reasons = [{"value": int(rng.integers(1, 60)), **kinds[place], "direction": "for"} for place in chosen]
        reasons[-1]["direction"] = "against"
        texts.append(json.dumps(reasons))
    best = listed.groupby("product_id", observed=True).head(MOST)
    named = best[["customer_id", "product_id"]].astype({"product_id": str}).reset_index(drop=True)
    return named.assign(reasons=rng.choice(np.array(texts), len(named)))
