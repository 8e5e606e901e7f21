"""What retention decisions save on the sample bank, by its planted probabilities of leaving.

    python benchmarks/bench_retention.py --data FOLDER --as-of 2025-09-30

FOLDER is a data folder of the demo; it must hold churn and customer_value scores of the day (`crm churn`, `crm value`).
Each policy contacts only whom consents, hold-out and contact policy permit. Its saving is realised with the truth: the
sum of (probability of leaving if left alone - after the contact) × value at stake, less the costs, within 90 days after
the day. "planted effects" knows the average relative risk of each channel over all customers, "oracle" each customer's
own; both know what no company does. Floor: nobody is contacted (0), everybody is called, everybody gets an e-mail.
A customer who is saved counts with the whole value at stake, as in the decisions: whether the effect lasts beyond the 90
days is not in these figures. The effects are those of all departures, of the members of past campaigns; planted is the
average over all customers.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths, samples, warehouse
from crmlib.decisions import offers_inputs, policy, retention
from crmlib.decisions.retention_worth import Known
from crmlib.models import retention as learning
from crmlib.store import score_sets

RESULTS = Path(__file__).parent / "results"
CAUTIONS = (0.5, 0.65, learning.CAUTION)


def compare(data: Path, *, as_of: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the realised saving of each policy, and the effects measured against those planted."""
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of)
    company = offers_inputs.company_of(data, snapshot)
    risks, values = (score_sets.newest(data, name, as_of=snapshot.as_of) for name in ("churn", "customer_value"))
    members = learning.members(snapshot)
    known = Known(
        risk=score_sets.read(data, risks, columns=["customer_id", "risk_90", "reason"]),
        by_reason=score_sets.beside(data, risks, "by_reason"),
        values=score_sets.read(data, values, columns=["customer_id", "predicted_minor"]),
        effects=learning.effects(members),
        groups=learning.groups(snapshot),
    )
    truth = _truth(data, as_of)
    channels = sorted(set(known.effects["channel"]))
    people = known.values.dropna().merge(truth, on="customer_id", validate="one_to_one")
    allowed = policy.reachable(snapshot, people["customer_id"], company=company)
    gain = {name: _gain(people, allowed, name, company.contact_costs_minor[name]) for name in channels}
    rows = [{"policy": "nobody", "contacts": 0, "expected": 0.0, "realised": 0.0}]
    rows += [_row(f"everybody by {name}", gain, np.full(len(people), name)) for name in channels]
    for caution in CAUTIONS:
        own = dataclasses.replace(known, effects=learning.effects(members, caution=caution))
        decided = retention.decide(snapshot, own, company=company).table
        rows.append(_decided(f"decided, caution {caution:g}", people, gain, decided))
    own = dataclasses.replace(known, effects=_planted(people, channels))
    rows.append(
        _decided("decided, planted effects", people, gain, retention.decide(snapshot, own, company=company).table)
    )
    table = np.stack([np.maximum(gain[name], 0) for name in channels])
    best = np.array(channels, object)[table.argmax(axis=0)]
    rows.append(_row("oracle", gain, np.where(table.max(axis=0) > 0, best, "")))
    return pd.DataFrame(rows), _effects(learning.measured(members), people, channels)


def _truth(data: Path, as_of: str) -> pd.DataFrame:
    sample = samples.open_sample(data / "samples" / "bank")
    table = samples.truth(sample, "churn")
    table = table[pd.to_datetime(table["as_of"]) == pd.Timestamp(as_of)]
    return table.astype({"customer_id": "str"})


def _gain(people: pd.DataFrame, allowed: pd.DataFrame, channel: str, cost: float) -> np.ndarray:
    """Return what contacting each customer by a channel truly saves, minor units; 0 who may not be contacted."""
    may = people["customer_id"].isin(allowed.loc[allowed["channel"] == channel, "customer_id"])
    saved = (people["p_none"] - people[f"p_{channel}"]).to_numpy(float) * people["predicted_minor"].to_numpy(float)
    return np.where(may, saved - cost, 0.0)


def _row(name: str, gain: dict[str, np.ndarray], action: np.ndarray) -> dict[str, object]:
    realised = sum(float(gain[channel][action == channel].sum()) for channel in gain)
    contacts = sum(int(((action == channel) & (gain[channel] != 0)).sum()) for channel in gain)
    return {"policy": name, "contacts": contacts, "expected": np.nan, "realised": realised / 100}


def _decided(name: str, people: pd.DataFrame, gain: dict[str, np.ndarray], decided: pd.DataFrame) -> dict[str, object]:
    action = decided.set_index("customer_id")["action"].reindex(people["customer_id"]).fillna("").to_numpy(object)
    return _row(name, gain, action) | {"expected": float(decided["net_minor"].sum()) / 100}


def _planted(people: pd.DataFrame, channels: list[str]) -> pd.DataFrame:
    ratio = [float(people[f"p_{name}"].sum() / people["p_none"].sum()) for name in channels]
    return pd.DataFrame({"channel": channels, "group": "", "reason": "", "cautious": ratio})


def _effects(measured: pd.DataFrame, people: pd.DataFrame, channels: list[str]) -> pd.DataFrame:
    own = measured[(measured["group"] == "all") & (measured["reason"] == "")].set_index("channel")
    planted = _planted(people, channels).set_index("channel")["cautious"]
    shown = ["control", "control_left", "treated", "treated_left", "relative_risk", "low", "high"]
    return own[shown].assign(planted=planted).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--as-of", default="2025-09-30")
    started = time.process_time()
    given = parser.parse_args()
    policies, effects = compare(given.data, as_of=given.as_of)
    for table in (policies, effects):
        print(table.round(3).to_string(index=False), end="\n\n")
    stated = [{name: None if pd.isna(one) else one for name, one in row.items()} for row in policies.to_dict("records")]
    result = {"as_of": given.as_of, "policies": stated, "effects": effects.to_dict("records")}
    scored = score_sets.newest(given.data, "churn", as_of=dt.date.fromisoformat(given.as_of))
    path = RESULTS / f"retention_bank-{scored.rows}.json"
    path.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.process_time() - started:.1f} s CPU, {memory:,.0f} MB")


if __name__ == "__main__":
    main()
