"""A made-up company, a naive reading of audiences with pandas, and random audiences, for the tests of audiences.

Nothing here uses the library's compiler; of the library it takes the names of columns and of fields.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import audiences as audience
from crmlib.errors import UsageError
from crmlib.warehouse import schema
from crmlib.warehouse.company import Company

DATES = (dt.date(2025, 3, 31), dt.date(2025, 2, 27), dt.date(2024, 2, 29), dt.date(2025, 5, 14))
CUSTOMERS = [f"c{number}" for number in range(40)]
STRANGERS = ["nobody", "Nobody else"]
PRODUCTS = {"card": "cards", "gold": "cards", "cash_loan": "loans", "mortgage": "loans", "odd'ment": None, "fund": "б"}
REGIONS = ("South", "north", "Süd", "it's 100%", "O'Neil; DROP TABLE customers--")
CHANNELS = ("branch", "visit", "call", "email")
COMPANY = Company(currency="EUR", exchange_rates={"USD": 0.9, "CZK": 0.0411})
LEVELS = {
    "product_id": tuple(PRODUCTS),
    "product_group": ("cards", "loans", "б", None),
    "channel": (*CHANNELS, None),
    "category": ("salary", "cash", "Кредит", None),
    "outcome": ("signed", "refused", None),
    "lost_stage": ("form", None),
    "branch_id": ("b1", "b2", None),
    "closed_reason": ("price", "moving", None),
    "purpose": ("sales", "service", None),
    "topic": ("fees", "staff", None),
    "campaign_id": ("spring", "autumn"),
    "arm": ("call", "control"),
    "response": ("accepted", None),
    "direction": ("in", "out"),
    "state": ("open", "resolved"),
    "region": REGIONS,
    "gender": ("female", "male"),
    "segment": ("mass", "affluent"),
}
AMOUNTS = (0, 1, -1, 500, -500, 100_000, -100_000, 10**12 + 7)


# ---------------------------------------------------------------- a made-up company


def frames(seed: int = 5) -> dict[str, pd.DataFrame]:
    """Canonical tables with late records, corrections, closed contracts, strangers, gaps and three currencies."""
    draw = random.Random(seed)
    first = dt.datetime(2023, 6, 1)

    def time() -> dt.datetime:
        if draw.random() < 0.3:  # around the edges of windows
            edge = dt.datetime(2023 + draw.randint(0, 2), draw.randint(1, 12), 1)
            return edge - dt.timedelta(microseconds=draw.choice([0, 1]))
        return first + dt.timedelta(seconds=draw.randrange(730 * 86_400))

    def day() -> dt.datetime:
        return dt.datetime.combine(time().date(), dt.time())

    def any_of(name: str, share: float = 0.8) -> Any:
        return draw.choice([one for one in LEVELS[name] if one is not None]) if draw.random() < share else None

    def maybe(value: Any, share: float = 0.8) -> Any:
        return value if draw.random() < share else None

    def rows(number: int, happened: str, make: Any) -> list[dict[str, Any]]:
        found = []
        for index in range(number):
            who = draw.choice(STRANGERS if draw.random() < 0.03 else CUSTOMERS)
            row = {"customer_id": who, "number": index, **make()}
            known = row[happened] + dt.timedelta(hours=draw.choice([0, 0, 0, 5, 24 * 20]))
            row |= {"recorded_at": known, "superseded_at": None}
            if draw.random() < 0.15:
                again = known + dt.timedelta(days=draw.randint(1, 90))
                found.append({**row, **make(), happened: row[happened], "recorded_at": again, "superseded_at": None})
                row["superseded_at"] = again
            found.append(row)
        return found

    def money() -> dict[str, Any]:
        return {
            "amount_minor": draw.choice(AMOUNTS),
            "currency": draw.choice(["EUR", "EUR", None, "USD", "CZK", "XXX"]),
        }

    product = lambda: {"product_id": draw.choice(list(PRODUCTS)), "channel": any_of("channel")}  # noqa: E731
    people = [
        {
            "customer_id": one,
            "valid_from": dt.datetime(2023, 1, 1) + dt.timedelta(days=300 * version),
            "recorded_at": dt.datetime(2023, 1, 2) + dt.timedelta(days=320 * version),
            "superseded_at": None,
            "region": any_of("region"),
            "gender": any_of("gender"),
            "segment": any_of("segment"),
            "birth_date": maybe(dt.datetime(1950, 2, 28) + dt.timedelta(days=draw.randrange(20_000))),
            "customer_since": maybe(day()),
            "children": maybe(draw.randint(0, 3)),
            "income_minor": maybe(draw.choice([0, 500, 100_000])),
            "currency": draw.choice(["EUR", None, "USD"]),
            "closed_on": day() if draw.random() < 0.15 else None,
        }
        for one in CUSTOMERS
        for version in range(draw.choice([1, 1, 2, 3]))
    ]
    for person in people[:3]:  # born on a leap day, or on the days of the snapshots
        person["birth_date"] = draw.choice(
            [dt.datetime(1980, 2, 29), dt.datetime(1990, 3, 31), dt.datetime(1990, 2, 28)]
        )
    made = {
        "customers": people,
        "products": [
            {"product_id": one, "valid_from": dt.datetime(2020, 1, 1), "name": one, "product_group": group}
            for one, group in PRODUCTS.items()
        ],
        "holdings": rows(
            90,
            "opened_on",
            lambda: {
                **product(),
                **money(),
                "opened_on": day(),
                "closed_on": maybe(day(), 0.4),
                "closed_reason": any_of("closed_reason"),
                "matures_on": maybe(day() + dt.timedelta(days=120), 0.5),
            },
        ),
        "transactions": rows(
            400, "occurred_at", lambda: {**product(), **money(), "occurred_at": time(), "category": any_of("category")}
        ),
        "applications": rows(
            90,
            "applied_at",
            lambda: {
                **product(),
                "applied_at": time(),
                "decided_at": maybe(time()),
                "outcome": any_of("outcome"),
                "lost_stage": any_of("lost_stage"),
                "branch_id": any_of("branch_id"),
            },
        ),
        "contacts": rows(
            160,
            "occurred_at",
            lambda: {
                **product(),
                "occurred_at": time(),
                "channel": draw.choice(CHANNELS),
                "direction": draw.choice(["in", "out", None]),
                "purpose": any_of("purpose"),
                "answered_at": maybe(time(), 0.5),
                "outcome": any_of("outcome"),
                "branch_id": any_of("branch_id"),
                "campaign_id": any_of("campaign_id", 0.5),
            },
        ),
        "complaints": rows(
            50,
            "opened_at",
            lambda: {**product(), "opened_at": time(), "topic": any_of("topic"), "resolved_at": maybe(time())},
        ),
        "campaign_members": rows(
            60,
            "assigned_at",
            lambda: {
                "assigned_at": time(),
                "campaign_id": draw.choice(["spring", "autumn"]),
                "arm": draw.choice(["call", "control"]),
                "control": draw.random() < 0.2,
                "responded_at": maybe(time(), 0.5),
                "response": any_of("response", 0.5),
            },
        ),
    }
    keys = {
        "holdings": "holding_id",
        "transactions": "transaction_id",
        "applications": "application_id",
        "contacts": "contact_id",
        "complaints": "complaint_id",
    }
    found = {}
    for name, listed in made.items():
        frame = pd.DataFrame(listed)
        if name in keys:
            frame[keys[name]] = frame["number"].astype(str)
        for column in schema.tables()[name].columns:
            if column.name in frame and isinstance(column.type, sa.Date | sa.DateTime):
                frame[column.name] = pd.to_datetime(frame[column.name]).astype("datetime64[us]")
            elif column.name in frame and isinstance(column.type, sa.Integer | sa.BigInteger):
                frame[column.name] = frame[column.name].astype("Int64")
        found[name] = frame.drop(columns="number", errors="ignore")
    # One row a customer and campaign.
    members = found["campaign_members"]
    found["campaign_members"] = members.drop_duplicates(["customer_id", "campaign_id", "recorded_at"])
    return found


def scores(seed: int = 6) -> pd.DataFrame:
    """Scores with ties, of some customers only, and of a stranger."""
    draw = random.Random(seed)
    pairs = [
        (one, product) for one in (*CUSTOMERS, "nobody") for product in ("card", "cash_loan") if draw.random() < 0.8
    ]
    return pd.DataFrame(pairs, columns=["customer_id", "product_id"]).assign(
        score=[draw.choice([0.0, 0.05, 0.1, 0.1, 0.25, 0.5, 1.0]) for _ in pairs]
    )


def segments(seed: int = 8) -> pd.DataFrame:
    draw = random.Random(seed)
    who = [one for one in CUSTOMERS if draw.random() < 0.8]
    return pd.DataFrame({"customer_id": who, "segment": [draw.choice(["champions", "sleeping", "new"]) for _ in who]})


# ---------------------------------------------------------------- the naive reading


@dataclass
class Reading:
    """The question asked of data frames, one condition after the other."""

    tables: dict[str, pd.DataFrame]
    as_of: dt.date
    scores: pd.DataFrame
    segments: pd.DataFrame
    kept: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def end(self) -> pd.Timestamp:
        return pd.Timestamp(self.as_of) + pd.Timedelta(days=1)

    def known(self, name: str) -> pd.DataFrame:
        """A table as it was known: late, superseded and future rows gone, what came out later blanked."""
        if name not in self.kept:
            rows, end = self.tables[name], self.end
            happened = schema.tables()[name].info["happened"]
            recorded = rows["recorded_at"] if "recorded_at" in rows else rows[happened]
            seen = (recorded < end) & (rows[happened] < end)
            if "superseded_at" in rows:
                seen &= rows["superseded_at"].isna() | (rows["superseded_at"] >= end)
            rows = rows[seen].copy()
            reveal = {
                c.name: c.info["known_from"]
                for c in schema.source_columns(schema.tables()[name])
                if c.info["known_from"]
            }
            came_out = {name: rows[by] < end if by in rows else False for name, by in reveal.items()}
            for column, seen_by_then in came_out.items():
                if column in rows:
                    rows[column] = rows[column].where(seen_by_then)
            self.kept[name] = rows
        return self.kept[name]

    def people(self) -> pd.DataFrame:
        rows = self.known("customers").sort_values("valid_from").drop_duplicates("customer_id", keep="last")
        return rows[rows["closed_on"].isna()].set_index("customer_id")

    def read(self, condition: dict[str, Any]) -> set[str]:
        people = self.people()
        return set(people.index[self.fulfilled(condition, people)])

    def fulfilled(self, condition: dict[str, Any], people: pd.DataFrame) -> pd.Series:
        if "all" in condition or "any" in condition:
            kind = "all" if "all" in condition else "any"
            parts = [self.fulfilled(one, people) for one in condition[kind]]
            whole = pd.Series(kind == "all", index=people.index)
            for part in parts:
                whole = whole & part if kind == "all" else whole | part
            return whole
        if "not" in condition:
            return ~self.fulfilled(condition["not"], people)
        return self.compare(self.value(condition, people), condition)

    def compare(self, value: pd.Series, condition: dict[str, Any]) -> pd.Series:
        given, word = condition["value"], condition["operator"]
        if word == "known":
            return value.notna() == given
        if word in ("in", "not_in"):
            return value.isin(given) == (word == "in")
        if word == "top_share":
            scored = self.of_product(condition)
            above = scored.map(lambda one: int((scored > one).sum()))
            best = set(scored.index[above + 1 <= given * len(scored)])
            return pd.Series(value.index.isin(list(best)), index=value.index)
        if condition["field"] in ("birth_date", "customer_since"):
            given = [pd.Timestamp(one) for one in given] if isinstance(given, list) else pd.Timestamp(given)
        if word == "ne":
            return ~(value == given).fillna(False).astype(bool)
        found = {
            "eq": lambda: value == given,
            "lt": lambda: value < given,
            "le": lambda: value <= given,
            "gt": lambda: value > given,
            "ge": lambda: value >= given,
            "between": lambda: (value >= given[0]) & (value <= given[1]),
        }[word]()
        return found.fillna(False).astype(bool)

    def of_product(self, condition: dict[str, Any]) -> pd.Series:
        chosen = self.scores[self.scores["product_id"] == condition["where"]["product_id"]]
        return chosen.set_index("customer_id")["score"]

    def value(self, condition: dict[str, Any], people: pd.DataFrame) -> pd.Series:
        name = condition["field"]
        if name == "score":
            return self.of_product(condition).reindex(people.index)
        if name == "segment":
            return self.segments.set_index("customer_id")["segment"].reindex(people.index)
        if name in ("age_years", "tenure_months"):
            since = people["birth_date" if name == "age_years" else "customer_since"]
            return since.map(lambda one: self.elapsed(one, 12 if name == "age_years" else 1), na_action="ignore")
        if name == "income_minor":
            return self.in_euro(people["income_minor"], people["currency"])
        if "." not in name:
            return people["segment" if name == "service_segment" else name]
        return self.summed(condition).reindex(people.index).fillna(0)

    def elapsed(self, since: pd.Timestamp, months: int) -> int:
        gone = (self.as_of.year - since.year) * 12 + self.as_of.month - since.month - (self.as_of.day < since.day)
        return gone // months

    def in_euro(self, amount: pd.Series, currency: pd.Series) -> pd.Series:
        def one(pair: tuple[Any, Any]) -> Any:
            minor, code = pair
            if pd.isna(minor) or pd.isna(code) or code == "EUR":
                return minor
            rate = COMPANY.exchange_rates.get(code)
            return None if rate is None else int((float(minor) * rate + 0.5) // 1)

        return pd.Series([one(pair) for pair in zip(amount, currency, strict=True)], index=amount.index, dtype="Int64")

    def summed(self, condition: dict[str, Any]) -> pd.Series:
        table, what = condition["field"].split(".")
        rows = self.known("campaign_members" if table == "campaigns" else table)
        if table == "holdings" and what in ("count", "amount_minor", "maturing"):
            rows = rows[rows["closed_on"].isna()]
        time = {
            "holdings": {"opened": "opened_on", "closed": "closed_on", "maturing": "matures_on"}.get(what),
            "transactions": "occurred_at",
            "contacts": "occurred_at",
            "applications": "applied_at",
            "complaints": "opened_at",
            "campaigns": "assigned_at",
        }[table]
        if time:
            low, high = self.window(condition.get("window"), ahead=what == "maturing")
            rows = rows[(rows[time] >= low) & (rows[time] < high)]
        for name, levels in condition.get("where", {}).items():
            rows = rows[self.levels(rows, name).map(lambda one, levels=levels: self.among(one, levels)).astype(bool)]
        if what not in ("turnover_minor", "net_minor", "largest_minor", "amount_minor"):
            return rows.groupby("customer_id").size()
        amount = self.in_euro(rows["amount_minor"], rows["currency"])
        grouped = (amount if what in ("net_minor", "amount_minor") else amount.abs()).groupby(rows["customer_id"])
        return grouped.max() if what == "largest_minor" else grouped.sum()

    def window(self, window: dict[str, int] | None, *, ahead: bool) -> tuple[pd.Timestamp, pd.Timestamp]:
        ever, never = pd.Timestamp("1900-01-01"), pd.Timestamp("2200-01-01")
        if window is None:
            return (self.end, never) if ahead else (ever, never)
        ((unit, length),) = window.items()
        if unit == "whole_months":
            this_month = pd.Timestamp(self.end.year, self.end.month, 1)
            return this_month - pd.DateOffset(months=length), this_month
        step = pd.Timedelta(days=length) if unit == "days" else pd.DateOffset(months=length)
        return (self.end, self.end + step) if ahead else (self.end - step, never)

    def levels(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name == "direction" and "direction" not in rows:
            return rows["amount_minor"].map(lambda one: "in" if one > 0 else "out" if one < 0 else "zero")
        if name == "state":
            return rows["resolved_at"].map(lambda one: "open" if pd.isna(one) else "resolved")
        return rows["product_id"].map(PRODUCTS) if name == "product_group" else rows[name]

    @staticmethod
    def among(value: Any, levels: Any) -> bool:
        wanted = levels if isinstance(levels, list) else [levels]
        return None in wanted if pd.isna(value) else value in wanted


# ---------------------------------------------------------------- random audiences


def audience_at_random(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """Conditions of any kind and nesting; now and then contradictory."""
    if depth < 4 and draw.random() < (0.75 if depth == 0 else 0.3):
        kind = draw.choice(["all", "all", "any", "not"])
        if kind == "not":
            return {"not": audience_at_random(draw, depth + 1)}
        return {kind: [audience_at_random(draw, depth + 1) for _ in range(draw.randint(1, 4))]}
    return leaf_at_random(draw)


def leaf_at_random(draw: random.Random) -> dict[str, Any]:
    names = ["region", "gender", "service_segment", "children", "income_minor", "birth_date", "customer_since"]
    names += ["age_years", "tenure_months", "score", "segment"]
    names += [name for name in audience.FIELDS if "." in name] * 2
    one = audience.FIELDS[draw.choice(names)]
    leaf: dict[str, Any] = {"field": one.name, "operator": draw.choice(one.operators)}
    if one.kind == "measure":
        chosen = draw.sample(one.filters, min(len(one.filters), draw.choice([0, 0, 1, 1, 2])))
        leaf["where"] = {name: levels_at_random(draw, name, one.table) for name in chosen}
        if one.time and draw.random() < 0.7:
            units = ["days", "months"] if one.ahead else ["days", "months", "whole_months"]
            leaf["window"] = {draw.choice(units): draw.choice([1, 2, 3, 6, 12, 30])}
    elif one.kind == "score":
        leaf["where"] = {"model": "propensity", "product_id": draw.choice(["card", "cash_loan"])}
    elif one.kind == "segment":
        leaf["where"] = {"segmentation": "rfm"}
    leaf["value"] = value_at_random(draw, one, leaf["operator"])
    return leaf


def levels_at_random(draw: random.Random, name: str, table: str) -> Any:
    known = [one for one in LEVELS[name] if one is not None or name not in ("campaign_id", "arm")]
    if table == "contacts" and name == "direction":
        known = [*known, None]
    return draw.choice(known) if draw.random() < 0.6 else draw.sample(known, min(2, len(known)))


def value_at_random(draw: random.Random, one: Any, operator: str) -> Any:
    if operator == "known":
        return draw.random() < 0.5
    if one.type == "text":
        levels = (
            ["champions", "sleeping", "new"]
            if one.kind == "segment"
            else list(LEVELS["segment" if one.name == "service_segment" else one.name])
        )
        return draw.sample(levels, draw.randint(1, 2)) if operator in ("in", "not_in") else draw.choice(levels)
    numbers: dict[str, Any] = {
        "age_years": lambda: draw.randint(20, 75),
        "tenure_months": lambda: draw.randint(0, 24),
        "children": lambda: draw.randint(0, 3),
        "score": lambda: draw.choice([0.0, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0]),
        "birth_date": lambda: f"{draw.randint(1950, 2000)}-02-28",
        "customer_since": lambda: f"{draw.randint(2023, 2025)}-{draw.randint(1, 12):02}-01",
    }
    small = (
        (lambda: draw.choice([-500, 0, 1, 450, 500, 1000, 100_000, 200_000]))
        if one.money
        else (lambda: draw.randint(0, 4))
    )
    take = numbers.get(one.name, small)
    if operator == "top_share":
        return draw.choice([0.01, 0.1, 0.3, 0.5, 1.0])
    return sorted([take(), take()]) if operator == "between" else take()


def allowed(seed: int) -> dict[str, Any]:
    """Return random conditions that do not contradict each other."""
    draw = random.Random(seed)
    while True:
        try:
            return audience.plain(audience_at_random(draw))
        except UsageError as error:
            assert "nobody can fulfil" in str(error)
