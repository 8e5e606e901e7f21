"""The indirect loyalty index: how loyal customers are by what they do, for those who were never asked.

Complaints and what became of them, length of the relationship, contacts, depth of products, activity and its trend,
and mentions are weighed by how well they foretold, at an earlier date, who would still be a customer 180 days later.
The weights come from a penalised logistic regression at one date, are calibrated (Platt 1999) at a later one and tested
there on customers not used for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from crmlib import features
from crmlib.errors import DataError
from crmlib.models.loyalty import logit
from crmlib.warehouse.snapshot import Warehouse

Floats = NDArray[np.float64]
WITHIN_DAYS = 180
UNWILLING = ("death", "moving")
"""Who leaves for these reasons is left out: it says nothing about loyalty."""
FEWEST = 50
"""Customers who left, at each of the two dates, that it takes at least to weigh anything."""
PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
_FOLDS = 5

SPEC = features.Specification(
    (
        features.since("customer_since", name="tenure"),
        features.windowed("complaints", months=(6,), by="resolution"),
        features.windowed("complaints", months=(None,), where={"resolved_at": None}, name="complaints_open"),
        features.windowed("contacts", months=(6,), by="purpose", where={"direction": "in"}),
        features.windowed("contacts", months=(6,), where={"direction": "out"}),
        features.held(),
        features.held(by="product_group"),
        features.windowed("transactions", months=(3,)),
        features.trend("transactions", recent=3, before=9),
        features.recency("transactions", months=12),
        features.windowed("mentions", "sentiment", months=(12,)),
    )
)
"""What the index is made of."""


@dataclass(frozen=True)
class Index:
    """The fitted index; made by ``fit``.

    Attributes: ``weights`` with driver, weight (log-odds of staying per standard deviation), low, high (95%), p, mean and
    deviation (of the driver as weighed: counts as log1p); ``spec`` the resolved features; ``calibration`` intercept and
    slope; ``reference`` the 101 percentiles of the log-odds at the date of calibration, which give the index its scale;
    ``fitted_as_of`` and ``calibrated_as_of``.
    """

    weights: pd.DataFrame
    spec: features.Specification
    constant: float
    calibration: tuple[float, float]
    reference: Floats
    fitted_as_of: dt.date
    calibrated_as_of: dt.date

    def score(self, built: pd.DataFrame) -> pd.DataFrame:
        """Return customer_id, as_of, index (0 to 100: the share of customers, at the date of calibration, less loyal) and
        retained (calibrated probability to be a customer 180 days later), one row for each of ``built``."""
        odds = self._log_odds(built)
        levels = np.linspace(0, 100, len(self.reference))
        intercept, slope = self.calibration
        return built[["customer_id", "as_of"]].assign(
            index=np.interp(odds, self.reference, levels), retained=expit(intercept + slope * odds)
        )

    def contributions(self, built: pd.DataFrame) -> pd.DataFrame:
        """Return customer_id, driver, value (of the driver in its own unit), contribution (log-odds of staying added
        compared with the average customer); they add up to what sets the customer apart."""
        parts = self._standard(built) * self.weights["weight"].to_numpy()
        values = inputs(built, plain=True)[list(self.weights["driver"])].to_numpy(float)
        rows, columns = parts.shape
        return pd.DataFrame(
            {
                "customer_id": built["customer_id"].array.repeat(columns),
                "driver": pd.Categorical.from_codes(
                    np.tile(np.arange(columns), rows), categories=pd.Index(self.weights["driver"])
                ),
                "value": values.ravel(),
                "contribution": parts.ravel(),
            }
        )

    def _standard(self, built: pd.DataFrame) -> Floats:
        given = inputs(built)[list(self.weights["driver"])].to_numpy(float)
        out: Floats = (given - self.weights["mean"].to_numpy()) / self.weights["deviation"].to_numpy()
        return out

    def _log_odds(self, built: pd.DataFrame) -> Floats:
        out: Floats = self.constant + self._standard(built) @ self.weights["weight"].to_numpy()
        return out


@dataclass(frozen=True)
class Learnt:
    """An index and how well it did on customers that it had not seen, at a later date.

    Attributes: ``index``; ``test`` with measure (auc, slope, intercept; of leaving), value, low, high; ``bins`` with bin,
    customers, predicted, observed, low, high (shares retained); ``later`` customer_id, as_of, index, retained, stayed of
    all customers at the date of calibration; ``left`` the numbers who had left at the two dates.
    """

    index: Index
    test: pd.DataFrame
    bins: pd.DataFrame
    later: pd.DataFrame
    left: tuple[int, int]


def inputs(built: pd.DataFrame, *, plain: bool = False) -> pd.DataFrame:
    """Return the drivers of the index from the features of ``SPEC``: customer by driver, numbers without gaps.

    tenure (years), complaints_<resolution>, complaints_open, contacts_<purpose> (from the customer, 6 months),
    contacts_out, products, product_groups, activity (transactions in 3 months), activity_trend (-1 to 1), silence (days
    since the last transaction, 365 where there was none), mentions, sentiment (mean, 0 where there is none). Tenure and
    numbers are taken as log1p unless ``plain``.
    """
    columns: dict[str, pd.Series] = {"tenure": built["tenure"] / 365.25}
    for prefix, suffix, name in (
        ("complaints_count_resolution_", "_6m", "complaints_"),
        ("contacts_in_count_purpose_", "_6m", "contacts_"),
    ):
        for column in built:
            if str(column).startswith(prefix):
                columns[name + str(column)[len(prefix) : -len(suffix)]] = built[column]
    columns["complaints_open"] = built["complaints_open_count"]
    columns["contacts_out"] = built["contacts_out_count_6m"]
    columns["products"] = built["holdings_open_count"]
    groups = [column for column in built if str(column).startswith("holdings_open_count_group_")]
    columns["product_groups"] = (built[groups] > 0).sum(axis=1)
    columns["activity"] = built["transactions_count_3m"]
    columns["silence"] = built["transactions_recency_days"].fillna(365.0)
    columns["mentions"] = built["mentions_count_12m"]
    out = pd.DataFrame(columns).astype(float).fillna(0.0)
    if not plain:
        out = out.clip(lower=0).apply(np.log1p)
    trend = built["transactions_count_trend_3m"].fillna(0.0)
    mentions = built["mentions_count_12m"].where(built["mentions_count_12m"] > 0)
    return out.assign(activity_trend=trend, sentiment=(built["mentions_sum_sentiment_12m"] / mentions).fillna(0.0))


def stayed(wh: Warehouse, as_of: dt.date, *, within_days: int = WITHIN_DAYS) -> pd.DataFrame:
    """Return customer_id and stayed (bool) of the customers open at ``as_of``, by what was known ``within_days`` later.

    Left out are those who left by death or moving (``UNWILLING``). Raises DataError where the records end before.
    """
    end = as_of + dt.timedelta(days=within_days)
    if wh.period is None or end > wh.period[1]:
        last = "nowhere" if wh.period is None else str(wh.period[1])
        raise DataError(
            f"customers: who stayed {within_days} days after {as_of} cannot be known yet, the records end on {last}; take an "
            f"earlier date"
        )
    rows = wh.snapshot(end).table("customers", ["customer_id", "customer_since", "closed_on", "closed_reason"])
    open_then = ~(rows["closed_on"] <= pd.Timestamp(as_of)) & ~(rows["customer_since"] > pd.Timestamp(as_of))
    rows = rows[open_then & ~rows["closed_reason"].isin(UNWILLING)]
    left = rows["closed_on"].notna() & (rows["closed_on"] <= pd.Timestamp(end))
    return pd.DataFrame({"customer_id": rows["customer_id"], "stayed": ~left}).reset_index(drop=True)


def learn(
    wh: Warehouse, as_of: dt.date, *, without: Collection[str] = (), within_days: int = WITHIN_DAYS, seed: int = 7
) -> Learnt:
    """Return the index learnt from what the warehouse knew up to ``as_of``, and its test.

    The weights are estimated on the customers of two periods of ``within_days`` ago, calibrated and tested on those of
    one period ago; the customers ``without`` (who objected to profiling) are in neither. Raises DataError where the records are too short or fewer than 50 customers left in either period.
    """
    later = as_of - dt.timedelta(days=within_days)
    earlier = later - dt.timedelta(days=within_days)
    first = wh.period[0] if wh.period else None
    if first is None or earlier <= first:
        raise DataError(
            f"the loyalty index needs records from {earlier} on (two periods of {within_days} days before {as_of}); "
            f"{'there are none' if first is None else f'they begin on {first}'}"
        )
    spec = features.resolve(SPEC, wh.snapshot(earlier))
    tables = []
    for day in (earlier, later):
        built = features.build(wh.snapshot(day), spec)
        built = built[~built["customer_id"].isin(list(without))]
        tables.append(built.merge(stayed(wh, day, within_days=within_days), on="customer_id", validate="one_to_one"))
    return fit(tables[0], tables[1], spec=spec, seed=seed)


def fit(earlier: pd.DataFrame, later: pd.DataFrame, *, spec: features.Specification, seed: int = 7) -> Learnt:
    """Return the index from two tables of features with the outcome ``stayed``, the second of a later date.

    Half of the customers of the later date, at random, calibrate for the test; the calibration that is kept takes all.
    Raises DataError for fewer than 50 customers who left in either.
    """
    left = (int((~earlier["stayed"]).sum()), int((~later["stayed"]).sum()))
    for count, table in zip(left, (earlier, later), strict=True):
        if count < FEWEST or count == len(table):
            day = table["as_of"].iloc[0].date() if len(table) else "the date"
            raise DataError(
                f"customers: not enough data to weigh signs of loyalty as of {day} (found {count} who left of "
                f"{len(table)}, need {FEWEST} and somebody who stayed)"
            )
    rng = np.random.default_rng(seed)
    unscaled = _weigh(earlier, spec, later["as_of"].iloc[0].date(), rng)
    odds, outcome = unscaled._log_odds(later), later["stayed"].to_numpy(float)
    half = rng.random(len(later)) < 0.5
    bins, test = _tested(expit(_platt(odds[half], outcome[half], odds[~half])), outcome[~half])
    whole = logit.fit(odds[:, None], outcome, penalty=0.0).coefficients
    found = Index(
        **{
            **vars(unscaled),
            "calibration": (float(whole[0]), float(whole[1])),
            "reference": np.maximum.accumulate(np.quantile(odds, np.linspace(0, 1, 101))),
        }
    )
    scored = found.score(later).assign(stayed=later["stayed"].to_numpy(bool))
    return Learnt(found, test, bins, scored, left)


def _weigh(table: pd.DataFrame, spec: features.Specification, later: dt.date, rng: np.random.Generator) -> Index:
    given = inputs(table)
    kept = [name for name in given if given[name].std() > 1e-9]
    mean, deviation = given[kept].mean().to_numpy(), given[kept].std(ddof=0).to_numpy()
    design = (given[kept].to_numpy(float) - mean) / deviation
    outcome = table["stayed"].to_numpy(float)
    found = logit.fit(design, outcome, penalty=_penalty(design, outcome, rng))
    weight, error = found.coefficients[1:], np.sqrt(np.diag(found.covariance))[1:]
    z = stats.norm.ppf(0.975)
    weights = pd.DataFrame(
        {
            "driver": kept,
            "weight": weight,
            "low": weight - z * error,
            "high": weight + z * error,
            "p": 2 * stats.norm.sf(np.abs(weight / error)),
            "mean": mean,
            "deviation": deviation,
        }
    )
    constant = float(found.coefficients[0])
    return Index(weights, spec, constant, (0.0, 1.0), np.zeros(101), table["as_of"].iloc[0].date(), later)


def _penalty(design: Floats, outcome: Floats, rng: np.random.Generator) -> float:
    """Return the penalty with the lowest loss in cross-validation with five folds."""
    fold = rng.integers(0, _FOLDS, len(outcome))
    losses = np.zeros(len(PENALTIES))
    for one in range(_FOLDS):
        inside = fold != one
        known, yes, start = design[inside], outcome[inside], None
        for place, value in enumerate(PENALTIES):
            found = logit.fit(known, yes, penalty=value * (_FOLDS - 1) / _FOLDS, start=start)
            odds, start = found.log_odds(design[~inside]), found.coefficients
            losses[place] += float((np.logaddexp(0, odds) - outcome[~inside] * odds).sum())
    return PENALTIES[int(np.argmin(losses))]


def _platt(odds: Floats, outcome: Floats, other: Floats) -> Floats:
    return logit.fit(odds[:, None], outcome, penalty=0.0).log_odds(other[:, None])


def _tested(retained: Floats, outcome: Floats) -> tuple[pd.DataFrame, pd.DataFrame]:
    from crmlib.models import metrics  # noqa: PLC0415  (propensity's floor of imports, needed here only)

    left = 1 - outcome
    auc = metrics.auc(left, 1 - retained)
    slope, intercept = metrics.calibration_line(left, 1 - retained)
    rows = [(name, *found) for name, found in (("auc", auc), ("slope", slope), ("intercept", intercept))]
    return bins(retained, outcome), pd.DataFrame(rows, columns=["measure", "value", "low", "high"])


def bins(retained: Floats, outcome: Floats, *, count: int = 10) -> pd.DataFrame:
    """Return predicted against observed shares retained in ``count`` groups of equal size: bin (1 the least loyal),
    customers, predicted, observed, low, high (Wilson 1927)."""
    from crmlib.models.loyalty.cohorts import wilson  # noqa: PLC0415

    place = np.minimum(np.argsort(np.argsort(retained, kind="stable")) * count // len(retained), count - 1)
    size = np.bincount(place, minlength=count).astype(float)
    yes = np.bincount(place, outcome, minlength=count)
    low, high = wilson(yes, size)
    predicted = np.bincount(place, retained, minlength=count) / size
    columns = {"customers": size.astype(int), "predicted": predicted, "observed": yes / size, "low": low, "high": high}
    return pd.DataFrame({"bin": np.arange(1, count + 1), **columns})


def compare(later: pd.DataFrame, answered: pd.DataFrame) -> pd.DataFrame:
    """Return how the index compares with NPS on customers who have both.

    In: ``Learnt.later``; the last answer of each customer before that date (customer_id, score). Out: measure, value,
    low, high, customers, left: rank_correlation (Spearman, of index and answer; interval of Bonett & Wright 2000,
    Psychometrika 65, 23-28), auc_index and auc_nps (chance that who left was rated lower than who stayed), and
    auc_difference (index less NPS, on the same customers; DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837-845).
    Raises DataError for fewer than 30 customers with both or fewer than 5 of them who left.
    """
    both = later.merge(answered[["customer_id", "score"]], on="customer_id", how="inner", validate="one_to_one")
    left = ~both["stayed"].to_numpy(bool)
    if len(both) < 30 or left.sum() < 5 or left.all():
        raise DataError(
            f"surveys: not enough data to compare the index with NPS (found {len(both)} customers with both, {int(left.sum())}"
            " of them left; need 30 and 5)"
        )
    index, score = both["index"].to_numpy(float), both["score"].to_numpy(float)
    rho = float(stats.spearmanr(index, score).statistic) if np.ptp(score) > 0 else np.nan
    rho = float(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    error = np.sqrt((1 + rho**2 / 2) / (len(both) - 3))
    z = stats.norm.ppf(0.975)
    rows = [("rank_correlation", rho, *np.tanh(np.arctanh(rho) + np.array([-z, z]) * error))]
    found, covariance = _areas([-index, -score], left)
    for name, place in (("auc_index", 0), ("auc_nps", 1)):
        reach = z * np.sqrt(covariance[place, place])
        rows.append((name, found[place], max(found[place] - reach, 0), min(found[place] + reach, 1)))
    reach = z * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    gap = found[0] - found[1]
    rows.append(("auc_difference", gap, gap - reach, gap + reach))
    out = pd.DataFrame(rows, columns=["measure", "value", "low", "high"])
    return out.assign(customers=len(both), left=int(left.sum()))


def _areas(scores: Sequence[Floats], left: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the areas under the curves of several scores of the same customers, and their covariance (DeLong 1988)."""
    above, below = [], []
    yes, no = int(left.sum()), int((~left).sum())
    for score in scores:
        ranks = stats.rankdata(score)
        above.append((ranks[left] - stats.rankdata(score[left])) / no)
        below.append(1 - (ranks[~left] - stats.rankdata(score[~left])) / yes)
    areas = np.array([one.mean() for one in above])
    return areas, np.atleast_2d(np.cov(above)) / yes + np.atleast_2d(np.cov(below)) / no
