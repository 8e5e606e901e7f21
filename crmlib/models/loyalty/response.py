"""Who answers a survey, and what the score would be if everybody had: weights by the chance of answering.

Each customer of the population has a chance of answering that is estimated from what was known the day before the
period began; those who answered count by the inverse of it (Little & Rubin 2002, Statistical Analysis with Missing
Data, section 3.3). That corrects what depends on the observed inputs, and nothing else: where the discontented answer
less at the same age, activity and habits, the score stays too high, and no weighting can know.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from crmlib import features
from crmlib.errors import DataError
from crmlib.models.loyalty import logit
from crmlib.models.loyalty.nps import QUESTION
from crmlib.warehouse.snapshot import Warehouse

Floats = NDArray[np.float64]
FEWEST = 50
"""Answers that it takes at least to estimate who answers."""
LARGEST = 10.0
"""No answer counts more than so many times the average: one rare kind of respondent shall not be the score."""
_PENALTY = 4.0
_COUNTS = ("transactions", "products", "contacts", "complaints", "answers")

SPEC = features.Specification(
    (
        features.since("birth_date", years=True, name="age"),
        features.since("customer_since", name="tenure"),
        features.windowed("transactions", months=(3,)),
        features.share("transactions", by="channel", months=(12,)),
        features.held(),
        features.windowed("contacts", months=(6,), where={"direction": "in"}),
        features.windowed("complaints", months=(12,)),
        features.windowed("surveys", months=(12,), where={"question": QUESTION}),
    )
)
"""What the chance of answering is estimated from."""


@dataclass(frozen=True)
class Response:
    """How the chance of answering depends on what is known of a customer; made by ``fit``.

    Attributes: ``odds`` with feature, odds_ratio (per standard deviation), low, high (95%), p; ``answered`` and
    ``people``, their numbers.
    """

    names: tuple[str, ...]
    centre: Floats
    scale: Floats
    model: logit.Fit
    odds: pd.DataFrame
    answered: int
    people: int

    def chance(self, people: pd.DataFrame) -> Floats:
        """Return each customer's chance of answering in the period."""
        out: Floats = expit(self.model.log_odds(_design(people, self.names, self.centre, self.scale)))
        return out


def population(wh: Warehouse, answered: pd.DataFrame, periods: Sequence[dt.date], *, months: int = 3) -> pd.DataFrame:
    """Return everybody who could have answered in each period, what was known of them the day before, and who did.

    In: the answers to one survey (customer_id, answered_at); ``periods`` their first days, each of ``months``. Out:
    customer_id, period, answered (bool), then the inputs: age and tenure (years), transactions (3 months), products,
    contacts (from the customer, 6 months), complaints (12 months), and the share of each channel in the transactions.
    Raises DataError for a period that begins before the records.
    """
    spec = features.resolve(SPEC, wh.snapshot(max(periods) - dt.timedelta(days=1)))
    parts = []
    for first in periods:
        after = pd.Timestamp(first) + pd.DateOffset(months=months)
        inside = answered["answered_at"].between(pd.Timestamp(first), after, inclusive="left")
        known = _inputs(features.build(wh.snapshot(first - dt.timedelta(days=1)), spec))
        known.insert(1, "period", pd.Timestamp(first).as_unit("us"))
        known.insert(2, "answered", known["customer_id"].isin(answered.loc[inside, "customer_id"]))
        parts.append(known)
    return pd.concat(parts, ignore_index=True)


def fit(people: pd.DataFrame) -> Response:
    """Return how the chance of answering depends on the inputs of ``population``.

    Logistic regression on standardised inputs (counts as log1p) and their squares, with a small ridge penalty. Raises
    DataError for fewer than 50 answers, or where everybody answered.
    """
    outcome = people["answered"].to_numpy(float)
    yes = int(outcome.sum())
    if yes < FEWEST or yes == len(outcome):
        raise DataError(
            f"surveys: not enough data to weight the answers (found {yes} answers of {len(outcome)} customers, need "
            f"{FEWEST} and somebody who did not answer); show the unweighted score"
        )
    given = _numbers(people)
    names = tuple(str(name) for name in given if given[name].std() > 1e-9)
    values = given[list(names)].to_numpy(float)
    centre, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    model = logit.fit(_design(people, names, centre, scale), outcome, penalty=_PENALTY)
    linear = slice(1, 1 + len(names))
    error = np.sqrt(np.diag(model.covariance))[linear]
    slope = model.coefficients[linear]
    z = stats.norm.ppf(0.975)
    odds = pd.DataFrame(
        {
            "feature": list(names),
            "odds_ratio": np.exp(slope),
            "low": np.exp(slope - z * error),
            "high": np.exp(slope + z * error),
            "p": 2 * stats.norm.sf(np.abs(slope / error)),
        }
    )
    return Response(names, centre, scale, model, odds, yes, len(outcome))


