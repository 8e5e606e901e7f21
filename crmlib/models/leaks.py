"""Inputs that predict too well to be true, or were not known when the score is wanted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models import encode, metrics, pairs

REASONS = ("predicts_too_well", "filled_by_the_outcome", "known_afterwards")
THRESHOLD = 0.80
_FOLDS = 5
_CELLS = 20
_FEW = 30


def check(
    features: pd.DataFrame,
    labels: pd.DataFrame | pd.Series | np.ndarray,
    *,
    threshold: float = THRESHOLD,
    known_at: Mapping[str, pd.Series] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the inputs that must be looked into before anybody believes the model: one row per finding, or none.

    In: features and labels as for ``PropensityModel.fit``; ``known_at`` gives for a feature the moment from which each
    of its values was known, row by row.

    Out: feature, product_id ("" for a plain table), reason, auc, low, high, buyers, and rows (known too late).
    ``predicts_too_well``: alone it orders buyers before others with an AUC whose whole 95% interval is above
    ``threshold`` (for orientation: whole models reach .55 to .80, and above .90 Pega suspects a leak).
    ``filled_by_the_outcome``: it is empty for buyers and filled for others, or the other way round, by 90 points.
    ``known_afterwards``: some values became known after ``as_of``.

    The AUC is of the buying rates of 20 equal bins (or levels; empty is one more) learnt on other customers, so any form
    of dependence counts and chance does not. Products with fewer than 30 buyers are not judged.
    """
    bought, products = _outcomes(features, labels)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(len(features)) % _FOLDS)
    rows: list[dict[str, object]] = []
    judged = [
        (product, able, bought[able, place])
        for place, product in enumerate(products)
        if min(((able := bought[:, place] >= 0) & (bought[:, place] == 1)).sum(), (bought[:, place] == 0).sum()) >= _FEW
    ]
    for name in [column for column in features.columns if column not in encode.KEYS]:
        cells, absent = _cells(features[name])
        joint = cells * _FOLDS + fold
        for product, able, outcome in judged:
            found = _held_out_auc(joint[able], outcome)
            reason = _reason(found, outcome, absent[able], threshold)
            if reason:
                rows.append({**_row(name, product, reason), **found._asdict(), "buyers": int(outcome.sum())})
    rows += _late(features, known_at or {})
    columns = ["feature", "product_id", "reason", "auc", "low", "high", "buyers", "rows"]
    table = pd.DataFrame(rows).rename(columns={"value": "auc"}).reindex(columns=columns)
    return table.sort_values(["auc", "feature"], ascending=[False, True], ignore_index=True)


def _row(name: str, product: str, reason: str) -> dict[str, object]:
    return {"feature": str(name), "product_id": product, "reason": reason}


def _outcomes(features: pd.DataFrame, labels: pd.DataFrame | pd.Series | np.ndarray) -> tuple[np.ndarray, list[str]]:
    if isinstance(labels, pd.DataFrame):
        products = sorted(str(name) for name in labels["product_id"].unique())
        return pairs.matrix(labels, features, products), products
    values = np.asarray(labels).reshape(-1)
    if len(values) != len(features):
        raise DataError(f"there are {len(features)} rows of features but {len(values)} outcomes; give one for each row")
    return values.astype(np.int8)[:, None], [""]


def _cells(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row the number of its bin or level (0 where empty), and where it is empty."""
    absent = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        edges = np.unique(np.nanquantile(values, np.arange(1, _CELLS) / _CELLS)) if not absent.all() else np.zeros(0)
        code = np.searchsorted(edges, values, side="left") + 1
    else:
        code = pd.factorize(column)[0] + 1
    return np.where(absent, 0, code), absent


def _held_out_auc(joint: np.ndarray, outcome: np.ndarray) -> metrics.Estimate:
    """Return the AUC of the buying rate of each row's cell among the other folds, drawn to the overall by ten customers.

    ``joint`` is cell x folds + fold. All rows of one cell and fold have one rate, so counting them is enough.
    """
    size = -(-(int(joint.max()) + 1) // _FOLDS)
    seen = np.bincount(joint, minlength=size * _FOLDS).reshape(size, _FOLDS)
    hits = np.bincount(joint[outcome == 1], minlength=size * _FOLDS).reshape(size, _FOLDS)
    others = seen.sum(axis=1, keepdims=True) - seen
    rate = (hits.sum(axis=1, keepdims=True) - hits + 10 * outcome.mean()) / (others + 10)
    return metrics.auc_of_groups(rate.ravel(), hits.ravel(), (seen - hits).ravel())


def _reason(found: metrics.Estimate, outcome: np.ndarray, absent: np.ndarray, threshold: float) -> str:
    if absent.any() and abs(absent[outcome == 1].mean() - absent[outcome == 0].mean()) >= 0.9:
        return "filled_by_the_outcome"
    certain = found.value == 1 or found.low > threshold
    return "predicts_too_well" if certain else ""


def _late(features: pd.DataFrame, known_at: Mapping[str, pd.Series]) -> list[dict[str, object]]:
    rows = []
    for name, moments in known_at.items():
        if name not in features.columns or len(moments) != len(features):
            raise DataError(
                f"known_at of {name}: give a moment for each of the {len(features)} rows of an existing feature"
            )
        if "as_of" not in features.columns:
            raise DataError("known_at needs a column as_of in the features to compare with; add it")
        after = (
            pd.to_datetime(moments).to_numpy() >= (pd.to_datetime(features["as_of"]) + pd.Timedelta(days=1)).to_numpy()
        )
        late = int((after & features[name].notna().to_numpy()).sum())
        if late:
            rows.append({**_row(name, "", "known_afterwards"), "rows": late})
    return rows
