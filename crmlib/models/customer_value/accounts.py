"""The selects behind the account of a customer: what each month's contracts, transactions and contacts earned and cost.

Every select gives customer_key, month (calendar months counted from that of the first day) and amounts in whole minor
units of the company's currency. Each balance, month of a contract, transaction and contact is booked in whole minor units;
everything larger is a sum, so it adds up exactly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.models.customer_value import terms
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import cutoff, known

LONGEST_DAYS = 31
"""A balance stands for the days since the one before, but for no more than a month: empty balances may not be on record."""

Column = sa.ColumnElement[Any]

_NAMED: dict[str, Any] = {"name": sa.String(), "currency": sa.String()}


def balances(
    products: pd.DataFrame, first: dt.date, last: dt.date, *, company: Company, every: int = 1
) -> sa.Select[Any]:
    """Return the select of ``interest``: balance × days since the one before × share of the balance earned a day."""
    rows = dated_balances(first, last, every=every)
    prices = shares_of_balances(products, company)
    joined = rows.join(prices, same(prices, rows.c.product_id, rows.c.currency, company))
    month = _month(rows.c.balance_date, first)
    total = _total(rows.c.balance_minor * rows.c.days * prices.c.price).label("interest")
    return sa.select(rows.c.customer_key, month, total).select_from(joined).group_by(rows.c.customer_key, month)


def shares_of_balances(products: pd.DataFrame, company: Company) -> sa.Values:
    """Return what a day of each product's balances earns: name (product), currency, price (share); without those of 0."""
    shares = products.set_index("product_id")["balance_margin"] / terms.DAYS
    rows = [
        (product, currency, share * rate)
        for product, share in shares[shares > 0].items()
        for currency, rate in terms.rates(company).items()
    ]
    return terms.values("prices", {**_NAMED, "price": sa.Double()}, rows or [("", "", 0.0)])


def dated_balances(first: dt.date, last: dt.date, *, every: int = 1) -> sa.Subquery:
    """Return the balances from ``first``: customer_key, holding_id, product_id, balance_date, currency, balance_minor
    (without its sign), owed (whether it is a debt) and days (for how many it stands).
    """
    held = known(terms.table("holdings"), last).subquery("held")
    table = terms.table("balances")
    before = first - dt.timedelta(days=LONGEST_DAYS)
    recent = known(table, last, system=("customer_key",)).where(table.c.balance_date > before, *some(table, every))
    rows = recent.subquery("rows")
    seen = sa.func.lag(rows.c.balance_date).over(partition_by=rows.c.holding_id, order_by=rows.c.balance_date)
    steps = sa.select(rows, seen.label("before")).subquery("steps")
    start = sa.func.greatest(steps.c.before, _integer(held.c.opened_on - 1), first - dt.timedelta(days=1))
    days = sa.func.greatest(sa.func.least(_integer(steps.c.balance_date - start), LONGEST_DAYS), 0)
    names = ("customer_key", "holding_id", "balance_date", "currency")
    return (
        sa.select(
            *[steps.c[name] for name in names],
            held.c.product_id,
            _integer(sa.func.abs(steps.c.balance_minor)).label("balance_minor"),
            (steps.c.balance_minor < 0).label("owed"),
            _integer(days).label("days"),
        )
        .join_from(steps, held, held.c.holding_id == steps.c.holding_id)
        .where(steps.c.balance_date >= first)
        .subquery("dated")
    )


