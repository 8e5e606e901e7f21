"""The dashboard of product matrices: its data, words and heat map, and the page in a real browser."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_scores
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib import paths
from crmlib.decisions import audiences, memberships
from crmlib.serving import serve
from crmlib.store import segment_sets, session, tables
from crmlib.views import chart_table, matrices_data, plots_matrices, product_matrices, texts
from crmlib.views import matrices_words as words
from crmlib.warehouse import build, schema

EN, RU = texts.speak("en"), texts.speak("ru")
in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it"),
]
REGIONS = ["North", "South & <b>East</b>"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up scores over a warehouse in which buyers of a deposit go on to a gold card."""
    folder = tmp_path_factory.mktemp("data")
    made_scores.make(folder, customers=900)
    richer(folder)
    names = pd.Series([f"C{number:06d}" for number in range(900)])
    table = pd.DataFrame({"customer_id": names, "as_of": made_scores.AS_OF, "segmentation": "rfm"})
    table["segment"] = np.where(np.arange(900) < 895, "champions", "at_risk")
    table = table.iloc[20:]  # who is in none stands for the few at risk, so that the total does not give them away
    about = {"as_of": made_scores.AS_OF, "fitted_as_of": made_scores.AS_OF, "warehouse_version": 1}
    description = {"kind": "rfm", "segments": {"champions": {}, "at_risk": {}}}
    segment_sets.save(table, data=folder, segmentation="rfm", description=description, now=made_scores.NOW, **about)
    return folder


def richer(folder: Path) -> None:
    """Write the made-up warehouse anew, with regions and holdings."""
    rng = np.random.default_rng(1)
    ids = [f"C{number:06d}" for number in range(900)]
    frames = made_scores.warehouse_frames(ids, rng)
    frames["customers"]["region"] = rng.choice(REGIONS, len(ids))
    held = rng.random(len(ids)) < 0.4
    takes = rng.random(len(ids)) < np.where(held, 0.3, 0.05)
    rows = [
        pd.DataFrame({"customer_id": np.array(ids)[chosen], "product_id": product, "opened_on": day})
        for chosen, product, day in (
            (held, "deposit", dt.date(2025, 1, 15)),
            (takes, "gold_card", dt.date(2025, 11, 10)),
        )
    ]
    holdings = pd.concat(rows, ignore_index=True)
    frames["holdings"] = holdings.assign(holding_id=[f"h{number}" for number in range(len(holdings))])
    path = paths.warehouse(folder) / "v000001.duckdb"
    path.unlink()
    build.from_frames(path, frames, company=made_scores.COMPANY, version=1)
    assert schema.FORMAT_VERSION


@pytest.fixture(scope="module")
def loaded(data: Path) -> matrices_data.Loaded:
    return matrices_data.load(data)


def cell(table: pd.DataFrame, segment: str, product: str) -> pd.Series:
    return table[(table["segment"] == segment) & (table["product_id"] == product)].iloc[0]


# ---------------------------------------------------------------- data and words


def test_the_rows_offered_are_those_the_data_allow(loaded: matrices_data.Loaded) -> None:
    assert loaded.rows == ["rfm", "holds", "region"]
    assert loaded.measures("holds") == ["lift", "rate", "penetration", "propensity", "expected_profit"]
    assert loaded.segment_names(EN, "rfm") == {"champions": "Champions", "at_risk": "At risk of leaving"}


def test_each_measure_has_one_form(loaded: matrices_data.Loaded) -> None:
    for by in loaded.rows:
        for measure in loaded.measures(by):
            table = matrices_data.table(loaded, by, measure, within_days=90, next_only=False)
            shown = table[~table["hidden"] & table["value"].notna()]
            assert len(shown), (by, measure)
            assert (shown["low"] <= shown["value"] + 1e-9).all(), (by, measure)
            assert (shown["value"] <= shown["high"] + 1e-9).all(), (by, measure)
            assert table.loc[table["hidden"], ["value", "low", "high"]].isna().all().all()
    few = matrices_data.table(loaded, "rfm", "penetration", within_days=30, next_only=False)
    alone = few.groupby("segment")["hidden"].all()
    assert set(alone.index[alone]) == {"at_risk", ""}


