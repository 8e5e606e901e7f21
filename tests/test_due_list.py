"""The dashboard of the due list: what it shows, its words, what is missing, the page in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import browser
import figures
import made_replenishment
import pandas as pd
import pytest

from crmlib.runs import replenishment_jobs
from crmlib.runs.stages import Stages
from crmlib.serving import serve
from crmlib.store import audit
from crmlib.views import due_list, due_list_data, due_list_words, plots_due_list, texts

EN, RU = texts.speak("en"), texts.speak("ru")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("due") / "data"
    made_replenishment.make(folder)
    replenishment_jobs.replenishment(folder, stages=Stages(quiet=True))
    made_replenishment.forecast(folder)
    replenishment_jobs.orders(folder, stages=Stages(quiet=True))
    return folder


def test_the_choice_of_representative_and_week_narrows_everything(data: Path) -> None:
    panel = due_list.Panel(data, "en")
    assert panel.frame._trouble.value == ""
    every = len(panel.rows)
    panel._asked({"employee": "R1", "week": "2026-01-05"})
    assert 0 < len(panel.rows) < every
    assert set(panel.rows["employee_id"]) == {"R1"} and set(panel.rows["week"]) == {pd.Timestamp("2026-01-05")}
    kept = panel._settings()
    panel.employee.value = ""
    panel._apply(kept)
    assert panel._settings() == kept
    panel._asked({"employee": "nobody"})
    assert panel.employee.value == "R1"
    assert "Ann Bee" in panel.plan.table.value and "Cy Dee" not in panel.plan.table.value


def test_tables_links_and_proposals_say_what_was_saved(data: Path) -> None:
    panel = due_list.Panel(data, "en")
    loaded = panel.loaded
    assert loaded is not None
    assert 'href="customer_card.ipynb?customer=C' in panel.plan.table.value
    assert "Milk &amp; more: " in panel.plan.table.value
    assert (
        "no consent to be contacted" in panel.notes["left"].value and "no representative" in panel.notes["left"].value
    )
    assert "Choose an outlet to see what to deliver." in panel.notes["orders"].value
    assert len(panel.outlet.options) == 1 + made_replenishment.SHOPS
    panel.outlet.value = panel.outlet.options[1][1]
    assert "Order by 1 January 2026 for the delivery on 2 January 2026" in panel.notes["orders"].value
    assert "it is not what a visit adds" in panel.titles["days"].value
    assert "Shop <b>" not in panel.plan.table.value
    exported = due_list_data.exported(loaded, panel.rows)
    assert len(exported) == 2 * len(panel.rows)
    assert not {"name", "phone", "email"} & set(exported)
    assert exported["expected_margin_minor"].notna().all()


def test_an_export_is_written_and_recorded(data: Path) -> None:
    panel = due_list.Panel(data, "en")
    panel._export("csv")
    written = sorted((data / "exports").glob("due-list-*.csv"))[-1].read_text(encoding="utf-8-sig")
    assert written.splitlines()[0].startswith('"employee_id","region","week","visit_on","stop","customer_id"')
    assert "rows saved as due-list-" in panel.frame._trouble.value


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = due_list.Panel(data, "en")
    assert figures.check(panel.frame, origin="warehouse version 1") == {"days", "map", "calibration"}
    assert "model replenishment 1" in panel.frame._head.value and "model orders 1" in panel.frame._head.value
    assert "No interval: what is due is chance" in panel.tiles.value
    panel.frame.language.value = "ru"
    assert figures.check(panel.frame, origin="версия хранилища 1") == {"days", "map", "calibration"}


def test_the_orders_of_an_outlet_show_once_the_look_at_its_customer_is_on_record(data: Path) -> None:
    panel = due_list.Panel(data, "en")
    assert panel.outlet.value == "" and panel.loaded is not None
    outlet = panel.outlet.options[1][1]
    due = panel.loaded.due
    customer = str(due.loc[due["outlet_id"] == outlet, "customer_id"].iloc[0])
    before = len(audit.entries(data, newest=None, customer_id=customer))
    panel.outlet.value = outlet
    panel.frame.language.value = "ru"
    panel.week.value = panel.week.options[1][1]
    found = audit.entries(data, newest=None, customer_id=customer)
    assert len(found) == before + 1 and found.iloc[0]["action"] == "look"
    assert "crm-table" in panel.notes["orders"].value


def test_who_may_not_takes_no_list_away(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "operator")
    panel = due_list.Panel(data, "en")
    figures.refused(panel.frame, lambda: panel._export("csv"), "does not allow taking files away")
    figures.refused(panel.frame, lambda: panel.frame._take_chart("days", panel.charts["days"], "xlsx"), "taking files")


def test_pictures_hold_every_visit(data: Path) -> None:
    loaded = due_list_data.load(data)
    days = due_list_data.by_day(loaded.visits)
    bars = plots_due_list.by_day(days, currency="EUR")
    assert sum(bars.data[0].y) == pytest.approx(loaded.visits["expected_margin_minor"].sum() / 100)
    placed = due_list_data.on_map(loaded, loaded.visits)
    figure = plots_due_list.where(placed, currency="EUR", names=loaded.outlets, language="ru")
    assert sum(len(line.x) for line in figure.data) == len(placed) > 0
    assert "Shop &lt;b>" in figure.data[0].customdata[0][0]
    held = plots_due_list.calibration(loaded.calibration)
    assert [len(line.x) for line in held.data] == [2, 10, 10]


def test_words_of_reasons_in_both_languages() -> None:
    code = {"code": "overdue", "product_id": "milk", "days": 12, "usual": 8.2, "probability": 0.9}
    assert (
        due_list_words.reason(EN, code, {"milk": "Milk"}) == "Milk: overdue, 12 days since the last order, usually 8.2"
    )
    told = due_list_words.reason(RU, {**code, "code": "due", "days": 3}, {})
    assert told == "milk: 3 дня с последнего заказа, обычно 8,2"
    assert due_list_words.left_out(RU, "no_consent") == "нет согласия на контакт"
    assert due_list_words.proposal(EN, "shelf_life") == "more would spoil"
    empty = pd.DataFrame(columns=["within_days", "method", "auc"])
    assert due_list_words.trusted(EN, empty).startswith("Too few orders")


def test_what_is_missing_is_said_in_words(tmp_path: Path) -> None:
    assert "there is no such data folder; run `crm demo`" in due_list.Panel(tmp_path / "no", "en").frame._trouble.value
    folder = tmp_path / "data"
    tables = made_replenishment.frames()
    tables["transactions"] = tables["transactions"].query("occurred_at >= '2025-11-15'")
    tables["consents"] = tables["consents"].iloc[:0]
    made_replenishment.make(folder, tables)
    assert "make some with `crm replenishment`" in due_list.Panel(folder, "en").frame._trouble.value
    replenishment_jobs.replenishment(folder, stages=Stages(quiet=True))
    panel = due_list.Panel(folder, "en")
    assert panel.frame._trouble.value == ""
    assert "Nobody to visit in this choice." in panel.plan.table.value
    assert panel.csv.disabled
    assert "run `crm demand` and `crm orders`" in panel.notes["orders"].value
    assert "Too few orders so far" in panel.notes["calibration"].value


@pytest.fixture(scope="module")
def visit(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    alone = tmp_path_factory.mktemp("dashboards")  # the server makes ready every page it finds: here just this one
    shutil.copy(browser.DASHBOARDS / "due_list.ipynb", alone)
    with (
        browser.server(data, log=log, dashboards=alone) as served,
        browser.chromium() as chromium,
        browser.visit(chromium) as found,
    ):
        found.page.goto(serve.url(*served, "due_list"))
        found.page.wait_for_function(browser.DRAWN, arg=3)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it")
def test_a_representative_finds_the_day_and_takes_the_list_along(visit: browser.Visit, data: Path) -> None:
    page = visit.page
    page.get_by_role("heading", name="Whom to visit, and why").wait_for()
    loaded = due_list_data.load(data)
    assert len(figures.csv_of(figures.take_chart(page, 0, "csv"))) == loaded.visits["visit_on"].nunique()
    assert len(figures.xlsx_of(figures.take_table(page, 0, "xlsx"))) > 1
    assert figures.on_record(data, 2)["action"].tolist() == ["export", "export"]
    # By keyboard: the first representative.
    page.locator(".crm-controls select").first.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => !document.body.innerText.includes('Cy Dee ')")
    page.get_by_role("cell", name="Ann Bee").first.wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    saved = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    assert '"R1"' in saved and '"R2"' not in saved
    page.get_by_role("button", name="Русский").click()
    page.wait_for_function("() => document.documentElement.lang === 'ru'")
    page.get_by_text("К кому ехать и почему").wait_for()
    assert page.title() == "Кому пора заказывать"
    for width, height in ((1366, 768), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], "nothing is cut off at the side"
