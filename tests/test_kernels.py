"""Who gets which kernel, how many there may be, and when they end: the real server, real visitors, real browsers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import browser
import httpx
import made_servers
import psutil
import pytest
from made_servers import client, connected, logged_in, opened

from crmlib.serving import memory, serve, warm
from crmlib.serving.kernels import Kernels
from crmlib.serving.line import Line
from crmlib.serving.places import Places
from crmlib.views.visitor import NOBODY, Role, Visitor

WHO = """
import os, ipywidgets
from pathlib import Path
from crmlib.views import visitor
from crmlib.views.frame import Frame

data = Path(os.environ["CRM_DATA"])
ready_for = visitor.current(data).name or "nobody"
shown = ipywidgets.HTML()
def draw():
    who = visitor.current(data)
    shown.value = f"<p class='who'>{who.name}/{who.role.name}, made for {ready_for}: {(data / 'news').read_text()}</p>"
frame = Frame("Demand", data=data, dashboard="demand", load=lambda: None, draw=draw, came=draw,
              newest=lambda: (data / "news").read_text())
frame.show(shown)
"""
MOST, PATIENCE = 3, 4.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = made_servers.people(tmp_path_factory.mktemp("data"))
    (data / "news").write_text("yesterday's", encoding="utf-8")
    return data


@contextlib.contextmanager
def serving(data: Path, dashboards: Path, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    port = browser.free_port()
    command = serve.command(data, port=port, dashboards=dashboards, access="users", kernels=MOST)
    root = f"http://{serve.HOST}:{port}"
    with browser.running([*command, f"--patience={PATIENCE}"], serve.environment(), f"{root}/login", log=log):
        found = [one for one in psutil.Process().children() if f"--port={port}" in one.cmdline()]
        yield root, found[0]


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    place = tmp_path_factory.mktemp("served")
    dashboards = made_servers.notebooks(place / "dashboards", demand=WHO, loyalty=made_servers.SLIDER)
    with serving(folder, dashboards, place / "server.log") as found:
        yield found


def kernels(server: psutil.Process) -> set[int]:
    """The processes of the server's kernels, forked or not."""
    below = {one.pid: one for one in server.children(recursive=True)}
    parents = {
        pid for pid, one in below.items() if one.ppid() == server.pid and "crmlib.serving.warm_parent" in _line(one)
    }
    return {pid for pid, one in below.items() if pid not in parents and _line(one)}


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(true: Callable[[], object], *, within: float = 60) -> bool:
    give_up = time.monotonic() + within
    while not (found := true()) and time.monotonic() < give_up:
        time.sleep(0.1)
    return bool(found)


def close(visitor: httpx.Client, kernel: str) -> int:
    """What a page says when it is closed."""
    headers = {"X-XSRFToken": visitor.cookies["_xsrf"]}
    return visitor.post(f"/voila/api/shutdown/{kernel}", headers=headers).status_code


def alive(visitor: httpx.Client, kernel: str) -> bool:
    return visitor.get(f"/api/kernels/{kernel}").status_code == 200


# ---------------------------------------------------------------- speed and identity together


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="needs chromium")
def test_pages_made_ready_know_their_visitor_and_todays_data(served: tuple[str, psutil.Process], folder: Path) -> None:
    root, server = served
    assert until(lambda: len(kernels(server)) == 2), "one page of each dashboard is made ready"
    (folder / "news").write_text("today's", encoding="utf-8")
    with browser.chromium() as chrome, browser.visit(chrome) as anna, browser.visit(chrome) as vera:
        for visit, name in ((anna, "anna"), (vera, "vera")):
            visit.page.goto(f"{root}/login")
            visit.page.fill("input[name=name]", name)
            visit.page.fill("input[name=password]", made_servers.PASSWORD)
            visit.page.click("main button[type=submit]")
            visit.page.wait_for_load_state()
        for visit in (anna, vera):  # both at the same time: one page is ready, the other one is made
            visit.page.goto(f"{root}/voila/render/demand.ipynb", wait_until="commit")
        assert shows(anna.page) == "anna/analyst, made for nobody: today's"
        assert shows(vera.page).startswith("vera/viewer, made for ")
        before = kernels(server)
        anna.page.reload()  # one after the other: what Anna had is not handed to anybody again
        assert shows(anna.page).startswith("anna/analyst")
        assert until(lambda: kernels(server) - before)
        assert shows(vera.page).startswith("vera/viewer"), "and Vera's page is as it was"
        anna.page.close(run_before_unload=True)
        vera.page.close(run_before_unload=True)
        assert anna.errors == vera.errors == []


