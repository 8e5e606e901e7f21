"""The main job on a made-up bank: sample, load, segment, train, score, offers, who leaves, who is worth what, notebooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from crmlib import __version__, paths, samples
from crmlib.errors import RunError, UsageError
from crmlib.runs import churn_jobs, jobs, offer_jobs, retention_jobs, uplift_jobs, value_jobs
from crmlib.runs.stages import Stages, shown, size

FEWEST_CUSTOMERS = 5000
_MADE_BY_THE_DEMO = (
    *("warehouse", "models", "scores", "segments", "lists", "offers", "decisions", "campaigns", "exports"),
    *("quarantine", "staging", "runs"),
)


def run(data: Path, *, customers: int, seed: int) -> Stages:
    """Run the whole job below ``data`` and print a summary.

    The sample of an earlier run with the same settings is used again; one with other settings is replaced, with all
    that was made of it, so that two made-up banks are never mixed. Raises UsageError for a folder with other data.
    """
    stages = Stages()
    with stages.stage("sample", f"a bank of {customers:,} customers, 20 products, 24 months") as stage:
        sample = _sample(data, customers=customers, seed=seed)
        stage.say(f"{len(sample.files)} files in {shown(sample.folder)} ({size(sample.folder)})")
    with jobs.recorded(data, "demo", {"customers": customers, "seed": seed}):
        jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=stages)
        shutil.copyfile(sample.folder / "points.toml", data / "points.toml")
        # What does not wait for the next stage runs beside it, in two processes at most.
        with _beside(data) as first, _beside(data) as second:
            segments = first("segment")
            beside = [first("lifecycle"), first("points"), first("loyalty")]
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
            with stages.stage("loyalty", "phases, points and loyalty, made beside the other stages") as stage:
                for job in beside:
                    for line in job.result():
                        stage.say(line)
            retention_jobs.retention(data, stages=stages)
            with stages.stage("notebooks", "executed through papermill") as stage:
                for notebook in notebooks:
                    notebook.result()
                stage.say(f"{len(notebooks)} executed copies in {shown(data / 'runs')}")
    print(f"\n{stages.seconds:.0f} s in all, of which:")
    for one in sorted(stages.done, key=lambda stage: -stage.seconds)[:4]:
        print(f"  {one.name:<10} {one.seconds:5.1f} s")
    print(f"Call lists: {shown(data / 'lists')}; scores: {shown(data / 'scores')}; reports: {shown(data / 'runs')}.")
    return stages


def _sample(data: Path, *, customers: int, seed: int) -> samples.Sample:
    folder, mark = jobs.sample_folder(data), jobs.demo_mark(data)
    wanted = {"customers": customers, "seed": seed, "release": __version__}
    if mark.exists() and mark.read_text(encoding="utf-8") == json.dumps(wanted):
        return samples.open_sample(folder)
    if paths.warehouse(data).exists():
        if not mark.exists():
            raise UsageError(f"{data} holds data of your own; give the demo another folder, for example --data demo")
        if os.environ.get("CRM_STORE"):
            raise UsageError(
                "the demo does not replace its bank in a shared store; unset CRM_STORE or take another --data"
            )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("{}", encoding="utf-8")  # what follows may be killed: the folder stays the demo's, to be made anew
    if paths.warehouse(data).exists():
        for name in _MADE_BY_THE_DEMO:
            shutil.rmtree(data / name, ignore_errors=True)
        for file in data.glob("store.sqlite*"):
            file.unlink()
    sample = samples.bank(customers=customers, seed=seed, folder=folder, progress=sys.stderr.isatty())
    mark.write_text(json.dumps(wanted), encoding="utf-8")
    return sample


@contextmanager
def _beside(data: Path) -> Iterator[Callable[..., Future[list[str]]]]:
    """Run `crm` commands in processes of their own, one after the other; leaving ends the one that still runs."""
    running: set[subprocess.Popen[str]] = set()

    def run(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "crmlib.cli", arguments[0], "--data", str(data), *arguments[1:]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.add(process)
        lines = process.communicate()[0].strip().splitlines()
        running.discard(process)
        if process.returncode:
            raise RunError((lines or [f"crm {' '.join(arguments)} failed"])[-1].removeprefix("crm: "))
        return [" ".join(line.split()) for line in lines if " … " not in line]

    pool = ThreadPoolExecutor(1)
    try:
        yield lambda *arguments: pool.submit(run, *arguments)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            process.terminate()
        pool.shutdown()
