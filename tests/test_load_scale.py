"""Loading at scale: every planted error on its line, quick ways equal to slow ones, many files and many loads at once."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import paths
from crmlib.errors import DataError
from crmlib.warehouse import changes, delimited, records, rules
from crmlib.warehouse.load import load
from crmlib.warehouse.versions import open as open_warehouse

AT = dt.datetime(2026, 1, 1)
DAY = dt.timedelta(days=1)
processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, which plants the errors and knows what has to be reported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import bench_load

    return bench_load


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def contacts(data: Path) -> list[tuple[Any, ...]]:
    columns = "contact_id, customer_id, occurred_at, channel, direction, cost_minor, recorded_at, superseded_at"
    with open_warehouse(paths.warehouse(data)).connect() as connection:
        return connection.execute(f"SELECT {columns} FROM contacts ORDER BY ALL").fetchall()


def test_what_was_read_is_let_go_before_the_end(
    bench: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all of a file is staged, nothing of its text is held."""
    bench.write(tmp_path, 500_000)
    files = [tmp_path / "customers.csv", tmp_path / "contacts.csv"]
    assert files[1].stat().st_size > 2 * delimited.BLOCK
    before, held, original = pa.total_allocated_bytes(), [], rules.find_duplicates

    def looked(*args: Any) -> None:
        held.append(pa.total_allocated_bytes() - before)
        original(*args)

    monkeypatch.setattr(rules, "find_duplicates", looked)
    load(files, bench.MAPPING, data=data, recorded_at=AT)
    assert held and max(held) < 1_000_000


def test_errors_of_every_kind_are_reported_with_line_and_column(bench: ModuleType, data: Path, tmp_path: Path) -> None:
    rows, errors = 8_000, 5
    planted = bench.write(tmp_path, rows, errors)
    assert len(planted) == errors * (len(bench.PLANTED) + 1)
    report = load([tmp_path / "customers.csv", tmp_path / "contacts.csv"], bench.MAPPING, data=data, recorded_at=AT)
    assert report.quarantine is not None
    bench.check(str(report.quarantine), planted)
    found = report.counts.set_index("table").loc["contacts"]
    assert (found["input"], found["quarantined"], found["accepted"]) == (rows, len(planted), rows - len(planted))
    assert len(contacts(data)) == rows - len(planted)
    with pytest.raises(AssertionError):
        bench.check(str(report.quarantine), planted.iloc[1:])


