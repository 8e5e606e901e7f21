"""The dashboard of loyalty: its data, words, pictures and empty states, and the page in a real browser."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_loyalty
import numpy as np
import pandas as pd
import pytest

from crmlib.errors import EnvironmentFault
from crmlib.runs import loyalty_jobs
from crmlib.runs.stages import Stages
from crmlib.serving import serve
from crmlib.store import audit, score_sets
from crmlib.views import chart_table, loyalty, loyalty_data, plots_loyalty, texts
from crmlib.views import loyalty_words as words

EN, RU = texts.speak("en"), texts.speak("ru")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the jobs of loyalty, points and retention leave behind."""
    folder = tmp_path_factory.mktemp("loyalty")
    made_loyalty.make(folder, made_loyalty.frames())
    loyalty_jobs.loyalty(folder, stages=Stages(quiet=True))
    about = {
        "model_version": 1,
        "warehouse_version": 1,
        "as_of": made_loyalty.LAST,
        "now": made_loyalty.NOW,
        "data": folder,
    }
    months = pd.date_range("2025-10-31", periods=6, freq="ME")
    cost = np.array([900.0, 1000, 1100, 700, 400, 0]) * 100
    ahead = np.arange(-2, 4)
    liability = pd.DataFrame({"ahead": ahead, "month": months, "points_open": 10_000.0, "liability_minor": cost})
    later = ahead >= 0
    liability = liability.assign(
        low=np.where(later, cost * 0.9, np.nan), high=np.where(later, cost * 1.1, np.nan), breakage=0.3, breakage_low=0.2,
        breakage_high=0.4,
    )  # fmt: skip
    one = pd.DataFrame({"customer_id": ["C000001"], "as_of": [pd.Timestamp(made_loyalty.LAST)]})
    score_sets.save(one, model="points", beside={"liability": liability}, **about)
    task = {
        "customer_id": "C000001",
        "branch_id": "B1",
        "why": json.dumps([{"code": "detractor", "score": 3}]),
        "what": json.dumps([{"code": "ask"}]),
        "cost_minor": 500.0,
        "net_minor": 12_300.0,
    }
    score_sets.save(one, model="retention", beside={"work_list": pd.DataFrame([task])}, **about)
    return folder


@pytest.fixture(scope="module")
def loaded(data: Path) -> loyalty_data.Loaded:
    return loyalty_data.load(data)


def test_what_was_saved_is_read(loaded: loyalty_data.Loaded) -> None:
    assert loaded.surveys == ["loyalty", "service"]
    assert loaded.kinds("loyalty") == ["channel", "branch_id"] and loaded.kinds("service") == ["channel"]
    time = loaded.over_time("loyalty")
    assert time["period"].is_monotonic_increasing and time["weighted"].notna().sum() == 4
    assert loaded.over_time("service")["weighted"].isna().all()
    before, after = loaded.whole("loyalty")
    assert before is not None and after is not None and after["score"] < before["score"]
    assert loaded.whole("service") == (None, None)
    assert list(loaded.drivers()["driver"]) == ["speed", "price"]
    assert loaded.group_names(EN, "branch_id")["B1"] == "North & <b>West</b>"


def test_the_cohort_chart_shows_each_known_month_and_no_other(loaded: loyalty_data.Loaded) -> None:
    table = loaded.tables["cohorts"]
    index, value, low, high = loyalty_data.cohort_grid(table, "retained")
    assert len(index) == table["cohort"].nunique() and np.isfinite(value).sum() == len(table)
    known = np.isfinite(value)
    assert (low[known] <= value[known]).all() and (value[known] <= high[known]).all()
    sizes = table.groupby("cohort")["customers"].first().tolist()
    figure = plots_loyalty.cohorts((index, value, low, high), sizes=sizes, write=lambda v: f"{v:.0%}", language="ru")
    drawn = figure.data[0]
    assert len(drawn.z) == min(len(index), 24)
    assert drawn.hovertext[0][0].endswith("%") and "95%-й интервал" in drawn.hovertext[0][0]
    assert np.isnan(np.asarray(drawn.z, float)[-1][-1])


def test_pictures_carry_intervals_and_names_are_shown_as_they_are(loaded: loyalty_data.Loaded) -> None:
    time = loaded.over_time("loyalty")
    both, plain = (plots_loyalty.over_time(time, weighted=weighted) for weighted in (True, False))
    assert [len(both.data), len(plain.data)] == [2, 1]
    assert (np.asarray(both.data[0].error_y.array) > 0).all()
    rows = loaded.by_group("loyalty", "branch_id")
    figure = plots_loyalty.groups(rows, names=loaded.branches)
    assert "North &amp; &lt;b&gt;West&lt;/b&gt;" in figure.layout.yaxis.ticktext
    bars = [(trace.error_x.array + trace.error_x.arrayminus).tolist() for trace in figure.data]
    assert sorted(itertools.chain(*bars)) == pytest.approx(sorted(rows["high"] - rows["low"])), "a bar for each group"
    low, high = figure.layout.xaxis.range
    assert low < rows["low"].min() and high > rows["high"].max(), "no interval is cut off"


