"""The effect of a campaign at its end: what the arms brought beyond the control group, with intervals.

Of an arm with n1 customers in stratum s, weights w = n1 / sum of n1 make the effect per customer *of the arm*:
``sum of w × (mean of the arm - mean of the control group)``, and its total ``n1 × effect`` is what the campaign brought.
The variance is Neyman's, ``sum of w² (s1² / n1 + s0² / n0)`` (Imbens & Rubin 2015, section 9.4); degrees of freedom are
Welch's. It is the effect of having been chosen (intention to treat), reached or not; see ``per_contacted`` for the other.

Variance is reduced by what was known before the draw (CUPED: Deng, Xu, Kohavi & Walker 2013, WSDM, section 3.2): the
outcome less ``gamma × covariates``, with the gamma that makes the variance above smallest, which weighs the smaller
group more (Lin 2013, Annals of Applied Statistics 7, 295-318, section 3); variances are those of the residuals, with the
factor n / (n - k) for k covariates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.decisions.experiments import contract
from crmlib.decisions.experiments.contract import Groups
from crmlib.errors import DataError, UsageError

NOT_ENOUGH = "not_enough_data"


@dataclass(frozen=True)
class Effect:
    """The effect of one arm on one measure: a row of the table of effects (see ``final``)."""

    arm: str
    measure: str
    customers: int
    control: int
    left_out: int
    arm_mean: float
    control_mean: float
    per_customer: float = np.nan
    low: float = np.nan
    high: float = np.nan
    total: float = np.nan
    total_low: float = np.nan
    total_high: float = np.nan
    removed: float = np.nan
    code: str = ""
    found: int = 0
    need: int = 0


def final(
    results: pd.DataFrame,
    *,
    confidence: float = 0.95,
    covariates: Sequence[str] | None = None,
    arm_costs_minor: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return the effect of a finished campaign on conversions, revenue and profit, by arm and of all together.

    In: the table of ``contract``; ``covariates`` the pre_* columns by which to reduce variance (default: all of them;
    an empty list: none); ``arm_costs_minor`` further costs of an arm as a whole, minor units, taken off its profit.
    Out, a row per arm and measure ("conversions", "revenue_minor", "profit_minor"): arm, measure, customers (of the
    arm), control, left_out (customers of the arm in strata without a control group), arm_mean and control_mean
    (plain), per_customer with low and high, total with total_low and total_high, removed (share of the variance removed by
    the covariates), and where there is no interval code "not_enough_data" with found and need (buyers).

    Raises DataError for results that allow no comparison, UsageError for parameters that make no sense.
    """
    check_confidence(confidence)
    table = contract.check(results)
    own = [str(name) for name in table if str(name).startswith("pre_")]
    used = own if covariates is None else list(covariates)
    unknown = sorted(set(used) - set(own))
    if unknown:
        raise UsageError(f"the results have no covariate {', '.join(unknown)}; they have {', '.join(own) or 'none'}")
    costs = _arm_costs(table, arm_costs_minor or {})
    rows = []
    for arm in contract.arms(table):
        found = contract.groups(table, arm)
        design = table[used].to_numpy(dtype=float)[found.rows]
        for measure in contract.MEASURES:
            fixed = costs[arm] if measure == "profit_minor" else 0.0
            rows.append(_one(table, found, measure, design=design, fixed=fixed, confidence=confidence))
    return as_table(rows)


