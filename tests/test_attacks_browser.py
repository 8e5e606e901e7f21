"""What an attacker puts into customers' names, and into the fields and addresses of pages, in a real browser."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import made_card
import made_desk
import made_retention
import made_servers
import pandas as pd
import pytest

from crmlib.serving import serve

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it"),
]

MARKUP = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script><svg onload=alert(3)>"
FORMULA = "=cmd|'/C calc'!A0"
TOKEN = "the-token-of-this-test-0123456789"
STRANGE = "() => document.querySelectorAll('img[src=x], svg[onload], [onerror]:not(script)').length"


def hostile(customers: pd.DataFrame) -> pd.DataFrame:
    """Customers with an attacker's names."""
    return customers.assign(given_name=MARKUP, family_name=FORMULA)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank of the desk and the card, everybody with an attacker's name."""
    frames = made_desk.frames

    def changed(*given: Any) -> dict[str, pd.DataFrame]:
        made = frames(*given)
        products = made["products"].assign(name=made["products"]["name"] + SCRIPT)
        return {**made, "customers": hostile(made["customers"]), "products": products}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_desk, "frames", changed)
        return made_card.make(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def watchlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank of the watchlist, everybody with an attacker's name, decided upon."""
    from crmlib.runs import retention_jobs
    from crmlib.runs.stages import Stages

    frames = made_retention.warehouse_frames

    def changed(*given: Any, **more: Any) -> tuple[dict[str, pd.DataFrame], Any]:
        made, left = frames(*given, **more)
        staff = made["employees"].assign(name=SCRIPT)
        return {**made, "customers": hostile(made["customers"]), "employees": staff}, left

    folder = tmp_path_factory.mktemp("watchlist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_retention, "warehouse_frames", changed)
        made_retention.make(folder, customers=1_200)
    retention_jobs.retention(folder, as_of=None, capacities={"call": 60}, stages=Stages())
    return folder


@pytest.fixture(scope="module")
def root(card: Path, watchlist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the three dashboards that show customers."""
    said = "from pathlib import Path\nfrom crmlib import panels\n"
    folder = made_servers.notebooks(
        tmp_path_factory.mktemp("served") / "dashboards",
        customer_card=f"{said}panels.customer_card(Path({str(card)!r}))",
        offer_desk=f"{said}panels.offer_desk(Path({str(card)!r}))",
        retention_watchlist=f"{said}panels.retention_watchlist(Path({str(watchlist)!r}))",
    )
    log = tmp_path_factory.mktemp("log") / "server.log"
    with made_servers.serving(card, folder, access="token", log=log, token=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def opened(root: str) -> Iterator[tuple[browser.Visit, list[str], str]]:
    """A visitor; every dialog that a page opens is noted."""
    with browser.chromium() as driver, browser.visit(driver) as visit:
        visit.page.set_default_timeout(40_000)
        dialogs: list[str] = []
        visit.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        visit.page.goto(f"{root}/?token={TOKEN}")
        assert TOKEN not in visit.page.url, "the token does not stay in the address"
        yield visit, dialogs, root


def unharmed(found: tuple[browser.Visit, list[str], str]) -> None:
    visit, dialogs, _ = found
    visit.page.wait_for_timeout(300)
    assert dialogs == [] and visit.outside == [] and visit.page.evaluate(STRANGE) == 0


@pytest.mark.parametrize("dashboard", ["customer_card", "offer_desk"])
def test_names_are_text_on_the_pages_about_a_customer(
    opened: tuple[browser.Visit, list[str], str], dashboard: str
) -> None:
    visit, _, root = opened
    page = visit.page
    page.goto(f"{root}/voila/render/{dashboard}.ipynb?customer={made_desk.FAMILY}")
    page.get_by_text("<. =.").first.wait_for()  # initials, until the name is asked for
    unharmed(opened)
    page.get_by_label("Show the name").click()
    page.get_by_text(MARKUP).first.wait_for()
    unharmed(opened)


@pytest.mark.parametrize(
    "typed", [MARKUP, FORMULA, SCRIPT, "../../etc/passwd", "' OR '1'='1", "\u202e\u0000x", "9" * 5_000]
)
def test_what_is_typed_is_only_looked_for(opened: tuple[browser.Visit, list[str], str], typed: str) -> None:
    visit, _, root = opened
    page = visit.page
    if "customer_card" not in page.url:
        page.goto(f"{root}/voila/render/customer_card.ipynb")
    field = page.get_by_label("Customer number")
    field.wait_for()
    field.fill(typed)
    field.press("Enter")
    page.get_by_role("alert").filter(has_text="There is no customer").wait_for()
    unharmed(opened)
    assert "Traceback" not in page.content()


def test_an_address_cannot_smuggle_markup_in(opened: tuple[browser.Visit, list[str], str]) -> None:
    visit, _, root = opened
    for query in (
        "customer=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "customer=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ):
        visit.page.goto(f"{root}/voila/render/customer_card.ipynb?{query}")
        visit.page.locator(".crm-panel").first.wait_for()
        unharmed(opened)
    visit.page.goto(f"{root}/voila/render/customer_card.ipynb?%3Cscript%3E=1")
    visit.page.get_by_text("This address cannot be read").first.wait_for()
    unharmed(opened)


def test_the_policy_stops_handlers_and_requests_even_where_somebody_forgot_to_escape(
    opened: tuple[browser.Visit, list[str], str],
) -> None:
    visit, dialogs, root = opened
    page = visit.page
    page.goto(f"{root}/login")
    page.evaluate(
        "html => document.body.insertAdjacentHTML('beforeend', html)",
        f"{MARKUP}<svg onload=alert(3)></svg><iframe src='https://evil.example/'></iframe><b id=x onclick=alert(5)>x</b>",
    )
    page.locator("#x").click()
    page.wait_for_timeout(300)
    assert dialogs == []
    asked = "() => fetch('https://evil.example/').then(() => 'sent', error => 'refused')"
    assert page.evaluate(asked) == "refused" and visit.outside == [], "the browser does not even try"


def test_names_are_text_on_the_watchlist_and_in_its_file(opened: tuple[browser.Visit, list[str], str]) -> None:
    visit, _, root = opened
    page = visit.page
    page.goto(f"{root}/voila/render/retention_watchlist.ipynb")
    page.wait_for_function(browser.DRAWN, arg=1)
    unharmed(opened)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").first.click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    cells = [cell for row in rows for cell in row.values() if cell and "cmd|" in cell]
    assert rows and all(cell.startswith("'=") for cell in cells)
    assert not [cell for row in rows for cell in row.values() if cell and cell[0] in "=+@"]
    assert cells or not any("name" in column for column in rows[0])
    unharmed(opened)


def test_another_site_cannot_frame_a_page(opened: tuple[browser.Visit, list[str], str], tmp_path: Path) -> None:
    visit, _, root = opened
    page = visit.page
    page.route(
        "http://127.0.0.1:9/frame",
        lambda route: route.fulfill(content_type="text/html", body=f"<iframe name=f src='{root}/'></iframe>"),
    )
    page.goto("http://127.0.0.1:9/frame")
    page.wait_for_timeout(500)
    inside = next(one for one in page.frames if one.name == "f")
    assert "crm" not in inside.content() and serve.HOST not in inside.url.removeprefix(root)
