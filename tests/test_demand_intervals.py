"""Intervals: the coverage they promise, on data that did not calibrate them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crmlib.errors import UsageError
from crmlib.models import demand
from crmlib.models.demand import intervals


def errors(count: int, horizon: int, *, seed: int) -> np.ndarray:
    """Skewed errors with heavy tails that grow by the period ahead."""
    random = np.random.default_rng(seed)
    return (random.gamma(2, 1, (count, horizon)) - 1.7) * np.sqrt(np.arange(1, horizon + 1))


@pytest.mark.parametrize(("name", "level"), list(intervals.LEVELS.items()))
def test_each_end_of_an_interval_leaves_its_share_outside_at_every_period_ahead(name: str, level: float) -> None:
    found = intervals.calibrate(errors(3000, 6, seed=1), np.ones((3000, 6)))
    assert found is not None
    later = errors(40_000, 6, seed=2)
    below = (later <= found.offsets(level, 6)).mean(axis=0)
    assert np.abs(below - level).max() < 0.02, name


def test_split_conformal_covers_at_least_what_it_promises_for_few_errors() -> None:
    covered = []
    for seed in range(300):
        found = intervals.calibrate(errors(60, 1, seed=seed), np.ones((60, 1)))
        assert found is not None
        later = errors(400, 1, seed=10_000 + seed)
        covered.append(((later >= found.offsets(0.1, 1)) & (later <= found.offsets(0.9, 1))).mean())
    assert 0.80 <= np.mean(covered) <= 0.84


def test_quantiles_are_those_of_a_naive_reference() -> None:
    table = errors(800, 1, seed=5)
    found = intervals.calibrate(table, np.ones(table.shape))
    assert found is not None
    ordered = np.sort(table[:, 0])
    for level in (0.5, 0.9, 0.975):
        place = int(np.ceil(level * 801)) - 1
        assert found.offsets(level, 1)[0] == pytest.approx(ordered[place])


def test_spread_never_falls_with_the_horizon_and_grows_where_nothing_was_tried() -> None:
    table = np.random.default_rng(3).normal(size=(500, 8)) * np.array([1, 3, 2, 2.5, 4, 1, 1, 1])
    table[:, 5:] = np.nan
    found = intervals.calibrate(table, np.ones((500, 8)))
    assert found is not None
    assert (np.diff(found.spread) >= 0).all()
    assert found.spread[7] == pytest.approx(found.spread[4] * np.sqrt(8 / 5))


def test_errors_without_weight_do_not_widen_intervals() -> None:
    table = errors(500, 2, seed=6)
    spoiled, counts = table.copy(), np.ones((500, 2))
    spoiled[:50], counts[:50] = 1e6, 0.0
    found, clean = intervals.calibrate(spoiled, counts), intervals.calibrate(table[50:], np.ones((450, 2)))
    assert found is not None and clean is not None
    assert found.offsets(0.975, 2) == pytest.approx(clean.offsets(0.975, 2))


def test_too_few_errors_give_no_interval() -> None:
    assert intervals.calibrate(np.ones((3, 13)), np.ones((3, 13))) is None


def test_levels_lie_between_0_and_1() -> None:
    with pytest.raises(UsageError, match="quantiles holds 1; give levels above 0 and below 1"):
        intervals.check_levels((1,))


def test_intervals_of_forecasts_cover_made_up_demand_out_of_sample() -> None:
    random = np.random.default_rng(8)
    count, length, horizon = 300, 60, 6
    level = random.gamma(5, 40, count)[:, None]
    walk = np.cumsum(random.normal(0, 0.04, (count, length + horizon)), axis=1)
    values = level * np.exp(walk + random.normal(0, 0.08, walk.shape))
    table = pd.DataFrame(
        {
            "series_id": np.repeat([f"s{n:03d}" for n in range(count)], length),
            "period": np.tile(pd.date_range("2020-01-01", periods=length, freq="MS"), count),
            "quantity": values[:, :length].ravel(),
        }
    )
    found = demand.forecast(table, horizon=horizon, methods=["theta", "smoothing"], quantiles=(0.9,))
    actual = values[:, length:].ravel()
    for level_in_percent, tolerance in ((80, 0.04), (95, 0.025)):
        inside = (actual >= found[f"low_{level_in_percent}"]) & (actual <= found[f"high_{level_in_percent}"])
        assert inside.mean() == pytest.approx(level_in_percent / 100, abs=tolerance)
    assert (actual <= found["q_0.9"]).mean() == pytest.approx(0.9, abs=0.03)


@pytest.mark.real_data
def test_m3_monthly_80_and_95_percent_intervals_of_theta_cover_800_and_950_of_1000(real_data: Path) -> None:
    from crmlib.samples import public

    table = public.forecasting_competition("M3")
    table = table[table["unique_id"].between("N1402", "N2829")].sort_values(["unique_id", "t"], ignore_index=True)
    dates = pd.date_range("1960-01-01", periods=200, freq="MS")
    table["period"] = dates[table.groupby("unique_id").cumcount()]
    table = table.rename(columns={"unique_id": "series_id", "y": "quantity"})
    found = demand.forecast(table[~table["is_test"]], horizon=18, methods=["theta", "seasonal_naive"])
    actual = table.loc[table["is_test"], "quantity"].to_numpy()
    for level, tolerance in ((80, 0.02), (95, 0.01)):
        inside = (actual >= found[f"low_{level}"]) & (actual <= found[f"high_{level}"])
        assert inside.mean() == pytest.approx(level / 100, abs=tolerance)
