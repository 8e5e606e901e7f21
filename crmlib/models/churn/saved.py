"""Churn models on disk: kept in the registry with their definition, so that a saved version scores again bit by bit."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import EnvironmentFault
from crmlib.models import registry
from crmlib.models.churn import definitions
from crmlib.models.churn.risk import ChurnModel, Fitted, Window
from crmlib.models.churn.shares import Shares

FORMAT_VERSION = 1
COMMAND = "crm churn"
_FILE = "churn.json"


@dataclass(frozen=True)
class Saved:
    """A churn model as it was saved.

    Attributes: ``specification`` is the JSON of its resolved features: build with ``features.build(snapshot,
    features.from_json(specification))``; ``as_of`` the last day whose outcomes it was fitted or calibrated on.
    """

    model: ChurnModel
    kept: registry.Kept
    specification: str

    @property
    def version(self) -> int:
        """The number of this version of the model."""
        return self.kept.version

    def table(self, name: str) -> pd.DataFrame:
        """Return a table saved with the model: evaluation, calibration, hazards or competing."""
        return pd.read_parquet(self.kept.folder / f"{name}.parquet")


def save(
    model: ChurnModel,
    *,
    data: Path,
    warehouse_version: int,
    as_of: dt.date,
    now: dt.datetime,
    specification: str,
    metrics: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
) -> int:
    """Write a fitted model below ``data/models/`` under its definition's name and record it; return its version."""
    fitted = model.fitted_
    content = {
        "format_version": FORMAT_VERSION,
        "definition": definitions.to_json(model.definition),
        "windows": [asdict(window) for window in fitted.windows],
        "shares": {
            "reasons": list(fitted.shares.reasons),
            "coefficients": fitted.shares.coefficients.tolist(),
            "penalty": fitted.shares.penalty,
        },
        "reasons_": model.reasons_.to_dict("list"),
    }

    def write(folder: Path) -> list[str]:
        (folder / _FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        names = registry.write_model(model.as_propensity(), folder, specification)
        return [_FILE, *names, *registry.write_tables(folder, tables)]

    return registry.keep(
        write,
        data=data,
        name=model.definition.name,
        warehouse_version=warehouse_version,
        as_of=as_of,
        now=now,
        metrics={**metrics, "definition": definitions.described(model.definition)},
    )


def load(data: Path, name: str = "churn", version: int | None = None) -> Saved:
    """Return a saved churn model, the newest or the version asked for, after checking every file.

    Raises NotFoundError where there is none, EnvironmentFault where a file is missing, damaged or of another format.
    """
    kept = registry.kept(data, name, version, command=COMMAND)
    content = json.loads((kept.folder / _FILE).read_text(encoding="utf-8"))
    if content["format_version"] != FORMAT_VERSION:
        raise EnvironmentFault(
            f"{kept.folder}: format {content['format_version']}, this release reads format {FORMAT_VERSION};"
            f" train again with `{COMMAND}`"
        )
    left = registry.read_model(kept.folder)
    shares = content["shares"]
    fitted = Fitted(
        left.fitted_,
        tuple(Window(**{**one, "spread": tuple(one["spread"])}) for one in content["windows"]),
        Shares(tuple(shares["reasons"]), np.array(shares["coefficients"]), shares["penalty"]),
    )
    model = ChurnModel(definitions.from_json(content["definition"]), seed=left.seed)
    model.restore(fitted, pd.DataFrame(content["reasons_"]))
    return Saved(model, kept, (kept.folder / "features.json").read_text(encoding="utf-8"))
