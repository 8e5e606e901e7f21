"""Estimates of many series brought together: the mean of their kind, how far they differ, and what that says of each.

One series tells an elasticity to about half a point. Series of one kind differ by tau about a common mean; tau is found by
restricted likelihood (Viechtbauer 2005, Journal of Educational and Behavioral Statistics 30, 261-293), the interval of the mean
is Hartung and Knapp's, never narrower than the classical one (Knapp and Hartung 2003, Statistics in Medicine 22, 2693-2710),
that of a series not seen yet Higgins, Thompson and Spiegelhalter's (2009, JRSS A 172, 137-159), Student's t with k - 2
degrees of freedom. A few estimates tell tau only roughly: what is said of single series, and of another one, is averaged
over the taus that the restricted likelihood allows, not taken at the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from crmlib.errors import DataError

NEED_SERIES = 3
"""Series from which on their spread is estimated; below, they are taken to differ as much as they are uncertain."""


@dataclass(frozen=True)
class Pooled:
    """The mean of estimates of one kind.

    Attributes: ``mean`` with its ``error`` and interval ``low`` to ``high``; ``between`` tau, the standard deviation of the true
    values about the mean; ``new_low`` and ``new_high`` the interval of the true value of another one of the kind;
    ``heterogeneity`` Q and its ``p``; ``series`` how many.
    """

    mean: float
    error: float
    low: float
    high: float
    between: float
    new_low: float
    new_high: float
    heterogeneity: float
    p: float
    series: int


def pool(estimates: np.ndarray, errors: np.ndarray, *, level: float = 0.95) -> Pooled:
    """Return the mean of independent estimates with their standard errors.

    One estimate stands for itself, with an interval for another one as wide as if their spread were its own error. Raises
    DataError for none, or for errors that are not above 0.

    >>> found = pool(np.array([-1.5, -1.9, -2.4, -1.7]), np.array([0.2, 0.2, 0.3, 0.25]))
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (-1.84, -2.42, -1.26)
    """
    y, s = np.asarray(estimates, float), np.asarray(errors, float)
    if len(y) == 0 or not (np.isfinite(y) & np.isfinite(s) & (s > 0)).all():
        raise DataError("pooling needs at least one estimate, and a standard error above 0 for each")
    v, k = s**2, len(y)
    between = restricted_variance(y, v) if k >= NEED_SERIES else float(np.mean(v))
    w = 1 / (v + between)
    mean = float((w * y).sum() / w.sum())
    classical = 1 / w.sum()
    freedom = k - 1
    if k >= NEED_SERIES:
        widened = max(float((w * (y - mean) ** 2).sum() / freedom), 1.0)
        reach, reach_new = (float(stats.t.ppf((1 + level) / 2, max(f, 1))) for f in (freedom, k - 2))
    else:
        widened, reach = 1.0, float(stats.norm.ppf((1 + level) / 2))
        classical = classical if k > 1 else float(v[0])
        reach_new = reach
    error = float(np.sqrt(widened * classical))
    likely = float(np.prod(likely_variances(y, v), axis=0).sum()) if k >= NEED_SERIES else between
    new = reach_new * float(np.sqrt(max(likely, between) + error**2))
    fixed = 1 / v
    q = float((fixed * (y - (fixed * y).sum() / fixed.sum()) ** 2).sum())
    p = float(stats.chi2.sf(q, freedom)) if freedom else float("nan")
    ends = (mean - reach * error, mean + reach * error)
    return Pooled(mean, error, *ends, float(np.sqrt(between)), mean - new, mean + new, q, p, k)


def _cost(y: np.ndarray, v: np.ndarray, tau2: float) -> float:
    """Return minus the logarithm of the restricted likelihood."""
    w = 1 / (v + tau2)
    mean = (w * y).sum() / w.sum()
    return float(np.log(v + tau2).sum() + np.log(w.sum()) + (w * (y - mean) ** 2).sum()) / 2


def likely_variances(y: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return taus squared and the weights that the restricted likelihood gives them, taus being as likely as each other before.

    Taus go up to three times the standard deviation of the estimates.
    """
    taus = np.linspace(0, 3 * max(float(np.std(y, ddof=1)), 1e-6), 61)
    costs = np.array([_cost(y, v, tau**2) for tau in taus])
    weights = np.exp(costs.min() - costs)
    return taus**2, weights / weights.sum()


