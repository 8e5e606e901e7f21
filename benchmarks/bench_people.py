"""Thirty people at once: how long a change of the slider takes when others look too, and what their pages cost in memory.

Run: python benchmarks/bench_people.py [--customers 1000000] [--people 30] [--minutes 3] [--think 20]. Starts the real
server; each person is a client of its own (cookie, page, kernel, websocket) that moves the slider of campaign targeting
after looking for about ``--think`` seconds. Counted from sending the change until the kernel has sent everything new and
says it is idle; the browser, which is each person's own machine, is measured in bench_dashboard.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import browser
import made_scores

from crmlib.serving import serve
from crmlib.views import targeting

DASHBOARD = "campaign_targeting"
TARGET_MS = 500
PATIENCE = 120


@dataclass
class Person:
    """One simulated visitor; ``opened`` seconds until the page had come, ``moves`` seconds of each change."""

    port: int
    token: str
    seed: int
    cookies: dict[str, str] = field(default_factory=dict)
    opened: float = 0.0
    moves: list[float] = field(default_factory=list)
    trouble: str = ""

    async def live(self, until: float, think: float) -> None:
        """Open the page, then look and move the slider until the time is over."""
        dice = random.Random(self.seed)
        try:
            started = time.perf_counter()
            kernel = await self._page()
            self.opened = time.perf_counter() - started
            socket = await self._connect(kernel)
            slider, top = await self._slider(socket)
            while time.monotonic() < until:
                await asyncio.sleep(dice.uniform(0.5, 1.5) * think)
                self.moves.append(await _move(socket, slider, dice.randrange(1, top)))
            socket.close()
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"

    async def _fetch(self, address: str) -> HTTPResponse:
        """Follow redirections as a browser does, keeping cookies."""
        for _ in range(6):
            request = HTTPRequest(
                address,
                headers={"Cookie": self._cookie(), "Accept-Language": "en"},
                follow_redirects=False,
                request_timeout=PATIENCE,
            )
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
            for line in answer.headers.get_list("Set-Cookie"):
                self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
            if answer.code not in (301, 302, 303, 307):
                return answer
            place = answer.headers["Location"]
            address = place if place.startswith("http") else f"http://{serve.HOST}:{self.port}{place}"
        raise RuntimeError("redirected without end")

    async def _page(self) -> str:
        answer = await self._fetch(serve.url(self.port, self.token, DASHBOARD))
        found = re.search(r'"kernelId":\s*"([0-9a-f-]{36})"', answer.body.decode())
        if answer.code != 200 or not found:
            raise RuntimeError(f"the page came with {answer.code} and no kernel")
        return found[1]

    def _cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def _connect(self, kernel: str) -> WebSocketClientConnection:
        address = f"ws://{serve.HOST}:{self.port}/api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
        headers = {"Cookie": self._cookie(), "Origin": f"http://{serve.HOST}:{self.port}"}
        return await websocket_connect(HTTPRequest(address, headers=headers), max_message_size=100_000_000)

    async def _slider(self, socket: WebSocketClientConnection) -> tuple[str, int]:
        """Ask for all widgets as a page does, say that a person is here, and return the cut-off slider and its maximum."""
        control = uuid.uuid4().hex
        opening = {"comm_id": control, "target_name": "jupyter.widget.control", "data": {}}
        await _send(socket, "comm_open", opening, metadata={"version": "1.0.0"})
        states: dict[str, Any] = {}
        for content in await _ask(socket, control, {"method": "request_states"}):
            states |= content.get("data", {}).get("states", {})
        page = next(name for name, one in states.items() if "lost" in one["state"] and "_esm" in one["state"])
        await _ask(socket, page, {"method": "custom", "content": {"kind": "opened", "query": ""}})
        sliders = {
            name: one["state"] for name, one in states.items() if one["state"]["_model_name"] == "IntSliderModel"
        }
        name = next(iter(sliders))
        return name, int(sliders[name]["max"])


async def _send(
    socket: WebSocketClientConnection, kind: str, content: dict[str, Any], *, metadata: dict[str, Any] | None = None
) -> str:
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": kind, "username": "", "session": "bench", "date": "", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": metadata or {}, "content": content}
    await socket.write_message(json.dumps({**message, "channel": "shell", "buffers": []}))
    return number


async def _ask(socket: WebSocketClientConnection, comm: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a comm message and return the contents of what comes back until the kernel is idle again."""
    number = await _send(socket, "comm_msg", {"comm_id": comm, "data": data})
    found = []
    while True:
        raw = await asyncio.wait_for(socket.read_message(), PATIENCE)
        if raw is None:
            raise RuntimeError("the websocket was closed")
        if isinstance(raw, bytes):
            size = int.from_bytes(raw[:4], "big")
            raw = raw[int.from_bytes(raw[4:8], "big") : int.from_bytes(raw[8:12], "big") if size > 1 else None].decode()
        message = json.loads(raw)
        if message["parent_header"].get("msg_id") != number:
            continue
        if message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return found
        found.append(message["content"])


