"""The retention watchlist: its data, words and pictures, its lists as files, and the page in a real browser."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import figures
import made_retention
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib.decisions import retention, watermarks, work_list
from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.models.churn import definitions
from crmlib.runs import retention_jobs
from crmlib.runs.stages import Stages
from crmlib.serving import serve
from crmlib.store import audit, session, tables
from crmlib.views import (
    plots_retention,
    retention_about,
    retention_data,
    retention_lists,
    retention_summary,
    retention_watchlist,
    texts,
)
from crmlib.views import retention_words as words
from crmlib.views.retention_data import Filter

EN, RU = texts.speak("en"), texts.speak("ru")
in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.program() is None, reason="no chromium here; `make system` installs it"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up bank that the job has decided upon, with the definition of leaving that the churn job records."""
    folder = tmp_path_factory.mktemp("watchlist")
    made_retention.make(folder, customers=2_500)
    definition = {"code": "leaving_relationship", "reasons": []}
    with session.session(folder) as store:
        store.add(
            tables.Model(
                name="churn",
                model_version=1,
                folder="models/churn/0001",
                checksum="0" * 64,
                warehouse_version=1,
                as_of=made_retention.AS_OF,
                created_at=made_retention.NOW,
                metrics={"definition": definition},
            )
        )
        store.commit()
    retention_jobs.retention(folder, stages=Stages(quiet=True))
    return folder


@pytest.fixture(scope="module")
def loaded(data: Path) -> retention_data.Loaded:
    return retention_data.load(data)


def one(loaded: retention_data.Loaded, code: str) -> pd.Series:
    return loaded.table[loaded.table["code"] == code].iloc[0]


# ---------------------------------------------------------------- data


def test_filters_keep_exactly_whom_they_name_the_most_to_save_first(loaded: retention_data.Loaded) -> None:
    table = loaded.table
    everybody = retention_data.chosen(loaded, Filter())
    assert len(everybody) == len(table) and (np.diff(everybody["net_minor"]) <= 0).all()
    for kind, codes in retention_data.KINDS.items():
        assert len(retention_data.chosen(loaded, Filter(decision=kind))) == table["code"].isin(codes).sum()
    assert sorted(code for codes in retention_data.KINDS.values() for code in codes) == sorted(retention.CODES)
    some = retention_data.chosen(loaded, Filter("no_consent", "price", "B1", 0.05))
    assert len(some)
    assert (some["code"] == "no_consent").all() and (some["reason"] == "price").all()
    assert (some["branch_id"] == "B1").all() and (some["risk_90"] >= 0.05).all()
    assert retention_data.chosen(loaded, Filter(reason="nothing")).empty


def test_decisions_add_up_to_the_customers(loaded: retention_data.Loaded) -> None:
    found = retention_data.decisions(loaded.table)
    assert found["customers"].sum() == len(loaded.table)
    assert found["risk"].sum() == pytest.approx(loaded.table["risk_90"].sum())
    assert found["net_minor"].sum() == pytest.approx(loaded.table["net_minor"].sum())


def test_the_break_even_drawn_is_where_the_average_customer_just_pays(loaded: retention_data.Loaded) -> None:
    prevented = loaded.prevented
    assert 0 < prevented["email"] < prevented["call"] < 1
    value = retention_data.break_even(loaded, "call", np.array([0.1]))[0]
    assert 0.1 * prevented["call"] * value == pytest.approx(500)
    row = pd.Series({"risk_90": 0.1, "value_at_stake_minor": value})
    assert retention_data.needed(loaded, row, "call") == pytest.approx(prevented["call"])


def test_the_calibration_has_intervals_around_what_was_observed(loaded: retention_data.Loaded) -> None:
    table = loaded.calibration
    assert (table["horizon"] == 90).all() and len(table) == 10
    assert ((table["low"] < table["observed"]) & (table["observed"] < table["high"])).all()


