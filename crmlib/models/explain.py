"""Why does this customer score high or low: reason codes with parameters, additive in log-odds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError, NotFoundError
from crmlib.models import boost, pairs
from crmlib.models.propensity import Fitted, PropensityModel

BASE = "(base)"
_CHUNK = 2_000


def contributions(model: PropensityModel, features: pd.DataFrame, product_id: str) -> pd.DataFrame:
    """Return what each feature adds to the calibrated log-odds of one product.

    Out, a row per row of ``features`` in the same order: a column per feature the model uses and "(base)"; their sum is
    the log-odds of the score. The booster's part are Shapley values (Lundberg et al. 2020, TreeSHAP), the regression's
    are coefficient x (value - training mean), each times its weight in the calibration. Raises NotFoundError for a
    product that the model does not know.
    """
    fitted = model.fitted_
    place = _place(fitted, product_id)
    parts = [found[:, place] for _, found in _chunks(fitted, features, [place])]
    values = np.concatenate(parts) if parts else np.zeros((0, len(fitted.learner.encoding.columns) + 1))
    return pd.DataFrame(values, columns=[*fitted.learner.encoding.columns, BASE], index=features.index)


def reasons(
    model: PropensityModel,
    features: pd.DataFrame,
    chosen: pd.DataFrame,
    *,
    meanings: pd.DataFrame | None = None,
    top: int = 3,
) -> pd.DataFrame:
    """Return the strongest reasons for and against each chosen pair of customer and product.

    In: ``chosen`` with customer_id, as_of, product_id (a call list or scores); ``meanings`` as ``features.describe`` of
    the model's own specification: features of one code and level are one reason; without it each feature is its own code.

    Out, a row per reason: customer_id, as_of, product_id, direction ("for" or "against"), rank (1 is the strongest),
    code, contribution (log-odds), parameters (a dictionary: feature and its value, of the group's strongest; typical,
    its training median or commonest level; months, level and unit as in ``meanings``). A value or typical that is
    missing is None. Raises DataError where ``chosen`` holds a customer without features.
    """
    fitted = model.fitted_
    row = pairs.rows_of(chosen, features)
    if (row < 0).any():
        missing = chosen["customer_id"].iloc[int(np.argmax(row < 0))]
        raise DataError(f"customer {missing} has no row in the features of that date; build them for the same as_of")
    place = np.array([_place(fitted, str(name)) for name in chosen["product_id"].unique()])
    code = place[pd.factorize(chosen["product_id"])[0]]
    groups, group_of = _groups(fitted, meanings)
    rows_used, at = np.unique(row, return_inverse=True)
    out: list[dict[str, Any]] = []
    for first, found in _chunks(fitted, features.iloc[rows_used], sorted(set(place.tolist()))):
        last = first + len(found)
        for pair in np.flatnonzero((at >= first) & (at < last)):
            part = found[at[pair] - first, code[pair], :-1]
            for reason in _strongest(part, groups, group_of, top):
                out.append({"pair": pair, **reason, "row": row[pair]})
    keys = chosen[["customer_id", "as_of", "product_id"]].reset_index(drop=True)
    table = _with_parameters(out, fitted, features, groups)
    return keys.iloc[table["pair"]].reset_index(drop=True).join(table.drop(columns="pair"))


def codes(meanings: pd.DataFrame) -> list[str]:
    """Return every code that ``reasons`` can give for a specification, for the catalogues that word them.

    >>> codes(pd.DataFrame({"code": ["balance_latest", "contacts_count", "balance_latest"]}))
    ['balance_latest', 'contacts_count']
    """
    return sorted(meanings["code"].unique().tolist())


def _place(fitted: Fitted, product_id: str) -> int:
    try:
        return fitted.products.index(product_id)
    except ValueError:
        raise NotFoundError(
            f"the model knows no product {product_id}; it was fitted on {', '.join(fitted.products)}"
        ) from None


def _chunks(fitted: Fitted, features: pd.DataFrame, places: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row's number and the contributions (rows x products x features and base) of each chunk of rows."""
    used, encoding = fitted.learner, fitted.learner.encoding
    outcomes, count = len(used.offsets), len(encoding.columns)
    for first in range(0, len(features), _CHUNK):
        tree = encoding.tree_matrix(features.iloc[first : first + _CHUNK])
        design = encoding.linear_matrix(tree).astype(np.float64)
        data = boost.matrix(tree, encoding)
        shap = used.booster.predict(data, pred_contribs=True).reshape(len(tree), outcomes, count + 1)
        found = np.zeros((len(tree), len(fitted.products), count + 1))
        for place in places:
            constant, by_tree, by_line, by_pool = fitted.calibration.coefficients[place]
            own = fitted.reliable[place]
            weights = {place: (own * by_tree, own * by_line)}
            if outcomes > len(fitted.products):
                pooled = (1 - own) * by_pool / 2
                weights[outcomes - 1] = (pooled, pooled)
            elif own < 1:
                raise AssertionError("a pooled share needs a pooled outcome")
            for outcome, (tree_weight, line_weight) in weights.items():
                slopes = used.coefficients[:, outcome].astype(np.float32).astype(np.float64)
                found[:, place] += tree_weight * shap[:, outcome]
                np.add.at(found[:, place].T, encoding.sources, (line_weight * design * slopes[:-1]).T)
                found[:, place, -1] += line_weight * slopes[-1]
            found[:, place, -1] += constant + used.offsets[place]
        yield first, found


def _groups(fitted: Fitted, meanings: pd.DataFrame | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the meaning of each feature used (name, code, level, months, unit) and the number of its reason."""
    names = fitted.learner.encoding.columns
    known = pd.DataFrame({"name": names})
    if meanings is None:
        table = known.assign(code=names, level="", months=None, unit="")
    else:
        columns = ["name", "code", "level", "months", "unit"]
        table = known.merge(meanings[columns], on="name", how="left", validate="one_to_one")
        table["code"] = table["code"].fillna(table["name"])
    return table, table.groupby(["code", "level"], dropna=False, sort=False).ngroup().to_numpy()


def _strongest(part: np.ndarray, groups: pd.DataFrame, group_of: np.ndarray, top: int) -> Iterator[dict[str, Any]]:
    sums = np.bincount(group_of, part)
    order = np.argsort(-sums, kind="stable")
    for direction, numbers, sign in (("for", order[:top], 1), ("against", order[::-1][:top], -1)):
        for rank, number in enumerate(numbers, start=1):
            if sign * sums[number] <= 0:
                break
            members = np.flatnonzero(group_of == number)
            strongest = members[np.argmax(sign * part[members])]
            yield {
                "direction": direction,
                "rank": rank,
                "code": str(groups["code"].iloc[strongest]),
                "contribution": float(sums[number]),
                "feature": int(strongest),
            }


def _with_parameters(
    out: list[dict[str, Any]], fitted: Fitted, features: pd.DataFrame, groups: pd.DataFrame
) -> pd.DataFrame:
    """Replace the number of the feature and of the row in each reason by the parameters of its code."""
    columns = ["pair", "direction", "rank", "code", "contribution", "parameters"]
    for reason in out:
        feature = groups.iloc[reason.pop("feature")]
        value = features[feature["name"]].iloc[reason.pop("row")]
        reason["parameters"] = {
            "feature": feature["name"],
            "value": _plain(value),
            "typical": fitted.learner.encoding.typical[feature["name"]],
            **{name: _plain(feature[name]) for name in ("months", "level", "unit")},
        }
    return pd.DataFrame(out, columns=columns).sort_values("pair", kind="stable", ignore_index=True)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: None for missing, Python's own number or text otherwise."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
