"""Running a notebook through papermill: strict parameters, an atomic output, a state that lives in the store."""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmlib import __version__
from crmlib.errors import EnvironmentFault, RunError
from crmlib.runs import clock, parameters, scrubbed_notebooks, secrets
from crmlib.store import fence, files, ledger, session
from crmlib.store.tables import Pointer, Slot

INTERRUPTED = 130
"""Exit code of what was interrupted."""

log = logging.getLogger(__name__)


def run(notebook: Path, given: Mapping[str, Any], *, data: Path, progress: bool = False, report: bool = False) -> Path:
    """Execute a notebook and return the executed copy below ``data/runs``, with ``report`` also its page (``report_file``).

    The copy appears under its name only once the run has ended; a failed run leaves one that ends in ``-failed``.
    Raises UsageError, DataError or NotFoundError before anything starts (see ``parameters``), RunError where a cell
    fails or the kernel dies, EnvironmentFault where the copy cannot be written.
    """
    known = parameters.read(notebook)
    values = parameters.check(notebook, given)
    secrets.refuse_values(values, data)
    if "data" in known and "data" not in values:
        values["data"] = str(data)
    folder = data / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: cannot be written ({error.strerror}); choose another folder with --data"
        ) from error
    began = clock.now()
    run_id = ledger.start_run(data, kind="notebook", name=notebook.name, parameters=dict(values), now=began)
    output = folder / f"{run_id:06d}-{notebook.stem}.ipynb"
    working = _working(output)
    shown = {name: parameter.default for name, parameter in known.items()} | values
    try:
        _execute(notebook, working, values, data, progress)
        files.sync(working)
        working.replace(output)
        files.sync(folder)
        if report:
            _report(data, output, shown, run_id=run_id, made_at=began)
    except BaseException as error:
        kept = _keep(working if working.exists() else output, _failed(output))
        message = secrets.scrub(_reason(error), data)
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        code = RunError.exit_code if state == "failed" else INTERRUPTED
        below = str(kept.relative_to(data)) if kept else None
        ledger.finish_run(data, run_id, state=state, exit_code=code, now=clock.now(), output=below, message=message)
        if not isinstance(error, Exception):
            raise
        if report and kept:
            _report_failed(data, kept, shown, run_id=run_id, made_at=began)
        if isinstance(error, OSError):
            raise EnvironmentFault(f"{folder}: {message}; free some space or ask for access") from error
        where = f"; the partial notebook is {kept}" if kept else ""
        raise RunError(f"{notebook.name}: {message}{where}") from error
    ended = {"output": str(output.relative_to(data)), "warehouse_version": _served(data)}
    ledger.finish_run(data, run_id, state="succeeded", exit_code=0, now=clock.now(), **ended)  # type: ignore[arg-type]
    return output


def report_file(data: Path, output: Path | str) -> Path:
    """Return where the page of an executed notebook lies: ``data/reports``, under the notebook's name."""
    return data / "reports" / f"{Path(output).stem}.html"


def give_up(data: Path, run_id: int | None, message: str, *, now: dt.datetime) -> str | None:
    """Enter a run whose process was killed as failed, keeping the partial notebook; return that, below the data folder.

    One that ended by itself stays as it ended.
    """
    if run_id is None:
        return None
    run = ledger.run(data, run_id)
    output = _output(data, run)
    if run["state"] == "running":
        kept = _keep(_working(output), _failed(output)) if output else None
        below = str(kept.relative_to(data)) if kept else None
        code = RunError.exit_code
        ledger.finish_run(data, run_id, state="failed", exit_code=code, now=now, output=below, message=message)
        return below
    return str(run["output"]) if run["output"] else None


def working_copy(data: Path, run_id: int) -> Path | None:
    """Return the copy that a run writes while it goes on, None for a run of something else."""
    output = _output(data, ledger.run(data, run_id))
    return _working(output) if output else None


