"""The Python examples of the documents on decisions run, on a small sample bank."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crmlib import paths, samples, warehouse
from crmlib.decisions import audiences, eligibility
from crmlib.models import policy_value
from crmlib.store import score_sets
from crmlib.warehouse import company

DOCUMENTS = Path(__file__).parents[1] / "docs"
LAST = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 9)


def run(document: str, **known: Any) -> dict[str, Any]:
    """Run the first Python example of a document; return the names it leaves."""
    page = (DOCUMENTS / f"{document}.md").read_text(encoding="utf-8")
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], known)
    return known


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which data/ holds a loaded bank with scores, as the examples have it."""
    folder = tmp_path_factory.mktemp("home")
    sample = samples.bank(customers=2_000, seed=11, folder=folder / "files")
    data = folder / "data"
    data.mkdir()
    (data / "company.toml").write_bytes(sample.company.read_bytes())
    settings = company.read(sample.company)
    warehouse.load(sample.files, sample.mapping, data=data, recorded_at=dt.datetime(2026, 1, 1), company=settings)
    given = {"data": data, "model": "propensity", "model_version": 1, "warehouse_version": 1, "as_of": LAST, "now": NOW}
    score_sets.save(scored(warehouse.open(paths.warehouse(data)).snapshot(LAST)), **given)
    return folder


def scored(snapshot: warehouse.Snapshot) -> pd.DataFrame:
    """Scores of everybody for what they may buy, drawn."""
    pairs = eligibility.eligible(snapshot)
    pairs = pairs[pairs["allowed"]]
    score = np.random.default_rng(5).beta(1, 20, len(pairs))
    bounds = {"score": score, "low": score * 0.8, "high": score * 1.2}
    return pairs[["customer_id", "product_id"]].assign(as_of=LAST, model="propensity", **bounds)


@pytest.fixture
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> warehouse.Warehouse:
    """The warehouse, with the folder as the current one."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("CRM_DATA", str(home / "data"))
    return warehouse.open("data/warehouse")


def test_segments(there: warehouse.Warehouse) -> None:
    found = run("segments")
    assert set(found["members"]["segment"]) <= set(found["model"].segments)
    assert list(found["members"].columns) == ["customer_id", "as_of", "segmentation", "segment"]
    assert set(found["profile"]["segment"]) == set(found["members"]["segment"])


def test_matrices(there: warehouse.Warehouse) -> None:
    run("matrices", scores=scored(there.snapshot(LAST)))


def test_eligibility(there: warehouse.Warehouse) -> None:
    run("eligibility")


def test_offers(there: warehouse.Warehouse) -> None:
    best = run("offers")["best"]
    assert 0 < best.offers["cost_minor"].sum() <= 600_000 and best.gap < 0.05


def test_campaigns(home: Path, there: warehouse.Warehouse) -> None:
    audiences.save(home / "data", "Everybody", {}, now=NOW, actor="anna")
    found = run("campaigns", data=home / "data", now=NOW)
    assert found["row"].owner == "Anna" and found["found"].members == len(found["made"].members)
    assert found["out"].file.parent == home / "data" / "exports" and found["out"].rows > 0


def test_experiments(there: warehouse.Warehouse) -> None:
    found = run("experiments", wh=there)
    assert {"conversions", "profit_minor"} <= set(found["effects"]["measure"])


def test_customer_value(home: Path, there: warehouse.Warehouse) -> None:
    found = run("customer_value", data=home / "data")
    assert set(found["lines"]["line"]) <= set(found["actual"].LINES) and len(found["made"].table) > 1_000
    assert (found["could"].table["gap_minor"] >= 0).all() and found["could"].table["gap_minor"].any()
    assert len(found["tested"]) > 1_000


def test_loyalty(there: warehouse.Warehouse) -> None:
    answered = run("loyalty")["answered"]
    assert set(answered["survey"]) == {"loyalty"} and answered["score"].between(0, 10).all()


def test_uplift() -> None:
    rng = np.random.default_rng(3)
    features = pd.DataFrame({"a": rng.normal(size=2_000), "b": rng.normal(size=2_000)})
    arms = rng.choice(["none", "mail"], 2_000)
    outcome = rng.normal(size=2_000) + (arms == "mail") * 2 * (features["a"] > 0)
    known = {"features": features, "arms": arms, "outcome": outcome, "others": features}
    later = policy_value.trial(arms, outcome, control="none", chances={"none": 0.5, "mail": 0.5})
    known |= {"later_trial": later, "chosen_there": rng.integers(0, 2, 2_000)}
    found = run("uplift", **known, costs=np.full(1, 0.15), spent=np.ones((2_000, 1)))
    assert 0 < (found["chosen"] > 0).sum() <= 1_000, "a budget of so many contacts"
