"""Forecasts of all levels made to add up: bottom-up, OLS, WLS and MinT with shrinkage.

A reconciled bottom forecast is the base one less a share of how far the upper levels are from the sums of the bottom:
b = b0 - K (a0 - A b0) with K = (W_ba - W_bb A') (U' W U)^-1 and U' = [I, -A], W being the covariance of base errors (the identity
for OLS, its diagonal for WLS). S. Wickramasuriya, G. Athanasopoulos, R. Hyndman, "Optimal forecast reconciliation for
hierarchical and grouped time series through trace minimization", JASA 114 (2019), 804-819, equation 8 and section 2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest, hierarchy
from crmlib.models.demand.hierarchy import NODE, Structure

METHODS = ("bottom_up", "ols", "wls", "mint")
LEARNT = ("wls", "mint")
"""The methods that need errors of a back test."""

FEWEST = 4
"""Vectors of errors that a method needs before it may learn from them."""

MOST_NODES = 6_000
"""Nodes of a full covariance matrix, which mint needs: 300 MB."""
_TINY = 1e-8  # of the mean variance: a node that was never wrong is not trusted without bound


@dataclass(frozen=True)
class Projection:
    """What makes forecasts add up.

    Attributes: ``method``, ``structure``, ``gain`` (bottom × upper nodes: what a bottom forecast takes off for each piece by
    which an upper one exceeds the sum), ``shrinkage`` (0 to 1, nan where there is none), ``observations`` (error vectors).
    """

    method: str
    structure: Structure
    gain: np.ndarray
    shrinkage: float
    observations: int

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return reconciled values (nodes × anything): they add up, and bottom series that were never negative stay so.

        A bottom forecast below zero becomes zero and the sums follow it upwards; that is the set-negative-to-zero of T. Di
        Fonzo, D. Girolimetto, "Spatio-temporal reconciliation of solar forecasts", Solar Energy 251 (2023), 13-29.
        """
        upper = self.structure.upper
        below = values[upper:]
        sums = self.structure.sums[:upper]
        bottom = below - self.gain @ (values[:upper] - sums @ below)
        kept = self.structure.bottom["never_negative"].to_numpy()
        bottom[kept] = np.maximum(bottom[kept], 0.0)
        return np.asarray(self.structure.sums @ bottom)


def projection(structure: Structure, *, method: str, errors: pd.DataFrame | None = None) -> Projection:
    """Return what makes forecasts of a structure add up; ``errors`` as from the function of that name (wls and mint).

    Raises UsageError for an unknown method or one without the errors it needs, DataError for too few of them.
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}; take one of {', '.join(METHODS)}")
    upper = structure.upper
    sums = structure.sums[:upper]
    if method == "bottom_up":
        return Projection(method, structure, np.zeros((sums.shape[1], upper)), np.nan, 0)
    if method == "ols":
        variance = np.ones(len(structure.nodes))
        return Projection(method, structure, _gain_of_diagonal(sums, variance), np.nan, 0)
    if errors is None:
        raise UsageError(f"method {method} weighs nodes by their errors; give errors of a back test or take ols")
    wrong = _aligned(errors, structure)
    variance = _variance(wrong.to_numpy(float), structure)
    if method == "wls":
        return Projection(method, structure, _gain_of_diagonal(sums, variance), np.nan, len(wrong))
    if len(variance) > MOST_NODES:
        raise UsageError(
            f"method mint on {len(variance)} nodes needs a matrix of that size squared (most: {MOST_NODES}); take wls"
        )
    # Errors of one origin go astray together, and so do those of one period. No error known: none, which shrinks more.
    shrunk, shrinkage = shrunk_correlation(np.nan_to_num(wrong.to_numpy(float)), together=_dependent(wrong))
    spread = np.sqrt(variance)
    covariance = shrunk * spread[:, None] * spread[None, :]
    across = sums @ covariance[upper:, :]  # A W_b.
    seen = covariance[:upper, :upper] - across[:, :upper] - across[:, :upper].T + (sums @ across[:, upper:].T).T
    toward = covariance[upper:, :upper] - across[:, upper:].T
    return Projection(method, structure, _solve(seen, toward), shrinkage, len(wrong))


def reconcile(
    forecasts: pd.DataFrame, structure: Structure, *, method: str, errors: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return a forecast table that adds up over all levels, with ``base`` (the mean before) and ``reconciled`` (the method).

    In: level, series_id, period, mean, columns of intervals and quantiles; every node of the structure in every period.
    Intervals and quantiles move with their mean and keep their width: they are those of the base forecast.
    ``recalibrate`` gives them the width that reconciled forecasts had in a back test. Raises DataError for a node that
    is missing or unknown.
    """
    made = projection(structure, method=method, errors=errors)
    return _moved(forecasts, made, "mean").assign(reconciled=method)


