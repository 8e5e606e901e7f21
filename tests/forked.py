"""Jobs in processes of their own, forked from one that has imported everything, and armed with the shim in faults/shim.c."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
COUNT, ONCE, FULL, KILL, RECORD = 1, 2, 3, 4, 5
"""What the shim does: see faults/shim.c."""


def shim(folder: Path) -> Path | None:
    """Compile the shim into a folder; None where that cannot be done."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    made = folder / "shim.so"
    command = [
        compiler,
        "-O1",
        "-shared",
        "-fPIC",
        "-o",
        str(made),
        str(HERE / "faults" / "shim.c"),
        "-ldl",
        "-lpthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def needed_shim(folder: Path) -> Path:
    """Compile the shim, or skip the test with the reason."""
    made = shim(folder)
    if made is None:
        pytest.skip("faults are injected by a library compiled with gcc on Linux; there is none here (make system)")
    return made


@dataclass
class Ended:
    """How a job ended: ``signal`` that killed it (0 for none), its exit code, what it acknowledged and printed."""

    signal: int
    code: int | None
    told: dict[str, Any] | None
    steps: int
    fired: bool
    said: str


@dataclass
class Child:
    """A job that runs."""

    host: Host
    pid: int
    folder: Path

    def wait(self) -> Ended:
        """Wait for its end; fails after ten minutes."""
        status = self.host.ask({"do": "wait", "pid": self.pid})
        said = (self.folder / "said").read_text(errors="replace")
        result = self.folder / "result.json"
        ended = json.loads(result.read_text()) if result.exists() else {}
        return Ended(
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            code=ended.get("code"),
            told=ended.get("told"),
            steps=ended.get("steps", 0),
            fired=ended.get("fired", os.WIFSIGNALED(status)),
            said=said,
        )

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@dataclass
class Host:
    """The process that forks the jobs of a module."""

    process: subprocess.Popen[str]
    folder: Path
    number: int = 0
    children: list[Child] = field(default_factory=list)

    def ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process that forks the jobs has died"
        return json.loads(answer)

    def start(self, job: str, data: Path, inputs: Path, number: int = 0, arm: list[Any] | None = None) -> Child:
        """Start a job of ``made_safety``; ``arm`` is what ``faults_arm`` takes after the folder."""
        self.number += 1
        folder = self.folder / f"child-{self.number:06d}"
        folder.mkdir()
        (folder / "said").touch()  # a child may be killed before it says or makes anything
        request = {"do": "start", "job": job, "data": str(data), "inputs": str(inputs), "number": number}
        pid = self.ask({**request, "arm": arm, "below": str(data.parent), "folder": str(folder)})
        return Child(self, pid, folder)

    def run(self, job: str, data: Path, inputs: Path, number: int = 0, arm: list[Any] | None = None) -> Ended:
        """Start a job and wait for its end."""
        return self.start(job, data, inputs, number, arm).wait()

    def told(self, job: str, data: Path, inputs: Path, number: int = 0) -> dict[str, Any]:
        """Run a job that must succeed; return what it acknowledged."""
        ended = self.run(job, data, inputs, number)
        assert ended.code == 0, ended.said
        assert ended.told is not None
        return ended.told


@contextmanager
def host(folder: Path, library: Path | None, environment: dict[str, str] | None = None) -> Iterator[Host]:
    """Start the process that forks jobs; at the end it and its children are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    preload = {"LD_PRELOAD": str(library)} if library else {}
    threads = {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), "made_safety"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads, **preload, **(environment or {})},
        start_new_session=True,
    )
    try:
        yield Host(process, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# ---------------------------------------------------------------- what the host does


def serve(module: str) -> None:
    """Answer requests on the standard input: start a job, wait for one."""
    # What jobs import late is imported once, before any fork.
    for name in (
        "crmlib.runs.jobs",
        "crmlib.models.baseline",
        "crmlib.models.leaks",
        "openpyxl",
        "psycopg",
        "sqlalchemy.dialects.sqlite",
        "sqlalchemy.dialects.postgresql",
        "pyarrow.parquet",
        "pandas.io.parquet",
        "statsmodels.api",
        "crmlib.runs.backup",
        "alembic.command",
        "sklearn",
    ):
        with suppress(ImportError):
            importlib.import_module(name)
    jobs = importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "wait":
            answer = os.waitpid(request["pid"], 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                work(jobs, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os.killpg(0, signal.SIGKILL)  # whoever asked has died: the jobs, and the readers that never end, go with it


def work(jobs: Any, request: dict[str, Any]) -> None:
    """Do one job in a forked child and never return: what it acknowledges is written when the job has returned."""
    folder = Path(request["folder"])
    said = os.open(folder / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    library = ctypes.CDLL(None)
    armed = request["arm"]
    if armed:
        mode, at, number, log = armed
        library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_char_p]
        library.faults_arm(request["below"].encode(), mode, at, number, str(log).encode())
    told, code = None, 0
    try:
        told = getattr(jobs, request["job"])(Path(request["data"]), Path(request["inputs"]), request["number"])
    except jobs.Refused as error:
        code = error.code
    except jobs.CrmError as error:
        print(f"crm: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = 1
    result: dict[str, Any] = {"told": told, "code": code}
    if armed:
        result |= {"steps": library.faults_count(), "fired": bool(library.faults_fired())}
        library.faults_arm(b"", 0, 0, 0, b"")
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / "result.tmp").write_text(json.dumps(result))
    (folder / "result.tmp").rename(folder / "result.json")
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    serve(sys.argv[1])
