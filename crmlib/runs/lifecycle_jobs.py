"""The job behind `crm lifecycle`: the phase of every customer by rules and by hidden states, their history, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths, warehouse
from crmlib.models.lifecycle import compare, hidden, history, observations, phases, sojourn
from crmlib.models.lifecycle.history import History
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse.objections import objectors

NAME = "lifecycle"
VERSION = 1
"""Version of the method, kept with the scores."""
RULES_FILE = "lifecycle.toml"
TEST_QUARTERS = 2
_SHOWN = ("tenure_days", "transactions", "usual", "silent_days", "gap_days", "holdings", "holdings_before")


@dataclass(frozen=True)
class LifeCycle:
    """What the job found: ``customers`` (saved as scores) and the tables saved beside them by name."""

    customers: pd.DataFrame
    beside: dict[str, pd.DataFrame]


def lifecycle(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> LifeCycle:
    """Say which phase each customer is in at a day (default: the last record), since when, and what comes next; save it.

    Rules are those of ``data/lifecycle.toml``, where there is one. Who objected to profiling is left out. Raises DataError for less than a year of records before
    the day or too few customers, UsageError for rules that cannot be read.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    rules = phases.read(data / RULES_FILE)
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, NAME, parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("phases", f"as of {snapshot.as_of}") as stage:
            judged = len(observations.quarter_ends(wh, snapshot.as_of))
            observed = observe(wh, snapshot)
            assigned = [phases.assign(table, rules) for table in observed[-judged:]]
            past = history.collect(assigned, observed[-judged:])
            share = assigned[-1]["phase"].value_counts(normalize=True)
            stage.say(f"{len(observed[-1]):,} customers, {judged} quarter ends")
            stage.say(", ".join(f"{name} {100 * part:.0f}%" for name, part in share.items()))
        with stages.stage("hidden", "hidden states, compared with the rules") as stage:
            beside, own = _hidden(observed, past, seed=seed)
            stage.say(f"agreement with the rules {100 * own['agrees'].mean():.0f}%")
            stage.say(_told(beside))
        with stages.stage("save", "phases, history, moves") as stage:
            times = sojourn.times(past, seed=seed)
            beside |= {"moves": history.moves(past), "times": times, "rules": _listed(rules)}
            table = _customers(observed[-1], assigned[-1], past, sojourn.ahead(past, times)).merge(
                own.drop(columns="agrees"), on="customer_id", how="left", validate="one_to_one"
            )
            score_sets.save(
                table,
                data=data,
                model=NAME,
                model_version=VERSION,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=beside,
                run_id=run_id,
            )
            stage.say(f"{len(table):,} customers, {len(beside['history']):,} rows of history")
    return LifeCycle(table, beside)


def observe(wh: warehouse.Warehouse, snapshot: warehouse.Snapshot) -> list[pd.DataFrame]:
    """Return what was known at the day and at each earlier quarter's end that has a quarter of records before its own.

    Who objects to profiling at the day is left out of all of them.
    """
    objected = objectors(snapshot)
    days = observations.quarter_ends(wh, snapshot.as_of, before=1)
    # Two threads: most of the work is DuckDB's, outside Python's lock.
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(observations.observe, [wh.snapshot(day) for day in days]))
    return [table[~table["customer_id"].isin(objected)].reset_index(drop=True) for table in found]


def _hidden(
    observed: Sequence[pd.DataFrame], past: History, *, seed: int
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Return the tables about hidden states to save beside the scores, and each customer's phase by them."""
    encoded = hidden.encode(observed)
    earlier: hidden.HiddenModel | None = None
    beside: dict[str, pd.DataFrame] = {}
    learn = len(past.days) - 1 - TEST_QUARTERS
    if learn >= 1:
        everybody = np.arange(len(encoded.customer_id))
        earlier = hidden.fit(encoded.take(everybody, until=len(encoded.days) - TEST_QUARTERS), seed=seed)
        found = compare.compare(encoded, past, learn_until=learn, model=earlier)
        beside = {"comparison": found.table, "differences": found.differences}
    model = hidden.fit(encoded, seed=seed, start=earlier)
    names = compare.names(model, encoded, past)
    phase, share = compare.named(model, encoded, names)
    offset = encoded.days.index(past.days[0])
    beside["agreement"] = compare.agreement(past.phase[:, -1], phase[:, -1])
    beside["states"] = compare.described(model, encoded, names)
    label = phases.categorical(phase[:, offset:][past.phase >= 0])
    beside["history"] = past.table().assign(hidden_phase=label)
    own = pd.DataFrame(
        {
            "customer_id": encoded.customer_id.to_numpy(),
            "hidden_phase": np.array(phases.PHASES, dtype=object)[phase[:, -1]].astype(str),
            "hidden_share": share[:, -1],
            "agrees": phase[:, -1] == past.phase[:, -1],
        }
    )
    return beside, own


def _customers(observed: pd.DataFrame, assigned: pd.DataFrame, past: History, coming: pd.DataFrame) -> pd.DataFrame:
    """Return the row of each customer: phase, why, since when, what comes next."""
    length, seen = history.runs(past)
    days = np.array(past.days, dtype="datetime64[s]")
    since = days[len(days) - length[:, -1]]
    joined = (assigned["phase"] == "new").to_numpy()
    closed = past.closed[:, -1]
    as_of = observed["as_of"].to_numpy("datetime64[s]")
    start = as_of - np.nan_to_num(observed["tenure_days"].to_numpy(float)).astype("timedelta64[D]")
    since = np.where(joined, start, np.where(closed, observed["ended_on"].to_numpy("datetime64[s]"), since))
    out = assigned.assign(since=since, since_seen=seen[:, -1] | joined | closed)
    out = pd.concat([out, observed[list(_SHOWN)]], axis=1)
    return out.merge(coming, on="customer_id", how="left", validate="one_to_one")


def _listed(rules: Sequence[phases.Rule]) -> pd.DataFrame:
    """Return the rules as a table, for the reader: phase, code, conditions."""
    return pd.DataFrame(
        [(rule.phase, rule.code, " and ".join(map(str, rule.conditions))) for rule in rules],
        columns=["phase", "code", "conditions"],
    )


def _told(beside: dict[str, pd.DataFrame]) -> str:
    if "differences" not in beside:
        return "too few quarters to compare them out of time"
    found = beside["differences"].set_index("target")["better"]
    told = [f"{target}: {better or 'no difference'}" for target, better in found.items() if target != "observations"]
    return f"better out of time: {', '.join(told)}"
