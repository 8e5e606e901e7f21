"""Reading: delimited text with true line numbers, texts as values, and whole loads of random rows."""

from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmlib import paths
from crmlib.warehouse import delimited, reading, schema
from crmlib.warehouse.load import load
from crmlib.warehouse.mapping import Field
from crmlib.warehouse.versions import open as open_warehouse

AT = dt.datetime(2025, 6, 1, 12)


def read(path: Path, *, block: int, encoding: str = "", wanted: tuple[str, ...] = ("a",)) -> tuple[list, list]:
    form = delimited.layout(path, encoding=encoding, delimiter="", wanted=dict.fromkeys(wanted, "x"))
    rows: list[tuple] = []
    refused: list[tuple] = []
    for chunk in delimited.chunks(path, form, block=block):
        rows.extend(zip(chunk.lines.tolist(), *[column.to_pylist() for column in chunk.columns], strict=True))
        refused.extend((row.line, row.rule, row.text) for row in chunk.refused)
    return rows, refused


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1251", "utf-8", "utf-16-le"])
@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends(encoding: str, mark: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(f'a{mark}город{end}1{mark}Прага{end}{end}2{mark}"x{mark}y"{end}'.encode(encoding))
    named = encoding if encoding in ("cp1251", "utf-16-le") else ""
    for block in (3, 10_000):
        assert read(path, block=block, encoding=named) == ([(2, "1", "Прага"), (4, "2", f"x{mark}y")], [])


def test_mixed_line_ends_and_an_unclosed_quotation_mark_cost_one_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\r\n1,2\n3,"4\r5\n6,7\r8,"9"\n"p""q",r')
    for block in (1, 7, 10_000):
        rows, refused = read(path, block=block)
        assert refused == [(3, "quotation", '3,"4'), (4, "ragged", "5")]
        assert rows == [(2, "1", "2"), (5, "6", "7"), (6, "8", "9"), (7, 'p"q', "r")]


CELL = st.text(alphabet=st.sampled_from('ab,;"\n\r é '), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(CELL, min_size=2, max_size=2), max_size=8),
    st.sampled_from([("\n", True), ("\r\n", True), ("\r\n", False)]),
)
def test_what_csv_writes_is_read_back_in_any_block(cells: list[list[str]], form: tuple[str, bool]) -> None:
    end, all_quoted = form
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL)
    writer.writerows([["a", "b"], *cells])
    starts, line = [], 2
    for row in cells:
        starts.append(line)
        line += 1 + sum(
            len(io.StringIO(cell, newline="").readlines()) - 1 + cell.endswith(("\n", "\r")) for cell in row if cell
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(text.getvalue().encode())
        for block in (1, 5, 10_000):
            rows, refused = read(path, block=block)
            assert not refused
            assert rows == [(start, *row) for start, row in zip(starts, cells, strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from('ab,"\n\r\0'), max_size=40))
def test_no_text_makes_reading_fail_and_small_blocks_read_the_same(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(("a,b\n" + text).encode())
        whole = read(path, block=10_000)
        assert read(path, block=1) == whole
        lines = [row[0] for row in whole[0]] + [row[0] for row in whole[1]]
        assert len(set(lines)) == len(lines)


def amount(text: str, how: Field) -> int | None:
    column = schema.tables()["holdings"].c.amount_minor
    cell, kind = reading.cell(how, column, ("x", "VARCHAR"))
    value = reading.value(how, column, "t", kind=kind, currency=None, recorded_at=AT)
    query = f"SELECT {value} FROM (SELECT {cell} AS t FROM (SELECT ? AS x))"
    return duckdb.execute(query, [text]).fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "options", "minor"),
    [
        ("1234,5", {"decimal": ","}, 123450),
        ("1\u00a0234\u202f567,89", {"decimal": ","}, 123456789),
        ("1.234.567,89", {"decimal": ",", "thousands": "."}, 123456789),
        ("1,234.56", {"thousands": ","}, 123456),
        ("1'234.56", {"thousands": "'"}, 123456),
        ("\u22125", {}, -500),
        ("+7.005", {}, 701),
        ("-0.005", {}, -1),
        ("0.00499999999999999999999", {}, 0),
        ("2.675", {}, 268),
        (".5", {}, 50),
        ("1e3", {}, 100000),
        ("99999999999999.99", {}, 9999999999999999),
        ("1e17", {}, None),
        ("1,234.56", {}, None),
        ("12.34.56", {}, None),
        ("1_000", {}, None),
        ("1.5", {"decimal": ","}, None),
        ("12,34,567", {"thousands": ","}, None),
        ("NaN", {}, None),
        ("12 EUR", {}, None),
        ("0x10", {}, None),
        ("", {}, None),
    ],
)
def test_amounts_are_read_exactly_or_not_at_all(text: str, options: dict[str, str], minor: int | None) -> None:
    assert amount(text, Field(column="x", unit="major", **options)) == minor


