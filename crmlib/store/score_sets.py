"""Tables of scores: saved by a model, read by decisions and dashboards that never import one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.store import files, session
from crmlib.store.tables import ScoreSet

_COMMANDS = {
    "propensity": "score",
    "customer_value": "value",
    "price_effects": "effects",
    "contact_load": "staffing",
}
"""Commands that are not called as what they make; that of churn_savings is churn."""


def save(
    scores: pd.DataFrame,
    *,
    data: Path,
    model: str,
    model_version: int,
    warehouse_version: int,
    as_of: dt.date,
    now: dt.datetime,
    beside: Mapping[str, pd.DataFrame] | None = None,
    lists: pd.DataFrame | None = None,
    run_id: int | None = None,
) -> int:
    """Write a table of scores as Parquet below ``data/scores/MODEL`` and record it; return the number of the score set.

    The file gets two more columns, model_version and warehouse_version. The tables ``beside`` (reasons, say) lie in
    files named after it: STEM-reasons.parquet, the ``lists`` made from it in the file ``lists_file`` names. They are there
    with the row that names the scores, all or none. Raises EnvironmentFault where a file cannot be written; then nothing is
    recorded and no half of a file is left behind.
    """
    folder = data / "scores" / model
    table = scores.assign(model_version=np.int32(model_version), warehouse_version=np.int32(warehouse_version))
    stem = f"{as_of}-model{model_version:04d}-warehouse{warehouse_version:06d}"
    held = {} if lists is None else {"lists": lists}
    with files.adding(table, folder, stem, data=data, beside=beside, held=held) as (store, path, checksum, work):
        row = ScoreSet(
            model=model,
            model_version=model_version,
            warehouse_version=warehouse_version,
            as_of=as_of,
            file=str(path.relative_to(data)),
            checksum=checksum,
            rows=len(table),
            created_at=now,
            run_id=run_id,
        )
        store.add(row)
        store.flush()
        number = row.score_set_id
        if lists is not None:
            target = lists_file(data, number)
            files.make_folder(target.parent)
            files.take(work, data, {work / "lists.parquet": target})
    return number


def lists_file(data: Path, number: int) -> Path:
    """Return the file of the call lists made from a set of scores."""
    return data / "lists" / f"calls-{number:06d}.parquet"


def command(model: str) -> str:
    """Return the command that makes the scores of a model.

    >>> command("churn_savings"), command("propensity")
    ('crm churn', 'crm score')
    """
    return f"crm {_COMMANDS.get(model, model.partition('_')[0])}"


def _remedy(model: str) -> str:
    return f"score again with `{command(model)}`"


def newest(data: Path, model: str, *, as_of: dt.date | None = None, model_version: int | None = None) -> ScoreSet:
    """Return the newest set of scores of a model (of a date, of a model version); raises NotFoundError for none."""
    query = sa.select(ScoreSet).where(ScoreSet.model == model).order_by(ScoreSet.score_set_id.desc())
    if as_of is not None:
        query = query.where(ScoreSet.as_of == as_of)
    if model_version is not None:
        query = query.where(ScoreSet.model_version == model_version)
    with session.session(data) as opened:
        found = opened.scalar(query.limit(1))
    if found is None:
        wanted = f" as of {as_of}" if as_of else ""
        raise NotFoundError(
            f"there are no {model} scores{wanted} below {data / 'scores'}; make some with `{command(model)}`"
        )
    return found


def read(data: Path, scores: ScoreSet, *, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the table of a set of scores; raises EnvironmentFault where the file is missing or damaged."""
    return files.read_parquet(data / scores.file, scores.checksum, remedy=_remedy(scores.model), columns=columns)


def beside(data: Path, scores: ScoreSet, name: str) -> pd.DataFrame:
    """Return a table saved beside a set of scores, for example "reasons"; raises NotFoundError for an unknown one."""
    file = data / scores.file
    path = file.with_name(f"{file.stem}-{name}.parquet")
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such table beside the scores; {_remedy(scores.model)}")
    return pd.read_parquet(path)


def of_customer(data: Path, scores: ScoreSet, customer_id: str, *, name: str = "") -> pd.DataFrame:
    """Return the rows of one customer in a set of scores, or in the table ``name`` beside it; no rows where there is no such table.

    Reads no more of the file than needed, and so does not compare its checksum. Raises EnvironmentFault where the file
    of the scores is missing, or one cannot be read.
    """
    file = data / scores.file
    path = file.with_name(f"{file.stem}-{name}.parquet") if name else file
    if not path.exists():
        if not name:
            raise EnvironmentFault(f"{path}: missing; {_remedy(scores.model)}")
        return pd.DataFrame({"customer_id": pd.Series(dtype="str")})
    try:
        return pd.read_parquet(path, filters=[("customer_id", "==", customer_id)])
    except (OSError, pa.ArrowInvalid) as error:
        raise EnvironmentFault(f"{path}: cannot be read; {_remedy(scores.model)}") from error
