"""Every page in a real browser: axe finds nothing in light and dark, the keyboard suffices, nothing is asked of the outside."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import made_card
import made_forecasts
import made_loyalty
import made_replenishment
import made_retention
import made_scores
import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from crmlib.serving import serve
from crmlib.views import panels, plots

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it"),
]
RULES = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
}
SETTLED = """() => document.querySelector('.crm-panel h1') && document.body.classList.contains('crm-ready') &&
    [...document.querySelectorAll('.crm-chart')].every(one => !one.offsetParent || one.dataset.state === 'drawn')"""


def _loyalty(folder: Path) -> None:
    made_loyalty.make(folder, made_loyalty.frames(300))


def _due_list(folder: Path) -> None:
    made_replenishment.make(folder)
    made_replenishment.forecast(folder)


MAKERS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "scores": (made_scores.make, ["campaign_targeting", "audience_builder", "product_matrices", "campaigns", "runs"]),
    "card": (made_card.make, ["customer_card", "offer_desk"]),
    "retention": (lambda folder: made_retention.make(folder, customers=600), ["retention_watchlist"]),
    "loyalty": (_loyalty, ["loyalty"]),
    "deliveries": (_due_list, ["due_list"]),
    "forecasts": (made_forecasts.make, ["demand"]),
}
BROKEN = {
    "z_broken": "customers = ['Novák']\nraise ValueError(f'{customers[0]} owes 12')",
    "z_dying": "import os\nos._exit(7)",
    "z_plain": "import warnings\nwarnings.warn('old')\nfrom IPython.display import HTML\nHTML('<h2>Our own numbers</h2>')",
}


def _write(folder: Path, name: str, code: str) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel)
    nbformat.write(book, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """A server of every dashboard, each with data of its own that fill it, and of some that a person broke."""
    base = tmp_path_factory.mktemp("pages")
    books = base / "dashboards"
    books.mkdir()
    for name, (make, dashboards) in MAKERS.items():
        folder = base / name
        folder.mkdir()
        make(folder)
        for one in dashboards:
            _write(books, one, f"from crmlib.views import panels\npanels.{one}({str(folder)!r})")
    for name, code in BROKEN.items():
        _write(books, name, code)
    with browser.server(base / "scores", log=base / "server.log", dashboards=books) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as found:
        yield found


@contextlib.contextmanager
def opened(chromium: Any, served: tuple[int, str], name: str = "", **size: int) -> Iterator[browser.Visit]:
    with browser.visit(chromium, **size) as found:
        found.page.goto(serve.url(*served, name))
        yield found
        assert found.outside == [], "a request left the machine"


def violations(page: Any) -> list[str]:
    """What axe finds: the rule, and the elements."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


def in_both_themes(page: Any) -> list[str]:
    found = violations(page)
    before = page.evaluate("document.documentElement.dataset.theme")
    page.evaluate("crmTheme.toggle()")
    assert page.evaluate("document.documentElement.dataset.theme") != before
    page.wait_for_timeout(300)  # transitions of colours
    return [*found, *violations(page)]


# ---------------------------------------------------------------- every page


def test_each_dashboard_is_swept() -> None:
    assert {one for _, several in MAKERS.values() for one in several} == set(panels.DASHBOARDS)


@pytest.mark.parametrize("name", sorted(panels.DASHBOARDS))
def test_axe_finds_nothing_on_a_dashboard_and_it_works_offline(
    chromium: Any, served: tuple[int, str], name: str
) -> None:
    with opened(chromium, served, name) as visit:
        visit.page.wait_for_function(SETTLED)
        assert in_both_themes(visit.page) == [] and visit.errors == []
        reach = """() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight
            - document.querySelector('.crm-panel').getBoundingClientRect().bottom - window.scrollY]"""
        wide, below = visit.page.evaluate(reach)
        assert wide <= 1366 and below >= 0, "the page itself scrolls, down to its end and never sideways"


def test_axe_finds_nothing_at_the_door_and_the_login(chromium: Any, served: tuple[int, str]) -> None:
    with opened(chromium, served) as visit:
        assert in_both_themes(visit.page) == []
        assert visit.page.locator(".crm-door").count() == len(panels.DASHBOARDS) + len(BROKEN)
    with browser.visit(chromium) as visit:
        visit.page.goto(f"http://{serve.HOST}:{served[0]}/")
        assert visit.page.url.split("?")[0].endswith("/login") and in_both_themes(visit.page) == []


# ---------------------------------------------------------------- keyboard


def test_the_keyboard_reaches_a_slider_and_moves_it_and_one_sees_where_one_is(
    chromium: Any, served: tuple[int, str]
) -> None:
    with opened(chromium, served, "campaign_targeting") as visit:
        page = visit.page
        page.wait_for_function(SETTLED)
        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            about = """() => { const one = document.activeElement, style = getComputedStyle(one);
                return [one.getAttribute('role') ?? one.tagName, one.getAttribute('aria-label') ?? one.textContent,
                        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0] }"""
            seen.append(page.evaluate(about))
            if seen[-1][0] == "slider":
                break
        assert seen[-1][0] == "slider" and seen[-1][1].startswith("Cut-off:"), seen
        assert all(visible for _, _, visible in seen), "focus is visible on everything that takes it"
        assert {"Choose a product", "Channel", "Saved views"} <= {words for _, words, _ in seen}
        before = page.locator(".crm-tile b").first.inner_text()
        revision = page.evaluate("document.querySelector('.crm-chart').dataset.revision")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("was => document.querySelector('.crm-chart').dataset.revision > was", arg=revision)
        assert page.locator(".crm-tile b").first.inner_text() != before


