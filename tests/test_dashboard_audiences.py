"""The audience builder: its data side, and the dashboard in a real browser."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import numpy as np
import pandas as pd
import pytest

from crmlib.decisions import audiences as audience
from crmlib.decisions import small_cells
from crmlib.errors import NotFoundError
from crmlib.serving import serve
from crmlib.store import score_sets, session, tables
from crmlib.views import audience_builder, audience_data, audience_words, chart_table, texts
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 8, 30)
COMPANY = Company(name="Made-up bank", currency="EUR", contact_costs_minor={"call": 500, "email": 2})
REGIONS = ("North", "South <b>", "West")


def make(data: Path, *, customers: int = 300, seed: int = 3) -> None:
    """Fill a data folder with a small bank and scores of one product."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{number:05d}" for number in range(customers)])
    day = dt.date(2020, 1, 1)
    some = lambda share: ids[rng.random(customers) < share]  # noqa: E731
    people = pd.DataFrame(
        {"customer_id": ids, "valid_from": day, "region": rng.choice(REGIONS, customers, p=[0.5, 0.48, 0.02])}
    )
    people["birth_date"] = pd.Timestamp("1950-06-01") + pd.to_timedelta(rng.integers(0, 19_000, customers), "D")
    people["customer_since"] = pd.Timestamp("2019-01-01")
    products = pd.DataFrame({"product_id": ["loan", "card"], "name": ["Cash loan", "Gold card"], "valid_from": day})
    held = [
        pd.DataFrame({"customer_id": some(0.3), "product_id": "loan"}),
        pd.DataFrame({"customer_id": some(0.6), "product_id": "card"}),
    ]
    moves = pd.DataFrame({"customer_id": rng.choice(ids, 4 * customers)}).assign(category="cash", channel="card")
    times = pd.Timestamp("2025-10-01") + pd.to_timedelta(rng.integers(0, 92 * 86_400, len(moves)), "s")
    met = pd.DataFrame(
        {"customer_id": some(0.3), "channel": "branch", "direction": "in", "occurred_at": pd.Timestamp("2025-11-11")}
    )
    said = pd.DataFrame(
        {
            "customer_id": some(0.7),
            "channel": "email",
            "purpose": "marketing",
            "granted": True,
            "changed_at": pd.Timestamp("2024-05-01"),
        }
    )
    frames = {
        "customers": people,
        "products": products.assign(product_group=["loans", "cards"], margin_minor=1000),
        "holdings": pd.concat(held, ignore_index=True).assign(opened_on=pd.Timestamp("2024-01-01")),
        "transactions": moves.assign(occurred_at=times, amount_minor=rng.integers(-90_000, 90_000, len(moves))),
        "contacts": met,
        "consents": said,
    }
    for name, key in (("holdings", "holding_id"), ("transactions", "transaction_id"), ("contacts", "contact_id")):
        frames[name][key] = np.arange(len(frames[name])).astype(str)
    folder = data / "warehouse"
    folder.mkdir(parents=True)
    build.from_frames(folder / "v000001.duckdb", frames, company=COMPANY)
    with session.session(data) as store:
        about: dict[str, Any] = {
            "state": "published",
            "format_version": schema.FORMAT_VERSION,
            "created_at": NOW,
            "published_at": NOW,
        }
        store.add(tables.Version(version=1, file="v000001.duckdb", **about))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    scores = pd.DataFrame(
        {
            "customer_id": ids,
            "as_of": AS_OF,
            "model": "propensity",
            "product_id": "loan",
            "score": rng.random(customers),
        }
    )
    score_sets.save(scores, data=data, model="propensity", model_version=1, warehouse_version=1, as_of=AS_OF, now=NOW)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def builder(data: Path) -> audience_data.Builder:
    return audience_data.load(data)


# ---------------------------------------------------------------- the data side


