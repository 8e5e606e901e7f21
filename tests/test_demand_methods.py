"""The statistical methods of demand: naive references, what they must survive, and the published figures of M1 and M3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import intermittent, metrics, naive, seasonal, smoothing, theta
from crmlib.samples import public

Array = NDArray[np.float64]
SEASON = {12: 18, 4: 8, 1: 6}

SEASONAL: dict[str, Callable[..., Array]] = {
    "naive_seasonal": naive.seasonal,
    "naive2": naive.naive2,
    "theta": theta.dynamic_optimised,
    "smoothing": smoothing.exponential,
    "automatic": smoothing.automatic,
}
PLAIN: dict[str, Callable[..., Array]] = {
    "last": naive.last,
    "croston": intermittent.croston,
    "sba": intermittent.sba,
    "tsb": intermittent.tsb,
}
ALL: dict[str, Callable[..., Array]] = {**{k: partial(v, season=4) for k, v in SEASONAL.items()}, **PLAIN}


def _panel(lengths: list[int], *, season: int = 4, seed: int = 1) -> Array:
    """Some positive series with level, trend and season, right-aligned."""
    rng = np.random.default_rng(seed)
    out = np.full((len(lengths), max(lengths)), np.nan)
    for k, size in enumerate(lengths):
        t = np.arange(size)
        wave = 1 + 0.3 * np.sin(2 * np.pi * t / season)
        out[k, out.shape[1] - size :] = (50 + rng.normal(0, 0.5) * t) * wave + rng.normal(0, 2, size)
    return out


# ---- every method


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "history",
    [
        [[7.0]],
        [[7.0, 9.0]],
        [[7.0, 9.0, 8.0]],
        [[5.0] * 40],
        [[0.0] * 40],
        [[0.0] * 39 + [3.0]],
        [[3.0] + [0.0] * 39],
        [[1e-9] * 20 + [2e-9] * 20],
        [[1e12, 3e12] * 20],
        [[np.nan] * 39 + [1.0], [4.0] * 40, [np.nan] * 37 + [1.0, 0.0, 2.0]],
    ],
)
def test_a_method_survives_short_constant_zero_and_extreme_series(name: str, history: list[list[float]]) -> None:
    array = np.array(history)
    out = ALL[name](array, horizon=6)
    assert out.shape == (len(array), 6)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 12 * np.nanmax(np.abs(array)) + 1e-12
    for row, values in zip(out, array, strict=True):
        known = values[~np.isnan(values)]
        if np.ptp(known) == 0 and name != "sba":  # which takes alpha / 2 off, bias or not
            assert row == pytest.approx(np.full(6, known[0]), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_season_longer_than_the_series_is_no_season(name: str) -> None:
    out = SEASONAL[name](_panel([10, 3]), season=52, horizon=60) if name in SEASONAL else None
    if out is None:
        out = PLAIN[name](_panel([10, 3]), horizon=60)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("name", ALL)
@given(
    factor=st.floats(1e-6, 1e9), lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 50)
)
@settings(max_examples=8, deadline=None)
def test_a_forecast_is_in_the_unit_of_the_series(name: str, factor: float, lengths: list[int], seed: int) -> None:
    history = _panel(lengths, seed=seed)
    plain, scaled = ALL[name](history, horizon=5), ALL[name](history * factor, horizon=5)
    assert scaled == pytest.approx(plain * factor, rel=1e-5)


@pytest.mark.parametrize("name", ALL)
@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=7), seed=st.integers(0, 50), data=st.data())
@settings(max_examples=8, deadline=None)
def test_a_forecast_depends_on_its_own_series_only(name: str, lengths: list[int], seed: int, data: Any) -> None:
    history = _panel(lengths, seed=seed)
    whole = ALL[name](history, horizon=5)
    order = data.draw(st.permutations(range(len(lengths))))
    assert ALL[name](history[order], horizon=5) == pytest.approx(whole[order], rel=1e-9)
    row = history[:1, history.shape[1] - lengths[0] :]
    assert ALL[name](row, horizon=5) == pytest.approx(whole[:1], rel=1e-9)
    padded = np.pad(history, ((0, 0), (7, 0)), constant_values=np.nan)
    assert ALL[name](padded, horizon=5) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_method_leaves_its_input_alone_and_takes_a_longer_horizon_as_a_continuation(name: str) -> None:
    history = _panel([30, 40, 8])
    before = history.copy()
    long = ALL[name](history, horizon=9)
    assert np.array_equal(history, before, equal_nan=True)
    assert ALL[name](history, horizon=4) == pytest.approx(long[:, :4], rel=1e-12)


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([1.0, 2.0], "1 dimensions; give series × time"),
        ([[]], r"shape \(1, 0\)"),
        ([[1.0, 2.0], [1.0, np.inf]], "row 1 has a value that is not finite"),
        ([[1.0, np.nan, 2.0]], "row 0 has a gap behind its first value"),
        ([[1.0, 2.0, np.nan]], "row 0 has a gap behind its first value"),
        ([[1.0, 2.0], [np.nan, np.nan]], "row 1 has no value at all"),
    ],
)
def test_arrays_that_cannot_be_forecast_are_refused(history: Any, found: str) -> None:
    for method in ALL.values():
        with pytest.raises(DataError, match=found):
            method(history, horizon=2)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_a_horizon_or_season_that_is_no_number_of_periods_is_refused(wrong: Any) -> None:
    for method in ALL.values():
        with pytest.raises(UsageError, match=r"horizon is .*; give a whole number of periods, 1 or more"):
            method([[1.0, 2.0]], horizon=wrong)
    for method in SEASONAL.values():
        with pytest.raises(UsageError, match=r"season is .*; give a whole number of periods, 1 or more"):
            method([[1.0, 2.0]], season=wrong, horizon=1)


def test_a_long_daily_or_hourly_panel_is_followed() -> None:
    rng = np.random.default_rng(3)
    for season, size in ((7, 1100), (24, 700)):
        t = np.arange(size + 14)
        truth = 100 * (1 + 0.4 * np.sin(2 * np.pi * t / season)) + rng.normal(0, 4, (20, size + 14))
        for name in ("theta", "smoothing"):
            out = SEASONAL[name](truth[:, :-14], season=season, horizon=14)
            assert metrics.wape(truth[:, -14:], out) < 0.05


# ---- seasons


def _one_by_one(values: Array, season: int) -> Array:
    """Classical multiplicative decomposition of one series, written out: factors by place, 0 the first period ahead."""
    n, half = len(values), season // 2
    ratios: list[list[float]] = [[] for _ in range(season)]
    for t in range(half, n - half):
        if season % 2:
            trend = values[t - half : t + half + 1].mean()
        else:
            inner = values[t - half + 1 : t + half].sum()
            trend = (inner + 0.5 * values[t - half] + 0.5 * values[t + half]) / season
        ratios[(t - n) % season].append(values[t] / trend)
    means = np.array([np.mean(ratio) for ratio in ratios])
    return means / means.mean()


@pytest.mark.parametrize("season", [4, 7, 12])
def test_factors_equal_a_decomposition_written_out(season: int) -> None:
    history = _panel([5 * season, 4 * season + 3, 7 * season - 1], season=season)
    found = seasonal.deseasonalise(history, season=season)
    assert found.found.all()
    assert found.multiplicative.all()
    for row, factors in zip(history, found.factors, strict=True):
        assert factors == pytest.approx(_one_by_one(row[~np.isnan(row)], season))
    assert found.factors.mean(axis=1) == pytest.approx(1.0)


def test_a_season_around_zero_is_added_and_not_multiplied() -> None:
    t = np.arange(48)
    found = seasonal.deseasonalise([np.tile([-3.0, 1.0, 0.0, 2.0], 12) + 0.01 * t], season=4)
    assert found.found.all()
    assert not found.multiplicative.any()
    assert found.factors[0] == pytest.approx([-3.0, 1.0, 0.0, 2.0], abs=0.02)
    assert found.restore(np.full((1, 6), 0.5))[0] == pytest.approx([-2.5, 1.5, 0.5, 2.5, -2.5, 1.5], abs=0.02)


def test_no_season_is_found_in_noise_more_often_than_the_test_allows() -> None:
    noise = np.random.default_rng(5).normal(100, 10, (4000, 60))
    assert 0.01 < seasonal.seasonal(noise, season=12).mean() < 0.1


def test_a_series_shorter_than_three_seasons_has_none() -> None:
    history = np.tile([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], (2, 3))
    history[1, 0] = np.nan
    assert seasonal.seasonal(history, season=12).tolist() == [True, False]
    found = seasonal.deseasonalise(history, season=12)
    assert np.array_equal(found.adjusted[1], history[1], equal_nan=True)


def _waves(years: int, *, noise: float, seed: int = 1) -> Array:
    """Weekly series with a wave of the year, 300 of them."""
    rng = np.random.default_rng(seed)
    t = np.arange(52 * years + 13)
    wave = np.exp(0.3 * np.sin(2 * np.pi * (t + 9) / 52))
    return 100 * wave * np.exp(rng.normal(0, noise, (300, len(t))))


def test_a_yearly_wave_is_found_in_three_years_of_weeks_and_helps() -> None:
    values = _waves(3, noise=0.15)
    history, actual = values[:, :-13], values[:, -13:]
    assert seasonal.seasonal(history, season=52).mean() < 0.05  # the test of short seasons cannot see it
    found = seasonal.deseasonalise(history, season=52)
    assert found.found.mean() > 0.95
    truth = np.exp(0.3 * np.sin(2 * np.pi * (np.arange(52) + 52 * 3 + 9) / 52))
    assert found.factors.mean(axis=0) == pytest.approx(truth / truth.mean(), abs=0.03)
    with_wave, without = (
        metrics.wape(actual, theta.dynamic_optimised(history, season=season, horizon=13)) for season in (52, 1)
    )
    assert with_wave < 0.9 * without  # most of what is left is noise


def test_noise_has_a_yearly_wave_no_more_often_than_the_test_allows() -> None:
    noise = np.random.default_rng(3).normal(100, 10, (2000, 156))
    assert seasonal.deseasonalise(noise, season=52).found.mean() == pytest.approx(0.1, abs=0.035)


def test_a_wave_of_values_around_zero_is_added_and_of_a_short_series_not_looked_for() -> None:
    t = np.arange(130)
    history = np.stack([5 * np.sin(2 * np.pi * t / 52), np.where(t < 30, np.nan, 5 * np.sin(2 * np.pi * t / 52))])
    found = seasonal.deseasonalise(history, season=52)
    assert found.found.tolist() == [True, False]
    assert not found.multiplicative[0]
    assert np.abs(found.adjusted[0]).max() < 0.05


@given(lengths=st.lists(st.integers(12, 60), min_size=1, max_size=5), seed=st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_adjusting_and_restoring_are_inverse(lengths: list[int], seed: int) -> None:
    history = _panel(lengths, seed=seed) - 30 * (seed % 3)
    found = seasonal.deseasonalise(history, season=4)
    shortest = min(lengths)
    turn = shortest // 4 * 4  # the last whole seasons: their first period has the place of the first one ahead
    if turn:
        assert found.restore(found.adjusted[:, -turn:]) == pytest.approx(history[:, -turn:], rel=1e-9, abs=1e-9)


# ---- Theta


def _theta_loss(settings: Any, values: Array) -> tuple[float, list[float], tuple[float, float, float, float]]:
    """Equations of the dynamic optimised Theta model, one series, one number after the other."""
    alpha, start, share = settings
    n = len(values)
    level = alpha * values[0] + (1 - alpha) * start
    told: list[float] = [values[0]]
    for i in range(1, n):
        t = np.arange(i)
        slope = np.polyfit(t, values[:i], 1)[0] if i > 1 else 0.0
        intercept = values[:i].mean() - slope * (i + 1) / 2
        trend = (1 - alpha) ** i * intercept + (1 - (1 - alpha) ** (i + 1)) / alpha * slope
        told.append(level + share * trend)
        level = alpha * values[i] + (1 - alpha) * level
    errors = values - told
    t = np.arange(n)
    slope = np.polyfit(t, values, 1)[0]
    return float((errors[3:] ** 2).sum()), told, (level, values.mean(), values.mean() - slope * (n + 1) / 2, slope)


def test_theta_equals_the_equations_of_fiorucci_2016_optimised_one_series_at_a_time() -> None:
    history = _panel([40, 25, 33], season=1, seed=8)
    out = theta.dynamic_optimised(history, season=1, horizon=1)
    for row, forecast in zip(history, out, strict=True):
        values = row[~np.isnan(row)]
        size = np.abs(values).mean()
        best = min(
            (
                optimize.minimize(
                    lambda p: _theta_loss(p, values)[0],  # noqa: B023
                    [alpha, values[0], 0.5],
                    method="L-BFGS-B",
                    bounds=[(0.1, 0.99), (None, None), (0, 1)],
                )
                for alpha in (0.15, 0.4, 0.7)
            ),
            key=lambda found: found.fun,
        )
        alpha, _, share = best.x
        level, _, intercept, slope = _theta_loss(best.x, values)[2]
        n = len(values)
        trend = (1 - alpha) ** n * intercept + (1 - (1 - alpha) ** (n + 1)) / alpha * slope
        assert forecast[0] == pytest.approx(level + share * trend, abs=0.01 * size)


def test_theta_follows_a_line_exactly_and_a_level_without_a_slope() -> None:
    line = np.arange(40.0) * 3 + 10
    out = theta.dynamic_optimised([line, np.full(40, 8.0)], season=1, horizon=3)
    assert out[0] == pytest.approx([130, 133, 136], rel=0.01)
    assert out[1] == pytest.approx([8, 8, 8])


# ---- smoothing


def _smooth(values: Array, settings: Any) -> tuple[float, float, float]:
    """Squared errors of damped-trend smoothing and its final level and trend, written out."""
    alpha, beta, phi, level, trend = settings
    loss = 0.0
    for value in values:
        error = value - level - phi * trend
        level, trend = level + phi * trend + alpha * error, phi * trend + alpha * beta * error
        loss += error**2
    return loss, level, trend


@pytest.mark.parametrize("kind", range(3))
def test_smoothing_is_as_good_as_a_general_optimiser_on_each_series(kind: int) -> None:
    history = _panel([40, 28, 55], season=1, seed=4)
    found = smoothing.fit(history, season=1)
    for row in range(3):
        values = history[row][~np.isnan(history[row])]

        def loss(free: Any, values: Array = values) -> float:
            trend = free[4] if kind else 0.0
            return _smooth(values, (free[0], free[1] if kind else 0.0, free[2] if kind == 2 else 1.0, free[3], trend))[
                0
            ]

        least = min(
            optimize.minimize(
                loss,
                [a, b, p, values[0], 0.0],
                method="L-BFGS-B",
                bounds=[(0.001, 0.999), (0.001, 0.999), (0.8, 0.98), (None, None), (None, None)],
            ).fun
            for a in (0.05, 0.3, 0.8)
            for b in (0.02, 0.4)
            for p in (0.82, 0.95)
        )
        size = len(values)
        free = (1, 2, 3)[kind] + (1, 2, 2)[kind] + 1
        penalty = 2 * free + 2 * free * (free + 1) / (size - free - 1)
        ours = size * np.exp((found.aicc[kind, row] - penalty) / size) * np.abs(values).mean() ** 2
        assert ours <= least * 1.003


def test_smoothing_chooses_the_kind_that_made_the_series() -> None:
    rng = np.random.default_rng(2)
    t = np.arange(120)
    level = 100 + rng.normal(0, 5, (40, 120))
    trend = 100 + 4 * t + rng.normal(0, 5, (40, 120))
    chosen = smoothing.fit(np.concatenate([level, trend]), season=1).chosen
    assert (chosen[:40] == 0).mean() > 0.8
    assert (chosen[40:] == 1).mean() > 0.8


def test_the_mean_of_the_kinds_leaves_out_those_a_series_is_too_short_for() -> None:
    found = smoothing.fit([[1.0, 3.0, 2.0, 5.0]], season=1)
    assert np.isfinite(found.aicc[:, 0]).tolist() == [False, False, False]
    assert smoothing.exponential([[1.0, 3.0, 2.0, 5.0]], season=1, horizon=2)[0] == pytest.approx(found.paths(2)[0, 0])


# ---- intermittent demand


def _croston_one(values: list[float], alpha: float) -> float:
    """Croston's method, one series, as in the paper."""
    size = interval = 0.0
    since = 0
    for value in values:
        since += 1
        if value > 0:
            if size == 0:
                size, interval = value, since
            else:
                size, interval = size + alpha * (value - size), interval + alpha * (since - interval)
            since = 0
    return size / interval if size else 0.0


