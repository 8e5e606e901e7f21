"""Data quality and freshness at a glance: how full, how valid, how repeated and how old each field is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.store import session as stores
from crmlib.store.tables import Load
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, Warehouse, frame, history, known

SHELF_LIFE_DAYS = {
    "income_minor": 365,
    "employment_status": 365,
    "risk_class": 365,
    "occupation": 730,
    "marital_status": 730,
    "children": 730,
    "email": 730,
    "phone": 730,
    "preferred_channel": 730,
    "segment": 730,
    "region": 1095,
    "city": 1095,
    "postcode": 1095,
    "education": 1825,
}
"""After how many days without a change or confirmation a customer's attribute is too old to decide on."""

LOOK_ALIKE = ("given_name", "family_name", "birth_date")
"""Customers who agree on all of these are probably one person."""

FRESHNESS = ("empty", "lasting", "fresh", "stale", "late", "stopped")
GRADES = ("good", "fair", "poor", "empty")

_CHECKED = {
    "table": "str",
    "column": "str",
    "rows": "int64",
    "completeness": "float64",
    "validity": "float64",
    "distinct": "int64",
    "duplicates": "int64",
    "newest": "datetime64[us]",
    "age_days": "Int64",
    "median_age_days": "Float64",
    "stale_share": "Float64",
    "freshness": "str",
}
_QUARANTINE = {
    "load_id": "int64",
    "table": "str",
    "file": "str",
    "line": "Int64",
    "column": "str",
    "fills": "str",
    "rule": "str",
    "value": "str",
    "remedy": "str",
}


def check(source: Snapshot | Warehouse, today: dt.date | None = None) -> pd.DataFrame:
    """Return one row per table and column of a snapshot, or of a warehouse's current rows.

    ``today`` is the day ages are counted to (default: the snapshot's day, the warehouse's last record). Columns:

    - table, column; rows (of the table); completeness (share of rows with a value, 0 without rows);
    - validity (share of the values within the schema's range or list, empty where there is no value); distinct
      (different values);
    - duplicates: of a key column, rows that repeat the table's key; of a customer's names and birth date, customers who
      agree with another on all three; else 0;
    - newest: the last day on which a value happened; of a dated table, was changed or confirmed; age_days since then;
    - median_age_days: of a dated table, the median over its entities of the days since the value was last changed or
      confirmed. A new row that changes something else does not confirm a value; one that changes nothing does;
    - stale_share: share of the customers' values older than ``SHELF_LIFE_DAYS``;
    - freshness: empty; lasting (does not age); fresh; stale (median age above the shelf life); late (the table has had
      no row for more than twice its usual gap); stopped (the table has, but this field has had no value for so long).

    Raises DataError where nothing says which day it is: a warehouse without events, and no ``today``.
    """
    wh = source.warehouse if isinstance(source, Snapshot) else source
    day = today or (source.as_of if isinstance(source, Snapshot) else _last_day(source))
    filled = _filled_tables(wh)
    parts = [
        _check_table(wh, source, table, day) if name in filled else _nothing(table)
        for name, table in schema.tables().items()
    ]
    return pd.concat(parts, ignore_index=True)


def summary(checked: pd.DataFrame) -> pd.DataFrame:
    """Return one row per table of what ``check`` found.

    Columns: table, rows; completeness (mean over the columns in use), validity (worst column); unused (columns without
    any value); duplicates (rows that repeat a key), look_alikes (customers who are probably one person with another);
    newest and age_days (of the newest row); stale (columns too old, separated by spaces); grade (good, fair, poor,
    empty) and finding, the most serious reason for it: empty, duplicates, incomplete (a required column), invalid, late,
    stopped, stale, look_alikes, gaps (an attribute with a shelf life is filled for less than half of the rows), ok.
    """
    rows = [_summarise(str(name), part) for name, part in checked.groupby("table", sort=False)]
    found = pd.DataFrame(rows)
    return found.astype({"table": "str", "stale": "str", "grade": "str", "finding": "str", "age_days": "Int64"})


