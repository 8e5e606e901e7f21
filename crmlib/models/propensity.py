"""Propensity: the calibrated probability of every customer to buy every product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib.errors import DataError, UsageError
from crmlib.models import calibration, learner, pairs
from crmlib.models.labels import candidates, objectors, purchases, sold

__all__ = ["PropensityModel", "candidates", "objectors", "purchases", "sold"]

NAME = "propensity"
SINGLE = "outcome"
INTERVAL = 0.90
_Z = 1.6448536269514722  # normal quantile of (1 + INTERVAL) / 2
_FEW_BUYERS = 100.0
_CALIBRATION_ROWS = 100_000
INPUTS = ("constant", "booster", "regression", "pooled")
# What is expected of these coefficients before the calibration period is seen.
_PRIOR = calibration.Prior(
    mean=np.array([0.0, 0.5, 0.5, 1.0]), spread=np.array([2.0, 0.5, 0.5, 0.5]), deviation=np.array([0.3, 0.2, 0.2, 0.3])
)

Outcomes = pd.DataFrame | pd.Series | np.ndarray


@dataclass(frozen=True)
class Fitted:
    """All that a fitted model consists of.

    Attributes: ``products``; the ``learner``, whose last outcome is the pooled one where there are several products;
    ``reliable``, per product the share of the ordering that is its own; the ``calibration``.
    """

    products: list[str]
    learner: learner.Learner
    reliable: np.ndarray
    calibration: calibration.Calibration

    def inputs(self, tree: np.ndarray, line: np.ndarray, place: int) -> np.ndarray:
        """Return the inputs of one product's calibration (rows x ``INPUTS``) from the learner's margins."""
        own = self.reliable[place]
        pooled = (tree[:, -1] + line[:, -1]) / 2
        return np.column_stack([np.ones(len(tree)), own * tree[:, place], own * line[:, place], (1 - own) * pooled])

    def logits(self, features: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibrated log-odds and their standard deviations (rows x products)."""
        tree, line = self.learner.margins(features)
        logit, deviation = np.empty((2, len(tree), len(self.products)))
        for place in range(len(self.products)):
            inputs = self.inputs(tree, line, place)
            logit[:, place] = inputs @ self.calibration.coefficients[place] + self.learner.offsets[place]
            spread = np.einsum("ij,jk,ik->i", inputs, self.calibration.covariances[place], inputs)
            deviation[:, place] = np.sqrt(spread)
        return logit, deviation