def test_who_objected_to_profiling_has_neither_risk_nor_reasons(loaded: retention_data.Loaded) -> None:
    row = one(loaded, "profiling_objected")
    assert row[["risk_90", "low_90", "high_90", "stake_minor", "value_at_stake_minor"]].isna().all()
    told = retention_about.customer(EN, loaded, row)
    assert "nothing is worked out and nothing is done" in told and "%" not in told and "€" not in told


def test_a_list_with_details_holds_only_whom_an_action_may_reach_now(loaded: retention_data.Loaded) -> None:
    rows = retention_data.chosen(loaded, Filter())
    kept, allowed = retention_data.with_details(loaded, rows, today=made_retention.NOW.date())
    assert set(kept["customer_id"]) == set(loaded.table.loc[loaded.table["action"] != "", "customer_id"])
    assert kept.loc[kept["action"] == "call", "phone"].notna().all()
    assert kept.loc[kept["action"] == "call", "email"].isna().all(), "each channel gets its own details only"
    pairs = set(zip(allowed["customer_id"], allowed["channel"], strict=True))
    assert set(zip(kept["customer_id"], kept["channel"], strict=True)) <= pairs


# ---------------------------------------------------------------- words and pictures


def test_every_code_has_words_in_both_languages(loaded: retention_data.Loaded) -> None:
    row = one(loaded, "pays")
    for say in (EN, RU):
        for code in retention.CODES:
            assert words.code(say, code) not in ("", code)
            action = row["action"] if code == "pays" else ""
            told = words.explained(say, pd.Series({**row, "code": code, "action": action}), "EUR")
            assert told.endswith(".") and "{" not in told
        for kind in retention_data.KINDS:
            assert words.kind(say, kind) and words.short(say, kind)
    assert words.code(EN, "own_code") == "own code"
    assert words.decision(EN, row) in ("Contact by call", "Contact by e-mail")
    assert words.reason(RU, "death_or_moving") == "смерть или переезд"


def test_a_definition_of_leaving_by_falling_silent_is_told_as_the_churn_pages_tell_it(
    loaded: retention_data.Loaded,
) -> None:
    silent = definitions.described(definitions.Fading(window_days=45))
    told = retention_about.how(EN, dataclasses.replace(loaded, definition=silent))
    assert "A customer leaves after 45 days in a row without a transaction." in told and "to 0%" not in told
    assert "Клиент" in retention_about.how(RU, dataclasses.replace(loaded, definition=silent))
    assert "A customer leaves" not in retention_about.how(EN, dataclasses.replace(loaded, definition={}))


def test_customers_of_both_lists_lead_to_their_card_and_other_texts_stay_texts(loaded: retention_data.Loaded) -> None:
    rows = loaded.table.head(2).assign(reason="<b>")
    shown = retention_lists._customers(EN, loaded, rows)
    for name in rows["customer_id"]:
        assert f'<a class="crm-link" href="customer_card.ipynb?customer={name}">{name}</a>' in shown
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    task = loaded.tasks.iloc[:1]
    assert f'customer={task["customer_id"].iloc[0]}">' in retention_lists._tasks(EN, loaded, task)


def test_reasons_and_advice_of_the_work_list_in_words() -> None:
    said = [
        words.why(EN, code, currency="EUR")
        for code in (
            {"code": "complaint_open", "topic": "fees", "days": 1},
            {"code": "complaint_recent", "topic": "", "days": 40},
            {"code": "risk", "risk": 0.071, "times": 5.26},
            {"code": "leaving_reason", "reason": "price"},
            {"code": "value", "minor": 123_456},
            {"code": "detractor", "score": 3},
            {"code": "loyalty_low", "index": 12},
        )
    ]
    assert said == [
        "A complaint is open for 1 day (fees)",
        "Complained 40 days ago",
        "Risk of leaving within 90 days 7.1%, 5.3 times the average",
        "Likeliest reason: the price",
        "Worth €1,235 to us",
        "Would not recommend us: answered 3 of 10",
        "Loyalty index only 12 of 100",
    ]
    assert words.why(RU, {"code": "complaint_open", "topic": "", "days": 22}, currency="EUR") == "Жалоба открыта 22 дня"
    advice = {*work_list._ADVICE.values(), "ask", "settle_complaint"}
    for code in advice:
        assert words.what(EN, {"code": code}) != code
    assert words.what(RU, {"code": "remind_points", "points": 420}) == "Напомнить, что скоро сгорят 420 баллов"


