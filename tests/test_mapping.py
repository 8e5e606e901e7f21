"""The mapping file: what it means, and what is said about mistakes in it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse import mapping

COLUMNS = {"customer_id": "id"}


def customers(**options: object) -> dict:
    return {"tables": {"customers": {"files": ["c*.csv"], "columns": COLUMNS, **options}}}


def test_defaults_are_overridden_by_a_section_and_by_a_column() -> None:
    read = mapping.parse(
        {
            "defaults": {"decimal": ",", "date_format": "%d.%m.%Y", "null": ["", "NULL"], "currency": "CZK"},
            "tables": {
                "customers": {
                    "files": ["c.csv"],
                    "decimal": ".",
                    "columns": {
                        "customer_id": "id",
                        "birth_date": {"column": "dob", "format": "%y%m%d"},
                        "customer_since": "since",
                        "income_minor": {"column": "income", "unit": "major", "null": "-"},
                    },
                }
            },
        },
        name="m.toml",
    )
    (section,) = read.sections
    assert section.fields["birth_date"].formats[0] == "%y%m%d"
    assert section.fields["customer_since"].formats == ("%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M")
    assert (section.fields["income_minor"].decimal, section.fields["income_minor"].null) == (".", ("-",))
    assert section.fields["customer_id"].null == ("", "NULL")
    assert section.fields["currency"] == mapping.Field(value="CZK")
    assert section.dump  # no valid_from: the file says what holds now
    assert section.wanted()["dob"] == "customers.birth_date"


def test_two_sections_of_one_table_and_the_names_of_corrected_rows() -> None:
    columns = {"transaction_id": "t", "customer_id": "c", "occurred_at": "at", "amount_minor": "a"}
    both = [{"files": ["card*.csv"], "columns": columns}, {"files": ["moves.parquet", "moves"], "columns": columns}]
    read = mapping.parse({"tables": {"transactions": both}}, name="m.toml")
    assert [s.label for s in read.matching("card_2024.csv")] == ["m.toml: [tables.transactions] number 1"]
    assert [s.files[0] for s in read.matching("load-000007-card_2024.csv")] == ["card*.csv"]
    assert [s.files[0] for s in read.matching("load-000007-moves.parquet.csv")] == ["moves.parquet"]
    assert [s.files[0] for s in read.matching("load-000007.2-moves.table.csv")] == ["moves.parquet"]
    assert read.matching("other.csv") == []


def test_layout_of_the_file_does_not_change_the_meaning() -> None:
    one = mapping.parse(customers(), name="a.toml")
    assert one.to_json() == mapping.parse(customers(), name="b.toml").to_json()
    assert (
        one.to_json()
        != mapping.parse(customers(dump=False, columns={**COLUMNS, "valid_from": "v"}), name="a").to_json()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tabels": {}}, r"section tabels is unknown \(did you mean tables\?\)"),
        ({}, r"no \[tables\.…\] section"),
        ({"tables": {"custmers": {}}}, r"table custmers is unknown \(did you mean customers\?\); known are customers, "),
        ({"defaults": {"delimeter": ";"}, "tables": {}}, r"option delimeter is unknown \(did you mean delimiter\?\)"),
        (customers(file="x"), r"\[tables\.customers\] option file is unknown \(did you mean files\?\)"),
        (customers(columns={**COLUMNS, "brith_date": "d"}), r"column brith_date is unknown \(did you mean birth_date\?\)"),
        (customers(columns={**COLUMNS, "load_id": "d"}), "column load_id is unknown"),
        (customers(columns={"region": "r"}), "does not say where customer_id .* comes from; add customer_id"),
        (customers(columns={"customer_id": {"colunm": "x"}}), r"option colunm is unknown \(did you mean column\?\)"),
        (customers(columns={"customer_id": {"column": "x", "value": "y"}}), "either a column or a value"),
        (customers(columns={"customer_id": 3}), "customer_id is 3; give the source column as text"),
        (customers(columns={**COLUMNS, "region": {"column": "r", "unit": "major"}}), "region: unit = 'major'; .* only for money"),
        (customers(columns={**COLUMNS, "region": {"column": "r", "format": "%d"}}), "region: format is for dates"),
        (customers(columns={**COLUMNS, "birth_date": {"column": "r", "format": "dd.mm"}}), "'dd.mm' is no date format"),
        (customers(columns={**COLUMNS, "gender": {"column": "g", "values": {"M": "man"}}}), "'man', which is none of female, male, other"),
        (customers(encoding="cp12510"), "no encoding 'cp12510'"),
        (customers(decimal=";"), "decimal = ';'; it is one of"),
        (customers(decimal=",", thousands=","), "thousands and decimal are both ','"),
        (customers(delimiter=";;"), "delimiter = ';;'; it is one character"),
        (customers(time_zone="Europe/Prag"), "no time zone 'Europe/Prag'"),
        (customers(recorded_at={"lag_days": -1}), "lag_days is -1; .* 0 or more"),
        (customers(recorded_at={"lagdays": 1}), r"option lagdays is unknown \(did you mean lag_days\?\)"),
        (customers(dump=False), "does not say where valid_from"),
        (customers(files=[]), r'has no files; write for example files = \["customers\*\.csv"\]'),
        (
            {"tables": {"branches": {"files": ["b"], "dump": True, "columns": {"branch_id": "b"}}}},
            "dump = True: it is true or false, and only for tables with dated attributes",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_to_do(content: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mapping.parse(content, name="m.toml")


def test_a_missing_file_and_one_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such mapping file"):
        mapping.read(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[tables\n")
    with pytest.raises(DataError, match=r"bad\.toml: not a readable TOML file"):
        mapping.read(tmp_path / "bad.toml")
    (tmp_path / "good.toml").write_text('\ufeff[tables.customers]\nfiles = ["c"]\ncolumns.customer_id = "id"\n')
    assert mapping.read(tmp_path / "good.toml").name == "good.toml"


def test_the_example_of_the_documentation_is_a_mapping() -> None:
    text = (Path(__file__).parents[1] / "docs" / "mapping.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    read = mapping.parse(tomllib.loads(example), name="example.toml")
    assert [(section.table, section.dump) for section in read.sections] == [
        ("customers", True),
        ("transactions", False),
    ]
