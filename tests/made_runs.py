"""A made-up ledger of scheduled runs: a week and a half of four jobs with a failure, a miss, a slow and a late one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from crmlib.runs import alerts, reports
from crmlib.store import session
from crmlib.store.tables import Run, ScheduledJob, Slot, SlotAttempt

DAY = dt.timedelta(days=1)
LOG = "$ crm run forecast\nreading <b>the</b> table\ncrm: cell 4 failed: ValueError: no rows after 30 January 2026\n"


def make(data: Path, *, now: dt.datetime, notebook: Path | None = None) -> None:
    """Fill the store of a folder; ``notebook`` is an executed one, for the newest run of ``forecast`` that succeeded."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "logs" / "schedule").mkdir(parents=True, exist_ok=True)
    today = now.replace(hour=2, minute=0, second=0)
    with session.session(data) as store:
        for job, hours in (("load", 0), ("scores", 1), ("forecast", 2), ("weekly_report", 3)):
            due = today + dt.timedelta(hours=hours)
            due += DAY if due <= now else dt.timedelta()
            store.add(ScheduledJob(job=job, known_since=now - 12 * DAY, planned_until=now, next_due=due))
        for back in range(11, -1, -1):
            date = today - back * DAY
            add(store, data, "load", date, seconds=240 + 7 * (back % 4))
            add(
                store, data, "scores", date + dt.timedelta(hours=1), seconds=900 if back == 0 else 310 + 11 * (back % 5)
            )
            failed = back in (0, 4)
            at = date + dt.timedelta(hours=2)
            if back == 4:
                add(store, data, "forecast", at, seconds=31, state="failed", tries=2, message="cell 2 failed: no space")
            elif back == 0:
                message = "04_forecast.ipynb: cell 4 failed: ValueError: no rows after 30 January 2026"
                add(store, data, "forecast", at, seconds=48, state="failed", tries=2, message=message)
            else:
                add(store, data, "forecast", at, seconds=95 + 3 * (back % 6), output=notebook if back == 1 else None)
            if back % 7 == 3:
                add(store, data, "weekly_report", date + dt.timedelta(hours=3), seconds=40)
            if back == 0 and failed:
                after = {"code": "after", "job": "forecast", "state": "failed"}
                when = at + dt.timedelta(minutes=9)
                store.add(
                    slot("weekly_report", date + dt.timedelta(hours=3), "skipped", finished_at=when, reason=after)
                )
        store.add(slot("load", now - dt.timedelta(hours=5), "waiting", settings={"late_after_seconds": 3600}))
        store.commit()
    content = {
        "job": "forecast",
        "logical_date": (today + dt.timedelta(hours=2)).isoformat(),
        "attempt": 2,
        "attempts": 2,
    }
    content["message"] = "04_forecast.ipynb: cell 4 failed: ValueError: no rows after 30 January 2026"
    alerts.raise_alert(data, topic="failed/forecast", code="failed", content=content, now=now)
    stale = {"table": "transactions", "newest": "2026-01-28", "age_days": 3, "limit_days": 2}
    alerts.raise_alert(data, topic="stale/transactions", code="stale", content=stale, now=now)


def slot(job: str, date: dt.datetime, state: str, **values: Any) -> Slot:
    given: dict[str, Any] = {"attempt": 0, "tries": 0, "not_before": date, "settings": {}, **values}
    return Slot(job=job, logical_date=date, state=state, **given)


def add(
    store: Any,
    data: Path,
    job: str,
    date: dt.datetime,
    *,
    seconds: float,
    state: str = "succeeded",
    tries: int = 1,
    message: str | None = None,
    output: Path | None = None,
) -> int:
    """Add a slot with its attempts, each with a log; return its number."""
    began = date + dt.timedelta(seconds=20)
    last = began + (tries - 1) * dt.timedelta(minutes=8) + dt.timedelta(seconds=seconds)
    made = slot(job, date, state, attempt=tries, tries=tries, started_at=began, finished_at=last, message=message)
    store.add(made)
    store.flush()
    for number in range(1, tries + 1):
        start = began + (number - 1) * dt.timedelta(minutes=8)
        end = start + dt.timedelta(seconds=seconds)
        run = Run(kind="notebook", name=f"{job}.ipynb", parameters={}, state=state, started_at=start, finished_at=end)
        store.add(run)
        store.flush()
        log = f"logs/schedule/{made.slot_id:06d}-{number}.log"
        (data / log).write_text(LOG if state == "failed" else f"$ crm run {job}\ndone\n", encoding="utf-8")
        store.add(
            SlotAttempt(
                **{"slot_id": made.slot_id, "attempt": number, "state": state, "worker": "here/1/0", "log": log},
                **{"started_at": start, "finished_at": end, "message": message, "run_id": run.run_id},
            )
        )
        if output is not None:
            name = f"{run.run_id:06d}-{job}"
            (data / "runs").mkdir(exist_ok=True)
            (data / "runs" / f"{name}.ipynb").write_bytes(output.read_bytes())
            page = data / "reports" / f"{name}.html"
            versions = {
                "crmlib": "0.1.0",
                "warehouse": 3,
                "run": run.run_id,
                "job": job,
                "logical_date": date.isoformat(),
            }
            title = reports.title_of(output)
            reports.make(output, page, title=title, parameters={"seed": 7}, versions=versions, made_at=end)
            run.output, made.output, made.report = f"runs/{name}.ipynb", f"runs/{name}.ipynb", f"reports/{name}.html"
    return int(made.slot_id)
