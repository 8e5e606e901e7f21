"""Connections to DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb


def connect(path: str | Path = ":memory:", *, read_only: bool = False, **settings: Any) -> duckdb.DuckDBPyConnection:
    """Open a database with these settings and without DuckDB's own progress bar.

    DuckDB draws one in notebooks and in processes started by others, over the output of what runs there. Raises what
    ``duckdb.connect`` raises.
    """
    connection = duckdb.connect(str(path), read_only=read_only, config=settings)
    connection.execute("PRAGMA disable_progress_bar")  # of a connection and its cursors, so it is no setting
    return connection
