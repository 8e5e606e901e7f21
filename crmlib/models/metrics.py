"""How good are the scores: discrimination, gains and calibration, each with a 95% interval.

Everywhere ``scores`` has customer_id, as_of, product_id and score, ``labels`` customer_id, as_of, product_id and bought;
they are compared on the pairs that both hold. The functions on arrays take outcomes (0 or 1) and scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from crmlib.errors import DataError
from crmlib.models import pairs

_Z = 1.959963984540054  # normal quantile of 0.975
_BINS = 10
_DRAWS = 400


class Estimate(NamedTuple):
    """A figure with its 95% interval; nan where the data do not determine it."""

    value: float
    low: float
    high: float


_UNKNOWN = Estimate(np.nan, np.nan, np.nan)


def auc(bought: np.ndarray, score: np.ndarray) -> Estimate:
    """Return the chance that a buyer scores above a non-buyer (ties count half).

    Interval: DeLong, DeLong & Clarke-Pearson 1988 by the mid-ranks of Sun & Xu 2014, on the logit scale.

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).value
    0.75
    """
    yes, no = score[bought == 1], score[bought == 0]
    if not len(yes) or not len(no):
        return _UNKNOWN
    ranks = stats.rankdata(np.concatenate([yes, no]))
    above = (ranks[: len(yes)] - stats.rankdata(yes)) / len(no)
    below = 1 - (ranks[len(yes) :] - stats.rankdata(no)) / len(yes)
    value = float(above.mean())
    if min(len(yes), len(no)) < 2:
        return Estimate(value, np.nan, np.nan)
    error = float(np.sqrt(above.var(ddof=1) / len(yes) + below.var(ddof=1) / len(no)))
    return _on_logit(value, error)


def auc_of_groups(score: np.ndarray, buyers: np.ndarray, others: np.ndarray) -> Estimate:
    """Return what ``auc`` does, of groups of customers with one score each: ``buyers`` and ``others`` in each group."""
    values, group = np.unique(score, return_inverse=True)
    yes, no = np.bincount(group, buyers, len(values)), np.bincount(group, others, len(values))
    if min(yes.sum(), no.sum()) < 2:
        return _UNKNOWN
    above = (np.cumsum(no) - no / 2) / no.sum()
    below = 1 - (np.cumsum(yes) - yes / 2) / yes.sum()
    value = float(yes @ above / yes.sum())
    spread = [
        count @ (place - value) ** 2 / (count.sum() - 1) / count.sum() for count, place in ((yes, above), (no, below))
    ]
    return _on_logit(value, float(np.sqrt(sum(spread))))


def average_precision(bought: np.ndarray, score: np.ndarray) -> Estimate:
    """Return the mean of precision over the buyers in order of score (ties are one step), as scikit-learn does.

    Interval: binomial on the logit scale, with the number of buyers (Boyd, Eng & Page 2013, section 3.1).
    """
    buyers = int(np.sum(bought))
    if not buyers:
        return _UNKNOWN
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(bought[order])[ends]
    value = float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / buyers)
    return _on_logit(value, np.sqrt(value * (1 - value) / buyers))


def captured(bought: np.ndarray, score: np.ndarray, share: float) -> Estimate:
    """Return the share of all buyers among the ``share`` of customers with the highest scores (ties split evenly).

    Interval: Wilson 1927, for the buyers.
    """
    buyers = float(np.sum(bought))
    if not buyers:
        return _UNKNOWN
    place, _, hits = _steps(bought, score)
    value = float(np.interp(share * len(score), place, hits) / buyers)
    low, high = _wilson(value, buyers)
    return Estimate(value, float(low), float(high))


def lift(bought: np.ndarray, score: np.ndarray, share: float) -> Estimate:
    """Return how many times more buyers the best ``share`` of customers holds than a random choice would."""
    return Estimate(*[figure / share for figure in captured(bought, score, share)])


def calibration_line(bought: np.ndarray, score: np.ndarray) -> tuple[Estimate, Estimate]:
    """Return slope and intercept of calibration: 1 and 0 are right, a slope below 1 says scores are too extreme.

    Slope: of a logistic regression of the outcome on the logit of the score (Cox 1958). Intercept: calibration in the
    large, the constant when the slope is held at 1 (Van Calster et al. 2019). Intervals: Wald.
    """
    if not 0 < np.sum(bought) < len(bought) or np.ptp(score) == 0:
        return _UNKNOWN, _UNKNOWN
    x = logit(np.clip(score, 1e-9, 1 - 1e-9))
    free, covariance = _logistic(np.column_stack([np.ones_like(x), x]), bought, np.zeros_like(x), np.array([0.0, 1.0]))
    fixed, variance = _logistic(np.ones((len(x), 1)), bought, x, np.zeros(1))
    slope_error, intercept_error = np.sqrt(covariance[1, 1]), np.sqrt(variance[0, 0])
    return _wald(free[1], slope_error), _wald(fixed[0], intercept_error)


def calibration_error(bought: np.ndarray, score: np.ndarray, *, seed: int = 0) -> Estimate:
    """Return the expected calibration error: mean |observed - predicted| over ten bins of equal size.

    Naeini, Cooper & Hauskrecht 2015. Interval: parametric bootstrap of the bins' buyers, corrected for the noise that
    makes the plain figure too high in small bins (basic bootstrap, Davison & Hinkley 1997, 5.2.1), floored at 0.
    """
    if not len(score):
        return _UNKNOWN
    bins = _equal_bins(score)
    size = np.bincount(bins).astype(float)
    observed, predicted = np.bincount(bins, bought) / size, np.bincount(bins, score) / size
    weight = size / size.sum()
    value = float(np.sum(weight * np.abs(observed - predicted)))
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(size.astype(np.int64), observed, (_DRAWS, len(size))) / size
    errors = np.sum(weight * np.abs(drawn - predicted), axis=1)
    low, high = 2 * value - np.quantile(errors, [0.975, 0.025])
    return Estimate(value, max(0.0, min(low, value)), max(high, value))


def gains(scores: pd.DataFrame, labels: pd.DataFrame, *, steps: int = 100) -> pd.DataFrame:
    """Return the cumulative gains by product: whom do the best shares of the list catch.

    Out, per product and step: product_id, share (of customers contacted), customers, buyers (found by then), gains
    (share of all buyers found; low, high: Wilson), lift (gains / share). Products without buyers are left out.
    """
    rows = []
    for product, bought, score in _by_product(scores, labels):
        total = float(bought.sum())
        if not total:
            continue
        place, _, hits = _steps(bought, score)
        share = np.linspace(0, 1, steps + 1)
        found = np.interp(share * len(score), place, hits)
        low, high = _wilson(found / total, total)
        table = {"product_id": product, "share": share, "customers": np.rint(share * len(score)).astype(int)}
        values = {"buyers": found, "gains": found / total, "low": low, "high": high}
        with np.errstate(invalid="ignore"):
            rows.append(pd.DataFrame({**table, **values, "lift": found / total / share}))
    if not rows:
        raise DataError("no product of the labels has a buyer, so there are no gains to show; take a longer period")
    return pd.concat(rows, ignore_index=True)


def evaluate(scores: pd.DataFrame, labels: pd.DataFrame, *, by: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return how good the scores are, a row per product (or product and group) and metric.

    ``by`` has customer_id and columns that group customers, for example channel and segment: then each product x group
    gets its rows. Metrics: auc, average_precision, lift_10 (best tenth), captured_50 (best half), slope, intercept, ece.

    Out: product_id, the columns of ``by``, metric, value, low, high (95%), pairs, buyers. Without ``by`` the rows
    "(all)" hold the mean of the products' values for auc, average_precision, lift_10 and captured_50 (interval: products
    as independent), and for slope, intercept and ece the figure over all pairs.
    """
    joined = _joined(scores, labels)
    groups = ["product_id"]
    if by is not None:
        groups += [name for name in by.columns if name != "customer_id"]
        if len(groups) == 1:
            raise DataError("the table given as `by` has no column beside customer_id; add one to group by")
        joined = joined.merge(by, on="customer_id", how="inner", validate="many_to_one")
    rows = []
    for key, part in joined.groupby(groups, observed=True, sort=True):
        bought, score = part["bought"].to_numpy(np.int8), part["score"].to_numpy(float)
        rows += [
            (*key, name, *found, len(part), int(bought.sum())) for name, found in _all_metrics(bought, score).items()
        ]
    table = pd.DataFrame(rows, columns=[*groups, "metric", "value", "low", "high", "pairs", "buyers"])
    return table if by is not None else pd.concat([table, _overall(table, joined)], ignore_index=True)


