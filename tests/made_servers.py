"""Servers to be attacked: small notebooks, people with passwords, and how a visitor without a browser logs in."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import httpx
import nbformat
import websocket

from crmlib.serving import serve
from crmlib.store import users

NOW = dt.datetime(2025, 7, 1, 9)
PASSWORD = "four quiet words here"
PEOPLE = {"anna": "analyst", "eve": "analyst", "max": "marketer", "otto": "operator", "vera": "viewer"}
SLIDER = "import ipywidgets\nipywidgets.IntSlider(2, 0, 5, description='share')"


def notebooks(folder: Path, **sources: str) -> Path:
    """A folder of dashboards with one cell each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, folder / f"{name}.ipynb")
    return folder


def people(data: Path) -> Path:
    """Let everybody of ``PEOPLE`` in."""
    for name, role in PEOPLE.items():
        users.add(data, name, role, PASSWORD, now=NOW)
    return data


@contextlib.contextmanager
def serving(
    data: Path, dashboards: Path, *, access: str, log: Path, token: str = "", secret: str = ""
) -> Iterator[str]:
    """A server's address while it runs."""
    port = browser.free_port()
    command = serve.command(data, port=port, dashboards=dashboards, access=access)
    root = f"http://{serve.HOST}:{port}"
    with browser.running(command, serve.environment(token, secret), f"{root}/login", log=log):
        yield root


def client(root: str, **headers: str) -> httpx.Client:
    """A visitor without cookies who follows nothing by himself."""
    return httpx.Client(base_url=root, headers=headers, timeout=60, follow_redirects=False)


def log_in(visitor: httpx.Client, name: str, password: str = PASSWORD, **more: Any) -> httpx.Response:
    """Fill the login form in."""
    xsrf = re.search(r'name="_xsrf" value="([^"]+)"', visitor.get("/login", **more).text)
    assert xsrf
    return visitor.post("/login", data={"_xsrf": xsrf[1], "name": name, "password": password}, **more)


@contextlib.contextmanager
def logged_in(root: str, name: str) -> Iterator[httpx.Client]:
    """A visitor who is logged in."""
    with client(root) as visitor:
        assert log_in(visitor, name).status_code == 303
        yield visitor


def opened(visitor: httpx.Client, dashboard: str) -> str:
    """Open a dashboard and return the id of its kernel."""
    page = visitor.get(f"/voila/render/{dashboard}.ipynb")
    assert page.status_code == 200, page.text[:300]
    found = re.search(r'"kernelId":\s*"([0-9a-f-]{36})"', page.text)
    assert found
    return found[1]


def connected(visitor: httpx.Client, kernel: str, **more: Any) -> websocket.WebSocket:
    """The connection of a page with its kernel."""
    address = f"{str(visitor.base_url).replace('http', 'ws', 1).rstrip('/')}/api/kernels/{kernel}/channels"
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.cookies.jar)
    settings = {"cookie": cookies, "origin": str(visitor.base_url).rstrip("/"), "timeout": 20} | more
    return websocket.create_connection(f"{address}?session_id={uuid.uuid4().hex}", **settings)


def say(channels: websocket.WebSocket, kind: str, content: dict[str, Any], *, channel: str = "shell") -> str:
    """Send one message to a kernel and return its id."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": kind, "username": "", "session": "s", "version": "5.3", "date": ""}
    whole = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
    channels.send(json.dumps(whole))
    return number


def answers(channels: websocket.WebSocket, number: str, kind: str) -> list[dict[str, Any]]:
    """Everything heard until the answer of this kind to that message, which is the last."""
    heard: list[dict[str, Any]] = []
    while True:
        heard.append(json.loads(channels.recv()))
        if heard[-1]["msg_type"] == kind and heard[-1]["parent_header"].get("msg_id") == number:
            return heard
