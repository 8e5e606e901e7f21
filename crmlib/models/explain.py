"""Why does this customer score high or low: reason codes with parameters, additive in log-odds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from crmlib.errors import DataError, NotFoundError
from crmlib.models import boost, pairs
from crmlib.models.propensity import Fitted, PropensityModel

BASE = "(base)"
_CHUNK = 2_000
_ALIKE = ("code", "table", "column", "where", "by", "level")  # features that agree in these are one reason


def contributions(model: PropensityModel, features: pd.DataFrame, product_id: str) -> pd.DataFrame:
    """Return what each feature adds to the calibrated log-odds of one product.

    Out, a row per row of ``features`` in the same order: a column per feature the model uses and "(base)"; their sum is
    the log-odds of the score. The booster's part are Shapley values (Lundberg et al. 2020, TreeSHAP), the regression's
    are coefficient x (value - training mean), each times its weight in the calibration. Raises NotFoundError for a
    product that the model does not know.
    """
    fitted = model.fitted_
    place = _place(fitted, product_id)
    trees = boost.apart(fitted.learner.booster, {place, len(fitted.learner.offsets) - 1})
    values = _contributions(fitted, features, place, trees=trees)
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
    the model's own specification: features that differ in nothing but months and unit are one reason; without it each
    feature is its own code.

    Out, a row per reason: customer_id, as_of, product_id, direction ("for" or "against"), rank (1 is the strongest),
    code, contribution (log-odds), parameters (a dictionary: feature and its value, of the group's strongest; typical,
    its training median or commonest level; and what ``meanings`` says of the feature). A value or typical that is
    missing is None. Raises DataError where ``chosen`` holds a customer without features.
    """
    fitted = model.fitted_
    row = pairs.rows_of(chosen, features)
    if (row < 0).any():
        missing = chosen["customer_id"].iloc[int(np.argmax(row < 0))]
        raise DataError(f"customer {missing} has no row in the features of that date; build them for the same as_of")
    chosen = chosen[["customer_id", "as_of", "product_id"]].reset_index(drop=True)
    groups, group_of = grouped(fitted, meanings)
    wanted = chosen.groupby("product_id", observed=True, sort=False).indices
    places = {product: _place(fitted, str(product)) for product in wanted}
    trees = boost.apart(fitted.learner.booster, {*places.values(), len(fitted.learner.offsets) - 1})
    out = [pd.DataFrame({"pair": [], "direction": [], "rank": [], "contribution": [], "feature": []})]
    for product, at in wanted.items():
        found = _contributions(fitted, features.iloc[row[at]], places[product], trees=trees)
        out += _strongest(found[:, :-1], np.asarray(at), group_of, top)
    table = pd.concat([part for part in out if len(part)] or out, ignore_index=True)
    table = table.sort_values("pair", kind="stable", ignore_index=True)
    pair, feature = (table[name].to_numpy(np.int64) for name in ("pair", "feature"))
    table["code"] = groups["code"].astype(object).to_numpy()[feature]
    worded = _parameters(feature, features, row[pair], fitted=fitted, groups=groups)
    table["parameters"] = pd.Series(worded, dtype=object)
    columns = ["direction", "rank", "code", "contribution", "parameters"]
    return chosen.iloc[pair].reset_index(drop=True).join(table[columns])


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


def _contributions(fitted: Fitted, features: pd.DataFrame, place: int, *, trees: dict[int, xgb.Booster]) -> np.ndarray:
    """Return the contributions to one product's log-odds (rows x features, and the base); ``trees`` as of ``apart``."""
    encoding = fitted.learner.encoding
    parts = [np.zeros((0, len(encoding.columns) + 1))]
    for first in range(0, len(features), _CHUNK):
        parts.append(_chunk(fitted, encoding.tree_matrix(features.iloc[first : first + _CHUNK]), place, trees=trees))
    return np.concatenate(parts)


def _chunk(fitted: Fitted, tree: np.ndarray, place: int, *, trees: dict[int, xgb.Booster]) -> np.ndarray:
    used = fitted.learner
    design = used.encoding.linear_matrix(tree).astype(np.float64)
    data = boost.matrix(tree, used.encoding)
    constant, by_tree, by_line, by_pool = fitted.calibration.coefficients[place]
    own = fitted.reliable[place]
    weights = {place: (own * by_tree, own * by_line)}
    if own < 1:
        weights[len(fitted.products)] = ((1 - own) * by_pool / 2, (1 - own) * by_pool / 2)
    found = np.zeros((len(tree), tree.shape[1] + 1))
    for outcome, (tree_weight, line_weight) in weights.items():
        slopes = used.coefficients[:, outcome].astype(np.float32).astype(np.float64)
        found += tree_weight * trees[outcome].predict(data, pred_contribs=True)
        for column, source in enumerate(used.encoding.sources):
            found[:, source] += line_weight * slopes[column] * design[:, column]
        found[:, -1] += line_weight * slopes[-1]
    found[:, -1] += constant + used.offsets[place]
    return found


def grouped(fitted: Fitted, meanings: pd.DataFrame | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the meaning of each feature used (name, code, and more where given) and the number of its reason."""
    names = fitted.learner.encoding.columns
    known = pd.DataFrame({"name": names})
    if meanings is None:
        table = known.assign(code=names)
    else:
        table = known.merge(meanings, on="name", how="left", validate="one_to_one")
        table["code"] = table["code"].fillna(table["name"])
    alike = [name for name in table.columns if name in _ALIKE]
    return table, table.groupby(alike, dropna=False, sort=False).ngroup().to_numpy()


def _strongest(parts: np.ndarray, pair: np.ndarray, group_of: np.ndarray, top: int) -> list[pd.DataFrame]:
    """Return, for each direction and rank, the reasons of the rows that have one: pair, contribution, strongest feature.

    ``parts`` are the contributions (rows x features), ``group_of`` the number of each feature's reason.
    """
    sums = parts @ (group_of[:, None] == np.arange(group_of.max() + 1)).astype(float)
    order = np.argsort(-sums, axis=1, kind="stable")
    found = []
    for direction, ranked, sign in (("for", order, 1), ("against", order[:, ::-1], -1)):
        for rank in range(min(top, ranked.shape[1])):
            number = ranked[:, rank]
            total = sums[np.arange(len(sums)), number]
            kept = sign * total > 0
            members = np.where(group_of == number[kept, None], sign * parts[kept], -np.inf)
            columns = {"pair": pair[kept], "direction": direction, "rank": rank + 1, "contribution": total[kept]}
            found.append(pd.DataFrame({**columns, "feature": members.argmax(axis=1)}))
    return found


def _parameters(
    feature: np.ndarray, features: pd.DataFrame, row: np.ndarray, *, fitted: Fitted, groups: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return the parameters of each reason, given by the number of its feature and the row of its customer."""
    meanings = [{str(name): plain(value) for name, value in one.items()} for one in groups.to_dict("records")]
    values = np.empty(len(row), dtype=object)
    for number in np.unique(feature):
        at = np.flatnonzero(feature == number)
        values[at] = [plain(value) for value in features[meanings[number]["name"]].iloc[row[at]]]
    out = []
    for number, value in zip(feature, values, strict=True):
        meaning = {name: said for name, said in meanings[number].items() if name not in ("name", "code")}
        name = meanings[number]["name"]
        out.append({"feature": name, "value": value, "typical": fitted.learner.encoding.typical[name], **meaning})
    return out


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: None for missing, Python's own number or text otherwise."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
