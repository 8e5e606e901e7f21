"""Files that a row of the store points at: complete and on the disk before the row is written, with a checksum."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crmlib.errors import EnvironmentFault

if TYPE_CHECKING:
    import pandas as pd


def reserved(folder: Path, stem: str, suffix: str = ".parquet") -> Path:
    """Return a file named after the stem and the first number that is free, made empty so that no other run takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder / f"{stem}-{number}{suffix}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("itertools.count never ends")


def write_parquet(table: pd.DataFrame, path: Path) -> str:
    """Write a table under another name, force it to the disk, rename it; return its checksum."""
    handle, name = tempfile.mkstemp(prefix=".new-", suffix=".parquet", dir=path.parent)
    os.close(handle)
    staged = Path(name)
    try:
        table.to_parquet(staged, index=False)
        staged.chmod(0o644)
        sync(staged)
        checksum = digest(staged)
        staged.replace(path)
        sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)
    return checksum


def add_parquet(
    table: pd.DataFrame, folder: Path, stem: str, *, beside: Mapping[str, pd.DataFrame] | None = None
) -> tuple[Path, str]:
    """Write a table to the next free file of a name, after those ``beside`` it (STEM-NAME.parquet).

    Returns the file and its checksum. Raises EnvironmentFault where it cannot be written; then the name is free again.
    """
    with reporting(folder):
        path = reserved(folder, stem)
        try:
            for name, other in (beside or {}).items():
                write_parquet(other, path.with_name(f"{path.stem}-{name}.parquet"))
            return path, write_parquet(table, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def read_parquet(path: Path, checksum: str, *, remedy: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Return a table after checking its checksum; raises EnvironmentFault, with the ``remedy``, where it is not as written."""
    if not path.exists() or digest(path) != checksum:
        raise EnvironmentFault(f"{path}: missing or changed since it was written; {remedy}")
    import pandas as pd  # noqa: PLC0415  (slow to import; many only want the names and checksums)

    return pd.read_parquet(path, columns=columns)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file, or the entries of a folder where the system allows it, to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """Turn what the system says about a write into a sentence."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{folder}: cannot be written ({error.strerror or error}); make room or choose a folder you may write"
        ) from error