def newest_records(wh: Warehouse, today: dt.date) -> pd.DataFrame:
    """Return how old the newest row of each filled event table is: the quick part of ``check``, one pass over the dates.

    Columns: table, newest (date), age_days to ``today``, patience_days (twice the table's usual gap, beyond which it is late).
    """
    filled, rows = _filled_tables(wh), []
    for name, table in schema.tables().items():
        if name not in filled or table.info["kind"] != "event":
            continue
        known_rows = _known(wh, table)
        newest = wh.read(sa.select(sa.func.max(known_rows.c[table.info["happened"]]).label("newest")))["newest"].iloc[0]
        if pd.notna(newest):
            day = _day(pd.Timestamp(newest).to_pydatetime())
            rows.append((name, day, (today - day).days, _patience(wh, known_rows, table)))
    found = pd.DataFrame(rows, columns=["table", "newest", "age_days", "patience_days"])
    return found.astype({"table": "str", "newest": "object", "age_days": "int64", "patience_days": "float64"})


def quarantine(data: Path) -> pd.DataFrame:
    """Return what was refused when each source was last loaded, one row per problem.

    Columns: load_id, table, file, line, column (of the source), fills (canonical column), rule, value, remedy.
    """
    parts: list[pd.DataFrame] = []
    seen: set[str] = set()
    with stores.session(data) as store:
        loads = store.execute(sa.select(Load.sources, Load.quarantine).order_by(Load.load_id.desc())).all()
    for sources, report in loads:
        new = set(sources) - seen
        if report and new and (data / report).exists():
            rows = frame(pa.parquet.read_table(data / report))
            parts.append(rows[rows["file"].isin(new)])
        seen |= new
    found = pd.concat(parts) if parts else pd.DataFrame(columns=list(_QUARANTINE))
    return found[list(_QUARANTINE)].astype(_QUARANTINE).reset_index(drop=True)


# ---------------------------------------------------------------- parts of the above


def _last_day(wh: Warehouse) -> dt.date:
    if wh.period is None:
        raise DataError(f"version {wh.version} of the warehouse holds no events; say which day it is with today=")
    return wh.period[1]


def _filled_tables(wh: Warehouse) -> set[str]:
    sizes = [
        sa.select(sa.literal(name).label("name"), sa.func.count().label("n")).select_from(table)
        for name, table in schema.tables().items()
    ]
    found = wh.read(sa.union_all(*sizes))
    return set(found.loc[found["n"] > 0, "name"])


def _nothing(table: sa.Table) -> pd.DataFrame:
    """Return what there is to say about a table without any row."""
    names = [column.name for column in schema.source_columns(table)]
    out = pd.DataFrame({"table": table.name, "column": names, "freshness": "empty"}).reindex(columns=list(_CHECKED))
    counts = ["rows", "completeness", "distinct", "duplicates"]
    return out.fillna(dict.fromkeys(counts, 0)).astype(_CHECKED)


def _known(source: Snapshot | Warehouse, table: sa.Table, *, all_rows: bool = False) -> sa.Subquery:
    if isinstance(source, Snapshot):
        return (history(table, source.as_of) if all_rows else known(table, source.as_of)).subquery("known")
    columns = schema.source_columns(table)
    return sa.select(*columns).where(table.c.superseded_at.is_(None)).subquery("known")


def _check_table(wh: Warehouse, source: Snapshot | Warehouse, table: sa.Table, day: dt.date) -> pd.DataFrame:
    columns = schema.source_columns(table)
    counts = _counts(wh, _known(source, table), table)
    rows = counts["rows"]
    out = pd.DataFrame({"table": table.name, "column": [column.name for column in columns], "rows": rows})
    filled = np.array([counts[f"{name}:filled"] for name in out["column"]])
    invalid = np.array([counts[f"{name}:invalid"] for name in out["column"]])
    keys, alike = schema.natural_key(table), counts.get("alike", 0)
    out["completeness"] = filled / rows if rows else 0.0
    out["validity"] = 1 - np.divide(invalid, filled, out=np.full(len(out), np.nan), where=filled > 0)
    out["distinct"] = [counts[f"{name}:distinct"] for name in out["column"]]
    out["duplicates"] = [
        rows - counts["keys"] if name in keys else alike * (name in LOOK_ALIKE) for name in out["column"]
    ]
    if rows and table.info["kind"] == "dated":
        ages = _dated_ages(wh, _known(source, table, all_rows=True), table, day)
        out = out.assign(**ages)
    else:
        out["newest"] = [counts[f"{name}:newest"] for name in out["column"]]
        out["median_age_days"], out["stale_share"] = pd.NA, pd.NA
    out["newest"] = pd.to_datetime(out["newest"]).astype("datetime64[us]")
    out["age_days"] = (pd.Timestamp(day) - out["newest"].dt.normalize()).dt.days
    patience = _patience(wh, _known(source, table), table) if rows and table.info["kind"] == "event" else 0
    newest_row = None if counts["newest"] is None else (day - _day(counts["newest"])).days
    out["freshness"] = [_verdict(table, row, patience, newest_row) for row in out.itertuples()]
    return out[list(_CHECKED)].astype(_CHECKED)


