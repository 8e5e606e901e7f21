"""Where things lie below the data folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: what was given, else the environment variable ``CRM_DATA``, else ``data``.

    ``data`` is the nearest one with a store, in the current folder or above it, so that a notebook finds it too; where
    there is none, the one in the current folder.
    """
    named = given or os.environ.get("CRM_DATA")
    if named:
        return Path(named).absolute()
    here = Path.cwd()
    found = (folder / "data" for folder in (here, *here.parents) if (folder / "data" / "store.sqlite").exists())
    return next(found, here / "data")


def warehouse(data: Path) -> Path:
    """Return the folder of the warehouse's versions."""
    return data / "warehouse"


def store_url(data: Path) -> str:
    """Return the SQLAlchemy URL of the operational store: ``CRM_STORE``, else SQLite in the data folder."""
    return os.environ.get("CRM_STORE") or f"sqlite:///{data / 'store.sqlite'}"
