"""Curves and tests of differences: published tables, naive references, planted rates, bad input."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.survival import curves, differences
from crmlib.models.survival.concordance import concordance

# Weeks in remission of 42 children with leukaemia, by treatment; + is still in remission.
MP6 = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"

# Months to relapse or death of 177 patients after a stem-cell transplant, by disease and what came first.
TRANSPLANTS = {
    ("ALL", ""): "131.77 124.83 123.9 121.1 112.23 82.6 72.93 71.83 56.6 45.3 43.67 35.5 29.2 24.77 19.9 16.83 16.13",
    ("ALL", "relapse"): "2 3.57 6.13 5.37 2.87 3.07 1.7 1.8 1.67 7.53 2.53 4.23 13.07 7.57 2.4 1.23 8.63 1.1 20.83 4.07"
    " 7.93 17.23 3.63 9.43 1.87 7.63 2.23 10.3",
    (
        "ALL",
        "death",
    ): "0.67 24.03 1.47 2.23 10.53 1.7 0.4 0.87 7.5 2.8 3.63 6.03 8 6 7.47 1.43 8.17 1.1 3.3 5.43 4.17 0.37"
    " 0.27 3.43 12.17 6.6 3.23 2.7",
    (
        "AML",
        "",
    ): "114.7 114.1 112.93 110.37 106.13 85.1 81.67 77 76.03 67.8 70.2 68.83 59.17 58.23 58 49.27 43.2 42.5 41.3"
    " 35.5 32.63 29.9 28.7 26.13 16.6 15.17 14.5 10.2 9.97",
    (
        "AML",
        "relapse",
    ): "9.5 35 5.7 4.2 6.2 28.53 3.03 5.87 9.13 6.07 1.6 5.63 12.57 6.63 1.87 1.3 6 42.17 12.27 4.73 2.03 5"
    " 5.6 1.2 7 2.53 2.3 7.63",
    (
        "AML",
        "death",
    ): "6.33 2.3 5.27 6.3 10.9 7.63 20.93 2.83 9.63 3.17 9.97 9.17 8.73 4.8 3.57 3.47 1 6.1 1.97 3.6 4.4 13.8"
    " 9.2 6.7 11.8 1.23 3.9 4.57 4.4 3.7 3.4 8.6 2 8.8 7.2 9 0.13 3.93 5.23 3.5 2.8 1.47 0.87 7.2 3.57 4.57 1.77",
}


def remission() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weeks, whether the remission ended, and the treatment."""
    words = [*MP6.split(), *PLACEBO.split()]
    weeks = np.array([float(word.rstrip("+")) for word in words])
    return weeks, np.array([not word.endswith("+") for word in words]), np.repeat(["6-MP", "placebo"], 21)


def transplants() -> pd.DataFrame:
    rows = [
        (disease, reason, float(value)) for (disease, reason), text in TRANSPLANTS.items() for value in text.split()
    ]
    return pd.DataFrame(rows, columns=["disease", "reason", "months"])


