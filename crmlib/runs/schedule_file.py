"""``schedules.toml``: what runs when. Read strictly: what is wrong is said with file, job, key and remedy, before it runs."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from crmlib.errors import CrmError, DataError, NotFoundError, UsageError
from crmlib.runs import due, parameters, schedule_commands, secrets, servers

NAME = "schedules.toml"
EXAMPLE = Path(__file__).parent / NAME
"""What `crm schedule init` writes."""

CATCH_UP = ("skip", "latest", "all")
_KEEP = (1, 100_000)
_JOB_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_DURATION = re.compile(r"(\d+)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULTS: dict[str, Any] = {
    **{"limit": "2h", "retries": 2, "back_off": "5m", "catch_up": "latest", "late_after": "1h", "keep": 30},
    **{"report": True, "parameters": {}, "after": []},
}
_KINDS: dict[str, tuple[type, str]] = {
    **{name: (str, "a text") for name in ("notebook", "at", "zone", "limit", "back_off", "catch_up", "late_after")},
    **{"run": (list, "a list of texts"), "after": (list, "a list of texts"), "parameters": (dict, "a table")},
    **{"retries": (int, "a whole number"), "keep": (int, "a whole number"), "report": (bool, "true or false")},
}


@dataclass(frozen=True)
class Job:
    """One job of the file. Times are in seconds; ``run`` is a command line of crm, or else ``notebook`` is given."""

    name: str
    run: tuple[str, ...]
    notebook: Path | None
    parameters: Mapping[str, Any]
    at: due.Times
    zone: str
    after: tuple[str, ...]
    limit: float  # wall-clock time of an attempt, after which it and all it started are ended
    retries: int  # further tries after the first
    back_off: float  # pause before the second try; it doubles for each further one
    catch_up: str  # skip, latest or all of what was due while nothing ran
    late_after: float  # from when on a run is late; with catch_up = "skip" it is then left out
    keep: int  # newest runs whose notebooks, reports and logs are kept
    report: bool

    @property
    def kind(self) -> str:
        """Either notebook or command."""
        return "notebook" if self.notebook else "command"


@dataclass(frozen=True)
class Schedule:
    """The jobs of a file by name, each after those it waits for; ``keep`` is for runs by hand, None to keep all."""

    file: Path
    jobs: Mapping[str, Job]
    keep: int | None = None


def find(data: Path) -> Path:
    """Return the file of a data folder, else the project's; raises NotFoundError where there is neither."""
    if (data / NAME).is_file():
        return data / NAME
    try:
        own = servers.project_folder("notebooks").parent / NAME
    except NotFoundError:
        own = data / NAME
    if not own.is_file():
        raise NotFoundError(f"there is no {data / NAME}; `crm schedule init` writes one to begin from")
    return own


def read(file: Path, data: Path | None = None) -> Schedule:
    """Return the schedule in a file.

    Raises DataError naming file, job and key for whatever is unknown, of the wrong type or cannot work: commands and
    arguments, notebooks and parameters, times, zones, jobs that wait for each other in a circle, and, where ``data`` is
    given, values that are a secret of that data folder themselves.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: no valid TOML ({error}); mend that line") from error
    except OSError as error:
        raise NotFoundError(f"{file}: cannot be read ({error.strerror})") from error
    unknown = sorted(set(content) - {"zone", "keep", "job"})
    if unknown:
        raise DataError(f"{file}: unknown key {unknown[0]}; there are zone, keep and the tables [job.NAME]")
    _shapes({"keep": content.get("keep", 1)}, str(file))
    keep = _in_range(content["keep"], _KEEP, f"{file}: keep") if "keep" in content else None
    zone = _checked(lambda: due.zone(content.get("zone", "UTC")).key, f"{file}: zone")
    tables = content.get("job", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise DataError(f"{file}: job is {tables!r}; write a table [job.NAME] for each job")
    jobs: dict[str, Job] = {}
    for name in _ordered(tables, file):
        jobs[name] = _job(name, tables[name], zone, jobs, file)
        if data is not None:
            kept = {"run": list(jobs[name].run), **jobs[name].parameters}
            _checked(partial(secrets.refuse_values, kept, data), f"{file}: job {name}")
    return Schedule(file, jobs, keep)


def seconds(text: str) -> float:
    """Return a duration in seconds: a whole number and s, m, h or d.

    >>> seconds("90m")
    5400.0
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no duration; write a whole number with s, m, h or d, like 90m")
    return float(found[1]) * _SECONDS[found[2]]


