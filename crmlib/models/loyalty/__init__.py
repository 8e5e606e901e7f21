"""Loyalty: what customers say (NPS, drivers, mentions), what they show (the indirect index), and who stays (cohorts)."""

from __future__ import annotations

from crmlib.models.loyalty import cohorts, drivers, index, mentions, nps, response

__all__ = ["cohorts", "drivers", "index", "mentions", "nps", "response"]
