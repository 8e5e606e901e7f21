"""Snapshots: what was known at a date, the same on every engine and in a naive reading of the rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import postgres
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.warehouse import build, schema, snapshot

DAY = dt.date(2025, 3, 31)
MIDNIGHT = dt.datetime(2025, 4, 1)
TABLES = schema.tables()


def made(folder: Path, frames: dict[str, pd.DataFrame]) -> snapshot.Warehouse:
    build.from_frames(folder / "v.duckdb", frames)
    return snapshot.open_file(folder / "v.duckdb")


# ---------------------------------------------------------------- the rule, read naively

# Moments that matter: well before, the last microsecond of the day, the cut-off itself, and later.
moments = st.sampled_from(
    [
        dt.datetime(2025, 1, 1),
        dt.datetime(2025, 3, 31),
        MIDNIGHT - dt.timedelta(microseconds=1),
        MIDNIGHT,
        MIDNIGHT + dt.timedelta(seconds=1),
        dt.datetime(2025, 9, 1),
    ]
)
days = st.sampled_from([dt.date(2025, 1, 1), dt.date(2025, 3, 30), DAY, dt.date(2025, 4, 1), dt.date(2025, 9, 1)])
ids = st.sampled_from(["a", "b"])
system = {"recorded_at": moments, "superseded_at": st.none() | moments}
rows = {
    "holdings": {"holding_id": ids, "customer_id": ids, "product_id": ids, "opened_on": days}
    | {"closed_on": st.none() | days, "closed_reason": st.none() | ids, "amount_minor": st.none() | st.integers(0, 9)},
    "applications": {"application_id": ids, "customer_id": ids, "product_id": ids, "applied_at": moments}
    | {"decided_at": st.none() | moments, "outcome": st.none() | ids},
    "customers": {"customer_id": ids, "valid_from": days, "region": st.none() | ids, "closed_on": st.none() | days},
    "branches": {"branch_id": ids, "name": st.none() | ids},
}


def contents(name: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of a table; no two of one natural key were recorded at the same moment, or known at the same time."""
    identity = [*schema.natural_key(TABLES[name]), "recorded_at"]
    made = st.lists(
        st.fixed_dictionaries(rows[name] | system),
        max_size=8,
        unique_by=lambda row: tuple(row[part] for part in identity),
    )
    return made.map(lambda found: _superseded(found, schema.natural_key(TABLES[name])))


def _superseded(found: list[dict[str, Any]], key: list[str]) -> list[dict[str, Any]]:
    out = []
    for row in found:
        later = [o["recorded_at"] for o in found if all(o[k] == row[k] for k in key)]
        later = [moment for moment in later if moment > row["recorded_at"]]
        out.append({**row, "superseded_at": min(later) if later else row["superseded_at"]})
    return out


def before(value: dt.date | None, as_of: dt.date) -> bool:
    if value is None:
        return False
    day = value.date() if isinstance(value, dt.datetime) else value
    return day <= as_of


def naive(name: str, found: list[dict[str, Any]], as_of: dt.date, *, all_rows: bool) -> list[tuple[Any, ...]]:
    table, happened = TABLES[name], TABLES[name].info["happened"]
    kept = []
    for row in found:
        if not before(row["recorded_at"], as_of) or before(row["superseded_at"], as_of):
            continue
        if happened and not before(row[happened], as_of):
            continue
        shown = {}
        for column in schema.source_columns(table):
            reveal = column.info["known_from"]
            hidden = reveal and not before(row.get(reveal), as_of)
            shown[column.name] = None if hidden else row.get(column.name)
        kept.append(shown)
    if table.info["kind"] == "dated" and not all_rows:
        last: dict[Any, dict[str, Any]] = {}
        for row in kept:
            entity = tuple(row[part] for part in schema.entity_key(table))
            if entity not in last or row[happened] > last[entity][happened]:
                last[entity] = row
        kept = list(last.values())
    return sorted((tuple(row.values()) for row in kept), key=repr)


@contextmanager
def _engine(kind: str) -> Iterator[sa.Engine]:
    if kind == "postgresql":
        with postgres.server() as url:
            made = sa.create_engine(url)
            yield made
            made.dispose()
    else:
        yield sa.create_engine(f"{kind}:///:memory:")


