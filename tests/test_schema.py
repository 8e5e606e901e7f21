"""The canonical tables: consistent in themselves, and documented as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from crmlib.warehouse import build, schema, schema_docs

TABLES = list(schema.tables().values())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_references_dates_and_masks_point_at_columns_that_exist(table: sa.Table) -> None:
    happened, kind = table.info["happened"], table.info["kind"]
    assert (kind == "reference") == (happened == "")
    if happened:
        assert isinstance(table.c[happened].type, (sa.Date, sa.DateTime))
        assert table.c[happened].info["required"]
    if kind == "dated":
        assert happened in schema.natural_key(table)
        assert schema.entity_key(table)
    assert schema.natural_key(table)
    for column in schema.source_columns(table):
        if column.info["refers"]:
            other = schema.tables()[column.info["refers"]]
            [key] = schema.entity_key(other)
            assert type(column.type) is type(other.c[key].type)
        if column.info["known_from"]:
            reveal = table.c[column.info["known_from"]]
            assert isinstance(reveal.type, (sa.Date, sa.DateTime))
            assert reveal.info["known_from"] == reveal.name, "the moment itself must be hidden until it comes"
        if column.info["unit"] == "minor units":
            assert column.name.endswith("_minor")
            assert "currency" in table.c
        assert column.doc
        assert build.duckdb_type(column)


def test_names_are_plain_and_the_same_column_means_the_same_everywhere() -> None:
    types: dict[str, type] = {}
    for table in TABLES:
        for column in table.columns:
            assert column.name == column.name.lower() and column.name.isidentifier()
            if column.name.endswith("_id"):
                assert types.setdefault(column.name, type(column.type)) is type(column.type), column


def test_contact_data_are_marked_so() -> None:
    sensitivity = {c.name: c.info["sensitivity"] for c in schema.source_columns(schema.tables()["customers"])}
    assert {name for name, kind in sensitivity.items() if kind == "contact"} == {
        "given_name",
        "family_name",
        "postcode",
        "email",
        "phone",
    }


def test_the_documentation_is_current() -> None:
    written = (Path(__file__).parent.parent / schema_docs.TARGET).read_text(encoding="utf-8")
    assert written == schema_docs.markdown(), "run python -m crmlib.warehouse.schema_docs"


def test_the_documentation_says_what_the_schema_says() -> None:
    text = schema_docs.markdown()
    assert "| `children` | INTEGER | persons | children in the household |  | 0 to 30 |  |  | personal |" in text
    assert (
        "| `closed_on` | DATE |  | actual last day |  |  |  | `closed_on` |  |\n| `closed_reason` | VARCHAR |" in text
    )
    assert text.count("\n## ") == len(TABLES)
