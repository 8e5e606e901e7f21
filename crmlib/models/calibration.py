"""Out-of-time calibration of many outcomes at once: Platt's logistic calibration with partial pooling.

Each outcome's log-odds are a linear function of the raw log-odds of the models (Platt 1999); the coefficients of the
outcomes are draws from a common normal distribution whose mean and variance are estimated too (empirical Bayes by EM
with a Laplace approximation; Gelman & Hill 2007, chapters 12-13; Stiratelli, Laird & Ware 1984). An outcome with many
buyers gets its own calibration, one with few that of all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = 60
_PRIOR_OUTCOMES = 2.0  # weight of the first guess of the variances, counted in outcomes


@dataclass(frozen=True)
class Prior:
    """First guess: ``mean`` and ``spread`` (its standard deviation), and ``deviation`` between outcomes."""

    mean: np.ndarray
    spread: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Attributes: ``coefficients`` (outcomes x inputs), their ``covariances`` (outcomes x inputs x inputs), and the
    ``mean`` and ``variance`` of the coefficients among the outcomes."""

    coefficients: np.ndarray
    covariances: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def line(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-odds beyond the offsets and their standard deviations (rows x outcomes each).

        In: the inputs after the constant, each rows x outcomes. Number by number and in one order, so that a row gets the
        same whatever rows are beside it.
        """
        logit = self.coefficients[:, 0] + inputs[0] * self.coefficients[:, 1]
        for place, values in enumerate(inputs[1:], start=2):
            logit += values * self.coefficients[:, place]
        variance = np.broadcast_to(self.covariances[:, 0, 0], logit.shape).copy()
        for place, values in enumerate(inputs, start=1):
            slope = values * self.covariances[:, place, place]
            slope += 2 * self.covariances[:, 0, place]
            for other, more in enumerate(inputs[: place - 1], start=1):
                slope += more * (2 * self.covariances[:, other, place])
            slope *= values
            variance += slope
        return logit, np.sqrt(np.maximum(variance, 0, out=variance), out=variance)


@dataclass(frozen=True)
class Sample:
    """The pairs of one outcome: ``inputs`` (pairs x inputs, the first is 1), ``bought``, ``weights``, ``offset``."""

    inputs: np.ndarray
    bought: np.ndarray
    weights: np.ndarray
    offset: float


def fit(samples: list[Sample], prior: Prior) -> Calibration:
    """Return the calibration of each outcome; one without pairs gets the mean and variance of the others."""
    size = len(prior.mean)
    mean, variance = prior.mean.copy(), prior.deviation**2
    coefficients = np.tile(mean, (len(samples), 1))
    covariances = np.empty((len(samples), size, size))
    for _ in range(_STEPS):
        previous = coefficients.copy()
        for place, sample in enumerate(samples):
            coefficients[place], covariances[place] = _step(sample, coefficients[place], mean, variance)
        precision = len(samples) / variance + 1 / prior.spread**2
        mean = (coefficients.sum(axis=0) / variance + prior.mean / prior.spread**2) / precision
        scatter = (coefficients - mean) ** 2 + np.diagonal(covariances, axis1=1, axis2=2)
        variance = scatter.sum(axis=0) + _PRIOR_OUTCOMES * prior.deviation**2
        variance /= len(samples) + _PRIOR_OUTCOMES
        if np.abs(coefficients - previous).max() < 1e-4:
            break
    return Calibration(coefficients, covariances, mean, variance)


def _step(sample: Sample, at: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients after one damped Newton step towards the posterior mode, and the covariance there."""
    logit = sample.inputs @ at + sample.offset
    chance = 1 / (1 + np.exp(-logit))
    gradient = sample.inputs.T @ (sample.weights * (chance - sample.bought)) + (at - mean) / variance
    curvature = (sample.inputs * (sample.weights * chance * (1 - chance))[:, None]).T @ sample.inputs
    covariance = np.linalg.inv(curvature + np.diag(1 / variance))
    move = covariance @ gradient
    return at - move * min(1.0, 2.0 / max(np.abs(move).max(), 1e-12)), covariance
