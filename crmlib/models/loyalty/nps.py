"""NPS, the net promoter score: with an interval that covers as it says, by group and period, and tests for change.

The score is 100 times the share of promoters (9 and 10) less that of detractors (0 to 6) among the answers.

Its interval is an adjusted Wald one: an answer is added to each of the three groups (Agresti & Min 2005, Statistics in
Medicine 24, 729-740, add such pseudo-answers to a difference of paired shares, which the score is), and the quantile is
Student's with n - 1 degrees of freedom instead of the normal one. By exact enumeration its coverage at 95% is 0.949 or
more wherever each share is 0.1 or more and n is 20 or more; docs/loyalty.md has the figures and what it was chosen over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.snapshot import Snapshot

QUESTION = "nps"
FEWEST = 10
"""With fewer answers only the counts are shown: no score, no interval."""
PROMOTER, DETRACTOR = 9, 6
"""Answers from the first up are promoters, up to the second detractors."""

Floats = NDArray[np.float64]
_COLUMNS = ["customer_id", "survey", "answered_at", "score", "channel", "branch_id"]


@dataclass(frozen=True)
class Answers:
    """The answers to the recommendation question, and how many were left out.

    Attributes: ``table`` with customer_id, survey, answered_at (UTC), score (0 to 10), channel, branch_id (both may be
    empty); ``outside`` the number of answers outside the scale, ``empty`` of those without a number.
    """

    table: pd.DataFrame
    outside: int
    empty: int


class Interval(NamedTuple):
    """Score and the limits of its interval, points from -100 to 100; nan with fewer than 10 answers."""

    score: Floats
    low: Floats
    high: Floats


class Homogeneity(NamedTuple):
    """Whether groups differ at all: ``statistic`` (chi-square), ``degrees`` of freedom and ``p``; nan for one group."""

    statistic: float
    degrees: int
    p: float


def answers(snapshot: Snapshot, *, survey: str | None = None) -> Answers:
    """Return the answers to the question "nps" known at the snapshot, of one survey or of all, by time.

    Answers outside 0 to 10 or between whole numbers, and those without a number, are left out and counted.
    """
    table = snapshot.table("surveys", [*_COLUMNS, "question"])
    table = table[table["question"] == QUESTION]
    if survey is not None:
        table = table[table["survey"] == survey]
    empty, wrong = table["score"].isna(), outside(table["score"])
    kept = table.loc[~empty & ~wrong, _COLUMNS].sort_values(["answered_at", "customer_id"], ignore_index=True)
    return Answers(kept, int(wrong.sum()), int(empty.sum()))


def counts(scores: ArrayLike) -> tuple[int, int, int]:
    """Return the numbers of promoters, passives and detractors among answers.

    >>> counts([10, 9, 8, 7, 6, 0])
    (2, 2, 2)

    Raises DataError for an answer outside the scale.
    """
    found = pd.Series(np.asarray(scores, dtype=float))
    checked(found)
    promoters, detractors = int((found >= PROMOTER).sum()), int((found <= DETRACTOR).sum())
    return promoters, len(found) - promoters - detractors, detractors


def checked(scores: pd.Series) -> pd.Series:
    """Return the answers as they are; raises DataError where one is no whole number from 0 to 10."""
    wrong = outside(scores) | scores.isna()
    if wrong.any():
        first = scores[wrong].iloc[0]
        raise DataError(
            f"surveys.score: {int(wrong.sum())} of {len(scores)} answers to the question nps are no whole number from 0 to "
            f"10 (the first is {first}); correct them at the source, or leave them out with nps.answers"
        )
    return scores


def outside(scores: pd.Series) -> pd.Series:
    """Return which answers are no whole number from 0 to 10; an empty one is not."""
    given = scores.astype(float)
    return given.notna() & ~((given >= 0) & (given <= 10) & (given == given.round()))


def interval(promoters: ArrayLike, passives: ArrayLike, detractors: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the score and its interval from numbers of answers, which may be fractions (effective numbers).

    >>> found = interval(50, 30, 20)
    >>> float(found.score), float(round(found.low, 1)), float(round(found.high, 1))
    (30.0, 13.8, 44.4)

    Raises UsageError where a number is negative or ``level`` is not between 0 and 1.
    """
    _level(level)
    b, m, c = (np.asarray(one, dtype=float) for one in (promoters, passives, detractors))
    if (np.minimum(np.minimum(b, m), c) < 0).any():
        raise UsageError("the numbers of promoters, passives and detractors hold a negative one; give 0 or more")
    return _limits(b, c, b + m + c, level)