def test_words_of_tests_and_comparisons() -> None:
    row = pd.Series({"difference": -12.4, "p_holm": 0.2})
    assert words.change(EN, row) == "since the quarter before; may be chance"
    assert words.change(RU, row.replace(0.2, 0.001)) == "к прошлому кварталу; больше, чем случайность"
    assert words.change(EN, pd.Series({"difference": np.nan, "p_holm": np.nan})) == ""
    names = ["rank_correlation", "auc_index", "auc_nps", "auc_difference"]
    table = pd.DataFrame({"measure": names, "value": [0.2, 0.7, 0.6, 0.1], "low": [0.1, 0.6, 0.5, 0.02], "high": 0.9})
    told = words.compared(EN, table.assign(customers=1_500, left=40))
    assert told.startswith("Of 1,500 customers with an index and an answer") and "in 70% of pairs" in told
    assert "The index foretells leaving better." in told
    assert "cannot be told yet" in words.compared(EN, table.assign(low=-0.1, customers=2, left=1))
    assert words.sign(RU, "complaints_refunded").startswith("Жалобы: ")


def test_named_views_and_the_address_choose_what_is_shown(data: Path) -> None:
    panel = loyalty.Panel(data, "en")
    assert panel.frame._trouble.value == ""
    panel._asked({"survey": "service", "measure": "revenue_minor"})
    assert (panel.survey.value, panel.measure.value, panel.kind.value) == ("service", "revenue_minor", "channel")
    kept = panel._settings()
    panel.survey.value = "loyalty"
    panel._apply(kept)
    assert panel._settings() == kept
    panel._asked({"survey": "nonsense"})
    assert panel.survey.value == "service"
    assert "Would not recommend us: answered 3 of 10" in panel.notes["tasks"].value
    assert "North &amp; &lt;b&gt;West&lt;/b&gt;" in panel.notes["tasks"].value
    assert "€1,100" in panel.tiles.value and "last 4 quarters; as answered" not in panel.tiles.value
    assert 'href="customer_card.ipynb?customer=C000001"' in panel.notes["tasks"].value
    panel.survey.value = "loyalty"
    assert "last 4 quarters; as answered" in panel.tiles.value


def test_what_is_missing_is_said_in_words(tmp_path: Path) -> None:
    tables = made_loyalty.frames(300)
    tables["surveys"] = tables["surveys"].query("survey == 'loyalty'").iloc[::40]
    del tables["mentions"]
    made_loyalty.make(tmp_path, tables)
    loyalty_jobs.loyalty(tmp_path, stages=Stages(quiet=True))
    panel = loyalty.Panel(tmp_path, "en")
    assert panel.frame._trouble.value == ""
    notes = {name: note.value for name, note in panel.notes.items()}
    assert "fewer than 10 answers in every quarter: too few for a score" in notes["time"]
    assert "promoters" not in notes["time"] and "so nothing is shown of" in notes["time"]
    assert "not enough data to weight the answers" in notes["balance"]
    assert "not enough data to weigh signs of loyalty" in notes["weights"]
    assert "run `crm points`" in notes["points"] and "run `crm retention`" in notes["tasks"]
    assert "No mentions have been imported yet." in notes["mentions"]
    assert panel.charts["time"].layout.display == "none" and panel.charts["cohorts"].layout.display == ""


def test_without_anything_saved_it_says_what_to_run(tmp_path: Path) -> None:
    assert "there is no such data folder; run `crm demo`" in loyalty.Panel(tmp_path / "no", "en").frame._trouble.value
    made_loyalty.make(tmp_path, made_loyalty.frames(300))
    assert "run `crm loyalty`" in loyalty.Panel(tmp_path, "en").frame._trouble.value


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = loyalty.Panel(data, "en")
    found = set()
    for measure in loyalty.MEASURES:
        panel.measure.value = measure
        found |= figures.check(panel.frame, origin="warehouse version 1")
    assert found == set(loyalty.CHARTS)
    assert "model loyalty 1" in panel.charts["time"].foot["lines"][0]
    assert "model points 1" in panel.charts["points"].foot["lines"][0], "another job made these"
    assert "model retention 1" in panel.notes["tasks"].value and "no interval" in panel.notes["tasks"].value
    assert "95% interval" in panel.tiles.value and "no interval: it gives each customer" in panel.tiles.value
    groups = chart_table.table(panel.charts["groups"].figure)
    assert (groups["low"] <= groups["NPS, points"]).all() and (groups["NPS, points"] <= groups["high"]).all()
    cohorts = chart_table.table(panel.charts["cohorts"].figure).dropna()
    assert (cohorts["low"] <= cohorts["value"]).all() and (cohorts["value"] <= cohorts["high"]).all()
    points = chart_table.table(panel.charts["points"].figure)
    ahead = points[points["series"] == "expected, of today's points"]
    assert ahead["high"].to_numpy() == pytest.approx(1.1 * ahead.iloc[:, 2].to_numpy(float))


