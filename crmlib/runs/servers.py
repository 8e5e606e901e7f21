"""Serving dashboards (Voila) and JupyterLab: free ports, tokens, links."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.runs import secrets as keepers
from crmlib.runs.stages import shown

HOST = "127.0.0.1"
FIRST_PORT = 8866
PATIENCE_SECONDS = 90


def free_port(wanted: int, first: int) -> int:
    """Return ``wanted`` if it is free, or without a wish the first free port from ``first``.

    Raises EnvironmentFault for a busy port that was asked for, or where a hundred in a row are busy.
    """
    for port in [wanted] if wanted else range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                if wanted:
                    raise EnvironmentFault(
                        f"port {port} is busy or not allowed; leave --port out to take a free one"
                    ) from error
                continue
            return port
    raise EnvironmentFault(f"no free port between {first} and {first + 99}; name one with --port")


def dashboards(data: Path, *, port: int, access: str = "token", kernels: int = 0) -> int:
    """Serve the dashboards until interrupted; prints the link, with its token if one opens them. Returns the exit code.

    ``access`` says how people prove who they are (``serving.identity_settings.TIERS``), ``kernels`` how many dashboards
    may be open at a time, 0 as many as the memory bears.
    """
    from crmlib.serving import identity_settings, serve  # noqa: PLC0415

    agreed = identity_settings.read(data, access)  # what is wrong with it is said before anything starts
    secret = keepers.get(agreed.proxy.secret, data) if agreed.proxy and agreed.proxy.secret else ""
    folder = project_folder("dashboards")
    chosen = free_port(port, FIRST_PORT)
    token = secrets.token_urlsafe(24) if access == "token" else ""
    command = serve.command(data, port=chosen, dashboards=folder, access=access, kernels=kernels)
    environment = {**serve.environment(token, secret), "CRM_DATA": str(data)}
    link = f"{agreed.public_address}/" if agreed.public_address and not token else serve.url(chosen, token)
    return _serve(command, environment, link, log=data / "logs" / "dashboards.log", local=serve.url(chosen, ""))


def lab(data: Path, *, port: int, browser: bool) -> int:
    """Open JupyterLab in the project's folder at its start page, with launcher cards and kernels that start warm.

    Returns the exit code.
    """
    from crmlib.runs import lab_cards  # noqa: PLC0415  (slow to import)
    from crmlib.serving import provisioner  # noqa: PLC0415

    root = project_folder("notebooks").parent
    chosen = free_port(port, 8888)
    token = secrets.token_urlsafe(24)
    page = "/lab/tree/notebooks/00_start.ipynb"
    with tempfile.TemporaryDirectory(prefix="crm-lab-") as extensions, _warm_kernels():
        command = [
            *(sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url={page}"),
            *(f"--ServerApp.ip={HOST}", f"--ServerApp.port={chosen}", "--ServerApp.port_retries=0"),
            f"--LabApp.extra_labextensions_path={lab_cards.write(Path(extensions), root=root)}",
            f"--KernelProvisionerFactory.default_provisioner_name={provisioner.NAME}",
            # JupyterLab neither asks for news nor offers to fetch extensions: nothing leaves the machine by itself.
            "--LabApp.extension_manager=readonly",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            f"--ServerApp.open_browser={browser}",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")  # in a container there is often nobody else
        # The token goes through the environment: a command line can be read by everyone on the machine.
        environment = {**os.environ, "CRM_DATA": str(data.absolute()), "JUPYTER_TOKEN": token}
        link = f"http://{HOST}:{chosen}{page}?token={token}"
        return _serve(command, environment, link, log=data / "logs" / "lab.log")


@contextmanager
def _warm_kernels() -> Iterator[None]:
    """Have kernels forked from a warm parent where the system can do that; the parent is started again when it dies."""
    from crmlib.serving import warm  # noqa: PLC0415  (slow to import)

    closing = threading.Event()

    def keep(parent: warm.Parent) -> None:
        while not closing.wait(1):
            parent.keep()

    with warm.parent(("debugpy", *warm.EVERYTHING, "crmlib.runs.lab")) as parent:
        keeper = threading.Thread(target=keep, args=(parent,), daemon=True) if parent else None
        try:
            if keeper:
                keeper.start()
            yield
        finally:
            closing.set()
            if keeper:
                keeper.join()


def project_folder(name: str) -> Path:
    """Return the folder ``name`` of the project: below the current folder, else beside the package.

    Raises NotFoundError where there is none.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / name).is_dir():
            return root / name
    raise NotFoundError(f"no folder {name!r} here; run crm in the project's folder")


def _serve(command: list[str], environment: dict[str, str], link: str, *, log: Path, local: str = "") -> int:
    """Start a server, print its link once it answers, at ``local`` if not there, and wait for it or for an interrupt."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        # A plain `kill` must end the server and its kernels too, not only this process.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            _wait(process, local or link, log)
            print(f"\n  {link}\n\nPress Ctrl+C to stop; the server's own messages are in {shown(log)}.", flush=True)
            code = process.wait()
            if code:
                raise EnvironmentFault(f"the server ended with code {code}; its messages are in {log}")
            return code
        except KeyboardInterrupt:
            print("\nstopped")
            return 0
        finally:
            signal.signal(signal.SIGTERM, before)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], link: str, log: Path) -> None:
    """Wait until the server answers at all; a refusal counts as an answer."""
    address = link.partition("?")[0]
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise EnvironmentFault(f"the server ended with code {process.returncode}; its messages are in {log}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise EnvironmentFault(f"the server did not answer within {PATIENCE_SECONDS} s; its messages are in {log}")
