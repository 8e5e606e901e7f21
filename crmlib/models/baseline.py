"""The plain logistic regression that every model is compared with, one per product, by statsmodels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib.errors import DataError
from crmlib.models import encode, learner, linear, pairs

NAME = "logistic"
_INPUTS = 12
_ROWS = 20_000
_TOO_ALIKE = 0.8
_CHUNK = 65_536  # customers scored at a time: their designs, not all customers', are what memory has to hold


@dataclass(frozen=True)
class Baseline:
    """Attributes: ``coefficients``, a table with product_id, feature ("" for the constant), coefficient,
    standard_error (log-odds per standard deviation of the transformed feature)."""

    products: list[str]
    encoding: encode.Encoding
    slopes: np.ndarray
    coefficients: pd.DataFrame

    def score(self, features: pd.DataFrame, candidates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return customer_id, as_of, model, product_id, score for the candidate pairs, or for all."""
        if candidates is None:
            chosen = np.ones((len(features), len(self.products)), dtype=bool)
        else:
            chosen = pairs.matrix(candidates.assign(bought=True), features, self.products) == 1
        score = np.empty(chosen.shape)
        for first in range(0, len(features), _CHUNK):
            rows = slice(first, first + _CHUNK)
            design = self.encoding.linear_matrix(self.encoding.tree_matrix(features.iloc[rows]))
            score[rows] = expit(linear.margins(self.slopes, design).astype(np.float64))
        days = pd.to_datetime(features["as_of"])
        table = pairs.table(features["customer_id"], self.products, days, chosen=chosen, score=score)
        table.insert(2, "model", pairs.constant(NAME, len(table)))
        return table


def fit(features: pd.DataFrame, labels: pd.DataFrame, *, seed: int = 0) -> Baseline:
    """Return a logistic regression per product on its 12 most telling inputs.

    In: as ``PropensityModel.fit``. The inputs (standardised numbers, missing flags, levels) are those with the highest
    correlation with the outcome among the training customers, leaving out any that correlates above 0.8 with one already
    chosen. Each coefficient has a log-F(1, 1) prior, entered as two half-weighted pseudo-customers (Greenland & Mansournia
    2015), so that separation cannot carry it away. Raises DataError where nobody bought anything.
    """
    import statsmodels.api as sm  # noqa: PLC0415  (takes a second to import)

    products = sorted(str(name) for name in labels["product_id"].unique())
    bought = pairs.matrix(labels, features, products)
    if not (bought == 1).any():
        raise DataError("nobody bought anything in the training period; take a longer one")
    rng = np.random.default_rng(seed)
    kept, kept_weights = learner.sample(bought, learner.MAX_ROWS, rng)
    features, bought = features.iloc[kept], bought[kept]
    encoding = encode.fit(features)
    inputs = encoding.linear_matrix(encoding.tree_matrix(features))
    base = learner.base_log_odds(bought)
    slopes, rows = np.zeros((len(encoding.sources) + 1, len(products))), []
    for place, product in enumerate(products):
        drawn, weights = learner.sample(bought[:, [place]], _ROWS, rng)
        outcome, weights = bought[drawn, place].astype(float), weights * kept_weights[drawn]
        if not 0 < outcome.sum() < len(outcome):
            slopes[-1, place] = base[place]
            continue
        design = inputs[drawn].astype(np.float64)
        chosen = _telling(design, outcome, weights)
        x, y, w = _with_prior(design[:, chosen], outcome, weights)
        fitted = sm.GLM(y, x, family=sm.families.Binomial(), freq_weights=w).fit()
        slopes[chosen, place], slopes[-1, place] = fitted.params[:-1], fitted.params[-1]
        names = [encoding.columns[source] for source in encoding.sources[chosen]]
        found = {"feature": [*names, ""], "coefficient": fitted.params, "standard_error": fitted.bse}
        rows.append(pd.DataFrame({"product_id": product, **found}))
    return Baseline(products, encoding, slopes, pd.concat(rows, ignore_index=True))


def compare(evaluation: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Return two tables of ``metrics.evaluate`` side by side: product_id, metric, value, low, high, baseline, gain."""
    keys = ["product_id", "metric"]
    other = baseline[[*keys, "value"]].rename(columns={"value": "baseline"})
    both = evaluation.merge(other, on=keys, how="left", validate="one_to_one")
    return both.assign(gain=both["value"] - both["baseline"])


def _telling(design: np.ndarray, outcome: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the places of the inputs with the highest correlation with the outcome, none too like another."""
    share = weights / weights.sum()
    centred = design - share @ design
    size = np.sqrt(share @ centred**2) + 1e-12
    strength = np.abs((share * (outcome - share @ outcome)) @ centred) / size
    chosen: list[int] = []
    for place in np.argsort(-strength, kind="stable")[: 10 * _INPUTS]:
        likeness = np.abs((share * centred[:, place]) @ centred[:, chosen]) / size[place] / size[chosen]
        if strength[place] > 0 and (likeness < _TOO_ALIKE).all():
            chosen.append(int(place))
        if len(chosen) == _INPUTS:
            break
    return np.sort(chosen)


def _with_prior(
    design: np.ndarray, outcome: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Append a constant, and the pseudo-customers of the log-F(1, 1) prior: one bought, one did not, per input."""
    count = design.shape[1]
    pseudo = np.hstack([np.eye(count), np.zeros((count, 1))])
    x = np.vstack([np.column_stack([design, np.ones(len(design))]), pseudo, pseudo])
    y = np.concatenate([outcome, np.ones(count), np.zeros(count)])
    return x, y, np.concatenate([weights, np.full(2 * count, 0.5)])
