"""The job behind `crm points`: balances, what open points will cost, what the programme changes, what its rules give."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import DataError
from crmlib.models.points import NAME, ledger, liability, programme, rules
from crmlib.models.points.ledger import Ledger
from crmlib.models.points.rules import Programme
from crmlib.models.points.triangle import later
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets
from crmlib.warehouse.snapshot import Snapshot, parse_date

EXPIRING_DAYS = 90
_EVENTS = {
    "transactions": ["transaction_id", "customer_id", "occurred_at", "amount_minor", "category"],
    "holdings": ["holding_id", "customer_id", "product_id", "opened_on"],
    "customers": ["customer_id", "birth_date"],
}


def points(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Settle the ledger of points as of a day (default: the last record), forecast its liability, measure the programme, save.

    The rules are those of ``points.toml`` in the data folder, or the default ones. Returns the table saved: customer_id,
    as_of, balance, expiring_90, liability_minor (not a number where too little is known); beside it the tables liability,
    backtest, programme, rules and refused (customers whose entries would take their points below zero). ``seed`` is kept
    with the run; nothing here is drawn. Raises DataError where there are neither entries nor rules.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(parse_date(as_of) if as_of else last_day(wh))
    given = rules.read(data / rules.FILE)
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, "points", parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("ledger", f"as of {snapshot.as_of}") as stage:
            entries = _entries(snapshot, given, written=(data / rules.FILE).exists())
            book, refused = _settled(entries, snapshot.as_of, stage)
        with stages.stage("liability", "what the open points will cost") as stage:
            table, beside = _liability(book, snapshot.as_of, given, stage)
        with stages.stage("programme", "what membership changes") as stage:
            categories = sorted({name for rule in given.rules for name in rule.categories})
            beside["programme"] = programme.effects(snapshot, categories=categories)
            stage.say(_told(beside["programme"]))
            beside["rules"] = _given(snapshot, given, book)
            beside["refused"] = refused
        with stages.stage("save", "points by customer"):
            score_sets.save(
                table,
                data=data,
                model=NAME,
                model_version=1,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=beside,
                run_id=run_id,
            )
    return table


def _entries(snapshot: Snapshot, given: Programme, *, written: bool) -> pd.DataFrame:
    """Return the entries on record, or where there are none those that the written rules give every customer."""
    entries = snapshot.table("loyalty_entries", ledger.COLUMNS)
    if len(entries) or not written:
        if entries.empty:
            raise DataError(
                "loyalty_entries holds no points (found 0 entries, need 1); load the ledger of your programme, or write its "
                f"rules to {rules.FILE} in the data folder"
            )
        return entries
    people = snapshot.table("customers", ["customer_id", "customer_since"])
    members = people.rename(columns={"customer_since": "joined_on"})
    return rules.earn(given, **_events(snapshot, given), members=members, until=snapshot.as_of)[ledger.COLUMNS]


def _events(snapshot: Snapshot, given: Programme, *, since: dt.date | None = None) -> dict[str, pd.DataFrame]:
    """Return the tables that the rules need."""
    kinds = {rule.kind for rule in given.rules} - {"joining"}
    needed = {"purchase": "transactions", "opening": "holdings", "birthday": "customers"}
    out = {}
    for kind in sorted(kinds):
        name = needed[kind]
        rows = snapshot.select(name).subquery("rows")
        query = sa.select(*[rows.c[column] for column in _EVENTS[name]])
        if kind == "purchase":
            wanted = {category for rule in given.rules for category in rule.categories}
            everything = any(rule.kind == "purchase" and not rule.categories for rule in given.rules)
            query = query.where(rows.c.amount_minor < 0)
            if since is not None:
                query = query.where(rows.c.occurred_at >= dt.datetime.combine(since, dt.time()))
            query = query if everything else query.where(rows.c.category.in_(sorted(wanted)))
        out[name] = snapshot.warehouse.read(query)
    return out


def _settled(entries: pd.DataFrame, as_of: dt.date, stage: Stage) -> tuple[Ledger, pd.DataFrame]:
    """Return the ledger with what has expired booked, and the first entry of each customer below zero, who is left out."""
    refused = ledger.below_zero(entries)
    if len(refused):
        entries = entries[~entries["customer_id"].isin(refused["customer_id"])]
        first = refused.iloc[0]
        stage.say(
            f"{len(refused):,} customers left out: their points would go below zero, first customer {first['customer_id']} "
            f"with {first['balance']:,} after entry {first['entry_id']}; mend the source"
        )
    book = ledger.settle(entries)
    whole = ledger.expire(book, as_of=as_of)
    late = len(whole.entries) - len(book.entries)
    stage.say(
        f"{len(book.entries):,} entries" + (f", {late:,} expiries booked that the source had not" if late else "")
    )
    return whole, refused


def _liability(
    book: Ledger, as_of: dt.date, given: Programme, stage: Stage
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    table = ledger.balances(book, as_of=as_of, within_days=EXPIRING_DAYS).rename(columns={"expiring": "expiring_90"})
    table = table.assign(as_of=pd.Timestamp(as_of))[["customer_id", "as_of", "balance", "expiring_90"]]
    total = int(table["balance"].sum())
    try:
        runoff = liability.fit(book, as_of=as_of)
    except DataError as error:
        stage.say(f"{total:,} points open; {error}")
        return table.assign(liability_minor=np.nan), {}
    known = liability.by_customer(runoff, book, as_of=as_of, point_minor=given.point_minor)
    table = table.merge(known[["customer_id", "liability_minor"]], on="customer_id", how="left", validate="one_to_one")
    ahead = liability.forecast(runoff, book, as_of=as_of, point_minor=given.point_minor)
    before = liability.past(runoff, book, as_of=as_of, point_minor=given.point_minor)
    path = pd.concat([before[before["month"] < 0], ahead], ignore_index=True)
    path = path.rename(columns={"month": "ahead", "ends_on": "month"})
    now = ahead.iloc[0]
    tested = liability.backtest(book, as_of=as_of)
    told = f"breakage {now['breakage']:.0%} ({now['breakage_low']:.0%} to {now['breakage_high']:.0%})"
    right = f"{int(tested['covered'].sum())} of {len(tested)} past forecasts within their interval"
    stage.say(f"{total:,} points open, {told}; {right}")
    return table.fillna({"liability_minor": 0.0}), {"liability": path, "backtest": tested}


def _told(effects: pd.DataFrame) -> str:
    rows = effects[effects["method"].isin(["joined", "matched"]) & (effects["measure"] == "purchases")]
    if rows.empty or rows.iloc[0]["code"] not in ("randomised", "matched_only"):
        return "the effect of the programme cannot be known: " + (_why(rows.iloc[0]) if len(rows) else "no members")
    row = rows.iloc[0]
    return f"members pay {row['ratio']:.3f} times as often ({row['ratio_low']:.3f} to {row['ratio_high']:.3f}), {row['code']}"


def _why(row: pd.Series) -> str:
    if row["code"] == "not_enough_data":
        return f"not enough data (found {row['found']:.0f} customers, need {row['need']:.0f})"
    return str(row["code"]).replace("_", " ")


def _given(snapshot: Snapshot, given: Programme, book: Ledger) -> pd.DataFrame:
    """Return what each rule gives the members in the year to the day: rule, kind, customers, points, cost_minor (if all were spent)."""
    since = later(snapshot.as_of, -12) + dt.timedelta(days=1)
    entries = book.entries
    joined = entries[entries["points"] > 0].groupby("customer_id")["occurred_at"].min().dt.normalize()
    members = joined.rename("joined_on").reset_index()
    tables = {
        name: table[table["customer_id"].isin(joined.index)]
        for name, table in _events(snapshot, given, since=since).items()
    }
    earned = rules.earn(given, **tables, members=members, until=snapshot.as_of)
    earned = earned[earned["occurred_at"] >= pd.Timestamp(since)]
    names = pd.DataFrame({"rule": [rule.name for rule in given.rules], "kind": [rule.kind for rule in given.rules]})
    sums = earned.groupby("rule").agg(customers=("customer_id", "nunique"), points=("points", "sum")).reset_index()
    out = names.merge(sums, on="rule", how="left", validate="one_to_one").fillna({"customers": 0, "points": 0})
    return out.astype({"customers": "int64", "points": "int64"}).assign(
        cost_minor=lambda t: t["points"] * given.point_minor
    )