def test_the_search_at_the_door_needs_no_mouse(chromium: Any, served: tuple[int, str]) -> None:
    with opened(chromium, served) as visit:
        page = visit.page
        page.keyboard.press("/")
        page.keyboard.type("zzz")
        assert (
            page.locator(".crm-door:visible").count() == 0 and page.get_by_text("No dashboard has these").is_visible()
        )
        page.keyboard.press("Escape")
        assert page.locator(".crm-door:visible").count() == len(panels.DASHBOARDS) + len(BROKEN)
        page.keyboard.type("would recommend")
        assert page.locator(".crm-door:visible h3").all_inner_texts() == ["Loyalty"]
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.getAttribute('href')").startswith("/voila/render/loyalty.ipynb")


# ---------------------------------------------------------------- language and theme


def test_language_and_theme_come_from_the_browser_and_stay_as_chosen(chromium: Any, served: tuple[int, str]) -> None:
    context = chromium.new_context(locale="ru-RU", color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(browser.PATIENCE_MS)
    page.goto(serve.url(*served))
    assert page.get_by_role("heading", name="Дашборды").is_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(serve.url(*served, "campaign_targeting"))
    page.wait_for_function(SETTLED)
    page.get_by_role("heading", name="Отбор клиентов").wait_for()
    assert page.get_by_role("link", name="Все дашборды").is_visible()
    colour = "() => getComputedStyle(document.querySelector('.crm-chart .xtick text')).fill"
    before = page.evaluate(colour)
    page.get_by_role("button", name="Светлая или тёмная тема").click()
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Campaign targeting").wait_for()
    page.wait_for_function(SETTLED)
    assert page.evaluate(colour) != before, "the charts change with the theme"
    page.goto(f"http://{serve.HOST}:{served[0]}/")
    assert page.get_by_role("heading", name="Dashboards").is_visible(), "the language chosen is remembered"
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    context.close()


def contrast(first: list[float], second: list[float]) -> float:
    """The contrast of two colours (WCAG 2.2, definition of contrast ratio)."""
    low, high = sorted(float(_linear(one) @ [0.2126, 0.7152, 0.0722]) for one in (first, second))
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira, Fernandes 2009, table 1: severity 1.0.
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_palette_stands_out_and_is_told_apart_with_any_colour_vision(
    chromium: Any, served: tuple[int, str], theme: str
) -> None:
    with opened(chromium, served) as visit:
        shown = visit.page.evaluate(
            "([colours, dark]) => colours.map(one => dark ? crmTheme.dark(one) : one)",
            [list(plots.PALETTE), theme == "dark"],
        )
    seen = [_bytes(one) for one in shown]
    paper = _bytes("#1c2127" if theme == "dark" else "#ffffff")
    # WCAG 2.2, 1.4.11: what one must see to understand a picture has 3:1. Lines and marks use the first three colours;
    # the others fill areas that their own words name, and Okabe and Ito made them pale.
    assert min(contrast(one, paper) for one in seen[:3]) >= 3.0
    for matrix in BLINDNESS.values():
        # A difference of 0.02 in Oklab is just seen side by side; lines stand apart, so more than twice that is asked.
        shades = [_lab(np.clip(matrix @ _linear(one), 0, 1)) for one in seen[:3]]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(shades, 2)) > 0.05


def _linear(colour: list[float]) -> np.ndarray:
    share = np.asarray(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """Oklab (Ottosson 2020) of linear red, green and blue."""
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.793617785, -0.0040720468],
        [1.9779984951, -2.428592205, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.808675766],
    ]
    return np.array(opponents) @ np.cbrt(np.array(cones) @ linear)


def _bytes(colour: str) -> list[float]:
    if colour.startswith("#"):
        return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]


# ---------------------------------------------------------------- loading and errors


@pytest.mark.parametrize("name", ["z_broken", "z_dying"])
@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
def test_a_dashboard_that_fails_says_so_in_words(
    chromium: Any, served: tuple[int, str], name: str, locale: str
) -> None:
    context = chromium.new_context(locale=locale)
    page = context.new_page()
    page.goto(serve.url(*served, name))
    words = "This dashboard could not be made" if locale == "en-US" else "Не удалось построить этот дашборд"
    page.get_by_role("heading", name=words).wait_for(timeout=browser.PATIENCE_MS)
    content = page.content()
    for secret in ("Novák", "Traceback", "ValueError", "ExecutionError", "DeadKernel", "show_tracebacks"):
        assert secret not in content
    context.close()


def test_a_plain_notebook_of_ones_own_is_shown_without_its_warnings(chromium: Any, served: tuple[int, str]) -> None:
    with opened(chromium, served, "z_plain") as visit:
        visit.page.get_by_role("heading", name="Our own numbers").wait_for()
        assert "UserWarning" not in visit.page.content()


def test_the_page_says_what_happens_before_any_script_has_run(chromium: Any, served: tuple[int, str]) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(serve.url(*served, "campaign_targeting"))
    assert page.get_by_text("The dashboard is being opened …").is_visible()
    assert not page.get_by_text("Дашборд открывается…").is_visible(), "one language at a time"
    context.close()


@pytest.mark.parametrize("address", ["voila/render/none.ipynb", "nowhere", "voila/tree/x"])
def test_an_address_that_leads_nowhere_is_answered_in_words(
    chromium: Any, served: tuple[int, str], address: str
) -> None:
    with opened(chromium, served) as visit:
        answer = visit.page.goto(f"http://{serve.HOST}:{served[0]}/{address}?language=ru")
        assert answer.status in (403, 404)
        assert visit.page.get_by_role("link", name="Все дашборды").first.is_visible()
