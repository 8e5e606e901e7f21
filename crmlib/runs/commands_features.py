"""The command ``crm features``: the features of every customer as a Parquet file, computed here or where the tables are."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from crmlib.errors import UsageError
from crmlib.runs.command import Command
from crmlib.runs.stages import shown, size

# ruff: noqa: PLC0415


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", required=True, metavar="DATE", help="by what was known on this day")
    parser.add_argument(
        "--engine",
        metavar="URL",
        help="who computes: postgresql://user@host/name, duckdb:///FILE, sqlite:///FILE or spark://HOST:PORT; "
        "or secret:NAME, where the URL is kept (default: this machine, from its warehouse)",
    )
    parser.add_argument(
        "--tables", default="", metavar="PLACE", help="for Spark: the folder of Parquet files, or the catalog's schema"
    )
    parser.add_argument(
        "--spec",
        type=Path,
        metavar="FILE",
        help="JSON of features.to_json, or an earlier Parquet file of this command, for the same columns again",
    )
    parser.add_argument("--to", required=True, type=Path, metavar="FILE.parquet", help="the file to write")


def _features(given: argparse.Namespace, data: Path) -> None:
    from crmlib import features
    from crmlib.features import pushdown

    if given.to.suffix != ".parquet":
        raise UsageError(f"--to is {given.to}; the features are written as Parquet, so end it in .parquet")
    declared = pushdown.specification(given.spec) if given.spec else features.DEFAULT
    progress = sys.stderr.isatty()
    if given.engine is None:
        if given.tables:
            raise UsageError("--tables is for Spark; name it with --engine spark://HOST:PORT")
        written = _here(given, data, declared, progress)
    else:
        written = _there(given, data, declared, progress)
    print(
        f"{written.customers:,} customers × {written.features} features in {shown(written.file)} ({size(written.file)})"
    )


def _here(given: argparse.Namespace, data: Path, declared: Any, progress: bool) -> Any:
    from crmlib import paths, warehouse
    from crmlib.features import pushdown
    from crmlib.runs import jobs

    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(given.as_of)
    parameters = {"as_of": str(snapshot.as_of), "to": str(given.to)}
    with jobs.recorded(data, "features", parameters, warehouse_version=wh.version):
        return pushdown.write_local(snapshot, declared, to=given.to, progress=progress)


def _there(given: argparse.Namespace, data: Path, declared: Any, progress: bool) -> Any:
    from crmlib.features import pushdown
    from crmlib.runs import jobs, secrets

    address = secrets.resolve(given.engine, data)
    with pushdown.opened(address, tables=given.tables) as engine:
        parameters = {"as_of": given.as_of, "engine": engine.name, "to": str(given.to)}
        # A machine that only asks a server need not have a data folder, and gets none.
        run: AbstractContextManager[Any] = (
            jobs.recorded(data, "features", parameters) if data.is_dir() else nullcontext()
        )
        with run:
            return pushdown.write(engine, given.as_of, declared, to=given.to, progress=progress)


COMMANDS = [
    Command(
        "features", "the features of every customer, computed here, by a database or by Spark", _arguments, _features
    ),
]
