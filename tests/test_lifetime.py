"""Buy-till-you-die models against published figures, naive references and planted truth; what bad input gets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import beta as beta_function
from scipy.special import gammaln

from crmlib.errors import DataError, UsageError
from crmlib.models.lifetime import bgbb, bgnbd, gammagamma, inputs, maximum, paretonbd, transactions
from crmlib.samples import public

# Donations of 11,104 supporters acquired in 1995: repeat donations, year of the last, customers (Fader, Hardie & Shang
# 2010, Table 1; six yearly appeals).
DONATIONS = np.array(
    [(0, 0, 3464), (1, 1, 1091), (1, 2, 277), (1, 3, 129), (1, 4, 78), (1, 5, 119), (1, 6, 129), (2, 2, 613)]  # noqa: RUF005
    + [(2, 3, 255), (2, 4, 155), (2, 5, 173), (2, 6, 234), (3, 3, 322), (3, 4, 181), (3, 5, 225), (3, 6, 357)]
    + [(4, 4, 240), (4, 5, 284), (4, 6, 512), (5, 5, 335), (5, 6, 728), (6, 6, 1203)]
)
NOWHERE = maximum.Maximum(np.ones(4), 0.0, 0.0, np.eye(4), 1, ())
"""For models that are given, not fitted."""
CDNOW_UNTIL = "1997-09-30"


@pytest.fixture(scope="module")
def donors() -> tuple[np.ndarray, ...]:
    x, last, size = (DONATIONS[:, k] for k in range(3))
    return np.repeat(x, size), np.repeat(last, size), np.full(size.sum(), 6)


@pytest.fixture(scope="module")
def cdnow_rows() -> pd.DataFrame:
    import os

    folder = os.environ.get("CRM_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CRM_REAL_DATA names no folder of real data")
    table = public.cdnow("sample")
    return pd.DataFrame(
        {
            "customer_id": table["users_id"].astype(str).str.zfill(5),
            "occurred_at": table["date"],
            "amount_minor": (table["amt"] * 100).round().astype(np.int64),
        }
    )


@pytest.fixture(scope="module")
def cdnow(cdnow_rows: pd.DataFrame) -> pd.DataFrame:
    return transactions.counts(cdnow_rows, until=CDNOW_UNTIL)


def of(table: pd.DataFrame) -> tuple[np.ndarray, ...]:
    return tuple(table[name].to_numpy(float) for name in ("frequency", "recency", "age"))


# ---------------------------------------------------------------- published figures


@pytest.mark.real_data
def test_cdnow_counts_are_those_of_the_published_summary(cdnow: pd.DataFrame) -> None:
    assert len(cdnow) == 2357 and (cdnow["frequency"] > 0).sum() == 946
    first = cdnow.iloc[0]
    assert (first["frequency"], round(first["recency"], 2), round(first["age"], 2)) == (2, 30.43, 38.86)
    assert first["mean_value_minor"] == pytest.approx(2235, abs=1)


@pytest.mark.real_data
def test_bgnbd_fader_hardie_lee_2005_table_2_cdnow(cdnow: pd.DataFrame) -> None:
    found = bgnbd.fit(*of(cdnow))
    assert found.parameters.round(3).tolist() == pytest.approx([0.243, 4.414, 0.793, 2.426], abs=0.0006)
    assert found.optimum.log_likelihood == pytest.approx(-9582.4, abs=0.05)
    assert found.optimum.gradient < 1e-9 and found.optimum.edge == () and found.optimum.customers == 2357
    # Their spreadsheet: a customer with x = 2, t_x = 30.43, T = 38.86 over 39 weeks, and new customers.
    assert found.expected(39, [2], [30.43], [38.86])[0] == pytest.approx(1.226, abs=0.001)
    new = [found.expected_new(t) for t in (0.1429, 1.0, 3.0, 31.8571, 32.0, 78.0)]
    assert new == pytest.approx([0.0078, 0.0532, 0.1506, 1.0405, 1.0437, 1.8576], abs=0.001)


@pytest.mark.real_data
def test_pareto_nbd_fader_hardie_lee_2005_table_2_cdnow(cdnow: pd.DataFrame) -> None:
    x, last, age = of(cdnow)
    found = paretonbd.fit(x, last, age)
    published = np.array([0.553, 10.578, 0.606, 11.669])
    assert found.parameters == pytest.approx(published, abs=0.0006)
    assert found.optimum.log_likelihood == pytest.approx(-9595.0, abs=0.05)
    assert found.optimum.log_likelihood >= paretonbd.likelihood(published, (x, last, age))[0].sum()
    # The walkthrough of the R package BTYD: a customer with x = 26, t_x = 30.86, T = 31 over a year.
    assert found.expected(52, [26], [30.86], [31])[0] == pytest.approx(25.46, abs=0.01)


@pytest.mark.real_data
def test_gamma_gamma_fader_hardie_2013_note_025_cdnow(cdnow: pd.DataFrame) -> None:
    some = cdnow[cdnow["frequency"] > 0]
    found = gammagamma.fit(some["frequency"], some["mean_value_minor"] / 100)
    assert found.parameters.round(2).tolist() == [6.25, 3.74, 15.44]  # published to two decimals
    assert found.optimum.log_likelihood == pytest.approx(-4055.92, abs=0.05)
    assert abs(found.correlation) < 0.15
    values = found.expected_value(cdnow["frequency"][:10], (cdnow["mean_value_minor"] / 100).fillna(0)[:10])
    published = [24.65, 18.91, 35.17, 35.17, 35.17, 71.46, 18.91, 35.17, 27.28, 35.17]
    assert values == pytest.approx(published, abs=0.1)


def test_bgbb_fader_hardie_shang_2010_tables_3_and_6_donations(donors: tuple[np.ndarray, ...]) -> None:
    found = bgbb.fit(*donors)
    assert found.parameters.round(3).tolist() == [1.204, 0.750, 0.657, 2.783]
    assert found.optimum.log_likelihood == pytest.approx(-33225.6, abs=0.05)
    # Table 6, P(alive in 2002): x = 0; x = 2 with the last donation in 1999; x = 6.
    alive = found.alive([0, 2, 6], [0, 4, 6], [6, 6, 6], ahead=1)
    assert alive.round(2).tolist() == [0.11, 0.59, 0.93]
    # Their spreadsheet: donations expected of all in 2002-2006; those of a new cohort.
    assert found.expected(5, *donors).sum() == pytest.approx(12884.2, abs=0.05)
    # The manual of the R package BTYD.
    assert found.expected(10, [0, 4], [0, 5], [6, 6]) == pytest.approx([0.1302169, 3.627858], abs=0.0002)


# ---------------------------------------------------------------- naive references


def test_bgnbd_likelihood_is_that_of_the_paper_written_out() -> None:
    r, alpha, a, b = 0.4, 3.0, 0.7, 2.0
    for x, last, age in ((0, 0.0, 20.0), (1, 5.0, 20.0), (7, 18.0, 20.0)):
        common = math.exp(gammaln(r + x) - gammaln(r)) * alpha**r
        there = beta_function(a, b + x) / beta_function(a, b) / (alpha + age) ** (r + x)
        gone = beta_function(a + 1, b + x - 1) / beta_function(a, b) / (alpha + last) ** (r + x) if x else 0.0
        rows = tuple(np.array([float(one)]) for one in (x, last, age))
        found = bgnbd.likelihood(np.array([r, alpha, a, b]), rows)[0][0]
        assert found == pytest.approx(math.log(common * (there + gone)), abs=1e-12)


def test_bgnbd_expectation_is_the_mean_over_rates_and_chances_of_stopping() -> None:
    cases = [
        (0.4, 3.0, 0.7, 2.0),
        (0.4, 3.0, 1.0, 2.0),
        (1.5, 20.0, 2.5, 0.4),
        (0.5, 1.0, 0.5, 1.5),
        (3.0, 80.0, 0.05, 6.0),
    ]
    for r, alpha, a, b in cases:
        model = bgnbd.Fitted(r, alpha, a, b, NOWHERE)
        for x, age, t in ((0, 20.0, 10.0), (1, 20.0, 300.0), (7, 20.0, 50.0), (200, 90.0, 50.0)):

            def part(
                v: float, k: float = r + x, grows: float = t / (alpha + age), b1: float = b + x, a1: float = a
            ) -> float:
                p = v ** (1 / a1)  # takes the pole of the density away
                gone = -math.expm1(-k * math.log1p(p * grows)) / p if p > 1e-200 else k * grows
                return gone * (1 - p) ** (b1 - 1) / a1 / beta_function(a1, b1)

            mean = sum(
                integrate.quad(part, low, high, limit=500, epsrel=1e-10)[0]
                for low, high in ((0.0, 1e-3), (1e-3, 0.1), (0.1, 0.9), (0.9, 1.0))
            )
            found = (
                model.expected(t, [x], [age if x else 0.0], [age])[0] / model.alive([x], [age if x else 0.0], [age])[0]
            )
            assert found == pytest.approx(mean, rel=1e-5)


def test_pareto_nbd_likelihood_is_the_integral_over_the_time_of_stopping() -> None:
    for r, alpha, s, beta in ((0.5, 10.0, 0.6, 12.0), (2.0, 30.0, 1.0, 3.0), (0.3, 0.5, 3.0, 60.0)):
        for x, last, age in ((0, 0.0, 39.0), (3, 12.0, 39.0), (60, 38.0, 39.0)):
            whole = (alpha + age) ** -(r + x) * (beta + age) ** -s
            area = integrate.quad(
                lambda u, r=r, x=x, s=s, alpha=alpha, beta=beta: (alpha + u) ** -(r + x) * (beta + u) ** -(s + 1),
                last,
                age,
                epsabs=0,
                epsrel=1e-11,
            )[0]
            expected = gammaln(r + x) - gammaln(r) + r * math.log(alpha) + s * math.log(beta)
            expected += math.log(whole + s * area)
            rows = tuple(np.array([float(one)]) for one in (x, last, age))
            found = paretonbd.likelihood(np.array([r, alpha, s, beta]), rows)[0][0]
            assert found == pytest.approx(expected, rel=1e-9)
            alive = paretonbd.Fitted(r, alpha, s, beta, NOWHERE).alive([x], [last], [age])[0]
            assert alive == pytest.approx(whole / (whole + s * area), rel=1e-9)


def test_pareto_nbd_survives_hundreds_of_purchases() -> None:
    model = paretonbd.Fitted(10.465, 7.98565181e-03, 3.0516, 2.820, NOWHERE)
    value = paretonbd.likelihood(
        model.parameters, tuple(np.array(k) for k in ([400.0, 500, 500], [5.0, 1, 4], [6.0, 37, 37]))
    )
    assert np.isfinite(value[0]).all() and np.isfinite(value[1]).all()


def test_bgbb_likelihood_is_the_sum_over_all_ways_to_stop() -> None:
    alpha, beta, gamma, delta = 1.2, 0.75, 0.66, 2.78
    for x, last, n in ((0, 0, 6), (2, 4, 6), (6, 6, 6)):
        total = 0.0
        for lived in range(last, n + 1):  # periods alive; n + 1 th: not stopped
            stop = beta_function(gamma + (lived < n), delta + lived) / beta_function(gamma, delta)
            total += beta_function(alpha + x, beta + lived - x) / beta_function(alpha, beta) * stop
        rows = tuple(np.array([float(one)]) for one in (x, last, n))
        found = bgbb.likelihood(np.array([alpha, beta, gamma, delta]), rows)[0][0]
        assert found == pytest.approx(math.log(total), abs=1e-12)


def test_bgbb_probabilities_of_all_histories_sum_to_one() -> None:
    parameters = np.array([1.2, 0.75, 0.66, 2.78])
    total = 0.0
    for last in range(6):
        for x in range(1 if last else 0, (last if last else 0) + 1):
            rows = tuple(np.array([float(one)]) for one in (x, last, 5))
            ways = math.comb(last - 1, x - 1) if last else 1
            total += ways * math.exp(bgbb.likelihood(parameters, rows)[0][0])
    assert total == pytest.approx(1, abs=1e-12)


def test_gamma_gamma_is_a_density_of_the_mean_value() -> None:
    def density(mean: float) -> float:
        rows = (np.array([3.0]), np.array([mean]))
        return float(np.exp(gammagamma.likelihood(np.array([6.25, 3.74, 15.44]), rows)[0][0]))

    assert integrate.quad(density, 0, np.inf, limit=200)[0] == pytest.approx(1, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    parameters=st.lists(st.floats(0.05, 20), min_size=4, max_size=4),
    x=st.integers(0, 80),
    part=st.floats(0.01, 1),
    age=st.floats(0.5, 100),
)
def test_slopes_are_those_of_the_likelihood(parameters: list[float], x: int, part: float, age: float) -> None:
    at = np.array(parameters)
    rows = tuple(np.array([one]) for one in (float(x), age * part if x else 0.0, age))
    money = (np.array([float(max(x, 1))]), np.array([age]))
    trials = (
        np.array([float(min(x, 9))]),
        np.array([float(max(min(x, 9), round(9 * part))) if x else 0.0]),
        np.array([9.0]),
    )
    cases: list[tuple[Any, np.ndarray, Any]] = [
        (bgnbd.likelihood, at, rows),
        (paretonbd.likelihood, at, rows),
        (bgbb.likelihood, at, trials),
        (gammagamma.likelihood, at[:3], money),
    ]
    for function, where, given_rows in cases:
        slope = function(where, given_rows)[1][:, 0]
        for number in range(len(where)):
            step = np.zeros(len(where))
            step[number] = 1e-6 * where[number]
            rise = function(where + step, given_rows)[0][0] - function(where - step, given_rows)[0][0]
            size = abs(function(where, given_rows)[0][0])
            assert slope[number] * 2 * step[number] == pytest.approx(rise, abs=1e-9 * (1 + size), rel=2e-3)


def test_bgnbd_expectation_is_smooth_where_the_published_formula_divides_by_zero() -> None:
    before, at, after = (
        bgnbd.Fitted(0.4, 3.0, a, 2.0, NOWHERE).expected(20, [3], [8], [10])[0] for a in (0.9999, 1.0, 1.0001)
    )
    assert before > at > after and before - after < 1e-3
    low, middle, high = (
        paretonbd.Fitted(0.4, 3.0, s, 9.0, NOWHERE).expected(20, [3], [8], [10])[0] for s in (0.9999, 1.0, 1.0001)
    )
    assert low > middle > high and low - high < 1e-3


# ---------------------------------------------------------------- collapse, recovery, simulation


def drawn_bgnbd(random: np.random.Generator, size: int, horizon: float = 26.0) -> tuple[np.ndarray, ...]:
    """Draw customers of a BG/NBD model (0.6, 6, 0.8, 2.5) one purchase at a time, weeks to the day, and their future."""
    rate, stop = random.gamma(0.6, 1 / 6, size), random.beta(0.8, 2.5, size)
    age = random.integers(26, 60, size).astype(float)
    x, last, later = np.zeros(size), np.zeros(size), np.zeros(size)
    clock, there = np.zeros(size), np.ones(size, dtype=bool)
    while there.any():
        clock = clock + random.exponential(size=size) / rate
        now, future = there & (clock <= age), there & (clock > age) & (clock <= age + horizon)
        x, last, later = x + now, np.where(now, clock, last), later + future
        there = (now | future) & (random.random(size) >= stop)
    return x, last, age, later


def test_planted_bgnbd_is_found_and_its_future_predicted() -> None:
    x, last, age, later = drawn_bgnbd(np.random.default_rng(3), 40_000)
    found = bgnbd.fit(x, last, age)
    error = np.sqrt(np.diag(found.optimum.covariance))
    assert (np.abs(np.log(found.parameters / [0.6, 6, 0.8, 2.5])) < 3.5 * error).all()
    assert found.expected(26, x, last, age).sum() == pytest.approx(later.sum(), rel=0.03)
    for low, high in ((0, 0), (1, 1), (2, 3), (4, 99)):
        some = (x >= low) & (x <= high)
        assert found.expected(26, x, last, age)[some].sum() == pytest.approx(later[some].sum(), rel=0.08)


def test_planted_pareto_nbd_is_found_and_p_alive_is_calibrated() -> None:
    random = np.random.default_rng(4)
    size = 30_000
    rate, stop = random.gamma(0.8, 1 / 8, size), random.gamma(0.9, 1 / 15, size)
    age = random.integers(20, 50, size).astype(float)
    life = random.exponential(size=size) / stop
    x = random.poisson(rate * np.minimum(life, age)).astype(float)
    last = np.where(x > 0, np.minimum(life, age) * random.random(size) ** (1 / np.maximum(x, 1)), 0.0)
    found = paretonbd.fit(x, last, age)
    error = np.sqrt(np.diag(found.optimum.covariance))
    assert (np.abs(np.log(found.parameters / [0.8, 8, 0.9, 15])) < 3.5 * error).all()
    alive, truth = found.alive(x, last, age), life > age
    for low, high in ((0, 0.3), (0.3, 0.6), (0.6, 0.85), (0.85, 1.01)):
        some = (alive >= low) & (alive < high)
        assert truth[some].mean() == pytest.approx(alive[some].mean(), abs=0.03)


def test_planted_gamma_gamma_is_found() -> None:
    random = np.random.default_rng(5)
    size = 20_000
    rate = random.gamma(4.0, 1 / 1500.0, size)  # minor units
    x = random.integers(1, 8, size)
    mean = random.gamma(6.0 * x) / rate / x
    found = gammagamma.fit(x, mean)
    assert found.parameters == pytest.approx([6.0, 4.0, 1500.0], rel=0.06)
    assert found.expected_value([0], [0])[0] == pytest.approx(6 * 1500 / 3, rel=0.03)
    # The more purchases are known, the less the others count.
    few, many = found.expected_value([1, 7], [9000, 9000])
    assert 3000 < few < many < 9000


@pytest.mark.parametrize("model", [bgnbd, paretonbd])
def test_collapsed_rows_give_the_fit_of_all_rows(model: Any) -> None:
    x, last, age, _ = drawn_bgnbd(np.random.default_rng(6), 500)
    age = np.ceil(age / 10) * 10
    last = np.minimum(np.where(x > 0, np.ceil(last), 0), age)
    (x1, last1, age1), weight, place = inputs.collapsed(x, last, age)
    assert len(weight) < 400 and weight.sum() == 500
    assert (x1[place] == x).all() and (last1[place] == last).all() and (age1[place] == age).all()
    one, two = model.fit(x, last, age), model.fit(np.tile(x, 3), np.tile(last, 3), np.tile(age, 3))
    assert one.expected(13, x, last, age) == pytest.approx(two.expected(13, x, last, age), rel=1e-4)
    assert 3 * one.optimum.log_likelihood == pytest.approx(two.optimum.log_likelihood, rel=1e-9)
    direct = model.likelihood(one.parameters, (x, last, age))[0].sum()
    assert one.optimum.log_likelihood == pytest.approx(direct, abs=1e-5)


@pytest.mark.parametrize("model", [bgnbd, paretonbd])
def test_the_unit_of_time_changes_nothing_but_the_unit(model: Any) -> None:
    x, last, age, _ = drawn_bgnbd(np.random.default_rng(7), 2_000)
    weeks, days = model.fit(x, last, age), model.fit(x, 7 * last, 7 * age)
    assert weeks.expected(13, x, last, age) == pytest.approx(days.expected(91, x, 7 * last, 7 * age), rel=1e-4)
    assert weeks.alive(x, last, age) == pytest.approx(days.alive(x, 7 * last, 7 * age), rel=1e-4)


@pytest.mark.parametrize(
    ("model", "horizon"),
    [
        (bgnbd.Fitted(0.6, 6.0, 0.8, 2.5, NOWHERE), 30),
        (paretonbd.Fitted(0.6, 6.0, 0.8, 12.0, NOWHERE), 30),
        (bgbb.Fitted(1.2, 0.75, 0.66, 2.78, NOWHERE), 5),
    ],
)
def test_simulated_purchases_have_the_expected_mean(model: Any, horizon: int) -> None:
    random = np.random.default_rng(8)
    for x, last, age in ((0, 0, 6), (2, 4, 6), (5, 6, 6)):
        many = [np.full(40_000, one) for one in (x, last, age)]
        drawn = model.simulate(horizon, *many, random=random)
        expected = model.expected(horizon, [x], [last], [age])[0]
        assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / 200)


def test_a_population_without_differences_is_said_to_set_no_bound() -> None:
    random = np.random.default_rng(9)
    age = np.full(4_000, 50.0)
    x = random.poisson(0.1 * age).astype(float)
    last = np.where(x > 0, age * random.random(4_000) ** (1 / np.maximum(x, 1)), 0)
    found = bgnbd.fit(x, last, age)
    assert found.optimum.edge  # rates do not differ, nobody stops
    assert found.alive(x, last, age).mean() > 0.95
    assert found.expected(10, x, last, age).mean() == pytest.approx(1.0, rel=0.05)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("model", [bgnbd, paretonbd])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t, a: (x, a + 1, a), "recency: .* above the age"),
        (lambda x, t, a: (x + 0.5, t, a), "frequency: .* not a whole number"),
        (lambda x, t, a: (-x - 1, t, a), "frequency: .* not a whole number, 0 or more"),
        (
            lambda x, t, a: (x, t, np.where(np.arange(len(x)) < 3, np.nan, a)),
            "3 of 200 customers have no value: .*prospects",
        ),
        (lambda x, t, a: (x, -t - 1, a), "negative"),
        (lambda x, t, a: (0 * x, t + 1e-9, a), "without a repeat purchase"),
        (lambda x, t, a: (x + 1, 0 * t, a), "0 with repeat purchases"),
        (lambda x, t, a: (x[:5], t, a), "give one value a customer"),
        (lambda x, t, a: (0 * x, 0 * t, a), r"not enough data \(found 0 customers with a repeat purchase among 200"),
        (lambda x, t, a: (x[:20], t[:20], a[:20]), r"not enough data \(found 20 customers, need 50\)"),
        (lambda x, t, a: (x[:0], t[:0], a[:0]), r"not enough data \(found 0 customers, need 50\)"),
    ],
)
def test_bad_input_gets_a_clear_sentence(model: Any, change: Any, message: str) -> None:
    x, last, age, _ = drawn_bgnbd(np.random.default_rng(10), 200)
    with pytest.raises(DataError, match=message):
        model.fit(*change(x, last, age))


def test_bad_input_of_the_discrete_model(donors: tuple[np.ndarray, ...]) -> None:
    x, last, n = donors
    with pytest.raises(DataError, match="whole numbers"):
        bgbb.fit(x, last * 0.9, n)
    with pytest.raises(DataError, match="more periods than had passed"):
        bgbb.fit(np.where(x == 1, 6, x), last, n)
    with pytest.raises(DataError, match=r"found 1 period, need 2"):
        bgbb.fit(np.minimum(x, 1), np.minimum(last, 1), np.ones(len(x)))
    model = bgbb.fit(x, last, n)
    with pytest.raises(UsageError, match="whole number, 1 or more"):
        model.expected(0, x, last, n)


def test_bad_input_of_the_model_of_values() -> None:
    x, mean = np.full(100, 2), np.linspace(10, 50, 100)
    with pytest.raises(DataError, match="1 of 100 customers have a mean value that is missing, 0 or negative"):
        gammagamma.fit(x, np.where(np.arange(100) == 0, 0, mean))
    with pytest.raises(DataError, match=r"not enough data \(found 10 customers with purchases, need 50\)"):
        gammagamma.fit(np.where(np.arange(100) < 10, 2, 0), mean)
    with pytest.raises(DataError, match="one purchase each"):
        gammagamma.fit(np.ones(100), mean)
    with pytest.raises(DataError, match="values have no mean over all customers"):
        gammagamma.Fitted(2.0, 0.8, 10.0, NOWHERE, 0.0).expected_value([0], [0])


@pytest.mark.parametrize("horizon", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("model", [bgnbd, paretonbd])
def test_bad_horizons_get_a_clear_sentence(model: Any, horizon: float) -> None:
    found = model.Fitted(0.5, 5.0, 0.8, 2.5, maximum.Maximum(np.ones(4), 0.0, 0.0, np.eye(4), 1, ()))
    one = (np.array([2]), np.array([10.0]), np.array([30.0]))
    with pytest.raises(UsageError, match=r"the horizon is .*; give a time of 0 or more"):
        found.expected(horizon, *one)
    with pytest.raises(UsageError, match="the horizon is"):
        found.expected_new(horizon)
    with pytest.raises(UsageError, match="the horizon is"):
        found.simulate(horizon, *one, random=np.random.default_rng(1))


def test_bad_transactions_get_a_clear_sentence() -> None:
    with pytest.raises(DataError, match="occurred_at holds no times; convert it"):
        transactions.counts(pd.DataFrame({"customer_id": ["A"], "occurred_at": ["2025-01-01"]}), until="2025-02-01")
    rows = pd.DataFrame({"customer_id": ["A"], "occurred_at": pd.to_datetime(["2025-03-01"])})
    with pytest.raises(DataError, match="no purchases until 2025-01-31"):
        transactions.counts(rows, until="2025-01-31")
    with pytest.raises(DataError, match="no column occurred_at"):
        transactions.counts(rows.drop(columns="occurred_at"), until="2025-03-31")
    with pytest.raises(UsageError, match="unit_days is 0"):
        transactions.counts(rows, until="2025-03-31", unit_days=0)
    with pytest.raises(UsageError, match="kind is 'both'"):
        transactions.Purchases(kind="both")
