"""The campaign targeting dashboard without a browser: what its figures say, and who may take the list with which columns."""

from __future__ import annotations

from pathlib import Path

import figures
import made_scores
import pandas as pd
import pytest

from crmlib.views import campaign_targeting, chart_table

CHARTS = {"profit", "gains", "reasons"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targeting")
    made_scores.make(folder, customers=300)
    return folder


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = campaign_targeting.Panel(data, "", "en")
    found = set()
    for _, product in panel.products.options:
        panel.products.value = product
        found |= figures.check(panel.frame, origin="warehouse version 1")
    assert found == CHARTS
    panel.products.value = panel.products.options[0][1]
    assert "model propensity 1" in panel.charts["gains"].foot["lines"][0]
    profit = chart_table.table(panel.charts["profit"].figure)
    limits, earned = profit[["low", "high"]], profit["Expected profit, €"]
    assert (limits["low"] <= earned + 1e-6).all() and (earned <= limits["high"] + 1e-6).all()
    assert set(profit["Customers contacted"]) >= {0, panel.choice.best}
    gains = chart_table.table(panel.charts["gains"].figure)
    assert gains["series"].str.startswith("this model").any() and gains["low"].notna().any()
    reasons = chart_table.table(panel.charts["reasons"].figure)
    assert len(reasons) == len(panel.choice.kinds) and reasons["item"].str.len().min() >= 3


def test_who_may_not_see_names_takes_the_list_without_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {}
    for role in ("marketer", "analyst"):
        figures.visit_as(monkeypatch, tmp_path / "visits", role)
        panel = campaign_targeting.Panel(data, "", "en")
        panel._take("csv", True)
        assert panel.frame._trouble.value == ""
        record = figures.on_record(data, 1).iloc[0]
        assert (record["role"], record["content"]["purpose"]) == (role, "campaign targeting")
        taken[role] = set(pd.read_csv(data / record["content"]["file"], encoding="utf-8-sig").columns)
    assert taken["analyst"] - taken["marketer"] == {"given_name", "family_name", "phone", "email", "postcode", "city"}


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_not_export_takes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    figures.visit_as(monkeypatch, tmp_path / "visits", role)
    panel = campaign_targeting.Panel(data, "", "en")
    for details in (True, False):
        figures.refused(panel.frame, lambda d=details: panel._export("xlsx", d), "taking files away")
    figures.refused(
        panel.frame, lambda: panel.frame._take_chart("profit", panel.charts["profit"], "png"), "taking files"
    )
