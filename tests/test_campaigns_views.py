"""What the campaigns dashboard shows, without a browser: calendar, answers, clashes, progress, effects."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace
from pathlib import Path

import figures
import made_campaigns
import pandas as pd
import pytest
from made_campaigns import NOW, plan

from crmlib.decisions import audiences, campaigns
from crmlib.errors import NotFoundError
from crmlib.views import campaign_tables, campaign_words, campaigns_data, chart_table, plots_campaigns, texts
from crmlib.views import campaigns as campaigns_view
from crmlib.views.campaigns import Panel
from crmlib.views.frame import Frame

EN, RU = texts.speak("en"), texts.speak("ru")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaigns")
    made_campaigns.folder(folder)
    made_campaigns.with_past(folder)
    row = campaigns.draft(folder, plan(name="Other draft", capacities={"call": 9}), now=NOW)
    assert row.state == "draft"
    return folder


def test_plans_and_past_campaigns_stand_in_one_calendar(data: Path) -> None:
    loaded = campaigns_data.load(data)
    table = campaigns_data.calendar_table(loaded).set_index("campaign_id")
    assert table["state"].to_dict() == {"2026-01-other-draft": "draft", "K1": "past"}
    assert campaigns_data.measurable(loaded)["campaign_id"].tolist() == ["K1"]
    figure = plots_campaigns.gantt(table.reset_index(), words={}, today=dt.date(2026, 1, 1))
    days = {bar.name: bar.x[0] / 86_400_000 for bar in figure.data}
    assert days == {"past": 62, "draft": 26}, "from the first to the last day, both included"


def test_a_plan_is_answered_with_its_clashes(data: Path) -> None:
    loaded = campaigns_data.load(data)
    given = plan(capacities={"call": 9})
    answer = campaigns_data.ask(loaded, given, today=NOW.date())
    found = campaigns_data.clashes(loaded, given, answer).set_index("kind")
    assert found["number"].to_dict() == {"customers": answer.members, "product": 0, "capacity": 9}
    assert campaign_words.clash(EN, {**found.loc["capacity"], "kind": "capacity"}, products={}) == (
        "Same channel is full",
        "call: 9 contacts a day too many",
    )
    later_ = plan(starts_on=dt.date(2026, 3, 2), ends_on=dt.date(2026, 3, 6))
    assert campaigns_data.clashes(loaded, later_, campaigns_data.ask(loaded, later_, today=NOW.date())).empty


def test_a_draft_that_cannot_be_carried_out_does_not_stop_another_plan(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    home = tmp_path / "data"
    nobody = audiences.save(home, "Nobody", audiences.complained(), now=NOW, actor="anna").audience_id
    empty = campaigns.draft(home, plan(nobody, name="For nobody"), now=NOW)
    loaded = campaigns_data.load(home)
    given = plan(capacities={"call": 9})
    found = campaigns_data.clashes(loaded, given, campaigns_data.ask(loaded, given, today=NOW.date()))
    assert found.loc[found["campaign_id"] == empty.campaign_id, "kind"].tolist() == ["product"]


def test_an_old_campaign_is_measured_for_good(data: Path) -> None:
    found = campaigns_data.measure(campaigns_data.load(data), "K1")
    assert found.final and found.complete_on == dt.date(2025, 9, 28) and found.contaminated == 0
    buyers = found.effects.set_index("measure").loc["conversions"]
    assert buyers["low"] < 0.25 < buyers["high"] and buyers["low"] > 0, "35% against 10% bought"
    last = found.progress.groupby("arm").tail(1).set_index("arm")
    assert last.loc["call", "contacted"] == last.loc["call", "members"]


def test_the_panel_says_what_is_wrong_in_words_and_keeps_its_settings(data: Path) -> None:
    panel = Panel(data, "en")
    plans, effects = panel.planning, panel.effects
    assert "no audience is chosen" in plans.trouble.value
    panel._asked({"audience": "1", "product": "deposit", "part": "plan"})
    assert panel.form.audience.value == 1 and panel.form.arms[0].product.value == "deposit"
    assert "name is empty" in plans.trouble.value and plans.tiles.value == ""
    with pytest.raises(NotFoundError, match="There is no saved audience 99"):
        panel._asked({"audience": "99"})
    panel.form.name.value, panel.form.goal.value, panel.form.owner.value = "A", "b", "c"
    assert plans.trouble.value == "" and "Take part" in plans.tiles.value
    settings = panel.frame._settings()
    panel.form.name.value, panel.part.value = "changed", "effect"
    assert "€" in effects.sentence.value
    panel._apply(settings)
    assert (panel.form.name.value, panel.part.value) == ("A", "plan")
    panel.frame.language.value = "ru"
    assert "Участвуют" in plans.tiles.value and panel.frame._trouble.value == ""
    panel.form.name.value = "A" * 300
    assert "Текст слишком длинный" in plans.trouble.value
    panel.form.name.value, panel.form.control.value = "A", 0
    assert "Контрольная группа пуста" in plans.trouble.value


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = Panel(data, "en")
    panel._asked({"audience": "1", "product": "gold_card"})
    panel.form.name.value, panel.form.goal.value, panel.form.owner.value = "A", "b", "c"
    found = set()
    for part in campaigns_view.PARTS:
        panel.part.value = part
        found |= figures.check(panel.frame, origin="warehouse version 2")
    assert found == {"reach", "schedule", "calendar", "contacted", "refused", "bought", "conversions", "profit_minor"}
    assert "Audience Everybody v1" in panel.planning.charts["reach"].foot["lines"][0]
    calendar = chart_table.table(panel.following.charts["calendar"].figure).set_index("item")
    assert calendar.loc["Gold in summer", ["first", "last"]].tolist() == [dt.date(2025, 7, 1), dt.date(2025, 8, 31)]
    forest = chart_table.table(panel.effects.charts["conversions"].figure)
    assert (forest["low"] < forest["Additional buyers"]).all() and (forest["Additional buyers"] < forest["high"]).all()


def test_a_viewer_reads_and_changes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", "viewer")
    panel = Panel(data, "en")
    plans = panel.planning
    for change in (plans._save, plans._approve, plans._assign, plans._cancel):
        figures.refused(panel.frame, change, "Your role does not allow changes")
    figures.refused(panel.frame, lambda: plans._release("csv"), "Your role does not allow taking files away")
    panel.part.value = "effect"
    figures.refused(
        panel.frame,
        lambda: panel.frame._take_chart("conversions", panel.effects.charts["conversions"], "png"),
        "taking files",
    )
    assert "crm-may-not-change" in panel.root._dom_classes and "crm-needs-change" in plans.buttons["save"]._dom_classes


def test_whom_the_server_knows_owns_what_they_save_and_does_not_approve_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(data, home)
    figures.visit_as(monkeypatch, tmp_path / "visits", "marketer", name="eva")
    panel = Panel(home, "en")
    plans = panel.planning
    assert plans.form.owner.disabled and plans.form.owner.value == "eva" and plans.approved.layout.display == "none"
    panel._asked({"audience": "1", "product": "gold_card"})
    panel.form.name.value, panel.form.goal.value = "Four eyes", "sell"
    plans.form.owner.value = "somebody else"  # as a page could send
    plans.buttons["save"].click()
    assert plans.row is not None and plans.row.owner == "eva"
    plans.approver.value = "boris"
    plans.buttons["approve"].click()
    assert "eva owns this campaign; somebody else approves it" in panel.frame._trouble.value
    figures.visit_as(monkeypatch, tmp_path / "visits", "marketer", name="boris")
    other = Panel(home, "en")
    other.planning.open.value = plans.row.campaign_id
    other.planning.buttons["approve"].click()
    assert other.planning.row is not None and other.planning.row.approved_by == "boris"
    # Whoever changes it owns it: nobody approves what they wrote.
    other.form.goal.value = "sell more"
    other.planning.buttons["save"].click()
    assert (other.planning.row.owner, other.planning.row.state) == ("boris", "draft")
    other.planning.buttons["approve"].click()
    assert "boris owns this campaign" in other.frame._trouble.value


def test_a_marketer_takes_the_list_without_names(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    shutil.copytree(data, home)
    row = campaigns.draft(home, plan(name="Listed"), now=NOW)
    row = campaigns.approve(home, row.campaign_id, revision=row.revision, by="Boris", now=NOW)
    campaigns.assign(home, row.campaign_id, revision=row.revision, seed=1, now=NOW)
    monkeypatch.setattr(Frame, "now", staticmethod(lambda: NOW))
    taken = {}
    for role in ("marketer", "analyst"):
        figures.visit_as(monkeypatch, tmp_path / "visits", role)
        panel = Panel(home, "en")
        panel.planning.open.value = row.campaign_id
        panel.planning.buttons["csv"].click()
        assert "saved as list-" in panel.frame._trouble.value, panel.frame._trouble.value
        record = figures.on_record(home, 1).iloc[0]
        assert (record["actor"], record["role"]) == ("eva (dashboard)", role)
        taken[role] = set(pd.read_csv(home / record["content"]["file"], encoding="utf-8-sig").columns)
    assert taken["analyst"] - taken["marketer"] == {"given_name", "family_name", "phone", "email", "postcode", "city"}
    assert not taken["marketer"] - taken["analyst"]


def test_every_reason_has_words() -> None:
    assert campaign_words.refusal(EN, "limit_customer") == "contacted often enough"
    assert campaign_words.refusal(RU, "no_consent") == "нет согласия на этот канал"
    assert campaign_words.refusal(EN, "moon_phase") == "another rule of the product"
    assert campaign_words.state(RU, "draft") == "черновик" and campaign_words.arm(EN, "control") == "control group"


def test_the_picture_of_refusals_adds_up_the_rare_reasons() -> None:
    rows = {"arm": ["a"] * 8, "code": ["", *"bcdefgh"], "customers": [100, 9, 8, 7, 6, 5, 4, 3]}
    figure = plots_campaigns.refusals(pd.DataFrame(rows), audience=142, words={"": "can be contacted"})
    drawn = {bar.name: bar.x[0] for bar in figure.data}
    assert drawn == {"can be contacted": 100, "b": 9, "c": 8, "d": 7, "e": 6, "other reasons": 12}


def test_a_campaign_without_a_product_is_on_the_calendar_but_has_no_sales_to_measure(data: Path) -> None:
    found = campaigns_data.load(data)
    keeping = {"campaign_id": "keep", "name": "Keep", "goal": "retention", "starts_on": pd.Timestamp("2025-01-01")}
    more = pd.concat([found.known, pd.DataFrame([keeping])], ignore_index=True)
    shown = replace(found, known=more)
    assert "keep" in set(campaigns_data.calendar_table(shown)["campaign_id"])
    assert "keep" not in set(campaigns_data.measurable(shown)["campaign_id"])


def test_shares_of_few_buyers_are_hidden_with_what_would_tell_them() -> None:
    say = texts.speak("en")
    row = pd.Series({"arm_mean": 0.2, "customers": 300, "control_mean": 1 / 75, "control": 75, "total": 56.0})
    assert campaign_tables.shares(say, row) == ["–", "fewer than 10"], "the additional buyers would tell the other"
    assert campaign_tables.shares(say, row.replace(56.0, float("nan"))) == ["20.00%", "fewer than 10"]
    assert campaign_tables.shares(say, row.replace(1 / 75, 0.2)) == ["20.00%", "20.00%"]
    assert campaign_tables.shares(say, row.replace(1 / 75, 0.0)) == ["20.00%", "0.00%"]
    assert "fewer" not in "".join(campaign_tables.shares(say, row.replace(1 / 75, float("nan"))))
