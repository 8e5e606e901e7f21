"""A made-up company on disk: its files, its mapping and company file, and the truth beside them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crmlib.errors import DataError, EnvironmentFault, NotFoundError

MAPPINGS = Path(__file__).parent / "mappings"
_MARK = "sample.json"


@dataclass(frozen=True)
class Sample:
    """A made-up company on disk.

    Attributes: ``folder`` where it lies; ``files`` to load, with ``mapping`` and the ``company`` file; ``truth`` the
    folder of what no model may read (see ``truth``).
    """

    folder: Path
    files: list[Path]
    mapping: Path
    company: Path
    truth: Path


def put(folder: str | os.PathLike[str], write: Callable[[Path], None], mark: dict[str, str | int]) -> Sample:
    """Have ``write`` fill a new folder and put it in the place of an earlier sample once it is complete.

    ``mark`` says what was made: ``sample``, the name of the company, and the arguments. Raises DataError for a folder that
    holds other files, EnvironmentFault where it cannot be written.
    """
    target = Path(folder)
    if target.exists() and not (target / _MARK).exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} holds other files than a sample; name an empty or a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
            partial = Path(work) / "new"
            partial.mkdir()
            write(partial)
            (partial / _MARK).write_text(json.dumps(mark), encoding="utf-8")
            if target.exists():
                target.rename(Path(work) / "old")
            partial.rename(target)
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: the sample cannot be written ({error}); free some space or name another folder"
        ) from error
    return open_sample(target)


def open_sample(folder: str | os.PathLike[str]) -> Sample:
    """Return the sample that ``bank`` or ``dairy`` wrote into ``folder``; raises NotFoundError where there is none."""
    path = Path(folder)
    if not (path / _MARK).exists():
        raise NotFoundError(
            f"{path} holds no sample; make one with samples.bank(folder=...) or samples.dairy(folder=...)"
        )
    name = json.loads((path / _MARK).read_text(encoding="utf-8"))["sample"]
    found = sorted([*path.glob("*.csv"), *path.glob("*.parquet")])
    return Sample(path, found, MAPPINGS / f"{name}.toml", path / "company.toml", path / "truth")


def truth(sample: Sample | str | os.PathLike[str], name: str) -> pd.DataFrame:
    """Return a table of the truth, which no model may read; its days are timestamps.

    Which tables a company has and what their columns mean is said in docs/sample_bank.md and docs/sample_dairy.md.

    Raises NotFoundError for a folder without a sample or another name.
    """
    folder = (sample if isinstance(sample, Sample) else open_sample(sample)).truth
    names = sorted(path.name for path in folder.iterdir())
    if name not in names:
        raise NotFoundError(f"the sample has no truth about {name}; there are {', '.join(names)}")
    parts = [pq.read_table(path) for path in sorted((folder / name).glob("*.parquet"))]
    out = pa.concat_tables(parts).unify_dictionaries().to_pandas()
    days = [field.name for field in parts[0].schema if pa.types.is_date(field.type)]
    return out.assign(**{day: pd.to_datetime(out[day]) for day in days})
