"""Survival and cumulative incidence with pointwise intervals, by group, from durations that may be censored.

With ``n`` at risk and ``d`` leaving at a time t, of which ``d_k`` for reason k:
Kaplan-Meier  S(t) = product of (1 - d/n)  (Kaplan & Meier 1958, JASA 53, 457-481), variance by Greenwood;
Nelson-Aalen  H(t) = sum of d/n  (Aalen 1978, Annals of Statistics 6, 701-726), variance sum of d/n^2;
Aalen-Johansen  F_k(t) = sum of S(t-) d_k/n  (Aalen & Johansen 1978, Scandinavian Journal of Statistics 5, 141-150),
variance by the delta method (Marubini & Valsecchi 1995, "Analysing Survival Data", section 10.2).
Intervals of S and F_k are on the scale of log(-log) (Kalbfleisch & Prentice 2002, 1.4.1; Pintilie 2006), of H on that of the
logarithm. Before anybody left, that scale says nothing; there the interval is the exact one of no event among those at
risk. Where it is not determined (S = 0) it is nan. ``entered`` takes late entry into account (left truncation).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import UsageError
from crmlib.models.survival import observed
from crmlib.models.survival.observed import Counts, Names, Observed, Values

_VALUES = ("survival", "hazard", "incidence")


def kaplan_meier(
    durations: Values,
    ended: Values,
    *,
    groups: Names | None = None,
    level: float = 0.95,
    entered: Values | None = None,
) -> pd.DataFrame:
    """Return the share still here after each duration, with its interval.

    In, one value a customer: ``durations`` (any unit of time, from the beginning to leaving or to the end of
    observation), ``ended`` (1 left, 0 still here), ``groups`` (names), ``entered`` (duration at which observation began).

    Out, a row per group ("(all)" without groups) and time: group, time, at_risk (just before), events, survival, low,
    high. Times: 0, each at which somebody left, and the last one observed. Raises DataError for durations below zero or
    empty, and where nobody left.

    >>> kaplan_meier([2, 3, 3, 5], [1, 1, 0, 0])["survival"].tolist()
    [1.0, 0.75, 0.5, 0.5]
    """
    given = observed.from_flags(durations, ended, groups=groups, entered=entered)
    tables = []
    for name, part, found in _by_group(given):
        survival, spread = _survival(found)
        with np.errstate(invalid="ignore"):
            low, high = _log_log(survival, spread * survival, level)
        table = {"events": found.events.sum(axis=1), "survival": survival, "low": low, "high": high}
        bound = float(_none_left(part, _last_at_risk(part), level))
        tables.append(_with_ends(name, part, found, table, still=(1.0, bound, 1.0)))
    return pd.concat(tables, ignore_index=True)


def nelson_aalen(
    durations: Values,
    ended: Values,
    *,
    groups: Names | None = None,
    level: float = 0.95,
    entered: Values | None = None,
) -> pd.DataFrame:
    """Return the cumulative hazard, as ``kaplan_meier``: group, time, at_risk, events, hazard, low, high.

    >>> nelson_aalen([1, 2, 4, 4], [1, 1, 0, 0])["hazard"].round(3).tolist()
    [0.0, 0.25, 0.583, 0.583]
    """
    given = observed.from_flags(durations, ended, groups=groups, entered=entered)
    z = _quantile(level)
    tables = []
    for name, part, found in _by_group(given):
        total = found.events.sum(axis=1)
        hazard = np.cumsum(total / found.at_risk)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.exp(z * np.sqrt(np.cumsum(total / found.at_risk**2)) / hazard)
        table = {"events": total, "hazard": hazard, "low": hazard / reach, "high": hazard * reach}
        bound = -np.log(float(_none_left(part, _last_at_risk(part), level)))
        tables.append(_with_ends(name, part, found, table, still=(0.0, 0.0, bound)))
    return pd.concat(tables, ignore_index=True)


def cumulative_incidence(
    durations: Values,
    reasons: Names,
    *,
    groups: Names | None = None,
    level: float = 0.95,
    entered: Values | None = None,
) -> pd.DataFrame:
    """Return the share that has left for each reason after each duration, with its interval.

    In: as ``kaplan_meier``; ``reasons`` are names, "" for who is still here. Reasons compete: who left for one cannot
    leave for another, so the shares of all reasons and of those still here sum to 1 at every time.

    Out, a row per group, reason and time: group, reason, time, at_risk, events (for this reason), incidence, low, high.
    Times of a group: 0, each at which somebody left for any reason, and the last one observed.

    >>> found = cumulative_incidence([1, 2, 3, 4], ["price", "service", "price", ""])
    >>> found.groupby("reason")["incidence"].last().to_dict()
    {'price': 0.5, 'service': 0.25}
    """
    given = observed.from_reasons(durations, reasons, groups=groups, entered=entered)
    tables = []
    for name, part, found in _by_group(given):
        last = 1 - float(_none_left(part, _last_at_risk(part), level))
        none_yet = 1 - _none_left(part, found.at_risk, level)
        for place, reason in enumerate(given.reasons):
            incidence, error = _incidence(found, place)
            low, high = _log_log(incidence, error, level)
            low, high = np.where(incidence == 0, 0.0, low), np.where(incidence == 0, none_yet, high)
            table = {"events": found.events[:, place], "incidence": incidence, "low": low, "high": high}
            rows = _with_ends(name, part, found, table, still=(0.0, 0.0, last))
            rows.insert(1, "reason", reason)
            tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def at(curve: pd.DataFrame, times: Values) -> pd.DataFrame:
    """Return a curve of this module at given times: its key columns, time, and its estimate with low and high.

    Times after the last one observed in a group have nan there: the data say nothing of them.

    >>> curve = kaplan_meier([2, 3, 3, 5], [1, 1, 0, 0])
    >>> at(curve, [2.5, 9])["survival"].tolist()
    [0.75, nan]
    """
    wanted = np.asarray(times, dtype=float).reshape(-1)
    if not (wanted >= 0).all():
        raise UsageError("times must be numbers of 0 or more, in the unit of the durations")
    keys = [name for name in ("group", "reason") if name in curve.columns]
    figures = [_estimate(curve), "low", "high"]
    parts = []
    for key, rows in curve.groupby(keys, sort=False):
        known = rows["time"].to_numpy()
        values = rows[figures].to_numpy(dtype=float)[np.searchsorted(known, wanted, side="right") - 1]
        values[wanted > known[-1]] = np.nan
        names = dict(zip(keys, key, strict=True))
        parts.append(pd.DataFrame({**names, "time": wanted, **dict(zip(figures, values.T, strict=True))}))
    return pd.concat(parts, ignore_index=True)


def stay(curve: pd.DataFrame, *, share: float = 0.5) -> pd.DataFrame:
    """Return how long it takes until only ``share`` of the customers are left, by group: group, time, low, high.

    In: a table of ``kaplan_meier``. The time is the first at which survival is at most ``share``; the interval holds the
    times at which the curve's interval holds it (Brookmeyer & Crowley 1982, Biometrics 38, 29-41). Infinite: not reached
    while customers were observed.

    >>> stay(kaplan_meier([2, 3, 4, 5], [1, 1, 1, 0]))["time"].tolist()
    [3.0]
    """
    if not 0 < share < 1:
        raise UsageError(f"share is {share}; it must lie between 0 and 1")
    if "survival" not in curve.columns:
        raise UsageError("stay needs a table of kaplan_meier (a column survival)")
    rows = [
        {"group": name, **{kind: _first(part, column, share) for kind, column in _ENDS.items()}}
        for name, part in curve.groupby("group", sort=False)
    ]
    return pd.DataFrame(rows)


_ENDS = {"time": "survival", "low": "low", "high": "high"}


def _first(part: pd.DataFrame, column: str, share: float) -> float:
    reached = part["time"][part[column] <= share + 1e-12]
    return float(reached.iloc[0]) if len(reached) else np.inf


def _estimate(curve: pd.DataFrame) -> str:
    found = [name for name in _VALUES if name in curve.columns]
    if len(found) != 1:
        raise UsageError(f"the table is no curve of this module: it has none of the columns {', '.join(_VALUES)}")
    return found[0]


def _by_group(given: Observed) -> list[tuple[str, Observed, Counts]]:
    parts = [(name, given.of_group(place)) for place, name in enumerate(given.groups)]
    return [(name, part, observed.counts(part)) for name, part in parts]


def _last_at_risk(given: Observed) -> int:
    return int((given.time >= given.time.max()).sum())


def _survival(found: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Return survival and the root of Greenwood's sum, which is the standard error relative to it."""
    left = found.events.sum(axis=1)
    stayed = found.at_risk - left
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.cumsum(left / (found.at_risk * stayed)))
    return np.cumprod(stayed / found.at_risk), spread


