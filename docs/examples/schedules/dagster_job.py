"""Dagster calls the same tick as cron does; what is due, retries and history stay in crmlib's own ledger."""

import os
import subprocess

import dagster


@dagster.op
def tick(context: dagster.OpExecutionContext) -> None:
    command = ["/srv/crm/.venv/bin/crm", "schedule", "tick"]
    environment = {**os.environ, "CRM_DATA": "/srv/crm/data"}
    done = subprocess.run(command, cwd="/srv/crm", env=environment, capture_output=True, text=True, check=False)
    context.log.info(done.stdout)
    if done.returncode:
        raise dagster.Failure(done.stderr or done.stdout)


@dagster.job
def crm_tick():
    tick()


schedules = dagster.Definitions(
    jobs=[crm_tick], schedules=[dagster.ScheduleDefinition(job=crm_tick, cron_schedule="* * * * *")]
)