def settings(job: Job, logical_date: dt.datetime, schedule: Schedule) -> dict[str, Any]:
    """Return how a slot of a job runs, as plain JSON, with the placeholders filled in and what it waits for."""
    words = placeholders(logical_date, job.zone)
    values = filled(dict(job.parameters), words)
    command = filled(list(job.run), words)
    if job.notebook:
        command = ["run", str(job.notebook), "--values", json.dumps(values, ensure_ascii=False)]
        command += ["--report"] if job.report else []
    waits = {name: schedule.jobs[name] for name in job.after}
    return {
        "kind": job.kind,
        "name": job.notebook.stem if job.notebook else job.run[0],
        "command": command,
        "parameters": values,
        "folder": str(schedule.file.parent),
        "after": {
            name: due.last_until(other.at, other.zone, logical_date).isoformat() for name, other in waits.items()
        },
        "limit_seconds": job.limit,
        "retries": job.retries,
        "back_off_seconds": job.back_off,
        "late_after_seconds": job.late_after,
    }


def placeholders(logical_date: dt.datetime, zone: str) -> dict[str, str]:
    """Return the words in braces that parameters and arguments may hold, for a moment (naive UTC) seen from a zone.

    >>> placeholders(dt.datetime(2026, 2, 28, 23, 30), "Europe/Moscow")["day_before"]
    '2026-02-28'
    """
    day = due.local_day(logical_date, zone)
    before = day - dt.timedelta(days=1)
    month_before = day.replace(day=1) - dt.timedelta(days=1)
    return {
        "logical_date": day.isoformat(),
        "logical_time": f"{logical_date.isoformat()}Z",
        "day_before": before.isoformat(),
        "month": f"{day:%Y-%m}",
        "month_before": f"{month_before:%Y-%m}",
        "month_before_end": month_before.isoformat(),
    }


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """Return a value with its placeholders filled in, in lists and tables too; raises UsageError for an unknown one."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: _word(found[1], words), value)
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, words) for key, item in value.items()}
    return value


def _word(name: str, words: Mapping[str, str]) -> str:
    if name not in words:
        raise UsageError(f"{{{name}}} is no placeholder; there are {', '.join(f'{{{word}}}' for word in words)}")
    return words[name]


# ---------------------------------------------------------------- one job


def _job(name: str, table: Mapping[str, Any], zone: str, known: Mapping[str, Job], file: Path) -> Job:
    where = f"{file}: job {name}"
    _shapes(table, where)
    if ("run" in table) == ("notebook" in table):
        raise DataError(f"{where}: give either run (a command of crm) or notebook, one of the two")
    if "notebook" not in table and (extra := sorted({"parameters", "report"} & set(table))):
        raise DataError(f"{where}, {extra[0]}: only a notebook has it; put the command's arguments into run")
    given = _DEFAULTS | dict(table)
    at, own_zone = _times(given, zone, [known[other] for other in given["after"]], where)
    job = Job(
        name=name,
        run=tuple(given.get("run", ())),
        notebook=_notebook(given["notebook"], file, where) if "notebook" in table else None,
        parameters=given["parameters"],
        at=at,
        zone=own_zone,
        after=tuple(given["after"]),
        retries=_in_range(given["retries"], (0, 1000), f"{where}, retries"),
        catch_up=_one_of(given["catch_up"], CATCH_UP, f"{where}, catch_up"),
        keep=_in_range(given["keep"], _KEEP, f"{where}, keep"),
        report=given["report"] and "notebook" in table,
        back_off=_checked(lambda: seconds(given["back_off"]), f"{where}, back_off"),
        late_after=_checked(lambda: seconds(given["late_after"]), f"{where}, late_after"),
        limit=_limit(given["limit"], f"{where}, limit"),
    )
    _check_content(job, file, where)
    return job


def _shapes(table: Mapping[str, Any], where: str) -> None:
    for key, value in table.items():
        if key not in _KINDS:
            raise DataError(f"{where}: unknown key {key}; there are {', '.join(sorted(_KINDS))}")
        kind, words = _KINDS[key]
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise DataError(f"{where}, {key}: {value!r} was found; {words} is wanted")


def _times(given: Mapping[str, Any], zone: str, before: list[Job], where: str) -> tuple[due.Times, str]:
    """Return when a job is due: as it says, else when those are that it waits for."""
    if "at" in given:
        own = _checked(lambda: due.zone(given.get("zone", zone)).key, f"{where}, zone")
        return _checked(lambda: due.parse(given["at"]), f"{where}, at"), own
    if "zone" in given:
        raise DataError(f"{where}, zone: there is no at beside it; give at too, or leave zone out")
    times = {(job.at.text, job.zone): job for job in before}
    if len(times) != 1:
        why = "the jobs it waits for are due at different times" if times else "it waits for no other job"
        raise DataError(f"{where}, at: is missing and {why}; write when it is due, like '30 2 * * *'")
    [job] = times.values()
    return job.at, job.zone


def _notebook(text: str, file: Path, where: str) -> Path:
    """Return the notebook: a path from the file's folder, or the name of one in the project's notebooks."""
    own = (file.parent / text).resolve()
    if own.is_file():
        return own
    try:
        named = (servers.project_folder("notebooks") / Path(text).with_suffix(".ipynb")).resolve()
    except NotFoundError:
        named = own
    if "/" in text or "\\" in text or not named.is_file():
        raise DataError(f"{where}, notebook: there is no {text!r}, neither at {own} nor among the project's notebooks")
    return named


def _check_content(job: Job, file: Path, where: str) -> None:
    """Check command and parameters as the run will see them, on an example date."""
    words = placeholders(dt.datetime(2026, 1, 31, 12), job.zone)
    if job.notebook:
        key = f"{where}, parameters"
        values = _checked(lambda: filled(dict(job.parameters), words), key)
        notebook = job.notebook
        _checked(lambda: parameters.check(notebook, values), key)
        _checked(lambda: json.dumps(values, allow_nan=False), key)
    else:
        arguments = _checked(lambda: filled(list(job.run), words), f"{where}, run")
        _checked(lambda: schedule_commands.check(arguments), f"{where}, run")


def _limit(text: str, where: str) -> float:
    limit = float(_checked(lambda: seconds(text), where))
    if limit == 0:
        raise DataError(f"{where}: {text!r} leaves no time; give at least 1s")
    return limit


def _in_range(value: int, allowed: tuple[int, int], where: str) -> int:
    if not allowed[0] <= value <= allowed[1]:
        raise DataError(f"{where}: {value} was found; give {allowed[0]} to {allowed[1]}")
    return value


def _one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    if value not in allowed:
        raise DataError(f"{where}: {value!r} was found; write one of {', '.join(allowed)}")
    return value


def _checked(act: Callable[[], Any], where: str) -> Any:
    """Return what an act returns; what it refuses is said with the place in the file."""
    try:
        return act()
    except (CrmError, ValueError, TypeError) as error:
        raise DataError(f"{where}: {error}") from error


# ---------------------------------------------------------------- which job comes after which


def _ordered(tables: Mapping[str, Mapping[str, Any]], file: Path) -> list[str]:
    """Return the names of the jobs, each after those it waits for."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            _circle((*path[path.index(name) :], name), file)
        if name in order:
            return
        after = tables[name].get("after", [])
        for other in after if isinstance(after, list) else []:
            if not isinstance(other, str) or other not in tables:
                raise DataError(f"{file}: job {name}, after: there is no job {other!r}; there are {', '.join(tables)}")
            visit(other, (*path, name))
        order.append(name)

    for name in tables:
        if not _JOB_NAME.fullmatch(name):
            raise DataError(
                f"{file}: job {name!r}: a name has small letters, digits and _, begins with a letter, at most 64"
            )
        visit(name, ())
    return order


def _circle(path: tuple[str, ...], file: Path) -> NoReturn:
    raise DataError(f"{file}: job {path[0]}, after: {' waits for '.join(path)}; take one of them out")
