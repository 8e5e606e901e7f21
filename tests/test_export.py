"""Exports: safe in a spreadsheet, on record before release, nothing half written."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from crmlib.decisions.export import export, safe_text
from crmlib.errors import DataError, EnvironmentFault, UsageError
from crmlib.store import files, session, tables

NOW = dt.datetime(2026, 1, 2, 3, 4, 5)
TABLE = pd.DataFrame(
    {
        "customer_id": ["C1", "=cmd|'/C calc'!A0", "@x", "-1+1"],
        "note": ["\tTab", "\rCR", "\0NUL", None],
        "change_minor": [-5, 0, 7, -1_000_000],
        "share": [0.25, np.nan, -0.5, 1.0],
        "day": pd.to_datetime(["2025-01-01", None, "2025-01-03", "2025-01-04"]),
        "kind": pd.Categorical(["+a", "b", "b", "b"]),
        "mixed": pd.Series([-3, "-3", None, True], dtype=object),
    }
)


def made(tmp_path: Path, table: pd.DataFrame = TABLE, **changed: Any) -> Path:
    given_ = {"data": tmp_path, "actor": "anna", "purpose": "spring calls", "content": {"product_id": "deposit"}}
    return export(table, **{**given_, "now": NOW, "name": "calls-deposit", **changed})


def records(data: Path) -> list[tables.Export]:
    with session.session(data) as store:
        return list(store.scalars(sa.select(tables.Export)))


def test_csv_is_formula_safe_and_numbers_stay_numbers(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert path.parent == tmp_path / "exports" and path.name.startswith("calls-deposit-20260102T030405-")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "a spreadsheet needs the mark to see UTF-8"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["customer_id"] for row in rows] == ["C1", "'=cmd|'/C calc'!A0", "'@x", "'-1+1"]
    assert [row["note"] for row in rows] == ["'\tTab", "'\rCR", "'\0NUL", ""]
    assert [row["change_minor"] for row in rows] == ["-5", "0", "7", "-1000000"]
    assert [row["share"] for row in rows] == ["0.25", "", "-0.5", "1.0"]
    assert [row["day"] for row in rows] == ["2025-01-01", "", "2025-01-03", "2025-01-04"]
    assert [row["kind"] for row in rows] == ["'+a", "b", "b", "b"]
    assert [row["mixed"] for row in rows] == ["-3", "'-3", "", "True"]


def test_xlsx_is_formula_safe_and_phones_are_text(tmp_path: Path) -> None:
    table = TABLE.assign(phone=["+420123456789", "+1+1", "+7 495 1", "=1"], channel="call")
    allowed = table[["customer_id", "channel"]]
    book = openpyxl.load_workbook(made(tmp_path, table, format="xlsx", permitted=allowed))
    rows = list(book["list"].iter_rows(min_row=2))
    assert not [cell for row in rows for cell in row if cell.data_type == "f"]
    assert [row[7].value for row in rows] == ["+420123456789", "'+1+1", "'+7 495 1", "'=1"]
    assert {row[7].data_type for row in rows} == {"s"} and {row[7].number_format for row in rows} == {"@"}
    assert [row[1].value for row in rows[:2]] == ["'\tTab", "'\nCR"], "the return of a cell comes back as a line feed"
    assert [row[2].value for row in rows] == [-5, 0, 7, -1_000_000]
    assert [row[2].data_type for row in rows] == ["n"] * 4
    assert rows[0][4].value == dt.datetime(2025, 1, 1)


def test_the_record_says_what_was_taken(tmp_path: Path) -> None:
    path = made(tmp_path)
    (record,) = records(tmp_path)
    assert (record.actor, record.purpose, record.rows) == ("anna", "spring calls", 4)
    assert record.requested_at == NOW and record.content == {"product_id": "deposit"}
    assert record.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert tmp_path / record.file == path


def test_the_record_is_committed_before_the_file_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        seen.append(len(records(tmp_path)))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    made(tmp_path)
    assert seen == [1]


def test_without_a_record_there_is_no_file(tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER full BEFORE INSERT ON exports BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    with session.session(tmp_path) as store:
        store.execute(sa.text(trigger))
        store.commit()
    with pytest.raises(
        EnvironmentFault, match=r"could not be written to the store \(disk is full\), so nothing was done"
    ):
        made(tmp_path)
    assert list((tmp_path / "exports").iterdir()) == []


def test_no_space_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFault, match=r"could not be written \(No space left on device\); free some space"):
        made(tmp_path)
    assert list((tmp_path / "exports").iterdir()) == []
    assert records(tmp_path) == []


def test_a_folder_that_cannot_be_forced_to_the_disk_keeps_no_file_that_is_told_as_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.sync

    def broken(path: Path) -> None:
        if path.name == "exports" and any(path.glob("calls-*")):
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(files, "sync", broken)
    with pytest.raises(EnvironmentFault, match=r"could not be written \(Input/output error\); the disk reported"):
        made(tmp_path)
    assert list((tmp_path / "exports").iterdir()) == []


def test_contact_details_need_consent(tmp_path: Path) -> None:
    table = pd.DataFrame({"customer_id": ["a", "b"], "channel": ["call", "email"], "phone": ["+4201234567", None]})
    with pytest.raises(DataError, match=r"has contact details \(phone\); give permitted="):
        made(tmp_path, table)
    with pytest.raises(
        DataError, match="1 of 2 rows have no consent for their channel, for example customer b by email"
    ):
        made(tmp_path, table, permitted=pd.DataFrame({"customer_id": ["a", "b"], "channel": ["call", "call"]}))
    with pytest.raises(DataError, match="the table has no column channel; consent is checked by"):
        made(tmp_path, table[["customer_id"]], permitted=table)
    assert records(tmp_path) == []
    assert made(tmp_path, table, permitted=table).exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "pdf"}, "format is 'pdf'; use csv or xlsx"),
        ({"actor": " "}, "actor is empty; an export is recorded with who takes it"),
        ({"purpose": ""}, "purpose is empty; an export is recorded"),
        ({"name": "../up"}, "name is '../up'; use up to 80 letters"),
    ],
)
def test_what_an_export_must_say(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(tmp_path, **changed)
    assert not (tmp_path / "exports").exists()


def test_an_empty_list_and_dangerous_headings(tmp_path: Path) -> None:
    empty = pd.DataFrame({"=1+1": pd.Series(dtype=str), "customer_id": pd.Series(dtype=str)})
    assert made(tmp_path, empty).read_text(encoding="utf-8-sig").splitlines() == ['"\'=1+1","customer_id"']
    book = openpyxl.load_workbook(made(tmp_path, empty, format="xlsx"))
    assert [cell.value for cell in next(book["list"].iter_rows())] == ["'=1+1", "customer_id"]


@given(st.text(max_size=20))
def test_no_text_can_start_a_formula(value: str) -> None:
    safe = safe_text(value)
    assert safe == "" or safe[0] not in "=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20"
    assert safe.replace("'", "") == value.replace("'", "")


@given(st.lists(st.sampled_from([*"ab;,\t\r\n\"' =+-@", "＝"]), max_size=12).map("".join))
def test_no_text_starts_a_formula_where_columns_part_at_semicolons(value: str) -> None:
    line = f'1,"{safe_text(value)}"'  # a line whose first column is a number: its quotes do not count for such a reader
    cells = [cell.strip(' "') for cell in re.split(r"[;\t\r\n]", line)]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "＝"))]