def shows(page: Any) -> str:
    """What the page shows once it has said that somebody is there; until then what nobody in particular may see."""
    page.locator(".who", has_text=re.compile(r"^\s*\w+/")).wait_for()
    return str(page.locator(".who").text_content())


# ---------------------------------------------------------------- ends


def test_a_closed_page_ends_its_kernel_and_nobody_gets_it_again(served: tuple[str, psutil.Process]) -> None:
    root, server = served
    with logged_in(root, "anna") as anna:
        kernel = opened(anna, "loyalty")
        assert alive(anna, kernel)
        before = kernels(server)
        assert close(anna, kernel) == 204
        assert not alive(anna, kernel) and until(lambda: before - kernels(server))
        again = opened(anna, "loyalty")
        assert again != kernel
        assert close(anna, again) == 204


def test_a_page_that_died_without_a_word_ends_its_kernel_and_a_short_loss_does_not(
    served: tuple[str, psutil.Process],
) -> None:
    root, _ = served
    with logged_in(root, "anna") as anna:
        kernel = opened(anna, "loyalty")
        for _ in range(2):
            channels = connected(anna, kernel)
            time.sleep(0.5)
            channels.sock.close()  # no word of goodbye
            time.sleep(PATIENCE / 4)
            assert alive(anna, kernel)
        channels = connected(anna, kernel)
        time.sleep(1.5 * PATIENCE)
        assert alive(anna, kernel), "as long as the page is connected it lives"
        channels.sock.close()
        assert until(lambda: not alive(anna, kernel), within=5 * PATIENCE)


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="needs chromium")
def test_a_killed_browser_ends_its_kernel(served: tuple[str, psutil.Process]) -> None:
    root, _ = served
    with logged_in(root, "anna") as anna, browser.chromium() as chrome:
        visit = chrome.new_context()
        cookies = [{"name": one.name, "value": one.value or "", "url": root} for one in anna.cookies.jar]
        visit.add_cookies(cookies)
        page = visit.new_page()
        page.goto(f"{root}/voila/render/loyalty.ipynb")
        page.wait_for_selector(".widget-slider")
        kernel = re.search(r'"kernelId":\s*"([0-9a-f-]{36})"', page.content())
        assert kernel and alive(anna, kernel[1])
        for one in psutil.Process().children(recursive=True):
            if "chrom" in one.name():
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        assert until(lambda: not alive(anna, kernel[1]), within=10 * PATIENCE)


def test_a_kernel_that_dies_is_forgotten_and_frees_its_place(served: tuple[str, psutil.Process]) -> None:
    root, server = served
    with logged_in(root, "anna") as anna:
        before = kernels(server)
        kernel = opened(anna, "demand")
        for pid in before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert until(lambda: not alive(anna, kernel) or kernels(server).isdisjoint(before))
        if alive(anna, kernel):
            close(anna, kernel)
        fresh = opened(anna, "demand")
        assert alive(anna, fresh), "and a page that died before anybody came is not handed out"
        close(anna, fresh)


def test_a_kernel_is_given_once_and_to_one_person_in_one_role(tmp_path: Path) -> None:
    kept = Kernels(visits=str(tmp_path))
    maria = Visitor("maria", Role("analyst"))
    kept.give("k", maria)
    assert kept.belongs("k", maria) and not kept.belongs("k", NOBODY)
    assert not kept.belongs("k", Visitor("maria", Role("viewer"))), "a lost role does not come back with an old page"
    assert not kept.belongs("k", Visitor("eve", Role("analyst"))) and not kept.belongs("other", maria)
    with pytest.raises(RuntimeError, match="kernel k is given to a second visitor"):
        kept.give("k", Visitor("eve", Role("analyst")))
    with pytest.raises(RuntimeError, match="to nobody"):
        kept.give("l", NOBODY)


# ---------------------------------------------------------------- how many


class _Page:
    """A page that is being made for ever."""

    failed = ready = False

    def __init__(self, notebook: str) -> None:
        self.notebook, self.whose = notebook, ""