async def _move(socket: WebSocketClientConnection, slider: str, value: int) -> float:
    started = time.perf_counter()
    contents = await _ask(socket, slider, {"method": "update", "state": {"value": value}, "buffer_paths": []})
    charts = [one for one in contents if "revision" in one.get("data", {}).get("state", {})]
    if len(charts) < 3:
        raise RuntimeError(f"only {len(charts)} charts came back")
    return time.perf_counter() - started


def proportional_mb(parent: int) -> dict[int, float]:
    """Return the proportional set size of each process below ``parent``, MB."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        try:
            found[process.pid] = process.memory_full_info().pss / 1e6
        except (psutil.Error, AttributeError):
            continue
    return found


async def crowd(port: int, token: str, given: argparse.Namespace) -> tuple[list[Person], list[float]]:
    """Let everybody come within a minute and look; returns them, and the PSS of the server's processes near the end."""
    people = [Person(port, token, seed) for seed in range(given.people)]
    until = time.monotonic() + 60 + 60 * given.minutes

    async def come(place: int, person: Person) -> None:
        await asyncio.sleep(60 * place / given.people)
        await person.live(until, given.think)

    lives = asyncio.gather(*(come(*one) for one in enumerate(people)))
    await asyncio.sleep(max(1.0, until - time.monotonic() - 5))
    me = psutil.Process()
    sizes = [size for child in me.children() for size in proportional_mb(child.pid).values()]
    await lives
    return people, sizes


def main() -> int:
    """Measure and print; returns 1 where somebody failed or the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--think", type=float, default=20, help="seconds between two changes of one person")
    parser.add_argument("--data", type=Path, help="a data folder with scores (default: one is made up)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, dashboards = given.data or folder / "data", folder / "dashboards"
        dashboards.mkdir()
        print(f"making up {given.customers:,} customers", flush=True)
        if given.data is None:
            made_scores.make(data, customers=given.customers)
        targeting.prepare(data)  # as the scoring job does
        real = browser.DASHBOARDS / f"{DASHBOARD}.ipynb"
        (dashboards / real.name).write_bytes(real.read_bytes())
        with browser.server(data, log=folder / "server.log", dashboards=dashboards) as (port, token):
            people, sizes = asyncio.run(crowd(port, token, given))
    failed = [person.trouble for person in people if person.trouble]
    moves = np.array([one for person in people for one in person.moves]) * 1000
    opened = np.array([person.opened for person in people if person.opened])
    print(f"people               {len(people)}, of whom {len(failed)} had trouble {set(failed) or ''}")
    print(f"changes of a slider  {len(moves)}: median {np.median(moves):.0f} ms, p95 {np.quantile(moves, 0.95):.0f} ms")
    print(f"page until complete  median {np.median(opened):.2f} s, longest {opened.max():.2f} s")
    print(
        f"memory, PSS          {sum(sizes):,.0f} MB in {len(sizes)} processes; {sum(sizes) / len(people):.0f} MB a person"
    )
    return 1 if failed or np.quantile(moves, 0.95) > TARGET_MS else 0


if __name__ == "__main__":
    sys.exit(main())
