"""Who leaves, as a calibrated probability: a logistic regression and XGBoost combined, on any feature table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib.errors import DataError, UsageError
from crmlib.models import calibration, learner
from crmlib.models.calibration import Calibration, Sample
from crmlib.models.learner import Learner

Outcome = pd.Series | np.ndarray | Sequence[int]
FEWEST = 10  # who left, and who stayed, below which nothing can be learnt
INPUTS = ("constant", "booster", "regression")
# Before any outcome is seen the two parts are worth the same: their mean.
_PRIOR = calibration.Prior(np.array([0.0, 0.5, 0.5]), np.array([2.0, 0.5, 0.5]), np.array([1.0, 0.4, 0.4]))


class ChurnRanker:
    """The log-odds of a ridge-penalised logistic regression and of XGBoost, combined and calibrated.

    The two err differently, and often their mean ranks better than either; where one is clearly worse (a regression on
    effects that are no lines) it gets less weight. The weights and the constant are one logistic regression (Platt 1999)
    on outcomes that neither part has seen, drawn to the mean of the two where these are few. ``seed`` fixes every random
    choice; ``nthread`` limits XGBoost's threads (default: all).

    After ``fit``: ``learner_`` (both parts) and ``calibration_``, with the coefficients ``INPUTS``.
    """

    def __init__(self, *, seed: int = 7, nthread: int | None = None) -> None:
        self.seed, self.nthread = seed, nthread
        self._learner: Learner | None = None
        self._calibration: Calibration | None = None

    def fit(
        self,
        features: pd.DataFrame,
        outcome: Outcome,
        *,
        weight: Outcome | None = None,
        calibrate: tuple[pd.DataFrame, Outcome] | None = None,
    ) -> ChurnRanker:
        """Fit on a table of features (customer_id and as_of are ignored) and 1 for who left, 0 for who stayed.

        ``weight``, one a row, counts rows in the fit and in the calibration. ``calibrate`` is a table with outcomes of a
        later date: then the probabilities are calibrated out of time. Without it predictions for rows left out of training
        calibrate (5-fold cross-fitting, about six times the work). Above 60,000 rows a weighted sample with all who left
        is learnt from. Raises DataError where fewer than 10 left, or stayed.
        """
        left = _left(outcome, len(features), "outcome")
        weights = _weights(weight, len(features))
        rows, drawn = learner.sample(left[:, None], learner.MAX_ROWS, np.random.default_rng(self.seed))
        table, left, weights = features.iloc[rows], left[rows], weights[rows] * drawn
        if calibrate is None:
            fitted, tree, line = learner.cross_fit(
                table, left[:, None], weights=weights, seed=self.seed, nthread=self.nthread
            )
        else:
            fitted = learner.fit(table, left[:, None], weights=weights, seed=self.seed, nthread=self.nthread)
            left = _left(calibrate[1], len(calibrate[0]), "the outcome to calibrate on")
            weights = np.ones(len(left))
            tree, line = fitted.margins(calibrate[0])
        sample = Sample(_inputs(tree, line), left == 1, weights, float(fitted.offsets[0]))
        self._learner, self._calibration = fitted, calibration.fit([sample], _PRIOR)
        return self

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probability of leaving, one a row."""
        tree, line = self.learner_.margins(features)
        return expit(_inputs(tree, line) @ self.calibration_.coefficients[0] + self.learner_.offsets[0])

    @property
    def learner_(self) -> Learner:
        """The two parts; raises UsageError before ``fit``."""
        if self._learner is None:
            raise UsageError("the ranker is not fitted yet; call fit first")
        return self._learner

    @property
    def calibration_(self) -> Calibration:
        """The coefficients of ``INPUTS`` with their covariance; raises UsageError before ``fit``."""
        if self._calibration is None:
            raise UsageError("the ranker is not fitted yet; call fit first")
        return self._calibration


def _inputs(tree: np.ndarray, line: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(tree)), tree[:, 0], line[:, 0]])


def _left(outcome: Outcome, count: int, name: str) -> np.ndarray:
    try:
        values = np.asarray(outcome, dtype=float).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be 1 (left) or 0 (stayed) ({error})") from error
    if len(values) != count:
        raise DataError(f"there are {count} rows of features but {len(values)} values of {name}; give one for each row")
    odd = ~np.isin(values, (0.0, 1.0))
    if odd.any():
        raise DataError(
            f"{name} holds {values[odd][0]:g} in row {int(np.argmax(odd))}; it must be 1 (left) or 0 (stayed)"
        )
    for kind, found in (("left", int((values == 1).sum())), ("stayed", int((values == 0).sum()))):
        if found < FEWEST:
            raise DataError(
                f"not enough data: {found} of {count} customers {kind} (found {found}, need {FEWEST}); take a longer period"
            )
    return values.astype(np.int8)


def _weights(weight: Outcome | None, count: int) -> np.ndarray:
    values = np.ones(count) if weight is None else np.asarray(weight, dtype=float).reshape(-1)
    if len(values) != count or not (np.isfinite(values) & (values >= 0)).all():
        raise DataError(f"weight must hold {count} numbers of 0 or more, one for each row of the features")
    return values