def table(
    answered: pd.DataFrame, by: Sequence[str] = (), *, weight: str | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return the score with its interval for each group of answers.

    In: score, the columns ``by``, and ``weight`` (a column) where answers count unequally. Out: the columns ``by``, then
    answers, promoters, passives, detractors (numbers of answers), effective (answers of equal weight that would tell as
    much, Kish 1965, section 11.7), score, low, high. Rows whose group is empty are left out; groups of fewer than 10
    answers (``FEWEST``), or as few effective ones, have no score and no interval. Raises DataError for an answer outside
    the scale or a weight that is not above 0.
    """
    sums = _sums(answered, by, weight)
    return _finished(sums.reset_index() if by else sums.reset_index(drop=True), by, level)


def periods(answered: pd.DataFrame, *, months: int = 3) -> pd.DataFrame:
    """Return the answers with the column ``period``: the first day of the calendar month, quarter or year (UTC).

    >>> when = pd.DataFrame({"answered_at": pd.to_datetime(["2025-05-17 10:00"])})
    >>> str(periods(when)["period"].iloc[0].date())
    '2025-04-01'
    """
    if months not in (1, 2, 3, 4, 6, 12):
        raise UsageError(f"months is {months!r}; a period is 1, 2, 3, 4, 6 or 12 months long")
    month = answered["answered_at"].to_numpy("datetime64[M]").astype(int)
    return answered.assign(period=(month // months * months).astype("datetime64[M]").astype("datetime64[us]"))


def changes(found: pd.DataFrame, by: Sequence[str] = (), *, level: float = 0.95) -> pd.DataFrame:
    """Return a table of ``table`` by period with the change from the period before, tested.

    In: a table of ``table`` with ``period`` among its groups; ``by``: the other columns that name a series. Added:
    difference (points, later less earlier), difference_low, difference_high, p, and p_holm, which holds for all changes
    of the table together (Holm 1979). Empty for the first period and next to periods of fewer than 10 answers.
    """
    ordered = found.sort_values([*by, "period"], ignore_index=True)
    earlier = ordered.groupby(list(by), observed=True).shift() if by else ordered.shift()
    return _with_difference(ordered, earlier, level)


def contrasts(answered: pd.DataFrame, group: str, *, weight: str | None = None, level: float = 0.95) -> pd.DataFrame:
    """Return ``table`` by a column, each group tested against all answers that are not of it.

    Added: difference (points, the group less the rest), difference_low, difference_high, p, and p_holm, which holds for
    all groups together. Empty where the group or the rest has fewer than 10 answers.
    """
    sums = _sums(answered[answered[group].notna()], [group], weight)
    rest = (sums.sum() - sums).reset_index()
    return _with_difference(_finished(sums.reset_index(), [group], level), _finished(rest, [group], level), level)


def difference(first: pd.DataFrame, second: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Return first less second, row by row, of two tables of ``table`` of independent answers.

    Out: difference, difference_low, difference_high (points) by the method of variance estimates recovery from the two
    intervals (Newcombe 1998, Statistics in Medicine 17, 873-890, method 10; Zou & Donner 2008), and p, the smallest
    level at which that interval leaves out zero.
    """
    _level(level)
    gap = (first["score"].to_numpy(float) - second["score"].to_numpy(float)) / 100
    low, high = _recovered(first, second, np.full(len(gap), 1 - level))
    known = np.isfinite(gap)
    p = np.full(len(gap), np.nan)
    p[known] = _p(first[known], second[known], gap[known])
    columns = {"difference": gap, "difference_low": low, "difference_high": high}
    return pd.DataFrame({name: 100 * values for name, values in columns.items()} | {"p": p}, index=first.index)


def homogeneity(found: pd.DataFrame) -> Homogeneity:
    """Test whether all groups or periods of a table of ``table`` have the same score (Cochran 1954, chi-square)."""
    kept = found[found["score"].notna()]
    if len(kept) < 2:
        return Homogeneity(np.nan, 0, np.nan)
    centre, error = _centre(kept)
    share = 1 / error**2
    mean = (share * centre).sum() / share.sum()
    statistic = float((share * (centre - mean) ** 2).sum())
    return Homogeneity(statistic, len(kept) - 1, float(stats.chi2.sf(statistic, len(kept) - 1)))


def holm(p: ArrayLike) -> Floats:
    """Return p-values that hold together for all tests (Holm 1979); nan are no tests.

    >>> holm([0.01, 0.04, float("nan"), 0.03]).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    given = np.asarray(p, dtype=float)
    out, known = np.full(len(given), np.nan), np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return out


# ---------------------------------------------------------------- inside


def _sums(answered: pd.DataFrame, by: Sequence[str], weight: str | None) -> pd.DataFrame:
    """Return for each group the numbers of answers and of promoters and detractors, and their sums of weights."""
    checked(answered["score"])
    if weight is not None and not (answered[weight] > 0).all():
        raise DataError(f"answers.{weight}: a weight is empty, zero or negative; give each answer a weight above 0")
    share = np.ones(len(answered)) if weight is None else answered[weight].to_numpy(float)
    promoter, detractor = answered["score"] >= PROMOTER, answered["score"] <= DETRACTOR
    rows = pd.DataFrame(
        {
            **{name: answered[name] for name in by},
            "answers": 1,
            "promoters": promoter.astype(int),
            "detractors": detractor.astype(int),
            "weight": share,
            "square": share**2,
            "promoters_weight": share * promoter,
            "detractors_weight": share * detractor,
        }
    )
    names = [name for name in rows if name not in by]
    if not by:
        return rows[names].sum().to_frame().T if len(rows) else rows[names]
    return rows.groupby(list(by), observed=True, sort=True)[names].sum()


def _finished(sums: pd.DataFrame, by: Sequence[str], level: float) -> pd.DataFrame:
    weight = sums["weight"].to_numpy(float)
    weight = np.where(sums["answers"] > 0, weight, np.nan)
    out = sums.assign(
        passives=sums["answers"] - sums["promoters"] - sums["detractors"],
        effective=weight**2 / sums["square"],
        promoters_share=sums["promoters_weight"] / weight,
        detractors_share=sums["detractors_weight"] / weight,
    )
    found = _of_shares(out, level)
    out = out.assign(score=found.score, low=found.low, high=found.high)
    counted = ["answers", "promoters", "passives", "detractors", "effective", "promoters_share", "detractors_share"]
    return out[[*by, *counted, "score", "low", "high"]]


def _level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"level is {level!r}; give a number between 0 and 1, for example 0.95")


def _limits(b: Floats, c: Floats, n: Floats, level: float) -> Interval:
    enough = n >= FEWEST
    n = np.where(enough, n, np.nan)
    score, centre = (b - c) / n, (b - c) / (n + 3)
    error = np.sqrt(((b + c + 2) / (n + 3) - centre**2) / (n + 3))
    reach = stats.t.ppf((1 + level) / 2, n - 1) * error
    low, high = np.maximum(centre - reach, -1.0), np.minimum(centre + reach, 1.0)
    return Interval(100 * score, 100 * low, 100 * high)


def _of_shares(found: pd.DataFrame, level: float) -> Interval:
    n = found["effective"].to_numpy(float)
    # Rounding must not turn ten equal weights into 9.999 effective answers.
    n = np.where(found["answers"] >= FEWEST, np.round(n, 9), 0.0)
    b, c = found["promoters_share"].to_numpy(float) * n, found["detractors_share"].to_numpy(float) * n
    return _limits(b, c, n, level)


def _centre(found: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return the centre of the interval and its standard error, as shares."""
    n = found["effective"].to_numpy(float)
    b, c = found["promoters_share"].to_numpy(float) * n, found["detractors_share"].to_numpy(float) * n
    centre = (b - c) / (n + 3)
    return centre, np.sqrt(((b + c + 2) / (n + 3) - centre**2) / (n + 3))


def _recovered(first: pd.DataFrame, second: pd.DataFrame, alpha: Floats) -> tuple[Floats, Floats]:
    """Return the limits of first less second at levels of error ``alpha``, one a row, as shares."""
    reaches = []
    for found in (first, second):
        score = found["score"].to_numpy(float) / 100
        centre, error = _centre(found)
        # Only a known score has degrees of freedom; the rest stays nan.
        degrees = np.where(np.isfinite(score), found["effective"].to_numpy(float) - 1, np.nan)
        reach = stats.t.ppf(1 - alpha / 2, degrees) * error
        low, high = np.maximum(centre - reach, -1), np.minimum(centre + reach, 1)
        reaches.append((score, np.maximum(score - low, 0), np.maximum(high - score, 0)))
    (one, one_down, one_up), (two, two_down, two_up) = reaches
    gap = one - two
    return gap - np.hypot(one_down, two_up), gap + np.hypot(one_up, two_down)


def _p(first: pd.DataFrame, second: pd.DataFrame, gap: Floats) -> Floats:
    """Return the level of error at which the interval just reaches zero, by bisection on its logarithm."""
    inside, outside = np.full(len(gap), np.log(1e-16)), np.zeros(len(gap))
    for _ in range(36):
        middle = (inside + outside) / 2
        low, high = _recovered(first, second, np.exp(middle))
        holds = (low <= 0) & (high >= 0)
        inside, outside = np.where(holds, middle, inside), np.where(holds, outside, middle)
    p: Floats = np.exp(inside)
    return p


def _with_difference(found: pd.DataFrame, other: pd.DataFrame, level: float) -> pd.DataFrame:
    tested = difference(found, other, level=level)
    return pd.concat([found, tested], axis=1).assign(p_holm=holm(tested["p"]))
