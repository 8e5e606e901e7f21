"""Airflow calls the same tick as cron does; what is due, retries and history stay in crmlib's own ledger."""

import datetime as dt

from airflow.sdk import dag, task


@dag(
    schedule="* * * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=4,
    default_args={"retries": 0},
)
def crm_tick():
    @task.bash(env={"CRM_DATA": "/srv/crm/data"}, append_env=True, cwd="/srv/crm")
    def tick() -> str:
        return "/srv/crm/.venv/bin/crm schedule tick"

    tick()


crm_tick()
