"""Demand forecasting: series from the warehouse, methods, intervals, and what came of them."""

from __future__ import annotations

from crmlib.models.demand.forecast import Forecaster, fit, forecast

__all__ = ["Forecaster", "fit", "forecast"]
