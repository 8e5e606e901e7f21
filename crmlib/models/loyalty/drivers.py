"""What moves a score: how answers to other questions go with it, each beside the others, with intervals.

Effect: the difference in the score that goes with one point more in a driver at equal answers to the others (least
squares, standard errors robust to unequal variance: HC3, MacKinnon & White 1985). Importance: the driver's share of the
explained variance, averaged over all orders in which drivers can be entered (Lindeman, Merenda & Gold 1980, section
4.3; Groemping 2006, Journal of Statistical Software 17(1)), with a bootstrap interval. Ratings of one person lean to
the same side, so that effects are associations, no proof of what a better service would bring.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.loyalty.nps import QUESTION, holm, outside
from crmlib.warehouse.snapshot import Snapshot

Floats = NDArray[np.float64]
FEWEST_PER_DRIVER = 10
MOST = 12
"""More drivers than this are refused: importance takes every subset of them."""
_DRAWS = 200


def wide(snapshot: Snapshot, *, survey: str, question: str = QUESTION) -> pd.DataFrame:
    """Return the answers of a survey that has several questions, one row for each time a customer answered.

    Out: customer_id, answered_at, channel, branch_id, then a column for each question (numbers), ``question`` first.
    Answers to the question "nps" outside 0 to 10 are left out, as by ``nps.answers``.
    Raises DataError where the survey does not ask ``question`` or nothing else.
    """
    columns = ["customer_id", "survey", "question", "answered_at", "score", "channel", "branch_id"]
    rows = snapshot.table("surveys", columns)
    rows = rows[(rows["survey"] == survey) & rows["score"].notna()]
    rows = rows[~((rows["question"] == QUESTION) & outside(rows["score"]))]
    found = sorted(rows["question"].unique())
    if question not in found or len(found) < 2:
        raise DataError(
            f"surveys: the survey {survey!r} asks {', '.join(found) or 'nothing'}; drivers need the question {question!r} "
            "and at least one more"
        )
    keys = ["customer_id", "answered_at"]
    about = rows.drop_duplicates(keys)[[*keys, "channel", "branch_id"]]
    scores = rows.drop_duplicates([*keys, "question"]).pivot(index=keys, columns="question", values="score")
    names = [question, *[name for name in found if name != question]]
    table = scores[names].reset_index().rename_axis(columns=None)
    out = table.merge(about, on=keys, how="left", validate="one_to_one")
    return out[[*keys, "channel", "branch_id", *names]]


def drivers(
    answers: pd.DataFrame, outcome: str, names: list[str], *, level: float = 0.95, seed: int = 7
) -> pd.DataFrame:
    """Return each driver's effect on the outcome and its importance.

    In: a row for each person who answered, numbers in ``outcome`` and ``names``; rows with a gap are left out. Out:
    driver, answers (rows used), mean (of the driver), effect (points of the outcome per point), low, high, p, p_holm (for
    all drivers together), importance (share of the explained variance, sums to 1), importance_low, importance_high, and
    explained (R-squared, the same in each row); the most important first.
    Raises DataError for fewer rows than 10 for each driver, an outcome or driver that never varies, or drivers that
    repeat each other.
    """
    given = _complete(answers, outcome, names)
    x, y = given[names].to_numpy(float), given[outcome].to_numpy(float)
    effect, error = _least_squares(x, y, names)
    explained, importance = shares(np.corrcoef(np.column_stack([y, x]).T))
    draws = _resampled(x, y, np.random.default_rng(seed))
    tail = (1 - level) / 2
    degrees = len(y) - len(names) - 1
    reach = stats.t.ppf(1 - tail, degrees) * error
    p = 2 * stats.t.sf(np.abs(effect / error), degrees)
    out = pd.DataFrame(
        {
            "driver": names,
            "answers": len(y),
            "mean": x.mean(axis=0),
            "effect": effect,
            "low": effect - reach,
            "high": effect + reach,
            "p": p,
            "p_holm": holm(p),
            "importance": importance,
            "importance_low": np.quantile(draws, tail, axis=0),
            "importance_high": np.quantile(draws, 1 - tail, axis=0),
            "explained": explained,
        }
    )
    return out.sort_values("importance", ascending=False, ignore_index=True)


def shares(correlation: Floats) -> tuple[float, Floats]:
    """Return R-squared and each driver's share of it, averaged over all orders, from a correlation matrix.

    The first row and column are the outcome's.

    >>> r2, parts = shares(np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.0], [0.3, 0.0, 1.0]]))
    >>> round(r2, 2), parts.round(2).tolist()
    (0.45, [0.8, 0.2])
    """
    total, parts = _shares(correlation)
    return float(total), parts


def _shares(correlation: Floats) -> tuple[Floats, Floats]:
    """Return the same for each of a stack of correlation matrices."""
    count = correlation.shape[-1] - 1
    fitted = np.zeros((*correlation.shape[:-2], 1 << count))
    for size in range(1, count + 1):
        for subset in combinations(range(1, count + 1), size):
            chosen = list(subset)
            to = correlation[..., 0, chosen]
            solved = np.linalg.solve(correlation[..., chosen, :][..., chosen], to[..., None])[..., 0]
            fitted[..., sum(1 << (one - 1) for one in chosen)] = (to * solved).sum(axis=-1)
    masks = np.arange(1 << count)
    members = np.array([mask.bit_count() for mask in masks.tolist()])
    total = fitted[..., -1]
    parts = np.zeros((*total.shape, count))
    weight = np.array([factorial(k) * factorial(count - k - 1) / factorial(count) for k in range(count)])
    for place in range(count):
        without = masks[(masks >> place) & 1 == 0]
        parts[..., place] = (fitted[..., without | (1 << place)] - fitted[..., without]) @ weight[members[without]]
    return total, np.divide(parts, total[..., None], out=np.full_like(parts, np.nan), where=total[..., None] > 0)


def _complete(answers: pd.DataFrame, outcome: str, names: list[str]) -> pd.DataFrame:
    missing = [name for name in [outcome, *names] if name not in answers]
    if missing or not names:
        raise DataError(
            f"answers lack the question {', '.join(missing) or 'of a driver'}; they have {', '.join(map(str, answers.columns))}"
        )
    if len(names) > MOST:
        raise DataError(f"{len(names)} drivers are too many to tell apart; choose at most {MOST}")
    given = answers[[outcome, *names]].dropna()
    need = FEWEST_PER_DRIVER * len(names) + 10
    if len(given) < need:
        raise DataError(
            f"answers: not enough data for {len(names)} drivers (found {len(given)} complete answers, need {need})"
        )
    still = [name for name in given if given[name].nunique() < 2]
    if still:
        raise DataError(
            f"answers to {', '.join(map(str, still))} are all the same ({given[still[0]].iloc[0]}), so nothing can be learnt from"
            " them; leave the question out"
        )
    return given


def _least_squares(x: Floats, y: Floats, names: list[str]) -> tuple[Floats, Floats]:
    """Return the effects and their HC3 standard errors."""
    rows = np.column_stack([np.ones(len(y)), x])
    spread = (x - x.mean(axis=0)) / x.std(axis=0)
    if np.linalg.cond(spread) > 1e6:
        raise DataError(
            f"the drivers {', '.join(names)} repeat each other; leave out one that is a sum or copy of others"
        )
    inverse = np.linalg.inv(rows.T @ rows)
    beta = inverse @ rows.T @ y
    leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    residual = (y - rows @ beta) / np.maximum(1 - leverage, 1e-9)
    covariance = inverse @ ((rows * (residual**2)[:, None]).T @ rows) @ inverse
    return beta[1:], np.sqrt(np.diag(covariance))[1:]


def _resampled(x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Return the importances of bootstrap samples; few for many drivers, as each takes every subset."""
    joint = np.column_stack([y, x])
    draws = _DRAWS if x.shape[1] <= 6 else 100
    drawn = (joint[rng.integers(0, len(joint), len(joint))] for _ in range(draws))
    correlations = np.stack([np.corrcoef(rows.T) for rows in drawn])
    correlations = correlations[np.isfinite(correlations).all(axis=(1, 2))]
    return _shares(correlations[np.linalg.cond(correlations) < 1e9])[1]