@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 4.0, 9.0]), min_size=1, max_size=40),
    st.sampled_from([0.05, 0.1, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_croston_and_sba_equal_the_method_written_out(values: list[float], alpha: float) -> None:
    expected = _croston_one(values, alpha)
    assert intermittent.croston([values], horizon=1, alpha=alpha)[0, 0] == pytest.approx(expected)
    assert intermittent.sba([values], horizon=1, alpha=alpha)[0, 0] == pytest.approx(expected * (1 - alpha / 2))


def test_croston_is_biased_upwards_sba_hardly_as_syntetos_and_boylan_2005_found() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random((3000, 400)) < 0.25) * 8.0
    assert intermittent.croston(values, horizon=1, alpha=0.3).mean() > 2.0 * 1.1
    assert intermittent.sba(values, horizon=1, alpha=0.3).mean() == pytest.approx(2.0, rel=0.06)
    assert intermittent.tsb(values, horizon=1, alpha=0.1, beta=0.1).mean() == pytest.approx(2.0, rel=0.02)


def test_dying_demand_dies_with_tsb_and_not_with_croston() -> None:
    values = [[5.0, 0.0] * 20 + [0.0] * 40]
    assert intermittent.croston(values, horizon=1, alpha=0.1)[0, 0] == pytest.approx(2.5, rel=0.1)
    assert intermittent.tsb(values, horizon=1, alpha=0.1, beta=0.1)[0, 0] < 0.1


def test_intermittent_methods_choose_their_smoothing_and_refuse_what_they_cannot_use() -> None:
    rng = np.random.default_rng(6)
    steady = (rng.random((50, 300)) < 0.3) * rng.poisson(6, (50, 300)).astype(float)
    for method in (intermittent.croston, intermittent.sba, intermittent.tsb):
        chosen = method(steady, horizon=1)
        assert np.abs(chosen - 1.8).mean() < np.abs(method(steady, horizon=1, alpha=0.3) - 1.8).mean()
        with pytest.raises(DataError, match=r"row 1 goes below 0 \(-2\); .* book returns apart"):
            method([[1.0, 0.0], [1.0, -2.0]], horizon=1)
        with pytest.raises(UsageError, match="alpha is 0; give a share above 0 and at most 1"):
            method([[1.0, 0.0]], horizon=1, alpha=0)


# ---- measures


def test_measures_by_hand() -> None:
    actual, forecast = np.array([[10.0, 20.0], [0.0, 5.0]]), np.array([[12.0, 20.0], [0.0, 0.0]])
    assert metrics.smape(actual, forecast) == pytest.approx([200 * 2 / 22 / 2, 100])
    history = [[1.0, 2.0, 4.0], [np.nan, 5.0, 5.0]]
    assert metrics.mase(actual, forecast, history)[0] == pytest.approx(1 / 1.5)
    assert np.isnan(metrics.mase(actual, forecast, history)[1])
    assert metrics.wape(actual, forecast) == pytest.approx(7 / 35)
    assert metrics.bias(actual, forecast) == pytest.approx(-3 / 35)
    assert metrics.pinball(actual, forecast, level=0.9) == pytest.approx((0.1 * 2 + 0.9 * 5) / 4)
    assert metrics.coverage(actual, forecast - 2, forecast + 2) == pytest.approx(0.75)
    assert np.isnan(metrics.wape([0.0], [1.0]))
    assert np.isnan(metrics.coverage([1.0], [np.nan], [np.nan]))


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_pinball_loss_is_least_at_the_true_quantile(seed: int, level: float) -> None:
    values = np.random.default_rng(seed).normal(0, 1, 400)
    best = np.quantile(values, level)
    losses = [metrics.pinball(values, np.full(400, best + shift), level=level) for shift in (-0.3, 0.0, 0.3)]
    assert losses[1] == min(losses)


def test_a_period_without_weight_counts_nowhere() -> None:
    actual, forecast, weight = [10.0, np.nan, 50.0], [8.0, 3.0, 1.0], [1.0, 0.0, 0.0]
    assert metrics.wape(actual, forecast, weight) == pytest.approx(0.2)
    assert metrics.bias(actual, forecast, weight) == pytest.approx(-0.2)
    assert metrics.pinball(actual, forecast, level=0.5, weight=weight) == pytest.approx(1.0)
    assert metrics.coverage(actual, [9.0, 0.0, 0.0], [11.0, 9.0, 0.0], weight=weight) == 1.0


def test_measures_refuse_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"actual has the shape \(2,\) and forecast \(3,\)"):
        metrics.wape([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="weight holds values below 0 or none"):
        metrics.wape([1.0], [1.0], [-1.0])
    with pytest.raises(DataError, match="history has 1 series and actual 2"):
        metrics.mase([[1.0], [2.0]], [[1.0], [2.0]], [[1.0, 2.0]])
    with pytest.raises(UsageError, match=r"level is 1; give the level of the quantile"):
        metrics.pinball([1.0], [1.0], level=1)
    with pytest.raises(UsageError, match=r"naive_mase is 0.0; it has to be above 0"):
        metrics.owa(1.0, 1.0, naive_smape=1.0, naive_mase=0.0)


# ---- published figures


def _competition(name: str, season: int, rest: Callable[[Any], Any]) -> tuple[Array, Array]:
    """History (right-aligned) and test part of the series of one frequency, told apart by their lengths of test."""
    table = rest(public.forecasting_competition(name))
    test = table[table["is_test"]]
    history = table[~table["is_test"]].groupby("unique_id")["y"]
    sizes = history.size()
    out = np.full((len(sizes), sizes.max()), np.nan)
    for k, (_, values) in enumerate(history):
        out[k, out.shape[1] - len(values) :] = values
    horizon = SEASON[season]
    return out, test["y"].to_numpy(dtype=float).reshape(-1, horizon)


def _of_horizon(horizon: int, prefix: str = "") -> Callable[[Any], Any]:
    def rest(table: Any) -> Any:
        sizes = table.groupby("unique_id")["is_test"].transform("sum")
        return table[(sizes == horizon) & table["unique_id"].str.startswith(prefix)]

    return rest


def _scores(history: Array, actual: Array, forecast: Array, season: int) -> tuple[float, float]:
    return metrics.smape(actual, forecast).mean(), float(
        np.nanmean(metrics.mase(actual, forecast, history, season=season))
    )


def test_naive_on_m3_yearly_makes_the_published_smape_of_17_88_of_makridakis_hibon_2000_table_13(
    real_data: Any,
) -> None:
    history, actual = _competition("M3", 1, _of_horizon(6))
    assert len(history) == 645
    assert _scores(history, actual, naive.naive2(history, season=1, horizon=6), 1)[0] == pytest.approx(17.88, abs=0.005)


def test_theta_on_m3_monthly_makes_the_figures_of_the_reference_program_and_beats_the_published_theta(
    real_data: Any,
) -> None:
    history, actual = _competition("M3", 12, _of_horizon(18))
    assert len(history) == 1428
    bar = _scores(history, actual, naive.naive2(history, season=12, horizon=18), 12)
    assert bar == pytest.approx((16.76, 1.038), abs=0.005)
    smape, mase = _scores(history, actual, theta.dynamic_optimised(history, season=12, horizon=18), 12)
    assert smape == pytest.approx(13.73, abs=0.02)
    assert mase == pytest.approx(0.850, abs=0.002)
    assert metrics.owa(smape, mase, naive_smape=bar[0], naive_mase=bar[1]) == pytest.approx(0.819, abs=0.002)
    smooth = smoothing.exponential(history, season=12, horizon=18)
    assert _scores(history, actual, smooth, 12)[0] < 14.16
