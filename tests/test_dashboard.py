"""The campaign targeting dashboard in a real browser."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_scores
import nbformat
import openpyxl
import pytest
import sqlalchemy as sa

from crmlib.serving import serve
from crmlib.store import session, tables
from crmlib.views import targeting

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it"),
]
CHARTS = 3
SHOWN = "() => [...document.querySelectorAll('.crm-chart .js-plotly-plot')].map(p => JSON.stringify([p.data, p.layout.shapes]))"
REVISIONS = "() => [...document.querySelectorAll('.crm-chart')].map(c => +c.dataset.revision)"
CHANGED = """before => [...document.querySelectorAll('.crm-chart')].every(
    (chart, place) => chart.dataset.state === 'drawn' && +chart.dataset.revision > before[place])"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    # More than a thousand candidates: a slider that snapped to multiples would miss the best cut-off.
    made_scores.make(folder, customers=2500)
    return folder


@pytest.fixture(scope="module")
def served(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    with browser.server(data, log=tmp_path_factory.mktemp("log") / "server.log") as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def opened(chromium: Any, served: tuple[int, str]) -> Iterator[browser.Visit]:
    with open_page(chromium, served) as found:
        yield found


@contextlib.contextmanager
def open_page(chromium: Any, served: tuple[int, str]) -> Iterator[browser.Visit]:
    with browser.visit(chromium) as found:
        found.page.goto(serve.url(*served, "campaign_targeting"))
        found.page.wait_for_function(browser.DRAWN, arg=CHARTS)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


@pytest.fixture
def visit(opened: browser.Visit) -> browser.Visit:
    """The page as it was when it was opened: one page serves all tests that leave it in order."""
    page = opened.page
    page.get_by_role("button", name="English").click()
    for place, number in ((1, 0), (0, 1), (0, 0)):
        revisions = page.evaluate(REVISIONS)
        if page.locator(".crm-controls select").nth(place).evaluate("node => node.selectedIndex") != number:
            page.locator(".crm-controls select").nth(place).select_option(index=number)
            page.wait_for_function(CHANGED, arg=revisions)
    page.get_by_text("Whom to contact").wait_for()
    return opened


def tile(page: Any, name: str) -> str:
    return str(page.locator(f'.crm-tile:has(> span:text-is("{name}")) b').inner_text())


def test_the_page_shows_charts_numbers_and_list(visit: browser.Visit, data: Path) -> None:
    page = visit.page
    assert page.title() == "Campaign targeting"
    loaded = targeting.load(data)
    choice = targeting.choose(loaded, loaded.products["product_id"][0], None)
    assert tile(page, "Contacts") == f"{choice.best:,}"
    curve = page.evaluate("() => document.querySelector('.crm-chart .js-plotly-plot').data.map(t => t.name)")
    assert "expected profit" in curve and "best cut-off" in curve
    assert page.locator(".crm-list tbody tr").count() == 10
    assert page.locator(".crm-list tbody tr").first.locator("td").nth(1).inner_text() == choice.ranked["customer_id"][0]
    assert "warehouse version 1" in page.locator(".crm-from").inner_text()
    assert "Novák" not in page.content(), "names are only in the download"


@pytest.mark.parametrize("slider", [0, 1], ids=["cut-off", "budget"])
def test_a_slider_changes_every_chart(visit: browser.Visit, slider: int) -> None:
    page = visit.page
    before, revisions, profit = page.evaluate(SHOWN), page.evaluate(REVISIONS), tile(page, "Expected profit")
    page.locator(".crm-controls .noUi-base").nth(slider).click(position={"x": 60, "y": 2})
    page.wait_for_function(CHANGED, arg=revisions)
    after = page.evaluate(SHOWN)
    assert len(before) == len(after) == CHARTS
    assert [old != new for old, new in zip(before, after, strict=True)] == [True] * CHARTS
    assert tile(page, "Expected profit") != profit


def test_dragging_ends_on_the_last_position(visit: browser.Visit) -> None:
    page = visit.page
    box = page.locator(".crm-controls .noUi-base").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.8, y)
    page.mouse.down()
    for share in range(78, 18, -2):
        page.mouse.move(box["x"] + box["width"] * share / 100, y)
    page.mouse.up()
    page.wait_for_timeout(1500)
    page.wait_for_function(browser.DRAWN, arg=CHARTS)
    contacts = int(tile(page, "Contacts").replace(",", ""))
    ring = "() => document.querySelector('.crm-chart .js-plotly-plot').data.find(t => t.mode === 'markers+text').x[0]"
    assert page.evaluate(ring) == contacts, "the chart is not stale"