@pytest.fixture(scope="module", params=["duckdb", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def connection(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    with _engine(request.param) as engine, engine.connect() as connection:
        schema.metadata.create_all(connection, tables=[TABLES[name] for name in rows])
        connection.commit()
        yield connection


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(rows)), data=st.data(), as_of=days)
def test_every_engine_knows_what_the_naive_reading_knows(
    connection: sa.Connection, name: str, data: st.DataObject, as_of: dt.date
) -> None:
    table, found = TABLES[name], data.draw(contents(name))
    connection.execute(sa.delete(table))
    for row in found:
        connection.execute(sa.insert(table).values(row))
    for all_rows, statement in ((False, snapshot.known(table, as_of)), (True, snapshot.history(table, as_of))):
        got = sorted((tuple(row) for row in connection.execute(statement)), key=repr)
        assert got == naive(name, found, as_of, all_rows=all_rows)
    connection.rollback()


@settings(max_examples=8, deadline=None)
@given(found=contents("holdings"), as_of=days)
@example(found=[], as_of=DAY)
def test_an_opened_file_knows_the_same(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, Any]], as_of: dt.date
) -> None:
    anchor = pd.DataFrame(
        {"transaction_id": ["t", "u"], "customer_id": "a", "occurred_at": ["2025-01-01", "2025-12-31"]}
    ).assign(amount_minor=1)
    columns = [*rows["holdings"], *system]
    wh = made(tmp_path_factory.mktemp("v"), {"transactions": anchor, "holdings": pd.DataFrame(found, columns=columns)})
    got = wh.snapshot(as_of).table("holdings").astype(object)
    shown = [[None if pd.isna(v) else v for v in row] for row in got.itertuples(index=False)]
    dated = [
        tuple(v.date() if isinstance(v, pd.Timestamp) else v for v in row) for row in shown
    ]  # the frame shows dates as timestamps
    assert sorted(dated, key=repr) == naive("holdings", found, as_of, all_rows=False)


# ---------------------------------------------------------------- what a person would expect


@pytest.fixture
def wh(tmp_path: Path) -> snapshot.Warehouse:
    customers = pd.DataFrame(
        {
            "customer_id": ["ann", "ann", "bob", "ann"],
            "valid_from": ["2024-01-01", "2025-02-01", "2024-06-01", "2025-05-01"],
            "region": ["north", "south", "east", "west"],
            "closed_on": [None, None, "2025-04-15", None],
            "recorded_at": ["2024-01-02", "2025-02-03", "2024-06-02", "2025-05-02"],
        }
    )
    holdings = pd.DataFrame(
        {
            "holding_id": ["h1", "h2", "h2"],
            "customer_id": ["ann", "bob", "bob"],
            "product_id": ["card", "loan", "loan"],
            "opened_on": ["2024-02-01", "2024-07-01", "2024-07-01"],
            "closed_on": ["2025-05-10", None, None],
            "closed_reason": ["price", None, None],
            "amount_minor": [None, 100, 200],
            "recorded_at": ["2024-02-01", "2024-07-02", "2025-03-01"],
            "superseded_at": [None, "2025-03-01", None],
        }
    )
    return made(tmp_path, {"customers": customers, "holdings": holdings.assign(channel="branch")})


def test_a_holding_closed_in_may_is_still_open_in_april(wh: snapshot.Warehouse) -> None:
    period = wh.period
    assert period == (dt.date(2024, 2, 1), dt.date(2024, 7, 1))
    found = snapshot.Snapshot(wh, dt.date(2025, 4, 30)).table("holdings").set_index("holding_id")
    assert found.loc["h1", ["closed_on", "closed_reason"]].isna().all()
    found = snapshot.Snapshot(wh, dt.date(2025, 5, 10)).table("holdings").set_index("holding_id")
    assert found.loc["h1", "closed_reason"] == "price"


def test_a_corrected_row_is_what_it_was_until_the_correction(wh: snapshot.Warehouse) -> None:
    amounts = {}
    for day in ("2025-02-28", "2025-03-01"):
        found = snapshot.Snapshot(wh, dt.date.fromisoformat(day)).table("holdings", ["holding_id", "amount_minor"])
        assert list(found.columns) == ["holding_id", "amount_minor"]
        amounts[day] = found.set_index("holding_id")["amount_minor"]["h2"]
    assert amounts == {"2025-02-28": 100, "2025-03-01": 200}


