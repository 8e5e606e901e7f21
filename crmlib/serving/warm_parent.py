"""The warm parent: a process that has imported what notebooks import, and forks a kernel whenever it is asked.

Started by ``crmlib.serving.warm``. It stays single-threaded, since only the thread that forks lives on in the child: no
ZeroMQ context, no pool of threads of BLAS, Arrow or DuckDB. What it imported is shared by all its kernels until written to.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

LOADED_ONCE = ("PYTHON", "OMP_", "LD_")
"""Beginnings of the variables that are read when Python starts or a library is loaded, and never again."""

LONGEST_REQUEST = 1 << 22


def run(listener: socket.socket, lifeline: int) -> int:
    """Fork kernels for whoever connects to ``listener`` until the other end of the pipe ``lifeline`` is closed."""
    bell, ringer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler is needed for the wake-up, and system calls go on
    signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched = select.poll()
    for one in (listener.fileno(), lifeline, bell):
        watched.register(one, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in watched.poll()}
        if bell in ready:
            os.read(bell, 4096)
            _reap()
        if lifeline in ready:
            return 0
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, lifeline)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _answer(connection: socket.socket, lifeline: int) -> None:
    """Fork one kernel as the request says and hand its process id and a descriptor of the process to the asker."""
    connection.settimeout(5)
    try:
        request, descriptors = _request(connection)
    except (OSError, ValueError, KeyError) as error:
        print(f"the warm parent did not understand a request: {error}", file=sys.stderr, flush=True)
        return
    try:
        other = _otherwise(request["env"])
        if other:
            connection.sendall(f"its {other} is not the warm parent's".encode())
            return
        child = os.fork()
        if child == 0:
            _become_kernel(request, descriptors, lifeline)
        handle = os.pidfd_open(child)
        try:
            socket.send_fds(connection, [str(child).encode()], [handle])
        except OSError:
            os.kill(child, signal.SIGKILL)  # whoever asked is gone
        finally:
            os.close(handle)
    finally:
        for one in descriptors:
            os.close(one)


def _request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Read one request: its length in eight bytes with the standard output and error to use, then JSON."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if int.from_bytes(peer[4:8], sys.byteorder) != os.getuid():
        raise ValueError("it came from another user")
    head, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
    length = int.from_bytes(head, "big")
    if len(head) != 8 or len(descriptors) != 2 or length > LONGEST_REQUEST:
        raise ValueError("it is too long or not one of ours")
    body = bytearray()
    while len(body) < length:
        part = connection.recv(min(1 << 16, length - len(body)))
        if not part:
            raise ValueError("it broke off")
        body += part
    request: dict[str, Any] = json.loads(bytes(body))
    return {name: request[name] for name in ("arguments", "env", "cwd")}, descriptors


def _otherwise(env: dict[str, str]) -> str:
    """Return a variable that would have made the parent load something else, "" for none."""
    names = sorted(name for name in {*env, *os.environ} if name.startswith(LOADED_ONCE))
    return next((name for name in names if env.get(name) != os.environ.get(name)), "")


def _become_kernel(request: dict[str, Any], descriptors: list[int], lifeline: int) -> NoReturn:
    """Turn the forked process into an ordinary kernel that shares nothing of the parent's but memory."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        os.dup2(lifeline, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(
            {"ARROW_DEFAULT_MEMORY_POOL": "system", **request["env"]}
        )  # gives back what it no longer needs
        os.chdir(request["cwd"])
        random.seed()
        np.random.seed()  # noqa: NPY002 - the old global generator was copied with the parent
        threading.Thread(target=_end_with_server, args=(3,), name="lifeline", daemon=True).start()
        _kernel(request["arguments"])
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        print(f"a forked kernel ended: {error!r}", file=sys.__stderr__, flush=True)
    finally:
        # What the parent registered to be done at its exit is the parent's business; the kernel closed its own.
        os._exit(code)


def _kernel(arguments: list[str]) -> None:
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415

    gc.enable()
    sys.argv = ["ipykernel_launcher", *arguments]
    app = IPKernelApp.instance()
    app.initialize([*arguments, "--IPKernelApp.parent_handle=1"])
    # ipywidgets does this when a kernel imports it; in the parent there was none. Without it a page asks in vain for
    # all widgets at once, waits, and then asks for each of them.
    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].register_comm_target()
    app.start()


def _end_with_server(lifeline: int) -> None:
    """End this kernel and what it started when the server is gone, however that came about."""
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def imported(names: list[str]) -> None:
    """Import what kernels will share, ``package.*`` for all modules of a package; what is not installed is left out."""
    for name in names:
        package = name.removesuffix(".*")
        try:
            module = importlib.import_module(package)
            if name != package:
                imported([f"{package}.{inside.name}" for inside in pkgutil.iter_modules(module.__path__)])
        except ImportError as error:
            print(f"the warm parent goes without {name}: {error}", file=sys.stderr, flush=True)


def threads() -> int:
    """Return how many threads this process has, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


def main() -> int:
    """Import, freeze, and serve; returns the exit code."""
    listener, lifeline = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    gc.disable()
    modules = cast("dict[str, object]", sys.modules)
    # The debugger is two thirds of a kernel's start, and nobody debugs a dashboard (JupyterLab names it, to have it);
    # scikit-learn is imported by XGBoost where it is installed, for parts that nobody here uses.
    if "debugpy" in sys.argv[3:]:
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # its warning about Python's own modules
    else:
        modules["debugpy"] = None
    modules["sklearn"] = None
    imported(sys.argv[3:])
    del modules["sklearn"]
    if "duckdb" in sys.modules:
        # Its import opens one, with threads; another one is made when it is asked for.
        sys.modules["duckdb"].default_connection().close()
    if threads() > 1:
        print(f"the warm parent has {threads()} threads and cannot fork; kernels start cold", file=sys.stderr)
        return 3
    here = str(Path.cwd())
    sys.path[:] = [one for one in sys.path if one not in ("", here)]  # as ipykernel_launcher does
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()  # the collector would otherwise write to every shared page
    return run(listener, lifeline)


if __name__ == "__main__":
    sys.exit(main())