def test_groups_and_conditions_say_the_same(builder: audience_data.Builder) -> None:
    south, loan = audience.where(region="South <b>"), audience.holds(group="loans")
    met, rich = audience.met_consultant(within_months=3), audience.turnover(audience.last_month, above_minor=5)
    for one in (south, ~loan, south & ~loan & ~met, (south | loan) & rich, audience.everybody(), south | ~loan):
        groups = audience_data.groups_of(one.data, builder.subjects)
        if one == (south | ~loan):
            assert groups is None, "a negation within a choice has no place in the builder"
        else:
            assert groups is not None and audience.same(audience_data.conditions_of(groups), one.data)


def test_every_field_of_the_builder_begins_with_a_condition_that_can_be_counted(builder: audience_data.Builder) -> None:
    assert "complained" not in builder.subjects and "risk_class" not in builder.subjects, "no rows, no values"
    assert {"region", "age", "holds", "turnover", "met", "score"} <= set(builder.subjects)
    for subject in builder.subjects.values():
        conditions = audience.normal(audience_data.start(subject, builder))
        found = audience_data.answer(builder, conditions)
        assert found.everybody == 300 and found.steps[-1] == found.customers
        words = audience_words.sentence(
            texts.speak("ru"), conditions, known=builder.subjects, products=builder.products, currency="EUR"
        )
        assert ":" in words and "{" not in words


def test_small_cells_are_hidden(builder: audience_data.Builder) -> None:
    found = audience_data.answer(builder, audience.normal({}))
    regions = found.regions.set_index("label")
    assert 0 < (builder.people["region"] == "West").sum() < audience_data.HIDDEN_BELOW
    assert np.isnan(regions.loc["West", "customers"]) and np.isnan(regions.loc["West", "share"])
    assert np.isnan(regions.loc["West", "share_all"])
    sizes = builder.people["region"].value_counts()
    own = regions["customers"]
    assert own.dropna().to_dict() == {name: sizes[name] for name in own.dropna().index} and own.notna().any()
    # What is left of the audience is either nobody or too many to tell who they are.
    assert found.customers - own.sum() == sizes[own[own.isna()].index].sum() >= audience_data.HIDDEN_BELOW
    ages = audience_data.answer(builder, audience.normal({})).ages["customers"]
    assert not 0 < found.customers - ages.sum() < audience_data.HIDDEN_BELOW
    nobody = audience_data.answer(builder, audience.turnover(above_minor=10**15).data)
    assert nobody.customers == 0 and nobody.regions["customers"].eq(0).all()


def test_the_templates_find_somebody(builder: audience_data.Builder) -> None:
    found = audience_data.templates(builder)
    assert {"acceptance", "sleeping", "likely"} <= set(found)
    assert audience_data.answer(builder, found["acceptance"]).customers > 0
    assert audience_data.groups_of(found["acceptance"], builder.subjects) is not None


def test_sentences_in_words(builder: audience_data.Builder) -> None:
    say = lambda one, code="en": audience_words.sentence(  # noqa: E731
        texts.speak(code), one.data, known=builder.subjects, products=builder.products, currency="EUR"
    )
    rich = audience.turnover(audience.last_month, above_minor=10_000_000)
    assert say(rich) == "Turnover (last calendar month): more than €100,000"
    assert say(rich, "ru") == "Оборот (прошлый календарный месяц): больше 100\u00a0000\u00a0€"
    assert say(~audience.holds(product="loan")) == "Holds a product (Cash loan): no"
    assert say(audience.not_met_consultant(within_months=3)) == "Met a consultant (last 3 months): no"
    assert say(audience.attribute("age_years", between=[30, 40])) == "Age, years: from 30 to 40"
    assert say(~audience.where(region="North")) == "not: Region: North"


