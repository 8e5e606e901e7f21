"""The canonical tables: the one place for column names, types, units, keys, sensitivity and meaning.

Every table also has the system columns of ``SYSTEM_COLUMNS``. A row is known from ``recorded_at`` until
``superseded_at``; a column marked ``known_from`` shows its value only from the moment in that other column on.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

FORMAT_VERSION = 3
"""Version of the layout of a warehouse file; raised whenever an older reader could misread a newer file."""

ANNOUNCED = ("campaigns", "policies", "prices", "products", "tariffs")
"""Tables whose rows may lie ahead of the time at which they are recorded."""

SENSITIVITIES = ("none", "personal", "contact", "special")
KINDS = ("event", "dated", "reference")

metadata = MetaData()

SYSTEM_COLUMNS = {
    "recorded_at": (DateTime, "UTC time from which the company knew this row"),
    "superseded_at": (
        DateTime,
        "UTC time at which a newer row with the same key replaced this one; empty while current",
    ),
    "load_id": (Integer, "number of the load that brought the row"),
    "customer_key": (
        Integer,
        "dense number of the customer in this warehouse (local versions only); rows are sorted by it",
    ),
}


def _column(
    name: str,
    type_: Any,
    doc: str,
    *,
    key: bool = False,
    required: bool = False,
    unit: str = "",
    sensitivity: str = "none",
    refers: str = "",
    values: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    known_from: str = "",
) -> Column[Any]:
    assert sensitivity in SENSITIVITIES, (name, sensitivity)
    info = {
        "key": key,
        "required": key or required,
        "unit": unit,
        "sensitivity": sensitivity,
        "refers": refers,
        "values": values,
        "low": low,
        "high": high,
        "known_from": known_from,
    }
    return Column(name, type_, primary_key=key, nullable=not (key or required), doc=doc, comment=doc, info=info)


def _table(name: str, kind: str, happened: str, doc: str, *columns: Column[Any]) -> Table:
    """Register a canonical table; ``happened`` names the column that says when a row came about ("" for references)."""
    assert kind in KINDS and (happened or kind == "reference"), name
    system: list[Column[Any]] = [
        Column(
            system_name,
            type_,
            primary_key=system_name == "recorded_at",
            nullable=system_name != "recorded_at",
            doc=text,
        )
        for system_name, (type_, text) in SYSTEM_COLUMNS.items()
        if system_name != "customer_key" or any(column.name == "customer_id" for column in columns)
    ]
    return Table(name, metadata, *columns, *system, info={"kind": kind, "happened": happened}, comment=doc)


def _customer(*, key: bool = False, required: bool = True) -> Column[Any]:
    return _column(
        "customer_id", String, "the customer", key=key, required=required, sensitivity="personal", refers="customers"
    )


def _product(*, key: bool = False, required: bool = False) -> Column[Any]:
    return _column("product_id", String, "the product", key=key, required=required, refers="products")


def _currency() -> Column[Any]:
    return _column("currency", String, "ISO 4217 code of the money columns of this row")


def _money(name: str, doc: str, **options: Any) -> Column[Any]:
    return _column(name, BigInteger, doc, unit="minor units", **options)


# fmt: off
# ---------------------------------------------------------------- who: customers, products, staff

customers = _table(
    "customers", "dated", "valid_from", "Customers, one row per customer and date from which the attributes held.",
    _column("customer_id", String, "the customer, as the source system names it", key=True, sensitivity="personal"),
    _column("valid_from", Date, "date from which this row's attributes held", key=True),
    _column("person_id", String, "the natural person; stable when customer records are found to be duplicates", sensitivity="personal"),
    _column("household_id", String, "the household", sensitivity="personal"),
    _column("given_name", String, "given name", sensitivity="contact"),
    _column("family_name", String, "family name", sensitivity="contact"),
    _column("gender", String, "gender as recorded", sensitivity="personal", values=("female", "male", "other")),
    _column("birth_date", Date, "date of birth", sensitivity="personal"),
    _column("region", String, "region of residence"),
    _column("city", String, "town of residence", sensitivity="personal"),
    _column("postcode", String, "postal code", sensitivity="contact"),
    _column("email", String, "e-mail address", sensitivity="contact"),
    _column("phone", String, "telephone number, E.164", sensitivity="contact"),
    _column("branch_id", String, "home branch", refers="branches"),
    _column("employee_id", String, "relationship manager", refers="employees"),
    _column("customer_since", Date, "first day of the relationship"),
    _column("marital_status", String, "single, married, divorced, widowed …", sensitivity="personal"),
    _column("children", Integer, "children in the household", unit="persons", sensitivity="personal", low=0, high=30),
    _column("education", String, "highest education", sensitivity="personal"),
    _column("occupation", String, "occupation", sensitivity="personal"),
    _column("employment_status", String, "employed, self-employed, student, retired …", sensitivity="personal"),
    _money("income_minor", "declared income per month", sensitivity="personal", low=0),
    _currency(),
    _column("risk_class", String, "credit or investment risk class", sensitivity="personal"),
    _column("segment", String, "segment or tier of service given by the source system"),
    _column("preferred_channel", String, "channel the customer asked for"),
    _column("closed_on", Date, "last day of the relationship", known_from="closed_on"),
    _column("closed_reason", String, "why the relationship ended", known_from="closed_on"),
)

relatives = _table(
    "relatives", "dated", "valid_from", "Members of a customer's household known by name or birth date.",
    _column("relative_id", String, "the household member", key=True, sensitivity="personal"),
    _column("valid_from", Date, "date from which this row held", key=True),
    _customer(),
    _column("relation", String, "child, spouse, parent …", sensitivity="personal"),
    _column("birth_date", Date, "date of birth", sensitivity="personal"),
    _column("given_name", String, "given name", sensitivity="contact"),
)

branches = _table(
    "branches", "reference", "", "Branches and other points of sale.",
    _column("branch_id", String, "the point of sale", key=True),
    _column("name", String, "name shown to people"),
    _column("kind", String, "branch, contact centre, agent, kiosk …"),
    _column("region", String, "region"),
    _column("city", String, "town"),
    _column("latitude", Double, "latitude", unit="degrees", low=-90, high=90),
    _column("longitude", Double, "longitude", unit="degrees", low=-180, high=180),
)

employees = _table(
    "employees", "dated", "valid_from", "Employees who sell and serve.",
    _column("employee_id", String, "the employee", key=True, sensitivity="personal"),
    _column("valid_from", Date, "date from which this row held", key=True),
    _column("name", String, "name", sensitivity="contact"),
    _column("role", String, "teller, manager, operator, representative …"),
    _column("branch_id", String, "point of sale", refers="branches"),
    _column("skills", String, "skills, separated by spaces"),
    _column("left_on", Date, "last working day", known_from="left_on"),
)

products = _table(
    "products", "dated", "valid_from", "Products, one row per product and date from which its terms held.",
    _column("product_id", String, "the product", key=True),
    _column("valid_from", Date, "date from which these terms held", key=True),
    _column("name", String, "name shown to people", required=True),
    _column("product_group", String, "group: accounts, cards, deposits, loans, insurance, investment …"),
    _money("margin_minor", "expected margin of one sale over margin_months, before the cost of contact"),
    _column("margin_months", Integer, "horizon of margin_minor", unit="months", low=1, high=600),
    _money("price_minor", "list price or fee per year", low=0),
    _currency(),
    _column("rate_percent", Double, "interest rate per year", unit="percent", low=-20, high=1000),
    _column("term_months", Integer, "usual term", unit="months", low=0, high=1200),
    _column("minimum_age", Integer, "youngest customer who may buy it", unit="years", low=0, high=150),
    _column("maximum_age", Integer, "oldest customer who may buy it", unit="years", low=0, high=150),
    _money("minimum_income_minor", "lowest monthly income with which it is sold", low=0),
    _column("requires_product_id", String, "product that must be held first", refers="products"),
    _column("repeatable", Boolean, "whether one customer may hold several"),
    _column("supply_limit", Integer, "pieces that can be delivered per quarter", unit="pieces", low=0),
    _column("maker", String, "who makes it: empty for the company itself, or the name of the competitor"),
    _money("cost_minor", "what one piece costs the company, before delivery", low=0),
    _column("shelf_life_days", Integer, "days from delivery to the last day of sale", unit="days", low=1, high=3650),
    _column("pack_size", Integer, "pieces in the smallest unit of delivery", unit="pieces", low=1),
    _column("attributes", Text, "further attributes as JSON"),
    _column("withdrawn_on", Date, "last day on sale", known_from="withdrawn_on"),
)

product_substitutes = _table(
    "product_substitutes", "reference", "", "Pairs of products that replace each other.",
    _column("product_id", String, "the product", key=True, refers="products"),
    _column("substitute_id", String, "what can take its place", key=True, refers="products"),
    _column("relation", String, "substitute (serves as well) or alternative (serves differently)"),
)

# ---------------------------------------------------------------- what they have and do

holdings = _table(
    "holdings", "event", "opened_on", "Contracts, accounts, policies and subscriptions.",
    _column("holding_id", String, "the contract", key=True, sensitivity="personal"),
    _customer(),
    _product(required=True),
    _column("opened_on", Date, "first day", required=True),
    _column("matures_on", Date, "contractual end, known at the opening"),
    _column("closed_on", Date, "actual last day", known_from="closed_on"),
    _column("closed_reason", String, "competitor, price, service, death, moving, matured …", known_from="closed_on"),
    _money("amount_minor", "contract amount (limit, principal, sum insured)"),
    _money("premium_minor", "premium or fee per year"),
    _currency(),
    _column("rate_percent", Double, "interest rate per year", unit="percent"),
    _column("channel", String, "where it was sold"),
    _column("branch_id", String, "point of sale", refers="branches"),
    _column("employee_id", String, "who sold it", refers="employees"),
)

balances = _table(
    "balances", "event", "balance_date", "Balance of a holding at the end of a day, usually a month's last.",
    _column("holding_id", String, "the contract", key=True, sensitivity="personal", refers="holdings"),
    _column("balance_date", Date, "end of this day", key=True),
    _customer(),
    _money("balance_minor", "balance; what the customer owes is negative", required=True),
    _currency(),
)

transactions = _table(
    "transactions", "event", "occurred_at", "Movements of money and purchases.",
    _column("transaction_id", String, "the transaction", key=True, sensitivity="personal"),
    _customer(),
    _column("occurred_at", DateTime, "UTC time it happened", required=True),
    _money("amount_minor", "amount; what the customer pays out is negative", required=True),
    _currency(),
    _column("category", String, "salary, groceries, transfer, cash, fee …"),
    _column("channel", String, "branch, atm, card, internet, mobile …"),
    _column("holding_id", String, "the contract it was booked on", sensitivity="personal", refers="holdings"),
    _product(),
    _column("quantity", Double, "pieces bought or returned", unit="pieces"),
    _column("merchant", String, "merchant or counterparty", sensitivity="personal"),
    _column("order_id", String, "order or invoice the line belongs to"),
)

applications = _table(
    "applications", "event", "applied_at", "Applications for a product and what became of them.",
    _column("application_id", String, "the application", key=True, sensitivity="personal"),
    _customer(),
    _product(required=True),
    _column("applied_at", DateTime, "UTC time it was made", required=True),
    _column("channel", String, "branch, contact centre, agent, kiosk, internet, mobile"),
    _column("branch_id", String, "point of sale", refers="branches"),
    _column("employee_id", String, "who took it", refers="employees"),
    _money("amount_minor", "amount asked for", low=0),
    _currency(),
    _column("decided_at", DateTime, "UTC time of the outcome", known_from="decided_at"),
    _column("outcome", String, "signed, refused, withdrawn, abandoned", known_from="decided_at"),
    _column("lost_stage", String, "stage at which it was lost", known_from="decided_at"),
    _column("holding_id", String, "contract it led to", known_from="decided_at"),
)

opportunities = _table(
    "opportunities", "event", "opened_at", "Deals in progress.",
    _column("opportunity_id", String, "the deal", key=True),
    _customer(),
    _product(),
    _column("opened_at", DateTime, "UTC time it was opened", required=True),
    _column("stage", String, "stage reached"),
    _money("amount_minor", "expected amount"),
    _currency(),
    _column("employee_id", String, "owner", refers="employees"),
    _column("closed_at", DateTime, "UTC time it was won or lost", known_from="closed_at"),
    _column("outcome", String, "won or lost", known_from="closed_at"),
)

# ---------------------------------------------------------------- what was said

contacts = _table(
    "contacts", "event", "occurred_at", "Contacts in both directions, by any channel.",
    _column("contact_id", String, "the contact", key=True),
    _customer(),
    _column("occurred_at", DateTime, "UTC time", required=True),
    _column("local_hour", Integer, "hour of day where the customer was", unit="hours", low=0, high=23),
    _column("channel", String, "call, mail, email, sms, branch, internet, mobile", required=True),
    _column("direction", String, "in or out", values=("in", "out")),
    _column("purpose", String, "sales, service, complaint, collection, information"),
    _product(),
    _column("campaign_id", String, "campaign it belonged to", refers="campaigns"),
    _column("employee_id", String, "who dealt with it", refers="employees"),
    _column("branch_id", String, "where", refers="branches"),
    _column("duration_seconds", Integer, "time spent", unit="seconds", low=0),
    _money("cost_minor", "cost of the contact", low=0),
    _currency(),
    _column("answered_at", DateTime, "UTC time of the customer's answer", known_from="answered_at"),
    _column("outcome", String, "accepted, refused, later, no answer …", known_from="answered_at"),
)

consents = _table(
    "consents", "event", "changed_at", "Consents given and withdrawn; missing means no.",
    _customer(key=True),
    _column("channel", String, "call, mail, email, sms … or all", key=True),
    _column("purpose", String, "marketing, profiling, service, research", key=True),
    _column("changed_at", DateTime, "UTC time of the customer's statement", key=True),
    _column("granted", Boolean, "true: consents; false: objects", required=True),
    _column("source", String, "where it was stated"),
)

campaigns = _table(
    "campaigns", "event", "starts_on", "Campaigns.",
    _column("campaign_id", String, "the campaign", key=True),
    _column("name", String, "name shown to people", required=True),
    _column("goal", String, "goal in a few words"),
    _product(),
    _column("channel", String, "main channel"),
    _column("starts_on", Date, "first day", required=True),
    _column("ends_on", Date, "planned last day"),
    _money("budget_minor", "budget", low=0),
    _currency(),
    _column("employee_id", String, "owner", refers="employees"),
)

campaign_members = _table(
    "campaign_members", "event", "assigned_at", "Who was in a campaign, in which arm, and what came of it.",
    _column("campaign_id", String, "the campaign", key=True, refers="campaigns"),
    _customer(key=True),
    _column("assigned_at", DateTime, "UTC time of the assignment", required=True),
    _column("arm", String, "offer and channel, or control", required=True),
    _column("control", Boolean, "true: left alone on purpose, chosen at random", required=True),
    _column("contacted_at", DateTime, "UTC time of the first contact", known_from="contacted_at"),
    _column("responded_at", DateTime, "UTC time of the response", known_from="responded_at"),
    _column("response", String, "accepted, refused, bought …", known_from="responded_at"),
)

surveys = _table(
    "surveys", "event", "answered_at", "Answers to questionnaires, one row per answer.",
    _column("answer_id", String, "the answer", key=True),
    _customer(),
    _column("survey", String, "survey", required=True),
    _column("question", String, "question; nps for the recommendation question", required=True),
    _column("answered_at", DateTime, "UTC time", required=True),
    _column("score", Double, "answer as a number"),
    _column("answer", Text, "answer in words", sensitivity="personal"),
    _column("channel", String, "channel by which it was asked, or of the contact that it is about"),
    _column("branch_id", String, "branch that it is about", refers="branches"),
)

complaints = _table(
    "complaints", "event", "opened_at", "Complaints and problem reports.",
    _column("complaint_id", String, "the complaint", key=True),
    _customer(),
    _column("opened_at", DateTime, "UTC time", required=True),
    _column("topic", String, "what it is about"),
    _product(),
    _column("channel", String, "how it came in"),
    _column("severity", Integer, "1 slight to 5 grave", unit="1-5", low=1, high=5),
    _column("text", Text, "words of the customer", sensitivity="personal"),
    _column("resolved_at", DateTime, "UTC time of the resolution", known_from="resolved_at"),
    _column("resolution", String, "how it was resolved", known_from="resolved_at"),
)

loyalty_entries = _table(
    "loyalty_entries", "event", "occurred_at", "Loyalty points earned (positive), spent or expired (negative).",
    _column("entry_id", String, "the entry", key=True),
    _customer(),
    _column("occurred_at", DateTime, "UTC time", required=True),
    _column("points", BigInteger, "points", required=True, unit="points"),
    _column("reason", String, "purchase, gift, redemption, expiry …"),
    _column("expires_on", Date, "last day the points can be spent"),
)

mentions = _table(
    "mentions", "event", "occurred_at", "Mentions in social networks, imported.",
    _column("mention_id", String, "the mention", key=True),
    _customer(required=False),
    _column("occurred_at", DateTime, "UTC time", required=True),
    _column("author", String, "author as named there", sensitivity="personal"),
    _column("text", Text, "words", sensitivity="personal"),
    _column("sentiment", Double, "from -1 (bad) to 1 (good)", low=-1, high=1),
)

# ---------------------------------------------------------------- industry tables

tariffs = _table(
    "tariffs", "dated", "valid_from", "Telecom tariffs.",
    _column("tariff_id", String, "the tariff", key=True),
    _column("valid_from", Date, "date from which the terms held", key=True),
    _column("name", String, "name shown to people", required=True),
    _money("monthly_fee_minor", "fee per month", low=0),
    _currency(),
    _column("terms", Text, "included volumes and prices by kind and time of day, as JSON"),
)

usage = _table(
    "usage", "event", "occurred_at", "Calls, messages and data used.",
    _column("usage_id", String, "the record", key=True),
    _customer(),
    _column("occurred_at", DateTime, "UTC time", required=True),
    _column("local_hour", Integer, "hour of day where the customer was", unit="hours", low=0, high=23),
    _column("kind", String, "voice, sms, data …", required=True),
    _column("zone", String, "own network, other network, abroad …"),
    _column("quantity", Double, "seconds, pieces or bytes by kind", required=True, low=0),
    _money("charged_minor", "charged", low=0),
    _currency(),
)

outlets = _table(
    "outlets", "dated", "valid_from", "Shops and other outlets supplied.",
    _column("outlet_id", String, "the outlet", key=True),
    _column("valid_from", Date, "date from which this row held", key=True),
    _customer(required=False),
    _column("name", String, "name shown to people"),
    _column("format", String, "hypermarket, convenience, kiosk …"),
    _column("region", String, "region"),
    _column("latitude", Double, "latitude", unit="degrees", low=-90, high=90),
    _column("longitude", Double, "longitude", unit="degrees", low=-180, high=180),
    _column("employee_id", String, "representative who visits it", refers="employees"),
    _column("open_weekdays", String, "days it is open, 1 Monday to 7 Sunday, as in 123456; empty: every day"),
    _column("delivery_weekdays", String, "days on which it can be supplied, as in 135; empty: every day it is open"),
    _column("lead_time_days", Integer, "days from an order to its delivery", unit="days", low=0, high=365),
    _column("closed_on", Date, "last day", known_from="closed_on"),
)

outlet_closures = _table(
    "outlet_closures", "event", "announced_on", "Days on which an outlet is closed although it is usually open, past and planned.",
    _column("outlet_id", String, "the outlet", key=True, refers="outlets"),
    _column("announced_on", Date, "day from which it was known", required=True),
    _column("closed_from", Date, "first day", key=True),
    _column("closed_until", Date, "last day", required=True),
    _column("reason", String, "refurbishment, stocktaking …"),
)

outlet_sales = _table(
    "outlet_sales", "event", "sold_on", "Sales by outlet, product and day, own and competitors'.",
    _column("outlet_id", String, "the outlet", key=True, refers="outlets"),
    _product(key=True),
    _column("sold_on", Date, "day", key=True),
    _column("quantity", Double, "pieces sold; returns are negative", required=True, unit="pieces"),
    _money("revenue_minor", "revenue"),
    _money("price_minor", "shelf price", low=0),
    _currency(),
    _column("on_promotion", Boolean, "whether a promotion ran"),
    _column("stocked_out", Boolean, "whether the shelf was empty for part of the day"),
    _column("ordered", Double, "pieces ordered", unit="pieces", low=0),
)

stocks = _table(
    "stocks", "event", "counted_on", "Stock of an outlet or a depot at the end of a day.",
    _column("outlet_id", String, "the outlet or depot", key=True, refers="outlets"),
    _product(key=True),
    _column("counted_on", Date, "end of this day", key=True),
    _column("quantity", Double, "pieces in stock", required=True, unit="pieces", low=0),
    _column("on_order", Double, "pieces ordered and not delivered yet", unit="pieces", low=0),
)

promotions = _table(
    "promotions", "event", "announced_on", "Promotions of a product, past and planned.",
    _column("promotion_id", String, "the promotion", key=True),
    _product(required=True),
    _column("region", String, "region, or all"),
    _column("announced_on", Date, "day from which it was known", required=True),
    _column("starts_on", Date, "first day", required=True),
    _column("ends_on", Date, "last day", required=True),
    _column("mechanic", String, "price cut, display, two for one …"),
    _money("price_minor", "price of one piece while it runs", low=0),
    _money("cost_minor", "fixed cost: advertising, displays", low=0),
    _currency(),
)

prices = _table(
    "prices", "dated", "valid_from", "Prices, own and competitors', by region.",
    _product(key=True),
    _column("seller", String, "own, or the competitor", key=True),
    _column("region", String, "region, or all", key=True),
    _column("valid_from", Date, "first day of the price", key=True),
    _money("price_minor", "price of one piece", required=True, low=0),
    _currency(),
)

policies = _table(
    "policies", "event", "starts_on", "Insurance policies, one row per term.",
    _column("policy_id", String, "the policy's term", key=True),
    _column("holding_id", String, "the contract", refers="holdings"),
    _customer(),
    _product(),
    _column("starts_on", Date, "first day of cover", required=True),
    _column("ends_on", Date, "last day of cover"),
    _money("premium_minor", "premium of the term", low=0),
    _money("insured_minor", "sum insured", low=0),
    _currency(),
    _column("renewed_on", Date, "day of renewal", known_from="renewed_on"),
)

claims = _table(
    "claims", "event", "reported_at", "Insurance claims.",
    _column("claim_id", String, "the claim", key=True),
    _column("policy_id", String, "the policy's term", refers="policies"),
    _customer(),
    _column("reported_at", DateTime, "UTC time", required=True),
    _money("claimed_minor", "amount claimed", low=0),
    _currency(),
    _column("settled_at", DateTime, "UTC time of the settlement", known_from="settled_at"),
    _money("paid_minor", "amount paid", known_from="settled_at", low=0),
)

positions = _table(
    "positions", "event", "position_date", "Securities held at the end of a day.",
    _customer(key=True),
    _column("instrument", String, "ticker or ISIN", key=True),
    _column("position_date", Date, "end of this day", key=True),
    _column("quantity", Double, "pieces; short positions are negative", required=True, unit="pieces"),
    _money("value_minor", "market value"),
    _currency(),
)

plans = _table(
    "plans", "event", "made_on", "Sales plans, market research and outside forecasts of demand.",
    _column("plan_id", String, "the plan's line", key=True),
    _column("made_on", Date, "day it was made", required=True),
    _column("source", String, "who made it", required=True),
    _product(),
    _column("region", String, "region"),
    _column("period_start", Date, "first day of the period", required=True),
    _column("period_end", Date, "last day of the period", required=True),
    _column("quantity", Double, "pieces expected", unit="pieces"),
)


# fmt: on


def tables() -> dict[str, Table]:
    """Return the canonical tables by name, in the order of their declaration.

    >>> list(tables())[:2]
    ['customers', 'relatives']
    """
    return dict(metadata.tables)


def source_columns(table: Table) -> list[Column[Any]]:
    """Return the columns a source can fill: all but the system columns."""
    return [column for column in table.columns if column.name not in SYSTEM_COLUMNS]


def natural_key(table: Table) -> list[str]:
    """Return the names of the columns that identify a row of the source.

    >>> natural_key(tables()["balances"])
    ['holding_id', 'balance_date']
    """
    return [column.name for column in source_columns(table) if column.info["key"]]


def entity_key(table: Table) -> list[str]:
    """Return the natural key without the date of a dated table: what the rows are about.

    >>> entity_key(tables()["customers"])
    ['customer_id']
    """
    happened = table.info["happened"]
    return [name for name in natural_key(table) if table.info["kind"] != "dated" or name != happened]
