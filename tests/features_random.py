"""Random canonical tables and specifications for the tests of features, and a plain Python reference for their values."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import sqlalchemy as sa
from hypothesis import strategies as st

from crmlib import features
from crmlib.features.spec import Declaration
from crmlib.warehouse import schema

Row = dict[str, Any]
AS_OF = dt.date(2025, 3, 31)
CATEGORIES = ("cash", "Cash (ATM)", "cash atm", "Кредит", "it's 100%", None)
CHANNELS = ("branch", "mobile", None)
PRODUCTS = {"card": "cards", "gold card": "cards", "loan": "loans", "oddment": None}
AMOUNTS = (0, 1, -1, 250, -99_999, 10**12 + 7, -(10**12))


def moment(draw: random.Random) -> dt.datetime:
    """A time around the windows' edges as often as anywhere."""
    if draw.random() < 0.3:
        edge = dt.datetime(2024, 1, 1) + dt.timedelta(days=calendar.monthrange(2024, 1)[1] * draw.randint(0, 17))
        return edge.replace(day=1) - dt.timedelta(microseconds=draw.choice([0, 1]))
    return dt.datetime(2023, 12, 1) + dt.timedelta(seconds=draw.randrange(560 * 86_400))


def day(draw: random.Random) -> dt.datetime:
    """A date, as midnight."""
    return dt.datetime.combine(moment(draw).date(), dt.time())


def maybe(draw: random.Random, value: Any) -> Any:
    return value if draw.random() < 0.7 else None


def tables(seed: int, *, customers: int = 7, rows: int = 30) -> dict[str, list[Row]]:
    """Rows of canonical tables: late records, corrections, closed contracts, texts of all kinds, strangers' rows."""
    draw = random.Random(seed)
    ids = [f"c{number}" for number in range(customers)]
    anyone = [*ids, "stranger"]

    def event(number: int, key: str, happened: str, columns: Callable[[], Row]) -> list[Row]:
        found = []
        for index in range(number):
            row = {key: f"{key}{index}", "customer_id": draw.choice(anyone), **columns()}
            known = row[happened] + dt.timedelta(hours=draw.choice([0, 0, 0, 5, 24 * 20]))
            row |= {"recorded_at": known, "superseded_at": None}
            found.append(row)
            if draw.random() < 0.15:  # corrected later
                again = known + dt.timedelta(days=draw.randint(1, 90))
                row["superseded_at"] = again
                found.append({**row, **columns(), happened: row[happened], "recorded_at": again, "superseded_at": None})
        return found

    made = {
        "customers": [
            {
                "customer_id": one,
                "valid_from": dt.datetime(2024, 1, 1) + dt.timedelta(days=200 * version),
                "recorded_at": dt.datetime(2024, 1, 2) + dt.timedelta(days=200 * version),
                "superseded_at": None,
                "gender": maybe(draw, draw.choice(["female", "male"])),
                "region": maybe(draw, draw.choice(["north", "Süd"])),
                "birth_date": maybe(draw, dt.datetime(1950, 1, 1) + dt.timedelta(days=draw.randrange(20_000))),
                "customer_since": maybe(draw, day(draw)),
                "household_id": maybe(draw, draw.choice("hk")),
                "children": maybe(draw, draw.randint(0, 4)),
                "income_minor": maybe(draw, draw.randint(0, 10**6)),
                "closed_on": day(draw) if draw.random() < 0.2 else None,
            }
            for one in ids
            for version in range(draw.choice([1, 1, 2, 3]))
        ],
        "products": [
            {
                "product_id": name,
                "valid_from": dt.datetime(2023, 1, 1),
                "recorded_at": dt.datetime(2023, 1, 1),
                "superseded_at": None,
                "name": name,
                "product_group": group,
            }
            for name, group in PRODUCTS.items()
        ],
        "holdings": event(
            rows // 2,
            "holding_id",
            "opened_on",
            lambda: {
                "product_id": draw.choice(list(PRODUCTS)),
                "opened_on": day(draw),
                "closed_on": maybe(draw, day(draw)) if draw.random() < 0.4 else None,
                "matures_on": maybe(draw, day(draw) + dt.timedelta(days=150)),
                "amount_minor": maybe(draw, draw.choice(AMOUNTS)),
            },
        ),
        "transactions": event(
            rows * 3,
            "transaction_id",
            "occurred_at",
            lambda: {
                "occurred_at": moment(draw),
                "amount_minor": draw.choice(AMOUNTS) if draw.random() < 0.5 else draw.randint(-(10**5), 10**5),
                "category": draw.choice(CATEGORIES),
                "channel": draw.choice(CHANNELS),
                "product_id": maybe(draw, draw.choice(list(PRODUCTS))),
            },
        ),
        "contacts": event(
            rows,
            "contact_id",
            "occurred_at",
            lambda: {
                "occurred_at": moment(draw),
                "channel": draw.choice(["call", "email"]),
                "direction": maybe(draw, draw.choice(["in", "out"])),
                "answered_at": maybe(draw, moment(draw)),
                "outcome": maybe(draw, draw.choice(["accepted", "refused"])),
                "cost_minor": maybe(draw, draw.randint(0, 500)),
            },
        ),
        "surveys": event(
            rows,
            "answer_id",
            "answered_at",
            lambda: {
                "answered_at": day(draw) if draw.random() < 0.5 else moment(draw),
                "survey": "s",
                "question": draw.choice(["nps", "why"]),
                "score": maybe(draw, draw.choice([0.0, 7.25, 10.0])),
            },
        ),
    }
    owners = [(row["holding_id"], row["customer_id"]) for row in made["holdings"]] + [("unknown", ids[0])]
    made["balances"] = []
    for holding, customer in dict(owners).items():
        for days in {draw.randrange(560) for _ in range(6)}:
            date = dt.datetime(2023, 12, 1) + dt.timedelta(days=days)
            row = {"holding_id": holding, "customer_id": customer, "balance_date": date, "superseded_at": None}
            made["balances"].append({**row, "recorded_at": date, "balance_minor": draw.choice(AMOUNTS)})
    return made


