"""Where models and scores are kept: files with checksums first, then the row in the store that points at them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
import xgboost as xgb
from sqlalchemy.orm import Session

from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.models import calibration, encode, learner, propensity
from crmlib.models.propensity import Fitted, PropensityModel
from crmlib.store import files, score_sets, session
from crmlib.store.tables import Model

FORMAT_VERSION = 1
_SUMS = "SHA256SUMS"
_ARRAYS = ("coefficients", "covariances", "mean", "variance")


@dataclass(frozen=True)
class Kept:
    """The checked files of one version of any model.

    Attributes: ``as_of`` the latest date whose outcomes it saw; ``metrics`` as given when it was kept; ``folder`` of files.
    """

    name: str
    version: int
    warehouse_version: int
    as_of: dt.date
    metrics: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Registered:
    """A model as it was saved.

    Attributes: ``specification`` is the JSON of its resolved features ("" where it was fitted on another table): build
    with ``features.build(snapshot, features.from_json(specification))``; ``as_of`` the latest date whose outcomes it saw.
    """

    model: PropensityModel
    name: str
    version: int
    warehouse_version: int
    as_of: dt.date
    specification: str
    metrics: dict[str, Any]
    folder: Path

    def table(self, name: str) -> pd.DataFrame:
        """Return a table saved with the model, for example its evaluation; raises NotFoundError for an unknown one."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in self.folder.glob("*.parquet"))) or "none"
            raise NotFoundError(f"model version {self.version} has no table {name}; it has {known}")
        return pd.read_parquet(path)


def save(
    model: PropensityModel,
    *,
    data: Path,
    warehouse_version: int,
    as_of: dt.date,
    now: dt.datetime,
    metrics: Mapping[str, Any],
    specification: str = "",
    tables: Mapping[str, pd.DataFrame] | None = None,
    also: Callable[[Path], Sequence[str]] | None = None,
) -> int:
    """Write a fitted model below ``data/models/propensity/`` and record it in the store; return its version.

    Files: booster.ubj, model.json, features.json, a Parquet file for each of ``tables`` (its evaluation, say) and
    SHA256SUMS, complete under a temporary name before the folder gets its number. ``also`` writes more files into the folder
    and returns their names (``Distilled.write``, say): they are there with the model or not at all. Raises EnvironmentFault
    where they cannot be written; then nothing is left behind.
    """

    def write(folder: Path) -> list[str]:
        more = also(folder) if also else []
        return [*write_model(model, folder, specification), *write_tables(folder, tables or {}), *more]

    return keep(
        write,
        data=data,
        name=propensity.NAME,
        warehouse_version=warehouse_version,
        as_of=as_of,
        now=now,
        metrics=metrics,
    )


def keep(
    write: Callable[[Path], Sequence[str]],
    *,
    data: Path,
    name: str,
    warehouse_version: int,
    as_of: dt.date,
    now: dt.datetime,
    metrics: Mapping[str, Any],
) -> int:
    """Have the files of a model written below ``data/models/NAME/`` and record it in the store; return its version.

    ``write`` puts them into a folder and returns their names; they get checksums and are complete before the folder gets
    its number. Raises EnvironmentFault where they cannot be written; then nothing is left behind.
    """
    parent = data / "models" / name
    with files.reporting(parent), files.staging(parent, data) as work:
        staged = work / "model"
        staged.mkdir()
        checksum = _seal(staged, write(staged))
        with session.publishing(data) as store:
            version = _next_version(store, parent, name)
            folder = parent / f"{version:04d}"
            files.take(work, data, {staged: folder})
            store.add(
                Model(
                    name=name,
                    model_version=version,
                    folder=str(folder.relative_to(data)),
                    checksum=checksum,
                    warehouse_version=warehouse_version,
                    as_of=as_of,
                    created_at=now,
                    metrics=dict(metrics),
                )
            )
    return version


def load(data: Path, name: str = propensity.NAME, version: int | None = None) -> Registered:
    """Return a saved model, the newest or the version asked for, after checking every file against its checksum.

    Raises NotFoundError where there is none, EnvironmentFault where a file is missing, damaged or of a newer format.
    """
    found = kept(data, name, version)
    specification = (found.folder / "features.json").read_text(encoding="utf-8")
    return Registered(
        read_model(found.folder),
        name,
        found.version,
        found.warehouse_version,
        found.as_of,
        specification,
        found.metrics,
        found.folder,
    )


def kept(data: Path, name: str, version: int | None = None, *, command: str = "crm train") -> Kept:
    """Return the files of a model that ``keep`` recorded, the newest or the version asked for, checked.

    Raises NotFoundError where there is none, EnvironmentFault where a file is missing or damaged; both name the ``command``
    that makes a new one.
    """
    with session.session(data) as opened:
        query = sa.select(Model).where(Model.name == name).order_by(Model.model_version.desc()).limit(1)
        found = opened.scalar(query if version is None else query.where(Model.model_version == version))
    if found is None:
        which = f"version {version} of model {name}" if version is not None else f"model {name}"
        raise NotFoundError(f"there is no {which} below {data / 'models'}; train one with `{command}`")
    folder = data / found.folder
    _verify(folder, found.checksum, command)
    return Kept(name, found.model_version, found.warehouse_version, found.as_of, found.metrics, folder)


