"""Intervals that stay valid however often a running campaign is looked at.

Conversions. Under the draw of the arms, each new buyer of a stratum is of the arm with probability
``pi R / (pi R + 1 - pi)``, where ``pi`` is the arm's share of the stratum and ``R`` the ratio of the two groups' rates
of buying. Against a normal mixture over ``log R`` the likelihood ratio is a martingale, whatever the rates are, so the
interval of all ``R`` it does not refute at level alpha holds at all looks together, in small samples too (Robbins 1970,
Annals of Mathematical Statistics 41, 1397-1409; Ville's inequality).

Money. The stratified difference in means in its standard errors (the larger of Neyman's and the pooled one), against the boundary of the normal mixture
``sqrt((1 + r) (log(1 + 1 / r) + 2 log(1 / alpha)))`` (asymptotic confidence sequences: Waudby-Smith, Arbour, Sinha,
Kennedy & Ramdas 2024, Annals of Statistics 52, 2613-2640). Its clock counts buyers, not customers: what one learns of rare
purchases, one learns from them. Costs of contact are known, not estimated: the interval is that of the profit before
them, moved by them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize, special

from crmlib.decisions.experiments import contract, effects
from crmlib.decisions.experiments.contract import Groups
from crmlib.errors import UsageError

PRIOR_SPREAD = 0.5
"""Standard deviation of the mixture over log R: ratios from 0.4 to 2.7 are what it expects."""

NEED_BUYERS = 30
"""Buyers, of the compared groups together, below which money gets no interval: it rests on a limit theorem."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WIDEST = 12.0  # of |log R|


def interim(results: pd.DataFrame, *, planned_buyers: float, confidence: float = 0.95) -> pd.DataFrame:
    """Return the effect so far by arm and measure, with intervals that hold at this look and at all others.

    In: the table of ``contract``; ``planned_buyers`` the buyers expected by the end of the campaign, control group
    included: intervals are narrowest there; it must not be chosen by what was seen. Out: the columns of
    ``effects.final``. Variance is not reduced: the intervals rest on the draw alone.

    Raises DataError for results that allow no comparison, UsageError for parameters that make no sense.
    """
    effects.check_confidence(confidence)
    if not planned_buyers > 0 or not np.isfinite(planned_buyers):
        raise UsageError(f"planned_buyers is {planned_buyers}; give how many are expected to buy by the end, above 0")
    table = contract.check(results)
    rows = []
    for arm in contract.arms(table):
        found = contract.groups(table, arm)
        rows.append(conversions(table, found, confidence=confidence))
        for measure in contract.MEASURES[1:]:
            rows.append(_money(table, found, measure, planned_buyers=planned_buyers, confidence=confidence))
    return effects.as_table(rows)


def boundary(share_of_plan: float | np.ndarray, *, confidence: float = 0.95) -> np.ndarray:
    """Return by how many standard errors the interval reaches to each side, by the share of the plan reached.

    At the plan's end it is 3.0 where a single look takes 1.96, 1.55 times as much: the price of looking at will.

    >>> boundary(np.array([0.1, 1.0])).round(2).tolist()
    [3.76, 3.04]
    """
    alpha = 1 - confidence
    doubled = -2 * np.log(alpha)
    tightest = 1 / (doubled + np.log(doubled) + 1)  # Howard, Ramdas, McAuliffe & Sekhon 2021, eq. (3.3)
    ratio = np.asarray(share_of_plan, dtype=float) / tightest
    return np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) + doubled))


def conversions(results: pd.DataFrame, found: Groups, *, confidence: float) -> effects.Effect:
    """Return the incremental buyers of an arm with an interval that is exact at all looks (see above).

    A ratio R of the rates stands for ``sum over strata of buyers × n1 (R - 1) / (n1 R + n0)`` incremental buyers.
    """
    bought = contract.outcome(results, "conversions")[found.rows]
    n1, n0 = found.sizes
    each = np.bincount(found.stratum, bought, len(n1))
    own = float(bought[found.treated].sum())
    blank = effects.blank(results, found, "conversions")
    if len(n1) == 0 or not each.sum():
        return effects.too_few(blank, found=0, need=1)

    def more(log_ratio: float) -> float:
        share = special.expit(log_ratio + np.log(n1 / n0))
        return float(np.sum(each * (share - (n1 / n0) * (1 - share))))

    best, low, high = ratio_interval(own, each, np.log(n1 / n0), confidence=confidence)
    customers = blank.customers - found.left_out
    return effects.filled(blank, *[more(value) / customers for value in (best, low, high)], removed=0.0)


def ratio_interval(
    own: float, buyers: np.ndarray, offset: np.ndarray, *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the likeliest log R and the ends of its confidence sequence.

    In: ``own`` buyers of the arm, ``buyers`` of both groups and ``offset`` log(n1 / n0) by stratum.
    """

    def likelihood(log_ratio: np.ndarray | float) -> np.ndarray:
        grid = np.atleast_1d(np.asarray(log_ratio, dtype=float))
        return own * grid - buyers @ np.logaddexp(0.0, offset[:, None] + grid)

    mixed = special.logsumexp(likelihood(PRIOR_SPREAD * _NODES), b=_WEIGHTS / _WEIGHTS.sum())
    allowed = mixed + np.log(1 - confidence)
    best = float(optimize.minimize_scalar(lambda t: -likelihood(t)[0], bounds=(-_WIDEST, _WIDEST), method="bounded").x)
    ends = []
    for end in (-_WIDEST, _WIDEST):
        beyond = likelihood(end)[0] - allowed < 0
        ends.append(optimize.brentq(lambda t: likelihood(t)[0] - allowed, end, best) if beyond else end)
    return best, ends[0], ends[1]


def _money(
    results: pd.DataFrame, found: Groups, measure: str, *, planned_buyers: float, confidence: float
) -> effects.Effect:
    """Return the effect on money before costs, moved by the known costs, with its interval."""
    buyers = int(contract.outcome(results, "conversions")[found.rows].sum())
    blank = effects.blank(results, found, measure)
    if buyers < NEED_BUYERS or not len(found.rows):
        return effects.too_few(blank, found=buyers, need=NEED_BUYERS)
    known = results["cost_minor"].to_numpy()[found.rows] if measure == "profit_minor" else np.zeros(len(found.rows))
    gross = contract.outcome(results, measure)[found.rows] + known
    value, reach = money_interval(gross, found, share_of_plan=buyers / planned_buyers, confidence=confidence)
    moved = value - effects.difference(known, found)[0]
    return effects.filled(blank, moved, moved - reach, moved + reach, removed=0.0)


def money_interval(
    gross: np.ndarray, found: Groups, *, share_of_plan: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the difference in money before costs, and how far its interval reaches to each side."""
    value, error = effects.difference(gross, found)
    error = max(error, _pooled_error(gross, found))
    return value, float(boundary(share_of_plan, confidence=confidence)) * error


def _pooled_error(outcome: np.ndarray, found: Groups) -> float:
    """Return the standard error of the difference if both groups of a stratum vary alike.

    With few buyers among few controls their own variance is often far too low, just when their mean is.
    """
    n1, n0 = found.sizes
    mean = np.bincount(found.stratum, outcome, len(n1)) / (n1 + n0)
    squares = np.bincount(found.stratum, (outcome - mean[found.stratum]) ** 2, len(n1)) / (n1 + n0 - 1)
    return float(np.sqrt(np.sum((n1 / n1.sum()) ** 2 * squares * (1 / n1 + 1 / n0))))