def made(seed: int, *, size: int = 60, late: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Durations with ties, reasons, groups and entries."""
    rng = np.random.default_rng(seed)
    time = rng.integers(1, 12, size).astype(float)
    reason = rng.choice(["", "price", "service"], size, p=[0.4, 0.35, 0.25])
    reason[:2] = "price"
    entered = np.floor(time * rng.random(size) * 0.6) if late else np.zeros(size)
    entered[:10] = 0
    return time, reason, rng.choice(["a", "b", "c"], size), entered


def test_kaplan_meier_of_freireich_1963_kleinbaum_and_klein_2012_table_2_1():
    weeks, ended, drug = remission()
    found = curves.kaplan_meier(weeks, ended, groups=drug)
    treated = found[found["group"] == "6-MP"]
    assert treated["time"].tolist() == [0, 6, 7, 10, 13, 16, 22, 23, 35]
    assert treated["at_risk"].tolist() == [21, 21, 17, 15, 12, 11, 7, 6, 1]
    published = [1, 0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482, 0.4482]
    assert treated["survival"].to_numpy() == pytest.approx(published, abs=5e-5)
    control = found[found["group"] == "placebo"].set_index("time")["survival"]
    assert control.loc[[1, 5, 8, 12, 23]].tolist() == pytest.approx([0.9048, 0.5714, 0.3810, 0.1905, 0], abs=5e-5)


def test_medians_of_freireich_1963_are_23_and_8_weeks_with_the_intervals_that_r_prints():
    weeks, ended, drug = remission()
    found = curves.stay(curves.kaplan_meier(weeks, ended, groups=drug)).set_index("group")
    assert found.loc["6-MP"].tolist() == [23, 13, np.inf]
    assert found.loc["placebo"].tolist() == [8, 4, 11]


def test_log_rank_of_freireich_1963_is_16_79_kleinbaum_and_klein_2012_page_68():
    weeks, ended, drug = remission()
    found = differences.log_rank(weeks, np.where(ended, "relapse", ""), drug)
    assert found.statistic == pytest.approx(16.79, abs=0.005) and found.degrees == 1 and found.p < 0.0001
    assert found.table["observed"].tolist() == [9, 21]
    assert found.table["expected"].tolist() == pytest.approx([19.25, 10.75], abs=0.005)


def test_cumulative_incidence_of_scrucca_2010_stem_cell_transplants_as_cmprsk_prints_it():
    table = transplants()
    found = curves.cumulative_incidence(table["months"], table["reason"], groups=table["disease"])
    assert found.groupby(["group", "reason"])["events"].sum().tolist() == [28, 28, 47, 28]
    values = curves.at(found, [20, 40, 60]).set_index(["group", "reason", "time"])["incidence"].unstack("time")
    assert values.loc[("ALL", "relapse")].tolist() == pytest.approx([0.3713851, 0.3875571, 0.3875571], abs=5e-8)
    assert values.loc[("AML", "relapse")].tolist() == pytest.approx([0.2414530, 0.2663827, 0.2810390], abs=5e-8)
    assert values.loc[("ALL", "death")].tolist() == pytest.approx([0.3698630, 0.3860350, 0.3860350], abs=5e-8)
    assert values.loc[("AML", "death")].tolist() == pytest.approx([0.4439103, 0.4551473, 0.4551473], abs=5e-8)


def test_gray_of_scrucca_2010_stem_cell_transplants_is_2_8623325_and_0_4481279_as_cmprsk_prints_it():
    table = transplants()
    relapse, death = (
        differences.gray(table["months"], table["reason"], table["disease"], reason=reason)
        for reason in ("relapse", "death")
    )
    assert (relapse.statistic, relapse.p) == pytest.approx((2.8623325, 0.09067592), abs=5e-8)
    assert (death.statistic, death.p) == pytest.approx((0.4481279, 0.50322531), abs=5e-8)
    assert relapse.table["observed"].tolist() == [28, 28] and relapse.degrees == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_curves_agree_with_counting_by_hand(seed, late):
    time, reason, _, entered = made(seed, late=late)
    survival, hazard, incidence = 1.0, 0.0, {"price": 0.0, "service": 0.0}
    expected = []
    for at in np.unique(time[reason != ""]):
        n = int(((time >= at) & (entered < at)).sum())
        for name in incidence:
            incidence[name] += survival * ((time == at) & (reason == name)).sum() / n
        leave = ((time == at) & (reason != "")).sum() / n
        hazard, survival = hazard + leave, survival * (1 - leave)
        expected.append((at, n, survival, hazard, *incidence.values()))
    if 0.0 in [row[2] for row in expected[:-1]]:
        return
    options = {"entered": entered} if late else {}
    kaplan = curves.kaplan_meier(time, reason != "", **options)
    at = [row[0] for row in expected]
    rows = kaplan.set_index("time").loc[at]
    assert rows["at_risk"].tolist() == [row[1] for row in expected]
    assert rows["survival"].tolist() == pytest.approx([row[2] for row in expected])
    nelson = curves.nelson_aalen(time, reason != "", **options).set_index("time").loc[at]
    assert nelson["hazard"].tolist() == pytest.approx([row[3] for row in expected])
    found = curves.cumulative_incidence(time, reason, **options).pivot(index="time", columns="reason")["incidence"]
    assert found.loc[at].to_numpy() == pytest.approx(np.array([row[4:] for row in expected]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_who_left_for_any_reason_and_who_is_still_here_are_all(seed):
    time, reason, group, _ = made(seed)
    incidence = curves.cumulative_incidence(time, reason, groups=group)
    kaplan = curves.kaplan_meier(time, reason != "", groups=group)
    left = incidence.groupby(["group", "time"])["incidence"].sum()
    assert left.to_numpy() == pytest.approx(
        1 - kaplan.set_index(["group", "time"])["survival"].loc[left.index].to_numpy()
    )
    known = incidence.dropna()
    assert (known["low"] <= known["incidence"] + 1e-12).all() and (known["incidence"] <= known["high"] + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_log_rank_agrees_with_statsmodels(seed):
    time, reason, group, entered = made(seed, late=True)
    expected, p = sm.duration.survdiff(time, (reason != "").astype(int), group, entry=entered)
    found = differences.log_rank(time, reason, group, entered=entered)
    assert (found.statistic, found.p) == pytest.approx((expected, p))
    only, _ = sm.duration.survdiff(time, (reason == "price").astype(int), group)
    assert differences.log_rank(time, reason, group, reason="price").statistic == pytest.approx(only)


def test_standard_errors_agree_with_the_jackknife():
    time, reason, _, _ = made(5, size=150)
    z = 1.959963984540054

    def figures(rows: np.ndarray) -> np.ndarray:
        incidence = curves.cumulative_incidence(time[rows], reason[rows])
        kaplan = curves.kaplan_meier(time[rows], reason[rows] != "")
        found = [*curves.at(incidence, [4, 7])["incidence"], *curves.at(kaplan, [4, 7])["survival"]]
        return np.array(found)

    left_out = np.array([figures(np.delete(np.arange(150), place)) for place in range(150)])
    jackknife = np.sqrt(((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0) * 149 / 150)
    tables = (curves.cumulative_incidence(time, reason), curves.kaplan_meier(time, reason != ""))
    rows = pd.concat(
        [curves.at(table, [4, 7]).rename(columns={"incidence": "value", "survival": "value"}) for table in tables]
    )
    # Back from the scale of log(-log) on which the interval is symmetric.
    reach = (np.log(-np.log(rows["low"])) - np.log(-np.log(rows["high"]))) / 2 / z
    error = reach * rows["value"] * -np.log(rows["value"])
    assert error.to_numpy() == pytest.approx(jackknife, rel=0.03)


def test_intervals_of_incidence_hold_the_planted_one_as_often_as_they_say():
    rng = np.random.default_rng(3)
    rates, horizon, hits, bounds = {"price": 0.02, "service": 0.01}, 20.0, [], []
    truth = 0.02 / 0.03 * -np.expm1(-0.03 * horizon)
    for _ in range(250):
        time = rng.exponential(1 / 0.03, 120)
        reason = rng.choice(list(rates), 120, p=[2 / 3, 1 / 3])
        until = rng.uniform(5, 60, 120)
        found = curves.cumulative_incidence(np.minimum(time, until), np.where(time <= until, reason, ""))
        row = curves.at(found[found["reason"] == "price"], [horizon]).iloc[0]
        hits.append(row["low"] <= truth <= row["high"])
        bounds.append(row["incidence"])
    assert np.mean(bounds) == pytest.approx(truth, rel=0.02)
    assert 0.925 < np.mean(hits) < 0.98


def test_gray_rejects_as_often_as_it_says_without_a_difference_and_finds_a_planted_one():
    rng = np.random.default_rng(8)
    p = []
    for _ in range(250):
        time, group = rng.exponential(1 / 0.03, 150), rng.choice(["a", "b", "c"], 150)
        reason = np.where(time <= 40, rng.choice(["price", "service"], 150), "")
        p.append(differences.gray(np.minimum(time, 40), reason, group, reason="price").p)
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085
    # Equal rates of leaving for the price, but competitors take group b: fewer are left to leave for the price.
    group = np.repeat(["a", "b"], 2_000)
    price, other = rng.exponential(1 / 0.02, 4_000), rng.exponential(np.where(group == "a", 1 / 0.005, 1 / 0.06))
    time = np.minimum(np.minimum(price, other), 60)
    reason = np.where(time == 60, "", np.where(price < other, "price", "competitor"))
    assert differences.gray(time, reason, group, reason="price").p < 1e-6
    assert differences.log_rank(time, reason, group, reason="price").p > 0.01


def test_late_entry_gives_the_planted_survival_and_ignoring_it_does_not():
    rng = np.random.default_rng(4)
    time, entered = rng.exponential(100, 60_000), rng.uniform(0, 200, 60_000) * (rng.random(60_000) < 0.8)
    seen = time > entered
    found = curves.kaplan_meier(time[seen], np.ones(seen.sum()), entered=entered[seen])
    assert curves.at(found, [100])["survival"].iloc[0] == pytest.approx(np.exp(-1), abs=0.01)
    wrong = curves.at(curves.kaplan_meier(time[seen], np.ones(seen.sum())), [100])["survival"].iloc[0]
    assert wrong > 0.45


def test_a_group_nobody_left_has_a_bound_that_grows_with_its_size():
    groups = ["left"] * 3 + ["small"] * 4 + ["large"] * 200
    found = curves.kaplan_meier([5] * 207, [1] * 3 + [0] * 204, groups=groups)
    low = found[found["time"] == 5].set_index("group")["low"]
    # 0.025 is the chance that none of 4 leaves if each stays with this probability.
    assert low["small"] ** 4 == pytest.approx(0.025) and low["large"] ** 200 == pytest.approx(0.025)
    hazard = curves.nelson_aalen([5] * 207, [1] * 3 + [0] * 204, groups=groups)
    assert hazard[hazard["time"] == 5].set_index("group")["high"]["large"] == pytest.approx(-np.log(low["large"]))
    incidence = curves.cumulative_incidence([1, 2, 3], ["price", "service", ""])
    first = incidence[(incidence["reason"] == "service") & (incidence["time"] == 1)].iloc[0]
    assert first["incidence"] == 0 and first["low"] == 0 and (1 - first["high"]) ** 3 == pytest.approx(0.025)


def test_one_departure_gives_a_wide_interval_and_no_test():
    found = curves.kaplan_meier([1, 2, 3, 4, 5], [0, 0, 1, 0, 0])
    row = found[found["time"] == 3].iloc[0]
    assert row["survival"] == pytest.approx(2 / 3) and row["low"] < 0.1 and row["high"] > 0.93
    with pytest.raises(DataError, match=r"not enough data for a test: 1 of 5 customers left \(found 1, need 5\)"):
        differences.log_rank([1, 2, 3, 4, 5], ["", "", "price", "", ""], list("ababa"))


def test_concordance_agrees_with_looking_at_every_pair():
    time, reason, _, _ = made(11, size=80)
    left, risk = reason != "", np.round(np.random.default_rng(2).normal(size=80), 1)
    right = pairs = 0.0
    for i in range(80):
        for j in range(80):
            if left[i] and (time[i] < time[j] or (time[i] == time[j] and not left[j])):
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 * (risk[i] == risk[j])
    found = concordance(time, left, risk)
    assert found.value == pytest.approx(right / pairs) and found.low < found.value < found.high
    with pytest.raises(DataError, match="risk: 79 values for 80 customers"):
        concordance(time, left, risk[:-1])
    with pytest.raises(DataError, match=r"no two customers can be compared \(found 0 pairs, need 1\)"):
        concordance([1, 1], [1, 1], [0.2, 0.3])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (([-5, 3, 2], [1, 1, 0]), {}, r"durations: 1 of 3 are below zero \(the lowest is -5, in row 0\)"),
        (([5, np.nan], [1, 0]), {}, "durations: 1 of 2 are empty or infinite, the first in row 1"),
        (([5, 3], [0, 0]), {}, r"not enough data: nobody of 2 customers left \(found 0 departures, need 1\)"),
        (([], []), {}, r"not enough data for a survival curve \(found 0 customers, need 1\)"),
        (([5, 3], [2, 0]), {}, "ended holds 2 in row 0; it must be 1"),
        (([5, 3], [1]), {}, "there are 2 durations but 1 values of ended"),
        (([5, 3], [1, 0]), {"groups": ["a", None]}, "groups: 1 of 2 are empty"),
        (([5, 3], [1, 0]), {"entered": [5, 0]}, "entered: 1 of 2 customers come under observation when"),
        ((["x", 3], [1, 0]), {}, "durations must be numbers"),
        (([1, 4], [1, 0]), {"entered": [0, 2]}, "at duration 1 all 1 customers under observation left"),
    ],
)
def test_bad_input_gets_a_clear_sentence(values, options, message):
    with pytest.raises(DataError, match=message):
        curves.kaplan_meier(*values, **options)


def test_reasons_nobody_has_and_groups_that_are_none_are_named():
    with pytest.raises(DataError, match="nobody left for the reason 'preis'; the reasons found are price, service"):
        differences.gray([1, 2, 3], ["price", "service", ""], ["a", "b", "a"], reason="preis")
    with pytest.raises(DataError, match=r"there is one group only \(a\)"):
        differences.log_rank([1, 2], ["price", ""], ["a", "a"])
    with pytest.raises(DataError, match='reasons: 1 of 2 are empty; write "" for a customer who is still here'):
        curves.cumulative_incidence([1, 2], ["price", None])
    with pytest.raises(DataError, match=r"nobody of 2 customers left \(found 0 departures, need 1\)"):
        curves.cumulative_incidence([1, 2], ["", ""])
    with pytest.raises(DataError, match="the groups were never at risk at the same time"):
        differences.log_rank([1] * 5 + [9] * 5, ["x"] * 10, ["a"] * 5 + ["b"] * 5, entered=[0] * 5 + [5] * 5)


def test_wrong_parameters_are_named():
    curve = curves.kaplan_meier([1, 2], [1, 0])
    with pytest.raises(UsageError, match="level is 95; it must lie between 0 and 1"):
        curves.kaplan_meier([1, 2], [1, 0], level=95)
    with pytest.raises(UsageError, match="times must be numbers of 0 or more"):
        curves.at(curve, [-1])
    with pytest.raises(UsageError, match="share is 1; it must lie between 0 and 1"):
        curves.stay(curve, share=1)
    with pytest.raises(UsageError, match="stay needs a table of kaplan_meier"):
        curves.stay(curves.nelson_aalen([1, 2], [1, 0]))
    with pytest.raises(UsageError, match="the table is no curve of this module"):
        curves.at(pd.DataFrame({"time": [1.0]}), [1])


def test_the_example_of_the_document_runs():
    page = (Path(__file__).parents[1] / "docs" / "survival.md").read_text(encoding="utf-8")
    known: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], known)
    assert list(known["hazards_by_reason"].effects["reason"].unique()) == ["price", "service"]
    assert known["test"].degrees == 1
