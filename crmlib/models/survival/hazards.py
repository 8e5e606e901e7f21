"""What raises or lowers the rate of leaving for each reason, with intervals.

A cause-specific hazard is the rate of leaving for one reason among those still here; the other reasons censor it
(Prentice, Kalbfleisch, Peterson, Flournoy, Farewell & Breslow 1978, Biometrics 34, 541-554). Two ways to the same ratios:

``fit``: person-periods with time-varying covariates; the hazard is constant within bands of tenure, so the likelihood is
that of Poisson counts with the days observed as exposure (Holford 1980, Biometrics 36, 299-305);
``cox``: one row a customer, any baseline (Cox 1972; ties by Efron).

Both by statsmodels. A ratio says what goes with leaving among the covariates given; it is no effect of changing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.survival import design, observed
from crmlib.models.survival.design import Design
from crmlib.models.survival.observed import Names, Values

EVENTS_A_COEFFICIENT = 5
"""Departures for a reason needed for each coefficient (Vittinghoff & McCulloch 2007, Am. J. Epidemiology 165, 710-718)."""
RARE = 30
"""Levels of a covariate with fewer rows are one, for alone they would tell nothing."""
_UNBOUNDED = 20.0
"""A standard error this large, for a step of one standard deviation: the data set no bound to the ratio."""
BANDS = (90, 365, 1095)
"""Days of tenure at which the baseline may step, unless told otherwise."""


@dataclass(frozen=True)
class Hazards:
    """Rates of leaving by reason.

    Attributes: ``effects``, a row per reason and covariate: reason, covariate ("name", or "name=level" against the
    reference), coefficient, standard_error, hazard_ratio, low, high, p, events (nan where the data set no bound to a ratio:
    nobody who left, or everybody, had it); ``unknown``, the reasons with too few
    departures for that: reason, found, need; ``bands`` of tenure; ``design`` of the covariates; ``coefficients`` by reason
    (bands, then covariates); ``constants``, the one rate for everybody of a reason without any.
    """

    effects: pd.DataFrame
    unknown: pd.DataFrame
    bands: tuple[float, ...]
    design: Design
    coefficients: dict[str, np.ndarray]
    constants: dict[str, float]

    def rates(self, periods: pd.DataFrame) -> pd.DataFrame:
        """Return the rate of leaving per day: a column per reason, a row per row of ``periods`` (tenure, covariates)."""
        inputs = np.column_stack([_baseline(periods["tenure"], self.bands), self.design.matrix(periods)])
        fitted = {reason: np.exp(inputs @ slopes) for reason, slopes in self.coefficients.items()}
        constant = {reason: np.full(len(periods), rate) for reason, rate in self.constants.items()}
        return pd.DataFrame({**fitted, **constant}, index=periods.index)

    def incidence(self, periods: pd.DataFrame, *, within_days: float) -> pd.DataFrame:
        """Return the probability of leaving for each reason within so many days, all reasons competing.

        Tenure band and covariates are held as they are: rate / all rates x (1 - exp(-all rates x days)).
        """
        if within_days <= 0:
            raise UsageError(f"within_days is {within_days}; it must be above 0")
        rates = self.rates(periods)
        whole = rates.sum(axis=1)
        return rates.mul(-np.expm1(-whole * within_days) / whole.where(whole > 0, 1.0), axis=0)


def fit(
    periods: pd.DataFrame,
    covariates: Sequence[str],
    *,
    reasons: Sequence[str] | None = None,
    bands: Sequence[float] = BANDS,
    level: float = 0.95,
) -> Hazards:
    """Return the hazards of leaving by reason, from person-periods.

    In: ``periods`` as made by ``periods.split`` and ``with_covariates`` (reason, tenure and days, and the columns named in
    ``covariates``); ``reasons``, default: all found; ``bands``, tenures in days at which the baseline may step.

    Raises DataError where nobody left, for a reason asked for that nobody has or too few had, and where no reason has 5
    departures a coefficient.
    """
    names, days = _checked(periods, covariates)
    found, asked = _reasons(names, reasons)
    made = design.fit(periods[list(covariates)], rare=RARE)
    steps = _steps(periods["tenure"], bands)
    inputs = np.column_stack([_baseline(periods["tenure"], steps), made.matrix(periods)])
    need = EVENTS_A_COEFFICIENT * inputs.shape[1]
    effects, coefficients, constants, unknown = [], {}, {}, []
    for reason in found:
        left = names == reason
        count = int(left.sum())
        if reason in asked and count >= need:
            coefficients[reason], errors = _poisson(inputs, left, days)
            own = slice(-len(made.names), None)
            table = _effects(reason, made.names, coefficients[reason][own], errors[own], level)
            effects.append(table.assign(events=count))
            continue
        if reason in asked and reasons is not None:
            raise DataError(_too_few(reason, count, need))
        constants[reason] = count / float(days.sum())
        unknown += [{"reason": reason, "found": count, "need": need}] if reason in asked else []
    if not effects:
        raise DataError(_too_few(unknown[0]["reason"], unknown[0]["found"], need))
    few = pd.DataFrame(unknown, columns=["reason", "found", "need"])
    return Hazards(pd.concat(effects, ignore_index=True), few, steps, made, coefficients, constants)


def cox(
    durations: Values,
    reasons: Names,
    covariates: pd.DataFrame,
    *,
    entered: Values | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the ratios of the hazards of each reason, from one row a customer: the columns of ``Hazards.effects``.

    Raises DataError as ``fit``; every reason found must have 5 departures a coefficient.
    """
    import statsmodels.api as sm  # noqa: PLC0415  (takes a second to import)

    given = observed.from_reasons(durations, reasons, entered=entered)
    if len(covariates) != len(given.time):
        raise DataError(
            f"there are {len(given.time)} durations but {len(covariates)} rows of covariates; give one for each"
        )
    made = design.fit(covariates, rare=RARE)
    inputs = made.matrix(covariates)
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    late = given.entered if np.isfinite(given.entered).all() else None
    need = EVENTS_A_COEFFICIENT * len(made.names)
    tables = []
    for place, reason in enumerate(given.reasons):
        left = given.code == place
        if left.sum() < need:
            raise DataError(_too_few(reason, int(left.sum()), need))
        found = sm.PHReg(
            given.time, (inputs - centre) / spread, status=left.astype(int), entry=late, ties="efron"
        ).fit()
        tables.append(
            _effects(reason, made.names, found.params / spread, _bounded(found.bse) / spread, level).assign(
                events=left.sum()
            )
        )
    return pd.concat(tables, ignore_index=True)


