"""Moves, transition matrices and their drift, the forecast: against naive counts, scipy and planted changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.segments import moves

SEGMENTS = ("a", "b", "c")


def membership(segments: dict[str, str], day: str, name: str = "behaviour") -> pd.DataFrame:
    ids = sorted(segments)
    found = {"customer_id": ids, "as_of": pd.Timestamp(day), "segmentation": name}
    return pd.DataFrame({**found, "segment": [segments[one] for one in ids]}).astype(
        {"customer_id": "str", "segment": "str"}
    )


@given(
    st.dictionaries(st.integers(0, 40).map(str), st.sampled_from(SEGMENTS), min_size=1),
    st.dictionaries(st.integers(0, 40).map(str), st.sampled_from(SEGMENTS), min_size=1),
)
@settings(max_examples=50, deadline=None)
def test_moves_are_what_counting_one_by_one_gives(before: dict[str, str], after: dict[str, str]) -> None:
    found = moves.counts(membership(before, "2025-03-31"), membership(after, "2025-06-30"))
    expected: dict[tuple[str, str, str], int] = {}
    for one in {*before, *after}:
        start, end = before.get(one, ""), after.get(one, "")
        kind = "joined" if not start else "left" if not end else "stayed" if start == end else "moved"
        expected[kind, start, end] = expected.get((kind, start, end), 0) + 1
    assert found.set_index(["kind", "from", "to"])["customers"].to_dict() == expected


def test_a_transition_matrix_has_rows_that_sum_to_one_and_wilson_intervals() -> None:
    before = membership({str(n): "a" for n in range(10)} | {"x": "b"}, "2025-03-31")
    after = membership({str(n): "a" if n < 7 else "b" for n in range(10)} | {"x": "b", "new": "c"}, "2025-06-30")
    table = moves.transitions(before, after, segments=SEGMENTS).set_index(["from", "to"])
    assert table.loc[("a", "a"), "customers"] == 7 and table.loc["a", "share"].sum() == pytest.approx(1)
    wilson = stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert table.loc[("a", "a"), ["low", "high"]].tolist() == pytest.approx([wilson.low, wilson.high])
    assert table.loc["c", "share"].isna().all(), "nobody was there before"
    habit = moves.habit([before, after], segments=SEGMENTS).set_index("segment")
    assert habit.loc["(all)", "stayed"] == pytest.approx(8 / 11) and habit.loc["a", "customers"] == 10


def chain(random: np.random.Generator, matrix: np.ndarray, periods: int, size: int = 3_000) -> list[np.ndarray]:
    state, out = random.integers(0, 3, size), []
    for _ in range(periods):
        following = (random.random(size)[:, None] > matrix[state].cumsum(axis=1)).sum(axis=1)
        out.append(np.bincount(state * 3 + following, minlength=9).reshape(3, 3))
        state = following
    return out


HABIT = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])


def test_drift_is_the_sum_of_scipys_tests_of_each_segment() -> None:
    counts = chain(np.random.default_rng(3), HABIT, 4)
    found = moves.drift(counts)
    tables = [np.array([period[start] for period in counts]) for start in range(3)]
    pearson = [stats.chi2_contingency(table, correction=False) for table in tables]
    ratio = [stats.chi2_contingency(table, correction=False, lambda_="log-likelihood") for table in tables]
    assert found.chi_square == pytest.approx(sum(one.statistic for one in pearson))
    assert found.likelihood_ratio == pytest.approx(sum(one.statistic for one in ratio))
    assert found.degrees == sum(one.dof for one in pearson) == (4 - 1) * 3 * (3 - 1)


def test_drift_keeps_its_level_without_a_change_and_finds_a_planted_one() -> None:
    random = np.random.default_rng(11)
    quiet = np.array([moves.drift(chain(random, HABIT, 4, 800)).p for _ in range(200)])
    assert 0.01 <= (quiet < 0.05).mean() <= 0.10
    assert stats.kstest(quiet, "uniform").pvalue > 0.001
    changed = HABIT.copy()
    changed[0] = [0.7, 0.25, 0.05]
    found = moves.drift([*chain(random, HABIT, 2), *chain(random, changed, 2)])
    assert found.p < 1e-4 and 0 < found.change < 0.1


def test_a_second_order_habit_is_told_from_a_first_order_one() -> None:
    random = np.random.default_rng(4)

    def walk(second_order: bool) -> list[pd.DataFrame]:
        size = 6_000
        states = [random.integers(0, 2, size)]
        states.append(np.where(random.random(size) < 0.8, states[0], 1 - states[0]))
        habit = np.where(states[0] == states[1], 0.9, 0.5) if second_order else 0.8
        states.append(np.where(random.random(size) < habit, states[1], 1 - states[1]))
        days = ("2025-03-31", "2025-06-30", "2025-09-30")
        ids = [f"{n:05}" for n in range(size)]
        return [
            membership(dict(zip(ids, np.array(SEGMENTS)[state], strict=True)), day)
            for state, day in zip(states, days, strict=True)
        ]

    assert moves.order(walk(True), segments=SEGMENTS).p < 1e-10
    assert moves.order(walk(False), segments=SEGMENTS).p > 0.001


def test_a_transition_never_seen_takes_no_degree_of_freedom() -> None:
    only = [np.array([[5, 5, 0], [0, 10, 0], [0, 0, 0]]), np.array([[6, 4, 0], [0, 9, 0], [0, 0, 0]])]
    assert moves.drift(only).degrees == 1


def test_what_cannot_be_compared() -> None:
    one = membership({"1": "a"}, "2025-03-31")
    with pytest.raises(DataError, match="memberships of behaviour and rfm cannot be compared"):
        moves.counts(one, membership({"1": "a"}, "2025-06-30", "rfm"))
    with pytest.raises(DataError, match="segments that are not among those given: a"):
        moves.crosstab(one, one, segments=("b", "c"))
    with pytest.raises(DataError, match="at least two periods, there is 1"):
        moves.drift([np.eye(3)])
