"""The sample bank: files as a bank would export them, with the truth beside them (see docs/sample_bank.md)."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from crmlib.errors import UsageError
from crmlib.samples import bank_block as blocks
from crmlib.samples import bank_files as files
from crmlib.samples import bank_reference as reference
from crmlib.samples import bank_retention as retention
from crmlib.samples import bank_write as writing
from crmlib.samples.sample import Sample, put

DEFAULT_END = dt.date(2025, 12, 31)

_COMPANY = """\
name = "Sample bank"
currency = "EUR"
time_zone = "UTC"
holidays = [{holidays}]
consent_when_missing = "refused"
horizon_months = 24
annual_discount = 0.10
monthly_retention = 0.99

[contact_costs_minor]
call = 500
mail = 100
email = 2
sms = 8
branch = 400

[contact_minutes]
call = 8
branch = 20

[product_retention]
mortgage = 0.997
pension_plan = 0.995
deposit = 0.97

[levers]
fund_plan = 1.2

[capacities]
call = {calls}
mail = {letters}

[contact_policy]
ignored_contacts = 3
ignored_within_days = 180
silent_days = 120
complaint_days = 14
quiet_hours = ["20:00-09:00"]
quiet_weekdays = ["sunday"]
quiet_holidays = true
quiet_channels = ["call", "sms"]

[[contact_policy.limits]]
per = "customer"
contacts = 2
days = 30

[[contact_policy.limits]]
per = "customer"
channel = "call"
contacts = 1
days = 90

[[contact_policy.limits]]
per = "household"
contacts = 3
days = 30

# Chosen so that a contract earns in a year about what the product list says of a sale.
[customer_value]
service_minute_minor = 60
complaint_minutes = 30

[customer_value.balance_margins]
accounts = 0.012
cards = 0.04
deposits = 0.006
investment = 0.004
loans = 0.045
car_loan = 0.0075
mortgage = 0.0015
savings = 0.004
child = 0            # no balances and no fee: what the product list states counts
overdraft = 0
fund_plan = 0
pension_plan = 0

[customer_value.fee_margins]
accounts = 0.5
child = 0
cards = 0.5
travel_card = 0.75
insurance = 0.2
home_insurance = 0.27
travel_insurance = 0.3
car_insurance = 0.167

[customer_value.holding_costs_minor]
accounts = 600
cards = 400
insurance = 300
loans = 900

[customer_value.transaction_margins]
car = 0.004
children = 0.006
exchange = 0.01
fee = 1.0
groceries = 0.004
health = 0.006
home = 0.006
leisure = 0.008
restaurants = 0.008
securities = 0.002
shopping = 0.008
transfer = 0.0005
travel = 0.008
"""

# The rules by which the programme of points gives points (docs/points.md).
_POINTS = """\
valid_months = 12
point_minor = 1.0

[[rules]]
name = "purchases"
kind = "purchase"
categories = ["groceries", "restaurants", "leisure", "shopping", "car"]
points = 1
per_minor = 100

[[rules]]
name = "welcome"
kind = "joining"
points = 200
"""


def bank(
    *,
    customers: int = 50_000,
    months: int = 24,
    seed: int = 7,
    folder: str | os.PathLike[str] = Path("data/samples/bank"),
    progress: bool = False,
) -> Sample:
    """Make up a retail bank of 20 products and write its files and its truth into ``folder``.

    The records end on 2025-12-31. An earlier sample in the folder is replaced once the new one is complete; the same
    arguments give the same bytes. Customers are simulated in blocks, so memory does not grow with their number.

    Raises UsageError for ``customers`` below 1 or above 5,000,000 or ``months`` not a multiple of 3 from 6 to 120,
    DataError for a folder that holds other files, EnvironmentFault where it cannot be written.
    """
    _check(customers, months)
    mark: dict[str, str | int] = {"sample": "bank", "customers": customers, "months": months, "seed": seed}
    return put(folder, lambda path: _write(path, customers, months, seed=seed, progress=progress), mark)


def _check(customers: int, months: int) -> None:
    if not 1 <= customers <= 5_000_000:
        raise UsageError(f"customers is {customers}; give a number from 1 to 5,000,000")
    if months % 3 or not 6 <= months <= 120:
        raise UsageError(f"months is {months}; give whole quarters, from 6 to 120 months")


def _write(folder: Path, customers: int, months: int, *, seed: int, progress: bool) -> None:
    over = blocks.calendar(months, end=DEFAULT_END.isoformat())
    recorded = over[blocks.WARM_UP :]
    shared = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    campaigns, retentions = reference.plan(shared, quarters=len(recorded)), retention.plan(len(recorded))
    for name, table in reference.tables(shared, campaigns, retentions, over=recorded).items():
        writing.write_tables(folder, {name: table}, block=0)
    with tqdm(total=customers, unit=" customers", desc="sample bank", disable=not progress) as bar:
        for number in range(-(-customers // blocks.SIZE)):
            size = min(blocks.SIZE, customers - number * blocks.SIZE)
            stream = np.random.SeedSequence(seed, spawn_key=(1, number))
            block = blocks.simulate(stream, number, size, over=over, campaigns=campaigns, retentions=retentions)
            planted = writing.write_tables(folder, files.tables(block, campaigns, retentions), block=number)
            writing.write_truth(folder / "truth", block, planted)
            bar.update(size)
    years = range(DEFAULT_END.year - -(-months // 12), DEFAULT_END.year + 1)
    holidays = ", ".join(f'"{year}-{day}"' for year in years for day in ("01-01", "05-01", "12-25"))
    # A contact centre and a post room that reach a small part of the customers in a month.
    capacities = {"calls": customers // 50, "letters": customers // 10}
    (folder / "company.toml").write_text(_COMPANY.format(holidays=holidays, **capacities), encoding="utf-8")
    (folder / "points.toml").write_text(_POINTS, encoding="utf-8")
