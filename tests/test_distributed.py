"""Boosters trained by two workers: as good as one machine's, kept and scored like them, refused in one sentence."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from made_clusters import dask_cluster, free_port
from sklearn.metrics import roc_auc_score

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.models import boost, distributed, learner, propensity, registry
from crmlib.models.boost import Target

pytestmark = pytest.mark.dask

PRODUCTS = ["card", "deposit", "loan"]
AS_OF = dt.date(2025, 3, 31)


def made(customers: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and labels of customers whose purchases depend on them; one in five cannot buy a loan."""
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(customers, 8))
    drawn[random.random(customers) < 0.2, 3] = np.nan
    region = random.integers(0, 4, customers)
    known = np.nan_to_num(drawn)
    chances = np.column_stack(
        [
            1.6 * known[:, 0] + np.where(known[:, 1] > 0, 1.4, -1.0) - 1.5,
            1.5 * known[:, 1] * (region == 2) + 1.2 * known[:, 2] - 2.0,
            1.8 * np.abs(known[:, 4]) - 1.2 * known[:, 0] - 2.5,
        ]
    )
    bought = random.random(chances.shape) < 1 / (1 + np.exp(-chances))
    ids = np.char.add("c", np.char.zfill(np.arange(customers).astype(str), 6))
    features = pd.DataFrame({"customer_id": ids, "as_of": pd.Timestamp(AS_OF)})
    features = features.assign(**{f"x{place}": drawn[:, place] for place in range(8)})
    features["region"] = np.array(["north", "east", "south", "west"])[region]
    able = np.ones(bought.shape, dtype=bool)
    able[random.random(customers) < 0.2, 2] = False
    rows, columns = np.nonzero(able)
    labels = pd.DataFrame(
        {
            "customer_id": ids[rows],
            "as_of": pd.Timestamp(AS_OF),
            "product_id": pd.Categorical.from_codes(columns, PRODUCTS),
            "bought": bought[rows, columns],
        }
    )
    return features, labels


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Two files of features, each of three row groups, and one of labels, as the workers read them."""
    folder = tmp_path_factory.mktemp("shared")
    features, labels = made(24_000, 1)
    both = [folder / "features-1.parquet", folder / "features-2.parquet"]
    features[:13_000].to_parquet(both[0], index=False, row_group_size=5_000)
    features[13_000:].to_parquet(both[1], index=False, row_group_size=5_000)
    labels.to_parquet(folder / "labels.parquet", index=False, row_group_size=10_000)
    assert [pq.read_metadata(file).num_row_groups for file in both] == [3, 3]
    return both, [folder / "labels.parquet"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with dask_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def learnt(address: str, files: tuple[list[Path], list[Path]]) -> learner.Learner:
    return distributed.train(address, *files, seed=3)


def aucs(margins: np.ndarray, features: pd.DataFrame, labels: pd.DataFrame) -> np.ndarray:
    bought = distributed.pairs.matrix(labels, features, PRODUCTS)
    return np.array([roc_auc_score(b[b >= 0], m[b >= 0]) for b, m in zip(bought.T, margins.T, strict=False)])


def test_two_workers_order_customers_as_well_as_one_machine(
    learnt: learner.Learner, files: tuple[list[Path], list[Path]]
) -> None:
    features, labels = made(24_000, 1)
    bought = distributed.pairs.matrix(labels, features, PRODUCTS)
    bought = np.column_stack([bought, bought.max(axis=1)])
    held_out = np.concatenate([part.held_out() for part in distributed._parts(*files, tuple(PRODUCTS), 3)])
    start = learner.base_log_odds(bought)
    np.testing.assert_allclose(learnt.offsets, start, rtol=1e-12)
    target = Target(bought, np.ones(len(bought)), start[None])
    tree = learnt.encoding.tree_matrix(features)
    judge = (tree[held_out], target.take(np.flatnonzero(held_out)))
    alone, rounds = boost.fit(
        tree[~held_out], target.take(np.flatnonzero(~held_out)), learnt.encoding, held_out=judge, seed=3
    )
    fresh, outcomes = made(40_000, 2)
    test = learnt.encoding.tree_matrix(fresh)
    shared = aucs(boost.margins_of(learnt.booster, test, 4), fresh, outcomes)
    single = aucs(boost.margins_of(alone, test, 4), fresh, outcomes)
    assert single.min() > 0.7  # there is something to order
    np.testing.assert_allclose(shared, single, atol=0.002)
    assert abs(shared.mean() - single.mean()) < 0.001
    assert (learnt.rounds > 10).all() and (rounds > 10).all()
    for booster, best in ((learnt.booster, learnt.rounds), (alone, rounds)):  # both stopped when nothing got better
        assert booster.num_boosted_rounds() == best.max() + boost.PATIENCE + 1 < 120


def test_the_regression_beside_it_is_that_of_one_machine(learnt: learner.Learner) -> None:
    features, labels = made(24_000, 1)
    alone = learner.fit(
        features, distributed.pairs.matrix(labels, features, PRODUCTS), weights=np.ones(24_000), seed=3, nthread=1
    )
    fresh, outcomes = made(20_000, 2)
    shared, single = (aucs(one.margins(fresh)[1], fresh, outcomes) for one in (learnt, alone))
    np.testing.assert_allclose(shared, single, atol=0.001)


def test_the_registry_keeps_it_and_its_scores(learnt: learner.Learner, tmp_path: Path) -> None:
    features, labels = made(24_000, 1)
    later, bought = made(10_000, 5)
    model = propensity.PropensityModel(seed=3).fit(features, labels, calibrate=(later, bought), learnt=learnt)
    alone = propensity.PropensityModel(seed=3).fit(features, labels, calibrate=(later, bought))
    version = registry.save(
        model, data=tmp_path, warehouse_version=1, as_of=AS_OF, now=dt.datetime(2025, 4, 1), metrics={}
    )
    fresh, outcomes = made(20_000, 2)
    scores = registry.load(tmp_path, version=version).model.score(fresh)
    pd.testing.assert_frame_equal(scores, model.score(fresh))
    shared, single = (
        aucs(one.pivot(index="customer_id", columns="product_id", values="score").to_numpy(), fresh, outcomes)
        for one in (scores, alone.score(fresh))
    )
    assert (shared > single - 0.002).all(), (shared, single)  # one machine draws rows; the cluster takes them all
    assert scores.groupby("product_id", observed=True)["score"].mean().to_numpy() == pytest.approx(
        outcomes.groupby("product_id", observed=True)["bought"].mean().to_numpy(), abs=0.02
    )


def test_what_a_cluster_refuses_is_one_sentence(
    address: str, files: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = files
    with pytest.raises(NotFoundError, match=r"none.parquet: there is no such file"):
        distributed.train(address, [tmp_path / "none.parquet"], labels)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"broken.parquet: not usable"):
        distributed.train(address, [tmp_path / "broken.parquet"], labels)
    nobody = pd.read_parquet(labels[0]).assign(bought=False)
    nobody.to_parquet(tmp_path / "nobody.parquet")
    with pytest.raises(DataError, match="nobody bought anything"):
        distributed.train(address, features, [tmp_path / "nobody.parquet"])
    with pytest.raises(DataError, match="there are no features to learn from"):
        distributed.train(address, [], labels)
    monkeypatch.setattr(distributed, "CONNECT_SECONDS", 1)
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentFault, match="no connection to a Dask scheduler"):
        distributed.train(nowhere, features, labels)
    with dask_cluster(workers=0) as idle, pytest.raises(EnvironmentFault, match="has no worker"):
        distributed.train(idle, features, labels)


def test_a_row_group_of_customers_who_could_buy_nothing_teaches_nothing_and_stops_nothing(
    address: str, tmp_path: Path
) -> None:
    features, labels = made(5_003, 1)
    able = labels[labels["customer_id"] < "c005000"]
    features.to_parquet(tmp_path / "features.parquet", index=False, row_group_size=5_000)
    able.to_parquet(tmp_path / "labels.parquet", index=False)
    found = distributed.train(address, [tmp_path / "features.parquet"], [tmp_path / "labels.parquet"], seed=3)
    bought = distributed.pairs.matrix(able, features, PRODUCTS)
    start = learner.base_log_odds(np.column_stack([bought, bought.max(axis=1)]))
    np.testing.assert_allclose(found.offsets, start, rtol=1e-12)
    assert (found.rounds > 0).all()
    strangers = labels.assign(customer_id="x" + labels["customer_id"])
    strangers.to_parquet(tmp_path / "strangers.parquet", index=False)
    with pytest.raises(DataError, match="no label belongs to a row of the features; make both as of the same date"):
        distributed.train(address, [tmp_path / "features.parquet"], [tmp_path / "strangers.parquet"])


def test_a_worker_that_dies_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with (
        dask_cluster(workers=1) as alone,
        distributed._client(alone) as client,
        pytest.raises(EnvironmentFault, match=r"a worker was lost or failed .*look at the workers' logs"),
        distributed._sentences(alone),
    ):
        client.submit(os._exit, 9).result(timeout=60)