def test_another_product_and_channel(visit: browser.Visit) -> None:
    page = visit.page
    revisions = page.evaluate(REVISIONS)
    page.locator(".crm-controls select").nth(0).select_option(label="Gold card <b>")
    page.wait_for_function(CHANGED, arg=revisions)
    revisions = page.evaluate(REVISIONS)
    page.locator(".crm-controls select").nth(1).select_option(label="call")
    page.wait_for_function(CHANGED, arg=revisions)
    # The list follows the charts.
    cells = "[...document.querySelectorAll('.crm-list tbody tr td:nth-child(4)')]"
    page.wait_for_function(f"() => {cells}.length === 10 && {cells}.every(cell => cell.innerText === 'call')")


def test_a_product_that_is_not_worth_a_call_says_so(visit: browser.Visit) -> None:
    page = visit.page
    page.locator(".crm-controls select").nth(0).select_option(label="Travel insurance")
    page.locator(".crm-controls select").nth(1).select_option(label="call")
    page.get_by_text("Nobody is worth contacting here").wait_for()
    page.get_by_text("No back test of this product was saved.").wait_for()
    assert page.get_by_role("button", name="Download CSV").is_disabled()


def test_the_language_switch_changes_the_words(visit: browser.Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Русский").click()
    page.get_by_text("С кем связаться").wait_for()
    page.wait_for_function(
        "() => document.querySelector('.crm-chart .js-plotly-plot').data.some(t => t.name === 'ожидаемая прибыль')"
    )
    assert page.title() == "Отбор клиентов для кампании"
    # The products keep their names; everything else of the panel is Russian.
    left = (
        page.evaluate("() => document.querySelector('.crm-panel').innerText")
        .replace("English", "")
        .replace("\u00a0", " ")
    )
    for name, _, _ in made_scores.PRODUCTS.values():
        left = left.replace(name, "")
    allowed = ("propensity", "PNG", "CSV", "XLSX", "engineer", "i>")
    words = [word for word in left.split() if any("a" <= letter.lower() <= "z" for letter in word)]
    assert [word for word in words if not any(part in word for part in allowed) and not word.startswith("C0")] == []


@pytest.mark.parametrize("format", ["CSV", "XLSX"])
def test_the_download_has_the_rows_it_says(visit: browser.Visit, data: Path, format: str) -> None:
    page = visit.page
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {format}").click()
    content = Path(waiting.value.path()).read_bytes()
    status = page.locator('.crm-list [role="status"]')
    status.wait_for()
    said = int(status.inner_text().split(" ", 1)[0].replace(",", ""))
    assert said == int(tile(page, "Contacts").replace(",", ""))
    if format == "CSV":
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        assert rows[0]["phone"] == "" or rows[0]["phone"].startswith("'+"), "a spreadsheet would count with it"
        assert not [row for row in rows if row["given_name"].startswith("=")]
        assert {row["rank"] for row in rows} == {str(number) for number in range(1, said + 1)}
    else:
        sheet = openpyxl.load_workbook(io.BytesIO(content))["list"]
        rows = list(sheet.iter_rows(min_row=2, values_only=True))
    assert len(rows) == said
    with session.session(data) as store:
        record = store.scalars(sa.select(tables.Export).order_by(tables.Export.export_id.desc())).first()
    assert record is not None and record.rows == said and record.content["contact_details"] is True
    assert (data / record.file).read_bytes() == content


def test_the_numbers_of_a_chart_arrive_and_are_on_record(visit: browser.Visit, data: Path) -> None:
    taken = figures.csv_of(figures.take_chart(visit.page, 0, "csv"))
    assert {"Customers contacted", "Expected profit, €", "lower limit", "upper limit"} <= set(taken.columns)
    assert len(taken) > 50
    record = figures.on_record(data, 1).iloc[0]
    assert (record["action"], record["role"], record["content"]["rows"]) == ("export", "analyst", len(taken))


def test_the_list_can_be_paged(visit: browser.Visit) -> None:
    page = visit.page
    first = page.locator(".crm-list tbody").inner_text()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("11 to 20 of").wait_for()
    assert page.locator(".crm-list tbody").inner_text() != first
    assert page.locator(".crm-list tbody tr").first.locator("td").first.inner_text() == "11"


def test_a_failed_chart_says_so_instead_of_showing_the_old_one(visit: browser.Visit) -> None:
    page = visit.page
    page.evaluate("() => { window.kept = Plotly.react; Plotly.react = () => Promise.reject(new Error('no room')); }")
    handle = page.locator(".crm-controls .noUi-handle").first
    handle.focus()
    handle.press("PageDown")
    page.wait_for_function("() => document.querySelectorAll('.crm-chart[data-state=failed]').length === 3")
    assert "could not be drawn" in page.locator(".crm-chart").first.inner_text()
    assert page.locator(".crm-chart .main-svg").count() == 0
    page.evaluate("() => { Plotly.react = window.kept; }")
    handle.press("PageDown")
    page.wait_for_function(browser.DRAWN, arg=CHARTS)
    assert "could not be drawn" not in page.locator(".crm-chart").first.inner_text(), "the next drawing clears it"


def test_one_plotly_and_a_light_page(visit: browser.Visit) -> None:
    sizes = visit.page.evaluate(
        "() => performance.getEntriesByType('resource').filter(e => e.name.includes('plotly')).map(e => e.name)"
    )
    assert len(sizes) == 1 and "/crm/plotly.min.js?v=" in sizes[0]


def status_of(address: str, *, body: bytes | None = None) -> tuple[int, str]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    try:
        with urllib.request.build_opener(Stay()).open(urllib.request.Request(address, data=body), timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location", "")


def test_an_anonymous_request_is_refused(served: tuple[int, str], chromium: Any) -> None:
    root = f"http://{serve.HOST}:{served[0]}"
    for path in ("/", "/voila/render/campaign_targeting.ipynb", "/voila/tree", "/voila/render/x.ipynb?token=wrong"):
        code, where = status_of(root + path)
        assert code == 302 and "/login" in where, path
    for path in ("/voila/api/contents", "/api/kernels/0a1ea349-61f0-4794-a62e-2d060a5f6d40"):
        assert status_of(root + path)[0] == 403, path
    for path in ("/voila/files/campaign_targeting.ipynb", "/voila/files/../data/store.sqlite", "/crm/widgetbundle.js"):
        code, where = status_of(root + path)
        assert code in (400, 403, 404) or (code == 302 and "/login" in where), path
    with browser.visit(chromium) as found:
        found.page.goto(f"{root}/voila/render/campaign_targeting.ipynb")
        assert "/login" in found.page.url and found.page.locator(".crm-panel").count() == 0
        assert found.outside == []


def test_the_token_is_no_argument_and_sources_are_not_in_the_page(
    served: tuple[int, str], visit: browser.Visit
) -> None:
    assert not [part for part in serve.command(Path("d"), port=1, dashboards=Path("b")) if served[1] in part]
    assert "panels.campaign_targeting" not in visit.page.content()


def test_closing_the_tab_ends_its_kernel(chromium: Any, served: tuple[int, str]) -> None:
    # Without the watch over requests, which would hold back the last one of a page that closes.
    page = chromium.new_page()
    page.goto(serve.url(*served, "campaign_targeting"))
    page.wait_for_function(browser.DRAWN, arg=CHARTS, timeout=browser.PATIENCE_MS)
    config = json.loads(page.locator("#jupyter-config-data").inner_text())
    kernel = f"http://{serve.HOST}:{served[0]}/api/kernels/{config['kernelId']}?token={served[1]}"
    assert status_of(kernel)[0] == 200
    page.goto("about:blank")
    for _ in range(80):
        if status_of(kernel)[0] == 404:
            break
        page.wait_for_timeout(250)
    page.close()
    assert status_of(kernel)[0] == 404


def test_newer_scores_are_shown_when_a_page_made_ready_before_is_opened(
    chromium: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with browser.server(tmp_path, log=tmp_path_factory.mktemp("log") / "server.log") as (port, token):
        with browser.visit(chromium) as found:
            found.page.goto(serve.url(port, token, "campaign_targeting"))
            found.page.get_by_text("holds no scores yet; run").wait_for()
            assert found.page.locator(".crm-controls").is_hidden()
        number = made_scores.make(tmp_path, customers=300)
        with browser.visit(chromium) as found:
            found.page.goto(serve.url(port, token, "campaign_targeting"))
            found.page.wait_for_function(browser.DRAWN, arg=CHARTS)
            assert f"scores {number}" in found.page.locator(".crm-from").inner_text()


@pytest.mark.parametrize(("accepts", "words"), [("ru-RU,ru;q=0.9", "Отбор клиентов"), ("de,en", "Campaign targeting")])
def test_the_first_page_leads_to_each_dashboard(
    chromium: Any, served: tuple[int, str], accepts: str, words: str
) -> None:
    with browser.visit(chromium) as found:
        found.page.set_extra_http_headers({"Accept-Language": accepts})
        found.page.goto(serve.url(*served))
        assert found.page.locator("li a").count() == len(list(browser.DASHBOARDS.glob("*.ipynb")))
        found.page.get_by_role("link", name=words).click()
        found.page.get_by_role("heading", name=words).wait_for()
        found.page.wait_for_function(browser.DRAWN, arg=CHARTS)
        assert found.outside == [] and found.errors == []


def test_a_view_is_kept_under_a_name(visit: browser.Visit) -> None:
    page = visit.page
    controls = page.locator(".crm-controls select")
    page.get_by_placeholder("Name of this view").fill("Gold by mail")
    revisions = page.evaluate(REVISIONS)
    controls.nth(0).select_option(label="Gold card <b>")
    page.wait_for_function(CHANGED, arg=revisions)
    page.get_by_role("button", name="Save view").click()
    page.get_by_text("View Gold by mail saved.").wait_for()
    controls.nth(0).select_option(label="Term deposit")
    page.locator(".crm-views select").select_option(label="Saved views")
    page.locator(".crm-views select").select_option(label="Gold by mail")
    page.wait_for_function("() => document.querySelector('.crm-controls select').selectedIndex === 1")
    page.get_by_role("button", name="Delete view").click()
    page.get_by_text("View Gold by mail deleted.").wait_for()
    assert page.locator(".crm-views option").count() == 1


LAB_NOTEBOOK = """
import ipywidgets
import pandas as pd
from crmlib.views import plots
from crmlib.views.chart import Chart

table = pd.DataFrame({"share": [0, 0.5, 1], "gains": [0, 0.8, 1]})
charts = [Chart(plots.gains(table)), Chart(plots.gains(table))]
button = ipywidgets.Button(description="change")
button.on_click(lambda _: [one.update(plots.gains(table, mark=(0.5, 0.5))) for one in charts])
ipywidgets.VBox([button, *charts])
"""


def test_the_chart_draws_and_changes_in_jupyterlab_too(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(LAB_NOTEBOOK)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "charts.ipynb")
    port = browser.free_port()
    options = [f"--ServerApp.root_dir={folder}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += ["--ServerApp.open_browser=False", "--LabApp.expose_app_in_browser=True", "--allow-root"]
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.ip={serve.HOST}", *options]
    environment = {**os.environ, "JUPYTER_TOKEN": "lab-test", "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    root = f"http://{serve.HOST}:{port}"
    with (
        browser.running(command, environment, f"{root}/api", log=tmp_path / "lab.log"),
        browser.visit(chromium) as found,
    ):
        page = found.page
        page.goto(f"{root}/lab/tree/charts.ipynb?token=lab-test&reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
        page.wait_for_function(
            "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )
        page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(browser.DRAWN, arg=2)
        scripts = page.evaluate(
            "() => [...document.querySelectorAll('head > script')].filter(s => s.src.startsWith('blob:')).length"
        )
        assert scripts == 1, "one plotly.js for all charts of the page, from the kernel"
        revisions = page.evaluate(REVISIONS)
        page.get_by_role("button", name="change", exact=True).click()
        page.wait_for_function(CHANGED, arg=revisions)
        ring = "() => [...document.querySelectorAll('.crm-chart .js-plotly-plot')].map(p => p.data.at(-1).x[0])"
        assert page.evaluate(ring) == [0.5, 0.5]
        assert found.outside == []
