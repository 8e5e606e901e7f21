"""The demo: a made-up company, its files, and the main job on them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from crmlib import __version__, paths, samples
from crmlib.errors import UsageError
from crmlib.runs import demo_bank, demo_dairy, jobs
from crmlib.runs.stages import Stages, shown, size
from crmlib.serving import warm

_SIZES = {"bank": (5000, 50_000, "customers"), "dairy": (12, 48, "outlets")}
"""Company: the fewest customers or outlets that its models can learn from, how many there are by default, their name."""

_MADE_BY_THE_DEMO = (
    *("warehouse", "models", "scores", "segments", "lists", "offers", "decisions", "campaigns", "exports"),
    *("quarantine", "staging", "runs", "reports", "cache", "gallery"),
)


def checked_size(company: str, customers: int | None) -> int:
    """Return how large the sample is to be; raises UsageError where nothing could be learned from it.

    >>> checked_size("bank", None)
    50000
    """
    fewest, default, name = _SIZES[company]
    if customers is not None and customers < fewest:
        raise UsageError(f"--customers is {customers}; the models need at least {fewest:,} made-up {name}")
    return customers or default


def run(data: Path, *, customers: int, seed: int, company: str = "bank") -> Stages:
    """Run the whole job of a company below ``data`` and print a summary.

    The sample of an earlier run with the same settings is used again; one with other settings is replaced, with all
    that was made of it, so that two made-up companies are never mixed. Raises UsageError for a folder with other data.
    """
    stages = Stages()
    what = {"bank": "20 products, 24 months", "dairy": "16 products, 3 years"}[company]
    with stages.stage("sample", f"a {company} of {customers:,} {_SIZES[company][2]}, {what}") as stage:
        sample = _sample(data, company, customers=customers, seed=seed)
        stage.say(f"{len(sample.files)} files in {shown(sample.folder)} ({size(sample.folder)})")
    with jobs.recorded(data, "demo", {"company": company, "customers": customers, "seed": seed}), warm.notebooks():
        (demo_bank if company == "bank" else demo_dairy).run(sample, data=data, seed=seed, stages=stages)
    print(f"\n{stages.seconds:.0f} s in all, of which:")
    for one in sorted(stages.done, key=lambda stage: -stage.seconds)[:4]:
        print(f"  {one.name:<10} {one.seconds:5.1f} s")
    made = {"Call lists": "lists", "Scores and forecasts": "scores", "Reports": "runs"}
    print("; ".join(f"{name}: {shown(data / folder)}" for name, folder in made.items() if (data / folder).exists()))
    return stages


def _sample(data: Path, company: str, *, customers: int, seed: int) -> samples.Sample:
    folder, mark = jobs.sample_folder(data, company), jobs.demo_mark(data)
    wanted = {"company": company, "customers": customers, "seed": seed, "release": __version__}
    if mark.exists() and mark.read_text(encoding="utf-8") == json.dumps(wanted):
        return samples.open_sample(folder)
    if paths.warehouse(data).exists():
        if not mark.exists():
            raise UsageError(f"{data} holds data of your own; give the demo another folder, for example --data demo")
        if os.environ.get("CRM_STORE"):
            raise UsageError(
                "the demo does not replace its company in a shared store; unset CRM_STORE or take another --data"
            )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("{}", encoding="utf-8")  # what follows may be killed: the folder stays the demo's, to be made anew
    if paths.warehouse(data).exists():
        for name in _MADE_BY_THE_DEMO:
            shutil.rmtree(data / name, ignore_errors=True)
        for file in [*data.glob("store.sqlite*"), data / "points.toml"]:
            file.unlink(missing_ok=True)
    progress = sys.stderr.isatty()
    if company == "bank":
        sample = samples.bank(customers=customers, seed=seed, folder=folder, progress=progress)
    else:
        sample = samples.dairy(outlets=customers, seed=seed, folder=folder, progress=progress)
    mark.write_text(json.dumps(wanted), encoding="utf-8")
    return sample