def test_what_people_wrote_shows_when_asked_for_and_is_on_record(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = loyalty.Panel(data, "en")
    assert panel.notes["mentions"].value == "", "personal, so not shown by itself"
    known = panel.loaded.quotes["customer_id"].head(4).dropna().unique()
    panel.quoted.value = True
    assert "<table" in panel.notes["mentions"].value
    record = audit.entries(data, newest=10, action="reveal")
    assert set(record["subject"]) == {audit.pseudonym(data, str(one)) for one in known}
    panel.frame.reload()
    assert panel.quoted.value is False and panel.notes["mentions"].value == "", "newer words are asked for anew"
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", _cannot)
        panel.quoted.value = True
        panel.survey.value = panel.survey.options[-1][1]
        assert panel.quoted.value is False and panel.notes["mentions"].value == "", "no record, no look"
    figures.visit_as(monkeypatch, tmp_path / "visits", "marketer")
    other = loyalty.Panel(data, "en")
    other.quoted.value = True
    assert "Your role does not show names" in other.frame._trouble.value
    assert other.quoted.value is False and other.notes["mentions"].value == ""


def _cannot(*_given: Any, **_more: Any) -> int:
    raise EnvironmentFault("the record could not be written")


def test_few_answers_are_left_out_with_what_would_tell_them() -> None:
    told = {"promoters": [3, 20, 30], "passives": [2, 10, 20], "detractors": [1, 12, 14], "answers": [6, 42, 64]}
    table = pd.DataFrame({"survey": "loyalty", "kind": "branch_id", **told, "score": [None, 19.0, 25.0]})
    found = loyalty._without_few(table)
    assert found["answers"].isna().tolist() == [True, True, False], "the second is the total less the others"
    assert found["promoters"].isna().tolist() == [True, True, False] and found["score"].iloc[1] == 19.0
    fewer = loyalty._without_few(table.assign(answers=[20, 42, 64]))
    assert fewer["answers"].notna().all() and fewer["promoters"].isna().tolist() == [True, False, False]
    assert loyalty._without_few(table.iloc[:0]).empty


def test_a_viewer_reads_and_takes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "viewer")
    panel = loyalty.Panel(data, "en")
    assert panel.frame._trouble.value == ""
    figures.refused(panel.frame, panel._export, "Your role does not allow taking files away")
    figures.refused(panel.frame, lambda: panel.frame._take_chart("time", panel.charts["time"], "csv"), "taking files")
    figures.refused(panel.frame, panel.frame._views._save, "Your role does not allow changes")
    panel.frame.language.value = "ru"
    figures.refused(panel.frame, panel._export, "Ваша роль не позволяет")


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def visit(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    alone = tmp_path_factory.mktemp("dashboards")  # the server makes ready every page it finds: here just this one
    shutil.copy(browser.DASHBOARDS / "loyalty.ipynb", alone)
    with (
        browser.server(data, log=log, dashboards=alone) as served,
        browser.chromium() as chromium,
        browser.visit(chromium) as found,
    ):
        found.page.goto(serve.url(*served, "loyalty"))
        found.page.wait_for_function(browser.DRAWN, arg=9)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


@pytest.mark.browser
@pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it")
def test_a_marketer_reads_compares_and_downloads(visit: browser.Visit, data: Path) -> None:
    page = visit.page
    page.get_by_role("heading", name="Would customers recommend us?").wait_for()
    ticks = "() => document.querySelectorAll('.js-plotly-plot')[1].layout.yaxis.ticktext.join()"
    assert page.evaluate(ticks).count(",") == 2  # three channels
    page.locator(".crm-controls select").nth(1).select_option(label="Branch")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot')[1].layout.yaxis.ticktext.length === 2")
    # By keyboard: the other chart of cohorts.
    page.locator(".crm-controls select").nth(2).focus()
    page.keyboard.press("ArrowDown")
    page.get_by_text("Fees paid a month, per customer who joined.").wait_for()
    link = page.get_by_role("link", name="Open the whole list").get_attribute("href")
    assert link == "retention_watchlist.ipynb"
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the scores as CSV").click()
    saved = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    assert saved.splitlines()[0].startswith('"survey","kind","group","period","answers"')
    # A chart's numbers and a table as they stand, both on record.
    taken = figures.csv_of(figures.take_chart(page, 1, "csv"))
    assert list(taken.columns)[-4:] == ["NPS, points", "item", "lower limit", "upper limit"] and len(taken) == 2
    heads, *rows = figures.xlsx_of(figures.take_table(page, -1, "xlsx"))
    assert heads[0] == "Customer" and len(rows) == 1
    record = figures.on_record(data, 2)
    assert record["action"].tolist() == ["export", "export"]
    page.get_by_role("button", name="Русский").click()
    page.wait_for_function("() => document.documentElement.lang === 'ru'")
    page.get_by_text("Порекомендуют ли нас клиенты?").wait_for()
    assert page.title() == "Лояльность"
    for width, height in ((1366, 768), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], "nothing is cut off at the side"
    first = "() => document.querySelector('.js-plotly-plot').getBoundingClientRect().width"
    assert page.evaluate(first) > 600, "on a narrow screen a chart takes its whole width"
