"""Features: one row per customer as of a date, declared once, computed by a local kernel or in any SQL database."""

from __future__ import annotations

from crmlib.features.build import build, build_sql, describe, resolve
from crmlib.features.default import DEFAULT
from crmlib.features.panel import panel, panel_parts
from crmlib.features.spec import (
    Declaration,
    Specification,
    attribute,
    balance,
    from_json,
    held,
    household_size,
    last_value,
    ratio,
    recency,
    share,
    since,
    to_json,
    trend,
    upcoming,
    variance,
    windowed,
)

__all__ = [
    "DEFAULT",
    "Declaration",
    "Specification",
    "attribute",
    "balance",
    "build",
    "build_sql",
    "describe",
    "from_json",
    "held",
    "household_size",
    "last_value",
    "panel",
    "panel_parts",
    "ratio",
    "recency",
    "resolve",
    "share",
    "since",
    "to_json",
    "trend",
    "upcoming",
    "variance",
    "windowed",
]
