"""Pictures of the dashboards for a person to look at: python tests/screenshots.py DATA [FOLDER].

Takes each dashboard at the width of a laptop and of a tablet, in both languages, from the top and as a whole.
"""

from __future__ import annotations

import sys
from pathlib import Path

import browser

from crmlib.views import serve

SIZES = {"laptop": (1366, 768), "tablet": (820, 1180)}
LANGUAGES = {"en": "English", "ru": "Русский"}


def take(data: Path, folder: Path) -> list[Path]:
    """Take the pictures and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with browser.server(data, log=folder / "server.log") as (port, token), browser.chromium() as chromium:
        for size, (width, height) in SIZES.items():
            with browser.visit(chromium, width=width, height=height) as visit:
                page = visit.page
                page.goto(serve.url(port, token, "campaign_targeting"))
                page.wait_for_function(browser.DRAWN, arg=3)
                for code, name in LANGUAGES.items():
                    page.get_by_role("button", name=name).click()
                    page.wait_for_function(f"() => document.documentElement.lang === '{code}'")
                    for part, tall in (("top", height), ("whole", 2000)):
                        page.set_viewport_size({"width": width, "height": tall})
                        page.wait_for_timeout(1500)
                        made.append(folder / f"campaign_targeting-{size}-{code}-{part}.png")
                        page.screenshot(path=made[-1])
                    page.set_viewport_size({"width": width, "height": height})
    return made


if __name__ == "__main__":
    for file in take(
        Path(sys.argv[1]).absolute(), Path(sys.argv[2] if len(sys.argv) > 2 else "screenshots").absolute()
    ):
        print(file)