def test_one_person_cannot_take_all_places_nor_the_whole_line(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(SimpleNamespace(kernel_manager=SimpleNamespace()), most=8, free=lambda: 1 << 40)
    monkeypatch.setattr(places, "_open", lambda notebook, instead_of=None: _Page(notebook))
    for _ in range(4):
        assert isinstance(places.enter("demand.ipynb", "t", name="eve"), _Page)
    assert places.enter("demand.ipynb", "t", name="eve") is None and len(places.line) == 0
    assert isinstance(places.enter("demand.ipynb", "t", name="max"), _Page)
    for number in range(3):
        assert isinstance(places.enter("demand.ipynb", str(number)), _Page), (
            "several people of one name are not told apart"
        )
    for number in range(50):
        assert places.enter("demand.ipynb", f"forged {number}", name="ida") == 0
    assert places.enter("demand.ipynb", "t", name="max") == 1 and len(places.line) == 2


def test_beyond_the_cap_people_wait_in_line_and_pages_made_ready_are_given_up(
    served: tuple[str, psutil.Process],
) -> None:
    root, server = served
    with logged_in(root, "anna") as anna, client(root) as eve, client(root) as max_:
        made_servers.log_in(eve, "eve")
        made_servers.log_in(max_, "max")
        mine = [opened(anna, "demand") for _ in range(MOST)]
        assert all(alive(anna, one) for one in mine), "the ones made ready made room"
        assert len(kernels(server)) <= MOST
        first = eve.get("/voila/render/demand.ipynb")
        assert first.status_code == 503 and first.headers["Retry-After"] == "5"
        assert "All places are taken" in first.text and "You are the next one" in first.text
        assert "location.reload()" in first.text and "kernelId" not in first.text
        second = max_.get("/voila/render/demand.ipynb", headers={"Accept-Language": "ru"})
        assert second.status_code == 503 and "Все места" in second.text and "1 человек" in second.text
        assert len(kernels(server)) <= MOST, "nobody who waits costs a kernel"
        assert close(anna, mine[0]) == 204
        assert max_.get("/voila/render/demand.ipynb").status_code == 503, "it is not his turn"
        hers = opened(eve, "demand")
        assert alive(eve, hers) and not alive(anna, hers) and not alive(max_, hers)
        for one in mine[1:]:
            close(anna, one)
        close(max_, opened(max_, "demand"))
        close(eve, hers)


def test_who_does_not_ask_again_loses_the_turn() -> None:
    line = Line(patience=15)
    assert [line.ahead(one, now=0) for one in "abc"] == [0, 1, 2]
    assert line.ahead("c", now=10) == 2 and line.ahead("b", now=12) == 1
    assert line.ahead("b", now=16) == 0, "a is gone"
    line.leave("b")
    assert line.ahead("c", now=17) == 0 and len(line) == 1


def test_memory_of_a_container_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{900 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {100 << 20}\n")
    assert memory.free(tmp_path) == (224 << 20)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(tmp_path) > (224 << 20)


# ---------------------------------------------------------------- the server's end


def test_nothing_is_left_when_the_server_is_killed(folder: Path, tmp_path: Path) -> None:
    dashboards = made_servers.notebooks(tmp_path / "dashboards", demand=made_servers.SLIDER)
    with serving(folder, dashboards, tmp_path / "log") as (_, server):
        assert until(lambda: kernels(server))
        below = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        assert len(below) >= (2 if warm.possible() else 1)
        _, left = psutil.wait_procs(below, timeout=20)
        assert left == []


def test_the_servers_own_end_leaves_no_files(folder: Path, tmp_path: Path) -> None:
    dashboards = made_servers.notebooks(tmp_path / "dashboards", demand=made_servers.SLIDER)
    port = browser.free_port()
    command = serve.command(folder, port=port, dashboards=dashboards, access="users")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**serve.environment(), "TMPDIR": str(scratch)}
    with browser.running(command, environment, f"http://{serve.HOST}:{port}/login", log=tmp_path / "log"):
        visits = next(scratch.glob("crm-visits-*"))
        assert visits.stat().st_mode & 0o077 == 0
        with logged_in(f"http://{serve.HOST}:{port}", "anna") as anna:
            kernel = opened(anna, "demand")
            visit = json.loads((visits / f"{kernel}.json").read_text())
            assert visit["name"] == "anna" and visit["role"] == "analyst"
            close(anna, kernel)
            assert not (visits / f"{kernel}.json").exists()
    assert [path.name for path in scratch.iterdir() if path.name.startswith("crm-")] == []
