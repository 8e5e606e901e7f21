"""The start page of JupyterLab: the notebooks, runs in processes of their own, the ledger."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa

from crmlib.errors import CrmError
from crmlib.runs import clock, notebooks, parameters, secrets, servers
from crmlib.store import ledger, session
from crmlib.store.tables import Run
from crmlib.views import lab_panel, lab_words, texts
from crmlib.views.lab_work import Notebook, Work

if TYPE_CHECKING:
    import ipywidgets
    import pandas as pd

START = "00_start"
"""The notebook that shows the start page; it is not listed there."""

KNOWN_RUNS = 200
"""So many of the newest runs are looked through for the last one of each notebook."""


def start(data: Path, *, language: str = "en") -> ipywidgets.Widget:
    """Return the start page of a data folder, to be shown in a notebook: notebooks, a form that runs one, run history."""
    return lab_panel.panel(data, work(data), language=language)


def conclusions(data: Path, *, language: str = "en") -> str:
    """Return in Markdown how far the notebooks were run on a data folder, and which one to run next."""
    handed = work(data)
    return lab_words.conclusions(texts.speak(language), handed, handed.history())


def work(data: Path, *, root: Path | None = None) -> Work:
    """Return what the start page shows and does; ``root`` is the project's folder, found where it is not given."""
    found = root or _project()
    seen: dict[int, tuple[int, int]] = {}

    def at(run_id: int) -> tuple[int, int]:
        now = progress(data, run_id)
        if now[1]:  # else the copy is just being written anew
            seen[run_id] = now
        return seen.get(run_id, now)

    return Work(
        notebooks=[one for one in listed(found / "notebooks") if one.file != f"{START}.ipynb"],
        dashboards=listed(found / "dashboards"),
        history=lambda: history(data),
        progress=at,
        begin=lambda notebook, given, report: begin(found / notebook.path, given, data=data, report=report),
        address=lambda file: address(data / file, found),
    )


def _project() -> Path:
    """Return the project's folder: the nearest one at or above the current folder, in which a notebook runs."""
    here = Path.cwd()
    above = (folder for folder in (here, *here.parents) if (folder / "notebooks" / f"{START}.ipynb").is_file())
    return next(above, None) or servers.project_folder("notebooks").parent


def listed(folder: Path) -> list[Notebook]:
    """Return the notebooks of a folder by name, which is their reading order."""
    return [_notebook(path) for path in sorted(folder.glob("*.ipynb"))]


def _notebook(path: Path) -> Notebook:
    below = f"{path.parent.name}/{path.name}"
    try:
        fields, trouble = list(parameters.read(path).values()), ""
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    except CrmError as error:
        first, fields, trouble = "", [], str(error)
    title = re.match(r"#\s+(.+)", first)
    question = re.search(r"\*\*Question:?\*\*:?\s*(.+)", first)
    return Notebook(
        path=below,
        title=title[1].strip() if title else path.stem,
        question=question[1].strip() if question else "",
        fields=fields,
        trouble=trouble,
    )


def history(data: Path) -> pd.DataFrame:
    """Return the newest runs, newest first (``store.ledger.COLUMNS``); those whose process is gone are interrupted."""
    ledger.mark_interrupted(data, now=clock.now())
    return ledger.runs(data, newest=KNOWN_RUNS)


def progress(data: Path, run_id: int) -> tuple[int, int]:
    """Return how many code cells of a running notebook are done and how many there are; 0, 0 where nobody knows."""
    copy = notebooks.working_copy(data, run_id)
    try:
        cells = json.loads(copy.read_text(encoding="utf-8"))["cells"] if copy else []
    except (OSError, ValueError, KeyError):  # not yet written, or renamed meanwhile
        return 0, 0
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    done = sum(cell["metadata"].get("papermill", {}).get("status") == "completed" for cell in code)
    return done, len(code)


def address(file: Path, root: Path) -> str:
    """Return a file as JupyterLab, opened in ``root``, knows it; "" for one that is not there or out of its reach."""
    inside = file.resolve().is_relative_to(root.resolve())
    return file.resolve().relative_to(root.resolve()).as_posix() if inside and file.is_file() else ""


class Process:
    """A run in a process of its own, which outlives the notebook it was started from."""

    def __init__(self, command: list[str], *, data: Path, cwd: Path) -> None:
        self.data = data
        self._number: int | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process runs)
        # What this kernel's own server told it is none of the run's business.
        own = {name: value for name, value in os.environ.items() if not name.startswith("JPY_")}
        self.process = subprocess.Popen(
            command, cwd=cwd, env=own, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run_id(self) -> int | None:
        """Return its number in the ledger, None where it has none (yet)."""
        if self._number is None:
            mine = f"{platform.node()}/{self.process.pid}/%"
            with session.session(self.data) as store:
                self._number = store.scalar(
                    sa.select(Run.run_id).where(Run.process.like(mine)).order_by(Run.run_id.desc()).limit(1)
                )
        return self._number

    def ended(self) -> str | None:
        """Return None while it runs, then what it said last where it failed, else ""."""
        code = self.process.poll()
        if not code:
            return None if code is None else ""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return secrets.scrub(lines[-1], self.data) if lines else f"it ended with code {code}"

    def stop(self) -> None:
        """Ask it to end; what it has done so far is kept."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)


def begin(notebook: Path, given: Mapping[str, str], *, data: Path, report: bool = True) -> Process:
    """Start ``crm run`` on a notebook with parameters as they were typed.

    Raises UsageError for a parameter that is unknown or of another type, and for a secret that is not a reference,
    before anything starts.
    """
    values: dict[str, Any] = parameters.parse(notebook, [f"{name}={text}" for name, text in given.items()])
    secrets.refuse_values(parameters.check(notebook, values), data)
    command = [
        *(sys.executable, "-m", "crmlib.cli", "run", str(notebook), "--data", str(data.absolute())),
        *("--values", json.dumps(values)),
        *(["--report"] if report else []),
    ]
    return Process(command, data=data, cwd=notebook.parent.parent)
