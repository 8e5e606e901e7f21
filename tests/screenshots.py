"""Pictures of the dashboards for a person to look at: python tests/screenshots.py DATA [FOLDER] [--dashboard NAME].

Takes each dashboard at the width of a laptop and of a tablet, in both languages, from the top and as a whole.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from urllib.parse import urljoin

import browser

from crmlib.serving import serve

SIZES = {"laptop": (1366, 768), "tablet": (820, 1180)}
LANGUAGES = {"en": "English", "ru": "Русский"}


SETTLED = """() => document.querySelector('.crm-panel h1') &&
    [...document.querySelectorAll('.crm-chart')].every(chart => !chart.offsetParent || chart.dataset.state === 'drawn')"""


def take(data: Path, folder: Path, names: list[str]) -> list[Path]:
    """Take the pictures of the dashboards named and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with browser.server(data, log=folder / "server.log") as (port, token), browser.chromium() as chromium:
        for name, (size, (width, height)) in itertools.product(names, SIZES.items()):
            with browser.visit(chromium, width=width, height=height) as visit:
                page = visit.page
                page.goto(serve.url(port, token, name))
                page.wait_for_function(SETTLED)
                suggested = page.locator(".card-hint a")
                if suggested.count():  # the card of a customer, not the page that asks for one
                    page.goto(urljoin(page.url, suggested.first.get_attribute("href") or ""))
                    page.wait_for_function(SETTLED)
                for code, language in LANGUAGES.items():
                    page.get_by_role("button", name=language).click()
                    page.wait_for_function(f"() => document.documentElement.lang === '{code}'")
                    for part, tall in (("top", height), ("whole", 2400)):
                        page.set_viewport_size({"width": width, "height": tall})
                        page.wait_for_timeout(1500)
                        made.append(folder / f"{name}-{size}-{code}-{part}.png")
                        page.screenshot(path=made[-1])
                    page.set_viewport_size({"width": width, "height": height})
                assert visit.outside == [] and visit.errors == [], (name, visit.outside, visit.errors)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("screenshots"))
    parser.add_argument("--dashboard", action="append", help="may be given several times (default: all)")
    given = parser.parse_args()
    every = sorted(file.stem for file in browser.DASHBOARDS.glob("*.ipynb"))
    for file in take(given.data.absolute(), given.folder.absolute(), given.dashboard or every):
        print(file)
