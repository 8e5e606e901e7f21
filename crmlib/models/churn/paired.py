"""Is one model better than another on the same data: the difference over repeated folds, with an interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.metrics import Estimate


def folds(count: int, *, repeats: int = 5, parts: int = 5, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which rows train and which test, ``parts`` times a repeat; each row is tested once a repeat.

    >>> [int(test.sum()) for _, test in folds(10, repeats=1)]
    [2, 2, 2, 2, 2]
    """
    if count < parts or parts < 2 or repeats < 1:
        raise UsageError(
            f"{count} rows cannot be cut into {parts} parts {repeats} times; give 2 parts or more of a row each"
        )
    for repeat in range(repeats):
        number = np.random.default_rng([seed, repeat]).permutation(np.arange(count) % parts)
        for own in range(parts):
            yield number != own, number == own


def difference(better: Sequence[float], other: Sequence[float], *, parts: int = 5) -> Estimate:
    """Return the mean difference of two models' figures over the same folds, with its 95% interval.

    Folds share most of their training rows, so the variance is enlarged by the ratio of test to training rows: s^2 (1/n +
    1/(parts - 1)), Student's t with n - 1 degrees (Nadeau & Bengio 2003, Machine Learning 52, 239-281; Bouckaert & Frank
    2004 for repeated folds).

    >>> tuple(round(value, 3) for value in difference([0.85, 0.86, 0.84], [0.84, 0.84, 0.84]))
    (0.01, -0.023, 0.043)
    """
    gains = np.asarray(better, dtype=float) - np.asarray(other, dtype=float)
    if len(gains) < 2:
        raise DataError(f"not enough data for an interval: found {len(gains)} folds, need 2")
    error = gains.std(ddof=1) * np.sqrt(1 / len(gains) + 1 / (parts - 1))
    reach = float(stats.t.ppf(0.975, len(gains) - 1) * error)
    return Estimate(float(gains.mean()), float(gains.mean()) - reach, float(gains.mean()) + reach)
