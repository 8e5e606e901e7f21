"""Features computed by a database: by a role that may only read, streamed into a file, refused in one sentence."""

from __future__ import annotations

import datetime as dt
import io
import socket
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from features_random import AS_OF, fill, specifications, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_features_agree import same, taken

from crmlib import cli, features
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.features import pushdown, pushdown_database, pushdown_rows
from crmlib.warehouse import schema, snapshot

SMALL = features.Specification(
    (
        features.attribute("region"),
        features.windowed("transactions", "amount_minor", by="category", months=(3, 12)),
        features.share("transactions", by="channel"),
        features.variance("transactions", "amount_minor"),
        features.balance("average", by="product_group"),
    )
)


def agrees(file: Path, local: pd.DataFrame) -> None:
    """The file holds what the kernel computes: whole numbers and texts equal, ratios within a relative 1e-9."""
    found = pd.read_parquet(file)
    assert list(found) == list(local)
    for name in local:
        if isinstance(local[name].dtype, pd.CategoricalDtype):
            found[name] = pd.Categorical(found[name], categories=local[name].cat.categories)
    same(local, found)


def crm(*arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and all it said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = cli.main(list(arguments))
    return code, said.getvalue()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Snapshot:
    return taken(tables(1, customers=20, rows=60), AS_OF, str(tmp_path_factory.mktemp("known")))


def impersonal(table: str) -> list[str]:
    """The columns of a table that a careful bank lets a model see: all but names, addresses and the like."""
    return [column.name for column in schema.tables()[table].columns if column.info.get("sensitivity") != "contact"]


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sa.Engine, str]]:
    """A server with the canonical tables: the owner's engine, and the address of a role that may only select, no names."""
    from postgres import server

    with server() as url:
        owner = sa.create_engine(url, poolclass=sa.NullPool)
        with owner.begin() as connection:
            schema.metadata.create_all(connection)
            for statement in (
                "CREATE ROLE analyst LOGIN",
                "ALTER ROLE analyst SET default_transaction_read_only = on",
                "ALTER ROLE analyst SET timezone = 'America/New_York'",
                "REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC",
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
                *[f"GRANT SELECT ({', '.join(impersonal(table))}) ON {table} TO analyst" for table in schema.tables()],
            ):
                connection.execute(sa.text(statement))
        yield owner, url.replace("postgresql+psycopg://crm@", "postgresql://analyst@")


@pytest.mark.postgres
def test_the_role_of_these_tests_writes_nothing(reading: tuple[sa.Engine, str]) -> None:
    with pushdown.opened(reading[1]) as engine:
        assert isinstance(engine, pushdown_database.Database)
        assert engine.rows(sa.text("SHOW transaction_read_only")) == [("on",)]
        for statement in ("CREATE TEMP TABLE t (a int)", "DELETE FROM surveys"):
            with pytest.raises(DataError, match="read-only transaction"):
                engine.rows(sa.text(statement))
            engine.connection.rollback()
        with pytest.raises(EnvironmentFault, match="no right to read"):
            engine.rows(sa.text("SELECT email FROM customers"))


@pytest.mark.postgres
@given(seed=st.integers(0, 10**6), spec=specifications(), as_of=st.sampled_from([AS_OF, dt.date(2024, 2, 29)]))
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_postgresql_agrees_with_the_kernel(
    reading: tuple[sa.Engine, str], tmp_path: Path, seed: int, spec: features.Specification, as_of: dt.date
) -> None:
    made = tables(seed)
    with reading[0].begin() as connection:
        fill(connection, made)
    with pushdown.opened(reading[1]) as engine:
        written = pushdown.write(engine, as_of, spec, to=tmp_path / "features.parquet")
    (tmp_path / "v").mkdir(exist_ok=True)
    (tmp_path / "v" / "v000001.duckdb").unlink(missing_ok=True)
    agrees(written.file, features.build(taken(made, as_of, str(tmp_path / "v")), spec))


@pytest.mark.postgres
def test_postgresql_streams_the_standard_specification(
    reading: tuple[sa.Engine, str], known: snapshot.Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushdown_database, "ROWS", 3)
    monkeypatch.setattr(pushdown, "ROW_GROUP", 7)
    with reading[0].begin() as connection:
        fill(connection, tables(1, customers=20, rows=60))
    sizes, cursors = [], []
    with pushdown.opened(reading[1]) as engine:
        assert isinstance(engine, pushdown_database.Database)
        inner = engine.batches

        def watched(select: Any, shape: pa.Schema) -> Iterator[pa.RecordBatch]:
            for part in inner(select, shape):
                sizes.append(part.num_rows)
                cursors.append(engine.rows(sa.text("SELECT statement FROM pg_cursors")))
                yield part

        class Watched:
            name, columns, probe, rows = engine.name, engine.columns, engine.probe, engine.rows
            batches = staticmethod(watched)

        written = pushdown.write(Watched(), AS_OF, to=tmp_path / "features.parquet")
    local = features.build(known)
    agrees(written.file, local)
    assert max(sizes) == 3 and sum(sizes) == len(local) == written.customers
    assert len(cursors[0]) == 1  # the rows wait at the server
    assert 'COLLATE "C"' in cursors[0][0][0]  # in the order of the kernel, whatever the server's language is
    held = pq.ParquetFile(written.file)
    assert [held.metadata.row_group(i).num_rows for i in range(held.num_row_groups)] == [7, 7, len(local) - 14]


