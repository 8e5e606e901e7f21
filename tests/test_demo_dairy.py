"""The main job on a small sample dairy, from files to order proposals, through the command line itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest

from crmlib import cli
from crmlib.store import ledger, score_sets

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    given = ["demo", "--company", "dairy", "--customers", "12", "--seed", "3", "--no-serve", "--data", str(folder)]
    assert cli.main(given) == 0
    return folder


def test_every_part_of_the_job_succeeded_and_left_what_it_says(data: Path) -> None:
    runs = ledger.runs(data, newest=100)
    kinds = ["demand", "demo", "effects", *["notebook"] * 3, "orders", "replenishment", "staffing"]
    assert sorted(runs["kind"]) == kinds
    assert set(runs["state"]) == {"succeeded"}
    for model in ("demand", "price_effects", "orders", "replenishment", "contact_load"):
        assert len(score_sets.read(data, score_sets.newest(data, model))) > 0, model


def test_the_executed_notebooks_conclude_from_the_run(data: Path) -> None:
    for path in sorted([*ROOT.glob("notebooks/09_*.ipynb"), *ROOT.glob("notebooks/1[01]_*.ipynb")]):
        executed = nbformat.read(sorted((data / "runs").glob(f"*{path.stem}.ipynb"))[-1], as_version=4)
        said = executed.cells[-1].outputs[0]["data"]["text/markdown"]
        assert len(re.findall(r"\*\*[-+]?\d", said)) >= 2, said


def test_the_folder_of_a_dairy_is_not_taken_for_a_bank(data: Path) -> None:
    assert json.loads((data / "demo.json").read_text())["company"] == "dairy"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--company", "dairy", "--customers", "3"], "--customers is 3; the models need at least 12 made-up outlets"),
        (["--customers", "200"], "--customers is 200; the models need at least 5,000 made-up customers"),
    ],
)
def test_a_sample_too_small_to_learn_from_is_refused(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", *given, "--data", str(tmp_path / "data")]) == 2
    assert said in capsys.readouterr().err
