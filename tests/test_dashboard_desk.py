"""The offer desk in a real browser: look a customer up, refuse an offer, reload; and what it says in words."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_desk
import pytest

from crmlib.decisions import desk_events
from crmlib.decisions.desk_offers import Avoid
from crmlib.decisions.rules import KINDS, MAY_BE_UNKNOWN
from crmlib.serving import serve
from crmlib.store import audit
from crmlib.views import desk_words, offer_desk, offer_desk_data, plots_desk, texts

EN, RU = texts.speak("en"), texts.speak("ru")
needs_browser = pytest.mark.skipif(browser.program() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_desk.make(tmp_path_factory.mktemp("desk"))
    shutil.copytree(folder, folder.with_name(f"{folder.name}-untouched"))
    return folder


def panel(data: Path, customer: str = "", language: str = "en") -> offer_desk.Panel:
    return offer_desk.Panel(data, customer, language)


def trouble(made: offer_desk.Panel) -> str:
    return str(made.frame._trouble.value)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("say", [EN, RU], ids=["en", "ru"])
def test_every_reason_against_an_offer_has_words(say: texts.Language) -> None:
    ours = ("offer_refused", "offer_accepted", "offer_later", "offer_ignored")
    told: dict[str, Any] = {
        "years": 21,
        "months": 6,
        "minor": 100,
        "times": 2,
        "product_id": "card",
        "on": made_desk.AS_OF,
    }
    told |= {"document": "income", "column": "region"}
    for code in (*KINDS, *MAY_BE_UNKNOWN.values(), *ours):
        if code == "customer_left":
            continue  # the desk does not open for who has left
        words = desk_words.why_not(say, Avoid("x", {"code": code, **told}), {"card": "Card"}, currency="EUR")
        assert words and code not in words and "{" not in words, code


def test_names_are_initials_until_they_are_asked_for(data: Path) -> None:
    made = panel(data, made_desk.FAMILY)
    assert "M. S." in made.who.value and "Silva" not in made.who.value
    made.names.value = True
    assert "Maria Silva" in made.who.value
    made.number.value = made_desk.HELD_OUT
    assert "Silva" not in made.who.value, "the next customer is hidden again"


def test_markup_in_the_data_stays_text(data: Path) -> None:
    made = panel(data, made_desk.FAMILY)
    shown = [made.who.value, *[card.text.value for card in made.offers], *[one.value for one in made.sections.values()]]
    assert "<b>plan" not in "".join(shown) and any("&lt;b&gt;plan" in one for one in shown)
    assert "<b>" not in made.chart.spec


@pytest.mark.parametrize(
    ("customer", "words"),
    [
        ("nobody", "There is no customer nobody; check the number."),
        (made_desk.LEFT, "Customer F0003 has left; there is nobody to serve."),
    ],
)
def test_an_unknown_customer_clears_the_screen(data: Path, customer: str, words: str) -> None:
    made = panel(data, made_desk.FAMILY)
    made.number.value = customer
    assert words in trouble(made) and made.prompt is None and made.body.layout.display == "none"
    assert "M. S." not in made.who.value


def test_who_is_not_to_be_sold_to_is_served_with_a_note(data: Path) -> None:
    made = panel(data, made_desk.OBJECTOR)
    assert "objected to profiling: serve, do not sell" in made.who.value
    assert made.selling.layout.display == "none" and made.body.layout.display == ""
    made.mode.value = "match"
    assert "objected to profiling" in trouble(made)


def test_without_a_model_there_is_service_and_one_sentence(data: Path, tmp_path: Path) -> None:
    import sqlalchemy as sa

    from crmlib.store import session, tables

    shutil.copytree(data, tmp_path / "data")
    with session.session(tmp_path / "data") as store:
        store.execute(sa.delete(tables.Model))
        store.commit()
    made = panel(tmp_path / "data", made_desk.FAMILY)
    assert "No model is trained yet" in made.who.value and "Mortgage" in made.who.value
    made.mode.value = "match"
    assert "The product match needs a model" in trouble(made)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    assert "nothing was loaded yet" in trouble(panel(tmp_path))


def test_answers_typed_change_the_list_and_the_next_question(data: Path) -> None:
    made = panel(data)
    made.mode.value = "match"
    part = made.match
    assert "Ask next:" in part.ask.value and "Somebody new" in part.about.value
    before = part.chart.spec
    part.controls["income_minor"].value = "4900"
    part.controls["plan"].value = "loans"
    assert part.chart.spec != before and trouble(made) == ""
    part.controls["age_years"].value = "old"
    assert "answer with a number from 0 to 120" in trouble(made)
    part.clear.click()
    assert part.controls["age_years"].value == "" and trouble(made) == ""
    made.mode.value = "desk"
    made.number.value = made_desk.FAMILY
    made.mode.value = "match"
    assert "on record: €3,000" in part.controls["income_minor"].placeholder


def test_the_timeline_has_a_lane_for_each_kind_of_event(data: Path) -> None:
    made = panel(data, made_desk.FAMILY)
    assert made.prompt is not None and made.loaded is not None
    events = offer_desk_data.timeline(EN, made.prompt, made.loaded.names)
    assert set(events["lane"]) == {"contact_in", "contact_out", "application", "contract"}
    drawn = plots_desk.timeline(events, lanes=[(code, desk_words.lane(EN, code)) for code in plots_desk.LANES])
    assert sum(len(trace.x) for trace in drawn.data) == len(events)


# ---------------------------------------------------------------- who looks at whom


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    shutil.copytree(data.with_name(f"{data.name}-untouched"), tmp_path / "data")
    return tmp_path / "data"


def entries(data: Path, customer: str) -> list[str]:
    """What is on record about a customer, the newest last."""
    return list(audit.entries(data, newest=None, customer_id=customer)["action"])[::-1]


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    made = panel(data, made_desk.FAMILY)
    assert figures.check(made.frame, origin="warehouse version 1") == {"timeline"}
    made.mode.value = "match"
    assert figures.check(made.frame, origin="warehouse version 1") == {"timeline", "match"}
    assert "90% interval of the chance" in made.offers[0].text.value


def test_a_look_is_on_record_once_and_a_name_when_asked_for(own: Path) -> None:
    made = panel(own)
    made.number.value = made_desk.FAMILY
    made.mode.value = "match"
    made.mode.value = "desk"
    made.answer(0, "later")
    made.frame.reload()
    assert made.prompt is not None and entries(own, made_desk.FAMILY) == ["look"]
    made.names.value = True
    made.answer(0, "later")
    assert "Maria Silva" in made.who.value, "an answer hides nothing that was asked for"
    assert entries(own, made_desk.FAMILY) == ["look", "reveal"]
    made.number.value = "nobody"
    assert entries(own, "nobody") == []


def test_birthdays_have_no_day_until_the_name_is_asked_for() -> None:
    for say, day in ((EN, "20 May"), (RU, "20 мая")):
        for code in ("birthday", "child_turned", "child_turns"):
            told = {"code": code, "years": 17, "on": made_desk.AS_OF.replace(month=5, day=20)}
            assert day in desk_words.occasion(say, told)
            assert not any(part in desk_words.occasion(say, told, dated=False) for part in ("20", "May", "мая"))


def test_a_viewer_may_neither_answer_nor_see_names_nor_take_anything(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.visit_as(monkeypatch, own / "visits", "viewer")
    made = panel(own)
    made.number.value = made_desk.FAMILY
    assert made.prompt is not None
    made.offers[0].buttons["accepted"].click()
    assert "Your role does not allow changes" in trouble(made)
    assert desk_events.of_customer(own, made_desk.FAMILY, before=made.frame.now()) == []
    made.names.value = True
    assert "Your role does not show names" in trouble(made) and "Silva" not in made.who.value
    with made.frame.quietly():
        made.names.value = True  # as a page could claim
    made.frame.language.value = "ru"
    assert "Silva" not in made.who.value
    made.frame.language.value = "en"
    figures.refused(made.frame, lambda: made.frame._take_chart("timeline", made.chart, "csv"), "taking files away")


def test_an_operator_answers_and_is_on_record_by_name(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, own / "visits", "operator", name="olga")
    made = panel(own)
    made.number.value = made_desk.FAMILY
    made.offers[0].buttons["later"].click()
    assert "Stored:" in trouble(made)
    stored = desk_events.of_customer(own, made_desk.FAMILY, before=made.frame.now() + dt.timedelta(seconds=1))
    assert [one.actor for one in stored] == ["olga (dashboard)"]


def test_nothing_of_a_customer_stays_behind(data: Path) -> None:
    made = panel(data, made_desk.FAMILY)
    made.mode.value = "match"
    made.number.value = "nobody"
    made.mode.value = "desk"
    assert all(not chart.figure.data for name, chart in made.frame._charts.items() if name == "timeline")
    assert "Mortgage" not in "".join(one.value for one in made.sections.values())
    assert "on record" not in "".join(str(getattr(one, "placeholder", "")) for one in made.match.controls.values())


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def served(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    folder = tmp_path_factory.mktemp("dashboards")  # the others would be made ready too, which takes its time
    shutil.copy(browser.DASHBOARDS / "offer_desk.ipynb", folder)
    log = tmp_path_factory.mktemp("log") / "server.log"
    with browser.server(data, log=log, dashboards=folder) as (port, token):
        yield port, token


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as found:
        yield found


@needs_browser
def test_an_offer_refused_is_not_made_again_after_a_reload(chromium: Any, served: tuple[int, str], data: Path) -> None:
    with browser.visit(chromium) as visit:
        page = visit.page
        page.goto(serve.url(*served, "offer_desk"))
        page.get_by_text("Type a customer number and press Enter.").wait_for()
        number = page.locator(".crm-controls input[type=text]").first
        number.fill(made_desk.FAMILY)
        number.press("Enter")
        page.get_by_text("Application pending: Mortgage").wait_for()
        page.wait_for_function(browser.DRAWN, arg=1)
        assert "Silva" not in page.content(), "names are hidden until asked for"
        offers = page.locator(".desk-offer:visible h2").all_inner_texts()
        assert len(offers) == 3
        product = offers[1].split(". ", 1)[1]
        page.locator(".desk-offer:visible").nth(1).get_by_role("button", name="Declined").click()
        page.get_by_text(f"Stored: {product}, the customer declined.").wait_for()
        said = desk_events.of_customer(data, made_desk.FAMILY, before=made_desk.NOW.replace(year=2100))
        assert [(one.outcome, one.channel) for one in said] == [("refused", "call")]
        page.goto(serve.url(*served, "offer_desk") + f"&customer={made_desk.FAMILY}")
        page.get_by_text("Application pending: Mortgage").wait_for()
        assert product not in " ".join(page.locator(".desk-offer:visible h2").all_inner_texts())
        before = page.locator('.crm-card:has(h2:text-is("Offered before"))')
        assert product in before.inner_text() and "the customer declined" in before.inner_text()
        assert product in page.locator('.crm-card:has(h2:text-is("Do not offer"))').inner_text()
        assert visit.errors == [] and visit.outside == []


@needs_browser
def test_nothing_is_cut_off_and_everything_is_russian(chromium: Any, served: tuple[int, str]) -> None:
    cut_off = """() => [...document.querySelectorAll('.crm-panel button')]
        .filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"""
    with browser.visit(chromium) as visit:
        page = visit.page
        page.goto(serve.url(*served, "offer_desk") + f"&customer={made_desk.FAMILY}&language=ru")
        page.get_by_text("Заявка на рассмотрении: Mortgage").wait_for()
        page.wait_for_function(browser.DRAWN, arg=1)
        for name in ("Предложения", "Подбор продукта"):
            page.get_by_role("button", name=name).click()
            for width, height in ((1366, 768), (820, 1180)):
                page.set_viewport_size({"width": width, "height": height})
                assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
                assert page.evaluate(cut_off) == []
        page.locator(".desk-ask").wait_for()
        assert page.locator(".desk-ask").inner_text().startswith(("Спросите теперь", "Больше спрашивать не о чем"))
        assert visit.errors == [] and visit.outside == []