def _checked(periods: pd.DataFrame, covariates: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    missing = [name for name in ("reason", "tenure", "days", *covariates) if name not in periods.columns]
    if missing:
        raise DataError(f"the periods lack the column {missing[0]}; make them with periods.split and with_covariates")
    if not len(covariates):
        raise UsageError("covariates is empty; name the columns whose effect is asked for")
    days = periods["days"].to_numpy(dtype=float)
    if not (days > 0).all():
        raise DataError(
            f"days of the periods: {int((~(days > 0)).sum())} of {len(days)} are 0, below or empty; leave those rows out"
        )
    return periods["reason"].to_numpy(dtype=object), days


def _reasons(names: np.ndarray, asked: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the reasons found and those to fit."""
    found = sorted(set(names.tolist()) - {""})
    if not found:
        raise DataError(
            f"not enough data: nobody left in {len(names)} periods (found 0 departures, need 1); observe longer"
        )
    for reason in asked or ():
        if reason not in found:
            raise DataError(f"nobody left for the reason {reason!r}; the reasons found are {', '.join(found)}")
    return found, list(asked or found)


def _steps(tenure: pd.Series, bands: Sequence[float]) -> tuple[float, ...]:
    """Return the bands that divide the tenures found."""
    low, high = float(tenure.min()), float(tenure.max())
    return tuple(sorted(float(step) for step in bands if low < step <= high))


def _baseline(tenure: pd.Series, steps: Sequence[float]) -> np.ndarray:
    band = np.searchsorted(np.asarray(steps), tenure.to_numpy(dtype=float), side="right")
    return (band[:, None] == np.arange(len(steps) + 1)).astype(float)


def _poisson(inputs: np.ndarray, left: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (baseline first) and standard errors."""
    # statsmodels.api imports all of the package and takes a second.
    from statsmodels.genmod import families  # noqa: PLC0415
    from statsmodels.genmod.generalized_linear_model import GLM  # noqa: PLC0415

    spread = inputs.std(axis=0)
    spread[spread == 0] = 1.0
    family = families.Poisson()
    found = GLM(left.astype(float), inputs / spread, family=family, offset=np.log(days)).fit()
    return found.params / spread, _bounded(found.bse) / spread


def _bounded(errors: np.ndarray) -> np.ndarray:
    """Return the standard errors of columns of spread 1, infinite where the search merely stopped on its way to infinity."""
    return np.where(errors > _UNBOUNDED, np.inf, errors)


def _effects(reason: str, names: Sequence[str], slopes: np.ndarray, errors: np.ndarray, level: float) -> pd.DataFrame:
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    z = stats.norm.ppf((1 + level) / 2)
    slopes, errors = (np.where(np.isfinite(errors), values, np.nan) for values in (slopes, errors))
    return pd.DataFrame(
        {
            "reason": reason,
            "covariate": list(names),
            "coefficient": slopes,
            "standard_error": errors,
            "hazard_ratio": np.exp(slopes),
            "low": np.exp(slopes - z * errors),
            "high": np.exp(slopes + z * errors),
            "p": 2 * stats.norm.sf(np.abs(slopes / errors)),
        }
    )


def _too_few(reason: str, found: int, need: int) -> str:
    return (
        f"not enough data for the hazard of {reason!r}: found {found} departures, need {need}"
        f" ({EVENTS_A_COEFFICIENT} a coefficient); observe longer or take fewer covariates"
    )