def _counts(wh: Warehouse, rows: sa.Subquery, table: sa.Table) -> dict[str, Any]:
    """Count everything about a table in one pass over it."""
    happened = rows.c[table.info["happened"]] if table.info["happened"] else sa.null()
    keys = [rows.c[name] for name in schema.natural_key(table)]
    wanted: dict[str, Any] = {"rows": sa.func.count(), "newest": sa.func.max(happened)}
    if len(keys) > 1:
        wanted["keys"] = sa.func.count(sa.distinct(sa.func.row(*keys)))
    for column in schema.source_columns(table):
        value = rows.c[column.name]
        wanted[f"{column.name}:filled"] = sa.func.count(value)
        wanted[f"{column.name}:invalid"] = sa.func.count(sa.case((_invalid(value, column.info), 1)))
        wanted[f"{column.name}:distinct"] = sa.func.count(sa.distinct(value))
        wanted[f"{column.name}:newest"] = sa.func.max(sa.case((value.is_not(None), happened)))
    statement = sa.select(*[value.label(f"n{number}") for number, value in enumerate(wanted.values())])
    found = wh.arrow(statement.select_from(rows)).to_pylist()[0]
    counts = dict(zip(wanted, found.values(), strict=True))
    counts.setdefault("keys", counts[f"{keys[0].name}:distinct"])
    if counts["rows"] and all(name in rows.c for name in LOOK_ALIKE) and "customer_id" in schema.entity_key(table):
        alike = [rows.c[name] for name in LOOK_ALIKE]
        groups = sa.select(sa.func.count().label("n")).where(*[value.is_not(None) for value in alike]).group_by(*alike)
        repeated = groups.having(sa.func.count() > 1).subquery("groups")
        counts["alike"] = int(
            wh.arrow(sa.select(sa.func.coalesce(sa.func.sum(repeated.c.n), 0))).to_pylist()[0].popitem()[1]
        )
    return counts


def _invalid(value: sa.ColumnElement[Any], info: dict[str, Any]) -> sa.ColumnElement[bool]:
    tests = []
    if info["values"]:
        tests.append(value.not_in(info["values"]))
    if info["low"] is not None:
        tests.append(value < info["low"])
    if info["high"] is not None:
        tests.append(value > info["high"])
    return sa.or_(*tests) if tests else sa.false()


def _dated_ages(wh: Warehouse, rows: sa.Subquery, table: sa.Table, day: dt.date) -> dict[str, list[Any]]:
    """Return newest, median_age_days and stale_share of each column of a dated table, from its whole history."""
    happened, entity = rows.c[table.info["happened"]], [rows.c[name] for name in schema.entity_key(table)]
    names = [column.name for column in schema.source_columns(table)]
    watched = [name for name in names if name not in schema.natural_key(table)]
    window: dict[str, Any] = {"partition_by": entity, "order_by": happened}
    changed = {
        name: rows.c[name].is_distinct_from(sa.func.lag(rows.c[name]).over(**window)).label(f"changed_{name}")
        for name in watched
    }
    last = (sa.func.lead(happened).over(**window).is_(None)).label("last_")
    steps = sa.select(*rows.c, *changed.values(), last).subquery("steps")
    confirmed = ~sa.or_(*[steps.c[f"changed_{name}"] for name in watched])
    at = steps.c[table.info["happened"]]
    group = [steps.c[name] for name in schema.entity_key(table)]
    stated = [sa.func.max(at).label(table.info["happened"])]
    for name in watched:
        current = sa.func.count(sa.case((steps.c.last_ & steps.c[name].is_not(None), 1))) > 0
        since = sa.func.max(sa.case((steps.c[f"changed_{name}"] | confirmed, at)))
        stated.append(sa.case((current, since)).label(name))
    ages = sa.select(*stated).group_by(*group).subquery("ages")
    wanted = []
    for name in [table.info["happened"], *watched]:
        age = sa.func.datediff("day", ages.c[name], sa.literal(day, sa.Date))
        life = SHELF_LIFE_DAYS.get(name) if table.name == "customers" else None
        stale = sa.func.avg(sa.case((age > life, 1.0), (age <= life, 0.0))) if life else sa.null()
        wanted += [sa.func.max(ages.c[name]), sa.func.median(age), stale]
    statement = sa.select(*[value.label(f"n{number}") for number, value in enumerate(wanted)])
    found = list(wh.arrow(statement).to_pylist()[0].values())
    by_name = dict(
        zip([table.info["happened"], *watched], zip(found[::3], found[1::3], found[2::3], strict=True), strict=True)
    )
    columns = [by_name.get(name, by_name[table.info["happened"]]) for name in names]
    return dict(zip(("newest", "median_age_days", "stale_share"), map(list, zip(*columns, strict=True)), strict=True))


