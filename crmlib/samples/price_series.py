"""Made-up weekly series with planted effects of price and promotion, to test how well they are found again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

PER_YEAR = 365.25 / 7


@dataclass(frozen=True)
class Planted:
    """How series are drawn; all numbers in logs of demand.

    Attributes: ``elasticity`` of the price, ``uplift`` of a promotion beyond its price, ``dip`` in each of the two weeks after;
    ``season`` amplitude of the year's wave, of which a second wave has 0.4; ``timing`` how much promotions seek the season (log
    odds); ``shock`` and ``memory`` of the level (memory 1: it wanders), ``noise`` beside it; ``depths`` of the price cut; ``drift``
    spread of a change of the list price, of which there are 5 in 100 weeks.
    """

    elasticity: float = -1.8
    uplift: float = 0.25
    dip: float = -0.08
    season: float = 0.25
    timing: float = 4.0
    shock: float = 0.08
    memory: float = 0.6
    noise: float = 0.08
    depths: tuple[float, float] = (0.05, 0.25)
    drift: float = 0.08


def weekly(planted: Planted, *, series: int = 500, weeks: int = 156, seed: int = 7) -> pd.DataFrame:
    """Return a series table: series_id, product_id, region, period, quantity, price_minor, promotion.

    Promotions last a week, are likelier in season and cut the price. The season's phase differs from series to series.

    >>> weekly(Planted(), series=2, weeks=104).groupby("series_id").size().tolist()
    [104, 104]
    """
    random, shape = np.random.default_rng(seed), (series, weeks)
    at = 2 * np.pi * np.arange(weeks) / PER_YEAR
    phase = random.uniform(0, 2 * np.pi, (series, 1))
    wave = planted.season * (np.cos(at - phase) + 0.4 * np.cos(2 * (at - phase) + 1))
    promoted = random.random(shape) < 1 / (1 + np.exp(2.6 - planted.timing * wave))
    changed = (random.random(shape) < 0.05) * random.normal(0, planted.drift, shape)
    cut = np.log1p(-random.uniform(*planted.depths, shape)) * promoted
    log_price = np.cumsum(changed, axis=1) + cut
    level, state = np.empty(shape), np.zeros(series)
    shocks = random.normal(0, planted.shock, shape)
    for week in range(weeks):
        state = planted.memory * state + shocks[:, week]
        level[:, week] = state
    since = promoted.astype(float)
    after = np.zeros(shape)
    after[:, 1:] += np.maximum(since[:, :-1] - since[:, 1:], 0)
    after[:, 2:] += np.maximum(since[:, :-2] - np.maximum(since[:, 1:-1], since[:, 2:]), 0)
    effect = planted.elasticity * log_price + planted.uplift * promoted + planted.dip * after
    log = random.uniform(5, 8, (series, 1)) + wave + effect + level + random.normal(0, planted.noise, shape)
    names = [f"p{number:04d}" for number in range(series)]
    return pd.DataFrame(
        {
            "series_id": np.repeat([f"{name}/all" for name in names], weeks),
            "product_id": np.repeat(names, weeks),
            "region": "all",
            "period": np.tile(pd.date_range("2022-01-03", periods=weeks, freq="W-MON"), series),
            "quantity": np.exp(log).ravel(),
            "price_minor": 100 * np.exp(log_price).ravel(),
            "promotion": promoted.ravel().astype(float),
        }
    )
