"""Throw-away clusters on loopback, for tests: a Spark master with two workers, a Dask scheduler with two workers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT_SECONDS = 120.0
_SMALL = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # what runs for seconds is not worth compiling twice
TINY = {
    "spark.driver.extraJavaOptions": _SMALL,
    "spark.executor.extraJavaOptions": _SMALL,
    "spark.executor.memory": "600m",
    "spark.driver.memory": "600m",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Settings for a few rows: a third of the processor time of the usual ones."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def spark_cluster(workers: int = 2, settings: Mapping[str, str] = TINY) -> Iterator[str]:
    """Start a standalone master and workers of one core; yield its address; skips where there is no pyspark or no Java.

    Sessions that this process and those it starts open meanwhile have the ``settings`` (``SPARK_CONF_DIR``).
    """
    home = Path(str(pytest.importorskip("pyspark").__file__)).parent
    pytest.importorskip("sqlglot")
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine (make system)")
    folder = Path(tempfile.mkdtemp(prefix="crm-spark-"))
    chosen = {"spark.driver.host": "127.0.0.1", **settings}
    (folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in chosen.items()))
    memory = chosen["spark.executor.memory"]
    given = {"SPARK_HOME": str(home), "SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
    given |= {"SPARK_WORKER_DIR": str(folder / "work"), "PYSPARK_PYTHON": sys.executable}
    given |= {"SPARK_DAEMON_MEMORY": "256m", "SPARK_DAEMON_JAVA_OPTS": _SMALL}
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    own = ["--host", "127.0.0.1", "--webui-port", "0"]
    started = [_start(folder, "master", _java(home, "master.Master", *own, "--port", str(port)), given)]
    before = {name: os.environ.get(name) for name in given}
    try:
        _reachable(port, folder)
        for number in range(workers):
            command = _java(home, "worker.Worker", *own, "--cores", "1", "--memory", memory, address)
            started.append(_start(folder, f"worker{number}", command, given))
        os.environ.update(given)
        yield address
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _stop(started)
        shutil.rmtree(folder, ignore_errors=True)


def _java(home: Path, name: str, *arguments: str) -> list[str]:
    return [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]


@contextmanager
def dask_cluster(workers: int = 2) -> Iterator[str]:
    """Start a scheduler and workers, a process and a thread each; yield its address; skips where there is no Dask."""
    pytest.importorskip("distributed")
    folder = Path(tempfile.mkdtemp(prefix="crm-dask-"))
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    programs = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    own = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    started = [_start(folder, "scheduler", [*programs, *own], {})]
    try:
        _reachable(port, folder)
        for number in range(workers):
            command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
            command += ["--no-dashboard", "--local-directory", str(folder / str(number))]
            started.append(_start(folder, f"worker{number}", command, {}))
        yield address
    finally:
        _stop(started)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, name: str, command: list[str], given: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, **given}, stdout=log, stderr=log, start_new_session=True
        )


def _reachable(port: int, folder: Path) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("".join(log.read_text() for log in folder.glob("*.log")))


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(started):
        process.terminate()
    for process in started:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
