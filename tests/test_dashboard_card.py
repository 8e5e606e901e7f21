"""The customer card in a real browser: by number, by address, in both languages, at laptop and tablet width."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_card
import made_desk
import pytest

from crmlib.errors import EnvironmentFault
from crmlib.serving import serve
from crmlib.store import audit
from crmlib.views import customer_card

needs_browser = pytest.mark.skipif(browser.program() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_card.make(tmp_path_factory.mktemp("card"))
    shutil.copytree(folder, folder.with_name(f"{folder.name}-untouched"))
    return folder


def panel(data: Path, customer: str = "", language: str = "en") -> customer_card.Panel:
    return customer_card.Panel(data, customer, language)


def shown(made: customer_card.Panel) -> str:
    parts = [one.head.value + one.body.value for one in (made.history, *made.sections.values())]
    return str(made.who.value + made.tiles.value + "".join(parts))


def test_names_are_initials_until_they_are_asked_for(data: Path) -> None:
    made = panel(data, made_card.FULL)
    assert "M. S." in made.who.value and "Silva" not in shown(made)
    made.names.value = True
    assert "Maria Silva" in made.who.value
    made.number.value = made_desk.HELD_OUT
    assert "Silva" not in shown(made), "the next customer is hidden again"


def test_an_unknown_customer_clears_the_screen(data: Path) -> None:
    made = panel(data, made_card.FULL)
    made.number.value = "nobody"
    assert "There is no customer nobody; check the number." in made.frame._trouble.value
    assert made.card is None and made.body.layout.display == "none" and "M. S." not in made.who.value
    made.number.value = made_desk.LEFT
    assert made.frame._trouble.value == "" and "Left on 1 March 2025" in made.who.value
    assert "offer_desk" not in made.who.value, "there is nobody to sell to"


def test_markup_in_the_data_stays_text(data: Path) -> None:
    made = panel(data, made_card.FULL)
    assert "<b>plan" not in shown(made) and "Fund &lt;b&gt;plan" in shown(made)
    assert all("<b>plan" not in chart.spec for one in (made.history, *made.sections.values()) for chart in one.charts)


def test_a_complaint_and_an_objection_are_said_first(data: Path) -> None:
    assert "Open complaint since 10 June 2025: fees" in panel(data, made_desk.COMPLAINER).who.value
    made = panel(data, made_desk.OBJECTOR, "ru")
    assert "Возражает против профилирования" in made.who.value and "7,1" not in shown(made)


def test_the_span_of_the_history_is_chosen_and_kept_under_a_name(data: Path) -> None:
    made = panel(data, made_card.FULL)
    assert "Mortgage closed" not in made.history.body.value
    made.years.value = 0
    assert "Mortgage closed" in made.history.body.value
    made.frame._views.name.value = "long"
    made.frame._views.keep.click()
    again = panel(data, made_card.FULL)
    again.frame._views.chosen.value = "long"
    assert again.years.value == 0


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    assert "nothing was loaded yet" in panel(tmp_path).frame._trouble.value


# ---------------------------------------------------------------- who looks at whom


def entries(data: Path, customer: str) -> list[str]:
    """What is on record about a customer, the newest last."""
    return list(audit.entries(data, newest=None, customer_id=customer)["action"])[::-1]


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    shutil.copytree(data.with_name(f"{data.name}-untouched"), tmp_path / "data")
    return tmp_path / "data"


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    for language in ("en", "ru"):
        made = panel(data, made_card.FULL, language)
        words = "warehouse version 1" if language == "en" else "версия хранилища 1"
        found = figures.check(made.frame, origin=words)
        assert found == {"history", "credit", "account", "outlook", "risk", "phases"}
    lines = {name: chart.foot["lines"][0] for name, chart in figures.drawn(panel(data, made_card.FULL).frame)}
    assert "model churn 1" in lines["risk"] and "model customer_value 1" in lines["outlook"]


def test_a_look_is_on_record_once_and_a_name_each_time_it_is_asked_for(own: Path) -> None:
    made = panel(own)
    made.number.value = made_card.FULL
    made.years.value = 5
    made.frame.language.value = "ru"
    made.frame.reload()
    assert made.card is not None and entries(own, made_card.FULL) == ["look"]
    made.names.value = True
    made.frame.language.value = "en"
    assert "Maria Silva" in made.who.value and entries(own, made_card.FULL) == ["look", "reveal"]
    made.frame.reload()
    assert "Maria Silva" in made.who.value, "newer data hide nothing that was asked for"
    made.number.value = "nobody"
    assert entries(own, "nobody") == [] and not made.names.value
    found = audit.entries(own, newest=1).iloc[0]
    assert found["content"] == {"dashboard": "customer_card"} and found["actor"].endswith("(dashboard)")
    assert audit.verify(own).empty


def test_what_is_not_on_record_is_not_shown(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> int:
        raise EnvironmentFault("the audit log could not be written")

    made = panel(own, made_card.FULL)
    monkeypatch.setattr(audit, "record", lost)
    made.names.value = True
    assert "could not be written" in made.frame._trouble.value
    assert not made.names.value and "Silva" not in made.who.value
    made.number.value = made_desk.HELD_OUT
    assert "could not be written" in made.frame._trouble.value and made.card is None


def test_who_may_not_see_names_gets_none_whatever_the_page_claims(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, own / "visits", "viewer")
    made = panel(own)
    made.number.value = made_card.FULL
    assert "M. S." in made.who.value
    made.names.value = True
    assert "Your role does not show names" in made.frame._trouble.value
    assert "Silva" not in shown(made) and entries(own, made_card.FULL) == ["look"]
    with made.frame.quietly():
        made.names.value = True  # as a page could claim
    made.frame.language.value = "ru"
    assert "Silva" not in shown(made)
    made.frame.language.value = "en"
    figures.refused(made.frame, lambda: made.frame._take_chart("credit", made.sections, "csv"), "taking files away")  # type: ignore[arg-type]
    assert audit.entries(own, newest=1)["actor"].tolist() == ["eva (dashboard)"]


def test_a_page_made_ready_before_anybody_came_shows_nobody(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_VISITS", str(own / "visits"))
    made = panel(own, made_card.FULL)
    assert made.card is None and entries(own, made_card.FULL) == []
    figures.visit_as(monkeypatch, own / "visits", "operator")
    made.frame.reload()
    assert made.card is not None
    assert audit.entries(own, newest=1)[["actor", "role"]].to_numpy().tolist() == [["eva (dashboard)", "operator"]]


def test_nothing_of_a_customer_stays_behind(data: Path) -> None:
    made = panel(data, made_card.FULL)
    made.number.value = ""
    assert all(not chart.figure.data for chart in made.frame._charts.values())
    assert "Mortgage" not in shown(made)


def test_what_was_written_shows_with_the_name_only(own: Path) -> None:
    made = panel(own, made_card.FULL)
    assert made.card is not None
    said = {"occurred_at": made_card.NOW, "author": "maria_s", "text": "Ask Petr <Silva>", "sentiment": -0.6}
    made.card = dataclasses.replace(made.card, rows={**made.card.rows, "mentions": [said]})
    made.years.value = 5
    assert "Petr" not in shown(made) and "What was written shows with the name." in shown(made)
    made.names.value = True
    assert "Ask Petr &lt;Silva&gt;" in shown(made) and "maria_s" not in shown(made)


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def served(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    folder = tmp_path_factory.mktemp("dashboards")  # the others would be made ready too, which takes its time
    shutil.copy(browser.DASHBOARDS / "customer_card.ipynb", folder)
    log = tmp_path_factory.mktemp("log") / "server.log"
    with browser.server(data, log=log, dashboards=folder) as (port, token):
        yield port, token


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as found:
        yield found


@needs_browser
def test_a_customer_is_found_by_number_and_by_address(chromium: Any, served: tuple[int, str], data: Path) -> None:
    with browser.visit(chromium) as visit:
        page = visit.page
        page.goto(serve.url(*served, "customer_card"))
        page.get_by_text("Type a customer number and press Enter.").wait_for()
        number = page.locator(".crm-controls input[type=text]").first
        number.fill(made_card.FULL)
        number.press("Enter")
        page.locator(".card-who").get_by_text("M. S.").wait_for()
        page.wait_for_function(browser.DRAWN, arg=5)
        assert page.locator(".crm-tile:has-text('Risk of leaving') b").inner_text() == "7.1%"
        assert "Silva" not in page.content(), "names are hidden until asked for"
        page.get_by_text("As a list: the last").click()
        page.get_by_role("cell", name="Applied for Mortgage").wait_for()
        happened = figures.csv_of(figures.take_chart(page, 0, "csv"))
        assert {"Applied for", "Contacts by us"} <= set(happened["row"]) and "2025-06-20" in set(happened["column"])
        owed = figures.csv_of(figures.take_chart(page, 1, "csv"))
        assert owed["series"].tolist() == ["Mortgage 2013-01"] and owed["Owed, €"].tolist() == [900.0]
        rows = figures.xlsx_of(figures.take_table(page, 0, "xlsx"))
        assert len(rows) > 1
        assert figures.on_record(data, 3)["action"].tolist() == ["export", "export", "export"]
        page.goto(serve.url(*served, "customer_card") + f"&customer={made_desk.COMPLAINER}")
        page.get_by_text("Open complaint since 10 June 2025").wait_for()
        link = page.get_by_text("What to offer: open at the offer desk")
        assert link.get_attribute("href") == f"offer_desk.ipynb?customer={made_desk.COMPLAINER}"
        assert visit.errors == [] and visit.outside == []


@needs_browser
def test_nothing_is_cut_off_and_everything_is_russian(chromium: Any, served: tuple[int, str]) -> None:
    cut_off = """() => [...document.querySelectorAll('.crm-panel button, .crm-tile b, .crm-table td')]
        .filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"""
    with browser.visit(chromium) as visit:
        page = visit.page
        page.goto(serve.url(*served, "customer_card") + f"&customer={made_card.FULL}&language=ru")
        page.get_by_text("Кредитная история").wait_for()
        page.wait_for_function(browser.DRAWN, arg=5)
        for width, height in ((1366, 768), (820, 1180)):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), width
            assert page.evaluate(cut_off) == []
        heads = page.locator(".crm-card h2").all_inner_texts()
        assert heads == [
            "История",
            "Кредитная история",
            "Ценность клиента",
            "Риск ухода",
            "Жизненный цикл",
            "Лояльность",
            "Отношения",
        ]
        assert visit.errors == [] and visit.outside == []