def test_a_contradiction_and_a_broken_view_are_words_on_the_panel(data: Path) -> None:
    panel = audience_builder.Panel(data, "ru")
    panel._put(
        {
            "all": [
                {"field": "age_years", "operator": "gt", "value": 60},
                {"field": "age_years", "operator": "lt", "value": 30},
            ]
        }
    )
    assert "не могут выполняться одновременно: Возраст, лет: больше 60; Возраст, лет: меньше 30" in panel.trouble.value
    assert panel.pictures.layout.display == "none"
    panel._put(audience.normal({}))
    assert panel.trouble.value == "" and panel.pictures.layout.display == ""
    with pytest.raises(NotFoundError, match="there is no audience number 77"):
        panel._asked({"audience": "77"})
    with pytest.raises(NotFoundError, match="не удалось прочитать"):
        panel._asked({"conditions": "{"})


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = audience_builder.Panel(data, "en")
    panel._put(audience.normal({}))
    assert figures.check(panel.frame, origin="warehouse version 1") == set(audience_builder._CHARTS)
    assert "model propensity" not in panel.charts["steps"].foot["lines"][0]
    regions = chart_table.table(panel.charts["regions"].figure)
    assert "West" in set(regions["item"]) and regions.loc[regions["item"] == "West", "value"].isna().all(), "hidden"
    panel._put(panel.templates["likely"])
    assert figures.check(panel.frame, origin="model propensity 1")
    steps = chart_table.table(panel.charts["steps"].figure)
    assert steps["item"].iloc[0] == "All customers" and steps["value"].iloc[0] == 300


def test_a_viewer_looks_and_saves_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "viewer")
    panel = audience_builder.Panel(data, "en")
    panel.name.value, before = "Mine", len(audience.saved(data))
    figures.refused(panel.frame, panel._save, "Your role does not allow changes")
    assert len(audience.saved(data)) == before
    figures.refused(panel.frame, lambda: panel.frame._take_chart("ages", panel.charts["ages"], "csv"), "taking files")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -(10**30)])
def test_a_number_out_of_all_bounds_is_words(data: Path, value: float) -> None:
    panel = audience_builder.Panel(data, "en")
    panel._put(audience.turnover(audience.last_month, above_minor=5).data)
    row = panel.groups[0].rows[0]
    panel.frame.guarded(lambda: row._take_single(0, value))()
    said = panel.trouble.value + panel.frame._trouble.value
    assert said and "unexpected" not in said and "Error" not in said
    panel.frame.guarded(lambda: row._take_single(0, 100))()
    assert panel.trouble.value == "" and panel.answer is not None


# ---------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def served(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    boards = tmp_path_factory.mktemp("boards")
    (boards / "audience_builder.ipynb").write_bytes((browser.DASHBOARDS / "audience_builder.ipynb").read_bytes())
    with browser.server(data, log=tmp_path_factory.mktemp("log") / "server.log", dashboards=boards) as found:
        yield found


def tile(page: Any, name: str) -> str:
    return str(page.locator(f'.crm-tile:has(> span:text-is("{name}")) b').inner_text())


def shown(number: int, about: str = "about") -> list[str]:
    """How a count may stand on the page: hidden where small, rounded where near one shown before (see small_cells)."""
    if 0 < number < small_cells.SMALLEST:
        return ["fewer than 10"]
    return [f"{number:,}", f"{about} {small_cells.rounded(number):,}"]


def expect_count(page: Any, number: int) -> None:
    name = "Customers in this audience"
    page.wait_for_function(
        "([name, numbers]) => [...document.querySelectorAll('.crm-tile')].some(tile => "
        "tile.querySelector('span').innerText === name && numbers.includes(tile.querySelector('b').innerText))",
        arg=[name, shown(number)],
    )


def expect_rows(page: Any, number: int) -> None:
    page.wait_for_function("number => document.querySelectorAll('.crm-rule').length === number", arg=number)


