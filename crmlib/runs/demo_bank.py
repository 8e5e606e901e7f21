"""The main job on the made-up bank: load, segment, train, score, offers, who leaves, who is worth what, notebooks."""

from __future__ import annotations

import shutil
from pathlib import Path

from crmlib.runs import churn_jobs, jobs, offer_jobs, retention_jobs, uplift_jobs, value_jobs
from crmlib.runs.lanes import lane
from crmlib.runs.stages import Stages, shown
from crmlib.samples import Sample
from crmlib.warehouse import LoadReport

LARGE = 300_000
"""Rows of customers from which on one process at a time runs beside the main one."""


def run(sample: Sample, *, data: Path, seed: int, stages: Stages) -> None:
    """Load the sample bank and do with it all that a bank does."""
    loaded = jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=stages)
    shutil.copyfile(sample.folder / "points.toml", data / "points.toml")
    # What does not wait for the next stage runs beside it, in two processes at most: in one where each needs gigabytes.
    with lane(data) as first, lane(data) as other:
        second = other if _customers(loaded) < LARGE else first
        segments = first("segment")
        beside = [first(name) for name in ("lifecycle", "points", "loyalty", "demand", "staffing")]
        notebooks = [first("run", name) for name in ("01_data_quality", "03_segments", "08_loyalty")]
        jobs.train(data, stages=stages, seed=seed)
        jobs.score(data, stages=stages)
        notebooks.append(second("run", "05_campaign_effect"))
        with stages.stage("segments", "made beside the training") as stage:
            for line in segments.result():
                stage.say(line)
        churn_jobs.churn(data, stages=stages, seed=seed)
        notebooks.append(second("run", "06_churn"))
        value_jobs.value(data, stages=stages, seed=seed)
        notebooks.append(second("run", "07_customer_value"))
        uplift_jobs.uplift(data, stages=stages, seed=seed)
        offer_jobs.offers(data, stages=stages)
        notebooks += [second("run", "04_next_best_offer"), second("run", "02_propensity")]
        with stages.stage("beside", "phases, points, loyalty, demand and calls, made beside the other stages") as stage:
            for job in beside:
                for line in job.result():
                    stage.say(line)
        retention_jobs.retention(data, stages=stages)
        with stages.stage("notebooks", "executed through papermill") as stage:
            for notebook in notebooks:
                notebook.result()
            stage.say(f"{len(notebooks)} executed copies in {shown(data / 'runs')}")


def _customers(loaded: LoadReport) -> int:
    """Return how many rows of customers the files hold."""
    return int(loaded.counts.set_index("table")["input"].get("customers", 0))
