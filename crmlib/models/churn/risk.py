"""The risk that a customer leaves within 30, 90 and 180 days, by competing reason, calibrated out of time.

Learnt is leaving within 90 days (``ChurnRanker``: regression and boosting), calibrated on a later date; the risk of 30 days
and that of the days 91 to 180 are calibrated functions of it (Platt's logistic, each on outcomes that the learner has not
seen); the reason's shares are a multinomial regression among those who left. docs/churn.md has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from crmlib.errors import DataError, UsageError
from crmlib.models import calibration, pairs, propensity
from crmlib.models.calibration import Calibration, Sample
from crmlib.models.churn import shares, spells
from crmlib.models.churn.definitions import OTHER, Definition
from crmlib.models.churn.inputs import HORIZONS, LEARNT
from crmlib.models.churn.ranker import ChurnRanker
from crmlib.models.churn.shares import Shares
from crmlib.models.propensity import PropensityModel

FEWEST = 30
"""Fewer customers than this who left, at the dates of training together, teach nothing."""
FEWEST_LATER = 10
"""The same of the date of calibration."""
FEWEST_OF_A_REASON = 20
"""A reason that fewer had is counted under "other"; what was found is kept in ``ChurnModel.reasons_``."""
STAYERS = 16_000
"""So many of those who stayed are enough to learn from, over all dates of training; each counts for those left out."""

_PRIOR = calibration.Prior(np.array([0.0, 1.0]), np.array([2.0, 0.5]), np.array([1.0, 0.5]))
_Z = propensity._Z
_CHUNK = 65_536

Followed = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class Window:
    """The risk of the days (``after``, ``until``] as a function of the 90-day log-odds x: expit(constant + slope x).

    ``left`` of the ``customers`` it was calibrated on left in these days; ``spread`` are the standard errors of constant
    and slope.
    """

    after: int
    until: int
    constant: float
    slope: float
    spread: tuple[float, float]
    customers: int
    left: int

    def risk(self, log_odds: np.ndarray) -> np.ndarray:
        """Return the risk of these days, for who is still here when they begin."""
        return expit(self.constant + self.slope * log_odds)


@dataclass(frozen=True)
class Fitted:
    """All that a churn model consists of.

    Attributes: ``left`` the learner of leaving within 90 days with its calibration, in the form of a propensity model of
    one outcome (so it is explained and saved like one); ``windows`` the other horizons; ``shares`` of the reasons.
    """

    left: propensity.Fitted
    windows: tuple[Window, ...]
    shares: Shares


@dataclass(frozen=True)
class Risks:
    """What is predicted of customers.

    Attributes: ``table``: customer_id, as_of, risk_30, risk_90, risk_180 (probability of leaving within so many days),
    low_90, high_90 (90% interval of the calibration of risk_90, not the chance of a single customer), reason (the likeliest
    if the customer leaves); ``parts``: risk_90 by reason (rows of the table x ``reasons``), which sums to it.
    """

    table: pd.DataFrame
    reasons: tuple[str, ...]
    parts: np.ndarray

    def by_reason(self) -> pd.DataFrame:
        """Return customer_id, reason (category), risk_90: a row for each customer and reason."""
        code = np.tile(np.arange(len(self.reasons), dtype=np.int8), len(self.table))
        return pd.DataFrame(
            {
                "customer_id": self.table["customer_id"].array.repeat(len(self.reasons)),
                "reason": pd.Categorical.from_codes(code, categories=pd.Index(self.reasons, dtype="str")),
                "risk_90": self.parts.ravel(),
            }
        )


class ChurnModel:
    """Calibrated risks of leaving, in the sense of a definition.

    ``seed`` fixes every random choice; ``nthread`` limits XGBoost's threads (default: all). After ``fit``: ``fitted_``,
    and ``reasons_``, a table with a row per reason of the definition: reason, found (who left for it at the dates of
    training), need, counted_as (the reason itself, or "other" for want of data).
    """

    def __init__(self, definition: Definition, *, seed: int = 7, nthread: int | None = None) -> None:
        self.definition, self.seed, self.nthread = definition, seed, nthread
        self._fitted: Fitted | None = None
        self.reasons_ = pd.DataFrame()

    def fit(self, training: Followed, *, calibrate: Followed, weight: np.ndarray | None = None) -> ChurnModel:
        """Fit on features and ``spells.follow`` of one or more dates, calibrate on those of a later one; returns the model.

        In: pairs of tables with customer_id and as_of; ``weight``, one a row of the followed of training, where they are
        a sample (``sample``). Used of the outcomes: those of 180 days after the last date of training, of 90 after the others and
        after that of calibration. Raises DataError where too few left.
        """
        features, followed, weights = _joined(training, weight)
        later, then, _ = _joined(calibrate, None)
        left, left_then = spells.left_within(followed, LEARNT), spells.left_within(then, LEARNT)
        _enough(left, FEWEST, "after the dates of training", self.definition)
        _enough(left_then, FEWEST_LATER, "after the date of calibration", self.definition)
        known, known_then = left >= 0, left_then >= 0
        ranker = ChurnRanker(seed=self.seed, nthread=self.nthread)
        ranker.fit(
            features[known],
            left[known],
            weight=weights[known],
            calibrate=(later[known_then], left_then[known_then]),
        )
        whole = _as_propensity(ranker)
        last = np.flatnonzero(followed["as_of"] == followed["as_of"].max())
        first = _window(whole, later, then, (0, HORIZONS[0]))
        second = _window(whole, features.iloc[last], followed.iloc[last], (LEARNT, HORIZONS[-1]), weights[last])
        self.reasons_ = self._reasons(followed[left == 1])
        found = self._shares(
            whole, (features[left == 1], followed[left == 1]), (later[left_then == 1], then[left_then == 1])
        )
        self._fitted = Fitted(whole, (first, second), found)
        return self

    def restore(self, fitted: Fitted, reasons: pd.DataFrame) -> ChurnModel:
        """Take over what another model was fitted to, as read from its files; returns the model."""
        self._fitted, self.reasons_ = fitted, reasons
        return self

    @property
    def fitted_(self) -> Fitted:
        """What was fitted; raises UsageError before ``fit``."""
        if self._fitted is None:
            raise UsageError("the churn model is not fitted yet; call fit first, or load a saved one")
        return self._fitted

    def predict(self, features: pd.DataFrame) -> Risks:
        """Return the risks, a row per row of ``features``; see ``Risks``."""
        fitted = self.fitted_
        log_odds, deviation = (part[:, 0] for part in fitted.left.logits(features))
        month, later = fitted.windows
        risk = expit(log_odds)
        share = self._share(features)
        table = pd.DataFrame(
            {
                "customer_id": features["customer_id"].array,
                "as_of": pd.to_datetime(features["as_of"]).to_numpy("datetime64[us]"),
                # A month cannot be riskier than the quarter it begins.
                "risk_30": np.minimum(month.risk(log_odds), risk),
                "risk_90": risk,
                "risk_180": 1 - (1 - risk) * (1 - later.risk(log_odds)),
                "low_90": expit(log_odds - _Z * deviation),
                "high_90": expit(log_odds + _Z * deviation),
                "reason": pd.Series(np.array(fitted.shares.reasons, dtype=object)[share.argmax(axis=1)], dtype="str"),
            }
        )
        return Risks(table, fitted.shares.reasons, share * risk[:, None])

    def _share(self, features: pd.DataFrame) -> np.ndarray:
        """Return the share of each reason (rows x reasons), in chunks: the design of all customers at once is large."""
        fitted = self.fitted_
        out = np.empty((len(features), len(fitted.shares.reasons)))
        for first in range(0, len(features), _CHUNK):
            rows = slice(first, first + _CHUNK)
            out[rows] = fitted.shares.predict(_design(fitted.left, features.iloc[rows]))
        return out

    def as_propensity(self) -> PropensityModel:
        """Return leaving within 90 days as a propensity model of one outcome, for ``explain`` and ``registry``."""
        model = PropensityModel(seed=self.seed, nthread=self.nthread)
        model.restore(self.fitted_.left, pd.DataFrame({"product_id": self.fitted_.left.products}))
        return model

    def _reasons(self, left: pd.DataFrame) -> pd.DataFrame:
        names = [name for name, _ in self.definition.reasons]
        found = left["reason"].value_counts().reindex(names, fill_value=0).to_numpy()
        enough = found >= FEWEST_OF_A_REASON
        counted = [name if own else OTHER for name, own in zip(names, enough, strict=True)]
        return pd.DataFrame({"reason": names, "found": found, "need": FEWEST_OF_A_REASON, "counted_as": counted})

    def counted(self, reasons: pd.Series) -> pd.Series:
        """Return the reasons as the model counts them: one that too few had is "other"."""
        own = dict(zip(self.reasons_["reason"], self.reasons_["counted_as"], strict=True))
        return reasons.map(own).fillna(OTHER)

    def _shares(self, whole: propensity.Fitted, training: Followed, later: Followed) -> Shares:
        early, late = (self.counted(part["reason"]) for _, part in (training, later))
        named = self.reasons_.loc[self.reasons_["counted_as"] != OTHER, "reason"].tolist()
        names = (*named, OTHER) if early.eq(OTHER).any() else tuple(named)
        codes = [pd.Index(names).get_indexer(pd.Index(part)) for part in (early, late)]
        known = codes[1] >= 0
        held_out = (_design(whole, later[0])[known], codes[1][known])
        return shares.fit(_design(whole, training[0]), codes[0], names, held_out=held_out)


def sample(followed: pd.DataFrame, *, dates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of one date to learn from and what each counts: all who left within 180 days, some who stayed.

    Over the ``dates`` of training together at most ``STAYERS`` of those who stayed.
    """
    left = spells.left_within(followed, HORIZONS[-1]) == 1
    limit = int(left.sum()) + max(STAYERS // dates, int(left.sum()))
    rng = np.random.default_rng(seed)
    if len(followed) <= limit:
        return np.arange(len(followed)), np.ones(len(followed))
    stayers = np.flatnonzero(~left)
    drawn = rng.choice(stayers, limit - int(left.sum()), replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(left), drawn]))
    return rows, np.where(left[rows], 1.0, len(stayers) / len(drawn))


