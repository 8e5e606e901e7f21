"""Loading: every rule with its line and remedy, changes over time, sources of every kind, and nothing half done."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crmlib import paths
from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.store import session as stores
from crmlib.store.tables import Load
from crmlib.warehouse import company as companies
from crmlib.warehouse import quarantine
from crmlib.warehouse.load import LoadReport, load
from crmlib.warehouse.snapshot import Warehouse
from crmlib.warehouse.versions import Building
from crmlib.warehouse.versions import open as open_warehouse

AT = dt.datetime(2025, 6, 1, 12)
DAY = dt.timedelta(days=1)

CUSTOMERS = {
    "files": ["clients*"],
    "dump": True,
    "columns": {
        "customer_id": "id",
        "valid_from": "since",
        "region": "region",
        "gender": {"column": "sex", "values": {"M": "male", "F": "female"}},
        "children": "children",
        "birth_date": "born",
        "income_minor": {"column": "income", "unit": "major"},
    },
}
MOVES = {
    "files": ["moves*"],
    "columns": {
        "transaction_id": "id",
        "customer_id": "client",
        "occurred_at": "at",
        "amount_minor": {"column": "amount", "unit": "major"},
        "category": "kind",
        "holding_id": "contract",
    },
}
MAPPING = {"tables": {"customers": CUSTOMERS, "transactions": MOVES}}
HEAD = "id,since,region,sex,children,born,income\n"
MOVED = "id,client,at,amount,kind,contract\n"
GOOD = HEAD + "1,2015-01-01,North,M,2,1980-05-05,1000.50\n2,2016-01-01,South,F,,1990-01-01,\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding, "surrogateescape"))
        return path

    return write


def opened(data: Path) -> Warehouse:
    return open_warehouse(paths.warehouse(data))


def counts(report: LoadReport, table: str) -> tuple[int, ...]:
    """Input, accepted, changed, quarantined, unchanged."""
    row = report.counts.set_index("table").loc[table]
    assert row["accepted"] + row["quarantined"] + row["unchanged"] == row["input"]
    assert row["changed"] <= row["accepted"]
    return tuple(int(value) for value in row)


def problems(report: LoadReport) -> pd.DataFrame:
    assert report.quarantine is not None
    return pd.read_parquet(report.quarantine)


def rows(data: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    with opened(data).connect() as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()


def last_load(data: Path) -> Load:
    with stores.session(data) as store:
        row = store.query(Load).order_by(Load.load_id.desc()).first()
        assert row is not None
        store.expunge(row)
    return row


# ---------------------------------------------------------------- rules

BAD_CUSTOMERS = [
    (",2015-01-01,North,M,2,1980-05-05,1", "id", "missing", None, "fill it in"),
    ("11,2015-01-01,North,X,2,1980-05-05,1", "sex", "not_allowed", "X", "female, male, other"),
    ("12,2015-01-01,North,M,two,1980-05-05,1", "children", "wrong_type", "two", "whole number"),
    ("13,2015-01-01,North,M,1.5,1980-05-05,1", "children", "wrong_type", "1.5", "whole number"),
    ("14,2015-01-01,North,M,31,1980-05-05,1", "children", "out_of_range", "31", "at least 0 and at most 30"),
    ("15,2015-01-01,North,M,2,1980-02-30,1", "born", "impossible_date", "1980-02-30", "a date that exists"),
    ("16,2015-01-01,North,M,2,05.05.1980,1", "born", "impossible_date", "05.05.1980", "in the format"),
    ("17,2015-01-01,North,M,2,2080-05-05,1", "born", "in_future", "2080-05-05", "correct the date"),
    ("18,2015-01-01,North,M,2,0001-01-01,1", "born", "out_of_range", "0001-01-01", "placeholder"),
    ("19,2015-01-01,North,M,2,1980-05-05,-1", "income", "out_of_range", "-1", "at least 0"),
    ("20,2015-01-01,North,M,2,1980-05-05,1 000;5", "income", "wrong_type", "1 000;5", "unit"),
    ("21,2015-01-01,North,M,2,1980-05-05,99999999999999999999", "income", "wrong_type", "9" * 20, "amount"),
    ("22,2025-06-03,North,M,2,1980-05-05,1", "since", "in_future", "2025-06-03", "correct the date"),
    ("23,2015-01-01,North", "", "ragged", "3 fields instead of 7", "as many fields as the header"),
    ('24,2015-01-01,"North,M,2,1980-05-05,1', "", "quotation", '24,2015-01-01,"North', "close every quotation mark"),
    ('25,2015-01-01,"No"rth,M,2,1980-05-05,1', "", "quotation", '25,2015-01-01,"No"rth', "double those inside"),
    ("26,2015-01-01,N\0rth,M,2,1980-05-05,1", "", "unreadable", "26,2015-01-01,N", "NUL"),
    ("27,2015-01-01,N\udccfrth,M,2,1980-05-05,1", "", "encoding", "27,2015-01-01,N\\xcfrth", "cp1251"),
    (f"28,2015-01-01,{'x' * 140_000},M,2,1980-05-05,1", "", "too_long", "28,2015-01-01,xxx", "131,072"),
]


def test_a_bad_row_is_named_with_line_column_rule_value_and_remedy(data: Path, put: Callable[..., Path]) -> None:
    lines = [line for line, *_ in BAD_CUSTOMERS]
    file = put("clients.csv", GOOD + "\n".join(lines) + "\n3,2017-01-01,West,F,0,1970-01-01,7\n")
    report = load([file], MAPPING, data=data, recorded_at=AT, max_bad_share=0.9)
    bad = len(BAD_CUSTOMERS)
    assert counts(report, "customers") == (bad + 3, 3, 0, bad, 0)
    assert [row[0] for row in rows(data, "customers", "customer_id")] == ["1", "2", "3"]
    found = problems(report)
    assert found["line"].tolist() == list(range(4, 4 + bad))
    assert set(found["table"]) == {"customers"}
    assert set(found["file"]) == {"clients.csv"}
    assert set(found["sha256"]) == {hashlib.sha256(file.read_bytes()).hexdigest()}
    for (_, column, rule, value, remedy), row in zip(BAD_CUSTOMERS, found.to_dict("records"), strict=True):
        assert (row["column"], row["rule"]) == (column, rule)
        assert pd.isna(row["value"]) if value is None else row["value"].startswith(value), (rule, row["value"])
        assert len(str(row["value"])) <= 200
        assert remedy in row["remedy"]
    assert (data / "quarantine" / "load-000001-clients.csv").read_bytes().splitlines()[1:] == [
        line.encode("utf-8", "surrogateescape") for line in lines
    ]


def test_unknown_references_and_what_refers_to_a_refused_row(data: Path, put: Callable[..., Path]) -> None:
    clients = put("clients.csv", GOOD.replace("F,,1990", "?,,1990"))
    moves = put("moves.csv", MOVED + "a,1,2025-01-01,1,food,\nb,2,2025-01-01,1,food,\nc,9,2025-01-01,1,food,\n")
    report = load([moves, clients], MAPPING, data=data, recorded_at=AT, max_bad_share=1)
    found = problems(report)
    assert found[["file", "line", "rule", "value"]].to_numpy().tolist() == [
        ["moves.csv", 3, "unknown_reference", "2"],
        ["moves.csv", 4, "unknown_reference", "9"],
        ["clients.csv", 3, "not_allowed", "?"],
    ]
    assert rows(data, "transactions", "transaction_id") == [("a",)]


def test_other_references_are_checked_once_the_table_has_rows(data: Path, put: Callable[..., Path]) -> None:
    clients, moves = put("clients.csv", GOOD), put("moves.csv", MOVED + "a,1,2025-01-01,1,food,H1\n")
    assert counts(load([clients, moves], MAPPING, data=data, recorded_at=AT), "transactions") == (1, 1, 0, 0, 0)
    columns = {"holding_id": "h", "customer_id": "c", "product_id": {"value": "loan"}, "opened_on": "d"}
    both = {"tables": {**MAPPING["tables"], "holdings": {"files": ["contracts.csv"], "columns": columns}}}
    contracts = put("contracts.csv", "h,c,d\nH2,1,2020-01-01\n")
    assert counts(load([contracts], both, data=data, recorded_at=AT), "holdings")[1] == 1
    more = put("moves2.csv", MOVED + "b,1,2025-01-01,1,food,H1\nc,1,2025-01-01,1,food,H2\n")
    report = load([more], both, data=data, recorded_at=AT, max_bad_share=1)
    assert problems(report)[["line", "column", "value"]].to_numpy().tolist() == [[2, "contract", "H1"]]


def test_conflicting_duplicates_are_all_refused_and_equal_ones_count_once(data: Path, put: Callable[..., Path]) -> None:
    moves = "a,1,2025-01-01,1,food,\nb,1,2025-01-01,1,food,\na,1,2025-01-01,2,food,\nb,1,2025-01-01,1.00,food,\n"
    files = [put("clients.csv", GOOD), put("moves.csv", MOVED + moves)]
    report = load(files, MAPPING, data=data, recorded_at=AT, max_bad_share=0.5)
    assert counts(report, "transactions") == (4, 1, 0, 2, 1)
    assert problems(report)[["line", "column", "rule", "value"]].to_numpy().tolist() == [
        [2, "id", "conflicting_duplicate", "a"],
        [4, "id", "conflicting_duplicate", "a"],
    ]


def test_true_lines_behind_quoted_line_ends_and_blank_lines(data: Path, put: Callable[..., Path]) -> None:
    text = HEAD + '1,2015-01-01,"Nor\r\nth",M,2,1980-05-05,1\r\n\r\n2,2015-01-01,South,M,x,1980-05-05,1\n'
    report = load([put("clients.csv", text)], MAPPING, data=data, recorded_at=AT, max_bad_share=0.5)
    assert problems(report)["line"].tolist() == [5]
    assert rows(data, "customers", "region") == [("Nor\r\nth",)]


# ---------------------------------------------------------------- the way of refused rows


def test_too_many_bad_rows_stop_the_load_and_change_nothing(data: Path, put: Callable[..., Path]) -> None:
    load([put("clients.csv", GOOD)], MAPPING, data=data, recorded_at=AT)
    bad = put("clients2.csv", HEAD + "5,2015-01-01,N,M,x,1980-05-05,1\n6,2015-01-01,N,M,2,1980-05-05,1\n")
    with pytest.raises(
        DataError, match=r"clients2\.csv: 1 of 2 rows \(50\.0%\) .* most often: wrong_type in children"
    ) as error:
        load([bad], MAPPING, data=data, recorded_at=AT)
    assert "load-000002.parquet" in str(error.value)
    assert opened(data).version == 1
    assert (data / "quarantine" / "load-000002.parquet").exists()
    row = last_load(data)
    assert (row.state, row.version, row.quarantine) == ("rejected", None, "quarantine/load-000002.parquet")
    assert not list((data / "staging").iterdir())
    assert load([bad], MAPPING, data=data, recorded_at=AT, max_bad_share=0.5).version == 3


def test_corrected_rows_are_loaded_alone_in_the_form_of_their_source(data: Path, put: Callable[..., Path]) -> None:
    section = {**CUSTOMERS, "decimal": ",", "encoding": "cp1251", "delimiter": ";"}
    text = (GOOD + "3,2015-01-01,Сибирь,M,x,1980-05-05,2.5\n4,2015-01-01,Сибирь\n").replace(".", ",").replace(",", ";")
    text = text.replace("1000;50", "1000,50").replace("2;5\n", "2,5\n")
    given = {"tables": {"customers": section}}
    report = load([put("clients.csv", text, "cp1251")], given, data=data, recorded_at=AT, max_bad_share=0.5)
    refused = data / "quarantine" / "load-000001-clients.csv"
    lines = refused.read_text(encoding="cp1251").splitlines()
    assert lines == [text.splitlines()[0], "3;2015-01-01;Сибирь;M;x;1980-05-05;2,5", "4;2015-01-01;Сибирь"]
    lines[1:] = [lines[1].replace(";x;", ";3;"), "4;2015-01-01;Сибирь;F;0;;"]
    refused.write_text("\n".join(lines) + "\n", encoding="cp1251")
    report = load([refused], given, data=data, recorded_at=AT + DAY)
    assert counts(report, "customers") == (2, 2, 0, 0, 0)
    assert rows(data, "customers", "customer_id, region, income_minor") == [
        ("1", "North", 100050),
        ("2", "South", None),
        ("3", "Сибирь", 250),
        ("4", "Сибирь", None),
    ]


def test_refused_rows_of_parquet_and_of_a_database_come_back_as_csv(tmp_path: Path, data: Path) -> None:
    frame = {"id": ["1", "2"], "since": [dt.date(2015, 1, 1)] * 2, "children": [3, 99]}
    pq.write_table(pa.table(frame), tmp_path / "people.parquet")
    with sqlite3.connect(tmp_path / "bank.db") as bank:
        bank.execute("CREATE TABLE people_old (id TEXT, since DATE, children INTEGER)")
        bank.executemany("INSERT INTO people_old VALUES (?, ?, ?)", [("7", "2015-01-01", 1), ("8", "31.02.2015", 1)])
    columns = {"customer_id": "id", "valid_from": "since", "children": "children"}
    given = {"tables": {"customers": {"files": ["people*"], "delimiter": ";", "columns": columns}}}
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    load([tmp_path / "people.parquet", url], given, data=data, recorded_at=AT, max_bad_share=0.5)
    mended = []
    for name, bad, good in (("people.parquet", "99", "9"), ("people_old.table", "31.02.2015", "2015-02-28")):
        file = data / "quarantine" / f"load-000001-{name}.csv"
        file.write_text(file.read_text().replace(bad, good))
        mended.append(file)
    assert counts(load(mended, given, data=data, recorded_at=AT), "customers") == (2, 2, 0, 0, 0)
    assert [row[0] for row in rows(data, "customers", "customer_id")] == ["1", "2", "7", "8"]


# ---------------------------------------------------------------- time


def test_a_dump_of_the_next_day_keeps_yesterdays_state_for_yesterday(data: Path, put: Callable[..., Path]) -> None:
    load(
        [put("clients.csv", GOOD), put("moves.csv", MOVED + "a,1,2025-06-09,1,x,\n")],
        MAPPING,
        data=data,
        recorded_at=AT + 8 * DAY,
    )
    tomorrow = GOOD.replace("North", "East").replace("2,2016-01-01,South,F,,1990-01-01,\n", "3,2025-06-09,West,F,,,\n")
    report = load([put("clients.csv", tomorrow)], MAPPING, data=data, recorded_at=AT + 9 * DAY)
    assert counts(report, "customers") == (2, 2, 1, 0, 0)
    wh = opened(data)
    then, now = (wh.snapshot(day).table("customers").set_index("customer_id")["region"] for day in ("2025-06-09",) * 2)
    assert then.to_dict() == {"1": "North", "2": "South", "3": "West"} == now.to_dict()
    load([put("moves.csv", MOVED + "b,1,2025-06-10,1,x,\n")], MAPPING, data=data, recorded_at=AT + 9 * DAY)
    wh = opened(data)
    assert wh.snapshot("2025-06-10").table("customers").set_index("customer_id")["region"]["1"] == "East"
    assert wh.snapshot("2025-06-09").table("customers").set_index("customer_id")["region"]["1"] == "North"
    assert rows(data, "customers", "customer_id, valid_from, recorded_at, superseded_at") == [
        ("1", dt.date(2015, 1, 1), dt.datetime(2015, 1, 1), None),
        ("1", dt.date(2025, 6, 10), AT + 9 * DAY, None),
        ("2", dt.date(2016, 1, 1), dt.datetime(2016, 1, 1), None),
        ("3", dt.date(2025, 6, 9), dt.datetime(2025, 6, 9), None),
    ]


def test_a_dump_without_a_date_holds_from_the_day_of_the_load(data: Path, put: Callable[..., Path]) -> None:
    given = {"tables": {"customers": {"files": ["c.csv"], "columns": {"customer_id": "id", "region": "region"}}}}
    load([put("c.csv", "id,region\n1,North\n")], given, data=data, recorded_at=AT)
    load([put("c.csv", "id,region\n1,South\n")], given, data=data, recorded_at=AT + dt.timedelta(hours=3))
    load([put("c.csv", "id,region\n1,West\n2,West\n")], given, data=data, recorded_at=AT + DAY)
    day = AT.date()
    assert rows(data, "customers", "customer_id, valid_from, region, superseded_at") == [
        ("1", day, "North", AT + dt.timedelta(hours=3)),
        ("1", day, "South", None),
        ("1", day + DAY, "West", None),
        ("2", day + DAY, "West", None),
    ]
    # An old dump again is news, because it says what holds now.
    report = load([put("c.csv", "id,region\n1,South\n")], given, data=data, recorded_at=AT + 2 * DAY)
    assert counts(report, "customers") == (1, 1, 1, 0, 0)
    assert opened(data).table("customers").sort_values("valid_from")["region"].tolist()[-1] == "South"


def test_a_correction_supersedes_and_the_past_stays_what_it_was(data: Path, put: Callable[..., Path]) -> None:
    moves = MOVED + "a,1,2025-01-01,1,food,\nb,1,2025-01-02,2,food,\n"
    load([put("clients.csv", GOOD), put("moves.csv", moves)], MAPPING, data=data, recorded_at=dt.datetime(2025, 1, 3))
    corrected = put(
        "moves.csv", moves.replace("a,1,2025-01-01,1,food", "a,1,2025-01-01,9,fun") + "c,1,2025-02-02,3,x,\n"
    )
    report = load([corrected], MAPPING, data=data, recorded_at=dt.datetime(2025, 2, 3))
    assert counts(report, "transactions") == (3, 2, 1, 0, 1)
    assert rows(
        data, "transactions", "transaction_id, amount_minor, category, recorded_at, superseded_at, load_id"
    ) == [
        ("a", 100, "food", dt.datetime(2025, 1, 1), dt.datetime(2025, 2, 3), 1),
        ("a", 900, "fun", dt.datetime(2025, 2, 3), None, 2),
        ("b", 200, "food", dt.datetime(2025, 1, 2), None, 1),
        ("c", 300, "x", dt.datetime(2025, 2, 2), None, 2),
    ]
    wh = opened(data)
    assert wh.snapshot("2025-02-02").table("transactions").set_index("transaction_id")["amount_minor"]["a"] == 100
    assert set(wh.table("transactions")["amount_minor"]) == {900, 200, 300}


def test_the_sources_own_time_of_recording_and_a_lag(data: Path, put: Callable[..., Path]) -> None:
    own = {
        **MOVES,
        "recorded_at": {"column": "kind"},
        "columns": {k: v for k, v in MOVES["columns"].items() if k != "category"},
    }
    given = {"tables": {"customers": {**CUSTOMERS, "recorded_at": {"lag_days": 1.5}}, "transactions": own}}
    load(
        [put("clients.csv", GOOD), put("moves.csv", MOVED + "a,1,2025-01-01,1,2025-01-05 10:00,\n")],
        given,
        data=data,
        recorded_at=AT,
    )
    load([put("moves.csv", MOVED + "a,1,2025-01-01,2,2025-01-07,\n")], given, data=data, recorded_at=AT)
    load([put("moves.csv", MOVED + "a,1,2025-01-01,3,2025-01-06,\n")], given, data=data, recorded_at=AT)
    assert rows(data, "customers", "recorded_at")[0] == (dt.datetime(2015, 1, 2, 12),)
    first, second = dt.datetime(2025, 1, 5, 10), dt.datetime(2025, 1, 7)
    assert rows(data, "transactions", "amount_minor, recorded_at, superseded_at") == [
        (100, first, second),
        (200, second, AT),
        (300, AT, None),
    ]
    report = load(
        [put("moves.csv", MOVED + "b,1,2025-01-01,3,2025-07-01,\n")], given, data=data, recorded_at=AT, max_bad_share=1
    )
    assert problems(report)[["column", "rule"]].to_numpy().tolist() == [["kind", "in_future"]]


def test_columns_that_a_source_lacks_keep_what_was_known(data: Path, put: Callable[..., Path]) -> None:
    other = {"files": ["income.csv"], "dump": True, "columns": {"customer_id": "id", "income_minor": "pay"}}
    given = {"tables": {"customers": [CUSTOMERS, other]}}
    pay = put("income.csv", "id,pay\n1,77\n")
    report = load([put("clients.csv", GOOD), pay], given, data=data, recorded_at=AT)
    assert counts(report, "customers") == (3, 3, 1, 0, 0)
    # Of one load, both sections are known from the same time on.
    columns = "customer_id, valid_from, region, income_minor, recorded_at"
    assert rows(data, "customers", columns)[0] == ("1", dt.date(2015, 1, 1), "North", 77, dt.datetime(2015, 1, 1))
    load([put("income.csv", "id,pay\n1,78\n")], given, data=data, recorded_at=AT + DAY)
    assert rows(data, "customers", columns)[1] == ("1", (AT + DAY).date(), "North", 78, AT + DAY)
    assert len(rows(data, "customers", "customer_id")) == 3


def test_rows_of_a_history_and_their_corrections(data: Path, put: Callable[..., Path]) -> None:
    columns = {"customer_id": "id", "valid_from": "since", "region": "region"}
    given = {"tables": {"customers": {"files": ["h.csv"], "columns": columns}}}
    load([put("h.csv", "id,since,region\n1,2020-01-01,North\n1,2022-01-01,South\n")], given, data=data, recorded_at=AT)
    load([put("h.csv", "id,since,region\n1,2022-01-01,West\n1,2023-01-01,East\n")], given, data=data, recorded_at=AT)
    assert rows(data, "customers", "valid_from, region, recorded_at, superseded_at") == [
        (dt.date(2020, 1, 1), "North", dt.datetime(2020, 1, 1), None),
        (dt.date(2022, 1, 1), "South", dt.datetime(2022, 1, 1), AT),
        (dt.date(2022, 1, 1), "West", AT, None),
        (dt.date(2023, 1, 1), "East", dt.datetime(2023, 1, 1), None),
    ]


def test_a_row_of_a_history_carries_on_what_its_source_lacks(data: Path, put: Callable[..., Path]) -> None:
    load([put("clients.csv", GOOD)], MAPPING, data=data, recorded_at=AT)
    history = {"files": ["h.csv"], "columns": {"customer_id": "id", "valid_from": "since", "region": "region"}}
    given = {"tables": {"customers": history}}
    load([put("h.csv", "id,since,region\n1,2020-01-01,West\n")], given, data=data, recorded_at=AT)
    assert rows(data, "customers", "customer_id, valid_from, region, children")[:2] == [
        ("1", dt.date(2015, 1, 1), "North", 2),
        ("1", dt.date(2020, 1, 1), "West", 2),
    ]


def test_announced_rows_may_lie_ahead(data: Path, put: Callable[..., Path]) -> None:
    columns = {"product_id": "id", "valid_from": "from", "name": "name"}
    given = {"tables": {"products": {"files": ["p.csv"], "columns": columns}}}
    report = load([put("p.csv", "id,from,name\nloan,2026-01-01,Loan\n")], given, data=data, recorded_at=AT)
    assert counts(report, "products") == (1, 1, 0, 0, 0)


# ---------------------------------------------------------------- again, and at once


def test_the_same_again_changes_nothing(data: Path, put: Callable[..., Path]) -> None:
    clients, moves = put("clients.csv", GOOD), put("moves.csv", MOVED + "a,1,2025-01-01,1,food,\n")
    load([clients, moves], MAPPING, data=data, recorded_at=AT)
    again = load([moves, clients], MAPPING, data=data, recorded_at=AT + DAY)
    assert again.noop
    assert again.version == 1
    assert again.messages == ("the same was loaded before (load 1); nothing to do",)
    assert counts(again, "customers") == (2, 0, 0, 0, 2)
    part = load([put("moves.csv", MOVED + "\na,1,2025-01-01,1.0,food,\n")], MAPPING, data=data, recorded_at=AT + DAY)
    assert (part.noop, part.version, counts(part, "transactions")) == (True, 1, (1, 0, 0, 0, 1))
    assert last_load(data).state == "unchanged"
    assert sorted(file.name for file in paths.warehouse(data).iterdir()) == ["v000001.duckdb"]


def test_another_company_file_makes_a_version(data: Path, put: Callable[..., Path]) -> None:
    clients = put("clients.csv", GOOD)
    load([clients], MAPPING, data=data, recorded_at=AT)
    (data / "company.toml").write_text('currency = "CZK"\n')
    report = load([clients], MAPPING, data=data, recorded_at=AT)
    assert (report.noop, counts(report, "customers")) == (False, (2, 0, 0, 0, 2))
    assert opened(data).company == companies.Company(currency="CZK")


def test_two_loads_at_once_both_arrive(data: Path, put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    load([put("clients.csv", GOOD)], MAPPING, data=data, recorded_at=AT)
    first = put("moves1.csv", MOVED + "a,1,2025-01-01,1,food,\n")
    second = put("moves2.csv", MOVED + "a,1,2025-01-01,1,food,\nb,1,2025-01-01,1,food,\n")
    original, turns = Building.publish, []

    def publish(self: Building, given: dict[str, Any] | None = None) -> int:
        if not turns:
            turns.append(1)
            other = threading.Thread(target=lambda: load([second], MAPPING, data=data, recorded_at=AT))
            other.start()
            other.join()
        return original(self, given)

    monkeypatch.setattr(Building, "publish", publish)
    report = load([first], MAPPING, data=data, recorded_at=AT)
    assert (report.noop, counts(report, "transactions")) == (True, (1, 0, 0, 0, 1))
    assert rows(data, "transactions", "transaction_id") == [("a",), ("b",)]
    with stores.session(data) as store:
        assert [row.state for row in store.query(Load).order_by(Load.load_id)] == ["accepted", "unchanged", "accepted"]


# ---------------------------------------------------------------- sources of every kind


def test_minor_units_follow_the_currency(data: Path, put: Callable[..., Path]) -> None:
    columns = {"product_id": "id", "valid_from": {"value": "2020-01-01"}, "name": "id", "currency": "cur"}
    columns["price_minor"] = {"column": "price", "unit": "major"}
    given = {"tables": {"products": {"files": ["p.csv"], "columns": columns}}}
    load([put("p.csv", "id,cur,price\na,EUR,12.5\nb,JPY,12.5\nc,KWD,1.2345\nd,,1\n")], given, data=data, recorded_at=AT)
    assert rows(data, "products", "product_id, price_minor") == [("a", 1250), ("b", 13), ("c", 1235), ("d", 100)]


def test_dates_times_zones_and_truth_values(data: Path, put: Callable[..., Path]) -> None:
    columns = {
        "customer_id": {"value": "k"},
        "channel": "id",
        "purpose": {"value": "marketing"},
        "changed_at": "at",
        "granted": {"column": "yes", "values": {"да": "true", "нет": "false"}},
    }
    given = {
        "tables": {
            "customers": {
                "files": ["k.csv"],
                "columns": {"customer_id": "id", "birth_date": {"column": "born", "format": "%y%m%d"}},
            },
            "consents": {"files": ["iso.csv"], "time_zone": "Europe/Prague", "columns": columns},
        }
    }
    text = (
        "id,at,yes\na,2025-01-05T10:00:00,да\nb,2025-01-05T10:00:00+03:00,нет\nc,2025-05-05 10:00Z,t\nd,2025-05-05,0\n"
    )
    files = [put("k.csv", "id,born\nl,540229\nk,540228\n"), put("iso.csv", text)]
    report = load(files, given, data=data, recorded_at=AT, max_bad_share=0.5)
    assert problems(report)["value"].tolist() == ["540229"]
    assert rows(data, "customers", "birth_date") == [(dt.date(1954, 2, 28),)]
    assert rows(data, "consents", "channel, changed_at, granted") == [
        ("a", dt.datetime(2025, 1, 5, 9), True),
        ("b", dt.datetime(2025, 1, 5, 7), False),
        ("c", dt.datetime(2025, 5, 5, 10), True),
        ("d", dt.datetime(2025, 5, 4, 22), False),
    ]
    section = {"files": ["czech.csv"], "date_format": "%d.%m.%Y", "null": ["", "NULL"], "columns": columns}
    given["tables"]["consents"] = section
    text = "id;at;yes\ne;5.1.2025 7:30;1\nf;05.01.2025;NULL\n"
    report = load([put("czech.csv", text)], given, data=data, recorded_at=AT, max_bad_share=0.5)
    assert problems(report)[["line", "column", "rule"]].to_numpy().tolist() == [[3, "yes", "missing"]]
    assert rows(data, "consents", "changed_at, channel")[1:2] == [(dt.datetime(2025, 1, 5, 7, 30), "e")]


def test_parquet_keeps_its_types(tmp_path: Path, data: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": [1.0, 2.0, 3.0],  # pandas makes floats of whole numbers with gaps
            "since": pd.to_datetime(["2015-01-01", "2016-01-01", None]),
            "income": [1000.005, float("nan"), 2.675],
            "children": pd.array([1, None, 40], dtype="Int64"),
            "sex": pd.Categorical(["M", "F", "M"]),
        }
    )
    frame.to_parquet(tmp_path / "clients.parquet")
    columns = {k: v for k, v in CUSTOMERS["columns"].items() if k not in ("region", "birth_date")}
    given = {"tables": {"customers": {**CUSTOMERS, "decimal": ",", "columns": columns}}}
    report = load([tmp_path / "clients.parquet"], given, data=data, recorded_at=AT, max_bad_share=0.5)
    assert problems(report)[["line", "column", "value"]].to_numpy().tolist() == [[3, "children", "40"]]
    assert rows(data, "customers", "customer_id, valid_from, income_minor, children, gender") == [
        ("1", dt.date(2015, 1, 1), 100001, 1, "male"),
        ("2", dt.date(2016, 1, 1), None, None, "female"),
    ]
    (tmp_path / "clients.parquet").write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(DataError, match=r"clients\.parquet: not a readable Parquet file"):
        load([tmp_path / "clients.parquet"], given, data=data, recorded_at=AT)


def test_a_database_is_read_by_table_name(tmp_path: Path, data: Path, put: Callable[..., Path]) -> None:
    database = tmp_path / "bank.db"
    with sqlite3.connect(database) as bank:
        bank.execute("CREATE TABLE clients (id INTEGER, since DATE, region TEXT, sex, children, born, income NUMERIC)")
        bank.execute("INSERT INTO clients VALUES (1, '2015-01-01', 'North', 'M', 2, '1980-05-05', 1000.5)")
        bank.execute("CREATE TABLE moves (id, client, at, amount, kind, contract)")
        bank.executemany(
            "INSERT INTO moves VALUES (?, ?, ?, ?, ?, NULL)",
            [("a", 1, "2025-01-01 10:00:00", -1.25, "food"), ("b", 1, "2025-01-32", 1, "food")],
        )
    url = f"sqlite:///{database}"
    report = load([url], MAPPING, data=data, recorded_at=AT, max_bad_share=0.5)
    assert counts(report, "customers") == (1, 1, 0, 0, 0)
    assert problems(report)[["file", "line", "value"]].to_numpy().tolist() == [["moves", 2, "2025-01-32"]]
    assert rows(data, "transactions", "amount_minor, customer_id") == [(-125, "1")]
    assert load([url], MAPPING, data=data, recorded_at=AT, max_bad_share=0.5).noop
    assert len(last_load(data).fingerprint) == 64
    with pytest.raises(NotFoundError, match="no such database file"):
        load([f"sqlite:///{tmp_path}/absent.db"], MAPPING, data=data, recorded_at=AT)
    with pytest.raises(DataError, match="cannot open the nonsense database"):
        load(["nonsense://user:secret@host/db"], MAPPING, data=data, recorded_at=AT)
    other = {"tables": {"branches": {"files": ["shops"], "columns": {"branch_id": "id"}}}}
    with pytest.raises(DataError, match=r"no table there matches mapping; it has clients, moves"):
        load([url], other, data=data, recorded_at=AT)


def test_a_folder_gives_the_files_that_the_mapping_knows(tmp_path: Path, data: Path, put: Callable[..., Path]) -> None:
    put("clients.csv", GOOD)
    put("clients_b.csv", GOOD.replace("\n1,", "\n7,").replace("\n2,", "\n8,"))
    put("notes.txt", "not for us")
    assert counts(load([tmp_path], MAPPING, data=data, recorded_at=AT), "customers") == (4, 4, 0, 0, 0)
    with pytest.raises(DataError, match=r"no file in this folder matches mapping \(clients\*, moves\*\)"):
        load([data], MAPPING, data=data, recorded_at=AT)


def test_one_wide_file_feeds_two_tables(data: Path, put: Callable[..., Path]) -> None:
    holding = {"holding_id": "acc", "customer_id": "id", "product_id": {"value": "card"}, "opened_on": "open"}
    wide = {
        "customers": {"files": ["wide.csv"], "columns": {"customer_id": "id", "region": "region"}},
        "holdings": {"files": ["wide.csv"], "columns": holding},
    }
    text = "id,region,acc,open\n1,North,A,2020-01-01\n1,North,B,2021-01-01\n2,South,C,2022-13-01\n"
    report = load([put("wide.csv", text)], {"tables": wide}, data=data, recorded_at=AT, max_bad_share=0.5)
    assert counts(report, "customers") == (3, 2, 0, 0, 1)
    assert counts(report, "holdings") == (3, 2, 0, 1, 0)


# ---------------------------------------------------------------- what bad input gets


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"clients\.csv: the file is empty; export it again"),
        ("\ufeff", {}, "the file is empty"),
        (
            HEAD.replace(",", ";"),
            {"delimiter": ","},
            r"no column 'id' \(for customers\.customer_id\); .* set delimiter = \";\"",
        ),
        (
            HEAD.replace("income", "incone"),
            {},
            r"no column 'income' \(for customers\.income_minor\).*did you mean incone\?",
        ),
        (HEAD.replace("region", "id"), {}, "no column 'region'"),
        (HEAD.strip() + ",income\n", {}, "the column 'income' is there 2 times"),
        ("i\udccd,x\n1,2\n", {}, "the header cannot be read in this encoding"),
    ],
)
def test_a_file_that_cannot_be_used(
    text: str, options: dict[str, str], message: str, data: Path, put: Callable[..., Path]
) -> None:
    with pytest.raises(DataError, match=message):
        load([put("clients.csv", text)], {"defaults": options, **MAPPING}, data=data, recorded_at=AT)
    assert not list(paths.warehouse(data).glob("*.duckdb*"))
    assert not (data / "staging").exists() or not list((data / "staging").iterdir())


def test_a_file_of_nothing_but_a_header(data: Path, put: Callable[..., Path]) -> None:
    report = load([put("clients.csv", HEAD)], MAPPING, data=data, recorded_at=AT)
    assert (report.noop, report.version, report.messages) == (True, None, ("clients.csv has no rows",))
    assert counts(report, "customers") == (0, 0, 0, 0, 0)


def test_missing_and_unmatched_files(data: Path, put: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"clients\.csv: there is no such file"):
        load([tmp_path / "clients.csv"], MAPPING, data=data, recorded_at=AT)
    with pytest.raises(
        DataError, match=r"no section of mapping takes a file of this name; its files are clients\*, moves\*"
    ):
        load([put("kunden.csv", GOOD)], MAPPING, data=data, recorded_at=AT)
    with pytest.raises(DataError, match="nothing to load"):
        load([], MAPPING, data=data, recorded_at=AT)


def test_a_full_disk_changes_nothing(data: Path, put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    load([put("clients.csv", GOOD)], MAPPING, data=data, recorded_at=AT)
    changed = put("clients2.csv", GOOD.replace("North", "East").replace("F,,1990", "?,,1990"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quarantine, "write", full)
    with pytest.raises(EnvironmentFault, match="no space left"):
        load([changed], MAPPING, data=data, recorded_at=AT + DAY, max_bad_share=0.5)
    assert opened(data).version == 1
    assert last_load(data).state == "failed"
    assert not list((data / "staging").iterdir())
    monkeypatch.undo()
    assert load([changed], MAPPING, data=data, recorded_at=AT + 2 * DAY, max_bad_share=0.5).version == 3


def test_a_folder_that_may_not_be_written(tmp_path: Path, put: Callable[..., Path]) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentFault, match="make the folder writable"):
        load([put("clients.csv", GOOD)], MAPPING, data=tmp_path / "file" / "data", recorded_at=AT)
