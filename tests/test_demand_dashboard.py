"""The demand dashboard in a real browser: choose, look, override with a reason, withdraw, try, download, in both languages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import browser
import figures
import made_forecasts
import pytest

from crmlib.serving import serve
from crmlib.store import overrides

SERIES = "() => JSON.stringify(document.querySelector('.js-plotly-plot').data.map(one => one.name))"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasts")
    made_forecasts.make(folder)
    return folder


@pytest.fixture(scope="module")
def visit(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    alone = tmp_path_factory.mktemp("dashboards")  # the server makes ready every page it finds: here just this one
    shutil.copy(browser.DASHBOARDS / "demand.ipynb", alone)
    with (
        browser.server(data, log=log, dashboards=alone) as served,
        browser.chromium() as chromium,
        browser.visit(chromium) as found,
    ):
        found.page.goto(f"{serve.url(*served, 'demand')}&level=product_region_week&series=milk/North")
        found.page.wait_for_function(browser.DRAWN, arg=6)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it")
def test_a_planner_looks_overrides_tries_and_downloads(visit: browser.Visit, data: Path) -> None:
    page = visit.page
    page.get_by_role("heading", name="Milk <b>1 l</b> · North").wait_for()
    assert '"forecast"' in page.evaluate(SERIES) and '"override"' not in page.evaluate(SERIES)

    taken = figures.csv_of(figures.take_chart(page, 0, "csv"))
    assert "forecast" in set(taken.iloc[:, 0]) and len(taken) > 8
    assert figures.on_record(data, 1)["action"].tolist() == ["export"]

    page.get_by_role("button", name="Override the forecast", exact=True).click()
    page.get_by_text("without a reason nobody can learn from it").wait_for()
    # By keyboard: the number, then the reason, then the button.
    number = page.locator(".crm-inner input[type=number]")
    number.fill("512")
    number.press("Tab")
    page.keyboard.type("new customer")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("is 512 now, instead of").wait_for()
    page.wait_for_function(f"() => ({SERIES})().includes('\"override\"')")
    assert overrides.in_force(data)["reason"].tolist() == ["new customer"]

    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download this forecast as CSV").click()
    saved = Path(waiting.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert saved[0].startswith('"level","series_id","product_id"') and len(saved) == 9 and ",512.0," in saved[1]

    assert len(figures.xlsx_of(figures.take_table(page, 0, "xlsx"))) == 2, "the override, below its heading"
    page.get_by_role("button", name="Withdraw").click()
    page.get_by_text("The override was withdrawn").wait_for()
    page.wait_for_function(f"() => !({SERIES})().includes('\"override\"')")

    page.get_by_label("with a promotion (display, advertising)").check()
    page.get_by_text("A promotion is planned there already").wait_for()


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it")
def test_it_searches_speaks_russian_and_fits_narrow_screens(visit: browser.Visit) -> None:
    page = visit.page
    page.locator(".crm-demand input[type=text]").fill("kef")
    page.get_by_role("heading", name="Kefir · North").wait_for()
    page.get_by_role("button", name="Русский").click()
    page.wait_for_function("() => document.documentElement.lang === 'ru'")
    page.get_by_text("Насколько прогноз ошибался?").wait_for()
    assert page.title() == "Спрос"
    page.locator(".crm-demand input[type=text]").fill("")
    page.locator(".crm-demand select").first.select_option(label="По дням")
    page.get_by_text("Штук в день").first.wait_for()
    for width, height in ((1366, 768), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], "nothing is cut off at the side"
    first = "() => document.querySelector('.js-plotly-plot').getBoundingClientRect().width"
    assert page.evaluate(first) > 600, "on a narrow screen a chart takes its whole width"
