"""Where things lie below the data folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: what was given, else the environment variable ``CRM_DATA``, else ``data``."""
    return Path(given or os.environ.get("CRM_DATA") or "data").absolute()


def warehouse(data: Path) -> Path:
    """Return the folder of the warehouse's versions."""
    return data / "warehouse"


def store_url(data: Path) -> str:
    """Return the SQLAlchemy URL of the operational store: ``CRM_STORE``, else SQLite in the data folder."""
    return os.environ.get("CRM_STORE") or f"sqlite:///{data / 'store.sqlite'}"
