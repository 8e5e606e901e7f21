"""Features as of many dates from one scan are those of as many builds, whatever was recorded late or corrected."""

from __future__ import annotations

import datetime as dt
import inspect
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from features_random import frames, specifications, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmlib import features
from crmlib.errors import DataError, EnvironmentFault, UsageError
from crmlib.features import kernel, reading
from crmlib.warehouse import build, schema, snapshot

QUICK = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a file: shrinking would take minutes
)
MONTHS = [dt.date(2024, month, 1) - dt.timedelta(days=1) for month in range(8, 13)]
DATES = st.lists(st.dates(dt.date(2024, 3, 1), dt.date(2025, 5, 31)), min_size=1, max_size=4, unique=True)
ADDED = features.Specification(
    tuple(
        features.Declaration(**{**vars(one), "strict": False})
        for one in (
            features.windowed("transactions", "amount_minor", by="category", months=(1, 6, None)),
            features.windowed("transactions", "amount_minor", where={"channel": ["mobile", None]}, months=(3,)),
            features.share("transactions", "amount_minor", by="channel", months=(12,)),
            features.trend("transactions", by="category"),
            features.windowed("contacts", by="channel", months=(3,)),
        )
    )
)
"""What the scan alone computes."""


def opened(made: dict[str, Any], folder: str) -> snapshot.Warehouse:
    path = Path(folder) / "v000001.duckdb"
    build.from_frames(path, frames(made))
    return snapshot.open_file(path)


def one_by_one(warehouse: snapshot.Warehouse, dates: list[dt.date], spec: features.Specification) -> pd.DataFrame:
    fixed = features.resolve(spec, warehouse.snapshot(max(dates)))
    return pd.concat([features.build(warehouse.snapshot(date), fixed) for date in sorted(dates)], ignore_index=True)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@given(seed=st.integers(0, 10**6), spec=specifications(), dates=DATES)
