"""Propensity: the calibrated probability of every customer to buy every product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib.errors import DataError, UsageError
from crmlib.models import calibration, encode, learner, pairs
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


class Scorer(Protocol):
    """What ``table`` asks: calibrated log-odds of ``products`` from tree matrices of an encoding."""

    @property
    def products(self) -> list[str]: ...

    @property
    def encoding(self) -> encode.Encoding: ...

    def logits_of(self, tree: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


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

    @property
    def encoding(self) -> encode.Encoding:
        """How feature tables become numbers."""
        return self.learner.encoding

    def only(self, products: Sequence[str]) -> Fitted:
        """Return the part of the model that scores some of its products, the same and quicker."""
        places = [self.products.index(name) for name in products]
        known = self.calibration
        return Fitted(
            list(products),
            self.learner.only(places if len(self.products) == 1 else [*places, len(self.products)]),
            self.reliable[places],
            replace(known, coefficients=known.coefficients[places], covariances=known.covariances[places]),
        )

    def inputs(self, tree: np.ndarray, line: np.ndarray, place: int) -> np.ndarray:
        """Return the inputs of one product's calibration (rows x ``INPUTS``) from the learner's margins."""
        own = self.reliable[place]
        pooled = (tree[:, -1] + line[:, -1]) / 2
        return np.column_stack([np.ones(len(tree)), own * tree[:, place], own * line[:, place], (1 - own) * pooled])

    def logits(self, features: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibrated log-odds and their standard deviations (rows x products)."""
        logit, deviation = np.empty((2, len(features), len(self.products)))
        for first in range(0, len(features), learner.CHUNK):
            part = slice(first, first + learner.CHUNK)
            tree = self.learner.encoding.tree_matrix(features.iloc[part])
            logit[part], deviation[part] = self.logits_of(tree)
        return logit, deviation

    def logits_of(self, tree: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of a tree matrix: of each row the same, whatever rows are beside it."""
        return self.calibrated(*self.learner.margins_of(tree))

    def calibrated(self, trees: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of the learner's margins."""
        count, own = len(self.products), self.reliable
        pooled = (trees[:, -1:] + lines[:, -1:]) / 2
        inputs = (own * trees[:, :count], own * lines[:, :count], (1 - own) * pooled)
        logit, deviation = self.calibration.line(inputs)
        return logit + self.learner.offsets[:count], deviation


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
        self,
        features: pd.DataFrame,
        labels: Outcomes,
        *,
        calibrate: tuple[pd.DataFrame, Outcomes] | None = None,
        learnt: learner.Learner | None = None,
    ) -> PropensityModel:
        """Fit on features and outcomes of one date and calibrate on those of a later one; returns the model.

        In: ``features`` with a row per customer (customer_id, as_of, feature columns) and ``labels`` as made by
        ``purchases``; or any table X and an array y of 0 and 1. Without ``calibrate``, predictions for rows left out of
        training calibrate (5-fold cross-fitting, about six times the work): that is not out of time. A learner that several
        machines have ``learnt`` (``distributed.train``) from the same outcomes is calibrated only; ``features`` may then have
        nothing but customer_id and as_of.

        Raises DataError where nobody, or everybody, bought, and names products without buyers in both periods.
        """
        products = _products(labels)
        bought = _matrix(features, labels, products)
        later = None if calibrate is None else _matrix(*calibrate, products)
        _check(products, bought, later)
        rng = np.random.default_rng(self.seed)
        rows, weights = learner.sample(bought, learner.MAX_ROWS, rng)
        options: dict[str, Any] = {"seed": self.seed, "nthread": self.nthread}
        if learnt is not None and calibrate is None:
            raise UsageError("a learner made elsewhere needs calibrate, features and outcomes of a later date")
        if calibrate is None or later is None:
            chosen, target = features.iloc[rows], _with_pool(bought[rows])
            fitted, tree, line = learner.cross_fit(chosen, target, weights=weights, **options)
            later = bought[rows]
        else:
            if learnt is not None:
                fitted = _checked(learnt, products)
            elif (bought >= 0).any(axis=1).sum() > learner.MAX_ROWS:
                fitted = learner.fit_large(features, _with_pool(bought), **options)
            else:
                fitted = learner.fit(features.iloc[rows], _with_pool(bought[rows]), weights=weights, **options)
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
        return table(self.fitted_, features, candidates, name=NAME)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probabilities of a model fitted on a plain table (X, y), one per row."""
        if self.fitted_.products != [SINGLE]:
            raise UsageError("predict is for a model fitted on one outcome (X, y); use score for products")
        return expit(self.fitted_.logits(features)[0][:, 0])


def _checked(learnt: learner.Learner, products: list[str]) -> learner.Learner:
    outcomes = len(products) + (len(products) > 1)
    if len(learnt.offsets) != outcomes:
        raise DataError(
            f"the learner has {len(learnt.offsets)} outcomes, the labels have {len(products)} products, which make {outcomes}; "
            "have it learn from the same labels"
        )
    return learnt


def table(scorer: Scorer, features: pd.DataFrame, candidates: pd.DataFrame | None, *, name: str) -> pd.DataFrame:
    """Return the table of scores that ``PropensityModel.score`` describes, with ``name`` as the model.

    Block by block: beside the table itself no more than one block of customers is in memory at a time.
    """
    if candidates is None:
        able = np.ones((len(features), len(scorer.products)), dtype=bool)
    else:
        able = pairs.matrix(candidates.assign(bought=True), features, scorer.products) == 1
    some = able.any(axis=1)
    rows = np.flatnonzero(some)
    everyone = len(rows) == len(features)
    figures = np.empty((3, int(able.sum())))
    done = 0
    for first in range(0, len(rows), learner.CHUNK):
        ends = slice(first, first + learner.CHUNK)
        chosen = able[rows[ends]]
        part = features.iloc[ends] if everyone else features.iloc[rows[ends]]
        logit, deviation = (each[chosen] for each in scorer.logits_of(scorer.encoding.tree_matrix(part)))
        own = figures[:, done : done + len(logit)]
        done += len(logit)
        own[:] = logit, logit - _Z * deviation, logit + _Z * deviation
        expit(own, out=own)
    who, when = (features[key] if everyone else features[key].iloc[rows] for key in ("customer_id", "as_of"))
    out = pairs.keys(who, scorer.products, pd.to_datetime(when), chosen=able[rows])
    out.insert(2, "model", pairs.constant(name, len(out)))
    return out.assign(score=figures[0], low=figures[1], high=figures[2])


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