def frames(made: dict[str, list[Row]]) -> dict[str, pd.DataFrame]:
    """The rows as data frames, with dates and times of the canonical types."""
    found = {}
    for name, rows in made.items():
        frame = pd.DataFrame(rows)
        for column in schema.tables()[name].columns:
            if column.name not in frame or not len(frame):
                continue
            if isinstance(column.type, sa.Date | sa.DateTime):
                frame[column.name] = pd.to_datetime(frame[column.name]).astype("datetime64[us]")
            elif isinstance(column.type, sa.Integer):
                frame[column.name] = frame[column.name].astype("Int64")
            elif isinstance(column.type, sa.String):
                frame[column.name] = frame[column.name].astype("str")
        found[name] = frame
    return found


def fill(connection: sa.Connection, made: dict[str, list[Row]]) -> None:
    """Put the rows into the empty canonical tables of a database."""
    for table in reversed(schema.metadata.sorted_tables):
        connection.execute(table.delete())
    for name, rows in made.items():
        table = schema.tables()[name]
        dates = {column.name for column in table.columns if isinstance(column.type, sa.Date)}
        plain = [{k: v.date() if k in dates and v is not None else v for k, v in row.items()} for row in rows]
        if plain:
            connection.execute(table.insert(), plain)


# ---------------------------------------------------------------- specifications