def test_a_cell_is_one_sentence_in_both_languages(loaded: matrices_data.Loaded) -> None:
    table = matrices_data.table(loaded, "holds", "lift", within_days=90, next_only=False)
    row = cell(table, "deposit", "gold_card")
    about = {"who": "W", "product": "P", "currency": "EUR", "day": dt.date(2025, 10, 2), "within_days": 90}
    told = words.sentence(EN, row, name="lift", **about)
    assert told.startswith(
        f"W: P was taken {row['value']:.1f} times as often as by everybody who could take it (95% interval"
    )
    assert told.endswith("within 90 days after 2 October 2025.")
    assert "2 октября 2025 г." in words.sentence(RU, row, name="lift", **about)
    hidden = cell(
        matrices_data.table(loaded, "rfm", "penetration", within_days=30, next_only=False), "at_risk", "deposit"
    )
    assert (
        words.sentence(EN, hidden, name="penetration", **about)
        == "Hidden: fewer than 10 customers are behind this cell, or it would give such a cell away."
    )
    for measure in ("penetration", "propensity", "expected_profit"):
        one = cell(matrices_data.table(loaded, "region", measure, within_days=30, next_only=False), "North", "deposit")
        assert words.sentence(EN, one, name=measure, **about).startswith("W: ")
        assert words.sentence(RU, one, name=measure, **about).endswith(".")
    unpriced = row.copy()
    unpriced["value"] = np.nan
    assert "has no margin" in words.sentence(EN, unpriced, name="expected_profit", **about)
    assert "Nobody took P" in words.sentence(EN, unpriced, name="lift", **about)


def test_the_heat_map_shows_numbers_hides_cells_and_frames_the_chosen_one(loaded: matrices_data.Loaded) -> None:
    table = matrices_data.table(loaded, "holds", "lift", within_days=90, next_only=False)
    rows = [("deposit", "A & <b>"), ("gold_card", "B")]
    columns = [(name, name) for name in loaded.names]
    figure = plots_matrices.heat_map(
        table,
        rows=rows,
        columns=columns,
        measure="lift",
        write=lambda value: f"{value:.1f}",
        chosen=("deposit", "gold_card"),
    )
    drawn = figure.data[0]
    place = list(loaded.names).index("gold_card")
    assert drawn.text[0][place] == f"{cell(table, 'deposit', 'gold_card')['value']:.1f}"
    assert drawn.z[0][place] > 0.6  # planted, so coloured
    assert drawn.z[0][list(loaded.names).index("deposit")] is None  # nobody can take what is held
    assert figure.layout.yaxis.ticktext[0] == "A &amp; &lt;b&gt;"
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].y0) == (place - 0.5, -0.5)


def test_chance_gets_no_colour() -> None:
    table = pd.DataFrame(
        {
            "segment": "s",
            "product_id": list("abc"),
            "value": [3.0, 3.0, 0.2],
            "low": [2.0, 0.8, 0.1],
            "high": [4.0, 9.0, 0.5],
        }
    )
    figure = plots_matrices.heat_map(
        table, rows=[("s", "S")], columns=[(name, name) for name in "abc"], measure="lift", write=str
    )
    high, chance, low = figure.data[0].z[0]
    assert chance == 0.5
    assert low < 0.5 < high


def test_a_cell_leads_to_its_audience(data: Path, loaded: matrices_data.Loaded) -> None:
    table = matrices_data.table(loaded, "region", "expected_profit", within_days=90, next_only=False)
    row = cell(table, "North", "gold_card")
    found, count = matrices_data.cell_audience(loaded, "region", "expected_profit", "North", "gold_card")
    chosen = set(audiences.customers(loaded.snapshot, found.conditions, data=data)["customer_id"])
    assert len(chosen) == count
    pairs = loaded.known.pairs
    assert pairs is not None
    own = pairs[(pairs["column"] == loaded.known.products.index("gold_card")) & (pairs["profit"] > 0)]
    region = memberships.members(loaded.snapshot, "region").set_index("customer_id")["segment"]
    worth = {name for name in loaded.known.customers[own["row"]] if region[name] == "North"}
    assert worth <= chosen  # those without consent are told apart when the campaign is planned
    assert len(worth) == row["hits"]


