"""Segments: RFM and behavioural clusters, their profiles, the moves between them, and a forecast of the next moves."""

from __future__ import annotations

from crmlib.models.segments import behaviour, behavioural, clusters, forecast, moves, profiles, rfm
from crmlib.models.segments.behaviour import measure, resolve
from crmlib.models.segments.behavioural import Behavioural, fit
from crmlib.models.segments.profiles import describe, profile, restore, traits
from crmlib.models.segments.rfm import RFM, Counted

__all__ = [
    "RFM",
    "Behavioural",
    "Counted",
    "behaviour",
    "behavioural",
    "clusters",
    "describe",
    "fit",
    "forecast",
    "measure",
    "moves",
    "profile",
    "profiles",
    "resolve",
    "restore",
    "rfm",
    "traits",
]