def stood_at(data: Path, run_id: int | None) -> str:
    """Return at which cell a run stands, in words, "" where nobody knows; its process may be dead."""
    output = _output(data, ledger.run(data, run_id)) if run_id is not None else None
    if output is None or not _working(output).exists():
        return ""
    import nbformat  # noqa: PLC0415  (slow to import)

    try:
        cells = nbformat.read(_working(output), as_version=4).cells
    except Exception:  # half a file, for want of space
        return ""
    for number, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        if cell.metadata.get("papermill", {}).get("status") == "running":
            return f"cell {number} was running"
    return ""


def _output(data: Path, run: Mapping[str, Any]) -> Path | None:
    """Return the name under which a run's executed copy appears."""
    if run["kind"] != "notebook":
        return None
    return data / "runs" / f"{run['run_id']:06d}-{Path(run['name']).stem}.ipynb"


def _working(output: Path) -> Path:
    return output.with_name(f".{output.stem}.running.ipynb")


def _failed(output: Path) -> Path:
    return output.with_name(f"{output.stem}-failed.ipynb")


def _report(data: Path, output: Path, values: Mapping[str, Any], *, run_id: int, made_at: dt.datetime) -> Path:
    """Write the page of an executed notebook, in the language that is one of its parameters, if it has it."""
    from crmlib.runs import reports  # noqa: PLC0415  (slow to import)

    language = values.get("language")
    return reports.make(
        output,
        report_file(data, output),
        title=reports.title_of(output),
        parameters=values,
        versions=_versions(data, run_id),
        made_at=made_at,
        language=language if language in ("en", "ru") else "en",
    )


def _report_failed(data: Path, kept: Path, values: Mapping[str, Any], *, run_id: int, made_at: dt.datetime) -> None:
    """Write the page of a partial notebook; what goes wrong with it must not hide why the run failed."""
    try:
        _report(data, kept, values, run_id=run_id, made_at=made_at)
    except Exception:
        log.exception("there is no report of the failed run %s", run_id)


def _versions(data: Path, run_id: int) -> dict[str, Any]:
    """Return what a report was made from, and which slot of the schedule it is for."""
    made = {"crmlib": __version__, "warehouse": _served(data), "run": run_id}
    mine = fence.current()
    if mine is not None:
        with session.session(data) as store:
            slot = store.get_one(Slot, mine.slot_id)
            made |= {"job": slot.job, "logical_date": slot.logical_date.isoformat()}
    return made


def _served(data: Path) -> int | None:
    with session.session(data) as store:
        return store.scalar(sa.select(Pointer.version))


def _execute(notebook: Path, target: Path, values: Mapping[str, Any], data: Path, progress: bool) -> None:
    import papermill  # noqa: PLC0415  (slow to import; most commands never need it)

    for name in ("papermill", "nbclient"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # The kernel must find the same data folder as this process, whatever the notebook's own folder is.
    before = os.environ.get("CRM_DATA")
    os.environ["CRM_DATA"] = str(data)
    try:
        papermill.execute_notebook(
            str(notebook),
            scrubbed_notebooks.address(target, data),
            parameters=dict(values),
            kernel_name="python3",
            language="python",
            cwd=str(notebook.parent),
            progress_bar=progress,
            start_timeout=120,
            extra_arguments=["--IPKernelApp.log_level=40"],  # the kernel's own notices are not the reader's business
        )
    finally:
        if before is None:
            del os.environ["CRM_DATA"]
        else:
            os.environ["CRM_DATA"] = before


def _keep(working: Path, target: Path) -> Path | None:
    """Keep the partial notebook of a failed run under a name that says so."""
    if not working.exists():
        return None
    working.replace(target)
    return target


def _reason(error: BaseException) -> str:
    """Say in one sentence which cell failed and why."""
    kind = type(error).__name__
    if kind == "PapermillExecutionError":
        cell = getattr(error, "exec_count", None)
        name, value = getattr(error, "ename", "error"), str(getattr(error, "evalue", ""))
        return f"cell {cell} failed: {name}: {value.splitlines()[0] if value else ''}"
    if kind == "DeadKernelError":
        return "the kernel died (often for want of memory)"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = str(error)
    return f"{kind}: {text.splitlines()[0] if text else ''}"
