"""Do groups differ in how long they stay, or in how many leave for a reason: the log-rank test and Gray's test.

Log-rank (Mantel 1966, Cancer Chemotherapy Reports 50, 163-170; Peto & Peto 1972): departures of each group against those
expected if all groups had the hazard of the whole, with the hypergeometric variance. Of one reason it compares the hazards
of that reason (the others count as censored).

Gray 1988 (Annals of Statistics 16, 1141-1154, rho = 0) compares cumulative incidences: who left for another reason stays in
the risk set with weight, R_g(t) = n_g(t) (1 - F_g(t-)) / S_g(t-), and the score of a group is the sum of d_g - R_g d / R.
A group can differ in one and not in the other: where competitors take many, fewer are left to leave for the price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.survival import observed
from crmlib.models.survival.observed import Names, Observed, Values

FEWEST = 5  # departures below which the chi-squared distribution is no guide


@dataclass(frozen=True)
class Comparison:
    """A test of no difference: ``statistic`` (chi-squared with ``degrees`` of freedom), ``p``, and ``table`` with
    group, customers, observed, expected (departures).
    """

    statistic: float
    degrees: int
    p: float
    table: pd.DataFrame


def log_rank(
    durations: Values,
    reasons: Names,
    groups: Names,
    *,
    reason: str | None = None,
    entered: Values | None = None,
) -> Comparison:
    """Return the log-rank test of equal hazards in all groups: of leaving for any reason, or for one.

    In: as ``curves.cumulative_incidence``. Raises DataError for one group only, fewer than 5 departures, or a reason that
    nobody has.
    """
    given = observed.from_reasons(durations, reasons, groups=groups, entered=entered)
    at_risk, events, _ = _counted(given, reason)
    everybody, total = at_risk.sum(axis=0), events.sum(axis=0)
    share = at_risk / everybody
    scale = total * (everybody - total) / np.maximum(everybody - 1, 1)
    variance = np.diag((share * scale).sum(axis=1)) - (share * scale) @ share.T
    return _comparison(given, events, share * total, variance)


def gray(durations: Values, reasons: Names, groups: Names, *, reason: str) -> Comparison:
    """Return Gray's test of equal cumulative incidences of one reason in all groups.

    In: as ``curves.cumulative_incidence``, everybody observed from the start. Raises DataError as ``log_rank``.
    """
    given = observed.from_reasons(durations, reasons, groups=groups)
    at_risk, own, others = _counted(given, reason)
    some = np.maximum(at_risk, 1)
    survival = np.cumprod(1 - (own + others) / some, axis=1)
    before = _lagged(survival, first=1.0)
    incidence = _lagged(np.cumsum(before * own / some, axis=1), first=0.0)
    size = np.where(at_risk > 0, at_risk / np.where(before > 0, before, 1.0), 0.0)
    weighted = size * (1 - incidence)
    expected = weighted * own.sum(axis=0) / weighted.sum(axis=0)
    variance = np.zeros((len(size), len(size)))
    for place in range(len(size)):
        counts = (at_risk[place], own.sum(axis=0), others[place])
        variance += _spread_from(place, size, counts=counts, survival=survival[place])
    return _comparison(given, own, expected, variance)


def _spread_from(
    place: int, size: np.ndarray, *, counts: tuple[np.ndarray, np.ndarray, np.ndarray], survival: np.ndarray
) -> np.ndarray:
    """Return what one group's chance adds to the covariance of the scores of all groups (groups x groups).

    A departure at time u moves the scores at u and, through the group's survival and incidence, those after u. Under
    the hypothesis incidence F steps by d / (sum of n/S). Ties count as in drawing without replacement.
    """
    at_risk, own, others = counts
    total = size.sum(axis=0)
    step = own / total
    incidence = np.cumsum(step)
    before = _lagged(survival[None], first=1.0)[0]
    here = at_risk > 0
    some = np.maximum(at_risk, 1)
    unit = (np.arange(len(size)) == place).astype(float)[:, None]
    now = (unit - size / total) * size[place]
    drift = now * step / (1 - (incidence - step))
    later = drift.sum(axis=1, keepdims=True) - np.cumsum(drift, axis=1)
    ratio = np.where(survival > 0, (1 - incidence) / np.where(survival > 0, survival, 1.0), 0.0)
    ties_own = 1 - np.maximum(own - 1, 0) / np.maximum(total * before - 1, 1)
    ties_others = 1 - np.maximum(others - 1, 0) / np.maximum(at_risk - 1, 1)
    by_own = np.where(here, ties_own * before * step / some, 0.0)
    by_others = np.where(here & (survival > 0), ties_others * before**2 * others / some**2, 0.0)
    moved = now + (1 - ratio) * later
    return (moved * by_own) @ moved.T + (later * ratio**2 * by_others) @ later.T


def _counted(given: Observed, reason: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return at risk, departures for the reason (any if None) and for others, groups x times of any departure."""
    if len(given.groups) < 2:
        raise DataError(f"there is one group only ({given.groups[0]}); a test of differences needs two or more")
    own = given.left if reason is None else given.code == given.place(reason)
    if own.sum() < FEWEST:
        what = "left" if reason is None else f"left for the reason {reason!r}"
        raise DataError(
            f"not enough data for a test: {int(own.sum())} of {len(own)} customers {what}"
            f" (found {int(own.sum())}, need {FEWEST}); observe longer"
        )
    times = np.unique(given.time[given.left])
    at_risk = np.empty((len(given.groups), len(times)))
    events = np.zeros((2, len(given.groups), len(times)))
    for place in range(len(given.groups)):
        part = given.group == place
        ended = np.searchsorted(np.sort(given.time[part]), times, side="left")
        at_risk[place] = np.searchsorted(np.sort(given.entered[part]), times, side="left") - ended
        for kind, chosen in enumerate((own, given.left & ~own)):
            at = np.searchsorted(times, given.time[part & chosen])
            events[kind, place] = np.bincount(at, minlength=len(times))
    return at_risk, events[0], events[1]


def _lagged(values: np.ndarray, *, first: float) -> np.ndarray:
    """Return the values just before each time (groups x times)."""
    return np.column_stack([np.full(len(values), first), values[:, :-1]])


def _comparison(given: Observed, found: np.ndarray, expected: np.ndarray, variance: np.ndarray) -> Comparison:
    """Return the test of the scores; one group says nothing that the others do not."""
    score = (found - expected).sum(axis=1)
    degrees = int(np.linalg.matrix_rank(variance[:-1, :-1]))
    if not degrees:
        raise DataError("the groups were never at risk at the same time, so they cannot be compared; observe longer")
    statistic = float(score[:-1] @ np.linalg.pinv(variance[:-1, :-1]) @ score[:-1])
    table = pd.DataFrame(
        {
            "group": given.groups,
            "customers": np.bincount(given.group, minlength=len(given.groups)),
            "observed": found.sum(axis=1).astype(int),
            "expected": expected.sum(axis=1),
        }
    )
    return Comparison(statistic, degrees, float(stats.chi2.sf(statistic, degrees)), table)
