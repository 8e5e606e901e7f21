"""What is installed, where the data are, whether they are fresh, what is wrong and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from crmlib import paths
from crmlib.errors import CrmError, EnvironmentFault
from crmlib.runs import clock
from crmlib.runs.stages import shown, size

LITTLE_SPACE = 2_000_000_000
STALE_DAYS = 45
_MARKS = {"ok": "ok  ", "hint": "note", "wrong": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``state`` is ok, hint (works, could be better) or wrong; ``remedy`` says how to mend it."""

    state: str
    what: str
    remedy: str = ""


def report(data: Path) -> int:
    """Print all findings and return the exit code: 0, or that of EnvironmentFault where something is wrong."""
    findings = list(examine(data))
    for finding in findings:
        print(f"{_MARKS[finding.state]}  {finding.what}")
        if finding.remedy:
            print(f"      → {finding.remedy}")
    wrong = sum(finding.state == "wrong" for finding in findings)
    print(f"\n{'everything needed is in order' if not wrong else f'{wrong} to mend'}")
    return EnvironmentFault.exit_code if wrong else 0


def examine(data: Path) -> Iterator[Finding]:
    """Yield the findings for a data folder."""
    yield from _packages()
    yield from _programs()
    yield from _folder(data)
    if data.is_dir():
        yield from _warehouse(data)
        yield from _models(data)
        yield from _runs(data)


def _packages() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("ok", f"Python {version} on {platform.system()}, crmlib {importlib.metadata.version('crmlib')}")
    wrong = []
    requirements = [Requirement(text) for text in importlib.metadata.requires("crmlib") or []]
    needed = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, {requirement.specifier} is needed")
    if wrong:
        yield Finding("wrong", "packages: " + "; ".join(wrong), "run `make setup`, or install from requirements.lock")
    else:
        yield Finding("ok", f"all {len(needed)} packages within their bounds")


def _programs() -> Iterator[Finding]:
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser:
        yield Finding("ok", f"browser for the dashboard tests: {browser}")
    else:
        yield Finding("hint", "no chromium: the tests of the dashboards will be skipped", "`make system` on Debian")
    if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb"):
        yield Finding("ok", "PostgreSQL programs for the tests are there")
    else:
        yield Finding("hint", "no PostgreSQL programs: its tests will be skipped", "`make system` on Debian")


def _folder(data: Path) -> Iterator[Finding]:
    if not data.is_dir():
        yield Finding(
            "hint", f"no data folder at {data}", "`crm demo` makes one with a sample bank, `crm load` with your files"
        )
        return
    if not os.access(data, os.W_OK):
        yield Finding("wrong", f"{data} cannot be written", "choose another folder with --data or ask for access")
    free = shutil.disk_usage(data).free
    state, remedy = (
        ("ok", "") if free > LITTLE_SPACE else ("wrong", "free some space, for example with `crm versions prune`")
    )
    yield Finding(state, f"data folder {shown(data)}: {size(data)}, {free / 1e9:.1f} GB free", remedy)


def _warehouse(data: Path) -> Iterator[Finding]:
    from crmlib import warehouse  # noqa: PLC0415  (the packages themselves may be what is wrong)

    try:
        served = warehouse.open(paths.warehouse(data))
    except CrmError as error:
        missing = not paths.warehouse(data).is_dir()
        yield Finding("hint" if missing else "wrong", str(error), "`crm load` makes a version" if missing else "")
        return
    yield Finding("ok", f"warehouse version {served.version} is served ({size(served.path)})")
    if served.period is None:
        yield Finding("hint", "the warehouse holds no events", "load transactions or holdings with `crm load`")
        return
    last = served.period[1]
    age = (clock.now().date() - last).days
    if age > STALE_DAYS:
        yield Finding(
            "hint", f"the newest record is of {last}, {age} days ago", "load newer files before deciding on them"
        )
    else:
        yield Finding("ok", f"the newest record is of {last}, {age} days ago")
    orphans = [path for path in paths.warehouse(data).glob("*") if ".building" in path.name]
    if orphans:
        yield Finding(
            "hint", f"{len(orphans)} work file(s) of running or killed loads", "`crm versions prune` removes orphans"
        )


def _models(data: Path) -> Iterator[Finding]:
    from crmlib.models import registry  # noqa: PLC0415

    try:
        model = registry.load(data)
    except CrmError as error:
        trained = (data / "models").is_dir() and any((data / "models").iterdir())
        yield Finding("wrong" if trained else "hint", str(error), "" if trained else "`crm train` fits one")
        return
    made = f"fitted on version {model.warehouse_version} of the warehouse and calibrated as of {model.as_of}"
    yield Finding("ok", f"propensity model version {model.version} loads and its checksum agrees; {made}")


def _runs(data: Path) -> Iterator[Finding]:
    if not (data / "store.sqlite").exists():
        return
    from crmlib.store import ledger  # noqa: PLC0415

    ended = ledger.mark_interrupted(data, now=clock.now())
    if ended:
        yield Finding("hint", f"{ended} run(s) ended without saying how; now marked as interrupted", "run them again")
    latest = ledger.runs(data, newest=1)
    if len(latest):
        last = latest.iloc[0]
        state = "ok" if last.state in ("succeeded", "running") else "hint"
        said = f": {last.message}" if state == "hint" and isinstance(last.message, str) else ""
        yield Finding(state, f"last run: {last['name']} {last.state}, begun {last.started_at} UTC{said}")