def test_the_floor_of_the_benchmark_reads_all_rows(bench: ModuleType, tmp_path: Path) -> None:
    """Else it would not do the same work; a few neighbours of bytes it cannot read are lost to it."""
    planted = bench.write(tmp_path, 8_000, 5)
    sound = 8_000 - len(planted) + 5  # it is spared open quotation marks
    assert sound - 10 <= bench.floor(tmp_path)["accepted"] <= sound


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from('ab,;"\n\r\0é\udcff'), max_size=60),
    st.sampled_from(["a,b\n", "a\n"]),
    st.integers(1, 30),
)
def test_lines_read_at_once_are_what_they_are_one_by_one(text: str, header: str, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes((header + text).encode("utf-8", "surrogateescape"))
        form = delimited.Layout("utf-8", ",", tuple(header.strip().split(",")), 1)
        found = read(path, form, block)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(records, "odd", lambda raw, ends, delimiter: np.arange(len(ends)))
            assert read(path, form, 1_000) == found


def read(path: Path, form: delimited.Layout, block: int) -> tuple[list[Any], list[Any]]:
    rows: list[Any] = []
    refused: list[Any] = []
    for chunk in delimited.chunks(path, form, block=block):
        rows += zip(chunk.lines.tolist(), *[column.to_pylist() for column in chunk.columns], strict=True)
        refused += chunk.refused
    return rows, refused


def test_ordinary_lines_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_text('a,b\n1,2\r\n"3",""\n"4,5","Прага"\n7,"open\n8,9\n')
    taken: list[int] = []
    original = records.read
    monkeypatch.setattr(records, "read", lambda raw, at, **given: taken.append(at) or original(raw, at, **given))
    rows, refused = read(path, delimited.Layout("utf-8", ",", ("a", "b"), 1), 1_000)
    assert rows == [(2, "1", "2"), (3, "3", ""), (4, "4,5", "Прага"), (6, "8", "9")]
    assert [(row.line, row.rule) for row in refused] == [(5, "quotation")]
    assert len(taken) == 2  # once more when the file has ended, since the mark might have been closed behind


def test_a_first_load_gives_the_rows_that_comparing_with_the_version_gives(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(tmp_path, 8_000, 5)
    files = [tmp_path / "customers.csv", tmp_path / "contacts.csv"]
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    load(files, bench.MAPPING, data=quick, recorded_at=AT)
    monkeypatch.setattr(changes, "_empty", lambda connection, relation: False)
    load(files, bench.MAPPING, data=slow, recorded_at=AT)
    assert contacts(quick) == contacts(slow)
    for name in ("contacts", "customers"):
        described = [stored(folder, f"DESCRIBE {name}") for folder in (quick, slow)]
        assert described[0] == described[1]
        kept = [stored(folder, f"SELECT * FROM {name}") for folder in (quick, slow)]
        assert kept[0] == kept[1]


def stored(data: Path, query: str) -> list[tuple[Any, ...]]:
    with open_warehouse(paths.warehouse(data)).connect() as connection:
        return connection.execute(query).fetchall()


# ---------------------------------------------------------------- at once

MAPPING: dict[str, Any] = {
    "tables": {
        "customers": {
            "files": ["customers.csv"],
            "columns": {"customer_id": "client", "valid_from": {"value": "2020-01-01"}},
        },
        "contacts": {
            "files": ["part*.csv"],
            "columns": {
                "contact_id": "id",
                "customer_id": "client",
                "occurred_at": "time",
                "channel": {"value": "call"},
            },
        },
    }
}
PARTS = 10


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Ten parts of one table, each with a row of its own that is bad, and one row that all of them have."""
    (tmp_path / "customers.csv").write_text("client\n1\n2\n")
    files = []
    for number in range(PARTS):
        rows = [f"{number}-{place},{1 + place % 2},2025-01-01" for place in range(200)]
        files.append(tmp_path / f"part{number}.csv")
        files[-1].write_text("\n".join(["id,client,time", "all,1,2025-01-01", f"{number}-bad,3,2025-01-01", *rows, ""]))
    return files


def test_ten_parts_of_a_table_in_one_load(parts: list[Path], data: Path, tmp_path: Path) -> None:
    report = load([tmp_path / "customers.csv", *parts], MAPPING, data=data, recorded_at=AT)
    found = report.counts.set_index("table").loc["contacts"]
    assert (found["input"], found["quarantined"]) == (PARTS * 202, PARTS)
    assert (found["accepted"], found["unchanged"]) == (PARTS * 200 + 1, PARTS - 1)
    assert report.quarantine is not None
    problems = pd.read_parquet(report.quarantine)
    assert problems[["file", "line", "column", "rule"]].values.tolist() == [
        [part.name, 3, "client", "unknown_reference"] for part in parts
    ]
    assert len(contacts(data)) == PARTS * 200 + 1


def load_one(part: Path, data: Path, barrier: Any, told: Any) -> None:
    barrier.wait(timeout=60)
    try:
        load([part], MAPPING, data=data, recorded_at=AT + DAY)
        told.put((part.name, None))
    except DataError as error:
        told.put((part.name, str(error)))
    except BaseException as error:
        told.put((part.name, repr(error)))
        raise


def test_ten_loads_at_once_each_arrive_whole_or_say_why_not(
    parts: list[Path], data: Path, tmp_path: Path, at_the_end: Callable[[Callable[[], object]], None]
) -> None:
    load([tmp_path / "customers.csv"], MAPPING, data=data, recorded_at=AT)
    processes.set_forkserver_preload(["crmlib.warehouse.load"])
    barrier, told = processes.Barrier(PARTS), processes.Queue()
    children = [processes.Process(target=load_one, args=(part, data, barrier, told)) for part in parts]
    for child in children:
        child.start()
        at_the_end(child.kill)
    outcomes = dict(told.get(timeout=120) for _ in parts)
    for child in children:
        child.join(timeout=30)
    refused = {name: text for name, text in outcomes.items() if text}
    assert all("another load was published; nothing was changed: load again" in text for text in refused.values())
    arrived = {part.name for part in parts} - set(refused)
    assert arrived
    expected = {
        f"{number}-{place}" for number in range(PARTS) if f"part{number}.csv" in arrived for place in range(200)
    }
    assert {row[0] for row in contacts(data)} == expected | {"all"}
    assert len(contacts(data)) == len(expected) + 1
    for name in refused:  # and again, alone
        load([tmp_path / name], MAPPING, data=data, recorded_at=AT + 2 * DAY)
    assert len(contacts(data)) == PARTS * 200 + 1


@pytest.fixture
def at_the_end(request: pytest.FixtureRequest) -> Callable[[Callable[[], object]], None]:
    return request.addfinalizer
