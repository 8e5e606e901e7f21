"""Malformed files of every kind: each row is accounted for, each refusal is a sentence, and then nothing has changed.

``CRM_LONG=1`` loads a million malformed rows (``make fuzz``), ``CRM_LONG=3000000`` three million.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz import agreement, malformed, reader, reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmlib import paths
from crmlib.errors import CrmError, DataError
from crmlib.store import session as stores
from crmlib.warehouse import delimited
from crmlib.warehouse.load import LoadReport, load
from crmlib.warehouse.versions import open as open_warehouse

AT = dt.datetime(2025, 6, 1, 12)
LONG = int(os.environ.get("CRM_LONG", "0"))
ROWS = 1_000_000 if LONG == 1 else LONG
BASE = "id,since,region,children,income\nc0,2015-01-01,North,2,1000.50\nbase,2015-01-01,West,1,5\n"
HARNESS = Path(__file__).parent / "fuzz" / "parquet_bytes.py"


def mapping(encoding: str = "", delimiter: str = "") -> dict[str, Any]:
    section: dict[str, Any] = {"files": ["clients*"], "dump": True, "columns": malformed.COLUMNS}
    section |= {"encoding": encoding} if encoding else {}
    section |= {"delimiter": delimiter} if delimiter else {}
    return {"tables": {"customers": section}}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that serves version 1 with two customers."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "clients.csv").write_text(BASE)
    load([folder / "clients.csv"], mapping(), data=folder / "data", recorded_at=AT - dt.timedelta(days=1))
    stores.engine(folder / "data").dispose()  # the copies take the file as it is now
    return folder / "data"


@pytest.fixture
def data(loaded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loaded, tmp_path / "data"))


# ---------------------------------------------------------------- the reader against the reference


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.sampled_from([1, 7, 4_000_000]))
def test_the_reader_agrees_with_the_reference_on_every_line_and_cell(rng: random.Random, block: int) -> None:
    made = malformed.customers(rng, rows=rng.randrange(12))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clients.csv"
        path.write_bytes(made.raw)
        wanted = agreement.expected(made)
        assert agreement.read(path, made, block=block) == (wanted and wanted[1])


def test_a_byte_order_mark_at_the_start_of_a_block_stays_in_its_cell(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text("id,x\n\ufeffa,1\n\ufeffb,2\n", encoding="utf-8")
    form = delimited.layout(path, encoding="", delimiter="", wanted={"id": "id"})
    found = [cell for chunk in delimited.chunks(path, form, block=1) for cell in chunk.columns[0].to_pylist()]
    assert found == ["\ufeffa", "\ufeffb"]


def test_the_reader_agrees_with_the_reference_on_long_files(tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(12):
        made = malformed.customers(random.Random(seed), rows=2_000, long_cells=True)
        path = tmp_path / "clients.csv"
        path.write_bytes(made.raw)
        wanted = agreement.expected(made)
        rows = wanted and wanted[1]
        assert agreement.read(path, made, block=65_536) == rows, seed
        kinds.update("no file" if rows is None else "row" if row.cells else "refused" for row in rows or [None])
    assert kinds["row"] > 5_000 and kinds["refused"] > 5_000, kinds


def test_what_the_fuzzer_begins_with_agrees(tmp_path: Path) -> None:
    """The coverage-guided fuzzer (tests/fuzz/reader.py) runs without atheris on its own seeds."""
    reader.seeds(tmp_path, files=60)
    for file in sorted(tmp_path.iterdir()):
        reader.one(file.read_bytes())


# ---------------------------------------------------------------- whole loads


@dataclass(frozen=True)
class State:
    """What must not change where a load is refused: the served version, the files of versions, their content."""

    version: int
    files: dict[str, str]
    staging: list[str]


def state(data: Path) -> State:
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in paths.warehouse(data).iterdir()}
    staging = data / "staging"
    left = [file.name for file in staging.iterdir()] if staging.is_dir() else []
    return State(open_warehouse(paths.warehouse(data)).version, files, left)


def customers(data: Path) -> pd.DataFrame:
    with open_warehouse(paths.warehouse(data)).connect() as connection:
        return connection.execute("SELECT customer_id, load_id, superseded_at IS NULL AS current FROM customers").df()


def refused_lines(report: LoadReport, path: Path) -> set[int]:
    if report.quarantine is None:
        return set()
    found = pd.read_parquet(report.quarantine)
    assert (found["file"] == path.name).all() and found["remedy"].str.len().min() > 10
    assert found["value"].str.len().max() <= 200 or found["value"].isna().all()
    return {int(line) for line in found["line"]}


def attempt(path: Path, data: Path, given: dict[str, Any], **options: Any) -> LoadReport | None:
    """Load a file; None where it is refused: by a sentence, and with nothing changed."""
    before = state(data)
    try:
        return load([path], given, data=data, recorded_at=AT, **{"max_bad_share": 1, **options})
    except CrmError as error:
        agreement.assert_sentence(error, path)
        assert state(data) == before
        return None
    finally:
        assert state(data).staging == []


def account(rows: list[reference.Row], header: list[str], path: Path, data: Path, report: LoadReport) -> Counter[str]:
    """Check every row of a load against the reference; return how many were accepted, quarantined and unchanged."""
    found = report.counts.set_index("table").loc["customers"]
    bad = refused_lines(report, path)
    lines = {row.line for row in rows}
    assert len(lines) == len(rows) == found["input"]
    assert bad <= lines and len(bad) == found["quarantined"]
    assert {row.line for row in rows if row.cells is None} <= bad
    good = [row for row in rows if row.line not in bad]
    keys = [dict(zip(header, row.cells or (), strict=True))["id"].strip(" ") for row in good]
    now = customers(data)
    arrived = now.loc[now["load_id"] == report.load_id, "customer_id"]
    assert arrived.is_unique and set(arrived) <= set(keys) <= set(now.loc[now["current"], "customer_id"])
    assert len(arrived) == found["accepted"]
    # A row that is unchanged says what another row of this load, or an earlier load, has said.
    assert len(keys) - len(arrived) == found["unchanged"]
    assert set(keys) - set(arrived) <= {"base", "c0"}
    times = Counter(_key(header, row) for row in rows)
    for row in rows:
        if row.cells is not None:
            cells = dict(zip(header, row.cells, strict=True))
            assert row.line in bad if _hopeless(cells) else True, cells
            assert row.line not in bad if _sound(cells) and times[_key(header, row)] == 1 else True, cells
    return Counter({name: int(found[name]) for name in ("input", "accepted", "quarantined", "unchanged")})


def _key(header: list[str], row: reference.Row) -> str | None:
    return dict(zip(header, row.cells, strict=True))["id"].strip(" ") if row.cells else None


def _sound(cells: dict[str, str]) -> bool:
    """Return whether a row is good beyond doubt."""
    return bool(re.fullmatch("c[0-9]+", cells["id"])) and [cells[name] for name in malformed.WANTED[1:]] in (
        ["2015-01-01", "North", "2", "1000.50"],
        ["2015-01-01", "South", "2", "1000.50"],
    )


def _hopeless(cells: dict[str, str]) -> bool:
    """Return whether a row is bad beyond doubt."""
    since = cells["since"].strip(" ")
    return (
        not cells["id"].strip(" ")
        or since in ("2015-02-30", "0000-00-00", "9999-12-31", "infinity", "5000000-01-01", "1.1.2015")
        or bool(since and since != "epoch" and not re.search("[0-9]", since))
        or bool(re.search("[A-Za-zА-я]", cells["children"]))
        or bool(re.search("[A-DF-Za-df-zА-я]", cells["income"]))
    )


def load_one(made: malformed.Made, folder: Path, data: Path) -> Counter[str]:
    """Load a made file and check all that came of it."""
    path = folder / "clients.csv"
    path.write_bytes(made.raw)
    report = attempt(path, data, mapping(made.encoding, made.delimiter))
    found = agreement.expected(made)
    if found is None:
        assert report is None, "loaded, although it has no usable header"
        return Counter(refused_files=1)
    assert report is not None
    return account(found[1], found[0], path, data, report)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_accepted_quarantined_and_unchanged_make_up_the_input(loaded: Path, rng: random.Random) -> None:
    made = malformed.customers(rng, rows=rng.randrange(40))
    with tempfile.TemporaryDirectory() as folder:
        load_one(made, Path(folder), Path(shutil.copytree(loaded, Path(folder) / "data")))


def test_thousands_of_malformed_rows_at_once(loaded: Path, tmp_path: Path) -> None:
    total = many(loaded, tmp_path, rows=40_000, each=10_000)
    assert min(total[name] for name in ("accepted", "quarantined", "unchanged")) > 500, total


@pytest.mark.skipif(not ROWS, reason="CRM_LONG=1 loads a million malformed rows")
def test_a_million_malformed_rows(loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    total = many(loaded, tmp_path, rows=ROWS, each=25_000)
    with capsys.disabled():
        print(f"\n{dict(total)}")


def many(loaded: Path, folder: Path, *, rows: int, each: int) -> Counter[str]:
    """Load files of ``each`` rows until ``rows`` rows were read, and check every one."""
    total: Counter[str] = Counter()
    seed = 0
    while total["input"] < rows:
        made = malformed.customers(random.Random(f"many {seed}"), rows=each, long_cells=True)
        data = Path(shutil.copytree(loaded, folder / f"data {seed}"))
        try:
            total += load_one(made, folder, data)
        except Exception:
            print(f"the file of seed {seed}")
            raise
        stores.engine(data).dispose()
        shutil.rmtree(data)
        total["files"] += 1
        seed += 1
    assert total["accepted"] + total["quarantined"] + total["unchanged"] == total["input"] >= rows
    return total


# ---------------------------------------------------------------- what is no delimited text


def zipped(content: bytes) -> bytes:
    with tempfile.TemporaryFile() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("xl/worksheets/sheet1.xml", content)
        stream.seek(0)
        return stream.read()


OTHER = {
    "clients.xlsx": lambda: zipped(b"<row>" * 1_000),
    "clients_bomb.xlsx": lambda: zipped(bytes(200_000_000)),
    "clients.zip": lambda: zipped(BASE.encode()),
    "clients.csv.gz": lambda: gzip.compress(BASE.encode()),
    "clients_bomb.csv.gz": lambda: gzip.compress(bytes(200_000_000)),
    "clients.json": lambda: json.dumps([{"id": "1", "since": "2015-01-01"}]).encode(),
    "clients.html": lambda: b"<table><tr><td>id</td></tr></table>",
    "clients.xls": lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512),
    "clients.csv": lambda: b"PAR1" + bytes(100) + b"PAR1",
    "clients_empty.csv": lambda: b"",
    "clients_blank.csv": lambda: b"\r\n \r\n\t\n",
    "clients_mark.csv": lambda: b"\xff\xfe",
    "clients_nul.csv": lambda: bytes(1_000),
    "clients.parquet": lambda: b"more," + BASE.encode(),
    "clients_empty.parquet": lambda: b"PAR1",
    "clients_short.parquet": lambda: b"PAR1\x00\x00\x00\x00PAR1",
    "clients_long.parquet": lambda: b"PAR1" + b"\xff" * 64 + b"\xff\xff\xff\x7fPAR1",
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_table_is_refused_in_a_sentence(name: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(OTHER[name]())
    assert attempt(path, data, mapping()) is None


def test_an_open_quotation_mark_in_the_header_is_refused(data: Path, tmp_path: Path) -> None:
    """Else everything would be the header, and the file would have no rows."""
    path = tmp_path / "clients.csv"
    path.write_text('id,since,region,children,income,"more\nc1,2015-01-01,North,2,5,x\n')
    assert attempt(path, data, mapping()) is None


@pytest.mark.parametrize("name", ["\ufefdsince", "\x1b[31msince", "since\u2028", '"since\n"'])
def test_a_name_in_a_sentence_is_printable(name: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text(f"id,{name}x,region,children,income\nc1,2015-01-01,North,2,5\n", encoding="utf-8")
    assert attempt(path, data, mapping()) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_refused_rows_keep_their_characters(encoding: str, data: Path, tmp_path: Path) -> None:
    """Characters for private use are the ones that stand for bytes that could not be read."""
    path = tmp_path / "clients.csv"
    line = "c1,2015-01-01,\uf7a0\uf7ff\U0001f600,2"
    path.write_bytes(f"id,since,region,children,income\r\n{line}\r\n".encode(encoding))
    report = attempt(path, data, mapping())
    assert report is not None and report.quarantine is not None
    kept = report.quarantine.with_name(f"{report.quarantine.stem}-clients.csv")
    assert kept.read_bytes().decode(encoding).splitlines()[1:] == [line]


@pytest.mark.parametrize("columns", [2_000, 20_000])
def test_very_many_columns(columns: int, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    names = [*malformed.WANTED, *[f"column_{number}" for number in range(columns)]]
    cells = ["c1", "2015-01-01", "North", "2", "1"] + ["x"] * columns
    path.write_text(",".join(names) + "\n" + ",".join(cells) + "\n" + ",".join(cells[:-1]) + "\n")
    report = attempt(path, data, mapping())
    if report is not None:
        assert report.counts.iloc[0][["input", "accepted", "quarantined"]].tolist() == [2, 1, 1]
    else:
        assert columns > 10_000


@pytest.mark.parametrize("form", ["plain", "quoted", "lines"])
@pytest.mark.parametrize("size", [131_072, 131_073, 10_000_000])
def test_a_long_cell_costs_its_row(size: int, form: str, data: Path, tmp_path: Path) -> None:
    size = min(size, 200_000) if form == "lines" else size  # every line of it is a refused row then
    cell = {"plain": "x" * size, "quoted": f'"{"x" * size}"', "lines": '"' + "x\n" * (size // 2) + '"'}[form]
    path = tmp_path / "clients.csv"
    text = f"id,since,region,children,income\nc1,2015-01-01,{cell},1,1\nc2,2015-01-01,N,1,1\n"
    path.write_text(text)
    found = reference.read(text, ",")
    assert found is not None
    report = attempt(path, data, mapping())
    assert report is not None
    account(found[1], found[0], path, data, report)


# Encodings whose decoders object to bytes below 128 too, in every spelling.
NAMED = [
    "UTF-16",
    "utf16",
    "U32",
    "UTF-16LE",
    "utf-7",
    "shift_jis",
    "gb18030",
    "hz",
    "iso2022_jp",
    "big5",
    "euc-kr",
    "cp932",
    "utf-8-sig",
    "unicode_escape",
]
NAMED += ["raw_unicode_escape", "cp037", "mac_cyrillic", "koi8-r", "ascii"]
NOT_TEXT = ["idna", "punycode", "hex", "base64", "rot13", "zlib", "bz2", "undefined"]


@pytest.mark.parametrize("encoding", NAMED)
def test_no_bytes_of_any_encoding_make_reading_fail(encoding: str, data: Path, tmp_path: Path) -> None:
    rng = random.Random(encoding)
    path = tmp_path / "clients.csv"
    raw = (BASE + "c7,2015-01-01,N\xe9,1,1\n").encode(encoding, "ignore")
    head = len(BASE.splitlines()[0].encode(encoding))
    for number in range(20):
        place = rng.randrange(head, len(raw))
        path.write_bytes(raw[:place] + rng.randbytes(number) + raw[place:])
        rows = agreement.read(path, malformed.Made(b"", encoding, ","), block=1_000)
        assert number or (rows is not None and len(rows) == 3)
    report = attempt(path, data, mapping(encoding))
    if report is not None:
        found = report.counts.set_index("table").loc["customers"]
        assert found["accepted"] + found["quarantined"] + found["unchanged"] == found["input"]


@pytest.mark.parametrize("encoding", NOT_TEXT)
def test_what_is_no_encoding_of_text_is_refused(encoding: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "clients.csv").write_text(BASE + "more\n")
    with pytest.raises(DataError, match=f"there is no encoding '{encoding}'"):
        load([tmp_path / "clients.csv"], mapping(encoding), data=data, recorded_at=AT)


@pytest.mark.parametrize(
    "name",
    ["clients'; --.csv", "clients[1].csv", "clients*.csv", "clients %s {0}.csv", "clients\nb.csv", "cliénts.csv"],
)
@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_odd_names_of_files(name: str, end: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / name.replace(".csv", end)
    frame = {
        "id": ["c1", ""],
        "since": ["2015-01-01"] * 2,
        "region": ["N"] * 2,
        "children": ["1"] * 2,
        "income": ["1"] * 2,
    }
    if end == ".parquet":
        pq.write_table(pa.table(frame), path)
    else:
        pd.DataFrame(frame).to_csv(path, index=False)
    given = mapping()
    given["tables"]["customers"]["files"] = ["cli*"]
    report = attempt(path, data, given)
    assert report is not None
    assert report.counts.iloc[0][["input", "accepted", "quarantined"]].tolist() == [2, 1, 1]
    assert report.quarantine is not None and len(list(report.quarantine.parent.iterdir())) == 2


@pytest.mark.parametrize(("middle", "end"), [("x", ".csv"), ("ж", ".csv"), ("x", ""), ("x", "." + "y" * 200)])
def test_names_as_long_as_the_system_allows_stay_apart(middle: str, end: str, data: Path, tmp_path: Path) -> None:
    rest = (254 - len(f"clients{end}")) // len(middle.encode())
    paths = [tmp_path / f"clients{middle * rest}{last}{end}" for last in "12"]
    for path in paths:
        path.write_text(BASE + f"{path.name[:250]},x,,,\n")
    report = load(paths, mapping(), data=data, recorded_at=AT, max_bad_share=1)
    assert report.counts.iloc[0]["quarantined"] == 2
    assert report.quarantine is not None
    kept = [path for path in report.quarantine.parent.iterdir() if path != report.quarantine]
    assert sorted(path.read_text().splitlines()[1] for path in kept) == [f"{path.name[:250]},x,,," for path in paths]


def test_records_of_several_lines_between_delimiters_of_several_bytes(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    path.write_text('id¦since¦region¦children¦income\nc1¦2015-01-01¦"North\nWest"¦2¦5\nc2¦2015-01-01¦"N"¦1¦5\n')
    report = load([path], mapping(delimiter="¦"), data=data, recorded_at=AT)
    assert report.counts.iloc[0][["input", "accepted", "quarantined"]].tolist() == [2, 2, 0]
    with open_warehouse(data / "warehouse").connect() as connection:
        found = connection.execute("SELECT region FROM customers WHERE customer_id = 'c1'").fetchall()
    assert found == [("North\nWest",)]


# ---------------------------------------------------------------- Parquet and databases


def parquet_columns(rng: random.Random, rows: int) -> dict[str, pa.Array]:
    """Return columns of odd types for the columns wanted."""
    moments = [rng.choice([None, 0, -(2**62), 2**62, 10**15]) for _ in range(rows)]
    floats = [rng.choice([None, float("nan"), float("inf"), -0.0, 1.5, 1e300, 2.0]) for _ in range(rows)]
    whole = [rng.choice([None, 0, 2, -1, 2**63 - 1, -(2**63)]) for _ in range(rows)]
    texts = [rng.choice([None, "", "c1", "x" * 140_000, "a\0b", *malformed.TEXTS]) for _ in range(rows)]
    odd = [
        pa.array(texts, pa.string()),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string()).dictionary_encode(),
        pa.array([None if text is None else text.encode("utf-16") for text in texts], pa.binary()),
        pa.array(floats, pa.float64()),
        pa.array(floats, pa.float32()),
        pa.array(whole, pa.int64()),
        pa.array([None if number is None else abs(number) for number in whole], pa.uint64()),
        pa.array([number is None for number in whole], pa.bool_()),
        pa.array([None] * rows, pa.null()),
        pa.array(moments, pa.timestamp("us")),
        pa.array(moments, pa.timestamp("us", tz="UTC")),
        pa.array(moments, pa.timestamp("ns")),
        pa.array([rng.choice([None, 0, -(2**31), 2**31 - 1]) for _ in range(rows)], pa.date32()),
        pa.array([rng.choice([None, 0, 86_399_999_999]) for _ in range(rows)], pa.time64("us")),
        pa.array([rng.choice([None, 10**37, -1]) for _ in range(rows)], pa.decimal128(38, 0)),
        pa.array([rng.choice([None, [1], [None]]) for _ in range(rows)], pa.list_(pa.int64())),
        pa.array([rng.choice([None, {"a": 1}]) for _ in range(rows)], pa.struct([("a", pa.int64())])),
    ]
    columns = {name: rng.choice(odd) for name in (*malformed.WANTED, "file_row_number", "line", "more")}
    if rng.random() < 0.8:
        columns["id"] = pa.array([f"c{rng.randrange(rows + 1)}" for _ in range(rows)])
    if rng.random() < 0.8:
        del columns["file_row_number"]
    return columns


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_parquet_of_any_types_adds_up(loaded: Path, rng: random.Random) -> None:
    rows = rng.randrange(20)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(shutil.copytree(loaded, Path(folder) / "data"))
        path = Path(folder) / "clients.parquet"
        columns = parquet_columns(rng, rows)
        pq.write_table(pa.table(columns), path)
        report = attempt(path, data, mapping())
        if "file_row_number" in columns:  # the engine keeps this name for itself
            assert report is None
            return
        assert report is not None
        added(report, path, data, rows=rows)


def added(report: LoadReport, path: Path, data: Path, *, rows: int) -> None:
    """Check the counts of a load of typed rows against the number of rows and what lies in the tables."""
    found = report.counts.set_index("table").loc["customers"]
    bad = refused_lines(report, path)
    assert found["input"] == rows and bad <= set(range(1, rows + 1)) and len(bad) == found["quarantined"]
    assert (customers(data)["load_id"] == report.load_id).sum() == found["accepted"]
    assert found["accepted"] + found["quarantined"] + found["unchanged"] == rows


def test_damaged_parquet_is_refused_or_adds_up(tmp_path: Path) -> None:
    """In a process of its own: a reader that crashes must not take the tests with it."""
    command = [sys.executable, str(HARNESS), "--files", "4000" if LONG else "60", "--seed", "1", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3_600)
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
    told = json.loads(done.stdout)
    assert told["loaded"] + told["refused"] == told["files"] and min(told["loaded"], told["refused"]) > 0, told


def test_a_cell_of_parquet_is_no_longer_than_one_of_text(data: Path, tmp_path: Path) -> None:
    """A dictionary makes terabytes of a small file."""
    path = tmp_path / "clients.parquet"
    rows = 30
    frame = {"id": [f"c{n}" for n in range(rows)], "since": ["2015-01-01"] * rows, "region": ["x" * 10_000_000] * rows}
    frame |= {"children": ["1"] * rows, "income": ["1"] * rows}
    pq.write_table(pa.table(frame), path)
    assert path.stat().st_size < 10_000_000
    report = attempt(path, data, mapping())
    assert report is not None
    assert refused_lines(report, path) == set(range(1, rows + 1))
    assert sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) < 100_000_000


VALUES: tuple[Any, ...] = (None, "", 1, -1, 2**63 - 1, 1e308, 2.5, b"\xff\x00", "a\0b", "2015-01-01", *malformed.TEXTS)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(*[st.sampled_from([*VALUES, "c1", "c2"])] * 5), max_size=8))
def test_any_values_of_a_database_add_up(loaded: Path, rows: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(shutil.copytree(loaded, Path(folder) / "data"))
        with sqlite3.connect(Path(folder) / "bank.db") as bank:
            bank.execute("CREATE TABLE clients (id, since, region, children, income)")
            bank.executemany("INSERT INTO clients VALUES (?, ?, ?, ?, ?)", rows)
            counted = bank.execute("SELECT count(*) FROM clients").fetchone()[0]
        bank.close()
        report = load([f"sqlite:///{folder}/bank.db"], mapping(), data=data, recorded_at=AT, max_bad_share=1)
        added(report, Path("clients"), data, rows=counted)