def test_one_customer_is_told_with_the_break_even_and_let_go_decently(loaded: retention_data.Loaded) -> None:
    row = one(loaded, "pays")
    told = retention_about.customer(EN, loaded, row)
    assert "is expected to save" in told and "Break-even (call): pays if it prevents at least" in told
    assert f'href="customer_card.ipynb?customer={row["customer_id"]}"' in told
    assert "Letting go decently" not in told
    gone = one(loaded, "brings_nothing")
    assert "Letting go decently: no calls to persuade" in retention_about.customer(EN, loaded, gone)
    assert "Отпустить достойно — значит не уговаривать" in retention_about.customer(RU, loaded, gone)


def test_how_it_is_worked_out_is_told_with_definition_caution_and_break_even(loaded: retention_data.Loaded) -> None:
    told = retention_about.how(EN, loaded)
    assert "A customer leaves on the day the whole relationship ends." in told
    assert "with 80% certainty at least so much is prevented" in told
    assert "Break-even (call, €5.00): it prevents" in told
    assert "Does it last? call: of 1,000 contacted" in told
    assert f"All {made_retention.COMPANY.capacities['call']} contacts by call are used; one more would save" in told
    assert "{" not in retention_about.how(RU, loaded)


def test_the_map_draws_customers_by_decision_and_the_break_even(loaded: retention_data.Loaded) -> None:
    points = retention_data.points(loaded.table)
    assert len(points) == retention_data.POINTS and (points["value_at_stake_minor"] > 0).all()
    points = points.assign(words="A & <b>")
    lines = retention_summary.lines(EN, loaded, points["risk_90"])
    first = str(points["customer_id"].iloc[0])
    figure = plots_retention.map_of_risk(
        points, kinds={"act": "Act", "blocked": "Blocked"}, lines=lines, currency="EUR", chosen=first
    )
    acts = points[points["kind"] == "act"]
    assert list(figure.data[0].x) == pytest.approx(acts["risk_90"].tolist())
    assert list(figure.data[0].y) == pytest.approx((acts["value_at_stake_minor"] / 100).tolist())
    assert figure.data[0].customdata[0][1] == "A &amp; &lt;b&gt;"
    call = figure.data[2]
    share = np.array(call.x) * np.array(call.y) * loaded.prevented["call"]
    assert share == pytest.approx(np.full(len(share), 5.0)), "on the line a call saves its five euros"
    assert figure.data[-1].x[0] == points["risk_90"].iloc[0], "the chosen one has a ring"
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"


def test_effects_are_coloured_by_what_their_interval_says() -> None:
    table = pd.DataFrame({"relative_risk": [0.5, 1.0, 2.0], "low": [0.4, 0.7, 1.2], "high": [0.8, 1.4, 3.0]})
    figure = plots_retention.effects(table, words=["<i>", "b", "c"])
    assert list(figure.data[0].marker.color) == [plots_retention.GREEN, plots_retention.BLUE, plots_retention.ORANGE]
    assert figure.layout.yaxis.ticktext[0] == "&lt;i&gt;"


def test_a_customer_needing_next_to_nothing_prevented_is_told_so(loaded: retention_data.Loaded) -> None:
    row = one(loaded, "pays").copy()
    row["value_at_stake_minor"] = 1e9
    row["stake_minor"] = row["risk_90"] * 1e9
    told = retention_about.customer(EN, loaded, row)
    assert "Break-even (call): pays already if it prevents 0.1% of such departures" in told
    assert "at least under" not in told


