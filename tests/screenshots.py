"""Pictures of every page for a person to look at: python tests/screenshots.py DATA [FOLDER] [--page NAME].

Takes the front door, the login, the page while a dashboard is opened, and each dashboard as a whole, at the width of a
laptop and of a tablet, in both languages, light, and on the laptop dark as well.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import browser

from crmlib.serving import serve

SIZES = {"laptop": (1366, 768), "tablet": (820, 1180)}
LANGUAGES = {"en": "English", "ru": "Русский"}
PLAIN = ("gallery", "login", "opening")


SETTLED = """() => document.querySelector('.crm-panel h1') &&
    [...document.querySelectorAll('.crm-chart')].every(chart => !chart.offsetParent || chart.dataset.state === 'drawn')"""


def take(data: Path, folder: Path, names: list[str]) -> list[Path]:
    """Take the pictures of the pages named and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with browser.server(data, log=folder / "server.log") as served, browser.chromium() as chromium:
        for name, size in itertools.product(names, SIZES):
            width, height = SIZES[size]
            with browser.visit(chromium, width=width, height=height) as visit:
                shoot = _plain if name in PLAIN else _dashboard
                made += shoot(visit.page, served, name, folder / f"{name}-{size}")
                assert visit.outside == [] and visit.errors == [], (name, visit.outside, visit.errors)
    return made


def _dashboard(page: Any, served: tuple[int, str], name: str, stem: Path) -> list[Path]:
    page.goto(serve.url(*served, name))
    page.wait_for_function(SETTLED)
    suggested = page.locator(".card-hint a")
    if suggested.count():  # the card of a customer, not the page that asks for one
        page.goto(urljoin(page.url, suggested.first.get_attribute("href") or ""))
        page.wait_for_function(SETTLED)
    made = []
    for code, language in LANGUAGES.items():
        page.get_by_role("button", name=language).click()
        page.wait_for_function(f"() => document.documentElement.lang === '{code}'")
        made += _themes(page, f"{stem}-{code}")
    return made


def _plain(page: Any, served: tuple[int, str], name: str, stem: Path) -> list[Path]:
    made = []
    base = f"http://{serve.HOST}:{served[0]}/"
    for code in LANGUAGES:
        if name == "login":
            page.goto(f"{base}login?language={code}")
        elif name == "gallery":
            page.goto(f"{serve.url(*served)}&language={code}")
        else:
            page.goto(f"{serve.url(*served)}&language={code}")
            page.route("**/voila.js", lambda route: route.abort())  # what one sees until the scripts are there
            page.goto(f"{base}voila/render/demand.ipynb?language={code}")
        made += _themes(page, f"{stem}-{code}")
    return made


def _themes(page: Any, stem: str) -> list[Path]:
    made = []
    for theme in ("light", "dark")[: 2 if "laptop" in stem else 1]:
        if page.evaluate("document.documentElement.dataset.theme") != theme:
            page.evaluate("crmTheme.toggle()")
        page.wait_for_timeout(1200)
        made.append(Path(f"{stem}-{theme}.png"))
        page.screenshot(path=made[-1], full_page=True)
    if theme != "light":
        page.evaluate("crmTheme.toggle()")
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("screenshots"))
    parser.add_argument("--page", action="append", help="may be given several times (default: all)")
    given = parser.parse_args()
    every = [*PLAIN, *sorted(file.stem for file in browser.DASHBOARDS.glob("*.ipynb"))]
    for file in take(given.data.absolute(), given.folder.absolute(), given.page or every):
        print(file)
