"""Parameters of notebooks: strict names and types, refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.runs import parameters

CELL = '''
"""What may be changed."""
product = "loan"  # product to look at
within_days = 90
rate = 0.05
fresh = True
channels = ["call", "mail"]
'''


def write(path: Path, source: str, tags: list[str] | None = None) -> Path:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"] if tags is None else tags})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "n.ipynb", CELL)


def test_defaults_and_help_are_read(notebook: Path) -> None:
    found = parameters.read(notebook)
    assert list(found) == ["product", "within_days", "rate", "fresh", "channels"]
    assert found["product"].default == "loan"
    assert found["product"].help == "product to look at"


def test_texts_get_the_type_of_the_default(notebook: Path) -> None:
    given = ["product=007", "within_days=30", "rate=1", "fresh=false", 'channels=["sms"]']
    values = parameters.parse(notebook, given)
    assert values == {"product": "007", "within_days": 30, "rate": 1.0, "fresh": False, "channels": ["sms"]}
    assert isinstance(values["rate"], float)


@given(number=st.integers(-(10**12), 10**12))
def test_whole_numbers_survive(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("n") / "n.ipynb", CELL)
    assert parameters.parse(path, [f"within_days={number}"]) == {"within_days": number}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("within_day=30", "no parameter within_day; did you mean within_days"),
        ("zzz=1", "no parameter zzz; it has product, within_days"),
        ("within_days=3.5", "within_days is '3.5'; a whole number is wanted, like 90"),
        ("rate=abc", "rate is 'abc'; a number is wanted"),
        ("fresh=yes", "fresh is 'yes'; true or false is wanted"),
        ("channels={}", "channels is '{}'; a JSON list is wanted"),
        ("within_days", "'within_days' has no value; write name=value"),
    ],
)
def test_wrong_texts_are_refused(notebook: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("{", r"\{").replace("}", r"\}").replace("[", r"\[")):
        parameters.parse(notebook, [text])


def test_a_name_given_twice_is_refused(notebook: Path) -> None:
    with pytest.raises(UsageError, match="rate is given twice"):
        parameters.parse(notebook, ["rate=1", "rate=2"])


def test_values_are_checked_like_texts(notebook: Path) -> None:
    assert parameters.check(notebook, {"rate": 2}) == {"rate": 2}
    for wrong in ({"within_days": True}, {"within_days": "3"}, {"fresh": 1}, {"product": 3}):
        with pytest.raises(UsageError, match="is wanted"):
            parameters.check(notebook, wrong)


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such notebook"):
        parameters.read(tmp_path / "absent.ipynb")
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{ not json")
    with pytest.raises(DataError, match="not a readable notebook"):
        parameters.read(broken)
    with pytest.raises(DataError, match="0 cells are tagged 'parameters'"):
        parameters.read(write(tmp_path / "untagged.ipynb", CELL, tags=[]))


@pytest.mark.parametrize("source", ["import os", "a = 1 + x", "a, b = 1, 2", "a = print(1)", "a ="])
def test_only_literals_may_be_parameters(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match="may hold literals only"):
        parameters.read(write(tmp_path / "n.ipynb", source))
