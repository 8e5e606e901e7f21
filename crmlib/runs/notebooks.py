"""Running a notebook through papermill: strict parameters, an atomic output, a state that lives in the store."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crmlib.errors import EnvironmentFault, RunError
from crmlib.runs import clock, parameters
from crmlib.store import ledger

INTERRUPTED = 130
"""Exit code of what was interrupted."""

log = logging.getLogger(__name__)


def run(notebook: Path, given: Mapping[str, Any], *, data: Path, progress: bool = False) -> Path:
    """Execute a notebook and return the executed copy below ``data/runs``.

    The copy appears under its name only once the run has ended; a failed run leaves one that ends in ``-failed``.
    Raises UsageError, DataError or NotFoundError before anything starts (see ``parameters``), RunError where a cell
    fails or the kernel dies, EnvironmentFault where the copy cannot be written.
    """
    known = parameters.read(notebook)
    values = parameters.check(notebook, given)
    if "data" in known and "data" not in values:
        values["data"] = str(data)
    folder = data / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: cannot be written ({error.strerror}); choose another folder with --data"
        ) from error
    run_id = ledger.start_run(data, kind="notebook", name=notebook.name, parameters=dict(values), now=clock.now())
    output = folder / f"{run_id:06d}-{notebook.stem}.ipynb"
    working = output.with_name(f".{output.stem}.running.ipynb")
    try:
        _execute(notebook, working, values, data, progress)
        working.replace(output)
    except BaseException as error:
        kept = _keep(working, output.with_name(f"{output.stem}-failed.ipynb"))
        message = _reason(error)
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        shown = str(kept.relative_to(data)) if kept else None
        code = RunError.exit_code if state == "failed" else INTERRUPTED
        ledger.finish_run(data, run_id, state=state, exit_code=code, now=clock.now(), output=shown, message=message)
        if not isinstance(error, Exception):
            raise
        if isinstance(error, OSError):
            raise EnvironmentFault(f"{folder}: {message}; free some space or ask for access") from error
        where = f"; the partial notebook is {kept}" if kept else ""
        raise RunError(f"{notebook.name}: {message}{where}") from error
    ledger.finish_run(
        data, run_id, state="succeeded", exit_code=0, now=clock.now(), output=str(output.relative_to(data))
    )
    return output


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
            str(target),
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
