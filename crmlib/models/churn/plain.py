"""The plain models that the rankers are compared with: logistic regression and Cox, by statsmodels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib.models.survival import design, observed
from crmlib.models.survival.design import Design
from crmlib.models.survival.observed import Values


@dataclass(frozen=True)
class Plain:
    """A linear score of covariates; ``predict`` returns a probability (logistic) or the log of a relative hazard (Cox)."""

    design: Design
    coefficients: np.ndarray
    constant: float
    link: Callable[[np.ndarray], np.ndarray]

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the prediction for each row."""
        return self.link(self.design.matrix(features) @ self.coefficients + self.constant)


def logistic(features: pd.DataFrame, outcome: np.ndarray) -> Plain:
    """Return the maximum-likelihood logistic regression on numbers as they are and levels against the commonest."""
    import statsmodels.api as sm  # noqa: PLC0415  (takes a second to import)

    made, inputs, centre, spread = _scaled(features)
    found = sm.GLM(np.asarray(outcome, dtype=float), sm.add_constant(inputs), family=sm.families.Binomial()).fit()
    slopes = found.params[1:] / spread
    return Plain(made, slopes, float(found.params[0] - slopes @ centre), expit)


def cox(features: pd.DataFrame, durations: Values, ended: Values) -> Plain:
    """Return the proportional hazards regression of Cox 1972, ties by Efron."""
    import statsmodels.api as sm  # noqa: PLC0415

    given = observed.from_flags(durations, ended)
    made, inputs, centre, spread = _scaled(features)
    found = sm.PHReg(given.time, inputs, status=given.left.astype(int), ties="efron").fit()
    slopes = found.params / spread
    return Plain(made, slopes, float(-slopes @ centre), np.asarray)


def _scaled(features: pd.DataFrame) -> tuple[Design, np.ndarray, np.ndarray, np.ndarray]:
    """Return the design, and its columns standardised: the fit is the same, the steps to it are fewer."""
    made = design.fit(features, gaps=True)
    matrix = made.matrix(features)
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    return made, (matrix - centre) / spread, centre, spread
