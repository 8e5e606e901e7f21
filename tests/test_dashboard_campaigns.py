"""The campaigns dashboard in a real browser: plan from a saved audience, approve, assign, take the list, see an effect."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_campaigns
import pytest

from crmlib.decisions import campaigns, watermarks
from crmlib.serving import serve

pytestmark = pytest.mark.skipif(browser.program() is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaigns")
    made_campaigns.folder(folder)
    made_campaigns.with_past(folder)
    return folder


@pytest.fixture(scope="module")
def served(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    with browser.server(data, log=tmp_path_factory.mktemp("log") / "server.log") as where:
        yield where


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as found:
        yield found


def open_page(page: Any, served: tuple[int, str], query: str = "") -> None:
    address = serve.url(*served, "campaigns")
    page.goto(address + (("&" if "?" in address else "?") + query if query else ""))
    page.get_by_role("button", name="Save draft").wait_for()


def field(page: Any, label: str) -> Any:
    """The control below a label."""
    return page.locator(".crm-controls > *", has=page.get_by_text(label, exact=True)).locator("input, select").first


def fill(page: Any, label: str, value: str) -> None:
    field(page, label).fill(value)
    field(page, label).press("Tab")


def test_a_campaign_from_a_saved_audience_to_its_list_and_an_effect(
    chromium: Any, served: tuple[int, str], data: Path
) -> None:
    with browser.visit(chromium) as visit:
        page = visit.page
        open_page(page, served, "audience=1&product=gold_card")
        page.get_by_text("name is empty; a campaign is recorded").wait_for()
        fill(page, "Name of the campaign", "Gold in winter")
        fill(page, "Goal", "sell gold cards")
        fill(page, "Owner", "Anna")
        page.get_by_text("Whom each arm may contact").wait_for()
        page.get_by_text("too few:").wait_for()
        page.get_by_role("button", name="Save draft").click()
        page.get_by_text("Campaign Gold in winter is saved as a draft.").wait_for()
        fill(page, "Approved by (not the owner)", "anna")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("somebody else approves it").wait_for()
        fill(page, "Approved by (not the owner)", "Boris")
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("Campaign Gold in winter is approved by Boris.").wait_for()
        assert page.get_by_role("button", name="Download CSV").is_disabled()
        page.get_by_role("button", name="Assign people").click()
        page.get_by_text("are left alone; both are on record").wait_for()
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8-sig"))))
        (row,) = campaigns.planned(data)
        members = campaigns.members_of(data, row).set_index("customer_id")
        listed = {one["customer_id"] for one in rows}
        marks = {name for name in listed if watermarks.is_marked(name)}
        assert len(marks) == 1 and watermarks.traced(data, next(iter(marks))).content["campaign_id"] == row.campaign_id
        assert listed - marks == set(members.index[~members["control"]])
        assert not listed & set(members.index[members["control"]])
        page.get_by_role("button", name="Effect", exact=True).click()
        page.get_by_text("bought only because of it").wait_for()
        page.locator(".crm-chart:visible .crm-take").first.wait_for()
        effect = figures.csv_of(figures.take_chart(page, 0, "csv"))
        assert {"Additional buyers", "lower limit", "upper limit"} <= set(effect.columns) and len(effect) == 1
        heads, *groups = figures.xlsx_of(figures.take_table(page, 0, "xlsx"))
        assert heads[0] == "Arm" and len(groups) == 1
        assert figures.on_record(data, 2)["action"].tolist() == ["export", "export"]
        assert "campaign earned" in page.locator(".crm-say").first.inner_text()
        page.wait_for_function(
            "() => [...document.querySelectorAll('.crm-chart[data-state=drawn]')].filter(c => c.offsetParent).length >= 2"
        )
        page.get_by_role("button", name="Follow", exact=True).click()
        page.get_by_text("Campaign calendar").wait_for()
        page.locator(".crm-chart text", has_text="Gold in winter").first.wait_for()
        assert visit.outside == [] and visit.errors == []


def test_it_speaks_russian_and_nothing_is_cut_off(chromium: Any, served: tuple[int, str]) -> None:
    for width, height in ((1366, 768), (820, 1180)):
        with browser.visit(chromium, width=width, height=height) as visit:
            page = visit.page
            open_page(page, served)
            page.get_by_role("button", name="Русский").click()
            page.get_by_role("button", name="Эффект", exact=True).click()
            page.get_by_text("Дополнительные покупатели").first.wait_for()
            page.wait_for_function(
                "() => [...document.querySelectorAll('.crm-chart[data-state=drawn]')].filter(c => c.offsetParent).length >= 2"
            )
            assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
            assert visit.errors == []
