"""Running notebooks with real kernels: success, a failing cell, a dying kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd
import pytest

from crmlib.errors import RunError, UsageError
from crmlib.runs import notebooks
from crmlib.store import ledger


def notebook(path: Path, *sources: str) -> Path:
    parameters = nbformat.v4.new_code_cell('number = 1\ndata = ""', metadata={"tags": ["parameters"]})
    cells = [parameters, *(nbformat.v4.new_code_cell(source) for source in sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def last_run(data: Path) -> pd.Series:
    return ledger.runs(data).iloc[0]


def test_a_run_leaves_an_executed_copy_and_a_ledger_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    source = notebook(tmp_path / "n.ipynb", "import os; print(number * 2, data == os.environ['CRM_DATA'])")
    before = source.read_bytes()
    output = notebooks.run(source, {"number": 21}, data=data)
    assert "42 True" in nbformat.read(output, as_version=4).cells[-1].outputs[0].text
    assert source.read_bytes() == before
    assert [path.name for path in (data / "runs").iterdir()] == [output.name]
    run = last_run(data)
    assert (run.state, run.exit_code, run.output) == ("succeeded", 0, f"runs/{output.name}")
    assert run.parameters["number"] == 21


def test_a_failing_cell_is_named_and_the_partial_notebook_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    source = notebook(tmp_path / "n.ipynb", "print('before')", "raise ValueError('no such branch')")
    with pytest.raises(RunError, match=r"cell \d+ failed: ValueError: no such branch; the partial notebook is"):
        notebooks.run(source, {}, data=data)
    kept = list((data / "runs").iterdir())
    assert [path.name for path in kept] == ["000001-n-failed.ipynb"]
    assert last_run(data).state == "failed"
    assert last_run(data).exit_code == RunError.exit_code


def test_a_dying_kernel_is_a_failure_although_the_notebook_looks_complete(tmp_path: Path) -> None:
    data = tmp_path / "data"
    source = notebook(tmp_path / "n.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "print('after')")
    with pytest.raises(RunError, match="kernel died"):
        notebooks.run(source, {}, data=data)
    assert last_run(data).state == "failed"


def test_nothing_starts_with_a_wrong_parameter(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(UsageError, match="no parameter numbr; did you mean number"):
        notebooks.run(notebook(tmp_path / "n.ipynb"), {"numbr": 1}, data=data)
    assert not data.exists()