_months = st.lists(st.sampled_from([1, 2, 3, 6, 12, None]), min_size=1, max_size=3, unique=True)
_some = st.sampled_from([1, 3, 6])
_of_transactions = st.fixed_dictionaries(
    {"by": st.sampled_from(["", "category", "channel", "product_id", "product_group"])},
    optional={
        "where": st.sampled_from(
            [{"channel": "mobile"}, {"channel": ["mobile", None]}, {"category": None}, {"product_id": "card"}]
        )
    },
)
DECLARATIONS = st.one_of(
    st.builds(
        lambda months, of, sums: features.windowed("transactions", "amount_minor", months=months, sums=sums, **of),
        _months,
        _of_transactions,
        st.booleans(),
    ),
    st.builds(
        lambda months, of: features.variance("transactions", "amount_minor", months=months, **of),
        _months,
        _of_transactions,
    ),
    st.builds(
        lambda value, recent, before, of: features.trend("transactions", value, recent=recent, before=before, **of),
        st.sampled_from(["", "amount_minor"]),
        _some,
        _some,
        _of_transactions,
    ),
    st.builds(
        lambda value, by: features.share("transactions", value, by=by, months=(3, 12)),
        st.sampled_from(["", "amount_minor"]),
        st.sampled_from(["category", "product_group"]),
    ),
    st.builds(
        lambda months, first, of: features.recency("transactions", months=months, first=first, **of),
        st.sampled_from([None, 3, 12]),
        st.booleans(),
        _of_transactions,
    ),
    st.builds(
        lambda months, by: features.upcoming(
            "holdings", "matures_on", months=(months,), where={"closed_on": None}, by=by
        ),
        _some,
        st.sampled_from(["", "product_group"]),
    ),
    st.builds(
        lambda value, by: features.held(value, by=by),
        st.sampled_from(["", "amount_minor"]),
        st.sampled_from(["", "product_id", "product_group"]),
    ),
    st.builds(
        lambda measure, stale, by: features.balance(measure, months=(2, 3), stale_months=stale, by=by),
        st.sampled_from(["latest", "average", "change"]),
        st.sampled_from([1, 4]),
        st.sampled_from(["", "product_id", "product_group"]),
    ),
    st.builds(
        lambda of: features.last_value("surveys", "score", **of),
        st.sampled_from([{}, {"where": {"question": "nps"}}, {"by": "question"}]),
    ),
    st.builds(
        lambda months, by: features.windowed(
            "contacts", "cost_minor", months=months, by=by, where={"direction": "out"}
        ),
        _months,
        st.sampled_from(["", "channel", "outcome"]),
    ),
    st.builds(
        features.windowed,
        st.just("holdings"),
        months=_months,
        date=st.just("closed_on"),
        by=st.sampled_from(["", "product_id"]),
        name=st.just("holdings_closed"),
    ),
    st.sampled_from(
        [
            features.attribute("gender"),
            features.attribute("region"),
            features.attribute("children"),
            features.attribute("income_minor"),
            features.since("birth_date", years=True),
            features.since("customer_since"),
            features.household_size(),
        ]
    ),
)


@st.composite
def specifications(draw: Any) -> features.Specification:
    """A few declarations whose names do not collide, and a ratio of two of their features."""
    found: list[Declaration] = []
    stems: set[Any] = set()
    for one in draw(st.lists(DECLARATIONS, min_size=2, max_size=6)):
        # Two declarations of one kind over other rows may bear one name; that refusal has its own test.
        stem = (one.kind, one.table, one.value, one.measures, one.name, one.by)
        if stem not in stems:
            stems.add(stem)
            found.append(features.Declaration(**{**vars(one), "strict": False}))
    count = features.windowed("contacts", months=(7,), name="talks")
    spent = features.windowed("transactions", "amount_minor", months=(5,), name="moves")
    return features.Specification((*found, count, spent, features.ratio("moves_sum_5m", "talks_count_7m")))


# ---------------------------------------------------------------- reference


def back(as_of: dt.date, months: int) -> dt.date:
    """So many months before the day after ``as_of``, counted one month at a time."""
    end = as_of + dt.timedelta(days=1)
    year, month = end.year, end.month
    for _ in range(abs(months)):
        month += -1 if months > 0 else 1
        if month in (0, 13):
            year, month = (year - 1, 12) if month == 0 else (year + 1, 1)
    return dt.date(year, month, min(end.day, calendar.monthrange(year, month)[1]))


def known(made: dict[str, list[Row]], name: str, as_of: dt.date) -> list[Row]:
    """The rows of a table as known at ``as_of``, with what was not yet known left empty."""
    end = dt.datetime.combine(as_of + dt.timedelta(days=1), dt.time())
    table = schema.tables()[name]
    found = []
    for given in made.get(name, []):
        later = given["superseded_at"]
        if given["recorded_at"] < end and (later is None or later >= end) and given[table.info["happened"]] < end:
            row = {column.name: given.get(column.name) for column in schema.source_columns(table)}
            for column in schema.source_columns(table):
                reveal = column.info["known_from"]
                if reveal and not (given.get(reveal) is not None and given[reveal] < end):
                    row[column.name] = None
            found.append(row)
    return found


