"""Features computed by a Spark cluster of a master and two workers on loopback: equal to the kernel's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from features_random import AS_OF, tables
from made_clusters import free_port, spark_cluster
from test_features_agree import taken
from test_pushdown import agrees, copied, crm

from crmlib import features
from crmlib.errors import EnvironmentFault, NotFoundError, UsageError
from crmlib.features import pushdown, pushdown_spark
from crmlib.warehouse import schema, snapshot

pytestmark = pytest.mark.spark

EVERY_KIND = features.Specification(
    (
        features.attribute("region"),
        features.attribute("children"),
        features.since("birth_date", years=True),
        features.household_size(),
        features.windowed("transactions", "amount_minor", by="category", months=(3, None)),
        features.share("transactions", "amount_minor", by="product_group"),
        features.trend("transactions", "amount_minor", by="channel"),
        features.variance("transactions", "amount_minor"),
        features.recency("transactions", months=12),
        features.upcoming("holdings", "matures_on", months=(3,), where={"closed_on": None}),
        features.held(by="product_id"),
        features.balance("average", by="product_group"),
        features.last_value("surveys", "score", where={"question": "nps"}),
        features.ratio("transactions_recency_days", "customer_birth_date_years", name="restlessness"),
    )
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Snapshot:
    return taken(tables(4, customers=15, rows=40), AS_OF, str(tmp_path_factory.mktemp("known")))


@pytest.fixture(scope="module")
def folder(known: snapshot.Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The canonical tables as Parquet files."""
    found = tmp_path_factory.mktemp("tables")
    with duckdb.connect(str(copied(known, tmp_path_factory.mktemp("copy")))) as connection:
        for name in schema.tables():
            connection.execute(f"COPY \"{name}\" TO '{found / name}.parquet' (FORMAT parquet)")
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with spark_cluster() as found:
        yield found


def test_the_text_for_spark_counts_days_as_a_number() -> None:
    pytest.importorskip("sqlglot")
    from crmlib.features import plan, sql

    said = pushdown_spark.text(sql.statement(plan.expand([features.since("birth_date")]), AS_OF))
    assert "DATEDIFF(DAY, CAST('1970-01-01' AS DATE), CAST(known_customers.birth_date AS DATE))" in said


def test_two_workers_compute_what_the_kernel_does(
    address: str, known: snapshot.Snapshot, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushdown_spark, "ROWS", 4)
    spec = features.DEFAULT if os.environ.get("CRM_LONG") else EVERY_KIND
    to = tmp_path / "features.parquet"
    with pushdown.opened(address, tables=str(folder)) as engine:
        assert isinstance(engine, pushdown_spark.Spark)
        written = pushdown.write(engine, AS_OF, spec, to=to)
        local = features.build(known, spec)
        agrees(written.file, local)
        assert written.customers == len(local) > pushdown_spark.ROWS
        # What Spark refuses, by the same session, for one takes half a minute to start on a busy machine.
        to.unlink()
        hidden = folder / "surveys.parquet"
        hidden.rename(folder / "away")
        engine._seen.clear()
        with pytest.raises(NotFoundError, match=r"there is no table surveys; the features need it"):
            pushdown.write(engine, AS_OF, spec, to=to)
        with duckdb.connect() as connection:
            rows = f"SELECT * EXCLUDE (score) FROM read_parquet('{folder / 'away'}')"
            connection.execute(f"COPY ({rows}) TO '{hidden}' (FORMAT parquet)")
        engine._seen.clear()
        with pytest.raises(NotFoundError, match=r"table surveys has no column score"):
            pushdown.write(engine, AS_OF, spec, to=to)
        (folder / "away").rename(hidden)
    assert not list(tmp_path.iterdir())


def test_what_no_cluster_can_do_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    port = free_port()
    code, said = crm(
        *("features", "--engine", f"spark://127.0.0.1:{port}", "--as-of", str(AS_OF)),
        *("--tables", str(tmp_path), "--to", str(tmp_path / "f.parquet")),
    )
    assert code == EnvironmentFault.exit_code
    assert f"spark://127.0.0.1:{port}: no connection" in said and said.count("\n") == 1
    with pytest.raises(NotFoundError, match="there is no such folder of Parquet files"):
        pushdown.opened("spark://127.0.0.1:7077", tables="no/folder").__enter__()
    with pytest.raises(UsageError, match="is no address of a Spark master"):
        pushdown.opened("spark://").__enter__()


def test_a_cluster_without_workers_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushdown_spark, "PATIENCE_SECONDS", 3.0)
    with (
        spark_cluster(workers=0) as idle,
        pytest.raises(EnvironmentFault, match=r"no worker took a task within 3 seconds"),
        pushdown.opened(idle, tables=str(folder)),
    ):
        pass
