"""Every dashboard keeps its settings under a name and puts them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import browser
import made_campaigns
import made_card
import made_forecasts
import made_loyalty
import made_replenishment
import made_retention
import pytest

from crmlib.decisions import audiences
from crmlib.runs import loyalty_jobs, replenishment_jobs, retention_jobs
from crmlib.runs.stages import Stages
from crmlib.views import (
    audience_builder,
    campaign_targeting,
    campaigns,
    customer_card,
    demand,
    due_list,
    loyalty,
    offer_desk,
    panels,
    product_matrices,
    retention_watchlist,
    runs_board,
)


def _build(panel: Any) -> None:
    panel._put(audiences.where(region="North").data)


def _plan(panel: Any) -> None:
    panel.form.name.value, panel.part.value = "Gold in spring", "plan"


def _cell(panel: Any) -> None:
    panel.measure.value = next(value for _, value in panel.measure.options if value != panel.measure.value)


def _target(panel: Any) -> None:
    panel.products.value = next(value for _, value in panel.products.options if value != panel.products.value)


def _serve(panel: Any) -> None:
    panel.channel.value, panel.mode.value = "branch", "match"


def _years(panel: Any) -> None:
    panel.years.value = 5


def _ask(panel: Any) -> None:
    panel.survey.value, panel.weighted.value = "service", False


def _plan_ahead(panel: Any) -> None:
    panel.step.value, panel.trying.price.value = "month", -20


def _drive(panel: Any) -> None:
    panel.employee.value = next(value for _, value in panel.employee.options if value != panel.employee.value)


def _look_back(panel: Any) -> None:
    panel.days.value = 30


def _watch(panel: Any) -> None:
    panel.decision.value = next(value for _, value in panel.decision.options if value != panel.decision.value)


CHOICES: dict[str, tuple[Callable[[Path], Any], Callable[[Any], None]]] = {
    "audience_builder": (lambda data: audience_builder.Panel(data, "en"), _build),
    "campaign_targeting": (lambda data: campaign_targeting.Panel(data, "", "en"), _target),
    "campaigns": (lambda data: campaigns.Panel(data, "en"), _plan),
    "customer_card": (lambda data: customer_card.Panel(data, "", "en"), _years),
    "demand": (lambda data: demand.Panel(data, "en"), _plan_ahead),
    "due_list": (lambda data: due_list.Panel(data, "en"), _drive),
    "loyalty": (lambda data: loyalty.Panel(data, "en"), _ask),
    "offer_desk": (lambda data: offer_desk.Panel(data, "", "en"), _serve),
    "product_matrices": (lambda data: product_matrices.Panel(data, "en"), _cell),
    "retention_watchlist": (lambda data: retention_watchlist.Panel(data, "en"), _watch),
    "runs": (lambda data: runs_board.Panel(data, "en"), _look_back),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    bank, card, asked, kept = (tmp_path_factory.mktemp(name) for name in ("bank", "card", "asked", "kept"))
    made_campaigns.folder(bank)
    made_card.make(card)
    made_loyalty.make(asked, made_loyalty.frames())
    loyalty_jobs.loyalty(asked, stages=Stages(quiet=True))
    made_retention.make(kept, customers=1_000)
    retention_jobs.retention(kept, stages=Stages(quiet=True))
    wanted = tmp_path_factory.mktemp("wanted")
    made_forecasts.make(wanted)
    supplied = tmp_path_factory.mktemp("supplied")
    made_replenishment.make(supplied)
    replenishment_jobs.replenishment(supplied, stages=Stages(quiet=True))
    own = {
        "demand": wanted,
        "due_list": supplied,
        "customer_card": card,
        "offer_desk": card,
        "loyalty": asked,
        "retention_watchlist": kept,
    }
    return {name: own.get(name, bank) for name in CHOICES}


@pytest.mark.parametrize("name", CHOICES)
def test_what_was_chosen_is_kept_under_a_name_and_put_back_on_another_page(name: str, folders: dict[str, Path]) -> None:
    made, choose = CHOICES[name]
    first = made(folders[name])
    begun = first.frame._settings()
    choose(first)
    chosen = first.frame._settings()
    assert chosen != begun, "the choice is one of the settings"
    views = first.frame._views
    views.name.value = "mine"
    views.keep.click()
    assert "View mine saved." in first.frame._trouble.value
    second = made(folders[name])
    assert second.frame._settings() == begun
    second.frame._views.chosen.value = "mine"
    assert second.frame._settings() == chosen and second.frame._trouble.value == ""


def test_no_dashboard_is_left_out() -> None:
    assert set(CHOICES) == set(panels.DASHBOARDS) == {path.stem for path in browser.DASHBOARDS.glob("*.ipynb")}