def test_without_scores_penetration_and_taking_next_remain(data: Path, tmp_path: Path) -> None:
    with session.session(tmp_path) as store:
        store.add(
            tables.Version(
                version=1,
                state="published",
                file="v000001.duckdb",
                format_version=schema.FORMAT_VERSION,
                created_at=made_scores.NOW,
                published_at=made_scores.NOW,
            )
        )
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    paths.warehouse(tmp_path).mkdir()
    (paths.warehouse(tmp_path) / "v000001.duckdb").write_bytes((paths.warehouse(data) / "v000001.duckdb").read_bytes())
    panel = product_matrices.Panel(tmp_path, "en")
    assert [code for _, code in panel.measure.options] == ["lift", "rate", "penetration"]
    assert "There are no scores yet" in panel.frame._head.value
    assert panel.frame._trouble.value == ""


def test_what_goes_wrong_is_said_in_words(tmp_path: Path) -> None:
    panel = product_matrices.Panel(tmp_path / "nowhere", "en")
    assert "there is no such data folder; run `crm demo`" in panel.frame._trouble.value
    assert panel.frame.body.layout.display == "none"


def test_a_named_view_and_the_address_choose_the_cell(data: Path) -> None:
    panel = product_matrices.Panel(data, "en")
    panel.by.value, panel.measure.value = "region", "penetration"
    panel.row.value, panel.product.value = "North", "brokerage"
    kept = panel._settings()
    panel.by.value = "holds"
    panel._apply(kept)
    assert panel._settings() == kept
    panel._asked({"by": "rfm", "measure": "propensity", "product": "deposit"})
    assert (panel.by.value, panel.measure.value, panel.product.value) == ("rfm", "propensity", "deposit")
    panel.frame.guarded(lambda: panel._asked({"by": "shoes"}))()
    assert "There are no rows shoes; choose others." in panel.frame._trouble.value
    panel._clicked({"x": 1, "y": 0})
    assert panel.product.value == panel.product.options[1][1]
    assert panel.row.value == panel.row.options[0][1]


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = product_matrices.Panel(data, "en")
    for by in panel.loaded.rows:
        panel.by.value = by
        for _, measure in panel.measure.options:
            panel.measure.value = measure
            assert figures.check(panel.frame, origin="warehouse version 1") == {"matrix"}
            table = chart_table.table(panel.chart.figure)
            assert list(table.columns) == ["column", "row", "value", "low", "high"]
            known = table.dropna()
            assert len(known) and (known["low"] <= known["value"] + 1e-9).all(), (by, measure)
            assert (known["value"] <= known["high"] + 1e-9).all(), (by, measure)
            shown = panel.table["value"].notna().sum()
            assert table["value"].notna().sum() == shown, "what is hidden on the page is hidden in the file"
    panel.by.value = "rfm"
    assert "segments rfm 1" in panel.chart.foot["lines"][0] and "model propensity 1" in panel.chart.foot["lines"][0]
    panel.measure.value = "propensity"
    assert "90% bounds" in panel.chart.foot["lines"][1]
    assert any("between" in told for line in panel.chart.figure.data[0].hovertext for told in line)


def test_a_viewer_reads_and_changes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "viewer")
    panel = product_matrices.Panel(data, "en")
    saved = len(audiences.saved(data))
    figures.refused(panel.frame, panel._keep, "Your role does not allow changes")
    assert len(audiences.saved(data)) == saved
    figures.refused(panel.frame, lambda: panel._export("xlsx"), "Your role does not allow taking files away")
    table = re.search(r'id="(t-[0-9a-f]+)"', panel.listing.value)
    assert table is not None
    figures.refused(panel.frame, lambda: panel.frame._take_table(table[1], "csv"), "taking files away")


