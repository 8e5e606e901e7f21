"""Regressions of many series at once whose errors remember: exact restricted likelihood, averaged over how they remember.

    y(t) = x(t) b + level(t) + noise(t),    level(t) = phi level(t-1) + shock(t)

With phi = 0 this is ordinary regression, with phi = 1 a regression about a wandering level (an unobserved-components model),
in between a regression with ARMA(1,1) errors (SARIMAX with regressors). Which it is, a short series tells only roughly, and
intervals that take one answer for certain are too narrow. So the fit is made at each point of a grid of (phi, share of
the variance that is shock), and averaged by the restricted likelihood of the points (Harville 1974, Biometrika 61,
383-385), which a wandering level does not upset. The filter is Kalman's (Harvey 1989, Forecasting, Structural Time Series
Models, section 3.4), run over y and the regressors together for many series and all points at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from crmlib.errors import DataError

_SHARES = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
GRID = np.array(
    [(-0.4, 1.0), (-0.2, 1.0), (0.0, 1.0)]
    + [(phi, share) for phi in (0.3, 0.6, 0.8, 0.9, 0.96, 1.0) for share in _SHARES]
)
"""The points: how much of the level lasts to the next period, and the share of the variance that is shock to the level."""
NEED_FREE = 10
"""Periods needed beyond the number of regressors."""
_CELLS = 6_000_000


@dataclass(frozen=True, eq=False)
class Fit:
    """The coefficients of many series.

    Attributes: ``estimate`` (series × regressors); ``covariance`` (series × regressors × regressors), with the
    uncertainty of how errors remember in it; ``freedom`` degrees of freedom; ``deviation`` of one period from what the regressors say;
    ``memory`` (phi) averaged over the points; ``periods`` used.
    """

    estimate: np.ndarray
    covariance: np.ndarray = field(repr=False)
    freedom: np.ndarray
    deviation: np.ndarray
    memory: np.ndarray
    periods: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Standard errors (series × regressors)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the intervals (series × regressors), by Student's t."""
        reach = stats.t.ppf((1 + level) / 2, self.freedom)[:, None] * self.error
        return self.estimate - reach, self.estimate + reach


def fit(values: np.ndarray, regressors: np.ndarray, *, grid: np.ndarray = GRID) -> Fit:
    """Fit each series on its regressors.

    In: ``values`` (series × periods), not a number where a period tells nothing; ``regressors`` (series × periods ×
    regressors), one of them constant. A period in which any regressor is not a number is left out as well. Raises DataError
    for shapes that differ, too few periods, or regressors of which one is a combination of the others.

    >>> random = np.random.default_rng(7)
    >>> x = np.stack([np.ones((20, 104)), random.normal(size=(20, 104))], axis=2)
    >>> y = 3 - 2 * x[:, :, 1] + np.cumsum(random.normal(0, 0.1, (20, 104)), axis=1)
    >>> fit(y, x).estimate[:, 1].mean().round(2)
    np.float64(-2.0)
    """
    values, regressors = np.asarray(values, float), np.asarray(regressors, float)
    if regressors.shape[:2] != values.shape or regressors.ndim != 3:
        raise DataError(
            f"regressors have the shape {regressors.shape}, values {values.shape}; give series × periods × regressors"
        )
    seen = np.isfinite(values) & np.isfinite(regressors).all(axis=2)
    periods, width = seen.sum(axis=1), regressors.shape[2]
    if (periods < width + NEED_FREE).any():
        row = int(np.argmin(periods))
        raise DataError(
            f"series {row}: not enough data for {width} regressors (found {periods[row]} periods, need {width + NEED_FREE})"
        )
    size = max(_CELLS // (len(grid) * values.shape[1] * (width + 1)), 1)
    parts = [
        _part(values[at : at + size], regressors[at : at + size], seen[at : at + size], grid)
        for at in range(0, len(values), size)
    ]
    return Fit(*(np.concatenate([part[place] for part in parts]) for place in range(6)))


def _part(values: np.ndarray, regressors: np.ndarray, seen: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the fields of Fit for a few series."""
    joined = np.where(seen[:, :, None], np.concatenate([regressors, values[:, :, None]], axis=2), 0.0)
    scale = np.sqrt(
        (joined**2).sum(axis=1) / seen.sum(axis=1)[:, None]
    )  # so that the matrices below are well conditioned
    if (scale[:, :-1] == 0).any():
        raise DataError("a regressor is zero in all periods that count; leave it out")
    scale = np.where(scale == 0, 1.0, scale)
    white, log_det = _whitened(joined / scale[:, None, :], seen, grid)
    cross = np.swapaxes(white, 2, 3) @ white
    inner, outer = cross[:, :, :-1, :-1], cross[:, :, :-1, -1]
    sign, inner_det = np.linalg.slogdet(inner)
    if (sign <= 0).any() or (np.linalg.cond(inner[:, 0]) > 1e12).any():
        raise DataError("one regressor is a combination of the others; leave it out")
    inverse = np.linalg.inv(inner)
    estimate = np.einsum("sgij,sgj->sgi", inverse, outer)
    rest = np.maximum(cross[:, :, -1, -1] - np.einsum("sgi,sgi->sg", estimate, outer), 1e-12)
    freedom = (seen.sum(axis=1) - regressors.shape[2]).astype(float)
    likelihood = -0.5 * (freedom[:, None] * np.log(rest) + log_det + inner_det)
    weight = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = np.einsum("sg,sgi->si", weight, estimate)
    variance = rest / freedom[:, None]
    apart = estimate - mean[:, None, :]
    covariance = np.einsum("sg,sgij->sij", weight * variance, inverse) + np.einsum(
        "sg,sgi,sgj->sij", weight, apart, apart
    )
    unit = scale[:, -1:] / scale[:, :-1]
    deviation = np.sqrt((weight * variance * _spread(grid)).sum(axis=1)) * scale[:, -1]
    memory = weight @ grid[:, 0]
    return mean * unit, covariance * unit[:, :, None] * unit[:, None, :], freedom, deviation, memory, seen.sum(axis=1)


def _spread(grid: np.ndarray) -> np.ndarray:
    """Return the variance of one period about what the regressors say, in units of that of shock and noise together.

    Of a wandering level only the step from the period before counts.
    """
    phi, share = grid[:, 0], grid[:, 1]
    return share / np.where(np.abs(phi) < 1, 1 - phi**2, 1.0) + 1 - share


def _whitened(joined: np.ndarray, seen: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the one-step errors of all columns over their deviation (series × points × periods × columns), and their log variance."""
    series, periods, columns = joined.shape
    phi, share = grid[:, 0], grid[:, 1]
    noise = 1 - share
    start = _spread(grid) - noise  # of a wandering level the constant takes the start
    variance = np.broadcast_to(start, (series, len(grid))).copy()
    state = np.zeros((series, len(grid), columns))
    white = np.empty((series, len(grid), periods, columns))
    log_det = np.zeros((series, len(grid)))
    for at in range(periods):
        here = seen[:, at, None]
        spread = variance + noise
        error = joined[:, at, None, :] - state
        gain = np.where(here, variance / spread, 0.0)
        white[:, :, at] = error * np.where(here, 1 / np.sqrt(spread), 0.0)[:, :, None]
        log_det += np.where(here, np.log(spread), 0.0)
        state = phi[:, None] * (state + gain[:, :, None] * error)
        variance = phi**2 * variance * (1 - gain) + share
    return white, log_det