def holdings(
    products: pd.DataFrame, first: dt.date, last: dt.date, *, company: Company, every: int = 1
) -> sa.Select[Any]:
    """Return the select of ``fees``, ``products`` (stated margins) and ``contracts`` (cost), by the days contracts ran."""
    table = terms.table("holdings")
    rows = known(table, last, system=("customer_key",)).where(*some(table, every)).subquery("rows")
    rates = terms.rates(company)
    prices = terms.values(
        "prices",
        {**_NAMED, "fee": sa.Double(), "stated": sa.Double(), "cost": sa.Double()},
        [
            (
                row["product_id"],
                currency,
                row["fee_margin"] * rate / terms.DAYS,
                row["stated_minor"] / terms.DAYS,
                row["holding_cost_minor"] / terms.DAYS,
            )
            for row in products.to_dict("records")
            for currency, rate in rates.items()
        ]
        or [("", "", 0.0, 0.0, 0.0)],
    )
    starts = sa.func.greatest(rows.c.opened_on, first)
    ends = sa.func.least(sa.func.coalesce(rows.c.closed_on, last), last)
    months = sa.func.range(_month(starts, first), _month(ends, first) + 1)
    daily = (
        sa.select(
            rows.c.customer_key,
            starts.label("starts"),
            ends.label("ends"),
            sa.func.unnest(months, type_=sa.Integer).label("month"),
            sa.func.coalesce(rows.c.premium_minor, 0).label("premium"),
            *[prices.c[name] for name in ("fee", "stated", "cost")],
        )
        .join_from(rows, prices, same(prices, rows.c.product_id, rows.c.currency, company))
        .where(ends >= first, rows.c.opened_on <= last)
        .subquery("daily")
    )
    columns = {"month": sa.Integer(), "begins": sa.Date(), "ends": sa.Date()}
    calendar = terms.values("calendar", columns, _months(first, last))
    begins, until = sa.func.greatest(calendar.c.begins, daily.c.starts), sa.func.least(daily.c.ends, calendar.c.ends)
    days = _integer(until - begins + 1)
    sums = [
        _total(daily.c.premium * days * daily.c.fee).label("fees"),
        _total(days * daily.c.stated).label("products"),
        _total(days * daily.c.cost).label("contracts"),
    ]
    joined = daily.join(calendar, calendar.c.month == daily.c.month)
    keys = [daily.c.customer_key, daily.c.month]
    return sa.select(*keys, *sums).select_from(joined).group_by(*keys)


def transactions(first: dt.date, last: dt.date, *, company: Company, every: int = 1) -> sa.Select[Any]:
    """Return the select of ``commissions`` (share of amounts) and ``operations`` (cost of handling)."""
    rows = since(first, last, "transactions", every=every)
    shares = commission(company)
    costs = _named("costs", company.customer_value.transaction_costs_minor)
    joined = rows.outerjoin(shares, same(shares, rows.c.category, rows.c.currency, company)).outerjoin(
        costs, costs.c.name == rows.c.channel
    )
    month = _month(rows.c.occurred_at, first)
    sums = [
        _total(sa.func.coalesce(earned(rows, shares), 0)).label("commissions"),
        _total(sa.func.coalesce(costs.c.price, 0)).label("operations"),
    ]
    return sa.select(rows.c.customer_key, month, *sums).select_from(joined).group_by(rows.c.customer_key, month)


def commission(company: Company) -> sa.Values:
    """Return the prices of transactions: name (category), currency, price and whether both directions earn."""
    settings = company.customer_value
    rows = [
        (name, currency, share * rate, name in settings.both_directions)
        for name, share in settings.transaction_margins.items()
        for currency, rate in terms.rates(company).items()
    ]
    columns = {**_NAMED, "price": sa.Double(), "both": sa.Boolean()}
    return terms.values("shares", columns, rows or [("", "", 0.0, False)])


def earned(rows: sa.Subquery, shares: sa.Values) -> Column:
    """Return what a transaction earns: a share of what the customer pays, or of any amount where both directions do."""
    amount = sa.case((shares.c.both, sa.func.abs(rows.c.amount_minor)), else_=-rows.c.amount_minor)
    return _integer(amount) * shares.c.price


def since(first: dt.date, last: dt.date, name: str, *, every: int = 1) -> sa.Subquery:
    """Return the rows of a table of events from ``first`` that were known at the end of ``last``."""
    table = terms.table(name)
    happened = table.c[table.info["happened"]]
    begins = cutoff(first - dt.timedelta(days=1))
    return known(table, last, system=("customer_key",)).where(happened >= begins, *some(table, every)).subquery("rows")


def some(table: sa.FromClause, every: int) -> list[Column]:
    """Return the condition that leaves every n-th customer: a sample that is the same in all tables."""
    return [table.c.customer_key % every == 0] if every > 1 else []


def contacts(first: dt.date, last: dt.date, *, company: Company, every: int = 1) -> sa.Select[Any]:
    """Return the select of ``contacts`` (begun by the company) and ``service`` (begun by the customer)."""
    rows = _contacts(first, last, company, every=every)
    month = _month(rows.c.occurred_at, first)
    sums = [_cost(rows, direction).label(name) for name, direction in (("contacts", "out"), ("service", "in"))]
    return sa.select(rows.c.customer_key, month, *sums).group_by(rows.c.customer_key, month)