def _joined(given: Followed, weight: np.ndarray | None) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Return features, followed and weights row by row; raises DataError where no customer is in both tables."""
    features, followed = given
    place = pairs.rows_of(followed, features)
    kept = place >= 0
    if not kept.any():
        raise DataError(
            "no customer who was followed has a row in the features of the same date; make both from the same snapshot"
        )
    weights = np.ones(len(followed)) if weight is None else np.asarray(weight, dtype=float)
    table = features.iloc[place[kept]].reset_index(drop=True)
    return table, followed[kept].reset_index(drop=True), weights[kept]


def _enough(left: np.ndarray, need: int, when: str, definition: Definition) -> None:
    found = int((left == 1).sum())
    if found < need:
        raise DataError(
            f"not enough data: {found} of {int((left >= 0).sum())} customers left within {LEARNT} days {when} in the sense"
            f" of {definition.name} (found {found}, need {need}); load a longer history or choose a wider definition"
        )


def _as_propensity(ranker: ChurnRanker) -> propensity.Fitted:
    """Return a ranker in the form of a propensity model, which has one input more (the pooled model of all products)."""
    own = ranker.calibration_
    spread = np.eye(len(propensity.INPUTS), len(own.mean))
    return propensity.Fitted(
        [propensity.SINGLE],
        ranker.learner_,
        np.ones(1),
        Calibration(
            own.coefficients @ spread.T,
            spread @ own.covariances @ spread.T,
            spread @ own.mean,
            (spread**2) @ own.variance,
        ),
    )


def _window(
    whole: propensity.Fitted,
    features: pd.DataFrame,
    followed: pd.DataFrame,
    days: tuple[int, int],
    weights: np.ndarray | None = None,
) -> Window:
    """Return the calibration of the risk of the days (first, last] on the 90-day log-odds."""
    left = spells.left_within(followed, days[1], after=days[0])
    known = left >= 0
    log_odds = whole.logits(features[known])[0][:, 0]
    weight = np.ones(int(known.sum())) if weights is None else weights[known]
    # One who left, and as many who stayed as there are to him, are added, so that nobody leaving is no certainty either.
    share = float((weight @ (left[known] == 1) + 1) / (weight.sum() + 2))
    offset = float(logit(share) - weight @ log_odds / weight.sum())
    inputs = np.column_stack([np.ones(len(log_odds)), log_odds])
    found = calibration.fit([Sample(inputs, left[known] == 1, weight, offset)], _PRIOR)
    constant, slope = found.coefficients[0]
    spread = np.sqrt(np.diag(found.covariances[0]))
    return Window(
        *days,
        constant=float(constant + offset),
        slope=float(slope),
        spread=(float(spread[0]), float(spread[1])),
        customers=int(known.sum()),
        left=int((left == 1).sum()),
    )


def _design(whole: propensity.Fitted, features: pd.DataFrame) -> np.ndarray:
    encoding = whole.learner.encoding
    return encoding.linear_matrix(encoding.tree_matrix(features))