def test_a_dated_table_shows_the_last_row_of_each_entity_and_its_history_all(wh: snapshot.Warehouse) -> None:
    now = snapshot.Snapshot(wh, DAY)
    assert now.table("customers").set_index("customer_id")["region"].to_dict() == {"ann": "south", "bob": "east"}
    assert sorted(now.history("customers")["region"]) == ["east", "north", "south"]
    # recorded on the 3rd what holds from the 1st: on the 2nd nobody knew
    earlier = snapshot.Snapshot(wh, dt.date(2025, 2, 2)).table("customers").set_index("customer_id")["region"]
    assert earlier["ann"] == "north"


def test_the_current_table_is_every_row_not_superseded_without_system_columns(wh: snapshot.Warehouse) -> None:
    found = wh.table("holdings")
    assert sorted(found["holding_id"]) == ["h1", "h2"]
    assert not set(found.columns) & set(schema.SYSTEM_COLUMNS)


def test_the_input_frames_stay_as_they_were(tmp_path: Path) -> None:
    given_frame = pd.DataFrame(
        {"holding_id": ["h"], "customer_id": ["c"], "product_id": ["p"], "opened_on": ["2025-01-01"]}
    )
    copy = given_frame.copy(deep=True)
    made(tmp_path, {"holdings": given_frame}).snapshot("2025-01-01").table("holdings")
    pd.testing.assert_frame_equal(given_frame, copy)


@pytest.mark.parametrize("as_of", ["2024-01-31", "2024-07-02", "1999-12-31", dt.date(2030, 1, 1)])
def test_as_of_outside_the_records_is_refused_with_their_range(wh: snapshot.Warehouse, as_of: str | dt.date) -> None:
    with pytest.raises(DataError, match="outside the records of version 1, which run from 2024-02-01 to 2024-07-01"):
        wh.snapshot(as_of)


@pytest.mark.parametrize("as_of", ["31.03.2025", "2025-02-30", "", "yesterday"])
def test_an_impossible_date_is_refused(wh: snapshot.Warehouse, as_of: str) -> None:
    with pytest.raises(DataError, match="which is not a date; write it as YYYY-MM-DD"):
        wh.snapshot(as_of)


@pytest.mark.parametrize("as_of", ["0001-01-15", "1799-12-31", dt.date(2200, 1, 2), "9999-12-31"])
def test_a_day_no_company_lives_on_is_refused(wh: snapshot.Warehouse, as_of: str | dt.date) -> None:
    with pytest.raises(DataError, match=f"as_of is {as_of}; give a day between 1800-01-01 and 2200-01-01"):
        wh.snapshot(as_of)


def test_dates_are_taken_as_text_date_or_timestamp(wh: snapshot.Warehouse) -> None:
    for as_of in ("2024-03-01", dt.date(2024, 3, 1), dt.datetime(2024, 3, 1, 12), pd.Timestamp("2024-03-01")):
        assert wh.snapshot(as_of).as_of == dt.date(2024, 3, 1)
        assert type(wh.snapshot(as_of).as_of) is dt.date


def test_a_warehouse_without_events_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no events; load some data first"):
        made(tmp_path, {}).snapshot("2025-01-01")


def test_unknown_tables_and_columns_are_refused_with_those_there_are(wh: snapshot.Warehouse) -> None:
    now = wh.snapshot("2024-07-01")
    with pytest.raises(NotFoundError, match="there is no table clients; there are customers, relatives"):
        now.table("clients")
    with pytest.raises(NotFoundError, match="table holdings has no column price; it has holding_id"):
        now.table("holdings", ["holding_id", "price"])


def test_types_are_those_of_the_schema(wh: snapshot.Warehouse) -> None:
    types = snapshot.Snapshot(wh, dt.date(2025, 5, 10)).table("holdings").dtypes.astype(str)
    assert types["holding_id"] == "str"
    assert types["opened_on"] == "datetime64[us]"
    assert types["closed_on"] == "datetime64[us]"
    assert types["amount_minor"] == "Int64"


@pytest.mark.parametrize("content", [b"", b"x" * 10_000])
def test_a_file_that_is_no_version_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.duckdb").write_bytes(content)
    with pytest.raises(EnvironmentFault, match=r"v\.duckdb: not a complete warehouse version .*crm versions"):
        snapshot.open_file(tmp_path / "v.duckdb")
    with pytest.raises(NotFoundError, match="no such warehouse version"):
        snapshot.open_file(tmp_path / "w.duckdb")


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    import duckdb

    made(tmp_path, {}).database.close()
    with duckdb.connect(str(tmp_path / "v.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format_version'")
    with pytest.raises(EnvironmentFault, match="format 99, this release reads format 3"):
        snapshot.open_file(tmp_path / "v.duckdb")