class Reference:
    """Feature values computed row by row, customer by customer, straight from their definitions."""

    def __init__(self, made: dict[str, list[Row]], as_of: dt.date) -> None:
        self.as_of = as_of
        self.rows = {name: known(made, name, as_of) for name in made}
        products = {row["product_id"]: row["product_group"] for row in self.rows.get("products", [])}
        holdings = {(row["holding_id"], row["customer_id"]): row for row in self.rows.get("holdings", [])}
        for name, rows in self.rows.items():
            for row in rows:
                if name == "balances":
                    held = holdings.get((row["holding_id"], row["customer_id"]), {})
                    row |= {"product_id": held.get("product_id"), "until": held.get("closed_on")}
                if name != "products" and "product_id" in row:
                    row["product_group"] = products.get(row["product_id"])

    def customers(self) -> dict[str, Row]:
        latest: dict[str, Row] = {}
        for row in sorted(self.rows["customers"], key=lambda row: row["valid_from"]):
            latest[row["customer_id"]] = row
        return {name: row for name, row in sorted(latest.items()) if row["closed_on"] is None}

    def of(self, one: Declaration, customer: str, level: str | None) -> list[Row]:
        found = []
        for row in self.rows.get(one.table, []):
            fits = row["customer_id"] == customer and (level is None or row[one.by] == level)
            for column, given in one.where:
                fits = fits and row[column] in (given if isinstance(given, tuple) else (given,))
            if fits:
                found.append(row)
        return found

    def between(self, rows: list[Row], column: str, start: int | None, end: int) -> list[Row]:
        last = back(self.as_of, end)
        first = dt.date(1, 1, 1) if start is None else back(self.as_of, start)
        return [row for row in rows if row[column] is not None and first <= row[column].date() < last]

    def values(self, one: Declaration, customer: str, level: str | None) -> list[float | int | None]:  # noqa: PLR0911
        """The values of a declaration's features for one level, in the order of their columns."""
        rows = self.of(one, customer, level)
        happened = one.date or schema.tables()[one.table].info["happened"]

        def total(kind: str, start: int | None, end: int = 0, among: list[Row] | None = None) -> int:
            chosen = self.between(rows if among is None else among, happened, start, end)
            return len(chosen) if kind == "count" else sum(row[one.value] or 0 for row in chosen)

        if one.kind == "windowed":
            return [total(kind, months) for kind in one.measures for months in one.months]
        if one.kind == "upcoming":
            return [len([r for r in self.between(rows, happened, 0, -months)]) for months in one.months if months]
        if one.kind == "share":
            everything = self.of(one, customer, None)
            kind = one.measures[0]
            return [ratio(total(kind, m), total(kind, m, among=everything)) for m in one.months]
        if one.kind == "trend":
            months = one.months[0] or 0
            recent = total(one.measures[0], months) / months
            before = total(one.measures[0], months + one.before, months) / one.before
            # The exact difference of whole numbers decides whether a trend is zero.
            exact = (
                total(one.measures[0], months) * one.before
                - total(one.measures[0], months + one.before, months) * months
            )
            return [ratio(exact / (months * one.before), abs(recent) + abs(before))]
        if one.kind == "variance":
            return [self.variance([r[one.value] for r in self.between(rows, happened, m, 0)]) for m in one.months]
        if one.kind == "recency":
            days = [row[happened].date() for row in self.between(rows, happened, one.months[0], 0)]
            chosen = (max if one.measures[0] == "last" else min)(days, default=None)
            return [None if chosen is None else (self.as_of - chosen).days]
        if one.kind == "last_value":
            given = [(row[happened], row[one.value]) for row in rows if row[one.value] is not None]
            return [max(given)[1] if given else None]
        assert one.kind == "balance", one.kind
        return self.balance(one, rows)

    @staticmethod
    def variance(values: list[int]) -> float | None:
        from fractions import Fraction

        if len(values) < 2:
            return None
        mean = Fraction(sum(values), len(values))
        return float(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

    def balance(self, one: Declaration, rows: list[Row]) -> list[float | int | None]:
        def at(months: int) -> int:
            end, oldest = back(self.as_of, months), back(self.as_of, months + one.before)
            found: dict[str, Row] = {}
            for row in sorted(rows, key=lambda row: row["balance_date"]):
                if row["balance_date"].date() < end:
                    found[row["holding_id"]] = row
            open_then = [r for r in found.values() if r["until"] is None or r["until"].date() >= end]
            return sum(row["balance_minor"] for row in open_then if row["balance_date"].date() >= oldest)

        if one.measures[0] == "latest":
            return [at(0)]
        if one.measures[0] == "change":
            return [at(0) - at(months or 0) for months in one.months]
        return [sum(at(number) for number in range(months or 0)) / (months or 1) for months in one.months]


def ratio(top: float, bottom: float) -> float | None:
    return None if bottom == 0 or math.isnan(bottom) else top / bottom
