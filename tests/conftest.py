"""What every test may use: the folder of real data, the sample bank loaded once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import crmlib  # noqa: F401  # before numpy, so that linear algebra takes the one thread that crmlib asks for


@pytest.fixture(autouse=True)
def _own_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach the data of the person who runs it."""
    monkeypatch.delenv("CRM_DATA", raising=False)
    monkeypatch.delenv("CRM_STORE", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip with the reason."""
    found = os.environ.get("CRM_REAL_DATA")
    if not found or not Path(found).is_dir():
        pytest.skip("CRM_REAL_DATA names no folder of real data")
    return Path(found)