@pytest.mark.postgres
def test_times_with_a_zone_are_those_of_utc(
    reading: tuple[sa.Engine, str], known: snapshot.Snapshot, tmp_path: Path
) -> None:
    owner, address = reading
    spec = [features.recency("transactions"), features.windowed("transactions", "amount_minor"), *SMALL]
    with owner.begin() as connection:
        fill(connection, tables(1, customers=20, rows=60))
        for column in ("occurred_at", "recorded_at", "superseded_at"):
            retyped = f"ALTER COLUMN {column} TYPE timestamptz USING {column} AT TIME ZONE 'UTC'"
            connection.execute(sa.text(f"ALTER TABLE transactions {retyped}"))
    try:
        with pushdown.opened(address) as engine:
            written = pushdown.write(engine, AS_OF, spec, to=tmp_path / "features.parquet")
    finally:
        with owner.begin() as connection:
            for column in ("occurred_at", "recorded_at", "superseded_at"):
                retyped = f"ALTER COLUMN {column} TYPE timestamp USING {column} AT TIME ZONE 'UTC'"
                connection.execute(sa.text(f"ALTER TABLE transactions {retyped}"))
    agrees(written.file, features.build(known, spec))


@pytest.mark.postgres
def test_what_postgresql_refuses_is_one_sentence(reading: tuple[sa.Engine, str], tmp_path: Path) -> None:
    owner, address = reading
    to = tmp_path / "features.parquet"
    surveys, listed = [features.recency("surveys")], ", ".join(impersonal("surveys"))

    def refused(error: type[Exception], words: str, *statements: str) -> None:
        with owner.connect() as connection, pytest.raises(error, match=words) as caught:
            for statement in statements:
                connection.execute(sa.text(statement))
            connection.commit()
            with pushdown.opened(address) as engine:
                pushdown.write(engine, AS_OF, surveys, to=to)
        assert "\n" not in str(caught.value)
        assert not to.exists() and not list(tmp_path.iterdir())

    refused(
        EnvironmentFault,
        "no right to read table surveys .*have SELECT granted",
        "REVOKE SELECT ON surveys FROM analyst",
    )
    refused(
        NotFoundError,
        "table surveys has no column score; did you mean 'scores'",
        f"GRANT SELECT ({listed}) ON surveys TO analyst",
        "ALTER TABLE surveys RENAME COLUMN score TO scores",
    )
    refused(NotFoundError, "there is no table surveys; the features need it", "ALTER TABLE surveys RENAME TO polls")
    with owner.begin() as connection:
        for statement in ("ALTER TABLE polls RENAME TO surveys", "ALTER TABLE surveys RENAME COLUMN scores TO score"):
            connection.execute(sa.text(statement))
    with (
        pytest.raises(EnvironmentFault, match=r"refused the login|no connection"),
        pushdown.opened(address.replace("analyst@", "nobody:secret-word@")),
    ):
        pass