def errors(table: pd.DataFrame, structure: Structure, *, known_at: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return the errors of a back test (actual less forecast) side by side: a row an origin and period, a column a node.

    Only of periods up to ``known_at``, where given. A value of weight 0 has no error (nan). The errors of each horizon are
    divided by how much larger they are than all together, so that one covariance matrix serves every horizon.
    """
    rows = table[(table["weight"] > 0) & table["actual"].notna()]
    if known_at is not None:
        rows = rows[rows["period"] <= known_at]
    rows = rows.assign(wrong=rows["actual"] - rows["forecast"])
    wide = rows.pivot(index=["origin", "ahead", "period"], columns=NODE, values="wrong").reindex(
        columns=structure.index
    )
    size = np.sqrt((wide**2).mean())
    share = wide / size.where(size > 0)
    grown = np.sqrt((share**2).mean(axis=1).groupby("ahead").transform("mean"))
    return wide.div(grown.where(grown > 0, 1.0), axis=0)


def shrunk_correlation(wrong: np.ndarray, *, together: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, float]:
    """Return the correlations of errors (observations × nodes, about zero) shrunk towards none, and by how much.

    ``together`` names groups of observations that are not independent of each other, one array of names a way of
    grouping: the noise of the correlations is then that of sums over groups (the larger of the ways counts).

    J. Schäfer, K. Strimmer, "A shrinkage approach to large-scale covariance matrix estimation", Statistical Applications in
    Genetics and Molecular Biology 4 (2005), article 32, target D of table 2.
    """
    n = len(wrong)
    if n < 2:
        raise DataError(f"errors: not enough data to correlate (found {n} vectors of errors, need 2)")
    size = np.sqrt((wrong**2).mean(axis=0))
    standard = wrong / np.where(size > 0, size, 1.0)
    found = standard.T @ standard / n
    off = ~np.eye(len(found), dtype=bool)
    noise = max(_noise(standard, found, groups)[off].sum() for groups in (np.arange(n), *together))
    strength = float((found[off] ** 2).sum())
    shrinkage = float(np.clip(noise / strength, 0.0, 1.0)) if strength > 0 else 1.0
    out = (1 - shrinkage) * found
    np.fill_diagonal(out, 1.0)
    return out, shrinkage


def _noise(standard: np.ndarray, found: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the variance of each correlation, observations of a group varying as one."""
    n, names = len(standard), np.unique(groups)
    if len(names) == n:
        squares = standard**2
        return np.asarray((squares.T @ squares / n - found**2) / (n - 1))
    total = np.zeros_like(found)
    for name in names:
        some = standard[groups == name]
        total += ((some.T @ some - len(some) * found) / n) ** 2
    return total * len(names) / max(len(names) - 1, 1)


def incoherence(forecasts: pd.DataFrame, structure: Structure) -> float:
    """Return the largest difference between a node's mean and the sum of its bottom series, in pieces."""
    wide = _wide(forecasts, structure, "mean").to_numpy(float)
    return float(np.abs(wide - structure.sums @ wide[structure.upper :]).max())


def rolling(table: pd.DataFrame, structure: Structure, *, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Return a back test again and again, its forecasts reconciled by each method, with a column reconciled ("base": as it was).

    At each origin a method learns from errors of periods up to the origin only. Origins that do not know ``FEWEST``
    vectors of errors are left out for all methods alike, where one of them learns. Series that were not yet there at an
    origin are left out of its sums. Raises DataError where no origin is left.
    """
    backtest.check(table, [*NODE, "origin", "period", "ahead", "actual", "weight", "forecast"])
    learns = [method for method in methods if method in LEARNT]
    parts = []
    for origin, rows in table.groupby("origin", sort=True):
        some = hierarchy.part(structure, _bottom_ids(rows, structure))
        known = errors(table, some, known_at=pd.Timestamp(str(origin))) if learns else None
        if known is not None and len(known) < FEWEST:
            continue
        parts.append(rows.assign(reconciled="base"))
        for method in methods:
            made = projection(some, method=method, errors=known)
            parts.append(_moved(rows, made, "forecast").drop(columns="base").assign(reconciled=method))
    if not parts:
        raise DataError(
            f"back test: not enough data to learn from earlier errors (found {table['origin'].nunique()} origins, none with "
            f"{FEWEST} vectors of errors before it); take more origins or the methods bottom_up and ols"
        )
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Choice:
    """The method that did best in a back test.

    Attributes: ``method``; ``table`` as of ``compare``; ``worse``, the rows of levels that the method made worse than they
    were; ``origins``, how many were compared.
    """

    method: str
    table: pd.DataFrame
    worse: pd.DataFrame
    origins: int


def compare(tested: pd.DataFrame) -> pd.DataFrame:
    """Return the error of each level before and after: level, reconciled, series, values, wape, mase, bias, change, worse.

    In: what ``rolling`` returned. ``change`` is the WAPE over that of the base forecasts, less 1; ``worse`` where above 0.
    """
    found = backtest.report(tested, by=["level", "reconciled"])
    found = found[["level", "reconciled", "series", "values", "wape", "mase", "bias"]]
    base = found[found["reconciled"] == "base"].set_index("level")["wape"]
    order = {name: place for place, name in enumerate(tested["level"].unique())}
    found = found.sort_values(
        ["level", "reconciled"], key=lambda column: column.map({**order, "base": -1}.get), kind="stable"
    )
    change = found["wape"] / found["level"].map(base.where(base > 0)) - 1
    return found.assign(change=change, worse=change > 0).reset_index(drop=True)


def choose(table: pd.DataFrame, structure: Structure, *, methods: Sequence[str] = METHODS) -> Choice:
    """Return the method whose WAPE, level by level over that of the base forecasts, was least in a back test (geometric mean).

    Every level counts the same: thousands of bottom series cannot outvote the total. What got worse is in ``worse``.
    """
    tested = rolling(table, structure, methods=methods)
    found = compare(tested)
    ratio = np.log1p(found["change"].clip(lower=-1 + 1e-9)).groupby(found["reconciled"]).mean()
    best = str(ratio.reindex(list(methods)).idxmin())
    worse = found[(found["reconciled"] == best) & found["worse"]].reset_index(drop=True)
    return Choice(best, found, worse, tested["origin"].nunique())


def _moved(rows: pd.DataFrame, made: Projection, name: str) -> pd.DataFrame:
    """Return rows of nodes with the column ``name`` reconciled (what it was: ``base``), and what lies around it moved along."""
    wide = _wide(rows, made.structure, name)
    after = pd.DataFrame(made.apply(wide.to_numpy(float)), index=wide.index, columns=wide.columns)
    place = made.structure.index.get_indexer(pd.MultiIndex.from_frame(rows[NODE]))
    new = after.to_numpy()[place, after.columns.get_indexer(pd.Index(rows["period"]))]
    out = rows.assign(base=rows[name], **{name: new})
    shift = new - rows[name].to_numpy(float)
    floor = np.where(made.structure.nodes["never_negative"].to_numpy()[place], 0.0, -np.inf)
    for column in backtest.quantile_columns(rows):
        out[column] = np.maximum(rows[column].to_numpy(float) + shift, floor)
    return out


def _wide(rows: pd.DataFrame, structure: Structure, name: str) -> pd.DataFrame:
    """Return one column of rows as nodes × periods; raises DataError for a node that is unknown, twice or not there."""
    backtest.check(rows, [*NODE, "period", name], what="forecast")
    nodes = pd.MultiIndex.from_frame(rows[NODE])
    unknown = ~nodes.isin(structure.index)
    if unknown.any():
        raise DataError(f"forecast: {' '.join(map(str, nodes[unknown][0]))} is no node of the structure; leave it out")
    if rows.duplicated([*NODE, "period"]).any():
        twice = rows.loc[rows.duplicated([*NODE, "period"]), [*NODE, "period"]].iloc[0].tolist()
        raise DataError(f"forecast: {' '.join(map(str, twice))} is there twice; give one row a node and period")
    wide = rows.pivot(index=NODE, columns="period", values=name).reindex(structure.index)
    missing = wide.isna()
    if missing.to_numpy().any():
        lost = wide.index[missing.any(axis=1)][0]
        raise DataError(
            f"forecast: {lost[0]} {lost[1]!r} has no {name} for {missing.loc[lost].idxmax():%Y-%m-%d}; every node needs one in every "
            "period (hierarchy.part leaves series out)"
        )
    return wide


def _bottom_ids(rows: pd.DataFrame, structure: Structure) -> list[str]:
    last = list(structure.levels)[-1]
    found = sorted(rows.loc[rows["level"] == last, "series_id"].unique())
    if not found:
        raise DataError(f"back test: no rows of the level {last!r}; it has {', '.join(sorted(rows['level'].unique()))}")
    return found


def _dependent(wrong: pd.DataFrame) -> list[np.ndarray]:
    """Return the origins and the periods of the observations, where they are known."""
    names = [name for name in ("origin", "period") if name in wrong.index.names]
    return [wrong.index.get_level_values(name).to_numpy() for name in names]


def _aligned(errors: pd.DataFrame, structure: Structure) -> pd.DataFrame:
    wrong = errors.reindex(columns=structure.index).dropna(how="all")
    if len(wrong) < FEWEST:
        raise DataError(
            f"errors: not enough data (found {len(wrong)} vectors of errors, need {FEWEST}); take more origins or ols"
        )
    return wrong


def _variance(wrong: np.ndarray, structure: Structure) -> np.ndarray:
    """Return the mean squared error of each node; that of its level for a node without any."""
    number = (~np.isnan(wrong)).sum(axis=0)
    found = pd.Series(np.where(number > 0, np.nansum(wrong**2, axis=0) / np.maximum(number, 1), np.nan))
    level = structure.nodes["level"]
    filled = found.fillna(found.groupby(level).transform("mean")).fillna(found.mean()).to_numpy(float)
    mean = filled.mean()
    return np.maximum(filled, _TINY * mean) if mean > 0 else np.ones(len(filled))


def _gain_of_diagonal(sums: sparse.csr_matrix, variance: np.ndarray) -> np.ndarray:
    upper = sums.shape[0]
    scaled = sums.multiply(variance[upper:]).toarray()
    return _solve(np.diag(variance[:upper]) + (sums @ scaled.T), -scaled.T)


def _solve(seen: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """Return ``toward`` times the inverse of the positive definite ``seen``."""
    return np.asarray(linalg.cho_solve(linalg.cho_factor(seen, lower=True), toward.T).T)
