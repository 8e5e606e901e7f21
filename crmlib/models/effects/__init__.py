"""What moves demand: price elasticities, promotion uplifts and dips, series by series and brought together by category."""

from __future__ import annotations

NAME = "price_effects"
"""The model's name in the store of scores."""
