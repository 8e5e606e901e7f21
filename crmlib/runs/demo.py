"""The main job on a made-up bank: sample, load, check, train, score, notebooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from crmlib import __version__, paths, samples, warehouse
from crmlib.errors import RunError, UsageError
from crmlib.runs import jobs, servers
from crmlib.runs.stages import Stages, shown, size
from crmlib.warehouse import quality

FEWEST_CUSTOMERS = 2000
_MADE_BY_THE_DEMO = ("warehouse", "models", "scores", "lists", "exports", "quarantine", "staging", "runs")


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
        with stages.stage("check", "quality and freshness") as stage:
            wh = warehouse.open(paths.warehouse(data))
            found = quality.summary(quality.check(wh.snapshot(jobs.last_day(wh))))
            stage.say(f"{int(found['rows'].sum()):,} rows in {int((found['rows'] > 0).sum())} tables")
            stage.say(f"{len(quality.quarantine(data)):,} findings in quarantine")
        started = [_start("01_data_quality", data)]  # needs no model, so it runs beside the training
        try:
            jobs.train(data, stages=stages, seed=seed)
            jobs.score(data, stages=stages)
            with stages.stage("notebooks", "executed through papermill") as stage:
                started.append(_start("02_propensity", data))
                for process in started:
                    _finish(process)
                stage.say(f"{len(started)} executed copies in {shown(data / 'runs')}")
        finally:
            for process in started:
                if process.poll() is None:
                    process.terminate()
                    process.communicate()
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


def _start(name: str, data: Path) -> subprocess.Popen[str]:
    """Start `crm run` on a notebook in a process of its own."""
    notebook = servers.project_folder("notebooks") / f"{name}.ipynb"
    command = [sys.executable, "-m", "crmlib.cli", "run", "--data", str(data), str(notebook)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(process: subprocess.Popen[str]) -> None:
    """Wait for a notebook; raises RunError with its own sentence where it failed."""
    output = process.communicate()[0].strip()
    if process.returncode:
        raise RunError((output.splitlines() or ["a notebook failed"])[-1].removeprefix("crm: "))
