"""`crm train --fast` and `crm score --fast` from end to end on a tiny bank; one product is refused before anything is fitted."""

from __future__ import annotations

from pathlib import Path

import made_safety
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib import cli
from crmlib.models import distilled, propensity, registry
from crmlib.store import session
from crmlib.store.tables import Model, Run


def loaded(home: Path, *, only: str | None = None) -> Path:
    """Load the tiny bank, or what it sold of one product."""
    files, data = home / "in", home / "data"
    made_safety.write_files(files)
    if only:
        contracts = pd.read_csv(files / "contracts.csv")
        contracts[contracts["product"] == only].to_csv(files / "contracts.csv", index=False)
    (files / "batch-0001.csv").unlink(missing_ok=True)
    names = ("clients", "products", "contracts", "moves", "consents")
    given = [str(files / f"{name}.csv") for name in names]
    told = ["--mapping", str(files / "mapping.toml"), "--company", str(files / "company.toml")]
    assert cli.main(["load", *given, *told, "--data", str(data)]) == 0
    return data


def crm(data: Path, *words: str) -> int:
    return cli.main([*words, "--data", str(data)])


def parameters(data: Path, kind: str) -> list[dict[str, object]]:
    with session.session(data) as store:
        return list(store.scalars(sa.select(Run.parameters).where(Run.kind == kind).order_by(Run.run_id)))


def test_a_bank_is_trained_and_scored_by_the_cheaper_scorer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distilled, "_ROUNDS", 10)
    data = loaded(tmp_path)
    assert crm(data, "train", "--within-days", "60", "--fast") == 0
    with session.session(data) as store:
        (row,) = store.scalars(sa.select(Model))  # one commit: nobody can find the model without its scorer
    assert (row.name, row.model_version) == (propensity.NAME, 1)
    saved = registry.load(data)
    found = distilled.load(saved)
    assert found.products == saved.model.fitted_.products and len(found.products) > 1
    # So few buyers judge nothing: every product keeps its own trees, and nothing is lost.
    assert set(found.judged["scorer"]) == {"full"} and found.lost == saved.metrics["lost"] == 0
    assert "loses 0.0000 of AUC" in capsys.readouterr().out
    assert crm(data, "score", "--fast") == 0
    assert crm(data, "score") == 0
    assert [one.get("scorer") for one in parameters(data, "score")] == [distilled.NAME, None]
    by_model = registry.load_scores(data)
    assert set(by_model["model"].astype(str)) == {propensity.NAME} and len(by_model)
    assert crm(data, "train", "--within-days", "60") == 0
    assert [one.get("fast") for one in parameters(data, "train")] == [True, False]
    capsys.readouterr()
    assert crm(data, "score", "--fast") == 4
    assert "model version 2 has no cheaper scorer" in capsys.readouterr().err
    assert crm(data, "score", "--fast", "--model-version", "1") == 0


def test_one_product_is_refused_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = loaded(tmp_path, only="card")
    with monkeypatch.context() as patch:
        patch.setattr(propensity.PropensityModel, "fit", lambda *_, **__: pytest.fail("fitted in vain"))
        assert crm(data, "train", "--within-days", "60", "--fast") == 3
    assert "a model of one outcome is as quick as any imitation of it; train and score without --fast" in (
        capsys.readouterr().err
    )
    assert crm(data, "train", "--within-days", "60") == 0
