"""What a churn model looks at, and the dates at which it looks: a specification and an honest order of dates."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.features.spec import (
    Selection,
    Specification,
    attribute,
    balance,
    held,
    last_value,
    lenient,
    recency,
    since,
    trend,
    upcoming,
    windowed,
)
from crmlib.models.churn.definitions import Definition, Holding
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Warehouse

HORIZONS = (30, 90, 180)
"""Days within which the risk is given; the second is the one that is learnt."""
LEARNT = 90
MOST_DATES = 4
"""More dates of training than this are not looked at: what was true two years ago need not be."""
ENOUGH = 1_500
"""Dates of training are added, backwards, until so many customers left: more cost time and teach little."""
HISTORY_DAYS = 90
"""What lies between the first record and the first date at least, days."""

_OPEN = {"closed_on": None}

SPEC: Specification = lenient(
    (
        *[
            attribute(name)
            for name in ("region", "segment", "employment_status", "marital_status", "preferred_channel")
        ],
        attribute("children"),
        attribute("income_minor"),
        since("birth_date", years=True, name="customer_age_years"),
        since("customer_since", name="customer_tenure_days"),
        since("valid_from", name="customer_attributes_age_days"),
        recency("transactions", months=12),
        windowed("transactions", "amount_minor", months=(3, 12)),
        windowed("transactions", months=(3, 12), by="category", levels=("fee", "salary")),
        trend("transactions", recent=3, before=9),
        held(),
        held(by="product_group"),
        recency("holdings", where=_OPEN, name="holdings_open_newest"),
        windowed("holdings", months=(12,), name="holdings_opened"),
        windowed("holdings", months=(3, 12), date="closed_on", name="holdings_closed"),
        upcoming("holdings", "matures_on", months=(3, 6), where=_OPEN, name="holdings_maturing"),
        balance("latest"),
        windowed("contacts", months=(3, 12), where={"direction": "out"}),
        windowed("contacts", months=(3, 12), where={"direction": "in"}),
        windowed("complaints", months=(3, 12)),
        windowed("complaints", months=(None,), where={"resolved_at": None}, name="complaints_unresolved"),
        recency("complaints", months=12),
        windowed("applications", months=(12,), by="outcome"),
        windowed("loyalty_entries", "points", counts=False, months=(None, 3)),
        last_value("surveys", "score", where={"question": "nps"}),
        recency("surveys", where={"question": "nps"}),
        last_value("mentions", "sentiment"),
    )
)
"""Some 50 features: tenure, depth, activity and its trend, fees, complaints, contacts, what customers said.

Few customers leave, so what cannot say why they would is left out: with the number of transactions by category the order
gets worse, not better (docs/churn.md).
"""


def specification(definition: Definition) -> Specification:
    """Return what a model of the definition looks at: ``SPEC``, and for a holding also its own contracts.

    >>> len(specification(Holding(product_id="loan"))) - len(SPEC)
    2
    """
    if not isinstance(definition, Holding):
        return SPEC
    by, level = ("product_id", definition.product_id)
    if not definition.product_id:
        by, level = ("product_group", definition.product_group)
    newest: Selection = {"where": _OPEN, "by": by, "levels": (level,), "name": "left_contract_newest"}
    ending: Selection = {**newest, "name": "left_contract_maturing"}
    own = (recency("holdings", **newest), upcoming("holdings", "matures_on", months=(1, 3, 6), **ending))
    return lenient((*SPEC, *own))


@dataclass(frozen=True)
class Dates:
    """The dates of an honest evaluation, each known before the next begins.

    Attributes: ``train`` ascending, the risk is learnt there; ``calibrate``; ``test``, of which nothing is used before
    the figures are drawn up; ``score``, the day at whose end the customers are scored.
    """

    train: tuple[dt.date, ...]
    calibrate: dt.date
    test: dt.date
    score: dt.date


def dates(first: dt.date, score: dt.date, definition: Definition) -> Dates:
    """Return the dates for records from ``first`` to ``score``: outcomes of one are known by the next.

    What happened within 90 days after each date of training is known at the next date, what happened within 90 days after
    ``calibrate`` at ``test``, and what happened within 180 days after ``test`` at ``score``. Raises DataError where the
    records are too short for one date of training.

    >>> from crmlib.models.churn.definitions import Relationship
    >>> found = dates(dt.date(2024, 1, 1), dt.date(2025, 12, 31), Relationship())
    >>> [str(day) for day in (*found.train, found.calibrate, found.test)]
    ['2024-03-31', '2024-06-30', '2024-09-30', '2024-12-31', '2025-03-31', '2025-06-30']
    """
    lag = definition.renewed_within_days if isinstance(definition, Holding) else 0
    test = _month_end(score - dt.timedelta(days=HORIZONS[-1] + lag))
    step = dt.timedelta(days=LEARNT + lag)
    calibrate = _month_end(test - step)
    train = [_month_end(calibrate - step)]
    earliest = first + dt.timedelta(days=HISTORY_DAYS)
    if train[0] < earliest:
        needed = (score - train[0]).days + HISTORY_DAYS
        raise DataError(
            f"the records run from {first} to {score}: not enough data to learn who leaves and to test it"
            f" (found {(score - first).days} days, need {needed}); load a longer history"
        )
    while len(train) < MOST_DATES and _month_end(train[-1] - step) >= earliest:
        train.append(_month_end(train[-1] - step))
    return Dates(tuple(reversed(train)), calibrate, test, score)


def records_begin(wh: Warehouse) -> dt.date:
    """Return the first day with a transaction or contact, else the first of the records: dates of contracts reach further back.

    Raises DataError for a warehouse without events.
    """
    days = []
    for name in ("transactions", "contacts"):
        column = schema.tables()[name].c.occurred_at
        found = wh.arrow(sa.select(sa.cast(sa.func.min(column), sa.Date))).to_pylist()[0]
        days += [day for day in found.values() if day is not None]
    if days:
        return min(days)
    if wh.period is None:
        raise DataError(f"version {wh.version} of the warehouse holds no events; load transactions or holdings first")
    return wh.period[0]


def _month_end(day: dt.date) -> dt.date:
    """Return the last month end that is not after ``day``."""
    following = day + dt.timedelta(days=1)
    return day if following.day == 1 else day.replace(day=1) - dt.timedelta(days=1)
