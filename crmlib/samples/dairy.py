"""The sample dairy: files as a dairy wholesaler would export them, with the truth beside them (see docs/sample_dairy.md)."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from crmlib.errors import UsageError
from crmlib.samples import dairy_files as files
from crmlib.samples import dairy_sales as sales
from crmlib.samples import dairy_truth, dairy_world
from crmlib.samples.dairy_calendar import holidays
from crmlib.samples.exports import Format, as_text, spoiled, write_text
from crmlib.samples.sample import Sample, put, truth

DEFAULT_END = dt.date(2025, 12, 31)

_COMPANY = """\
name = "Sample dairy"
currency = "EUR"
time_zone = "Europe/Berlin"
holidays = [{holidays}]
consent_when_missing = "refused"

[contact_costs_minor]
call = 400
visit = 4500
email = 2

[contact_minutes]
call = 6
visit = 45

[capacities]
call = {calls}
"""

_FORMATS = {
    "articles": Format(";", "utf-8-sig"),
    "clients": Format(";", "utf-8-sig", quoted=True),
    "tills": Format(";"),
    "plans": Format("\t"),
    "staff": Format(quoted=True),
    "outlets": Format(quoted=True),
}
_PARQUET = ("scanner", "orders", "stock")

# File: what is wrong, and the values put into copies of good rows, on days of which there are no good ones.
_SPOILED: dict[str, tuple[str, dict[str, str | None]]] = {
    "scanner": ("unknown product", {"article": "cottage_cheese"}),
    "tills": ("impossible date", {"date": "31.02.2025"}),
    "depot_stock": ("negative stock", {"pieces": "-12", "evening_of": "2020-01-01"}),
    "orders": ("unknown customer", {"line": "*", "client": "C9999"}),
    "calls": ("missing time", {"call": "*", "began": None}),
}
_BAD_SHARE, _MOST_BAD = 3_000, 40


def dairy(
    *,
    outlets: int = 48,
    years: int = 3,
    seed: int = 7,
    folder: str | os.PathLike[str] = Path("data/samples/dairy"),
    progress: bool = False,
) -> Sample:
    """Make up a dairy wholesaler with so many shops and write its files and its truth into ``folder``.

    The records end on 2025-12-31. An earlier sample in the folder is replaced once the new one is complete; the same
    arguments give the same bytes.

    Raises UsageError for ``outlets`` below 4 or above 300 or ``years`` below 1 or above 6, DataError for a folder that holds
    other files, EnvironmentFault where it cannot be written.
    """
    if not 4 <= outlets <= 300:
        raise UsageError(f"outlets is {outlets}; give a number from 4 to 300")
    if not 1 <= years <= 6:
        raise UsageError(f"years is {years}; give a number from 1 to 6")
    mark: dict[str, str | int] = {"sample": "dairy", "outlets": outlets, "years": years, "seed": seed}
    return put(folder, lambda path: _write(path, outlets, years, seed=seed, progress=progress), mark)


def dairy_future(sample: Sample | str | os.PathLike[str]) -> pd.DataFrame:
    """Return what is wanted in the shops in the 13 weeks after the records, drawn once with the sample.

    Columns: outlet_id, product_id, sold_on, mean (true, under the planned promotions), demand (pieces). It is part of the
    truth: for tests of forecasts, never for models.
    """
    return truth(sample, "future")


def _write(folder: Path, outlets: int, years: int, *, seed: int, progress: bool) -> None:
    with tqdm(total=3, unit=" steps", desc="sample dairy", disable=not progress) as bar:
        world = dairy_world.simulate(outlets=outlets, years=years, seed=seed, end=DEFAULT_END)
        bar.update()
        rows = sales.scanned(world)
        exports = {**sales.scanner_files(world, rows), **sales.stock_files(world), **sales.order_files(world)}
        planted = _write_tables(folder, {**exports, **files.tables(world)})
        bar.update()
        dairy_truth.write(folder / "truth", world, rows, planted)
        bar.update()
    feasts = [day for year in range(world.days.start.year, DEFAULT_END.year + 2) for day in holidays(year)]
    text = _COMPANY.format(holidays=", ".join(f'"{day}"' for day in feasts), calls=2 * outlets)
    (folder / "company.toml").write_text(text, encoding="utf-8")


def _write_tables(folder: Path, tables: dict[str, pa.Table]) -> pa.Table:
    """Write the tables, bad rows included; return how many there are by file and rule."""
    planted = []
    for name, table in tables.items():
        kind = name.split("_")[0] if name.startswith("scanner") else name
        out = table if kind in _PARQUET else as_text(table)
        if kind in _SPOILED:
            rule, values = _SPOILED[kind]
            count = min(_MOST_BAD, max(1, table.num_rows // _BAD_SHARE))
            out = pa.concat_tables([out, spoiled(out.slice(0, count), values, mark="X")])
            planted.append({"file": name, "rule": rule, "rows": count})
        if kind in _PARQUET:
            pq.write_table(out, folder / f"{name}.parquet", compression="zstd", write_statistics=False)
        else:
            write_text(folder / f"{name}.csv", out, form=_FORMATS.get(name, Format()))
    return pa.Table.from_pylist(planted)
