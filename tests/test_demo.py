"""The main job on a small sample bank, from files to call lists, through the command line itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from crmlib import cli, paths, warehouse
from crmlib.errors import RunError
from crmlib.models import registry
from crmlib.runs import doctor, jobs
from crmlib.store import ledger

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert cli.main(["demo", "--customers", "5000", "--seed", "3", "--no-serve", "--data", str(folder)]) == 0
    return folder


def _lists(data: Path) -> pd.DataFrame:
    return pd.read_parquet(sorted((data / "lists").glob("calls-*.parquet"))[-1])


def test_every_part_of_the_job_succeeded_and_left_what_it_says(data: Path) -> None:
    runs = ledger.runs(data, newest=100)
    kinds = ["churn", "demand", "demo", "lifecycle", "loyalty", *["notebook"] * 8, "offers", "points", "retention"]
    assert sorted(runs["kind"]) == [*kinds, "score", "segment", "staffing", "train", "uplift", "value"]
    assert set(runs["state"]) == {"succeeded"}
    assert len(list((data / "runs").glob("*.ipynb"))) == 8
    saved = registry.load(data)
    assert saved.metrics["dates"] == {"train": "2025-03-31", "tune": "2025-06-30", "test": "2025-09-30"}
    assert {"evaluation", "by_group", "gains", "reliability", "leaks"} <= {
        p.stem for p in saved.folder.glob("*.parquet")
    }


def test_every_contact_on_a_list_pays_and_was_consented_to(data: Path) -> None:
    lists = _lists(data)
    assert len(lists) > 100
    assert (lists["expected_profit_minor"] > 0).all()
    wh = warehouse.open(paths.warehouse(data))
    products = wh.table("products").set_index("product_id")["margin_minor"].astype(float)
    cost = lists["channel"].map(wh.company.contact_costs_minor).astype(float)
    profit = lists["score"] * lists["product_id"].astype(str).map(products) - cost
    pd.testing.assert_series_equal(profit, lists["expected_profit_minor"], check_names=False)
    said = wh.table("consents")
    said = said[(said["purpose"] == "marketing")].sort_values(["changed_at", "granted"], ascending=[True, False])
    last = said.drop_duplicates(["customer_id", "channel"], keep="last").set_index(["customer_id", "channel"])[
        "granted"
    ]
    listed = pd.MultiIndex.from_frame(lists[["customer_id", "channel"]].drop_duplicates())
    assert last.reindex(listed).fillna(False).all()


def test_nobody_who_objected_to_profiling_is_scored(data: Path) -> None:
    said = warehouse.open(paths.warehouse(data)).table("consents")
    profiling = (
        said[said["purpose"] == "profiling"].sort_values("changed_at").drop_duplicates("customer_id", keep="last")
    )
    against = set(profiling.loc[~profiling["granted"].astype(bool), "customer_id"])
    assert len(against) > 3
    assert not against & set(registry.load_scores(data)["customer_id"])


def test_scores_say_where_they_come_from_and_reasons_add_codes(data: Path) -> None:
    scores = registry.load_scores(data)
    assert set(scores["model_version"]) == {1}
    assert set(scores["warehouse_version"]) == {1}
    assert len(scores["as_of"].unique()) == 1
    assert ((scores["low"] <= scores["score"]) & (scores["score"] <= scores["high"])).all()
    reasons = registry.load_beside(data, "reasons")
    codes = json.loads(reasons["reasons"].iloc[0])
    assert {"code", "direction", "contribution", "feature", "value"} <= set(codes[0])


def test_the_same_again_loads_nothing_and_scores_the_same(data: Path) -> None:
    before = registry.load_scores(data)
    assert cli.main(["demo", "--customers", "5000", "--seed", "3", "--no-serve", "--data", str(data)]) == 0
    found = warehouse.versions(paths.warehouse(data))
    assert found["version"].tolist() == [1]
    after = registry.load_scores(data)
    pd.testing.assert_frame_equal(before.drop(columns="model_version"), after.drop(columns="model_version"))


def test_the_executed_notebooks_conclude_from_the_run(data: Path) -> None:
    for name in sorted(path.stem for path in ROOT.glob("notebooks/0[1-8]_*.ipynb")):
        executed = nbformat.read(sorted((data / "runs").glob(f"*{name}.ipynb"))[-1], as_version=4)
        said = executed.cells[-1].outputs[0]["data"]["text/markdown"]
        assert len(re.findall(r"\*\*[\d.,]+", said)) >= 2, said


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("dashboards/*.ipynb")]), ids=lambda p: p.stem
)
def test_notebooks_keep_the_house_style(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert [number for number, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])] == [1]
    assert len(cells) <= 25
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code)
    assert not any(re.search(r"^\s*(class|def) ", cell.source, re.MULTILINE) for cell in code)
    if path.parent.name == "notebooks":
        assert "**Question" in cells[0].source
        assert cells[-2].source.startswith("## Conclusions")


def test_the_doctor_finds_the_demo_in_order(data: Path) -> None:
    findings = list(doctor.examine(data))
    assert not [finding for finding in findings if finding.state == "wrong"]
    said = " ".join(finding.what for finding in findings)
    for part in ("crmlib", "warehouse version 1 is served", "propensity model version", "last run: "):
        assert part in said


def test_the_chain_of_the_readme_runs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(data.parent)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["scores"]["score"].between(0, 1).all()
    assert names["best"].offers["customer_id"].is_unique
    assert (names["best"].offers["channel"] == "call").sum() <= 500


def test_another_bank_replaces_the_first_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up banks are never mixed: their customers have the same numbers."""
    mark = data / "demo.json"
    assert json.loads(mark.read_text())["seed"] == 3
    assert warehouse.open(paths.warehouse(data)).version == 1

    def load(*_: object, **__: object) -> None:  # how far it must come: all that was made of the first bank is gone
        assert not paths.warehouse(data).exists() and not (data / "scores").exists()
        raise RunError("far enough")

    monkeypatch.setattr(jobs, "load", load)
    assert cli.main(["demo", "--customers", "5100", "--seed", "4", "--no-serve", "--data", str(data)]) == 5
    assert json.loads(mark.read_text())["seed"] == 4
    clients = pd.read_csv(data / "samples" / "bank" / "clients.csv", sep=";", encoding="cp1251", usecols=["client_no"])
    assert 5_000 < clients["client_no"].nunique() <= 5_100