def _patience(wh: Warehouse, rows: sa.Subquery, table: sa.Table) -> float:
    """Return how many days may pass without a row of an event table: twice its usual gap (the 95th percentile)."""
    days = sa.cast(rows.c[table.info["happened"]], sa.Date).label("day")
    found = wh.read(sa.select(days).distinct().order_by(days))["day"]
    gaps = found.diff().dt.days.dropna()
    return 2 * float(gaps.quantile(0.95)) if len(gaps) else np.inf


def _verdict(table: sa.Table, row: Any, patience: float, newest_row: int | None) -> str:
    if pd.isna(row.newest) and row.completeness == 0:
        return "empty"
    if table.info["kind"] == "event":
        assert newest_row is not None
        if newest_row > patience:
            return "late"
        # A field that is often empty may well be silent for longer than the table.
        return "stopped" if row.age_days > patience and row.completeness >= 0.5 else "fresh"
    life = SHELF_LIFE_DAYS.get(row.column) if table.name == "customers" else None
    if life is None:
        return "lasting"
    return "stale" if row.median_age_days > life else "fresh"


def _day(value: dt.date) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value


def _summarise(name: str, part: pd.DataFrame) -> dict[str, Any]:
    table = schema.tables()[name]
    used = part[part["completeness"] > 0]
    happened = part[part["column"] == table.info["happened"]]
    keys = part["column"].isin(schema.natural_key(table))
    required = part["column"].isin([column.name for column in table.columns if column.info.get("required")])
    stale = part.loc[part["freshness"] == "stale", "column"]
    dated = table.info["kind"] == "dated"  # an event rightly leaves empty what does not apply to it
    values: dict[str, Any] = {
        "table": name,
        "rows": int(part["rows"].iloc[0]),
        "completeness": used["completeness"].mean(),
        "validity": used["validity"].min(),
        "unused": len(part) - len(used),
        "duplicates": int(part.loc[keys, "duplicates"].max()),
        "look_alikes": int(part.loc[~keys, "duplicates"].max()) if (~keys).any() else 0,
        "newest": happened["newest"].iloc[0] if len(happened) else pd.NaT,
        "age_days": happened["age_days"].iloc[0] if len(happened) else pd.NA,
        "stale": " ".join(stale),
    }
    poor = {
        "duplicates": values["duplicates"] > 0,
        "incomplete": (part.loc[required, "completeness"] < 1).any(),
        "invalid": (used["validity"] < 1).any(),
        "late": (part["freshness"] == "late").any(),
    }
    fair = {
        "stopped": (part["freshness"] == "stopped").any(),
        "stale": len(stale) > 0,
        "look_alikes": values["look_alikes"] > 0,
        "gaps": ((used["completeness"] < 0.5) & used["freshness"].isin(["fresh", "stale"]) & dated).any(),
    }
    grade, finding = "good", "ok"
    if values["rows"] == 0:
        grade, finding = "empty", "empty"
    elif any(poor.values()):
        grade, finding = "poor", next(code for code, found in poor.items() if found)
    elif any(fair.values()):
        grade, finding = "fair", next(code for code, found in fair.items() if found)
    return {**values, "grade": grade, "finding": finding}