@settings(max_examples=200, deadline=None)
@given(st.decimals(min_value=-(10**11), max_value=10**11, allow_nan=False, places=7), st.sampled_from([".", ","]))
def test_amounts_round_half_away_from_zero(value: Decimal, decimal: str) -> None:
    expected = int((value * 100).quantize(Decimal(1), ROUND_HALF_UP))
    assert (
        amount(format(value, "f").replace(".", decimal), Field(column="x", unit="major", decimal=decimal)) == expected
    )


ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["", "a", "b", "c", "d", "e"]),
        "client": st.sampled_from(["1", "2", "9", ""]),
        "at": st.sampled_from(["2025-01-01", "2025-02-28 10:30:00", "2025-02-29", "2026-01-01", ""]),
        "amount": st.sampled_from(["1", "-2.50", "2.5", "x", ""]),
        "kind": st.sampled_from(["", "food", 'a "b", c', "two\nlines"]),
        "extra": st.sampled_from([0, 0, 0, 1]),
    }
)
TIMES = {"2025-01-01": dt.datetime(2025, 1, 1), "2025-02-28 10:30:00": dt.datetime(2025, 2, 28, 10, 30)}
GOOD_AMOUNTS = {"1": 100, "-2.50": -250, "2.5": 250}


def expected_good(rows: list[dict]) -> tuple[set[tuple], int]:
    """Return by plain Python what should arrive, and how many rows are refused."""
    typed = []
    for row in rows:
        ragged = bool(row["extra"])
        values = (
            row["id"] or None,
            row["client"] or None,
            TIMES.get(row["at"]),
            GOOD_AMOUNTS.get(row["amount"]),
            row["kind"] or None,
        )
        future = row["at"] == "2026-01-01"
        # A time in the future is a value, so that it takes part in the comparison of duplicates.
        compared = (*values[:2], row["at"] if future else values[2], *values[3:])
        bad = ragged or None in values[:4] or row["client"] not in ("1", "2")
        typed.append((values, compared, bad, ragged))
    good, refused = set(), 0
    for values, _, bad, ragged in typed:
        same_key = {other[1] for other in typed if not other[3] and other[0][0] == values[0]}
        if bad or (not ragged and len(same_key) > 1):
            refused += 1
        else:
            good.add(values)
    return good, refused


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, max_size=12), st.integers(1, 4))
def test_good_rows_arrive_exactly_and_the_counts_add_up(rows: list[dict], times: int) -> None:
    columns = {
        "transaction_id": "id",
        "customer_id": "client",
        "occurred_at": "at",
        "amount_minor": {"column": "amount", "unit": "major"},
        "category": "kind",
    }
    clients = {"files": ["clients.csv"], "columns": {"customer_id": "id", "valid_from": "since"}}
    mapping = {"tables": {"customers": clients, "transactions": {"files": ["moves.csv"], "columns": columns}}}
    rows = rows * times if times < 3 else rows
    good, refused = expected_good(rows)
    # A row of too many fields over two lines counts as two broken lines.
    split = sum(bool(row["extra"]) and "\n" in row["kind"] for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        (Path(folder) / "clients.csv").write_text("id,since\n1,2020-01-01\n2,2020-01-01\n")
        with (Path(folder) / "moves.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*columns_of(mapping)])
            for row in rows:
                writer.writerow([row["id"], row["client"], row["at"], row["amount"], row["kind"], *[""] * row["extra"]])
        files = [Path(folder) / "clients.csv", Path(folder) / "moves.csv"]
        report = load(files, mapping, data=data, recorded_at=AT, max_bad_share=1)
        found = report.counts.set_index("table").loc["transactions"]
        with open_warehouse(paths.warehouse(data)).connect() as connection:
            arrived = connection.execute(
                "SELECT transaction_id, customer_id, occurred_at, amount_minor, category FROM transactions"
            ).fetchall()
    assert set(arrived) == good
    assert len(arrived) == len(good) == found["accepted"]
    assert found["quarantined"] == refused + split
    assert found["input"] == len(rows) + split == found["accepted"] + found["quarantined"] + found["unchanged"]


def columns_of(mapping: dict) -> list[str]:
    filled = mapping["tables"]["transactions"]["columns"].values()
    return [one if isinstance(one, str) else one["column"] for one in filled]