def test_a_choice_without_risks_says_so_and_still_tells_about_its_customer(data: Path) -> None:
    panel = retention_watchlist.Panel(data, "en")
    panel.decision.value = "profiling_objected"
    assert panel.frame._trouble.value == "" and len(panel.rows)
    drawn = panel.charts["map"].spec.replace(r"\u003cbr\u003e", " ")  # one sentence, on as many lines as it takes
    assert "Nobody of this choice has a risk and a value to draw." in drawn
    assert '"xref":"paper"' in panel.charts["map"].spec.replace(" ", ""), (
        "else it is lost where the axes were logarithmic"
    )
    assert "Drawn are" not in panel.titles["map"].value
    assert "Click a point, or type a number" in panel.about.value
    name = str(panel.rows["customer_id"].iloc[0])
    panel.customer.value = name
    assert f"Customer {name}" in panel.about.value and panel.frame._trouble.value == ""
    assert '"showticklabels":false' in panel.charts["decisions"].spec.replace(" ", "")


def test_the_page_says_that_values_assume_whoever_is_kept_stays(loaded: retention_data.Loaded) -> None:
    assert "assumes that whoever is kept stays as long as others do" in retention_about.how(EN, loaded)


def test_effects_of_too_few_departures_are_not_shown(loaded: retention_data.Loaded) -> None:
    shown = retention_summary.measured(loaded)
    assert (shown["within_days"] == 90).all() and (shown["control_left"] + shown["treated_left"] >= 10).all()
    assert shown.groupby("channel")["reason"].first().tolist() == ["preventable", "preventable"]
    assert "" not in set(shown["group"]), "those of no group say the same as all"
    first = shown.iloc[0]
    left = f"{first['treated_left']:,} of {first['treated']:,} / {first['control_left']:,} of {first['control']:,}"
    assert retention_about.effect(EN, first) == f"call: all that can be prevented\n{left}"


# ---------------------------------------------------------------- the panel


def test_what_goes_wrong_is_said_in_words(tmp_path: Path) -> None:
    panel = retention_watchlist.Panel(tmp_path / "nowhere", "en")
    assert "there is no such data folder; run `crm demo`" in panel.frame._trouble.value
    with pytest.raises(NotFoundError, match="nobody has been decided on yet; run `crm churn`, `crm value`"):
        retention_data.load(tmp_path)


def test_without_past_campaigns_the_page_says_what_is_missing(tmp_path: Path) -> None:
    made_retention.make(tmp_path, customers=200, past=False)
    retention_jobs.retention(tmp_path, stages=Stages(quiet=True))
    panel = retention_watchlist.Panel(tmp_path, "en")
    assert panel.frame._trouble.value == ""
    assert "What a contact saves is unknown" in panel.frame._head.value
    assert "No past campaign with a control group" in panel.charts["effects"].spec
    panel.customer.value = str(panel.rows["customer_id"].iloc[0])
    assert "Break-even (call): pays if it prevents at least" in panel.about.value
    panel.frame.language.value = "ru"
    assert panel.frame._trouble.value == ""


def test_a_view_the_address_and_a_click_choose_whom_to_show(data: Path) -> None:
    panel = retention_watchlist.Panel(data, "en")
    panel.decision.value, panel.branch.value, panel.risk.value = "let_go", "B2", 1.0
    kept = panel._settings()
    assert set(panel.rows["kind"]) <= {"let_go"} and set(panel.rows["branch_id"]) <= {"B2"}
    panel.decision.value = ""
    panel._apply(kept)
    assert panel._settings() == kept
    panel._apply({**kept, "decision": "", "branch": "", "risk": 0.0})
    panel._bar_clicked({"customdata": "no_consent"})
    assert panel.decision.value == "no_consent" and set(panel.rows["code"]) == {"no_consent"}
    name = str(panel.rows["customer_id"].iloc[3])
    panel._clicked({"customdata": [name, "words"]})
    assert panel.customer.value == name and f"Customer {name}" in panel.about.value
    panel._clicked({"customdata": None})
    panel._asked({"customer": "C000001", "decision": "act"})
    assert panel.customer.value == "C000001" and panel.decision.value == "act"
    panel.customer.value = "nobody at all"
    assert "There is no customer nobody at all among those decided on." in panel.frame._trouble.value


