"""Before a campaign: how many customers it takes to find an effect worth finding."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from crmlib.errors import UsageError

PRICE_OF_LOOKING = 1.55
"""Width of an interval that stays valid under repeated looks against one looked at once, at the planned end
(see ``sequential``); a campaign judged by the former needs the square of it as many customers."""


@dataclass(frozen=True)
class SampleSize:
    """How many customers a campaign needs.

    Attributes: ``members`` in all; ``control`` of them left alone; ``per_arm`` in each arm; ``effect`` that is then
    found with probability ``power``, in the unit asked for; ``confidence`` of the interval that must exclude zero.
    """

    members: int
    control: int
    per_arm: int
    effect: float
    power: float
    confidence: float


def sample_size(
    effect: float,
    *,
    rate: float | None = None,
    spread: float | None = None,
    control_share: float = 0.15,
    arms: int = 1,
    power: float = 0.8,
    confidence: float = 0.95,
) -> SampleSize:
    """Return how many customers a campaign needs to tell ``effect`` from nothing.

    For conversions give ``rate``, the share who buy without the campaign, and ``effect`` as the share added to it (0.01:
    one more buyer among 100); for money ``spread``, the standard deviation of the outcome among customers, in the
    unit of ``effect``. ``arms`` are compared with one control group each, so the confidence is divided among them
    (Bonferroni). Formula: two independent means, two-sided, unpooled (Chow, Shao & Wang 2008, p. 89).

    Raises UsageError for values that make no experiment: a control group of nobody or of everybody, no effect, a rate
    outside 0 to 1.

    >>> sample_size(0.2, rate=0.65, control_share=0.5).per_arm
    70
    """
    _check_shares(control_share, arms, power, confidence)
    if not effect or not math.isfinite(effect):
        raise UsageError(f"effect is {effect}; name the smallest effect worth finding, above or below zero")
    first, second = _variances(rate, spread, effect)
    quantile = stats.norm.ppf(1 - (1 - confidence) / (2 * arms)) + stats.norm.ppf(power)
    needed = quantile**2 * (second * arms / (1 - control_share) + first / control_share) / effect**2
    # Rounding up each group by itself keeps the power; a hair of float noise must not cost a customer.
    per_arm = max(2, math.ceil(needed * (1 - control_share) / arms - 1e-9))
    control = max(2, math.ceil(needed * control_share - 1e-9))
    return SampleSize(per_arm * arms + control, control, per_arm, effect, power, confidence)


def smallest_effect(
    members: int,
    *,
    rate: float | None = None,
    spread: float | None = None,
    control_share: float = 0.15,
    arms: int = 1,
    power: float = 0.8,
    confidence: float = 0.95,
) -> float:
    """Return the smallest effect that a campaign of so many ``members`` finds with probability ``power``.

    The other way round than ``sample_size``, with the same meanings; for conversions the highest possible effect is
    1 - rate, and nan says that not even that would be found.

    >>> round(smallest_effect(10_000, rate=0.02), 4)
    0.0114
    """
    if members < 4:
        raise UsageError(f"members is {members}; an experiment needs two customers in each of two groups at least")
    options = {"control_share": control_share, "arms": arms, "power": power, "confidence": confidence}
    low, high = 0.0, (1 - rate) if rate is not None else 1e3 * (spread or 1.0)
    if sample_size(high, rate=rate, spread=spread, **options).members > members:  # type: ignore[arg-type]
        return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        enough = sample_size(middle, rate=rate, spread=spread, **options).members <= members  # type: ignore[arg-type]
        low, high = (low, middle) if enough else (middle, high)
    return high


def _variances(rate: float | None, spread: float | None, effect: float) -> tuple[float, float]:
    """Return the variance of one customer's outcome without and with the campaign."""
    if (rate is None) == (spread is None):
        raise UsageError("give either rate (for conversions) or spread (for money), and not both")
    if rate is not None:
        if not 0 < rate < 1:
            raise UsageError(f"rate is {rate}; give the share who buy without the campaign, between 0 and 1")
        if not 0 <= rate + effect <= 1:
            raise UsageError(f"rate {rate} and effect {effect} make {rate + effect:g}, which is no share of customers")
        return rate * (1 - rate), (rate + effect) * (1 - rate - effect)
    assert spread is not None
    if not spread > 0 or not math.isfinite(spread):
        raise UsageError(f"spread is {spread}; give the standard deviation of the outcome, above zero")
    return spread**2, spread**2


def _check_shares(control_share: float, arms: int, power: float, confidence: float) -> None:
    if not 0 < control_share < 1:
        raise UsageError(
            f"control_share is {control_share}; without both a control group and others no effect can be measured, "
            "give a share between 0 and 1"
        )
    if arms < 1:
        raise UsageError(f"arms is {arms}; a campaign has one arm at least")
    for name, value in (("power", power), ("confidence", confidence)):
        if not 0.5 <= value < 1:
            raise UsageError(f"{name} is {value}; give a probability from 0.5 to below 1")
