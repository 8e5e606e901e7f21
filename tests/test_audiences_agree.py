"""Random audiences on DuckDB and PostgreSQL against a naive reading with pandas, written without the library's compiler.

A quick run tries AUDIENCES of them; ``CRM_AUDIENCES=5000`` tries all 5,000.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from audiences_random import COMPANY, DATES, Reading, allowed, frames, scores, segments

from crmlib.decisions import audiences as audience
from crmlib.store import score_sets, segment_sets
from crmlib.warehouse import build, schema, snapshot

AUDIENCES = int(os.environ.get("CRM_AUDIENCES", "300"))


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, snapshot.Warehouse]:
    """A data folder with scores and segments as of the earliest date, and a warehouse version."""
    data = tmp_path_factory.mktemp("data")
    path = data / "v000001.duckdb"
    build.from_frames(path, frames(), company=COMPANY)
    first, now = min(DATES), dt.datetime(2026, 1, 1)
    about: dict[str, Any] = {"data": data, "as_of": first, "warehouse_version": 1, "now": now}
    score_sets.save(scores().assign(as_of=first, model="propensity"), model="propensity", model_version=1, **about)
    members = segments().assign(as_of=pd.Timestamp(first), segmentation="rfm")
    segment_sets.save(members, segmentation="rfm", fitted_as_of=first, description={}, **about)
    return data, snapshot.open_file(path)


@pytest.fixture(scope="module")
def readings() -> dict[dt.date, Reading]:
    return {as_of: Reading(frames(), as_of, scores(), segments()) for as_of in DATES}


def test_random_audiences_on_duckdb_equal_a_naive_reading(
    company: tuple[Path, snapshot.Warehouse], readings: dict[dt.date, Reading]
) -> None:
    data, warehouse = company
    some = 0
    for seed in range(AUDIENCES):
        conditions, as_of = allowed(seed), DATES[seed % len(DATES)]
        known = snapshot.Snapshot(warehouse, as_of)
        found = audience.customers(known, conditions, data=data)["customer_id"].tolist()
        assert found == sorted(readings[as_of].read(conditions)), (seed, conditions)
        if seed % 10 == 0:
            assert audience.count(known, conditions, data=data) == len(found), (seed, conditions)
        some += 0 < len(found) < len(readings[as_of].people())
    assert some > 0.4 * AUDIENCES, "many audiences must be neither empty nor everybody"


@pytest.fixture(scope="module")
def postgres_engine() -> Iterator[sa.Engine]:
    from postgres import server

    with server() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            schema.metadata.create_all(connection)
            for name, frame in frames().items():
                fill(connection, schema.tables()[name], frame)
            scores().to_sql("their_scores", connection, index=False)
            segments().to_sql("their_segments", connection, index=False)
        yield engine
        engine.dispose()


def fill(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> None:
    dates = {column.name for column in table.columns if isinstance(column.type, sa.Date)}
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    for row in rows:
        row.setdefault("recorded_at", row[table.info["happened"]])
        row.update({name: row[name].date() for name in dates & set(row) if row[name] is not None})
    connection.execute(table.insert(), rows)


@pytest.mark.postgres
def test_random_audiences_on_postgresql_equal_a_naive_reading(
    postgres_engine: sa.Engine, readings: dict[dt.date, Reading]
) -> None:
    named: dict[str, Any] = {"scores": {"propensity": "their_scores"}, "segments": {"rfm": "their_segments"}}
    with postgres_engine.connect() as connection:
        for seed in range(AUDIENCES):
            conditions, as_of = allowed(seed), DATES[seed % len(DATES)]
            found = audience.customers_sql(connection, as_of, conditions, company=COMPANY, **named)
            assert found["customer_id"].tolist() == sorted(readings[as_of].read(conditions)), (seed, conditions)
            if seed % 10 == 0:
                number = audience.count_sql(connection, as_of, conditions, company=COMPANY, **named)
                assert number == len(found), (seed, conditions)


def test_the_python_form_gives_the_same_conditions_again() -> None:
    for seed in range(AUDIENCES):
        conditions = allowed(seed)
        text = audience.python(conditions)
        again = eval(text, {"audience": audience})
        assert again.data == conditions, text
        assert str(again) == text and "\n" not in text
