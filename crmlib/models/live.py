"""A fitted model answering one question at a time, in about a millisecond: for the desk and for answers just typed.

``PropensityModel.score`` and ``explain.reasons`` are made for tables of many customers. The functions here take features
as plain dictionaries and skip the tables; the numbers are the same, which the tests hold them to. Decisions never import
this module: they are handed its functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from scipy.special import expit

from crmlib.errors import NotFoundError
from crmlib.models import boost, explain, linear, walk
from crmlib.models.propensity import Fitted, PropensityModel

Values = Mapping[str, Any]
_Z = 1.6448536269514722  # the 90% interval of PropensityModel.score


@dataclass(frozen=True)
class Live:
    """A model prepared for live questions; ``products`` are those it knows, ``typical`` their features' usual values."""

    fitted: Fitted = field(repr=False)
    meanings: list[dict[str, Any]] = field(repr=False)
    group_of: np.ndarray = field(repr=False)
    trees: dict[int, xgb.Booster] = field(repr=False)
    walk: walk.Walk = field(repr=False)
    goods: pd.Series = field(repr=False)

    @property
    def products(self) -> list[str]:
        """The products that have scores."""
        return self.fitted.products

    @property
    def typical(self) -> dict[str, float | str | None]:
        """The median or commonest level of each feature in training."""
        return self.fitted.learner.encoding.typical

    def score(self, rows: Sequence[Values]) -> pd.DataFrame:
        """Return the calibrated probability of each product for each row of features.

        In: rows of feature name and value; a feature that a row lacks counts as missing. Out: row (its place in
        ``rows``), product_id, score, low, high: as ``PropensityModel.score`` gives them.
        """
        count, products = len(rows), self.products
        tree, used = self._matrix(rows), self.fitted.learner
        leaves = np.array([self.walk.margins(row) for row in tree]).reshape(count, len(used.offsets))
        lines = linear.exact_margins(used.coefficients, used.encoding.linear_columns(tree))
        logit, deviation = self.fitted.calibrated(leaves, lines)
        spread = _Z * deviation
        score, low, high = expit(np.stack([logit, logit - spread, logit + spread])).reshape(3, -1)
        goods = self.goods if count == 1 else self.goods.array.take(np.tile(np.arange(len(products)), count))
        columns = {"row": np.repeat(np.arange(count), len(products)), "product_id": goods}
        return pd.DataFrame({**columns, "score": score, "low": low, "high": high}, copy=False)

    def reasons(self, row: Values, product_ids: Sequence[str], *, top: int = 3) -> dict[str, list[dict[str, Any]]]:
        """Return by product the strongest reasons for its score, each {"code", "contribution", "feature", "value", …}.

        The same codes and parameters as ``explain.reasons`` for the direction "for". Raises NotFoundError for a product
        that the model does not know.
        """
        unknown = [product for product in product_ids if product not in self.products]
        if unknown:
            raise NotFoundError(f"the model knows no product {unknown[0]}; it was fitted on {', '.join(self.products)}")
        out = {}
        for product, parts in zip(product_ids, self._contributions(row, product_ids), strict=True):
            sums = np.bincount(self.group_of, weights=parts)
            best = [int(number) for number in np.argsort(-sums, kind="stable")[:top] if sums[number] > 0]
            out[product] = [self._said(row, parts, number, float(sums[number])) for number in best]
        return out

    def _contributions(self, row: Values, product_ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield for each product what every feature adds to its log-odds, as ``explain.contributions`` does."""
        fitted, used = self.fitted, self.fitted.learner
        tree = self._matrix([row])
        design = used.encoding.linear_matrix(tree)[0].astype(np.float64)
        data = boost.matrix(tree, used.encoding, nthread=1)
        sources, pool = used.encoding.sources, len(fitted.products)

        @functools.cache
        def of_outcome(outcome: int) -> tuple[np.ndarray, np.ndarray]:
            slopes = used.coefficients[:-1, outcome].astype(np.float32).astype(np.float64)
            lines = np.bincount(sources, weights=slopes * design, minlength=tree.shape[1])
            return self.trees[outcome].predict(data, pred_contribs=True)[0, :-1], lines

        for product in product_ids:
            place = fitted.products.index(product)
            _, by_tree, by_line, by_pool = fitted.calibration.coefficients[place]
            own = fitted.reliable[place]
            trees, lines = of_outcome(place)
            found = own * (by_tree * trees + by_line * lines)
            if own < 1:
                found = found + (1 - own) * by_pool / 2 * np.add(*of_outcome(pool))
            yield found

    def _said(self, row: Values, parts: np.ndarray, number: int, total: float) -> dict[str, Any]:
        strongest = int(np.argmax(np.where(self.group_of == number, parts, -np.inf)))
        name = self.fitted.learner.encoding.columns[strongest]
        value = row.get(name)
        value = None if isinstance(value, float) and math.isnan(value) else value
        return {
            **self.meanings[strongest],
            "contribution": total,
            "feature": name,
            "value": value,
            "typical": self.typical[name],
        }

    def _matrix(self, rows: Sequence[Values]) -> np.ndarray:
        """Return what ``Encoding.tree_matrix`` makes of a table of these rows."""
        encoding = self.fitted.learner.encoding
        numbers = [[_number(row.get(name)) for name in encoding.numeric] for row in rows]
        places = [{level: place for place, level in enumerate(levels)} for levels in encoding.levels.values()]
        names = list(encoding.levels)
        codes = [
            [own.get(str(row.get(name)), math.nan) for name, own in zip(names, places, strict=True)] for row in rows
        ]
        with np.errstate(over="ignore"):
            tree = np.array([a + b for a, b in zip(numbers, codes, strict=True)], dtype=np.float32)
        tree = tree.reshape(len(rows), len(encoding.columns))
        tree[np.isinf(tree)] = np.nan
        return tree


def prepare(model: PropensityModel, meanings: pd.DataFrame | None = None) -> Live:
    """Return a fitted model prepared for live questions; ``meanings`` as of ``features.describe``, for the reasons."""
    fitted = model.fitted_
    groups, group_of = explain.grouped(fitted, meanings)
    trees = boost.apart(fitted.learner.booster, range(len(fitted.learner.offsets)))
    booster = fitted.learner.booster.copy()
    for one in (booster, *trees.values()):
        one.set_param({"nthread": 1})  # for a single row, waking other threads takes longer than the work
    told = [{str(k): explain.plain(v) for k, v in one.items() if k != "name"} for one in groups.to_dict("records")]
    codes = max((len(levels) for levels in fitted.encoding.levels.values()), default=0)
    return Live(
        replace(fitted, learner=replace(fitted.learner, booster=booster)),
        told,
        group_of,
        trees,
        walk.prepare(booster, len(fitted.learner.offsets), codes),
        pd.Series(fitted.products, dtype="str"),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
