"""Audiences: customers chosen by conditions kept as data, compiled to SQL, counted by the engine that holds the tables.

>>> from crmlib.decisions import audiences as audience
>>> wanted = audience.where(region="South") & audience.turnover(audience.last_month, above_minor=10_000_000)
>>> wanted.data["all"][1]["window"]
{'whole_months': 1}
"""

from __future__ import annotations

from crmlib.decisions.audiences.conditions import normal, same
from crmlib.decisions.audiences.counting import count, count_sql, customers, customers_sql, freeze, plain, steps
from crmlib.decisions.audiences.fields import FIELDS
from crmlib.decisions.audiences.form import (
    Condition,
    applied,
    attribute,
    closed,
    complained,
    condition,
    contacted,
    everybody,
    holds,
    holds_amount,
    in_campaign,
    largest,
    last_month,
    maturing,
    met_consultant,
    net,
    no_contact,
    not_met_consultant,
    opened,
    python,
    score,
    segment,
    transactions,
    turnover,
    where,
)
from crmlib.decisions.audiences.saved import by_id, load, save, saved
from crmlib.decisions.audiences.sources import scores_of, segments_of

__all__ = [
    "FIELDS",
    "Condition",
    "applied",
    "attribute",
    "by_id",
    "closed",
    "complained",
    "condition",
    "contacted",
    "count",
    "count_sql",
    "customers",
    "customers_sql",
    "everybody",
    "freeze",
    "holds",
    "holds_amount",
    "in_campaign",
    "largest",
    "last_month",
    "load",
    "maturing",
    "met_consultant",
    "net",
    "no_contact",
    "normal",
    "not_met_consultant",
    "opened",
    "plain",
    "python",
    "same",
    "save",
    "saved",
    "score",
    "scores_of",
    "segment",
    "segments_of",
    "steps",
    "transactions",
    "turnover",
    "where",
]