def _incidence(found: Counts, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cumulative incidence of one reason and its standard error.

    The double sum of the variance is opened up, so that running sums do instead of one pass over the past a time.
    """
    n, d, own = found.at_risk, found.events.sum(axis=1), found.events[:, place]
    survival, _ = _survival(found)
    before = np.append(1.0, survival[:-1])
    incidence = np.cumsum(before * own / n)
    leaving = np.zeros(len(n))  # where all leave, nothing follows that this term could count for
    np.divide(d, n * (n - d), out=leaving, where=n > d)
    with_own = before * own / n**2
    own_spread = before**2 * own * (n - own) / n**3
    variance = (
        incidence**2 * np.cumsum(leaving)
        - 2 * incidence * np.cumsum(incidence * leaving + with_own)
        + np.cumsum(incidence**2 * leaving + 2 * incidence * with_own + own_spread)
    )
    return incidence, np.sqrt(np.maximum(variance, 0))


def _log_log(value: np.ndarray, error: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of a share on the scale of log(-log), nan where the share is 0 or 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.exp(_quantile(level) * error / (value * -np.log(value)))
        inside = (value > 0) & (value < 1)
        return np.where(inside, value**reach, np.nan), np.where(inside, value ** (1 / reach), np.nan)


def _none_left(given: Observed, at_risk: np.ndarray | int, level: float) -> np.ndarray | float:
    """Return the exact lower bound of survival where none of ``at_risk`` left; nan if some were not seen from the start."""
    if np.isfinite(given.entered).any():
        return np.full(np.shape(at_risk), np.nan)
    return ((1 - level) / 2) ** (1 / np.asarray(at_risk))


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    return float(stats.norm.ppf((1 + level) / 2))


def _with_ends(
    name: str, given: Observed, found: Counts, columns: dict[str, np.ndarray], *, still: tuple[float, float, float]
) -> pd.DataFrame:
    """Return the table of a group with a row for time 0 and one for the last time observed.

    ``still`` is the estimate with its interval at that last time if nobody left before.
    """
    estimate = next(iter(set(columns) & set(_VALUES)))
    start = 1.0 if estimate == "survival" else 0.0
    table = pd.DataFrame({"group": name, "time": found.time, "at_risk": found.at_risk, **columns})
    first = pd.DataFrame(
        {"group": name, "time": 0.0, "at_risk": int((given.entered <= 0).sum()), "events": 0, estimate: start},
        index=[0],
    ).assign(low=start, high=start)
    last_time = float(given.time.max())
    parts = [first[table.columns]] if not len(table) or table["time"].iloc[0] > 0 else []
    parts += [table] if len(table) else []
    if not len(table) or table["time"].iloc[-1] < last_time:
        values = dict(zip((estimate, "low", "high"), still, strict=True))
        last = parts[-1].iloc[[-1]].assign(time=last_time, at_risk=_last_at_risk(given), events=0)
        parts.append(last if len(table) else last.assign(**values))
    return pd.concat(parts, ignore_index=True)
