"""Files of public data sets: finding them in ``CRM_REAL_DATA``, else downloading them, always by checksum."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch

from crmlib import paths
from crmlib.errors import DataError, EnvironmentFault, NotFoundError


@dataclass(frozen=True)
class Published:
    """One file of a public data set.

    Attributes: ``file`` its path below ``CRM_REAL_DATA`` and below the cache (a copy with ``.gz`` added is found too);
    ``checksum`` of its uncompressed bytes as ``algorithm:digest``, "" for a file converted from another format, whose
    bytes depend on who converted it; ``url`` where it can be downloaded, "" where there is no stable address;
    ``member`` the names of the nested zip archives and of the file in them; ``remedy`` what to do where there is no address.
    """

    file: str
    checksum: str = ""
    url: str = ""
    member: tuple[str, ...] = ()
    remedy: str = ""


def cache_folder() -> Path:
    """Return the folder downloads are kept in: ``samples/public`` below the data folder."""
    return paths.data_folder() / "samples" / "public"


def find(published: Published, *, cache: Path | None = None) -> Path | None:
    """Return where the file lies, in the folder named by ``CRM_REAL_DATA`` or in the cache; None where it is in neither."""
    real = os.environ.get("CRM_REAL_DATA")
    for folder in [*([Path(real)] if real else []), cache or cache_folder()]:
        for name in (published.file, published.file + ".gz"):
            if (folder / name).is_file():
                return folder / name
    return None


def content(published: Published, *, cache: Path | None = None) -> bytes:
    """Return the uncompressed bytes of a file: the one found, else downloaded into the cache.

    Raises DataError where the checksum differs, NotFoundError where the file is missing and has no address to download
    it from, EnvironmentFault where the download fails or the cache cannot be written.
    """
    found = find(published, cache=cache)
    if found:
        data = _read(found)
        _check(data, published, where=str(found))
        return data
    if not published.url:
        raise NotFoundError(
            f"{published.file}: not found and there is no stable address to download it from; {published.remedy}, "
            f"and put it below the folder named by the environment variable CRM_REAL_DATA"
        )
    data = _download(published)
    keep(data, (cache or cache_folder()) / published.file)
    return data


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return _gunzip(data, where=str(path)) if path.suffix == ".gz" else data


def _gunzip(data: bytes, *, where: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: not a whole gzip file ({error}); remove it and get it again") from error


def _download(published: Published) -> bytes:
    """Download a file and return its checked bytes; what is packed is unpacked first, for its own checksum may change."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "download"
        try:
            pooch.HTTPDownloader(progressbar=True)(published.url, str(path), None)
        except OSError as error:  # includes everything the network can do
            raise EnvironmentFault(
                f"{published.url}: could not be downloaded ({error}); mend the connection, or get "
                f"{Path(published.file).name} elsewhere and put it at {published.file} below the folder named by CRM_REAL_DATA"
            ) from error
        data = path.read_bytes()
    if published.url.endswith(".gz"):
        data = _gunzip(data, where=published.url)
    for name in published.member:
        data = _member(data, name, published=published)
    _check(data, published, where=published.url)
    return data


def _member(archive: bytes, name: str, *, published: Published) -> bytes:
    """Return the file called ``name``, in whichever folder of the zip archive it lies."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            listed = [entry for entry in opened.namelist() if PurePosixPath(entry).name == name]
            return opened.read(listed[0])
    except (zipfile.BadZipFile, IndexError) as error:
        raise DataError(
            f"{published.url}: is not the published archive, it holds no {name}; get the file elsewhere and put it at "
            f"{published.file} below the folder named by CRM_REAL_DATA"
        ) from error


def _check(data: bytes, published: Published, *, where: str) -> None:
    if not published.checksum:
        return
    algorithm, _, digest = published.checksum.partition(":")
    if hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() != digest:
        raise DataError(
            f"{where}: the {algorithm} checksum of {Path(published.file).name} is not the published {digest}; "
            "the file is damaged or was changed, get it again"
        )


def keep(data: bytes, path: Path) -> None:
    """Write a file so that it is there whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be written ({error.strerror}); free space, or give another folder with CRM_DATA"
        ) from error
