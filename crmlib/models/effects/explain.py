"""One series explained: what season, price, promotion and level made of each period (statsmodels, an unobserved-components model)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.effects.design import OTHERS_PROMOTED, PRICE, PROMOTION, Design

PARTS = ("season", "trend", "calendar", "price", "promotion", "after_promotion", "others", "level", "rest")
_MODELS: dict[str, dict[str, Any]] = {
    "sarimax": {"order": (1, 0, 1)},
    "unobserved": {"level": "local level"},
}


def fit(made: Design, *, model: str = "unobserved", level: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the coefficients of one design by statsmodels, and what each part contributes to every period.

    ``model`` is "unobserved" (a wandering level and noise) or "sarimax" (ARMA(1,1) errors). Coefficients: name, estimate, error, low, high (normal). Contributions, a
    row per period that counts: the PARTS, in logs of demand, price and others about their means; they sum to the logarithm of the quantity (column log). Raises DataError for an unknown model, or one that statsmodels cannot fit.
    """
    from scipy import stats  # noqa: PLC0415 - with statsmodels, which takes a second to import

    if model not in _MODELS:
        raise DataError(f"model is {model!r}; choose one of {', '.join(_MODELS)}")
    fitted, names, columns = _fitted(made, model)
    keep = slice(0, len(names)) if model == "sarimax" else slice(-len(names), None)
    estimate, error = np.asarray(fitted.params)[keep], np.asarray(fitted.bse)[keep]
    if not np.isfinite(error).all():
        raise DataError(f"series {made.series_id}: statsmodels cannot tell the errors of {model}; take the other model")
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    ends = {"low": estimate - reach, "high": estimate + reach}
    coefficients = pd.DataFrame({"name": names, "estimate": estimate, "error": error, **ends})
    seen = np.isfinite(made.values)
    parts = {name: np.zeros(int(seen.sum())) for name in PARTS}
    for place, name in enumerate(names):
        column = columns[seen, place]
        centred = column - column.mean() if _part(name) in ("price", "others") else column
        parts[_part(name)] += estimate[place] * centred
        parts["level"] += estimate[place] * (column - centred)
    parts["level"] += _level(fitted, model)[seen]
    log = made.values[seen]
    parts["rest"] = log - np.sum(list(parts.values()), axis=0)
    return coefficients, pd.DataFrame(parts).assign(log=log)


def _fitted(made: Design, model: str) -> tuple[Any, list[str], np.ndarray]:
    """Return the results of statsmodels, and the regressors it was given; their coefficients are the first or the last."""
    from statsmodels.tools.sm_exceptions import ModelWarning  # noqa: PLC0415
    from statsmodels.tsa.statespace.sarimax import SARIMAX  # noqa: PLC0415
    from statsmodels.tsa.statespace.structural import UnobservedComponents  # noqa: PLC0415

    names = [name for name in made.names if model == "sarimax" or name != "constant"]
    columns = made.regressors[:, [made.names.index(name) for name in names]]
    values = np.where(np.isfinite(columns).all(axis=1), made.values, np.nan)
    columns = np.nan_to_num(columns)
    kind = SARIMAX if model == "sarimax" else UnobservedComponents
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)  # where it starts from; what matters is where it arrives
            fitted = kind(values, exog=columns, **_MODELS[model]).fit(disp=0, maxiter=200)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise DataError(
            f"series {made.series_id}: statsmodels cannot fit {model} ({error}); take the other model"
        ) from error
    return fitted, names, columns


def _level(fitted: Any, model: str) -> np.ndarray:
    return np.asarray(fitted.level["smoothed"]) if model == "unobserved" else np.zeros(int(fitted.nobs))


def _part(name: str) -> str:
    kind, _, other = name.partition(":")
    if other or kind == OTHERS_PROMOTED:
        return "others"
    if kind.startswith(("sin_", "cos_")):
        return "season"
    if kind.startswith("after_"):
        return "after_promotion"
    known = {
        "constant": "level",
        "trend": "trend",
        PRICE: "price",
        PROMOTION: "promotion",
        "promoted_once": "promotion",
    }
    return known.get(kind, "calendar")
