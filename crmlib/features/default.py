"""The standard specification: what a propensity model of a bank, an insurer or a shop gets unless told otherwise."""

from __future__ import annotations

from crmlib.features.spec import (
    Specification,
    attribute,
    balance,
    held,
    household_size,
    last_value,
    lenient,
    recency,
    share,
    since,
    trend,
    upcoming,
    variance,
    windowed,
)

_CATEGORIES = (
    "gender",
    "region",
    "marital_status",
    "education",
    "occupation",
    "employment_status",
    "segment",
    "preferred_channel",
    "risk_class",
)
_OPEN = {"closed_on": None}

_WHO = (
    *[attribute(column) for column in _CATEGORIES],
    attribute("children"),
    attribute("income_minor"),
    since("birth_date", years=True, name="customer_age_years"),
    since("customer_since", name="customer_tenure_days"),
    since("valid_from", name="customer_attributes_age_days"),
    household_size(),
    windowed("relatives", months=(None,), where={"relation": "child"}),
    recency("relatives", where={"relation": "child"}, date="birth_date", name="youngest_child"),
)

_MOVES = (
    recency("transactions", months=12),
    windowed("transactions", "amount_minor"),
    windowed("transactions", "amount_minor", by="category", months=(3, 12)),
    windowed("transactions", by="channel", months=(3, 12)),
    share("transactions", by="channel", months=(3,)),
    trend("transactions", recent=3, before=9),
    trend("transactions", "amount_minor", recent=3, before=9),
    trend("transactions", "amount_minor", by="category"),
    variance("transactions", "amount_minor", months=(12,)),
)

_HAS = (
    held(),
    held(by="product_id"),
    held(by="product_group"),
    held("amount_minor", by="product_group"),
    recency("holdings", first=True, where=_OPEN, name="holdings_open_oldest"),
    recency("holdings", where=_OPEN, name="holdings_open_newest"),
    recency("holdings", where=_OPEN, by="product_group", name="holdings_open_newest"),
    windowed("holdings", months=(3, 12), name="holdings_opened"),
    windowed("holdings", months=(12,), date="closed_on", name="holdings_closed"),
    upcoming("holdings", "matures_on", months=(1, 3, 6), where=_OPEN, name="holdings_maturing"),
    upcoming("holdings", "matures_on", months=(3,), where=_OPEN, by="product_group", name="holdings_maturing"),
    balance("latest"),
    balance("average", months=(3, 6)),
    balance("change", months=(3, 6)),
    balance("latest", by="product_group"),
    balance("average", months=(3,), by="product_group"),
    balance("change", months=(3,), by="product_group"),
)

_SAID = (
    windowed("applications", months=(3, 12)),
    windowed("applications", months=(12,), by="outcome"),
    windowed("applications", months=(3,), by="product_group"),
    recency("applications", months=12),
    windowed("contacts", months=(3, 12), where={"direction": "out"}),
    windowed("contacts", months=(3, 12), where={"direction": "in"}),
    windowed("contacts", months=(6,), by="channel"),
    windowed("contacts", months=(12,), by="outcome"),
    recency("contacts", months=12, where={"direction": "out"}),
    recency("contacts", months=12, where={"direction": "in"}),
    windowed("campaign_members", months=(12,), where={"control": False}),
    windowed("campaign_members", months=(12,), by="response"),
    windowed("complaints", months=(3, 12)),
    windowed("complaints", months=(None,), where={"resolved_at": None}, name="complaints_unresolved"),
    recency("complaints", months=12),
    windowed("loyalty_entries", "points", counts=False, months=(None, 3)),
    recency("loyalty_entries", months=12),
    last_value("surveys", "score", where={"question": "nps"}),
    recency("surveys", where={"question": "nps"}),
)

DEFAULT: Specification = lenient((*_WHO, *_MOVES, *_HAS, *_SAID))
"""Some 200 features of a bank with 20 products; extend it with ``DEFAULT + [features.recency("mentions")]``."""