def test_a_choice_of_nobody_is_said_in_words(data: Path) -> None:
    panel = retention_watchlist.Panel(data, "en")
    panel.loaded = dataclasses.replace(panel.loaded, table=panel.loaded.table.iloc[:0]) if panel.loaded else None
    panel._filtered()
    assert panel.frame._trouble.value == ""
    assert "Nobody fits this choice" in panel.charts["map"].spec
    assert panel.lists.csv.disabled


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_lists_leave_with_their_provenance_a_mark_and_without_those_not_permitted(data: Path) -> None:
    panel = retention_watchlist.Panel(data, "en")
    panel._export(retention_lists.CUSTOMERS, "csv", details=True)
    panel._export(retention_lists.CUSTOMERS, "csv", details=False)
    panel._export(retention_lists.TASKS, "csv", details=False)
    with session.session(data) as store:
        found = store.scalars(sa.select(tables.Export).order_by(tables.Export.export_id.desc()).limit(3)).all()
        tasks, plain, full = ((row.purpose, row.content, row.rows, data / row.file) for row in found)
    assert (full[0], plain[0], tasks[0]) == ("retention watchlist", "retention watchlist", "work list")
    assert full[1]["score_set_id"] == panel.loaded.scores.score_set_id and full[1]["caution"] == 0.8  # type: ignore[union-attr]
    rows = read(full[3])
    marks = [row for row in rows if watermarks.is_marked(row["customer_id"])]
    assert [row["customer_id"] for row in marks] == [full[1]["watermark"]]
    assert len(rows) == full[2] + 1 and {row["action"] for row in rows} == {"call", "email"}
    assert {row["given_name"] for row in rows if row not in marks} == {"'=Anna"}, "safe for spreadsheets"
    everyone = read(plain[3])
    assert len(everyone) == len(panel.rows) and "phone" not in everyone[0]
    assert everyone[0]["decision"].startswith("Contact by")
    work = read(tasks[3])
    assert len(work) == tasks[2] and "Old Town" in {row["branch"] for row in work}
    assert any("A complaint is open for 12 days (fees)" in row["why"] for row in work)
    panel.decision.value = "let_go"
    panel.frame.guarded(lambda: panel._export(retention_lists.CUSTOMERS, "csv", details=True))()
    assert "No action reaches anybody of this choice" in panel.frame._trouble.value


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = retention_watchlist.Panel(data, "en")
    shown = {"map", "decisions", "effects", "calibration"}
    assert figures.check(panel.frame, origin="warehouse version 1") == shown
    assert "model retention 1" in panel.charts["map"].foot["lines"][0]
    assert "model churn 1" in panel.charts["calibration"].foot["lines"][0]
    assert "No interval: departures" in panel.tiles.value
    panel.frame.language.value = "ru"
    assert figures.check(panel.frame, origin="версия хранилища 1") == shown