def per_contacted(results: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the effect on those who were reached, by arm and measure.

    It is the effect of the choice over the difference in the share contacted (Angrist, Imbens & Rubin 1996), and means the
    effect of a contact if being chosen changes nothing for who is not reached. Out: arm, measure, contacted (customers of
    the arm), contacted_share (beyond the control group's), per_contacted, low, high; no interval where ``final`` gives none.
    """
    check_confidence(confidence)
    table = contract.check(results)
    reached = table["contacted"].to_numpy(dtype=float)
    rows = []
    for arm in contract.arms(table):
        found = contract.groups(table, arm)
        buyers = int(table["converted"].to_numpy()[found.rows].sum())
        own = reached[found.rows]
        share = difference(own, found)[0] if len(found.rows) else 0.0
        for measure in contract.MEASURES:
            value, low, high = np.nan, np.nan, np.nan
            if share > 0 and buyers >= contract.needed(found):
                outcome = contract.outcome(table, measure)[found.rows]
                value = difference(outcome, found)[0] / share
                reach = difference(outcome - value * own, found)[1] / share
                reach *= float(stats.norm.ppf((1 + confidence) / 2))
                low, high = value - reach, value + reach
            rows.append((arm, measure, int(own[found.treated].sum()), share, value, low, high))
    return pd.DataFrame(
        rows, columns=["arm", "measure", "contacted", "contacted_share", "per_contacted", "low", "high"]
    )


def difference(outcome: np.ndarray, found: Groups) -> tuple[float, float]:
    """Return the stratified difference in means between an arm and its control group, and its standard error."""
    value, parts, _ = _difference(outcome, found, np.zeros((len(outcome), 0)))
    return value, float(np.sqrt(parts.sum()))


def check_confidence(confidence: float) -> None:
    """Raise UsageError for a confidence that is none."""
    if not 0.5 <= confidence < 1:
        raise UsageError(f"confidence is {confidence}; give a probability from 0.5 to below 1")


def as_table(rows: Sequence[Effect]) -> pd.DataFrame:
    """Return effects as a table."""
    return pd.DataFrame([asdict(row) for row in rows])


def blank(results: pd.DataFrame, found: Groups, measure: str) -> Effect:
    """Return an effect without its figures: the sizes and means of the groups."""
    outcome = contract.outcome(results, measure)[found.rows]
    treated = found.treated
    arm, alone = (float(outcome[mask].mean()) if mask.any() else np.nan for mask in (treated, ~treated))
    customers = int(treated.sum()) + found.left_out
    return Effect(found.arm, measure, customers, int((~treated).sum()), found.left_out, arm, alone)


def too_few(effect: Effect, *, found: int, need: int) -> Effect:
    """Return the effect with the reason why it has no interval: too few buyers."""
    return replace(effect, code=NOT_ENOUGH, found=found, need=need)


def filled(effect: Effect, value: float, low: float, high: float, *, removed: float) -> Effect:
    """Return the effect with its figures per customer and in total; who was left out is in no total."""
    many = effect.customers - effect.left_out
    return replace(
        effect,
        per_customer=value,
        low=low,
        high=high,
        total=value * many,
        total_low=low * many,
        total_high=high * many,
        removed=removed,
    )


def _one(
    table: pd.DataFrame, found: Groups, measure: str, *, design: np.ndarray, fixed: float, confidence: float
) -> Effect:
    effect = blank(table, found, measure)
    buyers = int(table["converted"].to_numpy()[found.rows].sum())
    need = contract.needed(found)
    if buyers < need:
        return too_few(effect, found=buyers, need=need)
    outcome = contract.outcome(table, measure)[found.rows]
    value, parts, removed = _difference(outcome, found, design)
    error, freedom = np.sqrt(parts.sum()), _freedom(parts, found)
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    value -= fixed / int(found.treated.sum())
    return filled(effect, value, value - reach, value + reach, removed=removed)


def _difference(outcome: np.ndarray, found: Groups, design: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Return the difference, its variance from the arm and from the control group, and the share of variance removed."""
    n1, n0 = found.sizes
    cell = 2 * found.stratum + found.treated
    size = np.stack([n0, n1], axis=1).ravel()
    weight = n1 / n1.sum()
    own = (np.repeat(weight**2, 2) / (size * (size - 1)))[cell]  # of one customer's squared residual
    sign = np.stack([-weight / n0, weight / n1], axis=1).ravel()[cell]
    left = outcome - (np.bincount(cell, outcome, len(size)) / size)[cell]
    plain = float(own @ left**2)
    design, centred = _centred(design, cell, size)
    value, factor = float(sign @ outcome), 1.0
    if centred.shape[1] and plain > 0:
        root = np.sqrt(own)
        gamma = np.linalg.lstsq(centred * root[:, None], left * root, rcond=1e-10)[0]
        left = left - centred @ gamma
        value -= float((sign @ design) @ gamma)
        many = min(n1.sum(), n0.sum())
        factor = many / max(many - centred.shape[1], 1.0)
    parts = np.array([own[mask] @ left[mask] ** 2 for mask in (found.treated, ~found.treated)]) * factor
    return value, parts, 1 - float(parts.sum()) / plain if plain > 0 else 0.0


def _centred(design: np.ndarray, cell: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariates in units of their spread, and the same less the mean of their group and stratum."""
    spread = design.std(axis=0)
    design = design[:, spread > 0] / spread[spread > 0]
    means = (
        np.stack([np.bincount(cell, column, len(size)) / size for column in design.T], axis=1) if len(design.T) else 0
    )
    return design, design - means[cell] if len(design.T) else design  # type: ignore[index]


def _freedom(parts: np.ndarray, found: Groups) -> float:
    """Return Welch's degrees of freedom."""
    sizes = np.array([found.treated.sum(), (~found.treated).sum()]) - 1
    return float(parts.sum() ** 2 / np.sum(parts**2 / sizes)) if parts.sum() > 0 else float(sizes.sum())


def _arm_costs(table: pd.DataFrame, given: Mapping[str, float]) -> dict[str, float]:
    known = sorted(table.loc[~table["control"], "arm"].unique())
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(f"arm_costs_minor names {', '.join(unknown)}, but the arms are {', '.join(known)}")
    for arm, cost in given.items():
        if not cost >= 0:
            raise UsageError(f"arm_costs_minor of {arm} is {cost}; costs are zero or more minor units")
    costs = {arm: float(given.get(arm, 0.0)) for arm in known}
    if not known:
        raise DataError("the results have no arm besides the control group")
    return {**costs, contract.ALL_ARMS: sum(costs.values())}