def save_scores(
    scores: pd.DataFrame,
    *,
    data: Path,
    model_version: int,
    warehouse_version: int,
    as_of: dt.date,
    now: dt.datetime,
    beside: Mapping[str, pd.DataFrame] | None = None,
    lists: pd.DataFrame | None = None,
    run_id: int | None = None,
) -> int:
    """Write a table of propensity scores and record it; return the number of the score set (see ``score_sets.save``)."""
    return score_sets.save(
        scores,
        data=data,
        model=propensity.NAME,
        model_version=model_version,
        warehouse_version=warehouse_version,
        as_of=as_of,
        now=now,
        beside=beside,
        lists=lists,
        run_id=run_id,
    )


def load_scores(data: Path, *, as_of: dt.date | None = None, model_version: int | None = None) -> pd.DataFrame:
    """Return the newest saved propensity scores (of a date, of a model version): those of ``score`` and two version columns.

    Raises NotFoundError where there are none, EnvironmentFault where the file is missing or damaged.
    """
    found = score_sets.newest(data, propensity.NAME, as_of=as_of, model_version=model_version)
    return score_sets.read(data, found)


def load_beside(
    data: Path, name: str, *, as_of: dt.date | None = None, model_version: int | None = None
) -> pd.DataFrame:
    """Return a table saved beside the newest propensity scores (of a date, of a model version), for example "reasons".

    Raises NotFoundError where there are no such scores or no such table.
    """
    return score_sets.beside(
        data, score_sets.newest(data, propensity.NAME, as_of=as_of, model_version=model_version), name
    )


# ---------------------------------------------------------------- files


def write_model(model: PropensityModel, folder: Path, specification: str) -> list[str]:
    """Write a fitted model and its specification into a folder; return the names of the files."""
    fitted = model.fitted_
    used = fitted.learner
    content = {
        "format_version": FORMAT_VERSION,
        "seed": model.seed,
        "products": fitted.products,
        "reliable": fitted.reliable.tolist(),
        "encoding": used.encoding.to_dict(),
        "coefficients": used.coefficients.tolist(),
        "offsets": used.offsets.tolist(),
        "rounds": used.rounds.tolist(),
        "penalty": used.penalty,
        "calibration": {name: getattr(fitted.calibration, name).tolist() for name in _ARRAYS},
        "products_": {name: column.tolist() for name, column in model.products_.items()},
    }
    # Through Python, which notices a disk that is full; the library's own writer does not.
    (folder / "booster.ubj").write_bytes(used.booster.save_raw("ubj"))
    (folder / "model.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (folder / "features.json").write_text(specification, encoding="utf-8")
    return ["booster.ubj", "features.json", "model.json"]


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Write tables as NAME.parquet into a folder; return the names of the files."""
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return [f"{name}.parquet" for name in tables]


def _seal(folder: Path, names: Sequence[str]) -> str:
    """Write the checksums of the files and force all to the disk; return the checksum of the list of checksums."""
    sums = "".join(f"{files.digest(folder / name)}  {name}\n" for name in names)
    (folder / _SUMS).write_text(sums, encoding="utf-8")
    for name in (*names, _SUMS):
        files.sync(folder / name)
    files.sync(folder)
    return hashlib.sha256(sums.encode()).hexdigest()


def read_model(folder: Path) -> PropensityModel:
    """Return the model that ``write_model`` wrote into a folder."""
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if content["format_version"] != FORMAT_VERSION:
        raise EnvironmentFault(
            f"{folder}: format {content['format_version']}, this release reads format {FORMAT_VERSION}; train again"
        )
    booster = xgb.Booster()
    booster.load_model(folder / "booster.ubj")
    used = learner.Learner(
        encoding=encode.from_dict(content["encoding"]),
        booster=booster,
        coefficients=np.array(content["coefficients"]),
        offsets=np.array(content["offsets"]),
        rounds=np.array(content["rounds"]),
        penalty=content["penalty"],
    )
    arrays = {name: np.array(values) for name, values in content["calibration"].items()}
    model = PropensityModel(seed=content["seed"])
    model.restore(
        Fitted(content["products"], used, np.array(content["reliable"]), calibration.Calibration(**arrays)),
        pd.DataFrame(content["products_"]),
    )
    return model


def _next_version(store: Session, parent: Path, name: str) -> int:
    """Return the number after the last one that the store knows or a folder has."""
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
    last = store.scalar(sa.select(sa.func.max(Model.model_version)).where(Model.name == name))
    return max([last or 0, *taken]) + 1


def _verify(folder: Path, checksum: str, command: str) -> None:
    remedy = f"score with another one (--model-version N) or train again with `{command}`"
    sums = folder / _SUMS
    if not sums.exists():
        raise EnvironmentFault(f"{folder}: the files of this model are gone; {remedy}")
    text = sums.read_text(encoding="utf-8")
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        raise EnvironmentFault(f"{sums}: damaged, it is not what was recorded; {remedy}")
    for line in text.splitlines():
        digest, name = line.split("  ", 1)
        if not (folder / name).exists() or files.digest(folder / name) != digest:
            raise EnvironmentFault(f"{folder / name}: missing or damaged, its checksum is wrong; {remedy}")
