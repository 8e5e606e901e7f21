"""Small sets of scores for the customer card, beside the made-up bank of the desk; with one customer whose card is full."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import made_desk
import pandas as pd

from crmlib.store import score_sets
from crmlib.warehouse import snapshot

NOW = dt.datetime(2025, 7, 1, 9, 30)
FULL = made_desk.FAMILY
"""The customer of whom everything is known."""
MODELS = ("customer_value", "lifecycle", "churn", "retention", "loyalty", "points")


def tables(ids: list[str]) -> dict[str, tuple[pd.DataFrame, dict[str, pd.DataFrame]]]:
    """Each model's scores of these customers, with the tables beside them."""
    day = pd.Timestamp(made_desk.AS_OF)
    base = pd.DataFrame({"customer_id": ids, "as_of": day})
    value = base.assign(
        actual_minor=12_345,
        income_minor=20_000,
        contact_cost_minor=2_655,
        service_cost_minor=5_000,
        predicted_minor=40_000.0,
        predicted_low_minor=30_000.0,
        predicted_high_minor=52_000.0,
        potential_minor=90_000.0,
        potential_low_minor=70_000.0,
        potential_high_minor=120_000.0,
        gap_minor=50_000.0,
        alive=0.9,
    )
    amounts = {"interest": 15_000, "fees": 5_000, "contacts": -2_655, "service": -5_000}
    lines = pd.DataFrame([(one, name, amount) for one in ids for name, amount in amounts.items()])
    gaps = pd.DataFrame([(one, name, gap) for one in ids for name, gap in (("fund", 30_000.0), ("pension", 20_000.0))])
    life = base.assign(
        phase="fading", since=pd.Timestamp(2025, 3, 31), hidden_phase="mature", next_phase="lapsed", days_to_next=140.4
    )
    ends = pd.to_datetime(["2024-06-30", "2024-12-31", "2025-03-31", "2025-06-30"])
    phases = [("growing", "growing"), ("mature", "mature"), ("fading", "mature"), ("fading", "mature")]
    history = pd.DataFrame([(one, end, *phase) for one in ids for end, phase in zip(ends, phases, strict=True)])
    churn = base.assign(risk_30=0.02, risk_90=0.071, risk_180=0.13, reason="service")
    by_reason = pd.DataFrame([(one, name, part) for one in ids for name, part in (("service", 0.05), ("price", 0.021))])
    codes = [
        {
            "code": "count",
            "table": "complaints",
            "months": 12,
            "value": 2,
            "typical": 0,
            "direction": "for",
            "contribution": 0.4,
        },
        {"code": "days_since_last", "table": "transactions", "unit": "days", "value": 40, "direction": "against"},
    ]
    why = pd.DataFrame({"customer_id": ids, "reasons": json.dumps(codes)})
    retention = base.assign(
        action="call",
        code="pays",
        risk_90=0.071,
        saved=0.012,
        value_at_stake_minor=40_000.0,
        saving_minor=480.0,
        cost_minor=500,
        net_minor=-20.0,
    )
    loyalty = base.assign(index=37.4, retained=0.83, nps=6.0, group="detractor")
    parts = pd.DataFrame([(one, name, part) for one in ids for name, part in (("tenure", 0.3), ("silence", -0.5))])
    points = base.assign(balance=640, expiring_90=120, liability_minor=210.5)
    keyed = ["customer_id"]
    return {
        "customer_value": (
            value,
            {
                "lines": lines.set_axis([*keyed, "line", "amount_minor"], axis=1),
                "gap_products": gaps.set_axis([*keyed, "product_id", "gap_minor"], axis=1),
            },
        ),
        "lifecycle": (life, {"history": history.set_axis([*keyed, "as_of", "phase", "hidden_phase"], axis=1)}),
        "churn": (churn, {"by_reason": by_reason.set_axis([*keyed, "reason", "risk_90"], axis=1), "reasons": why}),
        "retention": (retention, {}),
        "loyalty": (loyalty, {"contributions": parts.set_axis([*keyed, "driver", "contribution"], axis=1)}),
        "points": (points, {}),
    }


def save(data: Path, ids: list[str], *, models: tuple[str, ...] = MODELS, as_of: dt.date = made_desk.AS_OF) -> None:
    """Save the sets of scores of these models for these customers."""
    for model, (table, beside) in tables(ids).items():
        if model in models:
            score_sets.save(
                table, data=data, model=model, model_version=1, warehouse_version=1, as_of=as_of, now=NOW, beside=beside
            )


def make(data: Path) -> Path:
    """The bank of the desk, and every set of scores for everybody but one stranger."""
    made_desk.make(data)
    ids = [made_desk.FAMILY, made_desk.OBJECTOR, made_desk.COMPLAINER, made_desk.HELD_OUT, "C0001"]
    save(data, ids)
    return data


def rows(data: Path, table: str) -> pd.DataFrame:
    """A table of the bank's snapshot."""
    return snapshot.open_file(data / "warehouse" / "v000001.duckdb").snapshot(made_desk.AS_OF).table(table)
