"""Scoring again what an old version knew, with the old model, gives every byte that it gave the first time.

After corrections have made a new version; in another process; with other numbers of threads; in blocks of another size.
"""

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from crmlib import features, paths, samples, warehouse
from crmlib.models import distilled, learner, propensity, registry

NOW = dt.datetime(2026, 1, 2, 3, 4)
DATES = ("2025-03-31", "2025-06-30", "2025-09-30")
SPEC = features.Specification(
    (
        *[features.attribute(name) for name in ("region", "gender", "income_minor", "children")],
        features.since("birth_date", years=True, name="customer_age_years"),
        features.household_size(),
        features.windowed("transactions", "amount_minor", months=(3, 12)),
        features.held(by="product_id"),
        features.balance("latest"),
        features.recency("contacts", months=12),
    )
)


def digest(table: pd.DataFrame) -> dict[str, str]:
    """The bytes of every column, by name: values and, of texts and levels, the texts."""
    out = {}
    for name, column in table.items():
        if column.dtype.kind in "fiM":
            content = np.ascontiguousarray(column.to_numpy()).tobytes()
        else:
            content = "\x00".join(column.astype(str)).encode()
        out[str(name)] = f"{column.dtype} {hashlib.sha256(content).hexdigest()}"
    return out


def score(data: Path, version: int, *, fast: bool = False) -> pd.DataFrame:
    """Score the last date as one version of the warehouse knew it, with the first model."""
    saved = registry.load(data, version=1)
    snapshot = warehouse.open(paths.warehouse(data), version=version).snapshot(DATES[2])
    inputs = features.build(snapshot, features.from_json(saved.specification))
    known = saved.model.fitted_.products
    scorer = distilled.load(saved) if fast else saved.model
    return scorer.score(inputs, propensity.candidates(snapshot, products=known))


def corrected(made: samples.Sample, folder: Path) -> list[Path]:
    """Write the files again with other incomes, other regions, other amounts, a month of operations less and one new."""
    folder.mkdir()
    (path,) = [file for file in made.files if file.name == "clients.csv"]
    clients = pd.read_csv(path, sep=";", encoding="cp1251", dtype="str", keep_default_na=False)
    clients.loc[::3, "income"] = "1234,00"
    clients.loc[::5, "region"] = "Southmark"
    clients.to_csv(folder / path.name, sep=";", encoding="cp1251", index=False)
    for path in [file for file in made.files if file.name.startswith("operations")]:
        rows = pd.read_parquet(path)
        rows.loc[::4, "amount_cents"] *= 3
        more = rows.head(500).assign(op_id=[f"late{place}" for place in range(500)])
        pd.concat([rows, more], ignore_index=True).to_parquet(folder / path.name, index=False)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A loaded bank with a model and its imitation, its scores, and then a second version with corrections."""
    home = tmp_path_factory.mktemp("bits")
    made = samples.bank(customers=1_200, seed=5, folder=home / "bank")
    data = home / "data"
    warehouse.load(made.files, made.mapping, data=data, recorded_at=dt.datetime(2026, 1, 1))
    wh = warehouse.open(paths.warehouse(data))
    snapshots = [wh.snapshot(day) for day in DATES[:2]]
    spec = features.resolve(SPEC, snapshots[0])
    inputs = [features.build(one, spec) for one in snapshots]
    first = propensity.purchases(wh, after=snapshots[0])
    sold = propensity.sold(first)
    labels = [propensity.purchases(wh, after=one, products=sold) for one in snapshots]
    tuned = (inputs[1], labels[1])
    model = propensity.PropensityModel(seed=7, nthread=1).fit(inputs[0], labels[0], calibrate=tuned)
    told = {"data": data, "warehouse_version": wh.version, "as_of": snapshots[1].as_of, "now": NOW, "metrics": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilled, "_ROUNDS", 10)
        patch.setattr(distilled, "_JUDGED_BUYERS", 1)
        imitation = distilled.distil(model, inputs[0], calibrate=tuned, nthread=1)
    assert "fast" in set(imitation.judged["scorer"])  # else nothing of it is scored here
    registry.save(model, **told, specification=features.to_json(spec), also=imitation.write)
    before = {fast: digest(score(data, 1, fast=fast)) for fast in (False, True)}
    files = corrected(made, home / "corrections")
    warehouse.load(files, made.mapping, data=data, recorded_at=dt.datetime(2026, 2, 1))
    assert warehouse.open(paths.warehouse(data)).version == 2
    return data, before


@pytest.mark.parametrize("fast", [False, True])
def test_after_corrections_the_old_version_scores_to_the_byte(bank, fast):
    data, before = bank
    assert digest(score(data, 1, fast=fast)) == before[fast]
    assert digest(score(data, 2, fast=fast)) == before[fast]  # what was known on that day has not changed either


def test_the_corrections_are_known_to_the_new_version_alone(bank):
    data, _ = bank
    for version, corrections in ((1, False), (2, True)):
        with duckdb.connect(str(paths.warehouse(data) / f"v{version:06d}.duckdb"), read_only=True) as file:
            for table in ("customers", "transactions"):
                query = f"SELECT count(*) FROM {table} WHERE superseded_at IS NOT NULL"
                found = file.execute(query).fetchone()
                assert found is not None and (found[0] > 300) == corrections, (version, table, found)


@pytest.mark.parametrize("rows", [37, 65_536])
def test_blocks_of_another_size_score_to_the_byte(bank, rows, monkeypatch):
    data, before = bank
    monkeypatch.setattr(learner, "CHUNK", rows)
    for fast in (False, True):
        assert digest(score(data, 1, fast=fast)) == before[fast]


@pytest.mark.parametrize("threads", ["1", "2"])  # on two cores 2 is what XGBoost takes by itself
def test_other_processes_with_other_threads_score_to_the_byte(bank, threads):
    data, before = bank
    code = (
        "import sys, json, pathlib; sys.path.insert(0, sys.argv[2]); import test_score_bits as t;"
        "print(json.dumps([t.digest(t.score(pathlib.Path(sys.argv[1]), 1, fast=fast)) for fast in (False, True)]))"
    )
    ours = {name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-c", code, str(data), str(Path(__file__).parent)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ours, timeout=120)
    assert json.loads(said.stdout) == [before[False], before[True]]


def test_rows_alone_in_any_order_score_as_in_the_whole(bank):
    """Customers scored one by one, or the other way round, get the same bits: nothing depends on the neighbours."""
    data, _ = bank
    saved = registry.load(data, version=1)
    snapshot = warehouse.open(paths.warehouse(data), version=1).snapshot(DATES[2])
    inputs = features.build(snapshot, features.from_json(saved.specification))
    whole = saved.model.score(inputs)
    back = saved.model.score(inputs.iloc[::-1]).sort_values(["customer_id", "product_id"], ignore_index=True)
    order = whole.sort_values(["customer_id", "product_id"], ignore_index=True)
    pd.testing.assert_frame_equal(back, order, check_exact=True)
    some = inputs.iloc[[3, 500, len(inputs) - 1]]
    alone = pd.concat([saved.model.score(some.iloc[[place]]) for place in range(3)], ignore_index=True)
    wanted = whole[whole["customer_id"].isin(some["customer_id"])].reset_index(drop=True)
    np.testing.assert_array_equal(alone[["score", "low", "high"]], wanted[["score", "low", "high"]])
