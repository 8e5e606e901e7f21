"""The job behind `crm staffing`: contacts to come by half hour of local time, and the agents they need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import staffing as goals
from crmlib.decisions.staffing import Goal
from crmlib.errors import DataError
from crmlib.models import contact_load
from crmlib.models.contact_load import Forecast
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets
from crmlib.warehouse.snapshot import Snapshot, parse_date

CHANNEL = "call"
HISTORY_WEEKS = 26


def staffing(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Forecast incoming calls by half hour from a day on (default: the last record), find the agents they need, save.

    What is promised to callers stands in ``staffing.toml`` in the data folder, or is the default. Returns the table saved:
    channel, as_of, starts_at (local), starts_at_utc, ahead (weeks), contacts, low_80, high_80, low_95, high_95, spread,
    code, handling_seconds, agents, service_level, abandoned, met, busy (see ``decisions.staffing.plan``); beside it
    "accuracy", "history" (half hours of the last weeks) and "assumptions" (name, value, code). Raises DataError where
    fewer than 14 days of incoming calls are on record.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(parse_date(as_of) if as_of else last_day(wh))
    goal = goals.read(data / goals.FILE)
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, "staffing", parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("load", f"calls until {snapshot.as_of}") as stage:
            contacts = _contacts(snapshot)
            found, history = _forecast(contacts, snapshot, goal, seed, stage)
        with stages.stage("agents", f"{goal.service_level:.0%} within {goal.within_seconds:g} s") as stage:
            seconds, source = _handling(contacts, snapshot, goal)
            table = goals.plan(found.table, handling_seconds=seconds, goal=goal).assign(
                as_of=pd.Timestamp(snapshot.as_of)
            )
            _tell(table, seconds, source, stage)
        beside = {
            "accuracy": found.accuracy,
            "history": history,
            "assumptions": _assumptions(goal, found, seconds, source),
        }
        with stages.stage("save", "half hours ahead"):
            score_sets.save(
                table,
                data=data,
                model=contact_load.NAME,
                model_version=1,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=beside,
                run_id=run_id,
            )
    return table


def _contacts(snapshot: Snapshot) -> pd.DataFrame:
    """Return the incoming calls on record."""
    rows = snapshot.select("contacts").subquery("rows")
    columns = [rows.c[name] for name in ("occurred_at", "direction", "channel", "duration_seconds")]
    query = sa.select(*columns).where(rows.c.direction == "in", rows.c.channel == CHANNEL)
    return snapshot.warehouse.read(query)


def _forecast(
    contacts: pd.DataFrame, snapshot: Snapshot, goal: Goal, seed: int, stage: Stage
) -> tuple[Forecast, pd.DataFrame]:
    """Return the forecast and the half hours of the last weeks."""
    company = snapshot.warehouse.company
    zone, holidays = company.time_zone, company.holidays
    until = contact_load.last_whole_day(snapshot.as_of, time_zone=zone)
    days = contact_load.record(
        contacts, time_zone=zone, until=until, channel=CHANNEL, holidays=holidays, opening=goal.opening
    )
    found = contact_load.forecast(days, time_zone=zone, weeks=goal.weeks, channel=CHANNEL, holidays=holidays, seed=seed)
    outside = float(days.counts.sum() - days.totals.sum())
    stage.say(f"{days.counts.sum():,.0f} calls in {len(days.days):,} days, {outside:,.0f} outside opening hours")
    if len(found.accuracy):
        row = found.accuracy.iloc[0]
        # Measured is the choice made half of the origins ago, which may be another method than today's.
        stage.say(
            f"{found.method}; tested ({row['method']}): WAPE {row['wape']:.1%}, seasonal naive {row['wape_naive']:.1%}"
        )
    else:
        stage.say(
            f"{found.method}: too short a record to measure its errors (under {contact_load.WEEKS_TO_VALIDATE} weeks)"
        )
    recent = contact_load.half_hours(days, time_zone=zone, channel=CHANNEL)
    since = pd.Timestamp(until) - pd.Timedelta(weeks=HISTORY_WEEKS)
    return found, recent[recent["starts_at"] > since].reset_index(drop=True)


def _handling(contacts: pd.DataFrame, snapshot: Snapshot, goal: Goal) -> tuple[float, str]:
    """Return how long a call keeps an agent busy, and where that comes from: given, recorded, or the company's minutes."""
    if goal.handling_seconds is not None:
        return goal.handling_seconds, "given"
    seconds = contact_load.handling(contacts, channel=CHANNEL, until=snapshot.as_of)
    if np.isfinite(seconds):
        return seconds, "recorded"
    minutes = snapshot.warehouse.company.contact_minutes.get(CHANNEL, 0.0)
    if minutes <= 0:
        raise DataError(
            f"contacts.duration_seconds is empty for channel {CHANNEL} and the company file has no "
            f"contact_minutes.{CHANNEL}; write handling_seconds to {goals.FILE}"
        )
    return minutes * 60, "company"


def _assumptions(goal: Goal, found: Forecast, seconds: float, source: str) -> pd.DataFrame:
    """Return what the plan rests on: name, value (a number, or none), code (where it comes from, or which one)."""
    rows = [
        ("service_level", goal.service_level, ""),
        ("within_seconds", goal.within_seconds, ""),
        ("patience_seconds", goal.patience_seconds, ""),
        ("handling_seconds", seconds, source),
        ("method", float("nan"), found.method),
        ("reason", float("nan"), found.reason),
        ("opening", float("nan"), "found" if goal.opening is None else "given"),
    ]
    return pd.DataFrame(rows, columns=["name", "value", "code"])


def _tell(table: pd.DataFrame, seconds: float, source: str, stage: Stage) -> None:
    busy = table[table["agents"] > 0]
    if busy.empty:
        stage.say("no half hour ahead is open")
        return
    hours = busy["agents"].sum() / 2
    stage.say(f"{hours:,.0f} agent hours, at most {busy['agents'].max()} at once, {seconds:.0f} s a call ({source})")
    stage.say(f"the goal is met in a half hour with probability {busy['met'].mean():.0%} on average")
