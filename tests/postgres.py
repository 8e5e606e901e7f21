"""A throw-away PostgreSQL server on a Unix socket, for tests marked ``postgres``."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path | None:
    """The folder of the newest installed server's programs, or None."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def server() -> Iterator[str]:
    """Start a server in a temporary folder; yield its SQLAlchemy URL; skips where there are no programs."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql (make system)")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="crm-pg-"))
    prefix: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]

    def call(*command: str) -> None:
        done = subprocess.run([*prefix, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    cluster = str(folder / "cluster")
    # No TCP port: the socket's folder is private, so parallel tests cannot meet.
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        call(str(binaries / "initdb"), "-D", cluster, "-U", "crm", "-A", "trust", "-E", "UTF8", "--no-sync")
        call(
            str(binaries / "pg_ctl"), "-D", cluster, "-o", options, "-l", str(folder / "log"), "-w", "-t", "60", "start"
        )
        try:
            yield f"postgresql+psycopg://crm@/postgres?host={folder}"
        finally:
            call(str(binaries / "pg_ctl"), "-D", cluster, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
