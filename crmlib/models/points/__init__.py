"""Points of a loyalty programme: rules of accrual, the ledger, what the open points will cost, what the programme changes."""

from __future__ import annotations

from crmlib.models.points import ledger, liability, programme, rules
from crmlib.models.points.ledger import Ledger
from crmlib.models.points.liability import Runoff
from crmlib.models.points.rules import Programme, Rule

NAME = "points"
"""Name of the score sets with the points of customers."""

__all__ = ["NAME", "Ledger", "Programme", "Rule", "Runoff", "ledger", "liability", "programme", "rules"]
