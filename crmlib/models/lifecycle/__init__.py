"""The phase of each customer's life cycle: by explicit rules, by a hidden-state model, their history and what comes next."""

from __future__ import annotations

from crmlib.models.lifecycle import compare, hidden, history, observations, phases, sojourn

__all__ = ["compare", "hidden", "history", "observations", "phases", "sojourn"]