def reliability(scores: pd.DataFrame, labels: pd.DataFrame, *, bins: int = _BINS) -> pd.DataFrame:
    """Return observed against predicted by product and bin of equal size.

    Out: product_id, bin, pairs, predicted (mean score), observed (share of buyers), low, high (Wilson, 95%).
    """
    rows = []
    for product, bought, score in _by_product(scores, labels):
        number = _equal_bins(score, bins)
        size = np.bincount(number).astype(float)
        observed = np.bincount(number, bought) / size
        low, high = _wilson(observed, size)
        predicted = np.bincount(number, score) / size
        table = {"product_id": product, "bin": np.arange(len(size)), "pairs": size.astype(int)}
        rows.append(pd.DataFrame({**table, "predicted": predicted, "observed": observed, "low": low, "high": high}))
    return pd.concat(rows, ignore_index=True)


def _all_metrics(bought: np.ndarray, score: np.ndarray) -> dict[str, Estimate]:
    slope, intercept = calibration_line(bought, score)
    return {
        "auc": auc(bought, score),
        "average_precision": average_precision(bought, score),
        "lift_10": lift(bought, score, 0.1),
        "captured_50": captured(bought, score, 0.5),
        "slope": slope,
        "intercept": intercept,
        "ece": calibration_error(bought, score),
    }


