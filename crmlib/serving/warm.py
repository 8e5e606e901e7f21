"""Kernels forked from a warm parent, as seen by the process that wants them: start the parent, ask it for a kernel."""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from crmlib.errors import EnvironmentFault

log = logging.getLogger(__name__)

ADDRESS = "CRM_WARM_PARENT"
"""The environment variable that says where the warm parent listens; without it kernels start cold."""

EVERYTHING = (
    *("ipykernel.ipkernel", "ipykernel.kernelapp", "ipykernel.debugger", "ipykernel.subshell_manager", "ipywidgets"),
    *("IPython.core.completerlib", "IPython.core.debugger", "IPython.extensions.storemagic", "anywidget", "sqlite3"),
    *("tornado.platform.asyncio", "tornado.locks", "tornado.queues", "encodings.idna", "pdb", "http.client"),
    *("pandas", "pyarrow", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.compute", "openpyxl"),
    *("duckdb", "duckdb_sqlalchemy", "sqlalchemy.dialects.sqlite", "sqlalchemy.orm", "alembic"),
    *("plotly.graph_objects", "plotly.io", "plotly.offline", "plotly.subplots", "babel.dates", "xgboost"),
    *("crmlib", "crmlib.views.*"),
)
"""What dashboards and most notebooks import; a kernel imports the rest when it needs it."""

_PROVISIONER = "JUPYTER_DEFAULT_PROVISIONER_NAME"  # jupyter_client's own variable
PATIENCE_SECONDS = 60.0
_TRIES = 3


def possible() -> bool:
    """Return whether this system can fork kernels: Linux, where forking is safe for a process without threads."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


class Parent:
    """The warm parent of one server: its process, the socket kernels are asked for at, and the pipe that keeps it alive.

    The socket belongs to the starter, so requests wait in line while the parent is importing or is started again.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.folder = Path(tempfile.mkdtemp(prefix="crm-warm-"))  # readable by this user alone
        self.address = self.folder / "fork"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.address))
        self._listener.listen(128)
        self._lifeline, self._held = os.pipe()
        self.tried = 0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.tried += 1
        passed = (self._listener.fileno(), self._lifeline)
        return subprocess.Popen(
            [sys.executable, "-m", "crmlib.serving.warm_parent", *map(str, passed), *self.names],
            pass_fds=passed,
            env=_quiet(os.environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the server
        )

    def keep(self) -> None:
        """Start the parent again if it ended; after three ends in vain kernels start cold."""
        if not self.address.exists() or self.process.poll() is None:
            return
        log.warning("the warm parent ended with code %s", self.process.returncode)
        if self.tried < _TRIES and self.process.returncode != 3:
            self.process = self._start()
            return
        log.warning("kernels start cold from now on")
        self.address.unlink()
        self._listener.close()  # whoever waits in line is refused, and starts a cold kernel

    def close(self) -> None:
        """End the parent and every kernel it forked."""
        os.close(self._held)
        self._listener.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._lifeline)
        shutil.rmtree(self.folder, ignore_errors=True)


def _quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which libraries start no threads at import and keep little memory back."""
    own = {name: value for name, value in environment.items() if not name.startswith("JPY_")}
    single = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false", "MALLOC_ARENA_MAX": "1"}
    return {**own, **single}


@contextmanager
def parent(names: Sequence[str] = EVERYTHING) -> Iterator[Parent | None]:
    """Keep a warm parent for this process and those it starts, which has imported ``names``.

    Yields None, with the reason logged, where kernels cannot be forked.
    """
    if not possible():
        log.info("kernels start cold: %s cannot fork them", sys.platform)
        yield None
        return
    before = os.environ.get(ADDRESS)
    warm = Parent(names)
    os.environ[ADDRESS] = f"{warm.address}"
    try:
        yield warm
    finally:
        if before is None:
            os.environ.pop(ADDRESS, None)
        else:
            os.environ[ADDRESS] = before
        warm.close()


@contextmanager
def notebooks() -> Iterator[None]:
    """Have the notebooks that this process and those it starts execute run in kernels forked from a warm parent."""
    before = os.environ.get(_PROVISIONER)
    with parent((*EVERYTHING, "statsmodels.api")) as warm:
        if warm is not None:
            os.environ[_PROVISIONER] = "crm-warm"
        try:
            yield
        finally:
            os.environ.pop(_PROVISIONER, None)
            if before is not None:
                os.environ[_PROVISIONER] = before


class Forked:
    """A forked kernel's process, with what jupyter_client asks of ``subprocess.Popen``; it is not our child.

    The descriptor stands for this process alone: no signal ever reaches another one that got the same number later.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int) -> None:
        self.pid, self._handle = pid, handle
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return None while the kernel runs, then 0: the code it ended with is known to its parent only."""
        if self.returncode is None and self._ended(0):
            os.close(self._handle)
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        if self.returncode is None and not self._ended(timeout):
            raise subprocess.TimeoutExpired("kernel", timeout or 0)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel; one that ended is left in peace."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _ended(self, timeout: float | None) -> bool:
        watched = select.poll()
        watched.register(self._handle, select.POLLIN)
        return bool(watched.poll(None if timeout is None else timeout * 1000))


def fork(command: list[str], *, env: Mapping[str, str], cwd: Path) -> Forked:
    """Return the process of a kernel that ``command`` would start cold, forked from the warm parent.

    Raises EnvironmentFault where it cannot be forked; the kernel is to be started cold then.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        raise EnvironmentFault("this kernel starts cold: no warm parent was started")
    if command[:3] != [sys.executable, "-m", "ipykernel_launcher"]:
        raise EnvironmentFault(f"this kernel starts cold: {command[0]} is not this Python's kernel")
    body = json.dumps({"arguments": command[3:], "env": dict(env), "cwd": str(cwd)}).encode()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return _ask(address, body, patience=deadline - time.monotonic())
        except ConnectionResetError:
            time.sleep(0.1)  # the parent ended meanwhile; it is started again
        except OSError as error:
            raise EnvironmentFault(f"this kernel starts cold: the warm parent does not answer ({error})") from error
    raise EnvironmentFault("this kernel starts cold: the warm parent ended again and again")


def _ask(address: str, body: bytes, *, patience: float) -> Forked:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        connection.connect(address)
        socket.send_fds(connection, [len(body).to_bytes(8, "big")], [1, 2])
        connection.sendall(body)
        answer, handles, _, _ = socket.recv_fds(connection, 1024, 1)
    if handles:
        return Forked(int(answer), handles[0])
    if not answer:
        raise ConnectionResetError("the warm parent ended")
    raise EnvironmentFault(f"this kernel starts cold: {answer.decode()}")
