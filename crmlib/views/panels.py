"""The dashboards: one function each, which returns its panel."""

from __future__ import annotations

import importlib
from pathlib import Path

import ipywidgets as widgets

DASHBOARDS = (
    "campaign_targeting",
    "audience_builder",
    "product_matrices",
    "offer_desk",
    "campaigns",
    "customer_card",
    "retention_watchlist",
    "loyalty",
    "due_list",
    "demand",
    "runs",
)


def campaign_targeting(data: str | Path, *, product: str = "", language: str = "en") -> widgets.Widget:
    """Return the panel that answers whom to contact about a product, and where contacting more stops paying."""
    return _panel("campaign_targeting", data, product=product, language=language)


def audience_builder(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel in which an audience is put together from conditions, counted, and kept under a name."""
    return _panel("audience_builder", data, language=language)


def product_matrices(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of product-segment and cross-product matrices, from which cross-selling starts."""
    return _panel("product_matrices", data, language=language)


def offer_desk(data: str | Path, *, customer: str = "", language: str = "en") -> widgets.Widget:
    """Return the operator's panel: who is calling, what to offer, why, and what came of it."""
    return _panel("offer_desk", data, customer=customer, language=language)


def campaigns(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel in which campaigns are planned, followed and measured."""
    return _panel("campaigns", data, language=language)


def customer_card(data: str | Path, *, customer: str = "", language: str = "en") -> widgets.Widget:
    """Return the panel with one customer's history at a glance: credit, value, risk, phase, loyalty, relationship."""
    return _panel("customer_card", data, customer=customer, language=language)


def retention_watchlist(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of who may leave: whom to keep, how and at what cost, and whom to let go, decently."""
    return _panel("retention_watchlist", data, language=language)


def loyalty(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of loyalty: NPS, its drivers, the index, cohorts, points, mentions and the work list."""
    return _panel("loyalty", data, language=language)


def demand(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of demand: series, forecasts with intervals, errors so far, plans, what-if, overrides."""
    return _panel("demand", data, language=language)


def due_list(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of who needs the next delivery: visits by day with reasons, and what to deliver."""
    return _panel("due_list", data, language=language)


def runs(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of runs: what ran by itself, what is late, how long it took against usual, logs and reports."""
    return _panel("runs_board", data, language=language)


def _panel(name: str, data: str | Path, **settings: str) -> widgets.Widget:
    # A dashboard imports what it shows, and nothing of the others.
    panel: widgets.Widget = importlib.import_module(f"crmlib.views.{name}").panel(Path(data), **settings)
    return panel
