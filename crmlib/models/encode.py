"""Feature tables as matrices: one coding for trees, one for linear models, fixed when fitted and saved as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError

KEYS = ("customer_id", "as_of")
MAX_LEVELS = 40
_CLIP = 4.0


@dataclass(frozen=True)
class Encoding:
    """How the columns of a feature table become numbers.

    Attributes, in the order of the columns: ``numeric`` names with ``scales`` (the linear models see asinh(x / scale)),
    ``means`` and ``deviations`` of that, and ``gaps``, the share missing where gaps get a column of their own, else 0; ``levels`` of the categorical
    columns, commonest first, with their ``shares`` (unseen and rare levels count as missing); ``typical`` value of each
    column: the median or the commonest level.
    """

    numeric: list[str]
    scales: list[float]
    means: list[float]
    deviations: list[float]
    gaps: list[float]
    levels: dict[str, list[str]]
    shares: dict[str, list[float]]
    typical: dict[str, float | str | None]

    @property
    def columns(self) -> list[str]:
        """Names of the columns used, numeric first."""
        return [*self.numeric, *self.levels]

    @property
    def tree_types(self) -> list[str]:
        """XGBoost's feature types: q for numbers, c for codes of levels."""
        return ["q"] * len(self.numeric) + ["c"] * len(self.levels)

    @property
    def sources(self) -> np.ndarray:
        """For each column of the linear matrix the place of its feature in ``columns``."""
        own = list(range(len(self.numeric)))
        missing = [place for place, gap in enumerate(self.gaps) if gap]
        dummies = [len(own) + place for place, levels in enumerate(self.levels.values()) for _ in levels]
        return np.array([*own, *missing, *dummies], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, for JSON."""
        return asdict(self)

    def check(self, features: pd.DataFrame) -> None:
        """Raise DataError where ``features`` lacks a column, or has text where numbers were fitted."""
        missing = [name for name in self.columns if name not in features.columns]
        if missing:
            raise DataError(
                f"the features lack {len(missing)} columns the model was fitted on ({', '.join(missing[:5])});"
                " build them with the model's own specification"
            )
        wrong = [name for name in self.numeric if not _is_number(features[name])]
        if wrong:
            raise DataError(
                f"feature {wrong[0]} is {features[wrong[0]].dtype}, but the model was fitted on numbers in it; convert it"
            )

    def tree_matrix(self, features: pd.DataFrame) -> np.ndarray:
        """Return float32 (rows x columns): numbers as they are, levels as codes, nan for missing or unseen."""
        self.check(features)
        out = np.empty((len(features), len(self.columns)), dtype=np.float32)
        for place, name in enumerate(self.numeric):
            out[:, place] = _values(features[name])
        for place, (name, levels) in enumerate(self.levels.items(), start=len(self.numeric)):
            code = _codes(features[name], levels)
            out[:, place] = np.where(code < 0, np.nan, code)
        return out

    def linear_matrix(self, tree: np.ndarray) -> np.ndarray:
        """Return the standardised float32 matrix (rows x ``sources``) made from the tree matrix.

        A missing number counts as average; where it was missing in training too, a column says so.
        """
        return np.ascontiguousarray(self.linear_columns(tree).T)

    def linear_columns(self, tree: np.ndarray) -> np.ndarray:
        """Return the same matrix lying on its side (``sources`` x rows), as it is made."""
        count = len(self.numeric)
        out = np.empty((len(self.sources), len(tree)), dtype=np.float32)
        numbers = out[:count]
        np.divide(tree[:, :count].T, np.array(self.scales, dtype=np.float32)[:, None], out=numbers)
        absent = np.isnan(numbers)
        np.arcsinh(numbers, out=numbers)
        numbers -= np.array(self.means, dtype=np.float32)[:, None]
        numbers /= np.array(self.deviations, dtype=np.float32)[:, None]
        numbers[absent] = 0
        np.clip(numbers, -_CLIP, _CLIP, out=numbers)
        column = count
        for place in np.flatnonzero(self.gaps):
            out[column] = absent[place] - np.float32(self.gaps[place])
            column += 1
        for at, (name, levels) in enumerate(self.levels.items(), start=count):
            for code in range(len(levels)):
                out[column] = (tree[:, at] == code) - np.float32(self.shares[name][code])
                column += 1
        return out


def fit(features: pd.DataFrame) -> Encoding:
    """Return the coding of a feature table; columns that never vary are left out.

    In: any columns beside customer_id and as_of; numbers and booleans, or text and categories. Raises DataError for a
    date or list column, and where no column varies.
    """
    numeric: list[str] = []
    figures: list[tuple[float, float, float, float]] = []
    typical: dict[str, float | str | None] = {}
    levels: dict[str, list[str]] = {}
    shares: dict[str, list[float]] = {}
    for name in [column for column in features.columns if column not in KEYS]:
        column = features[name]
        if _is_number(column):
            found = _figures(_values(column))
            if found is not None:
                numeric.append(str(name))
                figures.append(found[:4])
                typical[str(name)] = found[4]
        elif pd.api.types.is_datetime64_any_dtype(column.dtype):
            raise DataError(f"feature {name} holds dates; turn it into a number, for example days before as_of")
        else:
            counts = column.astype("str").value_counts() if column.dtype == object else column.value_counts()
            counts = counts[counts >= max(10, len(features) // 2000)][:MAX_LEVELS]
            if len(counts) and (len(counts) > 1 or counts.iloc[0] < len(features)):
                levels[str(name)] = [str(level) for level in counts.index]
                shares[str(name)] = [float(share) for share in counts / len(features)]
                typical[str(name)] = str(counts.index[0])
    if not numeric and not levels:
        raise DataError("no feature column varies, so there is nothing to learn from; check the feature table")
    scales, means, deviations, gaps = zip(*figures, strict=True) if figures else ((), (), (), ())
    return Encoding(numeric, list(scales), list(means), list(deviations), list(gaps), levels, shares, typical)


def from_dict(values: dict[str, Any]) -> Encoding:
    """Return the coding written by ``Encoding.to_dict``."""
    return Encoding(**values)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)


def _values(column: pd.Series) -> np.ndarray:
    values = column.to_numpy(dtype=np.float32, na_value=np.nan)
    return np.where(np.isinf(values), np.nan, values)


def _codes(column: pd.Series, levels: list[str]) -> np.ndarray:
    if isinstance(column.dtype, pd.CategoricalDtype):
        place = pd.Index(levels).get_indexer(column.cat.categories.astype(str))
        return np.append(place, -1)[column.cat.codes.to_numpy()]
    return pd.Index(levels).get_indexer(pd.Index(column.astype("str")))


def _figures(values: np.ndarray) -> tuple[float, float, float, float, float] | None:
    """Return scale, mean and deviation after asinh, the share of gaps if it matters, the median; None for a constant."""
    present = values[~np.isnan(values)].astype(np.float64)
    if len(present) == 0 or (present.min() == present.max() and len(present) == len(values)):
        return None
    size = np.abs(present[present != 0])
    scale = float(np.median(size)) if len(size) else 1.0
    squeezed = np.arcsinh(present / scale)
    deviation = float(squeezed.std())
    missing = 1 - len(present) / len(values)
    gap = missing if 0.005 < missing < 0.995 else 0.0
    return scale, float(squeezed.mean()), deviation if deviation > 0 else 1.0, gap, float(np.median(present))