@QUICK
def test_a_panel_is_as_many_builds(seed: int, spec: features.Specification, dates: list[dt.date]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = opened(tables(seed), folder)
        same(features.panel(warehouse, dates, spec), one_by_one(warehouse, dates, spec))


@given(seed=st.integers(0, 10**6), dates=DATES)
@QUICK
def test_counts_and_sums_know_at_each_date_what_was_known_then(seed: int, dates: list[dt.date]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = opened(tables(seed, rows=60), folder)
        for some in (dates, MONTHS):
            same(features.panel(warehouse, some, ADDED), one_by_one(warehouse, some, ADDED))


def corrected() -> dict[str, list[dict[str, Any]]]:
    """One customer: a row recorded two months late, one corrected after a month, and one taken back at once."""

    def row(number: str, happened: str, recorded: str, superseded: str | None, amount: int) -> dict[str, Any]:
        moments = {"occurred_at": happened, "recorded_at": recorded, "superseded_at": superseded}
        return {
            "transaction_id": number,
            "customer_id": "a",
            "amount_minor": amount,
            "category": "cash",
            **{name: None if text is None else dt.datetime.fromisoformat(text) for name, text in moments.items()},
        }

    return {
        "customers": [
            {
                "customer_id": "a",
                "valid_from": dt.datetime(2024, 1, 1),
                "recorded_at": dt.datetime(2024, 1, 1),
                "superseded_at": None,
            }
        ],
        "transactions": [
            row("late", "2024-08-10", "2024-10-05", None, 1),
            row("wrong", "2024-08-11", "2024-08-11", "2024-09-30T12:00", 10),
            row("wrong", "2024-08-11", "2024-09-30T12:00", None, 100),
            row("gone", "2024-08-12", "2024-08-12", "2024-08-12T01:00", 1000),
            row("midnight", "2024-08-31T23:59:59", "2024-09-01", "2024-10-01", 10_000),
            row("plain", "2024-10-31", "2024-10-31", None, 100_000),
        ],
    }


def test_late_and_corrected_rows_by_hand(tmp_path: Path) -> None:
    warehouse = opened(corrected(), str(tmp_path))
    dates = [dt.date(2024, month, 1) - dt.timedelta(days=1) for month in (9, 10, 11)]
    spec = [features.windowed("transactions", "amount_minor", by="category", levels=["cash"], months=(None, 1))]
    found = features.panel(warehouse, dates, spec)
    assert found["as_of"].dt.date.tolist() == dates
    # As of August 31 the first value of the corrected row; of September 30 the second (corrected at noon that day) and
    # the row recorded on September 1, replaced at midnight after that date; of October 31 the late row and the plain one.
    assert found["transactions_sum_cash"].tolist() == [10, 10_100, 100_101]
    assert found["transactions_count_cash"].tolist() == [1, 2, 3]
    assert found["transactions_sum_cash_1m"].tolist() == [10, 0, 100_000]
    same(found, one_by_one(warehouse, dates, features.Specification(tuple(spec))))


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_in_small_batches_and_portions_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    """Blocks over several batches, several portions, and blocks of different sizes one after the other."""
    made = tables(3, customers=400, rows=9_000)
    warehouse = opened(made, str(tmp_path))
    if mixed:
        file = tmp_path / "mixed.duckdb"
        file.write_bytes((tmp_path / "v000001.duckdb").read_bytes())
        with duckdb.connect(str(file)) as connection:
            connection.execute("CREATE TABLE t AS FROM transactions ORDER BY customer_key % 7, occurred_at")
            connection.execute("DROP TABLE transactions")
            connection.execute("ALTER TABLE t RENAME TO transactions")
        warehouse = snapshot.open_file(file)
    known = warehouse.snapshot(MONTHS[-1])
    spec = features.resolve(features.DEFAULT, known)
    whole = features.build(known, spec), features.panel(warehouse, MONTHS[-2:], spec)
    for name, value in (("BATCH", 2_048), ("PORTION", 50)):
        monkeypatch.setattr(reading, name, value)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    monkeypatch.setattr(inspect.getmodule(features.panel), "BLOCK", 13)
    same(features.build(known, spec), whole[0])
    same(features.panel(warehouse, MONTHS[-2:], spec), whole[1])


def test_a_damaged_file_is_said_to_be_damaged_wherever_the_damage_is_met(tmp_path: Path) -> None:
    """At the start of a scan the database says so; in its midst, the stream of rows does."""
    opened(tables(3, customers=500, rows=40_000), str(tmp_path))
    sound = (tmp_path / "v000001.duckdb").read_bytes()
    refused = 0
    for place in range(1, 16):
        raw = bytearray(sound)
        at = len(raw) * place // 16
        raw[at : at + 200] = bytes(byte ^ 0xFF for byte in raw[at : at + 200])
        (tmp_path / "damaged.duckdb").write_bytes(raw)
        try:
            warehouse = snapshot.open_file(tmp_path / "damaged.duckdb")
        except EnvironmentFault:
            continue
        for attempt in (
            lambda w: features.build(w.snapshot(MONTHS[-1]), ADDED),
            lambda w: features.panel(w, MONTHS[-2:], ADDED),
        ):
            try:
                attempt(warehouse)
            except EnvironmentFault as error:
                refused += 1
                assert "damaged (" in str(error)
    assert refused >= 4


def test_parts_of_no_customers_are_refused(tmp_path: Path) -> None:
    warehouse = opened(tables(11, customers=2, rows=3), str(tmp_path))
    with pytest.raises(UsageError, match="customers_each is 0; give a number above zero"):
        next(features.panel_parts(warehouse, MONTHS, customers_each=0))


def test_parts_together_are_the_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = opened(tables(11, customers=9, rows=60), str(tmp_path))
    whole = features.panel(warehouse, MONTHS)
    monkeypatch.setattr(inspect.getmodule(features.panel), "BLOCK", 2)
    parts = list(features.panel_parts(warehouse, MONTHS, customers_each=4))
    assert len(parts) == 3
    order = ["as_of", "customer_id"]
    same(pd.concat(parts).sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True))


def test_rows_in_another_order_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = opened(tables(12, rows=60), str(tmp_path))
    mixed = tmp_path / "mixed.duckdb"
    mixed.write_bytes(warehouse.path.read_bytes())
    with duckdb.connect(str(mixed)) as connection:
        for name in schema.tables():
            connection.execute(f'CREATE TABLE mixed AS SELECT * FROM "{name}" t ORDER BY hash(t::VARCHAR)')
            connection.execute(f'DROP TABLE "{name}"')
            connection.execute(f'ALTER TABLE mixed RENAME TO "{name}"')
    monkeypatch.setattr(inspect.getmodule(features.panel), "BLOCK", 2)
    same(features.panel(snapshot.open_file(mixed), MONTHS, ADDED), features.panel(warehouse, MONTHS, ADDED))


def test_dates_are_asked_for(tmp_path: Path) -> None:
    warehouse = opened(tables(1), str(tmp_path))
    with pytest.raises(UsageError, match="panel: dates is empty; give at least one date"):
        features.panel(warehouse, [])
    with pytest.raises(DataError, match="as_of 1999-01-01 is outside the records"):
        features.panel(warehouse, ["1999-01-01"])