def effort(first: dt.date, last: dt.date, *, company: Company) -> sa.Select[Any]:
    """Return the select of contacts, minutes and cost_minor by customer_key, direction and channel."""
    rows = _contacts(first, last, company)
    keys = [rows.c.customer_key, rows.c.direction, rows.c.channel]
    minutes = (sa.cast(sa.func.sum(rows.c.seconds), sa.Double()) / 60).label("minutes")
    return sa.select(
        *keys, sa.func.count().label("contacts"), minutes, _total(rows.c.cost).label("cost_minor")
    ).group_by(*keys)


def _cost(rows: sa.Subquery, direction: str) -> Column:
    return _total(sa.case((rows.c.direction == direction, rows.c.cost), else_=0))


def _contacts(first: dt.date, last: dt.date, company: Company, *, every: int = 1) -> sa.Subquery:
    """Return the contacts: customer_key, occurred_at, channel, direction, seconds and cost (minor units).

    A contact costs what is on record; else what a contact by its channel costs, of the customer's own with the working
    time; else its working time.
    """
    settings = company.customer_value
    rows = since(first, last, "contacts", every=every)
    made = _named("made", company.contact_costs_minor)
    besides = _named("besides", settings.incoming_costs_minor)
    taken, talked = _named("taken", settings.incoming_minutes), _named("talked", company.contact_minutes)
    rates = _named("rates", terms.rates(company))
    joined: sa.FromClause = rows.outerjoin(rates, rates.c.name == sa.func.coalesce(rows.c.currency, company.currency))
    for prices in (made, besides, taken, talked):
        joined = joined.outerjoin(prices, prices.c.name == rows.c.channel)
    incoming = sa.func.coalesce(rows.c.direction, "out") == "in"
    usual = 60 * sa.case((incoming, taken.c.price), else_=talked.c.price)
    seconds = sa.func.coalesce(rows.c.duration_seconds, usual, 0)
    time = seconds * (settings.service_minute_minor / 60)
    estimated = sa.case(
        (incoming, time + sa.func.coalesce(besides.c.price, 0)), else_=sa.func.coalesce(made.c.price, time)
    )
    cost = sa.func.coalesce(rows.c.cost_minor * rates.c.price, estimated)
    direction = sa.case((incoming, "in"), else_="out")
    return (
        sa.select(
            *[rows.c[name] for name in ("customer_key", "occurred_at", "channel")],
            direction.label("direction"),
            seconds.label("seconds"),
            cost.label("cost"),
        )
        .select_from(joined)
        .subquery("priced")
    )


def complaints(first: dt.date, last: dt.date, *, company: Company, every: int = 1) -> sa.Select[Any]:
    """Return the select of ``complaints``: the working time that each takes."""
    settings = company.customer_value
    rows = since(first, last, "complaints", every=every)
    month = _month(rows.c.opened_at, first)
    each = sa.literal(settings.complaint_minutes * settings.service_minute_minor, sa.Double)
    amount = _total(each).label("complaints")
    return sa.select(rows.c.customer_key, month, amount).group_by(rows.c.customer_key, month)


def _named(label: str, given: Mapping[str, float]) -> sa.Values:
    rows = [(name, float(amount)) for name, amount in given.items()]
    return terms.values(label, {"name": sa.String(), "price": sa.Double()}, rows or [("", 0.0)])


def same(prices: sa.Values, name: Column, currency: Column, company: Company) -> Column:
    """Return the condition that a price is that of the name and of the currency, the company's where none is given."""
    return sa.and_(prices.c.name == name, prices.c.currency == sa.func.coalesce(currency, company.currency))


def _total(amount: Column) -> Column:
    """Return the sum of amounts, each booked in whole minor units, halves away from zero."""
    return sa.cast(sa.func.sum(sa.cast(sa.func.round(amount), sa.BigInteger)), sa.BigInteger)


def _integer(expression: Column) -> Column:
    return sa.type_coerce(expression, sa.BigInteger)


def _month(column: Column, first: dt.date) -> sa.Label[Any]:
    start = sa.cast(sa.literal(first.replace(day=1)), sa.Date)
    return sa.func.datediff("month", start, column, type_=sa.Integer).label("month")


def _months(first: dt.date, last: dt.date) -> list[tuple[int, dt.date, dt.date]]:
    """Return the number, the first and the last day of each calendar month from ``first`` to ``last``, cut at both."""
    out: list[tuple[int, dt.date, dt.date]] = []
    start = first
    while start <= last:
        following = (start.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
        out.append((len(out), start, min(following - dt.timedelta(days=1), last)))
        start = following
    return out
