"""The kernel, the SQL on three engines and a plain Python reference agree on random tables and specifications."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from features_random import AS_OF, Reference, fill, frames, specifications, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmlib import features
from crmlib.features.plan import expand
from crmlib.warehouse import build, schema, snapshot

QUICK = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a file: shrinking would take minutes
)
DATES = st.sampled_from([AS_OF, dt.date(2024, 2, 29), dt.date(2025, 2, 27), dt.date(2024, 12, 31)])


def taken(made: dict[str, Any], as_of: dt.date, folder: str) -> snapshot.Snapshot:
    path = Path(folder) / "v000001.duckdb"
    build.from_frames(path, frames(made))
    return snapshot.Snapshot(snapshot.open_file(path), as_of)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Whole numbers, categories and gaps are equal; doubles within a relative 1e-9, with nothing added to it."""
    pd.testing.assert_frame_equal(left, right, check_exact=None, rtol=1e-9, atol=0)
    for name in left:
        if left[name].dtype.kind == "i":
            assert (left[name].to_numpy() == right[name].to_numpy()).all(), name


@given(seed=st.integers(0, 10**6), spec=specifications(), as_of=DATES)
@QUICK
def test_kernel_and_sql_on_duckdb_agree(seed: int, spec: features.Specification, as_of: dt.date) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = taken(tables(seed), as_of, folder)
        same(features.build(known, spec), features.build(known, spec, engine="sql"))


@given(seed=st.integers(0, 10**6), spec=specifications(), as_of=DATES)
@QUICK
def test_kernel_and_sqlite_agree(seed: int, spec: features.Specification, as_of: dt.date) -> None:
    made = tables(seed)
    engine = sa.create_engine("sqlite://")
    with tempfile.TemporaryDirectory() as folder, engine.begin() as connection:
        schema.metadata.create_all(connection)
        fill(connection, made)
        same(features.build(taken(made, as_of, folder), spec), features.build_sql(connection, as_of, spec))


@pytest.fixture(scope="module")
def postgres_engine() -> Iterator[sa.Engine]:
    from postgres import server

    with server() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            schema.metadata.create_all(connection)
        yield engine
        engine.dispose()


@pytest.mark.postgres
@given(seed=st.integers(0, 10**6), spec=specifications(), as_of=DATES)
@QUICK
def test_kernel_and_postgresql_agree(
    postgres_engine: sa.Engine, seed: int, spec: features.Specification, as_of: dt.date
) -> None:
    made = tables(seed)
    with tempfile.TemporaryDirectory() as folder, postgres_engine.begin() as connection:
        fill(connection, made)
        same(features.build(taken(made, as_of, folder), spec), features.build_sql(connection, as_of, spec))


@given(seed=st.integers(0, 10**6), spec=specifications(), as_of=DATES)
@QUICK
def test_kernel_agrees_with_a_plain_reference(seed: int, spec: features.Specification, as_of: dt.date) -> None:
    made = tables(seed)
    reference = Reference(made, as_of)
    with tempfile.TemporaryDirectory() as folder:
        known = taken(made, as_of, folder)
        fixed = features.resolve(spec, known)
        found = features.build(known, fixed).set_index("customer_id")
    assert found.index.tolist() == list(reference.customers())
    for one in fixed:
        if one.kind in ("attribute", "since", "household", "ratio"):
            continue
        names = [feature.name for feature in expand([one])]
        for customer in found.index:
            levels = one.levels if one.by else (None,)
            expected = [value for level in levels or () for value in reference.values(one, customer, level)]
            values = found.loc[customer, names].to_numpy(dtype=float)
            wanted = np.array(expected, dtype=float)
            np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=0, err_msg=f"{one} {customer}")


@given(seed=st.integers(0, 10**6), as_of=DATES)
@QUICK
def test_the_customer_s_own_row_agrees_with_a_plain_reference(seed: int, as_of: dt.date) -> None:
    made = tables(seed)
    rows = Reference(made, as_of).customers()
    spec = features.Specification(
        (
            features.attribute("gender"),
            features.attribute("children"),
            features.since("birth_date", years=True, name="age"),
            features.since("customer_since", name="tenure"),
            features.household_size(),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        found = features.build(taken(made, as_of, folder), spec)
    assert found["customer_id"].tolist() == list(rows)
    for given_row, row in zip(found.to_dict("records"), rows.values(), strict=True):
        together = [r for r in rows.values() if r["household_id"] == row["household_id"]]
        assert given_row["customer_household_size"] == (len(together) if row["household_id"] else 1)
        for name, value in (("customer_gender", row["gender"]), ("customer_children", row["children"])):
            assert given_row[name] == value or (pd.isna(given_row[name]) and value is None)
        for name, date, per in (("age", row["birth_date"], 365.25), ("tenure", row["customer_since"], 1)):
            expected = np.nan if date is None else (as_of - date.date()).days / per
            np.testing.assert_allclose(given_row[name], expected, rtol=1e-12)


def test_the_default_specification_agrees_on_duckdb_sqlite_and_the_kernel(tmp_path: Path) -> None:
    made = tables(1, customers=20, rows=80)
    known = taken(made, AS_OF, str(tmp_path))
    local = features.build(known)
    same(local, features.build(known, engine="sql"))
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        fill(connection, made)
        same(local, features.build_sql(connection, AS_OF))
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(known.warehouse.path.read_bytes())
    same(local, features.build_sql(sa.create_engine(f"duckdb:///{copy}"), AS_OF.isoformat()))
