"""A real Chromium for tests: found on the machine, driven by playwright, kept from reaching the outside."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmlib.serving import serve

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"
PATIENCE_MS = 90_000
DRAWN = "n => document.querySelectorAll('.crm-chart[data-state=drawn]').length >= n"


def program() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A running headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that may reach this machine only; ``outside`` collects what it asked of others, ``errors`` what failed."""

    page: Any
    outside: list[str]
    errors: list[str]


@contextlib.contextmanager
def visit(browser: Any, *, width: int = 1366, height: int = 768) -> Iterator[Visit]:
    """A new visitor without cookies."""
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    found = Visit(context.new_page(), [], [])

    def allow(route: Any) -> None:
        address = route.request.url
        if address.startswith(("http://127.0.0.1:", "blob:", "data:")):
            route.continue_()
        else:
            found.outside.append(address)
            route.abort()

    context.route("**/*", allow)
    found.page.set_default_timeout(PATIENCE_MS)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    try:
        yield found
    finally:
        context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((serve.HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(data: Path, *, log: Path, dashboards: Path = DASHBOARDS) -> Iterator[tuple[int, str]]:
    """The dashboards' server on the data folder; yields its port and token."""
    port, token = free_port(), secrets.token_urlsafe(16)
    command = serve.command(data, port=port, dashboards=dashboards)
    with running(command, serve.environment(token), f"http://{serve.HOST}:{port}/login", log=log):
        yield port, token


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], address: str, *, log: Path) -> Iterator[None]:
    """A server process that answers at ``address``; ended afterwards."""
    quiet = {**environment, "PYTHONUNBUFFERED": "1", "HOME": str(log.parent), "JUPYTER_PLATFORM_DIRS": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=output, stderr=subprocess.STDOUT)
    try:
        give_up = time.monotonic() + 180
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"the server does not answer:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