class PropensityModel:
    """Calibrated probabilities of buying, for all products by one model, or of one outcome of any plain table.

    ``seed`` fixes every random choice; ``nthread`` limits XGBoost's threads (default: all). The method is described in
    docs/models.md.

    After ``fit``: ``fitted_``, and ``products_``, a table with a row per product: product_id, customers and buyers
    (training), calibration_buyers, rounds, shrunk (share of the ordering taken from the pooled model of all products),
    reason ("own", "few_buyers" or "no_buyers"), and the coefficients constant, booster, regression, pooled.
    """

    def __init__(self, *, seed: int = 0, nthread: int | None = None) -> None:
        self.seed, self.nthread = seed, nthread
        self._fitted: Fitted | None = None

    def fit(
        self, features: pd.DataFrame, labels: Outcomes, *, calibrate: tuple[pd.DataFrame, Outcomes] | None = None
    ) -> PropensityModel:
        """Fit on features and outcomes of one date and calibrate on those of a later one; returns the model.

        In: ``features`` with a row per customer (customer_id, as_of, feature columns) and ``labels`` as made by
        ``purchases``; or any table X and an array y of 0 and 1. Without ``calibrate``, predictions for rows left out of
        training calibrate (5-fold cross-fitting, about six times the work): that is not out of time.

        Raises DataError where nobody, or everybody, bought, and names products without buyers in both periods.
        """
        products = _products(labels)
        bought = _matrix(features, labels, products)
        later = None if calibrate is None else _matrix(*calibrate, products)
        _check(products, bought, later)
        rng = np.random.default_rng(self.seed)
        rows, weights = learner.sample(bought, learner.MAX_ROWS, rng)
        chosen, target = features.iloc[rows], _with_pool(bought[rows])
        if calibrate is None or later is None:
            fitted, tree, line = learner.cross_fit(
                chosen, target, weights=weights, seed=self.seed, nthread=self.nthread
            )
            later = bought[rows]
        else:
            fitted = learner.fit(chosen, target, weights=weights, seed=self.seed, nthread=self.nthread)
            rows, weights = learner.sample(later, _CALIBRATION_ROWS, rng)
            tree, line = fitted.margins(calibrate[0].iloc[rows])
            later = later[rows]
        buyers = (bought == 1).sum(axis=0)
        reliable = buyers / (buyers + _FEW_BUYERS) if len(products) > 1 else np.ones(1)
        self._fitted = _calibrated(products, fitted, reliable, margins=(tree, line), bought=later, weights=weights)
        self.products_ = _described(self._fitted, bought, later)
        return self

    def restore(self, fitted: Fitted, products: pd.DataFrame) -> None:
        """Take over what another model was fitted to, as read from its files."""
        self._fitted, self.products_ = fitted, products

    @property
    def fitted_(self) -> Fitted:
        """What was fitted; raises UsageError before ``fit``."""
        if self._fitted is None:
            raise UsageError("the model is not fitted yet; call fit first, or load a saved one (registry.load)")
        return self._fitted

    def score(self, features: pd.DataFrame, candidates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the probability of each pair to be bought within the days the model was fitted for.

        Out: customer_id, as_of, model, product_id (category), score, low, high; only the pairs in ``candidates`` (see
        ``labels.candidates``: those who can buy and have not objected to profiling) where given, else every customer
        in ``features`` with every product. ``low`` to ``high`` is a 90% interval for the mean probability of customers
        with this raw score: it carries the uncertainty of the calibration, not the chance of a single purchase.
        """
        fitted = self.fitted_
        if candidates is None:
            chosen = np.ones((len(features), len(fitted.products)), dtype=bool)
        else:
            chosen = pairs.matrix(candidates.assign(bought=True), features, fitted.products) == 1
        some = np.flatnonzero(chosen.any(axis=1))
        features, chosen = features.iloc[some], chosen[some]
        logit, deviation = fitted.logits(features)
        table = pairs.table(
            features["customer_id"],
            fitted.products,
            pd.to_datetime(features["as_of"]),
            chosen=chosen,
            score=expit(logit),
            low=expit(logit - _Z * deviation),
            high=expit(logit + _Z * deviation),
        )
        table.insert(2, "model", pairs.constant(NAME, len(table)))
        return table

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probabilities of a model fitted on a plain table (X, y), one per row."""
        if self.fitted_.products != [SINGLE]:
            raise UsageError("predict is for a model fitted on one outcome (X, y); use score for products")
        return expit(self.fitted_.logits(features)[0][:, 0])


def _products(labels: Outcomes) -> list[str]:
    if not isinstance(labels, pd.DataFrame):
        return [SINGLE]
    missing = [name for name in ("customer_id", "as_of", "product_id", "bought") if name not in labels]
    if missing:
        raise DataError(f"the labels lack column {', '.join(missing)}; make them with propensity.purchases")
    return sorted(str(name) for name in labels["product_id"].unique())


def _matrix(features: pd.DataFrame, labels: Outcomes, products: Sequence[str]) -> np.ndarray:
    if isinstance(labels, pd.DataFrame):
        return pairs.matrix(labels, features, products)
    values = np.asarray(labels).reshape(-1)
    if len(values) != len(features):
        raise DataError(f"there are {len(features)} rows of features but {len(values)} outcomes; give one for each row")
    if not np.isin(values, (0, 1)).all():
        raise DataError("outcomes must be 0 or 1 (false or true) without gaps; recode them")
    return values.astype(np.int8)[:, None]


def _check(products: list[str], bought: np.ndarray, later: np.ndarray | None) -> None:
    buyers = (bought == 1).sum(axis=0) + (0 if later is None else (later == 1).sum(axis=0))
    nobody = [name for name, count in zip(products, buyers, strict=True) if count == 0]
    if nobody:
        what = "no outcome is 1" if products == [SINGLE] else f"nobody bought {', '.join(nobody)}"
        raise DataError(f"{what} in the periods of training and calibration; leave it out or take longer periods")
    if not (bought == 0).any() or not (bought == 1).any():
        raise DataError("all outcomes of the training period are the same, so there is nothing to tell apart")
    rows = int((bought >= 0).any(axis=1).sum())
    if rows < 20:
        raise DataError(f"{rows} customers with outcomes are too few to fit a model; it takes at least 20")


def _with_pool(bought: np.ndarray) -> np.ndarray:
    """Append the pooled outcome: whether the customer bought anything that was possible."""
    return bought if bought.shape[1] == 1 else np.column_stack([bought, bought.max(axis=1)])


def _calibrated(
    products: list[str],
    fitted: learner.Learner,
    reliable: np.ndarray,
    *,
    margins: tuple[np.ndarray, np.ndarray],
    bought: np.ndarray,
    weights: np.ndarray,
) -> Fitted:
    empty = calibration.Calibration(*[np.zeros(0)] * 4)
    raw = Fitted(products, fitted, reliable, empty)
    samples = []
    for place in range(len(products)):
        able = bought[:, place] >= 0
        inputs = raw.inputs(margins[0][able], margins[1][able], place)
        samples.append(
            calibration.Sample(inputs, bought[able, place] == 1, weights[able], float(fitted.offsets[place]))
        )
    return Fitted(products, fitted, reliable, calibration.fit(samples, _PRIOR))


def _described(fitted: Fitted, bought: np.ndarray, later: np.ndarray) -> pd.DataFrame:
    buyers = (bought == 1).sum(axis=0)
    count = len(fitted.products)
    table = pd.DataFrame(
        {
            "product_id": fitted.products,
            "customers": (bought >= 0).sum(axis=0),
            "buyers": buyers,
            "calibration_buyers": (later == 1).sum(axis=0),
            "rounds": fitted.learner.rounds[:count],
            "shrunk": 1 - fitted.reliable,
            "reason": np.select([buyers == 0, 1 - fitted.reliable >= 0.2], ["no_buyers", "few_buyers"], "own"),
        }
    )
    return table.assign(**dict(zip(INPUTS, fitted.calibration.coefficients.T, strict=True)))