def restricted_variance(y: np.ndarray, v: np.ndarray) -> float:
    """Return tau squared, the variance between the true values, by restricted likelihood."""

    top = max(float(np.var(y)) * 10, 1e-8)
    # The likelihood may have a second top at 0: look at a grid first, then closely.
    grid = np.concatenate([[0.0], top * np.logspace(-6, 0, 61)])
    costs = [_cost(y, v, point) for point in grid]
    best = int(np.argmin(costs))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda tau2: _cost(y, v, tau2), bounds=(low, high), method="bounded", options={"xatol": 1e-10 * top}
    )
    return float(found.x) if found.fun <= costs[best] and found.x > 1e-7 * top else float(grid[best])


def table(estimates: pd.DataFrame, by: Sequence[str], *, level: float = 0.95) -> pd.DataFrame:
    """Return the pooled estimates of each group, a row per group of the columns ``by``.

    In: rows with estimate and error (those without are left out) and the columns ``by``. Out: by, estimate, error, low, high,
    between, new_low, new_high (of another one of the group), series, method ("own" for one, "pooled" from three on, "few"
    between).
    """
    rows = []
    known = estimates[np.isfinite(estimates["estimate"].astype(float)) & (estimates["error"].astype(float) > 0)]
    for key, part in known.groupby(list(by), sort=True):
        found = pool(part["estimate"].to_numpy(float), part["error"].to_numpy(float), level=level)
        method = "own" if found.series == 1 else "few" if found.series < NEED_SERIES else "pooled"
        ends = {"low": found.low, "high": found.high, "new_low": found.new_low, "new_high": found.new_high}
        values = {"estimate": found.mean, "error": found.error, "between": found.between, "series": found.series}
        rows.append(dict(zip(by, key, strict=True)) | values | ends | {"method": method})
    names = ["estimate", "error", "low", "high", "between", "new_low", "new_high", "series", "method"]
    out = pd.DataFrame(rows, columns=[*by, *names])
    return out.astype(dict.fromkeys(names[:-1], float))


def shrink(estimates: pd.DataFrame, pooled: pd.DataFrame, by: Sequence[str], *, level: float = 0.95) -> pd.DataFrame:
    """Return the estimates drawn to the mean of their group, as far as they are uncertain and the group is alike.

    In: estimates (estimate, error and the columns ``by``), and their ``table``. Out: the estimates with estimate, error, low and
    high of the true value given the whole group, method "shrunk"; the uncertainty of the mean and of tau is in it (Morris
    1983, JASA 78, 47-55). Groups below three stay as they are, method "own". Rows without an estimate get that of the group for another one
    of it, method "pooled"; without that, method is "none".
    """
    reach = float(stats.norm.ppf((1 + level) / 2))
    parts = []
    means = pooled.set_index(list(by))
    for key, rows in estimates.drop(columns=["low", "high", "method"], errors="ignore").groupby(list(by), sort=False):
        place = key if len(by) > 1 else key[0]
        out = rows.assign(method="none", estimate=rows["estimate"].astype(float), error=rows["error"].astype(float))
        if place in means.index:
            known = np.isfinite(out["estimate"]) & (out["error"] > 0)
            mean = means.loc[[place]].iloc[0]
            out.loc[known, "method"] = "own"
            if known.sum() >= NEED_SERIES:
                value, error = _drawn(out.loc[known, "estimate"].to_numpy(), out.loc[known, "error"].to_numpy())
                out.loc[known, "estimate"], out.loc[known, "error"], out.loc[known, "method"] = value, error, "shrunk"
            spread = (mean["new_high"] - mean["new_low"]) / (2 * reach)
            out.loc[~known, ["estimate", "error"]] = mean["estimate"], spread
            out.loc[~known, "method"] = "pooled"
        parts.append(
            out.assign(low=out["estimate"] - reach * out["error"], high=out["estimate"] + reach * out["error"])
        )
    if not parts:
        return estimates.assign(method="none")
    return pd.concat(parts).sort_index()


def _drawn(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the true values expected of estimates of one kind, and their standard errors, averaged over the likely taus."""
    v = s**2
    variances, weights = likely_variances(y, v)
    tau2 = variances[:, None]
    w = 1 / (v + tau2)
    mean, share = (w * y).sum(axis=1, keepdims=True) / w.sum(axis=1, keepdims=True), v / (v + tau2)
    value = (1 - share) * y + share * mean
    variance = (1 - share) * v + share**2 / w.sum(axis=1, keepdims=True)
    centre = weights @ value
    return centre, np.sqrt(weights @ (variance + (value - centre) ** 2))