def control(row: Any, label: str) -> Any:
    return row.get_by_label(label, exact=True)


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it")
def test_an_audience_is_built_by_clicking_counted_saved_and_opened_again(
    served: tuple[int, str], data: Path, builder: audience_data.Builder
) -> None:
    number = lambda condition: audience.count(builder.snapshot, condition, data=data)  # noqa: E731
    with browser.chromium() as chromium, browser.visit(chromium) as visit:
        page = visit.page
        page.goto(serve.url(*served, "audience_builder"))
        page.wait_for_function(browser.DRAWN, arg=5)
        assert page.title() == "Audience builder"
        expect_count(page, number(audience_data.templates(builder)["acceptance"]))

        # Down to one condition, and that another region.
        page.get_by_title("Remove this group").last.click()
        expect_rows(page, 3)
        rows = page.locator(".crm-rule")
        for left in (2, 1):
            rows.last.get_by_title("Remove this condition").click()
            expect_rows(page, left)
        control(rows.first, "Value").select_option(label="South <b>")
        south = audience.where(region="South <b>")
        expect_count(page, number(south))

        # An amount, typed in euros.
        page.get_by_role("button", name="Add a condition", exact=True).click()
        expect_rows(page, 2)
        control(rows.last, "What").select_option(label="Turnover")
        control(rows.last, "When").wait_for()
        control(rows.last, "How").select_option(label="more than")
        control(rows.last, "Value, €").fill("250")
        control(rows.last, "Value, €").press("Enter")
        rich = south & audience.turnover(audience.last_month, above_minor=25_000)
        expect_count(page, number(rich))

        # A second group: none of these.
        page.get_by_role("button", name="Add a group of conditions").click()
        expect_rows(page, 3)
        page.get_by_title("How the conditions of this group go together").last.select_option(
            label="Customers who meet none of these"
        )
        control(rows.last, "What").select_option(label="Holds a product")
        control(rows.last, "Product group").wait_for()
        control(rows.last, "Product group").select_option(label="loans")
        wanted = rich & ~audience.holds(group="loans")
        assert 0 < number(wanted) < number(rich) < number(south)
        expect_count(page, number(wanted))
        page.get_by_text("For the data scientist").click()
        written = page.locator(".crm-python").inner_text()
        assert eval(written, {"audience": audience}) == wanted

        # The numbers of a chart as a file, on record.
        taken = figures.xlsx_of(figures.take_chart(page, 0, "xlsx"))
        assert taken[0] == ("value", "item") and taken[1] == (300, "All customers")
        assert figures.on_record(data, 1)["content"].iloc[0]["rows"] == len(taken) - 1

        # Saved, changed, and opened again as it was saved.
        assert page.locator(".crm-next a").count() == 0
        page.get_by_title("Name of this audience").fill("Rich South")
        page.get_by_role("button", name="Save audience").click()
        page.get_by_text("Audience Rich South saved as version 1.").wait_for()
        row = audience.load(data, "Rich South")
        assert row.conditions == wanted.data
        assert page.locator(".crm-next a").get_attribute("href") == f"campaigns.ipynb?audience={row.audience_id}"
        page.get_by_title("Begin with an example").select_option(label="Asleep: no transactions for three months")
        expect_count(page, number(audience_data.templates(builder)["sleeping"]))
        page.get_by_title("Open a saved audience").select_option(label="Rich South, version 1")
        expect_count(page, number(wanted))
        assert page.get_by_title("Name of this audience").input_value() == "Rich South"
        assert visit.outside == [] and visit.errors == []

        # Opened by its address, in Russian.
        page.goto(serve.url(*served, "audience_builder") + f"&audience={row.audience_id}&language=ru")
        page.get_by_text("Клиентов в аудитории").wait_for()
        page.wait_for_function(
            "numbers => numbers.includes(document.querySelector('.crm-tile b').innerText)",
            arg=shown(number(wanted), "около"),
        )
        assert page.get_by_title("Название аудитории").input_value() == "Rich South"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 1366
        assert visit.outside == [] and visit.errors == []