@pytest.mark.postgres
def test_a_dropped_connection_leaves_the_earlier_file(
    reading: tuple[sa.Engine, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushdown_database, "ROWS", 2)
    monkeypatch.setattr(pushdown, "ROW_GROUP", 2)
    owner, address = reading
    with owner.begin() as connection:
        fill(connection, tables(1, customers=20, rows=60))
    to = tmp_path / "features.parquet"
    to.write_bytes(b"the earlier file")
    original = pushdown._dated
    done: list[int] = []

    def dated(*given: Any) -> pa.Table:
        done.append(1)
        if len(done) == 2:
            with owner.begin() as connection:
                connection.execute(
                    sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'analyst'")
                )
        return original(*given)

    monkeypatch.setattr(pushdown, "_dated", dated)
    with pytest.raises((EnvironmentFault, DataError), match=r"terminat|connection"), pushdown.opened(address) as engine:
        pushdown.write(engine, AS_OF, SMALL, to=to)
    assert len(done) >= 2
    assert to.read_bytes() == b"the earlier file"
    assert [file.name for file in tmp_path.iterdir()] == ["features.parquet"]


def test_the_command_computes_here_and_in_files_alike(
    known: snapshot.Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = features.build(known, SMALL)
    (tmp_path / "spec.json").write_text(features.to_json(SMALL), encoding="utf-8")
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(known.warehouse.path.read_bytes())
    light = tmp_path / "light.sqlite"
    engine = sa.create_engine(f"sqlite:///{light}")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        fill(connection, tables(1, customers=20, rows=60))
    engine.dispose()
    for url in (f"duckdb:///{copy}", f"sqlite:///{light}"):
        before = Path(url.partition(":///")[2]).read_bytes()
        code, said = crm("features", "--engine", url, "--as-of", str(AS_OF), "--spec", "spec.json", "--to", "f.parquet")
        assert (code, said) == (0, said), said
        assert f"{len(local)} customers × {local.shape[1] - 2} features in f.parquet" in said
        agrees(tmp_path / "f.parquet", local)
        assert Path(url.partition(":///")[2]).read_bytes() == before
    assert not (tmp_path / "data").exists()  # asking another engine makes no data folder
    here = pushdown.write_local(known, SMALL, to=tmp_path / "here.parquet")
    agrees(here.file, local)
    assert pq.read_schema(here.file).equals(pq.read_schema(tmp_path / "f.parquet"))


def test_an_earlier_file_gives_the_same_columns_on_another_day(known: snapshot.Snapshot, tmp_path: Path) -> None:
    first = pushdown.write_local(known, SMALL, to=tmp_path / "first.parquet")
    kept = pushdown.specification(first.file)
    assert kept == first.specification == features.resolve(SMALL, known)
    early = snapshot.Snapshot(known.warehouse, dt.date(2024, 3, 31))
    with pushdown.opened(f"duckdb:///{copied(known, tmp_path)}") as engine:
        second = pushdown.write(engine, early.as_of, kept, to=tmp_path / "second.parquet")
    assert pq.read_schema(second.file).names == pq.read_schema(first.file).names
    agrees(second.file, features.build(early, kept))


def copied(known: snapshot.Snapshot, folder: Path) -> Path:
    copy = folder / "copy.duckdb"  # DuckDB opens one file with one configuration a process
    copy.write_bytes(known.warehouse.path.read_bytes())
    return copy


def test_a_password_is_never_shown_nor_logged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for url in (
            f"postgresql://analyst:hush-hush-7@127.0.0.1:{port}/bank",
            f"postgresql+psycopg://127.0.0.1:{port}/bank?user=analyst&password=hush-hush-7",
            f"postgresql://analyst:hush-hush-7@127.0.0.1:{port}port/bank",
        ):
            code, said = crm(
                "--data", str(data), "features", "--engine", url, "--as-of", str(AS_OF), "--to", f"{tmp_path}/f.parquet"
            )
            assert code in (2, 6), said
            assert "hush" not in said
            assert said.count("\n") == 1, said
    logged = (data / "logs" / "crm.log").read_text(encoding="utf-8")
    assert "no connection" in logged
    assert "hush" not in logged


@pytest.mark.parametrize(
    ("engine", "error", "words"),
    [
        ("mysql://host/bank", UsageError, "there is no engine 'mysql'; there are postgresql, duckdb, sqlite and spark"),
        ("bank.duckdb", UsageError, "is no URL; write postgresql://user@host/name"),
        ("crm:hush@host/db", UsageError, "^the address of the engine is no URL"),
        ("duckdb://", UsageError, "names no file; write duckdb:///FILE"),
        ("sqlite:////nowhere/bank.db", NotFoundError, "/nowhere/bank.db: there is no such database file"),
        ("spark://master", UsageError, "is no address of a Spark master; write spark://HOST:PORT"),
    ],
)
def test_addresses_that_are_refused(engine: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words), pushdown.opened(engine):
        pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "features.csv"], "--to is features.csv; the features are written as Parquet"),
        (["--to", "f.parquet", "--tables", "x"], "--tables is for Spark"),
        (["--to", "f.parquet", "--engine", "sqlite:///x", "--tables", "x"], "tables are named for Spark only"),
        (["--to", "f.parquet", "--spec", "none.json"], "none.json: there is no such file"),
    ],
)
def test_arguments_that_are_refused(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = crm("features", "--as-of", str(AS_OF), *arguments)
    assert code in (2, 4)
    assert words in said


def test_files_without_a_specification_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    for name, words in (
        ("other.parquet", "holds no specification"),
        ("broken.parquet", "not a readable Parquet file"),
        ("bytes.json", "no text in UTF-8"),
    ):
        with pytest.raises(UsageError, match=words):
            pushdown.specification(tmp_path / name)


def test_a_day_without_customers_is_refused(known: snapshot.Snapshot, tmp_path: Path) -> None:
    with (
        pushdown.opened(f"duckdb:///{copied(known, tmp_path)}") as engine,
        pytest.raises(DataError, match="no customer"),
    ):
        pushdown.write(engine, "2001-01-01", SMALL, to=tmp_path / "f.parquet")
    assert not (tmp_path / "f.parquet").exists()


def test_values_of_another_type_are_refused() -> None:
    shape = pa.schema([("customer_id", pa.string()), ("transactions_count_3m", pa.int32())])
    with pytest.raises(DataError, match=r"feature transactions_count_3m: the engine returned what is no int32"):
        pushdown_rows.batch([("a", "many")], shape)
    with pytest.raises(DataError, match=r"no int32"):
        pushdown_rows.batch([("a", 2**40)], shape)