def weights(people: pd.DataFrame, response: Response) -> pd.DataFrame:
    """Return customer_id, period and weight of those who answered: the inverse of their chance, 1 on average a period.

    No weight is above 10 times the average (``LARGEST``).
    """
    own = people["answered"].to_numpy(bool)
    answered = people.loc[own, ["customer_id", "period"]].reset_index(drop=True)
    raw = pd.Series(1 / response.chance(people[own]))
    raw = raw / raw.groupby(answered["period"]).transform("mean")
    capped = raw.clip(upper=LARGEST)
    return answered.assign(weight=capped / capped.groupby(answered["period"]).transform("mean"))


def weighted(answered: pd.DataFrame, weight: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that have a weight, with it; both tables have customer_id and period.

    Left out are those who were no customers on the day before the period.
    """
    return answered.merge(weight, on=["customer_id", "period"], how="inner", validate="many_to_one")


def balance(people: pd.DataFrame, weight: pd.DataFrame) -> pd.DataFrame:
    """Return how alike those who answered are to everybody, before and after weighting.

    Out: feature, population, answered and weighted (means), before and after (differences in standard deviations of the
    population; below 0.1 counts as alike, Austin 2009, Statistics in Medicine 28, 3083-3107). Counts are as log1p.
    """
    given = _numbers(people)
    own = people["answered"].to_numpy(bool)
    keys = people.loc[own, ["customer_id", "period"]]
    counted = keys.merge(weight, on=["customer_id", "period"], how="left", validate="one_to_one")["weight"].to_numpy()
    # Each period counts by its answers in all three means, so that a change between periods is no lack of balance.
    size = people.groupby("period")["answered"].transform("size").to_numpy(float)
    answers = people.groupby("period")["answered"].transform("sum").to_numpy(float)
    rows = []
    for name in given:
        values = given[name].fillna(given[name].mean()).to_numpy(float)
        everybody = np.average(values, weights=answers / size)
        before = values[own].mean()
        after = np.average(values[own], weights=counted)
        spread = values.std()
        if spread > 1e-9:
            rows.append((name, everybody, before, after, (before - everybody) / spread, (after - everybody) / spread))
    return pd.DataFrame(rows, columns=["feature", "population", "answered", "weighted", "before", "after"])


def _inputs(built: pd.DataFrame) -> pd.DataFrame:
    names = {
        "transactions_count_3m": "transactions",
        "holdings_open_count": "products",
        "contacts_in_count_6m": "contacts",
        "complaints_count_12m": "complaints",
        "surveys_nps_count_12m": "answers",
    }
    out = built.drop(columns="as_of").rename(columns=names)
    prefix, suffix = "transactions_count_share_channel_", "_12m"
    out = out.rename(
        columns={one: f"share_{one[len(prefix) : -len(suffix)]}" for one in map(str, out) if one.startswith(prefix)}
    )
    return out.assign(tenure=out["tenure"] / 365.25)


def _numbers(people: pd.DataFrame) -> pd.DataFrame:
    """Return the inputs as numbers to be standardised: counts and tenure by log1p, a missing share as none."""
    given = people.drop(columns=["customer_id", "period", "answered"]).astype(float)
    for name in given:
        if name in _COUNTS or name == "tenure":
            given[name] = np.log1p(given[name].clip(lower=0))
        elif str(name).startswith("share_"):
            given[name] = given[name].fillna(0.0)
    return given


def _design(people: pd.DataFrame, names: Sequence[str], centre: Floats, scale: Floats) -> Floats:
    values = (_numbers(people)[list(names)].to_numpy(float) - centre) / scale
    values = np.clip(np.nan_to_num(values), -4, 4)
    return np.hstack([values, values**2 - 1])