@pytest.mark.parametrize(
    "point", [{"x": None, "y": 0}, {"x": 10**9, "y": 0}, {"x": 0, "y": -1}, {"x": "<b>", "y": [1]}]
)
def test_a_click_beside_the_matrix_is_said_in_words(data: Path, point: dict[str, Any]) -> None:
    panel = product_matrices.Panel(data, "en")
    panel._clicked(point)
    assert "There is no such cell; choose another." in panel.frame._trouble.value


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def visit(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    alone = tmp_path_factory.mktemp("dashboards")  # the server makes ready every page it finds: here just this one
    shutil.copy(browser.DASHBOARDS / "product_matrices.ipynb", alone)
    with (
        browser.server(data, log=log, dashboards=alone) as served,
        browser.chromium() as chromium,
        browser.visit(chromium) as found,
    ):
        found.page.goto(serve.url(*served, "product_matrices"))
        found.page.wait_for_function(browser.DRAWN, arg=1)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


def chosen(page: Any, place: int) -> str:
    return str(
        page.locator(".crm-controls select").nth(place).evaluate("node => node.selectedOptions[0].text")
    ).replace("\xa0", " ")


def option(page: Any, place: int) -> str:
    """The text of a product offered; the page shows spaces as ones that do not break."""
    found = page.locator(".crm-controls select").nth(3).evaluate("(node, place) => node.options[place].text", place)
    return str(found).replace("\xa0", " ")


@pytest.mark.parametrize("_", [pytest.param(None, marks=in_browser)])
def test_click_keyboard_audience_download_and_language(visit: browser.Visit, data: Path, _: None) -> None:
    page = visit.page
    assert page.title() == "Product matrices"
    assert chosen(page, 0) == "Product already held (cross-selling)"
    assert (chosen(page, 2), chosen(page, 3)) == ("Term deposit", "Gold card <b>"), "it begins with the largest cell"
    # A real click on a cell of the heat map: the first row, the third column.
    spot = "([row, column]) => { const p = document.querySelector('.js-plotly-plot'), l = p._fullLayout, b = p.getBoundingClientRect(); return [b.left + l.xaxis._offset + l.xaxis.c2p(column), b.top + l.yaxis._offset + l.yaxis.c2p(row)]; }"
    page.locator(".crm-controls select").nth(0).select_option(label="Region")
    page.get_by_text("Region – ").first.wait_for()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').layout.yaxis.ticktext[0] === 'North'")
    x, y = page.evaluate(spot, [0, 2])
    product = option(page, 2)
    page.mouse.click(x, y)
    page.get_by_role("heading", name=f"Region – North · {product}").wait_for()
    assert (chosen(page, 2), chosen(page, 3)) == ("North", product)
    # The same by keyboard: the next product.
    page.locator(".crm-controls select").nth(3).focus()
    page.keyboard.press("ArrowDown")
    after = option(page, 3)
    page.get_by_role("heading", name=f"Region – North · {after}").wait_for()
    # The cell becomes an audience, and leads to a campaign.
    page.get_by_role("button", name="Make an audience of this cell").click()
    page.get_by_text("saved:").wait_for()
    row = audiences.load(data, f"{after}: North")
    link = page.get_by_role("link", name="Plan a campaign for it").get_attribute("href")
    assert link is not None
    assert link.startswith(f"campaigns.ipynb?audience={row.audience_id}&product=")
    assert row.conditions["all"][0] == {"field": "region", "operator": "eq", "value": "North"}
    # The whole matrix as a file, on record.
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    saved = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    assert saved.splitlines()[0].startswith('"row","segment","product","product_id"')
    with session.session(data) as store:
        record = store.scalars(sa.select(tables.Export)).one()
    assert (record.purpose, record.content["by"], record.rows) == ("product matrices", "region", 8)
    # The numbers of the chart and the table of the largest cells.
    taken = figures.csv_of(figures.take_chart(page, 0, "csv"))
    assert list(taken.columns) == ["column", "row", "value", "lower limit", "upper limit"]
    assert set(taken["row"]) == set(REGIONS) and len(taken) == 8
    heads, *rows = figures.xlsx_of(figures.take_table(page, 0, "xlsx"))
    assert heads[:2] == ("Region", "Product") and rows[0][0] in REGIONS
    contents = figures.on_record(data, 3)["content"]
    assert [one["rows"] for one in contents] == [len(rows), 8, 8]
    page.get_by_role("button", name="Русский").click()
    page.wait_for_function("() => document.documentElement.lang === 'ru'")
    page.get_by_text("Самые большие ячейки").wait_for()
    assert page.title() == "Матрицы продуктов"
    for width, height in ((1366, 768), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], "nothing is cut off at the side"
