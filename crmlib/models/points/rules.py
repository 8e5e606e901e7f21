"""Rules of accrual as data: what earns how many points, for how long they last, what a point costs."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError

KINDS = ("purchase", "opening", "birthday", "joining")
REASONS = {"purchase": "purchase", "opening": "opening", "birthday": "gift", "joining": "gift"}
"""Reason of the entries by kind of rule."""
FILE = "points.toml"
"""Name of the file with the rules, below the data folder."""
ENTRIES = ["entry_id", "customer_id", "occurred_at", "points", "reason", "expires_on"]


@dataclass(frozen=True)
class Rule:
    """One rule of accrual.

    ``kind`` "purchase": ``points`` for each full ``per_minor`` paid out in one transaction of the ``categories`` (none
    named: all) of ``minimum_minor`` or more; "opening": ``points`` for a contract for one of the ``products`` (none named:
    any); "birthday": ``points`` on the customer's birthday; "joining": ``points`` on the day of joining the programme. ``most_per_month`` caps what the rule gives one customer in a
    calendar month (0: no cap); it holds from ``starts_on`` to ``ends_on``, both included, where given.
    """

    name: str
    kind: str = "purchase"
    points: int = 1
    per_minor: int = 1000
    minimum_minor: int = 0
    categories: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    most_per_month: int = 0
    starts_on: dt.date | None = None
    ends_on: dt.date | None = None


@dataclass(frozen=True)
class Programme:
    """A programme of points: its ``rules``; ``valid_months`` that points last (0: for ever); ``point_minor`` what a point
    costs the company when it is spent, minor units of its currency."""

    rules: tuple[Rule, ...] = field(default_factory=lambda: (Rule("purchases"),))
    valid_months: int = 12
    point_minor: float = 1.0


def read(path: Path) -> Programme:
    """Return the programme of a TOML file, or the default where there is no file; raises DataError for a bad file."""
    if not path.exists():
        return Programme()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable TOML file ({error}); mend it or remove it") from error
    return parse(values, where=str(path))


def parse(values: Mapping[str, Any], *, where: str = "points") -> Programme:
    """Return the programme written as plain values: valid_months, point_minor and a list ``rules``.

    Raises DataError naming the setting, what it is and what it may be.

    >>> parse({"rules": [{"name": "food", "categories": ["groceries"], "per_minor": 500}]}).rules[0].per_minor
    500
    """
    _known(values, {"valid_months", "point_minor", "rules"}, where)
    months, cost = values.get("valid_months", 12), values.get("point_minor", 1.0)
    if not _whole(months) or not 0 <= months <= 600:
        raise DataError(f"{where}: valid_months is {months!r}; give a whole number from 0 (for ever) to 600")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost) or cost < 0:
        raise DataError(f"{where}: point_minor is {cost!r}; give what a point costs in minor units, 0 or more")
    listed = values.get("rules", [{"name": "purchases"}])
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise DataError(f"{where}: rules is {listed!r}; write each rule as a section [[rules]]")
    rules = tuple(_rule(one, f"{where}: rule {number}") for number, one in enumerate(listed, start=1))
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: two rules are named {twice[0]!r}; give each a name of its own")
    return Programme(rules, months, float(cost))


def _rule(values: Mapping[str, Any], where: str) -> Rule:
    _known(values, set(Rule.__dataclass_fields__), where)
    name, kind = values.get("name"), values.get("kind", "purchase")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: name is {name!r}; give the rule a name")
    if kind not in KINDS:
        raise DataError(f"{where} ({name}): kind is {kind!r}; use {', '.join(KINDS)}")
    for setting, least in (("points", 1), ("per_minor", 1), ("minimum_minor", 0), ("most_per_month", 0)):
        given = values.get(setting, least)
        if not _whole(given) or given < least:
            raise DataError(f"{where} ({name}): {setting} is {given!r}; give a whole number, {least} or more")
    lists = {}
    for setting in ("categories", "products"):
        given = values.get(setting, [])
        if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
            raise DataError(f"{where} ({name}): {setting} is {given!r}; give a list of names")
        lists[setting] = tuple(given)
    days = {setting: values.get(setting) for setting in ("starts_on", "ends_on")}
    for setting, day in days.items():
        if day is not None and (not isinstance(day, dt.date) or isinstance(day, dt.datetime)):
            raise DataError(f"{where} ({name}): {setting} is {day!r}; write a date as 2025-03-31, without quotes")
    if days["starts_on"] and days["ends_on"] and days["ends_on"] < days["starts_on"]:
        raise DataError(f"{where} ({name}): it ends on {days['ends_on']}, before it starts on {days['starts_on']}")
    return Rule(**{**values, **lists})


def _known(values: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def earn(
    programme: Programme,
    *,
    transactions: pd.DataFrame | None = None,
    holdings: pd.DataFrame | None = None,
    customers: pd.DataFrame | None = None,
    members: pd.DataFrame,
    until: dt.date,
) -> pd.DataFrame:
    """Return the entries that the rules give the members: each rule by itself, a customer's events in the order of time.

    In: ``transactions`` (transaction_id, customer_id, occurred_at, amount_minor, category), ``holdings`` (holding_id,
    customer_id, product_id, opened_on), ``customers`` (customer_id, birth_date), as far as the rules need them;
    ``members`` (customer_id, joined_on: nothing earns before that day); ``until`` the last day. Money that comes in earns
    nothing. Out: entry_id, customer_id, occurred_at, points (above zero), reason, expires_on, rule, in the order of time.
    """
    tables = {"purchase": transactions, "opening": holdings, "birthday": customers, "joining": members}
    parts = []
    for rule in programme.rules:
        table = tables[rule.kind]
        if table is None:
            raise DataError(f"rule {rule.name}: it is about a {rule.kind}, and no such table is given; give it too")
        found = _EVENTS[rule.kind](rule, table, until)
        found = found.merge(members[["customer_id", "joined_on"]], on="customer_id", validate="many_to_one")
        day = found["occurred_at"].dt.normalize()
        inside = (day >= pd.to_datetime(found["joined_on"])) & (day <= pd.Timestamp(until))
        if rule.starts_on:
            inside &= day >= pd.Timestamp(rule.starts_on)
        if rule.ends_on:
            inside &= day <= pd.Timestamp(rule.ends_on)
        found = _capped(found[inside & (found["points"] > 0)], rule)
        entry = rule.name + ":" + found["event"].astype("str")
        parts.append(found.assign(entry_id=entry, reason=REASONS[rule.kind], rule=rule.name))
    out = pd.concat(parts, ignore_index=True)
    out = out.assign(expires_on=expiry(out["occurred_at"], programme.valid_months))
    return out.sort_values(["occurred_at", "entry_id"])[[*ENTRIES, "rule"]].reset_index(drop=True)


def expiry(earned: pd.Series, valid_months: int) -> pd.Series:
    """Return the last day on which points can be spent: so many calendar months after the day they were earned.

    >>> expiry(pd.Series(pd.to_datetime(["2024-02-29 10:00"])), 12).dt.date.tolist()
    [datetime.date(2025, 2, 28)]
    """
    if not valid_months:
        return pd.Series(pd.NaT, index=earned.index, dtype="datetime64[us]")
    return (earned.dt.normalize() + pd.DateOffset(months=valid_months)).astype("datetime64[us]")


def _purchases(rule: Rule, table: pd.DataFrame, until: dt.date) -> pd.DataFrame:
    paid = -table["amount_minor"].astype("int64")
    chosen = (paid > 0) & (paid >= rule.minimum_minor)
    if rule.categories:
        chosen &= table["category"].isin(rule.categories)
    rows = table[chosen]
    points = paid[chosen] // rule.per_minor * rule.points
    return _events(rows["transaction_id"], rows["customer_id"], rows["occurred_at"], points)


def _openings(rule: Rule, table: pd.DataFrame, until: dt.date) -> pd.DataFrame:
    rows = table[table["product_id"].isin(rule.products)] if rule.products else table
    points = pd.Series(rule.points, index=rows.index)
    return _events(rows["holding_id"], rows["customer_id"], pd.to_datetime(rows["opened_on"]), points)


def _birthdays(rule: Rule, table: pd.DataFrame, until: dt.date) -> pd.DataFrame:
    """Return the birthdays of the customers in the ten years to ``until``; who was born on 29 February, on the 28th of most years."""
    rows = table.dropna(subset=["birth_date"])
    born = pd.to_datetime(rows["birth_date"])
    parts = []
    for year in range(until.year - 10, until.year + 1):
        moved = (born.dt.month == 2) & (born.dt.day == 29) & (not calendar.isleap(year))
        day = born.dt.day.where(~moved, 28)
        on = pd.to_datetime({"year": year, "month": born.dt.month, "day": day})
        own = rows["customer_id"].astype("str") + f"-{year}"
        parts.append(
            _events(own, rows["customer_id"], on, pd.Series(rule.points, index=rows.index))[on.to_numpy() > born]
        )
    return pd.concat(parts, ignore_index=True)


def _joinings(rule: Rule, table: pd.DataFrame, until: dt.date) -> pd.DataFrame:
    points = pd.Series(rule.points, index=table.index)
    return _events(table["customer_id"], table["customer_id"], pd.to_datetime(table["joined_on"]), points)


def _events(event: pd.Series, customer: pd.Series, moment: pd.Series, points: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event": event.to_numpy(),
            "customer_id": customer.to_numpy(),
            "occurred_at": moment.to_numpy().astype("datetime64[us]"),
            "points": points.to_numpy(np.int64),
        }
    )


_EVENTS = {"purchase": _purchases, "opening": _openings, "birthday": _birthdays, "joining": _joinings}


def _capped(found: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Return the events with no more points a customer and calendar month than the rule's cap; the first ones count."""
    found = found.sort_values(["customer_id", "occurred_at", "event"])
    if not rule.most_per_month:
        return found
    month = found["occurred_at"].dt.year * 12 + found["occurred_at"].dt.month
    total = found.groupby(["customer_id", month], sort=False)["points"].cumsum()
    room = (rule.most_per_month - (total - found["points"])).clip(lower=0)
    found = found.assign(points=np.minimum(found["points"], room))
    return found[found["points"] > 0]
