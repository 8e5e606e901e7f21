"""Commands run beside a job, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from crmlib.errors import RunError


@contextmanager
def lane(data: Path) -> Iterator[Callable[..., Future[list[str]]]]:
    """Run `crm` commands in processes of their own, one after the other; leaving ends the one that still runs."""
    running: set[subprocess.Popen[str]] = set()

    def run(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "crmlib.cli", arguments[0], "--data", str(data), *arguments[1:]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.add(process)
        lines = process.communicate()[0].strip().splitlines()
        running.discard(process)
        if process.returncode:
            raise RunError((lines or [f"crm {' '.join(arguments)} failed"])[-1].removeprefix("crm: "))
        return [" ".join(line.split()) for line in lines if " … " not in line]

    pool = ThreadPoolExecutor(1)
    try:
        yield lambda *arguments: pool.submit(run, *arguments)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            process.terminate()
        pool.shutdown()
