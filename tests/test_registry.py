"""Saved models and scores: bit-identical after reloading, refused when damaged, nothing half written."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from scipy.special import expit

from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.models import pairs, registry
from crmlib.models.propensity import PropensityModel
from crmlib.store import session
from crmlib.store.tables import Model, ScoreSet

NOW = dt.datetime(2026, 1, 2, 3, 4)
AS_OF = dt.date(2025, 6, 30)


def customers(seed: int, size: int = 1_500) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 3))
    features = pd.DataFrame(x, columns=["a", "b", "c"])
    features.insert(0, "customer_id", [f"k{i}" for i in range(size)])
    features.insert(1, "as_of", pd.Timestamp(AS_OF))
    features["kind"] = pd.Categorical.from_codes(rng.integers(0, 3, size), ["x", "yé", "z"])
    bought = rng.random((size, 2)) < expit(x[:, :2] - 2)
    everyone = np.ones((size, 2), dtype=bool)
    return features, pairs.table(features["customer_id"], ["card", "loan"], AS_OF, chosen=everyone, bought=bought)


@pytest.fixture(scope="module")
def model():
    return PropensityModel(seed=1, nthread=1).fit(*customers(1), calibrate=customers(2))


def keep(model: PropensityModel, data: Path, **more: object) -> int:
    return registry.save(
        model, data=data, warehouse_version=3, as_of=AS_OF, now=NOW, metrics={"auc": 0.8}, specification="{}", **more
    )


def test_a_fresh_process_scores_bit_identically(model, tmp_path):
    features, _ = customers(9)
    features.to_parquet(tmp_path / "features.parquet")
    model.score(features).to_parquet(tmp_path / "here.parquet")
    assert keep(model, tmp_path) == 1
    code = (
        "import sys, pathlib, pandas as pd; from crmlib.models import registry; p = pathlib.Path(sys.argv[1]);"
        "registry.load(p).model.score(pd.read_parquet(p / 'features.parquet')).to_parquet(p / 'there.parquet')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    here, there = pd.read_parquet(tmp_path / "here.parquet"), pd.read_parquet(tmp_path / "there.parquet")
    pd.testing.assert_frame_equal(here, there, check_exact=True)


def test_what_was_recorded_comes_back(model, tmp_path):
    evaluation = pd.DataFrame({"metric": ["auc"], "value": [0.8]})
    keep(model, tmp_path, tables={"evaluation": evaluation})
    found = registry.load(tmp_path)
    assert (found.name, found.version, found.warehouse_version, found.as_of) == ("propensity", 1, 3, AS_OF)
    assert found.metrics == {"auc": 0.8} and found.specification == "{}"
    pd.testing.assert_frame_equal(found.model.products_, model.products_, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "models/propensity/0001/evaluation.parquet"), evaluation)
    files = {path.name for path in (tmp_path / "models/propensity/0001").iterdir()}
    assert files == {"booster.ubj", "model.json", "features.json", "evaluation.parquet", "SHA256SUMS"}


def test_versions_count_up_and_the_newest_is_loaded(model, tmp_path):
    assert [keep(model, tmp_path) for _ in range(3)] == [1, 2, 3]
    assert registry.load(tmp_path).version == 3 and registry.load(tmp_path, version=2).version == 2
    with pytest.raises(NotFoundError, match="there is no version 7 of model propensity"):
        registry.load(tmp_path, version=7)


def test_a_folder_left_by_a_killed_save_is_never_served_or_overwritten(model, tmp_path):
    orphan = tmp_path / "models" / "propensity" / "0001"
    orphan.mkdir(parents=True)
    (orphan / "half").write_text("x")
    assert keep(model, tmp_path) == 2
    assert (orphan / "half").exists()
    with pytest.raises(NotFoundError, match="there is no version 1"):
        registry.load(tmp_path, version=1)


@pytest.mark.parametrize("name", ["booster.ubj", "model.json", "features.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_refused_with_a_remedy(model, tmp_path, name, how):
    keep(model, tmp_path)
    path = tmp_path / "models" / "propensity" / "0001" / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(
            content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :] if how == "flipped" else content[:half]
        )
    with pytest.raises(EnvironmentFault, match=r"(damaged|gone).*train again"):
        registry.load(tmp_path)


def test_no_model_and_no_scores_yet(tmp_path):
    with pytest.raises(NotFoundError, match=r"there is no model propensity below .*train one with"):
        registry.load(tmp_path)
    with pytest.raises(NotFoundError, match="there are no propensity scores as of 2025-06-30 below"):
        registry.load_scores(tmp_path, as_of=AS_OF)


def test_scores_are_kept_with_what_they_came_from(model, tmp_path):
    scores = model.score(customers(4)[0])
    reasons = pd.DataFrame({"customer_id": ["k1"], "reasons": ["[]"]})
    options = {"data": tmp_path, "warehouse_version": 3, "as_of": AS_OF, "now": NOW}
    first = registry.save_scores(scores, model_version=1, beside={"reasons": reasons}, **options)
    second = registry.save_scores(scores.head(10), model_version=1, **options)
    assert (first, second) == (1, 2)
    assert len(registry.load_scores(tmp_path)) == 10
    with session.session(tmp_path) as store:
        row = store.get(ScoreSet, 1)
    kept = pd.read_parquet(tmp_path / row.file)
    assert (row.rows, row.model_version, row.warehouse_version, row.as_of) == (3_000, 1, 3, AS_OF)
    pd.testing.assert_frame_equal(kept[list(scores.columns)], scores, check_exact=True)
    assert set(kept["model_version"]) == {1} and set(kept["warehouse_version"]) == {3}
    beside = (tmp_path / row.file).with_name(f"{Path(row.file).stem}-reasons.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(beside), reasons)


def test_damaged_scores_are_refused(model, tmp_path):
    options = {"data": tmp_path, "model_version": 1, "warehouse_version": 3, "as_of": AS_OF, "now": NOW}
    registry.save_scores(model.score(customers(4)[0]), **options)
    path = next((tmp_path / "scores" / "propensity").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EnvironmentFault, match="missing or changed since it was written; score again"):
        registry.load_scores(tmp_path)


def test_no_space_left_leaves_nothing_behind(model, tmp_path, monkeypatch):
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFault, match=r"cannot be written .No space left on device.; make room"):
        keep(model, tmp_path)
    options = {"data": tmp_path, "model_version": 1, "warehouse_version": 3, "as_of": AS_OF, "now": NOW}
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        registry.save_scores(model.score(customers(4)[0].head(5)), **options)
    assert not list((tmp_path / "models" / "propensity").iterdir())
    assert not list((tmp_path / "scores" / "propensity").iterdir())
    with session.session(tmp_path) as store:
        assert not store.scalars(sa.select(Model)).all() and not store.scalars(sa.select(ScoreSet)).all()
