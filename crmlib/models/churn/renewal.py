"""What a change of the premium at renewal does to lapse: odds, probability, and the curve over changes, with intervals.

A logistic regression of lapse on the logarithm of premium_after / premium_before, the logarithm of the premium before, and
whatever else is given about the policy, by maximum likelihood; standard errors of probabilities by the delta method. Insurers change premiums for reasons that also move lapse (a bonus class gained or lost), so that the crude
figure can have the wrong sign: give those reasons as covariates, and compare. Without chance in who got which change, it
stays an association among policies alike in the covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from crmlib.errors import DataError, UsageError
from crmlib.models.metrics import Estimate
from crmlib.models.survival import design
from crmlib.models.survival.hazards import EVENTS_A_COEFFICIENT, RARE

_NEEDED = ("lapsed", "premium_before", "premium_after")
_STEPS = 21


@dataclass(frozen=True)
class PremiumEffect:
    """What goes with a premium higher by ``rise`` (0.10: a tenth), everything given about the policies being equal.

    Attributes: ``odds_ratio`` of lapse, and ``crude_odds_ratio`` without any covariate; ``marginal``, the change in the
    share of lapses if all premiums after were higher by that; ``curve``, the share of lapses if all premiums changed
    alike: change, lapse, low, high (from the 1st to the 99th hundredth of the changes found); ``effects``: covariate,
    odds_ratio, low, high, p; ``policies`` and ``lapses``.
    """

    rise: float
    odds_ratio: Estimate
    crude_odds_ratio: Estimate
    marginal: Estimate
    curve: pd.DataFrame
    effects: pd.DataFrame
    policies: int
    lapses: int


def premium_effect(policies: pd.DataFrame, *, rise: float = 0.10, level: float = 0.95) -> PremiumEffect:
    """Return the effect of the premium change on lapse.

    In, a row a policy offered for renewal: lapsed (1 or 0), premium_before, premium_after (above 0, one currency and
    unit), and any columns more: covariates known at the offer. customer_id and as_of are ignored.

    Raises DataError for premiums that are empty or not above 0, for changes that do not vary, and where fewer than 5
    policies lapsed, or stayed, a coefficient.
    """
    if rise <= -1 or rise == 0:
        raise UsageError(f"rise is {rise}; give a share above -1 and not 0, for example 0.10 for ten percent more")
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    lapsed, change = _checked(policies)
    covariates = policies.drop(columns=list(_NEEDED)).assign(log_premium_before=np.log(policies["premium_before"]))
    varying = _varying(covariates)
    made = design.fit(covariates[varying], rare=RARE) if varying else None
    others = np.zeros((len(change), 0)) if made is None else made.matrix(covariates)
    inputs = np.column_stack([np.ones(len(change)), change, others])
    _enough(lapsed, inputs.shape[1])
    slopes, covariance = _logistic(inputs, lapsed)
    crude, crude_covariance = _logistic(inputs[:, :2], lapsed)
    z = float(stats.norm.ppf((1 + level) / 2))
    step = float(np.log1p(rise))
    names = ["log premium_after / premium_before", *([] if made is None else made.names)]
    return PremiumEffect(
        rise=rise,
        odds_ratio=_ratio(slopes[1] * step, abs(step) * float(np.sqrt(covariance[1, 1])), z),
        crude_odds_ratio=_ratio(crude[1] * step, abs(step) * float(np.sqrt(crude_covariance[1, 1])), z),
        marginal=_marginal(inputs, slopes, covariance, step=step, z=z),
        curve=_curve(inputs, slopes, covariance, z=z),
        effects=_effects(names, slopes[1:], np.sqrt(np.diag(covariance))[1:], z),
        policies=len(lapsed),
        lapses=int(lapsed.sum()),
    )


def _checked(policies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return lapsed (0 or 1) and the logarithm of the premium change."""
    for name in _NEEDED:
        if name not in policies.columns:
            raise DataError(f"the policies lack the column {name}; they need {', '.join(_NEEDED)}")
    for name in _NEEDED[1:]:
        values = policies[name].to_numpy(dtype=float, na_value=np.nan)
        odd = ~(values > 0) | ~np.isfinite(values)
        if odd.any():
            raise DataError(
                f"{name}: {int(odd.sum())} of {len(values)} are empty or not above 0, the first in row"
                f" {int(np.argmax(odd))}; leave those policies out or mend them"
            )
    lapsed = policies["lapsed"].to_numpy(dtype=float, na_value=np.nan)
    odd = ~np.isin(lapsed, (0.0, 1.0))
    if odd.any():
        raise DataError(f"lapsed holds {lapsed[odd][0]:g} in row {int(np.argmax(odd))}; it must be 1 or 0")
    change = np.log(policies["premium_after"].to_numpy(float) / policies["premium_before"].to_numpy(float))
    if len(change) and np.ptp(change) == 0:
        raise DataError("all premiums changed by the same share, so nothing can be said of what a change does")
    return lapsed, change


