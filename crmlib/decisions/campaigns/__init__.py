"""Campaigns: planned, approved, drawn at random, sent out as lists, and what came of them brought back.

``draft`` → ``approve`` → ``assign`` (see ``freeze``) → ``release`` (lists) → ``bring_in`` (what happened) → ``members``
and ``progress`` of ``results``, which ``decisions.experiments`` measures.
"""

from __future__ import annotations

from crmlib.decisions.campaigns.book import approve, cancel, change, draft, finish, get, plan_of, planned
from crmlib.decisions.campaigns.calendar import clashes
from crmlib.decisions.campaigns.freeze import Answer, Assignment, assign, look, members_of
from crmlib.decisions.campaigns.lists import Released, release
from crmlib.decisions.campaigns.plan import CHANNELS, Arm, Plan
from crmlib.decisions.campaigns.results import members, progress
from crmlib.decisions.campaigns.returned import Taken, bring_in

__all__ = [
    "CHANNELS",
    "Answer",
    "Arm",
    "Assignment",
    "Plan",
    "Released",
    "Taken",
    "approve",
    "assign",
    "bring_in",
    "cancel",
    "change",
    "clashes",
    "draft",
    "finish",
    "get",
    "look",
    "members",
    "members_of",
    "plan_of",
    "planned",
    "progress",
    "release",
]