def _overall(table: pd.DataFrame, joined: pd.DataFrame) -> pd.DataFrame:
    bought, score = joined["bought"].to_numpy(np.int8), joined["score"].to_numpy(float)
    slope, intercept = calibration_line(bought, score)
    found = {}
    for name in ("auc", "average_precision", "lift_10", "captured_50"):
        part = table[(table["metric"] == name) & table["value"].notna()]
        error = (part["high"] - part["low"]).to_numpy() / (2 * _Z)
        spread = _Z * np.sqrt(np.nansum(error**2)) / max(len(part), 1)
        mean = float(part["value"].mean())
        found[name] = Estimate(mean, mean - spread, mean + spread)
    found |= {"slope": slope, "intercept": intercept, "ece": calibration_error(bought, score)}
    rows = [("(all)", name, *value, len(joined), int(bought.sum())) for name, value in found.items()]
    return pd.DataFrame(rows, columns=table.columns)


def _joined(scores: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Return customer_id, product_id, score and bought of the pairs in both tables."""
    products = sorted({str(name) for name in scores["product_id"].unique()})
    keys = scores[["customer_id", "as_of"]].drop_duplicates(ignore_index=True)
    row, column = pairs.rows_of(scores, keys), pairs.codes(scores["product_id"], products)
    bought = pairs.matrix(labels, keys, products)[row, column]
    kept = bought >= 0
    if not kept.any():
        raise DataError("scores and labels have no pair of customer and product in common; take them as of one date")
    return pd.DataFrame(
        {
            "customer_id": scores["customer_id"].array[kept],
            "product_id": pd.Categorical.from_codes(column[kept].astype(np.int32), categories=pd.Index(products)),
            "score": scores["score"].to_numpy(float)[kept],
            "bought": bought[kept],
        }
    )


def _by_product(scores: pd.DataFrame, labels: pd.DataFrame) -> list[tuple[str, np.ndarray, np.ndarray]]:
    joined = _joined(scores, labels)
    parts = joined.groupby("product_id", observed=True, sort=True)
    return [(str(name), part["bought"].to_numpy(), part["score"].to_numpy()) for name, part in parts]


def _steps(bought: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return customers, thresholds and buyers at the end of each run of equal scores, from the top, beginning at 0."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return np.append(0, ends + 1), score[order][ends], np.append(0, np.cumsum(bought[order])[ends]).astype(float)


def _equal_bins(score: np.ndarray, bins: int = _BINS) -> np.ndarray:
    """Return the bin of each score, numbered from the lowest without gaps; equal scores share a bin."""
    edges = np.unique(np.quantile(score, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)[1]


_BOLD = 0.5


def _logistic(
    design: np.ndarray, bought: np.ndarray, offset: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return maximum-likelihood coefficients (Newton, halved while it does not help) and their covariance."""

    def loss(at: np.ndarray) -> float:
        margin = design @ at + offset
        return float(np.sum(np.logaddexp(0, margin) - bought * margin))

    at = start
    for _ in range(50):
        chance = expit(design @ at + offset)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-10 * np.eye(len(at))
        move = np.linalg.solve(curvature, design.T @ (chance - bought))
        if np.abs(move).max() > _BOLD:  # near the optimum Newton's steps cannot overshoot
            current = loss(at)
            while loss(at - move) > current + 1e-12 and np.abs(move).max() > 1e-10:
                move = move / 2
        at = at - move
        if np.abs(move).max() < 1e-8:
            break
    return at, np.linalg.inv(curvature)


def _wald(value: float, error: float) -> Estimate:
    return Estimate(float(value), float(value - _Z * error), float(value + _Z * error))


def _on_logit(value: float, error: float) -> Estimate:
    if not 0 < value < 1:
        return Estimate(value, np.nan, np.nan)
    spread = _Z * error / (value * (1 - value))
    return Estimate(float(value), float(expit(logit(value) - spread)), float(expit(logit(value) + spread)))


def _wilson(share: np.ndarray | float, count: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return the Wilson interval of a share of ``count`` cases."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    spread = _Z / (1 + _Z**2 / count) * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return np.maximum(middle - spread, 0), np.minimum(middle + spread, 1)