def test_nobody_is_told_about_before_it_is_on_record(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = retention_watchlist.Panel(data, "en")
    name = str(panel.rows["customer_id"].iloc[7])
    assert "Click a point" in panel.about.value and "<h2>Customer" not in panel.about.value
    about = {"newest": None, "customer_id": name}
    panel.customer.value = name
    panel.risk.value = 1.0
    panel.frame.language.value = "ru"
    assert audit.entries(data, **about)["action"].tolist() == ["look"]
    panel._clicked({"customdata": ["<script>" * 40, "x"]})
    assert "среди тех" in panel.frame._trouble.value and len(panel.frame._trouble.value) < 500

    def lost(*_: object, **__: object) -> int:
        raise EnvironmentFault("the audit log could not be written")

    monkeypatch.setattr(audit, "record", lost)
    panel.customer.value = name
    assert "could not be written" in panel.frame._trouble.value and name not in panel.about.value


def test_who_may_not_takes_neither_lists_nor_contact_details(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "viewer")
    panel = retention_watchlist.Panel(data, "en")
    for which in (retention_lists.CUSTOMERS, retention_lists.TASKS):
        figures.refused(
            panel.frame, lambda which=which: panel._export(which, "csv", details=False), "taking files away"
        )
    figures.visit_as(monkeypatch, tmp_path / "visits", "marketer", name="mia")
    panel = retention_watchlist.Panel(data, "en")
    full = lambda: panel._export(retention_lists.CUSTOMERS, "csv", details=True)  # noqa: E731
    figures.refused(panel.frame, full, "does not show names and contact details")
    panel._export(retention_lists.CUSTOMERS, "csv", details=False)
    entry = audit.entries(data, newest=1).iloc[0]
    assert (entry["actor"], entry["role"], entry["action"]) == ("mia (dashboard)", "marketer", "export")


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def visit(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    alone = tmp_path_factory.mktemp("dashboards")  # the server makes ready every page it finds: here just this one
    shutil.copy(browser.DASHBOARDS / "retention_watchlist.ipynb", alone)
    with (
        browser.server(data, log=log, dashboards=alone) as served,
        browser.chromium() as chromium,
        browser.visit(chromium) as found,
    ):
        found.page.goto(serve.url(*served, "retention_watchlist"))
        found.page.wait_for_function(browser.DRAWN, arg=4)
        yield found
        assert found.outside == [], "a request left the machine"
        assert found.errors == []


@pytest.mark.parametrize("_", [pytest.param(None, marks=in_browser)])
def test_click_filter_list_download_and_language(visit: browser.Visit, loaded: retention_data.Loaded, _: Any) -> None:
    page = visit.page
    taken = figures.csv_of(figures.take_chart(page, 2, "csv"))
    assert len(taken) == len(retention_summary.measured(loaded))
    assert len(figures.xlsx_of(figures.take_table(page, 0, "xlsx"))) == retention_lists.ROWS + 1
    assert figures.on_record(loaded.data, 2)["action"].tolist() == ["export", "export"]
    assert page.title() == "Retention watchlist"
    # A real click on the point of a customer tells about that one.
    target = retention_data.points(loaded.table).iloc[0]
    spot = "([risk, value]) => { const p = document.querySelector('.js-plotly-plot'), l = p._fullLayout, b = p.getBoundingClientRect(); return [b.left + l.xaxis._offset + l.xaxis.d2p(risk), b.top + l.yaxis._offset + l.yaxis.d2p(value)]; }"
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    x, y = page.evaluate(spot, [target["risk_90"], target["value_at_stake_minor"] / 100])
    page.mouse.click(x, y)
    page.get_by_role("heading", name=f"Customer {target['customer_id']}").wait_for()
    # By keyboard: a decision, then the list of consultants.
    page.locator(".crm-controls select").first.focus()
    page.keyboard.press("ArrowDown")
    acts = int((loaded.table["kind"] == "act").sum())
    page.get_by_role("button", name=f"Watchlist ({acts:,})").wait_for()
    page.get_by_role("button", name="Work list of consultants").click()
    page.locator(".crm-table td", has_text="Old Town").first.wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    assert len(read(Path(waiting.value.path()))) == len(loaded.tasks)
    page.get_by_text("rows saved as work-list").wait_for()
    page.get_by_role("button", name="Русский").click()
    page.wait_for_function("() => document.documentElement.lang === 'ru'")
    page.get_by_text("Что изменили прошлые кампании").wait_for()
    assert page.title() == "Удержание клиентов"
    for width, height in ((1366, 768), (820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], "nothing is cut off at the side"
