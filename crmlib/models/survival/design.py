"""Covariates as the columns of a regression that a person will read: numbers as they are, levels against a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg

from crmlib.errors import DataError
from crmlib.models.encode import KEYS

_ALIASED = 1e-8
_EMPTY, _RARE = "(empty)", "(rare)"


@dataclass(frozen=True)
class Design:
    """How covariates become columns.

    Attributes: ``numeric`` names with the ``means`` that stand for gaps; ``levels``, for each other covariate its
    reference and then the levels with a column; ``names`` of the columns kept, as "name" or "name=level"; ``kept``, their
    places among all; ``dropped``, names of columns that others determine.
    """

    numeric: dict[str, float]
    levels: dict[str, list[str]]
    names: list[str]
    kept: np.ndarray
    dropped: list[str]

    def matrix(self, covariates: pd.DataFrame) -> np.ndarray:
        """Return rows x ``names``; a gap counts as the mean, a level not seen when fitted as rare, else as the reference."""
        missing = [name for name in (*self.numeric, *self.levels) if name not in covariates.columns]
        if missing:
            raise DataError(f"the covariates lack {', '.join(missing[:5])}, which the model was fitted on; add them")
        return _every(covariates, self.numeric, self.levels)[:, self.kept]


def fit(covariates: pd.DataFrame, *, gaps: bool = False, rare: int = 0) -> Design:
    """Return the design of a table of covariates; customer_id and as_of are left out, as is what never varies.

    The reference of a text column is its commonest level, of a categorical one its first category. Levels of fewer rows
    than ``rare`` are one, "(rare)"; if even that has fewer, they count as the reference. Columns that the ones before them
    determine are dropped: the fit stays the same. Raises DataError for gaps unless ``gaps``, for dates, and where nothing
    varies.

    >>> fit(pd.DataFrame({"age": [30, 40, 50], "sex": ["f", "m", "f"]})).names
    ['age', 'sex=m']
    """
    numeric: dict[str, float] = {}
    levels: dict[str, list[str]] = {}
    for name in [column for column in covariates.columns if column not in KEYS]:
        column = covariates[name]
        if column.isna().any() and not gaps:
            raise DataError(
                f"covariate {name} is empty in {int(column.isna().sum())} of {len(column)} rows; fill it or leave it out"
            )
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            raise DataError(f"covariate {name} holds dates; turn it into a number, for example days before as_of")
        if pd.api.types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(dtype=float, na_value=np.nan)
            if len(values) and np.isfinite(values).any() and np.nanmin(values) < np.nanmax(values):
                numeric[str(name)] = float(np.nanmean(values))
        else:
            found = _ordered(column, rare)
            if len(found) > 1:
                levels[str(name)] = found
    every = [*numeric, *[f"{name}={level}" for name, found in levels.items() for level in found[1:]]]
    if not every:
        raise DataError("no covariate varies, so there is nothing to estimate; check the table")
    kept = _independent(_every(covariates, numeric, levels))
    names = [every[place] for place in kept]
    return Design(numeric, levels, names, kept, [name for name in every if name not in names])


def _ordered(column: pd.Series, rare: int) -> list[str]:
    """Return the levels with the reference first."""
    counts = column.dropna().astype("str").value_counts().sort_index()
    if isinstance(column.dtype, pd.CategoricalDtype):
        found = [str(level) for level in column.cat.categories if counts.get(str(level), 0) > 0]
    else:
        found = [str(level) for level in counts.sort_values(ascending=False, kind="stable").index]
    few = [level for level in found[1:] if counts[level] < rare]
    found = [level for level in found if level not in few]
    found += [_RARE] if few and counts[few].sum() >= rare else []
    return [*found, _EMPTY] if column.isna().any() else found


def _every(covariates: pd.DataFrame, numeric: dict[str, float], levels: dict[str, list[str]]) -> np.ndarray:
    columns = []
    for name, mean in numeric.items():
        values = covariates[name].to_numpy(dtype=float, na_value=np.nan)
        columns.append(np.where(np.isnan(values), mean, values))
    for name, found in levels.items():
        text = covariates[name].astype("str").astype(object).where(covariates[name].notna(), _EMPTY).to_numpy()
        if _RARE in found:
            text = np.where(np.isin(text, found), text, _RARE)
        columns += [(text == level).astype(float) for level in found[1:]]
    return np.column_stack(columns)


def _independent(matrix: np.ndarray) -> np.ndarray:
    """Return the places of the columns that are no linear combination of the ones before them and the constant."""
    centred = matrix - matrix.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    scaled = centred / np.where(size > 0, size, 1)
    triangle = linalg.qr(scaled, mode="r")[0][: scaled.shape[1]]
    kept: list[int] = []
    basis = np.zeros((triangle.shape[0], 0))
    for place in range(triangle.shape[1]):
        column = triangle[:, place]
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        length = float(np.linalg.norm(rest))
        if length > _ALIASED:
            kept.append(place)
            basis = np.column_stack([basis, rest / length])
    return np.array(kept, dtype=int)