def _varying(covariates: pd.DataFrame) -> list[str]:
    keys = ("customer_id", "as_of")
    return [name for name in covariates.columns if name not in keys and len(covariates[name].unique()) > 1]


def _enough(lapsed: np.ndarray, coefficients: int) -> None:
    need = EVENTS_A_COEFFICIENT * coefficients
    for kind, found in (("lapsed", int(lapsed.sum())), ("were renewed", int((1 - lapsed).sum()))):
        if found < need:
            raise DataError(
                f"not enough data: {found} of {len(lapsed)} policies {kind} (found {found}, need {need}:"
                f" {EVENTS_A_COEFFICIENT} a coefficient); take more policies or fewer covariates"
            )


def _logistic(inputs: np.ndarray, lapsed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and their covariance."""
    import statsmodels.api as sm  # noqa: PLC0415  (takes a second to import)

    spread = inputs.std(axis=0)
    spread[spread == 0] = 1.0
    found = sm.GLM(lapsed, inputs / spread, family=sm.families.Binomial()).fit()
    return found.params / spread, found.cov_params() / np.outer(spread, spread)


def _ratio(slope: float, error: float, z: float) -> Estimate:
    return Estimate(float(np.exp(slope)), float(np.exp(slope - z * error)), float(np.exp(slope + z * error)))


def _marginal(inputs: np.ndarray, slopes: np.ndarray, covariance: np.ndarray, *, step: float, z: float) -> Estimate:
    """Return the mean difference of the probabilities with and without the step in the logarithm of the change."""
    moved = inputs.copy()
    moved[:, 1] += step
    before, after = expit(inputs @ slopes), expit(moved @ slopes)
    slope = ((after * (1 - after))[:, None] * moved - (before * (1 - before))[:, None] * inputs).mean(axis=0)
    value = float((after - before).mean())
    reach = z * float(np.sqrt(slope @ covariance @ slope))
    return Estimate(value, value - reach, value + reach)


def _curve(inputs: np.ndarray, slopes: np.ndarray, covariance: np.ndarray, *, z: float) -> pd.DataFrame:
    """Return the mean probability if all changed alike; intervals on the logit scale."""
    first, last = np.quantile(inputs[:, 1], [0.01, 0.99])
    rows = []
    for change in np.linspace(first, last, _STEPS):
        moved = inputs.copy()
        moved[:, 1] = change
        chance = expit(moved @ slopes)
        value = float(chance.mean())
        slope = ((chance * (1 - chance))[:, None] * moved).mean(axis=0)
        reach = z * float(np.sqrt(slope @ covariance @ slope)) / (value * (1 - value))
        centre = np.log(value / (1 - value))
        rows.append((np.expm1(change), value, expit(centre - reach), expit(centre + reach)))
    return pd.DataFrame(rows, columns=["change", "lapse", "low", "high"])


def _effects(names: list[str], slopes: np.ndarray, errors: np.ndarray, z: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "covariate": names,
            "odds_ratio": np.exp(slopes),
            "low": np.exp(slopes - z * errors),
            "high": np.exp(slopes + z * errors),
            "p": 2 * stats.norm.sf(np.abs(slopes / errors)),
        }
    )
